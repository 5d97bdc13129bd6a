//! Reads settings in their order: defaults, the user's own, the store's.
//!
//! Guarantees that an unknown key is a warning with the nearest known one, and a value of the wrong type an error with its
//! line.
//! Leaves to others: environment and flags, which the interfaces apply after these.

use toml::{Table, Value};

use crate::error::{Code, Error, Result};
use crate::model::agent::MAX_TTL;
use crate::model::finding::{Finding, Level, Rule, Spot};
use crate::model::id::check_agent_name;
use crate::model::json::plain_words;
use crate::model::search::{self, Search};
use crate::model::settings::{Settings, USERS_ONLY};
use crate::model::suggest::nearest;

/// What a finding about a value says besides its fault.
pub const UNTIL_CORRECTED: &str = "; the default applies until it is corrected";

/// The largest settings file, in bytes.
pub const MAX_CONFIG: u64 = 256 * 1024;

/// A settings file.
#[derive(Clone, Debug)]
pub struct SettingsFile {
    /// Its name, for messages.
    pub name: String,
    /// Its contents.
    pub text: String,
    /// Whether it is the user's own, and not that of a store.
    pub is_users: bool,
}

impl SettingsFile {
    /// The file of a store.
    pub fn of_store(name: String, text: String) -> Self {
        SettingsFile { name, text, is_users: false }
    }
}

/// Overrides the defaults with settings files, later ones last. What cannot be read is a finding, and the default applies. The
/// finding names the key, or none if the whole file cannot be read.
pub fn combine(files: &[SettingsFile]) -> (Settings, Vec<Finding>) {
    let mut whole = Table::new();
    let mut findings = Vec::new();
    for table in files.iter().filter_map(|file| values(file, &mut findings)) {
        merge(&mut whole, table);
    }
    (whole.try_into().unwrap_or_default(), findings)
}

/// The values of a settings file that count, without the others; `None` if the file cannot be read.
pub fn values(file: &SettingsFile, findings: &mut Vec<Finding>) -> Option<Table> {
    let SettingsFile { name, text, is_users } = file;
    let mut table: Table = match text.parse() {
        Ok(table) => table,
        Err(e) => {
            let markers = text.lines().any(|line| line.starts_with("<<<<<<< "));
            let why = if markers { "it holds conflict markers of git".into() } else { plain_words(e.message()) };
            let message = format!("{why}; the defaults apply until it is corrected");
            findings.push(Finding::new(Rule::ConfigInvalid, message).at(name.clone(), line_at(text, &e)));
            return None;
        }
    };
    // Most stores set only their format, and every command reads that.
    if table.keys().all(|key| key == "format") && table.get("format").is_none_or(Value::is_integer) {
        return Some(table);
    }
    let known = known(&table).ok()?;
    if !is_users {
        take_users_only(&mut table, &mut |key| {
            let message = format!("{key} is read from ~/.agentpm/config.toml alone");
            findings.push(Finding::new(Rule::ConfigKey, message).at(name.clone(), line_of(text, key)));
        });
    }
    odd(&known, name, text, &table, findings);
    let mut report = |path: &[String], value: &Value, why: &str| {
        let key = path.join(".");
        let message = format!("{key} = {value}: {}{UNTIL_CORRECTED}", plain_words(why));
        let line = line_below(text, path).or_else(|| line_of(text, &key));
        findings.push(Finding::new(Rule::ConfigInvalid, message).at(name.clone(), line).on(Spot::Key(key)));
    };
    take_misfits(&known, &mut table, &mut Vec::new(), &mut report);
    take_unusable(&mut table, &mut report);
    Some(table)
}

/// Removes and reports the values with which no command or no claim would work.
fn take_unusable(table: &mut Table, report: &mut dyn FnMut(&[String], &Value, &str)) {
    let name = table.get("agent").and_then(Value::as_str).map(check_agent_name);
    if let Some(Err(why)) = name
        && let Some(value) = table.remove("agent")
    {
        report(&["agent".to_owned()], &value, &why.message);
    }
    let thread = table.get_mut("thread").and_then(Value::as_table_mut);
    if let Some(thread) = thread
        && let Some(name) = thread.get("escalate_to").and_then(Value::as_str).filter(|name| !name.is_empty())
        && let Err(why) = check_agent_name(name)
        && let Some(value) = thread.remove("escalate_to")
    {
        report(&["thread", "escalate_to"].map(str::to_owned), &value, &why.message);
    }
    let lease = table.get_mut("lease").and_then(Value::as_table_mut);
    if let Some(lease) = lease
        && let Some(seconds) = lease.get("ttl_seconds").and_then(Value::as_integer)
        && !(1..=MAX_TTL / 1_000).contains(&seconds)
    {
        let path = ["lease", "ttl_seconds"].map(str::to_owned);
        report(&path, &Value::Integer(seconds), "a lease lasts at least a second and at most seven days");
        lease.remove("ttl_seconds");
    }
    let bus = table.get_mut("bus").and_then(Value::as_table_mut);
    if let Some(bus) = bus
        && let Some(replicas) = bus.get("replicas").and_then(Value::as_integer)
        && !REPLICAS.contains(&replicas)
    {
        let path = ["bus", "replicas"].map(str::to_owned);
        report(&path, &Value::Integer(replicas), "one to five servers keep each message");
        bus.remove("replicas");
    }
}

/// The numbers of servers that can keep a message.
const REPLICAS: std::ops::RangeInclusive<i64> = 1..=5;

/// Removes and reports the keys that only the user's own file may have.
fn take_users_only(table: &mut Table, report: &mut dyn FnMut(&str)) {
    for (section, key) in USERS_ONLY {
        if let Some(Value::Table(given)) = table.get_mut(section)
            && given.remove(key).is_some()
        {
            report(&format!("{section}.{key}"));
        }
    }
}

/// All existing keys; saved queries have the names that a file gives them.
pub fn known(given: &Table) -> Result<Table> {
    let mut all = Settings { agent: Some(String::new()), ..Settings::default() };
    all.review.need_precedence = Some(0);
    all.lint.severity = Rule::ALL.iter().map(|rule| (rule.code().to_owned(), Level::Error)).collect();
    let saved = given.get("query").and_then(Value::as_table);
    all.query = saved.into_iter().flatten().map(|(name, _)| (name.clone(), String::new())).collect();
    Table::try_from(all).map_err(|e| Error::new(Code::Corrupt, format!("the default settings: {e}")))
}

/// Reports the keys and values of a file that have no meaning.
fn odd(known: &Table, name: &str, text: &str, table: &Table, findings: &mut Vec<Finding>) {
    unknown_keys(known, table, "", &mut |key, nearest| {
        let hint = nearest.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let line = line_below(text, &path).or_else(|| line_of(text, key));
        findings.push(Finding::new(Rule::ConfigKey, format!("unknown key {key}{hint}")).at(name, line));
    });
    let severity = table.get("lint").and_then(|lint| lint.get("severity")).and_then(Value::as_table);
    let firm = |code: &str| Rule::of(code).is_some_and(|rule| !rule.is_configurable());
    let lowers = |is: &Value| matches!(is.as_str(), Some("off" | "warning"));
    for (code, _) in severity.into_iter().flatten().filter(|(code, is)| firm(code) && lowers(is)) {
        let message =
            format!("{code} means lost or contradictory data; lint.severity cannot make it less than an error");
        findings.push(Finding::new(Rule::ConfigKey, message).at(name, line_of(text, code)));
    }
    for (saved, query) in table.get("query").and_then(Value::as_table).into_iter().flatten() {
        let key = format!("query.{saved}");
        let line = line_below(text, &["query".to_owned(), saved.clone()]).or_else(|| line_of(text, saved));
        if saved.is_empty() || saved.contains(char::is_whitespace) {
            let message = format!("query.{saved}: a name with a blank cannot be used as @{saved}");
            findings.push(Finding::new(Rule::ConfigInvalid, message).at(name, line).on(Spot::Key(key.clone())));
        }
        if let Err(e) = query.as_str().map_or(Ok(Search::default()), search::check) {
            let hint = e.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            let message = format!("query.{saved}: {}{hint}", e.message);
            findings.push(Finding::new(Rule::ConfigInvalid, message).at(name, line).on(Spot::Key(key)));
        }
    }
}

/// Removes and reports every value that does not fit its key.
fn take_misfits(
    known: &Table,
    given: &mut Table,
    path: &mut Vec<String>,
    report: &mut dyn FnMut(&[String], &Value, &str),
) {
    let mut misfits = Vec::new();
    for (key, value) in given.iter_mut() {
        path.push(key.clone());
        match (known.get(key), value) {
            (Some(Value::Table(known)), Value::Table(given)) => take_misfits(known, given, path, report),
            (is_known, value) => {
                let last = path.last().cloned().unwrap_or_default();
                let alone = path.iter().rev().skip(1).fold(Table::from_iter([(last, value.clone())]), |inner, key| {
                    Table::from_iter([(key.clone(), Value::Table(inner))])
                });
                if let Err(e) = alone.try_into::<Settings>() {
                    // An unknown key is reported as such elsewhere.
                    if is_known.is_some() {
                        report(path, value, e.message());
                    }
                    misfits.push(key.clone());
                }
            }
        }
        path.pop();
    }
    given.retain(|key, _| !misfits.iter().any(|misfit| misfit == key));
}

/// The line of a key below the header of its table.
fn line_below(text: &str, path: &[String]) -> Option<usize> {
    let (last, above) = path.split_last()?;
    let header = above.join(".");
    let mut within = header.is_empty();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[') {
            within = name.split(']').next().map(|name| name.replace(['"', '\'', ' '], "")) == Some(header.clone());
        } else if within
            && let Some((key, _)) = line.split_once('=')
            && key.trim().trim_matches(['"', '\'']) == last
        {
            return Some(n + 1);
        }
    }
    None
}

/// The line of a key, found by its last part.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let last = key.rsplit('.').next().unwrap_or(key);
    let bare = |line: &str| line.trim_start().trim_start_matches(['[', '"', '\'']).starts_with(last);
    let line = text.lines().position(bare).or_else(|| text.lines().position(|line| line.contains(last)));
    line.map(|n| n + 1)
}

fn line_at(text: &str, e: &toml::de::Error) -> Option<usize> {
    let bytes = text.as_bytes();
    e.span().map(|span| bytes[..span.start.min(bytes.len())].iter().filter(|byte| **byte == b'\n').count() + 1)
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

    fn file(name: &str, text: &str) -> SettingsFile {
        SettingsFile::of_store(name.into(), text.into())
    }

    #[test]
    fn the_address_of_the_bus_is_read_from_the_users_own_file_alone() {
        let text = "[bus]\nplan = \"p\"\nurl = \"nats://elsewhere\"\ncreds = \"/etc/passwd\"\n";
        let (settings, findings) = combine(&[file("a", text)]);
        assert_eq!((settings.bus.plan.as_str(), settings.bus.url.as_str(), settings.bus.creds.as_str()), ("p", "", ""));
        let said: Vec<_> = findings.iter().map(|f| (f.line, f.rule)).collect();
        assert_eq!(said, [(Some(3), Rule::ConfigKey), (Some(4), Rule::ConfigKey)], "{findings:#?}");
        let (settings, findings) = combine(&[SettingsFile { is_users: true, ..file("a", text) }]);
        assert_eq!((settings.bus.url.as_str(), findings.len()), ("nats://elsewhere", 0));
    }

    #[test]
    fn later_files_win_key_by_key() {
        let (settings, findings) =
            combine(&[file("a", "agent = \"x\"\n[lease]\nttl_seconds = 5\n"), file("b", "[lease]\nrequired = true\n")]);
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
        let (settings, findings) = combine(&[file("a", text)]);
        let said: Vec<_> = findings.iter().map(|f| (f.line, f.message.as_str())).collect();
        assert_eq!(said[0], (Some(5), "unknown key lint.severity.od-file; did you mean lint.severity.odd-file?"));
        assert!(said.len() == 2 && said[1].0 == Some(3) && said[1].1.starts_with("log-gap means lost"), "{said:?}");
        let judge = |rule| settings.lint.judge(Finding::new(rule, "x")).map(|f| f.severity);
        assert_eq!([judge(Rule::OddFile), judge(Rule::LogGap)], [None, Some(Rule::LogGap.severity())]);
        assert_eq!(combine(&[file("a", "[lint.severity]\nodd-file = \"of\"\n")]).1[0].line, Some(2));
    }

    #[test]
    fn saved_queries_have_any_name_and_what_they_say_is_read() {
        let text = "[query]\nmine = \"owner:me\"\nbad = \"statsu:open\"\n\"a b\" = \"x\"\nn = 3\n";
        let (settings, findings) = combine(&[file("a", text)]);
        let mut said: Vec<_> = findings.iter().map(|f| (f.line, f.rule)).collect();
        said.sort();
        assert_eq!(said, [3, 4, 5].map(|line| (Some(line), Rule::ConfigInvalid)), "{findings:#?}");
        assert!(findings.iter().any(|f| f.message.contains("did you mean status:?")), "{findings:#?}");
        assert_eq!(settings.query.keys().collect::<Vec<_>>(), ["a b", "bad", "mine"]);
        let both = combine(&[file("a", "[query]\nx = \"1\"\n"), file("b", "[query]\ny = \"2\"\n")]);
        assert!(both.0.query.len() == 2 && both.1.is_empty(), "each file adds to the other");
    }

    #[test]
    fn unknown_keys_warn_and_wrong_kinds_fail_with_their_line() {
        let (_, findings) = combine(&[file("a", "[lease]\nttl_second = 5\n")]);
        assert!(findings[0].message.contains("lease.ttl_seconds"), "{}", findings[0].message);
        assert_eq!(findings[0].line, Some(2));
        let (_, findings) = combine(&[file("a", "\n[lease]\nttl_seconds = \"long\"\n")]);
        assert_eq!(findings[0].line, Some(3));
        assert_eq!(findings[0].spot, Some(Spot::Key("lease.ttl_seconds".into())));
    }

    #[test]
    fn valid_settings_apply_and_invalid_ones_are_reported_with_their_line() {
        let text = "[list]\nmax_bytes = 7\n[lease]\nttl_seconds = \"long\"\nrequired = true\n\
                    [lint.severity]\nodd-file = \"of\"\nlog-gap = \"of\"\nodd-fil = \"of\"\n[sync]\nstep_seconds = -1\n";
        let (settings, findings) = combine(&[file("a", text), file("b", "list = 3\n"), file("c", "x = [")]);
        let mut said: Vec<_> = findings.iter().map(|f| (f.path.as_deref(), f.line, f.rule)).collect();
        said.sort();
        let invalid = |name, line| (Some(name), Some(line), Rule::ConfigInvalid);
        let expected = [
            invalid("a", 4),
            invalid("a", 7),
            invalid("a", 8),
            (Some("a"), Some(9), Rule::ConfigKey),
            invalid("a", 11),
        ];
        assert_eq!(said[..5], expected, "{findings:#?}");
        assert_eq!(said[5..], [invalid("b", 1), invalid("c", 1)], "{findings:#?}");
        assert_eq!((settings.list.max_bytes, settings.lease.required), (7, true));
        assert_eq!(settings.lease.ttl_seconds, Settings::default().lease.ttl_seconds);
        assert!(findings.iter().any(|f| f.message.contains("whole number")), "{findings:#?}");
    }
}
