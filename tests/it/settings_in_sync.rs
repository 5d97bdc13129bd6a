//! Settings that several clones change, or that change while `sync` runs.

use crate::claims::hub;
use crate::sync::{Clones, hook};

const CONFIG: &str = ".agentpm/config.toml";

fn settings(list: &str, ttl: &str) -> String {
    format!(
        "format = 1\n\n[list]\nmax_bytes = {list}\n\n# Longer than a build takes.\n\n[lease]\nttl_seconds = {ttl}\n"
    )
}

fn clones() -> Clones {
    let (clones, _) = Clones::new(&["ada", "bob"]);
    clones.write("ada", CONFIG, &settings("9000", "600"));
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    clones
}

fn change(clones: &Clones, name: &str, list: &str, ttl: &str) {
    clones.write(name, CONFIG, &settings(list, ttl));
}

fn read(clones: &Clones, name: &str) -> String {
    std::fs::read_to_string(clones.dir(name).join(CONFIG)).unwrap()
}

fn has(clones: &Clones, name: &str, list: &str, ttl: &str) {
    assert_eq!(read(clones, name), settings(list, ttl), "{name}");
}

/// Writes the settings of a clone while it pushes.
fn change_during_push(clones: &Clones, name: &str, list: &str, ttl: &str) {
    let text = settings(list, ttl).replace('\n', "\\n");
    hook(&clones.dir(name).join(".git/hooks"), "pre-push", &format!("printf '{text}' > {CONFIG}"));
}

#[test]
fn settings_that_two_clones_changed_in_different_places_are_merged() {
    let clones = clones();
    change(&clones, "bob", "9000", "700");
    clones.run("bob", &["sync"]).data();
    change(&clones, "ada", "8000", "600");
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    for name in ["ada", "bob"] {
        has(&clones, name, "8000", "700");
    }
}

#[test]
fn a_merge_of_settings_that_could_not_be_read_is_refused() {
    let clones = clones();
    let review = |required: bool| format!("\n[review]\nrequired = {required}\n");
    let before = settings("9000", "600");
    clones.write("bob", CONFIG, &format!("{before}{}", review(true)));
    clones.run("bob", &["sync"]).data();
    let own = before.replacen('\n', &format!("\n{}", review(false)), 1);
    clones.write("ada", CONFIG, &own);
    let refused = clones.run("ada", &["sync"]).error("ERR_SYNC", 9);
    assert!(refused["message"].as_str().unwrap().contains("both changed .agentpm/config.toml"), "{refused}");
    assert_eq!(read(&clones, "ada"), own);
}

#[test]
fn a_merge_that_puts_a_setting_into_another_table_is_refused() {
    let clones = clones();
    let with = |more: &str| format!("format = 1\n\n[review]\n\n# later\n\n# more\n{more}");
    clones.write("ada", CONFIG, &with(""));
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    clones.write("bob", CONFIG, &with("").replace("[review]\n", "[review]\n\n[list]\nmax_bytes = 9000\n"));
    clones.run("bob", &["sync"]).data();
    clones.write("ada", CONFIG, &with("required = true\n"));
    let refused = clones.run("ada", &["sync"]).error("ERR_SYNC", 9);
    assert!(refused["message"].as_str().unwrap().contains("both changed .agentpm/config.toml"), "{refused}");
}

#[test]
fn roles_that_two_clones_changed_are_never_merged_by_their_text() {
    let (clones, _) = Clones::new(&["ada", "bob"]);
    let roles = |cy: &str, di: &str| {
        let ours = "  ada: {perms: [admin]}\n  bob: {perms: [admin]}\n";
        format!("agents:\n{ours}  cy: {{perms: [{cy}]}}\n  # one\n  # two\n  # three\n  di: {{perms: [{di}]}}\n")
    };
    let file = ".agentpm/roles.yml";
    clones.write("ada", file, &roles("comment", "comment"));
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    clones.write("bob", file, &roles("create", "comment"));
    clones.run("bob", &["sync"]).data();
    clones.write("ada", file, &roles("comment", "create"));
    let refused = clones.run("ada", &["sync"]).error("ERR_SYNC", 9);
    assert!(refused["message"].as_str().unwrap().contains("both changed .agentpm/roles.yml"), "{refused}");
}

#[test]
fn settings_that_change_during_a_push_take_nothing_back_that_came_in() {
    let clones = clones();
    change(&clones, "bob", "9000", "700");
    clones.run("bob", &["sync"]).data();
    change_during_push(&clones, "ada", "8000", "600");
    clones.run("ada", &["add", "to push", "--quiet"]).text();
    clones.run("ada", &["sync"]).data();
    has(&clones, "ada", "8000", "700");
    std::fs::remove_file(clones.dir("ada/.git/hooks/pre-push")).unwrap();
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    has(&clones, "bob", "8000", "700");
}

#[test]
fn one_setting_that_changes_here_during_a_push_that_brings_another_value_is_refused() {
    let clones = clones();
    change(&clones, "bob", "9000", "700");
    clones.run("bob", &["sync"]).data();
    change_during_push(&clones, "ada", "9000", "800");
    clones.run("ada", &["add", "to push", "--quiet"]).text();
    let refused = clones.run("ada", &["sync"]).error("ERR_SYNC", 9);
    assert!(refused["message"].as_str().unwrap().contains("the push succeeded"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("git pull --rebase"), "{refused}");
    has(&clones, "ada", "9000", "800");
    std::fs::remove_file(clones.dir("ada/.git/hooks/pre-push")).unwrap();
    clones.run("ada", &["sync"]).error("ERR_SYNC", 9);
    let there = clones.room.git_in(&hub(&clones), &["show", &format!("main:{CONFIG}")]);
    assert_eq!(there.text(), settings("9000", "700").trim_end(), "what bob set stays at the remote");
}

#[test]
fn settings_that_cannot_be_read_take_nothing_back_once_they_are_corrected() {
    let clones = clones();
    clones.write("ada", CONFIG, &settings("nonsense", "600"));
    change(&clones, "bob", "9000", "700");
    clones.run("bob", &["sync"]).data();
    clones.run("ada", &["sync"]).data();
    assert_eq!(read(&clones, "ada"), settings("nonsense", "700"), "what bob set is there");
    let corrected = read(&clones, "ada").replace("nonsense", "7000");
    clones.write("ada", CONFIG, &corrected);
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    has(&clones, "bob", "7000", "700");
}
