//! A thread in words and as Markdown: its messages as a tree.
//!
//! Guarantees that each message is shown once, whatever it claims to answer, and that what others wrote is escaped.
//! Leaves to others: which threads there are (`engine::query::threads`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::id::{HANDLE_MIN, Id};
use crate::model::plain::{code_block, code_span, escape, escape_lines, markdown};
use crate::model::thread::Message;
use crate::reports::thread::ThreadView;

/// The deepest level that is indented; deeper answers stand there too.
const MAX_DEPTH: usize = 8;

/// A thread in words, or as Markdown.
pub fn thread(thread: &ThreadView, md: bool) -> String {
    let replies: Vec<Message> = thread.messages.iter().map(|shown| shown.entry.clone()).collect();
    let first = Message {
        id: thread.id,
        parent: None,
        author: thread.author.clone(),
        body: thread.body.clone(),
        patch: thread.patch.clone(),
        created_at: thread.created_at,
    };
    let tree = tree(&first, &replies);
    if md { as_markdown(thread, &tree) } else { in_words(thread, &tree) }
}

/// The messages in the order of the tree, each with its level.
fn tree<'m>(first: &'m Message, replies: &'m [Message]) -> Vec<(usize, &'m Message)> {
    let known: BTreeSet<Id> = replies.iter().map(|message| message.id).collect();
    let mut answers: BTreeMap<Id, Vec<&Message>> = BTreeMap::new();
    for message in replies {
        let parent = message.parent.filter(|parent| known.contains(parent)).unwrap_or(first.id);
        answers.entry(parent).or_default().push(message);
    }
    let (mut out, mut open) = (Vec::new(), vec![(0, first)]);
    while let Some((level, message)) = open.pop() {
        out.push((level, message));
        let below = answers.remove(&message.id).unwrap_or_default();
        open.extend(below.into_iter().rev().map(|answer| ((level + 1).min(MAX_DEPTH), answer)));
    }
    // Messages that answer each other hang on nothing.
    out.extend(answers.into_values().flatten().map(|message| (1, message)));
    out
}

/// The state of a thread, a line each.
fn state(thread: &ThreadView) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(resolved) = &thread.resolution {
        let of = resolved.message.map(|id| format!(", message {}", id.handle(HANDLE_MIN))).unwrap_or_default();
        let by = resolved.superseded_by.map(|id| format!(", by thread {}", id.handle(HANDLE_MIN))).unwrap_or_default();
        let why = resolved.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let status = thread.status.as_str();
        lines.push(format!("{status} by {} at {}{of}{by}{why}", resolved.by, resolved.at));
    } else {
        lines.extend(thread.hold.then(|| "withholds the task from new holders".to_owned()));
        lines.extend(thread.expires_at.map(|at| format!("expires at {at}")));
    }
    if let Some(escalated) = &thread.escalated {
        let to = escalated.to.as_deref().unwrap_or("no particular agent");
        lines.push(format!("escalated to {to} at {}", escalated.at));
    }
    let needs = [
        thread.need_perm.as_ref().map(|perm| format!("needs the right {perm}")),
        thread.need_precedence.map(|least| format!("needs precedence {least}")),
    ];
    lines.extend(needs.into_iter().flatten());
    if !thread.overruled.is_empty() {
        lines.push(format!("concurrent resolutions that do not count: {}", thread.overruled.len()));
    }
    lines.extend(
        thread.left_out.get("messages").map(|n| format!("earlier messages not shown: {n} (--full shows them)")),
    );
    lines
}

/// The operations of a patch, one text each.
fn operations(patch: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let one = |operation: &Value| {
        let keys = ["op", "from", "path", "value"].into_iter().filter_map(|key| operation.get(key));
        keys.map(word).collect::<Vec<_>>().join(" ")
    };
    match patch {
        Value::Array(list) => list.iter().map(one).collect(),
        Value::Null => Vec::new(),
        other => vec![other.to_string()],
    }
}

fn in_words(thread: &ThreadView, tree: &[(usize, &Message)]) -> String {
    let task = thread.task.handle(HANDLE_MIN);
    let mut out = format!("{}  {}  {task} {}\n", thread.handle, thread.status.as_str(), escape(&thread.title));
    state(thread).iter().for_each(|line| out.push_str(&format!("  {}\n", escape(line))));
    for (level, message) in tree {
        let indent = "  ".repeat(level + 1);
        let (id, at) = (message.id.handle(HANDLE_MIN), message.created_at);
        out.push_str(&format!("{indent}{id} {} at {at}\n", escape(&message.author)));
        for line in escape_lines(&message.body).lines() {
            out.push_str(&format!("{indent}  {line}\n"));
        }
        for operation in operations(&message.patch) {
            out.push_str(&format!("{indent}  proposes: {}\n", escape(&operation)));
        }
    }
    out
}

fn as_markdown(thread: &ThreadView, tree: &[(usize, &Message)]) -> String {
    let mut out = format!("### Thread {} ({}): {}\n\n", thread.handle, thread.status.as_str(), markdown(&thread.title));
    state(thread).iter().for_each(|line| out.push_str(&format!("- {}\n", markdown(line))));
    out.push('\n');
    // A level closes when a message of the same or a higher level follows.
    let mut open: Vec<usize> = Vec::new();
    for (level, message) in tree {
        while open.last().is_some_and(|last| last >= level) {
            open.pop();
            out.push_str("</details>\n\n");
        }
        open.push(*level);
        let (id, at) = (message.id.handle(HANDLE_MIN), message.created_at);
        // An agent's name and a time hold nothing that HTML interprets.
        out.push_str(&format!("<details open><summary>{} at {at} ({id})</summary>\n\n", escape(&message.author)));
        out.push_str(&code_block(&escape_lines(&message.body)));
        out.push('\n');
        for operation in operations(&message.patch) {
            out.push_str(&format!("- proposes {}\n", code_span(&escape(&operation))));
        }
        if !message.patch.is_null() {
            out.push('\n');
        }
    }
    out.push_str(&"</details>\n".repeat(open.len()));
    out
}
