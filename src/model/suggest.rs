//! Suggests the known words that a caller may have meant.
//!
//! Guarantees that only the letters decide.
//! Leaves to others: the meaning of the words.

/// The known word that is at most a third of its length away from `word`.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    near(word, known).first().map(|word| (*word).to_owned())
}

/// The known words that are at most a third of their length away from `word`, the nearest first.
pub fn near<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found: Vec<(usize, &str)> = known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3 + 1)
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// The known word that an unknown one may be a misspelling of: at most two edits apart, and fewer than half its letters.
pub fn slip<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (apart, near) = known.map(|known| (distance(word, known), known)).min()?;
    (apart <= 2 && apart * 2 < word.chars().count()).then_some(near)
}

/// Edits between two words (Levenshtein, 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = corner + usize::from(ca != *cb);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
