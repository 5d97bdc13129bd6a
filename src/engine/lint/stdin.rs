//! `lint --stdin`: the text of one file as an editor holds it, judged as if it stood there.
//!
//! Guarantees: the text is held against the log on disk and nothing is written; a file outside of a store has no findings;
//! settings that cannot be read hold up no other file.
//! Leaves to others: what follows from several tasks, which the whole `lint` reports.

use std::path::{Path, PathBuf};

use super::invalid_paths::{in_archive, misplaced};
use super::lines::repeats_log_finding;
use super::rewritten::rewritten;
use super::staged::{is_place_of_new, understood};
use super::{FileAndLog, LintReport, line_of, refusals};
use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::commit::hand_edits::{dry_run, new_files, record};
use crate::engine::context::Workspace;
use crate::engine::context::check_settings::settings;
use crate::engine::context::open::{Options, severities, store_around};
use crate::engine::repair::look_after_git;
use crate::engine::view::history::Place;
use crate::env::{Env, files};
use crate::error::{Code, Error, Result};
use crate::model::event::Entity;
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::store::entity::read_log;
use crate::store::layout::{LOCAL, LOG, Store, TASKS, entity_below, home, is_archive};
use crate::store::log::Log;
use crate::store::place::not_text;
use crate::store::yaml::{self, line_in};

/// Checks a text as if it stood at `path`, which is absolute or below the current folder. `None` where no store is around it.
///
/// Errors: `ERR_GIT` where the repository cannot be read, `ERR_NO_STORE` where a store is named that is not there, `ERR_IO`.
pub fn lint_text(env: &Env, options: &Options, path: &Path, text: &[u8]) -> Result<Option<LintReport>> {
    let path = real(&env.cwd().join(path));
    let folder = path.ancestors().skip(1).find(|folder| files::metadata(folder).is_ok_and(|m| m.is_dir()));
    let Some(store) = folder.map(|folder| store_around(env, options, folder)).transpose()?.flatten() else {
        return Ok(None);
    };
    let below = path.strip_prefix(real(store.path())).ok().and_then(Path::to_str);
    let named = Options { store: Some(store.path().to_owned()), ..options.clone() };
    // Settings that cannot be read are named where they are judged.
    let opened = Workspace::opened_with(env.fork(), named, look_after_git).ok();
    let lineage = opened.as_ref().map_or_else(|| Lineage::new(env, None, &store.name), record::lineage);
    let mut findings = below.map(|below| judge(&store, &lineage, below, text)).transpose()?.unwrap_or_default();
    if refusals::any(&findings)
        && let Some(dry_run) = opened.as_ref().and_then(dry_run::start)
    {
        findings = refusals::add_refusals(&dry_run, findings, &|_| Some(text.to_vec()));
    }
    Ok(Some(LintReport::of(findings, usize::from(below.is_some()), &severities(env, &store))))
}

/// A path without links and dots, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let Some((place, folder)) = path.ancestors().find_map(|place| Some((place, files::canonical(place).ok()?))) else {
        return path.to_owned();
    };
    path.strip_prefix(place)
        .map_or(folder.clone(), |rest| if rest == Path::new("") { folder.clone() } else { folder.join(rest) })
}

fn judge(store: &Store, lineage: &Lineage<'_>, below: &str, text: &[u8]) -> Result<Vec<Finding>> {
    let path = store.shown(below);
    if let Some((entity, is_log)) = entity_below(below) {
        let of_task = |finding: Finding| match &entity {
            Entity::Task(id) => finding.task(*id),
            _ => finding,
        };
        let found =
            if is_log { log(store, &entity, &path, text)? } else { file(store, lineage, &entity, &path, text)? };
        return Ok(found.into_iter().map(of_task).collect());
    }
    let odd = |what: &str| vec![Finding::new(Rule::OddFile, what).at(&path, None)];
    Ok(match below.split('/').collect::<Vec<_>>()[..] {
        ["config.toml" | "roles.yml"] => settings(&path, below, text),
        [".gitattributes" | ".gitignore"] | [LOCAL, ..] => Vec::new(),
        _ if is_archive(below) => in_archive(&path, text),
        [TASKS, .., id, LOG] if let Ok(id) = id.parse() => {
            vec![misplaced(&store.name, id, path, "a task in the folder of others")]
        }
        _ if new_files::is_yaml(Path::new(below)) && is_place_of_new(below) => match new_file(store, &path, None, text)
        {
            Some(finding) => vec![finding],
            None => odd("a file that does not belong here"),
        },
        _ => odd("a file that does not belong here"),
    })
}

/// The findings of the text of a readable file, and of its task where the file shows it.
fn file(store: &Store, lineage: &Lineage<'_>, entity: &Entity, path: &str, text: &[u8]) -> Result<Vec<Finding>> {
    let on_disk = read_log(store, entity)?;
    if on_disk.entries.is_empty() {
        let new = match entity {
            Entity::Task(id) => new_file(store, path, Some(*id), text),
            _ => None,
        };
        return Ok(new.or_else(|| unreadable(path, text)).into_iter().collect());
    }
    let shown = String::from_utf8_lossy(text);
    let log_path = home(entity).map(|(folder, _)| store.shown(folder.join(LOG))).unwrap_or_default();
    let understood = understood(&store.name, entity, &log_path, on_disk);
    let file_and_log = FileAndLog {
        place: Place::WorkTree,
        path: path.to_owned(),
        entity,
        entries: understood.entries(),
        bytes: Some(text),
    };
    let mut found = file_and_log.findings(lineage);
    found.retain(|found| !repeats_log_finding(found, &understood.findings));
    let own = understood.findings.iter().filter(|finding| finding.path.as_deref() == Some(path)).cloned();
    let own = own.map(|mut finding| {
        finding.line = finding.spot.as_ref().and_then(|spot| line_of(&shown, spot));
        finding
    });
    Ok(own.chain(found).collect())
}

/// The finding for a file that may become a task, or is a copy of one's; `None` for one that was made from events.
fn new_file(store: &Store, path: &str, home: Option<Id>, text: &[u8]) -> Option<Finding> {
    let is_there = |id| read_log(store, &Entity::Task(id)).is_ok_and(|log| !log.entries.is_empty());
    let copy_of = new_files::origin(text, home, &is_there)?;
    Some(new_files::found(path.to_owned(), home, copy_of, text))
}

/// The findings of the text of a log, and the events of the log on disk that it lacks.
fn log(store: &Store, entity: &Entity, path: &str, text: &[u8]) -> Result<Vec<Finding>> {
    let read = Log::read(text).map_err(|e| Error::new(Code::Io, format!("cannot read the text of {path}: {e}")))?;
    let before = read_log(store, entity)?.entries;
    let other = |other: &Entity| Ok(read_log(store, other)?.entries);
    let mut findings = rewritten(entity, path, &before, &read, &other)?;
    if read.entries.is_empty() && read.foreign.is_empty() && findings.is_empty() {
        findings.push(Finding::new(Rule::LogMissing, format!("{entity} has no event in its log")).at(path, None));
    }
    let understood = understood(&store.name, entity, path, read);
    findings.extend(understood.findings.into_iter().filter(|finding| finding.path.as_deref() == Some(path)));
    Ok(findings)
}

/// Why a text is no mapping of YAML.
fn unreadable(path: &str, text: &[u8]) -> Option<Finding> {
    let Ok(text) = std::str::from_utf8(text) else {
        let why = not_text(text);
        let line = line_in(&why);
        return Some(Finding::new(Rule::YamlInvalid, why).at(path, line));
    };
    let why = match yaml::read_value(text) {
        Ok(value) if value.is_object() => return None,
        Ok(_) => "it is no mapping".to_owned(),
        Err(why) => why,
    };
    let line = line_in(&why);
    Some(Finding::new(Rule::YamlInvalid, format!("it cannot be read: {why}")).at(path, line))
}
