//! Many processes that write at once, beside one that makes as many changes: how many a second, how long each waits, and that no
//! change is lost.

use std::collections::BTreeSet;

use agentpm::model::event::parse_line;
use agentpm::model::payload::Payload;
use agentpm::store::layout::{LOG, STORE, task_dir};

use crate::floor::as_floor;
use crate::room::{Repo, Room, agentpm};
use crate::run::{Figures, printed, run};
use crate::table::{Crowd, Report};

/// Tasks that all writers change, besides making their own.
const SHARED: usize = 4;

/// 64 writers, and then one.
pub fn measure(room: &Room, report: &mut Report) {
    let (writers, each) = if room.asked.small { (4, 3) } else { (64, 21) };
    let tasks = room.asked.sizes[0];
    let all = writers * each;

    let repo = room.standard_as(tasks, "crowd");
    room.tell(&format!("{writers} writers at once"));
    let ranges: Vec<(usize, usize)> = (0..writers).map(|w| (w * each, (w + 1) * each)).collect();
    let (together, waits) = write(room, &repo, &ranges);
    let kept = found(&repo, all);
    drop(repo);

    let repo = room.standard_as(tasks, "alone");
    room.tell("one writer");
    let (alone, alone_waits) = write(room, &repo, &[(0, all)]);
    found(&repo, all);

    let at = |all: &[f64], part: usize| all[(all.len() - 1) * part / 100];
    report.crowd = Some(Crowd {
        writers,
        commands: all,
        together: all as f64 / together,
        alone: all as f64 / alone,
        p50: at(&waits, 50),
        p99: at(&waits, 99),
        longest: at(&waits, 100),
        alone_p50: Figures::of(alone_waits).median,
        kept,
    });
}

/// Starts a writer for each range of steps; how many seconds it took until all were done, and how long each change took, sorted.
fn write(room: &Room, repo: &Repo, ranges: &[(usize, usize)]) -> (f64, Vec<f64>) {
    room.settle();
    let begun = std::time::Instant::now();
    let children: Vec<_> = ranges
        .iter()
        .enumerate()
        .map(|(w, (from, until))| {
            let to = room.at(&format!("waits-{w}"));
            let (from, until) = (from.to_string(), until.to_string());
            let mut args = vec![to.to_str().expect("UTF-8"), "writer", &from, &until];
            args.extend(repo.open[..SHARED].iter().map(String::as_str));
            (as_floor("writer", &repo.path, &args).spawn().expect("a writer starts"), to.clone())
        })
        .collect();
    let ended: Vec<_> = children
        .into_iter()
        .map(|(mut child, to)| {
            assert!(child.wait().expect("a writer ends").success(), "a change was refused");
            to
        })
        .collect();
    let took = begun.elapsed().as_secs_f64();
    let texts = ended.iter().map(|to| std::fs::read_to_string(to).expect("the times"));
    let mut waits: Vec<f64> = texts
        .flat_map(|text| text.lines().map(|l| l.parse::<f64>().expect("a time") / 1_000.0).collect::<Vec<_>>())
        .collect();
    waits.sort_by(f64::total_cmp);
    (took, waits)
}

/// Looks for each change that was acknowledged: the new tasks by their titles, the notes and labels of the shared tasks in their logs
/// and in what `task get` answers.
fn found(repo: &Repo, steps: usize) -> usize {
    let mut words = BTreeSet::new();
    let list = printed(agentpm(&repo.path, "bench", &["task", "list", "--limit", "1000000", "--format", "jsonl"]));
    let title = |line: &str| Some(serde_json::from_str::<serde_json::Value>(line).ok()?["title"].as_str()?.to_owned());
    words.extend(list.lines().filter_map(title).filter(|title| title.starts_with("writer-")));
    let mut shown = String::new();
    for task in &repo.open[..SHARED] {
        let log = repo.path.join(STORE).join(task_dir(task.parse().expect("an id"))).join(LOG);
        for line in std::fs::read_to_string(log).expect("a log").lines() {
            match parse_line(line).expect("an event").payload {
                Payload::ContextAdded(note) if note.content.starts_with("writer-") => {
                    words.insert(note.content);
                }
                Payload::TaskUpdated(change) => {
                    let labels = change.set.get("labels").and_then(|labels| labels.as_array()).into_iter().flatten();
                    let given = labels.filter_map(|label| label.as_str()).filter(|label| label.starts_with("writer-"));
                    words.extend(given.map(str::to_owned));
                }
                _ => {}
            }
        }
        shown += &printed(agentpm(&repo.path, "bench", &["task", "get", task, "--full"]));
    }
    for step in 0..steps {
        let word = format!("writer-{step}");
        assert!(words.contains(&word), "{word} was acknowledged and is lost");
        assert!(step % 3 == 0 || shown.contains(&format!("\"{word}\"")), "{word} is in a log and without effect");
    }
    run(agentpm(&repo.path, "bench", &["lint"]));
    steps
}
