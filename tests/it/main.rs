//! The one test binary: stories told with real processes, real git and real files.
#![allow(clippy::disallowed_methods, reason = "tests set the stage by hand")]

mod sandbox;

mod agents_door;
mod attacks;
mod branches;
mod by_hand;
mod claims;
mod contract;
mod crash;
mod fleet;
mod formats;
mod fuzzed;
mod guard;
mod hand_days;
mod hand_edits;
mod history;
mod hostile;
mod laws;
mod lint_forms;
mod lint_rules;
mod loop_of_an_agent;
mod lost;
mod merging;
mod new_files;
mod offline;
mod permitted;
mod places;
mod plain_git;
mod readme;
mod recipes;
mod recover;
mod replicas;
mod review;
mod roles;
mod schemas;
mod sessions;
mod skew;
mod staged;
mod stopped;
mod sync;
mod sync_crash;
mod tidy;
mod told;
mod untouched;
mod work;
