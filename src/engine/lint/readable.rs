//! Compares a readable file with its log, as a finding.
//!
//! Guarantees that only bytes count, whichever source they are from.
//! Leaves to others: how a file differs from its log (`hand_edits::judge`).

use super::lines::point_out;
use super::source::{LintSource, Subject};
use crate::engine::commit::hand_edits::judge::{Comparison, UnclearValue};
use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::view::history::Place;
use crate::error::Result;
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

/// The differences between the readable file of a task or an agent and its log, without those that a finding of the log covers.
pub(crate) fn check(source: LintSource<'_>, subject: &Subject<'_>, found: &mut Vec<Finding>) -> Result<()> {
    let Some((place, lineage)) = source.lineage().filter(|_| subject.compares) else { return Ok(()) };
    let Subject { entity, log, yaml_path, yaml, of_log, .. } = subject;
    let mut new = match yaml {
        Ok(bytes) => differences(lineage, place, yaml_path, entity, &log.entries, bytes.as_deref()),
        Err(finding) => vec![Finding::clone(finding)],
    };
    new.retain(|finding| !repeats_log_finding(finding, found) && !repeats_log_finding(finding, of_log));
    match source {
        LintSource::Index(..) => found.extend(new.into_iter().map(half_staged)),
        LintSource::WorkTree(..) | LintSource::Branch(..) | LintSource::Text(_) => found.extend(new),
    }
    Ok(())
}

/// Sets the fix of a finding that arises if only one of the two files is staged: the work tree may be correct already.
fn half_staged(finding: Finding) -> Finding {
    let is_half = matches!(finding.rule, Rule::YamlMissing | Rule::YamlStale | Rule::LogGap);
    let fix = "git add both files of it; where task.yaml is behind its log, agentpm lint --fix writes it first";
    if is_half { Finding { fix: fix.into(), ..finding } } else { finding }
}

/// Whether a finding about a readable file only repeats that its log has lost or changed an event.
fn repeats_log_finding(finding: &Finding, of_log: &[Finding]) -> bool {
    let is_gap = finding.rule == Rule::LogGap;
    let is_repeated = |found: &Finding| {
        (is_gap && matches!(found.rule, Rule::LogGap | Rule::LogHeadless))
            || (found.rule == Rule::SignatureWrong
                && (is_gap || matches!(finding.rule, Rule::YamlEdited | Rule::YamlStale)))
    };
    of_log.iter().any(is_repeated)
}

/// The differences between the bytes of a readable file and its log, with their lines; `path` is the file's path in messages.
pub(crate) fn differences(
    lineage: &Lineage<'_>,
    place: Place,
    path: &str,
    entity: &Entity,
    entries: &[Entry],
    bytes: Option<&[u8]>,
) -> Vec<Finding> {
    let Some(bytes) = bytes else {
        return vec![Finding::new(Rule::YamlMissing, "the readable file is missing").at(path, None)];
    };
    let judged = lineage.judge(place, entity, entries, entries, bytes);
    let mut findings: Vec<Finding> = judged.unclear.iter().map(|unclear| unclear_found(path, unclear, bytes)).collect();
    let older = || names_of(&differing_parts(&judged.doc, &render_doc(entity, entries))).join(", ");
    findings.extend(judged_found(path, &judged, bytes, &older));
    findings.iter_mut().for_each(|finding| point_out(finding, entity, entries, bytes));
    findings
}

/// The finding about a value that may be older than the log's, or a hand edit.
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

/// The finding about a readable file as a whole. `older` gives the keys with values that the log had before.
fn judged_found(path: &str, judged: &Comparison, bytes: &[u8], older: &dyn Fn() -> String) -> Option<Finding> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let line = |keys: &[String]| keys.iter().filter_map(|key| line_of_key(text, key)).min();
    let finding = match &judged.how {
        Readable::Clean => return None,
        // Findings of their own name the values.
        Readable::Stale if !judged.unclear.is_empty() => return None,
        Readable::Stale if text.contains('\r') => Finding::new(Rule::YamlForm, "its lines end with CR LF"),
        Readable::Stale => Finding::new(Rule::YamlStale, format!("it shows an earlier state of its log: {}", older())),
        Readable::Form => Finding::new(Rule::YamlForm, "it is not in its canonical form"),
        Readable::Conflicted => Finding::new(Rule::YamlConflict, "it holds conflict markers of git"),
        Readable::Comments => {
            let message = match &judged.remarks[..] {
                [(_, words)] => format!("a comment would be lost: {}", quoted(words)),
                all => format!("comments would be lost: {}", list_comments(all)),
            };
            let line = judged.remarks.first().map_or(1, |first| first.0);
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
            let more = match judged.remarks.is_empty() {
                true => String::new(),
                false => format!("; it also holds comments: {}", list_comments(&judged.remarks)),
            };
            let message = format!("it was edited by hand: {}{more}", what.join(", "));
            // A removed key has no line.
            return Some(Finding::new(Rule::YamlEdited, message).at(path, line(what).or(Some(1))));
        }
    };
    Some(finding.at(path, None))
}
