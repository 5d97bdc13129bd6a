//! Translates a query into conditions on the read model, and an order of tasks.
//!
//! Guarantees: flags and query hold together; what only the plan knows (what is ready, waits or is held) is asked of the plan.
//! Leaves to others: how a query is written, how a page is cut.

use super::ready::here_only;
use crate::engine::context::Workspace;
use crate::engine::view::landed::DefaultBranch;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::id::{Id, quoted};
use crate::model::query::TaskList;
use crate::model::search::text::{composed, folded};
use crate::model::search::{Owner, Search, Sort, SortBy, State, What};
use crate::model::task::{Brief, Status};
use crate::model::time::Time;
use crate::reports::ready::{Plan, is_overdue};
use crate::rules::readiness::Viewer;
use crate::store::filter::{Filter, Test};
use crate::store::index::{Index, Keys};

/// The caller that looks for tasks, and the plan to search.
pub(crate) struct Finder<'a> {
    pub ws: &'a Workspace,
    pub index: &'a Index,
    pub plan: &'a Plan,
    pub viewer: &'a Viewer,
}

impl Finder<'_> {
    /// The condition that flags and query make together.
    pub fn filter(&self, q: &TaskList, search: &Search) -> Result<Filter> {
        let free = |task: &&Brief| self.plan.status(task) == Status::Open && task.status == Status::Blocked;
        let mut filter =
            Filter { tests: Vec::new(), free: self.plan.tasks.values().filter(free).map(|task| task.id).collect() };
        let mut must = |test| filter.tests.push((false, test));
        if !q.status.is_empty() {
            must(Test::Status(q.status.clone()));
        }
        if let Some(owner) = q.owner.as_deref().or(q.mine.then_some("me")) {
            must(Test::Owner(vec![self.owner(&Owner::from(owner))?]));
        }
        if let Some(parent) = &q.parent {
            let parent = read::resolve(self.ws, parent)?;
            must(match q.include_children {
                true => Test::Among(self.index.descendants(parent)?),
                false => Test::Parent(vec![Some(parent)]),
            });
        }
        for label in &q.labels {
            must(Test::Label(vec![composed(label).into_owned()]));
        }
        if let Some(kind) = &q.kind {
            must(Test::Type(vec![kind.clone()]));
        }
        if q.ready {
            must(self.is(State::Ready)?);
        }
        let mut texts = Vec::new();
        for term in &search.terms {
            match &term.what {
                What::Text(text) if !term.not => texts.push(text.clone()),
                what => filter.tests.push((term.not, self.test(what)?)),
            }
        }
        if !texts.is_empty() {
            filter.tests.push((false, self.with_texts(&texts)?));
        }
        if q.status.is_empty() && !q.all && !search.names_closed() {
            filter.tests.push((true, Test::Finished));
        }
        Ok(filter)
    }

    fn test(&self, what: &What) -> Result<Test> {
        let resolved = |refs: &[Ref]| refs.iter().map(|one| read::resolve(self.ws, one)).collect::<Result<Vec<Id>>>();
        Ok(match what {
            What::Text(text) => self.with_texts(std::slice::from_ref(text))?,
            What::Status(statuses) => Test::Status(statuses.clone()),
            What::Type(kinds) => Test::Type(kinds.clone()),
            What::Label(labels) => Test::Label(labels.iter().map(|label| composed(label).into_owned()).collect()),
            What::Owner(owners) => Test::Owner(owners.iter().map(|owner| self.owner(owner)).collect::<Result<_>>()?),
            What::Parent(parents) => {
                let one =
                    |parent: &Option<Ref>| parent.as_ref().map(|parent| read::resolve(self.ws, parent)).transpose();
                Test::Parent(parents.iter().map(one).collect::<Result<_>>()?)
            }
            What::Id(refs) => Test::Among(resolved(refs)?),
            What::Is(states) => Test::Any(states.iter().map(|state| self.is(*state)).collect::<Result<_>>()?),
            What::Priority(ranges) => Test::Priority(ranges.clone()),
            What::Created(ranges) => Test::Created(ranges.clone()),
            What::Updated(ranges) => Test::Updated(ranges.clone()),
            What::Due(ranges) => Test::Due(ranges.clone()),
        })
    }

    /// The name of an owner; `None` for no owner.
    fn owner(&self, owner: &Owner) -> Result<Option<String>> {
        match owner {
            Owner::None => Ok(None),
            Owner::Me => self.ws.author().map(|author| Some(author.agent)),
            Owner::Agent(name) => Ok(Some(name.clone())),
        }
    }

    fn with_texts(&self, texts: &[String]) -> Result<Test> {
        Ok(Test::Among(self.index.with_texts(texts)?.into_iter().collect()))
    }

    fn is(&self, state: State) -> Result<Test> {
        let now = self.ws.env.now();
        let those = |wanted: &dyn Fn(&Brief) -> bool| {
            Test::Among(self.plan.tasks.values().filter(|task| wanted(task)).map(|task| task.id).collect())
        };
        Ok(match state {
            State::Ready => {
                let ranked = self.plan.rank(self.viewer, &self.ws.settings.score, now);
                let mut elsewhere = OtherBranches::new(self.ws);
                let (ranked, _) = here_only(ranked, &mut elsewhere)?;
                elsewhere.warn();
                Test::Among(ranked.into_iter().map(|one| one.id).collect())
            }
            State::Blocked => those(&|task| !self.plan.blockers(task.id).is_empty()),
            State::Claimed => those(&|task| self.plan.lease(task.id, self.ws.env.now()).is_some()),
            State::Deferred => those(&|task| task.defer_until.is_some_and(|until| until > now)),
            State::Overdue => those(&|task| is_overdue(task.due, now)),
            State::Discussed => Test::Discussed,
            State::Unreviewed => Test::Unreviewed,
            State::Closed => Test::Finished,
            State::Any => Test::Every,
            State::Landed => self.landed()?,
        })
    }

    fn landed(&self) -> Result<Test> {
        let mut branch = DefaultBranch::new(self.ws);
        let mut landed = Vec::new();
        for (id, at) in self.index.completions()? {
            if branch.has_completed(id, at)? == Some(true) {
                landed.push(id);
            }
        }
        Ok(Test::Among(landed))
    }

    /// All that a filter lets through, in the order that it has at one instant.
    pub fn in_order(&self, filter: &Filter, sort: Sort, at: Time) -> Result<Vec<Spot>> {
        let keys = self.index.keys(filter)?;
        let mut spots: Vec<Spot> =
            keys.into_iter().map(|keys| Spot { key: self.key(&keys, sort.by, at), id: keys.id, at }).collect();
        spots.sort_unstable_by(|a, b| order(a, b, sort));
        Ok(spots)
    }

    /// A text that sorts as the order wants it.
    fn key(&self, keys: &Keys, by: SortBy, at: Time) -> String {
        match by {
            SortBy::Updated => falling(keys.updated_at),
            SortBy::Created => falling(keys.created_at),
            SortBy::Priority => falling(keys.priority),
            SortBy::Due => keys.due.map_or_else(|| "z".to_owned(), rising),
            SortBy::Title => folded(&keys.title).bytes().map(|byte| format!("{byte:02x}")).collect(),
            SortBy::Score => {
                let task = self.plan.tasks.get(&keys.id);
                let score = task.map(|task| self.plan.points(task, &self.ws.settings.score, at));
                let score = score.map_or_else(|| "z".to_owned(), falling);
                format!("{score}{}", rising(keys.created_at))
            }
        }
    }
}

/// Where a task stands in an order.
pub(crate) struct Spot {
    key: String,
    /// The task.
    pub id: Id,
    /// The instant of the order. All pages have that of the first: scores change as time goes by.
    pub at: Time,
}

fn order(a: &Spot, b: &Spot, sort: Sort) -> std::cmp::Ordering {
    let order = a.key.cmp(&b.key).then(a.id.cmp(&b.id));
    if sort.reverse { order.reverse() } else { order }
}

fn rising(number: i64) -> String {
    format!("{:016x}", number.cast_unsigned() ^ (1 << 63))
}

fn falling(number: i64) -> String {
    rising(!number)
}

impl Spot {
    /// Where a page ended. It names its order, for in another one it would leave tasks out.
    pub fn cursor(&self, sort: Sort) -> String {
        format!("{}.{}.{}.{}", name(sort), self.key, self.id, self.at.millis())
    }

    /// Reads a cursor of this order.
    ///
    /// Errors: `ERR_USAGE` for anything else.
    pub fn read(text: &str, sort: Sort) -> Result<Spot> {
        let mut parts = text.split('.');
        let (order, key) = (parts.next(), parts.next());
        let id = parts.next().and_then(|id| id.parse().ok());
        let at = parts.next().and_then(|at| at.parse().ok()).map(Time::from_millis);
        match (order, key, id, at, parts.next()) {
            (Some(order), Some(key), Some(id), Some(at), None) if order == name(sort) => {
                Ok(Spot { key: key.to_owned(), id, at })
            }
            _ => Err(Error::usage(format!("{} is no cursor of a list in this order", quoted(text)))
                .hint("use next_cursor of the previous answer, with the same --query")),
        }
    }

    /// Whether it stands behind another.
    pub fn is_behind(&self, other: &Spot, sort: Sort) -> bool {
        order(self, other, sort) == std::cmp::Ordering::Greater
    }
}

fn name(sort: Sort) -> String {
    format!("{}{}", sort.by.as_str(), if sort.reverse { "-" } else { "" })
}
