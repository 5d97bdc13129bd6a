//! Adds what is a message and no change of a task: any agent may write one, also where another holds the task.
//!
//! Leaves to others: what is written.

use crate::error::Result;
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::rules::lease::{self, Standing};
use crate::rules::stage::{Draft, Stage};

/// Emits a note: under the actor's lease if there is one, and despite another agent's, unless the actor has not yet learned
/// that its lease was lost.
pub fn note(stage: &mut dyn Stage, task: Id, payload: Payload, why: Option<String>) -> Result<Id> {
    stage.task(task)?;
    let record = stage.lease(task)?;
    let me = stage.me().clone();
    let fence = match lease::standing(&record, &me, stage.now()) {
        Standing::Mine(lease) | Standing::MineExpired(lease) => Some(lease.fence),
        Standing::Others(holder) if lease::is_lost(&record, &me) => {
            stage.warn(format!(
                "your lease of this task expired and {} took the task over; this note is recorded",
                holder.agent
            ));
            None
        }
        Standing::Others(_) | Standing::OthersExpired(_) | Standing::Free => None,
    };
    stage.emit(Draft { entity: Entity::Task(task), payload, why, fence })
}
