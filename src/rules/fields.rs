//! Reads, writes and checks plain fields. No other module knows which values a field accepts.
//!
//! Guarantees that [`write`] changes everything that an event names or nothing. [`check`] is stricter and serves commands.
//! Leaves to others: who may write.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::error::{Error, Result};
pub use crate::model::field::NAMES;
use crate::model::field::{Field, FieldValue, Form, TaskFields, field};
use crate::model::id::{check_agent_name, quoted};
use crate::model::json::plain_words;
use crate::model::payload::Fields;
use crate::model::plain::is_blank;
use crate::model::search::text::composed;
use crate::model::task::TaskType;

/// Names that are registers of their own or computed, and so cannot be fields of a newer version.
pub const RESERVED: &[&str] = &[
    "id",
    "status",
    "owner",
    "parent",
    "created_at",
    "created_by",
    "completed_at",
    "cancelled_at",
    "archived_at",
    "verified",
    "relationships",
    "progress",
    "context",
    "threads",
];

/// Whether a field is unknown to this version: neither one of [`NAMES`] nor of [`RESERVED`].
pub fn is_unknown(name: &str) -> bool {
    !NAMES.contains(&name) && !RESERVED.contains(&name)
}

/// The longest title, in characters.
pub const MAX_TITLE: usize = 200;
/// The longest label, watcher, file or criterion, in characters.
pub const MAX_WORD: usize = 1_000;
/// The most entries of one list.
pub const MAX_LIST: usize = 500;
/// The title of a task whose source gives it none.
const UNTITLED: &str = "untitled";
/// The lowest and highest priority.
pub const PRIORITY: std::ops::RangeInclusive<i64> = -5..=5;

/// Which maps were written to and still need sorting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loose {
    metadata: bool,
    extra: bool,
}

/// Writes all of `set` into `fields`, or nothing.
///
/// Errors: the reason why one value does not fit its field. Whether a value is sensible is left to [`check`]: a value of an
/// event is accepted as it is.
pub fn write(fields: &mut TaskFields, set: &Fields) -> std::result::Result<(), String> {
    let mut loose = Loose::default();
    write_loosely(fields, set, &mut loose)?;
    sort_maps(fields, loose);
    Ok(())
}

/// As [`write`], for many sets in a row, followed by one [`sort_maps`], so that a map of thousands of entries is sorted once.
///
/// Errors: as [`write`].
pub fn write_loosely(fields: &mut TaskFields, set: &Fields, loose: &mut Loose) -> std::result::Result<(), String> {
    // Written into an empty value first, so that the cost depends on the write and not on the task.
    let mut next = TaskFields::default();
    for (field, value) in set.iter().filter_map(|(name, value)| Some((field(name)?, value))) {
        (field.read)(&mut next, value).map_err(|e| format!("{}: {}", field.name, plain_words(&e.to_string())))?;
    }
    for (name, value) in set {
        match (field(name), name.strip_prefix("metadata.")) {
            (Some(field), _) => {
                // A map written as a whole keeps its order.
                loose.metadata &= name != "metadata";
                (field.swap)(fields, &mut next);
            }
            (None, Some(key)) => {
                put(&mut fields.metadata, key, value);
                loose.metadata = true;
            }
            (None, None) => {
                put(&mut fields.extra, name, value);
                loose.extra = true;
            }
        }
    }
    Ok(())
}

/// Sorts the maps that were written, so that the same writes give the same bytes in any order.
pub fn sort_maps(fields: &mut TaskFields, loose: Loose) {
    for (map, loose) in [(&mut fields.metadata, loose.metadata), (&mut fields.extra, loose.extra)] {
        if loose && !map.keys().is_sorted() {
            map.sort_keys();
        }
    }
}

/// Sets an entry of a map that is sorted later.
fn put(map: &mut Fields, key: &str, value: &Value) {
    if value.is_null() {
        map.swap_remove(key);
    } else if let Some(known) = map.get_mut(key) {
        *known = value.clone();
    } else {
        map.insert(key.to_owned(), value.clone());
    }
}

/// Whether writing a value would change nothing.
pub fn holds(fields: &TaskFields, name: &str, value: &Value) -> bool {
    let Some(field) = field(name) else { return entry(fields, name).unwrap_or(&Value::Null) == value };
    let mut alone = TaskFields::default();
    (field.read)(&mut alone, value).is_ok() && (field.get)(&alone) == (field.get)(fields)
}

/// The value of a register that is an entry of a map, which accepts any value.
fn entry<'f>(fields: &'f TaskFields, name: &str) -> Option<&'f Value> {
    match name.strip_prefix("metadata.") {
        Some(key) => fields.metadata.get(key),
        None => fields.extra.get(name),
    }
}

/// The present value of a register, as in an event; `null` if it is empty.
pub fn value_of(fields: &TaskFields, name: &str) -> Value {
    match field(name) {
        Some(field) => (field.get)(fields).to_json(),
        None => entry(fields, name).cloned().unwrap_or_default(),
    }
}

/// Checks the fields that a command or a hand edit is about to write.
///
/// Errors: `ERR_VALIDATION` naming the field and what would be allowed.
pub fn check(set: &Fields) -> Result<()> {
    let mut fields = TaskFields { title: "-".into(), ..TaskFields::default() };
    write(&mut fields, set).map_err(|reason| Error::validation(format!("a field does not fit: {reason}")))?;
    if let Some(name) = fields.extra.keys().next() {
        return Err(Error::validation(format!("there is no field {}", quoted(name)))
            .hint("keep your own values under metadata"));
    }
    if let TaskType::Other(word) = &fields.kind {
        return Err(Error::validation(format!("{} is not a type of task", quoted(word)))
            .with(json!({ "allowed": TaskType::WORDS }))
            .hint(format!("use one of {}", TaskType::WORDS.join(", "))));
    }
    faults(&fields).into_iter().next().map_or(Ok(()), |(_, fault)| Err(fault))
}

/// The fields whose values no command writes, each with its error.
pub fn faults(fields: &TaskFields) -> Vec<(&'static str, Error)> {
    fields.entries().filter_map(|(field, value)| Some((field.name, check_one(field, value).err()?))).collect()
}

/// The value that a command would write and that says most of the present one, as in an event.
pub fn nearest(fields: &TaskFields, name: &str) -> Value {
    let Some(field) = field(name) else { return value_of(fields, name) };
    let value = (field.get)(fields);
    match (field.form, value) {
        _ if check_one(field, value).is_ok() => value.to_json(),
        (Form::Title, FieldValue::Text(Some(text))) => {
            json!(first_line(text, MAX_TITLE).unwrap_or_else(|| UNTITLED.to_owned()))
        }
        (_, FieldValue::Text(text)) => json!(text.and_then(|text| first_line(text, MAX_TITLE))),
        (_, FieldValue::Number(number)) => json!(number.map(|n| n.clamp(*PRIORITY.start(), *PRIORITY.end()))),
        (form, FieldValue::List(list)) => {
            let mut kept: Vec<String> = Vec::new();
            for entry in list {
                let entry = match check_line(field.name, entry, MAX_WORD) {
                    Ok(()) => Some(entry.clone()),
                    Err(_) => first_line(entry, MAX_WORD),
                };
                let fits = |entry: &String| form != Form::Agents || check_agent_name(entry).is_ok();
                let is_new = |entry: &String| kept.iter().all(|other| compared(form, other) != compared(form, entry));
                let entry = entry.filter(fits).filter(is_new);
                kept.extend(entry);
            }
            kept.truncate(MAX_LIST);
            json!(kept)
        }
        (_, FieldValue::Time(_) | FieldValue::Map(_)) => value.to_json(),
    }
}

/// The first line of a text that is not blank, cut after so many characters.
fn first_line(text: &str, most: usize) -> Option<String> {
    let cut = |line: &str| line.trim().chars().take(most).collect::<String>().trim_end().to_owned();
    text.split(['\n', '\r', '\0']).map(cut).find(|line| !is_blank(line))
}

fn check_one(field: &Field, value: FieldValue<'_>) -> Result<()> {
    match (field.form, value) {
        (Form::Title | Form::Line, FieldValue::Text(Some(text))) => check_line(field.name, text, MAX_TITLE),
        (Form::Priority, FieldValue::Number(Some(priority))) => check_priority(priority),
        (Form::Agents, FieldValue::List(list)) => {
            check_list(field, list)?;
            list.iter().try_for_each(|name| check_agent_name(name))
        }
        (_, FieldValue::List(list)) => check_list(field, list),
        _ => Ok(()),
    }
}

fn check_priority(priority: i64) -> Result<()> {
    if PRIORITY.contains(&priority) {
        return Ok(());
    }
    Err(Error::validation(format!("priority {priority} is not within -5 to 5")).hint("use a whole number from -5 to 5"))
}

/// An entry of a list in the form in which it is compared with others.
fn compared(form: Form, entry: &str) -> Cow<'_, str> {
    if form == Form::Words { composed(entry) } else { entry.into() }
}

fn check_list(field: &Field, list: &[String]) -> Result<()> {
    let name = field.name;
    if list.len() > MAX_LIST {
        return Err(Error::validation(format!("{name} has {} entries; the maximum is {MAX_LIST}", list.len())));
    }
    let mut seen = std::collections::BTreeSet::new();
    for entry in list {
        check_line(name, entry, MAX_WORD)?;
        if !seen.insert(compared(field.form, entry)) {
            return Err(Error::validation(format!("{name} names {} twice", quoted(entry))));
        }
    }
    Ok(())
}

fn check_line(name: &str, text: &str, most: usize) -> Result<()> {
    if is_blank(text) {
        return Err(Error::validation(format!("{name} is empty")));
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err(Error::validation(format!("{name} must be one line without NUL: {}", quoted(text)))
            .hint("write longer text in --intent or a context entry"));
    }
    let count = text.chars().count();
    if count > most {
        return Err(Error::validation(format!("{name} has {count} characters; the maximum is {most}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(value: Value) -> Fields {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_nearest_value_has_no_fault() {
        let long = "x".repeat(MAX_WORD + 1);
        let many: Vec<String> = (0..=MAX_LIST).map(|n| n.to_string()).collect();
        for (name, value, nearest_one) in [
            ("title", json!(""), json!(UNTITLED)),
            ("title", json!("\n one\ntwo"), json!("one")),
            ("title", json!(long), json!(long[..MAX_TITLE])),
            ("title", json!(" kept "), json!(" kept ")),
            ("estimate", json!("\u{200b}\n"), Value::Null),
            ("priority", json!(99), json!(5)),
            ("priority", json!(i64::MIN), json!(-5)),
            ("labels", json!(["", "a", "a", "b\0c", " d "]), json!(["a", "b", " d "])),
            ("labels", json!(["\u{e9}", "e\u{301}"]), json!(["\u{e9}"])),
            ("files", json!(many), json!(many[..MAX_LIST])),
            ("acceptance", json!([long]), json!([long[..MAX_WORD]])),
            ("watchers", json!(["ada", "no name!", "ada"]), json!(["ada"])),
        ] {
            let mut fields = TaskFields { title: "-".into(), ..TaskFields::default() };
            write(&mut fields, &set(json!({ name: value }))).unwrap();
            assert_eq!(nearest(&fields, name), nearest_one, "{name}");
            write(&mut fields, &set(json!({ name: nearest_one }))).unwrap();
            assert!(faults(&fields).is_empty(), "{name}");
        }
    }

    #[test]
    fn maps_are_put_in_order_once_and_say_the_same_as_if_they_were_each_time() {
        let keys = |fields: &TaskFields| fields.metadata.keys().cloned().collect::<Vec<_>>().join("");
        let sets = [
            json!({"metadata.c": 1, "metadata.a": 2, "zeta": 1, "alpha": 2}),
            json!({"metadata.b": {"y": 1, "x": 2}, "metadata.c": null, "metadata.d": 4}),
            json!({"metadata.a": null, "metadata.c": 3}),
        ];
        let (mut once, mut each, mut loose) = (TaskFields::default(), TaskFields::default(), Loose::default());
        for set in &sets {
            write_loosely(&mut once, set.as_object().unwrap(), &mut loose).unwrap();
            write(&mut each, set.as_object().unwrap()).unwrap();
        }
        sort_maps(&mut once, loose);
        assert_eq!((keys(&once), keys(&each)), ("bcd".into(), "bcd".into()));
        assert_eq!(once.extra.keys().collect::<Vec<_>>(), ["alpha", "zeta"]);
        assert_eq!(json!(once), json!(each));
        // A map written as a whole keeps its order until an entry is written.
        let whole = json!({"metadata.x": 1, "metadata": {"b": 1, "a": 2}});
        for fields in [&mut once, &mut each] {
            write(fields, whole.as_object().unwrap()).unwrap();
            assert_eq!(keys(fields), "ba");
        }
        assert!(write(&mut once, json!({"metadata.a": 9, "priority": "x"}).as_object().unwrap()).is_err());
        assert_eq!(json!(once), json!(each), "all or nothing");
        write(&mut once, json!({"metadata.aa": 1}).as_object().unwrap()).unwrap();
        assert_eq!(keys(&once), "aaab");
    }

    #[test]
    fn an_unchanged_value_is_detected_without_writing() {
        let mut fields = TaskFields::default();
        write(
            &mut fields,
            json!({"metadata.a": {"b": 1}, "priority": 2, "labels": ["x"], "zeta": 1}).as_object().unwrap(),
        )
        .unwrap();
        for (name, value, is) in [
            ("metadata.a", json!({"b": 1}), true),
            ("metadata.a", json!(null), false),
            ("metadata.b", json!(null), true),
            ("metadata", json!({"a": {"b": 1}}), true),
            ("priority", json!(2), true),
            ("priority", json!("2"), false),
            ("labels", json!(["x"]), true),
            ("labels", json!([]), false),
            ("estimate", json!(null), true),
            ("zeta", json!(1), true),
            ("zeta", json!(2), false),
        ] {
            assert_eq!(holds(&fields, name, &value), is, "{name} {value}");
        }
    }

    #[test]
    fn all_or_nothing() {
        let mut fields = TaskFields::default();
        assert!(write(&mut fields, &set(json!({"title": "new", "priority": "high"}))).is_err());
        assert_eq!(fields, TaskFields::default());
        write(&mut fields, &set(json!({"title": "new", "metadata.a": 1, "severity": 3}))).unwrap();
        assert_eq!((fields.metadata["a"].clone(), fields.extra["severity"].clone()), (json!(1), json!(3)));
    }

    #[test]
    fn every_name_is_written_and_read_back() {
        let values = json!({
            "title": "t", "intent": "i", "type": "ops", "priority": 2, "labels": ["l"], "watchers": ["w"],
            "acceptance": ["a"], "estimate": "2h", "due": "2026-01-01T00:00:00Z", "defer_until": "2026-01-01T00:00:00Z",
            "files": ["src/**"], "metadata": {"k": [1]}, "need_perm": "review", "need_precedence": 3
        });
        let mut fields = TaskFields::default();
        write(&mut fields, &set(values.clone())).unwrap();
        for name in NAMES {
            assert_eq!(value_of(&fields, name), values[*name], "{name}");
            assert!(holds(&fields, name, &values[*name]), "{name}");
        }
        check(&set(values)).unwrap();
    }

    #[test]
    fn commands_are_held_to_sensible_values() {
        for bad in [
            json!({"title": " "}),
            json!({"title": "a\nb"}),
            json!({"title": "x".repeat(201)}),
            json!({"type": "epic"}),
            json!({"priority": 6}),
            json!({"labels": ["a", "a"]}),
            json!({"labels": ["\u{e9}", "e\u{301}"]}),
            json!({"watchers": ["Not A Name"]}),
            json!({"colour": "red"}),
            json!({"due": "soon"}),
        ] {
            assert!(check(&set(bad.clone())).is_err(), "{bad}");
        }
    }
}
