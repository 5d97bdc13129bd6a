//! `brief`: one page with all that an agent needs to do a task, in the order in which it is needed.
//!
//! Guarantees that the page keeps to a bound and says what it leaves out; what is least useful is left out first. What others
//! wrote is data: it stands in fences, with its author, and is never an instruction of agentpm's.
//! Leaves to others: the single sections (`own`, `around`, `hold`).

mod around;
mod hold;
mod own;
mod page;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::own::LostEdit;
pub use self::page::LeftOut;

use self::hold::{Hold, next_steps};
use self::page::{Draft, Kind, Section};
use crate::engine::commit::hand_edits::record;
use crate::engine::context::Workspace;
use crate::engine::view::held_task::named_or_held;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::{read, sparse};
use crate::error::{Error, Result};
use crate::model::query::Brief;
use crate::model::task::Status;
use crate::rules::held::NamedTask;

/// Bytes reckoned for a token.
const BYTES_PER_TOKEN: f64 = 3.5;
/// Tokens of a page, where the caller names no other number: 8 kB.
const DEFAULT_TOKENS: u64 = 2_340;
/// Most words and places that the page names in one list; it counts the others.
const MAX_NAMED: usize = 20;
const PARTS: [&str; 7] = ["parents", "results", "children", "progress", "context", "threads", "events"];
const STEPS: Kind = Kind { name: "commands", heading: "", rank: 0 };

/// One page with all that an agent needs to do a task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BriefPage {
    /// The names of the task; all else about it is in the text.
    pub task: BriefTask,
    /// The page, in Markdown.
    pub text: String,
    /// The estimated number of tokens of the page.
    pub tokens: u64,
    /// How many parts of each kind are not on the page, and under `<kind>_bytes` how many bytes of those that are.
    #[serde(skip_serializing_if = "LeftOut::is_empty")]
    pub left_out: LeftOut,
    /// Values of the caller that lost to a concurrent one; the first few of many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost_edits: Vec<LostEdit>,
    /// The number of all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_edits_total: Option<usize>,
}

/// The task of a page, by its names.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BriefTask {
    /// Id, handle and title.
    #[serde(flatten)]
    pub named: NamedTask,
    /// Its status, as it counts.
    pub status: Status,
    /// The number of its events.
    pub version: u64,
}

/// `brief`, with the remarks on the task's files.
pub fn brief(ws: &Workspace, q: &Brief) -> Result<(BriefPage, Vec<String>)> {
    for part in &q.include {
        if !PARTS.contains(&part.as_str()) {
            return Err(Error::usage(format!("there is no part {part:?}")).hint(format!("use {}", PARTS.join(", "))));
        }
    }
    let wants = |part: &str| q.include.is_empty() || q.include.iter().any(|p| p == part);
    sparse::warn_of_left_out(ws);
    // A question about one task does not look at the files of all others.
    let index = read::index_for_write(ws)?;
    let id = named_or_held(ws, &q.task_id)?;
    let loaded = read::load_task(ws, id)?;
    let (task, entries) = (&loaded.task, &loaded.log.entries);
    let mut elsewhere = OtherBranches::new(ws);
    let shown = read::show_task_elsewhere(ws, task, &index, &mut elsewhere)?;
    let branches = elsewhere.states(task.id)?;
    let waits = matches!(task.status, Status::Open | Status::Blocked) && shown.ready == Some(false);
    let reasons = if waits { read::why_not_ready(ws, task, &index, &mut elsewhere)? } else { Vec::new() };
    elsewhere.warn();
    let hold = Hold::of(ws, &loaded)?;
    let (lost_edits, lost_total) = own::lost_edits(ws, task, entries)?;

    let mut indexed = read::Indexed::new(ws, &index);
    let mut near = around::Near::of(&mut indexed);
    let mut draft = Draft::new((q.max_tokens.unwrap_or(DEFAULT_TOKENS) as f64 * BYTES_PER_TOKEN) as usize);
    own::aim(&mut draft, task, entries, &shown);
    own::holder(&mut draft, task, &hold);
    if wants("parents") {
        around::parents(ws, &mut draft, task, &mut near, &index)?;
    }
    if wants("results") {
        around::results(ws, &mut draft, task, &index)?;
    }
    around::open_blockers(ws, &mut draft, task, &mut near, &index)?;
    around::waiting(ws, &mut draft, task, &mut near, &index)?;
    if wants("children") {
        around::children(ws, &mut draft, task, &mut near, &index)?;
    }
    if wants("progress") {
        own::progress(&mut draft, task);
    }
    if wants("context") {
        own::context(&mut draft, task);
    }
    if wants("threads") {
        own::threads(&mut draft, task);
    }
    if wants("events") {
        own::history(&mut draft, entries);
    }
    around::branches(&mut draft, &branches);
    own::lost_section(&mut draft, &lost_edits);
    let text = next_steps(task, &shown, &hold, !branches.is_empty(), &reasons);
    draft.push(Section { kind: STEPS, text, cut: 0 });
    let (text, left_out) = draft.finish(&shown.handle);
    let named = NamedTask::new(task.id, shown.handle, &task.fields.title);
    let page = BriefPage {
        task: BriefTask { named, status: shown.status, version: task.version },
        tokens: (text.len() as f64 / BYTES_PER_TOKEN).ceil() as u64,
        text,
        left_out,
        lost_edits_total: (lost_total > lost_edits.len()).then_some(lost_total),
        lost_edits,
    };
    Ok((page, record::remarks(ws, &loaded)))
}
