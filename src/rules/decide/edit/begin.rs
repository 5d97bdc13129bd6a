//! Creates a task from a file that a person wrote: emits what `task create` and the commands after it write.
//!
//! Leaves to others: finding out what was edited (`engine::commit::hand_edits`).

use serde_json::{Value, json};

use super::{BLOCKED_BY, Doc, Edit, EditResult, Misfit, edit, list, misfit, names};
use crate::error::Error;
use crate::model::args::Text;
use crate::model::command::{Command, TaskCreate};
use crate::model::id::Id;
use crate::model::payload::Fields;
use crate::rules::copies::HAND_EDIT;
use crate::rules::decide::{Subject, tasks};
use crate::rules::fields;
use crate::rules::stage::Stage;

/// Creates a task from a file on the stage; `id` is the name of its folder, if that is an id. Returns the task's id.
///
/// Errors: the first refusal of the rules; the caller must then discard what was emitted before.
pub fn begin(stage: &mut dyn Stage, id: Option<Id>, doc: &Doc) -> EditResult<Id> {
    let named = doc.get("id").and_then(Value::as_str).map(str::to_ascii_uppercase);
    if doc.contains_key("id") && (named.is_none() || named != id.map(|id| id.to_string())) {
        return Err(misfit("id", None)(
            Error::validation("agentpm chooses the id of a new task, unless it is the name of its folder")
                .hint("remove id"),
        ));
    }
    for key in doc.keys() {
        names::check(key).map_err(misfit(key, None))?;
        if matches!(key.as_str(), "created_at" | "created_by") {
            let refusal = Error::validation(format!("{key} of a new task is written when agentpm records the task"));
            return Err(misfit(key, None)(refusal.hint(format!("remove {key}"))));
        }
    }
    let create = creation(stage, doc)?;
    let made = tasks::create_as(stage, &create, id).map_err(misfit("title", None))?;
    let Subject::Task(id) = made else { return Err(misfit("title", None)(Error::validation("no task was created"))) };
    let status = stage.task(id).map_err(misfit("title", None))?.status;
    let (mut old, mut new) = (doc.clone(), doc.clone());
    for doc in [&mut old, &mut new] {
        doc.retain(|key, _| is_created(key) || key == "acceptance");
    }
    new.extend(
        doc.iter().filter(|(key, _)| !matches!(key.as_str(), "id" | BLOCKED_BY)).map(|(k, v)| (k.clone(), v.clone())),
    );
    let words = create.acceptance.iter().map(|text| json!({ "criterion": text.0 }));
    if doc.contains_key("acceptance") {
        old.insert("acceptance".into(), words.collect());
    }
    old.insert("status".into(), json!(status));
    // A new task is open unless something blocks it.
    if new.get("status").is_none_or(|said| said == "open" || said.is_null()) {
        new.insert("status".into(), json!(status));
    }
    edit(stage, id, &old, &new).map_err(|misfit| of_new(misfit, id))?;
    Ok(id)
}

/// A refusal of a new file, which must not name the task that it does not become.
fn of_new(mut misfit: Box<Misfit>, id: Id) -> Box<Misfit> {
    let error = &mut misfit.error;
    error.message = error.message.replace(&format!("task {id}"), "a new task");
    let fits_an_old_one =
        |hint: &String| hint.contains(&id.to_string()) || hint.contains("agentpm ") || hint.contains("old value");
    if error.hint.as_ref().is_some_and(fits_an_old_one) {
        error.remedy = None;
        error.hint = Some(match misfit.key.as_str() {
            "status" => {
                "remove status, or write status: in_progress; further states can be written after the task is recorded"
                    .into()
            }
            key => format!("remove {key}; it can be added after the task is recorded"),
        });
    }
    misfit
}

/// Whether `task create` accepts this key.
fn is_created(key: &str) -> bool {
    (fields::NAMES.contains(&key) && key != "acceptance") || key == "parent"
}

/// The call of `task create` for a file.
fn creation(stage: &mut dyn Stage, doc: &Doc) -> EditResult<TaskCreate> {
    let empty = Doc::new();
    let edit = Edit { stage, id: Id::from_parts(0, 0), old: &empty, new: doc, changed: &[] };
    if doc.get("title").is_none_or(Value::is_null) {
        return Err(misfit("title", None)(Error::validation("a task needs a title").hint("write title: and one line")));
    }
    let mut args = json!({});
    for key in doc.keys().filter(|key| is_created(key) || *key == "acceptance") {
        let at = misfit(key, None);
        let Some(value) = edit.argument(key).map_err(&at)? else { continue };
        if !matches!(key.as_str(), "parent" | "metadata") {
            fields::check(&Fields::from_iter([(key.clone(), value.clone())])).map_err(&at)?;
        }
        if key == "parent" {
            edit.stage.task_id(&super::plain::reference(&value).map_err(&at)?).map_err(&at)?;
        }
        args[key.as_str()] = value;
    }
    let mut blockers = Vec::new();
    for (n, blocker) in list(doc.get(BLOCKED_BY)).iter().enumerate() {
        let at = misfit(BLOCKED_BY, Some(n));
        let blocker = edit.stage.task_id(&super::plain::reference(blocker).map_err(&at)?).map_err(&at)?;
        blockers.push(json!(blocker));
    }
    args[BLOCKED_BY] = Value::Array(blockers);
    let Command::TaskCreate(create) = Command::from_json("task.create", args).map_err(misfit("title", None))? else {
        return Err(misfit("title", None)(Error::validation("the file is not a task")));
    };
    Ok(TaskCreate { why: Some(Text(HAND_EDIT.into())), ..create })
}
