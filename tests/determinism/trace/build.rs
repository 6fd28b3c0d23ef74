//! The linker finds `memory.x`, and the programs the session.

fn main() {
    println!("cargo::rustc-link-search={}", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rerun-if-env-changed=MILENA_SESSION");
    let session = std::env::var("MILENA_SESSION").unwrap_or_else(|_| "/dev/null".into());
    println!("cargo::rerun-if-changed={session}");
    println!("cargo::rustc-env=MILENA_SESSION={session}");
}
