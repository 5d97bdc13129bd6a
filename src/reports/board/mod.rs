//! The board: the plan as one HTML page that needs nothing else.
//!
//! Guarantees that no text of others is markup or script, that the page loads nothing, and that the same tasks give the same
//! bytes. Without JavaScript the page is a list.
//! Leaves to others: which tasks there are, and what is around them.

pub mod graph;
pub mod layout;
mod markup;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use self::graph::{Node, Place, svg};
pub use self::markup::Take;
use self::markup::{base64, fill, status_words, text};
use crate::error::Result;
use crate::model::agent::Lease;
use crate::model::event::{self, Event};
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::payload::Payload;
use crate::model::plain::escape;
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::reports::event_words::{deed, describe};
use crate::reports::extent::{Bounds, Cuts, Entry, Extent, Shown};
use crate::reports::thread::ThreadView;
use crate::reports::view::{Around, TaskView};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("board.css");
const SCRIPT: &str = include_str!("board.js");

/// The bytes of a list of every task together, at most; a task has at least and at most so many of them.
const ALL_LISTS: usize = 32 << 20;
const MIN_LIST: usize = 2 << 10;
const MAX_LIST: usize = 16 << 10;
/// The most tasks that a task is shown to wait for.
const NAMED: usize = 50;

/// A task on the board.
#[derive(Clone, Debug)]
pub struct Card {
    node: Node,
    priority: i64,
    updated_at: Time,
    lease: Option<(String, Time)>,
    blocked_by: Vec<Id>,
    /// All that its page shows, as JSON for a script element.
    json: String,
}

/// What the page of a task shows besides the task.
#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    task: TaskView,
    lease: Option<&'a Lease>,
    blocked_by: &'a [Id],
    threads: Vec<Shown<ThreadView>>,
    history: Vec<Shown<Deed>>,
}

/// An event in the history of a task.
#[derive(Clone, Debug, Serialize)]
struct Deed {
    at: Time,
    agent: String,
    deed: String,
    why: Option<String>,
}

impl Entry for Deed {
    fn cut(&mut self, cuts: &mut Cuts) {
        cuts.text("deed", &mut self.deed);
        self.why.iter_mut().for_each(|why| cuts.text("why", why));
    }
}

impl Entry for ThreadView {
    /// It is bounded already.
    fn cut(&mut self, _: &mut Cuts) {}
}

/// How much of each task a board of so many tasks shows.
pub fn extent(tasks: usize) -> Extent {
    Extent::Within((ALL_LISTS / tasks.max(1)).clamp(MIN_LIST, MAX_LIST))
}

impl Card {
    /// The card of a task with its log.
    pub fn new(task: &Task, around: &Around, log: &[event::Entry], extent: Extent) -> Self {
        let mut bounds = Bounds::new(extent);
        let thread = |thread| ThreadView { title: String::new(), ..ThreadView::new(task, thread, part_of(extent)) };
        let threads = task.threads.values().map(thread);
        let threads = bounds.list("threads", threads, |thread| u8::from(thread.resolution.is_some()));
        let mut events: Vec<&Event> = log.iter().map(|entry| &entry.event).collect();
        events.sort_by_key(|event| event.stamp());
        let history = bounds.list("history", events.into_iter().map(Deed::of), |_| 0);
        let mut view = TaskView::new(task, around, extent);
        view.left_out.extend(bounds.finish());
        let blocked_by: Vec<Id> = around.blocked_by.iter().map(|blocker| blocker.id).collect();
        let node = Node {
            id: task.id,
            handle: around.handle.clone(),
            title: view.title().to_owned(),
            status: view.status,
            owner: view.owner.clone(),
            parent: view.parent,
        };
        let lease = around.lease.as_ref().map(|lease| (lease.agent.clone(), lease.expires_at));
        let page = Page {
            task: view,
            lease: around.lease.as_ref(),
            blocked_by: &blocked_by[..blocked_by.len().min(NAMED)],
            threads,
            history,
        };
        Card {
            node,
            priority: task.fields.priority,
            updated_at: task.updated_at,
            lease,
            // Plain data can be written as JSON. Within a script element no other character begins markup.
            json: shown(serde_json::to_value(page).unwrap_or_default(), false).to_string().replace('<', "\\u003c"),
            blocked_by,
        }
    }

    /// The order within a column: the most urgent first, of closed tasks the newest.
    fn order(&self) -> (Status, i64, i64, Id) {
        let Node { status, id, .. } = self.node;
        let newest = if status.is_finished() { -self.updated_at.millis() } else { 0 };
        (status, newest, -self.priority, id)
    }
}

/// A thread gets a part of the room of all threads, so that the newest is shown even where its texts are long.
fn part_of(extent: Extent) -> Extent {
    match extent {
        Extent::Within(bytes) => Extent::Within(bytes / 4),
        other => other,
    }
}

impl Deed {
    fn of(event: &Event) -> Self {
        // What other events add is on the page itself.
        let sets = matches!(event.payload, Payload::TaskUpdated(_));
        let deed = if sets { describe(&event.payload, |_| None) } else { deed(&event.payload) };
        Deed { at: event.at, agent: event.author.agent.clone(), deed, why: event.why.clone() }
    }
}

/// A value as the page shows it: texts escaped, and without what is empty, except in data that agents keep.
fn shown(value: Value, exact: bool) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    match value {
        Value::String(text) => Value::String(lines(&text)),
        Value::Array(list) => list.into_iter().map(|value| shown(value, exact)).collect(),
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| exact || !is_empty(value));
            let one = |(key, value): (String, Value)| {
                let exact = exact || matches!(key.as_str(), "metadata" | "patch");
                (escape(&key), shown(value, exact))
            };
            Value::Object(kept.map(one).collect::<Map<String, Value>>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// A text, each of its lines escaped.
fn lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// Gives the page to `take` piece by piece. A live one reads itself again from the server when events arrive.
///
/// Errors: those of `take`.
pub fn page(mut cards: Vec<Card>, at: Time, live: bool, take: Take<'_>) -> Result<()> {
    cards.sort_by_key(Card::order);
    let style = format!("{}{STYLE}", graph::STYLE);
    let hash = |text: &str| format!("'sha256-{}'", base64(&Sha256::digest(text.as_bytes())));
    let connect = if live { "connect-src 'self'; " } else { "" };
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; {connect}base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(&style)
    );
    let count = if cards.len() == 1 { "1 task".to_owned() } else { format!("{} tasks", cards.len()) };
    fill(PAGE, take, |name, take| match name {
        "policy" => take(&policy),
        "style" => take(&style),
        "script" => take(SCRIPT),
        "summary" => take(&format!("{count}, as of {at}")),
        "list" => list(take, &cards),
        "graph" => take(&picture(&cards)),
        "data" => data(take, &cards, at, live),
        other => unreachable!("page.html has no place {other}"),
    })
}

/// What the script reads.
fn data(take: Take<'_>, cards: &[Card], at: Time, live: bool) -> Result<()> {
    take(&format!("{{\"live\":{live},\"at\":{},\"tasks\":[", json!(at)))?;
    for (n, card) in cards.iter().enumerate() {
        take(if n > 0 { ",\n" } else { "" })?;
        take(&card.json)?;
    }
    take("]}")
}

/// The graph of the unfinished tasks.
fn picture(cards: &[Card]) -> String {
    let unfinished: Vec<&Card> = cards.iter().filter(|card| !card.node.status.is_finished()).collect();
    let nodes: Vec<Node> = unfinished.iter().map(|card| card.node.clone()).collect();
    let blocks = unfinished.iter().flat_map(|card| card.blocked_by.iter().map(|blocker| (*blocker, card.node.id)));
    svg(&nodes, &blocks.collect::<Vec<_>>(), Place::Page)
}

/// The tasks as a list, for readers without JavaScript.
fn list(take: Take<'_>, cards: &[Card]) -> Result<()> {
    let handles: BTreeMap<Id, &str> = cards.iter().map(|card| (card.node.id, card.node.handle.as_str())).collect();
    for status in Status::ALL {
        let of: Vec<&Card> = cards.iter().filter(|card| card.node.status == status).collect();
        if of.is_empty() {
            continue;
        }
        take(&format!("<section>\n<h2>{} ({})</h2>\n<ul>\n", status_words(status), of.len()))?;
        of.iter().try_for_each(|card| take(&item(card, &handles)))?;
        take("</ul>\n</section>\n")?;
    }
    Ok(())
}

/// A task in the list, with links to the tasks that it waits for.
fn item(card: &Card, handles: &BTreeMap<Id, &str>) -> String {
    let link = |id: &Id| match handles.get(id) {
        Some(handle) => format!("<a href=\"#t-{id}\">{}</a>", text(handle)),
        None => id.handle(HANDLE_MIN),
    };
    let node = &card.node;
    let mut waits: Vec<String> = card.blocked_by.iter().take(NAMED).map(link).collect();
    waits.extend(card.blocked_by.len().checked_sub(NAMED + 1).map(|more| format!("{} more", more + 1)));
    let facts = [
        (card.priority != 0).then(|| format!("priority {}", card.priority)),
        node.owner.as_ref().map(|owner| format!("owner {}", text(owner))),
        card.lease.as_ref().map(|(agent, until)| format!("held by {} until {until}", text(agent))),
        node.parent.as_ref().map(|parent| format!("part of {}", link(parent))),
        (!waits.is_empty()).then(|| format!("waits for {}", waits.join(", "))),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    let facts = if facts.is_empty() { String::new() } else { format!(" <small>{}</small>", facts.join("; ")) };
    format!("<li id=\"t-{}\"><b>{}</b> {}{facts}</li>\n", node.id, text(&node.handle), text(&node.title))
}
