//! Hand edits: what a person changed in the files of tasks with an editor, or committed so.
//!
//! A readable file is the rendering of its log. One that differs is compared with the versions it comes from ([`lineage`]); what
//! none of them says is an edit, which the one write path records under the rules of a command ([`record`]), or which stays in
//! its file with the reason. Lint asks first what recording would refuse ([`dry_run`]).
//! Leaves to `rules::decide::edit` which events an edit becomes.

pub(crate) mod before_write;
pub(crate) mod dry_run;
pub(crate) mod judge;
pub(crate) mod lineage;
pub(crate) mod new_files;
pub(crate) mod preview;
pub(crate) mod record;
pub(crate) mod recorded;
pub(crate) mod removed_files;
