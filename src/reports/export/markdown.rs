//! The plan as a page to read: a list that nests as the tasks do, with check boxes.
//!
//! Guarantees that each text of a task stays one line of its item, whatever it contains.

use std::fmt::Write as _;

use crate::model::context::{ContextEntry, ContextType};
use crate::model::plain::{code_span, escape, markdown};
use crate::model::task::{Status, Task};

/// Deeper tasks are shown at this depth.
const MAX_DEPTH: usize = 8;

/// The heading of a page with so many tasks, of which so many are finished.
pub fn head(tasks: usize, finished: usize) -> String {
    format!("# Plan\n\n{finished} of {tasks} {} finished.\n\n", if tasks == 1 { "task" } else { "tasks" })
}

/// The item of a task; `status` is the one that counts.
pub fn item(task: &Task, status: Status, depth: usize) -> String {
    let indent = "  ".repeat(depth.min(MAX_DEPTH));
    let mut out =
        format!("{indent}- {} **{}** {}\n", check(status.is_finished()), line(&task.fields.title), facts(task, status));
    let mut say = |words: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{indent}  {words}");
    };
    for text in task.fields.intent.iter().flat_map(|text| text.lines()).filter(|text| !text.trim().is_empty()) {
        say(format!("> {}", line(text)));
    }
    for criterion in &task.fields.acceptance {
        say(format!("- {} Criterion: {}", check(task.met.contains_key(criterion)), line(criterion)));
    }
    for step in task.progress.values() {
        say(format!("- {} Step: {}", check(step.completed), line(&step.content)));
    }
    for entry in task.context.values().filter(|entry| is_shown(entry)) {
        let what = if entry.kind == ContextType::Decision { "Decision" } else { "Outcome" };
        say(format!("- {what}: {} ({})", line(&entry.content), line(&entry.author)));
    }
    out
}

/// What a reader of the plan must know of the notes: what was decided and what came of it.
fn is_shown(entry: &ContextEntry) -> bool {
    matches!(entry.kind, ContextType::Decision | ContextType::Outcome)
        && entry.superseded_by.is_none()
        && !entry.redacted
}

fn facts(task: &Task, status: Status) -> String {
    let mut facts = vec![status.as_str().replace('_', " ")];
    facts.extend(task.owner.as_deref().map(|owner| line(owner).into_owned()));
    if task.fields.priority != 0 {
        facts.push(format!("priority {}", task.fields.priority));
    }
    facts.extend(task.fields.due.map(|due| format!("due {due}")));
    let done = task.progress.values().filter(|step| step.completed).count();
    if !task.progress.is_empty() {
        facts.push(format!("{done} of {} steps", task.progress.len()));
    }
    let labels: Vec<String> = task.fields.labels.iter().map(|label| line(label).into_owned()).collect();
    if !labels.is_empty() {
        facts.push(labels.join(" "));
    }
    format!("({}) `{}`", facts.join(", "), task.id)
}

fn check(done: bool) -> &'static str {
    if done { "[x]" } else { "[ ]" }
}

/// A text on one line that begins nothing: no heading, list or rule.
fn line(text: &str) -> std::borrow::Cow<'_, str> {
    let text = text.trim();
    let begins_plainly = text.chars().next().is_some_and(|c| c.is_alphabetic() || matches!(c, '(' | '"' | '\''));
    if begins_plainly && !text.contains('\n') { markdown(text) } else { code_span(&escape(text)).into() }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_text_stays_a_text() {
        for (given, shown) in [
            ("plain words", "plain words"),
            ("# heading", "`# heading`"),
            ("- item", "`- item`"),
            ("1. item", "`1. item`"),
            ("===", "`===`"),
            ("<script>", "`<script>`"),
            ("[x](y)", "`[x](y)`"),
            ("a\n# b", "`a⏎# b`"),
            ("`code`", "`` `code` ``"),
        ] {
            assert_eq!(line(given), shown, "{given:?}");
        }
    }
}
