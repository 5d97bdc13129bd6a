//! What makes a task ready, and why another is not.
//!
//! Guarantees one definition for all who ask: `next`, `ready`, `claim`, lists and interfaces. Every task that is not ready has a reason.
//! Leaves to others: where the facts come from (the read model, or the stage of a command), and what other branches say.

use serde::Serialize;

use crate::model::agent::Lease;
use crate::model::event::Author;
use crate::model::id::Id;
use crate::model::task::{Brief, Status};
use crate::model::time::Time;
use crate::rules::lease::{is_holder, withholds};
use crate::rules::roles::{Rights, Verb};

/// Who asks for work.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// The agent, in its session; unknown askers get what anyone would.
    pub me: Option<Author>,
    /// The role it registered with.
    pub role: Option<String>,
    /// What the store's roles permit.
    pub rights: Rights,
}

impl Asker {
    /// The agent's name.
    pub fn name(&self) -> Option<&str> {
        self.me.as_ref().map(|me| me.agent.as_str())
    }
}

/// Most blockers that a reason names.
const MAX_NAMED: usize = 20;

/// What stands around an unfinished task.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The unfinished tasks that it waits for, by edges that count.
    pub blockers: &'a [Id],
    /// How many unfinished children it has, by edges that count.
    pub children: u64,
    /// The lease on it, live or run out.
    pub lease: Option<&'a Lease>,
}

/// Why a task is not ready.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// Its status is not open.
    Status {
        /// The status.
        status: Status,
        /// Who works on it.
        owner: Option<String>,
        /// When the lease of whoever works on it ran out, if it did.
        #[serde(skip_serializing_if = "Option::is_none")]
        lease_expired_at: Option<Time>,
    },
    /// It waits for other tasks.
    Blocked {
        /// The unfinished ones; of many the first few.
        by: Vec<Id>,
        /// How many they are.
        total: usize,
    },
    /// It is a planning unit with unfinished parts.
    Children {
        /// How many.
        unfinished: u64,
    },
    /// Its time has not come.
    Deferred {
        /// When it comes.
        until: Time,
    },
    /// It is somebody's.
    Owned {
        /// Whose.
        owner: String,
    },
    /// Another holds its lease.
    Leased {
        /// Who.
        holder: String,
        /// Until when.
        until: Time,
        /// It ran out in another clone, and passes only to who asks for just this task.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        ran_out: bool,
    },
    /// The asker lacks a right or precedence.
    NotPermitted {
        /// What is needed.
        needs: String,
    },
    /// The remote says that it was finished, by an event that is not here.
    Finished {
        /// By whom.
        by: String,
    },
    /// It is taken or finished in another worktree of this clone or on another branch.
    Elsewhere {
        /// In which worktree.
        #[serde(skip_serializing_if = "Option::is_none")]
        worktree: Option<String>,
        /// On which branch.
        #[serde(skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
        /// Its status there.
        status: Status,
        /// Whose it is there.
        owner: Option<String>,
    },
}

impl Reason {
    /// The reason in a few words.
    pub fn words(&self) -> String {
        match self {
            Reason::Status { status, owner: Some(owner), lease_expired_at: Some(at) } => {
                format!("{status} by {owner}, whose lease ran out at {at}; a claim takes it over")
            }
            Reason::Status { status, owner: Some(owner), .. } => format!("{status}, {owner} works on it"),
            Reason::Status { status, owner: None, .. } => format!("it is {status}"),
            Reason::Blocked { by, total } => {
                let handles: Vec<String> = by.iter().take(3).map(|id| id.handle(6)).collect();
                let more = if *total > 3 { format!(" and {} more", total - 3) } else { String::new() };
                format!("waits for {}{more}", handles.join(", "))
            }
            Reason::Children { unfinished: n } => format!("a planning unit with {}", unfinished(*n as usize, "part")),
            Reason::Deferred { until } => format!("deferred until {until}"),
            Reason::Owned { owner } => format!("belongs to {owner}"),
            Reason::Leased { holder, until, ran_out: true } => {
                format!("the lease of {holder} in another clone ran out at {until}; a claim takes it over")
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

    /// The kind of reason, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::Status { .. } => "in_progress",
            Reason::Blocked { .. } => "blocked",
            Reason::Children { .. } => "planning_units",
            Reason::Deferred { .. } => "deferred",
            Reason::Owned { .. } => "owned_by_others",
            Reason::Leased { .. } => "leased",
            Reason::NotPermitted { .. } => "not_permitted",
            Reason::Finished { .. } | Reason::Elsewhere { .. } => "taken_elsewhere",
        }
    }
}

/// A number of unfinished things.
pub fn unfinished(n: usize, what: &str) -> String {
    format!("{n} unfinished {what}{}", if n == 1 { "" } else { "s" })
}

/// The status of an unfinished task as it counts: one that is blocked by nothing unfinished is open.
pub fn counting_status(status: Status, unfinished_blockers: usize) -> Status {
    if status == Status::Blocked && unfinished_blockers == 0 { Status::Open } else { status }
}

/// Why a task is not ready for the asker; empty where it is.
pub fn reasons(task: &Brief, facts: Facts<'_>, asker: &Asker, now: Time) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let is_mine = |lease: &Lease| asker.me.as_ref().is_some_and(|me| is_holder(lease, me));
    if let Some(lease) = facts.lease.filter(|lease| withholds(lease, now) && !is_mine(lease)) {
        reasons.push(leased(lease, now));
    }
    if !facts.blockers.is_empty() {
        let by = facts.blockers.iter().take(MAX_NAMED).copied().collect();
        reasons.push(Reason::Blocked { by, total: facts.blockers.len() });
    }
    let status = counting_status(task.status, facts.blockers.len());
    if status != Status::Open && status != Status::Blocked {
        reasons.push(Reason::Status { status, owner: task.owner.clone(), lease_expired_at: None });
    }
    if facts.children > 0 {
        reasons.push(Reason::Children { unfinished: facts.children });
    }
    if let Some(until) = task.defer_until.filter(|until| *until > now) {
        reasons.push(Reason::Deferred { until });
    }
    if let Some(owner) =
        task.owner.as_ref().filter(|owner| Some(owner.as_str()) != asker.name() && status == Status::Open)
    {
        reasons.push(Reason::Owned { owner: owner.clone() });
    }
    reasons.extend(not_permitted(task, asker));
    reasons
}

/// The reason that a lease is.
pub fn leased(lease: &Lease, now: Time) -> Reason {
    Reason::Leased { holder: lease.agent.clone(), until: lease.expires_at, ran_out: !lease.is_live(now) }
}

/// What the asker lacks that a task needs.
pub fn not_permitted(task: &Brief, asker: &Asker) -> Option<Reason> {
    let (name, role) = (asker.name().unwrap_or(""), asker.role.as_deref());
    let claims = Verb::Claim.as_str();
    if asker.me.is_some() && !asker.rights.has_perm(name, role, claims) {
        return Some(Reason::NotPermitted { needs: format!("the right {claims}") });
    }
    if let Some(perm) = task.need_perm.as_ref().filter(|perm| !asker.rights.has_perm(name, role, perm)) {
        return Some(Reason::NotPermitted { needs: format!("the right {perm}") });
    }
    let least = task.need_precedence.filter(|least| !asker.rights.has_precedence(name, role, *least))?;
    Some(Reason::NotPermitted { needs: format!("precedence {least}") })
}
