//! The operations, one row each.

use std::sync::LazyLock;

use schemars::Schema;

use crate::model::command::Command;
use crate::model::job::Job;
use crate::model::query::Query;
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
    /// The permission that a plan with `roles.yml` asks for; `None` where it depends on the arguments, or where none is needed.
    pub permission: Option<Verb>,
    /// Its route, besides `POST /ops/{name}`.
    pub route: Option<Route>,
    /// The MCP tool that offers it.
    pub tool: Option<&'static str>,
    /// The schema of its arguments; its description is the summary of the operation.
    pub arguments: Schema,
}

impl Operation {
    /// One line that says what it does.
    pub fn summary(&self) -> &str {
        self.arguments.get("description").and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    /// Whether it may change anything.
    pub fn changes(&self) -> bool {
        match self.kind {
            Kind::Change => true,
            Kind::Query => false,
            Kind::Job => !matches!(self.name, "sync.pull" | "lint.since"),
        }
    }
}

/// The permission, route and tool of an operation.
type Row = (Option<Verb>, Option<Route>, Option<&'static str>);

const fn row(permission: Option<Verb>, route: Option<Route>, tool: Option<&'static str>) -> Row {
    (permission, route, tool)
}

const fn at(method: Method, path: &'static str) -> Option<Route> {
    Some(Route { method, path })
}

/// The columns of an operation besides its name and arguments.
#[expect(clippy::match_same_arms, reason = "a row each, as in a table")]
fn row_of(name: &str) -> Option<Row> {
    use Method::{Delete, Get, Patch, Post};
    Some(match name {
        "task.create" => row(Some(Verb::Create), at(Post, "/tasks"), Some("plan")),
        "task.update" => row(Some(Verb::Update), at(Patch, "/tasks/{id}"), Some("update")),
        "task.transition" => row(None, at(Post, "/tasks/{id}/transition"), Some("update")),
        "task.block" => row(Some(Verb::Relate), None, Some("plan")),
        "task.unblock" => row(Some(Verb::Relate), None, Some("plan")),
        "task.relate" => row(Some(Verb::Relate), at(Post, "/relationships"), Some("plan")),
        "task.unrelate" => row(Some(Verb::Relate), at(Delete, "/relationships/{id}"), Some("plan")),
        "task.archive" => row(Some(Verb::Archive), at(Post, "/tasks/{id}/archive"), Some("finish")),
        "task.reopen" => row(None, None, Some("update")),
        "task.verify" => row(Some(Verb::Verify), None, Some("finish")),
        "progress.add" => row(Some(Verb::Comment), at(Post, "/progress_items"), Some("record")),
        "progress.complete" => row(Some(Verb::Comment), at(Patch, "/progress_items/{id}"), Some("record")),
        "progress.reopen" => row(Some(Verb::Comment), None, Some("record")),
        "context.add" => row(Some(Verb::Comment), at(Post, "/contexts"), Some("record")),
        "context.supersede" => row(Some(Verb::Comment), None, Some("record")),
        "context.redact" => row(Some(Verb::Update), None, None),
        "claim" => row(Some(Verb::Claim), at(Post, "/next"), Some("next")),
        "done" => row(Some(Verb::Complete), None, Some("finish")),
        "release" => row(Some(Verb::Claim), None, Some("finish")),
        "lease.acquire" => row(Some(Verb::Claim), at(Post, "/leases"), None),
        "lease.renew" => row(None, at(Patch, "/leases/{id}/renew"), None),
        "lease.release" => row(None, at(Delete, "/leases/{id}"), None),
        "agent.register" => row(Some(Verb::Register), at(Post, "/agents/register"), None),
        "session.start" => row(None, at(Post, "/sessions/start"), None),
        "session.heartbeat" => row(None, at(Post, "/sessions/{id}/heartbeat"), None),
        "session.end" => row(None, at(Post, "/sessions/{id}/end"), None),
        "conflicts.restore" => row(None, None, Some("update")),
        "conflicts.keep" => row(None, None, Some("update")),
        "undo" => row(None, None, Some("update")),
        "batch" => row(None, at(Post, "/batch"), Some("plan")),
        "task.get" => row(None, at(Get, "/tasks/{id}"), Some("find")),
        "task.path" => row(None, None, None),
        "task.list" => row(None, at(Get, "/tasks"), Some("find")),
        "ready" => row(None, at(Get, "/ready"), Some("find")),
        "next" => row(None, None, Some("next")),
        "brief" => row(None, at(Get, "/tasks/{id}/brief"), Some("brief")),
        "log" => row(None, at(Get, "/tasks/{id}/history"), Some("find")),
        "blame" => row(None, None, None),
        "conflicts" => row(None, None, Some("find")),
        "diff" => row(None, None, None),
        "review" => row(None, None, None),
        "graph" => row(None, None, None),
        "stale" => row(None, None, Some("find")),
        "session.list" => row(None, None, None),
        "agent.list" => row(None, at(Get, "/agents"), None),
        "lease.list" => row(None, None, None),
        "recover.list" => row(None, None, None),
        "stats" => row(None, None, Some("find")),
        "doctor" => row(None, None, None),
        "lint" => row(None, None, None),
        "next.wait" => row(None, None, Some("next")),
        "sync" => row(None, None, Some("sync")),
        "sync.pull" => row(None, at(Get, "/events"), None),
        "sync.push" => row(None, at(Post, "/events/push"), None),
        "resolve" => row(None, None, Some("sync")),
        "recover" => row(None, None, None),
        "lint.fix" => row(None, None, None),
        "lint.since" => row(None, None, None),
        "import" => row(Some(Verb::Create), None, None),
        "plan.apply" => row(Some(Verb::Create), None, Some("plan")),
        "agent.new_key" => row(Some(Verb::Register), None, None),
        _ => return None,
    })
}

/// All operations, in the order of their kinds.
pub static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let kinds = [(Kind::Change, Command::schemas()), (Kind::Query, Query::schemas()), (Kind::Job, Job::schemas())];
    let all = kinds.into_iter().flat_map(|(kind, list)| list.into_iter().map(move |one| (kind, one)));
    all.map(|(kind, (name, arguments))| {
        // A test walks the table.
        let (permission, route, tool) = row_of(name).unwrap_or_default();
        Operation { name, kind, permission, route, tool, arguments }
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
        for operation in OPERATIONS.iter() {
            assert!(row_of(operation.name).is_some(), "{} has no row", operation.name);
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
