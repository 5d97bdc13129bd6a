//! Two agents do not work on the same files unawares: `next` prefers other work, a claim warns, `check` asks about a path.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// A room where bob works on `src/git`, with another task on it, and one on the docs of a lower score.
fn room(settings: &str) -> (Sandbox, String, String, String) {
    let room = Sandbox::new();
    let path = room.store().join("config.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{before}\n[claim]\n{settings}\n[score]\nage_hour = 0.0\n")).unwrap();
    let taken = room.task("read objects", &["--file", "src/git/"]);
    room.run_as("bob", &["claim", &taken]).data();
    let near = room.task("read packs", &["--file", "src/git/p*.rs", "--priority", "1"]);
    let apart = room.task("describe it", &["--file", "docs/*.md"]);
    (room, taken, near, apart)
}

#[test]
fn next_prefers_work_apart_among_near_scores() {
    let (room, _, near, apart) = room("overlap_margin = 1.5");
    assert_eq!(room.run(&["next"]).data()["task"]["id"], json!(apart));
    let ready = room.run(&["ready"]).data();
    assert_eq!((&ready["items"][0]["id"], &ready["items"][1]["id"]), (&json!(apart), &json!(near)));
    room.run(&["task", "update", &near, "--priority", "2"]).data();
    assert_eq!(room.run(&["next"]).data()["task"]["id"], json!(near), "scores that differ by more decide");
    assert_eq!(room.run_as("bob", &["next"]).data()["task"]["id"], json!(near), "work of one's own does not count");
    let claimed = room.run(&["next", "--claim"]);
    assert_eq!(claimed.data()["task"]["id"], json!(near));
}

#[test]
fn a_claim_warns_of_work_on_the_same_files() {
    let (room, taken, near, apart) = room("");
    for words in [["next"].as_slice(), &["claim", &near]] {
        let answer = if words == ["next"] {
            room.run(&["task", "update", &near, "--priority", "3"]).data();
            room.run(words)
        } else {
            room.run(words)
        };
        let expected = format!("bob works on src/git/ for task {} (read objects)", &taken[20..]);
        assert!(answer.stderr.contains(&expected), "{words:?}: {answer:?}");
    }
    room.run(&["release", &near]).data();
    assert!(!room.run(&["claim", &apart]).stderr.contains("overlap"));
}

#[test]
fn a_claim_is_refused_where_the_settings_say_so() {
    let (room, _, near, apart) = room("overlap = \"refuse\"");
    let error = room.run(&["claim", &near]).error("ERR_CONFLICT", 5);
    assert!(error["message"].as_str().unwrap().contains("bob works on src/git/"), "{error}");
    assert_eq!(room.get(&near)["ready"], json!(false));
    let ready = room.run(&["ready", "--explain"]).data();
    assert_eq!((&ready["total"], &ready["not_ready"]["counts"]["overlaps"]), (&json!(1), &json!(1)));
    // Every number of ready tasks is that of `next`.
    assert_eq!(room.run(&["status"]).data()["ready_total"], json!(1));
    assert_eq!(room.run(&["stats"]).data()["ready"], json!(1));
    assert_eq!(room.run(&["ls", "--ready"]).data()["total"], json!(1));
    assert!(room.run(&["prime"]).text().contains("; 1 ready."));
    assert_eq!(room.run(&["next", "--claim"]).data()["task"]["id"], json!(apart));
    assert!(room.run_as("eve", &["next", "--claim"]).data().is_null());
}

#[test]
fn overlaps_can_be_ignored() {
    let (room, _, near, _) = room("overlap = \"off\"");
    assert_eq!(room.run(&["next"]).data()["task"]["id"], json!(near));
    assert!(!room.run(&["claim", &near]).stderr.contains("overlap"));
}

#[test]
fn check_says_who_claims_a_path() {
    let (room, taken, _, _) = room("");
    let answer = room.run(&["check", "src/git/mod.rs", "docs/a.md"]);
    assert_eq!(answer.code, 1);
    let claimed = &answer.json()["data"]["claimed"];
    assert_eq!(claimed.as_array().unwrap().len(), 1, "{answer:?}");
    assert_eq!(
        (&claimed[0]["path"], &claimed[0]["holder"], &claimed[0]["task"], &claimed[0]["handle"]),
        (&json!("src/git/mod.rs"), &json!("bob"), &json!(taken), &json!(&taken[20..]))
    );
    std::fs::create_dir_all(room.repo().join("src/git")).unwrap();
    assert_eq!(
        room.run_in(&room.repo().join("src/git"), &["check", "../../src"]).code,
        1,
        "a folder has the path in it"
    );
    assert_eq!(room.run(&["check", "src/github"]).data()["claimed"], Value::Null);
    assert_eq!(room.run_as("bob", &["check", "src/git/mod.rs"]).data()["claimed"], Value::Null);
    assert_eq!(room.run(&["--format", "table", "check", "src/github"]).stdout, "");
    room.run(&["check", "../outside"]).error("ERR_USAGE", 2);
    room.run_as("bob", &["done", &taken]).data();
    assert_eq!(room.run(&["check", "src/git/mod.rs"]).data()["claimed"], Value::Null);
}

#[test]
fn claims_of_other_worktrees_count() {
    let room = Sandbox::new();
    let task = room.task("read objects", &["--file", "src/git"]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "begin"]).text();
    let there = room.beside("there");
    room.git(&["worktree", "add", "-q", "-b", "side", there.to_str().unwrap()]).text();
    let mut command = room.agentpm_in(&there);
    assert!(command.env("AGENTPM_AGENT", "bob").args(["claim", &task]).output().unwrap().status.success());
    let answer = room.run(&["check", "src/git/mod.rs"]);
    assert_eq!((answer.code, &answer.json()["data"]["claimed"][0]["holder"]), (1, &json!("bob")));
}

#[test]
fn a_refused_overlap_is_overridden_for_a_reason() {
    let (room, taken, near, _) = room("overlap = \"refuse\"");
    let error = room.run(&["claim", &near]).error("ERR_CONFLICT", 5);
    assert!(error["hint"].as_str().unwrap().contains("--override"), "{error}");
    room.run(&["claim", &near, "--override", " "]).error("ERR_USAGE", 2);
    let claimed = room.run(&["claim", &near, "--override", "agreed with bob"]);
    assert_eq!(claimed.data()["task"]["status"], "in_progress");
    assert!(claimed.stderr.contains("bob works on src/git/"), "{claimed:?}");
    let log = room.run(&["log", &near, "--type", "LeaseOverride", "--json"]).data();
    let event = &log["items"][0];
    assert_eq!(
        (&event["payload"], &event["why"]),
        (&json!({ "holder": "bob", "task": taken }), &json!("agreed with bob"))
    );
    room.is_clean();
}

#[test]
fn an_override_of_an_overlap_needs_the_right() {
    let (room, _, near, _) = room("overlap = \"refuse\"");
    std::fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [claim]}\n").unwrap();
    room.run(&["claim", &near, "--override", "it is urgent"]).error("ERR_UNAUTHORIZED", 6);
}

#[test]
fn check_takes_a_pattern() {
    let room = Sandbox::new();
    let task = room.task("git", &["--file", "src/git"]);
    room.run_as("bob", &["claim", &task]).data();
    for (pattern, code) in [("src/git/*.rs", 1), ("src/*.rs", 1), ("docs/*.md", 0), ("**/*.md", 1)] {
        let answer = room.run(&["check", pattern]);
        assert_eq!(answer.code, code, "{pattern}: {answer:?}");
    }
}

#[test]
fn the_board_and_reviews_know_what_overlaps() {
    let (room, _, near, _) = room("overlap = \"refuse\"");
    let reviewed = room.task("done", &[]);
    let path = room.store().join("config.toml");
    let settings = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{settings}\n[review]\nrequired = true\n")).unwrap();
    room.run(&["claim", &reviewed]).data();
    room.run(&["done", &reviewed]).data();
    let page = room.run_short(&["export", "--format", "html"]).text().to_owned();
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: Value = serde_json::from_str(data).unwrap();
    let on_board = |id: &str| data["tasks"].as_array().unwrap().iter().find(|task| task["id"] == id).unwrap().clone();
    assert_eq!(on_board(&near)["ready"], room.get(&near)["ready"]);
    assert_ne!(on_board(&near)["ready"], true);
    assert_eq!(
        (&on_board(&reviewed)["awaits_review"], &room.get(&reviewed)["awaits_review"]),
        (&json!(true), &json!(true))
    );
    let none = room.run(&["next", "--reviews"]).json();
    assert_eq!(none["reasons"]["counts"]["overlaps"], 1, "{none}");
}
