//! The board: the plan as one page, for `export` and for a server.

use super::lists::Neighbours;
use crate::engine::context::Workspace;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read;
use crate::env::parallel;
use crate::error::Result;
use crate::model::event::Entity;
use crate::model::task::Task;
use crate::model::time::Time;
use crate::reports::board::{self, Card, Take};
use crate::store::entity::read_log_with;

/// How many tasks are held at once as more than their cards.
const AT_ONCE: usize = 2_000;

/// The page of the board, which is written piece by piece.
#[derive(Debug)]
pub struct BoardPage {
    cards: Vec<Card>,
    at: Time,
    live: bool,
}

impl BoardPage {
    /// The number of tasks.
    pub fn total(&self) -> usize {
        self.cards.len()
    }

    /// Gives the page to `take`.
    ///
    /// Errors: those of `take`.
    pub fn write(self, take: Take<'_>) -> Result<()> {
        board::page(self.cards, self.at, self.live, take)
    }

    /// The whole page.
    ///
    /// Errors: none; it is written into memory.
    pub fn text(self) -> Result<String> {
        let mut text = String::new();
        self.write(&mut |piece| {
            text.push_str(piece);
            Ok(())
        })?;
        Ok(text)
    }
}

/// The board. A live one follows the events of the server that it comes from.
pub fn board(ws: &Workspace, live: bool) -> Result<BoardPage> {
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let viewer = read::viewer_with_rights(ws)?;
    let mut arounds = Neighbours::new(ws, &index, &plan, &viewer)?;
    let mut elsewhere = OtherBranches::new(ws);
    let pending = read::tasks_of(read::pending(ws)?);
    let ids = index.all_ids()?;
    let extent = board::extent(ids.len());
    let mut cards = Vec::with_capacity(ids.len());
    for some in ids.chunks(AT_ONCE) {
        arounds.look_elsewhere(some, &mut elsewhere)?;
        let tasks: Vec<Task> = some.iter().filter_map(|id| index.task(*id).transpose()).collect::<Result<_>>()?;
        let created: Vec<Task> = tasks.into_iter().filter(|task| task.created).collect();
        cards.extend(parallel::map(&created, |task| {
            let pending = pending.get(&task.id).map_or(&[][..], Vec::as_slice);
            let log = read_log_with(&ws.store, &Entity::Task(task.id), pending)?;
            Ok(Card::new(task, &arounds.of(task.id), &log.entries, extent))
        })?);
    }
    Ok(BoardPage { cards, at: ws.env.now(), live })
}
