//! Hygiene as ordinary tests: layers, documents, and words that do not belong here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::sandbox::Sandbox;

pub fn root() -> &'static Path {
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
    ("nats", &["model"]),
    ("engine", &["env", "model", "rules", "git", "nats", "runtime", "store", "reports"]),
    ("api", &["model", "rules", "reports", "engine"]),
    ("server", &["env", "model", "runtime", "store", "engine", "api"]),
    ("client", &["env", "model"]),
    ("mcp", &["env", "model", "engine", "api"]),
    ("bus", &["env", "model", "nats", "runtime", "engine"]),
    ("cli", &["env", "model", "rules", "reports", "engine", "api", "server", "mcp", "bus"]),
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

/// The code of a file, without its tests and comments.
fn code_of(file: &Path) -> String {
    let text = read(file);
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules of a folder of `src` that each of them names, with a file that does. A module is a folder or a file in it, other than
/// `mod.rs` and `tests.rs`.
fn imports_within(folder: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let path = root().join("src").join(folder);
    let module_of = |place: &Path| {
        let first = place.iter().next()?.to_string_lossy().into_owned();
        let name = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
        (name != "mod" && name != "tests").then_some(name)
    };
    let whole = format!("crate::{}::", folder.replace('/', "::"));
    let mut imports: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for file in files_below(&path, ".rs") {
        let place = file.strip_prefix(&path).unwrap().to_owned();
        let Some(module) = module_of(&place) else { continue };
        // Names of its own folder in a file that lies in it, and those of the folder above in one that lies deeper.
        let (depth, is_head) = (place.iter().count(), place.ends_with("mod.rs"));
        let up = "super::".repeat(if is_head { depth - 1 } else { depth });
        let code = code_of(&file);
        let mut named = names_after(&code, &whole);
        named.extend(names_after(&code.replace(&format!("super::{up}"), ""), &up));
        let of_module = imports.entry(module.clone()).or_default();
        for other in named.into_iter().filter(|other| *other != module && !other.is_empty()) {
            of_module.entry(other).or_insert_with(|| place.display().to_string());
        }
    }
    imports
}

/// The names that follow a prefix in code, also in braces.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for part in code.split(prefix).skip(1) {
        let list = match part.strip_prefix('{') {
            Some(list) => list.split("};").next().unwrap_or_default(),
            None => part.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default(),
        };
        let mut depth = 0;
        let mut name = String::new();
        for c in list.chars().chain([',']) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    named.insert(name.trim().split("::").next().unwrap_or_default().to_owned());
                    name.clear();
                }
                c if depth == 0 => name.push(c),
                _ => {}
            }
        }
    }
    named
}

/// What is left of modules once all that use only what was taken away before are taken away: the cycles and what uses them.
fn cycles(mut imports: BTreeMap<String, BTreeMap<String, String>>) -> BTreeMap<String, BTreeMap<String, String>> {
    loop {
        let free: Vec<String> = imports
            .iter()
            .filter(|(_, uses)| uses.keys().all(|used| !imports.contains_key(used)))
            .map(|(module, _)| module.clone())
            .collect();
        if free.is_empty() {
            return imports;
        }
        free.iter().for_each(|module| drop(imports.remove(module)));
    }
}

#[test]
fn modules_that_belong_together_form_no_cycle() {
    for folder in ["engine", "cli", "rules/decide", "api"] {
        let imports = imports_within(folder);
        let uses: usize = imports.values().map(BTreeMap::len).sum();
        assert!(imports.len() > 5 && uses > 5, "{folder}: {imports:?}");
        let left = cycles(imports);
        assert!(left.is_empty(), "these modules of {folder} use one another: {left:#?}");
    }
    let of = |uses: &[&str]| uses.iter().map(|used| ((*used).to_owned(), "x.rs".to_owned())).collect();
    let planted =
        BTreeMap::from([("a".to_owned(), of(&["b"])), ("b".to_owned(), of(&["a"])), ("c".to_owned(), of(&[]))]);
    assert_eq!(cycles(planted).len(), 2, "a cycle is found");
}

#[test]
fn no_module_is_more_than_a_part_of_the_whole() {
    let lines = |folder: &Path| files_below(folder, ".rs").iter().map(|file| read(file).lines().count()).sum::<usize>();
    let whole = lines(&root().join("src"));
    let modules = [
        "model",
        "env",
        "rules",
        "rules/decide",
        "git",
        "runtime",
        "store",
        "reports",
        "api",
        "cli",
        "server",
        "client",
    ];
    let modules = modules.map(|module| module.to_owned());
    let engine = imports_within("engine").into_keys().map(|module| format!("engine/{module}"));
    for module in modules.into_iter().chain(engine) {
        let nested = if module == "rules" { lines(&root().join("src/rules/decide")) } else { 0 };
        let part = lines(&root().join("src").join(&module)) - nested;
        assert!(part * 100 <= whole * 15, "{module} has {part} of {whole} lines");
    }
}

/// Acyclic imports mean acyclic calls only where a method stands in the module of its type.
#[test]
fn inherent_methods_stand_in_the_module_of_their_type() {
    let src = root().join("src");
    let module = |file: &Path| {
        let parts: Vec<String> =
            file.strip_prefix(&src).unwrap().iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let depth = if parts[0] == "engine" { 2 } else { 1 };
        parts[..depth.min(parts.len())].join("/")
    };
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut impls = Vec::new();
    for file in files_below(&src, ".rs") {
        for line in code_of(&file).lines() {
            let words = || line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            if let Some(name) = words().skip_while(|word| !matches!(*word, "struct" | "enum")).nth(1) {
                types.entry(name.to_owned()).or_default().insert(module(&file));
            }
            let Some(rest) = line.strip_prefix("impl").filter(|rest| !rest.contains(" for ")) else { continue };
            let rest = rest.strip_prefix('<').map_or(rest, |rest| rest.split_once("> ").map_or("", |(_, rest)| rest));
            let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            impls.push((name, module(&file), file.clone()));
        }
    }
    assert!(impls.len() > 100);
    for (name, at, file) in impls.iter().filter(|(name, ..)| types.contains_key(name)) {
        assert!(types[name].contains(at), "{}: {name} is of {:?}", file.display(), types[name]);
    }
}

/// The enums whose variants are types of events and operations. A match of one has no arm for all others, so that the compiler lists
/// the places that a new one must reach.
const MATCHED_WHOLE: &[&str] = &["Payload::", "P::", "Command::", "Query::", "Job::", "Call::"];

/// Whether a pattern fits whatever is matched.
fn fits_all(pattern: &str) -> bool {
    let parts = pattern.trim_start_matches('(').trim_end_matches(')').split(", ");
    parts.into_iter().all(|part| part.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.')))
}

/// The lines of formatted code with an arm for all others in a match of such an enum. One that asks the table of the event types is
/// right.
fn default_arms(code: &str) -> Vec<usize> {
    // The indentation of an open match, whether it names such an enum, and the line of its arm for all others.
    let mut open: Vec<(usize, bool, Option<usize>)> = Vec::new();
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        while let Some((_, names, default)) = open.pop_if(|(at, ..)| text.starts_with('}') && indent <= *at) {
            found.extend(default.filter(|_| names));
        }
        if let Some((_, names, default)) = open.last_mut().filter(|(at, ..)| indent == *at + 4) {
            let (pattern, _) = text.split_once(" if ").unwrap_or_else(|| text.split_once(" => ").unwrap_or((text, "")));
            *names |= MATCHED_WHOLE
                .iter()
                .any(|name| pattern.split(|c: char| " (&|".contains(c)).any(|word| word.starts_with(name)));
            if text.starts_with(&format!("{pattern} => ")) && fits_all(pattern) && !text.contains("EventRules::of(") {
                *default = Some(number + 1);
            }
        }
        if line.ends_with('{') && format!(" {text}").contains(" match ") {
            open.push((indent, false, None));
        }
    }
    found
}

#[test]
fn no_match_of_events_or_operations_has_an_arm_for_all_others() {
    let mut wrong = Vec::new();
    for file in files_below(&root().join("src"), ".rs") {
        wrong.extend(default_arms(&read(&file)).iter().map(|line| format!("{}:{line}", file.display())));
    }
    assert!(wrong.is_empty(), "name the other variants, or ask a table:\n{}", wrong.join("\n"));
    let planted = "    let x = match (&a.payload, b) {\n        (Payload::TaskCreated(_), Some(_)) => {\n            1\n        }\n        (_, b) => 2,\n    };";
    assert_eq!(default_arms(planted), [5]);
    assert_eq!(default_arms("match a {\n    Call::Job(_) => 1,\n    other => 2,\n}"), [3]);
    assert!(
        default_arms("match a {\n    Call::Job(_) => 1,\n    _ if b => 2,\n    Call::Query(_) => 3,\n}").is_empty()
    );
}

#[test]
fn one_module_names_the_git_library_one_starts_processes_and_the_write_path_alone_appends_to_the_journal() {
    const WRITE_PATH: [&str; 3] = ["src/engine/commit/", "src/engine/feed/stream.rs", "src/runtime/"];
    for file in files_below(&root().join("src"), ".rs") {
        let text = read(&file);
        let place = file.strip_prefix(root()).unwrap().display().to_string();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(!code.contains("gix::") || place.starts_with("src/git/"), "{place} names gix");
        assert!(!code.contains("async_nats") || place.starts_with("src/nats/"), "{place} names the NATS library");
        assert!(!code.contains("Command::new(") || place.starts_with("src/env/"), "{place} starts a process");
        let may_append = WRITE_PATH.iter().any(|path| place.starts_with(path));
        assert!(!code.contains("journal.append(") || may_append, "{place} writes past the write path");
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
fn every_error_code_is_raised_by_a_test() {
    let tests: String = files_below(&root().join("tests/it"), ".rs").iter().map(|file| read(file)).collect();
    for code in agentpm::error::Code::ALL {
        assert!(tests.contains(&format!("\"{}\"", code.as_str())), "no test expects {}", code.as_str());
    }
}

#[test]
fn every_planted_bug_can_be_planted() {
    let sandbox = Sandbox::nothing();
    for patch in files_below(&root().join("tests/planted"), ".patch") {
        assert!(read(&patch).contains("\nFound by: "), "{} names no test", patch.display());
        sandbox.git_in(root(), &["apply", "--check", &patch.display().to_string()]).text();
    }
}

#[test]
fn every_event_type_is_described() {
    let map = read(&root().join("ARCHITECTURE.md"));
    for kind in agentpm::model::payload::KINDS {
        assert!(map.contains(kind), "ARCHITECTURE.md does not name {kind}");
    }
}

/// Words that the prose and the names of the source avoid: each stands for an actor or a term that can be named.
const AVOIDED: &[&str] = &[
    "told",
    "tell",
    "tells",
    "nobody",
    "somebody",
    "whoever",
    "beside",
    "beneath",
    "mend",
    "mends",
    "mended",
    "mending",
    "heed",
    "heeds",
    "heeded",
    "anew",
    "draw",
    "draws",
    "drawn",
    "settle",
    "settles",
    "settled",
    "door",
    "doors",
    "asker",
    "put right",
    "puts right",
    "putting right",
    "what became of",
    "word of",
    "refuses to know",
];

#[test]
fn source_and_documents_hold_no_avoided_word() {
    let mut files = vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("Cargo.toml")];
    for (folder, ending) in [("src", ".rs"), ("src", ".md"), ("docs", ".md")] {
        files.extend(files_below(&root().join(folder), ending));
    }
    let mut wrong = Vec::new();
    for file in files {
        // `mend`, `nobody` and `told` are keys of the JSON form, and a constant of the system is not prose.
        let kept = ["\"mend\"", "`mend`", "\"nobody\"", "\"told\"", "BENEATH", "draw_target"];
        let text = kept.iter().fold(read(&file), |text, kept| text.replace(kept, ""));
        let text = text.replace(|c: char| !c.is_alphanumeric(), " ").to_lowercase();
        let text = format!(" {} ", text.split_whitespace().collect::<Vec<_>>().join(" "));
        let found = AVOIDED.iter().filter(|word| text.contains(&format!(" {word} ")));
        wrong.extend(found.map(|word| format!("{}: {word}", file.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
