//! The settings in force, and where each comes from.
//!
//! Guarantees that the files are read as they are now, and that a password in an address is not shown.
//! Leaves to others: flags, which count for one command.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Workspace;
use super::open::readable_settings;
use crate::error::{Code, Error, Result};
use crate::model::settings::Settings;
use crate::reports::redact::without_passwords;
use crate::store::config::{combine, values};
use crate::store::setting::{model_of, name_of, path_of, value_at};

/// Where the value of a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SettingSource {
    /// No file and no variable sets it.
    Default,
    /// The user's own file.
    User,
    /// The file of the store.
    Store,
    /// An environment variable.
    Environment,
}

/// A setting, and where its value comes from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SettingView {
    /// Its name.
    pub key: String,
    /// Its value; null where none is set.
    pub value: Value,
    /// Where the value comes from.
    pub source: SettingSource,
    /// The file or the variable.
    pub place: Option<String>,
}

impl SettingView {
    /// The value as a text without quotes; empty where none is set.
    pub fn text(&self) -> String {
        match &self.value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// The settings that an environment variable overrides.
const VARIABLES: [(&str, &str); 3] =
    [("agent", "AGENTPM_AGENT"), ("bus.url", "AGENTPM_BUS_URL"), ("bus.creds", "AGENTPM_BUS_CREDS")];

/// All settings, in the order of their definition, or those of a section.
///
/// Errors: `ERR_VALIDATION` for a section that does not exist.
pub(crate) fn all(ws: &Workspace, section: Option<&str>) -> Result<Vec<SettingView>> {
    let files = readable_settings(&ws.env, &ws.store, &mut Vec::new())?;
    let settings = combine(&files).0;
    let json = serde_json::to_value::<Settings>(settings)
        .map_err(|e| Error::new(Code::Corrupt, format!("the settings: {e}")))?;
    let mut found = Vec::new();
    flatten(&json, &mut Vec::new(), &mut found);
    let tables: Vec<_> =
        files.iter().filter_map(|file| values(file, &mut Vec::new()).map(|table| (file, table))).collect();
    let view = |(path, value): (Vec<String>, Value)| {
        let key = name_of(&path);
        let of_environment = VARIABLES
            .iter()
            .filter(|(name, _)| *name == key)
            .find_map(|(_, variable)| Some((*variable, ws.env.var(variable)?)));
        let (value, source, place) = match of_environment {
            Some((variable, value)) => (value.into(), SettingSource::Environment, Some(variable.to_owned())),
            None => match tables.iter().rev().find(|(_, table)| value_at(table, &path).is_some()) {
                Some((file, _)) if file.is_users => (value, SettingSource::User, Some(file.name.clone())),
                Some((file, _)) => (value, SettingSource::Store, Some(file.name.clone())),
                None => (value, SettingSource::Default, None),
            },
        };
        SettingView { key, value: without_passwords(&value), source, place }
    };
    let within = match section {
        Some(name) => path_of(name)?,
        None => Vec::new(),
    };
    let views: Vec<_> = found.into_iter().filter(|(path, _)| path.starts_with(&within)).map(view).collect();
    let is_section = within.iter().try_fold(&json, |node, part| node.get(part)).is_some_and(Value::is_object);
    match section {
        Some(name) if views.is_empty() && !is_section => one(ws, name).map(|view| vec![view]),
        _ => Ok(views),
    }
}

/// One setting.
///
/// Errors: `ERR_VALIDATION` for an unknown name, with the nearest known one.
pub(crate) fn one(ws: &Workspace, name: &str) -> Result<SettingView> {
    let path = path_of(name)?;
    let key = name_of(&path);
    if let Some(view) = all(ws, None)?.into_iter().find(|view| view.key == key) {
        return Ok(view);
    }
    match &path[..] {
        // Any name may be that of a saved query.
        [section, _] if section == "query" => {
            Err(Error::validation(format!("no query is saved as {key}")).hint("agentpm config list query shows them"))
        }
        _ => model_of(&path).map(|_| SettingView {
            key,
            value: Value::Null,
            source: SettingSource::Default,
            place: None,
        }),
    }
}

fn flatten(value: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, Value)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                flatten(value, path, found);
                path.pop();
            }
        }
        leaf => found.push((path.clone(), leaf.clone())),
    }
}
