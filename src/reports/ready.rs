//! The unfinished part of the plan: which of its tasks can be worked on, in which order, and how many cannot.
//!
//! Guarantees that the answer depends on the plan, the leases and the caller alone, and that an edge which closes a circle does not
//! count and is named. Leaves to others: what makes a task ready (`rules::readiness`), and where the plan was read from.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::Result;
use crate::model::agent::Lease;
use crate::model::event::Stamp;
use crate::model::id::Id;
use crate::model::overlap::FileClaim;
use crate::model::relationship::RelationType;
use crate::model::settings::{ClaimSettings, Overlap, ScoreSettings};
use crate::model::task::{Brief, Status};
use crate::model::time::{DAY_MS, HOUR_MS, Time};
use crate::reports::next::{LeasedTask, NotReady};
use crate::rules::graph::{Edge, longest_chain, void_edges, void_pairs};
use crate::rules::readiness::{Blocker, Facts, Missing, OpenChildren, Reason, Viewer, counting_status, reasons};
use crate::rules::surroundings::{Circles, Surroundings, holding_parent};

/// The unfinished part of the plan.
#[derive(Debug, Default)]
pub struct Plan {
    /// Unfinished tasks.
    pub tasks: BTreeMap<Id, Brief>,
    blockers: BTreeMap<Id, Vec<Id>>,
    waiting: BTreeMap<Id, Vec<Id>>,
    children: BTreeMap<Id, Vec<Id>>,
    /// Children whose parent edge does not count.
    parentless: BTreeSet<Id>,
    /// For each task below a blocked one, or one with a time until which it is deferred, the nearest such task.
    above: BTreeMap<Id, Id>,
    /// What the blockers of blocked parents wait for.
    circles: Circles,
    /// Edges that do not count because they close a circle.
    pub void: BTreeSet<Stamp>,
    leases: BTreeMap<Id, Lease>,
    /// What is missing of finished tasks that others wait for.
    missing: BTreeMap<Id, Missing>,
    depths: BTreeMap<Id, u64>,
    overlaps: BTreeMap<Id, Vec<FileClaim>>,
    /// Whether an overlap withholds a task.
    refuses_overlaps: bool,
    overlap_margin: f64,
}

/// The terms of a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Score {
    /// Their sum.
    pub score: f64,
    /// From the priority.
    pub priority: f64,
    /// From the age, at most `score.age_cap`.
    pub age: f64,
    /// Whether the age is cut off at that maximum.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub age_capped: bool,
    /// From the longest chain of unfinished tasks that wait for it.
    pub depth: f64,
    /// From the due time.
    pub due: f64,
}

/// A task that is ready, with its score.
#[derive(Clone, Debug)]
pub struct RankedTask {
    /// The task.
    pub id: Id,
    /// Its score.
    pub score: Score,
    place: Place,
}

/// Where a task stands among the ready ones at one instant. The next page takes the scores of that instant: by later ones
/// tasks could pass each other between two pages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    at: Time,
    /// The score in millionths, less what puts it behind others.
    points: i64,
    created_at: Time,
    id: Id,
}

impl Place {
    fn order(&self, other: &Place) -> std::cmp::Ordering {
        other.points.cmp(&self.points).then(self.created_at.cmp(&other.created_at)).then(self.id.cmp(&other.id))
    }

    /// The instant of the order.
    pub fn at(&self) -> Time {
        self.at
    }

    /// Reads what [`fmt::Display`] wrote; `None` for anything else.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let points = u64::from_str_radix(parts.next()?, 16).ok()?.cast_signed();
        let created_at = Time::from_millis(parts.next()?.parse().ok()?);
        let id = parts.next()?.parse().ok()?;
        Some(Place { at: Time::from_millis(parts.next()?.parse().ok()?), points, created_at, id })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (created_at, at) = (self.created_at.millis(), self.at.millis());
        write!(f, "{:016x}.{created_at}.{}.{at}", self.points, self.id)
    }
}

impl RankedTask {
    /// Where it stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether it stands behind a place.
    pub fn is_behind(&self, place: &Place) -> bool {
        self.place.order(place) == std::cmp::Ordering::Greater
    }
}

impl Plan {
    /// Puts the plan together. `edges` are those whose target is unfinished and waits for the source.
    pub fn new(tasks: Vec<Brief>, edges: &[Edge], leases: BTreeMap<Id, Lease>) -> Self {
        let mut plan = Plan { leases, ..Plan::default() };
        plan.tasks = tasks.into_iter().map(|task| (task.id, task)).collect();
        plan.void = void_edges(edges);
        let mut known = HashSet::new();
        for edge in edges.iter().filter(|e| e.kind == RelationType::Blocks && !plan.void.contains(&e.stamp)) {
            if known.insert((edge.from, edge.to)) {
                plan.blockers.entry(edge.to).or_default().push(edge.from);
                plan.waiting.entry(edge.from).or_default().push(edge.to);
            }
        }
        let void = void_pairs(edges, &plan.void);
        for task in plan.tasks.values() {
            let Some(parent) = task.parent else { continue };
            if void.contains(&(RelationType::ParentOf, parent, task.id)) {
                plan.parentless.insert(task.id);
            } else {
                plan.children.entry(parent).or_default().push(task.id);
            }
        }
        plan.depths = plan.all_depths();
        plan.above = plan.all_above();
        let blocked: Vec<Id> = plan.children.keys().copied().filter(|id| plan.blockers.contains_key(id)).collect();
        let mut circles = Circles::default();
        for id in blocked {
            // Nothing in memory can fail.
            let _ = circles.search(&mut &plan, id);
        }
        plan.circles = circles;
        plan
    }

    /// The length of the longest chain that waits for each task. Counting edges have no circles.
    fn all_depths(&self) -> BTreeMap<Id, u64> {
        let mut depths: BTreeMap<Id, u64> = BTreeMap::new();
        for start in self.waiting.keys() {
            // Nothing in memory can fail.
            let _ = longest_chain(*start, &mut depths, |id| Ok(self.waiting(id)));
        }
        depths
    }

    /// The nearest task above each that may keep it from beginning. Counting edges have no circles.
    fn all_above(&self) -> BTreeMap<Id, Id> {
        let is_held = |id: &Id| self.blockers.contains_key(id) || self.tasks[id].defer_until.is_some();
        let mut nearest: BTreeMap<Id, Option<Id>> = BTreeMap::new();
        for start in self.children.values().flatten() {
            let (mut path, mut id) = (Vec::new(), *start);
            let found = loop {
                if let Some(known) = nearest.get(&id) {
                    break *known;
                }
                path.push(id);
                match self.parent(id) {
                    Some(parent) if !is_held(&parent) => id = parent,
                    found => break found,
                }
            };
            nearest.extend(path.into_iter().map(|id| (id, found)));
        }
        nearest.into_iter().filter_map(|(id, above)| Some((id, above?))).collect()
    }

    fn parent(&self, id: Id) -> Option<Id> {
        let parent = self.tasks.get(&id).and_then(|task| task.parent);
        parent.filter(|parent| self.tasks.contains_key(parent) && !self.parentless.contains(&id))
    }

    /// Sets what is missing of those finished tasks that others wait for.
    pub fn set_missing(&mut self, missing: BTreeMap<Id, Missing>) {
        self.missing = missing;
    }

    /// Adds finished children that count as unfinished for their parents, each with its parent. Those that the plan was put
    /// together from are unfinished, so none is added twice.
    pub fn add_open_children(&mut self, children: Vec<(Id, Id)>) {
        for (child, parent) in children {
            self.children.entry(parent).or_default().push(child);
        }
    }

    /// Sets which tasks overlap with work in progress of others: they come later, or are withheld.
    pub fn set_overlaps(&mut self, overlaps: BTreeMap<Id, Vec<FileClaim>>, settings: &ClaimSettings) {
        (self.overlaps, self.overlap_margin) = (overlaps, settings.overlap_margin);
        self.refuses_overlaps = settings.overlap == Overlap::Refuse;
    }

    /// The work in progress of others that a task overlaps with.
    pub fn overlaps(&self, id: Id) -> &[FileClaim] {
        self.overlaps.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The tasks that a task waits for.
    pub fn blockers(&self, id: Id) -> &[Id] {
        self.blockers.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The same, each with what is missing of it.
    pub fn waits(&self, id: Id) -> Vec<Blocker> {
        let missing = |id: &Id| self.missing.get(id).copied().unwrap_or(Missing::End);
        self.blockers(id).iter().map(|id| Blocker { id: *id, missing: missing(id) }).collect()
    }

    /// The unfinished tasks that wait for a task.
    pub fn waiting(&self, id: Id) -> &[Id] {
        self.waiting.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The length of the longest chain of unfinished tasks that wait for a task.
    pub fn depth(&self, id: Id) -> u64 {
        self.depths.get(&id).copied().unwrap_or(0)
    }

    /// The live lease of a task.
    pub fn lease(&self, id: Id, now: Time) -> Option<&Lease> {
        self.leases.get(&id).filter(|lease| lease.is_live(now))
    }

    /// The last lease of a task, live or expired.
    pub fn last_lease(&self, id: Id) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// The status of an unfinished task as it counts.
    pub fn status(&self, task: &Brief) -> Status {
        counting_status(task.status, self.blockers(task.id).len())
    }

    /// Why a task is not ready for the caller; empty where it is.
    pub fn reasons(&self, task: &Brief, viewer: &Viewer, now: Time) -> Vec<Reason> {
        let facts = Facts {
            blockers: &self.waits(task.id),
            children: OpenChildren::count(
                self.children.get(&task.id).into_iter().flatten().map(|child| !self.tasks.contains_key(child)),
            ),
            lease: self.leases.get(&task.id),
            // Nothing in memory can fail.
            parent: holding_parent(&mut &*self, task.id, now).unwrap_or_default(),
            overlaps: if self.refuses_overlaps { self.overlaps(task.id) } else { &[] },
        };
        reasons(task, facts, viewer, now)
    }

    /// The score of a task.
    pub fn score(&self, task: &Brief, weights: &ScoreSettings, now: Time) -> Score {
        self.scored(task).score(weights, now)
    }

    /// The score of a task in millionths, to compare it: sums of numbers with a point differ by their order.
    pub fn points(&self, task: &Brief, weights: &ScoreSettings, now: Time) -> i64 {
        self.scored(task).terms(weights, now).into_iter().map(millionths).fold(0, i64::saturating_add)
    }

    fn scored(&self, task: &Brief) -> Scored {
        let depth = self.depth(task.id);
        Scored { priority: task.priority, created_at: task.created_at, due: task.due, depth }
    }

    /// The ready tasks, best first.
    pub fn rank(&self, viewer: &Viewer, weights: &ScoreSettings, now: Time) -> Vec<RankedTask> {
        self.rank_as_of(viewer, weights, now, now)
    }

    /// The tasks that are ready now, in the order of another instant.
    pub fn rank_as_of(&self, viewer: &Viewer, weights: &ScoreSettings, now: Time, at: Time) -> Vec<RankedTask> {
        let ready = self.tasks.values().filter(|task| self.reasons(task, viewer, now).is_empty());
        let overlap = |id: Id| if self.overlaps(id).is_empty() { 0.0 } else { self.overlap_margin };
        let given_back = |task: &Brief| if gave_back(task, viewer) { GIVEN_BACK } else { 0.0 };
        let later = |task: &Brief| millionths(overlap(task.id)).saturating_add(millionths(given_back(task)));
        let mut ranked: Vec<RankedTask> = ready
            .map(|task| RankedTask {
                id: task.id,
                score: self.score(task, weights, at),
                place: Place {
                    at,
                    points: self.points(task, weights, at).saturating_sub(later(task)),
                    created_at: task.created_at,
                    id: task.id,
                },
            })
            .collect();
        ranked.sort_by(|a, b| a.place.order(&b.place));
        ranked
    }

    /// How many unfinished tasks are not ready, by kind of reason, and who holds what.
    pub fn why_nothing(&self, viewer: &Viewer, now: Time) -> NotReady {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut leased = Vec::new();
        for task in self.tasks.values() {
            let reasons = self.reasons(task, viewer, now);
            if let Some(first) = reasons.first() {
                *counts.entry(first.kind().to_owned()).or_default() += 1;
            }
            if let Some(Reason::Leased { holder, until, ran_out: false }) = reasons.first()
                && leased.len() < 20
            {
                leased.push(LeasedTask { task: task.id, holder: holder.clone(), until: *until });
            }
        }
        NotReady { unfinished: self.tasks.len(), counts, leased, ..NotReady::default() }
    }
}

/// How much later a task comes for the agent that gave it back: after all others. No score is as high.
const GIVEN_BACK: f64 = 1e9;

fn millionths(points: f64) -> i64 {
    (points * 1e6).round() as i64
}

/// Whether the last claim of a task was the caller's own, and ended without completion.
pub fn gave_back(task: &Brief, viewer: &Viewer) -> bool {
    task.attempt_by.is_some() && task.attempt_by.as_deref() == viewer.name()
}

impl Surroundings for &Plan {
    fn parent(&mut self, id: Id) -> Result<Option<Id>> {
        Ok(Plan::parent(self, id))
    }

    fn above(&mut self, id: Id) -> Result<Option<Id>> {
        Ok(self.above.get(&id).copied())
    }

    fn defer_until(&mut self, id: Id) -> Result<Option<Time>> {
        Ok(self.tasks.get(&id).and_then(|task| task.defer_until))
    }

    fn blockers(&mut self, id: Id) -> Result<Vec<Id>> {
        Ok(Plan::blockers(self, id).to_vec())
    }

    fn children(&mut self, id: Id) -> Result<Vec<Id>> {
        Ok(self.children.get(&id).cloned().unwrap_or_default())
    }

    fn is_blocked(&mut self, id: Id) -> Result<bool> {
        Ok(self.blockers.contains_key(&id))
    }

    fn awaits(&mut self, parent: Id, task: Id) -> Result<bool> {
        Ok(self.circles.awaits(parent, task))
    }
}

/// Whether the due time of an unfinished task has passed.
pub fn is_overdue(due: Option<Time>, now: Time) -> bool {
    due.is_some_and(|due| due <= now)
}

/// What the score of a task depends on, apart from the time.
#[derive(Clone, Copy, Debug)]
pub struct Scored {
    /// Its priority.
    pub priority: i64,
    /// When it was created.
    pub created_at: Time,
    /// When it is due.
    pub due: Option<Time>,
    /// The length of the longest chain of unfinished tasks that wait for it.
    pub depth: u64,
}

impl Scored {
    /// The score, in thousandths.
    pub fn score(&self, weights: &ScoreSettings, now: Time) -> Score {
        let round = |term: f64| (term * 1_000.0).round() / 1_000.0;
        let [priority, age, depth, due] = self.terms(weights, now).map(round);
        let age_capped = weights.age_cap > 0.0 && self.age(weights, now) > weights.age_cap;
        Score { score: round(priority + age + depth + due), priority, age, age_capped, depth, due }
    }

    /// The terms for priority, age, depth and due time.
    fn terms(&self, weights: &ScoreSettings, now: Time) -> [f64; 4] {
        let age = self.age(weights, now);
        let due = match self.due {
            Some(_) if is_overdue(self.due, now) => weights.overdue,
            Some(due) if due.since(now) <= DAY_MS => weights.due_soon,
            _ => 0.0,
        };
        [
            self.priority as f64 * weights.priority,
            if weights.age_cap > 0.0 { age.min(weights.age_cap) } else { age },
            self.depth as f64 * weights.depth,
            due,
        ]
    }

    fn age(&self, weights: &ScoreSettings, now: Time) -> f64 {
        now.since(self.created_at).max(0) as f64 / HOUR_MS as f64 * weights.age_hour
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Author;

    fn id(n: u128) -> Id {
        Id::from_parts(1, n)
    }

    fn task(n: u128, priority: i64) -> Brief {
        Brief {
            id: id(n),
            status: Status::Open,
            owner: None,
            parent: None,
            priority,
            created_at: Time::from_millis(0),
            due: None,
            defer_until: None,
            need_perm: None,
            need_precedence: None,
            thread: None,
            title: String::new(),
            attempts: 0,
            attempt_by: None,
            sent_back: false,
        }
    }

    fn viewer(name: &str) -> Viewer {
        Viewer { me: Some(Author { agent: name.into(), ..Author::default() }), ..Viewer::default() }
    }

    fn blocks(n: u64, from: u128, to: u128) -> Edge {
        Edge {
            stamp: Stamp { lamport: n, id: id(u128::from(n)) },
            kind: RelationType::Blocks,
            from: id(from),
            to: id(to),
        }
    }

    fn order(plan: &Plan) -> Vec<Id> {
        let now = Time::from_millis(0);
        plan.rank(&Viewer::default(), &ScoreSettings::default(), now).into_iter().map(|r| r.id).collect()
    }

    #[test]
    fn priority_depth_and_age_make_the_score() {
        let plan = Plan::new(
            vec![task(1, 0), task(2, 1), task(3, 0), task(4, 0), task(5, 0)],
            &[blocks(1, 3, 4), blocks(2, 4, 5)],
            BTreeMap::new(),
        );
        assert_eq!(order(&plan), [id(2), id(3), id(1)]);
        let score = plan.score(&plan.tasks[&id(3)], &ScoreSettings::default(), Time::from_millis(HOUR_MS * 10));
        assert_eq!((score.priority, score.age, score.depth, score.score), (0.0, 1.0, 1.0, 2.0));
    }

    #[test]
    fn equal_scores_keep_their_order_as_time_goes_by() {
        let mut due = task(2, 1);
        due.due = Some(Time::from_millis(HOUR_MS * 24));
        let tasks = vec![task(1, 3), due, task(3, 2), task(4, 0), task(5, 0)];
        let plan = Plan::new(tasks, &[blocks(1, 3, 4), blocks(2, 4, 5)], BTreeMap::new());
        let weights = ScoreSettings { age_hour: 0.1, ..ScoreSettings::default() };
        for minutes in 0..24 * 60 {
            let now = Time::from_millis(minutes * 60_000);
            let ranked = plan.rank(&Viewer::default(), &weights, now);
            assert_eq!(ranked.iter().map(|one| one.id).collect::<Vec<_>>(), [id(1), id(2), id(3)], "{minutes} minutes");
            let points = [1, 2, 3].map(|n| plan.points(&plan.tasks[&id(n)], &weights, now));
            assert!(points.iter().all(|one| *one == points[0]), "{points:?}");
            assert_eq!(Place::read(&ranked[0].place().to_string()), Some(ranked[0].place()));
        }
    }

    #[test]
    fn every_task_that_is_not_ready_has_a_reason() {
        let mut deferred = task(1, 0);
        deferred.defer_until = Some(Time::from_millis(10));
        let mut owned = task(2, 0);
        owned.owner = Some("ada".into());
        let mut child = task(4, 0);
        child.parent = Some(id(3));
        let mut running = task(5, 0);
        running.status = Status::InProgress;
        let plan = Plan::new(vec![deferred, owned, task(3, 0), child, running], &[], BTreeMap::new());
        let bob = viewer("bob");
        let now = Time::from_millis(0);
        let kinds: Vec<_> = plan.tasks.values().map(|t| plan.reasons(t, &bob, now).first().map(Reason::kind)).collect();
        assert_eq!(
            kinds,
            [Some("deferred"), Some("owned_by_others"), Some("planning_units"), None, Some("in_progress")]
        );
        let ada = viewer("ada");
        assert!(plan.reasons(&plan.tasks[&id(2)], &ada, now).is_empty());
    }

    #[test]
    fn a_circle_does_not_empty_the_list() {
        let plan = Plan::new(vec![task(1, 0), task(2, 0)], &[blocks(1, 1, 2), blocks(2, 2, 1)], BTreeMap::new());
        assert_eq!(order(&plan), [id(1)]);
        assert_eq!(plan.void.len(), 1);
    }

    #[test]
    fn a_long_chain_is_no_danger() {
        let tasks = (0..50_000).map(|n| task(n, 0)).collect();
        let edges: Vec<Edge> = (1..50_000u64).map(|n| blocks(n, u128::from(n) - 1, u128::from(n))).collect();
        assert_eq!(order(&Plan::new(tasks, &edges, BTreeMap::new())), [id(0)]);
    }
}
