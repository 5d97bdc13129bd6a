//! What a person writes into a task's file: each edit is either the very events of the command, or stays in place with a reason.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

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
        let mut names = BTreeMap::new();
        for (name, title) in [("B", "Other"), ("D", "Done thing"), ("P", "Parent"), ("Q", "Second parent")] {
            names.insert(name, room.task(title, &[]));
        }
        room.run(&["claim", &names["D"]]).data();
        room.run(&["done", &names["D"]]).data();
        let parent = names["P"].clone();
        let task = room.task(
            "Fix the lock",
            &[
                "--label",
                "old",
                "--acceptance",
                "first",
                "--acceptance",
                "second",
                "--priority",
                "1",
                "--intent",
                "line one\nline two",
                "--metadata",
                r#"{"k": {"x": 1}, "num": 1}"#,
                "--estimate",
                "2h",
                "--file",
                "src/**",
                "--parent",
                &parent,
                "--watcher",
                "codex-1",
            ],
        );
        let id = |args: &[&str]| room.run(args).data()["id"].as_str().unwrap().to_owned();
        names.insert("S1", id(&["progress", "add", &task, "--content", "find callers"]));
        names.insert("S2", id(&["progress", "add", &task, "--content", "write a test"]));
        room.run(&["progress", "complete", &names["S1"]]).data();
        names.insert("C1", id(&["context", "add", &task, "--type", "decision", "--content", "flock"]));
        names.insert("E1", id(&["task", "relate", &task, "--to", &names["B"], "--type", "relates_to"]));
        room.run(&["task", "verify", &task, "--criterion", "2"]).data();
        names.insert("T", task.clone());
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

/// Name, state of the task, what is changed in its file, and the commands that mean the same.
type Legal = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static [&'static [&'static str]]);

const LEGAL: &[Legal] = &[
    (
        "title",
        "open",
        &[("Fix the lock", "Fix both locks")],
        &[&["task", "update", "{T}", "--title", "Fix both locks"]],
    ),
    ("a title of digits", "open", &[("Fix the lock", "2026")], &[&["task", "update", "{T}", "--title", "2026"]]),
    (
        "a quoted title",
        "open",
        &[("title: Fix the lock", "title: 'It''s: two'")],
        &[&["task", "update", "{T}", "--title", "It's: two"]],
    ),
    (
        "intent in prose",
        "open",
        &[("  line two\n", "  line two\n\n  and # no comment\n")],
        &[&["task", "update", "{T}", "--intent", "line one\nline two\n\nand # no comment"]],
    ),
    (
        "intent taken out",
        "open",
        &[("intent: |-\n  line one\n  line two\n", "")],
        &[&["task", "update", "{T}", "--clear", "intent"]],
    ),
    ("type", "open", &[("type: feature", "type: bugfix")], &[&["task", "update", "{T}", "--type", "bugfix"]]),
    ("priority", "open", &[("priority: 1", "priority: -2")], &[&["task", "update", "{T}", "--priority", "-2"]]),
    ("priority taken out", "open", &[("priority: 1\n", "")], &[&["task", "update", "{T}", "--clear", "priority"]]),
    (
        "labels in a row",
        "open",
        &[("labels:\n  - old\n", "labels: [old, \"new\"]\n")],
        &[&["task", "update", "{T}", "--label", "old", "--label", "new"]],
    ),
    (
        "a label that is a number",
        "open",
        &[("  - old\n", "  - old\n  - 7\n")],
        &[&["task", "update", "{T}", "--label", "old", "--label", "7"]],
    ),
    ("labels taken out", "open", &[("labels:\n  - old\n", "")], &[&["task", "update", "{T}", "--clear", "labels"]]),
    (
        "watchers",
        "open",
        &[("  - codex-1\n", "  - codex-1\n  - codex-2\n")],
        &[&["task", "update", "{T}", "--watcher", "codex-1", "--watcher", "codex-2"]],
    ),
    ("files", "open", &[("  - src/**\n", "  - src/lock.rs\n")], &[&["task", "update", "{T}", "--file", "src/lock.rs"]]),
    ("estimate", "open", &[("estimate: 2h", "estimate: 3")], &[&["task", "update", "{T}", "--estimate", "3"]]),
    (
        "due",
        "open",
        &[("created_at:", "due: 2026-12-01T00:00:00Z\ncreated_at:")],
        &[&["task", "update", "{T}", "--due", "2026-12-01T00:00:00Z"]],
    ),
    (
        "defer_until",
        "open",
        &[("", "defer_until: 2026-12-01T00:00:00Z\n")],
        &[&["task", "update", "{T}", "--defer-until", "2026-12-01T00:00:00Z"]],
    ),
    (
        "need_perm and need_precedence",
        "open",
        &[("", "need_perm: review\nneed_precedence: 3\n")],
        &[&["task", "update", "{T}", "--need-perm", "review", "--need-precedence", "3"]],
    ),
    (
        "an entry of the metadata",
        "open",
        &[("    x: 1\n", "    x: 2\n"), ("  num: 1\n", "")],
        &[&["task", "update", "{T}", "--metadata", r#"{"k": {"x": 2}, "num": null}"#]],
    ),
    (
        "metadata taken out",
        "open",
        &[("metadata:\n  k:\n    x: 1\n  num: 1\n", "")],
        &[&["task", "update", "{T}", "--metadata", r#"{"k": null, "num": null}"#]],
    ),
    (
        "several fields at once",
        "open",
        &[("Fix the lock", "Fix locks"), ("priority: 1", "priority: 3")],
        &[&["task", "update", "{T}", "--title", "Fix locks", "--priority", "3"]],
    ),
    ("another parent", "open", &[("parent: {P}", "parent: {Q}")], &[&["task", "update", "{T}", "--parent", "{Q}"]]),
    ("no parent", "open", &[("parent: {P}\n", "")], &[&["task", "update", "{T}", "--clear", "parent"]]),
    (
        "an owner",
        "open",
        &[("parent:", "owner: codex-9\nparent:")],
        &[&["task", "update", "{T}", "--owner", "codex-9"]],
    ),
    (
        "a new owner for work in progress",
        "claimed",
        &[("owner: ada", "owner: codex-9")],
        &[&["task", "update", "{T}", "--owner", "codex-9"]],
    ),
    (
        "a criterion more",
        "open",
        &[("  - criterion: second\n", "  - third\n  - criterion: second\n")],
        &[&["task", "update", "{T}", "--acceptance", "first", "--acceptance", "third", "--acceptance", "second"]],
    ),
    (
        "a criterion reworded",
        "open",
        &[("criterion: first", "criterion: the first")],
        &[&["task", "update", "{T}", "--acceptance", "the first", "--acceptance", "second"]],
    ),
    (
        "a criterion met",
        "open",
        &[("criterion: first\n", "criterion: first\n    met: true\n")],
        &[&["task", "verify", "{T}", "--criterion", "first"]],
    ),
    (
        "a criterion met, with a time",
        "open",
        &[("criterion: first\n", "criterion: first\n    met_at: 2026-11-20\n")],
        &[&["task", "verify", "{T}", "--criterion", "first"]],
    ),
    (
        "words that are numbers, days or truths elsewhere",
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
    (
        "a criterion met, by whom and when, as it is recorded",
        "open",
        &[(
            "criterion: first\n",
            "criterion: first\n    met: true\n    met_at: 2026-11-20T10:00:00Z\n    met_by: ada\n",
        )],
        &[&["task", "verify", "{T}", "--criterion", "first"]],
    ),
    (
        "a criterion unmet",
        "open",
        &[("    met_at: 2026-11-20T10:00:00Z\n    met_by: ada\n", "")],
        &[&["task", "verify", "{T}", "--criterion", "second", "--unmet"]],
    ),
    (
        "a criterion unmet by a word",
        "open",
        &[("    met_by: ada\n", "    met_by: ada\n    met: false\n")],
        &[&["task", "verify", "{T}", "--criterion", "second", "--unmet"]],
    ),
    (
        "a step",
        "open",
        &[("context:\n", "  - read the manual\ncontext:\n")],
        &[&["progress", "add", "{T}", "--content", "read the manual"]],
    ),
    (
        "two steps, one done",
        "open",
        &[("context:\n", "  - content: one\n  - content: two\n    completed: true\ncontext:\n")],
        &[&["progress", "add", "{T}", "--content", "one", "--content", "two"], &["progress", "complete", "{new:two}"]],
    ),
    (
        "a step ticked",
        "open",
        &[("content: write a test\n    completed: false", "content: write a test\n    completed: true")],
        &[&["progress", "complete", "{S2}"]],
    ),
    (
        "a step ticked in words",
        "open",
        &[("content: write a test\n    completed: false", "content: write a test\n    completed: yes")],
        &[&["progress", "complete", "{S2}"]],
    ),
    (
        "a step unticked",
        "open",
        &[("content: find callers\n    completed: true", "content: find callers\n    completed: false")],
        &[&["progress", "reopen", "{S1}"]],
    ),
    (
        "a step unticked, its time too",
        "open",
        &[(
            "completed: true\n    created_at: 2026-11-20T10:00:00Z\n    completed_at: 2026-11-20T10:00:00Z\n",
            "completed: false\n    created_at: 2026-11-20T10:00:00Z\n",
        )],
        &[&["progress", "reopen", "{S1}"]],
    ),
    ("a note", "open", &[("", "  - look at fcntl\n")], &[&["context", "add", "{T}", "--content", "look at fcntl"]]),
    (
        "a decision",
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
    (
        "other words for an entry",
        "open",
        &[("content: flock", "content: flock, not fcntl")],
        &[&["context", "supersede", "{C1}", "--content", "flock, not fcntl"]],
    ),
    (
        "a blocker",
        "open",
        &[("relationships:\n", "relationships:\n  - {type: blocks, from: \"{B}\"}\n")],
        &[&["task", "block", "{T}", "--by", "{B}"]],
    ),
    (
        "a blocker, and the status that follows",
        "open",
        &[
            ("status: open", "status: blocked"),
            ("relationships:\n", "relationships:\n  - {type: blocks, from: \"{B}\"}\n"),
        ],
        &[&["task", "block", "{T}", "--by", "{B}"]],
    ),
    ("a blocker, for short", "open", &[("", "blocked_by: [\"{B}\"]\n")], &[&["task", "block", "{T}", "--by", "{B}"]]),
    ("a blocker that is done", "open", &[("", "blocked_by: \"{D}\"\n")], &[&["task", "block", "{T}", "--by", "{D}"]]),
    (
        "a blocker less",
        "blocked",
        &[("  - id: {E2}\n    type: blocks\n    from: {B}\n    created_at: 2026-11-20T10:00:00Z\n", "")],
        &[&["task", "unblock", "{T}", "--by", "{B}"]],
    ),
    (
        "it blocks another",
        "open",
        &[("relationships:\n", "relationships:\n  - {type: blocks, to: \"{B}\"}\n")],
        &[&["task", "relate", "{T}", "--to", "{B}", "--type", "blocks"]],
    ),
    (
        "a relation",
        "open",
        &[("relationships:\n", "relationships:\n  - type: duplicates\n    to: {D}\n    metadata: {why: same}\n")],
        &[&["task", "relate", "{T}", "--to", "{D}", "--type", "duplicates", "--metadata", r#"{"why": "same"}"#]],
    ),
    (
        "a relation to another task",
        "open",
        &[("to: {B}", "to: {D}")],
        &[
            &["task", "unrelate", "{T}", "--relationship", "{E1}"],
            &["task", "relate", "{T}", "--to", "{D}", "--type", "relates_to"],
        ],
    ),
    (
        "begun",
        "open",
        &[("status: open", "status: in_progress")],
        &[&["task", "transition", "{T}", "--status", "in_progress"]],
    ),
    (
        "begun, by name",
        "open",
        &[("status: open", "status: in_progress\nowner: ada")],
        &[&["task", "transition", "{T}", "--status", "in_progress"]],
    ),
    (
        "given back",
        "claimed",
        &[("status: in_progress\nowner: ada", "status: open")],
        &[&["task", "transition", "{T}", "--status", "open"]],
    ),
    (
        "completed",
        "met",
        &[("status: in_progress", "status: completed")],
        &[&["task", "transition", "{T}", "--status", "completed"]],
    ),
    (
        "completed, with a time",
        "met",
        &[("status: in_progress", "status: completed\ncompleted_at: 2026-11-20T10:00:00Z")],
        &[&["task", "transition", "{T}", "--status", "completed"]],
    ),
    (
        "met and completed",
        "claimed",
        &[("criterion: first\n", "criterion: first\n    met: true\n"), ("status: in_progress", "status: completed")],
        &[&["task", "verify", "{T}", "--criterion", "1"], &["task", "transition", "{T}", "--status", "completed"]],
    ),
    (
        "cancelled",
        "open",
        &[("status: open", "status: cancelled")],
        &[&["task", "transition", "{T}", "--status", "cancelled"]],
    ),
    (
        "archived",
        "completed",
        &[("status: completed", "status: archived")],
        &[&["task", "transition", "{T}", "--status", "archived"]],
    ),
    ("a review that passed", "completed", &[("", "verified: {passed: true}\n")], &[&["task", "verify", "{T}"]]),
    (
        "a review that did not",
        "verified",
        &[("passed: true", "passed: false")],
        &[&["task", "verify", "{T}", "--fail"]],
    ),
    (
        "a note on another's task",
        "others",
        &[("", "  - type: attempt\n    content: tried it\n")],
        &[&["context", "add", "{T}", "--type", "attempt", "--content", "tried it"]],
    ),
];

#[test]
fn a_legal_edit_becomes_the_very_events_of_the_command() {
    let mut wrong = Vec::new();
    for case in LEGAL {
        if let Err(e) = std::panic::catch_unwind(|| legal(case)) {
            wrong.push(format!("{}: {:?}", case.0, e.downcast_ref::<String>()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn legal((what, state, edits, commands): &Legal) {
    let (hand, said) = (Plan::new(state), Plan::new(state));
    assert_eq!(hand.names, said.names, "both rooms begin alike");
    let before = hand.length();
    hand.edit(edits);
    let foretold = hand.room.findings();
    assert!(foretold.iter().all(|f| f["refusal"].is_null()), "{what}: {foretold:#?}");
    let report = hand.room.run(&["lint", "--fix"]);
    assert_eq!(report.code, 0, "{what}: {report:?}");
    for command in *commands {
        let words: Vec<String> = command.iter().map(|word| said.fill(&new_item(&said, word))).collect();
        said.room.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).data();
    }
    let (by_hand, by_command) = (hand.events(before), said.events(before));
    assert!(!by_hand.is_empty(), "{what}: nothing was recorded");
    assert_eq!(by_hand, by_command, "{what}");
    hand.room.is_clean();
    let whys = hand.room.run(&["log", hand.task(), "--limit", "100"]).data();
    let told = whys["items"].as_array().unwrap().iter().any(|event| event["why"] == "hand edit");
    assert!(told || what.contains("blocks another"), "{what}: {whys}");
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

/// Name, state of the task, what is changed in its file, the code, the words of the line it stands on, and words of the reason.
type Illegal =
    (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, &'static str, &'static str);

const ILLEGAL: &[Illegal] = &[
    ("no title", "open", &[("title: Fix the lock\n", "")], "ERR_VALIDATION", "id:", "title cannot be taken out"),
    ("an empty title", "open", &[("title: Fix the lock", "title: ''")], "ERR_VALIDATION", "title:", "title is empty"),
    (
        "a title that is a list",
        "open",
        &[("title: Fix the lock", "title: [a]")],
        "ERR_VALIDATION",
        "title:",
        "must be a text",
    ),
    (
        "an unknown type",
        "open",
        &[("type: feature", "type: epic")],
        "ERR_VALIDATION",
        "type: epic",
        "feature, bugfix, refactor, docs, ops",
    ),
    ("too high a priority", "open", &[("priority: 1", "priority: 9")], "ERR_VALIDATION", "priority: 9", "-5 to 5"),
    ("a priority in words", "open", &[("priority: 1", "priority: high")], "ERR_VALIDATION", "priority: high", "high"),
    ("a label twice", "open", &[("  - old\n", "  - old\n  - old\n")], "ERR_VALIDATION", "labels:", "twice"),
    ("a time that is none", "open", &[("", "due: soon\n")], "ERR_VALIDATION", "due:", "soon"),
    (
        "a watcher that is no name",
        "open",
        &[("  - codex-1\n", "  - Not A Name\n")],
        "ERR_VALIDATION",
        "watchers:",
        "Not A Name",
    ),
    (
        "metadata that is no mapping",
        "open",
        &[("metadata:\n  k:\n    x: 1\n  num: 1\n", "metadata: yes\n")],
        "ERR_VALIDATION",
        "metadata:",
        "mapping",
    ),
    (
        "a slip of the pen",
        "open",
        &[("priority: 1", "prioritty: 1")],
        "ERR_VALIDATION",
        "prioritty",
        "did you mean priority?",
    ),
    ("another id", "open", &[("id: {T}", "id: {B}")], "ERR_VALIDATION", "id:", "cannot be changed"),
    (
        "another creator",
        "open",
        &[("created_by: ada", "created_by: eve")],
        "ERR_VALIDATION",
        "created_by",
        "cannot be changed",
    ),
    (
        "another beginning",
        "open",
        &[("created_at: 2026", "created_at: 2025")],
        "ERR_VALIDATION",
        "created_at",
        "cannot be changed",
    ),
    (
        "a time of completion alone",
        "open",
        &[("", "cancelled_at: 2026-11-20T10:00:00Z\n")],
        "ERR_VALIDATION",
        "cancelled_at",
        "follows from the status",
    ),
    ("an unknown status", "open", &[("status: open", "status: done")], "ERR_VALIDATION", "status: done", "in_progress"),
    ("no status", "open", &[("status: open\n", "")], "ERR_VALIDATION", "title:", "has a status"),
    (
        "completed at once",
        "open",
        &[("status: open", "status: completed")],
        "ERR_INVALID_STATE",
        "status:",
        "allowed from there: in_progress, blocked, cancelled",
    ),
    (
        "completed with a criterion unmet",
        "claimed",
        &[("status: in_progress", "status: completed")],
        "ERR_INVALID_STATE",
        "status:",
        "1 unmet criteria",
    ),
    (
        "blocked by nothing",
        "open",
        &[("status: open", "status: blocked")],
        "ERR_INVALID_STATE",
        "status:",
        "nothing unfinished blocks",
    ),
    (
        "opened though blocked",
        "blocked",
        &[("status: blocked", "status: open")],
        "ERR_INVALID_STATE",
        "status:",
        "unfinished",
    ),
    ("opened again", "completed", &[("status: completed", "status: open")], "ERR_INVALID_STATE", "status:", "reopen"),
    (
        "back from the archive",
        "archived",
        &[("status: archived", "status: completed")],
        "ERR_INVALID_STATE",
        "status:",
        "cannot go from archived",
    ),
    (
        "begun again after all",
        "cancelled",
        &[("status: cancelled", "status: in_progress")],
        "ERR_INVALID_STATE",
        "status:",
        "archived",
    ),
    ("in progress and nobody's", "claimed", &[("owner: ada\n", "")], "ERR_INVALID_STATE", "title:", "has an owner"),
    (
        "an owner that is no name",
        "open",
        &[("parent:", "owner: The Boss\nparent:")],
        "ERR_VALIDATION",
        "owner:",
        "The Boss",
    ),
    (
        "a parent that is not there",
        "open",
        &[("parent: {P}", "parent: 01ARZ3NDEKTSV4RRFFQ69G5FAV")],
        "ERR_NOT_FOUND",
        "parent:",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ),
    ("its own parent", "open", &[("parent: {P}", "parent: {T}")], "ERR_INVALID_STATE", "parent:", "cycle"),
    (
        "a finished parent",
        "open",
        &[("parent: {P}", "parent: {D}")],
        "ERR_INVALID_STATE",
        "parent:",
        "takes no new part",
    ),
    ("its parent as blocker", "open", &[("", "blocked_by: [\"{P}\"]\n")], "ERR_INVALID_STATE", "blocked_by", "cycle"),
    (
        "a blocker that is not there",
        "open",
        &[("relationships:\n", "relationships:\n  - {type: blocks, from: 7XK2Q1}\n")],
        "ERR_NOT_FOUND",
        "7XK2Q1",
        "7XK2Q1",
    ),
    (
        "an unknown kind of relation",
        "open",
        &[("relationships:\n", "relationships:\n  - {type: likes, to: \"{B}\"}\n")],
        "ERR_VALIDATION",
        "likes",
        "relates_to",
    ),
    (
        "a relation with an id of one's own",
        "open",
        &[("relationships:\n", "relationships:\n  - {id: mine, type: relates_to, to: \"{D}\"}\n")],
        "ERR_NOT_FOUND",
        "mine",
        "leave the id out",
    ),
    (
        "another age of a relation",
        "open",
        &[("created_at: 2026-11-20T10:00:00Z\nacceptance", "created_at: 2026-11-19T10:00:00Z\nacceptance")],
        "ERR_VALIDATION",
        "{E1}",
        "began",
    ),
    (
        "a step taken out",
        "open",
        &[(
            "  - id: {S2}\n    content: write a test\n    completed: false\n    created_at: 2026-11-20T10:00:00Z\n",
            "",
        )],
        "ERR_VALIDATION",
        "progress:",
        "cannot be taken out",
    ),
    (
        "a step reworded",
        "open",
        &[("content: write a test", "content: write tests")],
        "ERR_VALIDATION",
        "{S2}",
        "cannot be changed",
    ),
    (
        "a step half done",
        "open",
        &[("content: write a test\n    completed: false", "content: write a test\n    completed: half")],
        "ERR_VALIDATION",
        "{S2}",
        "neither true nor false",
    ),
    ("an empty step", "open", &[("context:\n", "  - ''\ncontext:\n")], "ERR_VALIDATION", "''", "needs some words"),
    (
        "an entry taken out",
        "open",
        &[(
            "  - id: {C1}\n    type: decision\n    content: flock\n    author: ada\n    created_at: 2026-11-20T10:00:00Z\n",
            "",
        )],
        "ERR_VALIDATION",
        "context:",
        "redact",
    ),
    ("another author", "open", &[("author: ada", "author: eve")], "ERR_VALIDATION", "{C1}", "author"),
    ("another type of entry", "open", &[("type: decision", "type: note")], "ERR_VALIDATION", "{C1}", "type"),
    (
        "an entry of no type",
        "open",
        &[("", "  - {type: idea, content: x}\n")],
        "ERR_VALIDATION",
        "idea",
        "decision, rationale",
    ),
    (
        "an entry in another's name",
        "open",
        &[("", "  - {type: note, content: x, author: eve}\n")],
        "ERR_VALIDATION",
        "author: eve",
        "who records it",
    ),
    (
        "an entry with a key too many",
        "open",
        &[("", "  - {type: note, content: x, mood: good}\n")],
        "ERR_VALIDATION",
        "mood",
        "its keys are",
    ),
    (
        "a title with a naught before",
        "open",
        &[("title: Fix the lock", "title: 007")],
        "ERR_VALIDATION",
        "title: 007",
        "read as 7",
    ),
    (
        "a label in hexadecimal",
        "open",
        &[("  - old\n", "  - old\n  - 0x10\n")],
        "ERR_VALIDATION",
        "- 0x10",
        "put it in quotes",
    ),
    ("a label with an exponent", "open", &[("  - old\n", "  - 1e3\n")], "ERR_VALIDATION", "- 1e3", "quotes"),
    (
        "a step that is a truth",
        "open",
        &[("context:\n", "  - TRUE\ncontext:\n")],
        "ERR_VALIDATION",
        "- TRUE",
        "read as true",
    ),
    (
        "a word of another tool",
        "open",
        &[("priority: 1", "description: more\npriority: 1")],
        "ERR_VALIDATION",
        "description",
        "did you mean intent?",
    ),
    (
        "a word of another tool in an entry",
        "open",
        &[("context:\n", "  - {text: a step, done: true}\ncontext:\n")],
        "ERR_VALIDATION",
        "text: a step",
        "did you mean content?",
    ),
    (
        "another day for a tick",
        "open",
        &[(
            "content: write a test\n    completed: false",
            "content: write a test\n    completed: true\n    completed_at: 2026-11-19T10:00:00Z",
        )],
        "ERR_VALIDATION",
        "- id: {S2}",
        "completed_at is when it is recorded",
    ),
    (
        "a day and no tick",
        "open",
        &[("context:\n", "  - {content: a step, completed_at: 2026-11-20}\ncontext:\n")],
        "ERR_VALIDATION",
        "a step",
        "and not that it is",
    ),
    (
        "another day for a new step",
        "open",
        &[("context:\n", "  - {content: a step, created_at: 2026-11-01}\ncontext:\n")],
        "ERR_VALIDATION",
        "a step",
        "created_at is when it is recorded",
    ),
    (
        "another day for a new entry",
        "open",
        &[("", "  - {type: note, content: x, created_at: 2026-11-01}\n")],
        "ERR_VALIDATION",
        "2026-11-01",
        "created_at is when it is recorded",
    ),
    (
        "a criterion met by another",
        "open",
        &[("criterion: first\n", "criterion: first\n    met: true\n    met_by: eve\n")],
        "ERR_VALIDATION",
        "criterion: first",
        "met_by is who records it, here ada",
    ),
    (
        "a criterion met on another day",
        "open",
        &[("criterion: first\n", "criterion: first\n    met_at: 2026-11-19\n")],
        "ERR_VALIDATION",
        "criterion: first",
        "met_at is when it is recorded",
    ),
    (
        "ended on another day",
        "open",
        &[("status: open", "status: cancelled\ncancelled_at: 2026-11-01T10:00:00Z")],
        "ERR_VALIDATION",
        "cancelled_at",
        "cancelled_at is when it is recorded",
    ),
    (
        "ended by another word",
        "open",
        &[("status: open", "status: cancelled\ncompleted_at: 2026-11-20")],
        "ERR_VALIDATION",
        "completed_at",
        "follows from the status completed",
    ),
    (
        "a review of another day",
        "open",
        &[("created_at:", "verified: {passed: true, at: 2026-11-01, by: eve}\ncreated_at:")],
        "ERR_VALIDATION",
        "verified",
        "at is when it is recorded",
    ),
    (
        "an edge of another day",
        "open",
        &[
            ("", "blocked_by: []\n"),
            ("relationships:\n", "relationships:\n  - {type: relates_to, to: {D}, created_at: 2026-11-01}\n"),
        ],
        "ERR_VALIDATION",
        "2026-11-01",
        "created_at is when it is recorded",
    ),
    (
        "who met it",
        "open",
        &[("met_by: ada", "met_by: eve")],
        "ERR_VALIDATION",
        "criterion: second",
        "follows from the mark",
    ),
    (
        "a mark that is neither",
        "open",
        &[("criterion: first\n", "criterion: first\n    met: maybe\n")],
        "ERR_VALIDATION",
        "criterion: first",
        "true or false",
    ),
    (
        "a review taken back",
        "verified",
        &[("verified:\n  passed: true\n  at: 2026-11-20T10:00:00Z\n  by: ada\n", "")],
        "ERR_VALIDATION",
        "title:",
        "taken back",
    ),
    (
        "a review in another's name",
        "verified",
        &[("  by: ada\ncreated", "  by: eve\ncreated")],
        "ERR_VALIDATION",
        "verified:",
        "follows",
    ),
    (
        "a review of unmet work",
        "open",
        &[("", "verified: {passed: true}\n")],
        "ERR_INVALID_STATE",
        "verified:",
        "unmet",
    ),
    ("another's work", "others", &[("title: Fix the lock", "title: mine")], "ERR_LEASE_HELD", "title:", "codex-1"),
    ("another's status", "others", &[("status: in_progress", "status: open")], "ERR_LEASE_HELD", "status:", "codex-1"),
    (
        "one good and one bad",
        "open",
        &[("Fix the lock", "Fix both"), ("priority: 1", "priority: 70")],
        "ERR_VALIDATION",
        "priority:",
        "-5 to 5",
    ),
];

#[test]
fn an_illegal_edit_leaves_everything_as_it_is_and_says_why_with_the_line() {
    let mut wrong = Vec::new();
    for case in ILLEGAL {
        if let Err(e) = std::panic::catch_unwind(|| illegal(case)) {
            wrong.push(format!("{}: {:?}", case.0, e.downcast_ref::<String>()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

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

fn illegal((what, state, edits, code, line, why): &Illegal) {
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
    if *state != "others" {
        let refused = room.run(&["task", "update", &id, "--add-label", "more"]);
        let error = refused.json()["error"].clone();
        assert_eq!(error["code"], *code, "{what}: {refused:?}");
        assert_eq!(error["details"]["line"], found["line"], "{what}: {error}");
    }
    assert_eq!(plan.text(), edited, "{what}: the file stays");
    assert_eq!(fs::read(room.log_of(&id)).unwrap(), log, "{what}: nothing is recorded");
}
