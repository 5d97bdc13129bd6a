//! Ids: the 26-character ULID, its handle, and agent names.
//!
//! Guarantees that an [`Id`] is a canonical ULID, so it is safe as a part of a path. Text that only decodes (lower case,
//! overflow, look-alike letters) is refused.
//! Leaves to others: which ids exist.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use crate::error::{Error, Result};

/// The shortest handle that lists print, in characters.
pub const HANDLE_MIN: usize = 6;
/// The shortest prefix or handle that is accepted as an abbreviation, in characters.
pub const ABBREVIATION_MIN: usize = 4;
/// The letters of the ULID alphabet (Crockford's base 32).
pub const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Whether an upper-case text can be an id or an abbreviation of one.
pub fn is_part(text: &str) -> bool {
    text.chars().all(|c| ALPHABET.contains(c)) && (ABBREVIATION_MIN..=26).contains(&text.len())
}

/// The folders of the tasks whose ids end with this text of at least two letters: its last two, one folder each.
///
/// Git stores the tree of every folder above a changed file with each commit. Two levels of 32 folders keep these trees
/// small.
pub fn shard_of(text: &str) -> String {
    let (x, y) = text[text.len() - 2..].split_at(1);
    [x, "/", y].concat()
}

/// Whether a folder of tasks can have this name: a single letter.
pub fn is_shard_part(name: &str) -> bool {
    name.len() == 1 && ALPHABET.contains(name)
}

/// A ULID: 48 bits of milliseconds since 1970 and 80 random bits, written as 26 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Ulid);

impl Id {
    /// Builds an id from its parts; bits beyond 48 and 80 are cut off.
    pub fn from_parts(millis: u64, chance: u128) -> Self {
        Id(Ulid::from_parts(millis & ((1 << 48) - 1), chance & ((1 << 80) - 1)))
    }

    /// Milliseconds since 1970 at which the id was created.
    pub fn millis(self) -> u64 {
        self.0.timestamp_ms()
    }

    /// Its 16 bytes, which sort like the text.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// The id with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Id(Ulid::from_bytes(bytes))
    }

    /// The last `len` characters, as lists print them.
    pub fn handle(self, len: usize) -> String {
        let text = self.to_string();
        text[text.len() - len.min(text.len())..].to_owned()
    }

    /// Whether an upper-case text is the beginning or the end of the id.
    pub fn has_part(self, text: &str) -> bool {
        let id = self.to_string();
        id.starts_with(text) || id.ends_with(text)
    }

    /// Whether these are its folders. Cheap enough to ask of every task.
    pub fn is_in_shard(self, shard: &str) -> bool {
        let [.., high, low] = self.to_bytes();
        // A letter stands for 5 bits.
        let letters = [(high << 3 | low >> 5) & 31, low & 31].map(|at| ALPHABET.as_bytes()[usize::from(at)]);
        shard.as_bytes() == [letters[0], b'/', letters[1]]
    }

    /// The folders of a task with this id, such as `P/8`.
    pub fn shard(self) -> String {
        let mut buffer = [0u8; ulid::ULID_LEN];
        shard_of(self.0.array_to_str(&mut buffer))
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || Error::validation(format!("{} is not a ULID of 26 characters", quoted(text)));
        if text.len() != ulid::ULID_LEN {
            return Err(refused());
        }
        let id = Ulid::from_string(text).map_err(|_| refused())?;
        // The crate accepts lower case, look-alikes and overflow; only a text that encodes back to itself is an id.
        if id.to_string() == text { Ok(Id(id)) } else { Err(refused()) }
    }
}

/// Text of unknown origin, shortened and escaped for a message.
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    format!("{short:?}{}", if short.len() < text.len() { "…" } else { "" })
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0u8; ulid::ULID_LEN];
        f.write_str(self.0.array_to_str(&mut buffer))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a ULID")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map_err(|e: Error| E::custom(e.message))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Id {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Id".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "A ULID"})
    }
}

/// Checks an agent name: `[a-z0-9][a-z0-9._-]{0,63}`.
///
/// Errors: `ERR_VALIDATION` for anything else.
pub fn check_agent_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    if first && rest && name.len() <= 64 {
        return Ok(());
    }
    Err(Error::validation(format!("{} is not an agent name", quoted(name)))
        .hint("use 1 to 64 of a-z, 0-9, dot, underscore and hyphen, beginning with a letter or digit"))
}

/// Turns any name (for example git's `user.name`) into an agent name; `None` if nothing usable is left. A name that loses a
/// character gets a mark, so that no other name becomes the same agent. Names that differ only in case, or in a space for a
/// hyphen, are one.
pub fn slug(name: &str) -> Option<String> {
    let mut out = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '_' {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '.' | '_');
    let cut: String = out.trim_start_matches(['.', '_', '-']).chars().take(MAX_SLUG).collect();
    let cut = cut.trim_end_matches('-');
    if name.chars().all(plain) && cut.len() == name.trim().len() {
        return (!cut.is_empty()).then(|| cut.to_owned());
    }
    // The slug omits part of the name: a digest of it distinguishes two such names.
    marked(name, cut)
}

/// As [`slug`], with a digest of the name, which distinguishes it from every other spelling.
pub fn marked_slug(name: &str) -> Option<String> {
    let slug = slug(name)?;
    let cut: String = slug.chars().take(MAX_SLUG).collect();
    marked(name, cut.trim_end_matches('-'))
}

fn marked(name: &str, cut: &str) -> Option<String> {
    let digest = Sha256::digest(name.trim().as_bytes());
    let mark: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let is_name = name.chars().any(|c| !c.is_whitespace() && !matches!(c, '-' | '.' | '_'));
    is_name.then(|| format!("{}-{mark}", if cut.is_empty() { "agent" } else { cut }))
}

/// The longest part of a name in a slug, which leaves room for a mark.
const MAX_SLUG: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let id = Id::from_parts(1_700_000_000_000, 42);
        assert_eq!(id.to_string().parse::<Id>().unwrap(), id);
        let text = id.to_string();
        for bad in [text.to_lowercase(), format!("8{}", &text[1..]), text.replace('0', "O"), "../../etc/passwd".into()]
        {
            assert!(bad.parse::<Id>().is_err(), "{bad} was accepted as an id");
        }
    }

    #[test]
    fn a_shard_is_the_last_two_characters() {
        let id: Id = "01K5R4XJ7Z00000000000000Q1".parse().unwrap();
        assert_eq!((id.shard(), shard_of("7Q1")), ("Q/1".to_owned(), "Q/1".to_owned()));
        assert!(id.shard().split('/').all(is_shard_part));
        for bad in ["", "Q1", "q", "I", "ß", "/", "."] {
            assert!(!is_shard_part(bad), "{bad}");
        }
    }

    #[test]
    fn slugs_are_agent_names() {
        assert_eq!(slug("Ada Lovelace").as_deref(), Some("ada-lovelace"));
        assert_eq!(slug("  "), None);
        let names =
            ["开发者", "甲 Dev", "乙 Dev", "Dev", "dev!", "José", "Jose", "Éa!! x", &"a".repeat(60), &"a".repeat(61)];
        let names = [&names[..], &["A B", "A  B", "A - B", "_A B", "A B-"]].concat();
        let slugs: std::collections::BTreeSet<String> = names.iter().map(|name| slug(name).unwrap()).collect();
        assert_eq!(slugs.len(), names.len(), "two names are never one: {slugs:?}");
        assert!(slug("甲 Dev").unwrap().starts_with("dev-") && slug("开发者").unwrap().starts_with("agent-"));
        for name in ["Ada Lovelace", "x", "--a", "9.z", "开发者", "甲 Dev", "O'Brien", "👩‍💻", &"é".repeat(90)]
        {
            check_agent_name(&slug(name).unwrap()).unwrap();
        }
        for bad in ["", "-a", "A", "a b", "../x", &"a".repeat(65)] {
            assert!(check_agent_name(bad).is_err(), "{bad}");
        }
    }
}
