//! What lint says, in the forms that people, hosts and editors read; how bad it is by the settings; and its pages.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

/// A room with an edited file, a file that does not belong there, and a key that is not known.
fn odd_room() -> (Sandbox, String) {
    let room = Sandbox::new();
    let id = room.task("the task", &[]);
    room.run(&["task", "update", &id, "--priority", "2"]).data();
    let page = fs::read_to_string(room.yaml_of(&id)).unwrap();
    fs::write(room.yaml_of(&id), page.replace("priority: 2", "priority: 3")).unwrap();
    fs::write(room.store().join("odd, 100%: file.txt"), "x").unwrap();
    config(&room, "[lease]\nttl_second = 5\n");
    (room, id)
}

fn config(room: &Sandbox, more: &str) {
    fs::write(room.store().join("config.toml"), format!("format = 1\n{more}")).unwrap();
}

fn codes(answer: &Answer) -> Vec<(String, String)> {
    let report = answer.json()["data"].clone();
    assert_eq!(answer.code, i32::from(report["errors"] != 0), "{answer:?}");
    let pair = |f: &Value| (f["code"].as_str().unwrap().to_owned(), f["severity"].as_str().unwrap().to_owned());
    report["findings"].as_array().unwrap().iter().map(pair).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(code, severity)| ((*code).to_owned(), (*severity).to_owned())).collect()
}

/// The document, which must be valid SARIF.
#[track_caller]
fn sarif(answer: &Answer) -> Value {
    let schema = include_str!("../../fixtures/sarif/sarif-schema-2.1.0.json");
    let mut schema: Value = serde_json::from_str(schema).unwrap();
    // A stray bracket makes this pattern of the official schema no regular expression; we say no language.
    for part in ["run", "toolComponent"] {
        schema["definitions"][part]["properties"]["language"].as_object_mut().unwrap().remove("pattern");
    }
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let log: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
    let wrong: Vec<String> = validator.iter_errors(&log).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(log["runs"].as_array().unwrap().len(), 1);
    log["runs"][0].clone()
}

#[test]
fn sarif_is_valid_and_says_what_json_says() {
    let (room, id) = odd_room();
    let findings = room.findings();
    let answer = room.run(&["lint", "--format", "sarif"]);
    assert_eq!(answer.code, 1);
    let run = sarif(&answer);
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!((results.len(), findings.len()), (3, 3));
    for (result, finding) in results.iter().zip(&findings) {
        assert_eq!(result["ruleId"], finding["code"]);
        assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], finding["code"]);
        assert_eq!(result["level"], finding["severity"]);
        let text = result["message"]["text"].as_str().unwrap();
        assert!(
            text.contains(finding["message"].as_str().unwrap()) && text.contains(finding["mend"].as_str().unwrap())
        );
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uriBaseId"], "%SRCROOT%");
        assert_eq!(place["region"].get("startLine"), finding.get("line"), "{place}");
    }
    let odd = results.iter().find(|r| r["ruleId"] == "odd-file").unwrap();
    let uri = &odd["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(uri, ".agentpm/odd%2C%20100%25%3A%20file.txt");
    let page = rules.iter().find(|r| r["id"] == "odd-file").unwrap()["help"]["markdown"].as_str().unwrap();
    assert!(page.starts_with("# odd-file\n"), "{page}");

    // What moves down in its file is the same result as before.
    let prints = |run: &Value| -> Vec<Value> {
        run["results"].as_array().unwrap().iter().map(|r| r["partialFingerprints"].clone()).collect()
    };
    config(&room, "# a word\n\n[lease]\nttl_second = 5\n");
    let page = fs::read_to_string(room.yaml_of(&id)).unwrap();
    fs::write(room.yaml_of(&id), page.replace("title:", "\ntitle:")).unwrap();
    let moved = sarif(&room.run(&["lint", "--format", "sarif"]));
    assert_eq!(prints(&moved), prints(&run));
    assert_ne!(moved["results"], run["results"], "the lines are others");
}

#[test]
fn lint_of_a_clean_or_missing_plan_prints_no_finding() {
    let clean = Sandbox::new();
    clean.task("one", &[]);
    assert_eq!(sarif(&clean.run(&["lint", "--format", "sarif"]))["results"], json!([]));
    assert_eq!(clean.run(&["lint", "--format", "github"]).text(), "");
    assert_eq!(clean.run(&["lint", "--format", "text"]).text(), "1 task: 0 errors, 0 warnings");
    for room in [Sandbox::bare_repo(), Sandbox::nothing()] {
        for flags in [&["lint"][..], &["lint", "--staged"], &["lint", "--stdin", "--path", "x/task.yaml"]] {
            for format in ["text", "github", "table"] {
                let answer = room.run(&[flags, &["--format", format]].concat());
                assert_eq!((answer.code, &*answer.stdout, &*answer.stderr), (0, "", ""), "{flags:?} {format}");
            }
            assert_eq!(room.run(&[flags, &["--json"]].concat()).data()["findings"], json!([]));
            let answer = room.run(&[flags, &["--format", "sarif"]].concat());
            assert_eq!((answer.code, &sarif(&answer)["results"]), (0, &json!([])));
        }
    }
    let refused = clean.run(&["lint", "--format", "xml"]).error("ERR_USAGE", 2);
    for format in ["text", "json", "github", "sarif"] {
        assert!(refused["hint"].as_str().unwrap().contains(format), "{refused}");
    }
    clean.run(&["task", "list", "--format", "sarif"]).error("ERR_USAGE", 2);
}

#[test]
fn workflow_annotations_name_the_line() {
    let (room, _) = odd_room();
    let answer = room.run(&["lint", "--format", "github"]);
    assert_eq!(answer.code, 1);
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let begins = |begin: &str| assert!(lines.iter().any(|line| line.starts_with(begin)), "{begin} in {lines:#?}");
    begins(
        "::error file=.agentpm/odd%2C 100%25%3A file.txt,title=agentpm odd-file::a file that does not belong here%0A",
    );
    begins(
        "::warning file=.agentpm/config.toml,line=3,title=agentpm config-key::unknown key lease.ttl_second; did you",
    );
    begins("::error file=.agentpm/tasks/");
    assert!(lines.iter().any(|line| line.contains("/task.yaml,line=5,title=agentpm task-yaml-edited::")), "{lines:#?}");
}

#[test]
fn the_settings_say_how_bad_a_rule_is_and_never_hide_what_loses_data() {
    let (room, id) = odd_room();
    let all = pairs(&[("odd-file", "error"), ("task-yaml-edited", "error"), ("config-key", "warning")]);
    assert_eq!(codes(&room.run(&["lint"])), all);
    config(&room, "[lint.severity]\nodd-file = \"warning\"\nconfig-key = \"error\"\n");
    assert_eq!(codes(&room.run(&["lint"])), pairs(&[("task-yaml-edited", "error"), ("odd-file", "warning")]));
    config(&room, "[lint.severity]\nodd-file = \"off\"\ntask-yaml-edited = \"off\"\nod-file = \"off\"\n");
    let answer = room.run(&["lint"]);
    assert_eq!(
        codes(&answer),
        pairs(&[("task-yaml-edited", "error"), ("config-key", "warning"), ("config-key", "warning")])
    );
    let findings = answer.json()["data"]["findings"].clone();
    let said = |n: usize| (findings[n]["message"].as_str().unwrap().to_owned(), findings[n]["line"].as_u64());
    assert!(said(1).0.starts_with("task-yaml-edited means lost") && said(1).1 == Some(4), "{:?}", said(1));
    assert!(said(2).0.ends_with("did you mean lint.severity.odd-file?") && said(2).1 == Some(5), "{:?}", said(2));
    config(&room, "[lint.severity]\nodd-file = \"never\"\n");
    let invalid = room.run(&["lint"]).json()["data"]["findings"][0].clone();
    assert_eq!((&invalid["code"], &invalid["line"]), (&json!("config-invalid"), &json!(3)), "{invalid}");

    // What is staged goes by the settings that are staged.
    config(&room, "[lint.severity]\nodd-file = \"off\"\n");
    fs::write(room.yaml_of(&id), fs::read_to_string(room.yaml_of(&id)).unwrap().replace("priority: 3", "priority: 2"))
        .unwrap();
    room.git(&["add", "-A"]).text();
    config(&room, "[lint.severity]\nodd-file = \"error\"\n");
    assert_eq!(codes(&room.run(&["lint", "--staged"])), []);
}

#[test]
fn a_branch_cannot_switch_off_a_rule_for_itself() {
    let room = Sandbox::new();
    room.task("one", &[]);
    config(&room, "[lint.severity]\nodd-file = \"warning\"\nconfig-key = \"error\"\n");
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "base"]).text();
    room.git(&["switch", "-q", "-c", "work"]).text();
    fs::write(room.store().join("odd.txt"), "x").unwrap();
    config(&room, "strange = 1\n[lint.severity]\nodd-file = \"off\"\nconfig-key = \"off\"\n");
    fs::create_dir_all(room.home().join(".agentpm")).unwrap();
    fs::write(room.home().join(".agentpm/config.toml"), "[lint.severity]\nodd-file = \"off\"\n").unwrap();
    assert_eq!(codes(&room.run(&["lint"])), []);
    let since = codes(&room.run(&["lint", "--base", "main"]));
    assert_eq!(since, pairs(&[("config-key", "error"), ("rules-changed", "warning"), ("odd-file", "warning")]));
}

#[test]
fn each_rule_has_a_page() {
    let room = Sandbox::nothing();
    let page = room.run(&["lint", "--explain", "log-gap"]).data();
    assert_eq!((&page["severity"], &page["configurable"]), (&json!("error"), &json!(false)));
    for key in ["code", "summary", "mend", "page"] {
        assert!(page[key].as_str().is_some_and(|text| !text.is_empty()), "{page}");
    }
    for format in ["md", "text"] {
        let text = room.run(&["lint", "--explain", "log-gap", "--format", format]);
        assert_eq!(Some(&*text.stdout), page["page"].as_str());
    }
    let unknown = room.run(&["lint", "--explain", "log-gapp"]).error("ERR_NOT_FOUND", 3);
    assert!(unknown["hint"].as_str().unwrap().contains("log-gap"), "{unknown}");
    room.run(&["lint", "--explain", "x", "--fix"]).error("ERR_USAGE", 2);
    room.run(&["lint", "--explain"]).error("ERR_USAGE", 2);
    assert_eq!(room.run(&["lint", "--explain", "log-gap", "--format", "sarif"]).code, 2);
}

#[test]
fn pages_name_only_commands_and_flags_that_there_are() {
    let room = Sandbox::nothing();
    let pages = room.run(&["schema", "rules"]).data();
    for rule in pages.as_array().unwrap() {
        let code = rule["code"].as_str().unwrap();
        let page = room.run(&["lint", "--explain", code]).data()["page"].as_str().unwrap().to_owned();
        assert!(page.starts_with(&format!("# {code}\n")) && page.contains("**To fix it**"), "{code}");
        assert!((8..=20).contains(&page.lines().count()), "{code}");
        // What stands outside of backticks is prose.
        for command in page.split('`').skip(1).step_by(2).filter_map(|part| part.strip_prefix("agentpm ")) {
            let words: Vec<&str> =
                command.split(' ').take_while(|w| w.bytes().all(|b| b.is_ascii_lowercase())).collect();
            if words.is_empty() {
                assert_eq!(command, "--version", "{code}");
                continue;
            }
            let help = room.run(&[&words[..], &["--help"]].concat());
            // A word after a verb without further verbs is an argument of it.
            let help = if help.code == 0 { help } else { room.run(&[&words[..1], &["--help"]].concat()) };
            assert_eq!(help.code, 0, "{code}: agentpm {command}");
            for flag in command.split(' ').filter(|word| word.starts_with("--")) {
                assert!(help.stdout.contains(flag), "{code}: agentpm {command}: no {flag}");
            }
        }
    }
}

#[test]
fn an_editor_asks_about_a_text_that_is_not_saved_yet() {
    let room = Sandbox::new();
    let id = room.task("the task", &[]);
    room.run(&["task", "update", &id, "--priority", "2"]).data();
    let page = fs::read_to_string(room.yaml_of(&id)).unwrap();
    let log = fs::read_to_string(room.log_of(&id)).unwrap();
    let yaml = room.yaml_of(&id);
    let ask = |path: &str, text: &str| {
        let answer = room.feed(&["lint", "--stdin", "--path", path, "--json"], text.as_bytes());
        let findings = answer.json()["data"]["findings"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
        assert_eq!(answer.code, i32::from(findings.iter().any(|f| f["severity"] == "error")), "{answer:?}");
        let short = |f: &Value| (f["code"].as_str().unwrap().to_owned(), f["line"].as_u64());
        findings.iter().map(short).collect::<Vec<_>>()
    };
    let one = |code: &str, line: u64| vec![(code.to_owned(), Some(line))];
    let absolute = yaml.to_str().unwrap().to_owned();
    let relative = yaml.strip_prefix(room.repo()).unwrap().to_str().unwrap().to_owned();
    let log_path = room.log_of(&id).to_str().unwrap().to_owned();
    for path in [&absolute, &relative] {
        assert_eq!(ask(path, &page), []);
        assert_eq!(ask(path, &page.replace("priority: 2", "priority: 4")), one("task-yaml-edited", 5));
        assert_eq!(ask(path, &page.replace("title: the task", "title: [a")), one("task-yaml-invalid", 2));
    }
    assert_eq!(ask(&log_path, &log), []);
    assert_eq!(ask(&log_path, &format!("{log}hello\n")), one("log-line", 3));
    let first = log.lines().next().unwrap();
    assert_eq!(ask(&log_path, &format!("{first}\n")), [("log-rewritten".to_owned(), None)]);
    assert_eq!(ask(".agentpm/config.toml", "format = 1\n[lease]\nttl_second = 1\n"), one("config-key", 3));
    assert_eq!(ask(".agentpm/config.toml", "format = 1\nformat = 1\n"), one("config-invalid", 2));
    assert_eq!(ask(".agentpm/roles.yml", "agents:\n  ada: {perms: [admin], precedence: 1}\n"), []);
    assert_eq!(ask(".agentpm/roles.yml", "agents: [\n")[0].0, "config-invalid");
    assert_eq!(ask(".agentpm/notes.txt", "x"), [("odd-file".to_owned(), None)]);

    // A file that belongs to no task, a new file, and broken settings in the work tree.
    for path in ["README.md", "no/such/folder/task.yaml", "/etc/hostname", "../task.yaml"] {
        assert_eq!(ask(path, "title: [a"), []);
    }
    assert_eq!(ask(".agentpm/tasks/new/mine/task.yaml", "title: a new one\n"), one("task-new", 1));
    assert_eq!(ask(".agentpm/tasks/new/mine/task.yaml", "title: [a\n")[0].0, "task-new");
    fs::write(room.store().join("config.toml"), "format = [").unwrap();
    assert_eq!(ask(&absolute, &page), []);
    assert_eq!(ask(".agentpm/config.toml", "format = 1\n"), []);
    assert_eq!(fs::read_to_string(&yaml).unwrap(), page, "nothing is written");

    let github = room.feed(&["lint", "--stdin", "--path", &absolute, "--format", "github"], b"title: [a");
    assert!(github.code == 1 && github.stdout.starts_with("::error file=.agentpm/tasks/"), "{github:?}");
    let log = room.feed(&["lint", "--stdin", "--path", &absolute, "--format", "sarif"], page.as_bytes());
    assert_eq!(sarif(&log)["results"], json!([]));
    room.run(&["lint", "--stdin"]).error("ERR_USAGE", 2);
    room.run(&["lint", "--path", "x"]).error("ERR_USAGE", 2);
}
