//! Telling a readable file that was edited by hand from one that is merely behind.
//!
//! The heads at the foot of the file say from which events it was made. Rendered from just those, it is either the same to
//! the byte, and then nobody touched it; or it is not, and then somebody did.

use std::collections::HashSet;

use serde_json::Value;

use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::yaml::is_as_written;
use crate::rules::decide::edit::changed_keys;
pub use crate::rules::register::{among_below, below};
use crate::store::place::not_text;
use crate::store::project::render;
use crate::store::yaml::{self, MAX_DOCUMENT};

/// What [`Readable::Edited`] says of a file that differs in nothing but its form: quoting, order, comments.
pub const FORM: &str = "its form";

/// What [`Readable::Edited`] says of a file whose foot was taken out.
pub const NO_FOOT: &str = "its foot (log:) is gone, so that it cannot be told from which events it was made";

/// How a readable file stands to its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readable {
    /// It is the fold of the whole log.
    Clean,
    /// It is the fold of a part of the log: the log has grown since. Or it is of an older program, and says the same.
    Stale,
    /// A program wrote it and nobody edited it, but it does not follow from its log: it was merged with, or came from, other
    /// events than are here.
    Astray,
    /// It was made from an event that the log does not hold: a line of the log was lost.
    Ahead(Id),
    /// It holds conflict markers of git. The log knows both sides.
    Conflicted,
    /// It says something that its events do not; in words, what.
    Edited(String),
}

/// Compares the bytes of a readable file with its log.
pub fn compare(entity: &Entity, entries: &[Entry], bytes: &[u8]) -> Readable {
    examine(entity, entries, bytes).0
}

/// What an edited file says, and what it said before.
pub struct Sides {
    /// What it says.
    pub now: Value,
    /// What it said when it was made from its heads.
    pub before: Value,
}

/// As [`compare`]. Gives both sides too where an edited file could be read.
pub fn examine(entity: &Entity, entries: &[Entry], bytes: &[u8]) -> (Readable, Option<Sides>) {
    let whole = render(entity, entries);
    if whole.as_bytes() == bytes {
        return (Readable::Clean, None);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return (Readable::Edited(not_text(bytes)), None) };
    if text.len() <= 2 * whole.len() && text.contains('\r') && text.replace("\r\n", "\n") == whole {
        // Git made other line ends of it on its way into this work tree: what heals stale files writes it anew.
        return (Readable::Stale, None);
    }
    if text.lines().any(|line| line.starts_with("<<<<<<< ")) && text.lines().any(|line| line.starts_with(">>>>>>> ")) {
        return (Readable::Conflicted, None);
    }
    if let Some(how) = by_foot(entity, entries, text) {
        return (how, None);
    }
    let now = match yaml::read_value(text) {
        Ok(value) => value,
        Err(why) => return (Readable::Edited(format!("it cannot be read: {why}")), None),
    };
    let known: HashSet<Id> = entries.iter().map(|entry| entry.event.id).collect();
    let base: Vec<&Entry> = match heads(&now) {
        Some(heads) => match heads.iter().find(|head| !known.contains(head)) {
            Some(lost) => return (Readable::Ahead(*lost), None),
            None => among_below(entries, &heads),
        },
        None => return (Readable::Edited(NO_FOOT.into()), None),
    };
    let before = render(entity, base);
    if before == text {
        return (Readable::Stale, None);
    }
    match is_as_written(text) {
        Some(true) => return (Readable::Astray, None),
        // Older programs wrote less at the foot.
        None if above_foot(&before) == above_foot(text) => return (Readable::Stale, None),
        _ => {}
    }
    let before = yaml::read_value(&before).unwrap_or_default();
    let what = difference(&before, &now).unwrap_or_else(|| FORM.into());
    (Readable::Edited(what), Some(Sides { now, before }))
}

/// How a file that a program wrote stands to its log, by the line of its foot that names its heads: so one of any size is judged
/// without reading it as a document. `None` where that does not decide it.
fn by_foot(entity: &Entity, entries: &[Entry], text: &str) -> Option<Readable> {
    let heads = heads_at_foot(text)?;
    let known: HashSet<Id> = entries.iter().map(|entry| entry.event.id).collect();
    if let Some(lost) = heads.iter().find(|head| !known.contains(head)) {
        return (is_as_written(text) == Some(true)).then_some(Readable::Ahead(*lost));
    }
    if render(entity, among_below(entries, &heads)) == text {
        return Some(Readable::Stale);
    }
    (is_as_written(text) == Some(true) && text.len() > MAX_DOCUMENT).then_some(Readable::Astray)
}

/// The heads that the last lines of a readable file name.
pub fn heads_at_foot(text: &str) -> Option<Vec<Id>> {
    let (_, foot) = text.rsplit_once("\nlog:\n  heads: [")?;
    let (heads, _) = foot.split_once("]\n")?;
    heads.split(", ").map(|head| head.trim_matches('"').parse().ok()).collect()
}

/// A readable file without what stands at its foot for merging.
fn above_foot(text: &str) -> &str {
    text.find("\nlog:\n").map_or(text, |at| &text[..at])
}

/// The heads at the foot of a readable file.
pub fn heads(value: &Value) -> Option<Vec<Id>> {
    let heads = value.get("log")?.get("heads")?.as_array()?;
    heads.iter().map(|head| head.as_str()?.parse().ok()).collect()
}

/// The first keys in which two documents differ; `None` where they say the same.
pub fn difference(expected: &Value, found: &Value) -> Option<String> {
    let (Value::Object(expected), Value::Object(found)) = (expected, found) else {
        return (expected != found).then(|| "it is no mapping".into());
    };
    // What stands at the foot is nobody's to edit, and follows from the rest.
    let mut differing = changed_keys(expected, found);
    differing.sort();
    (!differing.is_empty()).then(|| differing.join(", "))
}
