//! What texts are compared by.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// The words of a text, in lower case, without accents, with one space between them: `Bäckerei Groß & Söhne` is `backerei gross sohne`.
/// What is neither letter nor digit only parts words.
pub fn fold(text: &str) -> String {
    let letters: String = fold_letters(text).collect();
    let words = letters.split(|character: char| !character.is_alphanumeric());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A text in lower case, without accents; whatever is no letter stays as it is: `Größe: 50%` is `grosse: 50%`. It may come out many times
/// as long.
pub fn fold_letters(text: &str) -> impl Iterator<Item = char> {
    let characters = text.nfkd().filter(|character| !is_combining_mark(*character));
    characters.flat_map(char::to_lowercase).flat_map(|character| {
        let (one, other) = match character {
            // Letters that don't decompose.
            'ß' => ('s', Some('s')),
            'æ' => ('a', Some('e')),
            'œ' => ('o', Some('e')),
            'þ' => ('t', Some('h')),
            'ø' => ('o', None),
            'ł' => ('l', None),
            'đ' | 'ð' => ('d', None),
            'ı' => ('i', None),
            'ς' => ('σ', None),
            _ => (character, None),
        };
        std::iter::once(one).chain(other)
    })
}

/// A text in lower case, its accented letters written in one way: two that differ in more are different ones.
pub fn fold_case(text: &str) -> String {
    let lower = text.nfc().flat_map(char::to_lowercase);
    lower
        .map(|character| if character == 'ς' { 'σ' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_accents_and_punctuation_make_no_difference() {
        for (text, folded) in [
            ("Bäckerei Groß & Söhne", "backerei gross sohne"),
            ("  ann@bakery.example ", "ann bakery example"),
            ("a-b_c--d", "a b c d"),
            ("ÉCOLE n° 7 ½", "ecole n 7 1 2"),
            ("ＦＵＬＬ ｗｉｄｔｈ", "full width"),
            ("İstanbul Łódź ΣΟΦΟΣ σοφος", "istanbul lodz σοφοσ σοφοσ"),
            ("東京 が", "東京 か"),
            ("\0%_*\"'&|!()", ""),
            ("", ""),
        ] {
            assert_eq!(fold(text), folded, "{text:?}");
            assert_eq!(fold(folded), folded, "what is folded stays so");
        }
    }

    #[test]
    fn what_is_no_letter_stays_where_only_letters_are_folded() {
        for (text, folded) in [
            ("Größe: 50%_*", "grosse: 50%_*"),
            ("ÉCOLE\n\t(n°)", "ecole\n\t(n°)"),
            ("ΣΟΦΟΣ", "σοφοσ"),
            ("", ""),
        ] {
            assert_eq!(fold_letters(text).collect::<String>(), folded, "{text:?}");
            assert_eq!(
                fold_letters(folded).collect::<String>(),
                folded,
                "what is folded stays so"
            );
        }
    }

    #[test]
    fn only_case_makes_no_difference() {
        for (one, other) in [("ÖFFNUNG", "öffnung"), ("ΣΟΦΟΣ", "σοφος"), ("e\u{301}te", "Éte")] {
            assert_eq!(fold_case(one), fold_case(other));
        }
        for (one, other) in [("ete", "été"), ("की", "का"), ("ß", "ss"), ("a-b", "a_b")] {
            assert_ne!(fold_case(one), fold_case(other));
        }
    }
}
