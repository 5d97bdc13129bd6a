//! What the rules need to know of each type of event, besides its effect (`rules::effect`).
//!
//! Guarantees that every type answers every question: no match has a default.
//! Leaves to others: what else a right depends on (`rights`), and which of several writers of a register counts (`writers`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::model::event::Event;
use crate::model::field::TaskFields;
use crate::model::id::Id;
use crate::model::payload::{
    Broadcast, Fields, LeaseAcquired, LeaseOverride, Payload, TaskStatusChanged, TaskVerified, ThreadEscalated,
    ThreadOpened, ThreadReplied, ThreadResolved,
};
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::thread::Resolution;
use crate::rules::copies::first;
use crate::rules::fields;
use crate::rules::roles::Verb;

/// What the rules need to know of a type of event.
#[derive(Clone, Copy, Debug)]
pub struct EventRules<'a> {
    /// The rights of which the usual command requires one; it requires none if there are none. `rights` knows the exceptions.
    pub rights: &'static [Verb],
    /// How the event depends on the lease of its task.
    pub lease: LeaseRule,
    /// Whether an import writes it.
    pub imported: bool,
    /// How it is undone.
    pub undo: UndoRule,
    /// Whether it adds a step or a note, which a copy of the event must not add again.
    pub adds_entry: bool,
    /// The status that it sets.
    pub status: Option<Status>,
    /// Whether it says what was done, as opposed to who does it.
    pub records_work: bool,
    /// How it changes the number of attempts.
    pub attempts: AttemptRule<'a>,
    /// What it may make ready.
    pub wakes: WakeRule,
    /// What it may say to an agent.
    pub notice: NoticeRule<'a>,
    /// What must hold of its task.
    pub condition: Condition<'a>,
}

/// How an event changes the number of attempts on a task.
#[derive(Clone, Copy, Debug)]
pub enum AttemptRule<'a> {
    /// Not at all.
    Keeps,
    /// What the task asks for is new, so that none counts.
    Resets,
    /// It ends the claim in progress.
    Ends,
    /// It passes the lease on, which may end the claim in progress.
    Passes(&'a LeaseAcquired),
}

/// What an event may make ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeRule {
    /// Nothing.
    Nothing,
    /// Its task.
    Own,
    /// Its task and those around it.
    Around,
}

/// What an event may say to an agent (`notices`).
#[derive(Clone, Copy, Debug)]
pub enum NoticeRule<'a> {
    /// Nothing.
    Nothing,
    /// It gives the task to this agent.
    Assigns(Option<&'a str>),
    /// It moves the task.
    Moves(&'a TaskStatusChanged),
    /// It grants a lease.
    Grants(&'a LeaseAcquired),
    /// It bypasses a lease.
    Overrides(&'a LeaseOverride),
    /// It judges a completion.
    Judges(&'a TaskVerified),
    /// It opens a thread.
    Opens(&'a ThreadOpened),
    /// It replies in a thread.
    Replies(&'a ThreadReplied),
    /// It resolves a thread.
    Resolves(&'a ThreadResolved),
    /// It passes a thread on.
    Escalates(&'a ThreadEscalated),
    /// It is a message.
    Sends(&'a Broadcast),
}

/// What must hold of a task for an event to be added to it (`conditions`), besides what findings about the task and about other tasks
/// say.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'a> {
    /// Nothing.
    Nothing,
    /// This text of such a part is not empty.
    Text(&'a str, &'static str),
    /// It has a blocker, where it is moved to blocked.
    Move(Status),
    /// It can have such a thread.
    Opening(&'a ThreadOpened),
    /// The thread is open, and the proposal applies.
    Reply(&'a ThreadReplied),
    /// The thread is open, and its proposal gives these values.
    Resolution(&'a ThreadResolved),
    /// The thread is open, and was not escalated.
    Escalation(&'a ThreadEscalated),
}

/// How an event depends on the lease of its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseRule {
    /// Any agent may write it, such as a note.
    Free,
    /// Its command requires the lease, but a fence does not make it void.
    Required,
    /// A change that a holder makes under its lease; void under a lost one.
    Fenced,
    /// Any agent with the right may write it, but it is void if it names a lost lease.
    Optional,
    /// As [`LeaseRule::Fenced`], but it is finished work, which counts under a lost lease too.
    Finished,
}

impl LeaseRule {
    /// Whether an event under a lease that had passed to another agent has no effect.
    pub fn is_void_once_lost(self) -> bool {
        matches!(self, LeaseRule::Fenced | LeaseRule::Optional)
    }
}

/// How an event is undone.
#[derive(Clone, Copy, Debug)]
pub enum UndoRule {
    /// By new events, with this right.
    With(Verb),
    /// Not at all. The hint names the event and the task as `{event}` and `{task}`.
    Refused(&'static str),
    /// Not at all, and the undo of a whole request passes it over: it is a record, and changes no value.
    Record(&'static str),
}

/// How the reason of an event that undoes another one begins.
const UNDO_OF: &str = "undo of ";

/// The reason of an event that undoes another one.
pub fn undo_reason(event: Id, why: Option<&str>) -> String {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    format!("{UNDO_OF}{event}{why}")
}

/// Whether an event undoes another one, by its reason.
pub fn is_undo_of(undo: &Event, event: Id) -> bool {
    undo.why
        .as_deref()
        .and_then(|why| why.strip_prefix(UNDO_OF))
        .is_some_and(|rest| rest.starts_with(&event.to_string()))
}

/// Whether an event undoes some other one, by its reason.
pub fn is_undo(event: &Event) -> bool {
    event.why.as_deref().is_some_and(|why| why.starts_with(UNDO_OF))
}

/// Name prefixes of the registers of a task's parts. A field of a newer version with such a name is not a register.
const PARTS: [&str; 3] = ["progress.", "context.", "met."];

/// The rights of which one suffices to escalate a thread.
pub const ESCALATE: &[Verb] = &[Verb::Discuss, Verb::Reply, Verb::Resolve];

impl<'a> EventRules<'a> {
    /// The rules of an event.
    pub fn of(payload: &'a Payload) -> Self {
        use LeaseRule::{Fenced, Finished, Free, Optional, Required};
        use Payload as P;
        use UndoRule::{Record, Refused, With};
        use Verb::{
            Admin, Archive, Cancel, Claim, Comment, Create, Discuss, Override, Register, Relate, Reply, Resolve,
        };
        use Verb::{Update, Verify};
        use WakeRule::{Around, Own};

        let row = |rights, lease, imported, undo| EventRules {
            rights,
            lease,
            imported,
            undo,
            adds_entry: false,
            status: None,
            records_work: false,
            attempts: AttemptRule::Keeps,
            wakes: WakeRule::Nothing,
            notice: NoticeRule::Nothing,
            condition: Condition::Nothing,
        };
        let work = |rules| EventRules { records_work: true, ..rules };
        let entry = |lease, hint, condition| {
            work(EventRules { adds_entry: true, condition, ..row(&[Comment], lease, true, Record(hint)) })
        };
        let notice = |notice, rules| EventRules { notice, ..rules };
        let from = |status| With(verb_for(status));
        let changed_nothing = Record("it changed nothing by itself; undo the change that followed it");
        match payload {
            P::TaskCreated(p) => EventRules {
                status: Some(word(&p.fields, "status").and_then(Status::from_word).unwrap_or_default()),
                wakes: Around,
                notice: NoticeRule::Assigns(word(&p.fields, "owner")),
                ..row(&[Create], Free, true, With(Cancel))
            },
            P::TaskUpdated(p) => EventRules {
                attempts: if p.unpark || is_new_aim(&p.set) { AttemptRule::Resets } else { AttemptRule::Keeps },
                wakes: if p.unpark || lets_begin(&p.set) { Own } else { WakeRule::Nothing },
                notice: NoticeRule::Assigns(word(&p.set, "owner")),
                ..work(row(&[Update], Fenced, true, With(Update)))
            },
            P::TaskStatusChanged(p) => EventRules {
                status: Some(p.to),
                attempts: match p.to {
                    Status::Open | Status::Blocked => AttemptRule::Ends,
                    Status::InProgress | Status::Completed | Status::Cancelled | Status::Archived => AttemptRule::Keeps,
                },
                wakes: Around,
                notice: NoticeRule::Moves(p),
                condition: Condition::Move(p.to),
                ..row(rights_to(p.to), if p.to == Status::Completed { Finished } else { Fenced }, true, from(p.from))
            },
            P::TaskArchived(p) => {
                EventRules { status: Some(Status::Archived), ..row(&[Archive], Fenced, false, from(p.from)) }
            }
            P::TaskReopened(p) => EventRules {
                status: Some(p.to),
                wakes: Around,
                condition: Condition::Move(p.to),
                ..row(&[Update], Fenced, false, from(p.from))
            },
            P::RelationshipAdded(p) if p.kind == RelationType::ParentOf => {
                row(&[Update, Relate], Required, true, With(Relate))
            }
            P::RelationshipAdded(_) => row(&[Relate], Required, true, With(Relate)),
            P::RelationshipRemoved(_) => EventRules { wakes: Own, ..row(&[Relate], Required, false, With(Relate)) },
            P::ProgressItemAdded(p) => {
                let hint = "mark it as completed with agentpm progress complete {event}";
                entry(Required, hint, Condition::Text(&p.content, "a progress item"))
            }
            P::ProgressItemCompleted(_) | P::ProgressItemReopened(_) => {
                work(row(&[Comment], Free, false, With(Comment)))
            }
            P::ContextAdded(p) => {
                let hint = "replace its text with agentpm context supersede {event}";
                entry(Free, hint, Condition::Text(&p.content, "a context entry"))
            }
            P::ContextSuperseded(_) => work(row(&[Comment], Free, true, With(Comment))),
            P::ContextRedacted(_) => {
                let hint = "its text was removed; record it again with agentpm context add";
                row(&[Update], Required, false, Refused(hint))
            }
            P::AcceptanceMet(p) => work(row(&[Verify], if p.met { Finished } else { Fenced }, true, With(Verify))),
            P::TaskVerified(p) => EventRules {
                // What waits for the review is ready then.
                wakes: if p.passed && p.completion.is_some() { Around } else { WakeRule::Nothing },
                notice: NoticeRule::Judges(p),
                ..row(&[Verify], Fenced, false, With(Verify))
            },
            // It changes no field, so it needs no lease.
            P::SourceApplied(_) => row(&[Create, Update], Free, true, changed_nothing),
            P::LeaseAcquired(p) => EventRules {
                attempts: AttemptRule::Passes(p),
                notice: NoticeRule::Grants(p),
                ..row(&[Claim], Free, false, Record("release it with agentpm lease release {task}"))
            },
            // An agent that is not the holder needs an override as well.
            P::LeaseReleased(_) => {
                let hint = "acquire it again with agentpm lease acquire {task}";
                EventRules { wakes: Own, ..row(&[], Free, false, Record(hint)) }
            }
            P::LeaseOverride(p) => notice(NoticeRule::Overrides(p), row(&[Override], Free, false, changed_nothing)),
            P::ThreadOpened(p) => {
                let hint = "withdraw it: agentpm thread resolve {event} --resolution reject";
                let rules = notice(NoticeRule::Opens(p), row(&[Discuss], Free, false, Record(hint)));
                EventRules { condition: Condition::Opening(p), ..rules }
            }
            P::ThreadReplied(p) => EventRules {
                adds_entry: true,
                notice: NoticeRule::Replies(p),
                condition: Condition::Reply(p),
                ..row(&[Reply], Free, false, Record("answer it: agentpm thread reply"))
            },
            P::ThreadResolved(p) => EventRules {
                // An accepted proposal changes what the task asks for as an update does.
                attempts: if is_new_aim(&p.set) { AttemptRule::Resets } else { AttemptRule::Keeps },
                wakes: Own,
                notice: NoticeRule::Resolves(p),
                condition: Condition::Resolution(p),
                ..match p.resolution {
                    Resolution::Accept => row(&[Resolve, Update], Optional, false, With(Update)),
                    Resolution::Reject | Resolution::Supersede => {
                        row(&[Resolve, Update], Free, false, Refused("open another thread on {task}"))
                    }
                }
            },
            P::ThreadEscalated(p) => {
                let rules = notice(NoticeRule::Escalates(p), row(ESCALATE, Free, false, Record("resolve the thread")));
                EventRules { condition: Condition::Escalation(p), ..rules }
            }
            P::AgentRegistered(_) | P::AgentUpdated(_) => row(&[Register], Free, false, With(Comment)),
            P::Broadcast(p) => {
                let hint = "send another message: agentpm broadcast";
                notice(NoticeRule::Sends(p), row(&[Verb::Broadcast], Free, false, Refused(hint)))
            }
            // They stay in the journal: a log holds one only where it was put there by hand.
            P::LeaseRenewed(_) | P::SessionStarted(_) | P::SessionHeartbeat(_) | P::SessionEnded(_) => {
                row(&[Admin], Free, false, With(Comment))
            }
            // Events of a newer version may be accepted only by an agent with all rights.
            P::Unknown { .. } => row(&[Admin], Free, false, Refused("a newer agentpm may support it")),
        }
    }
}

/// A text among the fields that an event sets.
fn word<'a>(set: &'a Fields, name: &str) -> Option<&'a str> {
    set.get(name).and_then(Value::as_str)
}

/// Whether what is written changes what the task asks for.
fn is_new_aim(set: &Fields) -> bool {
    ["intent", "acceptance"].iter().any(|name| set.contains_key(*name))
}

/// Whether what is written may let another agent begin the task.
fn lets_begin(set: &Fields) -> bool {
    ["owner", "defer_until", "need_perm", "need_precedence"].iter().any(|name| set.contains_key(*name))
}

/// The rights of which one suffices to move a task to a status.
pub fn rights_to(status: Status) -> &'static [Verb] {
    match status {
        Status::Completed => &[Verb::Complete],
        Status::Cancelled => &[Verb::Cancel],
        Status::Archived => &[Verb::Archive],
        Status::Open | Status::InProgress => &[Verb::Claim],
        // Reopening a blocker blocks the tasks that wait for it.
        Status::Blocked => &[Verb::Relate, Verb::Update, Verb::Claim],
    }
}

/// The right that the command for moving a task to a status requires.
pub fn verb_for(status: Status) -> Verb {
    rights_to(status)[0]
}

/// Whether an event is a change that a holder makes under its lease, unlike one that any agent may make, such as a note.
pub fn is_fenced(payload: &Payload) -> bool {
    matches!(EventRules::of(payload).lease, LeaseRule::Fenced | LeaseRule::Finished)
}

/// The status that an event sets, if any.
pub fn status_of(event: &Event) -> Option<Status> {
    EventRules::of(&event.payload).status
}

/// The registers that an event writes, with the values it leaves there. `parents` are the log's [`parent_edges`](crate::rules::register::parent_edges), `copies`
/// the task's.
pub fn writes(event: &Event, parents: &BTreeSet<Id>, copies: &BTreeMap<Id, Id>) -> Vec<(String, Value)> {
    let one = |register: &str, value: Value| vec![(register.to_owned(), value)];
    match &event.payload {
        Payload::TaskCreated(p) => {
            let mut out = plain(&p.fields);
            out.extend(status_of(event).map(|status| ("status".to_owned(), json!(status))));
            out.push(("owner".into(), p.fields.get("owner").cloned().unwrap_or_default()));
            out
        }
        Payload::TaskUpdated(p) => {
            let mut out = plain(&p.set);
            out.extend(p.set.get("owner").map(|owner| ("owner".to_owned(), owner.clone())));
            out
        }
        Payload::TaskStatusChanged(p) => {
            let mut out = one("status", json!(p.to));
            out.extend(p.owner.as_ref().map(|owner| ("owner".to_owned(), json!(owner))));
            out
        }
        Payload::TaskArchived(_) => one("status", json!(Status::Archived)),
        Payload::TaskReopened(p) => one("status", json!(p.to)),
        Payload::RelationshipAdded(p) if p.kind == RelationType::ParentOf => one("parent", json!(p.from)),
        Payload::RelationshipRemoved(p) if parents.contains(&p.relationship) => one("parent", Value::Null),
        Payload::ProgressItemAdded(p) => one(&format!("progress.{}", event.id), json!(p.completed_at.is_some())),
        Payload::ProgressItemCompleted(p) => one(&format!("progress.{}", first(copies, p.item)), json!(true)),
        Payload::ProgressItemReopened(p) => one(&format!("progress.{}", first(copies, p.item)), json!(false)),
        Payload::ContextSuperseded(p) => {
            one(&format!("context.{}", first(copies, p.entry)), json!(first(copies, p.by)))
        }
        Payload::AcceptanceMet(p) => one(&format!("met.{}", p.criterion), json!(p.met)),
        Payload::TaskVerified(p) => one("verified", json!(p.passed)),
        Payload::ThreadResolved(p) if p.resolution == Resolution::Accept => plain(&p.set),
        Payload::RelationshipAdded(_)
        | Payload::RelationshipRemoved(_)
        | Payload::ContextAdded(_)
        | Payload::ContextRedacted(_)
        | Payload::SourceApplied(_)
        | Payload::LeaseAcquired(_)
        | Payload::LeaseReleased(_)
        | Payload::LeaseOverride(_)
        | Payload::ThreadOpened(_)
        | Payload::ThreadReplied(_)
        | Payload::ThreadResolved(_)
        | Payload::ThreadEscalated(_)
        | Payload::AgentRegistered(_)
        | Payload::AgentUpdated(_)
        | Payload::Broadcast(_)
        | Payload::LeaseRenewed(_)
        | Payload::SessionStarted(_)
        | Payload::SessionHeartbeat(_)
        | Payload::SessionEnded(_)
        | Payload::Unknown { .. } => Vec::new(),
    }
}

/// The plain fields of a set, each with the value that the fold stores.
fn plain(set: &Fields) -> Vec<(String, Value)> {
    let is_plain = |name: &str| !fields::RESERVED.contains(&name) && !PARTS.iter().any(|begin| name.starts_with(begin));
    let stored = |name: &String, value: &Value| {
        let mut scratch = TaskFields::default();
        fields::write(&mut scratch, &Fields::from_iter([(name.clone(), value.clone())])).ok()?;
        Some((name.clone(), fields::value_of(&scratch, name)))
    };
    set.iter().filter(|(name, _)| is_plain(name)).filter_map(|(name, value)| stored(name, value)).collect()
}
