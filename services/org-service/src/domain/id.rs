//! Ids that are derived from what people call a thing.

use clientele_api::fold::fold;
use rand::Rng;
use std::iter;

/// A derived id leaves room for a suffix.
const DERIVED_LENGTH: usize = 56;

/// Who chose an id.
#[derive(Debug, Clone, PartialEq)]
pub enum IdChoice {
    /// The caller: it must be this one.
    Given(String),
    /// We did, from a name: it may be another one.
    Derived {
        /// This one first.
        id: String,
        /// Stands before a suffix.
        separator: char,
    },
}

/// What the derived ids of a kind of things look like.
#[derive(Debug)]
pub struct Form {
    /// What an id begins with that would be too short, would begin with a digit or would have no letter.
    pub prefix: &'static str,
    /// Stands for everything that is no Latin letter and no digit.
    pub separator: char,
    /// How long it is at least.
    pub shortest: usize,
}

impl IdChoice {
    /// The id to try first.
    pub fn id(&self) -> &str {
        match self {
            Self::Given(id) | Self::Derived { id, .. } => id,
        }
    }

    /// Another id to try where that one is taken; none where the caller chose it.
    pub fn with_suffix(&self) -> Option<String> {
        match self {
            Self::Given(_) => None,
            Self::Derived { id, separator } => Some(format!("{id}{separator}{}", random_suffix())),
        }
    }
}

impl Form {
    /// An id made of the Latin letters and digits of a name: `Bäckerei Groß & Söhne` is `backerei-gross-sohne`.
    pub fn derive(&self, name: &str) -> IdChoice {
        IdChoice::Derived {
            id: self.id(name),
            separator: self.separator,
        }
    }

    fn id(&self, name: &str) -> String {
        let id = self.fold(name);
        if !id.contains(|character: char| character.is_ascii_lowercase()) {
            return format!("{}{}", self.prefix, random_suffix());
        }
        let id = id.trim_end_matches(self.separator);
        let prefix = if id.len() < self.shortest || id.starts_with(|first: char| first.is_ascii_digit()) {
            self.prefix
        } else {
            ""
        };
        let id: String = prefix.chars().chain(id.chars()).take(DERIVED_LENGTH).collect();
        id.trim_end_matches(self.separator).to_owned()
    }

    fn fold(&self, name: &str) -> String {
        let mut id = String::new();
        for character in fold(name).chars() {
            match character {
                'a'..='z' | '0'..='9' => id.push(character),
                _ if id.is_empty() || id.ends_with(self.separator) => {}
                _ => id.push(self.separator),
            }
        }
        id
    }
}

fn random_suffix() -> String {
    const CHARACTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    iter::repeat_with(|| char::from(CHARACTERS[random.random_range(0..CHARACTERS.len())]))
        .take(6)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form {
        prefix: "org-",
        separator: '-',
        shortest: 3,
    };

    #[test]
    fn ids_are_derived_from_names() {
        for (name, id) in [
            ("Bäckerei Groß & Söhne", "backerei-gross-sohne"),
            ("  Ann's -- Bakery!  ", "ann-s-bakery"),
            ("7-Eleven", "org-7-eleven"),
            ("AB", "org-ab"),
            ("Łódź Smørrebrød", "lodz-smorrebrod"),
            ("Ａｃｍｅ ½", "acme-1-2"),
            ("東京 Sushi", "sushi"),
            ("İstanbul", "istanbul"),
        ] {
            assert_eq!(FORM.id(name), id, "{name}");
        }
        assert!(FORM.id("東京").starts_with("org-"));
        assert_ne!(FORM.id("東京"), FORM.id("東京"));
    }

    #[test]
    fn each_kind_has_its_form() {
        let form = Form {
            prefix: "team_",
            separator: '_',
            shortest: 1,
        };
        for (name, id) in [
            ("Second level", "second_level"),
            ("2nd level", "team_2nd_level"),
            ("A", "a"),
        ] {
            assert_eq!(form.id(name), id, "{name}");
        }
        assert!(form.id("支援").starts_with("team_"));
        let other = form.derive("Sales").with_suffix().unwrap();
        assert!(
            other.starts_with("sales_") && other.len() == "sales_".len() + 6,
            "{other}"
        );
        assert_eq!(IdChoice::Given("sales".to_owned()).with_suffix(), None);
    }
}
