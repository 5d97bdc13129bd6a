//! Lists: the items of one answer, and where to go on.

use schemars::JsonSchema;
use serde::Serialize;

/// A list of which this may be a page.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct List<T> {
    /// The items.
    pub items: Vec<T>,
    /// The rest of the list.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What a list says besides its items.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Rest {
    /// The number of all items.
    pub total: u64,
    /// Whether more items follow.
    pub truncated: bool,
    /// Where to go on; absent after the last item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// The number of shown tasks whose task.yaml was edited by hand, which is not recorded; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unrecorded_edits: Option<u64>,
}

impl Rest {
    /// The rest of a list of so many items.
    pub fn new(total: u64, next_cursor: Option<String>) -> Self {
        Rest { total, truncated: next_cursor.is_some(), next_cursor, unrecorded_edits: None }
    }

    /// The same with so many unrecorded edits.
    pub fn with_unrecorded_edits(self, edits: u64) -> Self {
        Rest { unrecorded_edits: (edits > 0).then_some(edits), ..self }
    }
}

/// What the marks of so many edited tasks mean, as a line; `None` if there is none.
pub fn edits_words(edits: Option<u64>) -> Option<String> {
    let n = edits?;
    let were = if n == 1 { "1 task was" } else { &format!("{n} tasks were") };
    Some(format!("* {were} edited by hand; the values are from before, agentpm lint --fix records the edits"))
}

impl<T> List<T> {
    /// A list that is shown whole.
    pub fn whole(items: Vec<T>) -> Self {
        List { rest: Rest::new(items.len() as u64, None), items }
    }
}
