//! Questions about the plan. All of them answer as of the last refresh, the overlaid versions of tasks included.
//!
//! Leaves to others: what follows from the answers (`rules::readiness`, `engine::query`).

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, Params, Row, params_from_iter};
use serde_json::value::RawValue;

use super::Index;
use super::rows::{granted_of, id_of, read_doc};
use crate::error::Result;
use crate::model::event::Stamp;
use crate::model::id::Id;
use crate::model::overlap::FileClaim;
use crate::model::relationship::RelationType;
use crate::model::task::{Brief, Line, Status, Task, TaskType};
use crate::model::time::Time;
use crate::rules::graph::Edge;
use crate::rules::lease::LoggedGrant;
use crate::rules::readiness::BlockerState;
use crate::store::database::failed;
use crate::store::filter::Filter;

/// The rows that a statement selects, each as `read` gives it.
fn select<T, C: FromIterator<T>>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row) -> rusqlite::Result<T>,
) -> Result<C> {
    let ask = || db.prepare_cached(sql)?.query_map(params, read)?.collect::<rusqlite::Result<C>>();
    ask().map_err(failed)
}

/// As [`select`], of the only row, if there is one.
fn select_one<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    let ask = || db.prepare_cached(sql)?.query_row(params, read).optional();
    ask().map_err(failed)
}

impl Index {
    fn ids(&self, sql: &str, key: &str) -> Result<Vec<Id>> {
        select(&self.db, sql, [key], |row| id_of(row, 0))
    }

    /// The tasks that have `id` as parent, by id.
    ///
    /// Errors: `ERR_IO` if the index cannot be read, as for all questions.
    pub fn children(&self, id: Id) -> Result<Vec<Id>> {
        let found = self.ids("SELECT id FROM task WHERE parent = ?1 ORDER BY id", &id.to_string())?;
        Ok(self.with_overlaid(found, |task| task.parent() == Some(id)))
    }

    /// The tasks below `id`: its children, and theirs. A cycle, which a merge can leave, ends where it closes.
    ///
    /// Errors: as [`Index::children`].
    pub fn descendants(&self, id: Id) -> Result<Vec<Id>> {
        let mut found = BTreeSet::new();
        let mut left = vec![id];
        while let Some(one) = left.pop() {
            left.extend(self.children(one)?.into_iter().filter(|child| found.insert(*child)));
        }
        Ok(found.into_iter().collect())
    }

    /// The tasks that `id` blocks, by id.
    pub fn dependents(&self, id: Id) -> Result<Vec<Id>> {
        let sql = "SELECT DISTINCT task FROM edge WHERE source = ?1 AND kind = 'blocks' ORDER BY task";
        Ok(self.with_overlaid(self.ids(sql, &id.to_string())?, |task| task.blockers().contains(&id)))
    }

    /// The tasks in progress of an owner, by id.
    pub fn in_progress_of(&self, owner: &str) -> Result<Vec<Id>> {
        let sql = "SELECT id FROM task WHERE finished = 0 AND status = 'in_progress' AND owner = ?1 ORDER BY id";
        let is_theirs = |task: &Task| task.status == Status::InProgress && task.owner.as_deref() == Some(owner);
        Ok(self.with_overlaid(self.ids(sql, owner)?, is_theirs))
    }

    /// All tasks in progress, by id.
    pub fn in_progress(&self) -> Result<Vec<Id>> {
        let sql = "SELECT id FROM task WHERE finished = 0 AND status = ?1 ORDER BY id";
        Ok(self.with_overlaid(self.ids(sql, Status::InProgress.as_str())?, |task| task.status == Status::InProgress))
    }

    /// The files of an unfinished task that has any, as its owner claims them.
    pub fn files(&self, id: Id) -> Result<Option<FileClaim>> {
        let claim = |title: String, owner: Option<String>, files: Vec<String>| FileClaim {
            task: id,
            title,
            holder: owner.unwrap_or_default(),
            files,
        };
        let of = |task: &Task| {
            let has_files = !task.status.is_finished() && !task.fields.files.is_empty();
            has_files.then(|| claim(task.fields.title.clone(), task.owner.clone(), task.fields.files.clone()))
        };
        if let Some(read) = self.overlaid(id, of) {
            return Ok(read.flatten());
        }
        let sql = "SELECT title, owner, files FROM task WHERE id = ?1 AND finished = 0 AND files IS NOT NULL";
        select_one(&self.db, sql, [id.to_string()], |row| Ok(claim(row.get(0)?, row.get(1)?, files_of(row, 2)?)))
    }

    /// The files of the unfinished tasks that have any.
    pub fn unfinished_files(&self) -> Result<BTreeMap<Id, Vec<String>>> {
        let sql = "SELECT id, files FROM task WHERE finished = 0 AND files IS NOT NULL";
        select(self.whole()?, sql, [], |row| Ok((id_of(row, 0)?, files_of(row, 1)?)))
    }

    /// The tasks recorded as blocked that have no unfinished blocker, by id. A missing blocker is unfinished, unless it was dropped.
    pub fn freed(&self) -> Result<Vec<Id>> {
        self.whole()?;
        let sql = "SELECT t.id FROM task t WHERE t.finished = 0 AND t.status = ?1 AND NOT EXISTS (
                     SELECT 1 FROM edge e LEFT JOIN task s ON s.id = e.source
                     WHERE e.task = t.id AND e.kind = 'blocks' AND coalesce(s.finished, e.source IN (SELECT task FROM dropped)) = 0
                   ) ORDER BY t.id";
        self.ids(sql, Status::Blocked.as_str())
    }

    /// How many tasks with a folder were archived, and not changed after a time.
    pub fn archived_until(&self, time: Time) -> Result<usize> {
        let sql = "SELECT count(*) FROM task t JOIN file f ON f.task = t.id
                   WHERE t.finished = 1 AND t.status = 'archived' AND t.updated_at <= ?1";
        let count = select_one(self.whole()?, sql, [time.millis()], |row| count_of(row, 0))?;
        Ok(usize::try_from(count.unwrap_or(0)).unwrap_or(usize::MAX))
    }

    /// The ids of all tasks.
    pub fn all_ids(&self) -> Result<Vec<Id>> {
        self.whole()?;
        self.ids("SELECT id FROM task WHERE id > ?1 ORDER BY id", "")
    }

    /// The tasks whose log has no event, by id.
    pub fn without_events(&self) -> Result<Vec<Id>> {
        self.whole()?;
        self.ids("SELECT id FROM task WHERE id > ?1 AND version = 0 ORDER BY id", "")
    }

    /// The tasks with an event above a Lamport time, by id.
    pub fn tasks_after(&self, lamport: u64) -> Result<Vec<Id>> {
        self.whole()?;
        let least = i64::try_from(lamport).unwrap_or(i64::MAX).to_string();
        self.ids("SELECT id FROM task WHERE lamport > CAST(?1 AS INTEGER) ORDER BY id", &least)
    }

    /// The tasks with values that lost to concurrent ones, by id.
    pub fn tasks_with_lost_edits(&self) -> Result<Vec<Id>> {
        self.whole()?;
        self.ids("SELECT id FROM task WHERE lost > 0 AND id > ?1 ORDER BY id", "")
    }

    /// The tasks that have threads, by id.
    pub fn tasks_with_threads(&self) -> Result<Vec<Id>> {
        self.whole()?;
        self.ids("SELECT id FROM task WHERE threads > 0 AND id > ?1 ORDER BY id", "")
    }

    /// The tasks that have an open thread, by id.
    pub fn tasks_under_discussion(&self) -> Result<Vec<Id>> {
        self.whole()?;
        self.ids("SELECT id FROM task WHERE threads > 0 AND open_threads > 0 AND id > ?1 ORDER BY id", "")
    }

    /// The task that was imported from `<format>/<id>`; of several, the oldest that is not finished.
    pub fn by_origin(&self, origin: &str) -> Result<Option<Id>> {
        self.whole()?;
        Ok(self.ids("SELECT id FROM task WHERE origin = ?1 ORDER BY finished, id LIMIT 1", origin)?.first().copied())
    }

    /// The first tasks of this title, or of this key in a plan that was applied; unfinished ones first.
    pub fn called(&self, name: &str, most: usize) -> Result<Vec<Id>> {
        let sql = "SELECT id FROM task WHERE title = ?1 OR (origin >= 'plan/' AND origin < 'plan0'
                     AND substr(origin, -length(?1) - 1) = ':' || ?1) ORDER BY finished, id";
        self.whole()?;
        Ok(self.ids(sql, name)?.into_iter().take(most).collect())
    }

    /// The tasks whose origin begins like this, by the rest of the origin. Of several with one origin, the oldest that is not finished
    /// counts.
    pub fn origins(&self, begin: &str) -> Result<BTreeMap<String, Id>> {
        let sql =
            "SELECT origin, id FROM task WHERE substr(origin, 1, length(?1)) = ?1 ORDER BY finished DESC, id DESC";
        let all: Vec<(String, Id)> = select(self.whole()?, sql, [begin], |row| Ok((row.get(0)?, id_of(row, 1)?)))?;
        Ok(all.into_iter().map(|(origin, id)| (origin[begin.len()..].to_owned(), id)).collect())
    }

    /// The origins that begin like this and that several unfinished tasks have, by the rest of the origin, each with its tasks,
    /// the oldest first.
    pub fn shared_origins(&self, begin: &str) -> Result<BTreeMap<String, Vec<Id>>> {
        let sql = "SELECT origin, id FROM task WHERE substr(origin, 1, length(?1)) = ?1 AND finished = 0 ORDER BY id";
        let all: Vec<(String, Id)> = select(self.whole()?, sql, [begin], |row| Ok((row.get(0)?, id_of(row, 1)?)))?;
        let mut shared: BTreeMap<String, Vec<Id>> = BTreeMap::new();
        for (origin, id) in all {
            shared.entry(origin[begin.len()..].to_owned()).or_default().push(id);
        }
        shared.retain(|_, ids| ids.len() > 1);
        Ok(shared)
    }

    /// A task by its id.
    pub fn task(&self, id: Id) -> Result<Option<Task>> {
        match self.overlaid(id, Task::clone) {
            Some(read) => Ok(read),
            None => select_one(&self.db, "SELECT doc FROM doc WHERE task = ?1", [id.to_string()], |row| {
                read_doc(row.get_ref(0)?.as_blob()?)
            }),
        }
    }

    /// The number of events of a task.
    pub fn version(&self, id: Id) -> Result<Option<u64>> {
        if let Some(read) = self.overlaid(id, |task| task.version) {
            return Ok(read);
        }
        select_one(&self.db, "SELECT version FROM task WHERE id = ?1", [id.to_string()], |row| count_of(row, 0))
    }

    /// The lease that the log of a task grants.
    pub fn granted(&self, id: Id) -> Result<Option<LoggedGrant>> {
        if let Some(read) = self.over.borrow().get(&id) {
            return Ok(read.as_ref().and_then(|(reading, _)| reading.granted.clone()));
        }
        select_one(&self.db, "SELECT lease FROM granted WHERE task = ?1", [id.to_string()], granted_of)
    }

    /// The leases that the logs of unfinished tasks grant, by task.
    pub fn all_granted(&self) -> Result<BTreeMap<Id, LoggedGrant>> {
        let all: Vec<_> = select(self.whole()?, "SELECT lease FROM granted WHERE finished = 0", [], granted_of)?;
        Ok(all.into_iter().map(|granted| (granted.lease.task, granted)).collect())
    }

    /// The title of a task.
    pub fn title(&self, id: Id) -> Result<Option<String>> {
        if let Some(read) = self.overlaid(id, |task| task.fields.title.clone()) {
            return Ok(read);
        }
        select_one(&self.db, "SELECT title FROM task WHERE id = ?1", [id.to_string()], |row| row.get(0))
    }

    /// The parent of a task.
    pub fn parent(&self, id: Id) -> Result<Option<Id>> {
        if let Some(read) = self.overlaid(id, Task::parent) {
            return Ok(read.flatten());
        }
        let sql = "SELECT parent FROM task WHERE id = ?1";
        Ok(select_one(&self.db, sql, [id.to_string()], |row| parent_of(row, 0))?.flatten())
    }

    /// The time until which a task is deferred.
    pub fn defer_until(&self, id: Id) -> Result<Option<Time>> {
        if let Some(read) = self.overlaid(id, |task| task.fields.defer_until) {
            return Ok(read.flatten());
        }
        let sql = "SELECT defer_until FROM task WHERE id = ?1";
        Ok(select_one(&self.db, sql, [id.to_string()], |row| time_of(row, 0))?.flatten())
    }

    /// The recorded status of a task.
    pub fn status(&self, id: Id) -> Result<Option<Status>> {
        if let Some(read) = self.overlaid(id, |task| task.status) {
            return Ok(read);
        }
        let sql = "SELECT status FROM task WHERE id = ?1";
        let status = |row: &Row| Ok(Status::from_word(row.get_ref(0)?.as_str()?));
        Ok(select_one(&self.db, sql, [id.to_string()], status)?.flatten())
    }

    /// What decides whether the tasks that wait for a task may begin; `None` if it is not here.
    pub fn blocker(&self, id: Id) -> Result<Option<BlockerState>> {
        if let Some(read) = self.overlaid(id, |task| BlockerState::from(task)) {
            return Ok(read);
        }
        let sql = "SELECT status, completed_at, unreviewed FROM task WHERE id = ?1
                   UNION ALL SELECT 'archived', NULL, 0 FROM dropped WHERE task = ?1 LIMIT 1";
        select_one(&self.db, sql, [id.to_string()], |row| blocker_of(row, 0))
    }

    /// The finished tasks that block unfinished ones, each with its edges.
    pub fn finished_blockers(&self) -> Result<Vec<(BlockerState, Edge)>> {
        let sql =
            "SELECT e.id, e.kind, e.source, e.target, e.lamport, s.status, s.completed_at, s.unreviewed FROM edge e
                   JOIN task t ON t.id = e.task AND t.finished = 0
                   JOIN task s ON s.id = e.source AND s.finished = 1
                   WHERE e.kind = 'blocks' ORDER BY e.source";
        let found: Vec<_> = select(self.whole()?, sql, [], |row| Ok(edge_of(row)?.zip(Some(blocker_of(row, 5)?))))?;
        Ok(found.into_iter().flatten().map(|(edge, state)| (state, edge)).collect())
    }

    /// The completed tasks that no other agent accepted, by id.
    pub fn unreviewed(&self) -> Result<Vec<Unreviewed>> {
        let sql = "SELECT id, completed_by, priority FROM task WHERE unreviewed ORDER BY id";
        select(self.whole()?, sql, [], |row| {
            Ok(Unreviewed { id: id_of(row, 0)?, completed_by: row.get(1)?, priority: row.get(2)? })
        })
    }

    /// Those of them below an unfinished parent, each with its parent.
    pub fn unreviewed_children(&self) -> Result<Vec<(Id, Id)>> {
        let sql = "SELECT t.id, t.parent FROM task t JOIN task p ON p.id = t.parent AND p.finished = 0
                   WHERE t.unreviewed ORDER BY t.id";
        select(self.whole()?, sql, [], |row| Ok((id_of(row, 0)?, id_of(row, 1)?)))
    }

    /// When the completed tasks were completed, those archived since included.
    pub fn completions(&self) -> Result<BTreeMap<Id, Time>> {
        let sql = "SELECT id, completed_at FROM task WHERE finished = 1 AND completed_at IS NOT NULL";
        select(self.whole()?, sql, [], |row| Ok((id_of(row, 0)?, Time::from_millis(row.get(1)?))))
    }

    /// Ids of the parts (`progress`, `context` or `relationship`) that begin or end with `text`, with their tasks.
    pub fn parts(&self, kind: &str, text: &str) -> Result<Vec<(Id, Id)>> {
        // A thread is its first message too.
        let kinds = if kind == "message" { "kind IN ('thread', ?1)" } else { "kind = ?1" };
        let table = if kind == "relationship" { "(SELECT id, task, 'relationship' AS kind FROM edge)" } else { "part" };
        // A whole id is looked up, not searched for.
        let named = if text.len() == ulid::ULID_LEN { "id = ?2" } else { "(id GLOB ?2 || '*' OR id GLOB '*' || ?2)" };
        let sql = format!("SELECT id, task FROM {table} WHERE {kinds} AND {named} ORDER BY id LIMIT 20");
        let pair = |row: &Row| Ok((id_of(row, 0)?, id_of(row, 1)?));
        let mut found: Vec<(Id, Id)> = select(&self.db, &sql, [kind, text], pair)?;
        let over = self.over.borrow();
        if !over.is_empty() {
            found.retain(|(_, task)| !over.contains_key(task));
            for (task, (reading, _)) in over.iter().filter_map(|(id, read)| Some((*id, read.as_ref()?))) {
                let parts: Vec<Id> = match kind {
                    "progress" => reading.task.progress.keys().copied().collect(),
                    "thread" => reading.task.threads.keys().copied().collect(),
                    "message" => reading.task.message_ids().collect(),
                    "relationship" => reading.task.relationships.keys().copied().collect(),
                    _ => reading.task.context.keys().copied().collect(),
                };
                found.extend(parts.into_iter().filter(|id| id.has_part(text)).map(|part| (part, task)));
            }
            found.sort();
        }
        Ok(found)
    }

    /// The parent and blocking edges between an unfinished task and one that is not known to be finished.
    pub fn open_edges(&self) -> Result<Vec<Edge>> {
        let sql = "SELECT e.id, e.kind, e.source, e.target, e.lamport FROM edge e
                   JOIN task t ON t.id = e.task AND t.finished = 0
                   LEFT JOIN task s ON s.id = e.source
                   WHERE e.kind IN ('blocks', 'parent_of')
                     AND coalesce(s.finished, e.source IN (SELECT task FROM dropped)) = 0";
        let edges: Vec<_> = select(self.whole()?, sql, [], edge_of)?;
        Ok(edges.into_iter().flatten().collect())
    }

    /// All relationships, by the task whose log holds them.
    pub fn edges(&self) -> Result<Vec<Edge>> {
        let sql = "SELECT id, kind, source, target, lamport FROM edge ORDER BY task, id";
        let edges: Vec<_> = select(self.whole()?, sql, [], edge_of)?;
        Ok(edges.into_iter().flatten().collect())
    }

    /// The numbers of finished and of all children, by parent. With `reviewed` a child that awaits review is not finished.
    pub fn child_progress(&self, reviewed: bool) -> Result<BTreeMap<Id, (u64, u64)>> {
        let done = if reviewed { "finished AND NOT unreviewed" } else { "finished" };
        let sql = format!("SELECT parent, sum({done}), count(*) FROM task WHERE parent IS NOT NULL GROUP BY parent");
        select(self.whole()?, &sql, [], |row| Ok((id_of(row, 0)?, (count_of(row, 1)?, count_of(row, 2)?))))
    }

    /// The greatest Lamport time in any log.
    pub fn greatest_lamport(&self) -> Result<u64> {
        let greatest = select_one(self.whole()?, "SELECT max(lamport) FROM task", [], |row| row.get(0))?;
        Ok(greatest.flatten().unwrap_or(0_i64) as u64)
    }

    /// The number of tasks of each status.
    pub fn counts(&self) -> Result<BTreeMap<String, u64>> {
        let sql = "SELECT status, count(*) FROM task GROUP BY status";
        select(self.whole()?, sql, [], |row| Ok((row.get(0)?, count_of(row, 1)?)))
    }

    /// Totals over all tasks.
    pub fn sums(&self) -> Result<Sums> {
        let db = self.whole()?;
        let sql = "SELECT coalesce(sum(version), 0), coalesce(sum(steps), 0), coalesce(sum(steps_done), 0),
                          (SELECT count(*) FROM part WHERE kind = 'context') FROM task";
        let sums = select_one(db, sql, [], |row| {
            let (events, steps, steps_done) = (count_of(row, 0)?, count_of(row, 1)?, count_of(row, 2)?);
            Ok(Sums { events, steps, steps_done, context: count_of(row, 3)?, ..Sums::default() })
        })?;
        let by_owner = "SELECT owner, count(*) FROM task WHERE completed_at IS NOT NULL GROUP BY owner";
        let completed_by = select(db, by_owner, [], |row| Ok((row.get(0)?, count_of(row, 1)?)))?;
        Ok(Sums { completed_by, ..sums.unwrap_or_default() })
    }

    /// What the choice of work needs of every unfinished task, by id. A task whose log cannot be read is not offered.
    pub fn briefs(&self) -> Result<Vec<Brief>> {
        let sql =
            "SELECT id, status, owner, parent, priority, created_at, defer_until, need_perm, need_precedence, title,
                   due, attempts, thread, attempt_by, sent_back FROM task WHERE finished = 0 AND version > 0 ORDER BY id";
        select(self.whole()?, sql, [], |row| {
            Ok(Brief {
                id: id_of(row, 0)?,
                status: status_of(row, 1)?,
                owner: row.get(2)?,
                parent: parent_of(row, 3)?,
                priority: row.get(4)?,
                created_at: Time::from_millis(row.get(5)?),
                defer_until: time_of(row, 6)?,
                need_perm: row.get(7)?,
                need_precedence: row.get(8)?,
                title: row.get(9)?,
                due: time_of(row, 10)?,
                attempts: count_of(row, 11)?,
                thread: parent_of(row, 12)?,
                attempt_by: row.get(13)?,
                sent_back: row.get(14)?,
            })
        })
    }

    /// The tasks that match a filter, most urgent first, with their priorities: those after this priority and id. Also their
    /// total number.
    pub fn found(&self, filter: &Filter, after: Option<(i64, Id)>) -> Result<(Vec<(i64, Id)>, u64)> {
        let db = self.whole()?;
        let (mut condition, mut values) = filter.condition();
        let count = format!("SELECT count(*) FROM task WHERE {condition}");
        let total = select_one(db, &count, params_from_iter(&values), |row| count_of(row, 0))?;
        if let Some((priority, id)) = after {
            condition += " AND (priority < ? OR (priority = ? AND id > ?))";
            values.extend([priority.into(), priority.into(), id.to_string().into()]);
        }
        let sql = format!("SELECT priority, id FROM task WHERE {condition} ORDER BY priority DESC, id");
        let found = select(db, &sql, params_from_iter(&values), |row| Ok((row.get(0)?, id_of(row, 1)?)))?;
        Ok((found, total.unwrap_or(0)))
    }

    /// The lines of a list for these tasks, in their order, without removed ones.
    pub fn lines(&self, ids: impl Iterator<Item = Id>) -> Result<Vec<Line>> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<Vec<Line>> {
            let mut statement = db.prepare_cached(
                "SELECT title, type, status, owner, parent, priority, labels, due, defer_until, version, updated_at,
                        steps, steps_done FROM task WHERE id = ?1",
            )?;
            let mut lines = Vec::new();
            for id in ids {
                lines.extend(statement.query_row([id.to_string()], |row| line_of(id, row)).optional()?);
            }
            Ok(lines)
        };
        ask().map_err(failed)
    }

    /// For each unfinished task the last event of its own log that may have made it ready, and the last one of the finished tasks
    /// that it waited for: its blockers and children.
    pub fn wakers(&self) -> Result<BTreeMap<Id, Wakers>> {
        let db = self.whole()?;
        let own = "SELECT task, woken FROM waker WHERE woken IS NOT NULL";
        let blockers = "SELECT e.task, max(s.moved) FROM waker t
                        JOIN edge e ON e.task = t.task AND e.kind = 'blocks'
                        JOIN waker s ON s.task = e.source AND s.moved IS NOT NULL
                        WHERE t.woken IS NOT NULL GROUP BY e.task";
        let children = "SELECT t.parent, max(w.moved) FROM task t JOIN waker w ON w.task = t.id AND w.moved IS NOT NULL
                        WHERE t.parent IS NOT NULL GROUP BY t.parent";
        let pair = |row: &Row| Ok((id_of(row, 0)?, row.get::<_, String>(1)?));
        let mut wakers: BTreeMap<Id, Wakers> = BTreeMap::new();
        for (id, own) in select::<_, Vec<_>>(db, own, [], pair)? {
            wakers.entry(id).or_default().own = Some(own);
        }
        for (id, by) in select::<_, Vec<_>>(db, blockers, [], pair)? {
            wakers.entry(id).or_default().blockers = Some(by);
        }
        for (id, by) in select::<_, Vec<_>>(db, children, [], pair)? {
            wakers.entry(id).or_default().children = Some(by);
        }
        Ok(wakers)
    }

    /// The sort keys of all tasks that match a filter, by id.
    pub fn keys(&self, filter: &Filter) -> Result<Vec<Keys>> {
        let (condition, values) = filter.condition();
        let sql =
            format!("SELECT id, priority, created_at, updated_at, title, due FROM task WHERE {condition} ORDER BY id");
        select(self.whole()?, &sql, params_from_iter(&values), |row| {
            Ok(Keys {
                id: id_of(row, 0)?,
                priority: row.get(1)?,
                created_at: row.get(2)?,
                updated_at: row.get(3)?,
                title: row.get(4)?,
                due: row.get(5)?,
            })
        })
    }
}

/// A completed task that no other agent accepted.
#[derive(Clone, Debug)]
pub struct Unreviewed {
    /// The task.
    pub id: Id,
    /// The agent that completed it.
    pub completed_by: Option<String>,
    /// Its priority.
    pub priority: i64,
}

/// Totals over all tasks.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// The number of events in their logs.
    pub events: u64,
    /// The number of progress items.
    pub steps: u64,
    /// The number of completed ones.
    pub steps_done: u64,
    /// The number of context entries.
    pub context: u64,
    /// The number of completed tasks, by owner.
    pub completed_by: BTreeMap<Option<String>, u64>,
}

/// The last events that may have made a task ready, as texts that compare in the order of events.
#[derive(Clone, Debug, Default)]
pub struct Wakers {
    /// Of its own log.
    pub own: Option<String>,
    /// Of its finished blockers.
    pub blockers: Option<String>,
    /// Of its finished children.
    pub children: Option<String>,
}

/// The keys that tasks are sorted by.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The task.
    pub id: Id,
    /// Its priority.
    pub priority: i64,
    /// When it was created, in milliseconds since 1970.
    pub created_at: i64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at: i64,
    /// Its title.
    pub title: String,
    /// When it is due, in milliseconds since 1970.
    pub due: Option<i64>,
}

fn status_of(row: &Row, column: usize) -> rusqlite::Result<Status> {
    Ok(Status::from_word(row.get_ref(column)?.as_str()?).unwrap_or_default())
}

fn blocker_of(row: &Row, column: usize) -> rusqlite::Result<BlockerState> {
    let (completed_at, is_unreviewed) = (time_of(row, column + 1)?, row.get(column + 2)?);
    Ok(BlockerState { status: status_of(row, column)?, completed_at, is_unreviewed })
}

fn files_of(row: &Row, column: usize) -> rusqlite::Result<Vec<String>> {
    let wrong = |e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e));
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(wrong)
}

fn parent_of(row: &Row, column: usize) -> rusqlite::Result<Option<Id>> {
    Ok(row.get::<_, Option<String>>(column)?.and_then(|text| text.parse().ok()))
}

fn time_of(row: &Row, column: usize) -> rusqlite::Result<Option<Time>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Time::from_millis))
}

/// A number that is never negative; SQLite has no unsigned numbers.
fn count_of(row: &Row, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)? as u64)
}

/// A relationship; `None` for one of a type that this program does not know.
fn edge_of(row: &Row) -> rusqlite::Result<Option<Edge>> {
    let word = row.get_ref(1)?.as_str()?;
    let Some(kind) = RelationType::ALL.into_iter().find(|kind| kind.as_str() == word) else { return Ok(None) };
    let stamp = Stamp { lamport: count_of(row, 4)?, id: id_of(row, 0)? };
    Ok(Some(Edge { stamp, kind, from: id_of(row, 2)?, to: id_of(row, 3)? }))
}

fn line_of(id: Id, row: &Row) -> rusqlite::Result<Line> {
    let misread = |e| rusqlite::Error::FromSqlConversionFailure(6, rusqlite::types::Type::Text, Box::new(e));
    Ok(Line {
        id,
        title: row.get(0)?,
        kind: TaskType::from(row.get_ref(1)?.as_str()?),
        status: status_of(row, 2)?,
        owner: row.get(3)?,
        parent: parent_of(row, 4)?,
        priority: row.get(5)?,
        labels: row.get::<_, Option<String>>(6)?.map(RawValue::from_string).transpose().map_err(misread)?,
        due: time_of(row, 7)?,
        defer_until: time_of(row, 8)?,
        version: count_of(row, 9)?,
        updated_at: Time::from_millis(row.get(10)?),
        steps: count_of(row, 11)?,
        steps_done: count_of(row, 12)?,
    })
}
