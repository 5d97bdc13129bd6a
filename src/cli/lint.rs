//! `lint` at the command line: its arguments, and the findings in the requested form.
//!
//! Guarantees exit 0 without output where there is no store, unless a format for machines is requested or a named revision
//! has one.
//! Leaves to others: how faults are found.

use std::io::Read as _;

use serde_json::json;

use super::global::Global;
use super::options::Lint;
use super::output::{Output, escape, for_terminal};
use super::sarif;
use crate::api::{self, Call};
use crate::engine::{self, LintReport, Options};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::model::finding::{Finding, Rule};
use crate::model::job::{Job, LintFix, LintSince};
use crate::model::plain::counted;
use crate::model::query::{self, Query};
use crate::model::suggest::near;

/// Most bytes of a text that is judged.
const MAX_TEXT: u64 = 128 * 1024 * 1024;

/// Whether lint can answer where no store can be opened: git's index holds the plan even if the work tree has none, or one that
/// cannot be read; an editor asks about any file; a page of a rule always exists.
pub fn needs_no_store(args: &Lint) -> bool {
    args.staged || args.stdin || args.explain.is_some()
}

/// Answers such a question.
pub fn without_store(env: &Env, options: &Options, args: &Lint, global: &Global) -> Result<Output> {
    if let Some(code) = &args.explain {
        return explain(code, global);
    }
    let report = match &args.path {
        Some(path) => {
            let mut text = Vec::new();
            let read = std::io::stdin().lock().take(MAX_TEXT).read_to_end(&mut text);
            read.map_err(|e| Error::io("read", "standard input".as_ref(), &e))?;
            match engine::lint_text(env, options, path, &text) {
                Err(e) => return no_folder(env, args, global, e),
                judged => judged?,
            }
        }
        None => engine::lint_staged(env, options)?,
    };
    Ok(report.map_or_else(|| no_store(global), |report| output(&report, global)))
}

/// The call that checks or repairs an opened store.
pub fn call(args: Lint) -> Call {
    match args.base {
        Some(base) => Call::Job(Job::LintSince(LintSince { base })),
        None if args.fix => {
            let deleted = args.deleted.unwrap_or_default();
            Call::Job(Job::LintFix(LintFix { drop_comments: args.drop_comments, deleted }))
        }
        None => Call::Query(Query::Lint(query::Lint {})),
    }
}

/// Answers where the work tree has no store: one that a revision has may be missed.
pub fn nowhere(env: &Env, args: &Lint, global: &Global) -> Result<Output> {
    let report = args.base.as_ref().map(|base| engine::lint_dropped(env, base)).transpose()?.flatten();
    Ok(report.map_or_else(|| no_store(global), |report| output(&report, global)))
}

/// Answers where no store can be opened: where it is no folder that is a finding like any other.
pub fn no_folder(env: &Env, args: &Lint, global: &Global, e: Error) -> Result<Output> {
    let report = engine::lint_no_folder(env, args.base.as_deref(), &e)?;
    report.map_or(Err(e), |report| Ok(output(&report, global)))
}

/// What is said where there is no store: a hook must be able to run lint anywhere.
fn no_store(global: &Global) -> Output {
    let nothing = LintReport::default();
    let human = if is(global, "sarif") { for_terminal(sarif::log(&nothing.findings)) } else { String::new() };
    Output { data: api::without_empty(&nothing), human, lines: Some(Vec::new()), document: true, ..Output::default() }
}

/// A report in the requested form.
pub fn output(report: &LintReport, global: &Global) -> Output {
    let data = api::without_empty(report);
    let human = match global.format.as_deref() {
        Some("github") => report.findings.iter().map(annotation).collect(),
        Some("sarif") => for_terminal(sarif::log(&report.findings)),
        _ => words(report),
    };
    let fixed = report.fixed.iter().map(|words| json!({ "fixed": words }));
    let refused = report.refused.iter().map(|refused| json!({ "refused": refused }));
    let findings = report.findings.iter().map(api::without_empty);
    let lines = Some(fixed.chain(refused).chain(findings).collect());
    // What was asked for and not done is no success either.
    let exit = u8::from(report.errors > 0 || !report.refused.is_empty());
    Output { human, data, lines, exit, ..Output::default() }
}

/// Findings, a line each, followed by the fix.
fn words(report: &LintReport) -> String {
    let mut out: String = report.fixed.iter().map(|fixed| format!("fixed: {}\n", escape(fixed))).collect();
    for refused in &report.refused {
        let code = refused.code.map(|code| format!("{}: ", code.as_str())).unwrap_or_default();
        let hint = refused.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        out.push_str(&format!("refused: {code}{}\n", escape(&format!("{}{hint}", refused.message))));
    }
    for finding in &report.findings {
        let line = finding.line.map(|n| format!(":{n}")).unwrap_or_default();
        let place = finding.path.as_ref().map(|path| format!("{}{line}: ", escape(path))).unwrap_or_default();
        let (code, message) = (finding.rule.code(), escape(&finding.message));
        out.push_str(&format!(
            "{place}{} {code}: {message}\n    {}\n",
            finding.severity.as_str(),
            escape(&finding.fix)
        ));
    }
    let (tasks, errors) = (counted(report.checked, "task"), counted(report.errors, "error"));
    out.push_str(&format!("{tasks}: {errors}, {}\n", counted(report.warnings, "warning")));
    out
}

fn is(global: &Global, format: &str) -> bool {
    global.format.as_deref() == Some(format)
}

/// A finding as a command of a GitHub workflow, which shows it at its line.
fn annotation(finding: &Finding) -> String {
    let level = finding.severity.as_str();
    let mut properties = Vec::new();
    if let Some(path) = &finding.path {
        properties.push(format!("file={}", property(&escape(path))));
        properties.extend(finding.line.map(|line| format!("line={line}")));
    }
    properties.push(format!("title={}", property(&format!("agentpm {}", finding.rule.code()))));
    let message = format!("{}\nFix: {}", escape(&finding.message), finding.fix);
    format!("::{level} {}::{}\n", properties.join(","), data(&message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The page of a rule.
fn explain(code: &str, global: &Global) -> Result<Output> {
    if is(global, "github") || is(global, "sarif") {
        return Err(Error::usage("a page has no such format").hint("use md, text or json"));
    }
    let rule = Rule::of(code).ok_or_else(|| {
        let near = near(code, Rule::ALL.iter().map(|rule| rule.code()));
        let hint = match near[..] {
            [] => "agentpm schema rules lists them".to_owned(),
            _ => format!("did you mean {}? agentpm schema rules lists them all", near[..near.len().min(3)].join(", ")),
        };
        Error::not_found(format!("there is no rule {code:?}")).hint(hint)
    })?;
    let data = json!({
        "code": rule.code(), "severity": rule.severity(), "summary": rule.summary(), "mend": rule.fix(),
        "configurable": rule.is_configurable(), "page": rule.page(),
    });
    Ok(Output { data, human: rule.page().to_owned(), markdown: true, ..Output::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_one_line_whatever_stands_in_it() {
        let finding = Finding::new(Rule::OddFile, "100%: a\nb\r,c").at("a,b:c%\n.txt", Some(3));
        let line = annotation(&finding);
        let begin = "::error file=a%2Cb%3Ac%25⏎.txt,line=3,title=agentpm odd-file::100%25: a⏎b\\u{d},c%0AFix: ";
        assert!(line.starts_with(begin) && line.matches('\n').count() == 1, "{line}");
    }
}
