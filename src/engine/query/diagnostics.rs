//! `diagnostics export`: what helps to find a fault, without what a stranger must not read.
//!
//! Guarantees that texts, names and paths are replaced unless they are asked for, and that tokens, keys and the values of variables are
//! never part of it.

use std::time::Duration;

use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde_json::{Value, json};

use super::doctor::{self, Health};
use super::metrics;
use crate::engine::context::Workspace;
use crate::engine::feed::stream::last_events;
use crate::engine::lint::{self, LintReport};
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::git::Repo;
use crate::model::query::Diagnostics;
use crate::reports::redact::{Redactor, without_passwords};
use crate::reports::schema;
use crate::store::index::SCHEMA;
use crate::store::layout::FORMAT;

/// Events that are taken unless another number is asked for.
const LAST: usize = 200;
/// How long git may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Variables whose presence matters; their values are not shown.
const VARIABLES: &[&str] = &[
    "AGENTPM_AGENT",
    "AGENTPM_SESSION",
    "AGENTPM_STORE",
    "AGENTPM_DB",
    "AGENTPM_SOCKET",
    "AGENTPM_LOG_LEVEL",
    "AGENTPM_CORRELATION_ID",
    "AGENTPM_PLAN_ID",
    "AGENTPM_KEY",
    "AGENTPM_CLOCK",
    "AGENTPM_SEED",
];

/// What helps to find a fault, file by file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Bundle {
    /// Texts, names and paths are replaced.
    pub redacted: bool,
    /// The files of the archive.
    pub files: Vec<BundleFile>,
}

/// A file of the archive.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BundleFile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The program and the store.
#[derive(Serialize, JsonSchema)]
struct About {
    version: &'static str,
    format: u64,
    index_schema: i64,
    at: String,
    variables: Vec<&'static str>,
}

/// What git says of the repository.
#[derive(Default, Serialize, JsonSchema)]
struct GitFacts {
    version: Option<String>,
    head: Option<String>,
    branches: Option<usize>,
    worktrees: Option<usize>,
    remotes: Option<Vec<String>>,
    object_format: Option<String>,
    shallow: Option<String>,
    sparse: bool,
    shared: bool,
}

/// `diagnostics export`
pub fn diagnostics(ws: &Workspace, q: &Diagnostics) -> Result<Bundle> {
    let about = About {
        version: env!("CARGO_PKG_VERSION"),
        format: FORMAT,
        index_schema: SCHEMA,
        at: ws.env.now().to_string(),
        variables: VARIABLES.iter().copied().filter(|name| ws.env.var(name).is_some()).collect(),
    };
    let events: Vec<Value> = last_events(ws, q.last.unwrap_or(LAST))?
        .iter()
        .map(|entry| serde_json::from_str(&entry.line))
        .collect::<Result<_, _>>()
        .map_err(|e| Error::new(Code::Corrupt, format!("an event cannot be read: {e}")))?;
    let report = lint::lint(ws)?;
    let health = doctor::health(ws, &report)?;
    let checks: Vec<&str> = health.checks.iter().map(|check| check.check).collect();
    let mut show = shower(q.with_texts, &checks);
    let documents = [
        ("about.json", json!(about)),
        ("config.json", json!(ws.settings)),
        ("doctor.json", json!(health)),
        ("git.json", json!(ws.repo.as_ref().map(|repo| git_facts(repo, &ws.env)))),
        ("lint.json", json!(report)),
    ];
    let mut files: Vec<BundleFile> = documents
        .into_iter()
        .map(|(name, document)| {
            // Plain data can be written as JSON.
            let text = serde_json::to_string_pretty(&show(&document)).unwrap_or_default() + "\n";
            BundleFile { name: name.to_owned(), text }
        })
        .collect();
    let lines = events.iter().map(|event| format!("{}\n", show(event))).collect();
    files.push(BundleFile { name: "events.jsonl".into(), text: lines });
    files.push(BundleFile { name: "metrics.prom".into(), text: metrics::metrics(ws)? });
    Ok(Bundle { redacted: !q.with_texts, files })
}

/// Shows documents as they may be seen.
fn shower(with_texts: bool, checks: &[&str]) -> Box<dyn FnMut(&Value) -> Value> {
    if with_texts {
        return Box::new(without_passwords);
    }
    let schemas = [
        schema::task_file(),
        schema::config(),
        json!(schema_for!(Health)),
        json!(schema_for!(LintReport)),
        json!(schema_for!(About)),
        json!(schema_for!(GitFacts)),
    ];
    let words = checks.iter().chain(VARIABLES).map(|word| (*word).to_owned());
    let mut redactor = Redactor::new(&schemas).keeping(words);
    Box::new(move |document| redactor.redact(document))
}

/// What git does not answer is left out.
fn git_facts(repo: &Repo, env: &Env) -> GitFacts {
    let git = repo.program(env, PATIENCE).ok();
    let ask = |args: &[&str]| git.as_ref().and_then(|git| git.ask(args).ok());
    let lines = |args: &[&str]| ask(args).map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    GitFacts {
        version: ask(&["version"]).map(|text| text.trim_start_matches("git version ").to_owned()),
        head: Some(repo.head_text()),
        branches: lines(&["for-each-ref", "--format=%(refname)", "refs/heads"]).map(|all| all.len()),
        worktrees: repo.other_git_dirs().ok().map(|others| others.len() + 1),
        remotes: lines(&["remote", "--verbose"]),
        object_format: ask(&["rev-parse", "--show-object-format"]),
        shallow: ask(&["rev-parse", "--is-shallow-repository"]),
        sparse: repo.has_sparse_patterns(),
        shared: repo.shared_mode() != 0,
    }
}

impl Bundle {
    /// The files as a tar archive, compressed with gzip.
    ///
    /// Errors: `ERR_IO` if it cannot be made.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let pack = || {
            let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            let mut archive = tar::Builder::new(packed);
            for file in &self.files {
                let mut header = tar::Header::new_gnu();
                header.set_size(file.text.len() as u64);
                header.set_mode(0o600);
                let path = format!("agentpm-diagnostics/{}", file.name);
                archive.append_data(&mut header, path, file.text.as_bytes())?;
            }
            archive.into_inner()?.finish()
        };
        pack().map_err(|e: std::io::Error| Error::new(Code::Io, format!("the archive could not be made: {e}")))
    }
}
