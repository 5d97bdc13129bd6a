//! Leases that the message bus confirms: the rules of those at a git remote, decided by the server.

use serde_json::{Value, json};

use super::Bridge;
use crate::machine::needs;
use crate::nats::{Client, Nats};
use crate::sandbox::{Answer, rounds, wait_for};
use crate::sync::{Clones, plan};

/// Clones whose leases the bus confirms; the user's own settings name the server.
pub fn leasing(names: &[&str]) -> (Clones, String, Nats) {
    let (clones, task) = Clones::new(names);
    let nats = Nats::start(&clones.room);
    let home = clones.room.home().join(".agentpm");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("config.toml"), format!("[bus]\nurl = \"{}\"\n", nats.url())).unwrap();
    for name in names {
        clones.write(name, ".agentpm/config.toml", "format = 1\n[lease]\nremote = \"bus\"\nremote_seconds = 2\n");
    }
    (clones, task, nats)
}

fn claim(clones: &Clones, name: &str, task: &str) -> Answer {
    clones.run(name, &["claim", task, "--full"])
}

pub fn fence(answer: &Value) -> u64 {
    answer["lease"]["fence"].as_u64().expect("a fence")
}

#[test]
fn one_of_two_clones_gets_a_task_and_the_other_learns_who_has_it_and_who_finished_it() {
    needs!("nats-server");
    let (clones, task, _nats) = leasing(&["ada", "bob"]);
    let got = claim(&clones, "ada", &task).data();
    assert_eq!(got["lease"]["confirmed"], true, "{got}");
    let held = claim(&clones, "bob", &task).error("ERR_LEASE_HELD", 5);
    assert!(held["message"].as_str().unwrap().contains("ada holds task"), "{held}");
    let listed = clones.run("bob", &["lease", "list", "--remote"]).data();
    assert_eq!((listed["items"][0]["agent"].clone(), listed["items"][0]["mine"].clone()), (json!("ada"), json!(false)));

    clones.run("ada", &["release", &task]).data();
    let next = claim(&clones, "bob", &task).data();
    assert!(next["lease"]["confirmed"] == true && fence(&next) > fence(&got), "{next}");
    clones.run("bob", &["done", &task, "--all-met"]).data();
    let over = claim(&clones, "ada", &task).error("ERR_INVALID_STATE", 4);
    assert!(over["message"].as_str().unwrap().contains("bob finished task"), "{over}");
    assert_eq!(clones.run("ada", &["doctor"]).json()["data"]["checks"].to_string().matches("message bus").count(), 1);
}

#[test]
fn a_claim_while_the_server_is_gone_is_not_confirmed_and_settled_afterwards() {
    needs!("nats-server");
    let (clones, task, mut nats) = leasing(&["ada", "bob"]);
    let other = clones.run("ada", &["add", "other", "--quiet"]).text().to_owned();
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    nats.kill();
    for one in [&task, &other] {
        let answer = claim(&clones, "ada", one);
        assert_eq!(answer.data()["lease"]["confirmed"], false);
        assert!(answer.stderr.contains("the lease is not confirmed: the remote could not be asked"), "{answer:?}");
    }
    nats.run();
    let got = claim(&clones, "bob", &task).data();
    assert_eq!(got["lease"]["confirmed"], true);
    let report = clones.run("ada", &["sync"]).data();
    assert_eq!(report["leases"]["confirmed"], json!([other]), "{report}");
    clones.run("ada", &["release", &task]).error("ERR_LEASE_LOST", 5);
    claim(&clones, "bob", &other).error("ERR_LEASE_HELD", 5);
}

#[test]
fn what_a_lost_stream_held_is_restored_and_nothing_is_confirmed_for_a_while() {
    needs!("nats-server");
    let (clones, task, mut nats) = leasing(&["ada", "bob"]);
    let other = clones.run("ada", &["add", "other", "--quiet"]).text().to_owned();
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    let got = claim(&clones, "ada", &task).data();
    claim(&clones, "bob", &task).error("ERR_LEASE_HELD", 5);
    nats.kill();
    nats.wipe();
    nats.run();
    let answer = claim(&clones, "bob", &other);
    assert_eq!(answer.data()["lease"]["confirmed"], false);
    assert!(answer.stderr.contains("the bus lost its leases, and confirms none before"), "{answer:?}");
    claim(&clones, "bob", &task).error("ERR_LEASE_HELD", 5);
    let listed = clones.run("ada", &["lease", "list", "--remote"]).data();
    let mine = listed["items"].as_array().unwrap().iter().find(|one| one["task"] == json!(task)).unwrap().clone();
    assert_eq!((mine["fence"].clone(), mine["mine"].clone()), (got["lease"]["fence"].clone(), json!(true)), "{mine}");
    clones.run("ada", &["release", &task]).data();
}

#[test]
fn a_stream_that_may_lose_leases_confirms_none_and_its_limits_are_named() {
    needs!("nats-server");
    let (clones, task, nats) = leasing(&["ada", "bob"]);
    let other = clones.run("ada", &["add", "other", "--quiet"]).text().to_owned();
    assert_eq!(claim(&clones, "ada", &task).data()["lease"]["confirmed"], true);
    let mut client = nats.client();
    let name = lease_stream(&mut client);
    let kept = client.ask(&format!("STREAM.INFO.{name}"), &Value::Null)["config"].clone();
    let limits = [
        ("max_age", json!(3_600_000_000_000_u64), "its maximum age is 3600 s"),
        ("max_bytes", json!(50_000_000), "its maximum size is 50000000"),
        ("max_msgs", json!(100), "its maximum number of messages is 100"),
        ("max_msgs_per_subject", json!(1), "its maximum number of messages of a subject is 1, not 8"),
    ];
    for (limit, value, words) in limits {
        let mut config = kept.clone();
        config[limit] = value;
        let changed = client.ask(&format!("STREAM.UPDATE.{name}"), &config);
        assert!(changed["error"].is_null(), "{changed}");
        let answer = clones.run("ada", &["lease", "renew", &task]);
        assert_eq!(answer.data()["confirmed"], false, "{limit}: {answer:?}");
        assert!(answer.stderr.contains(words) && answer.stderr.contains(&name), "{answer:?}");
        let checks = clones.run("ada", &["doctor"]).json()["data"]["checks"].clone();
        let check = checks.as_array().unwrap().iter().find(|check| check["check"] == "leases").unwrap();
        assert!(check["ok"] == false && check["found"].as_str().unwrap().contains(words), "{check}");
    }
    assert!(client.ask(&format!("STREAM.UPDATE.{name}"), &kept)["error"].is_null());
    let answer = claim(&clones, "ada", &other);
    assert_eq!(answer.data()["lease"]["confirmed"], false, "what was dropped meanwhile is not known");
    assert!(answer.stderr.contains("the bus lost its leases, and confirms none before"), "{answer:?}");
    claim(&clones, "bob", &task).error("ERR_LEASE_HELD", 5);
}

#[test]
fn a_stream_of_leases_in_memory_confirms_none_and_its_successor_does() {
    needs!("nats-server");
    let (clones, task, nats) = leasing(&["ada"]);
    let mut client = nats.client();
    assert_eq!(claim(&clones, "ada", &task).data()["lease"]["confirmed"], true);
    let name = lease_stream(&mut client);
    let mut config = client.ask(&format!("STREAM.INFO.{name}"), &Value::Null)["config"].clone();
    config["storage"] = json!("memory");
    let again = |client: &mut crate::nats::Client, config: &Value| {
        client.ask(&format!("STREAM.DELETE.{name}"), &Value::Null);
        if !config.is_null() {
            let made = client.ask(&format!("STREAM.CREATE.{name}"), config);
            assert!(made["error"].is_null(), "{made}");
        }
    };
    // A clone that never had a lease there.
    again(&mut client, &config);
    std::fs::remove_file(clones.dir("ada").join(".git/agentpm/bus/leases.json")).unwrap();
    let other = clones.run("ada", &["add", "other", "--quiet"]).text().to_owned();
    let answer = claim(&clones, "ada", &other);
    assert_eq!(answer.data()["lease"]["confirmed"], false, "{answer:?}");
    assert!(answer.stderr.contains("it is kept in memory"), "{answer:?}");
    again(&mut client, &Value::Null);
    assert_eq!(clones.run("ada", &["lease", "renew", &other]).data()["confirmed"], true, "nothing ever stood there");
}

#[test]
fn a_stream_of_leases_from_which_messages_can_be_removed_confirms_none() {
    needs!("nats-server");
    let (clones, task, nats) = leasing(&["ada"]);
    let mut client = nats.client();
    assert_eq!(claim(&clones, "ada", &task).data()["lease"]["confirmed"], true);
    let name = lease_stream(&mut client);
    let made = client.ask(&format!("STREAM.INFO.{name}"), &Value::Null)["config"].clone();
    for (guard, words) in [("deny_delete", "messages can be deleted from it"), ("deny_purge", "it can be purged")] {
        client.ask(&format!("STREAM.DELETE.{name}"), &Value::Null);
        let mut config = made.clone();
        config[guard] = json!(false);
        let created = client.ask(&format!("STREAM.CREATE.{name}"), &config);
        assert!(created["error"].is_null(), "{created}");
        std::fs::remove_file(clones.dir("ada").join(".git/agentpm/bus/leases.json")).unwrap();
        let other = clones.run("ada", &["add", "other", "--quiet"]).text().to_owned();
        let answer = claim(&clones, "ada", &other);
        assert_eq!(answer.data()["lease"]["confirmed"], false, "{answer:?}");
        assert!(answer.stderr.contains(words), "{answer:?}");
        let updated = client.ask(&format!("STREAM.UPDATE.{name}"), &made);
        assert!(updated["error"].is_null(), "both can be set later: {updated}");
        assert_eq!(
            clones.run("ada", &["lease", "renew", &other]).data()["confirmed"],
            true,
            "nothing ever stood there"
        );
    }
}

#[test]
fn an_end_that_a_lost_stream_held_is_restored_under_a_later_lease() {
    needs!("nats-server");
    let (clones, task, mut nats) = leasing(&["ada", "bob"]);
    let other = clones.run("ada", &["add", "other", "--quiet"]).text().to_owned();
    claim(&clones, "ada", &task).data();
    clones.run("ada", &["done", &task, "--all-met"]).data();
    nats.kill();
    nats.wipe();
    nats.run();
    // bob, to whom this bus is new, works on the task that he does not know to be finished.
    claim(&clones, "bob", &task).data();
    clones.run("bob", &["release", &task]).data();
    let got = claim(&clones, "bob", &task).data();
    assert!(fence(&got) > 2, "{got}");
    claim(&clones, "ada", &other).data();
    let over = clones.run("bob", &["done", &task, "--all-met"]).error("ERR_INVALID_STATE", 4);
    assert!(over["message"].as_str().unwrap().contains("finished"), "{over}");
}

#[test]
fn a_stream_of_leases_that_was_set_back_is_a_lost_one() {
    needs!("nats-server");
    let (clones, [task, _, third], _nats) = with_leases_set_back();
    the_leases_of_ada_are_restored(&clones, &task, &third);
}

#[test]
fn a_stream_of_leases_that_was_set_back_and_written_to_since_is_a_lost_one() {
    needs!("nats-server");
    let (clones, [task, other, third], nats) = with_leases_set_back();
    let mut client = nats.client();
    let name = lease_stream(&mut client);
    let before = client.messages(&name);
    // bob did not see what the stream held beyond the backup.
    assert_eq!(claim(&clones, "bob", &third).data()["lease"]["confirmed"], true);
    while client.messages(&name) < before + 4 {
        clones.run("bob", &["lease", "renew", &third]).data();
    }
    clones.run("bob", &["release", &third]).data();
    the_leases_of_ada_are_restored(&clones, &task, &third);
    claim(&clones, "bob", &other).error("ERR_LEASE_HELD", 5);
}

fn lease_stream(client: &mut Client) -> String {
    client.streams().into_iter().find(|name| name.ends_with("_LEASES")).expect("a stream of leases")
}

/// ada has leases of the first two tasks, of which the stream lost the first one, and bob knows none of it.
fn with_leases_set_back() -> (Clones, [String; 3], Nats) {
    let (clones, task, mut nats) = leasing(&["ada", "bob"]);
    let [other, third] =
        ["other", "third"].map(|title| clones.run("ada", &["add", title, "--quiet"]).text().to_owned());
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    assert_eq!(claim(&clones, "ada", &other).data()["lease"]["confirmed"], true);
    claim(&clones, "bob", &other).error("ERR_LEASE_HELD", 5);
    nats.kill();
    let saved = nats.save();
    nats.run();
    assert_eq!(claim(&clones, "ada", &task).data()["lease"]["confirmed"], true);
    nats.kill();
    nats.set_back(&saved);
    nats.run();
    (clones, [task, other, third], nats)
}

fn the_leases_of_ada_are_restored(clones: &Clones, task: &str, third: &str) {
    let listed = clones.run("ada", &["lease", "list", "--remote"]).data();
    assert!(listed["items"].to_string().contains(task), "what ada remembers is restored: {listed}");
    claim(clones, "bob", task).error("ERR_LEASE_HELD", 5);
    let answer = claim(clones, "bob", third);
    assert_eq!(answer.data()["lease"]["confirmed"], false);
    assert!(answer.stderr.contains("the bus lost its leases, and confirms none before"), "{answer:?}");
}

#[test]
fn a_server_that_hangs_confirms_nothing_and_stops_no_one() {
    needs!("nats-server");
    let (clones, task, nats) = leasing(&["ada", "bob"]);
    let _bridges = ["ada", "bob"].map(|name| Bridge::start(&clones, name, &nats, &[]));
    nats.stop();
    let answer = claim(&clones, "ada", &task);
    assert_eq!(answer.data()["lease"]["confirmed"], false, "{answer:?}");
    clones.run("ada", &["note", &task, "--content", "meanwhile"]).data();
    nats.go_on();
    wait_for("bob sees what ada wrote meanwhile", || {
        let got = clones.run("bob", &["task", "get", &task, "--full"]).json();
        got["data"]["owner"] == json!("ada") && got.to_string().contains("meanwhile")
    });
    wait_for("a lease is confirmed again", || {
        clones.run("ada", &["lease", "renew", &task]).data()["confirmed"] == true
    });
    claim(&clones, "bob", &task).error("ERR_LEASE_HELD", 5);
}

#[test]
fn a_cluster_goes_on_without_its_leader() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let mut servers = Nats::cluster(&clones.room);
    let home = clones.room.home().join(".agentpm");
    std::fs::create_dir_all(&home).unwrap();
    let urls = servers.iter().map(Nats::url).collect::<Vec<_>>().join(",");
    std::fs::write(home.join("config.toml"), format!("[bus]\nurl = \"{urls}\"\n")).unwrap();
    let settings = "format = 1\n[bus]\nreplicas = 3\n[lease]\nremote = \"bus\"\n";
    for name in ["ada", "bob"] {
        clones.write(name, ".agentpm/config.toml", settings);
    }
    let _bridges = ["ada", "bob"].map(|name| Bridge::start_at(&clones, name, &urls, &[]));
    let got = claim(&clones, "ada", &task).data();
    assert_eq!(got["lease"]["confirmed"], true, "{got}");
    let mut client = servers[0].client();
    let name = lease_stream(&mut client);
    let info = client.ask(&format!("STREAM.INFO.{name}"), &Value::Null);
    assert_eq!(info["config"]["num_replicas"], 3, "{info}");
    let leader: usize = info["cluster"]["leader"].as_str().and_then(|name| name[1..].parse().ok()).expect("a leader");
    servers[leader].kill();
    wait_for("a lease is confirmed without the old leader", || {
        clones.run("ada", &["lease", "renew", &task]).data()["confirmed"] == true
    });
    claim(&clones, "bob", &task).error("ERR_LEASE_HELD", 5);
    clones.run("ada", &["note", &task, "--content", "without the leader"]).data();
    wait_for("bob sees it", || {
        clones.run("bob", &["task", "get", &task, "--full"]).json().to_string().contains("without the leader")
    });
}

#[test]
fn clones_that_race_for_tasks_never_both_have_one_confirmed() {
    needs!("nats-server");
    let names = ["ada", "bob", "cyd", "dan"];
    let (clones, _, mut nats) = leasing(&names);
    let tasks: Vec<String> = (0..rounds(60).max(10))
        .map(|n| clones.run("ada", &["add", &format!("task {n}"), "--quiet"]).text().to_owned())
        .collect();
    clones.run("ada", &["sync"]).data();
    for name in &names[1..] {
        clones.run(name, &["sync"]).data();
    }
    for (n, task) in tasks.iter().enumerate() {
        if n % 5 == 4 {
            nats.kill();
            nats.run();
        }
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let racing: Vec<_> = names
                .iter()
                .map(|name| {
                    let mut command = clones.room.agentpm_in(&clones.dir(name));
                    command.env("AGENTPM_AGENT", name).args(["claim", task, "--full"]);
                    scope.spawn(move || Answer::from(command.output().unwrap()))
                })
                .collect();
            racing.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let confirmed =
            answers.iter().filter(|answer| answer.code == 0 && answer.json()["data"]["lease"]["confirmed"] == true);
        assert_eq!(confirmed.count(), 1, "{task}: {answers:#?}");
    }
}

#[test]
fn a_fleet_takes_each_task_once_with_leases_and_events_on_the_bus() {
    needs!("nats-server");
    let names = ["ada", "bob"];
    let (clones, _, nats) = leasing(&names);
    let tasks = rounds(100).max(10);
    for n in 0..tasks {
        clones.run("ada", &["add", &format!("task {n}"), "--quiet"]).text();
    }
    let _bridges: Vec<Bridge> = names.iter().map(|name| Bridge::start(&clones, name, &nats, &[])).collect();
    wait_for("bob has all tasks", || clones.run("bob", &["stats"]).data()["tasks"] == json!(tasks + 1));
    let worked: Vec<Vec<String>> = std::thread::scope(|scope| {
        let agents = ["ada", "alf", "bob", "ben"].map(|agent| {
            let dir = clones.dir(if agent.starts_with('a') { "ada" } else { "bob" });
            let vars = crate::sandbox::sealed_vars(&clones.room.home());
            scope.spawn(move || {
                let run = |args: &[&str]| {
                    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agentpm"));
                    command.env_clear().envs(vars.iter().cloned()).env("AGENTPM_AGENT", agent).current_dir(&dir);
                    Answer::from(command.args(args).output().unwrap())
                };
                let mut done = Vec::new();
                loop {
                    let next = run(&["next", "--claim", "--quiet"]);
                    if next.code != 0 || next.stdout.trim().is_empty() {
                        return done;
                    }
                    let task = next.stdout.trim().to_owned();
                    let finished = run(&["done", &task, "--force", "tried"]);
                    assert_eq!(finished.code, 0, "{finished:?}");
                    done.push(task);
                }
            })
        });
        agents.into_iter().map(|agent| agent.join().unwrap()).collect()
    });
    let mut all: Vec<String> = worked.concat();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), count), (tasks + 1, tasks + 1), "each task was done once: {worked:?}");
    for name in names {
        wait_for("everything is exchanged", || {
            let bus = clones.run(name, &["status"]).data()["bus"].clone();
            (bus["to_publish"].clone(), bus["to_take"].clone()) == (json!(0), json!(0))
        });
    }
    wait_for("both have the same plan", || plan(&clones, "ada") == plan(&clones, "bob"));
}
