//! The operations, one row each.
//!
//! Leaves to others: the arguments, which stand with the commands, queries and jobs of `model`.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, schema_for};
use serde_json::Value;

use crate::engine::commit::plan::PlanReport;
use crate::engine::commit::saga::SagaReport;
use crate::engine::commit::settings::SettingSet;
use crate::engine::commit::tokens::IssuedToken;
use crate::engine::context::settings::SettingView;
use crate::engine::feed::stream::Pushed;
use crate::engine::import::ImportReport;
use crate::engine::query::TaskFile;
use crate::engine::query::agents::AgentView;
use crate::engine::query::brief::BriefPage;
use crate::engine::query::check::FileCheck;
use crate::engine::query::diagnostics::Bundle;
use crate::engine::query::diff::PlanDiff;
use crate::engine::query::doctor::{Health, Stats};
use crate::engine::query::history::BlameList;
use crate::engine::query::leases::LeaseView;
use crate::engine::query::liveness::{SessionView, StaleTask};
use crate::engine::query::plan_page::PlanPage;
use crate::engine::query::ready::ReadyList;
use crate::engine::query::review::ReviewReport;
use crate::engine::query::status::Overview;
use crate::engine::query::unreachable_events::LostEvents;
use crate::engine::{
    CompactReport, Drawing, Exported, LintReport, MigrationReport, RepairReport, Restored, SyncReport,
};
use crate::model::agent::{Agent, Lease, Session};
use crate::model::{command, job, query};
use crate::reports::changed::{
    BatchAnswer, BroadcastAnswer, Changed, EntryAnswer, Released, StepAnswer, TaskAnswer, Unrelated,
};
use crate::reports::inbox::{InboxAcknowledged, InboxPage};
use crate::reports::list::List;
use crate::reports::next::NextTask;
use crate::reports::summary::Summary;
use crate::reports::thread::{ThreadAnswer, ThreadLine, ThreadView};
use crate::reports::view::{Edge, LostView, TaskView};
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

impl Method {
    /// Its name in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
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
    /// It is a job that changes nothing.
    only_reads: bool,
    /// The schema of its arguments; its description is the summary of the operation.
    pub arguments: Schema,
    /// Makes the schema of its answer.
    pub answer: fn() -> Schema,
}

impl Operation {
    fn of<A: Tabled + JsonSchema>(kind: Kind, name: &'static str) -> Self {
        let Row { permission, depends, route, tool, only_reads, answer } = A::row();
        Operation { name, kind, permission, depends, route, tool, only_reads, arguments: schema_for!(A), answer }
    }

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
        [of_collection, "id", "task_id"].into_iter().find(|name| self.has_argument(name)).unwrap_or("id")
    }

    /// Whether it takes an argument of this name.
    pub fn has_argument(&self, name: &str) -> bool {
        self.arguments.get("properties").is_some_and(|all| all.get(name).is_some())
    }

    /// Whether it may change anything.
    pub fn changes(&self) -> bool {
        match self.kind {
            Kind::Change => true,
            Kind::Query => false,
            Kind::Job => !self.only_reads,
        }
    }
}

/// The columns of an operation besides its name and arguments.
struct Row {
    permission: Option<Verb>,
    depends: &'static [Verb],
    route: Option<Route>,
    tool: Option<&'static str>,
    only_reads: bool,
    answer: fn() -> Schema,
}

const fn row<T: JsonSchema>(permission: Option<Verb>, route: Option<Route>, tool: Option<&'static str>) -> Row {
    Row { permission, depends: &[], route, tool, only_reads: false, answer: answer_schema::<T> }
}

impl Row {
    /// The same row, of an operation that asks for one or several of these permissions.
    const fn depending(self, depends: &'static [Verb]) -> Self {
        Row { depends, ..self }
    }

    /// The same row, of a job that changes nothing.
    const fn reading(self) -> Self {
        Row { only_reads: true, ..self }
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
    // Values by names of the plan.
    let is_map = property.get("additionalProperties").is_some() && property.get("properties").is_none();
    property.is_boolean()
        || is_map
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

/// The arguments of an operation, with its row.
trait Tabled {
    fn row() -> Row;
}

/// The rows of the operations, by the module and the name of their arguments.
macro_rules! rows {
    ($($module:ident { $($arguments:ident => $row:expr,)* })*) => {
        $($(impl Tabled for $module::$arguments {
            fn row() -> Row {
                $row
            }
        })*)*
    };
}

rows! {
    command {
        TaskCreate => row::<TaskAnswer>(Some(Verb::Create), at(Method::Post, "/tasks"), Some("plan")),
        TaskUpdate => row::<TaskAnswer>(Some(Verb::Update), at(Method::Patch, "/tasks/{id}"), Some("update")),
        TaskTransition => row::<TaskAnswer>(None, at(Method::Post, "/tasks/{id}/transition"), Some("update")).depending(MOVES),
        TaskBlock => row::<TaskAnswer>(Some(Verb::Relate), None, Some("plan")),
        TaskUnblock => row::<TaskAnswer>(Some(Verb::Relate), None, Some("plan")),
        TaskRelate => row::<Edge>(Some(Verb::Relate), at(Method::Post, "/relationships"), Some("plan")),
        TaskUnrelate => row::<Unrelated>(Some(Verb::Relate), at(Method::Delete, "/relationships/{id}"), Some("plan")),
        TaskArchive => row::<TaskAnswer>(Some(Verb::Archive), at(Method::Post, "/tasks/{id}/archive"), Some("finish")),
        TaskReopen => row::<TaskAnswer>(Some(Verb::Update), None, Some("update")),
        TaskVerify => row::<TaskAnswer>(Some(Verb::Verify), None, Some("finish")),
        TaskSplit => row::<BatchAnswer>(Some(Verb::Split), None, Some("plan")),
        ProgressAdd => row::<Changed>(Some(Verb::Comment), at(Method::Post, "/progress_items"), Some("record")),
        ProgressComplete => row::<StepAnswer>(Some(Verb::Comment), at(Method::Patch, "/progress_items/{id}"), Some("record")),
        ProgressReopen => row::<StepAnswer>(Some(Verb::Comment), None, Some("record")),
        ContextAdd => row::<EntryAnswer>(Some(Verb::Comment), at(Method::Post, "/contexts"), Some("record")),
        ContextSupersede => row::<EntryAnswer>(Some(Verb::Comment), None, Some("record")),
        ContextRedact => row::<EntryAnswer>(Some(Verb::Update), None, None),
        ThreadOpen => row::<ThreadAnswer>(Some(Verb::Discuss), at(Method::Post, "/threads"), Some("discuss")),
        ThreadReply => row::<ThreadAnswer>(Some(Verb::Reply), at(Method::Post, "/threads/{id}/replies"), Some("discuss")),
        ThreadResolve => row::<ThreadAnswer>(Some(Verb::Resolve), at(Method::Post, "/threads/{id}/resolve"), Some("discuss")),
        ThreadEscalate => row::<ThreadAnswer>(Some(Verb::Discuss), None, Some("discuss")),
        Claim => row::<Option<NextTask>>(Some(Verb::Claim), at(Method::Post, "/next"), Some("next")),
        Done => row::<TaskAnswer>(Some(Verb::Complete), None, Some("finish")),
        Release => row::<TaskAnswer>(Some(Verb::Claim), None, Some("finish")),
        LeaseAcquire => row::<Lease>(Some(Verb::Claim), at(Method::Post, "/leases"), None),
        LeaseRenew => row::<Lease>(None, at(Method::Patch, "/leases/{id}/renew"), None),
        LeaseRelease => row::<Released>(None, at(Method::Delete, "/leases/{id}"), None),
        AgentRegister => row::<Agent>(Some(Verb::Register), at(Method::Post, "/agents/register"), None),
        Broadcast => row::<BroadcastAnswer>(Some(Verb::Broadcast), None, Some("discuss")),
        SessionStart => row::<Session>(None, at(Method::Post, "/sessions/start"), None),
        SessionHeartbeat => row::<Session>(None, at(Method::Post, "/sessions/{id}/heartbeat"), None),
        SessionEnd => row::<Session>(None, at(Method::Post, "/sessions/{id}/end"), None),
        ConflictsRestore => row::<TaskAnswer>(None, None, Some("update")).depending(VALUES),
        ConflictsKeep => row::<TaskAnswer>(None, None, Some("update")).depending(VALUES),
        Undo => row::<TaskAnswer>(None, None, Some("update")).depending(VALUES),
        Batch => row::<BatchAnswer>(None, at(Method::Post, "/batch"), Some("plan")).depending(&Verb::ALL),
    }
    query {
        TaskGet => row::<TaskView>(None, at(Method::Get, "/tasks/{id}"), Some("find")),
        TaskPath => row::<TaskFile>(None, None, None),
        TaskList => row::<List<Summary>>(None, at(Method::Get, "/tasks"), Some("find")),
        Ready => row::<ReadyList>(None, at(Method::Get, "/ready"), Some("find")),
        Next => row::<Option<NextTask>>(None, None, Some("next")),
        Brief => row::<BriefPage>(None, at(Method::Get, "/tasks/{id}/brief"), Some("brief")),
        Log => row::<List<Value>>(None, at(Method::Get, "/tasks/{id}/history"), Some("find")),
        Blame => row::<BlameList>(None, None, None),
        Conflicts => row::<List<LostView>>(None, None, Some("find")),
        Diff => row::<PlanDiff>(None, None, None),
        Review => row::<ReviewReport>(None, None, None),
        PlanShow => row::<PlanPage>(None, None, Some("find")),
        Graph => row::<Drawing>(None, None, None),
        Export => row::<Exported>(None, None, None),
        Diagnostics => row::<Bundle>(None, None, None),
        Stale => row::<List<StaleTask>>(None, None, Some("find")),
        SessionList => row::<List<SessionView>>(None, None, None),
        ThreadList => row::<List<ThreadLine>>(None, None, Some("discuss")),
        ThreadShow => row::<ThreadView>(None, at(Method::Get, "/threads/{id}"), Some("discuss")),
        Inbox => row::<InboxPage>(None, at(Method::Get, "/inbox"), Some("inbox")),
        AgentList => row::<List<AgentView>>(None, at(Method::Get, "/agents"), None),
        AgentGet => row::<AgentView>(None, at(Method::Get, "/agents/{id}"), None),
        LeaseList => row::<List<LeaseView>>(None, None, None),
        Unheld => row::<LostEvents>(None, None, None),
        Overview => row::<Overview>(None, None, Some("find")),
        Stats => row::<Stats>(None, None, Some("find")),
        Doctor => row::<Health>(None, None, None),
        Check => row::<FileCheck>(None, None, Some("find")),
        ConfigGet => row::<SettingView>(None, None, None),
        ConfigList => row::<List<SettingView>>(None, None, None),
        Lint => row::<LintReport>(None, None, None),
    }
    job {
        NextWait => row::<Option<NextTask>>(None, None, Some("next")),
        InboxWait => row::<InboxPage>(None, None, Some("inbox")).reading(),
        InboxAck => row::<InboxAcknowledged>(None, at(Method::Post, "/inbox/ack"), Some("inbox")),
        Sync => row::<SyncReport>(None, None, Some("sync")),
        SyncPull => row::<List<Value>>(None, at(Method::Get, "/events"), None).reading(),
        SyncPush => row::<Pushed>(Some(Verb::Admin), at(Method::Post, "/events/push"), None),
        Resolve => row::<RepairReport>(None, None, Some("sync")),
        Recover => row::<Restored>(None, None, None),
        Compact => row::<CompactReport>(Some(Verb::Archive), None, None),
        Migrate => row::<MigrationReport>(Some(Verb::Admin), None, None),
        LintFix => row::<LintReport>(None, None, None).depending(&Verb::ALL),
        LintSince => row::<LintReport>(None, None, None).reading(),
        Import => row::<ImportReport>(Some(Verb::Create), None, None),
        PlanApply => row::<PlanReport>(Some(Verb::Create), None, Some("plan")),
        UndoRequest => row::<SagaReport>(None, None, Some("update")).depending(VALUES),
        NewKey => row::<Agent>(Some(Verb::Register), None, None),
        AgentToken => row::<IssuedToken>(Some(Verb::Register), None, None),
        ConfigSet => row::<SettingSet>(Some(Verb::Admin), None, None),
    }
}

/// The operations of one list. One without a row does not compile.
macro_rules! tabulate {
    ($(#[$doc:meta])* Command { $($list:tt)* }) => { tabulate!(changes, Change, command, $($list)*); };
    ($(#[$doc:meta])* Query { $($list:tt)* }) => { tabulate!(queries, Query, query, $($list)*); };
    ($(#[$doc:meta])* Job { $($list:tt)* }) => { tabulate!(jobs, Job, job, $($list)*); };
    ($name:ident, $kind:ident, $module:ident, $($arguments:ident = $op:literal,)*) => {
        fn $name() -> Vec<Operation> {
            vec![$(Operation::of::<$module::$arguments>(Kind::$kind, $op)),*]
        }
    };
}
command::commands!(tabulate);
query::queries!(tabulate);
job::jobs!(tabulate);

/// Names of arguments that a route has besides those of its operation: the operation, that name, and its own.
pub const OTHER_NAMES: &[(&str, &str, &str)] = &[("task.list", "parent_id", "parent"), ("task.relate", "from", "id")];

/// All operations, in the order of their kinds.
pub static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| [changes(), queries(), jobs()].concat());

/// The operation of a name.
pub fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_summary() {
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
