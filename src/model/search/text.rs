//! The text of a task, and when a word occurs in it.
//!
//! Guarantees that a word matches if its letters occur in a text of the task, also within a word. Case and the width of gaps
//! do not matter, so it works in scripts without gaps too. Texts that Unicode holds to be the same are the same here: `ß` is
//! `ss`, and a letter with a mark is one letter, whether it is written as one character or two.
//! Leaves to others: how texts are stored and found fast.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use crate::model::task::Task;

/// Separates the texts of a task. No folded text contains it, so that no match spans two texts.
const BETWEEN: char = '\n';

/// A text in the form in which it is compared: without case, in composed characters, one blank for every gap, no control
/// characters.
pub fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    if text.is_ascii() {
        text.chars().for_each(|c| push(&mut folded, c.to_ascii_lowercase()));
    } else {
        // Unicode's caseless match: folded in decomposed form, since folding one character can give a letter and a mark. Lower
        // case of upper case is the full folding (ß, ẞ and SS are ss) without a table of its own; it also equals ı and i.
        let lower = text.nfd().flat_map(char::to_lowercase);
        lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().for_each(|c| push(&mut folded, c));
    }
    folded.truncate(folded.trim_end_matches(' ').len());
    folded
}

fn push(folded: &mut String, c: char) {
    if !c.is_whitespace() && !c.is_control() {
        folded.push(c);
    } else if !folded.is_empty() && !folded.ends_with(' ') {
        folded.push(' ');
    }
}

/// A word in composed characters, in which form labels are compared.
pub fn composed(word: &str) -> Cow<'_, str> {
    if is_nfc(word) { word.into() } else { word.nfc().collect::<String>().into() }
}

/// All texts of a task, folded: title, intent, acceptance, progress, context without redacted entries, and the messages of threads.
pub fn text_of(task: &Task) -> String {
    let fields = &task.fields;
    let texts = [Some(&fields.title), fields.intent.as_ref()]
        .into_iter()
        .flatten()
        .chain(&fields.acceptance)
        .chain(task.progress.values().map(|item| &item.content))
        .chain(task.context.values().map(|entry| &entry.content))
        .chain(task.threads.values().flat_map(|thread| {
            std::iter::once(&thread.body).chain(thread.replies.values().map(|message| &message.body))
        }));
    let mut all = String::new();
    for text in texts {
        all.push_str(&folded(text));
        all.push(BETWEEN);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_gaps_do_not_count() {
        assert_eq!(folded("  Two\n\t words\u{a0}HERE \u{0} "), "two words here");
        assert_eq!(folded("ΟΔΟΣ"), folded("οδος"));
        assert_eq!(folded("STRASSE Ärger 同期"), "strasse ärger 同期");
        for same in ["GRÖSSE", "größe", "GRÖẞE", "gro\u{308}sse", "GRO\u{308}ßE"] {
            assert_eq!(folded(same), "grösse", "{same:?}");
        }
        assert_eq!(folded("ﬁ \u{212b}ngström \u{2126}"), "fi ångström ω");
        assert_eq!(folded(" \n "), "");
    }
}
