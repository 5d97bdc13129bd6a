//! Servers that ask who connects, streams with limits of their own, and streams that were set back to a backup.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Bridge, doctor, once, stream, with_dropped};
use crate::machine::needs;
use crate::nats::{Nats, free_port};
use crate::sandbox::{Answer, wait_for};
use crate::sync::{Clones, plan};

/// Runs `agentpm bus` with these arguments and variables.
fn bus(clones: &Clones, args: &[&str], vars: &[(&str, &str)]) -> Answer {
    let mut command = clones.room.agentpm_in(&clones.dir("ada"));
    command.env_remove("AGENTPM_SEED").env("AGENTPM_AGENT", "ada").envs(vars.iter().copied()).arg("bus").args(args);
    Answer::from(command.output().expect("agentpm starts"))
}

#[test]
fn the_login_of_an_address_is_used_and_never_shown() {
    needs!("nats-server");
    let (clones, _) = Clones::new(&["ada"]);
    let settings = clones.room.beside("nats.conf");
    let nothing = "permissions: { publish: { deny: [\">\"] }, subscribe: { deny: [\">\"] } }";
    let users = format!(
        "authorization {{ users: [ {{ user: bob, password: \"hush,h@sh%\" }}, {{ user: guest, password: g, {nothing} }} ] }}\n\
         no_auth_user: guest\n"
    );
    std::fs::write(&settings, users).unwrap();
    let nats = Nats::start_with(&clones.room, &["-c", &settings.display().to_string()]);
    let url = format!("nats://bob:hush%2Ch%40sh%25@127.0.0.1:{}", nats.port);
    let trace = [("AGENTPM_LOG_LEVEL", "trace"), ("AGENTPM_BUS_URL", &*url)];
    let done = bus(&clones, &["--once"], &trace);
    assert_eq!(done.data()["published"], 0, "{done:?}");
    assert!(done.stderr.contains("async_nats"), "the log of the library is there: {}", done.stderr);
    let wrong = url.replace("hush", "hash");
    let refused = bus(&clones, &["--once"], &[trace[0], ("AGENTPM_BUS_URL", &wrong)]);
    assert!(refused.error("ERR_SYNC", 9)["message"].as_str().unwrap().contains("authorization"), "{refused:?}");
    let status = clones.run("ada", &["status"]);
    for shown in [&done.stderr, &done.stdout, &refused.stderr, &refused.stdout, &status.stdout] {
        assert!(!["h@sh", "hush", "h%40sh"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
}

#[test]
fn what_the_caller_got_wrong_is_refused_at_once() {
    let (clones, _) = Clones::new(&["ada"]);
    for url in ["http://127.0.0.1:4222", "nats://127.0.0.1:99999", "nats://bob:top,secret@127.0.0.1"] {
        let refused = bus(&clones, &["--url", url], &[]).error("ERR_VALIDATION", 4);
        assert!(!refused.to_string().contains("top") && !refused.to_string().contains("secret"), "{refused}");
    }
    bus(&clones, &["--url", ""], &[("AGENTPM_BUS_URL", "")]).error("ERR_USAGE", 2);
    let replicas = bus(&clones, &["--url", "nats://127.0.0.1", "--replicas", "0"], &[]).error("ERR_USAGE", 2);
    assert!(replicas["message"].as_str().unwrap().contains("replicas"), "{replicas}");
    let url = format!("nats://127.0.0.1:{}", free_port());
    let given = bus(&clones, &["--once", "--url", ""], &[("AGENTPM_BUS_URL", &url)]).error("ERR_SYNC", 9);
    assert!(given.to_string().contains(&url), "an empty address is none, and the next one counts: {given}");

    let pipe = clones.room.beside("pipe").display().to_string();
    assert!(clones.room.sealed("mkfifo", &clones.room.repo()).arg(&pipe).status().unwrap().success());
    let refused = bus(&clones, &["--once", "--url", &url, "--creds", &pipe], &[]).error("ERR_VALIDATION", 4);
    assert!(refused["message"].as_str().unwrap().contains("is no regular file"), "{refused}");
    let home = clones.room.home().join(".agentpm");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("config.toml"), "[bus]\ncreds = \"~/.agentpm/config.toml\"\n").unwrap();
    let read = bus(&clones, &["--once", "--url", &url], &[]).error("ERR_SYNC", 9);
    assert!(read["message"].as_str().unwrap().contains("holds no JWT"), "the file in the home is read: {read}");
}

#[test]
fn the_reason_of_a_failed_exchange_stays_until_one_succeeds() {
    needs!("nats-server");
    let (clones, _) = Clones::new(&["ada"]);
    let mut nats = Nats::start(&clones.room);
    once(&clones, "ada", &nats).data();
    nats.kill();
    once(&clones, "ada", &nats).error("ERR_SYNC", 9);
    let found = doctor(&clones, "ada");
    assert!(
        found["ok"] == false && found["found"].as_str().unwrap().contains("not everything was exchanged"),
        "{found}"
    );
    nats.run();
    once(&clones, "ada", &nats).data();
    assert_eq!(doctor(&clones, "ada")["ok"], true);
}

#[test]
fn an_event_that_is_too_large_for_the_stream_does_not_stop_the_others() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let nats = Nats::start(&clones.room);
    once(&clones, "ada", &nats).data();
    let name = stream(&nats);
    let mut client = nats.client();
    let mut config = client.ask(&format!("STREAM.INFO.{name}"), &Value::Null)["config"].clone();
    config["max_msg_size"] = json!(1500);
    assert!(client.ask(&format!("STREAM.UPDATE.{name}"), &config)["error"].is_null());
    clones.run("ada", &["note", &task, "--content", &"x".repeat(3_000)]).data();
    clones.run("ada", &["add", "small", "--quiet"]).text();
    assert_eq!(once(&clones, "ada", &nats).data()["published"], 1);
    let found = doctor(&clones, "ada");
    assert!(found["found"].as_str().unwrap().contains("1 event too large for the server"), "{found}");
    assert_eq!(once(&clones, "ada", &nats).data()["published"], 0, "nothing is sent again");
    assert_eq!(once(&clones, "bob", &nats).data()["taken"], 1);

    config["subjects"] = json!([config["subjects"][0]]);
    assert!(client.ask(&format!("STREAM.UPDATE.{name}"), &config)["error"].is_null());
    let mut bridge = clones.room.agentpm_in(&clones.dir("ada"));
    bridge.env_remove("AGENTPM_SEED").args(["bus", "--url", &nats.url()]);
    let refused = Answer::from(bridge.output().expect("agentpm starts")).error("ERR_INVALID_STATE", 4);
    let why = refused["message"].as_str().unwrap();
    assert!(why.contains("does not take agentpm.") && why.contains(".agent.>"), "{refused}");
    assert!(doctor(&clones, "ada")["found"].as_str().unwrap().contains(why), "{refused}");
}

/// ada published two notes, and the server was saved between them.
fn with_backup() -> (Clones, String, Nats, PathBuf) {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let mut nats = Nats::start(&clones.room);
    clones.run("ada", &["note", &task, "--content", "before"]).data();
    once(&clones, "ada", &nats).data();
    nats.kill();
    let saved = nats.save();
    nats.run();
    clones.run("ada", &["note", &task, "--content", "after"]).data();
    once(&clones, "ada", &nats).data();
    (clones, task, nats, saved)
}

#[test]
fn a_stream_that_was_set_back_is_filled_again() {
    needs!("nats-server");
    let (clones, _, mut nats, saved) = with_backup();
    // As if the bridge had been killed before it read its own message.
    let record = clones.dir("ada").join(".git/agentpm/bus/bridge.json");
    let mut noted: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    assert_eq!((noted["taken_to"].clone(), noted["last"].clone()), (json!(2), json!(2)));
    noted["taken_to"] = json!(1);
    std::fs::write(&record, noted.to_string()).unwrap();
    nats.kill();
    nats.set_back(&saved);
    nats.run();
    assert_eq!(nats.client().messages(&stream(&nats)), 1);
    once(&clones, "ada", &nats).data();
    assert_eq!(once(&clones, "bob", &nats).data()["taken"], 2);
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

#[test]
fn a_stream_that_was_set_back_and_written_to_since_is_filled_again() {
    needs!("nats-server");
    let (clones, task, mut nats, saved) = with_backup();
    nats.kill();
    nats.set_back(&saved);
    nats.run();
    for content in ["one", "two", "three"] {
        clones.run("bob", &["note", &task, "--content", content]).data();
    }
    assert_eq!(once(&clones, "bob", &nats).data()["published"], 3);
    assert_eq!(once(&clones, "ada", &nats).data()["taken"], 3);
    assert_eq!(once(&clones, "bob", &nats).data()["taken"], 1, "what the stream lost is there again");
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

#[test]
fn what_waits_leaves_once_git_brought_it_and_what_was_missed_is_named_until_a_sync() {
    needs!("nats-server");
    let (clones, nats) = with_dropped();
    let bridge = Bridge::start(&clones, "bob", &nats, &[]);
    let noted = |what: &str| clones.run("bob", &["status"]).data()["bus"][what].clone();
    wait_for("an event waits", || noted("waiting") == 1);
    bridge.kill();
    let bridge = Bridge::start(&clones, "bob", &nats, &[]);
    assert_eq!((noted("missed"), noted("waiting")), (json!(2), json!(1)), "a start forgets neither");
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    assert_eq!(noted("missed"), 0);
    wait_for("nothing waits", || noted("waiting") == 0);
    bridge.kill();
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

#[test]
fn a_bridge_whose_record_cannot_be_saved_tries_again_until_it_can() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let nats = Nats::start(&clones.room);
    let _bridge = Bridge::start(&clones, "bob", &nats, &[]);
    clones.run("ada", &["task", "update", &task, "--title", "before"]).data();
    once(&clones, "ada", &nats).data();
    let title = || clones.run("bob", &["task", "get", &task]).data()["title"].clone();
    wait_for("bob has the first title", || title() == "before");

    // A full disk does not let a file be replaced either.
    let folder = clones.dir("bob").join(".git/agentpm/bus");
    let record = folder.join("bridge.json");
    wait_for("a folder takes the place of the record", || {
        let _ = std::fs::remove_file(&record);
        std::fs::create_dir(&record).is_ok()
    });
    let changed = || std::fs::metadata(&folder).unwrap().modified().unwrap();
    clones.run("ada", &["task", "update", &task, "--title", "meanwhile"]).data();
    once(&clones, "ada", &nats).data();
    let (mut last, mut tries) = (changed(), 0);
    wait_for("the bridge tries again and again", || {
        let now = changed();
        tries += u32::from(now != last);
        last = now;
        tries > 8
    });
    std::fs::remove_dir(&record).unwrap();
    clones.run("ada", &["task", "update", &task, "--title", "after"]).data();
    once(&clones, "ada", &nats).data();
    wait_for("bob has the last title", || title() == "after");
    wait_for("the record is saved", || record.is_file());
}
