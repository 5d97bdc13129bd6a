//! `migrate`: rewrites a store of an older format in that of this program, as one commit.
//!
//! Guarantees that nothing else is in the commit, and that it is refused while the plan holds uncommitted changes: a revert of the
//! commit, or a checkout after an interruption, brings the older store back.
//! Leaves to others: what changes between two formats (`store::migrate`).

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::engine::commit::write::take_lock;
use crate::engine::context::Workspace;
use crate::engine::view::{history, read};
use crate::env::files::{Dir, Kind};
use crate::error::{Code, Error, Result};
use crate::model::job::Migrate;
use crate::rules::roles::Verb;
use crate::store::layout::{FORMAT, LOCAL};
use crate::store::log::MAX_LOG;
use crate::store::migrate::{Changes, Files, STEPS, Step, migrated};

/// Deadline for git to commit the migrated plan, with the hooks of the user.
const COMMIT_DEADLINE: Duration = Duration::from_secs(120);

/// What a migration changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MigrationReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The format of the store before.
    pub from: u64,
    /// The format that this program writes.
    pub to: u64,
    /// What each step changes.
    pub steps: Vec<String>,
    /// The number of files that are written.
    pub written: usize,
    /// The number of files that are removed.
    pub removed: usize,
    /// The commit; none if nothing was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// Migrates the store to the format of this program.
///
/// Errors: `ERR_INVALID_STATE` for a newer store, `ERR_VALIDATION` for a format from which no step leads here, `ERR_CONFLICT` while the
/// plan has uncommitted changes, `ERR_GIT`, `ERR_IO`.
pub fn migrate(ws: &Workspace, q: &Migrate) -> Result<MigrationReport> {
    migrate_by(ws, q, STEPS)
}

/// As [`migrate`], by these steps.
///
/// Errors: as [`migrate`].
pub fn migrate_by(ws: &Workspace, q: &Migrate, steps: &[Step]) -> Result<MigrationReport> {
    let from = ws.settings.format;
    if from > FORMAT {
        return Err(ws.other_format());
    }
    let author = ws.author()?;
    let role = if ws.rights.0.is_some() { read::agent_record(ws, &author.agent)?.role } else { None };
    ws.rights.require(&author.agent, role.as_deref(), Verb::Admin)?;
    let report = |taken: &[Step], changes: &Changes| MigrationReport {
        dry_run: q.dry_run,
        from,
        to: FORMAT,
        steps: taken.iter().map(|step| step.what.to_owned()).collect(),
        written: changes.values().filter(|bytes| bytes.is_some()).count(),
        removed: changes.values().filter(|bytes| bytes.is_none()).count(),
        commit: None,
    };
    if from == FORMAT {
        return Ok(report(&[], &Changes::new()));
    }
    if q.dry_run {
        let (taken, changes) = migrated(files_of(ws)?, from, FORMAT, steps)?;
        return Ok(report(&taken, &changes));
    }
    let runtime = ws.runtime_of_any_format()?;
    let lock = take_lock(ws, &runtime, &format!("{} (migrate)", author.agent))?;
    let git = history::repo_around(ws)?.program(&ws.env, COMMIT_DEADLINE)?;
    let plan = ws.store.name.as_str();
    let status = ["status", "--porcelain", "--untracked-files=all", "--", plan];
    let outcome = git.call(&status, None, Vec::new())?;
    if !git.text(&status, &outcome)?.trim().is_empty() {
        return Err(Error::new(
            Code::Conflict,
            format!("{plan} holds changes that are not committed; nothing was changed"),
        )
        .hint(format!("git add {plan} and git commit first: the migration is a commit of its own")));
    }
    let (taken, changes) = migrated(files_of(ws)?, from, FORMAT, steps)?;
    write_all(ws, &changes)?;
    drop(lock);
    let failed =
        |e: Error| e.hint(format!("git checkout -- {plan} and git clean -f -- {plan} bring the older store back"));
    for args in
        [vec!["add", "-A", "--", plan], vec!["commit", "-q", "-m", &message(from, &taken), "--only", "--", plan]]
    {
        let outcome = git.call(&args, None, Vec::new()).map_err(failed)?;
        git.text(&args, &outcome).map_err(failed)?;
    }
    let commit = git.ask(&["rev-parse", "HEAD"])?;
    Ok(MigrationReport { commit: Some(commit), ..report(&taken, &changes) })
}

fn message(from: u64, taken: &[Step]) -> String {
    let steps: String = taken.iter().map(|step| format!("- {}\n", step.what)).collect();
    format!("plan: migrate from format {from} to format {FORMAT}\n\n{steps}")
}

/// All files of the store, without runtime state.
fn files_of(ws: &Workspace) -> Result<Files> {
    let mut files = Files::new();
    collect(&ws.store.dir, "", &mut files)
        .map_err(|e| Error::io("read the files of", ws.store.path(), &e).with(json!({ "store": ws.store.name })))?;
    Ok(files)
}

fn collect(dir: &Dir, prefix: &str, files: &mut Files) -> std::io::Result<()> {
    for (name, kind) in dir.list()? {
        let path = format!("{prefix}{name}");
        match kind {
            Kind::File => drop(files.insert(path, dir.read(&name, MAX_LOG)?)),
            Kind::Dir if path != LOCAL => collect(&dir.dir(&name)?, &format!("{path}/"), files)?,
            // Lint reports what does not belong in a store.
            Kind::Dir | Kind::Link | Kind::Other => {}
        }
    }
    Ok(())
}

fn write_all(ws: &Workspace, changes: &Changes) -> Result<()> {
    let dir = &ws.store.dir;
    for (path, bytes) in changes {
        let failed = |e: std::io::Error| Error::io("write", &ws.store.path().join(path), &e);
        match bytes {
            Some(bytes) => {
                let folder = std::path::Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
                folder.map(|folder| dir.make_dir(folder)).transpose().map_err(failed)?;
                dir.replace(path, bytes, 0o666).map_err(failed)?;
            }
            None => {
                dir.remove(path).map_err(failed)?;
                // Git keeps no empty folders.
                let above = std::path::Path::new(path).ancestors().skip(1);
                above.take_while(|folder| dir.remove_empty(folder).is_ok()).for_each(drop);
            }
        }
    }
    ws.flush_disks()
}
