//! Checks out the result of a sync: updates the work tree, git's index and the branch.
//!
//! Guarantees that the user's files are updated as git does it, and dirty files are never overwritten. The plan's logs become the
//! union of incoming and local events. The branch is updated last, and only from its expected commit. The update is recorded
//! before it begins (`resume`), and the next sync finishes an interrupted one.
//! Leaves to others: which commit is checked out (`integrate`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;

use super::{Sync, refusal};
use crate::engine::commit::hand_edits::record;
use crate::engine::commit::write::take_lock;
use crate::engine::view::{last_scan, read, sparse};
use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::git::{Change, Item, Mode, Oid, words};
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::runtime::rendered::Rendered;
use crate::store::archive;
use crate::store::compact;
use crate::store::entity::read_log;
use crate::store::layout::{LOG, entity_below, home};
use crate::store::log::{Log, MAX_LOG, union};
use crate::store::project::sweep_folder;

/// Maximum size of a user's file that is compared, in bytes.
const MAX_MOVED: u64 = 64 * 1024 * 1024;

/// A file that no log gives, which an update writes: what the work tree has, and its new bytes.
struct OtherFile {
    path: String,
    now: Option<Vec<u8>>,
    bytes: Option<Vec<u8>>,
}

impl Sync<'_> {
    /// Checks that the files can be updated to a commit without overwriting anything.
    pub(crate) fn check_move(&self, before: Oid, own: Oid, new: Oid) -> Result<()> {
        if before == new {
            return Ok(());
        }
        self.check_locks()?;
        self.other_files(&self.plan_changes(before, own, new)?, self.plan_of(own)?)?;
        let hidden = self.untracked_conflicts(before, new)?;
        if let Some(first) = hidden.first() {
            return Err(refusal(
                format!(
                    "bringing in the upstream would write over {first}, which git does not know; nothing was changed"
                ),
                "move these files away, then agentpm sync",
            )
            .with(json!({ "paths": hidden })));
        }
        match self.move_user_files(before, new, true)? {
            None => Ok(()),
            Some(why) => Err(refusal(
                format!("merging the upstream would overwrite your uncommitted work: {why}; nothing was changed"),
                "commit or stash those files, then agentpm sync; agentpm sync --no-push cannot help here",
            )),
        }
    }

    /// Untracked files and folders at the paths of new files. Git itself refuses only those that are not ignored.
    fn untracked_conflicts(&self, before: Oid, new: Oid) -> Result<Vec<String>> {
        let changes =
            self.objects.changes(Some(self.objects.commit(before)?.tree), Some(self.objects.commit(new)?.tree))?;
        let mut found = BTreeSet::new();
        let mut index = None;
        for change in changes.iter().filter(|change| change.old.is_none()) {
            let Some(item) = change.new else { continue };
            if change.path.starts_with(&format!("{}/", self.ws.store.name)) {
                continue;
            }
            let target = self.repo.work_dir.join(&change.path);
            let mut at = self.repo.work_dir.clone();
            for part in change.path.split('/') {
                at.push(part);
                let last = at == target;
                let Ok(there) = outside::metadata(&at) else { break };
                if there.is_dir() && !last {
                    continue;
                }
                if index.is_none() {
                    index = Some(self.objects.index_entries()?);
                }
                let shown = at.strip_prefix(&self.repo.work_dir).unwrap_or(&at).display().to_string();
                let below = format!("{shown}/");
                let known = index.as_ref().is_some_and(|index| {
                    index.contains_key(&shown)
                        || index.range(below.clone()..).next().is_some_and(|(p, _)| p.starts_with(&below))
                });
                let same = there.is_file()
                    && outside::read(&at, MAX_MOVED)
                        .is_ok_and(|bytes| self.objects.name_of(&bytes).is_ok_and(|oid| oid == item.oid));
                if !known && !same {
                    found.insert(shown);
                }
                break;
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Updates work tree and index to a commit, and then the branch. Returns false if another process moved the branch.
    pub(crate) fn apply_result(&self, before: Oid, own: Oid, new: Oid) -> Result<bool> {
        if before == new {
            return Ok(true);
        }
        let ws = self.ws;
        let runtime = ws.runtime_to_write()?;
        let _lock = take_lock(ws, &runtime, "agentpm sync")?;
        if self.repo.objects()?.reference(&self.branch) != Some(before) {
            return Ok(false);
        }
        let changes = self.plan_changes(before, own, new)?;
        let others = self.other_files(&changes, self.plan_of(own)?).map_err(|e| self.not_updated(e))?;
        self.begin(before, own, new).map_err(|e| self.not_updated(e))?;
        if let Some(why) = self.move_user_files(before, new, false).map_err(|e| self.not_updated(e))? {
            return Err(self.not_updated(Error::new(Code::Git, why)));
        }
        for other in &others {
            self.write_other_file(other).map_err(|e| self.not_updated(e))?;
        }
        self.write_plan_files(&changes, self.plan_of(own)?, &runtime)?;
        self.write_index(&changes, &runtime).map_err(|e| self.not_updated(e))?;
        // Git does not flush its writes, and a branch must not point at objects that a power loss can remove.
        ws.flush_disks()?;
        if let Err(e) = self.move_branch(before, new) {
            let is_there = self.repo.objects()?.reference(&self.branch) == Some(before);
            return if is_there { Err(self.not_updated(e)) } else { self.clear_state().map(|()| false) };
        }
        self.clear_state()?;
        last_scan::note(ws, true);
        // The user's hook runs as after `git commit`; its failure changes nothing.
        if own != before {
            let _ = self.git.call(&["hook", "run", "--ignore-missing", "post-commit"], None, Vec::new());
        }
        Ok(true)
    }

    fn move_branch(&self, before: Oid, new: Oid) -> Result<()> {
        let (new, old) = (new.to_string(), before.to_string());
        let args = ["update-ref", "-m", "agentpm sync", "--end-of-options", &self.branch, &new, &old];
        let outcome = self.run_with_retry(&args, None, &[])?;
        self.git.text(&args, &outcome).map(|_| ())
    }

    /// The refusal of an update; the next sync goes on with it.
    fn not_updated(&self, e: Error) -> Error {
        let why = e.message.trim_end_matches("; nothing was changed");
        refusal(
            format!("this work tree could not be updated: {why}"),
            match e.details.get("lock").or(e.details.get("paths")) {
                Some(_) => e.hint.unwrap_or_default(),
                None => "nothing is lost; run agentpm sync again".to_owned(),
            },
        )
        .with(*e.details)
    }

    /// Updates the user's files in index and work tree, without those of the plan. Returns git's message if one would be
    /// overwritten.
    fn move_user_files(&self, before: Oid, new: Oid, dry: bool) -> Result<Option<String>> {
        let name = &self.ws.store.name;
        let (from, to) = (self.objects.commit(before)?.tree, self.objects.commit(new)?.tree);
        let plan = self.objects.item(from, name)?;
        // With the same plan in both trees, git does not touch it.
        let to = self.objects.write_tree(Some(to), &[(name.clone(), plan)])?;
        if from == to {
            return Ok(None);
        }
        let refused = match self.read_tree(from, to, dry, None)? {
            None => return Ok(None),
            Some(why) => why,
        };
        // A touched file contains no changes, and a file with its new contents needs no update.
        self.run_with_retry(&["update-index", "-q", "--refresh"], None, &[])?;
        let there = self.already_written(from, to)?;
        let real = self.repo.git_dir.join("index");
        if !dry || there.is_empty() {
            self.write_index_entries(&there, None)?;
            return self.read_tree(from, to, dry, None);
        }
        // The dry run works on a copy of the index, so that a refusal leaves the index unchanged.
        let copy = self.ws.runtime_to_write()?.path().join(format!("sync-{}.index", self.ws.env.new_id()?));
        let copied = outside::read(&real, u64::MAX / 2).and_then(|bytes| outside::write(&copy, &bytes));
        let asked = match copied {
            Ok(()) => {
                self.write_index_entries(&there, Some(&copy)).and_then(|()| self.read_tree(from, to, dry, Some(&copy)))
            }
            Err(_) => Ok(Some(refused)),
        };
        // A leftover copy is harmless.
        let _ = outside::remove(&copy);
        asked
    }

    fn read_tree(&self, from: Oid, to: Oid, dry: bool, index: Option<&Path>) -> Result<Option<String>> {
        let (from, to) = (from.to_string(), to.to_string());
        let mut args = vec!["read-tree", "-m", "-u"];
        if dry {
            args.push("-n");
        }
        args.extend([from.as_str(), to.as_str()]);
        let outcome = self.run_with_retry(&args, index, &[])?;
        match outcome.code {
            Some(0) if !outcome.timed_out => Ok(None),
            _ if outcome.timed_out => Err(self.git.failure(&args, &outcome)),
            _ => Ok(Some(words(&outcome.stderr))),
        }
    }

    /// The user's files that have their new contents while the index has the old entry: those that a killed git wrote.
    fn already_written(&self, from: Oid, to: Oid) -> Result<Vec<(String, Item)>> {
        let index: BTreeMap<String, Item> = self.objects.index_entries()?;
        let is_there = |path: &str, item: Item| {
            let path = self.repo.work_dir.join(path);
            let Ok(found) = outside::metadata(&path) else { return false };
            let mode = if crate::engine::sync::is_executable(&found) { Mode::Executable } else { Mode::File };
            found.is_file()
                && mode == item.mode
                && outside::read(&path, MAX_MOVED)
                    .is_ok_and(|bytes| self.objects.name_of(&bytes).is_ok_and(|oid| oid == item.oid))
        };
        let changes = self.objects.changes(Some(from), Some(to))?;
        let moved = changes.into_iter().filter(|change| index.get(&change.path).copied() == change.old);
        Ok(moved
            .filter_map(|change| change.new.map(|item| (change.path, item)))
            .filter(|(path, item)| is_there(path, *item))
            .collect())
    }

    /// Completes files that a killed git wrote in part: those with a prefix of their new contents. Only for an interrupted
    /// update, since every file was clean before it.
    pub(crate) fn complete_partial_files(&self, before: Oid, new: Oid) -> Result<()> {
        let index = self.objects.index_entries()?;
        let top = Dir::open(&self.repo.work_dir).map_err(|e| Error::io("open", &self.repo.work_dir, &e))?;
        let plan = format!("{}/", self.ws.store.name);
        let trees = [before, new].map(|commit| self.objects.commit(commit).map(|info| info.tree));
        let [from, to] = trees;
        for change in self.objects.changes(Some(from?), Some(to?))? {
            let Some(item) = change.new.filter(|item| matches!(item.mode, Mode::File | Mode::Executable)) else {
                continue;
            };
            // The index may have reached the disk before the file did.
            let entry = index.get(&change.path).copied();
            if change.path.starts_with(&plan) || (entry != change.old && entry != change.new) {
                continue;
            }
            let whole = self.objects.blob(item.oid)?;
            let begun = top.read(&change.path, MAX_MOVED).is_ok_and(|b| b.len() < whole.len() && whole.starts_with(&b));
            if begun {
                let mode = if item.mode == Mode::Executable { 0o777 } else { 0o666 };
                let path = self.repo.work_dir.join(&change.path);
                top.replace(&change.path, &whole, mode).map_err(|e| Error::io("write", &path, &e))?;
            }
        }
        Ok(())
    }

    fn write_index_entries(&self, files: &[(String, Item)], index: Option<&Path>) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let lines = files.iter().map(|(path, item)| format!("{} {}\t{path}\0", item.mode.octal(), item.oid));
        let args = ["update-index", "-z", "--add", "--index-info"];
        let outcome = self.run_with_retry(&args, index, lines.collect::<String>().as_bytes())?;
        self.git.text(&args, &outcome)?;
        self.run_with_retry(&["update-index", "-q", "--refresh"], index, &[]).map(|_| ())
    }

    /// Writes the logs of a commit and what they give, merged with local events written since the snapshot.
    fn write_plan_files(&self, changes: &[Change], own: Option<Oid>, runtime: &Dir) -> Result<()> {
        let store = &self.ws.store;
        let mut logs: BTreeMap<Entity, Option<Oid>> = BTreeMap::new();
        for change in changes {
            let Some((entity, is_log)) = entity_below(&change.path) else { continue };
            let log = logs.entry(entity).or_default();
            if is_log {
                *log = change.new.map(|item| item.oid);
            }
        }
        read::logs_were_written(self.ws);
        for (entity, log) in logs {
            let bytes = log.map(|oid| self.objects.blob(oid)).transpose()?.unwrap_or_default();
            if let (None, Entity::Task(id)) = (log, &entity) {
                self.remove_folder(*id, own)?;
            }
            let more = Log::of(&bytes);
            if !more.foreign.is_empty() || more.fixed {
                self.merge_damaged_lines(&entity, &bytes)?;
            }
            if more.entries.is_empty() && read_log(store, &entity)?.entries.is_empty() {
                continue;
            }
            record::project_unedited(self.ws, &record::lineage(self.ws), &entity, &more.entries, runtime)?;
        }
        // Remove temporary files of a killed sync.
        let folders: BTreeSet<&Path> = changes.iter().filter_map(|change| Path::new(&change.path).parent()).collect();
        folders.into_iter().for_each(|folder| match folder.as_os_str().is_empty() {
            true => sweep_folder(store, ".".as_ref()),
            false => sweep_folder(store, folder),
        });
        Ok(())
    }

    /// Removes the folder of a task that an archive holds, or that was dropped with all the events that `own` has of it.
    fn remove_folder(&self, id: Id, own: Option<Oid>) -> Result<()> {
        let (store, archived) = (&self.ws.store, archive::archived_now(&self.ws.store)?);
        if archived.holds(id) || !archived.dropped.contains_key(&id) {
            return compact::remove_folder(store, id);
        }
        let known = self.log_in(own, &Entity::Task(id))?;
        compact::remove_folder_of(store, id, &known.entries)
    }

    /// Adds the lines of a log that are not events to the log in the work tree, since damaged lines are never dropped.
    fn merge_damaged_lines(&self, entity: &Entity, theirs: &[u8]) -> Result<()> {
        let Some((folder, _)) = home(entity) else { return Ok(()) };
        let store = &self.ws.store;
        let failed = |e: std::io::Error| Error::io("write", &store.path().join(&folder), &e);
        let dir = store.dir.make_dir(&folder).map_err(failed)?;
        let ours = match dir.read(LOG, MAX_LOG) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(failed(e)),
        };
        let both = union(&ours, theirs);
        if both == ours { Ok(()) } else { dir.replace(LOG, &both, 0o666).map_err(failed) }
    }

    /// The changes of the plan's files by an update. What only the commit of this sync had is in the work tree too.
    fn plan_changes(&self, before: Oid, own: Oid, new: Oid) -> Result<Vec<Change>> {
        let (own, new) = (self.plan_of(own)?, self.plan_of(new)?);
        let mut changes = self.objects.changes(self.plan_of(before)?, new)?;
        let known: BTreeSet<String> = changes.iter().map(|change| change.path.clone()).collect();
        let removed = self.objects.changes(own, new)?.into_iter().filter(|change| change.new.is_none());
        changes.extend(removed.filter(|change| !known.contains(&change.path)));
        Ok(changes)
    }

    /// The files that no log gives and that an update writes, with their new bytes. What the work tree has and `own` has not, since it
    /// was changed meanwhile or could not be committed, is merged: the next commit would take the upstream's part back otherwise.
    ///
    /// Errors: `ERR_SYNC` where both changed the same lines.
    fn other_files(&self, changes: &[Change], own: Option<Oid>) -> Result<Vec<OtherFile>> {
        let dir = &self.ws.store.dir;
        let (mut files, mut hidden) = (Vec::new(), None);
        for change in changes.iter().filter(|change| entity_below(&change.path).is_none()) {
            let path = &change.path;
            let new = match change.new {
                None => None,
                Some(Item { mode: Mode::File | Mode::Executable, oid }) => Some(self.objects.blob(oid)?),
                Some(_) => continue,
            };
            let now = match dir.read(path, MAX_LOG) {
                Ok(bytes) => Some(bytes),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
                Err(e) => return Err(Error::io("read", &self.ws.store.path().join(path), &e)),
            };
            let ours = own.map(|tree| self.objects.file(tree, path)).transpose()?.flatten();
            // What a sparse checkout leaves out was not removed.
            let mut is_left_out = || {
                let hidden = hidden.get_or_insert_with(|| sparse::hidden_paths(self.ws));
                hidden.leaves_out(&self.ws.store.shown(path))
            };
            let bytes = match now == ours || now == new || (now.is_none() && is_left_out()) {
                true => new,
                false => self.merge_file(path, [ours, now.clone(), new])?,
            };
            if bytes != now {
                files.push(OtherFile { path: path.clone(), now, bytes });
            }
        }
        Ok(files)
    }

    /// Writes a file, unless it was saved since it was compared.
    fn write_other_file(&self, OtherFile { path, now, bytes }: &OtherFile) -> Result<()> {
        let dir = &self.ws.store.dir;
        let failed = |e: std::io::Error| Error::io("write", &self.ws.store.path().join(path), &e);
        let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
        let is_written = match (now, bytes) {
            (Some(now), Some(bytes)) => dir.replace_unchanged(path, now, bytes, 0o666).map_err(failed)?,
            (None, Some(bytes)) => {
                folder.map(|folder| dir.make_dir(folder)).transpose().map_err(failed)?;
                dir.replace(path, bytes, 0o666).map(|()| true).map_err(failed)?
            }
            (_, None) => dir.remove(path).map(|()| true).map_err(failed)?,
        };
        match is_written {
            true => Ok(()),
            false => {
                Err(refusal(format!("{} was saved meanwhile", self.ws.store.shown(path)), "run agentpm sync again"))
            }
        }
    }

    /// Updates the plan's entries in the user's index. For an unchanged file git also stores its size and time, so that the next
    /// `git status` does not read it.
    fn write_index(&self, changes: &[Change], runtime: &Dir) -> Result<()> {
        let (mut by_name, mut by_file, mut left) = (Vec::new(), Vec::new(), Vec::new());
        let lineage = record::lineage(self.ws);
        for change in changes {
            let path = self.ws.store.shown(&change.path);
            let Some(item) = change.new else {
                by_name.extend_from_slice(format!("0 {}\t{path}\0", self.objects.no_object()).as_bytes());
                continue;
            };
            let same = self
                .ws
                .store
                .dir
                .read(&change.path, crate::store::log::MAX_LOG)
                .is_ok_and(|bytes| self.objects.name_of(&bytes).is_ok_and(|oid| oid == item.oid));
            if same && item.mode == Mode::File {
                by_file.extend_from_slice(path.as_bytes());
                by_file.push(0);
            } else {
                by_name.extend_from_slice(format!("{} {}\t{path}\0", item.mode.octal(), item.oid).as_bytes());
                // The file keeps its edit, so that it still shows the events from before.
                if let Some((entity, false)) = entity_below(&change.path)
                    && let Some(heads) = lineage.base_heads(&entity, &read_log(&self.ws.store, &entity)?.entries)?
                {
                    left.push((entity, Rendered { heads, skipped: Some(item.oid.to_string()) }));
                }
            }
        }
        record::note_rendered(self.ws, runtime, &left)?;
        for (input, args) in [
            (by_name, ["update-index", "-z", "--add", "--index-info"]),
            (by_file, ["update-index", "-z", "--add", "--stdin"]),
        ] {
            if !input.is_empty() {
                let outcome = self.run_with_retry(&args, None, &input)?;
                self.git.text(&args, &outcome)?;
            }
        }
        Ok(())
    }
}
