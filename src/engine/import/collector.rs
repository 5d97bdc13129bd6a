//! Collects the tasks and edges of a file, and decides which edges hold.
//!
//! Guarantees that the result breaks no rule of a plan: an edge joins two tasks of the file and is there once, a task has one
//! parent, no task waits for itself, and `blocked` has an unfinished blocker. What does not fit is kept in the metadata of
//! the task that names it, with a warning in the ids of the source. Two names of people never become one agent.
//! Leaves to others: what one format means by its words.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::source::{ImportedEdge, ImportedTask, PackedImport, PackedTask, Record, shortened};
use crate::error::{Error, Result};
use crate::model::id::{marked_slug, quoted, slug};
use crate::model::relationship::RelationType;
use crate::model::task::Status;

/// Most tasks of a cycle that a warning names.
const MAX_CHAIN: usize = 6;

/// An edge whose ends are not known to be in the file yet.
pub(crate) struct Link {
    /// The edge.
    pub(crate) edge: ImportedEdge,
    /// The task that names it; where that is not in the file, the task that the edge starts from.
    pub(crate) home: String,
    /// The key under which that task names it.
    pub(crate) key: &'static str,
    /// The name, as it stands in the source.
    pub(crate) said: Value,
}

/// A link while the file is read: its name as text takes a tenth of the memory.
struct KeptLink {
    edge: ImportedEdge,
    home: String,
    key: &'static str,
    said: Box<str>,
}

/// Everything found in a file so far.
#[derive(Default)]
pub(crate) struct Collector {
    tasks: Vec<PackedTask>,
    /// Where each id was found, and which of `tasks` has it.
    places: BTreeMap<String, (String, usize)>,
    links: Vec<KeptLink>,
    /// What did not fit.
    pub(crate) warnings: Vec<String>,
}

impl Collector {
    /// Adds a task found at `place`.
    ///
    /// Errors: its id was there before.
    pub(crate) fn add_task(&mut self, place: String, task: ImportedTask) -> Result<()> {
        if let Some((first, _)) = self.places.get(&task.origin) {
            let id = quoted(&task.origin);
            return Err(Error::validation(format!("{place} has the id {id}, which {first} has too"))
                .hint("give one of them another id in the file, or remove it there; nothing was changed"));
        }
        self.places.insert(task.origin.clone(), (place, self.tasks.len()));
        self.tasks.push(PackedTask::of(task));
        Ok(())
    }

    /// Whether a task with this id was found.
    pub(crate) fn knows(&self, origin: &str) -> bool {
        self.places.contains_key(origin)
    }

    /// Whether no task was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Adds an edge.
    pub(crate) fn add_link(&mut self, link: Link) {
        let Link { edge, home, key, said } = link;
        self.links.push(KeptLink { edge, home, key, said: said.to_string().into() });
    }

    /// Ends an object that belongs to no task: its unread values can only be reported.
    pub(crate) fn left_out(&mut self, record: Record) {
        let place = record.place().to_owned();
        for (key, value) in record.close(&mut self.warnings) {
            self.warnings.push(format!("{place}: {key} belongs to no task and is left out: {}", shortened(&value)));
        }
    }

    /// Ends the file: decides which edges hold, which tasks are blocked by them, and how the owners are called.
    pub(crate) fn finish(mut self, format: &'static str) -> PackedImport {
        let links = std::mem::take(&mut self.links);
        let objections = self.objections(&links);
        let mut edges = Vec::new();
        for (link, objection) in links.into_iter().zip(objections) {
            match objection {
                None => edges.push(link.edge),
                Some(reason) => self.send_home(link, &reason),
            }
        }
        self.resolve_blocked(&edges);
        self.name_owners();
        PackedImport { format, tasks: self.tasks, edges, warnings: self.warnings }
    }

    /// Why each edge does not hold, if so. Parents are decided first: a part that waits for its whole stays a part.
    fn objections(&self, links: &[KeptLink]) -> Vec<Option<String>> {
        let mut kept = KeptEdges::default();
        let mut objections: Vec<Option<String>> = vec![None; links.len()];
        let (parents, others): (Vec<usize>, Vec<usize>) =
            (0..links.len()).partition(|n| links[*n].edge.kind == RelationType::ParentOf);
        for n in parents.into_iter().chain(others) {
            let edge = &links[n].edge;
            objections[n] = match [&edge.from, &edge.to].into_iter().find(|end| !self.knows(end)) {
                Some(missing) => Some(format!("{} is not among the imported tasks", quoted(missing))),
                None => kept.add(edge),
            };
        }
        objections
    }

    /// Keeps an edge that does not hold in the metadata of the task that names it.
    fn send_home(&mut self, link: KeptLink, reason: &str) {
        // It was written as JSON just before.
        let said: Value = serde_json::from_str(&link.said).unwrap_or_default();
        let (kind, from, to) = (link.edge.kind.as_str(), quoted(&link.edge.from), quoted(&link.edge.to));
        let what = format!("{from} {kind} {to} is left out: {reason}");
        let home = [&link.home, &link.edge.from].into_iter().find_map(|home| self.places.get_key_value(home));
        let Some((home, (_, index))) = home else {
            self.warnings.push(format!("{what}: {}", shortened(&said)));
            return;
        };
        self.warnings.push(format!("{what}; it is kept in the metadata of {}", quoted(home)));
        self.tasks[*index].change(|task| match task.metadata.entry(link.key).or_insert_with(|| json!([])) {
            Value::Array(all) => all.push(said),
            other => *other = json!([other.take(), said]),
        });
    }

    /// Opens the tasks that are called blocked while nothing in the file blocks them.
    fn resolve_blocked(&mut self, edges: &[ImportedEdge]) {
        let unfinished: BTreeSet<&str> =
            self.tasks.iter().filter(|task| !task.status.is_finished()).map(|task| &*task.origin).collect();
        let blocks = edges.iter().filter(|edge| edge.kind == RelationType::Blocks);
        let waiting: BTreeSet<&str> =
            blocks.filter(|edge| unfinished.contains(edge.from.as_str())).map(|edge| edge.to.as_str()).collect();
        let free: BTreeSet<String> = unfinished.difference(&waiting).map(|origin| (*origin).to_owned()).collect();
        for task in self.tasks.iter_mut().filter(|task| task.status == Status::Blocked && free.contains(&*task.origin))
        {
            task.change(|task| {
                task.status = Status::Open;
                task.metadata.entry("status").or_insert_with(|| json!("blocked"));
            });
            self.warnings
                .push(format!("{}: blocked becomes open, because nothing unfinished blocks it", quoted(&task.origin)));
        }
    }

    /// Gives every owner an agent name. A name that is an agent name stays. Others become a slug; where two would share one,
    /// each of them gets a mark that its own spelling determines.
    fn name_owners(&mut self) {
        let mut spellings: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for name in self.tasks.iter().filter_map(|task| task.owner.as_deref()) {
            spellings.entry(slug(name).unwrap_or_default()).or_default().insert(name.trim());
        }
        let shared: BTreeSet<String> =
            spellings.into_iter().filter(|(_, names)| names.len() > 1).map(|(slug, _)| slug).collect();
        for task in &mut self.tasks {
            task.owner = task.owner.take().and_then(|name| {
                let agent = slug(&name)?;
                if agent != name.trim() && shared.contains(&agent) { marked_slug(&name) } else { Some(agent) }
            });
        }
    }
}

/// The edges that hold so far.
#[derive(Default)]
struct KeptEdges<'a> {
    known: BTreeSet<(RelationType, &'a str, &'a str)>,
    parents: HashMap<&'a str, &'a str>,
    /// The tasks that each task waits for: a blocked task for its blockers, a parent for its children.
    waits: HashMap<&'a str, Vec<&'a str>>,
    /// The tasks that another one waits for.
    awaited: BTreeSet<&'a str>,
}

impl<'a> KeptEdges<'a> {
    /// Adds an edge, or says why it does not hold.
    fn add(&mut self, edge: &'a ImportedEdge) -> Option<String> {
        let (from, to) = (edge.from.as_str(), edge.to.as_str());
        if from == to {
            return Some("a task cannot be related to itself".into());
        }
        if self.known.contains(&(edge.kind, from, to)) {
            return Some("it was there before".into());
        }
        let wait = match edge.kind {
            RelationType::ParentOf => Some((from, to)),
            RelationType::Blocks => Some((to, from)),
            RelationType::RelatesTo | RelationType::Duplicates => None,
        };
        if edge.kind == RelationType::ParentOf
            && let Some(parent) = self.parents.get(to)
        {
            return Some(format!("{} is the parent of {} already", quoted(parent), quoted(to)));
        }
        if let Some((waiter, awaited)) = wait {
            if let Some(chain) = self.chain(awaited, waiter) {
                return Some(cycle_words(&chain));
            }
            self.waits.entry(waiter).or_default().push(awaited);
            self.awaited.insert(awaited);
        }
        if edge.kind == RelationType::ParentOf {
            self.parents.insert(to, from);
        }
        self.known.insert((edge.kind, from, to));
        None
    }

    /// The chain of tasks from one to another, each waiting for the next.
    fn chain(&self, from: &'a str, to: &'a str) -> Option<Vec<&'a str>> {
        // Most edges go to a task that no task waits for: no chain leads there.
        if !self.awaited.contains(to) {
            return None;
        }
        let mut came_from: HashMap<&str, &'a str> = HashMap::new();
        let mut open = vec![from];
        while let Some(task) = open.pop() {
            if task == to {
                let mut chain = vec![to];
                while let Some(before) =
                    came_from.get(chain[chain.len() - 1]).filter(|_| chain[chain.len() - 1] != from)
                {
                    chain.push(before);
                }
                chain.reverse();
                return Some(chain);
            }
            for next in self.waits.get(task).into_iter().flatten() {
                if *next != from && !came_from.contains_key(next) {
                    came_from.insert(next, task);
                    open.push(next);
                }
            }
        }
        None
    }
}

/// Why an edge is left out whose tasks wait for each other already.
fn cycle_words(chain: &[&str]) -> String {
    let few = chain.len().min(MAX_CHAIN);
    let names: Vec<String> = chain[1..few].iter().map(|name| quoted(name)).collect();
    let more = if chain.len() > few { format!(", and so on over {} tasks", chain.len()) } else { String::new() };
    format!("it would close a cycle, because {} waits for {}{more}", quoted(chain[0]), names.join(", then "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::import::source::Import;

    fn task(origin: &str, status: Status) -> ImportedTask {
        ImportedTask { origin: origin.into(), title: "t".into(), status, ..ImportedTask::default() }
    }

    fn link(kind: RelationType, from: &str, to: &str) -> Link {
        let (from, to, home) = (from.to_owned(), to.to_owned(), to.to_owned());
        let edge = ImportedEdge { origin: None, kind, from, to, metadata: Value::Null, created_at: None };
        Link { said: json!(edge.from), edge, home, key: "needs" }
    }

    fn collected(tasks: &[(&str, Status)], links: Vec<Link>) -> Import {
        let mut found = Collector::default();
        for (origin, status) in tasks {
            found.add_task(format!("line {origin}"), task(origin, *status)).unwrap();
        }
        links.into_iter().for_each(|link| found.add_link(link));
        found.finish("test").open()
    }

    #[test]
    fn edges_that_do_not_hold_are_kept_with_a_task() {
        let blocks = |from, to| link(RelationType::Blocks, from, to);
        let links = vec![blocks("1", "2"), blocks("1", "2"), blocks("2", "2"), blocks("3", "2"), blocks("3", "4")];
        let imported = collected(&[("1", Status::Open), ("2", Status::Open)], links);
        assert_eq!(imported.edges.len(), 1);
        assert_eq!(imported.tasks[1].metadata["needs"], json!(["1", "2", "3"]));
        assert_eq!(imported.warnings.len(), 4);
        assert_eq!(imported.warnings[3], r#""3" blocks "4" is left out: "3" is not among the imported tasks: "3""#);
    }

    #[test]
    fn blocked_needs_an_unfinished_blocker() {
        let tasks = [("a", Status::Open), ("b", Status::Completed), ("c", Status::Blocked), ("d", Status::Blocked)];
        let links = vec![link(RelationType::Blocks, "a", "c"), link(RelationType::Blocks, "b", "d")];
        let imported = collected(&tasks, links);
        assert_eq!((imported.tasks[2].status, imported.tasks[3].status), (Status::Blocked, Status::Open));
        assert!(imported.tasks[2].metadata.is_empty());
        assert_eq!(imported.tasks[3].metadata["status"], "blocked");
    }

    #[test]
    fn a_part_does_not_wait_for_its_whole() {
        let links = vec![
            link(RelationType::Blocks, "a", "c"),
            link(RelationType::ParentOf, "a", "b"),
            link(RelationType::ParentOf, "b", "c"),
        ];
        let imported = collected(&[("a", Status::Open), ("b", Status::Open), ("c", Status::Open)], links);
        assert_eq!(imported.edges.iter().map(|edge| edge.kind).collect::<Vec<_>>(), [RelationType::ParentOf; 2]);
        assert_eq!(imported.tasks[2].metadata["needs"], json!(["a"]));
        let expected = r#""a" blocks "c" is left out: it would close a cycle, because "a" waits for "b", then "c"; it is kept in the metadata of "c""#;
        assert_eq!(imported.warnings, [expected]);
    }

    #[test]
    fn a_cycle_loses_its_last_edge() {
        for kind in [RelationType::Blocks, RelationType::ParentOf] {
            let links = vec![link(kind, "a", "b"), link(kind, "b", "c"), link(kind, "c", "a")];
            let imported = collected(&[("a", Status::Open), ("b", Status::Open), ("c", Status::Open)], links);
            assert_eq!(imported.edges.len(), 2, "{kind:?}");
            assert_eq!(imported.tasks[0].metadata["needs"], json!(["c"]), "{kind:?}");
        }
    }

    #[test]
    fn a_task_has_one_parent() {
        let links = vec![link(RelationType::ParentOf, "a", "c"), link(RelationType::ParentOf, "b", "c")];
        let imported = collected(&[("a", Status::Open), ("b", Status::Open), ("c", Status::Open)], links);
        assert_eq!((imported.edges.len(), &imported.edges[0].from), (1, &"a".to_owned()));
        let expected =
            r#""b" parent_of "c" is left out: "a" is the parent of "c" already; it is kept in the metadata of "c""#;
        assert_eq!(imported.warnings, [expected]);
    }

    #[test]
    fn two_names_never_become_one_agent() {
        let mut found = Collector::default();
        for (n, name) in ["Bob Smith", "bob-smith", "bob smith", "Ada", "Ada", " - "].into_iter().enumerate() {
            let owned = ImportedTask { owner: Some(name.into()), ..task(&n.to_string(), Status::Open) };
            found.add_task(n.to_string(), owned).unwrap();
        }
        let owners: Vec<_> = found.finish("test").tasks.into_iter().map(|task| task.owner).collect();
        assert_eq!(owners[1].as_deref(), Some("bob-smith"));
        assert!(owners[0] != owners[2] && owners[0] != owners[1] && owners[2] != owners[1], "{owners:?}");
        assert_eq!(
            (owners[3].as_deref(), owners[4].as_deref(), owners[5].as_deref()),
            (Some("ada"), Some("ada"), None)
        );
    }

    #[test]
    fn an_id_belongs_to_one_task() {
        let mut found = Collector::default();
        found.add_task("line 1".into(), task("a", Status::Open)).unwrap();
        let error = found.add_task("line 4".into(), task("a", Status::Open)).unwrap_err();
        assert_eq!(error.message, r#"line 4 has the id "a", which line 1 has too"#);
    }
}
