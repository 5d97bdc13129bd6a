//! `config set`: writes one setting into the file of the store or of the user.
//!
//! Guarantees that the file holds no value that reading it would report, that comments and order stay, and that a concurrent
//! save of the file is not overwritten.
//! Leaves to others: what a setting means, and committing the file (`sync`).

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::engine::commit::write::take_lock;
use crate::engine::context::Workspace;
use crate::engine::context::settings::{SettingView, one};
use crate::engine::view::read;
use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::model::job::ConfigSet;
use crate::rules::roles::Verb;
use crate::store::config::{MAX_CONFIG, SettingsFile};
use crate::store::layout::{CONFIG, STORE};
use crate::store::setting::{model_of, path_of, with_setting};

/// A setting that was written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SettingSet {
    /// The setting as it is in force now.
    #[serde(flatten)]
    pub setting: SettingView,
    /// The value that was in force before.
    pub from: Value,
    /// The file that was written.
    pub written: String,
    /// Whether the file changed.
    pub changed: bool,
    /// Why the written value is not in force.
    #[serde(skip)]
    pub warning: Option<String>,
}

/// Writes a setting.
///
/// Errors: `ERR_VALIDATION` for an unknown name or a value that does not fit, `ERR_UNAUTHORIZED` without the permission `admin` for
/// the store, `ERR_CORRUPT` if the file cannot be read, `ERR_CONFLICT` if another program saved it meanwhile.
pub(crate) fn set(ws: &Workspace, q: &ConfigSet) -> Result<SettingSet> {
    let path = path_of(&q.key)?;
    if path == ["format"] {
        return Err(Error::validation("the format of a store is changed by agentpm migrate alone"));
    }
    let before = match &path[..] {
        [section, _] if section == "query" => one(ws, &q.key).map(|view| view.value).unwrap_or_default(),
        _ => {
            model_of(&path)?;
            one(ws, &q.key)?.value
        }
    };
    let (written, changed) = if q.user { set_users(ws, &path, &q.value)? } else { set_own(ws, &path, &q.value)? };
    let setting = one(ws, &q.key)?;
    let is_everybodys = !q.user && path == ["agent"];
    let warning = is_everybodys.then(|| {
        format!("every agent of every clone is now called {}; with --user it is your name alone", setting.value)
    });
    let warning = warning.or_else(|| {
        setting.place.as_ref().filter(|place| **place != written).map(|place| {
            format!("{} = {} in {place} is in force, not the value that was written", setting.key, setting.value)
        })
    });
    Ok(SettingSet { setting, from: before, written, changed, warning })
}

/// Writes a setting of the store.
fn set_own(ws: &Workspace, path: &[String], value: &str) -> Result<(String, bool)> {
    let agent = ws.author()?.agent;
    let role = if ws.rights.0.is_some() { read::agent_record(ws, &agent)?.role } else { None };
    ws.rights.require(&agent, role.as_deref(), Verb::Admin)?;
    let runtime = ws.runtime_to_write()?;
    let _lock = take_lock(ws, &runtime, &format!("{agent} (config set)"))?;
    let shown = ws.store.shown(CONFIG);
    let changed = rewrite(&ws.store.dir, CONFIG, &shown, false, path, value)?;
    Ok((shown, changed))
}

/// Writes a setting of the user. A file that is a link elsewhere stays one.
fn set_users(ws: &Workspace, path: &[String], value: &str) -> Result<(String, bool)> {
    if ws.request.authenticated {
        return Err(Error::new(
            Code::Unauthorized,
            "the settings of the user who runs the server are not an agent's to change",
        )
        .hint("run agentpm config set --user as that user"));
    }
    let home = ws.env.home().ok_or_else(|| Error::usage("HOME is not set, so there are no settings of the user"))?;
    let shown = home.join(STORE).join(CONFIG);
    outside::make_dirs(&home.join(STORE)).map_err(|e| Error::io("make", &home.join(STORE), &e))?;
    let real = outside::canonical(&shown).unwrap_or_else(|_| shown.clone());
    let (folder, file) = (real.parent().unwrap_or(Path::new("/")), real.file_name().and_then(|name| name.to_str()));
    let dir = Dir::open(folder).map_err(|e| Error::io("open", folder, &e))?;
    let shown = shown.display().to_string();
    let changed = rewrite(&dir, file.unwrap_or(CONFIG), &shown, true, path, value)?;
    Ok((shown, changed))
}

/// Writes a setting into the settings file of a folder; whether that changed the file.
fn rewrite(dir: &Dir, file: &str, name: &str, is_users: bool, path: &[String], value: &str) -> Result<bool> {
    let old = match dir.read(file, MAX_CONFIG) {
        Ok(bytes) => Some(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io("read", &dir.path().join(file), &e)),
    };
    let text = String::from_utf8(old.clone().unwrap_or_default())
        .map_err(|_| Error::new(Code::Corrupt, format!("{name} is not UTF-8; nothing was written")))?;
    let new = with_setting(&SettingsFile { name: name.to_owned(), text, is_users }, path, value)?;
    let failed = |e| Error::io("write", &dir.path().join(file), &e);
    let Some(old) = old else {
        return dir.create_synced(file, new.as_bytes(), 0o666).map(|()| true).map_err(failed);
    };
    if old == new.as_bytes() {
        return Ok(false);
    }
    let mode = dir.mode(file).map_err(failed)?;
    if !dir.replace_unchanged_synced(file, &old, new.as_bytes(), mode).map_err(failed)? {
        return Err(Error::new(Code::Conflict, format!("another program saved {name} meanwhile; nothing was written"))
            .hint("repeat the command"));
    }
    Ok(true)
}
