//! The fuzz targets on what libFuzzer found: every input of `fuzz/corpus` once, without libFuzzer. `fuzz/run` looks for more.

use std::path::Path;

/// Runs a target on its corpus, which has at least so many inputs.
fn run(name: &str, at_least: usize) {
    let (_, target) = milena::fuzzing::TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= at_least, "{} inputs for {name}", files.len());
    for file in files {
        let input = std::fs::read(&file).expect("a file");
        let said = std::panic::catch_unwind(|| target(&input));
        assert!(said.is_ok(), "{name}: {}", file.display());
    }
}

macro_rules! targets {
    ($($name:ident: $at_least:expr),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name), $at_least);
            }
        )*

        #[test]
        fn every_target_is_run() {
            let mut names: Vec<&str> = milena::fuzzing::TARGETS.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

targets! {
    batch: 10,
    codecs: 10,
    connection: 10,
    jaas: 10,
    properties: 10,
    responses: 10,
    scram: 10,
    tls: 10,
    world: 10,
}
