//! Reads an export of arbeit: one JSON object with tasks, their steps and notes, and relationships.
//!
//! Guarantees: every task, step and note comes across with its id and its times, or the import is refused;
//! whatever else they say is kept as metadata.
//! Leaves to others: files and the store.

use std::collections::BTreeSet;
use std::io::Read;

use serde_json::{Map, Value};

use super::collector::{Collector, Link};
use super::document::Documents;
use super::source::{
    ImportedEdge, ImportedItem, ImportedNote, ImportedTask, PackedImport, Record, joined, shortened, word,
};
use crate::error::Result;
use crate::model::context::ContextType;
use crate::model::id::quoted;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::time::Time;

const FORMAT: &str = "arbeit";
/// What a refusal calls the file.
const WHAT: &str = "the arbeit export";
/// What the file calls itself.
const NAME: &str = "arbeit-export";

/// Reads the text of an arbeit export.
///
/// Errors: `ERR_VALIDATION` for text that is not JSON (with line and column), another format, a task without id or
/// title, a step or note without text, or an id that two tasks have.
pub(crate) fn parse(source: &mut dyn Read) -> Result<PackedImport> {
    let mut found = Collector::default();
    let file = Documents::open(source, WHAT, "export it from arbeit again")?;
    let rest = file.only(&[&["tasks"], &["relationships"]], &mut |path, index, value| match path[0].as_str() {
        "tasks" => read_task(&mut found, format!("tasks[{index}]"), value),
        _ => read_relationship(&mut found, format!("relationships[{index}]"), value),
    })?;
    let mut file = Record::open(WHAT, rest)?;
    let name = file.take("format");
    if !name.is_null() && name != NAME {
        return Err(file.refuse(&format!("says that its format is {name}, not {NAME}")));
    }
    if !file.peek("tasks").is_array() {
        return Err(file.refuse("has no list of tasks"));
    }
    // Their items have arrived.
    file.list("tasks");
    file.list("relationships");
    found.left_out(file);
    let mut imported = found.finish(FORMAT);
    resolve_superseded(&mut imported);
    Ok(imported)
}

fn read_task(found: &mut Collector, place: String, value: Value) -> Result<()> {
    let mut record = Record::open(place, value)?;
    let origin = record.id()?;
    let title = record.title()?;
    let status = record.status(|given| Some((status_of(given)?, given != "archived")));
    let updated_at = record.time_of("updated_at");
    let progress = read_progress(found, &mut record, &origin, updated_at)?;
    let context = read_context(found, &mut record, &origin)?;
    let task = ImportedTask {
        title,
        intent: record.text("intent"),
        status,
        created_at: record.time("created_at"),
        closed_at: updated_at.filter(|_| status.is_finished()),
        progress,
        context,
        origin,
        ..ImportedTask::default()
    };
    let place = record.place().to_owned();
    let metadata = record.close(&mut found.warnings);
    found.add_task(place, ImportedTask { metadata, ..task })
}

/// An archived task was finished first, and the export does not say how: completed is the likelier.
fn status_of(given: &str) -> Option<Status> {
    Status::from_word(given).map(|status| if status == Status::Archived { Status::Completed } else { status })
}

fn read_progress(
    found: &mut Collector,
    task: &mut Record,
    origin: &str,
    updated_at: Option<Time>,
) -> Result<Vec<ImportedItem>> {
    let mut items = Vec::new();
    let mut leftovers = Vec::new();
    for (index, value) in task.list("progress").into_iter().enumerate() {
        let mut record = Record::open(format!("{} progress[{index}]", task.place()), value)?;
        let item = read_item(&mut record, origin, updated_at)?;
        leftovers.extend(leftover(&item, record.close(&mut found.warnings)));
        items.push(item);
    }
    // A step has no metadata of its own, so the task keeps what else was said of it.
    if !leftovers.is_empty() {
        task.keep("progress", leftovers);
    }
    Ok(items)
}

fn read_item(record: &mut Record, task: &str, updated_at: Option<Time>) -> Result<ImportedItem> {
    let origin = record.origin();
    record.repeated("task_id", task);
    let Some(content) = record.text("content") else { return Err(record.refuse("has no content")) };
    let created_at = record.time("created_at");
    let completed = record.flag("completed");
    if completed == Some(false) && !record.peek("completed_at").is_null() {
        record.warn("it is not completed but has completed_at, which is kept in metadata");
        return Ok(ImportedItem { origin, content, created_at, completed_at: None });
    }
    let at = record.time("completed_at");
    let done = completed.unwrap_or(at.is_some());
    let completed_at = done.then(|| at.or(created_at).or(updated_at).unwrap_or_default());
    Ok(ImportedItem { origin, content, created_at, completed_at })
}

fn leftover(item: &ImportedItem, mut rest: Map<String, Value>) -> Option<Value> {
    if rest.is_empty() {
        return None;
    }
    rest.insert("id".into(), item.origin.clone().into());
    Some(Value::Object(rest))
}

fn read_context(found: &mut Collector, task: &mut Record, origin: &str) -> Result<Vec<ImportedNote>> {
    let mut notes = Vec::new();
    for (index, value) in task.list("context").into_iter().enumerate() {
        let mut record = Record::open(format!("{} context[{index}]", task.place()), value)?;
        let own = record.origin();
        record.repeated("task_id", origin);
        let Some(content) = record.text("content") else { return Err(record.refuse("has no content")) };
        let kind = record.choice("type").unwrap_or(ContextType::Note);
        let created_at = record.time("created_at");
        let superseded_by = record.text("superseded_by");
        let metadata = record.take("metadata");
        let metadata = joined(metadata, record.close(&mut found.warnings));
        notes.push(ImportedNote { origin: own, kind, content, metadata, created_at, superseded_by });
    }
    Ok(notes)
}

fn read_relationship(found: &mut Collector, place: String, value: Value) -> Result<()> {
    let said = value.clone();
    let mut record = Record::open(place, value)?;
    let origin = record.origin();
    let (Some(from), Some(to)) = (word(&record.take("from_task_id")), word(&record.take("to_task_id"))) else {
        found.warnings.push(format!(
            "{} does not name both of its tasks, and is left out: {}",
            record.place(),
            shortened(&said)
        ));
        return Ok(());
    };
    let kind = record.choice("type").unwrap_or(RelationType::RelatesTo);
    let created_at = record.time("created_at");
    let metadata = record.take("metadata");
    let metadata = joined(metadata, record.close(&mut found.warnings));
    let home = to.clone();
    let edge = ImportedEdge { origin, kind, from, to, metadata, created_at };
    found.add_link(Link { edge, home, key: "relationships", said });
    Ok(())
}

/// A note can only be superseded by one that is there; another name stays in its metadata.
fn resolve_superseded(imported: &mut PackedImport) {
    let PackedImport { tasks, warnings, .. } = imported;
    let notes = tasks.iter().flat_map(|task| task.open().context);
    let known: BTreeSet<String> = notes.filter_map(|note| note.origin).collect();
    let is_dangling = |note: &ImportedNote| note.superseded_by.as_ref().is_some_and(|newer| !known.contains(newer));
    for task in tasks.iter_mut().filter(|task| task.open().context.iter().any(is_dangling)) {
        task.change(|task| {
            for note in task.context.iter_mut().filter(|note| is_dangling(note)) {
                let newer = note.superseded_by.take().unwrap_or_default();
                let what = note.origin.as_deref().unwrap_or("a note");
                warnings.push(format!("{}: superseded_by {} is not in the file", quoted(what), quoted(&newer)));
                let rest = Map::from_iter([("superseded_by".to_owned(), Value::from(newer))]);
                note.metadata = joined(note.metadata.take(), rest);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::import::source::Import;
    use serde_json::json;

    fn parse(text: &str) -> Result<Import> {
        super::parse(&mut text.as_bytes()).map(PackedImport::open)
    }

    fn export() -> Value {
        json!({
            "format": "arbeit-export",
            "tasks": [
                {
                    "id": "tkt-1", "title": "Water the beds", "status": "in_progress", "intent": "Nothing dries out",
                    "created_at": "2026-01-19T14:24:16.213Z", "updated_at": "2026-01-19T15:00:00Z",
                    "progress": [],
                    "context": [
                        {"id": "ctx-1", "task_id": "tkt-1", "type": "decision", "content": "By hand.", "metadata": null,
                         "superseded_by": "ctx-2", "created_at": "2026-01-19T14:25:08.929Z"},
                        {"id": "ctx-2", "task_id": "tkt-1", "type": "decision", "content": "By hose.",
                         "metadata": {"by": "bee"}, "superseded_by": null, "created_at": "2026-01-20T14:25:08.929Z"}
                    ]
                },
                {
                    "id": "tkt-2", "title": "Buy a hose", "status": "completed", "intent": null,
                    "created_at": "2026-01-19T14:24:17Z", "updated_at": "2026-01-21T10:00:00Z",
                    "progress": [
                        {"id": "prg-1", "task_id": "tkt-2", "content": "Measure", "completed": true,
                         "created_at": "2026-01-19T14:24:59.684Z", "completed_at": "2026-01-20T08:00:00Z"},
                        {"id": "prg-2", "task_id": "tkt-2", "content": "Compare", "completed": true,
                         "created_at": "2026-01-19T14:25:00Z", "completed_at": null},
                        {"id": "prg-3", "task_id": "tkt-2", "content": "Fetch", "completed": false,
                         "created_at": "2026-01-19T14:25:01Z", "completed_at": null}
                    ],
                    "context": []
                }
            ],
            "relationships": [
                {"id": "rel-1", "from_task_id": "tkt-1", "to_task_id": "tkt-2", "type": "parent_of", "metadata": null,
                 "created_at": "2026-01-19T14:26:00Z"}
            ]
        })
    }

    fn read(value: &Value) -> Import {
        parse(&value.to_string()).unwrap()
    }

    fn time(text: &str) -> Option<Time> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn everything_comes_across() {
        let imported = read(&export());
        assert_eq!(imported.warnings, [""; 0]);
        let [water, hose] = imported.tasks.as_slice() else { panic!("{:?}", imported.tasks) };
        assert_eq!((water.origin.as_str(), water.title.as_str()), ("tkt-1", "Water the beds"));
        assert_eq!((water.status, water.intent.as_deref()), (Status::InProgress, Some("Nothing dries out")));
        assert_eq!((water.created_at, water.closed_at), (time("2026-01-19T14:24:16.213Z"), None));
        assert_eq!(Value::Object(water.metadata.clone()), json!({"updated_at": "2026-01-19T15:00:00Z"}));
        assert_eq!((hose.status, hose.closed_at), (Status::Completed, time("2026-01-21T10:00:00Z")));

        let done: Vec<_> = hose.progress.iter().map(|item| item.completed_at).collect();
        assert_eq!(done, [time("2026-01-20T08:00:00Z"), time("2026-01-19T14:25:00Z"), None]);
        assert_eq!(hose.progress[0].origin.as_deref(), Some("prg-1"));
        assert_eq!(hose.progress[2].content, "Fetch");
        assert_eq!(hose.progress[2].created_at, time("2026-01-19T14:25:01Z"));

        let [old, new] = water.context.as_slice() else { panic!("{:?}", water.context) };
        assert_eq!((old.origin.as_deref(), old.superseded_by.as_deref()), (Some("ctx-1"), Some("ctx-2")));
        assert_eq!((old.kind, old.content.as_str(), &old.metadata), (ContextType::Decision, "By hand.", &Value::Null));
        assert_eq!((new.created_at, &new.metadata), (time("2026-01-20T14:25:08.929Z"), &json!({"by": "bee"})));

        let edge = ImportedEdge {
            origin: Some("rel-1".into()),
            kind: RelationType::ParentOf,
            from: "tkt-1".into(),
            to: "tkt-2".into(),
            metadata: Value::Null,
            created_at: time("2026-01-19T14:26:00Z"),
        };
        assert_eq!(imported.edges, [edge]);
    }

    #[test]
    fn what_is_unknown_is_kept_and_reported() {
        let mut export = export();
        export["exported_by"] = json!("arbeit 2");
        export["tasks"][0]["status"] = json!("archived");
        export["tasks"][0]["colour"] = json!("green");
        export["tasks"][0]["context"][0]["type"] = json!("guess");
        export["tasks"][0]["context"][1]["superseded_by"] = json!("ctx-9");
        export["tasks"][1]["created_at"] = json!("long ago");
        export["tasks"][1]["progress"][2]["weight"] = json!(3);
        export["relationships"][0]["type"] = json!("likes");
        export["relationships"][0]["metadata"] = json!([1]);
        let imported = read(&export);
        let (water, hose) = (&imported.tasks[0], &imported.tasks[1]);
        assert_eq!((water.status, &water.metadata["status"]), (Status::Completed, &json!("archived")));
        assert_eq!(water.metadata["colour"], "green");
        assert_eq!((water.context[0].kind, &water.context[0].metadata), (ContextType::Note, &json!({"type": "guess"})));
        assert_eq!(water.context[1].superseded_by, None);
        assert_eq!(water.context[1].metadata, json!({"superseded_by": "ctx-9", "metadata": {"by": "bee"}}));
        assert_eq!((hose.created_at, &hose.metadata["created_at"]), (None, &json!("long ago")));
        assert_eq!(hose.metadata["progress"], json!([{"weight": 3, "id": "prg-3"}]));
        assert_eq!(imported.edges[0].kind, RelationType::RelatesTo);
        assert_eq!(imported.edges[0].metadata, json!({"type": "likes", "metadata": [1]}));
        assert_eq!(imported.warnings.len(), 6, "{:#?}", imported.warnings);
    }

    #[test]
    fn a_relationship_to_nowhere_stays_with_its_task() {
        let mut export = export();
        export["relationships"][0]["from_task_id"] = json!("tkt-9");
        let imported = read(&export);
        assert!(imported.edges.is_empty());
        assert_eq!(imported.tasks[1].metadata["relationships"], export["relationships"]);
    }

    #[test]
    fn refusals_say_where() {
        let message = |text: &str| parse(text).unwrap_err().message;
        assert!(message("{\"tasks\":[\n{]}").contains("line 2 column 2"));
        assert!(message(r#"{"tasks":[],"tasks":[]}"#).contains("duplicate key"));
        assert_eq!(message("[]"), "the arbeit export is not an object but []");
        assert_eq!(
            message(r#"{"format":"other","tasks":[]}"#),
            "the arbeit export says that its format is \"other\", not arbeit-export"
        );
        assert_eq!(message("{}"), "the arbeit export has no list of tasks");
        let mut export = export();
        export["tasks"][1]["progress"][1]["content"] = json!("");
        assert_eq!(message(&export.to_string()), r#"tasks[1] "tkt-2" progress[1] "prg-2" has no content"#);
        export["tasks"][1]["id"] = json!("tkt-1");
        export["tasks"][1]["progress"] = json!([]);
        assert_eq!(
            message(&export.to_string()),
            r#"tasks[1] "tkt-1" has the id "tkt-1", which tasks[0] "tkt-1" has too"#
        );
    }
}
