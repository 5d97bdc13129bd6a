//! The files of a store that people write, as JSON Schema 2020-12: for editors that complete words and underline mistakes.
//!
//! Guarantees that what agentpm writes is valid, and that what it would refuse for its form alone is not. The words come from the
//! rules themselves, so the two cannot differ.
//! Leaves to others: contradictions with another task or the log, which lint finds.

use schemars::schema_for;
use serde_json::{Map, Value, json};

use crate::model::command::{Batch, Command};
use crate::model::context::ContextType;
use crate::model::field::{FIELDS, Form};
use crate::model::plan::{PLAN_KEYS, PlanFile};
use crate::model::relationship::RelationType;
use crate::model::settings::Settings;
use crate::model::task::{Status, TaskType};
use crate::model::thread::ThreadStatus;
use crate::rules::fields::{MAX_LIST, MAX_TITLE, MAX_WORD, PRIORITY};
use crate::rules::roles::{Roles, Verb};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
const ULID: &str = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$";
/// A ULID, the beginning of one, or a handle.
const REFERENCE: &str = "^[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{4,26}$";
const AGENT: &str = "^[a-z0-9][a-z0-9._-]{0,63}$";
const TIME: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}.*)?$";
/// One line, with something on it.
const LINE: &str = "^[^\\r\\n\\u0000]*[^\\s\\u0000][^\\r\\n\\u0000]*$";

/// `task.yaml`, as agentpm writes it and as a person may.
pub fn task_file() -> Value {
    let mut properties = Map::new();
    for (name, description, shape) in keys() {
        let mut shape = shape;
        shape["description"] = json!(description);
        properties.insert(name.to_owned(), shape);
    }
    json!({
        "$schema": DRAFT,
        "$id": "urn:agentpm:schema:task-file",
        "title": "task.yaml of agentpm",
        "description": "A task as it stands. Edit it by hand if you like: the next change of the task, agentpm lint --fix or \
                        agentpm sync takes the edit in, by the same rules as a command. A new file needs a title and no more.",
        "type": "object",
        "required": ["title"],
        "properties": properties,
        "additionalProperties": {
            "description": "Not known to this version. Keys that a newer one wrote are kept as they are; \
                            keep values of your own under metadata."
        },
    })
}

/// `config.toml`.
pub fn config() -> Value {
    let mut schema = json!(schema_for!(Settings));
    describe_schema(
        &mut schema,
        "config",
        "config.toml of agentpm",
        "The settings of a store. A key that is left out has its default.",
    );
    close(&mut schema);
    schema["default"] = json!(Settings::default());
    schema
}

/// `roles.yml`.
pub fn roles() -> Value {
    let mut schema = json!(schema_for!(Roles));
    let description =
        "Who may do what. Without this file everyone may do everything; with it, what it does not grant is refused.";
    describe_schema(&mut schema, "roles", "roles.yml of agentpm", description);
    let verbs: Vec<&str> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
    let words = json!({ "anyOf": [
        { "description": "A verb of agentpm; admin stands for all of them.", "enum": verbs },
        { "description": "A permission that the project defines, for need_perm of a task.", "type": "string", "minLength": 1 },
    ]});
    schema["$defs"]["Grant"]["properties"]["perms"]["items"] = words;
    schema["properties"]["agents"]["propertyNames"] = json!({ "pattern": AGENT });
    schema
}

/// A plan file of `plan apply`; its tasks are also those of `task split --into`.
pub fn plan() -> Value {
    let mut schema = json!(schema_for!(PlanFile));
    describe_schema(
        &mut schema,
        "plan",
        "A plan of agentpm",
        "A plan that agentpm plan apply reads. Applying it again changes only what changed in it since.",
    );
    close(&mut schema);
    let described = FIELDS.iter().map(|field| (field.name, field.description, plan_shape(field.form)));
    let tasks = json!({ "type": "array", "items": { "$ref": "#/$defs/PlanTask" } });
    let own = PLAN_KEYS.map(|(name, description)| {
        let shape = match name {
            "key" => or_nothing(text()),
            "children" => tasks.clone(),
            _ => json!({ "type": "array", "items": text() }),
        };
        (name, description, shape)
    });
    let keys =
        described.chain(own).map(|(name, description, shape)| (name.to_owned(), self::described(description, shape)));
    schema["$defs"]["PlanTask"] = json!({
        "description": "A task of the plan.",
        "type": "object",
        "required": ["title"],
        "properties": keys.collect::<Map<String, Value>>(),
        "additionalProperties": false,
    });
    schema
}

/// What a plain field may hold in a plan: a criterion is its text alone.
fn plan_shape(form: Form) -> Value {
    match form {
        Form::Criteria => set(line(MAX_WORD)),
        other => shape(other),
    }
}

/// The operations of `batch`, each with its arguments.
pub fn batch() -> Value {
    let mut definitions = Map::new();
    let mut steps = Vec::new();
    for (op, schema) in Command::schemas().into_iter().filter(|(op, _)| *op != "batch") {
        let mut args = json!(schema);
        // The definitions of all steps are shared.
        if let Some(args) = args.as_object_mut() {
            args.shift_remove("$schema");
            definitions.extend(args.shift_remove("$defs").and_then(|own| own.as_object().cloned()).unwrap_or_default());
        }
        let step = json!({
            "type": "object",
            "required": ["op"],
            "properties": {
                "op": { "const": op },
                "as": { "type": "string", "description": "The name by which later steps refer to what this step creates, as $name" },
                "args": args,
                "data": { "description": "The same as args" },
            },
            "additionalProperties": false,
        });
        steps.push(step);
    }
    let mut schema = json!(schema_for!(Batch));
    schema["properties"]["ops"]["items"] = json!({ "oneOf": steps });
    schema["$defs"] = Value::Object(definitions);
    describe_schema(&mut schema, "batch", "A batch of agentpm", "The operations that agentpm batch carries out.");
    schema
}

/// Name and title of a schema that was made from a type.
fn describe_schema(schema: &mut Value, name: &str, title: &str, description: &str) {
    schema["$id"] = json!(format!("urn:agentpm:schema:{name}"));
    schema["title"] = json!(title);
    schema["description"] = json!(description);
}

/// A key that no setting has is a mistake.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.contains_key("properties") && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".into(), json!(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn line(most: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": most, "pattern": LINE })
}

fn or_nothing(mut shape: Value) -> Value {
    if let Some(kind) = shape["type"].as_str() {
        shape["type"] = json!([kind, "null"]);
    }
    if let Some(words) = shape.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    shape
}

fn id() -> Value {
    json!({ "type": "string", "pattern": ULID })
}

fn reference() -> Value {
    // A handle of digits alone is a number to YAML.
    json!({ "type": ["string", "integer", "null"], "pattern": REFERENCE })
}

fn time() -> Value {
    json!({ "type": "string", "pattern": TIME })
}

fn agent() -> Value {
    json!({ "type": "string", "pattern": AGENT })
}

fn list(items: Value) -> Value {
    json!({ "type": ["array", "null"], "items": items })
}

fn set(items: Value) -> Value {
    json!({ "type": ["array", "null"], "items": items, "maxItems": MAX_LIST, "uniqueItems": true })
}

/// An entry of a list: its words alone, or a mapping.
fn entry(words: &str, required: &[&str], properties: Value) -> Value {
    json!({ "anyOf": [
        { "description": words, "type": "string", "minLength": 1 },
        { "type": "object", "required": required, "properties": properties, "additionalProperties": false },
    ]})
}

fn described(description: &str, mut shape: Value) -> Value {
    shape["description"] = json!(description);
    shape
}

/// The keys of a task: name, what it means, what it may hold.
fn keys() -> Vec<(&'static str, &'static str, Value)> {
    let statuses: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
    let mut keys = vec![("id", "The task's ULID, which is the name of its folder. Leave it out of a new file.", id())];
    keys.extend(FIELDS.iter().map(|field| (field.name, field.description, shape(field.form))));
    keys.extend([
        (
            "status",
            "Where it stands. In progress needs an owner, blocked an unfinished blocker; a closed task is opened again by \
             agentpm task reopen.",
            json!({ "enum": statuses, "default": "open" }),
        ),
        ("owner", "Who works on it.", or_nothing(agent())),
        ("parent", "The task it is a part of: an id, or a handle.", reference()),
        ("created_at", "When it began. Written by agentpm.", time()),
        ("created_by", "Who began it. Written by agentpm.", text()),
        ("completed_at", "When it was completed. Written by agentpm.", or_nothing(time())),
        ("cancelled_at", "When it was cancelled. Written by agentpm.", or_nothing(time())),
        ("archived_at", "When it was put away. Written by agentpm.", or_nothing(time())),
        ("verified", "The last look at the result. Written by agentpm task verify.", verified()),
        (
            "blocked_by",
            "Short for relationships of type blocks: the tasks that must be finished first. Read, and not written again.",
            list(reference()),
        ),
        ("relationships", "How it relates to others. A new one has no id.", list(relationship())),
        (
            "progress",
            "Steps of the work. A new one has no id; one that is done is ticked off with completed: true.",
            list(step()),
        ),
        ("context", "What the next one should know. A new one has no id.", list(note())),
        (
            "threads",
            "Discussions of the task: each thread, followed by its replies. A new entry, without an id, answers a thread.",
            list(message()),
        ),
    ]);
    keys
}

/// What a plain field may hold.
fn shape(form: Form) -> Value {
    match form {
        Form::Title => line(MAX_TITLE),
        Form::Line => or_nothing(line(MAX_TITLE)),
        Form::Prose => or_nothing(text()),
        Form::Type => json!({ "enum": TaskType::WORDS, "default": "feature" }),
        Form::Priority => {
            json!({ "type": ["integer", "null"], "minimum": PRIORITY.start(), "maximum": PRIORITY.end(), "default": 0 })
        }
        Form::Number => json!({ "type": ["integer", "null"] }),
        Form::Time => or_nothing(time()),
        Form::Words => set(line(MAX_WORD)),
        Form::Agents => set(agent()),
        Form::Criteria => json!({ "type": ["array", "null"], "maxItems": MAX_LIST, "items": criterion() }),
        Form::Map => json!({ "type": ["object", "null"] }),
    }
}

fn criterion() -> Value {
    entry(
        "The criterion",
        &["criterion"],
        json!({
            "criterion": described("What must hold.", line(MAX_WORD)),
            "met": { "description": "Whether it holds.", "type": ["boolean", "null"] },
            "met_at": described("Since when. Written by agentpm.", or_nothing(time())),
            "met_by": described("Who said so. Written by agentpm.", or_nothing(text())),
        }),
    )
}

fn step() -> Value {
    entry(
        "The step",
        &["content"],
        json!({
            "id": described("Given by agentpm.", id()),
            "content": { "description": "The step, in words.", "type": "string", "minLength": 1 },
            "completed": { "description": "Whether it is done.", "type": ["boolean", "null"] },
            "created_at": described("Written by agentpm.", time()),
            "completed_at": described("Written by agentpm.", or_nothing(time())),
        }),
    )
}

fn note() -> Value {
    let kinds: Vec<&str> = ContextType::ALL.iter().map(|kind| kind.as_str()).collect();
    let mut note = entry(
        "A note",
        &[],
        json!({
            "id": described("Given by agentpm.", id()),
            "type": { "description": "Kind of entry.", "enum": kinds, "default": "note" },
            "content": { "description": "The text. Other words make a newer entry that takes its place.", "type": "string", "minLength": 1 },
            "redacted": { "description": "Its text was taken out.", "const": true },
            "author": described("Who recorded it. Written by agentpm.", text()),
            "metadata": { "description": "Anything else, by name." },
            "superseded_by": described("The entry that took its place. Written by agentpm.", or_nothing(id())),
            "created_at": described("Written by agentpm.", time()),
        }),
    );
    note["anyOf"][1]["anyOf"] = json!([{ "required": ["content"] }, { "required": ["redacted"] }]);
    note
}

/// A thread, or a reply of one.
fn message() -> Value {
    let statuses = ThreadStatus::ALL.map(ThreadStatus::as_str);
    entry(
        "An answer",
        &["body"],
        json!({
            "id": described("The thread's id, or the reply's.", id()),
            "thread": described("Of a reply, its thread. May be left out of a new one where one thread is open.", reference()),
            "parent": described("The message that it answers, unless that is the first.", reference()),
            "status": { "description": "Of a thread, its status.", "enum": statuses },
            "resolved_by": described("The agent that resolved it.", text()),
            "resolved_at": described("When it was resolved.", time()),
            "accepted": described("The message whose proposal, or whose answer, was accepted.", id()),
            "superseded_by": described("The thread that takes its place.", id()),
            "why": described("The reason for the resolution.", text()),
            "escalated_to": described("The agent that is to decide.", text()),
            "escalated_at": described("When it was escalated.", time()),
            "author": described("Its author.", text()),
            "body": described("Its text.", text()),
            "patch": { "description": "The change of the task that it proposes, as a JSON Patch (RFC 6902)." },
            "hold": { "description": "false if the task stays on offer while the thread is open.", "const": false },
            "ttl": described("How long it may stay open.", text()),
            "need_perm": described("The right that an agent needs to resolve it.", text()),
            "need_precedence": { "description": "The least precedence that an agent needs to resolve it.", "type": "integer" },
            "created_at": described("When it was written.", time()),
        }),
    )
}

fn relationship() -> Value {
    let kinds: Vec<&str> = RelationType::ALL.iter().map(|kind| kind.as_str()).collect();
    json!({
        "type": "object",
        "required": ["type"],
        "anyOf": [{ "required": ["from"] }, { "required": ["to"] }],
        "properties": {
            "id": described("Given by agentpm.", id()),
            "type": {
                "description": "parent_of and blocks: from is the parent or blocker of this task. relates_to and duplicates: to is the other.",
                "enum": kinds,
            },
            "from": described("The other task, where that is the parent or blocker.", reference()),
            "to": described("The other task, where this one speaks of it.", reference()),
            "metadata": { "description": "Anything else, by name." },
            "created_at": described("Written by agentpm.", or_nothing(time())),
        },
        "additionalProperties": false,
    })
}

fn verified() -> Value {
    json!({
        "type": ["object", "null"],
        "required": ["passed", "at", "by"],
        "properties": {
            "passed": { "description": "Whether it passed.", "type": "boolean" },
            "at": described("When.", time()),
            "by": described("Who.", text()),
        },
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::decide::edit::BLOCKED_BY;
    use crate::rules::fields::{NAMES, RESERVED};

    #[test]
    fn every_key_of_a_task_is_described() {
        let schema = task_file();
        let known: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let all: Vec<&str> = NAMES.iter().chain(RESERVED).copied().chain([BLOCKED_BY]).collect();
        for name in &all {
            assert!(known.contains(name), "{name} is missing");
        }
        assert_eq!(known.len(), all.len(), "{known:?}");
    }
}
