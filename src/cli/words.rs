//! Answers in words, for people on a terminal or as Markdown, and the ids alone.
//!
//! Guarantees that what others wrote is escaped.
//! Leaves to others: the words for a branch under review (`review`), for changes (`changes`) and for the findings of lint (`lint`).

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::{Value, json};

use super::args::Global;
use super::output::{Form, Output, form};
use super::{changes, lint, review, threads};
use crate::api::{Answer, Answered, without_nulls};
use crate::engine::Workspace;
use crate::engine::commit::plan::{FieldChange, KeptBecause, PlanChange, PlanReport, PlannedTask};
use crate::engine::commit::saga::SagaReport;
use crate::engine::import::ImportReport;
use crate::engine::query::check::FileCheck;
use crate::engine::query::doctor::Health;
use crate::engine::query::history::BlameList;
use crate::engine::query::leases::LeaseView;
use crate::engine::query::lists::ReadyList;
use crate::engine::query::names::name_tasks_in;
use crate::engine::query::review::ReviewReport;
use crate::engine::query::status::{Overview, OverviewTask};
use crate::engine::{CompactReport, Drawing, LeaseNews, MigrationReport, RepairReport, Restored, SyncReport};
use crate::error::{Code, Error, Result};
use crate::model::agent::Lease;
use crate::model::context::ContextEntry;
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::plain::{escape, escape_lines, markdown};
use crate::reports::changed::{Changed, Receipt, TaskAnswer};
use crate::reports::event_words::shortened;
use crate::reports::inbox::InboxPage;
use crate::reports::list::List;
use crate::reports::next::{AbandonedTask, Explained, NextTask, NotReady, PassedOver};
use crate::reports::view::{LostView, TaskView, shell_word};

/// Columns of lists.
const TASKS: &[&str] = &["handle", "status", "priority", "title", "owner", "labels", "progress", "child_progress"];
const READY: &[&str] = &["handle", "score", "priority", "title", "blocking_count"];
const STALE: &[&str] = &["handle", "title", "owner", "session", "session_status", "last_sign_at", "lease_expired_at"];
const THREADS: &[&str] =
    &["handle", "status", "title", "author", "body", "messages", "proposals", "expires_at", "escalated_to"];
const INBOX: &[&str] = &["at", "kind", "handle", "title", "summary", "command", "id"];
const AGENTS: &[&str] = &["name", "role", "created_at", "last_seen_at"];
const SESSIONS: &[&str] = &["handle", "title", "agent", "status", "started_at", "last_heartbeat_at", "id"];
const LEASES: &[&str] = &["handle", "title", "agent", "fence", "expires_at", "confirmed", "elsewhere", "mine", "id"];
const REMOTE_LEASES: &[&str] = &["handle", "title", "state", "agent", "fence", "expires_at", "elsewhere", "mine", "id"];
const LOST_EVENTS: &[&str] = &["handle", "title", "what", "agent", "at", "why", "id"];
const BATCH: &[&str] = &["as", "handle", "title", "id", "agent"];
/// Most tasks that a sync names to people.
const MAX_LINES: usize = 30;

/// An answer in the requested form.
///
/// Errors: `ERR_USAGE` for a form that there is not.
pub fn output(ws: &Workspace, answered: Answered, global: &Global) -> Result<Output> {
    let Answered { data: answer, events: _, warnings, reasons, unread } = answered;
    if let Some(reasons) = reasons {
        return Ok(Output { warnings, unread, ..nothing_ready(ws, &reasons) });
    }
    let asked = form(global, matches!(answer, Answer::Lint(_)))?;
    let md = global.format.as_deref() == Some("md");
    let mut out = match &answer {
        // Its report has a form of its own for each format.
        Answer::Lint(report) => return Ok(Output { warnings, ..lint::output(report, global) }),
        Answer::Graph(drawing) => return graph(drawing, asked, global),
        // The file alone, so that it can be redirected and applied; JSON only if it is asked for.
        Answer::PlanPage(page) => {
            let (data, human) = (json!(page), page.text.clone());
            return Ok(Output { data, human, document: true, warnings, ..Output::default() });
        }
        _ => Output { markdown: is_markdown(&answer), ..Output::default() },
    };
    out.human = match &answer {
        _ if asked != Form::Human || global.quiet => String::new(),
        Answer::Changed(changed) => changed_words(ws, changed),
        Answer::Task(shown) => task(shown),
        Answer::File(file) => format!("{}\n", file.path),
        Answer::Tasks(list) => table(list, TASKS, md),
        Answer::Ready(list) => ready(ws, list, md),
        Answer::Next(next) => next.as_deref().map(next_words).unwrap_or_default(),
        Answer::Brief(page) => escape_lines(&page.text),
        Answer::Events(list) => events(list.items.iter().map(event)),
        Answer::Blame(list) => blame(list, md),
        Answer::Conflicts(list) => conflicts(list, md),
        Answer::Diff(diff) => changes::diff(diff, md),
        Answer::Review(_)
        | Answer::Lint(_)
        | Answer::Graph(_)
        | Answer::PlanPage(_)
        | Answer::Exported(_)
        | Answer::Diagnostics(_) => String::new(),
        Answer::Stale(list) => table(list, STALE, md),
        Answer::Sessions(list) => table(list, SESSIONS, md),
        Answer::Threads(list) => table(list, THREADS, md),
        Answer::Thread(shown) => threads::thread(shown, md),
        Answer::Inbox(page) => inbox(page, md),
        Answer::Acknowledged(done) => format!("{} acknowledged, {} unread\n", done.acknowledged, done.unread),
        Answer::Agents(list) => table(list, AGENTS, md),
        Answer::Agent(agent) => object(&json!(agent)),
        Answer::Token(issued) => object(&without_nulls(json!(issued))),
        Answer::Leases(list) => leases(list, md),
        Answer::LostEvents(events) => table(&events.list, LOST_EVENTS, md),
        Answer::Overview(overview) => status(overview),
        Answer::Stats(stats) => object(&json!(stats)),
        Answer::Health(health) => checks(health),
        Answer::Check(check) => claimed_paths(check),
        Answer::Sync(report) => sync(report),
        Answer::Pushed(pushed) => object(&json!(pushed)),
        Answer::Repaired(report) => repaired(report),
        Answer::Restored(restored) => restored_words(restored),
        Answer::Compacted(report) => compacted_words(report),
        Answer::Migrated(report) => migrated_words(report),
        Answer::Imported(report) => imported(report),
        Answer::Planned(report) => planned(report),
        Answer::RequestUndone(report) => request_undone(report),
    };
    out.exit = match &answer {
        Answer::Health(health) => u8::from(!health.healthy),
        Answer::Check(check) => u8::from(!check.claimed.is_empty()),
        _ => 0,
    };
    out.quiet = answer.names().map(|names| names.join("\n"));
    out.changed = has_changed(&answer);
    out.data = answer.to_json(ws.request.full);
    out.warnings = warnings;
    out.unread = unread;
    Ok(out)
}

/// Whether the words of an answer are Markdown where that is asked for.
fn is_markdown(answer: &Answer) -> bool {
    match answer {
        Answer::Tasks(_)
        | Answer::Brief(_)
        | Answer::Blame(_)
        | Answer::Conflicts(_)
        | Answer::Diff(_)
        | Answer::Review(_)
        | Answer::Stale(_)
        | Answer::Sessions(_)
        | Answer::Threads(_)
        | Answer::Thread(_)
        | Answer::Inbox(_)
        | Answer::Agents(_)
        | Answer::Leases(_)
        | Answer::LostEvents(_) => true,
        Answer::Ready(ready) => ready.elsewhere.is_empty() && ready.explained.is_none(),
        _ => false,
    }
}

/// Whether a change was made, which the exit code must say even if the answer cannot be written.
fn has_changed(answer: &Answer) -> bool {
    match answer {
        Answer::Changed(changed) => !matches!(changed, Changed::Nothing),
        Answer::Sync(report) => !report.dry_run,
        Answer::Planned(report) => !report.dry_run,
        Answer::RequestUndone(report) => report.events > 0,
        Answer::Token(_)
        | Answer::Acknowledged(_)
        | Answer::Pushed(_)
        | Answer::Repaired(_)
        | Answer::Restored(_)
        | Answer::Compacted(_)
        | Answer::Migrated(_)
        | Answer::Imported(_) => true,
        _ => false,
    }
}

fn changed_words(ws: &Workspace, changed: &Changed) -> String {
    match changed {
        Changed::Task(shown) => task_words(shown),
        Changed::Batch(batch) => {
            let undo = batch.correlation_id.as_ref().filter(|_| batch.events > 0);
            table(&List::whole(batch.items.clone()), BATCH, false) + &undo.map(|id| undo_line(id)).unwrap_or_default()
        }
        Changed::Claimed(next) => claimed(ws, next),
        other => object(&json!(other)),
    }
}

/// A graph of the plan as a diagram, or as JSON. A large one fits into memory as text, and not as a document.
fn graph(drawing: &Drawing, asked: Form, global: &Global) -> Result<Output> {
    if asked != Form::Human {
        let whole = serde_json::to_string(drawing)
            .map_err(|e| Error::new(Code::Io, format!("the plan cannot be written as JSON: {e}")))?;
        return Ok(Output { whole: Some(whole), ..Output::default() });
    }
    let human = match global.format.as_deref() {
        Some("mermaid") => drawing.mermaid(),
        Some("dot") => drawing.dot(),
        Some("svg") => drawing.svg(),
        _ => drawing.tree(),
    };
    Ok(Output { human: escape_lines(&human), ..Output::default() })
}

/// What a branch does, bounded by lines in words.
///
/// Errors: as [`output`].
pub fn reviewed(report: &ReviewReport, limit: Option<u64>, all: bool, global: &Global) -> Result<Output> {
    let words = form(global, false)? == Form::Human && !global.quiet;
    let data = without_nulls(json!(report));
    let md = global.format.as_deref() == Some("md");
    let human = if words { review::review(report, md, limit, all) } else { String::new() };
    let ids: Vec<String> = report.list.items.iter().map(|item| item.task.to_string()).collect();
    let exit = u8::from(!report.failed.is_empty());
    Ok(Output { human, markdown: true, quiet: Some(ids.join("\n")), exit, data, ..Output::default() })
}

/// A field of an item as words.
fn word(value: &Value, key: &str) -> String {
    escape(&raw(&value[key]))
}

fn raw(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned)).collect::<Vec<_>>().join(", ")
        }
        Value::Object(map) if map.contains_key("total") => format!("{}/{}", map["done"], map["total"]),
        other => other.to_string(),
    }
}

/// A table of some columns of a list, with a line that says what is not shown. Markdown where `md`.
pub fn table<T: Serialize>(list: &List<T>, columns: &[&str], md: bool) -> String {
    let mut table = Table::new();
    table.load_style(if md { presets::ASCII_MARKDOWN } else { presets::NOTHING });
    if !md {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(columns.iter().map(|c| c.replace('_', " ")));
    for item in &list.items {
        let item = json!(item);
        let cells = columns.iter().map(|column| {
            // In a table a bar ends a cell, in a code span too.
            if md { markdown(&raw(&item[column])).replace('|', "\\|") } else { word(&item, column) }
        });
        table.add_row(cells);
    }
    let mut out = if list.items.is_empty() { String::new() } else { format!("{table}\n") };
    if list.rest.truncated {
        let cursor = list.rest.next_cursor.as_ref();
        let cursor = cursor.map(|c| format!("; continue with --cursor {c}")).unwrap_or_default();
        out.push_str(&format!("{} of {}{cursor}\n", list.items.len(), list.rest.total));
    } else if list.items.is_empty() {
        out.push_str("nothing\n");
    }
    out
}

fn leases(list: &List<LeaseView>, md: bool) -> String {
    let at_remote = list.items.iter().any(|item| item.state.is_some());
    table(list, if at_remote { REMOTE_LEASES } else { LEASES }, md)
}

/// Which event set which field, and what it beat.
fn blame(blamed: &BlameList, md: bool) -> String {
    let row = |item: &crate::engine::query::history::BlamedField| {
        let beat: Vec<String> = item
            .beat
            .iter()
            .map(|b| format!("{} by {} ({})", short(&b.value), escape(&b.agent), b.rule.as_str()))
            .collect();
        let mut row = json!(item);
        row["beat"] = beat.join("; ").into();
        row
    };
    let shown = List { items: blamed.list.items.iter().map(row).collect(), rest: blamed.list.rest.clone() };
    let columns = ["field", "value", "agent", "at", "type", "why", "beat"];
    let any = blamed.list.items.iter().any(|item| !item.beat.is_empty());
    table(&shown, if any { &columns } else { &columns[..6] }, md)
}

/// Lost values, with the commands that restore them.
fn conflicts(list: &List<LostView>, md: bool) -> String {
    let mut out = table(list, &["handle", "title", "what", "rule"], md);
    for item in list.items.iter().filter(|_| !md) {
        out.push_str(&format!("restore it: {}\n", escape(&item.restore)));
    }
    out
}

/// A value in a few characters.
fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let cut: String = text.chars().take(40).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

/// A task, whole or in short.
fn task_words(shown: &TaskAnswer) -> String {
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

fn list<T>(out: &mut String, title: &str, items: &[T], line: impl Fn(&T) -> String) {
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

/// A number and what it counts.
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What is unread, and how to acknowledge it.
fn inbox(page: &InboxPage, md: bool) -> String {
    match &page.cursor {
        None => "nothing is unread\n".to_owned(),
        Some(cursor) => {
            format!("{}acknowledge what is shown: agentpm inbox ack {cursor}\n", table(&page.list, INBOX, md))
        }
    }
}

/// The claims on files, one line each.
fn claimed_paths(check: &FileCheck) -> String {
    let lines = check.claimed.iter().map(|one| format!("{}: {}\n", escape(&one.path), escape(&one.claim.words())));
    lines.collect()
}

/// The checks of doctor.
fn checks(health: &Health) -> String {
    let mut out = String::new();
    for check in &health.checks {
        let mark = if check.ok { "ok " } else { "BAD" };
        out.push_str(&format!("{mark} {:<11} {}\n", check.check, escape(&check.found)));
        if let Some(fix) = &check.fix {
            out.push_str(&format!("                {}\n", escape(fix)));
        }
    }
    out
}

/// Any object, a line for each key.
fn object(data: &Value) -> String {
    match data {
        Value::Object(map) => {
            let width = map.keys().map(|key| key.len() + 1).max().unwrap_or(0).max(17);
            map.keys().map(|key| format!("{:<width$}{}\n", key.replace('_', " "), word(data, key))).collect()
        }
        Value::Null => "nothing\n".into(),
        other => format!("{}\n", escape(&other.to_string())),
    }
}

fn ready(ws: &Workspace, ready: &ReadyList, md: bool) -> String {
    let mut out = table(&ready.list, READY, md);
    let words = counts(&ready.not_ready);
    if !words.is_empty() {
        out.push_str(&format!("not ready: {words}\n"));
    }
    out.push_str(&elsewhere_lines(ws, &ready.elsewhere));
    out.push_str(&ready.explained.as_ref().map(explained_lines).unwrap_or_default());
    out
}

fn status(overview: &Overview) -> String {
    let mut out = String::new();
    let mut section = |title: &str, tasks: &[OverviewTask], total: usize| {
        if total == 0 {
            return;
        }
        out.push_str(&format!("{title} ({total})\n"));
        for task in tasks {
            let owner = task.owner.as_ref().filter(|owner| Some(*owner) != overview.agent.as_ref());
            let by = owner.map(|owner| format!("  by {}", escape(owner))).unwrap_or_default();
            let until = task.expires_at.map(|at| format!("  until {at}")).unwrap_or_default();
            out.push_str(&format!("  {}  {}{by}{until}\n", task.handle, escape(&task.title)));
        }
        if total > tasks.len() {
            out.push_str(&format!("  and {} more\n", total - tasks.len()));
        }
    };
    section("Yours", &overview.mine, overview.mine.len());
    section("To review", &overview.reviews, overview.reviews_total);
    section("Ready", &overview.ready, overview.ready_total);
    section("In progress", &overview.others, overview.others_total);
    let rest = [
        (overview.blocked, "blocked"),
        (overview.awaiting_review, "awaiting review"),
        (overview.stale, "stale"),
        (overview.conflicts, "with values that lost"),
    ];
    let rest: Vec<String> = rest.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let more = if rest.is_empty() { String::new() } else { format!(": {}", rest.join(", ")) };
    out.push_str(&format!("{}{more}\n", counted(overview.unfinished, "unfinished task")));
    if let Some(unread) = overview.unread {
        out.push_str(&format!("{unread} unread: agentpm inbox\n"));
    }
    if let Some(bus) = &overview.bus {
        let trouble = bus.trouble.as_ref().map(|why| format!(" ({})", escape(why))).unwrap_or_default();
        let refused = if bus.refused > 0 { format!(", {} refused", bus.refused) } else { String::new() };
        out.push_str(&format!("bus: {} to publish, {} to take in{refused}{trouble}\n", bus.to_publish, bus.to_take));
    }
    out
}

fn counts(reasons: &NotReady) -> String {
    let words = reasons.counts.iter().map(|(kind, n)| format!("{n} {}", kind.replace('_', " ")));
    words.collect::<Vec<_>>().join(", ")
}

/// A line for each task that is not ready, with its reasons.
fn explained_lines(explained: &Explained) -> String {
    let line = |item: &crate::reports::next::ExplainedTask| {
        format!("{}  {}: {}\n", item.handle, escape(&item.title), escape(&item.words.join("; ")))
    };
    let mut out: String = explained.items.iter().map(line).collect();
    if explained.more > 0 {
        out.push_str(&format!("and {} more\n", explained.more));
    }
    out
}

fn next_words(next: &NextTask) -> String {
    let mut out = task_words(&next.task);
    if let Some(review) = &next.review {
        let by = review.completed_by.as_deref().unwrap_or("an agent");
        out.push_str(&format!(
            "\nreview it: completed by {}\naccept: {}\nreject: {}\n",
            escape(by),
            review.accept,
            review.reject
        ));
    }
    if let Some(others) = &next.reasons.others {
        let terms = next.reasons.terms;
        out.push_str(&format!(
            "\nscore {}: priority {}, age {}{}, depth {}, due {}\n",
            terms.score,
            terms.priority,
            terms.age,
            if terms.age_capped { " (the maximum)" } else { "" },
            terms.depth,
            terms.due
        ));
        let others = others.explained.as_ref().map(explained_lines).unwrap_or_default();
        if !others.is_empty() {
            out.push_str(&format!("\nNot ready\n{others}"));
        }
    }
    out
}

fn claimed(ws: &Workspace, next: &NextTask) -> String {
    let Some(Lease { id, expires_at, fence, confirmed, .. }) = &next.lease else { return task_words(&next.task) };
    let confirmed = match (confirmed, ws.lease_remote()) {
        (true, _) => "confirmed by the remote",
        (false, Some(_)) => "not confirmed: agentpm sync asks the remote again",
        (false, None) => "not confirmed: no remote is asked",
    };
    format!("{}\nlease {id} until {expires_at} (fence {fence}), {confirmed}\n", task_words(&next.task))
}

/// A line for each task that is taken or finished somewhere else.
fn elsewhere_lines(ws: &Workspace, items: &[PassedOver]) -> String {
    let name = |item: &PassedOver| escape(&name_tasks_in(ws, &item.task.to_string()));
    items.iter().map(|item| format!("{}  {}\n", name(item), escape(&item.words))).collect()
}

/// A line for each task that was abandoned, with the command that takes it over.
fn abandoned_lines(items: &[AbandonedTask]) -> String {
    let line = |item: &AbandonedTask| {
        let within = item.session.map(|id| format!(" in session {id}")).unwrap_or_default();
        format!(
            "{}  {}: abandoned by {}{within}, last active at {}; take it over: {}\n",
            item.handle,
            escape(&item.title),
            escape(item.owner.as_deref().unwrap_or_default()),
            item.last_sign_at,
            item.take_over
        )
    };
    items.iter().map(line).collect()
}

/// Nothing to hand out is no error: the data is null, and the reasons are given.
fn nothing_ready(ws: &Workspace, reasons: &NotReady) -> Output {
    let words = counts(reasons);
    let words = match (words.is_empty(), reasons.unfinished) {
        (true, 0) => "the plan has no unfinished task".to_owned(),
        (true, _) => "other agents claimed the ready tasks; run the command again".to_owned(),
        (false, _) => words,
    };
    let held: Vec<String> = reasons.held.iter().map(|task| escape(&task.words())).collect();
    let held = held.join(", ");
    let begin = match (&reasons.hint, held.is_empty()) {
        (Some(hint), _) => format!("nothing was claimed: you hold {held}\n{hint}\n"),
        (None, false) => format!("nothing is ready: {words}\nyou hold {held}\n"),
        (None, true) => format!("nothing is ready: {words}\n"),
    };
    let human = format!(
        "{begin}{}{}{}",
        elsewhere_lines(ws, &reasons.elsewhere),
        abandoned_lines(&reasons.abandoned),
        reasons.explained.as_ref().map(explained_lines).unwrap_or_default()
    );
    Output { data: Value::Null, human, quiet: Some(String::new()), reasons: Some(json!(reasons)), ..Output::default() }
}

/// The command that undoes a request.
fn undo_line(correlation_id: &str) -> String {
    format!("undo all of it: agentpm undo --correlation-id {}\n", escape(&shell_word(correlation_id)))
}

/// What undoing a request changed, and what stays.
fn request_undone(report: &SagaReport) -> String {
    let id = report.correlation_id.as_ref().or(report.plan_id.as_ref());
    let id = escape(id.map_or("", String::as_str));
    let mut out = String::new();
    for task in &report.tasks {
        out.push_str(&format!("  {}  {}\n", task.handle, escape(&task.title)));
    }
    if report.total > report.tasks.len() {
        out.push_str(&format!("  … and {} more tasks\n", report.total - report.tasks.len()));
    }
    for left in report.left.iter().take(MAX_LINES) {
        out.push_str(&format!("left  {}  {} {}: {}\n", left.handle, escape(&left.kind), left.event, escape(&left.why)));
    }
    if report.left.len() > MAX_LINES {
        out.push_str(&format!(
            "… and {} more that cannot be undone; all of them with --json\n",
            report.left.len() - MAX_LINES
        ));
    }
    if report.undone == 0 && report.left.is_empty() {
        return out + &format!("{id} is undone already\n");
    }
    if report.undone == 0 {
        return out + &format!("no more of {id} can be undone\n");
    }
    let verb = if report.dry_run { "would undo" } else { "undid" };
    let kept = match report.kept {
        0 => String::new(),
        1 => "; 1 record stays".into(),
        n => format!("; {n} records stay"),
    };
    out + &format!("{verb} {} of {id} in {}{kept}\n", counted(report.undone, "event"), counted(report.total, "task"))
}

/// What a plan changed: each task once, by key and handle, with its changes below it as whole texts.
fn planned(report: &PlanReport) -> String {
    let mut out = String::new();
    let all = report.items.iter().chain(&report.missing);
    let known: BTreeMap<&str, &PlannedTask> = all.map(|item| (item.key.as_str(), item)).collect();
    let mut keys: Vec<&str> = Vec::new();
    for key in report.changes.iter().map(PlanChange::key).chain(report.conflicts.iter().map(|c| c.key.as_str())) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    for key in &keys {
        let changes: Vec<&PlanChange> = report.changes.iter().filter(|change| change.key() == *key).collect();
        let verb = match changes.first() {
            Some(PlanChange::Create { .. }) => "create",
            Some(PlanChange::Cancel { .. }) => "cancel",
            Some(_) => "update",
            None => "keep",
        };
        let handle = known.get(key).and_then(|item| item.handle.as_deref()).map(|handle| format!("  {handle}"));
        let title = known.get(key).map(|item| item.title.as_str()).unwrap_or_default();
        out.push_str(&format!("{verb:<6}  {}{}  {}\n", escape(key), handle.unwrap_or_default(), escape(title)));
        changes.iter().for_each(|change| out.push_str(&change_lines(change)));
        for kept in report.conflicts.iter().filter(|kept| kept.key == *key) {
            let why = match kept.reason {
                KeptBecause::BothChanged => "changed in the store too; --force takes the file's value",
                KeptBecause::NoRecord => "changed in the store; --force takes the file's value",
                KeptBecause::Closed => "the task is closed",
                KeptBecause::Held => "another agent holds the task",
                KeptBecause::NotAllowed => "the state of the plan does not allow it",
            };
            out.push_str(&escape(&format!("  kept {}: {} (file: {}): {why}", kept.field, kept.store, kept.file)));
            out.push('\n');
        }
    }
    for gone in &report.missing {
        let handle = gone.handle.as_deref().unwrap_or_default();
        out.push_str(&format!(
            "left    {}  {handle}  {}: not in the file any more; --prune cancels it\n",
            escape(&gone.key),
            escape(&gone.title)
        ));
    }
    let verb = if report.dry_run { "would change" } else { "changed" };
    let changed: BTreeSet<&str> = report.changes.iter().map(PlanChange::key).collect();
    let kept = match report.conflicts.len() {
        0 => String::new(),
        more => format!(", {} kept", counted(more, "value")),
    };
    out.push_str(&format!("{}, {} {verb}{kept}\n", counted(report.total, "task"), changed.len()));
    out + &report.correlation_id.as_deref().map(undo_line).unwrap_or_default()
}

/// What an import added and changed, and what the store keeps.
fn imported(report: &ImportReport) -> String {
    let mut out = object(&json!(report.added));
    for change in &report.changes {
        out.push_str(&format!("update  {}\n{}", escape(change.key()), change_lines(change)));
    }
    for kept in &report.conflicts {
        let words = format!("kept    {}  {}: {} (source: {})", kept.key, kept.field, kept.store, kept.file);
        out.push_str(&format!("{}\n", escape(&words)));
    }
    out + if report.dry_run { "nothing was changed\n" } else { "" }
}

fn change_lines(change: &PlanChange) -> String {
    match change {
        PlanChange::Create { .. } | PlanChange::Cancel { .. } => String::new(),
        PlanChange::Update { fields, .. } => {
            let line = |f: &FieldChange| format!("  {}\n", escape(&format!("{}: {} -> {}", f.field, f.from, f.to)));
            fields.iter().map(line).collect()
        }
        PlanChange::Progress { steps, .. } => format!("  {} added\n", counted(*steps, "step")),
        PlanChange::Block { by, .. } => format!("  blocked by {}\n", escape(by)),
        PlanChange::Unblock { by, .. } => format!("  no longer blocked by {}\n", escape(by)),
    }
}

fn restored_words(restored: &Restored) -> String {
    let entities: String = restored.entities.iter().map(|entity| format!("{entity}\n")).collect();
    format!("{entities}restored {}\n", counted(restored.total, "event"))
}

fn compacted_words(report: &CompactReport) -> String {
    let CompactReport { dry_run, until, tasks, events, files, reclaimed_bytes, archives, left, dropped, .. } = report;
    let would = if *dry_run { "would move" } else { "moved" };
    let mut out = match tasks {
        0 => format!("no task with a folder was archived until {until}\n"),
        _ => format!(
            "{would} {} with {} into {}: {} fewer, {} less on the disk\n",
            counted(*tasks, "task"),
            counted(*events, "event"),
            archives.join(", "),
            counted(*files, "file"),
            size_words(*reclaimed_bytes)
        ),
    };
    if let Some(dropped) = dropped {
        let would = if *dry_run { "would drop" } else { "dropped" };
        let (tasks, events) = (counted(dropped.tasks, "task"), counted(dropped.events, "event"));
        out.push_str(&format!("{would} {tasks} with {events} from the archives; a record of them stays\n"));
    }
    for one in left {
        out.push_str(&format!("left: {} {}: {}\n", one.handle, escape(&one.title), one.why));
    }
    out
}

fn migrated_words(report: &MigrationReport) -> String {
    let MigrationReport { dry_run, from, to, steps, written, removed, commit } = report;
    if from == to {
        return format!("the store has format {to} already\n");
    }
    let would = if *dry_run { "would write" } else { "wrote" };
    let mut out = format!("format {from} to {to}: {would} {}, {removed} removed\n", counted(*written, "file"));
    for step in steps {
        out.push_str(&format!("  {}\n", escape(step)));
    }
    if let Some(commit) = commit {
        out.push_str(&format!("committed as {commit}; git revert brings the older store back\n"));
    }
    out
}

/// A number of bytes, in the unit that fits.
fn size_words(bytes: i64) -> String {
    let tenths = |unit: i64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        ..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

fn repaired(report: &RepairReport) -> String {
    let mut out = String::new();
    for item in &report.items {
        out.push_str(&format!("{}: {}\n", escape(&item.entity.to_string()), item.did.join("; ")));
    }
    for path in &report.archives {
        out.push_str(&format!("{}: sorted\n", escape(path)));
    }
    for left in &report.left {
        out.push_str(&format!("unchanged: {}\n", escape(left)));
    }
    if report.projected > 0 {
        out.push_str(&format!("{} written\n", counted(report.projected, "acknowledged event")));
    }
    for path in &report.rebuilt {
        out.push_str(&format!("{}: damaged; rewritten from the journal\n", escape(path)));
    }
    if out.is_empty() { "nothing to repair\n".into() } else { out }
}

/// What was done for leases, a line each.
fn lease_lines(news: &LeaseNews) -> String {
    let mut out = String::new();
    for lost in &news.lost {
        let handle = lost.task.handle(HANDLE_MIN);
        let place = if lost.to == lost.agent { " in another clone" } else { "" };
        out.push_str(&format!(
            "  lost  {handle}  {}'s lease: {} holds the task now{place}\n",
            escape(&lost.agent),
            escape(&lost.to)
        ));
    }
    for contested in &news.contested {
        let (handle, other) = (contested.task.handle(HANDLE_MIN), escape(&contested.other));
        out.push_str(&format!("  kept  {handle}  {}'s lease: {other} claimed it too\n", escape(&contested.agent)));
    }
    for task in &news.confirmed {
        out.push_str(&format!("  confirmed  {}  the remote agreed to its lease\n", task.handle(HANDLE_MIN)));
    }
    if news.reported > 0 {
        out.push_str(&format!("  reported {} to the remote\n", counted(news.reported, "released lease")));
    }
    if news.removed > 0 {
        out.push_str(&format!("  removed {} of finished tasks at the remote\n", counted(news.removed, "record")));
    }
    out
}

fn sync(report: &SyncReport) -> String {
    let mut out = format!("{} on {}\n", report.words(), escape(&report.branch));
    for (arrow, changes) in [("in ", &report.incoming), ("out", &report.outgoing)] {
        for change in changes.iter().take(MAX_LINES) {
            out.push_str(&format!("  {arrow}  {}  {:<9}  {}\n", change.handle, change.what, escape(&change.title)));
        }
        if changes.len() > MAX_LINES {
            out.push_str(&format!("  … and {} more {arrow}; all of them with --json\n", changes.len() - MAX_LINES));
        }
    }
    let (loses, gives_way) = if report.dry_run { ("would lose", "would give way") } else { ("lost", "gave way") };
    for edit in &report.lost {
        out.push_str(&format!(
            "  {loses} {}  {}: {}'s {gives_way} to {}'s; restore it: {}\n",
            edit.handle,
            escape(&edit.field),
            escape(&edit.agent),
            escape(&edit.by),
            escape(&edit.restore)
        ));
    }
    for message in report.messages.iter().take(MAX_LINES) {
        let route = escape(&message.route());
        out.push_str(&format!("  message from {route}: {}\n", escape(&shortened(&message.body))));
    }
    for task in report.unblocked.iter().take(MAX_LINES) {
        out.push_str(&format!("  unblocked  {}  no unfinished blocker\n", task.handle(HANDLE_MIN)));
    }
    out.push_str(&lease_lines(&report.leases));
    out
}
