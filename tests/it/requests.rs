//! Requests are values: one open store serves several agents at once, each under its own name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;

use agentpm::engine::{self, Options, Request};
use agentpm::env::Env;
use agentpm::model::command::{Claim, Command};

use crate::sandbox::{Sandbox, sealed_vars};

#[test]
fn agents_claim_at_once_over_one_open_store() {
    const TASKS: usize = 12;
    let room = Sandbox::new();
    for n in 0..TASKS {
        room.task(&format!("task {n}"), &[]);
    }
    let vars = sealed_vars(&room.home()).into_iter().map(|(k, v)| (k.to_owned(), v.into_string().unwrap())).collect();
    let env = Env::new(vars, room.repo()).unwrap();
    let store = engine::open(env, Options::default()).unwrap();
    let start = Barrier::new(3);
    let claims: BTreeMap<&str, Vec<String>> = std::thread::scope(|scope| {
        let running = ["ada", "bob", "eve"].map(|agent| {
            let request = store.for_request(Request { agent: Some(agent.into()), ..Request::default() });
            let start = &start;
            let claim = move || {
                start.wait();
                let claim = Command::Claim(Claim { another: true, ..Claim::default() });
                let mine = (0..TASKS / 3).map(|_| engine::execute(&request, &claim).unwrap().subject.id());
                mine.map(|id| id.unwrap().to_string()).collect::<Vec<_>>()
            };
            (agent, scope.spawn(claim))
        });
        running.into_iter().map(|(agent, thread)| (agent, thread.join().unwrap())).collect()
    });
    let all: BTreeSet<&String> = claims.values().flatten().collect();
    assert_eq!(all.len(), TASKS, "{claims:?}");
    for (agent, tasks) in &claims {
        for task in tasks {
            assert_eq!(room.get(task)["owner"], *agent);
        }
    }
    room.is_clean();
}
