//! Reads a folder of Backlog.md: a Markdown file for each task, with its fields in front and its text in sections.
//!
//! Guarantees: every file becomes a task or is named in the warnings; whatever has no field of ours is kept as metadata, and
//! sections that are not known stay in the intent.
//! Leaves to others: walking the folder.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::collector::{Collector, Link};
use super::sections::{Section, Sections};
use super::source::{
    Criteria, ImportedEdge, ImportedNote, ImportedTask, PackedImport, Record, shortened, without_bom, word,
};
use super::{PUT_OFF, ReadFile};
use crate::error::{Error, Result};
use crate::model::context::ContextType;
use crate::model::id::quoted;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::store::yaml;

pub(super) const FORMAT: &str = "backlog";
/// The settings of the folder, which name the statuses in their order.
const SETTINGS: [&str; 2] = ["config.yml", "backlog.config.yml"];

/// What the folder of a file says of its task.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shelf {
    Tasks,
    Completed,
    Drafts,
    Archive,
}

/// Reads the files of a folder, by their paths within it.
///
/// Errors: those of `read`; `ERR_VALIDATION` if none of them is a task, or a task has no title.
pub(crate) fn parse(paths: &[String], read: ReadFile<'_>) -> Result<PackedImport> {
    let mut reader = Reader { statuses: statuses(paths, read)?, ..Reader::default() };
    let mut sorted: Vec<(Shelf, &String)> = Vec::new();
    for path in paths.iter().filter(|path| path.ends_with(".md")) {
        match shelf_of(path) {
            Some(shelf) => sorted.push((shelf, path)),
            None => reader.left_out.push(path.clone()),
        }
    }
    // An id may be in use again after its task was archived: the task on the board has it.
    sorted.sort();
    for (shelf, path) in sorted {
        reader.file(shelf, path, &read(path)?)?;
    }
    if reader.found.is_empty() {
        return Err(Error::validation("the folder holds no task of Backlog.md")
            .hint("name the folder that holds tasks: agentpm import --from backlog backlog"));
    }
    Ok(reader.finish())
}

/// Where a file lies: `tasks`, `completed`, `drafts`, or below `archive`. Documents, decisions and milestones are no tasks.
fn shelf_of(path: &str) -> Option<Shelf> {
    let folders: Vec<&str> = path.split('/').rev().skip(1).collect();
    if folders.contains(&"archive") {
        return Some(Shelf::Archive);
    }
    match folders.first().copied() {
        Some("tasks") | None => Some(Shelf::Tasks),
        Some("completed") => Some(Shelf::Completed),
        Some("drafts") => Some(Shelf::Drafts),
        Some(_) => None,
    }
}

/// The statuses that the settings of the folder name, in lower case.
fn statuses(paths: &[String], read: ReadFile<'_>) -> Result<Vec<String>> {
    let is_settings = |path: &&String| SETTINGS.iter().any(|name| path.rsplit('/').next() == Some(name));
    let text = paths.iter().find(is_settings).map(|path| read(path)).transpose()?;
    let settings = text.and_then(|text| yaml::read_value(&text).ok()).unwrap_or_default();
    let names = settings.get("statuses").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(names.iter().filter_map(word).map(|name| name.to_lowercase()).collect())
}

#[derive(Default)]
struct Reader {
    found: Collector,
    statuses: Vec<String>,
    /// Files that are no tasks.
    left_out: Vec<String>,
    links: Vec<Link>,
    /// Both ends of a relation may name it.
    edges: BTreeSet<(RelationType, String, String)>,
}

impl Reader {
    fn file(&mut self, shelf: Shelf, path: &str, text: &str) -> Result<()> {
        let Some((front, body)) = split_front(text) else {
            self.left_out.push(path.to_owned());
            return Ok(());
        };
        let fields = match yaml::read_value(&quoted_mentions(&front)) {
            Ok(fields) => fields,
            Err(e) => {
                self.found.warnings.push(format!("{path} is left out: its fields cannot be read: {e}"));
                return Ok(());
            }
        };
        let Ok(mut record) = Record::open(path, fields) else {
            self.left_out.push(path.to_owned());
            return Ok(());
        };
        let Some(id) = record.origin() else {
            self.left_out.push(path.to_owned());
            return Ok(());
        };
        let mut origin = id.to_lowercase();
        if shelf == Shelf::Archive && self.found.knows(&origin) {
            origin = format!("archive/{origin}");
        }
        if origin != id {
            record.keep("id", id);
        }
        self.relations(&mut record, &origin);
        let task = read_fields(&mut record, &self.statuses, shelf, origin, &body)?;
        let place = record.place().to_owned();
        let metadata = record.close(&mut self.found.warnings);
        self.found.add_task(place, ImportedTask { metadata, ..task })
    }

    fn relations(&mut self, record: &mut Record, origin: &str) {
        for (key, kind, is_backwards) in [
            ("parent_task_id", RelationType::ParentOf, false),
            ("parent", RelationType::ParentOf, false),
            ("subtasks", RelationType::ParentOf, true),
            ("dependencies", RelationType::Blocks, false),
        ] {
            for said in entries(record.take(key)) {
                let other = word(&said).unwrap_or_else(|| shortened(&said)).to_lowercase();
                let (from, to) = if is_backwards { (origin.to_owned(), other) } else { (other, origin.to_owned()) };
                let edge = ImportedEdge { origin: None, kind, from, to, metadata: Value::Null, created_at: None };
                self.links.push(Link { edge, home: origin.to_owned(), key, said });
            }
        }
    }

    fn finish(mut self) -> PackedImport {
        for mut link in std::mem::take(&mut self.links) {
            link.edge.from = self.whole_id(link.edge.from);
            link.edge.to = self.whole_id(link.edge.to);
            if self.edges.insert((link.edge.kind, link.edge.from.clone(), link.edge.to.clone())) {
                self.found.add_link(link);
            }
        }
        if !self.left_out.is_empty() {
            self.found.warnings.push(format!("left out because they are no tasks: {}", self.left_out.join(", ")));
        }
        self.found.finish(FORMAT)
    }

    /// A number alone means the task of that number.
    fn whole_id(&self, id: String) -> String {
        let whole = format!("task-{id}");
        if !self.found.knows(&id) && self.found.knows(&whole) { whole } else { id }
    }
}

/// The fields in front of a text, between two lines of hyphens, and the text.
fn split_front(text: &str) -> Option<(String, String)> {
    let text = without_bom(text).replace("\r\n", "\n");
    let rest = text.strip_prefix("---\n")?;
    let (front, body) = rest.split_once("\n---").or_else(|| rest.strip_prefix("---").map(|body| ("", body)))?;
    Some((format!("{front}\n"), body.split_once('\n').map_or("", |(_, body)| body).to_owned()))
}

/// Puts names that begin with `@` into quotes: YAML reserves the sign, and Backlog.md writes it bare.
fn quoted_mentions(front: &str) -> String {
    let quote = |word: &str| {
        let name = word.trim();
        if name.starts_with('@') {
            word.replacen(name, &format!("'{}'", name.replace('\'', "''")), 1)
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| {
        if let Some((key, list)) = line.split_once('[').filter(|(key, _)| key.trim_end().ends_with(':'))
            && let Some((names, rest)) = list.split_once(']')
        {
            let names: Vec<String> = names.split(',').map(quote).collect();
            return format!("{key}[{}]{rest}", names.join(","));
        }
        match line.split_once(": ").or_else(|| line.split_once("- ")) {
            Some((key, value)) if value.trim_start().starts_with('@') => {
                format!("{key}{}{}", &line[key.len()..key.len() + 2], quote(value))
            }
            _ => line.to_owned(),
        }
    };
    front.lines().map(|text| line(text) + "\n").collect()
}

/// The entries of a list, which may be one value or a text with commas.
fn entries(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        Value::Null => Vec::new(),
        Value::String(text) => {
            text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(|one| json!(one)).collect()
        }
        one => vec![one],
    }
}

fn read_fields(
    record: &mut Record,
    statuses: &[String],
    shelf: Shelf,
    origin: String,
    body: &str,
) -> Result<ImportedTask> {
    let title = record.title()?;
    let status = read_status(record, statuses, shelf);
    let labels = entries(record.take("labels"));
    record.keep("labels", labels);
    let sections = Sections::of(body);
    let criteria = read_criteria(record, &sections);
    let updated_at = day(record, "updated_date");
    if let Some(at) = updated_at {
        record.keep("updated_date", at.to_string());
    }
    let ended_at = day(record, "actual_end");
    Ok(ImportedTask {
        title,
        intent: sections.intent(),
        status,
        owner: read_owner(record),
        priority: read_priority(record),
        labels: record.labels("labels"),
        acceptance: criteria.all,
        met: criteria.met,
        due: day(record, "due_date"),
        defer_until: (shelf == Shelf::Drafts).then(|| Time::from_millis(PUT_OFF)),
        created_at: day(record, "created_date"),
        closed_at: ended_at.or(updated_at).filter(|_| status.is_finished()),
        context: notes(&sections),
        origin,
        ..ImportedTask::default()
    })
}

/// The first status of a board is open, the last one is done, and work lies between.
fn read_status(record: &mut Record, statuses: &[String], shelf: Shelf) -> Status {
    let place = |given: &str| {
        let place = statuses.iter().position(|name| *name == given.to_lowercase())?;
        Some(match place {
            0 => (Status::Open, false),
            n if n + 1 == statuses.len() => (Status::Completed, false),
            _ => (Status::InProgress, false),
        })
    };
    let is_draft = shelf == Shelf::Drafts;
    if is_draft && record.peek("status").as_str().is_some_and(|given| given.eq_ignore_ascii_case("draft")) {
        record.keep("shelf", "drafts");
        record.take("status");
    }
    let status = record.status(|given| known_status(given).or_else(|| place(given)));
    match shelf {
        Shelf::Tasks | Shelf::Drafts => status,
        Shelf::Completed => Status::Completed,
        // What left the board without being done.
        Shelf::Archive => {
            record.keep("shelf", "archive");
            if status == Status::Completed { status } else { Status::Cancelled }
        }
    }
}

fn known_status(given: &str) -> Option<(Status, bool)> {
    Some(match given.to_lowercase().as_str() {
        "to do" | "todo" => (Status::Open, true),
        "in progress" => (Status::InProgress, true),
        "done" => (Status::Completed, true),
        "blocked" => (Status::Blocked, true),
        "backlog" | "open" | "draft" => (Status::Open, false),
        "doing" | "review" | "in review" => (Status::InProgress, false),
        "completed" | "complete" | "closed" => (Status::Completed, false),
        "cancelled" | "canceled" => (Status::Cancelled, false),
        _ => return None,
    })
}

/// The first assignee, without the sign of a mention; where there are several, all of them are kept as well.
fn read_owner(record: &mut Record) -> Option<String> {
    let given = entries(record.take("assignee"));
    let names: Vec<String> =
        given.iter().filter_map(word).map(|name| name.trim_start_matches('@').to_owned()).collect();
    if names.len() > 1 {
        record.keep("assignees", names.clone());
    }
    record.keep("assignee", names.into_iter().next());
    record.owner("assignee")
}

fn read_priority(record: &mut Record) -> i64 {
    let Some(given) = record.text("priority") else { return 0 };
    match given.to_lowercase().as_str() {
        "critical" => 4,
        "high" => 2,
        "medium" => 0,
        "low" => -2,
        _ => {
            record.warn(format!("the priority {} is unknown; it is kept in metadata", quoted(&given)));
            record.keep("priority", given);
            0
        }
    }
}

/// The acceptance criteria, and after them what else must hold before a task is done.
fn read_criteria(record: &mut Record, sections: &Sections) -> Criteria {
    let lines = |section| sections.texts(section).flat_map(|text| text.lines().map(without_number)).collect::<Vec<_>>();
    let all: Vec<String> = [lines(Section::Criteria), lines(Section::Done)].concat();
    record.keep("criteria", all.join("\n"));
    record.criteria("criteria")
}

/// A line of a checklist without the number that Backlog.md gives it.
fn without_number(line: &str) -> String {
    for mark in ["- [ ] #", "- [x] #", "- [X] #"] {
        if let Some(rest) = line.trim_start().strip_prefix(mark) {
            let text = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            if text.len() < rest.len() && text.starts_with(' ') {
                return format!("{}{}", &mark[..mark.len() - 1], text.trim_start());
            }
        }
    }
    line.to_owned()
}

fn notes(sections: &Sections) -> Vec<ImportedNote> {
    let mut notes = Vec::new();
    for (section, key, kind) in [
        (Section::Plan, "Implementation Plan", ContextType::Note),
        (Section::Notes, "Implementation Notes", ContextType::Note),
        (Section::Summary, "Final Summary", ContextType::Outcome),
        (Section::Comments, "Comments", ContextType::Note),
    ] {
        notes.extend(sections.texts(section).map(|text| ImportedNote::made_of(key, kind, text.to_owned(), None)));
    }
    notes
}

/// A day, or a day with a time of day in UTC. Days of older versions put the year last.
fn day(record: &mut Record, key: &str) -> Option<Time> {
    let text = word(record.peek(key))?;
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((&text, ""));
    let parts: Vec<&str> = date.split(['-', '/', '.']).collect();
    let date = match parts.as_slice() {
        [day, month, year] if day.len() == 2 && year.len() == 2 => format!("20{year}-{month}-{day}"),
        _ => date.to_owned(),
    };
    let time = if time.len() == 5 { format!("{time}:00Z") } else { time.to_owned() };
    record.keep(key, if time.is_empty() { date } else { format!("{date}T{time}") });
    let found = record.time(key);
    if found.is_none() {
        record.keep(key, text);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::import::source::Import;

    fn parse(files: &BTreeMap<String, String>) -> Result<Import> {
        let paths: Vec<String> = files.keys().cloned().collect();
        super::parse(&paths, &mut |path| Ok(files[path].clone())).map(PackedImport::open)
    }

    fn folder() -> BTreeMap<String, String> {
        [
            ("config.yml", include_str!("../../../fixtures/import/backlog/config.yml")),
            ("tasks/task-1 - Lending.md", include_str!("../../../fixtures/import/backlog/tasks/task-1 - Lending.md")),
            (
                "tasks/task-1.1 - Scan-a-card.md",
                include_str!("../../../fixtures/import/backlog/tasks/task-1.1 - Scan-a-card.md"),
            ),
            (
                "completed/task-2 - Buy-a-scanner.md",
                include_str!("../../../fixtures/import/backlog/completed/task-2 - Buy-a-scanner.md"),
            ),
            (
                "drafts/task-3 - Lend-a-DVD.md",
                include_str!("../../../fixtures/import/backlog/drafts/task-3 - Lend-a-DVD.md"),
            ),
            (
                "archive/tasks/task-2 - Rent-a-scanner.md",
                include_str!("../../../fixtures/import/backlog/archive/tasks/task-2 - Rent-a-scanner.md"),
            ),
            ("docs/readme.md", include_str!("../../../fixtures/import/backlog/docs/readme.md")),
        ]
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into()
    }

    fn task<'a>(imported: &'a Import, origin: &str) -> &'a ImportedTask {
        imported.tasks.iter().find(|task| task.origin == origin).unwrap()
    }

    #[test]
    fn files_come_across() {
        let imported = parse(&folder()).unwrap();
        let lending = task(&imported, "task-1");
        assert_eq!((lending.status, lending.owner.as_deref()), (Status::InProgress, Some("ada")));
        assert_eq!(
            (&lending.metadata["status"], &lending.metadata["assignees"]),
            (&json!("Testing"), &json!(["ada", "bee"]))
        );
        assert_eq!(lending.intent.as_deref(), Some("Lend books.\n\n## Risks\n\nThe printer is slow."));
        assert_eq!(lending.created_at, "2026-01-10T09:30:00Z".parse().ok());

        let scan = task(&imported, "task-1.1");
        assert_eq!((scan.status, scan.priority, &scan.metadata["id"]), (Status::Open, 2, &json!("TASK-1.1")));
        assert_eq!(scan.labels, ["desk", "cards"]);
        assert_eq!(scan.acceptance, ["the number is read", "no key is pressed", "the tests pass"]);
        assert_eq!(scan.met, ["the number is read"]);
        assert_eq!((scan.owner.as_deref(), &scan.metadata["milestone"]), (Some("ada"), &json!("spring")));
        assert_eq!(scan.due, "2026-03-01".parse().ok());
        let notes: Vec<_> = scan.context.iter().map(|note| (note.kind, note.content.as_str())).collect();
        let expected = [
            (ContextType::Note, "1. Plug it in\n2. ## Not a section"),
            (ContextType::Note, "It types like a keyboard."),
            (ContextType::Note, "Which scanner?"),
        ];
        assert_eq!(notes, expected);

        let buy = task(&imported, "task-2");
        assert_eq!((buy.status, buy.closed_at), (Status::Completed, "2026-01-12".parse().ok()));
        assert_eq!(buy.context[0].kind, ContextType::Outcome);
        let draft = task(&imported, "task-3");
        assert_eq!((draft.status, draft.defer_until), (Status::Open, Some(Time::from_millis(PUT_OFF))));
        let old = task(&imported, "archive/task-2");
        assert_eq!((old.status, old.created_at), (Status::Cancelled, "2025-12-24".parse().ok()));
    }

    #[test]
    fn edges_come_across_once() {
        let imported = parse(&folder()).unwrap();
        let edges: Vec<_> = imported.edges.iter().map(|e| (e.from.as_str(), e.kind, e.to.as_str())).collect();
        let expected = [("task-1", RelationType::ParentOf, "task-1.1"), ("task-2", RelationType::Blocks, "task-1.1")];
        assert_eq!(edges, expected);
        let kept = &task(&imported, "task-1.1").metadata["dependencies"];
        assert_eq!(kept, &json!(["task-99"]));
        assert!(
            imported.warnings.contains(&"left out because they are no tasks: docs/readme.md".to_owned()),
            "{:#?}",
            imported.warnings
        );
    }

    #[test]
    fn a_folder_without_tasks_is_refused() {
        let files = BTreeMap::from([("docs/a.md".to_owned(), "# a".to_owned())]);
        assert_eq!(parse(&files).unwrap_err().message, "the folder holds no task of Backlog.md");
        let files = BTreeMap::from([
            ("tasks/a.md".to_owned(), "---\nid: a\ntitle: t\n---\n".to_owned()),
            ("tasks/b.md".to_owned(), "---\nid: [\n---\n".to_owned()),
        ]);
        let imported = parse(&files).unwrap();
        assert_eq!((imported.tasks.len(), imported.warnings.len()), (1, 1), "{:?}", imported.warnings);
        assert!(imported.warnings[0].starts_with("tasks/b.md is left out: its fields cannot be read"));
    }

    #[test]
    fn bare_mentions_are_quoted() {
        for (given, quoted) in [
            ("assignee: @ada\n", "assignee: '@ada'\n"),
            ("assignee: [@ada, 'bee', @o'x]\n", "assignee: ['@ada', 'bee', '@o''x']\n"),
            ("assignee:\n  - @ada\n", "assignee:\n  - '@ada'\n"),
            ("title: 'a: @b [c]'\n", "title: 'a: @b [c]'\n"),
        ] {
            assert_eq!(quoted_mentions(given), quoted);
        }
    }
}
