//! Whether the files that two tasks expect to touch have paths in common.
//!
//! Patterns are those of git's pathspecs: `*` and `?` also match a slash, `**/` matches any folders or none, and a pattern matches
//! all that lies below it. Guarantees that no common path is missed; what
//! begins with `[` matches anything.
//! Leaves to others: which tasks are in progress.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::id::{HANDLE_MIN, Id};

/// The longest part of a pattern that is compared, in characters, and the most patterns of a task.
const MAX_PATTERN: usize = 512;
const MAX_PATTERNS: usize = 256;

/// A task in progress and the files that it claims.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FileClaim {
    /// The task.
    pub task: Id,
    /// Its title.
    pub title: String,
    /// The agent that works on it.
    pub holder: String,
    /// Paths and patterns of the task.
    pub files: Vec<String>,
}

impl FileClaim {
    /// The claim with only those of its files that overlap with these; `None` if none does.
    pub fn overlap(&self, files: &[String]) -> Option<Self> {
        let meets = |theirs: &&String| files.iter().take(MAX_PATTERNS).any(|ours| overlaps(ours, theirs));
        let common: Vec<String> = self.files.iter().take(MAX_PATTERNS).filter(meets).cloned().collect();
        (!common.is_empty()).then(|| FileClaim { files: common, ..self.clone() })
    }

    /// The warning for another task that overlaps with it.
    pub fn warning(&self) -> String {
        format!("its files overlap: {}", self.words())
    }

    /// The claim as text.
    pub fn words(&self) -> String {
        let (handle, files) = (self.task.handle(HANDLE_MIN), self.files.join(", "));
        format!("{} works on {files} for task {handle} ({})", self.holder, self.title)
    }
}

/// A step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    One(char),
    Any,
    Many,
    /// The next steps, so many, may be left out.
    Maybe(usize),
}

/// Whether some path matches both patterns.
pub fn overlaps(one: &str, other: &str) -> bool {
    let are_plain = is_plain(one) && is_plain(other);
    let steps = |pattern: &str| steps(pattern, are_plain || !is_file(pattern));
    meet(&steps(one), &steps(other))
}

/// Whether a path matches a pattern, or, of a folder, some path below it.
pub fn matches(pattern: &str, path: &str, is_folder: bool) -> bool {
    let mut exact: Vec<Step> = path.trim_matches('/').chars().map(Step::One).collect();
    if is_folder {
        exact.extend(if exact.is_empty() { &[Step::Many] } else { &BELOW[..] });
    }
    meet(&steps(pattern, true), &exact)
}

fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '\\'])
}

/// Whether a pattern names a file rather than a folder, by its extension.
fn is_file(pattern: &str) -> bool {
    is_plain(pattern) && pattern.rsplit('/').next().is_some_and(|name| name.trim_start_matches('.').contains('.'))
}

/// Whether two patterns can take the same steps.
fn meet(one: &[Step], other: &[Step]) -> bool {
    let (mut open, mut seen) = (vec![(0, 0)], HashSet::new());
    while let Some((i, j)) = open.pop() {
        if !seen.insert((i, j)) {
            continue;
        }
        let (a, b) = (one.get(i).copied(), other.get(j).copied());
        match (a, b) {
            (None, None) => return true,
            (Some(Step::Maybe(n)), _) => open.extend([(i + 1, j), (i + 1 + n, j)]),
            (_, Some(Step::Maybe(n))) => open.extend([(i, j + 1), (i, j + 1 + n)]),
            (Some(Step::Many), Some(Step::Many)) => open.extend([(i + 1, j), (i, j + 1)]),
            (Some(Step::Many), _) => {
                open.push((i + 1, j));
                open.extend(b.map(|_| (i, j + 1)));
            }
            (_, Some(Step::Many)) => {
                open.push((i, j + 1));
                open.extend(a.map(|_| (i + 1, j)));
            }
            (Some(Step::One(x)), Some(Step::One(y))) if x != y => {}
            (Some(_), Some(_)) => open.push((i + 1, j + 1)),
            (None, Some(_)) | (Some(_), None) => {}
        }
    }
    false
}

/// All that lies below what came before, or nothing.
const BELOW: [Step; 3] = [Step::Maybe(2), Step::One('/'), Step::Many];

fn steps(pattern: &str, is_folder: bool) -> Vec<Step> {
    let pattern = pattern.trim_start_matches("./").trim_matches('/');
    let (mut steps, mut chars) = (Vec::new(), pattern.chars().peekable());
    while let Some(c) = chars.next().filter(|_| pattern != ".") {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() && chars.next_if_eq(&'/').is_some() => {
                steps.extend([Step::Maybe(2), Step::Many, Step::One('/')]);
            }
            '*' => steps.push(Step::Many),
            '?' => steps.push(Step::Any),
            '\\' => steps.push(Step::One(chars.next().unwrap_or(c))),
            '[' => {
                steps.push(Step::Many);
                return steps;
            }
            c => steps.push(Step::One(c)),
        }
        if steps.len() >= MAX_PATTERN {
            steps.push(Step::Many);
            return steps;
        }
    }
    if steps.is_empty() {
        steps.push(Step::Many);
    } else if is_folder {
        steps.extend(BELOW);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::{matches, overlaps};

    #[test]
    fn patterns_with_a_common_path_overlap() {
        let pairs = [
            ("src/git", "src/git/mod.rs"),
            ("src/git/", "src/git"),
            ("src/*.rs", "src/main.rs"),
            ("src/*.rs", "src/git/mod.rs"),
            ("src/**/mod.rs", "src/mod.rs"),
            ("**/mod.rs", "mod.rs"),
            ("src/**", "src/a/b"),
            ("*.rs", "src"),
            ("src/a*", "src/*b"),
            ("src/[ab].rs", "src/a.rs"),
            (".", "anything"),
            ("./docs", "docs/a.md"),
            ("a?c", "abc"),
        ];
        for (one, other) in pairs {
            assert!(overlaps(one, other) && overlaps(other, one), "{one} and {other}");
        }
    }

    #[test]
    fn patterns_without_a_common_path_do_not_overlap() {
        let pairs = [
            ("src/git", "src/github"),
            ("src/*.rs", "docs/a.md"),
            ("src/*.rs", "src/a.md"),
            ("src/**/mod.rs", "src/xmod.rs"),
            ("src/a*", "src/b*"),
            ("docs", "src"),
        ];
        for (one, other) in pairs {
            assert!(!overlaps(one, other) && !overlaps(other, one), "{one} and {other}");
        }
    }

    #[test]
    fn a_path_matches_as_it_is_written() {
        assert!(matches("src/*.rs", "src/a.rs", false) && !matches("src/*.rs", "src/a.md", false));
        assert!(matches("src/git/mod.rs", "src", true) && !matches("src/git/mod.rs", "src", false));
        assert!(matches("src", "src/*", false) && !matches("src/a", "src/*", false));
        assert!(matches("src", "", true));
    }

    #[test]
    fn long_patterns_end() {
        let (stars, plain) = ("*a".repeat(5_000), "a".repeat(5_000));
        assert!(overlaps(&stars, &plain));
    }
}
