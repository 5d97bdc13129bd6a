//! Hand edits: changes that a person made to a `task.yaml`, committed or not.
//!
//! A `task.yaml` is rendered from its log. A file that differs is compared with its earlier versions ([`lineage`]). A value that
//! none of them explains is an edit. The write path records it under the rules of commands ([`record`]), or it stays in its file
//! with a reason. Lint previews refusals ([`dry_run`]).
//! Leaves to others: which events an edit becomes (`rules::decide::edit`).

pub(crate) mod before_write;
pub(crate) mod dry_run;
pub(crate) mod judge;
pub(crate) mod lineage;
pub(crate) mod new_files;
pub(crate) mod preview;
pub(crate) mod record;
pub(crate) mod recorded;
pub(crate) mod removed_files;
