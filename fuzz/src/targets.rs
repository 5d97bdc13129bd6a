//! What is done with arbitrary bytes: one function for each place where bytes of others are read. Each panics where a promise is broken.
//!
//! The fuzz targets call them, and so do ordinary tests over the corpus (`tests/it/corpus.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use agentpm::api::{self, Call};
use agentpm::engine::{self, MergeInput, Options, Workspace};
use agentpm::env::Env;
use agentpm::env::files::Dir;
use agentpm::error::Code;
use agentpm::model::event::{Entity, Entry, parse_line};
use agentpm::model::id::Id;
use agentpm::model::search;
use agentpm::model::task::Task;
use agentpm::model::time::Time;
use agentpm::model::yaml::{render_task, render_value};
use agentpm::rules::fields;
use agentpm::rules::fold::{fold, fold_agent};
use agentpm::rules::patch;
use agentpm::rules::roles::{Rights, Roles};
use agentpm::runtime::journal::{Commit, JOURNAL, Journal, look};
use agentpm::runtime::worktree::StoreKey;
use agentpm::store::edited;
use agentpm::store::log::{Log, union};
use agentpm::store::yaml;
use serde_json::{Value, json};

/// How long a server may wait for the rest of a request.
const MOMENT: Duration = Duration::from_millis(20);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most files of one random tree.
const MAX_FILES: usize = 16;
/// What separates the parts of an input: the three versions of a merge, or two logs.
const SEPARATOR: &str = "\n%%%%\n";

const CREATED: &str = r#"{"v":1,"id":"01K5R4XJ7Z0000000000000001","lamport":1,"type":"TaskCreated","entity":"task/01K5R4XJ7Z0000000000000000","agent":"ada","at":"2026-11-20T10:00:00Z","payload":{"title":"Read a line","labels":["core"],"acceptance":["it reads"],"metadata":{"a":{"b":[1,2]}}}}"#;

fn created() -> Entry {
    Entry { event: parse_line(CREATED).expect("it is an event"), line: CREATED.into() }
}

fn task() -> Task {
    fold("01K5R4XJ7Z0000000000000000".parse().expect("it is an id"), &[created()]).0
}

/// A line that is read as an event is written as one that says the same.
pub fn log_line(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(event) = parse_line(text) else { return };
    // Keys that this version does not know are not written, so that a line may only become shorter.
    let Ok(line) = event.to_line() else { return };
    let again = parse_line(&line).expect("what is written can be read");
    assert_eq!((again.id, again.stamp(), &again.entity), (event.id, event.stamp(), &event.entity));
    assert_eq!(again.payload.kind(), event.payload.kind());
    assert_eq!(again.to_line().expect("it was written before"), line);
}

/// The state of a log depends on its events alone, and its canonical form holds each line.
pub fn log(bytes: &[u8]) {
    let (one, other) = parts(bytes);
    let log = Log::of(one);
    let plain = log.canonical(&[]);
    if !log.fixed {
        let again = Log::of(&plain);
        let lines: BTreeSet<&str> = again.entries.iter().map(|entry| &*entry.line).collect();
        assert!(log.entries.iter().all(|entry| lines.contains(&*entry.line)), "a line is lost");
        assert_eq!(states(&again.entries), states(&log.entries));
        assert_eq!(again.canonical(&[]), plain, "the canonical form is canonical");
    }
    let merged = union(one, other);
    assert_eq!(states(&Log::of(&merged).entries), states(&Log::of(&union(other, one)).entries));
    let reversed: Vec<Entry> = log.entries.iter().rev().chain(&log.entries).cloned().collect();
    assert_eq!(states(&reversed), states(&log.entries));
}

/// The files that the events of a log give, by entity.
fn states(entries: &[Entry]) -> BTreeMap<String, String> {
    let state = |entry: &Entry| match &entry.event.entity {
        Entity::Task(id) => (entry.event.entity.to_string(), render_task(&fold(*id, entries).0)),
        Entity::Agent(name) => (entry.event.entity.to_string(), format!("{:?}", fold_agent(name, entries).0)),
        Entity::Session(_) => (entry.event.entity.to_string(), String::new()),
    };
    entries.iter().map(state).collect()
}

/// A record that is appended to any journal is read, and its events alone.
pub fn journal(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(JOURNAL), bytes).expect("it can be written");
    let dir = Dir::open(folder.path()).expect("it is there");
    let before = look(&dir, 0).expect("bytes are no failure of the disk").0;
    let mut journal = Journal::open(&dir, "boot").expect("it can be opened");
    // A writer first completes what an earlier one left.
    journal.unprojected().expect("it can be read");
    let store = StoreKey { worktree: Id::from_parts(1, 0), store: ".agentpm".into() };
    let (commit, key) = (Id::from_parts(1, 1), None);
    let commit = Commit {
        commit,
        n: 1,
        lamport: 1,
        up: None,
        store,
        head: String::new(),
        arrived: false,
        carrier: None,
        compact: None,
        key,
    };
    journal.append(&[created()], &commit).expect("it can be appended to");
    let after = look(&dir, 0).expect("it can be read").0;
    let events = |records: &[agentpm::runtime::journal::Record]| -> Vec<Vec<Id>> {
        records.iter().map(|record| record.entries.iter().map(|entry| entry.event.id).collect()).collect()
    };
    let mut expected = events(&before);
    expected.push(vec![created().event.id]);
    assert_eq!(events(&after), expected);
}

/// What is read by hand is written so that two unrelated readers understand it alike, and any file can be compared with a log.
pub fn task_yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = edited::sides(text);
    if let Ok(doc) = edited::parse(text) {
        let rendered = edited::parse(&render_task(&task())).expect("what is written can be read");
        for part in edited::differing_parts(&doc, &rendered) {
            assert_ne!(edited::value_of(&doc, &part), edited::value_of(&rendered, &part), "{part}");
        }
    }
    let Ok(value) = yaml::read_value(text) else { return };
    let (written, expected) = (render_value("metadata", &value), json!({ "metadata": value }));
    assert_eq!(yaml::read_value(&written).as_ref(), Ok(&expected), "{written}");
    assert_eq!(yaml_serde::from_str::<Value>(&written).expect("the second reader reads it"), expected, "{written}");
}

/// Roles that can be read never give a right that no line grants, and are written as they were read.
pub fn roles(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(roles) = yaml::read::<Roles>(text) else { return };
    let written = serde_json::to_value(&roles).expect("roles are plain data");
    assert_eq!(serde_json::from_value::<Roles>(written).expect("they are read again"), roles);
    let rights = Rights(Some(roles));
    for (agent, role) in [("ada", None), ("ada", Some("coder")), ("unregistered", None), ("ada", Some("no such role"))]
    {
        let is_admin = rights.has_perm(agent, role, "admin");
        for perm in ["create", "update", "claim", "override", "\u{0}"] {
            let may = rights.has_perm(agent, role, perm);
            assert!(may || !is_admin, "{agent}: who may do everything may {perm}");
            assert!(!may || text.contains(perm) || is_admin, "{agent}: {perm} is granted nowhere");
        }
        let _ = (rights.precedence(agent, role), rights.who_may("update"));
    }
}

/// The merge driver ends with the value of the only side that changed, and loses no line of a conflict.
pub fn merge(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut versions = text.splitn(3, SEPARATOR);
    let [base, ours, theirs] = [(); 3].map(|()| versions.next().unwrap_or_default());
    let folder = tempfile::tempdir().expect("a folder");
    let env = Env::new(BTreeMap::new(), folder.path().to_owned()).expect("an environment");
    let run = |base: &str, ours: &str, theirs: &str| {
        let path = |name: &str| folder.path().join(name);
        for (name, text) in [("base", base), ("ours", ours), ("theirs", theirs)] {
            fs::write(path(name), text).expect("it can be written");
        }
        let input = MergeInput {
            base: path("base"),
            ours: path("ours"),
            theirs: path("theirs"),
            path: None,
            labels: [None, None],
        };
        let conflict = engine::merge_driver(&env, &input).expect("texts are no failure");
        (fs::read_to_string(path("ours")).expect("it is a text"), conflict.is_some())
    };
    assert_eq!(run(base, ours, base), (ours.to_owned(), false));
    assert_eq!(run(base, base, theirs), (theirs.to_owned(), false));
    let (merged, conflict) = run(base, ours, theirs);
    let was = |line: &&str| !base.lines().any(|old| old == *line);
    for line in ours.lines().chain(theirs.lines()).filter(was) {
        // Without a conflict, one list or key may stand for both.
        assert!(!conflict || merged.lines().any(|now| now == line), "{line:?} is gone from\n{merged}");
    }
}

/// A query has a meaning or is refused with words, in bounds.
pub fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let saved = BTreeMap::from([("mine".to_owned(), "owner:me is:open sort:due".to_owned())]);
    let now = Time::from_millis(1_795_000_000_000);
    match search::read(text, &saved, now) {
        Ok(found) => assert_eq!(search::read(text, &saved, now).expect("as before"), found),
        Err(e) => assert!(e.code == Code::Validation && !e.message.is_empty(), "{e:?}"),
    }
    let _ = search::check(text);
}

/// A patch that is accepted gives values that a command would write.
pub fn json_patch(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let task = task();
    match patch::apply(&task, &value) {
        Ok(set) => {
            let mut after = task.fields.clone();
            fields::write(&mut after, &set).expect("every value fits its field");
            assert!(fields::faults(&after).is_empty(), "{set:?}");
        }
        Err(e) => assert!(matches!(e.code, Code::Validation | Code::Conflict), "{e:?}"),
    }
}

/// A repository with a plan that is committed.
pub struct Repository {
    /// The top of the work tree.
    pub top: PathBuf,
    /// The environment of git and agentpm.
    pub vars: BTreeMap<String, String>,
}

impl Repository {
    /// Runs git.
    pub fn git(&self, args: &[&str]) {
        let output = Command::new("git").args(args).current_dir(&self.top).env_clear().envs(&self.vars).output();
        let output = output.expect("git starts");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn open(&self) -> Result<Workspace, agentpm::error::Error> {
        engine::open(Env::new(self.vars.clone(), self.top.clone())?, Options::default())
    }
}

/// A branch with any files in the place of the plan's is judged, or refused with words. A line `=== path` begins a file below the store.
pub fn review(repository: &Repository, bytes: &[u8]) {
    let store = repository.top.join(".agentpm");
    let text = String::from_utf8_lossy(bytes);
    for file in text.split("=== ").filter(|file| !file.is_empty()).take(MAX_FILES) {
        let (path, content) = file.split_once('\n').unwrap_or((file, ""));
        let Some(path) = below(&store, path) else { continue };
        // A file may be in the place of a folder.
        let _ = path.parent().map(fs::create_dir_all);
        let _ = fs::write(&path, content);
    }
    repository.git(&["add", "-A", "-f", "."]);
    repository.git(&["commit", "-q", "--no-verify", "--allow-empty", "-m", "any files"]);
    let judge = || -> Result<(), agentpm::error::Error> {
        let ws = repository.open()?;
        api::call(&ws, &Call::from_json("review", json!({ "range": "HEAD~1..HEAD" }))?)?;
        engine::lint_since(&ws, "HEAD~1")?;
        engine::lint(&ws)?;
        Ok(())
    };
    if let Err(e) = judge() {
        assert!(!e.message.is_empty(), "{e:?}");
    }
    repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
    repository.git(&["clean", "-q", "-f", "-d", "-x"]);
}

/// A path below a folder, if every part of it is a plain name.
fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let parts: Vec<Component<'_>> = Path::new(path).components().collect();
    let is_plain = |part: &Component<'_>| {
        matches!(part, Component::Normal(name)
            if name.to_str().is_some_and(|name| name.len() < 200 && !name.contains('\0') && !name.eq_ignore_ascii_case(".git")))
    };
    let is_short = !parts.is_empty() && parts.len() < 10;
    (is_short && parts.iter().all(is_plain)).then(|| folder.join(path))
}

/// Any bytes get a coded answer or a closed connection, and the server goes on.
pub fn http_request(socket: &Path, bytes: &[u8]) {
    let answer = exchange(socket, bytes, &[MOMENT, PATIENCE]);
    let head = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || head.starts_with("HTTP/1.1 "), "{head}");
    assert!(!head.starts_with("HTTP/1.1 500"), "{head}");
    let alive = exchange(socket, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", &[PATIENCE]);
    assert!(alive.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&alive));
}

/// Sends bytes and reads what is answered. A server that waits for more learns after the first of these times that nothing follows;
/// it answers no request whose client closed its side before.
fn exchange(socket: &Path, bytes: &[u8], waits: &[Duration]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("the server listens");
    stream.set_write_timeout(Some(PATIENCE)).expect("a deadline");
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    for wait in waits {
        stream.set_read_timeout(Some(*wait)).expect("a deadline");
        match (&stream).take(1 << 20).read_to_end(&mut answer) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => drop(stream.shutdown(Shutdown::Write)),
            _ => return answer,
        }
    }
    panic!("no answer within {PATIENCE:?}")
}

/// Two parts of an input.
fn parts(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.windows(SEPARATOR.len()).position(|part| part == SEPARATOR.as_bytes());
    at.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + SEPARATOR.len()..]))
}
