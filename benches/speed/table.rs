//! The lines of the table, as data: what was measured, at what size, what it may cost, and what it cost.

use crate::asked::Asked;
use crate::run::Figures;

/// What a line is measured in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Ms,
    Bytes,
    Megabytes,
}

/// What it may cost.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Most {
    /// So many times the floor.
    Times(f64),
    /// So much, in the unit of the line.
    Flat(f64),
    /// Nothing was promised.
    Anything,
}

/// One measurement beside its floor.
#[derive(Clone, Debug)]
pub struct Line {
    /// By which it is asked for.
    pub name: &'static str,
    /// What was measured.
    pub what: String,
    /// The tasks in the store, where that matters.
    pub tasks: Option<usize>,
    /// The least a program could do.
    pub beside: String,
    pub most: Most,
    pub unit: Unit,
    pub ours: Figures,
    /// What the floor cost; nothing where there is none.
    pub floor: Option<Figures>,
    /// Both again, with nothing of the store in memory.
    pub cold: Option<(Figures, Figures)>,
}

impl Line {
    /// How often the floor goes into ours.
    pub fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| self.ours.median / floor.median)
    }

    /// By how much it is above what was promised, as a share of that; negative where it is below.
    pub fn over(&self) -> Option<f64> {
        match self.most {
            Most::Times(most) => self.ratio().map(|ratio| ratio / most - 1.0),
            Most::Flat(most) => Some(self.ours.median / most - 1.0),
            Most::Anything => None,
        }
    }

    /// Met, or missed by how much.
    pub fn verdict(&self) -> String {
        match self.over() {
            None => "–".into(),
            Some(over) if over <= 0.0 => "met".into(),
            Some(over) if over < 1.0 => format!("missed by {:.0} %", over * 100.0),
            Some(over) => format!("missed: {:.1} times as much", over + 1.0),
        }
    }
}

/// What a command took of the memory.
#[derive(Clone, Debug)]
pub struct Peak {
    pub command: String,
    pub megabytes: f64,
    pub ms: f64,
}

/// What many writers at once did beside one.
#[derive(Clone, Debug)]
pub struct Crowd {
    pub writers: usize,
    pub commands: usize,
    /// Commands a second.
    pub together: f64,
    pub alone: f64,
    /// Waits in milliseconds.
    pub p50: f64,
    pub p99: f64,
    pub longest: f64,
    pub alone_p50: f64,
    /// Changes that were acknowledged, each of which was found again.
    pub kept: usize,
}

/// All that was measured.
#[derive(Debug)]
pub struct Report {
    pub lines: Vec<Line>,
    pub peaks: Vec<Peak>,
    pub peaks_at: usize,
    pub crowd: Option<Crowd>,
    pub sizes: Vec<usize>,
    pub is_everything: bool,
}

impl Report {
    /// An empty one.
    pub fn new(asked: &Asked) -> Self {
        Report {
            lines: Vec::new(),
            peaks: Vec::new(),
            peaks_at: asked.largest(),
            crowd: None,
            sizes: asked.sizes.clone(),
            is_everything: asked.is_everything(),
        }
    }

    /// Brings the lines together by what they measure, in the order of the names, at each size in turn.
    pub fn sort(&mut self) {
        let names =
            ["version", "create", "note", "done", "next", "ready", "brief", "get", "log", "list", "index", "lint"];
        self.lines.sort_by_key(|line| names.iter().position(|name| *name == line.name).unwrap_or(names.len()));
    }

    /// What a command cost at a size, in milliseconds.
    pub fn cost(&self, name: &str, tasks: usize) -> Option<f64> {
        self.lines.iter().find(|line| line.name == name && line.tasks == Some(tasks)).map(|line| line.ours.median)
    }
}
