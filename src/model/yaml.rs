//! The canonical YAML of `task.yaml` and `agent.yaml`.
//!
//! Guarantees that one task has one sequence of bytes. Any Unicode text is preserved by every YAML 1.1 and 1.2 parser, and
//! prose of several lines is a literal block that a reviewer can read. Nothing that could deceive a terminal or an editor
//! (control, bidirectional and invisible characters) is written raw.
//! Leaves to others: the path of the file.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::model::agent::Agent;
use crate::model::field::FieldValue;
use crate::model::plan::{PlanFile, PlanTask};
use crate::model::relationship::RelationType;
use crate::model::task::Task;
use crate::model::thread::{Message, Thread};

/// The fields that have a place of their own in `task.yaml`. The others follow the parent, in the order of their table.
const PLACED: [&str; 6] = ["title", "priority", "labels", "type", "intent", "acceptance"];

/// Renders `task.yaml`.
///
/// The order of the keys suits plain three-way merges. Lines that never change (`id`, `created_at`, `created_by`) separate
/// those that often do, so that changes of different fields never touch neighboring lines.
pub fn render_task(task: &Task) -> String {
    let mut out = Writer::default();
    let f = &task.fields;
    out.text("title", &f.title);
    out.line("id", &scalar(&task.id.to_string()));
    standing(&mut out, task);
    out.line("created_at", &task.created_at.to_string());
    if f.priority != 0 {
        out.line("priority", &f.priority.to_string());
    }
    out.text("created_by", &task.created_by);
    out.list("labels", &f.labels);
    out.text("type", f.kind.as_str());
    out.some_text("intent", f.intent.as_deref());
    let parent = task.parent_edge();
    out.some_text("parent", parent.map(|edge| edge.from.to_string()).as_deref());
    for (field, value) in f.entries().filter(|(field, _)| !PLACED.contains(&field.name)) {
        out.field(field.name, value);
    }
    for (name, value) in &f.extra {
        out.value(name, value);
    }
    relationships(&mut out, task);
    acceptance(&mut out, task);
    progress(&mut out, task);
    context(&mut out, task);
    threads(&mut out, task);
    out.buffer
}

/// Renders status and owner, with what is written together with them.
fn standing(out: &mut Writer, task: &Task) {
    out.line("status", task.status.as_str());
    out.some_text("owner", task.owner.as_deref());
    out.some("completed_at", task.completed_at);
    out.some("cancelled_at", task.cancelled_at);
    out.some("archived_at", task.archived_at);
    if let Some(v) = &task.verified {
        out.open("verified");
        out.line("passed", &v.passed.to_string());
        out.line("at", &v.at.to_string());
        out.text("by", &v.by);
        out.close();
    }
}

fn acceptance(out: &mut Writer, task: &Task) {
    if task.fields.acceptance.is_empty() {
        return;
    }
    out.open("acceptance");
    for criterion in &task.fields.acceptance {
        out.item();
        out.text("criterion", criterion);
        if let Some(met) = task.met.get(criterion) {
            out.line("met_at", &met.at.to_string());
            out.text("met_by", &met.by);
        }
        out.end_item();
    }
    out.close();
}

fn relationships(out: &mut Writer, task: &Task) {
    let parent = task.parent_edge().map(|edge| edge.id);
    // The parent has a key of its own.
    let edges: Vec<_> =
        task.relationships.values().filter(|edge| Some(edge.id) != parent || !edge.metadata.is_null()).collect();
    if edges.is_empty() {
        return;
    }
    out.open("relationships");
    for edge in edges {
        out.item();
        out.line("id", &scalar(&edge.id.to_string()));
        out.line("type", edge.kind.as_str());
        match edge.kind {
            RelationType::ParentOf | RelationType::Blocks => out.line("from", &scalar(&edge.from.to_string())),
            RelationType::RelatesTo | RelationType::Duplicates => out.line("to", &scalar(&edge.to.to_string())),
        }
        if !edge.metadata.is_null() {
            out.value("metadata", &edge.metadata);
        }
        out.line("created_at", &edge.created_at.to_string());
        out.end_item();
    }
    out.close();
}

fn progress(out: &mut Writer, task: &Task) {
    if task.progress.is_empty() {
        return;
    }
    out.open("progress");
    for item in task.progress.values() {
        out.item();
        out.line("id", &scalar(&item.id.to_string()));
        out.text("content", &item.content);
        out.line("completed", &item.completed.to_string());
        out.line("created_at", &item.created_at.to_string());
        out.some("completed_at", item.completed_at);
        out.end_item();
    }
    out.close();
}

fn context(out: &mut Writer, task: &Task) {
    if task.context.is_empty() {
        return;
    }
    out.open("context");
    for entry in task.context.values() {
        out.item();
        out.line("id", &scalar(&entry.id.to_string()));
        out.line("type", entry.kind.as_str());
        if entry.redacted {
            out.line("redacted", "true");
        } else {
            out.text("content", &entry.content);
        }
        out.text("author", &entry.author);
        if !entry.metadata.is_null() {
            out.value("metadata", &entry.metadata);
        }
        out.some_text("superseded_by", entry.superseded_by.map(|id| id.to_string()).as_deref());
        out.line("created_at", &entry.created_at.to_string());
        out.end_item();
    }
    out.close();
}

/// Renders threads, each followed by its replies: one list, so that concurrent messages merge like other entries.
fn threads(out: &mut Writer, task: &Task) {
    if task.threads.is_empty() {
        return;
    }
    out.open("threads");
    for thread in task.threads.values() {
        out.item();
        thread_entry(out, thread);
        out.end_item();
        for message in thread.replies.values() {
            out.item();
            reply(out, thread, message);
            out.end_item();
        }
    }
    out.close();
}

fn thread_entry(out: &mut Writer, thread: &Thread) {
    out.line("id", &scalar(&thread.id.to_string()));
    out.line("status", thread.status().as_str());
    if let Some(resolved) = &thread.resolved {
        out.text("resolved_by", &resolved.by);
        out.line("resolved_at", &resolved.at.to_string());
        out.some_text("accepted", resolved.message.map(|id| id.to_string()).as_deref());
        out.some_text("superseded_by", resolved.superseded_by.map(|id| id.to_string()).as_deref());
        out.some_text("why", resolved.why.as_deref());
    }
    if let Some(escalated) = &thread.escalated {
        out.some_text("escalated_to", escalated.to.as_deref());
        out.line("escalated_at", &escalated.at.to_string());
    }
    out.text("author", &thread.author);
    out.text("body", &thread.body);
    if !thread.patch.is_null() {
        out.value("patch", &thread.patch);
    }
    if !thread.hold {
        out.line("hold", "false");
    }
    out.some("ttl", thread.ttl);
    out.some_text("need_perm", thread.need_perm.as_deref());
    out.some("need_precedence", thread.need_precedence);
    out.line("created_at", &thread.created_at.to_string());
}

fn reply(out: &mut Writer, thread: &Thread, message: &Message) {
    out.line("id", &scalar(&message.id.to_string()));
    out.line("thread", &scalar(&thread.id.to_string()));
    let parent = message.parent.filter(|parent| *parent != thread.id);
    out.some_text("parent", parent.map(|id| id.to_string()).as_deref());
    out.text("author", &message.author);
    out.text("body", &message.body);
    if !message.patch.is_null() {
        out.value("patch", &message.patch);
    }
    out.line("created_at", &message.created_at.to_string());
}

/// Renders `agent.yaml`.
pub fn render_agent(agent: &Agent) -> String {
    let mut out = Writer::default();
    out.text("name", &agent.name);
    out.some_text("role", agent.role.as_deref());
    if !agent.metadata.is_null() {
        out.value("metadata", &agent.metadata);
    }
    out.some_text("public_key", agent.public_key.as_deref());
    out.some("created_at", agent.created_at);
    out.buffer
}

/// Renders a plan file.
pub fn render_plan(plan: &PlanFile) -> String {
    let mut out = Writer::default();
    out.text("plan", &plan.plan);
    out.some("as_of", plan.as_of);
    if plan.tasks.is_empty() {
        out.line("tasks", "[]");
    } else {
        plan_tasks(&mut out, "tasks", &plan.tasks);
    }
    out.buffer
}

fn plan_tasks(out: &mut Writer, name: &str, tasks: &[PlanTask]) {
    if tasks.is_empty() {
        return;
    }
    out.open(name);
    for task in tasks {
        out.item();
        out.some_text("key", task.key.as_deref());
        for (name, value) in &task.plain() {
            out.value(name, value);
        }
        out.list("progress", &task.progress);
        out.list("blocked_by", &task.blocked_by);
        plan_tasks(out, "children", &task.children);
        out.end_item();
    }
    out.close();
}

/// Renders one value as a YAML document, to test the round trip.
pub fn render_value(name: &str, value: &Value) -> String {
    let mut out = Writer::default();
    out.value(name, value);
    out.buffer
}

/// Writes block mappings and sequences, with two spaces per level.
#[derive(Default)]
struct Writer {
    buffer: String,
    depth: usize,
    /// Whether the next line begins a sequence item.
    dash: bool,
}

impl Writer {
    fn begin(&mut self) {
        let indent = if self.dash { self.depth.saturating_sub(1) } else { self.depth };
        for _ in 0..indent {
            self.buffer.push_str("  ");
        }
        if std::mem::take(&mut self.dash) {
            self.buffer.push_str("- ");
        }
    }

    /// Writes `key: written`, where `written` is YAML already.
    fn line(&mut self, key: &str, written: &str) {
        self.begin();
        let _ = writeln!(self.buffer, "{key}: {written}");
    }

    fn open(&mut self, key: &str) {
        self.begin();
        let _ = writeln!(self.buffer, "{key}:");
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
    }

    /// Begins an item of the open sequence: a mapping whose first key follows the dash.
    fn item(&mut self) {
        self.depth += 1;
        self.dash = true;
    }

    fn end_item(&mut self) {
        self.depth -= 1;
        self.dash = false;
    }

    fn text(&mut self, key: &str, text: &str) {
        if !is_block(text) {
            return self.line(key, &scalar(text));
        }
        self.begin();
        let keep = if text.ends_with('\n') { "" } else { "-" };
        let _ = writeln!(self.buffer, "{key}: |{keep}");
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            if !line.is_empty() {
                for _ in 0..=self.depth {
                    self.buffer.push_str("  ");
                }
                self.buffer.push_str(line);
            }
            self.buffer.push('\n');
        }
    }

    fn some_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn some(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.line(key, &value.to_string());
        }
    }

    /// Writes a plain field, unless it is empty.
    fn field(&mut self, key: &str, value: FieldValue<'_>) {
        match value {
            FieldValue::Text(text) => self.some_text(key, text),
            FieldValue::Number(number) => self.some(key, number),
            FieldValue::Time(time) => self.some(key, time),
            FieldValue::List(items) => self.list(key, items),
            FieldValue::Map(map) if map.is_empty() => {}
            FieldValue::Map(map) => self.map(key, map),
        }
    }

    fn list(&mut self, key: &str, items: &[String]) {
        if items.is_empty() {
            return;
        }
        self.open(key);
        for item in items {
            self.bare(&scalar(item));
        }
        self.close();
    }

    /// Writes an item of the open sequence that is a scalar or an empty collection.
    fn bare(&mut self, written: &str) {
        for _ in 0..self.depth {
            self.buffer.push_str("  ");
        }
        let _ = writeln!(self.buffer, "- {written}");
    }

    fn map(&mut self, key: &str, map: &Map<String, Value>) {
        self.open(key);
        for (name, value) in map {
            self.value(name, value);
        }
        self.close();
    }

    /// Writes any JSON value, in block style down to the scalars.
    fn value(&mut self, name: &str, value: &Value) {
        let key = scalar(name);
        match value {
            Value::Object(map) if !map.is_empty() => self.map(&key, map),
            Value::Array(items) if !items.is_empty() => {
                self.open(&key);
                for item in items {
                    self.item_value(item);
                }
                self.close();
            }
            Value::String(text) => self.text(&key, text),
            other => self.line(&key, &flat(other)),
        }
    }

    fn item_value(&mut self, value: &Value) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.item();
                for (name, value) in map {
                    self.value(name, value);
                }
                self.end_item();
            }
            // A sequence directly within a sequence has no key to follow; JSON's own form is YAML too.
            Value::Array(items) if !items.is_empty() => self.bare(&flow(value)),
            Value::String(text) => self.bare(&scalar(text)),
            other => self.bare(&flat(other)),
        }
    }
}

/// Scalars that are not text, and empty collections.
fn flat(value: &Value) -> String {
    match value {
        Value::Object(_) => "{}".into(),
        Value::Array(_) => "[]".into(),
        Value::Number(n) => number(&n.to_string()),
        other => other.to_string(),
    }
}

/// YAML 1.1 parsers require a point and a sign in a float's exponent form.
fn number(json: &str) -> String {
    match json.split_once('e') {
        Some((mantissa, exponent)) => {
            let mantissa = if mantissa.contains('.') { mantissa.to_owned() } else { format!("{mantissa}.0") };
            let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
            format!("{mantissa}e{sign}{exponent}")
        }
        None => json.to_owned(),
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries = map.iter().map(|(k, v)| format!("{}: {}", double_quoted(k), flow(v)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => double_quoted(text),
        other => flat(other),
    }
}

/// A text on one line: plain if every parser reads it as this text, else in double quotes.
pub fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { double_quoted(text) }
}

/// Whether every YAML parser reads the bare text as a string with exactly these characters.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let starts_well = first.is_alphanumeric() || matches!(first, '/' | '_' | '(');
    let ends_well = !text.ends_with([' ', ':']);
    let harmless = |c: char| c == ' ' || (!c.is_control() && !c.is_whitespace() && !must_escape(c));
    starts_well
        && ends_well
        && text.chars().all(harmless)
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.contains(['[', ']', '{', '}', '\u{FFFD}'])
        && !is_yaml_keyword(text)
        && !looks_like_number(text)
}

/// Words that some version of YAML reads as null, a boolean or something else.
fn is_yaml_keyword(text: &str) -> bool {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Texts that some version of YAML reads as a number or a time: they begin with a digit and no letter excludes it.
fn looks_like_number(text: &str) -> bool {
    let rules_out = |c: char| c.is_alphabetic() && !"abcdefoxtzABCDEFOXTZ_".contains(c);
    text.starts_with(|c: char| c.is_numeric() || c == '_') && !text.chars().any(rules_out)
}

/// Whether a text can and should be a literal block.
fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let printable = |c: char| c == '\n' || (!c.is_control() && !must_escape(c));
    let lines_well = body.split('\n').all(|line| line.is_empty() || !line.trim_matches(' ').is_empty());
    body.contains('\n')
        && !body.ends_with('\n')
        && !body.starts_with(['\n', ' '])
        && text.chars().all(printable)
        && lines_well
}

/// Characters that are never written raw in a file: line separators, marks that reverse or hide text, non-characters.
fn must_escape(c: char) -> bool {
    matches!(c,
        '\u{7F}'..='\u{A0}'
        | '\u{AD}'
        | '\u{61C}'
        | '\u{200B}'
        | '\u{200E}'..='\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}'
        | '\u{FFF0}'..='\u{FFFB}'
        | '\u{FFFE}'..='\u{FFFF}'
        | '\u{E0000}'..='\u{E0FFF}'
    ) || (c as u32) & 0xFFFE == 0xFFFE
}

fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || must_escape(c) => {
                let _ = match c as u32 {
                    code @ 0..=0xFF => write!(out, "\\x{code:02X}"),
                    code @ 0x100..=0xFFFF => write!(out, "\\u{code:04X}"),
                    code => write!(out, "\\U{code:08X}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::field::{FIELDS, NAMES, TaskFields};
    use crate::model::id::Id;

    #[test]
    fn a_scalar_is_plain_only_if_every_parser_reads_it_as_text() {
        for plain in [
            "Fix the lock",
            "01K5R4XJ7Z0000000000000001",
            "src/lib.rs",
            "Größe: 3".trim_end_matches(": 3"),
            "a,b",
            "don't",
        ] {
            assert_eq!(scalar(plain), plain);
        }
        for quoted in [
            "",
            " a",
            "a ",
            "yes",
            "NO",
            "~",
            "1",
            "1.5",
            "0x1F",
            "1e3",
            "2026-11-20",
            "12:30",
            "- a",
            "# a",
            "a: b",
            "a #b",
            "@a",
            "`a",
            "%a",
            "!a",
            "&a",
            "*a",
            "'a'",
            "\"a\"",
            "[a]",
            "{a}",
            "a:",
            "=",
            "<<",
            "\u{202E}a",
            "null",
            "00000000000000000000000001",
        ] {
            assert!(scalar(quoted).starts_with('"'), "{quoted:?} was written bare");
        }
    }

    #[test]
    fn every_field_is_rendered_once() {
        let mut task = Task::blank(Id::from_parts(0, 0));
        for field in FIELDS {
            let samples = [json!("text"), json!(3), json!("2026-01-01T00:00:00Z"), json!(["one"]), json!({"one": 1})];
            let fits = |sample: &&Value| (field.read)(&mut TaskFields::default(), sample).is_ok();
            (field.read)(&mut task.fields, samples.iter().find(fits).unwrap()).unwrap();
        }
        let text = render_task(&task);
        for name in NAMES {
            assert_eq!(text.lines().filter(|line| line.starts_with(&format!("{name}:"))).count(), 1, "{name}\n{text}");
        }
    }

    #[test]
    fn prose_is_a_block_and_blank_lines_hold_no_spaces() {
        let mut out = Writer::default();
        out.text("intent", "One.\n\n  Two.\n");
        assert_eq!(out.buffer, "intent: |\n  One.\n\n    Two.\n");
        for text in ["\nfirst empty\n", " indented\nfirst", "a\n \nb", "a\n\n", "tab\there\nx", "cr\r\nx"] {
            assert!(!is_block(text), "{text:?}");
        }
    }
}
