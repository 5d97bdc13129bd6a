//! The routes: those of the operation table, every operation by its name, and what only a server has.
//!
//! Guarantees that a request is checked before anything of it is read, and answered as the command line answers the same call.
//! Leaves to others: the operations (`api`), who may ask (`guard`), and the arguments (`arguments`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode, header};
use axum::routing::{MethodFilter, get, on, post};
use serde_json::{Map, Value, json};

use super::app::{App, result_of};
use super::arguments as args;
use super::events;
use super::guard::{self, MAX_BODY, Peer};
use super::reply::{Refusal, answered, json_response, refused};
use crate::api::{self, Answer, Answered, Call, Method, OPERATIONS, Operation, envelope, find, openapi};
use crate::engine::{self, Workspace};
use crate::error::{Code, Error, Result};
use crate::model::args::Duration as Span;
use crate::model::id::quoted;
use crate::model::job::{AgentToken, Job};

/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(30);
/// How long a wait goes on without a look at the settings.
const SLICE: Duration = Duration::from_secs(5);
/// The least time from one look to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// The parts of a path that a route leaves open.
type PathParams = Result<RawPathParams, RawPathParamsRejection>;

/// One of them, if the route has it.
fn in_path(params: &PathParams, name: &str) -> Result<Option<String>> {
    let params = params.as_ref().map_err(|_| Error::usage(format!("the {name} in the path is not UTF-8")))?;
    Ok(params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned()))
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for (operation, route) in OPERATIONS.iter().filter_map(|operation| Some((operation, operation.route?))) {
        let answer = move |State(app): State<Arc<App>>, params: PathParams, request: Request| async move {
            let (parts, body) = request.into_parts();
            match in_path(&params, "id") {
                Ok(id) => respond(app, parts, body, Ok(operation), id).await,
                Err(e) => respond(app, parts, body, Err(e), None).await,
            }
        };
        router = router.route(route.path, on(filter(route.method), answer));
    }
    let by_name = |State(app): State<Arc<App>>, params: PathParams, request: Request| async move {
        let unknown = |name: &str| Error::not_found(format!("there is no operation {}", quoted(name)));
        let named = in_path(&params, "name").map(Option::unwrap_or_default);
        let operation = named.and_then(|name| find(&name).ok_or_else(|| unknown(&name)));
        let (parts, body) = request.into_parts();
        respond(app, parts, body, operation, None).await
    };
    router
        .route("/ops/{name}", post(by_name))
        .route("/events/stream", get(events::stream))
        .route("/openapi.json", get(document))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/diagnostics/bundle", get(bundle))
        .route("/", get(board))
        .fallback(|State(app): State<Arc<App>>, request: Request| no_route(app, request, StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(|State(app): State<Arc<App>>, request: Request| {
            no_route(app, request, StatusCode::METHOD_NOT_ALLOWED)
        })
        .with_state(app)
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}

/// The peer of a request, once it is known to be let in.
///
/// Errors: why it is refused.
pub fn peer_of(parts: &Parts) -> Result<Peer, Refusal> {
    let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer::Tcp(None));
    guard::check(peer, parts).map(|()| peer)
}

async fn respond(
    app: Arc<App>,
    parts: Parts,
    body: Body,
    operation: Result<&'static Operation>,
    id: Option<String>,
) -> Response<Body> {
    let start = Instant::now();
    let name = operation.as_ref().map_or("unknown", |operation| operation.name);
    let measured = Arc::clone(&app);
    let mut response = carry_out(app, &parts, body, operation, id).await.unwrap_or_else(refused);
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        // Where a body ends that has a length too is a matter of opinion: what follows it is not read.
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    measured.meter.count_request(name, response.status().as_u16(), start.elapsed());
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    tracing::info!(
        op = name,
        status = response.status().as_u16(),
        agent = header("x-agentpm-agent"),
        session_id = header("x-agentpm-session"),
        correlation_id = header("x-correlation-id"),
        plan_id = header("x-plan-id"),
        milliseconds = start.elapsed().as_secs_f64() * 1e3,
        "answered"
    );
    response
}

async fn carry_out(
    app: Arc<App>,
    parts: &Parts,
    body: Body,
    operation: Result<&'static Operation>,
    id: Option<String>,
) -> Result<Response<Body>, Refusal> {
    let peer = peer_of(parts)?;
    let read = tokio::time::timeout(BODY, to_bytes(body, MAX_BODY)).await;
    let late = || Refusal::from(Error::usage("the body of the request did not arrive in time")).closing();
    let body = read.map_err(|_| late())?.map_err(|e| {
        let is_long = std::error::Error::source(&e).is_some_and(|source| source.to_string().contains("length limit"));
        if is_long {
            guard::too_large()
        } else {
            Refusal::from(Error::usage("the body of the request is cut off")).closing()
        }
    })?;
    let asking = Arc::new(Asking { parts: parts.clone(), peer, body, id });
    let waits = matches!(operation, Ok(operation) if matches!(operation.name, "next.wait" | "inbox.wait"));
    if waits {
        return wait(app, operation?, asking).await;
    }
    app.run(move |app| {
        let request = admit(app, peer, &asking.parts.headers)?;
        let operation = operation?;
        let (args, asked) = arguments(operation, &asking)?;
        let ws = workspace_for(app, operation, request, asked)?;
        let done = perform(&ws, operation, args)?;
        Ok(reply(&ws, operation, done, asked))
    })
    .await
}

/// A request that was read, and not yet understood.
struct Asking {
    parts: Parts,
    peer: Peer,
    body: Bytes,
    /// The id in its path.
    id: Option<String>,
}

/// What a request asks for besides the arguments of its operation.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// All of what a change changed, and not a receipt.
    full: bool,
    /// Items of a list that are passed over.
    offset: usize,
}

fn arguments(operation: &Operation, asking: &Asking) -> Result<(Map<String, Value>, Asked), Refusal> {
    let Asking { parts, body, id, .. } = asking;
    let content = guard::text_of(&parts.headers, "content-type")?;
    let is_json = content
        .is_some_and(|kind| kind.to_ascii_lowercase().split(';').next().unwrap_or_default().trim().ends_with("json"));
    if !body.is_empty() && !is_json {
        // A page of another site can send a form without asking, and JSON only after it asked.
        return Err(Error::usage("a body needs the header Content-Type: application/json").into());
    }
    let mut asked = Asked::default();
    let mut query = args::pairs(parts.uri.query())?;
    if let Some(at) = query.iter().position(|(name, _)| name == "full") {
        asked.full = args::truth("full", &query.remove(at).1)?;
    }
    if operation.name == "task.list"
        && let Some(at) = query.iter().position(|(name, _)| name == "offset")
    {
        let text = query.remove(at).1;
        asked.offset = text.parse().map_err(|_| Error::usage(format!("offset is a number, not {}", quoted(&text))))?;
    }
    let mut args = args::of_query(operation, query)?;
    for (name, value) in args::of_body(operation, body)? {
        if args.insert(name.clone(), value).is_some() {
            return Err(Error::usage(format!("{} is in the query and in the body", quoted(&name))).into());
        }
    }
    let mut args = args::in_our_names(operation, args)?;
    if let Some(id) = id {
        args::put_id(&mut args, operation.id_argument(), id.clone())?;
    }
    if let Some(version) = guard::guard_of(&parts.headers, "if-match")?.filter(|text| text != "*") {
        let number = version.trim_matches('"').parse::<u64>();
        let number = number.ok().filter(|_| operation.has_argument("expected_version"));
        let wrong = || Error::usage(format!("{} takes no If-Match {}", operation.name, quoted(&version)));
        let number = json!(number.ok_or_else(wrong)?);
        if args.insert("expected_version".into(), number.clone()).is_some_and(|other| other != number) {
            return Err(Error::usage(format!("If-Match is {version}, and expected_version another version")).into());
        }
    }
    if operation.has_argument("full") {
        // Of the query or of the body.
        asked.full |= args.get("full") == Some(&json!(true));
        args.entry("full").or_insert(json!(asked.full));
    }
    if asked.offset > 0 {
        let limit = args.get("limit").and_then(Value::as_u64);
        let limit = limit.ok_or_else(|| Error::usage("offset needs limit; cursor continues a list without it"))?;
        args.insert("limit".into(), json!(limit.saturating_add(asked.offset as u64)));
    }
    Ok((args, asked))
}

/// Who asks, where it may ask now. Comes before anything that the request says is judged.
///
/// Errors: 401, 403 and 429.
fn admit(app: &App, peer: Peer, headers: &axum::http::HeaderMap) -> Result<engine::Request, Refusal> {
    let request = guard::caller(app, peer, headers)?;
    if !app.rate.take(request.agent.as_deref().unwrap_or_default()) {
        let who = request.agent.as_deref().unwrap_or("a caller without a name");
        return Err(Error::new(Code::RateLimit, format!("{who} makes too many requests")).hint("wait a second").into());
    }
    Ok(request)
}

/// The store as the caller sees it.
fn workspace_for(app: &App, operation: &Operation, request: engine::Request, asked: Asked) -> Result<Workspace> {
    if operation.changes() && request.agent.is_none() {
        return Err(
            Error::usage("the agent is not known").hint("name it in the header X-Agentpm-Agent, or send its token")
        );
    }
    app.workspace(engine::Request { full: asked.full, ..request })
}

fn perform(ws: &Workspace, operation: &Operation, args: Map<String, Value>) -> Result<Answered> {
    api::call(ws, &Call::from_json(operation.name, Value::Object(args))?)
}

fn reply(ws: &Workspace, operation: &Operation, done: Answered, asked: Asked) -> Response<Body> {
    let is_change = operation.changes() && !matches!(done.data, Answer::Next(None));
    let mut data = done.data.to_json(asked.full);
    if let Some(Value::Array(items)) = data.get_mut("items").filter(|_| asked.offset > 0) {
        items.drain(..asked.offset.min(items.len()));
    }
    let mut notices = api::notices(ws, is_change);
    if let ("agent.register", Some(name)) = (operation.name, data["name"].as_str())
        && !engine::commit::tokens::has_token(ws, name)
        && is_for_caller(ws, name)
    {
        let issue = Call::Job(Job::AgentToken(AgentToken { name: name.to_owned(), revoke: false }));
        match api::call(ws, &issue).map(|issued| issued.data) {
            Ok(Answer::Token(issued)) => data["token"] = json!(issued.token),
            Ok(_) => {}
            Err(e) => notices.push(format!("the agent has no token: {}", e.message)),
        }
    }
    answered(&done, &data, notices)
}

/// Whether a caller may be given the token of a new agent: one with a token of its own is its agent alone.
fn is_for_caller(ws: &Workspace, name: &str) -> bool {
    !ws.request.authenticated || ws.request.agent.as_deref() == Some(name)
}

/// Waits for work or for the inbox in slices, each under the settings and rights of its time. A client that is gone, a token that is
/// revoked and the end of the server end the wait, and nothing is claimed from then on.
async fn wait(app: Arc<App>, operation: &'static Operation, asking: Arc<Asking>) -> Result<Response<Body>, Refusal> {
    let first = Arc::clone(&asking);
    app.run(move |app| admit(app, first.peer, &first.parts.headers)).await?;
    let (mut args, asked) = arguments(operation, &asking)?;
    let span = serde_json::from_value::<Span>(args.get("wait").cloned().unwrap_or_default());
    let span = span.map_err(|e| Error::validation(format!("wait: {e}")))?;
    let until = Instant::now() + Duration::from_millis(span.millis.unsigned_abs());
    let _place = Arc::clone(&app.waiting).try_acquire_owned().map_err(|_| api::waits_already())?;
    let presence = Arc::new(());
    loop {
        let begun = Instant::now();
        let left = until.saturating_duration_since(begun);
        args.insert("wait".into(), json!(format!("{}s", left.min(SLICE).as_secs_f64().ceil())));
        let (args, asking, state) = (args.clone(), Arc::clone(&asking), Arc::clone(&app));
        // Nothing else holds it: it ends with the request of a client that is gone.
        let client = Arc::downgrade(&presence);
        let slice = tokio::task::spawn_blocking(move || {
            // A token may be revoked during the wait.
            let request = guard::caller(&state, asking.peer, &asking.parts.headers)?;
            let ws = workspace_for(&state, operation, request, asked)?;
            let still_wanted = || {
                let is_there = client.strong_count() > 0 && !state.is_stopping();
                is_there && guard::caller(&state, asking.peer, &asking.parts.headers).is_ok()
            };
            let call = Call::from_json(operation.name, Value::Object(args))?;
            let done = api::call_while(&ws, &call, &still_wanted)?;
            let is_over = done.data.ends_a_wait() || left <= SLICE || state.is_stopping();
            Ok::<_, Refusal>(is_over.then(|| reply(&ws, operation, done, asked)))
        });
        if let Some(response) = result_of(slice).await? {
            return Ok(response);
        }
        // A slice ends early where the remote has what is not here: it is not asked without a pause.
        tokio::time::sleep(PAUSE.saturating_sub(begun.elapsed())).await;
    }
}

async fn document(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let answer = async {
        let peer = peer_of(&parts)?;
        let headers = parts.headers.clone();
        app.run(move |app| admit(app, peer, &headers)).await?;
        Ok(json_response(StatusCode::OK, openapi::document()))
    };
    answer.await.unwrap_or_else(refused)
}

async fn metrics(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    page(&app, request, headers, |ws, _| Ok(api::metrics(ws)?.into_bytes())).await
}

/// The archive of `diagnostics.export`.
async fn bundle(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let headers = [
        (header::CONTENT_TYPE, "application/gzip"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"agentpm-diagnostics.tar.gz\""),
    ];
    let pack = |ws: &Workspace, query: Option<&str>| {
        let operation = find("diagnostics.export").ok_or_else(|| Error::not_found("there are no diagnostics"))?;
        let args = args::of_query(operation, args::pairs(query)?)?;
        match api::call(ws, &Call::from_json(operation.name, Value::Object(args))?)?.data {
            Answer::Diagnostics(bundle) => bundle.archive(),
            _ => Err(Error::new(Code::Io, "diagnostics have no other answer")),
        }
    };
    page(&app, request, headers, pack).await
}

/// The board, which follows the events of this server.
async fn board(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    page(&app, request, headers, |ws, _| Ok(api::board(ws, true)?.into_bytes())).await
}

/// What only a server has, from the plan as the caller may see it and the query of the request.
async fn page<const N: usize>(
    app: &Arc<App>,
    request: Request,
    headers: [(header::HeaderName, &'static str); N],
    make: impl FnOnce(&Workspace, Option<&str>) -> Result<Vec<u8>> + Send + 'static,
) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let answer = async {
        let peer = peer_of(&parts)?;
        let read = move |app: &App| {
            let ws = app.workspace(admit(app, peer, &parts.headers)?)?;
            Ok::<_, Refusal>(make(&ws, parts.uri.query())?)
        };
        let mut response = Response::new(Body::from(app.run(read).await?));
        let values = headers.map(|(name, value)| (name, header::HeaderValue::from_static(value)));
        response.headers_mut().extend(values);
        Ok(response)
    };
    answer.await.unwrap_or_else(refused)
}

/// Says that the server answers and can read the store. Needs no token, and says nothing of the plan.
async fn health(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let answer = async {
        peer_of(&parts)?;
        app.run(|app| app.workspace(engine::Request::default()).map(drop)).await?;
        Ok(json_response(StatusCode::OK, &envelope::success(&json!({ "status": "ok" }))))
    };
    answer.await.unwrap_or_else(refused)
}

/// The routes that begin as a path does, or else how to call anything: the whole description is far longer than an answer should be.
fn routes_like(path: &str) -> String {
    let first = |path: &str| path.split('/').nth(1).unwrap_or_default().trim_end_matches('s').to_owned();
    let all = OPERATIONS.iter().filter_map(|operation| operation.route);
    let alike: Vec<String> = all
        .filter(|route| !first(path).is_empty() && first(route.path) == first(path))
        .map(|route| format!("{} {}", route.method.as_str(), route.path))
        .collect();
    let any = "POST /ops/{name} carries out any operation, and GET /openapi.json describes all routes at length";
    if alike.is_empty() { any.into() } else { format!("routes that begin so: {}; {any}", alike.join(", ")) }
}

async fn no_route(app: Arc<App>, request: Request, status: StatusCode) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let answer = async {
        let peer = peer_of(&parts)?;
        let headers = parts.headers.clone();
        app.run(move |app| guard::caller(app, peer, &headers)).await?;
        let what = format!("there is no {} {}", parts.method, parts.uri.path());
        let error = match status {
            StatusCode::METHOD_NOT_ALLOWED => Error::usage(what),
            _ => Error::not_found(what),
        };
        Err(Refusal::with_status(error.hint(routes_like(parts.uri.path())), status))
    };
    let mut response = answer.await.unwrap_or_else(refused);
    // An unread body must not be taken for the next request.
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}
