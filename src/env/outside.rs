//! Files and folders that the user named, anywhere on the disk.
//!
//! Guarantees that a file keeps its old content until the new one is whole.
//! Leaves to others: the files of a store (`files`).
#![expect(clippy::disallowed_methods, reason = "this is the seam through which they come in")]

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, AtFlags};

use super::files::Mark;

/// Opens a file that the user named on the command line. Follows links, as the user expects.
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Reads at most `most` bytes of a file that the user or the system named.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Replaces one of our files outside a store, such as a note next to a cache. A crash leaves the old file whole.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().and_then(|n| n.to_str()).ok_or(ErrorKind::InvalidInput)?;
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The temporary file holds nothing of value, so a failure to remove it is ignored.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Removes one of our files outside a store, such as a cache.
pub fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

/// The first bytes of a file that the user named.
pub fn head(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Resolves all links in a path.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

/// The metadata of a path, without following a final link.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    std::fs::symlink_metadata(path)
}

/// The number of the user who owns a file or folder; `None` if there is none.
pub fn owner(path: &Path) -> Option<u32> {
    metadata(path).ok().map(|metadata| metadata.uid())
}

/// Whether a path is a socket, and no link to one.
pub fn is_socket(path: &Path) -> bool {
    metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Whether a path exists and belongs to another user than that of this process.
pub fn is_of_another_user(path: &Path) -> bool {
    metadata(path).is_ok_and(|m| m.uid() != rustix::process::geteuid().as_raw())
}

/// Whether a path leads to a regular file, which can be opened without waiting.
pub fn is_file(path: &Path) -> io::Result<bool> {
    std::fs::metadata(path).map(|metadata| metadata.is_file())
}

/// Size, times and inode of a file that git named; all 0 if there is none.
pub fn mark(path: &Path) -> Mark {
    sys::stat(path).map(|stat| Mark::of(&stat)).unwrap_or_default()
}

/// Distinguishes a file from every other that was ever at its path: its inode and birth time, since inode numbers are reused.
/// Only the inode if the file system does not record the birth time; empty if there is no file.
pub fn identity(path: &Path) -> String {
    match sys::statx(sys::CWD, path, AtFlags::empty(), sys::StatxFlags::INO | sys::StatxFlags::BTIME) {
        Ok(stat) if stat.stx_mask & sys::StatxFlags::BTIME.bits() != 0 => {
            format!("{} {}.{:09}", stat.stx_ino, stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)
        }
        Ok(stat) => stat.stx_ino.to_string(),
        Err(_) => sys::stat(path).map(|stat| stat.st_ino.to_string()).unwrap_or_default(),
    }
}

/// Creates a folder that the user or git named, with its parents.
pub fn make_dirs(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Creates a folder that only this user can enter, with its parents. An existing one stays as it is.
pub fn make_private_dirs(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The number of this user.
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A file that the user named, while its new content is written. It gets that content as a whole, or keeps the old one.
#[derive(Debug)]
pub struct Replacement {
    file: io::BufWriter<File>,
    /// The temporary file and the path that it gets; `None` for a device or a pipe, which is written as it is.
    names: Option<(PathBuf, PathBuf)>,
    /// Whether the temporary file has no name before it is whole, so that an interrupted process leaves none behind.
    is_nameless: bool,
}

impl Replacement {
    /// Begins to replace a file, or to write a new one. Follows links, as the user expects.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let path = match std::fs::canonicalize(path) {
            Ok(known) if known.is_file() => known,
            Ok(known) => {
                let file = File::options().write(true).open(known)?;
                return Ok(Replacement { file: io::BufWriter::new(file), names: None, is_nameless: false });
            }
            Err(_) => path.to_owned(),
        };
        let name = path.file_name().and_then(|n| n.to_str()).ok_or(ErrorKind::InvalidInput)?;
        let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let nameless = nameless(temporary.parent().unwrap_or(&path));
        let is_nameless = nameless.is_some();
        let file = io::BufWriter::new(nameless.map_or_else(|| File::create(&temporary), Ok)?);
        Ok(Replacement { file, names: Some((temporary, path)), is_nameless })
    }

    /// Puts the new content in place.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        if let Some((temporary, path)) = &self.names {
            if self.is_nameless {
                let own = own_path(self.file.get_ref());
                sys::linkat(sys::CWD, own, sys::CWD, temporary, AtFlags::SYMLINK_FOLLOW)?;
            }
            std::fs::rename(temporary, path)?;
        }
        self.names = None;
        Ok(())
    }
}

/// A new file in a folder without a name there; `None` where the system has none such.
fn nameless(folder: &Path) -> Option<File> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let flags = sys::OFlags::TMPFILE | sys::OFlags::WRONLY | sys::OFlags::CLOEXEC;
    let file = File::from(sys::open(folder, flags, sys::Mode::from_raw_mode(0o666)).ok()?);
    own_path(&file).exists().then_some(file)
}

/// The path of a file that has no other.
fn own_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
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

/// The largest file of a folder that is read, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Regular files below a folder, by their paths within it.
#[derive(Debug, Default)]
pub struct Folder(BTreeMap<String, PathBuf>);

impl Folder {
    /// Lists the files whose names are wanted. Links are not followed.
    pub fn list(path: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in walkdir::WalkDir::new(path).max_depth(8) {
            let entry = entry?;
            if entry.file_type().is_file() && is_wanted(&entry.file_name().to_string_lossy()) {
                let within = entry.path().strip_prefix(path).unwrap_or(entry.path()).to_string_lossy().into_owned();
                files.insert(within, entry.into_path());
            }
        }
        Ok(Folder(files))
    }

    /// The paths of the files.
    pub fn paths(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The texts of all files, by their paths.
    pub fn texts(&self) -> io::Result<BTreeMap<String, String>> {
        self.0.keys().map(|path| Ok((path.clone(), self.text(path)?))).collect()
    }

    /// The text of a file. Bytes that are not UTF-8 are replaced.
    pub fn text(&self, path: &str) -> io::Result<String> {
        let bytes = read(self.0.get(path).ok_or(ErrorKind::NotFound)?, MAX_FILE)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }
}
