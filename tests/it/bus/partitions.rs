//! A network between a clone and the server that breaks.

use serde_json::json;

use super::leases::{fence, leasing};
use super::{Bridge, doctor};
use crate::machine::needs;
use crate::proxy::Proxy;
use crate::sandbox::{Answer, wait_for};
use crate::sync::{Clones, plan};

/// Runs a command of a clone that reaches the bus through a proxy.
fn through(proxy: &Proxy, clones: &Clones, name: &str, args: &[&str]) -> Answer {
    let mut command = clones.room.agentpm_in(&clones.dir(name));
    command.env("AGENTPM_AGENT", name).env("AGENTPM_BUS_URL", proxy.url()).args(args);
    Answer::from(command.output().expect("agentpm starts"))
}

#[test]
fn a_claim_in_a_partition_is_not_confirmed_and_settled_afterwards() {
    needs!("nats-server");
    let (clones, task, nats) = leasing(&["ada", "bob"]);
    let other = clones.run("ada", &["add", "other", "--quiet"]).text().to_owned();
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    let proxy = Proxy::to(nats.port);
    let _bridge = Bridge::start_at(&clones, "bob", &proxy.url(), &[]);
    for (one, breaks) in [(&task, Proxy::hold as fn(&Proxy)), (&other, Proxy::cut)] {
        breaks(&proxy);
        let answer = through(&proxy, &clones, "bob", &["claim", one, "--full"]);
        assert_eq!(answer.data()["lease"]["confirmed"], false, "{answer:?}");
    }
    clones.run("bob", &["note", &task, "--content", "in the partition"]).data();
    let got = clones.run("ada", &["claim", &task, "--full"]).data();
    assert_eq!(got["lease"]["confirmed"], true, "the other side goes on: {got}");
    proxy.pass();
    let report = through(&proxy, &clones, "bob", &["sync"]).data();
    assert_eq!(report["leases"]["confirmed"], json!([other]), "{report}");
    through(&proxy, &clones, "bob", &["release", &task]).error("ERR_LEASE_LOST", 5);
    clones.run("ada", &["claim", &other]).error("ERR_LEASE_HELD", 5);
    let _other_bridge = Bridge::start(&clones, "ada", &nats, &[]);
    wait_for("what was written in the partition arrives", || plan(&clones, "ada") == plan(&clones, "bob"));
    assert_eq!(doctor(&clones, "bob")["ok"], true);
}

#[test]
fn a_lease_whose_answer_was_lost_belongs_to_the_clone_that_asked() {
    needs!("nats-server");
    let (clones, task, nats) = leasing(&["ada", "bob"]);
    // The stream is there before the network breaks.
    let first = clones.run("bob", &["add", "first", "--quiet"]).text().to_owned();
    clones.run("bob", &["claim", &first]).data();
    let proxy = Proxy::to(nats.port);
    proxy.lose_answers();
    let answer = through(&proxy, &clones, "bob", &["claim", &task, "--full"]);
    assert_eq!(answer.data()["lease"]["confirmed"], false, "{answer:?}");
    clones.run("ada", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    proxy.pass();
    let report = through(&proxy, &clones, "bob", &["sync"]).data();
    assert_eq!(report["leases"]["confirmed"], json!([task]), "{report}");
    through(&proxy, &clones, "bob", &["release", &task]).data();
    let next = clones.run("ada", &["claim", &task, "--full"]).data();
    assert!(next["lease"]["confirmed"] == true && fence(&next) > 1, "{next}");
}
