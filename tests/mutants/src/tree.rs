//! A copy of the repository with all mutants in it, built until the compiler has nothing to object to.

use crate::list::{self, Mutant};
use crate::weave::{self, Region};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

/// What became of the mutants, and the tests that have those that can be switched on.
pub struct Built {
    /// Mutants that do not compile, with what the compiler says.
    pub unviable: BTreeMap<usize, String>,
    /// Mutants that can't be switched on, with the reason: what the compiler says of the switch.
    pub apart: BTreeMap<usize, String>,
    /// Test binaries by the names of their targets; the library's is `lib`.
    pub binaries: Vec<(String, PathBuf)>,
}

/// Copies the repository (what git has, and what is new), with the chosen mutants woven in, and builds these tests.
pub fn build(
    root: &Path,
    tree: &Path,
    mutants: &[Mutant],
    chosen: &BTreeSet<usize>,
    tests: &[String],
) -> Result<Built, String> {
    // Known before, for it takes a build to find out: a static needs it, in tests alone.
    let mut still_const = HashSet::from(["tables".to_owned()]);
    let mut built = Built { unviable: BTreeMap::new(), apart: BTreeMap::new(), binaries: Vec::new() };
    let notes = tree.with_file_name("objections.tsv");
    recall(&notes, root, mutants, &mut built);
    let is_known = !built.unviable.is_empty();
    for round in 1..=30 {
        let regions = write(root, tree, mutants, chosen, &mut built, &still_const)?;
        let objected = |number: &&usize| built.unviable.contains_key(number) || built.apart.contains_key(number);
        eprintln!("build {round}, {} mutants", chosen.len() - chosen.iter().filter(objected).count());
        // The first alone until it compiles, then all. As all tests are built everywhere else, so that what they depend on is there.
        let mut arguments = vec!["test", "--no-run", "--all-features"];
        let mut alone = Vec::new();
        for test in tests {
            if test == "lib" {
                arguments.push("--lib")
            } else {
                arguments.extend(["--test", test])
            }
            if alone.is_empty() {
                alone.clone_from(&arguments);
            }
        }
        let (mut good, mut errors, mut binaries) = match is_known {
            true => (true, Vec::new(), Vec::new()),
            false => cargo(root, tree, &alone)?,
        };
        if good {
            (good, errors, binaries) = cargo(root, tree, &arguments)?;
        }
        if !good {
            let before = (built.unviable.len(), built.apart.len(), still_const.len());
            for error in &errors {
                blame(error, &regions, &mut built, &mut still_const);
            }
            note(&notes, root, mutants, &built)?;
            if before == (built.unviable.len(), built.apart.len(), still_const.len()) {
                return Err(format!("it does not compile:\n{}", texts(&errors)));
            }
            continue;
        }
        built.binaries = binaries;
        return Ok(built);
    }
    Err("thirty builds, and the compiler still objects".into())
}

/// What the compiler objected to, for the next time: mutant, text of its file (as a hash), whether it is the switch, why.
fn note(path: &Path, root: &Path, mutants: &[Mutant], built: &Built) -> Result<(), String> {
    let mut text = String::new();
    for (kind, all) in [("unviable", &built.unviable), ("apart", &built.apart)] {
        for (number, why) in all {
            let (mutant, why) = (&mutants[*number], why.replace(['\n', '\t'], " "));
            text += &format!("{}\t{:x}\t{kind}\t{why}\n", mutant.name, hash_of(&root.join(&mutant.file)));
        }
    }
    put(path, text.as_bytes())
}

fn recall(path: &Path, root: &Path, mutants: &[Mutant], built: &mut Built) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let known: HashMap<&str, Vec<&str>> = lines.filter(|line| line.len() == 4).map(|line| (line[0], line)).collect();
    let mut hashes = HashMap::new();
    for (number, mutant) in mutants.iter().enumerate() {
        let Some(line) = known.get(&*mutant.name) else { continue };
        let hash = hashes.entry(&mutant.file).or_insert_with(|| format!("{:x}", hash_of(&root.join(&mutant.file))));
        if *hash == line[1] {
            let to = if line[2] == "unviable" { &mut built.unviable } else { &mut built.apart };
            to.insert(number, line[3].to_owned());
        }
    }
}

fn hash_of(path: &Path) -> u64 {
    list::hash(&fs::read(path).unwrap_or_default())
}

fn texts(errors: &[Value]) -> String {
    errors.iter().filter_map(|error| error["rendered"].as_str()).collect()
}

/// Who is to blame for what the compiler says.
fn blame(error: &Value, regions: &HashMap<String, Vec<Region>>, built: &mut Built, still_const: &mut HashSet<String>) {
    let said = error["message"].as_str().unwrap_or("").to_owned();
    let code = error["code"]["code"].as_str().unwrap_or("");
    let spans: Vec<&Value> = error["spans"].as_array().map(|spans| spans.iter().collect()).unwrap_or_default();
    let innermost = |span: &Value, own: bool| {
        let mut span = span;
        while !span["expansion"].is_null() && !regions.contains_key(span["file_name"].as_str().unwrap_or("")) {
            span = &span["expansion"]["span"];
        }
        let (start, end) = (span["byte_start"].as_u64()? as usize, span["byte_end"].as_u64()? as usize);
        let regions = regions.get(span["file_name"].as_str()?)?;
        let within = regions.iter().filter(|region| region.start <= start && end <= region.end && region.is_own == own);
        within.min_by_key(|region| region.end - region.start)
    };
    let mut blamed = false;
    if code != "E0015" {
        for span in &spans {
            if let Some(region) = innermost(span, true) {
                built.unviable.extend(region.mutants.iter().map(|mutant| (*mutant, said.clone())));
                blamed = true;
            }
        }
    }
    if blamed {
        return;
    }
    // A function that was `const` is called where it has to be: `non-const method `Name::of`` or so.
    if code == "E0015"
        && !said.contains("mutant_is_on")
        && let Some(path) = said.split('`').nth(1)
    {
        let name = path.rsplit("::").next().unwrap_or(path);
        still_const.insert(name.split('<').next().unwrap_or(name).to_owned());
        return;
    }
    let primary = spans.iter().filter(|span| span["is_primary"] == true).chain(&spans);
    if let Some(region) = primary.filter_map(|span| innermost(span, false).or_else(|| innermost(span, true))).next() {
        // Without the arm it is not exhaustive either.
        let to = if code == "E0004" { &mut built.unviable } else { &mut built.apart };
        to.extend(region.mutants.iter().map(|mutant| (*mutant, said.clone())));
    }
}

/// Writes what differs from what is there; so cargo builds no more than it has to.
fn write(
    root: &Path,
    tree: &Path,
    mutants: &[Mutant],
    chosen: &BTreeSet<usize>,
    built: &mut Built,
    still_const: &HashSet<String>,
) -> Result<HashMap<String, Vec<Region>>, String> {
    let mut by_file: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in chosen.iter().map(|number| (*number, &mutants[*number])) {
        if !built.unviable.contains_key(&number) && !built.apart.contains_key(&number) {
            by_file.entry(&mutant.file).or_default().push((number, mutant));
        }
    }
    let listed = Command::new("git").current_dir(root).args(["ls-files", "-coz", "--exclude-standard"]).output();
    let listed = listed.map_err(|error| format!("git: {error}"))?;
    let mut regions = HashMap::new();
    let mut kept = HashSet::from([PathBuf::from("src/mutants_switch.rs")]);
    put(&tree.join("src/mutants_switch.rs"), weave::SWITCH.as_bytes())?;
    for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|name| !name.is_empty()) {
        // Not there: it was removed, and git does not know yet.
        let Ok(mut content) = fs::read(root.join(name)) else { continue };
        if let Some(mutants) = by_file.get(name) {
            let text = String::from_utf8(content).map_err(|error| format!("{name}: {error}"))?;
            let woven = weave::weave(&text, mutants, still_const).map_err(|error| format!("{name}: {error}"))?;
            built.apart.extend(woven.lost.iter().map(|number| (*number, "has no place for a switch".to_owned())));
            regions.insert(name.to_owned(), woven.regions);
            content = woven.text.into_bytes();
        } else if name == "src/lib.rs" {
            content = [
                b"#![allow(warnings, reason = \"what mutants make of it nobody keeps\")]\n",
                &*content,
                b"\nmod mutants_switch;\n",
            ]
            .concat();
        }
        put(&tree.join(name), &content)?;
        kept.insert(PathBuf::from(name));
    }
    sweep(tree, tree, &kept).map_err(|error| format!("{}: {error}", tree.display()))?;
    Ok(regions)
}

fn put(path: &Path, content: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let told = |error: io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(told)?;
    fs::write(path, content).map_err(told)
}

/// Removes files that are no longer in the repository.
fn sweep(tree: &Path, folder: &Path, kept: &HashSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sweep(tree, &path, kept)?;
        } else if path.strip_prefix(tree).is_ok_and(|name| !kept.contains(name)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

type Done = (bool, Vec<Value>, Vec<(String, PathBuf)>);

/// Runs cargo: whether all is well, the compiler's errors, the test binaries.
fn cargo(root: &Path, tree: &Path, arguments: &[&str]) -> Result<Done, String> {
    let output = Command::new("cargo")
        .current_dir(tree)
        .args(arguments)
        .args(["--quiet", "--message-format=json", "--target-dir"])
        .arg(root.join("target"))
        .env("CARGO_INCREMENTAL", "0")
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let mut errors = Vec::new();
    let mut binaries = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        if message["reason"] == "compiler-message" && message["message"]["level"] == "error" {
            errors.push(message["message"].clone());
        }
        if let (Some(path), true) = (message["executable"].as_str(), message["profile"]["test"] == true) {
            let target = &message["target"];
            let is_library = target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib"));
            let name = if is_library { "lib" } else { target["name"].as_str().unwrap_or("") };
            binaries.push((name.to_owned(), PathBuf::from(path)));
        }
    }
    // Cargo tells them in the order in which they are ready.
    binaries.sort();
    if !output.status.success() && errors.is_empty() {
        return Err(format!("cargo {}:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)));
    }
    Ok((output.status.success(), errors, binaries))
}
