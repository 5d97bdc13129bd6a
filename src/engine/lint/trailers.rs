//! Checks the lease trailers of commits against the leases that the plan knows.
//!
//! Guarantees: compares a trailer with the leases that were granted, whatever the time.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use super::base::Branch;
use super::permitted::Gate;
use crate::engine::context::Workspace;
use crate::engine::view::history::{self, PlanAt};
use crate::engine::view::read;
use crate::error::Result;
use crate::git::Oid;
use crate::model::event::Entry;
use crate::model::finding::{Finding, Rule, Severity};
use crate::model::id::{Id, quoted};
use crate::model::trailer::{KEY, Trailer, trailers};

/// The grants of a task: fence and holder.
type Grants = BTreeMap<u64, String>;

/// The plan at the base, at the head, and in the work tree.
struct Sides<'a> {
    ws: &'a Workspace,
    base: PlanAt<'a>,
    head: PlanAt<'a>,
    here: PlanAt<'a>,
    /// All tasks of the head and of the work tree.
    tasks: BTreeSet<Id>,
}

/// The findings about the trailers of a branch's commits.
pub(crate) fn check(branch: &Branch<'_>, _: &Gate<'_>, found: &mut Found) -> Result<()> {
    let Branch { ws, objects, base, head, .. } = *branch;
    let mut sides: Option<Sides> = None;
    for commit in objects.walk(&[head], &[base], usize::MAX)? {
        let message = objects.commit(commit)?.message;
        for trailer in trailers(&String::from_utf8_lossy(&message)) {
            let wrong = match trailer {
                Err(value) => Some(form(format!("{KEY}: {} is not <handle>@<fence>", quoted(&value)))),
                Ok(trailer) => {
                    if sides.is_none() {
                        sides = Some(Sides::open(ws, base, head)?);
                    }
                    sides.as_ref().map(|sides| sides.judge(&trailer)).transpose()?.flatten()
                }
            };
            found.findings.extend(wrong.map(|mut finding| {
                let commit = objects.short(commit);
                finding.message = format!("commit {commit}: {}", finding.message);
                finding.commit = Some(commit);
                finding
            }));
        }
    }
    Ok(())
}

/// The finding about a trailer that names no lease.
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
        // A lease of another worktree of this clone may not be in this one's logs yet.
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
    entries.iter().filter_map(|entry| entry.event.payload.grant()).map(|p| (p.fence, p.holder.clone())).collect()
}
