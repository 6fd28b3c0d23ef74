//! Where the vectors are that the classes of Kafka's own Java client made (tests/golden), and how they are read.

use alloc::string::String;
use alloc::vec::Vec;
use std::path::PathBuf;

/// The lines of a file of vectors: those of tests/golden, or of the folder that `MILENA_GOLDEN` names.
pub(crate) fn lines(file: &str) -> Vec<String> {
    let folder = std::env::var_os("MILENA_GOLDEN").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(String::from).collect()
}

/// The lines of a JSONL file.
pub(crate) fn objects(file: &str) -> Vec<serde_json::Value> {
    lines(file).iter().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// Bytes from hexadecimal digits.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    assert!(digits.len() % 2 == 0, "pairs of digits");
    let byte = |place: usize| u8::from_str_radix(&digits[place..place + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Bytes from base64, of either alphabet, padded or not.
pub(crate) fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            _ => 63,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// The name of a deliberate difference, and which vectors show it.
pub(crate) type Difference<T> = (&'static str, fn(&T) -> bool);

/// Deliberate differences. Each has to stand, by its name, in docs/differences.md, and each has to be met.
pub(crate) struct Differences<T: 'static> {
    all: &'static [Difference<T>],
    met: core::cell::RefCell<alloc::collections::BTreeSet<&'static str>>,
}

impl<T> Differences<T> {
    pub(crate) fn new(all: &'static [Difference<T>]) -> Self {
        let page = page();
        for (name, _) in all {
            assert!(page.contains(&std::format!("| `{name}` |")), "docs/differences.md has no row {name}");
        }
        Self { all, met: Default::default() }
    }

    /// Whether one of them applies to a vector that was found to differ.
    pub(crate) fn explain(&self, vector: &T) -> bool {
        let found: Vec<_> = self.all.iter().filter(|(_, applies)| applies(vector)).map(|(name, _)| *name).collect();
        self.met.borrow_mut().extend(&found);
        !found.is_empty()
    }

    /// Each was met: none of them stands there for nothing. (Vectors from another folder need not show all of them.)
    pub(crate) fn are_all_used(&self) {
        let met = self.met.borrow();
        let unused: Vec<_> = self.all.iter().map(|(name, _)| *name).filter(|name| !met.contains(name)).collect();
        assert!(
            unused.is_empty() || std::env::var_os("MILENA_GOLDEN").is_some(),
            "no vector shows these differences (any more): {unused:?}"
        );
    }
}

fn page() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/differences.md");
    std::fs::read_to_string(path).expect("docs/differences.md is there")
}

/// No row of docs/differences.md stands there for nothing: each name in it is one that a golden test takes for an exception.
#[test]
#[cfg(feature = "scram")]
fn every_difference_that_is_written_down_is_one() {
    let known = [crate::config::golden_differences(), crate::connection::sasl::golden::differences()].concat();
    let page = page();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let unknown: Vec<_> = rows.map(|(name, _)| name).filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "docs/differences.md names what no golden test knows: {unknown:?}");
    assert!(!known.is_empty());
}

/// The names of differences.
#[cfg(feature = "scram")]
pub(crate) fn names<T>(differences: &[Difference<T>]) -> Vec<&'static str> {
    differences.iter().map(|(name, _)| *name).collect()
}
