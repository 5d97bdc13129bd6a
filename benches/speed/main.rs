//! What agentpm costs, compared with the least any program could do for it: the tables of docs/speed.md.
//!
//! All of it are whole processes, ours and the floor in turn on the same disk and the same store, so that the ratio means something
//! on a noisy machine.
//!
//! ```text
//! cargo bench --bench speed                             everything, printed
//! cargo bench --bench speed -- --only create,next       some lines, by name
//! cargo bench --bench speed -- --sizes 1000,10000       other sizes of the store
//! cargo bench --bench speed -- --write                  also into docs/
//! cargo test --bench speed                              all of it very small: that it works, not how fast
//! ```
#![expect(clippy::disallowed_methods, reason = "a benchmark stands outside the program and drives it")]

mod asked;
mod batch;
mod branches;
#[cfg(feature = "bus")]
mod confirmed;
mod conflicts;
mod crowd;
mod docs;
mod floor;
#[cfg(feature = "server")]
mod http;
mod judging;
mod memory;
mod page;
mod picture;
mod reads;
mod room;
mod run;
mod store;
mod table;
mod whole;
mod writes;

use asked::Asked;
use room::Room;
use table::Report;

fn main() {
    if floor::played() {
        return;
    }
    let asked = Asked::from_args(&[40, 80, 160], &[1_000, 10_000, 100_000]);
    if asked.write {
        // Better now than after half an hour.
        docs::folder();
    }
    let room = Room::new(&asked);
    let mut report = Report::new(&asked);
    if asked.wants("version") {
        reads::version(&room, &mut report);
    }
    for tasks in asked.sizes.clone() {
        of_one_size(&room, tasks, &mut report);
    }
    if asked.wants("batch") {
        batch::measure(&room, &mut report);
    }
    if asked.wants("writers") {
        crowd::measure(&room, &mut report);
    }
    #[cfg(feature = "bus")]
    if asked.wants("confirmed") {
        confirmed::measure(&room, &mut report);
    }
    report.sort();
    if asked.small {
        println!("{}", page::is_whole(&report));
    } else {
        print!("{}", page::as_text(&report));
    }
    if asked.write {
        page::write(&report);
    }
}

/// All that is measured on the standard store of this size, changes last.
fn of_one_size(room: &Room, tasks: usize, report: &mut Report) {
    let asked = room.asked;
    let middle = tasks == asked.middle() && asked.wants_any(&[whole::NAMES, judging::NAMES, conflicts::NAMES]);
    let largest = tasks == asked.largest() && asked.wants("memory");
    let bytes = asked.wants("bytes") && (tasks == asked.middle() || tasks == asked.largest());
    #[cfg(feature = "server")]
    let serves = tasks == asked.middle() && asked.wants_any(&[http::NAMES]);
    #[cfg(not(feature = "server"))]
    let serves = false;
    if !asked.wants_any(&[reads::NAMES, writes::NAMES]) && !middle && !largest && !bytes && !serves {
        return;
    }
    let repo = room.standard(tasks);
    reads::measure(room, &repo, report);
    if bytes {
        conflicts::bytes(room, &repo, report);
    }
    if middle {
        whole::measure(room, &repo, report);
        conflicts::measure(room, &repo, report);
        judging::measure(room, &repo, report);
    }
    #[cfg(feature = "server")]
    if serves {
        http::measure(room, &repo, report);
    }
    writes::measure(room, &repo, report);
    if largest {
        memory::measure(room, &repo, report);
    }
}
