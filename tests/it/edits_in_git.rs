//! Hand edits that git merged, staged or stashed before agentpm saw them: none is lost, and none is made up.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};
use crate::sync::Clones;

/// A plan of one committed task, without a merge driver.
fn plan(more: &[&str]) -> (Sandbox, String) {
    let room = Sandbox::new();
    let task = room.task("first", more);
    commit(&room, "the plan");
    (room, task)
}

fn commit(room: &Sandbox, subject: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", subject]).text();
}

#[track_caller]
fn edit(room: &Sandbox, task: &str, from: &str, to: &str) {
    let text = fs::read_to_string(room.yaml_of(task)).unwrap();
    assert!(text.contains(from), "no {from:?} in\n{text}");
    fs::write(room.yaml_of(task), text.replacen(from, to, 1)).unwrap();
}

/// Changes the plan on a branch `side` and on `main`, which is checked out afterwards.
fn branches(room: &Sandbox, on_side: impl FnOnce(), on_main: impl FnOnce()) {
    room.git(&["switch", "-qc", "side"]).text();
    on_side();
    commit(room, "side");
    room.git(&["switch", "-q", "main"]).text();
    on_main();
    commit(room, "main");
}

/// How many events of the task record hand edits.
fn by_hand(room: &Sandbox, task: &str) -> usize {
    fs::read_to_string(room.log_of(task)).unwrap().matches("\"hand edit\"").count()
}

#[test]
fn edits_of_two_lines_of_one_text_are_both_kept() {
    let (room, task) = plan(&["--intent", "one\na\nb\nc\ntwo"]);
    branches(
        &room,
        || edit(&room, &task, "  one\n", "  one by hand\n"),
        || edit(&room, &task, "  two\n", "  two by hand\n"),
    );
    room.git(&["merge", "-q", "--no-edit", "side"]).text();
    room.run(&["lint", "--fix"]).data();
    assert_eq!(room.get(&task)["intent"], "one by hand\na\nb\nc\ntwo by hand");
    room.is_clean();
}

#[test]
fn an_edit_made_while_merging_is_kept_though_its_word_stands_elsewhere() {
    let (room, task) = plan(&["--metadata", r#"{"n":"docs"}"#]);
    branches(
        &room,
        || {
            room.run(&["task", "update", &task, "--title", "second"]).data();
        },
        || {
            room.run(&["note", &task, "--content", "n"]).data();
        },
    );
    room.git(&["merge", "-q", "--no-commit", "side"]).text();
    edit(&room, &task, "type: feature", "type: docs");
    commit(&room, "merge");
    room.run(&["lint", "--fix"]).data();
    assert_eq!(room.get(&task)["type"], "docs");
    room.is_clean();
}

#[test]
fn both_lines_of_a_conflict_are_reported_where_the_log_keeps_one() {
    let (room, task) = plan(&["--intent", "a\nb"]);
    branches(
        &room,
        || {
            room.run(&["task", "update", &task, "--intent", "a theirs\nb"]).data();
        },
        || {
            room.run(&["task", "update", &task, "--intent", "a ours\nb"]).data();
        },
    );
    assert_eq!(room.git(&["merge", "-q", "side"]).code, 1);
    let text = fs::read_to_string(room.yaml_of(&task)).unwrap();
    let is_mark = |line: &&str| ["<<<<<<<", "=======", ">>>>>>>"].iter().any(|mark| line.starts_with(mark));
    let both: String = text.lines().filter(|line| !is_mark(line)).map(|line| format!("{line}\n")).collect();
    fs::write(room.yaml_of(&task), both).unwrap();
    commit(&room, "both lines");
    assert_eq!(room.finding_codes(), ["task-yaml-astray"]);
    let resolved = room.run(&["resolve"]);
    assert!(resolved.stderr.contains("a ours") && resolved.stderr.contains("a theirs"), "{resolved:?}");
    assert_eq!(by_hand(&room, &task), 0);
    room.is_clean();
}

#[test]
fn an_edit_that_takes_a_command_back_is_recorded_or_reported() {
    let (room, task) = plan(&["--label", "a"]);
    room.run(&["task", "update", &task, "--estimate", "3d", "--add-label", "b"]).data();
    edit(&room, &task, "estimate: \"3d\"\n", "");
    edit(&room, &task, "  - b\n", "");
    assert_eq!(room.finding_codes(), ["task-yaml-edited"]);
    // Once it is staged, git may have written the file as well.
    room.git(&["add", "-A"]).text();
    assert_eq!(room.finding_codes(), ["task-yaml-astray"]);
    let updated = room.run(&["task", "update", &task, "--priority", "1"]);
    assert!(updated.stderr.contains("3d") && updated.stderr.contains("labels"), "{updated:?}");
    assert!(updated.stderr.contains("git may have written"), "{updated:?}");
}

#[test]
fn an_edit_that_a_cherry_pick_leaves_in_conflict_is_recorded() {
    let (room, task) = plan(&[]);
    branches(
        &room,
        || edit(&room, &task, "title: first", "title: by hand"),
        || {
            room.run(&["task", "update", &task, "--title", "by command"]).data();
        },
    );
    assert_eq!(room.git(&["cherry-pick", "-n", "side"]).code, 1);
    room.run(&["resolve"]).data();
    assert_eq!(room.get(&task)["title"], "by hand");
    room.is_clean();
}

#[test]
fn an_edit_that_is_made_again_is_recorded_again() {
    let (room, task) = plan(&[]);
    edit(&room, &task, "title: first", "title: by hand");
    room.git(&["add", "-A"]).text();
    room.run(&["lint", "--fix"]).data();
    room.run(&["task", "update", &task, "--title", "by command"]).data();
    edit(&room, &task, "title: by command", "title: by hand");
    room.run(&["task", "update", &task, "--priority", "2"]).data();
    assert_eq!((room.get(&task)["title"].as_str(), by_hand(&room, &task)), (Some("by hand"), 2));
}

#[test]
fn an_edit_is_recorded_though_another_edit_left_its_value_as_a_command_had_set_it() {
    let (room, task) = plan(&["--priority", "1"]);
    let set = |priority: &str| drop(room.run(&["task", "update", &task, "--priority", priority]).data());
    branches(
        &room,
        || edit(&room, &task, "priority: 1", "priority: 4"),
        || {
            set("4");
            edit(&room, &task, "title: first", "title: by hand");
            room.run(&["lint", "--fix"]).data();
            set("2");
        },
    );
    assert_eq!(room.git(&["merge", "-q", "side"]).code, 1);
    room.run(&["resolve"]).data();
    let lost = room.run(&["conflicts"]).data().to_string();
    assert!(room.get(&task)["priority"] == 4 || lost.contains("priority"), "{lost}");
    assert_eq!(by_hand(&room, &task), 2);
}

#[test]
fn a_comment_in_a_conflict_becomes_a_note() {
    let (room, task) = plan(&[]);
    branches(
        &room,
        || {
            room.run(&["task", "update", &task, "--title", "theirs"]).data();
            edit(&room, &task, "type: feature", "# ask Eve\ntype: feature");
        },
        || {
            room.run(&["task", "update", &task, "--title", "ours"]).data();
        },
    );
    assert_eq!(room.git(&["merge", "-q", "side"]).code, 1);
    room.run(&["resolve"]).data();
    assert!(room.get(&task)["context"].to_string().contains("ask Eve"));
    room.is_clean();
}

#[test]
fn a_copied_entry_with_other_words_is_refused_and_stays() {
    let (room, task) = plan(&[]);
    room.run(&["progress", "add", &task, "--content", "one"]).data();
    let text = fs::read_to_string(room.yaml_of(&task)).unwrap();
    let (_, entry) = text.split_once("progress:\n").unwrap();
    let copied = format!("{text}{}", entry.replace("content: one", "content: copied"));
    fs::write(room.yaml_of(&task), &copied).unwrap();
    assert_eq!(room.run(&["lint", "--fix"]).code, 1);
    assert_eq!(fs::read_to_string(room.yaml_of(&task)).unwrap(), copied);
}

#[test]
fn a_list_that_git_merged_from_a_stash_is_reported_and_not_recorded() {
    let (room, task) = plan(&["--label", "a", "--label", "b", "--label", "c"]);
    room.git(&["switch", "-qc", "side"]).text();
    let labels = ["x", "a", "b", "c"].map(|label| ["--label", label]).concat();
    room.run(&[&["task", "update", &task][..], &labels].concat()).data();
    commit(&room, "side");
    room.git(&["switch", "-q", "main"]).text();
    room.run(&["task", "update", &task, "--add-label", "z"]).data();
    room.git(&["rebase", "-q", "--autostash", "side"]).text();
    assert_eq!(room.finding_codes(), ["task-yaml-astray"]);
    let resolved = room.run(&["resolve"]);
    assert!(resolved.stderr.contains("\"x\""), "{resolved:?}");
    assert_eq!(by_hand(&room, &task), 0);
    room.is_clean();
}

/// The words of all steps of the task, sorted.
fn steps(room: &Sandbox, task: &str) -> Vec<String> {
    let task = room.get(task);
    let items = task["progress"]["items"].as_array().unwrap();
    let mut words: Vec<String> = items.iter().map(|item| item["content"].as_str().unwrap().to_owned()).collect();
    words.sort();
    words
}

/// A plan whose task has a step and a note.
fn plan_with_lists() -> (Sandbox, String) {
    let room = Sandbox::new();
    let task = room.task("first", &["--intent", "one\ntwo\nthree"]);
    room.run(&["progress", "add", &task, "--content", "begin"]).data();
    room.run(&["context", "add", &task, "--content", "a note"]).data();
    commit(&room, "the plan");
    (room, task)
}

fn add_step_by_hand(room: &Sandbox, task: &str, words: &str) {
    edit(room, task, "context:\n", &format!("  - {words}\ncontext:\n"));
}

#[test]
fn steps_by_hand_on_both_sides_of_a_stopped_merge_are_each_recorded_once() {
    for mend in [&["resolve"][..], &["lint", "--fix"], &["task", "update", "ID", "--priority", "2"]] {
        let (room, task) = plan_with_lists();
        branches(&room, || add_step_by_hand(&room, &task, "theirs"), || add_step_by_hand(&room, &task, "ours"));
        assert_eq!(room.git(&["merge", "-q", "side"]).code, 1);
        let args: Vec<&str> = mend.iter().map(|arg| if *arg == "ID" { &task } else { *arg }).collect();
        room.run(&args).data();
        assert_eq!(
            (steps(&room, &task), by_hand(&room, &task)),
            (["begin", "ours", "theirs"].map(String::from).to_vec(), 2)
        );
        room.is_clean();
    }
}

#[test]
fn a_step_by_hand_is_recorded_once_however_git_stops() {
    for way in [&["merge", "side"][..], &["rebase", "side"], &["cherry-pick", "side"], &["merge", "--squash", "side"]] {
        let (room, task) = plan_with_lists();
        let by_command = || {
            room.run(&["progress", "add", &task, "--content", "by command"]).data();
        };
        branches(&room, by_command, || add_step_by_hand(&room, &task, "by hand"));
        assert_eq!(room.git(way).code, 1, "{way:?}");
        room.run(&["resolve"]).data();
        let expected = ["begin", "by command", "by hand"].map(String::from).to_vec();
        assert_eq!((steps(&room, &task), by_hand(&room, &task)), (expected, 1), "{way:?}");
        room.is_clean();
    }
}

#[test]
fn a_step_that_was_committed_by_hand_before_the_branches_parted_is_recorded_once() {
    let (room, task) = plan_with_lists();
    add_step_by_hand(&room, &task, "by hand");
    commit(&room, "by hand");
    branches(
        &room,
        || edit(&room, &task, "title: first", "title: theirs"),
        || edit(&room, &task, "title: first", "title: ours"),
    );
    assert_eq!(room.git(&["merge", "-q", "side"]).code, 1);
    room.run(&["resolve"]).data();
    assert_eq!((steps(&room, &task), by_hand(&room, &task)), (["begin", "by hand"].map(String::from).to_vec(), 3));
    room.is_clean();
}

#[test]
fn a_step_in_a_stash_that_clashes_is_recorded_once() {
    let (room, task) = plan_with_lists();
    add_step_by_hand(&room, &task, "stashed");
    edit(&room, &task, "title: first", "title: stashed");
    room.git(&["stash", "-q"]).text();
    room.run(&["task", "update", &task, "--title", "by command"]).data();
    commit(&room, "by command");
    assert_eq!(room.git(&["stash", "pop", "-q"]).code, 1);
    room.run(&["resolve"]).data();
    assert_eq!(steps(&room, &task), ["begin", "stashed"]);
    room.is_clean();
}

#[test]
fn a_stash_that_git_does_not_take_out_stays_out_of_a_merge() {
    let (room, task) = plan(&[]);
    branches(
        &room,
        || {
            room.run(&["task", "update", &task, "--title", "theirs"]).data();
        },
        || {
            room.run(&["task", "update", &task, "--title", "ours"]).data();
        },
    );
    edit(&room, &task, "title: ours", "title: a draft");
    room.git(&["stash", "-q"]).text();
    assert_eq!(room.git(&["merge", "-q", "side"]).code, 1);
    room.run(&["resolve"]).data();
    assert_eq!((room.get(&task)["title"].as_str(), by_hand(&room, &task)), (Some("ours"), 0));
    room.is_clean();
}

#[test]
fn resolve_records_an_edit_that_git_merged_without_a_conflict() {
    for way in [&["merge", "-q", "--no-edit", "side"][..], &["cherry-pick", "side"], &["rebase", "-q", "side"]] {
        let (room, task) = plan_with_lists();
        let by_command = || {
            room.run(&["task", "update", &task, "--priority", "2"]).data();
        };
        branches(&room, || edit(&room, &task, "title: first", "title: by hand"), by_command);
        room.git(way).text();
        let resolved = room.run(&["resolve"]).data();
        assert_eq!(resolved["items"][0]["did"], json!(["recorded the edit of title"]), "{way:?}: {resolved}");
        assert_eq!(room.get(&task)["title"], "by hand", "{way:?}");
        room.is_clean();
    }
}

#[test]
fn resolve_lists_an_edit_that_is_not_allowed_with_the_reason() {
    let (room, task) = plan(&["--priority", "1"]);
    edit(&room, &task, "priority: 1", "priority: 99");
    let left = room.run(&["resolve"]).data()["left"].clone();
    assert!(
        left[0].as_str().unwrap().contains("task.yaml:") && left[0].as_str().unwrap().contains("priority"),
        "{left}"
    );
    assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
}

#[test]
fn resolve_names_a_conflict_with_an_unreadable_side() {
    let (room, task) = plan(&[]);
    branches(
        &room,
        || edit(&room, &task, "title: first", "title: \"broken"),
        || {
            room.run(&["task", "update", &task, "--title", "ours"]).data();
        },
    );
    assert_eq!(room.git(&["merge", "-q", "side"]).code, 1);
    let left = room.run(&["resolve"]).data()["left"].to_string();
    assert!(left.contains("task.yaml") && left.contains("conflict markers"), "{left}");
    let findings = room.run(&["lint"]).json()["data"]["findings"].to_string();
    assert!(findings.contains("task-yaml-invalid") && findings.contains("conflict markers"), "{findings}");
}

#[test]
fn a_conflict_resolved_by_hand_passes_the_hook_in_every_operation() {
    for way in [&["merge", "side"][..], &["merge", "--squash", "side"], &["cherry-pick", "side"], &["revert", "HEAD~1"]]
    {
        let (room, task) = plan(&[]);
        branches(
            &room,
            || {
                room.run(&["task", "update", &task, "--title", "theirs"]).data();
            },
            || {
                room.run(&["task", "update", &task, "--title", "ours"]).data();
            },
        );
        room.run(&["task", "update", &task, "--title", "ours again"]).data();
        commit(&room, "again");
        room.run(&["init", "--no-driver", "--hooks"]).data();
        assert_eq!(room.git(way).code, 1, "{way:?}");
        let text = fs::read_to_string(room.yaml_of(&task)).unwrap();
        let rest = text.rsplit_once(">>>>>>> ").unwrap().1.split_once('\n').unwrap().1;
        fs::write(room.yaml_of(&task), format!("title: a third\n{rest}")).unwrap();
        room.git(&["add", "-A"]).text();
        let ended = Answer::from(room.agentpm_like("git").args(["commit", "-q", "--no-edit"]).output().unwrap());
        assert_eq!(ended.code, 0, "{way:?}: {ended:?}");
        assert_eq!(room.git(&["status", "--porcelain"]).text(), "", "{way:?}");
        assert_eq!((room.get(&task)["title"].as_str(), by_hand(&room, &task)), (Some("a third"), 1), "{way:?}");
        room.is_clean();
    }
}

#[test]
fn a_merged_mixture_next_to_a_conflict_is_reported() {
    let (room, task) = plan(&["--intent", "one\na\nb\nc\ntwo"]);
    branches(
        &room,
        || {
            room.run(&["task", "update", &task, "--title", "theirs", "--intent", "one theirs\na\nb\nc\ntwo"]).data();
        },
        || {
            room.run(&["task", "update", &task, "--title", "ours", "--intent", "one\na\nb\nc\ntwo ours"]).data();
        },
    );
    assert_eq!(room.git(&["merge", "-q", "side"]).code, 1);
    let resolved = room.run(&["resolve"]);
    assert!(resolved.stderr.contains("intent") && resolved.stderr.contains("one theirs"), "{resolved:?}");
    assert_eq!(by_hand(&room, &task), 0);
    room.is_clean();
}

#[test]
fn a_merged_mixture_next_to_an_edit_is_reported() {
    let (room, task) = plan(&["--intent", "one\na\nb\nc\ntwo"]);
    branches(
        &room,
        || {
            room.run(&["task", "update", &task, "--intent", "one theirs\na\nb\nc\ntwo"]).data();
        },
        || {
            room.run(&["task", "update", &task, "--intent", "one\na\nb\nc\ntwo ours"]).data();
        },
    );
    room.git(&["merge", "-q", "--no-edit", "side"]).text();
    edit(&room, &task, "title: first", "title: by hand");
    let fixed = room.run(&["lint", "--fix"]);
    assert!(fixed.stderr.contains("intent") && fixed.stderr.contains("one theirs"), "{fixed:?}");
    assert_eq!((room.get(&task)["title"].as_str(), by_hand(&room, &task)), (Some("by hand"), 1));
    room.is_clean();
}

fn title(room: &Sandbox, task: &str, title: &str) {
    room.run(&["task", "update", task, "--title", title]).data();
}

fn retitle(room: &Sandbox, task: &str, words: &str) {
    title(room, task, words);
    commit(room, words);
}

#[test]
fn a_conflict_with_a_conflicted_ancestor_is_resolved() {
    for style in ["merge", "diff3", "zdiff3"] {
        let (room, task) = plan(&[]);
        room.git(&["config", "merge.conflictStyle", style]).text();
        branches(&room, || title(&room, &task, "theirs"), || title(&room, &task, "ours"));
        room.git(&["branch", "before"]).text();
        for (branch, other) in [("main", "side"), ("side", "before")] {
            room.git(&["switch", "-q", branch]).text();
            assert_eq!(room.git(&["merge", "-q", other]).code, 1);
            room.run(&["resolve"]).data();
            commit(&room, "crossed");
            retitle(&room, &task, &format!("{branch} again"));
        }
        assert_eq!(room.git(&["merge", "-q", "main"]).code, 1);
        assert_eq!(room.run(&["resolve"]).data()["left"], Value::Null, "{style}");
        room.is_clean();
        assert_eq!((room.get(&task)["title"].as_str(), by_hand(&room, &task)), (Some("side again"), 0), "{style}");
    }
}

#[test]
fn markers_that_were_committed_hold_no_edit_where_the_log_knows_both_sides() {
    let (room, task) = plan(&[]);
    room.run(&["progress", "add", &task, "--content", "a step"]).data();
    retitle(&room, &task, "second");
    retitle(&room, &task, "third");
    assert_eq!(room.git(&["cherry-pick", "HEAD~1"]).code, 1);
    room.git(&["add", "-A"]).text();
    room.git(&["-c", "core.editor=true", "cherry-pick", "--continue"]).text();
    let clone = room.repo().with_file_name("clone");
    room.git(&["clone", "-q", ".", &clone.display().to_string()]).text();
    for dir in [room.repo(), clone] {
        assert_eq!(room.run_in(&dir, &["resolve"]).data()["left"], Value::Null);
        let shown = room.run_in(&dir, &["task", "get", &task, "--full"]).data();
        assert_eq!((&shown["title"], &shown["progress"]["total"]), (&json!("third"), &json!(1)));
        assert_eq!(room.run_in(&dir, &["lint"]).data()["findings"], json!([]));
    }
    assert_eq!(by_hand(&room, &task), 0);
}

#[test]
fn nested_conflict_markers_are_resolved() {
    let (room, task) = plan(&[]);
    branches(&room, || title(&room, &task, "theirs"), || title(&room, &task, "ours"));
    assert_eq!(room.git(&["merge", "-q", "side"]).code, 1);
    commit(&room, "with markers");
    room.git(&["switch", "-q", "side"]).text();
    retitle(&room, &task, "theirs again");
    room.git(&["switch", "-q", "main"]).text();
    assert_eq!(room.git(&["merge", "-q", "side"]).code, 1);
    assert_eq!(room.run(&["resolve"]).data()["left"], Value::Null);
    assert_eq!((room.get(&task)["title"].as_str(), by_hand(&room, &task)), (Some("theirs again"), 0));
    room.is_clean();
}

/// A clone of the last commit alone.
fn shallow_clone(room: &Sandbox) -> std::path::PathBuf {
    let clone = room.repo().with_file_name("shallow");
    let url = format!("file://{}", room.repo().display());
    room.git(&["clone", "-q", "--depth", "1", &url, &clone.display().to_string()]).text();
    clone
}

#[test]
fn a_mixture_is_reported_in_a_shallow_clone_as_in_a_whole_one() {
    let (room, task) = plan(&["--intent", "one\na\nb\nc\ntwo"]);
    branches(
        &room,
        || {
            room.run(&["task", "update", &task, "--intent", "one theirs\na\nb\nc\ntwo"]).data();
        },
        || {
            room.run(&["task", "update", &task, "--intent", "one\na\nb\nc\ntwo ours"]).data();
        },
    );
    room.git(&["merge", "-q", "--no-edit", "side"]).text();
    let clone = shallow_clone(&room);
    for dir in [&room.repo(), &clone] {
        let resolved = room.run_in(dir, &["resolve"]);
        resolved.data();
        assert!(resolved.stderr.contains("one theirs") && resolved.stderr.contains("two ours"), "{resolved:?}");
    }
    let log =
        |dir: &std::path::Path| fs::read(dir.join(room.log_of(&task).strip_prefix(room.repo()).unwrap())).unwrap();
    assert_eq!(log(&room.repo()), log(&clone));
}

#[test]
fn a_step_by_hand_is_recorded_in_a_clone_that_lacks_its_history() {
    let (room, task) = plan_with_lists();
    let update = |n| json!({ "op": "task.update", "args": { "task": task, "priority": 1 + n % 5 } });
    let updates: Vec<Value> = (0..210).map(update).collect();
    room.feed(&["batch", "--file", "-"], json!(updates).to_string().as_bytes()).data();
    add_step_by_hand(&room, &task, "by hand");
    commit(&room, "by hand");
    let clone = shallow_clone(&room);
    let noted = room.run_in(&clone, &["note", &task, "--content", "goes on"]);
    noted.data();
    let shown = room.run_in(&clone, &["task", "get", &task, "--full"]).data();
    assert_eq!(shown["progress"]["total"], 2, "{noted:?}");
    assert_eq!(room.run_in(&clone, &["lint"]).data()["findings"], json!([]));
}

#[test]
fn resolve_restores_the_events_behind_a_file() {
    let (room, task) = plan(&[]);
    title(&room, &task, "second");
    room.run(&["note", &task, "--content", "a note"]).data();
    room.git(&["add", &room.yaml_of(&task).display().to_string()]).text();
    room.git(&["commit", "-qm", "the file alone"]).text();
    room.git(&["switch", "-qc", "other"]).text();
    room.git(&["stash", "-q"]).text();
    assert_eq!(room.run(&["resolve"]).data()["restored"], 2);
    assert_eq!((room.get(&task)["title"].as_str(), by_hand(&room, &task)), (Some("second"), 0));
    room.is_clean();
}

/// Two clones of a plan in which a person committed this edit, each of which records it before it sees the other.
fn recorded_twice(by_hand: impl FnOnce(&str) -> String) -> (Clones, String) {
    let (clones, task) = Clones::new(&["a", "b"]);
    let room = &clones.room;
    room.run(&["progress", "add", &task, "--content", "begin"]).data();
    room.run(&["context", "add", &task, "--content", "a note"]).data();
    commit(room, "lists");
    let text = fs::read_to_string(room.yaml_of(&task)).unwrap();
    fs::write(room.yaml_of(&task), by_hand(&text)).unwrap();
    commit(room, "by hand");
    room.git(&["push", "-q"]).text();
    for (name, priority) in [("a", "2"), ("b", "3")] {
        clones.git(name, &["pull", "-q"]).text();
        clones.run(name, &["task", "update", &task, "--priority", priority]).data();
    }
    (clones, task)
}

/// What each clone says of the task once both know everything; it is the same.
fn together(clones: &Clones, task: &str) -> serde_json::Value {
    for name in ["a", "b", "a"] {
        clones.run(name, &["sync"]).data();
    }
    let shown = |name: &str| clones.run(name, &["task", "get", task, "--full"]).data();
    for name in ["a", "b"] {
        assert_eq!(clones.run(name, &["lint"]).data()["findings"], json!([]));
        assert_eq!(
            clones.run(name, &["conflicts"]).data()["conflicts"]
                .as_array()
                .map_or(0, |all| { all.iter().filter(|one| one["field"] != "priority").count() }),
            0
        );
    }
    assert_eq!(shown("a"), shown("b"));
    shown("a")
}

fn words(list: &serde_json::Value) -> Vec<&str> {
    let stands = |item: &&serde_json::Value| item["superseded_by"].is_null() && item["content"] != "";
    list.as_array().unwrap().iter().filter(stands).map(|item| item["content"].as_str().unwrap()).collect()
}

#[test]
fn entries_by_hand_that_two_clones_recorded_are_there_once() {
    let (clones, task) = recorded_twice(|text| {
        let text = text.replacen("context:\n", "  - {content: one, completed: true}\n  - two\n  - two\ncontext:\n", 1);
        text.replacen("title: shared", "title: by hand", 1) + "  - noted\n"
    });
    let shown = together(&clones, &task);
    assert_eq!(words(&shown["progress"]["items"]), ["begin", "one", "two", "two"]);
    assert_eq!(shown["progress"]["done"], 1, "{shown}");
    assert_eq!((words(&shown["context"]), &shown["title"]), (vec!["a note", "noted"], &json!("by hand")));
}

#[test]
fn events_may_name_either_id_of_a_copied_entry() {
    let (clones, task) =
        recorded_twice(|text| text.replacen("context:\n", "  - one\n  - two\ncontext:\n", 1) + "  - noted\n");
    for (name, words) in [("a", "one"), ("b", "two")] {
        let shown = clones.run(name, &["task", "get", &task, "--full"]).data();
        let items = shown["progress"]["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["content"] == words).unwrap();
        clones.run(name, &["progress", "complete", item["id"].as_str().unwrap()]).data();
        if name == "b" {
            let entries = shown["context"].as_array().unwrap();
            let entry = entries.iter().find(|entry| entry["content"] == "noted").unwrap();
            clones.run(name, &["context", "supersede", entry["id"].as_str().unwrap(), "--content", "newer"]).data();
        }
    }
    let shown = together(&clones, &task);
    assert_eq!(shown["progress"]["done"], 2, "{shown}");
    assert_eq!(words(&shown["context"]), ["a note", "newer"], "{shown}");
}

#[test]
fn words_by_hand_that_two_clones_recorded_are_replaced_once() {
    let (clones, task) = recorded_twice(|text| text.replacen("content: a note", "content: better words", 1));
    assert_eq!(words(&together(&clones, &task)["context"]), ["better words"]);
}

#[test]
fn redacting_an_entry_takes_the_text_out_of_its_copies_too() {
    let (clones, task) = recorded_twice(|text| text.to_owned() + "  - s3cr3t\n");
    let shown = together(&clones, &task);
    let id = shown["context"][1]["id"].as_str().unwrap();
    clones.run("a", &["context", "redact", id, "--reason", "a token"]).data();
    let folder = clones.room.log_of(&task).parent().unwrap().strip_prefix(clones.room.repo()).unwrap().to_owned();
    for name in ["a", "b"] {
        clones.run(name, &["sync"]).data();
        for file in ["events.jsonl", "task.yaml"] {
            let text = fs::read_to_string(clones.dir(name).join(&folder).join(file)).unwrap();
            assert!(!text.contains("s3cr3t"), "{name}: {text}");
        }
    }
    assert_eq!(words(&together(&clones, &task)["context"]), ["a note"]);
}
