//! Finds unquoted words of a YAML text that parse as a number or a boolean, and that would not be written back as they are.
//!
//! Guarantees the parser's own view: a word counts if the text means something else with the word in quotes. Fractions are
//! not checked, and only a bounded number of words is.
//! Leaves to others: where a number belongs, and where text does.

use serde_json::Value;

use crate::store::yaml;

/// The most words that are checked; for each one the parser takes about 30 nanoseconds per byte.
const MOST: usize = 32;

/// A word that would be written back differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bare {
    /// The word in the file.
    pub word: String,
    /// The word as it would be written back.
    pub becomes: String,
    /// Its line, from 1.
    pub line: usize,
    /// The keys that lead to it; positions in lists are numbers from 0.
    pub path: Vec<String>,
}

/// Finds such words in a text that parses as `value`.
pub fn bare(text: &str, value: &Value) -> Vec<Bare> {
    let mut found = Vec::new();
    for (at, word) in candidates(text).into_iter().take(MOST) {
        let quoted = format!("{}\"{word}\"{}", &text[..at], &text[at + word.len()..]);
        let Ok(other) = yaml::read_value(&quoted) else { continue };
        let mut path = Vec::new();
        if let Some((Value::Number(_) | Value::Bool(_), Value::String(said))) =
            first_difference(value, &other, &mut path)
            && said == word
        {
            let becomes = at_path(value, &path).map(Value::to_string).unwrap_or_default();
            let becomes = becomes.trim_end_matches(".0").to_owned();
            let line = text[..at].matches('\n').count() + 1;
            found.push(Bare { word: word.to_owned(), becomes, line, path });
        }
    }
    found
}

/// Words that may not mean what the parser makes of them, with their places.
fn candidates(text: &str) -> Vec<(usize, &str)> {
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}');
    let (mut found, mut at) = (Vec::new(), 0);
    for word in text.split(ends) {
        if is_odd(word) {
            found.push((at, word));
        }
        // The character that ended the word.
        at += word.len();
        at += text[at..].chars().next().map_or(0, char::len_utf8);
    }
    found
}

fn is_odd(word: &str) -> bool {
    if matches!(word, "True" | "TRUE" | "False" | "FALSE") {
        return true;
    }
    let digits = word.trim_start_matches(['+', '-']);
    let number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, 'x' | 'X' | 'o' | 'O' | 'b' | 'B' | '_'));
    let plain = !digits.contains(|c: char| !c.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    // A number that is too great becomes a fraction.
    let fits = word.parse::<i64>().is_ok() || word.parse::<u64>().is_ok();
    number && (!plain || word.starts_with('+') || word == "-0" || !fits)
}

/// The first place in which two documents differ, with both values.
fn first_difference<'a>(a: &'a Value, b: &'a Value, path: &mut Vec<String>) -> Option<(&'a Value, &'a Value)> {
    match (a, b) {
        (Value::Object(one), Value::Object(other)) => {
            let (key, value) = one.iter().find(|(key, value)| other.get(*key) != Some(value))?;
            path.push(key.clone());
            first_difference(value, other.get(key)?, path)
        }
        (Value::Array(one), Value::Array(other)) => {
            let n = one.iter().zip(other).position(|(a, b)| a != b)?;
            path.push(n.to_string());
            first_difference(&one[n], &other[n], path)
        }
        _ => (a != b).then_some((a, b)),
    }
}

fn at_path<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, part| match value {
        Value::Array(entries) => entries.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_change_are_found_and_what_is_text_already_is_not() {
        let text = "title: 007\nintent: |\n  0x10 stays\nlabels: [v1, 0x10, \"010\", 12]\nprogress:\n  - {content: +5}\n  - True\n";
        let value = yaml::read_value(text).unwrap();
        let found: Vec<(String, String, usize, String)> =
            bare(text, &value).into_iter().map(|b| (b.word, b.becomes, b.line, b.path.join("."))).collect();
        let expected = [("007", "7", 1, "title"), ("0x10", "16", 4, "labels.1"), ("+5", "5", 6, "progress.0.content")];
        for (word, becomes, line, path) in expected {
            assert!(found.contains(&(word.into(), becomes.into(), line, path.into())), "{word}: {found:?}");
        }
        assert!(found.iter().all(|(word, ..)| !["010", "12", "v1"].contains(&word.as_str())), "{found:?}");
        let text = "metadata: {n: 18446744073709551615, m: 18446744073709551616}\n";
        let found = bare(text, &yaml::read_value(text).unwrap());
        assert_eq!(found.iter().map(|b| b.word.as_str()).collect::<Vec<_>>(), ["18446744073709551616"]);
        assert_eq!(bare("title: ünï 007 x\n", &yaml::read_value("title: ünï 007 x\n").unwrap()), []);
    }
}
