//! `include/milena.h` is what the source says. `MILENA_BLESS=1` writes it anew.

use std::path::Path;

#[test]
fn the_header_is_made_of_the_source() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).expect("a configuration");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["types.rs", "calls.rs", "many.rs", "bare.rs"] {
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
