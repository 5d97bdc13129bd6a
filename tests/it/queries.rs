//! Finding tasks by a query: words, terms, orders, saved queries.

use std::fs;

use agentpm::env::process::run_editor;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// The titles that a query finds, in its order.
#[track_caller]
fn found(room: &Sandbox, query: &str) -> Vec<String> {
    found_with(room, query, &[])
}

#[track_caller]
fn found_with(room: &Sandbox, query: &str, more: &[&str]) -> Vec<String> {
    titles(&room.run(&[&["task", "list", "--query", query][..], more].concat()).data())
}

fn titles(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn words_are_found_wherever_they_were_written_and_gone_where_they_were_redacted() {
    let room = Sandbox::new();
    let a = room.task("Take the lock once", &["--intent", "Deadlocks\n  are rare: see http://x/y"]);
    let b = room.task("Ärger im Fluß", &["--acceptance", "no \"lock\" is held", "--label", "lock-free"]);
    let c = room.task("同期が遅い", &[]);
    assert_eq!(found(&room, "LOCK"), ["Take the lock once", "Ärger im Fluß"]);
    assert_eq!(found(&room, "once dead"), ["Take the lock once"], "each word, in any text of the task");
    assert_eq!(found(&room, "\"once dead\""), [""; 0], "not across two texts");
    assert_eq!(found(&room, "\"deadlocks ARE rare:\""), ["Take the lock once"], "gaps are as wide as they like");
    assert_eq!(found(&room, "\"http://x\""), ["Take the lock once"]);
    assert_eq!(found(&room, "lock -held"), ["Take the lock once"]);
    assert_eq!(found(&room, r#""\"lock\"""#), ["Ärger im Fluß"]);
    assert_eq!(
        (found(&room, "ärger"), found(&room, "期が"), found(&room, "期")),
        (vec!["Ärger im Fluß".into()], vec!["同期が遅い".into()], vec!["同期が遅い".into()])
    );
    assert_eq!(found(&room, "lock-free"), [""; 0], "labels have a key of their own");

    // What is written later is found later, what is changed no more by its old words.
    room.run(&["progress", "add", &c, "--content", "Zeta first"]).data();
    let note = room.run(&["note", &a, "--content", "the zeta hunter2 way", "-q"]);
    assert_eq!(found(&room, "zeta"), ["Take the lock once", "同期が遅い"]);
    room.run(&["context", "redact", note.text(), "--reason", "a secret"]).data();
    assert_eq!((found(&room, "hunter2").len(), found(&room, "zeta")), (0, vec!["同期が遅い".to_owned()]));
    room.run(&["task", "update", &b, "--title", "Freude im Fluß"]).data();
    assert_eq!((found(&room, "ärger").len(), found(&room, "freude").len()), (0, 1));
    assert_eq!(found(&room, "").len(), 3, "an empty query is none");
    // What git takes away is not found, what it brings is.
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
    room.run(&["task", "update", &b, "--title", "Unsaved in the river"]).data();
    assert_eq!(found(&room, "unsaved").len(), 1);
    room.git(&["checkout", "--", "."]).text();
    assert_eq!((found(&room, "unsaved").len(), found(&room, "freude").len()), (0, 1));
}

#[test]
fn words_and_labels_match_in_any_form_of_unicode() {
    let room = Sandbox::new();
    room.task("Die Gro\u{308}ße prüfen", &["--label", "gro\u{308}ße"]);
    let other = room.task("GRÖSSE zwei", &["--label", "größe"]);
    for query in ["größe", "GRÖSSE", "gro\u{308}sse", "GRÖẞE"] {
        assert_eq!(found(&room, query).len(), 2, "{query}");
    }
    assert_eq!(found(&room, "grosse").len(), 0, "a letter with a mark is a letter of its own");
    for label in ["größe", "gro\u{308}ße"] {
        assert_eq!(found(&room, &format!("label:{label}")).len(), 2, "{label}");
        assert_eq!(found_with(&room, "", &["--label", label]).len(), 2, "{label}");
    }
    assert_eq!(room.run(&["task", "update", &other, "--add-label", "gro\u{308}ße"]).data()["labels"], json!(["größe"]));
    room.run(&["task", "update", &other, "--remove-label", "gro\u{308}ße"]).data();
    assert_eq!(room.get(&other)["labels"], json!([]));
    // A label that a hand edit wrote in the other form is found too.
    let yaml = fs::read_to_string(room.yaml_of(&other)).unwrap();
    fs::write(room.yaml_of(&other), format!("{yaml}labels: [\"u\u{308}ber\"]\n")).unwrap();
    room.run(&["lint", "--fix"]).text();
    assert_eq!(found(&room, "label:über"), ["GRÖSSE zwei"]);
}

#[test]
fn a_query_can_include_closed_tasks() {
    let room = Sandbox::new();
    let done = room.task("sync once", &[]);
    room.task("sync twice", &[]);
    room.run(&["task", "transition", &done, "--status", "cancelled"]).data();
    assert_eq!(found(&room, "sync"), ["sync twice"]);
    assert_eq!(found(&room, "sync is:any"), ["sync once", "sync twice"]);
    assert_eq!(found_with(&room, "sync is:any", &["--limit", "1"]), ["sync once"]);
}

#[test]
fn numbers_in_metadata_stay_exact_or_are_refused() {
    let room = Sandbox::new();
    let exact = r#"{"a":9007199254740993,"b":18446744073709551615,"c":-9223372036854775808}"#;
    let task = room.task("numbers", &["--metadata", exact]);
    let shown = |id: &str| room.run(&["task", "get", id, "--full"]).stdout;
    let is_exact = |text: &str| exact.trim_matches(['{', '}']).split(',').all(|entry| text.contains(entry));
    assert!(is_exact(&shown(&task)), "{}", shown(&task));
    let yaml = fs::read_to_string(room.yaml_of(&task)).unwrap();
    assert!(yaml.contains("9007199254740993") && yaml.contains("18446744073709551615"), "{yaml}");
    for number in
        ["18446744073709551616", "-9223372036854775809", "9007199254740993.0", "123456789012345678901234567890"]
    {
        let metadata = format!(r#"{{"a":{{"b":[{number}]}}}}"#);
        let refused = room.run(&["task", "update", &task, "--metadata", &metadata]);
        assert!(refused.code != 0 && refused.stdout.contains("too large to be kept exactly"), "{number}: {refused:?}");
        let step = format!(r#"[{{"op":"task.update","args":{{"id":"{task}","metadata":{metadata}}}}}]"#);
        let refused = room.feed(&["batch", "--file", "-"], step.as_bytes());
        assert!(refused.code != 0 && refused.stdout.contains("too large to be kept exactly"), "{number}: {refused:?}");
        // A hand edit stays in the file and is reported; a fraction is a floating-point number there.
        if !number.contains('.') {
            fs::write(room.yaml_of(&task), yaml.replace("9007199254740993", number)).unwrap();
            let report = room.run(&["lint", "--fix"]);
            assert!(report.stdout.contains("not recorded"), "{number}: {report:?}");
            assert!(is_exact(&room.run(&["log", &task]).stdout), "{number}: nothing was recorded");
            fs::write(room.yaml_of(&task), &yaml).unwrap();
        }
        let foreign = format!(r#"{{"tasks":[{{"id":1,"title":"imported","custom":{number}}}]}}"#);
        let plan = format!("plan: p\ntasks:\n- title: planned\n  metadata: {metadata}\n");
        for (args, text) in
            [(["import", "--from", "taskmaster", "-"].as_slice(), foreign), (&["plan", "apply", "-"], plan)]
        {
            let refused = room.feed(args, text.as_bytes());
            assert!(
                refused.code != 0 && refused.stdout.contains("too large to be kept exactly"),
                "{text}: {refused:?}"
            );
        }
    }
    fs::write(room.yaml_of(&task), yaml.replace("9007199254740993", "9007199254740995")).unwrap();
    room.run(&["lint", "--fix"]).text();
    assert!(shown(&task).contains("9007199254740995"), "{}", shown(&task));
}

#[test]
fn an_editor_may_have_arguments_and_a_path_with_spaces() {
    use std::os::unix::fs::PermissionsExt as _;
    let room = Sandbox::new();
    let folder = room.beside("with a space");
    fs::create_dir_all(&folder).unwrap();
    let (editor, file) = (folder.join("my editor"), folder.join("a file"));
    fs::write(&editor, "#!/bin/sh\nfor last; do :; done\nprintf '%s|' \"$@\" > \"$last\"\n").unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let path = editor.display();
    for command in [
        format!("'{path}' --wait 'two words'"),
        format!("\"{path}\" --wait two\\ words"),
        format!("{} --wait \"two words\"", path.to_string().replace(' ', "\\ ")),
    ] {
        run_editor(&command, &file).unwrap();
        let wanted = format!("--wait|two words|{}|", file.display());
        assert_eq!(fs::read_to_string(&file).unwrap(), wanted, "{command}");
    }
    let refused = run_editor("'vi", &file).unwrap_err();
    assert!(refused.message.contains("unclosed quote"), "{refused}");
}

#[test]
fn query_terms_combine_with_each_other_and_with_flags() {
    let room = Sandbox::new();
    room.at("2026-11-09T10:00:00Z");
    let epic = room.task("epic", &["--type", "feature"]);
    room.at("2026-11-10T10:00:00Z");
    let a = room.task("a sync", &["--label", "sync", "--priority", "3", "--parent", &epic]);
    room.task("b sync", &["--label", "sync", "--label", "io", "--blocked-by", &a, "--type", "bugfix"]);
    room.at("2026-11-20T10:00:00Z");
    let c = room.task("c io", &["--label", "io", "--priority", "-2"]);
    let d = room.task("d done", &["--label", "sync"]);
    room.run(&["task", "transition", &d, "--status", "cancelled", "--why", "no"]).data();
    room.run_as("ada", &["claim", &c]).data();
    for (query, wanted) in [
        ("label:sync", &["a sync", "b sync"][..]),
        ("label:sync,io", &["a sync", "b sync", "c io"]),
        ("label:sync label:io", &["b sync"]),
        ("label:sync -label:io", &["a sync"]),
        ("status:open label:sync owner:none", &["a sync"]),
        ("status:blocked,cancelled", &["b sync", "d done"]),
        ("-status:open", &["b sync", "c io"]),
        ("is:closed", &["d done"]),
        ("is:closed,blocked", &["b sync", "d done"]),
        ("is:claimed", &["c io"]),
        ("is:ready", &["a sync"]),
        ("-is:ready", &["epic", "b sync", "c io"]),
        ("owner:ada", &["c io"]),
        ("-owner:ada", &["a sync", "epic", "b sync"]),
        ("owner:ada,none type:bugfix", &["b sync"]),
        ("priority:>=3", &["a sync"]),
        ("priority:-2..0 -label:io", &["epic"]),
        ("created:<=2026-11-10 -created:<2026-11-10", &["a sync", "b sync"]),
        ("updated:2026-11-20..", &["c io"]),
        ("parent:none sync", &["b sync"]),
        ("sort:title", &["a sync", "b sync", "c io", "epic"]),
        ("sort:-title label:sync,io", &["c io", "b sync", "a sync"]),
        ("sort:-priority", &["c io", "b sync", "epic", "a sync"]),
        ("sort:created status:open,cancelled", &["d done", "a sync", "epic"]),
        ("sort:score status:open,cancelled", &["a sync", "epic", "d done"]),
    ] {
        assert_eq!(found(&room, query), wanted, "{query}");
    }
    assert_eq!(found(&room, &format!("parent:{epic}")), ["a sync"]);
    assert_eq!(found(&room, &format!("id:{d},{a}")), ["a sync", "d done"], "who names a task sees it, closed too");
    assert_eq!(found_with(&room, "sync", &["--status", "blocked"]), ["b sync"]);
    assert_eq!(found_with(&room, "label:io", &["--label", "sync"]), ["b sync"]);
    assert_eq!(found_with(&room, "sync", &["--all"]).len(), 2);
    assert_eq!(found_with(&room, "done", &["--all"]), ["d done"]);
    assert_eq!(titles(&room.run_as("ada", &["ls", "--query", "owner:me"]).data()), ["c io"]);
    // What no longer waits counts as open, as everywhere.
    room.run(&["task", "transition", &a, "--status", "cancelled", "--why", "no"]).data();
    assert_eq!(found(&room, "status:open label:sync"), ["b sync"]);
}

#[test]
fn pages_of_an_order_join_and_a_cursor_of_another_is_refused() {
    let room = Sandbox::new();
    for n in 0..7 {
        room.task(&format!("task {}", n % 3), &["--priority", &(n % 2).to_string()]);
    }
    for sort in ["score", "-score", "due", "updated", "-created", "priority", "-priority", "title", "-title"] {
        let query = format!("--query=task sort:{sort}");
        let whole = room.run(&["ls", &query, "--all"]).data();
        let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
        let whole: Vec<String> = whole["items"].as_array().unwrap().iter().map(id).collect();
        let (mut joined, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut args = vec!["ls", &query, "--limit", "2"];
            args.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor]));
            let page = room.run(&args).data();
            assert_eq!(page["total"], 7);
            joined.extend(page["items"].as_array().unwrap().iter().map(id));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!((joined.len(), &joined), (7, &whole), "{sort}");
        let other = room.run(&["ls", "--query", "sort:-updated", "--cursor", &cursor.unwrap()]);
        other.error("ERR_USAGE", 2);
    }
    let plain = room.run(&["ls", "--limit", "2"]).data()["next_cursor"].as_str().unwrap().to_owned();
    room.run(&["ls", "--query", "sort:title", "--cursor", &plain]).error("ERR_USAGE", 2);
}

#[test]
fn a_malformed_query_is_refused_with_its_position() {
    let room = Sandbox::new();
    room.task("http://x", &[]);
    let e = room.run(&["ls", "--query", "lock http://x"]).error("ERR_VALIDATION", 4);
    assert_eq!(e["details"]["position"], 6);
    assert!(e["hint"].as_str().unwrap().contains("\"http://x\""), "{e}");
    for query in ["statsu:open", "\"open", "status:opne", "owner:", "sort:size", "@none", "priority:>x", "--all"] {
        room.run(&["ls", "--query", query]).error("ERR_VALIDATION", 4);
    }
    room.run(&["ls", "--query", "parent:ZZZZZZ"]).error("ERR_NOT_FOUND", 3);
}

#[test]
fn a_saved_query_is_asked_for_by_its_name_and_a_bad_one_is_a_finding() {
    let room = Sandbox::new();
    room.task("one", &["--label", "sync"]);
    room.task("two", &["--label", "sync", "--priority", "2"]);
    let config = room.store().join("config.toml");
    fs::write(&config, "format = 1\n[query]\nready-sync = \"status:open label:sync sort:title\"\n").unwrap();
    assert_eq!(found(&room, "@ready-sync"), ["one", "two"]);
    assert_eq!(found(&room, "two @ready-sync"), ["two"]);
    assert_eq!(found(&room, "@ready-sync sort:priority"), ["two", "one"]);
    let e = room.run(&["ls", "--query", "@ready"]).error("ERR_VALIDATION", 4);
    assert!(e["hint"].as_str().unwrap().contains("@ready-sync"), "{e}");
    room.is_clean();
    fs::write(&config, "format = 1\n[query]\nok = \"x\"\nbad = \"statsu:open\"\n").unwrap();
    let findings = room.findings();
    assert_eq!((findings.len(), &findings[0]["code"], &findings[0]["line"]), (1, &"config-invalid".into(), &4.into()));
    room.run(&["ls", "--query", "@bad"]).error("ERR_VALIDATION", 4);
    assert_eq!(found(&room, "@ok").len(), 0, "the others go on");
}
