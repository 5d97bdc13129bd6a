//! The operation table: each operation is called from the command line and by its name with JSON arguments, and answers alike, as
//! its schema says.

use std::collections::BTreeMap;
use std::path::Path;

use agentpm::api::{self, Call, Kind, OPERATIONS};
use agentpm::engine::{self, Options, Request};
use agentpm::env::Env;
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, sealed_vars};

/// When a plan is made, and when something happens to a copy of it.
const BEGIN: &str = "2026-11-20T10:00:00Z";
const LATER: &str = "2026-11-20T10:00:01Z";

/// A plan with something for each operation to work on.
pub struct Plan {
    pub room: Sandbox,
    names: BTreeMap<&'static str, String>,
}

impl Plan {
    pub fn new() -> Self {
        let room = Sandbox::new();
        room.at(BEGIN);
        let mut names = BTreeMap::new();
        let id = |answer: Value| answer["id"].as_str().unwrap().to_owned();
        names.insert("open", room.task("open", &["--acceptance", "it works"]));
        names.insert("other", room.task("other", &[]));
        names.insert("waits", room.task("waits", &["--blocked-by", &names["other"]]));
        let held = room.task("held", &["--acceptance", "it works"]);
        let claim = room.run(&["claim", &held]).data();
        names.insert("lease", claim["lease"]["id"].as_str().unwrap().to_owned());
        let done = room.task("done", &[]);
        room.run(&["claim", &done]).data();
        room.run(&["done", &done]).data();
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "-m", "plan"]).text();
        let step = room.run(&["progress", "add", &held, "--content", "a step"]).data();
        names.insert("step", id(step));
        let ticked = room.run(&["progress", "add", &held, "--content", "ticked"]).data();
        room.run(&["progress", "complete", ticked["id"].as_str().unwrap()]).data();
        names.insert("ticked", id(ticked));
        names.insert("note", id(room.run(&["note", &held, "--content", "a note"]).data()));
        names.insert("thread", id(room.run(&["thread", "open", &held, "--body", "x", "--set", "priority=2"]).data()));
        room.run(&["agent", "register", "--name", "eve", "--role", "executor"]).data();
        names.insert("session", id(room.run(&["session", "start"]).data()));
        room.run(&["task", "update", &names["open"], "--priority", "2", "--correlation-id", "a request"]).data();
        let log = room.run(&["log", &names["open"]]).data();
        names.insert("event", log["items"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned());
        names.insert("held", held);
        names.insert("done", done);
        let edges =
            room.run(&["task", "relate", &names["open"], "--to", &names["other"], "--type", "relates_to"]).data();
        names.insert("edge", id(edges));
        std::fs::write(room.repo().join("events"), "[]").unwrap();
        std::fs::write(room.repo().join("plan.yml"), "plan: p\ntasks:\n  - key: a\n    title: a\n").unwrap();
        std::fs::write(room.repo().join("export"), r#"{"tasks":[{"id":1,"title":"x","status":"pending"}]}"#).unwrap();
        std::fs::write(room.repo().join("ops"), r#"[{"op":"task.create","args":{"title":"x"}}]"#).unwrap();
        Plan { room, names }
    }

    /// The same plan in a room of its own.
    fn copy(&self) -> Self {
        Plan { room: copied(&self.room.repo()), names: self.names.clone() }
    }

    pub fn name(&self, name: &str) -> &str {
        &self.names[name]
    }

    /// The ids of all that it holds.
    #[cfg(all(feature = "mcp", feature = "server"))]
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.values().map(String::as_str)
    }
}

/// How an operation is asked for: the words of the command line, and the arguments by name.
pub fn asked(plan: &Plan, operation: &str) -> (Vec<String>, Value) {
    let n = |name: &str| plan.name(name).to_owned();
    let (open, other, waits, held, done) = (n("open"), n("other"), n("waits"), n("held"), n("done"));
    let (words, args): (Vec<&str>, Value) = match operation {
        "task.create" => (vec!["task", "create", "--title", "new"], json!({ "title": "new" })),
        "task.update" => (vec!["task", "update", &open, "--priority", "3"], json!({ "id": open, "priority": 3 })),
        "task.transition" => {
            (vec!["task", "transition", &open, "--status", "cancelled"], json!({ "id": open, "status": "cancelled" }))
        }
        "task.block" => (vec!["task", "block", &open, "--by", &other], json!({ "id": open, "by": [other] })),
        "task.unblock" => (vec!["task", "unblock", &waits, "--by", &other], json!({ "id": waits, "by": [other] })),
        "task.relate" => (
            vec!["task", "relate", &waits, "--to", &open, "--type", "relates_to"],
            json!({ "id": waits, "to": open, "type": "relates_to" }),
        ),
        "task.unrelate" => (
            vec!["task", "unrelate", &open, "--relationship", plan.name("edge")],
            json!({ "id": open, "relationship": n("edge") }),
        ),
        "task.archive" => (vec!["task", "archive", &done], json!({ "id": done })),
        "task.reopen" => (vec!["task", "reopen", &done, "--reason", "again"], json!({ "id": done, "reason": "again" })),
        "task.verify" => (vec!["task", "verify", &held, "--all"], json!({ "id": held, "all": true })),
        "task.split" => (
            vec!["task", "split", &open, "--title", "one", "--title", "two"],
            json!({ "id": open, "title": ["one", "two"] }),
        ),
        "plan.show" => (vec!["plan", "show", "--json"], json!({})),
        "progress.add" => {
            (vec!["progress", "add", &held, "--content", "x"], json!({ "task_id": held, "content": ["x"] }))
        }
        "progress.complete" => (vec!["progress", "complete", plan.name("step")], json!({ "id": n("step") })),
        "progress.reopen" => (vec!["progress", "reopen", plan.name("ticked")], json!({ "id": n("ticked") })),
        "context.add" => (vec!["note", &held, "--content", "x"], json!({ "task_id": held, "content": "x" })),
        "context.supersede" => (
            vec!["context", "supersede", plan.name("note"), "--content", "y"],
            json!({ "id": n("note"), "content": "y" }),
        ),
        "context.redact" => (
            vec!["context", "redact", plan.name("note"), "--reason", "a token"],
            json!({ "id": n("note"), "reason": "a token" }),
        ),
        "thread.open" => (vec!["thread", "open", &other, "--body", "x"], json!({ "task_id": other, "body": "x" })),
        "thread.reply" => (
            vec!["thread", "reply", plan.name("thread"), "--body", "y", "--set", "priority=3"],
            json!({ "thread": n("thread"), "body": "y", "set": ["priority=3"] }),
        ),
        "thread.resolve" => (
            vec!["thread", "resolve", plan.name("thread"), "--resolution", "accept"],
            json!({ "thread": n("thread"), "resolution": "accept" }),
        ),
        "thread.escalate" => (vec!["thread", "escalate", plan.name("thread")], json!({ "thread": n("thread") })),
        "thread.list" => (vec!["thread", "list"], json!({})),
        "thread.show" => (vec!["thread", "show", plan.name("thread")], json!({ "thread": n("thread") })),
        "claim" => (vec!["claim", &open], json!({ "id": open })),
        "done" => (vec!["done", &held, "--all-met"], json!({ "id": held, "all_met": true })),
        "release" => (vec!["release", &held], json!({ "id": held })),
        "lease.acquire" => (vec!["lease", "acquire", &open], json!({ "task_id": open })),
        "lease.renew" => (vec!["lease", "renew", plan.name("lease")], json!({ "id": n("lease") })),
        "lease.release" => (vec!["lease", "release", plan.name("lease")], json!({ "id": n("lease") })),
        "agent.register" => (vec!["agent", "register", "--name", "ada"], json!({ "name": "ada" })),
        "agent.new_key" => (vec!["agent", "register", "--name", "ada", "--new-key"], json!({ "name": "ada" })),
        "broadcast" => (vec!["broadcast", "--body", "x"], json!({ "body": "x" })),
        "inbox" => (vec!["inbox"], json!({})),
        "inbox.wait" => (vec!["inbox", "--wait", "1ms"], json!({ "wait": "1ms" })),
        "inbox.ack" => (vec!["inbox", "ack", "--all"], json!({ "all": true })),
        "session.start" => (vec!["session", "start"], json!({})),
        "session.heartbeat" => {
            (vec!["session", "heartbeat", plan.name("session")], json!({ "session_id": n("session") }))
        }
        "session.end" => (vec!["session", "end", plan.name("session")], json!({ "session_id": n("session") })),
        "undo" => (vec!["undo", plan.name("event")], json!({ "event": n("event") })),
        "batch" => {
            (vec!["batch", "--file", "ops"], json!({ "ops": [{ "op": "task.create", "args": { "title": "x" } }] }))
        }
        "task.get" => (vec!["task", "get", &held], json!({ "id": held })),
        "task.path" => (vec!["task", "path", &held], json!({ "id": held })),
        "task.list" => (vec!["task", "list"], json!({})),
        "ready" => (vec!["ready"], json!({})),
        "next" => (vec!["next"], json!({})),
        "brief" => (vec!["brief", &held], json!({ "task_id": held })),
        "log" => (vec!["log", &held], json!({ "task_id": held })),
        "blame" => (vec!["blame", &held], json!({ "id": held })),
        "conflicts" => (vec!["conflicts"], json!({})),
        "diff" => (vec!["diff", "HEAD"], json!({ "a": "HEAD" })),
        "review" => (vec!["review", "HEAD..HEAD"], json!({ "range": "HEAD..HEAD" })),
        "graph" => (vec!["graph"], json!({})),
        "export" => (vec!["export", "--format", "html", "--json"], json!({ "format": "html" })),
        "diagnostics.export" => (vec!["diagnostics", "export", "--last", "3", "--json"], json!({ "last": 3 })),
        "stale" => (vec!["stale"], json!({})),
        "session.list" => (vec!["session", "list"], json!({})),
        "agent.list" => (vec!["agent", "list"], json!({})),
        "agent.get" => (vec!["agent", "show", "eve"], json!({ "name": "eve" })),
        "agent.token" => (vec!["agent", "token", "eve"], json!({ "name": "eve" })),
        "lease.list" => (vec!["lease", "list"], json!({})),
        "recover.list" => (vec!["recover"], json!({})),
        "status" => (vec!["status"], json!({})),
        "stats" => (vec!["stats"], json!({})),
        "check" => (vec!["check", "src"], json!({ "paths": ["src"] })),
        "doctor" => (vec!["doctor"], json!({})),
        "config.get" => (vec!["config", "get", "lease.ttl_seconds"], json!({ "key": "lease.ttl_seconds" })),
        "config.list" => (vec!["config", "list"], json!({})),
        "config.set" => {
            (vec!["config", "set", "lease.ttl_seconds", "900"], json!({ "key": "lease.ttl_seconds", "value": "900" }))
        }
        "lint" => (vec!["lint"], json!({})),
        "lint.fix" => (vec!["lint", "--fix"], json!({})),
        "lint.since" => (vec!["lint", "--base", "HEAD"], json!({ "base": "HEAD" })),
        "next.wait" => (vec!["next", "--wait", "1s"], json!({ "wait": "1s" })),
        "sync.pull" => (vec!["sync", "pull", "--limit", "2"], json!({ "limit": 2 })),
        "sync.push" => (vec!["sync", "push", "--file", "events"], json!({ "events": "[]" })),
        "resolve" => (vec!["resolve"], json!({})),
        "recover" => (vec!["recover", "--all"], json!({ "all": true })),
        "compact" => (vec!["compact", "--dry-run"], json!({ "dry_run": true })),
        "migrate" => (vec!["migrate", "--dry-run"], json!({ "dry_run": true })),
        "import" => (
            vec!["import", "--from", "taskmaster", "export"],
            json!({ "from": "taskmaster", "text": r#"{"tasks":[{"id":1,"title":"x","status":"pending"}]}"# }),
        ),
        "plan.apply" => {
            (vec!["plan", "apply", "plan.yml"], json!({ "plan": "plan: p\ntasks:\n  - key: a\n    title: a\n" }))
        }
        "undo.request" => (vec!["undo", "--correlation-id", "a request"], json!({ "correlation_id": "a request" })),
        // These need a conflict and a remote; the tests of conflicts and sync call them.
        "conflicts.restore" | "conflicts.keep" | "sync" => (Vec::new(), Value::Null),
        other => panic!("no call of {other} is known"),
    };
    (words.into_iter().map(str::to_owned).collect(), args)
}

/// Whether an operation answers with paths, or with what its own process measured or was given.
pub fn is_of_a_place(operation: &str) -> bool {
    matches!(operation, "task.path" | "doctor" | "diagnostics.export" | "config.list")
}

/// A copy of a plan's repository, a second later: ids that are made at the same time would be the same.
pub fn copied(repo: &Path) -> Sandbox {
    let room = Sandbox::nothing();
    room.at(LATER);
    copy_folder(&repo.join("."), &room.repo());
    room
}

pub fn copy_folder(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// The shape of an answer: its keys, and those of what it holds.
pub fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(items) => items.first().map_or(json!([]), |first| json!([shape(first)])),
        other => json!(other.is_null()),
    }
}

/// The keys of an answer that hold nothing although they may be left out.
fn empty(value: &Value) -> Vec<&str> {
    const STAY: &[&str] =
        &["items", "findings", "payload", "value", "from", "to", "yours", "now", "details", "metadata"];
    match value {
        Value::Object(map) => {
            let fields = || map.iter().filter(|(key, _)| !STAY.contains(&key.as_str()));
            let nothing = fields().filter(|(_, value)| value.is_null() || **value == json!([]) || **value == json!({}));
            let named = nothing.map(|(key, _)| key.as_str());
            let listed = map.iter().filter(|(key, _)| matches!(key.as_str(), "items" | "findings"));
            named.chain(fields().chain(listed).flat_map(|(_, value)| empty(value))).collect()
        }
        Value::Array(items) => items.iter().flat_map(empty).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_operation_answers_alike_from_the_command_line_and_by_its_name() {
    let mut wrong = Vec::new();
    let first = Plan::new();
    for operation in OPERATIONS.iter() {
        let plan = first.copy();
        let (words, args) = asked(&plan, operation.name);
        if words.is_empty() {
            continue;
        }
        let copy = plan.room.beside("copy");
        copy_folder(&plan.room.repo(), &copy);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let by_line = plan.room.run_short(&words).data();
        let mut vars: BTreeMap<String, String> = sealed_vars(&plan.room.home())
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_string().unwrap()))
            .collect();
        vars.insert("AGENTPM_CLOCK".into(), LATER.into());
        let env = Env::new(vars, copy).unwrap();
        let request = Request { agent: Some("ada".into()), ..Request::default() };
        let ws = engine::open(env, Options { request, ..Options::default() }).unwrap();
        let by_name = match Call::from_json(operation.name, args).and_then(|call| api::call(&ws, &call)) {
            Ok(answered) => answered.data.to_json(false),
            Err(e) => {
                wrong.push(format!("{}: {e:?}", operation.name));
                continue;
            }
        };
        let schema = json!((operation.answer)());
        if let Err(e) = jsonschema::draft202012::validate(&schema, &by_line) {
            wrong.push(format!("{}: {e}: {by_line}", operation.name));
        }
        let empty = empty(&by_line);
        if !empty.is_empty() && operation.name != "log" {
            wrong.push(format!("{}: {empty:?} hold nothing: {by_line}", operation.name));
        }
        let same = operation.kind == Kind::Query && !is_of_a_place(operation.name);
        if shape(&by_name) != shape(&by_line) || (same && by_name != by_line) {
            wrong.push(format!("{}: {by_name} and {by_line}", operation.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_agent_without_rights_is_refused_with_the_permission_that_the_table_names() {
    let first = Plan::new();
    for operation in OPERATIONS.iter().filter(|operation| operation.permission.is_some()) {
        let plan = first.copy();
        std::fs::write(plan.room.store().join("roles.yml"), "agents:\n  bob:\n    perms: []\n").unwrap();
        let (words, _) = asked(&plan, operation.name);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let refused = plan.room.run_as("bob", &words).json();
        let error = &refused["error"];
        assert_eq!(error["code"], "ERR_UNAUTHORIZED", "{}: {refused}", operation.name);
        let verb = operation.permission.map(|verb| verb.as_str()).unwrap_or_default();
        assert!(error.to_string().contains(verb), "{}: {refused}", operation.name);
    }
}
