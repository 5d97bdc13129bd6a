//! `config get`, `config list` and `config set`: the settings in force, where each comes from, and writing one.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

fn write_users(room: &Sandbox, text: &str) {
    fs::create_dir_all(room.home().join(".agentpm")).unwrap();
    fs::write(room.home().join(".agentpm/config.toml"), text).unwrap();
}

fn read_users(room: &Sandbox) -> String {
    fs::read_to_string(room.home().join(".agentpm/config.toml")).unwrap()
}

fn read_own(room: &Sandbox) -> String {
    fs::read_to_string(room.store().join("config.toml")).unwrap()
}

/// The value of a setting, and where it comes from.
#[track_caller]
fn shown(room: &Sandbox, key: &str) -> (Value, String) {
    let data = room.run(&["config", "get", key]).data();
    assert_eq!(data["key"], key);
    (data["value"].clone(), data["source"].as_str().unwrap().to_owned())
}

#[test]
fn each_value_names_its_origin() {
    let room = Sandbox::new();
    assert_eq!(shown(&room, "lease.ttl_seconds"), (json!(600), "default".into()));
    write_users(&room, "[lease]\nttl_seconds = 70\nrequired = true\n[bus]\nurl = \"nats://ada:secret@host\"\n");
    room.run(&["config", "set", "lease.ttl_seconds", "80"]).data();
    assert_eq!(shown(&room, "lease.ttl_seconds"), (json!(80), "store".into()));
    assert_eq!(shown(&room, "lease.required"), (json!(true), "user".into()));
    let agent = room.run(&["config", "get", "agent"]).data();
    assert_eq!(agent, json!({ "key": "agent", "value": "ada", "source": "environment", "place": "AGENTPM_AGENT" }));
    assert_eq!(shown(&room, "review.need_precedence"), (Value::Null, "default".into()));
    assert_eq!(shown(&room, "lint.severity.odd-file"), (Value::Null, "default".into()));
    assert_eq!(shown(&room, "bus.url").0, json!("nats://redacted@host"));
    assert_eq!(room.run(&["config", "get", "lease.ttl_seconds", "--quiet"]).text(), "80");
    let words = room.run(&["config", "get", "lease.ttl_seconds", "--format", "table"]);
    assert_eq!(words.text(), "lease.ttl_seconds = 80  (.agentpm/config.toml)");
}

#[test]
fn list_shows_all_settings_or_those_of_a_section() {
    let room = Sandbox::new();
    let all = room.run_short(&["config", "list"]);
    assert!(all.stdout.len() < 7_500, "{} bytes", all.stdout.len());
    let data = all.data();
    assert_eq!(data["items"].as_array().unwrap().len() as u64, data["total"].as_u64().unwrap());
    let keys: Vec<Value> = room.run(&["config", "list", "thread"]).data()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["key"].clone())
        .collect();
    assert_eq!(keys, ["thread.ttl", "thread.on_expiry", "thread.escalate_to"]);
    let table = room.run(&["config", "list", "lease", "--format", "table"]);
    assert!(table.text().contains("lease.ttl_seconds     600    default"), "{table:?}");
    room.run(&["config", "list", "laese"]).error("ERR_VALIDATION", 4);
}

#[test]
fn set_keeps_comments_and_order() {
    let room = Sandbox::new();
    let text = "# ours\nformat = 1\n\n[lease] # of tasks\nrequired = true # always\n";
    fs::write(room.store().join("config.toml"), text).unwrap();
    let data = room.run(&["config", "set", "lease.required", "false"]).data();
    assert_eq!((&data["from"], &data["value"], &data["changed"]), (&json!(true), &json!(false), &json!(true)));
    assert_eq!(data["written"], ".agentpm/config.toml");
    assert_eq!(read_own(&room), text.replace("true", "false"));
    assert_eq!(room.run(&["config", "set", "lease.required", "false"]).data()["changed"], false);
    room.run(&["config", "set", "query.mine", "owner:me sort:due"]).data();
    assert!(read_own(&room).starts_with(&text.replace("true", "false")));
    assert_eq!(room.run(&["ls", "--query", "@mine"]).data()["total"], 0);
    room.is_clean();
}

#[test]
fn a_value_is_judged_as_that_of_a_file() {
    let room = Sandbox::new();
    let before = read_own(&room);
    let refused = |key: &str, value: &str| {
        let error = room.run(&["config", "set", key, value]).error("ERR_VALIDATION", 4);
        error["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused("lease.ttl_second", "5"), "unknown key lease.ttl_second; did you mean lease.ttl_seconds?");
    assert_eq!(refused("ttl_seconds", "5"), "unknown key ttl_seconds; did you mean lease.ttl_seconds?");
    assert!(refused("lease.ttl_seconds", "long").starts_with("lease.ttl_seconds = \"long\": "));
    assert!(refused("claim.overlap", "perhaps").contains("perhaps"));
    assert!(refused("lint.severity.log-gap", "off").contains("lost or contradictory data"));
    assert!(refused("query.bad", "statsu:open").contains("did you mean status:?"));
    for key in ["format", "\"format\"", "'format'"] {
        assert!(refused(key, "2").contains("agentpm migrate"), "{key}");
    }
    for seconds in ["0", "604801"] {
        assert!(refused("lease.ttl_seconds", seconds).contains("at most seven days"), "{seconds}");
    }
    assert!(refused("agent", "Ada L.").starts_with("agent = \"Ada L.\": "));
    let address = room.run(&["config", "set", "bus.url", "nats://elsewhere"]).error("ERR_VALIDATION", 4);
    assert!(address["hint"].as_str().unwrap().contains("--user"), "{address}");
    let unknown = room.run(&["config", "get", "lease.ttl_second"]).error("ERR_VALIDATION", 4);
    assert_eq!(unknown["details"]["nearest"], "lease.ttl_seconds");
    let section = room.run(&["config", "get", "lease"]).error("ERR_VALIDATION", 4);
    assert!(section["hint"].as_str().unwrap().contains("agentpm config list lease"), "{section}");
    assert_eq!(read_own(&room), before);
}

#[test]
fn set_repairs_a_value_and_leaves_an_unreadable_file_alone() {
    let room = Sandbox::new();
    fs::write(room.store().join("config.toml"), "format = 1\n[lease]\nttl_seconds = \"long\"\n").unwrap();
    room.run(&["add", "x"]).error("ERR_CORRUPT", 8);
    room.run(&["config", "set", "lease.ttl_seconds", "900"]).data();
    room.run(&["add", "x"]).data();
    fs::write(room.store().join("config.toml"), "<<<<<<< HEAD\n").unwrap();
    room.run(&["config", "set", "lease.ttl_seconds", "900"]).error("ERR_CORRUPT", 8);
    assert_eq!(read_own(&room), "<<<<<<< HEAD\n");
}

#[test]
fn the_settings_of_the_user_are_their_own_file() {
    let room = Sandbox::new();
    let before = read_own(&room);
    let data = room.run(&["config", "set", "--user", "bus.url", "nats://host"]).data();
    assert_eq!((&data["source"], &data["changed"]), (&json!("user"), &json!(true)));
    assert_eq!(read_users(&room), "[bus]\nurl = \"nats://host\"\n");
    // A link into a folder of dotfiles stays one.
    let elsewhere = room.beside("dotfiles.toml");
    fs::rename(room.home().join(".agentpm/config.toml"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, room.home().join(".agentpm/config.toml")).unwrap();
    room.run(&["config", "set", "--user", "lease.ttl_seconds", "70"]).data();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "[bus]\nurl = \"nats://host\"\n\n[lease]\nttl_seconds = 70\n");
    assert_eq!(read_own(&room), before);
    room.run(&["config", "set", "lease.ttl_seconds", "80"]).data();
    let overridden = room.run(&["config", "set", "--user", "lease.ttl_seconds", "90"]);
    assert!(overridden.stderr.contains("lease.ttl_seconds = 80 in .agentpm/config.toml is in force"), "{overridden:?}");
}

#[test]
fn the_store_is_configured_by_agents_with_the_right_admin() {
    let room = Sandbox::new();
    fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [admin]}\n  bob: {perms: [create]}\n").unwrap();
    let set = ["config", "set", "lease.ttl_seconds", "80"];
    room.run_as("bob", &set).error("ERR_UNAUTHORIZED", 6);
    room.run(&set).data();
    room.run_as("bob", &["config", "set", "--user", "lease.ttl_seconds", "70"]).data();
    assert_eq!(room.run_as("bob", &["config", "get", "lease.ttl_seconds"]).data()["value"], 80);
}

#[test]
fn two_writers_lose_nothing_of_each_other() {
    let room = Sandbox::new();
    let set = |key: &'static str, value: &'static str| {
        room.agentpm().args(["config", "set", key, value]).stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let both = [set("lease.ttl_seconds", "80"), set("claim.max_attempts", "9"), set("lock.wait_ms", "9000")];
    for child in both {
        Answer::from(child.wait_with_output().unwrap()).data();
    }
    for (key, value) in [("lease.ttl_seconds", 80), ("claim.max_attempts", 9), ("lock.wait_ms", 9_000)] {
        assert_eq!(shown(&room, key), (json!(value), "store".into()));
    }
}
