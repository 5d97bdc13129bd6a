//! The sections of a Markdown text of Backlog.md.
//!
//! Guarantees that no line is lost: what belongs to no known section is part of the intent. A heading within a code block, or
//! between the marks of a section, begins nothing.

/// The sections that have a place of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Description,
    Criteria,
    Done,
    Plan,
    Notes,
    Summary,
    Comments,
    Other,
}

impl Section {
    fn of(title: &str) -> Self {
        match title.trim().to_lowercase().as_str() {
            "description" => Section::Description,
            "acceptance criteria" | "acceptance criteria (optional)" => Section::Criteria,
            "definition of done" => Section::Done,
            "implementation plan" => Section::Plan,
            "implementation notes" => Section::Notes,
            "final summary" => Section::Summary,
            "comments" => Section::Comments,
            _ => Section::Other,
        }
    }
}

/// A text, cut into its sections, in their order.
pub(super) struct Sections(Vec<(Section, String)>);

impl Sections {
    /// Cuts a text at its headings of the second level.
    pub(super) fn of(text: &str) -> Self {
        let mut all = vec![(Section::Other, String::new())];
        let (mut fence, mut is_marked) = (None, false);
        for line in text.lines() {
            let bare = line.trim();
            if let Some(mark) = mark_of(bare) {
                is_marked = match mark {
                    Mark::Begin => true,
                    Mark::End => false,
                    Mark::Entry => is_marked,
                };
                continue;
            }
            let ticks = bare.chars().take_while(|c| *c == '`').count();
            match fence {
                None if ticks >= 3 => fence = Some(ticks),
                Some(open) if ticks >= open && bare.chars().all(|c| c == '`') => fence = None,
                None | Some(_) => {}
            }
            let title = line.strip_prefix("## ").filter(|_| fence.is_none() && !is_marked);
            match title.map(|title| (Section::of(title), title)) {
                // A heading that is not known stays with its text.
                Some((Section::Other, _)) => all.push((Section::Other, format!("{line}\n"))),
                Some((known, _)) => all.push((known, String::new())),
                None => {
                    let (_, text) = all.last_mut().expect("there is a first section");
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        all.iter_mut().for_each(|(_, text)| *text = text.trim().to_owned());
        all.retain(|(_, text)| !text.is_empty());
        Sections(all)
    }

    /// The texts of the sections of one kind.
    pub(super) fn texts(&self, section: Section) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(kind, _)| *kind == section).map(|(_, text)| text.as_str())
    }

    /// The description, and after it the sections that have no place of their own.
    pub(super) fn intent(&self) -> Option<String> {
        let parts: Vec<&str> = self.texts(Section::Description).chain(self.texts(Section::Other)).collect();
        (!parts.is_empty()).then(|| parts.join("\n\n"))
    }
}

/// A comment by which Backlog.md finds a section again.
enum Mark {
    Begin,
    End,
    /// Around one comment of a section.
    Entry,
}

fn mark_of(line: &str) -> Option<Mark> {
    let name = line.strip_prefix("<!--")?.strip_suffix("-->")?.trim();
    let (name, what) = name.rsplit_once(':')?;
    let is_section = name.starts_with("SECTION:") || matches!(name, "AC" | "DOD" | "COMMENTS");
    match what {
        "BEGIN" if is_section => Some(Mark::Begin),
        "END" if is_section => Some(Mark::End),
        "BEGIN" | "END" if name == "COMMENT" => Some(Mark::Entry),
        _ => None,
    }
}
