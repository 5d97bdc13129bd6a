//! The README's commands run, and print what it says they print.
//!
//! `UPDATE_README=1 cargo test --test it readme::` writes what they print now into it.

use std::path::Path;

use crate::sandbox::{Answer, Sandbox};

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

#[test]
fn every_command_prints_what_it_says() {
    let room = Sandbox::bare_repo();
    let written = std::fs::read_to_string(path()).unwrap();
    let mut shown = String::new();
    let mut in_console = false;
    for line in written.lines() {
        match line {
            "```console" => in_console = true,
            "```" => in_console = false,
            _ => {}
        }
        // Between the fences what was printed is left out, and printed anew.
        if in_console && line.starts_with("$ ") {
            shown.push_str(&format!("{line}\n{}", run(&room, &line[2..])));
        } else if !in_console || line == "```console" {
            shown.push_str(line);
            shown.push('\n');
        }
    }
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path(), &shown).unwrap();
    }
    let differs = written.lines().zip(shown.lines()).find(|(a, b)| a != b);
    assert!(
        written == shown || std::env::var_os("UPDATE_README").is_some(),
        "the README says something else: {differs:#?}"
    );
}

fn run(room: &Sandbox, line: &str) -> String {
    room.at("2026-11-20T10:00:00Z");
    let bin = Path::new(env!("CARGO_BIN_EXE_agentpm")).parent().unwrap();
    let search = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = room.agentpm_like("sh");
    let answer = Answer::from(shell.env("PATH", search).args(["-c", line]).output().unwrap());
    let place = room.repo().canonicalize().unwrap().display().to_string();
    let text = format!("{}{}", answer.stdout, answer.stderr).replace(&place, "/home/ada/project");
    let text = without_duration(&text);
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
