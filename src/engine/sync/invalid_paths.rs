//! Refuses paths that a store may not contain, here or at the upstream, before anything is merged.
//!
//! Guarantees that no path of the upstream leads out of the store, into a folder that git or a shell treats specially, or
//! through a link, and that no pipe is read. Git refuses such paths only when it writes the files itself.
//! Leaves to others: what is in the files.

use serde_json::json;

use super::{Sync, refusal};
use crate::env::files::Kind;
use crate::error::{Error, Result};
use crate::git::{Change, Mode, Oid};
use crate::store::layout::TOP_FILES;
use crate::store::log::MAX_LOG;

impl Sync<'_> {
    /// Files that git reads whenever it scans the store. A pipe in their place would block it.
    pub(crate) fn refuse_odd_files(&self) -> Result<()> {
        let dir = &self.ws.store.dir;
        for name in TOP_FILES {
            let kind = dir.kind(name).map_err(|e| Error::io("look at", &self.ws.store.path().join(name), &e))?;
            if kind.is_some_and(|kind| kind != Kind::File) {
                let path = self.ws.store.shown(name);
                return Err(refusal(
                    format!("{path} is no regular file; nothing was changed"),
                    "look at what is there, put the file in its place, then agentpm sync",
                )
                .with(json!({ "paths": [path] })));
            }
        }
        Ok(())
    }

    /// Refuses an upstream whose plan contains invalid paths.
    pub(crate) fn refuse_odd_plan(&self, before: Oid, theirs: Oid) -> Result<()> {
        let name = &self.ws.store.name;
        let there = self.objects.item(self.objects.commit(theirs)?.tree, name)?;
        let hint = "look at it with git log and git ls-tree; the author who pushed it must remove it again";
        match (there, self.plan_of(before)?) {
            (Some(item), _) if item.mode != Mode::Tree => {
                return Err(refusal(format!("{name} is no folder at the upstream; nothing was changed"), hint));
            }
            // An upstream that never had a plan removed none.
            (None, Some(_)) if self.had_plan(before, theirs)? => {
                return Err(refusal(
                    format!("the upstream removed all of {name}; nothing was changed"),
                    "look at git log of the upstream; agentpm sync --no-push would refuse as well",
                ));
            }
            _ => {}
        }
        for change in self.objects.changes(self.plan_of(before)?, there.map(|item| item.oid))? {
            if let Some(why) = self.is_odd(&change)? {
                let path = self.ws.store.shown(&change.path);
                return Err(refusal(
                    format!("the upstream's {} {why}; nothing was changed", crate::model::id::quoted(&path)),
                    hint,
                )
                .with(json!({ "paths": [path] })));
            }
        }
        Ok(())
    }

    /// Whether the plan was there when both sides parted.
    fn had_plan(&self, before: Oid, theirs: Oid) -> Result<bool> {
        let parted = self.objects.merge_base(before, theirs)?;
        Ok(parted.map(|parted| self.plan_of(parted)).transpose()?.flatten().is_some())
    }

    fn is_odd(&self, change: &Change) -> Result<Option<&'static str>> {
        let Some(new) = change.new else { return Ok(None) };
        let odd = |part: &str| {
            matches!(part, "" | "." | "..")
                || part.eq_ignore_ascii_case(".git")
                || part.eq_ignore_ascii_case("git~1")
                || part.contains(['\\', ':'])
                || part.chars().any(|c| c.is_control() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'))
        };
        if change.path.split('/').any(odd) {
            return Ok(Some("has a name that no file of a store may have"));
        }
        if !matches!(new.mode, Mode::File | Mode::Executable) {
            return Ok(Some("is no regular file"));
        }
        Ok((self.objects.size(new.oid)? > MAX_LOG).then_some("is larger than any file of a store"))
    }
}
