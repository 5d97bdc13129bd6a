//! The work on offer in words: the next task, ready tasks, and why others are not ready.
//!
//! Leaves to others: a task by itself (`task_words`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::output::Output;
use super::table::table;
use super::task_words::task_words;
use crate::api;
use crate::engine::Workspace;
use crate::engine::query::names::name_tasks_in;
use crate::engine::query::ready::ReadyList;
use crate::model::agent::Lease;
use crate::model::plain::escape;
use crate::reports::next::{AbandonedTask, Explained, NextTask, NotReady, OtherSessionTask, PassedOver};

const READY: &[&str] = &["handle", "score", "priority", "title", "blocking_count"];

pub fn ready(ws: &Workspace, ready: &ReadyList, md: bool) -> String {
    let mut out = table(&ready.list, READY, md);
    let given_back = ready.list.items.iter().filter(|item| item.given_back);
    out.push_str(&given_back_lines(given_back.map(|item| (&*item.handle, &*item.title))));
    let words = counts(&ready.not_ready);
    if !words.is_empty() {
        out.push_str(&format!("not ready: {words}\n"));
    }
    out.push_str(&elsewhere_lines(ws, &ready.elsewhere));
    out.push_str(&ready.explained.as_ref().map(explained_lines).unwrap_or_default());
    out
}

/// A line for each ready task that the caller gave back, by handle and title.
fn given_back_lines<'a>(tasks: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let line =
        |(handle, title)| format!("{handle}  {}: you gave it back, so it comes after the others\n", escape(title));
    tasks.map(line).collect()
}

fn counts(reasons: &NotReady) -> String {
    not_ready_words(&reasons.counts).collect::<Vec<_>>().join(", ")
}

/// How many tasks are not ready for each reason.
pub fn not_ready_words(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = String> {
    let name = |kind: &str, n: u64| match (kind, n) {
        ("planning_units", 1) => "planning unit".to_owned(),
        _ => kind.replace('_', " "),
    };
    counts.iter().map(move |(kind, n)| format!("{n} {}", name(kind, *n)))
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

pub fn next_words(next: &NextTask) -> String {
    let mut out = task_words(&next.task);
    let given_back = next.reasons.given_back.iter().map(|task| (&*task.handle, &*task.title));
    out.push_str(&given_back_lines(given_back));
    out.push_str(&other_session_lines(&next.reasons.other_sessions));
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

pub fn claimed(ws: &Workspace, next: &NextTask) -> String {
    let others = other_session_lines(&next.reasons.other_sessions);
    let Some(Lease { id, expires_at, fence, confirmed, .. }) = &next.lease else {
        return task_words(&next.task) + &others;
    };
    let confirmed = match (confirmed, ws.lease_remote()) {
        (true, _) => "confirmed by the remote",
        (false, Some(_)) => "not confirmed: agentpm sync asks the remote again",
        (false, None) => "not confirmed: no remote is asked",
    };
    format!("{}\nlease {id} until {expires_at} (fence {fence}), {confirmed}\n{others}", task_words(&next.task))
}

/// A line for each task that the caller has in progress in another session.
pub fn other_session_lines(items: &[OtherSessionTask]) -> String {
    items.iter().map(|item| format!("{}\n", escape(&item.words()))).collect()
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
pub fn nothing_ready(ws: &Workspace, reasons: &NotReady) -> Output {
    let words = counts(reasons);
    let words = match (words.is_empty(), reasons.unfinished) {
        (true, 0) => "the plan has no unfinished task".to_owned(),
        (true, _) => "other agents claimed the ready tasks; run the command again".to_owned(),
        (false, _) => words,
    };
    let held: Vec<String> = reasons.held.iter().map(|task| escape(&task.words())).collect();
    let held = held.join(", ");
    let begin = match (&reasons.hint, held.is_empty()) {
        (Some(hint), true) => format!("{hint}\n"),
        (Some(hint), false) => format!("nothing was claimed: you hold {held}\n{hint}\n"),
        (None, false) => format!("nothing is ready: {words}\nyou hold {held}\n"),
        (None, true) => format!("nothing is ready: {words}\n"),
    };
    let human = format!(
        "{begin}{}{}{}{}",
        other_session_lines(&reasons.other_sessions),
        elsewhere_lines(ws, &reasons.elsewhere),
        abandoned_lines(&reasons.abandoned),
        reasons.explained.as_ref().map(explained_lines).unwrap_or_default()
    );
    Output {
        data: Value::Null,
        human,
        quiet: Some(String::new()),
        reasons: Some(api::without_empty(reasons)),
        ..Output::default()
    }
}
