//! Sends the lines of a file, and those that are appended to it later, each once, as `tail -F` follows it: also when the file
//! is replaced by another of its name (log rotation), or cut off. SIGINT or SIGTERM ends it, once what was read is delivered.
//! `cargo run --example tail --features threads,cluster [FILE TOPIC BOOTSTRAP_SERVERS]`; without arguments it follows a file
//! of its own for a while, into a cluster in memory. (Where it was is not kept: started again, it begins at the beginning.)

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

use std::error::Error;
use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, ErrorKind, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use milena::cluster::TestCluster;
use milena::{Config, Record, SendError, threads::Producer};

/// How often is looked whether there is more.
const PAUSE: Duration = Duration::from_millis(50);

/// A file that is followed by its name.
struct Tail<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// A line whose end was not written yet.
    line: Vec<u8>,
    /// The file has been replaced: what is left in it is read, and then the new one.
    replaced: bool,
}

impl<'a> Tail<'a> {
    fn open(path: &'a Path) -> std::io::Result<Self> {
        Ok(Self { path, file: BufReader::new(File::open(path)?), line: Vec::new(), replaced: false })
    }

    /// The next line without its end, if there is a whole one now. Its bytes are data: nothing else is cut off.
    fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            self.file.read_until(b'\n', &mut self.line)?;
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
                return Ok(Some(std::mem::take(&mut self.line)));
            }
            let now = match File::open(self.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None), // between two of that name
                now => now?,
            };
            let open = self.file.get_ref().metadata()?;
            if open.len() < self.file.stream_position()? {
                self.file.rewind()?;
                self.line.clear(); // half a line that is no more
            } else if is_same(&now.metadata()?, &open) {
                return Ok(None);
            } else if !self.replaced {
                self.replaced = true; // once more: something may have been written before that
            } else {
                (self.file, self.replaced) = (BufReader::new(now), false);
                if !self.line.is_empty() {
                    return Ok(Some(std::mem::take(&mut self.line))); // the old one's last has no end, and never will
                }
            }
        }
    }
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Elsewhere a file that is open is not replaced.
#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// Sends what there is, then what comes, until `stop` says so, which is told how many lines were sent. Closes the producer.
/// Returns how many lines it sent, and how many were not delivered.
pub(crate) fn follow(
    path: &Path,
    topic: &str,
    producer: &Producer,
    stop: impl Fn(u64) -> bool,
) -> Result<(u64, u64), Box<dyn Error>> {
    let mut tail = Tail::open(path)?;
    let count = Arc::new(AtomicU64::new(0));
    let mut sent = 0;
    'lines: while !stop(sent) {
        let Some(line) = tail.next()? else {
            std::thread::sleep(PAUSE);
            continue;
        };
        loop {
            let failed = Arc::clone(&count);
            let taken = producer.send_with(&Record::new(topic).value(&line), move |outcome| {
                if let Err(error) = outcome {
                    failed.fetch_add(1, Ordering::Relaxed);
                    eprintln!("a line was not delivered: {error}");
                }
            });
            match taken {
                Ok(()) => break,
                // Kafka is away: this line waits, and those behind it in the file.
                Err(milena::Error::BufferFull { .. } | milena::Error::TopicUnknown { .. }) if !stop(sent) => {}
                Err(error) => {
                    eprintln!("line {} was not sent: {error}", sent + 1);
                    count.fetch_add(1, Ordering::Relaxed);
                    if matches!(error, milena::Error::Send(SendError::TooLarge { .. })) {
                        break; // this line only
                    }
                    break 'lines;
                }
            }
        }
        sent += 1;
    }
    producer.close(Duration::from_secs(10))?;
    Ok((sent, count.load(Ordering::Relaxed)))
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [path, topic, servers] = &arguments[..] {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        // A call waits for a second at most, so that a signal is seen by then.
        let options = [("bootstrap.servers", &**servers), ("max.block.ms", "1000")];
        let producer = Producer::new(Config::from_properties(options)?)?;
        let (sent, failed) = follow(path.as_ref(), topic, &producer, |_| stop.load(Ordering::Relaxed))?;
        println!("{sent} lines sent, {failed} not delivered");
        return if failed == 0 { Ok(()) } else { Err("not everything was delivered".into()) };
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
    let (sent, failed) = follow(&path, "lines", &producer, |sent| sent == 3)?;
    writer.join().expect("it does not panic")?;
    std::fs::remove_file(&path)?;
    println!("{sent} lines sent, {failed} not delivered");
    assert_eq!(cluster.records("lines").len(), 3);
    Ok(())
}

fn main() {
    // `main() -> Result` would show an error by `{:?}`, which is for developers.
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
