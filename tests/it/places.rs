//! Where a store is found and where it is not: every shape a work tree can have, and disks that cannot be written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

/// The store that `init` or a change made in `dir`, and the title of its only task there.
#[track_caller]
fn only_title(room: &Sandbox, dir: &Path) -> String {
    let list = room.run_in(dir, &["task", "list", "--all"]).data();
    assert_eq!(list["total"], 1, "{list}");
    list["items"][0]["title"].as_str().unwrap().to_owned()
}

#[track_caller]
fn create_in(room: &Sandbox, dir: &Path, title: &str) -> String {
    room.run_in(dir, &["task", "create", "--title", title, "--quiet"]).text().to_owned()
}

/// A repository with one commit in a folder beside the room's own.
fn repository(room: &Sandbox, name: &str) -> PathBuf {
    let path = room.beside(name);
    fs::create_dir_all(&path).unwrap();
    room.git_in(&path, &["init", "-q", "-b", "main", "."]).text();
    room.git_in(&path, &["commit", "-q", "--allow-empty", "-m", "first"]).text();
    path
}

/// Every path below a folder with its bytes and time of change.
fn snapshot(path: &Path) -> Vec<(PathBuf, Option<Vec<u8>>, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let bytes = meta.is_file().then(|| fs::read(&path).unwrap());
        found.push((path, bytes, meta.modified().unwrap()));
    }
    found.sort();
    found
}

#[test]
fn an_unborn_branch_is_no_obstacle() {
    let room = Sandbox::new();
    assert_ne!(room.git(&["rev-parse", "--verify", "-q", "HEAD"]).code, 0, "there is no commit yet");
    let id = room.task("before the first commit", &[]);
    assert_eq!(room.run(&["next", "--claim"]).data()["task"]["id"], id.as_str());
    room.is_clean();
}

#[test]
fn a_detached_head_is_no_obstacle() {
    let room = Sandbox::new();
    room.git(&["commit", "-q", "--allow-empty", "-m", "first"]).text();
    room.git(&["checkout", "-q", "--detach"]).text();
    let id = room.task("on no branch", &[]);
    assert_eq!(room.run(&["next", "--claim"]).data()["task"]["id"], id.as_str());
    room.is_clean();
}

#[test]
fn without_a_repository_there_is_no_store_and_none_can_be_made() {
    let room = Sandbox::nothing();
    for args in
        [&["task", "list"][..], &["next", "--claim"], &["task", "create", "--title", "x"], &["prime"], &["doctor"]]
    {
        room.run(args).error("ERR_NO_STORE", 3);
    }
    room.run(&["init"]).error("ERR_GIT", 9);
    assert_eq!(fs::read_dir(room.repo()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_repository_without_a_store_says_so_and_names_init() {
    let room = Sandbox::bare_repo();
    let refused = room.run(&["task", "list"]).error("ERR_NO_STORE", 3);
    assert!(refused["hint"].as_str().unwrap().contains("agentpm init"), "{refused}");
    assert!(!room.store().exists() && !room.repo().join(".git/agentpm").exists(), "asking makes nothing");
}

#[test]
fn lint_passes_in_silence_where_there_is_no_store() {
    for room in [Sandbox::nothing(), Sandbox::bare_repo()] {
        for args in [&["lint"][..], &["lint", "--format", "table"], &["lint", "--quiet"], &["lint", "--fix"]] {
            let answer = room.run(args);
            assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), (0, "", ""), "{args:?}");
        }
    }
}

#[test]
fn init_twice_is_harmless() {
    let room = Sandbox::new();
    fs::write(room.store().join("config.toml"), "# mine\nformat = 1\n").unwrap();
    room.task("one", &[]);
    let before = snapshot(&room.store());
    let again = room.run(&["init"]).data();
    assert_eq!(again["created"], Value::Null);
    assert_eq!(snapshot(&room.store()), before);
    for _ in 0..2 {
        room.run(&["init", "--agents-md"]).data();
    }
    let page = fs::read_to_string(room.repo().join("AGENTS.md")).unwrap();
    assert_eq!(page.matches("agentpm:begin").count(), 1, "{page}");
}

#[test]
fn git_variables_of_another_repository_lead_nowhere() {
    let room = Sandbox::new();
    let id = room.task("ours", &[]);
    let other = repository(&room, "other");
    room.run_in(&other, &["init"]).data();
    create_in(&room, &other, "theirs");
    let before = snapshot(&other);

    let leaking = |args: &[&str]| {
        let mut command = room.agentpm();
        command
            .env("GIT_DIR", other.join(".git"))
            .env("GIT_WORK_TREE", &other)
            .env("GIT_INDEX_FILE", other.join(".git/index"))
            .env("GIT_COMMON_DIR", other.join(".git"))
            .env("GIT_OBJECT_DIRECTORY", other.join(".git/objects"))
            .env("GIT_PREFIX", "sub/")
            .env("GIT_CEILING_DIRECTORIES", room.repo());
        Answer::from(command.args(args).output().unwrap())
    };
    assert_eq!(leaking(&["task", "list"]).data()["items"][0]["title"], "ours");
    leaking(&["task", "update", &id, "--priority", "3"]).data();
    leaking(&["next", "--claim"]).data();
    assert_eq!(leaking(&["lint"]).data()["findings"], json!([]));
    assert_eq!(room.get(&id)["priority"], 3);
    assert_eq!(snapshot(&other), before, "the other repository is as it was");
}

#[test]
fn a_sub_folder_finds_the_store_above_it() {
    let room = Sandbox::new();
    room.task("top", &[]);
    let sub = room.repo().join("a/b");
    fs::create_dir_all(&sub).unwrap();
    assert_eq!(only_title(&room, &sub), "top");
    assert_eq!(only_title(&room, &room.store().join("tasks")), "top", "and so does a folder of the store");
}

#[test]
fn the_nearest_of_two_stores_is_used() {
    let room = Sandbox::new();
    let sub = room.repo().join("sub/deep");
    fs::create_dir_all(&sub).unwrap();
    room.task("outer", &[]);
    let made = room.run(&["init", "--store", "sub"]).data();
    assert!(made["path"].as_str().unwrap().ends_with("sub/.agentpm"), "{made}");
    create_in(&room, &sub, "inner");
    assert_eq!(only_title(&room, &sub), "inner");
    assert_eq!(only_title(&room, &room.repo().join("sub")), "inner");
    assert_eq!(only_title(&room, &room.repo()), "outer");
    room.is_clean();
    assert_eq!(room.run_in(&sub, &["lint"]).data()["findings"], json!([]));
}

#[test]
fn a_nested_repository_never_uses_its_parents_store() {
    let room = Sandbox::new();
    room.task("parent", &[]);
    let nested = room.repo().join("vendor/thing");
    fs::create_dir_all(&nested).unwrap();
    room.git_in(&nested, &["init", "-q", "."]).text();
    room.run_in(&nested, &["task", "list"]).error("ERR_NO_STORE", 3);
    room.run_in(&nested, &["init"]).data();
    create_in(&room, &nested, "child");
    assert_eq!((only_title(&room, &nested), only_title(&room, &room.repo())), ("child".into(), "parent".into()));
}

#[test]
fn the_home_folder_is_no_store() {
    let room = Sandbox::bare_repo();
    fs::create_dir_all(room.home().join(".agentpm/tasks")).unwrap();
    fs::write(room.home().join(".agentpm/config.toml"), "agent = \"homer\"\n").unwrap();
    let inside = room.home().join("work");
    fs::create_dir_all(&inside).unwrap();
    room.run_in(&inside, &["task", "list"]).error("ERR_NO_STORE", 3);
    // Its settings count, though.
    room.run(&["init"]).data();
    let mut command = room.agentpm();
    command.env_remove("AGENTPM_AGENT");
    let made = Answer::from(command.args(["task", "create", "--title", "x", "--full"]).output().unwrap()).data();
    assert_eq!(made["created_by"], "homer");
}

#[test]
fn a_git_folder_elsewhere_is_followed() {
    let room = Sandbox::nothing();
    let git_dir = room.beside("elsewhere.git");
    let separate = format!("--separate-git-dir={}", git_dir.display());
    room.git(&["init", "-q", &separate, "."]).text();
    assert!(room.repo().join(".git").is_file());
    room.run(&["init"]).data();
    room.task("far", &[]);
    assert_eq!(only_title(&room, &room.repo()), "far");
    assert!(git_dir.join("agentpm/journal.jsonl").is_file(), "the journal lies in the real git folder");
    assert!(!room.store().join(".local").exists());
    room.is_clean();
}

#[test]
fn worktrees_share_leases_and_each_has_its_own_files() {
    let room = Sandbox::new();
    let id = room.task("shared", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    let linked = room.beside("linked");
    room.git(&["worktree", "add", "-q", "-b", "side", linked.to_str().unwrap()]).text();
    assert!(linked.join(".git").is_file());

    room.run(&["claim", &id]).data();
    let mut command = room.agentpm_in(&linked);
    command.env("AGENTPM_AGENT", "bob").args(["task", "update", &id, "--priority", "1"]);
    Answer::from(command.output().unwrap()).error("ERR_LEASE_HELD", 5);
    assert_eq!(room.run_in(&linked, &["next", "--claim"]).data(), Value::Null);

    create_in(&room, &linked, "only there");
    assert_eq!(room.run_in(&linked, &["task", "list"]).data()["total"], 2);
    assert_eq!(room.run(&["task", "list"]).data()["total"], 1);
    assert!(!linked.join(".agentpm/.local").exists());
}

#[test]
fn a_bare_repository_with_worktrees_works() {
    let room = Sandbox::nothing();
    let bare = room.beside("bare.git");
    fs::create_dir_all(&bare).unwrap();
    room.git_in(&bare, &["init", "-q", "--bare", "-b", "main", "."]).text();
    let seed = repository(&room, "seed");
    room.git_in(&seed, &["push", "-q", bare.to_str().unwrap(), "main"]).text();
    let (one, two) = (room.beside("one"), room.beside("two"));
    room.git_in(&bare, &["worktree", "add", "-q", one.to_str().unwrap(), "main"]).text();
    room.git_in(&bare, &["worktree", "add", "-q", "-b", "side", two.to_str().unwrap(), "main"]).text();

    room.run_in(&one, &["init"]).data();
    create_in(&room, &one, "in the first");
    assert_eq!(only_title(&room, &one), "in the first");
    room.run_in(&two, &["task", "list"]).error("ERR_NO_STORE", 3);
    assert!(bare.join("agentpm/journal.jsonl").is_file());
    room.run_in(&bare, &["task", "list"]).error("ERR_NO_STORE", 3);
    room.run_in(&bare, &["init"]).error("ERR_GIT", 9);
}

#[test]
fn a_submodule_has_its_own_store_or_none() {
    // The command git submodule is a script.
    crate::machine::needs!("sed");
    let room = Sandbox::new();
    room.task("super", &[]);
    let library = repository(&room, "library");
    let url = library.to_str().unwrap();
    room.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "library"]).text();
    let module = room.repo().join("library");
    assert!(module.join(".git").is_file());
    room.run_in(&module, &["task", "list"]).error("ERR_NO_STORE", 3);
    room.run_in(&module, &["init"]).data();
    create_in(&room, &module, "sub");
    assert_eq!((only_title(&room, &module), only_title(&room, &room.repo())), ("sub".into(), "super".into()));
    assert!(room.repo().join(".git/modules/library/agentpm/journal.jsonl").is_file());
}

#[test]
fn a_store_that_is_named_must_exist() {
    let room = Sandbox::new();
    room.task("near", &[]);
    let other = repository(&room, "other");
    room.run_in(&other, &["init"]).data();
    create_in(&room, &other, "named");
    for path in ["/nowhere", "nowhere/.agentpm", ".git", "../other/.git/.agentpm"] {
        room.run(&["task", "list", "--store", path]).error("ERR_NO_STORE", 3);
        let mut command = room.agentpm();
        command.env("AGENTPM_STORE", path).args(["task", "list"]);
        Answer::from(command.output().unwrap()).error("ERR_NO_STORE", 3);
        assert_ne!(room.run(&["lint", "--store", path]).code, 0, "a name that is wrong is not silence: {path}");
    }
    for path in ["../other/.agentpm", "../other", "../other/.agentpm/"] {
        assert_eq!(room.run(&["task", "list", "--store", path]).data()["items"][0]["title"], "named", "{path}");
    }
    let mut command = room.agentpm();
    command.env("AGENTPM_STORE", other.join(".agentpm")).args(["task", "list", "--store", ".agentpm"]);
    assert_eq!(Answer::from(command.output().unwrap()).data()["items"][0]["title"], "near", "the flag is stronger");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command of a user without any privilege, so that permissions mean something even where the tests run as root.
fn powerless(room: &Sandbox, args: &[&str]) -> Answer {
    let agentpm = room.agentpm();
    let mut command = if is_root() { room.sealed("setpriv", &room.repo()) } else { room.sealed("env", &room.repo()) };
    for (name, value) in agentpm.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    if is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    // The binary may lie where that user cannot go; the room is open to it.
    let program = room.beside("agentpm");
    if !program.exists() {
        // Copied by a process of its own: a file that this one has open for writing may be held by a child started meanwhile.
        assert!(Command::new("cp").arg(agentpm.get_program()).arg(&program).status().unwrap().success());
    }
    Answer::from(command.arg(program).args(args).output().expect("setpriv starts"))
}

/// Gives the room to the powerless user.
fn hand_over(room: &Sandbox) {
    let top = room.repo().parent().unwrap().to_owned();
    assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(&top).status().unwrap().success());
    if is_root() {
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(&top).status().unwrap().success());
    }
}

/// Takes or gives the right to write to everything below a path.
fn chmod(mode: &str, path: &Path) {
    assert!(Command::new("chmod").args(["-R", mode]).arg(path).status().unwrap().success());
}

/// Ends with the room writable again, so that it can be cleared away.
struct Writable<'a>(&'a Sandbox);

impl Drop for Writable<'_> {
    fn drop(&mut self) {
        chmod("u+w", &self.0.repo());
    }
}

const READS: &[&[&str]] = &[
    &["task", "list", "--all"],
    &["task", "list", "--query", "one sort:score"],
    &["ready", "--explain"],
    &["next"],
    &["log"],
    &["lint"],
    &["stats"],
    &["graph"],
    &["export", "--format", "html"],
    &["doctor"],
    &["prime"],
    &["agent", "list"],
    &["lease", "list"],
    &["stale"],
];

/// A question that is answered; doctor also says that changes are refused.
fn reads(room: &Sandbox, args: &[&str]) {
    let answer = powerless(room, args);
    assert!(answer.code == 0 || (args == ["doctor"] && answer.code == 1), "{answer:?}");
}

#[test]
fn reading_works_with_everything_read_only_and_writes_nothing() {
    crate::machine::needs!("setpriv");
    for with_runtime in [true, false] {
        let room = Sandbox::new();
        let id = room.task("one", &[]);
        room.run(&["claim", &id]).data();
        if !with_runtime {
            fs::remove_dir_all(room.repo().join(".git/agentpm")).unwrap();
        }
        hand_over(&room);
        let _restore = Writable(&room);
        chmod("a-w", &room.repo());
        let before = snapshot(&room.repo());
        READS.iter().for_each(|args| reads(&room, args));
        for args in [&["task", "get", &id][..], &["brief", &id], &["blame", &id], &["task", "path", &id]] {
            powerless(&room, args).text();
        }
        for args in
            [&["task", "update", &id, "--priority", "1"][..], &["task", "create", "--title", "x"], &["next", "--claim"]]
        {
            let refused = powerless(&room, args).error("ERR_IO", 10);
            assert!(refused["message"].as_str().unwrap().contains(".git/agentpm"), "{refused}");
        }
        assert_eq!(snapshot(&room.repo()), before);
    }
}

#[test]
fn reading_works_with_a_read_only_git_folder_and_writes_nothing_to_the_work_tree() {
    crate::machine::needs!("setpriv");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    hand_over(&room);
    let _restore = Writable(&room);
    chmod("a-w", &room.repo().join(".git"));
    let before = snapshot(&room.repo());
    READS.iter().for_each(|args| reads(&room, args));
    powerless(&room, &["task", "get", &id]).text();
    assert_eq!(snapshot(&room.repo()), before);
}

#[test]
fn a_text_is_found_where_the_index_cannot_be_written_as_it_was_or_at_all() {
    crate::machine::needs!("setpriv");
    for (asked_before, locked) in [(true, ".git"), (true, ".git/agentpm/index.db"), (false, ".git/agentpm/index.db")] {
        let room = Sandbox::new();
        let id = room.task("the old words", &[]);
        room.task("other ones", &[]);
        let find = |word: &str| powerless(&room, &["ls", "--query", word]).data()["total"].as_u64().unwrap();
        hand_over(&room);
        if asked_before {
            assert_eq!(find("words"), 1);
        }
        powerless(&room, &["next"]).text();
        let _restore = Writable(&room);
        let tails: &[&str] = if locked.ends_with(".db") { &["", "-wal", "-shm"] } else { &[""] };
        for tail in tails {
            chmod("a-w", &room.repo().join(format!("{locked}{tail}")));
        }
        assert_eq!((find("words"), find("wor"), find("ld"), find("-words")), (1, 1, 1, 1), "{locked}");
        let log = room.log_of(&id);
        fs::write(&log, fs::read_to_string(&log).unwrap().replace("the old words", "the new terms")).unwrap();
        assert_eq!((find("words"), find("terms")), (0, 1), "{locked}");
    }
}

#[test]
fn runtime_state_in_the_worktree_leaves_the_git_folder_as_it_is() {
    crate::machine::needs!("setpriv");
    let room = Sandbox::new();
    hand_over(&room);
    let _restore = Writable(&room);
    let git = room.repo().join(".git");
    chmod("a-w", &git);
    let before = snapshot(&git);
    let refused = powerless(&room, &["task", "create", "--title", "two"]).error("ERR_IO", 10);
    assert!(refused["hint"].as_str().unwrap().contains("place = \"worktree\""), "{refused}");

    fs::write(room.store().join("config.toml"), "format = 1\n[runtime]\nplace = \"worktree\"\n").unwrap();
    powerless(&room, &["task", "create", "--title", "two"]).data();
    let taken = powerless(&room, &["next", "--claim"]).data();
    powerless(&room, &["progress", "add", taken["task"]["id"].as_str().unwrap(), "--content", "x"]).data();
    powerless(&room, &["done"]).data();
    assert!(room.store().join(".local/journal.jsonl").is_file());
    assert_eq!(powerless(&room, &["lint"]).data()["findings"], json!([]));
    assert_eq!(snapshot(&git), before, "the git folder is as it was");
    let status = room.git(&["-c", "safe.directory=*", "status", "--porcelain", "--untracked-files=all"]);
    assert!(!status.text().contains(".local"), "git does not see it: {status:?}");
}

#[test]
fn a_repository_of_another_user_is_refused_as_git_refuses_it() {
    crate::machine::needs!("setpriv");
    if crate::machine::lacks_root() {
        return;
    }
    let room = Sandbox::new();
    room.task("not yours", &[]);
    hand_over(&room);
    assert!(Command::new("chown").args(["-R", "1234:1234"]).arg(room.repo()).status().unwrap().success());
    let refused = powerless(&room, &["task", "list"]).error("ERR_GIT", 9);
    assert!(refused["hint"].as_str().unwrap().contains("safe.directory"), "{refused}");
}

#[test]
fn a_system_that_starts_no_thread_is_no_obstacle() {
    let room = Sandbox::new();
    // No thread gets a stack of this size.
    let alone = |args: &[&str]| {
        let mut agentpm = room.agentpm();
        agentpm.env("RUST_MIN_STACK", (1_u64 << 46).to_string());
        Answer::from(agentpm.args(args).output().unwrap())
    };
    alone(&["add", "Fix the lock"]).data();
    assert_eq!(alone(&["add", "Fix the locks"]).data()["similar"].as_array().unwrap().len(), 1);
    let steps: Vec<Value> =
        (0..600).map(|n| json!({ "op": "task.create", "args": { "title": format!("{n}") } })).collect();
    fs::write(room.repo().join("ops"), Value::from(steps).to_string()).unwrap();
    assert_eq!(alone(&["batch", "--file", "ops"]).data()["total"], 600);
    assert_eq!(alone(&["lint"]).data()["checked"], 602);
}
