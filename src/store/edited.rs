//! Compares a readable file with its log: key by key, and entry by entry.
//!
//! Guarantees that each difference has a name, a [`Part`], by which every version of the file can be asked for its value.
//! Leaves to others: which of the two is newer.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde_json::{Map, Value};

use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::rules::decide::edit::{Doc, differs, list, words};
pub use crate::rules::register::among_below;
use crate::store::project::render;
use crate::store::yaml;

/// Lists whose entries have ids; their order has no meaning.
const WITH_IDS: [&str; 4] = ["relationships", "progress", "context", "threads"];
const ACCEPTANCE: &str = "acceptance";
const METADATA: &str = "metadata";
/// The deepest nesting of conflicts that is read.
const MAX_NESTED: usize = 3;

/// How a readable file differs from its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readable {
    /// It is the rendering of the whole log.
    Clean,
    /// Its differences are earlier values of its log, or of a version that git merged into it: it is rendered again.
    Stale,
    /// It is stale or differs only in quoting and order, and it holds comments.
    Comments,
    /// It differs only in quoting and order.
    Form,
    /// It holds conflict markers of git, and no edits of a user.
    Conflicted,
    /// It cannot be parsed, for this reason.
    Invalid(String),
    /// It reflects this event, which its log lacks: a line of the log was lost.
    Ahead(Id),
    /// It holds values that are in no event.
    Edited(Vec<String>),
}

impl Readable {
    /// Whether the file holds edits that are in no event, so that it must not be overwritten.
    pub fn holds_words(&self) -> bool {
        matches!(self, Readable::Comments | Readable::Invalid(_) | Readable::Ahead(_) | Readable::Edited(_))
    }

    /// Whether rendering the file again loses nothing and is needed.
    pub fn is_outdated(&self) -> bool {
        matches!(self, Readable::Stale | Readable::Form | Readable::Conflicted)
    }
}

/// A place in a readable file: a key, a key of `metadata`, an entry of a list, or a field of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The key at the top.
    pub key: String,
    /// The key of the mapping, the id of the entry, or the text of a criterion. An entry without an id is named by its
    /// contents.
    pub entry: Option<String>,
    /// The field of the entry.
    pub field: Option<String>,
}

impl Part {
    fn key(key: &str) -> Self {
        Part { key: key.to_owned(), entry: None, field: None }
    }

    fn entry(key: &str, entry: &str) -> Self {
        Part { entry: Some(entry.to_owned()), ..Part::key(key) }
    }

    fn field(key: &str, entry: &str, field: &str) -> Self {
        Part { field: Some(field.to_owned()), ..Part::entry(key, entry) }
    }

    /// The event that an entry comes from, by its id.
    pub fn event(&self) -> Option<Id> {
        let is_entry = self.field.is_none() && WITH_IDS.contains(&self.key.as_str());
        self.entry.as_ref().filter(|_| is_entry)?.parse().ok()
    }

    /// Whether it is an entry without an id, which a user added.
    pub fn is_new_entry(&self) -> bool {
        self.field.is_none() && WITH_IDS.contains(&self.key.as_str()) && self.entry.as_deref().is_some_and(is_unnamed)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        let known = self.entry.iter().filter(|entry| !is_unnamed(entry));
        known.chain(&self.field).try_for_each(|name| write!(f, ".{name}"))
    }
}

/// Finds an entry without an id, and its number among equal entries.
pub fn new_entry(doc: &Doc, part: &Part) -> Option<(Value, usize)> {
    let name = part.entry.as_deref().filter(|_| part.is_new_entry())?;
    let entry = entries_of(doc, &part.key).raw(name)?.clone();
    let count = name.rsplit_once('#').filter(|(first, _)| *first == name_of(&part.key, &entry));
    Some((entry, count.and_then(|(_, count)| count.parse().ok()).unwrap_or(1)))
}

/// The value of a part in a document, if any. For an entry, whether it exists.
pub fn value_of(doc: &Doc, part: &Part) -> Option<Value> {
    let value = doc.get(&part.key).filter(|value| !value.is_null());
    let Some(entry) = &part.entry else {
        return match value {
            Some(_) if part.key == ACCEPTANCE => Some(entries_of(doc, ACCEPTANCE).into_keys_value()),
            Some(Value::Array(list)) if list.is_empty() => None,
            other => other.cloned(),
        };
    };
    if part.key == METADATA {
        return value?.get(entry).cloned();
    }
    let entries = entries_of(doc, &part.key);
    let found = entries.get(entry)?;
    match &part.field {
        None => Some(Value::Bool(true)),
        Some(field) => found.get(field).filter(|value| !value.is_null()).cloned(),
    }
}

/// The values of a field in the entries of a list.
pub fn fields_named(doc: &Doc, key: &str, field: &str) -> Vec<Value> {
    list(doc.get(key)).iter().filter_map(|entry| entry.get(field).cloned()).collect()
}

/// The parts in which a file differs from the rendering of its log, in the order of the file.
pub fn differing_parts(file: &Doc, said: &Doc) -> Vec<Part> {
    let gone = said.keys().filter(|key| !file.contains_key(*key));
    let mut apart = Vec::new();
    for key in file.keys().chain(gone) {
        match key.as_str() {
            METADATA if is_map(file.get(METADATA)) && is_map(said.get(METADATA)) => {
                let keys = |doc: &Doc| doc.get(METADATA).and_then(Value::as_object).cloned().unwrap_or_default();
                let (one, other) = (keys(file), keys(said));
                let all = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
                apart.extend(all.filter(|name| one.get(*name) != other.get(*name)).map(|n| Part::entry(METADATA, n)));
            }
            ACCEPTANCE => apart.extend(differing_entries(file, said, ACCEPTANCE)),
            key if WITH_IDS.contains(&key) => apart.extend(differing_entries(file, said, key)),
            key if differs(key, file.get(key), said.get(key)) => apart.push(Part::key(key)),
            _ => {}
        }
    }
    apart
}

fn is_map(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value.is_object())
}

fn differing_entries(file: &Doc, said: &Doc, key: &str) -> Vec<Part> {
    let (one, other) = (entries_of(file, key), entries_of(said, key));
    let mut apart = Vec::new();
    if key == ACCEPTANCE && one.names != other.names {
        apart.push(Part::key(key));
    }
    for name in one.names.iter().chain(other.names.iter().filter(|name| one.get(name).is_none())) {
        match (one.get(name), other.get(name)) {
            (Some(here), Some(there)) => {
                let fields: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
                let value = |entry: &Doc, field: &str| entry.get(field).filter(|value| !value.is_null()).cloned();
                let differing = fields.into_iter().filter(|field| value(here, field) != value(there, field));
                apart.extend(differing.map(|field| Part::field(key, name, field)));
            }
            _ if key != ACCEPTANCE => apart.push(Part::entry(key, name)),
            _ => {}
        }
    }
    apart
}

/// The document `old` with the values of these parts taken from `file`.
pub fn with_parts(old: &Doc, file: &Doc, parts: &[Part]) -> Doc {
    let mut new = old.clone();
    for part in parts {
        match (&part.entry, &part.field) {
            (None, _) if part.key == ACCEPTANCE => {
                let before = entries_of(old, ACCEPTANCE);
                let now = entries_of(file, ACCEPTANCE);
                let entry = |name: &String| {
                    // The time at which a criterion was met is a part of its own.
                    let known = before.get(name).or_else(|| now.get(name)).cloned().unwrap_or_default();
                    Value::Object(known)
                };
                set(&mut new, ACCEPTANCE, Some(Value::Array(now.names.iter().map(entry).collect())));
            }
            (None, _) => set(&mut new, &part.key, file.get(&part.key).cloned()),
            (Some(name), _) if part.key == METADATA => {
                let mut map = new.get(METADATA).and_then(Value::as_object).cloned().unwrap_or_default();
                let value = file.get(METADATA).and_then(|map| map.get(name)).cloned();
                set(&mut map, name, value);
                set(&mut new, METADATA, (!map.is_empty()).then_some(Value::Object(map)));
            }
            (Some(name), field) => with_entry(&mut new, file, &part.key, name, field.as_deref()),
        }
    }
    new
}

fn with_entry(new: &mut Doc, file: &Doc, key: &str, name: &str, field: Option<&str>) {
    let there = entries_of(file, key);
    let mut entries = list(new.get(key));
    let at = entries_of(new, key).names.iter().position(|known| known == name);
    match (field, at, there.get(name)) {
        // An entry without an id stays as it was written: it may not be a mapping.
        (None, None, Some(_)) => entries.extend(there.raw(name).cloned()),
        (None, Some(at), None) => drop(entries.remove(at)),
        (Some(field), Some(at), Some(entry)) => {
            if !entries[at].is_object() {
                entries[at] = Value::Object(mapping(key, &entries[at]));
            }
            if let Value::Object(map) = &mut entries[at] {
                set(map, field, entry.get(field).cloned());
            }
        }
        _ => {}
    }
    set(new, key, (!entries.is_empty()).then_some(Value::Array(entries)));
}

fn set(doc: &mut Doc, key: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(doc.insert(key.to_owned(), value)),
        None => drop(doc.shift_remove(key)),
    }
}

/// The position of an entry in a list of the file, from 0.
pub fn place_in(file: &Doc, key: &str, entry: &Value) -> Option<usize> {
    let name = name_of(key, entry);
    let mut seen = HashMap::new();
    list(file.get(key)).iter().position(|known| counted(name_of(key, known), &mut seen) == name)
}

/// The entries of a list by their names, in order.
struct Entries {
    names: Vec<String>,
    by_name: HashMap<String, (Doc, Value)>,
}

impl Entries {
    fn get(&self, name: &str) -> Option<&Doc> {
        self.by_name.get(name).map(|(entry, _)| entry)
    }

    fn raw(&self, name: &str) -> Option<&Value> {
        self.by_name.get(name).map(|(_, raw)| raw)
    }

    fn into_keys_value(self) -> Value {
        Value::Array(self.names.into_iter().map(Value::String).collect())
    }
}

fn entries_of(doc: &Doc, key: &str) -> Entries {
    let (mut names, mut by_name) = (Vec::new(), HashMap::new());
    let mut seen = HashMap::new();
    for raw in list(doc.get(key)) {
        let mut name = name_of(key, &raw);
        // A merge line by line may have duplicated an entry. A copy with other contents is another entry, without a name of
        // its own.
        if by_name.get(&name).is_some_and(|(_, known): &(Doc, Value)| *known != raw) {
            name = format!("{UNNAMED}{raw}");
        }
        let name = counted(name, &mut seen);
        if let Slot::Vacant(place) = by_name.entry(name) {
            names.push(place.key().clone());
            place.insert((mapping(key, &raw), raw));
        }
    }
    Entries { names, by_name }
}

/// The name of an entry: its id, the text of a criterion, or its contents.
fn name_of(key: &str, entry: &Value) -> String {
    let name = match key {
        ACCEPTANCE => words(entry).or_else(|| words(&entry["criterion"])),
        _ => entry["id"].as_str().map(str::to_owned),
    };
    name.unwrap_or_else(|| format!("{UNNAMED}{entry}"))
}

const UNNAMED: char = '+';

fn is_unnamed(name: &str) -> bool {
    name.starts_with(UNNAMED)
}

/// Numbers equal entries without an id, so that each counts.
fn counted(name: String, seen: &mut HashMap<String, usize>) -> String {
    if !is_unnamed(&name) {
        return name;
    }
    let count = seen.entry(name.clone()).or_insert(0);
    *count += 1;
    if *count == 1 { name } else { format!("{name}#{count}") }
}

fn mapping(key: &str, entry: &Value) -> Doc {
    match entry {
        Value::Object(map) => map.clone(),
        Value::String(_) if key == ACCEPTANCE => Map::from_iter([("criterion".to_owned(), entry.clone())]),
        _ => Doc::new(),
    }
}

/// The document that the log of an entity renders to.
pub fn render_doc<'a>(entity: &Entity, entries: impl IntoIterator<Item = &'a Entry>) -> Doc {
    parse(&render(entity, entries)).unwrap_or_default()
}

/// Parses a readable file.
///
/// Errors: a sentence, with line and column.
pub fn parse(text: &str) -> Result<Doc, String> {
    match yaml::read_value(text)? {
        Value::Object(doc) => Ok(doc),
        _ => Err("it is not a mapping".into()),
    }
}

/// Whether a text holds conflict markers of git.
pub fn is_conflicted(text: &str) -> bool {
    let size = size_of_markers(text);
    size.is_some() && text.lines().any(|line| marker(line).map(|(sign, size)| (sign, Some(size))) == Some(('>', size)))
}

/// The two sides of a conflicted text, each with the text around the conflicts. Conflicts within a side stay in it.
pub fn split(text: &str) -> [String; 2] {
    let mut sides = [String::new(), String::new()];
    let size = size_of_markers(text);
    let (mut within, mut depth) = (None, 0);
    for line in text.split_inclusive('\n') {
        let sign = marker(line).filter(|(_, found)| Some(*found) == size).map(|(sign, _)| sign);
        depth += usize::from(sign == Some('<'));
        match sign {
            Some('<') if depth == 1 => within = Some(0),
            Some('|') if depth == 1 => within = Some(2),
            Some('=') if depth == 1 => within = Some(1),
            Some('>') if depth == 1 => within = None,
            _ => match within {
                Some(side) => sides.get_mut(side).into_iter().for_each(|side| side.push_str(line)),
                None => sides.iter_mut().for_each(|side| side.push_str(line)),
            },
        }
        depth -= usize::from(sign == Some('>') && depth > 0);
    }
    sides
}

/// All sides of a conflicted text: more than two if a side was committed with its markers and merged again.
pub fn sides(text: &str) -> Vec<String> {
    let mut sides = split(text).to_vec();
    for _ in 1..MAX_NESTED {
        let all = sides.into_iter();
        sides = all.flat_map(|side| if is_conflicted(&side) { split(&side).to_vec() } else { vec![side] }).collect();
    }
    sides
}

/// The sign and the size of a conflict marker. Git settings change its length, and it is longer within a merged ancestor.
fn marker(line: &str) -> Option<(char, usize)> {
    let sign = line.chars().next().filter(|sign| "<|=>".contains(*sign))?;
    let rest = line.trim_start_matches(sign);
    let size = line.len() - rest.len();
    (size >= 7 && (rest.starts_with(' ') || rest.trim_end().is_empty())).then_some((sign, size))
}

fn size_of_markers(text: &str) -> Option<usize> {
    text.lines().filter_map(marker).find(|(sign, _)| *sign == '<').map(|(_, size)| size)
}

/// The names of parts for messages, without duplicates.
pub fn names_of<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Vec<String> {
    let keys: BTreeSet<String> = parts.into_iter().map(|part| part.key.clone()).collect();
    keys.into_iter().collect()
}

/// The events of a log that are neither among `heads` nor their ancestors.
pub fn beyond<'a>(entries: &'a [Entry], heads: &[Id]) -> Vec<&'a Entry> {
    let below: BTreeSet<Id> = among_below(entries, heads).into_iter().map(|entry| entry.event.id).collect();
    entries.iter().filter(|entry| !below.contains(&entry.event.id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(text: &str) -> Doc {
        parse(text).unwrap()
    }

    #[test]
    fn differences_are_named_by_key_entry_and_field() {
        let said = doc(
            "title: a\nlabels:\n  - x\nmetadata:\n  k: 1\nacceptance:\n  - criterion: c\nprogress:\n  - id: A\n    completed: false\n  - id: B\n    completed: false\n",
        );
        let file = doc(
            "labels: [x]\ntitle: b\nmetadata: {k: 2}\nacceptance:\n  - criterion: c\n    met: true\nprogress:\n  - id: B\n    completed: true\n  - more\n  - more\n",
        );
        let apart: Vec<String> = differing_parts(&file, &said).iter().map(ToString::to_string).collect();
        assert_eq!(
            apart,
            ["title", "metadata.k", "acceptance.c.met", "progress.B.completed", "progress", "progress", "progress.A"]
        );
        let all = differing_parts(&file, &said);
        assert!(differing_parts(&with_parts(&said, &file, &all), &file).is_empty());
    }

    #[test]
    fn the_order_of_entries_and_an_empty_list_have_no_meaning() {
        let said = doc("progress:\n  - id: \"1\"\n  - id: \"2\"\nlabels: [a, b]\n");
        let file = doc("progress:\n  - id: \"2\"\n  - id: \"1\"\nlabels: [b, a]\nfiles: []\n");
        assert_eq!(names_of(&differing_parts(&file, &said)), ["labels"]);
    }

    #[test]
    fn a_text_in_conflict_has_two_sides() {
        let text = "a: 1\n<<<<<<< ours\nb: 1\n||||||| base\nb: 0\n=======\nb: 2\n>>>>>>> theirs\nc: 1\n";
        assert_eq!(sides(text), ["a: 1\nb: 1\nc: 1\n", "a: 1\nb: 2\nc: 1\n"]);
    }

    #[test]
    fn markers_of_another_size_are_no_sides_and_conflicts_within_a_side_are() {
        let ancestor = "<<<<<<< ours\nb: 1\n||||||| base\n<<<<<<<<< one\nb: 0\n=========\nb: 3\n>>>>>>>>> two\n=======\nb: 2\n>>>>>>> theirs\n";
        assert_eq!(sides(ancestor), ["b: 1\n", "b: 2\n"]);
        let long = "<<<<<<<<<<<< ours\nb: 1\n============\nb: 2\n>>>>>>>>>>>> theirs\n";
        assert!(is_conflicted(long) && !is_conflicted("b: |\n  <<<<<<< no\n>>>>>>> yes\n"));
        assert_eq!(sides(long), ["b: 1\n", "b: 2\n"]);
        let nested =
            "<<<<<<< ours\n<<<<<<< ours\nb: 1\n=======\nb: 2\n>>>>>>> x\n=======\nb: 3\n>>>>>>> theirs\nc: 1\n";
        assert_eq!(sides(nested), ["b: 1\nc: 1\n", "b: 2\nc: 1\n", "b: 3\nc: 1\n"]);
    }
}
