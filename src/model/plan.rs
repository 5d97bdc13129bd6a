//! A plan file: nested tasks with keys.
//!
//! Guarantees that every plain field is read, and that an unknown key is refused with its line.
//! Leaves to others: reading YAML, and how the tasks are created or updated (`engine::commit::plan`, `rules::decide`).

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::field::{Form, NAMES, field};
use crate::model::id::{Id, quoted};
use crate::model::json::exact_object;
use crate::model::payload::Fields;
use crate::model::time::Time;

/// How the origins of the tasks of plans begin.
pub const PLAN_ORIGIN: &str = "plan/";

/// The most levels of tasks in a plan file: deeper ones, with the lists of their tasks, are nested deeper than YAML is read.
pub const MAX_LEVELS: usize = 17;

/// How the origins of the tasks of a plan begin; the key of each follows.
pub fn keys_of(plan: &str) -> String {
    format!("{PLAN_ORIGIN}{plan}:")
}

/// A plan file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Name of the plan, which separates its keys from those of other plans.
    pub plan: String,
    /// The tasks.
    pub tasks: Vec<PlanTask>,
}

/// One task of a plan, with its parts.
#[derive(Clone, Debug, Default)]
pub struct PlanTask {
    /// By which the plan identifies the task.
    pub key: Option<String>,
    /// The state of the task that `plan show` wrote the file from: the newest events of its log, as [`handle_of`] names each,
    /// with a space between two.
    pub as_of: Option<String>,
    /// Its title.
    pub title: String,
    /// The other plain fields that the plan gives.
    pub fields: Fields,
    /// Steps.
    pub progress: Vec<String>,
    /// Keys of tasks of this plan, or ids.
    pub blocked_by: Vec<String>,
    /// Its parts.
    pub children: Vec<PlanTask>,
}

/// The keys of a task in a plan besides the plain fields, with their descriptions.
pub const PLAN_KEYS: [(&str, &str); 5] = [
    ("key", "Identifies the task within the plan (default: its title below the key of its parent)."),
    ("as_of", "The state of the task that agentpm plan show wrote the file from. Leave it as it is."),
    ("progress", "Steps of the work, as texts."),
    ("blocked_by", "Keys of tasks of this plan, or ids, that must be finished first."),
    ("children", "The parts of the task, each a task of the plan."),
];

/// A task of a plan with its key and that of its parent.
#[derive(Clone, Debug)]
pub struct PlanItem<'a> {
    /// Its key; without one, its title below the key of its parent.
    pub key: String,
    /// The key of its parent.
    pub parent: Option<String>,
    /// The task.
    pub task: &'a PlanTask,
}

/// The event of a task as `as_of` names it: the last 8 characters of its id, since chance makes them differ within one log.
pub fn handle_of(event: Id) -> String {
    event.handle(8)
}

/// All tasks of a plan, each parent before its parts.
///
/// Errors: `ERR_VALIDATION` for two tasks with one key.
pub fn flatten(tasks: &[PlanTask]) -> Result<Vec<PlanItem<'_>>> {
    let (mut flat, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
    let mut open: Vec<(&PlanTask, Option<String>)> = tasks.iter().rev().map(|task| (task, None)).collect();
    while let Some((task, parent)) = open.pop() {
        let key = task.key.clone().unwrap_or_else(|| match &parent {
            Some(parent) => format!("{parent}/{}", task.title),
            None => task.title.clone(),
        });
        if !seen.insert(key.clone()) {
            return Err(Error::validation(format!("two tasks of the plan have the key {}", quoted(&key)))
                .hint("give each its own key"));
        }
        open.extend(task.children.iter().rev().map(|child| (child, Some(key.clone()))));
        flat.push(PlanItem { key, parent, task });
    }
    Ok(flat)
}

impl PlanTask {
    /// What the plan says of the plain fields of the task, with its title.
    pub fn plain(&self) -> Fields {
        let mut plain = Fields::from_iter([("title".to_owned(), json!(self.title))]);
        plain.extend(self.fields.clone());
        plain
    }
}

impl PlanItem<'_> {
    /// What the plan says of the task, as `SourceApplied` keeps it.
    pub fn said(&self) -> Fields {
        let mut said = self.task.plain();
        said.extend(self.parent.iter().map(|parent| ("parent".to_owned(), json!(parent))));
        for (name, list) in [("blocked_by", &self.task.blocked_by), ("progress", &self.task.progress)] {
            if !list.is_empty() {
                said.insert(name.to_owned(), json!(list));
            }
        }
        said
    }
}

impl Serialize for PlanTask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(key) = &self.key {
            map.serialize_entry("key", key)?;
        }
        if let Some(as_of) = &self.as_of {
            map.serialize_entry("as_of", as_of)?;
        }
        for (name, value) in self.plain() {
            map.serialize_entry(&name, &value)?;
        }
        map.serialize_entry("progress", &self.progress)?;
        map.serialize_entry("blocked_by", &self.blocked_by)?;
        map.serialize_entry("children", &self.children)?;
        map.end()
    }
}

impl JsonSchema for PlanTask {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PlanTask".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "required": ["title"], "description": "A task as in a plan: agentpm schema plan"})
    }
}

/// A key of a task in a plan.
enum PlanKey {
    /// `key`, by which the plan identifies the task.
    Name,
    AsOf,
    Progress,
    BlockedBy,
    Children,
    Field(Form, &'static str),
}

/// A map whose numbers are refused where they would be rounded.
#[derive(Deserialize)]
struct ExactMap(#[serde(deserialize_with = "exact_object")] Fields);

impl<'de> Deserialize<'de> for PlanKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        Ok(match (key.as_str(), field(&key)) {
            ("key", _) => PlanKey::Name,
            ("as_of", _) => PlanKey::AsOf,
            ("progress", _) => PlanKey::Progress,
            ("blocked_by", _) => PlanKey::BlockedBy,
            ("children", _) => PlanKey::Children,
            (_, Some(field)) => PlanKey::Field(field.form, field.name),
            (unknown, None) => {
                let known = NAMES.join(", ");
                return Err(D::Error::custom(format!(
                    "unknown field `{unknown}`, expected one of key, as_of, {known}, progress, blocked_by, children"
                )));
            }
        })
    }
}

impl<'de> Deserialize<'de> for PlanTask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

/// Reads a task by its keys: the form of a field says how, so that a text such as `1.10` is read as it is written.
struct Keys;

/// The value of a field, of the kind that the field has.
fn field_value<'de, A: MapAccess<'de>>(map: &mut A, form: Form) -> Result<Value, A::Error> {
    Ok(match form {
        Form::Title | Form::Line | Form::Prose | Form::Type => json!(map.next_value::<Option<String>>()?),
        Form::Priority | Form::Number => json!(map.next_value::<Option<i64>>()?),
        Form::Time => json!(map.next_value::<Option<Time>>()?),
        Form::Words | Form::Agents | Form::Criteria => json!(map.next_value::<Vec<String>>()?),
        Form::Map => json!(map.next_value::<Option<ExactMap>>()?.map(|map| map.0)),
    })
}

impl<'de> Visitor<'de> for Keys {
    type Value = PlanTask;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a task")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PlanTask, A::Error> {
        let mut task = PlanTask::default();
        while let Some(key) = map.next_key()? {
            match key {
                PlanKey::Name => task.key = map.next_value()?,
                PlanKey::AsOf => task.as_of = map.next_value()?,
                PlanKey::Progress => task.progress = map.next_value()?,
                PlanKey::BlockedBy => task.blocked_by = map.next_value()?,
                PlanKey::Children => task.children = map.next_value()?,
                PlanKey::Field(Form::Title, _) => task.title = map.next_value()?,
                PlanKey::Field(form, name) => {
                    task.fields.insert(name.to_owned(), field_value(&mut map, form)?);
                }
            }
        }
        task.fields.retain(|_, value| !value.is_null() && *value != json!([]));
        Ok(task)
    }
}
