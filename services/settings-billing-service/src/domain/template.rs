//! Texts with variables: `{{name}}` stands for a value.

use clientele_api::error::Invalid;
use clientele_api::fold::fold;
use std::collections::{BTreeMap, BTreeSet};

/// How long a name of a variable is at most.
const LONGEST_NAME: usize = 64;
/// How many different variables a text has at most.
const MOST_VARIABLES: usize = 50;
/// How long a text is at most that comes of one with values.
const LONGEST_RENDERED: usize = 20_000;

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'t> {
    /// Stands for itself.
    Text(&'t str),
    /// A variable: its name, and how it is written.
    Variable(&'t str, &'t str),
}

/// A text whose variables are well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// What comes of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The variables without a value, each once, in the order of their first places.
    pub missing: Vec<String>,
}

impl Template {
    /// Reads a text: whatever begins with two braces must be a variable.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut names = BTreeSet::new();
        for part in parts(text) {
            if let Part::Variable(name, _) = part.map_err(|at| no_variable(text, at))? {
                names.insert(name);
            }
        }
        if names.len() > MOST_VARIABLES {
            let rule = format!("must have at most {MOST_VARIABLES} variables, not {}", names.len());
            return Err(Invalid::new(rule));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names of the variables, each once, in the order of their first places.
    pub fn variables(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let names = self.parts().filter_map(|part| match part {
            Part::Variable(name, _) => Some(name),
            Part::Text(_) => None,
        });
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// The text with values in the places of its variables; nothing in a value is taken for a variable. How long it becomes is counted
    /// before it is made.
    pub fn render(&self, values: &BTreeMap<String, String>) -> Result<Rendered, Invalid> {
        let lengths: BTreeMap<&str, usize> = values
            .iter()
            .map(|(name, value)| (name.as_str(), value.chars().count()))
            .collect();
        let length = |part| match part {
            Part::Text(text) => text.chars().count(),
            Part::Variable(name, written) => lengths.get(name).copied().unwrap_or_else(|| written.chars().count()),
        };
        let length: usize = self.parts().map(length).sum();
        if length > LONGEST_RENDERED {
            return Err(Invalid::new(format!(
                "must be values with which the text has at most {LONGEST_RENDERED} characters, not {length}"
            )));
        }
        let piece = |part| match part {
            Part::Text(text) => text,
            Part::Variable(name, written) => values.get(name).map_or(written, String::as_str),
        };
        let missing = self.variables().into_iter().filter(|name| !values.contains_key(*name));
        Ok(Rendered {
            text: self.parts().map(piece).collect(),
            missing: missing.map(str::to_owned).collect(),
        })
    }

    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        parts(&self.0).filter_map(Result::ok)
    }
}

/// Whether it can be the name of a variable.
pub fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    text.len() <= LONGEST_NAME && text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(inner)
}

/// The pieces of a text, in their order; at two braces that begin no variable it ends with the place of these, in bytes.
fn parts(text: &str) -> impl Iterator<Item = Result<Part<'_>, usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let part = match rest.find("{{") {
            None if rest.is_empty() => return None,
            None => Part::Text(rest),
            Some(0) => match variable(rest) {
                Some(variable) => variable,
                None => {
                    let place = at;
                    at = text.len();
                    return Some(Err(place));
                }
            },
            Some(begin) => Part::Text(&rest[..begin]),
        };
        let (Part::Text(written) | Part::Variable(_, written)) = part;
        at += written.len();
        Some(Ok(part))
    })
}

/// The variable that a text begins with.
fn variable(text: &str) -> Option<Part<'_>> {
    let inside = text.strip_prefix("{{")?;
    let inside = &inside[..inside.find("}}")?];
    let name = inside.trim_matches([' ', '\t']);
    let written = &text[..inside.len() + 4];
    is_name(name).then_some(Part::Variable(name, written))
}

/// The rule for two braces that begin no variable, with where they are and what they could be.
fn no_variable(text: &str, at: usize) -> Invalid {
    let character = text[..at].chars().count() + 1;
    let nearest = nearest(&text[at..]);
    Invalid::new(format!(
        "must have a variable at its character {character}, where two braces are, as in {{{{{nearest}}}}}"
    ))
}

/// The name that is most like what stands behind two braces.
fn nearest(text: &str) -> String {
    let inside = text.trim_start_matches('{');
    let inside = inside.split(['}', '{', '\n']).next().unwrap_or_default();
    let inside: String = inside.chars().take(LONGEST_NAME).collect();
    let spelled = if inside.is_ascii() { inside } else { fold(&inside) };
    let inner = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.');
    let words = spelled.split(|character| !inner(character));
    let name = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
    let name = name.trim_start_matches(|character: char| !character.is_ascii_alphabetic());
    let name = &name[..name.len().min(LONGEST_NAME)];
    if name.is_empty() {
        "name".to_owned()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    fn values(given: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        given.iter().map(owned).collect()
    }

    #[test]
    fn variables_are_named_once_in_the_order_of_their_first_places() {
        let template = Template::parse("{{b}} {{ a }} {{b}}{{\tc.d_1 }} { {x} } }} {").unwrap();
        assert_eq!(template.variables(), ["b", "a", "c.d_1"]);
        assert_eq!(Template::parse("no {variables} }}").unwrap().variables(), [""; 0]);
    }

    #[test]
    fn braces_that_begin_no_variable_are_refused_with_their_place_and_what_they_could_be() {
        let long = format!("{{{{{}}}}}", "a".repeat(65));
        for (text, place, nearest) in [
            ("{{", 1, "name"),
            ("Öl {{first name}}", 4, "first_name"),
            ("{{}}", 1, "name"),
            ("{{ }}", 1, "name"),
            ("{{1st}}", 1, "st"),
            ("{{_a}}", 1, "a"),
            ("{{größe}}", 1, "grosse"),
            ("{{{name}}}", 1, "name"),
            ("{{a}} {{b", 7, "b"),
            ("{{a\n}}", 1, "a"),
            ("{{a}b}}", 1, "a"),
            ("{{a-b}}", 1, "a_b"),
            ("{{a {{b}}", 1, "a"),
            ("{{東京}}", 1, "name"),
            (&long, 1, &"a".repeat(64)),
        ] {
            let Invalid(rule) = Template::parse(text).unwrap_err();
            let expected = format!("character {place}, where two braces are, as in {{{{{nearest}}}}}");
            assert!(rule.ends_with(&expected), "{text}: {rule}");
            assert!(Template::parse(&format!("{{{{{nearest}}}}}")).is_ok());
        }
        let many = |count: usize| (0..count).map(|at| format!("{{{{v{at}}}}}")).collect::<String>();
        assert!(Template::parse(&many(50)).is_ok());
        assert!(Template::parse(&many(51)).is_err());
        assert!(Template::parse(&"{{a}}".repeat(51)).is_ok());
    }

    #[test]
    fn values_take_the_places_of_variables_and_are_no_variables_themselves() {
        let template = Template::parse("Hi {{ name }}, {{a}}{{b}} {{name}}").unwrap();
        let rendered = template.render(&values(&[("name", "{{a}}"), ("a", "{{"), ("x", "y")]));
        let rendered = rendered.unwrap();
        assert_eq!(rendered.text, "Hi {{a}}, {{{{b}} {{a}}");
        assert_eq!(rendered.missing, ["b"]);
        let rendered = template.render(&BTreeMap::new()).unwrap();
        assert_eq!(rendered.text, template.as_str());
        assert_eq!(rendered.missing, ["name", "a", "b"]);
    }

    #[test]
    fn what_would_become_too_long_is_not_made() {
        let template = Template::parse(&"{{a}}".repeat(800)).unwrap();
        let of = |length: usize| template.render(&values(&[("a", &"ä".repeat(length))]));
        assert_eq!(of(25).unwrap().text.chars().count(), 20_000);
        let Invalid(rule) = of(26).unwrap_err();
        assert!(rule.ends_with("at most 20000 characters, not 20800"), "{rule}");
        assert!(of(4_000).unwrap_err().0.ends_with("not 3200000"));
    }

    /// Texts in which braces, names and blanks meet in every way.
    fn texts() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("{{".to_owned()),
            Just("}}".to_owned()),
            Just("{".to_owned()),
            Just("}".to_owned()),
            Just("{{a}}".to_owned()),
            Just("{{ b.c\t}}".to_owned()),
            "[a-z0-9_. \t\n]{0,4}",
            "\\PC{0,3}",
        ];
        vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_written_is_read_or_refused(text in texts()) {
            match Template::parse(&text) {
                Ok(template) => {
                    let written: String = template.parts().map(|part| match part {
                        Part::Text(text) => text,
                        Part::Variable(_, written) => written,
                    }).collect();
                    prop_assert_eq!(&written, &text, "the pieces are the text");
                    for name in template.variables() {
                        prop_assert!(is_name(name));
                    }
                    for part in template.parts() {
                        if let Part::Text(piece) = part {
                            prop_assert!(!piece.contains("{{"));
                        }
                    }
                }
                Err(Invalid(rule)) => prop_assert!(text.contains("{{") && rule.chars().count() <= 160, "{}", rule),
            }
        }

        #[test]
        fn whatever_is_put_in_stays_what_it_is(
            names in vec(prop_oneof![Just("a"), Just("b"), Just("c")], 0..40),
            values in btree_map(prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("d".to_owned())], texts(), 0..4),
            longest in 0..4_000_usize,
        ) {
            let text: String = names.iter().map(|name| format!("<{{{{{name}}}}}>")).collect();
            let mut values = values;
            if let Some(value) = values.get_mut("a") {
                *value = value.repeat(longest / value.len().max(1));
            }
            let expected: String = names.iter().map(|name| match values.get(*name) {
                Some(value) => format!("<{value}>"),
                None => format!("<{{{{{name}}}}}>"),
            }).collect();
            let template = Template::parse(&text).unwrap();
            match template.render(&values) {
                Ok(rendered) => {
                    prop_assert!(rendered.text.chars().count() <= LONGEST_RENDERED);
                    prop_assert_eq!(rendered.text, expected);
                    let missing = template.variables().into_iter().filter(|name| !values.contains_key(*name));
                    prop_assert_eq!(rendered.missing, missing.map(str::to_owned).collect::<Vec<_>>());
                }
                Err(_) => prop_assert!(expected.chars().count() > LONGEST_RENDERED),
            }
        }
    }
}
