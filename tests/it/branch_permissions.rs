//! Permissions in a repository: the roles of its base judge the new events of a branch, those of its parent a commit.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Roles that permit bob just these, and ada everything.
fn roles(perms: &[&str]) -> String {
    format!("agents:\n  ada: {{perms: [admin]}}\n  bob: {{perms: [{}]}}\n", perms.join(", "))
}

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "--allow-empty", "-m", message]).text();
}

/// The findings of lint with this code.
#[track_caller]
fn findings(room: &Sandbox, flags: &[&str], code: &str) -> Vec<Value> {
    let answer = room.run(&[&["lint"], flags].concat());
    let findings = answer.json()["data"]["findings"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
    findings.into_iter().filter(|f| f["code"] == code).collect()
}

/// What bob does with a task that is ready for it.
struct Deed {
    /// The rights it asks for, each alone.
    needs: &'static [&'static str],
    /// Sets the stage, and gives the arguments of bob's command.
    stage: fn(&Sandbox, &str) -> Vec<String>,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn as_bob(room: &Sandbox, args: &[&str]) {
    room.run_as("bob", args).data();
}

fn other(room: &Sandbox) -> String {
    room.task("another", &[])
}

fn first_id(room: &Sandbox, task: &str, part: &str) -> String {
    room.get(task)[part][0]["id"].as_str().unwrap_or_else(|| panic!("{:#}", room.get(task))).to_owned()
}

fn step(room: &Sandbox, task: &str) -> String {
    room.run(&["progress", "add", task, "--content", "a step"]).data();
    room.get(task)["progress"]["items"][0]["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn needs_its_rights_alone(deed: &Deed) {
    // With exactly the rights it needs; then with each of them missing in turn.
    for missing in std::iter::once(None).chain(deed.needs.iter().map(Some)) {
        let room = Sandbox::new();
        let task = room.task("the task", &[]);
        let args = (deed.stage)(&room, &task);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let has: Vec<&str> = deed.needs.iter().filter(|verb| Some(*verb) != missing).copied().collect();
        let path = room.store().join("roles.yml");
        fs::write(&path, roles(&has)).unwrap();
        // A hand edit is not staged yet.
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
        room.git(&["tag", "base"]).text();
        if missing.is_some() {
            let refused = room.run_as("bob", &args);
            assert!(refused.code == 6 || args[0] == "lint", "{args:?} without {missing:?}: {refused:?}");
            fs::write(&path, roles(deed.needs)).unwrap();
        }
        let done = room.run_as("bob", &args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        fs::write(&path, roles(&has)).unwrap();
        room.git(&["add", "-A"]).text();
        for flags in [&["--base", "base"][..], &["--staged"]] {
            let found = findings(&room, flags, "not-permitted");
            let expected = usize::from(missing.is_some());
            let fits = missing.is_none_or(|verb| {
                found.iter().all(|f| f["message"].as_str().unwrap().starts_with(&format!("\"bob\" may not {verb} ")))
            });
            assert!(found.len() == expected && fits, "{args:?} without {missing:?}, {flags:?}: {found:#?}");
        }
    }
}

/// One test for each command.
macro_rules! deeds {
    ($($name:ident: $deed:expr,)+) => {
        mod each_command_needs_its_rights_alone {
            use super::*;

            $(#[test] fn $name() { needs_its_rights_alone(&$deed) })+
        }
    };
}

deeds! {
    create: Deed { needs: &["create"], stage: |_, _| words(&["task", "create", "--title", "new"]) },
    create_below_a_parent: Deed { needs: &["create", "split"], stage: |_, t| words(&["task", "create", "--title", "new", "--parent", t]) },
    create_with_a_blocker: Deed { needs: &["create"], stage: |_, t| words(&["task", "create", "--title", "new", "--blocked-by", t]) },
    update: Deed { needs: &["update"], stage: |_, t| words(&["task", "update", t, "--priority", "3", "--title", "x"]) },
    update_the_parent: Deed { needs: &["update"], stage: |room, t| words(&["task", "update", t, "--parent", &other(room)]) },
    update_the_owner: Deed { needs: &["update"], stage: |_, t| words(&["task", "update", t, "--owner", "carol"]) },
    block: Deed { needs: &["relate"], stage: |room, t| words(&["task", "block", t, "--by", &other(room)]) },
    unblock: Deed {
        needs: &["relate"],
        stage: |room, t| {
            let by = other(room);
            room.run(&["task", "block", t, "--by", &by]).data();
            words(&["task", "unblock", t, "--by", &by])
        },
    },
    move_to_blocked: Deed {
        needs: &["relate"],
        stage: |room, t| {
            room.run(&["task", "block", t, "--by", &other(room)]).data();
            room.run(&["task", "transition", t, "--status", "open", "--force", "let it be"]).data();
            words(&["task", "transition", t, "--status", "blocked"])
        },
    },
    start_by_force: Deed {
        needs: &["claim", "override"],
        stage: |room, t| {
            room.run(&["task", "block", t, "--by", &other(room)]).data();
            words(&["task", "transition", t, "--status", "in_progress", "--force", "it can wait"])
        },
    },
    relate: Deed {
        needs: &["relate"],
        stage: |room, t| words(&["task", "relate", t, "--to", &other(room), "--type", "relates_to"]),
    },
    archive: Deed {
        needs: &["archive"],
        stage: |room, t| {
            room.run(&["task", "transition", t, "--status", "cancelled"]).data();
            words(&["task", "archive", t])
        },
    },
    reopen: Deed {
        needs: &["update"],
        stage: |room, t| {
            room.run(&["task", "transition", t, "--status", "cancelled"]).data();
            words(&["task", "reopen", t, "--reason", "not yet"])
        },
    },
    verify: Deed { needs: &["verify"], stage: |_, t| words(&["task", "verify", t]) },
    accept: Deed {
        needs: &["verify"],
        stage: |room, t| {
            room.run(&["claim", t]).data();
            room.run(&["done", t]).data();
            words(&["task", "verify", t, "--accept"])
        },
    },
    reject: Deed {
        needs: &["verify"],
        stage: |room, t| {
            room.run(&["claim", t]).data();
            room.run(&["done", t]).data();
            words(&["task", "verify", t, "--reject", "--why", "not yet"])
        },
    },
    verify_all_criteria: Deed {
        needs: &["verify"],
        stage: |room, t| {
            room.run(&["task", "update", t, "--acceptance", "it works", "--acceptance", "it is small"]).data();
            words(&["task", "verify", t, "--all"])
        },
    },
    add_a_step: Deed { needs: &["comment"], stage: |_, t| words(&["progress", "add", t, "--content", "a step"]) },
    complete_a_step: Deed { needs: &["comment"], stage: |room, t| words(&["progress", "complete", &step(room, t)]) },
    add_a_note: Deed { needs: &["comment"], stage: |_, t| words(&["note", t, "--content", "a word"]) },
    supersede_a_note: Deed {
        needs: &["comment"],
        stage: |room, t| {
            room.run(&["note", t, "--content", "a word"]).data();
            words(&["context", "supersede", &first_id(room, t, "context"), "--content", "a better word"])
        },
    },
    redact_a_note: Deed {
        needs: &["update"],
        stage: |room, t| {
            room.run(&["note", t, "--content", "a word"]).data();
            words(&["context", "redact", &first_id(room, t, "context"), "--reason", "a secret"])
        },
    },
    claim: Deed { needs: &["claim"], stage: |_, t| words(&["claim", t]) },
    claim_the_next: Deed { needs: &["claim"], stage: |_, _| words(&["next", "--claim"]) },
    acquire_a_lease: Deed { needs: &["claim"], stage: |_, t| words(&["lease", "acquire", t]) },
    release_a_claim: Deed {
        needs: &["claim"],
        stage: |room, t| {
            as_bob(room, &["claim", t]);
            words(&["release", t])
        },
    },
    release_a_lease: Deed {
        needs: &[],
        stage: |room, t| {
            as_bob(room, &["lease", "acquire", t]);
            words(&["lease", "release", t])
        },
    },
    finish: Deed {
        needs: &["complete"],
        stage: |room, t| {
            room.task("it waits", &["--blocked-by", t]);
            as_bob(room, &["claim", t]);
            words(&["done", t])
        },
    },
    finish_with_criteria: Deed {
        needs: &["complete"],
        stage: |room, t| {
            room.run(&["task", "update", t, "--acceptance", "it works"]).data();
            as_bob(room, &["claim", t]);
            words(&["done", t, "--all-met", "--outcome", "it works now"])
        },
    },
    finish_by_force: Deed {
        needs: &["complete", "override"],
        stage: |room, t| {
            room.run(&["task", "update", t, "--acceptance", "it works"]).data();
            as_bob(room, &["claim", t]);
            words(&["done", t, "--force", "it nearly works"])
        },
    },
    cancel: Deed { needs: &["cancel"], stage: |_, t| words(&["task", "transition", t, "--status", "cancelled"]) },
    override_a_lease: Deed {
        needs: &["update", "override"],
        stage: |room, t| {
            room.run(&["claim", t]).data();
            words(&["task", "update", t, "--priority", "3", "--override", "ada is away"])
        },
    },
    register_an_agent: Deed { needs: &["register"], stage: |_, _| words(&["agent", "register", "--role", "planner"]) },
    send_a_message: Deed { needs: &["broadcast"], stage: |_, _| words(&["broadcast", "--body", "hello"]) },
    undo: Deed {
        needs: &["update"],
        stage: |room, t| {
            room.run(&["task", "update", t, "--priority", "3"]).data();
            let log = fs::read_to_string(room.log_of(t)).unwrap();
            let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
            words(&["undo", last["id"].as_str().unwrap()])
        },
    },
    record_a_hand_edit: Deed {
        needs: &["update"],
        stage: |room, t| {
            let page = fs::read_to_string(room.yaml_of(t)).unwrap();
            fs::write(room.yaml_of(t), page.replace("title: the task", "title: by hand")).unwrap();
            words(&["lint", "--fix"])
        },
    },
    import_issues: Deed {
        needs: &["create"],
        stage: |room, _| {
            let issue = json!({"id": "bd-1", "title": "from elsewhere", "status": "closed", "priority": 1,
                "issue_type": "task", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z",
                "closed_at": "2026-01-02T00:00:00Z", "notes": "a word", "acceptance_criteria": "- [x] it works"});
            fs::write(room.repo().join("issues.jsonl"), format!("{issue}\n")).unwrap();
            words(&["import", "--from", "beads", "issues.jsonl"])
        },
    },
}

#[test]
fn an_import_of_a_task_that_was_closed_early_bypasses_nothing() {
    let room = Sandbox::new();
    fs::write(room.store().join("roles.yml"), roles(&["create"])).unwrap();
    commit(&room, "base");
    room.git(&["tag", "base"]).text();
    let issues = [
        json!({"id": "bd-1", "title": "the whole", "status": "closed", "priority": 1}),
        json!({"id": "bd-2", "title": "a part", "status": "open", "priority": 1,
            "dependencies": [{"issue_id": "bd-2", "depends_on_id": "bd-1", "type": "parent-child"}]}),
    ];
    fs::write(room.repo().join("issues.jsonl"), format!("{}\n{}\n", issues[0], issues[1])).unwrap();
    room.run_as("bob", &["import", "--from", "beads", "issues.jsonl"]).data();
    commit(&room, "imported");
    assert_eq!(findings(&room, &["--base", "base"], "not-permitted"), [Value::Null; 0]);
    assert_eq!(findings(&room, &[], "completed-early"), [Value::Null; 0]);
}

#[test]
fn a_branch_that_gives_itself_a_right_is_judged_without_it() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    fs::write(room.store().join("roles.yml"), roles(&["claim"])).unwrap();
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "branch"]).text();
    fs::write(room.store().join("roles.yml"), roles(&["claim", "cancel"])).unwrap();
    fs::write(room.store().join("config.toml"), "format = 1\n[lint.severity]\nodd-file = \"off\"\n").unwrap();
    as_bob(&room, &["task", "transition", &task, "--status", "cancelled"]);
    let line = fs::read_to_string(room.log_of(&task)).unwrap().lines().count();
    for flags in [&["--base", "main"][..], &["--staged"]] {
        room.git(&["add", "-A"]).text();
        let found = findings(&room, flags, "not-permitted");
        let [finding] = &found[..] else { panic!("{flags:?}: {found:#?}") };
        assert_eq!((&finding["severity"], &finding["line"]), (&json!("error"), &json!(line)), "{finding:#}");
        assert!(finding["path"].as_str().unwrap().ends_with("/events.jsonl"));
        assert_eq!(room.run(&[&["lint"], flags].concat()).code, 1);
    }
    let changed = findings(&room, &["--base", "main"], "rules-changed");
    let said = |end: &str| {
        let of = changed.iter().find(|f| f["path"].as_str().unwrap().ends_with(end)).unwrap();
        assert_eq!(of["severity"], "warning");
        (of["message"].as_str().unwrap().to_owned(), of["line"].as_u64())
    };
    assert_eq!(said("roles.yml"), ("agent \"bob\" gains \"cancel\"".to_owned(), Some(3)));
    assert_eq!(said("config.toml"), ("lint.severity.odd-file: not set -> \"off\"".to_owned(), Some(3)));
    assert!(findings(&room, &["--staged"], "rules-changed").is_empty(), "reported only for a branch");
    commit(&room, "the branch");
    assert_eq!(findings(&room, &["--base", "main"], "not-permitted").len(), 1, "committed rules allow no more");
    // Once the rules are merged, what they allow is allowed.
    room.git(&["switch", "-q", "main"]).text();
    room.git(&["checkout", "-q", "branch", "--", ".agentpm/roles.yml"]).text();
    commit(&room, "bob may cancel");
    room.git(&["switch", "-q", "branch"]).text();
    assert!(findings(&room, &["--base", "main"], "not-permitted").is_empty());
}

#[test]
fn a_role_that_an_agent_takes_on_the_branch_is_none_at_the_base() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    let roles = "agents: {ada: {perms: [admin]}}\nroles:\n  worker: {perms: [register, comment]}\n  \
                 reviewer: {perms: [verify, comment]}\n";
    room.run_as("bob", &["agent", "register", "--role", "worker"]).data();
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    commit(&room, "base");
    room.git(&["tag", "base"]).text();
    as_bob(&room, &["agent", "register", "--role", "reviewer"]);
    as_bob(&room, &["task", "verify", &task]);
    as_bob(&room, &["note", &task, "--content", "it is good"]);
    let found = findings(&room, &["--base", "base"], "not-permitted");
    let [finding] = &found[..] else { panic!("{found:#?}") };
    assert!(finding["message"].as_str().unwrap().contains("may not verify"), "{finding:#}");
    let found = findings(&room, &["--base", "base"], "rules-changed");
    let [finding] = &found[..] else { panic!("{found:#?}") };
    let said = "\"bob\" takes the role \"reviewer\" and gains \"verify\" and loses \"register\"";
    assert_eq!((finding["message"].as_str(), finding["line"].as_u64()), (Some(said), Some(2)));
}

#[test]
fn added_removed_and_unreadable_roles_are_judged_by_the_base() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    let path = room.store().join("roles.yml");
    commit(&room, "without roles");
    room.git(&["tag", "free"]).text();
    as_bob(&room, &["note", &task, "--content", "a word"]);
    fs::write(&path, roles(&["claim"])).unwrap();
    assert!(
        findings(&room, &["--base", "free"], "not-permitted").is_empty(),
        "without roles every agent may do everything"
    );
    let found = findings(&room, &["--base", "free"], "rules-changed");
    assert!(found[0]["message"].as_str().unwrap().contains("brings it in"), "{found:#?}");

    fs::write(&path, "agents: [\n").unwrap();
    commit(&room, "broken");
    room.git(&["tag", "broken"]).text();
    fs::remove_file(&path).unwrap();
    assert!(findings(&room, &["--base", "broken"], "not-permitted").is_empty(), "a repair of the file writes no event");
    as_bob(&room, &["note", &task, "--content", "another word"]);
    let found = findings(&room, &["--base", "broken"], "not-permitted");
    assert!(found[0]["message"].as_str().unwrap().contains("cannot be read"), "{found:#?}");
    let found = findings(&room, &["--base", "broken"], "rules-changed");
    assert!(found[0]["message"].as_str().unwrap().contains("everybody may do everything"), "{found:#?}");
}

#[test]
fn merging_needs_no_right_for_the_changes_of_others() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    fs::write(room.store().join("roles.yml"), roles(&["claim"])).unwrap();
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "theirs"]).text();
    fs::write(room.store().join("roles.yml"), roles(&["claim", "comment"])).unwrap();
    as_bob(&room, &["note", &task, "--content", "a word"]);
    commit(&room, "their right and their word");
    room.git(&["switch", "-q", "main"]).text();
    room.run(&["task", "update", &task, "--priority", "3"]).data();
    commit(&room, "ours");
    let _ = room.git(&["merge", "-q", "--no-edit", "--no-commit", "theirs"]);
    room.run(&["resolve"]).data();
    room.git(&["add", "-A"]).text();
    assert!(findings(&room, &["--staged"], "not-permitted").is_empty());
    assert_eq!(findings(&room, &["--base", "HEAD"], "not-permitted").len(), 1, "the whole branch is judged");
}

/// What bob, who may do just this, forges into a log of a task that is finished, and of one that ada has in progress.
struct Forged {
    may: &'static str,
    log: Which,
    /// Kinds and payloads, at one time.
    events: &'static [(&'static str, &'static str)],
    fence: Option<u64>,
    /// The words of a right that is missed.
    missed: &'static str,
}

#[derive(Clone, Copy)]
enum Which {
    Open,
    Finished,
    OfAda,
    Waiting,
}

#[track_caller]
fn lacks_its_rights(forged: &Forged) {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    match forged.log {
        Which::Open => {}
        Which::Finished => {
            room.run(&["claim", &task]).data();
            room.run(&["done", &task, "--outcome", "ok"]).data();
        }
        Which::OfAda => {
            room.run(&["claim", &task]).data();
        }
        Which::Waiting => {
            room.run(&["task", "block", &task, "--by", &other(&room)]).data();
        }
    }
    fs::write(room.store().join("roles.yml"), roles(&[forged.may])).unwrap();
    commit(&room, "base");
    room.git(&["tag", "base"]).text();
    let mut log = fs::read_to_string(room.log_of(&task)).unwrap();
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lease = events.filter_map(|event| event["payload"]["lease"].as_str().map(str::to_owned)).next();
    for (k, (kind, payload)) in forged.events.iter().enumerate() {
        let payload = payload.replace("$TASK", &task).replace("$LEASE", lease.as_deref().unwrap_or_default());
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        let payload: Value = serde_json::from_str(&payload).unwrap();
        let mut event = json!({
            "v": 1, "id": format!("01ZZZZZZZZ000000000000000{k}"), "lamport": last["lamport"].as_u64().unwrap() + 1,
            "type": kind, "entity": format!("task/{task}"), "parents": [last["id"]], "agent": "bob",
            "at": "2026-11-20T10:05:00Z", "payload": payload,
        });
        if let Some(fence) = forged.fence {
            event["fence"] = json!(fence);
        }
        log = format!("{log}{event}\n");
    }
    fs::write(room.log_of(&task), log).unwrap();
    let _ = room.run(&["resolve"]);
    room.git(&["add", "-A"]).text();
    for flags in [&["--base", "base"][..], &["--staged"]] {
        let found = findings(&room, flags, "not-permitted");
        let said: Vec<&str> = found.iter().map(|f| f["message"].as_str().unwrap()).collect();
        let all = forged.missed.split(',').all(|words| said.iter().any(|message| message.contains(words)));
        assert!(all && said.len() == forged.missed.split(',').count(), "{flags:?}: {said:#?}");
    }
}

/// One test for each forgery.
macro_rules! forgeries {
    ($($name:ident: $forged:expr,)+) => {
        mod claims_of_an_event_about_its_own_rights_do_not_count {
            use super::*;

            $(#[test] fn $name() { lacks_its_rights(&$forged) })+
        }
    };
}

forgeries! {
    creation_with_an_origin_and_a_forced_completion: Forged {
        may: "create",
        log: Which::Open,
        events: &[
            ("TaskCreated", r#"{"title":"x","metadata":{"origin":1}}"#),
            ("TaskStatusChanged", r#"{"from":"in_progress","to":"completed","forced":["criterion"]}"#),
        ],
        fence: None,
        missed: "may not admin,may not complete,may not override,which no command does",
    },
    completion_and_archiving_of_an_open_task: Forged {
        may: "archive",
        log: Which::Open,
        events: &[
            ("TaskStatusChanged", r#"{"from":"open","to":"completed"}"#),
            ("TaskArchived", r#"{"from":"completed"}"#),
        ],
        fence: None,
        missed: "may not complete,which no command does",
    },
    archiving_of_an_open_task_as_cancelled: Forged {
        may: "archive",
        log: Which::Open,
        events: &[("TaskArchived", r#"{"from":"cancelled"}"#)],
        fence: None,
        missed: "may not cancel,which no command does",
    },
    unblocking_of_a_finished_task: Forged {
        may: "comment",
        log: Which::Finished,
        events: &[("TaskStatusChanged", r#"{"from":"blocked","to":"open"}"#)],
        fence: None,
        missed: "may not update,which no command does",
    },
    unblocking_of_a_held_task: Forged {
        may: "claim",
        log: Which::OfAda,
        events: &[("TaskStatusChanged", r#"{"from":"blocked","to":"open"}"#)],
        fence: None,
        missed: "may not override",
    },
    reopening_with_the_right_to_claim_alone: Forged {
        may: "claim",
        log: Which::Finished,
        events: &[("TaskReopened", r#"{"from":"completed","to":"open"}"#)],
        fence: None,
        missed: "may not update",
    },
    reopening_of_a_held_task: Forged {
        may: "update",
        log: Which::OfAda,
        events: &[("TaskReopened", r#"{"from":"completed","to":"open"}"#)],
        fence: None,
        missed: "may not override,which no command does",
    },
    completion_under_a_fence_never_granted: Forged {
        may: "complete",
        log: Which::Open,
        events: &[("TaskStatusChanged", r#"{"from":"in_progress","to":"completed"}"#)],
        fence: Some(9),
        missed: "grants none above 0,which no command does",
    },
    release_of_the_lease_of_another: Forged {
        may: "claim",
        log: Which::OfAda,
        events: &[("LeaseReleased", r#"{"lease":"$LEASE"}"#)],
        fence: None,
        missed: "may not override",
    },
    change_of_owner_under_the_fence_of_another: Forged {
        may: "claim",
        log: Which::OfAda,
        events: &[("TaskUpdated", r#"{"set":{"owner":"bob"}}"#)],
        fence: Some(1),
        missed: "may not override,may not update",
    },
    return_under_a_second_lease: Forged {
        may: "claim",
        log: Which::OfAda,
        events: &[
            (
                "LeaseAcquired",
                r#"{"lease":"01ZZZZZZZZ0000000000000009","holder":"bob","fence":2,"expires_at":"2026-11-20T11:00:00Z"}"#,
            ),
            ("TaskStatusChanged", r#"{"from":"in_progress","to":"open"}"#),
        ],
        fence: Some(2),
        missed: "may not override",
    },
    update_under_the_fence_of_another: Forged {
        may: "update",
        log: Which::OfAda,
        events: &[("TaskUpdated", r#"{"set":{"priority":5}}"#)],
        fence: Some(1),
        missed: "may not override",
    },
    update_of_a_held_task: Forged {
        may: "update",
        log: Which::OfAda,
        events: &[("TaskUpdated", r#"{"set":{"priority":5}}"#)],
        fence: None,
        missed: "may not override",
    },
    unblocking_of_a_waiting_task: Forged {
        may: "comment",
        log: Which::Waiting,
        events: &[("TaskStatusChanged", r#"{"from":"blocked","to":"open"}"#)],
        fence: None,
        missed: "may not update,may not override",
    },
    origin_of_an_import_added_by_update: Forged {
        may: "create",
        log: Which::Open,
        events: &[
            ("TaskUpdated", r#"{"set":{"metadata.origin":{"format":"beads","id":"x"}}}"#),
            (
                "RelationshipAdded",
                r#"{"type":"blocks","from":"01ZZZZZZZZ0000000000000007","to":"$TASK","metadata":{"origin":"x"}}"#,
            ),
        ],
        fence: None,
        missed: "may not relate,may not update",
    },
}

#[test]
fn ending_a_blocker_permits_opening_the_blocked_task() {
    let room = Sandbox::new();
    let blocker = room.task("the blocker", &[]);
    room.task("it waits", &["--blocked-by", &blocker]);
    fs::write(room.store().join("roles.yml"), roles(&["claim", "complete"])).unwrap();
    commit(&room, "base");
    room.git(&["tag", "base"]).text();
    as_bob(&room, &["claim", &blocker]);
    as_bob(&room, &["done", &blocker, "--outcome", "ok"]);
    assert_eq!(findings(&room, &["--base", "base"], "not-permitted"), [] as [Value; 0]);
    room.run(&["task", "reopen", &blocker, "--reason", "not yet"]).data();
    assert_eq!(findings(&room, &["--base", "base"], "not-permitted"), [] as [Value; 0]);
}
