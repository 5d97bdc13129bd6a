//! A task of a plan file.
//!
//! Guarantees that every plain field is read, and that an unknown key is refused with its line.
//! Leaves to others: how the task is created or updated (`commit::plan`).

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::model::field::{Form, NAMES, field};
use crate::model::json::exact_object;
use crate::model::payload::Fields;
use crate::model::time::Time;

/// One task of a plan, with its parts below it.
#[derive(Debug, Default)]
pub(super) struct PlanTask {
    /// By which the plan knows the task.
    pub key: Option<String>,
    pub title: String,
    /// The other plain fields that the plan gives.
    pub fields: Fields,
    pub progress: Vec<String>,
    /// Keys of tasks of this plan, or ids.
    pub blocked_by: Vec<String>,
    pub children: Vec<PlanTask>,
}

/// A map whose numbers are refused where they would be rounded.
#[derive(Deserialize)]
struct ExactMap(#[serde(deserialize_with = "exact_object")] Fields);

/// A key of a task in a plan.
enum PlanKey {
    /// `key`, by which the plan knows the task.
    Name,
    Progress,
    BlockedBy,
    Children,
    Field(Form, &'static str),
}

impl<'de> Deserialize<'de> for PlanKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        Ok(match (key.as_str(), field(&key)) {
            ("key", _) => PlanKey::Name,
            ("progress", _) => PlanKey::Progress,
            ("blocked_by", _) => PlanKey::BlockedBy,
            ("children", _) => PlanKey::Children,
            (_, Some(field)) => PlanKey::Field(field.form, field.name),
            (unknown, None) => {
                let known = NAMES.join(", ");
                return Err(D::Error::custom(format!(
                    "unknown field `{unknown}`, expected one of key, {known}, progress, blocked_by, children"
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
                PlanKey::Progress => task.progress = map.next_value()?,
                PlanKey::BlockedBy => task.blocked_by = map.next_value()?,
                PlanKey::Children => task.children = map.next_value()?,
                PlanKey::Field(Form::Title, _) => task.title = map.next_value()?,
                PlanKey::Field(form, name) => {
                    let value = match form {
                        Form::Title | Form::Line | Form::Prose | Form::Type => {
                            json!(map.next_value::<Option<String>>()?)
                        }
                        Form::Priority | Form::Number => json!(map.next_value::<Option<i64>>()?),
                        Form::Time => json!(map.next_value::<Option<Time>>()?),
                        Form::Words | Form::Agents | Form::Criteria => json!(map.next_value::<Vec<String>>()?),
                        Form::Map => json!(map.next_value::<Option<ExactMap>>()?.map(|map| map.0)),
                    };
                    task.fields.insert(name.to_owned(), value);
                }
            }
        }
        task.fields.retain(|_, value| !value.is_null() && *value != json!([]));
        Ok(task)
    }
}
