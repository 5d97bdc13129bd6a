//! An event in a few words, for people who read a list of events.
//!
//! Leaves to others: escaping the texts of others, and the author, the time and the reason of the event.

use serde_json::Value;

use crate::model::id::{HANDLE_MIN, Id};
use crate::model::payload::{Fields, Payload};
use crate::model::relationship::RelationType;
use crate::model::task::Task;
use crate::reports::extent::beginning;
use crate::rules::lost::Lost;

/// Longest text of an event that is shown, in bytes.
const MAX_TEXT: usize = 160;

/// What an event does, without the texts that it holds: `added a decision`.
pub fn deed(payload: &Payload) -> String {
    let names = |fields: &Fields| fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    match payload {
        Payload::TaskCreated(_) => "created the task".into(),
        Payload::TaskUpdated(p) => format!("set {}", names(&p.set)),
        Payload::TaskStatusChanged(p) if p.from == p.to => format!("kept it {}", p.to),
        Payload::TaskStatusChanged(p) => format!("moved it from {} to {}", p.from, p.to),
        Payload::TaskArchived(_) => "archived the task".into(),
        Payload::TaskReopened(_) => "reopened the task".into(),
        Payload::RelationshipAdded(p) => {
            let (from, to) = (p.from.handle(HANDLE_MIN), p.to.handle(HANDLE_MIN));
            match p.kind {
                RelationType::ParentOf => format!("put {to} below {from}"),
                RelationType::Blocks => format!("made {to} wait for {from}"),
                RelationType::RelatesTo | RelationType::Duplicates => {
                    format!("recorded that {from} {} {to}", p.kind.as_str().replace('_', " "))
                }
            }
        }
        Payload::RelationshipRemoved(_) => "removed a relationship".into(),
        Payload::ProgressItemAdded(_) => "added a step".into(),
        Payload::ProgressItemCompleted(_) => "completed a step".into(),
        Payload::ProgressItemReopened(_) => "reopened a step".into(),
        Payload::ContextAdded(p) => format!("added a context entry ({})", p.kind.as_str().replace('_', " ")),
        Payload::ContextSuperseded(_) => "superseded a context entry".into(),
        Payload::ContextRedacted(_) => "removed the text of a context entry".into(),
        Payload::AcceptanceMet(p) if p.met => "met a criterion".into(),
        Payload::AcceptanceMet(_) => "marked a criterion as unmet".into(),
        Payload::TaskVerified(p) if p.passed => "verified the result".into(),
        Payload::TaskVerified(_) => "rejected the result".into(),
        Payload::LeaseAcquired(p) => match &p.taken_from {
            Some(other) => format!("took the lease over from {other}"),
            None => "acquired the lease".into(),
        },
        Payload::LeaseReleased(_) => "released the lease".into(),
        Payload::LeaseOverride(p) if p.task.is_some() => format!("claimed it despite {}'s work on its files", p.holder),
        Payload::LeaseOverride(p) => format!("overrode the lease of {}", p.holder),
        Payload::LeaseRenewed(_) => "renewed the lease".into(),
        Payload::SourceApplied(p) => format!("recorded what {} says", p.source),
        Payload::ThreadOpened(p) => format!("opened a thread{}", proposing(&p.patch)),
        Payload::ThreadReplied(p) => {
            format!("replied in thread {}{}", p.thread.handle(HANDLE_MIN), proposing(&p.patch))
        }
        Payload::ThreadResolved(p) => {
            format!("resolved thread {}: {}", p.thread.handle(HANDLE_MIN), p.resolution.status().as_str())
        }
        Payload::ThreadEscalated(p) => {
            let to = p.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
            format!("escalated thread {}{to}", p.thread.handle(HANDLE_MIN))
        }
        Payload::AgentRegistered(_) => "registered".into(),
        Payload::AgentUpdated(_) => "changed its registration".into(),
        Payload::Broadcast(p) => format!("sent a message to {}", receivers(p.to.as_deref(), p.role.as_deref())),
        Payload::SessionStarted(_) => "started a session".into(),
        Payload::SessionHeartbeat(_) => "gave a sign of life".into(),
        Payload::SessionEnded(_) => "ended a session".into(),
        // A newer version knows what it means.
        Payload::Unknown { kind, .. } => kind.clone(),
    }
}

fn proposing(patch: &Value) -> &'static str {
    if patch.is_null() { "" } else { " with a proposal" }
}

/// The receivers of a message.
pub fn receivers(to: Option<&str>, role: Option<&str>) -> String {
    match (to, role) {
        (Some(agent), _) => agent.to_owned(),
        (None, Some(role)) => format!("the agents of the role {role}"),
        (None, None) => "all agents".into(),
    }
}

/// What an event does, with the beginning of its text. `part` gives the text of the step or context entry of an id.
pub fn describe(payload: &Payload, part: impl Fn(Id) -> Option<String>) -> String {
    let text = match payload {
        Payload::TaskCreated(p) => p.fields.get("title").and_then(Value::as_str).map(str::to_owned),
        Payload::TaskUpdated(p) => {
            let values: Vec<String> = p.set.iter().map(|(name, value)| format!("{name} {value}")).collect();
            return format!("set {}", shortened(&values.join(", ")));
        }
        Payload::ProgressItemAdded(p) => Some(p.content.clone()),
        Payload::ProgressItemCompleted(p) => part(p.item),
        Payload::ProgressItemReopened(p) => part(p.item),
        Payload::ContextAdded(p) => Some(p.content.clone()),
        Payload::ContextSuperseded(p) => part(p.entry),
        Payload::AcceptanceMet(p) => Some(p.criterion.clone()),
        Payload::ThreadOpened(p) => Some(p.body.clone()),
        Payload::ThreadReplied(p) => Some(p.body.clone()),
        Payload::Broadcast(p) => Some(p.body.clone()),
        _ => None,
    };
    match text.filter(|text| !text.is_empty()) {
        Some(text) => format!("{} “{}”", deed(payload), shortened(&text)),
        None => deed(payload),
    }
}

/// The text of a step or context entry of a task; `None` where it was removed.
pub fn part_text(task: &Task, part: Id) -> Option<String> {
    let step = task.progress.get(&part).map(|item| &item.content);
    let text = step.or_else(|| task.context.get(&part).map(|entry| &entry.content));
    text.filter(|text| !text.is_empty()).cloned()
}

/// What is at stake where a value lost to a concurrent one.
pub fn describe_lost(task: &Task, edit: &Lost) -> String {
    let part = |id: &str| id.parse().ok().and_then(|id| part_text(task, id)).unwrap_or_default();
    let name = match edit.field.split_once('.') {
        Some(("progress", id)) => format!("step “{}”", shortened(&part(id))),
        Some(("context", id)) => format!("context entry “{}”", shortened(&part(id))),
        Some(("met", criterion)) => format!("criterion “{}”", shortened(criterion)),
        _ => edit.field.clone(),
    };
    let value = |value: &Value| match (edit.field.split_once('.').map(|(kind, _)| kind), value) {
        (_, Value::Null) => "nothing".to_owned(),
        (Some("progress"), Value::Bool(done)) => if *done { "done" } else { "not done" }.into(),
        (Some("met"), Value::Bool(met)) => if *met { "met" } else { "not met" }.into(),
        (_, Value::String(text)) => format!("“{}”", shortened(text)),
        (_, other) => shortened(&other.to_string()),
    };
    let (lost, won) = (&edit.lost, &edit.won);
    format!("{name}: {} by {} lost to {} by {}", value(&lost.value), lost.agent, value(&won.value), won.agent)
}

/// The beginning of a text, on one line.
pub fn shortened(text: &str) -> String {
    let begin = beginning(text, MAX_TEXT);
    let more = if begin.len() < text.len() { "…" } else { "" };
    begin.split_whitespace().collect::<Vec<_>>().join(" ") + more
}
