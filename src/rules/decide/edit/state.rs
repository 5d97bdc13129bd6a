//! Hand edits of the state of a task: met criteria, reviews, the status and the owner.
//!
//! Leaves to others: finding out what was edited (`engine::commit::hand_edits`).

use serde_json::{Value, json};

use super::{Edit, EditResult, misfit};
use crate::error::{Code, Error, Result};
use crate::model::id::quoted;
use crate::model::task::{Status, Task};
use crate::rules::decide::judgement::mark_criteria;
use crate::rules::decide::put::{PutOptions, put, verb};
use crate::rules::decide::status::{no_way, refuse_open_descendants};
use crate::rules::event_rules::verb_for;
use crate::rules::roles::Verb;

impl Edit<'_> {
    /// Marks criteria as met or unmet.
    pub(super) fn criteria(&mut self) -> EditResult {
        const KEY: &str = "acceptance";
        if !self.is_changed(KEY) {
            return Ok(());
        }
        let (old, new) = self.lists(KEY);
        for (n, entry) in new.iter().enumerate() {
            let Some(words) = entry.get("criterion").and_then(super::words) else { continue };
            let was = old.iter().find(|old| old["criterion"].as_str() == Some(&words));
            let at = misfit(KEY, Some(n));
            let before = was.is_some_and(|was| !was["met_at"].is_null());
            let now = is_met(entry, before).map_err(&at)?;
            if before && now && was.is_some_and(|was| changed(was, entry)) {
                return Err(at(Error::validation("who met a criterion and when is recorded by agentpm")
                    .hint("restore the old values")));
            }
            let marked = |map: &Value| !(map["met_at"].is_null() && map["met_by"].is_null());
            let gone = |old: &&Value| new.iter().all(|new| new["criterion"] != old["criterion"]);
            let tick = |old: &&Value| !old["met_at"].is_null() && !changed(old, entry);
            if was.is_none() && marked(entry) && old.iter().filter(gone).any(|old| tick(&old)) {
                return Err(at(Error::validation("a reworded criterion is a new one and not met").hint(
                    "remove met_at and met_by (met: true marks the new criterion as met), or restore the old text",
                )));
            }
            if before != now {
                if let Some(map) = entry.as_object().filter(|_| now) {
                    self.check_recorded(map, was.and_then(Value::as_object), &["met_at"], &["met_by"]).map_err(&at)?;
                }
                let mark = |edit: &mut Self| {
                    let permit = edit.permit(Verb::Verify)?;
                    mark_criteria(edit.stage, &permit, std::slice::from_ref(&words), now)
                };
                mark(self).map_err(&at)?;
            }
        }
        Ok(())
    }

    /// Records a review of the result.
    pub(super) fn verified(&mut self) -> EditResult {
        const KEY: &str = "verified";
        if !self.is_changed(KEY) {
            return Ok(());
        }
        let review = |edit: &mut Self| -> Result<()> {
            let (old, new) = (edit.old.get(KEY), edit.new.get(KEY));
            let passed = match new {
                Some(Value::Bool(passed)) => *passed,
                Some(Value::Object(map)) => map
                    .get("passed")
                    .and_then(Value::as_bool)
                    .ok_or_else(|| Error::validation("a review must have passed: true or passed: false"))?,
                None | Some(Value::Null) => {
                    return Err(Error::validation("a review cannot be removed")
                        .hint("restore it, or record another: passed: true or passed: false"));
                }
                Some(_) => return Err(Error::validation("a review must have passed: true or passed: false")),
            };
            if old.is_some_and(|old| old["passed"] == passed) {
                return Err(
                    Error::validation("who reviewed it and when is recorded by agentpm").hint("restore the old values")
                );
            }
            if let Some(map) = new.and_then(Value::as_object) {
                super::check_entry(map, &["passed", "at", "by"])?;
                edit.check_recorded(map, old.and_then(Value::as_object), &["at"], &["by"])?;
            }
            let permit = edit.permit(Verb::Verify)?;
            put(edit.stage, &permit, &[(KEY.to_owned(), json!(passed))], PutOptions::default()).map_err(|e| {
                match e.details["unmet"].is_null() {
                    true => e,
                    false => e.hint("write met: true next to the criteria that are met, or passed: false"),
                }
            })
        };
        review(self).map_err(misfit(KEY, None))
    }

    /// Sets the status, and the owner that depends on it.
    pub(super) fn status(&mut self) -> EditResult {
        const KEY: &str = "status";
        if !self.is_changed(KEY) {
            return Ok(());
        }
        self.ended_at()?;
        self.move_to_status().map_err(misfit(KEY, None))
    }

    /// Refuses times that do not follow from the status.
    fn ended_at(&self) -> EditResult {
        for (key, status) in [
            ("completed_at", Status::Completed),
            ("cancelled_at", Status::Cancelled),
            ("archived_at", Status::Archived),
        ] {
            if !self.is_changed(key) || self.new.get(key).is_none_or(Value::is_null) {
                continue;
            }
            let at = misfit(key, None);
            if self.new.get("status").and_then(Value::as_str) != Some(status.as_str()) {
                let refusal = Error::validation(format!("{key} follows from the status {}", status.as_str()));
                return Err(at(refusal.hint(format!("remove {key}, or write that status"))));
            }
            self.check_recorded(self.new, None, &[key], &[]).map_err(at)?;
        }
        Ok(())
    }

    fn move_to_status(&mut self) -> Result<()> {
        let refused = |why: String| {
            let allowed = Status::ALL.map(Status::as_str);
            Error::validation(why)
                .with(json!({ "allowed": allowed }))
                .hint(format!("use one of {}", allowed.join(", ")))
        };
        let said = self.new.get("status").and_then(Value::as_str);
        let word = said.ok_or_else(|| refused("a task has a status".into()))?;
        let to = Status::from_word(word).ok_or_else(|| refused(format!("{} is not a status", quoted(word))))?;
        let task = self.stage.task(self.id)?;
        let owner = self.new.get("owner").filter(|owner| self.is_changed("owner") && !owner.is_null());
        let owner = owner.map(|owner| super::words(owner).unwrap_or_default());
        // Another key may already have opened or blocked the task.
        if task.status != to {
            if task.status.is_finished() && to != Status::Archived {
                return Err(with_allowed_moves(no_way(&task, task.status, to), &task, to));
            }
            let permit = self.permit(verb_for(to))?;
            if to == Status::Cancelled {
                refuse_open_descendants(self.stage, self.id).map_err(|e| with_allowed_moves(e, &task, to))?;
            }
            let mut values = vec![("status".to_owned(), json!(to))];
            values.extend(owner.clone().map(|owner| ("owner".to_owned(), json!(owner))));
            return put(self.stage, &permit, &values, PutOptions::default())
                .map_err(|e| with_allowed_moves(e, &task, to));
        }
        match self.is_changed("owner") {
            true => {
                let permit = self.permit(verb("owner", &Value::Null))?;
                let owner = owner.map_or(Value::Null, Value::from);
                put(self.stage, &permit, &[("owner".to_owned(), owner)], PutOptions::default())?;
                permit.hand_over(self.stage)
            }
            false => Ok(()),
        }
    }
}

/// Adds to a refusal the states that the task may move to, and how to reach them from a file.
fn with_allowed_moves(mut e: Error, task: &Task, to: Status) -> Error {
    let allowed: Vec<&str> = e.details["allowed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !allowed.is_empty() {
        e.message = format!("{}; allowed from there: {}", e.message, allowed.join(", "));
    }
    if e.code != Code::InvalidState {
        return e;
    }
    let (id, waits, taken) = (task.id, !e.details["blockers"].is_null(), !e.details["elsewhere"].is_null());
    match (task.status, to) {
        (from, _) if from.is_finished() && to != Status::Archived => e.hint(match to {
            // From the archive there is no other way either.
            Status::Cancelled | Status::Completed => "restore the old value".into(),
            _ => format!(
                "restore the old value, then run agentpm task reopen {id} --reason TEXT; reopening needs a reason"
            ),
        }),
        (_, Status::Completed) if task.status != Status::InProgress => {
            e.hint(format!("write status: in_progress first; or restore the old value, then run agentpm claim {id}"))
        }
        (_, Status::Completed) => {
            let unmet = e.details["unmet"].as_array().is_some_and(|unmet| !unmet.is_empty());
            let met = if unmet { "write met: true next to the criteria that are met; " } else { "" };
            e.hint(format!(
                "{met}restore the old value until all blockers and children are finished; only a command overrides that: \
                 restore the old value and pass --force REASON"
            ))
        }
        (Status::Open | Status::InProgress, Status::Blocked) => {
            e.hint("restore the old value, and write what blocks it: blocked_by: [ID]")
        }
        (_, Status::Cancelled) if !e.details["descendants"].is_null() => e.hint(format!(
            "restore the old value, then run agentpm cancel {id} with --children cancel or --children keep"
        )),
        (_, Status::Archived) => e.hint("restore the old value; write status: cancelled or complete it first"),
        _ if waits => e.hint(format!("restore the old value, then finish them, or run agentpm task unblock {id}")),
        _ if taken => e.hint("restore the old value, then merge that branch"),
        _ => e,
    }
}

/// Whether the entry of a criterion marks it as met.
fn is_met(entry: &Value, before: bool) -> Result<bool> {
    let dated = !entry["met_at"].is_null() || !entry["met_by"].is_null();
    match &entry["met"] {
        Value::Null => Ok(dated),
        Value::Bool(false) if dated && !before => {
            Err(Error::validation("it has met: false and also the time when it was met"))
        }
        Value::Bool(met) => Ok(*met),
        other => Err(Error::validation(format!("met must be true or false, not {other}"))),
    }
}

fn changed(was: &Value, now: &Value) -> bool {
    ["met_at", "met_by"].iter().any(|key| was[*key] != now[*key])
}
