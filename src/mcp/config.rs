//! The entry that a client needs in its configuration to start this server.

use serde_json::json;

/// The clients whose form is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    /// `.mcp.json`
    Claude,
    /// `config.toml`
    Codex,
    /// `.cursor/mcp.json`
    Cursor,
    /// `.vscode/mcp.json`
    Vscode,
}

/// The entry, for an agent where one is named.
pub fn entry(client: Client, agent: Option<&str>) -> String {
    let mut arguments = vec!["mcp"];
    arguments.extend(agent.into_iter().flat_map(|agent| ["--agent", agent]));
    let server = json!({ "command": "agentpm", "args": arguments });
    let document = match client {
        Client::Claude | Client::Cursor => json!({ "mcpServers": { "agentpm": server } }),
        Client::Vscode => {
            json!({ "servers": { "agentpm": { "type": "stdio", "command": "agentpm", "args": arguments } } })
        }
        // JSON strings and arrays of strings are TOML too.
        Client::Codex => {
            return format!("[mcp_servers.agentpm]\ncommand = \"agentpm\"\nargs = {}\n", json!(arguments));
        }
    };
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}
