//! Prints answers in the requested form.
//!
//! Guarantees that JSON is one document on stdout, exact and unescaped. Text for people has control, bidirectional and
//! invisible characters escaped, so a title cannot move the cursor or reverse a line.
//! Leaves to others: the words of an answer (`words`).

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use serde_json::Value;

pub use crate::model::plain::{escape, escape_lines};

use super::global::Global;
use crate::api::envelope;
use crate::error::{Error, Result};
use crate::model::plain::{code_block, inert_json, inert_lines};

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON document.
    Json,
    /// One JSON document for each item of a list.
    Lines,
    /// Words for people.
    Human,
}

/// Chooses the form: the requested one, else words on a terminal and JSON elsewhere. Some forms are for `lint` only.
pub fn form(global: &Global, is_lint: bool) -> Result<Form> {
    match global.format.as_deref() {
        _ if global.json => Ok(Form::Json),
        Some("json") => Ok(Form::Json),
        Some("jsonl") => Ok(Form::Lines),
        Some("table" | "md" | "text") => Ok(Form::Human),
        Some("github" | "sarif") if is_lint => Ok(Form::Human),
        Some(other) if is_lint => Err(Error::usage(format!("lint has no format {other:?}"))
            .hint("use text, json, github or sarif; or jsonl, table, md")),
        Some("tree" | "mermaid" | "dot" | "svg" | "csv" | "markdown" | "beads" | "html" | "prometheus") => {
            Ok(Form::Human)
        }
        Some(other) => Err(Error::usage(format!("there is no format {other:?}")).hint(
            "use json, jsonl, table or md; for graph also tree, mermaid, dot or svg; for lint also github or sarif; \
                   for export csv, markdown, beads or html; for stats also prometheus",
        )),
        None if std::io::stdout().is_terminal() => Ok(Form::Human),
        None => Ok(Form::Json),
    }
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// To standard output, which is ours.
    Stdout,
    /// To standard error, because standard output belongs to a command that agentpm ran.
    Stderr,
}

impl Out {
    fn write(self, text: &str) -> std::io::Result<()> {
        let own = self == Out::Stdout;
        let terminal = if own { std::io::stdout().is_terminal() } else { std::io::stderr().is_terminal() };
        let text = if terminal { Cow::from(for_terminal(text.to_owned())) } else { Cow::from(text) };
        match self {
            Out::Stdout => std::io::stdout().lock().write_all(text.as_bytes()),
            Out::Stderr => std::io::stderr().lock().write_all(text.as_bytes()),
        }
    }
}

/// An answer, ready to be printed.
#[derive(Debug, Default)]
pub struct Output {
    /// The data.
    pub data: Value,
    /// The same in words, for people, escaped already.
    pub human: String,
    /// The `items` of the data as text, a line each, where they are too many to be held as documents.
    pub items: Option<String>,
    /// The data as JSON text, where it is too much to be held as a document.
    pub whole: Option<String>,
    /// The data as a document for each item, where it is no list with `items`.
    pub lines: Option<Vec<Value>>,
    /// The id alone, for `--quiet`.
    pub quiet: Option<String>,
    /// Why there is no `data`.
    pub reasons: Option<Value>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// The number of unread items in the caller's inbox.
    pub unread: Option<u64>,
    /// 0, or 1 where lint found errors.
    pub exit: u8,
    /// Why what was done did not end as it should; printed instead of the data. The exit code is `exit` all the same.
    pub failure: Option<Error>,
    /// A change was made; the exit code says so even if the answer cannot be written.
    pub changed: bool,
    /// A document (a script, a page) that is printed as it is unless JSON is asked for by name.
    pub document: bool,
    /// The words are Markdown where that is asked for. Others are a block of text there.
    pub markdown: bool,
    /// Its bytes matter: they are printed as they are.
    pub exact: bool,
    /// It went to standard output piece by piece: nothing is left to print.
    pub is_printed: bool,
}

impl Output {
    fn data_text(&self) -> Cow<'_, str> {
        self.whole.as_deref().map_or_else(|| Cow::from(self.data.to_string()), Cow::from)
    }
}

/// Writes to standard error. A full disk there takes nothing from the answer: what cannot be written is lost.
fn say_on_stderr(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints warnings to standard error.
pub fn warn(warnings: &[String]) {
    for warning in warnings {
        say_on_stderr(&format!("agentpm: warning: {}\n", escape(warning)));
    }
}

/// A warning that a list was cut, for forms that cannot say so themselves.
fn cut(answer: &Output) -> Vec<String> {
    let data = &answer.data;
    if data["truncated"] != Value::Bool(true) {
        return Vec::new();
    }
    let total = data["total"].as_u64().map(|total| format!(" {total}")).unwrap_or_default();
    let more = data["next_cursor"].as_str().map(|cursor| format!("continue with --cursor {cursor}, or "));
    vec![format!("not all{total} items are shown; {}use a greater --limit", more.unwrap_or_default())]
}

/// Prints an answer and gives the exit code.
pub fn print(answer: &Output, global: &Global, form: Form, out: Out) -> ExitCode {
    warn(&answer.warnings);
    if answer.is_printed {
        return ExitCode::from(answer.exit);
    }
    if global.quiet || form == Form::Lines {
        warn(&cut(answer));
    }
    if let Some(failure) = &answer.failure {
        print_error(failure, form, out);
        return ExitCode::from(answer.exit);
    }
    let plain = out == Out::Stdout && (form == Form::Human || answer.document);
    let mut held = String::new();
    let write = |text: &str| match plain {
        true => std::io::stdout().lock().write_all(text.as_bytes()),
        false => out.write(text),
    };
    // What others wrote must not act in the log of a CI job; scripts, and annotations that we write, are meant to.
    let is_ours = answer.document || global.format.as_deref() == Some("github");
    let mut say = |text: &str| {
        let text = &*match form {
            Form::Human if is_ours => Cow::from(text),
            Form::Human => inert_lines(text),
            Form::Json if answer.document => Cow::from(text),
            Form::Json | Form::Lines if answer.exact => Cow::from(text),
            Form::Json | Form::Lines => inert_json(text),
        };
        // A large answer is not held a second time in the form that is written.
        if held.len() + text.len() > PIECE {
            write(&held)?;
            held.clear();
        }
        if text.len() > PIECE {
            return write(text);
        }
        held.push_str(text);
        Ok(())
    };
    let written = say_all(answer, global, form, &mut say).and_then(|()| write(&held));
    match written {
        Ok(()) => ExitCode::from(answer.exit),
        // The reader closed the pipe and has read enough.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(answer.exit),
        Err(e) if answer.changed => {
            say_on_stderr(&format!("agentpm: the change was made, but the answer could not be written: {e}\n"));
            ExitCode::from(answer.exit)
        }
        Err(e) => {
            say_on_stderr(&format!("agentpm: could not write the answer: {e}\n"));
            ExitCode::from(10)
        }
    }
}

/// Bytes that are written at once.
const PIECE: usize = 64 * 1024;

type Say<'a> = &'a mut dyn FnMut(&str) -> std::io::Result<()>;

/// Writes an answer piece by piece.
fn say_all(answer: &Output, global: &Global, form: Form, say: Say) -> std::io::Result<()> {
    let asked_json = global.json || global.format.as_deref() == Some("json");
    match form {
        _ if global.quiet && answer.quiet.is_some() => {
            let quiet = answer.quiet.as_deref().unwrap_or_default();
            if quiet.is_empty() { Ok(()) } else { say(&format!("{quiet}\n")) }
        }
        Form::Json if answer.document && !asked_json => say(&answer.human),
        Form::Json => say_document(answer, say),
        Form::Lines if answer.items.is_some() => say(answer.items.as_deref().unwrap_or_default()),
        Form::Lines => match answer.lines.as_ref().or(answer.data.get("items").and_then(Value::as_array)) {
            Some(items) => items.iter().try_for_each(|item| say(&format!("{item}\n"))),
            None => {
                say(&answer.data_text())?;
                say("\n")
            }
        },
        Form::Human if is_block(answer, global) => say(&code_block(&answer.human)),
        Form::Human => {
            say(&answer.human)?;
            answer.unread.map_or(Ok(()), |n| say(&format!("unread in your inbox: {n} (agentpm inbox)\n")))
        }
    }
}

fn is_block(answer: &Output, global: &Global) -> bool {
    global.format.as_deref() == Some("md") && !answer.markdown && !answer.document && !answer.human.is_empty()
}

/// Writes an answer as one JSON document, on a line of its own.
fn say_document(answer: &Output, say: Say) -> std::io::Result<()> {
    let data = answer.data_text();
    say("{\"ok\":true,\"data\":")?;
    match &answer.items {
        None => say(&data)?,
        Some(items) => {
            say("{\"items\":[")?;
            for (n, item) in items.lines().enumerate() {
                say(if n > 0 { "," } else { "" })?;
                say(item)?;
            }
            say("],")?;
            // The fields besides the items are an object that is not empty.
            say(&data[1..])?;
        }
    }
    say(",\"error\":null")?;
    if let Some(reasons) = &answer.reasons {
        say(",\"reasons\":")?;
        say(&reasons.to_string())?;
    }
    if let Some(unread) = answer.unread {
        say(&format!(",\"unread\":{unread}"))?;
    }
    say("}\n")
}

/// JSON as a terminal may have it: what it leaves raw and a terminal would act on is written as escapes, which say the same.
pub fn for_terminal(json: String) -> String {
    let acts = |c: char| {
        matches!(c, '\u{7F}'..='\u{9F}' | '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    if !std::io::stdout().is_terminal() || !json.contains(acts) {
        return json;
    }
    let written = |c: char| if acts(c) { format!("\\u{:04x}", c as u32) } else { c.to_string() };
    json.chars().map(written).collect()
}

/// Prints a failure and gives the exit code.
pub fn print_error(error: &Error, form: Form, out: Out) -> ExitCode {
    match form {
        Form::Human => {
            let hint = error.hint.as_ref().map(|hint| format!("  hint: {}\n", escape(hint))).unwrap_or_default();
            say_on_stderr(&format!("agentpm: {}: {}\n{hint}", error.code.as_str(), escape(&error.message)));
        }
        Form::Json | Form::Lines => {
            let text = format!("{}\n", envelope::refusal(error));
            let text = inert_json(&text);
            // If even this cannot be written, only the exit code is left.
            let _ = out.write(&text);
        }
    }
    ExitCode::from(error.code.exit())
}
