//! What threads meet at: locks, condition variables, channels, atomics, threads, what is local to them, and `mio`. The adapters take
//! these from here and from nowhere else, so that a build with `--cfg milena_shuttle` has a checker's in their place, which decides at
//! each of them who goes on: `checks`, `tests/interleavings/run`.

pub(super) use core::sync::atomic::Ordering;
pub(super) use std::sync::PoisonError;

#[cfg(milena_shuttle)]
pub(super) use super::checks::primitives::{
    AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, OnceLock, mpsc, thread, thread_local,
};
#[cfg(all(milena_shuttle, feature = "threads"))]
pub(super) use super::checks::sockets as mio;
#[cfg(all(not(milena_shuttle), feature = "threads"))]
pub(super) use ::mio;
#[cfg(not(milena_shuttle))]
#[allow(unused_imports, reason = "not all of them are needed with each feature")]
pub(super) use {
    core::sync::atomic::{AtomicBool, AtomicU64},
    std::sync::{Condvar, Mutex, MutexGuard, OnceLock, mpsc},
    std::{thread, thread_local},
};

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;
    use std::fs;
    use std::path::Path;

    /// Files of the adapters, but for this one, the checks and tests.
    fn files(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let name = entry.file_name().expect("a name").to_string_lossy().into_owned();
            match (entry.is_dir(), &*name) {
                (true, "checks") | (false, "sync.rs" | "tests.rs") => {}
                (true, _) => files(&entry, found),
                (false, _) => found.push((name, fs::read_to_string(&entry).expect("a text"))),
            }
        }
    }

    /// One lock that the checker does not know, and it sees less than there is.
    #[test]
    fn the_adapters_take_what_threads_meet_at_from_here_alone() {
        const ELSEWHERE: [&str; 6] = ["std::sync", "sync::atomic", "std::thread", "use ::mio", "use mio", "(mio::"];
        // They bring no two threads together.
        const HARMLESS: [&str; 2] = ["std::thread::available_parallelism", "std::thread::sleep"];
        let mut found = Vec::new();
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/adapter"), &mut found);
        assert!(found.len() > 20, "{}", found.len());
        for (name, text) in found {
            let code = text.split("#[cfg(test)]\nmod").next().unwrap_or_default();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let rest = HARMLESS.iter().fold(String::from(line), |line, harmless| line.replace(harmless, ""));
                assert!(!ELSEWHERE.iter().any(|path| rest.contains(path)), "{name}: {line}");
            }
        }
    }
}
