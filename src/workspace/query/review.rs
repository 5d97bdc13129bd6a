//! `review`: what the commits of a branch do to the plan, and what of it breaks a rule.
//!
//! Both sides are read from git: the commit the branch began at, and its head. What was wrong before the branch began is not
//! the branch's doing and is left out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::diff;
use crate::error::{Error, Result};
use crate::git::{Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, quoted};
use crate::model::query::Review;
use crate::model::task::{Status, Task};
use crate::reports::change::{Change, Kind, TaskChange, between};
use crate::rules::fold::fold;
use crate::store::entity::line_in;
use crate::store::layout::{LOG, task_dir};
use crate::workspace::Workspace;
use crate::workspace::lint::{completed_by_force, line_of, point_out, readable, values};
use crate::workspace::past::{Past, began_at};

/// `review`
pub fn review(ws: &Workspace, q: &Review) -> Result<Value> {
    let objects = ws.objects()?;
    let (base, head) = read_range(&objects, &q.range)?;
    let began = began_at(&objects, base, head)?;
    let (before, after) = (ws.past_commit(began)?, ws.past_commit(head)?);
    let touched = before.candidates(&after)?;
    let mut changes = Vec::new();
    for task in &touched {
        let (old, new) = (before.entries(*task)?, after.entries(*task)?);
        changes.extend(between(*task, &old, &new));
    }
    let findings = new_findings(ws, &before, &after, &touched)?;
    changes.sort_by_key(|change| (weight(change, &findings), change.task));
    let items = changes.iter().map(|change| diff::view(ws, change)).collect::<Result<Vec<Value>>>()?;
    let total = items.len();
    Ok(json!({
        "base": base.to_string(), "head": head.to_string(), "merge_base": began.to_string(), "range": q.range,
        "summary": summary(&changes, &findings), "findings": findings,
        "items": items, "total": total, "truncated": false, "next_cursor": Value::Null,
    }))
}

/// The two commits of `BASE..HEAD`; a side that is left out is what is checked out.
fn read_range(objects: &Objects, range: &str) -> Result<(Oid, Oid)> {
    let (base, head) = match range.split_once("...").or_else(|| range.split_once("..")) {
        Some((base, head)) => (base, head),
        None => (range, ""),
    };
    let named = |name: &str| objects.commit_named(if name.is_empty() { "HEAD" } else { name });
    if base.is_empty() && head.is_empty() {
        return Err(Error::usage(format!("{} names no revisions", quoted(range)))
            .hint("write BASE..HEAD, such as main..my-branch"));
    }
    Ok((named(base)?, named(head)?))
}

/// What a reviewer must look at first comes first: what breaks a rule or passed one, then what lost, then what is new, then
/// what is finished.
fn weight(change: &TaskChange, findings: &[Finding]) -> u8 {
    let ends = change.changes.iter().any(|c| c.change == Kind::Status) && change.status.is_finished();
    if findings.iter().any(|f| f.task == Some(change.task)) || change.gone || change.missing > 0 {
        0
    } else if change.changes.iter().any(Change::passes) {
        1
    } else if !change.lost.is_empty() {
        2
    } else if change.created {
        3
    } else if ends {
        4
    } else {
        5
    }
}

fn summary(changes: &[TaskChange], findings: &[Finding]) -> Value {
    let count = |is: &dyn Fn(&&TaskChange) -> bool| changes.iter().filter(is).count();
    let moved = |c: &&TaskChange| c.changes.iter().any(|c| c.change == Kind::Status);
    let single = || changes.iter().flat_map(|c| &c.changes);
    json!({
        "tasks": changes.len(),
        "created": count(&|c| c.created),
        "completed": count(&|c| moved(c) && c.status == Status::Completed),
        "moved": count(&|c| moved(c) && c.status != Status::Completed),
        "forced": single().filter(|c| !c.forced.is_empty()).count(),
        "overrides": single().filter(|c| c.change == Kind::Override).count(),
        "lost": changes.iter().map(|c| c.lost.len()).sum::<usize>(),
        "findings": findings.len(),
    })
}

/// All tasks of one side, and what is odd about those that differ.
#[derive(Default)]
struct Side {
    tasks: BTreeMap<Id, Task>,
    forced: BTreeSet<Id>,
    findings: Vec<Finding>,
}

/// What is odd at the head and was not at the beginning.
fn new_findings(ws: &Workspace, before: &Past, after: &Past, touched: &BTreeSet<Id>) -> Result<Vec<Finding>> {
    let mut side = Side::default();
    if touched.is_empty() {
        return Ok(Vec::new());
    }
    for id in after.tasks()?.difference(touched) {
        side.take_in(*id, &after.entries(*id)?);
        // What the others say in prose is of no account, and a plan may have many of them.
        if let Some(task) = side.tasks.get_mut(id) {
            (task.fields.intent, task.context, task.progress) = Default::default();
        }
    }
    let new = side.look_at(ws, after, touched)?;
    let old = side.look_at(ws, before, touched)?;
    let known: BTreeSet<(Rule, Option<Id>, &str)> = old.iter().map(|f| (f.rule, f.task, f.message.as_str())).collect();
    // A branch cannot switch off a rule for its own review.
    let severities = before.severities()?;
    let mut found: Vec<Finding> = new
        .into_iter()
        .filter(|f| !known.contains(&(f.rule, f.task, f.message.as_str())))
        .filter_map(|f| severities.judge(f))
        .collect();
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| (a.task, a.rule).cmp(&(b.task, b.rule))));
    Ok(found)
}

impl Side {
    fn take_in(&mut self, id: Id, entries: &[Entry]) -> Vec<Finding> {
        let (task, findings) = fold(id, entries);
        self.tasks.remove(&id);
        self.forced.remove(&id);
        if completed_by_force(entries) {
            self.forced.insert(id);
        }
        if task.version > 0 {
            self.tasks.insert(id, task);
        }
        findings
    }

    /// Takes tasks in as they were at a point, among the others. Gives all that is odd about them and between them.
    fn look_at(&mut self, ws: &Workspace, past: &Past, touched: &BTreeSet<Id>) -> Result<Vec<Finding>> {
        self.findings.clear();
        let mut texts: BTreeMap<Id, String> = BTreeMap::new();
        for id in touched {
            let (mut log, yaml) = past.files(*id)?;
            let of_log = std::mem::take(&mut log.findings);
            let path = ws.store.shown(task_dir(*id).join(LOG));
            let folded = self.take_in(*id, &log.entries);
            let own = of_log.into_iter().chain(folded).map(|f| {
                let line = f.line.or_else(|| line_in(&log, &f));
                f.at(path.clone(), line)
            });
            self.findings.extend(own.map(|f| f.task(*id)));
            let text = String::from_utf8_lossy(yaml.as_deref().unwrap_or_default()).into_owned();
            if let Some(task) = self.tasks.get(id) {
                let at_line = |mut f: Finding| {
                    f.line = f.spot.as_ref().and_then(|spot| line_of(&text, spot));
                    f
                };
                self.findings.extend(values(&ws.store.name, task).into_iter().map(at_line));
            }
            if let Some(bytes) = yaml {
                let path = ws.store.shown(task_dir(*id).join("task.yaml"));
                let mut found = readable(path, &Entity::Task(*id), &log.entries, Some(&bytes));
                if let Some(found) = &mut found {
                    point_out(found, &Entity::Task(*id), &log.entries, Some(&bytes));
                }
                self.findings.extend(found.map(|f| f.task(*id)));
            }
            texts.insert(*id, text);
        }
        let across = ws.across(&self.tasks, &|id| self.forced.contains(&id)).into_iter().map(|mut f| {
            let text = f.task.and_then(|task| texts.get(&task));
            f.line = text.zip(f.spot.as_ref()).and_then(|(text, spot)| line_of(text, spot));
            f
        });
        self.findings.extend(across);
        Ok(std::mem::take(&mut self.findings))
    }
}
