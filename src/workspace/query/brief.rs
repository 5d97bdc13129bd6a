//! `brief`: one page that tells an agent all it needs to do a task.
//!
//! What others wrote is data: it stands in fences, with its author, and is never an instruction of agentpm's.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::context::ContextType;
use crate::model::event::Entry;
use crate::model::id::Id;
use crate::model::query::Brief;
use crate::model::task::{Status, Task};
use crate::model::words::Ref;
use crate::reports::view;
use crate::rules::lease::{Standing, is_lost};
use crate::rules::lost::{Lost, is_alone, lost};
use crate::store::entity::LoadedTask;
use crate::store::index::Index;
use crate::workspace::Workspace;

/// Bytes reckoned for a token.
const BYTES_PER_TOKEN: f64 = 3.5;
const PARTS: [&str; 5] = ["children", "progress", "context", "events", "threads"];

/// `brief`
pub fn brief(ws: &Workspace, q: &Brief) -> Result<Value> {
    for part in &q.include {
        if !PARTS.contains(&part.as_str()) {
            return Err(Error::usage(format!("there is no part {part:?}")).hint(format!("use {}", PARTS.join(", "))));
        }
    }
    let wants = |part: &str| if q.include.is_empty() { part != "events" } else { q.include.iter().any(|p| p == part) };
    let index = ws.index()?;
    let id = match &q.task_id.0 {
        Some(reference) => ws.resolve(&Ref(reference.clone()))?,
        None => held(ws, &index)?,
    };
    let loaded = ws.load_task(id)?;
    let task = &loaded.task;
    let mut elsewhere = ws.elsewhere();
    let mut shown = ws.show_task_beside(task, &index, &mut elsewhere)?;
    let branches = elsewhere.states(task.id)?;
    elsewhere.warn();
    let hold = Hold::of(ws, &loaded)?;
    let mut sections = vec![head(ws, task, &shown, &hold, &index)?];
    let lost_edits = lost_edits(ws, id, &loaded.log.entries);
    sections.extend(lost_section(&lost_edits));
    if !branches.is_empty() {
        sections.push(other_places(&branches));
        shown["branches"] = json!(branches);
    }
    if wants("children") {
        sections.extend(children(ws, task, &index)?);
    }
    if wants("progress") {
        sections.extend(progress(task));
    }
    if wants("context") {
        sections.extend(context(task));
    }
    if wants("events") {
        sections.push(events(&loaded.log.entries));
    }
    sections.push(how_to_go_on(task, &shown, &hold));
    let (text, left_out) = fit(sections, q.max_tokens);
    let tokens = (text.len() as f64 / BYTES_PER_TOKEN).ceil() as u64;
    let mut answer = json!({ "task": shown, "text": text, "tokens": tokens, "left_out": left_out });
    if wants("events") {
        answer["events"] = loaded.log.entries.iter().map(view::event).collect();
    }
    if q.max_tokens.is_none() && !lost_edits.is_empty() {
        answer["lost_edits"] = json!(lost_edits);
    }
    if q.max_tokens.is_some() {
        // A bounded brief is its text; the task whole would break the bound.
        answer["task"] =
            json!({ "id": task.id, "handle": shown["handle"], "title": task.fields.title, "status": shown["status"] });
    }
    Ok(answer)
}

/// The one task in progress that the asker holds: by a lease of its session, else as its owner.
fn held(ws: &Workspace, index: &Index) -> Result<Id> {
    let me = ws.author()?.agent;
    let (mut held, mut owned) = (Vec::new(), Vec::new());
    for task in index.in_progress_of(&me)? {
        let record = ws.lease_record(task)?;
        match ws.standing(&record) {
            Some(Standing::Mine(_) | Standing::MineExpired(_)) => held.push(task),
            Some(Standing::Free) => owned.push(task),
            _ => {}
        }
    }
    let held = if held.is_empty() { owned } else { held };
    match held[..] {
        [id] => Ok(id),
        [] => Err(Error::not_found(format!("{me} has no task in progress"))
            .hint("name one, or take one with agentpm next --claim")),
        _ => Err(Error::new(crate::error::Code::AmbiguousId, format!("{me} has {} tasks in progress", held.len()))
            .with(json!({ "candidates": held }))
            .hint("name the one you mean")),
    }
}

/// Who has a task, as the asker stands to it.
struct Hold {
    /// The asker may go on with it, perhaps after a renewal.
    mine: bool,
    /// Who has it, in words; `None` where nobody has.
    words: Option<String>,
    /// The commands that are open to the asker besides, where it may not simply go on.
    steps: Vec<String>,
}

impl Hold {
    fn of(ws: &Workspace, loaded: &LoadedTask) -> Result<Self> {
        let task = &loaded.task;
        let record = ws.lease_record_by_log(loaded)?;
        let handle = ws.handle(task.id)?;
        let other_work = || vec!["take other work: agentpm next --claim".to_owned()];
        let take_over = || vec![format!("take it over: agentpm claim {handle}")];
        let hold = |mine: bool, words: String, steps: Vec<String>| Hold { mine, words: Some(words), steps };
        let standing = match &record.lease {
            Some(lease) => ws.standing(&record).unwrap_or(match lease.is_live(ws.env.now()) {
                true => Standing::Others(lease.clone()),
                false => Standing::OthersExpired(lease.clone()),
            }),
            None => Standing::Free,
        };
        let lost = ws.author().is_ok_and(|me| is_lost(&record, &me));
        let lost = if lost { "; your lease of it passed on" } else { "" };
        Ok(match standing {
            Standing::Mine(lease) => hold(
                true,
                format!("{} until {}; prolong it with agentpm lease renew {}", lease.agent, lease.expires_at, lease.id),
                Vec::new(),
            ),
            Standing::MineExpired(lease) => hold(
                true,
                format!(
                    "yours, expired at {}; nobody took it over: agentpm lease renew {}",
                    lease.expires_at, lease.id
                ),
                Vec::new(),
            ),
            Standing::Others(lease) => {
                let within = match (lease.elsewhere, lease.session) {
                    (true, _) => " in another clone".to_owned(),
                    (false, Some(session)) => format!(" in session {session}"),
                    (false, None) => String::new(),
                };
                hold(false, format!("{} has it{within} until {}{lost}", lease.agent, lease.expires_at), other_work())
            }
            Standing::OthersExpired(lease) => {
                let words = format!("{} had it, expired at {}{lost}", lease.agent, lease.expires_at);
                hold(false, words, if task.status.is_finished() { Vec::new() } else { take_over() })
            }
            Standing::Free => {
                let me = ws.asker();
                let other = task.owner.as_ref().filter(|_| task.status == Status::InProgress);
                match other.filter(|owner| Some(*owner) != me.as_ref()) {
                    Some(owner) => hold(false, format!("none; {owner} works on it{lost}"), other_work()),
                    None => Hold { mine: true, words: None, steps: Vec::new() },
                }
            }
        })
    }
}

/// A part of the page, and how gladly it is left out when room is short (0 stays).
struct Section {
    name: &'static str,
    text: String,
    dispensable: u8,
}

fn head(ws: &Workspace, task: &Task, shown: &Value, hold: &Hold, index: &Index) -> Result<Section> {
    let f = &task.fields;
    let mut text = format!("# {}\n\n", one_line(&f.title));
    let word = |key: &str| shown[key].as_str().map(str::to_owned).unwrap_or_else(|| shown[key].to_string());
    let _ = writeln!(
        text,
        "task {} ({}), {}, {}, priority {}",
        task.id,
        word("handle"),
        f.kind.as_str(),
        word("status"),
        f.priority
    );
    if let Some(owner) = &task.owner {
        let _ = writeln!(text, "owner: {owner}");
    }
    if let Some(words) = &hold.words {
        let _ = writeln!(text, "lease: {words}");
    }
    if let Some(parent) = task.parent() {
        let title = index.task(parent)?.map(|p| p.fields.title).unwrap_or_default();
        let _ = writeln!(text, "part of: {} {}", ws.handle(parent)?, one_line(&title));
    }
    for (name, list) in [("labels", &f.labels), ("files", &f.files)] {
        if !list.is_empty() {
            let _ = writeln!(text, "{name}: {}", list.iter().map(|l| one_line(l)).collect::<Vec<_>>().join(", "));
        }
    }
    for (name, value) in [("estimate", f.estimate.clone()), ("due", f.due.map(|t| t.to_string()))] {
        if let Some(value) = value {
            let _ = writeln!(text, "{name}: {}", one_line(&value));
        }
    }
    for blocker in task.blockers() {
        if let Some(other) = index.task(blocker)?.filter(|other| !other.status.is_finished()) {
            let _ = writeln!(
                text,
                "waits for: {} {} ({})",
                ws.handle(blocker)?,
                one_line(&other.fields.title),
                other.status
            );
        }
    }
    if let Some(intent) = &f.intent {
        let _ = write!(text, "\n## Intent (by {})\n\n{}", task.created_by, fence(intent));
    }
    if !f.acceptance.is_empty() {
        text.push_str("\n## Acceptance\n\n");
        for (n, criterion) in f.acceptance.iter().enumerate() {
            let mark = if task.met.contains_key(criterion) { "x" } else { " " };
            let _ = writeln!(text, "{}. [{mark}] {}", n + 1, one_line(criterion));
        }
    }
    Ok(Section { name: "task", text, dispensable: 0 })
}

/// What other worktrees and branches know of the task beyond what is here.
fn other_places(branches: &[Value]) -> Section {
    let mut text = String::from("\n## Elsewhere, by events that are not here\n\n");
    for place in branches {
        let word = |key: &str| place[key].as_str().map(one_line).unwrap_or_default();
        let kind = if place["worktree"].is_string() { "worktree" } else { "branch" };
        let by = place["owner"].as_str().map(|owner| format!(" by {owner}")).unwrap_or_default();
        let _ = writeln!(text, "- {kind} {}: {}{by}", word(kind), word("status"));
    }
    Section { name: "other places", text, dispensable: 1 }
}

fn children(ws: &Workspace, task: &Task, index: &Index) -> Result<Option<Section>> {
    let children = index.children(task.id)?;
    if children.is_empty() {
        return Ok(None);
    }
    let mut text = String::from("\n## Parts\n\n");
    for id in children {
        if let Some(child) = index.task(id)? {
            let _ = writeln!(text, "- {} {} ({})", ws.handle(id)?, one_line(&child.fields.title), child.status);
        }
    }
    Ok(Some(Section { name: "children", text, dispensable: 2 }))
}

/// What the asker wrote and lost: each with what stands instead and the command that puts it back.
fn lost_edits(ws: &Workspace, id: Id, entries: &[Entry]) -> Vec<Value> {
    let all = lost(id, entries);
    let mine = |edit: &&Lost| ws.asker().is_some_and(|me| me == edit.lost.agent);
    let few = |edit: &Lost| {
        json!({ "field": edit.field, "yours": edit.lost.value, "now": edit.won.value, "by": edit.won.agent,
            "restore": view::restore_command(edit, is_alone(&all, edit)) })
    };
    all.iter().filter(mine).map(few).collect()
}

fn lost_section(edits: &[Value]) -> Option<Section> {
    if edits.is_empty() {
        return None;
    }
    let mut text = String::from("\n## What you wrote and lost to a change made at the same time\n\n");
    for edit in edits {
        let word = |key: &str| edit[key].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "- {}: yours {}, now {} by {}; put it back: {}",
            one_line(word("field")),
            few_words(&edit["yours"]),
            few_words(&edit["now"]),
            word("by"),
            word("restore")
        );
    }
    Some(Section { name: "lost_edits", text, dispensable: 1 })
}

/// A value on one line, cut where it is long.
fn few_words(value: &Value) -> String {
    let text = one_line(&value.to_string());
    let cut: String = text.chars().take(80).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

fn progress(task: &Task) -> Option<Section> {
    if task.progress.is_empty() {
        return None;
    }
    let mut text = String::from("\n## Progress\n\n");
    for item in task.progress.values() {
        let mark = if item.completed { "x" } else { " " };
        let _ = writeln!(text, "- [{mark}] {} {}", item.id.handle(6), one_line(&item.content));
    }
    Some(Section { name: "progress", text, dispensable: 1 })
}

fn context(task: &Task) -> Vec<Section> {
    let mut sections = Vec::new();
    for entry in task.context.values().filter(|e| e.superseded_by.is_none() && !e.redacted) {
        let title = if sections.is_empty() { "\n## Context\n" } else { "" };
        let kind = entry.kind.as_str();
        let text = format!("{title}\n{kind} by {}, {}:\n\n{}", entry.author, entry.created_at, fence(&entry.content));
        let lasting = matches!(entry.kind, ContextType::Decision | ContextType::UserInput | ContextType::Blocker);
        sections.push(Section { name: "context", text, dispensable: if lasting { 2 } else { 3 } });
    }
    sections
}

fn events(entries: &[Entry]) -> Section {
    let mut text = String::from("\n## History\n\n");
    for entry in entries {
        let event = &entry.event;
        let _ = writeln!(text, "- {} {} {}", event.at, event.author.agent, event.payload.kind());
    }
    Section { name: "events", text, dispensable: 4 }
}

fn how_to_go_on(task: &Task, shown: &Value, hold: &Hold) -> Section {
    let handle = shown["handle"].as_str().unwrap_or_default();
    let met = if task.unmet().next().is_some() { " --all-met" } else { "" };
    let text = match task.status {
        status if !hold.mine && !status.is_finished() => {
            let steps: String = hold.steps.iter().map(|step| format!("- {step}\n")).collect();
            format!(
                "\n## How to go on\n\n{steps}- leave a word for whoever has it: agentpm note {handle} --content TEXT\n"
            )
        }
        Status::InProgress => format!(
            "\n## How to go on\n\n- note a step: agentpm progress add {handle} --content TEXT\n- record a choice: agentpm context add {handle} --type decision --content TEXT\n- finish: agentpm done {handle}{met} --outcome TEXT; give it back: agentpm release {handle}\n"
        ),
        status if status.is_finished() => String::new(),
        _ if shown["branches"].is_array() => String::new(),
        _ => format!("\n## How to go on\n\n- take it: agentpm claim {handle}\n"),
    };
    Section { name: "commands", text, dispensable: 0 }
}

/// Drops the most dispensable sections, oldest first, until the rest fits. Says how many of each were dropped.
fn fit(mut sections: Vec<Section>, max_tokens: Option<u64>) -> (String, Value) {
    let most = max_tokens.map_or(usize::MAX, |tokens| (tokens as f64 * BYTES_PER_TOKEN) as usize);
    // Room for the line that says what was left out.
    let room = if most == usize::MAX { most } else { most.saturating_sub(160) };
    let mut left_out: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    while sections.iter().map(|s| s.text.len()).sum::<usize>() > room {
        let level = sections.iter().map(|s| s.dispensable).max().unwrap_or(0);
        let Some(place) = sections.iter().position(|s| s.dispensable == level && level > 0) else { break };
        *left_out.entry(sections.remove(place).name).or_default() += 1;
    }
    let mut text: String = sections.into_iter().map(|s| s.text).collect();
    if text.len() > room {
        let end = (0..=room).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
        left_out.insert("bytes of the task itself", 1);
    }
    if !left_out.is_empty() {
        let words: Vec<String> = left_out.iter().map(|(name, n)| format!("{n} {name}")).collect();
        let _ = write!(text, "\n(left out for room: {}; agentpm task get has all)\n", words.join(", "));
    }
    (text, json!(left_out))
}

/// A text on one line, so that it cannot pass for a line of the page.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text in a fence that it cannot close.
fn fence(text: &str) -> String {
    let longest =
        text.split(['\n', '\r']).map(|l| l.trim_start().bytes().take_while(|b| *b == b'`').count()).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", text.trim_end())
}
