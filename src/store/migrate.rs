//! Steps from one format of the store to the next.
//!
//! Guarantees that a step is a function of the files alone, so that it can be shown before it is done.
//! Leaves to others: reading and writing the files, and the commit.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::store::layout::CONFIG;

/// The files of a store, by path below it.
pub type Files = BTreeMap<String, Vec<u8>>;
/// Changed files; `None` for one that is removed.
pub type Changes = BTreeMap<String, Option<Vec<u8>>>;

/// The way from one format to the next.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The format that it begins with; it ends with the next number.
    pub from: u64,
    /// What it changes, for people.
    pub what: &'static str,
    /// The files that it changes. It leaves the number of the format to its caller.
    pub apply: fn(&Files) -> Result<Changes>,
}

/// All steps. Format 1 is the first one that was released.
pub const STEPS: &[Step] = &[];

/// The steps from one format to another, and the files that they change together.
///
/// Errors: `ERR_VALIDATION` if a step is missing; those of the steps.
pub fn migrated(mut files: Files, from: u64, to: u64, steps: &[Step]) -> Result<(Vec<Step>, Changes)> {
    let (mut taken, mut all) = (Vec::new(), Changes::new());
    for format in from..to {
        let step = steps.iter().find(|step| step.from == format).ok_or_else(|| {
            Error::validation(format!("this agentpm knows no way from format {format} to format {}", format + 1))
                .hint("use the agentpm that wrote the store, or one between the two versions")
        })?;
        let mut changes = (step.apply)(&files)?;
        let config = changes.remove(CONFIG).flatten().or_else(|| files.get(CONFIG).cloned()).unwrap_or_default();
        let config = with_format(&String::from_utf8_lossy(&config), format + 1);
        changes.insert(CONFIG.to_owned(), Some(config.into_bytes()));
        for (path, bytes) in changes {
            match &bytes {
                Some(bytes) => drop(files.insert(path.clone(), bytes.clone())),
                None => drop(files.remove(&path)),
            }
            all.insert(path, bytes);
        }
        taken.push(*step);
    }
    Ok((taken, all))
}

/// The settings with this number of the format; every other line stays as it is.
fn with_format(config: &str, format: u64) -> String {
    let line = format!("format = {format}\n");
    let is_format = |line: &str| line.split('=').next().is_some_and(|key| key.trim() == "format");
    let end = config.lines().position(|line| line.trim_start().starts_with('[')).unwrap_or(usize::MAX);
    let mut lines: Vec<String> = config.lines().map(|line| format!("{line}\n")).collect();
    match config.lines().position(is_format).filter(|at| *at < end) {
        Some(at) => lines[at] = line,
        None => lines.insert(0, line),
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_format_is_the_only_line_that_changes() {
        assert_eq!(
            with_format("# mine\nformat = 0 # old\n[lock]\nwait_ms = 1\n", 1),
            "# mine\nformat = 1\n[lock]\nwait_ms = 1\n"
        );
        assert_eq!(with_format("[lock]\nwait_ms = 1\n", 2), "format = 2\n[lock]\nwait_ms = 1\n");
    }

    #[test]
    fn steps_follow_one_another_and_a_missing_one_is_named() {
        let rename: fn(&Files) -> Result<Changes> = |files| {
            let moved = files.iter().filter_map(|(path, bytes)| Some((path.strip_suffix(".old")?, path, bytes)));
            Ok(moved
                .flat_map(|(new, old, bytes)| [(new.to_owned(), Some(bytes.clone())), (old.clone(), None)])
                .collect())
        };
        let steps = [Step { from: 0, what: "renames", apply: rename }, Step { from: 1, what: "again", apply: rename }];
        let files =
            Files::from([("a.old.old".to_owned(), b"a".to_vec()), (CONFIG.to_owned(), b"format = 0\n".to_vec())]);
        let (taken, changes) = migrated(files.clone(), 0, 2, &steps).unwrap();
        assert_eq!(taken.len(), 2);
        assert_eq!(changes["a"], Some(b"a".to_vec()));
        assert_eq!((&changes["a.old.old"], &changes["a.old"]), (&None, &None));
        assert_eq!(changes[CONFIG], Some(b"format = 2\n".to_vec()));
        assert!(migrated(files, 0, 3, &steps).unwrap_err().message.contains("format 2"));
    }
}
