//! Which tasks a list is about, as a condition on the read model.
//!
//! Values are bound, never written into the SQL.

use crate::model::id::Id;
use crate::model::task::Status;

/// Which tasks a list is about.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of one of these statuses; of any where empty.
    pub statuses: Vec<Status>,
    /// Unfinished ones only.
    pub unfinished: bool,
    /// Of this owner.
    pub owner: Option<String>,
    /// Children of this task.
    pub parent: Option<Id>,
    /// With all of these labels.
    pub labels: Vec<String>,
    /// Of this type.
    pub kind: Option<String>,
    /// With this text in title, intent or elsewhere in what was recorded.
    pub text: Option<String>,
    /// Among these.
    pub among: Option<Vec<Id>>,
    /// These too, whatever their status.
    pub also: Vec<Id>,
    /// Not these.
    pub except: Vec<Id>,
    /// After the task with this priority and id.
    pub after: Option<(i64, Id)>,
}

/// Many ids are one value: SQLite takes no more than 32 766 of them.
fn in_list(ids: &[Id]) -> rusqlite::types::Value {
    let words: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!("[{}]", words.join(",")).into()
}

impl Filter {
    /// The condition in SQL, with `?` for each of the values.
    pub(super) fn condition(&self) -> (String, Vec<rusqlite::types::Value>) {
        let mut parts = vec!["is_there".to_owned()];
        let mut values: Vec<rusqlite::types::Value> = Vec::new();
        if self.unfinished {
            parts.push("finished = 0".into());
        }
        if !self.statuses.is_empty() {
            let statuses = vec!["?"; self.statuses.len()].join(",");
            parts.push(format!("(status IN ({statuses}) OR id IN (SELECT value FROM json_each(?)))"));
            values.extend(self.statuses.iter().map(|s| s.as_str().to_owned().into()));
            values.push(in_list(&self.also));
        }
        for (column, value) in [("owner", &self.owner), ("type", &self.kind)] {
            if let Some(value) = value {
                parts.push(format!("{column} = ?"));
                values.push(value.clone().into());
            }
        }
        if let Some(parent) = self.parent {
            parts.push("parent = ?".into());
            values.push(parent.to_string().into());
        }
        for label in &self.labels {
            parts.push("id IN (SELECT task FROM label WHERE label = ?)".into());
            values.push(label.clone().into());
        }
        if let Some(text) = &self.text {
            // The stored document is JSON; a text is looked for as JSON writes it.
            let json = serde_json::Value::from(text.as_str()).to_string();
            parts.push("(instr(lower(title), lower(?)) OR id IN (SELECT task FROM doc WHERE instr(lower(CAST(doc AS TEXT)), lower(?))))".into());
            values.push(text.clone().into());
            values.push(json[1..json.len() - 1].to_owned().into());
        }
        if !self.except.is_empty() {
            parts.push("id NOT IN (SELECT value FROM json_each(?))".into());
            values.push(in_list(&self.except));
        }
        if let Some(among) = &self.among {
            parts.push("id IN (SELECT value FROM json_each(?))".into());
            values.push(in_list(among));
        }
        (parts.join(" AND "), values)
    }
}
