//! What is logged, from INFO on, for each thread its own: each test has one.

use std::cell::RefCell;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{} {}", record.level(), record.args());
            LINES.with_borrow_mut(|lines| lines.push(line));
        }
    }

    fn flush(&self) {}
}

/// What was logged since this was last asked, level first. The first time it begins to listen.
pub fn lines() -> Vec<String> {
    static KEEPER: Keeper = Keeper;
    if log::set_logger(&KEEPER).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
    LINES.take()
}
