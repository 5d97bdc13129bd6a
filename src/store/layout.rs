//! The paths of everything in `.agentpm`.
//!
//! Guarantees that a store is found in the work tree of the given folder and in no other. Links and devices in it are never
//! followed, and ids become paths only after validation.
//! Leaves to others: the contents of the files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::env::files::{Dir, Kind, is_no_regular_file};
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::model::event::Entity;
use crate::model::id::{Id, check_agent_name};
use crate::store::archive::Archives;

/// The name of the store's folder.
pub const STORE: &str = ".agentpm";
/// The settings of the store.
pub const CONFIG: &str = "config.toml";
/// Who may do what.
pub const ROLES: &str = "roles.yml";
/// The files that decide how everybody's commands behave.
pub const SETTINGS: [&str; 2] = [CONFIG, ROLES];
/// What git does with the files of the store.
pub const ATTRIBUTES: &str = ".gitattributes";
/// Which of them git leaves out.
pub const IGNORE: &str = ".gitignore";
/// The files directly in the store's folder.
pub const TOP_FILES: [&str; 4] = [CONFIG, ROLES, ATTRIBUTES, IGNORE];
/// The name of an entity's log.
pub const LOG: &str = "events.jsonl";
/// The folder of the tasks.
pub const TASKS: &str = "tasks";
/// The folder of the agents.
pub const AGENTS: &str = "agents";
/// The folder of the archives.
pub const ARCHIVE: &str = "archive";
/// The record of dropped tasks.
pub const DROPPED: &str = "archive/dropped.jsonl";
/// The folder of runtime state if the git folder cannot be written.
pub const LOCAL: &str = ".local";
/// Whether a path below the store is that of an archive of closed tasks, `archive/<YYYY-MM>.jsonl`.
pub fn is_archive(below: &str) -> bool {
    let name = below.strip_prefix(ARCHIVE).and_then(|rest| rest.strip_prefix('/'));
    let month = name.and_then(|name| name.strip_suffix(".jsonl"));
    let fits = |(n, byte): (usize, u8)| if n == 4 { byte == b'-' } else { byte.is_ascii_digit() };
    month.is_some_and(|month| month.len() == 7 && month.bytes().enumerate().all(fits))
}

/// Whether a path below the store is that of a file in the folder of the archives: an archive, or the record of dropped tasks.
pub fn is_in_archives(below: &str) -> bool {
    below == DROPPED || is_archive(below)
}

/// The version of the store's format that this program writes.
pub const FORMAT: u64 = 1;

/// The contents of `.agentpm/.gitattributes`. Whatever the attributes of the repository are, git stores and checks out the
/// bytes that agentpm wrote, as `sync` commits them.
pub const GITATTRIBUTES: &str = "\
* -text !eol !crlf -ident !filter !working-tree-encoding !conflict-marker-size
task.yaml merge=agentpm
events.jsonl merge=union diff=agentpm linguist-generated
archive/*.jsonl merge=union diff=agentpm linguist-generated
";

/// The contents that earlier versions wrote; `init` replaces such a file.
pub const OLD_GITATTRIBUTES: &[&str] = &[
    "\
* text eol=lf
task.yaml merge=agentpm
events.jsonl merge=union diff=agentpm linguist-generated
archive/*.jsonl merge=union diff=agentpm linguist-generated
",
    "\
* text eol=lf
events.jsonl merge=union linguist-generated
archive/*.jsonl merge=union linguist-generated
",
];

/// The contents of `.agentpm/.gitignore`.
pub const GITIGNORE: &str = "/.local/\n.*.tmp\n";

/// The contents of a new `.agentpm/config.toml`.
pub const CONFIG_TEXT: &str = "\
# Settings of this plan. All of them and their defaults: agentpm schema config
format = 1
";

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// Its folder, `.agentpm`.
    pub dir: Dir,
    /// Its path below the top of the work tree, for messages: `.agentpm`, or `sub/.agentpm`.
    pub name: String,
    /// What is known of its archives.
    pub archives: Archives,
}

impl Store {
    /// Opens the nearest store at or above `start` within the work tree `top`; `None` if there is none.
    ///
    /// Errors: `ERR_CORRUPT` if `.agentpm` exists but is not a folder.
    pub fn nearest(top: &Path, start: &Path) -> Result<Option<Self>> {
        let start = outside::canonical(start).map_err(|e| Error::io("find the folder", start, &e))?;
        for folder in start.ancestors().take_while(|folder| folder.starts_with(top)) {
            if let Some(store) = Self::at(&folder.join(STORE), top)? {
                return Ok(Some(store));
            }
        }
        Ok(None)
    }

    /// Opens the store at `path`; `None` if there is none.
    ///
    /// Errors: `ERR_CORRUPT` for a link or a file in its place, `ERR_IO` if it cannot be read.
    pub fn at(path: &Path, top: &Path) -> Result<Option<Self>> {
        let dir = match Dir::open(path) {
            Ok(dir) => dir,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) if outside::metadata(path).is_ok_and(|m| !m.is_dir()) => {
                return Err(Error::new(
                    Code::Corrupt,
                    format!("{} is not a folder but a link or another kind of file ({e})", path.display()),
                )
                .with(json!({ "store": path.strip_prefix(top).unwrap_or(path).display().to_string() }))
                .hint("a store is a real folder; check what is there before you remove it"));
            }
            Err(e) => return Err(Error::io("open", path, &e)),
        };
        let name = path.strip_prefix(top).unwrap_or(path).display().to_string();
        Ok(Some(Store { dir, name, archives: Archives::default() }))
    }

    /// A path in the store as messages show it: relative to the top of the work tree.
    pub fn shown(&self, path: impl AsRef<Path>) -> String {
        shown(&self.name, path)
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The ids of all tasks whose folder is in its place, sorted; and everything else below `tasks`. The contents of a folder
    /// that is not a shard are listed too, down to the level of the tasks, since they may be new files.
    ///
    /// Errors: `ERR_IO` if a folder cannot be read.
    pub fn task_folders(&self) -> Result<(Vec<Id>, Vec<InvalidPath>)> {
        let (mut tasks, mut odd) = (Vec::new(), Vec::new());
        match self.dir.dir(TASKS) {
            Ok(top) => self.collect_tasks(&top, "", &mut tasks, &mut odd)?,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(self.odd_folder(TASKS.as_ref(), &e)),
        }
        tasks.sort();
        Ok((tasks, odd))
    }

    /// Lists a folder at this path below `tasks`: `tasks` itself, or a folder of the first or the second level.
    fn collect_tasks(&self, dir: &Dir, shard: &str, tasks: &mut Vec<Id>, odd: &mut Vec<InvalidPath>) -> Result<()> {
        let is_last_level = shard.contains('/');
        for (name, kind) in dir.list().map_err(|e| Error::io("list", dir.path(), &e))? {
            let id = name.parse::<Id>().ok();
            if let Some(id) = id
                && kind == Kind::Dir
                && id.shard() == shard
            {
                tasks.push(id);
                continue;
            }
            let inner = if shard.is_empty() { name.clone() } else { format!("{shard}/{name}") };
            let path = Path::new(TASKS).join(&inner);
            if kind != Kind::Dir || id.is_some() || is_last_level {
                odd.push((path, kind));
                continue;
            }
            match dir.dir(&name) {
                Ok(dir) => self.collect_tasks(&dir, &inner, tasks, odd)?,
                // Git removes a folder with its last file.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                // A folder that this user may not read must not block all others.
                Err(e) if e.kind() == ErrorKind::PermissionDenied => odd.push((path, kind)),
                Err(e) => return Err(self.odd_folder(&path, &e)),
            }
        }
        Ok(())
    }

    fn odd_folder(&self, path: &Path, e: &std::io::Error) -> Error {
        match is_no_regular_file(e) {
            true => Error::new(Code::Corrupt, format!("{} cannot be opened as a folder: {e}", self.shown(path))),
            false => Error::io("open", &self.path().join(path), e),
        }
    }
}

/// A path below the store that does not belong there, and its kind.
pub type InvalidPath = (PathBuf, Kind);

/// A path below the store of this name as messages show it: relative to the top of the work tree.
pub fn shown(store: &str, path: impl AsRef<Path>) -> String {
    Path::new(store).join(path).display().to_string()
}

/// The folder of a task, below the store.
pub fn task_dir(id: Id) -> PathBuf {
    Path::new(TASKS).join(id.shard()).join(id.to_string())
}

/// The folder of an entity and the name of its readable file. Sessions have none: they are only in the journal.
pub fn home(entity: &Entity) -> Option<(PathBuf, &'static str)> {
    match entity {
        Entity::Task(id) => Some((task_dir(*id), "task.yaml")),
        Entity::Agent(name) => Some((Path::new(AGENTS).join(name), "agent.yaml")),
        Entity::Session(_) => None,
    }
}

/// The entity that a path below the store belongs to, and whether the path is its log.
pub fn entity_below(path: &str) -> Option<(Entity, bool)> {
    let parts: Vec<&str> = path.split('/').collect();
    let entity = match parts[..] {
        [TASKS, x, y, id, _] => Entity::Task(id.parse().ok().filter(|id: &Id| id.shard() == format!("{x}/{y}"))?),
        [AGENTS, name, _] => check_agent_name(name).ok().map(|()| Entity::Agent(name.to_owned()))?,
        _ => return None,
    };
    let (_, readable) = home(&entity)?;
    match *parts.last()? {
        LOG => Some((entity, true)),
        name if name == readable => Some((entity, false)),
        _ => None,
    }
}
