//! Signed events: who wrote a line, beyond what it says of itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

const ROLES: &str = "require_signatures: true\nagents:\n  ada: {perms: [admin]}\n  bob: {perms: [admin]}\n";

/// A plan whose agent ada signs, and whose roles ask for that.
fn signing() -> (Sandbox, String) {
    let room = Sandbox::new();
    room.task("older than keys", &[]);
    room.run(&["agent", "register", "--new-key"]).data();
    let id = room.task("signed", &[]);
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    commit(&room, "base");
    room.git(&["branch", "base"]).text();
    (room, id)
}

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", message]).text();
}

fn last_line(room: &Sandbox, id: &str) -> Value {
    let log = fs::read_to_string(room.log_of(id)).unwrap();
    serde_json::from_str(log.lines().last().unwrap()).unwrap()
}

/// The codes that lint finds about signatures.
fn found(answer: &Answer) -> Vec<String> {
    let findings = answer.json()["data"]["findings"].clone();
    let codes = findings.as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned());
    codes.filter(|code| code.starts_with("signature")).collect()
}

/// Changes a line of the log, and writes the readable file to fit.
fn alter(room: &Sandbox, id: &str, from: &str, to: &str) {
    let log = fs::read_to_string(room.log_of(id)).unwrap();
    assert!(log.contains(from), "{log}");
    fs::write(room.log_of(id), log.replacen(from, to, 1)).unwrap();
    let _ = room.run(&["resolve"]);
}

#[test]
fn an_agent_with_a_key_signs_its_later_events() {
    let (room, id) = signing();
    assert!(last_line(&room, &id)["sig"].as_str().unwrap().starts_with("ed25519:"));
    room.run(&["task", "update", &id, "--priority", "2"]).data();
    fs::write(
        room.yaml_of(&id),
        fs::read_to_string(room.yaml_of(&id)).unwrap().replace("title: signed", "title: by hand"),
    )
    .unwrap();
    room.run(&["lint", "--fix"]).data();
    assert!(last_line(&room, &id)["sig"].is_string(), "a hand edit is signed by who records it");
    for args in [&["lint"][..], &["lint", "--base", "base"]] {
        let answer = room.run(args);
        assert_eq!(found(&answer), Vec::<String>::new(), "{answer:?}");
    }
    let key = room.repo().join(".git/agentpm/keys/ada");
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(room.repo().join(".git/agentpm/keys/ada")).unwrap();
    let tracked = room.git(&["grep", "-c", secret.trim(), "HEAD"]);
    assert_eq!(tracked.code, 1, "the secret is in no commit");
}

#[test]
fn unsigned_forged_altered_and_copied_lines_are_named() {
    // Unsigned: bob has no key.
    let (room, id) = signing();
    room.run_as("bob", &["note", &id, "--content", "from bob"]).data();
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), ["signature-missing"]);
    assert_eq!(found(&room.run(&["lint"])), Vec::<String>::new(), "no log registers a key of bob");
    room.git(&["add", "-A"]).text();
    assert_eq!(found(&room.run(&["lint", "--staged"])), ["signature-missing"]);

    // Forged: bob writes in ada's name, from a clone without her key.
    let (room, id) = signing();
    fs::rename(room.repo().join(".git/agentpm/keys"), room.beside("keys")).unwrap();
    room.run(&["task", "update", &id, "--priority", "5"]).data();
    for args in [&["lint"][..], &["lint", "--base", "base"]] {
        assert_eq!(found(&room.run(args)), ["signature-missing"], "{args:?}");
    }
    // With a key of his own that he does not register.
    let (other, _) = signing();
    room.run(&["undo", last_line(&room, &id)["id"].as_str().unwrap()]).data();
    let (room, id) = signing();
    let theirs = other.repo().join(".git/agentpm/keys/ada");
    let secret = fs::read_to_string(theirs).unwrap().replace("ed25519:", "");
    let flipped: String = secret.chars().rev().collect();
    fs::write(room.repo().join(".git/agentpm/keys/ada"), format!("ed25519:{flipped}")).unwrap();
    room.run(&["task", "update", &id, "--priority", "5"]).data();
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), ["signature-wrong"]);

    // Altered.
    let (room, id) = signing();
    room.run(&["task", "update", &id, "--priority", "2"]).data();
    alter(&room, &id, "\"priority\":2", "\"priority\":5");
    assert_eq!(found(&room.run(&["lint"])), ["signature-wrong"]);

    // Copied into another task's log, under that task's name.
    let (room, id) = signing();
    let victim = room.task("victim", &[]);
    room.run(&["task", "update", &id, "--priority", "2"]).data();
    let line = last_line(&room, &id).to_string();
    let log = fs::read_to_string(room.log_of(&id)).unwrap();
    let line = log.lines().last().map_or(line, str::to_owned).replace(&id, &victim);
    let log = fs::read_to_string(room.log_of(&victim)).unwrap();
    fs::write(room.log_of(&victim), format!("{log}{line}\n")).unwrap();
    let answer = room.run(&["lint"]);
    assert!(found(&answer).contains(&"signature-wrong".to_owned()), "{answer:?}");
}

#[test]
fn a_branch_cannot_bring_its_own_key_nor_switch_signatures_off() {
    let (room, id) = signing();
    // mallory registers a key on the branch, and signs with it.
    room.run_as("mallory", &["agent", "register", "--new-key"]).error("ERR_UNAUTHORIZED", 6);
    fs::remove_file(room.store().join("roles.yml")).unwrap();
    room.run_as("mallory", &["agent", "register", "--new-key"]).data();
    room.run_as("mallory", &["task", "update", &id, "--priority", "5"]).data();
    commit(&room, "attack");
    assert_eq!(room.run(&["lint"]).json()["data"]["errors"], 0, "by its own rules nothing is wrong");
    let codes = found(&room.run(&["lint", "--base", "base"]));
    assert!(codes.iter().any(|code| code == "signature-wrong"), "{codes:?}");
}

#[test]
fn a_new_key_is_registered_under_the_old_one() {
    let (room, id) = signing();
    let before = room.run(&["agent", "list"]).data()["items"][0]["public_key"].clone();
    room.run(&["agent", "register", "--new-key"]).data();
    let after = room.run(&["agent", "list"]).data()["items"][0]["public_key"].clone();
    assert_ne!(before, after);
    room.run(&["task", "update", &id, "--priority", "2"]).data();
    for args in [&["lint"][..], &["lint", "--base", "base"]] {
        assert_eq!(found(&room.run(args)), Vec::<String>::new(), "{args:?}");
    }
    // A key given by file, as a build machine has it.
    let key = room.beside("key");
    fs::rename(room.repo().join(".git/agentpm/keys/ada"), &key).unwrap();
    let mut command = room.agentpm();
    command.env("AGENTPM_KEY", &key).args(["task", "update", &id, "--priority", "3"]);
    Answer::from(command.output().unwrap()).data();
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), Vec::<String>::new());
}

#[test]
fn a_redacted_entry_is_no_forgery() {
    let (room, id) = signing();
    let entry = room.run(&["note", &id, "--content", "a token"]).data()["id"].as_str().unwrap().to_owned();
    commit(&room, "a token");
    room.run(&["context", "redact", &entry, "--reason", "a token"]).data();
    for args in [&["lint"][..], &["lint", "--base", "base"]] {
        assert_eq!(found(&room.run(args)), Vec::<String>::new(), "{args:?}");
    }
    room.run(&["agent", "register", "--public-key", "rsa:1"]).error("ERR_VALIDATION", 4);
    let broken = room.repo().join(".git/agentpm/keys/ada");
    fs::write(broken, "nonsense").unwrap();
    let refused = room.run(&["note", &id, "--content", "x"]).error("ERR_VALIDATION", 4);
    assert_eq!(refused["details"], json!({"agent": "ada"}));
}

#[test]
fn a_redaction_is_no_cover_for_another_event() {
    let (room, id) = signing();
    let entry = room.run(&["note", &id, "--content", "a token"]).data()["id"].as_str().unwrap().to_owned();
    room.run(&["context", "redact", &entry, "--reason", "a token"]).data();
    let log = fs::read_to_string(room.log_of(&id)).unwrap();
    let lines = log.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        if event["id"] == entry.as_str() {
            event["type"] = json!("TaskStatusChanged");
            event["payload"] = json!({"from": "open", "to": "cancelled"});
            event.as_object_mut().unwrap().remove("sig");
            return format!("{event}\n");
        }
        format!("{line}\n")
    });
    fs::write(room.log_of(&id), lines.collect::<String>()).unwrap();
    let _ = room.run(&["resolve"]);
    assert_eq!(room.get(&id)["status"], "cancelled");
    for args in [&["lint"][..], &["lint", "--base", "base"]] {
        assert_eq!(found(&room.run(args)), ["signature-missing"], "{args:?}");
    }
}

#[test]
fn a_redaction_by_another_agent_is_no_cover_for_an_entry_of_the_same_branch() {
    let (room, id) = signing();
    let roles = format!("{ROLES}  eve: {{perms: [update, comment]}}\n");
    fs::remove_file(room.store().join("roles.yml")).unwrap();
    room.run_as("eve", &["agent", "register", "--new-key"]).data();
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    commit(&room, "eve has a key");
    room.git(&["branch", "-f", "base"]).text();
    let entry = room.run_as("eve", &["note", &id, "--content", "a token"]).data()["id"].as_str().unwrap().to_owned();
    room.run_as("eve", &["context", "redact", &entry, "--reason", "a token"]).data();
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), Vec::<String>::new(), "her own entry");
    // The same in the name of ada, which eve wrote.
    let log = fs::read_to_string(room.log_of(&id)).unwrap();
    let lines = log.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        if event["id"] == entry.as_str() {
            event["agent"] = json!("ada");
            event.as_object_mut().unwrap().remove("sig");
            return format!("{event}\n");
        }
        format!("{line}\n")
    });
    fs::write(room.log_of(&id), lines.collect::<String>()).unwrap();
    let _ = room.run(&["resolve"]);
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), ["signature-missing"]);
    room.git(&["add", "-A"]).text();
    assert_eq!(found(&room.run(&["lint", "--staged"])), ["signature-missing"]);
}

#[test]
fn a_key_that_another_agent_registers_vouches_for_nothing_in_the_same_branch() {
    for perms in ["comment", "register", "admin"] {
        let (room, id) = signing();
        room.run_as("bob", &["agent", "register", "--new-key"]).data();
        let roles = ROLES.replace("bob: {perms: [admin]}", &format!("bob: {{perms: [{perms}]}}"));
        fs::write(room.store().join("roles.yml"), &roles).unwrap();
        commit(&room, "bob has a key");
        room.git(&["tag", "with-bob"]).text();
        // bob registers a key for ada, and writes in her name with it.
        fs::write(room.store().join("roles.yml"), ROLES).unwrap();
        fs::remove_file(room.repo().join(".git/agentpm/keys/ada")).unwrap();
        room.run_as("bob", &["agent", "register", "--name", "ada", "--new-key"]).data();
        room.run(&["task", "update", &id, "--priority", "5"]).data();
        let answer = room.run(&["lint", "--base", "with-bob"]);
        assert_eq!(found(&answer), ["signature-wrong"], "{perms}: {answer:?}");
        let changed = said(&answer, "rules-changed");
        assert!(changed.iter().any(|m| m.starts_with("\"bob\" registers another key for \"ada\"")), "{changed:?}");
        commit(&room, "both");
        let review = room.run(&["review", "with-bob..", "--all"]);
        assert_eq!(found(&review), ["signature-wrong"], "{perms}: {review:?}");
        assert!(said(&review, "rules-changed").iter().any(|m| changed.contains(m)), "{review:?}");
    }
}

/// The messages of the findings with this code.
fn said(answer: &Answer, code: &str) -> Vec<String> {
    let findings = answer.json()["data"]["findings"].clone();
    let of_code = findings.as_array().unwrap().iter().filter(|f| f["code"] == code);
    of_code.map(|f| f["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_newcomer_registers_first_and_works_once_that_is_merged() {
    let (room, id) = signing();
    room.run_as("bob", &["agent", "register", "--new-key"]).data();
    commit(&room, "bob registers");
    let answer = room.run(&["lint", "--base", "base"]);
    assert_eq!((answer.code, found(&answer)), (0, vec![]), "{answer:?}");
    let changed = said(&answer, "rules-changed");
    assert!(changed[0].starts_with("\"bob\" registers a key for \"bob\": ed25519:"), "{changed:?}");

    // In one branch with other work the key vouches for nothing; the finding says who can.
    room.run_as("bob", &["note", &id, "--content", "from bob"]).data();
    commit(&room, "bob works");
    let answer = room.run(&["lint", "--base", "base"]);
    assert_eq!(found(&answer), ["signature-wrong"], "{answer:?}");
    let findings = answer.json()["data"]["findings"].clone();
    let wrong = findings.as_array().unwrap().iter().find(|f| f["code"] == "signature-wrong").unwrap().clone();
    let fix = wrong["mend"].as_str().unwrap();
    assert!(fix.contains("\"ada\" vouches for: agentpm agent register --name bob --public-key"), "{wrong:#}");
    assert_eq!(found(&room.run(&["lint", "--base", "HEAD^"])), Vec::<String>::new(), "once it is merged it counts");

    // Or ada, who has a key, vouches for it on the base.
    let key = room.run(&["agent", "list"]).data()["items"][1]["public_key"].as_str().unwrap().to_owned();
    room.git(&["switch", "-q", "base"]).text();
    room.run(&["agent", "register", "--name", "bob", "--public-key", &key]).data();
    commit(&room, "ada vouches for bob");
    room.git(&["switch", "-q", "-C", "of-bob", "base"]).text();
    room.run_as("bob", &["note", &id, "--content", "from bob"]).data();
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), Vec::<String>::new());
}

#[test]
fn a_key_that_was_replaced_on_the_base_signs_nothing_new() {
    let (room, id) = signing();
    room.git(&["switch", "-q", "-c", "late"]).text();
    let old = fs::read_to_string(room.repo().join(".git/agentpm/keys/ada")).unwrap();
    room.git(&["switch", "-q", "base"]).text();
    room.run(&["agent", "register", "--new-key"]).data();
    commit(&room, "another key");
    room.git(&["switch", "-q", "late"]).text();
    fs::write(room.repo().join(".git/agentpm/keys/ada"), old).unwrap();
    room.run(&["task", "update", &id, "--priority", "5"]).data();
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), ["signature-wrong"]);
}

#[test]
fn a_signature_of_another_store_does_not_count_here() {
    // ada has the same key in both, as build machines do.
    let (here, elsewhere) = (Sandbox::new(), Sandbox::new());
    let key = here.beside("key");
    fs::write(&key, format!("ed25519:{}\n", "07".repeat(32))).unwrap();
    let as_ada = |room: &Sandbox, args: &[&str]| {
        let mut command = room.agentpm();
        Answer::from(command.env("AGENTPM_KEY", &key).args(args).output().unwrap()).data()
    };
    let public = format!("ed25519:{}", "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
    for room in [&here, &elsewhere] {
        as_ada(room, &["agent", "register", "--public-key", &public]);
        fs::write(room.store().join("roles.yml"), ROLES).unwrap();
        commit(room, "base");
    }
    here.git(&["branch", "base"]).text();
    let made = as_ada(&elsewhere, &["task", "create", "--title", "from elsewhere"])["id"].as_str().unwrap().to_owned();
    fs::create_dir_all(here.task_dir(&made)).unwrap();
    for (from, to) in [(elsewhere.log_of(&made), here.log_of(&made)), (elsewhere.yaml_of(&made), here.yaml_of(&made))] {
        fs::copy(from, to).unwrap();
    }
    assert_eq!(found(&elsewhere.run(&["lint", "--base", "HEAD"])), Vec::<String>::new());
    assert_eq!(found(&here.run(&["lint", "--base", "base"])), ["signature-wrong"]);
    assert_eq!(found(&here.run(&["lint"])), ["signature-wrong"]);
}

#[test]
fn an_unsigned_event_with_a_reason_is_not_taken_for_a_redacted_one() {
    let (room, id) = signing();
    let entry = room.run(&["note", &id, "--content", "a token"]).data()["id"].as_str().unwrap().to_owned();
    room.run(&["context", "redact", &entry, "--reason", "a token"]).data();
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), Vec::<String>::new());
    let log = fs::read_to_string(room.log_of(&id)).unwrap();
    let lines = log.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        if event["id"] == entry.as_str() {
            event["why"] = json!("ada agrees to all of it");
            event.as_object_mut().unwrap().remove("sig");
            return format!("{event}\n");
        }
        format!("{line}\n")
    });
    fs::write(room.log_of(&id), lines.collect::<String>()).unwrap();
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), ["signature-missing"]);
}

#[test]
fn a_new_key_of_a_dropped_branch_leaves_the_older_one_to_sign() {
    let (room, id) = signing();
    let main = room.git(&["branch", "--show-current"]).text().to_owned();
    room.git(&["switch", "-q", "-c", "dropped"]).text();
    room.run(&["agent", "register", "--new-key"]).data();
    commit(&room, "another key");
    room.git(&["switch", "-q", &main]).text();
    room.run(&["task", "update", &id, "--priority", "2"]).data();
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), Vec::<String>::new());
    // While the branch is there, its key signs in it.
    commit(&room, "work");
    room.git(&["switch", "-q", "dropped"]).text();
    room.run(&["note", &id, "--content", "on the branch"]).data();
    assert_eq!(found(&room.run(&["lint"])), Vec::<String>::new());
    commit(&room, "note");
    room.git(&["switch", "-q", &main]).text();
    room.git(&["branch", "-q", "-D", "dropped"]).text();
    room.run(&["task", "update", &id, "--priority", "3"]).data();
    // A third key is registered with the first one's signature.
    room.run(&["agent", "register", "--new-key"]).data();
    room.run(&["task", "update", &id, "--priority", "4"]).data();
    assert_eq!(found(&room.run(&["lint", "--base", "base"])), Vec::<String>::new());
}

#[test]
fn a_refused_registration_leaves_no_key() {
    let (room, _) = signing();
    let keys = || {
        let folder = fs::read_dir(room.repo().join(".git/agentpm/keys")).unwrap();
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    room.run_as("mallory", &["agent", "register", "--new-key"]).error("ERR_UNAUTHORIZED", 6);
    assert_eq!(keys(), ["ada"]);
}
