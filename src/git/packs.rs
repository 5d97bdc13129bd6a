//! What packed objects build upon, kept at hand while many of them are read.
//!
//! Promises: bounded memory; one that is asked for again and again stays. It belongs to one look at many objects: where a pack
//! lies in memory may be another pack's place later, so whoever uses it holds each object against its name.
//! Refuses to know: what the objects are.

use std::collections::HashMap;
use std::mem;

use gix::objs::Kind;
use gix::odb::pack::cache::DecodeEntry;

/// Most bytes that are held, in two halves: the half that is filled, and the one that was filled before it.
const MOST: usize = 16 * 1024 * 1024;
/// A larger object is not held.
const LARGEST: usize = 256 * 1024;

/// An object as it came out of a pack.
struct Held {
    kind: Kind,
    packed: usize,
    data: Vec<u8>,
}

type Half = HashMap<(u32, u64), Held>;

/// Objects by their places in packs.
#[derive(Default)]
pub(super) struct Bases {
    young: Half,
    old: Half,
    /// Bytes of the young half.
    bytes: usize,
}

impl Bases {
    fn hold(&mut self, place: (u32, u64), held: Held) {
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
            self.hold((pack, offset), Held { kind, packed, data: data.to_owned() });
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
