//! Reads the `tasks.json` of Task Master, with one list of tasks or with one for each tag.
//!
//! Guarantees: subtasks become tasks of their own below their parent, with ids like `1.2`; ids of other tags than
//! `master` begin with `tag/`; whatever has no field of ours is kept as metadata.
//! Leaves to others: files and the store.

use std::io::Read;

use serde_json::{Map, Value};

use super::collector::{Collector, Link};
use super::document::Documents;
use super::source::{Criteria, ImportedEdge, ImportedNote, ImportedTask, PackedImport, Record, shortened, word};
use crate::error::Result;
use crate::model::context::ContextType;
use crate::model::id::quoted;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::rules::fields::{MAX_LIST, MAX_WORD};

const FORMAT: &str = "taskmaster";
/// What a refusal calls the file.
const WHAT: &str = "the tasks.json";
/// The tag that a list without tags belongs to.
const MASTER: &str = "master";

/// Reads the text of a `tasks.json`.
///
/// Errors: `ERR_VALIDATION` for text that is not JSON (with line and column), a file without any list of tasks, a task
/// without id or title, or an id that two tasks have.
pub(crate) fn parse(source: &mut dyn Read) -> Result<PackedImport> {
    let mut reader = Reader::default();
    let file = Documents::open(source, WHAT, "correct it in the file and import again")?;
    let rest = file.only(&[&["tasks"], &["*", "tasks"]], &mut |path, index, value| match path {
        [tag, _] => reader.read_task(tag, format!("{tag}.tasks[{index}]"), value, None),
        _ => reader.read_task(MASTER, format!("tasks[{index}]"), value, None),
    })?;
    let mut file = Record::open(WHAT, rest)?;
    let tags: Vec<String> = file.keys().into_iter().filter(|key| file.peek(key)["tasks"].is_array()).collect();
    if tags.is_empty() && !file.peek("tasks").is_array() {
        return Err(file.refuse("has no list of tasks"));
    }
    // The tasks have arrived.
    for tag in tags {
        let mut list = Record::open(&tag, file.take(&tag))?;
        list.list("tasks");
        reader.found.left_out(list);
    }
    file.list("tasks");
    reader.found.left_out(file);
    Ok(reader.finish())
}

/// What a subtask needs to know of the task it is part of.
struct Parent<'a> {
    id: &'a str,
    priority: i64,
}

/// A dependency, before all tasks are known that it could mean.
struct Wait {
    /// What comes before every id of its tag.
    prefix: String,
    /// The id of the task above, with its prefix.
    parent: Option<String>,
    /// The id of the task that waits, with its prefix.
    task: String,
    /// What it waits for, as the source has it.
    said: Value,
}

#[derive(Default)]
struct Reader {
    found: Collector,
    waits: Vec<Wait>,
}

impl Reader {
    fn read_task(&mut self, tag: &str, place: String, value: Value, parent: Option<&Parent>) -> Result<()> {
        let mut record = Record::open(place, value)?;
        let given = record.id()?;
        let id = full_id(given, parent);
        let prefix = if tag == MASTER { String::new() } else { format!("{tag}/") };
        let origin = format!("{prefix}{id}");
        if let Some(parent) = parent {
            record.repeated("parentId", parent.id);
            record.repeated("parentTaskId", parent.id);
            let above = format!("{prefix}{}", parent.id);
            self.found.add_link(link(RelationType::ParentOf, &above, &origin, "parentId", parent.id.into()));
        }
        self.read_dependencies(&mut record, &prefix, parent, &origin);
        let subtasks = record.list("subtasks");
        let task = read_fields(&mut record, tag, origin, parent)?;
        let (place, priority) = (record.place().to_owned(), task.priority);
        let metadata = record.close(&mut self.found.warnings);
        self.found.add_task(place.clone(), ImportedTask { metadata, ..task })?;
        for (index, value) in subtasks.into_iter().enumerate() {
            self.read_task(tag, format!("{place} subtasks[{index}]"), value, Some(&Parent { id: &id, priority }))?;
        }
        Ok(())
    }

    fn read_dependencies(&mut self, record: &mut Record, prefix: &str, parent: Option<&Parent>, origin: &str) {
        for said in record.list("dependencies") {
            if said.is_f64() {
                record.warn(format!("the dependency {said} is a number, where .1 and .10 are the same"));
            }
            self.waits.push(Wait {
                prefix: prefix.to_owned(),
                parent: parent.map(|parent| format!("{prefix}{}", parent.id)),
                task: origin.to_owned(),
                said,
            });
        }
    }

    fn finish(mut self) -> PackedImport {
        for wait in std::mem::take(&mut self.waits) {
            let blocker = self.blocker(&wait);
            self.found.add_link(link(RelationType::Blocks, &blocker, &wait.task, "dependencies", wait.said));
        }
        self.found.finish(FORMAT)
    }

    /// The task that a dependency means: among subtasks a plain number is a sibling first.
    fn blocker(&self, wait: &Wait) -> String {
        let named = word(&wait.said).unwrap_or_else(|| shortened(&wait.said));
        let sibling = wait.parent.as_ref().map(|parent| format!("{parent}.{named}"));
        sibling.filter(|id| self.found.knows(id)).unwrap_or_else(|| format!("{}{named}", wait.prefix))
    }
}

/// The id of a subtask begins with that of its parent, whether the source writes it so or not.
fn full_id(given: String, parent: Option<&Parent>) -> String {
    match parent {
        Some(parent) if !given.starts_with(&format!("{}.", parent.id)) => format!("{}.{given}", parent.id),
        _ => given,
    }
}

fn link(kind: RelationType, from: &str, to: &str, key: &'static str, said: Value) -> Link {
    let (from, to, home) = (from.to_owned(), to.to_owned(), to.to_owned());
    Link {
        edge: ImportedEdge { origin: None, kind, from, to, metadata: Value::Null, created_at: None },
        home,
        key,
        said,
    }
}

fn read_fields(record: &mut Record, tag: &str, origin: String, parent: Option<&Parent>) -> Result<ImportedTask> {
    let title = record.title()?;
    let status = record.status(status_of);
    let prose = [record.text("description"), record.text("details")];
    let created_at = record.time("createdAt");
    let Criteria { all: mut acceptance, met } = record.criteria("acceptanceCriteria");
    let context = read_test_strategy(record, &mut acceptance).into_iter().collect();
    let mut labels = record.labels("tags");
    if tag != MASTER && !labels.iter().any(|label| label == tag) {
        labels.push(tag.to_owned());
    }
    Ok(ImportedTask {
        origin,
        title,
        intent: joined_prose(prose),
        status,
        owner: record.owner("assignee"),
        // Without a priority of its own, Task Master sorts a subtask by its parent's.
        priority: read_priority(record).unwrap_or(parent.map_or(0, |parent| parent.priority)),
        labels,
        acceptance,
        met,
        created_at,
        closed_at: record.time_of("updatedAt").filter(|_| status.is_finished()),
        metadata: Map::new(),
        context,
        ..ImportedTask::default()
    })
}

fn joined_prose(parts: [Option<String>; 2]) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().map(|part| part.trim().to_owned()).collect();
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

/// Work under review is not finished, and deferred work is not begun; both say more than our word does.
fn status_of(given: &str) -> Option<(Status, bool)> {
    Some(match given {
        "pending" => (Status::Open, true),
        "in-progress" => (Status::InProgress, true),
        "done" | "completed" => (Status::Completed, true),
        "cancelled" => (Status::Cancelled, true),
        "blocked" => (Status::Blocked, true),
        "review" => (Status::InProgress, false),
        "deferred" => (Status::Open, false),
        _ => return None,
    })
}

fn read_priority(record: &mut Record) -> Option<i64> {
    let given = record.text("priority")?;
    let priority = match given.as_str() {
        "critical" => Some(4),
        "high" => Some(2),
        "medium" => Some(0),
        "low" => Some(-2),
        _ => None,
    };
    if priority.is_none() {
        record.warn(format!("the priority {} is unknown; it is kept in metadata", quoted(&given)));
        record.keep("priority", given);
    }
    priority
}

/// A test strategy of one line can be met, so it becomes a criterion; a longer one is something to read.
fn read_test_strategy(record: &mut Record, acceptance: &mut Vec<String>) -> Option<ImportedNote> {
    let strategy = record.text("testStrategy")?;
    let line = strategy.trim();
    let fits = !line.contains(['\n', '\r', '\0']) && line.chars().count() <= MAX_WORD && acceptance.len() < MAX_LIST;
    if !fits {
        return Some(ImportedNote::made_of("testStrategy", ContextType::Note, strategy, None));
    }
    if acceptance.iter().all(|criterion| criterion != line) {
        acceptance.push(line.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::import::source::Import;
    use serde_json::json;

    fn parse(text: &str) -> Result<Import> {
        super::parse(&mut text.as_bytes()).map(PackedImport::open)
    }

    const PLAIN: &str = include_str!("../../../fixtures/import/taskmaster/tasks.json");
    const TAGGED: &str = include_str!("../../../fixtures/import/taskmaster/tagged.json");

    fn task<'a>(imported: &'a Import, origin: &str) -> &'a ImportedTask {
        imported.tasks.iter().find(|task| task.origin == origin).unwrap()
    }

    fn edges(imported: &Import, kind: RelationType) -> Vec<(&str, &str)> {
        let of_kind = imported.edges.iter().filter(|edge| edge.kind == kind);
        of_kind.map(|edge| (edge.from.as_str(), edge.to.as_str())).collect()
    }

    #[test]
    fn a_plain_file_comes_across() {
        let imported = parse(PLAIN).unwrap();
        let origins: Vec<_> = imported.tasks.iter().map(|task| task.origin.as_str()).collect();
        assert_eq!(origins, ["1", "2", "2.1", "2.2", "2.3", "3", "4"]);
        assert_eq!(edges(&imported, RelationType::ParentOf), [("2", "2.1"), ("2", "2.2"), ("2", "2.3")]);
        let blocks = edges(&imported, RelationType::Blocks);
        let expected =
            [("1", "2"), ("2.1", "2.2"), ("2.3", "2.2"), ("2.1", "2.3"), ("1", "3"), ("2.1", "3"), ("1", "4")];
        assert_eq!(blocks, expected);

        let read = task(&imported, "1");
        let intent =
            "Read the supplier's CSV into records.\n\nColumns are name, family, price.\nPrices have a decimal comma.";
        assert_eq!(read.intent.as_deref(), Some(intent));
        assert_eq!(read.acceptance, ["A file with three rows gives three records."]);
        assert_eq!((read.status, read.priority), (Status::Completed, 2));
        assert_eq!(read.closed_at, "2026-02-03T09:30:00Z".parse().ok());
        let metadata = json!({"updatedAt": "2026-02-03T09:30:00.000Z", "previousStatus": "in-progress"});
        assert_eq!(Value::Object(read.metadata.clone()), metadata);

        let search = task(&imported, "2");
        assert_eq!((search.status, search.owner.as_deref()), (Status::InProgress, Some("search-team")));
        assert_eq!((&search.metadata["assignee"], &search.metadata["complexity"]), (&json!("Search Team"), &json!(4)));
        assert_eq!(search.labels, ["search", "backend"]);
        assert_eq!((search.acceptance.len(), search.context.len()), (0, 1));
        assert_eq!(search.context[0].metadata, json!({"source": "testStrategy"}));

        let index = task(&imported, "2.1");
        assert_eq!(index.acceptance, ["every name can be found", "building takes less than a second"]);
        assert!(index.metadata.is_empty());
    }

    #[test]
    fn words_that_say_more_than_ours_are_kept() {
        let imported = parse(PLAIN).unwrap();
        let status = |origin: &str| (task(&imported, origin).status, task(&imported, origin).metadata.get("status"));
        assert_eq!(status("2.2"), (Status::Blocked, None));
        assert_eq!(status("3"), (Status::InProgress, Some(&json!("review"))));
        assert_eq!(status("4"), (Status::Open, Some(&json!("blocked"))));
        assert_eq!(task(&imported, "4").metadata["dependencies"], json!([9]));
        assert_eq!(task(&imported, "4").metadata["metadata"], json!({"printer": "thermal"}));
        // Review, the missing task 9, the unblocked task 4 and the file's own meta.
        assert_eq!(imported.warnings.len(), 4, "{:#?}", imported.warnings);
    }

    #[test]
    fn a_subtask_without_a_priority_has_that_of_its_parent() {
        let text = r#"{"tasks":[{"id":1,"title":"a","priority":"high","subtasks":[
            {"id":1,"title":"b"},{"id":"1.2","title":"c","priority":"low"},{"id":3,"title":"d","priority":"odd"}]}]}"#;
        let imported = parse(text).unwrap();
        let priorities: Vec<_> = imported.tasks.iter().map(|task| (task.origin.as_str(), task.priority)).collect();
        assert_eq!(priorities, [("1", 2), ("1.1", 2), ("1.2", -2), ("1.3", 2)]);
        assert_eq!(task(&imported, "1.3").metadata["priority"], "odd");
    }

    #[test]
    fn tags_stay_apart() {
        let imported = parse(TAGGED).unwrap();
        let origins: Vec<_> = imported.tasks.iter().map(|task| task.origin.as_str()).collect();
        let expected = ["1", "2", "offline-maps/1", "offline-maps/1.1", "offline-maps/1.2"];
        assert_eq!(origins, expected);
        let blocks = edges(&imported, RelationType::Blocks);
        assert_eq!(blocks, [("1", "2"), ("offline-maps/1.1", "offline-maps/1.2")]);
        assert_eq!(edges(&imported, RelationType::ParentOf)[0], ("offline-maps/1", "offline-maps/1.1"));
        assert_eq!(task(&imported, "offline-maps/1").labels, ["offline-maps"]);
        assert!(task(&imported, "1").labels.is_empty());
        assert_eq!(task(&imported, "offline-maps/1.1").status, Status::Cancelled);
        assert_eq!(
            (task(&imported, "2").status, &task(&imported, "2").metadata["status"]),
            (Status::Open, &json!("deferred"))
        );
        assert!(imported.warnings.iter().any(|w| w.starts_with("offline-maps: metadata belongs to no task")));
    }

    #[test]
    fn a_number_among_subtasks_is_a_sibling_first() {
        let text = r#"{"tasks":[{"id":1,"title":"a"},{"id":2,"title":"b"},{"id":3,"title":"c","subtasks":[
            {"id":1,"title":"d"},{"id":5,"title":"e","dependencies":[1,2,"3.1",3,8]}]}]}"#;
        let imported = parse(text).unwrap();
        assert_eq!(edges(&imported, RelationType::Blocks), [("3.1", "3.5"), ("2", "3.5")]);
        assert_eq!(task(&imported, "3.5").metadata["dependencies"], json!(["3.1", 3, 8]));
    }

    #[test]
    fn refusals_say_where() {
        let message = |text: &str| parse(text).unwrap_err().message;
        assert!(message("{\n\"tasks\": [}").contains("line 2 column 11"));
        assert_eq!(message(r#"{"master":{}}"#), "the tasks.json has no list of tasks");
        assert_eq!(message(r#"{"tasks":[{"title":"a"}]}"#), "tasks[0] has no id");
        assert_eq!(message(r#"{"x":{"tasks":[{"id":1}]}}"#), r#"x.tasks[0] "1" has no title"#);
        let twice = r#"{"tasks":[{"id":1,"title":"a"}],"master":{"tasks":[{"id":1,"title":"a"}]}}"#;
        assert_eq!(message(twice), r#"master.tasks[0] "1" has the id "1", which tasks[0] "1" has too"#);
    }
}
