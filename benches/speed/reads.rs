//! What only reads: `--version`, questions about the plan beside `git status` of the same work tree, and questions about one task
//! beside `--version`, since they cost the same in a plan of any size.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::room::{Repo, Room, agentpm, command, git_status};
use crate::run::{Rounds, cool, in_turn, printed, run, time};
use crate::table::{Line, Most, Report, Unit};

/// The names of these lines.
pub const NAMES: &[&str] = &["next", "ready", "brief", "get", "log", "list"];

/// The words of a command in one round.
type Words<'a> = &'a dyn Fn(usize) -> Vec<String>;
/// What a question is compared with: its name, and how it is run.
type Floor<'a> = (&'static str, &'a dyn Fn() -> Command);

/// `--version` beside a program that does nothing.
pub fn version(room: &Room, report: &mut Report) {
    room.tell("--version");
    let (source, empty) = (room.at("empty.rs"), room.at("empty"));
    std::fs::write(&source, "fn main() {}\n").expect("a program of nothing");
    let mut compile = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    run({
        compile.arg("-O").arg("-o").arg(&empty).arg(&source);
        compile
    });
    let here = room.at("");
    let ours = |_| time(agentpm(&here, "bench", &["--version"]));
    let rounds = if room.asked.small { Rounds::ONE } else { Rounds { most: 301, ..Rounds::MANY } };
    let (ours, floor) = in_turn(rounds, ours, |_| time(command(&empty, &here, &[])));
    report.lines.push(Line {
        name: "version",
        what: "`--version`".into(),
        tasks: None,
        beside: "an empty Rust program".into(),
        most: Most::Times(1.5),
        unit: Unit::Ms,
        ours,
        floor: Some(floor),
        cold: None,
    });
}

/// The questions, on one store that nothing has changed since it was committed.
pub fn measure(room: &Room, repo: &Repo, report: &mut Report) {
    let third = if repo.tasks >= room.asked.middle() { Most::Times(1.0 / 3.0) } else { Most::Anything };
    let some = |n: usize| repo.open[n % repo.open.len()].clone();
    let status = || git_status(&repo.path);
    let start = || agentpm(&repo.path, "bench", &["--version"]);
    let (git, version): (Floor, Floor) = (("`git status --porcelain`", &status), ("`--version`", &start));
    let all: [(&'static str, &str, Most, Floor, Words); 6] = [
        ("next", "`next`", third, git, &|_| vec!["next".into()]),
        ("ready", "`ready`", third, git, &|_| vec!["ready".into()]),
        ("brief", "`brief`", Most::Times(3.0), version, &|n| vec!["brief".into(), some(n)]),
        ("get", "`task get`", Most::Times(3.0), version, &|n| vec!["task".into(), "get".into(), some(n)]),
        ("log", "`log ID`", Most::Times(3.0), version, &|n| vec!["log".into(), some(n)]),
        ("list", "`task list --all --json`", Most::Times(0.5), git, &|_| {
            ["task", "list", "--all", "--json"].map(str::to_owned).into()
        }),
    ];
    let (programs, tops) = (programs(), [repo.path.join(".agentpm"), repo.path.join(".git")]);
    let cool = || {
        let (tops, programs) = (tops.each_ref().map(PathBuf::as_path), programs.each_ref().map(PathBuf::as_path));
        cool(&tops, &programs, !room.asked.small);
    };
    for (name, what, most, (beside, least), args) in all {
        // The whole list is promised at the middle size alone.
        if !room.asked.wants(name) || (name == "list" && repo.tasks != room.asked.middle()) {
            continue;
        }
        room.tell(&format!("{name} at {}", repo.tasks));
        let ours = |n: usize| {
            let args = args(n);
            time(agentpm(&repo.path, "bench", &args.iter().map(String::as_str).collect::<Vec<_>>()))
        };
        let (many, few) = if room.asked.small { (Rounds::ONE, Rounds::ONE) } else { (Rounds::MANY, Rounds::FEW) };
        let (warm, floor) = in_turn(many, ours, |_| time(least()));
        // The program itself is warm: `--version` has nothing to be cold.
        let cold = (repo.tasks >= room.asked.middle() && beside == git.0).then(|| {
            room.tell(&format!("{name} at {}, cold", repo.tasks));
            room.settle();
            let cold_ours = |n: usize| {
                cool();
                ours(n)
            };
            let cold_floor = |_| {
                cool();
                time(least())
            };
            in_turn(few, cold_ours, cold_floor)
        });
        report.lines.push(Line {
            name,
            what: what.into(),
            tasks: Some(repo.tasks),
            beside: beside.into(),
            most,
            unit: Unit::Ms,
            ours: warm,
            floor: Some(floor),
            cold,
        });
    }
    // What was cooled is warm again for those who come after.
    run(agentpm(&repo.path, "bench", &["next"]));
    run(git_status(&repo.path));
}

/// Both programs that are run cold, and are to be warm themselves.
fn programs() -> [PathBuf; 2] {
    let git = printed(command("sh", Path::new("/"), &["-c", "command -v git"]));
    [env!("CARGO_BIN_EXE_agentpm").into(), git.trim().into()]
}
