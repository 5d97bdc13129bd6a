//! The plan as a table: comma-separated values by RFC 4180, one task a row.
//!
//! Guarantees that a spreadsheet takes no text for a formula: one that could begin a formula gets an apostrophe before it.
//! Control and deceptive characters are written as their code.

use crate::model::id::Id;
use crate::model::plain::escape;
use crate::model::task::{Status, Task};
use crate::model::time::Time;

/// The names of the columns.
pub const COLUMNS: [&str; 24] = [
    "id",
    "title",
    "status",
    "type",
    "priority",
    "owner",
    "parent",
    "blocked_by",
    "labels",
    "files",
    "estimate",
    "due",
    "defer_until",
    "steps",
    "steps_done",
    "criteria",
    "criteria_met",
    "created_at",
    "created_by",
    "completed_at",
    "cancelled_at",
    "archived_at",
    "updated_at",
    "intent",
];

/// The first row.
pub fn head() -> String {
    format!("{}\r\n", COLUMNS.join(","))
}

/// The row of a task; `status` is the one that counts.
pub fn row(task: &Task, status: Status) -> String {
    let f = &task.fields;
    let time = |time: Option<Time>| time.map(|time| time.to_string()).unwrap_or_default();
    let ids = |ids: Vec<Id>| ids.iter().map(Id::to_string).collect::<Vec<_>>().join(" ");
    let done = task.progress.values().filter(|item| item.completed).count();
    // Values that agentpm makes itself are no text of others: a negative priority stays a number.
    let cells: [String; COLUMNS.len()] = [
        task.id.to_string(),
        text(&f.title),
        status.as_str().to_owned(),
        text(f.kind.as_str()),
        f.priority.to_string(),
        text(task.owner.as_deref().unwrap_or_default()),
        ids(task.parent().into_iter().collect()),
        ids(task.blockers()),
        list(&f.labels),
        list(&f.files),
        text(f.estimate.as_deref().unwrap_or_default()),
        time(f.due),
        time(f.defer_until),
        task.progress.len().to_string(),
        done.to_string(),
        f.acceptance.len().to_string(),
        f.acceptance.iter().filter(|criterion| task.met.contains_key(*criterion)).count().to_string(),
        task.created_at.to_string(),
        text(&task.created_by),
        time(task.completed_at),
        time(task.cancelled_at),
        time(task.archived_at),
        task.updated_at.to_string(),
        text(f.intent.as_deref().unwrap_or_default()),
    ];
    format!("{}\r\n", cells.join(","))
}

/// A cell with a list, one entry on each line.
fn list(entries: &[String]) -> String {
    text(&entries.join("\n"))
}

/// A cell with a text.
fn text(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|line| escape(line.trim_end_matches('\r'))).collect();
    let mut cell = lines.join("\n");
    // Spreadsheets skip blanks before the sign, and read the wide forms like the plain ones.
    let begins_formula =
        |c: char| matches!(c, '=' | '+' | '-' | '@' | '\u{FF1D}' | '\u{FF0B}' | '\u{FF0D}' | '\u{FF20}');
    if cell.trim_start().starts_with(begins_formula) {
        cell.insert(0, '\'');
    }
    if cell.contains([',', '"', '\n']) || cell.trim() != cell {
        cell = format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_in_its_cell_and_begins_no_formula() {
        for (given, cell) in [
            ("plain", "plain"),
            ("a, \"b\"", "\"a, \"\"b\"\"\""),
            ("one\r\ntwo", "\"one\ntwo\""),
            ("=1+1", "'=1+1"),
            ("-2", "'-2"),
            ("\u{FF1D}1", "'\u{FF1D}1"),
            (" @x", "' @x"),
            ("\t=1", "' =1"),
            (" x ", "\" x \""),
            ("\r=1", "\\u{d}=1"),
            ("\u{1b}[31m", "\\u{1b}[31m"),
        ] {
            assert_eq!(text(given), cell, "{given:?}");
        }
    }
}
