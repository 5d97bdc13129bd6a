//! The pages in docs/ that benchmarks write, between two markers.

use std::path::{Path, PathBuf};

/// Replaces what stands between `<!-- marker -->` and `<!-- /marker -->` in a page.
pub fn write_section(page: &str, marker: &str, section: &str) {
    let (begin, end) = (format!("<!-- {marker} -->"), format!("<!-- /{marker} -->"));
    let text = std::fs::read_to_string(folder().join(page)).unwrap_or_else(|e| panic!("docs/{page}: {e}"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("docs/{page} has no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("docs/{page} has no {end}"));
    write(page, &format!("{before}{begin}\n{section}\n{end}{after}"));
}

/// Writes a file in docs/.
pub fn write(name: &str, text: &str) {
    std::fs::write(folder().join(name), text).unwrap_or_else(|e| panic!("docs/{name}: {e}"));
}

/// Where the pages are. Asked when it runs: cargo may have built it for a copy of this folder.
pub fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo bench runs it")).join("docs")
}

/// On what it was measured.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let cpu = cpus.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let git = crate::run::printed(crate::room::git(Path::new("/"), &["--version"]));
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    format!(
        "Measured on {cores} cores ({}), Linux {}, {}.\n",
        cpu.trim_start_matches([' ', '\t', ':']).trim(),
        // What a distribution or a host adds to it says nothing of speed.
        kernel.split(['-', '+']).next().unwrap_or_default().trim(),
        git.trim()
    )
}
