//! The agents that a text names as `@name`.
//!
//! A mention begins at the start of the text or after a character that cannot be part of a name or an address. What stands
//! between backticks is code and names no agent.

/// Whether a text names an agent.
pub fn is_named(text: &str, agent: &str) -> bool {
    let prose = without_code(text).to_ascii_lowercase();
    let mut from = 0;
    while let Some(at) = prose[from..].find('@').map(|n| from + n) {
        from = at + 1;
        let before = prose[..at].chars().next_back();
        let rest = &prose[from..];
        let length = rest.find(|c: char| !is_part_of_name(c)).unwrap_or(rest.len());
        // A full stop or a hyphen at the end belongs to the sentence.
        let name = rest[..length].trim_end_matches(['.', '-', '_']);
        let is_whole = rest[..length] == *agent || name == agent;
        if is_whole && before.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '/' | '@'))) {
            return true;
        }
    }
    false
}

fn is_part_of_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
}

/// The text without what stands between two runs of equally many backticks.
fn without_code(text: &str) -> String {
    let mut prose = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find('`') {
        let ticks = rest[begin..].bytes().take_while(|byte| *byte == b'`').count();
        let after = &rest[begin + ticks..];
        prose.push_str(&rest[..begin]);
        match end_of_code(after, ticks) {
            Some(end) => {
                prose.push(' ');
                rest = &after[end..];
            }
            None => {
                prose.push_str(&rest[begin..begin + ticks]);
                rest = after;
            }
        }
    }
    prose + rest
}

/// Where the code ends that began with so many backticks.
fn end_of_code(text: &str, ticks: usize) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find('`').map(|n| from + n) {
        let run = text[at..].bytes().take_while(|byte| *byte == b'`').count();
        if run == ticks {
            return Some(at + run);
        }
        from = at + run;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_after_an_at_sign_is_a_mention() {
        for text in ["@bob", "ask @bob.", "(@bob) what?", "hello,@Bob!", "`x` @bob", "a ` tick @bob", "@amy, @bob-"] {
            assert!(is_named(text, "bob"), "{text}");
        }
        assert!(is_named("@codex-1.2: go on", "codex-1.2"));
    }

    #[test]
    fn addresses_code_and_longer_names_are_none() {
        let none = [
            "bob",
            "mail bob@bob",
            "x@bob.org",
            "`@bob`",
            "```\n@bob\n```",
            "@bobby",
            "@bob-2",
            "``a ` @bob``",
            "@@bob",
        ];
        for text in none {
            assert!(!is_named(text, "bob"), "{text}");
        }
    }
}
