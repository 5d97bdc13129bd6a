//! What makes a task ready, and why another is not.
//!
//! Guarantees one definition for `next`, `ready`, `claim`, lists and interfaces. Every task that is not ready has a reason.
//! Leaves to others: where the facts come from (the read model, or the stage of a command), and the state of other branches.

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::Result;
use crate::model::agent::Lease;
use crate::model::event::Author;
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::overlap::FileClaim;
use crate::model::payload::check;
use crate::model::plain::first_of;
use crate::model::settings::{BlockerEnd, Settings};
use crate::model::task::{Brief, Status, Task};
use crate::model::time::Time;
use crate::rules::attempts;
use crate::rules::lease::{is_holder, withholds};
use crate::rules::roles::{Rights, Verb};

/// The agent for which readiness is computed.
#[derive(Clone, Debug, Default)]
pub struct Viewer {
    /// The agent, in its session; `None` for the view of any agent.
    pub me: Option<Author>,
    /// The role it registered with.
    pub role: Option<String>,
    /// The store's roles.
    pub rights: Rights,
    /// The number of attempts that parks a task; 0 for none.
    pub max_attempts: u32,
}

impl Viewer {
    /// The agent's name.
    pub fn name(&self) -> Option<&str> {
        self.me.as_ref().map(|me| me.agent.as_str())
    }
}

/// The most blockers that a reason names.
const MAX_NAMED: usize = 20;
/// The most that its words name.
const MAX_WORDS: usize = 3;

/// The surroundings of an unfinished task.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The tasks that it waits for, by edges that count.
    pub blockers: &'a [Blocker],
    /// Its children that count as unfinished, by edges that count.
    pub children: OpenChildren,
    /// The lease on it, live or expired.
    pub lease: Option<&'a Lease>,
    /// The work in progress of others that its files overlap with, where that withholds it.
    pub overlaps: &'a [FileClaim],
    /// The task above it that keeps it from beginning; see [`holding_parent`](crate::rules::surroundings::holding_parent).
    pub parent: Option<HoldingParent>,
}

/// The numbers of those children of a task that count as unfinished for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenChildren {
    /// Those that are unfinished.
    pub unfinished: u64,
    /// Those whose completion awaits a review.
    pub unreviewed: u64,
}

impl OpenChildren {
    /// Counts children that count as unfinished, by whether each is finished.
    pub fn count(finished: impl IntoIterator<Item = bool>) -> Self {
        let mut counts = OpenChildren::default();
        for is_finished in finished {
            *(if is_finished { &mut counts.unreviewed } else { &mut counts.unfinished }) += 1;
        }
        counts
    }

    /// The numbers as text, with the words for one child and for several.
    pub fn words(self, one: &str, several: &str) -> String {
        let unfinished = match self.unfinished {
            0 => None,
            1 => Some(format!("1 unfinished {one}")),
            n => Some(format!("{n} unfinished {several}")),
        };
        let unreviewed = match self.unreviewed {
            0 => None,
            1 => Some(format!("1 {one} that awaits review")),
            n => Some(format!("{n} {several} that await review")),
        };
        unfinished.into_iter().chain(unreviewed).collect::<Vec<_>>().join(", ")
    }
}

/// A task that another one waits for, and what is missing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The task.
    pub id: Id,
    /// What is missing.
    pub missing: Missing,
}

/// What is missing of a blocker before the tasks that wait for it may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It is not finished.
    End,
    /// It is completed, and no other agent accepted that.
    Review,
    /// Its completion is not on the default branch of the remote.
    Landing,
}

impl Missing {
    /// What is missing of a finished task, as text; `None` for an unfinished one, whose status says it.
    pub fn words(self) -> Option<&'static str> {
        match self {
            Missing::End => None,
            Missing::Review => Some("completed, awaits review"),
            Missing::Landing => Some("completed, not on the default branch of the remote yet"),
        }
    }
}

/// What decides whether the tasks that wait for a task may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockerState {
    /// Its status.
    pub status: Status,
    /// When it was completed, if it is.
    pub completed_at: Option<Time>,
    /// Whether no other agent accepted its completion.
    pub is_unreviewed: bool,
}

impl BlockerState {
    /// That of a task whose events were dropped from the archives.
    pub const DROPPED: Self = BlockerState { status: Status::Archived, completed_at: None, is_unreviewed: false };
}

impl From<&Task> for BlockerState {
    fn from(task: &Task) -> Self {
        let is_unreviewed = task.is_unreviewed();
        BlockerState { status: task.status, completed_at: task.completed_at, is_unreviewed }
    }
}

/// What a blocker needs besides its completion before the tasks that wait for it may begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockerRules {
    /// Another agent accepted its completion.
    pub reviewed: bool,
    /// Its completion is on the default branch of the remote.
    pub landed: bool,
}

impl BlockerRules {
    /// Those of the settings.
    pub fn of(settings: &Settings) -> Self {
        BlockerRules { reviewed: settings.review.required, landed: settings.claim.blockers == BlockerEnd::Landed }
    }

    /// Whether tasks may wait for a completed one.
    pub fn hold_completed(self) -> bool {
        self.reviewed || self.landed
    }
}

/// What is missing of a blocker before the tasks that wait for it may begin; `None` if nothing is. A blocker that is not here
/// (`None`) is not finished. `has_landed` is asked only where the rules require that a completion has landed.
///
/// Errors: those of `has_landed`.
pub fn missing(
    blocker: Option<BlockerState>,
    rules: BlockerRules,
    has_landed: impl FnOnce(Time) -> Result<bool>,
) -> Result<Option<Missing>> {
    let Some(blocker) = blocker.filter(|blocker| blocker.status.is_finished()) else {
        return Ok(Some(Missing::End));
    };
    // A cancelled task leaves nothing that could land.
    let Some(at) = blocker.completed_at else { return Ok(None) };
    if rules.reviewed && blocker.is_unreviewed {
        return Ok(Some(Missing::Review));
    }
    let waits = rules.landed && !has_landed(at)?;
    Ok(waits.then_some(Missing::Landing))
}

/// Whether a child counts as unfinished for its parent: it is unfinished, or its completion awaits a review. That a completion
/// has landed is asked for tasks that wait, not for a parent.
pub fn is_open_child(child: Option<BlockerState>, rules: BlockerRules) -> bool {
    child.is_none_or(|child| !child.status.is_finished() || (rules.reviewed && child.is_unreviewed))
}

/// A deferred or blocked task, which keeps the tasks below it from beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldingParent {
    /// The task.
    pub id: Id,
    /// The time until which it is deferred; `None` if it is blocked.
    pub until: Option<Time>,
}

/// Why a task is not ready.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// Its status is not open.
    Status {
        /// The status.
        status: Status,
        /// The agent that works on it.
        owner: Option<String>,
        /// When that agent's lease expired, if it did.
        #[serde(skip_serializing_if = "Option::is_none")]
        lease_expired_at: Option<Time>,
    },
    /// It waits for other tasks.
    Blocked {
        /// The unfinished ones; the first few of many.
        by: Vec<Id>,
        /// Their number.
        total: usize,
    },
    /// It waits for completed tasks that no other agent accepted.
    AwaitingReview {
        /// These tasks; the first few of many.
        by: Vec<Id>,
        /// Their number.
        total: usize,
    },
    /// It waits for tasks whose completion is not on the default branch of the remote.
    NotLanded {
        /// These tasks; the first few of many.
        by: Vec<Id>,
        /// Their number.
        total: usize,
    },
    /// It is a planning unit with unfinished parts.
    Children {
        /// The number of the unfinished ones.
        unfinished: u64,
        /// The number of the completed ones that await a review.
        #[serde(skip_serializing_if = "is_zero")]
        unreviewed: u64,
    },
    /// An open thread withholds it from new holders.
    Thread {
        /// The thread.
        thread: Id,
    },
    /// It is deferred.
    Deferred {
        /// The time until which it is deferred.
        until: Time,
    },
    /// A task above it is deferred or blocked.
    Parent {
        /// That task.
        parent: Id,
        /// The time until which it is deferred; absent if it is blocked.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
    },
    /// It is parked: claims of it ended without completion, as many as the settings allow.
    Parked {
        /// Their number since what it asks for last changed.
        attempts: u64,
        /// What was recorded about them, where that was asked for.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// Its files overlap with those of other agents' tasks in progress.
    Overlaps {
        /// These tasks, with the files that overlap.
        with: Vec<FileClaim>,
    },
    /// It has an owner.
    Owned {
        /// The owner.
        owner: String,
    },
    /// Another agent holds its lease.
    Leased {
        /// The holder.
        holder: String,
        /// When it expires.
        until: Time,
        /// It expired in another clone, and passes only to an agent that claims this task by name.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        ran_out: bool,
    },
    /// The agent lacks a right or precedence.
    NotPermitted {
        /// The right or precedence.
        needs: String,
    },
    /// The remote reports that it was finished, by an event that is not here.
    Finished {
        /// The agent that finished it.
        by: String,
    },
    /// It is taken or finished in another worktree of this clone or on another branch.
    Elsewhere {
        /// The worktree.
        #[serde(skip_serializing_if = "Option::is_none")]
        worktree: Option<String>,
        /// The branch.
        #[serde(skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
        /// Its status there.
        status: Status,
        /// Its owner there.
        owner: Option<String>,
    },
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Reason {
    /// The reason as text.
    pub fn words(&self) -> String {
        match self {
            Reason::Status { status, owner: Some(owner), lease_expired_at: Some(at) } => {
                format!("{status} by {owner}, whose lease expired at {at}; a claim takes it over")
            }
            Reason::Status { status, owner: Some(owner), .. } => format!("{status}, {owner} works on it"),
            Reason::Status { status, owner: None, .. } => format!("it is {status}"),
            Reason::Blocked { by, total } | Reason::AwaitingReview { by, total } | Reason::NotLanded { by, total } => {
                self.words_with(&first_of(by.iter().map(|id| id.handle(HANDLE_MIN)), MAX_WORDS, *total))
            }
            Reason::Children { unfinished, unreviewed } => {
                let open = OpenChildren { unfinished: *unfinished, unreviewed: *unreviewed };
                format!("a planning unit with {}", open.words("part", "parts"))
            }
            Reason::Thread { thread } => {
                format!("withheld by the open thread {0}; agentpm thread show {0} shows it", thread.handle(HANDLE_MIN))
            }
            Reason::Deferred { until } => format!("deferred until {until}"),
            Reason::Parent { parent, until: Some(until) } => {
                format!("part of {}, which is deferred until {until}", parent.handle(6))
            }
            Reason::Parent { parent, until: None } => format!("part of {}, which is blocked", parent.handle(6)),
            Reason::Parked { attempts, notes } => {
                let ended = if *attempts == 1 { "1 claim" } else { &format!("{attempts} claims") };
                let notes = if notes.is_empty() { String::new() } else { format!(": {}", notes.join("; ")) };
                format!("parked: {ended} ended without completion{notes}")
            }
            Reason::Overlaps { with } => {
                let words: Vec<String> = with.iter().map(FileClaim::words).collect();
                format!("its files overlap: {}", words.join("; "))
            }
            Reason::Owned { owner } => format!("belongs to {owner}"),
            Reason::Leased { holder, until, ran_out: true } => {
                format!("the lease of {holder} in another clone expired at {until}; a claim takes it over")
            }
            Reason::Leased { holder, until, .. } => format!("{holder} holds it until {until}"),
            Reason::NotPermitted { needs } => format!("needs {needs}"),
            Reason::Finished { by } => format!("finished by {by}, by an event that is not here"),
            Reason::Elsewhere { worktree, branch, status, owner } => {
                let by = owner.as_ref().map(|owner| format!(" by {owner}")).unwrap_or_default();
                match (worktree, branch) {
                    (Some(worktree), _) => format!("{status}{by} in the worktree {worktree}"),
                    (None, branch) => format!("{status}{by} on the branch {}", branch.as_deref().unwrap_or("?")),
                }
            }
        }
    }

    /// The same for a task that waits for others, with these names of the others.
    pub fn words_with(&self, names: &str) -> String {
        match self {
            Reason::AwaitingReview { .. } => format!("waits for the review of {names}"),
            Reason::NotLanded { total: 1, .. } => format!("waits until {names} is on the default branch of the remote"),
            Reason::NotLanded { .. } => format!("waits until {names} are on the default branch of the remote"),
            _ => format!("waits for {names}"),
        }
    }

    /// What an event that begins the task by force states that it overrides; `None` if no force overrides it.
    pub fn overridden(&self) -> Option<&'static str> {
        match self {
            Reason::Blocked { .. } | Reason::AwaitingReview { .. } | Reason::NotLanded { .. } => Some(check::BLOCKERS),
            Reason::Children { .. } => Some(check::CHILDREN),
            Reason::Thread { .. } => Some(check::THREAD),
            Reason::Deferred { .. } => Some(check::DEFERRAL),
            Reason::Parent { .. } => Some(check::PARENT),
            Reason::Parked { .. } => Some(check::ATTEMPTS),
            Reason::Overlaps { .. } => Some(check::FILES),
            Reason::Status { .. }
            | Reason::Owned { .. }
            | Reason::Leased { .. }
            | Reason::NotPermitted { .. }
            | Reason::Finished { .. }
            | Reason::Elsewhere { .. } => None,
        }
    }

    /// The kind of reason, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::Status { .. } => "in_progress",
            Reason::Blocked { .. } => "blocked",
            Reason::AwaitingReview { .. } => "blocked_by_review",
            Reason::NotLanded { .. } => "not_landed",
            Reason::Children { .. } => "planning_units",
            Reason::Thread { .. } => "withheld_by_thread",
            Reason::Deferred { .. } => "deferred",
            Reason::Parent { .. } => "held_by_parent",
            Reason::Parked { .. } => "parked",
            Reason::Overlaps { .. } => "overlaps",
            Reason::Owned { .. } => "owned_by_others",
            Reason::Leased { ran_out: true, .. } => "lease_expired",
            Reason::Leased { .. } => "leased",
            Reason::NotPermitted { .. } => "not_permitted",
            Reason::Finished { .. } | Reason::Elsewhere { .. } => "taken_elsewhere",
        }
    }
}

/// The effective status of an unfinished task: one recorded as blocked that waits for no task is open.
pub fn counting_status(status: Status, blockers: usize) -> Status {
    if status == Status::Blocked && blockers == 0 { Status::Open } else { status }
}

/// Why a task is not ready for the agent; empty if it is.
pub fn reasons(task: &Brief, facts: Facts<'_>, viewer: &Viewer, now: Time) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let is_mine = |lease: &Lease| viewer.me.as_ref().is_some_and(|me| is_holder(lease, me));
    if let Some(lease) = facts.lease.filter(|lease| withholds(lease, now) && !is_mine(lease)) {
        reasons.push(leased(lease, now));
    }
    reasons.extend(waits(facts.blockers));
    let status = counting_status(task.status, facts.blockers.len());
    if status != Status::Open && status != Status::Blocked {
        reasons.push(Reason::Status { status, owner: task.owner.clone(), lease_expired_at: None });
    }
    if facts.children != OpenChildren::default() {
        let OpenChildren { unfinished, unreviewed } = facts.children;
        reasons.push(Reason::Children { unfinished, unreviewed });
    }
    reasons.extend(withheld(task, viewer).map(|thread| Reason::Thread { thread }));
    if let Some(until) = task.defer_until.filter(|until| *until > now) {
        reasons.push(Reason::Deferred { until });
    }
    if let Some(HoldingParent { id, until }) = facts.parent {
        reasons.push(Reason::Parent { parent: id, until });
    }
    // The work of a claim in progress is its holder's.
    let limit = u64::from(viewer.max_attempts);
    if limit > 0 && task.attempts >= limit && status != Status::InProgress {
        reasons.push(Reason::Parked { attempts: task.attempts, notes: Vec::new() });
    }
    if !facts.overlaps.is_empty() && status != Status::InProgress {
        reasons.push(Reason::Overlaps { with: facts.overlaps.to_vec() });
    }
    if let Some(owner) =
        task.owner.as_ref().filter(|owner| Some(owner.as_str()) != viewer.name() && status == Status::Open)
    {
        reasons.push(Reason::Owned { owner: owner.clone() });
    }
    reasons.extend(not_permitted(task, viewer));
    reasons
}

/// The reasons for the tasks that a task waits for: one for each kind of what is missing.
pub fn waits(blockers: &[Blocker]) -> Vec<Reason> {
    let of = |missing: Missing| -> Option<(Vec<Id>, usize)> {
        let all = || blockers.iter().filter(|blocker| blocker.missing == missing).map(|blocker| blocker.id);
        let total = all().count();
        (total > 0).then(|| (all().take(MAX_NAMED).collect(), total))
    };
    let unfinished = of(Missing::End).map(|(by, total)| Reason::Blocked { by, total });
    let unreviewed = of(Missing::Review).map(|(by, total)| Reason::AwaitingReview { by, total });
    let not_landed = of(Missing::Landing).map(|(by, total)| Reason::NotLanded { by, total });
    unfinished.into_iter().chain(unreviewed).chain(not_landed).collect()
}

/// The tasks that a task waits for, as text for a message: by their ids, which the interfaces show as handle and title.
pub fn waits_words(blockers: &[Blocker]) -> String {
    let words = waits(blockers).into_iter().map(|reason| match &reason {
        Reason::Blocked { by, total } | Reason::AwaitingReview { by, total } | Reason::NotLanded { by, total } => {
            reason.words_with(&first_of(by, MAX_WORDS, *total))
        }
        other => other.words(),
    });
    words.collect::<Vec<String>>().join("; ")
}

/// Adds what was recorded about the attempts to the reason of a parked task.
pub fn add_notes(reasons: &mut [Reason], task: &Task) {
    for reason in reasons {
        if let Reason::Parked { notes, .. } = reason {
            *notes = attempts::notes(task);
        }
    }
}

/// The open thread that withholds a task from an agent. Its present holder goes on working.
pub fn withheld(task: &Brief, viewer: &Viewer) -> Option<Id> {
    let is_theirs = task.status == Status::InProgress && task.owner.is_some() && task.owner.as_deref() == viewer.name();
    task.thread.filter(|_| !is_theirs)
}

/// The reason for a lease of another agent.
pub fn leased(lease: &Lease, now: Time) -> Reason {
    Reason::Leased { holder: lease.agent.clone(), until: lease.expires_at, ran_out: !lease.is_live(now) }
}

/// The right or precedence that a task needs and the agent lacks.
pub fn not_permitted(task: &Brief, viewer: &Viewer) -> Option<Reason> {
    let (name, role) = (viewer.name().unwrap_or(""), viewer.role.as_deref());
    let claims = Verb::Claim.as_str();
    if viewer.me.is_some() && !viewer.rights.has_perm(name, role, claims) {
        return Some(Reason::NotPermitted { needs: format!("the right {claims}") });
    }
    if let Some(perm) = task.need_perm.as_ref().filter(|perm| !viewer.rights.has_perm(name, role, perm)) {
        return Some(Reason::NotPermitted { needs: format!("the right {perm}") });
    }
    let least = task.need_precedence.filter(|least| !viewer.rights.has_precedence(name, role, *least))?;
    Some(Reason::NotPermitted { needs: format!("precedence {least}") })
}
