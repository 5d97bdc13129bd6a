//! Checks the lease trailers of commits against the leases that the plan knows.
//!
//! Guarantees: compares a trailer with the leases that were granted, whatever the time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

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
    tasks: TaskNames,
    /// The grants of the tasks that trailers named so far.
    grants: RefCell<BTreeMap<Id, Rc<TaskGrants>>>,
}

/// The tasks that a handle may mean.
struct TaskNames {
    /// The ids, and the ids from their ends, each with its task, sorted.
    forwards: Vec<(String, Id)>,
    backwards: Vec<(String, Id)>,
    /// What handles mean that were looked up before: many commits name one lease.
    called: RefCell<BTreeMap<String, Rc<BTreeSet<Id>>>>,
}

/// The leases of a task.
struct TaskGrants {
    /// Those of the base.
    before: Grants,
    /// All of them.
    known: Grants,
    /// The greatest fence that is known, also by another worktree of this clone, whose log may not be here.
    greatest: u64,
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
        let tasks = TaskNames::of(head.tasks()?.into_iter().chain(here.tasks()?).collect());
        Ok(Sides { ws, base, head, here, tasks, grants: RefCell::default() })
    }

    fn judge(&self, trailer: &Trailer) -> Result<Option<Finding>> {
        let Trailer { handle, fence } = trailer;
        let meant = self.tasks.called(handle);
        let task = match (meant.first(), meant.len()) {
            (Some(task), 1) => *task,
            (None, _) => {
                let message = format!("{trailer}: no task of this plan is called {handle}");
                return Ok(Some(Finding::new(Rule::LeaseTrailer, message)));
            }
            _ => return Ok(Some(form(format!("{trailer}: {} tasks are called {handle}", meant.len())))),
        };
        let all = self.grants(task)?;
        let TaskGrants { before, known, greatest } = &*all;
        let wrong = |message: String| Some(Finding::new(Rule::LeaseTrailer, message).task(task));
        if fence > greatest {
            let most = if *greatest == 0 { "none was granted".into() } else { format!("the greatest is {greatest}") };
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

impl Sides<'_> {
    fn grants(&self, task: Id) -> Result<Rc<TaskGrants>> {
        if let Some(known) = self.grants.borrow().get(&task) {
            return Ok(Rc::clone(known));
        }
        let before = grants(&self.base.entries(task)?);
        let mut known = grants(&self.head.entries(task)?);
        known.extend(grants(&self.here.entries(task)?));
        known.extend(before.clone());
        let greatest = read::recorded_lease(self.ws, task)?.fence.max(known.keys().next_back().copied().unwrap_or(0));
        let found = Rc::new(TaskGrants { before, known, greatest });
        self.grants.borrow_mut().insert(task, Rc::clone(&found));
        Ok(found)
    }
}

impl TaskNames {
    fn of(tasks: BTreeSet<Id>) -> Self {
        let forwards: Vec<(String, Id)> = tasks.iter().map(|id| (id.to_string(), *id)).collect();
        let mut backwards: Vec<(String, Id)> = forwards.iter().map(|(name, id)| (reversed(name), *id)).collect();
        backwards.sort_unstable();
        TaskNames { forwards, backwards, called: RefCell::default() }
    }

    /// The tasks whose ids begin or end like this.
    fn called(&self, handle: &str) -> Rc<BTreeSet<Id>> {
        if let Some(known) = self.called.borrow().get(handle) {
            return Rc::clone(known);
        }
        let among = |names: &[(String, Id)], begin: &str| {
            names[beginning_with(names, begin)].iter().map(|(_, id)| *id).collect::<Vec<_>>()
        };
        let begin = among(&self.forwards, handle);
        let found = Rc::new(begin.into_iter().chain(among(&self.backwards, &reversed(handle))).collect());
        self.called.borrow_mut().insert(handle.to_owned(), Rc::clone(&found));
        found
    }
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// The places of the sorted names that begin like this.
fn beginning_with(names: &[(String, Id)], begin: &str) -> Range<usize> {
    let first = names.partition_point(|(name, _)| name.as_str() < begin);
    let count = names[first..].partition_point(|(name, _)| name.starts_with(begin));
    first..first + count
}

fn grants(entries: &[Entry]) -> Grants {
    entries.iter().filter_map(|entry| entry.event.payload.grant()).map(|p| (p.fence, p.holder.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_the_beginning_or_the_end_of_an_id() {
        let tasks: BTreeSet<Id> =
            (0..40_u64).map(|n| Id::from_parts(1_790_000_000_000 + n * 40_000, u128::from(n % 7))).collect();
        let names = TaskNames::of(tasks.clone());
        for text in tasks.iter().map(ToString::to_string) {
            for handle in [&text[..6], &text[..9], &text[..], &text[20..], &text[16..], "ZZZZZZ"] {
                let is_called = |id: &&Id| id.to_string().starts_with(handle) || id.to_string().ends_with(handle);
                assert_eq!(*names.called(handle), tasks.iter().filter(is_called).copied().collect(), "{handle}");
                assert_eq!(names.called(handle), names.called(handle));
            }
        }
    }
}
