//! The command `serve`: prints where the server answers once it does, and ends with it.

use std::io::Write as _;

use serde_json::json;

use super::global::Global;
use super::options::Serve;
use super::output::{Form, Output, escape, form};
use crate::api::envelope;
use crate::engine::{Options, Workspace};
use crate::env::Env;
use crate::error::Result;
use crate::server::{self, Serving};

/// Serves until a signal ends it. The answer itself is empty.
pub fn serve(env: Env, options: Options, args: &Serve, global: &Global) -> Result<Output> {
    let form = form(global, false)?;
    server::serve(env, options, Serving { tcp: args.tcp, rate: args.rate }, |addresses| {
        let text = match form {
            Form::Human => {
                let tcp = addresses.tcp.map(|tcp| format!("http://{tcp}\n")).unwrap_or_default();
                format!("{}\n{tcp}", escape(&addresses.socket.display().to_string()))
            }
            Form::Json | Form::Lines => format!("{}\n", envelope::success(addresses)),
        };
        let mut out = std::io::stdout().lock();
        // The reader closed the pipe and knows enough.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    })?;
    Ok(Output { document: true, ..Output::default() })
}

/// Prints the token of the server.
pub fn token(ws: &Workspace) -> Result<Output> {
    let token = server::token(ws)?;
    Ok(Output { data: json!({ "token": token }), human: format!("{token}\n"), quiet: Some(token), ..Output::default() })
}
