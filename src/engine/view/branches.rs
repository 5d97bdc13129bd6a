//! Reads the tasks of other branches from git, without a checkout.
//!
//! Guarantees that no object is read twice: facts are cached by object name for later commands. Shards, folders and logs are
//! read only if they differ from the commit checked out here, and only for a requested task. Unreadable objects are skipped and
//! counted.
//! Leaves to others: how a task on another branch affects this one (`other_branches`).

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use crate::engine::context::Workspace;
use crate::env::Env;
use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Error, Result};
use crate::git::{Change, Item, Mode, Objects, Oid, Repo};
use crate::model::event::Entry;
use crate::model::id::{Id, is_shard_part};
use crate::rules::fold;
use crate::store::archive::Place;
use crate::store::facts::{Facts, Name, NewFacts, Shards, State, Tip};
use crate::store::layout::{ARCHIVE, LOG, TASKS};
use crate::store::log::Log;

/// The prefix of the references to a remote's branches, floor and list as they were last fetched. Remote-tracking branches are
/// left to the user, since `git push --force-with-lease` compares with them.
pub(crate) const SEEN: &str = "refs/agentpm/remotes/";

/// The prefix of the references to a remote's branches as they were last fetched.
fn refs_seen(remote: &str) -> String {
    format!("{SEEN}{remote}/heads/")
}

/// The commit of a remote's branch as it was last fetched.
pub(crate) fn branch_seen(objects: &Objects, remote: &str, branch: &str) -> Option<Oid> {
    objects.reference(&format!("{}{branch}", refs_seen(remote)))
}

/// Maximum number of branches in a warning.
const NAMED: usize = 5;
/// A day in seconds.
const DAY: i64 = 86_400;

/// The branches that the settings include, with the facts known about them.
pub(crate) struct Branches {
    pub(super) reading: ObjectReader,
    pub(super) facts: Facts,
    pub(super) news: NewFacts,
    /// Branches with an object that could not be read.
    incomplete: BTreeSet<String>,
    /// Why missing objects could not be fetched.
    failure: Option<Error>,
    /// The tree of tasks checked out here.
    here: Option<Name>,
    /// The trees of tasks of other branches, with these branches.
    trees: Vec<(Name, Vec<String>)>,
    /// The archives of other branches that are not the same here, with these branches.
    pub(super) archives: Vec<(Name, Vec<String>)>,
    /// Facts that this command read, by the names of the objects.
    read_trees: HashMap<Name, Shards>,
    /// The contents of the folders of the fan-out that this command read; `None` for an unreadable one.
    read_folders: HashMap<Name, Option<String>>,
    /// The numbers of the cached trees and of their bases.
    numbers: HashMap<Name, (i64, i64)>,
    /// The positions of cached trees by their numbers, and by the numbers of their bases.
    by_number: HashMap<i64, usize>,
    by_base: HashMap<i64, Vec<(i64, usize)>>,
    read_logs: HashMap<Name, Option<Name>>,
    read_states: HashMap<Name, State>,
    /// Where the tasks stand in archives; `None` for an unreadable one.
    pub(super) read_archives: HashMap<Name, Option<Rc<[Place]>>>,
    /// The archive that was read last.
    pub(super) last_archive: Option<(Name, Vec<u8>)>,
    /// The tasks of each requested shard whose folders differ from those here.
    by_shard: HashMap<String, Differing>,
}

/// Tasks with their folders on other branches, and the positions of the trees that contain them.
type Differing = HashMap<Id, BTreeMap<Name, Vec<usize>>>;

/// Opens the repository for the first object, and counts what is read.
pub(super) struct ObjectReader {
    repo: Repo,
    /// Set if objects that a partial clone lacks are to be fetched.
    env: Option<Env>,
    objects: OnceCell<Objects>,
    commits: usize,
    trees: usize,
    logs: usize,
    unreadable: usize,
}

impl ObjectReader {
    pub(super) fn objects(&self) -> Result<&Objects> {
        if self.objects.get().is_none() {
            let opened = self.env.as_ref().map_or_else(|| self.repo.objects(), |env| self.repo.objects_with(env));
            let _ = self.objects.set(opened?);
        }
        self.objects.get().ok_or_else(|| Error::state("the repository was not opened"))
    }

    /// Counts a failure and treats the object as missing, so that a broken branch does not hide the others.
    pub(super) fn tolerate<T>(&mut self, read: Result<T>) -> Option<T> {
        read.map_err(|e| {
            self.unreadable += 1;
            tracing::debug!(error = %e, "an object of another branch could not be read");
        })
        .ok()
    }

    pub(super) fn items(&mut self, tree: &str) -> Option<BTreeMap<String, Item>> {
        self.trees += 1;
        let read = tree.parse().and_then(|oid| self.objects()?.items(oid));
        self.tolerate(read)
    }
}

impl Branches {
    /// Lists the branches and opens the trees that are not cached. With `fetches`, objects that a partial clone lacks are
    /// fetched.
    ///
    /// Errors: `ERR_GIT` if the format of references or objects is unknown, `ERR_IO` if they cannot be read.
    pub fn open(ws: &Workspace, repo: &Repo, fetches: bool) -> Result<Self> {
        let tips = repo.tips()?;
        let facts = Facts::at(facts_path(ws), ws.env.boot());
        let reading = ObjectReader {
            repo: repo.clone(),
            env: fetches.then(|| ws.env.fork()),
            objects: OnceCell::new(),
            commits: 0,
            trees: 0,
            logs: 0,
            unreadable: 0,
        };
        let mut branches = Branches {
            reading,
            facts,
            news: NewFacts::default(),
            incomplete: BTreeSet::new(),
            failure: None,
            here: None,
            trees: Vec::new(),
            archives: Vec::new(),
            read_trees: HashMap::new(),
            read_folders: HashMap::new(),
            numbers: HashMap::new(),
            by_number: HashMap::new(),
            by_base: HashMap::new(),
            read_logs: HashMap::new(),
            read_states: HashMap::new(),
            read_archives: HashMap::new(),
            last_archive: None,
            by_shard: HashMap::new(),
        };
        let settings = &ws.settings.branches;
        // Branches of the confirming remote are always included: a lease was granted with their state.
        let asked = ws.lease_git_remote().map(refs_seen);
        let counts = |name: &str| match name.starts_with("refs/heads/") {
            true => settings.local,
            false => settings.remote || asked.as_ref().is_some_and(|asked| name.starts_with(asked)),
        };
        let oldest = ws.env.now().millis() / 1_000 - i64::from(settings.active_days) * DAY;
        let folders = [TASKS, ARCHIVE].map(|folder| format!("{}/{folder}", ws.store.name));
        let mut commits = Commits { folders, ..Commits::default() };
        let others: Vec<(&String, &Oid)> =
            tips.branches.iter().filter(|(name, oid)| counts(name) && Some(**oid) != tips.head).collect();
        let compared = tips.head.filter(|_| !others.is_empty());
        let here = compared.map(|head| branches.commit(head, &mut commits)).transpose()?.flatten();
        branches.here = here.as_ref().and_then(|tip| tip.tasks.clone());
        let archives_here = here.and_then(|tip| tip.archives);
        let mut trees: BTreeMap<Name, Vec<String>> = BTreeMap::new();
        let mut archives: BTreeMap<Name, Vec<String>> = BTreeMap::new();
        for (name, oid) in others {
            match branches.commit(*oid, &mut commits)? {
                Some(tip) if tip.seconds >= oldest => {
                    if let Some(tasks) = tip.tasks.filter(|tasks| branches.here.as_ref() != Some(tasks)) {
                        trees.entry(tasks).or_default().push(short(name));
                    }
                    if let Some(tree) = tip.archives.filter(|tree| archives_here.as_ref() != Some(tree)) {
                        archives.entry(tree).or_default().push(short(name));
                    }
                }
                Some(_) => {}
                None => branches.mark_incomplete(&[short(name)]),
            }
        }
        branches.list_archives(archives_here, archives);
        branches.trees = trees.into_iter().collect();
        let all: Vec<Name> = branches.here.iter().chain(branches.trees.iter().map(|(tree, _)| tree)).cloned().collect();
        // The tree here is only compared with those of other branches.
        if !branches.trees.is_empty() {
            let broken: HashSet<Name> = all.into_iter().filter(|tree| !branches.open_tree(tree)).collect();
            let incomplete = branches.trees.iter().filter(|(tree, _)| broken.contains(tree));
            let incomplete: Vec<String> = incomplete.flat_map(|(_, names)| names.iter().cloned()).collect();
            branches.mark_incomplete(&incomplete);
        }
        if fetches && !(branches.trees.is_empty() && branches.archives.is_empty() && branches.incomplete.is_empty()) {
            branches.fetch_logs()?;
        }
        for (place, (tree, _)) in branches.trees.iter().enumerate() {
            if let Some((n, base)) = branches.numbers.get(tree) {
                branches.by_base.entry(*base).or_default().push((*n, place));
                branches.by_number.insert(*n, place);
            }
        }
        Ok(branches)
    }

    /// A commit; `None` if it cannot be read.
    fn commit(&mut self, oid: Oid, seen: &mut Commits) -> Result<Option<Tip>> {
        let name = oid.to_string();
        if let Some(known) = seen.tips.get(&name) {
            return Ok(known.clone());
        }
        let mut found = self.facts.tip(&name);
        if found.is_none() {
            self.reading.commits += 1;
            // Only an unreadable object is tolerated; the caller reports a repository that cannot be opened.
            let read = self.reading.objects()?.commit(oid);
            found = self.reading.tolerate(read).and_then(|commit| {
                let [tasks, archives] =
                    seen.folders.each_ref().map(|path| self.descend(commit.tree, &mut seen.steps, path));
                let name = |oid: Oid| oid.to_string();
                Some(Tip { seconds: commit.seconds, tasks: tasks?.map(name), archives: archives?.map(name) })
            });
            self.news.tips.extend(found.clone().map(|tip| (name.clone(), tip)));
        }
        seen.tips.insert(name, found.clone());
        Ok(found)
    }

    /// The folder at a path below a tree; `None` if a tree cannot be read. Each tree on the way is read once.
    fn descend(&mut self, root: Oid, steps: &mut Steps, path: &str) -> Option<Option<Oid>> {
        let mut tree = root;
        for part in path.split('/') {
            let next = match steps.get(&(tree, part.to_owned())) {
                Some(next) => *next,
                None => {
                    self.reading.trees += 1;
                    let read = self.reading.objects().and_then(|objects| objects.item(tree, part));
                    let item = self.reading.tolerate(read)?;
                    let next = item.filter(|item| item.mode == Mode::Tree).map(|item| item.oid);
                    steps.insert((tree, part.to_owned()), next);
                    next
                }
            };
            match next {
                Some(next) => tree = next,
                None => return Some(None),
            }
        }
        Some(Some(tree))
    }

    /// Reads the shards of a tree of tasks. Returns false if a part is unreadable; then it is not cached.
    fn open_tree(&mut self, tree: &Name) -> bool {
        if let Some(numbers) = self.facts.tree(tree) {
            self.numbers.insert(tree.clone(), numbers);
            return true;
        }
        let Some(items) = self.reading.items(tree) else { return false };
        let (mut shards, mut is_whole) = (Shards::new(), true);
        for (first, item) in items.into_iter().filter(|(name, item)| is_shard_part(name) && item.mode == Mode::Tree) {
            match self.folders(&item.oid.to_string()) {
                Some(folders) => {
                    let inside = folders.lines().filter_map(|line| line.split_once(' '));
                    let inside = inside.filter(|(second, _)| is_shard_part(second));
                    shards.extend(inside.map(|(second, shard)| (format!("{first}/{second}"), shard.to_owned())));
                }
                None => is_whole = false,
            }
        }
        if is_whole {
            self.news.trees.push((tree.clone(), shards.clone()));
        }
        self.read_trees.insert(tree.clone(), shards);
        is_whole
    }

    /// The tasks of a shard whose folder on another branch differs from the one here.
    fn differing(&mut self, shard: &str) -> Differing {
        // Most clones have one branch with a plan: nothing is looked up for it.
        if self.trees.is_empty() {
            return Differing::new();
        }
        let kept = self.facts.shard(shard);
        let here = self.here.as_ref().and_then(|tree| match (self.read_trees.get(tree), self.numbers.get(tree)) {
            (Some(shards), _) => shards.get(shard).cloned(),
            (None, Some((n, base))) => kept.get(n).or_else(|| kept.get(base)).cloned().flatten(),
            (None, None) => None,
        });
        let mut forms: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
        let mut take = |form: Option<&Name>, place: usize| {
            if let Some(form) = form.filter(|form| Some(*form) != here.as_ref()) {
                forms.entry(form.clone()).or_default().push(place);
            }
        };
        for (n, form) in &kept {
            if let Some(place) = self.by_number.get(n) {
                take(form.as_ref(), *place);
            }
        }
        // Most trees equal their base in this shard, and most bases equal the commit checked out.
        for (base, trees) in &self.by_base {
            let form = kept.get(base).and_then(Option::as_ref);
            if form.is_some() && form != here.as_ref() {
                trees.iter().filter(|(n, _)| !kept.contains_key(n)).for_each(|(_, place)| take(form, *place));
            }
        }
        for (place, (tree, _)) in self.trees.iter().enumerate().filter(|_| !self.read_trees.is_empty()) {
            take(self.read_trees.get(tree).and_then(|shards| shards.get(shard)), place);
        }
        let mut differing = Differing::new();
        if forms.is_empty() {
            return differing;
        }
        let here = here.and_then(|form| self.folders(&form)).unwrap_or_default();
        let here: HashSet<&str> = here.lines().collect();
        for (form, places) in forms {
            let Some(folders) = self.folders(&form) else {
                let names: Vec<String> = places.iter().flat_map(|place| self.trees[*place].1.iter().cloned()).collect();
                self.mark_incomplete(&names);
                continue;
            };
            for line in folders.lines().filter(|line| !here.contains(line)) {
                if let Some((id, folder)) = line.split_once(' ')
                    && let Ok(id) = id.parse()
                {
                    differing.entry(id).or_default().entry(folder.to_owned()).or_default().extend(&places);
                }
            }
        }
        differing
    }

    /// The distinct states of a task on other branches whose log differs from the one here, with the branches of each.
    pub fn states(&mut self, id: Id) -> Vec<(Vec<String>, State)> {
        let shard = id.shard();
        if !self.by_shard.contains_key(&shard) {
            let differing = self.differing(&shard);
            self.by_shard.insert(shard.clone(), differing);
        }
        let mut states = self.archived_states(id);
        let Some(folders) = self.by_shard.get_mut(&shard).and_then(|differing| differing.remove(&id)) else {
            return states;
        };
        let mut logs: BTreeMap<Name, Vec<String>> = BTreeMap::new();
        for (folder, places) in &folders {
            let Some(log) = self.log(folder) else { continue };
            let names = places.iter().flat_map(|place| self.trees[*place].1.iter().cloned());
            logs.entry(log).or_default().extend(names);
        }
        // Put back for the next call.
        self.by_shard.entry(shard).or_default().insert(id, folders);
        for (log, mut names) in logs {
            names.sort();
            match self.state(&log, id) {
                Some(state) => states.push((names, state)),
                None => self.mark_incomplete(&names),
            }
        }
        states
    }

    /// The shards or tasks in a folder of the fan-out, one line each with its object; `None` if the tree is unreadable.
    fn folders(&mut self, form: &Name) -> Option<String> {
        if let Some(folders) = self.read_folders.get(form) {
            return folders.clone();
        }
        let folders = self.facts.folders(form).or_else(|| {
            let items = self.reading.items(form)?;
            let belongs = |name: &str| is_shard_part(name) || name.parse::<Id>().is_ok();
            let folders = items.iter().filter(|(name, item)| item.mode == Mode::Tree && belongs(name));
            let text: String = folders.map(|(name, item)| format!("{name} {}\n", item.oid)).collect();
            self.news.folders.push((form.clone(), text.clone()));
            Some(text)
        });
        self.read_folders.insert(form.clone(), folders.clone());
        folders
    }

    /// The log in the folder of a task.
    fn log(&mut self, folder: &Name) -> Option<Name> {
        if let Some(log) = self.read_logs.get(folder) {
            return log.clone();
        }
        let log = match self.facts.log(folder) {
            Some(log) => log,
            None => {
                let items = self.reading.items(folder)?;
                let file = |item: &&Item| matches!(item.mode, Mode::File | Mode::Executable);
                let log = items.get(LOG).filter(file).map(|item| item.oid.to_string());
                self.news.logs.push((folder.clone(), log.clone()));
                log
            }
        };
        self.read_logs.insert(folder.clone(), log.clone());
        log
    }

    /// The state of the task that a log gives.
    fn state(&mut self, log: &Name, id: Id) -> Option<State> {
        self.state_by(log, id, |reading| {
            let read = log.parse().and_then(|oid| reading.objects()?.blob(oid));
            Some(Log::of(&reading.tolerate(read)?).entries)
        })
    }

    /// The state of a task that its events in an object give.
    pub(super) fn state_by(
        &mut self,
        object: &Name,
        id: Id,
        read: impl FnOnce(&mut ObjectReader) -> Option<Vec<Entry>>,
    ) -> Option<State> {
        // The key includes the task, since two folders may contain the same bytes.
        let key = format!("{object} {id}");
        if let Some(state) = self.read_states.get(&key) {
            return Some(state.clone());
        }
        let state = match self.facts.state(&key) {
            Some(state) => state,
            None => {
                self.reading.logs += 1;
                let state = state_of(id, &read(&mut self.reading)?);
                self.news.states.push((key.clone(), state.clone()));
                state
            }
        };
        self.read_states.insert(key, state.clone());
        Some(state)
    }

    /// Fetches the logs that a partial clone lacks and the cache does not cover. The remote is asked once; a log that cannot be
    /// fetched is skipped, and the warning says so.
    fn fetch_logs(&mut self) -> Result<()> {
        let objects = self.reading.objects()?;
        if !objects.is_partial() {
            return Ok(());
        }
        let here = self.here.as_ref().and_then(|tree| tree.parse().ok());
        let mut wanted = Vec::new();
        for (tree, _) in &self.trees {
            let changes = tree.parse().and_then(|tree| objects.changes(here, Some(tree)));
            wanted.extend(changes.unwrap_or_default().into_iter().filter_map(|change| self.unknown_log(&change)));
        }
        let archives = self.archives.iter().filter(|(archive, _)| self.facts.archive(archive).is_none());
        wanted.extend(archives.filter_map(|(archive, _)| archive.parse::<Oid>().ok()));
        // A tree above the logs may have been missing before.
        let failure = objects.fetch_missing(wanted).err().or_else(|| objects.fetch_failure());
        self.failure = failure;
        (self.reading.env, self.reading.objects) = (None, OnceCell::new());
        Ok(())
    }

    /// The changed log between two trees of tasks, unless its state is cached.
    fn unknown_log(&self, change: &Change) -> Option<Oid> {
        let id: Id = change.path.strip_suffix(LOG)?.trim_end_matches('/').rsplit('/').next()?.parse().ok()?;
        let log = change.new?.oid;
        self.facts.state(&format!("{log} {id}")).is_none().then_some(log)
    }

    /// Marks branches as read in part.
    pub(super) fn mark_incomplete(&mut self, branches: &[String]) {
        self.incomplete.extend(branches.iter().cloned());
    }

    /// A warning about branches or objects that could not be read; `None` if all were.
    pub fn warning(&self, store: &str) -> Option<String> {
        let unreadable = self.reading.unreadable;
        let is_partial = || self.reading.objects().is_ok_and(Objects::is_partial);
        match self.incomplete.first() {
            Some(first) if is_partial() => {
                let names: Vec<&str> = self.incomplete.iter().take(NAMED).map(String::as_str).collect();
                let (count, names) = (self.incomplete.len(), names.join(", "));
                let branches =
                    if count == 1 { format!("the branch {names}") } else { format!("{count} branches ({names})") };
                let why = self.failure.as_ref().map_or(String::new(), |e| format!(": {}", e.message));
                let risk = if why.is_empty() { "" } else { "; a task that is taken there may be handed out here" };
                Some(format!(
                    "the plan of {branches} is not all in this partial clone and does not count here{why}{risk}; \
                     git diff --stat HEAD {first} -- {store} fetches it"
                ))
            }
            _ if unreadable > 0 => {
                let objects = if unreadable == 1 { "1 object" } else { &format!("{unreadable} objects") };
                Some(format!("{objects} of other branches could not be read, so those do not count here"))
            }
            _ => None,
        }
    }
}

impl Drop for Branches {
    /// Caches the new facts for later commands.
    fn drop(&mut self) {
        if !self.news.is_empty() {
            self.facts.keep(&self.news);
        }
        tracing::debug!(
            branches = self.trees.iter().map(|(_, names)| names.len()).sum::<usize>(),
            commits = self.reading.commits,
            trees = self.reading.trees,
            logs = self.reading.logs,
            unreadable = self.reading.unreadable,
            opened = self.reading.objects.get().is_some(),
            "looked at other branches"
        );
    }
}

/// The folders that were looked up in trees, by their names.
type Steps = HashMap<(Oid, String), Option<Oid>>;

/// Commits read while the branches are listed.
#[derive(Default)]
struct Commits {
    /// The paths of the folders of tasks and of archives.
    folders: [String; 2],
    tips: HashMap<Name, Option<Tip>>,
    steps: Steps,
}

/// The state of a task that the events of its log give.
pub(crate) fn state_of(id: Id, entries: &[Entry]) -> State {
    let task = fold::fold(id, entries).0;
    let mut seen = HashSet::new();
    State {
        status: task.status,
        since: task.stamps.get("status").map(|stamp| stamp.id),
        owner: task.owner,
        lamport: task.lamport,
        updated_at: task.updated_at,
        heads: task.heads,
        events: entries.iter().map(|e| e.event.id).filter(|id| seen.insert(*id)).collect(),
    }
}

/// The name of a branch for display.
fn short(name: &str) -> String {
    let seen = name.strip_prefix("refs/agentpm/remotes/").and_then(|rest| rest.split_once("/heads/"));
    let plain = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/remotes/"));
    seen.map_or_else(|| plain.unwrap_or(name).to_owned(), |(remote, branch)| format!("{remote}/{branch}"))
}

/// The cache of facts about other branches, shared by all worktrees; `None` if it cannot be written.
pub(crate) fn facts_path(ws: &Workspace) -> Option<PathBuf> {
    let folder = match ws.runtime_is_shared() {
        true => ws.runtime_path.clone(),
        false => ws.index_path()?.parent()?.to_owned(),
    };
    let name = match ws.store.name.as_str() {
        crate::store::layout::STORE => "branches.db".to_owned(),
        other => format!("branches-{}.db", &crate::runtime::records::digest(other)[..8]),
    };
    let writable = Dir::open(&folder).is_ok_and(|dir| dir.is_writable());
    (writable || (ws.runtime_is_shared() && outside::make_dirs(&folder).is_ok())).then(|| folder.join(name))
}
