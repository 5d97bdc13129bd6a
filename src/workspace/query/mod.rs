//! Answers: each question of [`Query`] put to the files, as JSON.

mod brief;
mod doctor;
mod graph;
mod history;
mod lists;

pub use graph::{dot, mermaid, tree};

use serde_json::{Value, json};

use super::Workspace;
use crate::error::Result;
use crate::model::query::Query;
use crate::model::words::Ref;

impl Workspace {
    /// Answers a question. Takes no lock, writes nothing below the work tree.
    ///
    /// Errors: `ERR_NOT_FOUND` and `ERR_AMBIGUOUS_ID` for references, `ERR_IO` where the store cannot be read.
    pub fn query(&self, query: &Query) -> Result<Value> {
        match query {
            Query::TaskGet(q) => {
                let task = self.load_task(self.resolve(&Ref(q.id.0.clone()))?)?.task;
                self.show_task(&task, &self.index()?)
            }
            Query::TaskPath(q) => {
                let id = self.resolve(&Ref(q.id.0.clone()))?;
                let path = self.store.path().join(crate::store::layout::task_dir(id)).join("task.yaml");
                Ok(json!({ "id": id, "path": path.display().to_string() }))
            }
            Query::TaskList(q) => lists::list(self, q),
            Query::Ready(q) => lists::ready(self, q),
            Query::Next(q) => lists::next(self, q),
            Query::Stale(q) => lists::stale(self, q),
            Query::AgentList => lists::agents(self),
            Query::LeaseList => lists::leases(self),
            Query::Brief(q) => brief::brief(self, q),
            Query::Log(q) => history::log(self, q),
            Query::Blame(q) => history::blame(self, q),
            Query::Graph(q) => graph::graph(self, q),
            Query::Stats => doctor::stats(self),
            Query::Doctor => doctor::doctor(self),
            Query::Lint => self.lint().map(|report| json!(report)),
        }
    }
}
