//! The heads that each readable file of this worktree was last rendered from, by path.
//!
//! Guarantees that a note costs the same for any number of files: notes are appended, and the last one of a file counts. They
//! are state, not a cache. Without them only git's index and commits distinguish a hand edit from an older value.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;

use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::model::id::Id;

const FILE: &str = "rendered";
/// The largest file of notes that is read, in bytes.
const MAX_FILE: u64 = 256 * 1024 * 1024;
/// After each growth by so many bytes, superseded notes may be dropped.
const STEP: u64 = 1024 * 1024;

/// What is noted of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The heads that it was rendered from; empty where they are no longer known.
    pub heads: Vec<Id>,
    /// The version that git's index got while the file was left as it was, by the name of its object.
    pub skipped: Option<String>,
}

impl From<Vec<Id>> for Rendered {
    fn from(heads: Vec<Id>) -> Self {
        Rendered { heads, skipped: None }
    }
}

/// Notes what these files were rendered from. The caller holds the lock.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub fn note<'a>(own: &Dir, files: impl IntoIterator<Item = (&'a str, &'a Rendered)>) -> Result<()> {
    let mut text = String::new();
    files.into_iter().for_each(|(path, rendered)| add_note(&mut text, path, rendered));
    if text.is_empty() {
        return Ok(());
    }
    let append = || -> std::io::Result<u64> {
        let mut file = own.open_append(FILE, 0o666)?;
        file.write_all(text.as_bytes())?;
        Ok(file.metadata()?.len())
    };
    let fail = |e: std::io::Error| Error::io("write", &own.path().join(FILE), &e);
    let length = append().map_err(fail)?;
    if length / STEP != (length - text.len() as u64) / STEP {
        drop_replaced(own, length).map_err(fail)?;
    }
    Ok(())
}

fn add_note(text: &mut String, path: &str, Rendered { heads, skipped }: &Rendered) {
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    let skipped = skipped.as_ref().map(|object| format!("\t{object}")).unwrap_or_default();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{path}\t{}{skipped}", heads.join(","));
}

/// Rewrites the file with the last note of each file, if that is much shorter.
fn drop_replaced(own: &Dir, length: u64) -> std::io::Result<()> {
    let known = read(own);
    let mut notes: Vec<(&String, &Rendered)> = known.iter().collect();
    notes.sort_by_key(|(path, _)| *path);
    let mut text = String::new();
    notes.into_iter().for_each(|(path, rendered)| add_note(&mut text, path, rendered));
    if 2 * (text.len() as u64) < length { own.replace_synced(FILE, text.as_bytes(), 0o666) } else { Ok(()) }
}

/// What each file was last rendered from, by path. A line that was cut off is skipped.
pub fn read(own: &Dir) -> HashMap<String, Rendered> {
    let bytes = own.read(FILE, MAX_FILE).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let note = |line: &str| {
        let (path, noted) = line.split_once('\t')?;
        let (heads, skipped) = noted.split_once('\t').map_or((noted, None), |(heads, object)| (heads, Some(object)));
        let heads = heads.split(',').filter(|head| !head.is_empty()).map(|head| head.parse().ok());
        let heads = heads.collect::<Option<Vec<Id>>>()?;
        Some((path.to_owned(), Rendered { heads, skipped: skipped.map(str::to_owned) }))
    };
    text.lines().filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_of_a_file_counts_and_a_cut_off_line_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let own = Dir::open(folder.path()).unwrap();
        let id = |n: u8| -> Id { format!("01K5R4XJ7Z00000000000000{n:02}").parse().unwrap() };
        let left = Rendered { heads: vec![id(4)], skipped: Some("0123abcd".into()) };
        note(&own, [("a", &vec![id(1)].into()), ("b", &vec![id(2), id(3)].into())]).unwrap();
        note(&own, [("a", &left)]).unwrap();
        own.open_append(FILE, 0o666).unwrap().write_all(b"b\t01K5R").unwrap();
        assert_eq!(read(&own), HashMap::from([("a".into(), left), ("b".into(), vec![id(2), id(3)].into())]));
    }

    #[test]
    fn replaced_notes_are_dropped_while_the_file_grows() {
        let folder = tempfile::tempdir().unwrap();
        let own = Dir::open(folder.path()).unwrap();
        let id: Id = "01K5R4XJ7Z0000000000000001".parse().unwrap();
        note(&own, vec![("path", &vec![id].into()); 40_000]).unwrap();
        assert!(own.mark(FILE).unwrap().unwrap().size < 100);
        assert_eq!(read(&own).len(), 1);
    }
}
