//! The subset of AIP-160 that lists understand: terms joined by AND, each a field, an operator and a value.

use clientele_api::{Error, Result};
use std::iter::Peekable;
use std::str::Chars;

/// One term of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The field.
    pub field: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub value: String,
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `>=`
    GreaterOrEqual,
}

/// The most terms of a filter: each is a condition that every row is asked.
const MOST_TERMS: usize = 20;

/// Reads a filter; nothing is no term. Values are words or quoted texts.
pub fn parse(filter: &str) -> Result<Vec<Term>> {
    let mut tokens = Tokens(filter.chars().peekable());
    let mut terms = Vec::new();
    while let Some(token) = tokens.next()? {
        let field = match token {
            Token::Word(word) if terms.is_empty() => word,
            Token::Word(word) if word == "AND" => match tokens.next()? {
                Some(Token::Word(field)) => field,
                _ => return Err(malformed("AND must be followed by a field")),
            },
            _ => return Err(malformed("terms must be joined by AND")),
        };
        let Some(Token::Operator(operator)) = tokens.next()? else {
            return Err(malformed(&format!("{field} must be followed by =, < or >=")));
        };
        let Some(Token::Word(value) | Token::Text(value)) = tokens.next()? else {
            return Err(malformed(&format!(
                "{field} must be compared with a word or a quoted text"
            )));
        };
        if terms.len() == MOST_TERMS {
            return Err(malformed(&format!("must be at most {MOST_TERMS} terms")));
        }
        terms.push(Term { field, operator, value });
    }
    Ok(terms)
}

/// INVALID_ARGUMENT for a term that the list does not understand.
pub fn unknown(term: &Term) -> Error {
    malformed(&format!(
        "{:?} can't be filtered so; the method's comment lists what can",
        term.field
    ))
}

/// INVALID_ARGUMENT for a value of a term.
pub fn malformed(rule: &str) -> Error {
    Error::field("filter", rule)
}

enum Token {
    Word(String),
    Text(String),
    Operator(Operator),
}

struct Tokens<'f>(Peekable<Chars<'f>>);

impl Tokens<'_> {
    fn next(&mut self) -> Result<Option<Token>> {
        while self.0.next_if(|character| character.is_whitespace()).is_some() {}
        Ok(match self.0.next() {
            None => None,
            Some('"') => Some(Token::Text(self.text()?)),
            Some('=') => Some(Token::Operator(Operator::Equal)),
            Some('<') => Some(Token::Operator(Operator::Less)),
            Some('>') if self.0.next_if_eq(&'=').is_some() => Some(Token::Operator(Operator::GreaterOrEqual)),
            Some(first) if is_word(first) => {
                let mut word = String::from(first);
                while let Some(character) = self.0.next_if(|character| is_word(*character)) {
                    word.push(character);
                }
                Some(Token::Word(word))
            }
            Some(other) => return Err(malformed(&format!("{other:?} is not understood"))),
        })
    }

    fn text(&mut self) -> Result<String> {
        let mut text = String::new();
        loop {
            let character = match self.0.next() {
                Some('"') => return Ok(text),
                Some('\\') => self.0.next(),
                other => other,
            };
            match character {
                // NUL would be an error of the database's
                Some(character) if character.is_control() => {
                    return Err(malformed("quoted texts must not contain control characters"));
                }
                Some(character) => text.push(character),
                None => return Err(malformed("a quoted text must end")),
            }
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '-' | '/' | ':' | '@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_and_everything_else_is_refused() {
        let terms = parse(r#"state = ACTIVE AND external_id="a \"b\"" AND time >= "2026-01-01T00:00:00Z""#).unwrap();
        let values: Vec<&str> = terms.iter().map(|term| term.value.as_str()).collect();
        assert_eq!(values, ["ACTIVE", "a \"b\"", "2026-01-01T00:00:00Z"]);
        assert_eq!(terms[2].operator, Operator::GreaterOrEqual);
        assert_eq!(parse("  ").unwrap(), []);
        let many = |terms: usize| parse(&vec!["a = b"; terms].join(" AND "));
        assert!(many(MOST_TERMS).is_ok() && many(MOST_TERMS + 1).is_err());
        for bad in [
            "state",
            "state =",
            "= x",
            "a = b c = d",
            "a = b AND",
            "a = \"b",
            "a ~ b",
            "a = b OR c = d",
            "a = \"\0\"",
            "a = \"\\\0\"",
            "a > b",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
