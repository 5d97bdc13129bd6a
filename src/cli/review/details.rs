//! What moved, what is new, and the rest, task by task.
//!
//! Leaves to others: what a reviewer must decide (`decide`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::names::{LONG, MOST_PARTS, Page, SHORT, blocking, few, move_words};
use crate::cli::changes::{changes, edge, field_name, items, new_events, proposes};
use crate::cli::page::Block;
use crate::engine::query::diff::{ChangeToDecide, ChangedTask};
use crate::model::id::Id;
use crate::model::task::Status;
use crate::reports::change::{Change, Kind};
use crate::reports::event_words::receivers;
use crate::reports::inbox::SentMessage;

impl Page<'_> {
    /// What agents sent to others.
    pub(super) fn messages(&self) -> Vec<Block> {
        let line = |sent: &SentMessage| {
            let by = self.paper.quote_most(&sent.by, SHORT);
            let to = self.paper.quote_most(&receivers(sent.to.as_deref(), sent.role.as_deref()), SHORT);
            let body = self.paper.quote_most(&sent.body, LONG);
            Block::line(self.bullet(0, &format!("message by {by} to {to}: {body}")))
        };
        self.report.messages.iter().map(line).collect()
    }

    pub(super) fn moves(&self) -> Vec<Block> {
        let old = self.report.list.items.iter().filter(|item| !item.created);
        old.filter_map(|item| {
            let moved = changes(item).filter(|one| one.decide.is_none()).map(|one| &one.change);
            let mut lines: Vec<String> = moved
                .filter_map(|change| match change.change {
                    Kind::Status => Some(format!("{}{}", move_words(change), self.by(change))),
                    Kind::Verified => Some(format!("{}{}", verified(change), self.by(change))),
                    _ => None,
                })
                .collect();
            if is_moved(item) && is_ticked(item) {
                lines.extend(steps(item));
            }
            lines.extend(item.awaits_review.then(|| "awaits review".to_owned()));
            (!lines.is_empty())
                .then(|| Block::line(self.bullet(0, &format!("{}: {}", self.name(item.task), lines.join("; ")))))
        })
        .collect()
    }

    /// New tasks, each below its parent where that is new too.
    pub(super) fn new_tasks(&self) -> Vec<Block> {
        let all: Vec<&ChangedTask> = self.report.list.items.iter().filter(|item| item.created).collect();
        let mut children: BTreeMap<Id, Vec<&ChangedTask>> = BTreeMap::new();
        let ids: BTreeSet<Id> = all.iter().map(|item| item.task).collect();
        let mut roots = Vec::new();
        for item in &all {
            match item.parent.filter(|parent| ids.contains(parent)) {
                Some(parent) => children.entry(parent).or_default().push(item),
                None => roots.push(*item),
            }
        }
        let mut blocks = Vec::new();
        let mut open: Vec<(&ChangedTask, usize)> = roots.into_iter().rev().map(|item| (item, 0)).collect();
        let mut seen = BTreeSet::new();
        // Tasks in a circle of parents have no root and come last.
        for rest in std::iter::once(None).chain(all.iter().map(|item| Some(*item))) {
            open.extend(rest.map(|item| (item, 0)));
            while let Some((item, depth)) = open.pop() {
                if !seen.insert(item.task) {
                    continue;
                }
                blocks.push(Block::line(self.bullet(depth.min(5), &self.new_task(item, depth == 0))));
                let below = children.get(&item.task).into_iter().flatten().rev();
                open.extend(below.map(|child| (*child, depth + 1)));
            }
        }
        blocks
    }

    fn new_task(&self, item: &ChangedTask, root: bool) -> String {
        let of_kind = |kind: Kind| changes(item).map(|one| &one.change).filter(move |change| change.change == kind);
        let by = |kind: Kind| of_kind(kind).next().map(|change| self.by(change)).unwrap_or_default();
        let mut parts = vec![format!("{}{}", self.name(item.task), by(Kind::Created))];
        if let Some(parent) = item.parent.filter(|_| root) {
            parts.push(format!("below {}", self.handle(parent)));
        }
        let blockers = of_kind(Kind::RelationshipAdded).filter_map(|change| blocking(&change.to));
        let waits: Vec<String> = blockers.map(|(blocker, _)| self.handle(blocker)).collect();
        if !waits.is_empty() {
            parts.push(format!("waits for {}", few(&waits)));
        }
        if item.status != Status::Open {
            parts.push(format!("{}{}", item.status.as_str(), by(Kind::Status)));
        }
        parts.extend(steps(item));
        parts.join(", ")
    }

    pub(super) fn details(&self) -> Vec<Block> {
        self.report.list.items.iter().filter_map(|item| self.detail(item)).collect()
    }

    fn detail(&self, item: &ChangedTask) -> Option<Block> {
        let mut parts: Vec<(String, &Change)> = Vec::new();
        let mut notes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut listed = Vec::new();
        let moved_by = changes(item).find(|one| one.change.change == Kind::Status).map(|one| &one.change.by);
        for change in changes(item).filter(|one| one.decide.is_none()).map(|one| &one.change) {
            match change.change {
                Kind::ContextAdded => {
                    let kind = change.to["type"].as_str().unwrap_or_default();
                    *notes.entry(kind).or_default() += 1;
                    if matches!(kind, "decision" | "blocker") {
                        let text = self.paper.quote_most(change.to["content"].as_str().unwrap_or_default(), 2 * LONG);
                        let by = change.by.as_ref().map(|by| format!(" by {}", self.paper.quote_most(by, SHORT)));
                        listed.push(format!("{kind}{}: {text}", by.unwrap_or_default()));
                    }
                }
                Kind::Field if change.field == "owner" && moved_by == Some(&change.by) => {}
                Kind::Field | Kind::Acceptance | Kind::RelationshipAdded | Kind::RelationshipRemoved => {
                    if !item.created {
                        parts.push((self.part(item, change), change));
                    }
                }
                Kind::ThreadOpened | Kind::ThreadResolved | Kind::ThreadEscalated => {
                    parts.push((self.part(item, change), change));
                }
                Kind::ThreadReplied => *notes.entry("answer").or_default() += 1,
                Kind::ContextSuperseded => parts.push(("a note superseded".into(), change)),
                Kind::ContextRedacted => parts.push(("a note redacted".into(), change)),
                // Shown among the moves, the new tasks, or what is to be decided; steps are counted.
                Kind::Created | Kind::Status | Kind::Verified | Kind::Forced | Kind::Override => {}
                Kind::ProgressAdded | Kind::Progress => {}
            }
        }
        let mut words = self.attributed(parts);
        if is_ticked(item) && !item.created && !is_moved(item) {
            words.extend(steps(item));
        }
        words.extend(notes.iter().map(|(kind, n)| count(*n, kind)));
        if item.gone {
            words.push("gone".into());
        } else if item.changes.is_empty() && item.missing == 0 {
            words.push(format!("{}, without a net change", new_events(item)));
        }
        if words.is_empty() {
            return None;
        }
        let mut lines = vec![self.bullet(0, &format!("{}: {}", self.name(item.task), words.join("; ")))];
        lines.extend(listed.iter().take(3).map(|line| self.bullet(1, line)));
        if listed.len() > 3 {
            lines.push(self.bullet(1, &format!("and {} more of them", listed.len() - 3)));
        }
        Some(Block { lines, listed: 1, more: 0 })
    }

    /// Changes with who made them: once, where it was one.
    fn attributed(&self, mut parts: Vec<(String, &Change)>) -> Vec<String> {
        let more = parts.len().saturating_sub(MOST_PARTS);
        parts.truncate(MOST_PARTS);
        let by: BTreeSet<Option<&str>> = parts.iter().map(|(_, change)| change.by.as_deref()).collect();
        let one = by.len() == 1;
        let mut words: Vec<String> = parts
            .iter()
            .map(|(text, change)| format!("{text}{}", if one { self.why(change) } else { self.by(change) }))
            .collect();
        if more > 0 {
            words.push(format!("and {more} more {}", if more == 1 { "change" } else { "changes" }));
        }
        match by.into_iter().next().flatten().filter(|_| one) {
            Some(by) => vec![format!("{} — by {}", words.join("; "), self.paper.quote_most(by, SHORT))],
            None => words,
        }
    }

    fn part(&self, item: &ChangedTask, change: &Change) -> String {
        let Change { change: kind, field, from, to, .. } = change;
        match kind {
            Kind::Acceptance => {
                let criterion = field.split_once('.').map_or("", |(_, criterion)| criterion);
                format!("met: {}", self.paper.quote_most(criterion, LONG))
            }
            Kind::ThreadOpened => format!("thread opened{}: {}", proposes(to), self.long(&to["body"])),
            Kind::ThreadResolved => format!("thread {}", self.value(to)),
            Kind::ThreadEscalated => format!("thread escalated to {}", self.value(to)),
            Kind::RelationshipAdded => self.relation(item, to, ("waits for", "")),
            Kind::RelationshipRemoved => self.relation(item, from, ("no longer waits for", "no longer: ")),
            _ if matches!(field.as_str(), "labels" | "watchers") => {
                let not_in = |one: &Value, other: &Value| -> Vec<String> {
                    let known: Vec<&Value> = items(other).collect();
                    items(one).filter(|word| !known.contains(word)).map(|word| self.value(word)).collect()
                };
                let (gone, come) = (not_in(from, to), not_in(to, from));
                let signed = |sign: &str, words: Vec<String>| words.into_iter().map(|w| format!("{sign}{w}")).collect();
                let words: Vec<String> =
                    [signed("+", come), signed("−", gone)].into_iter().flat_map(|w: Vec<String>| w).collect();
                format!("{field} {}", few(&words))
            }
            _ => format!("{} {}", field_name(&self.paper, field), self.arrow(from, to)),
        }
    }

    fn relation(&self, item: &ChangedTask, relation: &Value, words: (&str, &str)) -> String {
        match blocking(relation) {
            Some((blocker, blocked)) if blocked == item.task => format!("{} {}", words.0, self.handle(blocker)),
            _ => format!("{}{}", words.1, edge(relation)),
        }
    }
}

/// Whether its status is shown among the moves.
fn is_moved(item: &ChangedTask) -> bool {
    changes(item).any(|one| one.change.change == Kind::Status && one.decide.is_none())
}

/// Whether steps came or were done.
fn is_ticked(item: &ChangedTask) -> bool {
    changes(item).any(|one: &ChangeToDecide| matches!(one.change.change, Kind::ProgressAdded | Kind::Progress))
}

fn verified(change: &Change) -> &'static str {
    if change.to == true { "review passed" } else { "review failed" }
}

/// `5 of 7 steps done`
fn steps(item: &ChangedTask) -> Option<String> {
    let steps = item.steps;
    (steps.total > 0).then(|| format!("{} of {} steps done", steps.done, steps.total))
}

pub(super) fn count(n: usize, kind: &str) -> String {
    let kind = kind.replace('_', " ");
    if n == 1 { format!("1 {kind}") } else { format!("{n} {kind}s") }
}
