//! The documents' links lead somewhere, in the repository and in the API documentation.

#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

use std::path::Path;

/// Each document, the source that shows it in the API documentation, and whether that is beside the document's own.
const PAGES: [(&str, &str); 14] = [
    ("README.md", "src/lib.rs"),
    ("CONTRIBUTING.md", "src/docs.rs"),
    ("docs/configuration.md", "src/docs.rs"),
    ("docs/differences.md", "src/docs.rs"),
    ("docs/writing-an-adapter.md", "src/docs.rs"),
    ("docs/design.md", "src/docs.rs"),
    ("docs/tool.md", "src/docs.rs"),
    ("docs/hosts.md", "src/docs.rs"),
    ("docs/errors.md", "src/docs.rs"),
    ("docs/observing.md", "src/docs.rs"),
    ("docs/security.md", "src/docs.rs"),
    ("docs/services.md", "src/docs.rs"),
    ("docs/from-rdkafka.md", "src/docs.rs"),
    ("docs/from-java.md", "src/docs.rs"),
];

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for (page, shown_by) in PAGES {
        let (text, source) = (read(page), read(shown_by));
        assert!(source.contains(&format!("include_str!(\"../{page}\")")), "{shown_by} does not show {page}");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(page).parent().unwrap().to_path_buf();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            // Written at the place, it would lead nowhere in the other of the two.
            if !link.starts_with("http") && !link.starts_with('#') {
                wrong.push(format!("{page}: ({link}) has to be a reference at the end of the page"));
            }
        }
        for line in text.lines().filter(|line| line.starts_with('[')) {
            let Some((name, target)) = line.split_once("]: ") else { continue };
            if target.starts_with("http") {
                continue;
            }
            if !folder.join(target).exists() {
                wrong.push(format!("{page}: {target} is not there"));
            }
            // The first definition counts: the API documentation has its own before it.
            if !source.contains(&format!("{name}]: ")) {
                wrong.push(format!("{shown_by} does not say where {name}] of {page} leads"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
