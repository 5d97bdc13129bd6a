//! `lint --stdin`: the text of one file as an editor holds it, checked as if it were saved.
//!
//! Guarantees: compares the text with the log on disk and writes nothing. A file outside of a store has no findings. Settings that cannot
//! be read do not stop the check of another file.
//! Leaves to others: several tasks together, which the whole `lint` reports.

use std::path::{Path, PathBuf};

use super::source::{LintSource, Subject};
use super::{LintReport, refusals, run};
use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::commit::hand_edits::{dry_run, record};
use crate::engine::context::Workspace;
use crate::engine::context::open::{Options, severities, store_around};
use crate::engine::repair::look_after_git;
use crate::env::{Env, outside};
use crate::error::{Code, Error, Result};
use crate::model::event::Entity;
use crate::store::entity::read_log;
use crate::store::layout::{Store, entity_below};
use crate::store::log::Log;

/// Checks a text as the contents of `path`, which is absolute or below the current folder. `None` if the path is in no store.
///
/// Errors: `ERR_GIT` where the repository cannot be read, `ERR_NO_STORE` where a store is named that is not there, `ERR_IO`.
pub fn lint_text(env: &Env, options: &Options, path: &Path, text: &[u8]) -> Result<Option<LintReport>> {
    let path = real(&env.cwd().join(path));
    let folder = path.ancestors().skip(1).find(|folder| outside::metadata(folder).is_ok_and(|m| m.is_dir()));
    let Some(store) = folder.map(|folder| store_around(env, options, folder)).transpose()?.flatten() else {
        return Ok(None);
    };
    let below = path.strip_prefix(real(store.path())).ok().and_then(Path::to_str);
    let named = Options { store: Some(store.path().to_owned()), ..options.clone() };
    // Settings that cannot be read are findings of their own file.
    let opened = Workspace::opened_with(env.fork(), named, look_after_git).ok();
    let lineage = || opened.as_ref().map_or_else(|| Lineage::new(env, None, &store.name), record::lineage);
    let mut findings = match below {
        Some(below) => run(LintSource::Text(&Text { store: &store, below, text, lineage: lineage() }))?.findings,
        None => Vec::new(),
    };
    if refusals::any(&findings)
        && let Some(dry_run) = opened.as_ref().and_then(dry_run::start)
    {
        findings = refusals::add_refusals(&dry_run, findings, &|_| Some(text.to_vec()));
    }
    Ok(Some(LintReport::of(findings, usize::from(below.is_some()), &severities(env, &store))))
}

/// A path with links and dots resolved, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let Some((place, folder)) = path.ancestors().find_map(|place| Some((place, outside::canonical(place).ok()?)))
    else {
        return path.to_owned();
    };
    path.strip_prefix(place)
        .map_or(folder.clone(), |rest| if rest == Path::new("") { folder.clone() } else { folder.join(rest) })
}

/// A text in the place of a file.
pub(crate) struct Text<'a> {
    pub store: &'a Store,
    /// The path of the file below the store.
    pub below: &'a str,
    pub text: &'a [u8],
    pub lineage: Lineage<'a>,
}

impl Text<'_> {
    /// The task or agent whose file it is, and whether the file is its log.
    pub fn entity(&self) -> Option<(Entity, bool)> {
        entity_below(self.below)
    }

    /// The text, with the other file from disk. The text of a log must still contain the log on disk.
    pub fn subject<'e>(&self, entity: &'e Entity) -> Result<Subject<'e>> {
        let on_disk = read_log(self.store, entity)?;
        if self.entity().is_some_and(|(_, is_log)| is_log) {
            let failed = |e| Error::new(Code::Io, format!("cannot read the text of {}: {e}", self.below));
            let mut subject = Subject::new(&self.store.name, entity, Log::read(self.text).map_err(failed)?);
            subject.has_log = !(subject.is_empty() && on_disk.entries.is_empty());
            subject.before = on_disk;
            return Ok(subject);
        }
        let mut subject = Subject::new(&self.store.name, entity, on_disk);
        subject.yaml = Ok(Some(self.text.to_vec()));
        subject.has_log = entity.task().is_none() || !subject.log.entries.is_empty();
        subject.compares = subject.has_log;
        Ok(subject)
    }
}
