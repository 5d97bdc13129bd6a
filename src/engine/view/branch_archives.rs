//! The archives of other branches: a task that another branch finished and compacted is finished there.
//!
//! Guarantees that an archive is read once in the life of a clone, and only if it differs from those of the commit checked out here.
//! Leaves to others: which branches count (`branches`).

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use super::branches::{Branches, ObjectReader};
use crate::git::Oid;
use crate::model::id::Id;
use crate::store::archive::{Place, entries_in, places, places_of};
use crate::store::facts::{Name, State};
use crate::store::layout::{ARCHIVE, is_archive};

impl Branches {
    /// Lists the archives that differ from those here, in these trees of branches.
    pub(super) fn list_archives(&mut self, here: Option<Name>, trees: BTreeMap<Name, Vec<String>>) {
        let here: HashSet<Name> = here.and_then(|tree| self.archives_in(&tree)).into_iter().flatten().collect();
        let mut archives: BTreeMap<Name, Vec<String>> = BTreeMap::new();
        for (tree, names) in trees {
            match self.archives_in(&tree) {
                None => self.mark_incomplete(&names),
                Some(blobs) => blobs.into_iter().filter(|blob| !here.contains(blob)).for_each(|blob| {
                    archives.entry(blob).or_default().extend(names.iter().cloned());
                }),
            }
        }
        self.archives = archives.into_iter().collect();
    }

    /// The archives in a tree; `None` if it is unreadable.
    fn archives_in(&mut self, tree: &Name) -> Option<Vec<Name>> {
        let text = match self.facts.folders(tree) {
            Some(text) => text,
            None => {
                let items = self.reading.items(tree)?.into_iter();
                let archives = items.filter(|(name, _)| is_archive(&format!("{ARCHIVE}/{name}")));
                let text: String = archives.map(|(name, item)| format!("{name} {}\n", item.oid)).collect();
                self.news.folders.push((tree.clone(), text.clone()));
                text
            }
        };
        Some(text.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect())
    }

    /// The states that archives of other branches give a task, with the branches of each.
    pub(super) fn archived_states(&mut self, id: Id) -> Vec<(Vec<String>, State)> {
        let mut states = Vec::new();
        for (archive, names) in self.archives.clone() {
            let Some(places) = self.places(&archive) else {
                self.mark_incomplete(&names);
                continue;
            };
            let own = places_of(&places, id);
            if own.is_empty() {
                continue;
            }
            let mut last = self.last_archive.take();
            let state = self.state_by(&archive, id, |reading| {
                let bytes = archive_bytes(reading, &archive, &mut last)?;
                let range = |place: &Place| bytes.get(place.at as usize..place.at as usize + place.length as usize);
                Some(own.iter().filter_map(range).flat_map(|bytes| entries_in(id, bytes)).collect())
            });
            self.last_archive = last;
            match state {
                Some(state) => states.push((names, state)),
                None => self.mark_incomplete(&names),
            }
        }
        states
    }

    /// Where the lines of each task stand in an archive; `None` if it is unreadable.
    fn places(&mut self, archive: &Name) -> Option<Rc<[Place]>> {
        if let Some(places) = self.read_archives.get(archive) {
            return places.clone();
        }
        let found = self.facts.archive(archive).or_else(|| {
            // Reading from memory does not fail.
            let found = places(archive_bytes(&mut self.reading, archive, &mut self.last_archive)?).unwrap_or_default();
            self.news.archives.push((archive.clone(), found.clone()));
            Some(found)
        });
        let found: Option<Rc<[Place]>> = found.map(Rc::from);
        self.read_archives.insert(archive.clone(), found.clone());
        found
    }
}

/// The bytes of an archive. Of several that are read in turn, the last one is held.
fn archive_bytes<'l>(
    reading: &mut ObjectReader,
    archive: &Name,
    last: &'l mut Option<(Name, Vec<u8>)>,
) -> Option<&'l [u8]> {
    if last.as_ref().is_none_or(|(name, _)| name != archive) {
        let read = archive.parse().and_then(|oid: Oid| reading.objects()?.blob(oid));
        *last = Some((archive.clone(), reading.tolerate(read)?));
    }
    last.as_ref().map(|(_, bytes)| bytes.as_slice())
}
