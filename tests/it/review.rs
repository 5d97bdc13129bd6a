//! `review`: what must be decided comes first, on one screen; nothing that a task says can break out of the page.
//!
//! `UPDATE_REVIEW=1 cargo test --test it review::` writes the pages kept in `fixtures/review` anew.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, plays_all};

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--allow-empty", "-m", message]).text();
}

/// Compares a page with the one that is kept.
#[track_caller]
fn is_kept(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/review").join(name);
    if std::env::var_os("UPDATE_REVIEW").is_some() {
        fs::write(&path, page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(page.lines()).find(|(a, b)| a != b);
    assert!(kept == page, "{name} says something else: {differs:#?}\n{page}");
}

/// A branch of a week's work: thirty tasks changed, in every way there is.
fn a_week() -> Sandbox {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let titles = ["Order the locks", "Replay the journal", "Bound the lists", "Name the holder", "Count the events"];
    let mut old = Vec::new();
    for n in 0..20_usize {
        let title = titles.get(n).map_or_else(|| format!("Old task {n}"), |title| (*title).to_owned());
        let more: &[&str] = match n {
            1 => &["--acceptance", "no event is lost", "--acceptance", "it takes a second"],
            2 => &["--acceptance", "a page has a bound"],
            3 => &["--label", "storage", "--label", "urgent", "--watcher", "bob"],
            _ => &[],
        };
        old.push(room.task(&title, more));
    }
    let run = |agent: &str, args: &[&str]| room.run_as(agent, args).data();
    let id = |n: usize| old[n].as_str();
    for n in [15, 16] {
        run("ada", &["claim", id(n)]);
        run("ada", &["done", id(n)]);
    }
    commit(&room, "the plan");
    room.git(&["checkout", "-q", "-b", "side"]).text();
    run("bob", &["task", "block", id(18), "--by", id(17)]);
    commit(&room, "one way round");
    room.git(&["checkout", "-q", "-b", "feature", "main"]).text();
    run("ada", &["task", "block", id(17), "--by", id(18)]);

    // Taken and given back, over and over: of that nothing is left to tell but a word.
    for _ in 0..3 {
        run("codex-1", &["claim", id(0)]);
        run("codex-1", &["release", id(0), "--why", "lunch"]);
    }
    run("codex-1", &["claim", id(0)]);
    for step in 0..7 {
        let item = room.run_as("codex-1", &["progress", "add", id(0), "--content", &format!("step {step}"), "-q"]);
        if step < 5 {
            run("codex-1", &["progress", "complete", item.text()]);
        }
    }
    run(
        "codex-1",
        &["context", "add", id(0), "--type", "decision", "--content", "flock, since fcntl dies with any close"],
    );
    run("codex-1", &["context", "add", id(0), "--type", "note", "--content", "the manual page says so"]);
    run("codex-1", &["done", id(0), "--outcome", "one order"]);
    run("codex-2", &["claim", id(1)]);
    run("codex-2", &["task", "verify", id(1), "--criterion", "1"]);
    run("codex-2", &["done", id(1), "--force", "the second is measured next week"]);
    run("ada", &["task", "update", id(2), "--acceptance", "a page has a good bound", "--why", "clearer"]);
    run("bob", &["claim", id(3)]);
    run("ada", &["task", "update", id(3), "--priority", "4", "--override", "bob is on holiday"]);
    run(
        "ada",
        &[
            "task",
            "update",
            id(3),
            "--remove-label",
            "urgent",
            "--add-label",
            "soon",
            "--override",
            "bob is on holiday",
        ],
    );
    for n in 1..4 {
        run("ada", &["task", "update", id(4), "--estimate", &format!("{n}h"), "--why", &format!("look {n}")]);
    }
    run("ada", &["task", "update", id(5), "--title", "Old task five, and the docs", "--why", "they belong together"]);
    run("ada", &["task", "update", id(6), "--intent", "Only for Linux", "--file", "src/env/**"]);
    run("ada", &["task", "update", id(7), "--parent", id(6)]);
    run("ada", &["task", "transition", id(8), "--status", "cancelled", "--why", "it is not needed"]);
    run("ada", &["task", "reopen", id(15), "--reason", "it came back"]);
    run("ada", &["task", "archive", id(16)]);
    for n in 9..12 {
        run("codex-2", &["claim", id(n)]);
        run("codex-2", &["done", id(n)]);
    }
    run("codex-1", &["claim", id(12)]);
    run("codex-1", &["note", id(12), "--content", "begun"]);
    run("ada", &["task", "block", id(13), "--by", id(12)]);
    run("ada", &["task", "relate", id(14), "--to", id(13), "--type", "duplicates"]);
    run("ada", &["task", "update", id(19), "--type", "docs"]);
    let top = room.task("Publish it", &["--intent", "so that others may use it"]);
    for n in 0..6 {
        let child = room.task(&format!("Part {n} of the release"), &["--parent", &top, "--acceptance", "it is there"]);
        match n {
            1 => {
                run("codex-1", &["claim", &child]);
                run("codex-1", &["done", &child, "--all-met"]);
            }
            2 => drop(room.task("A small thing below it", &["--parent", &child, "--blocked-by", id(12)])),
            _ => {}
        }
    }
    room.task("A note for later", &["--parent", id(6)]);
    room.task("Another one", &["--blocked-by", &top]);
    fs::write(
        room.store().join("roles.yml"),
        "agents:\n  ada: {perms: [admin], precedence: 50}\n  codex-1: {perms: [claim, complete], precedence: 30}\n",
    )
    .unwrap();
    commit(&room, "the work of a week");
    room.git(&["merge", "-q", "--no-edit", "side"]).text();
    room
}

#[test]
fn review_of_thirty_tasks_fits_one_screen() {
    let room = a_week();
    let answer = room.run(&["review", "main..feature", "--all"]).data();
    assert_eq!(answer["total"], 30, "{:#}", answer["summary"]);
    let page = room.run(&["review", "main..feature", "--format", "md"]);
    let text = page.text().to_owned() + "\n";
    is_kept("week.md", &text);
    assert!(text.lines().count() <= 60, "{} lines", text.lines().count());
    assert!(text.len() <= 8 * 1024, "{} bytes", text.len());
    is_kept(
        "week.all.md",
        &(room.run(&["review", "main..feature", "--format", "md", "--all"]).text().to_owned() + "\n"),
    );
    is_kept("week.txt", &(room.run(&["review", "main..feature", "--format", "table"]).text().to_owned() + "\n"));
}

/// Texts of users are in code spans, in folded text or in a diagram's character references; outside of them nothing is
/// left that Markdown, HTML or a hosting site would act on.
#[track_caller]
fn is_harmless(page: &str) {
    let mut fenced = false;
    for line in page.lines() {
        assert!(
            !line.chars().any(|c| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')),
            "{line:?}"
        );
        if line.starts_with("```") {
            fenced = !fenced;
            assert!(line == "```" || line == "```mermaid", "{line}");
            continue;
        }
        if fenced {
            let inside: String = line.split('"').skip(1).step_by(2).collect();
            let refers = inside.replace(";", "").replace("#", "");
            assert!(refers.chars().all(|c| c.is_alphanumeric() || " ,.-…".contains(c)), "{line}");
            continue;
        }
        let bare = outside_of_code(line);
        let ours =
            ["<details><summary>", "</summary>", "</details>"].iter().fold(bare, |text, tag| text.replace(tag, ""));
        let ours = ours.trim_start_matches('#');
        assert!(!ours.contains(['<', '>', '@', '`', '|', '*', '[', '!', '#', '&', '\\']), "{line}\n{ours}");
        assert!(!ours.contains("://"), "{line}");
    }
    assert!(!fenced, "a fence is open: {page}");
}

/// A line without its code spans, as CommonMark finds them: a run of backticks up to the next run just as long.
fn outside_of_code(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(at) = rest.find('`') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let run = rest.len() - rest.trim_start_matches('`').len();
        let mut from = run;
        let end = loop {
            let Some(next) = rest[from..].find('`').map(|n| from + n) else { panic!("a code span is open: {line}") };
            let length = rest[next..].len() - rest[next..].trim_start_matches('`').len();
            if length == run {
                break next + run;
            }
            from = next + length;
        };
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

const HOSTILE: &[&str] = &[
    "a | b | c",
    "`tick` ``two`` ```three```",
    "```mermaid",
    "`",
    "<script>alert(1)</script> <img src=x onerror=alert(1)>",
    "</details></summary> <!-- hidden",
    "@ada @org/team please look, fixes #12 and GH-12, org/repo#3",
    "# head",
    "[x](javascript:alert(1)) ![y](http://example.invalid/z.png)",
    "https://example.invalid/?q=<b>",
    "\u{202e}turned\u{2066}around\u{200b}",
    "- [ ] tick me",
    "*bold* _it_ ~~gone~~ $x$ &lt; \\",
    "\"] --> evil[\"x\"]; click t0 href \"javascript:alert(1)\"",
    "%%{init: {}}%%",
    "😀 \u{301}\u{301}\u{301} é",
];

#[test]
fn nothing_that_a_task_says_breaks_out_of_the_page() {
    let room = Sandbox::new();
    let old: Vec<String> = HOSTILE.iter().map(|_| room.task("plain", &["--acceptance", "it holds"])).collect();
    commit(&room, "the plan");
    room.git(&["checkout", "-q", "-b", "feature|`<b>@ada"]).text();
    for (n, text) in HOSTILE.iter().enumerate() {
        let id = old[n].as_str();
        // Of this form a text may begin with a dash or an at sign.
        let given = |flag: &str, text: &str| format!("--{flag}={}{text}", if text.starts_with('@') { "@" } else { "" });
        let lines = format!("{text}\n\n{text}\n# {text}");
        let (title, why) = (given("title", text), given("why", text));
        let update = ["task", "update", id, &title, &why, &given("intent", &lines), &format!("--add-label={text}")];
        let metadata = format!("--metadata={}", json!({ *text: text }));
        room.run(&[&update[..], &[&given("acceptance", text), &metadata]].concat()).data();
        room.run(&["context", "add", id, "--type", "decision", &given("content", &lines)]).data();
        room.run(&["claim", id]).data();
        room.run(&["done", id, &given("force", &lines)]).data();
        let long = format!("{text} {}", "x".repeat(100)).repeat(10);
        let cut: String = long.chars().take(190).collect();
        room.run(&["add", &given("title", &cut), &given("intent", &long), "--blocked-by", id]).data();
        room.run(&["add", &title, "--blocked-by", &old[(n + 1) % old.len()]]).data();
    }
    let roles = json!({ "agents": { HOSTILE[1]: { "perms": HOSTILE }, HOSTILE[4]: { "precedence": 1 } } });
    fs::write(room.store().join("roles.yml"), roles.to_string()).unwrap();
    commit(&room, "the work");
    for more in [&["--all"][..], &[], &["--limit", "200"], &["--limit", "7"]] {
        let asked = ["review", "main..feature|`<b>@ada", "--format", "md", "--store", ".agentpm"];
        let page = room.run(&[&asked[..], more].concat());
        is_harmless(page.text());
    }
}

/// `12` of `### Moves (12)`.
fn counted(page: &str, title: &str) -> usize {
    let line =
        page.lines().find(|line| line.contains(&format!("{title} ("))).unwrap_or_else(|| panic!("{title}: {page}"));
    line.split(['(', ')']).nth(1).unwrap().parse().unwrap()
}

#[test]
fn thousands_of_changed_tasks_fit_into_a_comment_and_all_are_counted() {
    let room = Sandbox::new();
    // Half of what changes is new. A quarter of it is to be decided.
    let new = if plays_all() { 1_000 } else { 600 };
    let decide = new / 2;
    let many = |op: &str, args: &dyn Fn(usize) -> Value| {
        let ops: Vec<Value> = (0..new).map(|n| json!({ "op": op, "args": args(n) })).collect();
        room.feed(&["batch", "--file", "-"], json!({ "ops": ops }).to_string().as_bytes())
    };
    let made = many("task.create", &|n| json!({ "title": format!("old {n}") })).data();
    let old: Vec<String> =
        made["items"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(old.len(), new);
    commit(&room, "the plan");
    room.git(&["checkout", "-q", "-b", "feature"]).text();
    many("task.create", &|n| json!({ "title": format!("new {n} {}", "long ".repeat(36)) })).data();
    many("task.update", &|n| match n % 2 {
        0 => json!({ "id": old[n], "title": format!("another thing {n}") }),
        _ => json!({ "id": old[n], "priority": 3 }),
    })
    .data();
    commit(&room, "the work");

    let page = room.run(&["review", "main..feature", "--format", "md"]);
    let screen = page.text();
    assert!(screen.lines().count() <= 60 && screen.len() <= 8 * 1024, "{} bytes", screen.len());
    assert_eq!(counted(screen, "To decide"), decide);
    let shown = screen.lines().filter(|line| line.starts_with("- ")).count();
    let all = format!("{new} of {new} new tasks, {decide} of {decide} details.");
    let left = format!("Left out: {} of {decide} to decide, {all}", decide - shown);
    assert!(shown > 20 && screen.contains(&left), "{left}\n{screen}");

    let page = room.run(&["review", "main..feature", "--format", "md", "--all"]);
    let comment = page.text();
    assert!(comment.chars().count() < 65_536, "{} characters", comment.chars().count());
    assert_eq!((counted(comment, "To decide"), counted(comment, "New tasks")), (decide, new));
    assert!(
        comment.contains(&format!(" of {new} new tasks, {decide} of {decide} details.")),
        "{}",
        &comment[comment.len() - 300..]
    );
    is_harmless(comment);

    // JSON says all of it, a page at a time.
    let (mut seen, mut cursor, mut pages) = (std::collections::BTreeSet::new(), String::new(), 0);
    loop {
        let go_on: &[&str] = if cursor.is_empty() { &[] } else { &["--cursor", &cursor] };
        let answer =
            room.run(&[&["review", "main..feature", "--limit", &(new + decide).to_string()], go_on].concat()).data();
        assert_eq!(answer["total"], 2 * new);
        assert_eq!(answer["summary"]["scope"], decide);
        for item in answer["items"].as_array().unwrap() {
            assert!(seen.insert(item["task"].as_str().unwrap().to_owned()), "shown twice");
        }
        pages += 1;
        assert_eq!(answer["truncated"].as_bool().unwrap(), answer["next_cursor"].is_string());
        match answer["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (2 * new, 2));
    let bounded = room.run(&["review", "main..feature"]);
    assert!(bounded.stdout.len() < 9_000 && bounded.data()["truncated"] == true, "{} bytes", bounded.stdout.len());
    assert_eq!(room.run(&["review", "main..feature", "--all"]).data()["items"].as_array().unwrap().len(), 2 * new);
    room.run(&["review", "main..feature", "--cursor", "nonsense"]).error("ERR_USAGE", 2);
}

#[test]
fn a_review_fails_on_what_it_is_asked_to_fail_on() {
    let room = a_week();
    let failed = |on: &str| {
        let answer = room.run(&["review", "main..feature", "--fail-on", on, "--limit", "1"]);
        let json = answer.json();
        assert_eq!(json["ok"], true, "{answer:?}");
        assert_eq!(answer.code, i32::from(json["data"]["failed"] != Value::Null), "{answer:?}");
        json["data"]["failed"].clone()
    };
    assert_eq!(failed("never"), Value::Null);
    for on in ["error", "warning", "override", "acceptance", "scope", "settings", "any"] {
        assert_eq!(failed(on), json!([on]));
    }
    assert_eq!(failed("lost"), Value::Null, "nothing lost");
    assert_eq!(failed("lost,override,error"), json!(["override", "error"]));
    room.run(&["review", "main..feature", "--fail-on", "everything"]).error("ERR_USAGE", 2);
    let page = room.run(&["review", "main..feature", "--format", "md", "--fail-on", "scope,lost"]);
    assert_eq!(page.code, 1);
    assert!(page.stdout.ends_with("\nFails on: scope\n"), "{page:?}");

    room.git(&["checkout", "-q", "-b", "quiet"]).text();
    room.task("only this", &[]);
    commit(&room, "one more task");
    assert_eq!(room.run(&["review", "feature..quiet", "--fail-on", "any"]).data()["failed"], Value::Null);
}

#[test]
fn a_range_without_a_change_says_so() {
    let room = a_week();
    for range in ["feature..feature", "feature..main"] {
        let answer = room.run(&["review", range, "--fail-on", "any"]).data();
        assert_eq!((&answer["total"], &answer["items"], &answer["failed"]), (&json!(0), &json!([]), &Value::Null));
        let page = room.run(&["review", range, "--format", "md"]);
        assert_eq!(page.text(), format!("## `{range}`: 0 tasks changed"));
    }
}
