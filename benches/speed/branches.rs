//! Many branches of the standard store, on each of which another agent has begun one task.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use agentpm::model::event::{Author, Event, parse_line};
use agentpm::model::id::Id;
use agentpm::model::payload::{Payload, TaskStatusChanged};
use agentpm::model::task::Status;
use agentpm::store::layout::{LOG, STORE, task_dir};

use crate::store::{BEGUN, MINUTE, id_at, open_tasks};

/// Makes as many branches of `main`.
pub fn branch_off(repo: &Path, tasks: usize, many: usize, git: impl Fn(&[&str]) -> Command) {
    let open = open_tasks(tasks);
    let mut child = git(&["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().expect("git starts");
    let mut to = BufWriter::new(child.stdin.take().expect("a pipe"));
    for n in 0..many {
        let task: Id = open[n % open.len()].parse().expect("an id");
        let path = Path::new(STORE).join(task_dir(task)).join(LOG);
        let log = std::fs::read_to_string(repo.join(&path)).expect("a log");
        let last = parse_line(log.lines().last().expect("an event")).expect("an event");
        let change = TaskStatusChanged {
            from: Status::Open,
            to: Status::InProgress,
            owner: Some(Some("elsewhere".into())),
            changed_at: None,
            forced: Vec::new(),
        };
        let event = Event {
            id: id_at(last.at.millis() as u64 + MINUTE, n, 254),
            lamport: last.lamport + 1,
            parents: vec![last.id],
            author: Author { agent: "elsewhere".into(), ..Author::default() },
            at: last.at.plus(MINUTE as i64),
            fence: None,
            why: None,
            payload: Payload::TaskStatusChanged(change),
            ..last
        };
        let log = format!("{log}{}\n", event.to_line().expect("a line"));
        write!(
            to,
            "commit refs/heads/branch-{n}\ncommitter B <b@example.invalid> {} +0000\ndata 5\nbegun\n\
             from refs/heads/main^0\nM 100644 inline {}\ndata {}\n{log}\n",
            BEGUN / 1000 + 1 + n as u64,
            path.display(),
            log.len()
        )
        .expect("git reads");
    }
    to.flush().expect("git reads");
    drop(to);
    assert!(child.wait().expect("git ends").success());
    assert!(git(&["pack-refs", "--all"]).status().expect("git starts").success());
}
