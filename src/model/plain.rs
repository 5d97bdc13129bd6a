//! Escapes texts of others for readers that interpret some of them as commands: a terminal, the log of a CI job, Markdown, a
//! forge; and words for numbers.
//!
//! Guarantees that a text stays readable and that none of it acts. Joiners within words of the scripts that need them, and
//! within emoji, are text.
//! Leaves to others: which text goes where.

use std::borrow::Cow;
use std::fmt::Display;

/// A number and what it counts: "1 task", "2 tasks".
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The first of some words, and the number of the others: `a, b and 3 more`.
pub fn first_of(words: impl IntoIterator<Item = impl Display>, most: usize, total: usize) -> String {
    let named: Vec<String> = words.into_iter().take(most).map(|word| word.to_string()).collect();
    let more = total.saturating_sub(named.len());
    named.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// Escapes what could deceive a reader of a terminal, or act in the log of a CI job. Newlines and tabs become visible too:
/// the text fits on one line.
pub fn escape(text: &str) -> String {
    spelled(text).collect()
}

/// As [`escape`], for a text of several lines.
pub fn escape_lines(text: &str) -> String {
    let escaped: String = text.lines().map(|line| escape(line) + "\n").collect();
    inert_lines(&escaped).into_owned()
}

/// The characters of a text, each as [`escape`] writes it.
pub fn spelled(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut before = None;
    text.char_indices().map(move |(at, c)| {
        let rest = &text[at + c.len_utf8()..];
        let shown = match c {
            '\n' => Cow::from("⏎"),
            '\t' => " ".into(),
            '\u{200C}' | '\u{200D}' if joins(before, rest.chars().next()) => text[at..][..c.len_utf8()].into(),
            '#' if is_job_command(&text[at..]) => "\\u{23}".into(),
            c if c.is_control() || is_deceptive(c) => format!("\\u{{{:x}}}", c as u32).into(),
            c => text[at..][..c.len_utf8()].into(),
        };
        before = Some(c);
        shown
    })
}

/// Whether nothing of a text can be seen.
pub fn is_blank(text: &str) -> bool {
    let is_unseen =
        |c: char| matches!(c, '\u{115F}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}' | '\u{FE00}'..='\u{FE0F}');
    text.chars().all(|c| c.is_whitespace() || c.is_control() || is_deceptive(c) || is_unseen(c))
}

/// Marks that reverse, join or hide adjacent text.
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Whether a joiner between these characters is part of a word or of an emoji.
fn joins(before: Option<char>, after: Option<char>) -> bool {
    let of_script = |c: char| {
        matches!(c, '\u{600}'..='\u{8FF}' | '\u{900}'..='\u{DFF}' | '\u{F00}'..='\u{FFF}' | '\u{1000}'..='\u{109F}'
            | '\u{1780}'..='\u{17FF}' | '\u{1800}'..='\u{18AF}' | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFE}')
    };
    let of_emoji = |c: char| matches!(c, '\u{FE0F}' | '\u{2190}'..='\u{2BFF}' | '\u{1F000}'..='\u{1FAFF}');
    let both = |is: &dyn Fn(char) -> bool| before.is_some_and(is) && after.is_some_and(is);
    let is_text = |c: char| of_script(c) && !is_deceptive(c);
    both(&is_text) || both(&of_emoji)
}

/// Whether a text begins like a command in the log of a CI job: `##[group]`, `##vso[…]`, `##teamcity[…]`.
fn is_job_command(text: &str) -> bool {
    let after = text.strip_prefix("##").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()));
    after.is_some_and(|rest| rest.starts_with('['))
}

/// Escapes lines that begin like a command in the log of a CI job, such as `::error::`.
pub fn inert_lines(text: &str) -> Cow<'_, str> {
    let acts = |line: &str| line.trim_start().starts_with("::");
    if !text.contains("::") || !text.lines().any(acts) {
        return text.into();
    }
    let inert = |line: &str| if acts(line) { line.replacen("::", "\\u{3a}:", 1) } else { line.to_owned() };
    text.split_inclusive('\n').map(inert).collect()
}

/// Escapes JSON so that no text in it is a command in the log of a CI job; its meaning is the same.
pub fn inert_json(json: &str) -> Cow<'_, str> {
    if !json.contains("##") {
        return json.into();
    }
    let inert = |(at, c): (usize, char)| {
        if c == '#' && is_job_command(&json[at..]) { Cow::from("\\u0023") } else { json[at..][..c.len_utf8()].into() }
    };
    json.char_indices().map(inert).collect::<String>().into()
}

/// A text for Markdown on one line: unchanged if it has no special meaning, else in a code span.
pub fn markdown(text: &str) -> Cow<'_, str> {
    if is_plain_in_markdown(text) { text.into() } else { code_span(&escape(text)).into() }
}

/// A text in a code span that it cannot close.
pub fn code_span(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let ticks = "`".repeat(longest + 1);
    let pad = if text.is_empty() || text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// A text in a code block that it cannot close.
pub fn code_block(text: &str) -> String {
    let longest =
        text.split(['\n', '\r']).map(|l| l.trim_start().bytes().take_while(|b| *b == b'`').count()).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", text.trim_end())
}

fn is_plain_in_markdown(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let is_word = |n: Option<usize>| n.and_then(|n| chars.get(n)).is_some_and(|c| c.is_alphanumeric());
    let is_plain = |n: usize, c: char| match c {
        '_' => is_word(n.checked_sub(1)) && is_word(Some(n + 1)),
        '&' => chars.get(n + 1) == Some(&' '),
        ' ' | '\'' | '"' | ',' | '.' | ';' | ':' | '?' | '!' | '(' | ')' | '+' | '=' | '%' | '-' | '/' | '…' | '—'
        | '–' => true,
        c => {
            c.is_alphanumeric()
                || (!c.is_ascii() && spelled(c.encode_utf8(&mut [0; 4])).all(|shown| shown.chars().eq([c])))
        }
    };
    // Markdown turns these into links.
    let low = text.to_ascii_lowercase();
    let is_link = ["www.", "://", "gh-", "mailto:"].iter().any(|begin| low.contains(begin));
    !is_link && chars.iter().enumerate().all(|(n, c)| is_plain(n, *c))
}

/// A text for a commit message. What a forge or a CI system interprets as a reference, a mention or a command is written with
/// wide characters, which they ignore.
pub fn inert_in_commit(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied().unwrap_or(' ');
        match c {
            '-' if next == '-' || next.is_ascii_digit() => out.push('\u{2010}'),
            '#' | '@' | '[' | ']' | ':' | '/' | '!' | '<' | '>' | '\\' | '|' | '&' | '$' | '^' | '{' | '}' | '*'
            | '%' | '~' | '`' => {
                out.extend(char::from_u32(c as u32 + 0xFEE0));
            }
            c => out.push(c),
        }
    }
    // Escapes what could reverse a line in git log, and keeps the text on one line.
    escape(&out)
}

/// A word as a shell takes it.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_raw_reaches_a_terminal() {
        let hostile = "a\u{1b}]52;c;aGk=\u{7}b\u{202e}c\r\nd\u{200b}";
        let shown = escape(hostile);
        assert_eq!(shown, "a\\u{1b}]52;c;aGk=\\u{7}b\\u{202e}c\\u{d}⏎d\\u{200b}");
        assert!(escape_lines("a\nb\u{9b}").chars().all(|c| !c.is_control() || c == '\n'));
    }

    #[test]
    fn joiners_within_words_and_emoji_are_text() {
        for text in ["می\u{200c}خواهم", "👨\u{200d}👩\u{200d}👧", "❤\u{fe0f}\u{200d}🔥", "क्\u{200d}ष"]
        {
            assert_eq!(escape(text), text);
        }
        for text in ["pass\u{200d}word", "\u{200c}می", "می\u{200c}", "а\u{200c}б", "م\u{200c}\u{200c}م"] {
            assert!(escape(text).contains("\\u{200"), "{text:?}");
        }
    }

    #[test]
    fn no_line_is_a_command_of_a_job() {
        assert_eq!(escape("a ##[error]b ##vso[task] ##"), "a \\u{23}#[error]b \\u{23}#vso[task] ##");
        assert_eq!(escape_lines("x\n  ::error::y\na::b\n## Heading"), "x\n  \\u{3a}:error::y\na::b\n## Heading\n");
        let json = r###"{"title":"##[group]x"}"###;
        let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert!(!inert_json(json).contains("##["));
        assert_eq!(read(&inert_json(json)), read(json));
    }

    #[test]
    fn nothing_in_a_text_is_markdown() {
        for text in
            ["Add a cache (2.0): it's fast, 50 % of it", "in_progress", "src/lib.rs", "2026-11-20T10:00:00Z", "你好…"]
        {
            assert_eq!(markdown(text), text);
        }
        for text in [
            "@team",
            "<b>x",
            "[x](y)",
            "**x**",
            "see https://e",
            "www.e.org",
            "#12",
            "GH-12",
            "a|b",
            "__x__",
            "&lt;",
            "$x$",
        ] {
            assert_eq!(markdown(text), format!("`{text}`"));
        }
        assert_eq!(markdown("a `b\n# c"), "``a `b⏎# c``");
    }

    #[test]
    fn no_forge_acts_on_a_text_in_a_commit() {
        let text = inert_in_commit(
            "Fixes #12, GH-12, !7, https://f.org/i/1 [skip ci] ***NO_CI*** @team --skip-ci\n\nCo-authored-by: x",
        );
        for acts in ["#1", "GH-1", "!7", "://", "[", "***", "@", "--", "\n", "by:"] {
            assert!(!text.contains(acts), "{acts}: {text}");
        }
        assert!(text.starts_with("Fixes ＃12, GH‐12, ！7"), "{text}");
    }
}
