//! What the log of the task itself gives: what to do, progress, context, history and lost edits.
//!
//! Leaves to others: what the page has room for (`page`).

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::page::{Draft, Kind, Section, line, line_of, one_line, short};
use super::{Hold, MAX_NAMED};
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::Result;
use crate::model::context::{ContextEntry, ContextType, ProgressItem};
use crate::model::event::Entry;
use crate::model::id::HANDLE_MIN;
use crate::model::payload::Payload;
use crate::model::plain::{code_block, code_span, escape, first_of};
use crate::model::task::Task;
use crate::model::thread::{Resolved, Thread};
use crate::reports::event_words::{deed, shortened};
use crate::reports::extent::beginning;
use crate::reports::view::{ConflictEnd, TaskView};
use crate::rules::lost::{Counts, Lost, lost};
use crate::rules::review::{met_words, rejection};

const TASK: Kind = Kind { name: "task", heading: "", rank: 0 };
const FIELDS: Kind = Kind { name: "fields", heading: "", rank: 2 };
const INTENT: Kind = Kind { name: "intent", heading: "", rank: 1 };
const ACCEPTANCE: Kind = Kind { name: "acceptance", heading: "\n## Acceptance\n\n", rank: 0 };
const HOLDER: Kind = Kind { name: "holder", heading: "\n## Held by\n\n", rank: 1 };
const OPEN_STEPS: Kind = Kind { name: "progress", heading: "\n## Progress\n\n", rank: 2 };
const DONE_STEPS: Kind = Kind { rank: 7, ..OPEN_STEPS };
const LASTING: Kind = Kind { name: "context", heading: "\n## Context\n", rank: 3 };
const NOTES: Kind = Kind { rank: 6, ..LASTING };
const THREADS: Kind = Kind { name: "threads", heading: "\n## Open threads\n", rank: 2 };
const RESOLVED: Kind = Kind { name: "threads", heading: "\n## Resolved threads\n", rank: 6 };
const EVENTS: Kind = Kind { name: "events", heading: "\n## History, newest first\n\n", rank: 10 };
const EXPLAINED_EVENTS: Kind = Kind { rank: 9, ..EVENTS };
const LOST: Kind =
    Kind { name: "lost_edits", heading: "\n## What you wrote and lost to a change made at the same time\n\n", rank: 2 };

/// Longest value of a field that the history shows, in bytes.
const MAX_SET: usize = 40;

/// Most lost edits that the page and the answer name.
const MAX_LOST: usize = 5;

/// A value of the caller that lost to a concurrent one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LostEdit {
    /// The register, such as `title`, `status` or `progress.<item>`.
    pub field: String,
    /// The value of the caller; the beginning of a long one.
    pub yours: Value,
    /// The value that counts; the beginning of a long one.
    pub now: Value,
    /// The author of that value.
    pub by: String,
    /// What ends the conflict.
    #[serde(flatten)]
    pub end: ConflictEnd,
}

/// What to do.
pub(super) fn aim(draft: &mut Draft, task: &Task, entries: &[Entry], shown: &TaskView) {
    let f = &task.fields;
    let kind = line_of(f.kind.as_str(), 100);
    let mut text = format!("# {}\n\n", line_of(&f.title, (draft.room / 8).clamp(40, 1_000)));
    let (id, handle, status) = (task.id, &shown.handle, shown.status);
    let _ = writeln!(text, "task {id} ({handle}), {kind}, {status}, priority {}", f.priority);
    if let Some(rejected) = rejection(entries).filter(|_| !task.status.is_finished()) {
        let why = rejected.why.as_deref().unwrap_or_default();
        let (by, why) = (line_of(&rejected.author.agent, 100), line_of(why, (draft.room / 2).max(200)));
        let met = met_words(task).map(|words| format!(" ({words})")).unwrap_or_default();
        let _ = writeln!(text, "\n**sent back by {by}**: {why}{met}");
    }
    draft.push(Section { kind: TASK, text, cut: 0 });
    let mut fields = String::new();
    for (name, list) in [("labels", &f.labels), ("files", &f.files)] {
        if !list.is_empty() {
            let _ = writeln!(fields, "{name}: {}", few(list));
        }
    }
    for (name, value) in [("estimate", f.estimate.clone()), ("due", f.due.map(|t| t.to_string()))] {
        if let Some(value) = value {
            let _ = writeln!(fields, "{name}: {}", line(&value));
        }
    }
    if !fields.is_empty() {
        draft.push(Section { kind: FIELDS, text: fields, cut: 0 });
    }
    if let Some(intent) = &f.intent {
        let (intent, cut) = short(intent, draft.room / 3);
        let written = task.stamps.get("intent").and_then(|stamp| entries.iter().find(|e| e.event.id == stamp.id));
        let by = written.map_or(&task.created_by, |entry| &entry.event.author.agent);
        let text = format!("\n## Intent (by {})\n\n{}", line(by), code_block(&intent));
        draft.push(Section { kind: INTENT, text, cut });
    }
    acceptance(draft, task);
}

/// The first few of a list, on one line.
fn few(list: &[String]) -> String {
    first_of(list.iter().map(|word| line_of(word, 100)), MAX_NAMED, list.len())
}

/// The criteria, the unmet ones first where there are too many for the page.
fn acceptance(draft: &mut Draft, task: &Task) {
    let criteria = &task.fields.acceptance;
    let mut order: Vec<usize> = (0..criteria.len()).collect();
    order.sort_by_key(|n| task.met.contains_key(&criteria[*n]));
    let (mut shown, mut bytes) = (Vec::new(), 0);
    for n in order {
        let mark = if task.met.contains_key(&criteria[n]) { "x" } else { " " };
        let one = format!("{}. [{mark}] {}\n", n + 1, line(&criteria[n]));
        bytes += one.len();
        if bytes > (draft.room / 4).max(300) && !shown.is_empty() {
            break;
        }
        shown.push((n, one));
    }
    if shown.is_empty() {
        return;
    }
    let more = criteria.len() - shown.len();
    shown.sort();
    let mut text: String = shown.into_iter().map(|(_, one)| one).collect();
    if more > 0 {
        let _ = writeln!(text, "and {more} more criteria");
    }
    draft.push(Section { kind: ACCEPTANCE, text, cut: 0 });
    draft.count("criteria", more);
}

/// Who holds it; no agent holds a finished task.
pub(super) fn holder(draft: &mut Draft, task: &Task, hold: &Hold) {
    if task.status.is_finished() {
        return;
    }
    let owner = task.owner.as_ref().map(|owner| format!("owner: {}\n", line(owner)));
    let lease = hold.words.as_ref().map(|words| format!("lease: {words}\n"));
    let text: String = owner.into_iter().chain(lease).collect();
    if !text.is_empty() {
        draft.push(Section { kind: HOLDER, text, cut: 0 });
    }
}

/// The open steps in their order, then the completed ones, newest first.
pub(super) fn progress(draft: &mut Draft, task: &Task) {
    let room = draft.room / 3;
    let section = |kind: Kind, mark: &str, item: &ProgressItem| {
        let text = format!("- [{mark}] {} {}\n", item.id.handle(HANDLE_MIN), line(&item.content));
        Section { kind, text, cut: 0 }
    };
    draft.list(task.progress.values().filter(|i| !i.completed), room, |item| section(OPEN_STEPS, " ", item));
    draft.list(task.progress.values().rev().filter(|i| i.completed), room, |item| section(DONE_STEPS, "x", item));
}

/// Decisions, statements of the user and obstacles, then all other entries; of each the newest first.
pub(super) fn context(draft: &mut Draft, task: &Task) {
    let most = draft.room / 4;
    let lasts = |entry: &&ContextEntry| {
        matches!(entry.kind, ContextType::Decision | ContextType::UserInput | ContextType::Blocker)
    };
    let current = || task.context.values().rev().filter(|entry| counts(entry));
    let section = |kind: Kind, entry: &ContextEntry| {
        let (content, cut) = short(&entry.content, most);
        let (word, author) = (entry.kind.as_str(), line(&entry.author));
        Section { kind, text: format!("\n{word} by {author}, {}:\n\n{}", entry.created_at, code_block(&content)), cut }
    };
    draft.list(current().filter(lasts), draft.room, |entry| section(LASTING, entry));
    draft.list(current().filter(|entry| !lasts(entry)), draft.room, |entry| section(NOTES, entry));
}

/// Whether an entry is to be read: it was neither superseded nor redacted.
pub(super) fn counts(entry: &ContextEntry) -> bool {
    entry.superseded_by.is_none() && !entry.redacted
}

/// What is being discussed, with its answers; then what was discussed, the last resolved first.
pub(super) fn threads(draft: &mut Draft, task: &Task) {
    for thread in task.threads.values().filter(|thread| thread.is_open()) {
        let (id, messages) = (thread.id, messages(thread));
        let (said, cut) = short(&messages, draft.room / 4);
        let text = format!("\nthread {id}; answer: agentpm thread reply {id} --body TEXT\n\n{}", code_block(&said));
        draft.push(Section { kind: THREADS, text, cut });
    }
    let mut resolved: Vec<(&Thread, &Resolved)> =
        task.threads.values().filter_map(|thread| Some((thread, thread.resolved.as_ref()?))).collect();
    resolved.sort_by_key(|(thread, resolution)| Reverse((resolution.at, thread.id)));
    let (room, most) = (draft.room / 3, draft.room / 8);
    draft.list(resolved.into_iter(), room, |(thread, resolution)| {
        let messages = messages(thread);
        let (said, cut) = short(&messages, most);
        let (handle, status) = (thread.id.handle(HANDLE_MIN), resolution.resolution.status().as_str());
        let text = format!("\nthread {handle}, {status} by {}:\n\n{}", line(&resolution.by), code_block(&said));
        Section { kind: RESOLVED, text, cut }
    });
}

/// The messages of a thread, with what they propose and why it was resolved.
fn messages(thread: &Thread) -> String {
    let mut said = String::new();
    let mut add = |author: &str, body: &str, patch: &Value| {
        let _ = writeln!(said, "{}: {body}", line(author));
        if !patch.is_null() {
            let _ = writeln!(said, "proposes {patch}");
        }
    };
    add(&thread.author, &thread.body, &thread.patch);
    thread.replies.values().for_each(|reply| add(&reply.author, &reply.body, &reply.patch));
    if let Some(Resolved { by, why: Some(why), .. }) = &thread.resolved {
        add(by, why, &Value::Null);
    }
    said
}

/// What happened, newest first, with the reasons that were given.
pub(super) fn history(draft: &mut Draft, entries: &[Entry]) {
    let mut newest: Vec<&Entry> = entries.iter().collect();
    newest.sort_by_key(|entry| std::cmp::Reverse(entry.event.stamp()));
    // Reasons are shown however long ago they were given, as far as there is room.
    let mut bytes = [0, 0];
    // What one command did is one line.
    for same in newest.chunk_by(|a, b| (a.event.at, &a.event.author) == (b.event.at, &b.event.author)) {
        let (at, agent) = (same[0].event.at, line_of(&same[0].event.author.agent, 100));
        let events = || same.iter().rev().map(|entry| &entry.event);
        let reasons: BTreeSet<&str> = events().filter_map(|event| event.why.as_deref()).collect();
        let has_reason = usize::from(!reasons.is_empty());
        if bytes[has_reason] > draft.room {
            draft.count(EVENTS.name, same.len());
            continue;
        }
        let mut did: Vec<String> = events().map(|event| line_of(&did(&event.payload), 200)).collect();
        did.dedup();
        let why: Vec<String> = reasons.iter().map(|why| code_span(&escape(&shortened(why)))).collect();
        let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
        let text = format!("- {at} {agent} {}{why}\n", did.join(", "));
        bytes[has_reason] += text.len();
        draft.push(Section { kind: [EVENTS, EXPLAINED_EVENTS][has_reason], text, cut: 0 });
    }
}

/// What an event did. Texts stand elsewhere on the page; what fields were set to does not.
fn did(payload: &Payload) -> String {
    let Payload::TaskUpdated(p) = payload else { return deed(payload) };
    let values = p.set.iter().map(|(name, value)| match value {
        Value::Null => format!("cleared {name}"),
        Value::String(_) | Value::Array(_) | Value::Object(_) if value.to_string().len() > MAX_SET => {
            format!("set {name}")
        }
        value => format!("set {name} to {value}"),
    });
    values.collect::<Vec<_>>().join(", ")
}

/// Values of the caller that lost, the first few, and the number of all: each with the current value and the command that
/// restores it.
pub(super) fn lost_edits(ws: &Workspace, task: &Task, entries: &[Entry]) -> Result<(Vec<LostEdit>, usize)> {
    let all = lost(task.id, entries);
    let counts = Counts::of(&all);
    let me = ws.agent_name();
    let mine: Vec<&Lost> = all.iter().filter(|edit| me.as_ref() == Some(&edit.lost.agent)).collect();
    if mine.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let holder = read::other_holder(ws, task, entries)?;
    let view = |edit: &&Lost| LostEdit {
        field: edit.field.clone(),
        yours: cut_value(&edit.lost.value),
        now: cut_value(&edit.won.value),
        by: edit.won.agent.clone(),
        end: ConflictEnd::of(task, edit, counts.is_alone(edit), holder.as_deref()),
    };
    Ok((mine.iter().take(MAX_LOST).map(view).collect(), mine.len()))
}

/// A value; of a long one the beginning of its text.
fn cut_value(value: &Value) -> Value {
    const MAX_VALUE: usize = 120;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.len() <= MAX_VALUE { value.clone() } else { Value::String(format!("{}…", beginning(&text, MAX_VALUE))) }
}

/// The lost edits on the page.
pub(super) fn lost_section(draft: &mut Draft, edits: &[LostEdit]) {
    let value = |value: &Value| line(&one_line(&value.to_string()));
    for edit in edits {
        let (field, by, end) = (line(&edit.field), line(&edit.by), line(&edit.end.words()));
        let (yours, now) = (value(&edit.yours), value(&edit.now));
        let text = format!("- {field}: yours {yours}, now {now} by {by}; {end}\n");
        draft.push(Section { kind: LOST, text, cut: 0 });
    }
}
