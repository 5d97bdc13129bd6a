//! The plan in the formats of `export`: a piece of the document for each task.
//!
//! Guarantees that no text of a task acts in the document: it cannot end its field, and a spreadsheet, a Markdown reader or a
//! terminal shows it as text.
//! Leaves to others: reading the tasks, their order, and what stands around the pieces.

pub mod beads;
pub mod csv;
pub mod markdown;
pub mod ours;
