//! A layered layout of a graph.
//!
//! Guarantees that no two boxes overlap, that every line leads downwards, and that the same graph gives the same layout.
//! Leaves to others: what stands in the boxes.

/// The size of a box.
pub const WIDTH: usize = 240;
/// The size of a box.
pub const HEIGHT: usize = 46;
/// Between the boxes of a row.
const GAP_X: usize = 20;
/// Between two layers: room for the lines.
const GAP_LAYER: usize = 54;
/// Between two rows of one layer, which no line connects.
const GAP_ROW: usize = 16;
/// Around all of it.
const MARGIN: usize = 10;
/// How often the layers are sorted, once downwards and once upwards each.
const PASSES: usize = 4;
/// The fewest boxes of a row before a layer is broken into several.
const MIN_COLUMNS: usize = 4;

/// Where the boxes and lines of a graph are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The upper left corner of each node's box.
    pub boxes: Vec<(usize, usize)>,
    /// The lines, in the order of the edges.
    pub lines: Vec<Line>,
    /// The width of all of it.
    pub width: usize,
    /// The height of all of it.
    pub height: usize,
}

/// A line from the box above to the box below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The edge, by its place in the list.
    pub edge: usize,
    /// The node above.
    pub upper: usize,
    /// The node below.
    pub lower: usize,
    /// Whether the edge leads upwards, because it would close a cycle.
    pub reversed: bool,
}

/// Lays out nodes that are known by their numbers. An edge leads from a node to one that should stand below it; those from a
/// node to itself have no line.
pub fn layout(nodes: usize, edges: &[(usize, usize)]) -> Layout {
    let lines = downwards(nodes, edges);
    let mut graph = Graph { above: vec![Vec::new(); nodes], below: vec![Vec::new(); nodes] };
    for line in &lines {
        graph.below[line.upper].push(line.lower);
        graph.above[line.lower].push(line.upper);
    }
    let (mut layers, alone) = graph.layers();
    graph.sort(&mut layers);
    let columns = ((nodes as f64 * 0.6).sqrt().ceil() as usize).max(MIN_COLUMNS);
    let mut rows: Vec<(Vec<usize>, usize)> = Vec::new();
    for layer in &layers {
        rows.extend(broken(layer, layer.len().div_ceil(columns)));
        rows.last_mut().expect("a layer has a row").1 = GAP_LAYER;
    }
    // Nodes without lines come last, in their order.
    rows.extend(alone.chunks(columns).map(|row| (row.to_vec(), GAP_ROW)));
    place(nodes, &rows, lines)
}

/// Whether the search for cycles has come to a node.
#[derive(Clone, Copy, PartialEq)]
enum Visit {
    No,
    OnPath,
    Over,
}

/// The lines of a graph: edges that would close a cycle are turned around.
fn downwards(nodes: usize, edges: &[(usize, usize)]) -> Vec<Line> {
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    for (n, (from, _)) in edges.iter().enumerate().filter(|(_, (from, to))| from != to) {
        leaving[*from].push(n);
    }
    let mut visits = vec![Visit::No; nodes];
    let mut reversed = vec![false; edges.len()];
    for start in 0..nodes {
        let mut path = vec![(start, 0)];
        if visits[start] != Visit::No {
            continue;
        }
        while let Some((node, next)) = path.last_mut() {
            visits[*node] = Visit::OnPath;
            let Some(edge) = leaving[*node].get(*next).copied() else {
                visits[*node] = Visit::Over;
                path.pop();
                continue;
            };
            *next += 1;
            let to = edges[edge].1;
            match visits[to] {
                Visit::No => path.push((to, 0)),
                Visit::OnPath => reversed[edge] = true,
                Visit::Over => {}
            }
        }
    }
    let line = |(edge, (from, to)): (usize, &(usize, usize))| match reversed[edge] {
        false => Line { edge, upper: *from, lower: *to, reversed: false },
        true => Line { edge, upper: *to, lower: *from, reversed: true },
    };
    edges.iter().enumerate().filter(|(_, (from, to))| from != to).map(line).collect()
}

/// What stands above and below each node.
struct Graph {
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
}

impl Graph {
    /// The nodes by the longest path that leads to them, and those without lines.
    fn layers(&self) -> (Vec<Vec<usize>>, Vec<usize>) {
        let nodes = self.above.len();
        let is_alone = |node: &usize| self.above[*node].is_empty() && self.below[*node].is_empty();
        let mut waits: Vec<usize> = self.above.iter().map(Vec::len).collect();
        let mut ranks = vec![0; nodes];
        let mut open: Vec<usize> = (0..nodes).filter(|node| waits[*node] == 0).collect();
        while let Some(node) = open.pop() {
            for below in &self.below[node] {
                ranks[*below] = ranks[*below].max(ranks[node] + 1);
                waits[*below] -= 1;
                if waits[*below] == 0 {
                    open.push(*below);
                }
            }
        }
        let mut layers = vec![Vec::new(); ranks.iter().max().map_or(0, |last| last + 1)];
        let (alone, joined): (Vec<usize>, Vec<usize>) = (0..nodes).partition(is_alone);
        joined.into_iter().for_each(|node| layers[ranks[node]].push(node));
        layers.retain(|layer| !layer.is_empty());
        (layers, alone)
    }

    /// Sorts the nodes of each layer by the middle of what they are connected with, so that fewer lines cross.
    fn sort(&self, layers: &mut [Vec<usize>]) {
        let mut at = vec![0.0; self.above.len()];
        layers.iter().for_each(|layer| spread(layer, &mut at));
        for pass in 0..PASSES {
            for n in 0..layers.len() {
                let (n, beyond) = if pass % 2 == 0 { (n, &self.above) } else { (layers.len() - 1 - n, &self.below) };
                let middle = |node: &usize| match beyond[*node].as_slice() {
                    [] => at[*node],
                    others => others.iter().map(|other| at[*other]).sum::<f64>() / others.len() as f64,
                };
                let mut keyed: Vec<(f64, usize)> = layers[n].iter().map(|node| (middle(node), *node)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                layers[n] = keyed.into_iter().map(|(_, node)| node).collect();
                spread(&layers[n], &mut at);
            }
        }
    }
}

/// Spreads the nodes of a layer from left (0) to right (1).
fn spread(layer: &[usize], at: &mut [f64]) {
    for (n, node) in layer.iter().enumerate() {
        at[*node] = (n as f64 + 0.5) / layer.len() as f64;
    }
}

/// A layer in so many rows, each with the gap below it. Neighbours stay close: they stand one below the other.
fn broken(layer: &[usize], rows: usize) -> impl Iterator<Item = (Vec<usize>, usize)> {
    (0..rows).map(move |row| (layer.iter().skip(row).step_by(rows).copied().collect(), GAP_ROW))
}

/// Puts rows below each other, each in the middle.
fn place(nodes: usize, rows: &[(Vec<usize>, usize)], lines: Vec<Line>) -> Layout {
    let across = |row: &Vec<usize>| row.len() * (WIDTH + GAP_X) - GAP_X;
    let widest = rows.iter().map(|(row, _)| across(row)).max().unwrap_or(0);
    let mut boxes = vec![(0, 0); nodes];
    let mut y = MARGIN;
    for (row, gap) in rows {
        let left = MARGIN + (widest - across(row)) / 2;
        for (n, node) in row.iter().enumerate() {
            boxes[*node] = (left + n * (WIDTH + GAP_X), y);
        }
        y += HEIGHT + gap;
    }
    let height = y - rows.last().map_or(0, |(_, gap)| *gap) + MARGIN;
    Layout { boxes, lines, width: widest + 2 * MARGIN, height }
}
