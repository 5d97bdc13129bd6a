//! The answer of `review` in words: what must be decided, what moved, what is new, then the rest, task by task.
//!
//! Guarantees that the answer is bounded, that what does not fit is counted, and that less important parts are left out first.
//! Text of others stands in a code span, or in a diagram as character references: it cannot mention users or render images.
//! Leaves to others: what is on the page (`engine::query::review`), and how much fits on it (`page`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum as _;
use serde_json::Value;

use super::changes::{Paper, changes, edge, field_name, items, missing, new_events, proposes};
use super::page::{Block, Room, Section, fill};
use crate::engine::query::diff::{ChangeToDecide, ChangedTask};
use crate::engine::query::review::{ReviewReport, SettingChange, SettingsChange};
use crate::model::finding::Finding;
use crate::model::id::Id;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::reports::change::{Change, Kind};
use crate::reports::event_words::receivers;
use crate::reports::inbox::SentMessage;
use crate::reports::review::Matter;
use crate::rules::roles::Verb;

/// Lines and bytes of an answer that asks for no other bounds: a screen.
const SCREEN: (usize, usize) = (60, 8 * 1024);
/// Most bytes ever: a comment of a hosting site holds 65 536 characters.
const COMMENT: usize = 65_000;
/// Most characters of a title or value; a reason or a note may be longer.
const SHORT: usize = 60;
const LONG: usize = 80;
/// Most lines of one task in one section.
const MOST_LINES: usize = 8;
/// Most changes of one task on its line of details.
const MOST_PARTS: usize = 8;
/// Most tasks in the diagram.
const MOST_NODES: usize = 12;

/// What is asked for: lines at most, or all that a comment holds.
pub fn review(report: &ReviewReport, md: bool, limit: Option<u64>, all: bool) -> String {
    let page = Page { paper: Paper { md }, report, numbers: numbers(report) };
    let lines = match limit {
        Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
        None if all => usize::MAX,
        None => SCREEN.0,
    };
    let bytes = if all || limit.is_some() { COMMENT } else { SCREEN.1 };
    page.render(lines, bytes)
}

/// Which of the items is about a task.
fn numbers(report: &ReviewReport) -> BTreeMap<Id, usize> {
    report.list.items.iter().enumerate().map(|(n, item)| (item.task, n)).collect()
}

struct Page<'a> {
    paper: Paper,
    report: &'a ReviewReport,
    numbers: BTreeMap<Id, usize>,
}

impl Page<'_> {
    fn render(&self, lines: usize, bytes: usize) -> String {
        let md = self.paper.md;
        let mut out = self.headline();
        let failed = self.failed();
        // The last lines say what is left out and what fails; their place is kept.
        let mut room = Room {
            lines: lines.saturating_sub(3 + 2 * failed.lines().count()),
            bytes: bytes.saturating_sub(out.len() + failed.len() + 400),
        };
        let mut sections = [
            Section::new("To decide", "to decide", self.to_decide()),
            Section::new("Moves", "moves", self.moves()),
            Section::new("New tasks", "new tasks", self.new_tasks()),
            Section { folds: true, ..Section::new("Details", "details", [self.messages(), self.details()].concat()) },
        ];
        for section in &mut sections[..3] {
            fill(section, &mut room);
        }
        let (diagram, left_out_edges) =
            if md { self.diagram_with_limit(&sections[3], &mut room) } else { Default::default() };
        fill(&mut sections[3], &mut room);
        for section in &sections {
            if section.folds {
                out.push_str(&diagram);
            }
            self.print(section, &mut out);
        }
        let of_section = |section: &Section| {
            let out = section.left_out();
            (out > 0).then(|| format!("{out} of {} {}", section.total(), section.word))
        };
        let mut left: Vec<String> = sections[..3].iter().filter_map(of_section).collect();
        left.extend(left_out_edges);
        left.extend(of_section(&sections[3]));
        if !left.is_empty() {
            let range = &self.report.range;
            let all = if lines == usize::MAX { "--all --json" } else { "--all" };
            let all = self.paper.quote(&format!("agentpm review {range} {all}"));
            out.push_str(&format!("\nLeft out: {}. All of it: {all}\n", left.join(", ")));
        }
        out.push_str(&failed);
        out
    }

    fn headline(&self) -> String {
        let summary = &self.report.summary;
        let counts = [
            (summary.created, "created", "created"),
            (summary.completed, "completed", "completed"),
            (summary.awaiting_review, "awaiting review", "awaiting review"),
            (summary.moved, "moved", "moved"),
            (summary.forced, "forced", "forced"),
            (summary.overrides, "override", "overrides"),
            (summary.lost, "lost", "lost"),
            (summary.findings, "finding", "findings"),
        ];
        let counted = counts.into_iter().filter(|(n, ..)| *n > 0);
        let words = counted.map(|(n, one, many)| format!(", {n} {}", if n == 1 { one } else { many }));
        let tasks = if summary.tasks == 1 { "1 task".to_owned() } else { format!("{} tasks", summary.tasks) };
        let range = self.paper.quote(&self.report.range);
        format!("{}{range}: {tasks} changed{}\n", self.paper.head(2), words.collect::<String>())
    }

    fn failed(&self) -> String {
        let failed: Vec<String> = self
            .report
            .failed
            .iter()
            .filter_map(|condition| Some(condition.to_possible_value()?.get_name().to_owned()))
            .collect();
        if failed.is_empty() { String::new() } else { format!("\nFails on: {}\n", failed.join(", ")) }
    }

    fn print(&self, section: &Section, out: &mut String) {
        if section.shown == 0 {
            return;
        }
        let title = format!("{} ({})", section.title, section.total());
        let folds = self.paper.md && section.folds && section.lines() > MOST_LINES;
        match (self.paper.md, folds) {
            (true, true) => out.push_str(&format!("\n<details><summary>{title}</summary>\n\n")),
            (true, false) => out.push_str(&format!("\n### {title}\n")),
            (false, _) => out.push_str(&format!("\n{title}\n")),
        }
        for line in section.blocks[..section.shown].iter().flat_map(|block| &block.lines) {
            out.push_str(line);
            out.push('\n');
        }
        if folds {
            out.push_str("\n</details>\n");
        }
    }

    /// One line of a list, so deep.
    fn bullet(&self, depth: usize, text: &str) -> String {
        let indent = "  ".repeat(depth);
        if self.paper.md { format!("{indent}- {text}") } else { format!("  {indent}{text}") }
    }

    fn value(&self, value: &Value) -> String {
        let text = match value {
            Value::Null => return "nothing".into(),
            Value::String(text) => text.clone(),
            Value::Array(list) if list.is_empty() => return "nothing".into(),
            Value::Array(list) if list.iter().all(Value::is_string) => {
                list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            }
            Value::Number(number) => return number.to_string(),
            other => other.to_string(),
        };
        self.paper.quote_most(&text, SHORT)
    }

    fn long(&self, value: &Value) -> String {
        self.paper.quote_most(value.as_str().unwrap_or_default(), LONG)
    }

    /// `7XK2Q1 title`
    fn name(&self, task: Id) -> String {
        format!("{} {}", self.handle(task), self.paper.quote_most(self.title(task).unwrap_or_default(), SHORT))
    }

    /// The handle of a task that may not be among the items.
    fn handle(&self, task: Id) -> String {
        let own = self.numbers.get(&task).map(|n| self.report.list.items[*n].handle.as_str());
        let known = own.or_else(|| self.report.names.get(&task).map(|name| name.handle.as_str()));
        let id = task.to_string();
        known.map_or_else(|| id[id.len().saturating_sub(6)..].to_owned(), str::to_owned)
    }

    /// The title of a task that may not be among the items.
    fn title(&self, task: Id) -> Option<&str> {
        let own = self.numbers.get(&task).map(|n| self.report.list.items[*n].title.as_str());
        own.or_else(|| self.report.names.get(&task)?.title.as_deref())
    }

    fn by(&self, change: &Change) -> String {
        let by = change.by.as_ref().map(|by| format!(" by {}", self.paper.quote_most(by, SHORT)));
        format!("{}{}", by.unwrap_or_default(), self.why(change))
    }

    fn why(&self, change: &Change) -> String {
        change.why.as_ref().map(|why| format!(": {}", self.paper.quote_most(why, LONG))).unwrap_or_default()
    }

    /// What was and what is; of long values what differs.
    fn arrow(&self, from: &Value, to: &Value) -> String {
        let length = |words: &[String]| words.iter().map(|word| word.chars().count() + 2).sum::<usize>();
        match (words(from), words(to)) {
            (Some(old), Some(new)) if length(&old).max(length(&new)) > SHORT => {
                let not_in = |one: &[String], other: &[String], sign: &str| -> Vec<String> {
                    let mut missing: Vec<&String> = one.iter().filter(|word| !other.contains(word)).collect();
                    missing.sort_by_key(|word| Reverse(strength(word)));
                    missing.iter().map(|word| format!("{sign}{}", self.paper.quote_most(word, SHORT))).collect()
                };
                let both = [not_in(&new, &old, "+"), not_in(&old, &new, "−")];
                let said: Vec<String> = both.iter().filter(|words| !words.is_empty()).map(|words| few(words)).collect();
                return if said.is_empty() { "the same in another order".into() } else { said.join(", ") };
            }
            _ => {}
        }
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Array(list) if list.is_empty() || list.iter().all(Value::is_string) => None,
            Value::Number(_) => None,
            other => Some(other.to_string()),
        };
        let (from, to) = match (text(from), text(to)) {
            (Some(from), Some(to)) => self.paper.sides(&from, &to, SHORT),
            _ => (self.value(from), self.value(to)),
        };
        format!("{from} → {to}")
    }

    // --- to decide ---

    fn to_decide(&self) -> Vec<Block> {
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

    /// What agents sent to others.
    fn messages(&self) -> Vec<Block> {
        let line = |sent: &SentMessage| {
            let by = self.paper.quote_most(&sent.by, SHORT);
            let to = self.paper.quote_most(&receivers(sent.to.as_deref(), sent.role.as_deref()), SHORT);
            let body = self.paper.quote_most(&sent.body, LONG);
            Block::line(self.bullet(0, &format!("message by {by} to {to}: {body}")))
        };
        self.report.messages.iter().map(line).collect()
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

    // --- moves ---

    fn moves(&self) -> Vec<Block> {
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

    // --- new tasks ---

    /// New tasks, each below its parent where that is new too.
    fn new_tasks(&self) -> Vec<Block> {
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

    // --- the rest ---

    fn details(&self) -> Vec<Block> {
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

    // --- the diagram ---

    /// The diagram, in half of the room that is left where details wait for the rest.
    fn diagram_with_limit(&self, details: &Section, room: &mut Room) -> (String, Option<String>) {
        let (lines, bytes) = if details.blocks.is_empty() { (0, 0) } else { (room.lines / 2, room.bytes / 2) };
        (room.lines, room.bytes) = (room.lines - lines, room.bytes - bytes);
        let diagram = self.diagram(room);
        (room.lines, room.bytes) = (room.lines + lines, room.bytes + bytes);
        diagram
    }

    /// Dependencies that came and went, as a diagram; and how many of them are left out.
    fn diagram(&self, room: &mut Room) -> (String, Option<String>) {
        let mut edges = Vec::new();
        for item in &self.report.list.items {
            for Change { change: kind, field, from, to, .. } in changes(item).map(|one| &one.change) {
                // Where a new task hangs is seen among the new tasks.
                let hangs = *kind == Kind::Field && field == "parent" && !item.created;
                let parent = |value: &Value| task_of(value).filter(|_| hangs).map(|parent| (parent, item.task));
                edges.extend(blocking(from).map(|ends| (ends, "-. \"blocks no more\" .->")));
                edges.extend(blocking(to).map(|ends| (ends, "-- blocks -->")));
                edges.extend(parent(from).map(|ends| (ends, "-. \"parent no more\" .->")));
                edges.extend(parent(to).map(|ends| (ends, "-- parent of -->")));
            }
        }
        let total = edges.len();
        // Tasks that did not change themselves are numbered after those that did.
        let mut numbers = self.numbers.clone();
        for id in edges.iter().flat_map(|((from, to), _)| [*from, *to]) {
            let next = numbers.len();
            numbers.entry(id).or_insert(next);
        }
        let left = |shown_edges: usize| {
            (shown_edges < total).then(|| format!("{} of {total} dependencies", total - shown_edges))
        };
        // Heading, fences, first line, and the blank lines around them.
        if edges.is_empty() || room.lines < 7 || !room.take(5, 120) {
            return (String::new(), left(0));
        }
        let (mut nodes, mut shown_edges) = (Vec::<usize>::new(), Vec::new());
        for ((from, to), arrow) in &edges {
            let ends = [*from, *to].map(|id| (numbers[&id], id));
            let new: BTreeSet<usize> = ends.into_iter().map(|(n, _)| n).filter(|n| !nodes.contains(n)).collect();
            if nodes.len() + new.len() > MOST_NODES || shown_edges.len() == MOST_NODES {
                continue;
            }
            let [from, to] = ends.map(|(n, id)| self.node(n, id, new.contains(&n)));
            let line = format!("  {from} {arrow} {to}");
            if !room.take(1, line.len() + 1) {
                break;
            }
            nodes.extend(new);
            shown_edges.push(line);
        }
        let count =
            if shown_edges.len() < total { format!("{} of {total}", shown_edges.len()) } else { total.to_string() };
        let text = format!("\n### Dependencies ({count})\n```mermaid\ngraph LR\n{}\n```\n", shown_edges.join("\n"));
        (text, left(shown_edges.len()))
    }

    /// A task in the diagram, with its name the first time.
    fn node(&self, number: usize, task: Id, first: bool) -> String {
        if !first {
            return format!("t{number}");
        }
        let text = Paper { md: false }.quote_most(self.title(task).unwrap_or_default(), 40);
        format!("t{number}[\"{} {}\"]", self.handle(task), referenced(&text))
    }
}

/// What a diagram would understand is written as character references.
fn referenced(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | ',' | '.' | '-' | '…');
    text.chars().map(|c| if plain(c) { c.to_string() } else { format!("#{};", c as u32) }).collect()
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

/// `open → completed`
fn move_words(change: &Change) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
    format!("{} → {}", word(&change.from), word(&change.to))
}

/// The task that a value names.
fn task_of(value: &Value) -> Option<Id> {
    value.as_str()?.parse().ok()
}

/// The blocker and the blocked task of a relationship of that type.
fn blocking(relation: &Value) -> Option<(Id, Id)> {
    let is_blocks = relation["type"] == RelationType::Blocks.as_str();
    is_blocks.then_some((task_of(&relation["from"])?, task_of(&relation["to"])?))
}

/// `5 of 7 steps done`
fn steps(item: &ChangedTask) -> Option<String> {
    let steps = item.steps;
    (steps.total > 0).then(|| format!("{} of {} steps done", steps.done, steps.total))
}

fn count(n: usize, kind: &str) -> String {
    let kind = kind.replace('_', " ");
    if n == 1 { format!("1 {kind}") } else { format!("{n} {kind}s") }
}

/// The words of a list, where it is one of words.
fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// How much a word permits; what permits most must not be among those that are left out of a long list.
fn strength(word: &str) -> usize {
    Verb::ALL.iter().position(|verb| verb.as_str() == word).map_or(0, |at| at + 1)
}

fn few(words: &[String]) -> String {
    match words {
        [first @ .., _] if first.len() >= MOST_PARTS => {
            format!("{} and {} more", words[..MOST_PARTS].join(", "), words.len() - MOST_PARTS)
        }
        _ => words.join(", "),
    }
}
