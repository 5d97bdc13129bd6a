//! Stores that were made to be too much: each answer stays small, what it costs grows with what there is, and a large task is in
//! the way of nothing but itself.
//!
//! The logs are written directly, as a merge or another program may leave them.

use std::fmt::Write as _;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use wait4::Wait4 as _;

use crate::sandbox::{Answer, Sandbox, rounds};

/// Megabytes of memory that any answer may take.
const MEMORY: u64 = 256;

/// An id that no clock gives, by number.
fn id(n: usize) -> String {
    let digits = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut text = [b'0'; 16];
    let mut left = n;
    for place in text.iter_mut().rev() {
        *place = digits[left % 32];
        left /= 32;
    }
    format!("01K5R4XJ7Z{}", String::from_utf8_lossy(&text))
}

/// Ids of events do not meet those of tasks.
fn event_id(n: usize) -> String {
    id(10_000_000 + n)
}

/// A log in the making.
struct Hostile {
    task: String,
    text: String,
    events: usize,
    last: Option<String>,
}

impl Hostile {
    fn new(task: usize, created: &Value) -> Self {
        let mut log = Hostile { task: id(task), text: String::new(), events: task * 1_000_000, last: None };
        log.push("TaskCreated", created);
        log
    }

    /// An event that follows these.
    fn after(&mut self, parents: &[String], lamport: usize, kind: &str, payload: &Value) -> String {
        self.events += 1;
        let own = event_id(self.events);
        let line = json!({"v": 1, "id": own, "lamport": lamport, "type": kind, "entity": format!("task/{}", self.task),
            "parents": parents, "agent": format!("agent-{}", self.events % 7), "at": "2026-11-20T10:00:00Z", "payload": payload});
        let _ = writeln!(self.text, "{line}");
        own
    }

    /// An event that follows the last one.
    fn push(&mut self, kind: &str, payload: &Value) {
        let parents: Vec<String> = self.last.take().into_iter().collect();
        let lamport = 1 + self.events % 1_000_000;
        self.last = Some(self.after(&parents, lamport, kind, payload));
    }

    fn write(&self, room: &Sandbox) -> &str {
        std::fs::create_dir_all(room.task_dir(&self.task)).unwrap();
        std::fs::write(room.log_of(&self.task), &self.text).unwrap();
        &self.task
    }
}

/// Runs a command that may take so much address space and no more, and says how much time of a processor it took.
fn bounded(room: &Sandbox, args: &[&str]) -> (Answer, Duration) {
    let mut command: Command = room.agentpm_like("sh");
    let limit = format!("ulimit -v {}; exec \"$0\" \"$@\"", MEMORY * 1024);
    command.args(["-c", &limit, env!("CARGO_BIN_EXE_agentpm")]).args(args);
    let [out, err] = ["out", "err"].map(|name| room.beside(name));
    let [stdout, stderr] = [&out, &err].map(|path| std::fs::File::create(path).expect("a file for what it prints"));
    let used = command.stdout(stdout).stderr(stderr).spawn().expect("sh starts").wait4().expect("it ends");
    let [stdout, stderr] = [&out, &err].map(|path| std::fs::read(path).expect("what it printed"));
    let answer = Answer::from(Output { status: used.status, stdout, stderr });
    (answer, used.rusage.utime + used.rusage.stime)
}

/// The answer to a question, which must be small.
#[track_caller]
fn small(room: &Sandbox, args: &[&str]) -> Value {
    let (answer, _) = bounded(room, args);
    assert!(answer.code == 0 || (args[0] == "lint" && answer.code == 1), "{args:?}: {}", &answer.stderr);
    // The log shows one event at least, and that may be as long as a line can be.
    let most = if args[0] == "log" { 300_000 } else { 150_000 };
    assert!(answer.stdout.len() < most, "{args:?} answers with {} bytes", answer.stdout.len());
    answer.json()["data"].clone()
}

/// Asserts that all questions about a task and the plan around it are answered, in few bytes.
#[track_caller]
fn all_small(room: &Sandbox, task: &str) {
    for args in [
        &["lint"][..],
        &["ls"],
        &["ready", "--explain"],
        &["next", "--explain"],
        &["show", task],
        &["brief", task],
        &["log", task],
        &["conflicts"],
        &["blame", task],
        &["doctor"],
        &["stats"],
    ] {
        // What doctor finds wrong is no failure of answering.
        if args[0] == "doctor" {
            assert!(bounded(room, args).0.stdout.len() < 150_000);
        } else {
            small(room, args);
        }
    }
}

/// Asserts that twice as much costs about twice as much, not four times.
#[track_caller]
fn grows_gently(one: Duration, two: Duration) {
    // Below this, starting a process is most of it.
    let least = Duration::from_millis(200);
    assert!(two < 3 * one.max(least), "{one:?}, and for twice as much {two:?}");
}

/// Events that did not see each other, each writing all fields.
fn concurrent(room: &Sandbox, count: usize) -> String {
    let mut log = Hostile::new(1, &json!({"title": "fought over"}));
    let first: Vec<String> = log.last.clone().into_iter().collect();
    for n in 0..count {
        let mut set = json!({"title": format!("t{n}"), "intent": format!("i{n}"), "type": "ops", "priority": n % 5, "labels": [format!("l{n}")],
            "watchers": [format!("w{n}")], "acceptance": [format!("a{n}")], "estimate": format!("{n}h"),
            "files": [format!("f{n}")], "need_precedence": n, "owner": format!("o{n}")});
        for key in 0..11 {
            set[format!("metadata.k{key}")] = json!(n);
        }
        log.after(&first, 2, "TaskUpdated", &json!({ "set": set }));
    }
    log.write(room).to_owned()
}

#[test]
fn many_concurrent_updates_are_answered_in_bounds() {
    let room = Sandbox::new();
    let count = rounds(3_000);
    let task = concurrent(&room, count);
    all_small(&room, &task);
    let page = small(&room, &["conflicts"]);
    // Four in five priorities differ from the one that stands, and the type is the same everywhere.
    assert_eq!(page["total"], 20 * (count - 1) + count * 4 / 5);
    assert_eq!(page["truncated"], true);
    let next = page["next_cursor"].as_str().unwrap();
    assert_ne!(small(&room, &["conflicts", "--cursor", next])["items"][0], page["items"][0]);
    let blame = small(&room, &["blame", &task]);
    let of_title = blame["items"].as_array().unwrap().iter().find(|item| item["field"] == "title").unwrap();
    assert_eq!((of_title["beat"].as_array().unwrap().len(), &of_title["beat_total"]), (10, &json!(count - 1)));
    let rest = blame["next_cursor"].as_str().unwrap();
    assert!(small(&room, &["blame", &task, "--cursor", rest])["items"][0]["field"] == rest);
    room.run(&["blame", &task, "--cursor", "gossip"]).error("ERR_USAGE", 2);
}

#[test]
fn the_cost_of_concurrent_updates_grows_with_their_number() {
    let took = |count| {
        let room = Sandbox::new();
        concurrent(&room, count);
        small(&room, &["ls"]);
        bounded(&room, &["conflicts"]).1
    };
    grows_gently(took(rounds(2_000)), took(2 * rounds(2_000)));
}

/// A task that waits for many others.
fn blocked_by(room: &Sandbox, count: usize) -> String {
    let mut log = Hostile::new(1, &json!({"title": "waits"}));
    let to = log.task.clone();
    for n in 0..count {
        log.push("RelationshipAdded", &json!({"type": "blocks", "from": id(100 + n), "to": to}));
    }
    log.push("TaskStatusChanged", &json!({"from": "open", "to": "blocked"}));
    log.write(room).to_owned()
}

#[test]
fn a_hundred_thousand_blockers_are_answered_in_bounds() {
    let room = Sandbox::new();
    room.task("plain", &[]);
    let count = rounds(100_000);
    let task = blocked_by(&room, count);
    all_small(&room, &task);
    let shown = small(&room, &["show", &task]);
    let edges = shown["relationships"].as_array().unwrap().len();
    assert_eq!(shown["left_out"]["relationships"], count - edges);
    assert_eq!(shown["blocked_by_count"], count);
    let why = &small(&room, &["ready", "--explain"])["explained"]["items"][0]["reasons"][0];
    assert_eq!((why["by"].as_array().unwrap().len(), &why["total"]), (20, &json!(count)));
    let findings = room.findings();
    let dangling: Vec<_> = findings.iter().filter(|f| f["code"] == "dangling-reference").collect();
    assert_eq!(dangling.len(), 21);
    assert!(
        dangling.iter().any(|f| f["message"] == format!("{} more findings of this rule in this file", count - 20)),
        "{dangling:?}"
    );
    small(&room, &["graph"]);
}

#[test]
fn the_cost_of_blockers_grows_with_their_number() {
    for command in [&["lint"][..], &["ready"]] {
        let took = |count| {
            let room = Sandbox::new();
            blocked_by(&room, count);
            bounded(&room, command).1
        };
        grows_gently(took(rounds(20_000)), took(2 * rounds(20_000)));
    }
}

/// Tasks that wait for one another in a circle; the last event in order lies where `shift` puts it.
fn circle(room: &Sandbox, count: usize, backwards: bool) {
    for n in 0..count {
        let mut log = Hostile::new(n, &json!({"title": format!("link {n}")}));
        let edge = json!({"type": "blocks", "from": id((n + 1) % count), "to": id(n)});
        let parent: Vec<String> = log.last.clone().into_iter().collect();
        let lamport = if backwards { count - n } else { n } + 2;
        log.after(&parent, lamport, "RelationshipAdded", &edge);
        log.write(room);
    }
}

#[test]
fn a_large_cycle_is_reported_briefly() {
    for backwards in [false, true] {
        let room = Sandbox::new();
        circle(&room, 2_000, backwards);
        small(&room, &["ls"]);
        let ready = small(&room, &["ready", "--explain"]);
        assert_eq!((ready["total"].clone(), ready["void_edges"].as_array().unwrap().len()), (json!(1), 1));
        small(&room, &["next"]);
        small(&room, &["show", &id(7)]);
        let findings = room.findings();
        assert_eq!(findings.iter().filter(|f| f["code"] == "cycle-blocks").count(), 1);
    }
}

#[test]
fn a_refusal_names_the_beginning_of_a_long_cycle() {
    let room = Sandbox::new();
    let count = 1_500;
    for n in 0..count {
        let mut log = Hostile::new(n, &json!({"title": format!("link {n}")}));
        if n + 1 < count {
            let to = log.task.clone();
            log.push("RelationshipAdded", &json!({"type": "blocks", "from": id(n + 1), "to": to}));
        }
        log.write(&room);
    }
    let answer = room.run(&["task", "block", &id(count - 1), "--by", &id(0)]);
    let error = answer.error("ERR_INVALID_STATE", 4);
    assert!(answer.stdout.len() < 8_000, "{} bytes", answer.stdout.len());
    assert!(error["message"].as_str().unwrap().ends_with("and so on over 1500 tasks"), "{error}");
    assert_eq!(
        (error["details"]["cycle"].as_array().unwrap().len(), &error["details"]["cycle_total"]),
        (50, &json!(1500))
    );
}

#[test]
fn a_task_with_thousands_of_notes_is_shown_in_bounds() {
    let room = Sandbox::new();
    let mut log = Hostile::new(1, &json!({"title": "noted", "intent": "why"}));
    log.push("ContextAdded", &json!({"type": "decision", "content": "the first choice"}));
    for n in 0..2_000 {
        log.push("ContextAdded", &json!({"type": "note", "content": format!("note {n} {}", "x".repeat(4_000))}));
    }
    let task = log.write(&room);
    all_small(&room, task);
    let brief = small(&room, &["brief", task]);
    let text = brief["text"].as_str().unwrap();
    assert!(text.len() <= 8 * 1024 && brief["tokens"].as_u64().unwrap() <= 2_340, "{} bytes", text.len());
    assert!(text.contains("# noted") && text.contains("## Intent") && text.contains("note 1999 "), "{text}");
    assert!(text.contains("the first choice"), "a decision outlives notes: {text}");
    assert!(text.contains("Next steps") && text.contains("--full shows all"), "{text}");
    let notes = text.matches("\nnote by").count();
    assert_eq!(brief["left_out"]["context"], 2_000 - notes);
    let more = small(&room, &["brief", task, "--max-tokens", "20000"]);
    assert!(more["text"].as_str().unwrap().len() > 2 * text.len());
    let shown = small(&room, &["show", task]);
    assert_eq!(shown["left_out"]["context"], 2_001 - shown["context"].as_array().unwrap().len());
    let whole = room.run(&["show", task, "--full"]).data();
    assert_eq!((whole["context"].as_array().unwrap().len(), whole.get("left_out")), (2_001, None));
}

#[test]
fn many_steps_criteria_and_tiny_events_are_answered_in_bounds() {
    let room = Sandbox::new();
    let criteria: Vec<String> = (0..10_000).map(|n| format!("criterion {n}")).collect();
    let mut log = Hostile::new(1, &json!({"title": "steps", "acceptance": criteria}));
    for n in 0..8_000 {
        log.push("ProgressItemAdded", &json!({"content": format!("step {n}")}));
    }
    for n in 0..8_000 {
        log.push("TaskUpdated", &json!({"set": {"priority": n % 5}}));
    }
    let task = log.write(&room);
    all_small(&room, task);
    let shown = small(&room, &["show", task]);
    assert_eq!(shown["progress"]["total"], 8_000);
    assert_eq!(shown["left_out"]["progress"], 8_000 - shown["progress"]["items"].as_array().unwrap().len());
    let text = small(&room, &["brief", task])["text"].as_str().unwrap().to_owned();
    assert!(text.contains("more criteria") && text.contains("step 0\n"), "{text}");
    room.run(&["note", task, "--content", "one more"]).data();
    small(&room, &["progress", "add", task, "--content", "another"]);
}

#[test]
fn titles_and_labels_without_end_do_not_fill_a_list() {
    let room = Sandbox::new();
    let labels: Vec<String> = (0..100).map(|n| format!("{n:0>1000}")).collect();
    let created = json!({"title": "t".repeat(100_000), "labels": labels, "estimate": "e".repeat(20_000)});
    let log = Hostile::new(1, &created);
    let task = log.write(&room);
    all_small(&room, task);
    for args in [&["ls"][..], &["ready"], &["next"], &["graph"]] {
        let (answer, _) = bounded(&room, args);
        assert!(answer.stdout.len() < 25_000, "{args:?} answers with {} bytes", answer.stdout.len());
    }
    assert_eq!(small(&room, &["ls"])["items"][0]["labels_total"], 100);
}

#[test]
fn a_parent_with_thousands_of_parts_is_answered_in_bounds() {
    let room = Sandbox::new();
    let parent = Hostile::new(0, &json!({"title": "whole"}));
    let top = parent.write(&room).to_owned();
    let count = rounds(3_000);
    let deep = count / 3;
    for n in 1..count {
        let mut log = Hostile::new(n, &json!({"title": format!("part {n}")}));
        // The first third lie one below the other.
        let from = if n < deep { id(n - 1) } else { top.clone() };
        let to = log.task.clone();
        log.push("RelationshipAdded", &json!({"type": "parent_of", "from": from, "to": to}));
        log.write(&room);
    }
    small(&room, &["ls"]);
    small(&room, &["ready"]);
    let brief = small(&room, &["brief", &top]);
    assert!(brief["text"].as_str().unwrap().len() <= 8 * 1024);
    assert_eq!(
        brief["left_out"]["children"].as_u64().unwrap()
            + brief["text"].as_str().unwrap().matches(" part ").count() as u64,
        (count - deep + 1) as u64
    );
    let refused = room.run(&["done", &top, "--outcome", "x"]);
    assert!(refused.code != 0 && refused.stdout.len() < 10_000, "{} bytes", refused.stdout.len());
    small(&room, &["show", &id(deep - 1)]);
}

/// The union of what three branches noted, each within what a command lets it write.
fn merged_notes(room: &Sandbox, each: usize) -> String {
    let mut log = Hostile::new(1, &json!({"title": "merged from three", "priority": 5}));
    let first: Vec<String> = log.last.clone().into_iter().collect();
    for branch in 0..3 {
        let mut parents = first.clone();
        for n in 0..each {
            let note = json!({"type": "note", "content": format!("{branch} {n} {}", "words ".repeat(36_000))});
            parents = vec![log.after(&parents, n + 2, "ContextAdded", &note)];
        }
    }
    // As a merge leaves it: the file is in the order of events.
    let mut lines: Vec<&str> = log.text.lines().collect();
    let place = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["lamport"].as_u64(), event["id"].as_str().unwrap().to_owned())
    };
    lines.sort_by_key(|line| place(line));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::create_dir_all(room.task_dir(&log.task)).unwrap();
    std::fs::write(room.log_of(&log.task), text).unwrap();
    log.task
}

#[test]
fn a_task_that_grew_by_merging_is_in_the_way_of_nothing_else() {
    crate::sandbox::needs_all_rounds!();
    let room = Sandbox::new();
    let task = merged_notes(&room, 14);
    let other = room.task("other work", &[]);
    // Its readable file is larger than any document that is read back.
    let fixed = room.run(&["lint", "--fix"]);
    assert_eq!(fixed.code, 0, "{fixed:?}");
    assert!(std::fs::metadata(room.yaml_of(&task)).unwrap().len() > 8 * 1024 * 1024);
    room.is_clean();
    all_small(&room, &task);
    for args in [&["note", &other, "--content", "goes on"][..], &["resolve"], &["doctor"]] {
        let (answer, _) = bounded(&room, args);
        assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
    }
    let claimed = bounded(&room, &["next", "--claim"]).0;
    assert_eq!(claimed.data()["task"]["id"], task.as_str(), "{claimed:?}");
    assert_eq!(room.run_as("bob", &["next", "--claim"]).data()["task"]["id"], other.as_str());
    bounded(&room, &["note", &task, "--content", "a few words"]).0.data();
    let refused = bounded(&room, &["note", &task, "--content", &"words ".repeat(15_000)]).0;
    let error = refused.error("ERR_VALIDATION", 4);
    assert!(error["hint"].as_str().unwrap().contains("in a new task"), "{error}");
    bounded(&room, &["done", &task, "--outcome", "finished all the same"]).0.data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "plan"]).text();
    room.is_clean();
    bounded(&room, &["lint", "--base", "HEAD"]).0.data();
}

#[test]
fn a_large_file_that_is_behind_its_log_is_stale_and_one_that_was_edited_is_named() {
    crate::sandbox::needs_all_rounds!();
    let room = Sandbox::new();
    let task = merged_notes(&room, 14);
    room.run(&["lint", "--fix"]).data();
    let whole = std::fs::read_to_string(room.log_of(&task)).unwrap();
    let last = whole.trim_end().rfind('\n').unwrap() + 1;
    let yaml = std::fs::read_to_string(room.yaml_of(&task)).unwrap();
    assert!(yaml.len() > 8 * 1024 * 1024);
    // Written before the log grew.
    std::fs::write(room.log_of(&task), &whole[..last]).unwrap();
    std::fs::remove_file(room.yaml_of(&task)).unwrap();
    room.run(&["lint", "--fix"]).data();
    let older = std::fs::read_to_string(room.yaml_of(&task)).unwrap();
    assert!(older != yaml);
    std::fs::write(room.log_of(&task), &whole).unwrap();
    assert_eq!(room.finding_codes(), ["task-yaml-stale"]);
    room.run(&["lint", "--fix"]).data();
    assert!(std::fs::read_to_string(room.yaml_of(&task)).unwrap() == yaml);
    // Edited by hand: that much is not read back, and nothing writes over it.
    let edited = yaml.replacen("priority: 5", "priority: 1", 1);
    std::fs::write(room.yaml_of(&task), &edited).unwrap();
    assert_eq!(room.finding_codes(), ["task-yaml-invalid"]);
    let other = room.task("other work", &[]);
    room.run(&["note", &other, "--content", "goes on"]).data();
    assert_eq!(room.run(&["next", "--claim"]).data()["task"]["id"], other.as_str());
    assert!(std::fs::read_to_string(room.yaml_of(&task)).unwrap() == edited);
}

#[test]
fn review_of_a_large_task_is_bounded() {
    let room = Sandbox::new();
    let mut log = Hostile::new(1, &json!({"title": "steps"}));
    log.push("LeaseOverride", &json!({"holder": "bob", "reason": "in a hurry"}));
    for n in 0..5_000 {
        log.push("ProgressItemAdded", &json!({"content": format!("step {n}")}));
    }
    let task = log.write(&room);
    room.git(&["commit", "-qm", "base", "--allow-empty"]).text();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "plan"]).text();
    let review = small(&room, &["review", "HEAD~1..HEAD"]);
    let changes = review["items"][0]["changes"].as_array().unwrap();
    assert!(changes.iter().any(|change| change["change"] == "created"), "{changes:?}");
    assert!(changes.iter().any(|change| change["change"] == "override"), "what must be decided is not left out");
    assert_eq!(review["items"][0]["left_out"]["changes"], 5_002 - changes.len());
    let whole = room.run(&["review", "HEAD~1..HEAD", "--all"]).data();
    assert_eq!(whole["items"][0]["changes"].as_array().unwrap().len(), 5_002);
    let diff = small(&room, &["diff", "HEAD~1", "HEAD", "--id", task]);
    assert_eq!(diff["items"][0]["task"], task);
}

#[test]
fn a_task_that_cannot_be_read_is_passed_over() {
    let room = Sandbox::new();
    let mut broken = Hostile::new(1, &json!({"title": "broken", "priority": 5}));
    let long = "x".repeat(300_000);
    broken.push("ContextAdded", &json!({"type": "note", "content": long}));
    let broken = broken.write(&room).to_owned();
    let large = room.task("large", &["--priority", "4"]);
    let file = std::fs::OpenOptions::new().write(true).open(room.yaml_of(&large)).unwrap();
    file.set_len(200 * 1024 * 1024).unwrap();
    let other = room.task("other work", &[]);
    let claimed = bounded(&room, &["next", "--claim"]).0;
    assert_eq!(claimed.data()["task"]["id"], other.as_str(), "{claimed:?}");
    assert_eq!(claimed.stderr.matches("passed over").count(), 2, "{claimed:?}");
    for args in [&["ls"][..], &["lint"], &["ready"], &["show", &large], &["brief", &broken]] {
        small(&room, args);
    }
    let findings = room.findings();
    let of = |task: &str| {
        let is_its = |f: &&Value| f["path"].as_str().is_some_and(|path| path.contains(task));
        findings.iter().filter(is_its).map(|f| f["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(of(&broken).contains(&"log-line".to_owned()) && of(&large) == ["task-yaml-invalid"], "{findings:?}");
    let refused = room.run(&["claim", &large]);
    assert!(refused.error("ERR_CORRUPT", 8)["hint"].as_str().unwrap().contains("move it away"), "{refused:?}");
    room.run(&["note", &other, "--content", "goes on"]).data();
}

#[test]
fn thousands_of_leases_and_sessions_are_answered_in_bounds() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    room.run(&["claim", &task]).data();
    let runtime = room.repo().join(".git/agentpm");
    let lease = std::fs::read_to_string(runtime.join(format!("leases/{task}.json"))).unwrap();
    std::fs::create_dir_all(runtime.join("sessions")).unwrap();
    for n in 0..5_000 {
        let (held, session) = (id(n), id(100_000 + n));
        std::fs::write(runtime.join(format!("leases/{held}.json")), lease.replace(&task, &held)).unwrap();
        let record = json!({"id": session, "agent": "bob", "status": "active", "started_at": "2026-11-20T10:00:00Z",
            "last_heartbeat_at": "2026-11-20T10:00:00Z"});
        std::fs::write(runtime.join(format!("sessions/{session}.json")), record.to_string()).unwrap();
    }
    for args in [&["ls"][..], &["ready"], &["next"], &["lease", "list"], &["stale"], &["doctor"]] {
        let (answer, _) = bounded(&room, args);
        assert!(
            answer.code <= 1 && answer.stdout.len() < 150_000,
            "{args:?}: {} bytes, {}",
            answer.stdout.len(),
            answer.stderr
        );
    }
    room.run(&["note", &task, "--content", "goes on"]).data();
}

#[test]
fn a_graph_is_a_page_like_a_list() {
    let room = Sandbox::new();
    let parent = room.task("the whole", &[]);
    let parts: Vec<String> = (0..60)
        .map(|n| room.task(&format!("part {n} with a title of some length to fill a page"), &["--parent", &parent]))
        .collect();
    room.run(&["task", "block", &parts[59], "--by", &parts[0]]).data();
    let (mut seen, mut edges, mut cursor) = (Vec::new(), 0, None::<String>);
    loop {
        let mut args = vec!["graph"];
        if let Some(cursor) = &cursor {
            args.extend(["--cursor", cursor]);
        }
        let answer = room.run(&args);
        assert!(answer.stdout.len() < 9_000, "{}", answer.stdout.len());
        let page = answer.data();
        assert_eq!((&page["total"], &page["truncated"]), (&json!(61), &json!(page.get("next_cursor").is_some())));
        seen.extend(page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()));
        edges += page["edges"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!((seen.len(), edges, &seen[0]), (61, 61, &parent), "each task once, a parent before its parts");
    let whole = room.run(&["graph", "--all"]).data();
    assert_eq!((whole["nodes"].as_array().unwrap().len(), whole.get("next_cursor")), (61, None));
    let two = room.run(&["graph", "--limit", "2"]).data();
    assert_eq!(two["nodes"].as_array().unwrap().len(), 2);
    for (format, begin) in [("tree", ""), ("mermaid", "%% "), ("dot", "// ")] {
        let text = room.run(&["graph", "--limit", "2", "--format", format]).stdout;
        assert!(text.contains(&format!("{begin}2 of 61; continue with --cursor ")), "{text}");
    }
    room.run(&["graph", "--cursor", "nonsense"]).error("ERR_USAGE", 2);
}

#[test]
fn pulled_events_are_bounded_in_bytes() {
    let room = Sandbox::new();
    let task = room.task("long notes", &[]);
    for _ in 0..6 {
        room.feed(&["note", &task, "--content", "-"], "x".repeat(20_000).as_bytes()).data();
    }
    let pulled = room.run(&["sync", "pull"]);
    let first = pulled.data();
    assert!(pulled.stdout.len() < 70_000 && first["truncated"] == true, "{}", pulled.stdout.len());
    let (mut n, mut page) = (first["items"].as_array().unwrap().len(), first);
    while page["truncated"] == true {
        page = room.run(&["sync", "pull", "--since-event-id", page["next_cursor"].as_str().unwrap()]).data();
        n += page["items"].as_array().unwrap().len();
    }
    let whole = room.run(&["sync", "pull", "--all"]).data();
    assert_eq!((n, &whole["truncated"]), (whole["items"].as_array().unwrap().len(), &json!(false)));
    let limited = room.run(&["sync", "pull", "--limit", "6"]).data();
    assert_eq!(limited["items"].as_array().unwrap().len(), 6, "a number that is asked for is given");
}

#[test]
fn a_graph_says_what_a_task_waits_for_by_edges_that_count() {
    let (twins, first, second) = crate::brief::blocked_by_each_other();
    let drawn = |format: &str| twins.ada(&["graph", "--format", format]).text().to_owned();
    let tree = drawn("tree");
    assert_eq!(tree.matches("waits for").count(), 1, "{tree}");
    assert!(tree.contains(&format!("  (waits for {})", &first[20..])), "{tree}");
    let (mermaid, dot) = (drawn("mermaid"), drawn("dot"));
    assert!(mermaid.contains(&format!("  {second} -.->|void| {first}\n")), "{mermaid}");
    assert!(mermaid.contains(&format!("  {first} -->|blocks| {second}\n")), "{mermaid}");
    assert!(dot.contains(&format!("  \"{second}\" -> \"{first}\" [style=dotted label=\"void\"];\n")), "{dot}");
    assert!(dot.contains(&format!("  \"{first}\" -> \"{second}\";\n")), "{dot}");
    let room = &twins.room;
    room.run(&["claim", &first]).data();
    room.run(&["done", &first]).data();
    let tree = room.run(&["graph", "--format", "tree", "--all"]);
    assert!(!tree.text().contains("waits for"), "{tree:?}");
}

#[test]
fn a_page_of_a_graph_names_blockers_that_are_not_on_it() {
    let room = Sandbox::new();
    let second = room.task("second", &[]);
    let first = room.task("first", &[]);
    room.run(&["task", "block", &second, "--by", &first]).data();
    let page = room.run(&["graph", "--format", "tree", "--limit", "1"]);
    assert!(
        page.text().starts_with(&format!("[!] {} second  (waits for {})\n", &second[20..], &first[20..])),
        "{page:?}"
    );
}

#[test]
fn a_graph_shows_open_tasks_below_closed_ones() {
    let room = Sandbox::new();
    let whole = room.task("the whole", &[]);
    let part = room.task("part", &["--parent", &whole]);
    let below = room.task("below", &["--parent", &part]);
    room.run(&["task", "transition", &part, "--status", "in_progress", "--force", "it is done"]).data();
    room.run(&["done", &part, "--force", "the rest follows"]).data();
    let shown = |id: &str| {
        let nodes = room.run(&["graph", id]).data()["nodes"].clone();
        nodes.as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&whole), [whole.as_str(), &below]);
    assert_eq!(shown(&part), [below.as_str()]);
}
