//! The schemas of the files that people write: all that agentpm writes fits, and a mistake does not.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn schema(name: &str) -> Value {
    let room = Sandbox::nothing();
    let printed = room.run(&["schema", name, "--bare"]);
    let schema: Value = serde_json::from_str(printed.text()).expect("the schema alone");
    assert_eq!(schema, room.run(&["schema", name]).data(), "the same as in the envelope");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["$id"], json!(format!("urn:agentpm:schema:{name}")));
    assert!(schema["title"].is_string() && schema["description"].is_string());
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|e| panic!("{name} is no schema: {e}"));
    schema
}

fn validator(name: &str) -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema(name)).expect("a schema")
}

/// A YAML document as an editor reads it.
fn yaml(text: &str) -> Value {
    yaml_serde::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[track_caller]
fn fits(validator: &jsonschema::Validator, value: &Value, what: &str) {
    let errors: Vec<String> = validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
}

fn task_files(store: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(store.join("tasks")).into_iter().filter_map(Result::ok);
    files.map(walkdir::DirEntry::into_path).filter(|path| path.ends_with("task.yaml")).collect()
}

/// A store with a task that has everything.
fn rich() -> Sandbox {
    let room = Sandbox::new();
    let parent = room.task("the whole", &[]);
    let first = room.task("first", &[]);
    let id = room.task(
        "12345",
        &[
            "--intent=yes\n\nand: more # of it\n",
            "--parent",
            &parent,
            "--blocked-by",
            &first,
            "--label",
            "null",
            "--watcher",
            "bob",
            "--acceptance",
            "it holds",
            "--acceptance",
            "true",
            "--estimate",
            "1d",
            "--due",
            "2026-12-24",
            "--defer-until",
            "2026-01-01T10:00:00+02:00",
            "--file",
            "src/**",
            "--metadata",
            r#"{"a":{"b":[1,null,"x"]},"2026-11-20":true}"#,
            "--need-perm",
            "review",
            "--need-precedence=-3",
            "--priority=-5",
        ],
    );
    let run = |args: &[&str]| room.run(args).data();
    run(&["task", "update", &id, "--priority", "5", "--acceptance", "it holds"]);
    run(&["task", "relate", &id, "--to", &parent, "--type", "relates_to"]);
    run(&["task", "relate", &first, "--to", &parent, "--type", "duplicates"]);
    run(&["claim", &first]);
    run(&["task", "verify", &first, "--fail", "--why", "no"]);
    run(&["done", &first]);
    run(&["claim", &id]);
    for kind in ["decision", "rationale", "attempt", "outcome", "blocker", "note", "reference", "user_input"] {
        run(&["context", "add", &id, "--type", kind, "--content=- a\n- b", "--metadata", r#"{"k":1}"#]);
    }
    let entry = room.run(&["note", &id, "--content", "a secret", "-q"]);
    run(&["context", "redact", entry.text(), "--reason", "secret"]);
    let old = room.run(&["note", &id, "--content", "old", "-q"]);
    run(&["context", "supersede", old.text(), "--content", "new"]);
    let step = room.run(&["progress", "add", &id, "--content", "007", "-q"]);
    run(&["progress", "complete", step.text()]);
    run(&["progress", "add", &id, "--content", "~"]);
    run(&["task", "verify", &id, "--criterion", "1"]);
    run(&["done", &id]);
    run(&["task", "archive", &id]);
    let dropped = room.task("dropped", &["--blocked-by", &parent, "--acceptance", "met and dropped"]);
    run(&["task", "verify", &dropped, "--all"]);
    run(&["task", "update", &dropped, "--acceptance", "another"]);
    run(&["task", "unblock", &dropped, "--by", &parent]);
    run(&["task", "transition", &dropped, "--status", "cancelled"]);
    room
}

#[test]
fn every_task_that_agentpm_writes_fits_its_schema() {
    let validator = validator("task-file");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let room = rich();
    let mut files = Vec::new();
    for store in [&room.store(), &here.join(".agentpm.example"), &here.join("fixtures")] {
        let found = match store.ends_with("fixtures") {
            false => task_files(store),
            true => walkdir::WalkDir::new(store)
                .into_iter()
                .filter_map(Result::ok)
                .map(walkdir::DirEntry::into_path)
                .filter(|path| path.ends_with("task.yaml"))
                .collect(),
        };
        assert!(!found.is_empty(), "{}", store.display());
        files.extend(found);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        fits(&validator, &yaml(&text), &file.display().to_string());
        // agentpm's own reader sees the same.
        fits(&validator, &agentpm::store::yaml::read_value(&text).unwrap(), &file.display().to_string());
    }
}

#[test]
fn a_hand_written_task_fits_its_schema() {
    let validator = validator("task-file");
    for text in [
        "title: Fix the lock\n",
        "title: Fix the lock\nstatus: open\nowner:\nlabels: []\nintent: null\n",
        "title: x\nacceptance:\n  - it holds\n  - criterion: it is fast\n    met: true\n",
        "title: x\nprogress:\n  - find all callers\n  - content: mend them\n    completed: true\n",
        "title: x\ncontext:\n  - type: decision\n    content: flock\n  - just a note\n",
        "title: x\nparent: 7XK2Q1\nblocked_by: [3MZ8TT, 123456]\n",
        "title: x\nrelationships:\n  - type: blocks\n    from: 7XK2Q1\n  - {type: relates_to, to: 7xk2q1}\n",
        "title: x\ndue: 2026-12-24\ndefer_until: \"2026-12-24T10:00:00Z\"\n",
        "title: x\nseverity: 3\nof_a_newer_version: {a: [1]}\n",
    ] {
        fits(&validator, &yaml(text), text);
        // And is taken in, where it names no task that is not there and no key of another version.
        if !text.contains("7XK2Q1") && !text.contains("7xk2q1") && !text.contains("severity") {
            let room = Sandbox::new();
            fs::write(room.store().join("tasks/new.yaml"), text).unwrap();
            let fixed = room.run(&["lint", "--fix"]);
            assert_eq!(fixed.code, 0, "{text}: {fixed:?}");
            assert_eq!(room.run(&["ls", "--all"]).data()["total"], 1, "{text}");
        }
    }
}

#[test]
fn a_mistaken_task_does_not_fit_its_schema() {
    let validator = validator("task-file");
    for text in [
        "intent: no title\n",
        "title: ''\n",
        "title: \"two\\nlines\"\n",
        "title: [x]\n",
        "- title: x\n",
        "title: x\nstatus: finished\n",
        "title: x\ntype: epic\n",
        "title: x\npriority: high\n",
        "title: x\npriority: 6\n",
        "title: x\npriority: 1.5\n",
        "title: x\nowner: Ada Lovelace\n",
        "title: x\nlabels: storage\n",
        "title: x\nlabels: [a, a]\n",
        "title: x\nwatchers: ['@bob']\n",
        "title: x\nparent: the lock\n",
        "title: x\ndue: tomorrow\n",
        "title: x\nmetadata: words\n",
        "title: x\nneed_precedence: much\n",
        "title: x\nacceptance: [{words: it holds}]\n",
        "title: x\nacceptance: [{criterion: it holds, met: perhaps}]\n",
        "title: x\nprogress: [{completed: true}]\n",
        "title: x\nprogress: [{content: x, done: true}]\n",
        "title: x\ncontext: [{type: idea, content: x}]\n",
        "title: x\ncontext: [{type: note}]\n",
        "title: x\nrelationships: [{type: needs, to: 7XK2Q1}]\n",
        "title: x\nrelationships: [{type: blocks}]\n",
        "title: x\nid: 7XK2Q1\n",
    ] {
        assert!(!validator.is_valid(&yaml(text)), "{text}");
    }
    let long = format!("title: {}\n", "x".repeat(201));
    assert!(!validator.is_valid(&yaml(&long)));
}

#[test]
fn settings_fit_their_schema_and_mistakes_do_not() {
    let schema = schema("config");
    let validator = validator("config");
    let toml = |text: &str| json!(text.parse::<toml::Table>().unwrap());
    let room = Sandbox::new();
    let written = fs::read_to_string(room.store().join("config.toml")).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(".agentpm.example/config.toml");
    for text in [&*written, &fs::read_to_string(example).unwrap(), "", "agent = \"ada\"\n[lease]\nttl_seconds = 60\n"] {
        fits(&validator, &toml(text), text);
    }
    fits(&validator, &schema["default"], "the defaults");
    for text in [
        "formt = 1\n",
        "format = \"1\"\n",
        "[lease]\nttl_seconds = -1\n",
        "[lease]\nttl = 60\n",
        "[lease]\nrequired = \"yes\"\n",
        "[score]\npriority = \"much\"\n",
        "lease = true\n",
        "[leases]\n",
    ] {
        assert!(!validator.is_valid(&toml(text)), "{text}");
        // agentpm says the same: a value is refused, a key that is none is named.
        fs::write(room.store().join("config.toml"), text).unwrap();
        let answer = room.run(&["lint"]);
        assert!(answer.code != 0 || answer.stdout.contains("config-key"), "{text}: {answer:?}");
    }
    assert!(schema["properties"]["lease"]["description"].is_string() && !schema.to_string().contains("$schema=\""));
}

#[test]
fn roles_fit_their_schema_and_mistakes_do_not() {
    let validator = validator("roles");
    let room = Sandbox::new();
    for text in [
        "agents: {}\n",
        "agents:\n  ada: {perms: [admin], precedence: 50}\nroles:\n  reviewer: {perms: [verify, ship]}\n",
    ] {
        fits(&validator, &yaml(text), text);
        fs::write(room.store().join("roles.yml"), text).unwrap();
        assert_eq!(room.run(&["lint"]).code, 0);
    }
    for text in [
        "agent: {}\n",
        "agents: [ada]\n",
        "agents: {ada: {perm: [admin]}}\n",
        "agents: {ada: {perms: admin}}\n",
        "agents: {ada: {perms: [[x]]}}\n",
        "roles: {x: {precedence: high}}\n",
    ] {
        assert!(!validator.is_valid(&yaml(text)), "{text}");
        fs::write(room.store().join("roles.yml"), text).unwrap();
        assert_ne!(room.run(&["lint"]).code, 0, "{text}");
    }
}

#[test]
fn the_list_of_schemas_names_what_can_be_printed() {
    let room = Sandbox::nothing();
    let names = room.run(&["schema"]).data();
    for name in names["schemas"].as_array().unwrap() {
        assert!(!room.run(&["schema", name.as_str().unwrap()]).data().is_null(), "{name}");
    }
    for name in ["task-file", "task", "config", "roles", "plan", "batch"] {
        assert!(names["schemas"].as_array().unwrap().contains(&json!(name)), "{names}");
    }
}
