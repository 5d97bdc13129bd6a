//! Finds, opens and creates a store.
//!
//! Leaves to others: what is in the store (`store`), and where the state of the clone lies (`runtime_place`).

use std::cmp::Ordering;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::json;

use super::runtime_place::{RUNTIME, is_tracked, runtime_path};
use super::{AfterGit, OpenStore, Request, Workspace, check_settings};
use crate::env::Env;
use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::git::{self, Repo};
use crate::model::event::Author;
use crate::model::finding::{Finding, Rule, Spot};
use crate::model::id::{Id, check_agent_name, slug};
use crate::model::settings::{LintSettings, RuntimePlace, Settings};
use crate::rules::roles::{Rights, Roles};
use crate::store::config::{self, SettingsFile};
use crate::store::layout::{ARCHIVE, CONFIG, FORMAT, ROLES, STORE, Store};
use crate::store::place::{not_text, not_utf8};

/// What an interface passes besides the command: flags that all commands share.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the store is, instead of looking for it.
    pub store: Option<PathBuf>,
    /// Who asks.
    pub request: Request,
}

impl Workspace {
    /// Opens the nearest store of the work tree, or the one that is named. Settings that cannot be read are findings, and the
    /// defaults count in their place; roles that cannot be read permit nothing. Where what they say could forbid it, changes are
    /// refused.
    ///
    /// Errors: `ERR_NO_STORE`, `ERR_GIT` where the repository is not to be trusted, `ERR_CORRUPT` for a store that is no folder.
    pub(crate) fn opened_with(env: Env, options: Options, after_git: AfterGit) -> Result<Self> {
        let (repo, store) = find(&env, &options)?;
        let mut findings = Vec::new();
        let files = readable_settings(&env, &store, &mut findings)?;
        let (settings, more) = config::combine(&files);
        findings.extend(more);
        findings.extend(newer_own(&store, &files, &settings));
        let mut unsafe_to_change = findings.iter().find(|f| is_unsafe(f)).map(unsafe_by);
        let rights = match read_roles(&store) {
            Ok(rights) => rights,
            Err(e) if e.code == Code::Corrupt => {
                unsafe_to_change.get_or_insert(e);
                Rights(Some(Roles::default()))
            }
            Err(e) => return Err(e),
        };
        if rights.0.is_some()
            && let Some(bytes) = read_own(&store, ROLES).ok().flatten()
        {
            findings.extend(check_settings::settings(&store.shown(ROLES), ROLES, &bytes));
        }
        let rules = Rules { settings, findings, rights, unsafe_to_change };
        let is_named = options.store.is_some();
        let ws = Workspace::new(opened(env, is_named, repo, store, rules, after_git), options.request);
        ws.cache_archives();
        Ok(ws)
    }

    /// Keeps what is known of the archives next to the index.
    fn cache_archives(&self) {
        if let Ok(Some(_)) = self.store.dir.kind(ARCHIVE)
            && let Some(index) = self.index_path()
        {
            self.store.archives.cache_in(index.with_extension("archives"), self.env.boot());
        }
    }

    /// Refuses a change where settings or roles that cannot be read might forbid it.
    ///
    /// Errors: `ERR_CORRUPT` with the file and line.
    pub(crate) fn check_safe_to_change(&self) -> Result<()> {
        self.unsafe_to_change.clone().map_or(Ok(()), Err)
    }

    /// What is wrong with the settings, for every answer: the defaults count instead.
    pub fn settings_warnings(&self) -> Vec<String> {
        let invalid = self.findings.iter().filter(|f| f.rule == Rule::ConfigInvalid);
        invalid.map(placed).collect()
    }

    /// Who acts, with session and tracing ids.
    ///
    /// Errors: `ERR_USAGE` where no agent is named, `ERR_VALIDATION` for a name or session id that is none.
    pub fn author(&self) -> Result<Author> {
        let given = |flag: &Option<String>, name: &str| flag.clone().or_else(|| self.env.var(name).map(str::to_owned));
        let session = given(&self.request.session, "AGENTPM_SESSION").map(|text| text.parse::<Id>()).transpose()?;
        Ok(Author {
            agent: self.agent()?,
            session,
            correlation_id: given(&self.request.correlation_id, "AGENTPM_CORRELATION_ID"),
            plan_id: given(&self.request.plan_id, "AGENTPM_PLAN_ID"),
        })
    }

    /// As [`Workspace::author`], with a new correlation id if none was given: for changes that are undone together.
    ///
    /// Errors: as [`Workspace::author`].
    pub fn linking_author(&self) -> Result<Author> {
        let author = self.author()?;
        let correlation_id = match author.correlation_id {
            Some(id) => id,
            None => self.env.new_id()?.to_string(),
        };
        Ok(Author { correlation_id: Some(correlation_id), ..author })
    }

    /// What the caller said of itself, for logs.
    pub(crate) fn said(&self, what: &str) -> Option<String> {
        let (flag, name) = match what {
            "correlation_id" => (&self.request.correlation_id, "AGENTPM_CORRELATION_ID"),
            "plan_id" => (&self.request.plan_id, "AGENTPM_PLAN_ID"),
            _ => (&self.request.session, "AGENTPM_SESSION"),
        };
        flag.clone().or_else(|| self.env.var(name).map(str::to_owned))
    }

    fn agent(&self) -> Result<String> {
        let said = self.request.agent.clone().or_else(|| self.env.var("AGENTPM_AGENT").map(str::to_owned));
        if let Some(name) = said.or_else(|| self.settings.agent.clone()) {
            check_agent_name(&name)?;
            return Ok(name);
        }
        let user = self.user.get_or_init(|| self.repo.as_ref().and_then(Repo::user_name).and_then(|name| slug(&name)));
        user.clone().ok_or_else(|| {
            Error::usage("the agent is not known").hint("give --agent NAME, set AGENTPM_AGENT, or set git's user.name")
        })
    }

    /// The name of the caller, where it is known.
    pub fn agent_name(&self) -> Option<String> {
        self.agent().ok()
    }

    /// Where the read model of this work tree lies; `None` where it could not be written.
    pub fn index_path(&self) -> Option<PathBuf> {
        if let Some(path) = self.env.var("AGENTPM_DB") {
            return Some(PathBuf::from(path));
        }
        let folder = self.own_runtime_path();
        let name = match self.store.name.as_str() {
            STORE => "index.db".to_owned(),
            other => format!("index-{}.db", &crate::runtime::records::digest(other)[..8]),
        };
        let writable = Dir::open(&folder).is_ok_and(|dir| dir.is_writable());
        let made = writable || (self.runtime_is_shared() && outside::make_dirs(&folder).is_ok());
        made.then(|| folder.join(name))
    }
}

/// What a store is opened under.
struct Rules {
    settings: Settings,
    findings: Vec<Finding>,
    rights: Rights,
    unsafe_to_change: Option<Error>,
}

fn opened(env: Env, is_named: bool, repo: Option<Repo>, store: Store, rules: Rules, after_git: AfterGit) -> OpenStore {
    let Rules { settings, findings, rights, unsafe_to_change } = rules;
    let mut runtime_path = runtime_path(repo.as_ref(), &store, settings.runtime.place);
    let runtime_tracked = repo.as_ref().is_some_and(|repo| is_tracked(&env, repo, &store, &runtime_path));
    if let Some(repo) = repo.as_ref().filter(|_| runtime_tracked) {
        // HEAD is a file; nothing is below it.
        runtime_path = repo.git_dir.join("HEAD").join(RUNTIME);
    }
    let runtime = Dir::open(&runtime_path).ok().map(OnceLock::from).unwrap_or_default();
    OpenStore {
        env,
        store,
        repo,
        settings,
        findings,
        unsafe_to_change,
        rights,
        runtime_path,
        runtime_tracked,
        runtime,
        is_named,
        store_key: OnceLock::new(),
        user: OnceLock::new(),
        after_git,
    }
}

/// Whether a finding about the settings leaves open what could forbid a change: the format, leases, the place of the runtime state.
fn is_unsafe(finding: &Finding) -> bool {
    finding.rule == Rule::ConfigInvalid
        && match &finding.spot {
            Some(Spot::Key(key)) => ["format", "lease", "runtime"].contains(&key.split('.').next().unwrap_or_default()),
            _ => true,
        }
}

fn unsafe_by(finding: &Finding) -> Error {
    Error::new(Code::Corrupt, format!("{}; nothing was written", placed(finding)))
        .with(json!({ "path": finding.path, "line": finding.line }))
        .hint("correct the file with an editor; agentpm lint names every line; reading works meanwhile")
}

fn placed(finding: &Finding) -> String {
    let line = finding.line.map(|n| format!(":{n}")).unwrap_or_default();
    format!("{}{line}: {}", finding.path.as_deref().unwrap_or("the settings"), finding.message)
}

/// The nearest store of the work tree, or the one that is named.
fn find(env: &Env, options: &Options) -> Result<(Option<Repo>, Store)> {
    match options.store.clone().or_else(|| env.var("AGENTPM_STORE").map(PathBuf::from)) {
        Some(path) => open_named(env, &path),
        None => open_nearest(env),
    }
}

fn newer_own(store: &Store, files: &[SettingsFile], settings: &Settings) -> Option<Finding> {
    let name = store.shown(CONFIG);
    let own = files.last().filter(|file| file.name == name).map_or("", |file| &file.text);
    other_format(&name, own, settings)
}

/// Where git keeps a plan that need not be in the work tree.
pub(crate) struct Place {
    /// The repository.
    pub repo: Repo,
    /// The store's path below the top of the work tree.
    pub name: String,
    /// The runtime folder, where it exists.
    pub runtime: Option<Dir>,
}

/// The store as [`Workspace::open`] would find it, or else the nearest one in git's index. `None` for neither.
///
/// Errors: `ERR_NO_STORE` where one is named that is not there, `ERR_GIT` where the repository cannot be read.
pub(crate) fn place_in_git(env: &Env, options: &Options) -> Result<Option<Place>> {
    let named = options.store.clone().or_else(|| env.var("AGENTPM_STORE").map(PathBuf::from));
    let (repo, store) = match named {
        Some(path) => match open_named(env, &path) {
            Ok((Some(repo), store)) => (repo, Some(store)),
            Ok((None, _)) => return Ok(None),
            // Set for all of a person's repositories, it need not mean this one.
            Err(e) if e.code == Code::NoStore && options.store.is_none() => return Ok(None),
            Err(e) => return Err(e),
        },
        None => match git::discover(env.cwd())? {
            Some(repo) => match Store::nearest(&repo.work_dir, env.cwd()) {
                Ok(store) => (repo, store),
                // What stands in the store's place in the work tree is nothing to git's index.
                Err(e) => match e.details["store"].as_str().map(str::to_owned) {
                    Some(name) => return Ok(Some(Place { repo, name, runtime: None })),
                    None => return Err(e),
                },
            },
            None => return Ok(None),
        },
    };
    if let Some(store) = store {
        let path = runtime_path(Some(&repo), &store, RuntimePlace::default());
        let runtime = Dir::open(&path).ok().filter(|_| !is_tracked(env, &repo, &store, &path));
        return Ok(Some(Place { repo, name: store.name, runtime }));
    }
    // A hook runs anywhere: without a plan in sight, git's odder forms are nothing to complain of.
    let Ok(objects) = repo.objects() else { return Ok(None) };
    let index = repo.index_in_force(env);
    let here = outside::canonical(env.cwd()).map_err(|e| Error::io("find the folder", env.cwd(), &e))?;
    let folders = here.ancestors().filter_map(|folder| folder.strip_prefix(&repo.work_dir).ok());
    for name in folders.map(|folder| folder.join(STORE).display().to_string()) {
        if objects.is_in_index(&index, &name)? {
            let runtime = Dir::open(&repo.common_dir.join(RUNTIME)).ok();
            return Ok(Some(Place { repo, name, runtime }));
        }
    }
    Ok(None)
}

fn open_named(env: &Env, path: &Path) -> Result<(Option<Repo>, Store)> {
    let path = env.cwd().join(path);
    // A folder of another name is where a store lies, never one itself: a typing error must not make a store of src/.
    let place = if path.file_name() == Some(STORE.as_ref()) { path } else { path.join(STORE) };
    let missing = || {
        Error::new(Code::NoStore, format!("there is no store at {}", place.display()))
            .hint("name an existing .agentpm folder, or leave --store and AGENTPM_STORE out")
    };
    let parent = place.parent().filter(|parent| outside::metadata(parent).is_ok()).ok_or_else(missing)?;
    let repo = git::discover(parent)?;
    let top = repo.as_ref().map_or(parent, |repo| repo.work_dir.as_path());
    let real = outside::canonical(parent).map_err(|e| Error::io("find", parent, &e))?;
    let name = place.file_name().ok_or_else(missing)?;
    let store = Store::at(&real.join(name), top)?.ok_or_else(missing)?;
    Ok((repo, store))
}

fn open_nearest(env: &Env) -> Result<(Option<Repo>, Store)> {
    let Some(repo) = git::discover(env.cwd())? else {
        git::refuse_bare(env.cwd(), Code::NoStore)?;
        return Ok((None, copied_store(env)?));
    };
    let store = Store::nearest(&repo.work_dir, env.cwd())?.ok_or_else(|| {
        not_checked_out(&repo).unwrap_or_else(|| {
            Error::new(
                Code::NoStore,
                format!("there is no .agentpm in {} or above it in this work tree", env.cwd().display()),
            )
            .hint("create one with agentpm init")
        })
    })?;
    Ok((Some(repo), store))
}

/// The nearest store at or above the current folder, where there is no repository at all: a copy. A store of another user is refused,
/// as git refuses their repositories; the search ends below the home folder, whose `.agentpm` holds settings.
///
/// Errors: `ERR_NO_STORE` where there is none, `ERR_CORRUPT` where `.agentpm` is no folder.
fn copied_store(env: &Env) -> Result<Store> {
    let cwd = outside::canonical(env.cwd()).map_err(|e| Error::io("find the folder", env.cwd(), &e))?;
    let home = env.home().and_then(|home| outside::canonical(&home).ok());
    for folder in cwd.ancestors().take_while(|folder| Some(*folder) != home.as_deref()) {
        let place = folder.join(STORE);
        if outside::is_of_another_user(&place) {
            return Err(Error::new(Code::NoStore, format!("{} belongs to another user", place.display()))
                .hint("name it with --store PATH, if you trust it"));
        }
        if let Some(store) = Store::at(&place, folder)? {
            return Ok(store);
        }
    }
    Err(Error::new(Code::NoStore, format!("{} is in no git work tree, and no .agentpm is there", cwd.display()))
        .hint("a plan lives in a git repository: git init, then agentpm init"))
}

/// What to say where the commit or its fetched upstream has a store and the work tree has not: a second one must not be created.
pub(crate) fn not_checked_out(repo: &Repo) -> Option<Error> {
    let objects = repo.objects().ok()?;
    let has_store = |commit| Some(objects.item(objects.commit(commit).ok()?.tree, STORE).ok()?.is_some());
    let head = objects.head().ok()?.commit;
    if head.and_then(has_store) != Some(true) {
        let branch = repo.head_text().strip_prefix("ref: refs/heads/")?.trim().to_owned();
        let fetched = |remote: &String| objects.reference(&format!("refs/remotes/{remote}/{branch}"));
        let remote = objects.remotes().into_iter().find(|remote| fetched(remote).and_then(has_store) == Some(true))?;
        return Some(
            Error::new(
                Code::NoStore,
                format!("the plan is on {remote}/{branch}, which is not merged into this work tree"),
            )
            .hint_command("git pull brings it"),
        );
    }
    let hint = match objects.flag("core.sparseCheckout") {
        true => "git sparse-checkout add .agentpm shows it",
        false => "git checkout HEAD -- .agentpm brings it back",
    };
    Some(
        Error::new(Code::NoStore, "the plan is in the commit that is checked out, but not in this work tree")
            .hint(hint),
    )
}

/// What is to be said of settings that another version wrote.
pub(crate) fn other_format(path: &str, text: &str, settings: &Settings) -> Option<Finding> {
    let line = text.lines().position(|line| line.trim_start().starts_with("format")).map(|n| n + 1);
    let message = format!("the store has format {}, this program writes {FORMAT}", settings.format);
    let rule = match settings.format.cmp(&FORMAT) {
        Ordering::Greater => Rule::StoreNewer,
        Ordering::Less => Rule::StoreOlder,
        Ordering::Equal => return None,
    };
    Some(Finding::new(rule, message).at(path, line))
}

/// The store a file lies in, or the one that is named; `None` where there is neither.
///
/// Errors: `ERR_GIT` where the repository cannot be read, `ERR_NO_STORE` where a store is named that is not there.
pub(crate) fn store_around(env: &Env, options: &Options, folder: &Path) -> Result<Option<Store>> {
    let named = options.store.clone().or_else(|| env.var("AGENTPM_STORE").map(PathBuf::from));
    match named {
        Some(path) => match open_named(env, &path) {
            Err(e) if e.code == Code::NoStore && options.store.is_none() => Ok(None),
            opened => opened.map(|(_, store)| Some(store)),
        },
        None => match git::discover(folder)? {
            Some(repo) => Store::nearest(&repo.work_dir, folder),
            None => match copied_store(env) {
                Err(e) if e.code == Code::NoStore => Ok(None),
                copied => copied.map(Some),
            },
        },
    }
}

/// The severities of the rules of lint by the settings of a store and of the user; as they come where those cannot be read.
pub(crate) fn severities(env: &Env, store: &Store) -> LintSettings {
    let files = readable_settings(env, store, &mut Vec::new());
    files.map(|files| config::combine(&files).0.lint).unwrap_or_default()
}

/// The settings files that can be read, in their order; the others are findings.
pub(crate) fn readable_settings(env: &Env, store: &Store, findings: &mut Vec<Finding>) -> Result<Vec<SettingsFile>> {
    let mut found = Vec::new();
    let name = store.shown(CONFIG);
    let own = match read_own(store, CONFIG) {
        Ok(Some(bytes)) => Some((name.clone(), bytes, false)),
        Ok(None) => {
            let message = "it is missing: the defaults count, and the settings of the project are not in force";
            findings.push(Finding::new(Rule::ConfigMissing, message).at(&name, None));
            None
        }
        Err(e) if e.code == Code::Corrupt => {
            let message = e.message.trim_start_matches(&format!("{name} "));
            findings.push(Finding::new(Rule::ConfigInvalid, format!("it {message}")).at(&name, None));
            None
        }
        Err(e) => return Err(e),
    };
    let users = users_settings(env)?.map(|(name, bytes)| (name, bytes, true));
    for (name, bytes, is_users) in users.into_iter().chain(own) {
        match String::from_utf8(bytes) {
            Ok(text) => found.push(SettingsFile { name, text, is_users }),
            Err(e) => {
                let (message, line) = (not_text(e.as_bytes()), not_utf8(e.as_bytes()).map(|(line, _)| line));
                findings.push(Finding::new(Rule::ConfigInvalid, message).at(name, line));
            }
        }
    }
    Ok(found)
}

/// The settings of the user, as name and bytes.
fn users_settings(env: &Env) -> Result<Option<(String, Vec<u8>)>> {
    let Some(path) = env.home().map(|home| home.join(STORE).join(CONFIG)) else { return Ok(None) };
    match outside::read(&path, config::MAX_CONFIG) {
        Ok(bytes) => Ok(Some((path.display().to_string(), bytes))),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io("read", &path, &e)),
    }
}

/// A file of the store itself; `None` where it is missing, `ERR_CORRUPT` for a link or a device.
fn read_own(store: &Store, name: &str) -> Result<Option<Vec<u8>>> {
    match store.dir.read(name, config::MAX_CONFIG) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) if crate::store::entity::is_odd(&e) => {
            Err(Error::new(Code::Corrupt, format!("{} is not a regular file", store.shown(name)))
                .hint("agentpm follows no links in a store; look at that path"))
        }
        Err(e) if e.kind() == ErrorKind::FileTooLarge => {
            Err(Error::new(Code::Corrupt, format!("{} is larger than {} bytes", store.shown(name), config::MAX_CONFIG)))
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            Err(Error::new(Code::Corrupt, format!("{} cannot be read: {e}", store.shown(name)))
                .hint("make it readable for this user"))
        }
        Err(e) => Err(Error::io("read", &store.path().join(name), &e)),
    }
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let line = not_utf8(e.as_bytes()).map(|(line, _)| line);
        Error::new(Code::Corrupt, format!("{name}: {}", not_text(e.as_bytes())))
            .with(json!({ "path": name, "line": line }))
    })
}

fn read_roles(store: &Store) -> Result<Rights> {
    let Some(bytes) = read_own(store, ROLES)? else { return Ok(Rights(None)) };
    let name = store.shown(ROLES);
    let text = text(&name, bytes)?;
    let roles: Roles = crate::store::yaml::read(&text).map_err(|e| {
        Error::new(Code::Corrupt, format!("{name}: {e}"))
            .hint("correct the file with an editor; agentpm lint names the line")
    })?;
    Ok(Rights(Some(roles)))
}
