//! Files in a store that do not belong there.
//!
//! Guarantees: names it and touches nothing.
//! Leaves to others: what is in the files that do belong there.

use std::io::ErrorKind;
use std::path::Path;

use crate::engine::context::Workspace;
use crate::env::files::Kind;
use crate::error::{Error, Result};
use crate::git::Repo;
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, check_agent_name};
use crate::store::entity::is_odd;
use crate::store::layout::{AGENTS, LOCAL, LOG, TASKS, is_archive, shown, task_dir};
use crate::store::log::{Log, MAX_LOG};

/// The finding for a repository in the store.
pub(crate) const OWN_REPOSITORY: &str = "a repository of its own that does not belong here";

/// Files at the top of the store that do not belong there.
pub(crate) fn odd_at_top(ws: &Workspace) -> Result<Vec<Finding>> {
    let list = |dir: &crate::env::files::Dir| dir.list().map_err(|e| Error::io("list", dir.path(), &e));
    let mut findings = Vec::new();
    for (name, kind) in list(&ws.store.dir)? {
        let fits = match name.as_str() {
            "config.toml" | "roles.yml" | ".gitattributes" | ".gitignore" => kind == Kind::File,
            TASKS | AGENTS | "archive" | LOCAL => kind == Kind::Dir,
            _ => false,
        };
        if !fits && !is_temporary(Path::new(&name)) {
            findings.push(odd(ws, Path::new(&name), kind));
        } else if name == "archive" {
            findings.extend(odd_in_archive(ws)?);
        }
    }
    Ok(findings)
}

/// Files in the archive that do not belong there, and invalid lines in the others.
fn odd_in_archive(ws: &Workspace) -> Result<Vec<Finding>> {
    let failed = |e: std::io::Error| Error::io("read", &ws.store.path().join("archive"), &e);
    let mut findings = Vec::new();
    for (name, kind) in ws.store.dir.dir("archive").and_then(|dir| dir.list()).map_err(failed)? {
        let below = format!("archive/{name}");
        if kind == Kind::File && is_archive(&below) {
            let bytes = ws.store.dir.read(&below, MAX_LOG).map_err(failed)?;
            findings.extend(in_archive(&ws.store.shown(&below), &bytes));
        } else if !is_temporary(Path::new(&name)) {
            findings.push(odd(ws, Path::new(&below), kind));
        }
    }
    Ok(findings)
}

/// Runtime state in the store that git tracks: it came with a commit, and is never opened.
pub(crate) fn tracked_local(ws: &Workspace) -> Option<Finding> {
    let path = ws.store.shown(LOCAL);
    let repo = ws.repo.as_ref().filter(|_| ws.store.dir.kind(LOCAL).is_ok_and(|kind| kind.is_some()))?;
    let is_tracked = repo.objects().ok()?.is_in_index(&repo.index_in_force(&ws.env), &path).unwrap_or(true);
    let message = "git tracks files of this clone's runtime state";
    is_tracked.then(|| Finding::new(Rule::OddFile, message).at(path, None))
}

/// Entries of git's index that stand for repositories of their own: nothing of them need be in the work tree.
pub(crate) fn tracked_repositories(ws: &Workspace) -> Vec<Finding> {
    let read = |repo: &Repo| {
        repo.objects()?.repositories_in_index(&repo.index_in_force(&ws.env), ws.store.shown("").trim_end_matches('/'))
    };
    // An index that cannot be read is for git to name.
    let paths = ws.repo.as_ref().and_then(|repo| read(repo).ok()).unwrap_or_default();
    paths.into_iter().map(|path| Finding::new(Rule::OddFile, OWN_REPOSITORY).at(path, None)).collect()
}

pub(crate) fn odd_in_task(ws: &Workspace, id: Id) -> Result<Vec<Finding>> {
    let folder = task_dir(id);
    let dir = match ws.store.dir.dir(&folder) {
        Ok(dir) => dir,
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            let finding = Finding::new(Rule::OddFile, format!("it cannot be opened: {e}"));
            return Ok(vec![finding.task(id).at(ws.store.shown(&folder), None)]);
        }
        Err(e) => return Err(Error::io("open", &ws.store.path().join(&folder), &e)),
    };
    let names = dir.list().map_err(|e| Error::io("list", dir.path(), &e))?;
    let strange = names.into_iter().filter(|(name, kind)| {
        let fits = matches!(name.as_str(), LOG | "task.yaml");
        !(fits || (is_temporary(Path::new(name)) && *kind == Kind::File))
    });
    Ok(strange.map(|(name, kind)| odd(ws, &folder.join(name), kind).task(id)).collect())
}

/// Files among the agents, or next to the files of one, that do not belong there.
pub(crate) fn odd_among_agents(ws: &Workspace) -> Result<Vec<Finding>> {
    let list = |path: &Path| match ws.store.dir.dir(path).and_then(|dir| dir.list()) {
        Ok(names) => Ok(names),
        // What stands in the folder's place is named at the top.
        Err(e) if e.kind() == ErrorKind::NotFound || is_odd(&e) => Ok(Vec::new()),
        Err(e) => Err(Error::io("list", &ws.store.path().join(path), &e)),
    };
    let mut findings = Vec::new();
    for (name, kind) in list(Path::new(AGENTS))? {
        let path = Path::new(AGENTS).join(&name);
        if kind == Kind::Dir && check_agent_name(&name).is_ok() {
            for (name, kind) in list(&path)? {
                let fits = matches!(name.as_str(), LOG | "agent.yaml");
                if !(fits || (is_temporary(Path::new(&name)) && kind == Kind::File)) {
                    findings.push(odd(ws, &path.join(name), kind));
                }
            }
        } else if !(is_temporary(Path::new(&name)) && kind == Kind::File) {
            findings.push(odd(ws, &path, kind));
        }
    }
    Ok(findings)
}

pub(crate) fn odd(ws: &Workspace, path: &Path, kind: Kind) -> Finding {
    let what = match kind {
        Kind::File => "a file",
        Kind::Dir => "a folder",
        Kind::Link => "a symbolic link",
        Kind::Other => "a device, socket or FIFO",
    };
    let (message, shown) = (format!("{what} that does not belong here"), ws.store.shown(path));
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(|name| name.parse::<Id>().ok()) {
        Some(id) if kind == Kind::Dir && path.starts_with(TASKS) => misplaced(&ws.store.name, id, shown, &message),
        _ => Finding::new(Rule::OddFile, message).at(shown, None),
    }
}

/// The findings of the lines of an archive.
pub(crate) fn in_archive(path: &str, bytes: &[u8]) -> Vec<Finding> {
    let findings = Log::of(bytes).findings.into_iter();
    findings.map(|found| Finding { path: Some(path.to_owned()), ..found }).collect()
}

/// The finding for a folder that is named after a task, or for a file in it, where that folder is not the task's.
pub(crate) fn misplaced(store: &str, id: Id, path: String, message: &str) -> Finding {
    let fix = format!("move the folder to {}", shown(store, task_dir(id)));
    Finding { fix: fix.into(), ..Finding::new(Rule::PathMismatch, message).at(path, None) }
}

/// What a writer leaves for a moment, or where it was killed.
pub(crate) fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(crate::store::project::is_temporary)
}
