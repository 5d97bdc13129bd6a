//! What can be seen of agentpm from outside: measurements, logs, and diagnostics that give nothing away.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::machine::needs;
use crate::sandbox::{Answer, Sandbox, wait_for};
use crate::server::{Server, request, serve};

/// The files of an archive, by name.
fn unpacked(room: &Sandbox, archive: &std::path::Path) -> BTreeMap<String, String> {
    let folder = room.beside("unpacked");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let mut tar = room.sealed("tar", &folder);
    Answer::from(tar.arg("-xzf").arg(archive).output().unwrap()).text();
    let files = std::fs::read_dir(folder.join("agentpm-diagnostics")).unwrap();
    let read = |path: std::path::PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
    };
    files.map(|file| read(file.unwrap().path())).collect()
}

/// What must not leave the machine, wherever it stands.
const SECRETS: &[&str] = &["hunter2-url", "hunter2-env", "hunter2-token", "hunter2-key"];
/// What does so only where it is asked for.
const TEXTS: &[&str] = &[
    "hunter2-title",
    "hunter2-intent",
    "hunter2-note",
    "hunter2-thread",
    "hunter2-query",
    "hunter2-agent",
    "hunter2-meta",
    "hunter2-label",
    "hunter2-step",
    "hunter2-criterion",
    "hunter2-hand",
    "hunter2-plan",
    "hunter2-why",
];

/// A plan with secrets in all places that have room for one; the tokens that it issued.
fn with_secrets(room: &Sandbox) -> Vec<String> {
    let config = "format = 1\nagent = \"hunter2-agent\"\nhunter2_unknown = \"hunter2-query\"\n[query]\n\"hunter2-query\" = \"label:hunter2-label\"\n";
    std::fs::write(room.store().join("config.toml"), config).unwrap();
    room.git(&["remote", "add", "origin", "https://me:hunter2-url@example.invalid/hunter2-url.git"]).text();
    let id = room.task("hunter2-title", &["--intent", "hunter2-intent", "--label", "hunter2-label"]);
    room.run(&["task", "update", &id, "--acceptance", "hunter2-criterion", "--why", "hunter2-why"]).data();
    room.run(&["note", &id, "--content", "hunter2-note"]).data();
    room.run(&["progress", "add", &id, "--content", "hunter2-step"]).data();
    room.run(&["thread", "open", &id, "--body", "hunter2-thread"]).data();
    let batch = json!([{ "op": "task.update", "args": { "id": id, "metadata": { "hunter2-meta": "hunter2-meta" } } }]);
    room.feed(&["batch", "--file", "-", "--plan-id", "hunter2-plan"], batch.to_string().as_bytes()).data();
    let mut log = std::fs::OpenOptions::new().append(true).open(room.log_of(&id)).unwrap();
    log.write_all(b"{\"hunter2-hand\":\n").unwrap();
    room.run(&["task", "create", "--title", "keyed", "--idempotency-key", "hunter2-key"]).data();
    room.run_as("hunter2-agent", &["agent", "register", "--name", "hunter2-agent", "--role", "executor"]).data();
    let server = room.run(&["serve", "--print-token", "--quiet"]).text().to_owned();
    vec![room.run(&["agent", "token", "hunter2-agent", "--quiet"]).text().to_owned(), server]
}

#[test]
fn diagnostics_hold_no_secret_text_or_path() {
    needs!("tar", "gzip");
    let room = Sandbox::new();
    let tokens = with_secrets(&room);
    let export = |more: &[&str]| {
        let mut command = room.agentpm();
        command.env("AGENTPM_CORRELATION_ID", "hunter2-env").env("PASSWORD", "hunter2-env");
        let words = [&["diagnostics", "export", "--path", "d.tar.gz"], more].concat();
        let wrote = Answer::from(command.args(words).output().unwrap()).data();
        assert_eq!(wrote["output"], "d.tar.gz");
        unpacked(&room, &room.repo().join("d.tar.gz"))
    };
    let (repo, home) = (room.repo().display().to_string(), room.home().display().to_string());
    let redacted = export(&[]);
    let names: Vec<&str> = redacted.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["about.json", "config.json", "doctor.json", "events.jsonl", "git.json", "lint.json", "metrics.prom"]
    );
    for (name, text) in &redacted {
        let hidden = SECRETS.iter().chain(TEXTS).copied().chain(tokens.iter().map(String::as_str));
        for secret in hidden.chain([repo.as_str(), home.as_str(), "hunter2", "\"ada\"", "origin\\t"]) {
            assert!(!text.contains(secret), "{name} has {secret}: {text}");
        }
    }
    // What helps is there: types, ids, times, codes, counts.
    for (name, word) in [
        ("events.jsonl", "\"TaskCreated\""),
        ("events.jsonl", "\"lamport\":"),
        ("lint.json", "\"log-line\""),
        ("doctor.json", "\"runtime\""),
        ("config.json", "\"ttl_seconds\""),
        ("about.json", "\"AGENTPM_CORRELATION_ID\""),
        ("metrics.prom", "agentpm_tasks{status=\"open\"} 2"),
    ] {
        assert!(redacted[name].contains(word), "{name} lacks {word}: {}", redacted[name]);
    }
    let whole = export(&["--with-texts"]);
    let all: String = whole.values().map(String::as_str).collect();
    for text in TEXTS.iter().filter(|text| **text != "hunter2-hand") {
        assert!(all.contains(text), "{text} is missing");
    }
    assert!(all.contains("https://redacted@example.invalid/"), "{}", whole["git.json"]);
    for secret in SECRETS.iter().map(|secret| (*secret).to_owned()).chain(tokens).filter(|s| s != "hunter2-url") {
        assert!(!all.contains(&secret), "{secret} is in {all}");
    }
    assert!(!all.contains("me:hunter2-url"));
    let few = export(&["--last", "1"]);
    assert_eq!(few["events.jsonl"].lines().count(), 1);
    // What is no file of its own, as a link or a device, is written through and not replaced.
    std::os::unix::fs::symlink("d.tar.gz", room.repo().join("link.tar.gz")).unwrap();
    room.run(&["diagnostics", "export", "--path", "link.tar.gz", "--last", "2"]).data();
    assert!(std::fs::symlink_metadata(room.repo().join("link.tar.gz")).unwrap().is_symlink());
    assert_eq!(unpacked(&room, &room.repo().join("d.tar.gz"))["events.jsonl"].lines().count(), 2);
    let printed = room.run(&["diagnostics", "export"]).data();
    assert_eq!((&printed["redacted"], printed["files"].as_array().unwrap().len()), (&json!(true), 7));
    assert!(!printed.to_string().contains("hunter2"), "{printed}");
}

#[test]
fn the_server_hands_out_the_same_archive() {
    needs!("tar", "gzip");
    let room = Sandbox::new();
    with_secrets(&room);
    let server = Server::start(&room, &[]);
    let fetch = |path: &str| {
        let mut stream = server.connect();
        stream.write_all(request("GET", path, "localhost", &[], None).as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/gzip"), "{head}");
        std::fs::write(room.beside("served.tar.gz"), &bytes[end + 4..]).unwrap();
        unpacked(&room, &room.beside("served.tar.gz"))
    };
    let served = fetch("/diagnostics/bundle?last=3");
    assert_eq!(served["events.jsonl"].lines().count(), 3);
    assert!(served.values().all(|text| !text.contains("hunter2")), "{served:?}");
    assert!(fetch("/diagnostics/bundle?with_texts=true")["events.jsonl"].contains("hunter2-title"));
    server.ask("GET", "/diagnostics/bundle?lst=3", None).error(400, "ERR_USAGE");
}

#[test]
fn the_command_line_and_the_server_print_the_same_measurements() {
    let room = Sandbox::new();
    room.task("one", &[]);
    let server = Server::start(&room, &[]);
    server.ask("POST", "/tasks", Some(&json!({ "title": "two" }))).data();
    let kinds = |page: &str| -> BTreeSet<String> {
        page.lines().filter(|line| line.starts_with("# TYPE ")).map(str::to_owned).collect()
    };
    let gauges = |page: &str| -> BTreeSet<String> {
        let counts = |line: &&str| !line.starts_with('#') && !line.contains("_seconds") && !line.contains("_total");
        page.lines().filter(counts).map(str::to_owned).collect()
    };
    let served = server.ask("GET", "/metrics", None).body;
    let printed = room.run_short(&["stats", "--format", "prometheus"]).text().to_owned();
    assert_eq!(kinds(&printed), kinds(&served));
    assert_eq!(gauges(&printed), gauges(&served));
    for name in [
        "request_seconds",
        "queue_depth",
        "active_leases",
        "tasks",
        "lock_wait_seconds",
        "fold_seconds",
        "journal_bytes",
    ] {
        assert!(printed.contains(&format!("# TYPE agentpm_{name} ")), "{printed}");
    }
}

#[test]
fn the_measurements_go_on_when_the_settings_change() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    for wait in [50, 60] {
        std::fs::write(room.store().join("config.toml"), format!("format = 1\n[lock]\nwait_ms = {wait}\n")).unwrap();
        server.ask("POST", "/tasks", Some(&json!({ "title": "x" }))).data();
    }
    let page = server.ask("GET", "/metrics", None).body;
    for line in ["agentpm_requests_total{op=\"task.create\",status=\"200\"} 2", "agentpm_lock_wait_seconds_count 2"] {
        assert!(page.lines().any(|known| known == line), "{line} in {page}");
    }
}

/// The lines of a log about operations that were carried out.
fn operations_in(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| line["fields"].clone()).filter(|fields| fields["message"] == "carried out").collect()
}

/// Checks the line of an operation.
fn is_logged(log: &str, op: &str, outcome: &str, ids: &[(&str, &str)]) {
    let all = operations_in(log);
    let line = all.iter().find(|line| line["op"] == op && line["outcome"] == outcome);
    let line = line.unwrap_or_else(|| panic!("no {op} that ended with {outcome}: {log}"));
    assert!(line["milliseconds"].is_number() && line["lock_wait_ms"].is_number(), "{line}");
    for (name, value) in ids {
        assert_eq!(line[*name], *value, "{line}");
    }
}

#[test]
fn each_interface_logs_each_operation_with_its_ids() {
    let room = Sandbox::new();
    let ids = [("agent", "ada"), ("correlation_id", "c-1"), ("plan_id", "p-1")];
    let linked = ["--correlation-id", "c-1", "--plan-id", "p-1"];
    let run = |args: &[&str]| {
        let mut command = room.agentpm();
        command.env("AGENTPM_LOG_LEVEL", "info").args(args).args(linked);
        Answer::from(command.output().unwrap()).stderr
    };
    is_logged(&run(&["task", "create", "--title", "x"]), "task.create", "ok", &ids);
    is_logged(&run(&["ls"]), "task.list", "ok", &ids);
    is_logged(&run(&["next"]), "next", "ok", &ids);
    is_logged(&run(&["next", "--claim"]), "claim", "ok", &ids);
    is_logged(&run(&["show", "ZZZZZZ"]), "task.get", "ERR_NOT_FOUND", &ids);

    let mut command = serve(&room, &room.repo(), &[]);
    let server = Server::spawn(command.env("AGENTPM_LOG_LEVEL", "info")).unwrap();
    let headers = ["X-Agentpm-Agent: ada", "X-Correlation-Id: c-1", "X-Plan-Id: p-1"];
    server.ask_with("POST", "/tasks", &headers, Some(&json!({ "title": "x" }))).data();
    server.ask_with("GET", "/tasks/ZZZZZZ", &headers, None).error(404, "ERR_NOT_FOUND");
    wait_for("the log of the server", || operations_in(&server.printed()).len() == 2);
    is_logged(&server.printed(), "task.create", "ok", &ids);
    is_logged(&server.printed(), "task.get", "ERR_NOT_FOUND", &ids);
}

#[cfg(feature = "mcp")]
#[test]
fn a_tool_of_mcp_logs_its_operation() {
    let room = Sandbox::new();
    let mut command = room.agentpm();
    command.args(["mcp", "--correlation-id", "c-1"]).env("AGENTPM_LOG_LEVEL", "agentpm=info");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("agentpm starts");
    let mut stdin = child.stdin.take().unwrap();
    let hello =
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } });
    for line in [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "find", "arguments": {} } }),
    ] {
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    let mut answers = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"id\":2") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut answers, &mut line).unwrap() > 0, "an answer to the call");
    }
    drop(stdin);
    let log = Answer::from(child.wait_with_output().unwrap()).stderr;
    is_logged(&log, "task.list", "ok", &[("agent", "ada"), ("correlation_id", "c-1")]);
}

#[test]
fn a_server_in_the_foreground_logs_in_words() {
    let room = Sandbox::new();
    let server = Server::start(&room, &["--foreground"]);
    server.ask("POST", "/tasks", Some(&json!({ "title": "x" }))).data();
    wait_for("a line of the log", || server.printed().contains("carried out"));
    let log = server.printed();
    let line = log.lines().find(|line| line.contains("carried out")).unwrap();
    assert!(line.contains("INFO") && line.contains("task.create") && line.contains("ada"), "{line}");
    assert!(!line.starts_with('{'), "{line}");
}
