//! Which requests are let in, and for whom.
//!
//! Guarantees that a browser on another site cannot use the server, that over TCP nothing is answered without a token, and that a
//! request with an agent's token acts as that agent alone.
//! Leaves to others: what an agent may do (`rules::rights`).

use std::net::{IpAddr, SocketAddr};

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::app::App;
use super::reply::Refusal;
use crate::engine::{self, Request};
use crate::error::{Code, Error};
use crate::model::id::quoted;

/// The largest body of a request, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;
/// The longest value of a header that ends up in an event, in bytes.
const MAX_HEADER: usize = 1_024;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// The socket, from a process of this user.
    Socket,
    /// TCP, at this address of ours.
    Tcp(Option<SocketAddr>),
}

/// Checks what a request may be refused for before anything of it is read.
pub fn check(peer: Peer, parts: &Parts) -> Result<(), Refusal> {
    let headers = &parts.headers;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    check_site(peer, parts)?;
    let is_browser = headers.get(header::AUTHORIZATION).and_then(|text| text.to_str().ok()).is_some_and(is_basic);
    if is_browser && parts.method != Method::GET {
        return Err(unauthenticated("with a password only questions are answered; a change needs a Bearer token"));
    }
    let names = parts.uri.query().unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    if names.into_iter().any(|name| matches!(name, "token" | "access_token" | "authorization" | "bearer")) {
        return Err(
            Error::usage("a token in an address ends up in logs; send it as Authorization: Bearer TOKEN").into()
        );
    }
    Ok(())
}

/// The refusal of a body that is too large.
pub fn too_large() -> Refusal {
    let error = Error::validation(format!("the body of a request has at most {MAX_BODY} bytes"))
        .hint("split the batch, or use the command line");
    Refusal::with_status(error, StatusCode::PAYLOAD_TOO_LARGE).closing()
}

/// Refuses what a page of another site could send: a browser that was led here by a name of that site, or a form of it.
fn check_site(peer: Peer, parts: &Parts) -> Result<(), Refusal> {
    let refuse = |what: &str| Err(Error::new(Code::Unauthorized, what.to_owned()).into());
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    if hosts.next().is_some() {
        return refuse("a request has one Host");
    }
    // Where a request names its server twice, what stands between may have judged the other name.
    if parts.uri.authority().is_some_and(|named| !named.as_str().eq_ignore_ascii_case(host)) {
        return refuse("the address of the request is not at its Host");
    }
    if let Peer::Tcp(address) = peer {
        let port = address.map(|address| address.port()).unwrap_or_default();
        let own = address.map(|address| address.ip()).filter(IpAddr::is_ipv4).map(|ip| ip.to_string());
        let names = ["127.0.0.1", "localhost", "[::1]"].into_iter().chain(own.as_deref());
        // The port that is meant where none is named.
        let (name, named) = host.rsplit_once(':').filter(|(name, _)| !name.ends_with(':')).unwrap_or((host, "80"));
        if named != port.to_string() || !names.into_iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
            return refuse("the Host of the request is not this server");
        }
    }
    let of = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if of("origin").is_some_and(|origin| origin != format!("http://{host}")) {
        return refuse("requests of pages of other sites are refused");
    }
    if of("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return refuse("requests of pages of other sites are refused");
    }
    Ok(())
}

/// Who asks.
///
/// Errors: 401 for a token that is missing or unknown, 403 for a header that names another agent than the token.
pub fn caller(app: &App, peer: Peer, headers: &HeaderMap) -> Result<Request, Refusal> {
    let header = |name: &str| text_of(headers, name);
    let agent = header("x-agentpm-agent")?;
    let request = Request {
        agent: agent.clone(),
        session: header("x-agentpm-session")?,
        correlation_id: header("x-correlation-id")?,
        plan_id: header("x-plan-id")?,
        idempotency_key: guard_of(headers, "idempotency-key")?,
        full: false,
        authenticated: false,
    };
    let unknown = || unauthenticated("the authorization is no Bearer token");
    let token = header("authorization")?.map(|text| token_of(&text).ok_or_else(unknown)).transpose()?;
    let Some(token) = token else {
        return match peer {
            Peer::Socket => Ok(request),
            Peer::Tcp(_) => Err(unauthenticated("a request over TCP needs a token")),
        };
    };
    let ws = app.workspace(request.clone())?;
    if let Some(owner) = engine::commit::tokens::agent_of(&ws, &token)? {
        if let Some(other) = agent.filter(|agent| *agent != owner) {
            let message = format!("this token is {owner}'s; it cannot act as {}", quoted(&other));
            return Err(Error::new(Code::Unauthorized, message).into());
        }
        return Ok(Request { agent: Some(owner), authenticated: true, ..request });
    }
    if !engine::commit::tokens::is_of_server(&ws, &token)? {
        return Err(unauthenticated("the token is not known here; it may have been revoked"));
    }
    if request.agent.is_some() && ws.rights.0.is_some() && matches!(peer, Peer::Tcp(_)) {
        return Err(Error::new(Code::Unauthorized, "with roles.yml an agent needs a token of its own over TCP")
            .hint("agentpm agent token NAME issues one")
            .into());
    }
    Ok(request)
}

fn unauthenticated(what: &str) -> Refusal {
    let error = Error::new(Code::Unauthorized, what.to_owned())
        .hint("agentpm serve --print-token prints the server's token, agentpm agent token NAME issues one of an agent");
    Refusal::with_status(error, StatusCode::UNAUTHORIZED)
}

/// The token of an `Authorization`: of the scheme Bearer, or the password of Basic, for which a browser asks its user.
fn token_of(text: &str) -> Option<String> {
    let (scheme, token) = text.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(token.trim().to_owned());
    }
    let pair = BASE64_STANDARD.decode(token.trim()).ok().filter(|_| is_basic(text))?;
    String::from_utf8(pair).ok()?.split_once(':').map(|(_, password)| password.to_owned())
}

fn is_basic(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
}

/// The value of a header, which is given at most once.
pub fn text_of(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).ok().filter(|text| text.len() <= MAX_HEADER);
    match text.filter(|_| values.next().is_none()) {
        Some(text) => Ok(Some(text.to_owned()).filter(|text| !text.is_empty())),
        None => {
            Err(Error::usage(format!("the header {name} is given once, as text of at most {MAX_HEADER} bytes")).into())
        }
    }
}

/// As [`text_of`], of a header that guards a change: without a value it would guard nothing.
pub fn guard_of(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refusal> {
    match headers.get(name).is_some_and(|value| value.is_empty()) {
        true => {
            Err(Error::usage(format!("the header {name} is empty")).hint("leave it out, or give it a value").into())
        }
        false => text_of(headers, name),
    }
}
