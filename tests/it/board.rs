//! The board: a page that shows the plan and lets no text of a task act, and the graph of the plan as a picture.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::process::Stdio;

use agentpm::api;
use agentpm::engine::{self, Options};
use agentpm::env::Env;
use agentpm::model::id::Id;
use agentpm::model::task::Status;
use agentpm::reports::board::graph::{self, Node, Place};
use agentpm::reports::board::layout::{HEIGHT, WIDTH, layout};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::sandbox::{Sandbox, rounds, sealed_vars};

const NOW: &str = "2026-11-20T10:00:00Z";
/// Texts that try to become markup, script or something else than they are.
const HOSTILE: &[&str] = &[
    "</script><script>document.title='owned'</script>",
    "\"><img src=x onerror=\"document.title='owned'\">",
    "'><svg/onload=alert(1)>",
    "<!-- <script> {{data}} {{list}}",
    "a\u{202e}txt.exe\u{200b} \u{feff}b",
    "&lt;b&gt; &#x3c;",
    "javascript:alert(1)",
    "]]></style><style>*{display:none}",
];

#[track_caller]
fn page_of(room: &Sandbox) -> String {
    room.run_short(&["export", "--format", "html"]).text().to_owned() + "\n"
}

/// What stands between two texts, the first time.
#[track_caller]
fn between<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = page.split_once(begin).unwrap_or_else(|| panic!("no {begin}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end}")).0
}

#[track_caller]
fn data_of(page: &str) -> Value {
    serde_json::from_str(between(page, "<script type=\"application/json\" id=\"data\">", "</script>")).unwrap()
}

/// The page without its own style and script.
fn content_of(page: &str) -> String {
    let style = between(page, "<style>", "</style>");
    let script = between(page, "<script>", "</script>");
    page.replacen(style, "", 1).replacen(script, "", 1)
}

fn live_page(room: &Sandbox) -> String {
    let vars = sealed_vars(&room.home()).into_iter();
    let mut vars: BTreeMap<String, String> =
        vars.map(|(name, value)| (name.to_owned(), value.into_string().unwrap())).collect();
    vars.insert("AGENTPM_CLOCK".into(), NOW.into());
    let ws = engine::open(Env::new(vars, room.repo()).unwrap(), Options::default()).unwrap();
    api::board(&ws, true).unwrap()
}

/// A plan with a task in each state, and something for each part of a page.
fn plan() -> (Sandbox, BTreeMap<&'static str, String>) {
    let room = Sandbox::new();
    room.at(NOW);
    let mut ids = BTreeMap::new();
    ids.insert("whole", room.task("The whole", &["--priority", "2"]));
    ids.insert("first", room.task("First part", &["--parent", &ids["whole"], "--label", "storage"]));
    ids.insert("second", room.task("Second part", &["--parent", &ids["whole"], "--blocked-by", &ids["first"]]));
    for (name, end) in [("done", "done"), ("kept", "done"), ("dropped", "cancel")] {
        let id = room.task(name, &[]);
        room.run(&["claim", &id]).data();
        room.run(&[end, &id]).data();
        ids.insert(name, id);
    }
    room.run(&["task", "archive", &ids["kept"]]).data();
    room.run(&["claim", &ids["first"]]).data();
    room.run(&["progress", "add", &ids["first"], "--content", "found two callers"]).data();
    room.run(&["note", &ids["first"], "--type", "decision", "--content", "by inode"]).data();
    room.run_as("bob", &["thread", "open", &ids["first"], "--body", "Is it urgent?", "--set", "priority=3"]).data();
    room.run(&["task", "update", &ids["first"], "--priority", "1", "--why", "readers ask for it"]).data();
    (room, ids)
}

#[test]
fn every_task_is_listed_once_with_its_status_and_what_it_waits_for() {
    let (room, ids) = plan();
    let page = page_of(&room);
    for (name, id) in &ids {
        assert_eq!(page.matches(&format!("<li id=\"t-{id}\">")).count(), 1, "{name}");
    }
    let list = between(&page, "<div id=\"plain\">", "<section id=\"picture\">");
    let sections: BTreeMap<&str, &str> =
        list.split("<h2>").skip(1).map(|section| section.split_once("</h2>").unwrap()).collect();
    let headings = ["archived (1)", "blocked (1)", "cancelled (1)", "completed (1)", "in progress (1)", "open (1)"];
    assert_eq!(sections.keys().copied().collect::<Vec<_>>(), headings);
    let handle = &ids["first"][20..];
    let waits = format!("waits for <a href=\"#t-{}\">{handle}</a>", ids["first"]);
    assert!(sections["blocked (1)"].contains(&waits), "{list}");
    assert!(sections["in progress (1)"].contains("held by ada until 2026-11-20T10:10:00Z"), "{list}");
    assert!(sections["open (1)"].contains("The whole <small>priority 2</small>"), "{list}");
}

#[test]
fn the_data_holds_what_the_page_of_a_task_shows() {
    let (room, ids) = plan();
    let data = data_of(&page_of(&room));
    let tasks = data["tasks"].as_array().unwrap();
    let statuses: Vec<&str> = tasks.iter().map(|task| task["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["open", "in_progress", "blocked", "completed", "cancelled", "archived"]);
    let first = tasks.iter().find(|task| task["id"] == ids["first"].as_str()).unwrap();
    assert_eq!(
        (&first["title"], &first["priority"], &first["labels"]),
        (&json!("First part"), &json!(1), &json!(["storage"]))
    );
    assert_eq!(
        (&first["lease"]["agent"], &first["lease"]["expires_at"]),
        (&json!("ada"), &json!("2026-11-20T10:10:00Z"))
    );
    assert_eq!(first["progress"]["items"][0]["content"], "found two callers");
    assert_eq!(
        (&first["context"][0]["type"], &first["context"][0]["content"]),
        (&json!("decision"), &json!("by inode"))
    );
    let thread = &first["threads"][0];
    assert_eq!(
        (&thread["author"], &thread["body"], &thread["status"]),
        (&json!("bob"), &json!("Is it urgent?"), &json!("open"))
    );
    let history = first["history"].as_array().unwrap();
    assert_eq!(history[0]["deed"], "created the task");
    assert_eq!(
        history.last().unwrap(),
        &json!({ "at": NOW, "agent": "ada", "deed": "set priority 1", "why": "readers ask for it" })
    );
    let second = tasks.iter().find(|task| task["id"] == ids["second"].as_str()).unwrap();
    assert_eq!((&second["blocked_by"], &second["parent"]), (&json!([ids["first"]]), &json!(ids["whole"])));
}

#[test]
fn the_same_plan_gives_the_same_page_on_standard_output_and_in_a_file() {
    let (room, ids) = plan();
    let page = page_of(&room);
    assert_eq!(page, page_of(&room));
    let wrote = room.run_short(&["export", "--format", "html", "--output", "board.html", "--json"]).data();
    assert_eq!(wrote, json!({ "format": "html", "total": ids.len(), "output": "board.html" }));
    assert_eq!(std::fs::read_to_string(room.repo().join("board.html")).unwrap(), page);
    assert_eq!(room.run_short(&["export", "--format", "html", "--json"]).data()["text"], page.as_str());
    room.run_short(&["export", "--json"]).error("ERR_USAGE", 2);
    room.run_short(&["export", "--format", "tree", "--json"]).error("ERR_USAGE", 2);
    room.run_short(&["export", "--format", "html", "--output", "none/board.html", "--json"]).error("ERR_IO", 10);
}

/// A plan whose every text is hostile.
fn hostile() -> (Sandbox, Vec<String>) {
    let room = Sandbox::new();
    room.at(NOW);
    let mut ids = Vec::new();
    for text in HOSTILE {
        let id = room.task(text, &["--intent", text, "--acceptance", text, "--label", "plain", "--file", text]);
        room.run(&["progress", "add", &id, "--content", text]).data();
        room.run(&["note", &id, "--content", text]).data();
        room.run(&["thread", "open", &id, "--body", text, "--set", &format!("estimate={text}")]).data();
        room.run(&["task", "update", &id, "--priority", "1", "--why", text]).data();
        ids.push(id);
    }
    // Names that no command accepts come by git.
    let log = std::fs::read_to_string(room.log_of(&ids[0])).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let event = json!({
        "v": 1, "id": "01ZZZZZZZZ0000000000000001", "lamport": 99, "type": "TaskUpdated", "entity": format!("task/{}", ids[0]),
        "parents": [last["id"]], "agent": "bob", "at": NOW,
        "payload": {"set": {"type": HOSTILE[1], "owner": HOSTILE[1], "labels": [HOSTILE[0]], "metadata": {HOSTILE[0]: HOSTILE[4]}}},
    });
    std::fs::write(room.log_of(&ids[0]), format!("{log}{event}\n")).unwrap();
    (room, ids)
}

#[test]
fn hostile_texts_leave_no_markup_and_are_shown_as_they_are() {
    let (room, ids) = hostile();
    let page = page_of(&room);
    let content = content_of(&page);
    assert_eq!((content.matches("<script").count(), content.matches("</script").count()), (2, 2));
    assert_eq!((content.matches("<style").count(), content.matches("</style").count()), (1, 1));
    for markup in ["<img", "<!-- ", "<svg/", "<svg o"] {
        assert!(!content.contains(markup), "{markup}");
    }
    for part in content.split("href=\"").skip(1) {
        assert!(part.starts_with('#'), "{}", &part[..40]);
    }
    let is_raw = |c: char| {
        (c.is_control() && c != '\n') || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{feff}')
    };
    assert_eq!(content.chars().find(|c| is_raw(*c)), None);
    // Each text is there, as text.
    let data = data_of(&page);
    let titles: BTreeSet<&str> =
        data["tasks"].as_array().unwrap().iter().map(|task| task["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), HOSTILE.len());
    assert!(HOSTILE[..4].iter().all(|text| titles.contains(text)), "{titles:?}");
    assert!(titles.contains("a\\u{202e}txt.exe\\u{200b} \\u{feff}b"), "{titles:?}");
    assert!(content.contains("&lt;/script&gt;&lt;script&gt;document.title=&#39;owned&#39;"));
    assert!(content.contains("&amp;lt;b&amp;gt; &amp;#x3c;"));
    assert!(content.contains("&lt;!-- &lt;script&gt; {{data}} {{list}} <small>"), "a text is not filled in");
    assert!(ids.iter().all(|id| content.contains(&format!("<li id=\"t-{id}\">"))));
}

/// Bytes of base 64.
fn decoded(text: &str) -> Vec<u8> {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = text.chars().filter_map(|c| letters.find(c)).map(|n| format!("{n:06b}")).collect();
    bits.as_bytes()
        .chunks_exact(8)
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect()
}

#[test]
fn the_policy_admits_the_own_style_and_script_and_nothing_else() {
    let (room, _) = plan();
    for (page, live) in [(page_of(&room), false), (live_page(&room), true)] {
        let policy = between(&page, "http-equiv=\"Content-Security-Policy\" content=\"", "\"");
        let rules: BTreeMap<&str, &str> = policy.split("; ").map(|rule| rule.split_once(' ').unwrap()).collect();
        let hash = |rule: &str| decoded(rules[rule].strip_prefix("'sha256-").unwrap().strip_suffix("'").unwrap());
        for (rule, tag) in [("script-src", "script"), ("style-src", "style")] {
            let text = between(&page, &format!("<{tag}>"), &format!("</{tag}>"));
            assert_eq!(hash(rule), Sha256::digest(text).to_vec(), "{rule}");
        }
        assert_eq!((rules["default-src"], rules["base-uri"], rules["form-action"]), ("'none'", "'none'", "'none'"));
        assert_eq!(rules.get("connect-src"), live.then_some(&"'self'"));
        assert_eq!(rules.len(), 5 + usize::from(live));
        assert!(page.find("Content-Security-Policy") < page.find("<style>"), "it comes before what it is about");
        assert_eq!(data_of(&page)["live"], live);
    }
}

#[test]
fn the_page_and_the_picture_load_nothing() {
    let (room, _) = plan();
    let picture = room.run_short(&["graph", "--format", "svg"]).text().to_owned();
    let picture = picture.replacen("xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
    for text in [page_of(&room), live_page(&room), picture] {
        for loads in [
            "http:",
            "https:",
            "src=",
            "@import",
            "<link",
            "<iframe",
            "<object",
            "<base",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            " style=",
        ] {
            assert!(!text.contains(loads), "{loads}");
        }
        assert_eq!(text.matches("url(").count(), text.matches("url(#arrow)").count());
    }
}

#[test]
fn a_task_with_much_on_it_is_shown_in_bounds_and_the_rest_is_counted() {
    let room = Sandbox::new();
    let id = room.task("much", &["--intent", &"i".repeat(50_000)]);
    let note = |n| json!({ "op": "context.add", "args": { "task": id, "type": "note", "content": format!("{n} {}", "x".repeat(1_000)) } });
    let step = |n| json!({ "op": "progress.add", "args": { "task": id, "content": [format!("step {n}")] } });
    let ops: Vec<Value> = (0..300).map(note).chain((0..300).map(step)).collect();
    room.feed(&["batch", "--file", "-"], json!(ops).to_string().as_bytes()).data();
    let page = page_of(&room);
    let content = content_of(&page);
    assert!(content.len() < 100_000, "{} bytes", content.len());
    let task = &data_of(&page)["tasks"][0];
    let shown = |list: &Value| list.as_array().unwrap().len();
    let left_out = |name: &str| task["left_out"][name].as_u64().unwrap() as usize;
    assert_eq!(shown(&task["context"]) + left_out("context"), 300);
    assert_eq!(shown(&task["history"]) + left_out("history"), 601);
    assert_eq!(task["history"].as_array().unwrap().last().unwrap()["deed"], "added a step", "the newest stay");
    assert!(left_out("intent_bytes") > 40_000);
}

// ---- the graph

/// Chance from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides.max(1)
    }
}

#[test]
fn no_boxes_overlap_and_every_line_leads_downwards() {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    for seed in first..first + 300 {
        println!("SEED={seed}");
        let mut dice = Dice(seed.wrapping_mul(1_000_003));
        let nodes = 1 + dice.roll(120);
        let wanted = dice.roll(3 * nodes);
        // Also cycles, edges to the node itself, and the same edge twice.
        let edges: Vec<(usize, usize)> = (0..wanted).map(|_| (dice.roll(nodes), dice.roll(nodes))).collect();
        let laid = layout(nodes, &edges);
        assert_eq!(laid, layout(nodes, &edges));
        for (n, (x, y)) in laid.boxes.iter().enumerate() {
            assert!(x + WIDTH <= laid.width && y + HEIGHT <= laid.height, "box {n} is outside");
            for (other_x, other_y) in &laid.boxes[..n] {
                assert!(x.abs_diff(*other_x) >= WIDTH || y.abs_diff(*other_y) >= HEIGHT, "box {n} overlaps");
            }
        }
        let known: BTreeSet<usize> = laid.lines.iter().map(|line| line.edge).collect();
        let joining = edges.iter().enumerate().filter(|(_, (from, to))| from != to).map(|(n, _)| n);
        assert_eq!(known, joining.collect(), "each edge has a line");
        for line in &laid.lines {
            assert!(laid.boxes[line.upper].1 + HEIGHT < laid.boxes[line.lower].1, "line {line:?} leads up");
            let (from, to) = edges[line.edge];
            assert_eq!((line.upper, line.lower), if line.reversed { (to, from) } else { (from, to) });
        }
        // Without cycles no edge is turned around.
        let acyclic: Vec<(usize, usize)> = edges.iter().filter(|(from, to)| from < to).copied().collect();
        assert!(layout(nodes, &acyclic).lines.iter().all(|line| !line.reversed));
    }
}

fn id_of(n: usize) -> Id {
    Id::from_parts(1_763_632_800_000 + n as u64, n as u128)
}

fn node(n: usize, parent: Option<usize>) -> Node {
    let id = id_of(n);
    let (handle, title) = (id.handle(6), format!("task {n}"));
    let status = [Status::Open, Status::InProgress, Status::Blocked][n % 3];
    Node { id, handle, title, status, owner: (n % 3 == 1).then(|| "ada".to_owned()), parent: parent.map(id_of) }
}

#[test]
fn three_hundred_tasks_have_a_box_each_and_three_thousand_are_counted_with_their_parents() {
    let nodes: Vec<Node> = (0..300).map(|n| node(n, (n > 0).then(|| (n - 1) / 5))).collect();
    let blocks: Vec<(Id, Id)> = (1..300).filter(|n| n % 7 == 0).map(|n| (id_of(n - 1), id_of(n))).collect();
    let picture = graph::svg(&nodes, &blocks, Place::Page);
    assert_eq!(picture.matches("<rect").count(), 300);
    assert!(nodes.iter().all(|node| picture.contains(&format!("<a href=\"#t-{}\">", node.id))));
    assert!(!picture.contains("class=\"note\""));

    // Sixty parents below one, fifty tasks below each: the tasks of one wait for those of the one before.
    let parent = |n: usize| {
        if n == 0 {
            None
        } else if n <= 60 {
            Some(0)
        } else {
            Some(1 + (n - 61) / 50)
        }
    };
    let nodes: Vec<Node> = (0..3_061).map(|n| node(n, parent(n))).collect();
    let blocks: Vec<(Id, Id)> = (111..3_061).map(|n| (id_of(n - 50), id_of(n))).collect();
    let picture = graph::svg(&nodes, &blocks, Place::Page);
    assert_eq!(picture.matches("<rect").count(), 61);
    assert_eq!(picture.matches("class=\"blocks\"").count(), 59);
    assert_eq!(picture.matches("class=\"parent\"").count(), 60);
    assert_eq!(picture.matches("51 tasks: 1").count(), 2 * 60, "in the box and in its tooltip");
    assert!(picture.contains("51 tasks: 17 open, 17 in progress, 17 blocked"));
    assert!(picture.contains("Tasks are counted in the box of their parent."));
    assert!(picture.len() < 100_000, "{} bytes", picture.len());

    // Without parents the first with lines are shown, and the rest is counted.
    let nodes: Vec<Node> = (0..1_000).map(|n| node(n, None)).collect();
    let picture = graph::svg(&nodes, &[(id_of(998), id_of(999))], Place::Page);
    assert_eq!(picture.matches("<rect").count(), 300);
    assert!(picture.contains("700 tasks are not shown.") && picture.contains(&id_of(999).to_string()));
    // A cycle of parents, as a merge may leave one.
    let circle: Vec<Node> = (0..400).map(|n| node(n, Some((n + 1) % 400))).collect();
    assert!(graph::svg(&circle, &[(id_of(1), id_of(2)), (id_of(2), id_of(1))], Place::Page).contains("101 tasks"));
}

#[test]
fn a_picture_in_a_file_is_well_formed_and_holds_hostile_titles_as_text() {
    crate::machine::needs!("python3");
    let (room, ids) = hostile();
    room.run(&["task", "block", &ids[1], "--by", &ids[0]]).data();
    let log = std::fs::read_to_string(room.log_of(&ids[2])).unwrap();
    std::fs::write(room.log_of(&ids[2]), log.replace("<svg/onload=alert(1)>", "\\uffff\\u001b<svg/onload=alert(1)>"))
        .unwrap();
    let picture = room.run_short(&["graph", "--format", "svg"]);
    std::fs::write(room.repo().join("plan.svg"), picture.text()).unwrap();
    let read = "import sys, xml.etree.ElementTree as tree\n\
                root = tree.parse('plan.svg').getroot()\n\
                tag = lambda one: one.tag.split('}')[1]\n\
                print(tag(root), sorted({tag(one) for one in root.iter()}))\n\
                print('\\n'.join(one.text or '' for one in root.iter() if tag(one) == 'title'))\n";
    let shown = room.sealed("python3", &room.repo()).args(["-c", read]).output().unwrap();
    let shown = crate::sandbox::Answer::from(shown);
    let text = shown.text();
    assert!(
        text.starts_with("svg ['a', 'defs', 'marker', 'path', 'rect', 'style', 'svg', 'text', 'title', 'tspan']"),
        "{text}"
    );
    assert!(text.contains(HOSTILE[0]) && text.contains("\\u{ffff}\\u{1b}<svg/onload=alert(1)>"), "{text}");
    let again: HashSet<String> = (0..2).map(|_| room.run_short(&["graph", "--format", "svg"]).stdout).collect();
    assert_eq!(again.len(), 1);
}

// ---- in a browser

/// Runs headless Chromium on the board in `board.html`, at a fragment of its address.
fn browse(room: &Sandbox, fragment: &str, more: &[&str]) -> String {
    let address = format!("file://{}{fragment}", room.repo().join("board.html").display());
    browse_at(room, &address, &[more, &["--virtual-time-budget=5000"]].concat())
}

fn browse_at(room: &Sandbox, address: &str, more: &[&str]) -> String {
    let profile = format!("--user-data-dir={}", room.beside("profile").display());
    let fixed = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"];
    let mut command = room.sealed("chromium", &room.repo());
    let shown = command.args(fixed).arg(profile).args(more).arg(address).stderr(Stdio::null()).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    String::from_utf8(shown.stdout).unwrap()
}

/// The view that the script made.
#[track_caller]
fn view_of(dom: &str) -> &str {
    between(dom, "<main id=\"view\">", "</main>")
}

fn is_picture(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000)
}

#[test]
fn a_browser_shows_thousands_of_tasks_finds_words_and_runs_no_title() {
    crate::machine::needs!("chromium");
    let tasks = rounds(10_000);
    let room = Sandbox::new();
    room.at(NOW);
    let attacks = HOSTILE.iter().map(|text| json!({ "op": "task.create", "args": { "title": text, "intent": text } }));
    let plain = (0..tasks).map(|n| json!({ "op": "task.create", "args": { "title": format!("plain task {n}") } }));
    let ops: Vec<Value> = attacks.chain(plain).collect();
    let made = room.feed(&["batch", "--file", "-"], json!(ops).to_string().as_bytes()).data();
    let id = |n: usize| made["items"][n]["id"].as_str().unwrap().to_owned();
    let (done, shown) = (id(900), id(0));
    room.run(&["claim", &done]).data();
    room.run(&["done", &done]).data();
    room.run(&["claim", &id(901)]).data();
    room.run_short(&["export", "--format", "html", "--output", "board.html", "--json"]).data();

    let dom = browse(&room, "", &["--dump-dom"]);
    assert!(dom.contains("<title>agentpm board</title>"), "no title ran");
    let board = view_of(&dom);
    assert_eq!(board.matches("class=\"card open\"").count(), 100, "the first cards of a column");
    assert_eq!(board.matches("class=\"card completed\"").count(), 0, "closed tasks are rendered on demand");
    assert!(board.contains("held by ada") && board.contains(">Show 1 task</button>"), "{}", &board[..2_000]);
    let text = "&lt;/script&gt;&lt;script&gt;document.title='owned'&lt;/script&gt;";
    assert!(board.contains(text) && !board.contains("<script") && !board.contains("<img"), "{}", &board[..2_000]);

    let dom = browse(&room, "#q=TASK+777", &["--dump-dom"]);
    let found = view_of(&dom);
    let wanted: Vec<String> = (0..tasks).map(|n| n.to_string()).filter(|n| n.contains("777")).collect();
    assert_eq!(found.matches("class=\"card ").count(), wanted.len(), "{found}");
    assert!(wanted.iter().all(|n| found.contains(&format!("plain task {n}<"))), "{found}");

    let dom = browse(&room, &format!("#t-{shown}"), &["--dump-dom"]);
    let task = view_of(&dom);
    assert!(task.contains("<h2>Intent</h2>") && task.contains("created the task") && task.contains(text), "{task}");
    assert!(dom.contains("document.title='owned'&lt;/script&gt;</title>"), "the title of the page names the task");
    let dom = browse(&room, "#graph", &["--dump-dom"]);
    assert_eq!(view_of(&dom).matches("<rect").count(), 300);
    let dom = browse(&room, "#held", &["--dump-dom"]);
    assert!(view_of(&dom).contains("2026-11-20T10:10:00Z"));

    let file = room.repo().join("board.png");
    browse(&room, "", &[&format!("--screenshot={}", file.display())]);
    assert!(is_picture(&file));
}

/// What a person does with the keys, and what the page shows after each step, a line each.
const KEYS: &str = r##"
addEventListener("load", async () => {
  const seen = [];
  const $ = (id) => document.getElementById(id);
  const cards = () => document.querySelectorAll("#view .card").length;
  const press = async (key) => {
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    await new Promise((next) => setTimeout(next, 200));
  };
  const note = (...words) => seen.push(words.join(" "));
  await press("j");
  await press("j");
  await press("k");
  note("focus", document.activeElement.textContent.slice(0, 5));
  document.activeElement.click();
  await press("Shift");
  note("opened", document.querySelector("#view h1").textContent);
  await press("Escape");
  note("back", cards());
  await press("/");
  note("focus", document.activeElement.id);
  $("search").value = "drop";
  $("search").dispatchEvent(new Event("input"));
  await press("Enter");
  note("found", location.hash, cards(), document.activeElement.className);
  await press("Escape");
  note("cleared", `[${location.hash}]`, `[${$("search").value}]`, cards());
  document.querySelector(".completed button").click();
  note("closed", document.querySelectorAll(".card.completed").length);
  await press("?");
  note("help", $("help").open);
  $("help").close();
  await press("h");
  note("held", document.querySelectorAll("#view tbody tr").length);
  await press("g");
  note("graph", document.querySelectorAll("#view rect").length);
  for (let n = 0; n < 3; n += 1) {
    $("theme").click();
    note("colors", document.documentElement.dataset.theme ?? "as the system");
  }
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = seen.join("\n");
  document.body.append(result);
});
"##;

#[test]
fn keys_lead_through_the_board() {
    crate::machine::needs!("chromium");
    let (room, _) = plan();
    let page = page_of(&room);
    let policy = between(&page, "<meta http-equiv", ">").to_owned();
    // The page admits no script but its own.
    let open = page.replacen(&format!("<meta http-equiv{policy}>"), "", 1);
    std::fs::write(room.repo().join("board.html"), open + "<script>" + KEYS + "</script>").unwrap();
    let dom = browse(&room, "", &["--dump-dom"]);
    let seen: Vec<&str> = between(&dom, "<pre id=\"result\">", "</pre>").lines().collect();
    assert_eq!(
        seen,
        [
            "focus The w",
            "opened The whole",
            "back 3",
            "focus search",
            "found #q=drop 1 card cancelled",
            "cleared [] [] 3",
            "closed 1",
            "help true",
            "held 1",
            "graph 3",
            "colors light",
            "colors dark",
            "colors as the system"
        ]
    );
}

/// Answers the requests of a page as a server does: the board as it was, from the second time on as it is, and a stream of one
/// event. It ends with that, for the browser's clock stands still while it waits for an answer.
fn serve(before: String, after: String) -> std::net::SocketAddr {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut board = before;
        for connection in listener.incoming().map_while(Result::ok) {
            let mut request = BufReader::new(&connection).lines().map_while(Result::ok);
            let first = request.next().unwrap_or_default();
            request.take_while(|line| !line.is_empty()).for_each(drop);
            let (kind, body) = match first.split(' ').nth(1) {
                Some("/") => ("text/html; charset=utf-8", std::mem::replace(&mut board, after.clone())),
                Some("/events/stream") => {
                    ("text/event-stream", ": hello\n\nid: 1\nevent: TaskUpdated\ndata: {}\n\n".into())
                }
                _ => ("text/plain", String::new()),
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
            // A browser that has read enough closes the connection.
            let _ = (&connection).write_all((head + &body).as_bytes());
        }
    });
    address
}

#[test]
fn a_live_board_shows_what_has_happened_since_it_was_opened() {
    crate::machine::needs!("chromium");
    let (room, ids) = plan();
    let before = live_page(&room);
    room.run(&["task", "update", &ids["whole"], "--title", "The new whole"]).data();
    let address = format!("http://{}/", serve(before, live_page(&room)));
    // The event counts after half a second; after one, the page would connect again and read the board anyway.
    let dom = browse_at(&room, &address, &["--dump-dom", "--virtual-time-budget=900"]);
    assert!(view_of(&dom).contains("The new whole"), "{}", view_of(&dom));
}
