//! Settings in their order: defaults, the user's own, the store's.
//!
//! Promises: an unknown key is a warning with the nearest known one, a value of the wrong kind an error with its line.
//! Environment and flags come after these and are the doors' business.

use toml::{Table, Value};

use crate::error::{Code, Error, Result};
use crate::model::finding::{Finding, Level, Rule};
use crate::model::nearest::nearest;
use crate::model::settings::Settings;

/// Largest settings file, in bytes.
pub const MAX_CONFIG: u64 = 256 * 1024;

/// Puts settings files over the defaults, the later ones over the earlier. Each is given with its name for messages.
///
/// Errors: `ERR_CORRUPT` with file and line where a text is no TOML or a value does not fit its key.
pub fn combine(files: &[(String, String)]) -> Result<(Settings, Vec<Finding>)> {
    let mut all = Settings { agent: Some(String::new()), ..Settings::default() };
    all.lint.severity = Rule::ALL.iter().map(|rule| (rule.code().to_owned(), Level::Error)).collect();
    let known = Table::try_from(all).map_err(|e| Error::new(Code::Corrupt, format!("the default settings: {e}")))?;
    let mut whole = Table::new();
    let mut findings = Vec::new();
    for (name, text) in files {
        let table: Table = text.parse().map_err(|e: toml::de::Error| corrupt(name, text, &e))?;
        // Each file is checked alone, so that an error names the file it is in.
        let own = toml::from_str::<Settings>(text).map_err(|e| corrupt(name, text, &e))?;
        unknown_keys(&known, &table, "", &mut |key, nearest| {
            let hint = nearest.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
            let line = line_of(text, key);
            findings.push(Finding::new(Rule::ConfigKey, format!("unknown key {key}{hint}")).at(name.clone(), line));
        });
        let firm = |code: &str| Rule::of(code).is_some_and(|rule| !rule.is_configurable());
        for (code, _) in own.lint.severity.iter().filter(|(code, level)| **level != Level::Error && firm(code)) {
            let message =
                format!("{code} means lost or contradictory data; lint.severity cannot make it less than an error");
            findings.push(Finding::new(Rule::ConfigKey, message).at(name.clone(), line_of(text, code)));
        }
        merge(&mut whole, table);
    }
    let settings = whole.try_into().map_err(|e| Error::new(Code::Corrupt, format!("settings: {e}")))?;
    Ok((settings, findings))
}

/// The line on which a key stands, by its last part.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let last = key.rsplit('.').next().unwrap_or(key);
    let bare = |line: &str| line.trim_start().trim_start_matches(['[', '"', '\'']).starts_with(last);
    let line = text.lines().position(bare).or_else(|| text.lines().position(|line| line.contains(last)));
    line.map(|n| n + 1)
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
    fn rules_of_lint_are_known_by_their_codes_and_what_loses_data_stays_an_error() {
        let text =
            "[lint.severity]\nodd-file = \"off\"\nlog-gap = \"warning\"\nlog-line = \"error\"\nod-file = \"off\"\n";
        let (settings, findings) = combine(&[file("a", text)]).unwrap();
        let said: Vec<_> = findings.iter().map(|f| (f.line, f.message.as_str())).collect();
        assert_eq!(said[0], (Some(5), "unknown key lint.severity.od-file; did you mean lint.severity.odd-file?"));
        assert!(said.len() == 2 && said[1].0 == Some(3) && said[1].1.starts_with("log-gap means lost"), "{said:?}");
        let judge = |rule| settings.lint.judge(Finding::new(rule, "x")).map(|f| f.severity);
        assert_eq!([judge(Rule::OddFile), judge(Rule::LogGap)], [None, Some(Rule::LogGap.severity())]);
        assert!(combine(&[file("a", "[lint.severity]\nodd-file = \"of\"\n")]).unwrap_err().message.starts_with("a:2"));
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
