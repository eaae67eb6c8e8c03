//! What a resource is found by: numbers that stand for pieces of its texts.

use clientele_api::Uid;
use clientele_api::fold::fold;
use std::collections::BTreeSet;
use std::fmt;

/// Titles are indexed by up to so many letters of their beginning.
pub(super) const TITLE_BEGINNING: usize = 3;
/// Words are indexed by up to so many letters of their beginning, since fewer than three are no trigram.
pub(super) const WORD_BEGINNING: usize = 2;
/// Where not only names are searched, their words are indexed apart, by up to so many letters of their beginning.
pub(super) const NAME_BEGINNING: usize = 3;
/// Of a word with a typo, this many letters at its beginning are looked at to find it.
const BEGINNING: usize = 6;
/// The shortest word that one with a typo can be meant to be.
const SHORTEST_MEANT: usize = 3;

/// What is searched of a resource.
#[derive(Debug, Clone)]
pub struct Text<'t> {
    /// Which resource.
    pub uid: Uid,
    /// What people call it.
    pub title: &'t str,
    /// What it is known by: who asks for exactly one of these gets the resource first.
    pub ids: Vec<&'t str>,
    /// Whatever else is searched. What fits by these comes behind what fits as well by its title and ids.
    pub others: Vec<&'t str>,
    /// A long text that is searched like the others, but without typos: each of its words would have to be indexed by all its misspellings.
    /// None: resources of this kind have none.
    pub prose: Option<&'t str>,
}

impl Text<'_> {
    /// What it is called, folded: the title and the ids.
    pub(super) fn names(&self) -> Vec<String> {
        [self.title].iter().chain(&self.ids).copied().map(fold).collect()
    }

    /// The others, folded.
    pub(super) fn others(&self) -> Vec<String> {
        self.others.iter().copied().map(fold).collect()
    }

    /// Whether there is more to resources of its kind than title and ids.
    pub(super) fn has_more(&self) -> bool {
        !self.others.is_empty() || self.prose.is_some()
    }
}

/// What a resource is found by, or what has to be there for it to be found.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keys(pub(super) BTreeSet<i64>);

impl Keys {
    /// Those of a resource of this workspace.
    pub fn of(workspace: Uid, text: &Text<'_>) -> Self {
        let space = Space::of(workspace);
        let mut keys = BTreeSet::new();
        let (names, others) = (text.names(), text.others());
        if let Some(first) = names.first().and_then(|title| title.split_whitespace().next()) {
            keys.extend(beginnings(first, TITLE_BEGINNING).map(|letters| space.title_beginning(letters)));
        }
        for folded in names.iter().chain(&others).filter(|folded| !folded.is_empty()) {
            keys.insert(space.whole(folded));
            for word in folded.split(' ') {
                keys.extend(inside(&space, word));
                if is_spelled(word) && word.chars().count() >= SHORTEST_MEANT {
                    keys.extend(misspellings(word).iter().map(|spelling| space.misspelled(spelling)));
                }
            }
        }
        keys.extend(
            fold(text.prose.unwrap_or_default())
                .split_whitespace()
                .flat_map(|word| inside(&space, word)),
        );
        // Where a word is found in more than names, those that are called so could be too many to be looked at with all others.
        for word in names.iter().flat_map(|name| name.split_whitespace()) {
            let letters = beginnings(word, NAME_BEGINNING).filter(|_| text.has_more());
            keys.extend(letters.map(|letters| space.name_beginning(letters)));
        }
        Self(keys)
    }
}

/// As PostgreSQL writes an array: `{17,42}`. SQLite's index takes the numbers of it as words.
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, key) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{key}")?;
        }
        f.write_str("}")
    }
}

/// Makes the keys of one workspace, which no other workspace shares: so that one index serves all of them and none costs another anything.
///
/// The numbers are stored: they must stay the same for ever, or a migration has to make all of them anew. Two pieces of text could have the
/// same one; then a resource is looked at in vain.
pub(super) struct Space(u64);

impl Space {
    pub(super) fn of(workspace: Uid) -> Self {
        Self(hash(0xcbf2_9ce4_8422_2325, workspace.0.as_bytes()))
    }

    /// A whole text.
    pub(super) fn whole(&self, folded: &str) -> i64 {
        self.key(b'=', folded)
    }

    /// The first letters of the title.
    pub(super) fn title_beginning(&self, letters: &str) -> i64 {
        self.key(b'<', letters)
    }

    /// The first letters of a word.
    pub(super) fn word_beginning(&self, letters: &str) -> i64 {
        self.key(b'^', letters)
    }

    /// The first letters of a word of the title or of an id.
    pub(super) fn name_beginning(&self, letters: &str) -> i64 {
        self.key(b'N', letters)
    }

    /// Three letters that follow each other in a word.
    pub(super) fn inside(&self, trigram: &str) -> i64 {
        self.key(b'3', trigram)
    }

    /// What a word looks like with a letter missing.
    pub(super) fn misspelled(&self, spelling: &str) -> i64 {
        self.key(b'~', spelling)
    }

    fn key(&self, kind: u8, text: &str) -> i64 {
        let key = hash(hash(self.0, &[kind]), text.as_bytes());
        // Not negative: SQLite's index reads no signs.
        (key >> 1).cast_signed()
    }
}

/// FNV-1a, finished as splitmix64 does it.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// What a word is found by that is typed right.
fn inside(space: &Space, word: &str) -> impl Iterator<Item = i64> {
    let starts = word
        .char_indices()
        .filter(|(at, letter)| *at == 0 || is_unspaced(*letter));
    let beginnings = starts.flat_map(|(at, _)| beginnings(&word[at..], WORD_BEGINNING));
    let beginnings = beginnings.map(|letters| space.word_beginning(letters));
    beginnings.chain(trigrams(word).map(|trigram| space.inside(trigram)))
}

/// Its first letter, its first two, and so on up to as many as `longest`.
fn beginnings(word: &str, longest: usize) -> impl Iterator<Item = &str> {
    let ends = word.char_indices().map(|(at, letter)| at + letter.len_utf8());
    ends.take(longest).map(|end| &word[..end])
}

/// Its first letters, at most so many.
pub(super) fn beginning(word: &str, letters: usize) -> &str {
    let end = word.char_indices().nth(letters).map_or(word.len(), |(at, _)| at);
    &word[..end]
}

/// All runs of three letters.
pub(super) fn trigrams(word: &str) -> impl Iterator<Item = &str> {
    let starts = word.char_indices().map(|(at, _)| at);
    let ends = word.char_indices().skip(3).map(|(at, _)| at).chain([word.len()]);
    let long_enough = word.chars().nth(2).is_some();
    starts
        .zip(ends)
        .filter(move |_| long_enough)
        .map(|(from, to)| &word[from..to])
}

/// Whether it is of a script that puts no spaces between words (Thai, Lao, Burmese, Khmer, kana, Chinese): a word may begin at any letter.
pub(super) fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}')
        || matches!(letter, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Whether it is made of letters: another number is not a number with a typo.
pub(super) fn is_spelled(word: &str) -> bool {
    word.chars().all(char::is_alphabetic)
}

/// The beginning of a word, as it is and with each of its letters missing: two words of which one is the other with one typo (a wrong, a
/// missing or an extra letter, or two that changed places) have one of these in common.
pub(super) fn misspellings(word: &str) -> BTreeSet<String> {
    let beginning: Vec<char> = word.chars().take(BEGINNING).collect();
    let without = |missing: usize| {
        let kept = beginning.iter().enumerate().filter(|(at, _)| *at != missing);
        kept.map(|(_, letter)| *letter).collect()
    };
    let whole = beginning.len();
    (0..=whole).map(without).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'t>(title: &'t str, ids: &[&'t str]) -> Text<'t> {
        Text {
            uid: Uid::NIL,
            title,
            ids: ids.to_vec(),
            others: Vec::new(),
            prose: None,
        }
    }

    #[test]
    fn pieces_are_cut_between_letters() {
        assert_eq!(trigrams("bäker").collect::<Vec<_>>(), ["bäk", "äke", "ker"]);
        assert_eq!(trigrams("東京都").collect::<Vec<_>>(), ["東京都"]);
        assert_eq!(trigrams("ab").count() + trigrams("").count(), 0);
        assert_eq!(beginnings("äbcd", 3).collect::<Vec<_>>(), ["ä", "äb", "äbc"]);
        assert_eq!(beginnings("a", 2).collect::<Vec<_>>(), ["a"]);
        assert_eq!(
            misspellings("baker").into_iter().collect::<Vec<_>>(),
            ["aker", "bake", "baker", "bakr", "baer", "bker"]
                .into_iter()
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        );
        assert_eq!(misspellings("bakeries"), misspellings("bakeri"));
    }

    /// What makes the typos of a word findable at all.
    #[test]
    fn words_one_typo_apart_share_a_misspelling() {
        let words = ["bake", "bakery", "bakeries", "confectionery", "aaaa", "abab", "äöüßé"];
        for word in words {
            let letters: Vec<char> = word.chars().collect();
            for at in 0..=letters.len() {
                let mut typos = vec![letters.clone()];
                typos[0].insert(at, 'x');
                if at < letters.len() {
                    let (mut wrong, mut missing) = (letters.clone(), letters.clone());
                    wrong[at] = 'x';
                    missing.remove(at);
                    typos.extend([wrong, missing]);
                }
                if at + 1 < letters.len() {
                    let mut swapped = letters.clone();
                    swapped.swap(at, at + 1);
                    typos.push(swapped);
                }
                for typo in typos {
                    let typo: String = typo.into_iter().collect();
                    assert!(!misspellings(word).is_disjoint(&misspellings(&typo)), "{word} {typo}");
                }
            }
        }
    }

    /// They are stored.
    #[test]
    fn keys_stay_the_same_for_ever() {
        let keys = Keys::of(Uid(uuid::Uuid::from_u128(7)), &text("Ann's", &["a-1"]));
        let stored = "{94810186368871064,189469715586590213,448353181242844670,1353772021953739238,2556657696023275960,2667603800407285904,\
                      4783016364109717066,5691943757587928474,5995398295626476504,6369733899257161059,8591045408885360582,\
                      8830959818182199437,9140853146552202005}";
        assert_eq!(keys.to_string(), stored);
    }

    #[test]
    fn workspaces_share_no_key() {
        let of = |workspace| {
            Keys::of(
                Uid(uuid::Uuid::from_u128(workspace)),
                &text("Bakery North", &["bakery-north"]),
            )
        };
        assert!(of(1).0.is_disjoint(&of(2).0));
        assert!(of(1).0.iter().all(|key| *key >= 0));
    }
}
