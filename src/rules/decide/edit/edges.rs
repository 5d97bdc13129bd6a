//! Hand edits of relationships: emits what `task block`, `task relate` and their opposites write.
//!
//! Leaves to others: finding out what was edited (`engine::commit::hand_edits`).

use serde_json::{Value, json};

use super::plain::reference;
use super::{BLOCKED_BY, Doc, Edit, EditResult, check_entry, guard, list, misfit, unknown_id};
use crate::error::{Error, Result};
use crate::model::args::{Object, OptionalTaskRef, Ref, TaskRef};
use crate::model::command::{TaskBlock, TaskRelate};
use crate::model::id::{Id, quoted};
use crate::model::payload::{Payload, RelationshipRemoved};
use crate::model::relationship::RelationType;
use crate::rules::decide::guard::unblock_if_free;
use crate::rules::decide::tasks;
use crate::rules::roles::Verb;

const KEY: &str = "relationships";
const KEYS: &[&str] = &["id", "type", "from", "to", "metadata", "created_at"];

impl Edit<'_> {
    /// Removes edges, then adds edges. A changed edge is another edge.
    pub(super) fn edges(&mut self) -> EditResult {
        if self.is_changed(KEY) {
            let (old, new) = self.lists(KEY);
            let stays = |edge: &Value| new.iter().any(|kept| same_edge(edge, kept));
            for edge in old.iter().filter(|edge| !stays(edge)) {
                self.remove(edge).map_err(misfit(KEY, None))?;
            }
            for (n, edge) in new.iter().enumerate() {
                let known = old.iter().find(|old| !edge["id"].is_null() && old["id"] == edge["id"]);
                if known.is_some_and(|known| same_edge(known, edge)) {
                    check_same(known, edge).map_err(misfit(KEY, Some(n)))?;
                } else {
                    self.add(edge, known.is_some()).map_err(misfit(KEY, Some(n)))?;
                }
            }
        }
        for (n, blocker) in list(self.new.get(BLOCKED_BY)).iter().enumerate() {
            self.block(blocker).map_err(misfit(BLOCKED_BY, Some(n)))?;
        }
        Ok(())
    }

    fn remove(&mut self, edge: &Value) -> Result<()> {
        let relationship: Id = edge["id"].as_str().unwrap_or_default().parse()?;
        let permit = self.permit(Verb::Relate)?;
        // Another agent may have removed it since.
        if self.stage.task(self.id)?.relationships.contains_key(&relationship) {
            permit.emit(self.stage, Payload::RelationshipRemoved(RelationshipRemoved { relationship }))?;
            unblock_if_free(self.stage, self.id)?;
        }
        Ok(())
    }

    /// Adds an edge from its entry; `again` if it replaces one with the same id.
    fn add(&mut self, edge: &Value, again: bool) -> Result<()> {
        let Some(map) = edge.as_object() else {
            return Err(Error::validation("a relationship needs a type, and from or to")
                .hint("write {type: blocks, from: ID}, or {type: relates_to, to: ID}"));
        };
        check_entry(map, KEYS)?;
        if !again && let Some(id) = map.get("id") {
            return Err(unknown_id(id));
        }
        if !again {
            self.check_recorded(map, None, &["created_at"], &[])?;
        }
        let kind: RelationType = serde_json::from_value(edge["type"].clone()).map_err(|_| {
            let why = match edge["type"].as_str() {
                None => "a relationship needs a type".to_owned(),
                Some(word) => {
                    let meant = meant(word).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
                    format!("{} is not a type of relationship{meant}", quoted(word))
                }
            };
            Error::validation(why)
                .with(json!({ "allowed": ["parent_of", "blocks", "relates_to", "duplicates"] }))
                .hint("use one of parent_of, blocks, relates_to, duplicates")
        })?;
        let (from, to) = self.ends(map)?;
        let metadata = match map.get("metadata") {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(Object(map.clone())),
            Some(_) => return Err(Error::validation("metadata must be a mapping of names to values")),
        };
        let relate = TaskRelate { id: TaskRef(from.0), to, kind, metadata, guard: guard() };
        tasks::relate(self.stage, &relate).map(|_| ())
    }

    /// The two tasks of an edge: the one that is not named is this one.
    fn ends(&mut self, edge: &Doc) -> Result<(Ref, Ref)> {
        let here = Ref(self.id.to_string());
        let said = |key: &str| edge.get(key).filter(|value| !value.is_null()).map(reference).transpose();
        let (from, to) = match (said("from")?, said("to")?) {
            (Some(from), None) => (from, here),
            (None, Some(to)) => (here, to),
            (Some(from), Some(to)) => (from, to),
            (None, None) => {
                return Err(Error::validation("a relationship needs the other task, under from or to"));
            }
        };
        let (one, other) = (self.stage.task_id(&from)?, self.stage.task_id(&to)?);
        if one != self.id && other != self.id {
            return Err(Error::validation("this relationship is between two other tasks")
                .hint("write it in the file of one of them"));
        }
        Ok((Ref(one.to_string()), Ref(other.to_string())))
    }

    fn block(&mut self, blocker: &Value) -> Result<()> {
        let block =
            TaskBlock { id: OptionalTaskRef(Some(self.id.to_string())), by: vec![reference(blocker)?], guard: guard() };
        tasks::block(self.stage, &block).map(|_| ())
    }
}

/// The type of relationship that another word stands for.
fn meant(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase().replace('-', "_");
    ["parent_of", "blocks", "relates_to", "duplicates"]
        .into_iter()
        .find(|known| word.get(..5).is_some_and(|begin| known.starts_with(begin)))
}

/// Whether two entries are the same edge.
fn same_edge(a: &Value, b: &Value) -> bool {
    a["id"] == b["id"] && ["type", "from", "to", "metadata"].iter().all(|key| a[*key] == b[*key])
}

/// Refuses another time for the same edge.
fn check_same(old: Option<&Value>, new: &Value) -> Result<()> {
    match old.is_some_and(|old| old["created_at"] == new["created_at"]) {
        true => check_entry(new.as_object().unwrap_or(&Doc::new()), KEYS),
        false => {
            Err(Error::validation("the creation time of a relationship cannot be changed")
                .hint("restore the old value"))
        }
    }
}
