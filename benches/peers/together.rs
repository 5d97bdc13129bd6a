//! Several writers: at once in one work tree, and in two branches that are merged.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::room::{Room, git};
use crate::run::{ms, printed, run};
use crate::tracker::{Kind, Op, Plan, Tracker};

/// Tasks that all writers label, besides making their own.
const SHARED: usize = 4;
pub const WRITERS: usize = 8;

/// What became of the changes of writers at once.
#[derive(Debug)]
pub struct Writers {
    pub kind: Kind,
    pub changes: usize,
    /// The command failed, and the writer knows.
    pub refused: usize,
    /// Acknowledged changes that were found afterwards.
    pub found: usize,
    pub took: Duration,
}

impl Writers {
    pub fn lost(&self) -> usize {
        self.changes - self.refused - self.found
    }
}

/// Each writer makes a task and labels a shared task, in turn, one command after the other.
pub fn write_at_once(room: &Room, kinds: &[Kind]) -> Vec<Writers> {
    let each = if room.asked.small { 2 } else { 8 };
    let (plan, trackers) = Tracker::fill(room, kinds, room.asked.sizes[0], "writers");
    trackers.iter().map(|tracker| write(room, tracker, &plan, each)).collect()
}

fn write(room: &Room, tracker: &Tracker, plan: &Plan, each: usize) -> Writers {
    room.tell(&format!("{WRITERS} writers at once in {}", tracker.kind.name()));
    let ready = plan.ready();
    let change = |step: usize| {
        let word = format!("writer{step}");
        let op = if step.is_multiple_of(2) { Op::Create(&word) } else { Op::Label(ready[step / 2 % SHARED], &word) };
        succeeds(tracker.command(op))
    };
    let begun = Instant::now();
    let acknowledged: Vec<usize> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || (writer * each..(writer + 1) * each).filter(|step| change(*step)).collect())
            })
            .collect();
        writers.into_iter().flat_map(|writer| -> Vec<usize> { writer.join().expect("a writer ends") }).collect()
    });
    let took = begun.elapsed();
    let words = words(tracker);
    Writers {
        kind: tracker.kind,
        changes: WRITERS * each,
        refused: WRITERS * each - acknowledged.len(),
        found: acknowledged.iter().filter(|step| words.contains(&format!("writer{step}"))).count(),
        took,
    }
}

fn succeeds(mut command: Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the program starts").success()
}

/// The words of all unfinished tasks, titles and labels, as the tracker lists them.
fn words(tracker: &Tracker) -> BTreeSet<String> {
    let list = printed(tracker.command(Op::List));
    list.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_owned).collect()
}

/// What `git merge` made of two branches.
#[derive(Debug)]
pub struct Merge {
    pub kind: Kind,
    pub changes: usize,
    /// Files that git could not merge.
    pub files: usize,
    /// Without such files: changes that took effect, and values that the tracker lists as lost to a concurrent one.
    pub found: Option<(usize, usize)>,
    pub took: f64,
}

/// Tasks that both branches change, and tasks that each creates.
pub const BOTH: usize = 10;
pub const NEW: usize = 5;

/// Both branches label the first half of the tasks; of the others, one changes the title and the other adds a label. Each creates
/// tasks. No two changes contradict each other.
pub fn merge_branches(room: &Room, kinds: &[Kind]) -> Vec<Merge> {
    let (plan, trackers) = Tracker::fill(room, kinds, room.asked.sizes[0], "merge");
    trackers.iter().map(|tracker| merge(room, tracker, &plan)).collect()
}

fn merge(room: &Room, tracker: &Tracker, plan: &Plan) -> Merge {
    room.tell(&format!("two branches of {}", tracker.kind.name()));
    let ready = plan.ready();
    for branch in ["ours", "theirs"] {
        run(git(&tracker.path, &["checkout", "-q", "-b", branch, "main"]));
        for n in 0..BOTH + NEW {
            let word = format!("{branch}{n}");
            let op = match n {
                n if n >= BOTH => Op::Create(&word),
                n if n >= BOTH / 2 && branch == "ours" => Op::Retitle(ready[n], &word),
                n => Op::Label(ready[n], &word),
            };
            // Backlog.md fails now and then on a busy machine.
            assert!((0..3).any(|_| succeeds(tracker.command(op))), "{op:?} in {}", tracker.kind.name());
        }
        tracker.commit();
    }
    run(git(&tracker.path, &["checkout", "-q", "ours"]));
    room.settle();
    let begun = Instant::now();
    let is_merged = succeeds(git(&tracker.path, &["merge", "-q", "--no-edit", "theirs"]));
    let took = ms(begun.elapsed());
    let unmerged = printed(git(&tracker.path, &["diff", "--name-only", "--diff-filter=U"]));
    assert_eq!(is_merged, unmerged.is_empty(), "{unmerged}");
    let found = is_merged.then(|| {
        let words = words(tracker);
        let all =
            ["ours", "theirs"].into_iter().flat_map(|branch| (0..BOTH + NEW).map(move |n| format!("{branch}{n}")));
        (all.filter(|word| words.contains(word)).count(), tracker.count_listed_conflicts())
    });
    Merge { kind: tracker.kind, changes: 2 * (BOTH + NEW), files: unmerged.lines().count(), found, took }
}
