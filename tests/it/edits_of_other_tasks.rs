//! Refused hand edits of tasks that a command does not name: they are left alone and do not stop the command.

use std::fs;

use crate::sandbox::{Answer, Sandbox};

/// What a person left in the file of a task, each of them something that recording refuses.
fn left_in(text: &str) -> Vec<(&'static str, String)> {
    vec![
        ("a value out of bounds", format!("priority: 99\n{text}")),
        ("a comment", format!("# ask Kim first\n{text}")),
        ("an unreadable file", format!("title: [\n{text}")),
        ("a link that another opened", text.replace("status: blocked", "status: open")),
    ]
}

/// A task that waits for another, and what its file is to hold.
fn waiting(n: usize) -> (Sandbox, String, String, &'static str, String) {
    let room = Sandbox::new();
    let (first, second) = (room.task("first", &[]), room.task("second", &[]));
    room.run(&["task", "block", &second, "--by", &first]).data();
    let text = fs::read_to_string(room.yaml_of(&second)).unwrap();
    let (what, left) = left_in(&text).swap_remove(n);
    assert_ne!(left, text, "{what}");
    fs::write(room.yaml_of(&second), &left).unwrap();
    (room, first, second, what, left)
}

#[track_caller]
fn passed(what: &str, answer: &Answer, second: &str) {
    assert_eq!(answer.code, 0, "{what}: {answer:?}");
    let (task, said) = (format!("task {} (", &second[20..]), &answer.stderr);
    assert!(said.contains(&task) && said.contains(") was passed over: "), "{what}: {answer:?}");
    assert!(said.contains("task.yaml"), "{what}: {answer:?}");
    assert!(!said.contains("nothing was written"), "{what}: {answer:?}");
}

#[test]
fn done_passes_over_a_refused_edit_of_a_dependent() {
    for n in 0..4 {
        for how in ["done", "cancelled"] {
            let (room, first, second, what, left) = waiting(n);
            room.run(&["claim", &first]).data();
            let answer = match how {
                "done" => room.run(&["done", &first]),
                _ => room.run(&["task", "transition", &first, "--status", "cancelled"]),
            };
            passed(what, &answer, &second);
            assert_ne!(room.get(&first)["status"], "in_progress", "{what}");
            assert_eq!(fs::read_to_string(room.yaml_of(&second)).unwrap(), left, "{what}: the file stays");
            // Readers see that it may start; a writer gets the refusal.
            let refused = room.run(&["claim", &second]);
            assert_eq!(refused.code == 0, what == "a link that another opened", "{what}: {refused:?}");
        }
    }
}

#[test]
fn the_next_write_records_a_delayed_opening() {
    let (room, first, second, what, left) = waiting(0);
    room.run(&["claim", &first]).data();
    passed(what, &room.run(&["done", &first]), &second);
    fs::write(room.yaml_of(&second), left.replace("priority: 99\n", "")).unwrap();
    assert_eq!(room.run(&["ready"]).data()["items"][0]["id"], second.as_str());
    room.run(&["note", &second, "--content", "now"]).data();
    room.run(&["task", "update", &second, "--priority", "2"]).data();
    assert_eq!(room.get(&second)["status"], "open");
    room.is_clean();
}

#[test]
fn completion_by_hand_is_recorded_despite_a_refused_edit() {
    let (room, first, second, what, left) = waiting(0);
    room.run(&["claim", &first]).data();
    let text = fs::read_to_string(room.yaml_of(&first)).unwrap();
    fs::write(room.yaml_of(&first), text.replace("status: in_progress", "status: completed")).unwrap();
    let answer = room.run(&["lint", "--fix"]);
    assert_eq!(answer.code, 1, "{what}: the other edit is refused still: {answer:?}");
    assert_eq!(room.get(&first)["status"], "completed", "{answer:?}");
    assert_eq!(fs::read_to_string(room.yaml_of(&second)).unwrap(), left);
}

#[test]
fn reopen_and_undo_pass_over_a_refused_edit() {
    let room = Sandbox::new();
    let (first, second) = (room.task("first", &[]), room.task("second", &[]));
    room.run(&["task", "block", &second, "--by", &first]).data();
    room.run(&["claim", &first]).data();
    room.run(&["done", &first]).data();
    let text = fs::read_to_string(room.yaml_of(&second)).unwrap();
    fs::write(room.yaml_of(&second), format!("priority: 99\n{text}")).unwrap();
    passed("reopen", &room.run(&["task", "reopen", &first, "--reason", "not yet"]), &second);
    assert!(!room.run(&["ready"]).data().to_string().contains(&second), "it waits again");
}

#[test]
fn a_named_task_with_a_refused_edit_refuses() {
    let (room, first, second, ..) = waiting(0);
    room.run(&["claim", &first]).data();
    let steps = format!(
        r#"[{{"op": "task.transition", "args": {{"id": "{first}", "status": "completed"}}}},
            {{"op": "task.update", "args": {{"id": "{second}", "title": "more"}}}}]"#
    );
    let answer = room.feed(&["batch"], steps.as_bytes());
    assert_ne!(answer.code, 0, "{answer:?}");
    assert_eq!(room.get(&first)["status"], "in_progress", "all or nothing");
}

#[test]
fn work_ends_despite_a_refused_edit() {
    let (room, first, _, what, _) = waiting(1);
    let answer = room.run(&["work", &first, "--done", "--", "true"]);
    assert_eq!(answer.code, 0, "{what}: {answer:?}");
    assert!(answer.stderr.contains("(second) was passed over"), "{answer:?}");
    assert_eq!(room.get(&first)["status"], "completed");
}
