//! `include/milena.h` is what the source says. `MILENA_BLESS=1` writes it anew.

use std::path::Path;

#[test]
fn the_header_is_made_of_the_source() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(here.join("cbindgen.toml")).expect("a configuration");
    // What the crate says of every function, which the functions refer to.
    let source = std::fs::read_to_string(here.join("src/lib.rs")).expect("the source");
    let rules = source.lines().map_while(|line| line.strip_prefix("//!")).skip_while(|line| !line.contains("Rules"));
    let rules: Vec<String> = rules.map(|line| format!(" *{line}\n")).collect();
    assert!(rules.len() > 5, "{rules:?}");
    let header = config.header.take().expect("a first line");
    config.header = Some(format!("{header}\n\n/*\n{} */", rules.concat()));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["types.rs", "calls.rs", "health.rs", "many.rs", "bare.rs"] {
        builder = builder.with_src(here.join("src").join(file));
    }
    let mut made = Vec::new();
    builder.generate().expect("a header").write(&mut made);
    let made = String::from_utf8(made).expect("a text");
    let path = here.join("include/milena.h");
    if std::env::var_os("MILENA_BLESS").is_some() {
        std::fs::write(&path, &made).expect("it can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(made == there, "capi/include/milena.h is old: MILENA_BLESS=1 cargo test -p milena-capi --test header");
}
