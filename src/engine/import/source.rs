//! The common form of all import formats: plain tasks under the ids of their source, and tools to read them.
//!
//! Guarantees: what a parser does not take from an object of the source stays under its own name for the metadata.
//! Leaves to others: files, ULIDs, events, what one format means by its words, and which edges hold (`collector`).

use std::io::{self, BufRead};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::context::ContextType;
use crate::model::id::{quoted, slug};
use crate::model::plain::is_blank;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::fields::{MAX_LIST, MAX_TITLE, MAX_WORD};

/// Everything one file of another tool holds. Of a large plan, only a part is held in this form.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// The word for the format, as the command line has it.
    pub format: &'static str,
    /// The tasks, in the order of the file.
    pub tasks: Vec<ImportedTask>,
    /// The edges; both ends are among the tasks, and no edge is there twice.
    pub edges: Vec<ImportedEdge>,
    /// What did not fit, one sentence each.
    pub warnings: Vec<String>,
}

/// Everything one file of another tool holds, with each task as text, which takes a quarter of the memory.
#[derive(Debug, Clone)]
pub(crate) struct PackedImport {
    pub(crate) format: &'static str,
    pub(crate) tasks: Vec<PackedTask>,
    pub(crate) edges: Vec<ImportedEdge>,
    pub(crate) warnings: Vec<String>,
}

impl PackedImport {
    /// The plain form.
    pub(crate) fn open(self) -> Import {
        let PackedImport { format, tasks, edges, warnings } = self;
        Import { format, tasks: tasks.into_iter().map(|task| task.open()).collect(), edges, warnings }
    }
}

/// A task as text, apart from what is decided when the whole file is known.
#[derive(Debug, Clone)]
pub(crate) struct PackedTask {
    pub(crate) origin: Box<str>,
    pub(crate) status: Status,
    pub(crate) owner: Option<String>,
    text: Box<str>,
}

impl PackedTask {
    pub(crate) fn of(mut task: ImportedTask) -> Self {
        let (origin, owner) = (std::mem::take(&mut task.origin).into(), task.owner.take());
        // Every key of such a task is a text.
        let text = serde_json::to_string(&task).unwrap_or_default().into();
        PackedTask { origin, status: task.status, owner, text }
    }

    /// The length of its text, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn open(&self) -> ImportedTask {
        // It was written as JSON just before.
        let task: ImportedTask = serde_json::from_str(&self.text).unwrap_or_default();
        ImportedTask { origin: self.origin.to_string(), status: self.status, owner: self.owner.clone(), ..task }
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut ImportedTask)) {
        let mut task = self.open();
        change(&mut task);
        *self = Self::of(task);
    }
}

/// One task of another tool, in our words.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportedTask {
    /// Its id in the source, unique in the file.
    pub origin: String,
    /// One line that says what it is, of at most 200 characters.
    pub title: String,
    /// What is to be reached and why, in prose.
    #[serde(skip_serializing_if = "is_default")]
    pub intent: Option<String>,
    /// Kind of work: `feature`, `bugfix`, `refactor`, `docs` or `ops`.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: Option<String>,
    /// Where it stands. Never `archived`; `blocked` only where an unfinished blocker is in the file.
    #[serde(skip_serializing_if = "is_default")]
    pub status: Status,
    /// Who works on it, as an agent name; while the file is read, as the source spells it. May be absent even where it is in
    /// progress.
    #[serde(skip_serializing_if = "is_default")]
    pub owner: Option<String>,
    /// −5 to +5; higher is sooner.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: i64,
    /// Words to find it by.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: Vec<String>,
    /// What must hold before it is done.
    #[serde(skip_serializing_if = "is_default")]
    pub acceptance: Vec<String>,
    /// Those of the criteria that are met.
    #[serde(skip_serializing_if = "is_default")]
    pub met: Vec<String>,
    /// Expected effort.
    #[serde(skip_serializing_if = "is_default")]
    pub estimate: Option<String>,
    /// When it should be done.
    #[serde(skip_serializing_if = "is_default")]
    pub due: Option<Time>,
    /// Not before this.
    #[serde(skip_serializing_if = "is_default")]
    pub defer_until: Option<Time>,
    /// When it began.
    #[serde(skip_serializing_if = "is_default")]
    pub created_at: Option<Time>,
    /// When it was completed or cancelled, or last changed where the source does not say; absent while unfinished.
    #[serde(skip_serializing_if = "is_default")]
    pub closed_at: Option<Time>,
    /// Everything of the source that has no field of ours, under its own names.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: Map<String, Value>,
    /// Its steps.
    #[serde(skip_serializing_if = "is_default")]
    pub progress: Vec<ImportedItem>,
    /// What is worth knowing about it.
    #[serde(skip_serializing_if = "is_default")]
    pub context: Vec<ImportedNote>,
}

/// Whether a value needs no room in a packed task.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One step of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportedItem {
    /// Its id in the source.
    pub origin: Option<String>,
    /// The step, in words.
    pub content: String,
    /// When it was noted.
    pub created_at: Option<Time>,
    /// When it was done; absent while it is not.
    pub completed_at: Option<Time>,
}

/// One thing worth knowing about a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportedNote {
    /// Its id in the source.
    pub origin: Option<String>,
    /// Kind of entry.
    pub kind: ContextType,
    /// The text.
    pub content: String,
    /// What else the source says of it; `null` where that is nothing.
    pub metadata: Value,
    /// When it was recorded.
    pub created_at: Option<Time>,
    /// The `origin` of the note that replaced it.
    pub superseded_by: Option<String>,
}

/// One edge between two tasks; read it as `from` KIND `to`.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedEdge {
    /// Its id in the source.
    pub origin: Option<String>,
    /// Kind of edge.
    pub kind: RelationType,
    /// The `origin` of the parent, the blocker, or the task that speaks.
    pub from: String,
    /// The `origin` of the child, the blocked, or the task spoken of.
    pub to: String,
    /// What else the source says of it; `null` where that is nothing.
    pub metadata: Value,
    /// When it began.
    pub created_at: Option<Time>,
}

impl ImportedNote {
    /// A note made of the text that its task had under `key`.
    pub(crate) fn made_of(key: &str, kind: ContextType, content: String, created_at: Option<Time>) -> Self {
        let metadata = json!({ "source": key });
        ImportedNote { origin: None, kind, content, metadata, created_at, superseded_by: None }
    }
}

/// The byte order mark that some editors put before a text.
const BOM: char = '\u{feff}';

/// Removes the byte order mark.
pub(crate) fn without_bom(text: &str) -> &str {
    text.strip_prefix(BOM).unwrap_or(text)
}

/// As [`without_bom`], for a text that is read piece by piece.
pub(crate) fn skip_bom(source: &mut impl BufRead) -> io::Result<()> {
    let mut mark = [0; 4];
    let mark = BOM.encode_utf8(&mut mark).as_bytes();
    if source.fill_buf()?.starts_with(mark) {
        source.consume(mark.len());
    }
    Ok(())
}

/// Reads an id: a text that is not blank, or a number.
pub(crate) fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The metadata of a note or an edge: what the source called so, with whatever else was not read.
pub(crate) fn joined(metadata: Value, mut rest: Map<String, Value>) -> Value {
    if rest.is_empty() {
        return metadata;
    }
    if !metadata.is_null() {
        rest.insert("metadata".into(), metadata);
    }
    Value::Object(rest)
}

/// JSON of unknown length, shortened for a warning.
pub(crate) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    let short: String = text.chars().take(120).collect();
    if short.len() < text.len() { short + "…" } else { short }
}

/// The acceptance criteria of a task of the source.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Criteria {
    /// All of them.
    pub(crate) all: Vec<String>,
    /// Those that are ticked.
    pub(crate) met: Vec<String>,
}

/// One object of the source while it is taken apart.
pub(crate) struct Record {
    place: String,
    rest: Map<String, Value>,
    warnings: Vec<String>,
}

impl Record {
    /// Begins with an object found at `place`, such as `tasks[2]`.
    pub(crate) fn open(place: impl Into<String>, value: Value) -> Result<Self> {
        match (place.into(), value) {
            (place, Value::Object(rest)) => Ok(Record { place, rest, warnings: Vec::new() }),
            (place, other) => Err(Error::validation(format!("{place} is not an object but {}", shortened(&other)))
                .hint("check that the file is of the format that --from names")),
        }
    }

    /// Where it is, and its id once that was taken.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// A failure of this object.
    pub(crate) fn refuse(&self, what: &str) -> Error {
        Error::validation(format!("{} {what}", self.place))
            .hint("correct it in the file and import again; nothing was changed")
    }

    /// Notes what did not fit.
    pub(crate) fn warn(&mut self, what: impl std::fmt::Display) {
        self.warnings.push(format!("{}: {what}", self.place));
    }

    /// The keys that were not read yet.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.rest.keys().cloned().collect()
    }

    /// Looks at a value without taking it.
    pub(crate) fn peek(&self, key: &str) -> &Value {
        self.rest.get(key).unwrap_or(&Value::Null)
    }

    /// Takes a value; `null` where there is none.
    pub(crate) fn take(&mut self, key: &str) -> Value {
        self.rest.shift_remove(key).unwrap_or(Value::Null)
    }

    /// Puts a value among those that were not read.
    pub(crate) fn keep(&mut self, key: &str, value: impl Into<Value>) {
        self.rest.insert(key.to_owned(), value.into());
    }

    /// Takes a value if `read` can make something of it. `null` and blank text are nothing; the rest stays, with a
    /// warning.
    fn take_as<T>(&mut self, key: &str, what: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.take(key);
        if value.is_null() || value.as_str().is_some_and(is_blank) {
            return None;
        }
        let found = read(&value);
        if found.is_none() {
            self.warn(format!("{key} is not {what} but {}; it is kept in metadata", shortened(&value)));
            self.keep(key, value);
        }
        found
    }

    /// Takes a text that is not blank.
    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        self.take_as(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// Takes yes or no.
    pub(crate) fn flag(&mut self, key: &str) -> Option<bool> {
        self.take_as(key, "true or false", Value::as_bool)
    }

    /// Takes a whole number.
    pub(crate) fn number(&mut self, key: &str) -> Option<i64> {
        self.take_as(key, "a whole number", Value::as_i64)
    }

    /// Takes a list; an empty one where there is none.
    pub(crate) fn list(&mut self, key: &str) -> Vec<Value> {
        self.take_as(key, "a list", |value| value.as_array().cloned()).unwrap_or_default()
    }

    /// Takes one of our words, such as a kind of relationship.
    pub(crate) fn choice<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        self.take_as(key, "a word known here", |value| T::deserialize(value).ok())
    }

    /// Takes a time.
    pub(crate) fn time(&mut self, key: &str) -> Option<Time> {
        if self.peek(key).as_str().is_some_and(is_no_time) {
            self.take(key);
        }
        self.take_as(key, "a time", read_time)
    }

    /// Reads a time that stays among the unread values.
    pub(crate) fn time_of(&self, key: &str) -> Option<Time> {
        read_time(self.peek(key))
    }

    /// Takes a value that only repeats what is known; another one stays, with a warning.
    pub(crate) fn repeated(&mut self, key: &str, known: &str) {
        let value = self.peek(key);
        if value.is_null() || word(value).is_some_and(|text| text == known) {
            self.take(key);
        } else {
            self.warn(format!("{key} is {}, not {}; it is kept in metadata", shortened(self.peek(key)), quoted(known)));
        }
    }

    /// Goes by a name from here on.
    pub(crate) fn name(&mut self, name: &str) {
        self.place = format!("{} {}", self.place, quoted(name));
    }

    /// Takes the id, where there is one, and goes by it from here on.
    pub(crate) fn origin(&mut self) -> Option<String> {
        let id = self.take_as("id", "an id", word)?;
        self.name(&id);
        Some(id)
    }

    /// Takes the id.
    ///
    /// Errors: there is none.
    pub(crate) fn id(&mut self) -> Result<String> {
        self.origin().ok_or_else(|| self.refuse("has no id"))
    }

    /// Takes the title as one line of ours; a longer one is kept whole as well.
    ///
    /// Errors: there is none.
    pub(crate) fn title(&mut self) -> Result<String> {
        let full = self.text("title").unwrap_or_default();
        let Some(line) = lines(&full).next() else { return Err(self.refuse("has no title")) };
        let cut: String = line.chars().take(MAX_TITLE).collect();
        let title = cut.trim_end().to_owned();
        if title != full.trim() {
            self.warn(format!(
                "the title is more than one line of {MAX_TITLE} characters; the whole of it is in metadata"
            ));
            self.keep("title", full);
        }
        Ok(title)
    }

    /// Takes the name of the owner as the source spells it; one that is no agent name is kept as well.
    pub(crate) fn owner(&mut self, key: &str) -> Option<String> {
        let name = self.text(key)?;
        let agent = slug(&name);
        if agent.is_none() {
            self.warn(format!("{key} {} makes no agent name; it is kept in metadata", quoted(&name)));
        }
        if agent.as_deref() != Some(name.as_str()) {
            self.keep(key, name.as_str());
        }
        agent.map(|_| name)
    }

    /// Takes `status`. `known` says what a word means here and whether that is all it means; a word that is unknown, or
    /// means more, is kept as well.
    pub(crate) fn status(&mut self, known: impl FnOnce(&str) -> Option<(Status, bool)>) -> Status {
        let Some(given) = self.text("status") else { return Status::Open };
        let (status, exact) = known(&given).unwrap_or((Status::Open, false));
        if !exact {
            self.warn(format!("the status {} becomes {status}; it is kept in metadata", quoted(&given)));
            self.keep("status", given);
        }
        status
    }

    /// Takes labels: a list of texts.
    pub(crate) fn labels(&mut self, key: &str) -> Vec<String> {
        self.entries(key, |line| line)
    }

    /// Takes acceptance criteria: a list of texts, or one text with a criterion on each line.
    pub(crate) fn criteria(&mut self, key: &str) -> Criteria {
        let mut met = Vec::new();
        let all = self.entries(key, |line| {
            let (entry, is_ticked) = without_marker(line);
            met.extend(is_ticked.then(|| entry.to_owned()));
            entry
        });
        Criteria { all, met }
    }

    /// Takes the entries of one of our lists: single lines, none empty, none twice, each corrected by `shape`. Where anything
    /// was lost, the original is kept as well.
    fn entries(&mut self, key: &str, mut shape: impl FnMut(&str) -> &str) -> Vec<String> {
        let value = self.take(key);
        let given = match &value {
            Value::Null => return Vec::new(),
            Value::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut whole = given.iter().all(Value::is_string);
        let mut entries: Vec<String> = Vec::new();
        for line in given.iter().filter_map(Value::as_str).flat_map(lines) {
            let entry = shape(line);
            let fits = entry.chars().count() <= MAX_WORD && entries.len() < MAX_LIST;
            whole &= fits;
            if fits && !is_blank(entry) && entries.iter().all(|other| other != entry) {
                entries.push(entry.to_owned());
            }
        }
        if !whole {
            self.warn(format!("{key} could not be imported whole; the original is kept in metadata"));
            self.keep(key, value);
        }
        entries
    }

    /// Ends it: the unread values, and the warnings to `warnings`.
    pub(crate) fn close(self, warnings: &mut Vec<String>) -> Map<String, Value> {
        warnings.extend(self.warnings);
        // The map had room for the whole object, and a large plan has many.
        self.rest.into_iter().collect()
    }
}

fn read_time(value: &Value) -> Option<Time> {
    value.as_str().filter(|text| !is_no_time(text)).and_then(|text| text.trim().parse().ok())
}

/// Whether a text is how Go writes a time that was never set.
fn is_no_time(text: &str) -> bool {
    text.trim().starts_with("0001-01-01T00:00:00")
}

/// The lines of a text that are not blank. NUL counts as the end of a line, because no line of ours may hold one.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r', '\0']).map(str::trim).filter(|line| !is_blank(line))
}

/// A line without the mark that makes it an entry of a Markdown list, and whether it is ticked.
pub(crate) fn without_marker(line: &str) -> (&str, bool) {
    let ends = |rest: &&str| rest.is_empty() || rest.starts_with(char::is_whitespace);
    let after_number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let marked = if after_number.len() < line.len() {
        after_number.strip_prefix(['.', ')'])
    } else {
        line.strip_prefix(['-', '*', '+', '•'])
    };
    let item = marked.filter(ends).unwrap_or(line).trim_start();
    if let Some(rest) = item.strip_prefix("[ ]").filter(ends) {
        return (rest.trim_start(), false);
    }
    match item.strip_prefix("[x]").or_else(|| item.strip_prefix("[X]")).filter(ends) {
        Some(rest) => (rest.trim_start(), true),
        None => (item, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: Value) -> Record {
        Record::open("tasks[0]", value).unwrap()
    }

    #[test]
    fn what_no_agent_takes_stays_under_its_own_name() {
        let mut record = record(json!({"id": 7, "due": "soon", "at": "2026-01-01", "colour": "red", "none": null}));
        assert_eq!(record.id().unwrap(), "7");
        assert_eq!(record.time("due"), None);
        assert_eq!(record.time("at"), "2026-01-01".parse().ok());
        let mut warnings = Vec::new();
        let rest = record.close(&mut warnings);
        assert_eq!(Value::Object(rest), json!({"colour": "red", "none": null, "due": "soon"}));
        assert_eq!(warnings, [r#"tasks[0] "7": due is not a time but "soon"; it is kept in metadata"#]);
    }

    #[test]
    fn a_time_that_go_never_set_is_none() {
        let mut record = record(json!({"at": "0001-01-01T00:00:00Z"}));
        assert_eq!(record.time("at"), None);
        assert!(record.keys().is_empty());
    }

    #[test]
    fn titles_are_one_short_line() {
        let long = "x".repeat(201);
        for (given, title, kept) in
            [(" a ", "a", false), ("\na\r\nb", "a", true), (&*long, &long[..200], true), ("a\0b", "a", true)]
        {
            let mut record = record(json!({ "title": given }));
            assert_eq!(record.title().unwrap(), title);
            assert_eq!(record.take("title") == given, kept, "{given:?}");
        }
        for bad in [json!({}), json!({"title": " \n"}), json!({"title": 3}), json!({"title": "\0"})] {
            let error = record(bad).title().unwrap_err();
            assert_eq!(error.message, "tasks[0] has no title");
        }
    }

    #[test]
    fn criteria_lose_the_marks_of_their_list_and_nothing_else() {
        let text = "- one\n\n* [ ] two\r\n3. three\n4) four\n1.5 seconds\n-5 degrees\n[link](x)\n- one\n-\n";
        let mut plain = record(json!({ "criteria": text }));
        let expected = ["one", "two", "three", "four", "1.5 seconds", "-5 degrees", "[link](x)"];
        assert_eq!(plain.criteria("criteria").all, expected);
        assert!(plain.keys().is_empty());

        let mut ticked = record(json!({ "criteria": ["- [x] done", "long ".repeat(300), 7] }));
        assert_eq!(ticked.criteria("criteria"), Criteria { all: vec!["done".into()], met: vec!["done".into()] });
        assert_eq!(ticked.keys(), ["criteria"]);
        assert_eq!(record(json!({ "labels": ["- a", "b ", "", "\u{200b}", "b"] })).labels("labels"), ["- a", "b"]);
    }

    #[test]
    fn a_name_that_is_no_agent_name_is_kept() {
        let mut same = record(json!({"by": "ada"}));
        assert_eq!((same.owner("by").as_deref(), same.keys().len()), (Some("ada"), 0));
        let mut other = record(json!({"by": "Ada L."}));
        assert_eq!((other.owner("by").as_deref(), other.take("by")), (Some("Ada L."), json!("Ada L.")));
        let mut none = record(json!({"by": " - "}));
        assert_eq!((none.owner("by"), none.take("by")), (None, json!(" - ")));
    }
}
