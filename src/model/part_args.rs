//! Arguments of the changes of a task's parts: progress, context, threads.
//!
//! The doc comments are the help texts.
//! Leaves to others: the list of changes, and those of a task itself (`command`).

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::args::{Duration, Object, Patch, Ref, Refs, TaskRef, TaskTexts, Text, ThreadRef};
use crate::model::command::Guard;
use crate::model::context::ContextType;
use crate::model::message_args::{ResolutionChoice, TaskMessage, ThreadMessage};

/// Add a progress item
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[command(
    after_help = "Examples:\n  agentpm progress add 'parser done'\n  agentpm progress add 7XK2Q1 'parser done' --done"
)]
pub struct ProgressAdd {
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub what: TaskTexts,
    /// Add the item as completed
    #[arg(long)]
    #[serde(default)]
    pub done: bool,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Complete progress items
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[command(
    after_help = "Examples:\n  agentpm progress complete 9Q0R4S\n  agentpm progress complete 9Q0R4S 3MZ8TT\n  agentpm progress complete 7XK2Q1 1,2"
)]
pub struct ProgressComplete {
    /// Progress items of one task: ids, numbers from 1 or texts, after the id of the task if you do not hold it
    #[command(flatten)]
    pub id: Refs,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Reopen progress items
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[command(after_help = "Example:\n  agentpm progress reopen 9Q0R4S")]
pub struct ProgressReopen {
    /// Progress items of one task: ids, numbers from 1 or texts, after the id of the task if you do not hold it
    #[command(flatten)]
    pub id: Refs,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Add a context entry: a decision, an attempt, an outcome, a note
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContextAdd {
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub what: TaskTexts,
    /// Type: decision, rationale, attempt, outcome, blocker, note, reference or user_input
    #[arg(long = "type", value_name = "TYPE", default_value = "note")]
    #[serde(rename = "type", default = "note")]
    pub kind: ContextType,
    /// Metadata, as a JSON object
    #[arg(long, value_name = "JSON")]
    #[serde(default)]
    pub metadata: Option<Object>,
}

/// The default type of an entry.
fn note() -> ContextType {
    ContextType::Note
}

/// Replace a context entry with a newer one
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[command(after_help = "Example:\n  agentpm context supersede 9Q0R4S --content 'fcntl after all'")]
pub struct ContextSupersede {
    /// Older entry
    #[command(flatten)]
    pub id: TaskRef,
    /// Text of the newer entry; its type is that of the older one
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub content: Text,
}

/// Remove the text of a context entry from the plan; git history, other clones and this clone's journal may still hold it
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[command(after_help = "Example:\n  agentpm context redact 9Q0R4S --reason 'held a token'")]
pub struct ContextRedact {
    /// Entry
    #[command(flatten)]
    pub id: TaskRef,
    /// Reason
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Text,
}

/// A proposed change of a task.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Proposal {
    /// Proposed change of the task, as a JSON Patch (RFC 6902); on the command line a file, or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "set")]
    pub patch: Option<Patch>,
    /// Proposed value of a field (repeatable); metadata.NAME sets one entry of the metadata
    #[arg(long, value_name = "FIELD=VALUE", allow_hyphen_values = true)]
    pub set: Vec<String>,
}

/// Open a thread about a task, with or without a proposed change
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[command(
    after_help = "Examples:\n  agentpm thread open 7XK2Q1 --body 'Is this urgent?' --set priority=3\n  agentpm thread open 7XK2Q1 --body @question.md --patch change.json --no-hold"
)]
pub struct ThreadOpen {
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub what: TaskMessage,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub proposal: Proposal,
    /// Time to live: seconds, or 90s, 10m, 2h, 1d (default: [thread] ttl)
    #[arg(long, value_name = "DURATION")]
    #[serde(default)]
    pub ttl: Option<Duration>,
    /// Permission that an agent needs to resolve it (roles.yml)
    #[arg(long, value_name = "PERM")]
    #[serde(default)]
    pub need_perm: Option<String>,
    /// Least precedence that an agent needs to resolve it (roles.yml)
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    #[serde(default)]
    pub need_precedence: Option<i64>,
    /// Keep the task on offer while the thread is open
    #[arg(long)]
    #[serde(default)]
    pub no_hold: bool,
}

/// Reply in a thread, with or without a counter-proposal
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[command(
    after_help = "Examples:\n  agentpm thread reply 9Q0R4S --body 'no, it can wait'\n  agentpm thread reply 9Q0R4S --body 'rather 2' --set priority=2"
)]
pub struct ThreadReply {
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub what: ThreadMessage,
    /// Message that it answers (default: the first)
    #[arg(long, value_name = "MESSAGE")]
    #[serde(default)]
    pub parent: Option<Ref>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub proposal: Proposal,
}

/// Resolve a thread: accept a proposal or an answer, reject it, or let another thread take its place
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[command(
    after_help = "Examples:\n  agentpm thread resolve 9Q0R4S --resolution accept\n  agentpm thread resolve 9Q0R4S --resolution reject --why 'not needed'"
)]
pub struct ThreadResolve {
    /// Thread
    #[command(flatten)]
    pub thread: ThreadRef,
    /// Resolution: accept, reject or supersede
    #[command(flatten)]
    pub resolution: ResolutionChoice,
    /// Message whose proposal is accepted, or of a thread without one the answer (default: the newest)
    #[arg(long, value_name = "MESSAGE")]
    #[serde(default)]
    pub message: Option<Ref>,
    /// Change to apply instead of the proposed one, as a JSON Patch; on the command line a file, or - for standard input
    #[arg(long, value_name = "FILE")]
    #[serde(default)]
    pub patch: Option<Patch>,
    /// Thread that takes its place
    #[arg(long, value_name = "THREAD")]
    #[serde(default)]
    pub by: Option<Ref>,
    /// Reason; recorded in the history
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    #[serde(default)]
    pub why: Option<Text>,
}

/// Pass a thread on to the owner of its task, or to another agent
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[command(after_help = "Example:\n  agentpm thread escalate 9Q0R4S --to lead")]
pub struct ThreadEscalate {
    /// Thread
    #[command(flatten)]
    pub thread: ThreadRef,
    /// Agent that is to decide, and may (default: the owner of the task, or [thread] escalate_to)
    #[arg(long, value_name = "AGENT")]
    #[serde(default)]
    pub to: Option<String>,
    /// Reason; recorded in the history
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    #[serde(default)]
    pub why: Option<Text>,
}
