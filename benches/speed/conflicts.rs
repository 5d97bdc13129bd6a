//! What git has to carry, beside what git alone does with as much: bytes of a change, many branches, changes on both sides.

use std::path::Path;

use crate::branches::branch_off;
use crate::room::{Repo, Room, agentpm, change, copy, git};
use crate::run::{Figures, Rounds, in_turn, run, time};
use crate::table::{Line, Most, Report, Unit};

/// The names of these lines.
pub const NAMES: &[&str] = &["branches", "sync"];

/// Each on copies of the store.
pub fn measure(room: &Room, repo: &Repo, report: &mut Report) {
    if !room.asked.wants_any(&[NAMES]) {
        return;
    }
    pack(room, repo);
    if room.asked.wants("branches") {
        branches(room, repo, report);
    }
    if room.asked.wants("sync") {
        sync(room, repo, report);
    }
}

fn pack(room: &Room, repo: &Repo) {
    room.tell("packing as git does");
    run(git(&repo.path, &["gc", "-q"]));
}

/// What committing one changed task adds to the loose objects, by `sync` and by git itself.
pub fn bytes(room: &Room, repo: &Repo, report: &mut Report) {
    pack(room, repo);
    room.tell(&format!("bytes of one changed task at {}", repo.tasks));
    let copy = room.copy(&repo.path, "bytes");
    let (mut by_sync, mut by_git) = (Vec::new(), Vec::new());
    for task in repo.open.iter().take(if room.asked.small { 1 } else { 9 }) {
        let note = || run(agentpm(&copy, "bench", &["context", "add", task, "--content", "a decision of some words"]));
        note();
        let before = loose(&copy);
        run(agentpm(&copy, "bench", &["sync", "--no-push"]));
        by_sync.push((loose(&copy) - before) as f64);
        note();
        let before = loose(&copy);
        run(git(&copy, &["add", ".agentpm"]));
        run(git(&copy, &["commit", "-q", "-m", "plan"]));
        by_git.push((loose(&copy) - before) as f64);
    }
    remove(&[&copy]);
    report.lines.push(Line {
        name: "bytes",
        what: "bytes that committing one changed task adds to `.git`".into(),
        tasks: Some(repo.tasks),
        beside: "`git commit` of the same change".into(),
        most: Most::Flat(if repo.tasks <= 10_000 { 6_144.0 } else { 8_192.0 }),
        unit: Unit::Bytes,
        ours: Figures::of(by_sync),
        floor: Some(Figures::of(by_git)),
        cold: None,
    });
}

/// `next` where many branches have each begun a task, against the same with one branch.
fn branches(room: &Room, repo: &Repo, report: &mut Report) {
    let many = if room.asked.small { 5 } else { 500 };
    room.tell(&format!("next with {many} branches"));
    let (alone, among) = (room.copy(&repo.path, "alone"), room.at("among"));
    copy(&repo.path, &among);
    branch_off(&among, repo.tasks, many, |args| git(&among, args));
    run(git(&among, &["update-index", "-q", "--refresh"]));
    run(agentpm(&among, "bench", &["next"]));
    room.settle();
    let rounds = if room.asked.small { Rounds::ONE } else { Rounds::MANY };
    let next = |repo: &Path| time(agentpm(repo, "bench", &["next"]));
    let (ours, floor) = in_turn(rounds, |_| next(&among), |_| next(&alone));
    remove(&[&alone, &among]);
    report.lines.push(Line {
        name: "branches",
        what: format!("`next` with {many} branches"),
        tasks: Some(repo.tasks),
        beside: "`next` with one branch".into(),
        most: Most::Times(1.2),
        unit: Unit::Ms,
        ours,
        floor: Some(floor),
        cold: None,
    });
}

/// `sync` of tasks that were changed on both sides, against git with as many files changed on both sides, each on one only.
fn sync(room: &Room, repo: &Repo, report: &mut Report) {
    let many = if room.asked.small { 4 } else { 200.min(repo.open.len() / 2) };
    room.tell(&format!("sync of {many} tasks changed on both sides"));
    let remote = room.at("remote.git");
    let top = room.at("");
    run(git(&top, &["clone", "-q", "--bare", &repo.path.display().to_string(), "remote.git"]));
    let clone = |name: &str| {
        run(git(&top, &["clone", "-q", "remote.git", name]));
        room.at(name)
    };
    let (ada, bob, plain) = (clone("ada"), clone("bob"), clone("git"));
    let (changed, others) = (&repo.open[..many], &repo.open[many..2 * many]);
    change(&bob, "bob", changed);
    run(agentpm(&bob, "bob", &["sync"]));
    change(&ada, "ada", changed);
    // The same kind of change to other tasks, so that git has nothing to settle.
    change(&plain, "git", others);
    run(git(&plain, &["add", "-A"]));
    run(git(&plain, &["commit", "-q", "-m", "as many files"]));

    let fresh = |from: &Path, name: &str| {
        let (repo, theirs) = (room.at(name), room.at(&format!("{name}.git")));
        remove(&[&repo, &theirs]);
        copy(&remote, &theirs);
        copy(from, &repo);
        run(git(&repo, &["update-index", "-q", "--refresh"]));
        run(agentpm(&repo, "bench", &["next"]));
        run(git(&repo, &["remote", "set-url", "origin", &theirs.display().to_string()]));
        // What was copied just now must not be flushed by what is measured.
        room.settle();
        repo
    };
    let ours = |_| {
        let repo = fresh(&ada, "ours");
        time(agentpm(&repo, "ada", &["sync"]))
    };
    let floor = |_| {
        let repo = fresh(&plain, "floor");
        time(git(&repo, &["pull", "-q", "--rebase"])) + time(git(&repo, &["push", "-q"]))
    };
    let rounds = if room.asked.small { Rounds::ONE } else { Rounds { most: 5, ..Rounds::FEW } };
    let (ours, floor) = in_turn(rounds, ours, floor);
    let made = ["ours", "ours.git", "floor", "floor.git", "ada", "bob", "git", "remote.git"].map(|name| room.at(name));
    remove(&made.each_ref().map(|path| path.as_path()));
    report.lines.push(Line {
        name: "sync",
        what: format!("`sync` of {many} tasks changed on both sides"),
        tasks: Some(repo.tasks),
        beside: "`git pull --rebase` and `git push` of as many files".into(),
        most: Most::Times(1.5),
        unit: Unit::Ms,
        ours,
        floor: Some(floor),
        cold: None,
    });
}

fn remove(folders: &[&Path]) {
    for folder in folders {
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Bytes of all loose objects.
fn loose(repo: &Path) -> u64 {
    let objects = walkdir::WalkDir::new(repo.join(".git/objects")).into_iter().filter_map(Result::ok);
    let is_loose = |path: &Path| path.parent().and_then(Path::file_name).is_some_and(|name| name.len() == 2);
    objects
        .filter(|o| o.file_type().is_file() && is_loose(o.path()))
        .map(|o| o.metadata().expect("its size").len())
        .sum()
}
