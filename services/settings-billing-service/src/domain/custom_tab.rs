//! Tabs that an agency adds to the dashboard.

use super::named::named;
use super::values::Broken;
use clientele_api::error::{ErrorReason, Invalid, LONGEST_RULE};
use clientele_api::settings::{self as api, custom_tab::Visibility};
use clientele_api::{Error, Result, parse};
use prost::Message as _;
use std::collections::BTreeSet;
use url::Url;

const MOST: usize = 50;
const LONGEST_ID: usize = 63;
const LONGEST_TITLE: usize = 100;
const LONGEST_URL: usize = 2_048;
/// How large all of them are together, encoded: the settings of a hundred organizations fit into one answer.
const LARGEST: usize = 16 * 1_024;
/// What the list takes for each besides: a tag and a length.
const LENGTH: usize = 4;
/// How many ids like one that was given out before are looked at, to name one that was not.
const OTHERS: usize = 100;

/// A tab of the dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomTab {
    /// Names it in addresses and in its permission.
    pub id: String,
    /// What people see.
    pub title: String,
    /// The name of an icon; empty: none.
    pub icon: String,
    /// What it shows.
    pub url: String,
    /// Who may see it.
    pub visibility: Visibility,
}

/// Reads tabs, each id of which is there once.
pub fn parse(list: &api::CustomTabList) -> Result<Vec<CustomTab>, Broken> {
    if list.tabs.len() > MOST {
        let rule = format!(
            "must be at most {MOST}, not {}, as in the first `{MOST}`",
            list.tabs.len()
        );
        return Err(Invalid::new(rule).into());
    }
    if list.encoded_len() > LARGEST {
        let mut bytes = 0;
        let fits = |tab: &&api::CustomTab| {
            bytes += tab.encoded_len() + LENGTH;
            bytes <= LARGEST
        };
        let fit = list.tabs.iter().take_while(fits).count();
        let rule = format!(
            "must be at most {LARGEST} bytes, not {}, as in the first `{fit}`",
            list.encoded_len()
        );
        return Err(Invalid::new(rule).into());
    }
    let mut broken = Broken::default();
    let mut tabs: Vec<CustomTab> = Vec::new();
    for (at, message) in list.tabs.iter().enumerate() {
        let mut check = |field: &str, parsed| {
            broken
                .check(&format!(".tabs[{at}].{field}"), parsed)
                .unwrap_or_default()
        };
        let ids: BTreeSet<&str> = tabs.iter().map(|tab| tab.id.as_str()).collect();
        let mut tab = CustomTab {
            id: check("id", id(&message.id).and_then(|id| unrepeated(id, &ids))),
            title: check("title", title(&message.title)),
            icon: check("icon", icon(&message.icon)),
            url: check("url", url(&message.url)),
            visibility: Visibility::Unspecified,
        };
        let visibility = named(message.visibility, Visibility::as_str_name);
        let visibility = broken.check(&format!(".tabs[{at}].visibility"), visibility);
        tab.visibility = visibility.unwrap_or_default();
        tabs.push(tab);
    }
    broken.finish(tabs)
}

impl From<&CustomTab> for api::CustomTab {
    fn from(tab: &CustomTab) -> Self {
        Self {
            id: tab.id.clone(),
            title: tab.title.clone(),
            icon: tab.icon.clone(),
            url: tab.url.clone(),
            visibility: tab.visibility.into(),
        }
    }
}

/// The ids that could be given out in place of this one, the nearest first.
pub fn others(id: &str) -> Vec<String> {
    let other = |number: usize| {
        let suffix = format!("-{number}");
        format!("{}{suffix}", &id[..id.len().min(LONGEST_ID - suffix.len())])
    };
    (2..OTHERS).map(other).collect()
}

/// ALREADY_EXISTS `TAB_ID_USED`. `used` says which of the [`others`] can't be given out either.
pub fn id_used(id: &str, used: &BTreeSet<String>, resource: (&'static str, String)) -> Error {
    let free = others(id).into_iter().find(|other| !used.contains(other));
    let free = free.unwrap_or_default();
    let message = format!("the id {id:?} was given out before, and never is again: choose another one, as in `{free}`");
    let error = Error::new(ErrorReason::TabIdUsed, message)
        .with("id", id)
        .with("free", free);
    error.about(resource.0, resource.1)
}

fn id(text: &str) -> Result<String, Invalid> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let begins = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if begins && text.len() <= LONGEST_ID && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    let hint = slug(text)
        .trim_start_matches(|first: char| !first.is_ascii_lowercase())
        .to_owned();
    let hint = if hint.is_empty() { "tab".to_owned() } else { hint };
    Err(Invalid::new(format!(
        "must be 1 to {LONGEST_ID} of a-z, 0-9, - and _, beginning with a letter, as in `{hint}`"
    )))
}

fn unrepeated(id: String, before: &BTreeSet<&str>) -> Result<String, Invalid> {
    if !before.contains(id.as_str()) {
        return Ok(id);
    }
    let free = others(&id).into_iter().find(|other| !before.contains(other.as_str()));
    Err(Invalid::new(format!(
        "must not repeat {id:?}, as in `{}`",
        free.unwrap_or_default()
    )))
}

fn title(text: &str) -> Result<String, Invalid> {
    parse::line(text, 1..=LONGEST_TITLE).map_err(|Invalid(rule)| {
        let kept: String = text.chars().filter(|character| !character.is_control()).collect();
        let kept: String = kept.trim().chars().take(LONGEST_TITLE).collect();
        let hint = if kept.is_empty() { "Tab" } else { kept.trim_end() };
        Invalid::new(format!("{rule}, as in `{hint}`"))
    })
}

fn icon(text: &str) -> Result<String, Invalid> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.len() <= LONGEST_ID && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!(
        "must be at most {LONGEST_ID} lower-case letters, digits and hyphens, as in `{}`",
        slug(text).replace('_', "-")
    )))
}

/// The letters, digits and underscores of a text in lower case, with hyphens for what is between them.
fn slug(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|inner: char| !(inner.is_ascii_alphanumeric() || inner == '_'));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).take(LONGEST_ID).collect();
    let mut slug = words.join("-");
    slug.truncate(LONGEST_ID);
    slug.trim_end_matches('-').to_owned()
}

/// An address as WHATWG's standard writes it.
fn url(text: &str) -> Result<String, Invalid> {
    // The standard would skip white space and control characters.
    let plain = text.len() <= LONGEST_URL && !text.chars().any(|one| one.is_control() || one.is_whitespace());
    let url = Some(text).filter(|_| plain).and_then(|text| Url::parse(text).ok());
    let url = url.filter(is_allowed).map(String::from);
    url.ok_or_else(|| {
        let rule = format!("must be an https address of at most {LONGEST_URL} characters, without user and password");
        let told = |url: &str| format!("{rule}, as in `{url}`");
        let fits = |rule: &String| rule.len() <= LONGEST_RULE;
        let nearest = nearest_url(text);
        let host = nearest
            .as_ref()
            .map(|url| format!("{}/", url.origin().ascii_serialization()));
        let nearest = [nearest.map(String::from), host].into_iter().flatten();
        let rule = nearest.map(|url| told(&url)).find(fits);
        Invalid::new(rule.unwrap_or_else(|| told("https://example.com/")))
    })
}

fn is_allowed(url: &Url) -> bool {
    let secret = !url.username().is_empty() || url.password().is_some();
    url.scheme() == "https" && url.has_host() && !secret && url.as_str().len() <= LONGEST_URL
}

/// The same address with https, without what may not be in it; of one that is too long its host.
fn nearest_url(text: &str) -> Option<Url> {
    let kept = text.chars().filter(|one| !one.is_control() && !one.is_whitespace());
    let kept: String = kept.take(LONGEST_URL).collect();
    let with_host = Url::parse(&kept).ok().filter(Url::has_host);
    let url = match with_host {
        None if !kept.contains("//") => Url::parse(&format!("https://{kept}")).ok(),
        url => url,
    };
    url.and_then(with_https).filter(is_allowed)
}

/// None: it is of a scheme that has other addresses.
fn with_https(mut url: Url) -> Option<Url> {
    url.set_scheme("https").ok()?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    if url.as_str().len() > LONGEST_URL {
        url.set_path("/");
        url.set_query(None);
        url.set_fragment(None);
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tab(id: &str) -> api::CustomTab {
        api::CustomTab {
            id: id.to_owned(),
            title: "Shop".to_owned(),
            icon: "cart".to_owned(),
            url: "https://shop.example.com/".to_owned(),
            visibility: Visibility::Granted.into(),
        }
    }

    fn parse_all(tabs: Vec<api::CustomTab>) -> Result<Vec<CustomTab>, Broken> {
        parse(&api::CustomTabList { tabs })
    }

    #[test]
    fn tabs_are_read_in_their_order() {
        let given = vec![tab("b"), tab("a_1-x")];
        let tabs = parse_all(given.clone()).unwrap();
        let back: Vec<api::CustomTab> = tabs.iter().map(Into::into).collect();
        assert_eq!(back, given);
        assert_eq!(parse_all(Vec::new()).unwrap(), []);
        assert!(parse_all((0..50).map(|at| tab(&format!("t{at}"))).collect()).is_ok());
    }

    #[test]
    fn each_field_that_breaks_its_rule_is_told_of() {
        let broken = parse_all(vec![tab("a"), tab("a"), api::CustomTab::default()]).unwrap_err();
        let told = broken.told();
        let paths: Vec<&str> = told.iter().map(|(path, _)| *path).collect();
        assert_eq!(
            paths,
            [
                ".tabs[1].id",
                ".tabs[2].id",
                ".tabs[2].title",
                ".tabs[2].url",
                ".tabs[2].visibility"
            ]
        );
        assert_eq!(told[0].1, "must not repeat \"a\", as in `a-2`");
        let many = parse_all((0..51).map(|at| tab(&format!("t{at}"))).collect()).unwrap_err();
        assert_eq!(many.told().len(), 1);
    }

    /// What is named as the nearest must keep the rule itself.
    fn hint<T: std::fmt::Debug>(parse: fn(&str) -> Result<T, Invalid>, text: &str) -> String {
        let Invalid(rule) = parse(text).unwrap_err();
        let hint = rule.split('`').nth(1).unwrap().to_owned();
        assert!(rule.ends_with(&format!("as in `{hint}`")), "{rule}");
        assert!(parse(&hint).is_ok(), "{hint}");
        hint
    }

    #[test]
    fn ids_are_refused_with_the_nearest() {
        for (text, nearest) in [
            ("", "tab"),
            ("Shop", "shop"),
            ("Our Shop!", "our-shop"),
            ("9-lives", "lives"),
            ("äöü", "tab"),
            ("shop\0", "shop"),
        ] {
            assert_eq!(hint(id, text), nearest, "{text}");
        }
        assert_eq!(hint(id, &"a".repeat(64)), "a".repeat(63));
        hint(id, &"a-".repeat(100_000));
    }

    #[test]
    fn titles_and_icons_are_refused_with_the_nearest() {
        for (text, nearest) in [("", "Tab"), (" Shop ", "Shop"), ("Sh\nop", "Shop"), ("\0", "Tab")] {
            assert_eq!(hint(title, text), nearest, "{text:?}");
        }
        assert_eq!(hint(title, &"ö".repeat(101)), "ö".repeat(100));
        assert_eq!(hint(icon, "Shopping Cart"), "shopping-cart");
        assert_eq!(hint(icon, "shopping_cart"), "shopping-cart");
        assert_eq!(icon("").unwrap(), "");
    }

    #[test]
    fn addresses_are_answered_as_the_standard_writes_them() {
        for (text, answered) in [
            ("https://example.com", "https://example.com/"),
            ("HTTPS://Example.COM/A?b=c#d", "https://example.com/A?b=c#d"),
            ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
            ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
        ] {
            assert_eq!(url(text).unwrap(), answered);
        }
    }

    #[test]
    fn addresses_are_refused_with_the_nearest() {
        for (text, nearest) in [
            ("", "https://example.com/"),
            ("http://example.com/x", "https://example.com/x"),
            ("example.com/x", "https://example.com/x"),
            ("localhost:8080", "https://localhost:8080/"),
            ("https://ann:secret@example.com/", "https://example.com/"),
            ("https://ann@example.com/", "https://example.com/"),
            ("javascript:alert(1)", "https://example.com/"),
            ("data:text/html,<script>", "https://example.com/"),
            ("https://", "https://example.com/"),
            ("https://exa mple.com/", "https://example.com/"),
            ("https://example.com/\n", "https://example.com/"),
            ("ftp://example.com/x", "https://example.com/x"),
            ("odd://example.com/x", "https://example.com/"),
        ] {
            assert_eq!(hint(url, text), nearest, "{text:?}");
        }
        assert_eq!(
            hint(url, &format!("https://example.com/{}", "ä".repeat(1_000))),
            "https://example.com/"
        );
        hint(url, &"x".repeat(1_000_000));
    }

    #[test]
    fn an_id_that_was_given_out_is_refused_with_one_that_was_not() {
        let used = BTreeSet::from(["shop-2".to_owned()]);
        let refusal = id_used("shop", &used, ("Settings", "s".to_owned()));
        assert_eq!(refusal.reason(), ErrorReason::TabIdUsed);
        assert!(format!("{refusal:?}").contains("shop-3"));
        for other in others(&"a".repeat(63)) {
            assert!(id(&other).is_ok(), "{other}");
        }
    }
}
