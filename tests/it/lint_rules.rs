//! Each rule of lint has a story that triggers it and only it: with its code, its severity, its file and its line.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, cases};

/// What a story must end in: flags of lint, and the place of the finding below the store.
struct End {
    flags: Vec<&'static str>,
    severity: &'static str,
    path: Option<String>,
    line: Option<usize>,
}

impl End {
    fn error(path: String, line: impl Into<Option<usize>>) -> Self {
        End { flags: Vec::new(), severity: "error", path: Some(path), line: line.into() }
    }

    fn warning(path: String, line: impl Into<Option<usize>>) -> Self {
        End { severity: "warning", ..Self::error(path, line) }
    }

    fn by(mut self, flags: &[&'static str]) -> Self {
        self.flags = flags.to_vec();
        self
    }
}

/// A room with one task of three events: created, updated to priority 2, noted.
struct Story {
    room: Sandbox,
    id: String,
}

impl Story {
    fn begin() -> Self {
        let room = Sandbox::new();
        let id = room.task("the task", &[]);
        room.run(&["task", "update", &id, "--priority", "2"]).data();
        room.run(&["note", &id, "--content", "a note"]).data();
        Story { room, id }
    }

    fn log(&self) -> String {
        shown(&self.room, &self.room.log_of(&self.id))
    }

    fn yaml(&self) -> String {
        shown(&self.room, &self.room.yaml_of(&self.id))
    }

    fn text(&self) -> String {
        fs::read_to_string(self.room.log_of(&self.id)).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    fn write(&self, log: &str) {
        fs::write(self.room.log_of(&self.id), log).unwrap();
    }

    fn page(&self) -> String {
        fs::read_to_string(self.room.yaml_of(&self.id)).unwrap()
    }

    /// Has the readable file written anew, whatever it says.
    fn render(&self) {
        fs::remove_file(self.room.yaml_of(&self.id)).unwrap();
        self.fix();
    }

    fn edit(&self, change: impl FnOnce(&str) -> String) {
        let page = self.page();
        let edited = change(&page);
        assert_ne!(page, edited, "the edit does nothing");
        fs::write(self.room.yaml_of(&self.id), edited).unwrap();
    }

    /// An event as no command would write it, after the last one of a task.
    fn event(&self, id: &str, kind: &str, payload: Value, change: impl FnOnce(&mut Value)) -> String {
        let log = fs::read_to_string(self.room.log_of(id)).unwrap();
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        let mut event = json!({
            "v": 1, "id": format!("01ZZZZZZZZ000000000000{}", &id[22..]), "lamport": last["lamport"].as_u64().unwrap() + 20,
            "type": kind, "entity": format!("task/{id}"), "parents": [last["id"]], "agent": "ada",
            "at": "2026-11-20T10:05:00Z", "payload": payload,
        });
        change(&mut event);
        event.to_string()
    }

    /// The same in the log, and `task.yaml` written to fit.
    fn forge(&self, id: &str, kind: &str, payload: Value, change: impl FnOnce(&mut Value)) {
        let event = self.event(id, kind, payload, change);
        let log = fs::read_to_string(self.room.log_of(id)).unwrap();
        fs::write(self.room.log_of(id), format!("{log}{event}\n")).unwrap();
        self.fix();
    }

    fn fix(&self) {
        let _ = self.room.run(&["lint", "--fix"]);
    }

    fn resolve(&self) {
        self.run(&["resolve"]);
    }

    #[track_caller]
    fn run(&self, args: &[&str]) {
        self.room.run(args).data();
    }

    /// A task that is not the first one.
    fn other(&self) -> String {
        let list = self.room.run(&["task", "list", "--all"]).data();
        let ids = list["items"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap());
        ids.filter(|id| *id != self.id).max().unwrap().to_owned()
    }

    /// The line of `task.yaml` that begins so.
    fn line(&self, begin: &str) -> usize {
        line_in(&self.room.yaml_of(&self.id), begin)
    }

    fn stage(&self) {
        self.room.git(&["add", "-A"]).text();
    }

    fn commit(&self, message: &str) {
        self.stage();
        self.room.git(&["commit", "-q", "--no-verify", "--allow-empty", "-m", message]).text();
    }

    fn config(&self, text: &str) {
        fs::write(self.room.store().join("config.toml"), text).unwrap();
    }
}

#[track_caller]
fn line_in(path: &Path, begin: &str) -> usize {
    let text = fs::read_to_string(path).unwrap();
    text.lines().position(|line| line.trim_start().starts_with(begin)).unwrap_or_else(|| panic!("{begin} in {text}"))
        + 1
}

fn shown(room: &Sandbox, path: &Path) -> String {
    path.strip_prefix(room.repo()).unwrap().display().to_string()
}

const CONFIG: &str = ".agentpm/config.toml";

type Tell = fn(&Story) -> End;

/// The stories by the code of their rule, and one test for each.
macro_rules! stories {
    ($($name:ident: $story:expr,)+) => {
        const STORIES: &[(&str, Tell)] = &[$((stringify!($name), $story)),+];
        mod found {
            $(#[test] fn $name() { super::is_found(stringify!($name)) })+
        }
    };
}

// How a store comes to each finding.
stories! {
    log_torn: |s| {
        s.write(&format!("{}{}", s.text(), &s.text()[..90]));
        End::warning(s.log(), 4)
    },
    log_line: |s| {
        let lines = s.lines();
        s.write(&format!("{}\nhello\n{}\n", lines[0], lines[1..].join("\n")));
        End::error(s.log(), 2)
    },
    log_markers: |s| {
        s.write(&format!("<<<<<<< ours\n{}=======\n>>>>>>> theirs\n", s.text()));
        End::warning(s.log(), 1)
    },
    log_form: |s| {
        let lines = s.lines();
        s.write(&format!("{}\n{}\n\n{}\n", lines[0], lines[1], lines[2]));
        End::warning(s.log(), 3)
    },
    archive_form: |s| {
        s.run(&["task", "transition", &s.id, "--status", "cancelled"]);
        s.run(&["task", "archive", &s.id]);
        s.run(&["compact", "--older-than", "0s"]);
        let archive = fs::read_dir(s.room.store().join("archive")).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&archive).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        fs::write(&archive, format!("{rest}{first}\n")).unwrap();
        let last = text.lines().count();
        End::warning(shown(&s.room, &archive), last)
    },
    text_redacted: |s| {
        let note = s.lines()[2].clone();
        let entry = serde_json::from_str::<Value>(&note).unwrap()["id"].as_str().unwrap().to_owned();
        s.run(&["context", "redact", &entry, "--reason", "a secret"]);
        let lines = s.lines();
        s.write(&format!("{}\n{}\n{}\n{}\n{}\n", lines[0], lines[1], note, lines[2], lines[3]));
        End::error(s.log(), 3)
    },
    log_duplicate: |s| {
        s.write(&format!("{}{}\n", s.text(), s.lines()[0]));
        End::warning(s.log(), 4)
    },
    event_id_conflict: |s| {
        let event = |priority: i8| s.event(&s.id, "TaskUpdated", json!({ "set": { "priority": priority } }), |_| {});
        s.write(&format!("{}{}\n{}\n", s.text(), event(4), event(5)));
        End::error(s.log(), 4)
    },
    event_misplaced: |s| {
        let other = s.room.task("another", &[]);
        s.write(&format!("{}{}", s.text(), fs::read_to_string(s.room.log_of(&other)).unwrap()));
        End::error(s.log(), 4)
    },
    event_ineffective: |s| {
        s.forge(&s.id, "ProgressItemCompleted", json!({ "item": "01K5R4XJ7Z0000000000000009" }), |_| {});
        End::warning(s.log(), 4)
    },
    event_unknown: |s| {
        s.forge(&s.id, "TaskPondered", json!({}), |_| {});
        End::warning(s.log(), 4)
    },
    event_quarantined: |s| {
        let far = |event: &mut Value| event["lamport"] = json!(1_u64 << 53);
        s.write(&format!("{}{}\n", s.text(), s.event(&s.id, "TaskUpdated", json!({ "set": { "priority": 5 } }), far)));
        End::error(s.log(), 4)
    },
    event_fenced: |s| {
        s.room.at("2026-11-20T10:00:00Z");
        s.room.run(&["claim", &s.id]).data();
        s.room.at("2026-11-20T11:30:00Z");
        s.room.run_as("bob", &["claim", &s.id]).data();
        s.forge(&s.id, "TaskUpdated", json!({ "set": { "title": "ada's" } }), |event| event["fence"] = json!(1));
        End::warning(s.log(), s.lines().len())
    },
    event_time: |s| {
        let update = json!({ "set": { "priority": 3 } });
        s.forge(&s.id, "TaskUpdated", update, |event| event["at"] = json!("1970-01-01T00:00:00Z"));
        End::warning(s.log(), 4)
    },
    log_headless: |s| {
        s.write(&(s.lines()[1..].join("\n") + "\n"));
        End::error(s.log(), 1)
    },
    log_gap: |s| {
        let lines = s.lines();
        s.write(&format!("{}\n{}\n", lines[0], lines[2]));
        End::error(s.log(), 2)
    },
    event_parents: |s| {
        let update = json!({ "set": { "priority": 3 } });
        s.forge(&s.id, "TaskUpdated", update, |event| event["parents"] = json!([]));
        End::error(s.log(), 4)
    },
    log_missing: |s| {
        s.commit("base");
        fs::remove_file(s.room.log_of(&s.id)).unwrap();
        End::error(s.log(), None)
    },
    task_yaml_missing: |s| {
        fs::remove_file(s.room.yaml_of(&s.id)).unwrap();
        End::warning(s.yaml(), None)
    },
    task_yaml_invalid: |s| {
        s.edit(|page| page.replace("title: the task", "title: !tag the task"));
        End::error(s.yaml(), 1)
    },
    task_yaml_stale: |s| {
        let line = s.line("priority:");
        let event = s.event(&s.id, "TaskUpdated", json!({ "set": { "priority": 3 } }), |_| {});
        s.write(&format!("{}{event}\n", s.text()));
        End::warning(s.yaml(), line)
    },
    task_yaml_conflict: |s| {
        s.edit(|page| {
            let both = "<<<<<<< ours\npriority: 2\n=======\npriority: 2\n>>>>>>> theirs\n";
            page.replace("priority: 2\n", both)
        });
        End::error(s.yaml(), s.line("<<<<<<<"))
    },
    task_yaml_astray: |s| {
        let event = s.event(&s.id, "TaskUpdated", json!({ "set": { "priority": 3 } }), |_| {});
        s.write(&format!("{}{event}\n", s.text()));
        // Neither git nor a note says which of both values is newer.
        fs::remove_file(s.room.repo().join(".git/agentpm/rendered")).unwrap();
        End::error(s.yaml(), s.line("priority:"))
    },
    task_yaml_edited: |s| {
        s.edit(|page| page.replace("priority: 2", "priority: 3"));
        End::error(s.yaml(), s.line("priority:"))
    },
    task_yaml_form: |s| {
        s.edit(|page| page.replace("title: the task", "title: \"the task\""));
        End::warning(s.yaml(), 1)
    },
    task_yaml_comment: |s| {
        s.edit(|page| page.replace("title: the task", "# ask ada first\ntitle: the task"));
        End::warning(s.yaml(), 1)
    },
    task_new: |s| {
        let path = s.room.store().join("tasks/by-hand.yaml");
        fs::write(&path, "title: by hand\n").unwrap();
        End::error(shown(&s.room, &path), 1)
    },
    task_deleted: |s| {
        s.commit("base");
        fs::remove_dir_all(s.room.task_dir(&s.id)).unwrap();
        End::error(shown(&s.room, &s.room.task_dir(&s.id)), None)
    },
    task_yaml_field: |s| {
        s.forge(&s.id, "TaskUpdated", json!({ "set": { "mood": "calm" } }), |_| {});
        End::warning(s.yaml(), s.line("mood:"))
    },
    field_value: |s| {
        s.forge(&s.id, "TaskUpdated", json!({ "set": { "priority": 99 } }), |_| {});
        End::error(s.yaml(), s.line("priority:"))
    },
    odd_file: |s| {
        let path = s.room.task_dir(&s.id).join("notes.txt");
        fs::write(&path, "x").unwrap();
        End::error(shown(&s.room, &path), None)
    },
    path_mismatch: |s| {
        let wrong = s.room.store().join("tasks/Z/Z").join(&s.id);
        fs::create_dir_all(wrong.parent().unwrap()).unwrap();
        fs::rename(s.room.task_dir(&s.id), &wrong).unwrap();
        End::error(shown(&s.room, &wrong), None)
    },
    dangling_reference: |s| {
        let other = s.room.task("another", &[]);
        s.room.run(&["task", "relate", &s.id, "--to", &other, "--type", "relates_to"]).data();
        s.room.run(&["task", "block", &s.id, "--by", &s.room.task("a third", &[])]).data();
        fs::remove_dir_all(s.room.task_dir(&other)).unwrap();
        End::error(s.yaml(), s.line("relationships:") + 1)
    },
    cycle_blocks: |s| {
        let other = s.room.task("another", &[]);
        s.room.run(&["task", "block", &other, "--by", &s.id]).data();
        s.forge(&s.id, "RelationshipAdded", json!({ "type": "blocks", "from": other, "to": s.id }), |_| {});
        End::error(s.yaml(), s.line("relationships:") + 1)
    },
    cycle_parents: |s| {
        let other = s.room.task("another", &["--parent", &s.id]);
        s.forge(&s.id, "RelationshipAdded", json!({ "type": "parent_of", "from": other, "to": s.id }), |_| {});
        End::error(s.yaml(), s.line("parent:"))
    },
    several_parents: |s| {
        let (one, two) = (s.room.task("one", &[]), s.room.task("two", &[]));
        s.room.run(&["task", "update", &s.id, "--parent", &one]).data();
        s.forge(&s.id, "RelationshipAdded", json!({ "type": "parent_of", "from": two, "to": s.id }), |_| {});
        End::warning(s.yaml(), s.line("parent:"))
    },
    owner_missing: |s| {
        s.forge(&s.id, "TaskStatusChanged", json!({ "from": "open", "to": "in_progress" }), |_| {});
        End::error(s.yaml(), s.line("status:"))
    },
    several_owners: |s| {
        let taken = |owner: &str| json!({ "from": "open", "to": "in_progress", "owner": owner });
        let bobs = s.event(&s.id, "TaskStatusChanged", taken("bob"), |event| {
            event["id"] = json!("01ZZZZZZZZ0000000000000BBB");
            event["agent"] = json!("bob");
        });
        let adas = s.event(&s.id, "TaskStatusChanged", taken("ada"), |_| {});
        let mut both = [adas, bobs];
        both.sort_by_key(|line| line.contains("BBB"));
        s.write(&format!("{}{}\n", s.text(), both.join("\n")));
        s.fix();
        End::warning(s.yaml(), s.line("owner:"))
    },
    overruled: |s| {
        let set = |priority: i8| json!({ "set": { "priority": priority } });
        let high = s.event(&s.id, "TaskUpdated", set(4), |event| event["precedence"] = json!(40));
        let low = s.event(&s.id, "TaskUpdated", set(5), |event| {
            event["id"] = json!("01ZZZZZZZZ0000000000000BBB");
            event["agent"] = json!("bob");
        });
        s.write(&format!("{}{high}\n{low}\n", s.text()));
        s.fix();
        End::warning(s.yaml(), s.line("priority:"))
    },
    blocked_without_blocker: |s| {
        let other = s.room.task("another", &[]);
        s.room.run(&["task", "block", &s.id, "--by", &other]).data();
        // As where another branch finished the blocker.
        let (log, page) = (s.text(), s.page());
        s.run(&["claim", &other]);
        s.run(&["done", &other]);
        s.write(&log);
        s.edit(|_| page);
        End::warning(s.yaml(), s.line("status:"))
    },
    plan_key_doubled: |s| {
        let origin = r#"{"origin":{"format":"plan","id":"p:a"}}"#;
        s.run(&["task", "update", &s.id, "--metadata", origin]);
        let other = s.room.task("the same", &["--metadata", origin]);
        End::warning(shown(&s.room, &s.room.yaml_of(&other)), None)
    },
    completed_early: |s| {
        let other = s.room.task("another", &[]);
        s.room.run(&["task", "block", &s.id, "--by", &other]).data();
        s.forge(&s.id, "TaskStatusChanged", json!({ "from": "blocked", "to": "completed" }), |_| {});
        End::error(s.yaml(), s.line("status:"))
    },
    opened_without_reason: |s| {
        s.run(&["claim", &s.id]);
        s.run(&["done", &s.id]);
        s.forge(&s.id, "TaskStatusChanged", json!({ "from": "completed", "to": "open" }), |_| {});
        End::error(s.yaml(), s.line("status:"))
    },
    built_on_rejected: |s| {
        let other = s.room.task("another", &[]);
        s.run(&["claim", &other]);
        s.run(&["done", &other]);
        s.run(&["task", "block", &s.id, "--by", &other]);
        s.run(&["claim", &s.id]);
        s.room.run_as("bob", &["task", "verify", &other, "--reject", "--why", "no"]).data();
        End::warning(s.yaml(), s.line("status:"))
    },
    lease_lost: |s| {
        s.room.at("2026-11-20T10:00:00Z");
        s.room.run(&["claim", &s.id]).data();
        s.commit("ada begins");
        let second = s.room.beside("second");
        s.room.git(&["worktree", "add", "-q", "-b", "second", second.to_str().unwrap()]).text();
        s.room.at("2026-11-20T10:30:00Z");
        let mut bob = s.room.agentpm_in(&second);
        Answer::from(bob.env("AGENTPM_AGENT", "bob").args(["claim", &s.id]).output().unwrap()).data();
        let done = json!({ "from": "in_progress", "to": "completed" });
        s.forge(&s.id, "TaskStatusChanged", done, |event| event["fence"] = json!(1));
        s.stage();
        End::error(s.log(), s.lines().len()).by(&["--staged"])
    },
    log_rewritten: |s| {
        s.commit("base");
        s.write(&s.text().replace("a note", "another note"));
        s.render();
        s.stage();
        End::error(s.log(), 3).by(&["--staged"])
    },
    index_unmerged: |s| {
        s.commit("base");
        for branch in ["a", "b"] {
            s.room.git(&["switch", "-q", "-c", branch, "main"]).text();
            s.room.run(&["task", "update", &s.id, "--title", branch]).data();
            s.commit(branch);
        }
        assert_ne!(s.room.git(&["merge", "-q", "a"]).code, 0);
        End::error(s.yaml(), None).by(&["--staged"])
    },
    completed_without_code: |s| {
        s.commit("base");
        s.room.git(&["tag", "base"]).text();
        s.room.run(&["claim", &s.id]).data();
        s.room.run(&["done", &s.id]).data();
        s.commit("plan");
        End::warning(s.yaml(), None).by(&["--base", "base"])
    },
    review_own_work: |s| {
        s.room.run(&["claim", &s.id]).data();
        s.room.run(&["done", &s.id]).data();
        s.room.run(&["task", "verify", &s.id]).data();
        s.config("format = 1\n[review]\nrequired = true\n");
        End::warning(s.yaml(), s.line("verified:"))
    },
    files_claimed: |s| {
        s.room.run_as("bob", &["task", "create", "--title", "git", "--file", "src/git"]).data();
        s.room.run_as("bob", &["claim", &s.other()]).data();
        s.commit("base");
        fs::create_dir_all(s.room.repo().join("src/git")).unwrap();
        fs::write(s.room.repo().join("src/git/mod.rs"), "").unwrap();
        s.stage();
        End::warning("src/git/mod.rs".into(), None).by(&["--staged"])
    },
    lease_trailer: |s| {
        s.commit("base");
        s.room.git(&["tag", "base"]).text();
        s.commit("work\n\nAgentpm-Lease: ZZZZZZ@1\n");
        End { path: None, ..End::error(String::new(), None) }.by(&["--base", "base"])
    },
    not_permitted: |s| {
        fs::write(s.room.store().join("roles.yml"), "agents: {ada: {perms: [update]}}\n").unwrap();
        s.commit("base");
        let cancelled = json!({ "from": "open", "to": "cancelled" });
        s.forge(&s.id, "TaskStatusChanged", cancelled, |event| event["agent"] = json!("bob"));
        End::error(s.log(), 4).by(&["--base", "HEAD"])
    },
    rules_changed: |s| {
        let roles = |bob: &str| format!("agents:\n  ada: {{perms: [admin]}}\n  bob: {{perms: [{bob}]}}\n");
        s.run(&["agent", "register", "--name", "bob"]);
        fs::write(s.room.store().join("roles.yml"), roles("claim")).unwrap();
        s.commit("base");
        fs::write(s.room.store().join("roles.yml"), roles("claim, override")).unwrap();
        End::warning(shown(&s.room, &s.room.store().join("roles.yml")), 3).by(&["--base", "HEAD"])
    },
    signature_missing: |s| {
        s.run(&["agent", "register", "--new-key"]);
        fs::write(s.room.store().join("roles.yml"), "require_signatures: true\nagents:\n  ada: {perms: [admin]}\n")
            .unwrap();
        s.commit("base");
        fs::remove_file(s.room.repo().join(".git/agentpm/keys/ada")).unwrap();
        s.run(&["task", "update", &s.id, "--priority", "4"]);
        End::error(s.log(), s.lines().len())
    },
    signature_wrong: |s| {
        s.run(&["agent", "register", "--new-key"]);
        s.run(&["task", "update", &s.id, "--estimate", "1h"]);
        s.write(&s.text().replace("\"estimate\":\"1h\"", "\"estimate\":\"9h\""));
        let yaml = fs::read_to_string(s.room.yaml_of(&s.id)).unwrap();
        fs::write(s.room.yaml_of(&s.id), yaml.replace("\"1h\"", "\"9h\"")).unwrap();
        End::error(s.log(), s.lines().len())
    },
    agent_unregistered: |s| {
        fs::write(s.room.store().join("roles.yml"), "agents:\n  ada: {perms: [admin]}\n  adda: {perms: [claim]}\n").unwrap();
        End::warning(shown(&s.room, &s.room.store().join("roles.yml")), 3)
    },
    config_key: |s| {
        s.config("format = 1\n[lease]\nttl_second = 5\n");
        End::warning(CONFIG.into(), 3)
    },
    config_invalid: |s| {
        s.commit("base");
        s.config("format = 1\n\nformat = [\n");
        s.stage();
        End::error(CONFIG.into(), 3).by(&["--staged"])
    },
    events_pending: |s| {
        // As a command leaves it that is killed right after its commit point.
        let mark = s.room.repo().join(".git/agentpm/mark.json");
        let files = [mark, s.room.log_of(&s.id), s.room.yaml_of(&s.id)];
        let before = files.clone().map(|file| fs::read(file).unwrap());
        s.run(&["note", &s.id, "--content", "acknowledged"]);
        files.iter().zip(before).for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
        End::warning(s.log(), None)
    },
    config_missing: |s| {
        fs::remove_file(s.room.store().join("config.toml")).unwrap();
        End::warning(CONFIG.into(), None)
    },
    store_older: |s| {
        s.config("# from long ago\nformat = 0\n");
        End::error(CONFIG.into(), 2)
    },
    store_newer: |s| {
        s.config("# from the future\nformat = 2\n");
        End::error(CONFIG.into(), 2)
    },
}

/// A rule is found by its story, and no other rule is.
fn is_found(name: &str) {
    let (code, story) = (name.replace('_', "-"), Story::begin());
    let end = story_of(name)(&story);
    let answer = story.room.run(&[&["lint"], &end.flags[..]].concat());
    let report = answer.json()["data"].clone();
    let found = report["findings"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    let expected = json!({ "code": code, "severity": end.severity, "path": end.path, "line": end.line });
    let said: Vec<Value> = found
        .iter()
        .map(|f| json!({ "code": f["code"], "severity": f["severity"], "path": f["path"], "line": f["line"] }))
        .collect();
    assert_eq!(said, [expected], "{report:#}");
    assert_eq!(answer.code, i32::from(end.severity == "error"), "{answer:?}");
}

fn story_of(name: &str) -> Tell {
    STORIES.iter().find(|(one, _)| *one == name).unwrap_or_else(|| panic!("no story of {name}")).1
}

type Repair = fn(&Story);

// The repair that the page of a rule names, where it is a command or an edit that leaves no finding.
cases! { repaired by is_repaired {
    log_torn: Story::fix,
    log_line: |s| {
        s.write(&s.text().replace("hello\n", ""));
        s.fix();
    },
    log_markers: Story::resolve,
    log_form: Story::fix,
    archive_form: Story::fix,
    text_redacted: Story::resolve,
    log_duplicate: Story::fix,
    event_id_conflict: |s| {
        s.write(&(s.lines()[..4].join("\n") + "\n"));
        s.fix();
    },
    event_misplaced: Story::resolve,
    event_quarantined: |s| {
        s.write(&(s.lines()[..3].join("\n") + "\n"));
        s.fix();
    },
    log_headless: Story::resolve,
    log_gap: Story::resolve,
    log_missing: Story::fix,
    task_yaml_missing: Story::fix,
    task_yaml_invalid: |s| {
        s.edit(|page| page.replace("!tag ", ""));
        s.fix();
    },
    task_yaml_stale: Story::fix,
    task_yaml_conflict: Story::resolve,
    task_yaml_astray: Story::resolve,
    task_yaml_edited: Story::fix,
    task_yaml_form: Story::fix,
    task_yaml_comment: Story::fix,
    task_new: Story::fix,
    task_deleted: Story::fix,
    field_value: |s| s.run(&["task", "update", &s.id, "--priority", "5"]),
    odd_file: |s| {
        s.run(&["note", &s.id, "--content", &format!("@{}", s.room.task_dir(&s.id).join("notes.txt").display())]);
        fs::remove_file(s.room.task_dir(&s.id).join("notes.txt")).unwrap();
    },
    path_mismatch: |s| {
        s.stage();
        let wrong = s.room.store().join("tasks/Z/Z").join(&s.id);
        fs::create_dir_all(s.room.task_dir(&s.id).parent().unwrap()).unwrap();
        s.room.git(&["mv", wrong.to_str().unwrap(), s.room.task_dir(&s.id).to_str().unwrap()]).text();
    },
    dangling_reference: |s| {
        let edges = s.room.get(&s.id)["relationships"].clone();
        let edge = edges.as_array().unwrap().iter().find(|edge| edge["type"] == "relates_to").unwrap()["id"].clone();
        s.run(&["task", "unrelate", &s.id, "--relationship", edge.as_str().unwrap()]);
    },
    cycle_blocks: |s| s.run(&["task", "unblock", &s.id, "--by", &s.other()]),
    cycle_parents: |s| s.run(&["task", "update", &s.id, "--clear", "parent"]),
    several_parents: |s| s.run(&["task", "update", &s.id, "--parent", &s.other()]),
    owner_missing: |s| s.run(&["claim", &s.id]),
    several_owners: |s| {
        s.run(&["claim", &s.id]);
        s.run(&["release", &s.id]);
    },
    overruled: |s| s.run(&["conflicts", "keep", "01ZZZZZZZZ0000000000000BBB"]),
    plan_key_doubled: |s| s.run(&["cancel", &s.other(), "--why", "the same"]),
    blocked_without_blocker: Story::resolve,
    completed_early: |s| {
        s.run(&["task", "reopen", &s.id, "--reason", "a part is missing"]);
        s.run(&["claim", &s.other()]);
        s.run(&["done", &s.other()]);
    },
    opened_without_reason: |s| {
        let opened: Value = serde_json::from_str(s.text().lines().last().unwrap()).unwrap();
        s.run(&["undo", opened["id"].as_str().unwrap()]);
    },
    built_on_rejected: |s| {
        s.run(&["claim", &s.other()]);
        s.run(&["done", &s.other()]);
    },
    agent_unregistered: |s| s.run(&["agent", "register", "--name", "adda"]),
    config_key: |s| s.config("format = 1\n[lease]\nttl_seconds = 5\n"),
    config_invalid: |s| {
        s.config("format = 1\n");
        s.stage();
    },
    events_pending: Story::resolve,
    config_missing: |s| s.run(&["init"]),
    index_unmerged: Story::resolve,
    completed_without_code: |s| {
        fs::write(s.room.repo().join("code.txt"), "code").unwrap();
        s.commit("code");
    },
    review_own_work: |s| {
        s.room.run_as("bob", &["task", "verify", &s.id, "--accept"]).data();
    },
    files_claimed: |s| {
        s.room.git(&["restore", "--staged", "src/git/mod.rs"]).text();
    },
    log_rewritten: |s| {
        s.write(&s.text().replace("another note", "a note"));
        s.render();
        s.stage();
    },
    not_permitted: |s| {
        s.room.git(&["restore", s.room.task_dir(&s.id).to_str().unwrap()]).text();
    },
    rules_changed: |s| {
        s.room.git(&["restore", s.room.store().join("roles.yml").to_str().unwrap()]).text();
    },
    lease_lost: |s| {
        s.room.git(&["restore", "--staged", s.room.task_dir(&s.id).to_str().unwrap()]).text();
    },
}}

/// The repair that the page of a rule names leaves no finding.
fn is_repaired(name: &str, repair: Repair) {
    let story = Story::begin();
    let end = story_of(name)(&story);
    repair(&story);
    let report = story.room.run(&[&["lint"], &end.flags[..]].concat());
    assert_eq!(report.data()["findings"], json!([]));
}

#[test]
fn each_rule_has_a_story() {
    let schema = Sandbox::nothing().run(&["schema", "rules"]).data();
    let rules: BTreeSet<&str> = schema.as_array().unwrap().iter().map(|rule| rule["code"].as_str().unwrap()).collect();
    let rules: Vec<String> = rules.iter().map(|code| code.replace('-', "_")).collect();
    let mut stories: Vec<&str> = STORIES.iter().map(|(name, _)| *name).collect();
    stories.sort_unstable();
    assert_eq!(rules, stories);
}

#[test]
fn an_unmet_criterion_of_a_completed_task_is_found_by_each_source() {
    let story = Story::begin();
    story.run(&["task", "update", &story.id, "--acceptance", "it works"]);
    story.run(&["claim", &story.id]);
    story.commit("base");
    story.room.git(&["tag", "base"]).text();
    let begun = story.text();
    let found = |flags: &[&str]| {
        let report = story.room.run(&[&["lint"], flags].concat()).json()["data"]["findings"].clone();
        let of =
            |f: &Value| f["message"] == "it is completed despite 1 unmet criterion" && f["code"] == "completed-early";
        report.as_array().unwrap().iter().filter(|f| of(f)).count()
    };
    for (payload, count) in [
        (json!({ "from": "in_progress", "to": "completed" }), 1),
        (json!({ "from": "in_progress", "to": "completed", "forced": ["acceptance"] }), 0),
        (json!({ "from": "in_progress", "to": "completed", "forced": ["children"] }), 1),
    ] {
        story.write(&begun);
        story.render();
        story.forge(&story.id, "TaskStatusChanged", payload.clone(), |event| event["fence"] = json!(1));
        story.stage();
        assert_eq!((found(&[]), found(&["--staged"]), found(&["--base", "base"])), (count, count, count), "{payload}");
    }
    story.commit("end");
    let review = story.room.run(&["review", "base..HEAD"]).data();
    assert!(review.to_string().contains("it is completed despite 1 unmet criterion"), "{review:#}");
}

#[test]
fn lines_are_those_of_the_bytes_that_are_judged() {
    let story = Story::begin();
    story.forge(&story.id, "TaskUpdated", json!({ "set": { "priority": 99 } }), |_| {});
    let line = story.line("priority:");
    story.stage();
    story.edit(|page| format!("# one\n# two\n{page}"));
    let place = |flags: &[&str]| {
        let report = story.room.run(&[&["lint"], flags].concat()).json()["data"]["findings"].clone();
        let finding = report.as_array().unwrap().iter().find(|f| f["code"] == "field-value").unwrap().clone();
        finding["line"].as_u64().unwrap() as usize
    };
    assert_eq!((place(&["--staged"]), place(&[])), (line, line + 2));
    let log = story.log();
    story.write(&format!("\n\n{}", story.text()));
    story.forge(&story.id, "TaskPondered", json!({}), |event| event["id"] = json!("01ZZZZZZZZ0000000000000009"));
    let spoilt = format!("\nhello\n{}", story.text());
    let answer = story.room.feed(&["lint", "--stdin", "--path", &log], spoilt.as_bytes());
    let findings = answer.json()["data"]["findings"].clone();
    let unknown = findings.as_array().unwrap().iter().find(|f| f["code"] == "event-unknown").unwrap().clone();
    let expected = spoilt.lines().position(|line| line.contains("TaskPondered")).unwrap() + 1;
    assert_eq!(unknown["line"], expected, "lines that are no events are counted too");
}
