//! Finds the comments of a YAML text, which rewriting the file would lose.
//!
//! Guarantees that exactly what the parser of [`crate::store::yaml`] skips after a `#` is found: a place is a comment if the
//! text means the same without it. If a text is too large to check each place, a place counts as a comment.
//! Leaves to others: what the document means.

use serde_json::Value;

use crate::store::yaml;

/// A comment: its line, from 1, and its words without the `#`.
pub type Comment = (usize, String);

/// The line by which an editor finds the schema. It belongs to the editor and holds nothing of the task.
const MODELINE: &str = "yaml-language-server:";

/// The most bytes that are parsed again to distinguish comments from text, at about 30 nanoseconds each.
const BUDGET: usize = 4 * 1024 * 1024;

/// The comments of a text that parses as `value`. An editor's own line does not count.
pub fn comments(text: &str, value: &Value) -> Vec<Comment> {
    let places = places(text);
    let mut found = Vec::new();
    let mut left = BUDGET / text.len().max(1);
    sift(text, value, &places, &mut left, &mut found);
    found.sort_unstable();
    // A second mark on a line belongs to the comment after the first.
    let mut end = 0;
    found.retain(|at| {
        let first = *at >= end;
        end = if first { text[*at..].find('\n').map_or(text.len(), |n| at + n) } else { end };
        first
    });
    let (mut line, mut from) = (1, 0);
    let comment = |at: &usize| {
        line += text[from..*at].matches('\n').count();
        from = *at;
        let words = text[at + 1..].lines().next().unwrap_or_default().trim();
        (line, words.to_owned())
    };
    let said = |(_, words): &Comment| !words.is_empty() && !words.starts_with(MODELINE);
    found.iter().map(comment).filter(said).collect()
}

/// Places where a comment can begin: a `#` that begins a line or follows a space. Only the first of each line counts.
fn places(text: &str) -> Vec<usize> {
    let mut places = Vec::new();
    let (mut start, mut block) = (0, None);
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches(' ').len();
        // Prose in a block holds no comments, even if its lines begin with a mark.
        if block.is_some_and(|within| indent > within || line.trim().is_empty()) {
            start += line.len();
            continue;
        }
        block = opens_block(line);
        let marks = line.match_indices('#').map(|(at, _)| at);
        places.extend(marks.filter(|at| line[..*at].ends_with([' ', '\t']) || *at == 0).map(|at| start + at));
        start += line.len();
    }
    places
}

/// For a line that opens a block of text, the indentation that the lines of the block must exceed.
fn opens_block(line: &str) -> Option<usize> {
    let line = line.trim_end();
    let line = line.split_once(" #").map_or(line, |(before, _)| before.trim_end());
    let (rest, mark) = line.rsplit_once([' ', '-']).map_or(("", line), |_| {
        let at = line.rfind(' ').map_or(0, |at| at + 1);
        line.split_at(at)
    });
    let is_mark = mark.starts_with(['|', '>']) && mark[1..].chars().all(|c| matches!(c, '-' | '+' | '1'..='9'));
    let mut column = rest.len() - rest.trim_start_matches(' ').len();
    let mut body = rest.trim_start_matches(' ');
    let mut dash = None;
    while let Some(after) = body.strip_prefix("- ") {
        dash = Some(column);
        let inner = after.trim_start_matches(' ');
        column += body.len() - inner.len();
        body = inner;
    }
    match (is_mark, body.trim_end().strip_suffix(':'), dash) {
        (true, Some(_), _) => Some(column),
        (true, None, Some(dash)) if body.trim().is_empty() => Some(dash),
        _ => None,
    }
}

/// Keeps the places that are comments: all of them if the text means the same without them, else each half is checked.
fn sift(text: &str, value: &Value, places: &[usize], left: &mut usize, found: &mut Vec<usize>) {
    if places.is_empty() {
        return;
    }
    if *left == 0 {
        found.extend(places);
        return;
    }
    *left -= 1;
    if yaml::read_value(&without(text, places)).is_ok_and(|same| same == *value) {
        found.extend(places);
    } else if places.len() > 1 {
        let (one, other) = places.split_at(places.len() / 2);
        sift(text, value, one, left, found);
        sift(text, value, other, left, found);
    }
}

/// Removes each of these places up to the end of its line.
fn without(text: &str, places: &[usize]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for place in places {
        if *place < at {
            continue;
        }
        out.push_str(&text[at..*place]);
        at = text[*place..].find('\n').map_or(text.len(), |end| place + end);
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<(usize, String)> {
        comments(text, &yaml::read_value(text).unwrap())
    }

    #[test]
    fn comments_are_distinguished_from_text() {
        let text = "# first\ntitle: one # two # three\nintent: |\n  # a heading\n  text # of its own\n\n# between\nlabels:\n  - \
                    \"a # b\" # real\n  - c#d\n  # last\n";
        let expected = [(1, "first"), (2, "two # three"), (7, "between"), (9, "real"), (11, "last")]
            .map(|(n, s)| (n, s.to_owned()));
        assert_eq!(of(text), expected);
    }

    #[test]
    fn an_editors_own_line_is_none() {
        assert_eq!(of("# yaml-language-server: $schema=x.json\ntitle: a\n#\n"), []);
    }

    #[test]
    fn much_prose_costs_a_bounded_number_of_readings() {
        let prose: String = (0..200_000).map(|n| format!("  # line {n}\n")).collect();
        let text = format!(
            "title: a # real\nintent: |\n{prose}\ncontext:\n  - content: |-\n      # prose\n    # last\n  - >\n    # more\n"
        );
        assert_eq!(of(&text), [(1, "real".into()), (200_007, "last".into())]);
    }
}
