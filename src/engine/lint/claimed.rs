//! Staged files outside the store that another agent's task in progress claims.

use super::staged::Staging;
use crate::engine::context::Workspace;
use crate::engine::context::open::Options;
use crate::engine::repair::look_after_git;
use crate::engine::view::claimed_files::{self, claims_on};
use crate::error::Result;
use crate::model::finding::{Finding, Rule};

/// The findings about staged files. A hook writes nothing, so the live leases count and the index of the plan is left alone.
///
/// Errors: `ERR_GIT` if git's index cannot be read.
pub(crate) fn find(staging: &Staging<'_>, options: &Options) -> Result<Vec<Finding>> {
    let store = format!("{}/", staging.place.name);
    let mut changes = staging.objects.all_staged(&staging.index, staging.tree)?;
    changes.retain(|change| !change.path.starts_with(&store));
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    // Other checks report a store that cannot be opened.
    let opened = Workspace::opened_with(staging.env.fork(), options.clone(), look_after_git).ok();
    let Some(ws) = opened.filter(|ws| ws.store.name == staging.place.name) else { return Ok(Vec::new()) };
    let claims = claimed_files::of_others_by_leases(&ws).unwrap_or_default();
    let claimed = changes.iter().flat_map(|change| claims_on(&claims, &change.path, false));
    Ok(claimed
        .map(|one| Finding {
            task: Some(one.claim.task),
            ..Finding::new(Rule::FilesClaimed, one.claim.words()).at(&one.path, None)
        })
        .collect())
}
