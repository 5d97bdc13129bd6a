//! Links the program at a fixed address.
//!
//! Otherwise the loader writes tens of thousands of addresses into it at every start, which took a third of the time of a short
//! command. The stack, the heap and the libraries still lie at random addresses.

#[expect(clippy::disallowed_methods, reason = "cargo names the target in the environment")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    // A static program, as for musl, begins with other start files.
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
