//! A page of sections that fit into so many lines and bytes.
//!
//! Guarantees that lines about one thing stay together, and that what does not fit is counted.
//! Leaves to others: what the sections say, and how they are printed.

/// Lines about one task or file, which stay together.
#[derive(Clone, Default)]
pub struct Block {
    /// Its lines.
    pub lines: Vec<String>,
    /// How many changes its lines show.
    pub listed: usize,
    /// How many more there are.
    pub more: usize,
}

impl Block {
    /// One line about one change.
    pub fn line(text: String) -> Self {
        Block { lines: vec![text], listed: 1, more: 0 }
    }
}

/// A section: what it is called, and its blocks.
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// The noun of the line that counts what is left out.
    pub word: &'static str,
    /// All its blocks.
    pub blocks: Vec<Block>,
    /// How many of them there is room for.
    pub shown: usize,
    /// Its lines are folded away where there are many.
    pub folds: bool,
}

impl Section {
    /// A section of which nothing is shown yet.
    pub fn new(title: &'static str, word: &'static str, blocks: Vec<Block>) -> Self {
        Section { title, word, blocks, shown: 0, folds: false }
    }

    /// How many changes it has.
    pub fn total(&self) -> usize {
        self.blocks.iter().map(|block| block.listed + block.more).sum()
    }

    /// How many of its changes are not shown.
    pub fn left_out(&self) -> usize {
        self.total() - self.blocks[..self.shown].iter().map(|block| block.listed).sum::<usize>()
    }

    /// How many lines are shown.
    pub fn lines(&self) -> usize {
        self.blocks[..self.shown].iter().map(|block| block.lines.len()).sum()
    }
}

/// What there is room for still.
pub struct Room {
    /// Lines.
    pub lines: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Room {
    /// Takes so much of it, and says whether there was as much.
    pub fn take(&mut self, lines: usize, bytes: usize) -> bool {
        let fits = lines <= self.lines && bytes <= self.bytes;
        if fits {
            self.lines -= lines;
            self.bytes -= bytes;
        }
        fits
    }
}

/// Fills a section with what there is room for, in order.
pub fn fill(section: &mut Section, room: &mut Room) {
    // Title and the blank line before it; where it folds, its end too.
    let (frame, frame_bytes) = if section.folds { (5, 60) } else { (2, 30) };
    for block in &section.blocks {
        let (first, first_bytes) = if section.shown == 0 { (frame, frame_bytes) } else { (0, 0) };
        let bytes: usize = block.lines.iter().map(|line| line.len() + 1).sum();
        if !room.take(first + block.lines.len(), first_bytes + bytes) {
            // What comes after matters less, and does not take its place.
            (room.lines, room.bytes) = (0, 0);
            return;
        }
        section.shown += 1;
    }
}
