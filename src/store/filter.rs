//! The tasks that a list shows, as a condition on the read model.
//!
//! Values are bound, never written into the SQL. Many values are bound as one text, since a statement takes a limited number.
//! Leaves to others: the text of a query (`model::search`).

use rusqlite::types::Value;

use crate::model::id::Id;
use crate::model::search::Range;
use crate::model::task::Status;

/// The tasks that a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Conditions that must hold, or with `true` before them must not.
    pub tests: Vec<(bool, Test)>,
    /// Tasks recorded as blocked that wait for no unfinished task: they count as open.
    pub free: Vec<Id>,
}

/// One condition. One of several values suffices.
#[derive(Clone, Debug)]
pub enum Test {
    /// Any task.
    Every,
    /// The task is finished.
    Finished,
    /// It is completed, and no other agent accepted that.
    Unreviewed,
    /// A thread about it is open.
    Discussed,
    /// Its effective status is one of these.
    Status(Vec<Status>),
    /// Its owner is one of these; `None` matches no owner.
    Owner(Vec<Option<String>>),
    /// Its parent is one of these; `None` matches no parent.
    Parent(Vec<Option<Id>>),
    /// It has one of these labels.
    Label(Vec<String>),
    /// Its type is one of these.
    Type(Vec<String>),
    /// Its priority.
    Priority(Vec<Range>),
    /// When it was created.
    Created(Vec<Range>),
    /// When it last changed.
    Updated(Vec<Range>),
    /// When it is due.
    Due(Vec<Range>),
    /// It is one of these.
    Among(Vec<Id>),
    /// One of these conditions holds.
    Any(Vec<Test>),
}

impl Filter {
    /// The condition in SQL, with `?` for each of the values.
    pub(super) fn condition(&self) -> (String, Vec<Value>) {
        let mut parts = vec!["is_there".to_owned()];
        let mut values = Vec::new();
        for (not, test) in &self.tests {
            let part = self.part(test, &mut values);
            parts.push(if *not { format!("NOT ({part})") } else { format!("({part})") });
        }
        (parts.join(" AND "), values)
    }

    fn part(&self, test: &Test, values: &mut Vec<Value>) -> String {
        // `IS` and not `=`: a task without an owner does not match an owner either.
        let is_one_of = |column: &str, wanted: Vec<Value>, values: &mut Vec<Value>| {
            let part = any(&vec![format!("{column} IS ?"); wanted.len()]);
            values.extend(wanted);
            part
        };
        match test {
            Test::Every => "1".to_owned(),
            Test::Finished => "finished".to_owned(),
            Test::Unreviewed => "unreviewed".to_owned(),
            Test::Discussed => "open_threads > 0".to_owned(),
            Test::Status(statuses) => {
                let words = any(&vec!["status IS ?".to_owned(); statuses.len()]);
                values.extend(statuses.iter().map(|status| status.as_str().to_owned().into()));
                match (statuses.contains(&Status::Open), statuses.contains(&Status::Blocked)) {
                    (open, blocked) if open == blocked => words,
                    (true, _) => format!("{words} OR {}", among(&self.free, values)),
                    (false, _) => format!("({words}) AND NOT {}", among(&self.free, values)),
                }
            }
            Test::Owner(owners) => {
                is_one_of("owner", owners.iter().map(|owner| owner.clone().into()).collect(), values)
            }
            Test::Parent(parents) => {
                let wanted = parents.iter().map(|parent| parent.map(|id| id.to_string()).into()).collect();
                is_one_of("parent", wanted, values)
            }
            Test::Type(kinds) => is_one_of("type", kinds.iter().map(|kind| kind.clone().into()).collect(), values),
            Test::Label(labels) => {
                let wanted = labels.iter().map(|label| label.clone().into()).collect();
                format!("id IN (SELECT task FROM label WHERE {})", is_one_of("label", wanted, values))
            }
            Test::Priority(ranges) => within("priority", ranges, values),
            Test::Created(ranges) => within("created_at", ranges, values),
            Test::Updated(ranges) => within("updated_at", ranges, values),
            // A task without a due time must fail the test, so that it passes the negated one.
            Test::Due(ranges) => format!("due IS NOT NULL AND ({})", within("due", ranges, values)),
            Test::Among(ids) => among(ids, values),
            Test::Any(tests) => {
                any(&tests.iter().map(|test| format!("({})", self.part(test, values))).collect::<Vec<_>>())
            }
        }
    }
}

fn any(parts: &[String]) -> String {
    if parts.is_empty() { "0".to_owned() } else { parts.join(" OR ") }
}

fn among(ids: &[Id], values: &mut Vec<Value>) -> String {
    let ids: Vec<String> = ids.iter().map(Id::to_string).collect();
    values.push(serde_json::Value::from(ids).to_string().into());
    "id IN (SELECT value FROM json_each(?))".to_owned()
}

fn within(column: &str, ranges: &[Range], values: &mut Vec<Value>) -> String {
    let parts: Vec<String> = ranges
        .iter()
        .map(|range| {
            values.extend([range.from.unwrap_or(i64::MIN).into(), range.to.unwrap_or(i64::MAX).into()]);
            format!("{column} BETWEEN ? AND ?")
        })
        .collect();
    any(&parts)
}
