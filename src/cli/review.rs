//! The answer of `review` in words: what must be decided, what moved, what is new, then the rest, task by task.
//!
//! Guarantees that the answer is bounded, that what does not fit is counted, and that less important parts are left out first.
//! Text of others stands in a code span, or in a diagram as character references: it cannot mention users or render images.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::changes::{Paper, edge, field_name, items, new_events, proposes};
use crate::reports::event_words::receivers;
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
pub fn review(data: &Value, md: bool, limit: Option<u64>, all: bool) -> String {
    let page = Page { paper: Paper { md }, data, numbers: numbers(data) };
    let lines = match limit {
        Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
        None if all => usize::MAX,
        None => SCREEN.0,
    };
    let bytes = if all || limit.is_some() { COMMENT } else { SCREEN.1 };
    page.render(lines, bytes)
}

/// Which of the items is about a task.
fn numbers(data: &Value) -> BTreeMap<&str, usize> {
    items(&data["items"]).enumerate().filter_map(|(n, item)| Some((item["task"].as_str()?, n))).collect()
}

/// Lines about one task or file, which stay together.
#[derive(Clone, Default)]
struct Block {
    lines: Vec<String>,
    /// How many changes its lines show, and how many more there are.
    listed: usize,
    more: usize,
}

impl Block {
    fn line(text: String) -> Self {
        Block { lines: vec![text], listed: 1, more: 0 }
    }
}

/// A section: what it is called, and its blocks.
struct Section {
    title: &'static str,
    /// The noun of the line that counts what is left out.
    word: &'static str,
    blocks: Vec<Block>,
    shown: usize,
    /// Its lines are folded away where there are many.
    folds: bool,
}

impl Section {
    fn new(title: &'static str, word: &'static str, blocks: Vec<Block>) -> Self {
        Section { title, word, blocks, shown: 0, folds: false }
    }

    fn total(&self) -> usize {
        self.blocks.iter().map(|block| block.listed + block.more).sum()
    }

    fn left_out(&self) -> usize {
        self.total() - self.blocks[..self.shown].iter().map(|block| block.listed).sum::<usize>()
    }

    fn lines(&self) -> usize {
        self.blocks[..self.shown].iter().map(|block| block.lines.len()).sum()
    }
}

/// What there is room for still.
struct Room {
    lines: usize,
    bytes: usize,
}

impl Room {
    fn take(&mut self, lines: usize, bytes: usize) -> bool {
        let fits = lines <= self.lines && bytes <= self.bytes;
        if fits {
            self.lines -= lines;
            self.bytes -= bytes;
        }
        fits
    }
}

struct Page<'a> {
    paper: Paper,
    data: &'a Value,
    numbers: BTreeMap<&'a str, usize>,
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
            let range = self.data["range"].as_str().unwrap_or_default();
            let all = if lines == usize::MAX { "--all --json" } else { "--all" };
            let all = self.paper.quote(&format!("agentpm review {range} {all}"));
            out.push_str(&format!("\nLeft out: {}. All of it: {all}\n", left.join(", ")));
        }
        out.push_str(&failed);
        out
    }

    fn headline(&self) -> String {
        let summary = &self.data["summary"];
        let range = self.paper.quote(self.data["range"].as_str().unwrap_or_default());
        let words = ["created", "completed", "awaiting_review", "moved", "forced", "overrides", "lost", "findings"]
            .into_iter()
            .filter(|name| summary[name].as_u64().is_some_and(|n| n > 0))
            .map(|name| match (summary[name] == 1, name) {
                (true, "overrides" | "findings") => format!(", 1 {}", name.trim_end_matches('s')),
                _ => format!(", {} {}", summary[name], name.replace('_', " ")),
            });
        let tasks = if summary["tasks"] == 1 { "1 task".to_owned() } else { format!("{} tasks", summary["tasks"]) };
        format!("{}{range}: {tasks} changed{}\n", self.paper.head(2), words.collect::<String>())
    }

    fn failed(&self) -> String {
        let failed: Vec<&str> = items(&self.data["failed"]).filter_map(Value::as_str).collect();
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
    fn name(&self, item: &Value) -> String {
        let title = self.paper.quote_most(item["title"].as_str().unwrap_or_default(), SHORT);
        format!("{} {title}", item["handle"].as_str().unwrap_or_default())
    }

    /// The handle of a task that may not be among the items.
    fn handle(&self, id: &Value) -> String {
        let id = id.as_str().unwrap_or_default();
        self.called(id)["handle"].as_str().unwrap_or(&id[id.len().saturating_sub(6)..]).to_owned()
    }

    /// What has the handle and title of a task.
    fn called(&self, id: &str) -> &Value {
        self.numbers.get(id).map_or_else(|| &self.data["names"][id], |n| &self.data["items"][*n])
    }

    fn by(&self, change: &Value) -> String {
        let by = change["by"].as_str().map(|by| format!(" by {}", self.paper.quote_most(by, SHORT)));
        format!("{}{}", by.unwrap_or_default(), self.why(change))
    }

    fn why(&self, change: &Value) -> String {
        change["why"].as_str().map(|why| format!(": {}", self.paper.quote_most(why, LONG))).unwrap_or_default()
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
        let mut blocks: Vec<Block> = items(&self.data["settings"]).map(|file| self.settings(file)).collect();
        let mut by_task: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for finding in items(&self.data["findings"]) {
            let word = |name: &str| finding[name].as_str().unwrap_or_default();
            let message = self.paper.quote_most(word("message"), 2 * LONG);
            let line = format!("{} {}: {message}", word("severity"), word("code"));
            match (self.called(word("task"))["title"].is_string(), finding["path"].as_str()) {
                (true, _) => by_task.entry(word("task")).or_default().push(line),
                (false, Some(path)) => {
                    let at = finding["line"].as_u64().map(|line| format!(":{line}")).unwrap_or_default();
                    let place = self.paper.quote_most(&format!("{path}{at}"), 2 * LONG);
                    blocks.push(Block::line(self.bullet(0, &format!("{place}: {line}"))));
                }
                (false, None) => blocks.push(Block::line(self.bullet(0, &line))),
            }
        }
        // Nothing else about these tasks is to be shown.
        let alone: Vec<&str> = by_task.keys().copied().filter(|task| !self.numbers.contains_key(task)).collect();
        for task in alone {
            let lines = by_task.remove(task).unwrap_or_default();
            blocks.push(self.together(&self.name(self.called(task)), lines));
        }
        for item in items(&self.data["items"]) {
            let mut lines = by_task.remove(item["task"].as_str().unwrap_or_default()).unwrap_or_default();
            if let Some(n) = item["missing"].as_u64().filter(|n| *n > 0) {
                lines.push(format!("{n} of its events {} missing", if n == 1 { "is" } else { "are" }));
            }
            let decides = items(&item["changes"]).filter(|change| change["decide"].is_string());
            lines.extend(decides.map(|change| self.decision(change)));
            lines.extend(items(&item["lost"]).map(|lost| self.paper.lost(lost)));
            if !lines.is_empty() {
                blocks.push(self.together(&self.name(item), lines));
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
        let line = |sent: &Value| {
            let word = |name: &str| sent[name].as_str();
            let by = self.paper.quote_most(word("by").unwrap_or_default(), SHORT);
            let to = self.paper.quote_most(&receivers(word("to"), word("role")), SHORT);
            let body = self.paper.quote_most(word("body").unwrap_or_default(), LONG);
            Block::line(self.bullet(0, &format!("message by {by} to {to}: {body}")))
        };
        items(&self.data["messages"]).map(line).collect()
    }

    fn settings(&self, file: &Value) -> Block {
        let path = self.paper.quote_most(file["path"].as_str().unwrap_or_default(), SHORT);
        if let Some(side) = file["unreadable"].as_str() {
            return Block::line(self.bullet(0, &format!("{path} changed, and cannot be read at the {side}")));
        }
        let name = |key: &Value| self.paper.quote_most(key["key"].as_str().unwrap_or_default(), SHORT);
        let mut keys: Vec<&Value> = items(&file["keys"]).collect();
        keys.sort_by_key(|key| Reverse(words(&key["to"]).iter().flatten().map(|word| strength(word)).max()));
        let said = |key: &&Value| format!("{} {}", name(key), self.arrow(&key["from"], &key["to"]));
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

    fn decision(&self, change: &Value) -> String {
        let (from, to) = (&change["from"], &change["to"]);
        let field = change["field"].as_str().unwrap_or_default();
        let what = match (change["decide"].as_str().unwrap_or_default(), field) {
            ("override", "files") => format!("claimed despite the work of {} on its files", self.value(from)),
            ("override", _) => format!("overrode the lease of {}", self.value(from)),
            ("forced", _) => {
                let unmet: Vec<String> = words(&change["unmet"])
                    .unwrap_or_default()
                    .iter()
                    .map(|text| self.paper.quote_most(text, SHORT))
                    .collect();
                let unmet = if unmet.is_empty() { String::new() } else { format!(", not met: {}", few(&unmet)) };
                format!("{} past {}{unmet}", self.move_words(change), self.value(&change["forced"]))
            }
            (_, "acceptance") => self.criteria(from, to),
            ("acceptance", _) => {
                let criterion = field.split_once('.').map_or("", |(_, criterion)| criterion);
                format!("unmet: {}", self.paper.quote_most(criterion, LONG))
            }
            (_, "status") if to == "open" || to == "in_progress" || to == "blocked" => {
                format!("reopened, {}", self.move_words(change))
            }
            (_, "status") => self.move_words(change),
            (_, "parent") => {
                let side = |id: &Value| if id.is_null() { "nothing".to_owned() } else { self.handle(id) };
                format!("parent {} → {}", side(from), side(to))
            }
            (_, name) => format!("{} {}", field_name(&self.paper, name), self.arrow(from, to)),
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

    fn move_words(&self, change: &Value) -> String {
        let word = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
        format!("{} → {}", word(&change["from"]), word(&change["to"]))
    }

    fn moves(&self) -> Vec<Block> {
        let old = items(&self.data["items"]).filter(|item| item["created"] != true);
        old.filter_map(|item| {
            let moved = items(&item["changes"]).filter(|c| c["decide"].is_null());
            let mut lines: Vec<String> = moved
                .filter_map(|change| match change["change"].as_str()? {
                    "status" => Some(format!("{}{}", self.move_words(change), self.by(change))),
                    "verified" => Some(format!("{}{}", verified(change), self.by(change))),
                    _ => None,
                })
                .collect();
            if is_moved(item) && is_ticked(item) {
                lines.extend(steps(item));
            }
            lines.extend((item["awaits_review"] == true).then(|| "awaits review".to_owned()));
            (!lines.is_empty())
                .then(|| Block::line(self.bullet(0, &format!("{}: {}", self.name(item), lines.join("; ")))))
        })
        .collect()
    }

    // --- new tasks ---

    /// New tasks, each below its parent where that is new too.
    fn new_tasks(&self) -> Vec<Block> {
        let all: Vec<&Value> = items(&self.data["items"]).filter(|item| item["created"] == true).collect();
        let mut children: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        let ids: BTreeSet<&str> = all.iter().filter_map(|item| item["task"].as_str()).collect();
        let mut roots = Vec::new();
        for item in &all {
            match item["parent"].as_str().filter(|parent| ids.contains(parent)) {
                Some(parent) => children.entry(parent).or_default().push(item),
                None => roots.push(*item),
            }
        }
        let mut blocks = Vec::new();
        let mut open: Vec<(&Value, usize)> = roots.into_iter().rev().map(|item| (item, 0)).collect();
        let mut seen = BTreeSet::new();
        // Tasks in a circle of parents have no root and come last.
        for rest in std::iter::once(None).chain(all.iter().map(|item| Some(*item))) {
            open.extend(rest.map(|item| (item, 0)));
            while let Some((item, depth)) = open.pop() {
                let id = item["task"].as_str().unwrap_or_default();
                if !seen.insert(id) {
                    continue;
                }
                blocks.push(Block::line(self.bullet(depth.min(5), &self.new_task(item, depth == 0))));
                let below = children.get(id).into_iter().flatten().rev();
                open.extend(below.map(|child| (*child, depth + 1)));
            }
        }
        blocks
    }

    fn new_task(&self, item: &Value, root: bool) -> String {
        let changes = || items(&item["changes"]);
        let creation = changes().find(|change| change["change"] == "created");
        let mut parts = vec![format!("{}{}", self.name(item), creation.map(|c| self.by(c)).unwrap_or_default())];
        if root && item["parent"].is_string() {
            parts.push(format!("below {}", self.handle(&item["parent"])));
        }
        let blocks = changes().filter(|c| c["change"] == "relationship_added" && c["to"]["type"] == "blocks");
        let waits: Vec<String> = blocks.map(|c| self.handle(&c["to"]["from"])).collect();
        if !waits.is_empty() {
            parts.push(format!("waits for {}", few(&waits)));
        }
        if item["status"] != "open" {
            let moved = changes().find(|change| change["change"] == "status");
            let by = moved.map(|c| self.by(c)).unwrap_or_default();
            parts.push(format!("{}{by}", item["status"].as_str().unwrap_or_default()));
        }
        parts.extend(steps(item));
        parts.join(", ")
    }

    // --- the rest ---

    fn details(&self) -> Vec<Block> {
        items(&self.data["items"]).filter_map(|item| self.detail(item)).collect()
    }

    fn detail(&self, item: &Value) -> Option<Block> {
        let created = item["created"] == true;
        let mut parts: Vec<(String, &Value)> = Vec::new();
        let mut notes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut listed = Vec::new();
        let moved_by = items(&item["changes"]).find(|c| c["change"] == "status").map(|c| &c["by"]);
        for change in items(&item["changes"]).filter(|change| change["decide"].is_null()) {
            let field = change["field"].as_str().unwrap_or_default();
            match change["change"].as_str().unwrap_or_default() {
                "context_added" => {
                    let kind = change["to"]["type"].as_str().unwrap_or_default();
                    *notes.entry(kind).or_default() += 1;
                    if matches!(kind, "decision" | "blocker") {
                        let text =
                            self.paper.quote_most(change["to"]["content"].as_str().unwrap_or_default(), 2 * LONG);
                        let by = change["by"].as_str().map(|by| format!(" by {}", self.paper.quote_most(by, SHORT)));
                        listed.push(format!("{kind}{}: {text}", by.unwrap_or_default()));
                    }
                }
                "field" if field == "owner" && moved_by == Some(&change["by"]) => {}
                "field" | "acceptance" | "relationship_added" | "relationship_removed" if !created => {
                    parts.push((self.part(item, change), change));
                }
                "thread_opened" | "thread_resolved" | "thread_escalated" => {
                    parts.push((self.part(item, change), change))
                }
                "thread_replied" => *notes.entry("answer").or_default() += 1,
                "context_superseded" => parts.push(("a note superseded".into(), change)),
                "context_redacted" => parts.push(("a note redacted".into(), change)),
                _ => {}
            }
        }
        let mut words = self.attributed(parts);
        if is_ticked(item) && !created && !is_moved(item) {
            words.extend(steps(item));
        }
        words.extend(notes.iter().map(|(kind, n)| count(*n, kind)));
        if item["gone"] == true {
            words.push("gone".into());
        } else if items(&item["changes"]).next().is_none() && item["missing"] == 0 {
            words.push(format!("{}, without a net change", new_events(item)));
        }
        if words.is_empty() {
            return None;
        }
        let mut lines = vec![self.bullet(0, &format!("{}: {}", self.name(item), words.join("; ")))];
        lines.extend(listed.iter().take(3).map(|line| self.bullet(1, line)));
        if listed.len() > 3 {
            lines.push(self.bullet(1, &format!("and {} more of them", listed.len() - 3)));
        }
        Some(Block { lines, listed: 1, more: 0 })
    }

    /// Changes with who made them: once, where it was one.
    fn attributed(&self, mut parts: Vec<(String, &Value)>) -> Vec<String> {
        let more = parts.len().saturating_sub(MOST_PARTS);
        parts.truncate(MOST_PARTS);
        let by: BTreeSet<Option<&str>> = parts.iter().map(|(_, change)| change["by"].as_str()).collect();
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

    fn part(&self, item: &Value, change: &Value) -> String {
        let (from, to) = (&change["from"], &change["to"]);
        let field = change["field"].as_str().unwrap_or_default();
        match change["change"].as_str().unwrap_or_default() {
            "acceptance" => {
                format!(
                    "met: {}",
                    self.long(&Value::from(field.split_once('.').map_or("", |(_, criterion)| criterion)))
                )
            }
            "thread_opened" => format!("thread opened{}: {}", proposes(to), self.long(&to["body"])),
            "thread_resolved" => format!("thread {}", self.value(to)),
            "thread_escalated" => format!("thread escalated to {}", self.value(to)),
            "relationship_added" => self.relation(item, to, ("waits for", "")),
            "relationship_removed" => self.relation(item, from, ("no longer waits for", "no longer: ")),
            _ if matches!(field, "labels" | "watchers") => {
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

    fn relation(&self, item: &Value, relation: &Value, words: (&str, &str)) -> String {
        if relation["type"] == "blocks" && relation["to"] == item["task"] {
            return format!("{} {}", words.0, self.handle(&relation["from"]));
        }
        format!("{}{}", words.1, edge(relation))
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
        for item in items(&self.data["items"]) {
            let task = item["task"].as_str().unwrap_or_default();
            for change in items(&item["changes"]) {
                let pair = |edge: &Value| Some((edge["from"].as_str()?.to_owned(), edge["to"].as_str()?.to_owned()));
                let blocks = |edge: &Value| pair(edge).filter(|_| edge["type"] == "blocks");
                // Where a new task hangs is seen among the new tasks.
                let hangs = change["field"] == "parent" && item["created"] != true;
                let parent =
                    |value: &Value| value.as_str().filter(|_| hangs).map(|id| (id.to_owned(), task.to_owned()));
                let (from, to) = (&change["from"], &change["to"]);
                edges.extend(blocks(from).map(|ends| (ends, "-. \"blocks no more\" .->")));
                edges.extend(blocks(to).map(|ends| (ends, "-- blocks -->")));
                edges.extend(parent(from).map(|ends| (ends, "-. \"parent no more\" .->")));
                edges.extend(parent(to).map(|ends| (ends, "-- parent of -->")));
            }
        }
        let total = edges.len();
        // Tasks that did not change themselves are numbered after those that did.
        let mut numbers = self.numbers.clone();
        for id in edges.iter().flat_map(|((from, to), _)| [from.as_str(), to.as_str()]) {
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
            let ends = [from.as_str(), to.as_str()].map(|id| (numbers[id], id));
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
    fn node(&self, number: usize, id: &str, first: bool) -> String {
        if !first {
            return format!("t{number}");
        }
        let text = Paper { md: false }.quote_most(self.called(id)["title"].as_str().unwrap_or_default(), 40);
        format!("t{number}[\"{} {}\"]", self.handle(&Value::from(id)), referenced(&text))
    }
}

/// What a diagram would understand is written as character references.
fn referenced(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | ',' | '.' | '-' | '…');
    text.chars().map(|c| if plain(c) { c.to_string() } else { format!("#{};", c as u32) }).collect()
}

/// Fills a section with what there is room for, in order.
fn fill(section: &mut Section, room: &mut Room) {
    // Title and the blank line before it; where it folds, its end too.
    let (frame, frame_bytes) = if section.folds { (5, 60) } else { (2, 30) };
    for block in &section.blocks {
        let (first, first_bytes) = if section.shown == 0 { (frame, frame_bytes) } else { (0, 0) };
        let bytes: usize = block.lines.iter().map(|line| line.len() + 1).sum();
        if !room.take(first + block.lines.len(), first_bytes + bytes) {
            // What comes after matters less, and does not take its place.
            (room.lines, room.bytes) = (0, 0);
            return;
        }
        section.shown += 1;
    }
}

/// Whether its status is shown among the moves.
fn is_moved(item: &Value) -> bool {
    items(&item["changes"]).any(|change| change["change"] == "status" && change["decide"].is_null())
}

/// Whether steps came or were done.
fn is_ticked(item: &Value) -> bool {
    items(&item["changes"]).any(|change| change["change"] == "progress_added" || change["change"] == "progress")
}

fn verified(change: &Value) -> &'static str {
    if change["to"] == true { "review passed" } else { "review failed" }
}

/// `5 of 7 steps done`
fn steps(item: &Value) -> Option<String> {
    let (done, total) = (item["steps"]["done"].as_u64()?, item["steps"]["total"].as_u64()?);
    (total > 0).then(|| format!("{done} of {total} steps done"))
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
