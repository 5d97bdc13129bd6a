//! The agents' door: the section in AGENTS.md, what `prime` says, and the loop on one page.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

const BEGIN: &str = "<!-- agentpm:begin -->";
const END: &str = "<!-- agentpm:end -->";

/// The section as a repository without AGENTS.md gets it.
fn section() -> String {
    let room = Sandbox::bare_repo();
    let made = room.run(&["init", "--agents-md"]).data();
    assert!(made["created"].as_array().unwrap().contains(&json!("AGENTS.md")), "{made}");
    let text = fs::read_to_string(room.repo().join("AGENTS.md")).unwrap();
    assert!(text.starts_with(&format!("{BEGIN}\n")) && text.ends_with(&format!("{END}\n")), "{text}");
    assert!(text.contains("agentpm prime") && text.len() < 1_000, "short: {text}");
    text
}

/// What AGENTS.md becomes, and stays.
#[track_caller]
fn becomes(old: &[u8]) -> Vec<u8> {
    let room = Sandbox::bare_repo();
    let path = room.repo().join("AGENTS.md");
    fs::write(&path, old).unwrap();
    room.run(&["init", "--agents-md"]).data();
    let new = fs::read(&path).unwrap();
    let again = room.run(&["init", "--agents-md"]).data();
    assert_eq!(again["created"], Value::Null, "the second time changes nothing");
    assert_eq!(fs::read(&path).unwrap(), new);
    new
}

#[test]
fn the_section_is_appended_to_an_existing_file() {
    let ours = section();
    let windows = ours.replace('\n', "\r\n");
    for (name, old, between) in [
        ("an empty file", "", ""),
        ("a file", "# Rules\n\nbe kind\n", "\n"),
        ("a file that ends with a blank line", "# Rules\n\n", ""),
        ("a file without a final newline", "# Rules", "\n\n"),
        ("trailing blanks, tabs and pages", "a  \n\t\x0c\nb \n", "\n"),
        ("a mark that is spoken of", "our marks look like `<!-- agentpm:begin -->`\n", "\n"),
    ] {
        assert_eq!(String::from_utf8(becomes(old.as_bytes())).unwrap(), format!("{old}{between}{ours}"), "{name}");
    }
    for (name, old, between) in [
        ("lines of Windows", "# Rules\r\n\r\nbe kind\r\n", "\r\n"),
        ("the same without the last", "# Rules\r\nbe kind", "\r\n\r\n"),
    ] {
        assert_eq!(String::from_utf8(becomes(old.as_bytes())).unwrap(), format!("{old}{between}{windows}"), "{name}");
    }
    let latin = b"caf\xe9\n";
    assert_eq!(becomes(latin), [&latin[..], b"\n", ours.as_bytes()].concat(), "no UTF-8 is no obstacle");
    let bom = "\u{feff}".as_bytes();
    assert_eq!(becomes(bom), [bom, ours.as_bytes()].concat());
}

#[test]
fn an_older_section_is_replaced_and_nothing_else() {
    let ours = section();
    let bare = ours.trim_end();
    let windows = bare.replace('\n', "\r\n");
    let old = format!("{BEGIN}\n## As it was\n\nyears ago\n{END}");
    for (before, after) in
        [("", ""), ("", "\n"), ("# Rules  \n\n", "\n\n\n# More\n\n  x"), ("a\n", "\nb\n"), ("\u{feff}", "\n")]
    {
        let became = becomes(format!("{before}{old}{after}").as_bytes());
        assert_eq!(String::from_utf8(became).unwrap(), format!("{before}{bare}{after}"));
    }
    let became = becomes(format!("a\r\n{}\r\nb\r\n", old.replace('\n', "\r\n")).as_bytes());
    assert_eq!(String::from_utf8(became).unwrap(), format!("a\r\n{windows}\r\nb\r\n"));
    let became = becomes(format!("a\n  {BEGIN}  \nx\n\t{END}\nb\n").as_bytes());
    assert_eq!(String::from_utf8(became).unwrap(), format!("a\n{bare}\nb\n"));
}

#[test]
fn marks_that_do_not_pair_are_refused_and_nothing_is_written() {
    for (old, line) in [
        (format!("# Rules\n\n{BEGIN}\n## The plan\n\nand all that I wrote below\n"), "line 3"),
        (format!("{END}\n"), "line 1"),
        (format!("{END}\n{BEGIN}\n"), "line 1"),
        (format!("{BEGIN}\n{BEGIN}\n{END}\n"), "line 3"),
        (format!("{BEGIN}\n{END}\ntext\n{BEGIN}\n{END}\n"), "line 5"),
    ] {
        let room = Sandbox::bare_repo();
        let path = room.repo().join("AGENTS.md");
        fs::write(&path, &old).unwrap();
        let error = room.run(&["init", "--agents-md"]).error("ERR_CORRUPT", 8);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("AGENTS.md") && message.contains(line), "{old:?}: {message}");
        assert!(error["hint"].as_str().unwrap().contains(END), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), old);
        assert!(!room.store().exists(), "no store is made either");
        room.run(&["init"]).data();
    }
}

#[test]
fn a_link_is_followed_to_a_page_of_the_same_repository_alone() {
    let ours = section();
    for (target, name) in
        [("CLAUDE.md", "CLAUDE.md"), ("docs/agents.md", "docs/agents.md"), ("./CLAUDE.md", "CLAUDE.md")]
    {
        let room = Sandbox::bare_repo();
        fs::create_dir(room.repo().join("docs")).unwrap();
        fs::write(room.repo().join(name), "# Ours\n").unwrap();
        fs::set_permissions(room.repo().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        symlink(target, room.repo().join("AGENTS.md")).unwrap();
        let made = room.run(&["init", "--agents-md"]).data();
        assert!(made["created"].as_array().unwrap().contains(&json!(name)), "{made}");
        assert_eq!(fs::read_link(room.repo().join("AGENTS.md")).unwrap(), Path::new(target), "it is a link still");
        assert_eq!(fs::read_to_string(room.repo().join(name)).unwrap(), format!("# Ours\n\n{ours}"));
        assert_eq!(fs::metadata(room.repo().join(name)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(room.run(&["init", "--agents-md"]).data()["created"], Value::Null);
    }
    let outside = Sandbox::bare_repo();
    fs::write(outside.repo().join("page.md"), "theirs\n").unwrap();
    let absolute = outside.repo().join("page.md").display().to_string();
    for target in [
        &*absolute,
        "../beside.md",
        ".git/hooks/pre-commit",
        ".git/x.md",
        "Makefile",
        "missing.md",
        "second.md",
        "docs",
    ] {
        let room = Sandbox::bare_repo();
        fs::write(room.beside("beside.md"), "beside\n").unwrap();
        fs::write(room.repo().join("Makefile"), "all:\n").unwrap();
        fs::write(room.repo().join(".git/x.md"), "x\n").unwrap();
        symlink("../beside.md", room.repo().join("second.md")).unwrap();
        symlink(target, room.repo().join("AGENTS.md")).unwrap();
        let error = room.run(&["init", "--agents-md"]).error("ERR_CORRUPT", 8);
        assert!(error["message"].as_str().unwrap().contains(target), "{target}: {error}");
        assert_eq!(fs::read_to_string(room.beside("beside.md")).unwrap(), "beside\n");
        assert_eq!(fs::read_to_string(room.repo().join("Makefile")).unwrap(), "all:\n");
        assert!(!room.store().exists() && !room.repo().join(".git/hooks/pre-commit").exists());
    }
    assert_eq!(fs::read_to_string(&absolute).unwrap(), "theirs\n");
    let room = Sandbox::bare_repo();
    fs::create_dir(room.repo().join("AGENTS.md")).unwrap();
    room.run(&["init", "--agents-md"]).error("ERR_CORRUPT", 8);
}

#[test]
fn prime_is_short_and_complete() {
    let room = Sandbox::new();
    let page = room.run(&["prime"]);
    assert!(page.text().len() / 4 <= 1_500, "{} bytes", page.text().len());
    for word in ["next --claim", "brief", "done", "sync", "lint", "review", "resolve", "task.yaml", "help agents"] {
        assert!(page.text().contains(word), "{word}: {page:?}");
    }
}

#[test]
fn each_role_has_a_short_loop_of_its_own() {
    let room = Sandbox::new();
    let page = |args: &[&str]| room.run(&[&["prime"], args].concat()).text().to_owned();
    for (role, words) in [
        ("planner", &["plan apply", "graph", "plan show", "task split", "undo --correlation-id"][..]),
        ("executor", &["next --claim", "brief", "progress add", "done"]),
        ("reviewer", &["inbox", "review", "thread resolve", "task verify"]),
        ("coordinator", &["status", "stale", "broadcast", "thread escalate"]),
    ] {
        let text = page(&["--role", role]);
        assert!(text.len() / 4 < 1_500, "{role}: {} bytes", text.len());
        words.iter().for_each(|word| assert!(text.contains(&format!("agentpm {word}")), "{role}: {word}"));
        assert!(text.contains("instructions to you"), "{role}");
    }
    let loop_of = |text: &str| text.lines().find(|line| line.starts_with("## The loop")).unwrap().to_owned();
    assert_eq!(loop_of(&page(&[])), "## The loop");
    room.run(&["agent", "register", "--role", "reviewer"]).data();
    assert_eq!(loop_of(&page(&[])), "## The loop of a reviewer");
    assert!(page(&[]).contains("You are: ada, registered as reviewer"));
    assert_eq!(loop_of(&page(&["--role", "planner"])), "## The loop of a planner");
    room.run(&["agent", "register", "--role", "night-shift"]).data();
    assert_eq!(loop_of(&page(&[])), "## The loop", "a role of the project's own works like an executor");
    room.run(&["prime", "--role", "king"]).error("ERR_USAGE", 2);
}

/// A plan in which each command of a loop has something to work on.
fn busy_plan() -> (Sandbox, Vec<(&'static str, String)>) {
    let room = Sandbox::new();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "a store"]).text();
    let task = room.task("Order the locks", &["--acceptance", "no deadlock", "--correlation-id", "REQUEST"]);
    let held = room.task("held", &[]);
    room.run_as("bob", &["claim", &held]).data();
    let done = room.task("done", &[]);
    room.run_as("bob", &["claim", &done]).data();
    room.run_as("bob", &["done", &done]).data();
    let thread =
        room.run_as("bob", &["thread", "open", &task, "--body", "x", "--set", "priority=2", "--no-hold"]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "the plan"]).text();
    room.git(&["switch", "-q", "-c", "side"]).text();
    room.run(&["task", "update", &task, "--estimate", "1h"]).data();
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    let lost: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    room.git(&["commit", "-q", "-a", "-m", "side"]).text();
    room.git(&["switch", "-q", "main"]).text();
    room.run(&["note", &task, "--content", "later"]).data();
    room.run(&["task", "update", &task, "--estimate", "2h"]).data();
    room.git(&["commit", "-q", "-a", "-m", "main"]).text();
    let _ = room.git(&["merge", "-q", "--no-edit", "side"]);
    room.run(&["resolve"]).data();
    room.git(&["add", "-A"]).text();
    let _ = room.git(&["commit", "-q", "-m", "merged"]);
    fs::write(room.repo().join("plan.yaml"), "plan: p\ntasks:\n  - {key: a, title: a}\n").unwrap();
    let names = vec![
        ("THREAD", thread["id"].as_str().unwrap().to_owned()),
        ("EVENT", lost["id"].as_str().unwrap().to_owned()),
        ("OTHER", held),
        ("DONE", done),
        ("ID", task),
    ];
    (room, names)
}

/// The commands of a loop, one for each of their optional parts.
fn commands_of(page: &str) -> Vec<String> {
    let page = page.split("## The loop").nth(1).unwrap().split("## Now").next().unwrap();
    let spans = page.split('`').skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
    spans.filter_map(|span| span.strip_prefix("agentpm ").map(|rest| rest.replace(['[', ']'], ""))).collect()
}

#[test]
fn the_commands_of_each_loop_work_as_they_stand() {
    let (room, names) = busy_plan();
    let mut ran = 0;
    for role in ["planner", "reviewer", "coordinator"] {
        let page = room.run(&["prime", "--role", role]).text().to_owned();
        for (n, command) in commands_of(&page).iter().enumerate() {
            let mut words: Vec<&str> = command.split(' ').collect();
            // What needs a task of a certain kind gets one.
            let id = match &words[..] {
                ["task", "reopen", ..] | ["task", "verify", _, "--accept" | "--reject", ..] => "DONE",
                ["task", "transition", ..] => "OTHER",
                ["undo", ..] => "REQUEST",
                _ => "ID",
            };
            let name = |word: &str| names.iter().find(|(name, _)| *name == word).map(|(_, value)| value.as_str());
            let filled = |word: &&str| match *word {
                "ID" => name(id).unwrap_or(id).to_owned(),
                "N" => "1".to_owned(),
                "FIELD=VALUE" => "priority=3".to_owned(),
                "accept|reject" => "accept".to_owned(),
                "AGENT" => "bob".to_owned(),
                word => name(word).unwrap_or(word).to_owned(),
            };
            words.retain(|word| !word.is_empty());
            if let Some(at) = words.iter().position(|word| *word == "--blocked-by") {
                words[at + 1] = "OTHER";
            }
            let mut args: Vec<String> = words.iter().map(filled).collect();
            for (at, arg) in args.iter_mut().enumerate().filter(|(_, arg)| *arg == "TITLE") {
                *arg = format!("title {at}");
            }
            let copy = room.beside(&format!("{role}.{n}"));
            crate::operations::copy_folder(&room.repo(), &copy);
            let run = |args: &[&str]| Answer::from(room.agentpm_in(&copy).args(args).output().unwrap());
            let answer = run(&args.iter().map(String::as_str).collect::<Vec<_>>());
            let is_no_remote = args[0] == "sync" && answer.code == 9;
            assert!(answer.code == 0 || is_no_remote, "{role}: {command}: {answer:?}");
            ran += 1;
        }
    }
    assert!(ran >= 45, "{ran} commands");
}

#[test]
fn help_prints_the_help_of_a_command() {
    let room = Sandbox::nothing();
    for words in [&[][..], &["lint"], &["task"], &["task", "create"], &["t", "create"], &["merge-driver"]] {
        let asked = room.run(&[&["help"], words].concat());
        assert_eq!(asked.text(), room.run(&[words, &["--help"]].concat()).text(), "{words:?}");
    }
    for words in [&["no-such"][..], &["task", "no-such"], &["lint", "x"], &["agents", "x"]] {
        let error = room.run(&[&["help"], words].concat()).error("ERR_USAGE", 2);
        assert!(error["hint"].as_str().unwrap().contains("agentpm help"), "{error}");
    }
    let page = room.run(&["help", "agents"]);
    assert!(page.text().lines().count() <= 80, "{} lines", page.text().lines().count());
    assert_eq!(room.run(&["help", "agents", "--json"]).data()["text"], json!(page.stdout));
}

/// Whether an answer says all that the page shows of it. Ids differ from store to store.
fn says(answer: &Value, shown: &Value) -> bool {
    match (answer, shown) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|found| says(found, value)))
        }
        (Value::String(_), Value::String(id)) if id.ends_with("7XK2Q1") || id.ends_with("9Q0R4S") => true,
        (whole, part) => whole == part,
    }
}

#[test]
fn commands_on_the_agents_page_answer_as_shown() {
    let room = Sandbox::new();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "a store"]).text();
    let task = room.task("Order the locks", &["--acceptance", "no deadlock in 1000 rounds"]);
    let page = room.run(&["help", "agents"]);
    let bin = Path::new(env!("CARGO_BIN_EXE_agentpm")).parent().unwrap();
    let search = crate::machine::path_after(bin);
    let mut exports = String::new();
    let mut item = String::new();
    let mut commands = 0;
    let lines: Vec<&str> = page.text().lines().collect();
    for pair in lines.windows(2) {
        let Some(line) = pair[0].strip_prefix("  $ ") else { continue };
        commands += 1;
        let line = line.replace("7XK2Q1", &task).replace("9Q0R4S", &item);
        let shell = |line: &str| {
            let mut shell = room.agentpm_like("sh");
            Answer::from(shell.env("PATH", &search).args(["-c", &format!("{exports}{line}")]).output().unwrap())
        };
        if let Some((name, _)) = line.strip_prefix("export ").and_then(|rest| rest.split_once('=')) {
            let value = shell(&format!("{line}; printf %s \"${name}\""));
            exports.push_str(&format!("export {name}={}; ", value.text()));
            continue;
        }
        let answer = shell(&line);
        let Some(shown) = pair[1].trim().strip_prefix('{').map(|rest| format!("{{{rest}")) else {
            answer.text();
            continue;
        };
        let shown: Value = serde_json::from_str(&shown).unwrap_or_else(|e| panic!("{e}: {shown}"));
        assert!(says(&answer.json(), &shown), "{line}\n{shown}\n{answer:?}");
        if line.contains("progress add") {
            item = answer.json()["data"]["id"].as_str().unwrap().to_owned();
        }
    }
    assert!(commands >= 15, "{commands}");
}

#[test]
fn what_an_agent_holds_is_named_in_bounds() {
    let room = Sandbox::new();
    let title = "a title of some length ".repeat(8);
    let session = room.run(&["session", "start", "--quiet"]).text().to_owned();
    for n in 0..12 {
        let task = room.task(&format!("{n} {title}"), &[]);
        let mut claim = room.agentpm();
        if n < 4 {
            claim.env("AGENTPM_SESSION", &session);
        }
        crate::sandbox::Answer::from(claim.args(["claim", &task]).output().unwrap()).data();
    }
    let new = room.run(&["session", "start", "--quiet"]).text().to_owned();
    let asked = |args: &[&str], session: Option<&str>| {
        let mut command = room.agentpm();
        command.envs(session.map(|session| ("AGENTPM_SESSION", session)));
        crate::sandbox::Answer::from(command.args(args).output().unwrap())
    };
    let page = asked(&["prime"], None).text().to_owned();
    assert!(page.len() / 4 <= 1_500, "{} bytes", page.len());
    assert!(
        page.matches("You hold: ").count() == 5 && page.contains("\nYou hold 7 more (agentpm ls --mine)\n"),
        "{page}"
    );
    let status = asked(&["status"], None).data();
    assert_eq!((status["mine"].as_array().unwrap().len(), &status["mine_total"]), (5, &serde_json::json!(12)));
    let words = asked(&["status", "--format", "table"], None).text().to_owned();
    assert!(words.starts_with("Yours (12)\n") && words.contains("\n  and 7 more\n"), "{words}");
    let page = asked(&["prime"], Some(&new)).text().to_owned();
    assert!(page.len() / 4 <= 1_500, "{} bytes", page.len());
    assert!(page.contains(" more of yours in other sessions (agentpm session list)\n"), "{page}");
}
