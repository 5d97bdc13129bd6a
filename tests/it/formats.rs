//! Formats that were once written are read for ever, and what is read is written the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agentpm::env::files::Dir;
use agentpm::model::id::Id;
use agentpm::model::yaml::render_task;
use agentpm::rules::fold::fold;
use agentpm::runtime::journal;
use agentpm::store::log::Log;

use crate::sandbox::Sandbox;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every file below a folder, by its path.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).unwrap().display().to_string();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A repository with a copy of a store.
fn with_store(store: &Path) -> Sandbox {
    let room = Sandbox::bare_repo();
    for (name, bytes) in tree(store) {
        let path = room.store().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    room
}

#[test]
fn the_example_and_the_last_frozen_store_are_clean_and_render_to_their_own_bytes() {
    for store in [".agentpm.example", "fixtures/format/v1/store"] {
        let room = with_store(&fixture(store));
        room.is_clean();
        for file in tree(&room.store()).keys().filter(|name| name.ends_with(".yaml")) {
            std::fs::remove_file(room.store().join(file)).unwrap();
        }
        room.run(&["lint", "--fix"]).data();
        assert_eq!(tree(&room.store()), tree(&fixture(store)), "{store} was written differently");
    }
}

#[test]
fn a_frozen_journal_is_read() {
    let folder = fixture("fixtures/format/v1");
    let (records, end) = journal::look(&Dir::open(&folder).unwrap(), 0).unwrap();
    assert_eq!(end, std::fs::metadata(folder.join("journal.jsonl")).unwrap().len());
    assert_eq!(records.len(), 21);
    let lines: usize = records.iter().map(|record| record.entries.len()).sum();
    assert_eq!(records.last().unwrap().commit.lamport, lines as u64);
}

/// Each folder of `fixtures/fold` holds a log, the task it means and the rules that it breaks.
///
/// `UPDATE_FOLD=1` writes down what the fold says now, for a new case.
#[test]
fn the_fold_cases_mean_what_they_say() {
    let update = std::env::var_os("UPDATE_FOLD").is_some();
    let mut cases = 0;
    for entry in std::fs::read_dir(fixture("fixtures/fold")).unwrap() {
        let case = entry.unwrap().path();
        let log = Log::read(std::fs::File::open(case.join("events.jsonl")).unwrap()).unwrap();
        let task: Id = "01K5R4XJ7Z0000000000000000".parse().unwrap();
        let (state, mut findings) = fold(task, &log.entries);
        findings.extend(log.findings);
        let yaml = render_task(&state);
        let mut codes: Vec<&str> = findings.iter().map(|finding| finding.rule.code()).collect();
        codes.sort_unstable();
        let codes = codes.iter().map(|code| format!("{code}\n")).collect::<String>();
        for (name, now) in [("task.yaml", yaml), ("findings.txt", codes)] {
            if update {
                std::fs::write(case.join(name), &now).unwrap();
            }
            let expected = std::fs::read_to_string(case.join(name)).unwrap();
            assert_eq!(now, expected, "{} of {}", name, case.display());
        }
        cases += 1;
    }
    assert!(cases >= 10, "only {cases} cases");
}
