//! The text of a task, and when a word occurs in it.
//!
//! Guarantees that a word matches if its letters occur in a text of the task, also within a word. Case and the width of gaps
//! do not matter, so it works in scripts without gaps too. A letter with a mark is a letter of its own, and a separate mark
//! does not equal it.
//! Leaves to others: how texts are stored and found fast.

use crate::model::task::Task;

/// Separates the texts of a task. No folded text contains it, so that no match spans two texts.
const BETWEEN: char = '\n';

/// A text in the form in which it is compared: lower case, one blank for every gap, no control characters.
pub fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            if !folded.is_empty() && !folded.ends_with(' ') {
                folded.push(' ');
            }
            continue;
        }
        // By letter, not by word: the final sigma of a word equals any other sigma.
        folded.extend(c.to_lowercase().map(|c| if c == 'ς' { 'σ' } else { c }));
    }
    folded.truncate(folded.trim_end_matches(' ').len());
    folded
}

/// All texts of a task, folded: title, intent, acceptance, progress and context, without redacted ones.
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
