//! The gate judges as commands do: what a command refuses by its task alone is refused in a branch, and what commands write passes.

use std::fs;

use serde_json::{Value, json};

use crate::gate::{ROLES, commit, events, forge, grant, passes, refused, switch};
use crate::sandbox::{Answer, Sandbox, rounds};

/// An event that is appended to the log of the task, whose thread has this id.
type Forged = fn(&Sandbox, &str, &str) -> (&'static str, Value);

/// A plan with one task, whose thread proposes a priority, and the branch checked out. bob may do what the roles say.
fn discussed(perms: &str) -> (Sandbox, String, String) {
    let room = Sandbox::new();
    fs::write(room.store().join("roles.yml"), ROLES.replace("comment, create", perms)).unwrap();
    let task = room.task("the task", &[]);
    let thread = open(&room, &task, &["--set", "priority=2"]);
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "feature"]).text();
    (room, task, thread)
}

fn id_of(answer: &Answer) -> String {
    answer.data()["id"].as_str().unwrap().to_owned()
}

fn open(room: &Sandbox, task: &str, more: &[&str]) -> String {
    id_of(&room.run(&[&["thread", "open", task, "--body", "what about this?"], more].concat()))
}

const ALL: &str = "claim, complete, comment, discuss, reply, resolve";

/// Judges each forged event in a branch of its own.
fn all_refused(cases: &[(Forged, &str)]) {
    let (room, task, thread) = discussed(ALL);
    for (n, (make, words)) in cases.iter().enumerate() {
        room.git(&["reset", "-q", "--hard", "main"]).text();
        let (kind, payload) = make(&room, &task, &thread);
        let id = format!("01ZZZZZZZZ00000000000020{n:02}");
        forge(&room, &task, kind, payload, json!({ "id": id }));
        refused(&room, &[words]);
    }
}

/// An acceptance of the first message of the thread.
fn accepted(thread: &str, patch: Value, set: Value) -> (&'static str, Value) {
    let payload = json!({"thread": thread, "resolution": "accept", "message": thread, "patch": patch, "set": set});
    ("ThreadResolved", payload)
}

fn replace(name: &str, value: Value) -> Value {
    json!([{"op": "replace", "path": format!("/{name}"), "value": value}])
}

#[test]
fn an_acceptance_writes_what_its_patch_gives() {
    all_refused(&[
        (
            |_, _, thread| accepted(thread, replace("priority", json!(2)), json!({"priority": 5, "title": "other"})),
            "the values that it writes are not those of its patch",
        ),
        (
            |_, _, thread| accepted(thread, replace("priority", json!(2)), json!({})),
            "the values that it writes are not those of its patch",
        ),
        (|_, _, thread| accepted(thread, Value::Null, json!({"priority": 2})), "it names no change"),
        (|_, _, thread| accepted(thread, Value::Null, json!({})), "it names no change"),
        (
            |room, task, _| {
                let question = open(room, task, &[]);
                room.run(&["thread", "reply", &question, "--body", "so"]).data();
                commit(room, "a question with an answer");
                let payload = json!({"thread": question, "resolution": "accept", "set": {"priority": 2}});
                ("ThreadResolved", payload)
            },
            "the values that it writes are not those of its patch",
        ),
        (
            |_, _, thread| {
                let test = json!({"op": "test", "path": "/title", "value": "another"});
                let patch = json!([test, {"op": "replace", "path": "/priority", "value": 2}]);
                accepted(thread, patch, json!({"priority": 2}))
            },
            "operation 1 of the patch does not apply",
        ),
        (
            |_, task, thread| {
                let mut event = accepted(thread, replace("priority", json!(2)), json!({"priority": 2}));
                event.1["message"] = json!(task);
                event
            },
            "is in another thread",
        ),
    ]);
}

#[test]
fn an_acceptance_of_the_proposal_passes() {
    let (room, task, thread) = discussed(ALL);
    let event = accepted(&thread, replace("priority", json!(2)), json!({"priority": 2}));
    forge(&room, &task, event.0, event.1, json!({}));
    passes(&room);
    // The same by the command, of a proposal of the one who decides.
    room.git(&["reset", "-q", "--hard", "main"]).text();
    fs::write(room.repo().join("patch"), replace("estimate", json!("2h")).to_string()).unwrap();
    room.run_as("bob", &["thread", "resolve", &thread, "--resolution", "accept", "--patch", "patch"]).data();
    passes(&room);
}

#[test]
fn a_thread_gives_way_to_a_thread_that_there_is() {
    all_refused(&[
        (
            |_, _, thread| ("ThreadResolved", json!({"thread": thread, "resolution": "supersede"})),
            "--by names the thread that takes its place",
        ),
        (
            |_, _, thread| ("ThreadResolved", json!({"thread": thread, "resolution": "supersede", "by": thread})),
            "cannot take its own place",
        ),
        (
            |_, task, thread| ("ThreadResolved", json!({"thread": thread, "resolution": "supersede", "by": task})),
            "there is no thread",
        ),
        (
            |_, _, thread| {
                let set = json!({"priority": 2});
                ("ThreadResolved", json!({"thread": thread, "resolution": "reject", "set": set}))
            },
            "only an accepted proposal changes the task",
        ),
    ]);
    // One of another task, of the base or of the branch, or of the same task.
    let (room, task, thread) = discussed(ALL);
    switch(&room, "main");
    let other = room.task("another", &[]);
    let of_base = open(&room, &other, &[]);
    commit(&room, "another thread");
    room.git(&["switch", "-q", "-C", "feature"]).text();
    let own = open(&room, &task, &[]);
    for (old, new) in [(&thread, &of_base), (&of_base, &own)] {
        room.run_as("bob", &["thread", "resolve", old, "--resolution", "supersede", "--by", new]).data();
        room.git(&["add", "-A"]).text();
        assert_eq!(room.run(&["lint", "--staged"]).data()["errors"], 0);
        passes(&room);
    }
}

#[test]
fn a_message_is_one_that_a_command_writes() {
    all_refused(&[
        (
            |_, _, _| ("ThreadOpened", json!({"body": "b", "patch": replace("status", json!("completed"))})),
            "a proposal cannot change \"status\"",
        ),
        (
            |_, _, _| ("ThreadOpened", json!({"body": "b", "patch": replace("owner", json!("bob"))})),
            "a proposal cannot change \"owner\"",
        ),
        (
            |_, _, _| ("ThreadOpened", json!({"body": "b", "patch": [{"op": "merge", "path": "/title"}]})),
            "it is not a JSON Patch",
        ),
        (|_, _, _| ("ThreadOpened", json!({"body": "b", "patch": replace("priority", json!(99))})), "priority 99"),
        (|_, _, _| ("ThreadOpened", json!({"body": " "})), "a thread needs a text"),
        (
            |_, task, thread| ("ThreadReplied", json!({"thread": thread, "body": "b", "parent": task})),
            "is in another thread",
        ),
        (|_, _, thread| ("ThreadReplied", json!({"thread": thread, "body": ""})), "a message needs a text"),
        (
            |room, _, thread| {
                room.run(&["thread", "resolve", thread, "--resolution", "reject"]).data();
                ("ThreadReplied", json!({"thread": thread, "body": "b"}))
            },
            "ada resolved it",
        ),
        (|_, _, thread| ("ThreadEscalated", json!({"thread": thread, "to": "Bad Name"})), "Bad Name"),
        (
            |room, _, thread| {
                room.run(&["thread", "escalate", thread, "--to", "ada"]).data();
                ("ThreadEscalated", json!({"thread": thread, "to": "bob"}))
            },
            "was escalated to ada",
        ),
        (|_, _, _| ("ContextAdded", json!({"type": "note", "content": ""})), "a context entry needs a text"),
        (|_, _, _| ("ProgressItemAdded", json!({"content": "\u{200b}"})), "a progress item needs a text"),
        (|_, _, _| ("TaskStatusChanged", json!({"from": "open", "to": "blocked"})), "no unfinished task blocks task"),
    ]);
}

#[test]
fn a_text_that_was_redacted_passes() {
    let (room, task, _) = discussed("comment, update");
    let note = room.run_as("bob", &["note", &task, "--content", "a secret"]).data();
    let entry = note["entry"].as_str().or(note["id"].as_str()).unwrap().to_owned();
    room.run_as("bob", &["context", "redact", &entry, "--reason", "a secret"]).data();
    let all = events(&room, &task);
    assert!(all.iter().any(|event| event["type"] == "ContextAdded" && event["payload"]["content"] == ""));
    passes(&room);
}

#[test]
fn two_forms_of_one_label_are_one_label() {
    let (room, task, _) = discussed(ALL);
    let set = json!({"set": {"labels": ["\u{e9}", "e\u{301}"]}});
    forge(&room, &task, "TaskUpdated", set, json!({"agent": "ada", "precedence": 20}));
    refused(&room, &["field-value: labels names"]);
}

#[test]
fn an_agent_takes_no_task_from_its_owner() {
    let (room, task, _) = discussed("claim, complete, comment");
    switch(&room, "main");
    room.run(&["thread", "list", "--open"]).data();
    room.run(&["task", "update", &task, "--owner", "ada"]).data();
    let thread = room.run(&["thread", "list", "--open"]).data()["items"][0]["id"].as_str().unwrap().to_owned();
    room.run(&["thread", "resolve", &thread, "--resolution", "reject"]).data();
    commit(&room, "assigned");
    room.git(&["switch", "-q", "-C", "feature"]).text();
    room.run_as("bob", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    let begun = json!({"from": "open", "to": "in_progress", "owner": "bob"});
    forge(&room, &task, "LeaseAcquired", grant("bob", 1), json!({"fence": 1}));
    forge(&room, &task, "TaskStatusChanged", begun.clone(), json!({"fence": 1}));
    refused(&room, &["\"bob\" may not override"]);
    room.git(&["reset", "-q", "--hard", "main"]).text();
    forge(&room, &task, "TaskStatusChanged", begun, json!({"id": "01ZZZZZZZZ0000000000000055"}));
    refused(&room, &["\"bob\" may not update"]);
    // The owner begins it.
    room.git(&["reset", "-q", "--hard", "main"]).text();
    room.run(&["claim", &task]).data();
    passes(&room);
}

#[test]
fn a_lease_of_another_worktree_that_expired_passes_on() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    let task = room.task("the task", &[]);
    room.run(&["task", "update", &task, "--owner", "ada"]).data();
    commit(&room, "base");
    let other = room.beside("tree");
    room.git(&["worktree", "add", "-q", "-b", "aside", other.to_str().unwrap()]).text();
    room.run_in(&other, &["lease", "acquire", &task, "--ttl", "1m"]).data();
    room.git(&["switch", "-q", "-c", "feature"]).text();
    room.at("2026-11-20T10:30:00Z");
    room.run_as("carol", &["claim", &task]).data();
    passes(&room);
}

#[test]
fn steps_are_the_account_of_the_holder() {
    let (room, task, _) = discussed(ALL);
    switch(&room, "main");
    let thread = room.run(&["thread", "list", "--open"]).data()["items"][0]["id"].as_str().unwrap().to_owned();
    room.run(&["thread", "resolve", &thread, "--resolution", "reject"]).data();
    room.run(&["claim", &task]).data();
    commit(&room, "claimed");
    room.git(&["switch", "-q", "-C", "feature"]).text();
    room.run_as("bob", &["progress", "add", &task, "--content", "a step"]).error("ERR_LEASE_HELD", 5);
    forge(&room, &task, "ProgressItemAdded", json!({"content": "a step"}), json!({}));
    refused(&room, &["\"bob\" may not override"]);
    room.git(&["reset", "-q", "--hard", "main"]).text();
    room.run(&["progress", "add", &task, "--content", "a step"]).data();
    room.run_as("bob", &["note", &task, "--content", "a word"]).data();
    passes(&room);
}

/// Whoever edits a file by hand has it recorded once the task is free.
#[test]
fn a_hand_edit_that_waited_for_the_lease_passes() {
    let (room, task, _) = discussed("comment, update");
    switch(&room, "main");
    let thread = room.run(&["thread", "list", "--open"]).data()["items"][0]["id"].as_str().unwrap().to_owned();
    room.run(&["thread", "resolve", &thread, "--resolution", "reject"]).data();
    room.run(&["claim", &task]).data();
    commit(&room, "claimed");
    room.git(&["switch", "-q", "-C", "feature"]).text();
    let page = fs::read_to_string(room.yaml_of(&task)).unwrap();
    let page = page.replace("title: the task\n", "title: by hand\n");
    fs::write(room.yaml_of(&task), format!("{page}progress:\n  - a step\n")).unwrap();
    commit(&room, "by hand");
    switch(&room, "main");
    room.run(&["release", &task]).data();
    commit(&room, "released");
    switch(&room, "feature");
    let _ = room.git(&["merge", "-q", "--no-edit", "main"]);
    room.run_as("bob", &["resolve"]).data();
    room.run_as("bob", &["lint", "--fix"]).data();
    let of_bob = events(&room, &task).into_iter().filter(|event| event["agent"] == "bob");
    let kinds: Vec<String> = of_bob.map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["TaskUpdated", "ProgressItemAdded"]);
    passes(&room);
}

/// Without `[review] required` the agent that completed a task may state that it verified it.
#[test]
fn a_verification_that_a_command_writes_passes() {
    let (room, task, thread) = discussed("claim, complete, verify");
    room.run(&["thread", "resolve", &thread, "--resolution", "reject"]).data();
    room.run_as("bob", &["claim", &task]).data();
    room.run_as("bob", &["done", &task]).data();
    room.run_as("bob", &["task", "verify", &task]).data();
    let last = events(&room, &task).pop().unwrap();
    assert_eq!((&last["type"], &last["agent"]), (&json!("TaskVerified"), &json!("bob")));
    passes(&room);
}

#[test]
fn the_right_to_split_gives_the_task_back() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    room.run_as("bob", &["claim", &task]).data();
    fs::write(room.store().join("roles.yml"), ROLES.replace("comment, create", "create, split")).unwrap();
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "feature"]).text();
    room.run_as("bob", &["task", "split", &task, "--title", "a", "--title", "b"]).data();
    room.git(&["add", "-A"]).text();
    assert_eq!(room.run(&["lint", "--staged"]).data()["errors"], 0);
    passes(&room);
    // Without parts it is a release, which needs another right.
    room.git(&["reset", "-q", "--hard", "main"]).text();
    let given_back = json!({"from": "in_progress", "to": "open", "owner": null});
    forge(&room, &task, "TaskStatusChanged", given_back, json!({"fence": 1}));
    refused(&room, &["\"bob\" may not claim"]);
}

#[test]
fn an_author_withdraws_a_proposal_by_the_right_to_discuss() {
    for (perms, refused_with) in [("update", Some("that needs the right resolve")), ("discuss", None)] {
        let room = Sandbox::new();
        let task = room.task("the task", &[]);
        let thread = id_of(&room.run_as("bob", &["thread", "open", &task, "--body", "so?", "--set", "priority=2"]));
        fs::write(room.store().join("roles.yml"), ROLES.replace("comment, create", perms)).unwrap();
        commit(&room, "base");
        room.git(&["switch", "-q", "-c", "feature"]).text();
        let withdraws = ["thread", "resolve", &thread, "--resolution", "reject"];
        match refused_with {
            Some(words) => {
                room.run_as("bob", &withdraws).error("ERR_UNAUTHORIZED", 6);
                let payload = json!({"thread": thread, "resolution": "reject"});
                forge(&room, &task, "ThreadResolved", payload, json!({}));
                refused(&room, &[words]);
            }
            None => {
                room.run_as("bob", &withdraws).data();
                passes(&room);
            }
        }
    }
}

#[test]
fn a_staged_event_has_the_precedence_that_the_roles_give() {
    let (room, task, _) = discussed("update");
    room.run_as("bob", &["task", "update", &task, "--priority", "3"]).data();
    room.git(&["add", "-A"]).text();
    let staged = || room.run(&["lint", "--staged"]).json()["data"].clone();
    assert_eq!(staged()["errors"], 0);
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    fs::write(room.log_of(&task), log.replace("\"precedence\":5", "\"precedence\":900")).unwrap();
    room.git(&["add", "-A"]).text();
    let report = staged();
    assert_eq!((&report["errors"], &report["findings"][0]["code"]), (&json!(1), &json!("not-permitted")), "{report:#}");
    assert!(report["findings"][0]["message"].as_str().unwrap().contains("\"bob\" has precedence 5"), "{report:#}");
    // Roles that come with the commit are those that its events were written under.
    let room = Sandbox::new();
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    room.task("the task", &[]);
    room.git(&["add", "-A"]).text();
    assert_eq!(room.run(&["lint", "--staged"]).data()["errors"], 0);
}

/// Chance from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }

    fn pick<'a>(&mut self, list: &'a [String]) -> &'a str {
        if list.is_empty() { "none" } else { &list[self.roll(list.len())] }
    }
}

/// The ids of all events, tasks among them, of one type.
fn ids(room: &Sandbox, tasks: &[String], kind: &str) -> Vec<String> {
    let all = tasks.iter().flat_map(|task| events(room, task));
    all.filter(|event| event["type"] == kind).map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// A random command of a random agent, which may be refused.
fn act(room: &Sandbox, dice: &mut Dice, tasks: &[String]) {
    let agent = ["ada", "bob", "carol"][dice.roll(3)];
    let (task, other) = (dice.pick(tasks).to_owned(), dice.pick(tasks).to_owned());
    let threads = ids(room, tasks, "ThreadOpened");
    let thread = dice.pick(&threads).to_owned();
    let kind = ["TaskUpdated", "TaskStatusChanged", "ThreadResolved", "TaskCreated"][dice.roll(4)];
    let event = dice.pick(&ids(room, tasks, kind)).to_owned();
    let note = dice.pick(&ids(room, tasks, "ContextAdded")).to_owned();
    let resolution = ["accept", "reject", "supersede"][dice.roll(3)];
    let priority = format!("priority={}", dice.roll(5));
    let deeds: [&[&str]; 26] = [
        &["claim", &task],
        &["claim", &task],
        &["release", &task],
        &["done", &task, "--all-met"],
        &["done", &task, "--force", "so be it", "--all-met"],
        &["progress", "add", &task, "--content", "a step"],
        &["note", &task, "--content", "a word"],
        &["context", "redact", &note, "--reason", "a secret"],
        &["thread", "open", &task, "--body", "so?", "--set", &priority, "--no-hold"],
        &["thread", "open", &task, "--body", "so?", "--ttl", "1m", "--no-hold"],
        &["thread", "reply", &thread, "--body", "rather", "--set", "estimate=2h"],
        &["thread", "resolve", &thread, "--resolution", resolution],
        &["thread", "resolve", &thread, "--resolution", resolution, "--by", dice.pick(&threads)],
        &["thread", "escalate", &thread, "--to", "ada"],
        &["task", "update", &task, "--owner", agent],
        &["task", "update", &task, "--priority", &priority[9..], "--override", "urgent"],
        &["task", "update", &task, "--parent", &other],
        &["task", "block", &task, "--by", &other, "--override", "it came first"],
        &["task", "unblock", &task, "--by", &other],
        &["task", "transition", &task, "--status", "cancelled", "--children", "keep"],
        &["task", "reopen", &task, "--reason", "not yet"],
        &["task", "verify", &task, "--accept"],
        &["task", "verify", &task, "--reject", "--why", "not yet"],
        &["task", "split", &task, "--title", "a part"],
        &["undo", &event],
        &["lease", "acquire", &task, "--ttl", "1m"],
    ];
    let _ = room.run_as(agent, deeds[dice.roll(deeds.len())]);
}

/// Writes a change into the file of a task, and has it recorded.
fn edit(room: &Sandbox, dice: &mut Dice, tasks: &[String]) {
    let task = dice.pick(tasks);
    let Ok(page) = fs::read_to_string(room.yaml_of(task)) else { return };
    let step = format!("progress:\n  - a step by hand {}\n", dice.roll(100));
    let title = format!("title: by hand {}\n", dice.roll(100));
    let rest = page.split_once('\n').map_or("", |(_, rest)| rest);
    let edited = match dice.roll(3) {
        0 if !page.contains("progress:") => format!("{page}{step}"),
        1 => page.replacen("status: open", "status: blocked", 1),
        _ => match page.lines().position(|line| line.starts_with("title:")) {
            Some(0) => format!("{title}{rest}"),
            Some(_) | None => {
                page.lines().map(|l| if l.starts_with("title:") { title.clone() } else { format!("{l}\n") }).collect()
            }
        },
    };
    fs::write(room.yaml_of(task), edited).unwrap();
    if dice.roll(2) == 0 {
        act(room, dice, tasks);
    }
    let _ = room.run_as(["ada", "bob"][dice.roll(2)], &["lint", "--fix"]);
    // An edit that is refused is taken back.
    let _ = room.git(&["checkout", "-q", "--", room.yaml_of(task).to_str().unwrap()]);
    let _ = room.run(&["resolve"]);
}

const MINUTES: [&str; 8] = [
    "2026-11-20T10:00:00Z",
    "2026-11-20T10:02:00Z",
    "2026-11-20T10:04:00Z",
    "2026-11-20T10:20:00Z",
    "2026-11-20T10:21:00Z",
    "2026-11-20T11:00:00Z",
    "2026-11-20T11:03:00Z",
    "2026-11-20T12:00:00Z",
];

#[test]
fn what_commands_write_passes_the_gate() {
    let perms = "claim, complete, cancel, comment, create, split, update, relate, discuss, reply, resolve, verify, \
                 override, archive";
    let roles = format!(
        "agents:\n  ada: {{perms: [admin], precedence: 20}}\n  bob: {{perms: [{perms}], precedence: 5}}\n  \
         carol: {{perms: [claim, complete, comment, discuss, reply, resolve], precedence: 30}}\n"
    );
    for seed in 1..=rounds(40) {
        let mut dice = Dice(seed as u64 * 7_919);
        let with_roles = dice.roll(4) > 0;
        let room = Sandbox::new();
        room.at(MINUTES[0]);
        if with_roles {
            fs::write(room.store().join("roles.yml"), &roles).unwrap();
        }
        if dice.roll(2) == 0 {
            let settings = "format = 1\n[thread]\non_expiry = \"accept_highest\"\n";
            fs::write(room.store().join("config.toml"), settings).unwrap();
        }
        let tasks: Vec<String> =
            (0..3).map(|n| room.task(&format!("task {n}"), &["--acceptance", "it works"])).collect();
        commit(&room, "base");
        room.git(&["tag", "base"]).text();
        room.git(&["branch", "aside"]).text();
        room.git(&["switch", "-q", "-c", "feature"]).text();
        for minute in MINUTES {
            room.at(minute);
            for _ in 0..6 {
                if dice.roll(6) == 0 { edit(&room, &mut dice, &tasks) } else { act(&room, &mut dice, &tasks) }
            }
            commit(&room, "some work");
            // The two branches work on, and one merges the other.
            room.git(&["switch", "-q", if dice.roll(2) == 0 { "aside" } else { "feature" }]).text();
            if dice.roll(2) == 0 {
                let _ = room.git(&["merge", "-q", "--no-edit", if dice.roll(2) == 0 { "feature" } else { "aside" }]);
                room.run(&["resolve"]).data();
                commit(&room, "merged");
            }
        }
        for branch in ["feature", "aside"] {
            switch(&room, branch);
            let report = room.run(&["lint", "--base", "base"]).json()["data"].clone();
            let refused: Vec<&Value> =
                report["findings"].as_array().unwrap().iter().filter(|f| f["code"] == "not-permitted").collect();
            assert!(refused.is_empty(), "seed {seed}, {branch} in {}: {refused:#?}", room.repo().display());
        }
    }
}
