//! The findings of one task by itself: values and states that no command leaves behind.
//!
//! Guarantees: depends on the task and its events alone.
//! Leaves to others: several tasks together (`across`).

use std::collections::BTreeSet;

use super::source::{LintSource, Subject};
use crate::error::Result;
use crate::model::event::{Entry, Event};
use crate::model::finding::{Finding, Rule, Spot};
use crate::model::id::{Id, check_agent_name, quoted};
use crate::model::payload::{Payload, TaskStatusChanged, check};
use crate::model::relationship::RelationType;
use crate::model::task::{Status, Task, TaskType};
use crate::reports::event_words::describe_lost;
use crate::rules::fields::faults;
use crate::rules::lost::{Lost, Reason, is_forked, lost};
use crate::rules::review::unmet_criteria;
use crate::rules::seen::opened_without_reason;
use crate::store::layout::{shown, task_dir};
use crate::store::log::Log;

/// The findings about a log, its events, and the task. For the index only those that the commit introduces; `review` compares both sides
/// of a branch itself.
pub(crate) fn check(source: LintSource<'_>, subject: &Subject<'_>, found: &mut Vec<Finding>) -> Result<()> {
    let store = source.store();
    match source {
        LintSource::WorkTree(..) | LintSource::Text(_) => found.extend(own_findings(source, subject)?),
        LintSource::Index(..) => {
            let before = own_findings(source, &Subject::new(store, subject.entity, subject.before.clone()))?;
            let known: BTreeSet<_> = before.iter().map(|f| (f.rule, f.event, f.message.as_str())).collect();
            let new = own_findings(source, subject)?.into_iter();
            found.extend(new.filter(|f| !known.contains(&(f.rule, f.event, f.message.as_str()))));
        }
        LintSource::Branch(..) => {}
    }
    Ok(())
}

fn own_findings(source: LintSource<'_>, subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let store = source.store();
    let mut findings = subject.of_log.clone();
    findings.extend(redacted_texts(&subject.log, &subject.log_path));
    if let Some(task) = subject.task.as_ref().filter(|_| subject.has_log) {
        findings.extend(values(store, task));
        findings.extend(states(store, task, &subject.log.entries));
        findings.extend(several_owners(store, task, &subject.log.entries));
        if let Some(by) = accepted_by_completer(task)
            && source.requires_review()?
        {
            let path = shown(store, task_dir(task.id).join("task.yaml"));
            let finding = Finding::new(Rule::ReviewOwnWork, format!("{} completed it and accepted it", quoted(by)));
            findings.push(finding.task(task.id).at(path, None).on(Spot::Key("verified".into())));
        }
        findings.extend(overruled(store, task, &subject.log.entries));
    }
    Ok(findings)
}

/// The findings about texts that a redaction removed and the log at a path, or an archive, still holds.
pub(crate) fn redacted_texts(log: &Log, path: &str) -> Vec<Finding> {
    let finding = |entry: Id| {
        let lines = log.entries.iter().zip(&log.lines);
        let line = lines.filter(|(e, _)| e.event.id == entry && !e.event.is_redacted()).map(|(_, line)| *line).next();
        let place = if line.is_some() { "the log" } else { "an archive" };
        let message = format!("{place} holds the text of entry {entry}, which was redacted");
        Finding::new(Rule::TextRedacted, message).event(entry).at(path, line)
    };
    log.redacted_texts().into_iter().map(finding).collect()
}

/// The agent that completed a task, if its review passed by the same agent.
fn accepted_by_completer(task: &Task) -> Option<&str> {
    let review = task.verified.as_ref().filter(|review| review.passed && review.completion.is_some())?;
    let is_own = review.completion == task.completion() && task.completed_by.as_ref() == Some(&review.by);
    is_own.then_some(review.by.as_str())
}

/// Values and states that no command would leave behind.
pub(crate) fn values(store: &str, task: &Task) -> Vec<Finding> {
    let path = shown(store, task_dir(task.id).join("task.yaml"));
    let mut findings = Vec::new();
    let mut say = |rule, key: &str, message: String| {
        findings.push(Finding::new(rule, message).task(task.id).at(path.clone(), None).on(Spot::Key(key.to_owned())))
    };
    // A log without its beginning has no title; that is another finding.
    for (field, fault) in faults(&task.fields).into_iter().filter(|(field, _)| task.created || *field != "title") {
        say(Rule::FieldValue, field, fault.message);
    }
    if let TaskType::Other(word) = &task.fields.kind {
        say(Rule::YamlField, "type", format!("the type {} is not known", quoted(word)));
    }
    for name in task.fields.extra.keys() {
        say(Rule::YamlField, name, format!("the field {} is not known", quoted(name)));
    }
    if let Some(owner) = task.owner.as_ref().filter(|owner| check_agent_name(owner).is_err()) {
        say(Rule::FieldValue, "owner", format!("the owner {} is not an agent name", quoted(owner)));
    }
    if task.status == Status::InProgress && task.owner.is_none() {
        say(Rule::OwnerMissing, "status", "it is in progress and has no owner".into());
    }
    let parents = task.relationships.values().filter(|e| e.kind == RelationType::ParentOf).count();
    if parents > 1 {
        say(Rule::SeveralParents, "parent", format!("it has {parents} parents; the latest counts"));
    }
    findings
}

/// States that no command would lead to: a completion with unmet criteria that it does not override, and a task that is open
/// after its end without a reason.
pub(crate) fn states(store: &str, task: &Task, entries: &[Entry]) -> Vec<Finding> {
    let path = shown(store, task_dir(task.id).join("task.yaml"));
    let found = |rule, message: String| {
        Finding::new(rule, message).task(task.id).at(path.clone(), None).on(Spot::Key("status".into()))
    };
    let mut findings = Vec::new();
    let unmet = if task.completed_at.is_some() { task.unmet().count() } else { 0 };
    let completion = last_move(entries, &[Status::Completed]);
    if unmet > 0 && !completion.is_some_and(|(_, p)| p.overrides(&[check::ACCEPTANCE])) {
        let early = found(Rule::CompletedEarly, format!("it is completed despite {}", unmet_criteria(unmet)));
        findings.push(Finding { event: completion.map(|(event, _)| event.id), ..early });
    }
    if let Some(event) = opened_without_reason(task, entries) {
        let (id, by) = (event.id, quoted(&event.author.agent));
        let message = format!("{by} opened it again by TaskStatusChanged {id}, which gives no reason");
        findings.push(found(Rule::OpenedPlainly, message).event(id));
    }
    findings
}

/// The finding about agents that took an unfinished task without seeing each other.
fn several_owners(store: &str, task: &Task, entries: &[Entry]) -> Option<Finding> {
    let owner = task.owner.as_ref().filter(|_| !task.status.is_finished() && is_forked(entries))?;
    let others: BTreeSet<String> = lost(task.id, entries)
        .into_iter()
        .filter(|edit| edit.field == "owner")
        .filter_map(|edit| edit.lost.value.as_str().map(str::to_owned))
        .filter(|other| other != owner)
        .collect();
    let others: Vec<String> = others.into_iter().map(|name| quoted(&name)).collect();
    let message = format!("{} took it too, without seeing {}, who has it", others.join(", "), quoted(owner));
    let path = shown(store, task_dir(task.id).join("task.yaml"));
    (!others.is_empty())
        .then(|| Finding::new(Rule::SeveralOwners, message).task(task.id).at(path, None).on(Spot::Key("owner".into())))
}

/// The findings about values that lost to a concurrent one by the precedence of its author.
fn overruled(store: &str, task: &Task, entries: &[Entry]) -> Vec<Finding> {
    if !entries.iter().any(|entry| entry.event.weight() != 0) {
        return Vec::new();
    }
    let path = shown(store, task_dir(task.id).join("task.yaml"));
    let by_precedence = lost(task.id, entries).into_iter().filter(|edit| edit.rule == Reason::Precedence);
    let finding = |edit: Lost| {
        let message = format!("{}, who has the higher precedence", describe_lost(task, &edit));
        let key = edit.field.split('.').next().unwrap_or_default().to_owned();
        let finding = Finding::new(Rule::Overruled, message).task(task.id).event(edit.lost.event);
        finding.at(path.clone(), None).on(Spot::Key(key))
    };
    by_precedence.map(finding).collect()
}

/// Whether the last completion in a log states that it overrides unfinished blockers or children.
pub(crate) fn completed_by_force(entries: &[Entry]) -> bool {
    overrides_others(entries, &[Status::Completed])
}

/// Whether the last start or completion in a log states the same.
pub(crate) fn begun_by_force(entries: &[Entry]) -> bool {
    overrides_others(entries, &[Status::InProgress, Status::Completed])
}

fn overrides_others(entries: &[Entry], to: &[Status]) -> bool {
    last_move(entries, to).is_some_and(|(_, p)| p.overrides(&[check::BLOCKERS, check::CHILDREN]))
}

/// The last move to one of these states.
fn last_move<'e>(entries: &'e [Entry], to: &[Status]) -> Option<(&'e Event, &'e TaskStatusChanged)> {
    let moves = entries.iter().filter_map(|e| {
        let Payload::TaskStatusChanged(p) = &e.event.payload else { return None };
        to.contains(&p.to).then_some((&e.event, p))
    });
    moves.max_by_key(|(event, _)| event.stamp())
}
