//! `conflicts restore`: a value that lost is written again, by somebody who has seen what it lost to.

use serde_json::{Value, json};

use super::Subject;
use super::guard::permit_id;
use super::put::{How, put, verb};
use crate::error::{Error, Result};
use crate::model::command::ConflictsRestore;
use crate::model::id::quoted;
use crate::model::words::Ref;
use crate::rules::lost::{Lost, lost};
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;

/// `conflicts restore`
pub fn restore(stage: &mut dyn Stage, c: &ConflictsRestore) -> Result<Subject> {
    let (task, event) = stage.event(&Ref(c.event.0.clone()))?;
    let all = lost(task, &stage.history(task)?);
    let of_event: Vec<&Lost> = all.iter().filter(|edit| edit.lost.event == event).collect();
    if of_event.is_empty() {
        return Err(Error::state(format!(
            "event {event} has lost nothing: what it wrote stands, or somebody who saw it wrote again"
        ))
        .with(json!({ "task": task, "event": event }))
        .hint(format!("agentpm conflicts {task} lists what was lost; agentpm blame {task} says what stands")));
    }
    let named = |edit: &&&Lost| c.field.as_ref().is_none_or(|field| *field == edit.field);
    let wanted: Vec<(String, Value)> =
        of_event.iter().filter(named).map(|edit| (edit.field.clone(), edit.lost.value.clone())).collect();
    if wanted.is_empty() {
        let names: Vec<&str> = of_event.iter().map(|edit| edit.field.as_str()).collect();
        let field = quoted(c.field.as_deref().unwrap_or_default());
        return Err(Error::not_found(format!("event {event} has not lost the field {field}"))
            .with(json!({ "task": task, "event": event, "fields": names }))
            .hint(format!("it lost {}", names.join(", "))));
    }
    for (name, value) in &wanted {
        stage.require(verb(name, value))?;
    }
    let why = c.guard.why.as_ref().map_or_else(|| format!("restored from {event}"), |why| why.0.clone());
    let right = wanted.first().map_or(Verb::Update, |(name, value)| verb(name, value));
    let permit = permit_id(stage, task, &c.guard, right)?.because(Some(why));
    put(stage, &permit, &wanted, How::default()).map_err(|mut e| {
        e.message = format!("{} of event {event} was not restored: {}", names(&wanted), e.message);
        e
    })?;
    Ok(Subject::Task(task))
}

fn names(wanted: &[(String, Value)]) -> String {
    wanted.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(" and ")
}
