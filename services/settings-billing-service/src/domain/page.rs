//! The pages that a dashboard offers.

use super::named::named;
use super::values::Broken;
use clientele_api::error::Invalid;
use clientele_api::settings::{self as api, Page};

/// All of them, in the order in which they are offered where nobody chose.
pub const ALL: [Page; 10] = [
    Page::Home,
    Page::Conversations,
    Page::Analytics,
    Page::KnowledgeBase,
    Page::Channels,
    Page::Prompt,
    Page::Settings,
    Page::Leads,
    Page::Integrations,
    Page::Billing,
];

/// Reads pages, each of which is there once.
pub fn parse(list: &api::PageList) -> Result<Vec<Page>, Broken> {
    let mut pages = Vec::new();
    let mut broken = Broken::default();
    if list.pages.len() > ALL.len() {
        let rule = format!(
            "must be at most {most}, each once, not {}, as in the first `{most}`",
            list.pages.len(),
            most = ALL.len()
        );
        return Err(Invalid::new(rule).into());
    }
    for (at, number) in list.pages.iter().enumerate() {
        let path = format!(".pages[{at}]");
        match broken.check(&path, named(*number, Page::as_str_name)) {
            Some(page) if pages.contains(&page) => broken.add(&path, repeated(page, list)),
            page => pages.extend(page),
        }
    }
    broken.finish(pages)
}

/// In a list that is not too long there is another page that it does not have.
fn repeated(page: Page, list: &api::PageList) -> String {
    let other = ALL.iter().find(|page| !list.pages.contains(&i32::from(**page)));
    let other = other.unwrap_or(&page).as_str_name();
    format!("must not repeat {}, as in `{other}`", page.as_str_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pages: &[i32]) -> api::PageList {
        api::PageList { pages: pages.to_vec() }
    }

    #[test]
    fn all_are_all_of_the_enum() {
        let named: Vec<Page> = (1..100).filter_map(|number| Page::try_from(number).ok()).collect();
        assert_eq!(named, ALL);
    }

    #[test]
    fn pages_are_read_in_their_order() {
        assert_eq!(parse(&list(&[])).unwrap(), []);
        let pages = parse(&list(&[3, 1])).unwrap();
        assert_eq!(pages, [Page::Analytics, Page::Home]);
    }

    #[test]
    fn each_that_breaks_a_rule_is_told_with_what_keeps_it() {
        let broken = parse(&list(&[1, 0, 1, 99, 2])).unwrap_err();
        assert_eq!(
            broken.told(),
            [
                (
                    ".pages[1]",
                    "must be a named value of the enum, not 0, as in `PAGE_HOME`"
                ),
                (".pages[2]", "must not repeat PAGE_HOME, as in `PAGE_ANALYTICS`"),
                (
                    ".pages[3]",
                    "must be a named value of the enum, not 99, as in `PAGE_BILLING`"
                ),
            ]
        );
        let many = parse(&list(&[1; 11])).unwrap_err();
        assert_eq!(many.told().len(), 1);
    }
}
