#![no_main]

use std::sync::LazyLock;

use agentpm_fuzz::{Repository, repository, review};

static REPOSITORY: LazyLock<Repository> = LazyLock::new(repository);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| review(&REPOSITORY, bytes));
