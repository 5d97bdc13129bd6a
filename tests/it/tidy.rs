//! Hygiene as ordinary tests: layers, documents, and words that do not belong here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What each layer may import, besides itself and `error`.
const LAYERS: &[(&str, &[&str])] = &[
    ("env", &["model"]),
    ("model", &[]),
    ("rules", &["model"]),
    ("git", &["env", "model"]),
    ("runtime", &["env", "model", "rules"]),
    ("store", &["env", "model", "rules"]),
    ("reports", &["model", "rules"]),
    ("workspace", &["env", "model", "rules", "git", "runtime", "store", "reports"]),
    ("cli", &["env", "model", "rules", "workspace"]),
];

#[test]
fn imports_run_downwards_only() {
    let mut wrong = Vec::new();
    for (layer, allowed) in LAYERS {
        let allowed: BTreeSet<&str> = allowed.iter().copied().chain([*layer, "error"]).collect();
        let files = files_below(&root().join("src").join(layer), ".rs");
        assert!(!files.is_empty(), "the layer {layer} has no files");
        for file in files {
            let text = read(&file);
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate() {
                for part in line.split("crate::").skip(1) {
                    let module: String = part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                    if !allowed.contains(module.as_str()) {
                        wrong.push(format!("{}:{}: {layer} must not know {module}", file.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_module_names_the_git_library_and_one_starts_processes() {
    for file in files_below(&root().join("src"), ".rs") {
        let text = read(&file);
        let place = file.strip_prefix(root()).unwrap().display().to_string();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(!code.contains("gix::") || place.starts_with("src/git/"), "{place} names gix");
        assert!(!code.contains("Command::new(") || place.starts_with("src/env/"), "{place} starts a process");
        assert!(!code.contains("todo!") && !code.contains("unimplemented!"), "{place} is unfinished");
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for file in files_below(&root().join("src"), ".rs") {
        assert!(read(&file).starts_with("//! "), "{} begins without a word", file.display());
    }
}

#[test]
fn documents_are_there_and_speak_of_what_is_there() {
    let map = read(&root().join("ARCHITECTURE.md"));
    for (layer, _) in LAYERS {
        assert!(map.contains(&format!("`{layer}`")), "ARCHITECTURE.md does not name {layer}");
    }
    let contract = read(&root().join("docs/machine-contract.md"));
    for code in agentpm::error::Code::ALL {
        assert!(contract.contains(code.as_str()), "docs/machine-contract.md does not name {}", code.as_str());
    }
    assert!(!read(&root().join("CHANGELOG.md")).is_empty());
}

#[test]
fn every_event_type_is_described() {
    let map = read(&root().join("ARCHITECTURE.md"));
    for kind in agentpm::model::payload::KINDS {
        assert!(map.contains(kind), "ARCHITECTURE.md does not name {kind}");
    }
}
