//! Finds the position of a key or entry in a readable file.
//!
//! Guarantees the line of a top-level key, or of an entry of its list, as agentpm and people write them: a key at the
//! beginning of a line, an entry after a dash. For an entry written otherwise it is the key's line.
//! Leaves to others: whether the file is valid.

/// The line and the byte in it, both from 1, of the first invalid UTF-8; `None` for valid text.
pub fn not_utf8(bytes: &[u8]) -> Option<(usize, usize)> {
    let good = &bytes[..std::str::from_utf8(bytes).err()?.valid_up_to()];
    let begin = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |n| n + 1);
    Some((good.iter().filter(|byte| **byte == b'\n').count() + 1, good.len() - begin + 1))
}

/// Reports bytes that are not UTF-8, and where.
pub fn not_text(bytes: &[u8]) -> String {
    let (line, byte) = not_utf8(bytes).unwrap_or((1, 1));
    format!("it is not valid UTF-8 at line {line}, byte {byte}; save the file as UTF-8")
}

/// The line, from 1, of a top-level key.
pub fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let quoted = [format!("\"{key}\""), format!("'{key}'")];
    let begins = |line: &str| {
        let rest =
            line.strip_prefix(key).or_else(|| quoted.iter().find_map(|quoted| line.strip_prefix(quoted.as_str())));
        rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
    };
    text.lines().position(begins).map(|n| n + 1)
}

/// The line, from 1, of an entry of the list under a top-level key. Entries count from 0.
pub fn line_of_entry(text: &str, key: &str, entry: usize) -> Option<usize> {
    let first = line_of_key(text, key)?;
    let mut depth = None;
    let mut seen = 0;
    for (n, line) in text.lines().enumerate().skip(first) {
        let indent = line.len() - line.trim_start().len();
        let body = line.trim_start();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        let dash = body == "-" || body.starts_with("- ");
        if indent == 0 && !dash {
            break;
        }
        if dash && *depth.get_or_insert(indent) == indent {
            if seen == entry {
                return Some(n + 1);
            }
            seen += 1;
        }
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_that_is_no_text_is_found() {
        assert_eq!(not_utf8(b"a\nb\n"), None);
        assert_eq!(not_utf8(b"a\nb\xff\n"), Some((2, 2)));
        assert_eq!(not_utf8(b"\xff"), Some((1, 1)));
    }

    #[test]
    fn keys_and_entries_are_found_on_their_lines() {
        let text = "title: labels\nlabels:\n  - a\n  # note\n  - b\nprogress:\n- content: |\n    - no entry\n- content: x\n\"type\": ops\nfiles: [a, b]\n";
        assert_eq!(line_of_key(text, "labels"), Some(2));
        assert_eq!(line_of_entry(text, "labels", 1), Some(5));
        assert_eq!(line_of_entry(text, "progress", 1), Some(9));
        assert_eq!(line_of_key(text, "type"), Some(10));
        assert_eq!(line_of_entry(text, "files", 1), Some(11));
        assert_eq!(line_of_key(text, "none"), None);
    }
}
