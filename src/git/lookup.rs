//! Looks up an object while git may be packing: it may have moved since a moment ago.
//!
//! Guarantees that an object which is neither loose nor in the known packs is looked up once in the reopened repository. It
//! is looked up again only after packs were added or removed. So a thousand missing objects cost little more than one.
//! Leaves to others: what the objects are.

use gix::objs::Kind;

use super::objects::failed;
use super::packs::Bases;
use super::{Objects, Oid, Repo};
use crate::env::files::Mark;
use crate::env::outside;
use crate::error::Result;

/// The repository as it was when it was last reopened.
pub(super) struct Reopening {
    repo: gix::Repository,
    /// The mark of the folder of packs before it was opened.
    packs: Mark,
}

impl Repo {
    /// As [`Repo::objects`], for reading thousands of objects: with a cache of what packed ones build upon. Each thread opens
    /// its own.
    ///
    /// Errors: as [`Repo::objects`].
    pub fn objects_for_many(&self) -> Result<Objects> {
        let mut objects = self.objects()?;
        objects.repo.objects.set_pack_cache(|| Box::<Bases>::default());
        objects.verifies_names = true;
        Ok(objects)
    }
}

impl Objects {
    /// Looks up an object with `find`. If that fails, tries again in the reopened repository, and in a partial clone after
    /// fetching the object.
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
        let broken = |e: gix::Error| failed(format!("inspect object {id}"), e);
        self.look_here(|repo| repo.find_header(id.0).map_err(broken)).is_ok()
    }

    fn look_here<T>(&self, find: impl Fn(&gix::Repository) -> Result<T>) -> Result<T> {
        find(&self.repo).or_else(|e| {
            let packs = outside::mark(&self.repo.common_dir().join("objects/pack"));
            let mut reopened = self.reopened.borrow_mut();
            if let Some(known) = &*reopened {
                let found = find(&known.repo);
                if found.is_ok() || known.packs == packs {
                    return found;
                }
            }
            let Ok(repo) = gix::open(self.repo.git_dir()) else { return Err(e) };
            let found = find(&repo);
            *reopened = Some(Reopening { repo, packs });
            found
        })
    }

    /// Verifies an object against its name if it may come from memory that another pack occupied before.
    pub(super) fn is_itself(&self, id: Oid, kind: Kind, data: &[u8]) -> Result<()> {
        if !self.verifies_names
            || gix::objs::compute_hash(self.repo.object_hash(), kind, data).is_ok_and(|name| name == id.0)
        {
            return Ok(());
        }
        Err(failed(format!("read object {id}"), "its bytes do not match its name"))
    }
}
