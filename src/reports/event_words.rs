//! An event in a few words, for people who read a list of events.
//!
//! Leaves to others: escaping the texts of others, and the author, the time and the reason of the event.

use serde_json::Value;

use crate::model::id::{HANDLE_MIN, Id};
use crate::model::payload::Payload;
use crate::model::relationship::RelationType;
use crate::model::task::Task;
use crate::reports::extent::beginning;
use crate::rules::lost::Lost;

/// Longest text of an event that is shown, in bytes.
const MAX_TEXT: usize = 160;

/// The text that an event holds or concerns.
enum Text<'e> {
    Own(&'e str),
    /// That of the step or context entry of this id.
    Of(Id),
}

/// What an event does, without the texts that it holds: `added a decision`.
pub fn deed(payload: &Payload) -> String {
    words(payload).0
}

/// The text that an event holds.
pub fn own_text(payload: &Payload) -> Option<&str> {
    if let Some(Text::Own(text)) = words(payload).1 { Some(text) } else { None }
}

/// What an event does, and its text.
fn words(payload: &Payload) -> (String, Option<Text<'_>>) {
    let mut text = None;
    let mut with = |held, deed: &str| {
        text = Some(held);
        deed.to_owned()
    };
    let thread = |id: Id| id.handle(HANDLE_MIN);
    let deed = match payload {
        Payload::TaskCreated(p) => {
            let title = p.fields.get("title").and_then(Value::as_str).unwrap_or_default();
            with(Text::Own(title), "created the task")
        }
        Payload::TaskUpdated(p) => {
            let names: Vec<&str> = p.set.keys().map(String::as_str).collect();
            format!("set {}", names.join(", "))
        }
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
        Payload::ProgressItemAdded(p) => with(Text::Own(&p.content), "added a step"),
        Payload::ProgressItemCompleted(p) => with(Text::Of(p.item), "completed a step"),
        Payload::ProgressItemReopened(p) => with(Text::Of(p.item), "reopened a step"),
        Payload::ContextAdded(p) => {
            with(Text::Own(&p.content), &format!("added a context entry ({})", p.kind.as_str().replace('_', " ")))
        }
        Payload::ContextSuperseded(p) => with(Text::Of(p.entry), "superseded a context entry"),
        Payload::ContextRedacted(_) => "removed the text of a context entry".into(),
        Payload::AcceptanceMet(p) => {
            with(Text::Own(&p.criterion), if p.met { "met a criterion" } else { "marked a criterion as unmet" })
        }
        Payload::TaskVerified(p) => if p.passed { "verified the result" } else { "rejected the result" }.into(),
        Payload::LeaseAcquired(p) => match &p.taken_from {
            Some(other) => format!("took the lease over from {other}"),
            None => "acquired the lease".into(),
        },
        Payload::LeaseReleased(_) => "released the lease".into(),
        Payload::LeaseOverride(p) if p.task.is_some() => {
            format!("claimed it despite {}'s work on its files", p.holder)
        }
        Payload::LeaseOverride(p) => format!("overrode the lease of {}", p.holder),
        Payload::LeaseRenewed(_) => "renewed the lease".into(),
        Payload::SourceApplied(p) => format!("recorded what {} says", p.source),
        Payload::ThreadOpened(p) => with(Text::Own(&p.body), &format!("opened a thread{}", proposing(&p.patch))),
        Payload::ThreadReplied(p) => {
            with(Text::Own(&p.body), &format!("replied in thread {}{}", thread(p.thread), proposing(&p.patch)))
        }
        Payload::ThreadResolved(p) => {
            format!("resolved thread {}: {}", thread(p.thread), p.resolution.status().as_str())
        }
        Payload::ThreadEscalated(p) => {
            let to = p.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
            format!("escalated thread {}{to}", thread(p.thread))
        }
        Payload::AgentRegistered(_) => "registered".into(),
        Payload::AgentUpdated(_) => "changed its registration".into(),
        Payload::Broadcast(p) => {
            let to = receivers(p.to.as_deref(), p.role.as_deref());
            with(Text::Own(&p.body), &format!("sent a message to {to}"))
        }
        Payload::SessionStarted(_) => "started a session".into(),
        Payload::SessionHeartbeat(_) => "gave a sign of life".into(),
        Payload::SessionEnded(_) => "ended a session".into(),
        // A newer version knows what it means.
        Payload::Unknown { kind, .. } => kind.clone(),
    };
    (deed, text)
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
    if let Payload::TaskUpdated(p) = payload {
        let values: Vec<String> = p.set.iter().map(|(name, value)| format!("{name} {value}")).collect();
        return format!("set {}", shortened(&values.join(", ")));
    }
    let (deed, text) = words(payload);
    let text = match text {
        Some(Text::Own(text)) => Some(text.to_owned()),
        Some(Text::Of(id)) => part(id),
        None => None,
    };
    match text.filter(|text| !text.is_empty()) {
        Some(text) => format!("{deed} “{}”", shortened(&text)),
        None => deed,
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
