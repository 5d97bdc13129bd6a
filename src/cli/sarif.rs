//! Findings as SARIF 2.1.0, which code hosts and editors read.
//!
//! Guarantees that the document is valid against the schema, and that a finding keeps its fingerprint when lines move.
//! Leaves to others: how faults are found.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::model::finding::{Finding, Rule};

/// A whole log with one run.
pub fn log(findings: &[Finding]) -> String {
    let mut seen = BTreeMap::new();
    let results: Vec<Value> = findings.iter().map(|finding| result(finding, &mut seen)).collect();
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "agentpm",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": Rule::ALL.iter().copied().map(rule).collect::<Vec<_>>(),
            } },
            "results": results,
        }],
    });
    format!("{log}\n")
}

fn rule(rule: Rule) -> Value {
    json!({
        "id": rule.code(),
        "shortDescription": { "text": rule.summary() },
        "fullDescription": { "text": format!("{} Fix: {}.", rule.summary(), rule.fix()) },
        "help": { "text": rule.page(), "markdown": rule.page() },
        "defaultConfiguration": { "level": rule.severity().as_str() },
    })
}

fn result(finding: &Finding, seen: &mut BTreeMap<String, usize>) -> Value {
    let mut result = json!({
        "ruleId": finding.rule.code(),
        "ruleIndex": Rule::ALL.iter().position(|rule| *rule == finding.rule),
        "level": finding.severity.as_str(),
        "message": { "text": format!("{}. Fix: {}.", finding.message, finding.fix) },
        "partialFingerprints": { "agentpm/v1": fingerprint(finding, seen) },
    });
    if let Some(path) = &finding.path {
        let mut place = Map::from_iter([("artifactLocation".to_owned(), artifact(path))]);
        if let Some(line) = finding.line {
            place.insert("region".to_owned(), json!({ "startLine": line }));
        }
        result["locations"] = json!([{ "physicalLocation": place }]);
    }
    result
}

/// Files of the repository by their path below its top; others, such as the user's own settings, by their whole path.
fn artifact(path: &str) -> Value {
    match path.starts_with('/') {
        true => json!({ "uri": format!("file://{}", encoded(path)) }),
        false => json!({ "uri": encoded(path), "uriBaseId": "%SRCROOT%" }),
    }
}

/// What RFC 3986 does not leave as it is, percent-encoded; a colon too, which would make a scheme of what stands before it.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// What a finding is known by: everything but its line. Of several that are alike the first, the second and so on.
fn fingerprint(finding: &Finding, seen: &mut BTreeMap<String, usize>) -> String {
    let id = |id: Option<crate::model::id::Id>| id.map(|id| id.to_string()).unwrap_or_default();
    let path = finding.path.as_deref().unwrap_or_default();
    let parts = [finding.rule.code(), path, &id(finding.task), &id(finding.event), &finding.message];
    let whole = parts.join("\0");
    let count = seen.entry(whole.clone()).or_default();
    *count += 1;
    let digest = Sha256::digest(format!("{whole}\0{count}"));
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_addresses_and_fingerprints_do_not_know_lines() {
        assert_eq!(encoded(".agentpm/a b%ü:c"), ".agentpm/a%20b%25%C3%BC%3Ac");
        let print = |line, seen: &mut _| fingerprint(&Finding::new(Rule::LogLine, "x").at("f", Some(line)), seen);
        let mut seen = BTreeMap::new();
        let (one, two) = (print(1, &mut seen), print(2, &mut seen));
        assert_eq!(print(9, &mut BTreeMap::new()), one);
        assert_ne!(one, two, "two of a kind are two results");
    }
}
