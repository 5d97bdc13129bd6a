//! All access to the disk, through folders that are opened once.
//!
//! Guarantees that a path given to a [`Dir`] never leaves it and never follows a symbolic link. Only regular files are opened
//! for reading, so a FIFO or device cannot block. A replaced file is whole or absent.
//! Leaves to others: which files a store has.

use std::fs::{File, Metadata};
use std::io::{self, BufRead as _, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::model::time::Time;

use rustix::fs::{self as sys, AtFlags, Mode, OFlags, RenameFlags, ResolveFlags};

/// An open folder. All paths given to its methods are relative to it.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Permissions that new files get regardless of the umask: git's `core.sharedRepository`.
    shared: u32,
}

/// Size, times and inode, which distinguish a changed file from an unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// Bytes.
    pub size: u64,
    /// Time of change in nanoseconds since 1970.
    pub mtime: i64,
    /// Time of change of the inode in nanoseconds since 1970. Setting `mtime` back advances it.
    pub ctime: i64,
    /// Inode number.
    pub inode: u64,
}

impl Mark {
    pub(super) fn of(stat: &sys::Stat) -> Self {
        #[expect(clippy::cast_sign_loss, reason = "sizes are not negative")]
        let size = stat.st_size as u64;
        Mark {
            size,
            mtime: stat.st_mtime.wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec as i64),
            ctime: stat.st_ctime.wrapping_mul(1_000_000_000).wrapping_add(stat.st_ctime_nsec as i64),
            inode: stat.st_ino,
        }
    }
}

/// What kind of thing a name in a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Link,
    /// A FIFO, socket or device.
    Other,
}

impl Dir {
    /// Opens a folder by any path. The last component may not be a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd =
            sys::open(path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())?;
        Ok(Dir { fd, path: path.to_owned(), shared: 0 })
    }

    /// The same folder, with the permissions that new files and folders in it get, such as 0o660. Git gives these to the
    /// files of a shared repository.
    pub fn sharing(self, shared: u32) -> Self {
        Dir { shared, ..self }
    }

    /// Gives a new folder the permissions of a shared repository.
    pub fn share(&self) -> io::Result<()> {
        if self.shared == 0 {
            return Ok(());
        }
        // Users who may read a folder may enter it. New files in it belong to its group.
        let more = self.shared | (self.shared & 0o444) >> 2 | 0o2000;
        let mode = sys::fstat(&self.fd)?.st_mode & 0o7777;
        Ok(sys::fchmod(&self.fd, Mode::from(mode | more))?)
    }

    fn share_file(&self, file: &File) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        if self.shared == 0 {
            return Ok(());
        }
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        if mode | self.shared == mode {
            return Ok(());
        }
        match sys::fchmod(file, Mode::from(mode | self.shared)) {
            // The file belongs to another user, who chose its permissions.
            Err(rustix::io::Errno::PERM) => Ok(()),
            other => Ok(other?),
        }
    }

    /// The path it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_below(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            match sys::openat2(&self.fd, path, flags, mode, resolve) {
                Ok(fd) => return Ok(fd),
                // openat2 gives up on a racing rename rather than follow it; a retry is always safe.
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Opens a folder below this one.
    pub fn dir(&self, path: impl AsRef<Path>) -> io::Result<Dir> {
        let fd = self.open_below(path.as_ref(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())?;
        Ok(Dir { fd, path: self.path.join(path), shared: self.shared })
    }

    /// Creates a folder and its missing parents, and opens it.
    pub fn make_dir(&self, path: impl AsRef<Path>) -> io::Result<Dir> {
        let path = path.as_ref();
        match self.dir(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => Some(self.make_dir(parent)?),
            _ => None,
        };
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        match sys::mkdirat(&parent.as_ref().unwrap_or(self).fd, name, Mode::from(0o777)) {
            Ok(()) => {
                let made = self.dir(path)?;
                made.share()?;
                Ok(made)
            }
            Err(rustix::io::Errno::EXIST) => self.dir(path),
            Err(e) => Err(e.into()),
        }
    }

    /// Opens a regular file for reading. Anything else is `InvalidInput`.
    pub fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        Ok(self.open_sized(path.as_ref())?.0)
    }

    /// As [`Dir::open_file`], with the size of the file in bytes.
    fn open_sized(&self, path: &Path) -> io::Result<(File, u64)> {
        sized(File::from(self.open_below(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?))
    }

    /// Opens or creates a regular file for reading and writing.
    pub fn open_rw(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
        let file = regular(File::from(self.open_below(path.as_ref(), flags, Mode::from(mode))?))?;
        self.share_file(&file)?;
        Ok(file)
    }

    /// Opens or creates a regular file for appending.
    pub fn open_append(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK;
        let fd = self.open_below(path.as_ref(), flags, Mode::from(mode))?;
        regular(File::from(fd))
    }

    /// Reads at most `most` bytes of a regular file; a larger one is `FileTooLarge`.
    pub fn read(&self, path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
        let (file, size) = self.open_sized(path.as_ref())?;
        // With room for all of it there are two reads, and not one for each doubling. A huge file may be refused yet.
        let size = size.min(most).min(1 << 20);
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    /// Replaces a file by renaming a temporary file over it. Readers see the old or the new bytes, never a mixture.
    pub fn replace(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> io::Result<()> {
        let path = path.as_ref();
        self.write_then_rename(path, bytes, mode, |_, temporary| {
            Ok(sys::renameat(&self.fd, temporary, &self.fd, path)?)
        })
    }

    /// As [`Dir::replace`], and flushes: a power loss leaves the old or the new bytes.
    pub fn replace_synced(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> io::Result<()> {
        let path = path.as_ref();
        self.write_then_rename(path, bytes, mode, |file, temporary| {
            file.sync_data()?;
            sys::renameat(&self.fd, temporary, &self.fd, path)?;
            self.sync_folder_of(path)
        })
    }

    /// As [`Dir::replace_synced`], with the bytes that `fill` writes, which need not be in memory at once.
    pub fn replace_filled(
        &self,
        path: impl AsRef<Path>,
        mode: u32,
        fill: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = path.as_ref();
        let fill = |file: &mut File| {
            let mut out = io::BufWriter::new(file);
            fill(&mut out)?;
            out.flush()
        };
        self.fill_then_rename(path, mode, fill, |file, temporary| {
            file.sync_data()?;
            sys::renameat(&self.fd, temporary, &self.fd, path)?;
            self.sync_folder_of(path)
        })
    }

    /// As [`Dir::replace_synced`], but fails with `AlreadyExists` if the file exists.
    pub fn create_synced(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> io::Result<()> {
        let path = path.as_ref();
        self.write_then_rename(path, bytes, mode, |file, temporary| {
            file.sync_data()?;
            sys::linkat(&self.fd, temporary, &self.fd, path, AtFlags::empty())?;
            sys::unlinkat(&self.fd, temporary, AtFlags::empty())?;
            self.sync_folder_of(path)
        })
    }

    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => Ok(sys::fsync(&self.dir(parent)?.fd)?),
            None => Ok(sys::fsync(&self.fd)?),
        }
    }

    /// As [`Dir::replace`], but only if the file holds the bytes `known`; returns whether it did. The names are exchanged,
    /// and the old file is checked afterwards and restored if another process has saved it. A file system that cannot
    /// exchange two names is checked before.
    pub fn replace_unchanged(&self, path: impl AsRef<Path>, known: &[u8], bytes: &[u8], mode: u32) -> io::Result<bool> {
        self.exchange_unchanged(path.as_ref(), known, bytes, mode, false)
    }

    /// As [`Dir::replace_unchanged`], and flushes: a power loss leaves the old or the new bytes.
    pub fn replace_unchanged_synced(
        &self,
        path: impl AsRef<Path>,
        known: &[u8],
        bytes: &[u8],
        mode: u32,
    ) -> io::Result<bool> {
        self.exchange_unchanged(path.as_ref(), known, bytes, mode, true)
    }

    fn exchange_unchanged(
        &self,
        path: &Path,
        known: &[u8],
        bytes: &[u8],
        mode: u32,
        is_synced: bool,
    ) -> io::Result<bool> {
        use rustix::io::Errno;
        let limit = known.len() as u64 + 1;
        let holds = |path: &Path| match self.read(path, limit) {
            Ok(now) => Ok(now == known),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::FileTooLarge) => Ok(false),
            Err(e) => Err(e),
        };
        let mut was = true;
        self.write_then_rename(path, bytes, mode, |file, temporary| {
            if is_synced {
                file.sync_data()?;
            }
            let exchange = || sys::renameat_with(&self.fd, temporary, &self.fd, path, RenameFlags::EXCHANGE);
            match exchange() {
                Ok(()) => {
                    was = holds(temporary)?;
                    if !was {
                        exchange()?;
                    }
                    Ok(sys::unlinkat(&self.fd, temporary, AtFlags::empty())?)
                }
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOENT) => {
                    was = holds(path)?;
                    match was {
                        true => sys::renameat(&self.fd, temporary, &self.fd, path)?,
                        false => sys::unlinkat(&self.fd, temporary, AtFlags::empty())?,
                    }
                    Ok(())
                }
                Err(e) => Err(e.into()),
            }
        })?;
        if is_synced {
            self.sync_folder_of(path)?;
        }
        Ok(was)
    }

    /// Writes a temporary file in the same folder and calls `put` to rename it.
    fn write_then_rename(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        put: impl FnOnce(&File, &Path) -> io::Result<()>,
    ) -> io::Result<()> {
        self.fill_then_rename(path, mode, |file| file.write_all(bytes), put)
    }

    fn fill_then_rename(
        &self,
        path: &Path,
        mode: u32,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
        put: impl FnOnce(&File, &Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let name = path.file_name().and_then(|n| n.to_str()).ok_or(ErrorKind::InvalidInput)?;
        let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut file = File::from(self.open_below(&temporary, flags, Mode::from(mode))?);
        if mode & 0o066 != 0 {
            self.share_file(&file)?;
        }
        let written = fill(&mut file).and_then(|()| put(&file, &temporary));
        if written.is_err() {
            // The temporary file holds nothing of value, so a failure to remove it is ignored.
            let _ = sys::unlinkat(&self.fd, &temporary, AtFlags::empty());
        }
        written
    }

    /// Reads the target of a symbolic link.
    pub fn read_link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        use std::os::unix::ffi::OsStringExt as _;
        let target = sys::readlinkat(&self.fd, path.as_ref(), Vec::new())?;
        Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
    }

    /// The permissions of a regular file.
    pub fn mode(&self, path: impl AsRef<Path>) -> io::Result<u32> {
        use std::os::unix::fs::PermissionsExt as _;
        Ok(self.open_file(path)?.metadata()?.permissions().mode() & 0o7777)
    }

    /// Whether this user owns the folder and no other user may write it.
    pub fn is_our_own(&self) -> io::Result<bool> {
        let stat = sys::fstat(&self.fd)?;
        Ok(stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0)
    }

    /// Withdraws all permissions of other users from the folder.
    pub fn make_private(&self) -> io::Result<()> {
        Ok(sys::fchmod(&self.fd, Mode::from(0o700))?)
    }

    /// Binds a socket that only this user can connect to, in the place of what was there. It has its name only once it has its
    /// permissions.
    pub fn bind_socket(&self, name: &str) -> io::Result<UnixListener> {
        let temporary = format!(".{name}.{}.tmp", std::process::id());
        self.remove(&temporary)?;
        // The path of a socket may have 107 bytes; this one is short.
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{temporary}", self.fd.as_raw_fd()))?;
        sys::chmodat(&self.fd, &temporary, Mode::from(0o600), AtFlags::empty())?;
        sys::renameat(&self.fd, &temporary, &self.fd, name)?;
        Ok(listener)
    }

    /// Renames a file within this folder.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        Ok(sys::renameat(&self.fd, from.as_ref(), &self.fd, to.as_ref())?)
    }

    /// Removes an empty folder. The system refuses if it is not empty.
    pub fn remove_empty(&self, path: impl AsRef<Path>) -> io::Result<()> {
        Ok(sys::unlinkat(&self.fd, path.as_ref(), AtFlags::REMOVEDIR)?)
    }

    /// Removes a file. A missing file is not an error.
    pub fn remove(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match sys::unlinkat(&self.fd, path.as_ref(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Names in this folder with their kinds, sorted. Invalid UTF-8 is replaced.
    pub fn list(&self) -> io::Result<Vec<(String, Kind)>> {
        let mut names = Vec::new();
        for entry in sys::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                sys::FileType::RegularFile => Kind::File,
                sys::FileType::Directory => Kind::Dir,
                sys::FileType::Symlink => Kind::Link,
                sys::FileType::Unknown => self.kind(&name)?.unwrap_or(Kind::Other),
                _ => Kind::Other,
            };
            names.push((name, kind));
        }
        names.sort();
        Ok(names)
    }

    /// The kind of thing at a path, without following a final link; `None` if there is none.
    pub fn kind(&self, path: impl AsRef<Path>) -> io::Result<Option<Kind>> {
        match sys::statat(&self.fd, path.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(match sys::FileType::from_raw_mode(stat.st_mode) {
                sys::FileType::RegularFile => Kind::File,
                sys::FileType::Directory => Kind::Dir,
                sys::FileType::Symlink => Kind::Link,
                _ => Kind::Other,
            })),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The mark of a file, without opening it; `None` if there is none.
    pub fn mark(&self, path: impl AsRef<Path>) -> io::Result<Option<Mark>> {
        match sys::statat(&self.fd, path.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Mark::of(&stat))),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Sets the modification time of an existing file.
    pub fn touch(&self, path: impl AsRef<Path>, at: Time) -> io::Result<()> {
        let millis = at.millis();
        let time = sys::Timespec { tv_sec: millis.div_euclid(1_000), tv_nsec: millis.rem_euclid(1_000) * 1_000_000 };
        let times = sys::Timestamps { last_access: time, last_modification: time };
        Ok(sys::utimensat(&self.fd, path.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Whether files can be created here: the folder's permissions and the disk allow writing.
    pub fn is_writable(&self) -> bool {
        self.check_writable(".").is_ok()
    }

    /// Checks that this process can write a file or folder.
    ///
    /// Errors: the reason why not; `NotFound` if there is none.
    pub fn check_writable(&self, path: impl AsRef<Path>) -> io::Result<()> {
        Ok(sys::accessat(&self.fd, path.as_ref(), sys::Access::WRITE_OK, AtFlags::empty())?)
    }

    /// As [`Dir::make_dir`] of a folder directly below, whose name a power loss does not take.
    pub fn make_dir_synced(&self, name: &str) -> io::Result<Dir> {
        let made = self.make_dir(name)?;
        sys::fsync(&self.fd)?;
        Ok(made)
    }

    /// The number of the file system on which this folder lies.
    pub fn device(&self) -> io::Result<u64> {
        Ok(sys::fstat(&self.fd)?.st_dev)
    }

    /// Flushes everything that the disk of this folder has not written yet.
    pub fn sync_disk(&self) -> io::Result<()> {
        Ok(sys::syncfs(self.fd.as_fd())?)
    }
}

fn regular(file: File) -> io::Result<File> {
    Ok(sized(file)?.0)
}

/// A regular file, with its size in bytes.
fn sized(file: File) -> io::Result<(File, u64)> {
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok((file, metadata.len()));
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"))
}

/// Reads up to a newline, which is not kept. Returns the length of the line in bytes and whether a newline ended it. `line`
/// keeps at most `most` bytes.
pub fn read_line(reader: &mut impl io::BufRead, line: &mut Vec<u8>, most: usize) -> io::Result<(u64, bool)> {
    line.clear();
    let mut length = 0u64;
    loop {
        let available = match reader.fill_buf() {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() {
            return Ok((length, false));
        }
        let mut behind = available;
        let used = behind.skip_until(b'\n')?;
        let is_ended = available[..used].ends_with(b"\n");
        let part = &available[..used - usize::from(is_ended)];
        let room = most.saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        length += part.len() as u64;
        reader.consume(used);
        if is_ended {
            return Ok((length, true));
        }
    }
}

/// Whether opening failed because a path holds another kind of thing: a link, folder, socket or device for a file, or a link
/// or file for a folder.
pub fn is_no_regular_file(e: &io::Error) -> bool {
    // A socket gives ENXIO. A link gives ELOOP to a caller that does not follow it, or EXDEV to one that stays below a
    // folder.
    const ENXIO: i32 = 6;
    const EXDEV: i32 = 18;
    const ELOOP: i32 = 40;
    matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::IsADirectory | ErrorKind::NotADirectory)
        || matches!(e.raw_os_error(), Some(ENXIO | EXDEV | ELOOP))
}

/// Whether two open files, or a file and its path, are the same: equal device and inode.
pub fn is_same(a: &Metadata, b: &Metadata) -> bool {
    a.dev() == b.dev() && a.ino() == b.ino()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_a_folder() {
        let sandbox = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(outside.path(), sandbox.path().join("link")).unwrap();
        let dir = Dir::open(sandbox.path()).unwrap();
        let up = format!("../{}/secret", outside.path().file_name().unwrap().to_str().unwrap());
        assert!(dir.open_file("link/secret").is_err());
        assert!(dir.open_file(&up).is_err());
        assert!(dir.replace("link/new", b"x", 0o600).is_err());
        assert!(Dir::open(&sandbox.path().join("link")).is_err());
        assert_eq!(dir.kind("link").unwrap(), Some(Kind::Link));
    }

    #[test]
    fn a_file_saved_in_the_meantime_is_not_replaced() {
        let sandbox = tempfile::tempdir().unwrap();
        let dir = Dir::open(sandbox.path()).unwrap();
        let file = sandbox.path().join("file");
        let names = || dir.list().unwrap().len();
        std::fs::write(&file, "known").unwrap();
        assert!(dir.replace_unchanged("file", b"known", b"new", 0o644).unwrap());
        assert_eq!((std::fs::read(&file).unwrap(), names()), (b"new".to_vec(), 1));
        for saved in ["saved by another", "kno", "known and more"] {
            std::fs::write(&file, saved).unwrap();
            assert!(!dir.replace_unchanged("file", b"known", b"new", 0o644).unwrap());
            assert_eq!((std::fs::read(&file).unwrap(), names()), (saved.as_bytes().to_vec(), 1));
        }
        std::fs::remove_file(&file).unwrap();
        assert!(!dir.replace_unchanged("file", b"known", b"new", 0o644).unwrap());
        assert_eq!(names(), 0);
    }

    #[test]
    fn a_fifo_does_not_hang_us() {
        let sandbox = tempfile::tempdir().unwrap();
        let dir = Dir::open(sandbox.path()).unwrap();
        sys::mknodat(&dir.fd, "pipe", sys::FileType::Fifo, Mode::from(0o600), 0).unwrap();
        assert_eq!(dir.open_file("pipe").unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
