//! Who has the task, as the caller stands to it, and the commands that are open to the caller.

use super::page::line;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::Result;
use crate::model::task::{Status, Task};
use crate::reports::view::TaskView;
use crate::rules::lease::{Standing, is_lost};
use crate::rules::readiness::Reason;
use crate::store::entity::LoadedTask;

/// Who has a task, as the caller stands to it.
pub(super) struct Hold {
    /// The caller may go on with it, perhaps after a renewal.
    pub mine: bool,
    /// Who has it, in words; `None` if no agent has it.
    pub words: Option<String>,
    /// Commands for a caller that does not hold the task.
    steps: Vec<String>,
}

impl Hold {
    pub fn of(ws: &Workspace, loaded: &LoadedTask) -> Result<Self> {
        let task = &loaded.task;
        let record = read::lease_record_by_log(ws, loaded)?;
        let handle = read::handle(ws, task.id)?;
        let other_work = || vec!["take other work: agentpm next --claim".to_owned()];
        let take_over = || vec![format!("take it over: agentpm claim {handle}")];
        let hold = |mine: bool, words: String, steps: Vec<String>| Hold { mine, words: Some(words), steps };
        let standing = match &record.lease {
            Some(lease) => read::standing(ws, &record).unwrap_or(match lease.is_live(ws.env.now()) {
                true => Standing::Others(lease.clone()),
                false => Standing::OthersExpired(lease.clone()),
            }),
            None => Standing::Free,
        };
        let lost = ws.author().is_ok_and(|me| is_lost(&record, &me));
        let lost = if lost { "; your lease of it passed on" } else { "" };
        Ok(match standing {
            Standing::Mine(lease) => hold(
                true,
                format!(
                    "{} until {}; renew it with agentpm lease renew {}",
                    line(&lease.agent),
                    lease.expires_at,
                    lease.id
                ),
                Vec::new(),
            ),
            Standing::MineExpired(lease) => hold(
                true,
                format!(
                    "yours, expired at {}; no agent took it over: agentpm lease renew {}",
                    lease.expires_at, lease.id
                ),
                Vec::new(),
            ),
            Standing::Others(lease) => {
                let within = match (lease.elsewhere, lease.session) {
                    (true, _) => " in another clone".to_owned(),
                    (false, Some(session)) => format!(" in session {session}"),
                    (false, None) => String::new(),
                };
                hold(
                    false,
                    format!("{} has it{within} until {}{lost}", line(&lease.agent), lease.expires_at),
                    other_work(),
                )
            }
            Standing::OthersExpired(lease) => {
                let words = format!("{} had it, expired at {}{lost}", line(&lease.agent), lease.expires_at);
                hold(false, words, if task.status.is_finished() { Vec::new() } else { take_over() })
            }
            Standing::Free => {
                let me = ws.agent_name();
                let other = task.owner.as_ref().filter(|_| task.status == Status::InProgress);
                match other.filter(|owner| Some(*owner) != me.as_ref()) {
                    Some(owner) => hold(false, format!("none; {} works on it{lost}", line(owner)), other_work()),
                    None => Hold { mine: true, words: None, steps: Vec::new() },
                }
            }
        })
    }
}

/// The commands that the caller may run next, as a section of the page; empty where there is nothing left to do. `is_elsewhere`
/// says that another branch or worktree has a later state.
pub(super) fn next_steps(task: &Task, shown: &TaskView, hold: &Hold, is_elsewhere: bool, reasons: &[Reason]) -> String {
    let handle = &shown.handle;
    let met = if task.unmet().next().is_some() { " --all-met" } else { "" };
    match task.status {
        status if !hold.mine && !status.is_finished() => {
            let steps: String = hold.steps.iter().map(|step| format!("- {step}\n")).collect();
            format!("\n## Next steps\n\n{steps}- leave a note for its holder: agentpm note {handle} --content TEXT\n")
        }
        Status::InProgress => format!(
            "\n## Next steps\n\n- note a step: agentpm progress add {handle} --content TEXT\n- record a choice: agentpm context add {handle} --type decision --content TEXT\n- finish: agentpm done {handle}{met} --outcome TEXT; give it back: agentpm release {handle}\n"
        ),
        Status::Completed if shown.awaits_review => {
            let by = line(task.completed_by.as_deref().unwrap_or_default());
            format!(
                "\n## Next steps\n\n- it awaits review by another agent than {by}: agentpm task verify {handle} --accept, or --reject --why TEXT\n"
            )
        }
        status if status.is_finished() => String::new(),
        _ if is_elsewhere => String::new(),
        _ if !reasons.is_empty() => {
            let words: String =
                reasons.iter().map(|reason| format!("- not ready: {}\n", line(&reason.words()))).collect();
            format!("\n## Next steps\n\n{words}- claim another task: agentpm next --claim\n")
        }
        _ => format!("\n## Next steps\n\n- claim it: agentpm claim {handle}\n"),
    }
}
