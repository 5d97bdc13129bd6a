//! Keys that a person meant.
//!
//! Promises: one treatment everywhere. A key of ours is taken; a slip of the pen for one, or the word that other tools have for
//! it, is refused with the one that is meant; any other is a word of a newer version or of the project's own, and is kept.
//! Refuses to know: what the keys hold.

use serde_json::json;

use super::{BLOCKED_BY, Doc};
use crate::error::Error;
use crate::model::id::quoted;
use crate::model::nearest::slip;
use crate::rules::fields;

/// What other tools call the keys of a task.
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

/// Whether a key is none of ours, and none that is meant for one: a word of a newer version, or of the project's own.
pub fn is_foreign(key: &str) -> bool {
    fields::is_unknown(key) && key != BLOCKED_BY && meant(key).is_none()
}

/// Refuses an unknown key that is meant for one of ours.
pub(super) fn check(key: &str) -> Result<(), Error> {
    match meant(key).filter(|_| fields::is_unknown(key) && key != BLOCKED_BY) {
        Some(known) => Err(Error::validation(format!("there is no key {}; did you mean {known}?", quoted(key)))
            .with(json!({ "key": key, "nearest": known }))
            .hint(format!("write it under {known}; values of your own fit under metadata"))),
        None => Ok(()),
    }
}

/// Refuses keys of an entry that it does not have.
pub(super) fn check_entry(entry: &Doc, allowed: &[&str]) -> Result<(), Error> {
    let Some(key) = entry.keys().find(|key| !allowed.contains(&key.as_str())) else { return Ok(()) };
    let known = || allowed.iter().copied();
    let other = synonym(IN_ENTRIES, key, &|known| allowed.contains(&known)).or_else(|| slip(key, known()));
    let meant = other.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
    Err(Error::validation(format!("{} is no key of such an entry{meant}", quoted(key)))
        .with(json!({ "key": key, "allowed": allowed }))
        .hint(format!("its keys are {}", allowed.join(", "))))
}

/// Whether text belongs at a place of a task's file, by the keys that lead there.
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
    fn a_slip_of_the_pen_is_told_from_a_word_of_ones_own() {
        assert_eq!(meant("prioritty"), Some("priority"));
        assert_eq!(meant("lables"), Some("labels"));
        assert_eq!(meant("blocked-by"), Some("blocked_by"));
        assert_eq!(meant("severity"), None);
        assert_eq!(meant("x"), None);
    }

    #[test]
    fn words_of_other_tools_are_known_in_any_dress_and_are_none_of_ours() {
        for (word, known) in [("description", "intent"), ("Assignee", "owner"), ("depends-on", "blocked_by")] {
            assert_eq!(meant(word), Some(known), "{word}");
        }
        let words = SYNONYMS.iter().flat_map(|(_, words)| *words);
        assert_eq!(words.filter(|word| !fields::is_unknown(word)).collect::<Vec<_>>(), Vec::<&&str>::new());
        let ours = SYNONYMS.iter().filter(|(known, _)| fields::is_unknown(known) && *known != BLOCKED_BY);
        assert_eq!(ours.count(), 0);
    }
}
