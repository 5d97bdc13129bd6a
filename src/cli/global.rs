//! The options of every command.
//!
//! Leaves to others: what they mean (`run`, `output`), and the commands (`args`).

use std::path::PathBuf;

use clap::Args;

/// Options of every command. `agentpm help options` prints them; the help of a command has one line about them.
#[derive(Args, Debug, Clone, Default)]
pub struct Global {
    /// Print one JSON document, for success and for errors (default: if stdout is no terminal)
    #[arg(long, overrides_with = "json", hide = true)]
    pub json: bool,
    /// Format: json, jsonl, table or md; graph also tree, mermaid, dot or svg; lint also text, github or sarif; export also csv,
    /// markdown, beads or html; stats also prometheus
    #[arg(long, value_name = "FORMAT", hide = true)]
    pub format: Option<String>,
    /// Print only the id
    #[arg(long, short, overrides_with = "quiet", hide = true)]
    pub quiet: bool,
    /// Print all of the entity that was shown or changed: every field, all entries, whole texts
    #[arg(long, overrides_with = "full", hide = true)]
    pub full: bool,
    /// Agent that runs the command (default: AGENTPM_AGENT, the settings, or git's user.name)
    #[arg(long, value_name = "NAME", hide = true)]
    pub agent: Option<String>,
    /// Session of the command (default: AGENTPM_SESSION)
    #[arg(long, value_name = "ID", hide = true)]
    pub session: Option<String>,
    /// Store to use (default: AGENTPM_STORE, or the nearest store)
    #[arg(long, value_name = "PATH", hide = true)]
    pub store: Option<PathBuf>,
    /// Id that links the events of one request (default: AGENTPM_CORRELATION_ID)
    #[arg(long, value_name = "TEXT", hide = true)]
    pub correlation_id: Option<String>,
    /// Make a change once, however often it is repeated with this key within 30 days
    #[arg(long, value_name = "KEY", allow_hyphen_values = true, hide = true)]
    pub idempotency_key: Option<String>,
    /// Id that links the events of one plan (default: AGENTPM_PLAN_ID)
    #[arg(long, value_name = "TEXT", hide = true)]
    pub plan_id: Option<String>,
}
