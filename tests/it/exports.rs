//! What `export` writes: round trips of random plans, and documents in which no text of a task acts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, rounds};

/// Numbers from a seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Texts that end a field, begin a formula or a heading, or move the cursor of a terminal.
const TEXTS: [&str; 14] = [
    "plain words",
    "=HYPERLINK(\"http://x\",\"y\")",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "a, \"quoted\" cell",
    "# heading",
    "- [x] ticked",
    "</script><script>x</script>",
    "\u{202e}reversed\u{1b}[31m",
    "```\nfence",
    "one\r\ntwo\n\nthree",
    "[link](javascript:x) ![i](x)",
    "größer 日本 🦀",
];

/// A plan of random changes, most of which are allowed.
pub fn random_plan(seed: u64, tasks: usize) -> Sandbox {
    let (room, mut dice) = (Sandbox::new(), Dice(seed));
    room.run(&["agent", "register", "--name", "bob", "--role", "executor"]).data();
    let mut ops: Vec<Value> = (0..tasks)
        .map(|n| {
            let one_line = |text: &'static str| text.lines().next().unwrap_or_default();
            json!({ "op": "task.create", "as": format!("t{n}"), "args": {
                "title": format!("{} {n}", one_line(dice.one(&TEXTS))), "intent": dice.one(&TEXTS),
                "type": dice.one(&["feature", "bugfix"]), "priority": dice.one(&[4, 2, 0, -2, -4]),
                "labels": [one_line(dice.one(&TEXTS))], "acceptance": [one_line(dice.one(&TEXTS))],
                "estimate": dice.one(&["30m", "2h"]), "metadata": { "key": dice.one(&TEXTS) } } })
        })
        .collect();
    for _ in 0..tasks * 4 {
        let (task, other) = (format!("$t{}", dice.below(tasks)), format!("$t{}", dice.below(tasks)));
        let text = dice.one(&TEXTS);
        ops.push(match dice.below(10) {
            0 => json!({ "op": "task.block", "args": { "id": task, "by": [other] } }),
            1 => json!({ "op": "task.update", "args": { "id": task, "parent": other } }),
            2 => json!({ "op": "task.relate", "args": { "id": task, "to": other, "type": dice.one(&["relates_to", "duplicates"]) } }),
            3 => json!({ "op": "progress.add", "args": { "id": task, "content": [text] } }),
            4 => json!({ "op": "context.add", "args": { "id": task, "type": dice.one(&["decision", "note", "outcome", "attempt"]), "content": text } }),
            5 => json!({ "op": "thread.open", "args": { "id": task, "body": text, "no_hold": true } }),
            6 => json!({ "op": "task.transition", "args": { "id": task, "status": dice.one(&["in_progress", "cancelled"]) } }),
            7 => json!({ "op": "task.transition", "args": { "id": task, "status": "completed", "force": "enough" } }),
            8 => json!({ "op": "task.verify", "args": { "id": task, "all": true } }),
            _ => json!({ "op": "task.update", "args": { "id": task, "intent": text } }),
        });
    }
    // A refused step leaves the others alone.
    let batch = json!({ "ops": ops, "atomic": false }).to_string();
    let done = room.feed(&["batch", "--file", "-"], batch.as_bytes());
    assert!(done.json()["data"]["items"].is_array(), "seed {seed}: {done:?}");
    room
}

/// The document of an export.
#[track_caller]
pub fn exported(room: &Sandbox, format: &str) -> String {
    let answer = room.run_short(&["export", "--format", format]);
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{answer:?}");
    answer.stdout
}

/// The files of tasks and agents, by path.
fn files(room: &Sandbox) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["tasks", "agents"] {
        let folder = room.store().join(folder);
        for entry in walkdir::WalkDir::new(&folder).into_iter().filter_map(Result::ok) {
            if entry.file_type().is_file() {
                let name = entry.path().strip_prefix(room.store()).unwrap_or(Path::new("")).display().to_string();
                files.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

fn differing(one: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let all = one.keys().chain(other.keys());
    all.filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

#[test]
fn an_import_of_our_export_gives_the_same_bytes() {
    for round in 0..rounds(20) as u64 {
        let seed = 7_000 + round;
        let room = random_plan(seed, 12);
        for format in ["json", "jsonl"] {
            let copy = Sandbox::new();
            let text = exported(&room, format);
            let report = copy.feed(&["import", "--from", format, "-"], text.as_bytes()).data();
            assert_eq!(differing(&files(&copy), &files(&room)), [""; 0], "seed {seed} {format}");
            assert_eq!((&report["total"], &report["warnings"]), (&json!(12), &Value::Null), "seed {seed}");
            assert_eq!(exported(&copy, format), text, "seed {seed}");
            let again = copy.feed(&["import", "--from", format, "-"], text.as_bytes()).data();
            assert_eq!(again["added"]["events"], 0, "seed {seed}");
            assert_eq!(copy.findings(), room.findings(), "seed {seed}");
        }
    }
}

#[test]
fn an_import_of_an_export_to_beads_says_the_same_there() {
    for round in 0..rounds(20) as u64 {
        let seed = 8_000 + round;
        let first = exported(&random_plan(seed, 12), "beads");
        let copy = Sandbox::new();
        let report = copy.feed(&["import", "--from", "beads", "-"], first.as_bytes()).data();
        assert_eq!(report["warnings"], Value::Null, "seed {seed}");
        let issues = |text: &str| -> BTreeMap<String, Value> {
            let issue = |line: &str| {
                let mut issue: Value = serde_json::from_str(line).unwrap();
                // The import is the last change there.
                issue.as_object_mut().unwrap().remove("updated_at");
                (issue["id"].as_str().unwrap().to_owned(), issue)
            };
            text.lines().map(issue).collect()
        };
        let second = exported(&copy, "beads");
        let (first, second) = (issues(&first), issues(&second));
        for (id, issue) in &first {
            assert_eq!(second.get(id), Some(issue), "seed {seed}");
        }
        let errors: Vec<Value> = copy.findings().into_iter().filter(|f| f["severity"] == "error").collect();
        assert!(errors.is_empty(), "seed {seed}: {errors:#?}");
    }
}

/// The rows of a text by RFC 4180.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('"', true) if chars.peek() == Some(&'"') => cell.extend(chars.next()),
            ('"', _) => quoted = !quoted,
            (',', false) => row.push(std::mem::take(&mut cell)),
            ('\r', false) => assert_eq!(chars.peek(), Some(&'\n')),
            ('\n', false) => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            (c, _) => cell.push(c),
        }
    }
    assert!(row.is_empty() && cell.is_empty(), "a row ends with a line break");
    rows
}

#[test]
fn a_table_has_a_row_for_each_task_and_no_formula() {
    for seed in [9_000, 9_001] {
        let room = random_plan(seed, 30);
        let rows = rows(&exported(&room, "csv"));
        assert_eq!((rows.len(), rows[0][..3].join(" ")), (31, "id title status".to_owned()));
        let numbers = ["priority", "steps", "steps_done", "criteria", "criteria_met"];
        for row in &rows[1..] {
            assert_eq!(row.len(), rows[0].len(), "seed {seed}: {row:?}");
            for (name, cell) in rows[0].iter().zip(row) {
                assert!(cell.chars().all(|c| c == '\n' || !c.is_control()), "{name}: {cell:?}");
                let begins = cell.trim_start().starts_with(['=', '+', '-', '@']);
                assert!(
                    !begins || (numbers.contains(&name.as_str()) && cell.parse::<i64>().is_ok()),
                    "{name}: {cell:?}"
                );
            }
        }
    }
}

#[test]
fn a_page_nests_as_the_tasks_do() {
    let room = Sandbox::new();
    let whole = room.task("Lending desk", &["--intent", "Lend books.\n\n# And more", "--label", "desk"]);
    let part = room.task("Scan a card", &["--parent", &whole, "--priority", "2", "--acceptance", "it beeps"]);
    room.run(&["claim", &part]).data();
    room.task("<b>", &["--parent", &part]);
    room.run(&["progress", "add", &part, "--content", "plug it in", "--done"]).data();
    room.run(&["context", "add", &part, "--type", "decision", "--content", "By *hand*."]).data();
    room.run(&["context", "add", &part, "--type", "note", "--content", "not shown"]).data();
    let page = exported(&room, "markdown");
    let begin = format!(
        "# Plan\n\n0 of 3 tasks finished.\n\n- [ ] **Lending desk** (open, desk) `{whole}`\n  > Lend books.\n  > `# And more`\n"
    );
    assert!(page.starts_with(&begin), "{page}");
    let item = format!(
        "  - [ ] **Scan a card** (in progress, ada, priority 2, 1 of 1 steps) `{part}`\n    - [ ] Criterion: it beeps\n    - [x] Step: plug it in\n    - Decision: `By *hand*.` (ada)\n    - [ ] **`<b>`** (open) "
    );
    assert!(page.contains(&item), "{page}");
    assert_eq!(exported(&room, "md"), page);
}

#[test]
fn no_text_acts_in_a_page() {
    for seed in [9_100, 9_101] {
        let page = exported(&random_plan(seed, 30), "markdown");
        for line in page.lines().skip(3) {
            assert!(line.is_empty() || line.trim_start().starts_with(['-', '>']), "seed {seed}: {line:?}");
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "seed {seed}: {line:?}");
            let plain: String = line.split('`').step_by(2).collect();
            assert!(!plain.contains(['<', '#', '!']) && !plain.contains("]("), "seed {seed}: {line:?}");
        }
    }
}

#[test]
fn an_export_merges_with_a_plan_that_went_on() {
    let room = Sandbox::new();
    let (one, two) = (room.task("one", &[]), room.task("two", &["--priority", "1"]));
    let copy = Sandbox::new();
    let import = |room: &Sandbox, copy: &Sandbox, more: &[&str]| {
        copy.feed(&[&["import", "--from", "jsonl", "-"], more].concat(), exported(room, "jsonl").as_bytes())
    };
    import(&room, &copy, &[]).data();
    copy.run(&["task", "update", &one, "--title", "one, decided here"]).data();
    room.run(&["task", "update", &two, "--priority", "3"]).data();
    let three = room.task("three", &[]);
    let before = files(&copy);
    let dry = import(&room, &copy, &["--dry-run"]).data();
    assert_eq!((&dry["added"]["tasks"], &dry["added"]["events"]), (&json!(1), &json!(2)), "{dry}");
    assert_eq!(files(&copy), before);
    let report = import(&room, &copy, &[]).data();
    assert_eq!((&report["added"], &report["items"][2]["new"]), (&dry["added"], &json!(true)), "{report}");
    assert_eq!(copy.get(&one)["title"], "one, decided here");
    assert_eq!((&copy.get(&two)["priority"], &copy.get(&three)["title"]), (&json!(3), &json!("three")));
    copy.is_clean();
}

#[test]
fn what_is_no_export_is_refused_whole() {
    let room = Sandbox::new();
    room.task("one", &[]);
    let text = exported(&room, "jsonl");
    let record: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let copy = Sandbox::new();
    let before = files(&copy);
    let import = |text: &str| copy.feed(&["import", "--from", "jsonl", "-"], text.as_bytes());
    let mut torn = text.clone();
    torn.truncate(text.len() - 20);
    let mut moved = record.clone();
    moved["task"]["id"] = json!("01ZZZZZZZZZZZZZZZZZZZZZZZZ");
    let mut unreadable = record.clone();
    unreadable["events"][0]["lamport"] = json!("many");
    for bad in [
        "not json".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        json!({ "format": "other", "tasks": [] }).to_string(),
        json!({ "format": "agentpm", "version": 9, "tasks": [] }).to_string(),
        torn,
        format!("{text}{moved}\n"),
        format!("{text}{unreadable}\n"),
        format!("{text}{}\n", record["events"][0]),
    ] {
        import(&bad).error("ERR_VALIDATION", 4);
        assert_eq!(files(&copy), before, "{bad}");
    }
    let mut edited = record;
    edited["task"]["title"] = json!("edited in the export");
    let report = import(&format!("{edited}\n")).data();
    assert!(report["warnings"][0].as_str().unwrap().contains("is not what the events say"), "{report}");
    assert_eq!(copy.run(&["task", "list"]).data()["items"][0]["title"], "one");
    import("").data();
    // The same in another layout.
    let pretty =
        serde_json::to_string_pretty(&serde_json::from_str::<Value>(&exported(&room, "json")).unwrap()).unwrap();
    let third = Sandbox::new();
    third.feed(&["import", "--from", "json", "-"], pretty.as_bytes()).data();
    assert_eq!(differing(&files(&third), &files(&room)), [""; 0]);
}

#[test]
fn events_of_others_need_all_rights() {
    let room = Sandbox::new();
    room.task("one", &[]);
    let text = exported(&room, "jsonl");
    let copy = Sandbox::new();
    fs::write(copy.store().join("roles.yml"), "agents:\n  ada:\n    perms: [create, update]\n").unwrap();
    copy.feed(&["import", "--from", "jsonl", "-"], text.as_bytes()).error("ERR_UNAUTHORIZED", 6);
}

#[test]
fn an_export_is_written_whole_or_not_at_all() {
    let room = Sandbox::new();
    room.task("one", &[]);
    let file = room.repo().join("plan.csv");
    fs::write(&file, "old").unwrap();
    let wrote = room.run_short(&["export", "--format", "csv", "--output", "plan.csv", "--json"]).data();
    assert_eq!(wrote, json!({ "format": "csv", "total": 1, "output": "plan.csv" }));
    assert_eq!(fs::read_to_string(&file).unwrap(), exported(&room, "csv"));
    let refused = room.run_short(&["export", "--format", "json", "--output", "none/plan.json"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (10, ""), "a failure is no document");
    let before: Vec<_> = fs::read_dir(room.repo()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    room.run_short(&["export", "--format", "csv", "--output", ".", "--json"]).error("ERR_IO", 10);
    let after: Vec<_> = fs::read_dir(room.repo()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(before, after, "no temporary file is left");
    // A device is no file that could be replaced.
    room.run_short(&["export", "--format", "csv", "--output", "/dev/null", "--json"]).data();
    std::os::unix::fs::symlink("plan.csv", room.repo().join("link.csv")).unwrap();
    room.task("two", &[]);
    room.run_short(&["export", "--format", "csv", "--output", "link.csv", "--json"]).data();
    assert_eq!(fs::read_to_string(&file).unwrap(), exported(&room, "csv"));
    assert!(fs::symlink_metadata(room.repo().join("link.csv")).unwrap().is_symlink());
}

#[test]
fn a_damaged_line_is_named() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let log = fs::read_to_string(room.log_of(&id)).unwrap();
    fs::write(room.log_of(&id), format!("{log}{{\"half\n")).unwrap();
    let answer = room.run_short(&["export", "--format", "jsonl"]);
    assert!(answer.stderr.contains("which the export leaves out"), "{answer:?}");
    let copy = Sandbox::new();
    copy.feed(&["import", "--from", "jsonl", "-"], answer.stdout.as_bytes()).data();
    assert_eq!(fs::read_to_string(copy.log_of(&id)).unwrap(), log);
    let yaml = fs::read_to_string(copy.yaml_of(&id)).unwrap();
    fs::write(copy.yaml_of(&id), yaml.replace("title: one", "title: two")).unwrap();
    let answer = copy.run_short(&["export", "--format", "jsonl"]);
    assert!(answer.stderr.contains("was edited, which the export leaves out"), "{answer:?}");
}

#[test]
fn an_export_that_breaks_rules_is_imported_without_findings_and_each_is_named() {
    let room = Sandbox::new();
    let gone = room.task("not in the export", &[]);
    let blocker = room.task("a blocker", &[]);
    let ids: Vec<String> = [&[][..], &["--blocked-by", &gone], &["--blocked-by", &blocker]]
        .iter()
        .map(|more| room.task("in the export", more))
        .collect();
    let (cycle, early) = (&ids[0], &ids[2]);
    room.run(&["task", "block", &blocker, "--by", cycle]).data();
    let text = exported(&room, "jsonl");
    let event = |task: &str, lamport: u64, kind: &str, payload: Value| {
        let id = format!("01K{:0>23}", lamport);
        json!({"v": 1, "id": id, "lamport": lamport, "type": kind, "entity": format!("task/{task}"), "parents": [],
            "agent": "ada", "at": "2026-11-20T10:00:00Z", "payload": payload})
    };
    // One blocker too many closes a cycle, and a task is completed before its blocker.
    let more = [
        event(cycle, 90, "RelationshipAdded", json!({"type": "blocks", "from": blocker, "to": cycle})),
        event(early, 91, "TaskStatusChanged", json!({"from": "blocked", "to": "completed"})),
    ];
    let records = text.lines().filter(|line| !line.contains(&format!("\"task\":{{\"id\":\"{gone}\"")));
    let mut records: Vec<Value> = records.map(|line| serde_json::from_str(line).unwrap()).collect();
    for event in more {
        let task = event["entity"].as_str().unwrap().trim_start_matches("task/").to_owned();
        let record = records.iter_mut().find(|record| record["task"]["id"] == task.as_str()).unwrap();
        let last = record["events"].as_array().unwrap().last().unwrap()["id"].clone();
        let mut event = event;
        event["parents"] = json!([last]);
        record["events"].as_array_mut().unwrap().push(event);
    }
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    let copy = Sandbox::new();
    for _ in 0..2 {
        let report = copy.feed(&["import", "--from", "jsonl", "-"], text.as_bytes()).data();
        let warnings = report["warnings"].to_string();
        for named in [&gone, &ids[1], cycle, early] {
            assert!(warnings.contains(named.as_str()), "{named}: {warnings}");
        }
        copy.is_clean();
    }
    assert_eq!(copy.get(early)["status"], "completed");
}
