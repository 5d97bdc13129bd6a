//! What judging a change costs, beside what git itself prints of the same change.

use crate::room::{Repo, Room, agentpm, change, git};
use crate::run::{Figures, Rounds, in_turn, run, time};
use crate::table::{Line, Most, Report, Unit};

/// The names of these lines.
pub const NAMES: &[&str] = &["staged", "review"];
/// Tasks that the branch changes.
const CHANGED: usize = 30;

/// What a commit would add, and what a branch does to the plan, on a copy of the store.
pub fn measure(room: &Room, repo: &Repo, report: &mut Report) {
    if !room.asked.wants_any(&[NAMES]) {
        return;
    }
    room.tell("lint --staged and review");
    let copy = room.copy(&repo.path, "judged");
    let rounds = if room.asked.small { Rounds::ONE } else { Rounds::SOME };
    // From the end: the first ones are begun on branches and by others.
    let tasks: Vec<String> = repo.open.iter().rev().take(CHANGED + 1).cloned().collect();
    change(&copy, "bench", &tasks[..1]);
    run(git(&copy, &["add", "-A"]));
    let ours = |_| time(agentpm(&copy, "bench", &["lint", "--staged"]));
    let figures = in_turn(rounds, ours, |_| time(git(&copy, &["diff", "--cached"])));
    report.lines.push(line("staged", "`lint --staged` of one task".into(), repo, "`git diff --cached`", figures));

    run(git(&copy, &["checkout", "-q", "-b", "work"]));
    change(&copy, "bench", &tasks[1..]);
    run(git(&copy, &["add", "-A"]));
    run(git(&copy, &["commit", "-q", "-m", "work on many tasks"]));
    let ours = |_| time(agentpm(&copy, "bench", &["review", "main..work"]));
    let figures = in_turn(rounds, ours, |_| time(git(&copy, &["diff", "main..work"])));
    let what = format!("`review` of {} tasks", tasks.len() - 1);
    report.lines.push(line("review", what, repo, "`git diff main..work`", figures));
    let _ = std::fs::remove_dir_all(copy);
}

fn line(name: &'static str, what: String, repo: &Repo, beside: &str, figures: (Figures, Figures)) -> Line {
    Line {
        name,
        what,
        tasks: Some(repo.tasks),
        beside: beside.into(),
        most: Most::Anything,
        unit: Unit::Ms,
        ours: figures.0,
        floor: Some(figures.1),
        cold: None,
    }
}
