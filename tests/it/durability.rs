//! What was acknowledged is there: whatever fails afterwards, wherever the repository lies, and whichever process writes to it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

/// agentpm under strace, which changes one of its calls, or notes them.
fn injected(room: &Sandbox, dir: &Path, inject: &str, args: &[&str]) -> Answer {
    traced(room, dir, &["-qq", "-o", "/dev/null", "-e", &format!("inject={inject}")], args)
}

fn traced(room: &Sandbox, dir: &Path, options: &[&str], args: &[&str]) -> Answer {
    let agentpm = room.agentpm_in(dir);
    let mut command = room.sealed("strace", dir);
    for (name, value) in agentpm.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.arg("-f").args(options).arg("--").arg(agentpm.get_program()).args(args);
    Answer::from(command.output().expect("strace starts"))
}

/// Creates a task whose files cannot be written: it is acknowledged, and stands in the journal alone.
fn pending_task(room: &Sandbox, dir: &Path, title: &str) -> String {
    let answer = injected(room, dir, "mkdirat:error=ENOSPC", &["task", "create", "--title", title]);
    let id = answer.data()["id"].as_str().unwrap().to_owned();
    assert!(answer.stderr.contains("not every file could be written"), "{answer:?}");
    assert!(!room.log_of(&id).exists());
    id
}

fn titles(answer: &Answer) -> Vec<String> {
    let data = answer.data();
    let items = data["items"].as_array().unwrap().iter();
    let mut titles: Vec<String> = items.map(|item| item["title"].as_str().unwrap().to_owned()).collect();
    titles.sort();
    titles
}

fn check(doctor: &Answer, name: &str) -> Value {
    let checks = doctor.json()["data"]["checks"].clone();
    checks.as_array().unwrap().iter().find(|check| check["check"] == name).cloned().unwrap_or_default()
}

// Failed flushes

#[test]
fn a_failed_flush_takes_back_nothing_that_another_command_wrote() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    room.task("one", &[]);
    pending_task(&room, &room.repo(), "two");
    let failed = injected(&room, &room.repo(), "fdatasync:error=EIO:when=1", &["task", "create", "--title", "three"]);
    failed.error("ERR_IO", 10);
    assert_eq!(titles(&room.run(&["task", "list"])), ["one", "two"]);
    room.task("four", &[]);
    assert_eq!(titles(&room.run(&["task", "list"])), ["four", "one", "two"]);
    room.is_clean();
}

#[test]
fn a_failed_flush_of_its_own_record_leaves_nothing_of_it() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    room.task("one", &[]);
    let before = fs::read(room.repo().join(".git/agentpm/journal.jsonl")).unwrap();
    let failed = injected(&room, &room.repo(), "fdatasync:error=EIO:when=1", &["task", "create", "--title", "two"]);
    failed.error("ERR_IO", 10);
    assert_eq!(fs::read(room.repo().join(".git/agentpm/journal.jsonl")).unwrap(), before);
    assert_eq!(titles(&room.run(&["task", "list"])), ["one"]);
}

#[test]
fn a_failed_flush_after_a_reboot_cuts_no_projected_event() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    room.task("one", &[]);
    room.task("two", &[]);
    let mark = room.repo().join(".git/agentpm/mark.json");
    let text = fs::read_to_string(&mark).unwrap();
    let boot = serde_json::from_str::<Value>(&text).unwrap()["boot"].as_str().unwrap().to_owned();
    fs::write(&mark, text.replace(&boot, &"0".repeat(boot.len()))).unwrap();
    let before = fs::read(room.repo().join(".git/agentpm/journal.jsonl")).unwrap();
    injected(&room, &room.repo(), "fdatasync:error=EIO:when=1", &["task", "create", "--title", "three"])
        .error("ERR_IO", 10);
    assert_eq!(fs::read(room.repo().join(".git/agentpm/journal.jsonl")).unwrap(), before);
    assert_eq!(titles(&room.run(&["task", "list"])), ["one", "two"]);
}

#[test]
fn what_is_projected_late_is_flushed() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    room.task("one", &[]);
    pending_task(&room, &room.repo(), "two");
    let next = ["task", "create", "--title", "three"];
    injected(&room, &room.repo(), "syncfs:error=EIO:when=1", &next).error("ERR_IO", 10);
    assert_eq!(titles(&room.run(&["task", "list"])), ["one", "two"]);
    room.run(&next).data();
    // Once is enough.
    injected(&room, &room.repo(), "syncfs:error=EIO", &["task", "create", "--title", "four"]).data();
    room.is_clean();
}

#[test]
fn a_log_that_is_replaced_is_flushed() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.run(&["note", &id, "--content", "x"]).data();
    let log = fs::read_to_string(room.log_of(&id)).unwrap();
    let (first, second) = log.trim_end().split_once('\n').unwrap();
    fs::write(room.log_of(&id), format!("{second}\n{first}\n")).unwrap();
    // The first is the journal's.
    let answer = injected(&room, &room.repo(), "fdatasync:error=EIO:when=2", &["note", &id, "--content", "y"]);
    answer.data();
    assert!(answer.stderr.contains("not every file could be written"), "{answer:?}");
    assert_eq!(fs::read_to_string(room.log_of(&id)).unwrap(), format!("{second}\n{first}\n"));
    room.task("two", &[]);
    assert!(fs::read_to_string(room.log_of(&id)).unwrap().starts_with(&log));
    room.is_clean();
}

#[test]
fn a_file_that_lost_its_bytes_with_the_power_is_rendered_again() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let whole = fs::read_to_string(room.yaml_of(&id)).unwrap();
    fs::write(room.yaml_of(&id), "").unwrap();
    room.task("two", &[]);
    assert_eq!(fs::read_to_string(room.yaml_of(&id)).unwrap(), "", "within one boot a person emptied it");
    reboot(&room);
    room.task("three", &[]);
    assert_eq!(fs::read_to_string(room.yaml_of(&id)).unwrap(), whole);
    room.is_clean();
}

#[test]
fn a_redaction_whose_projection_failed_is_no_hand_edit() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let note = room.run(&["note", &id, "--content", "a token"]).data()["id"].as_str().unwrap().to_owned();
    let redact = ["context", "redact", &note, "--reason", "a token"];
    // The exchange of task.yaml fails.
    let answer = injected(&room, &room.repo(), "renameat2:error=EIO:when=1", &redact);
    assert!(answer.stderr.contains("not every file could be written"), "{answer:?}");
    room.task("two", &[]);
    assert!(!fs::read_to_string(room.yaml_of(&id)).unwrap().contains("content: a token"));
    room.is_clean();
}

#[test]
fn a_folder_on_a_disk_that_fails_is_not_taken_for_a_damaged_store() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let shard = room.task_dir(&id).parent().unwrap().parent().unwrap().to_owned();
    let failing = |inject: &str| {
        let mut command = room.agentpm_like("strace");
        command.args(["-f", "-qq", "-o"]).arg(room.beside("trace")).arg("-P").arg(&shard).args(["-e", inject]);
        let output = command.arg("--").arg(env!("CARGO_BIN_EXE_agentpm")).args(["lint"]).output();
        Answer::from(output.expect("strace starts"))
    };
    failing("inject=openat2:error=EIO").error("ERR_IO", 10);
    failing("inject=openat2:error=ENOTDIR").error("ERR_CORRUPT", 8);
}

// Paths and worktrees

#[test]
fn a_record_that_waits_is_projected_where_the_repository_was_moved_to() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    room.task("one", &[]);
    let id = pending_task(&room, &room.repo(), "two");
    let moved = room.beside("moved");
    fs::rename(room.repo(), &moved).unwrap();
    room.run_in(&moved, &["task", "create", "--title", "three"]).data();
    let log = moved.join(".agentpm").join(room.log_of(&id).strip_prefix(room.store()).unwrap());
    assert!(fs::read_to_string(log).unwrap().contains("two"));
    assert_eq!(titles(&room.run_in(&moved, &["task", "list"])), ["one", "three", "two"]);
}

/// A linked worktree with the plan of the main one.
fn linked(room: &Sandbox) -> PathBuf {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    let linked = room.beside("linked");
    room.git(&["worktree", "add", "-q", linked.to_str().unwrap()]).text();
    linked
}

#[test]
fn a_record_of_a_worktree_that_cannot_be_reached_waits_until_it_can() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    room.task("one", &[]);
    let linked = linked(&room);
    room.run_in(&linked, &["task", "create", "--title", "first there"]).data();
    let answer = injected(&room, &linked, "mkdirat:error=ENOSPC", &["task", "create", "--title", "waits"]);
    let id = answer.data()["id"].as_str().unwrap().to_owned();
    let away = room.beside("away");
    fs::rename(&linked, &away).unwrap();
    for n in 0..3 {
        room.task(&format!("main {n}"), &[]);
    }
    let doctor = room.run(&["doctor"]);
    assert_eq!(check(&doctor, "worktrees")["ok"], true, "{doctor:?}");
    fs::rename(&away, &linked).unwrap();
    // Every question sees it, and the next change there writes its files.
    assert_eq!(titles(&room.run_in(&linked, &["task", "list"])), ["first there", "one", "waits"]);
    room.run_in(&linked, &["task", "create", "--title", "last there"]).data();
    let log = linked.join(".agentpm").join(room.log_of(&id).strip_prefix(room.store()).unwrap());
    assert!(fs::read_to_string(log).unwrap().contains("waits"));
    assert_eq!(check(&room.run(&["doctor"]), "worktrees"), Value::Null);
}

#[test]
fn the_main_worktree_of_a_separate_git_folder_is_known_to_the_linked_ones() {
    let room = Sandbox::nothing();
    let git_dir = room.beside("git-dir");
    room.git(&["init", "-q", "-b", "main", "--separate-git-dir", git_dir.to_str().unwrap(), "."]).text();
    room.run(&["init"]).data();
    let id = room.task("finished in the main worktree", &[]);
    let linked = linked(&room);
    room.run(&["claim", &id]).data();
    room.run(&["done", &id, "--all-met"]).data();
    let refused = room.run_in(&linked, &["claim", &id]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("completed by ada"), "{refused}");
    assert_eq!(room.run_in(&linked, &["next", "--claim"]).data(), Value::Null);
}

/// Whether this process may mount: as root, and not in a container that forbids it.
fn bind(from: &Path, to: &Path) -> bool {
    fs::create_dir(to).unwrap();
    Command::new("mount").arg("--bind").arg(from).arg(to).output().is_ok_and(|output| output.status.success())
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn one_repository_under_two_paths_is_one_store() {
    crate::machine::needs!("strace", "mount");
    let room = Sandbox::new();
    let other = room.beside("other");
    let first = room.task("one", &[]);
    if !bind(&room.repo(), &other) {
        crate::machine::skip("the right to mount");
        return;
    }
    let _mounted = Mounted(other.clone());
    let id = pending_task(&room, &room.repo(), "written under the first path");
    assert_eq!(titles(&room.run_in(&other, &["task", "list"])), ["one", "written under the first path"]);
    room.run_in(&other, &["note", &first, "--content", "under the second"]).data();
    assert!(room.log_of(&id).exists(), "the other path projects it");
    room.run(&["claim", &id]).data();
    let refused = room.agentpm_in(&other).env("AGENTPM_AGENT", "bob").args(["claim", &id]).output().unwrap();
    Answer::from(refused).error("ERR_LEASE_HELD", 5);
}

// The place of the runtime state

/// Makes the git folder read-only for this room's commands by taking its write permission away; root is asked to give up its
/// privileges first.
fn powerless(room: &Sandbox, args: &[&str]) -> Answer {
    powerless_as(room, "ada", args)
}

fn powerless_as(room: &Sandbox, agent: &str, args: &[&str]) -> Answer {
    let agentpm = room.agentpm();
    let program = room.beside("agentpm");
    if !program.exists() {
        assert!(Command::new("cp").arg(agentpm.get_program()).arg(&program).status().unwrap().success());
    }
    let root = rustix::process::geteuid().is_root();
    let mut command = room.sealed(if root { "setpriv" } else { "env" }, &room.repo());
    for (name, value) in agentpm.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    if root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.env("AGENTPM_AGENT", agent);
    Answer::from(command.arg(&program).args(args).output().expect("setpriv starts"))
}

fn hand_over(room: &Sandbox) {
    let top = room.repo().parent().unwrap().to_owned();
    assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(&top).status().unwrap().success());
    if rustix::process::geteuid().is_root() {
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(&top).status().unwrap().success());
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_read_only_git_folder_permits_reads_alone() {
    crate::machine::needs!("setpriv");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.run(&["claim", &id]).data();
    hand_over(&room);
    let runtime = room.repo().join(".git/agentpm");
    for path in [&runtime, &runtime.join("locks"), &runtime.join("leases")] {
        set_mode(path, 0o555);
    }
    let refused = powerless(&room, &["task", "create", "--title", "two"]).error("ERR_IO", 10);
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains(".git/agentpm") && message.contains("nothing was written"), "{message}");
    assert!(refused["hint"].as_str().unwrap().contains("make it writable"), "{refused}");
    assert!(!room.store().join(".local").exists(), "no second place is begun");
    let leases = powerless(&room, &["lease", "list"]).data();
    assert_eq!(leases["items"][0]["agent"], "ada", "the lease in the git folder is read");
    for path in [&runtime, &runtime.join("locks"), &runtime.join("leases")] {
        set_mode(path, 0o755);
    }
}

#[test]
fn a_store_may_keep_its_runtime_state_in_the_worktree_and_all_processes_use_that() {
    crate::machine::needs!("setpriv");
    let room = Sandbox::new();
    fs::write(room.store().join("config.toml"), "format = 1\n[runtime]\nplace = \"worktree\"\n").unwrap();
    hand_over(&room);
    set_mode(&room.repo().join(".git"), 0o555);
    let created = powerless(&room, &["task", "create", "--title", "one", "--quiet"]);
    let id = created.text().to_owned();
    powerless(&room, &["claim", &id]).data();
    set_mode(&room.repo().join(".git"), 0o755);
    // A process that can write the git folder uses the same place, also after the setting is gone.
    powerless_as(&room, "bob", &["claim", &id]).error("ERR_LEASE_HELD", 5);
    fs::write(room.store().join("config.toml"), "format = 1\n").unwrap();
    powerless_as(&room, "bob", &["claim", &id]).error("ERR_LEASE_HELD", 5);
    assert!(!room.repo().join(".git/agentpm/journal.jsonl").exists());
}

#[test]
fn the_place_of_the_first_change_stays_whatever_the_settings_say_later() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.run(&["claim", &id]).data();
    fs::write(room.store().join("config.toml"), "format = 1\n[runtime]\nplace = \"worktree\"\n").unwrap();
    room.run_as("bob", &["claim", &id]).error("ERR_LEASE_HELD", 5);
    assert!(!room.store().join(".local").exists());
}

#[test]
fn runtime_state_that_git_tracks_is_never_opened() {
    let room = Sandbox::new();
    room.task("one", &[]);
    let local = room.store().join(".local");
    fs::create_dir(&local).unwrap();
    fs::copy(room.repo().join(".git/agentpm/journal.jsonl"), local.join("journal.jsonl")).unwrap();
    room.git(&["add", "-f", ".agentpm"]).text();
    assert_eq!(titles(&room.run(&["task", "list"])), ["one"]);
    let refused = room.run(&["task", "create", "--title", "two"]).error("ERR_CORRUPT", 8);
    assert!(refused["message"].as_str().unwrap().contains(".local"), "{refused}");
    assert_eq!(room.run(&["doctor"]).code, 1);
}

// Permissions

#[test]
fn files_get_the_permissions_that_git_would_give_them() {
    let room = Sandbox::new();
    let shell = |umask: &str, args: &str| {
        let agentpm = room.agentpm();
        let mut command = room.sealed("sh", &room.repo());
        for (name, value) in agentpm.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let program = agentpm.get_program().to_str().unwrap().to_owned();
        let script = format!("umask {umask}; exec {program} {args}");
        Answer::from(command.args(["-c", &script]).output().unwrap())
    };
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let id = shell("002", "task create --title one --quiet").text().to_owned();
    shell("002", &format!("claim {id}")).data();
    assert_eq!((mode(&room.log_of(&id)), mode(&room.yaml_of(&id)), mode(&room.task_dir(&id))), (0o664, 0o664, 0o775));
    for file in ["journal.jsonl", "mark.json", "locks/store.lock", &format!("leases/{id}.json")] {
        assert_eq!(mode(&room.repo().join(".git/agentpm").join(file)), 0o664, "{file}");
    }
    let other = shell("077", "task create --title two --quiet").text().to_owned();
    assert_eq!((mode(&room.log_of(&other)), mode(&room.yaml_of(&other))), (0o600, 0o600));
}

#[test]
fn the_runtime_state_of_a_shared_repository_is_writable_for_its_group() {
    let room = Sandbox::nothing();
    room.git(&["init", "-q", "-b", "main", "--shared=group", "."]).text();
    room.run(&["init"]).data();
    let id = room.task("one", &[]);
    room.run(&["claim", &id]).data();
    let mode = |path: &str| fs::metadata(room.repo().join(".git/agentpm").join(path)).unwrap().permissions().mode();
    for file in ["journal.jsonl", "mark.json", "locks/store.lock", &format!("leases/{id}.json")] {
        assert_eq!(mode(file) & 0o060, 0o060, "{file}");
    }
    for folder in ["", "locks", "leases"] {
        assert_eq!(mode(folder) & 0o2070, 0o2070, "{folder}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_named_before_anything_is_acknowledged() {
    crate::machine::needs!("setpriv");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let other = room.task("two", &[]);
    hand_over(&room);
    set_mode(&room.log_of(&id), 0o444);
    let journal = room.repo().join(".git/agentpm/journal.jsonl");
    let before = fs::read(&journal).unwrap();
    let refused = powerless(&room, &["note", &id, "--content", "x"]).error("ERR_IO", 10);
    assert!(refused["message"].as_str().unwrap().contains("events.jsonl"), "{refused}");
    assert_eq!(fs::read(&journal).unwrap(), before);
    powerless(&room, &["note", &other, "--content", "x"]).data();
    set_mode(&room.log_of(&id), 0o644);
    set_mode(&room.task_dir(&id), 0o555);
    powerless(&room, &["note", &id, "--content", "x"]).error("ERR_IO", 10);
    set_mode(&room.task_dir(&id), 0o755);
    let leases = room.repo().join(".git/agentpm/leases");
    fs::create_dir_all(&leases).unwrap();
    hand_over(&room);
    set_mode(&leases, 0o555);
    powerless(&room, &["claim", &id]).error("ERR_IO", 10);
    set_mode(&leases, 0o755);
    powerless(&room, &["claim", &id]).data();
}

// What waits

#[test]
fn pending_records_are_seen_without_a_writable_index() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    room.task("one", &[]);
    room.run(&["task", "list"]).data();
    pending_task(&room, &room.repo(), "two");
    for inject in ["pwrite64:error=ENOSPC", "pwrite64:error=EROFS"] {
        for args in [&["task", "list"][..], &["ready"]] {
            assert_eq!(titles(&injected(&room, &room.repo(), inject, args)), ["one", "two"], "{inject} {args:?}");
        }
        assert_eq!(injected(&room, &room.repo(), inject, &["stats"]).data()["tasks"], 2);
    }
}

#[test]
fn pending_records_are_named_with_a_safe_command() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    room.task("one", &[]);
    let id = pending_task(&room, &room.repo(), "two");
    assert_eq!(room.finding_codes(), ["events-pending"]);
    let staged = room.run(&["lint", "--staged"]).data();
    assert_eq!(staged["findings"][0]["code"], "events-pending", "{staged}");
    let doctor = room.run(&["doctor"]);
    assert_eq!((doctor.code, &check(&doctor, "journal")["ok"]), (1, &json!(false)));
    assert_eq!(titles(&room.run(&["task", "list"])), ["one", "two"]);
    assert_eq!(room.run(&["log"]).data()["total"], 2, "a list of events has it too");
    assert_eq!(room.run(&["resolve"]).data()["projected"], 1);
    assert!(room.log_of(&id).exists());
    room.is_clean();
    assert_eq!(room.run(&["doctor"]).code, 0);
}

#[test]
fn a_write_while_the_work_tree_was_hidden_is_reported_by_the_next_command() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    fs::write(room.repo().join("work.txt"), "unstaged\n").unwrap();
    room.git(&["add", "work.txt"]).text();
    room.run(&["note", &id, "--content", "before"]).data();
    room.run(&["task", "list"]).data();
    let patch = room.git(&["diff", "--binary"]).stdout;
    room.git(&["checkout", "--", "."]).text();
    let note = room.run(&["note", &id, "--content", "while it was hidden", "--quiet"]);
    let note = note.text().to_owned();
    room.git(&["checkout", "--", "."]).text();
    fs::write(room.beside("patch"), patch).unwrap();
    room.git(&["apply", room.beside("patch").to_str().unwrap()]).text();
    let next = room.run(&["task", "list"]);
    assert!(next.stderr.contains("1 acknowledged event of") && next.stderr.contains("agentpm recover"), "{next:?}");
    assert!(!room.run(&["task", "list"]).stderr.contains("acknowledged"), "it is reported once");
    room.run(&["recover", &note]).data();
    assert!(fs::read_to_string(room.log_of(&id)).unwrap().contains("while it was hidden"));
    assert!(!room.run(&["task", "list"]).stderr.contains("acknowledged"));
}

#[test]
fn events_of_branches_and_stashes_are_not_reported_as_lost() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    room.git(&["switch", "-q", "-c", "side"]).text();
    room.run(&["note", &id, "--content", "on the side"]).data();
    room.git(&["commit", "-q", "-am", "side"]).text();
    room.run(&["note", &id, "--content", "in the stash"]).data();
    room.git(&["stash", "-q"]).text();
    room.git(&["switch", "-q", "main"]).text();
    for args in [&["task", "list"][..], &["note", &id, "--content", "on main"], &["ready"]] {
        assert!(!room.run(args).stderr.contains("acknowledged"), "{args:?}");
    }
}

#[test]
fn records_of_a_worktree_that_was_removed_are_recovered() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let linked = linked(&room);
    injected(&room, &linked, "mkdirat:error=ENOSPC", &["task", "create", "--title", "lost there"]).data();
    room.git(&["worktree", "remove", "--force", linked.to_str().unwrap()]).text();
    room.run(&["note", &id, "--content", "x"]).data();
    let doctor = room.run(&["doctor"]);
    assert_eq!((doctor.code, &check(&doctor, "events")["ok"]), (1, &json!(false)), "{doctor:?}");
    assert_eq!(room.run(&["recover"]).data()["total"], 1);
    room.run(&["recover", "--all"]).data();
    assert_eq!(titles(&room.run(&["task", "list"])), ["lost there", "one"]);
    assert_eq!(room.run(&["doctor"]).code, 0);
}

#[test]
fn a_worktree_that_cannot_be_written_holds_up_no_other() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let linked = linked(&room);
    room.run_in(&linked, &["note", &id, "--content", "there"]).data();
    let note = ["note", &id, "--content", "waits"];
    injected(&room, &linked, "write:error=ENOSPC:when=1", &note).data();
    let log = linked.join(".agentpm").join(room.log_of(&id).strip_prefix(room.store()).unwrap());
    if !fs::read_to_string(&log).unwrap().contains("waits") {
        // What cannot be opened for writing, not even by root.
        let held = log.with_extension("held");
        fs::rename(&log, &held).unwrap();
        fs::create_dir(&log).unwrap();
        room.run(&["note", &id, "--content", "here"]).data();
        room.task("two", &[]);
        fs::remove_dir(&log).unwrap();
        fs::rename(&held, &log).unwrap();
    }
    room.run_in(&linked, &["note", &id, "--content", "last"]).data();
    assert!(fs::read_to_string(&log).unwrap().contains("waits"));
}

/// As if the machine had been rebooted since the last change.
fn reboot(room: &Sandbox) {
    let mark = room.repo().join(".git/agentpm/mark.json");
    let text = fs::read_to_string(&mark).unwrap();
    let boot = serde_json::from_str::<Value>(&text).unwrap()["boot"].as_str().unwrap().to_owned();
    fs::write(&mark, text.replace(&boot, &"0".repeat(boot.len()))).unwrap();
}

#[test]
fn a_record_that_waits_is_projected_after_a_reboot_whatever_is_checked_out() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    room.git(&["branch", "other"]).text();
    pending_task(&room, &room.repo(), "waits");
    room.git(&["checkout", "-q", "other"]).text();
    reboot(&room);
    room.run(&["note", &id, "--content", "x"]).data();
    assert_eq!(titles(&room.run(&["task", "list"])), ["one", "waits"]);
}

#[test]
fn a_reboot_projects_nothing_onto_another_branch() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    room.git(&["checkout", "-q", "-b", "other"]).text();
    room.task("on the other branch", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "other"]).text();
    room.git(&["checkout", "-q", "main"]).text();
    for cut in [false, true] {
        match cut {
            false => reboot(&room),
            // A journal that lost its end says as little about what was projected.
            true => {
                let journal = room.repo().join(".git/agentpm/journal.jsonl");
                let bytes = fs::read(&journal).unwrap();
                fs::write(&journal, &bytes[..bytes.len() - 1]).unwrap();
            }
        }
        room.run(&["note", &id, "--content", "x"]).data();
        assert_eq!(titles(&room.run(&["task", "list"])), ["one"], "cut: {cut}");
    }
}

#[test]
fn a_lease_and_a_key_that_a_power_loss_took_are_known_on_another_branch() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    let claim = ["--agent", "ada", "--idempotency-key", "k", "claim", &id];
    let first = room.run(&claim).data();
    room.git(&["checkout", "-q", "."]).text();
    room.git(&["checkout", "-q", "-b", "topic"]).text();
    for folder in ["leases", "idempotency"] {
        fs::remove_dir_all(room.repo().join(".git/agentpm").join(folder)).unwrap();
    }
    reboot(&room);
    room.run(&["--agent", "bob", "claim", &id]).error("ERR_LEASE_HELD", 5);
    assert_eq!(room.run(&claim).data(), first, "it happened once");
}

#[test]
fn what_is_finished_after_a_kill_is_flushed_on_the_disks_of_all_worktrees() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(disk.path()) == device(&room.repo()) {
        return crate::machine::skip("a second disk");
    }
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    room.git(&["worktree", "add", "-q", disk.path().join("linked").to_str().unwrap()]).text();
    let trace = room.beside("trace");
    let options = ["-qq", "-o", trace.to_str().unwrap(), "-y", "-e", "trace=syncfs"];
    for (dir, title) in [(room.repo(), "here"), (disk.path().join("linked"), "there")] {
        pending_task(&room, &room.repo(), title);
        traced(&room, &dir, &options, &["note", &id, "--content", title]).data();
        let flushed = fs::read_to_string(&trace).unwrap();
        assert!(flushed.contains(room.repo().to_str().unwrap()), "{title}: {flushed}");
        assert!(flushed.contains(disk.path().to_str().unwrap()), "{title}: {flushed}");
    }
}

#[test]
fn a_nested_store_that_is_not_checked_out_keeps_its_records() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    room.git(&["branch", "without"]).text();
    let sub = room.repo().join("sub");
    fs::create_dir(&sub).unwrap();
    room.run_in(&sub, &["--store", ".agentpm", "init"]).data();
    room.run_in(&sub, &["task", "create", "--title", "in sub"]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "sub"]).text();
    injected(&room, &sub, "mkdirat:error=ENOSPC", &["task", "create", "--title", "waits"]).data();
    room.git(&["checkout", "-q", "without"]).text();
    let _ = fs::remove_dir_all(&sub);
    for n in ["1", "2"] {
        room.run(&["note", &id, "--content", n]).data();
    }
    room.git(&["checkout", "-q", "."]).text();
    room.git(&["checkout", "-q", "main"]).text();
    assert_eq!(titles(&room.run_in(&sub, &["task", "list"])), ["in sub", "waits"]);
    room.run_in(&sub, &["task", "create", "--title", "last"]).data();
    assert_eq!(room.run_in(&sub, &["lint"]).data()["findings"], json!([]));
}

#[test]
fn a_place_of_another_user_is_not_passed_over() {
    crate::machine::needs!("setpriv");
    if crate::machine::lacks_root() {
        return;
    }
    let room = Sandbox::new();
    room.task("one", &[]);
    hand_over(&room);
    let runtime = room.repo().join(".git/agentpm");
    fs::write(room.store().join("config.toml"), "format = 1\n[runtime]\nplace = \"worktree\"\n").unwrap();
    assert!(Command::new("chown").arg("1:1").arg(&runtime).status().unwrap().success());
    set_mode(&runtime, 0o700);
    powerless(&room, &["task", "create", "--title", "two"]).error("ERR_IO", 10);
    assert!(!room.store().join(".local").exists());
    let doctor = powerless(&room, &["doctor"]);
    assert_eq!((doctor.code, &check(&doctor, "runtime")["ok"]), (1, &json!(false)), "{doctor:?}");
}

#[test]
fn a_linked_worktree_keeps_its_state_where_the_clone_does() {
    let room = Sandbox::new();
    fs::write(room.store().join("config.toml"), "format = 1\n[runtime]\nplace = \"worktree\"\n").unwrap();
    room.task("one", &[]);
    fs::write(room.store().join("config.toml"), "format = 1\n").unwrap();
    let linked = linked(&room);
    room.run_in(&linked, &["task", "create", "--title", "there"]).data();
    assert!(linked.join(".agentpm/.local/journal.jsonl").is_file());
    assert!(!room.repo().join(".git/agentpm/journal.jsonl").exists());
}

#[test]
fn a_task_that_this_user_may_not_read_is_in_the_way_of_no_other() {
    crate::machine::needs!("setpriv");
    let room = Sandbox::new();
    let (closed, open) = (room.task("closed", &["--priority", "5"]), room.task("open", &[]));
    hand_over(&room);
    // The log, the folder of the task, and the two folders above it.
    let log = room.log_of(&closed);
    for (path, mode) in log.ancestors().zip([0o644, 0o755, 0o755, 0o755]) {
        set_mode(path, 0o000);
        assert_eq!(powerless(&room, &["next"]).data()["task"]["id"], open.as_str(), "{}", path.display());
        for args in
            [&["task", "list"][..], &["ready"], &["show", &open], &["stats"], &["note", &open, "--content", "x"]]
        {
            powerless(&room, args).data();
        }
        for args in [&["lint"][..], &["doctor"]] {
            let answer = powerless(&room, args);
            assert!(answer.code == 1 && answer.json()["ok"] == true, "{args:?}: {answer:?}");
        }
        powerless(&room, &["resolve"]).data();
        set_mode(path, mode);
    }
    powerless(&room, &["claim", &closed]).data();
}
