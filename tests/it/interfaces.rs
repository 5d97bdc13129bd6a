//! Every operation at every interface: a refusal has the same code at the command line, by name, over HTTP and over MCP.
//!
//! The operations come from the table. What spoils a call is general, so that a new operation is tested without a word here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use agentpm::api::{self, Call, Kind, OPERATIONS, Operation};
use agentpm::engine::{self, Options, Request};
use agentpm::env::Env;
use agentpm::error::Code;
use serde_json::{Value, json};

use crate::mcp::Client;
use crate::operations::{Plan, asked, copy_folder, is_of_a_place, shape};
use crate::sandbox::{Answer, Sandbox, sealed_vars};
use crate::server::Server;

/// A call in both of its forms; without words where the command line cannot say it.
#[derive(Clone, Debug)]
struct Asked {
    words: Option<Vec<String>>,
    args: Value,
    key: Option<&'static str>,
}

/// All interfaces of one plan, used by one agent.
struct Interfaces<'a> {
    room: &'a Sandbox,
    dir: PathBuf,
    agent: &'static str,
    server: Server,
    client: Client,
}

impl<'a> Interfaces<'a> {
    fn of(room: &'a Sandbox, dir: &Path, agent: &'static str) -> Self {
        let server = Server::start_in(room, dir, &[]);
        let client = Client::start_as(room, dir, agent, true);
        Interfaces { room, dir: dir.to_owned(), agent, server, client }
    }

    /// The code of each interface for a call; empty for a success.
    fn codes(&mut self, operation: &Operation, asked: &Asked) -> BTreeMap<&'static str, String> {
        let mut codes = BTreeMap::from([
            ("by name", by_name(self.room, &self.dir, self.agent, operation, asked)),
            ("http", self.http(operation, asked)),
        ]);
        codes.extend(asked.words.as_ref().map(|words| ("command line", self.command_line(words, asked))));
        codes.extend(operation.tool.map(|tool| ("mcp", self.mcp(tool, operation, asked))));
        codes
    }

    fn command_line(&self, words: &[String], asked: &Asked) -> String {
        let mut command = self.room.agentpm_in(&self.dir);
        command.env("AGENTPM_AGENT", self.agent).args(words).arg("--json");
        command.args(asked.key.into_iter().flat_map(|key| ["--idempotency-key", key]));
        let answer = Answer::from(command.output().unwrap());
        let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        if let Some(known) = Code::ALL.iter().find(|known| known.as_str() == code) {
            assert_eq!(answer.code, i32::from(known.exit()), "{answer:?}");
        }
        code
    }

    fn http(&self, operation: &Operation, asked: &Asked) -> String {
        let mut headers = vec![format!("X-Agentpm-Agent: {}", self.agent)];
        headers.extend(asked.key.map(|key| format!("Idempotency-Key: {key}")));
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let reply = self.server.ask_with("POST", &format!("/ops/{}", operation.name), &headers, Some(&asked.args));
        let code = reply.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        let known = Code::ALL.iter().find(|known| known.as_str() == code);
        assert_eq!(reply.status, known.map_or(200, |known| known.status()), "{reply:?}");
        code
    }

    fn mcp(&mut self, tool: &str, operation: &Operation, asked: &Asked) -> String {
        let mut arguments = asked.args.clone();
        arguments["op"] = json!(operation.name);
        if let Some(key) = asked.key {
            arguments["idempotency_key"] = json!(key);
        }
        self.client.tool(tool, arguments)["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// The code of a call by its name in this process; empty for a success.
fn by_name(room: &Sandbox, dir: &Path, agent: &str, operation: &Operation, asked: &Asked) -> String {
    let vars = sealed_vars(&room.home()).into_iter();
    let mut vars: BTreeMap<String, String> =
        vars.map(|(name, value)| (name.to_owned(), value.into_string().unwrap())).collect();
    vars.insert("AGENTPM_CLOCK".into(), "2026-11-20T10:00:00Z".into());
    let env = Env::new(vars, dir.to_owned()).unwrap();
    let key = asked.key.map(str::to_owned);
    let request = Request { agent: Some(agent.to_owned()), idempotency_key: key, ..Request::default() };
    let ws = engine::open(env, Options { request, ..Options::default() }).unwrap();
    let done = Call::from_json(operation.name, asked.args.clone()).and_then(|call| api::call(&ws, &call));
    done.map_or_else(|e| e.code.as_str().to_owned(), |_| String::new())
}

/// A way to spoil a call, and the code that it must be refused with.
struct Spoiled {
    name: &'static str,
    code: fn(&Operation) -> Code,
    /// The spoiled call; `None` for an operation that has no part to spoil.
    make: fn(&Plan, &Operation, &Asked) -> Option<Asked>,
}

const SPOILED: &[Spoiled] = &[
    Spoiled { name: "an unknown argument", code: |_| Code::Usage, make: with_nonsense },
    Spoiled { name: "a value of another type", code: |_| Code::Validation, make: with_a_wrong_type },
    Spoiled { name: "an id that nothing has", code: not_found, make: |plan, _, asked| replaced(plan, asked, "ZZZZZZ") },
    Spoiled { name: "an id of several tasks", code: |_| Code::AmbiguousId, make: with_a_short_id },
    Spoiled { name: "a version that has passed", code: |_| Code::Conflict, make: with_another_version },
];

/// A lease that nothing has may have ended: it is lost.
fn not_found(operation: &Operation) -> Code {
    match operation.route.is_some_and(|route| route.path.starts_with("/leases/")) {
        true => Code::LeaseLost,
        false => Code::NotFound,
    }
}

fn with_nonsense(_: &Plan, _: &Operation, asked: &Asked) -> Option<Asked> {
    let mut spoiled = asked.clone();
    spoiled.args["nonsense"] = json!(true);
    spoiled.words.as_mut()?.push("--nonsense".into());
    Some(spoiled)
}

/// The command line has no types but those that its parser refuses as usage.
fn with_a_wrong_type(_: &Plan, operation: &Operation, asked: &Asked) -> Option<Asked> {
    let properties = json!(operation.arguments)["properties"].as_object()?.clone();
    let is_plain = |schema: &Value| matches!(schema["type"].as_str(), Some("boolean" | "integer" | "string" | "array"));
    let (name, _) = properties.iter().find(|(_, schema)| is_plain(schema))?;
    let mut spoiled = Asked { words: None, ..asked.clone() };
    spoiled.args[name] = json!({ "neither": ["this", "nor", "that"] });
    Some(spoiled)
}

/// The call about something else; `None` where it is about nothing of the plan.
fn replaced(plan: &Plan, asked: &Asked, other: &str) -> Option<Asked> {
    let is_id = |text: &str| plan.names().any(|known| known == text);
    fn all(value: &mut Value, is_id: &dyn Fn(&str) -> bool, other: &str) -> bool {
        match value {
            Value::String(text) if is_id(text) => {
                *value = json!(other);
                true
            }
            Value::Array(items) => {
                items.iter_mut().filter_map(|item| all(item, is_id, other).then_some(())).count() > 0
            }
            Value::Object(map) => map.values_mut().filter_map(|item| all(item, is_id, other).then_some(())).count() > 0,
            _ => false,
        }
    }
    let mut spoiled = asked.clone();
    for word in spoiled.words.iter_mut().flatten().filter(|word| is_id(word)) {
        *word = other.to_owned();
    }
    all(&mut spoiled.args, &is_id, other).then_some(spoiled)
}

/// All tasks of the plan were made in the same millisecond or soon after: their ids begin alike.
fn with_a_short_id(plan: &Plan, operation: &Operation, asked: &Asked) -> Option<Asked> {
    let of_a_task = |name: &&str| ["id", "task_id"].contains(name);
    let named = asked.args.as_object()?.keys().map(String::as_str).find(of_a_task)?;
    let of = asked.args[named].as_str()?;
    let is_task = ["open", "other", "waits", "held", "done"].into_iter().any(|name| plan.name(name) == of);
    let short = plan.name("open").get(..8)?;
    (is_task && operation.name != "sync").then(|| replaced(plan, asked, short)).flatten()
}

fn with_another_version(_: &Plan, operation: &Operation, asked: &Asked) -> Option<Asked> {
    json!(operation.arguments)["properties"].get("expected_version")?;
    let mut spoiled = asked.clone();
    spoiled.args["expected_version"] = json!(99);
    spoiled.words.as_mut()?.extend(["--expected-version".to_owned(), "99".to_owned()]);
    Some(spoiled)
}

fn with_another_reason(asked: &Asked, operation: &Operation) -> Option<Asked> {
    json!(operation.arguments)["properties"].get("why")?;
    let mut other = asked.clone();
    other.args["why"] = json!("another reason");
    other.words.as_mut()?.extend(["--why".to_owned(), "another reason".to_owned()]);
    Some(other)
}

fn call_of(plan: &Plan, operation: &Operation) -> Option<Asked> {
    let (words, args) = asked(plan, operation.name);
    (!words.is_empty()).then_some(Asked { words: Some(words), args, key: None })
}

/// What differs from the code that each interface must answer with.
fn compare(codes: BTreeMap<&'static str, String>, wanted: Code, what: &str, wrong: &mut Vec<String>) {
    if codes.values().any(|code| code != wanted.as_str()) {
        wrong.push(format!("{what} must be {}: {codes:?}", wanted.as_str()));
    }
}

#[test]
fn a_spoiled_call_is_refused_alike_at_every_interface() {
    let plan = Plan::new();
    let mut interfaces = Interfaces::of(&plan.room, &plan.room.repo(), "ada");
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in OPERATIONS.iter() {
        let Some(asked) = call_of(&plan, operation) else { continue };
        for Spoiled { name, code, make } in SPOILED {
            let Some(spoiled) = make(&plan, operation, &asked) else { continue };
            *counts.entry(name).or_default() += 1;
            let codes = interfaces.codes(operation, &spoiled);
            compare(codes, code(operation), &format!("{} with {name}", operation.name), &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(SPOILED.iter().all(|spoiled| counts[spoiled.name] >= 8), "{counts:?}");
}

/// What an operation is refused for depends on the plan: whatever the code is, each interface has it.
#[test]
fn a_call_that_the_state_of_the_plan_forbids_is_refused_alike_at_every_interface() {
    let plan = Plan::new();
    let ids = ["held", "done"].map(|name| plan.name(name).to_owned());
    // Another agent than the one that holds the tasks.
    let mut interfaces = Interfaces::of(&plan.room, &plan.room.repo(), "eve");
    let copy = plan.room.beside("tried");
    let mut wrong = Vec::new();
    let mut codes = BTreeSet::new();
    for operation in OPERATIONS.iter() {
        let Some(usual) = call_of(&plan, operation) else { continue };
        let of_other_tasks = ids.iter().filter_map(|id| replaced(&plan, &usual, id));
        for asked in [usual.clone()].into_iter().chain(of_other_tasks) {
            // A success would change the plan: it is tried on a copy, and a refusal repeated on the plan itself.
            if !copy.exists() {
                copy_folder(&plan.room.repo(), &copy);
            }
            let code = by_name(&plan.room, &copy, "eve", operation, &asked);
            match Code::ALL.iter().find(|known| known.as_str() == code) {
                Some(code) => {
                    compare(interfaces.codes(operation, &asked), *code, operation.name, &mut wrong);
                    codes.insert(code.as_str());
                }
                None if operation.kind == Kind::Query => {}
                None => std::fs::remove_dir_all(&copy).unwrap(),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(["ERR_INVALID_STATE", "ERR_LEASE_HELD"].iter().all(|code| codes.contains(code)), "{codes:?}");
}

#[test]
fn an_agent_without_rights_is_refused_alike_at_every_interface() {
    let plan = Plan::new();
    std::fs::write(plan.room.store().join("roles.yml"), "agents:\n  bob:\n    perms: []\n").unwrap();
    let mut interfaces = Interfaces::of(&plan.room, &plan.room.repo(), "bob");
    let mut wrong = Vec::new();
    for operation in OPERATIONS.iter().filter(|operation| operation.permission.is_some()) {
        let Some(asked) = call_of(&plan, operation) else { continue };
        compare(interfaces.codes(operation, &asked), Code::Unauthorized, operation.name, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_key_of_another_call_is_refused_alike_at_every_interface() {
    let plan = Plan::new();
    let mut wrong = Vec::new();
    for operation in OPERATIONS.iter().filter(|operation| operation.changes()) {
        let Some(asked) = call_of(&plan, operation).map(|asked| Asked { key: Some("k"), ..asked }) else { continue };
        let Some(other) = with_another_reason(&asked, operation) else { continue };
        let copy = plan.room.beside(&format!("keyed-{}", operation.name));
        copy_folder(&plan.room.repo(), &copy);
        let mut interfaces = Interfaces::of(&plan.room, &copy, "ada");
        let first = interfaces.command_line(asked.words.as_ref().unwrap(), &asked);
        if !first.is_empty() {
            wrong.push(format!("{}: {first}", operation.name));
        }
        compare(interfaces.codes(operation, &other), Code::Conflict, operation.name, &mut wrong);
        std::fs::remove_dir_all(copy).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_operation_of_a_tool_answers_over_mcp_as_on_the_command_line() {
    let plan = Plan::new();
    let mut wrong = Vec::new();
    for operation in OPERATIONS.iter() {
        let (Some(asked), Some(tool)) = (call_of(&plan, operation), operation.tool) else { continue };
        let copy = |name: &str| {
            let copy = plan.room.beside(&format!("{name}-{}", operation.name));
            copy_folder(&plan.room.repo(), &copy);
            copy
        };
        let mut command = plan.room.agentpm_in(&copy("line"));
        let by_line = Answer::from(command.args(asked.words.unwrap()).output().unwrap()).data();
        let mut client = Client::start_as(&plan.room, &copy("mcp"), "ada", true);
        let mut arguments = asked.args;
        arguments["op"] = json!(operation.name);
        let envelope = client.tool(tool, arguments);
        let mut data = envelope["data"].clone();
        // A connection has a session of its own.
        if let Some(Value::Object(lease)) = data.get_mut("lease") {
            lease.shift_remove("session");
        }
        let same = operation.kind == Kind::Query && !is_of_a_place(operation.name);
        if envelope["ok"] != true || shape(&data) != shape(&by_line) || (same && data != by_line) {
            wrong.push(format!("{}: {envelope} and {by_line}", operation.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
