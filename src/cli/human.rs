//! Answers in words, for people on a terminal.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::model::plain::{escape, escape_lines, markdown};

/// A field of an answer as words.
fn word(value: &Value, key: &str) -> String {
    escape(&raw(value, key))
}

fn raw(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned)).collect::<Vec<_>>().join(", ")
        }
        Value::Object(map) if map.contains_key("total") => format!("{}/{}", map["done"], map["total"]),
        other => other.to_string(),
    }
}

/// A table of some columns of a list, with a line that says what is not shown. Markdown where `md`.
pub fn table(data: &Value, columns: &[&str], md: bool) -> String {
    let items = data["items"].as_array().cloned().unwrap_or_default();
    let mut table = Table::new();
    table.load_style(if md { presets::ASCII_MARKDOWN } else { presets::NOTHING });
    if !md {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(columns.iter().map(|c| c.replace('_', " ")));
    for item in &items {
        let cells = columns.iter().map(|column| {
            // In a table a bar ends a cell, in a code span too.
            if md { markdown(&raw(item, column)).replace('|', "\\|") } else { word(item, column) }
        });
        table.add_row(cells);
    }
    let mut out = if items.is_empty() { String::new() } else { format!("{table}\n") };
    let total = data["total"].as_u64().unwrap_or(items.len() as u64);
    if data["truncated"] == Value::Bool(true) {
        let cursor = data["next_cursor"].as_str().map(|c| format!("; continue with --cursor {c}")).unwrap_or_default();
        out.push_str(&format!("{} of {total}{cursor}\n", items.len()));
    } else if items.is_empty() {
        out.push_str("nothing\n");
    }
    out
}

/// Which event set which field, and what it beat.
pub fn blame(data: &Value, md: bool) -> String {
    let mut shown = data.clone();
    for item in shown["items"].as_array_mut().into_iter().flatten() {
        let beat = item["beat"].as_array().into_iter().flatten();
        let words: Vec<String> = beat.map(|b| format!("{} by {}", short(&b["value"]), word(b, "agent"))).collect();
        item["beat"] = words.join("; ").into();
    }
    let columns = ["field", "value", "agent", "at", "type", "why", "beat"];
    let any = shown["items"].as_array().into_iter().flatten().any(|item| item["beat"] != "");
    table(&shown, if any { &columns } else { &columns[..6] }, md)
}

/// Lost values, with the commands that restore them.
pub fn conflicts(data: &Value, md: bool) -> String {
    let mut shown = data.clone();
    for item in shown["items"].as_array_mut().into_iter().flatten() {
        for side in ["lost", "won"] {
            item[side] = format!("{} by {}", short(&item[side]["value"]), word(&item[side], "agent")).into();
        }
    }
    let mut out = table(&shown, &["handle", "title", "field", "lost", "won", "rule"], md);
    for item in data["items"].as_array().into_iter().flatten().filter(|_| !md) {
        out.push_str(&format!("put back: {}\n", word(item, "restore")));
    }
    out
}

/// A value in a few characters.
fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let cut: String = text.chars().take(40).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

/// A task whole.
pub fn task(task: &Value) -> String {
    let mut out = format!("{}  {}\n", word(task, "handle"), word(task, "title"));
    if task["at"].is_object() {
        let at = &task["at"];
        out.push_str(&format!(
            "  {:<17}{} (event {} of {})\n",
            "as of",
            word(at, "point"),
            at["lamport"],
            word(at, "time")
        ));
    }
    for key in [
        "id",
        "status",
        "owner",
        "type",
        "priority",
        "parent",
        "labels",
        "files",
        "watchers",
        "estimate",
        "due",
        "defer_until",
        "need_perm",
        "need_precedence",
        "created_at",
        "created_by",
        "updated_at",
        "completed_at",
        "cancelled_at",
        "archived_at",
        "version",
        "score",
        "ready",
        "lease_holder",
        "blocked_by_count",
        "blocking_count",
        "child_progress",
    ] {
        let text = word(task, key);
        if !(text.is_empty() || text == "0" || text == "0/0") {
            out.push_str(&format!("  {:<17}{text}\n", key.replace('_', " ")));
        }
    }
    if let Some(intent) = task["intent"].as_str() {
        out.push('\n');
        out.push_str(&indent(intent));
    }
    list(&mut out, "Acceptance", &task["acceptance"], |c| format!("[{}] {}", tick(&c["met"]), word(c, "criterion")));
    list(&mut out, "Progress", &task["progress"]["items"], |p| {
        format!("[{}] {} {}", tick(&p["completed"]), tail(p), word(p, "content"))
    });
    list(&mut out, "Context", &task["context"], |c| {
        let state = if c["redacted"] == true {
            " (redacted)"
        } else if c["superseded_by"].is_string() {
            " (superseded)"
        } else {
            ""
        };
        format!("{} {} by {}{state}: {}", tail(c), word(c, "type"), word(c, "author"), word(c, "content"))
    });
    list(&mut out, "Elsewhere, by events that are not here", &task["branches"], |b| {
        let kind = if b["worktree"].is_string() { "worktree" } else { "branch" };
        let by = b["owner"].as_str().map(|owner| format!(" by {}", escape(owner))).unwrap_or_default();
        format!("{kind} {}: {}{by}", word(b, kind), word(b, "status"))
    });
    list(&mut out, "Relationships", &task["relationships"], |r| {
        format!("{} {} {}", word(r, "from"), word(r, "type"), word(r, "to"))
    });
    if let Some(left_out) = task["left_out"].as_object() {
        let words: Vec<String> = left_out.iter().map(|(name, n)| format!("{n} {}", name.replace('_', " "))).collect();
        out.push_str(&format!(
            "\n(left out: {}; agentpm show {} --full shows all)\n",
            words.join(", "),
            word(task, "handle")
        ));
    }
    out
}

fn indent(text: &str) -> String {
    escape_lines(text).lines().map(|line| format!("  {line}\n")).collect()
}

fn list(out: &mut String, title: &str, items: &Value, line: impl Fn(&Value) -> String) {
    let items = items.as_array().map_or(&[][..], Vec::as_slice);
    if !items.is_empty() {
        out.push_str(&format!("\n{title}\n"));
        for item in items {
            out.push_str(&format!("  {}\n", line(item)));
        }
    }
}

fn tick(done: &Value) -> &'static str {
    if *done == Value::Bool(true) { "x" } else { " " }
}

/// The last six characters of an item's id.
fn tail(item: &Value) -> String {
    let id = item["id"].as_str().unwrap_or_default();
    id[id.len().saturating_sub(6)..].to_owned()
}

/// An event on a line.
pub fn event(event: &Value) -> String {
    let entity = event["entity"].as_str().unwrap_or_default();
    let why = event["why"].as_str().map(|why| format!("  ({})", escape(why))).unwrap_or_default();
    let payload: String = escape(&event["payload"].to_string()).chars().take(100).collect();
    format!(
        "{:>5}  {}  {}  {:<12} {:<21} {}  {payload}{why}\n",
        event["lamport"],
        tail(event),
        word(event, "at"),
        word(event, "agent"),
        word(event, "type"),
        escape(&entity[entity.len().saturating_sub(6)..]),
    )
}

/// Findings of lint, a line each, followed by the fix.
pub fn findings(report: &Value) -> String {
    let mut out = String::new();
    for fixed in report["fixed"].as_array().into_iter().flatten() {
        out.push_str(&format!("fixed: {}\n", escape(fixed.as_str().unwrap_or_default())));
    }
    for refused in report["refused"].as_array().into_iter().flatten() {
        let code = refused["code"].as_str().map(|code| format!("{code}: ")).unwrap_or_default();
        let hint = refused["hint"].as_str().map(|hint| format!(" ({hint})")).unwrap_or_default();
        let message = refused["message"].as_str().unwrap_or_default();
        out.push_str(&format!("refused: {code}{}\n", escape(&format!("{message}{hint}"))));
    }
    for finding in report["findings"].as_array().into_iter().flatten() {
        let line = finding["line"].as_u64().map(|n| format!(":{n}")).unwrap_or_default();
        let place = finding["path"].as_str().map(|path| format!("{}{line}: ", escape(path))).unwrap_or_default();
        out.push_str(&format!(
            "{place}{} {}: {}\n",
            word(finding, "severity"),
            word(finding, "code"),
            word(finding, "message")
        ));
        out.push_str(&format!("    {}\n", word(finding, "mend")));
    }
    out.push_str(&format!(
        "{}: {}, {}\n",
        counted(&report["checked"], "task"),
        counted(&report["errors"], "error"),
        counted(&report["warnings"], "warning")
    ));
    out
}

/// A number and what it counts.
fn counted(n: &Value, what: &str) -> String {
    format!("{n} {what}{}", if n.as_u64() == Some(1) { "" } else { "s" })
}

/// The checks of doctor.
pub fn checks(data: &Value) -> String {
    let mut out = String::new();
    for check in data["checks"].as_array().into_iter().flatten() {
        let mark = if check["ok"] == true { "ok " } else { "BAD" };
        out.push_str(&format!("{mark} {:<11} {}\n", word(check, "check"), word(check, "found")));
        if let Some(fix) = check["mend"].as_str() {
            out.push_str(&format!("                {}\n", escape(fix)));
        }
    }
    out
}

/// Any object, a line for each key.
pub fn object(data: &Value) -> String {
    match data {
        Value::Object(map) => {
            let width = map.keys().map(|key| key.len() + 1).max().unwrap_or(0).max(17);
            map.keys().map(|key| format!("{:<width$}{}\n", key.replace('_', " "), word(data, key))).collect()
        }
        Value::Null => "nothing\n".into(),
        other => format!("{}\n", escape(&other.to_string())),
    }
}
