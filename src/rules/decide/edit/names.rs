//! Recognizes the keys that a person meant.
//!
//! Guarantees the same treatment everywhere. A known key is accepted. A misspelling, or the name that other tools use, is
//! refused with the key that is meant. Any other key belongs to a newer version or to the project, and is kept.
//! Leaves to others: what the keys hold.

use serde_json::json;

use super::{BLOCKED_BY, Doc};
use crate::error::Error;
use crate::model::id::quoted;
use crate::model::suggest::slip;
use crate::rules::fields;

/// The names that other tools use for the keys of a task.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("title", &["name", "subject", "summary", "heading"]),
    ("intent", &["description", "desc", "body", "details", "content", "text", "goal"]),
    ("status", &["state", "stage"]),
    ("owner", &["assignee", "assignees", "assigned_to", "assigned"]),
    ("priority", &["prio", "importance"]),
    ("type", &["kind", "issue_type"]),
    ("labels", &["tags"]),
    ("acceptance", &["acceptance_criteria", "criteria", "definition_of_done", "done_when"]),
    ("due", &["due_date", "due_at", "deadline"]),
    ("defer_until", &["not_before", "start_date", "snooze"]),
    ("estimate", &["effort", "estimation", "story_points"]),
    ("parent", &["parent_id", "epic"]),
    ("progress", &["steps", "todo", "todos", "checklist"]),
    ("context", &["notes", "note", "comments", "decisions"]),
    (BLOCKED_BY, &["deps", "dependencies", "depends_on", "depends", "blockers", "requires"]),
    ("relationships", &["relations", "links"]),
];

/// The same for the keys of an entry of a list.
const IN_ENTRIES: &[(&str, &[&str])] = &[
    ("content", &["text", "title", "description", "body", "note", "step"]),
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
    let other = synonym(IN_ENTRIES, key, &|known| allowed.contains(&known)).or_else(|| slip(key, known()));
    let meant = other.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
    Err(Error::validation(format!("{} is not a key of such an entry{meant}", quoted(key)))
        .with(json!({ "key": key, "allowed": allowed }))
        .hint(format!("its keys are {}", allowed.join(", "))))
}

/// Whether a place in a task's file holds text, by the keys that lead to it.
pub fn is_text(path: &[String]) -> bool {
    let Some(key) = path.first() else { return false };
    let values = ["priority", "need_precedence", "metadata"];
    let marks = ["completed", "met", "passed", "lamport", "verified"];
    (key == BLOCKED_BY || !fields::is_unknown(key))
        && !path.iter().any(|part| values.contains(&part.as_str()))
        && path.last().is_some_and(|last| !marks.contains(&last.as_str()))
}

/// The known key that an unknown one is meant for.
fn meant(key: &str) -> Option<&'static str> {
    let known = fields::NAMES.iter().chain(fields::RESERVED).copied().chain([BLOCKED_BY]);
    synonym(SYNONYMS, key, &|_| true).or_else(|| slip(key, known))
}

fn synonym(table: &[(&'static str, &[&str])], key: &str, fits: &dyn Fn(&str) -> bool) -> Option<&'static str> {
    let key = key.to_lowercase().replace(['-', ' '], "_");
    let has = |(known, words): &&(&'static str, &[&str])| fits(known) && words.contains(&key.as_str());
    table.iter().find(has).map(|(known, _)| *known)
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
        let words = SYNONYMS.iter().flat_map(|(_, words)| *words);
        assert_eq!(words.filter(|word| !fields::is_unknown(word)).collect::<Vec<_>>(), Vec::<&&str>::new());
        let ours = SYNONYMS.iter().filter(|(known, _)| fields::is_unknown(known) && *known != BLOCKED_BY);
        assert_eq!(ours.count(), 0);
    }
}
