//! The refusals of hand edits, as findings.
//!
//! Guarantees: an edit that can be recorded keeps its finding. If it cannot, each refusal is a finding with its line, its code, and what is
//! allowed instead.
//! Leaves to others: how an edit is judged (`engine::commit::hand_edits::dry_run`).

use std::borrow::Cow;

use crate::engine::commit::hand_edits::dry_run::{DryRun, DryRunResult};
use crate::engine::commit::hand_edits::new_files;
use crate::error::Error;
use crate::model::finding::{Finding, Refusal, Repair, Rule, Severity};
use crate::rules::decide::edit::Doc;

/// The fix of a refused edit if the refusal has no hint.
const PUT_BACK: &str = "put back what stood there, or write what is allowed";

/// Whether a finding is about an edit to try.
pub(crate) fn any(findings: &[Finding]) -> bool {
    findings.iter().any(is_tried)
}

fn is_tried(finding: &Finding) -> bool {
    finding.refusal.is_none() && finding.rule.repair().may_be_refused()
}

/// Runs the edits and new files dry, new files first, in the order in which they are recorded; `text` gives the bytes of a file.
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
        let result = match (finding.rule.repair(), finding.task) {
            (Repair::Create, id) => match new_files::read(&path, &bytes) {
                Ok((text, value)) => dry_run.new_file(id, value.as_object().unwrap_or(&Doc::new()), &path, &text),
                Err(e) => DryRunResult { refusals: vec![e], ..DryRunResult::default() },
            },
            (Repair::Record, Some(id)) => dry_run.edit(id, &path, &String::from_utf8_lossy(&bytes)),
            (Repair::Record | Repair::Render | Repair::Other, _) => DryRunResult::default(),
        };
        all.extend(with_refusals(finding, &result));
    }
    all
}

fn with_refusals(finding: Finding, result: &DryRunResult) -> Vec<Finding> {
    let last = result.refusals.len();
    let more = match (result.more, result.at_least) {
        (0, false) => String::new(),
        (0, true) => "; there may be more in this file that would be refused".to_owned(),
        (n, false) => format!("; {n} more of this file would be refused"),
        (n, true) => format!("; {n} more of this file would be refused, at least"),
    };
    if result.refusals.is_empty() {
        return vec![finding];
    }
    let one = |(n, e): (usize, &Error)| {
        let mut one = finding.clone();
        set_refusal(&mut one, e);
        one.message.push_str(if n + 1 == last { &more } else { "" });
        one
    };
    result.refusals.iter().enumerate().map(one).collect()
}

/// Adds to a finding why its edit is not recorded, and what is allowed instead.
pub(crate) fn set_refusal(finding: &mut Finding, e: &Error) {
    let place = finding.path.as_deref().map(|path| format!("{path}:")).unwrap_or_default();
    // The finding has the path and line itself.
    let why = e.message.strip_prefix(&place).map_or(e.message.as_str(), |rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':').trim_start()
    });
    // The list of all edited keys would be repeated in each of several findings.
    let what = if finding.rule == Rule::YamlEdited { "edited by hand" } else { finding.message.as_str() };
    finding.message = format!("{what}; not recorded: {}: {why}", e.code.as_str());
    finding.fix = e.hint.clone().map_or(Cow::Borrowed(PUT_BACK), |hint| Cow::Owned(hint.to_string()));
    finding.line = e.details["line"].as_u64().map(|line| line as usize).or(finding.line);
    let details = (*e.details).clone();
    finding.refusal =
        Some(Box::new(Refusal { code: e.code, message: e.message.clone(), details, hint: e.hint.clone() }));
    finding.severity = Severity::Error;
}
