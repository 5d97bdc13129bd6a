//! What a person writes into a task's file: each edit is either the very events of the command, or stays in place with a reason.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, cases};

const CLOCK: &str = "2026-11-20T10:00:00Z";

/// A room with a plan in it, the same in every story, and the names that stand for its ids.
struct Plan {
    room: Sandbox,
    names: BTreeMap<&'static str, String>,
}

impl Plan {
    /// `state` is where the task T stands.
    fn new(state: &str) -> Self {
        let room = Sandbox::new();
        room.at(CLOCK);
        let plan = json!({ "ops": [
            { "op": "task.create", "as": "B", "args": { "title": "Other" } },
            { "op": "task.create", "as": "D", "args": { "title": "Done thing" } },
            { "op": "task.create", "as": "P", "args": { "title": "Parent" } },
            { "op": "task.create", "as": "Q", "args": { "title": "Second parent" } },
            { "op": "task.create", "as": "T", "args": {
                "title": "Fix the lock", "labels": ["old"], "acceptance": ["first", "second"], "priority": 1,
                "intent": "line one\nline two", "metadata": { "k": { "x": 1 }, "num": 1 }, "estimate": "2h",
                "files": ["src/**"], "parent": "$P", "watchers": ["codex-1"],
            } },
            { "op": "progress.add", "as": "S1", "args": { "task_id": "$T", "content": ["find callers"] } },
            { "op": "progress.add", "as": "S2", "args": { "task_id": "$T", "content": ["write a test"] } },
            { "op": "context.add", "as": "C1", "args": { "task_id": "$T", "type": "decision", "content": "flock" } },
            { "op": "task.relate", "as": "E1", "args": { "id": "$T", "to": "$B", "type": "relates_to" } },
            { "op": "progress.complete", "args": { "id": "$S1" } },
            { "op": "task.verify", "args": { "id": "$T", "criterion": ["2"] } },
            { "op": "claim", "args": { "id": "$D" } },
            { "op": "done", "args": { "id": "$D" } },
        ] });
        let made = room.feed(&["batch", "--file", "-"], plan.to_string().as_bytes()).data();
        let id = |n: usize| made["items"][n]["id"].as_str().unwrap_or_else(|| panic!("{made:#}")).to_owned();
        let mut names: BTreeMap<&'static str, String> = ["B", "D", "P", "Q", "T", "S1", "S2", "C1", "E1"]
            .into_iter()
            .enumerate()
            .map(|(n, name)| (name, id(n)))
            .collect();
        let task = names["T"].clone();
        match state {
            "open" => {}
            "claimed" => drop(room.run(&["claim", &task]).data()),
            "met" | "completed" | "archived" | "verified" => {
                room.run(&["claim", &task]).data();
                room.run(&["task", "verify", &task, "--all"]).data();
                if state != "met" {
                    room.run(&["done", &task]).data();
                }
                match state {
                    "archived" => drop(room.run(&["task", "archive", &task]).data()),
                    "verified" => drop(room.run(&["task", "verify", &task]).data()),
                    _ => {}
                }
            }
            "blocked" => {
                room.run(&["task", "block", &task, "--by", &names["B"]]).data();
                let edges = room.get(&task)["relationships"].clone();
                let edge = edges.as_array().unwrap().iter().find(|e| e["type"] == "blocks").unwrap().clone();
                names.insert("E2", edge["id"].as_str().unwrap().to_owned());
            }
            "cancelled" => drop(room.run(&["task", "transition", &task, "--status", "cancelled"]).data()),
            "others" => drop(room.run_as("codex-1", &["claim", &task]).data()),
            other => panic!("no state {other}"),
        }
        Plan { room, names }
    }

    /// A text with `{T}` and the like as ids.
    fn fill(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("{{{name}}}"), id))
    }

    fn task(&self) -> &str {
        &self.names["T"]
    }

    fn text(&self) -> String {
        fs::read_to_string(self.room.yaml_of(self.task())).unwrap()
    }

    /// Puts one text for another in the file; an empty one stands for its end.
    fn edit(&self, edits: &[(&str, &str)]) {
        let mut text = self.text();
        for (from, to) in edits {
            let (from, to) = (self.fill(from), self.fill(to));
            assert!(text.contains(&from), "no {from:?} in\n{text}");
            text = if from.is_empty() { text + &to } else { text.replacen(&from, &to, 1) };
        }
        fs::write(self.room.yaml_of(self.task()), text).unwrap();
    }

    /// Types and payloads of all events of the plan since the setting, ids that are new by the order of their appearance.
    fn events(&self, before: usize) -> Vec<Value> {
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let journal = fs::read_to_string(self.room.repo().join(".git/agentpm/journal.jsonl")).unwrap();
        let lines = journal.lines().filter(|line| !line.starts_with("{\"commit\"")).skip(before);
        let events: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        for event in &events {
            let next = format!("new{}", names.len());
            names.insert(event["id"].as_str().unwrap().to_owned(), next);
        }
        let plain = |event: &Value| {
            let mut text =
                json!([event["type"], event["entity"], event["payload"], event["fence"].is_null()]).to_string();
            for (id, name) in &names {
                text = text.replace(id.as_str(), name);
            }
            serde_json::from_str(&text).unwrap()
        };
        events.iter().map(plain).collect()
    }

    fn length(&self) -> usize {
        self.events(0).len()
    }
}

/// State of the task, what is changed in its file, and the commands that mean the same.
type Legal = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static [&'static str]]);

cases! { recorded by is_recorded {
    title: (
        "open",
        &[("Fix the lock", "Fix both locks")],
        &[&["task", "update", "{T}", "--title", "Fix both locks"]],
    ),
    a_title_of_digits: ("open", &[("Fix the lock", "2026")], &[&["task", "update", "{T}", "--title", "2026"]]),
    a_quoted_title: (
        "open",
        &[("title: Fix the lock", "title: 'It''s: two'")],
        &[&["task", "update", "{T}", "--title", "It's: two"]],
    ),
    intent_in_prose: (
        "open",
        &[("  line two\n", "  line two\n\n  and # no comment\n")],
        &[&["task", "update", "{T}", "--intent", "line one\nline two\n\nand # no comment"]],
    ),
    intent_taken_out: (
        "open",
        &[("intent: |-\n  line one\n  line two\n", "")],
        &[&["task", "update", "{T}", "--clear", "intent"]],
    ),
    another_type: ("open", &[("type: feature", "type: bugfix")], &[&["task", "update", "{T}", "--type", "bugfix"]]),
    priority: ("open", &[("priority: 1", "priority: -2")], &[&["task", "update", "{T}", "--priority", "-2"]]),
    priority_taken_out: ("open", &[("priority: 1\n", "")], &[&["task", "update", "{T}", "--clear", "priority"]]),
    labels_in_a_row: (
        "open",
        &[("labels:\n  - old\n", "labels: [old, \"new\"]\n")],
        &[&["task", "update", "{T}", "--label", "old", "--label", "new"]],
    ),
    a_label_that_is_a_number: (
        "open",
        &[("  - old\n", "  - old\n  - 7\n")],
        &[&["task", "update", "{T}", "--label", "old", "--label", "7"]],
    ),
    labels_taken_out: ("open", &[("labels:\n  - old\n", "")], &[&["task", "update", "{T}", "--clear", "labels"]]),
    watchers: (
        "open",
        &[("  - codex-1\n", "  - codex-1\n  - codex-2\n")],
        &[&["task", "update", "{T}", "--watcher", "codex-1", "--watcher", "codex-2"]],
    ),
    files: ("open", &[("  - src/**\n", "  - src/lock.rs\n")], &[&["task", "update", "{T}", "--file", "src/lock.rs"]]),
    estimate: ("open", &[("estimate: 2h", "estimate: 3")], &[&["task", "update", "{T}", "--estimate", "3"]]),
    due: (
        "open",
        &[("created_at:", "due: 2026-12-01T00:00:00Z\ncreated_at:")],
        &[&["task", "update", "{T}", "--due", "2026-12-01T00:00:00Z"]],
    ),
    defer_until: (
        "open",
        &[("", "defer_until: 2026-12-01T00:00:00Z\n")],
        &[&["task", "update", "{T}", "--defer-until", "2026-12-01T00:00:00Z"]],
    ),
    need_perm_and_need_precedence: (
        "open",
        &[("", "need_perm: review\nneed_precedence: 3\n")],
        &[&["task", "update", "{T}", "--need-perm", "review", "--need-precedence", "3"]],
    ),
    an_entry_of_the_metadata: (
        "open",
        &[("    x: 1\n", "    x: 2\n"), ("  num: 1\n", "")],
        &[&["task", "update", "{T}", "--metadata", r#"{"k": {"x": 2}, "num": null}"#]],
    ),
    metadata_taken_out: (
        "open",
        &[("metadata:\n  k:\n    x: 1\n  num: 1\n", "")],
        &[&["task", "update", "{T}", "--metadata", r#"{"k": null, "num": null}"#]],
    ),
    several_fields_at_once: (
        "open",
        &[("Fix the lock", "Fix locks"), ("priority: 1", "priority: 3")],
        &[&["task", "update", "{T}", "--title", "Fix locks", "--priority", "3"]],
    ),
    another_parent: ("open", &[("parent: {P}", "parent: {Q}")], &[&["task", "update", "{T}", "--parent", "{Q}"]]),
    no_parent: ("open", &[("parent: {P}\n", "")], &[&["task", "update", "{T}", "--clear", "parent"]]),
    an_owner: (
        "open",
        &[("parent:", "owner: codex-9\nparent:")],
        &[&["task", "update", "{T}", "--owner", "codex-9"]],
    ),
    a_new_owner_for_work_in_progress: (
        "claimed",
        &[("owner: ada", "owner: codex-9")],
        &[&["task", "update", "{T}", "--owner", "codex-9"]],
    ),
    a_criterion_more: (
        "open",
        &[("  - criterion: second\n", "  - third\n  - criterion: second\n")],
        &[&["task", "update", "{T}", "--acceptance", "first", "--acceptance", "third", "--acceptance", "second"]],
    ),
    a_criterion_reworded: (
        "open",
        &[("criterion: first", "criterion: the first")],
        &[&["task", "update", "{T}", "--acceptance", "the first", "--acceptance", "second"]],
    ),
    a_criterion_met: (
        "open",
        &[("criterion: first\n", "criterion: first\n    met: true\n")],
        &[&["task", "verify", "{T}", "--criterion", "first"]],
    ),
    a_criterion_met_with_a_time: (
        "open",
        &[("criterion: first\n", "criterion: first\n    met_at: 2026-11-20\n")],
        &[&["task", "verify", "{T}", "--criterion", "first"]],
    ),
    words_that_are_numbers_days_or_truths_elsewhere: (
        "open",
        &[("  - old\n", "  - old\n  - 42\n  - yes\n  - on\n  - 2026-11-20\n")],
        &[&[
            "task",
            "update",
            "{T}",
            "--add-label",
            "42",
            "--add-label",
            "yes",
            "--add-label",
            "on",
            "--add-label",
            "2026-11-20",
        ]],
    ),
    a_criterion_met_by_whom_and_when_as_it_is_recorded: (
        "open",
        &[(
            "criterion: first\n",
            "criterion: first\n    met: true\n    met_at: 2026-11-20T10:00:00Z\n    met_by: ada\n",
        )],
        &[&["task", "verify", "{T}", "--criterion", "first"]],
    ),
    a_criterion_unmet: (
        "open",
        &[("    met_at: 2026-11-20T10:00:00Z\n    met_by: ada\n", "")],
        &[&["task", "verify", "{T}", "--criterion", "second", "--unmet"]],
    ),
    a_criterion_unmet_by_a_word: (
        "open",
        &[("    met_by: ada\n", "    met_by: ada\n    met: false\n")],
        &[&["task", "verify", "{T}", "--criterion", "second", "--unmet"]],
    ),
    a_step: (
        "open",
        &[("context:\n", "  - read the manual\ncontext:\n")],
        &[&["progress", "add", "{T}", "--content", "read the manual"]],
    ),
    two_steps_one_done: (
        "open",
        &[("context:\n", "  - content: one\n  - content: two\n    completed: true\ncontext:\n")],
        &[&["progress", "add", "{T}", "--content", "one", "--content", "two"], &["progress", "complete", "{new:two}"]],
    ),
    a_step_ticked: (
        "open",
        &[("content: write a test\n    completed: false", "content: write a test\n    completed: true")],
        &[&["progress", "complete", "{S2}"]],
    ),
    a_step_ticked_in_words: (
        "open",
        &[("content: write a test\n    completed: false", "content: write a test\n    completed: yes")],
        &[&["progress", "complete", "{S2}"]],
    ),
    a_step_unticked: (
        "open",
        &[("content: find callers\n    completed: true", "content: find callers\n    completed: false")],
        &[&["progress", "reopen", "{S1}"]],
    ),
    a_step_unticked_its_time_too: (
        "open",
        &[(
            "completed: true\n    created_at: 2026-11-20T10:00:00Z\n    completed_at: 2026-11-20T10:00:00Z\n",
            "completed: false\n    created_at: 2026-11-20T10:00:00Z\n",
        )],
        &[&["progress", "reopen", "{S1}"]],
    ),
    a_note: ("open", &[("", "  - look at fcntl\n")], &[&["context", "add", "{T}", "--content", "look at fcntl"]]),
    a_decision: (
        "open",
        &[("", "  - type: decision\n    content: |-\n      fcntl\n      after all\n    metadata: {by: vote}\n")],
        &[&[
            "context",
            "add",
            "{T}",
            "--type",
            "decision",
            "--content",
            "fcntl\nafter all",
            "--metadata",
            r#"{"by": "vote"}"#,
        ]],
    ),
    other_words_for_an_entry: (
        "open",
        &[("content: flock", "content: flock, not fcntl")],
        &[&["context", "supersede", "{C1}", "--content", "flock, not fcntl"]],
    ),
    a_blocker: (
        "open",
        &[("relationships:\n", "relationships:\n  - {type: blocks, from: \"{B}\"}\n")],
        &[&["task", "block", "{T}", "--by", "{B}"]],
    ),
    a_blocker_and_the_status_that_follows: (
        "open",
        &[
            ("status: open", "status: blocked"),
            ("relationships:\n", "relationships:\n  - {type: blocks, from: \"{B}\"}\n"),
        ],
        &[&["task", "block", "{T}", "--by", "{B}"]],
    ),
    a_blocker_for_short: ("open", &[("", "blocked_by: [\"{B}\"]\n")], &[&["task", "block", "{T}", "--by", "{B}"]]),
    a_blocker_that_is_done: ("open", &[("", "blocked_by: \"{D}\"\n")], &[&["task", "block", "{T}", "--by", "{D}"]]),
    a_blocker_less: (
        "blocked",
        &[("  - id: {E2}\n    type: blocks\n    from: {B}\n    created_at: 2026-11-20T10:00:00Z\n", "")],
        &[&["task", "unblock", "{T}", "--by", "{B}"]],
    ),
    it_blocks_another: (
        "open",
        &[("relationships:\n", "relationships:\n  - {type: blocks, to: \"{B}\"}\n")],
        &[&["task", "relate", "{T}", "--to", "{B}", "--type", "blocks"]],
    ),
    a_relation: (
        "open",
        &[("relationships:\n", "relationships:\n  - type: duplicates\n    to: {D}\n    metadata: {why: same}\n")],
        &[&["task", "relate", "{T}", "--to", "{D}", "--type", "duplicates", "--metadata", r#"{"why": "same"}"#]],
    ),
    a_relation_to_another_task: (
        "open",
        &[("to: {B}", "to: {D}")],
        &[
            &["task", "unrelate", "{T}", "--relationship", "{E1}"],
            &["task", "relate", "{T}", "--to", "{D}", "--type", "relates_to"],
        ],
    ),
    begun: (
        "open",
        &[("status: open", "status: in_progress")],
        &[&["task", "transition", "{T}", "--status", "in_progress"]],
    ),
    begun_by_name: (
        "open",
        &[("status: open", "status: in_progress\nowner: ada")],
        &[&["task", "transition", "{T}", "--status", "in_progress"]],
    ),
    given_back: (
        "claimed",
        &[("status: in_progress\nowner: ada", "status: open")],
        &[&["task", "transition", "{T}", "--status", "open"]],
    ),
    completed: (
        "met",
        &[("status: in_progress", "status: completed")],
        &[&["task", "transition", "{T}", "--status", "completed"]],
    ),
    completed_with_a_time: (
        "met",
        &[("status: in_progress", "status: completed\ncompleted_at: 2026-11-20T10:00:00Z")],
        &[&["task", "transition", "{T}", "--status", "completed"]],
    ),
    met_and_completed: (
        "claimed",
        &[("criterion: first\n", "criterion: first\n    met: true\n"), ("status: in_progress", "status: completed")],
        &[&["task", "verify", "{T}", "--criterion", "1"], &["task", "transition", "{T}", "--status", "completed"]],
    ),
    cancelled: (
        "open",
        &[("status: open", "status: cancelled")],
        &[&["task", "transition", "{T}", "--status", "cancelled"]],
    ),
    archived: (
        "completed",
        &[("status: completed", "status: archived")],
        &[&["task", "transition", "{T}", "--status", "archived"]],
    ),
    a_review_that_passed: ("completed", &[("", "verified: {passed: true}\n")], &[&["task", "verify", "{T}"]]),
    a_review_that_did_not: (
        "verified",
        &[("passed: true", "passed: false")],
        &[&["task", "verify", "{T}", "--fail"]],
    ),
    a_note_on_anothers_task: (
        "others",
        &[("", "  - type: attempt\n    content: tried it\n")],
        &[&["context", "add", "{T}", "--type", "attempt", "--content", "tried it"]],
    ),
}}

/// A legal edit becomes the very events of the command.
fn is_recorded(what: &str, (state, edits, commands): Legal) {
    let (hand, said) = (Plan::new(state), Plan::new(state));
    assert_eq!(hand.names, said.names, "both rooms begin alike");
    let before = hand.length();
    hand.edit(edits);
    let foretold = hand.room.findings();
    assert!(foretold.iter().all(|f| f["refusal"].is_null()), "{what}: {foretold:#?}");
    let report = hand.room.run(&["lint", "--fix"]);
    assert_eq!(report.code, 0, "{what}: {report:?}");
    for command in commands {
        let words: Vec<String> = command.iter().map(|word| said.fill(&new_item(&said, word))).collect();
        said.room.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).data();
    }
    let (by_hand, by_command) = (hand.events(before), said.events(before));
    assert!(!by_hand.is_empty(), "{what}: nothing was recorded");
    assert_eq!(by_hand, by_command, "{what}");
    hand.room.is_clean();
    let whys = hand.room.run(&["log", hand.task(), "--limit", "100"]).data();
    let is_noted = whys["items"].as_array().unwrap().iter().any(|event| event["why"] == "hand edit");
    assert!(is_noted || what == "it_blocks_another", "{what}: {whys}");
}

/// `{new:WORDS}` is the progress item that says just that.
fn new_item(plan: &Plan, word: &str) -> String {
    let Some(content) = word.strip_prefix("{new:").and_then(|word| word.strip_suffix('}')) else {
        return word.to_owned();
    };
    let items = plan.room.get(plan.task())["progress"]["items"].clone();
    let item = items.as_array().unwrap().iter().find(|item| item["content"] == content).unwrap().clone();
    item["id"].as_str().unwrap().to_owned()
}

/// State of the task, what is changed in its file, the code, the words of the line it stands on, and words of the reason.
type Illegal = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str, &'static str);

cases! { refused by is_refused {
    no_title: ("open", &[("title: Fix the lock\n", "")], "ERR_VALIDATION", "id:", "title cannot be removed"),
    an_empty_title: ("open", &[("title: Fix the lock", "title: ''")], "ERR_VALIDATION", "title:", "title is empty"),
    a_title_that_is_a_list: (
        "open",
        &[("title: Fix the lock", "title: [a]")],
        "ERR_VALIDATION",
        "title:",
        "must be a text",
    ),
    an_unknown_type: (
        "open",
        &[("type: feature", "type: epic")],
        "ERR_VALIDATION",
        "type: epic",
        "feature, bugfix, refactor, docs, ops",
    ),
    too_high_a_priority: ("open", &[("priority: 1", "priority: 9")], "ERR_VALIDATION", "priority: 9", "-5 to 5"),
    a_priority_in_words: ("open", &[("priority: 1", "priority: high")], "ERR_VALIDATION", "priority: high", "high"),
    a_label_twice: ("open", &[("  - old\n", "  - old\n  - old\n")], "ERR_VALIDATION", "labels:", "twice"),
    a_time_that_is_none: ("open", &[("", "due: soon\n")], "ERR_VALIDATION", "due:", "soon"),
    a_watcher_that_is_no_name: (
        "open",
        &[("  - codex-1\n", "  - Not A Name\n")],
        "ERR_VALIDATION",
        "watchers:",
        "Not A Name",
    ),
    metadata_that_is_no_mapping: (
        "open",
        &[("metadata:\n  k:\n    x: 1\n  num: 1\n", "metadata: yes\n")],
        "ERR_VALIDATION",
        "metadata:",
        "mapping",
    ),
    a_slip_of_the_pen: (
        "open",
        &[("priority: 1", "prioritty: 1")],
        "ERR_VALIDATION",
        "prioritty",
        "did you mean priority?",
    ),
    another_id: ("open", &[("id: {T}", "id: {B}")], "ERR_VALIDATION", "id:", "cannot be changed"),
    another_creator: (
        "open",
        &[("created_by: ada", "created_by: eve")],
        "ERR_VALIDATION",
        "created_by",
        "cannot be changed",
    ),
    another_beginning: (
        "open",
        &[("created_at: 2026", "created_at: 2025")],
        "ERR_VALIDATION",
        "created_at",
        "cannot be changed",
    ),
    a_time_of_completion_alone: (
        "open",
        &[("", "cancelled_at: 2026-11-20T10:00:00Z\n")],
        "ERR_VALIDATION",
        "cancelled_at",
        "follows from the status",
    ),
    an_unknown_status: ("open", &[("status: open", "status: done")], "ERR_VALIDATION", "status: done", "in_progress"),
    no_status: ("open", &[("status: open\n", "")], "ERR_VALIDATION", "title:", "has a status"),
    completed_at_once: (
        "open",
        &[("status: open", "status: completed")],
        "ERR_INVALID_STATE",
        "status:",
        "allowed from there: in_progress, blocked, cancelled",
    ),
    completed_with_a_criterion_unmet: (
        "claimed",
        &[("status: in_progress", "status: completed")],
        "ERR_INVALID_STATE",
        "status:",
        "1 unmet criterion",
    ),
    blocked_by_nothing: (
        "open",
        &[("status: open", "status: blocked")],
        "ERR_INVALID_STATE",
        "status:",
        "no unfinished task blocks",
    ),
    opened_though_blocked: (
        "blocked",
        &[("status: blocked", "status: open")],
        "ERR_INVALID_STATE",
        "status:",
        "still waits for",
    ),
    opened_again: ("completed", &[("status: completed", "status: open")], "ERR_INVALID_STATE", "status:", "reopen"),
    back_from_the_archive: (
        "archived",
        &[("status: archived", "status: completed")],
        "ERR_INVALID_STATE",
        "status:",
        "cannot go from archived",
    ),
    begun_again_after_all: (
        "cancelled",
        &[("status: cancelled", "status: in_progress")],
        "ERR_INVALID_STATE",
        "status:",
        "archived",
    ),
    in_progress_without_an_owner: ("claimed", &[("owner: ada\n", "")], "ERR_INVALID_STATE", "title:", "needs an owner"),
    an_owner_that_is_no_name: (
        "open",
        &[("parent:", "owner: The Boss\nparent:")],
        "ERR_VALIDATION",
        "owner:",
        "The Boss",
    ),
    a_parent_that_is_not_there: (
        "open",
        &[("parent: {P}", "parent: 01ARZ3NDEKTSV4RRFFQ69G5FAV")],
        "ERR_NOT_FOUND",
        "parent:",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ),
    its_own_parent: ("open", &[("parent: {P}", "parent: {T}")], "ERR_INVALID_STATE", "parent:", "cycle"),
    a_finished_parent: (
        "open",
        &[("parent: {P}", "parent: {D}")],
        "ERR_INVALID_STATE",
        "parent:",
        "accepts no new part",
    ),
    its_parent_as_blocker: ("open", &[("", "blocked_by: [\"{P}\"]\n")], "ERR_INVALID_STATE", "blocked_by", "cycle"),
    a_blocker_that_is_not_there: (
        "open",
        &[("relationships:\n", "relationships:\n  - {type: blocks, from: 7XK2Q1}\n")],
        "ERR_NOT_FOUND",
        "7XK2Q1",
        "7XK2Q1",
    ),
    an_unknown_kind_of_relation: (
        "open",
        &[("relationships:\n", "relationships:\n  - {type: likes, to: \"{B}\"}\n")],
        "ERR_VALIDATION",
        "likes",
        "relates_to",
    ),
    a_relation_with_an_id_of_ones_own: (
        "open",
        &[("relationships:\n", "relationships:\n  - {id: mine, type: relates_to, to: \"{D}\"}\n")],
        "ERR_NOT_FOUND",
        "mine",
        "remove the id",
    ),
    another_age_of_a_relation: (
        "open",
        &[("created_at: 2026-11-20T10:00:00Z\nacceptance", "created_at: 2026-11-19T10:00:00Z\nacceptance")],
        "ERR_VALIDATION",
        "{E1}",
        "creation time",
    ),
    a_step_taken_out: (
        "open",
        &[(
            "  - id: {S2}\n    content: write a test\n    completed: false\n    created_at: 2026-11-20T10:00:00Z\n",
            "",
        )],
        "ERR_VALIDATION",
        "progress:",
        "cannot be removed",
    ),
    a_step_reworded: (
        "open",
        &[("content: write a test", "content: write tests")],
        "ERR_VALIDATION",
        "{S2}",
        "cannot be changed",
    ),
    a_step_half_done: (
        "open",
        &[("content: write a test\n    completed: false", "content: write a test\n    completed: half")],
        "ERR_VALIDATION",
        "{S2}",
        "neither true nor false",
    ),
    an_empty_step: ("open", &[("context:\n", "  - ''\ncontext:\n")], "ERR_VALIDATION", "''", "needs a text"),
    an_entry_taken_out: (
        "open",
        &[(
            "  - id: {C1}\n    type: decision\n    content: flock\n    author: ada\n    created_at: 2026-11-20T10:00:00Z\n",
            "",
        )],
        "ERR_VALIDATION",
        "context:",
        "redact",
    ),
    another_author: ("open", &[("author: ada", "author: eve")], "ERR_VALIDATION", "{C1}", "author"),
    another_type_of_entry: ("open", &[("type: decision", "type: note")], "ERR_VALIDATION", "{C1}", "type"),
    an_entry_of_no_type: (
        "open",
        &[("", "  - {type: idea, content: x}\n")],
        "ERR_VALIDATION",
        "idea",
        "decision, rationale",
    ),
    an_entry_in_anothers_name: (
        "open",
        &[("", "  - {type: note, content: x, author: eve}\n")],
        "ERR_VALIDATION",
        "author: eve",
        "the agent that records it",
    ),
    an_entry_with_a_key_too_many: (
        "open",
        &[("", "  - {type: note, content: x, mood: good}\n")],
        "ERR_VALIDATION",
        "mood",
        "its keys are",
    ),
    a_title_with_a_naught_before: (
        "open",
        &[("title: Fix the lock", "title: 007")],
        "ERR_VALIDATION",
        "title: 007",
        "read as 7",
    ),
    a_label_in_hexadecimal: (
        "open",
        &[("  - old\n", "  - old\n  - 0x10\n")],
        "ERR_VALIDATION",
        "- 0x10",
        "put it in quotes",
    ),
    a_label_with_an_exponent: ("open", &[("  - old\n", "  - 1e3\n")], "ERR_VALIDATION", "- 1e3", "quotes"),
    a_step_that_is_a_truth: (
        "open",
        &[("context:\n", "  - TRUE\ncontext:\n")],
        "ERR_VALIDATION",
        "- TRUE",
        "read as true",
    ),
    a_word_of_another_tool: (
        "open",
        &[("priority: 1", "description: more\npriority: 1")],
        "ERR_VALIDATION",
        "description",
        "did you mean intent?",
    ),
    a_word_of_another_tool_in_an_entry: (
        "open",
        &[("context:\n", "  - {text: a step, done: true}\ncontext:\n")],
        "ERR_VALIDATION",
        "text: a step",
        "did you mean content?",
    ),
    another_day_for_a_tick: (
        "open",
        &[(
            "content: write a test\n    completed: false",
            "content: write a test\n    completed: true\n    completed_at: 2026-11-19T10:00:00Z",
        )],
        "ERR_VALIDATION",
        "- id: {S2}",
        "completed_at is the time at which it is recorded",
    ),
    a_day_and_no_tick: (
        "open",
        &[("context:\n", "  - {content: a step, completed_at: 2026-11-20}\ncontext:\n")],
        "ERR_VALIDATION",
        "a step",
        "but not completed: true",
    ),
    another_day_for_a_new_step: (
        "open",
        &[("context:\n", "  - {content: a step, created_at: 2026-11-01}\ncontext:\n")],
        "ERR_VALIDATION",
        "a step",
        "created_at is the time at which it is recorded",
    ),
    another_day_for_a_new_entry: (
        "open",
        &[("", "  - {type: note, content: x, created_at: 2026-11-01}\n")],
        "ERR_VALIDATION",
        "2026-11-01",
        "created_at is the time at which it is recorded",
    ),
    a_criterion_met_by_another: (
        "open",
        &[("criterion: first\n", "criterion: first\n    met: true\n    met_by: eve\n")],
        "ERR_VALIDATION",
        "criterion: first",
        "met_by is the agent that records it, here ada",
    ),
    a_criterion_met_on_another_day: (
        "open",
        &[("criterion: first\n", "criterion: first\n    met_at: 2026-11-19\n")],
        "ERR_VALIDATION",
        "criterion: first",
        "met_at is the time at which it is recorded",
    ),
    ended_on_another_day: (
        "open",
        &[("status: open", "status: cancelled\ncancelled_at: 2026-11-01T10:00:00Z")],
        "ERR_VALIDATION",
        "cancelled_at",
        "cancelled_at is the time at which it is recorded",
    ),
    ended_by_another_word: (
        "open",
        &[("status: open", "status: cancelled\ncompleted_at: 2026-11-20")],
        "ERR_VALIDATION",
        "completed_at",
        "follows from the status completed",
    ),
    a_review_of_another_day: (
        "open",
        &[("created_at:", "verified: {passed: true, at: 2026-11-01, by: eve}\ncreated_at:")],
        "ERR_VALIDATION",
        "verified",
        "at is the time at which it is recorded",
    ),
    an_edge_of_another_day: (
        "open",
        &[
            ("", "blocked_by: []\n"),
            ("relationships:\n", "relationships:\n  - {type: relates_to, to: {D}, created_at: 2026-11-01}\n"),
        ],
        "ERR_VALIDATION",
        "2026-11-01",
        "created_at is the time at which it is recorded",
    ),
    who_met_it: (
        "open",
        &[("met_by: ada", "met_by: eve")],
        "ERR_VALIDATION",
        "criterion: second",
        "is recorded by agentpm",
    ),
    a_mark_that_is_neither: (
        "open",
        &[("criterion: first\n", "criterion: first\n    met: maybe\n")],
        "ERR_VALIDATION",
        "criterion: first",
        "true or false",
    ),
    a_review_taken_back: (
        "verified",
        &[("verified:\n  passed: true\n  at: 2026-11-20T10:00:00Z\n  by: ada\n", "")],
        "ERR_VALIDATION",
        "title:",
        "cannot be removed",
    ),
    a_review_in_anothers_name: (
        "verified",
        &[("  by: ada\ncreated", "  by: eve\ncreated")],
        "ERR_VALIDATION",
        "verified:",
        "is recorded by agentpm",
    ),
    a_review_of_unmet_work: (
        "open",
        &[("", "verified: {passed: true}\n")],
        "ERR_INVALID_STATE",
        "verified:",
        "unmet",
    ),
    anothers_work: ("others", &[("title: Fix the lock", "title: mine")], "ERR_LEASE_HELD", "title:", "codex-1"),
    anothers_status: ("others", &[("status: in_progress", "status: open")], "ERR_LEASE_HELD", "status:", "codex-1"),
    one_good_and_one_bad: (
        "open",
        &[("Fix the lock", "Fix both"), ("priority: 1", "priority: 70")],
        "ERR_VALIDATION",
        "priority:",
        "-5 to 5",
    ),
}}

/// The findings of an answer that are about the edit.
#[track_caller]
fn edited_in(answer: &Value, what: &str) -> Vec<Value> {
    let findings = answer["data"]["findings"].as_array().unwrap_or_else(|| panic!("{what}: {answer:#}"));
    let edited: Vec<Value> = findings.iter().filter(|f| f["code"] == "task-yaml-edited").cloned().collect();
    assert!(!edited.is_empty(), "{what}: {findings:#?}");
    edited
}

impl Plan {
    /// The first finding about the edit by each door of lint that writes nothing, while nothing is recorded.
    #[track_caller]
    fn foretold(&self, what: &str) -> Vec<(&'static str, Value)> {
        let (room, path) = (&self.room, self.room.yaml_of(self.task()));
        let text = self.text();
        let first = |answer: &Value| edited_in(answer, what)[0].clone();
        let plain = first(&room.run(&["lint"]).json());
        let path = path.to_str().unwrap();
        let typed = first(&room.feed(&["lint", "--stdin", "--path", path], text.as_bytes()).json());
        // The index has the edit, the work tree has not.
        room.git(&["add", "-A"]).text();
        fs::write(path, "nothing of the kind\n").unwrap();
        let staged = first(&room.run(&["lint", "--staged"]).json());
        fs::write(path, text).unwrap();
        room.git(&["reset", "-q"]).text();
        vec![("lint", plain), ("lint --stdin", typed), ("lint --staged", staged)]
    }
}

/// An illegal edit leaves everything as it is, and the answer says why, with the line.
fn is_refused(what: &str, (state, edits, code, line, why): Illegal) {
    let plan = Plan::new(state);
    let (room, id) = (&plan.room, plan.task().to_owned());
    plan.edit(edits);
    let (edited, log) = (plan.text(), fs::read(room.log_of(&id)).unwrap());
    let marker = plan.fill(line);
    let expected = edited.lines().position(|line| line.contains(&marker)).unwrap_or_else(|| panic!("{what}: {edited}"));

    let foretold = plan.foretold(what);
    let report = room.run(&["lint", "--fix"]);
    let found = &edited_in(&report.json(), what)[0];
    assert_eq!(report.code, 1, "{what}: {report:?}");
    for (door, before) in &foretold {
        // What is not staged may be in the work tree.
        let unstaged = before["message"].as_str().is_some_and(|words| words.contains("in git's index"));
        let same = match *door == "lint --staged" && unstaged {
            true => (&before["line"], &before["refusal"]["code"]) == (&found["line"], &json!("ERR_NOT_FOUND")),
            false => before == found,
        };
        assert!(same, "{what}: {door} says what recording it says\n{before:#}\n{found:#}");
    }
    assert_eq!((&found["refusal"]["code"], &found["severity"]), (&json!(code), &json!("error")), "{what}: {found}");
    let message = format!("{} ({})", found["message"].as_str().unwrap(), found["mend"].as_str().unwrap());
    assert!(message.contains(code) && message.contains(why), "{what}: {message}");
    assert_eq!(found["line"].as_u64(), Some(expected as u64 + 1), "{what}: {found}\n{edited}");

    // A command that would change the task says the same, unless it may not change it anyway.
    if state != "others" {
        let refused = room.run(&["task", "update", &id, "--add-label", "more"]);
        let error = refused.json()["error"].clone();
        assert_eq!(error["code"], code, "{what}: {refused:?}");
        assert_eq!(error["details"]["line"], found["line"], "{what}: {error}");
    }
    assert_eq!(plan.text(), edited, "{what}: the file stays");
    assert_eq!(fs::read(room.log_of(&id)).unwrap(), log, "{what}: nothing is recorded");
}
