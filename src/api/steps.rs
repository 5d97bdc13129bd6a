//! A batch whose steps are made each by itself.
//!
//! Guarantees that a step that is refused stops no other, and that a later step may name what an earlier one created.
//! Leaves to others: batches that happen whole or not at all, which are one command (`rules::decide`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, Answered, change};
use crate::engine::Workspace;
use crate::error::{Error, Result};
use crate::model::command::{Batch, BatchOp, Command};
use crate::model::id::Id;
use crate::reports::changed::{BatchAnswer, BatchStep, Changed};

/// Carries out each step of a batch.
///
/// Errors: `ERR_USAGE` where no agent is named.
pub fn each(ws: &Workspace, batch: &Batch) -> Result<Answered> {
    let correlation_id = ws.linking_author()?.correlation_id;
    let linked = ws.linked(correlation_id.clone());
    let mut names = BTreeMap::new();
    let mut answered = Answered::of(Answer::Changed(Changed::Nothing));
    let mut items = Vec::with_capacity(batch.ops.len() + batch.malformed.len());
    let mut ops = batch.ops.iter();
    for n in 0..batch.ops.len() + batch.malformed.len() {
        if let Some(step) = batch.malformed.get(&n) {
            items.push(refused(step.name.clone(), &step.error));
            continue;
        }
        let Some(op) = ops.next() else { break };
        let key = ws.request.idempotency_key.as_ref().map(|key| format!("{key} step {n}"));
        let made = with_names(op, &names).and_then(|command| change(&linked, &command, key.as_deref()));
        let mut item = BatchStep { name: op.name.clone(), ok: Some(true), ..BatchStep::default() };
        match made {
            Ok(step) => {
                match &step.data {
                    Answer::Changed(Changed::Agent(agent)) => item.agent = Some(agent.name.clone()),
                    // A step that was made by an earlier call with the same key.
                    Answer::Changed(Changed::Repeated(answer)) if answer["name"].is_string() => {
                        item.agent = answer["name"].as_str().map(str::to_owned);
                    }
                    data => item.id = data.names().and_then(|ids| ids.first()?.parse().ok()),
                }
                if let Answer::Changed(Changed::Batch(split)) = &step.data
                    && let Some(whole) = split.items.first()
                {
                    (item.handle, item.title) = (whole.handle.clone(), whole.title.clone());
                    item.parts = split.items.iter().skip(1).filter_map(|part| part.id).collect();
                } else if let Answer::Changed(changed) = &step.data {
                    (item.handle, item.title) = changed.task_names().unzip();
                }
                names.extend(op.name.clone().zip(item.id));
                answered.events.extend(step.events);
                answered.warnings.extend(step.warnings);
            }
            Err(e) => item = refused(op.name.clone(), &e),
        }
        items.push(item);
    }
    linked.take_notices().into_iter().for_each(|notice| ws.notice(notice));
    let answer = BatchAnswer { total: items.len(), items, events: answered.events.len(), correlation_id };
    Ok(Answered { data: Answer::Changed(Changed::Batch(answer)), ..answered })
}

/// The answer of a step that is not made.
fn refused(name: Option<String>, error: &Error) -> BatchStep {
    BatchStep { name, ok: Some(false), error: Some(Box::new(json!(error))), ..BatchStep::default() }
}

/// The command of a step, with the ids of earlier steps in place of their names.
fn with_names(op: &BatchOp, names: &BTreeMap<String, Id>) -> Result<Command> {
    let mut args = op.command.to_json();
    put_ids(&mut args, names);
    Command::from_json(op.command.op(), args)
}

fn put_ids(value: &mut Value, names: &BTreeMap<String, Id>) {
    match value {
        Value::String(text) => {
            if let Some(id) = text.strip_prefix('$').and_then(|name| names.get(name)) {
                *text = id.to_string();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| put_ids(item, names)),
        Value::Object(map) => map.values_mut().for_each(|item| put_ids(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
