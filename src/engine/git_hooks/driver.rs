//! What git calls: the merge driver of `task.yaml`, and the text that `git diff` shows of a log.
//!
//! Guarantees that the driver answers what the merged log gives wherever git names both sides; else it merges by fields. A field
//! that it cannot decide is left in conflict, and no line is dropped.
//! Leaves the logs themselves to git's union merge.

use std::path::{Path, PathBuf};

use crate::engine::commit::hand_edits::judge::Comparison;
use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::view::history::Place;
use crate::env::{Env, outside};
use crate::error::{Code, Error, Result};
use crate::git::{self, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::store::edited::{Readable, split};
use crate::store::entity::MAX_YAML;
use crate::store::layout::{LOG, TASKS, entity_below};
use crate::store::log::{Log, absent};
use crate::store::merge::{MergeResult, merge};
use crate::store::project::render;

/// Three versions of one `task.yaml` that git asks to merge, and what it says of them.
#[derive(Debug)]
pub struct MergeInput {
    /// The common ancestor's version (`%O`).
    pub base: PathBuf,
    /// Our version (`%A`); the result is written over it.
    pub ours: PathBuf,
    /// Their version (`%B`).
    pub theirs: PathBuf,
    /// Where the file is in the work tree (`%P`).
    pub path: Option<String>,
    /// How git names our side and theirs (`%X`, `%Y`). They are hints: a commit is used only where it holds the given version.
    pub labels: [Option<String>; 2],
}

/// Merges three versions of one `task.yaml` as git's merge drivers do. Returns the reason where a conflict was left.
///
/// Errors: `ERR_IO` where a file cannot be read or written.
pub fn merge_driver(env: &Env, input: &MergeInput) -> Result<Option<String>> {
    let at = |path: &Path| env.cwd().join(path);
    let read = |path: &Path| outside::read(&at(path), MAX_YAML).map_err(|e| Error::io("read", path, &e));
    let versions = [read(&input.base)?, read(&input.ours)?, read(&input.theirs)?];
    let texts = versions.each_ref().map(|bytes| String::from_utf8_lossy(bytes));
    let [base, ours, theirs] = texts.each_ref().map(AsRef::as_ref);
    if let Some(own) = input.path.as_deref().and_then(|path| of_this_task(path, [ours, theirs])) {
        outside::write(&at(&input.ours), own.as_bytes()).map_err(|e| Error::io("write", &input.ours, &e))?;
        return Ok(None);
    }
    // Whatever keeps the logs from being read, the fields can be merged.
    let by_logs = merge_logs(env, input, &versions).unwrap_or_else(|e| {
        tracing::debug!(error = %e, "merged by fields");
        None
    });
    let MergeResult { text, conflicts } = by_logs.unwrap_or_else(|| merge(base, ours, theirs));
    outside::write(&at(&input.ours), text.as_bytes()).map_err(|e| Error::io("write", &input.ours, &e))?;
    Ok((!conflicts.is_empty()).then(|| format!("both sides changed {}", conflicts.join(", "))))
}

/// The version that is the file of the task at a path, where the other one is that of another task: git takes a file that was
/// removed and one that is new for a renamed one if they are similar enough. What changed in the other task is in its log.
fn of_this_task<'t>(path: &str, sides: [&'t str; 2]) -> Option<&'t str> {
    let (_, id) = place_of(path)?;
    let task_of = |text: &str| text.lines().find_map(|line| line.strip_prefix("id: ")?.parse::<Id>().ok());
    match sides.map(task_of) {
        [Some(ours), Some(theirs)] if ours != theirs => {
            sides.into_iter().zip([ours, theirs]).find_map(|(text, task)| (task == id).then_some(text))
        }
        _ => None,
    }
}

/// The merge of the logs that git is about to write, rendered, with the hand edits of both sides on top; `None` where the commits
/// of the two sides are not known.
fn merge_logs(env: &Env, input: &MergeInput, [base, ours, theirs]: &[Vec<u8>; 3]) -> Result<Option<MergeResult>> {
    let Some((store, id)) = input.path.as_deref().and_then(place_of) else { return Ok(None) };
    let Some(repo) = git::discover(env.cwd())? else { return Ok(None) };
    let objects = repo.objects_with(env)?;
    let path = input.path.as_deref().unwrap_or_default();
    let others = repo.incoming_commits(env);
    let sides = Sides { objects: &objects, path };
    let [our_label, their_label] = input.labels.each_ref().map(|label| label.as_deref().unwrap_or_default());
    let (Some(own), Some(other)) = (sides.find(our_label, &[], ours)?, sides.find(their_label, &others, theirs)?)
    else {
        return Ok(None);
    };
    let (mut entries, coming) = (sides.log(own)?, sides.log(other)?);
    // A cherry-pick or a rebase brings in what one commit changed.
    let parent = if is_of_one_commit(their_label) { objects.commit(other)?.parents.first().copied() } else { None };
    let parent = match parent {
        Some(parent) if sides.holds(parent, base)? => Some(parent),
        _ => None,
    };
    let before = parent.map_or(Ok(Vec::new()), |parent| sides.log(parent))?;
    let known: Vec<Entry> = entries.iter().chain(&before).cloned().collect();
    let entity = Entity::Task(id);
    let plain = render(&entity, &coming);
    entries.extend(absent(&known, &coming).cloned());
    let text = render(&entity, &entries);
    let lineage = Lineage::new(env, Some(&repo), &store);
    // The hand edits of a version on top of another text; `None` where it cannot be read.
    let edited = |commit: Oid, bytes: &[u8], onto: &str| -> Result<Option<String>> {
        let log = sides.log(commit)?;
        let judged = lineage.judge(Place::Commit(commit), &entity, &log, &log, bytes);
        if matches!(judged.how, Readable::Invalid(_)) || judged.conflicted {
            return Ok(None);
        }
        let [_, on_top] = split(&merge(&render(&entity, &log), onto, &String::from_utf8_lossy(bytes)).text);
        Ok(Some(if holds_more(&judged) { on_top } else { onto.to_owned() }))
    };
    let Some(mine) = edited(own, ours, &text)? else { return Ok(None) };
    // Once one commit is applied, nothing shows which events its author had not seen: what both changed is left in conflict.
    let (from, to) = match parent {
        Some(parent) => (edited(parent, base, &plain)?, edited(other, theirs, &plain)?),
        None => (Some(text.clone()), edited(other, theirs, &text)?),
    };
    Ok(from.zip(to).map(|(from, to)| merge(&from, &mine, &to)))
}

/// Whether a file says something that would be lost if it were rendered.
fn holds_more(judged: &Comparison) -> bool {
    judged.how.holds_words() || !judged.unclear.is_empty()
}

/// The store and the task of a path in the work tree.
fn place_of(path: &str) -> Option<(String, Id)> {
    let at = path.rfind(&format!("/{TASKS}/"))?;
    match entity_below(&path[at + 1..])? {
        (Entity::Task(id), false) => Some((path[..at].to_owned(), id)),
        _ => None,
    }
}

/// Whether git names a side by a commit whose changes alone it applies: `1a2b3c4 (subject)`.
fn is_of_one_commit(label: &str) -> bool {
    label.split_once(" (").is_some_and(|(name, _)| is_hex(name))
}

fn is_hex(name: &str) -> bool {
    name.len() >= 4 && name.chars().all(|c| c.is_ascii_hexdigit())
}

/// The commits that may hold one version of a file.
struct Sides<'o> {
    objects: &'o Objects,
    path: &'o str,
}

impl Sides<'_> {
    /// The commit that a label or git's own notes name, if it holds these bytes.
    fn find(&self, label: &str, others: &[Oid], bytes: &[u8]) -> Result<Option<Oid>> {
        let first = label.split(' ').next().unwrap_or_default();
        // A subject that git gives as a name is none: only a name alone, or a commit's id before its subject.
        let name = if is_hex(first) { first } else { label };
        let named = match name.is_empty() || name.contains([' ', ':', '%', '{', '^', '~']) {
            true => None,
            false => self.objects.commit_named(name).ok(),
        };
        for commit in named.into_iter().chain(others.iter().copied()).filter(|commit| self.objects.has(*commit)) {
            if self.holds(commit, bytes)? {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    fn holds(&self, commit: Oid, bytes: &[u8]) -> Result<bool> {
        let item = self.objects.item(self.objects.commit(commit)?.tree, self.path)?;
        Ok(item.map(|item| item.oid) == Some(self.objects.name_of(bytes)?))
    }

    fn log(&self, commit: Oid) -> Result<Vec<Entry>> {
        let path = Path::new(self.path).with_file_name(LOG).display().to_string();
        let bytes = self.objects.file(self.objects.commit(commit)?.tree, &path)?.unwrap_or_default();
        Ok(Log::of(&bytes).entries)
    }
}

/// A log as lines that people read: when, who, what, why. A line that is no event is shown as it is.
///
/// Errors: `ERR_IO` where the file cannot be read.
pub fn textconv(env: &Env, path: &Path) -> Result<String> {
    let bytes =
        outside::read(&env.cwd().join(path), crate::store::log::MAX_LOG).map_err(|e| Error::io("read", path, &e))?;
    let log = Log::read(&bytes[..]).map_err(|e| Error::new(Code::Io, e.to_string()))?;
    let mut lines: Vec<String> = log.entries.iter().map(in_words).collect();
    lines.extend(log.foreign.iter().map(|(_, line)| String::from_utf8_lossy(line).into_owned()));
    Ok(lines.join("\n") + "\n")
}

fn in_words(entry: &Entry) -> String {
    let event = &entry.event;
    let id = event.id.to_string();
    let about = match &event.entity {
        Entity::Agent(name) => format!(" {name}"),
        _ => String::new(),
    };
    let why = event.why.as_ref().map(|why| format!("  ({why})")).unwrap_or_default();
    let payload = event.payload.to_raw();
    format!(
        "{} {} {}{about} {}{why}  [{}]",
        event.at,
        event.author.agent,
        event.payload.kind(),
        payload.get(),
        &id[20..]
    )
}
