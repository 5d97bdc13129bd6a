//! The plain fields of a task: one table, from which everything that handles a field by its name is derived.
//!
//! Guarantees that a field has its name, type, form and description in one place, and that [`TaskFields`] and [`FIELDS`] agree.
//! Leaves to others: which values a command may write (`rules::fields`), and the arguments that set a field (`model::command`).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::task::TaskType;
use crate::model::time::Time;

/// What a field holds: the values that are allowed, and how a person writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One line, which every task has.
    Title,
    /// One line.
    Line,
    /// Text of any length.
    Prose,
    /// One of [`TaskType::WORDS`].
    Type,
    /// A number from -5 to 5.
    Priority,
    /// A whole number.
    Number,
    /// A time.
    Time,
    /// A list of different lines.
    Words,
    /// A list of different agents.
    Agents,
    /// A list of different lines, each of which can be marked as met.
    Criteria,
    /// JSON values by name.
    Map,
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "each variant holds what its name says")]
pub enum FieldValue<'a> {
    Text(Option<&'a str>),
    Number(Option<i64>),
    Time(Option<Time>),
    List(&'a [String]),
    Map(&'a Map<String, Value>),
}

impl FieldValue<'_> {
    /// The value as JSON.
    pub fn to_json(self) -> Value {
        // Plain values with string keys cannot fail to serialize.
        serde_json::to_value(self).expect("field values are plain data")
    }
}

/// A plain field of a task.
#[derive(Debug)]
pub struct Field {
    /// Its name in JSON, in events and in `task.yaml`.
    pub name: &'static str,
    /// What it holds.
    pub form: Form,
    /// What it means, in one sentence.
    pub description: &'static str,
    /// The names that other tools use for it.
    pub synonyms: &'static [&'static str],
    /// Its value.
    pub get: fn(&TaskFields) -> FieldValue<'_>,
    /// Reads a JSON value into it; `null` empties it, except for a title.
    pub read: fn(&mut TaskFields, &Value) -> serde_json::Result<()>,
    /// Exchanges its values in two tasks.
    pub swap: fn(&mut TaskFields, &mut TaskFields),
}

/// The field of a name.
pub fn field(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

macro_rules! task_fields {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty, $key:literal, $form:ident, [$($synonym:literal),*];)*) => {
        /// The fields that `TaskCreated` and `TaskUpdated` write, each its own register.
        #[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
        pub struct TaskFields {
            $($(#[doc = $doc])+ #[serde(rename = $key)] pub $name: $type,)*
            /// Fields of a newer version, by name.
            pub extra: Map<String, Value>,
        }

        /// The plain fields, in the order of JSON.
        pub static FIELDS: &[Field] = &[$(Field {
            name: $key,
            form: Form::$form,
            description: concat!($($doc),+).trim_ascii(),
            synonyms: &[$($synonym),*],
            get: |fields| FieldType::get(&fields.$name),
            read: |fields, value| FieldType::read(value).map(|value| fields.$name = value),
            swap: |one, other| std::mem::swap(&mut one.$name, &mut other.$name),
        }),*];

        /// The names of the plain fields, in the order of JSON.
        pub const NAMES: &[&str] = &[$($key),*];
    };
}

task_fields! {
    /// One line that names it.
    title: String, "title", Title, ["name", "subject", "summary", "heading"];
    /// Goal and reason, in prose.
    intent: Option<String>, "intent", Prose, ["description", "desc", "body", "details", "content", "text", "goal"];
    /// Type of work.
    kind: TaskType, "type", Type, ["kind", "issue_type"];
    /// From -5 to 5; higher is sooner.
    priority: i64, "priority", Priority, ["prio", "importance"];
    /// Labels to find it by.
    labels: Vec<String>, "labels", Words, ["tags"];
    /// Agents that watch it.
    watchers: Vec<String>, "watchers", Agents, [];
    /// What must hold before it is completed.
    acceptance: Vec<String>, "acceptance", Criteria, ["acceptance_criteria", "criteria", "definition_of_done", "done_when"];
    /// Expected effort, as free text.
    estimate: Option<String>, "estimate", Line, ["effort", "estimation", "story_points"];
    /// When it is due: a time or a date.
    due: Option<Time>, "due", Time, ["due_date", "due_at", "deadline"];
    /// It is not offered before this time or date.
    defer_until: Option<Time>, "defer_until", Time, ["not_before", "start_date", "snooze"];
    /// Paths or globs that it is expected to touch.
    files: Vec<String>, "files", Words, [];
    /// Other data, by name.
    metadata: Map<String, Value>, "metadata", Map, [];
    /// The permission that an agent needs to claim it (roles.yml).
    need_perm: Option<String>, "need_perm", Line, [];
    /// The least precedence that an agent needs to claim it (roles.yml).
    need_precedence: Option<i64>, "need_precedence", Number, [];
}

impl TaskFields {
    /// The plain fields with their values, in the order of JSON.
    pub fn entries(&self) -> impl Iterator<Item = (&'static Field, FieldValue<'_>)> {
        FIELDS.iter().map(|field| (field, (field.get)(self)))
    }
}

/// The type of a field.
trait FieldType: Default + DeserializeOwned {
    fn get(&self) -> FieldValue<'_>;

    fn read(value: &Value) -> serde_json::Result<Self> {
        Option::<Self>::deserialize(value).map(Option::unwrap_or_default)
    }
}

impl FieldType for String {
    fn get(&self) -> FieldValue<'_> {
        FieldValue::Text(Some(self))
    }

    fn read(value: &Value) -> serde_json::Result<Self> {
        Self::deserialize(value)
    }
}

macro_rules! field_types {
    ($($type:ty: $get:expr;)*) => {
        $(impl FieldType for $type {
            fn get(&self) -> FieldValue<'_> {
                let get: fn(&Self) -> FieldValue<'_> = $get;
                get(self)
            }
        })*
    };
}

field_types! {
    TaskType: |word| FieldValue::Text(Some(word.as_str()));
    Option<String>: |text| FieldValue::Text(text.as_deref());
    i64: |number| FieldValue::Number(Some(*number));
    Option<i64>: |number| FieldValue::Number(*number);
    Option<Time>: |time| FieldValue::Time(*time);
    Vec<String>: |list| FieldValue::List(list);
    Map<String, Value>: |map| FieldValue::Map(map);
}
