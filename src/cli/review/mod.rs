//! The answer of `review` in words: what must be decided, what moved, what is new, then the rest, task by task.
//!
//! Guarantees that the answer is bounded, that what does not fit is counted, and that less important parts are left out first.
//! Text of others stands in a code span, or in a diagram as character references: it cannot mention users or render images.
//! Leaves to others: what is on the page (`engine::query::review`), and how much fits on it (`page`).

mod decide;
mod details;
mod diagram;
mod names;

use std::collections::BTreeMap;

use clap::ValueEnum as _;

use crate::cli::changes::Paper;
use crate::cli::page::{Room, Section, fill};
use crate::engine::query::review::ReviewReport;
use crate::model::id::Id;
use names::{MOST_LINES, Page};

/// Lines and bytes of an answer that asks for no other bounds: a screen.
const SCREEN: (usize, usize) = (60, 8 * 1024);
/// Most bytes ever: a comment of a hosting site holds 65 536 characters.
const COMMENT: usize = 65_000;

/// What is asked for: lines at most, or all that a comment holds.
pub fn review(report: &ReviewReport, md: bool, limit: Option<u64>, all: bool) -> String {
    let page = Page { paper: Paper { md }, report, numbers: numbers(report) };
    let lines = match limit {
        Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
        None if all => usize::MAX,
        None => SCREEN.0,
    };
    let bytes = if all || limit.is_some() { COMMENT } else { SCREEN.1 };
    page.render(lines, bytes)
}

/// Which of the items is about a task.
fn numbers(report: &ReviewReport) -> BTreeMap<Id, usize> {
    report.list.items.iter().enumerate().map(|(n, item)| (item.task, n)).collect()
}

impl Page<'_> {
    fn render(&self, lines: usize, bytes: usize) -> String {
        let md = self.paper.md;
        let mut out = self.headline();
        let failed = self.failed();
        // The last lines say what is left out and what fails; their place is kept.
        let mut room = Room {
            lines: lines.saturating_sub(3 + 2 * failed.lines().count()),
            bytes: bytes.saturating_sub(out.len() + failed.len() + 400),
        };
        let mut sections = [
            Section::new("To decide", "to decide", self.to_decide()),
            Section::new("Moves", "moves", self.moves()),
            Section::new("New tasks", "new tasks", self.new_tasks()),
            Section { folds: true, ..Section::new("Details", "details", [self.messages(), self.details()].concat()) },
        ];
        for section in &mut sections[..3] {
            fill(section, &mut room);
        }
        let (diagram, left_out_edges) =
            if md { self.diagram_with_limit(&sections[3], &mut room) } else { Default::default() };
        fill(&mut sections[3], &mut room);
        for section in &sections {
            if section.folds {
                out.push_str(&diagram);
            }
            self.print(section, &mut out);
        }
        let of_section = |section: &Section| {
            let out = section.left_out();
            (out > 0).then(|| format!("{out} of {} {}", section.total(), section.word))
        };
        let mut left: Vec<String> = sections[..3].iter().filter_map(of_section).collect();
        left.extend(left_out_edges);
        left.extend(of_section(&sections[3]));
        if !left.is_empty() {
            let range = &self.report.range;
            let all = if lines == usize::MAX { "--all --json" } else { "--all" };
            let all = self.paper.quote(&format!("agentpm review {range} {all}"));
            out.push_str(&format!("\nLeft out: {}. All of it: {all}\n", left.join(", ")));
        }
        out.push_str(&failed);
        out
    }

    fn headline(&self) -> String {
        let summary = &self.report.summary;
        let counts = [
            (summary.created, "created", "created"),
            (summary.completed, "completed", "completed"),
            (summary.awaiting_review, "awaiting review", "awaiting review"),
            (summary.moved, "moved", "moved"),
            (summary.forced, "forced", "forced"),
            (summary.overrides, "override", "overrides"),
            (summary.lost, "lost", "lost"),
            (summary.findings, "finding", "findings"),
        ];
        let counted = counts.into_iter().filter(|(n, ..)| *n > 0);
        let words = counted.map(|(n, one, many)| format!(", {n} {}", if n == 1 { one } else { many }));
        let tasks = if summary.tasks == 1 { "1 task".to_owned() } else { format!("{} tasks", summary.tasks) };
        let range = self.paper.quote(&self.report.range);
        format!("{}{range}: {tasks} changed{}\n", self.paper.head(2), words.collect::<String>())
    }

    fn failed(&self) -> String {
        let failed: Vec<String> = self
            .report
            .failed
            .iter()
            .filter_map(|condition| Some(condition.to_possible_value()?.get_name().to_owned()))
            .collect();
        if failed.is_empty() { String::new() } else { format!("\nFails on: {}\n", failed.join(", ")) }
    }

    fn print(&self, section: &Section, out: &mut String) {
        if section.shown == 0 {
            return;
        }
        let title = format!("{} ({})", section.title, section.total());
        let folds = self.paper.md && section.folds && section.lines() > MOST_LINES;
        match (self.paper.md, folds) {
            (true, true) => out.push_str(&format!("\n<details><summary>{title}</summary>\n\n")),
            (true, false) => out.push_str(&format!("\n### {title}\n")),
            (false, _) => out.push_str(&format!("\n{title}\n")),
        }
        for line in section.blocks[..section.shown].iter().flat_map(|block| &block.lines) {
            out.push_str(line);
            out.push('\n');
        }
        if folds {
            out.push_str("\n</details>\n");
        }
    }
}
