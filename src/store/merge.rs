//! Merges three versions of a readable file by its keys, and its lists by their entries.
//!
//! Guarantees that a conflict covers one field, or one entry of a list, and that no line of either side is dropped.
//! Leaves to others: the logs; if these are known, the file is rendered from them.

use std::collections::BTreeSet;

use crate::store::yaml;

/// Lists whose entries stand in the order of their ids.
const SORTED: [&str; 4] = ["relationships", "progress", "context", "threads"];
const ACCEPTANCE: &str = "acceptance";

/// The result of merging three versions of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct MergeResult {
    /// The file, with markers for any conflicts.
    pub text: String,
    /// The keys in conflict.
    pub conflicts: Vec<String>,
}

/// Merges the changes of `theirs` since `base` into `ours`. An empty base has no keys.
pub fn merge(base: &str, ours: &str, theirs: &str) -> MergeResult {
    if theirs == base || ours == base {
        let text = if theirs == base { ours } else { theirs };
        return MergeResult { text: text.to_owned(), conflicts: Vec::new() };
    }
    let (Some(mine), Some(other)) = (Blocks::of(ours), Blocks::of(theirs)) else { return whole(ours, theirs) };
    // Git's own merge of several ancestors may contain conflicts.
    let before = Blocks::of(base).unwrap_or(Blocks(Vec::new()));
    let mut keys: Vec<&str> = mine.keys().collect();
    for (n, key) in other.keys().enumerate().filter(|(_, key)| mine.get(key).is_none()) {
        // A new key is placed as in its own file: after the nearest earlier key that both have.
        let before: Vec<&str> = other.keys().take(n).collect();
        let at = before.iter().rev().find_map(|known| keys.iter().position(|k| k == known)).map_or(0, |at| at + 1);
        keys.insert(at, key);
    }
    let (mut text, mut conflicts) = (String::new(), Vec::new());
    for key in keys {
        let sides = [before.get(key), mine.get(key), other.get(key)];
        if merge_block(key, sides, &mut text) {
            conflicts.push(key.to_owned());
        }
    }
    match conflicts.is_empty() && yaml::read_value(&text).is_err() {
        true => whole(ours, theirs),
        false => MergeResult { text, conflicts },
    }
}

/// Both files as one conflict.
fn whole(ours: &str, theirs: &str) -> MergeResult {
    let mut text = String::new();
    write_conflict(ours, theirs, &mut text);
    MergeResult { text, conflicts: vec!["the whole file".into()] }
}

fn write_conflict(ours: &str, theirs: &str, out: &mut String) {
    for (mark, side) in [("<<<<<<< ours", ours), ("=======", theirs)] {
        out.push_str(mark);
        out.push('\n');
        out.push_str(side);
        if !side.is_empty() && !side.ends_with('\n') {
            out.push('\n');
        }
    }
    out.push_str(">>>>>>> theirs\n");
}

/// Merges a block, or an entry of a list. Returns whether it is in conflict.
fn merge_lines(base: &str, ours: &str, theirs: &str, out: &mut String) -> bool {
    let clean = if theirs == base || ours == theirs {
        Some(ours)
    } else if ours == base {
        Some(theirs)
    } else {
        None
    };
    match clean {
        Some(text) => out.push_str(text),
        None => write_conflict(ours, theirs, out),
    }
    clean.is_none()
}

fn merge_block(key: &str, [base, ours, theirs]: [Option<&str>; 3], out: &mut String) -> bool {
    let [base, ours, theirs] = [base, ours, theirs].map(Option::unwrap_or_default);
    if theirs == base || ours == theirs || ours == base || !(SORTED.contains(&key) || key == ACCEPTANCE) {
        return merge_lines(base, ours, theirs, out);
    }
    let lists = [base, ours, theirs].map(|block| List::of(key, block));
    let [Some(before), Some(mine), Some(other)] = lists else { return merge_lines(base, ours, theirs, out) };
    if [&before, &other].iter().any(|list| !list.entries.is_empty() && list.head != mine.head) {
        return merge_lines(base, ours, theirs, out);
    }
    let mut names: Vec<&str> = mine.names().chain(other.names().filter(|name| mine.get(name).is_none())).collect();
    if SORTED.contains(&key) {
        // Entries without an id, which a user wrote, come last.
        names.sort_by_key(|name| (!mine.is_id(name) && !other.is_id(name), name.to_string()));
    }
    let mut conflict = false;
    let mut body = String::new();
    for name in names {
        let [base, ours, theirs] = [&before, &mine, &other].map(|list| list.get(name).unwrap_or_default());
        conflict |= merge_lines(base, ours, theirs, &mut body);
    }
    if !body.is_empty() {
        out.push_str(&mine.head);
        out.push_str(&body);
    }
    conflict
}

/// A file as its top-level keys, each with its lines.
struct Blocks<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Blocks<'t> {
    /// `None` for a text that is not a sequence of distinct keys.
    fn of(text: &'t str) -> Option<Self> {
        let mut starts: Vec<(usize, &str)> = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            if !line.starts_with([' ', '-', '#', '\n', '\t']) {
                let (key, _) = line.split_once(':')?;
                starts.push((at, key.trim_matches(['"', '\''])));
            } else if starts.is_empty() {
                return None;
            }
            at += line.len();
        }
        let unique: BTreeSet<&str> = starts.iter().map(|(_, key)| *key).collect();
        let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([text.len()]);
        let blocks = starts.iter().zip(ends).map(|((from, key), to)| (*key, &text[*from..to])).collect();
        (unique.len() == starts.len() && (text.is_empty() || text.ends_with('\n'))).then_some(Blocks(blocks))
    }

    fn keys(&self) -> impl Iterator<Item = &'t str> {
        self.0.iter().map(|(key, _)| *key)
    }

    fn get(&self, key: &str) -> Option<&'t str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, lines)| *lines)
    }
}

/// The entries of a list by their names.
struct List {
    /// The line of the key.
    head: String,
    entries: Vec<(String, bool, String)>,
}

impl List {
    /// `None` for a list that is not written as agentpm writes it. An absent one has no entries.
    fn of(key: &str, block: &str) -> Option<Self> {
        let (head, body) = block.split_once('\n').unwrap_or_default();
        if !block.is_empty() && head != format!("{key}:") {
            return None;
        }
        let mut texts: Vec<String> = Vec::new();
        for line in body.split_inclusive('\n') {
            match line.strip_prefix("  - ") {
                Some(_) => texts.push(line.to_owned()),
                None if line.starts_with("    ") || line == "\n" => texts.last_mut()?.push_str(line),
                None => return None,
            }
        }
        let name = |text: String| {
            let id = text.lines().find_map(|line| line[4..].strip_prefix("id: ").filter(|_| line.len() > 4));
            match (key, id) {
                (ACCEPTANCE, _) => (text.lines().next().unwrap_or_default().to_owned(), false, text),
                (_, Some(id)) => (id.to_owned(), true, text.clone()),
                _ => (text.clone(), false, text),
            }
        };
        let entries: Vec<_> = texts.into_iter().map(name).collect();
        let unique: BTreeSet<&String> = entries.iter().map(|(name, ..)| name).collect();
        (unique.len() == entries.len()).then(|| List { head: format!("{key}:\n"), entries })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, ..)| name.as_str())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(known, ..)| known == name).map(|(.., text)| text.as_str())
    }

    fn is_id(&self, name: &str) -> bool {
        self.entries.iter().any(|(known, is_id, _)| *is_id && known == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_different_fields_merge_and_one_field_alone_conflicts() {
        let base = "title: a\nid: 1\nstatus: open\npriority: 1\n";
        let ours = "title: b\nid: 1\nstatus: open\nowner: me\npriority: 2\n";
        let theirs = "title: a\nid: 1\nstatus: blocked\npriority: 3\nlabels:\n  - x\n";
        let merged = merge(base, ours, theirs);
        assert_eq!(merged.conflicts, ["priority"]);
        assert_eq!(
            merged.text,
            "title: b\nid: 1\nstatus: blocked\nowner: me\n<<<<<<< ours\npriority: 2\n=======\npriority: 3\n>>>>>>> theirs\nlabels:\n  - x\n"
        );
    }

    #[test]
    fn lists_merge_by_their_entries() {
        let base = "progress:\n  - id: B\n    completed: false\n";
        let ours = "progress:\n  - id: B\n    completed: true\n  - id: C\n    completed: false\n";
        let theirs = "progress:\n  - id: A\n    completed: false\n  - id: B\n    completed: false\n  - by hand\n";
        let merged = merge(base, ours, theirs);
        assert_eq!(merged.conflicts, Vec::<String>::new());
        assert_eq!(
            merged.text,
            "progress:\n  - id: A\n    completed: false\n  - id: B\n    completed: true\n  - id: C\n    completed: false\n  - by hand\n"
        );
    }

    #[test]
    fn a_list_that_begins_on_both_sides_is_one() {
        let merged = merge("title: a\n", "title: a\nprogress:\n  - id: B\n", "title: a\nprogress:\n  - id: A\n");
        assert_eq!((merged.text.as_str(), merged.conflicts.len()), ("title: a\nprogress:\n  - id: A\n  - id: B\n", 0));
    }

    #[test]
    fn what_is_not_made_of_keys_conflicts_as_a_whole() {
        let merged = merge("a: 1\n", "a: 2\n", "- no mapping\n");
        assert_eq!(merged.text, "<<<<<<< ours\na: 2\n=======\n- no mapping\n>>>>>>> theirs\n");
    }
}
