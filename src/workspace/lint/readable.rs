//! How a readable file stands to its log, as a finding.
//!
//! Promises: judged by bytes, wherever they were read.
//! Refuses to know: how to mend it.

use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::quoted;
use crate::rules::decide::edit::is_foreign;
use crate::store::comments::Comment;
use crate::store::edited::{FORM, NO_FOOT, Readable, compare};
use crate::store::place::line_of_key;
use crate::store::yaml::line_in;
use crate::workspace::absorb::comments_in;

/// Most comments that are named.
const MOST_COMMENTS: usize = 5;

/// How the bytes of a readable file differ from what its log says; `None` for bytes that are not there.
pub(in crate::workspace) fn readable(
    path: String,
    entity: &Entity,
    entries: &[Entry],
    bytes: Option<&[u8]>,
) -> Option<Finding> {
    match bytes {
        Some(bytes) => judged(path, compare(entity, entries, bytes), bytes),
        None => Some(missing(path)),
    }
}

/// Comments with their lines.
fn told(all: &[Comment]) -> String {
    let mut words: Vec<String> =
        all.iter().take(MOST_COMMENTS).map(|(line, words)| format!("{} (line {line})", quoted(words))).collect();
    if all.len() > MOST_COMMENTS {
        words.push(format!("and {} more", all.len() - MOST_COMMENTS));
    }
    words.join(", ")
}

fn missing(path: String) -> Finding {
    Finding::new(Rule::YamlMissing, "the readable file is missing").at(path, None)
}

/// What a readable file's standing to its log means for lint.
fn judged(path: String, how: Readable, bytes: &[u8]) -> Option<Finding> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let line = |keys: &str| keys.split(", ").filter_map(|key| line_of_key(text, key)).min();
    let finding = match how {
        Readable::Clean => return None,
        Readable::Ahead(lost) => {
            Finding::new(Rule::LogGap, format!("it was made from event {lost}, which its log does not hold"))
        }
        Readable::Stale => Finding::new(Rule::YamlStale, "it was written before its log grew"),
        Readable::Astray => Finding::new(Rule::YamlAstray, "it was not edited, but it does not follow from its log"),
        Readable::Conflicted => Finding::new(Rule::YamlConflict, "it holds conflict markers of git"),
        Readable::Edited(what) if what == FORM => match &comments_in(bytes)[..] {
            [] => Finding::new(Rule::YamlForm, "it is not in its canonical form"),
            [(line, words)] => {
                let finding = Finding::new(Rule::YamlComment, format!("a comment would be lost: {}", quoted(words)));
                return Some(finding.at(path, Some(*line)));
            }
            all => {
                let finding = Finding::new(Rule::YamlComment, format!("comments would be lost: {}", told(all)));
                return Some(finding.at(path, Some(all[0].0)));
            }
        },
        Readable::Edited(what) if what.starts_with("it cannot be read") || what.starts_with("it is not valid") => {
            let line = line_in(&what);
            return Some(Finding::new(Rule::YamlInvalid, what).at(path, line));
        }
        Readable::Edited(what) if what == NO_FOOT => {
            let last = text.lines().count().max(1);
            return Some(Finding::new(Rule::YamlEdited, format!("it was edited by hand: {what}")).at(path, Some(last)));
        }
        Readable::Edited(what) if what.split(", ").all(is_foreign) => {
            let message = format!("it holds fields that this version does not know: {what}");
            return Some(Finding::new(Rule::YamlField, message).at(path, line(&what)));
        }
        Readable::Edited(what) => {
            let remarks = comments_in(bytes);
            let more =
                if remarks.is_empty() { String::new() } else { format!("; it holds comments too: {}", told(&remarks)) };
            let finding = Finding::new(Rule::YamlEdited, format!("it was edited by hand: {what}{more}"));
            // What was taken out stands nowhere any more.
            return Some(finding.at(path, line(&what).or(Some(1))));
        }
    };
    Some(finding.at(path, None))
}
