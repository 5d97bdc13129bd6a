//! Rewrites messages of the YAML parser so that they say what to write instead.
//!
//! Guarantees that the position at the end is kept, and that an unknown message stays whole.
//! Leaves to others: which document was read.

/// Parts of the parser's messages, and their meaning. The first match counts.
const MEANT: &[(&str, &str)] = &[
    ("Anchors {", "anchors (&name) are not supported; write the value out, or quote a text that begins with &"),
    ("Aliases {", "aliases (*name) are not supported; write the value out, or quote a text that begins with *"),
    ("Documents {", "a file holds one document; remove what follows --- or ..."),
    ("Nodes {", "the file holds too many values; keep such data in a file of the repository"),
    ("Events {", "the file holds too many values; keep such data in a file of the repository"),
    ("TotalScalarBytes {", "the file holds too much text; keep such data in a file of the repository"),
    ("ScalarBytes {", "the file holds too much text; keep such data in a file of the repository"),
    ("Depth {", "the file is nested too deeply; keep such data in a file of the repository"),
    ("MergeKeys {", "merge keys (<<) are not supported; write the keys out"),
    ("budget breached", "the file holds too much; keep such data in a file of the repository"),
    ("recursion limit exceeded", "the file is nested too deeply; keep such data in a file of the repository"),
    ("unknown anchor", "aliases (*name) are not supported; write the value out, or quote a text that begins with *"),
    ("scanning an anchor or alias", "a text that begins with & or * must be quoted"),
    ("merge keys are not allowed", "merge keys (<<) are not supported; write the keys out"),
    ("unsupported tag", "tags (!name) are not supported; write only the value, or quote a text that begins with !"),
    ("!!binary", "tags (!name) are not supported; write only the value"),
    ("unclosed bracket", "a bracket is not closed; close it, or quote the text"),
    ("multiline quoted scalar", "a quoted text does not end; close the quotes, or indent its further lines"),
    (
        "unknown escape character",
        "a text in double quotes contains an unknown escape; write \\\\ for a backslash, or use single quotes",
    ),
    ("while parsing a quoted scalar", "a quoted text is malformed; check its quotes and backslashes"),
    ("while scanning a quoted scalar", "a quoted text is malformed; check its quotes and backslashes"),
    ("mapping values are not allowed", "a second colon is not allowed here; quote a text that contains \": \""),
    (
        "simple key expected",
        "a line is neither a key with a colon nor part of the text above; indent it, or write key: value",
    ),
    (
        "block sequence entries are not allowed",
        "no list may begin at this dash; start the list on the next line, or quote the text",
    ),
    ("tabs disallowed", "a tab is not allowed as indentation; use spaces"),
    (
        "expected '-' indicator",
        "an entry of a list has no dash; begin the line with -, or indent it as the lines above",
    ),
    ("expected <document start>", "the line is not indented as the first one; begin both in the same column"),
    ("expected key", "the line is not indented as its neighbours, or is not key: value"),
    ("while scanning a block scalar", "the text after | or > must begin on the next line"),
    ("non-finite float", "the number cannot be stored; quote it"),
    ("null into string", "a key is empty; give it a name"),
    ("invalid i64", "expected a whole number"),
    ("invalid u64", "expected a whole number from 0"),
    ("expected sequence start", "expected a list: [one, two], or a line with a dash for each"),
    ("expected mapping start", "expected keys with values: key: value"),
    ("expected string scalar", "expected one text; a list or keys are not allowed here"),
];

/// Rewrites a message of the parser, with its position.
pub(super) fn explain(message: &str) -> String {
    let (said, place) = match message.rfind(" at line ") {
        Some(at) => message.split_at(at),
        None => (message, ""),
    };
    let words = if let Some(rest) = said.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", set DuplicateKeyPolicy").next().unwrap_or(rest);
        format!("the key {key} occurs twice; keep one of them")
    } else if let Some(what) = said.strip_prefix("unexpected character: ") {
        let what = what.trim_start_matches('`').trim_end_matches('\'');
        // An invisible character is named by its number.
        match what.strip_prefix("\\u{").and_then(|rest| u32::from_str_radix(rest.strip_suffix('}')?, 16).ok()) {
            Some(code) => format!("a text must not contain the character U+{code:04X}; remove it"),
            None => format!("a text that begins with {what} must be quoted"),
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
    fn a_refusal_is_in_plain_words_with_its_line() {
        let many = format!("a: 1\nb: [{}]\n", "x,".repeat(600_000));
        let deep = format!("a: 1\nb: {}\n", "[".repeat(5_000));
        for (text, words) in [
            ("a: 1\na: 2\n", "the key a occurs twice"),
            ("a: 1\nb: &x 1\n", "anchors"),
            ("a: 1\nb: *x\n", "aliases"),
            ("a: 1\nb: !t x\n", "tags"),
            ("a: 1\n---\nb: 2\n", "a file holds one document"),
            ("a: 1\n<<: {c: 2}\n", "merge keys"),
            ("a: 1\nb: [1\n", "a bracket is not closed"),
            ("a: 1\nb: c: d\n", "quote a text that contains"),
            ("a:\n\t- x\n", "use spaces"),
            ("a: 1\nb: @x\n", "begins with @"),
            ("a: 1\nb: x\0y\n", "U+0000"),
            ("a: 1\nb: \"\\q\"\n", "backslash"),
            ("a: |\nx\n", "neither a key"),
            ("a: 1\nb: - c\n", "no list may begin"),
            (&many, "too many values"),
            (&deep, "nested too deeply"),
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
