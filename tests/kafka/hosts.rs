//! Hosts in other languages and on other machines, as programs: each sends numbers to a topic of its own while the broker is killed
//! and restarted, and the log is looked at. `hosts/run` builds them and says which there are.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::broker::Kafka;
use crate::check::{Acknowledged, nothing_lost_doubled_or_reordered};

/// How many records each sends, and how many a second.
const RECORDS: usize = 1000;
const RATE: usize = 200;

/// So long a program may take from its start, in tenths of a second.
const PATIENCE: usize = 1200;

/// The programs, from the variable `MILENA_HOSTS`: a line for each with its name and its command, to which the address, the
/// topic, the number of records and the rate are added.
pub fn programs() -> Vec<(String, String)> {
    let lines = std::env::var("MILENA_HOSTS").unwrap_or_default();
    let program = |line: &str| line.split_once(' ').map(|(name, command)| (name.to_string(), command.to_string()));
    lines.lines().filter_map(program).collect()
}

pub fn is_sent_through_a_kill(kafka: &mut Kafka, name: &str, command: &str) -> Result<String, String> {
    let topic = format!("host-{name}");
    // Firmware has no time of day at first, and a broker that starts does not know who sent records that are old.
    kafka.create_topic(&topic, 1, &["message.timestamp.type=LogAppendTime"]);
    let line = format!("exec {command} {} {topic} {RECORDS} {RATE}", kafka.bootstrap());
    let program = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut program = program.map_err(|error| error.to_string())?;
    let ended = (|| {
        wait_for_some(kafka, &topic, &mut program)?;
        std::thread::sleep(Duration::from_secs(1));
        if program.try_wait().is_ok_and(|status| status.is_some()) {
            return Err("it ended before the broker was killed".to_string());
        }
        kafka.kill(0);
        std::thread::sleep(Duration::from_secs(1));
        kafka.restart_quickly(0);
        for _ in 0..PATIENCE {
            if program.try_wait().is_ok_and(|status| status.is_some()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err("it does not end".to_string())
    })();
    let _ = program.kill();
    let output = program.wait_with_output().map_err(|error| error.to_string())?;
    ended?;
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.lines().find(|line| line.contains(" records: ")).unwrap_or_default().trim().to_string();
    if !output.status.success() || !said.starts_with(&format!("{RECORDS} records: {RECORDS} delivered, 0 failed")) {
        return Err(format!("{}: {said:?}", output.status));
    }
    let sent: Vec<Acknowledged> =
        (0..RECORDS).map(|n| Acknowledged { partition: 0, offset: None, value: format!("{n:08}") }).collect();
    let words = nothing_lost_doubled_or_reordered(kafka, &topic, 1, &sent)?;
    Ok(format!("{words}, killed in the middle; it says: {said}"))
}

/// Until the first records stand in the log.
fn wait_for_some(kafka: &Kafka, topic: &str, program: &mut Child) -> Result<(), String> {
    for _ in 0..PATIENCE {
        let bytes = |path| std::fs::metadata(path).map_or(0, |file| file.len());
        if kafka.segments(topic, 0).into_iter().map(bytes).sum::<u64>() > 0 {
            return Ok(());
        }
        if let Ok(Some(status)) = program.try_wait() {
            return Err(format!("it ended before it sent anything: {status}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("it sends nothing".into())
}
