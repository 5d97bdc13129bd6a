//! The description of the server, held against it by a tool that knows nothing else: requests that fit it, and requests that do not.

use std::process::Stdio;

use crate::machine::needs;
use crate::sandbox::{Answer, Sandbox, plays_all};
use crate::server::Server;

/// What each answer must be: a documented status, of the documented form, and never a failure of the server. What does not fit the
/// description is refused.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      unsupported_method,allow_header_conformance,negative_data_rejection";

/// A plan with a remote, so that it can be synchronized.
fn with_remote() -> Sandbox {
    let room = Sandbox::new();
    let remote = room.beside("remote.git").display().to_string();
    room.git(&["init", "-q", "--bare", "-b", "main", &remote]).text();
    room.git(&["remote", "add", "origin", &remote]).text();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    room.git(&["push", "-q", "-u", "origin", "main"]).text();
    room.task("one", &[]);
    room
}

#[test]
fn what_is_made_from_the_description_is_answered_as_it_says() {
    needs!("schemathesis");
    let room = with_remote();
    let server = Server::start(&room, &["--tcp", "127.0.0.1:0", "--rate", "1000000"]);
    let token = room.run(&["serve", "--print-token", "--quiet"]).text().to_owned();
    let url = format!("http://{}/openapi.json", server.tcp.unwrap());
    let (seconds, examples) = if plays_all() { ("240", "20") } else { ("20", "2") };
    let mut command = room.sealed("schemathesis", &room.home());
    command.args(["run", &url, "--checks", CHECKS, "--continue-on-failure", "--no-color", "--seed", "1"]);
    command.args(["--phases", "coverage,fuzzing", "--max-examples", examples, "--max-time", seconds]);
    command.args(["-H", &format!("Authorization: Bearer {token}"), "-H", "X-Agentpm-Agent: ada"]);
    // One worker: Python 3.11 loses count in its parser where several threads use it.
    command.args(["--workers", "1"]);
    // A wait and a stream are answered when something happens.
    command.args(["--exclude-path-regex", "wait|/events/stream", "--request-timeout", "60"]);
    let answer = Answer::from(command.stdin(Stdio::null()).output().unwrap());
    assert_eq!(answer.code, 0, "{}\n{}\nthe server printed: {}", answer.stdout, answer.stderr, server.printed());
    server.ask("GET", "/healthz", None).data();
}
