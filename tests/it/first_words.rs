//! What an agent that has read only `prime` types first: each works, or names the command that does.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// A plan with a task that is held and one that is open.
fn plan() -> (Sandbox, String, String) {
    let room = Sandbox::new();
    let held = room.task("held", &["--acceptance", "it works"]);
    let open = room.task("open", &[]);
    room.run(&["claim", &held]).data();
    (room, held, open)
}

#[test]
fn titles_texts_and_words_need_no_flag() {
    let (room, held, open) = plan();
    room.run_short(&["add", "a task"]).data();
    room.run_short(&["create", "a task", "--description", "why", "--blocks", &open]).data();
    room.run_short(&["note", "about the task I hold"]).data();
    room.run_short(&["note", &open, "about another"]).data();
    room.run_short(&["comment", &open, "about another"]).data();
    room.run_short(&["progress", "add", "a step of the task I hold", "--done"]).data();
    let steps: Vec<String> = ["a", "b"]
        .iter()
        .map(|text| room.run_short(&["progress", "add", &held, text]).data()["id"].as_str().unwrap().to_owned())
        .collect();
    let both = room.run_short(&["progress", "complete", &steps[0], &steps[1]]).data();
    assert_eq!(both["items"].as_array().unwrap().len(), 2);
    assert_eq!(room.get(&open)["status"], "blocked", "the new task blocks it");
    let context = &room.get(&held)["context"];
    assert_eq!(context[0]["content"], "about the task I hold");
}

#[test]
fn words_for_looking_around_work() {
    let (room, held, open) = plan();
    let status = room.run_short(&["status"]).data();
    assert_eq!((&status["mine"][0]["title"], &status["ready"][0]["title"]), (&json!("held"), &json!("open")));
    assert!(room.run_short(&["status", "--format", "table"]).text().starts_with("Yours (1)\n"));
    room.run_short(&["cancel", &open, "--why", "not needed"]).data();
    let found = room.run_short(&["search", "open"]).data();
    assert_eq!(found["items"][0]["status"], "cancelled", "closed tasks are found too");
    for words in [&["get", &held][..], &["list"], &["ls", "--status", "done"], &["--json", "ls", "--json", "--json"]] {
        room.run_short(words).data();
    }
    room.run_short(&["close", "--all-met"]).data();
    let done = room.run_short(&["task", "list", "--status", "done"]).data();
    assert_eq!(done["items"][0]["title"], "held");
}

#[test]
fn a_second_task_is_claimed_only_on_request() {
    let (room, held, open) = plan();
    let nothing = room.run_short(&["next", "--claim"]).json();
    assert_eq!(
        (&nothing["data"], &nothing["reasons"]["held"]),
        (&Value::Null, &json!([{ "id": held, "handle": &held[20..], "title": "held" }]))
    );
    let words = room.run_short(&["next", "--claim", "--format", "table"]);
    let expected = format!("nothing was claimed: you hold {0} (held)\ngo on with it: agentpm brief {0}; ", &held[20..]);
    assert!(words.text().starts_with(&expected) && words.text().contains("--another"), "{words:?}");
    assert!(nothing["reasons"]["hint"].as_str().unwrap().contains("agentpm next --claim --another"), "{nothing}");
    let second = room.run_short(&["next", "--claim", "--another"]).data();
    assert_eq!(second["task"]["id"], json!(open));
    let several = room.run_short(&["note", "about which?"]).error("ERR_AMBIGUOUS_ID", 3);
    assert!(several.to_string().contains("held") && several.to_string().contains("open"), "{several}");
}

#[test]
fn any_text_is_a_value() {
    let (room, held, open) = plan();
    for text in ["- a list item", "--check beside --in-place", "--verbose", "-x", "@ada is asked", "@@ada"] {
        room.run_short(&["note", &open, "--content", text]).data();
        let context = room.get(&open)["context"].as_array().unwrap().last().unwrap()["content"].clone();
        assert_eq!(context, text.strip_prefix("@@").map_or(text.to_owned(), |rest| format!("@{rest}")));
    }
    room.run_short(&["add", "--title", "--verbose"]).data();
    room.run_short(&["note", "- a list item"]).data();
    for (args, text) in [(vec!["note", "--", "-x"], "-x"), (vec!["note", &held, "--", "--foo"], "--foo")] {
        room.run_short(&args).data();
        assert_eq!(room.get(&held)["context"].as_array().unwrap().last().unwrap()["content"], text);
    }
    assert_eq!(room.run_short(&["add", "--", "-dash"]).data()["title"], "-dash");
    room.run_short(&["broadcast", "--", "-freeze"]).data();
    room.run_short(&["thread", "open", &open, "--", "-why"]).data();
    room.feed(&["note", "-"], b"-from standard input").data();
    room.feed(&["note", "--content", "@-"], b"so too").data();
    room.run_short(&["done", &held, "--all-met", "--outcome", "- done --all"]).data();
}

#[test]
fn an_empty_or_invisible_text_is_refused() {
    let (room, _, open) = plan();
    for text in ["", " ", "\n", "\u{200B}", "\u{2060}\u{FEFF}"] {
        room.run_short(&["add", text]).error("ERR_USAGE", 2);
        room.run_short(&["note", &open, "--content", text]).error("ERR_USAGE", 2);
        room.run_short(&["done", "--outcome", text]).error("ERR_USAGE", 2);
        let ops = json!([{ "op": "create_task", "data": { "title": text } }]).to_string();
        std::fs::write(room.repo().join("ops"), ops).unwrap();
        room.run_short(&["batch", "--file", "ops"]).error("ERR_VALIDATION", 4);
    }
}

#[test]
fn a_forgotten_text_and_a_mistyped_option_are_no_text() {
    let (room, _, open) = plan();
    let missing = room.run_short(&["note", &open]).error("ERR_USAGE", 2);
    assert!(missing["message"].as_str().unwrap().contains("the text is missing"), "{missing}");
    let typo = room.run_short(&["note", "a word", "--contnet"]).error("ERR_USAGE", 2);
    assert!(typo["message"].as_str().unwrap().contains("--contnet"), "{typo}");
}

#[test]
fn words_of_other_tools_name_ours() {
    let room = Sandbox::new();
    for (word, ours) in [
        ("delete", "agentpm cancel"),
        ("assign", "--owner"),
        ("start", "agentpm claim"),
        ("update", "agentpm task update"),
        ("find", "agentpm search"),
        ("history", "agentpm log"),
        ("push", "agentpm sync"),
        ("tree", "agentpm graph"),
        ("block", "agentpm task block"),
        ("todo", "agentpm ls"),
    ] {
        let refused = room.run_short(&[word, "7XK2Q1"]).error("ERR_USAGE", 2);
        assert!(refused["hint"].as_str().unwrap().contains(ours), "{word}: {refused}");
    }
}

#[test]
fn a_refused_command_names_what_it_takes() {
    let (room, _, open) = plan();
    for (args, message, hint) in [
        (vec!["config"], "agentpm config needs a subcommand", "its subcommands: get, set, list"),
        (vec!["task", "frob"], "'frob'", "its subcommands: create, get, list"),
        (
            vec!["thread", "reply"],
            "<THREAD>",
            "usage: agentpm thread reply <THREAD> [TEXT]; see agentpm thread reply --help",
        ),
        (vec!["ls", "--statu", "open"], "--statu", "did you mean --status?"),
        (
            vec!["stale", "--older-than", "3d"],
            "--older-than",
            "usage: agentpm stale [OPTIONS]; see agentpm stale --help",
        ),
        (vec!["progress", "rm", "1"], "rm", "agentpm progress complete ITEM"),
        (vec!["context", "remove", "1"], "remove", "agentpm context supersede"),
        (vec!["task", "claim", &open], "claim", "use agentpm claim"),
        (vec!["task", "start", &open], "start", "agentpm claim ID"),
        (vec!["task", "update", &open, "--add-criterion", "x"], "--add-criterion", "--add-acceptance TEXT"),
        (vec!["task", "update", &open, "--clear", "colour"], "colour", "defer_until"),
        (
            vec!["task", "update", &open, "--priority", "high"],
            "whole number from -5 to 5",
            "see agentpm task update --help",
        ),
        (vec!["log", "--since", "10x"], "is not a time; write a date", "see agentpm log --help"),
    ] {
        let refused = room.run_short(&args).json()["error"].clone();
        let has = |key: &str, word: &str| refused[key].as_str().is_some_and(|said| said.contains(word));
        assert!(has("message", message) && has("hint", hint), "{args:?}: {refused:#}");
        assert!(!refused["message"].as_str().unwrap().contains("ERR_"), "{refused:#}");
    }
}

#[test]
fn the_option_that_is_named_for_an_unknown_one_works() {
    let (room, ..) = plan();
    for unknown in ["--archived", "--overdue", "--blocked", "--completed", "--open", "--sort"] {
        let hint = room.run_short(&["ls", unknown]).error("ERR_USAGE", 2)["hint"].as_str().unwrap().to_owned();
        let words: Vec<&str> = hint.trim_start_matches("use ").split([' ', ',']).collect();
        room.run_short(&["ls", words[0], words[1]]).data();
    }
}

#[test]
fn words_of_other_trackers_for_types_and_times_are_understood() {
    let (room, _, open) = plan();
    for (word, ours) in [("bug", "bugfix"), ("feat", "feature"), ("doc", "docs")] {
        room.run_short(&["task", "update", &open, "--type", word]).data();
        assert_eq!(room.get(&open)["type"], ours);
    }
    room.run_short(&["add", "it fails", "--type", "chore"]).error("ERR_VALIDATION", 4);
    room.run_short(&["task", "update", &open, "--defer-until", "+3d"]).data();
    room.run_short(&["task", "update", &open, "--clear", "defer-until"]).data();
    assert_eq!(room.get(&open)["defer_until"], Value::Null);
    let room = Sandbox::new();
    let task = room.at("2026-11-20T10:00:00Z").task("one", &[]);
    room.at("2026-11-20T12:00:00Z").run(&["note", &task, "later"]).data();
    let since = |span: &str| room.run(&["log", "--since", span]).data()["total"].clone();
    assert_eq!((since("10m"), since("3h")), (json!(1), json!(2)), "a span is one before now");
}

#[test]
fn a_batch_has_two_shapes() {
    let (room, _, open) = plan();
    let ops = json!({ "ops": [
        { "op": "create_task", "as": "a", "data": { "title": "from a batch" } },
        { "op": "add_relationship", "data": { "from": "$a", "to": open, "type": "blocks" } },
        { "op": "add_context", "data": { "task": "$a", "type": "note", "content": "x" } },
        { "op": "add_progress", "args": { "task_id": "$a", "content": "a step" } },
        { "op": "task.update", "args": { "task_id": "$a", "priority": 2 } },
    ], "atomic": true });
    std::fs::write(room.repo().join("ops"), ops.to_string()).unwrap();
    let done = room.run_short(&["batch", "--file", "ops"]).data();
    assert_eq!(done["total"], 5);
    assert_eq!(room.get(&open)["status"], "blocked");
    let edge = room.get(&open)["relationships"][0]["id"].clone();
    let ops = json!([{ "op": "remove_relationship", "data": { "id": edge } }]);
    std::fs::write(room.repo().join("ops"), ops.to_string()).unwrap();
    room.run_short(&["batch", "--file", "ops"]).data();
    assert_eq!(room.get(&open)["status"], "open");
}

#[test]
fn a_batch_removes_a_relationship_by_its_name() {
    let (room, _, open) = plan();
    let other = room.task("other", &[]);
    for kind in ["blocks", "relates_to", "parent_of"] {
        for key in ["id", "relationship"] {
            let ops = json!([
                { "op": "add_relationship", "as": "r", "data": { "from": other, "to": open, "type": kind } },
                { "op": "remove_relationship", "data": { key: "$r" } },
            ]);
            std::fs::write(room.repo().join("ops"), ops.to_string()).unwrap();
            room.run_short(&["batch", "--file", "ops"]).data();
            for task in [&open, &other] {
                assert_eq!(room.get(task)["relationships"], json!([]), "{kind} by {key}");
            }
        }
    }
}

#[test]
fn steps_that_are_not_atomic_answer_each_for_itself() {
    let room = Sandbox::new();
    let ops = json!({ "ops": [
        { "op": "create_task", "as": "a", "data": { "title": "one" } },
        { "op": "update_task", "data": { "id": "ZZZZZZ", "priority": 1 } },
        { "op": "update_task", "data": { "id": "$a", "priority": 2 } },
    ], "atomic": false });
    std::fs::write(room.repo().join("ops"), ops.to_string()).unwrap();
    let done = room.run_short(&["batch", "--file", "ops"]).data();
    let oks: Vec<&Value> = done["items"].as_array().unwrap().iter().map(|item| &item["ok"]).collect();
    assert_eq!(oks, [true, false, true]);
    assert_eq!(done["items"][1]["error"]["code"], "ERR_NOT_FOUND");
    assert_eq!(room.get(done["items"][0]["id"].as_str().unwrap())["priority"], 2);
}

#[test]
fn a_step_that_cannot_be_read_stops_no_other_step_that_is_not_atomic() {
    let room = Sandbox::new();
    let ops = |atomic: bool| {
        let ops = json!({ "ops": [
            { "op": "create_task", "as": "bad", "data": { "title": 5 } },
            { "op": "create_task", "as": "a", "data": { "title": "good" } },
            { "op": "no_such_op", "data": {} },
            { "op": "update_task", "data": { "id": "$a", "priority": 2 }, "why": "x" },
            { "op": "update_task", "data": { "id": "$a", "priority": 3 } },
        ], "atomic": atomic });
        std::fs::write(room.repo().join("ops"), ops.to_string()).unwrap();
        room.run_short(&["batch", "--file", "ops"])
    };
    assert_ne!(ops(true).code, 0);
    assert_eq!(room.run(&["ls"]).data()["total"], 0);
    let done = ops(false).data();
    let items = done["items"].as_array().unwrap();
    let oks: Vec<&Value> = items.iter().map(|item| &item["ok"]).collect();
    assert_eq!(
        (oks, &done["total"]),
        (vec![&json!(false), &json!(true), &json!(false), &json!(false), &json!(true)], &json!(5))
    );
    assert_eq!((&items[0]["as"], &items[0]["error"]["code"]), (&json!("bad"), &json!("ERR_VALIDATION")));
    assert!(items[2]["error"]["message"].as_str().unwrap().starts_with("step 3: "), "{done:#}");
    assert_eq!(room.get(items[1]["id"].as_str().unwrap())["priority"], 3);
}

#[test]
fn the_name_of_a_command_alone_is_no_text() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    room.run(&["claim", &task]).data();
    for (words, meant) in [
        (&["add", "help"][..], "agentpm add --help"),
        (&["add", "list"], "agentpm ls"),
        (&["add", "split"], "agentpm task split"),
        (&["task", "create", "status"], "agentpm status"),
        (&["note", "list"], "agentpm show"),
        (&["note", "supersede"], "agentpm context supersede"),
        (&["context", "add", "help"], "agentpm context add --help"),
        (&["progress", "add", "complete"], "agentpm progress complete"),
        (&["broadcast", "list"], "agentpm log --type Broadcast"),
        (&["thread", "open", "reply"], "agentpm thread reply"),
    ] {
        let error = room.run(words).error("ERR_USAGE", 2);
        let hint = error["hint"].as_str().unwrap();
        assert!(hint.contains(&format!("use {meant};")), "{words:?}: {hint}");
        let text = hint.rsplit_once("as a text: ").unwrap().1;
        let ways = text.split(", or ").map(|way| way.strip_prefix("agentpm ").unwrap().split(' ').collect::<Vec<_>>());
        assert_eq!(ways.clone().count(), 2, "{hint}");
        if words[0] != "add" && words[0] != "task" {
            continue;
        }
        for way in ways {
            assert_eq!(room.run(&way).data()["title"], *words.last().unwrap(), "{way:?}");
        }
    }
    let events = room.run(&["log", "--all"]).stdout;
    for kind in ["ContextAdded", "Broadcast", "ThreadOpened", "ProgressItemAdded"] {
        assert!(!events.contains(kind), "{events}");
    }
    room.run(&["note", &task, "list"]).data();
    room.run(&["note", "list of callers"]).data();
}

#[test]
fn the_help_of_a_command_has_one_line_about_the_options_of_every_command() {
    let room = Sandbox::nothing();
    let help = room.run_short(&["task", "block", "--help"]);
    assert!(help.stdout.contains("Options of every command: agentpm help options"), "{help:?}");
    assert!(!help.stdout.contains("--correlation-id"), "{help:?}");
    let options = room.run_short(&["help", "options"]);
    for option in ["--json", "--quiet", "--full", "--agent", "--correlation-id"] {
        assert!(options.stdout.contains(option), "{option}: {options:?}");
    }
}

#[test]
fn a_closed_task_is_reopened_with_either_word_for_the_reason() {
    let (room, _, open) = plan();
    for word in ["--reason", "--why"] {
        room.run_short(&["cancel", &open, word, "not needed"]).data();
        room.run_short(&["task", "reopen", &open]).error("ERR_USAGE", 2);
        room.run_short(&["task", "reopen", &open, word, "needed after all"]).data();
        let log = room.run_short(&["log", &open]).stdout;
        assert_eq!(log.matches("needed after all").count(), 1 + usize::from(word == "--why"), "{log}");
    }
}

#[test]
fn a_receipt_names_the_criteria_that_were_marked() {
    let (room, held, _) = plan();
    let marked = room.run_short(&["task", "verify", &held, "--criterion", "1"]).data();
    assert_eq!(marked["changed"], json!({ "met.it works": { "from": false, "to": true } }));
}

/// What a first command must come to.
enum End {
    Works,
    /// It is refused, and the hint names this.
    Names(&'static str),
}

/// What an agent wants and the command it types first. `HELD`, `OPEN`, `STEP` and `NOTED` stand for ids: of the task it holds, of another
/// one, of a step and of an event.
#[rustfmt::skip]
const INTENTIONS: &[(&str, &[&str], End)] = &[
    ("see where the plan stands", &["status"], End::Works),
    ("learn the commands", &["help", "agents"], End::Works),
    ("get the instructions again", &["prime"], End::Works),
    ("see the next task", &["next"], End::Works),
    ("see all that could be done", &["ready"], End::Works),
    ("see why a task is not offered", &["ready", "--explain"], End::Works),
    ("see my tasks", &["ls", "--owner", "me"], End::Works),
    ("see my tasks by a word", &["mine"], End::Names("agentpm status")),
    ("see open tasks", &["ls", "--status", "open"], End::Works),
    ("see what is done", &["task", "list", "--status", "done"], End::Works),
    ("see what waits", &["blocked"], End::Names("--status blocked")),
    ("find a task by a word", &["search", "open"], End::Works),
    ("read the task", &["brief"], End::Works),
    ("go on after a pause", &["resume"], End::Names("agentpm brief")),
    ("look at one task", &["show", "OPEN"], End::Works),
    ("open one task", &["open", "OPEN"], End::Names("agentpm show")),
    ("see the history of a task", &["log", "HELD"], End::Works),
    ("see who set a field", &["blame", "HELD"], End::Works),
    ("take a certain task", &["take", "OPEN"], End::Names("agentpm claim")),
    ("take the next task too", &["next", "--claim", "--another"], End::Works),
    ("add a task", &["add", "a new task", "--priority", "2", "--label", "ui"], End::Works),
    ("add a part of a task", &["add", "a part", "--parent", "OPEN"], End::Works),
    ("add a subtask by a word", &["subtask", "OPEN"], End::Names("--parent")),
    ("split a task", &["task", "split", "OPEN", "--title", "one", "--title", "two"], End::Works),
    ("make a task wait", &["depend", "OPEN", "HELD"], End::Names("agentpm task block ID --by ID")),
    ("make a task wait by our word", &["task", "block", "OPEN", "--by", "HELD"], End::Works),
    ("raise the priority", &["task", "update", "OPEN", "--priority", "3"], End::Works),
    ("raise the priority by a word", &["priority", "OPEN", "3"], End::Names("--priority N")),
    ("change the title", &["rename", "OPEN", "better"], End::Names("--title")),
    ("set a due time", &["task", "update", "OPEN", "--due", "+3d"], End::Works),
    ("label a task", &["tag", "OPEN", "ui"], End::Names("--add-label")),
    ("give a task to another agent", &["assign", "OPEN", "bob"], End::Names("--owner")),
    ("note something", &["note", "found the cause"], End::Works),
    ("record a decision", &["note", "flock it is", "--type", "decision"], End::Works),
    ("record a decision by a word", &["decide", "flock it is"], End::Names("--type decision")),
    ("plan a step", &["progress", "add", "write the test"], End::Works),
    ("tick a step", &["progress", "complete", "STEP"], End::Works),
    ("mark a criterion", &["task", "verify", "HELD", "--criterion", "1"], End::Works),
    ("approve the work of another", &["approve", "OPEN"], End::Names("task verify ID --accept")),
    ("accept the work of another", &["accept", "OPEN"], End::Names("task verify ID --accept")),
    ("reject the work of another", &["reject", "OPEN"], End::Names("--reject --why")),
    ("ask a question", &["ask", "OPEN", "which one?"], End::Names("thread open ID --no-hold TEXT")),
    ("propose a change", &["thread", "open", "OPEN", "--body", "sooner", "--set", "priority=3"], End::Works),
    ("see who works on what", &["who"], End::Names("lease list")),
    ("see whether a file is taken", &["check", "src/lib.rs"], End::Works),
    ("keep the lease", &["renew"], End::Names("agentpm lease renew")),
    ("finish without the criteria", &["done"], End::Names("--all-met")),
    ("finish", &["done", "--all-met", "--outcome", "it holds"], End::Works),
    ("finish by another word", &["complete", "HELD", "--all-met"], End::Works),
    ("give it back", &["release"], End::Works),
    ("stop working on it", &["unclaim"], End::Names("agentpm release")),
    ("give up a task for good", &["cancel", "OPEN", "--why", "not needed"], End::Works),
    ("delete a task", &["rm", "OPEN"], End::Names("agentpm cancel")),
    ("take back a change", &["undo", "NOTED"], End::Names("context supersede")),
    ("open a closed task", &["reopen", "OPEN"], End::Names("task reopen ID --reason")),
    ("draw the plan", &["graph"], End::Works),
    ("draw the plan by a word", &["tree"], End::Names("agentpm graph")),
    ("write the plan out", &["export"], End::Names("agentpm plan show")),
    ("share the plan", &["push"], End::Names("agentpm sync")),
    ("save", &["commit"], End::Names("agentpm sync")),
    ("check the plan", &["lint"], End::Works),
    ("check the plan by a word", &["validate"], End::Names("agentpm lint")),
    ("see the totals", &["stats"], End::Works),
    ("look at my task", &["show"], End::Works),
    ("raise the priority of my task", &["task", "update", "--priority", "3"], End::Works),
    ("make my task wait", &["task", "block", "--by", "OPEN"], End::Works),
    ("split my task", &["task", "split", "--title", "one", "--title", "two"], End::Works),
    ("mark a criterion of my task", &["task", "verify", "--criterion", "1"], End::Works),
    ("judge my own work", &["task", "verify", "--accept"], End::Names("is:unreviewed")),
    ("note something by another word", &["note", "--body", "found the cause"], End::Works),
    ("tell the others by another word", &["broadcast", "--content", "main is frozen"], End::Works),
    ("give it back by another word", &["release", "--reason", "needs a decision"], End::Works),
    ("see lost edits", &["conflicts"], End::Works),
    ("wait for work", &["wait"], End::Names("--wait")),
    ("tick a step by another word", &["progress", "done", "STEP"], End::Names("agentpm progress complete ITEM")),
    ("open a task", &["task", "transition", "OPEN", "open"], End::Names("--status STATUS")),
    ("open a task by another option", &["task", "transition", "OPEN", "--to", "open"], End::Names("--status STATUS")),
    ("let one wait for another", &["task", "block", "OPEN", "HELD"], End::Names("--by ID")),
    ("move below another", &["task", "move", "OPEN"], End::Names("--parent ID")),
    ("add one that waits for two", &["add", "Last", "--blocked-by", "OPEN,HELD"], End::Works),
];

#[test]
fn the_first_command_for_each_intention_works_or_names_ours() {
    assert!(INTENTIONS.len() >= 40);
    for (intention, words, end) in INTENTIONS {
        let (room, held, open) = plan();
        let step = room.run_short(&["progress", "add", "a step"]).data()["id"].as_str().unwrap().to_owned();
        let noted = room.run_short(&["note", "a note"]).data()["id"].as_str().unwrap().to_owned();
        let id = |word: &str| match word {
            "HELD" => held.clone(),
            "OPEN" => open.clone(),
            "STEP" => step.clone(),
            "NOTED" => noted.clone(),
            "OPEN,HELD" => format!("{open},{held}"),
            other => other.to_owned(),
        };
        let args: Vec<String> = words.iter().map(|word| id(word)).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let answer = room.run_short(&args);
        match end {
            End::Works => assert_eq!(answer.code, 0, "{intention}: {words:?}: {answer:?}"),
            End::Names(ours) => {
                let hint = answer.json()["error"]["hint"].to_string();
                assert!(answer.code != 0 && hint.contains(ours), "{intention}: {words:?}: {answer:?}");
            }
        }
    }
}

#[test]
fn a_task_costs_less_than_6_kb_from_claim_to_done() {
    let room = Sandbox::new();
    let intent =
        "Two processes may take the lock at once, since the file is replaced between the look and the lock. ".repeat(4);
    let criteria = ["--acceptance", "no deadlock in 1000 rounds", "--acceptance", "the test fails without the change"];
    for n in 0..12 {
        room.task(&format!("unrelated work, part {n}"), &["--priority=-1"]);
    }
    let task = room.task("Take the lock and look again", &[&["--intent", &intent][..], &criteria].concat());
    room.task("Describe the locking", &["--blocked-by", &task]);
    let mut bytes = 0;
    let mut run = |args: &[&str]| {
        let answer = room.run_short(args);
        bytes += answer.stdout.len();
        answer.data()
    };
    assert_eq!(run(&["next", "--claim"])["task"]["id"], json!(task));
    run(&["brief"]);
    let steps: Vec<String> = ["write a test that fails", "look again under the lock"]
        .iter()
        .map(|step| run(&["progress", "add", step])["id"].as_str().unwrap().to_owned())
        .collect();
    run(&["note", "the file is replaced by rename", "--type", "decision"]);
    run(&["progress", "complete", &steps[0], &steps[1]]);
    run(&["task", "verify", &task, "--criterion", "1"]);
    let done = run(&["done", "--all-met", "--outcome", "the lock is taken, then the inode compared"]);
    assert_eq!(done["ready"][0]["title"], "Describe the locking");
    assert!(bytes < 6_000, "{bytes} bytes");
}

#[test]
fn texts_of_messages_need_no_flag() {
    let (room, held, open) = plan();
    let about = |answer: &Value| answer["task"].as_str().unwrap().to_owned();
    let thread = room.run_short(&["thread", "open", &open, "which one?"]).data();
    assert_eq!(about(&thread), open);
    let thread = thread["id"].as_str().unwrap().to_owned();
    assert_eq!(about(&room.run_short(&["thread", "open", "about the one I hold", "--no-hold"]).data()), held);
    room.run_short(&["thread", "reply", &thread, "this one", "--set", "priority=2"]).data();
    room.run_short(&["thread", "reply", "--thread", &thread, "--body", "- that one"]).data();
    room.run_short(&["thread", "reply", &thread]).error("ERR_USAGE", 2);
    room.run_short(&["thread", "resolve", &thread, "--accept", "--reject"]).error("ERR_USAGE", 2);
    room.run_short(&["thread", "resolve", &thread]).error("ERR_USAGE", 2);
    room.run_short(&["thread", "resolve", &thread, "--accept"]).data();
    assert_eq!(room.get(&open)["priority"], 2);
    room.run_short(&["broadcast", "main is frozen"]).data();
    room.run_short(&["broadcast"]).error("ERR_USAGE", 2);
    room.run_short(&["context", "add", "decision", "flock it is"]).data();
    let context = room.get(&held)["context"][0].clone();
    assert_eq!((&context["type"], &context["content"]), (&json!("decision"), &json!("flock it is")));
    room.run_short(&["agent", "register", "bob", "--role", "executor"]).data();
    assert_eq!(room.run_short(&["agent", "show", "bob"]).data()["role"], "executor");
    assert_eq!(room.run_short(&["ls", "--mine"]).data()["items"][0]["id"], json!(held));
    assert_eq!(room.run_short(&["ls", "--mine"]).data()["total"], 1);
    let nothing = room.run_short(&["inbox", "ack"]).error("ERR_USAGE", 2);
    assert!(nothing["hint"].as_str().unwrap().contains("agentpm inbox ack --all"), "{nothing}");
    let settings = room.run_short(&["settings"]).error("ERR_USAGE", 2);
    assert!(settings["hint"].as_str().unwrap().contains("agentpm config list"), "{settings}");
}

#[test]
fn a_command_about_one_task_says_how_to_change_several() {
    let (room, held, open) = plan();
    assert_eq!(room.run(&["ls", "--status", "open,in_progress"]).data()["total"], 2);
    for command in [&["cancel"][..], &["done"], &["claim"], &["release"], &["task", "archive"], &["task", "reopen"]] {
        let error = room.run(&[command, &[&held, &open]].concat()).error("ERR_USAGE", 2);
        let hint = error["hint"].as_str().unwrap();
        assert!(
            hint.starts_with("run it once for each task, or change several in one step with agentpm batch"),
            "{error}"
        );
    }
    room.run(&["schema", "batch"]).data();
}

#[test]
fn a_receipt_names_the_blockers_that_came_or_went() {
    let (room, held, open) = plan();
    let blocked = room.run_short(&["task", "block", &open, "--by", &held]).data();
    assert_eq!(blocked["changed"]["blocked_by"], json!({ "from": [], "to": [held] }), "{blocked}");
    let again = room.run_short(&["task", "block", &open, "--by", &held]).data();
    assert_eq!(again.get("changed"), None, "{again}");
    let freed = room.run_short(&["task", "unblock", &open]).data();
    assert_eq!(freed["changed"]["blocked_by"], json!({ "from": [held], "to": [] }), "{freed}");
}

#[test]
fn what_a_command_does_not_record_is_said() {
    let (room, _, open) = plan();
    room.run(&["cancel", &open]).data();
    let again = room.run(&["cancel", &open, "--why", "a duplicate"]);
    assert!(again.stderr.contains("it was cancelled already, so the reason is not recorded"), "{again:?}");
    room.run_as("bob", &["task", "update", &open, "--owner", "bob"]).data();
    let opened = room.run(&["task", "reopen", &open, "--reason", "not one"]);
    assert!(opened.stderr.contains("it still belongs to bob; agentpm task update"), "{opened:?}");
}

#[test]
fn labels_are_given_one_by_one_or_with_commas() {
    let room = Sandbox::new();
    let id = room.task("labelled", &["--label", "storage,locks", "--label", "rust"]);
    assert_eq!(room.get(&id)["labels"], json!(["storage", "locks", "rust"]));
    room.run(&["task", "update", &id, "--add-label", "x, y", "--remove-label", "locks,rust"]).data();
    assert_eq!(room.get(&id)["labels"], json!(["storage", "x", "y"]));
    for labels in ["storage,x", "y"] {
        assert_eq!(room.run(&["ls", "--label", labels]).data()["total"], 1, "{labels}");
    }
    assert_eq!(room.run(&["ls", "--label", "storage,locks"]).data()["total"], 0, "a task has all of them");
    let step = json!([{"op": "task.update", "args": {"id": id, "labels": ["a,b"]}}]);
    std::fs::write(room.repo().join("ops"), step.to_string()).unwrap();
    room.run(&["batch", "--file", "ops"]).data();
    assert_eq!(room.get(&id)["labels"], json!(["a,b"]), "in JSON a label may have a comma");
}

#[test]
fn steps_are_completed_by_number_or_text() {
    let (room, held, _) = plan();
    for text in ["first", "second", "third"] {
        room.run_short(&["progress", "add", text]).data();
    }
    room.run_short(&["progress", "complete", "2", "third"]).data();
    let done = |room: &Sandbox| -> Vec<bool> {
        let steps = room.get(&held)["progress"]["items"].as_array().unwrap().clone();
        steps.iter().map(|step| step["completed"] == true).collect()
    };
    assert_eq!(done(&room), [false, true, true]);
    room.run_short(&["progress", "reopen", "3"]).data();
    assert_eq!(done(&room), [false, true, false]);
    room.run_short(&["progress", "complete", "4"]).error("ERR_NOT_FOUND", 3);
    room.run_short(&["progress", "complete", "unknown text"]).error("ERR_NOT_FOUND", 3);
}

#[test]
fn the_steps_of_a_batch_name_their_tasks() {
    let (room, _, open) = plan();
    for atomic in [true, false] {
        let ops = json!({ "atomic": atomic, "ops": [
            { "op": "task.create", "args": { "title": "new" } },
            { "op": "task.update", "args": { "id": open, "priority": 2 } },
        ]});
        std::fs::write(room.repo().join("ops"), ops.to_string()).unwrap();
        let done = room.run_short(&["batch", "--file", "ops"]).data();
        assert_eq!(done["items"][0]["title"], "new", "{done}");
        assert_eq!((&done["items"][1]["handle"], &done["items"][1]["title"]), (&json!(open[20..]), &json!("open")));
    }
}
