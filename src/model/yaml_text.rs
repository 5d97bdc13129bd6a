//! Values as YAML text: plain, quoted, block and flow.
//!
//! Guarantees that a value has one form, whatever wrote it before, and that the form reads back as the same value.
//! Leaves to others: which keys a document has (`yaml`).

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::model::field::FieldValue;

/// Writes block mappings and sequences, with two spaces per level.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) buffer: String,
    pub(super) depth: usize,
    /// Whether the next line begins a sequence item.
    pub(super) dash: bool,
}

impl Writer {
    pub(super) fn begin(&mut self) {
        let indent = if self.dash { self.depth.saturating_sub(1) } else { self.depth };
        for _ in 0..indent {
            self.buffer.push_str("  ");
        }
        if std::mem::take(&mut self.dash) {
            self.buffer.push_str("- ");
        }
    }

    /// Writes `key: written`, where `written` is YAML already.
    pub(super) fn line(&mut self, key: &str, written: &str) {
        self.begin();
        let _ = writeln!(self.buffer, "{key}: {written}");
    }

    pub(super) fn open(&mut self, key: &str) {
        self.begin();
        let _ = writeln!(self.buffer, "{key}:");
        self.depth += 1;
    }

    pub(super) fn close(&mut self) {
        self.depth -= 1;
    }

    /// Begins an item of the open sequence: a mapping whose first key follows the dash.
    pub(super) fn item(&mut self) {
        self.depth += 1;
        self.dash = true;
    }

    pub(super) fn end_item(&mut self) {
        self.depth -= 1;
        self.dash = false;
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
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

    pub(super) fn some_text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    pub(super) fn some(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.line(key, &value.to_string());
        }
    }

    /// Writes a plain field, unless it is empty.
    pub(super) fn field(&mut self, key: &str, value: FieldValue<'_>) {
        match value {
            FieldValue::Text(text) => self.some_text(key, text),
            FieldValue::Number(number) => self.some(key, number),
            FieldValue::Time(time) => self.some(key, time),
            FieldValue::List(items) => self.list(key, items),
            FieldValue::Map(map) if map.is_empty() => {}
            FieldValue::Map(map) => self.map(key, map),
        }
    }

    pub(super) fn list(&mut self, key: &str, items: &[String]) {
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
    pub(super) fn bare(&mut self, written: &str) {
        for _ in 0..self.depth {
            self.buffer.push_str("  ");
        }
        let _ = writeln!(self.buffer, "- {written}");
    }

    pub(super) fn map(&mut self, key: &str, map: &Map<String, Value>) {
        self.open(key);
        for (name, value) in map {
            self.value(name, value);
        }
        self.close();
    }

    /// Writes any JSON value, in block style down to the scalars.
    pub(super) fn value(&mut self, name: &str, value: &Value) {
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

    pub(super) fn item_value(&mut self, value: &Value) {
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
pub(super) fn is_block(text: &str) -> bool {
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
    if c < '\u{7F}' {
        return false;
    }
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
    use super::*;

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
    fn prose_is_a_block_and_blank_lines_hold_no_spaces() {
        let mut out = Writer::default();
        out.text("intent", "One.\n\n  Two.\n");
        assert_eq!(out.buffer, "intent: |\n  One.\n\n    Two.\n");
        for text in ["\nfirst empty\n", " indented\nfirst", "a\n \nb", "a\n\n", "tab\there\nx", "cr\r\nx"] {
            assert!(!is_block(text), "{text:?}");
        }
    }
}
