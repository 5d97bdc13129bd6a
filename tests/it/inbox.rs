//! The inbox: what reaches an agent, once, and what does not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use agentpm::env::Env;
use serde_json::{Value, json};

use crate::lost::{Twins, last_event};
use crate::sandbox::{Answer, Sandbox, rounds};
use crate::sync::Clones;

const CLOCK: &str = "2026-11-20T10:00:00Z";
const LATER: &str = "2026-11-20T11:00:00Z";

fn items(answer: &Answer) -> Vec<Value> {
    answer.data()["items"].as_array().unwrap().clone()
}

/// The kinds of what is unread.
fn kinds(answer: &Answer) -> Vec<String> {
    items(answer).iter().map(|item| item["kind"].as_str().unwrap().to_owned()).collect()
}

/// A room in which these agents have begun to read.
fn room(agents: &[&str]) -> Sandbox {
    let room = Sandbox::new();
    room.at(CLOCK);
    begin(&room, agents);
    room
}

/// A task of an owner.
fn owned(room: &Sandbox, title: &str, owner: &str) -> String {
    let task = room.task(title, &[]);
    room.run(&["task", "update", &task, "--owner", owner]).data();
    task
}

fn begin(room: &Sandbox, agents: &[&str]) {
    for agent in agents {
        assert_eq!(kinds(&room.run_as(agent, &["inbox"])), [] as [&str; 0], "{agent} begins with nothing");
    }
}

/// What is unread for an agent, of which everything is acknowledged.
#[track_caller]
fn read(room: &Sandbox, agent: &str) -> Vec<Value> {
    let unread = items(&room.run_as(agent, &["inbox", "--all"]));
    let done = room.run_as(agent, &["inbox", "ack", "--all"]).data();
    assert_eq!((&done["acknowledged"], &done["unread"]), (&json!(unread.len()), &json!(0)), "{unread:#?}");
    assert_eq!(kinds(&room.run_as(agent, &["inbox"])), [] as [&str; 0]);
    unread
}

#[track_caller]
fn only(room: &Sandbox, agent: &str, kind: &str) -> Value {
    let mut unread = read(room, agent);
    assert_eq!(unread.len(), 1, "{unread:#?}");
    assert_eq!(unread[0]["kind"], kind, "{unread:#?}");
    unread.remove(0)
}

#[test]
fn the_past_does_not_reach_a_new_agent() {
    let room = Sandbox::new();
    room.at(CLOCK);
    room.task("old", &[]);
    room.run(&["broadcast", "--body", "old"]).data();
    begin(&room, &["bob"]);
    let new = room.task("new", &[]);
    assert_eq!(only(&room, "bob", "ready")["task"], json!(new));
}

#[test]
fn an_inbox_begins_with_the_registration() {
    let room = Sandbox::new();
    room.at(CLOCK);
    room.run(&["broadcast", "--body", "before"]).data();
    room.task("old", &[]);
    room.run_as("bob", &["agent", "register"]).data();
    room.run(&["broadcast", "--body", "after"]).data();
    let unread = items(&room.run_as("bob", &["inbox"]));
    assert_eq!(unread.len(), 1, "{unread:#?}");
    assert_eq!(unread[0]["summary"], "ada: after");
}

#[test]
fn a_task_that_became_ready_reaches_those_who_may_do_it() {
    let room = room(&["ada", "bob"]);
    let first = room.task("first", &[]);
    let second = room.task("second", &["--blocked-by", &first]);
    let item = only(&room, "bob", "ready");
    assert_eq!((&item["task"], &item["title"]), (&json!(first), &json!("first")));
    assert_eq!(item["command"], format!("agentpm claim {}", item["handle"].as_str().unwrap()));
    assert!(item["event"].is_string() && item["at"] == CLOCK && item["summary"].is_string(), "{item}");
    room.run(&["claim", &first]).data();
    room.run(&["done", &first]).data();
    assert_eq!(only(&room, "bob", "ready")["task"], json!(second));
    assert_eq!(read(&room, "ada"), [] as [Value; 0], "she did all of it herself");
    // It is no news that it is ready still, and it is news again after a claim that was given back.
    room.run(&["note", &second, "--content", "x"]).data();
    assert_eq!(read(&room, "bob"), [] as [Value; 0]);
    room.run(&["claim", &second]).data();
    assert_eq!(read(&room, "bob"), [] as [Value; 0]);
    room.run(&["release", &second]).data();
    assert_eq!(only(&room, "bob", "ready")["task"], json!(second));
    room.task("not for bob", &["--need-perm", "deploy"]);
    std::fs::write(room.store().join("roles.yml"), "agents:\n  bob: {perms: [claim]}\n").unwrap();
    assert_eq!(only(&room, "bob", "settings")["summary"], "roles.yml changed");
}

#[test]
fn readiness_that_comes_with_time_is_listed_once() {
    let room = room(&["bob"]);
    let later = room.task("later", &["--defer-until", "2026-11-20T10:30:00Z"]);
    let leased = room.task("leased", &[]);
    room.run(&["lease", "acquire", &leased]).data();
    assert_eq!(read(&room, "bob"), [] as [Value; 0]);
    room.at(LATER);
    let unread = read(&room, "bob");
    let heard: BTreeSet<(&str, &str)> =
        unread.iter().map(|item| (item["kind"].as_str().unwrap(), item["task"].as_str().unwrap())).collect();
    assert_eq!(heard, BTreeSet::from([("ready", later.as_str()), ("ready", leased.as_str())]), "{unread:#?}");
    assert!(unread.iter().any(|item| item["at"] == "2026-11-20T10:30:00Z" && item["event"].is_null()), "{unread:#?}");
    assert_eq!(read(&room, "bob"), [] as [Value; 0]);
}

#[test]
fn an_assignment_reaches_the_new_owner() {
    let room = room(&["ada", "bob", "eve"]);
    let task = owned(&room, "x", "ada");
    assert_eq!(read(&room, "ada"), [] as [Value; 0]);
    room.run(&["task", "update", &task, "--owner", "bob"]).data();
    let item = only(&room, "bob", "assigned");
    assert_eq!((&item["task"], &item["summary"]), (&json!(task), &json!("ada assigned it to you")));
    assert_eq!(read(&room, "eve"), [] as [Value; 0]);
    room.run_as("bob", &["claim", &task]).data();
    assert_eq!(read(&room, "bob"), [] as [Value; 0]);
}

#[test]
fn threads_reach_those_whom_they_concern() {
    let room = room(&["ada", "bob", "eve", "joe"]);
    let task = owned(&room, "x", "bob");
    read(&room, "bob");
    let open = ["thread", "open", &task, "--body", "rather so? @eve", "--set", "priority=2"];
    let thread = room.run(&open).data()["id"].as_str().unwrap().to_owned();
    let opened = only(&room, "bob", "thread_opened");
    assert_eq!(opened["command"], format!("agentpm thread show {thread}"));
    assert_eq!(opened["summary"], "ada opened a thread: rather so? @eve");
    only(&room, "eve", "thread_opened");
    assert_eq!(read(&room, "joe"), [] as [Value; 0]);
    room.run_as("joe", &["thread", "reply", &thread, "--body", "rather 3", "--set", "priority=3"]).data();
    for agent in ["ada", "bob", "eve"] {
        assert_eq!(only(&room, agent, "thread_reply")["summary"], "joe replied: rather 3");
    }
    room.run_as("bob", &["thread", "resolve", &thread, "--resolution", "accept", "--why", "fine"]).data();
    for agent in ["ada", "joe"] {
        assert_eq!(only(&room, agent, "thread_resolved")["summary"], "bob accepted a proposal: fine");
    }
    for agent in ["bob", "eve"] {
        assert_eq!(read(&room, agent), [] as [Value; 0], "{agent}");
    }
}

#[test]
fn a_thread_on_a_task_of_no_agent_reaches_who_created_it_and_its_watchers() {
    let room = room(&["ada", "bob", "eve", "joe"]);
    let task = room.task("x", &["--watcher", "eve"]);
    let taken = owned(&room, "y", "joe");
    read(&room, "joe");
    for task in [&task, &taken] {
        room.run_as("bob", &["thread", "open", task, "--body", "rather so?"]).data();
    }
    assert_eq!(only(&room, "ada", "thread_opened")["task"], json!(task));
    assert_eq!(only(&room, "eve", "thread_opened")["task"], json!(task));
    assert_eq!(only(&room, "joe", "thread_opened")["task"], json!(taken));
}

#[test]
fn each_value_that_lost_is_an_item() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = owned(room, "Fix the lock", "eve"));
    begin(&twins.room, &["ada"]);
    twins.ada(&["task", "update", &id, "--priority", "3", "--title", "Fix both"]).data();
    twins.bob(&["note", &id, "--content", "so that bob's is later"]).data();
    twins.bob(&["task", "update", &id, "--priority", "-2", "--title", "Fix it"]).data();
    twins.merge();
    let items = read(&twins.room, "ada");
    let mut lost: Vec<&str> = items.iter().map(|item| item["summary"].as_str().unwrap()).collect();
    lost.sort_unstable();
    assert_eq!(lost, ["priority: 3 by ada lost to -2 by bob", "title: “Fix both” by ada lost to “Fix it” by bob"]);
}

#[test]
fn only_a_mention_outside_of_code_names_an_agent() {
    let room = room(&["bob"]);
    let task = owned(&room, "x", "ada");
    for body in ["mail joe@bob", "run `x @bob`", "ask @bobby", "bob"] {
        room.run(&["thread", "open", &task, "--body", body]).data();
    }
    assert_eq!(read(&room, "bob"), [] as [Value; 0]);
    room.run(&["thread", "open", &task, "--body", "(@bob): look"]).data();
    only(&room, "bob", "thread_opened");
}

#[test]
fn an_escalation_reaches_the_agent_that_is_to_decide() {
    let room = room(&["bob", "eve"]);
    let task = room.task("x", &[]);
    let thread = room.run(&["thread", "open", &task, "--body", "what now?"]).data()["id"].as_str().unwrap().to_owned();
    room.run(&["thread", "escalate", &thread, "--to", "eve"]).data();
    assert_eq!(only(&room, "eve", "thread_escalated")["summary"], "a thread was escalated to you: what now?");
    assert_eq!(read(&room, "bob"), [] as [Value; 0]);
}

#[test]
fn a_lease_that_another_agent_took_reaches_its_holder() {
    let room = room(&["ada", "bob"]);
    let task = room.task("x", &[]);
    room.run(&["claim", &task]).data();
    room.at(LATER);
    room.run_as("bob", &["claim", &task]).data();
    let unread = read(&room, "ada");
    let lost: Vec<&Value> = unread.iter().filter(|item| item["kind"] == "lease_lost").collect();
    assert_eq!(lost.len(), 1, "{unread:#?}");
    assert_eq!((&lost[0]["task"], &lost[0]["summary"]), (&json!(task), &json!("bob took over your lease")));
    room.run_as("eve", &["task", "update", &task, "--priority", "2", "--override", "urgent"]).data();
    assert_eq!(only(&room, "bob", "lease_overridden")["summary"], "eve changed it over your lease: urgent");
}

#[test]
fn an_agent_that_never_looked_is_told_what_it_missed() {
    let room = Sandbox::new();
    room.at(CLOCK);
    room.run_as("bob", &["broadcast", "--body", "before ada came"]).data();
    let task = room.task("x", &[]);
    room.run(&["claim", &task]).data();
    room.at(LATER);
    room.run_as("bob", &["claim", &task]).data();
    let unread = |args: &[&str]| room.run(args).json()["unread"].clone();
    assert_eq!(unread(&["note", &task, "as far as I got"]), 1);
    assert!(room.run(&["prime"]).text().contains("Unread in your inbox: 1"));
    assert_eq!((room.run(&["status"]).data()["unread"].clone(), unread(&["next"])), (json!(1), json!(1)));
    assert_eq!(only(&room, "ada", "lease_lost")["task"], json!(task));
    assert_eq!(unread(&["note", &task, "seen"]), Value::Null);
}

#[test]
fn a_rejection_from_another_clone_is_counted_as_soon_as_it_is_here() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    let sync = |who: &str| clones.run(who, &["sync"]).json();
    let config = clones.dir("ann").join(".agentpm/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(config, text + "\n[review]\nrequired = true\n").unwrap();
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    assert_eq!(sync("ann").get("unread"), None, "what the clone began with is no news");
    sync("bob");
    clones.run("bob", &["task", "verify", &task, "--reject", "--why", "no test"]).data();
    sync("bob");
    let unread = sync("ann")["unread"].as_u64().unwrap();
    let noted = clones.run("ann", &["note", &task, "why?"]).json()["unread"].as_u64();
    assert_eq!(noted, Some(unread), "a receipt counts what the sync brought");
    assert!(clones.run("ann", &["prime"]).text().contains(&format!("Unread in your inbox: {unread}")));
    let listed = clones.run("ann", &["inbox"]).data();
    let listed = listed["items"].as_array().unwrap();
    assert_eq!(listed.len() as u64, unread, "{listed:#?}");
    assert!(listed.iter().any(|item| item["summary"] == "bob rejected your work: no test"), "{listed:#?}");
}

#[test]
fn an_edit_that_lost_reaches_its_author_when_the_other_arrives() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = owned(room, "Fix the lock", "eve"));
    begin(&twins.room, &["ada", "joe"]);
    twins.ada(&["task", "update", &id, "--priority", "3"]).data();
    twins.bob(&["note", &id, "--content", "so that bob's is later"]).data();
    twins.bob(&["task", "update", &id, "--priority", "-2"]).data();
    assert_eq!(read(&twins.room, "ada"), [] as [Value; 0]);
    twins.merge();
    let item = only(&twins.room, "ada", "edit_lost");
    assert_eq!(item["summary"], "priority: 3 by ada lost to -2 by bob");
    assert_eq!(item["event"], last_event(&twins.room, &twins.room.repo(), &id, "ada"));
    assert_eq!(read(&twins.room, "joe"), [] as [Value; 0]);
    twins.ada(&["note", &id, "--content", "seen"]).data();
    assert_eq!(read(&twins.room, "ada"), [] as [Value; 0]);
}

#[test]
fn a_parked_task_reaches_its_author_and_its_watchers() {
    let room = Sandbox::new();
    room.at(CLOCK);
    let config = room.store().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "\n[claim]\nmax_attempts = 1\n").unwrap();
    begin(&room, &["ada", "eve", "joe"]);
    let task = room.task("x", &["--watcher", "eve"]);
    for agent in ["eve", "joe"] {
        only(&room, agent, "ready");
    }
    room.run_as("bob", &["claim", &task]).data();
    room.run_as("bob", &["release", &task, "--why", "too hard"]).data();
    for agent in ["ada", "eve"] {
        assert_eq!(only(&room, agent, "parked")["summary"], "it was parked after 1 attempt without completion");
    }
    assert_eq!(read(&room, "joe"), [] as [Value; 0]);
}

#[test]
fn the_agent_that_completed_a_task_hears_of_its_review() {
    let room = Sandbox::new();
    room.at(CLOCK);
    let config = room.store().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "\n[review]\nrequired = true\n").unwrap();
    let (task, next) = (room.task("x", &[]), room.task("builds on it", &[]));
    room.run(&["task", "block", &next, "--by", &task]).data();
    begin(&room, &["bob", "eve", "joe"]);
    room.run_as("bob", &["claim", &task]).data();
    room.run_as("bob", &["done", &task]).data();
    room.run_as("eve", &["task", "verify", &task, "--reject", "--why", "no test"]).data();
    let heard = read(&room, "bob");
    let is_rejection = |item: &Value| item["summary"] == "eve rejected your work: no test";
    assert!(heard.iter().any(|item| item["kind"] == "reviewed" && is_rejection(item)), "{heard:#?}");
    room.run_as("bob", &["claim", &task]).data();
    room.run_as("bob", &["done", &task]).data();
    room.run_as("eve", &["task", "verify", &task, "--accept"]).data();
    let heard = read(&room, "bob");
    assert!(
        heard.iter().any(|item| item["kind"] == "reviewed" && item["summary"] == "eve accepted your work"),
        "{heard:#?}"
    );
    // The acceptance makes ready what waited for it.
    let heard = read(&room, "joe");
    assert!(heard.iter().any(|item| item["kind"] == "ready" && item["task"] == json!(next)), "{heard:#?}");
}

#[test]
fn messages_go_to_all_to_one_or_to_a_role() {
    let room = room(&["ada", "bob", "eve"]);
    room.run_as("eve", &["agent", "register", "--role", "reviewer"]).data();
    let long = "a long message ".repeat(30);
    room.run(&["broadcast", "--body", &long]).data();
    room.run(&["broadcast", "--body", "only bob", "--to", "bob"]).data();
    room.run(&["broadcast", "--body", "reviewers", "--role", "reviewer"]).data();
    let heard = |agent| read(&room, agent).iter().map(|item| item["summary"].to_string()).collect::<Vec<_>>();
    let bob = items(&room.run_as("bob", &["inbox"]));
    assert_eq!(bob[0]["body"], format!("ada: {long}"), "the whole text, since the summary is cut");
    assert!(bob[0]["summary"].as_str().unwrap().len() < 200 && bob[1].get("body").is_none(), "{bob:#?}");
    assert_eq!(heard("bob").len(), 2);
    assert_eq!(heard("eve").last().unwrap(), "\"ada: reviewers\"");
    assert_eq!(heard("ada"), [] as [String; 0]);
}

#[test]
fn a_long_message_leaves_room_for_other_items() {
    let room = room(&["bob"]);
    room.run(&["broadcast", "--body", &"long ".repeat(20_000)]).data();
    room.run(&["broadcast", "--body", "short"]).data();
    let listed = room.run_as("bob", &["inbox"]);
    assert!(listed.stdout.len() < 8_000, "{} bytes", listed.stdout.len());
    let items = items(&listed);
    assert!(items[0]["body"].as_str().unwrap().contains("bytes in all: agentpm log --type Broadcast"), "{items:#?}");
    assert_eq!(items[1]["summary"], "ada: short");
}

#[test]
fn a_look_changes_nothing_and_a_cursor_acknowledges_what_was_shown() {
    let room = room(&["bob"]);
    for n in 0..5 {
        room.run(&["broadcast", "--body", &format!("message {n}")]).data();
    }
    let page = room.run_as("bob", &["inbox", "--limit", "2"]).data();
    assert_eq!((&page["total"], page["items"].as_array().unwrap().len()), (&json!(5), 2));
    assert_eq!(page["items"][0]["summary"], "ada: message 0", "the oldest first");
    assert_eq!(room.run_as("bob", &["inbox", "--limit", "2"]).data(), page);
    room.run(&["broadcast", "--body", "message 5"]).data();
    let cursor = page["cursor"].as_str().unwrap();
    assert_eq!(room.run_as("bob", &["inbox", "ack", cursor]).data(), json!({ "acknowledged": 2, "unread": 4 }));
    // An acknowledgment that is repeated, or comes late, acknowledges nothing else.
    assert_eq!(room.run_as("bob", &["inbox", "ack", cursor]).data(), json!({ "acknowledged": 0, "unread": 4 }));
    let rest = items(&room.run_as("bob", &["inbox"]));
    assert_eq!(rest[0]["summary"], "ada: message 2");
    let third = rest[1]["id"].as_str().unwrap();
    assert_eq!(room.run_as("bob", &["inbox", "ack", third]).data(), json!({ "acknowledged": 1, "unread": 3 }));
    let left: Vec<String> =
        items(&room.run_as("bob", &["inbox"])).iter().map(|item| item["summary"].to_string()).collect();
    assert_eq!(left, ["\"ada: message 2\"", "\"ada: message 4\"", "\"ada: message 5\""]);
    room.run_as("bob", &["inbox", "ack", "nonsense"]).error("ERR_USAGE", 2);
    room.run_as("bob", &["inbox", "ack"]).error("ERR_USAGE", 2);
    let words = room.run_as("bob", &["inbox", "--format", "table"]);
    assert!(words.text().contains("message 2") && words.text().contains("agentpm inbox ack "), "{words:?}");
}

#[test]
fn what_git_brings_is_listed_and_can_be_acknowledged() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = owned(room, "x", "ada"));
    begin(&twins.room, &["ada"]);
    twins.bob(&["thread", "open", &id, "--body", "what about this?"]).data();
    twins.bob(&["broadcast", "--body", "hello"]).data();
    let new = twins.bob(&["add", "new"]).data()["id"].as_str().unwrap().to_owned();
    twins.merge();
    twins.ada(&["note", &id, "--content", "in between"]).data();
    let look = twins.ada(&["inbox"]);
    assert_eq!(look.data(), twins.ada(&["inbox"]).data());
    let heard: BTreeSet<String> = kinds(&look).into_iter().collect();
    assert_eq!(heard, BTreeSet::from(["thread_opened", "broadcast", "ready"].map(str::to_owned)), "{look:?}");
    assert!(items(&look).iter().any(|item| item["task"] == json!(new)), "{look:?}");
    // Something that was not shown arrives before the acknowledgment.
    twins.room.run_as("joe", &["broadcast", "--body", "unseen"]).data();
    twins.ada(&["inbox", "ack", look.data()["cursor"].as_str().unwrap()]).data();
    let left = items(&twins.ada(&["inbox"]));
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(left[0]["summary"], "joe: unseen");
    // The feed has what was noted once.
    let pulled = twins.ada(&["sync", "pull", "--limit", "1000"]).data();
    let ids: Vec<&str> = pulled["items"].as_array().unwrap().iter().filter_map(|item| item["id"].as_str()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
}

#[test]
fn an_agent_of_another_worktree_is_heard_at_once_and_once() {
    let room = room(&["bob"]);
    owned(&room, "x", "ada");
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "begin"]).text();
    let tree = room.beside("tree");
    room.git(&["worktree", "add", "-q", "-b", "side", tree.to_str().unwrap()]).text();
    room.run_in(&tree, &["broadcast", "--body", "from the side"]).data();
    assert_eq!(only(&room, "bob", "broadcast")["summary"], "ada: from the side");
    room.git_in(&tree, &["add", "-A"]).text();
    room.git_in(&tree, &["commit", "-q", "-m", "side"]).text();
    room.git(&["merge", "-q", "--no-edit", "side"]).text();
    room.run(&["sync", "pull"]).data();
    assert_eq!(read(&room, "bob"), [] as [Value; 0], "it came by git too, which is no news");
    // What stands in no file here decides what concerns bob.
    let there = room.run_in(&tree, &["task", "create", "--title", "over there", "--quiet"]).text().to_owned();
    room.run_in(&tree, &["task", "update", &there, "--owner", "bob"]).data();
    assert_eq!(only(&room, "bob", "assigned")["title"], "over there");
    room.run_in(&tree, &["thread", "open", &there, "--body", "so?"]).data();
    let thread = only(&room, "bob", "thread_opened");
    assert_eq!((&thread["task"], &thread["title"]), (&json!(there), &json!("over there")));
    // A value that lost there has lost.
    let task = room.run(&["task", "list", "--quiet"]).text().lines().next().unwrap().to_owned();
    room.run_as("bob", &["task", "update", &task, "--priority", "1"]).data();
    room.run_in(&tree, &["note", &task, "--content", "later"]).data();
    room.run_in(&tree, &["task", "update", &task, "--priority", "2"]).data();
    assert_eq!(only(&room, "bob", "edit_lost")["summary"], "priority: 1 by bob lost to 2 by ada");
}

#[test]
fn the_number_of_unread_items_goes_with_other_answers() {
    let room = room(&["bob"]);
    let unread = |args: &[&str]| room.run_as("bob", args).json()["unread"].clone();
    let task = owned(&room, "x", "bob");
    read(&room, "bob");
    for args in [&["next"][..], &["brief", &task], &["note", &task, "--content", "x"], &["status"]] {
        assert_eq!(unread(args), Value::Null, "{args:?}");
    }
    room.run(&["broadcast", "--body", "hello"]).data();
    room.run(&["broadcast", "--body", "not for bob", "--to", "eve"]).data();
    assert_eq!(unread(&["note", &task, "--content", "y"]), 1);
    assert_eq!(unread(&["next"]), 1);
    assert_eq!(unread(&["brief", &task]), 1);
    assert_eq!(room.run_as("bob", &["status"]).data()["unread"], 1);
    assert!(room.run_as("bob", &["prime"]).text().contains("Unread in your inbox: 1"), "prime says it");
    let words = room.run_as("bob", &["next", "--format", "table"]);
    assert!(words.text().ends_with("unread in your inbox: 1 (agentpm inbox)"), "{words:?}");
    room.run(&["broadcast", "--body", "again"]).data();
    assert_eq!(unread(&["claim", &task]), 2);
    room.run_as("bob", &["inbox", "ack", "--all"]).data();
    assert_eq!(unread(&["done", &task]), Value::Null);
    assert_eq!(room.run_as("eve", &["next"]).json()["unread"], Value::Null, "eve has never looked");
}

#[test]
fn a_damaged_record_is_kept_aside_and_the_inbox_begins_anew() {
    let room = Sandbox::new();
    room.at(CLOCK);
    room.run_as("bob", &["agent", "register"]).data();
    room.run(&["broadcast", "--body", "one"]).data();
    only(&room, "bob", "broadcast");
    let folder = room.repo().join(".git/agentpm");
    let record = folder.join("inbox/bob.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&record).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&record, "{ broken").unwrap();
    for args in [&["next"][..], &["status"], &["note", &owned(&room, "x", "eve"), "--content", "x"]] {
        assert_eq!(room.run_as("bob", args).code, 0, "{args:?}");
    }
    let again = room.run_as("bob", &["inbox"]);
    assert_eq!(kinds(&again), ["broadcast"], "since the registration");
    assert!(again.stderr.contains("set-aside/inbox-bob.1.json"), "{again:?}");
    assert_eq!(std::fs::read_to_string(folder.join("set-aside/inbox-bob.1.json")).unwrap(), "{ broken");
    only(&room, "bob", "broadcast");
}

#[test]
fn waiting_ends_with_a_change_of_another_process() {
    let room = room(&["bob"]);
    let none = room.run_as("bob", &["inbox", "--wait", "1ms"]);
    assert_eq!(kinds(&none), [] as [&str; 0]);
    let mut command = room.agentpm();
    command.env("AGENTPM_AGENT", "bob").args(["inbox", "--wait", "60s"]);
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    room.run(&["broadcast", "--body", "wake up"]).data();
    let woken = Answer::from(waiting.wait_with_output().unwrap());
    assert_eq!(items(&woken)[0]["summary"], "ada: wake up");
}

#[test]
fn waiting_ends_with_what_a_sync_brings() {
    let twins = Twins::new(|room| drop(owned(room, "x", "eve")));
    begin(&twins.room, &["joe"]);
    let mut command = twins.room.agentpm();
    command.env("AGENTPM_AGENT", "joe").args(["inbox", "--wait", "60s"]);
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    twins.bob(&["broadcast", "--body", "from afar"]).data();
    twins.merge();
    let woken = Answer::from(waiting.wait_with_output().unwrap());
    assert_eq!(items(&woken)[0]["summary"], "bob: from afar");
}

#[test]
fn watching_the_inbox_prints_what_concerns_the_agent() {
    let room = room(&["bob"]);
    let mut command = room.agentpm();
    command.env("AGENTPM_AGENT", "bob").args(["watch", "--inbox", "--count", "2", "--for", "60s"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    room.run(&["broadcast", "--body", "not for bob", "--to", "eve"]).data();
    room.run(&["broadcast", "--body", "one"]).data();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["summary"], "ada: one");
    room.run(&["broadcast", "--body", "two"]).data();
    assert_eq!(next()["summary"], "ada: two");
    assert!(watching.wait().unwrap().success());
}

#[test]
fn a_look_does_not_move_what_was_read() {
    let room = room(&["bob"]);
    room.run(&["broadcast", "--body", "one"]).data();
    let record = room.repo().join(".git/agentpm/inbox");
    let before = std::fs::read(record.join("bob.json")).unwrap();
    for _ in 0..2 {
        assert_eq!(kinds(&room.run_as("bob", &["inbox"])), ["broadcast"]);
    }
    assert_eq!(std::fs::read(record.join("bob.json")).unwrap(), before, "a look does not move it");
}

/// Two clones in which three agents write, merge, look and acknowledge.
struct Life {
    twins: Twins,
    task: String,
    dice: Env,
    /// The agents that an event concerns.
    expected: BTreeMap<String, BTreeSet<&'static str>>,
    /// The events in each clone.
    here: [BTreeSet<String>; 2],
    /// What was acknowledged, by agent and clone.
    heard: BTreeMap<(&'static str, usize), BTreeSet<String>>,
    /// Cursors of earlier looks, with what they showed.
    cursors: Vec<((&'static str, usize), String, BTreeSet<String>)>,
}

const AGENTS: [&str; 3] = ["ada", "bob", "eve"];

impl Life {
    fn new(seed: u64) -> Self {
        let mut task = String::new();
        let twins = Twins::new(|room| task = owned(room, "x", "nobody"));
        let vars = BTreeMap::from([("AGENTPM_SEED".to_owned(), format!("inbox-{seed}"))]);
        let dice = Env::new(vars, "/".into()).unwrap();
        let life = Life {
            twins,
            task,
            dice,
            expected: BTreeMap::new(),
            here: Default::default(),
            heard: BTreeMap::new(),
            cursors: Vec::new(),
        };
        for clone in 0..2 {
            for agent in AGENTS {
                assert_eq!(kinds(&life.run(agent, clone, &["inbox"])), [] as [&str; 0]);
            }
        }
        life
    }

    fn below(&self, n: u64) -> usize {
        usize::try_from(self.dice.chance().unwrap() % n).unwrap()
    }

    fn dir(&self, clone: usize) -> PathBuf {
        if clone == 0 { self.twins.room.repo() } else { self.twins.other.clone() }
    }

    fn run(&self, agent: &str, clone: usize, args: &[&str]) -> Answer {
        let mut command = self.twins.room.agentpm_in(&self.dir(clone));
        Answer::from(command.env("AGENTPM_AGENT", agent).args(args).output().unwrap())
    }

    fn sent(&mut self, event: String, clone: usize, to: BTreeSet<&'static str>) {
        self.here[clone].insert(event.clone());
        self.expected.insert(event, to);
    }

    /// What is expected to be unread.
    fn unread(&self, agent: &'static str, clone: usize) -> BTreeSet<String> {
        let heard = self.heard.get(&(agent, clone)).cloned().unwrap_or_default();
        let concerns = |event: &&String| self.expected[*event].contains(agent) && !heard.contains(*event);
        self.here[clone].iter().filter(concerns).cloned().collect()
    }

    fn look(&mut self, agent: &'static str, clone: usize, limit: &str) -> Option<(String, BTreeSet<String>)> {
        let page = self.run(agent, clone, &["inbox", "--limit", limit]).data();
        let ids = |page: &Value| -> Vec<String> {
            let items = page["items"].as_array().unwrap().iter();
            items.map(|item| item["event"].as_str().unwrap().to_owned()).collect()
        };
        let shown: BTreeSet<String> = ids(&page).into_iter().collect();
        let unread = self.unread(agent, clone);
        assert_eq!(page["total"], json!(unread.len()), "{agent} in {clone}: {page:#}");
        assert!(shown.is_subset(&unread) && shown.len() == ids(&page).len(), "{agent} in {clone}: {page:#}");
        Some((page["cursor"].as_str()?.to_owned(), shown))
    }

    fn step(&mut self) {
        let (clone, agent) = (self.below(2), AGENTS[self.below(3)]);
        let others = |agent: &str| AGENTS.into_iter().filter(|other| *other != agent).collect::<BTreeSet<_>>();
        match self.below(14) {
            0 | 1 => {
                let sent = self.run(agent, clone, &["broadcast", "--body", "x"]).data();
                self.sent(sent["id"].as_str().unwrap().to_owned(), clone, others(agent));
            }
            2 => {
                let to = AGENTS[self.below(3)];
                let sent = self.run(agent, clone, &["broadcast", "--body", "x", "--to", to]).data();
                let to = others(agent).into_iter().filter(|other| *other == to).collect();
                self.sent(sent["id"].as_str().unwrap().to_owned(), clone, to);
            }
            3 => {
                let to = AGENTS[self.below(3)];
                let task = self.task.clone();
                let body = format!("@{to} what now?");
                let opened = self.run(agent, clone, &["thread", "open", &task, "--body", &body, "--no-hold"]).data();
                let to = others(agent).into_iter().filter(|other| *other == to).collect();
                self.sent(opened["id"].as_str().unwrap().to_owned(), clone, to);
            }
            4 => drop(self.run(agent, clone, &["note", &self.task.clone(), "x"]).data()),
            5 | 6 => self.merge(clone),
            7 => drop(self.run(agent, clone, &["sync", "pull"]).data()),
            // The caches are lost.
            8 => drop(std::fs::remove_file(self.dir(clone).join(".git/agentpm/index.db"))),
            // Looked at, and the acknowledgment is lost or late.
            9 | 10 => {
                let limit = (1 + self.below(4)).to_string();
                if let Some((cursor, shown)) = self.look(agent, clone, &limit) {
                    self.cursors.push(((agent, clone), cursor, shown));
                }
            }
            11 => {
                if !self.cursors.is_empty() {
                    let ((agent, clone), cursor, shown) = self.cursors[self.below(self.cursors.len() as u64)].clone();
                    self.acknowledge(agent, clone, &cursor, shown);
                }
            }
            _ => {
                let limit = (1 + self.below(4)).to_string();
                if let Some((cursor, shown)) = self.look(agent, clone, &limit) {
                    self.acknowledge(agent, clone, &cursor, shown.clone());
                    if self.below(2) == 0 {
                        self.acknowledge(agent, clone, &cursor, shown);
                    }
                }
            }
        }
    }

    fn acknowledge(&mut self, agent: &'static str, clone: usize, cursor: &str, shown: BTreeSet<String>) {
        self.run(agent, clone, &["inbox", "ack", cursor]).data();
        self.heard.entry((agent, clone)).or_default().extend(shown);
    }

    /// What the other clone has comes here by plain git.
    fn merge(&mut self, clone: usize) {
        let room = &self.twins.room;
        for dir in [self.dir(0), self.dir(1)] {
            room.git_in(&dir, &["add", "-A"]).text();
            room.git_in(&dir, &["commit", "-q", "--allow-empty", "-m", "plan"]).text();
        }
        let (here, there) = (self.dir(clone), self.dir(1 - clone));
        let pull = ["pull", "-q", "--no-rebase", "--no-edit", there.to_str().unwrap(), "main"];
        if room.git_in(&here, &pull).code != 0 {
            room.git_in(&here, &["checkout", "--ours", "."]).text();
            room.git_in(&here, &["add", "-A"]).text();
            room.git_in(&here, &["commit", "-q", "-m", "merged"]).text();
        }
        let news = self.here[1 - clone].clone();
        self.here[clone].extend(news);
    }

    /// Everything is read at last, each item once.
    fn end(mut self) {
        self.merge(0);
        self.merge(1);
        for (agent, clone) in AGENTS.into_iter().flat_map(|agent| [(agent, 0), (agent, 1)]) {
            while let Some((cursor, shown)) = self.look(agent, clone, "3") {
                self.acknowledge(agent, clone, &cursor, shown);
            }
            assert_eq!(self.unread(agent, clone), BTreeSet::new(), "{agent} in {clone}");
        }
    }
}

#[test]
fn each_item_is_listed_until_it_is_acknowledged_and_never_again() {
    for seed in 0..rounds(60) as u64 {
        println!("seed {seed}");
        let mut life = Life::new(seed);
        for _ in 0..40 {
            life.step();
        }
        life.end();
    }
}

#[test]
fn what_calls_an_agent_by_its_name_reaches_it_once_it_registers() {
    let room = Sandbox::new();
    room.at(CLOCK);
    let task = room.task("a task", &[]);
    room.run(&["broadcast", "--body", "to all"]).data();
    room.run(&["broadcast", "--body", "welcome", "--to", "bob"]).data();
    room.run(&["broadcast", "--body", "to all again"]).data();
    room.task("ready before", &[]);
    room.run(&["thread", "open", &task, "--body", "@bob, is this yours?", "--no-hold"]).data();
    room.run_as("bob", &["agent", "register"]).data();
    let unread = read(&room, "bob");
    let kinds: Vec<&str> = unread.iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["broadcast", "thread_opened"], "{unread:#?}");
    room.run(&["broadcast", "--body", "later"]).data();
    only(&room, "bob", "broadcast");
    // Another agent that registers is not called, and begins with nothing.
    room.run_as("eve", &["agent", "register"]).data();
    begin(&room, &["eve"]);
}

#[test]
fn a_first_look_before_the_registration_loses_no_call() {
    let room = Sandbox::new();
    room.at(CLOCK);
    let task = room.task("x", &[]);
    room.run(&["broadcast", "--body", "to all"]).data();
    room.run(&["broadcast", "--body", "freeze", "--to", "bob"]).data();
    room.run(&["thread", "open", &task, "--body", "@bob look", "--no-hold"]).data();
    let look = || kinds(&room.run_as("bob", &["inbox"]));
    for _ in 0..2 {
        assert_eq!(look(), ["broadcast", "thread_opened"], "a look changes nothing");
    }
    room.run_as("bob", &["agent", "register"]).data();
    assert_eq!(look(), ["broadcast", "thread_opened"]);
    room.run_as("bob", &["inbox", "ack", "--all"]).data();
    assert_eq!(look(), [""; 0]);
}

#[test]
fn a_new_clone_tells_an_agent_what_called_it_since_it_last_acted() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    let run = |args: &[&str]| clones.run("ann", args).data();
    run(&["agent", "register", "--name", "bob"]);
    run(&["--agent", "bob", "note", &task, "--content", "I was here"]);
    run(&["broadcast", "--body", "to all"]);
    run(&["broadcast", "--body", "freeze", "--to", "bob"]);
    run(&["task", "update", &task, "--owner", "bob"]);
    run(&["thread", "open", &task, "--body", "@bob look", "--no-hold"]);
    run(&["sync"]);
    clones.run("bob", &["sync"]).data();
    assert_eq!(kinds(&clones.run("bob", &["inbox"])), ["broadcast", "assigned", "thread_opened"]);
}

#[test]
fn what_is_ready_in_one_worktree_is_acknowledged_in_another() {
    let room = room(&["bob"]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "begin"]).text();
    let tree = room.beside("tree");
    room.git(&["worktree", "add", "-q", "-b", "side", tree.to_str().unwrap()]).text();
    room.run_in(&tree, &["task", "create", "--title", "over there"]).data();
    let there = || room.run_in(&tree, &["--agent", "bob", "inbox"]).data();
    let cursor = there()["cursor"].as_str().unwrap().to_owned();
    assert_eq!(there()["total"], 1);
    assert_eq!(room.run_as("bob", &["inbox", "ack", &cursor]).data()["acknowledged"], 1);
    assert_eq!(there()["total"], 0);
}

#[test]
fn pages_of_the_inbox_hold_each_item_once() {
    let room = room(&["bob"]);
    for n in 0..25 {
        room.run(&["broadcast", "--body", &format!("message {n}")]).data();
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let mut args = vec!["inbox", "--limit", "7"];
        args.extend(cursor.iter().flat_map(|cursor: &String| ["--cursor", cursor.as_str()]));
        let page = room.run_as("bob", &args).data();
        assert_eq!(page["total"], 25);
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let different: BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), different.len()), (25, 25));
    room.run_as("bob", &["inbox", "--cursor", "0123456789ab"]).error("ERR_USAGE", 2);
}

#[test]
fn settings_that_change_back_and_forth_are_news_each_time() {
    let room = room(&["bob"]);
    let path = room.store().join("config.toml");
    let first = std::fs::read_to_string(&path).unwrap();
    let second = format!("{first}\n[claim]\nmax_attempts = 7\n");
    for text in [&second, &first, &second, &first, &second] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(only(&room, "bob", "settings")["summary"], "config.toml changed");
    }
}

/// A room with a second work tree on a branch of its own.
fn with_second_tree(room: &Sandbox) -> PathBuf {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "begin"]).text();
    let tree = room.beside("tree");
    room.git(&["worktree", "add", "-q", "-b", "side", tree.to_str().unwrap()]).text();
    tree
}

#[test]
fn other_settings_of_another_worktree_are_acknowledged_once() {
    let room = room(&["bob"]);
    let tree = with_second_tree(&room);
    let there = |args: &[&str]| room.run_in(&tree, &[&["--agent", "bob"], args].concat());
    let path = tree.join(".agentpm/config.toml");
    let first = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{first}\n[claim]\nmax_attempts = 7\n")).unwrap();
    assert_eq!(kinds(&there(&["inbox"])), ["settings"]);
    there(&["inbox", "ack", "--all"]).data();
    for _ in 0..2 {
        assert_eq!(kinds(&room.run_as("bob", &["inbox"])), [""; 0]);
        assert_eq!(kinds(&there(&["inbox"])), [""; 0]);
        room.run_as("bob", &["inbox", "ack", "--all"]).data();
        there(&["inbox", "ack", "--all"]).data();
    }
    // What one of them is set to comes to the other with a merge, which is known by then.
    room.git_in(&tree, &["commit", "-q", "-a", "--no-verify", "-m", "settings"]).text();
    room.git(&["merge", "-q", "--no-edit", "side"]).text();
    assert_eq!(kinds(&room.run_as("bob", &["inbox"])), [""; 0]);
}

#[test]
fn a_task_that_is_ready_by_another_event_in_another_worktree_is_acknowledged_once_in_each() {
    let room = room(&["bob"]);
    let task = room.task("a task", &[]);
    let tree = with_second_tree(&room);
    room.run_in(&tree, &["claim", &task]).data();
    room.run_in(&tree, &["lease", "release", &task]).data();
    room.run_in(&tree, &["task", "transition", &task, "--status", "open"]).data();
    let there = |args: &[&str]| room.run_in(&tree, &[&["--agent", "bob"], args].concat());
    assert_eq!(only(&room, "bob", "ready")["task"], json!(task));
    assert_eq!(kinds(&there(&["inbox"])), ["ready"], "it became ready again");
    there(&["inbox", "ack", "--all"]).data();
    for _ in 0..2 {
        assert_eq!(kinds(&room.run_as("bob", &["inbox"])), [""; 0]);
        assert_eq!(kinds(&there(&["inbox"])), [""; 0]);
        room.run_as("bob", &["inbox", "ack", "--all"]).data();
        there(&["inbox", "ack", "--all"]).data();
    }
}

#[test]
fn any_number_of_items_stays_acknowledged_while_an_older_one_is_unread() {
    let room = room(&["bob"]);
    let sends: Vec<Value> =
        (0..1_200).map(|n| json!({"op": "broadcast", "args": {"body": format!("message {n}")}})).collect();
    room.feed(&["batch", "--file", "-"], json!(sends).to_string().as_bytes()).data();
    let all = items(&room.run_as("bob", &["inbox", "--all"]));
    let ids: Vec<&str> = all.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1_200);
    // Two at a time, and each of them again.
    for ids in [&ids[1..2], &ids[2..], &ids[5..6]] {
        room.run_as("bob", &[&["inbox", "ack"], ids].concat()).data();
    }
    let left = items(&room.run_as("bob", &["inbox"]));
    assert_eq!(left.iter().map(|item| item["id"].as_str().unwrap()).collect::<Vec<_>>(), ids[..1]);
}

#[test]
fn a_count_that_a_slow_process_notes_late_does_not_count() {
    let room = room(&["bob"]);
    let task = owned(&room, "x", "ada");
    for n in 0..3 {
        room.run(&["broadcast", "--body", &format!("message {n}")]).data();
    }
    let ids: Vec<String> =
        items(&room.run_as("bob", &["inbox"])).iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    let count = room.repo().join(".git/agentpm/inbox/bob.count");
    let slow = std::fs::read(&count).unwrap();
    // Two acknowledgments, between which another process writes what it counted before them.
    for (id, unread) in ids.iter().zip([json!(2), json!(1)]) {
        room.run_as("bob", &["inbox", "ack", id]).data();
        std::fs::write(&count, &slow).unwrap();
        assert_eq!(room.run_as("bob", &["note", &task, "--content", "x"]).json()["unread"], unread);
        std::fs::write(&count, &slow).unwrap();
        assert_eq!(room.run_as("bob", &["next"]).json()["unread"], unread);
    }
}
