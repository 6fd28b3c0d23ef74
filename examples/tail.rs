//! Sends the lines of a file, and those that are appended to it later, each once: `cargo run --example tail --features
//! threads,cluster [FILE TOPIC HOST:PORT]`. Without arguments it follows a file of its own for a second, into a cluster in
//! memory.

#![allow(clippy::std_instead_of_core, reason = "a program with std")]

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use milena::cluster::TestCluster;
use milena::{Config, Record, threads::Producer};

/// Sends what there is, then what comes, until nothing came for `patience`.
fn follow(path: &str, topic: &str, producer: &Producer, patience: Duration) -> Result<u64, Box<dyn Error>> {
    let mut file = BufReader::new(std::fs::File::open(path)?);
    let (mut line, mut sent, mut idle) = (String::new(), 0, Duration::ZERO);
    while idle < patience {
        let more = file.read_line(&mut line)? > 0;
        if !line.ends_with('\n') {
            let pause = Duration::from_millis(50); // half a line, or none
            std::thread::sleep(pause);
            idle = if more { Duration::ZERO } else { idle + pause };
            continue;
        }
        producer.send_with(&Record::new(topic).value(line.trim_end()), |outcome| {
            if let Err(error) = outcome {
                eprintln!("a line was not delivered: {error}");
            }
        })?;
        (sent, idle) = (sent + 1, Duration::ZERO);
        line.clear();
    }
    Ok(sent)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [path, topic, servers] = &arguments[..] {
        let producer = Producer::new(Config::new(servers)?)?;
        follow(path, topic, &producer, Duration::MAX)?;
        return Ok(());
    }
    let cluster = TestCluster::start()?;
    let producer = Producer::new(Config::from_properties(cluster.properties())?)?;
    let path = std::env::temp_dir().join(format!("milena-tail-{}", std::process::id()));
    std::fs::write(&path, "one\ntwo\nthr")?;
    let appended = path.clone();
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        std::fs::OpenOptions::new().append(true).open(appended)?.write_all(b"ee\n")
    });
    let sent = follow(&path.display().to_string(), "lines", &producer, Duration::from_secs(1))?;
    writer.join().expect("it does not panic")?;
    producer.close(Duration::from_secs(10))?;
    std::fs::remove_file(&path)?;
    println!("{sent} lines sent");
    assert_eq!(cluster.records("lines").len(), 3);
    Ok(())
}
