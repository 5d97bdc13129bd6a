//! The one test binary: tests with real processes, real git and real files.
#![allow(clippy::disallowed_methods, reason = "tests set the stage by hand")]

mod machine;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(feature = "bus")]
mod nats;
#[cfg(feature = "bus")]
mod proxy;
mod sandbox;

mod after_merge;
mod agent_instructions;
mod archives_in_git;
mod archives_in_sync;
mod begins;
mod board;
mod bounds;
mod branch_permissions;
mod branches;
mod brief;
mod broadcasts;
mod broken_exports;
mod broken_parts;
#[cfg(feature = "bus")]
mod bus;
mod call_counts;
mod choosing;
mod claims;
#[cfg(all(feature = "client", feature = "server"))]
mod client;
mod clock_skew;
mod compaction;
mod completions;
mod concurrent_saves;
mod contract;
mod corpus;
mod crash;
mod daily_loop;
#[cfg(feature = "server")]
mod described;
mod driver;
mod durability;
mod edit_cases;
mod edit_hints;
mod edit_histories;
mod edits_in_git;
mod edits_of_other_tasks;
mod exports;
mod faults;
mod feed_and_stats;
mod first_words;
mod fleet;
mod folders;
mod formats;
mod fuzzed;
mod gate;
mod gate_conditions;
mod guard;
mod hand_edits;
mod history;
mod honest;
mod hostile;
mod idempotency;
mod imports;
mod inbox;
mod index_truth;
mod index_updates;
#[cfg(all(feature = "mcp", feature = "server"))]
mod interfaces;
mod landed;
mod laws;
mod lint_forms;
mod lint_preview;
mod lint_rules;
mod lint_settings;
mod long_work;
mod lost;
mod memory;
mod merging;
mod migration;
mod names;
mod new_files;
mod notices;
#[cfg(feature = "server")]
mod observing;
mod offline;
mod operations;
mod overlaps;
mod parked;
mod places;
mod plain_git;
mod plain_merges;
mod plans;
mod queries;
mod readme;
mod ready;
mod receipts;
mod recipes;
mod recover;
mod regressions;
mod removed_tasks;
mod repacking;
mod replicas;
mod repository_kinds;
mod requests;
mod required_review;
mod review;
mod review_around;
mod review_rules;
mod rights;
mod roles;
mod saga;
mod schemas;
#[cfg(feature = "server")]
mod served;
#[cfg(feature = "server")]
mod served_callers;
#[cfg(feature = "server")]
mod served_streams;
#[cfg(feature = "server")]
mod server;
mod sessions;
mod settings;
mod settings_in_sync;
mod signed;
mod staged;
#[path = "../../benches/speed/store.rs"]
mod standard_store;
mod stopped_holders;
#[cfg(all(feature = "client", feature = "server"))]
mod stress;
mod sync;
mod sync_crash;
mod sync_edits;
mod threads;
mod tidy;
mod uncommitted;
mod untrusted_text;
mod user_files;
mod work;
mod worktrees;
