//! Repositories that differ from what `git init && git clone` makes: other object names, other references, partial and sparse
//! clones, odd configuration and attributes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::sandbox::{Answer, Sandbox, shard};

/// A room whose repository `git init` made with these arguments, with a store and a remote `up` at a file path.
fn room_with(args: &[&str]) -> Sandbox {
    let room = Sandbox::nothing();
    let init = |dir: &Path, more: &[&str]| {
        room.git_in(&room.home(), &[&["init", "-q", "-b", "main"], args, more, &[&dir.display().to_string()]].concat())
            .text();
    };
    init(&room.repo(), &[]);
    init(&room.beside("up"), &["--bare"]);
    room.git(&["remote", "add", "origin", &room.beside("up").display().to_string()]).text();
    room.run(&["init", "--no-driver"]).data();
    room
}

fn commit_in(room: &Sandbox, dir: &Path, words: &str) {
    room.git_in(dir, &["add", "-A"]).text();
    room.git_in(dir, &["commit", "-qm", words]).text();
}

/// A second clone of the remote.
fn second_clone(room: &Sandbox, more: &[&str]) -> PathBuf {
    let (up, other) = (format!("file://{}", room.beside("up").display()), room.beside("other"));
    room.git_in(&room.home(), &[&["clone", "-q"], more, &[&up, &other.display().to_string()]].concat()).text();
    other
}

/// Everything that reads or writes references, objects and configuration, in a repository of an unusual format.
fn does_all(args: &[&str]) {
    let room = room_with(args);
    room.git(&["config", "user.name", "Zed Two"]).text();
    let first = room.task("first", &["--priority", "3"]);
    commit_in(&room, &room.repo(), "the plan");
    room.git(&["push", "-q", "-u", "origin", "main"]).text();

    // The identity comes from git's configuration.
    let made =
        room.agentpm().env_remove("AGENTPM_AGENT").args(["task", "create", "--title", "second", "--full"]).output();
    let second = Answer::from(made.expect("agentpm starts")).data();
    assert_eq!(second["created_by"], "zed-two");
    let second = second["id"].as_str().expect("an id").to_owned();

    // Sync, both ways.
    assert_eq!(room.run(&["sync"]).data()["pushed"], true);
    // A clone takes the object format from its remote.
    let more: Vec<&str> = args.iter().filter(|arg| arg.contains("ref-format")).copied().collect();
    let other = second_clone(&room, &more);
    let third = room.run_in(&other, &["task", "create", "--title", "third", "--quiet"]).text().to_owned();
    room.run_in(&other, &["sync"]).data();
    room.run(&["task", "update", &second, "--priority", "1"]).data();
    let synced = room.run(&["sync"]).data();
    assert_eq!(synced["incoming"][0]["task"], third.as_str(), "{synced:#}");
    assert_eq!(room.git(&["status", "--porcelain"]).text(), "");

    // The plan at a revision, also by names that only git's references and reflogs know.
    for revision in ["HEAD~1", "main", "@{u}", "main@{0}", "refs/remotes/origin/main"] {
        room.run(&["task", "get", &first, "--at", revision]).data();
        room.run(&["diff", revision]).data();
    }
    room.run(&["task", "get", &first, "--at", "nowhere"]).error("ERR_NOT_FOUND", 3);

    // Another branch, with work that is taken there, in this clone and in a linked worktree.
    room.git(&["checkout", "-q", "-b", "bobs"]).text();
    room.run_as("bob", &["claim", &first]).data();
    room.run_as("bob", &["lease", "release", &first]).data();
    commit_in(&room, &room.repo(), "bob");
    room.git(&["checkout", "-q", "main"]).text();
    assert_eq!(room.run(&["review", "main..bobs"]).data()["total"], 1);
    let linked = room.beside("linked");
    room.git(&["worktree", "add", "-q", "-b", "linked", &linked.display().to_string(), "main"]).text();
    for dir in [&room.repo(), &linked] {
        let next = room.run_in(dir, &["next", "--explain"]);
        assert_eq!(next.data()["reasons"]["others"]["elsewhere"][0]["why"]["branch"], "bobs", "{next:?}");
        assert_eq!(room.run_in(dir, &["lint", "--base", "origin/main"]).data()["errors"], 0);
    }

    // Staged files, a conflict, and what a hard reset loses.
    room.run(&["task", "update", &second, "--title", "ours"]).data();
    room.git(&["add", "-A"]).text();
    assert_eq!(room.run(&["lint", "--staged"]).data()["checked"], 1);
    room.git(&["commit", "-qm", "ours"]).text();
    room.git(&["checkout", "-q", "-b", "theirs", "HEAD~1"]).text();
    room.run_as("bob", &["task", "update", &second, "--title", "theirs"]).data();
    commit_in(&room, &room.repo(), "theirs");
    room.git(&["checkout", "-q", "main"]).text();
    let _ = room.git(&["merge", "-q", "theirs"]);
    room.run(&["resolve"]).data();
    room.git(&["commit", "-qm", "merged"]).text();
    room.is_clean();
    let lost = room.task("lost", &[]);
    commit_in(&room, &room.repo(), "lost");
    room.git(&["reset", "-q", "--hard", "HEAD~1"]).text();
    room.run(&["recover", "--all"]).data();
    assert_eq!(room.get(&lost)["title"], "lost");
    let doctor = room.run(&["doctor"]).data();
    let bad = doctor["checks"].as_array().expect("checks").iter().filter(|check| check["ok"] != true).count();
    assert_eq!(bad, 0, "{doctor:#}");
}

#[test]
fn sha256_repositories_do_all_that_sha1_ones_do() {
    does_all(&["--object-format=sha256"]);
}

#[test]
fn reftable_repositories_do_all_that_others_do() {
    does_all(&["--ref-format=reftable"]);
}

#[test]
fn sha256_repositories_with_reftable_do_all_that_others_do() {
    does_all(&["--object-format=sha256", "--ref-format=reftable"]);
}

#[test]
fn reftables_are_read_as_git_reads_them() {
    for args in [&["--object-format=sha1"][..], &["--object-format=sha256"]] {
        let room = Sandbox::nothing();
        room.git(&[&["init", "-q", "-b", "main", "--ref-format=reftable"], args].concat()).text();
        room.git(&["commit", "-q", "--allow-empty", "-m", "one"]).text();
        let names: Vec<String> = (0..1_500).map(|n| format!("refs/heads/branch/{}/{n}", n * 7_919 % 100_003)).collect();
        let update = |verb: &str, names: Vec<&String>, object: &str| {
            let mut git = room.sealed("git", &room.repo());
            let mut child = git.args(["update-ref", "--stdin"]).stdin(Stdio::piped()).spawn().expect("git starts");
            let lines: String = names.iter().map(|name| format!("{verb} {name}{object}\n")).collect();
            child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("git reads");
            assert!(child.wait().expect("git ends").success());
        };
        // Several tables of several blocks, with removals, tags and symbolic references; then all in one table.
        update("create", names.iter().collect(), " HEAD");
        update("delete", names.iter().step_by(3).collect(), "");
        room.git(&["tag", "-a", "-m", "words", "v1"]).text();
        room.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]).text();
        room.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]).text();
        room.git(&["commit", "-q", "--allow-empty", "-m", "two"]).text();
        for _ in 0..2 {
            let format = "--format=%(refname) %(objectname) %(*objectname)";
            let listed = room.git(&["for-each-ref", format]);
            let lines = listed.text().lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let by_git: Vec<(String, String)> = lines
                .map(|line| {
                    (
                        line[0].to_owned(),
                        line.get(2).filter(|peeled| !peeled.is_empty()).unwrap_or(&line[1]).to_string(),
                    )
                })
                .collect();
            assert_eq!(by_git.len(), 1_004);
            let repo = agentpm::git::discover(&room.repo()).expect("readable").expect("a repository");
            let here = repo.objects().expect("readable").references("refs/").expect("readable");
            let here: Vec<(String, String)> = here.into_iter().map(|(name, oid)| (name, oid.to_string())).collect();
            assert_eq!(here, by_git);
            let tips = repo.tips().expect("readable");
            assert_eq!(tips.head.map(|oid| oid.to_string()).as_deref(), Some(room.git(&["rev-parse", "HEAD"]).text()));
            assert_eq!(tips.branches.len(), 1_002, "without the tag and the symbolic reference");
            assert_eq!(repo.head_text(), "ref: refs/heads/main");
            room.git(&["pack-refs", "--all"]).text();
        }
    }
}

/// A remote with two tasks, of which `bob` took the first on a branch of its own; and a partial clone of it.
struct Partial {
    room: Sandbox,
    clone: PathBuf,
    first: String,
    second: String,
}

impl Partial {
    fn new() -> Self {
        let room = room_with(&[]);
        room.git(&["-C", &room.beside("up").display().to_string(), "config", "uploadpack.allowFilter", "true"]).text();
        let (first, second) = (room.task("first", &["--priority", "3"]), room.task("second", &[]));
        commit_in(&room, &room.repo(), "the plan");
        room.git(&["push", "-q", "-u", "origin", "main"]).text();
        room.git(&["checkout", "-q", "-b", "bobs"]).text();
        room.run_as("bob", &["claim", &first]).data();
        room.run_as("bob", &["lease", "release", &first]).data();
        commit_in(&room, &room.repo(), "bob");
        room.git(&["push", "-q", "origin", "bobs"]).text();
        let clone = second_clone(&room, &["--filter=blob:none"]);
        Partial { room, clone, first, second }
    }

    fn run(&self, args: &[&str]) -> Answer {
        self.room.run_in(&self.clone, args)
    }

    /// How many objects the clone lacks.
    fn missing(&self) -> usize {
        let listed = self.room.git_in(&self.clone, &["rev-list", "--objects", "--all", "--missing=print"]);
        listed.text().lines().filter(|line| line.starts_with('?')).count()
    }

    /// Takes the remote away, or brings it back.
    fn reach(&self, online: bool) {
        let (there, away) = (self.room.beside("up"), self.room.beside("away"));
        let (from, to) = if online { (away, there) } else { (there, away) };
        fs::rename(from, to).expect("the remote moves");
    }
}

#[test]
fn reads_in_a_partial_clone_name_the_branch_they_lack_and_fetch_nothing() {
    let partial = Partial::new();
    let before = partial.missing();
    assert!(before > 0);
    for args in [&["ls"][..], &["ready"], &["next"], &["brief", &partial.first], &["task", "get", &partial.first]] {
        partial.run(args).data();
    }
    assert_eq!(partial.missing(), before);
    for args in [&["ready"][..], &["next"], &["brief", &partial.first], &["task", "get", &partial.first]] {
        let answer = partial.run(args);
        let warning = "the plan of the branch origin/bobs is not all in this partial clone and does not count here; \
                       git diff --stat HEAD origin/bobs -- .agentpm fetches it";
        assert!(answer.stderr.contains(warning) || answer.stdout.contains(warning), "{answer:?}");
    }
    // The named command works.
    partial.room.git_in(&partial.clone, &["diff", "--stat", "HEAD", "origin/bobs", "--", ".agentpm"]).text();
    assert_eq!(partial.run(&["next"]).data()["task"]["id"], partial.second.as_str());
}

#[test]
fn next_with_claim_fetches_what_a_partial_clone_lacks_of_other_branches() {
    let partial = Partial::new();
    let taken = partial.run(&["next", "--claim"]);
    assert_eq!(taken.data()["task"]["id"], partial.second.as_str());
    assert_eq!(taken.stderr, "");
}

#[test]
fn claims_warn_where_the_remote_of_a_partial_clone_does_not_answer() {
    let partial = Partial::new();
    partial.reach(false);
    let taken = partial.run(&["next", "--claim"]);
    assert_eq!(taken.data()["task"]["id"], partial.first.as_str());
    for words in ["origin/bobs", "cannot fetch 1 object", "may be handed out here", "git diff --stat HEAD origin/bobs"]
    {
        assert!(taken.stderr.contains(words), "{words}: {taken:?}");
    }
}

#[test]
fn commands_about_history_fetch_what_a_partial_clone_lacks() {
    let partial = Partial::new();
    partial.reach(false);
    for args in [&["review", "main..origin/bobs"][..], &["task", "get", &partial.first, "--at", "origin/bobs"]] {
        let refused = partial.run(args).error("ERR_GIT", 9);
        assert_eq!(refused["hint"], "make sure that git fetch origin works, then run the same command again");
    }
    partial.reach(true);
    assert_eq!(partial.run(&["review", "main..origin/bobs"]).data()["total"], 1);
    let then = partial.run(&["task", "get", &partial.first, "--at", "origin/bobs"]).data();
    assert_eq!(then["owner"], "bob");
    assert_eq!(partial.run(&["diff", "main", "origin/bobs"]).data()["total"], 1);
    assert_eq!(partial.run(&["lint", "--base", "origin/bobs"]).data()["errors"], 0);
}

#[test]
fn sync_in_a_partial_clone_merges_what_both_sides_changed() {
    let partial = Partial::new();
    partial.room.git(&["checkout", "-q", "main"]).text();
    for n in ["one", "two"] {
        partial.room.run(&["task", "update", &partial.first, "--title", n]).data();
        partial.room.run(&["sync"]).data();
    }
    partial.run(&["task", "update", &partial.first, "--priority", "1"]).data();
    partial.run(&["task", "update", &partial.second, "--priority", "2"]).data();
    assert_eq!(partial.run(&["sync"]).data()["pushed"], true);
    let first = partial.run(&["task", "get", &partial.first]).data();
    assert_eq!((first["title"].as_str(), first["priority"].as_i64()), (Some("two"), Some(1)));
    assert_eq!(partial.run(&["lint"]).data()["findings"], serde_json::json!([]));
}

#[test]
fn a_partial_clone_repairs_and_syncs_without_fetching_history() {
    let room = room_with(&[]);
    room.git(&["-C", &room.beside("up").display().to_string(), "config", "uploadpack.allowFilter", "true"]).text();
    let (first, removed) = (room.task("first", &[]), room.task("removed", &[]));
    let shard = format!(".agentpm/tasks/{}", shard(&first));
    commit_in(&room, &room.repo(), "the plan");
    room.git(&["push", "-q", "-u", "origin", "main"]).text();
    for n in ["one", "two", "three"] {
        room.run(&["task", "update", &first, "--title", n]).data();
        room.run(&["sync"]).data();
    }
    room.git(&["rm", "-rq", &room.task_dir(&removed).display().to_string()]).text();
    room.git(&["commit", "-qm", "removed"]).text();
    room.git(&["push", "-q"]).text();

    for more in [&["--filter=blob:none"][..], &["--filter=tree:0"], &["--filter=blob:none", "--sparse"]] {
        let up = format!("file://{}", room.beside("up").display());
        let clone = room.beside(&format!("clone{}", more.join("").replace([':', '='], "")));
        room.git_in(&room.home(), &[&["clone", "-q"], more, &[&up, &clone.display().to_string()]].concat()).text();
        if more.len() > 1 {
            room.git_in(&clone, &["sparse-checkout", "set", &shard]).text();
        }
        // Without the remote, changes and lint do what they can.
        fs::rename(room.beside("up"), room.beside("away")).expect("the remote moves");
        room.run_in(&clone, &["task", "create", "--title", "new"]).data();
        room.run_in(&clone, &["task", "update", &first, "--priority", "1"]).data();
        let report = room.run_in(&clone, &["lint"]);
        assert_eq!(report.data()["findings"], serde_json::json!([]), "{more:?}");
        fs::rename(room.beside("away"), room.beside("up")).expect("the remote moves");
        let synced = room.run_in(&clone, &["sync"]);
        assert_eq!(synced.data()["pushed"], true, "{more:?}");
        assert_eq!(room.run_in(&clone, &["lint"]).data()["errors"], 0, "{more:?}");
    }
}

#[test]
fn next_works_in_a_clone_without_trees() {
    let Partial { room, first, second, .. } = Partial::new();
    let (up, bare) = (format!("file://{}", room.beside("up").display()), room.beside("treeless"));
    room.git(&["clone", "-q", "--filter=tree:0", &up, &bare.display().to_string()]).text();
    let next = room.run_in(&bare, &["next"]);
    assert_eq!(next.data()["task"]["id"], first.as_str());
    assert!(next.stdout.contains("the plan of the branch origin/bobs is not all in this partial clone"), "{next:?}");
    assert_eq!(room.run_in(&bare, &["next", "--claim"]).data()["task"]["id"], second.as_str());
}

/// The header lines and the message of a commit, as git keeps them.
fn raw_commit(room: &Sandbox, dir: &Path, name: &str) -> Vec<u8> {
    room.sealed("git", dir).args(["cat-file", "commit", name]).output().expect("git starts").stdout
}

#[test]
fn commits_of_sync_are_utf8_whatever_encoding_the_user_commits_in() {
    let room = room_with(&[]);
    room.git(&["config", "i18n.commitEncoding", "ISO-8859-1"]).text();
    commit_in(&room, &room.repo(), "the plan");
    room.git(&["push", "-q", "-u", "origin", "main"]).text();
    room.task("Grüße aus Köln", &[]);
    room.run(&["sync"]).data();
    let commit = String::from_utf8(raw_commit(&room, &room.repo(), "HEAD")).expect("the commit is UTF-8");
    assert!(commit.contains("Grüße aus Köln") && !commit.contains("\nencoding "), "{commit}");
}

#[test]
fn a_replayed_commit_keeps_its_encoding_and_its_bytes() {
    let room = room_with(&[]);
    commit_in(&room, &room.repo(), "the plan");
    room.git(&["push", "-q", "-u", "origin", "main"]).text();
    let other = second_clone(&room, &[]);
    room.run_in(&other, &["task", "create", "--title", "theirs"]).data();
    room.run_in(&other, &["sync"]).data();

    use std::os::unix::ffi::OsStrExt as _;
    fs::write(room.repo().join("file"), "x").expect("a file");
    room.git(&["add", "file"]).text();
    let mut git = room.sealed("git", &room.repo());
    git.args(["-c", "i18n.commitEncoding=ISO-8859-1", "commit", "-q", "-m"])
        .arg(std::ffi::OsStr::from_bytes(b"Gr\xfc\xdfe"));
    git.env("GIT_AUTHOR_NAME", std::ffi::OsStr::from_bytes(b"J\xf6rg"));
    assert!(git.status().expect("git starts").success());
    room.run(&["sync"]).data();

    assert_eq!(room.git(&["log", "-1", "--format=%s|%an|%e"]).text(), "Grüße|Jörg|ISO-8859-1");
    let commit = raw_commit(&room, &room.repo(), "HEAD");
    let holds = |bytes: &[u8]| commit.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(b"\nencoding ISO-8859-1\n") && holds(b"\nauthor J\xf6rg <") && holds(b"\n\nGr\xfc\xdfe\n"));
    assert_eq!(room.git(&["rev-list", "--count", "origin/main"]).text(), "3", "it was replayed");
}

#[test]
fn the_root_of_a_bare_repository_names_its_worktrees() {
    let room = Sandbox::new();
    commit_in(&room, &room.repo(), "the plan");
    // With `.git` as a file, as a folder, and the bare repository itself.
    for (folder, bare, dot_git) in [("one", ".bare", true), ("two", ".git", false)] {
        let root = room.beside(folder);
        fs::create_dir(&root).expect("a folder");
        let source = room.repo().display().to_string();
        room.git_in(&root, &["clone", "-q", "--bare", &source, bare]).text();
        if dot_git {
            fs::write(root.join(".git"), "gitdir: ./.bare\n").expect("a file");
        }
        let add = "add a worktree with git worktree add PATH BRANCH, and run agentpm in it";
        assert_eq!(room.run_in(&root, &["ls"]).error("ERR_NO_STORE", 3)["hint"], add);
        assert_eq!(room.run_in(&root, &["init"]).error("ERR_GIT", 9)["hint"], add);
        room.git_in(&root, &["worktree", "add", "-q", "main"]).text();
        let main = root.join("main").canonicalize().expect("a worktree");
        let go = format!("change to one of its worktrees, such as {} (git worktree list shows all)", main.display());
        for dir in [&root, &root.join(bare)] {
            assert_eq!(room.run_in(dir, &["ls"]).error("ERR_NO_STORE", 3)["hint"], go.as_str());
            assert_eq!(room.run_in(dir, &["init"]).error("ERR_GIT", 9)["hint"], go.as_str());
        }
        assert!(!root.join(".agentpm").exists());
        room.run_in(&main, &["ls"]).data();
        room.run_in(&main, &["init"]).data();
    }
}

fn copy_store(room: &Sandbox, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    let mut copy = room.sealed("cp", to);
    let copied =
        copy.args(["-r", &room.store().display().to_string(), &to.join(".agentpm").display().to_string()]).status();
    assert!(copied.expect("cp starts").success());
}

#[test]
fn a_copied_store_is_read_and_linted_without_a_repository() {
    let room = Sandbox::new();
    let task = room.task("first", &[]);
    let copy = room.beside("elsewhere");
    copy_store(&room, &copy);
    let deep = copy.join("a/b");
    fs::create_dir_all(&deep).expect("a folder");
    for dir in [&copy, &deep] {
        assert_eq!(room.run_in(dir, &["ls"]).data()["items"][0]["id"], task.as_str());
        assert_eq!(room.run_in(dir, &["lint"]).data()["checked"], 1);
    }
    let log = copy.join(room.log_of(&task).strip_prefix(room.repo()).expect("a path below"));
    fs::write(&log, "garbage\n").expect("a log");
    let report = room.run_in(&deep, &["lint"]);
    assert_eq!(report.code, 1, "{report:?}");
    // What needs a repository says so.
    room.run_in(&copy, &["init"]).error("ERR_GIT", 9);
    room.run_in(&copy, &["sync"]).error("ERR_SYNC", 9);
}

#[test]
fn no_store_is_taken_from_across_a_repository_or_from_home() {
    let room = Sandbox::new();
    let copy = room.beside("elsewhere");
    copy_store(&room, &copy);
    copy_store(&room, &room.home());
    let inner = copy.join("inner");
    fs::create_dir(&inner).expect("a folder");
    room.git_in(&inner, &["init", "-q"]).text();
    fs::create_dir(room.home().join("deep")).expect("a folder");
    for dir in [inner, room.home(), room.home().join("deep")] {
        room.run_in(&dir, &["ls"]).error("ERR_NO_STORE", 3);
        assert_eq!(room.run_in(&dir, &["lint"]).code, 0);
    }
}

#[test]
fn tasks_that_a_sparse_checkout_hides_are_counted_in_a_warning() {
    let room = Sandbox::new();
    let tasks = [room.task("first", &[]), room.task("second", &[])];
    let shards = tasks.each_ref().map(|id| shard(id));
    assert_ne!(shards[0], shards[1]);
    commit_in(&room, &room.repo(), "the plan");
    let hidden = |words: &str, args: &[&str]| {
        let answer = room.run(args);
        assert_eq!(answer.code, 0);
        let warning = format!(
            "{words} left out of this work tree by a sparse checkout and missing here; git sparse-checkout add .agentpm shows the whole plan"
        );
        assert!(answer.stderr.contains(&warning), "{args:?} {answer:?}");
    };
    let shown = format!(".agentpm/tasks/{}", shards[0]);
    for sparse_index in ["--no-sparse-index", "--sparse-index"] {
        room.git(&["sparse-checkout", "set", "--cone", sparse_index, &shown]).text();
        for args in [&["ls"][..], &["ready"], &["next"], &["task", "list", "--all"]] {
            hidden("1 task is", args);
        }
        room.git(&["sparse-checkout", "set", "--cone", sparse_index, ".agentpm/agents"]).text();
        hidden("2 tasks are", &["ls"]);
        hidden("2 tasks are", &["next", "--claim"]);
        // The named command works.
        room.git(&["sparse-checkout", "add", ".agentpm"]).text();
        let whole = room.run(&["ls"]);
        assert_eq!((whole.data()["total"].as_u64(), whole.stderr.as_str()), (Some(2), ""));
        room.git(&["sparse-checkout", "disable"]).text();
        assert_eq!(room.run(&["ls"]).stderr, "");
    }
}

#[test]
fn attributes_of_the_repository_do_not_change_the_files_of_the_plan() {
    for (attributes, name) in [
        ("* ident\n", "ident"),
        ("* text=auto eol=crlf\n", "eol"),
        ("* crlf\n", "crlf"),
        ("* filter=x\n", "filter"),
        (".agentpm/** working-tree-encoding=UTF-16\n", "encoding"),
        ("* binary conflict-marker-size=12\n", "binary"),
    ] {
        let room = room_with(&[]);
        for (key, value) in
            [("filter.x.clean", "tr a-z A-Z"), ("filter.x.smudge", "tr a-z A-Z"), ("core.autocrlf", "true")]
        {
            room.git(&["config", key, value]).text();
        }
        fs::write(room.repo().join(".gitattributes"), attributes).expect("attributes");
        let task = room.task("a title of $Id$", &["--intent", "one\ntwo $Id$ ünï"]);
        commit_in(&room, &room.repo(), "the plan");
        room.git(&["push", "-q", "-u", "origin", "main"]).text();
        room.run(&["task", "update", &task, "--priority", "2"]).data();
        room.run(&["sync"]).data();
        assert_eq!(room.git(&["status", "--porcelain"]).text(), "", "{name}");

        let settings = ["-c", "filter.x.smudge=tr a-z A-Z", "-c", "core.autocrlf=true"];
        let other = second_clone(&room, &settings);
        let below = room.task_dir(&task).strip_prefix(room.repo()).expect("a path below").to_owned();
        let files = [
            ".agentpm/config.toml".into(),
            ".agentpm/.gitattributes".into(),
            below.join("task.yaml"),
            below.join("events.jsonl"),
        ];
        for file in files {
            let (here, there) = (fs::read(room.repo().join(&file)), fs::read(other.join(&file)));
            assert_eq!(here.expect("a file"), there.expect("a file"), "{name}: {}", file.display());
        }
        assert_eq!(room.run_in(&other, &["lint"]).data()["findings"], serde_json::json!([]), "{name}");
        assert_eq!(room.git_in(&other, &["status", "--porcelain"]).text(), "", "{name}");
        // Merging goes on as the store says.
        let path = below.join("events.jsonl").display().to_string();
        let merge = room.git(&["check-attr", "merge", "--", &path]);
        assert!(merge.text().ends_with("merge: union"), "{name}: {merge:?}");
    }
}

#[test]
fn init_brings_earlier_attributes_up_to_date() {
    let room = Sandbox::new();
    let path = room.store().join(".gitattributes");
    let now = fs::read_to_string(&path).expect("attributes");
    let rest = now.split_once('\n').expect("lines").1;
    fs::write(&path, format!("* text eol=lf\n{rest}")).expect("attributes");
    room.run(&["init"]).data();
    assert_eq!(fs::read_to_string(&path).expect("attributes"), now);
    fs::write(&path, "* text eol=lf\nmine\n").expect("attributes");
    room.run(&["init"]).data();
    assert_eq!(fs::read_to_string(&path).expect("attributes"), "* text eol=lf\nmine\n");
}
