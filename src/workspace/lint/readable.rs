//! How a readable file stands to its log, as a finding.
//!
//! Promises: judged by bytes, wherever they were read.
//! Refuses to know: how to mend it.

use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::rules::fields;
use crate::store::edited::{FORM, Readable, compare};

/// How the bytes of a readable file differ from what its log says; `None` for bytes that are not there.
pub(in crate::workspace) fn readable(
    path: String,
    entity: &Entity,
    entries: &[Entry],
    bytes: Option<&[u8]>,
) -> Option<Finding> {
    match bytes {
        Some(bytes) => judged(path, compare(entity, entries, bytes)),
        None => Some(missing(path)),
    }
}

fn missing(path: String) -> Finding {
    Finding::new(Rule::YamlMissing, "the readable file is missing").at(path, None)
}

/// What a readable file's standing to its log means for lint.
fn judged(path: String, how: Readable) -> Option<Finding> {
    let finding = match how {
        Readable::Clean => return None,
        Readable::Ahead(lost) => {
            Finding::new(Rule::LogGap, format!("it was made from event {lost}, which its log does not hold"))
        }
        Readable::Stale => Finding::new(Rule::YamlStale, "it was written before its log grew"),
        Readable::Astray => Finding::new(Rule::YamlAstray, "it was not edited, but it does not follow from its log"),
        Readable::Conflicted => Finding::new(Rule::YamlConflict, "it holds conflict markers of git"),
        Readable::Edited(what) if what == FORM => Finding::new(Rule::YamlForm, "it is not in its canonical form"),
        Readable::Edited(what) if what.starts_with("it cannot be read") || what.starts_with("it is not valid") => {
            let line = line_in(&what);
            return Some(Finding::new(Rule::YamlInvalid, what).at(path, line));
        }
        Readable::Edited(what) if what.split(", ").all(fields::is_unknown) => {
            Finding::new(Rule::YamlField, format!("it holds fields that this version does not know: {what}"))
        }
        Readable::Edited(what) => Finding::new(Rule::YamlEdited, format!("it was edited by hand: {what}")),
    };
    Some(finding.at(path, None))
}

/// The line that a reader's message names: "… at line 3, column 7".
fn line_in(message: &str) -> Option<usize> {
    let (_, place) = message.rsplit_once("at line ")?;
    place.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
