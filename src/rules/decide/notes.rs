//! Adds what is a message and no change of a task: any agent may write one, also where another holds the task.
//!
//! Leaves to others: what is written.

use super::guard::renew_on_use;
use crate::error::Result;
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::rules::lease::{self, Standing};
use crate::rules::stage::{Draft, Stage};

/// Emits a note: under the actor's lease if there is one, and despite another agent's, unless the actor has not yet learned
/// that its lease was lost.
pub fn note(stage: &mut dyn Stage, task: Id, payload: Payload, why: Option<String>) -> Result<Id> {
    let is_finished = stage.task(task)?.status.is_finished();
    let record = stage.lease(task)?;
    let me = stage.me().clone();
    let fence = match lease::standing(&record, &me, stage.now()) {
        // A lease that outlived the end of its task, for example after git's reset, is ignored.
        Standing::Mine(_) | Standing::MineExpired(_) if is_finished => None,
        Standing::Mine(lease) | Standing::MineExpired(lease) => Some(renew_on_use(stage, task, lease)?.fence),
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
