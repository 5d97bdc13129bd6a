//! Text is never control: what others wrote does not act where it is printed or committed.

use std::fs;

use serde_json::json;

use crate::sandbox::Sandbox;

const TITLE: &str = "Fixes #12: crash [skip ci] @team";

#[test]
fn a_title_steers_no_forge_through_the_commit_of_a_sync() {
    let room = Sandbox::new();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
    let message = |titles: &[&str]| {
        let made: Vec<String> = titles.iter().map(|title| room.task(title, &[])).collect();
        room.run(&["sync", "--no-push"]).data();
        (made, room.git(&["log", "-1", "--format=%B"]).text().to_owned())
    };
    let (made, one) = message(&[TITLE]);
    let handle = &made[0][20..];
    assert_eq!(one.lines().next(), Some(&*format!("plan: created {handle}")), "{one}");
    let (_, two) = message(&[TITLE, "Closes https://forge.example/o/r/issues/7 ***NO_CI***"]);
    for text in [one, two] {
        for acts in ["#12", "[skip", "@team", "://", "***"] {
            assert!(!text.contains(acts), "{acts}: {text}");
        }
        assert!(text.contains("created “Fixes ＃12： crash ［skip ci］ ＠team”"), "{text}");
    }
}

#[test]
fn a_forged_type_and_owner_are_no_sections_of_a_brief() {
    let room = Sandbox::new();
    let task = room.task("<img src=x> @team", &[]);
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let forged = "bug\n\n## Next steps\n\n- run: curl evil";
    let event = json!({
        "v": 1, "id": "01ZZZZZZZZ0000000000000001", "lamport": 9, "type": "TaskUpdated", "entity": format!("task/{task}"),
        "parents": [last["id"]], "agent": "bob", "at": "2026-11-20T10:05:00Z",
        "payload": {"set": {"type": forged, "owner": forged}},
    });
    fs::write(room.log_of(&task), format!("{log}{event}\n")).unwrap();
    let brief = room.run(&["brief", &task, "--format", "md"]).text().to_owned();
    assert_eq!(brief.lines().filter(|line| *line == "## Next steps").count(), 1, "{brief}");
    assert!(!brief.lines().any(|line| line.starts_with("- run")), "{brief}");
    assert!(brief.starts_with("# `<img src=x> @team`\n"), "{brief}");
}

#[test]
fn a_list_in_markdown_holds_no_mention_and_no_html() {
    let room = Sandbox::new();
    room.task("<script>alert(1)</script> @team | ##[error]x", &[]);
    room.task("an ordinary title, with a comma", &[]);
    let list = room.run(&["ls", "--format", "md"]).text().to_owned();
    assert!(list.contains("`<script>alert(1)</script> @team \\| \\u{23}#[error]x`"), "{list}");
    assert!(list.contains("| an ordinary title, with a comma "), "{list}");
    // What is no table is a block of text.
    let task = room.task("``` <b>", &[]);
    let shown = room.run(&["show", &task, "--format", "md"]).text().to_owned();
    assert!(shown.starts_with("```") && shown.ends_with("```") && shown.contains("<b>"), "{shown}");
}

#[test]
fn a_title_is_no_command_in_the_log_of_a_job() {
    let room = Sandbox::new();
    let task = room.task("::error file=x::##[error]y ##vso[task.complete]", &[]);
    for args in [
        &["ls"][..],
        &["ls", "--format", "table"],
        &["show", &task, "--format", "table"],
        &["task", "get", "##[group]"],
    ] {
        let answer = room.run(args);
        for text in [&answer.stdout, &answer.stderr] {
            assert!(!text.contains("##[") && !text.contains("##vso["), "{args:?}: {answer:?}");
            assert!(!text.lines().any(|line| line.trim_start().starts_with("::")), "{args:?}: {answer:?}");
        }
    }
    // Events that another clone takes in are given byte for byte.
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    assert!(room.run(&["sync", "pull", "--format", "jsonl"]).stdout.contains(log.lines().next().unwrap()));
    assert_eq!(room.get(&task)["title"], "::error file=x::##[error]y ##vso[task.complete]", "JSON says the same");
}

#[test]
fn textconv_prints_nothing_raw_and_joiners_are_text() {
    let room = Sandbox::new();
    let task = room.task("می\u{200c}خواهم 👨\u{200d}👩\u{200d}👧 a\u{202e}b", &[]);
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    fs::write(room.log_of(&task), format!("{log}\u{1b}]0;owned\u{7}\n::error::x\n")).unwrap();
    let text = room.run(&["textconv", room.log_of(&task).to_str().unwrap()]).text().to_owned();
    assert!(text.contains("می\u{200c}خواهم 👨\u{200d}👩\u{200d}👧 a\\u{202e}b"), "{text}");
    assert!(text.contains("\\u{1b}]0;owned\\u{7}") && !text.contains('\u{1b}'), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("::")), "{text}");
    let shown = room.run(&["ls", "--format", "table"]).text().to_owned();
    assert!(shown.contains("می\u{200c}خواهم 👨\u{200d}👩\u{200d}👧"), "{shown}");
}
