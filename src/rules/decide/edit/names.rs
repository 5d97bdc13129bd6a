//! Recognizes the keys that a person meant.
//!
//! Guarantees the same treatment everywhere. A known key is accepted. A misspelling, or the name that other tools use, is
//! refused with the key that is meant. Any other key belongs to a newer version or to the project, and is kept.
//! Leaves to others: what the keys hold.

use serde_json::json;

use super::{BLOCKED_BY, Doc};
use crate::error::Error;
use crate::model::field::{FIELDS, Form, field};
use crate::model::id::quoted;
use crate::model::suggest::slip;
use crate::rules::fields;

/// The names that other tools use for the keys of a task that are no plain fields; those of a field stand in its table.
const SYNONYMS: &[Synonyms] = &[
    ("status", &["state", "stage"]),
    ("owner", &["assignee", "assignees", "assigned_to", "assigned"]),
    ("parent", &["parent_id", "epic"]),
    ("progress", &["steps", "todo", "todos", "checklist"]),
    ("context", &["notes", "note", "comments", "decisions"]),
    (BLOCKED_BY, &["deps", "dependencies", "depends_on", "depends", "blockers", "requires"]),
    ("relationships", &["relations", "links"]),
    ("threads", &["discussion", "discussions"]),
];

/// The same for the keys of an entry of a list.
const IN_ENTRIES: &[Synonyms] = &[
    ("content", &["text", "title", "description", "body", "note", "step"]),
    ("body", &["content", "text", "message", "reply", "answer"]),
    ("completed", &["done", "checked", "complete", "status", "state"]),
    ("criterion", &["text", "title", "description", "content"]),
    ("met", &["done", "checked", "completed", "status"]),
    ("type", &["kind"]),
    ("author", &["by", "created_by", "agent"]),
    ("from", &["blocked_by", "by"]),
    ("to", &["blocks", "target"]),
];

/// Whether a key is neither known nor meant for a known one: it belongs to a newer version or to the project.
pub fn is_foreign(key: &str) -> bool {
    fields::is_unknown(key) && key != BLOCKED_BY && meant(key).is_none()
}

/// Refuses an unknown key that is meant for a known one.
pub(super) fn check(key: &str) -> Result<(), Error> {
    match meant(key).filter(|_| fields::is_unknown(key) && key != BLOCKED_BY) {
        Some(known) => Err(Error::validation(format!("there is no key {}; did you mean {known}?", quoted(key)))
            .with(json!({ "key": key, "nearest": known }))
            .hint(format!("write it under {known}; your own values fit under metadata"))),
        None => Ok(()),
    }
}

/// Refuses keys that an entry cannot have.
pub(super) fn check_entry(entry: &Doc, allowed: &[&str]) -> Result<(), Error> {
    let Some(key) = entry.keys().find(|key| !allowed.contains(&key.as_str())) else { return Ok(()) };
    let known = || allowed.iter().copied();
    let fitting = IN_ENTRIES.iter().copied().filter(|(known, _)| allowed.contains(known));
    let other = synonym(fitting, key).or_else(|| slip(key, known()));
    let meant = other.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
    Err(Error::validation(format!("{} is not a key of such an entry{meant}", quoted(key)))
        .with(json!({ "key": key, "allowed": allowed }))
        .hint(format!("its keys are {}", allowed.join(", "))))
}

/// Whether a place in a task's file holds text, by the keys that lead to it.
pub fn is_text(path: &[String]) -> bool {
    let Some(key) = path.first() else { return false };
    let is_value = |form| matches!(form, Form::Priority | Form::Number | Form::Map);
    let marks = ["completed", "met", "passed", "lamport", "verified"];
    (key == BLOCKED_BY || !fields::is_unknown(key))
        && !path.iter().any(|part| field(part).is_some_and(|field| is_value(field.form)))
        && path.last().is_some_and(|last| !marks.contains(&last.as_str()))
}

/// The known key that an unknown one is meant for.
fn meant(key: &str) -> Option<&'static str> {
    let known = fields::NAMES.iter().chain(fields::RESERVED).copied().chain([BLOCKED_BY]);
    synonym(synonyms(), key).or_else(|| slip(key, known))
}

fn synonyms() -> impl Iterator<Item = Synonyms> {
    FIELDS.iter().map(|field| (field.name, field.synonyms)).chain(SYNONYMS.iter().copied())
}

/// A known key with the names that are meant for it.
type Synonyms = (&'static str, &'static [&'static str]);

fn synonym(mut table: impl Iterator<Item = Synonyms>, key: &str) -> Option<&'static str> {
    let key = key.to_lowercase().replace(['-', ' '], "_");
    table.find(|(_, words)| words.contains(&key.as_str())).map(|(known, _)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_is_refused_and_a_key_of_the_project_is_kept() {
        assert_eq!(meant("prioritty"), Some("priority"));
        assert_eq!(meant("lables"), Some("labels"));
        assert_eq!(meant("blocked-by"), Some("blocked_by"));
        assert_eq!(meant("severity"), None);
        assert_eq!(meant("x"), None);
    }

    #[test]
    fn names_of_other_tools_are_refused_in_any_spelling() {
        for (word, known) in [("description", "intent"), ("Assignee", "owner"), ("depends-on", "blocked_by")] {
            assert_eq!(meant(word), Some(known), "{word}");
        }
        let words = synonyms().flat_map(|(_, words)| words);
        assert_eq!(words.filter(|word| !fields::is_unknown(word)).collect::<Vec<_>>(), Vec::<&&str>::new());
        let ours = synonyms().filter(|(known, _)| fields::is_unknown(known) && *known != BLOCKED_BY);
        assert_eq!(ours.count(), 0);
    }
}
