//! The graph of the plan as SVG: a task stands below its parent and below the tasks that it waits for.
//!
//! Guarantees that no text of others is markup, and that a large plan gives a picture that can be read: tasks are shown as one
//! box with their parent, and what is left out is counted.
//! Leaves to others: which tasks and edges are shown.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use super::layout::{HEIGHT, Layout, Line, WIDTH, layout};
use super::markup::{status_words, text};
use crate::model::id::Id;
use crate::model::task::Status;

/// The most boxes of a picture.
const MAX_BOXES: usize = 300;
/// The most characters of a title in a box; the tooltip has more.
const MAX_TITLE: usize = 32;
/// The most characters of a tooltip.
const MAX_TOOLTIP: usize = 300;
/// Colors and fonts, which the board shares.
pub const STYLE: &str = include_str!("graph.css");

/// A task in the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id.
    pub id: Id,
    /// Its handle.
    pub handle: String,
    /// Its title.
    pub title: String,
    /// Its status.
    pub status: Status,
    /// Its owner.
    pub owner: Option<String>,
    /// Its parent.
    pub parent: Option<Id>,
}

/// Where a picture stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a page that has the style.
    Page,
    /// In a file of its own.
    File,
}

/// The picture. `blocks` are pairs of a task and a task that waits for it; those with other tasks are ignored.
pub fn svg(nodes: &[Node], blocks: &[(Id, Id)], place: Place) -> String {
    let groups = Groups::new(nodes, blocks);
    let pairs: Vec<(usize, usize)> = groups.edges.keys().copied().collect();
    let drawing = layout(groups.shown.len(), &pairs);
    let note = groups.note();
    let height = drawing.height + if note.is_empty() { 0 } else { 24 };
    let mut out = format!("<svg class=\"graph\" role=\"img\" width=\"{0}\" height=\"{height}\"", drawing.width);
    if place == Place::File {
        out.push_str(" xmlns=\"http://www.w3.org/2000/svg\"");
    }
    let _ = write!(out, " viewBox=\"0 0 {0} {height}\">\n<title>Graph of the plan</title>\n", drawing.width);
    if place == Place::File {
        let _ = write!(out, "<style>\n{STYLE}</style>\n");
    }
    out.push_str(
        "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto-start-reverse\"><path class=\"head\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n",
    );
    for (line, waits) in drawing.lines.iter().zip(groups.edges.values()) {
        write_line(&mut out, &drawing, *line, *waits);
    }
    for (group, at) in groups.shown.iter().zip(&drawing.boxes) {
        write_box(&mut out, nodes, group, *at);
    }
    if !note.is_empty() {
        let _ = writeln!(out, "<text class=\"note\" x=\"10\" y=\"{}\">{note}</text>", height - 10);
    }
    out.push_str("</svg>\n");
    out
}

/// A line from the middle of the lower edge of a box to the middle of the upper edge of another.
fn write_line(out: &mut String, drawing: &Layout, line: Line, waits: bool) {
    let ((from_x, from_y), (to_x, to_y)) = (drawing.boxes[line.upper], drawing.boxes[line.lower]);
    let (x, y, to_x) = (from_x + WIDTH / 2, from_y + HEIGHT, to_x + WIDTH / 2);
    let bend = (to_y - y) / 2;
    let kind = if waits { "blocks" } else { "parent" };
    let end = match (waits, line.reversed) {
        (false, _) => "",
        (true, false) => " marker-end=\"url(#arrow)\"",
        (true, true) => " marker-start=\"url(#arrow)\"",
    };
    let _ = writeln!(
        out,
        "<path class=\"{kind}\" fill=\"none\"{end} d=\"M{x} {y}C{x} {} {to_x} {} {to_x} {to_y}\"/>",
        y + bend,
        to_y - bend
    );
}

fn write_box(out: &mut String, nodes: &[Node], group: &Group, (x, y): (usize, usize)) {
    let node = &nodes[group.first];
    let (status, handle) = (node.status.as_str(), text(&node.handle));
    let count = group.counts.values().sum::<usize>();
    let state = match count {
        1 => {
            let owner = node.owner.as_ref().map(|owner| format!(" · {}", shortened(owner, MAX_TITLE)));
            status_words(node.status).to_owned() + &owner.unwrap_or_default()
        }
        _ => {
            let each = group.counts.iter().map(|(status, n)| format!("{n} {}", status_words(*status)));
            format!("{count} tasks: {}", each.collect::<Vec<_>>().join(", "))
        }
    };
    let many = if count > 1 { " many" } else { "" };
    let _ = writeln!(
        out,
        "<a href=\"#t-{}\"><svg class=\"node {status}{many}\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">\
         <title>{handle} {} ({state})</title><rect x=\"1\" y=\"1\" width=\"{}\" height=\"{}\" rx=\"5\"/>\
         <text class=\"state\" x=\"9\" y=\"17\"><tspan class=\"handle\">{handle}</tspan> {state}</text>\
         <text x=\"9\" y=\"36\">{}</text></svg></a>",
        node.id,
        shortened(&node.title, MAX_TOOLTIP),
        WIDTH - 2,
        HEIGHT - 2,
        shortened(&node.title, MAX_TITLE),
    );
}

/// The beginning of a text, as markup has it.
fn shortened(whole: &str, most: usize) -> String {
    let begin: String = whole.chars().take(most).collect();
    text(&begin) + if begin.len() < whole.len() { "…" } else { "" }
}

/// Tasks that stand in one box: one, or a parent with all below it.
struct Group {
    /// The task that gives the box its title.
    first: usize,
    counts: BTreeMap<Status, usize>,
}

/// The boxes and lines of a picture.
struct Groups {
    shown: Vec<Group>,
    /// Whether the lower of two boxes waits for the upper, or is a part of it.
    edges: BTreeMap<(usize, usize), bool>,
    /// The number of tasks in boxes that are left out.
    left_out: usize,
    is_collapsed: bool,
}

impl Groups {
    fn new(nodes: &[Node], blocks: &[(Id, Id)]) -> Self {
        let known: HashMap<Id, usize> = nodes.iter().enumerate().map(|(n, node)| (node.id, n)).collect();
        let above = Above::new(nodes.iter().map(|node| node.parent.and_then(|parent| known.get(&parent).copied())));
        let depth = above.depth_for(MAX_BOXES);
        let of: Vec<usize> = (0..nodes.len()).map(|node| above.at_depth(node, depth)).collect();
        let mut edges: BTreeMap<(usize, usize), bool> = BTreeMap::new();
        for (node, parent) in above.parents.iter().enumerate().filter_map(|(n, parent)| Some((n, (*parent)?))) {
            edges.insert((of[parent], of[node]), false);
        }
        for (from, to) in blocks.iter().filter_map(|(from, to)| Some((known.get(from)?, known.get(to)?))) {
            edges.insert((of[*from], of[*to]), true);
        }
        edges.retain(|(from, to), _| from != to);
        let kept = kept(&of, &edges);
        edges.retain(|(from, to), _| kept.contains(from) && kept.contains(to));
        let places: HashMap<usize, usize> = kept.iter().enumerate().map(|(place, node)| (*node, place)).collect();
        let mut shown: Vec<Group> = kept.iter().map(|node| Group { first: *node, counts: BTreeMap::new() }).collect();
        let mut left_out = 0;
        for (node, group) in of.iter().enumerate() {
            match places.get(group) {
                Some(place) => *shown[*place].counts.entry(nodes[node].status).or_default() += 1,
                None => left_out += 1,
            }
        }
        let edges = edges.into_iter().map(|((from, to), waits)| ((places[&from], places[&to]), waits)).collect();
        Groups { is_collapsed: depth < above.deepest(), shown, edges, left_out }
    }

    /// What a reader must know of the picture.
    fn note(&self) -> String {
        let collapsed = self.is_collapsed.then(|| "Tasks are counted in the box of their parent.".to_owned());
        let tasks = if self.left_out == 1 { "task is" } else { "tasks are" };
        let left_out = (self.left_out > 0).then(|| format!("{} {tasks} not shown.", self.left_out));
        let empty = self.shown.is_empty().then(|| "There are no unfinished tasks.".to_owned());
        [collapsed, left_out, empty].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// The boxes that are shown, in the order of their tasks: those with lines first where there are too many.
fn kept(of: &[usize], edges: &BTreeMap<(usize, usize), bool>) -> BTreeSet<usize> {
    let all: BTreeSet<usize> = of.iter().copied().collect();
    if all.len() <= MAX_BOXES {
        return all;
    }
    let joined: HashSet<usize> = edges.keys().flat_map(|(from, to)| [*from, *to]).collect();
    let (first, last): (Vec<usize>, Vec<usize>) = all.into_iter().partition(|node| joined.contains(node));
    first.into_iter().chain(last).take(MAX_BOXES).collect()
}

/// The parents of nodes, without those that would close a cycle, as a merge may leave one.
struct Above {
    parents: Vec<Option<usize>>,
    depths: Vec<usize>,
}

impl Above {
    fn new(parents: impl Iterator<Item = Option<usize>>) -> Self {
        let mut parents: Vec<Option<usize>> = parents.collect();
        let mut depths: Vec<Option<usize>> = vec![None; parents.len()];
        for start in 0..parents.len() {
            let (mut path, mut on_path, mut at) = (Vec::new(), HashSet::new(), Some(start));
            while let Some(node) = at.filter(|node| depths[*node].is_none()) {
                if !on_path.insert(node) {
                    // The last node of the path leads back into it.
                    path.last().into_iter().for_each(|last: &usize| parents[*last] = None);
                    break;
                }
                path.push(node);
                at = parents[node];
            }
            for node in path.into_iter().rev() {
                depths[node] = Some(parents[node].and_then(|parent| depths[parent]).map_or(0, |depth| depth + 1));
            }
        }
        Above { parents, depths: depths.into_iter().map(Option::unwrap_or_default).collect() }
    }

    fn deepest(&self) -> usize {
        self.depths.iter().max().copied().unwrap_or(0)
    }

    /// The greatest depth down to which at most so many nodes stand; the top where there are more.
    fn depth_for(&self, most: usize) -> usize {
        let mut counts = vec![0; self.deepest() + 1];
        self.depths.iter().for_each(|depth| counts[*depth] += 1);
        let sums = counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        sums.take_while(|sum| *sum <= most).count().saturating_sub(1)
    }

    /// The node at most so deep that a node belongs to.
    fn at_depth(&self, mut node: usize, depth: usize) -> usize {
        while self.depths[node] > depth
            && let Some(parent) = self.parents[node]
        {
            node = parent;
        }
        node
    }
}
