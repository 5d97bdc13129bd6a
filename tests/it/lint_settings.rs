//! Settings, roles and a store that are broken: findings like any other, with their lines, and lint goes on.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

/// What was found: code, severity, the file's name and line.
#[track_caller]
fn found(answer: &Answer) -> Vec<(String, String, String, Option<u64>)> {
    let report = answer.json();
    let findings = report["data"]["findings"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    let word = |f: &Value, key: &str| f[key].as_str().unwrap_or_default().trim_start_matches(".agentpm/").to_owned();
    findings.iter().map(|f| (word(f, "code"), word(f, "severity"), word(f, "path"), f["line"].as_u64())).collect()
}

fn one(code: &str, severity: &str, path: &str, line: Option<u64>) -> (String, String, String, Option<u64>) {
    (code.into(), severity.into(), path.into(), line)
}

#[test]
fn a_value_that_does_not_fit_is_a_finding_and_everything_else_is_judged() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    fs::write(room.store().join("stray.txt"), "x").unwrap();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
    let config = room.store().join("config.toml");
    fs::write(
        &config,
        "format = 1\n[lease]\nttl_seconds = \"long\"\n[lint.severity]\nodd-file = \"warning\"\nlog-gap = \"of\"\ncycle-blocks = \"of\"\n",
    )
    .unwrap();
    let invalid = |line| one("config-invalid", "error", "config.toml", Some(line));
    let expected = vec![invalid(3), invalid(6), invalid(7), one("odd-file", "warning", "stray.txt", None)];
    for flags in [&["lint"][..], &["lint", "--fix"]] {
        let answer = room.run(flags);
        assert_eq!((found(&answer), answer.code), (expected.clone(), 1), "{flags:?}");
    }
    let refused = room.run(&["lint", "--fix", "--format", "text"]);
    assert!(refused.stdout.contains("refused: nothing was repaired"), "{refused:?}");
    let base = room.run(&["lint", "--base", "HEAD"]);
    assert!(base.code == 1 && found(&base).contains(&invalid(3)), "{base:?}");
    room.git(&["add", "-A"]).text();
    assert_eq!(found(&room.run(&["lint", "--staged"])), expected[..3]);
    let github = room.run(&["lint", "--format", "github"]);
    let first = "::error file=.agentpm/config.toml,line=3,title=agentpm config-invalid::lease.ttl_seconds = \"long\": ";
    assert!(github.code == 1 && github.stdout.starts_with(first), "{github:?}");
    let sarif: Value = serde_json::from_str(&room.run(&["lint", "--format", "sarif"]).stdout).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "config-invalid");
    // A command still refuses to go by such settings.
    room.run(&["note", &task, "--content", "x"]).error("ERR_CORRUPT", 8);

    for (text, line) in [(&b"format = ["[..], 1), (b"format = 1\n# \xff\n", 2), (b"format = 1\nformat = 1\n", 2)] {
        fs::write(&config, text).unwrap();
        let answer = room.run(&["lint"]);
        assert_eq!(found(&answer)[..1], [invalid(line)], "{answer:?}");
    }
    fs::remove_file(&config).unwrap();
    let gone = room.run(&["lint"]);
    assert!(found(&gone).contains(&one("config-missing", "warning", "config.toml", None)), "{gone:?}");
    room.run(&["init"]).data();
    symlink("/etc/passwd", room.store().join("roles.yml")).unwrap();
    let linked = room.run(&["lint"]);
    assert!(found(&linked).contains(&one("odd-file", "error", "roles.yml", None)), "{linked:?}");
}

#[test]
fn threads_are_escalated_to_an_agent_name() {
    let room = Sandbox::new();
    let config = room.store().join("config.toml");
    for (name, expected) in
        [("the lead", vec![one("config-invalid", "error", "config.toml", Some(3))]), ("lead", vec![])]
    {
        fs::write(&config, format!("format = 1\n[thread]\nescalate_to = \"{name}\"\n")).unwrap();
        assert_eq!(found(&room.run(&["lint"])), expected);
    }
}

#[test]
fn roles_that_grant_nothing_are_named() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    let roles = room.store().join("roles.yml");
    let write = |text: &str| fs::write(&roles, text).unwrap();
    write("agents:\n  Ada Lovelace:\n    perms: [admin]\n  ada:\n    perms: [updat, ship, admin]\n");
    let warn = |line| one("config-key", "warning", "roles.yml", Some(line));
    assert_eq!(found(&room.run(&["lint"])), [warn(2), warn(5), warn(5)]);
    let said = room.run(&["lint", "--format", "text"]).stdout;
    assert!(said.contains("update is meant?") && said.contains("\"ship\" permits no command"), "{said}");
    room.git(&["add", "-A"]).text();
    assert_eq!(found(&room.run(&["lint", "--staged"])), [warn(2), warn(5)]);
    // A word of the project's own is one as soon as a task asks for it.
    room.run(&["task", "update", &task, "--need-perm", "ship"]).data();
    write("agents:\n  ada:\n    perms: [ship, admin]\n");
    room.is_clean();
    for (text, line) in
        [("agents:\n  ada: {perm: [admin]}\n", 2), ("agents: [\n", 2), ("agents:\n  ada:\n    precedence: much\n", 3)]
    {
        write(text);
        let answer = room.run(&["lint"]);
        let first = found(&answer)[0].clone();
        assert_eq!((first.0.as_str(), first.2.as_str(), answer.code), ("config-invalid", "roles.yml", 1), "{text}");
        assert!(first.3.is_some_and(|found| found <= line), "{answer:?}");
    }
}

#[test]
fn a_link_in_the_place_of_the_store_is_a_finding() {
    let room = Sandbox::new();
    room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
    fs::rename(room.store(), room.beside("moved")).unwrap();
    symlink(room.beside("moved"), room.store()).unwrap();
    let odd = ("odd-file".to_owned(), "error".to_owned(), ".agentpm".to_owned(), None);
    let plain = room.run(&["lint"]);
    assert_eq!((found(&plain), plain.code), (vec![odd.clone()], 1));
    let base = room.run(&["lint", "--base", "HEAD"]);
    let all = found(&base);
    assert!(base.code == 1 && all.contains(&odd) && all.iter().any(|f| f.0 == "log-rewritten"), "{all:?}");
    assert_eq!(room.run(&["lint", "--staged"]).data()["findings"], json!([]));
    room.git(&["add", "-A"]).text();
    let staged = room.run(&["lint", "--staged"]);
    assert!(staged.code == 1 && found(&staged).iter().any(|f| f.0 == "task-deleted"), "{staged:?}");
    let github = room.run(&["lint", "--format", "github"]);
    assert!(github.stdout.starts_with("::error file=.agentpm,title=agentpm odd-file::"), "{github:?}");
}

#[test]
fn findings_are_one_a_line_and_say_in_plain_words_what_to_write() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    let yaml = room.yaml_of(&task);
    let good = fs::read_to_string(&yaml).unwrap();
    let lines = |answer: &Answer| -> Vec<Value> {
        answer.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
    };
    assert_eq!(room.run(&["lint", "--format", "jsonl"]).text(), "");
    fs::write(room.store().join("stray.txt"), "x").unwrap();
    fs::write(&yaml, good.replace("title: one", "title: two")).unwrap();
    let answer = room.run(&["lint", "--format", "jsonl"]);
    let codes: Vec<Value> = lines(&answer).iter().map(|line| line["code"].clone()).collect();
    assert_eq!((codes, answer.code), (vec![json!("odd-file"), json!("task-yaml-edited")], 1));
    let mended = lines(&room.run(&["lint", "--fix", "--format", "jsonl"]));
    assert!(
        mended[0]["fixed"].as_str().unwrap().contains("recorded the edit of title") && mended.len() == 2,
        "{mended:?}"
    );
    fs::remove_file(room.store().join("stray.txt")).unwrap();

    let good = fs::read_to_string(&yaml).unwrap();
    for (edit, line, words) in [
        (good.replace("title: two", "title: &x two").into_bytes(), 1, "quote a text that begins with &"),
        (good.replace("title: two", "title: two\ntitle: three").into_bytes(), 2, "the key title occurs twice"),
        (good.replace("title: two", "title: a: b").into_bytes(), 1, "quote a text"),
        ([b"id: x\ntitle: caf\xe9\n", good.as_bytes()].concat(), 2, "not valid UTF-8 at line 2, byte 11"),
        (good.replace("title: two", "title: two\ndefer_until: tomorrow").into_bytes(), 2, "2026-11-20T10:00:00Z"),
        (good.replace("title: two", "title: two\npriority: high").into_bytes(), 2, "whole number"),
        (good.replace("title: two", "title: two\nneed_precedence: [1]").into_bytes(), 2, "whole number"),
    ] {
        fs::write(&yaml, &edit).unwrap();
        let report = room.run(&["lint"]).json();
        let found = &report["data"]["findings"][0];
        let said = found["message"].as_str().unwrap_or_else(|| panic!("{report:#}"));
        assert!(said.contains(words) && found["line"] == json!(line), "{found:#}");
        for raw in ["breached", "Policy", "i64", "i8", "invalid type", "deserialize"] {
            assert!(!said.contains(raw), "{said}");
        }
    }
}
