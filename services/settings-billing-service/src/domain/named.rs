//! Values of enums.

use clientele_api::error::Invalid;
use clientele_api::parse;

/// The value of an enum with this number. Refused is the zero one, and a number that the enum does not have; the nearest one is named.
pub(super) fn named<E: TryFrom<i32> + Into<i32> + Copy>(
    number: i32,
    name: fn(&E) -> &'static str,
) -> Result<E, Invalid> {
    parse::enum_value(number).map_err(|Invalid(rule)| {
        // No enum has more values than that.
        let below = (1..=number.min(100)).rev().find_map(|number| E::try_from(number).ok());
        let nearest = below.or_else(|| E::try_from(1).ok());
        Invalid::new(format!("{rule}, as in `{}`", nearest.as_ref().map_or("", name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::settings::Layout;

    #[test]
    fn the_nearest_is_named() {
        assert_eq!(named(2, Layout::as_str_name), Ok(Layout::Horizontal));
        for (number, nearest) in [
            (0, "LAYOUT_VERTICAL"),
            (-7, "LAYOUT_VERTICAL"),
            (3, "LAYOUT_HORIZONTAL"),
            (i32::MAX, "LAYOUT_HORIZONTAL"),
            (i32::MIN, "LAYOUT_VERTICAL"),
        ] {
            let Invalid(rule) = named(number, Layout::as_str_name).unwrap_err();
            assert_eq!(
                rule,
                format!("must be a named value of the enum, not {number}, as in `{nearest}`")
            );
        }
    }
}
