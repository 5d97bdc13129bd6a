//! The standard store: N tasks, 5 events a task, a third of the tasks with 1 to 3 blockers, 60 % closed.
//!
//! Promises: the same number of tasks gives the same bytes on every machine; exactly five events a task on average, some tasks with
//! many more; each log is what the commands would have written, so that `lint` says nothing; memory does not grow with the store.
//! Refuses to know: what is measured with it. It writes into a store that `agentpm init` made.
//!
//! All tasks are created first, in their order (the plan), and worked on after that, in the same order (the work): so blockers, which
//! come before what they block, are finished before it.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use agentpm::model::context::ContextType;
use agentpm::model::event::{Author, ENVELOPE_VERSION, Entity, Entry, Event};
use agentpm::model::id::Id;
use agentpm::model::payload::{
    ContextAdded, LeaseAcquired, LeaseReleased, Payload, ProgressItemAdded, ProgressItemCompleted, RelationshipAdded,
    TaskCreated, TaskStatusChanged, TaskUpdated,
};
use agentpm::model::relationship::RelationType;
use agentpm::model::task::Status;
use agentpm::model::time::Time;
use agentpm::model::yaml::render_task;
use agentpm::rules::fold::fold;
use agentpm::store::layout::{LOG, STORE, task_dir};
use serde_json::{Value, json};

/// 2025-01-01: long over, so that no event lies in the future and no lease holds.
pub const BEGUN: u64 = 1_735_689_600_000;
/// A task is created, and later worked on, each minute.
pub const MINUTE: u64 = 60_000;
/// Lamport times set aside for a task in the plan.
const PLAN: u64 = 8;
/// In the work.
const WORK: u64 = 64;
/// Tasks whose events are counted out together, so that the average is exact.
const GROUP: usize = 100;
/// Events that one task of each group has more than others.
const MANY: usize = 20;

/// How a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Completed.
    Closed,
    /// Can be begun.
    Open,
    /// Waits for a task that is not closed.
    Waiting,
}

/// A number from a number, always the same, spread over all.
fn spread(n: u64) -> u64 {
    let mut mixed = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// One of `many`, by a die of its own.
fn pick(n: usize, die: u64, many: usize) -> usize {
    (spread(n as u64 ^ (die << 40)) % many.max(1) as u64) as usize
}

/// The id of the `n`th task.
pub fn id(n: usize) -> Id {
    id_at(BEGUN + n as u64 * MINUTE, n, 0)
}

/// An id that the `n`th task gives to its `k`th event.
pub fn id_at(millis: u64, n: usize, k: usize) -> Id {
    let chance = spread(((n as u64) << 8) | k as u64);
    Id::from_parts(millis, (u128::from(spread(chance)) << 40) ^ u128::from(chance))
}

fn is_closed(n: usize) -> bool {
    n % 5 < 3
}

/// What the `n`th task waits for. A closed task waits for closed ones only.
fn blockers(n: usize) -> Vec<usize> {
    let many = if pick(n, 1, 3) == 0 { 1 + pick(n, 2, 3) } else { 0 };
    let mut found = Vec::new();
    for die in 0..many as u64 {
        let fits = |b: &usize| !found.contains(b) && (!is_closed(n) || is_closed(*b));
        let some = (0..50).filter(|_| n > 0).map(|t| pick(n, 100 + die * 50 + t, n)).find(fits);
        found.extend(some);
    }
    found
}

/// How the `n`th task stands.
pub fn state(n: usize) -> State {
    match is_closed(n) {
        true => State::Closed,
        false if blockers(n).iter().all(|b| is_closed(*b)) => State::Open,
        false => State::Waiting,
    }
}

/// The tasks that can be begun in a store of `tasks`, in an order of no meaning.
pub fn open_tasks(tasks: usize) -> Vec<String> {
    let mut ids: Vec<String> = (0..tasks).filter(|n| state(*n) == State::Open).map(|n| id(n).to_string()).collect();
    ids.sort_by_key(|id| id.chars().rev().collect::<String>());
    ids
}

/// Whether it was taken with a lease, or moved without one.
fn is_claimed(n: usize) -> bool {
    is_closed(n) && pick(n, 3, 4) == 0
}

/// Whether it was created before what it waits for was finished.
fn has_waited(n: usize, blockers: &[usize]) -> bool {
    !blockers.is_empty() && (state(n) == State::Waiting || pick(n, 4, 2) == 0)
}

/// Events that the `n`th task has in any case.
fn needed(n: usize) -> usize {
    let blockers = blockers(n);
    let opened = has_waited(n, &blockers) && state(n) != State::Waiting;
    let worked = match (is_closed(n), is_claimed(n)) {
        (true, true) => 5,
        (true, false) => 2,
        (false, _) => 0,
    };
    1 + blockers.len() + usize::from(opened) + worked
}

/// How many events beyond those each task of a group has, in their order.
fn more(group: usize, tasks: std::ops::Range<usize>) -> Vec<usize> {
    let len = tasks.len();
    let mut left = (5 * len).saturating_sub(tasks.map(needed).sum());
    let mut more = vec![0; len];
    let many = left.min(MANY);
    more[pick(group, 5, len)] = many;
    left -= many;
    for k in 0..left {
        more[pick(group * GROUP + k, 6, len)] += 1;
    }
    more
}

/// A log as it grows.
struct Log {
    n: usize,
    entries: Vec<Entry>,
    lamport: u64,
    millis: u64,
    fence: Option<u64>,
}

impl Log {
    fn add(&mut self, agent: &str, why: Option<&str>, payload: Payload) -> Id {
        let event = Event {
            v: ENVELOPE_VERSION,
            id: id_at(self.millis, self.n, 1 + self.entries.len()),
            lamport: self.lamport,
            entity: Entity::Task(id(self.n)),
            parents: self.entries.last().map(|last| last.event.id).into_iter().collect(),
            author: Author { agent: agent.to_owned(), ..Author::default() },
            at: Time::from_millis(self.millis as i64),
            fence: self.fence,
            precedence: None,
            why: why.map(str::to_owned),
            payload,
            sig: None,
        };
        self.lamport += 1;
        self.millis += 700;
        let id = event.id;
        self.entries.push(Entry::new(event).expect("an event that can be read back"));
        id
    }

    fn moved(&mut self, agent: &str, from: Status, to: Status, owner: Option<&str>) {
        let owner = owner.map(|owner| Some(owner.to_owned()));
        let why = (from == Status::Blocked).then_some("all its blockers are finished");
        let change = TaskStatusChanged { from, to, owner, changed_at: None, forced: Vec::new() };
        self.add(agent, why, Payload::TaskStatusChanged(change));
    }

    fn noted(&mut self, agent: &str, kind: ContextType, content: String) {
        let note = ContextAdded { kind, content, metadata: Value::Null, created_at: None };
        self.add(agent, None, Payload::ContextAdded(note));
    }
}

/// All events of the `n`th of `tasks` tasks, with `more` than it needs.
fn events(n: usize, tasks: usize, more: usize) -> Vec<Entry> {
    let blockers = blockers(n);
    let waits = has_waited(n, &blockers);
    let mut log = Log {
        n,
        entries: Vec::with_capacity(8),
        lamport: n as u64 * PLAN + 1,
        millis: BEGUN + n as u64 * MINUTE,
        fence: None,
    };
    let planner = "planner";
    let mut fields = json!({
        "title": format!("task number {n} of the plan"),
        "intent": format!("What is to be done in step {n}, why it matters and how one can tell that it was done well."),
    });
    if pick(n, 7, 3) == 0 {
        fields["priority"] = json!(1 + pick(n, 8, 4));
    }
    if pick(n, 9, 2) == 0 {
        fields["labels"] = json!([format!("area-{:02}", pick(n, 10, 40))]);
    }
    if waits {
        fields["status"] = json!("blocked");
    }
    let Value::Object(fields) = fields else { unreachable!("an object was written") };
    log.add(planner, None, Payload::TaskCreated(TaskCreated { fields }));
    for blocker in &blockers {
        let (from, to) = (id(*blocker), id(n));
        let edge = RelationshipAdded { kind: RelationType::Blocks, from, to, metadata: Value::Null, created_at: None };
        log.add(planner, None, Payload::RelationshipAdded(edge));
    }

    log.lamport = tasks as u64 * PLAN + n as u64 * WORK + 1;
    log.millis = BEGUN + (tasks + n) as u64 * MINUTE;
    let agent = format!("agent-{:02}", pick(n, 11, 16));
    if waits && state(n) != State::Waiting {
        log.moved(&agent, Status::Blocked, Status::Open, None);
    }
    match (is_closed(n), is_claimed(n)) {
        (false, _) => fill(&mut log, &agent, more),
        (true, false) => {
            log.moved(&agent, Status::Open, Status::InProgress, Some(&agent));
            fill(&mut log, &agent, more);
            log.moved(&agent, Status::InProgress, Status::Completed, None);
        }
        (true, true) => {
            let lease = id_at(log.millis, n, 255);
            let expires_at = Time::from_millis((log.millis + 10 * MINUTE) as i64);
            log.fence = Some(1);
            let grant =
                LeaseAcquired { lease, holder: agent.clone(), session: None, fence: 1, expires_at, taken_from: None };
            log.add(&agent, None, Payload::LeaseAcquired(grant));
            log.moved(&agent, Status::Open, Status::InProgress, Some(&agent));
            fill(&mut log, &agent, more);
            log.noted(&agent, ContextType::Outcome, format!("step {n} holds, its test is green"));
            log.moved(&agent, Status::InProgress, Status::Completed, None);
            log.add(&agent, None, Payload::LeaseReleased(LeaseReleased { lease }));
        }
    }
    log.entries
}

/// What comes between taking a task and ending it: steps, notes and changes of fields.
fn fill(log: &mut Log, agent: &str, more: usize) {
    let n = log.n;
    let mut open_item = None;
    for k in 0..more {
        match (k % 5, open_item) {
            (0, _) => {
                let content = format!("step {} of task {n}", k / 5 + 1);
                let item = ProgressItemAdded { content, completed_at: None, created_at: None };
                open_item = Some(log.add(agent, None, Payload::ProgressItemAdded(item)));
            }
            (1, _) => log.noted(agent, ContextType::Decision, format!("as in step {} of the plan, but shorter", n / 2)),
            (2, Some(item)) => {
                log.add(agent, None, Payload::ProgressItemCompleted(ProgressItemCompleted { item }));
            }
            (3, _) => {
                let Value::Object(set) =
                    json!({ "labels": [format!("area-{:02}", pick(n, 12, 40)), format!("round-{k}")] })
                else {
                    unreachable!("an object was written")
                };
                log.add(agent, None, Payload::TaskUpdated(TaskUpdated::new(set)));
            }
            _ => log.noted(
                agent,
                ContextType::Attempt,
                format!("attempt {k}: the first way was too slow, the second one holds"),
            ),
        }
    }
}

/// Writes `tasks` tasks into the store that stands empty in this work tree.
pub fn write(repo: &Path, tasks: usize) {
    let store = repo.join(STORE);
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let group = next.fetch_add(1, Ordering::Relaxed);
                    let here = group * GROUP..tasks.min((group + 1) * GROUP);
                    if here.is_empty() {
                        return;
                    }
                    for (n, more) in here.clone().zip(more(group, here)) {
                        write_task(&store, n, &events(n, tasks, more)).expect("a task is written");
                    }
                }
            });
        }
    });
}

fn write_task(store: &Path, n: usize, entries: &[Entry]) -> io::Result<()> {
    let (task, findings) = fold(id(n), entries);
    assert!(findings.is_empty(), "{findings:?}");
    let folder = store.join(task_dir(id(n)));
    std::fs::create_dir_all(&folder)?;
    let log: String = entries.iter().flat_map(|entry| [&*entry.line, "\n"]).collect();
    std::fs::write(folder.join(LOG), log)?;
    std::fs::write(folder.join("task.yaml"), render_task(&task))
}

/// Commits all files of the store on `main`, as one pack, and gives git an index that knows them.
pub fn commit(repo: &Path, git: impl Fn(&[&str]) -> Command) {
    let mut child = git(&["fast-import", "--quiet", "--force"]).stdin(Stdio::piped()).spawn().expect("git starts");
    let mut to = BufWriter::new(child.stdin.take().expect("a pipe"));
    let said = (|| -> io::Result<()> {
        write!(to, "commit refs/heads/main\ncommitter B <b@example.invalid> {} +0000\ndata 4\nplan\n", BEGUN / 1000)?;
        for entry in walkdir::WalkDir::new(repo.join(STORE)).sort_by_file_name() {
            let entry = entry?;
            if entry.file_type().is_file() {
                let path = entry.path().strip_prefix(repo).expect("below the repository").display();
                let bytes = std::fs::read(entry.path())?;
                write!(to, "M 100644 inline {path}\ndata {}\n", bytes.len())?;
                to.write_all(&bytes)?;
                writeln!(to)?;
            }
        }
        to.flush()
    })();
    drop(to);
    assert!(child.wait().expect("git ends").success() && said.is_ok(), "{said:?}");
    for args in [&["reset", "-q", "--mixed"][..], &["status", "--porcelain"]] {
        let done = git(args).stdout(Stdio::null()).status().expect("git starts");
        assert!(done.success(), "git {args:?}");
    }
}
