//! Hand edits within a conflict: a `task.yaml` that git left in conflict where one side was edited and not recorded.
//!
//! Promises: a side is found whole, as git's index holds it or as the driver left it between markers; what a program wrote is no
//! edit. So what a person wrote is not lost where the conflict is settled from the logs.
//! Refuses to know: how an edit is taken in.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::git::{Mode, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::yaml::is_as_written;
use crate::store::edited::{FORM, Readable, among_below, compare, heads};
use crate::store::layout::task_dir;
use crate::store::project::render;
use crate::store::yaml;
use crate::workspace::Workspace;

/// Most commits that are looked through for the one that brought a conflict.
const MAX_LOOK: usize = 500;

/// The versions among these, or between the markers of `bytes`, that hold an edit which the events do not.
pub(super) fn edited_sides(entity: &Entity, entries: &[Entry], bytes: &[u8], versions: &[Vec<u8>]) -> Vec<String> {
    let between = whole_sides(bytes).into_iter().flatten();
    let all = versions.iter().filter_map(|bytes| std::str::from_utf8(bytes).ok()).chain(between);
    let edited = |text: &&str| {
        is_as_written(text) == Some(false)
            && matches!(compare(entity, entries, text.as_bytes()), Readable::Edited(what) if what != FORM)
    };
    let mut found: BTreeSet<String> = all.filter(edited).map(str::to_owned).collect();
    if versions.is_empty() && whole_sides(bytes).is_none() {
        // Nobody knows the versions any more: what stands between the markers is taken with what stands around them.
        let sides = sides_of_lines(bytes);
        found.extend(sides.into_iter().filter(|text| edited(&text.as_str()) && is_foreign(entity, entries, text)));
    }
    found.into_iter().collect()
}

/// The two sides of a conflict, line by line.
fn sides_of_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut sides = [String::new(), String::new()];
    let mut within = None;
    for line in text.split_inclusive('\n') {
        match line.get(..7) {
            Some("<<<<<<<") => within = Some(0),
            Some("=======") if within == Some(0) => within = Some(1),
            Some("|||||||") if within == Some(0) => within = Some(2),
            Some(">>>>>>>") => within = None,
            _ => match within {
                Some(side) => sides.get_mut(side).into_iter().for_each(|side| side.push_str(line)),
                None => sides.iter_mut().for_each(|side| side.push_str(line)),
            },
        }
    }
    sides.into()
}

/// Whether a text holds a line that no program would have written from these events.
fn is_foreign(entity: &Entity, entries: &[Entry], text: &str) -> bool {
    let Some(heads) = yaml::read_value(text).ok().as_ref().and_then(heads) else { return false };
    let written = [render(entity, among_below(entries, &heads)), render(entity, entries)];
    let known: BTreeSet<&str> = written.iter().flat_map(|text| text.lines()).collect();
    let above_foot = text.lines().take_while(|line| *line != "log:");
    above_foot.into_iter().any(|line| !known.contains(line))
}

/// The two sides of a conflict that goes over the whole file, as the driver leaves it.
fn whole_sides(bytes: &[u8]) -> Option<[&str; 2]> {
    let text = std::str::from_utf8(bytes).ok()?;
    let inner = text.strip_prefix("<<<<<<< ")?.split_once('\n')?.1;
    let (ours, rest) = inner.split_once("\n=======\n")?;
    let (theirs, end) = rest.split_once("\n>>>>>>> ")?;
    let one = |side: &str| !side.lines().any(|line| line.starts_with("<<<<<<< ") || line.starts_with("======="));
    (end.trim_end().lines().count() <= 1 && one(ours) && one(theirs))
        .then(|| [&inner[..ours.len() + 1], &rest[..theirs.len() + 1]])
}

impl Workspace {
    /// As [`edited_sides`], for a task whose file is in conflict now.
    ///
    /// Errors: `ERR_GIT` where git's index cannot be read.
    pub(in crate::workspace) fn edits_in_conflict(
        &self,
        id: Id,
        entries: &[Entry],
        bytes: &[u8],
    ) -> Result<Vec<String>> {
        let mut versions = Vec::new();
        if let Some(objects) = self.repo.as_ref().and_then(|repo| repo.objects_with(&self.env).ok()) {
            let folder = self.store.shown(task_dir(id));
            for (path, stage, item) in objects.index_below(&folder)? {
                if stage != 0 && path.ends_with("/task.yaml") && matches!(item.mode, Mode::File | Mode::Executable) {
                    versions.push(objects.blob(item.oid)?);
                }
            }
        }
        if versions.is_empty() {
            versions = self.merged_versions(id, bytes).unwrap_or_default();
        }
        Ok(edited_sides(&Entity::Task(id), entries, bytes, &versions))
    }

    /// The versions that the commit brought together which holds a file as it is now, with its markers.
    fn merged_versions(&self, id: Id, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut versions = Vec::new();
        let Some(repo) = &self.repo else { return Ok(versions) };
        let objects = repo.objects_with(&self.env)?;
        let (Some(head), name) = (objects.head()?.commit, objects.name_of(bytes)?) else { return Ok(versions) };
        let path = self.store.shown(task_dir(id).join("task.yaml"));
        let item = |commit: Oid| objects.item(objects.commit(commit)?.tree, &path);
        for commit in objects.walk(&[head], &[], MAX_LOOK)? {
            let parents = objects.commit(commit)?.parents;
            if item(commit)?.map(|item| item.oid) != Some(name) || parents.len() < 2 {
                continue;
            }
            for parent in parents {
                if let Some(old) = item(parent)?.filter(|old| old.oid != name) {
                    versions.push(objects.blob(old.oid)?);
                }
            }
        }
        Ok(versions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_of_a_whole_conflict_are_found_and_no_others() {
        let whole = "<<<<<<< ours\na: 1\nb: 2\n=======\na: 2\n>>>>>>> theirs\n";
        assert_eq!(whole_sides(whole.as_bytes()), Some(["a: 1\nb: 2\n", "a: 2\n"]));
        for other in ["a: 0\n<<<<<<< ours\na: 1\n=======\na: 2\n>>>>>>> theirs\n", &format!("{whole}c: 3\n"), "a: 1\n"]
        {
            assert_eq!(whole_sides(other.as_bytes()), None, "{other}");
        }
    }
}
