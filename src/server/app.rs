//! What all requests share: the open store, and the bounds of what runs at once.
//!
//! Guarantees that a request sees the settings and roles as they are on the disk, and that operations run on a
//! bounded number of threads.
//! Leaves to others: the routes (`routes`), and the connections (`connection`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::rate::Rate;
use super::reply::failed_inside;
use crate::api;
use crate::engine::{self, Options, Request, Workspace};
use crate::env::files::Mark;
use crate::env::meter::Meter;
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::store::layout::{CONFIG, SETTINGS, STORE};

/// Operations that run at once.
const MAX_WORK: usize = 16;

/// What all requests share.
pub struct App {
    store: RwLock<(Workspace, Marks)>,
    options: Options,
    /// The agent that started the server: it closes sessions and escalates threads.
    own_agent: Option<String>,
    pub rate: Rate,
    /// That of the store, however often it is opened.
    pub meter: Arc<Meter>,
    pub work: Arc<Semaphore>,
    pub waiting: Arc<Semaphore>,
    /// The server is about to end.
    pub stopping: AtomicBool,
    keeping_house: Arc<AtomicBool>,
}

/// The files that say how the store is to be opened, as they were when it was.
#[derive(PartialEq)]
struct Marks {
    settings: Vec<Option<Mark>>,
    folder: u64,
}

impl Marks {
    fn of(ws: &Workspace) -> Self {
        let own = SETTINGS.map(|name| ws.store.dir.mark(name).ok().flatten());
        let users = ws.env.home().map(|home| outside::mark(&home.join(STORE).join(CONFIG)));
        Marks { settings: own.into_iter().chain([users]).collect(), folder: outside::mark(ws.store.path()).inode }
    }
}

impl App {
    pub fn new(ws: Workspace, options: Options, own_agent: Option<String>, rate: u32) -> Self {
        let marks = Marks::of(&ws);
        let meter = Arc::clone(ws.env.meter());
        App {
            store: RwLock::new((ws, marks)),
            options,
            own_agent,
            rate: Rate::new(rate),
            meter,
            work: Arc::new(Semaphore::new(MAX_WORK)),
            waiting: Arc::new(Semaphore::new(api::MAX_WAITING)),
            stopping: AtomicBool::new(false),
            keeping_house: Arc::default(),
        }
    }

    /// The store for a request; opened again where its settings or roles changed.
    ///
    /// Errors: those of opening a store.
    pub fn workspace(&self, request: Request) -> Result<Workspace> {
        {
            let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
            if Marks::of(&store.0) == store.1 {
                return Ok(store.0.for_request(request));
            }
        }
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        // Another request may have been first.
        if Marks::of(&store.0) != store.1 {
            // What is saved while it is opened may not be in it: the marks are those of before.
            let marks = Marks::of(&store.0);
            let opened = engine::open(store.0.env.fork(), self.options.clone())?;
            opened.choose_runtime_place();
            *store = (opened, marks);
        }
        Ok(store.0.for_request(request))
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Closes silent sessions and escalates expired threads, in the background.
    pub fn keep_house(self: &Arc<Self>) {
        if self.keeping_house.swap(true, Ordering::SeqCst) {
            return;
        }
        let app = Arc::clone(self);
        let keeping = tokio::task::spawn_blocking(move || {
            let request = Request { agent: app.own_agent.clone(), ..Request::default() };
            app.workspace(request).and_then(|ws| engine::keep_house(&ws))
        });
        let is_keeping = Arc::clone(&self.keeping_house);
        tokio::spawn(async move {
            if let Err(e) = result_of::<(), Error>(keeping).await {
                tracing::warn!(error = %e, "sessions and threads were not looked after");
            }
            is_keeping.store(false, Ordering::SeqCst);
        });
    }

    /// Runs work that may wait for the disk on a thread of its own, once there is a place for it.
    ///
    /// Errors: those of the work.
    pub async fn run<T: Send + 'static, E: From<Error> + Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&App) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        // The semaphore is never closed.
        let place = Arc::clone(&self.work).acquire_owned().await.ok();
        let app = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&app)
        });
        result_of(done).await
    }
}

/// The result of work on another thread.
///
/// Errors: those of the work, and `ERR_IO` where it panicked.
pub async fn result_of<T, E: From<Error>>(work: JoinHandle<Result<T, E>>) -> Result<T, E> {
    work.await.unwrap_or_else(|e| match e.try_into_panic() {
        Ok(panic) => Err(failed_inside(&*panic).into()),
        Err(_) => Err(Error::new(Code::Busy, "the server is stopping").into()),
    })
}
