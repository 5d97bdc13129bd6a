//! The gate: a branch is judged by what it does to the plan once it is merged, by the rights of its base.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

pub const ROLES: &str = "agents:\n  ada: {perms: [admin], precedence: 20}\n  bob: {perms: [comment, create], precedence: 5}\n  \
                     carol: {perms: [claim, complete], precedence: 30}\n";

pub fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "--allow-empty", "-m", message]).text();
}

/// A plan with roles and one task, as the base has it.
fn begun() -> (Sandbox, String) {
    let room = Sandbox::new();
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    let task = room.task("the task", &[]);
    commit(&room, "base");
    room.git(&["branch", "feature"]).text();
    (room, task)
}

pub fn switch(room: &Sandbox, to: &str) {
    room.git(&["switch", "-q", to]).text();
}

/// The events of a log.
pub fn events(room: &Sandbox, task: &str) -> Vec<Value> {
    let log = fs::read_to_string(room.log_of(task)).unwrap_or_default();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Appends an event of bob to a log, as if it followed upon all that is there; `more` says what is otherwise about it.
pub fn forge(room: &Sandbox, task: &str, kind: &str, payload: Value, more: Value) {
    let (known, log) = (events(room, task), fs::read_to_string(room.log_of(task)).unwrap_or_default());
    let lamport = known.iter().map(|event| event["lamport"].as_u64().unwrap()).max().unwrap_or(0) + 40;
    let mut event = json!({
        "v": 1, "id": format!("01ZZZZZZZZ{:016}", known.len()), "lamport": lamport, "type": kind,
        "entity": format!("task/{task}"), "agent": "bob",
        "parents": known.last().map(|last| &last["id"]).into_iter().collect::<Vec<_>>(), "at": "2026-11-20T10:05:00Z",
        "precedence": 5, "payload": payload,
    });
    for (key, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(event.as_object_mut().unwrap().remove(key)),
            value => event[key] = value.clone(),
        }
    }
    fs::create_dir_all(room.task_dir(task)).unwrap();
    fs::write(room.log_of(task), format!("{log}{event}\n")).unwrap();
    let _ = room.run(&["lint", "--fix"]);
}

/// The errors that `lint --base main` and `review` find in the branch; both say the same of who may what.
#[track_caller]
fn errors(room: &Sandbox) -> Vec<String> {
    commit(room, "the branch");
    let read = |args: &[&str]| {
        let answer = room.run(args);
        let findings = answer.json()["data"]["findings"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
        let errors = findings.iter().filter(|f| f["severity"] == "error");
        let mut said: Vec<String> =
            errors.map(|f| format!("{}: {}", f["code"].as_str().unwrap(), f["message"].as_str().unwrap())).collect();
        said.sort();
        said
    };
    let lint = read(&["lint", "--base", "main"]);
    let review = read(&["review", "main..HEAD", "--fail-on", "error", "--all"]);
    assert_eq!(lint, review);
    lint
}

/// Asserts that the branch is refused with these words, each in an error of its own, and nothing else.
#[track_caller]
pub fn refused(room: &Sandbox, words: &[&str]) {
    let said = errors(room);
    assert!(said.len() == words.len() && words.iter().all(|w| said.iter().any(|s| s.contains(w))), "{said:#?}");
}

#[track_caller]
pub fn passes(room: &Sandbox) {
    assert_eq!(errors(room), Vec::<String>::new());
}

#[test]
fn an_opening_that_would_undo_what_the_base_did_since_needs_a_right() {
    // The task was never blocked.
    let (room, task) = begun();
    room.run_as("carol", &["claim", &task]).data();
    room.run_as("carol", &["done", &task]).data();
    commit(&room, "done");
    switch(&room, "feature");
    forge(&room, &task, "TaskStatusChanged", json!({"from": "blocked", "to": "open"}), json!({}));
    refused(&room, &["\"bob\" may not update"]);
}

#[test]
fn a_feigned_ignorance_of_a_claim_does_not_undo_it() {
    // It was blocked, its blocker is finished, and carol claims it: an opening beside that claim would take its place.
    let room = Sandbox::new();
    fs::write(room.store().join("roles.yml"), ROLES.replace("precedence: 20", "precedence: 5")).unwrap();
    let blocker = room.task("the blocker", &[]);
    let task = room.task("it waits", &["--blocked-by", &blocker]);
    room.run(&["claim", &blocker]).data();
    commit(&room, "base");
    let waits = events(&room, &task).last().unwrap()["id"].clone();
    room.run(&["done", &blocker]).data();
    room.run(&["claim", &task]).data();
    commit(&room, "claimed");
    room.git(&["switch", "-q", "-c", "feature"]).text();
    let opening = json!({"from": "blocked", "to": "open"});
    forge(&room, &task, "TaskStatusChanged", opening, json!({"parents": [waits], "lamport": 900}));
    let said = errors(&room);
    assert!(said.iter().any(|said| said.contains("\"bob\" may not update")), "{said:#?}");
}

#[test]
fn an_agent_that_may_only_comment_records_no_opening() {
    let room = Sandbox::new();
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    let blocker = room.task("the blocker", &[]);
    commit(&room, "base");
    let task = room.task("it waits", &["--blocked-by", &blocker]);
    commit(&room, "it waits");
    room.git(&["switch", "-q", "-c", "aside", "HEAD~1"]).text();
    room.run(&["claim", &blocker]).data();
    room.run(&["done", &blocker]).data();
    commit(&room, "done");
    switch(&room, "main");
    room.git(&["merge", "-q", "--no-edit", "aside"]).text();
    room.git(&["switch", "-q", "-c", "feature"]).text();
    room.run_as("bob", &["progress", "add", &task, "--content", "a step"]).data();
    room.run_as("bob", &["resolve"]).data();
    let moved = |event: &&Value| event["type"] == "TaskStatusChanged";
    assert_eq!(events(&room, &task).iter().filter(moved).count(), 0);
    assert_eq!(room.run(&["ready"]).data()["items"][0]["id"], task.as_str(), "it counts as open all the same");
    passes(&room);
    room.run(&["resolve"]).data();
    assert_eq!(room.get(&task)["status"], "open");
}

#[test]
fn a_second_creation_of_a_task_of_the_base_asks_for_what_it_does() {
    let (room, _) = begun();
    let task = room.task("of the base", &["--acceptance", "it works"]);
    commit(&room, "a task");
    switch(&room, "feature");
    // bob, who may create, creates it too, before it, as an import that is completed and verified already.
    let at = json!({"lamport": 1, "at": "2026-11-20T10:05:00Z"});
    let import = json!({"title": "mine", "metadata": {"origin": {"format": "beads", "id": "x"}}});
    forge(&room, &task, "TaskCreated", import, at);
    forge(&room, &task, "TaskStatusChanged", json!({"from": "open", "to": "completed"}), json!({}));
    forge(&room, &task, "TaskVerified", json!({"passed": true}), json!({}));
    let said = errors(&room);
    for right in ["complete", "update", "verify"] {
        assert!(said.iter().any(|said| said.contains(&format!("\"bob\" may not {right}"))), "{right}: {said:#?}");
    }
    // The same on a branch where the base has no such task is an import, which records no review.
    room.git(&["branch", "-f", "main", "feature~1"]).text();
    refused(&room, &["\"bob\" may not verify"]);
}

#[test]
fn archiving_cannot_change_how_a_task_ended() {
    let (room, task) = begun();
    room.run(&["task", "transition", &task, "--status", "cancelled"]).data();
    fs::write(room.store().join("roles.yml"), ROLES.replace("comment, create", "archive")).unwrap();
    commit(&room, "cancelled");
    room.git(&["switch", "-q", "-C", "feature"]).text();
    let archived = json!({"from": "completed", "completed_at": "2026-11-20T10:00:00Z"});
    forge(&room, &task, "TaskArchived", archived, json!({}));
    refused(&room, &["\"bob\" may not complete", "with another end than it had"]);
}

#[test]
fn an_honest_branch_passes_whatever_its_base_did_since() {
    let (room, task) = begun();
    room.run_as("carol", &["claim", &task]).data();
    room.run_as("carol", &["done", &task]).data();
    commit(&room, "done");
    switch(&room, "feature");
    room.run_as("carol", &["claim", &task, "--here"]).data();
    room.run_as("bob", &["note", &task, "--content", "a word"]).data();
    room.run(&["task", "update", &task, "--priority", "3", "--override", "urgent"]).data();
    passes(&room);
    let _ = room.git(&["merge", "-q", "--no-edit", "main"]);
    room.run(&["resolve"]).data();
    assert_eq!(room.get(&task)["status"], "completed");
    passes(&room);
}

#[test]
fn events_of_any_merge_base_may_not_be_dropped() {
    let (room, task) = begun();
    room.run_as("carol", &["claim", &task]).data();
    room.run_as("carol", &["done", &task]).data();
    commit(&room, "done");
    room.git(&["tag", "one"]).text();
    switch(&room, "feature");
    room.run(&["task", "create", "--title", "another"]).data();
    commit(&room, "another");
    room.git(&["tag", "two"]).text();
    room.git(&["merge", "-q", "--no-edit", "one"]).text();
    switch(&room, "main");
    room.git(&["merge", "-q", "--no-edit", "two"]).text();
    commit(&room, "go on");
    switch(&room, "feature");
    commit(&room, "go on, on the branch");
    assert_eq!(room.git(&["merge-base", "--all", "main", "feature"]).text().lines().count(), 2);
    passes(&room);
    room.git(&["rm", "-rqf", ".agentpm"]).text();
    room.git(&["checkout", "-q", "two", "--", ".agentpm"]).text();
    let said = errors(&room);
    assert!(said.iter().any(|said| said.starts_with("log-rewritten") && said.contains("is gone")), "{said:#?}");
}

#[test]
fn an_event_records_the_precedence_that_the_roles_of_the_base_give() {
    let (room, task) = begun();
    switch(&room, "feature");
    room.run_as("bob", &["note", &task, "--content", "a word"]).data();
    passes(&room);
    let note = json!({"type": "note", "content": "mine counts more"});
    forge(&room, &task, "ContextAdded", note.clone(), json!({"precedence": 900}));
    refused(&room, &["\"bob\" has precedence 5 by the roles of"]);
    // Without it the precedence is lower than the roles give, which is harmless.
    room.git(&["reset", "-q", "--hard", "HEAD~1"]).text();
    forge(&room, &task, "ContextAdded", note, json!({"precedence": null, "id": "01ZZZZZZZZ0000000000000009"}));
    passes(&room);
}

#[test]
fn a_branch_that_is_rebased_behind_a_change_of_roles_is_honest() {
    let (room, task) = begun();
    switch(&room, "feature");
    room.run_as("bob", &["note", &task, "--content", "a word"]).data();
    commit(&room, "a word");
    switch(&room, "main");
    fs::write(room.store().join("roles.yml"), ROLES.replace("precedence: 5", "precedence: 9")).unwrap();
    commit(&room, "other roles");
    switch(&room, "feature");
    room.git(&["rebase", "-q", "main"]).text();
    passes(&room);
}

#[test]
fn a_branch_that_was_cut_under_other_roles_is_honest() {
    for (since, refused_with) in [("precedence: 9", None), ("precedence: 3", Some("\"bob\" has precedence 3"))] {
        let (room, task) = begun();
        fs::write(room.store().join("roles.yml"), ROLES.replace("precedence: 5", since)).unwrap();
        commit(&room, "other roles");
        switch(&room, "feature");
        room.run_as("bob", &["note", &task, "--content", "a word"]).data();
        refused_with.map_or_else(|| passes(&room), |words| refused(&room, &[words]));
    }
    // It stays so once it merged its base.
    let (room, task) = begun();
    switch(&room, "feature");
    room.run_as("bob", &["note", &task, "--content", "a word"]).data();
    commit(&room, "a word");
    switch(&room, "main");
    fs::write(room.store().join("roles.yml"), ROLES.replace("precedence: 5", "precedence: 9")).unwrap();
    commit(&room, "other roles");
    switch(&room, "feature");
    room.git(&["merge", "-q", "--no-edit", "main"]).text();
    room.run_as("bob", &["note", &task, "--content", "another"]).data();
    passes(&room);
    // Where it began there were none.
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "feature"]).text();
    room.run_as("bob", &["note", &task, "--content", "a word"]).data();
    commit(&room, "a word");
    switch(&room, "main");
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    commit(&room, "roles");
    switch(&room, "feature");
    passes(&room);
}

#[test]
fn without_any_roles_no_event_has_a_precedence() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "feature"]).text();
    forge(&room, &task, "TaskUpdated", json!({"set": {"title": "mine"}}), json!({"precedence": 1000}));
    refused(&room, &["\"bob\" has no precedence"]);
    // A branch that brings roles in works by them.
    room.git(&["reset", "-q", "--hard", "main"]).text();
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    room.run(&["task", "update", &task, "--priority", "1"]).data();
    passes(&room);
}

#[test]
fn roles_that_a_branch_brings_in_give_its_events_no_other_precedence() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "feature"]).text();
    let note = json!({"type": "note", "content": "mine counts more"});
    let roles = room.store().join("roles.yml");
    fs::write(&roles, ROLES).unwrap();
    forge(&room, &task, "ContextAdded", note.clone(), json!({"precedence": 900}));
    room.git(&["add", "-A"]).text();
    let staged = room.run(&["lint", "--staged"]);
    assert!(staged.stdout.contains("records precedence 900") && staged.code == 1, "{staged:?}");
    refused(&room, &["\"bob\" has no precedence by the roles of"]);
    // What they give passes, also what an earlier commit of the branch gave.
    room.git(&["reset", "-q", "--hard", "main"]).text();
    fs::write(&roles, ROLES).unwrap();
    forge(&room, &task, "ContextAdded", note, json!({"id": "01ZZZZZZZZ0000000000000009"}));
    commit(&room, "roles");
    fs::write(&roles, ROLES.replace("precedence: 5", "precedence: 3")).unwrap();
    passes(&room);
    fs::remove_file(&roles).unwrap();
    passes(&room);
}

#[test]
fn a_branch_drops_no_task_that_its_base_got_since() {
    let (room, task) = begun();
    let since = room.task("made since", &[]);
    commit(&room, "another task");
    switch(&room, "feature");
    let record = json!({"archive": "archive/2026-03.jsonl", "at": "2026-11-20T10:00:00Z", "by": "ada", "events": 1,
        "bytes": 1, "sha256": "00", "tasks": [since]});
    fs::create_dir_all(room.store().join("archive")).unwrap();
    fs::write(room.store().join("archive/dropped.jsonl"), format!("{record}\n")).unwrap();
    room.run_as("bob", &["note", &task, "--content", "a word"]).data();
    refused(&room, &["the branch records it as dropped"]);
}

#[test]
fn releasing_a_lease_that_the_log_does_not_know_needs_a_right() {
    let unknown = json!({"lease": "01ZZZZZZZZ0000000000000042"});
    let (room, task) = begun();
    switch(&room, "feature");
    forge(&room, &task, "LeaseReleased", unknown.clone(), json!({}));
    refused(&room, &["\"bob\" may not claim"]);
    // It may have been granted on another branch, to an agent that may claim.
    room.git(&["reset", "-q", "--hard", "main"]).text();
    forge(&room, &task, "LeaseReleased", unknown, json!({"agent": "carol", "precedence": 30}));
    passes(&room);
}

#[test]
fn claiming_needs_the_rights_of_the_base() {
    for needs in [["--need-perm", "review"], ["--need-precedence", "40"]] {
        let room = Sandbox::new();
        let task = room.task("for few", &needs);
        fs::write(room.store().join("roles.yml"), ROLES).unwrap();
        commit(&room, "base");
        room.git(&["switch", "-q", "-c", "feature"]).text();
        let roles = ROLES.replace("complete], precedence: 30", "complete, review], precedence: 50");
        fs::write(room.store().join("roles.yml"), &roles).unwrap();
        room.run_as("carol", &["claim", &task]).data();
        let said = errors(&room);
        assert!(said.iter().any(|said| said.contains("\"carol\" takes") && said.contains("which needs")), "{said:#?}");
        // Once the base says so, it is permitted.
        switch(&room, "main");
        fs::write(room.store().join("roles.yml"), &roles).unwrap();
        commit(&room, "carol may");
        switch(&room, "feature");
        passes(&room);
    }
}

#[test]
fn an_event_has_the_id_of_no_event_of_another_log() {
    let (room, task) = begun();
    let other = room.task("another", &[]);
    commit(&room, "another");
    let taken = events(&room, &other).last().unwrap()["id"].clone();
    switch(&room, "feature");
    let note = json!({"type": "note", "content": "a word"});
    forge(&room, &task, "ContextAdded", note.clone(), json!({"id": taken}));
    refused(&room, &["event-id-conflict: event"]);
    // The same within one branch; there lint sees it without a base too.
    room.git(&["reset", "-q", "--hard", "main"]).text();
    for log in [&task, &other] {
        forge(&room, log, "ContextAdded", note.clone(), json!({"id": "01ZZZZZZZZ0000000000000077"}));
    }
    refused(&room, &["has the id of an event of task/"]);
    // The roles name an agent that has written nothing.
    assert_eq!(room.finding_codes(), ["agent-unregistered", "event-id-conflict"]);
}

#[test]
fn an_empty_entry_under_the_id_of_another_event_does_not_stand_for_it() {
    let (room, task) = begun();
    let taken = events(&room, &task).last().unwrap().clone();
    switch(&room, "feature");
    let same = json!({"id": taken["id"], "lamport": taken["lamport"], "parents": taken["parents"]});
    forge(&room, &task, "ContextAdded", json!({"type": "note", "content": ""}), same);
    forge(&room, &task, "ContextRedacted", json!({"entry": taken["id"]}), json!({}));
    let said = errors(&room);
    assert!(said.iter().any(|said| said.contains("event-id-conflict")), "{said:#?}");
}

#[test]
fn runtime_state_and_archives_that_come_with_a_commit_are_looked_into() {
    let (room, task) = begun();
    switch(&room, "feature");
    let (local, archive) = (room.store().join(".local"), room.store().join("archive"));
    fs::create_dir_all(&local).unwrap();
    fs::create_dir_all(&archive).unwrap();
    let secret = room.beside("a file of another kind");
    fs::write(&secret, "untouched").unwrap();
    std::os::unix::fs::symlink(&secret, local.join("index.db")).unwrap();
    fs::write(local.join("journal.jsonl"), "{\"forged\":true}\n").unwrap();
    fs::write(archive.join("2026-11.jsonl"), "no event\n").unwrap();
    fs::write(archive.join("hidden.jsonl"), "anything\n").unwrap();
    room.git(&["add", "-Af"]).text();
    let staged = room.run(&["lint", "--staged"]).json()["data"]["errors"].clone();
    room.git(&["commit", "-q", "--no-verify", "-m", "a place of its own"]).text();
    let read = |args: &[&str]| {
        let answer = room.run(args);
        let findings = answer.json()["data"]["findings"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
        findings.iter().filter(|f| f["severity"] == "error").map(|f| f["path"].as_str().unwrap().to_owned()).collect()
    };
    let review: Vec<String> = read(&["review", "main..HEAD"]);
    for lint in [&["lint"][..], &["lint", "--base", "main"]] {
        let lint: Vec<String> = read(lint);
        for path in [".agentpm/.local", ".agentpm/archive/2026-11.jsonl", ".agentpm/archive/hidden.jsonl"] {
            assert!(lint.iter().any(|found| found == path), "{path}: {lint:?}");
            assert!(review.iter().any(|found| found.starts_with(path)), "{path}: {review:?}");
        }
    }
    assert_eq!(staged, 4);
    // Questions are answered without it, and changes are refused.
    assert_eq!(room.run(&["ls"]).data()["total"], 1);
    room.run(&["note", &task, "--content", "x"]).error("ERR_CORRUPT", 8);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "untouched");
    assert!(fs::symlink_metadata(local.join("index.db")).unwrap().is_symlink());
    assert_eq!(fs::read_dir(&local).unwrap().count(), 2);
}

/// A plan in which bob may work too, with one task, as the base has it, and the branch checked out.
fn at_work(flags: &[&str], prepare: impl Fn(&Sandbox, &str)) -> (Sandbox, String) {
    let room = Sandbox::new();
    let roles = ROLES.replace("comment, create", "claim, complete, update, comment, create, archive, relate");
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    let task = room.task("the task", flags);
    prepare(&room, &task);
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "feature"]).text();
    (room, task)
}

pub fn grant(holder: &str, fence: u64) -> Value {
    let lease = format!("01ZZZZZZZZ00000000000001{fence:02}");
    json!({"lease": lease, "holder": holder, "fence": fence, "expires_at": "2026-11-20T11:00:00Z"})
}

#[test]
fn an_event_has_parents_that_come_before_it() {
    let (own, unknown) = ("01ZZZZZZZZ0000000000000003", "01ZZZZZZZZ0000000000000099");
    for (parents, code) in [
        (json!([]), "event-parents"),
        (json!(false), "event-parents"),
        (json!([own]), "event-parents"),
        (json!([unknown]), "log-gap"),
    ] {
        let (room, task) = at_work(&[], |room, task| {
            room.run(&["claim", task]).data();
        });
        let more = json!({"parents": if parents == false { Value::Null } else { parents }});
        assert_eq!(events(&room, &task).len(), 3);
        forge(&room, &task, "TaskStatusChanged", json!({"from": "in_progress", "to": "completed"}), more);
        let said = errors(&room);
        assert!(said.iter().any(|said| said.starts_with(code)), "{said:#?}");
        assert!(room.finding_codes().contains(&code.to_owned()));
        // A commit that takes it back does not keep healing from bringing it in.
        room.git(&["revert", "--no-edit", "HEAD"]).text();
        let said = errors(&room);
        assert!(said.iter().any(|s| s.starts_with(code) && s.contains("it comes back")), "{said:#?}");
    }
}

#[test]
fn an_event_has_no_parent_that_comes_later() {
    let (room, task) = at_work(&[], |room, task| {
        room.run(&["claim", task]).data();
    });
    let all = events(&room, &task);
    let note = json!({"type": "note", "content": "a word"});
    forge(&room, &task, "ContextAdded", note, json!({"parents": [all[2]["id"]], "lamport": 2}));
    refused(&room, &["event-parents: event 01ZZZZZZZZ0000000000000003 names"]);
}

#[test]
fn a_second_creation_hides_nothing_from_those_that_follow_it() {
    let (room, task) = at_work(&["--need-perm", "review"], |_, _| {});
    forge(&room, &task, "TaskCreated", json!({"title": "mine"}), json!({"parents": null}));
    forge(&room, &task, "LeaseAcquired", grant("bob", 1), json!({}));
    let said = errors(&room);
    assert!(said.iter().any(|said| said.contains("which needs the right \"review\"")), "{said:#?}");
}

#[test]
fn a_completion_names_the_checks_that_it_overrides() {
    let force = json!({"from": "in_progress", "to": "completed"});
    let (room, task) = at_work(&["--acceptance", "it works"], |_, _| {});
    room.run_as("bob", &["claim", &task]).data();
    forge(&room, &task, "TaskStatusChanged", force.clone(), json!({"fence": 1}));
    refused(&room, &["\"bob\" may not override"]);
    // Once the criterion is met it is a completion like any other.
    room.git(&["reset", "-q", "--hard", "main"]).text();
    room.run_as("bob", &["claim", &task]).data();
    room.run_as("bob", &["done", &task, "--all-met"]).data();
    passes(&room);
    // A blocker that was never finished.
    let (room, task) = at_work(&[], |room, task| {
        room.run(&["task", "block", task, "--by", &room.task("the blocker", &[])]).data();
    });
    let begins = json!({"from": "blocked", "to": "in_progress", "owner": "bob"});
    forge(&room, &task, "TaskStatusChanged", begins, json!({}));
    refused(&room, &["\"bob\" may not override"]);
    forge(&room, &task, "TaskStatusChanged", force, json!({}));
    let said = errors(&room);
    assert!(said.iter().any(|said| said.contains("so do 1 more of its new events")), "{said:#?}");
}

#[test]
fn a_move_that_no_command_makes_is_refused() {
    let moved = |from: &str, to: &str| ("TaskStatusChanged", json!({"from": from, "to": to}));
    let begun = ("TaskStatusChanged", json!({"from": "open", "to": "in_progress", "owner": "ada"}));
    for (begin, event) in [
        (&[][..], moved("in_progress", "completed")),
        (&[], ("TaskArchived", json!({"from": "completed"}))),
        (&[], ("TaskReopened", json!({"from": "completed", "to": "open"}))),
        (&["task", "transition", "TASK", "--status", "cancelled"], moved("in_progress", "completed")),
        (&["task", "transition", "TASK", "--status", "cancelled"], moved("blocked", "open")),
        (&["task", "transition", "TASK", "--status", "cancelled"], begun),
    ] {
        let (room, task) = at_work(&[], |room, task| {
            let args: Vec<&str> = begin.iter().map(|arg| if *arg == "TASK" { task } else { arg }).collect();
            if !args.is_empty() {
                room.run(&args).data();
            }
        });
        forge(&room, &task, event.0, event.1.clone(), json!({"agent": "ada", "precedence": 20}));
        refused(&room, &["which no command does"]);
    }
}

#[test]
fn reverted_and_repeated_commands_are_permitted() {
    let (room, task) = at_work(&["--acceptance", "it works"], |_, _| {});
    let last = |kind: &str| {
        let all = events(&room, &task);
        let event = all.iter().rev().find(|event| event["type"] == kind).unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    let as_bob = |args: &[&str]| {
        room.run_as("bob", args).data();
    };
    as_bob(&["claim", &task]);
    room.run(&["task", "verify", &task, "--all", "--override", "I looked"]).data();
    as_bob(&["done", &task]);
    as_bob(&["task", "reopen", &task, "--reason", "not yet"]);
    as_bob(&["undo", &last("TaskReopened")]);
    assert_eq!(room.get(&task)["status"], "completed");
    as_bob(&["task", "archive", &task]);
    as_bob(&["undo", &last("TaskArchived")]);
    as_bob(&["task", "archive", &task]);
    as_bob(&["task", "reopen", &task, "--reason", "not yet"]);
    as_bob(&["undo", &last("TaskReopened")]);
    assert_eq!(room.get(&task)["status"], "archived");
    passes(&room);
}

#[test]
fn work_in_progress_is_guarded_without_a_lease() {
    let begun = |room: &Sandbox, task: &str| {
        room.run_as("carol", &["claim", task]).data();
        room.run_as("carol", &["lease", "release", task]).data();
    };
    for (kind, payload, fence) in [
        ("TaskUpdated", json!({"set": {"owner": "bob"}}), None),
        ("TaskUpdated", json!({"set": {"owner": "bob"}}), Some(1)),
        ("TaskUpdated", json!({"set": {"title": "mine"}}), None),
        ("LeaseAcquired", grant("bob", 2), Some(2)),
    ] {
        let (room, task) = at_work(&[], begun);
        let fence = fence.map_or(Value::Null, |fence| json!(fence));
        forge(&room, &task, kind, payload, json!({"fence": fence}));
        refused(&room, &["\"bob\" may not override"]);
    }
    // What nothing was heard of for long enough is left.
    let (room, task) = at_work(&[], |room, task| {
        let of_carol = |minute: u8| {
            let at = format!("2026-11-20T10:{minute:02}:00Z");
            json!({"agent": "carol", "precedence": 30, "fence": 1, "at": at})
        };
        forge(room, task, "LeaseAcquired", grant("carol", 1), of_carol(1));
        let began = json!({"from": "open", "to": "in_progress", "owner": "carol"});
        forge(room, task, "TaskStatusChanged", began, of_carol(1));
        forge(room, task, "LeaseReleased", json!({"lease": grant("", 1)["lease"]}), of_carol(2));
    });
    let later = json!({"fence": 2, "at": "2026-11-20T10:17:00Z"});
    forge(&room, &task, "LeaseAcquired", grant("bob", 2), later.clone());
    forge(&room, &task, "TaskUpdated", json!({"set": {"owner": "bob"}}), later);
    passes(&room);
    // A lease that was given back is none.
    let (room, task) = at_work(&[], |room, task| {
        room.run_as("bob", &["claim", task]).data();
        room.run_as("bob", &["release", task]).data();
        room.run_as("carol", &["task", "transition", task, "--status", "in_progress"]).data();
    });
    forge(&room, &task, "TaskUpdated", json!({"set": {"owner": "bob"}}), json!({"fence": 1}));
    refused(&room, &["\"bob\" may not override"]);
}

#[test]
fn a_lease_is_taken_for_another_by_an_override() {
    let (room, task) = at_work(&[], |_, _| {});
    forge(&room, &task, "LeaseAcquired", grant("carol", 1), json!({"fence": 1}));
    refused(&room, &["\"bob\" may not override"]);
}

#[test]
fn an_update_hands_no_task_to_an_agent_that_lacks_what_it_needs() {
    let (room, task) = at_work(&[], |room, task| {
        room.run(&["claim", task]).data();
        room.run(&["task", "update", task, "--need-precedence", "10"]).data();
    });
    room.run(&["task", "update", &task, "--owner", "bob"]).error("ERR_UNAUTHORIZED", 6);
    room.run(&["task", "update", &task, "--owner", "carol"]).data();
    passes(&room);
    let given = json!({"set": {"owner": "bob"}});
    forge(&room, &task, "TaskUpdated", given, json!({"agent": "ada", "precedence": 20, "fence": 1}));
    refused(&room, &["\"bob\" takes"]);
}

#[test]
fn an_event_without_effect_hides_no_lease() {
    let (room, task) = at_work(&[], |room, task| {
        room.run_as("carol", &["claim", task]).data();
    });
    forge(&room, &task, "ProgressItemCompleted", json!({"item": "01ZZZZZZZZ0000000000000098"}), json!({}));
    forge(&room, &task, "TaskUpdated", json!({"set": {"title": "mine"}}), json!({}));
    refused(&room, &["\"bob\" may not override"]);
}

#[test]
fn an_end_under_a_lease_that_its_author_saw_pass_to_another_asks_for_an_override() {
    let (room, task) = at_work(&[], |room, task| {
        room.run_as("bob", &["claim", task]).data();
        forge(
            room,
            task,
            "LeaseAcquired",
            grant("carol", 2),
            json!({"agent": "carol", "precedence": 30, "fence": 2, "at": "2026-11-20T10:50:00Z"}),
        );
    });
    forge(
        &room,
        &task,
        "TaskStatusChanged",
        json!({"from": "in_progress", "to": "completed"}),
        json!({"fence": 1, "at": "2026-11-20T10:55:00Z"}),
    );
    refused(&room, &["\"bob\" may not override"]);
}

#[test]
fn an_earlier_completion_permits_no_backdated_event() {
    let at = "2026-11-20T10:05:00Z";
    let (room, task) = at_work(&["--acceptance", "it works"], |room, task| {
        room.run_as("bob", &["claim", task]).data();
        let completed = json!({"from": "in_progress", "to": "completed", "forced": ["acceptance"]});
        forge(room, task, "TaskStatusChanged", completed, json!({"fence": 1, "at": at}));
    });
    forge(&room, &task, "AcceptanceMet", json!({"criterion": "it works", "met": true}), json!({"at": at}));
    refused(&room, &["\"bob\" may not verify"]);
}

#[test]
fn what_git_does_with_the_files_of_the_store_is_among_the_rules() {
    for name in [".gitattributes", ".gitignore"] {
        for new in [None, Some("*.jsonl merge=ours\n")] {
            let (room, _) = begun();
            switch(&room, "feature");
            let path = room.store().join(name);
            assert!(fs::read_to_string(&path).unwrap().lines().count() > 0);
            match new {
                None => fs::remove_file(&path).unwrap(),
                Some(text) => fs::write(&path, text).unwrap(),
            }
            commit(&room, "other rules");
            let found = room.run(&["lint", "--base", "main"]).json()["data"]["findings"].clone();
            let found = found.as_array().unwrap().iter().find(|f| f["code"] == "rules-changed");
            let said = found.unwrap_or_else(|| panic!("{name} {new:?}"))["message"].as_str().unwrap();
            assert!(
                said.contains("loses") && said.contains(if new.is_none() { "removes it" } else { "gains" }),
                "{said}"
            );
            let review = room.run(&["review", "main..HEAD", "--fail-on", "settings"]);
            assert_eq!((review.code, &review.json()["data"]["failed"]), (1, &json!(["settings"])), "{review:?}");
        }
    }
}

#[test]
fn a_role_that_an_agent_registers_with_is_a_changed_setting() {
    let room = Sandbox::new();
    let roles = "agents: {ada: {perms: [admin]}}\nroles:\n  reviewer: {perms: [verify]}\n";
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "feature"]).text();
    room.run(&["agent", "register", "--name", "eve", "--role", "reviewer"]).data();
    commit(&room, "the branch");
    let review = room.run(&["review", "main..HEAD", "--fail-on", "settings"]);
    assert_eq!((review.code, &review.json()["data"]["failed"]), (1, &json!(["settings"])), "{review:?}");
}

#[test]
fn a_repository_of_its_own_lies_nowhere_in_the_store() {
    for below in [".local", "archive", "agents/eve", "tasks/A"] {
        let (room, _) = begun();
        switch(&room, "feature");
        let head = room.git(&["rev-parse", "HEAD"]).text().trim().to_owned();
        let path = format!(".agentpm/{below}");
        room.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},{path}")]).text();
        room.git(&["commit", "-q", "--no-verify", "-m", "a repository"]).text();
        for args in [&["lint"][..], &["lint", "--base", "main"], &["review", "main..HEAD", "--fail-on", "error"]] {
            let answer = room.run(args);
            let findings = answer.json()["data"]["findings"].clone();
            let is_named = |f: &Value| f["code"] == "odd-file" && f["path"] == path.as_str();
            assert!(answer.code == 1 && findings.as_array().unwrap().iter().any(is_named), "{args:?} {answer:?}");
        }
    }
}

#[test]
fn an_event_that_is_dated_ahead_ends_no_lease() {
    let (room, task) = at_work(&[], |room, task| {
        room.run_as("carol", &["claim", task]).data();
    });
    let ahead = json!({"fence": 2, "at": "2036-11-20T10:05:00Z"});
    forge(&room, &task, "LeaseAcquired", grant("bob", 2), ahead);
    refused(&room, &["\"bob\" may not override"]);
}

#[test]
fn a_lease_runs_out_within_the_time_that_commands_give() {
    let (room, task) = at_work(&[], |_, _| {});
    let mut long = grant("bob", 1);
    long["expires_at"] = json!("2036-11-20T10:05:00Z");
    forge(&room, &task, "LeaseAcquired", long, json!({"fence": 1}));
    refused(&room, &["\"bob\" holds task/"]);
}

#[test]
fn a_task_that_is_held_is_not_related_by_others() {
    let (room, task) = at_work(&[], |room, task| {
        room.task("another", &[]);
        room.run(&["claim", task]).data();
    });
    let all = room.run(&["ls"]).data()["items"].clone();
    let other = all.as_array().unwrap().iter().find(|item| item["id"] != task.as_str()).unwrap()["id"].clone();
    let edge = json!({"type": "relates_to", "from": task, "to": other});
    forge(&room, &task, "RelationshipAdded", edge, json!({}));
    refused(&room, &["\"bob\" may not override"]);
}

#[test]
fn a_verification_of_met_criteria_passes_the_gate() {
    let (room, task) = at_work(&["--acceptance", "it works"], |_, _| {});
    forge(&room, &task, "TaskVerified", json!({"passed": true}), json!({"agent": "ada", "precedence": 20}));
    passes(&room);
    room.git(&["reset", "-q", "--hard", "main"]).text();
    let roles = fs::read_to_string(room.store().join("roles.yml")).unwrap().replace("complete, update", "verify");
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    room.git(&["commit", "-qam", "bob may verify", "--no-verify"]).text();
    room.git(&["branch", "-f", "main"]).text();
    forge(&room, &task, "TaskVerified", json!({"passed": true}), json!({"id": "01ZZZZZZZZ0000000000000055"}));
    refused(&room, &["\"bob\" may not override"]);
}

#[test]
fn an_end_without_effect_finishes_no_blocker() {
    let (room, task) = at_work(&[], |room, task| {
        room.run(&["task", "block", task, "--by", &room.task("the blocker", &[])]).data();
    });
    let blocker = room.get(&task)["relationships"][0]["from"].as_str().unwrap().to_owned();
    forge(&room, &blocker, "TaskStatusChanged", json!({"from": "open", "to": "archived"}), json!({}));
    let begins = json!({"from": "blocked", "to": "in_progress", "owner": "bob"});
    forge(&room, &task, "TaskStatusChanged", begins, json!({"id": "01ZZZZZZZZ0000000000000055"}));
    refused(&room, &["\"bob\" may not override"]);
}

#[test]
fn archiving_does_not_excuse_a_completion_with_unfinished_children() {
    let (room, task) = at_work(&[], |room, task| {
        room.run_as("bob", &["task", "transition", task, "--status", "in_progress"]).data();
        room.task("its part", &["--parent", task]);
    });
    let completed = json!({"from": "in_progress", "to": "completed"});
    forge(&room, &task, "TaskStatusChanged", completed, json!({}));
    let archived = json!({"from": "completed", "completed_at": "2026-11-20T10:05:00Z"});
    forge(&room, &task, "TaskArchived", archived, json!({}));
    refused(&room, &["completed-early: it is completed despite 1 unfinished child"]);
}

/// A plan with one task, in the state that the commands leave, and a branch on which bob may do what the roles say.
fn ended(perms: &str, prepare: impl Fn(&Sandbox, &str)) -> (Sandbox, String) {
    let room = Sandbox::new();
    fs::write(room.store().join("roles.yml"), ROLES.replace("comment, create", perms)).unwrap();
    let task = room.task("the task", &["--acceptance", "it works"]);
    prepare(&room, &task);
    commit(&room, "base");
    room.git(&["switch", "-qc", "feature"]).text();
    (room, task)
}

fn completed(room: &Sandbox, task: &str) {
    room.run(&["claim", task]).data();
    room.run(&["done", task, "--all-met"]).data();
}

#[test]
fn an_archived_task_comes_back_as_it_was_closed() {
    let (room, task) = ended("cancel", |room, task| {
        completed(room, task);
        room.run(&["task", "archive", task]).data();
    });
    forge(&room, &task, "TaskStatusChanged", json!({"from": "archived", "to": "cancelled"}), json!({}));
    refused(&room, &["from archived to cancelled"]);

    let (room, task) = ended("complete", |room, task| {
        room.run(&["task", "transition", task, "--status", "cancelled"]).data();
        room.run(&["task", "archive", task]).data();
    });
    forge(&room, &task, "TaskStatusChanged", json!({"from": "archived", "to": "completed"}), json!({}));
    refused(&room, &["from archived to completed"]);
}

#[test]
fn an_archive_keeps_the_end_of_its_task() {
    for end in
        [json!({}), json!({"completed_at": "2001-01-01T00:00:00Z"}), json!({"cancelled_at": "2026-01-01T00:00:00Z"})]
    {
        let (room, task) = ended("archive, cancel, complete", completed);
        let mut archived = json!({"from": "completed"});
        archived.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
        forge(&room, &task, "TaskArchived", archived, json!({}));
        refused(&room, &["with another end than it had"]);
    }
    let (room, task) = ended("archive", completed);
    room.run_as("bob", &["task", "archive", &task]).data();
    passes(&room);
}

#[test]
fn a_status_that_a_task_has_already_changes_nothing_else() {
    let (room, task) = ended("complete", completed);
    let again = json!({"from": "completed", "to": "completed", "owner": "bob"});
    forge(&room, &task, "TaskStatusChanged", again, json!({}));
    refused(&room, &["changes the owner of"]);

    let (room, task) = ended("complete", completed);
    let again = json!({"from": "completed", "to": "completed", "changed_at": "2001-01-01T00:00:00Z"});
    forge(&room, &task, "TaskStatusChanged", again, json!({}));
    refused(&room, &["changes the time of"]);
}

#[test]
fn a_right_to_relate_opens_no_task_again() {
    let (room, task) = ended("relate", completed);
    forge(&room, &task, "TaskReopened", json!({"from": "completed", "to": "open"}), json!({}));
    refused(&room, &["\"bob\" may not update"]);
}

#[test]
fn an_edge_bypasses_no_lease_by_saying_that_it_was_imported() {
    let (room, task) = ended("relate", |room, task| {
        room.task("the other", &[]);
        room.run(&["claim", task]).data();
    });
    let plan = room.run(&["ls"]).data();
    let other =
        plan["items"].as_array().unwrap().iter().find(|item| item["title"] == "the other").unwrap()["id"].clone();
    let edge = json!({"type": "blocks", "from": other, "to": task, "metadata": {"origin": 1}});
    forge(&room, &task, "RelationshipAdded", edge, json!({"at": "2099-01-01T00:00:00Z"}));
    assert!(errors(&room).iter().any(|error| error.contains("\"bob\" may not override")), "{:#?}", errors(&room));
}

#[test]
fn an_import_grants_no_lease_and_records_no_review() {
    let (room, _) = ended("create", |_, _| {});
    let task = "01K5R4XJ7Z0000000000000QQQ";
    let imported = json!({"title": "new", "metadata": {"origin": {"source": "x", "id": "1"}}});
    forge(&room, task, "TaskCreated", imported, json!({}));
    forge(&room, task, "TaskVerified", json!({"passed": true}), json!({}));
    refused(&room, &["\"bob\" may not verify"]);
}

#[test]
fn no_entry_supersedes_itself() {
    let (room, task) = ended("comment", |room, task| {
        room.run(&["context", "add", task, "--type", "decision", "--content", "decided"]).data();
    });
    let entry = room.get(&task)["context"][0]["id"].clone();
    forge(&room, &task, "ContextSuperseded", json!({"entry": entry, "by": entry}), json!({}));
    assert!(room.get(&task)["context"][0]["superseded_by"].is_null());
}
