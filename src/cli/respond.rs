//! Carries out a call and shows its answer; with lists of any length, waiting, and editing in an editor.
//!
//! Leaves to others: from a verb to its call (`run`), and answers in words (`words`).

use std::io::{IsTerminal as _, Write as _};

use serde_json::json;

use super::global::Global;
use super::input::MAX_INPUT;
use super::options::NextArgs;
use super::output::{Form, Output, form};
use super::{task_words, words};
use crate::api::{self, Answer, Call, Item};
use crate::engine::query::names::name_tasks;
use crate::engine::{self, Workspace};
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::model::job::{Job, NextWait};
use crate::model::query::{self, Query, TaskGet, TaskPath};

/// Carries out a call and shows its answer in the requested form.
pub fn respond(ws: &Workspace, call: &Call, global: &Global) -> Result<Output> {
    match streamed(ws, call, global)? {
        Some(output) => Ok(output),
        None => words::output(ws, api::call(ws, call)?, global),
    }
}

/// The answer to a call that gives a list of any length: a plan of a hundred thousand tasks fits as text where it would not as
/// documents. `None` for other calls, and where the whole list is needed at once for a table.
fn streamed(ws: &Workspace, call: &Call, global: &Global) -> Result<Option<Output>> {
    let for_people = form(global, call.name().starts_with("lint"))? == Form::Human;
    if matches!(call, Call::Query(Query::TaskList(_))) && (for_people || global.quiet) {
        return Ok(None);
    }
    let (mut text, mut shown) = (String::new(), 0);
    let mut take = |item: Item| {
        shown += 1;
        match item {
            Item::Event(line) if for_people => {
                text.push_str(&task_words::event(&serde_json::from_str(&line).unwrap_or_default()));
                return;
            }
            Item::Event(line) => text.push_str(&line),
            Item::Task(_, json) => text.push_str(&json),
        }
        text.push('\n');
    };
    let Some(rest) = api::stream(ws, call, &mut take) else { return Ok(None) };
    let rest = rest?;
    let exact = matches!(call, Call::Job(_));
    let quiet = rest.next_cursor.clone().filter(|_| exact);
    if for_people {
        text = task_words::events(std::iter::once(text));
    }
    if for_people && rest.truncated {
        text.insert_str(0, &format!("the newest {shown} of {}; --all shows all\n", rest.total));
    }
    let data = json!(rest);
    Ok(Some(match for_people {
        true => Output { data, human: text, quiet, ..Output::default() },
        false => Output { data, items: Some(text), quiet, exact, ..Output::default() },
    }))
}

/// Shows or claims the next task; with `--wait` as soon as there is one.
pub fn next(ws: &Workspace, args: &NextArgs, global: &Global) -> Result<Output> {
    let NextArgs { how, wait } = *args;
    let answered = match wait {
        Some(wait) => api::call(ws, &Call::Job(Job::NextWait(NextWait { wait, how })))?,
        None if how.claim => api::claim(ws, &how.claim(), how.look.explain)?,
        None => api::next(ws, &how.look)?,
    };
    words::output(ws, answered, global)
}

pub fn reviewed(ws: &Workspace, args: query::Review, global: &Global) -> Result<Output> {
    let (limit, all) = (args.limit, args.all);
    let words = form(global, false)? == Form::Human && !global.quiet;
    if words && args.cursor.is_some() {
        return Err(Error::usage("--cursor continues a list of JSON").hint("add --json, or take --limit N or --all"));
    }
    // Words are bounded by lines, and count what they leave out: for that all of it must be known.
    let asked = match words {
        true => query::Review { limit: None, all: true, ..args },
        // Ids are short: they come all at once.
        false => query::Review { all: all || (global.quiet && limit.is_none()), ..args },
    };
    match api::call(ws, &Call::Query(Query::Review(asked)))?.data {
        Answer::Review(report) => words::reviewed(&report, limit, all, global),
        _ => Err(Error::new(Code::Io, "a review has no other answer")),
    }
}

pub fn edit(ws: &Workspace, args: &TaskPath, global: &Global) -> Result<Output> {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Err(Error::usage("task edit opens an editor and needs a terminal").hint(
            "use agentpm task update, or edit the file that agentpm task path names and run agentpm lint --fix",
        ));
    }
    let id = engine::view::held_task::named_or_held(ws, &args.id).map_err(|e| name_tasks(ws, e))?;
    let editor = ws.env.var("VISUAL").or_else(|| ws.env.var("EDITOR")).unwrap_or("vi").to_owned();
    let path = engine::query::path(ws, args)?.path;
    let before = outside::read(path.as_ref(), MAX_INPUT).map_err(|e| Error::io("read", path.as_ref(), &e))?;
    let mut draft = tempfile::Builder::new()
        .prefix("agentpm-")
        .suffix(".yaml")
        .tempfile()
        .map_err(|e| Error::io("make a draft in", &std::env::temp_dir(), &e))?;
    draft.write_all(&before).map_err(|e| Error::io("write", draft.path(), &e))?;
    crate::env::process::run_editor(&editor, draft.path())?;
    let after = outside::read(draft.path(), MAX_INPUT).map_err(|e| Error::io("read", draft.path(), &e))?;
    if after != before {
        let before = String::from_utf8(before).map_err(|_| Error::validation(format!("{path} is not valid UTF-8")))?;
        let text = String::from_utf8(after).map_err(|_| Error::validation("the edited text is not valid UTF-8"))?;
        if let Err(e) = engine::commit::hand_edits::record::absorb_text(ws, id, &text, &before) {
            let kept = draft.into_temp_path().keep().map(|p| p.display().to_string()).unwrap_or_default();
            return Err(name_tasks(ws, e).hint(format!("your draft is kept at {kept}")));
        }
    }
    respond(ws, &Call::Query(Query::TaskGet(TaskGet { id: args.id.clone(), at: None, full: false })), global)
}
