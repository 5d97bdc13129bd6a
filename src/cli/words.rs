//! Answers in words, for people on a terminal or as Markdown, and the ids alone.
//!
//! Guarantees that what others wrote is escaped.
//! Leaves to others: the words for a branch under review (`review`), for changes (`changes`) and for the findings of lint (`lint`).

use serde_json::json;

use super::global::Global;
use super::next_words::{claimed, next_words, not_ready_words, nothing_ready, other_session_lines, ready};
use super::output::{Form, Output, form};
use super::report_words::{
    compacted_words, imported, migrated_words, planned, repaired, request_undone, restored_words, sync, undo_line,
};
use super::table::{object, short, table};
use super::task_words::{event, events, task, task_words};
use super::{changes, lint, review, threads};
use crate::api::{Answer, Answered, without_empty};
use crate::engine::context::settings::SettingView;
use crate::engine::query::check::FileCheck;
use crate::engine::query::doctor::Health;
use crate::engine::query::history::BlameList;
use crate::engine::query::leases::LeaseView;
use crate::engine::query::review::ReviewReport;
use crate::engine::query::status::{Overview, OverviewTask};
use crate::engine::{Drawing, Workspace};
use crate::error::{Code, Error, Result};
use crate::model::plain::{counted, escape, escape_lines};
use crate::reports::changed::Changed;
use crate::reports::inbox::InboxPage;
use crate::reports::list::{List, edits_words};
use crate::reports::view::LostView;

/// Columns of lists.
const TASKS: &[&str] = &["handle", "status", "priority", "title", "owner", "labels", "progress", "child_progress"];
const STALE: &[&str] = &[
    "handle",
    "title",
    "owner",
    "sent_back_by",
    "session",
    "session_status",
    "last_sign_at",
    "lease_expired_at",
    "go_on",
];
const THREADS: &[&str] =
    &["handle", "status", "title", "author", "body", "messages", "proposals", "expires_at", "escalated_to"];
const INBOX: &[&str] = &["at", "kind", "handle", "title", "summary", "command", "id"];
const AGENTS: &[&str] = &["name", "role", "created_at", "last_seen_at"];
const SESSIONS: &[&str] = &["handle", "title", "agent", "status", "started_at", "last_heartbeat_at", "id"];
const LEASES: &[&str] = &["handle", "title", "agent", "fence", "expires_at", "confirmed", "elsewhere", "mine", "id"];
const REMOTE_LEASES: &[&str] = &["handle", "title", "state", "agent", "fence", "expires_at", "elsewhere", "mine", "id"];
const LOST_EVENTS: &[&str] = &["handle", "title", "what", "agent", "at", "why", "id"];
const SETTINGS: &[&str] = &["key", "value", "source", "place"];
const BATCH: &[&str] = &["as", "handle", "title", "id", "agent"];

/// An answer in the requested form.
///
/// Errors: `ERR_USAGE` for a form that there is not.
pub fn output(ws: &Workspace, answered: Answered, global: &Global) -> Result<Output> {
    let Answered { data: answer, events: _, changed, warnings, reasons, unread } = answered;
    if let Some(reasons) = reasons {
        return Ok(Output { warnings, unread, ..nothing_ready(ws, &reasons) });
    }
    let asked = form(global, matches!(answer, Answer::Lint(_)))?;
    let md = global.format.as_deref() == Some("md");
    match &answer {
        // Its report has a form of its own for each format.
        Answer::Lint(report) => return Ok(Output { warnings, ..lint::output(report, global) }),
        Answer::Graph(drawing) => return graph(drawing, asked, global),
        // The file alone, so that it can be redirected and applied; JSON only if it is asked for.
        Answer::PlanPage(page) => {
            let (data, human) = (json!(page), page.text.clone());
            return Ok(Output { data, human, document: true, warnings, ..Output::default() });
        }
        _ => {}
    }
    let in_words = asked == Form::Human && !global.quiet;
    let (human, markdown) = if in_words { words(ws, &answer, md) } else { Default::default() };
    let fails = match &answer {
        Answer::Health(health) => !health.healthy,
        Answer::Check(check) => !check.claimed.is_empty(),
        _ => false,
    };
    let quiet = answer.names().map(|names| names.join("\n"));
    let (data, exit) = (answer.to_json(ws.request.full), u8::from(fails));
    Ok(Output { data, human, markdown, quiet, warnings, unread, exit, changed, ..Output::default() })
}

/// An answer in words, and whether they are Markdown where that is asked for (`md`).
fn words(ws: &Workspace, answer: &Answer, md: bool) -> (String, bool) {
    let page = |words| (words, true);
    let block = |words| (words, false);
    match answer {
        Answer::Changed(changed) => block(changed_words(ws, changed)),
        Answer::Task(shown) => block(task(shown)),
        Answer::File(file) => block(format!("{}\n", file.path)),
        Answer::Tasks(list) => page(table(list, TASKS, md)),
        Answer::Ready(list) => (ready(ws, list, md), list.elsewhere.is_empty() && list.explained.is_none()),
        Answer::Next(next) => block(next.as_deref().map(next_words).unwrap_or_default()),
        Answer::Brief(brief) => page(escape_lines(&brief.text)),
        Answer::Events(list) => block(events(list.items.iter().map(event))),
        Answer::Blame(list) => page(blame(list, md)),
        Answer::Conflicts(list) => page(conflicts(list, md)),
        Answer::Diff(diff) => page(changes::diff(diff, md)),
        Answer::Review(_)
        | Answer::Lint(_)
        | Answer::Graph(_)
        | Answer::PlanPage(_)
        | Answer::Exported(_)
        | Answer::Diagnostics(_) => block(String::new()),
        Answer::Stale(list) => page(table(list, STALE, md)),
        Answer::Sessions(list) => page(table(list, SESSIONS, md)),
        Answer::Threads(list) => page(table(list, THREADS, md)),
        Answer::Thread(shown) => page(threads::thread(shown, md)),
        Answer::Inbox(list) => page(inbox(list, md)),
        Answer::Acknowledged(done) => block(format!("{} acknowledged, {} unread\n", done.acknowledged, done.unread)),
        Answer::Agents(list) => page(table(list, AGENTS, md)),
        Answer::Agent(agent) => block(object(&json!(agent))),
        Answer::Setting(setting) => block(setting_line(setting)),
        Answer::Settings(list) => page(table(list, SETTINGS, md)),
        Answer::SettingSet(set) => block(setting_line(&set.setting)),
        Answer::Token(issued) => block(object(&without_empty(issued))),
        Answer::Leases(list) => page(leases(list, md)),
        Answer::LostEvents(events) => page(table(&events.list, LOST_EVENTS, md)),
        Answer::Overview(overview) => block(status(overview)),
        Answer::Stats(stats) => block(object(&json!(stats))),
        Answer::Health(health) => block(checks(health)),
        Answer::Check(check) => block(claimed_paths(check)),
        Answer::Sync(report) => block(sync(report)),
        Answer::Pushed(pushed) => block(object(&json!(pushed))),
        Answer::Repaired(report) => block(repaired(report)),
        Answer::Restored(restored) => block(restored_words(restored)),
        Answer::Compacted(report) => block(compacted_words(report)),
        Answer::Migrated(report) => block(migrated_words(report)),
        Answer::Imported(report) => block(imported(report)),
        Answer::Planned(report) => block(planned(report)),
        Answer::RequestUndone(report) => block(request_undone(report)),
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
    let data = without_empty(report);
    let md = global.format.as_deref() == Some("md");
    let human = if words { review::review(report, md, limit, all) } else { String::new() };
    let ids: Vec<String> = report.list.items.iter().map(|item| item.task.to_string()).collect();
    let exit = u8::from(!report.failed.is_empty());
    Ok(Output { human, markdown: true, quiet: Some(ids.join("\n")), exit, data, ..Output::default() })
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
        out.push_str(&format!("{}\n", escape(&item.end.words())));
    }
    out
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
    let lines =
        check.claimed.iter().map(|one| format!("{}: {}\n", escape(&one.claim.path), escape(&one.claim.claim.words())));
    lines.collect()
}

/// A setting, and where its value comes from.
fn setting_line(setting: &SettingView) -> String {
    let place = setting.place.as_deref().unwrap_or("default");
    escape_lines(&format!("{} = {}  ({place})\n", setting.key, setting.text()))
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
            let mark = if task.unrecorded_edit { "*" } else { "" };
            out.push_str(&format!("  {}{mark}  {}{by}{until}\n", task.handle, escape(&task.title)));
        }
        if total > tasks.len() {
            out.push_str(&format!("  and {} more\n", total - tasks.len()));
        }
    };
    section("Yours", &overview.mine, overview.mine_total);
    section("To review", &overview.reviews, overview.reviews_total);
    section("Ready", &overview.ready, overview.ready_total);
    section("In progress", &overview.others, overview.others_total);
    out.push_str(&other_session_lines(&overview.other_sessions));
    if overview.other_sessions_total > overview.other_sessions.len() {
        let more = overview.other_sessions_total - overview.other_sessions.len();
        out.push_str(&format!("and {more} more of yours in other sessions\n"));
    }
    let ready = (overview.ready_total > 0).then(|| format!("{} ready", overview.ready_total));
    let parts: Vec<String> = ready.into_iter().chain(not_ready_words(&overview.not_ready)).collect();
    let more = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    out.push_str(&format!("{}{more}\n", counted(overview.unfinished, "unfinished task")));
    let besides = [
        (overview.awaiting_review, "awaiting review"),
        (overview.stale, "stale: agentpm stale"),
        (overview.conflicts, "with values that lost: agentpm conflicts"),
    ];
    for (n, what) in besides.into_iter().filter(|(n, _)| *n > 0) {
        out.push_str(&format!("{n} {what}\n"));
    }
    out.extend(edits_words(overview.unrecorded_edits).map(|words| format!("{words}\n")));
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
