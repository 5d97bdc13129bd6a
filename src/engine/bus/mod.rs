//! The plan and the message bus: which events are published, how those of others are recorded, and how far both came.
//!
//! Guarantees that what arrives is judged like what git brings, and recorded through the one write path. The journal says what is to
//! be published, so that nothing which was acknowledged is left out.
//! Leaves to others: the connection (`nats`), and when to ask it (`bus`).

#[cfg(feature = "bus")]
pub(crate) mod announce;
#[cfg(feature = "bus")]
pub(crate) mod incoming;
pub(crate) mod lag;
#[cfg(feature = "bus")]
pub(crate) mod outgoing;
