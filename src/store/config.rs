//! Settings in their order: defaults, the user's own, the store's.
//!
//! Promises: an unknown key is a warning with the nearest known one, a value of the wrong kind an error with its line.
//! Environment and flags come after these and are the doors' business.

use toml::{Table, Value};

use crate::error::{Code, Error, Result};
use crate::model::finding::{Finding, Rule};
use crate::model::settings::Settings;

/// Largest settings file, in bytes.
pub const MAX_CONFIG: u64 = 256 * 1024;

/// Puts settings files over the defaults, the later ones over the earlier. Each is given with its name for messages.
///
/// Errors: `ERR_CORRUPT` with file and line where a text is no TOML or a value does not fit its key.
pub fn combine(files: &[(String, String)]) -> Result<(Settings, Vec<Finding>)> {
    let known = Table::try_from(Settings { agent: Some(String::new()), ..Settings::default() })
        .map_err(|e| Error::new(Code::Corrupt, format!("the default settings: {e}")))?;
    let mut whole = Table::new();
    let mut findings = Vec::new();
    for (name, text) in files {
        let table: Table = text.parse().map_err(|e: toml::de::Error| corrupt(name, text, &e))?;
        // Each file is checked alone, so that an error names the file it is in.
        toml::from_str::<Settings>(text).map_err(|e| corrupt(name, text, &e))?;
        unknown_keys(&known, &table, "", &mut |key, nearest| {
            let hint = nearest.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
            let line = text.lines().position(|l| {
                l.trim_start().trim_start_matches('[').starts_with(key.rsplit('.').next().unwrap_or(key))
            });
            findings.push(
                Finding::new(Rule::ConfigKey, format!("unknown key {key}{hint}")).at(name.clone(), line.map(|n| n + 1)),
            );
        });
        merge(&mut whole, table);
    }
    let settings = whole.try_into().map_err(|e| Error::new(Code::Corrupt, format!("settings: {e}")))?;
    Ok((settings, findings))
}

fn corrupt(name: &str, text: &str, e: &toml::de::Error) -> Error {
    let line = e.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let place = line.map(|n| format!(":{n}")).unwrap_or_default();
    Error::new(Code::Corrupt, format!("{name}{place}: {}", e.message().lines().next().unwrap_or_default()))
        .with(serde_json::json!({ "path": name, "line": line }))
        .hint("mend the file by hand")
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn unknown_keys(known: &Table, given: &Table, prefix: &str, report: &mut dyn FnMut(&str, Option<String>)) {
    for (key, value) in given {
        let name = format!("{prefix}{key}");
        match (known.get(key), value) {
            (Some(Value::Table(known)), Value::Table(given)) => unknown_keys(known, given, &format!("{name}."), report),
            (Some(_), _) => {}
            (None, _) => report(&name, nearest(key, known.keys().map(String::as_str)).map(|n| format!("{prefix}{n}"))),
        }
    }
}

/// The known word that is at most a third of its length away from `word`.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3 + 1)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// Edits between two words (Levenshtein, 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = corner + usize::from(ca != *cb);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (String, String) {
        (name.into(), text.into())
    }

    #[test]
    fn later_files_win_key_by_key() {
        let (settings, findings) =
            combine(&[file("a", "agent = \"x\"\n[lease]\nttl_seconds = 5\n"), file("b", "[lease]\nrequired = true\n")])
                .unwrap();
        assert_eq!(
            (settings.lease.ttl_seconds, settings.lease.required, settings.agent.as_deref()),
            (5, true, Some("x"))
        );
        assert!(findings.is_empty());
    }

    #[test]
    fn unknown_keys_warn_and_wrong_kinds_fail_with_their_line() {
        let (_, findings) = combine(&[file("a", "[lease]\nttl_second = 5\n")]).unwrap();
        assert!(findings[0].message.contains("lease.ttl_seconds"), "{}", findings[0].message);
        assert_eq!(findings[0].line, Some(2));
        let refused = combine(&[file("a", "\n[lease]\nttl_seconds = \"long\"\n")]).unwrap_err();
        assert!(refused.message.starts_with("a:3"), "{}", refused.message);
    }
}
