//! The text of a task, and when a word occurs in it.
//!
//! Promises: a word occurs where its letters stand in one of the texts of a task, in a part of a word too, whatever the case
//! and however wide the gaps between words; so also in scripts that put no gaps. Letters with marks are letters of their own,
//! and a mark that stands for itself is not the letter that has it.
//! Refuses to know: how texts are stored and found fast.

use crate::model::task::Task;

/// Stands between the texts of a task; no folded text has it, so that nothing is found across two of them.
const BETWEEN: char = '\n';

/// A text as it is compared: lower case, one blank for every gap, no control characters.
pub fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            if !folded.is_empty() && !folded.ends_with(' ') {
                folded.push(' ');
            }
            continue;
        }
        // By the letter, not by the word: the last sigma of a word is the same letter as any other.
        folded.extend(c.to_lowercase().map(|c| if c == 'ς' { 'σ' } else { c }));
    }
    folded.truncate(folded.trim_end_matches(' ').len());
    folded
}

/// All texts of a task, folded: title, intent, acceptance, progress and context; of what was redacted there is none.
pub fn text_of(task: &Task) -> String {
    let fields = &task.fields;
    let texts = [Some(&fields.title), fields.intent.as_ref()]
        .into_iter()
        .flatten()
        .chain(&fields.acceptance)
        .chain(task.progress.values().map(|item| &item.content))
        .chain(task.context.values().map(|entry| &entry.content));
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
        assert_eq!(folded(" \n "), "");
    }
}
