//! The versions of a `task.yaml` in git's index and history, and the origin of each of its values.
//!
//! Guarantees that a value counts as a hand edit only if it comes neither from the events of the oldest version that contains
//! it, nor from a version that git merged into that one. A value of unknown origin is treated as stale and reported.
//! Leaves to others: how an edit is recorded (`record`).

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::Value;

use crate::engine::view::history::Place;
use crate::env::Env;
use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Error, Result};
use crate::git::{Change, Item, Mode, Objects, Oid, Repo};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::yaml::render_task;
use crate::rules::decide::edit::Doc;
use crate::rules::fold::Folding;
use crate::rules::register::heads_of;
use crate::runtime::journals;
use crate::runtime::rendered::{self, Rendered};
use crate::store::edited::{
    Part, among_below, differing_parts, fields_named, is_conflicted, parse, render_doc, sides, value_of,
};
use crate::store::layout::{LOG, entity_below, home, shown};
use crate::store::log::{Log, MAX_LOG};

/// Maximum number of versions searched for the origin of a value.
pub(crate) const MAX_VERSIONS: usize = 2_000;
/// Maximum length of a log, in events, whose earlier states are all compared with a value of unknown origin.
const MAX_STATES: usize = 200;

/// The origin of a value.
#[derive(Default)]
pub(crate) enum Origin {
    /// Rendered from events.
    Events,
    /// Lines of several versions: merged by git, or written by a person.
    Mixed,
    /// Written by a person who had seen the events up to these heads.
    Person(Vec<Id>),
    /// Not known to this clone.
    #[default]
    Unknown,
}

/// A `task.yaml` with its log, in git's index or in a commit.
pub(crate) struct Version {
    /// Its parsed contents: two sides if it is in conflict, none if it cannot be parsed.
    pub docs: Vec<Doc>,
    pub text: Vec<u8>,
    /// What its log renders.
    pub rendered: Doc,
    pub entries: Vec<Entry>,
    heads: Vec<Id>,
    /// The names of the objects with its text.
    files: Vec<Oid>,
}

impl Version {
    fn of(entity: &Entity, text: Vec<u8>, files: Vec<Oid>, entries: Vec<Entry>) -> Self {
        let shown = String::from_utf8_lossy(&text);
        let docs = match is_conflicted(&shown) {
            true => sides(&shown).iter().filter_map(|side| parse(side).ok()).collect(),
            false => parse(&shown).into_iter().collect(),
        };
        let (rendered, heads) = (render_doc(entity, &entries), heads_of(&entries));
        Version { docs, rendered, heads, files, text, entries }
    }

    pub fn holds(&self, part: &Part, value: Option<&Value>) -> bool {
        self.docs.iter().any(|doc| value_of(doc, part).as_ref() == value)
    }

    fn explains(&self, part: &Part, value: Option<&Value>) -> bool {
        value_of(&self.rendered, part).as_ref() == value
    }

    fn has_events(&self, ids: &[Id]) -> bool {
        ids.iter().all(|id| self.has_event(id))
    }

    fn has_event(&self, id: &Id) -> bool {
        self.entries.iter().any(|entry| entry.event.id == *id)
    }
}

/// What a file in the work tree is compared with.
#[derive(Default)]
pub(crate) struct Base {
    /// The events it was last rendered from, and the rendered text; `None` if unknown, or if git wrote the file since.
    recorded: Option<(Vec<Id>, Doc)>,
    index: Option<Rc<Version>>,
}

/// The objects of a `task.yaml`, several if it is in conflict, and of its log.
type Files = (Vec<Oid>, Option<Oid>);

/// One search for the origin of a value.
struct Search<'s> {
    entity: &'s Entity,
    part: &'s Part,
    value: Option<&'s Value>,
    seen: HashSet<Place>,
}

/// The versions of the `task.yaml` files of a store.
pub(crate) struct Lineage<'a> {
    env: &'a Env,
    repo: Option<&'a Repo>,
    store: String,
    /// The folder of the record of rendered files.
    own: Option<PathBuf>,
    /// The folder of the journal.
    runtime: Option<PathBuf>,
    objects: OnceCell<Option<Objects>>,
    rendered: OnceCell<HashMap<String, Rendered>>,
    merging: OnceCell<Vec<Oid>>,
    versions: RefCell<HashMap<Files, Rc<Version>>>,
}

impl<'a> Lineage<'a> {
    /// For the store with this name, from git alone. Nothing is read yet.
    pub fn new(env: &'a Env, repo: Option<&'a Repo>, store: &str) -> Self {
        Lineage {
            env,
            repo,
            store: store.to_owned(),
            own: None,
            runtime: None,
            objects: OnceCell::new(),
            rendered: OnceCell::new(),
            merging: OnceCell::new(),
            versions: RefCell::default(),
        }
    }

    /// Adds agentpm's records: `own` is the runtime folder of this worktree, `runtime` contains the journal.
    pub fn with_records(self, own: PathBuf, runtime: PathBuf) -> Self {
        Lineage { own: Some(own), runtime: Some(runtime), ..self }
    }

    pub(crate) fn base(&self, entity: &Entity, found: &[Entry]) -> Result<Base> {
        let index = self.version(entity, Place::Index)?;
        let recorded = self.noted(entity).filter(|Rendered { heads, skipped }| {
            let below: HashSet<Id> = among_below(found, heads).iter().map(|entry| entry.event.id).collect();
            let known = |id: &Id| below.contains(id);
            // If git brought in events since, it also wrote the file. `sync` leaves an edited one as it is.
            let is_newest = |index: &Rc<Version>| index.entries.iter().all(|entry| known(&entry.event.id));
            let is_left =
                |index: &Rc<Version>| matches!(&index.files[..], [file] if skipped.as_ref() == Some(&file.to_string()));
            heads.iter().all(known) && index.as_ref().is_none_or(|index| is_newest(index) || is_left(index))
        });
        let recorded = recorded.map(|Rendered { heads, .. }| {
            let doc = render_doc(entity, among_below(found, &heads));
            (heads, doc)
        });
        Ok(Base { recorded, index })
    }

    /// The heads of the version that a file in the work tree is compared with.
    ///
    /// Errors: `ERR_GIT`.
    pub(crate) fn base_heads(&self, entity: &Entity, found: &[Entry]) -> Result<Option<Vec<Id>>> {
        let Base { recorded, index } = self.base(entity, found)?;
        Ok(recorded.map(|(heads, _)| heads).or_else(|| index.map(|index| index.heads.clone())))
    }

    /// The events of an entity that were acknowledged while the same branch was checked out.
    pub(crate) fn acknowledged(&self, entity: &Entity) -> Vec<Entry> {
        let mut entries = Vec::new();
        let runtime = self.runtime.as_ref().and_then(|path| Dir::open(path).ok());
        let (Some(runtime), Some(head)) = (runtime, self.repo.map(Repo::head_text)) else { return entries };
        let read = journals::each(&runtime, |record| {
            if record.commit.store.store == self.store && record.commit.head == head {
                entries.extend(record.entries.into_iter().filter(|entry| entry.event.entity == *entity));
            }
        });
        // Doctor reports a damaged journal; its events may be missing here.
        read.unwrap_or_else(|e| tracing::debug!(error = %e, "the journal was not looked through"));
        entries
    }

    pub(crate) fn log_in_work_tree(&self, entity: &Entity) -> Vec<Entry> {
        let (Some(repo), Some((folder, _))) = (self.repo, home(entity)) else { return Vec::new() };
        let path = repo.work_dir.join(shown(&self.store, folder.join(LOG)));
        let bytes = outside::read(&path, MAX_LOG).unwrap_or_default();
        Log::of(&bytes).entries
    }

    /// Whether the events that a file was last rendered from are in this log.
    pub fn is_rendered_from(&self, entity: &Entity, entries: &[Entry]) -> bool {
        let here = |head: &Id| entries.iter().any(|entry| entry.event.id == *head);
        self.recorded(entity).is_none_or(|heads| heads.iter().all(here))
    }

    /// The events that a file was last rendered from, if recorded.
    pub(crate) fn recorded(&self, entity: &Entity) -> Option<Vec<Id>> {
        self.noted(entity).map(|noted| noted.heads)
    }

    fn noted(&self, entity: &Entity) -> Option<Rendered> {
        let known = self.rendered.get_or_init(|| {
            let own = self.own.as_ref().and_then(|path| Dir::open(path).ok());
            own.map(|own| rendered::read(&own)).unwrap_or_default()
        });
        let (folder, name) = home(entity)?;
        known.get(&shown(&self.store, folder.join(name))).filter(|noted| !noted.heads.is_empty()).cloned()
    }

    /// The origin of a value in the work tree.
    pub(crate) fn origin_here(
        &self,
        entity: &Entity,
        base: &Base,
        found: &[Entry],
        part: &Part,
        value: Option<&Value>,
    ) -> Result<Origin> {
        let in_index = base.index.as_ref().filter(|index| index.holds(part, value));
        if let Some((heads, doc)) = &base.recorded {
            if value_of(doc, part).as_ref() == value {
                return Ok(Origin::Events);
            }
            // Git may have written the file since without new events, or a person staged an edit.
            if in_index.is_some_and(|index| !index.explains(part, value) && index.has_events(heads)) {
                let origin = self.origin(entity, Place::Index, part, value)?;
                let in_conflict = in_index.is_some_and(|index| index.docs.len() > 1);
                return Ok(match origin {
                    Origin::Unknown => Origin::Person(heads.clone()),
                    Origin::Events if !in_conflict && !self.comes_from_merge(entity)? => Origin::Mixed,
                    other => other,
                });
            }
            return Ok(self.unnamed_mixture(entity, base, found, heads, (part, value)));
        }
        match (&base.index, in_index) {
            (_, Some(_)) => self.origin(entity, Place::Index, part, value),
            (Some(index), None) if !index.docs.is_empty() => {
                Ok(self.unnamed_mixture(entity, base, found, &index.heads, (part, value)))
            }
            _ if was_said(entity, found, part, value) => Ok(Origin::Unknown),
            _ => Ok(Origin::Person(heads_of(found))),
        }
    }

    /// The origin of a value that is neither in the version with these heads nor in git's index: a person, or `git stash pop`.
    /// No reference names the popped stash, but its events are in the log.
    fn unnamed_mixture(
        &self,
        entity: &Entity,
        base: &Base,
        found: &[Entry],
        heads: &[Id],
        (part, value): (&Part, Option<&Value>),
    ) -> Origin {
        let newest = heads_of(found);
        if newest.iter().all(|head| heads.contains(head)) {
            return Origin::Person(heads.to_vec());
        }
        let sides: Vec<Doc> = newest.iter().map(|head| render_doc(entity, among_below(found, &[*head]))).collect();
        let recorded = base.recorded.iter().map(|(_, doc)| doc);
        let known = sides.iter().chain(recorded).chain(base.index.iter().flat_map(|index| &index.docs));
        mixture(part, value, known).unwrap_or_else(|| Origin::Person(heads.to_vec()))
    }

    /// Whether the version of an entity in git's index comes from a merge, committed or in progress.
    fn comes_from_merge(&self, entity: &Entity) -> Result<bool> {
        let mut at = Place::Index;
        for _ in 0..MAX_VERSIONS {
            let here = self.version(entity, at)?;
            match self.parents(at)?.as_deref() {
                Some([parent]) => {
                    let before = self.version(entity, *parent)?;
                    if !here.zip(before).is_some_and(|(here, before)| Rc::ptr_eq(&here, &before)) {
                        return Ok(false);
                    }
                    at = *parent;
                }
                Some(parents) => return Ok(parents.len() > 1),
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The origin of a value that a version contains.
    pub(crate) fn origin(&self, entity: &Entity, place: Place, part: &Part, value: Option<&Value>) -> Result<Origin> {
        let mut search = Search { entity, part, value, seen: HashSet::new() };
        let origin = self.search(place, &mut search)?;
        Ok(match origin {
            Some(Origin::Unknown) | None => match self.version(entity, place)? {
                Some(version) if !was_said(entity, &version.entries, part, value) => {
                    Origin::Person(version.heads.clone())
                }
                _ => Origin::Unknown,
            },
            Some(origin) => origin,
        })
    }

    fn search(&self, place: Place, search: &mut Search<'_>) -> Result<Option<Origin>> {
        let (part, value) = (search.part, search.value);
        let mut at = place;
        loop {
            if !search.seen.insert(at) {
                return Ok(None);
            }
            let Some(version) = self.version(search.entity, at)? else { return Ok(Some(Origin::Unknown)) };
            if version.explains(part, value) {
                return Ok(Some(Origin::Events));
            }
            // A shallow clone lacks some parents.
            let parents = if search.seen.len() > MAX_VERSIONS { None } else { self.parents(at)? };
            let Some(parents) = parents else { return Ok(Some(Origin::Unknown)) };
            let mut versions = Vec::new();
            for parent in &parents {
                versions.push(self.version(search.entity, *parent)?);
            }
            let holds = |version: &Option<Rc<Version>>| version.as_ref().is_some_and(|v| v.holds(part, value));
            let holders: Vec<Place> =
                parents.iter().zip(&versions).filter(|(_, v)| holds(v)).map(|(p, _)| *p).collect();
            match holders[..] {
                [] => return self.introduced(at, &version, &versions, search).map(Some),
                [one] => at = one,
                _ => {
                    let mut best = None;
                    for holder in holders {
                        match self.search(holder, search)? {
                            Some(Origin::Events) => return Ok(Some(Origin::Events)),
                            other => best = best.or(other),
                        }
                    }
                    return Ok(best);
                }
            }
        }
    }

    /// The origin of a value that no parent of a version contains.
    fn introduced(
        &self,
        place: Place,
        version: &Version,
        parents: &[Option<Rc<Version>>],
        search: &Search<'_>,
    ) -> Result<Origin> {
        let (part, value) = (search.part, search.value);
        let parents: Vec<&Rc<Version>> = parents.iter().flatten().collect();
        // The source of a squash, a rebase or a cherry-pick is no parent, but its newest events are in the log.
        let brought = version.heads.iter().filter(|head| !parents.iter().any(|parent| parent.has_event(head)));
        let brought: Vec<Doc> =
            brought.map(|head| render_doc(search.entity, among_below(&version.entries, &[*head]))).collect();
        if brought.iter().any(|doc| value_of(doc, part).as_ref() == value) {
            return Ok(Origin::Events);
        }
        let is_merge = parents.len() > 1 || version.heads.len() > 1 && !brought.is_empty();
        let merged = parents.iter().flat_map(|parent| &parent.docs).chain(&brought);
        let is_edited =
            |parent: &&Rc<Version>| parent.docs.iter().any(|doc| !parent.explains(part, value_of(doc, part).as_ref()));
        if let Some(origin) = mixture(part, value, merged).filter(|_| is_merge && !parents.iter().any(is_edited)) {
            return Ok(origin);
        }
        if self.is_of_renamed(search, place, &parents)? {
            return Ok(Origin::Mixed);
        }
        if place == Place::Index && self.is_unmerged(search.entity)? {
            return Ok(Origin::Unknown);
        }
        // In committed conflict markers git wrote both sides, and one may come from a commit that is no parent.
        if version.docs.len() > 1 && was_said(search.entity, &version.entries, part, value) {
            return Ok(if version.entries.len() > MAX_STATES { Origin::Unknown } else { Origin::Events });
        }
        // If the rest of the file was not rendered from its whole log, the person had seen the parent's version.
        let rest = |parent: &Version| {
            let apart = version.docs.iter().flat_map(|doc| differing_parts(doc, &version.rendered));
            apart.into_iter().any(|other| {
                other != *part && version.docs.iter().any(|doc| parent.holds(&other, value_of(doc, &other).as_ref()))
            })
        };
        Ok(Origin::Person(match parents[..] {
            [parent] if rest(parent) => parent.heads.clone(),
            _ => version.heads.clone(),
        }))
    }

    /// Whether a merge may have taken a value from the file of another task, which one side changed and the other removed: to git the
    /// file of a new task can look like the removed one under a new name.
    fn is_of_renamed(&self, search: &Search<'_>, place: Place, own: &[&Rc<Version>]) -> Result<bool> {
        let (part, value) = (search.part, search.value);
        let (Some(objects), Some(merged)) = (self.objects(), self.parents(place)?) else { return Ok(false) };
        let commit = |place: &Place| match place {
            Place::Commit(commit) => Some(*commit),
            Place::WorkTree | Place::Index => None,
        };
        let commits: Vec<Oid> = merged.iter().filter_map(commit).collect();
        let mut changed: Vec<Doc> = Vec::new();
        for (changing, removing) in commits.iter().flat_map(|a| commits.iter().map(move |b| (*a, *b))) {
            if changing == removing {
                continue;
            }
            let Some(base) = objects.merge_base(changing, removing)? else { continue };
            let plans =
                [base, changing, removing].map(|commit| objects.item(objects.commit(commit)?.tree, &self.store));
            let [base, changing, removing] = plans.map(|item| item.map(|item| item.map(|item| item.oid)));
            let (base, changing, removing) = (base?, changing?, removing?);
            for Change { path, old, new } in objects.changes(base, changing)? {
                let is_of_another = matches!(entity_below(&path), Some((other, false)) if other != *search.entity);
                let (Some(old), Some(new), true) = (old, new, is_of_another) else { continue };
                if removing.map(|plan| objects.item(plan, &path)).transpose()?.flatten().is_some() {
                    continue;
                }
                let doc = |item: Item| Ok::<_, Error>(parse(&String::from_utf8_lossy(&objects.blob(item.oid)?)).ok());
                let (Some(old), Some(new)) = (doc(old)?, doc(new)?) else { continue };
                if value_of(&old, part) == value_of(&new, part) {
                    continue;
                }
                if value_of(&new, part).as_ref() == value {
                    return Ok(true);
                }
                changed.push(new);
            }
        }
        let docs = own.iter().flat_map(|parent| &parent.docs).chain(&changed);
        Ok(!changed.is_empty() && mixture(part, value, docs).is_some())
    }

    fn objects(&self) -> Option<&Objects> {
        self.objects.get_or_init(|| self.repo.and_then(|repo| repo.objects_with(self.env).ok())).as_ref()
    }

    /// The parents of a version; `None` if this clone lacks them.
    pub(crate) fn parents(&self, place: Place) -> Result<Option<Vec<Place>>> {
        let Some(objects) = self.objects() else { return Ok(None) };
        Ok(match place {
            Place::WorkTree => Some(vec![Place::Index]),
            Place::Index => {
                let head = objects.head()?.commit;
                Some(head.into_iter().chain(self.merging().iter().copied()).map(Place::Commit).collect())
            }
            Place::Commit(commit) => match objects.commit(commit) {
                Ok(info) if info.parents.iter().all(|parent| objects.has(*parent)) => {
                    Some(info.parents.into_iter().map(Place::Commit).collect())
                }
                _ => None,
            },
        })
    }

    /// The commits that git is merging into the index.
    fn merging(&self) -> &[Oid] {
        self.merging.get_or_init(|| {
            let (Some(repo), Some(objects)) = (self.repo, self.objects()) else { return Vec::new() };
            let mut commits = repo.incoming_commits(self.env);
            let stash = objects.reference("refs/stash");
            commits.extend(stash.filter(|stash| is_taken_out(objects, *stash).unwrap_or(false)));
            // A revert restores values from before its commit.
            if objects.in_progress() == Some("git revert") {
                let reverted = commits.iter().filter_map(|commit| objects.commit(*commit).ok());
                let before: Vec<Oid> = reverted.flat_map(|commit| commit.parents).collect();
                commits.extend(before);
            }
            commits.retain(|commit| objects.has(*commit));
            commits
        })
    }

    pub(crate) fn is_unmerged(&self, entity: &Entity) -> Result<bool> {
        Ok(self.index_items(entity)?.0.len() > 1)
    }

    /// The entries of an entity in git's index: its file, several times if it is in conflict, and its log.
    fn index_items(&self, entity: &Entity) -> Result<(Vec<Item>, Option<Item>)> {
        let (Some(objects), Some((folder, name))) = (self.objects(), home(entity)) else {
            return Ok(Default::default());
        };
        let (mut files, mut log) = (Vec::new(), None);
        let folder = shown(&self.store, folder);
        for (path, stage, item) in objects.index_below(&folder)? {
            match path[folder.len()..].trim_start_matches('/') {
                LOG if stage != 1 => log = log.or(Some(item)),
                // The common ancestor is not a side of the conflict.
                file if file == name && stage != 1 => files.push(item),
                _ => {}
            }
        }
        let is_file = |item: &Item| matches!(item.mode, Mode::File | Mode::Executable);
        files.retain(is_file);
        Ok((files, log.filter(is_file)))
    }

    /// The version at a place; `None` if it does not contain the entity.
    pub(crate) fn version(&self, entity: &Entity, place: Place) -> Result<Option<Rc<Version>>> {
        let (Some(objects), Some((folder, name))) = (self.objects(), home(entity)) else { return Ok(None) };
        let (files, log) = match place {
            Place::WorkTree => return Ok(None),
            Place::Index => self.index_items(entity)?,
            Place::Commit(commit) => {
                let Ok(info) = objects.commit(commit) else { return Ok(None) };
                let Some(folder) = objects.item(info.tree, &shown(&self.store, folder))? else { return Ok(None) };
                let of = |name: &str| -> Result<Option<Item>> {
                    let item = objects.item(folder.oid, name)?;
                    Ok(item.filter(|item| matches!(item.mode, Mode::File | Mode::Executable)))
                };
                (of(name)?.into_iter().collect(), of(LOG)?)
            }
        };
        if files.is_empty() && log.is_none() {
            return Ok(None);
        }
        let key = (files.iter().map(|item| item.oid).collect::<Vec<_>>(), log.map(|item| item.oid));
        if let Some(known) = self.versions.borrow().get(&key) {
            return Ok(Some(Rc::clone(known)));
        }
        let read = |item: &Item| objects.blob(item.oid);
        let log = log.as_ref().map(read).transpose()?.unwrap_or_default();
        let entries = Log::of(&log).entries;
        let mut texts = files.iter().map(read).collect::<Result<Vec<_>>>()?;
        let mut version = Version::of(entity, texts.pop().unwrap_or_default(), key.0.clone(), entries);
        for text in texts {
            version.docs.extend(parse(&String::from_utf8_lossy(&text)));
            version.text.push(b'\n');
            version.text.extend(text);
        }
        // If git detected a new task as a rename, a side is the file of another task.
        if files.len() > 1 {
            version.docs.retain(|doc| is_of(entity, doc));
        }
        let version = Rc::new(version);
        self.versions.borrow_mut().insert(key, Rc::clone(&version));
        Ok(Some(version))
    }
}

/// Whether a conflict comes from popping this stash, which git records nowhere: all files of the other side are in it.
fn is_taken_out(objects: &Objects, stash: Oid) -> Result<bool> {
    let (tree, theirs) = (objects.commit(stash)?.tree, objects.theirs_in_conflict()?);
    let is_of_stash = |(path, oid): &(String, Oid)| {
        objects.item(tree, path).is_ok_and(|item| item.is_some_and(|item| item.oid == *oid))
    };
    Ok(!theirs.is_empty() && theirs.iter().all(is_of_stash))
}

/// Whether a document belongs to this task, and not to another one that git detected as its rename.
pub(crate) fn is_of(entity: &Entity, doc: &Doc) -> bool {
    let named = doc.get("id").and_then(Value::as_str);
    named.is_none() || entity.task().is_none() || named == entity.task().map(|id| id.to_string()).as_deref()
}

/// Whether a value consists of lines of several documents; `None` if it does not. Only git mixes lines of neighboring entries
/// into a field of an entry. Lines of several versions of one text or list may also be merged by a person.
pub(crate) fn mixture<'d>(part: &Part, value: Option<&Value>, docs: impl Iterator<Item = &'d Doc>) -> Option<Origin> {
    let value = value.filter(|value| value.is_string() || value.is_array())?;
    let (mut known, mut lines) = (HashSet::new(), HashSet::new());
    add_lines(value, &mut lines);
    for doc in docs {
        match &part.field {
            Some(field) => fields_named(doc, &part.key, field).iter().for_each(|value| add_lines(value, &mut known)),
            None => value_of(doc, part).iter().for_each(|value| add_lines(value, &mut known)),
        }
    }
    let origin = if part.field.is_some() { Origin::Events } else { Origin::Mixed };
    (lines.is_subset(&known) && (part.field.is_some() || lines.len() > 1)).then_some(origin)
}

/// Adds the lines of a text, or the entries of a list.
fn add_lines(value: &Value, lines: &mut HashSet<String>) {
    match value {
        Value::String(text) => lines.extend(text.lines().map(str::to_owned)),
        Value::Array(list) => lines.extend(list.iter().map(ToString::to_string)),
        _ => {}
    }
}

/// Whether an earlier state of a log may have had this value: some state had it, several states had its lines, or the log is
/// too long to check.
fn was_said(entity: &Entity, entries: &[Entry], part: &Part, value: Option<&Value>) -> bool {
    let Entity::Task(id) = entity else { return true };
    if entries.len() > MAX_STATES {
        return true;
    }
    let mut ordered: Vec<&Entry> = entries.iter().collect();
    ordered.sort_by_key(|entry| entry.event.stamp());
    let mut folding = Folding::new(*id);
    let state = |entry| {
        let entry: &Entry = entry;
        folding.apply(&entry.event);
        parse(&render_task(&folding.clone().finish())).unwrap_or_default()
    };
    let states: Vec<Doc> = ordered.into_iter().map(state).collect();
    states.iter().any(|doc| value_of(doc, part).as_ref() == value) || mixture(part, value, states.iter()).is_some()
}
