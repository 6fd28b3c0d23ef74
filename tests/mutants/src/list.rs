//! The mutants, as `cargo mutants --list --json` tells them.

use serde_json::Value;
use std::collections::HashMap;

/// A place of a file: line and column, both from 1, the column in characters.
pub type Place = (usize, usize);

/// What a mutant changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Genre {
    FnValue,
    Binary,
    Unary,
    MatchArm,
    Guard,
    Field,
}

/// One change of the source.
pub struct Mutant {
    /// What it is called here: cargo-mutants' name without line and column, and ` (2)` for the second of that name. So it
    /// changes only with its own function.
    pub name: String,
    pub file: String,
    pub genre: Genre,
    pub start: Place,
    /// What stands there instead.
    pub replacement: String,
}

impl Mutant {
    /// The folder of `src` that it belongs to.
    pub fn folder(&self) -> &str {
        self.file.trim_start_matches("src/").split('/').next().unwrap_or("")
    }

    /// Whether it is one of those that stand for all: one of so many, drawn by its name alone.
    pub fn is_drawn(&self, one_of: u64) -> bool {
        // Both halves of it: the low bits by themselves are poor.
        let hash = hash(self.name.as_bytes());
        (hash ^ hash >> 32).is_multiple_of(one_of)
    }
}

/// FNV-1a: the same with every version of everything.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Reads the list.
pub fn read(json: &str) -> Result<Vec<Mutant>, String> {
    let list: Vec<Value> = serde_json::from_str(json).map_err(|error| format!("the list of mutants: {error}"))?;
    let mut seen = HashMap::new();
    list.iter()
        .map(|value| mutant(value, &mut seen).ok_or_else(|| format!("not a mutant as I know them: {value}")))
        .collect()
}

fn mutant(value: &Value, seen: &mut HashMap<String, usize>) -> Option<Mutant> {
    let file = value["file"].as_str()?.to_owned();
    // FILE:LINE:COLUMN: WHAT
    let what = value["name"].as_str()?.strip_prefix(&*file)?.splitn(4, ':').nth(3)?;
    let plain = format!("{file}:{what}");
    let count = seen.entry(plain.clone()).or_insert(0);
    *count += 1;
    let place = |which: &str| {
        let at = &value["span"][which];
        Some((at["line"].as_u64()? as usize, at["column"].as_u64()? as usize))
    };
    Some(Mutant {
        name: if *count == 1 { plain } else { format!("{plain} ({count})") },
        genre: match value["genre"].as_str()? {
            "FnValue" => Genre::FnValue,
            "BinaryOperator" => Genre::Binary,
            "UnaryOperator" => Genre::Unary,
            "MatchArm" => Genre::MatchArm,
            "MatchArmGuard" => Genre::Guard,
            "StructField" => Genre::Field,
            _ => return None,
        },
        start: place("start")?,
        replacement: value["replacement"].as_str()?.to_owned(),
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(lines: [u64; 2]) -> String {
        let one = |line: u64| {
            format!(
                r#"{{"file":"src/batch/a.rs","name":"src/batch/a.rs:{line}:7: replace < with > in A::f","genre":"BinaryOperator",
                "replacement":">","span":{{"start":{{"line":{line},"column":7}},"end":{{"line":{line},"column":8}}}}}}"#
            )
        };
        format!("[{},{}]", one(lines[0]), one(lines[1]))
    }

    #[test]
    fn names_and_what_is_drawn_do_not_depend_on_lines() {
        let (before, after) = (read(&json([4, 9])).expect("a list"), read(&json([40, 90])).expect("a list"));
        let names = |list: &[Mutant]| list.iter().map(|mutant| mutant.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            names(&before),
            ["src/batch/a.rs: replace < with > in A::f", "src/batch/a.rs: replace < with > in A::f (2)"]
        );
        assert_eq!(names(&before), names(&after));
        assert_eq!((before[0].folder(), before[1].start), ("batch", (9, 7)));
    }

    #[test]
    fn one_of_so_many_is_drawn() {
        let list: Vec<Mutant> = (0..10_000)
            .map(|number| Mutant {
                name: format!("src/batch/a.rs: replace {number}"),
                file: String::new(),
                genre: Genre::Unary,
                start: (1, 1),
                replacement: String::new(),
            })
            .collect();
        let drawn = list.iter().filter(|mutant| mutant.is_drawn(50)).count();
        assert!((150..250).contains(&drawn), "{drawn}");
    }
}
