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
}

impl Rest {
    /// The rest of a list of so many items.
    pub fn new(total: u64, next_cursor: Option<String>) -> Self {
        Rest { total, truncated: next_cursor.is_some(), next_cursor }
    }
}

impl<T> List<T> {
    /// A list that is shown whole.
    pub fn whole(items: Vec<T>) -> Self {
        List { rest: Rest::new(items.len() as u64, None), items }
    }
}
