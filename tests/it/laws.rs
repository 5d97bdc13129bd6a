//! The laws of the fold and of the files, over random histories. A failing case prints its seed.

use agentpm::model::event::{Entity, Entry, parse_line};
use agentpm::model::id::Id;
use agentpm::model::task::Task;
use agentpm::model::yaml::{render_task, render_value};
use agentpm::rules::fold::fold;
use agentpm::rules::register::{below, heads_of};
use agentpm::store::edited::{differing_parts, names_of, parse, value_of, with_parts};
use agentpm::store::log::{Log, union};
use agentpm::store::yaml;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::sandbox::{plays_all, rounds};

const TASK: &str = "01K5R4XJ7Z0000000000000000";

fn task() -> Id {
    TASK.parse().unwrap()
}

fn id(n: u64) -> String {
    format!("01K5R4XJ7Z{n:016}")
}

/// Texts that have broken parsers before, and any others.
fn text() -> impl Strategy<Value = String> {
    let known = select(vec![
        "",
        " ",
        "yes",
        "No",
        "null",
        "~",
        "1e3",
        "0x1F",
        "1_000",
        "12:30:45",
        "2026-11-20",
        "2026-11-20T10:00:00Z",
        "=",
        "<<",
        "- a",
        "? a",
        ": a",
        "a: b",
        "a #b",
        "# a",
        "@a",
        "`a`",
        "%a",
        "!a",
        "&a",
        "*a",
        "|",
        ">",
        "'a'",
        "\"a\"",
        "[a]",
        "{a}",
        "a,b",
        "trailing ",
        " leading",
        "tab\there",
        "line\nline",
        "line\n\n  indented\nline\n",
        "\n",
        "\n\nx",
        "x\n\n",
        " \nx",
        "x\n ",
        "a\r\nb",
        "\u{85}",
        "\u{2028}x\u{2029}",
        "\u{FEFF}bom",
        "\u{202E}turned",
        "\u{200B}",
        "\u{7f}",
        "\u{1b}]52;c;x\u{7}",
        "\u{0}",
        "日本語",
        "🦀",
        "e\u{301}",
        "...",
        "---",
        "--- a",
        "\\",
        "\\n",
        "key:",
        ":",
        "-",
        "?",
        "0o17",
        "0b1",
        ".inf",
        ".nan",
        "+1",
        "-1",
        "0.1e-5",
    ])
    .prop_map(str::to_owned);
    prop_oneof![3 => known, 2 => any::<String>(), 1 => "[a-z \n#:'\"-]{0,40}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1.0e6..1.0e6).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// What an event of any type may say, sensible or not.
fn payload() -> impl Strategy<Value = (&'static str, Value)> {
    let item = (0u64..12).prop_map(id);
    let status = || select(vec!["open", "in_progress", "blocked", "completed", "cancelled", "archived"]);
    let some_time = || select(vec![Value::Null, json!("2026-01-01T00:00:00Z")]);
    prop_oneof![
        (text(), text(), -9i64..9, value()).prop_map(|(title, intent, priority, more)| (
            "TaskCreated",
            json!({"title": title, "intent": intent, "priority": priority, "metadata": {"m": more}})
        )),
        (text(), value()).prop_map(|(title, v)| ("TaskUpdated", json!({"set": {"title": title, "metadata.k": v}}))),
        prop::collection::vec(text(), 0..4)
            .prop_map(|list| ("TaskUpdated", json!({"set": {"labels": list, "acceptance": list}}))),
        (text(), value()).prop_map(|(name, v)| ("TaskUpdated", json!({"set": {name: v}}))),
        (status(), status(), select(vec![json!(null), json!("ada"), json!("bob")]))
            .prop_map(|(from, to, owner)| ("TaskStatusChanged", json!({"from": from, "to": to, "owner": owner}))),
        (status(), some_time()).prop_map(|(from, at)| ("TaskArchived", json!({"from": from, "completed_at": at}))),
        (status(), status()).prop_map(|(from, to)| ("TaskReopened", json!({"from": from, "to": to}))),
        (select(vec!["parent_of", "blocks"]), item.clone())
            .prop_map(|(kind, from)| ("RelationshipAdded", json!({"type": kind, "from": from, "to": TASK}))),
        (select(vec!["relates_to", "duplicates"]), item.clone(), value()).prop_map(|(kind, to, m)| (
            "RelationshipAdded",
            json!({"type": kind, "from": TASK, "to": to, "metadata": m})
        )),
        item.clone().prop_map(|r| ("RelationshipRemoved", json!({"relationship": r}))),
        (text(), some_time()).prop_map(|(c, at)| ("ProgressItemAdded", json!({"content": c, "completed_at": at}))),
        item.clone().prop_map(|i| ("ProgressItemCompleted", json!({"item": i}))),
        item.clone().prop_map(|i| ("ProgressItemReopened", json!({"item": i}))),
        (select(vec!["decision", "note", "user_input"]), text(), value())
            .prop_map(|(kind, c, m)| ("ContextAdded", json!({"type": kind, "content": c, "metadata": m}))),
        (item.clone(), item.clone()).prop_map(|(entry, by)| ("ContextSuperseded", json!({"entry": entry, "by": by}))),
        item.clone().prop_map(|entry| ("ContextRedacted", json!({"entry": entry}))),
        (text(), any::<bool>())
            .prop_map(|(criterion, met)| ("AcceptanceMet", json!({"criterion": criterion, "met": met}))),
        any::<bool>().prop_map(|passed| ("TaskVerified", json!({"passed": passed}))),
        (any::<bool>(), 1..9u64)
            .prop_map(|(passed, of)| ("TaskVerified", json!({"passed": passed, "completion": id(of)}))),
        (item.clone(), 0u64..5).prop_map(|(lease, fence)| (
            "LeaseAcquired",
            json!({"lease": lease, "holder": "ada", "fence": fence, "expires_at": "2026-01-01T00:00:00Z"})
        )),
        (text(), value()).prop_map(|(body, patch)| ("ThreadOpened", json!({"body": body, "patch": patch}))),
        (item.clone(), item.clone(), text()).prop_map(|(thread, parent, body)| (
            "ThreadReplied",
            json!({"thread": thread, "parent": parent, "body": body})
        )),
        (item.clone(), select(vec!["accept", "reject", "supersede"]), text(), value()).prop_map(
            |(thread, how, title, v)| (
                "ThreadResolved",
                json!({"thread": thread, "resolution": how, "set": {"title": title, "metadata.k": v}})
            )
        ),
        item.clone().prop_map(|thread| ("ThreadEscalated", json!({"thread": thread, "to": "bob"}))),
        value().prop_map(|v| ("TaskDreamed", v)),
        value().prop_map(|v| ("TaskUpdated", json!({"set": {"title": v}}))),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let lamport = prop_oneof![8 => 0u64..12, 1 => select(vec![1 << 40, (1 << 53) - 1, 1 << 53, u64::MAX])];
    let entity = prop_oneof![9 => Just(format!("task/{TASK}")), 1 => Just(format!("task/{}", id(3)))];
    let parents = prop::collection::vec(0u64..12, 0..3);
    let fence = prop_oneof![3 => Just(None), 1 => (0u64..5).prop_map(Some)];
    let at = select(vec!["2026-11-20T10:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z"]);
    let why = select(vec![None, Some("it is so"), Some("hand edit")]);
    ((0u64..12, lamport, entity, parents), (fence, at, why, payload())).prop_map(
        |((n, lamport, entity, parents), (fence, at, why, (kind, payload)))| {
            let mut event = json!({"v": 1, "id": id(n), "lamport": lamport, "type": kind, "entity": entity,
                "parents": parents.into_iter().map(id).collect::<Vec<_>>(), "agent": "ada", "at": at, "payload": payload});
            if let Some(fence) = fence {
                event["fence"] = json!(fence);
            }
            if let Some(why) = why {
                event["why"] = json!(why);
            }
            event.to_string()
        },
    )
    .prop_filter_map("the reader refuses it, so it never reaches the fold", |line| {
        Some(Entry { event: parse_line(&line).ok()?, line: line.into() })
    })
}

/// Events of one kind of history, many of which resolve few threads without having seen each other.
fn thread_history() -> impl Strategy<Value = Vec<Entry>> {
    let resolution =
        (0u64..3, select(vec!["accept", "reject"]), -5i64..6, select(vec!["priority", "estimate", "title"])).prop_map(
            |(thread, how, n, field)| {
                let value = if field == "priority" { json!(n) } else { json!(n.to_string()) };
                ("ThreadResolved", json!({"thread": id(thread), "resolution": how, "set": {field: value}}))
            },
        );
    let update = (-5i64..6).prop_map(|n| ("TaskUpdated", json!({"set": {"priority": n}})));
    let event = (prop_oneof![3 => resolution, 1 => update], prop::collection::vec(0u64..12, 1..3), -1i64..2);
    prop::collection::vec(event, 1..9).prop_map(|events| {
        let line = |n: u64, parents: Vec<u64>, precedence: i64, kind: &str, payload: Value| {
            let parents: std::collections::BTreeSet<u64> =
                parents.into_iter().map(|parent| parent % n.max(1)).collect();
            let parents: Vec<String> = parents.into_iter().filter(|_| n > 0).map(id).collect();
            let line = json!({"v": 1, "id": id(n), "lamport": n + 1, "type": kind, "entity": format!("task/{TASK}"),
                "parents": parents, "agent": "ada", "at": "2026-11-20T10:00:00Z", "precedence": precedence,
                "payload": payload})
            .to_string();
            Entry { event: parse_line(&line).unwrap(), line: line.into() }
        };
        let open = |n: u64| line(n, vec![n.saturating_sub(1)], 0, "ThreadOpened", json!({"body": "x"}));
        let mut all: Vec<Entry> = (0..3).map(open).collect();
        all.push(line(3, vec![2], 0, "TaskCreated", json!({"title": "t"})));
        for (n, ((kind, payload), parents, precedence)) in events.into_iter().enumerate() {
            let n = n as u64 + 4;
            // Nothing comes before the threads and the task.
            let parents = parents.into_iter().map(|parent| 3 + parent % (n - 3)).collect();
            all.push(line(n, parents, precedence, kind, payload));
        }
        all
    })
}

/// A discussion as replicas write it: each event follows what its replica had seen, and each replica has a precedence.
fn discussion() -> impl Strategy<Value = Vec<Entry>> {
    let small = || -5i64..6;
    let thread = || (0u64..3).prop_map(id);
    let deed = prop_oneof![
        (thread(), select(vec!["accept", "reject", "supersede"]), small()).prop_map(|(thread, how, n)| (
            "ThreadResolved",
            json!({"thread": thread, "resolution": how, "set": {"priority": n, "metadata.k": n}})
        )),
        thread().prop_map(|thread| ("ThreadReplied", json!({"thread": thread, "body": "y"}))),
        (thread(), select(vec!["eve", "lead"]))
            .prop_map(|(thread, to)| ("ThreadEscalated", json!({"thread": thread, "to": to}))),
        small().prop_map(|n| ("TaskUpdated", json!({"set": {"priority": n}}))),
        select(vec![
            ("open", "in_progress"),
            ("in_progress", "completed"),
            ("open", "cancelled"),
            ("in_progress", "open")
        ])
        .prop_map(|(from, to)| ("TaskStatusChanged", json!({"from": from, "to": to, "owner": "ada"}))),
        select(vec!["completed", "cancelled"]).prop_map(|from| ("TaskReopened", json!({"from": from, "to": "open"}))),
    ];
    // Who writes, and whether it fetches from the next replica first.
    let step = (0usize..3, any::<bool>(), deed);
    (prop::collection::vec(step, 1..16), [-1i64..3, -1i64..3, -1i64..3]).prop_map(|(steps, precedences)| {
        let line = |n: u64, lamport: u64, parents: &[String], precedence: i64, kind: &str, payload: &Value| {
            let line = json!({"v": 1, "id": id(n), "lamport": lamport, "type": kind, "entity": format!("task/{TASK}"),
                "parents": parents, "agent": "ada", "at": "2026-11-20T10:00:00Z", "precedence": precedence,
                "payload": payload})
            .to_string();
            Entry { event: parse_line(&line).unwrap(), line: line.into() }
        };
        // Three threads and the task, which each replica has.
        let mut all = vec![line(9, 1, &[], 0, "TaskCreated", &json!({"title": "t"}))];
        let open =
            |n: u64| line(n, n + 2, &[id(if n == 0 { 9 } else { n - 1 })], 0, "ThreadOpened", &json!({"body": "x"}));
        all.extend((0..3).map(open));
        let mut seen: [Vec<Entry>; 3] = std::array::from_fn(|_| all.clone());
        for (n, (who, fetches, (kind, payload))) in steps.into_iter().enumerate() {
            if fetches {
                let other = seen[(who + 1) % 3].clone();
                let known: std::collections::BTreeSet<Id> = seen[who].iter().map(|e| e.event.id).collect();
                seen[who].extend(other.into_iter().filter(|e| !known.contains(&e.event.id)));
            }
            let heads: Vec<String> = heads_of(&seen[who]).iter().map(ToString::to_string).collect();
            let lamport = seen[who].iter().map(|e| e.event.lamport).max().unwrap_or(0) + 1;
            // Ids do not follow the clocks.
            let new = line(10 + (n as u64 * 7) % 16, lamport, &heads, precedences[who], kind, &payload);
            seen[who].push(new.clone());
            all.push(new);
        }
        all
    })
}

#[test]
fn replicas_that_discuss_with_precedences_converge() {
    let cases = if plays_all() { 100_000 } else { 1_000 };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let histories = (discussion(), any::<[prop::sample::Index; 3]>(), any::<[prop::sample::Index; 6]>());
    let end = |entries: &[Entry]| {
        let (task, findings) = fold(task(), entries);
        let overruled: Vec<usize> = task.threads.values().map(|thread| thread.overruled.len()).collect();
        (render_task(&task), findings.len(), overruled)
    };
    let outcome = TestRunner::new(config).run(&histories, |(all, tips, merges)| {
        let written = |entries: &[Entry]| Log::of(&[]).canonical(entries);
        // Three replicas, each with an event and what it follows, and one that has everything.
        let of_tip = |tip: &prop::sample::Index| written(&below(&all, &[all[tip.index(all.len())].event.id]));
        let mut logs: Vec<Vec<u8>> = tips.iter().map(of_tip).chain([written(&all)]).collect();
        for merge in merges {
            let (into, from) = (merge.index(4), merge.index(7) % 4);
            logs[into] = union(&logs[into], &logs[from]);
        }
        let everything = logs[3].clone();
        let expected = end(&all);
        for log in logs {
            // As git's union merge leaves it: the lines of both sides, in any order, some of them twice.
            let merged = [&log[..], &everything[..]].concat();
            prop_assert_eq!(&end(&Log::of(&merged).entries), &expected);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
}

fn history() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(entry(), 0..25)
}

fn rendered(entries: &[Entry]) -> String {
    render_task(&fold(task(), entries).0)
}

/// The YAML as a second, unrelated reader understands it.
fn second_reader(text: &str) -> Value {
    yaml_serde::from_str(text).unwrap_or_else(|e| panic!("the second reader refuses it: {e}\n{text}"))
}

fn texts_of(task: &Task) -> Vec<(String, Value)> {
    let f = &task.fields;
    let mut expected = vec![("title".to_owned(), json!(f.title)), ("created_by".to_owned(), json!(task.created_by))];
    expected.extend(f.intent.iter().map(|intent| ("intent".to_owned(), json!(intent))));
    if !f.metadata.is_empty() {
        expected.push(("metadata".into(), Value::Object(f.metadata.clone())));
    }
    if !f.labels.is_empty() {
        expected.push(("labels".into(), json!(f.labels)));
    }
    expected.extend(f.extra.iter().map(|(name, value)| (name.clone(), value.clone())));
    expected
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(5_000) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fold_never_fails_and_the_order_of_lines_is_of_no_account(
        (entries, shuffled) in history().prop_flat_map(|h| (Just(h.clone()), Just(h).prop_shuffle()))
    ) {
        let (state, findings) = fold(task(), &entries);
        let (other, other_findings) = fold(task(), &shuffled);
        prop_assert_eq!(render_task(&state), render_task(&other));
        prop_assert_eq!(state, other);
        prop_assert_eq!(findings.len(), other_findings.len());
    }

    #[test]
    fn one_resolution_of_a_thread_counts_and_the_values_of_the_others_do_not(
        (entries, shuffled) in thread_history().prop_flat_map(|h| (Just(h.clone()), Just(h).prop_shuffle()))
    ) {
        let (state, _) = fold(task(), &entries);
        prop_assert_eq!(&state, &fold(task(), &shuffled).0);
        let counts: Vec<Id> = state.threads.values().filter_map(|t| Some(t.resolved.as_ref()?.event)).collect();
        // Without the resolutions that do not count, the fields are the same.
        let is_void = |e: &Entry| e.event.payload.kind() == "ThreadResolved" && !counts.contains(&e.event.id);
        let as_notes = entries.iter().map(|e| {
            if !is_void(e) {
                return e.clone();
            }
            let mut line: Value = serde_json::from_str(&e.line).unwrap();
            (line["type"], line["payload"]) = (json!("TaskDreamed"), json!({}));
            let line = line.to_string();
            Entry { event: parse_line(&line).unwrap(), line: line.into() }
        });
        let without = fold(task(), &as_notes.collect::<Vec<Entry>>()).0;
        prop_assert_eq!(&state.fields, &without.fields);
        prop_assert_eq!(&state.stamps, &without.stamps);
    }

    #[test]
    fn doubled_lines_change_nothing(entries in history()) {
        let doubled: Vec<Entry> = entries.iter().chain(&entries).cloned().collect();
        prop_assert_eq!(rendered(&entries), rendered(&doubled));
    }

    #[test]
    fn a_log_survives_being_written_in_its_plain_form(entries in history()) {
        let text: String = entries.iter().map(|e| format!("{}\n", e.line)).collect();
        let log = Log::read(text.as_bytes()).unwrap();
        let plain = log.canonical(&[]);
        let again = Log::read(&plain[..]).unwrap();
        prop_assert!(!again.rough && !again.unsorted);
        prop_assert_eq!(again.canonical(&[]), plain);
        prop_assert_eq!(rendered(&log.entries), rendered(&again.entries));
        for entry in &entries {
            prop_assert!(again.entries.iter().any(|e| e.line == entry.line), "a line was lost or changed");
        }
    }

    #[test]
    fn two_yaml_readers_parse_a_task_alike(entries in history()) {
        let (state, _) = fold(task(), &entries);
        let text = render_task(&state);
        let first = yaml::read_value(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        let second = second_reader(&text);
        prop_assert_eq!(&first, &second, "{}", text);
        for (name, expected) in texts_of(&state) {
            prop_assert_eq!(&first[&name], &expected, "{} in\n{}", name, text);
        }
        prop_assert!(!text.lines().any(|line| !line.is_empty() && line.trim().is_empty()), "a line of spaces in\n{}", text);
    }

    #[test]
    fn any_text_and_any_value_comes_back_as_it_went_in(name in text(), value in value()) {
        let text = render_value(&name, &value);
        let expected = json!({ name: value });
        prop_assert_eq!(&yaml::read_value(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?, &expected, "{}", text);
        prop_assert_eq!(&second_reader(&text), &expected, "{}", text);
    }

    #[test]
    fn diff_names_the_changed_parts_of_two_states(entries in history(), cut in 0usize..25) {
        let entity = Entity::Task(task());
        let ordered: Vec<Entry> = agentpm::rules::fold::order(&entity, &entries).events.into_iter().cloned().collect();
        let (before, after) = (rendered(&ordered[..cut.min(ordered.len())]), rendered(&ordered));
        let (old, new) = (parse(&before).unwrap(), parse(&after).unwrap());
        let parts = differing_parts(&new, &old);
        for part in &parts {
            prop_assert_ne!(value_of(&new, part), value_of(&old, part), "{}", part);
        }
        let led = with_parts(&old, &new, &parts);
        prop_assert_eq!(names_of(&differing_parts(&led, &new)), Vec::<String>::new(), "\n{}\n{}", before, after);
    }
}
