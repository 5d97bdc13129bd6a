//! A plan that the base has and the work tree or the branch has not: it was dropped.
//!
//! Guarantees: a missing plan is reported, whether it was deleted or moved; nothing is reported if the revision has none either.
//! Leaves to others: the contents of the plan.

use super::LintReport;
use crate::env::{Env, outside};
use crate::error::{Code, Error, Result};
use crate::git::{self, Item, Mode, Objects, Oid};
use crate::model::finding::{Finding, Rule};
use crate::model::settings::LintSettings;
use crate::store::layout::STORE;

/// Checks that the plan of a revision is still there. `None` if the revision has none.
///
/// Errors: `ERR_NOT_FOUND` for an unknown revision, `ERR_GIT` where history cannot be read, `ERR_IO`.
pub fn lint_dropped(env: &Env, base: &str) -> Result<Option<LintReport>> {
    let cwd = env.cwd();
    let Some(repo) = git::discover(cwd)? else { return Ok(None) };
    let objects = repo.objects_with(env)?;
    let top = objects.commit(objects.commit_named(base)?)?.tree;
    let here = outside::canonical(cwd).map_err(|e| Error::io("find the folder", cwd, &e))?;
    for folder in here.ancestors().filter_map(|folder| folder.strip_prefix(&repo.work_dir).ok()) {
        let name = folder.join(STORE).display().to_string();
        if objects.item(top, &name)?.is_some_and(|item| item.mode == Mode::Tree) {
            let finding = dropped(base, name, "this work tree");
            return Ok(Some(LintReport::of(vec![finding], 0, &LintSettings::default())));
        }
    }
    Ok(None)
}

/// The report about a link or another kind of file in the place of the store; `None` for any other error. `base` is a revision that
/// may have the plan.
///
/// Errors: as [`lint_dropped`].
pub fn lint_no_folder(env: &Env, base: Option<&str>, e: &Error) -> Result<Option<LintReport>> {
    let Some(name) = e.details["store"].as_str().filter(|_| e.code == Code::Corrupt) else { return Ok(None) };
    let mut findings = vec![no_folder(name)];
    let dropped = base.map(|base| lint_dropped(env, base)).transpose()?.flatten();
    findings.extend(dropped.into_iter().flat_map(|report| report.findings));
    Ok(Some(LintReport::of(findings, 0, &LintSettings::default())))
}

fn dropped(base: &str, name: String, place: &str) -> Finding {
    let message = format!("the plan is dropped: {base} has it in {name}, and {place} has none there");
    let fix =
        "bring the folder back from git history, where it was; a plan that is done with is archived, task by task";
    Finding { fix: fix.into(), ..Finding::new(Rule::LogRewritten, message).at(name, None) }
}

fn no_folder(name: &str) -> Finding {
    let message = "a link or another kind of file is in the place of the plan's folder";
    Finding::new(Rule::OddFile, message).at(name, None)
}

/// The finding for a branch that lost the plan of its base; none if it has the plan, or the base had none.
///
/// Errors: `ERR_GIT` where a commit cannot be read.
pub(crate) fn dropped_between(objects: &Objects, name: &str, base: Oid, head: Oid) -> Result<Vec<Finding>> {
    let item = |commit: Oid| objects.item(objects.commit(commit)?.tree, name);
    let is_folder = |item: Option<Item>| item.is_some_and(|item| item.mode == Mode::Tree);
    let there = item(head)?;
    if is_folder(there) || !is_folder(item(base)?) {
        return Ok(Vec::new());
    }
    let stands = there.map(|_| no_folder(name));
    Ok(stands.into_iter().chain([dropped(&base.short(), name.to_owned(), &head.short())]).collect())
}
