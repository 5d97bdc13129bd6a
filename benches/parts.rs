//! What the inner parts cost, without processes and disk: folding a log, reading it, reading and writing a `task.yaml`, merging two.
//!
//! ```text
//! cargo bench --bench parts
//! ```

use agentpm::model::context::ContextType;
use agentpm::model::event::{Author, ENVELOPE_VERSION, Entity, Entry, Event};
use agentpm::model::id::Id;
use agentpm::model::payload::{ContextAdded, Payload, ProgressItemAdded, TaskCreated, TaskUpdated};
use agentpm::model::time::Time;
use agentpm::model::yaml::render_task;
use agentpm::rules::fold::fold;
use agentpm::store::edited::parse;
use agentpm::store::log::Log;
use agentpm::store::merge::merge;
use divan::{Bencher, black_box};
use serde_json::{Value, json};

/// Events of a small task, and of one that was worked on for long.
const EVENTS: [usize; 2] = [5, 1_000];
const BEGUN: u64 = 1_735_689_600_000;

fn main() {
    divan::main();
}

fn id(n: usize) -> Id {
    Id::from_parts(BEGUN + n as u64, n as u128)
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    let Value::Object(fields) = value else { unreachable!("an object was written") };
    fields
}

/// A log of so many events. `side` makes those after the first half other ones, which nobody has seen together with its own.
fn log(events: usize, side: usize) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(events);
    for n in 0..events {
        let own = if n > events / 2 { side * events } else { 0 };
        let payload = match n % 4 {
            0 if n == 0 => Payload::TaskCreated(TaskCreated {
                fields: object(json!({ "title": "a task", "intent": "What is to be done, and why it matters." })),
            }),
            0 => Payload::TaskUpdated(TaskUpdated::new(object(json!({ "title": format!("a task {n} {side}") })))),
            1 => Payload::ProgressItemAdded(ProgressItemAdded {
                content: format!("step {n}"),
                completed_at: None,
                created_at: None,
            }),
            _ => Payload::ContextAdded(ContextAdded {
                kind: ContextType::Decision,
                content: format!("decision {n}: as it was done before, but shorter"),
                metadata: Value::Null,
                created_at: None,
            }),
        };
        let event = Event {
            v: ENVELOPE_VERSION,
            id: id(1 + n + own),
            lamport: 1 + n as u64,
            entity: Entity::Task(id(0)),
            parents: entries.last().map(|last| last.event.id).into_iter().collect(),
            author: Author { agent: "bench".into(), ..Author::default() },
            at: Time::from_millis((BEGUN + n as u64) as i64),
            fence: None,
            precedence: None,
            why: None,
            payload,
            sig: None,
        };
        entries.push(Entry::new(event).expect("an event that can be read back"));
    }
    entries
}

fn yaml(events: usize, side: usize) -> String {
    render_task(&fold(id(0), &log(events, side)).0)
}

#[divan::bench(args = EVENTS)]
fn fold_a_log(bencher: Bencher, events: usize) {
    let entries = log(events, 0);
    bencher.bench(|| fold(id(0), black_box(&entries)));
}

#[divan::bench(args = EVENTS)]
fn read_a_log(bencher: Bencher, events: usize) {
    let text: String = log(events, 0).iter().flat_map(|entry| [&*entry.line, "\n"]).collect();
    bencher.bench(|| Log::read(black_box(text.as_bytes())).expect("a log"));
}

#[divan::bench(args = EVENTS)]
fn read_a_task_yaml(bencher: Bencher, events: usize) {
    let text = yaml(events, 0);
    bencher.bench(|| parse(black_box(&text)).expect("a task"));
}

#[divan::bench(args = EVENTS)]
fn write_a_task_yaml(bencher: Bencher, events: usize) {
    let (task, _) = fold(id(0), &log(events, 0));
    bencher.bench(|| render_task(black_box(&task)));
}

/// As the merge driver does it where git does not name the logs: three texts in, one out.
#[divan::bench(args = EVENTS)]
fn merge_two_task_yamls(bencher: Bencher, events: usize) {
    let base = render_task(&fold(id(0), &log(events, 0)[..=events / 2]).0);
    let texts = [base, yaml(events, 1), yaml(events, 2)];
    bencher.bench(|| {
        let [base, ours, theirs] = black_box(&texts);
        merge(base, ours, theirs)
    });
}
