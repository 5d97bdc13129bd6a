//! Tables, lines of keys and values, and numbers with what they count.
//!
//! Guarantees that what others wrote is escaped.
//! Leaves to others: which columns a list has (`words`).

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::{Value, json};

use crate::model::plain::{escape, markdown};
use crate::reports::list::{List, edits_words};

/// A field of an item as words.
pub fn word(value: &Value, key: &str) -> String {
    escape(&raw(&value[key]))
}

pub fn raw(value: &Value) -> String {
    match value {
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
pub fn table<T: Serialize>(list: &List<T>, columns: &[&str], md: bool) -> String {
    let mut table = Table::new();
    table.load_style(if md { presets::ASCII_MARKDOWN } else { presets::NOTHING });
    if !md {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(columns.iter().map(|c| c.replace('_', " ")));
    for item in &list.items {
        let item = json!(item);
        let mark = if item["unrecorded_edit"] == true { "*" } else { "" };
        let cells = columns.iter().enumerate().map(|(n, column)| {
            // In a table a bar ends a cell, in a code span too.
            let cell = if md { markdown(&raw(&item[column])).replace('|', "\\|") } else { word(&item, column) };
            if n == 0 { cell + mark } else { cell }
        });
        table.add_row(cells);
    }
    let mut out = if list.items.is_empty() { String::new() } else { format!("{table}\n") };
    if list.rest.truncated {
        let cursor = list.rest.next_cursor.as_ref();
        let cursor = cursor.map(|c| format!("; continue with --cursor {c}")).unwrap_or_default();
        out.push_str(&format!("{} of {}{cursor}\n", list.items.len(), list.rest.total));
    } else if list.items.is_empty() {
        out.push_str("nothing\n");
    }
    out.extend(edits_words(list.rest.unrecorded_edits).map(|words| format!("{words}\n")));
    out
}

/// A value in a few characters.
pub fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let cut: String = text.chars().take(40).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
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
