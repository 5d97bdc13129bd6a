//! The commands of README.md and of the pages in docs/ run, and print what the pages show.
//!
//! A `console` block is a session at a terminal: `$ ` begins a command, `> ` continues it, and the rest is output. A comment
//! `<!-- prepare` holds commands that run before it and are not shown. `UPDATE_README=1 cargo test --test it readme::` writes the
//! present output into the pages.

use std::collections::HashMap;
use std::path::Path;

use crate::sandbox::{Answer, Sandbox};

/// A test for each page, by the name of the page.
macro_rules! pages {
    ($($name:ident = $path:literal),* $(,)?) => {
        const PAGES: &[&str] = &[$($path),*];
        $(#[test] fn $name() { play($path) })*
    };
}

pages! {
    readme = "README.md",
    architecture = "ARCHITECTURE.md",
    agents = "docs/agents.md",
    board = "docs/board.md",
    bus = "docs/bus.md",
    ci = "docs/ci.md",
    compaction = "docs/compaction.md",
    export = "docs/export.md",
    git = "docs/git.md",
    hand_edits = "docs/hand-edits.md",
    import = "docs/import.md",
    leases = "docs/leases.md",
    machine_contract = "docs/machine-contract.md",
    mcp = "docs/mcp.md",
    observing = "docs/observing.md",
    queries = "docs/queries.md",
    roles = "docs/roles.md",
    roles_and_threads = "docs/roles-and-threads.md",
    server = "docs/server.md",
    settings = "docs/settings.md",
    speed = "docs/speed.md",
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// All pages, with those about the design, which hold no commands.
fn all() -> Vec<String> {
    let below = walkdir::WalkDir::new(root().join("docs")).sort_by_file_name().into_iter();
    let files = below
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|p| p.extension().is_some_and(|e| e == "md"));
    let names = files.map(|path| path.strip_prefix(root()).unwrap().display().to_string());
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned).into_iter().chain(names).collect()
}

#[test]
fn every_page_with_commands_has_a_test() {
    for page in all() {
        let text = read(&page);
        assert!(PAGES.contains(&page.as_str()) || !text.contains("```console"), "{page} has commands and no test");
        for block in text.split("\n```sh\n").skip(1) {
            let lines: Vec<&str> = block.split("\n```").next().unwrap_or_default().lines().collect();
            let elsewhere = lines.iter().find(|line| !line.starts_with("cargo "));
            assert!(elsewhere.is_none(), "{page}: {elsewhere:?} does not run here; use a console block");
        }
    }
}

#[test]
fn readme_and_architecture_are_short() {
    let words = read("README.md").split_whitespace().count();
    assert!(words <= 1_200, "README.md has {words} words; 1,200 are allowed");
    let bytes = read("ARCHITECTURE.md").len();
    assert!(bytes <= 12_000, "ARCHITECTURE.md has {bytes} bytes; 12,000 are allowed");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut wrong = Vec::new();
    for page in all() {
        let folder = root().join(&page).parent().unwrap().to_owned();
        for link in read(&page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(&page) } else { folder.join(file) };
            if !target.exists() || !(anchor.is_empty() || has_heading(&target, anchor)) {
                wrong.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_source_file_that_a_page_names_is_there() {
    let mut wrong = Vec::new();
    for page in all().iter().filter(|page| *page != "CHANGELOG.md") {
        for code in read(page).split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "benches/", "fixtures/"].iter().any(|folder| code.starts_with(folder));
            let is_plain = code.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if is_path && is_plain && !root().join(code).exists() {
                wrong.push(format!("{page}: {code}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a page has a heading that a hosting site gives this anchor.
fn has_heading(page: &Path, anchor: &str) -> bool {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || "-_".contains(c) => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    let text = std::fs::read_to_string(page).unwrap_or_default();
    let mut headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches(['#', ' ']));
    headings.any(|heading| heading.chars().filter_map(kept).collect::<String>() == anchor)
}

/// Runs the commands of a page and compares what they print.
fn play(page: &str) {
    crate::machine::needs!("grep", "sed");
    let features = [
        ("docs/server.md", cfg!(feature = "server")),
        ("docs/mcp.md", cfg!(feature = "mcp")),
        ("docs/bus.md", cfg!(feature = "bus")),
    ];
    if features.contains(&(page, false)) {
        return;
    }
    match page {
        "docs/server.md" => crate::machine::needs!("curl"),
        "docs/bus.md" => crate::machine::needs!("nats-server"),
        _ => {}
    }
    let mut terminal = Terminal { room: Sandbox::bare_repo(), seen: HashMap::new() };
    let written = read(page);
    let mut shown = String::new();
    let mut lines = written.lines().peekable();
    let mut block = "";
    while let Some(line) = lines.next() {
        match line {
            "```console" | "<!-- prepare" => block = line,
            "```" | "-->" => block = "",
            _ => {}
        }
        let is_output = block == "```console" && line != block && !line.starts_with("$ ");
        if is_output {
            continue;
        }
        shown.push_str(line);
        shown.push('\n');
        let Some(first) = line.strip_prefix("$ ").filter(|_| !block.is_empty()) else { continue };
        let mut command = first.to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with("> ")) {
            command.push_str(&format!("\n{}", &more[2..]));
            shown.push_str(&format!("{more}\n"));
        }
        let answer = terminal.run(&command);
        match block {
            "```console" => shown.push_str(&printed(&terminal.room, &answer)),
            _ => assert_eq!(answer.code, 0, "{page}: {command}: {answer:?}"),
        }
    }
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(root().join(page), &shown).unwrap();
        return;
    }
    let differs = written.lines().zip(shown.lines()).find(|(a, b)| a != b);
    assert!(written == shown, "{page} shows something else than what is printed: {differs:#?}");
}

/// A person's terminal in a throw-away repository.
struct Terminal {
    room: Sandbox,
    /// How often each command was run.
    seen: HashMap<String, u32>,
}

impl Terminal {
    fn run(&mut self, command: &str) -> Answer {
        self.room.at("2026-11-20T10:00:00Z");
        // Ids depend on the command alone, so that one more command in a page changes no id that the page names.
        let times = self.seen.entry(command.to_owned()).or_default();
        *times += 1;
        let seed = format!("{times} {command}");
        let bin = Path::new(env!("CARGO_BIN_EXE_agentpm")).parent().unwrap();
        let search = crate::machine::path_after(bin);
        let mut shell = self.room.agentpm_like("sh");
        shell.env("PATH", search).env("AGENTPM_SEED", seed).args(["-c", &format!("{AT_A_TERMINAL}{command}")]);
        Answer::from(shell.output().unwrap())
    }
}

/// Lets agentpm answer in words, as it does at a terminal, unless a command names another form.
const AT_A_TERMINAL: &str = "exec 2>&1
agentpm() {
  case \" $* \" in
    *' --format '* | *' --json '*) command agentpm \"$@\" ;;
    *) command agentpm --format table \"$@\" ;;
  esac
}
";

fn printed(room: &Sandbox, answer: &Answer) -> String {
    let place = room.repo().canonicalize().unwrap().display().to_string();
    let text = without_duration(&answer.stdout.replace(&place, "/home/ada/project"));
    text.lines().map(|l| format!("{}\n", l.trim_end())).collect()
}

/// How long a command took says nothing about it: `after 0.1 s` stands for any time.
fn without_duration(text: &str) -> String {
    let Some((before, after)) = text.split_once("after 0.") else { return text.to_owned() };
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    match rest.starts_with(" s;") {
        true => format!("{before}after 0.1{rest}"),
        false => text.to_owned(),
    }
}
