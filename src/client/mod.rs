//! A typed, blocking client of `agentpm serve`, over its socket or over TCP.
//!
//! Guarantees that a change whose answer was lost happens once: each change has an idempotency key, and is repeated with it until
//! it is answered or the client gives up.
//! Leaves to others: HTTP beyond what this server speaks.

mod answers;
mod http;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::answers::{
    BatchAnswer, BatchStep, Brief, Claimed, Edge, EntryReceipt, Events, List, Pushed, Registered, Removed, Review,
    StepReceipt, Task, TaskReceipt, Thread, ThreadReceipt,
};
use self::http::{Exchange, Failure, Place};
use crate::env::{Env, process};
use crate::error::{Code, Error, Result};
use crate::model::agent::{Lease, Session};
use crate::model::args::{EventRef, Object, OptionalTaskRef, Ref, Refs, TaskRef, TaskTexts, Text};
use crate::model::command as c;
use crate::model::id::Id;
use crate::model::query as q;

/// How often a call is made before the client gives up.
const TRIES: u32 = 10;
/// The first pause between two tries, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of one server, acting as one agent.
pub struct Client {
    place: Place,
    env: Env,
    /// Headers of every request.
    headers: Vec<(&'static str, String)>,
    tries: u32,
}

impl Client {
    /// A client of the server at a socket.
    ///
    /// Errors: `ERR_IO` if the process has no folder to run in.
    pub fn at_socket(path: impl Into<PathBuf>) -> Result<Self> {
        Self::at(Place::Socket(path.into()))
    }

    /// A client of the server at an address on loopback, with the server's token or that of an agent.
    ///
    /// Errors: as [`Client::at_socket`]; `ERR_USAGE` for a token that no header can hold.
    pub fn at_address(address: SocketAddr, token: &str) -> Result<Self> {
        Self::at(Place::Tcp(address))?.with_token(token)
    }

    fn at(place: Place) -> Result<Self> {
        Ok(Client { place, env: Env::from_process()?, headers: Vec::new(), tries: TRIES })
    }

    /// The same client with a token.
    ///
    /// Errors: `ERR_USAGE` for a token that no header can hold.
    pub fn with_token(self, token: &str) -> Result<Self> {
        self.with_header("Authorization", format!("Bearer {token}"))
    }

    /// The same client, acting as an agent.
    ///
    /// Errors: `ERR_USAGE` for a name that no header can hold.
    pub fn as_agent(self, name: &str) -> Result<Self> {
        self.with_header("X-Agentpm-Agent", name.to_owned())
    }

    /// The same client in a session.
    ///
    /// Errors: none for an id.
    pub fn in_session(self, session: Id) -> Result<Self> {
        self.with_header("X-Agentpm-Session", session.to_string())
    }

    /// The same client, whose events are linked by these ids.
    ///
    /// Errors: `ERR_USAGE` for a text that no header can hold.
    pub fn linked_by(self, correlation_id: &str, plan_id: Option<&str>) -> Result<Self> {
        let linked = self.with_header("X-Correlation-Id", correlation_id.to_owned())?;
        match plan_id {
            Some(plan_id) => linked.with_header("X-Plan-Id", plan_id.to_owned()),
            None => Ok(linked),
        }
    }

    /// The same client, which makes at most `tries` attempts for each call.
    #[must_use]
    pub fn trying(self, tries: u32) -> Self {
        Client { tries: tries.max(1), ..self }
    }

    fn with_header(mut self, name: &'static str, value: String) -> Result<Self> {
        if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(Error::usage(format!("the header {name} holds visible ASCII characters only")));
        }
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value));
        Ok(self)
    }

    /// Carries out an operation by its name, with arguments as `agentpm schema NAME` describes them.
    ///
    /// Errors: those of the operation; `ERR_IO` if no answer came in all tries, `ERR_BUSY` and `ERR_RATE_LIMIT` if the server put off all
    /// of them. Then a change may have happened; the error names the idempotency key in its details.
    pub fn call<T: DeserializeOwned>(&self, operation: &str, args: &impl Serialize) -> Result<T> {
        let body = serde_json::to_value(args).map_err(|e| Error::usage(format!("{operation}: {e}")))?;
        self.exchange("POST", &format!("/ops/{operation}"), Some(&body), PATIENCE)
    }

    fn exchange<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        most: Duration,
    ) -> Result<T> {
        let key = self.env.new_id()?.to_string();
        let mut headers = self.headers.clone();
        headers.push(("Idempotency-Key", key.clone()));
        let exchange = Exchange { method, path, headers: &headers, body, most };
        let mut pause = FIRST_PAUSE;
        for left in (0..self.tries).rev() {
            let failure = match exchange.carry_out(&self.place) {
                Ok(answer) => match data_of(answer) {
                    Err(e) if matches!(e.code, Code::Busy | Code::RateLimit) => Failure::Refused(e),
                    data => return read(path, data?),
                },
                Err(failure) => failure,
            };
            if left == 0 {
                return Err(failure.into_error(path, &key));
            }
            // Half of the pause and up to as much again: clients that failed together do not come back together.
            let jitter = pause.mul_f64((self.env.chance()? % 1_000) as f64 / 1_000.0);
            process::pause(pause / 2 + jitter);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(Error::usage("a call is made at least once"))
    }
}

/// The data of an envelope, or the error in it.
fn data_of(mut envelope: Value) -> Result<Value> {
    if envelope["ok"] == true {
        return Ok(envelope["data"].take());
    }
    let error = &envelope["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    // An unknown code, of a newer server, is treated as an I/O error.
    let code = Code::named(&text("code")).unwrap_or(Code::Io);
    let failed = Error::new(code, text("message")).with(error["details"].clone());
    Err(match error["hint"].as_str() {
        Some(hint) => failed.hint(hint),
        None => failed,
    })
}

fn read<T: DeserializeOwned>(path: &str, data: Value) -> Result<T> {
    serde_json::from_value(data).map_err(|e| Error::new(Code::Io, format!("{path}: the answer is not understood: {e}")))
}

/// The calls, one for each operation that a program of an agent needs.
impl Client {
    /// Registers an agent; the answer has its token, where it had none before. The token of an answer that was lost is not shown again;
    /// the operation `agent.token` issues another one.
    ///
    /// Errors: as [`Client::call`].
    pub fn register_agent(&self, agent: &c::AgentRegister) -> Result<Registered> {
        let body = serde_json::to_value(agent).map_err(|e| Error::usage(e.to_string()))?;
        self.exchange("POST", "/agents/register", Some(&body), PATIENCE)
    }

    /// Starts a session of the agent.
    ///
    /// Errors: as [`Client::call`].
    pub fn start_session(&self) -> Result<Session> {
        self.call("session.start", &json!({}))
    }

    /// Records that a session is alive.
    ///
    /// Errors: as [`Client::call`].
    pub fn heartbeat(&self, session: Id) -> Result<Session> {
        self.call("session.heartbeat", &json!({ "session_id": session }))
    }

    /// Ends a session.
    ///
    /// Errors: as [`Client::call`].
    pub fn end_session(&self, session: Id) -> Result<Session> {
        self.call("session.end", &json!({ "session_id": session }))
    }

    /// Creates a task.
    ///
    /// Errors: as [`Client::call`].
    pub fn create_task(&self, task: &c::TaskCreate) -> Result<TaskReceipt> {
        self.call("task.create", task)
    }

    /// Changes fields of a task.
    ///
    /// Errors: as [`Client::call`].
    pub fn update_task(&self, change: &c::TaskUpdate) -> Result<TaskReceipt> {
        self.call("task.update", change)
    }

    /// Moves a task to another status.
    ///
    /// Errors: as [`Client::call`].
    pub fn transition_task(&self, change: &c::TaskTransition) -> Result<TaskReceipt> {
        self.call("task.transition", change)
    }

    /// Relates a task to another one.
    ///
    /// Errors: as [`Client::call`].
    pub fn add_relationship(&self, edge: &c::TaskRelate) -> Result<Edge> {
        self.call("task.relate", edge)
    }

    /// Removes a relationship, by its id.
    ///
    /// Errors: as [`Client::call`].
    pub fn remove_relationship(&self, edge: Id) -> Result<Removed> {
        let unrelate = c::TaskUnrelate { relationship: Ref(edge.to_string()), ..c::TaskUnrelate::default() };
        self.call("task.unrelate", &unrelate)
    }

    /// Adds a context entry to a task.
    ///
    /// Errors: as [`Client::call`].
    pub fn add_context(&self, entry: &c::ContextAdd) -> Result<EntryReceipt> {
        self.call("context.add", entry)
    }

    /// Adds a progress item to a task.
    ///
    /// Errors: as [`Client::call`]; `ERR_USAGE` for several texts, which a batch adds.
    pub fn add_progress(&self, item: &c::ProgressAdd) -> Result<StepReceipt> {
        if item.what.content.len() > 1 {
            return Err(Error::usage("one call adds one step").hint("add several in a batch"));
        }
        self.call("progress.add", item)
    }

    /// Completes a progress item.
    ///
    /// Errors: as [`Client::call`].
    pub fn complete_progress(&self, item: Id) -> Result<StepReceipt> {
        let complete = c::ProgressComplete { id: Refs(vec![Ref(item.to_string())]), ..c::ProgressComplete::default() };
        self.call("progress.complete", &complete)
    }

    /// Lists tasks.
    ///
    /// Errors: as [`Client::call`].
    pub fn list_tasks(&self, wanted: &q::TaskList) -> Result<List<Task>> {
        self.call("task.list", wanted)
    }

    /// Shows a task whole.
    ///
    /// Errors: as [`Client::call`].
    pub fn get_task(&self, task: &str) -> Result<Task> {
        self.call(
            "task.get",
            &q::TaskGet { id: OptionalTaskRef(Some(task.to_owned())), full: true, ..q::TaskGet::default() },
        )
    }

    /// Acquires the lease of a task.
    ///
    /// Errors: as [`Client::call`].
    pub fn acquire_lease(&self, lease: &c::LeaseAcquire) -> Result<Lease> {
        self.call("lease.acquire", lease)
    }

    /// Renews a lease, by its id or its task.
    ///
    /// Errors: as [`Client::call`].
    pub fn renew_lease(&self, lease: &str) -> Result<Lease> {
        let renew = c::LeaseRenew { id: OptionalTaskRef(Some(lease.to_owned())), ttl: None };
        self.call("lease.renew", &renew)
    }

    /// Releases a lease, by its id or its task.
    ///
    /// Errors: as [`Client::call`].
    pub fn release_lease(&self, lease: &str) -> Result<Removed> {
        self.call("lease.release", &c::LeaseRelease { id: TaskRef(lease.to_owned()) })
    }

    /// Makes several changes, all of them or none.
    ///
    /// Errors: as [`Client::call`].
    pub fn batch(&self, batch: &c::Batch) -> Result<BatchAnswer> {
        self.call("batch", batch)
    }

    /// The events that arrived after one of them; from the first on where none is named.
    ///
    /// Errors: as [`Client::call`].
    pub fn pull_events(&self, since: Option<Id>, limit: Option<usize>) -> Result<Events> {
        self.call("sync.pull", &json!({ "since_event_id": since, "limit": limit }))
    }

    /// Records events of another replica.
    ///
    /// Errors: as [`Client::call`].
    pub fn push_events(&self, events: &[Value]) -> Result<Pushed> {
        self.call("sync.push", &json!({ "events": json!(events).to_string() }))
    }

    /// Claims the best ready task, or the one that is named; `None` where none is ready. Where reviews are required, it may be a completed
    /// task to review.
    ///
    /// Errors: as [`Client::call`].
    pub fn next(&self, claim: &c::Claim) -> Result<Option<Claimed>> {
        self.call("claim", claim)
    }

    /// As [`Client::next`] for any task; waits up to `most` until one is ready.
    ///
    /// Errors: as [`Client::call`].
    pub fn wait_for_next(&self, most: Duration) -> Result<Option<Claimed>> {
        let body = json!({ "wait": format!("{}s", most.as_secs()), "claim": true });
        self.exchange("POST", "/ops/next.wait", Some(&body), most + PATIENCE)
    }

    /// Completes a task.
    ///
    /// Errors: as [`Client::call`].
    pub fn complete_task(&self, done: &c::Done) -> Result<TaskReceipt> {
        self.call("done", done)
    }

    /// Releases a task: it becomes open, without an owner.
    ///
    /// Errors: as [`Client::call`].
    pub fn release_task(&self, task: &str) -> Result<TaskReceipt> {
        let release = c::Release { id: OptionalTaskRef(Some(task.to_owned())), ..c::Release::default() };
        self.call("release", &release)
    }

    /// What an agent needs to know to do a task.
    ///
    /// Errors: as [`Client::call`].
    pub fn brief(&self, task: &str) -> Result<Brief> {
        self.call("brief", &json!({ "task_id": task }))
    }

    /// What the agent has not read yet.
    ///
    /// Errors: as [`Client::call`].
    pub fn inbox(&self) -> Result<List<Value>> {
        self.exchange("GET", "/inbox", None, PATIENCE)
    }

    /// Marks the inbox as read up to a cursor.
    ///
    /// Errors: as [`Client::inbox`].
    pub fn acknowledge_inbox(&self, cursor: &str) -> Result<Value> {
        self.exchange("POST", "/inbox/ack", Some(&json!({ "cursor": cursor })), PATIENCE)
    }

    /// Lists threads.
    ///
    /// Errors: as [`Client::call`].
    pub fn threads(&self, wanted: &q::ThreadList) -> Result<List<Thread>> {
        self.call("thread.list", wanted)
    }

    /// Opens a thread about a task.
    ///
    /// Errors: as [`Client::call`].
    pub fn open_thread(&self, thread: &c::ThreadOpen) -> Result<ThreadReceipt> {
        self.call("thread.open", thread)
    }

    /// Replies in a thread.
    ///
    /// Errors: as [`Client::call`].
    pub fn reply(&self, reply: &c::ThreadReply) -> Result<ThreadReceipt> {
        self.call("thread.reply", reply)
    }

    /// Resolves a thread.
    ///
    /// Errors: as [`Client::call`].
    pub fn resolve_thread(&self, resolve: &c::ThreadResolve) -> Result<ThreadReceipt> {
        self.call("thread.resolve", resolve)
    }

    /// Undoes an event.
    ///
    /// Errors: as [`Client::call`].
    pub fn undo(&self, event: Id) -> Result<TaskReceipt> {
        let undo = c::Undo { event: EventRef(event.to_string()), ..c::Undo::default() };
        self.call("undo", &undo)
    }
}

/// A context entry of a task.
pub fn entry(task: &str, content: &str, kind: crate::model::context::ContextType) -> c::ContextAdd {
    c::ContextAdd { what: texts(task, content), kind, metadata: None::<Object> }
}

/// A progress item of a task.
pub fn step(task: &str, content: &str) -> c::ProgressAdd {
    c::ProgressAdd { what: texts(task, content), ..c::ProgressAdd::default() }
}

fn texts(task: &str, content: &str) -> TaskTexts {
    TaskTexts::new(task, vec![Text::from(content)])
}
