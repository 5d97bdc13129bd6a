//! What the reader of YAML says, in words that tell a person what to write instead.
//!
//! Promises: the place at the end stays as it was; a message that is not known stays whole.
//! Refuses to know: which document was read.

/// What the reader says, and what is meant by it. The first that fits counts.
const MEANT: &[(&str, &str)] = &[
    ("Anchors {", "anchors (&name) are not taken; write the value out, or put a text that begins with & in quotes"),
    ("Aliases {", "aliases (*name) are not taken; write the value out, or put a text that begins with * in quotes"),
    ("Documents {", "one file holds one document; take out what follows --- or ..."),
    ("Nodes {", "it holds more values than are read of one file; keep such data in a file of the repository"),
    ("Events {", "it holds more values than are read of one file; keep such data in a file of the repository"),
    ("TotalScalarBytes {", "it holds more text than is read of one file; keep such data in a file of the repository"),
    ("ScalarBytes {", "it holds more text than is read of one file; keep such data in a file of the repository"),
    ("Depth {", "it is nested deeper than is read; keep such data in a file of the repository"),
    ("MergeKeys {", "merge keys (<<) are not taken; write the keys out"),
    ("budget breached", "it holds more than is read of one file; keep such data in a file of the repository"),
    ("recursion limit exceeded", "it is nested deeper than is read; keep such data in a file of the repository"),
    (
        "unknown anchor",
        "aliases (*name) are not taken; write the value out, or put a text that begins with * in quotes",
    ),
    ("scanning an anchor or alias", "a text that begins with & or * must stand in quotes"),
    ("merge keys are not allowed", "merge keys (<<) are not taken; write the keys out"),
    (
        "unsupported tag",
        "tags (!name) are not taken; write the value alone, or put a text that begins with ! in quotes",
    ),
    ("!!binary", "tags (!name) are not taken; write the value alone"),
    ("unclosed bracket", "a bracket is not closed; close it, or put the text in quotes"),
    ("multiline quoted scalar", "a quoted text does not end; close the quotes, or indent its further lines"),
    (
        "unknown escape character",
        "a text in double quotes holds an escape that is none; write \\\\ for a backslash, or use single quotes",
    ),
    ("while parsing a quoted scalar", "a quoted text is not well formed; look at its quotes and backslashes"),
    ("while scanning a quoted scalar", "a quoted text is not well formed; look at its quotes and backslashes"),
    (
        "mapping values are not allowed",
        "a second colon stands where none may be; put a text that holds \": \" in quotes",
    ),
    (
        "simple key expected",
        "a line is neither a key with a colon nor part of the text above; indent it, or write key: value",
    ),
    (
        "block sequence entries are not allowed",
        "a dash stands where no list may begin; put the list on the next line, or the text in quotes",
    ),
    ("tabs disallowed", "a tab stands where the line is indented; use spaces"),
    ("expected '-' indicator", "a list goes on without a dash; begin the line with - or indent it as the lines above"),
    ("expected <document start>", "the line is indented otherwise than the first one; begin both in the same column"),
    ("expected key", "the line is indented otherwise than its neighbours, or is no key: value"),
    ("while scanning a block scalar", "what follows | or > must stand on the next line"),
    ("non-finite float", "it is no number that can be kept; put it in quotes"),
    ("null into string", "a key is empty; give it a name"),
    ("invalid i64", "expected a whole number"),
    ("invalid u64", "expected a whole number from 0"),
    ("expected sequence start", "expected a list: [one, two], or a line with a dash for each"),
    ("expected mapping start", "expected keys with values: key: value"),
    ("expected string scalar", "expected one text; neither a list nor keys may stand here"),
];

/// A message of the reader in plain words, with the place it names.
pub(super) fn plainly(message: &str) -> String {
    let (said, place) = match message.rfind(" at line ") {
        Some(at) => message.split_at(at),
        None => (message, ""),
    };
    let words = if let Some(rest) = said.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", set DuplicateKeyPolicy").next().unwrap_or(rest);
        format!("the key {key} stands there twice; keep one of them")
    } else if let Some(what) = said.strip_prefix("unexpected character: ") {
        let what = what.trim_start_matches('`').trim_end_matches('\'');
        // What cannot be seen is named by its number.
        match what.strip_prefix("\\u{").and_then(|rest| u32::from_str_radix(rest.strip_suffix('}')?, 16).ok()) {
            Some(code) => format!("a text may not hold the character U+{code:04X}; leave it out"),
            None => format!("a text may not begin with {what} unless it stands in quotes"),
        }
    } else {
        let meant = MEANT.iter().find(|(begins, _)| said.contains(begins));
        meant.map_or_else(|| said.to_owned(), |(_, words)| (*words).to_owned())
    };
    format!("{words}{place}")
}

#[cfg(test)]
mod tests {
    use crate::store::yaml::{line_in, read, read_value};

    #[test]
    fn what_is_refused_is_said_in_plain_words_with_its_line() {
        let many = format!("a: 1\nb: [{}]\n", "x,".repeat(600_000));
        let deep = format!("a: 1\nb: {}\n", "[".repeat(5_000));
        for (text, words) in [
            ("a: 1\na: 2\n", "the key a stands there twice"),
            ("a: 1\nb: &x 1\n", "anchors"),
            ("a: 1\nb: *x\n", "aliases"),
            ("a: 1\nb: !t x\n", "tags"),
            ("a: 1\n---\nb: 2\n", "one file holds one document"),
            ("a: 1\n<<: {c: 2}\n", "merge keys"),
            ("a: 1\nb: [1\n", "a bracket is not closed"),
            ("a: 1\nb: c: d\n", "put a text that holds"),
            ("a:\n\t- x\n", "use spaces"),
            ("a: 1\nb: @x\n", "may not begin with @"),
            ("a: 1\nb: x\0y\n", "U+0000"),
            ("a: 1\nb: \"\\q\"\n", "backslash"),
            ("a: |\nx\n", "neither a key"),
            ("a: 1\nb: - c\n", "no list may begin"),
            (&many, "more values than are read"),
            (&deep, "nested deeper"),
        ] {
            let said = read_value(text).unwrap_err();
            assert!(said.contains(words) && line_in(&said) == Some(2), "{said}");
            for raw in ["breached", "Policy", "scalar", "indicator", "i64"] {
                assert!(!said.contains(raw), "{said}");
            }
        }
        let said = read::<i64>("much\n").unwrap_err();
        assert!(said.starts_with("expected a whole number at line 1"), "{said}");
    }
}
