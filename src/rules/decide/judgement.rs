//! Acceptance criteria that are marked as met, and reviews that accept or reject a completion.
//!
//! Leaves to others: whom a review needs (`rules::review`), and how a rejected task opens again (`status`).

use serde_json::json;

use super::around::unfinished_children;
use super::guard::{Permit, permit_held, unblock_if_free};
use super::refusals::refuse_unmarking;
use super::status::{children_words, free_dependents, open_again, warn_of_met, warn_of_threads};
use super::{Subject, decides, index};
use crate::error::{Code, Error, Result};
use crate::model::args::listed_numbers;
use crate::model::command::TaskVerify;
use crate::model::event::Entry;
use crate::model::id::quoted;
use crate::model::payload::{AcceptanceMet, Payload, TaskVerified, check};
use crate::model::task::Task;
use crate::rules::held::NamedTask;
use crate::rules::review::{Unfit, unfit, unmet_criteria};
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;

decides! {
    TaskVerify: index => verify,
}

/// `task verify`
fn verify(stage: &mut dyn Stage, c: &TaskVerify) -> Result<Subject> {
    if c.accept || c.reject {
        return review(stage, c);
    }
    let marks = c.all || !c.criterion.is_empty();
    if c.id.0.is_none() && !marks {
        return Err(unnamed_review(stage)?);
    }
    let permit = permit_held(stage, &c.id, &c.guard, Verb::Verify)?;
    let criteria = chosen(&*stage.task(permit.id)?, &c.criterion, c.all)?;
    mark_criteria(stage, &permit, &criteria, !c.unmet)?;
    let task = stage.task(permit.id)?;
    // An acceptance that stands needs no other.
    if !marks && !c.unmet && (c.fail || !task.is_accepted()) {
        if !c.fail {
            refuse_unmet(&task, "or pass --fail")?;
        }
        let review = judgement(stage, &task, !c.fail)?;
        permit.emit(stage, Payload::TaskVerified(review))?;
        free_dependents(stage, task.id)?;
    }
    unblock_if_free(stage, permit.id)?;
    Ok(Subject::Task(permit.id))
}

/// The refusal of a judgement that names no task: the task that the caller holds is its own work, which another agent judges.
fn unnamed_review(stage: &mut dyn Stage) -> Result<Error> {
    let mut held = Vec::new();
    for id in stage.held()? {
        held.push(NamedTask::new(id, stage.handle(id)?, &stage.task(id)?.fields.title));
    }
    let own = match held.first() {
        Some(task) => {
            format!(": you hold {}, which another agent judges once you completed it with agentpm done", task.words())
        }
        None => String::new(),
    };
    Ok(Error::usage(format!("the task to judge is not named{own}"))
        .with(json!({ "held": held }))
        .hint_command("agentpm ls --query is:unreviewed lists what awaits review; agentpm task verify ID --accept"))
}

/// `task verify --accept` and `--reject`: accepts the completion of a task, or opens the task again for its owner.
fn review(stage: &mut dyn Stage, c: &TaskVerify) -> Result<Subject> {
    let why = c.guard.why.as_ref().filter(|why| !why.0.trim().is_empty());
    if c.reject && why.is_none() {
        return Err(Error::validation("a rejection needs a reason").hint("add --why TEXT"));
    }
    if c.id.0.is_none() {
        return Err(unnamed_review(stage)?);
    }
    let permit = permit_held(stage, &c.id, &c.guard, Verb::Verify)?;
    let task = stage.task(permit.id)?;
    if task.completion().is_none() {
        return Err(Error::state(format!("task {} is {}, not completed", task.id, task.status))
            .with(json!({ "task": task.id, "status": task.status }))
            .hint("only a completed task is accepted or rejected; agentpm ls --query is:unreviewed lists them"));
    }
    refuse_reviewer(stage, &task)?;
    if c.reject {
        let review = judgement(stage, &task, false)?;
        permit.emit(stage, Payload::TaskVerified(review))?;
        open_again(stage, &permit)?;
        warn_of_met(stage, &task)?;
    } else if !task.is_accepted() {
        refuse_unmet(&task, "or reject it: --reject --why TEXT")?;
        warn_of_threads(stage, &task);
        let review = judgement(stage, &task, true)?;
        permit.emit(stage, Payload::TaskVerified(review))?;
        free_dependents(stage, task.id)?;
    }
    Ok(Subject::Task(permit.id))
}

/// A review of a task as it stands. One of a completed task judges its completion, which is not for the agent that completed
/// it where the settings require a review. The first acceptance of a completion stands.
pub fn judgement(stage: &mut dyn Stage, task: &Task, passed: bool) -> Result<TaskVerified> {
    let completion = task.completion;
    if completion.is_some() {
        // One by the agent that completed it would take the place of an acceptance too.
        if !passed || task.completed_by.as_ref() == Some(&stage.me().agent) {
            refuse_overturning(task)?;
        }
        if stage.settings().review.required {
            refuse_reviewer(stage, task)?;
        }
        if passed {
            refuse_open_children(stage, task)?;
        }
    }
    Ok(TaskVerified { passed, completion })
}

/// Refuses what would end the acceptance of a completion otherwise than by opening the task again for a reason.
pub fn refuse_overturning(task: &Task) -> Result<()> {
    let Some(review) = task.verified.as_ref().filter(|_| task.is_accepted()) else { return Ok(()) };
    Err(Error::state(format!("{} accepted task {}; the first judgement decides", quoted(&review.by), task.id))
        .with(json!({ "task": task.id, "verified": review }))
        .hint(format!("agentpm task reopen {} --reason TEXT opens it again", task.id)))
}

/// Refuses an agent that may not judge the completion of a task.
fn refuse_reviewer(stage: &mut dyn Stage, task: &Task) -> Result<()> {
    let (viewer, settings) = (stage.viewer()?, stage.settings().review.clone());
    let Some(unfit) = unfit(task.completed_by.as_deref(), &viewer, &settings) else { return Ok(()) };
    let (me, id) = (viewer.name().unwrap_or_default(), task.id);
    let error = match unfit {
        Unfit::Own => Error::new(Code::Unauthorized, format!("{me} completed task {id} and may not review it"))
            .hint("another agent with the right verify reviews it"),
        Unfit::Lacks(what) => {
            Error::new(Code::Unauthorized, format!("a review of task {id} needs {what}, which {me} lacks"))
                .hint("[review] of config.toml says what a reviewer needs, and roles.yml grants it")
        }
    };
    Err(error.with(json!({ "task": task.id, "completed_by": task.completed_by })))
}

/// Refuses to accept a task whose parts are unfinished or await review, unless its completion overrode that.
fn refuse_open_children(stage: &mut dyn Stage, task: &Task) -> Result<()> {
    let children = unfinished_children(stage, task.id)?;
    if children.is_empty() {
        return Ok(());
    }
    let completion = task.completion();
    let overrides = |entry: &Entry| {
        let Payload::TaskStatusChanged(p) = &entry.event.payload else { return false };
        Some(entry.event.id) == completion && p.overrides(&[check::CHILDREN])
    };
    if stage.history(task.id)?.iter().any(overrides) {
        return Ok(());
    }
    let count = children_words(stage, &children)?;
    Err(Error::state(format!("task {} has {count}", task.id))
        .with(json!({ "task": task.id, "children": children }))
        .hint(format!("judge them first, or reject it: agentpm task verify {} --reject --why TEXT", task.id)))
}

/// Refuses to pass a task with unmet criteria.
fn refuse_unmet(task: &Task, or: &str) -> Result<()> {
    let unmet: Vec<&str> = task.unmet().collect();
    if unmet.is_empty() {
        return Ok(());
    }
    Err(Error::state(format!("task {} has {}", task.id, unmet_criteria(unmet.len())))
        .with(json!({ "task": task.id, "unmet": unmet }))
        .hint(format!("mark them with agentpm task verify {} --all or --criterion N, {or}", task.id)))
}

/// The criteria selected by numbers from 1, by their texts, or by "all".
pub fn chosen(task: &Task, named: &[String], all: bool) -> Result<Vec<String>> {
    if all {
        return Ok(task.fields.acceptance.clone());
    }
    let is_text = |name: &str| task.fields.acceptance.iter().any(|criterion| criterion == name);
    named
        .iter()
        .flat_map(|name| if is_text(name) { vec![name.as_str()] } else { listed_numbers(name) })
        .map(|name| {
            let by_number = name.parse::<usize>().ok().and_then(|n| task.fields.acceptance.get(n.checked_sub(1)?));
            let by_words = || task.fields.acceptance.iter().find(|criterion| *criterion == name);
            by_number.or_else(by_words).cloned().ok_or_else(|| {
                Error::not_found(format!("task {} has no acceptance criterion {}", task.id, quoted(name)))
                    .with(json!({ "task": task.id, "acceptance": task.fields.acceptance }))
                    .hint(match task.fields.acceptance.is_empty() {
                        true => format!("it has none yet: agentpm task update {} --add-acceptance TEXT", task.id),
                        false => "name it by its number, from 1, or by its exact text".to_owned(),
                    })
            })
        })
        .collect()
}

/// Marks criteria as met or unmet; those that are already so need no event.
pub fn mark_criteria(stage: &mut dyn Stage, permit: &Permit, criteria: &[String], met: bool) -> Result<()> {
    for criterion in criteria {
        let task = stage.task(permit.id)?;
        if task.met.contains_key(criterion) != met {
            if !met {
                refuse_unmarking(&task)?;
            }
            permit.emit(stage, Payload::AcceptanceMet(AcceptanceMet { criterion: criterion.clone(), met }))?;
        }
    }
    Ok(())
}
