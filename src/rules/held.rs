//! The one rule for the task that an agent means where it names none: the task it holds.
//!
//! Guarantees that commands and questions, which find the tasks in different ways, choose the same one or refuse alike.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::error::{Code, Error, Result};
use crate::model::agent::LeaseRecord;
use crate::model::event::Author;
use crate::model::id::Id;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::lease::{Standing, standing};

/// Most tasks that a refusal names.
const MAX_NAMED: usize = 20;
/// Longest title in a refusal, in bytes.
const MAX_TITLE: usize = 200;

/// A task by its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NamedTask {
    /// Its id.
    pub id: Id,
    /// Its shortest unique handle.
    pub handle: String,
    /// Its title; the beginning of a long one.
    pub title: String,
}

impl NamedTask {
    /// A task of this title.
    pub fn new(id: Id, handle: String, title: &str) -> Self {
        let begin = &title[..title.floor_char_boundary(MAX_TITLE)];
        let more = if begin.len() < title.len() { "…" } else { "" };
        NamedTask { id, handle, title: format!("{begin}{more}") }
    }

    /// Handle and title, for messages.
    pub fn words(&self) -> String {
        format!("{} ({})", self.handle, self.title)
    }
}

/// Whether an agent holds a task. It does while a lease of its own is live, or expired and not taken over. It also does
/// where it owns a task in progress that no agent has a lease of.
pub fn is_held(status: Status, owner: Option<&str>, record: &LeaseRecord, me: &Author, now: Time) -> bool {
    match standing(record, me, now) {
        Standing::Mine(_) | Standing::MineExpired(_) => !status.is_finished(),
        Standing::Free => status == Status::InProgress && owner == Some(&me.agent),
        Standing::Others(_) | Standing::OthersExpired(_) => false,
    }
}

/// The one task of those that an agent holds.
///
/// Errors: `ERR_NOT_FOUND` for none; `ERR_AMBIGUOUS_ID` for several, with their handles and titles.
pub fn only_one(agent: &str, held: &[Id], name: impl FnMut(Id) -> Result<NamedTask>) -> Result<Id> {
    match held {
        [id] => Ok(*id),
        [] => Err(Error::not_found(format!("{agent} holds no task"))
            .hint("name a task, or claim one with agentpm next --claim")),
        _ => {
            let named = held.iter().take(MAX_NAMED).copied().map(name).collect::<Result<Vec<NamedTask>>>()?;
            let mut list: Vec<String> = named.iter().map(|task| format!("{} {}", task.handle, task.title)).collect();
            if held.len() > named.len() {
                list.push(format!("and {} more", held.len() - named.len()));
            }
            let message = format!("{agent} holds {} tasks: {}", held.len(), list.join("; "));
            Err(Error::new(Code::AmbiguousId, message)
                .with(json!({ "candidates": named, "total": held.len() }))
                .hint("name the one you mean"))
        }
    }
}
