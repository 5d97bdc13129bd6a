//! Commits the plan: HEAD's tree with the store's folder from the work tree, and nothing else.
//!
//! Guarantees that no event of HEAD is missing, and that each `task.yaml` in the commit is rendered from its log. The user's
//! index and work tree do not change. The user's hooks run, and commits are signed as configured, within a deadline.
//! Leaves to others: bringing the commit together with the upstream (`integrate`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::{Sync, SyncReport, is_executable, refusal};
use crate::engine::commit::write::take_lock;
use crate::engine::context::check_settings::settings;
use crate::engine::view::messages::messages_between;
use crate::engine::view::sparse;
use crate::env::files::{Dir, Kind};
use crate::env::outside;
use crate::error::{Error, Result};
use crate::git::{CommitInfo, Item, Mode, Oid, words};
use crate::model::event::{Entity, Entry};
use crate::model::finding::Rule;
use crate::store::dropped;
use crate::store::entity::read_log;
use crate::store::layout::{LOG, SETTINGS, TOP_FILES, entity_below, home, is_in_archives};
use crate::store::log::{Log, MAX_LOG, absent, union};
use crate::store::project::{redacted, render};

/// Why a settings file cannot be read; `None` for a readable one and for other files.
fn unreadable_settings(below: &str, bytes: &[u8]) -> Option<String> {
    SETTINGS.contains(&below).then(|| settings(below, below, bytes))?.into_iter().find_map(|finding| {
        let line = finding.line.map(|n| format!("line {n}: ")).unwrap_or_default();
        (finding.rule == Rule::ConfigInvalid).then(|| format!("{line}{}", finding.message))
    })
}

/// Maximum size of a committed file other than a log, in bytes.
const MAX_OTHER: u64 = 16 * 1024 * 1024;

impl Sync<'_> {
    /// A commit with the plan of the work tree; `before` itself if nothing changed.
    pub(crate) fn snapshot(&self, before: Oid, dry: bool, report: &mut SyncReport) -> Result<Oid> {
        let old = self.objects.commit(before)?.tree;
        let tree = self.tree_of_plan(old, report)?;
        if tree == old {
            return Ok(before);
        }
        let (before_plan, plan) = (plan_in(self, old)?, plan_in(self, tree)?);
        let changes = self.task_changes(before_plan, plan)?;
        let sent = messages_between(&self.objects, &[before_plan], plan)?;
        let is_compacted = self.is_compacted(before_plan, plan)?;
        let message = crate::engine::sync::summary::message(&changes, sent.len(), is_compacted);
        let message = if dry { message } else { self.ask_hooks(tree, &message)? };
        self.commit_tree(tree, &[before], message.as_bytes(), None)
    }

    /// HEAD's tree with the store's folder from the work tree.
    fn tree_of_plan(&self, old: Oid, report: &mut SyncReport) -> Result<Oid> {
        let ws = self.ws;
        let runtime = ws.runtime_to_write()?;
        // Under the lock, since a command writes several files.
        let lock = take_lock(ws, &runtime, "agentpm sync")?;
        let mut entities: BTreeSet<Entity> = BTreeSet::new();
        let mut changes: BTreeMap<String, Option<Item>> = BTreeMap::new();
        let mut has_all_archives = true;
        for path in self.touched()? {
            let Some(below) = path.strip_prefix(&format!("{}/", ws.store.name)) else { continue };
            match entity_below(below) {
                Some((entity, _)) => drop(entities.insert(entity)),
                None => {
                    self.other_file(&path, below, &mut changes, report)?;
                    has_all_archives &= !is_in_archives(below) || changes.contains_key(&path);
                }
            }
        }
        entities.extend(self.preview.keys().cloned());
        let dropped = dropped::tasks(&ws.store)?;
        for entity in entities {
            let Some((folder, _)) = home(&entity) else { continue };
            let path = |name: &str| ws.store.shown(folder.join(name));
            let mut log = read_log(&ws.store, &entity)?;
            if log.fixed {
                report
                    .warnings
                    .push(format!("{entity} cannot be read whole and was not committed; agentpm lint names it"));
                continue;
            }
            let committed = self.objects.file(old, &path(LOG))?.unwrap_or_default();
            let committed = Log::of(&committed).entries;
            log.entries.extend(self.preview.get(&entity).into_iter().flatten().cloned());
            if log.entries.is_empty() && log.foreign.is_empty() {
                // Missing files are not a deletion: the committed ones stay, unless the task was dropped.
                let at = entity.task().and_then(|id| dropped.get(&id));
                if at.is_some_and(|at| dropped::explains(*at, committed.iter().map(|entry| &entry.event))) {
                    changes.extend([LOG, "task.yaml"].map(|name| (path(name), None)));
                }
                continue;
            }
            // No event that was read may be dropped.
            let more: Vec<Entry> = absent(&log.entries, &committed).cloned().collect();
            let is_archived = log.partial && entity.task().is_some_and(|id| !sparse::has_log(ws, id));
            // Without its archive, the commit would hold the task nowhere.
            if is_archived && !has_all_archives && !self.preview.contains_key(&entity) {
                continue;
            }
            if is_archived && more.is_empty() && !self.preview.contains_key(&entity) {
                changes.extend([LOG, "task.yaml"].map(|name| (path(name), None)));
                continue;
            }
            log.entries.extend(more);
            redacted(&mut log.entries)?;
            let yaml = render(&entity, &log.entries);
            self.write_files(&entity, log.canonical(&[]), yaml, &mut changes)?;
        }
        drop(lock);
        self.objects.write_tree(Some(old), &changes.into_iter().collect::<Vec<_>>())
    }

    /// The plan of a commit with additional events, as unreferenced objects.
    pub(crate) fn plan_with(&self, commit: Oid, more: &BTreeMap<Entity, Vec<Entry>>) -> Result<Option<Oid>> {
        let tree = self.objects.commit(commit)?.tree;
        let mut changes = BTreeMap::new();
        for (entity, entries) in more {
            let Some((folder, _)) = home(entity) else { continue };
            let log = self.objects.file(tree, &self.ws.store.shown(folder.join(LOG)))?.unwrap_or_default();
            let archived = self.log_in(plan_in(self, tree)?, entity)?.entries;
            let lines: String = archived.iter().chain(entries).map(|entry| format!("{}\n", entry.line)).collect();
            let bytes = union(&log, lines.as_bytes());
            let yaml = render(entity, &Log::of(&bytes).entries);
            self.write_files(entity, bytes, yaml, &mut changes)?;
        }
        plan_in(self, self.objects.write_tree(Some(tree), &changes.into_iter().collect::<Vec<_>>())?)
    }

    /// Both files of an entity as objects.
    fn write_files(
        &self,
        entity: &Entity,
        log: Vec<u8>,
        yaml: String,
        changes: &mut BTreeMap<String, Option<Item>>,
    ) -> Result<()> {
        let Some((folder, readable)) = home(entity) else { return Ok(()) };
        for (name, bytes) in [(LOG, log), (readable, yaml.into_bytes())] {
            let oid = self.objects.write_blob(&bytes)?;
            changes.insert(self.ws.store.shown(folder.join(name)), Some(Item { mode: Mode::File, oid }));
        }
        Ok(())
    }

    /// The paths that git's status lists: untracked, or different between HEAD, index and work tree.
    fn status_of(&self, untracked: &str, pathspecs: &[&str]) -> Result<Vec<String>> {
        let options = ["--no-optional-locks", "-c", "status.renames=false", "status", "--porcelain=v1", "-z"];
        let args = [&options[..], &["--no-renames", untracked, "--"], pathspecs].concat();
        let outcome = self.git.call(&args, None, Vec::new())?;
        self.git.text(&args, &outcome)?;
        let entries = outcome.stdout.split(|b| *b == 0).filter(|entry| entry.len() > 3);
        Ok(entries.map(|entry| String::from_utf8_lossy(&entry[3..]).into_owned()).collect())
    }

    /// Paths outside the store that are untracked, or differ between HEAD, index and work tree. Of a folder without tracked
    /// files its own path.
    pub(crate) fn touched_outside(&self) -> Result<Vec<String>> {
        let store = format!(":(top,exclude,literal){}", self.ws.store.name);
        self.status_of("--untracked-files=normal", &[":/", &store])
    }

    /// Paths of the store that are untracked, or differ between HEAD, index and work tree.
    pub(crate) fn touched(&self) -> Result<Vec<String>> {
        let mut paths = self.status_of("--untracked-files=all", &[&self.ws.store.name])?;
        // Git does not report files that it does not compare, but acknowledged events are committed in any case.
        let below = format!("{}/", self.ws.store.name);
        let is_here = |path: &&String| {
            path.strip_prefix(&below).is_some_and(|path| self.ws.store.dir.kind(path).is_ok_and(|kind| kind.is_some()))
        };
        paths.extend(sparse::hidden_paths(self.ws).files().filter(is_here).cloned());
        Ok(paths)
    }

    /// Settings, roles, attributes and archives are committed unchanged. Files that do not belong in a store are not.
    fn other_file(
        &self,
        path: &str,
        below: &str,
        changes: &mut BTreeMap<String, Option<Item>>,
        report: &mut SyncReport,
    ) -> Result<()> {
        let known = TOP_FILES.contains(&below) || is_in_archives(below);
        let dir: &Dir = &self.ws.store.dir;
        let failed = |e: &std::io::Error| Error::io("read", &self.ws.store.path().join(below), e);
        let most = if is_in_archives(below) { MAX_LOG } else { MAX_OTHER };
        match dir.kind(below).map_err(|e| failed(&e))? {
            Some(Kind::File) if known => match dir.read(below, most) {
                // With unreadable settings, a clone that fetches them could not write any more.
                Ok(bytes) if let Some(why) = unreadable_settings(below, &bytes) => {
                    report
                        .warnings
                        .push(format!("{path} was not committed: {why}; correct it, then run agentpm sync again"));
                }
                Ok(bytes) => {
                    let oid = self.objects.write_blob(&bytes)?;
                    changes.insert(path.to_owned(), Some(Item { mode: Mode::File, oid }));
                }
                Err(e) if e.kind() == ErrorKind::FileTooLarge => {
                    report.warnings.push(format!("{path} is larger than {most} bytes and was not committed"))
                }
                Err(e) => return Err(failed(&e)),
            },
            // A removed file of another kind does not belong in the commit.
            None => drop(changes.insert(path.to_owned(), None)),
            // It is reported already.
            _ if self.at_hand.contains(path) => {}
            _ => report.warnings.push(format!("{path} does not belong in a store and was not committed")),
        }
        Ok(())
    }

    /// Runs the user's pre-commit and commit-msg hooks on a separate index. Returns the message that they leave.
    fn ask_hooks(&self, tree: Oid, message: &str) -> Result<String> {
        let names = ["pre-commit", "prepare-commit-msg", "commit-msg"];
        let folder = self.repo.work_dir.join(self.git.ask(&["rev-parse", "--git-path", "hooks"])?);
        let is_there =
            |name: &&str| outside::metadata(&folder.join(name)).is_ok_and(|m| m.is_file() && is_executable(&m));
        let there: Vec<&str> = names.into_iter().filter(is_there).collect();
        if there.is_empty() {
            return Ok(message.to_owned());
        }
        let runtime = self.ws.runtime_to_write()?;
        let place = |tail: &str| -> Result<PathBuf> {
            Ok(runtime.path().join(format!("sync-{}.{tail}", self.ws.env.new_id()?)))
        };
        let (index, text) = (place("index")?, place("message")?);
        let asked = self.ask_each(&there, tree, message, &index, &text);
        // Leftover files are harmless.
        for path in [&index, &text] {
            let _ = outside::remove(path);
        }
        asked
    }

    fn ask_each(
        &self,
        hooks: &[&str],
        tree: Oid,
        message: &str,
        index: &std::path::Path,
        text: &std::path::Path,
    ) -> Result<String> {
        let read_tree = ["read-tree", &tree.to_string()];
        let outcome = self.git.call(&read_tree, Some(index), Vec::new())?;
        self.git.text(&read_tree, &outcome)?;
        outside::write(text, message.as_bytes()).map_err(|e| Error::io("write", text, &e))?;
        let file = text.display().to_string();
        for hook in hooks {
            let mut args = vec!["hook", "run", "--ignore-missing", hook];
            match *hook {
                "commit-msg" => args.extend(["--", &file]),
                "prepare-commit-msg" => args.extend(["--", &file, "message"]),
                _ => {}
            }
            let outcome = self.git.call(&args, Some(index), Vec::new())?;
            if outcome.timed_out || outcome.code != Some(0) {
                let why = match outcome.timed_out {
                    true => "it did not end in time".to_owned(),
                    false => words(&format!("{}\n{}", outcome.stderr, String::from_utf8_lossy(&outcome.stdout))),
                };
                return Err(refusal(
                    format!("your {hook} hook refused the plan's commit: {why}; nothing was changed"),
                    "correct what it names, then agentpm sync",
                ));
            }
        }
        let bytes = outside::read(text, MAX_OTHER).map_err(|e| Error::io("read", text, &e))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes an unreferenced commit, signed if the user's settings say so. Author and encoding are those of the commit `like`.
    pub(crate) fn commit_tree(
        &self,
        tree: Oid,
        parents: &[Oid],
        message: &[u8],
        like: Option<&CommitInfo>,
    ) -> Result<Oid> {
        self.make_commit(tree, parents, message, like, self.signs)
    }

    /// Writes an unsigned commit that is never published.
    pub(crate) fn passing_commit(&self, tree: Oid, parents: &[Oid]) -> Result<Oid> {
        self.make_commit(tree, parents, b"passing\n", None, false)
    }

    fn make_commit(
        &self,
        tree: Oid,
        parents: &[Oid],
        message: &[u8],
        like: Option<&CommitInfo>,
        signed: bool,
    ) -> Result<Oid> {
        let (tree, parents) = (tree.to_string(), parents.iter().map(Oid::to_string).collect::<Vec<_>>());
        // Git does not convert author and message: it only records the configured encoding in the commit.
        let encoding = like.and_then(|like| Some(format!("i18n.commitEncoding={}", like.encoding.as_ref()?)));
        let mut args = encoding.as_ref().map_or_else(Vec::new, |setting| vec!["-c", setting]);
        args.extend(["commit-tree", &tree]);
        if signed {
            args.push("-S");
        }
        for parent in &parents {
            args.extend(["-p", parent]);
        }
        args.extend(["-F", "-"]);
        let vars = like.and_then(|like| author_vars(&like.author)).unwrap_or_default();
        let outcome = self.git.call_with(&args, None, &vars, message.to_vec())?;
        self.git
            .text(&args, &outcome)
            .map_err(|e| {
                let message = format!("the plan's commit could not be made: {}; nothing was changed", e.message);
                refusal(message, "look at git's settings of user.name, user.email and signing, then agentpm sync")
                    .with(*e.details)
            })?
            .parse()
    }
}

fn plan_in(sync: &Sync<'_>, tree: Oid) -> Result<Option<Oid>> {
    let item = sync.objects.item(tree, &sync.ws.store.name)?;
    Ok(item.filter(|item| item.mode == Mode::Tree).map(|item| item.oid))
}

/// The environment that makes git write exactly this author: `Name <mail> seconds offset`, in any encoding.
fn author_vars(author: &[u8]) -> Option<Vec<(&'static str, OsString)>> {
    let at = |sign: u8| author.iter().position(|byte| *byte == sign);
    let (open, close) = (at(b'<')?, at(b'>')?);
    let (name, mail, date) = (author.get(..open)?, author.get(open + 1..close)?, author.get(close + 1..)?);
    let var = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    Some(vec![
        ("GIT_AUTHOR_NAME", var(name.trim_ascii())),
        ("GIT_AUTHOR_EMAIL", var(mail)),
        ("GIT_AUTHOR_DATE", var(&[b"@", date.trim_ascii()].concat())),
    ])
}
