//! Parses YAML that a person or another program may have written.
//!
//! Guarantees that what people write by hand is understood. Anchors, aliases, tags, merge keys, duplicate keys, several
//! documents and unbounded nesting are refused with line and column, in bounded time and memory.
//! Leaves to others: what the document means.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use crate::model::json::{MAX_DEPTH, strict};
use crate::store::yaml_messages::explain;

/// The largest document, in bytes. A larger readable file is compared with its log and not parsed.
pub const MAX_DOCUMENT: usize = 8 * 1024 * 1024;

/// Parses one document into a type.
///
/// Errors: a sentence with line and column.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    if text.len() > MAX_DOCUMENT {
        return Err(format!("the document has {} bytes; the maximum for hand edits is {MAX_DOCUMENT}", text.len()));
    }
    serde_yaml::from_str_with_options(text, options()).map_err(|e| words(&e))
}

/// Parses one document as JSON, with its keys in order.
///
/// Errors: a sentence with line and column.
pub fn read_value(text: &str) -> Result<Value, String> {
    read::<Strict>(text).map(|strict| strict.0)
}

struct Strict(Value);

impl<'de> serde::Deserialize<'de> for Strict {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        strict(deserializer).map(Strict)
    }
}

/// The line that a message of the parser names: "… at line 3, column 7".
pub fn line_in(message: &str) -> Option<usize> {
    let (_, place) = message.rsplit_once("at line ")?;
    place.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn words(e: &serde_yaml::Error) -> String {
    explain(e.without_snippet().to_string().lines().next().unwrap_or_default())
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_depth: MAX_DEPTH + 4,
            max_documents: 1,
            max_merge_keys: 0,
            max_nodes: 500_000,
            max_events: 1_500_000,
            max_total_scalar_bytes: MAX_DOCUMENT,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_written_yaml_is_parsed() {
        let value =
            read_value("# note\ntitle: 'It''s'\nlabels: [a, \"b\"]\nintent: >\n  folded\n  text\nn: 3\nyes: no\n")
                .unwrap();
        assert_eq!(
            value,
            serde_json::json!({"title": "It's", "labels": ["a", "b"], "intent": "folded text\n", "n": 3, "yes": "no"})
        );
    }

    #[test]
    fn hostile_yaml_is_refused_in_bounded_time() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for n in 1..20 {
            bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","));
        }
        let deep = "[".repeat(5_000) + &"]".repeat(5_000);
        let blocks: String = (0..200).map(|n| format!("{}k:\n", " ".repeat(n))).collect();
        for (what, text) in [
            ("an alias bomb", bomb.as_str()),
            ("an anchor", "a: &x 1\nb: 2\n"),
            ("a merge key", "a: {b: 1}\n<<: {c: 2}\n"),
            ("a tag", "a: !!python/object:os.system x\n"),
            ("a local tag", "a: !thing x\n"),
            ("two documents", "a: 1\n---\nb: 2\n"),
            ("a duplicate key", "a: 1\nb: 2\na: 3\n"),
            ("flow depth", deep.as_str()),
            ("block depth", blocks.as_str()),
        ] {
            let refused = read_value(text);
            assert!(refused.is_err(), "{what} was accepted: {refused:?}");
        }
        let message = read_value("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert!(message.contains("3"), "{message}");
    }
}
