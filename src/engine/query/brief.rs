//! `brief`: one page with all that an agent needs to do a task.
//!
//! What others wrote is data: it stands in fences, with its author, and is never an instruction of agentpm's.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::engine::context::Workspace;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::context::{ContextType, ProgressItem};
use crate::model::event::Entry;
use crate::model::id::Id;
use crate::model::plain::{code_block, markdown};
use crate::model::query::Brief;
use crate::model::task::{Status, Task};
use crate::reports::extent::beginning;
use crate::reports::view::{self, ElsewhereState, TaskView};
use crate::rules::lease::{Standing, is_lost};
use crate::rules::lost::{Counts, Lost, lost};
use crate::rules::readiness::Reason;
use crate::runtime::records;
use crate::store::entity::LoadedTask;
use crate::store::index::Index;

/// Bytes reckoned for a token.
const BYTES_PER_TOKEN: f64 = 3.5;
/// Tokens of a page, where the caller names no other number.
const DEFAULT_TOKENS: u64 = 8_000;
/// Most events, lost edits, and lines of a list that the page names in one place; it counts the others.
const MAX_NAMED: usize = 20;
const PARTS: [&str; 5] = ["children", "progress", "context", "events", "threads"];

/// One page with all that an agent needs to do a task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BriefPage {
    /// The task; of a page with a bound, its names alone.
    pub task: BriefTask,
    /// The page, in Markdown.
    pub text: String,
    /// The tokens of the page, as reckoned from its bytes.
    pub tokens: u64,
    /// How many parts of each kind are not on the page.
    pub left_out: BTreeMap<&'static str, usize>,
    /// The newest events, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<Value>>,
    /// The number of all events, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_total: Option<usize>,
    /// Values of the caller that lost to a concurrent one; the first few of many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost_edits: Vec<LostEdit>,
    /// The number of all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_edits_total: Option<usize>,
}

/// The task of a page.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum BriefTask {
    /// All of it.
    Whole(Box<TaskView>),
    /// What it is called.
    Named {
        /// Its id.
        id: Id,
        /// Its handle.
        handle: String,
        /// Its title.
        title: String,
        /// Its status.
        status: Status,
    },
}

impl BriefTask {
    /// The id of the task.
    pub fn id(&self) -> Id {
        match self {
            BriefTask::Whole(task) => task.id,
            BriefTask::Named { id, .. } => *id,
        }
    }
}

/// A value of the caller that lost to a concurrent one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LostEdit {
    /// The register, such as `title`, `status` or `progress.<item>`.
    pub field: String,
    /// The value of the caller.
    pub yours: Value,
    /// The value that counts.
    pub now: Value,
    /// The author of that value.
    pub by: String,
    /// The command that restores the value of the caller.
    pub restore: String,
}

/// `brief`
pub fn brief(ws: &Workspace, q: &Brief) -> Result<BriefPage> {
    for part in &q.include {
        if !PARTS.contains(&part.as_str()) {
            return Err(Error::usage(format!("there is no part {part:?}")).hint(format!("use {}", PARTS.join(", "))));
        }
    }
    let wants = |part: &str| if q.include.is_empty() { part != "events" } else { q.include.iter().any(|p| p == part) };
    let index = read::index(ws)?;
    let id = match &q.task_id.0 {
        Some(reference) => read::resolve(ws, &Ref(reference.clone()))?,
        None => held(ws, &index)?,
    };
    let loaded = read::load_task(ws, id)?;
    let task = &loaded.task;
    let mut elsewhere = OtherBranches::new(ws);
    let mut shown = read::show_task_elsewhere(ws, task, &index, &mut elsewhere)?;
    let branches = elsewhere.states(task.id)?;
    elsewhere.warn();
    let hold = Hold::of(ws, &loaded)?;
    let tokens = q.max_tokens.unwrap_or(DEFAULT_TOKENS);
    let room = (tokens as f64 * BYTES_PER_TOKEN) as usize;
    let mut left_out = LeftOut::new();
    let mut sections = vec![head(ws, task, &shown, &hold, &index, room)?];
    let (lost_edits, lost_total) = lost_edits(ws, id, &loaded.log.entries);
    sections.extend(lost_section(&lost_edits));
    if !branches.is_empty() {
        sections.push(other_places(&branches));
        shown.branches = branches;
    }
    if wants("children") {
        sections.extend(children(ws, task, &index, room, &mut left_out)?);
    }
    if wants("progress") {
        sections.extend(progress(task, room, &mut left_out));
    }
    if wants("context") {
        sections.extend(context(task, room, &mut left_out));
    }
    if wants("events") {
        sections.extend(events(&loaded.log.entries, room, &mut left_out));
    }
    let waits = matches!(task.status, Status::Open | Status::Blocked) && shown.ready == Some(false);
    let reasons = if waits { read::why_not_ready(ws, task, &index, &mut elsewhere)? } else { Vec::new() };
    sections.push(how_to_go_on(task, &shown, &hold, &reasons));
    let text = fit(sections, room, &mut left_out, &shown.handle);
    let tokens = (text.len() as f64 / BYTES_PER_TOKEN).ceil() as u64;
    let entries = wants("events").then_some(&loaded.log.entries);
    let shows_lost = q.max_tokens.is_none() && !lost_edits.is_empty();
    // A bounded brief is its text; the task whole would break the bound.
    let task = if q.max_tokens.is_some() || !left_out.is_empty() || !shown.left_out.is_empty() {
        let title = shown.title().to_owned();
        BriefTask::Named { id: task.id, handle: shown.handle, title, status: shown.status }
    } else {
        BriefTask::Whole(Box::new(shown))
    };
    Ok(BriefPage {
        task,
        text,
        tokens,
        left_out,
        events: entries.map(|entries| newest_events(entries)),
        events_total: entries.map(Vec::len),
        lost_edits_total: shows_lost.then_some(lost_total),
        lost_edits: if shows_lost { lost_edits } else { Vec::new() },
    })
}

/// The one task in progress that the caller holds: by a lease of its session, else as its owner.
fn held(ws: &Workspace, index: &Index) -> Result<Id> {
    let me = ws.author()?.agent;
    let (mut held, mut owned) = (Vec::new(), Vec::new());
    for task in index.in_progress_of(&me)? {
        let record = read::lease_record(ws, task, index)?;
        match read::standing(ws, &record) {
            Some(Standing::Mine(_) | Standing::MineExpired(_)) => held.push(task),
            Some(Standing::Free) => owned.push(task),
            _ => {}
        }
    }
    if held.is_empty() {
        // What was claimed in another worktree is in progress there, by files that are not here.
        for task in ws.runtime().map(records::leased_tasks).transpose()?.into_iter().flatten() {
            let is_mine = matches!(
                read::standing(ws, &read::lease_record(ws, task, index)?),
                Some(Standing::Mine(_) | Standing::MineExpired(_))
            );
            if is_mine && index.status(task)?.is_some_and(|status| !status.is_finished()) {
                held.push(task);
            }
        }
    }
    let held = if held.is_empty() { owned } else { held };
    match held[..] {
        [id] => Ok(id),
        [] => Err(Error::not_found(format!("{me} has no task in progress"))
            .hint("name one, or claim one with agentpm next --claim")),
        _ => Err(Error::new(crate::error::Code::AmbiguousId, format!("{me} has {} tasks in progress", held.len()))
            .with(json!({ "candidates": held }))
            .hint("name the one you mean")),
    }
}

/// Who has a task, as the caller stands to it.
struct Hold {
    /// The caller may go on with it, perhaps after a renewal.
    mine: bool,
    /// Who has it, in words; `None` if no agent has it.
    words: Option<String>,
    /// The commands that are open to the caller besides, where it may not simply go on.
    steps: Vec<String>,
}

impl Hold {
    fn of(ws: &Workspace, loaded: &LoadedTask) -> Result<Self> {
        let task = &loaded.task;
        let record = read::lease_record_by_log(ws, loaded)?;
        let handle = read::handle(ws, task.id)?;
        let other_work = || vec!["take other work: agentpm next --claim".to_owned()];
        let take_over = || vec![format!("take it over: agentpm claim {handle}")];
        let hold = |mine: bool, words: String, steps: Vec<String>| Hold { mine, words: Some(words), steps };
        let standing = match &record.lease {
            Some(lease) => read::standing(ws, &record).unwrap_or(match lease.is_live(ws.env.now()) {
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
                format!(
                    "{} until {}; prolong it with agentpm lease renew {}",
                    line(&lease.agent),
                    lease.expires_at,
                    lease.id
                ),
                Vec::new(),
            ),
            Standing::MineExpired(lease) => hold(
                true,
                format!(
                    "yours, expired at {}; no agent took it over: agentpm lease renew {}",
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
                hold(
                    false,
                    format!("{} has it{within} until {}{lost}", line(&lease.agent), lease.expires_at),
                    other_work(),
                )
            }
            Standing::OthersExpired(lease) => {
                let words = format!("{} had it, expired at {}{lost}", line(&lease.agent), lease.expires_at);
                hold(false, words, if task.status.is_finished() { Vec::new() } else { take_over() })
            }
            Standing::Free => {
                let me = ws.agent_name();
                let other = task.owner.as_ref().filter(|_| task.status == Status::InProgress);
                match other.filter(|owner| Some(*owner) != me.as_ref()) {
                    Some(owner) => hold(false, format!("none; {} works on it{lost}", line(owner)), other_work()),
                    None => Hold { mine: true, words: None, steps: Vec::new() },
                }
            }
        })
    }
}

/// A part of the page, and how gladly it is left out when room is short (0 stays).
struct Section {
    name: &'static str,
    /// Stands above the first of its name.
    heading: &'static str,
    text: String,
    dispensable: u8,
}

/// How many parts of each name are not on the page.
type LeftOut = BTreeMap<&'static str, usize>;

/// The newest of some sections, as many as a page could hold. No text is made of the older ones; they are counted.
fn newest<T>(
    all: impl DoubleEndedIterator<Item = T>,
    room: usize,
    left_out: &mut LeftOut,
    name: &'static str,
    make: impl Fn(T) -> Section,
) -> Vec<Section> {
    let (mut made, mut bytes) = (Vec::new(), 0);
    for one in all.rev() {
        if bytes > room {
            *left_out.entry(name).or_default() += 1;
            continue;
        }
        let section = make(one);
        bytes += section.text.len();
        made.push(section);
    }
    made.reverse();
    made
}

/// A list on one line, of which the first few are named.
fn few<'a>(list: impl Iterator<Item = &'a String> + Clone) -> String {
    let named: Vec<String> = list.clone().take(MAX_NAMED).map(|word| line(word)).collect();
    let more = list.count() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

fn head(ws: &Workspace, task: &Task, shown: &TaskView, hold: &Hold, index: &Index, room: usize) -> Result<Section> {
    let f = &task.fields;
    let mut text = format!("# {}\n\n", line(&f.title));
    let _ = writeln!(
        text,
        "task {} ({}), {}, {}, priority {}",
        task.id,
        shown.handle,
        line(f.kind.as_str()),
        shown.status,
        f.priority
    );
    if let Some(owner) = &task.owner {
        let _ = writeln!(text, "owner: {}", line(owner));
    }
    if let Some(words) = &hold.words {
        let _ = writeln!(text, "lease: {words}");
    }
    if let Some(parent) = task.parent() {
        let title = index.task(parent)?.map(|p| p.fields.title).unwrap_or_default();
        let _ = writeln!(text, "part of: {} {}", read::handle(ws, parent)?, line(&title));
    }
    for (name, list) in [("labels", &f.labels), ("files", &f.files)] {
        if !list.is_empty() {
            let _ = writeln!(text, "{name}: {}", few(list.iter()));
        }
    }
    for (name, value) in [("estimate", f.estimate.clone()), ("due", f.due.map(|t| t.to_string()))] {
        if let Some(value) = value {
            let _ = writeln!(text, "{name}: {}", line(&value));
        }
    }
    blockers(ws, task, index, &mut text)?;
    if let Some(intent) = &f.intent {
        let _ = write!(text, "\n## Intent (by {})\n\n{}", line(&task.created_by), code_block(&short(intent, room / 3)));
    }
    acceptance(task, room / 4, &mut text);
    Ok(Section { name: "task", heading: "", text, dispensable: 0 })
}

/// What it waits for: the first few by name.
fn blockers(ws: &Workspace, task: &Task, index: &Index, text: &mut String) -> Result<()> {
    let (mut named, mut more) = (0, 0);
    for blocker in task.blockers() {
        let Some(status) = index.status(blocker)?.filter(|status| !status.is_finished()) else { continue };
        if named == MAX_NAMED {
            more += 1;
            continue;
        }
        named += 1;
        let title = index.lines(std::iter::once(blocker))?.pop().map(|line| line.title).unwrap_or_default();
        let _ = writeln!(text, "waits for: {} {} ({status})", read::handle(ws, blocker)?, line(&title));
    }
    if more > 0 {
        let _ = writeln!(text, "waits for: {more} more");
    }
    Ok(())
}

/// The criteria, the unmet ones first where there are too many for the page.
fn acceptance(task: &Task, room: usize, text: &mut String) {
    let criteria = &task.fields.acceptance;
    if criteria.is_empty() {
        return;
    }
    let mut order: Vec<usize> = (0..criteria.len()).collect();
    order.sort_by_key(|n| task.met.contains_key(&criteria[*n]));
    let (mut shown, mut bytes) = (Vec::new(), 0);
    for n in order {
        let mark = if task.met.contains_key(&criteria[n]) { "x" } else { " " };
        let one = format!("{}. [{mark}] {}\n", n + 1, line(&criteria[n]));
        bytes += one.len();
        if bytes > room && !shown.is_empty() {
            break;
        }
        shown.push((n, one));
    }
    let more = criteria.len() - shown.len();
    shown.sort();
    text.push_str("\n## Acceptance\n\n");
    text.extend(shown.into_iter().map(|(_, one)| one));
    if more > 0 {
        let _ = writeln!(text, "and {more} more criteria");
    }
}

/// What other worktrees and branches know of the task beyond what is here.
fn other_places(branches: &[ElsewhereState]) -> Section {
    let mut text = String::new();
    for place in branches.iter().take(MAX_NAMED) {
        let (kind, name) = place.place();
        let by = place.owner.as_ref().map(|owner| format!(" by {}", line(owner))).unwrap_or_default();
        let _ = writeln!(text, "- {kind} {}: {}{by}", line(name), place.status);
    }
    if branches.len() > MAX_NAMED {
        let _ = writeln!(text, "- and {} more", branches.len() - MAX_NAMED);
    }
    let heading = "\n## Elsewhere, by events that are not here\n\n";
    Section { name: "other places", heading, text, dispensable: 1 }
}

fn children(ws: &Workspace, task: &Task, index: &Index, room: usize, left_out: &mut LeftOut) -> Result<Vec<Section>> {
    let lines = index.lines(index.children(task.id)?.into_iter())?;
    let mut sections = Vec::new();
    // What is finished is left out first.
    for (finished, dispensable) in [(true, 3), (false, 2)] {
        let some = lines.iter().filter(|child| child.status.is_finished() == finished);
        sections.extend(newest(some, room / 4, left_out, "children", |child| {
            // A handle is for reading; where its folder cannot be listed the id's end serves.
            let handle = read::handle(ws, child.id).unwrap_or_else(|_| child.id.handle(6));
            let text = format!("- {handle} {} ({})\n", line(&child.title), child.status);
            Section { name: "children", heading: "\n## Parts\n\n", text, dispensable }
        }));
    }
    Ok(sections)
}

/// Values of the caller that lost: each with the current value and the command that restores it.
fn lost_edits(ws: &Workspace, id: Id, entries: &[Entry]) -> (Vec<LostEdit>, usize) {
    let all = lost(id, entries);
    let counts = Counts::of(&all);
    let mine = |edit: &&Lost| ws.agent_name().is_some_and(|me| me == edit.lost.agent);
    let few = |edit: &Lost| LostEdit {
        field: edit.field.clone(),
        yours: edit.lost.value.clone(),
        now: edit.won.value.clone(),
        by: edit.won.agent.clone(),
        restore: view::restore_command(edit, counts.is_alone(edit)),
    };
    let mine: Vec<&Lost> = all.iter().filter(mine).collect();
    (mine.iter().take(MAX_NAMED).map(|edit| few(edit)).collect(), mine.len())
}

fn lost_section(edits: &[LostEdit]) -> Option<Section> {
    if edits.is_empty() {
        return None;
    }
    let mut text = String::new();
    for edit in edits {
        let _ = writeln!(
            text,
            "- {}: yours {}, now {} by {}; restore it: {}",
            line(&edit.field),
            few_words(&edit.yours),
            few_words(&edit.now),
            line(&edit.by),
            line(&edit.restore)
        );
    }
    let heading = "\n## What you wrote and lost to a change made at the same time\n\n";
    Some(Section { name: "lost_edits", heading, text, dispensable: 1 })
}

/// A value on one line, cut where it is long.
fn few_words(value: &Value) -> String {
    let text = one_line(&value.to_string());
    let cut: String = text.chars().take(80).collect();
    line(&if cut.len() < text.len() { format!("{cut}…") } else { cut })
}

/// What is still to be done, before what is done.
fn progress(task: &Task, room: usize, left_out: &mut LeftOut) -> Vec<Section> {
    let mut sections = Vec::new();
    for (done, dispensable) in [(true, 3), (false, 1)] {
        let some: Vec<&ProgressItem> = task.progress.values().filter(|item| item.completed == done).collect();
        sections.extend(newest(some.into_iter(), room / 3, left_out, "progress", |item| {
            let mark = if done { "x" } else { " " };
            let text = format!("- [{mark}] {} {}\n", item.id.handle(6), line(&item.content));
            Section { name: "progress", heading: "\n## Progress\n\n", text, dispensable }
        }));
    }
    sections
}

fn context(task: &Task, room: usize, left_out: &mut LeftOut) -> Vec<Section> {
    let current = task.context.values().filter(|e| e.superseded_by.is_none() && !e.redacted);
    newest(current, 2 * room, left_out, "context", |entry| {
        let (kind, author) = (entry.kind.as_str(), line(&entry.author));
        let text =
            format!("\n{kind} by {author}, {}:\n\n{}", entry.created_at, code_block(&short(&entry.content, room / 3)));
        let lasting = matches!(entry.kind, ContextType::Decision | ContextType::UserInput | ContextType::Blocker);
        let dispensable = if lasting { 2 } else { 3 };
        Section { name: "context", heading: "\n## Context\n", text, dispensable }
    })
}

fn events(entries: &[Entry], room: usize, left_out: &mut LeftOut) -> Vec<Section> {
    newest(entries.iter(), room, left_out, "events", |entry| {
        let event = &entry.event;
        let text = format!("- {} {} {}\n", event.at, line(&event.author.agent), line(event.payload.kind()));
        Section { name: "events", heading: "\n## History\n\n", text, dispensable: 4 }
    })
}

/// Most bytes of the events that an answer holds besides the page.
const MAX_EVENTS: usize = 64 * 1024;

fn newest_events(entries: &[Entry]) -> Vec<Value> {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.line.len();
        bytes <= MAX_EVENTS
    };
    let mut events: Vec<Value> = entries.iter().rev().take_while(fits).map(view::event).collect();
    events.reverse();
    events
}

fn how_to_go_on(task: &Task, shown: &TaskView, hold: &Hold, reasons: &[Reason]) -> Section {
    let handle = &shown.handle;
    let met = if task.unmet().next().is_some() { " --all-met" } else { "" };
    let text = match task.status {
        status if !hold.mine && !status.is_finished() => {
            let steps: String = hold.steps.iter().map(|step| format!("- {step}\n")).collect();
            format!("\n## Next steps\n\n{steps}- leave a note for its holder: agentpm note {handle} --content TEXT\n")
        }
        Status::InProgress => format!(
            "\n## Next steps\n\n- note a step: agentpm progress add {handle} --content TEXT\n- record a choice: agentpm context add {handle} --type decision --content TEXT\n- finish: agentpm done {handle}{met} --outcome TEXT; give it back: agentpm release {handle}\n"
        ),
        status if status.is_finished() => String::new(),
        _ if !shown.branches.is_empty() => String::new(),
        _ if !reasons.is_empty() => {
            let words: String =
                reasons.iter().map(|reason| format!("- not ready: {}\n", line(&reason.words()))).collect();
            format!("\n## Next steps\n\n{words}- claim another task: agentpm next --claim\n")
        }
        _ => format!("\n## Next steps\n\n- claim it: agentpm claim {handle}\n"),
    };
    Section { name: "commands", heading: "", text, dispensable: 0 }
}

/// Drops the most dispensable sections, oldest first, until the rest fits into `room` bytes. Says how many of each are not shown.
fn fit(sections: Vec<Section>, room: usize, left_out: &mut LeftOut, handle: &str) -> String {
    // Room for the line that says what was left out.
    let most = room.saturating_sub(200);
    let headings: usize =
        sections.iter().map(|s| (s.name, s.heading)).collect::<BTreeSet<_>>().iter().map(|h| h.1.len()).sum();
    let mut bytes = headings + sections.iter().map(|s| s.text.len()).sum::<usize>();
    let mut order: Vec<usize> = (0..sections.len()).filter(|n| sections[*n].dispensable > 0).collect();
    order.sort_by_key(|n| std::cmp::Reverse(sections[*n].dispensable));
    let mut dropped = BTreeSet::new();
    for n in order {
        if bytes <= most {
            break;
        }
        bytes -= sections[n].text.len();
        *left_out.entry(sections[n].name).or_default() += 1;
        dropped.insert(n);
    }
    let (mut text, mut last) = (String::new(), "");
    for (_, section) in sections.iter().enumerate().filter(|(n, _)| !dropped.contains(n)) {
        if section.name != last {
            text.push_str(section.heading);
            last = section.name;
        }
        text.push_str(&section.text);
    }
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
        left_out.insert("bytes of the task itself", 1);
    }
    if !left_out.is_empty() {
        let words: Vec<String> = left_out.iter().map(|(name, n)| format!("{n} {name}")).collect();
        let _ = write!(text, "\n(left out for room: {}; agentpm show {handle} --full shows all)\n", words.join(", "));
    }
    text
}

/// A text of at most so many bytes; of a longer one the beginning, and how much follows.
fn short(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let begin = beginning(text, most);
    Cow::Owned(format!("{begin}…\n({} more bytes)", text.len() - begin.len()))
}

/// A text on one line of at most some hundred characters.
fn line(text: &str) -> String {
    const MAX_LINE: usize = 1_000;
    let begin = beginning(text, MAX_LINE);
    let more = if begin.len() < text.len() { "…" } else { "" };
    markdown(&(one_line(begin) + more)).into_owned()
}

/// A text on one line, so that it cannot pass for a line of the page.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
