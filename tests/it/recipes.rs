//! The recipes of docs/ci.md: hooks of every kind stop a bad commit with code, file and line, and let a good one pass; the
//! workflow for pull requests posts its review and fails where it should.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::machine;
use crate::sandbox::{Answer, Sandbox};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn recipe(name: &str) -> String {
    fs::read_to_string(top().join("fixtures/recipes").join(name)).unwrap()
}

/// Puts a file into a folder of programs.
fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A clone whose PATH begins with the agentpm under test.
struct Clone {
    room: Sandbox,
    task: String,
}

impl Clone {
    fn begin() -> Self {
        let room = Sandbox::new();
        let task = room.task("the task", &[]);
        let clone = Clone { room, task };
        clone.room.git(&["add", "-A"]).text();
        clone.room.git(&["commit", "-q", "-m", "a plan"]).text();
        fs::create_dir_all(clone.programs()).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_agentpm"), clone.programs().join("agentpm")).unwrap();
        clone
    }

    fn programs(&self) -> PathBuf {
        self.room.beside("bin")
    }

    fn path(&self) -> OsString {
        machine::path_after(&self.programs())
    }

    fn command(&self, program: &str, dir: &Path) -> Command {
        let mut command = self.room.agentpm_like(program);
        command.current_dir(dir).env("PATH", self.path()).env("PRE_COMMIT_HOME", self.room.beside("pre-commit"));
        command.env("PRE_COMMIT_COLOR", "never").env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    fn run(&self, dir: &Path, program: &str, args: &[&str]) -> Answer {
        Answer::from(self.command(program, dir).args(args).output().unwrap())
    }

    fn commit(&self, dir: &Path, message: &str) -> Answer {
        self.run(dir, "git", &["add", "-A"]).text();
        self.run(dir, "git", &["commit", "-q", "-m", message])
    }

    fn file(&self, dir: &Path, name: &str) -> PathBuf {
        let below = self.room.task_dir(&self.task);
        dir.join(below.strip_prefix(self.room.repo()).unwrap()).join(name)
    }

    fn undo(&self, dir: &Path) {
        self.run(dir, "git", &["reset", "-q", "--hard"]).text();
    }

    /// A commit that must be stopped, with this code at that line of a file.
    #[track_caller]
    fn is_stopped(&self, dir: &Path, code: &str, file: &str, line: usize) {
        let before = self.run(dir, "git", &["rev-parse", "HEAD"]).text().to_owned();
        let answer = self.commit(dir, "a bad change");
        let said = format!("{}{}", answer.stdout, answer.stderr);
        assert_ne!(answer.code, 0, "{answer:?}");
        assert!(said.contains(code) && said.contains(&format!("{file}:{line}")), "{code} {file}:{line}: {said}");
        assert_eq!(self.run(dir, "git", &["rev-parse", "HEAD"]).text(), before);
        self.undo(dir);
    }

    /// Good commits pass and bad ones are stopped, here and in a linked worktree.
    #[track_caller]
    fn guards(&self) {
        let linked = self.room.beside("linked");
        self.run(&self.room.repo(), "git", &["worktree", "add", "-q", "-b", "linked", linked.to_str().unwrap()]).text();
        for dir in [self.room.repo(), linked] {
            self.room.run_in(&dir, &["note", &self.task, "--content", "a good change"]).data();
            self.commit(&dir, "a good change").text();

            let log = self.file(&dir, "events.jsonl");
            let text = fs::read_to_string(&log).unwrap();
            fs::write(&log, text.replacen("{\"v\":1,", "{\"v\":1;", 1)).unwrap();
            self.is_stopped(&dir, "log-line", "events.jsonl", 1);

            let page = self.file(&dir, "task.yaml");
            let text = fs::read_to_string(&page).unwrap();
            fs::write(&page, text.replace("title: the task", "title: by hand")).unwrap();
            self.is_stopped(&dir, "task-yaml-edited", "task.yaml", 1);

            // Unstaged files are not judged yet.
            fs::write(dir.join("code.txt"), dir.to_str().unwrap()).unwrap();
            self.run(&dir, "git", &["add", "code.txt"]).text();
            fs::write(&page, text.replace("title: the task", "title: by hand")).unwrap();
            self.run(&dir, "git", &["commit", "-q", "-m", "code alone"]).text();
            self.undo(&dir);
        }
    }
}

#[test]
fn the_pre_commit_framework_runs_the_hooks() {
    machine::needs!("pre-commit");
    let clone = Clone::begin();
    let repo = clone.room.repo();
    // What the framework would fetch by a tag.
    let source = clone.room.beside("source");
    fs::create_dir_all(&source).unwrap();
    fs::copy(top().join(".pre-commit-hooks.yaml"), source.join(".pre-commit-hooks.yaml")).unwrap();
    clone.run(&source, "pre-commit", &["validate-manifest", ".pre-commit-hooks.yaml"]).text();
    for args in [&["init", "-q"][..], &["add", "-A"], &["commit", "-q", "-m", "hooks"], &["tag", "v0.1.0"]] {
        clone.room.git_in(&source, args).text();
    }
    let config = recipe("pre-commit-config.yaml");
    fs::write(repo.join(".pre-commit-config.yaml"), &config).unwrap();
    clone.run(&repo, "pre-commit", &["validate-config", ".pre-commit-config.yaml"]).text();
    let config = config.replace("https://github.com/OWNER/agentpm", source.to_str().unwrap());
    fs::write(repo.join(".pre-commit-config.yaml"), config).unwrap();
    clone.run(&repo, "pre-commit", &["install"]).text();
    clone.commit(&repo, "the framework").text();
    clone.guards();

    fs::write(clone.room.store().join("config.toml"), "format = 1\n[hooks]\ntrailer = true\n").unwrap();
    clone.room.run(&["claim", &clone.task]).data();
    clone.commit(&repo, "work").text();
    let said = clone.room.git(&["log", "-1", "--format=%(trailers)"]);
    assert!(said.text().starts_with("Agentpm-Lease: "), "{said:?}");
}

#[test]
fn the_page_quotes_the_recipes() {
    let page = fs::read_to_string(top().join("docs/ci.md")).unwrap();
    let recipes = recipe("pre-commit-config.yaml") + &recipe("lefthook.yml");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let strange: Vec<&str> =
        blocks.flat_map(str::lines).filter(|shown| !recipes.lines().any(|line| line == *shown)).collect();
    assert!(strange.is_empty(), "no recipe has {strange:#?}");
    for name in ["hooks/pre-commit", "github-workflow.yml"] {
        assert!(page.contains(&format!("fixtures/recipes/{name}")), "the page does not name {name}");
    }
    let line = "agentpm lint --staged --format table";
    assert!(page.contains(&format!("`{line}`")) && recipe("husky/pre-commit").contains(line));
}

#[test]
fn lefthook_runs_the_hooks() {
    machine::needs!("lefthook");
    let clone = Clone::begin();
    let repo = clone.room.repo();
    fs::write(repo.join("lefthook.yml"), recipe("lefthook.yml")).unwrap();
    clone.run(&repo, "lefthook", &["install"]).text();
    clone.commit(&repo, "lefthook").text();
    clone.guards();
}

#[test]
fn husky_runs_the_hook() {
    let clone = Clone::begin();
    let repo = clone.room.repo();
    // As husky 9 lays it out: its own folder of hooks, each of which runs the file of its name in the folder above.
    script(&repo.join(".husky/pre-commit"), &recipe("husky/pre-commit"));
    script(&repo.join(".husky/_/pre-commit"), "#!/usr/bin/env sh\n. \"$(dirname \"$0\")/h\"\n");
    let runner = "n=$(basename \"$0\")\ns=$(dirname \"$(dirname \"$0\")\")/$n\n[ ! -f \"$s\" ] && exit 0\n\
                  export PATH=\"node_modules/.bin:$PATH\"\nsh -e \"$s\" \"$@\"\nc=$?\n\
                  [ $c != 0 ] && echo \"husky - $n script failed (code $c)\"\nexit $c\n";
    fs::write(repo.join(".husky/_/h"), runner).unwrap();
    clone.room.git(&["config", "core.hooksPath", ".husky/_"]).text();
    clone.commit(&repo, "husky").text();
    clone.guards();
}

#[test]
fn a_plain_hook_passes_without_the_program() {
    let clone = Clone::begin();
    let repo = clone.room.repo();
    script(&repo.join(".githooks/pre-commit"), &recipe("hooks/pre-commit"));
    clone.room.git(&["config", "core.hooksPath", ".githooks"]).text();
    clone.commit(&repo, "a hook").text();
    clone.guards();
    fs::remove_file(clone.programs().join("agentpm")).unwrap();
    fs::write(repo.join("code.txt"), "more\n").unwrap();
    let mut git = clone.command("git", &repo);
    git.env("PATH", machine::path()).args(["commit", "-q", "-a", "-m", "without"]);
    let answer = Answer::from(git.output().unwrap());
    assert!(answer.code == 0 && answer.stderr.contains("was not checked"), "{answer:?}");
}

fn workflow() -> Value {
    agentpm::store::yaml::read_value(&recipe("github-workflow.yml")).unwrap()
}

fn steps(workflow: &Value) -> &Vec<Value> {
    workflow["jobs"]["plan"]["steps"].as_array().unwrap()
}

/// The script of a step of the workflow.
fn shell(name: &str) -> String {
    let workflow = workflow();
    let step = steps(&workflow).iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}"));
    step["run"].as_str().unwrap().to_owned()
}

#[test]
fn the_workflow_asks_for_little_and_runs_no_words_of_strangers() {
    let text = recipe("github-workflow.yml");
    let workflow = workflow();
    let triggers: Vec<&String> = workflow["on"].as_object().unwrap().keys().collect();
    assert_eq!(triggers, ["pull_request"], "pull_request_target would run with the rights of the base");
    assert_eq!(workflow["permissions"], serde_json::json!({}));
    let jobs = workflow["jobs"].as_object().unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs["plan"]["permissions"], serde_json::json!({ "contents": "read", "pull-requests": "write" }));
    for step in steps(&workflow) {
        assert!(!step["run"].as_str().unwrap_or_default().contains("${{"), "an expression within a script: {step:#}");
        if let Some(uses) = step["uses"].as_str() {
            assert!(uses.starts_with("actions/") && uses.contains('@'), "{uses}");
        }
    }
    for part in text.split("${{").skip(1) {
        let word = part.split("}}").next().unwrap().trim();
        let known = [
            "github.event.pull_request.number",
            "github.event.pull_request.base.sha",
            "github.event.pull_request.head.sha",
            "github.token",
            "runner.os",
            "runner.temp",
            "env.AGENTPM_TAG",
            "!cancelled() && vars.AGENTPM_SARIF == 'true'",
        ];
        assert!(known.contains(&word), "{word} may hold what a stranger wrote");
    }
    let checkout = &steps(&workflow)[0]["with"];
    assert_eq!((&checkout["fetch-depth"], &checkout["persist-credentials"]), (&Value::from(0), &Value::from(false)));
    assert!(shell("Install").contains("cargo +stable install --locked --git \"$AGENTPM_GIT\" --tag \"$AGENTPM_TAG\""));
}

/// A pull request: a branch upon a base, and a hosting site that writes down what it is asked.
struct Pull {
    clone: Clone,
    base: String,
}

impl Pull {
    fn begin() -> Self {
        let clone = Clone::begin();
        let base = clone.room.git(&["rev-parse", "HEAD"]).text().to_owned();
        clone.room.git(&["switch", "-q", "-c", "branch"]).text();
        let site = clone.room.beside("site");
        fs::create_dir_all(&site).unwrap();
        let gh = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{0}/asked'\nfor word; do case $word in body=@*) cp \"${{word#body=@}}\" \
             '{0}/body';; esac; done\ncase $* in *--paginate*) cat '{0}/ids' 2>/dev/null;; esac\nexit 0\n",
            site.display()
        );
        script(&clone.programs().join("gh"), &gh);
        Pull { clone, base }
    }

    fn site(&self, name: &str) -> String {
        fs::read_to_string(self.clone.room.beside("site").join(name)).unwrap_or_default()
    }

    /// Runs a step as the runner does.
    fn step(&self, name: &str) -> Answer {
        let mut bash = self.clone.command("bash", &self.clone.room.repo());
        bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &shell(name)]).env_remove("AGENTPM_AGENT");
        bash.env("BASE", &self.base).env("NUMBER", "7").env("GITHUB_REPOSITORY", "owner/project").env("GH_TOKEN", "x");
        bash.env("RUNNER_TEMP", self.clone.room.beside("site"));
        bash.env("GITHUB_STEP_SUMMARY", self.clone.room.beside("site").join("summary"));
        Answer::from(bash.output().unwrap())
    }
}

#[test]
fn the_workflow_posts_one_comment_keeps_it_up_to_date_and_lets_a_good_branch_pass() {
    machine::needs!("bash");
    let pull = Pull::begin();
    let (room, task) = (&pull.clone.room, &pull.clone.task);
    room.run(&["claim", task]).data();
    fs::write(room.repo().join("code.rs"), "fn main() {}\n").unwrap();
    room.run(&["done", task]).data();
    pull.clone.commit(&room.repo(), "the task is done").text();

    pull.step("Review").text();
    pull.step("Comment").text();
    let asked = pull.site("asked");
    let lines: Vec<&str> = asked.lines().collect();
    assert!(lines[0].starts_with("api --paginate repos/owner/project/issues/7/comments --jq "), "{asked}");
    assert!(
        lines[1].starts_with("api --silent --method POST repos/owner/project/issues/7/comments -F body=@"),
        "{asked}"
    );
    let body = pull.site("body");
    assert!(body.starts_with("<!-- agentpm review -->\n") && body.contains("the task"), "{body}");
    assert!(body.ends_with(&pull.site("summary")), "the same stands in the summary");
    let lint = pull.step("Lint");
    assert_eq!(lint.text(), "", "{lint:?}");

    fs::write(room.beside("site").join("ids"), "41\n99\n").unwrap();
    room.run(&["task", "reopen", task, "--reason", "a part is missing"]).data();
    pull.clone.commit(&room.repo(), "not yet").text();
    pull.step("Review").text();
    pull.step("Comment").text();
    let last = pull.site("asked").lines().last().unwrap().to_owned();
    assert!(last.starts_with("api --silent --method PATCH repos/owner/project/issues/comments/41 "), "{last}");
    pull.step("SARIF").text();
    assert!(
        pull.site("agentpm.sarif").contains("\"version\": \"2.1.0\"") || pull.site("agentpm.sarif").contains("2.1.0")
    );
}

#[test]
fn the_workflow_fails_on_a_bad_branch_and_says_where() {
    machine::needs!("bash");
    let pull = Pull::begin();
    let room = &pull.clone.room;
    let log = pull.clone.file(&room.repo(), "events.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replace("the task", "another task")).unwrap();
    room.git(&["commit", "-q", "-a", "--no-verify", "-m", "history is rewritten"]).text();
    pull.step("Review").text();
    pull.step("Comment").text();
    let lint = pull.step("Lint");
    assert_eq!(lint.code, 1, "{lint:?}");
    let place = shown(room, &log);
    assert!(lint.stdout.contains(&format!("::error file={place},line=1,title=agentpm log-rewritten::")), "{lint:?}");
    pull.step("SARIF").text();
    assert!(pull.site("agentpm.sarif").contains("log-rewritten"));
}

fn shown(room: &Sandbox, path: &Path) -> String {
    path.strip_prefix(room.repo()).unwrap().display().to_string()
}
