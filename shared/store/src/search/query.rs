//! What somebody searches, and how well a resource fits it.

use super::keys::{
    Keys, NAME_BEGINNING, Space, TITLE_BEGINNING, Text, WORD_BEGINNING, beginning, is_spelled, is_unspaced,
    misspellings, trigrams,
};
use clientele_api::Uid;
use clientele_api::fold::fold;

/// Of a search with more words than this none may have a typo.
const MOST_WORDS_WITH_TYPO: usize = 5;

/// What somebody searches in a workspace.
#[derive(Debug, Clone)]
pub struct Query {
    workspace: Uid,
    folded: String,
    words: Vec<String>,
}

/// How well a resource fits, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    /// In which way.
    pub rank: Rank,
    /// Whether its title and ids alone would not fit as well.
    pub elsewhere: bool,
}

/// In which way a resource fits, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// One of its ids is what was asked for.
    Id,
    /// Its title is.
    Title,
    /// Its title or one of its ids begins with it.
    Prefix,
    /// For each word there is one that begins with it.
    WordPrefix,
    /// For each word there is one that holds it; words of one or two letters are only looked for at the beginning of words, unless their
    /// script does not part words.
    Substring,
    /// The same, but one word is mistyped, by so many letters.
    Typo(u8),
}

/// The bit of what fits elsewhere.
const ELSEWHERE: u8 = 0x80;

impl Fit {
    pub(super) fn to_byte(self) -> u8 {
        let elsewhere = if self.elsewhere { ELSEWHERE } else { 0 };
        self.rank.to_byte() | elsewhere
    }

    pub(super) fn from_byte(byte: u8) -> Self {
        Self {
            rank: Rank::from_byte(byte & !ELSEWHERE),
            elsewhere: byte & ELSEWHERE != 0,
        }
    }
}

impl Rank {
    /// Whether a word is mistyped.
    pub fn is_typo(self) -> bool {
        matches!(self, Self::Typo(_))
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Id => 0,
            Self::Title => 1,
            Self::Prefix => 2,
            Self::WordPrefix => 3,
            Self::Substring => 4,
            Self::Typo(letters) => 4 + letters,
        }
    }

    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Id,
            1 => Self::Title,
            2 => Self::Prefix,
            3 => Self::WordPrefix,
            4 => Self::Substring,
            more => Self::Typo(more - 4),
        }
    }
}

impl Query {
    /// Reads what was typed; none where that has no letter and no digit.
    pub fn new(workspace: Uid, typed: &str) -> Option<Self> {
        let folded = fold(typed);
        let words: Vec<String> = folded.split_whitespace().map(str::to_owned).collect();
        (!words.is_empty()).then_some(Self {
            workspace,
            folded,
            words,
        })
    }

    /// Whose resources are searched.
    pub fn workspace(&self) -> Uid {
        self.workspace
    }

    /// How well the resource fits; none: not at all.
    pub fn fit(&self, text: &Text<'_>) -> Option<Fit> {
        let names = text.names();
        let (title, ids) = names.split_first()?;
        let named = |rank| Fit { rank, elsewhere: false };
        if ids.contains(&self.folded) {
            return Some(named(Rank::Id));
        }
        if *title == self.folded {
            return Some(named(Rank::Title));
        }
        if names.iter().any(|name| name.starts_with(&self.folded)) {
            return Some(named(Rank::Prefix));
        }
        let mut words: Vec<&str> = names.iter().flat_map(|name| name.split_whitespace()).collect();
        let by_name = self.rank(&words, &[]);
        if by_name == Some(Rank::WordPrefix) || !text.has_more() {
            return by_name.map(named);
        }
        let (others, prose) = (text.others(), fold(text.prose.unwrap_or_default()));
        words.extend(others.iter().flat_map(|other| other.split_whitespace()));
        let prose: Vec<&str> = prose.split_whitespace().collect();
        self.rank(&words, &prose).map(|rank| Fit {
            rank,
            elsewhere: by_name != Some(rank),
        })
    }

    /// How well its words fit, of which only those of the prose must be typed right.
    fn rank(&self, words: &[&str], prose: &[&str]) -> Option<Rank> {
        let begins = |word: &&String| begins(word, words) || begins(word, prose);
        if self.words.iter().all(|word| begins(&word)) {
            return Some(Rank::WordPrefix);
        }
        let is_held = |word: &&String| is_held(word, words) || is_held(word, prose);
        let mut missing = self.words.iter().filter(|word| !is_held(word));
        match (missing.next(), missing.next()) {
            (None, _) => Some(Rank::Substring),
            (Some(_), Some(_)) => None,
            (Some(_), None) if self.words.len() > MOST_WORDS_WITH_TYPO => None,
            (Some(word), None) => typos(word, words).map(Rank::Typo),
        }
    }

    /// What everything that fits without a typo has.
    pub fn exact(&self) -> Keys {
        let space = self.space();
        Keys(self.words.iter().flat_map(|word| held(&space, word)).collect())
    }

    /// What has the best of those: of each set of keys that comes first what fits better.
    pub fn best(&self) -> Vec<Keys> {
        let space = self.space();
        let each = || self.words.iter();
        let words = || {
            let beginnings = each().map(|word| space.word_beginning(beginning(word, WORD_BEGINNING)));
            beginnings.chain(each().flat_map(|word| held(&space, word)))
        };
        let title = each()
            .take(1)
            .map(|word| space.title_beginning(beginning(word, TITLE_BEGINNING)));
        let names = each().map(|word| space.name_beginning(beginning(word, NAME_BEGINNING)));
        vec![
            Keys([space.whole(&self.folded)].into()),
            Keys(words().chain(title).collect()),
            Keys(words().chain(names).collect()),
            Keys(words().collect()),
        ]
    }

    /// What has one of these fits with a typo in one of the words: for each word that can have one, what it may have been meant to be,
    /// beside all that the other words need.
    ///
    /// A misspelled word shares hardly a trigram with what was meant, and those it does share may be anywhere: so words are indexed by
    /// their misspellings too, which are as rare as the word.
    pub fn mistyped(&self) -> Vec<Keys> {
        if self.words.len() > MOST_WORDS_WITH_TYPO {
            return Vec::new();
        }
        let space = self.space();
        let mut alternatives = Vec::new();
        for (at, word) in self.words.iter().enumerate().filter(|(_, word)| tolerance(word) > 0) {
            let others = self.words.iter().enumerate().filter(|(other, _)| *other != at);
            let others: Vec<i64> = others.flat_map(|(_, other)| held(&space, other)).collect();
            for spelling in misspellings(word) {
                let meant = [space.misspelled(&spelling)].into_iter();
                alternatives.push(Keys(meant.chain(others.iter().copied()).collect()));
            }
        }
        alternatives
    }

    fn space(&self) -> Space {
        Space::of(self.workspace)
    }
}

/// What has a word that holds this one.
fn held(space: &Space, word: &str) -> Vec<i64> {
    match is_short(word) {
        true => vec![space.word_beginning(word)],
        false => trigrams(word).map(|trigram| space.inside(trigram)).collect(),
    }
}

/// Too short for a trigram.
fn is_short(word: &str) -> bool {
    word.chars().nth(2).is_none()
}

fn begins(word: &str, theirs: &[&str]) -> bool {
    theirs.iter().any(|their| their.starts_with(word))
}

fn is_held(word: &str, theirs: &[&str]) -> bool {
    let inside = !is_short(word) || word.starts_with(is_unspaced);
    begins(word, theirs) || (inside && theirs.iter().any(|their| their.contains(word)))
}

/// With how few typos the word is the beginning of one of theirs, as people type; none: with more than it may have, or with such as the
/// index does not find.
fn typos(word: &str, theirs: &[&str]) -> Option<u8> {
    let tolerance = tolerance(word);
    if tolerance == 0 {
        return None;
    }
    let (length, spellings) = (word.chars().count(), misspellings(word));
    let near = theirs.iter().filter_map(|their| {
        let lengths = length - tolerance..=(length + tolerance).min(their.chars().count());
        let distances = lengths.map(|length| strsim::osa_distance(word, beginning(their, length)));
        let distance = distances.min().filter(|distance| *distance <= tolerance)?;
        (is_spelled(their) && !spellings.is_disjoint(&misspellings(their))).then_some(distance)
    });
    u8::try_from(near.min()?).ok()
}

/// How many letters of a word may be wrong, missing or too many, or have changed places with the next.
fn tolerance(word: &str) -> usize {
    match word.chars().count() {
        _ if !is_spelled(word) => 0,
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(typed: &str, title: &str) -> Option<Fit> {
        let text = Text {
            uid: Uid::NIL,
            title,
            ids: vec!["c-17", "ann@mill.example"],
            others: vec!["Est. 1871"],
            prose: Some("Sourdough and rolls.\nOpen on Sundays"),
        };
        Query::new(Uid::NIL, typed)?.fit(&text)
    }

    fn rank(typed: &str, title: &str) -> Option<Rank> {
        fit(typed, title).map(|fit| fit.rank)
    }

    #[test]
    fn ranks_say_how_well_a_resource_fits() {
        for (typed, expected) in [
            ("C-17", Some(Rank::Id)),
            ("ANN@mill.example", Some(Rank::Id)),
            ("bakery north", Some(Rank::Title)),
            ("bak", Some(Rank::Prefix)),
            ("bakery n", Some(Rank::Prefix)),
            ("est", Some(Rank::WordPrefix)),
            ("sourdough and", Some(Rank::WordPrefix)),
            ("undays", Some(Rank::Substring)),
            ("nor", Some(Rank::WordPrefix)),
            ("north bakery", Some(Rank::WordPrefix)),
            ("mill no", Some(Rank::WordPrefix)),
            ("est 1871", Some(Rank::WordPrefix)),
            ("rolls north", Some(Rank::WordPrefix)),
            ("akery", Some(Rank::Substring)),
            ("ort", Some(Rank::Substring)),
            ("akery b", Some(Rank::Substring)),
            ("ak", None),
            ("abkery", Some(Rank::Typo(1))),
            ("bakkery", Some(Rank::Typo(1))),
            ("bkery", Some(Rank::Typo(1))),
            ("bakory n", Some(Rank::Typo(1))),
            ("nrth akery", Some(Rank::Typo(1))),
            ("rolls nrth", Some(Rank::Typo(1))),
            ("sourdouhg", None),
            ("rolsl", None),
            ("bxkxry", None),
            ("nrth bkery", None),
            ("bakery south", None),
            ("1872", None),
            ("%", None),
        ] {
            assert_eq!(rank(typed, "Bakery North"), expected, "{typed}");
        }
        assert_eq!(
            rank("bakeri nrth est c ann mill", "Bakery North"),
            None,
            "of many words none"
        );
        assert_eq!(rank("confectoinry", "Confectionery"), Some(Rank::Typo(2)));
    }

    #[test]
    fn where_no_spaces_part_words_they_are_found_within() {
        for (typed, expected) in [
            ("投诉受理", Some(Rank::Title)),
            ("投", Some(Rank::Prefix)),
            ("受理", Some(Rank::Substring)),
            ("理", Some(Rank::Substring)),
            ("诉受理", Some(Rank::Substring)),
            ("理受", None),
        ] {
            assert_eq!(rank(typed, "投诉受理"), expected, "{typed}");
        }
    }

    #[test]
    fn names_come_first_among_what_fits_in_the_same_way() {
        for (typed, rank, elsewhere) in [
            ("c-17", Rank::Id, false),
            ("nor", Rank::WordPrefix, false),
            ("rolls", Rank::WordPrefix, true),
            ("rolls nor", Rank::WordPrefix, true),
            ("akery", Rank::Substring, false),
            ("olls", Rank::Substring, true),
            // By the title alone it would only be held.
            ("oll akery", Rank::Substring, true),
            ("nrth", Rank::Typo(1), false),
            ("rolls nrth", Rank::Typo(1), true),
        ] {
            assert_eq!(fit(typed, "Bakery North"), Some(Fit { rank, elsewhere }), "{typed}");
        }
        let bytes = |fit: Option<Fit>| fit.map(|fit| Fit::from_byte(fit.to_byte()));
        for typed in ["c-17", "rolls", "olls", "rolls nrth"] {
            assert_eq!(bytes(fit(typed, "Bakery North")), fit(typed, "Bakery North"));
        }
    }
}
