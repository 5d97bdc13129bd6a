//! `migrate`, with a format 0 that never existed: its tasks lie in one folder, and their logs have another name.

use std::fs;
use std::path::Path;

use agentpm::engine::{self, Options, Request, migrate_by};
use agentpm::env::Env;
use agentpm::error::{Code, Result};
use agentpm::model::job::Migrate;
use agentpm::store::migrate::{Changes, Files, Step};

use crate::sandbox::{Sandbox, sealed_vars, shard};

/// The step from format 0 to format 1.
const STEP: Step = Step { from: 0, what: "tasks move into folders of two levels", apply: step };

fn step(files: &Files) -> Result<Changes> {
    let mut changes = Changes::new();
    for (path, bytes) in files {
        if let Some((id, name)) = path.strip_prefix("tasks/").and_then(|rest| rest.split_once('/')) {
            let name = if name == "log.jsonl" { "events.jsonl" } else { name };
            changes.insert(format!("tasks/{}/{id}/{name}", shard(id)), Some(bytes.clone()));
            changes.insert(path.clone(), None);
        }
    }
    Ok(changes)
}

/// A committed store of format 0 with one task.
fn old() -> (Sandbox, String) {
    let room = Sandbox::new();
    let id = room.task("from long ago", &[]);
    let (new, old) = (room.task_dir(&id), room.store().join("tasks").join(&id));
    fs::rename(&new, &old).unwrap();
    fs::remove_dir_all(room.store().join("tasks").join(shard(&id).split('/').next().unwrap())).unwrap();
    fs::rename(old.join("events.jsonl"), old.join("log.jsonl")).unwrap();
    fs::write(room.store().join("config.toml"), "# of long ago\nformat = 0\n").unwrap();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "an old plan"]).text();
    (room, id)
}

fn migrate(room: &Sandbox, dry_run: bool) -> Result<agentpm::engine::MigrationReport> {
    let vars = sealed_vars(&room.home()).into_iter();
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_string_lossy().into_owned()));
    let env = Env::new(vars.collect(), room.repo())?;
    let request = Request { agent: Some("ada".into()), ..Request::default() };
    let ws = engine::open(env, Options { request, ..Options::default() })?;
    migrate_by(&ws, &Migrate { dry_run }, &[STEP])
}

fn files(folder: &Path) -> Vec<String> {
    crate::sync::tree(folder).into_keys().filter(|path| !path.contains(".git/")).collect()
}

#[test]
fn a_store_of_an_older_format_is_read_and_not_written() {
    let (room, _) = old();
    let error = room.run(&["task", "create", "--title", "x"]).error("ERR_INVALID_STATE", 4);
    assert!(error["hint"].as_str().unwrap().contains("agentpm migrate"), "{error}");
    assert!(room.finding_codes().contains(&"store-older".to_owned()));
    let error = room.run(&["migrate"]).error("ERR_VALIDATION", 4);
    assert!(error["message"].as_str().unwrap().contains("format 0"), "this version has no such step: {error}");
}

#[test]
fn a_migration_is_one_commit_that_can_be_reverted() {
    let (room, id) = old();
    let before = files(&room.repo());
    let report = migrate(&room, true).unwrap();
    assert_eq!((report.written, report.removed, report.commit.is_none()), (3, 2, true), "{report:?}");
    assert_eq!(files(&room.repo()), before, "a dry run writes nothing");
    fs::write(room.repo().join("mine.txt"), "staged").unwrap();
    room.git(&["add", "mine.txt"]).text();
    let report = migrate(&room, false).unwrap();
    assert_eq!((report.from, report.to, report.steps.len()), (0, 1, 1));
    assert_eq!(report.commit.as_deref(), Some(room.git(&["rev-parse", "HEAD"]).text()));
    assert_eq!(room.git(&["status", "--porcelain"]).text(), "A  mine.txt", "nothing else is in the commit");
    assert_eq!(room.get(&id)["title"], "from long ago");
    assert_eq!(fs::read_to_string(room.store().join("config.toml")).unwrap(), "# of long ago\nformat = 1\n");
    room.is_clean();
    assert!(migrate(&room, false).unwrap().steps.is_empty(), "a second time there is nothing to do");
    room.git(&["rm", "-qf", "mine.txt"]).text();
    room.git(&["revert", "--no-edit", "HEAD"]).text();
    assert_eq!(files(&room.repo()), before);
}

#[test]
fn a_migration_is_refused_where_it_would_be_mixed_with_other_changes() {
    let (room, id) = old();
    fs::write(room.store().join("tasks").join(&id).join("task.yaml"), "title: mine\n").unwrap();
    assert_eq!(migrate(&room, false).unwrap_err().code, Code::Conflict);
    fs::write(room.store().join("config.toml"), "format = 2\n").unwrap();
    assert_eq!(migrate(&room, true).unwrap_err().code, Code::InvalidState, "a newer store");
}
