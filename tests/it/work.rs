//! `work`: a command under a lease, and what becomes of both; and waiting for work.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, WAIT};

/// A start of agentpm whose ids are unique, so that the command may call agentpm again.
fn agentpm(room: &Sandbox, dir: &Path, args: &[&str]) -> Command {
    let mut command = room.agentpm_in(dir);
    command.env_remove("AGENTPM_SEED").args(args);
    command
}

fn work(room: &Sandbox, args: &[&str]) -> Answer {
    Answer::from(agentpm(room, &room.repo(), &[&["work"][..], args].concat()).output().unwrap())
}

/// What `work` says of itself: the last line of its standard error.
#[track_caller]
fn said(answer: &Answer) -> Value {
    let last = answer.stderr.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
}

/// A `work` whose command has said that it runs.
struct Working {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Working {
    #[track_caller]
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Working { child, out }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    fn end(mut self) -> Answer {
        let mut stdout = String::new();
        self.out.read_to_string(&mut stdout).unwrap();
        let mut answer = Answer::from(self.child.wait_with_output().unwrap());
        answer.stdout = stdout;
        answer
    }
}

/// A second worktree, with the plan as it is now.
fn second_worktree(room: &Sandbox) -> PathBuf {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "plan"]).text();
    let other = room.beside("other");
    room.git(&["worktree", "add", "-q", "-b", "other", other.to_str().unwrap()]).text();
    other
}

/// Takes a task over in another worktree, at a time when every lease of today has run out.
#[track_caller]
fn take_over(room: &Sandbox, dir: &Path, task: &str) {
    let mut command = agentpm(room, dir, &["claim", task, "--here"]);
    command.env("AGENTPM_AGENT", "bob").env("AGENTPM_CLOCK", "2099-01-01T00:00:00Z");
    Answer::from(command.output().unwrap()).data();
}

#[test]
fn work_passes_the_task_to_the_command_and_reports_its_end() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let script = r#"printf '%s\n' "$AGENTPM_TASK" "$AGENTPM_LEASE" "$AGENTPM_SESSION" "$AGENTPM_AGENT"; read word; echo "$word""#;
    let mut command = agentpm(&room, &room.repo(), &["work", "--task-id", &id, "--", "sh", "-c", script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from outside\n").unwrap();
    let answer = Answer::from(child.wait_with_output().unwrap());
    assert_eq!(answer.code, 0, "{answer:?}");
    let lines: Vec<&str> = answer.stdout.lines().collect();
    let end = said(&answer)["data"].clone();
    let expected = [&id, end["lease"].as_str().unwrap(), end["session"].as_str().unwrap(), "ada", "from outside"];
    assert_eq!(lines, expected);
    assert_eq!((&end["exit_code"], &end["signal"]), (&json!(0), &Value::Null));

    // The task stays its owner's; the lease that work took is given back, its session is over.
    let task = room.get(&id);
    assert_eq!(
        (&task["status"], &task["owner"], &task["lease_holder"]),
        (&json!("in_progress"), &json!("ada"), &Value::Null)
    );
    assert_eq!((&task["context"], &end["outcome"]), (&json!([]), &Value::Null), "it records nothing of its own");
    assert_eq!(room.run(&["session", "list"]).data()["total"], 0);
    room.is_clean();
}

#[test]
fn work_records_the_outcome_of_a_command_that_succeeds() {
    let room = Sandbox::new();
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    assert_eq!(work(&room, &[&one, "--outcome", "it holds", "--", "false"]).code, 1);
    assert_eq!(room.get(&one)["context"], json!([]));
    for (id, more) in [(&one, &[][..]), (&two, &["--done"])] {
        let answer = work(&room, &[&[id.as_str(), "--outcome", "it holds"], more, &["--", "true"]].concat());
        assert_eq!(answer.code, 0, "{answer:?}");
        let outcome = room.get(id)["context"][0].clone();
        assert_eq!(
            (&outcome["type"], &outcome["content"], &outcome["id"]),
            (&json!("outcome"), &json!("it holds"), &said(&answer)["data"]["outcome"])
        );
    }
    assert_eq!(room.get(&two)["status"], "completed");
}

#[test]
fn work_releases_the_task_of_a_failed_command() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    for (command, code) in [
        (&["sh", "-c", "exit 3"][..], 3),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["no-such-program-anywhere"], 127),
        (&["/"], 126),
    ] {
        let answer = work(&room, &[&[&id, "--"][..], command].concat());
        assert_eq!((answer.code, answer.stdout.as_str()), (code, ""), "{answer:?}");
        let task = room.get(&id);
        assert_eq!((&task["status"], &task["owner"]), (&json!("open"), &Value::Null), "{command:?}");
        assert_eq!(room.run(&["lease", "list"]).data()["total"], 0);
    }
    let missing = work(&room, &[&id, "--", "no-such-program-anywhere"]);
    assert_eq!(said(&missing)["error"]["code"], "ERR_NOT_FOUND");
    let why = room.run(&["log", &id, "--type", "TaskStatusChanged", "--all"]).data();
    assert!(why.to_string().contains("ended with exit code 3"), "{why}");

    // Five claims that ended without completion park a task.
    room.run(&["claim", &id]).error("ERR_INVALID_STATE", 4);
    room.run(&["task", "update", &id, "--unpark"]).data();

    // What was the asker's own before stays so, with its lease.
    room.run(&["claim", &id]).data();
    let before = room.run(&["lease", "list"]).data()["items"][0]["id"].clone();
    let answer = work(&room, &[&id, "--", "false"]);
    assert_eq!((answer.code, &said(&answer)["data"]["lease"]), (1, &before), "{answer:?}");
    assert_eq!(room.get(&id)["status"], "in_progress");
    assert_eq!(room.run(&["lease", "list"]).data()["items"][0]["id"], before);
    // No other agent gets the task, and nothing is started.
    let mut bob = agentpm(&room, &room.repo(), &["work", &id, "--", "echo", "started"]);
    let refused = Answer::from(bob.env("AGENTPM_AGENT", "bob").output().unwrap());
    assert_eq!(
        (refused.code, refused.stdout.as_str(), &said(&refused)["error"]["code"]),
        (5, "", &json!("ERR_LEASE_HELD"))
    );
}

#[test]
fn work_done_completes_and_reports_a_refusal() {
    let room = Sandbox::new();
    let (one, two) = (room.task("one", &[]), room.task("two", &["--acceptance", "it works"]));
    let answer = work(&room, &[&one, "--done", "--", "true"]);
    assert_eq!((answer.code, &said(&answer)["data"]["completed"]), (0, &json!(true)), "{answer:?}");
    assert_eq!(room.get(&one)["status"], "completed");

    let refused = work(&room, &[&two, "--done", "--", "true"]);
    assert_eq!((refused.code, &said(&refused)["error"]["code"]), (4, &json!("ERR_INVALID_STATE")), "{refused:?}");
    // That was known before: nothing was run, nothing was taken.
    assert!(said(&refused)["error"]["message"].as_str().unwrap().ends_with("nothing was run"), "{refused:?}");
    assert_eq!((&room.get(&two)["status"], room.get(&two).get("owner")), (&json!("open"), Some(&Value::Null)));
    // What is in the way only afterwards leaves the task to its owner.
    let three = room.task("three", &[]);
    let add = format!("{} task update {three} --acceptance 'it works'", env!("CARGO_BIN_EXE_agentpm"));
    let refused = work(&room, &[&three, "--done", "--", "sh", "-c", &add]);
    assert_eq!((refused.code, &said(&refused)["error"]["code"]), (4, &json!("ERR_INVALID_STATE")), "{refused:?}");
    let task = room.get(&three);
    assert_eq!(
        (&task["status"], &task["owner"], &task["lease_holder"]),
        (&json!("in_progress"), &json!("ada"), &Value::Null)
    );
}

#[test]
fn work_leaves_changes_of_the_command_alone() {
    let room = Sandbox::new();
    let program = env!("CARGO_BIN_EXE_agentpm");
    for (script, status) in [("done", "completed"), ("release", "open")] {
        let id = room.task(script, &[]);
        let script = format!("{program} {script} $AGENTPM_TASK >/dev/null; exit 1");
        let answer = work(&room, &[&id, "--", "sh", "-c", &script]);
        assert_eq!((answer.code, &said(&answer)["data"]["released"]), (1, &json!(false)), "{answer:?}");
        let task = room.get(&id);
        assert_eq!((&task["status"], &task["context"]), (&json!(status), &json!([])), "{task:#}");
    }
    room.is_clean();
}

#[test]
fn signals_are_passed_on_to_all_that_the_command_started() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    // The inner one says when it is there; were it not ended too, it would keep the output open for ever.
    let script = "trap 'echo heard; exit 7' TERM; sh -c 'echo ready; exec sleep 1000' & wait";
    let working = Working::start(agentpm(&room, &room.repo(), &["work", &id, "--", "sh", "-c", script]));
    kill_process(working.pid(), Signal::TERM).unwrap();
    let answer = working.end();
    assert_eq!((answer.code, answer.stdout.as_str()), (7, "heard\n"), "{answer:?}");
    assert_eq!(room.get(&id)["status"], "open");

    let working = Working::start(agentpm(&room, &room.repo(), &["work", &id, "--", "sh", "-c", "echo ready; read x"]));
    kill_process(working.pid(), Signal::INT).unwrap();
    let answer = working.end();
    assert_eq!((answer.code, &said(&answer)["data"]["signal"]), (130, &json!(2)), "{answer:?}");
}

#[test]
fn signals_that_only_the_command_understands_reach_it_and_end_nothing_else() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    for (signal, name) in
        [(Signal::USR1, "USR1"), (Signal::USR2, "USR2"), (Signal::ALARM, "ALRM"), (Signal::WINCH, "WINCH")]
    {
        let script = format!("trap 'echo heard; kill $!; exit 7' {name}; sleep 1000 & echo ready; wait");
        let working = Working::start(agentpm(&room, &room.repo(), &["work", &id, "--", "sh", "-c", &script]));
        kill_process(working.pid(), signal).unwrap();
        let answer = working.end();
        assert_eq!((answer.code, answer.stdout.as_str()), (7, "heard\n"), "{name}: {answer:?}");
        assert_eq!(room.get(&id)["status"], "open");
    }
}

#[test]
fn work_ends_the_command_when_the_lease_is_lost() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let other = second_worktree(&room);
    let script = "echo ready; read x; echo never";
    let args = ["work", &id, "--ttl", "1s", "--", "sh", "-c", script];
    let working = Working::start(agentpm(&room, &room.repo(), &args));
    take_over(&room, &other, &id);
    let answer = working.end();
    assert_eq!((answer.code, answer.stdout.as_str()), (5, ""), "{answer:?}");
    let error = said(&answer)["error"].clone();
    assert_eq!((&error["code"], &error["details"]["holder"]), (&json!("ERR_LEASE_LOST"), &json!("bob")), "{error:#}");
    assert_eq!(error["details"]["signal"], 15);
    // Nothing more was recorded here, and bob has what he took.
    assert_eq!(room.get(&id)["context"], json!([]));
    let leases = room.at("2099-01-01T00:00:00Z").run(&["lease", "list"]).data();
    assert_eq!((&leases["items"][0]["agent"], &leases["total"]), (&json!("bob"), &json!(1)));
}

#[test]
fn work_kills_a_command_that_ignores_signals() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let other = second_worktree(&room);
    let script = "trap '' TERM; echo ready; sleep 1000; sleep 1000";
    let args = ["work", &id, "--ttl", "1s", "--grace", "50ms", "--", "sh", "-c", script];
    let working = Working::start(agentpm(&room, &room.repo(), &args));
    take_over(&room, &other, &id);
    let answer = working.end();
    assert_eq!((answer.code, &said(&answer)["error"]["details"]["signal"]), (5, &json!(9)), "{answer:?}");
}

#[test]
fn work_notices_a_lost_lease_after_sigcont() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let other = second_worktree(&room);
    let args = ["work", &id, "--ttl", "1s", "--", "sh", "-c", "echo ready; read x; echo never"];
    let working = Working::start(agentpm(&room, &room.repo(), &args));
    kill_process_group(working.pid(), Signal::STOP).unwrap();
    take_over(&room, &other, &id);
    kill_process_group(working.pid(), Signal::CONT).unwrap();
    let answer = working.end();
    assert_eq!((answer.code, &said(&answer)["error"]["details"]["holder"]), (5, &json!("bob")), "{answer:?}");
}

#[test]
fn a_lease_is_renewed_for_as_long_as_the_command_runs() {
    crate::machine::needs!("grep");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    // The command itself waits until it has seen two renewals in the journal.
    let script = r#"until [ "$(grep -c LeaseRenewed .git/agentpm/journal.jsonl)" -ge 2 ]; do sleep 0.05; done"#;
    let answer = work(&room, &[&id, "--ttl", "200ms", "--done", "--", "sh", "-c", script]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(room.get(&id)["status"], "completed");
}

/// A `next --claim --wait` that has begun to wait.
struct Waiter(Child, BufReader<std::process::ChildStderr>);

impl Waiter {
    fn start(room: &Sandbox, dir: &Path, agent: &str) -> Self {
        let mut command = agentpm(room, dir, &["next", "--claim", "--wait", "10m"]);
        command.env("AGENTPM_AGENT", agent).env("AGENTPM_LOG_LEVEL", "agentpm=debug");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("waiting for work") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended instead of waiting");
        }
        Waiter(child, stderr)
    }

    /// The title of what it got.
    #[track_caller]
    fn got(mut self) -> Value {
        std::io::copy(&mut self.1, &mut std::io::sink()).unwrap();
        let answer = Answer::from(self.0.wait_with_output().unwrap());
        answer.data()["task"]["title"].clone()
    }
}

#[test]
fn wait_returns_a_new_task() {
    let room = Sandbox::new();
    let waiter = Waiter::start(&room, &room.repo(), "bob");
    let blocker = room.task("first", &[]);
    assert_eq!(waiter.got(), "first");
    // A task becomes ready because its blocker is completed.
    room.task("second", &["--blocked-by", &blocker]);
    let waiter = Waiter::start(&room, &room.repo(), "cara");
    room.run_as("bob", &["done", &blocker]).data();
    assert_eq!(waiter.got(), "second");
}

#[test]
fn wait_returns_a_task_merged_from_another_worktree() {
    let room = Sandbox::new();
    let other = second_worktree(&room);
    let waiter = Waiter::start(&room, &other, "bob");
    room.task("from elsewhere", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "more"]).text();
    room.git_in(&other, &["merge", "-q", "main"]).text();
    assert_eq!(waiter.got(), "from elsewhere");
}

#[test]
fn two_waiting_agents_get_different_tasks() {
    let room = Sandbox::new();
    let waiters = ["bob", "cara"].map(|agent| Waiter::start(&room, &room.repo(), agent));
    let (sender, receiver) = std::sync::mpsc::channel();
    for waiter in waiters {
        let sender = sender.clone();
        std::thread::spawn(move || sender.send(waiter.got()).unwrap());
    }
    room.task("one", &[]);
    assert_eq!(receiver.recv_timeout(WAIT).unwrap(), "one");
    // The loser went on waiting.
    room.task("two", &[]);
    assert_eq!(receiver.recv_timeout(WAIT).unwrap(), "two");
}

#[test]
fn wait_ends_at_its_deadline_with_a_reason() {
    let room = Sandbox::new();
    let blocker = room.task("held", &[]);
    room.run(&["claim", &blocker]).data();
    for args in
        [&["next", "--wait", "0"][..], &["next", "--claim", "--wait", "0"], &["next", "--claim", "--wait", "300ms"]]
    {
        let answer = room.run_as("bob", args);
        assert_eq!((answer.code, &answer.json()["data"]), (0, &Value::Null), "{answer:?}");
        assert_eq!(answer.json()["reasons"]["counts"]["leased"], 1, "{answer:?}");
    }
    let at = agentpm::model::time::Time::from_millis(
        i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() + 1_000,
    );
    room.task("soon", &["--defer-until", &at.to_string()]);
    let answer = room.run_as("bob", &["next", "--wait", "10m"]);
    assert_eq!(answer.data()["task"]["title"], "soon", "its time came while we waited");
}
