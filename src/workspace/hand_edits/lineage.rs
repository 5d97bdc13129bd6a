//! The versions that a readable file comes from, and which of them first said what it says.
//!
//! Guarantees that a value is a hand edit only where neither the events of the version that first holds it nor a version that
//! git merged into it gave it. What no version here can tell is taken for an older value and reported with both.
//! Leaves to others how an edit is recorded.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::Value;

use super::recorded::is_recorded_entry;
use crate::env::Env;
use crate::env::files::{self, Dir};
use crate::error::Result;
use crate::git::{Item, Mode, Objects, Oid, Repo};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::rules::decide::edit::{Doc, WHY};
use crate::rules::fold::Folding;
use crate::rules::register::heads_of;
use crate::runtime::journals;
use crate::store::comments::{Comment, comments};
use crate::store::edited::{
    Part, Readable, among_below, beyond, is_conflicted, names_of, parse, parts_apart, said, sides, value_of, with_parts,
};
use crate::store::layout::{LOG, home, shown};
use crate::store::log::{Log, MAX_LOG};
use crate::store::place::not_text;
use crate::store::project::render;
use crate::store::yaml::MAX_DOCUMENT;

/// Most versions that are looked at for the one that first held a value.
const MAX_VERSIONS: usize = 2_000;
/// Longest log, in events, of which every earlier state is compared with a value that no version explains.
const MAX_STATES: usize = 500;

/// Where a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::workspace) enum Place {
    /// The work tree, or an editor.
    WorkTree,
    /// Git's index.
    Index,
    /// A commit.
    Commit(Oid),
}

/// A hand edit: what a person changed in a file that was rendered from known events.
#[derive(Clone, Debug)]
pub(in crate::workspace) struct Edit {
    /// The newest of those events.
    pub heads: Vec<Id>,
    /// What the file said then.
    pub old: Doc,
    /// What it says now.
    pub new: Doc,
}

/// A value of which it is not known whether it is older than what the log says, or a hand edit.
#[derive(Clone, Debug)]
pub(in crate::workspace) struct Unclear {
    pub part: Part,
    pub file: Option<Value>,
    pub log: Option<Value>,
}

impl Unclear {
    /// Both values, in words.
    pub fn in_words(&self) -> String {
        let word = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
        format!(
            "{}: the file says {} and the log {}; which is newer is not known in this clone, so the log's is kept",
            self.part,
            word(&self.file),
            word(&self.log)
        )
    }
}

/// A readable file beside its log.
#[derive(Clone, Debug)]
pub(in crate::workspace) struct Judged {
    pub how: Readable,
    /// What the file says, where it can be read; the first side of a conflict.
    pub doc: Doc,
    /// Its hand edits, by the events they follow.
    pub edits: Vec<Edit>,
    pub unclear: Vec<Unclear>,
    pub remarks: Vec<Comment>,
    /// It holds conflict markers of git.
    pub conflicted: bool,
}

impl Judged {
    fn plainly(how: Readable) -> Self {
        Judged { how, doc: Doc::new(), edits: Vec::new(), unclear: Vec::new(), remarks: Vec::new(), conflicted: false }
    }
}

/// Where a value comes from.
enum Origin {
    /// From events.
    Events,
    /// From a person, who saw the events that end in these heads.
    Person(Vec<Id>),
    /// That is not known here.
    Unknown,
}

/// A file with its log, in git's index or in a commit.
struct Version {
    /// What it says: two sides where it is in conflict, nothing where it cannot be read.
    docs: Vec<Doc>,
    text: Vec<u8>,
    said: Doc,
    entries: Vec<Entry>,
    heads: Vec<Id>,
}

impl Version {
    fn of(entity: &Entity, text: Vec<u8>, entries: Vec<Entry>) -> Self {
        let shown = String::from_utf8_lossy(&text);
        let docs = match is_conflicted(&shown) {
            true => sides(&shown).iter().filter_map(|side| parse(side).ok()).collect(),
            false => parse(&shown).into_iter().collect(),
        };
        Version { docs, said: said(entity, &entries), heads: heads_of(&entries), text, entries }
    }

    fn holds(&self, part: &Part, value: Option<&Value>) -> bool {
        self.docs.iter().any(|doc| value_of(doc, part).as_ref() == value)
    }

    fn explains(&self, part: &Part, value: Option<&Value>) -> bool {
        value_of(&self.said, part).as_ref() == value
    }

    fn has_event(&self, id: &Id) -> bool {
        self.entries.iter().any(|entry| entry.event.id == *id)
    }
}

/// What a file in the work tree was last made from.
struct Base {
    /// The events it was last rendered from, and what it said then. `None` where git wrote it since, or that is not known.
    recorded: Option<(Vec<Id>, Doc)>,
    index: Option<Rc<Version>>,
}

/// One search for the origin of a value.
struct Search<'s> {
    entity: &'s Entity,
    part: &'s Part,
    value: Option<&'s Value>,
    seen: HashSet<Place>,
}

/// The versions of the readable files of a store.
pub(in crate::workspace) struct Lineage<'a> {
    env: &'a Env,
    repo: Option<&'a Repo>,
    store: String,
    /// The folder with the notes of what was rendered.
    own: Option<PathBuf>,
    /// The folder with the journal.
    runtime: Option<PathBuf>,
    objects: OnceCell<Option<Objects>>,
    rendered: OnceCell<HashMap<String, Vec<Id>>>,
    merging: OnceCell<Vec<Oid>>,
    versions: RefCell<HashMap<(Vec<Oid>, Option<Oid>), Rc<Version>>>,
}

impl<'a> Lineage<'a> {
    /// Of the store with this name, from what git keeps alone. Nothing is read yet.
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

    /// As [`Lineage::new`], with what agentpm noted: `own` is the folder of what this worktree alone keeps, `runtime` that of the journal.
    pub fn noted(self, own: PathBuf, runtime: PathBuf) -> Self {
        Lineage { own: Some(own), runtime: Some(runtime), ..self }
    }

    /// Compares a readable file with its log. `found` is the log as it stood beside the file; `all` is what it holds once it is
    /// repaired.
    ///
    /// Errors: `ERR_GIT` where git's index or objects cannot be read.
    pub fn judge(&self, place: Place, entity: &Entity, found: &[Entry], all: &[Entry], bytes: &[u8]) -> Result<Judged> {
        let whole = render(entity, all);
        if whole.as_bytes() == bytes {
            return Ok(Judged::plainly(Readable::Clean));
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Ok(Judged::plainly(Readable::Invalid(not_text(bytes))));
        };
        if text.len() <= 2 * whole.len() && text.contains('\r') && text.replace("\r\n", "\n") == whole {
            // Git made other line ends of it on its way into this work tree.
            return Ok(Judged::plainly(Readable::Stale));
        }
        let conflicted = is_conflicted(text);
        let parsed = match conflicted {
            true => sides(text).iter().map(|side| parse(side)).collect::<std::result::Result<Vec<Doc>, String>>(),
            false => parse(text).map(|doc| vec![doc]),
        };
        let why = match &parsed {
            Ok(_) if whole.len() > MAX_DOCUMENT => Some("it is too large to be compared"),
            Ok(_) => None,
            Err(why) => Some(why.as_str()),
        };
        if why.is_some() || conflicted {
            let by_lines = self.judge_by_lines(place, entity, all, text)?;
            match (by_lines, why) {
                (Some(judged), _) => return Ok(judged),
                (None, Some(why)) => {
                    let how = Readable::Invalid(format!("it cannot be read: {why}"));
                    return Ok(Judged { conflicted, ..Judged::plainly(how) });
                }
                (None, None) => {}
            }
        }
        let docs = parsed.unwrap_or_default();
        let now = parse(&whole).unwrap_or_default();
        let base = self.base(entity, found)?;
        let mut judging = Judging { entity, all, now: &now, groups: BTreeMap::new(), unclear: Vec::new(), ahead: None };
        let lost = Lost { lineage: self, place, entity, all, now: &now, versions: OnceCell::new() };
        let mut asked: BTreeSet<(Part, String)> = BTreeSet::new();
        for (side, doc) in docs.iter().enumerate() {
            for part in parts_apart(doc, &now) {
                let value = value_of(doc, &part);
                if !asked.insert((part.clone(), format!("{value:?}"))) {
                    continue;
                }
                let origin = match place {
                    Place::WorkTree if conflicted && self.is_merged(entity, &part, value.as_ref())? => Origin::Events,
                    Place::WorkTree => self.origin_here(entity, &base, found, &part, value.as_ref())?,
                    _ => self.origin(entity, place, &part, value.as_ref())?,
                };
                let lost = match origin {
                    Origin::Events => None,
                    _ => lost.event(&part, value.as_ref())?,
                };
                match lost {
                    Some(event) => judging.ahead = Some(event),
                    None => judging.add((side, doc), part, value, origin),
                }
            }
        }
        let remarks = if conflicted { Vec::new() } else { comments_of(text, &docs[0]) };
        Ok(judging.finish(docs, remarks, conflicted))
    }

    /// Judges a file that git put together, line by line, from versions of which each can be read: its edits are theirs. `None` where
    /// it holds lines of a person.
    fn judge_by_lines(&self, place: Place, entity: &Entity, all: &[Entry], text: &str) -> Result<Option<Judged>> {
        let recorded = self.recorded(entity).filter(|_| place == Place::WorkTree);
        if let Some(heads) = recorded {
            let lost = heads.iter().find(|head| !all.iter().any(|entry| entry.event.id == **head));
            let acknowledged = if lost.is_some() { self.acknowledged(entity) } else { Vec::new() };
            let whole: Vec<Entry> = all.iter().chain(&acknowledged).cloned().collect();
            if render(entity, among_below(&whole, &heads)) == text {
                let how = lost.copied().map_or(Readable::Stale, Readable::Ahead);
                return Ok(Some(Judged::plainly(how)));
            }
        }
        let conflicted = is_conflicted(text);
        let sources = self.merged_places(place, entity, text)?;
        let mut lines: HashSet<Vec<u8>> = HashSet::new();
        for source in sources.iter().chain(&[Place::Index]) {
            let Some(version) = self.version(entity, *source)? else { continue };
            if version.text == text.as_bytes() {
                continue;
            }
            // Words of a person may be in a version that cannot be read either.
            if version.docs.is_empty() {
                return Ok(None);
            }
            lines.extend(version.text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        }
        let marks = ["<<<<<<<", "=======", ">>>>>>>", "|||||||"];
        let of_git =
            |line: &str| lines.contains(line.as_bytes()) || (conflicted && marks.iter().any(|m| line.starts_with(m)));
        if sources.is_empty() || !text.lines().all(of_git) {
            return Ok(None);
        }
        let now = said(entity, all);
        let mut judging = Judging { entity, all, now: &now, groups: BTreeMap::new(), unclear: Vec::new(), ahead: None };
        for (side, source) in sources.into_iter().enumerate() {
            let Some(version) = self.version(entity, source)? else { continue };
            for doc in &version.docs {
                for part in parts_apart(doc, &version.said) {
                    let value = value_of(doc, &part);
                    let origin = self.origin(entity, source, &part, value.as_ref())?;
                    judging.add((side, doc), part, value, origin);
                }
            }
        }
        Ok(Some(judging.finish(vec![Doc::new()], Vec::new(), conflicted)))
    }

    /// The versions that git put a file together from which cannot be read: those of a merge in progress, or of the commit that
    /// brought it.
    fn merged_places(&self, place: Place, entity: &Entity, text: &str) -> Result<Vec<Place>> {
        let mut at = match place {
            Place::WorkTree if self.version(entity, Place::Index)?.is_some_and(|v| v.text == text.as_bytes()) => {
                Place::Index
            }
            Place::WorkTree => return self.parents(Place::Index).map(Option::unwrap_or_default),
            other => other,
        };
        for _ in 0..MAX_VERSIONS {
            let Some(parents) = self.parents(at)? else { return Ok(Vec::new()) };
            let mut same = None;
            for parent in &parents {
                if self.version(entity, *parent)?.is_some_and(|version| version.text == text.as_bytes()) {
                    same = Some(*parent);
                }
            }
            match same {
                Some(parent) => at = parent,
                None => return Ok(parents),
            }
        }
        Ok(Vec::new())
    }

    fn base(&self, entity: &Entity, found: &[Entry]) -> Result<Base> {
        let index = self.version(entity, Place::Index)?;
        let recorded = self.recorded(entity).filter(|heads| {
            let below: HashSet<Id> = among_below(found, heads).iter().map(|entry| entry.event.id).collect();
            let known = |id: &Id| below.contains(id);
            // Where git brought events in since, it wrote the file too.
            let is_newest = |index: &Rc<Version>| index.entries.iter().all(|entry| known(&entry.event.id));
            heads.iter().all(known) && index.as_ref().is_none_or(is_newest)
        });
        let recorded = recorded.map(|heads| {
            let doc = said(entity, among_below(found, &heads));
            (heads, doc)
        });
        Ok(Base { recorded, index })
    }

    /// The events of an entity that were acknowledged while the same branch was checked out.
    fn acknowledged(&self, entity: &Entity) -> Vec<Entry> {
        let mut entries = Vec::new();
        let runtime = self.runtime.as_ref().and_then(|path| Dir::open(path).ok());
        let (Some(runtime), Some(head)) = (runtime, self.repo.map(Repo::head_text)) else { return entries };
        let read = journals::each(&runtime, |record| {
            if record.commit.store.store == self.store && record.commit.head == head {
                entries.extend(record.entries.into_iter().filter(|entry| entry.event.entity == *entity));
            }
        });
        // A damaged journal is named by doctor; what it holds may be missing here.
        read.unwrap_or_else(|e| tracing::debug!(error = %e, "the journal was not looked through"));
        entries
    }

    fn log_in_work_tree(&self, entity: &Entity) -> Vec<Entry> {
        let (Some(repo), Some((folder, _))) = (self.repo, home(entity)) else { return Vec::new() };
        let path = repo.work_dir.join(shown(&self.store, folder.join(LOG)));
        let bytes = files::read_outside(&path, MAX_LOG).unwrap_or_default();
        // Memory does not fail.
        Log::read(&bytes[..]).unwrap_or_default().entries
    }

    /// Whether the events that a file was last rendered from are in this log.
    pub fn is_rendered_from(&self, entity: &Entity, entries: &[Entry]) -> bool {
        let here = |head: &Id| entries.iter().any(|entry| entry.event.id == *head);
        self.recorded(entity).is_none_or(|heads| heads.iter().all(here))
    }

    /// The events that a file was last rendered from, as far as that is noted.
    fn recorded(&self, entity: &Entity) -> Option<Vec<Id>> {
        let known = self.rendered.get_or_init(|| {
            let own = self.own.as_ref().and_then(|path| Dir::open(path).ok());
            own.map(|own| crate::runtime::rendered::read(&own)).unwrap_or_default()
        });
        let (folder, name) = home(entity)?;
        known.get(&shown(&self.store, folder.join(name))).filter(|heads| !heads.is_empty()).cloned()
    }

    /// Where a value of the file in the work tree comes from.
    fn origin_here(
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
            // What is in git's index and not by the events there was merged by git, or edited and added.
            if in_index.is_some_and(|index| !index.explains(part, value)) {
                let origin = self.origin(entity, Place::Index, part, value)?;
                return Ok(if matches!(origin, Origin::Unknown) { Origin::Person(heads.clone()) } else { origin });
            }
            return Ok(Origin::Person(heads.clone()));
        }
        match (&base.index, in_index) {
            (_, Some(_)) => self.origin(entity, Place::Index, part, value),
            (Some(index), None) if !index.docs.is_empty() => Ok(Origin::Person(index.heads.clone())),
            _ if was_said(entity, found, part, value) => Ok(Origin::Unknown),
            _ => Ok(Origin::Person(heads_of(found))),
        }
    }

    /// Whether a value on one side of a conflict was put together by git from several versions.
    fn is_merged(&self, entity: &Entity, part: &Part, value: Option<&Value>) -> Result<bool> {
        let mut versions = Vec::new();
        for place in self.parents(Place::Index)?.into_iter().flatten().chain([Place::Index]) {
            versions.extend(self.version(entity, place)?);
        }
        let is_held = versions.iter().any(|version| version.holds(part, value));
        Ok(!is_held
            && !part.is_new_entry()
            && is_put_together(value, versions.iter().flat_map(|version| &version.docs)))
    }

    /// Where a value that a version holds comes from.
    fn origin(&self, entity: &Entity, place: Place, part: &Part, value: Option<&Value>) -> Result<Origin> {
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
            // A shallow clone does not have all parents.
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

    /// Where a value comes from that none of the parents of a version holds.
    fn introduced(
        &self,
        place: Place,
        version: &Version,
        parents: &[Option<Rc<Version>>],
        search: &Search<'_>,
    ) -> Result<Origin> {
        let (part, value) = (search.part, search.value);
        let parents: Vec<&Rc<Version>> = parents.iter().flatten().collect();
        // What a squash, a rebase or a cherry-pick brought in is no parent; its newest events are here.
        let brought = version.heads.iter().filter(|head| !parents.iter().any(|parent| parent.has_event(head)));
        let brought: Vec<Doc> =
            brought.map(|head| said(search.entity, among_below(&version.entries, &[*head]))).collect();
        if brought.iter().any(|doc| value_of(doc, part).as_ref() == value) {
            return Ok(Origin::Events);
        }
        let is_merge = parents.len() > 1 || version.heads.len() > 1 && !brought.is_empty();
        let merged = parents.iter().flat_map(|parent| &parent.docs).chain(&brought);
        if is_merge && !part.is_new_entry() && is_put_together(value, merged) {
            return Ok(Origin::Events);
        }
        if place == Place::Index && self.is_unmerged(search.entity)? {
            return Ok(Origin::Unknown);
        }
        // Where the rest of the file was not rendered from all of its log, the person saw what the parent says.
        let rest = |parent: &Version| {
            let apart = version.docs.iter().flat_map(|doc| parts_apart(doc, &version.said));
            apart.into_iter().any(|other| {
                other != *part && version.docs.iter().any(|doc| parent.holds(&other, value_of(doc, &other).as_ref()))
            })
        };
        Ok(Origin::Person(match parents[..] {
            [parent] if rest(parent) => parent.heads.clone(),
            _ => version.heads.clone(),
        }))
    }

    fn objects(&self) -> Option<&Objects> {
        self.objects.get_or_init(|| self.repo.and_then(|repo| repo.objects_with(self.env).ok())).as_ref()
    }

    /// The versions that a version was made from; `None` where they are not here.
    fn parents(&self, place: Place) -> Result<Option<Vec<Place>>> {
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
            let mut commits = repo.being_merged(self.env);
            if objects.unmerged("").is_ok_and(|paths| !paths.is_empty()) {
                // What is taken from a stash is named nowhere else.
                commits.extend(objects.reference("refs/stash"));
            }
            // A revert brings in what its commit had before.
            if objects.in_progress() == Some("git revert") {
                let reverted = commits.iter().filter_map(|commit| objects.commit(*commit).ok());
                let before: Vec<Oid> = reverted.flat_map(|commit| commit.parents).collect();
                commits.extend(before);
            }
            commits.retain(|commit| objects.has(*commit));
            commits
        })
    }

    fn is_unmerged(&self, entity: &Entity) -> Result<bool> {
        Ok(self.index_items(entity)?.0.len() > 1)
    }

    /// What git's index holds of an entity: the versions of its file, which are several where it is in conflict, and its log.
    fn index_items(&self, entity: &Entity) -> Result<(Vec<Item>, Option<Item>)> {
        let (Some(objects), Some((folder, name))) = (self.objects(), home(entity)) else {
            return Ok(Default::default());
        };
        let (mut files, mut log) = (Vec::new(), None);
        let folder = shown(&self.store, folder);
        for (path, stage, item) in objects.index_below(&folder)? {
            match path[folder.len()..].trim_start_matches('/') {
                LOG if stage != 1 => log = log.or(Some(item)),
                // The ancestor of a conflict is no side of it.
                file if file == name && stage != 1 => files.push(item),
                _ => {}
            }
        }
        let is_file = |item: &Item| matches!(item.mode, Mode::File | Mode::Executable);
        files.retain(is_file);
        Ok((files, log.filter(is_file)))
    }

    /// The version at a place; `None` where nothing of the entity is there.
    fn version(&self, entity: &Entity, place: Place) -> Result<Option<Rc<Version>>> {
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
        // Memory does not fail.
        let entries = Log::read(&log[..]).unwrap_or_default().entries;
        let mut texts = files.iter().map(read).collect::<Result<Vec<_>>>()?;
        let mut version = Version::of(entity, texts.pop().unwrap_or_default(), entries);
        for text in texts {
            version.docs.extend(parse(&String::from_utf8_lossy(&text)));
            version.text.push(b'\n');
            version.text.extend(text);
        }
        let version = Rc::new(version);
        self.versions.borrow_mut().insert(key, Rc::clone(&version));
        Ok(Some(version))
    }
}

/// Events that a file shows and its log does not hold, though this clone knew them.
struct Lost<'l> {
    lineage: &'l Lineage<'l>,
    place: Place,
    entity: &'l Entity,
    all: &'l [Entry],
    now: &'l Doc,
    /// What the file said with them, and the first of them.
    versions: OnceCell<Vec<(Doc, Id)>>,
}

impl Lost<'_> {
    /// The lost event that says this of a part; `None` where there is none.
    fn event(&self, part: &Part, value: Option<&Value>) -> Result<Option<Id>> {
        // No person makes up the id of an event.
        let named = part.event().filter(|_| value.is_some() && value_of(self.now, part).is_none());
        if named.is_some() {
            return Ok(named);
        }
        if self.versions.get().is_none() {
            // Nothing else sets it.
            let _ = self.versions.set(self.read()?);
        }
        let known = self.versions.get().map_or(&[][..], Vec::as_slice);
        Ok(known.iter().find(|(doc, _)| value_of(doc, part).as_ref() == value).map(|(_, event)| *event))
    }

    fn read(&self) -> Result<Vec<(Doc, Id)>> {
        let Lost { lineage, place, entity, all, .. } = *self;
        let mut logs = Vec::new();
        match place {
            Place::WorkTree => {
                logs.extend(lineage.version(entity, Place::Index)?.map(|version| version.entries.clone()));
                if let Some(heads) = lineage.recorded(entity) {
                    let acknowledged = lineage.acknowledged(entity);
                    let whole: Vec<Entry> = all.iter().chain(&acknowledged).cloned().collect();
                    logs.push(among_below(&whole, &heads).into_iter().cloned().collect());
                }
            }
            Place::Index => logs.push(lineage.log_in_work_tree(entity)),
            Place::Commit(_) => {}
        }
        let is_here = |entry: &&Entry| all.iter().any(|known| known.event.id == entry.event.id);
        let lost = |log: &Vec<Entry>| log.iter().find(|entry| !is_here(entry)).map(|entry| entry.event.id);
        Ok(logs.iter().filter_map(|log| Some((said(entity, log), lost(log)?))).collect())
    }
}

/// The differences of one file on their way to edits.
struct Judging<'j> {
    entity: &'j Entity,
    all: &'j [Entry],
    now: &'j Doc,
    /// The documents that hold edits, with the parts edited in each, by the events they follow and the side of a conflict.
    groups: BTreeMap<(Vec<Id>, usize), Vec<(Doc, Part)>>,
    unclear: Vec<Unclear>,
    /// An event that the file shows and the log does not hold.
    ahead: Option<Id>,
}

impl Judging<'_> {
    fn add(&mut self, (side, doc): (usize, &Doc), part: Part, value: Option<Value>, origin: Origin) {
        let log = value_of(self.now, &part);
        match origin {
            Origin::Events => {}
            _ if log == value => {}
            Origin::Person(heads) => {
                let here = |head: &Id| self.all.iter().any(|entry| entry.event.id == *head);
                let heads = if heads.iter().all(here) && !heads.is_empty() { heads } else { heads_of(self.all) };
                if !self.is_recorded(&heads, doc, &part, value.as_ref()) {
                    self.groups.entry((heads, side)).or_default().push((doc.clone(), part));
                }
            }
            Origin::Unknown => self.unclear.push(Unclear { part, file: value, log }),
        }
    }

    /// Whether an edit is in the log already: two clones may find it in the same commit.
    fn is_recorded(&self, heads: &[Id], doc: &Doc, part: &Part, value: Option<&Value>) -> bool {
        let newer = beyond(self.all, heads);
        let by_hand: Vec<&Entry> = newer.into_iter().filter(|e| e.event.why.as_deref() == Some(WHY)).collect();
        let then = |entry: &&Entry| said(self.entity, among_below(self.all, &[entry.event.id]));
        by_hand.iter().any(|entry| value_of(&then(entry), part).as_ref() == value)
            || is_recorded_entry(&by_hand, doc, part, value)
    }

    fn finish(self, mut docs: Vec<Doc>, remarks: Vec<Comment>, conflicted: bool) -> Judged {
        let Judging { entity, all, now, groups, unclear, ahead } = self;
        let mut edits: Vec<Edit> = Vec::new();
        let mut names = Vec::new();
        for ((heads, _), parts) in groups {
            names.extend(names_of(parts.iter().map(|(_, part)| part)));
            let old = said(entity, among_below(all, &heads));
            let mut new = old.clone();
            let mut late = Vec::new();
            for (doc, part) in parts {
                let before = new.clone();
                new = with_parts(&new, &doc, std::slice::from_ref(&part));
                // The entry is younger than these events.
                if before == new && value_of(&before, &part) != value_of(&doc, &part) {
                    late.push((doc, part));
                }
            }
            edits.push(Edit { heads, old, new });
            if !late.is_empty() {
                let new =
                    late.iter().fold(now.clone(), |new, (doc, part)| with_parts(&new, doc, std::slice::from_ref(part)));
                edits.push(Edit { heads: heads_of(all), old: now.clone(), new });
            }
        }
        edits.retain(|edit| edit.old != edit.new);
        names.sort();
        names.dedup();
        let doc = docs.swap_remove(0);
        let how = match (edits.is_empty(), remarks.is_empty(), conflicted) {
            _ if ahead.is_some() => ahead.map_or(Readable::Stale, Readable::Ahead),
            (false, ..) => Readable::Edited(names),
            (true, false, _) => Readable::Comments,
            (true, true, true) => Readable::Conflicted,
            (true, true, false) if parts_apart(&doc, now).is_empty() => Readable::Form,
            (true, true, false) => Readable::Stale,
        };
        Judged { how, doc, edits, unclear, remarks, conflicted }
    }
}

fn comments_of(text: &str, doc: &Doc) -> Vec<Comment> {
    if text.contains('#') { comments(text, &Value::Object(doc.clone())) } else { Vec::new() }
}

/// Whether git put a value together, line by line, from documents: each of its lines stands in one of them.
fn is_put_together<'d>(value: Option<&Value>, docs: impl Iterator<Item = &'d Doc>) -> bool {
    let Some(value) = value else { return false };
    let (mut known, mut lines) = (HashSet::new(), HashSet::new());
    docs.flat_map(|doc| doc.values()).for_each(|value| add_lines(value, &mut known));
    add_lines(value, &mut lines);
    lines.is_subset(&known)
}

/// Adds the lines of all texts in a value, and its other scalars as they are written.
fn add_lines(value: &Value, lines: &mut HashSet<String>) {
    match value {
        Value::String(text) => lines.extend(text.lines().map(str::to_owned)),
        Value::Array(list) => list.iter().for_each(|value| add_lines(value, lines)),
        Value::Object(map) => map.values().for_each(|value| add_lines(value, lines)),
        other => drop(lines.insert(other.to_string())),
    }
}

/// Whether some state of a log said this of a part, or may have, where the log is too long to be looked through.
fn was_said(entity: &Entity, entries: &[Entry], part: &Part, value: Option<&Value>) -> bool {
    let Entity::Task(id) = entity else { return true };
    if entries.len() > MAX_STATES {
        return true;
    }
    let mut ordered: Vec<&Entry> = entries.iter().collect();
    ordered.sort_by_key(|entry| entry.event.stamp());
    let states = (1..=ordered.len()).map(|count| {
        let mut folding = Folding::new(*id);
        for entry in &ordered[..count] {
            folding.apply(&entry.event);
        }
        parse(&crate::model::yaml::render_task(&folding.finish())).unwrap_or_default()
    });
    states.into_iter().any(|state| value_of(&state, part).as_ref() == value)
}
