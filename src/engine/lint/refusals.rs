//! What recording a hand edit would refuse, as findings.
//!
//! Guarantees: an edit that would be recorded keeps its finding; of one that would not, each refusal is a finding with the line it
//! is about, the code, and what would be allowed.
//! Leaves to others: how an edit is judged (`engine::commit::hand_edits::dry_run`), and where the text was read.

use std::borrow::Cow;

use crate::engine::commit::hand_edits::dry_run::{DryRun, DryRunResult};
use crate::engine::commit::hand_edits::new_files;
use crate::error::Error;
use crate::model::finding::{Finding, Refusal, Rule, Severity};
use crate::rules::decide::edit::Doc;

/// The fix of a refused edit where nothing more specific is known.
const PUT_BACK: &str = "put back what stood there, or write what is allowed";

/// Whether a finding is of words that a person wrote into a task's file.
pub(crate) fn is_hand_edit(rule: Rule) -> bool {
    matches!(rule, Rule::YamlEdited | Rule::YamlField | Rule::YamlComment)
}

/// Whether there is anything to try.
pub(crate) fn any(findings: &[Finding]) -> bool {
    findings.iter().any(is_tried)
}

fn is_tried(finding: &Finding) -> bool {
    finding.refusal.is_none() && (is_hand_edit(finding.rule) || finding.rule == Rule::TaskNew)
}

/// Tries the edits and new files that were found, new files first as they are recorded; `text` gives what a file holds.
pub(crate) fn add_refusals(
    dry_run: &DryRun<'_>,
    findings: Vec<Finding>,
    text: &dyn Fn(&Finding) -> Option<Vec<u8>>,
) -> Vec<Finding> {
    let (mut wanted, mut all): (Vec<Finding>, Vec<Finding>) = findings.into_iter().partition(is_tried);
    wanted.sort_by(|a, b| (a.rule != Rule::TaskNew, &a.path).cmp(&(b.rule != Rule::TaskNew, &b.path)));
    for finding in wanted {
        let (Some(bytes), Some(path)) = (text(&finding), finding.path.clone()) else {
            all.push(finding);
            continue;
        };
        let add_refusals = match (finding.rule, finding.task) {
            (Rule::TaskNew, id) => match new_files::read(&path, &bytes) {
                Ok((text, value)) => dry_run.new_file(id, value.as_object().unwrap_or(&Doc::new()), &path, &text),
                Err(e) => DryRunResult { refusals: vec![e], ..DryRunResult::default() },
            },
            (_, Some(id)) => dry_run.edit(id, &path, &String::from_utf8_lossy(&bytes)),
            (_, None) => DryRunResult::default(),
        };
        all.extend(with_refusals(finding, add_refusals));
    }
    all
}

fn with_refusals(finding: Finding, add_refusals: DryRunResult) -> Vec<Finding> {
    let last = add_refusals.refusals.len();
    let more = match (add_refusals.more, add_refusals.at_least) {
        (0, false) => String::new(),
        (0, true) => "; there may be more in this file that would be refused".to_owned(),
        (n, false) => format!("; {n} more of this file would be refused"),
        (n, true) => format!("; {n} more of this file would be refused, at least"),
    };
    if add_refusals.refusals.is_empty() {
        return vec![finding];
    }
    let one = |(n, e): (usize, &Error)| {
        let mut one = finding.clone();
        set_refusal(&mut one, e);
        one.message.push_str(if n + 1 == last { &more } else { "" });
        one
    };
    add_refusals.refusals.iter().enumerate().map(one).collect()
}

/// Says in a finding why the edit it is about is not recorded, and what would be.
pub(crate) fn set_refusal(finding: &mut Finding, e: &Error) {
    let place = finding.path.as_deref().map(|path| format!("{path}:")).unwrap_or_default();
    // The finding itself says where it is.
    let why = e.message.strip_prefix(&place).map_or(e.message.as_str(), |rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':').trim_start()
    });
    // Of an edit that falls into several findings, what all was edited would be said again and again.
    let what = if finding.rule == Rule::YamlEdited { "edited by hand" } else { finding.message.as_str() };
    finding.message = format!("{what}; not recorded: {}: {why}", e.code.as_str());
    finding.fix = e.hint.clone().map_or(Cow::Borrowed(PUT_BACK), |hint| Cow::Owned(hint.to_string()));
    finding.line = e.details["line"].as_u64().map(|line| line as usize).or(finding.line);
    let details = (*e.details).clone();
    finding.refusal =
        Some(Box::new(Refusal { code: e.code, message: e.message.clone(), details, hint: e.hint.clone() }));
    finding.severity = Severity::Error;
}
