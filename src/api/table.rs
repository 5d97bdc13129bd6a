//! The operations, one row each.
//!
//! Leaves to others: the arguments, which stand with the commands, queries and jobs of `model`.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::engine::commit::plan::PlanReport;
use crate::engine::commit::saga::SagaReport;
use crate::engine::commit::tokens::IssuedToken;
use crate::engine::feed::stream::Pushed;
use crate::engine::import::ImportReport;
use crate::engine::query::TaskFile;
use crate::engine::query::brief::BriefPage;
use crate::engine::query::check::FileCheck;
use crate::engine::query::diagnostics::Bundle;
use crate::engine::query::diff::PlanDiff;
use crate::engine::query::doctor::{Health, Stats};
use crate::engine::query::history::BlameList;
use crate::engine::query::leases::LeaseView;
use crate::engine::query::lists::{AgentView, ReadyList};
use crate::engine::query::liveness::{SessionView, StaleTask};
use crate::engine::query::plan_page::PlanPage;
use crate::engine::query::review::ReviewReport;
use crate::engine::query::status::Overview;
use crate::engine::query::unreachable_events::LostEvents;
use crate::engine::{
    CompactReport, Drawing, Exported, LintReport, MigrationReport, RepairReport, Restored, SyncReport,
};
use crate::model::agent::{Agent, Lease, Session};
use crate::model::command::Command;
use crate::model::job::Job;
use crate::model::query::Query;
use crate::reports::changed::{
    BatchAnswer, BroadcastAnswer, Changed, EntryAnswer, Released, StepAnswer, TaskAnswer, Unrelated,
};
use crate::reports::inbox::{InboxAcknowledged, InboxPage};
use crate::reports::list::List;
use crate::reports::next::NextTask;
use crate::reports::thread::{ThreadAnswer, ThreadLine, ThreadView};
use crate::reports::view::{Edge, LostView, Summary, TaskView};
use crate::rules::roles::Verb;

/// What an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It changes the plan.
    Change,
    /// It answers from the plan and changes nothing.
    Query,
    /// It works on the store itself.
    Job,
}

/// The method of an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the methods of these names")]
pub enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

/// Where an HTTP server answers an operation. Every operation answers at `POST /ops/{name}` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path; `{id}` stands for the argument that names the object.
    pub path: &'static str,
}

/// What an interface needs to know of an operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its name, such as `task.create`.
    pub name: &'static str,
    /// What it works on.
    pub kind: Kind,
    /// The permission that a plan with `roles.yml` asks for; `None` where none is needed, or where it depends on the arguments.
    pub permission: Option<Verb>,
    /// The permissions of which it asks for one or several, where that depends on the arguments or the task.
    pub depends: &'static [Verb],
    /// Its route, besides `POST /ops/{name}`.
    pub route: Option<Route>,
    /// The MCP tool that offers it.
    pub tool: Option<&'static str>,
    /// The schema of its arguments; its description is the summary of the operation.
    pub arguments: Schema,
    /// Makes the schema of its answer.
    pub answer: fn() -> Schema,
}

impl Operation {
    /// One line that says what it does.
    pub fn summary(&self) -> &str {
        self.arguments.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// The argument that the id in the path of its route stands for.
    pub fn id_argument(&self) -> &'static str {
        let collection = self.route.map_or("", |route| route.path).split('/').nth(1).unwrap_or_default();
        let of_collection = match collection {
            "relationships" => "relationship",
            "sessions" => "session_id",
            "threads" => "thread",
            "agents" => "name",
            _ => "id",
        };
        let known = |name: &&str| self.arguments.get("properties").is_some_and(|all| all.get(*name).is_some());
        [of_collection, "id", "task_id"].into_iter().find(known).unwrap_or("id")
    }

    /// Whether it may change anything.
    pub fn changes(&self) -> bool {
        match self.kind {
            Kind::Change => true,
            Kind::Query => false,
            Kind::Job => !matches!(self.name, "sync.pull" | "lint.since" | "inbox.wait"),
        }
    }
}

/// The columns of an operation besides its name and arguments.
struct Row {
    permission: Option<Verb>,
    depends: &'static [Verb],
    route: Option<Route>,
    tool: Option<&'static str>,
    answer: fn() -> Schema,
}

const fn row<T: JsonSchema>(permission: Option<Verb>, route: Option<Route>, tool: Option<&'static str>) -> Row {
    Row { permission, depends: &[], route, tool, answer: answer_schema::<T> }
}

impl Row {
    /// The same row, of an operation that asks for one or several of these permissions.
    const fn depending(self, depends: &'static [Verb]) -> Self {
        Row { depends, ..self }
    }
}

/// The schema of an answer, from which fields that hold nothing are left out.
fn answer_schema<T: JsonSchema>() -> Schema {
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>().to_value();
    require_what_is_there(&mut schema);
    schema.try_into().unwrap_or_default()
}

/// Requires no field that may hold nothing.
fn require_what_is_there(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let properties = map.get("properties").cloned().unwrap_or_default();
            if let Some(Value::Array(required)) = map.get_mut("required") {
                required.retain(|name| name.as_str().is_some_and(|name| !may_hold_nothing(&properties[name])));
            }
            map.values_mut().for_each(require_what_is_there);
        }
        Value::Array(list) => list.iter_mut().for_each(require_what_is_there),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn may_hold_nothing(property: &Value) -> bool {
    let is_nothing = |kind: &Value| *kind == "null" || *kind == "array";
    let kind = &property["type"];
    let any = property["anyOf"].as_array().is_some_and(|shapes| shapes.iter().any(may_hold_nothing));
    property.is_boolean()
        || any
        || is_nothing(kind)
        || kind.as_array().is_some_and(|kinds| kinds.iter().any(is_nothing))
        || (kind.is_null()
            && property.get("$ref").is_none()
            && property.get("enum").is_none()
            && property.get("oneOf").is_none()
            && property.get("const").is_none())
}

const fn at(method: Method, path: &'static str) -> Option<Route> {
    Some(Route { method, path })
}

/// Moving a task asks for the permission of its new status.
const MOVES: &[Verb] = &[Verb::Claim, Verb::Relate, Verb::Complete, Verb::Cancel, Verb::Archive];

/// Writing earlier values asks for the permissions of the commands that would set them.
const VALUES: &[Verb] = &[
    Verb::Update,
    Verb::Comment,
    Verb::Claim,
    Verb::Complete,
    Verb::Cancel,
    Verb::Verify,
    Verb::Archive,
    Verb::Relate,
];

/// The row of an operation.
#[expect(clippy::match_same_arms, reason = "a row each, as in a table")]
fn row_of(name: &str) -> Option<Row> {
    use Method::{Delete, Get, Patch, Post};
    Some(match name {
        "task.create" => row::<TaskAnswer>(Some(Verb::Create), at(Post, "/tasks"), Some("plan")),
        "task.update" => row::<TaskAnswer>(Some(Verb::Update), at(Patch, "/tasks/{id}"), Some("update")),
        "task.transition" => {
            row::<TaskAnswer>(None, at(Post, "/tasks/{id}/transition"), Some("update")).depending(MOVES)
        }
        "task.block" => row::<TaskAnswer>(Some(Verb::Relate), None, Some("plan")),
        "task.unblock" => row::<TaskAnswer>(Some(Verb::Relate), None, Some("plan")),
        "task.relate" => row::<Edge>(Some(Verb::Relate), at(Post, "/relationships"), Some("plan")),
        "task.unrelate" => row::<Unrelated>(Some(Verb::Relate), at(Delete, "/relationships/{id}"), Some("plan")),
        "task.archive" => row::<TaskAnswer>(Some(Verb::Archive), at(Post, "/tasks/{id}/archive"), Some("finish")),
        "task.reopen" => row::<TaskAnswer>(Some(Verb::Update), None, Some("update")),
        "task.verify" => row::<TaskAnswer>(Some(Verb::Verify), None, Some("finish")),
        "task.split" => row::<BatchAnswer>(Some(Verb::Split), None, Some("plan")),
        "progress.add" => row::<Changed>(Some(Verb::Comment), at(Post, "/progress_items"), Some("record")),
        "progress.complete" => {
            row::<StepAnswer>(Some(Verb::Comment), at(Patch, "/progress_items/{id}"), Some("record"))
        }
        "progress.reopen" => row::<StepAnswer>(Some(Verb::Comment), None, Some("record")),
        "context.add" => row::<EntryAnswer>(Some(Verb::Comment), at(Post, "/contexts"), Some("record")),
        "context.supersede" => row::<EntryAnswer>(Some(Verb::Comment), None, Some("record")),
        "context.redact" => row::<EntryAnswer>(Some(Verb::Update), None, None),
        "thread.open" => row::<ThreadAnswer>(Some(Verb::Discuss), at(Post, "/threads"), Some("discuss")),
        "thread.reply" => row::<ThreadAnswer>(Some(Verb::Reply), at(Post, "/threads/{id}/replies"), Some("discuss")),
        "thread.resolve" => {
            row::<ThreadAnswer>(Some(Verb::Resolve), at(Post, "/threads/{id}/resolve"), Some("discuss"))
        }
        "thread.escalate" => row::<ThreadAnswer>(Some(Verb::Discuss), None, Some("discuss")),
        "claim" => row::<Option<NextTask>>(Some(Verb::Claim), at(Post, "/next"), Some("next")),
        "done" => row::<TaskAnswer>(Some(Verb::Complete), None, Some("finish")),
        "release" => row::<TaskAnswer>(Some(Verb::Claim), None, Some("finish")),
        "lease.acquire" => row::<Lease>(Some(Verb::Claim), at(Post, "/leases"), None),
        "lease.renew" => row::<Lease>(None, at(Patch, "/leases/{id}/renew"), None),
        "lease.release" => row::<Released>(None, at(Delete, "/leases/{id}"), None),
        "agent.register" => row::<Agent>(Some(Verb::Register), at(Post, "/agents/register"), None),
        "broadcast" => row::<BroadcastAnswer>(Some(Verb::Broadcast), None, Some("discuss")),
        "session.start" => row::<Session>(None, at(Post, "/sessions/start"), None),
        "session.heartbeat" => row::<Session>(None, at(Post, "/sessions/{id}/heartbeat"), None),
        "session.end" => row::<Session>(None, at(Post, "/sessions/{id}/end"), None),
        "conflicts.restore" => row::<TaskAnswer>(None, None, Some("update")).depending(VALUES),
        "conflicts.keep" => row::<TaskAnswer>(None, None, Some("update")).depending(VALUES),
        "undo" => row::<TaskAnswer>(None, None, Some("update")).depending(VALUES),
        "batch" => row::<BatchAnswer>(None, at(Post, "/batch"), Some("plan")).depending(&Verb::ALL),
        "task.get" => row::<TaskView>(None, at(Get, "/tasks/{id}"), Some("find")),
        "task.path" => row::<TaskFile>(None, None, None),
        "task.list" => row::<List<Summary>>(None, at(Get, "/tasks"), Some("find")),
        "ready" => row::<ReadyList>(None, at(Get, "/ready"), Some("find")),
        "next" => row::<Option<NextTask>>(None, None, Some("next")),
        "brief" => row::<BriefPage>(None, at(Get, "/tasks/{id}/brief"), Some("brief")),
        "log" => row::<List<Value>>(None, at(Get, "/tasks/{id}/history"), Some("find")),
        "blame" => row::<BlameList>(None, None, None),
        "conflicts" => row::<List<LostView>>(None, None, Some("find")),
        "diff" => row::<PlanDiff>(None, None, None),
        "review" => row::<ReviewReport>(None, None, None),
        "plan.show" => row::<PlanPage>(None, None, Some("find")),
        "graph" => row::<Drawing>(None, None, None),
        "export" => row::<Exported>(None, None, None),
        "diagnostics.export" => row::<Bundle>(None, None, None),
        "stale" => row::<List<StaleTask>>(None, None, Some("find")),
        "session.list" => row::<List<SessionView>>(None, None, None),
        "thread.list" => row::<List<ThreadLine>>(None, None, Some("discuss")),
        "thread.show" => row::<ThreadView>(None, at(Get, "/threads/{id}"), Some("discuss")),
        "inbox" => row::<InboxPage>(None, at(Get, "/inbox"), Some("inbox")),
        "inbox.wait" => row::<InboxPage>(None, None, Some("inbox")),
        "inbox.ack" => row::<InboxAcknowledged>(None, at(Post, "/inbox/ack"), Some("inbox")),
        "agent.list" => row::<List<AgentView>>(None, at(Get, "/agents"), None),
        "agent.get" => row::<AgentView>(None, at(Get, "/agents/{id}"), None),
        "lease.list" => row::<List<LeaseView>>(None, None, None),
        "recover.list" => row::<LostEvents>(None, None, None),
        "status" => row::<Overview>(None, None, Some("find")),
        "stats" => row::<Stats>(None, None, Some("find")),
        "doctor" => row::<Health>(None, None, None),
        "check" => row::<FileCheck>(None, None, Some("find")),
        "lint" => row::<LintReport>(None, None, None),
        "next.wait" => row::<Option<NextTask>>(None, None, Some("next")),
        "sync" => row::<SyncReport>(None, None, Some("sync")),
        "sync.pull" => row::<List<Value>>(None, at(Get, "/events"), None),
        "sync.push" => row::<Pushed>(Some(Verb::Admin), at(Post, "/events/push"), None),
        "resolve" => row::<RepairReport>(None, None, Some("sync")),
        "recover" => row::<Restored>(None, None, None),
        "migrate" => row::<MigrationReport>(Some(Verb::Admin), None, None),
        "compact" => row::<CompactReport>(Some(Verb::Archive), None, None),
        "lint.fix" => row::<LintReport>(None, None, None).depending(&Verb::ALL),
        "lint.since" => row::<LintReport>(None, None, None),
        "import" => row::<ImportReport>(Some(Verb::Create), None, None),
        "plan.apply" => row::<PlanReport>(Some(Verb::Create), None, Some("plan")),
        "undo.request" => row::<SagaReport>(None, None, Some("update")).depending(VALUES),
        "agent.new_key" => row::<Agent>(Some(Verb::Register), None, None),
        "agent.token" => row::<IssuedToken>(Some(Verb::Register), None, None),
        _ => return None,
    })
}

/// Names of arguments that a route has besides those of its operation: the operation, that name, and its own.
pub const OTHER_NAMES: &[(&str, &str, &str)] = &[("task.list", "parent_id", "parent"), ("task.relate", "from", "id")];

/// All operations, in the order of their kinds.
pub static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let kinds = [(Kind::Change, Command::schemas()), (Kind::Query, Query::schemas()), (Kind::Job, Job::schemas())];
    let all = kinds.into_iter().flat_map(|(kind, list)| list.into_iter().map(move |one| (kind, one)));
    // A test fails for an operation without a row.
    all.filter_map(|(kind, (name, arguments))| {
        let Row { permission, depends, route, tool, answer } = row_of(name)?;
        Some(Operation { name, kind, permission, depends, route, tool, arguments, answer })
    })
    .collect()
});

/// The operation of a name.
pub fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_row_and_a_summary() {
        let names = [Command::schemas(), Query::schemas(), Job::schemas()].concat().into_iter().map(|(name, _)| name);
        names.for_each(|name| assert!(row_of(name).is_some(), "{name} has no row"));
        for operation in OPERATIONS.iter() {
            assert!(!operation.summary().is_empty(), "{} has no summary", operation.name);
        }
    }

    #[test]
    fn names_and_routes_are_unique() {
        let names: BTreeSet<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
        assert_eq!(names.len(), OPERATIONS.len());
        let routes: Vec<Route> = OPERATIONS.iter().filter_map(|operation| operation.route).collect();
        for (n, route) in routes.iter().enumerate() {
            assert!(!routes[..n].contains(route), "{route:?} stands twice");
        }
    }

    #[test]
    fn at_most_ten_tools_offer_them() {
        let tools: BTreeSet<&str> = OPERATIONS.iter().filter_map(|operation| operation.tool).collect();
        assert!(tools.len() <= 10, "{tools:?}");
    }
}
