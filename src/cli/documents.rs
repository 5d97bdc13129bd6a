//! Answers that need no store: completions, help, the manual, schemas, the OpenAPI description.
//!
//! Leaves to others: what the schemas say (`engine::schema`, `api::openapi`).

use clap::{Args as _, CommandFactory as _};
use serde_json::json;

use super::args::Cli;
use super::global::Global;
use super::help;
use super::options::Schema;
use super::output::Output;
use crate::api;
use crate::engine::{self};
use crate::error::{Code, Error, Result};
use crate::model::finding::Rule;
use crate::model::id::quoted;

pub fn openapi() -> Result<Output> {
    let data = api::openapi::document().clone();
    let human = serde_json::to_string_pretty(&data).unwrap_or_default() + "\n";
    Ok(Output { data, human, document: true, ..Output::default() })
}

pub fn document(text: String) -> Output {
    Output { data: json!({ "text": text }), human: text, document: true, ..Output::default() }
}

pub fn completions(shell: clap_complete::Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "agentpm", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The `--help` of a command, or a page without a command.
pub fn help_on(topic: &[String]) -> Result<Output> {
    if topic == ["agents"] {
        return Ok(document(help::AGENTS.to_owned()));
    }
    if topic == ["options"] {
        return Ok(document(options_of_every_command()));
    }
    let mut words: Vec<&str> = vec!["agentpm"];
    words.extend(topic.iter().map(String::as_str));
    words.push("--help");
    match Cli::command().try_get_matches_from(words) {
        Err(e) if e.kind() == clap::error::ErrorKind::DisplayHelp => Ok(document(e.render().to_string())),
        _ => Err(Error::usage(format!("there is no help on {}", quoted(&topic.join(" "))))
            .hint("agentpm help lists the commands; agentpm help agents is the loop of an agent")),
    }
}

fn options_of_every_command() -> String {
    let mut page = "Options of every command:\n".to_owned();
    for option in Global::augment_args(clap::Command::default()).get_arguments() {
        let short = option.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        let takes = option.get_action().takes_values();
        let value = option.get_value_names().into_iter().flatten().filter(|_| takes).map(|name| format!(" <{name}>"));
        let name = format!("{short}--{}{}", option.get_long().unwrap_or_default(), value.collect::<String>());
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        page.push_str(&format!("  {name:<24} {help}\n"));
    }
    page
}

/// The manual page of the program, and one for each of its commands.
pub fn man() -> Result<Output> {
    let mut out = Vec::new();
    let mut pages = vec![Cli::command()];
    let mut rendered = Ok(());
    while let Some(mut page) = pages.pop() {
        page.build();
        let name = page.get_name().to_owned();
        pages.extend(page.get_subcommands().filter(|s| !s.is_hide_set()).map(|s| {
            s.clone().display_name(format!("{name}-{}", s.get_name())).name(format!("{name} {}", s.get_name()))
        }));
        rendered = rendered.and_then(|()| clap_mangen::Man::new(page).render(&mut out));
    }
    rendered.map_err(|e| Error::new(Code::Io, format!("could not make the manual: {e}")))?;
    Ok(document(String::from_utf8_lossy(&out).into_owned()))
}

pub fn schema(args: &Schema) -> Result<Output> {
    let data = match args.name.as_deref() {
        None => {
            let names: Vec<&str> = api::OPERATIONS.iter().map(|operation| operation.name).collect();
            json!({ "schemas": ["task-file", "config", "roles", "plan", "batch", "task", "errors", "rules"], "operations": names })
        }
        Some("task-file") => engine::schema::task_file(),
        Some("config") => engine::schema::config(),
        Some("roles") => engine::schema::roles(),
        Some("plan") => engine::schema::plan(),
        Some("task") => json!(api::find("task.get").map(|operation| (operation.answer)())),
        Some("errors") => Code::ALL.iter().map(|code| json!({ "code": code, "exit": code.exit() })).collect(),
        Some("rules") => Rule::ALL
            .iter()
            .map(|rule| {
                json!({
                    "code": rule.code(), "severity": rule.severity(), "mend": rule.fix(), "summary": rule.summary(),
                    "configurable": rule.is_configurable(),
                })
            })
            .collect(),
        Some(name) => match api::find(name) {
            Some(operation) => {
                // A step of a batch is any other operation, which its type does not say.
                let mut schema = if name == "batch" { engine::schema::batch() } else { json!(operation.arguments) };
                schema["answer"] = json!((operation.answer)());
                schema
            }
            None => {
                return Err(Error::not_found(format!("there is no schema {name:?}")).hint("agentpm schema lists them"));
            }
        },
    };
    let human = serde_json::to_string_pretty(&data).unwrap_or_default() + "\n";
    Ok(Output { data, human, document: args.bare, ..Output::default() })
}
