//! One setting of a settings file: its name, and the file with another value.
//!
//! Guarantees that a value is judged as that of a file is, and that comments and order of the file stay.
//! Leaves to others: which file, and who may write it.

use serde_json::json;
use toml::{Table, Value};
use toml_edit::{DocumentMut, Item, Key, TableLike};

use super::config::{MAX_CONFIG, SettingsFile, UNTIL_CORRECTED, known, values};
use crate::error::{Code, Error, Result};
use crate::model::finding::Rule;
use crate::model::id::quoted;
use crate::model::subject::Subjects;
use crate::model::suggest::nearest;

/// The parts of a setting's name, such as `lease.ttl_seconds`.
///
/// Errors: `ERR_VALIDATION` for a text that is no key of TOML.
pub fn path_of(name: &str) -> Result<Vec<String>> {
    let parts = Key::parse(name).map_err(|_| {
        Error::validation(format!("{} is not the name of a setting", quoted(name)))
            .hint("agentpm config list prints the names")
    })?;
    Ok(parts.iter().map(|part| part.get().to_owned()).collect())
}

/// The name of a setting, from its parts.
pub fn name_of(path: &[String]) -> String {
    path.iter().map(|part| Key::new(part).to_string()).collect::<Vec<_>>().join(".")
}

/// The value at a path.
pub fn value_at<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (last, above) = path.split_last()?;
    above.iter().try_fold(table, |table, part| table.get(part)?.as_table())?.get(last)
}

/// A value of the kind that a setting has.
///
/// Errors: `ERR_VALIDATION` for an unknown name, with the nearest known one, and for the name of a section.
pub fn model_of(path: &[String]) -> Result<Value> {
    let name = name_of(path);
    let saved = match path {
        [section, query] if section == "query" => {
            Table::from_iter([(section.clone(), Table::from_iter([(query.clone(), Value::Boolean(true))]).into())])
        }
        _ => Table::new(),
    };
    let known = known(&saved)?;
    match value_at(&known, path) {
        Some(Value::Table(_)) => Err(Error::validation(format!("{name} is a section of settings"))
            .hint(format!("agentpm config list {name} shows what is in it"))),
        Some(model) => Ok(model.clone()),
        None => {
            let mut names = Vec::new();
            collect_names(&known, &mut Vec::new(), &mut names);
            let last = path.last().map(String::as_str).unwrap_or_default();
            let begun = names.iter().find(|known| known.starts_with(&name));
            let ended = || names.iter().find(|known| known.rsplit('.').next() == Some(last));
            let all = names.iter().chain(known.keys()).map(String::as_str);
            let near = begun.or_else(ended).cloned().or_else(|| nearest(&name, all));
            let meant = near.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            Err(Error::validation(format!("unknown key {name}{meant}"))
                .with(json!({ "key": name, "nearest": near }))
                .hint("agentpm config list prints all settings"))
        }
    }
}

fn collect_names(table: &Table, path: &mut Vec<String>, names: &mut Vec<String>) {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Table(inner) => collect_names(inner, path, names),
            _ => names.push(name_of(path)),
        }
        path.pop();
    }
}

/// The text of a settings file in which a setting has this value. A text needs no quotes.
///
/// Errors: `ERR_VALIDATION` for an unknown name and for a value that does not fit, `ERR_CORRUPT` if the file cannot be read.
pub fn with_setting(file: &SettingsFile, path: &[String], value: &str) -> Result<String> {
    let model = model_of(path)?;
    let as_text = || toml_edit::Value::from(value);
    let value = if model.is_str() { as_text() } else { value.trim().parse().unwrap_or_else(|_| as_text()) };
    check_alone(file, path, &value)?;
    // In a file such a name stays in force, so that the bus refuses it: another name would lead to the events of another plan.
    if name_of(path) == "bus.plan"
        && let Some(plan) = value.as_str().filter(|plan| !plan.is_empty())
    {
        Subjects::of(plan)?;
    }
    let corrupt = |why: &str| {
        Error::new(Code::Corrupt, format!("{}: {why}; nothing was written", file.name))
            .hint("correct the file with an editor; agentpm lint names the line")
    };
    let mut document: DocumentMut = file.text.parse().map_err(|e: toml_edit::TomlError| corrupt(e.message()))?;
    put(document.as_table_mut(), path, value).ok_or_else(|| corrupt("a value stands where a section must be"))?;
    let mut text = document.to_string();
    // The library writes new lines with LF, and keeps the ends of the others.
    if file.text.contains("\r\n") {
        text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    if text.len() as u64 > MAX_CONFIG {
        return Err(Error::validation(format!("{} would be larger than {MAX_CONFIG} bytes", file.name)));
    }
    Ok(text)
}

/// Judges a value as if it were alone in the file.
fn check_alone(file: &SettingsFile, path: &[String], value: &toml_edit::Value) -> Result<()> {
    let mut alone = DocumentMut::new();
    put(alone.as_table_mut(), path, value.clone());
    let mut findings = Vec::new();
    values(&SettingsFile { text: alone.to_string(), ..file.clone() }, &mut findings);
    let Some(finding) = findings.into_iter().next() else { return Ok(()) };
    let message = finding.message.trim_end_matches(UNTIL_CORRECTED).to_owned();
    let users = finding.rule == Rule::ConfigKey && message.ends_with(" alone");
    let hint = if users { "add --user" } else { "agentpm schema config describes the values" };
    Err(Error::validation(format!("{message}; nothing was written")).hint(hint))
}

/// Writes a value into a table, in place of an old one; `None` where a value stands in place of a section.
fn put(mut table: &mut dyn TableLike, path: &[String], value: toml_edit::Value) -> Option<()> {
    let (last, above) = path.split_last()?;
    for part in above {
        let section = || {
            let mut section = toml_edit::Table::new();
            section.set_implicit(true);
            Item::Table(section)
        };
        table = table.entry(part).or_insert_with(section).as_table_like_mut()?;
    }
    match table.get_mut(last) {
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        _ => drop(table.insert(last, Item::Value(value))),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SettingsFile {
        SettingsFile::of_store("config.toml".into(), text.into())
    }

    fn set(text: &str, name: &str, value: &str) -> Result<String> {
        with_setting(&file(text), &path_of(name)?, value)
    }

    #[test]
    fn comments_and_order_stay() {
        let text = "# ours\nformat = 1\n\n[lease] # leases\nttl_seconds = 5 # short\nrequired = true\n";
        assert_eq!(set(text, "lease.ttl_seconds", "900").unwrap(), text.replace("= 5", "= 900"));
        assert_eq!(
            set("format = 1\n", "review.required", "true").unwrap(),
            "format = 1\n\n[review]\nrequired = true\n"
        );
        let nested = set("format = 1\n", "lint.severity.odd-file", "off").unwrap();
        assert_eq!(nested, "format = 1\n\n[lint.severity]\nodd-file = \"off\"\n");
        assert_eq!(
            set("lease = { required = true }\n", "lease.required", "false").unwrap(),
            "lease = { required = false }\n"
        );
        let dos = "format = 1\r\n[lease]\r\nttl_seconds = 5 # short\r\n";
        assert_eq!(set(dos, "lease.required", "true").unwrap(), format!("{dos}required = true\r\n"));
        assert_eq!(set("", "query.mine", "owner:me").unwrap(), "[query]\nmine = \"owner:me\"\n");
    }

    #[test]
    fn what_a_file_may_not_say_is_refused() {
        let refused = |name, value| set("format = 1\n", name, value).unwrap_err().message;
        assert_eq!(refused("lease.ttl_second", "5"), "unknown key lease.ttl_second; did you mean lease.ttl_seconds?");
        assert_eq!(refused("ttl_seconds", "5"), "unknown key ttl_seconds; did you mean lease.ttl_seconds?");
        assert_eq!(refused("lease.ttl", "5"), "unknown key lease.ttl; did you mean lease.ttl_seconds?");
        assert_eq!(refused("laese", "5"), "unknown key laese; did you mean lease?");
        assert_eq!(refused("lease", "5"), "lease is a section of settings");
        assert!(
            refused("lease.ttl_seconds", "long").starts_with("lease.ttl_seconds = "),
            "{}",
            refused("lease.ttl_seconds", "long")
        );
        assert!(refused("claim.overlap", "maybe").contains("maybe"));
        assert!(refused("query.bad", "statsu:open").contains("did you mean status:?"));
        assert!(refused("lint.severity.log-gap", "off").contains("cannot make it less than an error"));
        assert_eq!(set("x = [", "lease.required", "true").unwrap_err().code, Code::Corrupt);
        assert_eq!(set("lease = 3\n", "lease.required", "true").unwrap_err().code, Code::Corrupt);
        assert!(refused("bus.plan", "bad name").contains("is no name for a plan on the bus"));
        assert!(refused("bus.replicas", "0").contains("one to five servers"));
        set("", "bus.plan", "").unwrap();
        let address = refused("bus.url", "nats://elsewhere");
        assert!(address.starts_with("bus.url is read from ~/.agentpm/config.toml alone"), "{address}");
    }
}
