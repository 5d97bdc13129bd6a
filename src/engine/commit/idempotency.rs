//! Idempotency keys: a call that is repeated with its key happens once, and answers as it did the first time.
//!
//! Guarantees that a key counts for one agent (or for all) and one operation in this clone for 30 days, that the same key with other arguments
//! is refused, and that a refused call uses no key. The record of a change is in its journal record, so it is known if and only if
//! the change happened; that of other work is written after it.
//! Leaves to others: where the records are kept (`runtime::records`).

use std::time::Duration;

use serde_json::{Value, json};

use super::write;
use crate::engine::context::Workspace;
use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::model::args::Ref;
use crate::model::command::Command;
use crate::model::id::quoted;
use crate::reports::changed::Changed;
use crate::rules::decide::{Needs, PlanNeed, Subject, needs};
use crate::runtime::journal::KeyRecord;
use crate::runtime::lock::Lock;
use crate::runtime::records;

/// The longest key, in bytes.
const MAX_KEY: usize = 1_024;
/// The largest receipt that is kept, in bytes.
const MAX_RECEIPT: usize = 64 * 1_024;

/// The key of a call.
#[derive(Clone, Debug)]
pub struct Key {
    key: String,
    op: &'static str,
    /// The digest of the arguments.
    request: String,
    /// Whether the call is the same by whichever agent.
    of_anyone: bool,
}

/// In place of an agent in the record of a call that is the same by whichever agent: no name of an agent is empty.
const ANYONE: &str = "";

/// What the write path carries out.
#[derive(Clone, Copy)]
pub(crate) enum Action<'a> {
    /// A command.
    Command(&'a Command),
    /// Decisions that no command makes, under this name.
    Named(&'static str),
}

impl<'a> Action<'a> {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Action::Command(command) => command.op(),
            Action::Named(name) => name,
        }
    }

    /// The command, if it is one.
    pub fn command(self) -> Option<&'a Command> {
        match self {
            Action::Command(command) => Some(command),
            Action::Named(_) => None,
        }
    }

    /// What is read before it is decided.
    pub fn needs(self) -> Needs<'a> {
        self.command().map(needs).unwrap_or_default()
    }

    /// Whether it chooses a task to claim.
    pub fn chooses(self) -> bool {
        self.needs().plan == PlanNeed::Ranking
    }
}

/// An action, and the key under which it happens once.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    pub action: Action<'a>,
    pub key: Option<&'a Key>,
}

impl<'a> From<&'a Command> for Order<'a> {
    fn from(command: &'a Command) -> Self {
        Order { action: Action::Command(command), key: None }
    }
}

impl From<&'static str> for Order<'_> {
    fn from(name: &'static str) -> Self {
        Order { action: Action::Named(name), key: None }
    }
}

impl Key {
    /// The key of a call of an operation with these arguments.
    ///
    /// Errors: `ERR_USAGE` for an empty key or one that is too long.
    pub fn new(key: &str, op: &'static str, args: &Value) -> Result<Self> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(Error::usage(format!("an idempotency key has 1 to {MAX_KEY} bytes, not {}", key.len()))
                .hint("use a random id, and the same one when the call is repeated"));
        }
        Ok(Key { key: key.to_owned(), op, request: records::digest(&format!("{op} {args}")), of_anyone: false })
    }

    /// The same key for every agent: for work that two agents may find at once, and one of them does.
    pub(crate) fn of_anyone(self) -> Self {
        Key { of_anyone: true, ..self }
    }

    fn agent<'a>(&self, agent: &'a str) -> &'a str {
        if self.of_anyone { ANYONE } else { agent }
    }

    /// The earlier call of this agent with this key, if there was one.
    ///
    /// Errors: `ERR_CONFLICT` if it had other arguments.
    pub(crate) fn earlier(&self, ws: &Workspace, runtime: &Dir, agent: &str) -> Result<Option<KeyRecord>> {
        let known = records::key(runtime, self.agent(agent), self.op, &self.key, ws.env.now())?;
        match known {
            Some(known) if known.request != self.request => Err(Error::new(
                Code::Conflict,
                format!("the idempotency key {} was used for another call of {}", quoted(&self.key), self.op),
            )
            .with(json!({ "key": self.key, "result": known.result, "at": known.at }))
            .hint("use a new key for a new call")),
            known => Ok(known),
        }
    }

    /// The refusal of a repeated call whose result is on another branch.
    pub(crate) fn not_here(&self, id: impl std::fmt::Display) -> Error {
        let message =
            format!("the idempotency key {} changed task {id}, which is not in this work tree", quoted(&self.key));
        Error::new(Code::Conflict, message)
            .with(json!({ "key": self.key, "result": id.to_string() }))
            .hint("merge the branch that has it, or use a new key for a new task")
    }

    /// The record of a call with this key and its short answer.
    pub(crate) fn record(&self, ws: &Workspace, agent: &str, subject: Option<Subject>, answer: &Changed) -> KeyRecord {
        let id = subject.as_ref().and_then(Subject::id).map(|id| id.to_string());
        KeyRecord {
            key: self.key.clone(),
            request: self.request.clone(),
            result: Ref(id.unwrap_or_default()),
            agent: self.agent(agent).to_owned(),
            op: self.op.to_owned(),
            at: ws.env.now(),
            subject,
            // Plain data can be written as JSON.
            receipt: bounded(serde_json::to_value(answer).unwrap_or_default()),
        }
    }
}

/// A receipt without what is too much: the last items of a list, or the values of changed fields.
fn bounded(mut receipt: Value) -> Value {
    let length = receipt.to_string().len();
    if length <= MAX_RECEIPT {
        return receipt;
    }
    match &mut receipt {
        Value::Object(map) => {
            if let Some(Value::Array(items)) = map.get_mut("items") {
                items.truncate(items.len() * MAX_RECEIPT / length / 2);
            } else {
                map.retain(|_, value| value.to_string().len() <= MAX_RECEIPT / 64);
            }
            map.insert("truncated".into(), json!(true));
            receipt
        }
        _ => Value::Null,
    }
}

/// Does work on the store that is harmless to repeat, such as a repair, once for a key: a repetition gets the answer of the first
/// call, after that one has ended. A call that was killed before it answered does the rest of its work when it is repeated.
///
/// Errors: those of the work; `ERR_CONFLICT` if the key was used with other arguments, `ERR_BUSY` if the first call takes too long.
pub fn once<T>(
    ws: &Workspace,
    key: &Key,
    work: impl FnOnce() -> Result<T>,
    answer: impl FnOnce(&T) -> Value,
) -> Result<std::result::Result<T, Value>> {
    let agent = ws.author()?.agent;
    let runtime = ws.runtime_to_write()?;
    // A client that gave up waiting repeats a call that may still be carried out.
    let name = records::digest(&format!("{agent} {} {}", key.op, key.key));
    let wait = Duration::from_millis(ws.settings.lock.wait_ms.into());
    let alone = Lock::take_named(&runtime, &format!("key-{}", &name[..16]), wait, &agent)?;
    let once = || {
        if let Some(known) = key.earlier(ws, &runtime, &agent)? {
            return Ok(Err(known.receipt));
        }
        let done = work()?;
        let record = key.record(ws, &agent, None, &Changed::Repeated(answer(&done)));
        if let Err(e) = write::under_lock(ws, &agent, |runtime, _, _| records::write_key(runtime, &record)) {
            ws.notice(format!("done, but the idempotency key was not recorded: {}", e.message));
        }
        Ok(Ok(done))
    };
    let outcome = once();
    alone.retire(&runtime);
    outcome
}
