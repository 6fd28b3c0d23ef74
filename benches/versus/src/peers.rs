//! Which contenders can take part here, and how each is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How to start a contender, or why it can't be.
pub type Start = Result<Vec<String>, String>;

pub struct Peers {
    starts: BTreeMap<&'static str, Start>,
    pub versions: BTreeMap<String, String>,
}

/// Names as people know them.
pub fn label(who: &str) -> &str {
    match who {
        "rdkafka-threaded" => "rdkafka `ThreadedProducer`",
        "rdkafka-base" => "rdkafka `BaseProducer`",
        "rdkafka-future" => "rdkafka `FutureProducer`",
        "java" => "Kafka's Java producer",
        "bare" => "bare round trip",
        other => other,
    }
}

/// The crate's folder.
pub fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Peers {
    /// Builds those in other languages, of the names in `wanted`, in `folder`.
    pub fn prepare(wanted: &[&'static str], folder: &Path) -> Self {
        let mut starts = BTreeMap::new();
        let mut versions = BTreeMap::new();
        let this = std::env::current_exe().expect("this program").display().to_string();
        for who in wanted {
            let start = match *who {
                "franz-go" => franz_go(folder, &mut versions),
                "java" => java(folder, &mut versions),
                who => built_in(who).map(|()| vec![this.clone(), "--contend".into(), who.into()]),
            };
            if let Err(why) = &start {
                eprintln!("without {who}: {why}");
            }
            starts.insert(*who, start);
        }
        versions.insert("milena".into(), "0.1.0".into());
        #[cfg(feature = "rdkafka")]
        {
            versions
                .insert("rdkafka".into(), format!("0.39.0 with librdkafka {}", rdkafka::util::get_rdkafka_version().1));
        }
        for (feature, version) in [("rskafka", "0.6.0"), ("krafka", "0.28.1")] {
            if built_in(feature).is_ok() {
                versions.insert(feature.into(), version.into());
            }
        }
        let rust = first_line("rustc", &["--version"]).unwrap_or_default();
        versions.insert("Rust".into(), rust.split(' ').nth(1).unwrap_or("unknown").into());
        Self { starts, versions }
    }

    pub fn start(&self, who: &str) -> Start {
        self.starts.get(who).cloned().unwrap_or_else(|| Err("unknown".into()))
    }

    pub fn missing(&self) -> impl Iterator<Item = (&str, &str)> {
        self.starts.iter().filter_map(|(who, start)| Some((*who, start.as_ref().err()?.as_str())))
    }
}

fn built_in(who: &str) -> Result<(), String> {
    let feature = who.split('-').next().unwrap_or(who);
    let absent = [
        ("rdkafka", cfg!(not(feature = "rdkafka"))),
        ("rskafka", cfg!(not(feature = "rskafka"))),
        ("krafka", cfg!(not(feature = "krafka"))),
    ];
    let there = !absent.contains(&(feature, true));
    if there { Ok(()) } else { Err(format!("built without the feature {feature}")) }
}

fn franz_go(folder: &Path, versions: &mut BTreeMap<String, String>) -> Start {
    let version = first_line("go", &["version"]).ok_or("there is no Go")?;
    let program = folder.join("franz-go");
    run(Command::new("go").args(["build", "-o"]).arg(&program).arg(".").current_dir(home().join("go")))?;
    let module = std::fs::read_to_string(home().join("go/go.mod")).unwrap_or_default();
    let franz = module.lines().find_map(|line| line.strip_prefix("require github.com/twmb/franz-go "));
    versions.insert("franz-go".into(), format!("{} ({version})", franz.unwrap_or("unknown")));
    Ok(vec![program.display().to_string()])
}

fn java(folder: &Path, versions: &mut BTreeMap<String, String>) -> Start {
    first_line("mvn", &["--version"]).ok_or("there is no Maven")?;
    let version = first_line("java", &["--version"]).ok_or("there is no Java")?;
    let (jars, classes) = (folder.join("jars"), folder.join("classes"));
    let output = format!("-DoutputDirectory={}", jars.display());
    let pom = home().join("java/pom.xml");
    if !jars.join("complete").exists() {
        run(Command::new("mvn").args(["-q", "-B", "-f"]).arg(&pom).args(["dependency:copy-dependencies", &output]))?;
        std::fs::write(jars.join("complete"), "").map_err(|error| error.to_string())?;
    }
    let path = format!("{}/*", jars.display());
    run(Command::new("javac").args(["-cp", &path, "-d"]).arg(&classes).arg(home().join("java/Versus.java")))?;
    let text = std::fs::read_to_string(&pom).unwrap_or_default();
    let clients = text.split("<version>").nth(2).and_then(|rest| rest.split('<').next()).unwrap_or("unknown");
    versions.insert("Kafka's Java producer".into(), format!("{clients} ({version})"));
    Ok(vec!["java".into(), "-cp".into(), format!("{path}:{}", classes.display()), "Versus".into()])
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(|line| line.trim().to_string())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{} failed: {}", command.get_program().display(), said.trim()))
}

/// The machine, in a line.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let model = field(&processors, "model name").unwrap_or_else(|| "unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kib = field(&memory, "MemTotal").and_then(|line| line.split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.split('-').next().unwrap_or_default().trim();
    format!("{model}, {cores} cores, {:.0} GiB, Linux {kernel}", kib / f64::from(1 << 20))
}
