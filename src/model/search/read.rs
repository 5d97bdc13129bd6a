//! Parses a query.
//!
//! ```text
//! query  = { term }                        separated by blanks; all must hold
//! term   = [ "-" ] ( text | key ":" value { "," value } ) | "sort:" [ "-" ] order | "@" name
//! text   = word | '"' exact words '"'      within quotes \" is a quote and \\ a backslash
//! ```
//!
//! Guarantees that what has no meaning is refused with its position, and never treated as a text or skipped.
//! Leaves to others: which tasks match (`engine::query::find`).

use std::collections::BTreeMap;

use clap::ValueEnum as _;
use serde_json::json;

use super::text::folded;
use super::{Owner, Range, Search, Sort, SortBy, State, Term, What};
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::id::quoted;
use crate::model::suggest::nearest;
use crate::model::task::{Status, TaskType};
use crate::model::time::{Time, When};

/// The existing keys.
const KEYS: [&str; 12] =
    ["status", "type", "label", "owner", "parent", "id", "is", "priority", "created", "updated", "due", "sort"];
/// The most terms of a query, and the most values of a key: all of them become one condition.
const MOST: usize = 100;

/// Parses a query; `@name` is replaced by the terms of a saved one. Spans of time are seen from `now`.
///
/// Errors: `ERR_VALIDATION` with the position of what has no meaning, and what is allowed there.
pub fn read(query: &str, saved: &BTreeMap<String, String>, now: Time) -> Result<Search> {
    let mut search = Search::default();
    let mut sort_of_saved = None;
    let mut saved_terms = 0;
    for piece in Reader::new(query).pieces()? {
        let Piece::Saved { at, name } = piece else {
            take(&mut search, piece, now)?;
            continue;
        };
        let Some(text) = saved.get(&name) else { return Err(unknown_name(at, &name, saved)) };
        let meant = read_saved(text, now)
            .map_err(|e| Error { message: format!("the saved query {}: {}", quoted(&name), e.message), ..e })?;
        saved_terms += meant.terms.len();
        if saved_terms > MOST {
            return Err(refused(at, format!("all saved queries together have more than {MOST} terms"))
                .hint("use fewer of them in one query"));
        }
        search.terms.extend(meant.terms);
        sort_of_saved = sort_of_saved.or(meant.sort);
    }
    // A saved order is a default: the query may name another.
    search.sort = search.sort.or(sort_of_saved);
    Ok(search)
}

/// Parses a query that is to be saved. It must not name another saved one, so none can name itself.
///
/// Errors: as [`read`].
pub fn check(query: &str) -> Result<Search> {
    read_saved(query, Time::default())
}

fn read_saved(query: &str, now: Time) -> Result<Search> {
    let mut search = Search::default();
    for piece in Reader::new(query).pieces()? {
        if let Piece::Saved { at, name } = piece {
            return Err(refused(at, format!("a saved query cannot name another one, @{name}"))
                .hint("write its terms out, or quote the text"));
        }
        take(&mut search, piece, now)?;
    }
    Ok(search)
}

fn refused(at: usize, why: String) -> Error {
    Error::validation(format!("query, character {at}: {why}")).with(json!({ "position": at, "known_keys": KEYS }))
}

/// Refuses words and signs by which other languages combine terms: as texts they would give an answer that looks right.
fn refuse_joining(at: usize, text: &str) -> Result<()> {
    let is_word = matches!(text, "or" | "OR" | "AND" | "NOT" | "|" | "||" | "&" | "&&" | "!");
    let begins = |sign| text.strip_prefix(sign).is_some_and(|rest: &str| rest.starts_with(char::is_alphanumeric));
    let ends = text.strip_suffix('*').is_some_and(|rest| rest.ends_with(char::is_alphanumeric));
    if !(is_word || begins('(') || begins('!') || ends) {
        return Ok(());
    }
    Err(refused(
        at,
        format!(
            "{} has no meaning in a query: all terms must hold, and a word also matches parts of words",
            quoted(text)
        ),
    )
    .hint(format!(
        "write several values of a key as label:a,b, and negate a term as -word; to search for the text, quote \
             it: \"{}\"",
        text.replace('\\', "\\\\").replace('"', "\\\"")
    )))
}

fn unknown_name(at: usize, name: &str, saved: &BTreeMap<String, String>) -> Error {
    let names: Vec<&str> = saved.keys().map(String::as_str).collect();
    let known = if names.is_empty() {
        "there are none yet; define them below [query] in config.toml".to_owned()
    } else {
        format!("saved queries are @{}", names.join(", @"))
    };
    let mut error = refused(at, format!("no query is saved as {}", quoted(name)));
    error.details["saved"] = json!(names);
    error.hint(format!("{known}; to search for the text, quote it: \"@{name}\""))
}

/// A value, and whether it was quoted, so that it is no keyword.
struct Given {
    at: usize,
    text: String,
    is_quoted: bool,
}

enum Piece {
    Text { at: usize, not: bool, text: String },
    Key { at: usize, not: bool, key: String, values: Vec<Given> },
    Saved { at: usize, name: String },
}

struct Reader {
    chars: Vec<char>,
    next: usize,
}

impl Reader {
    fn new(query: &str) -> Self {
        Reader { chars: query.chars().collect(), next: 0 }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.next).copied()
    }

    fn at_gap(&self) -> bool {
        self.peek().is_none_or(char::is_whitespace)
    }

    fn pieces(mut self) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        loop {
            while self.peek().is_some_and(char::is_whitespace) {
                self.next += 1;
            }
            let at = self.next + 1;
            let Some(first) = self.peek() else { return Ok(pieces) };
            // A single dash is a text.
            let not = first == '-' && self.chars.get(self.next + 1).is_some_and(|c| !c.is_whitespace());
            if not {
                self.next += 1;
            }
            if not && self.peek() == Some('-') {
                // The command line accepts whatever follows --query, even a flag.
                let word = self.until(char::is_whitespace);
                return Err(refused(at, format!("-{word} is not a term; is it a flag?")).hint(format!(
                    "the query must follow --query directly; to search for the text, quote it: \"-{word}\""
                )));
            }
            if pieces.len() == MOST {
                return Err(refused(at, format!("a query has at most {MOST} terms"))
                    .hint("use only the rarest texts, and separate several values of a key with commas"));
            }
            pieces.push(self.piece(at, not)?);
        }
    }

    fn piece(&mut self, at: usize, not: bool) -> Result<Piece> {
        if self.peek() == Some('"') {
            let text = self.in_quotes()?;
            self.end_of_quotes(false)?;
            return Ok(Piece::Text { at, not, text });
        }
        if self.peek() == Some('@') {
            self.next += 1;
            let name = self.until(char::is_whitespace);
            if not {
                return Err(
                    refused(at, format!("a saved query cannot be negated: -@{name}")).hint("write its terms out")
                );
            }
            return Ok(Piece::Saved { at, name });
        }
        let begin = self.next;
        let key = self.until(|c| !(c.is_ascii_alphabetic() || matches!(c, '_' | '-')));
        if key.is_empty() || self.peek() != Some(':') {
            let is_compared = self.peek().is_some_and(|sign| matches!(sign, '=' | '<' | '>'));
            if is_compared && KEYS.contains(&key.to_ascii_lowercase().as_str()) {
                let rest = self.until(char::is_whitespace);
                return Err(refused(at, format!("{} is no term", quoted(&format!("{key}{rest}")))).hint(format!(
                    "a colon follows the key: {key}:{}; to search for the text, quote it: \"{key}{rest}\"",
                    rest.trim_start_matches('=')
                )));
            }
            self.next = begin;
            let text = self.until(char::is_whitespace);
            refuse_joining(at, &text)?;
            return Ok(Piece::Text { at, not, text });
        }
        self.next += 1;
        let known = key.to_ascii_lowercase();
        if !KEYS.contains(&known.as_str()) {
            let whole = format!("{key}:{}", self.until(char::is_whitespace));
            let meant = nearest(&known, KEYS.into_iter()).map(|near| format!("; did you mean {near}:?"));
            return Err(refused(
                at,
                format!("there is no key {key}:{} Keys are {}", meant.unwrap_or_else(|| ".".into()), KEYS.join(", ")),
            )
            .hint(format!("to search for it as a text, quote it: \"{}\"", whole.replace('"', "\\\""))));
        }
        let values = self.values(&known)?;
        Ok(Piece::Key { at, not, key: known, values })
    }

    fn values(&mut self, key: &str) -> Result<Vec<Given>> {
        let mut values = Vec::new();
        loop {
            let at = self.next + 1;
            let is_quoted = self.peek() == Some('"');
            let text = if is_quoted {
                let text = self.in_quotes()?;
                self.end_of_quotes(true)?;
                text
            } else {
                self.until(|c| c.is_whitespace() || c == ',')
            };
            if text.is_empty() {
                return Err(refused(at, format!("{key}: has no value"))
                    .hint(format!("write the value without a blank; to search for the text, quote it: \"{key}:\"")));
            }
            values.push(Given { at, text, is_quoted });
            if self.at_gap() {
                return Ok(values);
            }
            // Skip the comma.
            self.next += 1;
            if values.len() == MOST {
                return Err(refused(self.next, format!("{key}: has at most {MOST} values"))
                    .hint("use a second query for the others"));
            }
        }
    }

    fn until(&mut self, is_end: impl Fn(char) -> bool) -> String {
        let begin = self.next;
        while self.peek().is_some_and(|c| !is_end(c)) {
            self.next += 1;
        }
        self.chars[begin..self.next].iter().collect()
    }

    fn in_quotes(&mut self) -> Result<String> {
        let opened = self.next + 1;
        self.next += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(refused(opened, "this quote is never closed".into())
                    .hint("close it with another \"; within quotes a quote is written \\\""));
            };
            self.next += 1;
            match (c, self.peek()) {
                ('"', _) => return Ok(text),
                ('\\', Some(next @ ('"' | '\\'))) => {
                    self.next += 1;
                    text.push(next);
                }
                _ => text.push(c),
            }
        }
    }

    fn end_of_quotes(&self, in_values: bool) -> Result<()> {
        if self.at_gap() || (in_values && self.peek() == Some(',')) {
            return Ok(());
        }
        Err(refused(self.next + 1, "a blank must follow the closing quote".into())
            .hint("within quotes a quote is written \\\""))
    }
}

fn take(search: &mut Search, piece: Piece, now: Time) -> Result<()> {
    match piece {
        Piece::Text { at, not, text } => {
            let text = folded(&text);
            if text.is_empty() {
                return Err(refused(at, "the quoted text is empty".into())
                    .hint("remove the quotes, or write a word between them"));
            }
            search.terms.push(Term { not, what: What::Text(text) });
        }
        Piece::Key { at, not, key, values } if key == "sort" => {
            if not || values.len() != 1 || search.sort.is_some() {
                return Err(refused(at, "sort: may occur only once".into())
                    .hint("sort:updated is newest first, sort:-updated oldest first"));
            }
            let word = &values[0].text;
            let (reverse, word) = word.strip_prefix('-').map_or((false, word.as_str()), |word| (true, word));
            search.sort = Some(Sort { by: one_of(&values[0], word, &SortBy::WORDS)?, reverse });
        }
        Piece::Key { not, key, values, .. } => search.terms.push(Term { not, what: what(&key, values, now)? }),
        Piece::Saved { .. } => {}
    }
    Ok(())
}

fn what(key: &str, values: Vec<Given>, now: Time) -> Result<What> {
    let times = |values: &[Given]| each(values, |value| range(value, |value, text| span(value, text, now)));
    let refs = |value: Given| Ref(value.text);
    Ok(match key {
        "status" => {
            let words = Status::ALL.map(|status| (status.as_str(), status));
            let meant = |value: &Given| Status::from_str(&value.text, true);
            What::Status(each(&values, |value| meant(value).or_else(|_| one_of(value, &value.text, &words)))?)
        }
        "type" => {
            let words = TaskType::WORDS.map(|word| (word, word));
            What::Type(each(&values, |value| match value.is_quoted {
                // A word from a newer version.
                true => Ok(value.text.clone()),
                false => one_of(value, TaskType::word_for(&value.text), &words).map(str::to_owned),
            })?)
        }
        "is" => What::Is(each(&values, |value| one_of(value, &value.text, &State::WORDS))?),
        "label" => What::Label(values.into_iter().map(|value| value.text).collect()),
        "owner" => What::Owner(
            values
                .into_iter()
                .map(|value| match value.is_quoted {
                    true => Owner::Agent(value.text),
                    false => Owner::from(value.text.strip_prefix('@').unwrap_or(&value.text)),
                })
                .collect(),
        ),
        "parent" => What::Parent(
            values.into_iter().map(|value| (value.is_quoted || value.text != "none").then(|| refs(value))).collect(),
        ),
        "id" => What::Id(values.into_iter().map(refs).collect()),
        "priority" => What::Priority(each(&values, |value| range(value, number))?),
        "created" => What::Created(times(&values)?),
        "due" => What::Due(times(&values)?),
        _ => What::Updated(times(&values)?),
    })
}

fn each<T>(values: &[Given], read: impl Fn(&Given) -> Result<T>) -> Result<Vec<T>> {
    values.iter().map(read).collect()
}

fn one_of<T: Copy>(value: &Given, word: &str, known: &[(&'static str, T)]) -> Result<T> {
    let word = word.to_ascii_lowercase();
    if let Some((_, meant)) = known.iter().find(|(known, _)| *known == word) {
        return Ok(*meant);
    }
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    let meant = nearest(&word, words.iter().copied()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Err(refused(value.at, format!("{} is not one of {}{meant}", quoted(&value.text), words.join(", ")))
        .hint("to search for the whole term as a text, quote it"))
}

/// Parses `3`, `>3`, `>=3`, `<3`, `<=3`, `1..3`, `1..`, `..3`; `span` gives the first and the last number of one value.
fn range(value: &Given, span: impl Fn(&Given, &str) -> Result<(i64, i64)>) -> Result<Range> {
    let text = value.text.as_str();
    if let Some((from, to)) = text.split_once("..") {
        let end = |text: &str| if text.is_empty() { Ok(None) } else { span(value, text).map(Some) };
        let (from, to) = (end(from)?, end(to)?);
        if let (Some((first, _)), Some((_, last))) = (from, to)
            && first > last
        {
            return Err(refused(value.at, format!("{} ends before it begins", quoted(text)))
                .hint("write the smaller end first"));
        }
        return Ok(Range { from: from.map(|(first, _)| first), to: to.map(|(_, last)| last) });
    }
    for (sign, after, to_its_end) in [(">=", true, false), ("<=", false, true), (">", true, true), ("<", false, false)]
    {
        let Some(rest) = text.strip_prefix(sign) else { continue };
        let (first, last) = span(value, rest)?;
        return Ok(match (after, to_its_end) {
            (true, false) => Range { from: Some(first), to: None },
            (true, true) => Range { from: Some(last.saturating_add(1)), to: None },
            (false, true) => Range { from: None, to: Some(last) },
            (false, false) => Range { from: None, to: Some(first.saturating_sub(1)) },
        });
    }
    let (first, last) = span(value, text)?;
    Ok(Range { from: Some(first), to: Some(last) })
}

fn number(value: &Given, text: &str) -> Result<(i64, i64)> {
    let number = text.parse().map_err(|_| {
        refused(value.at, format!("{} is not a priority", quoted(&value.text)))
            .hint("write a number or a range, as in priority:>=2, priority:<0, priority:1..3")
    })?;
    Ok((number, number))
}

/// The first and the last millisecond of a time.
fn span(value: &Given, text: &str, now: Time) -> Result<(i64, i64)> {
    let when: When = text.parse().map_err(|_| {
        refused(value.at, format!("{} is not a date or time; write {}", quoted(&value.text), When::FORMS))
            .hint("write as in updated:2026-11-20, due:<+3d, created:2026-11-01..2026-11-20")
    })?;
    let first = when.from(now).millis();
    Ok((first, first.saturating_add(when.length() - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::DAY_MS;

    fn ok(query: &str) -> Search {
        read(query, &BTreeMap::new(), Time::default()).unwrap()
    }

    fn texts(query: &str) -> Vec<(bool, String)> {
        let text = |term: Term| match term.what {
            What::Text(text) => (term.not, text),
            other => panic!("{other:?}"),
        };
        ok(query).terms.into_iter().map(text).collect()
    }

    fn no(query: &str) -> (u64, String) {
        let e = read(query, &BTreeMap::from([("a-b".into(), "status:open sort:title".into())]), Time::default())
            .unwrap_err();
        assert_eq!(e.code, crate::error::Code::Validation);
        assert!(e.details["known_keys"].as_array().is_some_and(|keys| keys.len() == KEYS.len()));
        (e.details["position"].as_u64().unwrap(), format!("{} | {}", e.message, e.hint.unwrap_or_default()))
    }

    #[test]
    fn words_quotes_and_dashes() {
        let plain = |text: &str| (false, text.to_owned());
        assert_eq!(texts("Two WORDS"), [plain("two"), plain("words")]);
        assert_eq!(
            texts(" \"Exact  words\" -not -\"as this\" "),
            [plain("exact words"), (true, "not".into()), (true, "as this".into())]
        );
        assert_eq!(
            texts(r#""a \"b\" c:\d \\" - 12:30 ::x don't 5" x@y"#),
            [
                plain(r#"a "b" c:\d \"#),
                plain("-"),
                plain("12:30"),
                plain("::x"),
                plain("don't"),
                plain("5\""),
                plain("x@y"),
            ]
        );
        assert_eq!((ok(""), ok(" \t ")), (Search::default(), Search::default()));
    }

    #[test]
    fn keys_and_their_values() {
        let search = ok(
            "Status:OPEN,blocked -label:\"two words\",b owner:none,me,\"me\" parent:none,7XK2Q1 is:ready sort:-title",
        );
        let wants = [
            (false, What::Status(vec![Status::Open, Status::Blocked])),
            (true, What::Label(vec!["two words".into(), "b".into()])),
            (false, What::Owner(vec![Owner::None, Owner::Me, Owner::Agent("me".into())])),
            (false, What::Parent(vec![None, Some(Ref("7XK2Q1".into()))])),
            (false, What::Is(vec![State::Ready])),
        ];
        assert_eq!(search.terms, wants.map(|(not, what)| Term { not, what }));
        assert_eq!(search.sort, Some(Sort { by: SortBy::Title, reverse: true }));
    }

    #[test]
    fn ranges_of_numbers_and_of_days() {
        let of = |query: &str| match &ok(query).terms[0].what {
            What::Priority(ranges) | What::Created(ranges) | What::Updated(ranges) | What::Due(ranges) => {
                (ranges[0].from, ranges[0].to)
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(
            ["-2", ">2", ">=2", "<2", "<=-2", "1..3", "..3", "1.."].map(|is| of(&format!("priority:{is}"))),
            [
                (Some(-2), Some(-2)),
                (Some(3), None),
                (Some(2), None),
                (None, Some(1)),
                (None, Some(-2)),
                (Some(1), Some(3)),
                (None, Some(3)),
                (Some(1), None)
            ]
        );
        assert_eq!(of("created:1970-01-02"), (Some(DAY_MS), Some(2 * DAY_MS - 1)));
        assert_eq!(of("updated:>1970-01-02"), (Some(2 * DAY_MS), None), "a day is not after itself");
        assert_eq!(of("updated:<=1970-01-02"), (None, Some(2 * DAY_MS - 1)));
        assert_eq!(of("updated:>1970-01-01T00:00:01Z"), (Some(1_001), None));
        assert_eq!(of("due:<=+1d"), (None, Some(DAY_MS)), "a span from now is a moment");
        assert_eq!(of("due:01:00..2h"), (Some(3_600_000), Some(7_200_000)));
        assert_eq!(of("due:.."), (None, None));
    }

    #[test]
    fn words_of_other_trackers_mean_ours_and_signs_after_a_key_are_refused() {
        let search = ok("status:done,todo type:bug owner:@ann");
        let wants = [
            What::Status(vec![Status::Completed, Status::Open]),
            What::Type(vec!["bugfix".into()]),
            What::Owner(vec![Owner::Agent("ann".into())]),
        ];
        assert_eq!(search.terms, wants.map(|what| Term { not: false, what }));
        for (query, hint) in [("label=core", "label:core"), ("open Priority>1", "Priority:>1")] {
            assert!(no(query).1.contains(hint), "{}", no(query).1);
        }
        assert_eq!(texts("a=b x>1 core").len(), 3);
    }

    #[test]
    fn a_refusal_names_the_position_and_the_allowed_words() {
        let (at, said) = no("open foo:bar");
        assert!(
            at == 6
                && said.contains("no key foo:")
                && said.contains("status, type, label")
                && said.contains("\"foo:bar\""),
            "{said}"
        );
        for (query, at) in [("a or b", 3), ("OR", 1), ("a (b)", 3), ("-!b", 1), ("status:open lo*", 13), ("a && b", 3)]
        {
            let (found, said) = no(query);
            assert!(
                found == at && said.contains("all terms must hold") && said.contains("quote it: \""),
                "{query}: {said}"
            );
        }
        assert_eq!(texts(r#""a or b" (:) * or-else"#).len(), 4);
        for query in ["priority:3..1", "updated:2026-11-23..2026-11-22"] {
            assert!(no(query).1.contains("ends before it begins"));
        }
        assert!(no("http://x").1.ends_with(r#"quote it: "http://x""#));
        assert!(no("ünlabeled statsu:open").1.contains("did you mean status:?"));
        assert_eq!(no("ä \"never closed").0, 3);
        assert_eq!(no("label:\"x").0, 7);
        assert_eq!([no("\"a\"b").0, no("status:").0, no("status:open,").0, no("\" \"").0], [4, 8, 13, 1]);
        assert!(no("status:opne").1.contains("did you mean open?"));
        assert!(no("priority:high").1.contains("not a priority") && no("updated:>soon").1.contains("not a date"));
        assert!(no("sort:title sort:score").1.contains("once") && no("-sort:title").0 == 1 && no("sort:size").0 == 6);
        let many = |text: &str| text.repeat(MOST + 1);
        assert!(no(&many("x ")).1.contains("at most 100") && no(&format!("id:{}x", many("x,"))).1.contains("at most"));
        assert_eq!(ok(&"x ".repeat(MOST)).terms.len(), MOST);
        assert!(no("x --all").0 == 3 && no("--all").1.contains("\"--all\""));
        assert!(no("x @a-c").1.contains("saved queries are @a-b") && no("-@a-b").0 == 1);
    }

    #[test]
    fn a_saved_query_stands_for_its_terms_and_its_order_is_a_default() {
        let saved = BTreeMap::from([
            ("mine".to_owned(), "owner:me sort:title".to_owned()),
            ("bad".to_owned(), "status:opne".to_owned()),
            ("loop".to_owned(), "@mine".to_owned()),
        ]);
        let search = read("@mine lock", &saved, Time::default()).unwrap();
        assert_eq!((search.terms.len(), search.sort.map(|sort| sort.by)), (2, Some(SortBy::Title)));
        assert_eq!(
            read("sort:score @mine", &saved, Time::default()).unwrap().sort.map(|sort| sort.by),
            Some(SortBy::Score)
        );
        assert!(read("@bad", &saved, Time::default()).unwrap_err().message.starts_with("the saved query \"bad\""));
        assert!(read("@loop", &saved, Time::default()).unwrap_err().message.contains("cannot name another"));
    }
}
