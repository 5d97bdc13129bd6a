#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use agentpm_fuzz::{http_request, server};

static SOCKET: LazyLock<PathBuf> = LazyLock::new(server);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| http_request(&SOCKET, bytes));
