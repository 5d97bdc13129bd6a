//! The machine contract: envelopes, codes, ids, texts, lists, batches, plans, states.

use std::collections::BTreeSet;
use std::fs;

use agentpm::error::Code;
use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, rounds};

/// A success is one line of JSON with the three keys, and nothing else.
#[track_caller]
fn envelope(answer: &Answer) -> Value {
    assert_eq!(answer.stdout.matches('\n').count(), 1, "one document on one line: {answer:?}");
    let json = answer.json();
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys[..3], ["ok", "data", "error"], "{answer:?}");
    if json["ok"] == true {
        assert!(json["error"].is_null() && answer.code <= 1, "{answer:?}");
        assert!(keys[3..].iter().all(|key| *key == "reasons"), "{answer:?}");
    } else {
        let keys: Vec<&str> = json["error"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["code", "message", "details", "hint"], "{answer:?}");
        assert!(json["data"].is_null() && answer.code >= 2, "{answer:?}");
    }
    json
}

fn ids(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn batch(room: &Sandbox, ops: &Value) -> Answer {
    room.feed(&["batch", "--file", "-"], ops.to_string().as_bytes())
}

/// All files of the store with their bytes.
fn files(room: &Sandbox) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let (mut found, mut open) = (Vec::new(), vec![room.store()]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn every_answer_is_one_envelope_and_nothing_goes_to_stderr() {
    let room = Sandbox::new();
    let id = room.task("one", &["--acceptance", "it works"]);
    for args in [
        &["task", "get", &id][..],
        &["task", "list"],
        &["task", "update", &id, "--priority", "1"],
        &["task", "path", &id],
        &["ready", "--explain"],
        &["next", "--explain"],
        &["next", "--claim"],
        &["next", "--claim"],
        &["brief"],
        &["progress", "add", &id, "--content", "x", "--content", "y"],
        &["context", "add", &id, "--type", "decision", "--content", "x"],
        &["session", "start"],
        &["agent", "register", "--role", "executor"],
        &["agent", "list"],
        &["lease", "list"],
        &["lease", "renew", &id],
        &["stale", "--for", "1h"],
        &["log"],
        &["blame", &id],
        &["graph"],
        &["stats"],
        &["doctor"],
        &["lint"],
        &["schema"],
        &["init"],
        &["done", "--all-met"],
        &["task", "get", "nothing-like-it"],
        &["task", "list", "--cursor", "x"],
        &["task", "update", &id, "--expected-version", "99"],
        &["no-such-command"],
        &["task", "list", "--no-such-flag"],
        &["task", "create"],
        &["task"],
        &["task", "list", "--format", "xml"],
        &["task", "list", "--limit", "many"],
        &["task", "transition", &id, "--status", "asleep"],
        &["task", "get", &id, "--id", &id],
    ] {
        for more in [&[][..], &["--json"], &["--format", "json"]] {
            let more = if args.contains(&"--format") { &[] } else { more };
            let answer = room.run(&[args, more].concat());
            envelope(&answer);
            assert_eq!(answer.stderr, "", "{args:?}: {answer:?}");
        }
    }
    for args in [&["prime"][..], &["man"], &["completions", "bash"]] {
        let answer = room.run(&[args, &["--json"]].concat());
        assert!(envelope(&answer)["data"]["text"].is_string(), "{args:?}");
    }
}

#[test]
fn warnings_and_logs_go_to_stderr_and_leave_the_document_alone() {
    let room = Sandbox::new();
    fs::write(room.store().join("config.toml"), "format = 1\nnonsense = 1\n").unwrap();
    let warned = room.run(&["task", "create", "--title", "x"]);
    envelope(&warned);
    assert!(warned.stderr.contains("nonsense"), "{warned:?}");
    let mut command = room.agentpm();
    command.env("AGENTPM_LOG_LEVEL", "trace").args(["task", "create", "--title", "y"]);
    let logged = Answer::from(command.output().unwrap());
    envelope(&logged);
    let lines = logged.stderr.lines().filter(|line| line.starts_with('{'));
    assert!(lines.map(serde_json::from_str::<Value>).all(|line| line.is_ok()), "logs are JSON: {logged:?}");
}

#[test]
fn errors_of_the_argument_parser_have_the_same_shape() {
    let room = Sandbox::nothing();
    for args in [
        &[][..],
        &["nonsense"],
        &["task"],
        &["task", "nonsense"],
        &["task", "list", "--nonsense"],
        &["task", "archive"],
        &["task", "create"],
        &["next", "--ttl", "5m"],
        &["task", "list", "--limit", "-1"],
        &["lease", "acquire", "x", "--ttl", "soon"],
        &["task", "create", "--title", "x", "--title", "y"],
        &["context", "add", "x", "--type", "rumour", "--content", "x"],
        &["task", "list", "--format", "yaml"],
        &["completions", "tcsh9"],
    ] {
        let answer = room.run(args);
        let error = answer.error("ERR_USAGE", 2);
        envelope(&answer);
        assert!(error["hint"].is_string() && !error["message"].as_str().unwrap().is_empty(), "{args:?}: {error}");
        assert_eq!(answer.stderr, "");
    }
    let typo = room.run(&["task", "lst"]).error("ERR_USAGE", 2);
    assert!(typo["hint"].as_str().unwrap().contains("list"), "the nearest word is named: {typo}");
}

#[test]
fn each_code_has_its_exit_code() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let id = room.task("one", &[]);
    let held = room.task("held", &[]);
    let _twin = room.task("twin", &[]);

    room.run(&["task", "list", "--cursor", "?"]).error("ERR_USAGE", 2);
    room.run(&["task", "get", "ZZZZZZ"]).error("ERR_NOT_FOUND", 3);
    room.run(&["task", "get", &id[..10]]).error("ERR_AMBIGUOUS_ID", 3);
    room.run(&["task", "list", "--store", "nowhere"]).error("ERR_NO_STORE", 3);
    room.run(&["task", "create", "--title", ""]).error("ERR_USAGE", 2);
    room.run(&["task", "create", "--title", "a\nb"]).error("ERR_VALIDATION", 4);
    room.run(&["task", "create", "--title", "x", "--priority", "9"]).error("ERR_VALIDATION", 4);
    room.run(&["done", &id]).error("ERR_INVALID_STATE", 4);
    room.run(&["task", "update", &id, "--priority", "1", "--expected-version", "7"]).error("ERR_CONFLICT", 5);
    let lease = room.run(&["claim", &held]).data()["lease"]["id"].as_str().unwrap().to_owned();
    room.run_as("bob", &["task", "update", &held, "--priority", "1"]).error("ERR_LEASE_HELD", 5);
    room.run(&["task", "update", &held, "--priority", "1", "--lease-id", &id]).error("ERR_LEASE_LOST", 5);
    room.at("2026-11-20T11:00:00Z");
    room.run(&["task", "update", &held, "--priority", "1", "--lease-id", &lease]).error("ERR_LEASE_EXPIRED", 5);

    fs::write(room.store().join("config.toml"), "format = 1\n[lease]\nrequired = true\n[lock]\nwait_ms = 0\n").unwrap();
    room.run(&["task", "update", &id, "--priority", "1"]).error("ERR_LEASE_REQUIRED", 5);
    fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [comment], precedence: 1}\n").unwrap();
    room.run(&["task", "create", "--title", "x"]).error("ERR_UNAUTHORIZED", 6);
    fs::remove_file(room.store().join("roles.yml")).unwrap();

    let locks = room.repo().join(".git/agentpm/locks");
    let path = fs::read_dir(&locks).unwrap().next().unwrap().unwrap().path();
    let lock = fs::File::options().read(true).write(true).open(&path).unwrap();
    lock.lock().unwrap();
    let before = files(&room);
    let busy = room.run(&["task", "create", "--title", "x"]).error("ERR_BUSY", 7);
    assert!(busy["hint"].is_string(), "{busy}");
    assert_eq!(files(&room), before, "nothing was written");
    assert_eq!(room.run(&["task", "list"]).data()["total"], 3, "reads do not wait for the lock");
    drop(lock);

    fs::write(room.store().join("config.toml"), "format = \n").unwrap();
    room.run(&["task", "create", "--title", "x"]).error("ERR_CORRUPT", 8);
    fs::write(room.store().join("config.toml"), "format = 1\n").unwrap();
    Sandbox::nothing().run(&["init"]).error("ERR_GIT", 9);
    let journal = room.repo().join(".git/agentpm/journal.jsonl");
    fs::remove_file(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    room.run(&["task", "create", "--title", "x"]).error("ERR_IO", 10);
}

#[test]
fn schema_names_all_codes_and_operations() {
    let room = Sandbox::nothing();
    let codes = room.run(&["schema", "errors"]).data();
    let exits = codes.as_array().unwrap().iter().map(|c| (c["code"].as_str().unwrap(), c["exit"].as_u64().unwrap()));
    assert_eq!(exits.collect::<Vec<_>>(), Code::ALL.map(|code| (code.as_str(), code.exit().into())));
    let names = room.run(&["schema"]).data();
    let operations = names["operations"].as_array().unwrap();
    assert!(operations.len() > 20);
    for name in operations.iter().chain(names["schemas"].as_array().unwrap()) {
        let schema = room.run(&["schema", name.as_str().unwrap()]).data();
        assert!(schema.is_array() || schema["type"] == "object", "{name}: {schema}");
    }
    room.run(&["schema", "nonsense"]).error("ERR_NOT_FOUND", 3);
}

#[test]
fn quiet_and_jsonl_forms_print_ids_and_lines() {
    let room = Sandbox::new();
    let (first, second) = (room.task("one", &["--priority", "2"]), room.task("two", &[]));
    assert_eq!(room.run(&["task", "list", "--quiet"]).text(), format!("{first}\n{second}"));
    assert_eq!(room.run(&["task", "get", &first, "-q"]).text(), first);
    assert_eq!(room.run(&["next", "-q"]).text(), first);
    assert_eq!(room.run(&["next", "--claim", "-q"]).text(), first);
    let item = room.run(&["progress", "add", &first, "--content", "x", "-q"]);
    assert_eq!(room.get(&first)["progress"]["items"][0]["id"], item.text());
    assert_eq!(room.run(&["agent", "register", "-q"]).text(), "ada");
    assert_eq!(room.run(&["session", "start", "-q"]).text().len(), 26);

    let lines = room.run(&["task", "list", "--format", "jsonl"]);
    let titles: Vec<Value> =
        lines.text().lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["title"].clone()).collect();
    assert_eq!(titles, ["one", "two"]);
    let table = room.run(&["task", "list", "--format", "table"]);
    assert!(table.text().contains("title") && table.text().lines().count() == 3, "{table:?}");
    let md = room.run(&["task", "list", "--format", "md"]);
    assert!(md.text().lines().all(|line| line.starts_with('|') && line.ends_with('|')), "{md:?}");
    assert!(serde_json::from_str::<Value>(table.text()).is_err());
    assert!(room.run(&["task", "list", "--format", "table", "--json"]).json()["ok"].is_boolean(), "--json forces JSON");

    let refused = room.run(&["task", "get", "ZZZZZZ", "--format", "table"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (3, ""));
    assert!(refused.stderr.contains("ERR_NOT_FOUND") && refused.stderr.contains("hint"), "{refused:?}");
    assert!(room.run(&["task", "get", "ZZZZZZ", "-q"]).json()["error"]["code"].is_string());
}

#[test]
fn a_task_is_shown_with_every_field() {
    let room = Sandbox::new();
    let task = room.run(&["task", "create", "--title", "x"]).data();
    for field in [
        "id",
        "title",
        "intent",
        "type",
        "status",
        "owner",
        "parent",
        "priority",
        "labels",
        "watchers",
        "acceptance",
        "estimate",
        "due",
        "defer_until",
        "files",
        "metadata",
        "need_perm",
        "need_precedence",
        "created_at",
        "created_by",
        "completed_at",
        "cancelled_at",
        "archived_at",
        "version",
        "updated_at",
        "blocked_by_count",
        "blocking_count",
        "child_progress",
        "progress",
        "score",
        "lease_holder",
        "ready",
        "context",
        "relationships",
    ] {
        assert!(task.get(field).is_some(), "{field} in {task:#}");
    }
    let id = task["id"].as_str().unwrap();
    for args in
        [&["task", "get", id, "--full"][..], &["task", "update", id, "--priority", "0"], &["task", "verify", id]]
    {
        let shown = room.run(args).data();
        assert_eq!(shown.as_object().unwrap().keys().count(), task.as_object().unwrap().keys().count(), "{args:?}");
    }
}

#[test]
fn events_record_agent_and_correlation_id() {
    let room = Sandbox::new();
    let session = room.run(&["session", "start", "--quiet"]);
    let traced =
        ["--agent", "bob", "--session", session.text(), "--correlation-id", "c-1", "--plan-id", "p-1", "--why", "so"];
    let made = room.run(&[&["task", "create", "--title", "x"][..], &traced].concat());
    let id = made.data()["id"].as_str().unwrap().to_owned();
    let event = room.run(&["log", &id]).data()["items"][0].clone();
    assert_eq!((&event["agent"], &event["session"]), (&json!("bob"), &json!(session.text())));
    assert_eq!(
        (&event["correlation_id"], &event["plan_id"], &event["why"]),
        (&json!("c-1"), &json!("p-1"), &json!("so"))
    );

    let mut unnamed = room.agentpm();
    unnamed.env_remove("AGENTPM_AGENT").args(["task", "create", "--title", "x"]);
    Answer::from(unnamed.output().unwrap()).error("ERR_USAGE", 2);
    room.git(&["config", "user.name", "Grace B. Hopper"]).text();
    let mut slug = room.agentpm();
    slug.env_remove("AGENTPM_AGENT").args(["task", "create", "--title", "x", "--full"]);
    assert_eq!(Answer::from(slug.output().unwrap()).data()["created_by"], "grace-b.-hopper");
}

#[test]
fn an_id_may_be_shortened_but_never_guessed() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let (id, other) = (room.task("one", &[]), room.task("two", &[]));
    assert_eq!(id[..10], other[..10], "both are of one millisecond");
    let handle = room.get(&id)["handle"].as_str().unwrap().to_owned();
    assert!(handle.len() >= 6 && id.ends_with(&handle));
    let unique = (11..26).find(|n| !other.starts_with(&id[..*n])).unwrap();
    for text in [&id, &handle, &id[..unique.max(16)], &id[18..], &handle.to_lowercase(), &id[22..]] {
        assert_eq!(room.get(text)["id"], id.as_str(), "{text}");
    }
    let candidates = room.run(&["task", "get", &id[..10]]).error("ERR_AMBIGUOUS_ID", 3)["details"].clone();
    let mut both = vec![(&id, "one"), (&other, "two")];
    both.sort();
    let named = |(id, title): (&String, &str)| json!({ "id": id, "handle": room.get(id)["handle"], "title": title });
    let both: Vec<Value> = both.into_iter().map(named).collect();
    assert_eq!((&candidates["candidates"], &candidates["total"]), (&json!(both), &json!(2)));
    for text in [&id[1..25], &id[8..20], &id[23..], &id[..3], "one", "", &format!("{id}0"), &format!("{} ", id)] {
        room.run(&["task", "get", &format!("--id={text}")]).error("ERR_NOT_FOUND", 3);
    }
    room.run(&["task", "block", &id, "--by", &other[20..]]).data();
    room.run(&["task", "update", &id[..10], "--priority", "1"]).error("ERR_AMBIGUOUS_ID", 3);
}

#[test]
fn parts_of_a_task_may_be_shortened_too() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let item = room.run(&["progress", "add", &id, "--content", "step", "--quiet"]).text().to_owned();
    let note = room.run(&["note", &id, "--content", "old", "--quiet"]).text().to_owned();
    assert_eq!(room.run(&["progress", "complete", &item[20..]]).data()["completed"], true);
    assert_eq!(room.run(&["progress", "reopen", &item]).data()["completed"], false);
    let newer = room.run(&["context", "supersede", &note[19..], "--content", "new"]).data();
    let entries = room.get(&id)["context"].clone();
    assert_eq!(entries[0]["superseded_by"], newer["id"]);
    room.run(&["progress", "complete", &note]).error("ERR_NOT_FOUND", 3);
    room.run(&["progress", "complete", &id]).error("ERR_NOT_FOUND", 3);
    room.run(&["progress", "complete", &item[1..20]]).error("ERR_NOT_FOUND", 3);
}

#[test]
fn texts_come_from_the_call_a_file_or_standard_input() {
    let room = Sandbox::new();
    let long = "First line.\n\n  \"quoted\" $HOME `x` \\n é 漢\n";
    fs::write(room.repo().join("intent.md"), long).unwrap();
    let intent = |answer: Answer| answer.data()["intent"].as_str().unwrap().to_owned();
    assert_eq!(intent(room.run(&["task", "create", "--title", "a", "--intent", "@intent.md"])), long);
    assert_eq!(intent(room.feed(&["task", "create", "--title", "b", "--intent", "-"], long.as_bytes())), long);
    assert_eq!(intent(room.run(&["task", "create", "--title", "c", "--intent", "@@home"])), "@home");
    assert_eq!(intent(room.feed(&["task", "create", "--title", "d", "--intent", "-"], b"one line\n")), "one line");
    let id = room.task("e", &[]);
    let noted = room.feed(&["note", &id, "--content", "-"], long.as_bytes()).data();
    assert_eq!(noted["content"], long);

    for wrong in ["@missing.md", "@.", "@"] {
        room.run(&["task", "create", "--title", "x", "--intent", wrong]).error("ERR_USAGE", 2);
    }
    room.feed(&["task", "create", "--title", "x", "--intent", "-"], b"\xff").error("ERR_USAGE", 2);
    let large = vec![b'x'; 300 << 10];
    let refused = room.feed(&["note", &id, "--content", "-"], &large).error("ERR_VALIDATION", 4);
    assert!(refused["message"].as_str().unwrap().contains("262144"), "the limit is named: {refused}");
    // A batch never reads a file because a text says so.
    let made =
        batch(&room, &json!([{ "op": "task.create", "as": "t", "args": { "title": "f", "intent": "@intent.md" } }]));
    let made = made.data()["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(room.get(&made)["intent"], "@intent.md");
}

#[test]
fn an_idempotency_key_makes_a_retry_safe() {
    let room = Sandbox::new();
    let call = ["task", "create", "--title", "nightly", "--label", "ops", "--idempotency-key", "k-1"];
    let first = room.run(&call).data();
    room.run(&["task", "update", first["id"].as_str().unwrap(), "--priority", "2"]).data();
    for _ in 0..2 {
        let again = room.run(&call).data();
        assert_eq!((&again["id"], &again["priority"]), (&first["id"], &json!(2)), "the task as it now stands");
    }
    let other = ["task", "create", "--title", "other", "--idempotency-key", "k-1"];
    let refused = room.run(&other).error("ERR_CONFLICT", 5);
    assert_eq!(refused["details"]["result"], first["id"]);
    room.run(&["task", "create", "--title", "nightly", "--label", "ops", "--idempotency-key", "k-2"]).data();
    assert_eq!(room.run(&["task", "list"]).data()["total"], 2);

    // Keys are words of the caller's and never a path.
    for key in ["../../etc/passwd", "a/b", &"k".repeat(400), "\u{202e}", "-"] {
        let call = ["task", "create", "--title", "x", &format!("--idempotency-key={key}")];
        assert_eq!(room.run(&call).data()["id"], room.run(&call).data()["id"], "{key}");
    }
    // A call that was refused has used no key.
    let wrong = ["task", "create", "--title", "", "--idempotency-key", "k-3"];
    room.run(&wrong).error("ERR_USAGE", 2);
    room.run(&["task", "create", "--title", "right", "--idempotency-key", "k-3"]).data();
    room.is_clean();
}

#[test]
fn expected_version_refuses_an_unseen_change() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let seen = room.get(&id)["version"].to_string();
    room.run(&["task", "update", &id, "--priority", "1", "--expected-version", &seen]).data();
    let stale = ["task", "update", &id, "--priority", "2", "--expected-version", &seen];
    let refused = room.run(&stale).error("ERR_CONFLICT", 5);
    assert_eq!((&refused["details"]["expected"], &refused["details"]["actual"]), (&json!(1), &json!(2)));
    for args in [
        &["task", "transition", &id, "--status", "cancelled"][..],
        &["task", "archive", &id],
        &["task", "block", &id, "--by", &id],
        &["progress", "add", &id, "--content", "x"],
    ] {
        room.run(&[args, &["--expected-version", "77"]].concat()).error("ERR_CONFLICT", 5);
    }
    assert_eq!(room.get(&id)["version"], 2);
}

/// Creates many tasks in one batch.
fn many(room: &Sandbox, number: usize) {
    let priority = |n: usize| i64::try_from(n % 11).unwrap() - 5;
    let create = |n| json!({ "op": "task.create", "args": { "title": format!("task {n}"), "priority": priority(n) } });
    let ops: Vec<Value> = (0..number).map(create).collect();
    assert_eq!(batch(room, &json!(ops)).data()["total"], number);
}

/// Follows the cursors to the end; every page keeps its promises.
fn walk(room: &Sandbox, args: &[&str], total: usize) -> Vec<String> {
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let more: Vec<&str> = cursor.iter().flat_map(|c| ["--cursor", c.as_str()]).collect();
        let page = room.run(&[args, &more].concat()).data();
        assert_eq!(page["total"], total, "the total is of the whole list");
        let items = ids(&page);
        assert!(!items.is_empty());
        seen.extend(items);
        assert_eq!(page["truncated"].as_bool().unwrap(), page["next_cursor"].is_string());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return seen,
        }
    }
}

#[test]
fn lists_are_bounded_and_their_cursors_miss_nothing() {
    let room = Sandbox::new();
    many(&room, 150);
    let all = ids(&room.run(&["task", "list", "--all"]).data());
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (150, 150));
    for args in [&["task", "list"][..], &["task", "list", "--limit", "40"], &["task", "list", "--limit", "150"]] {
        assert_eq!(walk(&room, args, 150), all, "{args:?}");
    }
    let ready = walk(&room, &["ready", "--limit", "60"], 150);
    assert_eq!(ready.iter().collect::<BTreeSet<_>>(), all.iter().collect(), "ready");
    assert_eq!(walk(&room, &["ready"], 150), ready);
    let none = room.run(&["task", "list", "--limit", "0"]).data();
    assert_eq!((ids(&none).len(), &none["total"], &none["truncated"]), (0, &json!(150), &json!(true)));
    let next = none["next_cursor"].as_str().unwrap();
    let begun = room.run(&["task", "list", "--cursor", next]).data();
    assert_eq!(begun["items"][0]["id"], all[0], "even that cursor goes on");
    for cursor in ["", "nonsense", "1:../../x", "99999999999999999999:x"] {
        room.run(&["task", "list", &format!("--cursor={cursor}")]).error("ERR_USAGE", 2);
    }
    assert_eq!(room.run(&["task", "list", "--status", "completed"]).data()["total"], 0);
}

#[test]
fn a_long_list_is_short_unless_asked_for_more() {
    let (room, count) = (Sandbox::new(), rounds(10_000));
    many(&room, count);
    let page = room.run(&["task", "list"]);
    assert!(page.stdout.len() < 8_000, "{} bytes", page.stdout.len());
    let data = page.data();
    assert_eq!((&data["total"], &data["truncated"]), (&json!(count), &json!(true)));
    for args in [&["ready"][..], &["ready", "--explain"], &["ls"]] {
        assert!(room.run(args).stdout.len() < 8_000, "{args:?}");
    }
    assert!(room.run(&["next"]).stdout.len() < 8_000);
    assert!(room.run(&["log"]).stdout.len() < 20_000);
    let seen = walk(&room, &["task", "list", "--limit", &(count / 4).to_string()], count);
    assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (count, count));
    let titles = room.run(&["task", "list", "--query", &format!("task {}", count - 1)]).data();
    assert_eq!(titles["total"], 1);
}

#[test]
fn prime_is_short() {
    let room = Sandbox::new();
    many(&room, 20);
    let page = room.run(&["prime"]);
    assert!(page.text().len() as f64 / 3.5 < 1_500.0, "{} bytes", page.stdout.len());
    assert!(page.text().contains("next --claim") && page.text().contains("20 open"), "{page:?}");
}

#[test]
fn a_brief_keeps_to_its_bound() {
    let room = Sandbox::new();
    let id = room.task("long", &["--intent", "why it matters"]);
    for n in 0..60 {
        let kind = if n % 10 == 0 { "decision" } else { "note" };
        room.run(&["note", &id, "--type", kind, "--content", &format!("{n} {}", "words ".repeat(20))]).data();
    }
    for tokens in [200_u64, 600, 2_000] {
        let answer = room.run(&["brief", &id, "--max-tokens", &tokens.to_string()]);
        let text = answer.data()["text"].as_str().unwrap().to_owned();
        assert!(text.len() as f64 / 3.5 <= tokens as f64, "{} bytes for {tokens} tokens", text.len());
        assert!(text.contains("# long") && text.contains("left out"), "{text}");
    }
    let usual = room.run(&["brief", &id]).data();
    assert!(usual["text"].as_str().unwrap().len() <= 8 * 1024 && usual["left_out"]["context"].as_u64() > Some(0));
    let whole = room.run(&["brief", &id, "--max-tokens", "20000"]).data();
    assert!(whole["text"].as_str().unwrap().contains("59 words") && whole.get("left_out").is_none());
    room.run(&["brief", &id, "--include", "gossip"]).error("ERR_USAGE", 2);
}

#[test]
fn a_batch_names_what_it_makes() {
    let room = Sandbox::new();
    let ops = json!({ "ops": [
        { "op": "task.create", "as": "unit", "args": { "title": "unit" } },
        { "op": "task.create", "as": "lock", "args": { "title": "lock", "parent": "$unit", "labels": ["a"] } },
        { "op": "task.create", "as": "docs", "args": { "title": "docs", "parent": "$unit", "blocked_by": ["$lock"] } },
        { "op": "progress.add", "as": "step", "args": { "task_id": "$lock", "content": ["begin"] } },
        { "op": "progress.complete", "args": { "id": "$step" } },
        { "op": "context.add", "args": { "task_id": "$docs", "type": "decision", "content": "short" } },
        { "op": "claim", "args": { "id": "$lock" } },
        { "op": "done", "args": { "id": "$lock", "outcome": "well" } },
    ] });
    let made = batch(&room, &ops).data();
    assert_eq!((made["total"].as_u64(), made["items"].as_array().unwrap().len()), (Some(8), 8));
    let id = |n: usize| made["items"][n]["id"].as_str().unwrap();
    let docs = room.get(id(2));
    assert_eq!(
        (&docs["status"], &docs["parent"]),
        (&json!("open"), &json!(id(0))),
        "its blocker was done in the batch"
    );
    let lock = room.get(id(1));
    assert_eq!((&lock["status"], &lock["progress"]["done"]), (&json!("completed"), &json!(1)));
    room.is_clean();
}

#[test]
fn a_batch_that_fails_at_its_last_step_leaves_nothing() {
    let room = Sandbox::new();
    let id = room.task("there already", &[]);
    let before = files(&room);
    let good = || json!({ "op": "task.create", "as": "t", "args": { "title": "new" } });
    let update = json!({ "op": "task.update", "args": { "id": id, "priority": 5 } });
    for (what, step, code, exit) in [
        ("a wrong value", json!({ "op": "task.update", "args": { "id": "$t", "priority": 99 } }), "ERR_VALIDATION", 4),
        ("a wrong kind", json!({ "op": "task.update", "args": { "id": "$t", "priority": "x" } }), "ERR_VALIDATION", 4),
        ("a wrong state", json!({ "op": "done", "args": { "id": "$t" } }), "ERR_INVALID_STATE", 4),
        ("an unknown id", json!({ "op": "task.archive", "args": { "id": "ZZZZZZ" } }), "ERR_NOT_FOUND", 3),
        ("an unknown name", json!({ "op": "task.archive", "args": { "id": "$u" } }), "ERR_NOT_FOUND", 3),
        ("an unknown operation", json!({ "op": "task.destroy", "args": {} }), "ERR_USAGE", 2),
        ("an unknown argument", json!({ "op": "task.update", "args": { "id": "$t", "colour": 1 } }), "ERR_USAGE", 2),
        ("an unknown key", json!({ "op": "task.archive", "args": { "id": "$t" }, "if": true }), "ERR_USAGE", 2),
        ("no operation", json!({ "args": {} }), "ERR_USAGE", 2),
        ("no object", json!("task.create"), "ERR_USAGE", 2),
        ("arguments that are none", json!({ "op": "task.create", "args": [] }), "ERR_VALIDATION", 4),
        ("a batch in a batch", json!({ "op": "batch", "args": { "ops": [] } }), "ERR_USAGE", 2),
    ] {
        let refused = batch(&room, &json!([good(), update, step])).error(code, exit);
        assert!(refused["message"].as_str().unwrap().contains("step 3"), "{what} names its step: {refused}");
        assert_eq!(files(&room), before, "{what}: nothing was written");
    }
    room.feed(&["batch", "--file", "-"], b"[{\"op\":\"task.create\",\"op\":\"x\"}]").error("ERR_VALIDATION", 4);
    room.feed(&["batch", "--file", "-"], b"not json").error("ERR_VALIDATION", 4);
    room.feed(&["batch", "--file", "-"], b"\"x\"").error("ERR_USAGE", 2);
    room.run(&["batch", "--file", "missing.json"]).error("ERR_NOT_FOUND", 3);
    assert_eq!(batch(&room, &json!([])).data()["total"], 0);
    assert_eq!(files(&room), before);
}

const PLAN: &str = "\
plan: storage
tasks:
  - key: locks
    title: Locks that hold
    priority: 2
    children:
      - key: order
        title: One order of locking
        labels: [core]
        acceptance: [no deadlock]
        progress: [find all callers, sort them]
      - key: docs
        title: Describe it
        blocked_by: [order]
  - title: No key of its own
";

#[test]
fn a_plan_is_applied_once() {
    let room = Sandbox::new();
    let empty = files(&room);
    let apply =
        |plan: &str, more: &[&str]| room.feed(&[&["plan", "apply", "-"][..], more].concat(), plan.as_bytes()).data();
    let rehearsed = apply(PLAN, &["--dry-run"]);
    assert_eq!(files(&room), empty, "a rehearsal changes nothing");
    let made = apply(PLAN, &[]);
    assert_eq!(rehearsed["changes"], made["changes"]);
    assert_eq!(made["total"], 4);
    let list = room.run(&["task", "list", "--all"]).data();
    assert_eq!(list["total"], 4);
    let find = |title: &str| {
        let items = list["items"].as_array().unwrap();
        items.iter().find(|t| t["title"] == title).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (unit, order, docs) = (find("Locks that hold"), find("One order of locking"), find("Describe it"));
    let shown = room.get(&order);
    assert_eq!((&shown["parent"], &shown["progress"]["total"]), (&json!(unit), &json!(2)));
    assert_eq!(room.get(&docs)["status"], "blocked");

    let applied = files(&room);
    assert_eq!(apply(PLAN, &[])["changes"], Value::Null);
    assert_eq!(files(&room), applied, "a second time changes nothing");

    let changed = PLAN.replace("Describe it", "Describe it well").replace("sort them]", "sort them, test]");
    let rehearsed = apply(&changed, &["--dry-run"])["changes"].clone();
    assert_eq!(files(&room), applied);
    let changes = apply(&changed, &[])["changes"].clone();
    assert_eq!(changes, rehearsed);
    assert_eq!(changes.as_array().unwrap().len(), 2, "{changes:#}");
    assert_eq!(room.get(&docs)["title"], "Describe it well");
    assert_eq!(room.get(&order)["progress"]["total"], 3);
    assert_eq!(room.get(&unit)["version"], 2, "what did not change has no new event");
    room.is_clean();
}

#[test]
fn a_plan_leaves_work_that_was_done_since_alone() {
    let room = Sandbox::new();
    let apply = |plan: &str| room.feed(&["plan", "apply", "-"], plan.as_bytes());
    apply(PLAN).data();
    let taken = room.run(&["next", "--claim"]).data()["task"]["id"].as_str().unwrap().to_owned();
    room.run(&["done", "--all-met"]).data();
    let before = files(&room);
    apply(PLAN).data();
    assert_eq!((room.get(&taken)["status"].as_str(), files(&room)), (Some("completed"), before));
    let wrong = PLAN.replace("blocked_by: [order]", "blocked_by: [nothing]");
    let before = files(&room);
    apply(&wrong).error("ERR_NOT_FOUND", 3);
    apply(&PLAN.replace("priority: 2", "priority: 22")).error("ERR_VALIDATION", 4);
    assert_eq!(files(&room), before, "all of it or nothing");
}

#[test]
fn an_import_adds_each_thing_once() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/import");
    for format in ["taskmaster", "beads", "arbeit", "github", "backlog"] {
        let inside = fs::read_dir(fixtures.join(format)).unwrap().map(|file| file.unwrap().path());
        let sources = if format == "backlog" { vec![fixtures.join(format)] } else { inside.collect() };
        for path in sources {
            let room = Sandbox::new();
            let args = ["import", "--from", format, path.to_str().unwrap()];
            let first = room.run(&args).data();
            assert!(first["added"]["tasks"].as_u64().unwrap() > 0, "{path:?}: {first}");
            assert_eq!(room.run(&["task", "list", "--all"]).data()["total"], first["added"]["tasks"], "{path:?}");
            let before = files(&room);
            let again = room.run(&args).data();
            let added: Vec<&Value> = again["added"].as_object().unwrap().values().collect();
            assert!(added.iter().all(|n| **n == 0), "{path:?}: {again}");
            assert_eq!(files(&room), before, "{path:?}");
            let origin = room.get(first["items"][0]["id"].as_str().unwrap())["metadata"]["origin"].clone();
            assert_eq!(origin["format"], format, "{path:?}: the original id is kept: {origin}");
            let errors: Vec<Value> = room.findings().into_iter().filter(|f| f["severity"] == "error").collect();
            assert!(errors.is_empty(), "{path:?}: {errors:#?}");
        }
    }
    let room = Sandbox::new();
    room.feed(&["import", "--from", "jira", "-"], b"{}").error("ERR_USAGE", 2);
    room.feed(&["import", "--from", "beads", "-"], b"not json").error("ERR_VALIDATION", 4);
    room.feed(&["import", "--from", "backlog", "-"], b"---\nid: a\n---\n").error("ERR_USAGE", 2);
    room.run(&["import", "--from", "beads", fixtures.join("backlog").to_str().unwrap()]).error("ERR_USAGE", 2);
    room.run(&["import", "--from", "beads", "missing"]).error("ERR_NOT_FOUND", 3);
}

const STATES: [&str; 6] = ["open", "in_progress", "blocked", "completed", "cancelled", "archived"];

/// A task in a state, with an unfinished blocker so that each state can be asked for.
fn task_that_is(room: &Sandbox, state: &str) -> String {
    let blocker = room.task("blocker", &[]);
    let id = room.task("task", &["--blocked-by", &blocker]);
    let steps: &[&str] = match state {
        "open" => &["open"],
        "in_progress" => &["in_progress"],
        "blocked" => &[],
        "completed" => &["in_progress", "completed"],
        "cancelled" => &["cancelled"],
        _ => &["cancelled", "archived"],
    };
    for step in steps {
        room.run(&["task", "transition", &id, "--status", step, "--force", "for the test"]).data();
    }
    assert_eq!(room.get(&id)["status"], state);
    id
}

#[test]
fn each_state_leads_where_the_contract_says_and_nowhere_else() {
    let allowed = [
        ("open", &["in_progress", "blocked", "cancelled"][..]),
        ("in_progress", &["blocked", "completed", "cancelled", "open"]),
        ("blocked", &["open", "in_progress", "cancelled"]),
        ("completed", &["archived"]),
        ("cancelled", &["archived"]),
        ("archived", &[]),
    ];
    for (from, to) in allowed {
        let room = Sandbox::new();
        for state in STATES {
            let id = task_that_is(&room, from);
            let version = room.get(&id)["version"].clone();
            let answer = room.run(&["task", "transition", &id, "--status", state, "--force", "for the test"]);
            if state == from {
                assert_eq!(answer.data()["version"], version, "{from} is {from} already");
            } else if to.contains(&state) {
                let task = answer.data();
                assert_eq!(task["status"], state, "{from} to {state}");
                assert_eq!(
                    task["owner"].is_string(),
                    ["in_progress", "completed"].contains(&state) || task["owner"] == "ada",
                    "{task}"
                );
                for (stamp, of) in
                    [("completed_at", "completed"), ("cancelled_at", "cancelled"), ("archived_at", "archived")]
                {
                    assert!(task[stamp].is_string() || state != of, "{from} to {state}: {task}");
                }
            } else {
                let refused = answer.error("ERR_INVALID_STATE", 4);
                assert_eq!(room.get(&id)["version"], version, "{from} to {state}");
                assert!(!refused["hint"].as_str().unwrap().contains("--force"), "force opens no other way: {refused}");
            }
        }
        room.is_clean();
    }
}

#[test]
fn a_closed_task_opens_only_with_a_reason() {
    let room = Sandbox::new();
    for state in ["completed", "cancelled", "archived"] {
        let id = task_that_is(&room, state);
        room.run(&["task", "reopen", &id]).error("ERR_USAGE", 2);
        room.run(&["task", "reopen", &id, "--reason", " "]).error("ERR_USAGE", 2);
        let task = room.run(&["task", "reopen", &id, "--reason", "it did not hold"]).data();
        assert_eq!(task["status"], "blocked", "{state}: its blocker is still unfinished");
        assert!(task["archived_at"].is_null() && task["completed_at"].is_null(), "{task:#}");
        let event = room.run(&["log", &id, "--type", "TaskReopened"]).data()["items"][0].clone();
        assert_eq!(event["why"], "it did not hold");
        room.run(&["task", "reopen", &id, "--reason", "again"]).error("ERR_INVALID_STATE", 4);
    }
    room.is_clean();
}

#[test]
fn no_cycle_of_blockers_is_accepted() {
    let room = Sandbox::new();
    let ids: Vec<String> = ["a", "b", "c"].iter().map(|title| room.task(title, &[])).collect();
    let [a, b, c] = [&ids[0], &ids[1], &ids[2]];
    room.run(&["task", "block", a, "--by", a]).error("ERR_INVALID_STATE", 4);
    room.run(&["task", "update", a, "--parent", a]).error("ERR_INVALID_STATE", 4);
    room.run(&["task", "block", b, "--by", a]).data();
    room.run(&["task", "block", c, "--by", b]).data();
    for answer in [
        room.run(&["task", "block", a, "--by", c]),
        room.run(&["task", "block", a, "--by", b]),
        room.run(&["task", "relate", c, "--to", a, "--type", "blocks"]),
    ] {
        answer.error("ERR_INVALID_STATE", 4);
    }
    let [d, e, f] = ["d", "e", "f"].map(|title| room.task(title, &[]));
    room.run(&["task", "update", &e, "--parent", &d]).data();
    room.run(&["task", "relate", &e, "--to", &f, "--type", "parent_of"]).data();
    room.run(&["task", "update", &d, "--parent", &f]).error("ERR_INVALID_STATE", 4);
    room.run(&["task", "relate", &f, "--to", &d, "--type", "parent_of"]).error("ERR_INVALID_STATE", 4);
    let ops = json!([
        { "op": "task.create", "as": "x", "args": { "title": "x" } },
        { "op": "task.create", "as": "y", "args": { "title": "y", "blocked_by": ["$x"] } },
        { "op": "task.block", "args": { "id": "$x", "by": ["$y"] } },
    ]);
    batch(&room, &ops).error("ERR_INVALID_STATE", 4);
    room.is_clean();
}

#[test]
fn no_cycle_of_parents_and_blockers_is_accepted() {
    let room = Sandbox::new();
    let unit = room.task("unit", &[]);
    let part = room.task("part", &["--parent", &unit]);
    // A part that waits for its unit: the unit waits for its parts.
    room.run(&["task", "block", &part, "--by", &unit]).error("ERR_INVALID_STATE", 4);
    room.run(&["task", "create", "--title", "x", "--parent", &unit, "--blocked-by", &unit])
        .error("ERR_INVALID_STATE", 4);
    // The same over a third.
    let third = room.task("third", &["--blocked-by", &unit]);
    room.run(&["task", "block", &part, "--by", &third]).error("ERR_INVALID_STATE", 4);
    // And the other way about: a blocker may not become the part of what waits for it through its unit.
    let free = room.task("free", &["--blocked-by", &unit]);
    room.run(&["task", "update", &free, "--parent", &unit]).error("ERR_INVALID_STATE", 4);
    room.is_clean();
}

#[test]
fn forced_completion_is_recorded() {
    let room = Sandbox::new();
    let cases: [(&str, &dyn Fn() -> String); 3] = [
        ("blockers", &|| {
            let blocker = room.task("blocker", &[]);
            let id = room.task("waits", &["--blocked-by", &blocker]);
            room.run(&["task", "transition", &id, "--status", "in_progress", "--force", "try"]).data();
            id
        }),
        ("children", &|| {
            let id = room.task("unit", &[]);
            room.run(&["claim", &id]).data();
            room.task("part", &["--parent", &id]);
            id
        }),
        ("acceptance", &|| {
            let id = room.task("strict", &["--acceptance", "it works"]);
            room.run(&["claim", &id]).data();
            id
        }),
    ];
    for (what, make) in cases {
        let id = make();
        let refused = room.run(&["done", &id]).error("ERR_INVALID_STATE", 4);
        let named = if what == "acceptance" { "unmet" } else { what };
        assert_eq!(refused["details"][named].as_array().unwrap().len(), 1, "{what}: {refused}");
        room.run(&["task", "transition", &id, "--status", "completed"]).error("ERR_INVALID_STATE", 4);
        room.run(&["done", &id, "--force"]).error("ERR_USAGE", 2);
        assert_eq!(room.run(&["done", &id, "--force", "the boss said so"]).data()["status"], "completed", "{what}");
        let event = room.run(&["log", &id, "--type", "TaskStatusChanged"]).data();
        let last = event["items"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["payload"]["forced"], &last["why"]), (&json!([what]), &json!("the boss said so")));
    }
    let id = room.task("strict", &["--acceptance", "it works"]);
    room.run(&["claim", &id]).data();
    room.run(&["done", &id, "--force", ""]).error("ERR_USAGE", 2);
    room.run(&["task", "verify", &id, "--criterion", "it works"]).data();
    room.run(&["done", &id]).data();
    room.is_clean();
}

/// The names beneath "Commands:" of a help text.
fn sub_commands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

#[test]
fn every_command_has_help_with_an_example() {
    let room = Sandbox::nothing();
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let help = room.run(&[&words[..], &["--help"]].concat());
        let below = sub_commands(help.text());
        assert!(help.text().contains("Usage: agentpm") && help.stderr.is_empty(), "{path:?}: {help:?}");
        if below.is_empty() {
            assert!(help.text().contains("Example"), "{path:?} has no example:\n{}", help.stdout);
            assert!(help.text().contains(&format!("agentpm {}", words[0])), "{path:?}");
            seen += 1;
        }
        open.extend(below.into_iter().map(|name| path.iter().cloned().chain([name]).collect()));
    }
    assert!(seen > 45, "{seen} commands");
}

#[test]
fn documents_are_printed_as_they_are() {
    let room = Sandbox::nothing();
    for (shell, mark) in [("bash", "complete -F"), ("zsh", "#compdef agentpm"), ("fish", "complete -c agentpm")] {
        let script = room.run(&["completions", shell]);
        assert!(script.text().contains(mark), "{shell}");
    }
    let manual = room.run(&["man"]);
    assert!(manual.text().contains(".TH agentpm") && manual.text().contains("transition"));
    let version = room.run(&["--version"]);
    assert!(version.text().starts_with("agentpm "), "{version:?}");
    let config = room.run(&["schema", "config"]).data();
    assert_eq!(config["default"]["lease"]["ttl_seconds"], 600);
}

#[test]
fn redacting_takes_the_text_out_of_the_plan() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let entry =
        room.run(&["note", &id, "--content", "token hunter2-xyz", "--metadata", "{\"t\":\"hunter2-xyz\"}", "-q"]);
    let kept = room.run(&["note", &id, "--content", "harmless", "-q"]);
    let with_text = fs::read_to_string(room.log_of(&id)).unwrap();
    room.run(&["context", "redact", entry.text(), "--reason", "held a token"]).data();
    for path in [room.log_of(&id), room.yaml_of(&id)] {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("hunter2") && text.contains("harmless"), "{path:?}: {text}");
    }
    for args in [&["task", "get", &id][..], &["log", &id], &["brief", &id], &["task", "list", "--query", "hunter2"]] {
        assert!(!room.run(args).stdout.contains("hunter2-xyz"), "{args:?}");
    }
    let shown = room.get(&id)["context"].clone();
    assert_eq!((&shown[0]["redacted"], &shown[1]["id"]), (&json!(true), &json!(kept.text())));
    room.run(&["context", "redact", entry.text(), "--reason", "again"]).data();
    room.is_clean();

    // A merge with a clone that still has the text brings its line back; the next write takes it out again.
    let redacted = fs::read_to_string(room.log_of(&id)).unwrap();
    fs::write(room.log_of(&id), format!("{with_text}{redacted}")).unwrap();
    assert!(!room.run(&["task", "get", &id]).stdout.contains("hunter2"));
    room.run(&["note", &id, "--content", "later"]).data();
    let after = fs::read_to_string(room.log_of(&id)).unwrap();
    assert!(!after.contains("hunter2") && after.starts_with(&redacted), "{after}");
    room.is_clean();
}

#[test]
fn cursors_of_the_log_and_of_ready_skip_nothing() {
    let room = Sandbox::new();
    let ids: Vec<String> =
        (0..5).map(|n| room.task(&format!("task {n}"), &["--priority", &(n % 3).to_string()])).collect();
    let mut seen = Vec::new();
    let mut args = vec!["log".to_owned(), "--limit".into(), "2".into()];
    loop {
        let page = room.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).data();
        let lamports = page["items"].as_array().unwrap().iter().rev().map(|event| event["lamport"].as_u64().unwrap());
        seen.extend(lamports);
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        args.truncate(3);
        args.extend(["--cursor".into(), cursor.to_owned()]);
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);

    let first = room.run(&["ready", "--limit", "2"]).data();
    room.run_as("bob", &["next", "--claim"]).data();
    let rest = room.run(&["ready", "--limit", "9", "--cursor", first["next_cursor"].as_str().unwrap()]).data();
    let mut handed: Vec<&str> = [&first, &rest]
        .iter()
        .flat_map(|page| page["items"].as_array().unwrap())
        .filter_map(|item| item["id"].as_str())
        .collect();
    handed.sort_unstable();
    assert_eq!(handed, ids, "a claim between two pages hides nothing");
}

#[test]
fn every_command_is_reachable_through_every_interface() {
    let room = Sandbox::new();
    for (op, _) in agentpm::model::command::Command::schemas().into_iter().filter(|(op, _)| *op != "batch") {
        let mut words: Vec<&str> = op.split('.').collect();
        words.push("--help");
        assert!(room.run(&words).text().contains("Usage"), "the command line has no {op}");
        let step = format!(r#"[{{"op":"{op}","args":{{"no_such_key":1}}}}]"#);
        std::fs::write(room.repo().join("ops.json"), step).unwrap();
        let refused = room.run(&["batch", "--file", "ops.json"]).error("ERR_USAGE", 2);
        assert!(refused["message"].as_str().unwrap().contains("no_such_key"), "a batch has no {op}: {refused}");
        assert!(room.run(&["schema", op]).data()["properties"].is_object(), "there is no schema of {op}");
    }
}

#[test]
fn a_truncated_list_says_so_in_every_form() {
    let room = Sandbox::new();
    let steps: Vec<_> = ["a", "b", "c"].map(|title| json!({ "op": "task.create", "args": { "title": title } })).into();
    let made = room.feed(&["batch", "--file", "-", "--quiet"], json!(steps).to_string().as_bytes());
    assert_eq!(made.text().lines().filter(|id| id.len() == 26).count(), 3, "{made:?}");
    for form in [&["--format", "jsonl"][..], &["--quiet"]] {
        let cut = room.run(&[&["task", "list", "--limit", "2"], form].concat());
        assert_eq!((cut.code, cut.stdout.lines().count()), (0, 2));
        assert!(cut.stderr.contains("not all 3 items are shown; continue with --cursor"), "{cut:?}");
        let whole = room.run(&[&["task", "list", "--limit", "3"], form].concat());
        assert_eq!((whole.stdout.lines().count(), whole.stderr.as_str()), (3, ""));
    }
}
