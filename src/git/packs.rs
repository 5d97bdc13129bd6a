//! A cache of the objects that packed deltas build upon, for reading many objects.
//!
//! Guarantees bounded memory; an object that is asked for repeatedly stays. A cache belongs to one look at many objects.
//! Another pack may later occupy the memory of an earlier one, so the reader verifies each object against its name.
//! Leaves to others: what the objects are.

use std::collections::HashMap;
use std::mem;

use gix::objs::Kind;
use gix::odb::pack::cache::DecodeEntry;

/// The most bytes that are held, in two halves: the one being filled, and the one that was filled before it.
const MOST: usize = 16 * 1024 * 1024;
/// A larger object is not held.
const LARGEST: usize = 256 * 1024;

/// An object as unpacked.
struct CachedObject {
    kind: Kind,
    packed: usize,
    data: Vec<u8>,
}

type Half = HashMap<(u32, u64), CachedObject>;

/// Objects by their places in packs.
#[derive(Default)]
pub(super) struct Bases {
    young: Half,
    old: Half,
    /// Bytes in the younger half.
    bytes: usize,
}

impl Bases {
    fn hold(&mut self, place: (u32, u64), held: CachedObject) {
        if self.bytes + held.data.len() > MOST / 2 {
            self.old = mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += held.data.len();
        if let Some(before) = self.young.insert(place, held) {
            self.bytes -= before.data.len();
        }
    }
}

impl DecodeEntry for Bases {
    fn put(&mut self, pack: u32, offset: u64, data: &[u8], kind: Kind, packed: usize) {
        if data.len() <= LARGEST {
            self.hold((pack, offset), CachedObject { kind, packed, data: data.to_owned() });
        }
    }

    fn get(&mut self, pack: u32, offset: u64, out: &mut Vec<u8>) -> Option<(Kind, usize)> {
        let place = (pack, offset);
        if let Some(held) = self.old.remove(&place) {
            self.hold(place, held);
        }
        let held = self.young.get(&place)?;
        out.clear();
        out.extend_from_slice(&held.data);
        Some((held.kind, held.packed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_gives_way() {
        let (mut bases, mut out) = (Bases::default(), Vec::new());
        let data = vec![7; LARGEST];
        for offset in 0..1_000 {
            bases.put(0, offset, &data, Kind::Blob, 9);
            assert_eq!(bases.get(0, 0, &mut out), Some((Kind::Blob, 9)), "{offset}");
            assert_eq!(out, data);
        }
        assert!((bases.young.len() + bases.old.len()) * LARGEST <= MOST);
        assert_eq!(bases.get(0, 1, &mut out), None);
        bases.put(0, 1_000, &vec![7; LARGEST + 1], Kind::Blob, 9);
        assert_eq!(bases.get(0, 1_000, &mut out), None, "too large");
    }
}
