//! The tables and the picture of docs/peers.md.

use std::fmt::Write as _;

use crate::docs;
use crate::picture::{self, Panel, grouped};
use crate::run::Figures;
use crate::together::{BOTH, Merge, NEW, WRITERS, Writers};
use crate::tracker::Kind;
use crate::{LIMIT, OPS};

/// One operation of one tracker at one size.
#[derive(Debug)]
pub struct Cell {
    pub op: &'static str,
    pub tasks: usize,
    pub kind: Kind,
    /// Of each round that ended well.
    pub ms: Vec<f64>,
    pub failed: usize,
    /// A round was ended at the limit.
    pub is_over: bool,
}

impl Cell {
    pub fn new(op: &'static str, tasks: usize, kind: Kind) -> Self {
        Cell { op, tasks, kind, ms: Vec::new(), failed: 0, is_over: false }
    }

    fn median(&self) -> Option<f64> {
        (!self.is_over && !self.ms.is_empty()).then(|| Figures::of(self.ms.clone()).median)
    }

    fn show(&self) -> String {
        let cost = match self.median() {
            None if self.is_over => format!("over {} s", LIMIT.as_secs()),
            None => "–".into(),
            Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
            Some(ms) if ms < 10_000.0 => format!("{ms:.0} ms"),
            Some(ms) => format!("{:.0} s", ms / 1_000.0),
        };
        if self.failed == 0 { cost } else { format!("{cost}, {} failed", self.failed) }
    }
}

/// All that was measured.
#[derive(Debug)]
pub struct Report {
    pub sizes: Vec<usize>,
    pub kinds: Vec<(Kind, String)>,
    pub missing: Vec<Kind>,
    pub cells: Vec<Cell>,
    pub writers: Vec<Writers>,
    pub merges: Vec<Merge>,
}

impl Report {
    pub fn new(sizes: &[usize]) -> Self {
        let (kinds, missing, cells, writers, merges) = Default::default();
        Report { sizes: sizes.to_vec(), kinds, missing, cells, writers, merges }
    }

    fn cell(&self, op: &str, tasks: usize, kind: Kind) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.op == op && cell.tasks == tasks && cell.kind == kind)
    }
}

/// Everything, as the tables of the page.
pub fn render(report: &Report) -> String {
    let mut out = docs::machine();
    for kind in &report.missing {
        let _ = writeln!(out, "{} was not installed.", kind.name());
    }
    out += "\n| | tasks |";
    for (kind, version) in &report.kinds {
        let _ = write!(out, " {} ({version}) |", kind.name());
    }
    let _ = writeln!(out, "\n|---|---:|{}", "---:|".repeat(report.kinds.len()));
    for op in OPS {
        for tasks in &report.sizes {
            let cells: Vec<_> = report.kinds.iter().filter_map(|(kind, _)| report.cell(op, *tasks, *kind)).collect();
            if !cells.is_empty() {
                let costs: Vec<String> = cells.iter().map(|cell| cell.show()).collect();
                let _ = writeln!(out, "| {op} | {} | {} |", grouped(*tasks), costs.join(" | "));
            }
        }
    }
    if !report.writers.is_empty() {
        out += &render_writers(report);
    }
    if !report.merges.is_empty() {
        out += &render_merges(report);
    }
    out
}

fn render_writers(report: &Report) -> String {
    let mut out = format!(
        "\n## Writers at once\n\n{WRITERS} writers in one work tree of {} tasks. Each creates a task and adds a label to one of four shared tasks, in turn, one\n\
         command after the other.\n\n\
         | | changes | refused | found afterwards | lost | changes a second |\n|---|---:|---:|---:|---:|---:|\n",
        grouped(report.sizes[0])
    );
    for writers in &report.writers {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {:.1} |",
            writers.kind.name(),
            writers.changes,
            writers.refused,
            writers.found,
            writers.lost(),
            writers.changes as f64 / writers.took.as_secs_f64()
        );
    }
    out
}

fn render_merges(report: &Report) -> String {
    let mut out = format!(
        "\n## Two branches\n\nTwo branches of a plan of {} tasks change the same {BOTH} tasks and create {NEW} tasks each: both add a label to {} of them; of the\n\
         other {}, one branch changes the title and the other adds a label. No two changes contradict each other. Then `git merge`.\n\n\
         | | changes | files in conflict | found afterwards | listed as lost | took |\n|---|---:|---:|---:|---:|---:|\n",
        grouped(report.sizes[0]),
        BOTH / 2,
        BOTH - BOTH / 2
    );
    for merge in &report.merges {
        let (found, listed) = merge.found.map_or(("–".into(), "–".into()), |(n, m)| (n.to_string(), m.to_string()));
        let (name, files) = (merge.kind.name(), merge.files);
        let _ = writeln!(out, "| {name} | {} | {files} | {found} | {listed} | {:.0} ms |", merge.changes, merge.took);
    }
    out
}

/// That everything can be shown, and that agentpm kept all changes.
pub fn check(report: &Report, is_everything: bool) {
    let page = render(report);
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    if is_everything {
        let trackers = report.kinds.len();
        assert_eq!(report.cells.len(), OPS.len() * report.sizes.len() * trackers);
        assert_eq!((report.writers.len(), report.merges.len()), (trackers, trackers));
        assert!(draw(report).is_some(), "nothing is drawn");
        let (writers, merge) = (&report.writers[0], &report.merges[0]);
        assert_eq!((writers.kind, writers.refused, writers.lost()), (Kind::Agentpm, 0, 0), "{writers:?}");
        assert!(merge.found.is_some_and(|(found, listed)| found + listed == merge.changes), "{merge:?}");
    }
}

/// Into docs/peers.md between its markers, and the picture next to it.
pub fn write(report: &Report) {
    docs::write_section("peers.md", "peers", &render(report));
    docs::write("peers.svg", &draw(report).expect("two sizes were measured"));
}

/// A panel for each operation, with a line for each tracker.
fn draw(report: &Report) -> Option<String> {
    let names: Vec<&str> = report.kinds.iter().map(|(kind, _)| kind.name()).collect();
    let costs: Vec<_> = OPS
        .iter()
        .map(|op| {
            move |name: &str, tasks: usize| {
                let (kind, _) = report.kinds.iter().find(|(kind, _)| kind.name() == name)?;
                report.cell(op, tasks, *kind)?.median()
            }
        })
        .collect();
    let panels: Vec<Panel> =
        OPS.iter().zip(&costs).map(|(op, cost)| Panel { title: op, names: &names, cost }).collect();
    picture::draw("milliseconds of six operations in each tracker by tasks in the plan", &report.sizes, &panels)
}
