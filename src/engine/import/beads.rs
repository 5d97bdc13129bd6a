//! Reads the issues of Beads: JSON Lines, one issue a line.
//!
//! Guarantees: an issue that depends on another one is blocked by it, never the other way round; every line becomes a
//! task or is named in the warnings; whatever has no field of ours is kept as metadata.
//! Leaves to others: files and the store.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, ErrorKind, Read};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::collector::{Collector, Link};
use super::source::{ImportedEdge, ImportedNote, ImportedTask, PackedImport, Record, skip_bom, word};
use crate::error::{Error, Result};
use crate::model::context::ContextType;
use crate::model::id::quoted;
use crate::model::json;
use crate::model::relationship::RelationType;
use crate::model::task::Status;

const FORMAT: &str = "beads";
/// What a failure calls the file.
const WHAT: &str = "the issues";

/// Reads the text of an `issues.jsonl`.
///
/// Errors: `ERR_VALIDATION` for a line that is not a JSON object (with line and column), an issue without id or title,
/// or an id that two different lines have.
pub(crate) fn parse(source: &mut dyn Read) -> Result<PackedImport> {
    let mut reader = Reader::default();
    // The digests of the lines.
    let mut seen = HashSet::new();
    let mut source = BufReader::new(source);
    skip_bom(&mut source).map_err(|e| Error::io("read", WHAT.as_ref(), &e))?;
    for (index, line) in source.lines().enumerate() {
        let place = format!("line {}", index + 1);
        let line = line.map_err(|e| match e.kind() {
            ErrorKind::InvalidData => Error::validation(format!("{place} is not valid UTF-8")),
            _ => Error::io("read", WHAT.as_ref(), &e),
        })?;
        if line.trim().is_empty() {
            continue;
        }
        if !seen.insert(Sha256::digest(&line)) {
            reader.found.warnings.push(format!("{place} occurs twice; one copy is left out"));
            continue;
        }
        let value = json::parse(&line).map_err(|e| unreadable(&place, &e))?;
        reader.line(Record::open(place, value)?)?;
    }
    Ok(reader.finish())
}

fn unreadable(place: &str, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    // The line it names is always 1, because every line is read by itself.
    let reason = text.split(" at line ").next().unwrap_or(&text);
    Error::validation(format!("{place}, column {} is not readable JSON: {reason}", error.column()))
        .hint("a line that begins with <<<<<<<, ======= or >>>>>>> is left from a merge: resolve that merge first")
}

#[derive(Default)]
struct Reader {
    found: Collector,
    deleted: Vec<String>,
    without_priority: Vec<String>,
}

impl Reader {
    fn line(&mut self, mut record: Record) -> Result<()> {
        if let Some(kind) = record.text("_type").filter(|kind| kind != "issue") {
            let name = word(record.peek("key")).or_else(|| word(record.peek("id"))).unwrap_or_default();
            let place = record.place();
            self.found.warnings.push(format!("{place} is a {kind} {}, not an issue, and is left out", quoted(&name)));
            return Ok(());
        }
        let origin = record.id()?;
        if record.peek("status") == "tombstone" || record.time_of("deleted_at").is_some() {
            self.deleted.push(origin);
            return Ok(());
        }
        self.dependencies(&mut record, &origin);
        let mut task = read_fields(&mut record, origin)?;
        task.priority = self.priority(&mut record, &task.origin);
        // An issue that was never compacted says so.
        for key in ["compaction_level", "original_size"] {
            if record.peek(key) == 0 {
                record.take(key);
            }
        }
        task.context.extend(self.comments(&mut record, &task.origin)?);
        let place = record.place().to_owned();
        task.metadata = record.close(&mut self.found.warnings);
        self.found.add_task(place, task)
    }

    /// Beads counts from 0, the highest, to 4, with 2 as its default; ours is 0 there.
    fn priority(&mut self, record: &mut Record, origin: &str) -> i64 {
        if record.peek("priority").is_null() {
            record.take("priority");
            // Beads left out a zero for a while, and still reads a missing number as one.
            self.without_priority.push(origin.to_owned());
            return 4;
        }
        match record.number("priority") {
            Some(given @ 0..=4) => (2 - given) * 2,
            Some(given) => {
                record.warn(format!("the priority {given} is not within 0 to 4; it is kept in metadata"));
                record.keep("priority", given);
                0
            }
            None => 0,
        }
    }

    fn dependencies(&mut self, record: &mut Record, origin: &str) {
        let mut leftovers = Vec::new();
        for (index, said) in record.list("dependencies").into_iter().enumerate() {
            let place = format!("{} dependencies[{index}]", record.place());
            match self.dependency(place, said.clone(), origin) {
                Some(edge) => self.found.add_link(Link { edge, home: origin.to_owned(), key: "dependencies", said }),
                None => leftovers.push(said),
            }
        }
        if !leftovers.is_empty() {
            record.warn("dependencies that do not say what the issue depends on are kept in metadata");
            record.keep("dependencies", leftovers);
        }
    }

    /// The edge of a dependency, if it names its end.
    fn dependency(&mut self, place: String, said: Value, origin: &str) -> Option<ImportedEdge> {
        let mut dependency = Record::open(place, said).ok()?;
        let needed = word(&dependency.take("depends_on_id"))?;
        let dependent = word(&dependency.take("issue_id")).unwrap_or_else(|| origin.to_owned());
        let given = dependency.text("type").unwrap_or_else(|| "blocks".into());
        let meaning = meaning_of(&given);
        if !meaning.exact {
            dependency.keep("type", given);
        }
        if dependency.peek("metadata") == "{}" || dependency.peek("metadata") == "" {
            dependency.take("metadata");
        }
        let created_at = dependency.time("created_at");
        let rest = dependency.close(&mut self.found.warnings);
        let (from, to) = if meaning.backwards { (needed, dependent) } else { (dependent, needed) };
        Some(ImportedEdge { origin: None, kind: meaning.kind, from, to, metadata: or_null(rest), created_at })
    }

    fn comments(&mut self, record: &mut Record, origin: &str) -> Result<Vec<ImportedNote>> {
        let mut notes = Vec::new();
        let mut leftovers = Vec::new();
        for (index, said) in record.list("comments").into_iter().enumerate() {
            let mut comment = Record::open(format!("{} comments[{index}]", record.place()), said.clone())?;
            let own = comment.origin();
            let Some(content) = comment.text("text") else {
                leftovers.push(said);
                continue;
            };
            comment.repeated("issue_id", origin);
            let created_at = comment.time("created_at");
            let metadata = or_null(comment.close(&mut self.found.warnings));
            let kind = ContextType::Note;
            notes.push(ImportedNote { origin: own, kind, content, metadata, created_at, superseded_by: None });
        }
        if !leftovers.is_empty() {
            record.warn("comments without text are kept in metadata");
            record.keep("comments", leftovers);
        }
        Ok(notes)
    }

    fn finish(mut self) -> PackedImport {
        let mut warn = |ids: &[String], what: &str| {
            if !ids.is_empty() {
                self.found.warnings.push(format!("{what}: {}", ids.join(", ")));
            }
        };
        warn(&self.deleted, "left out because they are deleted");
        warn(&self.without_priority, "without a priority, and read as 0, the highest, as Beads does");
        self.found.finish(FORMAT)
    }
}

/// What a type of dependency is to us.
struct Meaning {
    kind: RelationType,
    /// Whether the edge runs from what is depended on to what depends.
    backwards: bool,
    /// Whether our word says all of it.
    exact: bool,
}

fn meaning_of(given: &str) -> Meaning {
    let (kind, exact) = match given {
        "blocks" => (RelationType::Blocks, true),
        // Both hold the issue back as well, under conditions of their own.
        "conditional-blocks" | "waits-for" => (RelationType::Blocks, false),
        "parent-child" => (RelationType::ParentOf, true),
        "related" | "relates-to" => (RelationType::RelatesTo, true),
        "duplicates" => (RelationType::Duplicates, true),
        _ => (RelationType::RelatesTo, false),
    };
    Meaning { kind, backwards: matches!(kind, RelationType::Blocks | RelationType::ParentOf), exact }
}

fn or_null(map: Map<String, Value>) -> Value {
    if map.is_empty() { Value::Null } else { Value::Object(map) }
}

fn read_fields(record: &mut Record, origin: String) -> Result<ImportedTask> {
    let title = record.title()?;
    let status = record.status(status_of);
    let changed_at = record.time_of("updated_at");
    // An issue that was opened again may still say when it was closed before.
    let again_open = !status.is_finished() && record.time_of("closed_at").is_some();
    let closed_at = if again_open { None } else { record.time("closed_at") };
    let closed_at = closed_at.or(changed_at).filter(|_| status.is_finished());
    let mut context = Vec::new();
    for (key, kind, at) in [
        ("design", ContextType::Decision, None),
        ("notes", ContextType::Note, None),
        ("close_reason", ContextType::Outcome, closed_at),
    ] {
        context.extend(record.text(key).map(|content| ImportedNote::made_of(key, kind, content, at)));
    }
    let criteria = record.criteria("acceptance_criteria");
    Ok(ImportedTask {
        origin,
        title,
        intent: record.text("description"),
        kind: read_kind(record),
        status,
        owner: record.owner("assignee"),
        labels: record.labels("labels"),
        acceptance: criteria.all,
        met: criteria.met,
        estimate: record.number("estimated_minutes").map(|minutes| format!("{minutes}m")),
        due: record.time("due_at"),
        defer_until: record.time("defer_until"),
        created_at: record.time("created_at"),
        closed_at,
        context,
        ..ImportedTask::default()
    })
}

fn status_of(given: &str) -> Option<(Status, bool)> {
    Some(match given {
        "open" => (Status::Open, true),
        "in_progress" => (Status::InProgress, true),
        "blocked" => (Status::Blocked, true),
        "closed" => (Status::Completed, true),
        "hooked" => (Status::InProgress, false),
        "deferred" | "draft" | "pinned" => (Status::Open, false),
        // Not Beads' own words, but projects may add words, and these leave no doubt.
        "completed" | "done" => (Status::Completed, false),
        "cancelled" | "canceled" => (Status::Cancelled, false),
        _ => return None,
    })
}

/// Takes the kind of issue; one that has no exact counterpart is kept as well.
fn read_kind(record: &mut Record) -> Option<String> {
    let given = record.text("issue_type")?;
    let (kind, exact) = match given.as_str() {
        "bug" => (Some("bugfix"), true),
        "feature" => (Some("feature"), true),
        "docs" => (Some("docs"), true),
        "chore" => (Some("ops"), false),
        _ => (None, false),
    };
    if !exact {
        record.keep("issue_type", given);
    }
    kind.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::import::source::Import;
    use serde_json::json;

    fn parse(text: &str) -> Result<Import> {
        super::parse(&mut text.as_bytes()).map(PackedImport::open)
    }

    const ISSUES: &str = include_str!("../../../fixtures/import/beads/issues.jsonl");

    fn task<'a>(imported: &'a Import, origin: &str) -> &'a ImportedTask {
        imported.tasks.iter().find(|task| task.origin == origin).unwrap()
    }

    fn one(value: Value) -> (ImportedTask, Vec<String>) {
        let mut imported = parse(&value.to_string()).unwrap();
        (imported.tasks.remove(0), imported.warnings)
    }

    #[test]
    fn issues_come_across() {
        let imported = parse(ISSUES).unwrap();
        let origins: Vec<_> = imported.tasks.iter().map(|task| task.origin.as_str()).collect();
        assert_eq!(origins, ["bk-1", "bk-1.1", "bk-1.2", "bk-7", "bk-8"]);

        let epic = task(&imported, "bk-1");
        assert_eq!((epic.kind.as_deref(), &epic.metadata["issue_type"]), (None, &json!("epic")));
        assert_eq!((epic.priority, epic.labels.as_slice()), (2, ["desk".to_owned()].as_slice()));
        assert_eq!(epic.created_at, "2026-01-10T08:00:00.123Z".parse().ok());

        let scan = task(&imported, "bk-1.1");
        assert_eq!((scan.status, scan.closed_at), (Status::Completed, "2026-01-12T16:00:00Z".parse().ok()));
        assert_eq!((scan.priority, scan.kind.as_deref(), scan.estimate.as_deref()), (4, Some("feature"), Some("90m")));
        assert_eq!((scan.owner.as_deref(), &scan.metadata["assignee"]), (Some("desk-agent"), &json!("Desk Agent")));
        assert_eq!(scan.metadata["external_ref"], "gh-9");
        let kinds: Vec<_> = scan.context.iter().map(|note| (note.kind, note.created_at)).collect();
        assert_eq!(kinds, [(ContextType::Decision, None), (ContextType::Outcome, scan.closed_at)]);

        let lend = task(&imported, "bk-1.2");
        assert_eq!(lend.status, Status::Blocked);
        assert_eq!(lend.acceptance, ["a lent book cannot be lent again", "the due date is printed"]);
        assert_eq!((lend.due, lend.defer_until), ("2026-02-01".parse().ok(), "2026-01-20".parse().ok()));
        let [notes, comment, _] = lend.context.as_slice() else { panic!("{:?}", lend.context) };
        assert_eq!((notes.content.as_str(), &notes.metadata), ("The printer is slow.", &json!({"source": "notes"})));
        assert_eq!((comment.origin.as_deref(), &comment.metadata), (Some("3"), &json!({"author": "desk"})));
        assert_eq!(comment.created_at, "2026-01-13T08:01:00Z".parse().ok());

        let printer = task(&imported, "bk-7");
        assert_eq!((printer.kind.as_deref(), printer.status), (Some("bugfix"), Status::InProgress));
        assert_eq!((printer.intent.as_deref(), printer.owner.as_deref()), (None, Some("printer")));
        let tray = task(&imported, "bk-8");
        assert_eq!((tray.status, &tray.metadata["status"]), (Status::Open, &json!("deferred")));
        assert_eq!((tray.kind.as_deref(), &tray.metadata["issue_type"]), (Some("ops"), &json!("chore")));
        // Deferred became open, and one issue was deleted.
        assert_eq!(imported.warnings.len(), 2, "{:#?}", imported.warnings);
        assert_eq!(imported.warnings[1], "left out because they are deleted: bk-9");
    }

    #[test]
    fn edges_run_from_what_is_needed() {
        let imported = parse(ISSUES).unwrap();
        let edges: Vec<_> = imported.edges.iter().map(|e| (e.from.as_str(), e.kind, e.to.as_str())).collect();
        let expected = [
            ("bk-1", RelationType::ParentOf, "bk-1.1"),
            ("bk-1", RelationType::ParentOf, "bk-1.2"),
            ("bk-7", RelationType::Blocks, "bk-1.2"),
            ("bk-7", RelationType::RelatesTo, "bk-1.1"),
            ("bk-8", RelationType::RelatesTo, "bk-7"),
        ];
        assert_eq!(edges, expected);
        assert_eq!(imported.edges[2].metadata, json!({"created_by": "desk"}));
        assert_eq!(imported.edges[3].metadata, json!({"created_by": "desk", "type": "discovered-from"}));
        assert_eq!(imported.edges[2].created_at, "2026-01-13T08:00:00Z".parse().ok());
    }

    #[test]
    fn odd_values_are_kept_and_reported() {
        let issue = json!({
            "id": "a", "title": "t", "status": "parked", "priority": 7, "issue_type": "spike",
            "closed_at": "2026-01-01", "estimated_minutes": "long",
            "dependencies": [{"depends_on_id": "gone"}], "comments": [{"id": 1, "text": ""}]
        });
        let (task, warnings) = one(issue.clone());
        assert_eq!((task.status, task.priority, task.kind, task.closed_at), (Status::Open, 0, None, None));
        for key in ["status", "priority", "issue_type", "closed_at", "estimated_minutes", "dependencies", "comments"] {
            assert_eq!(task.metadata[key], issue[key], "{key}");
        }
        assert_eq!(warnings.len(), 5, "{warnings:#?}");
    }

    #[test]
    fn a_missing_priority_is_the_highest_as_in_beads() {
        let (task, warnings) = one(json!({"id": "a", "title": "t"}));
        assert_eq!(task.priority, 4);
        assert_eq!(warnings, ["without a priority, and read as 0, the highest, as Beads does: a"]);
    }

    #[test]
    fn an_issue_of_the_rust_tool_comes_across() {
        let issue = json!({"id": "a", "title": "t", "status": "draft", "priority": 2, "issue_type": "question",
            "compaction_level": 0, "original_size": 0,
            "dependencies": [{"issue_id": "a", "depends_on_id": "external:b:c", "type": "blocks", "metadata": ""}]});
        let (task, warnings) = one(issue);
        assert_eq!((task.status, &task.metadata["status"]), (Status::Open, &json!("draft")));
        assert_eq!(task.metadata.keys().collect::<Vec<_>>(), ["status", "issue_type", "dependencies"]);
        assert_eq!(warnings.len(), 2, "{warnings:#?}");
    }

    #[test]
    fn a_dependency_without_an_end_is_kept() {
        let dependencies = json!([{ "type": "blocks" }, "bk-1"]);
        let (task, warnings) = one(json!({"id": "a", "title": "t", "priority": 2, "dependencies": dependencies}));
        assert_eq!((&task.metadata["dependencies"], warnings.len()), (&dependencies, 1));
    }

    #[test]
    fn lines_that_are_no_issues_are_reported() {
        let text = concat!(
            "\u{feff}{\"_type\":\"memory\",\"key\":\"k\",\"value\":\"v\"}\r\n\r\n",
            "{\"_type\":\"issue\",\"id\":\"a\",\"title\":\"t\",\"priority\":2}\r\n",
            "{\"_type\":\"issue\",\"id\":\"a\",\"title\":\"t\",\"priority\":2}\r\n",
        );
        let imported = parse(text).unwrap();
        assert_eq!((imported.tasks.len(), imported.tasks[0].metadata.len()), (1, 0));
        let twice = "line 4 occurs twice; one copy is left out";
        assert_eq!(imported.warnings, [r#"line 1 is a memory "k", not an issue, and is left out"#, twice]);
        assert!(parse("").unwrap().tasks.is_empty());
    }

    #[test]
    fn refusals_say_where() {
        let message = |text: &str| parse(text).unwrap_err().message;
        let first = r#"{"id":"a","title":"t"}"#;
        let torn = message(&format!("{first}\n<<<<<<< HEAD\n"));
        assert_eq!(torn, "line 2, column 1 is not readable JSON: expected value");
        assert_eq!(message("[1]"), "line 1 is not an object but [1]");
        assert_eq!(message(r#"{"id":"a"}"#), r#"line 1 "a" has no title"#);
        let twice = message(&format!("{first}\n{{\"id\":\"a\",\"title\":\"u\"}}"));
        assert_eq!(twice, r#"line 2 "a" has the id "a", which line 1 "a" has too"#);
    }
}
