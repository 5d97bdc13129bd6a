//! Documents without what a stranger must not read: texts, names, paths and secrets.
//!
//! Guarantees that a text stays only where it is an id, a time, a version, or a constant of this program; everything else is
//! replaced. Equal texts are replaced alike, so that what belongs together can still be seen. Even a document that is not
//! redacted shows no password of a URL.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::error::Code;
use crate::model::finding::Rule;
use crate::model::id::Id;
use crate::model::payload::KINDS;
use crate::model::time::Time;

/// The keys of events that no schema names. A key that is missing here is redacted.
const EVENT_KEYS: &[&str] = &[
    "v",
    "id",
    "lamport",
    "type",
    "entity",
    "parents",
    "agent",
    "at",
    "fence",
    "precedence",
    "why",
    "payload",
    "from",
    "to",
    "owner",
    "body",
    "by",
    "cancelled_at",
    "changed_at",
    "completed_at",
    "completion",
    "content",
    "created_at",
    "criterion",
    "entry",
    "expires_at",
    "fields",
    "forced",
    "holder",
    "item",
    "key",
    "kind",
    "lease",
    "message",
    "met",
    "metadata",
    "need_perm",
    "need_precedence",
    "no_hold",
    "parent",
    "passed",
    "patch",
    "public_key",
    "relationship",
    "resolution",
    "role",
    "said",
    "session",
    "set",
    "silent",
    "source",
    "taken_from",
    "task",
    "thread",
    "ttl",
    "unpark",
    "correlation_id",
    "plan_id",
    "sig",
];

/// Replaces texts, in several documents alike.
pub struct Redactor {
    words: BTreeSet<String>,
    keys: BTreeSet<String>,
    /// The number that stands for each text.
    numbers: BTreeMap<String, usize>,
}

impl Redactor {
    /// Keeps the names and constants of these schemas.
    pub fn new(schemas: &[Value]) -> Self {
        let mut words: BTreeSet<String> = KINDS.iter().map(|kind| (*kind).to_owned()).collect();
        words.extend(Rule::ALL.iter().map(|rule| rule.code().to_owned()));
        words.extend(Code::ALL.iter().map(|code| code.as_str().to_owned()));
        let mut keys: BTreeSet<String> = EVENT_KEYS.iter().map(|key| (*key).to_owned()).collect();
        schemas.iter().for_each(|schema| collect(schema, &mut words, &mut keys));
        Redactor { words, keys, numbers: BTreeMap::new() }
    }

    /// Keeps these words too.
    #[must_use]
    pub fn keeping(mut self, words: impl IntoIterator<Item = String>) -> Self {
        self.words.extend(words);
        self
    }

    /// The document with its texts replaced.
    pub fn redact(&mut self, value: &Value) -> Value {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.redact(item)).collect(),
            Value::Object(map) => {
                let redacted = map.iter().map(|(key, value)| {
                    let shown = if self.keys.contains(key) { key.clone() } else { self.replaced(key) };
                    (shown, self.redact(value))
                });
                Value::Object(redacted.collect::<Map<_, _>>())
            }
        }
    }

    fn text(&mut self, text: &str) -> String {
        let of_an_entity = text.strip_prefix("task/").unwrap_or(text);
        let is_version = text.len() <= 12
            && matches!(text.split('.').count(), 2..=3)
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let stays = text.is_empty()
            || is_version
            || self.words.contains(text)
            || of_an_entity.parse::<Id>().is_ok_and(|id| id.to_string() == of_an_entity)
            || text.parse::<Time>().is_ok_and(|time| time.to_string() == text);
        if stays { text.to_owned() } else { self.replaced(text) }
    }

    fn replaced(&mut self, text: &str) -> String {
        let next = self.numbers.len() + 1;
        let number = *self.numbers.entry(text.to_owned()).or_insert(next);
        format!("redacted-{number}")
    }
}

/// The property names and the constants of a schema.
fn collect(schema: &Value, words: &mut BTreeSet<String>, keys: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            keys.extend(map.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned());
            let constants = map.get("enum").and_then(Value::as_array).into_iter().flatten().chain(map.get("const"));
            words.extend(constants.filter_map(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| collect(value, words, keys));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, words, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A document whose URLs have no user and password.
pub fn without_passwords(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => Value::String(url_without_password(text)),
        Value::Array(items) => items.iter().map(without_passwords).collect(),
        Value::Object(map) => Value::Object(
            map.iter().map(|(key, value)| (url_without_password(key), without_passwords(value))).collect(),
        ),
    }
}

fn url_without_password(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        shown.push_str(head);
        let authority = tail.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(tail.len());
        rest = match tail[..authority].rfind('@') {
            Some(user) => {
                shown.push_str("redacted");
                &tail[user..]
            }
            None => tail,
        };
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_stays_only_where_the_program_knows_it() {
        let schema = json!({ "properties": { "status": { "enum": ["open"] }, "title": {} } });
        let mut redactor = Redactor::new(&[schema]);
        let id = "01M7W6C3800BABRJSP993TEGC2";
        let document = json!({
            "status": "open", "title": "open the vault", "id": id, "entity": format!("task/{id}"), "type": "TaskCreated",
            "at": "2026-11-20T10:00:00Z", "fence": 7, "parents": [id, "swordfish"], "why": "swordfish", "swordfish": "2.47.3",
        });
        let expected = json!({
            "status": "open", "title": "redacted-1", "id": id, "entity": format!("task/{id}"), "type": "TaskCreated",
            "at": "2026-11-20T10:00:00Z", "fence": 7, "parents": [id, "redacted-2"], "why": "redacted-2", "redacted-2": "2.47.3",
        });
        assert_eq!(redactor.redact(&document), expected);
    }

    #[test]
    fn a_url_loses_its_password() {
        for (text, shown) in [
            ("https://me:secret@example.com/a.git", "https://redacted@example.com/a.git"),
            ("see ssh://git@host and https://t0ken@host/x@y", "see ssh://redacted@host and https://redacted@host/x@y"),
            ("https://me:p@ss@host", "https://redacted@host"),
            ("https://example.com/@scope", "https://example.com/@scope"),
        ] {
            assert_eq!(without_passwords(&json!([text])), json!([shown]));
        }
    }
}
