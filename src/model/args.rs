//! The types of arguments: references, texts, durations, objects.
//!
//! Guarantees that in JSON each is a plain string or object. On the command line an id may be given first without its flag.
//! Leaves to others: what a reference refers to, and how the command line reads a text from a file.

use std::fmt;
use std::str::FromStr;

use clap::{Arg, ArgMatches, Args};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::json;

/// A whole id, a unique prefix of one, a handle, or `$name` within a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Ref(pub String);

impl FromStr for Ref {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Ref(text.to_owned()))
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! positional {
    ($(#[doc = $doc:literal])+ $name:ident, $long:literal, [$($alias:literal),*], $value:literal, $help:literal) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl Args for $name {
            fn augment_args(cmd: clap::Command) -> clap::Command {
                cmd.arg(Arg::new("positional").value_name($value).help($help).required_unless_present("flag"))
                    .arg(
                        Arg::new("flag")
                            .long($long)
                            .visible_aliases([$($alias),*])
                            .value_name($value)
                            .help("The same, as a flag")
                            .conflicts_with("positional"),
                    )
            }
            fn augment_args_for_update(cmd: clap::Command) -> clap::Command {
                Self::augment_args(cmd)
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok($name(given(matches).unwrap_or_default()))
            }
            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = <Self as clap::FromArgMatches>::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

fn given(matches: &ArgMatches) -> Option<String> {
    ["flag", "positional"].into_iter().find_map(|name| matches.get_one::<String>(name).cloned())
}

positional! {
    /// The entity a command is about: `--id`, or the first positional argument.
    TaskRef, "id", ["task-id"], "ID", "Its id, a unique prefix of it, or the handle that lists print"
}
positional! {
    /// The session a command is about: `--session-id`, or the first positional argument.
    SessionRef, "session-id", ["id"], "SESSION", "Its id, or a unique prefix of it"
}

positional! {
    /// The event a command is about: `--event`, or the first positional argument.
    EventRef, "event", ["event-id"], "EVENT", "Its id, a unique prefix of it, or its end (4 characters or more)"
}

positional! {
    /// The thread a command is about: `--thread`, or the first positional argument.
    ThreadRef, "thread", ["id"], "THREAD", "Its id, a unique prefix of it, or its end (4 characters or more)"
}

macro_rules! optional {
    ($(#[doc = $doc:literal])+ $name:ident, $whole:ident, $value:literal, $help:literal) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Option<String>);

        impl Args for $name {
            fn augment_args(cmd: clap::Command) -> clap::Command {
                $whole::augment_args(cmd)
                    .mut_arg("positional", |_| Arg::new("positional").value_name($value).help($help))
            }
            fn augment_args_for_update(cmd: clap::Command) -> clap::Command {
                Self::augment_args(cmd)
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok($name(given(matches)))
            }
            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                self.0 = given(matches);
                Ok(())
            }
        }
    };
}

optional! {
    /// The task that a command is about, if the argument is optional.
    OptionalTaskRef, TaskRef, "ID", "Its id, a unique prefix of it, or the handle that lists print"
}
optional! {
    /// The event that a command is about, if the argument is optional.
    OptionalEventRef, EventRef, "EVENT", "Its id, or a unique prefix or suffix of it"
}
optional! {
    /// The session that a command is about, if the argument is optional.
    OptionalSessionRef, SessionRef, "SESSION", "Its id, or a unique prefix of it"
}

/// A title, as the first positional argument or as a flag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Title(pub Text);

impl Args for Title {
    fn augment_args(cmd: clap::Command) -> clap::Command {
        let text = |arg: Arg| arg.value_name("TITLE").allow_hyphen_values(true);
        cmd.arg(
            text(Arg::new("positional"))
                .help("Title, on one line")
                .required_unless_present_any(["flag", LITERAL])
                .value_parser(positional_text()),
        )
        .arg(
            text(Arg::new("flag"))
                .long("title")
                .help("The same, as a flag")
                .conflicts_with_all(["positional", LITERAL])
                .value_parser(clap::value_parser!(Text)),
        )
        .arg(literal_texts().num_args(1).conflicts_with("positional"))
    }
    fn augment_args_for_update(cmd: clap::Command) -> clap::Command {
        Self::augment_args(cmd)
    }
}

impl clap::FromArgMatches for Title {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given =
            ["flag", "positional", LITERAL].into_iter().filter_map(|name| matches.get_one::<Text>(name).cloned());
        Ok(Title(given.next().unwrap_or_default()))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The numbers of a list like `1,2`; any other text is one word, whatever it holds.
pub fn listed_numbers(text: &str) -> Vec<&str> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    if parts.iter().all(|part| part.parse::<usize>().is_ok()) { parts } else { vec![text] }
}

/// Several entities a command is about: positional arguments, or `--id` for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Refs(pub Vec<Ref>);

impl<'de> Deserialize<'de> for Refs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_or_many(deserializer).map(Refs)
    }
}

impl Args for Refs {
    fn augment_args(cmd: clap::Command) -> clap::Command {
        let help = "Their ids, unique prefixes of them, or the ends that lists print";
        cmd.arg(Arg::new("positional").value_name("ID").num_args(1..).help(help).required_unless_present("flag")).arg(
            Arg::new("flag")
                .long("id")
                .value_name("ID")
                .action(clap::ArgAction::Append)
                .help("The same, as a flag (repeatable)")
                .conflicts_with("positional"),
        )
    }
    fn augment_args_for_update(cmd: clap::Command) -> clap::Command {
        Self::augment_args(cmd)
    }
}

impl clap::FromArgMatches for Refs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let all = ["flag", "positional"].into_iter().filter_map(|name| matches.get_many::<String>(name));
        Ok(Refs(all.flatten().cloned().map(Ref).collect()))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A task and texts about it: `[ID] TEXT…` as positional arguments, or `--task-id` and `--content`. Without an id it is the
/// task that the caller holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskTexts {
    /// The task (default: the one you hold)
    #[serde(default)]
    pub task_id: OptionalTaskRef,
    /// The text, or several
    #[serde(deserialize_with = "one_or_many")]
    pub content: Vec<Text>,
}

impl TaskTexts {
    /// Texts about a task.
    pub fn new(task: impl fmt::Display, content: Vec<Text>) -> Self {
        TaskTexts { task_id: OptionalTaskRef(Some(task.to_string())), content }
    }
}

impl Args for TaskTexts {
    fn augment_args(cmd: clap::Command) -> clap::Command {
        // Two of one value each: a list would take the options after it for texts.
        let text = |name: &'static str| Arg::new(name).allow_hyphen_values(true).value_parser(positional_text());
        cmd.arg(text("first").value_name("ID").help("The task, if it is not the one you hold"))
            .arg(text("second").value_name("TEXT").help("The text; alone, it is about the task you hold"))
            .arg(Arg::new("flag").long("task-id").visible_alias("id").value_name("ID").help("The task, as a flag"))
            .arg(
                Arg::new("content")
                    .long("content")
                    .value_name("TEXT")
                    .action(clap::ArgAction::Append)
                    .allow_hyphen_values(true)
                    .help("The text, as a flag (repeatable)")
                    .value_parser(clap::value_parser!(Text)),
            )
            .arg(literal_texts().num_args(1..))
    }
    fn augment_args_for_update(cmd: clap::Command) -> clap::Command {
        Self::augment_args(cmd)
    }
}

impl clap::FromArgMatches for TaskTexts {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let refused = |why: String| clap::Error::raw(clap::error::ErrorKind::ValueValidation, why);
        let texts = |name: &str| matches.get_many::<Text>(name).into_iter().flatten().cloned().collect::<Vec<Text>>();
        let (mut positional, mut content) =
            ([texts("first"), texts("second"), texts(LITERAL)].concat(), texts("content"));
        let mut task = matches.get_one::<String>("flag").cloned();
        let needs_text = content.is_empty();
        if task.is_none() && positional.len() > usize::from(needs_text) {
            task = Some(positional.remove(0).0);
        }
        if needs_text && positional.len() == 1 && is_handle(&positional[0].0) {
            return Err(refused(format!("the text is missing: {:?} looks like the id of a task", positional[0].0)));
        }
        if !needs_text && !positional.is_empty() {
            return Err(refused(format!("the text is there twice: --content and {:?}", positional[0].0)));
        }
        content.append(&mut positional);
        if content.is_empty() {
            return Err(refused("the text is missing".into()));
        }
        Ok(TaskTexts { task_id: OptionalTaskRef(task), content })
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Whether a word looks like a handle or id: capitals and digits, at least one of them a digit.
fn is_handle(text: &str) -> bool {
    (6..=26).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        && text.chars().any(|c| c.is_ascii_digit())
}

/// The name of the texts that follow `--`.
pub(crate) const LITERAL: &str = "literal";

/// Texts that follow `--`, so that they may look like flags. The last argument of its command.
pub(crate) fn literal_texts() -> Arg {
    Arg::new(LITERAL).last(true).hide(true).value_name("TEXT").value_parser(clap::value_parser!(Text))
}

/// Reads a text that has no flag before it. A word that looks like a flag is a mistake there, and not a text.
pub(crate) fn positional_text() -> PositionalText {
    PositionalText
}

/// See [`positional_text`].
#[derive(Clone)]
pub(crate) struct PositionalText;

impl clap::builder::TypedValueParser for PositionalText {
    type Value = Text;

    fn parse_ref(&self, cmd: &clap::Command, arg: Option<&Arg>, value: &std::ffi::OsStr) -> Result<Text, clap::Error> {
        let word = value.to_string_lossy();
        let flag = word.strip_prefix('-').filter(|rest| !rest.is_empty() && !rest.starts_with(char::is_whitespace));
        let name = flag.and_then(|rest| rest.split('=').next());
        if name.is_some_and(|name| !name.contains(char::is_whitespace)) {
            let why = format!("there is no option {word:?} here; put -- before a text that begins so");
            return Err(cmd.clone().error(clap::error::ErrorKind::ValueValidation, why));
        }
        clap::value_parser!(Text).parse_ref(cmd, arg, value)
    }
}

/// Free text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(pub String);

impl Text {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(text.to_owned())
    }
}

/// A label as it is written on the command line, where a space may follow a comma.
///
/// Errors: none.
pub fn label(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.trim().to_owned())
}

/// A priority as it is written on the command line; the rules know the range.
///
/// Errors: what a priority is, for a text that is no whole number.
pub fn priority(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "a priority is a whole number from -5 to 5; higher is sooner")
}

/// Reads a list, or one value as a list of one. For `#[serde(deserialize_with)]`.
pub fn one_or_many<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let list = match crate::model::json::strict(deserializer)? {
        Value::Array(list) => list,
        one => vec![one],
    };
    let read = |one| T::deserialize(one).map_err(serde::de::Error::custom);
    list.into_iter().map(read).collect()
}

/// A JSON object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Object(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::strict_object(deserializer).map(Object)
    }
}

impl FromStr for Object {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match json::parse(text).map_err(|e| e.to_string())? {
            Value::Object(map) => Ok(Object(map)),
            _ => Err("expected a JSON object such as {\"key\": \"value\"}".into()),
        }
    }
}

/// A JSON Patch (RFC 6902).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Patch(pub Value);

impl<'de> Deserialize<'de> for Patch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::strict(deserializer).map(Patch)
    }
}

impl JsonSchema for Patch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Patch".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "array",
            "items": {
                "type": "object",
                "required": ["op", "path"],
                "properties": {
                    "op": { "enum": ["add", "remove", "replace", "move", "copy", "test"] },
                    "path": { "type": "string" },
                    "from": { "type": "string" },
                    "value": {},
                },
            },
        })
    }
}

/// A span of time: a number of seconds, or a number with `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duration {
    /// Its length in milliseconds.
    pub millis: i64,
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let scale = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(format!("{text:?} is not a duration; write 90s, 10m, 2h or 1d")),
        };
        let number: i64 =
            digits.parse().map_err(|_| format!("{text:?} is not a duration; write 90s, 10m, 2h or 1d"))?;
        let millis = number.checked_mul(scale).filter(|ms| *ms <= 366 * 86_400_000);
        millis.map(|millis| Duration { millis }).ok_or_else(|| format!("{text:?} is longer than a year"))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.millis {
            ms if ms % 1_000 != 0 => write!(f, "{ms}ms"),
            ms => write!(f, "{}s", ms / 1_000),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "integer"], "minimum": 0, "maximum": u32::MAX })
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a duration: whole seconds, or a text such as 90s, 10m, 2h")]
        enum Spelling {
            Seconds(u32),
            Text(String),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Seconds(seconds) => Ok(Duration { millis: i64::from(seconds) * 1_000 }),
            Spelling::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_refused_with_what_was_expected() {
        use serde_json::{from_value, json};
        for value in [json!(-1), json!(null), json!(true), json!([1])] {
            let refused = from_value::<Duration>(value).unwrap_err().to_string();
            assert!(refused.starts_with("expected a duration: whole seconds"), "{refused}");
        }
        for value in [json!(true), json!(["a", true])] {
            let refused = from_value::<Refs>(value).unwrap_err().to_string();
            assert_eq!(refused, "invalid type: boolean `true`, expected a string");
        }
        assert_eq!(from_value::<Refs>(json!("a")).unwrap(), from_value::<Refs>(json!(["a"])).unwrap());
    }

    #[test]
    fn durations_read_back_as_they_print() {
        for (text, millis) in [("90", 90_000), ("90s", 90_000), ("10m", 600_000), ("250ms", 250), ("1d", 86_400_000)] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.millis, millis);
            assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        }
        for bad in ["", "-5", "5 m", "1w", "99999999999999999999", "9999d"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }
}
