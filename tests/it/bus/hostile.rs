//! What arrives by the message bus is judged like what git brings.

use serde_json::{Value, json};

use super::{doctor, once};
use crate::machine::needs;
use crate::nats::Nats;
use crate::sandbox::{Answer, shard};
use crate::sync::{Clones, plan};

/// Two clones that exchanged everything, with the name of the plan on the bus.
fn exchanged() -> (Clones, String, Nats, String) {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let nats = Nats::start(&clones.room);
    let plan = once(&clones, "ada", &nats).data()["plan"].as_str().unwrap().to_owned();
    once(&clones, "bob", &nats).data();
    (clones, task, nats, plan)
}

fn log(clones: &Clones, name: &str, task: &str) -> String {
    let folder = clones.dir(name).join(".agentpm/tasks").join(shard(task)).join(task);
    std::fs::read_to_string(folder.join("events.jsonl")).unwrap()
}

/// A line like the first one of a log, with other values.
fn forged(clones: &Clones, task: &str, change: &[(&str, Value)]) -> String {
    let first = log(clones, "ada", task);
    let mut event: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    for (key, value) in change {
        event[key] = value.clone();
    }
    event.to_string()
}

const NEW: &str = "01M7W6C3800BABRJSP993TEGC2";

#[test]
fn a_message_that_is_no_event_of_its_place_is_kept_aside_and_the_next_one_is_taken() {
    needs!("nats-server");
    let (clones, task, nats, name) = exchanged();
    let subject = |kind: &str| format!("agentpm.{name}.task.{task}.{kind}");
    let head = log(&clones, "ada", &task);
    let head: Value = serde_json::from_str(head.lines().next().unwrap()).unwrap();
    let note = json!({ "type": "question", "content": "why?" });
    let odd = |change: &[(&str, Value)]| {
        let base =
            [("id", json!(NEW)), ("lamport", json!(9)), ("type", json!("Odd")), ("parents", json!([head["id"]]))];
        forged(&clones, &task, &[&base, change].concat())
    };
    let cases: Vec<(String, Vec<u8>, &str)> = vec![
        (subject("Odd"), b"no event".to_vec(), "it cannot be read"),
        (subject("Odd"), b"\xff\xfe".to_vec(), "it is no UTF-8"),
        (subject("Odd"), vec![b'x'; 300 * 1024], "an event has at most"),
        (subject("Odd"), format!("{}\n{}", odd(&[]), odd(&[])).into_bytes(), "it is more than one line"),
        (subject("TaskUpdated"), odd(&[]).into_bytes(), "its event belongs to"),
        (format!("agentpm.{name}.agent.eve.Odd"), odd(&[]).into_bytes(), "its event belongs to"),
        (subject("Odd"), odd(&[("entity", json!(format!("session/{NEW}")))]).into_bytes(), "stays on the machine"),
        (subject("TaskCreated"), forged(&clones, &task, &[("agent", json!("eve"))]).into_bytes(), "with other content"),
        (subject("Odd"), odd(&[("lamport", json!(-1))]).into_bytes(), "it cannot be read"),
    ];
    let before = plan(&clones, "bob");
    let mut client = nats.client();
    for (subject, payload, _) in &cases {
        client.publish(subject, payload);
    }
    assert_eq!(once(&clones, "bob", &nats).data()["refused"], cases.len(), "{note}");
    assert_eq!(plan(&clones, "bob"), before);
    let kept = clones.dir("bob").join(".git/agentpm/bus/refused.jsonl");
    let kept: Vec<Value> =
        std::fs::read_to_string(&kept).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (one, (subject, _, why)) in kept.iter().zip(&cases) {
        assert!(one["subject"] == json!(subject) && one["why"].as_str().unwrap().contains(why), "{one}: {why}");
    }
    let found = doctor(&clones, "bob");
    assert!(found["ok"] == false && found["found"].as_str().unwrap().contains("9 messages refused"), "{found}");

    client.publish(&subject("Odd"), odd(&[]).as_bytes());
    let next = once(&clones, "bob", &nats).data();
    assert_eq!((next["taken"].clone(), next["refused"].clone()), (json!(1), json!(0)), "nothing is tried again");
    assert!(log(&clones, "bob", &task).contains(&odd(&[])), "an unknown type is kept byte for byte");
}

#[test]
fn an_event_before_its_parents_waits_for_them() {
    needs!("nats-server");
    let (clones, task, nats, _) = exchanged();
    for text in ["one", "two", "three"] {
        clones.run("ada", &["note", &task, "--content", text]).data();
    }
    // Another stream of the same name holds them in the wrong order, some of them twice.
    let lines: Vec<String> = log(&clones, "ada", &task).lines().map(str::to_owned).collect();
    let name = once(&clones, "bob", &nats).data()["plan"].as_str().unwrap().to_owned();
    let subject = format!("agentpm.{name}.task.{task}.ContextAdded");
    let mut client = nats.client();
    client.publish(&subject, lines[3].as_bytes());
    client.publish(&subject, lines[2].as_bytes());
    let waits = once(&clones, "bob", &nats).data();
    assert_eq!((waits["taken"].clone(), waits["waiting"].clone()), (json!(0), json!(2)), "{waits}");
    assert_eq!(clones.run("bob", &["lint"]).data()["findings"], json!([]), "no log has a gap");
    for line in [&lines[1], &lines[3], &lines[1]] {
        client.publish(&subject, line.as_bytes());
    }
    let taken = once(&clones, "bob", &nats).data();
    assert_eq!((taken["taken"].clone(), taken["waiting"].clone()), (json!(3), json!(0)), "{taken}");
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

/// A plan with roles in its first commit.
fn with_roles(roles: &str) -> (Clones, String, Nats) {
    let (clones, task) = Clones::new(&["ada"]);
    clones.write("ada", ".agentpm/roles.yml", roles);
    clones.git("ada", &["add", "-A"]).text();
    clones.git("ada", &["commit", "-q", "-m", "roles"]).text();
    clones.git("ada", &["push", "-q"]).text();
    let remote = clones.room.beside("remote.git").display().to_string();
    for name in ["bob", "eve"] {
        clones.room.git(&["clone", "-q", &remote, &clones.dir(name).display().to_string()]).text();
    }
    let nats = Nats::start(&clones.room);
    (clones, task, nats)
}

#[test]
fn an_event_that_its_author_may_not_write_is_refused_with_what_follows_it() {
    needs!("nats-server");
    let (clones, task, nats) =
        with_roles("agents:\n  ada: { perms: [admin], precedence: 10 }\n  eve: { perms: [comment], precedence: 0 }\n");
    // eve takes all rights in its own clone.
    clones.write("eve", ".agentpm/roles.yml", "agents:\n  eve: { perms: [admin], precedence: 0 }\n");
    clones.run("eve", &["task", "update", &task, "--title", "stolen"]).data();
    clones.run("eve", &["note", &task, "--content", "follows"]).data();
    clones.run("ada", &["task", "update", &task, "--priority", "3"]).data();
    once(&clones, "eve", &nats).data();
    once(&clones, "ada", &nats).data();
    let taken = once(&clones, "bob", &nats).data();
    assert_eq!((taken["taken"].clone(), taken["refused"].clone()), (json!(1), json!(2)), "{taken}");
    let got = clones.run("bob", &["task", "get", &task]).data();
    assert_eq!((got["title"].clone(), got["priority"].clone()), (json!("shared"), json!(3)));
    let found = doctor(&clones, "bob");
    assert!(found["found"].as_str().unwrap().contains("2 messages refused"), "{found}");
}

#[test]
fn a_refused_forgery_under_the_id_of_an_event_keeps_neither_it_nor_what_follows_out() {
    needs!("nats-server");
    for order in [&[&[0, 1, 2][..]][..], &[&[1, 0, 2]], &[&[2, 1, 0]], &[&[0], &[1, 2]]] {
        let (clones, task, nats) =
            with_roles("agents:\n  ada: { perms: [admin] }\n  eve: { perms: [comment], precedence: 0 }\n");
        let name = once(&clones, "bob", &nats).data()["plan"].as_str().unwrap().to_owned();
        clones.run("ada", &["task", "update", &task, "--title", "by ada"]).data();
        clones.run("ada", &["task", "update", &task, "--title", "by ada again"]).data();
        let lines: Vec<String> = log(&clones, "ada", &task).lines().map(str::to_owned).collect();
        let [real, child] = &lines[lines.len() - 2..] else { panic!("{lines:?}") };
        let mut forged: Value = serde_json::from_str(real).unwrap();
        forged["agent"] = json!("eve");
        forged["lamport"] = json!(0);
        let forged = forged.to_string();
        let subject = format!("agentpm.{name}.task.{task}.TaskUpdated");
        let (mut taken, mut refused) = (0, 0);
        for part in order {
            let mut client = nats.client();
            for n in *part {
                client.publish(&subject, [&forged, real, child][*n].as_bytes());
            }
            let done = once(&clones, "bob", &nats).data();
            taken += done["taken"].as_u64().unwrap();
            refused += done["refused"].as_u64().unwrap();
        }
        assert_eq!((taken, refused), (2, 1), "{order:?}");
        assert_eq!(log(&clones, "ada", &task), log(&clones, "bob", &task), "{order:?}");
    }
}

/// The events that a command added to the log of a task in a clone, with the subjects of their messages.
fn added(clones: &Clones, name: &str, plan: &str, task: &str, before: usize) -> Vec<(String, String)> {
    let log = log(clones, name, task);
    let message = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        (format!("agentpm.{plan}.task.{task}.{}", event["type"].as_str().unwrap()), line.to_owned())
    };
    log.lines().skip(before).map(message).collect()
}

#[test]
fn a_task_that_is_given_back_to_be_split_waits_for_its_parts() {
    needs!("nats-server");
    let roles = |eve: &str| format!("agents:\n  ada: {{ perms: [admin] }}\n  eve: {{ perms: [{eve}] }}\n");
    let (clones, task, nats) = with_roles(&roles("claim, split, create"));
    let plan_name = once(&clones, "bob", &nats).data()["plan"].as_str().unwrap().to_owned();
    clones.run("eve", &["claim", &task]).data();
    once(&clones, "eve", &nats).data();
    once(&clones, "bob", &nats).data();
    // From then on eve may split alone.
    for name in ["bob", "eve"] {
        clones.write(name, ".agentpm/roles.yml", &roles("split, create"));
        clones.git(name, &["add", "-A"]).text();
        clones.git(name, &["commit", "-q", "--no-verify", "-m", "roles"]).text();
    }
    let before = log(&clones, "eve", &task).lines().count();
    let split = clones.run("eve", &["task", "split", &task, "--title", "one part"]).data();
    let part = clones.run("eve", &["task", "list", "--json"]).json()["data"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .find(|id| *id != task)
        .unwrap_or_else(|| panic!("{split}"));
    let (given_back, parts) =
        (added(&clones, "eve", &plan_name, &task, before), added(&clones, "eve", &plan_name, &part, 0));
    let publish = |messages: &[(String, String)]| {
        let mut client = nats.client();
        for (subject, line) in messages {
            client.publish(subject, line.as_bytes());
        }
        once(&clones, "bob", &nats).data()
    };
    let taken = publish(&given_back);
    assert_eq!((&taken["taken"], &taken["refused"]), (&json!(0), &json!(0)), "{taken}");
    assert_eq!(taken["waiting"], json!(given_back.len()), "{taken}");
    assert_eq!(clones.run("bob", &["task", "get", &task]).data()["status"], "in_progress");
    let taken = publish(&parts);
    assert_eq!((&taken["waiting"], &taken["refused"]), (&json!(0), &json!(0)), "{taken}");
    assert_eq!(log(&clones, "bob", &task), log(&clones, "eve", &task));
    assert_eq!(log(&clones, "bob", &part), log(&clones, "eve", &part));
}

#[test]
fn a_thread_that_gives_way_to_one_of_another_task_waits_for_it() {
    needs!("nats-server");
    let (clones, task, nats, plan_name) = exchanged();
    let other = clones.run("ada", &["task", "create", "--title", "another"]).data()["id"].as_str().unwrap().to_owned();
    let open = |task: &str| {
        let opened = clones.run("ada", &["thread", "open", task, "--body", "so?", "--no-hold"]).data();
        opened["id"].as_str().unwrap().to_owned()
    };
    let first = open(&task);
    once(&clones, "ada", &nats).data();
    once(&clones, "bob", &nats).data();
    let (here, there) = (log(&clones, "ada", &task).lines().count(), log(&clones, "ada", &other).lines().count());
    let second = open(&other);
    clones.run("ada", &["thread", "resolve", &first, "--resolution", "supersede", "--by", &second]).data();
    let publish = |messages: &[(String, String)]| {
        let mut client = nats.client();
        for (subject, line) in messages {
            client.publish(subject, line.as_bytes());
        }
        once(&clones, "bob", &nats).data()
    };
    let taken = publish(&added(&clones, "ada", &plan_name, &task, here));
    assert_eq!((&taken["taken"], &taken["waiting"], &taken["refused"]), (&json!(0), &json!(1), &json!(0)), "{taken}");
    let taken = publish(&added(&clones, "ada", &plan_name, &other, there));
    assert_eq!((&taken["taken"], &taken["waiting"], &taken["refused"]), (&json!(2), &json!(0), &json!(0)), "{taken}");
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

#[test]
fn an_event_with_the_id_of_an_event_of_another_log_is_refused() {
    needs!("nats-server");
    let (clones, task, nats, plan_name) = exchanged();
    let other = clones.run("ada", &["task", "create", "--title", "another"]).data()["id"].as_str().unwrap().to_owned();
    clones.run("ada", &["task", "update", &other, "--priority", "1"]).data();
    once(&clones, "ada", &nats).data();
    once(&clones, "bob", &nats).data();
    let before = log(&clones, "bob", &task);
    let taken_id = |n: usize| -> Value {
        serde_json::from_str::<Value>(log(&clones, "ada", &other).lines().nth(n).unwrap()).unwrap()["id"].clone()
    };
    let head: Value = serde_json::from_str(before.lines().next().unwrap()).unwrap();
    let note = json!({ "type": "note", "content": "a word" });
    let mut client = nats.client();
    for n in 0..2 {
        let change = [
            ("id", taken_id(n)),
            ("lamport", json!(90)),
            ("type", json!("ContextAdded")),
            ("parents", json!([head["id"]])),
            ("payload", note.clone()),
        ];
        let subject = format!("agentpm.{plan_name}.task.{task}.ContextAdded");
        client.publish(&subject, forged(&clones, &task, &change).as_bytes());
    }
    let taken = once(&clones, "bob", &nats).data();
    assert_eq!((&taken["taken"], &taken["waiting"], &taken["refused"]), (&json!(0), &json!(0), &json!(2)), "{taken}");
    assert_eq!(log(&clones, "bob", &task), before);
    // Of two that come together, the first one counts.
    let new: Vec<(String, String)> = [&task, &other]
        .iter()
        .map(|task| {
            let last = log(&clones, "bob", task).lines().last().unwrap().to_owned();
            let parent = serde_json::from_str::<Value>(&last).unwrap()["id"].clone();
            let change = [
                ("id", json!(NEW)),
                ("lamport", json!(90)),
                ("type", json!("ContextAdded")),
                ("entity", json!(format!("task/{task}"))),
                ("parents", json!([parent])),
                ("payload", note.clone()),
            ];
            (format!("agentpm.{plan_name}.task.{task}.ContextAdded"), forged(&clones, task, &change))
        })
        .collect();
    for (subject, line) in &new {
        client.publish(subject, line.as_bytes());
    }
    let taken = once(&clones, "bob", &nats).data();
    assert_eq!((&taken["taken"], &taken["waiting"], &taken["refused"]), (&json!(1), &json!(0), &json!(1)), "{taken}");
    assert!(log(&clones, "bob", &task).contains(NEW));
}

#[test]
fn an_unsigned_event_is_refused_where_signatures_are_required() {
    needs!("nats-server");
    let (clones, task, nats) = with_roles("agents:\n  ada: { perms: [admin] }\nrequire_signatures: true\n");
    clones.run("ada", &["note", &task, "--content", "unsigned"]).data();
    once(&clones, "ada", &nats).data();
    let taken = once(&clones, "bob", &nats).data();
    assert_eq!((taken["taken"].clone(), taken["refused"].clone()), (json!(0), json!(1)), "{taken}");
    assert!(doctor(&clones, "bob")["found"].as_str().unwrap().contains("did not sign it"));
}

#[test]
fn a_precedence_that_the_roles_do_not_give_is_refused() {
    needs!("nats-server");
    let (clones, task, nats, name) = exchanged();
    let head: Value = serde_json::from_str(log(&clones, "ada", &task).lines().next().unwrap()).unwrap();
    let change =
        [("id", json!(NEW)), ("type", json!("Odd")), ("parents", json!([head["id"]])), ("precedence", json!(900))];
    nats.client().publish(&format!("agentpm.{name}.task.{task}.Odd"), forged(&clones, &task, &change).as_bytes());
    let taken = once(&clones, "bob", &nats).data();
    assert_eq!((taken["taken"].clone(), taken["refused"].clone()), (json!(0), json!(1)), "{taken}");
}

#[test]
fn a_server_with_smaller_limits_is_named_and_what_fits_goes_through() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let settings = clones.room.beside("nats.conf");
    std::fs::write(&settings, "max_payload: 4096\njetstream: { max_file: 50MB }\n").unwrap();
    let nats = Nats::start_with(&clones.room, &["-c", &settings.display().to_string()]);
    clones.run("ada", &["note", &task, "--content", &"x".repeat(6_000)]).data();
    clones.run("ada", &["add", "small", "--quiet"]).text();
    let refused = once(&clones, "ada", &nats).error("ERR_SYNC", 9);
    assert!(refused["message"].as_str().unwrap().contains("--max-bytes asks for less"), "{refused}");
    let limited = |name: &str| {
        let mut command = clones.room.agentpm_in(&clones.dir(name));
        command.env_remove("AGENTPM_SEED").env("AGENTPM_AGENT", name);
        command.args(["bus", "--once", "--max-bytes", "1000000", "--url", &nats.url()]);
        Answer::from(command.output().expect("agentpm starts")).data()
    };
    assert_eq!(limited("ada")["published"], 1);
    let found = doctor(&clones, "ada");
    assert!(found["found"].as_str().unwrap().contains("1 event too large for the server"), "{found}");
    assert_eq!(limited("bob")["taken"], 1);
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"), "git carries the rest");
}

#[test]
fn a_message_under_the_id_of_an_event_does_not_keep_the_event_from_the_others() {
    needs!("nats-server");
    let (clones, task, nats, name) = exchanged();
    clones.run("ada", &["note", &task, "--content", "precious"]).data();
    let line = log(&clones, "ada", &task).lines().last().unwrap().to_owned();
    let event: Value = serde_json::from_str(&line).unwrap();
    let id = event["id"].as_str().unwrap().to_owned();
    let subject = format!("agentpm.{name}.task.{task}.ContextAdded");
    let mut client = nats.client();
    let mut put = |id: &str, body: &str| {
        let ack = client.ask_with(&subject, &[("Nats-Msg-Id", id)], body.as_bytes());
        assert!(ack["seq"].is_u64() && ack["duplicate"].is_null(), "{ack}");
    };
    put(&id, "garbage");
    let by_ada = once(&clones, "ada", &nats).data();
    assert_eq!((by_ada["refused"].clone(), by_ada["published"].clone()), (json!(1), json!(1)), "{by_ada}");
    let by_bob = once(&clones, "bob", &nats).data();
    assert_eq!((by_bob["refused"].clone(), by_bob["taken"].clone()), (json!(1), json!(1)), "{by_bob}");
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));

    // An event that is in order, under the id of another one.
    let forged =
        forged(&clones, &task, &[("id", json!(NEW)), ("type", json!("ContextAdded")), ("parents", json!([id]))]);
    let mut forged: Value = serde_json::from_str(&forged).unwrap();
    forged["payload"] = event["payload"].clone();
    put(&format!("{NEW}0"), &forged.to_string());
    put(&id.replace(&id[..4], "01AA"), &forged.to_string());
    for name in ["ada", "bob"] {
        assert_eq!(once(&clones, name, &nats).data()["refused"], 2, "both refuse it");
        assert!(doctor(&clones, name)["found"].as_str().unwrap().contains("its message id is 01AA"));
    }
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

#[test]
fn an_entry_without_its_text_on_the_bus_does_not_keep_the_text_from_the_others() {
    needs!("nats-server");
    let (clones, task, nats, name) = exchanged();
    clones.run("ada", &["note", &task, "--content", "precious"]).data();
    let mut empty: Value = serde_json::from_str(log(&clones, "ada", &task).lines().last().unwrap()).unwrap();
    empty["payload"]["content"] = json!("");
    let subject = format!("agentpm.{name}.task.{task}.ContextAdded");
    nats.client().publish(&subject, empty.to_string().as_bytes());
    let by_ada = once(&clones, "ada", &nats).data();
    assert_eq!((by_ada["refused"].clone(), by_ada["published"].clone()), (json!(0), json!(1)), "{by_ada}");
    let by_bob = once(&clones, "bob", &nats).data();
    assert_eq!((by_bob["refused"].clone(), by_bob["taken"].clone()), (json!(0), json!(1)), "{by_bob}");
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

#[test]
fn lines_that_were_cut_off_stop_nothing_and_are_named() {
    needs!("nats-server");
    let (clones, task, nats, name) = exchanged();
    let bus = clones.dir("bob").join(".git/agentpm/bus");
    std::fs::write(bus.join("refused.jsonl"), b"{\"sequence\":1,\"text\":\"\xc3").unwrap();
    std::fs::write(bus.join("waiting.jsonl"), b"{\"sequence\":2,\"event\":{\"x\":\"\xc3").unwrap();
    for command in [&["status"][..], &["prime"], &["stats", "--format", "prometheus"]] {
        assert_eq!(clones.run("bob", command).code, 0, "{command:?}");
    }
    let found = doctor(&clones, "bob");
    assert!(found["ok"] == false && found["found"].as_str().unwrap().contains("2 lines in"), "{found}");
    nats.client().publish(&format!("agentpm.{name}.task.{task}.Odd"), b"no event");
    clones.run("ada", &["note", &task, "--content", "meanwhile"]).data();
    once(&clones, "ada", &nats).data();
    let taken = once(&clones, "bob", &nats).data();
    assert_eq!((taken["taken"].clone(), taken["refused"].clone()), (json!(1), json!(2)), "{taken}");
    let found = doctor(&clones, "bob");
    let found = found["found"].as_str().unwrap();
    assert!(found.contains("1 line in") && found.contains("2 messages refused"), "{found}");
    let kept = std::fs::read(bus.join("refused.jsonl")).unwrap();
    assert!(String::from_utf8_lossy(&kept).contains("its line cannot be read any more"), "the lost line is named");
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}
