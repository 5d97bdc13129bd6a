//! Looking at an object where git may be packing: it may lie elsewhere than a moment ago.
//!
//! Promises: what is neither loose any more nor in the packs that are known is looked for in the repository opened anew, once,
//! and again only after packs came or went; so a thousand objects that are missing cost little more than one.
//! Refuses to know: what the objects are.

use gix::objs::Kind;

use super::objects::failed;
use super::packs::Bases;
use super::{Objects, Oid, Repo};
use crate::env::files::{Mark, mark_outside};
use crate::error::Result;

/// The repository as it was when it was last opened anew.
pub(super) struct Anew {
    repo: gix::Repository,
    /// The folder of packs, before it was opened.
    packs: Mark,
}

impl Repo {
    /// As [`Repo::objects`], for whoever reads thousands of objects: with what packed ones build upon at hand. Each thread opens
    /// its own.
    ///
    /// Errors: as [`Repo::objects`].
    pub fn objects_for_many(&self) -> Result<Objects> {
        let mut objects = self.objects()?;
        objects.repo.objects.set_pack_cache(|| Box::<Bases>::default());
        objects.is_wary = true;
        Ok(objects)
    }
}

impl Objects {
    /// What `find` finds of an object; where it fails, once more in the repository opened anew, and where a partial clone lacks
    /// the object, once more after fetching it.
    ///
    /// Errors: those of `find`.
    pub(super) fn look<T>(&self, id: Oid, find: impl Fn(&gix::Repository) -> Result<T>) -> Result<T> {
        self.look_here(&find).or_else(|e| match self.is_partial() && !self.has(id) {
            true => {
                self.fetch_missing([id])?;
                self.look_here(&find)
            }
            false => Err(e),
        })
    }

    /// Whether an object is here; no remote is asked.
    pub fn has(&self, id: Oid) -> bool {
        let broken = |e: gix::Error| failed(format!("look at object {id}"), e);
        self.look_here(|repo| repo.find_header(id.0).map_err(broken)).is_ok()
    }

    fn look_here<T>(&self, find: impl Fn(&gix::Repository) -> Result<T>) -> Result<T> {
        find(&self.repo).or_else(|e| {
            let packs = mark_outside(&self.repo.common_dir().join("objects/pack"));
            let mut anew = self.anew.borrow_mut();
            if let Some(known) = &*anew {
                let found = find(&known.repo);
                if found.is_ok() || known.packs == packs {
                    return found;
                }
            }
            let Ok(repo) = gix::open(self.repo.git_dir()) else { return Err(e) };
            let found = find(&repo);
            *anew = Some(Anew { repo, packs });
            found
        })
    }

    /// Holds what was read against its name, where it may come from a place that another pack had before.
    pub(super) fn is_itself(&self, id: Oid, kind: Kind, data: &[u8]) -> Result<()> {
        if !self.is_wary || gix::objs::compute_hash(self.repo.object_hash(), kind, data).is_ok_and(|name| name == id.0)
        {
            return Ok(());
        }
        Err(failed(format!("read object {id}"), "its bytes are not those it is named by"))
    }
}
