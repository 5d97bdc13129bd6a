//! A completed task has landed once its completion is on the default branch of the remote.

use serde_json::json;

use crate::sync::Clones;

#[test]
fn a_completion_lands_with_the_push() {
    let (clones, task) = Clones::new(&["ada"]);
    let run = |args: &[&str]| clones.run("ada", args).data();
    let landed = || run(&["ls", "--query", "is:landed"])["total"].clone();
    assert_eq!(run(&["task", "get", &task]).get("landed"), None);
    run(&["claim", &task]);
    run(&["done", &task, "--all-met"]);
    assert_eq!((&run(&["task", "get", &task])["landed"], landed()), (&json!(false), json!(0)));
    run(&["sync"]);
    assert_eq!((&run(&["task", "get", &task])["landed"], landed()), (&json!(true), json!(1)));
    run(&["task", "archive", &task]);
    assert_eq!((&run(&["task", "get", &task])["landed"], landed()), (&json!(true), json!(1)));
}
