//! The section about agentpm in AGENTS.md.
//!
//! Guarantees: all that is outside of the two marks stays byte for byte; the same section twice changes nothing; where it is not
//! plain which lines are ours, nothing is written.
//! Leaves to others: what the section says.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::env::files::{Dir, Kind};
use crate::error::{Code, Error, Result};

/// The file agents read.
pub(crate) const NAME: &str = "AGENTS.md";
/// The line before our section, and the line after it.
const BEGIN: &[u8] = b"<!-- agentpm:begin -->";
const END: &[u8] = b"<!-- agentpm:end -->";
/// Largest file that is read.
const MOST: u64 = 4 * 1024 * 1024;

/// What is to be written, and where: known before anything is.
pub(crate) struct Draft {
    /// The file, below the top: AGENTS.md, or what it is a link to.
    path: PathBuf,
    old: Option<Vec<u8>>,
    new: Vec<u8>,
}

/// Works out what the file will say. The section begins and ends with its marks.
///
/// Errors: `ERR_CORRUPT` for marks that do not pair, a link that leads away, or something that is no file; `ERR_IO`.
pub(crate) fn draft(top: &Dir, section: &str) -> Result<Draft> {
    let path = place(top)?;
    let old = match top.read(&path, MOST) {
        Ok(bytes) => Some(bytes),
        Err(e) if e.kind() == ErrorKind::NotFound && path == Path::new(NAME) => None,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(Error::new(
                Code::Corrupt,
                format!("{NAME} is a link to {}, which does not exist", path.display()),
            )
            .hint("create that file, or replace the link with a file"));
        }
        Err(e) if e.kind() == ErrorKind::FileTooLarge => {
            return Err(Error::new(Code::Corrupt, format!("{} is larger than {MOST} bytes", path.display())));
        }
        Err(e) if crate::store::entity::is_odd(&e) => {
            return Err(Error::new(Code::Corrupt, format!("{} is not a regular file", path.display()))
                .hint("look at what is there"));
        }
        Err(e) => return Err(Error::io("read", &top.path().join(&path), &e)),
    };
    let new = match &old {
        Some(old) => within(old, section).map_err(|why| {
            Error::new(Code::Corrupt, format!("{}: {why}; nothing was written", path.display())).hint(format!(
                "our section stands between one line {} and one line {} after it; correct the lines by hand",
                String::from_utf8_lossy(BEGIN),
                String::from_utf8_lossy(END)
            ))
        })?,
        None => section.as_bytes().to_vec(),
    };
    Ok(Draft { path, old, new })
}

impl Draft {
    /// Writes it. Returns the file's name if it changed.
    ///
    /// Errors: `ERR_IO`.
    pub fn write(self, top: &Dir) -> Result<Option<String>> {
        if self.old.as_deref() == Some(&self.new[..]) {
            return Ok(None);
        }
        let mode = if self.old.is_some() { top.mode(&self.path) } else { Ok(0o666) };
        let written = mode.and_then(|mode| top.replace(&self.path, &self.new, mode));
        written.map_err(|e| Error::io("write", &top.path().join(&self.path), &e))?;
        Ok(Some(self.path.display().to_string()))
    }
}

/// Where the file is. A link is followed once, to a Markdown file of the same work tree that no tool of the repository reads:
/// a link in a repository must not lead us to write into git's folder or out of the work tree.
fn place(top: &Dir) -> Result<PathBuf> {
    let failed = |e: std::io::Error| Error::io("look at", &top.path().join(NAME), &e);
    if top.kind(NAME).map_err(failed)? != Some(Kind::Link) {
        return Ok(NAME.into());
    }
    let target = top.read_link(NAME).map_err(failed)?;
    let plain = target.components().filter(|part| *part != Component::CurDir);
    let plain: Option<PathBuf> = plain
        .map(|part| match part {
            Component::Normal(name) if !name.to_string_lossy().starts_with('.') => Some(name),
            _ => None,
        })
        .collect();
    plain.filter(|path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("md"))).ok_or_else(|| {
        Error::new(Code::Corrupt, format!("{NAME} is a link to {}; nothing was written", target.display()))
            .hint("a link is followed to a .md file in the same folder or below it, such as CLAUDE.md")
    })
}

/// The file with the section in it; the reason where that is not plain.
fn within(old: &[u8], section: &str) -> std::result::Result<Vec<u8>, String> {
    const BOM: &[u8] = b"\xEF\xBB\xBF";
    let mut marks = Vec::new();
    let mut from = 0;
    for (number, line) in old.split_inclusive(|b| *b == b'\n').enumerate() {
        let bom = if number == 0 && line.starts_with(BOM) { BOM.len() } else { 0 };
        let text = line[bom..].trim_ascii();
        if text == BEGIN || text == END {
            marks.push((text == BEGIN, from + bom, from + line.len(), number + 1));
        }
        from += line.len();
    }
    let crlf = old.iter().position(|b| *b == b'\n').is_some_and(|at| at > 0 && old[at - 1] == b'\r');
    let ending = if crlf { "\r\n" } else { "\n" };
    let section = section.trim_end().replace('\n', ending);
    match marks[..] {
        [] => {
            let mut new = old.to_vec();
            let text = old.strip_prefix(BOM).unwrap_or(old);
            if !text.is_empty() {
                // A blank line between.
                if !text.ends_with(b"\n") {
                    new.extend(ending.as_bytes());
                }
                if !text.ends_with(b"\n\n") && !text.ends_with(b"\n\r\n") {
                    new.extend(ending.as_bytes());
                }
            }
            new.extend(section.as_bytes());
            new.extend(ending.as_bytes());
            Ok(new)
        }
        [(true, start, ..), (false, _, end, _)] => {
            let last = &old[start..end];
            let tail = if last.ends_with(b"\r\n") {
                "\r\n"
            } else if last.ends_with(b"\n") {
                "\n"
            } else {
                ""
            };
            Ok([&old[..start], section.as_bytes(), tail.as_bytes(), &old[end..]].concat())
        }
        [(true, .., line)] => Err(format!("the section that begins in line {line} does not end")),
        [(false, .., line), ..] => Err(format!("a section ends in line {line} but has no beginning")),
        [.., (_, _, _, line)] => Err(format!("there is more than one mark; the last is in line {line}")),
    }
}
