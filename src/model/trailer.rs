//! The trailer by which a commit names the lease it was made under: `Agentpm-Lease: <handle>@<fence>`.
//!
//! Guarantees that a trailer written here can be parsed here.
//! Leaves to others: which tasks exist, and whether a lease holds.

use std::fmt;

use crate::model::id::{HANDLE_MIN, is_part};

/// The trailer's name.
pub const KEY: &str = "Agentpm-Lease";

/// One lease that a commit names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trailer {
    /// A suffix or prefix of the task's id.
    pub handle: String,
    /// The fence of the lease.
    pub fence: u64,
}

impl fmt::Display for Trailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY}: {}@{}", self.handle, self.fence)
    }
}

/// The trailers of a commit message: those in its last paragraph. `Err` holds an invalid value.
pub fn trailers(message: &str) -> Vec<Result<Trailer, String>> {
    let lines: Vec<&str> = message.trim_end().lines().collect();
    let last = lines.rsplit(|line| line.trim().is_empty()).next().unwrap_or_default();
    let named = last.iter().filter_map(|line| line.split_once(':'));
    named.filter(|(key, _)| key.eq_ignore_ascii_case(KEY)).map(|(_, value)| read(value.trim())).collect()
}

fn read(value: &str) -> Result<Trailer, String> {
    let parts = || {
        let (handle, fence) = value.split_once('@')?;
        let handle = handle.to_ascii_uppercase();
        let plain = fence.bytes().all(|b| b.is_ascii_digit());
        let fence = fence.parse().ok().filter(|fence| plain && *fence > 0)?;
        (is_part(&handle) && handle.len() >= HANDLE_MIN).then_some(Trailer { handle, fence })
    };
    parts().ok_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_read_as_they_are_written() {
        let one = Trailer { handle: "7XK2Q1".into(), fence: 3 };
        let message =
            format!("fix: the lock\n\nAgentpm-Lease: 000000@9 is only prose here\n\n{one}\nSigned-off-by: x\n");
        assert_eq!(trailers(&message), [Ok(one)]);
        for bad in ["7XK2Q1", "7XK2@1", "7XK2Q1@", "7XK2Q1@0", "7XK2Q1@+1", "7XK2QU@1", "@1"] {
            assert_eq!(trailers(&format!("x\n\nagentpm-lease: {bad}")), [Err(bad.to_owned())]);
        }
        assert_eq!(trailers("x\n\nno trailer here\n"), []);
    }
}
