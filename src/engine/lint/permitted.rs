//! Checks that the authors of new events had the rights to write them, by the roles of the base commit.
//!
//! Guarantees: a branch cannot give itself a right, since `roles.yml` and the registered roles are those of the base. Roles that cannot be
//! read permit nothing, as for a command. In each log an agent and a right are reported once, at the first line.
//! Leaves to others: which right an event requires (`rules::rights`), and which events are new.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::base::{Branch, merged};
use super::changed::role_taken;
use super::others::{Merged, Others, PlanFacts};
use super::repeated::NewEvents;
use super::rewritten::otherwise;
use super::signed::{self, Asks, Keys};
use super::source::{LintSource, Subject, log_path};
use super::vanished::VanishedEvents;
use crate::engine::view::history::{built_upon, united};
use crate::error::Result;
use crate::git::{Item, Mode, Objects, Oid};
use crate::model::agent::Agent;
use crate::model::event::{Entity, Entry, Event};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, check_agent_name, quoted};
use crate::model::payload::{AgentRegistered, Payload, TaskVerified};
use crate::model::settings::{OnExpiry, ReviewSettings};
use crate::model::time::Time;
use crate::rules::fold::fold_agent;
use crate::rules::readiness::Viewer;
use crate::rules::review::{Unfit, completer, unfit};
use crate::rules::rights::RightsCheck;
use crate::rules::roles::{Rights, Roles, Verb};
use crate::rules::seen::{Needs, Resolving, Times};
use crate::store::config::{MAX_CONFIG, SettingsFile, combine};
use crate::store::layout::{AGENTS, CONFIG, ROLES, shown};
use crate::store::log::Log;
use crate::store::yaml;

/// The rules for the new events of a commit or a branch.
pub(crate) struct Gate<'a> {
    /// The roles of the base commit.
    pub roles: RolesAt<'a>,
    /// The keys of the agents, also those that the branch registers.
    pub keys: Keys,
    /// The events that its commits hold and its tip lacks.
    pub vanished: VanishedEvents,
    /// The new events so far.
    pub new: RefCell<NewEvents>,
    /// What all logs say together.
    pub facts: PlanFacts,
}

/// The findings about new events of one log.
pub(crate) fn check(source: LintSource<'_>, subject: &Subject<'_>, found: &mut Vec<Finding>) -> Result<()> {
    let (gate, branch) = match source {
        LintSource::Index(_, gate) => (gate, None),
        LintSource::Branch(branch, gate) => (gate, Some(branch)),
        LintSource::WorkTree(..) | LintSource::Text(_) => return Ok(()),
    };
    let Subject { entity, log_path: path, log, base, known, before, .. } = subject;
    let began: BTreeSet<Id> = before.entries.iter().map(|entry| entry.event.id).collect();
    let since: Vec<Entry> = base.iter().filter(|entry| !began.contains(&entry.event.id)).cloned().collect();
    let others = Merged { source, gate, branch };
    let judge = |whole: &Log| {
        gate.new.borrow_mut().record(entity, whole, known, base);
        let mut found = otherwise(path, &since, whole);
        found.extend(gate.roles.judge(entity, path, &merged(whole, base, known), known, &others)?);
        // The signatures of the work tree's own events are checked with it.
        let is_checked = branch.is_some_and(Branch::is_here) && whole.entries.len() == log.entries.len();
        if !gate.roles.any() && !is_checked {
            found.extend(signed::judge(entity, path, whole, known, &gate.keys, Asks::Nothing));
        }
        Ok(found)
    };
    found.extend(gate.vanished.judge(entity, path, (log, base), &judge)?);
    Ok(())
}

/// The roles that a branch was written under.
struct Fork<'a> {
    /// Those of the commits where it began, and of those that it merged since.
    began: Vec<RolesAt<'a>>,
    /// The roles that it brings where the base has none.
    brought: Vec<PrecedenceOf<'a>>,
}

/// The precedence that some roles give an agent; `None` if there are none.
pub(crate) type PrecedenceOf<'a> = Box<dyn Fn(&str) -> Result<Option<i64>> + 'a>;

/// The roles of a commit.
pub(crate) struct RolesAt<'a> {
    objects: &'a Objects,
    store: String,
    tree: Option<Oid>,
    /// How messages name the commit.
    name: String,
    rights: Rights,
    readable: bool,
    known: RefCell<BTreeMap<String, Agent>>,
    /// Further roles that the precedence in events may come from; `None` if precedence is not checked.
    fork: Option<Fork<'a>>,
    /// The keys that agents had at that commit, and those that these keys signed since.
    pub keys: Keys,
    /// The present time, and the silence after which the commit's settings allow a takeover.
    times: Times,
    /// Whether and by whom the commit's settings require a review.
    review: ReviewSettings,
    /// Whether its settings let any agent with the right accept a proposal of a thread that expired.
    accepts_expired: bool,
}

impl<'a> RolesAt<'a> {
    /// Reads the roles of a tree; before the first commit every agent has all rights.
    pub fn read(objects: &'a Objects, tree: Option<Oid>, store: &str, name: &str, now: Time) -> Result<Self> {
        let mut at = Self::rights_at(objects, tree, store, name, now)?;
        at.keys = at.read_keys()?;
        Ok(at)
    }

    /// The same without keys.
    fn rights_at(objects: &'a Objects, tree: Option<Oid>, store: &str, name: &str, now: Time) -> Result<Self> {
        let item = tree.map(|tree| objects.item(tree, &shown(store, ROLES))).transpose()?.flatten();
        let (rights, readable) = match item {
            None => (Rights(None), true),
            Some(item) => match roles_in(objects, item)? {
                Some(roles) => (Rights(Some(roles)), true),
                None => (Rights(Some(Roles::default())), false),
            },
        };
        let path = shown(store, CONFIG);
        let text = tree.map(|tree| objects.file(tree, &path)).transpose()?.flatten().map(String::from_utf8);
        let text = text.and_then(std::result::Result::ok).unwrap_or_default();
        let settings = combine(&[SettingsFile::of_store(path, text)]).0;
        let times = Times { now, silence: settings.session.limit_ms() };
        let (known, fork, keys) = (RefCell::default(), None, Keys::default());
        let (store, name) = (store.to_owned(), name.to_owned());
        let accepts_expired = settings.thread.on_expiry == OnExpiry::AcceptHighest;
        let review = settings.review;
        Ok(RolesAt { objects, store, tree, name, rights, readable, known, fork, keys, times, review, accepts_expired })
    }

    /// Also checks the precedence in the events of a branch. `brought` are the roles of a work tree, which counts as the last commit.
    pub fn judge_precedence(&mut self, base: Oid, head: Oid, mut brought: Vec<PrecedenceOf<'a>>) -> Result<()> {
        let (mut began, mut seen) = (Vec::new(), BTreeSet::new());
        for commit in built_upon(self.objects, base, head)? {
            let tree = self.objects.commit(commit)?.tree;
            let file = self.objects.item(tree, &shown(&self.store, ROLES))?.map(|item| item.oid);
            let agents = self.objects.item(tree, &shown(&self.store, AGENTS))?.map(|item| item.oid);
            let settings = self.objects.item(tree, &shown(&self.store, CONFIG))?.map(|item| item.oid);
            if seen.insert((file, agents, settings)) {
                began.push(Self::rights_at(self.objects, Some(tree), &self.store, "", self.times.now)?);
            }
        }
        // A branch that was written before the base began to require reviews broke no rule.
        self.review.required &= began.is_empty() || began.iter().any(|began| began.review.required);
        if !self.any() {
            brought.extend(self.brought_between(base, head)?);
        }
        self.fork = Some(Fork { began, brought });
        Ok(())
    }

    /// The roles that the commits of a branch have, each once.
    fn brought_between(&self, base: Oid, head: Oid) -> Result<Vec<PrecedenceOf<'a>>> {
        let (mut brought, mut seen): (Vec<PrecedenceOf<'a>>, _) = (Vec::new(), BTreeSet::new());
        for commit in self.objects.walk(&[head], &[base], usize::MAX)? {
            let tree = self.objects.commit(commit)?.tree;
            let Some(file) = self.objects.item(tree, &shown(&self.store, ROLES))? else { continue };
            let agents = self.objects.item(tree, &shown(&self.store, AGENTS))?.map(|item| item.oid);
            if seen.insert((file.oid, agents)) {
                let at = Self::rights_at(self.objects, Some(tree), &self.store, "", self.times.now)?;
                brought.push(Box::new(move |agent| at.precedence(agent)));
            }
        }
        Ok(brought)
    }

    /// Also checks the precedence in events that come without a branch: only these roles give it, or, where there are none, those that
    /// come with them.
    pub fn judge_precedence_alone(&mut self, brought: Vec<PrecedenceOf<'a>>) {
        self.fork = Some(Fork { began: Vec::new(), brought });
    }

    fn precedence(&self, agent: &str) -> Result<Option<i64>> {
        Ok(self.rights.precedence(agent, self.role_of(agent)?.as_deref()))
    }

    /// Whether an event records the precedence that these roles give its author, or that the roles gave under which its branch was
    /// written, if that is no higher.
    fn is_precedence_true(&self, event: &Event) -> Result<bool> {
        let (Some(fork), agent) = (&self.fork, &event.author.agent) else { return Ok(true) };
        let (given, base) = (event.precedence, self.precedence(agent)?);
        // A lower one takes nothing from others: the base may have raised it since, and a rebase may put the event after that.
        if given == base || base.is_some_and(|base| given.unwrap_or(0) <= base) || (base.is_none() && given == Some(0))
        {
            return Ok(true);
        }
        for brought in fork.brought.iter().filter(|_| base.is_none()) {
            if brought(agent)?.is_some_and(|most| given.unwrap_or(0) <= most) {
                return Ok(true);
            }
        }
        for began in &fork.began {
            if began.precedence(agent)? == given && given.is_none_or(|given| base.is_none_or(|base| given <= base)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the commit has roles.
    pub fn any(&self) -> bool {
        self.rights.0.is_some()
    }

    /// Who may do what.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// The roles, where there are any.
    pub fn roles(&self) -> Option<&Roles> {
        self.rights.0.as_ref()
    }

    fn read_keys(&self) -> Result<Keys> {
        let mut keys = Keys::default();
        let folder = self.tree.map(|tree| self.objects.item(tree, &shown(&self.store, AGENTS))).transpose()?.flatten();
        let Some(folder) = folder.filter(|item| self.any() && item.mode == Mode::Tree) else { return Ok(keys) };
        for name in self.objects.items(folder.oid)?.into_keys().filter(|name| check_agent_name(name).is_ok()) {
            keys.accept_present(&self.agent(&name)?);
        }
        keys.let_vouch(&|agent| self.may(agent, &[Verb::Register]))?;
        Ok(keys)
    }

    /// The changes of an agent's key and role. `log` is its log on the branch.
    pub fn agent_changed(&self, name: &str, path: &str, log: &Log) -> Result<Vec<Finding>> {
        let before = self.agent(name)?;
        let after = fold_agent(name, &united([log.entries.clone(), self.log_of(name)?.entries])).0;
        let last = |is: &dyn Fn(&AgentRegistered) -> bool| {
            log.entries.iter().rev().find(|entry| entry.event.payload.registration().is_some_and(is))
        };
        let roles = self.roles().and_then(|roles| {
            let words = role_taken(roles, name, before.role.as_deref(), after.role.as_deref())?;
            Some((words, last(&|p| p.role == after.role)))
        });
        let key = after.public_key.as_deref().filter(|key| before.public_key.as_deref() != Some(key)).map(|key| {
            let by = last(&|p| p.public_key.as_deref() == Some(key));
            let what = if before.public_key.is_some() { "another key" } else { "a key" };
            let who = by.map_or("an agent that is not named", |entry| &entry.event.author.agent);
            (format!("{} registers {what} for {}: {key}", quoted(who), quoted(name)), by)
        });
        let found = |(words, by): (String, Option<&Entry>)| {
            let line = by.and_then(|entry| log.line_of(entry.event.id));
            Finding::new(Rule::RulesChanged, words).at(path, line)
        };
        Ok(roles.into_iter().chain(key).map(found).collect())
    }

    /// The findings about events of a log that are not among the known ones: not permitted, or not signed where signatures are
    /// required. The log holds all known events, also those that the authors of the others could not know, since it is judged as it
    /// will be.
    pub fn judge(
        &self,
        entity: &Entity,
        path: &str,
        log: &Log,
        known: &BTreeSet<Id>,
        others: &dyn Others,
    ) -> Result<Vec<Finding>> {
        let new = || log.entries.iter().map(|entry| &entry.event).enumerate().filter(|(_, e)| !known.contains(&e.id));
        if new().next().is_none() {
            return Ok(Vec::new());
        }
        // A task that cannot be read counts as unfinished and not imported.
        let events_of = |id: Id| others.entries(&Entity::Task(id)).unwrap_or_default();
        let asked = RightsCheck::of(entity, &log.entries, known, self.times, &events_of);
        let mut breaches = Breaches::default();
        for (n, event) in new() {
            let mut found = self.rule_breaches(entity, &log.entries, &asked, event, others)?;
            if self.any() {
                found.extend(self.role_breaches(entity, &asked, event, others)?);
            }
            found.into_iter().for_each(|(kind, words)| breaches.add(kind, n, event, words));
        }
        let mut found = breaches.findings(path, log);
        if self.any() {
            let asks =
                if self.roles().is_some_and(|roles| roles.require_signatures) { Asks::All } else { Asks::Nothing };
            found.extend(signed::judge(entity, path, log, known, &self.keys, asks));
        }
        Ok(found)
    }

    /// What an event does that no command does, whatever the roles.
    fn rule_breaches(
        &self,
        entity: &Entity,
        log: &[Entry],
        asked: &RightsCheck<'_>,
        event: &Event,
        others: &dyn Others,
    ) -> Result<Vec<(BreachKind, String)>> {
        let (by, what, mut found) = (author(event), named(event), Vec::new());
        if !self.is_precedence_true(event)? {
            let number =
                |given: Option<i64>| given.map_or_else(|| "no precedence".into(), |n| format!("precedence {n}"));
            let (given, has) = (number(event.precedence), number(self.precedence(&event.author.agent)?));
            let words = format!("{by} has {has} by the roles of {}, and {what} of {entity} records {given}", self.name);
            found.push((BreachKind::Precedence, words));
        }
        if let Some(why) = refusal(asked, event, others)? {
            let words = format!("{by} writes {what} of {entity}, which no command does: {why}");
            found.push((BreachKind::Refused, words));
        }
        if let Some(deed) = asked.evades_review(event) {
            found.push((BreachKind::Evades, format!("{by} {deed} by {what}, which no command does")));
        }
        if self.review.required {
            let all = self.review_breaches(entity, log, asked, event)?;
            found.extend(all.into_iter().map(|words| (BreachKind::Review, words)));
        }
        Ok(found)
    }

    /// What an event does without the right that its command requires, or that the roles permit no agent.
    fn role_breaches(
        &self,
        entity: &Entity,
        asked: &RightsCheck<'_>,
        event: &Event,
        others: &dyn Others,
    ) -> Result<Vec<(BreachKind, String)>> {
        let (by, what, agent) = (author(event), named(event), &event.author.agent);
        let mut found = Vec::new();
        for any in asked.by(event) {
            let Some(usual) = any.first().copied() else { continue };
            let may_split = || self.may_split(asked, event, others);
            if !(self.may(agent, &any)? || (any.contains(&Verb::Claim) && may_split()?)) {
                found.push((BreachKind::Right(agent.clone(), usual), self.words(entity, usual, event)?));
            }
        }
        if let Some((taker, needs)) = asked.taken_by(event)
            && let Some(missed) = self.missed(taker, needs)?
        {
            let (taker, id) = (quoted(taker), event.id);
            let words = format!("{taker} takes {entity} by {id}, which needs {missed} by the roles of {}", self.name);
            found.push((BreachKind::Taker, words));
        }
        if let Some(resolving) = asked.resolving(event)
            && let Some(why) = self.not_the_decider(agent, resolving)?
        {
            let (thread, id) = (resolving.thread, event.id);
            let words =
                format!("{by} resolves thread {thread} of {entity} by {id}, but {why} by the roles of {}", self.name);
            found.push((BreachKind::Resolver, words));
        }
        if let Some(deed) = asked.unmade(event) {
            found.push((BreachKind::Unmade, format!("{by} {deed} by {what}, which no command does")));
        }
        if let Some(granted) = asked.ungranted(event) {
            let fence = event.fence.unwrap_or(0);
            let words =
                format!("{by} writes {what} of {entity} under fence {fence}, and its log grants none above {granted}");
            found.push((BreachKind::Fence, words));
        }
        Ok(found)
    }

    /// What an event does against the required review, by the settings of the base.
    fn review_breaches(
        &self,
        entity: &Entity,
        log: &[Entry],
        asked: &RightsCheck<'_>,
        event: &Event,
    ) -> Result<Vec<String>> {
        let mut breaches = Vec::new();
        let (by, what) = (author(event), named(event));
        if let Payload::TaskVerified(TaskVerified { completion: Some(completion), .. }) = &event.payload {
            let role = self.role_of(&event.author.agent)?;
            let viewer = Viewer { me: Some(event.author.clone()), role, rights: self.rights.clone(), max_attempts: 0 };
            match unfit(completer(log, *completion), &viewer, &self.review) {
                Some(Unfit::Own) => breaches.push(format!("{by} reviews its own work by {what} of {entity}")),
                // Without the right to verify, the event is reported as any other that is not permitted.
                Some(Unfit::Lacks(_)) if !self.may(&event.author.agent, &[Verb::Verify])? => {}
                Some(Unfit::Lacks(lacks)) => {
                    breaches.push(format!(
                        "{what} of {entity} needs {lacks} by the settings of {}, which {by} lacks",
                        self.name
                    ));
                }
                None => {}
            }
        }
        if let Some(blocker) = asked.unreviewed_blocker(event) {
            breaches
                .push(format!("{by} goes on with {entity} by {what}, although its blocker {blocker} awaits review"));
        }
        if asked.archives_unreviewed(event) {
            breaches.push(format!("{by} archives {entity} by {what}, although it awaits review"));
        }
        Ok(breaches)
    }

    fn words(&self, entity: &Entity, verb: Verb, event: &Event) -> Result<String> {
        let by = match self.readable {
            true => format!("by the roles of {}", self.name),
            false => format!("since the roles.yml of {} cannot be read", self.name),
        };
        let (agent, what) = (&event.author.agent, verb.as_str());
        let may = self.rights.who_may(what) + &self.rights.deciding(agent, self.role_of(agent)?.as_deref());
        Ok(format!("{} may not {what} {by}, and {} of {entity} asks for it; {may}", author(event), named(event)))
    }

    fn may(&self, agent: &str, any: &[Verb]) -> Result<bool> {
        let role = self.role_of(agent)?;
        Ok(any.iter().any(|verb| self.rights.has_perm(agent, role.as_deref(), verb.as_str())))
    }

    /// Whether an event gives its task back to be split, by an author who may split it.
    fn may_split(&self, asked: &RightsCheck<'_>, event: &Event, others: &dyn Others) -> Result<bool> {
        Ok(asked.gives_back(event) && self.may(&event.author.agent, &[Verb::Split])? && others.splits(event)?)
    }

    /// The right or precedence that a task requires and an agent lacks.
    fn missed(&self, agent: &str, needs: &Needs) -> Result<Option<String>> {
        let role = self.role_of(agent)?;
        let perm = needs.perm.as_ref().filter(|perm| !self.rights.has_perm(agent, role.as_deref(), perm));
        let least = needs.precedence.filter(|least| !self.rights.has_precedence(agent, role.as_deref(), *least));
        let perm = perm.map(|perm| format!("the right {}", quoted(perm)));
        Ok(perm.or_else(|| least.map(|least| format!("precedence {least}"))))
    }

    /// Why an agent may not resolve a thread although it has the right; `None` if it may.
    fn not_the_decider(&self, agent: &str, resolving: &Resolving) -> Result<Option<String>> {
        if let Some(proposer) = resolving.proposer.as_ref().filter(|_| resolving.is_expired && self.accepts_expired)
            && self.missed(proposer, &resolving.needs)?.is_none()
        {
            return Ok(None);
        }
        // The right to discuss is enough to withdraw a proposal. An author without any right to it is reported for that.
        let decides = [Verb::Resolve, Verb::Update];
        if resolving.withdraws && (self.may(agent, &[Verb::Discuss])? || !self.may(agent, &decides)?) {
            return Ok(None);
        }
        if let Some(missed) = self.missed(agent, &resolving.needs)? {
            return Ok(Some(format!("that needs {missed}")));
        }
        if !resolving.is_own && !self.may(agent, &[Verb::Resolve])? {
            return Ok(Some("that needs the right resolve".to_owned()));
        }
        let Some(decider) = &resolving.decider else { return Ok(None) };
        let is_above = self.precedence(agent)? > self.precedence(decider)?;
        Ok((!is_above).then(|| format!("{} decides it, or an agent of higher precedence", quoted(decider))))
    }

    fn log_of(&self, agent: &str) -> Result<Log> {
        let path = log_path(&self.store, &Entity::Agent(agent.to_owned()));
        let tree = self.tree.filter(|_| check_agent_name(agent).is_ok());
        let bytes = tree.map(|tree| self.objects.file(tree, &path)).transpose()?.flatten().unwrap_or_default();
        Ok(Log::of(&bytes))
    }

    /// The role that an agent had registered with at that commit.
    pub fn role_of(&self, agent: &str) -> Result<Option<String>> {
        self.agent(agent).map(|agent| agent.role)
    }

    /// An agent as it was at that commit.
    fn agent(&self, name: &str) -> Result<Agent> {
        if let Some(known) = self.known.borrow().get(name) {
            return Ok(known.clone());
        }
        let agent = fold_agent(name, &self.log_of(name)?.entries).0;
        self.known.borrow_mut().insert(name.to_owned(), agent.clone());
        Ok(agent)
    }
}

/// The new events of one log that are not permitted, by kind: the first event of each kind, and their number.
#[derive(Default)]
struct Breaches(BTreeMap<BreachKind, (usize, Id, String, usize)>);

/// What is not permitted about an event, in the order of the findings.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum BreachKind {
    /// The precedence that it records.
    Precedence,
    /// This right, which the agent lacks.
    Right(String, Verb),
    /// The agent that it gives the task to.
    Taker,
    /// A move that no command makes.
    Unmade,
    /// Its fence.
    Fence,
    /// The agent that resolves the thread.
    Resolver,
    /// What goes on without the required review.
    Review,
    /// A judgement or completion that evades a review.
    Evades,
    /// What its command refuses by the plan alone.
    Refused,
}

impl Breaches {
    fn add(&mut self, kind: BreachKind, n: usize, event: &Event, words: String) {
        self.0.entry(kind).or_insert((n, event.id, words, 0)).3 += 1;
    }

    fn findings(self, path: &str, log: &Log) -> Vec<Finding> {
        let finding = |(n, event, words, count): (usize, Id, String, usize)| {
            let more =
                if count > 1 { format!("; so do {} more of its new events here", count - 1) } else { String::new() };
            let line = log.lines.get(n).copied();
            Finding::new(Rule::NotPermitted, words + &more).event(event).at(path, line)
        };
        self.0.into_values().map(finding).collect()
    }
}

/// Why the command of an event refuses it by the plan alone.
fn refusal(asked: &RightsCheck<'_>, event: &Event, others: &dyn Others) -> Result<Option<String>> {
    let refused = asked.refused(event).map(str::to_owned);
    let Some(by) = asked.successor_elsewhere(event).filter(|_| refused.is_none()) else { return Ok(refused) };
    Ok((!others.has_thread(by)?).then(|| format!("there is no thread {by}")))
}

fn author(event: &Event) -> String {
    quoted(&event.author.agent)
}

/// An event by its type and id.
fn named(event: &Event) -> String {
    format!("{} {}", event.payload.kind(), event.id)
}

/// The roles in a file of a commit; `None` if it cannot be read.
fn roles_in(objects: &Objects, item: Item) -> Result<Option<Roles>> {
    let is_file = matches!(item.mode, Mode::File | Mode::Executable);
    if !is_file || objects.size(item.oid)? > MAX_CONFIG {
        return Ok(None);
    }
    let bytes = objects.blob(item.oid)?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(|text| yaml::read(text).ok()))
}
