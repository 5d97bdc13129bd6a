//! The command `bus`: prints where the bridge leads once it is there, and ends with it.

use std::io::Write as _;
use std::time::Duration;

use super::global::Global;
use super::options::Bus;
use super::output::{Form, Output, escape, form};
use crate::api::{self, envelope};
use crate::bus::{self, BridgeReport, Bridged, Bridging, StreamLimits};
use crate::engine::Options;
use crate::env::Env;
use crate::error::Result;

/// Exchanges events until a signal ends it, or once.
pub fn bridge(env: Env, options: Options, args: Bus, global: &Global) -> Result<Output> {
    let form = form(global, false)?;
    let once = args.once;
    let limits = StreamLimits {
        bytes: args.max_bytes,
        age: Duration::from_millis(u64::try_from(args.max_age.millis).unwrap_or(0)),
        replicas: args.replicas,
        refuse_when_full: args.refuse_when_full,
    };
    let bridging = Bridging { url: args.url, creds: args.creds, limits, once };
    let report = bus::bridge(env, options, &bridging, |bridged| {
        if !once {
            begin(form, bridged);
        }
    })?;
    if !once {
        return Ok(Output { document: true, ..Output::default() });
    }
    Ok(Output { human: words(&report), data: api::without_empty(&report), ..Output::default() })
}

fn begin(form: Form, bridged: &Bridged) {
    let text = match form {
        Form::Human => {
            let differs = bridged.differs.iter().map(|what| format!("the stream is used as it is: {what}\n"));
            format!("{}  {}\n{}", escape(&bridged.server), bridged.stream, differs.collect::<String>())
        }
        Form::Json | Form::Lines => format!("{}\n", envelope::success(bridged)),
    };
    let mut out = std::io::stdout().lock();
    // The reader closed the pipe and knows enough.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn words(report: &BridgeReport) -> String {
    let mut words = vec![format!("published {}", report.published), format!("took in {}", report.taken)];
    words.extend((report.refused > 0).then(|| format!("refused {}", report.refused)));
    words.extend((report.waiting > 0).then(|| format!("{} wait for others", report.waiting)));
    format!("{}\n", words.join(", "))
}
