//! The rules that many fields share. Parsing is validation: what comes out holds the rule.

use crate::error::Invalid;
use uuid::Uuid;

/// A text of one line with this many characters: no control characters, not blank at its ends.
pub fn line(text: &str, characters: std::ops::RangeInclusive<usize>) -> Result<String, Invalid> {
    without_controls(text, |_| false)?;
    if text.trim() != text {
        return Err(Invalid::new("must not begin or end with white space"));
    }
    of_length(text, characters)
}

/// A text of several lines with at most this many characters: no control characters but line feeds and tabs.
pub fn paragraphs(text: &str, characters: usize) -> Result<String, Invalid> {
    without_controls(text, |character| matches!(character, '\n' | '\t'))?;
    of_length(text, 0..=characters)
}

/// A list of words of 1 to 64 characters, at most so many, each once. Stops at the first that breaks a rule: what is answered stays small.
pub fn words(given: &[String], most: usize) -> Result<Vec<String>, Invalid> {
    if given.len() > most {
        return Err(Invalid::new(format!("must be at most {most}, not {}", given.len())));
    }
    for (at, word) in given.iter().enumerate() {
        line(word, 1..=64).map_err(|Invalid(rule)| Invalid::new(format!("[{at}] {rule}")))?;
        if given[..at].contains(word) {
            return Err(Invalid::new(format!("[{at}] must not repeat {word:?}")));
        }
    }
    Ok(given.to_vec())
}

/// An email address as far as a server can tell: one `@` with something on both sides, no white space, at most 254
/// characters (RFC 5321). Only a mail that arrives proves more.
pub fn email(text: &str) -> Result<String, Invalid> {
    let text = line(text, 3..=254)?;
    match text.split_once('@') {
        Some((local, domain))
            if !local.is_empty()
                && !domain.is_empty()
                && !domain.contains('@')
                && !text.chars().any(char::is_whitespace) =>
        {
            Ok(text)
        }
        _ => Err(Invalid::new("must be an email address, as in ann@example.com")),
    }
}

/// The id of a workspace, an organization or a role.
pub fn resource_id(text: &str) -> Result<String, Invalid> {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let ends = bytes.first().is_some_and(u8::is_ascii_lowercase) && bytes.last().is_some_and(|last| *last != b'-');
    if (3..=63).contains(&bytes.len()) && ends && bytes.iter().all(inner) {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new(
            "must be 3 to 63 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen",
        ))
    }
}

/// A UUID in its usual text form.
pub fn uuid(text: &str) -> Result<Uuid, Invalid> {
    let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
    uuid.ok_or_else(|| Invalid::new("must be a UUID, as in 01a20cb6-3a63-755b-9f1d-4c93df7357b0"))
}

/// A named value of an enum: not the zero one, not a number that it does not have.
pub fn enum_value<E: TryFrom<i32> + Into<i32> + Copy>(number: i32) -> Result<E, Invalid> {
    match E::try_from(number) {
        Ok(value) if number != 0 => Ok(value),
        _ => Err(Invalid::new(format!("must be a named value of the enum, not {number}"))),
    }
}

fn without_controls(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), Invalid> {
    if text
        .chars()
        .any(|character| character.is_control() && !allowed(character))
    {
        return Err(Invalid::new("must not contain control characters"));
    }
    Ok(())
}

fn of_length(text: &str, characters: std::ops::RangeInclusive<usize>) -> Result<String, Invalid> {
    let length = text.chars().count();
    if characters.contains(&length) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!(
        "must have {} to {} characters, not {length}",
        characters.start(),
        characters.end()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_in_characters_and_have_no_controls() {
        assert!(line(&"ä".repeat(200), 1..=200).is_ok());
        for bad in [
            String::new(),
            "a".repeat(201),
            "a\0b".into(),
            "a\nb".into(),
            " a".into(),
            "\u{85}".into(),
        ] {
            assert!(line(&bad, 1..=200).is_err(), "{bad:?}");
        }
        assert!(paragraphs("a\n\tb", 10).is_ok());
        assert!(paragraphs("a\r\n", 10).is_err());
    }

    #[test]
    fn words_are_limited_and_each_is_there_once() {
        let numbered = |count: usize| (0..count).map(|at| at.to_string()).collect::<Vec<_>>();
        assert!(words(&numbered(20), 20).is_ok());
        assert!(words(&numbered(21), 20).is_err());
        for bad in [&["".to_owned()][..], &["a".to_owned(), "a".to_owned()]] {
            assert!(words(bad, 20).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_follow_their_pattern() {
        for good in ["abc", "a-1", &"a".repeat(63)] {
            assert!(resource_id(good).is_ok(), "{good}");
        }
        for bad in ["ab", "1bc", "abc-", "Abc", "a_c", "äbc", &"a".repeat(64)] {
            assert!(resource_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn emails_have_two_sides() {
        assert!(email("ann@example.com").is_ok());
        for bad in ["", "ann", "@x", "x@", "a@b@c", "a b@c"] {
            assert!(email(bad).is_err(), "{bad}");
        }
    }
}
