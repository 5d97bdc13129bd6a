//! Checks the lease trailers of commits against the leases that the plan knows.
//!
//! Guarantees: reads commits and logs alone; what a trailer says is judged by what was granted, never by the clock.
//! Leaves to others: what else a commit does.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::context::Workspace;
use crate::engine::view::history::{self, PlanAt};
use crate::engine::view::read;
use crate::error::Result;
use crate::git::{Objects, Oid};
use crate::model::event::Entry;
use crate::model::finding::{Finding, Rule, Severity};
use crate::model::id::{Id, quoted};
use crate::model::payload::Payload;
use crate::model::trailer::{KEY, Trailer, trailers};

/// The grants of a task: fence and holder.
type Grants = BTreeMap<u64, String>;

/// The plan on the three sides that matter to a trailer.
struct Sides<'a> {
    ws: &'a Workspace,
    base: PlanAt<'a>,
    head: PlanAt<'a>,
    here: PlanAt<'a>,
    /// All tasks of the head and of the work tree.
    tasks: BTreeSet<Id>,
}

/// What is wrong with the trailers of the commits that `head` has and `base` has not.
pub(crate) fn judge(ws: &Workspace, objects: &Objects, base: Oid, head: Oid) -> Result<Vec<Finding>> {
    let mut sides: Option<Sides> = None;
    let mut findings = Vec::new();
    for commit in objects.walk(&[head], &[base], usize::MAX)? {
        let message = objects.commit(commit)?.message;
        for trailer in trailers(&String::from_utf8_lossy(&message)) {
            let found = match trailer {
                Err(value) => Some(form(format!("{KEY}: {} is not <handle>@<fence>", quoted(&value)))),
                Ok(trailer) => {
                    if sides.is_none() {
                        sides = Some(Sides::open(ws, base, head)?);
                    }
                    sides.as_ref().map(|sides| sides.judge(&trailer)).transpose()?.flatten()
                }
            };
            findings.extend(found.map(|mut finding| {
                let commit = objects.short(commit);
                finding.message = format!("commit {commit}: {}", finding.message);
                finding.commit = Some(commit);
                finding
            }));
        }
    }
    Ok(findings)
}

/// A trailer that says nothing.
fn form(message: String) -> Finding {
    Finding::new(Rule::LeaseTrailer, message).with_severity(Severity::Warning)
}

impl<'a> Sides<'a> {
    fn open(ws: &'a Workspace, base: Oid, head: Oid) -> Result<Self> {
        let (base, head, here) =
            (history::plan_at_commit(ws, base)?, history::plan_at_commit(ws, head)?, history::plan_at(ws, None)?);
        let tasks = head.tasks()?.into_iter().chain(here.tasks()?).collect();
        Ok(Sides { ws, base, head, here, tasks })
    }

    fn judge(&self, trailer: &Trailer) -> Result<Option<Finding>> {
        let Trailer { handle, fence } = trailer;
        let meant: Vec<Id> = self.tasks.iter().copied().filter(|id| is_called(*id, handle)).collect();
        let task = match meant[..] {
            [task] => task,
            [] => {
                let message = format!("{trailer}: no task of this plan is called {handle}");
                return Ok(Some(Finding::new(Rule::LeaseTrailer, message)));
            }
            _ => return Ok(Some(form(format!("{trailer}: {} tasks are called {handle}", meant.len())))),
        };
        let before = grants(&self.base.entries(task)?);
        let mut known = grants(&self.head.entries(task)?);
        known.extend(grants(&self.here.entries(task)?));
        known.extend(before.clone());
        let wrong = |message: String| Some(Finding::new(Rule::LeaseTrailer, message).task(task));
        // What another worktree of this clone was granted may not be in this one's logs yet.
        let greatest = read::recorded_lease(self.ws, task)?.fence.max(known.keys().next_back().copied().unwrap_or(0));
        if *fence > greatest {
            let most = if greatest == 0 { "none was granted".into() } else { format!("the greatest is {greatest}") };
            return Ok(wrong(format!("{trailer}: no lease of task {task} has that fence; {most}")));
        }
        let own = known.get(fence);
        let passed = before.iter().next_back().filter(|(higher, holder)| *higher > fence && Some(*holder) != own);
        Ok(passed.and_then(|(higher, holder)| {
            let whose = own.map(|own| format!(" of {own}")).unwrap_or_default();
            wrong(format!(
                "{trailer}: made under a lost lease{whose} of task {task}: {holder} was granted fence {higher} before"
            ))
        }))
    }
}

fn is_called(id: Id, handle: &str) -> bool {
    let id = id.to_string();
    id.starts_with(handle) || id.ends_with(handle)
}

fn grants(entries: &[Entry]) -> Grants {
    let granted = entries.iter().filter_map(|entry| match &entry.event.payload {
        Payload::LeaseAcquired(p) => Some((p.fence, p.holder.clone())),
        _ => None,
    });
    granted.collect()
}
