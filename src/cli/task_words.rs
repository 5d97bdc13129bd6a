//! A task in words: whole, as a card, or as the receipt of a change; and events on a line each.
//!
//! Leaves to others: lists of tasks (`table`), and why tasks are not ready (`next_words`).

use serde_json::{Value, json};

use super::table::{counted, raw, short, word};
use crate::model::context::ContextEntry;
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::plain::{escape, escape_lines};
use crate::reports::changed::{Receipt, TaskAnswer};
use crate::reports::view::TaskView;

/// A task, whole or in short.
pub fn task_words(shown: &TaskAnswer) -> String {
    match shown {
        TaskAnswer::Whole(shown) => task(shown),
        TaskAnswer::Card(card) => {
            format!("{}  {}  ({}, priority {})\n", card.handle, escape(&card.title), card.status, card.priority)
        }
        TaskAnswer::Receipt(receipt) => receipt_words(receipt),
    }
}

fn receipt_words(receipt: &Receipt) -> String {
    let mut out = format!("{}  {}  ({})\n", receipt.handle, escape(&receipt.title), receipt.status);
    for (name, change) in &receipt.changed {
        let (from, to) = (escape(&short(&change.from)), escape(&short(&change.to)));
        out.push_str(&format!("  {}: {from} -> {to}\n", escape(name)));
    }
    if receipt.awaits_review {
        out.push_str("  awaits the review of another agent\n");
    }
    if let Some(steps) = receipt.unticked {
        out.push_str(&format!("  {} not completed\n", counted(steps, "step")));
    }
    for (title, tasks) in [("now ready", &receipt.ready), ("similar", &receipt.similar)] {
        tasks.iter().for_each(|task| out.push_str(&format!("  {title}: {}  {}\n", task.handle, escape(&task.title))));
    }
    out
}

/// A task whole.
pub fn task(task: &TaskView) -> String {
    let mut out = format!("{}  {}\n", task.handle, escape(task.title()));
    if let Some(at) = &task.at {
        let point = escape(&at.point.point);
        out.push_str(&format!("  {:<17}{point} (event {} of {})\n", "as of", at.lamport, at.time));
    }
    let own_place = ["handle", "title", "intent", "metadata", "acceptance", "context", "relationships", "progress"];
    let fields = json!(task);
    for (key, value) in fields.as_object().into_iter().flatten() {
        let is_list_of_objects = value.as_array().is_some_and(|list| list.iter().any(Value::is_object));
        if own_place.contains(&key.as_str()) || is_list_of_objects || matches!(key.as_str(), "at" | "left_out") {
            continue;
        }
        let parent = task.parent.filter(|_| key == "parent");
        let text = parent.map_or_else(|| escape(&raw(value)), |parent| name_in(task, parent));
        if !(text.is_empty() || text == "0" || text == "0/0") {
            out.push_str(&format!("  {:<17}{text}\n", escape(&key.replace('_', " "))));
        }
    }
    if let Some(intent) = task.fields.get("intent").and_then(Value::as_str) {
        out.push('\n');
        out.push_str(&escape_lines(intent).lines().map(|line| format!("  {line}\n")).collect::<String>());
    }
    list(&mut out, "Acceptance", &task.acceptance, |c| {
        format!("[{}] {}", tick(c.entry.met), escape(&c.entry.criterion))
    });
    list(&mut out, "Progress", &task.progress.items, |p| {
        format!("[{}] {} {}", tick(p.entry.completed), tail(p.entry.id), escape(&p.entry.content))
    });
    list(&mut out, "Context", &task.context, |c| {
        let ContextEntry { id, kind, author, content, superseded_by, redacted, .. } = &c.entry;
        let state = match (redacted, superseded_by) {
            (true, _) => " (redacted)",
            (false, Some(_)) => " (superseded)",
            (false, None) => "",
        };
        format!("{} {} by {}{state}: {}", tail(*id), kind.as_str(), escape(author), escape(content))
    });
    list(&mut out, "Elsewhere, by events that are not here", &task.branches, |state| {
        let (kind, name) = state.place();
        let by = state.owner.as_ref().map(|owner| format!(" by {}", escape(owner))).unwrap_or_default();
        format!("{kind} {}: {}{by}", escape(name), state.status)
    });
    list(&mut out, "Relationships", &task.relationships, |r| {
        format!("{} {} {}", name_in(task, r.entry.from), r.entry.kind.as_str(), name_in(task, r.entry.to))
    });
    if !task.left_out.is_empty() {
        let words: Vec<String> =
            task.left_out.iter().map(|(name, n)| format!("{n} {}", name.replace('_', " "))).collect();
        let handle = &task.handle;
        out.push_str(&format!("\n(left out: {}; agentpm show {handle} --full shows all)\n", words.join(", ")));
    }
    out
}

/// Handle and title of a task that another one names; its own handle for the task itself.
fn name_in(task: &TaskView, id: Id) -> String {
    match task.names.iter().find(|named| named.id == id) {
        _ if id == task.id => task.handle.clone(),
        Some(named) => escape(&named.words()),
        None => tail(id),
    }
}

pub fn list<T>(out: &mut String, title: &str, items: &[T], line: impl Fn(&T) -> String) {
    if !items.is_empty() {
        out.push_str(&format!("\n{title}\n"));
        items.iter().for_each(|item| out.push_str(&format!("  {}\n", line(item))));
    }
}

fn tick(done: bool) -> &'static str {
    if done { "x" } else { " " }
}

/// The last six characters of an item's id.
fn tail(id: Id) -> String {
    id.handle(HANDLE_MIN)
}

/// Lines of events below their header; nothing for none.
pub fn events(lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.collect();
    if lines.is_empty() {
        return lines;
    }
    let (clock, agent, kind) = ("clock", "agent", "type");
    format!("{clock:>5}  {:<6}  {:<20}  {agent:<12} {kind:<21} {:<6}  what\n{lines}", "event", "at", "task")
}

/// An event on a line.
pub fn event(event: &Value) -> String {
    let end = |key: &str| {
        let text = event[key].as_str().unwrap_or_default();
        text[text.floor_char_boundary(text.len().saturating_sub(6))..].to_owned()
    };
    let why = event["why"].as_str().map(|why| format!("  ({})", escape(why))).unwrap_or_default();
    let payload: String = escape(&event["payload"].to_string()).chars().take(100).collect();
    format!(
        "{:>5}  {}  {}  {:<12} {:<21} {}  {payload}{why}\n",
        event["lamport"],
        end("id"),
        word(event, "at"),
        word(event, "agent"),
        word(event, "type"),
        escape(&end("entity")),
    )
}
