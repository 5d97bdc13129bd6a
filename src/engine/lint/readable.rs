//! Compares a readable file with its log, as a finding.
//!
//! Guarantees: judged by bytes, wherever they were read.
//! Leaves to others: how to fix it.

use super::point_out;
use crate::engine::commit::hand_edits::judge::{Comparison, UnclearValue};
use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::view::history::Place;
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::quoted;
use crate::rules::decide::edit::is_foreign;
use crate::store::comments::Comment;
use crate::store::edited::{Readable, differing_parts, names_of, render_doc};
use crate::store::place::line_of_key;
use crate::store::yaml::line_in;

/// Most comments that are named.
const MOST_COMMENTS: usize = 5;

/// A readable file with its log.
pub(crate) struct FileAndLog<'a> {
    pub place: Place,
    /// The path of the file, as messages name it.
    pub path: String,
    pub entity: &'a Entity,
    pub entries: &'a [Entry],
    /// The file; `None` where it is missing.
    pub bytes: Option<&'a [u8]>,
}

impl FileAndLog<'_> {
    /// How the file differs from what its log says, with the lines.
    pub fn findings(self, lineage: &Lineage<'_>) -> Vec<Finding> {
        let FileAndLog { place, path, entity, entries, bytes } = self;
        let Some(bytes) = bytes else {
            return vec![Finding::new(Rule::YamlMissing, "the readable file is missing").at(path, None)];
        };
        let judged = lineage.judge(place, entity, entries, entries, bytes);
        let mut findings: Vec<Finding> =
            judged.unclear.iter().map(|unclear| unclear_found(&path, unclear, bytes)).collect();
        let older = || names_of(&differing_parts(&judged.doc, &render_doc(entity, entries))).join(", ");
        findings.extend(judged_found(path, &judged, bytes, &older));
        findings.iter_mut().for_each(|finding| point_out(finding, entity, entries, bytes));
        findings
    }
}

/// The finding for a value that may be older than what the log says, or a hand edit.
fn unclear_found(path: &str, unclear: &UnclearValue, bytes: &[u8]) -> Finding {
    let line = line_of_key(&String::from_utf8_lossy(bytes), &unclear.part.key);
    Finding::new(Rule::YamlAstray, unclear.in_words()).at(path, line)
}

/// Comments with their lines.
fn list_comments(all: &[Comment]) -> String {
    let mut words: Vec<String> =
        all.iter().take(MOST_COMMENTS).map(|(line, words)| format!("{} (line {line})", quoted(words))).collect();
    if all.len() > MOST_COMMENTS {
        words.push(format!("and {} more", all.len() - MOST_COMMENTS));
    }
    words.join(", ")
}

/// What a readable file's standing to its log means for lint.
/// `older` names the keys that say what the log said before.
fn judged_found(path: String, judged: &Comparison, bytes: &[u8], older: &dyn Fn() -> String) -> Option<Finding> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let line = |keys: &[String]| keys.iter().filter_map(|key| line_of_key(text, key)).min();
    let comments = || {
        let more = if judged.remarks.is_empty() { String::new() } else { list_comments(&judged.remarks) };
        (!more.is_empty()).then_some(more)
    };
    let finding = match &judged.how {
        Readable::Clean => return None,
        // The values were named.
        Readable::Stale if !judged.unclear.is_empty() => return None,
        Readable::Stale if text.contains('\r') => Finding::new(Rule::YamlForm, "its lines end with CR LF"),
        Readable::Stale => Finding::new(Rule::YamlStale, format!("it shows an earlier state of its log: {}", older())),
        Readable::Form => Finding::new(Rule::YamlForm, "it is not in its canonical form"),
        Readable::Conflicted => Finding::new(Rule::YamlConflict, "it holds conflict markers of git"),
        Readable::Comments => {
            let (line, message) = match &judged.remarks[..] {
                [(line, words)] => (*line, format!("a comment would be lost: {}", quoted(words))),
                all => {
                    (all.first().map_or(1, |first| first.0), format!("comments would be lost: {}", list_comments(all)))
                }
            };
            return Some(Finding::new(Rule::YamlComment, message).at(path, Some(line)));
        }
        Readable::Ahead(lost) => {
            Finding::new(Rule::LogGap, format!("it shows event {lost}, which its log does not hold"))
        }
        Readable::Invalid(what) => {
            return Some(Finding::new(Rule::YamlInvalid, what.clone()).at(path, line_in(what)));
        }
        Readable::Edited(what) if judged.conflicted => {
            let message = format!("it holds conflict markers of git, and edits by hand: {}", what.join(", "));
            Finding::new(Rule::YamlConflict, message)
        }
        Readable::Edited(what) if what.iter().all(|key| is_foreign(key)) => {
            let message = format!("it holds fields that this version does not know: {}", what.join(", "));
            return Some(Finding::new(Rule::YamlField, message).at(path, line(what)));
        }
        Readable::Edited(what) => {
            let more = comments().map(|more| format!("; it also holds comments: {more}")).unwrap_or_default();
            let message = format!("it was edited by hand: {}{more}", what.join(", "));
            // What was taken out stands nowhere any more.
            return Some(Finding::new(Rule::YamlEdited, message).at(path, line(what).or(Some(1))));
        }
    };
    Some(finding.at(path, None))
}
