//! Compares a `task.yaml` with its log: clean, stale, merged by git, or edited by a person.
//!
//! Guarantees that every difference is explained by events or versions, is an edit with the events it follows, or is reported
//! with both values. Unreadable git objects make a value unclear, and are not an error.
//! Leaves to others: the origin of a value (`lineage`), and the treatment of an edit (`record`).

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use super::lineage::{Lineage, MAX_VERSIONS, Origin, is_of, mixture};
use super::recorded::is_recorded_entry;
use crate::engine::view::history::Place;
use crate::error::{Error, Result};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::rules::copies::is_hand_edit;
use crate::rules::decide::edit::Doc;
use crate::rules::register::heads_of;
use crate::store::comments::{Comment, comments};
use crate::store::edited::{
    Part, Readable, among_below, beyond, differing_parts, is_conflicted, names_of, parse, render_doc, sides, value_of,
    with_parts,
};
use crate::store::place::not_text;
use crate::store::project::render;
use crate::store::yaml::MAX_DOCUMENT;

/// A hand edit of a file that was rendered from known events.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    /// The newest of those events.
    pub heads: Vec<Id>,
    /// The rendered document.
    pub old: Doc,
    /// The edited document.
    pub new: Doc,
}

/// A value that is either stale or a hand edit; which of the two is unknown.
#[derive(Clone, Debug)]
pub(crate) struct UnclearValue {
    pub part: Part,
    pub file: Option<Value>,
    pub log: Option<Value>,
    /// Git may have merged the file's value from other versions.
    pub mixed: bool,
}

impl UnclearValue {
    /// Both values, for display.
    pub fn in_words(&self) -> String {
        let word = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
        format!(
            "{}: the file says {} and the log {}; {}, so the log's is kept",
            self.part,
            word(&self.file),
            word(&self.log),
            match self.mixed {
                true => "git may have written the file's, from other versions",
                false => "which is newer is not known in this clone",
            }
        )
    }
}

/// The result of comparing a `task.yaml` with its log.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub how: Readable,
    /// What the file says, where it can be read; the first side of a conflict.
    pub doc: Doc,
    /// Its hand edits, by the events they follow.
    pub edits: Vec<Edit>,
    pub unclear: Vec<UnclearValue>,
    pub remarks: Vec<Comment>,
    /// The file contains conflict markers.
    pub conflicted: bool,
}

impl Comparison {
    fn without_edits(how: Readable) -> Self {
        Comparison {
            how,
            doc: Doc::new(),
            edits: Vec::new(),
            unclear: Vec::new(),
            remarks: Vec::new(),
            conflicted: false,
        }
    }
}

impl Lineage<'_> {
    /// Compares a `task.yaml` with its log. `found` is the log next to the file; `all` is the repaired log.
    pub fn judge(&self, place: Place, entity: &Entity, found: &[Entry], all: &[Entry], bytes: &[u8]) -> Comparison {
        let whole = render(entity, all);
        if whole.as_bytes() == bytes {
            return Comparison::without_edits(Readable::Clean);
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Comparison::without_edits(Readable::Invalid(not_text(bytes)));
        };
        if text.len() <= 2 * whole.len() && text.contains('\r') && text.replace("\r\n", "\n") == whole {
            // Git converted the line ends at checkout.
            return Comparison::without_edits(Readable::Stale);
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
            let by_lines = self.judge_by_lines(place, entity, all, text).unwrap_or_else(|e| unknown(&e));
            match (by_lines, why) {
                (Some(judged), _) => return judged,
                (None, Some(why)) => {
                    let how = Readable::Invalid(match conflicted {
                        true => marks_and_damage(text, why),
                        false => format!("it cannot be read: {why}"),
                    });
                    return Comparison { conflicted, ..Comparison::without_edits(how) };
                }
                (None, None) => {}
            }
        }
        let docs = parsed.unwrap_or_default();
        let now = parse(&whole).unwrap_or_default();
        let base = self.base(entity, found).unwrap_or_else(|e| unknown(&e));
        let mut judging = Differ::new(entity, all, &now);
        let lost = LostEvents { lineage: self, place, entity, all, now: &now, versions: OnceCell::new() };
        for (side, doc) in docs.iter().enumerate().filter(|(_, doc)| !conflicted || is_of(entity, doc)) {
            for part in differing_parts(doc, &now) {
                let value = value_of(doc, &part);
                let merged = match place {
                    Place::WorkTree if conflicted => self.merged(entity, &part, value.as_ref()),
                    _ => Ok(None),
                };
                let origin = match (merged, place) {
                    (Ok(Some(origin)), _) => Ok(origin),
                    (Err(e), _) => Err(e),
                    (_, Place::WorkTree) => self.origin_here(entity, &base, found, &part, value.as_ref()),
                    _ => self.origin(entity, place, &part, value.as_ref()),
                };
                let origin = origin.unwrap_or_else(|e| unknown(&e));
                let lost = match origin {
                    Origin::Events | Origin::Mixed => None,
                    _ => lost.event(&part, value.as_ref()).unwrap_or_else(|e| unknown(&e)),
                };
                match lost {
                    Some(event) => judging.ahead = Some(event),
                    None => judging.add((side, doc), part, value, origin),
                }
            }
        }
        let texts = if conflicted { sides(text) } else { vec![text.to_owned()] };
        let mut remarks: Vec<Comment> =
            texts.iter().zip(&docs).flat_map(|(text, doc)| comments_of(text, doc)).collect();
        remarks.dedup();
        judging.finish(docs, remarks, conflicted)
    }

    /// Judges a file that git merged, line by line, from versions of which each can be read: its edits are theirs. `None` where
    /// it holds lines of a person.
    fn judge_by_lines(&self, place: Place, entity: &Entity, all: &[Entry], text: &str) -> Result<Option<Comparison>> {
        let recorded = self.recorded(entity).filter(|_| place == Place::WorkTree);
        if let Some(heads) = recorded {
            let lost = heads.iter().find(|head| !all.iter().any(|entry| entry.event.id == **head));
            let acknowledged = if lost.is_some() { self.acknowledged(entity) } else { Vec::new() };
            let whole: Vec<Entry> = all.iter().chain(&acknowledged).cloned().collect();
            if render(entity, among_below(&whole, &heads)) == text {
                let how = lost.copied().map_or(Readable::Stale, Readable::Ahead);
                return Ok(Some(Comparison::without_edits(how)));
            }
        }
        let conflicted = is_conflicted(text);
        let mut sources = self.merged_places(place, entity, text)?;
        if place == Place::WorkTree && self.is_unmerged(entity)? {
            // No reference may name the versions that git merges.
            sources.push(Place::Index);
        }
        let mut remarks: Vec<Comment> = Vec::new();
        let mut lines: HashSet<Vec<u8>> = HashSet::new();
        let mut versions = Vec::new();
        for source in sources.iter().chain(&[Place::Index]) {
            let Some(version) = self.version(entity, *source)? else { continue };
            if version.text == text.as_bytes() {
                continue;
            }
            // An unreadable version may contain hand edits.
            if version.docs.is_empty() {
                return Ok(None);
            }
            for doc in &version.docs {
                remarks.extend(comments_of(&String::from_utf8_lossy(&version.text), doc));
            }
            lines.extend(version.text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
            versions.push(version);
        }
        let texts = if conflicted { sides(text) } else { vec![text.to_owned()] };
        let is_of_git = |line: &str| lines.contains(line.as_bytes());
        if sources.is_empty() || !texts.iter().flat_map(|text| text.lines()).all(is_of_git) {
            return Ok(None);
        }
        let now = render_doc(entity, all);
        let mut judging = Differ::new(entity, all, &now);
        for (side, source) in sources.into_iter().enumerate() {
            let Some(version) = self.version(entity, source)? else { continue };
            for doc in &version.docs {
                for part in differing_parts(doc, &version.rendered) {
                    let value = value_of(doc, &part);
                    let origin = self.origin(entity, source, &part, value.as_ref())?;
                    judging.add((side, doc), part, value, origin);
                }
            }
        }
        // Values that git merged outside of the conflict are in none of the versions.
        for (side, doc) in texts.iter().flat_map(|side| parse(side)).enumerate() {
            for part in differing_parts(&doc, &now) {
                let value = value_of(&doc, &part);
                let is_known = versions.iter().any(|version| version.holds(&part, value.as_ref()));
                let origin = mixture(&part, value.as_ref(), versions.iter().flat_map(|version| &version.docs));
                if let Some(origin) = origin.filter(|_| !is_known && !judging.is_edited(&part)) {
                    judging.add((side, &doc), part, value, origin);
                }
            }
        }
        remarks.dedup();
        Ok(Some(judging.finish(vec![Doc::new()], remarks, conflicted)))
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

    /// Whether git merged a value on one side of a conflict from several versions.
    fn merged(&self, entity: &Entity, part: &Part, value: Option<&Value>) -> Result<Option<Origin>> {
        let mut versions = Vec::new();
        for place in self.parents(Place::Index)?.into_iter().flatten().chain([Place::Index]) {
            versions.extend(self.version(entity, place)?);
        }
        let is_held = versions.iter().any(|version| version.holds(part, value));
        Ok(mixture(part, value, versions.iter().flat_map(|version| &version.docs)).filter(|_| !is_held))
    }
}

/// Events that a file shows and its log lacks, though this clone knew them.
struct LostEvents<'l> {
    lineage: &'l Lineage<'l>,
    place: Place,
    entity: &'l Entity,
    all: &'l [Entry],
    now: &'l Doc,
    /// The document with them, and the first of them.
    versions: OnceCell<Vec<(Doc, Id)>>,
}

impl LostEvents<'_> {
    /// The lost event that gives this value of a part; `None` if there is none.
    fn event(&self, part: &Part, value: Option<&Value>) -> Result<Option<Id>> {
        // A person does not invent ids of events.
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
        let LostEvents { lineage, place, entity, all, .. } = *self;
        let mut logs = Vec::new();
        match place {
            Place::WorkTree => {
                logs.extend(lineage.version(entity, Place::Index)?.map(|version| version.entries.clone()));
                let here: HashSet<Id> = all.iter().map(|entry| entry.event.id).collect();
                let mut parents = all.iter().flat_map(|entry| &entry.event.parents);
                let has_gap = parents.any(|parent| !here.contains(parent));
                let is_lost = |heads: &Vec<Id>| has_gap || !heads.iter().all(|head| here.contains(head));
                if let Some(heads) = lineage.recorded(entity).filter(is_lost) {
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
        Ok(logs.iter().filter_map(|log| Some((render_doc(entity, log), lost(log)?))).collect())
    }
}

/// Documents with the parts that were edited in each, by the events they follow and the side of a conflict.
type Groups = BTreeMap<(Vec<Id>, usize), Vec<(Doc, Part)>>;

/// Sorts the differences of one file into edits.
struct Differ<'j> {
    entity: &'j Entity,
    all: &'j [Entry],
    now: &'j Doc,
    groups: Groups,
    unclear: Vec<UnclearValue>,
    /// The edits found so far: several versions and both sides of a conflict may contain the same one.
    known: BTreeSet<(Part, String)>,
    /// An event that the file shows and the log lacks.
    ahead: Option<Id>,
}

impl<'j> Differ<'j> {
    fn new(entity: &'j Entity, all: &'j [Entry], now: &'j Doc) -> Self {
        let (groups, known) = (BTreeMap::new(), BTreeSet::new());
        Differ { entity, all, now, groups, unclear: Vec::new(), known, ahead: None }
    }

    fn add(&mut self, (side, doc): (usize, &Doc), part: Part, value: Option<Value>, origin: Origin) {
        let log = value_of(self.now, &part);
        // An event always gives an entry an id.
        let is_new = part.is_new_entry() && value.is_some();
        let origin = if is_new && matches!(origin, Origin::Unknown) { Origin::Person(Vec::new()) } else { origin };
        match origin {
            Origin::Events => {}
            _ if log == value || !self.known.insert((part.clone(), format!("{value:?}"))) => {}
            Origin::Person(heads) => {
                let here = |head: &Id| self.all.iter().any(|entry| entry.event.id == *head);
                let is_unknown = is_new && heads.is_empty();
                let heads = if heads.iter().all(here) && !heads.is_empty() { heads } else { heads_of(self.all) };
                if !self.is_recorded(if is_unknown { &[] } else { &heads }, doc, &part, value.as_ref()) {
                    self.groups.entry((heads, side)).or_default().push((doc.clone(), part));
                }
            }
            Origin::Mixed => self.unclear.push(UnclearValue { part, file: value, log, mixed: true }),
            Origin::Unknown => self.unclear.push(UnclearValue { part, file: value, log, mixed: false }),
        }
    }

    fn is_edited(&self, part: &Part) -> bool {
        self.groups.values().flatten().any(|(_, edited)| edited == part)
    }

    /// Whether an edit is recorded already, since two clones may find it in the same commit.
    fn is_recorded(&self, heads: &[Id], doc: &Doc, part: &Part, value: Option<&Value>) -> bool {
        let newer = beyond(self.all, heads);
        let by_hand: Vec<&Entry> = newer.into_iter().filter(|e| is_hand_edit(&e.event)).collect();
        let after = |heads: &[Id]| value_of(&render_doc(self.entity, among_below(self.all, heads)), part);
        // What it only left as it was, it does not record.
        let sets = |entry: &&Entry| {
            after(&[entry.event.id]).as_ref() == value && after(&entry.event.parents).as_ref() != value
        };
        by_hand.iter().any(sets) || is_recorded_entry(&by_hand, doc, part, value)
    }

    fn finish(self, mut docs: Vec<Doc>, remarks: Vec<Comment>, conflicted: bool) -> Comparison {
        let Differ { entity, all, now, groups, unclear, ahead, .. } = self;
        let mut edits: Vec<Edit> = Vec::new();
        let mut names = Vec::new();
        for ((heads, _), parts) in groups {
            names.extend(names_of(parts.iter().map(|(_, part)| part)));
            let old = render_doc(entity, among_below(all, &heads));
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
            (true, true, false) if differing_parts(&doc, now).is_empty() => Readable::Form,
            (true, true, false) => Readable::Stale,
        };
        Comparison { how, doc, edits, unclear, remarks, conflicted }
    }
}

/// Why a conflicted file cannot be parsed. The parser counts lines of a side, so the line of the markers is given.
fn marks_and_damage(text: &str, why: &str) -> String {
    let why = why.rsplit_once(" at line ").map_or(why, |(why, _)| why);
    let line = 1 + text.lines().take_while(|line| !line.starts_with("<<<<<<<")).count();
    format!("it cannot be read: a side of its conflict is damaged ({why}); its conflict markers begin at line {line}")
}

/// Treats a value that git's objects do not explain as unknown.
fn unknown<T: Default>(e: &Error) -> T {
    tracing::debug!(error = %e, "a version of a file cannot be read");
    T::default()
}

fn comments_of(text: &str, doc: &Doc) -> Vec<Comment> {
    if text.contains('#') { comments(text, &Value::Object(doc.clone())) } else { Vec::new() }
}
