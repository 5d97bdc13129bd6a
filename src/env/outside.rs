//! Files and folders that the user named, anywhere on the disk.
//!
//! Guarantees that a file keeps its old content until the new one is whole.
//! Leaves to others: the files of a store (`files`).
#![expect(clippy::disallowed_methods, reason = "this is the seam through which they come in")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::files;

/// A file that the user named, while its new content is written. It gets that content as a whole, or keeps the old one.
#[derive(Debug)]
pub struct Replacement {
    file: io::BufWriter<File>,
    /// The temporary file and the path that it gets; `None` for a device or a pipe, which is written as it is.
    names: Option<(PathBuf, PathBuf)>,
}

impl Replacement {
    /// Begins to replace a file, or to write a new one. Follows links, as the user expects.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let path = match std::fs::canonicalize(path) {
            Ok(known) if known.is_file() => known,
            Ok(known) => {
                let file = File::options().write(true).open(known)?;
                return Ok(Replacement { file: io::BufWriter::new(file), names: None });
            }
            Err(_) => path.to_owned(),
        };
        let name = path.file_name().and_then(|n| n.to_str()).ok_or(ErrorKind::InvalidInput)?;
        let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let file = io::BufWriter::new(File::create(&temporary)?);
        Ok(Replacement { file, names: Some((temporary, path)) })
    }

    /// Puts the new content in place.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        if let Some((temporary, path)) = &self.names {
            std::fs::rename(temporary, path)?;
        }
        self.names = None;
        Ok(())
    }
}

impl io::Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.names {
            // The temporary file holds nothing of value, so a failure to remove it is ignored.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

/// Whether a path that the user named is a folder.
pub fn is_folder(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// The largest file of a folder that is read, and the most bytes of all, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
const MAX_FOLDER: u64 = 256 * 1024 * 1024;

/// The texts of the regular files below a folder whose names are wanted, by their paths within it. Links are not followed.
/// Bytes that are not UTF-8 are replaced.
pub fn read_folder(path: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    let mut left = MAX_FOLDER;
    for entry in walkdir::WalkDir::new(path).max_depth(8).sort_by_file_name() {
        let entry = entry?;
        if !entry.file_type().is_file() || !is_wanted(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let bytes = files::read_outside(entry.path(), MAX_FILE.min(left))?;
        left -= bytes.len() as u64;
        let within = entry.path().strip_prefix(path).unwrap_or(entry.path());
        texts.insert(within.to_string_lossy().into_owned(), String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(texts)
}
