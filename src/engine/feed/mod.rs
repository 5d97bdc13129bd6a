//! Events as they arrive: pulled from a cursor, waited for, and recorded from another replica.

pub(crate) mod noted;
#[cfg(feature = "bus")]
pub(crate) mod offers;
pub(crate) mod stream;
pub(crate) mod wakeup;
