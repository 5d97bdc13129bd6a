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

/// What lint says under this code.
#[track_caller]
fn told(room: &Sandbox, flags: &[&str], code: &str) -> Vec<Value> {
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

const DEEDS: &[Deed] = &[
    Deed { needs: &["create"], stage: |_, _| words(&["task", "create", "--title", "new"]) },
    Deed { needs: &["create", "split"], stage: |_, t| words(&["task", "create", "--title", "new", "--parent", t]) },
    Deed { needs: &["create"], stage: |_, t| words(&["task", "create", "--title", "new", "--blocked-by", t]) },
    Deed { needs: &["update"], stage: |_, t| words(&["task", "update", t, "--priority", "3", "--title", "x"]) },
    Deed { needs: &["update"], stage: |room, t| words(&["task", "update", t, "--parent", &other(room)]) },
    Deed { needs: &["update"], stage: |_, t| words(&["task", "update", t, "--owner", "carol"]) },
    Deed { needs: &["relate"], stage: |room, t| words(&["task", "block", t, "--by", &other(room)]) },
    Deed {
        needs: &["relate"],
        stage: |room, t| {
            let by = other(room);
            room.run(&["task", "block", t, "--by", &by]).data();
            words(&["task", "unblock", t, "--by", &by])
        },
    },
    Deed {
        needs: &["relate"],
        stage: |room, t| {
            room.run(&["task", "block", t, "--by", &other(room)]).data();
            room.run(&["task", "transition", t, "--status", "open", "--force", "let it be"]).data();
            words(&["task", "transition", t, "--status", "blocked"])
        },
    },
    Deed {
        needs: &["claim", "override"],
        stage: |room, t| {
            room.run(&["task", "block", t, "--by", &other(room)]).data();
            words(&["task", "transition", t, "--status", "in_progress", "--force", "it can wait"])
        },
    },
    Deed {
        needs: &["relate"],
        stage: |room, t| words(&["task", "relate", t, "--to", &other(room), "--type", "relates_to"]),
    },
    Deed {
        needs: &["archive"],
        stage: |room, t| {
            room.run(&["task", "transition", t, "--status", "cancelled"]).data();
            words(&["task", "archive", t])
        },
    },
    Deed {
        needs: &["update"],
        stage: |room, t| {
            room.run(&["task", "transition", t, "--status", "cancelled"]).data();
            words(&["task", "reopen", t, "--reason", "not yet"])
        },
    },
    Deed { needs: &["verify"], stage: |_, t| words(&["task", "verify", t]) },
    Deed {
        needs: &["verify"],
        stage: |room, t| {
            room.run(&["task", "update", t, "--acceptance", "it works", "--acceptance", "it is small"]).data();
            words(&["task", "verify", t, "--all"])
        },
    },
    Deed { needs: &["comment"], stage: |_, t| words(&["progress", "add", t, "--content", "a step"]) },
    Deed { needs: &["comment"], stage: |room, t| words(&["progress", "complete", &step(room, t)]) },
    Deed { needs: &["comment"], stage: |_, t| words(&["note", t, "--content", "a word"]) },
    Deed {
        needs: &["comment"],
        stage: |room, t| {
            room.run(&["note", t, "--content", "a word"]).data();
            words(&["context", "supersede", &first_id(room, t, "context"), "--content", "a better word"])
        },
    },
    Deed {
        needs: &["update"],
        stage: |room, t| {
            room.run(&["note", t, "--content", "a word"]).data();
            words(&["context", "redact", &first_id(room, t, "context"), "--reason", "a secret"])
        },
    },
    Deed { needs: &["claim"], stage: |_, t| words(&["claim", t]) },
    Deed { needs: &["claim"], stage: |_, _| words(&["next", "--claim"]) },
    Deed { needs: &["claim"], stage: |_, t| words(&["lease", "acquire", t]) },
    Deed {
        needs: &["claim"],
        stage: |room, t| {
            as_bob(room, &["claim", t]);
            words(&["release", t])
        },
    },
    Deed {
        needs: &[],
        stage: |room, t| {
            as_bob(room, &["lease", "acquire", t]);
            words(&["lease", "release", t])
        },
    },
    Deed {
        needs: &["complete"],
        stage: |room, t| {
            room.task("it waits", &["--blocked-by", t]);
            as_bob(room, &["claim", t]);
            words(&["done", t])
        },
    },
    Deed {
        needs: &["complete"],
        stage: |room, t| {
            room.run(&["task", "update", t, "--acceptance", "it works"]).data();
            as_bob(room, &["claim", t]);
            words(&["done", t, "--all-met", "--outcome", "it works now"])
        },
    },
    Deed {
        needs: &["complete", "override"],
        stage: |room, t| {
            room.run(&["task", "update", t, "--acceptance", "it works"]).data();
            as_bob(room, &["claim", t]);
            words(&["done", t, "--force", "it nearly works"])
        },
    },
    Deed { needs: &["cancel"], stage: |_, t| words(&["task", "transition", t, "--status", "cancelled"]) },
    Deed {
        needs: &["update", "override"],
        stage: |room, t| {
            room.run(&["claim", t]).data();
            words(&["task", "update", t, "--priority", "3", "--override", "ada is away"])
        },
    },
    Deed { needs: &["register"], stage: |_, _| words(&["agent", "register", "--role", "planner"]) },
    Deed {
        needs: &["update"],
        stage: |room, t| {
            room.run(&["task", "update", t, "--priority", "3"]).data();
            let log = fs::read_to_string(room.log_of(t)).unwrap();
            let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
            words(&["undo", last["id"].as_str().unwrap()])
        },
    },
    Deed {
        needs: &["update"],
        stage: |room, t| {
            let page = fs::read_to_string(room.yaml_of(t)).unwrap();
            fs::write(room.yaml_of(t), page.replace("title: the task", "title: by hand")).unwrap();
            words(&["lint", "--fix"])
        },
    },
    Deed {
        needs: &["create"],
        stage: |room, _| {
            let issue = json!({"id": "bd-1", "title": "from elsewhere", "status": "closed", "priority": 1,
                "issue_type": "task", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z",
                "closed_at": "2026-01-02T00:00:00Z", "notes": "a word"});
            fs::write(room.repo().join("issues.jsonl"), format!("{issue}\n")).unwrap();
            words(&["import", "--from", "beads", "issues.jsonl"])
        },
    },
];

#[test]
fn each_command_asks_for_its_right_and_for_no_other() {
    let mut wrong = Vec::new();
    for (n, deed) in DEEDS.iter().enumerate() {
        // With just what it needs; then each of these missing in turn.
        for missing in std::iter::once(None).chain(deed.needs.iter().map(Some)) {
            let room = Sandbox::new();
            let task = room.task("the task", &[]);
            let args = (deed.stage)(&room, &task);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let has: Vec<&str> = deed.needs.iter().filter(|verb| Some(*verb) != missing).copied().collect();
            let path = room.store().join("roles.yml");
            fs::write(&path, roles(&has)).unwrap();
            // What lies there edited by hand is not staged yet.
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
                let found = told(&room, flags, "not-permitted");
                let expected = usize::from(missing.is_some());
                let fits = missing.is_none_or(|verb| {
                    found
                        .iter()
                        .all(|f| f["message"].as_str().unwrap().starts_with(&format!("\"bob\" may not {verb} ")))
                });
                if found.len() != expected || !fits {
                    wrong.push(format!("{n} {args:?} without {missing:?}, {flags:?}: {found:#?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
        let found = told(&room, flags, "not-permitted");
        let [finding] = &found[..] else { panic!("{flags:?}: {found:#?}") };
        assert_eq!((&finding["severity"], &finding["line"]), (&json!("error"), &json!(line)), "{finding:#}");
        assert!(finding["path"].as_str().unwrap().ends_with("/events.jsonl"));
        assert_eq!(room.run(&[&["lint"], flags].concat()).code, 1);
    }
    let changed = told(&room, &["--base", "main"], "rules-changed");
    let said = |end: &str| {
        let of = changed.iter().find(|f| f["path"].as_str().unwrap().ends_with(end)).unwrap();
        assert_eq!(of["severity"], "warning");
        (of["message"].as_str().unwrap().to_owned(), of["line"].as_u64())
    };
    assert_eq!(said("roles.yml"), ("agent \"bob\" gains \"cancel\"".to_owned(), Some(3)));
    assert_eq!(said("config.toml"), ("lint.severity.odd-file: not set -> \"off\"".to_owned(), Some(3)));
    assert!(told(&room, &["--staged"], "rules-changed").is_empty(), "told of a branch alone");
    // Once the rules are merged, what they allow is allowed.
    commit(&room, "the branch");
    room.git(&["switch", "-q", "main"]).text();
    room.git(&["checkout", "-q", "branch", "--", ".agentpm/roles.yml"]).text();
    commit(&room, "bob may cancel");
    room.git(&["switch", "-q", "branch"]).text();
    assert!(told(&room, &["--base", "main"], "not-permitted").is_empty());
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
    let found = told(&room, &["--base", "base"], "not-permitted");
    let [finding] = &found[..] else { panic!("{found:#?}") };
    assert!(finding["message"].as_str().unwrap().contains("may not verify"), "{finding:#}");
    let found = told(&room, &["--base", "base"], "rules-changed");
    let [finding] = &found[..] else { panic!("{found:#?}") };
    let said = "\"bob\" takes the role \"reviewer\" and gains \"verify\" and loses \"register\"";
    assert_eq!((finding["message"].as_str(), finding["line"].as_u64()), (Some(said), Some(2)));
}

#[test]
fn roles_that_come_go_or_cannot_be_read() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    let path = room.store().join("roles.yml");
    commit(&room, "nobody is held to anything");
    room.git(&["tag", "free"]).text();
    as_bob(&room, &["note", &task, "--content", "a word"]);
    fs::write(&path, roles(&["claim"])).unwrap();
    assert!(told(&room, &["--base", "free"], "not-permitted").is_empty(), "there everybody might");
    let found = told(&room, &["--base", "free"], "rules-changed");
    assert!(found[0]["message"].as_str().unwrap().contains("brings it in"), "{found:#?}");

    fs::write(&path, "agents: [\n").unwrap();
    commit(&room, "broken");
    room.git(&["tag", "broken"]).text();
    fs::remove_file(&path).unwrap();
    assert!(told(&room, &["--base", "broken"], "not-permitted").is_empty(), "whoever mends the file writes no event");
    as_bob(&room, &["note", &task, "--content", "another word"]);
    let found = told(&room, &["--base", "broken"], "not-permitted");
    assert!(found[0]["message"].as_str().unwrap().contains("cannot be read"), "{found:#?}");
    let found = told(&room, &["--base", "broken"], "rules-changed");
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
    assert!(told(&room, &["--staged"], "not-permitted").is_empty());
    assert_eq!(told(&room, &["--base", "HEAD"], "not-permitted").len(), 1, "the branch as a whole is held to it");
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

const FORGED: &[Forged] = &[
    Forged {
        may: "create",
        log: Which::Open,
        events: &[
            ("TaskCreated", r#"{"title":"x","metadata":{"origin":1}}"#),
            ("TaskStatusChanged", r#"{"from":"in_progress","to":"completed","forced":["criterion"]}"#),
        ],
        fence: None,
        missed: "may not admin,may not complete,may not override,which no command does",
    },
    Forged {
        may: "archive",
        log: Which::Open,
        events: &[
            ("TaskStatusChanged", r#"{"from":"open","to":"completed"}"#),
            ("TaskArchived", r#"{"from":"completed"}"#),
        ],
        fence: None,
        missed: "may not complete,which no command does",
    },
    Forged {
        may: "archive",
        log: Which::Open,
        events: &[("TaskArchived", r#"{"from":"cancelled"}"#)],
        fence: None,
        missed: "may not cancel,which no command does",
    },
    Forged {
        may: "comment",
        log: Which::Finished,
        events: &[("TaskStatusChanged", r#"{"from":"blocked","to":"open"}"#)],
        fence: None,
        missed: "may not update,which no command does",
    },
    Forged {
        may: "claim",
        log: Which::OfAda,
        events: &[("TaskStatusChanged", r#"{"from":"blocked","to":"open"}"#)],
        fence: None,
        missed: "may not override",
    },
    Forged {
        may: "claim",
        log: Which::OfAda,
        events: &[("TaskReopened", r#"{"from":"completed","to":"open"}"#)],
        fence: None,
        missed: "may not override,which no command does",
    },
    Forged {
        may: "complete",
        log: Which::Open,
        events: &[("TaskStatusChanged", r#"{"from":"in_progress","to":"completed"}"#)],
        fence: Some(9),
        missed: "grants none above 0,which no command does",
    },
    Forged {
        may: "claim",
        log: Which::OfAda,
        events: &[("LeaseReleased", r#"{"lease":"$LEASE"}"#)],
        fence: None,
        missed: "may not override",
    },
    Forged {
        may: "claim",
        log: Which::OfAda,
        events: &[("TaskUpdated", r#"{"set":{"owner":"bob"}}"#)],
        fence: Some(1),
        missed: "may not override,may not update",
    },
    Forged {
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
    Forged {
        may: "update",
        log: Which::OfAda,
        events: &[("TaskUpdated", r#"{"set":{"priority":5}}"#)],
        fence: Some(1),
        missed: "may not override",
    },
    Forged {
        may: "update",
        log: Which::OfAda,
        events: &[("TaskUpdated", r#"{"set":{"priority":5}}"#)],
        fence: None,
        missed: "may not override",
    },
    Forged {
        may: "comment",
        log: Which::Waiting,
        events: &[("TaskStatusChanged", r#"{"from":"blocked","to":"open"}"#)],
        fence: None,
        missed: "may not update,may not override",
    },
    Forged {
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
];

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
    assert_eq!(told(&room, &["--base", "base"], "not-permitted"), [] as [Value; 0]);
    room.run(&["task", "reopen", &blocker, "--reason", "not yet"]).data();
    assert_eq!(told(&room, &["--base", "base"], "not-permitted"), [] as [Value; 0]);
}

#[test]
fn claims_of_an_event_about_its_own_rights_do_not_count() {
    let mut wrong = Vec::new();
    for (n, forged) in FORGED.iter().enumerate() {
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
            let found = told(&room, flags, "not-permitted");
            let said: Vec<&str> = found.iter().map(|f| f["message"].as_str().unwrap()).collect();
            let all = forged.missed.split(',').all(|words| said.iter().any(|message| message.contains(words)));
            if !all || said.len() != forged.missed.split(',').count() {
                wrong.push(format!("{n} {flags:?}: {said:#?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
