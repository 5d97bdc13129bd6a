//! Reads the issues of GitHub, as `gh issue list --json` prints them: one JSON array, or one issue a line.
//!
//! Guarantees: an issue is known by its address, so that two repositories never share one; a relation that both of its issues
//! name is one edge; whatever has no field of ours is kept as metadata, apart from what only repeats or counts.
//! Leaves to others: asking GitHub.

use std::collections::BTreeSet;
use std::io::Read;

use serde_json::{Map, Value, json};

use super::collector::{Collector, Link};
use super::document::Documents;
use super::source::{ImportedEdge, ImportedNote, ImportedTask, PackedImport, Record, word};
use crate::error::Result;
use crate::model::context::ContextType;
use crate::model::id::quoted;
use crate::model::relationship::RelationType;
use crate::model::task::Status;

const FORMAT: &str = "github";
/// What to do about a file that cannot be read.
const HINT: &str = "write it with gh issue list --state all --limit 100000 --json number,title,url,body,state,…";
/// What says nothing of the work: ids within GitHub, counts, and when anything last changed.
const LEFT_OUT: [&str; 7] =
    ["id", "updatedAt", "closed", "reactionGroups", "subIssuesSummary", "projectCards", "isPinned"];

/// Reads the text of an export.
///
/// Errors: `ERR_VALIDATION` for a text that is not JSON, an issue without `url`, `number` or `title`, or an issue that is
/// there twice.
pub(crate) fn parse(source: &mut dyn Read) -> Result<PackedImport> {
    let mut reader = Reader::default();
    let mut file = Documents::open(source, "the list of issues", HINT)?;
    let mut place = 0;
    let mut take = |issue: Value| {
        place += 1;
        reader.issue(format!("issues[{}]", place - 1), issue)
    };
    while let Some(rest) = file.next(&[&[]], &mut |_, _, issue| take(issue))? {
        if !rest.is_array() {
            take(rest)?;
        }
    }
    Ok(reader.found.finish(FORMAT))
}

#[derive(Default)]
struct Reader {
    found: Collector,
    /// Both issues of a relation name it.
    edges: BTreeSet<(RelationType, String, String)>,
}

impl Reader {
    fn issue(&mut self, place: String, value: Value) -> Result<()> {
        let mut record = Record::open(place, value)?;
        let Some(address) = record.text("url").and_then(|url| Address::of(&url)) else {
            return Err(record.refuse("has no url of an issue; ask gh for --json url as well"));
        };
        let origin = address.origin();
        record.name(&origin);
        record.repeated("number", &address.number);
        self.relations(&mut record, &address, &origin);
        let title = record.title()?;
        let status = read_status(&mut record);
        let labels = read_labels(&mut record);
        let closed_at = record.time("closedAt").filter(|_| status.is_finished());
        let task = ImportedTask {
            title,
            intent: record.text("body"),
            kind: read_kind(&mut record, &labels),
            status,
            owner: read_owner(&mut record),
            priority: priority_of(&labels),
            due: read_milestone(&mut record),
            created_at: record.time("createdAt"),
            closed_at,
            context: self.comments(&mut record),
            labels,
            origin,
            ..ImportedTask::default()
        };
        if let Some(login) = login_of(record.peek("author")) {
            record.keep("author", login);
        }
        for key in LEFT_OUT {
            record.take(key);
        }
        for key in record.keys() {
            if is_nothing(record.peek(&key)) {
                record.take(&key);
            }
        }
        let place = record.place().to_owned();
        let metadata = record.close(&mut self.found.warnings);
        self.found.add_task(place, ImportedTask { metadata, ..task })
    }

    fn relations(&mut self, record: &mut Record, address: &Address, origin: &str) {
        for (key, kind, is_backwards) in [
            ("parent", RelationType::ParentOf, false),
            ("subIssues", RelationType::ParentOf, true),
            ("blockedBy", RelationType::Blocks, false),
            ("blocking", RelationType::Blocks, true),
        ] {
            for said in nodes(record.take(key)) {
                let Some(other) = address.origin_of(&said) else {
                    record.warn(format!("{key} names no issue; it is kept in metadata"));
                    record.keep(key, said);
                    continue;
                };
                let (from, to) = if is_backwards { (origin.to_owned(), other) } else { (other, origin.to_owned()) };
                if self.edges.insert((kind, from.clone(), to.clone())) {
                    let edge = ImportedEdge { origin: None, kind, from, to, metadata: Value::Null, created_at: None };
                    self.found.add_link(Link { edge, home: origin.to_owned(), key, said });
                }
            }
        }
    }

    fn comments(&mut self, record: &mut Record) -> Vec<ImportedNote> {
        let mut notes = Vec::new();
        for (index, value) in nodes(record.take("comments")).into_iter().enumerate() {
            let place = format!("{} comments[{index}]", record.place());
            let Ok(mut comment) = Record::open(place, value) else { continue };
            let own = comment.origin();
            let (Some(content), created_at) = (comment.text("body"), comment.time("createdAt")) else { continue };
            let author = login_of(&comment.take("author")).map(|login| ("author".to_owned(), json!(login)));
            let url = comment.text("url").map(|url| ("url".to_owned(), json!(url)));
            let metadata: Map<String, Value> = author.into_iter().chain(url).collect();
            let metadata = if metadata.is_empty() { Value::Null } else { Value::Object(metadata) };
            let kind = ContextType::Note;
            notes.push(ImportedNote { origin: own, kind, content, metadata, created_at, superseded_by: None });
        }
        notes
    }
}

/// Where an issue is: the repository, with its host if that is not github.com, and the number.
struct Address {
    repository: String,
    number: String,
}

impl Address {
    fn of(url: &str) -> Option<Self> {
        let rest = url.trim().strip_prefix("https://").or_else(|| url.trim().strip_prefix("http://"))?;
        let parts: Vec<&str> = rest.split(['/', '?', '#']).collect();
        let [host, owner, name, "issues", number, ..] = parts.as_slice() else { return None };
        let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
        let host = if *host == "github.com" { String::new() } else { format!("{host}/") };
        is_number.then(|| Address { repository: format!("{host}{owner}/{name}"), number: (*number).to_owned() })
    }

    fn origin(&self) -> String {
        format!("{}#{}", self.repository, self.number)
    }

    /// The issue that another one names: by its address, or by a number of the same repository.
    fn origin_of(&self, said: &Value) -> Option<String> {
        let url = said.get("url").and_then(Value::as_str).and_then(Address::of);
        let number = said.get("number").and_then(word);
        url.map(|address| address.origin()).or_else(|| Some(format!("{}#{}", self.repository, number?)))
    }
}

/// The entries of a list, which GitHub also writes as a page with `nodes`, or of one object.
fn nodes(value: Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list,
        Value::Object(mut page) if page.contains_key("nodes") => nodes(page.remove("nodes").unwrap_or_default()),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn login_of(person: &Value) -> Option<String> {
    person.get("login").and_then(Value::as_str).filter(|login| !login.is_empty()).map(str::to_owned)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(_) => false,
    }
}

/// An issue that was closed without being done is cancelled.
fn read_status(record: &mut Record) -> Status {
    let state = record.text("state").unwrap_or_default();
    let reason = record.text("stateReason").unwrap_or_default();
    match (state.as_str(), reason.as_str()) {
        ("OPEN" | "open", _) => Status::Open,
        ("CLOSED" | "closed", "NOT_PLANNED" | "DUPLICATE" | "not_planned" | "duplicate") => {
            record.keep("stateReason", reason);
            Status::Cancelled
        }
        ("CLOSED" | "closed", _) => Status::Completed,
        ("", _) => Status::Open,
        _ => {
            record.warn(format!("the state {} becomes open; it is kept in metadata", quoted(&state)));
            record.keep("state", state);
            Status::Open
        }
    }
}

fn read_labels(record: &mut Record) -> Vec<String> {
    let name = |label: Value| label.get("name").cloned().unwrap_or(label);
    let names: Vec<Value> = nodes(record.take("labels")).into_iter().map(name).collect();
    record.keep("labels", names);
    record.labels("labels")
}

fn read_kind(record: &mut Record, labels: &[String]) -> Option<String> {
    let given = record.peek("issueType").get("name").and_then(Value::as_str).map(str::to_owned);
    if let Some(name) = &given {
        record.keep("issueType", name.as_str());
    }
    let known = |word: &str| match word.to_ascii_lowercase().as_str() {
        "bug" => Some("bugfix"),
        "feature" | "enhancement" => Some("feature"),
        "documentation" | "docs" => Some("docs"),
        "refactor" | "refactoring" => Some("refactor"),
        _ => None,
    };
    given.iter().chain(labels).find_map(|word| known(word)).map(str::to_owned)
}

/// The priority that a label names, such as `P1`, `priority: high` or `priority/low`.
fn priority_of(labels: &[String]) -> i64 {
    let known = |label: &String| {
        let label = label.to_ascii_lowercase();
        let word = label.strip_prefix("priority").map(|rest| rest.trim_start_matches([':', '/', '-', ' ']));
        match word.unwrap_or(&label) {
            "p0" => Some(4),
            "p1" => Some(2),
            "p2" => Some(0),
            "p3" => Some(-2),
            "p4" => Some(-4),
            "critical" if word.is_some() => Some(4),
            "high" if word.is_some() => Some(2),
            "medium" if word.is_some() => Some(0),
            "low" if word.is_some() => Some(-2),
            _ => None,
        }
    };
    labels.iter().find_map(known).unwrap_or(0)
}

/// The first assignee; where there are several, all of them are kept as well.
fn read_owner(record: &mut Record) -> Option<String> {
    let logins: Vec<String> = nodes(record.take("assignees")).iter().filter_map(login_of).collect();
    if logins.len() > 1 {
        record.keep("assignees", logins.clone());
    }
    record.keep("assignee", logins.into_iter().next());
    record.owner("assignee")
}

/// The milestone stays as its title; the task is due with it.
fn read_milestone(record: &mut Record) -> Option<crate::model::time::Time> {
    let Value::Object(milestone) = record.take("milestone") else { return None };
    record.keep("milestone", milestone.get("title").cloned().unwrap_or_default());
    record.keep("dueOn", milestone.get("dueOn").cloned().unwrap_or_default());
    record.time("dueOn")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::import::source::Import;

    fn parse(text: &str) -> Result<Import> {
        super::parse(&mut text.as_bytes()).map(PackedImport::open)
    }

    const ISSUES: &str = include_str!("../../../fixtures/import/github/issues.json");

    fn task<'a>(imported: &'a Import, origin: &str) -> &'a ImportedTask {
        imported.tasks.iter().find(|task| task.origin == origin).unwrap()
    }

    #[test]
    fn issues_come_across() {
        let imported = parse(ISSUES).unwrap();
        let origins: Vec<_> = imported.tasks.iter().map(|task| task.origin.as_str()).collect();
        assert_eq!(origins, ["lib/desk#7", "lib/desk#6", "lib/desk#5", "lib/desk#4", "lib/desk#3"]);
        let scan = task(&imported, "lib/desk#7");
        assert_eq!(
            (scan.title.as_str(), scan.status, scan.kind.as_deref()),
            ("Scan a card", Status::Open, Some("bugfix"))
        );
        assert_eq!(
            (scan.priority, scan.labels.as_slice()),
            (2, ["bug".to_owned(), "priority: high".into()].as_slice())
        );
        assert_eq!(
            (scan.owner.as_deref(), &scan.metadata["assignees"]),
            (Some("desk-agent"), &json!(["Desk-Agent", "bee"]))
        );
        assert_eq!((scan.due, &scan.metadata["milestone"]), ("2026-03-01T08:00:00Z".parse().ok(), &json!("Spring")));
        let [note] = scan.context.as_slice() else { panic!("{:?}", scan.context) };
        assert_eq!((note.origin.as_deref(), note.content.as_str()), (Some("IC_1"), "Which scanner?"));
        assert_eq!(
            note.metadata,
            json!({ "author": "bee", "url": "https://github.com/lib/desk/issues/7#issuecomment-1" })
        );
        assert_eq!(task(&imported, "lib/desk#6").status, Status::Completed);
        let wont = task(&imported, "lib/desk#5");
        assert_eq!((wont.status, wont.closed_at), (Status::Cancelled, "2026-01-09T10:00:00Z".parse().ok()));
        assert_eq!((wont.intent.as_deref(), wont.owner.as_deref()), (None, None));
        assert!(!scan.metadata.contains_key("updatedAt") && !scan.metadata.contains_key("reactionGroups"));
    }

    #[test]
    fn a_relation_that_both_issues_name_is_one_edge() {
        let imported = parse(ISSUES).unwrap();
        let edges: Vec<_> = imported.edges.iter().map(|e| (e.from.as_str(), e.kind, e.to.as_str())).collect();
        let expected =
            [("lib/desk#4", RelationType::ParentOf, "lib/desk#7"), ("lib/desk#3", RelationType::Blocks, "lib/desk#7")];
        assert_eq!(edges, expected);
        assert_eq!(imported.warnings.len(), 1, "{:#?}", imported.warnings);
        assert!(
            imported.warnings[0].contains(r#""lib/other#1" blocks "lib/desk#4" is left out"#),
            "{:?}",
            imported.warnings
        );
    }

    #[test]
    fn refusals_say_what_is_missing() {
        let message = |text: &str| parse(text).unwrap_err().message;
        assert!(message(r#"[{"number":1,"title":"t"}]"#).contains("issues[0] has no url of an issue"));
        assert!(message("[{").contains("is not readable JSON"));
        assert!(message("{\"url\":\"https://github.com/a/b/issues/1\"}\n").contains(r#""a/b#1" has no title"#));
    }
}
