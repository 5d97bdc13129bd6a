//! Git packs its objects while they are read: what was found a moment ago lies elsewhere now.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use agentpm::git::{Oid, discover};

use crate::sandbox::Sandbox;

/// A repository with so many blobs, and their ids.
fn with_blobs(room: &Sandbox, from: usize, to: usize) -> Vec<Oid> {
    let blob = |n: usize| {
        fs::write(room.repo().join(format!("f{n}")), format!("blob {n}\n")).unwrap();
        let id = room.git(&["hash-object", "-w", &format!("f{n}")]).text().trim().parse().unwrap();
        room.git(&["add", &format!("f{n}")]).text();
        id
    };
    let ids = (from..to).map(blob).collect();
    room.git(&["commit", "-q", "-m", "blobs"]).text();
    ids
}

#[test]
fn objects_packed_between_two_reads_are_found() {
    let room = Sandbox::new();
    let mut ids = with_blobs(&room, 0, 8);
    let objects = discover(&room.repo()).unwrap().expect("a repository").objects().unwrap();
    assert_eq!(objects.blob(ids[0]).unwrap(), b"blob 0\n");
    // From loose objects into a pack, then from that pack into another, again and again.
    for round in 1..7 {
        ids.extend(with_blobs(&room, round * 8, round * 8 + 8));
        room.git(&["repack", "-a", "-d", "-q"]).text();
        room.git(&["prune-packed", "-q"]).text();
        let (old, new) = (round * 8 - 1, round * 8 + 3);
        assert_eq!(objects.blob(ids[old]).unwrap(), format!("blob {old}\n").into_bytes(), "round {round}");
        // What is made of such a commit needs its size, its bytes and itself.
        let head = room.git(&["rev-parse", "HEAD"]).text().trim().parse().unwrap();
        assert_eq!(objects.commit(head).unwrap().message, b"blobs\n", "round {round}");
        assert_eq!(objects.size(ids[new]).unwrap(), format!("blob {new}\n").len() as u64, "round {round}");
        assert_eq!(objects.blob(ids[new]).unwrap(), format!("blob {new}\n").into_bytes(), "round {round}");
    }
}

#[test]
fn reading_many_objects_finds_delta_bases() {
    let room = Sandbox::new();
    let long = |n: usize| {
        (0..400).map(|line| format!("line {line} of {}\n", if line == n { n } else { 0 })).collect::<String>()
    };
    for n in 0..40 {
        fs::write(room.repo().join(format!("long{n}")), long(n)).unwrap();
    }
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "long ones"]).text();
    let id = |n: usize| -> Oid { room.git(&["rev-parse", &format!("HEAD:long{n}")]).text().trim().parse().unwrap() };
    let ids: Vec<Oid> = (0..40).map(id).collect();
    let objects = discover(&room.repo()).unwrap().expect("a repository").objects_for_many().unwrap();
    for depth in ["50", "10", "3"] {
        room.git(&["repack", "-a", "-d", "-f", "-q", "--window=20", &format!("--depth={depth}")]).text();
        for (n, id) in ids.iter().enumerate().chain(ids.iter().enumerate().rev()) {
            assert_eq!(objects.blob(*id).unwrap(), long(n).into_bytes(), "{n} at depth {depth}");
        }
    }
}

#[test]
fn objects_packed_during_a_read_are_found() {
    let room = Sandbox::new();
    let ids = with_blobs(&room, 0, 24);
    let (repo, done) = (room.repo(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let objects = discover(&repo).unwrap().expect("a repository").objects().unwrap();
                for (n, id) in ids.iter().enumerate() {
                    assert_eq!(objects.blob(*id).unwrap(), format!("blob {n}\n").into_bytes());
                }
            }
        });
        for round in 1..40 {
            with_blobs(&room, 24 + round * 2, 26 + round * 2);
            room.git(&["repack", "-a", "-d", "-q"]).text();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}
