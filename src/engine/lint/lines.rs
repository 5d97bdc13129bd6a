//! The lines of a readable file that findings are about.
//!
//! Guarantees: looked for in the bytes that were judged, be they of the work tree, of git's index or of an editor.
//! Leaves to others: what the findings say.

use crate::engine::context::Workspace;
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule, Spot};
use crate::model::id::Id;
use crate::store::entity::read_yaml;
use crate::store::place::line_of_key;
use crate::store::project::render;

/// The line of a part of a readable file.
pub(crate) fn line_of(text: &str, spot: &Spot) -> Option<usize> {
    match spot {
        Spot::Key(key) => line_of_key(text, key),
        Spot::Edge(id) => line_of_edge(text, *id),
    }
}

fn line_of_edge(text: &str, id: Id) -> Option<usize> {
    let id = id.to_string();
    let begin = line_of_key(text, "relationships")?;
    let within = |line: &&str| line.starts_with([' ', '-']) || line.is_empty();
    let offset = text.lines().skip(begin).take_while(within).position(|line| line.contains(&id))?;
    Some(begin + 1 + offset)
}

/// Adds the line to a finding about a whole readable file: the first line that differs from what its log says.
pub(crate) fn point_out(finding: &mut Finding, entity: &Entity, entries: &[Entry], bytes: &[u8]) {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|_| finding.line.is_none()) else { return };
    let find = |is: &dyn Fn(&str) -> bool| text.lines().position(is).map(|n| n + 1);
    finding.line = match finding.rule {
        Rule::YamlConflict => find(&|line| line.starts_with("<<<<<<< ")),
        Rule::LogGap | Rule::YamlEdited | Rule::YamlForm | Rule::YamlField | Rule::YamlStale | Rule::YamlAstray => {
            first_apart(&render(entity, entries), text)
        }
        _ => None,
    };
}

/// Whether a finding about a readable file only repeats that its log has lost or changed an event.
pub(crate) fn repeats_log_finding(finding: &Finding, of_log: &[Finding]) -> bool {
    let covers = |found: &Finding| match found.rule {
        Rule::LogGap | Rule::LogHeadless => finding.rule == Rule::LogGap,
        Rule::SignatureWrong => matches!(finding.rule, Rule::LogGap | Rule::YamlEdited | Rule::YamlStale),
        _ => false,
    };
    of_log.iter().any(covers)
}

/// The first line of `found` that is not as expected; where lines are missing at its end, its last one.
fn first_apart(expected: &str, found: &str) -> Option<usize> {
    if expected == found {
        return None;
    }
    let count = found.lines().count();
    let same = expected.split('\n').zip(found.split('\n')).take_while(|(a, b)| a == b).count();
    Some((same + 1).min(count.max(1)))
}

/// The same findings, with the lines of what they are about in the files of the work tree.
pub(crate) fn located(ws: &Workspace, findings: Vec<Finding>) -> Vec<Finding> {
    let mut read: Option<(Id, String)> = None;
    let mut find = |mut finding: Finding| {
        if let (None, Some(spot), Some(task)) = (finding.line, &finding.spot, finding.task) {
            if read.as_ref().is_none_or(|(id, _)| *id != task) {
                let bytes = read_yaml(&ws.store, &Entity::Task(task)).ok().flatten();
                read = Some((task, String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()));
            }
            finding.line = read.as_ref().and_then(|(_, text)| line_of(text, spot));
        }
        finding
    };
    findings.into_iter().map(&mut find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_edges_are_found_where_they_stand_and_not_where_they_are_spoken_of() {
        let id: Id = "01K5R4XJ7Z0000000000000001".parse().unwrap();
        let text = format!(
            "intent: |\n  status: open\n  {id}\n\"status\": open\nrelationships:\n  - id: {id}\n    type: blocks\nlog:\n  heads: [{id}]\n"
        );
        assert_eq!(line_of(&text, &Spot::Key("status".into())), Some(4));
        assert_eq!(line_of(&text, &Spot::Edge(id)), Some(6));
        assert_eq!(line_of(&text, &Spot::Key("stat".into())), None);
        assert_eq!((first_apart("a\nb\n", "a\nc\n"), first_apart("a\nb\n", "a\n")), (Some(2), Some(1)));
    }
}
