//! Diverged replicas: what git guesses wrongly, what two plans break together, and who is warned.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, shard};
use crate::sync::{Clones, plan};

fn codes(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
}

/// Work on a side branch and on main, brought together by git without our driver, and put right.
fn apart(room: &Sandbox, side: impl Fn(), main: impl Fn(), merge: &[&str]) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "begin"]).text();
    room.git(&["switch", "-q", "-c", "side"]).text();
    side();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "side"]).text();
    room.git(&["switch", "-q", "main"]).text();
    main();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "main"]).text();
    let _ = room.git(&[&["merge", "-q", "--no-edit"], merge, &["side"]].concat());
    room.run(&["resolve"]).data();
    room.git(&["add", "-A"]).text();
    let _ = room.git(&["commit", "-q", "--no-edit"]);
}

#[test]
fn branches_that_touch_different_tasks_merge_clean_everywhere_even_in_a_bare_repository() {
    let room = Sandbox::new();
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "begin"]).text();
    for (branch, task) in [("a", &one), ("b", &two)] {
        room.git(&["switch", "-q", "-c", branch, "main"]).text();
        room.run(&["task", "update", task, "--title", branch]).data();
        room.task(&format!("new on {branch}"), &[]);
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "-m", branch]).text();
    }
    let bare = room.beside("bare.git").display().to_string();
    room.git(&["clone", "-q", "--bare", ".", &bare]).text();
    // As a hosting site does it: no work tree, no driver, no attributes of the repository.
    let tree = room.git_in(&room.beside("bare.git"), &["merge-tree", "--write-tree", "a", "b"]);
    let hosted = tree.text().to_owned();
    for driver in [true, false] {
        room.git(&["switch", "-q", "--detach", "a"]).text();
        let command = format!("'{}' merge-driver %O %A %B %P", env!("CARGO_BIN_EXE_agentpm"));
        let setting = if driver { format!("merge.agentpm.driver={command}") } else { "merge.x=y".to_owned() };
        room.git(&["-c", &setting, "merge", "-q", "--no-edit", "b"]).text();
        assert_eq!(room.git(&["rev-parse", "HEAD^{tree}"]).text(), hosted);
        room.is_clean();
    }
}

#[test]
fn a_hook_that_is_a_link_stays_one() {
    let room = Sandbox::new();
    let (hook, shared) = (room.repo().join(".git/hooks/pre-commit"), room.beside("shared-hook"));
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&shared, "#!/bin/sh\ntouch was-here\n").unwrap();
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(&shared, &hook).unwrap();
    let refused = room.run(&["init", "--hooks"]).error("ERR_GIT", 9);
    assert!(refused["message"].as_str().unwrap().contains("is a symbolic link"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("agentpm lint --staged"), "{refused}");
    assert_eq!(std::fs::read_link(&hook).unwrap(), shared);
    assert_eq!(std::fs::read_to_string(&shared).unwrap(), "#!/bin/sh\ntouch was-here\n");
}

#[test]
fn hooks_and_drivers_are_installed_on_request_and_work() {
    let room = Sandbox::new();
    std::fs::create_dir_all(room.repo().join(".git/hooks")).unwrap();
    let hook = room.repo().join(".git/hooks/pre-commit");
    std::fs::write(&hook, "#!/bin/sh\ntouch was-here\n").unwrap();
    let off = room.run(&["init", "--hooks"]).error("ERR_GIT", 9);
    assert!(off["message"].as_str().unwrap().contains("switched off"), "{off}");
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    room.run(&["init", "--hooks"]).data();
    let again = room.run(&["init", "--hooks"]).data();
    assert_eq!(again["created"], Value::Null, "doing it again changes nothing");
    let task = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "good"]).text();
    assert!(room.repo().join("was-here").exists(), "the hook that was there still runs");

    let yaml = room.yaml_of(&task);
    let text = std::fs::read_to_string(&yaml).unwrap();
    std::fs::write(&yaml, text.replace("status: open", "status: completed")).unwrap();
    let refused = room.git(&["commit", "-q", "-a", "-m", "bad"]);
    assert!(refused.code != 0 && refused.stderr.contains("task-yaml-edited"), "{refused:?}");
    std::fs::write(&yaml, text).unwrap();

    room.run(&["note", &task, "--content", "a word"]).data();
    let shown = room.git(&["diff", "--", ".agentpm"]);
    assert!(shown.text().contains("+2") || shown.text().contains("ada ContextAdded"), "{shown:?}");
    assert!(!shown.text().contains("\"lamport\""), "the log is shown as lines to read: {shown:?}");
}

#[test]
fn a_rename_that_git_guesses_gives_no_task_the_values_of_another() {
    for strategy in [&[][..], &["-X", "find-renames=20"], &["-X", "theirs"]] {
        for union in [true, false] {
            let room = Sandbox::new();
            if !union {
                std::fs::write(room.store().join(".gitattributes"), "* text eol=lf\n").unwrap();
            }
            let text = "the very same intent, long enough to make two files look alike ".repeat(20);
            let old = room.task("the old one", &["--intent", &text]);
            let new = std::cell::RefCell::new(String::new());
            apart(
                &room,
                || {
                    std::fs::remove_dir_all(room.task_dir(&old)).unwrap();
                    *new.borrow_mut() = room.task("the new one", &["--intent", &text]);
                },
                || {
                    drop(
                        room.run(&["task", "update", &old, "--title", "the old one, edited", "--priority", "4"]).data(),
                    )
                },
                strategy,
            );
            let (was, is) = (room.get(&old), room.get(&new.borrow()));
            assert_eq!((was["title"].clone(), was["priority"].clone()), (json!("the old one, edited"), json!(4)));
            assert_eq!((is["title"].clone(), is["priority"].clone()), (json!("the new one"), json!(0)));
            room.is_clean();
        }
    }
}

#[test]
fn a_folder_emptied_on_one_side_keeps_what_the_other_adds_to_it() {
    let room = Sandbox::new();
    let old = room.task("alone in its folder", &[]);
    let added = std::cell::RefCell::new(Vec::new());
    apart(
        &room,
        || {
            // Many tasks, so that some share the folder that is emptied, and git may take it for moved.
            std::fs::remove_dir_all(room.task_dir(&old)).unwrap();
            (0..3).for_each(|n| added.borrow_mut().push(room.task(&format!("elsewhere {n}"), &[])));
        },
        || {
            let twin = format!("01M7Z0000000000000000000{}", &old[old.len() - 2..]);
            let dir = room.task_dir(&twin);
            std::fs::create_dir_all(&dir).unwrap();
            let line = std::fs::read_to_string(room.log_of(&old))
                .unwrap()
                .replace(&format!("task/{old}"), &format!("task/{twin}"));
            let event: Value = serde_json::from_str(&line).unwrap();
            let line = line.replace(event["id"].as_str().unwrap(), "01M7Z1111111111111111111AA");
            std::fs::write(dir.join("events.jsonl"), line).unwrap();
            room.run(&["lint", "--fix"]).data();
            added.borrow_mut().push(twin);
        },
        &[],
    );
    for id in added.borrow().iter().chain([&old]) {
        assert_eq!(room.run(&["task", "get", id]).code, 0, "{id}");
    }
    room.is_clean();
}

#[test]
fn offline_clones_converge_whatever_their_clocks() {
    let mut winners = BTreeSet::new();
    for (ada, bob) in
        [("2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z"), ("2026-11-21T10:00:00Z", "2026-11-20T10:00:00Z")]
    {
        let (clones, task) = Clones::new(&["ada", "bob"]);
        let set = |name: &str, clock: &str| {
            let mut command = clones.room.agentpm_in(&clones.dir(name));
            command.env("AGENTPM_AGENT", name).env("AGENTPM_CLOCK", clock);
            command.args(["task", "update", &task, "--title", &format!("by {name}"), "--why", "it is so"]);
            assert!(command.output().unwrap().status.success());
        };
        // One writer has seen more than the other: that decides, and no clock.
        clones.run("ada", &["task", "create", "--title", "seen by ada alone"]).data();
        set("ada", ada);
        set("bob", bob);
        clones.run("ada", &["sync"]).data();
        let synced = clones.run("bob", &["sync"]).data();
        clones.run("ada", &["sync"]).data();
        assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
        let title = clones.run("ada", &["task", "get", &task]).data()["title"].clone();
        assert_eq!(clones.run("bob", &["task", "get", &task]).data()["title"], title);
        winners.insert(title.as_str().unwrap().to_owned());

        assert_eq!(synced["lost"][0]["field"], "title", "{synced:#}");
        let brief = clones.run("bob", &["brief", &task]).data();
        assert!(brief["lost_edits"][0].to_string().contains("by bob"), "{brief:#}");
        let lost = clones.run("bob", &["conflicts"]).data();
        let event = lost["items"][0]["lost"]["event"].as_str().unwrap().to_owned();
        clones.run("bob", &["conflicts", "restore", &event]).data();
        clones.run("bob", &["sync"]).data();
        clones.run("ada", &["sync"]).data();
        assert_eq!(clones.run("ada", &["task", "get", &task]).data()["title"], "by bob");
        assert_eq!(clones.run("ada", &["conflicts"]).data()["items"], json!([]));
    }
    assert_eq!(winners, BTreeSet::from(["by ada".to_owned()]));
}

#[test]
fn invariants_broken_by_a_merge_resolve_alike_and_are_named() {
    let (clones, _) = Clones::new(&["ada", "bob"]);
    let add = |title: &str| clones.run("ada", &["task", "create", "--title", title, "--quiet"]).text().to_owned();
    let (one, two, owned, done, late) = (add("one"), add("two"), add("owned"), add("done"), add("late blocker"));
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();

    clones.run("ada", &["task", "block", &one, "--by", &two]).data();
    clones.run("bob", &["task", "block", &two, "--by", &one]).data();
    clones.run("ada", &["claim", &owned]).data();
    clones.run("bob", &["claim", &owned]).data();
    clones.run("ada", &["claim", &done]).data();
    clones.run("ada", &["done", &done]).data();
    clones.run("bob", &["task", "block", &done, "--by", &late]).data();
    for name in ["ada", "bob", "ada"] {
        clones.run(name, &["sync"]).data();
    }
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));

    let lints = ["ada", "bob"].map(|name| clones.run(name, &["lint"]).json()["data"].clone());
    assert_eq!(lints[0]["findings"], lints[1]["findings"]);
    let named = codes(&lints[0]);
    for rule in ["cycle-blocks", "several-owners", "completed-early"] {
        assert!(named.contains(rule), "{rule} is not in {named:?}");
    }
    let ready = |name: &str| clones.run(name, &["ready", "--explain"]).data();
    let items = |data: &Value| -> BTreeSet<String> {
        data["items"].as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap().to_owned()).collect()
    };
    let (seen_by_ada, seen_by_bob) = (ready("ada"), ready("bob"));
    // Of the circle just the later edge does not count, so one of the two is ready, and the same one for both.
    let both: BTreeSet<String> = [one.clone(), two.clone()].into();
    assert_eq!(items(&seen_by_ada).intersection(&both).count(), 1, "{seen_by_ada:#}");
    let free = |data: &Value| items(data).intersection(&both).cloned().collect::<Vec<_>>();
    assert_eq!(free(&seen_by_ada), free(&seen_by_bob));
    assert!(seen_by_ada["void_edges"].as_array().is_some_and(|edges| !edges.is_empty()), "{seen_by_ada:#}");

    let owners = ["ada", "bob"].map(|name| clones.run(name, &["task", "get", &owned]).data()["owner"].clone());
    assert_eq!(owners[0], owners[1]);
    let states = ["ada", "bob"].map(|name| clones.run(name, &["task", "get", &done]).data()["status"].clone());
    assert_eq!(states[0], states[1]);
    let lost = clones.run("ada", &["conflicts", &owned]).data();
    assert!(lost["items"].as_array().unwrap().iter().any(|item| item["field"] == "owner"), "{lost:#}");
}

#[test]
fn events_are_pulled_from_a_cursor_pushed_and_watched() {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    clones.run("ada", &["note", &task, "--content", "one"]).data();
    let first = clones.run("ada", &["sync", "pull"]).data();
    assert_eq!(first["total"], 2, "{first:#}");
    let cursor = first["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(clones.run("ada", &["sync", "pull", "--since-event-id", &cursor]).data()["items"], json!([]));

    // What comes by git arrives after the cursor, however old it is.
    clones.run("bob", &["task", "update", &task, "--priority", "1"]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("ada", &["sync"]).data();
    let more = clones.run("ada", &["sync", "pull", "--since-event-id", &cursor]).data();
    let kinds: Vec<&str> = more["items"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["TaskUpdated"]);

    // The same by hand: a third replica that shares no remote.
    let room = Sandbox::new();
    let all = clones.run("ada", &["sync", "pull"]).data();
    std::fs::write(room.beside("events.json"), all["items"].to_string()).unwrap();
    let file = room.beside("events.json").display().to_string();
    let taken = room.run(&["sync", "push", "--file", &file]).data();
    assert_eq!(taken["taken"], 3);
    assert_eq!(room.run(&["sync", "push", "--file", &file]).data()["taken"], 0);
    let same = |path: &str| {
        std::fs::read(clones.dir("ada").join(path)).unwrap() == std::fs::read(room.repo().join(path)).unwrap()
    };
    let folder = format!(".agentpm/tasks/{}/{task}", shard(&task));
    assert!(same(&format!("{folder}/events.jsonl")) && same(&format!("{folder}/task.yaml")));
    room.is_clean();

    // Another form of JSON says the same, and is written as agentpm writes it; what is not understood stays as it came.
    let spaced = all["items"].to_string().replace("\":", "\": ").replace(",\"", ", \"");
    let answer = room.feed(&["sync", "push", "--file", "-"], spaced.as_bytes()).data();
    assert_eq!((&answer["taken"], &answer["known"]), (&json!(0), &json!(3)));
    let third = Sandbox::new();
    let strange = r#"{"v": 1, "id":"01K5R4XJ7Z0000000000000009","lamport":9,"type":"TaskSung", "entity":"task/TASK","parents":["HEAD"],"agent":"x","at":"2026-11-20T10:00:00Z","payload":{ }}"#;
    let head = all["items"].as_array().unwrap().iter().max_by_key(|event| event["lamport"].as_u64()).unwrap();
    let strange = strange.replace("TASK\"", &format!("{task}\"")).replace("HEAD", head["id"].as_str().unwrap());
    let given = format!("{},{strange}]", spaced.trim_end_matches(']'));
    assert_eq!(third.feed(&["sync", "push", "--file", "-"], given.as_bytes()).data()["taken"], 4);
    let [ours, theirs] = [room.log_of(&task), third.log_of(&task)].map(|log| std::fs::read_to_string(log).unwrap());
    assert_eq!(theirs, format!("{ours}{strange}\n"));
    assert_eq!(third.feed(&["sync", "push", "--file", "-"], given.as_bytes()).data()["known"], 4);

    let created = all["items"].as_array().unwrap().iter().find(|e| e["type"] == "TaskCreated").unwrap();
    let forged = created.to_string().replace("shared", "forged");
    let answer = room.feed(&["sync", "push", "--file", "-"], forged.as_bytes());
    answer.error("ERR_VALIDATION", 4);
    assert_eq!(room.get(&task)["title"], "shared");

    let watched = room.run(&["watch", "--since", all["items"][0]["id"].as_str().unwrap(), "--count", "2"]);
    assert_eq!(watched.text().lines().count(), 2);
    let watched = room.run(&["watch", "--for", "50ms"]);
    assert_eq!(watched.text(), "");
}

#[test]
fn a_pushed_event_has_the_id_of_no_event_of_another_log() {
    let room = Sandbox::new();
    let (task, other) = (room.task("the task", &[]), room.task("another", &[]));
    room.run(&["task", "update", &other, "--priority", "1"]).data();
    let before = std::fs::read_to_string(room.log_of(&task)).unwrap();
    let created: Value = serde_json::from_str(before.lines().next().unwrap()).unwrap();
    let note = |id: &Value, task: &str, parent: &Value| {
        json!({"v": 1, "id": id, "lamport": 90, "type": "ContextAdded", "entity": format!("task/{task}"),
            "parents": [parent], "agent": "eve", "at": "2026-11-20T10:00:00Z",
            "payload": {"type": "note", "content": "a word"}})
    };
    for line in std::fs::read_to_string(room.log_of(&other)).unwrap().lines() {
        let taken = &serde_json::from_str::<Value>(line).unwrap()["id"];
        let given = note(taken, &task, &created["id"]).to_string();
        let refused = room.feed(&["sync", "push", "--file", "-"], given.as_bytes()).error("ERR_VALIDATION", 4);
        assert!(refused["message"].as_str().unwrap().contains("has the id of an event of task/"), "{refused}");
    }
    // The same among the events that are given.
    let head =
        &serde_json::from_str::<Value>(std::fs::read_to_string(room.log_of(&other)).unwrap().lines().last().unwrap())
            .unwrap()["id"];
    let id = json!("01ZZZZZZZZ0000000000000077");
    let given = json!([note(&id, &task, &created["id"]), note(&id, &other, head)]).to_string();
    room.feed(&["sync", "push", "--file", "-"], given.as_bytes()).error("ERR_VALIDATION", 4);
    assert_eq!(std::fs::read_to_string(room.log_of(&task)).unwrap(), before);
}

#[test]
fn watch_shows_local_and_fetched_events() {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let last = clones.run("ada", &["sync", "pull"]).data()["next_cursor"].as_str().unwrap().to_owned();
    let mut watch = clones.room.agentpm_in(&clones.dir("ada"));
    watch.args(["watch", "--since", &last, "--count", "2", "--for", "120s"]).stdout(std::process::Stdio::piped());
    let watching = watch.spawn().unwrap();
    clones.run("ada", &["note", &task, "--content", "written here"]).data();
    clones.run("bob", &["note", &task, "--content", "brought by git"]).data();
    clones.run("bob", &["sync"]).data();
    clones.git("ada", &["add", "-A"]).text();
    clones.git("ada", &["commit", "-q", "-m", "plan"]).text();
    let _ = clones.git("ada", &["pull", "-q", "--no-rebase", "--no-edit"]);
    let seen = crate::sandbox::Answer::from(watching.wait_with_output().unwrap());
    assert!(seen.text().contains("written here") && seen.text().contains("brought by git"), "{seen:?}");
}

#[test]
fn a_redacted_text_is_shown_nowhere() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    let entry = room.run(&["note", &task, "--content", "the SECRET word", "--quiet"]).text().to_owned();
    let before = room.run(&["sync", "pull"]);
    assert!(before.text().contains("SECRET"));
    room.run(&["context", "redact", &entry, "--reason", "a secret"]).data();
    for args in [&["sync", "pull"][..], &["sync", "pull", "--limit", "2"]] {
        assert!(!room.run(args).text().contains("SECRET"));
    }
}

#[test]
fn a_pushed_lease_stays_that_of_the_other_clone_when_records_are_projected_again() {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    clones.run("ada", &["claim", &task]).data();
    let all = clones.run("ada", &["sync", "pull"]).data();
    let file = clones.dir("events.json");
    std::fs::write(&file, all["items"].to_string()).unwrap();
    clones.run("bob", &["sync", "push", "--file", &file.display().to_string()]).data();
    // As after a reboot.
    std::fs::remove_file(clones.dir("bob").join(".git/agentpm/mark.json")).unwrap();
    clones.run("bob", &["add", "other", "--quiet"]).text();
    let leases = clones.run("bob", &["lease", "list"]).data();
    assert_eq!(
        (leases["items"][0]["agent"].clone(), leases["items"][0]["elsewhere"].clone()),
        (json!("ada"), json!(true))
    );
}
