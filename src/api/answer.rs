//! The answers of the operations.
//!
//! Leaves to others: the types of the answers (`reports`, `engine::query`), and how they are printed.

use std::collections::BTreeSet;

use serde::Serialize;
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
use crate::reports::changed::Changed;
use crate::reports::inbox::{InboxAcknowledged, InboxPage};
use crate::reports::list::List;
use crate::reports::next::NextTask;
use crate::reports::summary::Summary;
use crate::reports::thread::{ThreadLine, ThreadView};
use crate::reports::view::{LostView, TaskView};

/// The answer of an operation. Its JSON is that of what it holds.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "each variant is named by what it holds")]
pub enum Answer {
    Changed(Changed),
    Task(Box<TaskView>),
    File(TaskFile),
    Tasks(List<Summary>),
    Ready(ReadyList),
    /// The next task; `None` where none is ready.
    Next(Option<Box<NextTask>>),
    Brief(Box<BriefPage>),
    /// Events, each as its log has it.
    Events(List<Value>),
    Blame(BlameList),
    Conflicts(List<LostView>),
    Diff(PlanDiff),
    Review(Box<ReviewReport>),
    PlanPage(PlanPage),
    Graph(Drawing),
    Exported(Exported),
    Diagnostics(Bundle),
    Stale(List<StaleTask>),
    Sessions(List<SessionView>),
    Threads(List<ThreadLine>),
    Thread(Box<ThreadView>),
    Inbox(InboxPage),
    Acknowledged(InboxAcknowledged),
    Agents(List<AgentView>),
    Agent(AgentView),
    Leases(List<LeaseView>),
    LostEvents(LostEvents),
    Overview(Overview),
    Stats(Stats),
    Health(Health),
    Check(FileCheck),
    Lint(LintReport),
    Sync(Box<SyncReport>),
    Pushed(Pushed),
    Repaired(RepairReport),
    Restored(Restored),
    Compacted(CompactReport),
    Migrated(MigrationReport),
    Imported(ImportReport),
    Planned(PlanReport),
    RequestUndone(SagaReport),
    Token(IssuedToken),
    Setting(SettingView),
    Settings(List<SettingView>),
    SettingSet(SettingSet),
}

/// A report as JSON without the fields that hold nothing.
pub fn without_empty(report: &impl Serialize) -> Value {
    // Plain data can be written as JSON.
    let mut json = serde_json::to_value(report).unwrap_or_default();
    drop_empty(&mut json);
    json
}

/// Whether a field is the list that an answer is about.
fn is_list(key: &str) -> bool {
    matches!(key, "items" | "findings")
}

/// Leaves out fields that are null or hold nothing. The list that an answer is about stays, and what the plan itself holds is shown
/// as it is.
fn drop_empty(value: &mut Value) {
    const OF_THE_PLAN: &[&str] = &["payload", "value", "from", "to", "yours", "now", "details"];
    match value {
        Value::Object(map) => {
            map.retain(|key, value| match value {
                Value::Null => OF_THE_PLAN.contains(&key.as_str()),
                Value::Array(list) => !list.is_empty() || is_list(key) || OF_THE_PLAN.contains(&key.as_str()),
                Value::Object(map) => !map.is_empty() || OF_THE_PLAN.contains(&key.as_str()),
                Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
            });
            map.iter_mut()
                .filter(|(key, _)| key.as_str() != "metadata" && !OF_THE_PLAN.contains(&key.as_str()))
                .for_each(|(_, value)| drop_empty(value));
        }
        Value::Array(list) => list.iter_mut().for_each(drop_empty),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Answer {
    /// The answer as JSON. Fields that hold nothing are left out, except in a task that is shown whole and where a value of the
    /// plan is nothing.
    pub fn to_json(&self, full: bool) -> Value {
        // Plain data can be written as JSON.
        let mut json = serde_json::to_value(self).unwrap_or_default();
        if full || matches!(self, Answer::Events(_)) {
            return json;
        }
        let is_task = matches!(self, Answer::Task(_));
        if let (true, Value::Object(task)) = (is_task, &mut json) {
            let is_empty = |value: &Value| match value {
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            task.retain(|_, value| !is_empty(value));
        }
        drop_empty(&mut json);
        json
    }

    /// What a reader of the answer must know besides.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Answer::Ready(ready) => ready.warnings.clone(),
            Answer::Exported(document) => document.warnings.clone(),
            Answer::LostEvents(events) => events.warnings.clone(),
            Answer::Sync(report) => report.warnings.clone(),
            Answer::Compacted(report) => report.warnings.clone(),
            Answer::Imported(report) => report.warnings.clone(),
            Answer::Planned(report) => report.warnings.clone(),
            Answer::SettingSet(set) => set.warning.iter().cloned().collect(),
            Answer::Restored(Restored { missing, .. }) if !missing.is_empty() => {
                let ids: Vec<String> = missing.iter().map(ToString::to_string).collect();
                vec![format!("this clone does not have these ancestors of the events: {}", ids.join(", "))]
            }
            _ => Vec::new(),
        }
    }

    /// Whether there is nothing to hand out.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Answer::Next(None) | Answer::Changed(Changed::Nothing))
    }

    /// Whether a wait has found what it waits for.
    pub fn ends_a_wait(&self) -> bool {
        match self {
            Answer::Inbox(page) => !page.list.items.is_empty(),
            other => !other.is_nothing(),
        }
    }

    /// The ids of what the answer is about, of agents the names; `None` where it is about none.
    pub fn names(&self) -> Option<Vec<String>> {
        fn ids<T>(items: &[T], id: impl Fn(&T) -> String) -> Option<Vec<String>> {
            Some(items.iter().map(id).collect())
        }
        match self {
            Answer::Changed(changed) => changed.names(),
            Answer::Task(task) => Some(vec![task.id.to_string()]),
            Answer::File(file) => Some(vec![file.path.clone()]),
            Answer::Tasks(list) => ids(&list.items, |task| task.id.to_string()),
            Answer::Ready(ready) => ids(&ready.list.items, |task| task.id.to_string()),
            // A task to review is not work that the caller has got: scripts go on with `brief` and `done`.
            Answer::Next(next) => {
                let work = next.iter().filter(|next| next.review.is_none());
                Some(work.map(|next| next.task.id().to_string()).collect())
            }
            Answer::Blame(_) => Some(Vec::new()),
            // An event that lost several values is restored or confirmed by one command.
            Answer::Conflicts(list) => {
                let mut seen = BTreeSet::new();
                let events = list.items.iter().map(|item| item.lost.event).filter(|event| seen.insert(*event));
                Some(events.map(|event| event.to_string()).collect())
            }
            Answer::Diff(diff) => ids(&diff.list.items, |item| item.task.to_string()),
            Answer::Review(review) => ids(&review.list.items, |item| item.task.to_string()),
            Answer::Stale(list) => ids(&list.items, |task| task.id.to_string()),
            Answer::Sessions(list) => ids(&list.items, |session| session.id.to_string()),
            Answer::Threads(list) => ids(&list.items, |thread| thread.id.to_string()),
            Answer::Inbox(page) => ids(&page.list.items, |item| item.id.clone()),
            Answer::Thread(thread) => Some(vec![thread.id.to_string()]),
            Answer::Agents(list) => ids(&list.items, |item| item.agent.name.clone()),
            Answer::Agent(item) => Some(vec![item.agent.name.clone()]),
            Answer::Setting(setting) | Answer::SettingSet(SettingSet { setting, .. }) => Some(vec![setting.text()]),
            Answer::Settings(list) => ids(&list.items, |setting| setting.key.clone()),
            Answer::Token(issued) => issued.token.clone().map(|token| vec![token]),
            Answer::Leases(list) => {
                Some(list.items.iter().filter_map(|item| Some(item.lease.as_ref()?.id.to_string())).collect())
            }
            Answer::LostEvents(events) => ids(&events.list.items, |event| event.id.to_string()),
            Answer::Restored(restored) => ids(&restored.events, ToString::to_string),
            Answer::Planned(report) => {
                Some(report.items.iter().filter_map(|item| Some(item.id?.to_string())).collect())
            }
            Answer::RequestUndone(report) => ids(&report.tasks, |task| task.id.to_string()),
            Answer::Sync(report) => Some(vec![report.head.clone()]),
            Answer::Brief(_)
            | Answer::Events(_)
            | Answer::Acknowledged(_)
            | Answer::Graph(_)
            | Answer::Exported(_)
            | Answer::Diagnostics(_)
            | Answer::PlanPage(_)
            | Answer::Overview(_)
            | Answer::Stats(_)
            | Answer::Health(_)
            | Answer::Check(_)
            | Answer::Lint(_)
            | Answer::Pushed(_)
            | Answer::Repaired(_)
            | Answer::Compacted(_)
            | Answer::Migrated(_)
            | Answer::Imported(_) => None,
        }
    }
}
