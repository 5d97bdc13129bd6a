//! The lines of a readable file that findings are about.
//!
//! Guarantees that lines refer to the bytes that were checked: those of the work tree, of git's index or of an editor.

use super::Found;
use super::source::LintSource;
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule, Spot, limit_alike};
use crate::model::id::Id;
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
    // A file that cannot be read cannot be compared.
    let has_line = finding.line.is_some() || finding.rule == Rule::YamlInvalid;
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|_| !has_line) else { return };
    finding.line = match finding.rule == Rule::YamlConflict {
        true => text.lines().position(|line| line.starts_with("<<<<<<< ")).map(|n| n + 1),
        false => first_apart(&render(entity, entries), text),
    };
}

/// The first line of `found` that differs from `expected`; its last one if lines are missing at its end.
fn first_apart(expected: &str, found: &str) -> Option<usize> {
    if expected == found {
        return None;
    }
    let count = found.lines().count();
    let same = expected.split('\n').zip(found.split('\n')).take_while(|(a, b)| a == b).count();
    Some((same + 1).min(count.max(1)))
}

/// Adds the lines to findings that follow from several tasks, and limits how many of a kind are reported of one file.
pub(crate) fn check(source: LintSource<'_>, found: &mut Found) -> Result<()> {
    let mut last: Option<(Id, String)> = None;
    found.findings = limit_alike(std::mem::take(&mut found.findings));
    for finding in &mut found.findings {
        let (None, Some(spot), Some(task)) = (finding.line, &finding.spot, finding.task) else { continue };
        if last.as_ref().is_none_or(|(id, _)| *id != task) {
            let entity = Entity::Task(task);
            let text = String::from_utf8_lossy(source.subject(&entity)?.yaml().unwrap_or_default()).into_owned();
            last = Some((task, text));
        }
        finding.line = last.as_ref().and_then(|(_, text)| line_of(text, spot));
    }
    Ok(())
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
