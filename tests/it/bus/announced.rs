//! What bridges announce besides events: offers of ready tasks, unread items, and changed settings.

use std::process::Stdio;

use serde_json::{Value, json};

use super::{Bridge, doctor, stream};
use crate::machine::needs;
use crate::nats::Nats;
use crate::proxy::Proxy;
use crate::sandbox::{Answer, wait_for};
use crate::sync::Clones;

/// The number of offers in the queue of ready tasks.
fn offers(nats: &Nats) -> u64 {
    let mut client = nats.client();
    let name = client.streams().into_iter().find(|name| name.ends_with("_READY"));
    name.map_or(0, |name| client.messages(&name))
}

#[test]
fn a_ready_task_is_offered_to_one_of_those_who_wait_and_to_another_if_it_is_not_claimed() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let mut nats = Nats::start(&clones.room);
    let home = clones.room.home().join(".agentpm");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("config.toml"), format!("[bus]\nurl = \"{}\"\n", nats.url())).unwrap();
    clones.run("ada", &["claim", &task]).data();
    clones.run("ada", &["done", &task, "--all-met"]).data();
    let _bridges = ["ada", "bob"].map(|name| Bridge::start(&clones, name, &nats, &[]));
    wait_for("there is a queue", || nats.client().streams().iter().any(|name| name.ends_with("_READY")));
    wait_for("bob knows of the end", || clones.run("bob", &["task", "get", &task]).data()["status"] == "completed");
    let wait = |agent: &str| {
        let mut waits = clones.room.agentpm_in(&clones.dir("bob"));
        waits.env_remove("AGENTPM_SEED").env("AGENTPM_AGENT", agent).stdout(Stdio::piped());
        waits.args(["next", "--claim", "--wait", "60", "--quiet"]).spawn().expect("agentpm starts")
    };

    // An offer that its receiver leaves unanswered, as one that was killed does, goes to another one.
    let name = stream(&nats).replace("_EVENTS", "_READY");
    let agents = json!({ "stream_name": name, "config": { "durable_name": "agents", "ack_policy": "explicit", "ack_wait": 1_000_000_000u64 } });
    let made = nats.client().ask(&format!("CONSUMER.DURABLE.CREATE.{name}.agents"), &agents);
    assert!(made["error"].is_null(), "{made}");
    let first = clones.run("ada", &["add", "first", "--quiet"]).text().to_owned();
    wait_for("the task is offered", || offers(&nats) == 1);
    let pull = json!({ "batch": 1, "expires": 10_000_000_000u64 });
    (0..2).for_each(|_| drop(nats.client().ask(&format!("CONSUMER.MSG.NEXT.{name}.agents"), &pull)));
    let info = nats.client().ask(&format!("CONSUMER.INFO.{name}.agents"), &Value::Null);
    assert_eq!((info["delivered"]["consumer_seq"].clone(), info["num_redelivered"].clone()), (json!(2), json!(1)));
    let got = Answer::from(wait("ben").wait_with_output().expect("it ends"));
    assert_eq!(got.text(), first);
    wait_for("no offer is left of a task that was claimed", || offers(&nats) == 0);

    let waiting = ["bea", "bob"].map(wait);
    let both = ["second", "third"].map(|title| clones.run("ada", &["add", title, "--quiet"]).text().to_owned());
    let got = waiting.map(|one| Answer::from(one.wait_with_output().expect("it ends")).text().to_owned());
    let sorted = |mut all: [String; 2]| {
        all.sort();
        all
    };
    assert_eq!(sorted(got), sorted(both.clone()), "each of the two got one");
    wait_for("no offer is left", || offers(&nats) == 0);
    // Until it knows of the claims, ada would take one of those tasks.
    let is_held = |id: &String| clones.run("ada", &["task", "get", id]).data()["status"] == "in_progress";
    wait_for("ada knows of the claims", || [&first].into_iter().chain(&both).all(is_held));
    clones.run("ada", &["add", "fourth", "--quiet"]).text();
    wait_for("a task that no agent waits for is offered too", || offers(&nats) == 1);
    clones.run("ada", &["next", "--claim", "--quiet"]).text();
    wait_for("the offer of a task that was claimed without it is withdrawn", || offers(&nats) == 0);

    nats.kill();
    nats.run();
    clones.run("ada", &["add", "fifth", "--quiet"]).text();
    wait_for("a queue that the server lost is made again", || offers(&nats) == 1);
}

#[test]
fn an_offer_whose_answer_was_lost_is_withdrawn_once_the_task_is_claimed() {
    needs!("nats-server");
    let (clones, _) = Clones::new(&["ada"]);
    let nats = Nats::start(&clones.room);
    let proxy = Proxy::to(nats.port);
    let _bridge = Bridge::start_at(&clones, "ada", &proxy.url(), &[]);
    // The first look announces no task.
    let record = clones.dir("ada").join(".git/agentpm/bus/bridge.json");
    let settings =
        || serde_json::from_slice::<Value>(&std::fs::read(&record).ok()?).ok()?["settings"].as_str().map(str::len);
    wait_for("the bridge has looked once", || settings().is_some_and(|length| length > 0));
    let first = clones.run("ada", &["add", "first", "--quiet"]).text().to_owned();
    wait_for("the first task is offered", || offers(&nats) == 1);
    clones.run("ada", &["claim", &first]).data();
    wait_for("its offer is withdrawn", || offers(&nats) == 0);

    proxy.lose_answers();
    let second = clones.run("ada", &["add", "second", "--quiet"]).text().to_owned();
    wait_for("the second task is offered", || offers(&nats) == 1);
    // The connection on which the answer was lost gives way to another one.
    proxy.cut();
    clones.run("ada", &["claim", &second]).data();
    wait_for("the bridge has no connection", || doctor(&clones, "ada")["ok"] == false);
    proxy.pass();
    wait_for("the offer is withdrawn", || offers(&nats) == 0);
}

#[test]
fn an_agent_hears_only_what_concerns_it_on_the_subject_of_its_inbox() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let nats = Nats::start(&clones.room);
    for agent in ["bob", "ben"] {
        clones.run("bob", &["--agent", agent, "inbox"]).data();
    }
    let _bridges = ["ada", "bob"].map(|name| Bridge::start(&clones, name, &nats, &[]));
    clones.run("ada", &["thread", "open", &task, "--body", "@bob a secret question"]).data();
    let heard = || {
        let all = nats.client().all(&stream(&nats));
        all.into_iter().filter(|(subject, _)| subject.contains(".inbox.")).collect::<Vec<_>>()
    };
    wait_for("bob hears of it", || !heard().is_empty());
    let (subject, body) = heard().remove(0);
    assert!(subject.ends_with(".inbox.bob"), "{subject}");
    let item: Value = serde_json::from_slice(&body).expect("an item");
    let unread = clones.run("bob", &["inbox"]).data()["items"].clone();
    assert_eq!(unread.as_array().unwrap(), &[item], "the same item as the inbox shows");
    clones.run("ada", &["broadcast", "--body", "to ben", "--to", "ben"]).data();
    wait_for("ben hears of it", || heard().len() == 2);
    assert!(heard()[1].0.ends_with(".inbox.ben"), "bob hears nothing of it: {:?}", heard());
    wait_for("announcements are no events to take in", || {
        let bus = clones.run("ada", &["status"]).data()["bus"].clone();
        (bus["to_take"].clone(), bus["refused"].clone()) == (json!(0), json!(0))
    });
}

#[test]
fn the_official_client_takes_an_inbox_by_a_consumer_with_a_filter() {
    needs!("nats-server", "nats-python");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let nats = Nats::start(&clones.room);
    for agent in ["bob", "ben"] {
        clones.run("bob", &["--agent", agent, "inbox"]).data();
    }
    let _bridges = ["ada", "bob"].map(|name| Bridge::start(&clones, name, &nats, &[]));
    clones.run("ada", &["thread", "open", &task, "--body", "@ben a question to ben"]).data();
    clones.run("ada", &["broadcast", "--body", "to bob", "--to", "bob"]).data();
    wait_for("the stream is there", || nats.client().streams().iter().any(|name| name.ends_with("_EVENTS")));
    let take = || {
        let mut client = clones.room.agentpm_like("nats-python");
        client.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/bus/inbox.py"));
        let answer = Answer::from(client.args([&nats.url(), &stream(&nats), "bob", "1"]).output().expect("it starts"));
        let lines = answer.text().lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let lines: Vec<Value> = lines.collect();
        let [item, rest] = <[Value; 2]>::try_from(lines).expect("an item, and what is left");
        assert_eq!(rest, json!({ "pending": 0 }), "of all that is announced only this concerns bob");
        item
    };
    let unread = || clones.run("bob", &["inbox"]).data()["items"].clone();
    let first = take();
    assert_eq!(unread(), json!([first]), "the same item as the inbox shows");
    clones.run("ada", &["broadcast", "--body", "once more to bob", "--to", "bob"]).data();
    let second = take();
    assert_eq!(unread(), json!([first, second]), "a durable consumer goes on behind what it has acknowledged");
}

#[test]
fn settings_that_changed_upstream_are_announced_and_the_other_clones_fetch_them() {
    needs!("nats-server");
    let (clones, _) = Clones::new(&["ada", "bob"]);
    let nats = Nats::start(&clones.room);
    let _bridges = ["ada", "bob"].map(|name| Bridge::start(&clones, name, &nats, &[]));
    let runtime = |name: &str| clones.dir(name).join(".git/agentpm/bus/bridge.json");
    let noted = |name: &str| {
        let text = std::fs::read_to_string(runtime(name)).unwrap_or_default();
        serde_json::from_str::<Value>(&text).unwrap_or_default()["settings"].as_str().unwrap_or_default().to_owned()
    };
    wait_for("both have looked", || ["ada", "bob"].iter().all(|name| !noted(name).is_empty()));
    clones.write("ada", ".agentpm/roles.yml", "agents:\n  ada: { perms: [admin] }\n");
    clones.git("ada", &["add", "-A"]).text();
    clones.git("ada", &["commit", "-q", "-m", "roles"]).text();
    clones.git("ada", &["push", "-q"]).text();
    let pushed = clones.git("ada", &["rev-parse", "HEAD"]).text().to_owned();
    wait_for("bob has fetched them", || clones.git("bob", &["rev-parse", "origin/main"]).text() == pushed);
    assert_ne!(clones.git("bob", &["rev-parse", "HEAD"]).text(), pushed, "the work tree is not touched");
    wait_for("both know the same", || noted("ada") == noted("bob"));
    let all = nats.client().all(&stream(&nats));
    let announced = all.iter().filter(|(subject, _)| subject.ends_with(".system.CONFIG")).count();
    assert_eq!(announced, 1, "it is announced once");
}
