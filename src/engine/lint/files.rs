//! Files of a store that belong to no task and no agent: the settings, the archive, and what does not belong there.
//!
//! Guarantees: reports them and changes nothing.
//! Leaves to others: the two files of a task or an agent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use super::Found;
use super::source::{LintSource, Subject};
use super::work_tree::WorkTree;
use crate::engine::commit::hand_edits::new_files;
use crate::engine::context::Workspace;
use crate::engine::context::check_settings::{settings, unasked, unregistered};
use crate::engine::view::sparse;
use crate::env::files::Kind;
use crate::error::{Error, Result};
use crate::git::{Item, Mode, Repo};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, check_agent_name};
use crate::model::task::Status;
use crate::store::archive;
use crate::store::archive_form;
use crate::store::config::MAX_CONFIG;
use crate::store::dropped;
use crate::store::entity::is_odd;
use crate::store::layout::{
    AGENTS, ARCHIVE, DROPPED, LOCAL, LOG, ROLES, TASKS, TOP_FILES, entity_below, home, is_archive, is_in_archives,
    shown, task_dir,
};
use crate::store::yaml;

/// The message about a repository in the store.
const REPOSITORY: &str = "a repository of its own that does not belong here";
/// The message about any other file.
const FILE: &str = "a file that does not belong here";

/// The files that are in no task's and no agent's folder: all of the work tree, those that changed in a commit or a branch.
pub(crate) fn check(source: LintSource<'_>, found: &mut Found) -> Result<()> {
    match source {
        LintSource::WorkTree(tree, _) => {
            let ws = tree.ws;
            found.findings.extend(tracked_local(ws));
            found.findings.extend(tracked_repositories(ws));
            for folder in ["", ARCHIVE, AGENTS] {
                found.findings.extend(misplaced_in(ws, folder.as_ref())?);
            }
            found.findings.extend(lines_of_archives(ws)?);
            found.findings.extend(tree.new_files.iter().map(|new| new_files::new_file_finding(ws, new)));
            let is_new = |path: &Path| tree.new_files.iter().any(|new| new.path.starts_with(path));
            let misplaced = tree.invalid.iter().filter(|(path, _)| !is_temporary(path) && !is_new(path));
            found.findings.extend(misplaced.map(|(path, kind)| misplaced_entry(ws, path, *kind)));
        }
        LintSource::Index(staging, _) => {
            for (below, item) in staging.files() {
                let bytes = || staging.objects.blob(item.oid);
                found.findings.extend(judge_file(source, below, item.mode, &bytes)?);
            }
        }
        LintSource::Branch(branch, _) => {
            for (below, change) in &branch.files {
                let Some(Item { mode, oid }) = change.new else { continue };
                found.findings.extend(judge_file(source, below, mode, &|| branch.objects.blob(oid))?);
            }
        }
        LintSource::Text(text) if text.below.split('/').next() == Some(LOCAL) => {}
        LintSource::Text(text) => {
            found.findings.extend(judge_file(source, text.below, Mode::File, &|| Ok(text.text.to_vec()))?);
        }
    }
    Ok(())
}

/// What is wrong with the settings of the work tree, and rights and agents in `roles.yml` that nothing else names. Of other sources the
/// settings are files like any other.
pub(crate) fn check_settings(tree: &WorkTree<'_>, found: &mut Found) -> Result<()> {
    let ws = tree.ws;
    found.findings.extend(ws.findings.clone());
    let text = String::from_utf8(ws.store.dir.read(ROLES, MAX_CONFIG).unwrap_or_default()).unwrap_or_default();
    if let Ok(roles) = yaml::read(&text) {
        let required: BTreeSet<&str> = found.required_rights.iter().map(String::as_str).collect();
        let path = ws.store.shown(ROLES);
        found.findings.extend(unasked(&path, &text, &roles, &required));
        found.findings.extend(unregistered(&path, &text, &roles, &found.agents));
    }
    Ok(())
}

/// Files next to the two of a task or an agent.
pub(crate) fn check_folder(source: LintSource<'_>, subject: &Subject<'_>, found: &mut Vec<Finding>) -> Result<()> {
    match source {
        LintSource::WorkTree(tree, _) => {
            found.extend(misplaced_in(tree.ws, &home(subject.entity).unwrap_or_default().0)?);
            let task =
                subject.task.as_ref().filter(|task| task.status != Status::Archived && tree.is_archived(task.id));
            found.extend(task.map(|task| {
                let message = format!("it holds task {}, which is {}", task.id, task.status.as_str());
                Finding::new(Rule::ArchiveForm, message).at(&subject.log_path, None)
            }));
        }
        LintSource::Index(..) | LintSource::Branch(..) | LintSource::Text(_) => {}
    }
    Ok(())
}

/// A file outside of the work tree, by its path below the store.
fn judge_file(
    source: LintSource<'_>,
    below: &str,
    mode: Mode,
    bytes: &dyn Fn() -> Result<Vec<u8>>,
) -> Result<Vec<Finding>> {
    let path = shown(source.store(), below);
    let misplaced = |message: &str| vec![Finding::new(Rule::OddFile, message).at(&path, None)];
    match mode {
        Mode::Link => return Ok(misplaced("a symbolic link that does not belong here")),
        Mode::Submodule => return Ok(misplaced(REPOSITORY)),
        Mode::File | Mode::Executable | Mode::Tree => {}
    }
    if entity_below(below).is_some() {
        return Ok(Vec::new());
    }
    if is_settings(below) {
        // `review` compares the settings key by key.
        let is_checked = match source {
            LintSource::Index(..) | LintSource::Text(_) => !below.starts_with(".git"),
            LintSource::WorkTree(..) | LintSource::Branch(..) => false,
        };
        return if is_checked { Ok(settings(&path, below, &bytes()?)) } else { Ok(Vec::new()) };
    }
    if below == DROPPED {
        return Ok(in_record(&path, &bytes()?));
    }
    if is_archive(below) {
        return Ok(in_archive(&path, &bytes()?));
    }
    if new_files::may_become_task(below) {
        let bytes = bytes()?;
        if let Some(copy_of) = new_files::origin(&bytes, None, &|task| source.has(task)) {
            return Ok(vec![new_files::found(path, None, copy_of, &bytes)]);
        }
    }
    Ok(match below.split('/').collect::<Vec<_>>()[..] {
        [TASKS, .., id, LOG | "task.yaml"] if let Ok(id) = id.parse() => {
            vec![in_wrong_folder(source.store(), id, path, "a task in the folder of others")]
        }
        _ => misplaced(FILE),
    })
}

/// The entries of a folder of the work tree that do not belong there.
pub(crate) fn misplaced_in(ws: &Workspace, folder: &Path) -> Result<Vec<Finding>> {
    let dir = &ws.store.dir;
    let top = folder == Path::new("");
    let entries = match if top { dir.list() } else { dir.dir(folder).and_then(|dir| dir.list()) } {
        Ok(entries) => entries,
        // What is in the place of a folder is reported where that is listed.
        Err(e) if e.kind() == ErrorKind::NotFound || is_odd(&e) => Vec::new(),
        Err(e) if e.kind() == ErrorKind::PermissionDenied && folder.starts_with(TASKS) => {
            let finding = Finding::new(Rule::OddFile, format!("it cannot be opened: {e}"));
            return Ok(vec![finding.at(ws.store.shown(folder), None)]);
        }
        Err(e) => return Err(Error::io("list", &ws.store.path().join(folder), &e)),
    };
    let paths = entries.into_iter().map(|(name, kind)| (folder.join(name), kind));
    let misplaced = paths.filter(|(path, kind)| !belongs(&path.display().to_string(), *kind));
    Ok(misplaced.map(|(path, kind)| misplaced_entry(ws, &path, kind)).collect())
}

/// Whether a path below the store is one where an entry of this kind belongs. A link or folder in the place of a task's or an agent's file
/// is reported when that is read.
fn belongs(below: &str, kind: Kind) -> bool {
    let is_agent = || below.strip_prefix("agents/").is_some_and(|name| check_agent_name(name).is_ok());
    match kind {
        Kind::File => {
            is_settings(below) || is_in_archives(below) || is_temporary(below.as_ref()) || entity_below(below).is_some()
        }
        Kind::Dir => matches!(below, TASKS | AGENTS | ARCHIVE | LOCAL) || is_agent() || entity_below(below).is_some(),
        Kind::Link | Kind::Other => entity_below(below).is_some(),
    }
}

/// Whether a path below the store is that of a file with settings of agentpm or git.
fn is_settings(below: &str) -> bool {
    TOP_FILES.contains(&below)
}

/// The findings about the lines of all archives.
fn lines_of_archives(ws: &Workspace) -> Result<Vec<Finding>> {
    let failed = |e| Error::io("read", &ws.store.path().join(ARCHIVE), &e);
    let mut findings = Vec::new();
    for (name, kind) in ws.store.dir.dir(ARCHIVE).and_then(|dir| dir.list()).unwrap_or_default() {
        let below = format!("{ARCHIVE}/{name}");
        if kind == Kind::File && is_archive(&below) {
            let found = ws.store.dir.open_file(&below).and_then(archive_form::findings).map_err(failed)?;
            findings.extend(found.into_iter().map(|found| Finding { path: Some(ws.store.shown(&below)), ..found }));
        }
    }
    findings.extend(in_record(&ws.store.shown(DROPPED), dropped::lines(&ws.store)?.join("\n").as_bytes()));
    findings.extend(scattered(ws)?);
    Ok(findings)
}

/// Tasks without a folder that are in several archives.
fn scattered(ws: &Workspace) -> Result<Vec<Finding>> {
    let archived = archive::archived_now(&ws.store)?;
    let mut places: BTreeMap<Id, &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for archive in &archived.archives {
        for id in archive.tasks() {
            if let Some(other) = places.insert(id, &archive.path)
                && !sparse::has_log(ws, id)
            {
                let message = format!("task {id} is in {} too", ws.store.shown(other));
                let found = Finding::new(Rule::ArchiveForm, message).task(id);
                findings.push(found.at(ws.store.shown(&archive.path), None));
            }
        }
    }
    Ok(findings)
}

/// Runtime state in the store that git tracks: it came with a commit, and is not opened.
fn tracked_local(ws: &Workspace) -> Option<Finding> {
    let path = ws.store.shown(LOCAL);
    let repo = ws.repo.as_ref().filter(|_| ws.store.dir.kind(LOCAL).is_ok_and(|kind| kind.is_some()))?;
    let is_tracked = repo.objects().ok()?.is_in_index(&repo.index_in_force(&ws.env), &path).unwrap_or(true);
    let message = "git tracks files of this clone's runtime state";
    is_tracked.then(|| Finding::new(Rule::OddFile, message).at(path, None))
}

/// Entries of git's index for repositories of their own, which need not be in the work tree.
fn tracked_repositories(ws: &Workspace) -> Vec<Finding> {
    let read = |repo: &Repo| {
        repo.objects()?.repositories_in_index(&repo.index_in_force(&ws.env), ws.store.shown("").trim_end_matches('/'))
    };
    // Git itself reports an index that it cannot read.
    let paths = ws.repo.as_ref().and_then(|repo| read(repo).ok()).unwrap_or_default();
    paths.into_iter().map(|path| Finding::new(Rule::OddFile, REPOSITORY).at(path, None)).collect()
}

fn misplaced_entry(ws: &Workspace, path: &Path, kind: Kind) -> Finding {
    let what = match kind {
        Kind::File => "a file",
        Kind::Dir => "a folder",
        Kind::Link => "a symbolic link",
        Kind::Other => "a device, socket or FIFO",
    };
    let (message, shown) = (format!("{what} that does not belong here"), ws.store.shown(path));
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(|name| name.parse::<Id>().ok()) {
        Some(id) if kind == Kind::Dir && path.starts_with(TASKS) => {
            in_wrong_folder(&ws.store.name, id, shown, &message)
        }
        _ => Finding::new(Rule::OddFile, message).at(shown, None),
    }
}

/// The findings about the lines of the record of dropped tasks.
fn in_record(path: &str, bytes: &[u8]) -> Vec<Finding> {
    let text = String::from_utf8_lossy(bytes);
    let odd = text.lines().enumerate().filter(|(_, line)| dropped::read_line(line).is_none());
    odd.map(|(n, _)| Finding::new(Rule::LogLine, "not a record of dropped tasks").at(path, Some(n + 1))).collect()
}

/// The findings about the form of an archive.
fn in_archive(path: &str, bytes: &[u8]) -> Vec<Finding> {
    // Reading from memory does not fail.
    let findings = archive_form::findings(bytes).unwrap_or_default().into_iter();
    findings.map(|found| Finding { path: Some(path.to_owned()), ..found }).collect()
}

/// The finding about a folder with the name of a task, or about a file in it, in a place that is not the task's.
fn in_wrong_folder(store: &str, id: Id, path: String, message: &str) -> Finding {
    let fix = format!("move the folder to {}", shown(store, task_dir(id)));
    Finding { fix: fix.into(), ..Finding::new(Rule::PathMismatch, message).at(path, None) }
}

/// Whether a file is a temporary one of a writer, which may have been killed.
fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(crate::store::project::is_temporary)
}
