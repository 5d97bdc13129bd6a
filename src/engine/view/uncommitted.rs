//! Files outside the store that are not committed: a task that waits for this one could begin without them.
//!
//! Guarantees a cost that grows with what a task names in its `files`, not with the repository.
//! Leaves to others: the whole work tree, which only git looks at (`engine::sync`).

use std::path::Path;

use super::history;
use crate::engine::context::Workspace;
use crate::env::outside;
use crate::error::Result;
use crate::git::{Mode, Objects, Oid};
use crate::model::overlap::matches;
use crate::model::plain::first_of;

/// Most files of a task that are looked at.
const MAX_FILES: usize = 200;
/// The largest file that is compared, in bytes.
const MAX_SIZE: u64 = 4 * 1024 * 1024;
/// Most files that a warning names.
const NAMED: usize = 3;

/// The warning about files that are not committed; `None` for none. `store` is the store's name.
pub(crate) fn warning(paths: &[String], store: &str) -> Option<String> {
    let named = first_of(paths, NAMED, paths.len());
    match paths.len() {
        0 => None,
        1 => Some(format!("1 file outside {store} is not committed: {named}")),
        n => Some(format!("{n} files outside {store} are not committed: {named}")),
    }
}

/// The warning about files that a task names and that differ from the commit that is checked out. Of a folder or a pattern
/// the committed files are compared; a pattern must begin with a folder.
///
/// Errors: `ERR_GIT` if the commit cannot be read.
pub(crate) fn of_task(ws: &Workspace, patterns: &[String]) -> Result<Option<String>> {
    let Some(repo) = ws.repo.as_ref().filter(|_| !patterns.is_empty()) else { return Ok(None) };
    let objects = history::objects(ws)?;
    let head = objects.head()?.commit.map(|commit| objects.commit(commit)).transpose()?.map(|commit| commit.tree);
    let mut differing = Vec::new();
    let mut left = MAX_FILES;
    for pattern in patterns {
        for (path, committed) in committed(&objects, head, pattern)?.into_iter().take(left) {
            left -= 1;
            if differs(&objects, &repo.work_dir.join(&path), committed)? && !differing.contains(&path) {
                differing.push(path);
            }
        }
    }
    Ok(warning(&differing, &ws.store.name))
}

/// The files of a commit that a pattern names; a path that the commit lacks is a new file.
fn committed(objects: &Objects, head: Option<Oid>, pattern: &str) -> Result<Vec<(String, Option<Oid>)>> {
    let plain = pattern.trim_matches('/');
    let begin =
        plain.find(['*', '?', '[', '\\']).map_or(plain, |at| plain[..at].rsplit_once('/').map_or("", |(dir, _)| dir));
    if begin.is_empty() {
        return Ok(Vec::new());
    }
    let item = head.map(|head| objects.item(head, begin)).transpose()?.flatten();
    Ok(match item {
        Some(item) if item.mode == Mode::Tree => {
            let inside = objects.changes(None, Some(item.oid))?.into_iter();
            let file = |path: String| format!("{begin}/{path}");
            let named = inside.filter_map(|change| Some((file(change.path), change.new?)));
            let named = named.filter(|(path, item)| is_file(item.mode) && matches(pattern, path, false));
            named.take(MAX_FILES).map(|(path, item)| (path, Some(item.oid))).collect()
        }
        Some(item) => is_file(item.mode).then(|| (begin.to_owned(), Some(item.oid))).into_iter().collect(),
        None => vec![(begin.to_owned(), None)],
    })
}

fn is_file(mode: Mode) -> bool {
    matches!(mode, Mode::File | Mode::Executable)
}

/// Whether a file of the work tree is not as it is committed. A folder in place of a new file is not looked at.
fn differs(objects: &Objects, path: &Path, committed: Option<Oid>) -> Result<bool> {
    let found = outside::metadata(path).ok().filter(|found| found.is_file());
    let Some(committed) = committed else { return Ok(found.is_some()) };
    let Some(found) = found else { return Ok(true) };
    if found.len() > MAX_SIZE {
        return Ok(found.len() != objects.size(committed)?);
    }
    let Ok(bytes) = outside::read(path, MAX_SIZE) else { return Ok(true) };
    Ok(objects.name_of(&bytes)? != committed)
}
