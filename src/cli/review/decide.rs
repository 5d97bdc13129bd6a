//! What a reviewer must decide: settings, findings, overrides, criteria, scope, lost values.
//!
//! Leaves to others: which changes those are (`reports::review`).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;

use super::names::{LONG, MOST_LINES, MOST_PARTS, Page, SHORT, few, move_words, strength, task_of, words};
use crate::cli::changes::{changes, field_name, items, missing};
use crate::cli::page::Block;
use crate::engine::query::review::{SettingChange, SettingsChange};
use crate::model::finding::Finding;
use crate::model::id::Id;
use crate::reports::change::Change;
use crate::reports::review::Matter;

impl Page<'_> {
    pub(super) fn to_decide(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = self.report.settings.iter().map(|file| self.settings(file)).collect();
        let mut by_task: BTreeMap<Id, Vec<String>> = BTreeMap::new();
        for finding in &self.report.findings {
            let Finding { severity, rule, .. } = finding;
            let message = self.paper.quote_most(&finding.message, 2 * LONG);
            let line = format!("{} {}: {message}", severity.as_str(), rule.code());
            match (finding.task.filter(|task| self.title(*task).is_some()), &finding.path) {
                (Some(task), _) => by_task.entry(task).or_default().push(line),
                (None, Some(path)) => {
                    let at = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
                    let place = self.paper.quote_most(&format!("{path}{at}"), 2 * LONG);
                    blocks.push(Block::line(self.bullet(0, &format!("{place}: {line}"))));
                }
                (None, None) => blocks.push(Block::line(self.bullet(0, &line))),
            }
        }
        // Nothing else about these tasks is to be shown.
        let alone: Vec<Id> = by_task.keys().copied().filter(|task| !self.numbers.contains_key(task)).collect();
        for task in alone {
            let lines = by_task.remove(&task).unwrap_or_default();
            blocks.push(self.together(&self.name(task), lines));
        }
        for item in &self.report.list.items {
            let mut lines = by_task.remove(&item.task).unwrap_or_default();
            if item.missing > 0 {
                lines.push(missing(item.missing));
            }
            let decides = changes(item).filter_map(|one| Some((&one.change, one.decide?)));
            lines.extend(decides.map(|(change, matter)| self.decision(change, matter)));
            lines.extend(item.lost.iter().map(|lost| self.paper.lost(&lost.entry)));
            if !lines.is_empty() {
                blocks.push(self.together(&self.name(item.task), lines));
            }
        }
        blocks
    }

    /// A single change follows the name on its line; several follow below it.
    fn together(&self, name: &str, lines: Vec<String>) -> Block {
        let said = lines.len();
        let mut times: Vec<(String, usize)> = Vec::new();
        for line in lines {
            match times.iter_mut().find(|(known, _)| *known == line) {
                Some((_, n)) => *n += 1,
                None => times.push((line, 1)),
            }
        }
        let again = |(line, n): (String, usize)| if n > 1 { format!("{line} ({n} times)") } else { line };
        if let [_] = times[..] {
            let line = times.into_iter().map(again).collect::<String>();
            return Block { lines: vec![self.bullet(0, &format!("{name}: {line}"))], listed: said, more: 0 };
        }
        let most = if times.len() > MOST_LINES { MOST_LINES - 1 } else { times.len() };
        let more: usize = times.drain(most..).map(|(_, n)| n).sum();
        let mut shown = vec![self.bullet(0, name)];
        shown.extend(times.into_iter().map(|line| self.bullet(1, &again(line))));
        if more > 0 {
            shown.push(self.bullet(1, &format!("and {more} more")));
        }
        Block { lines: shown, listed: said - more, more }
    }

    fn settings(&self, file: &SettingsChange) -> Block {
        let path = self.paper.quote_most(&file.path, SHORT);
        if let Some(side) = file.unreadable {
            return Block::line(self.bullet(0, &format!("{path} changed, and cannot be read at the {side}")));
        }
        let side = |value: &Option<Value>| value.clone().unwrap_or_default();
        let mut keys: Vec<&SettingChange> = file.keys.iter().collect();
        keys.sort_by_key(|key| Reverse(words(&side(&key.to)).iter().flatten().map(|word| strength(word)).max()));
        let name = |key: &SettingChange| self.paper.quote_most(&key.key, SHORT);
        let said = |key: &&SettingChange| format!("{} {}", name(key), self.arrow(&side(&key.from), &side(&key.to)));
        let mut parts: Vec<String> = keys.iter().map(said).collect();
        if parts.len() > MOST_PARTS {
            let more = parts.len() - MOST_PARTS + 1;
            parts.truncate(MOST_PARTS - 1);
            parts.push(format!("and {more} more keys"));
        }
        if parts.is_empty() {
            parts.push("only in its form".into());
        }
        Block::line(self.bullet(0, &format!("{path} changed: {}", parts.join("; "))))
    }

    fn decision(&self, change: &Change, matter: Matter) -> String {
        let (from, to) = (&change.from, &change.to);
        let what = match (matter, change.field.as_str()) {
            (Matter::Override, "files") => format!("claimed despite the work of {} on its files", self.value(from)),
            (Matter::Override, _) => format!("overrode the lease of {}", self.value(from)),
            (Matter::Forced, _) => {
                let unmet: Vec<String> = change.unmet.iter().map(|text| self.paper.quote_most(text, SHORT)).collect();
                let unmet = if unmet.is_empty() { String::new() } else { format!(", not met: {}", few(&unmet)) };
                let past = self.paper.quote_most(&change.forced.join(", "), SHORT);
                format!("{} past {past}{unmet}", move_words(change))
            }
            (Matter::Acceptance | Matter::Scope, "acceptance") => self.criteria(from, to),
            (Matter::Acceptance, field) => {
                let criterion = field.split_once('.').map_or("", |(_, criterion)| criterion);
                format!("unmet: {}", self.paper.quote_most(criterion, LONG))
            }
            (Matter::Scope, "status") if to == "open" || to == "in_progress" || to == "blocked" => {
                format!("reopened, {}", move_words(change))
            }
            (Matter::Scope, "status") => move_words(change),
            (Matter::Scope, "parent") => {
                let side = |value: &Value| task_of(value).map_or_else(|| "nothing".to_owned(), |id| self.handle(id));
                format!("parent {} → {}", side(from), side(to))
            }
            (Matter::Scope, name) => format!("{} {}", field_name(&self.paper, name), self.arrow(from, to)),
        };
        format!("{what}{}", self.by(change))
    }

    /// Criteria that went, came, or took other words.
    fn criteria(&self, from: &Value, to: &Value) -> String {
        let not_in = |one: &Value, other: &Value| -> Vec<Value> {
            let known: Vec<&Value> = items(other).collect();
            items(one).filter(|criterion| !known.contains(criterion)).cloned().collect()
        };
        let (dropped, added) = (not_in(from, to), not_in(to, from));
        let mut parts = Vec::new();
        if dropped.len() == added.len() && items(from).count() == items(to).count() {
            let pairs = dropped.iter().zip(&added);
            parts.extend(pairs.map(|(old, new)| {
                let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (old, new) = self.paper.sides(&word(old), &word(new), LONG);
                format!("criterion reworded: {old} → {new}")
            }));
        } else {
            parts.extend(dropped.iter().map(|old| format!("criterion dropped: {}", self.long(old))));
            parts.extend(added.iter().map(|new| format!("criterion added: {}", self.long(new))));
        }
        if parts.is_empty() {
            parts.push("criteria in another order".into());
        }
        if parts.len() > 3 {
            let more = parts.len() - 3;
            parts.truncate(3);
            parts.push(format!("and {more} more"));
        }
        parts.join("; ")
    }
}
