//! What can go wrong, by name.

/// One in how many times a fault happens; 0 for never.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Milliseconds that bytes take at most.
    pub(crate) delay: u64,
    /// Reads are cut at any byte.
    pub(crate) cut_reads: bool,
    /// Writes take any number of bytes, and the socket blocks.
    pub(crate) short_writes: bool,
    /// A connection breaks, at both ends.
    pub(crate) reset: u64,
    /// A connection breaks at the client's end; the broker still works off what is on its way.
    pub(crate) half_open: u64,
    /// A connection swallows everything.
    pub(crate) blackhole: u64,
    /// A connection can't be made.
    pub(crate) refuse_connect: u64,
    /// A node crashes and comes back.
    pub(crate) crash: u64,
    pub(crate) lose_tail: bool,
    /// Two nodes start again, each at the other's address.
    pub(crate) swap: u64,
    /// A node stops for a while.
    pub(crate) pause: u64,
    /// A leader moves; the old one may not know.
    pub(crate) move_leader: u64,
    pub(crate) untold: bool,
    /// Metadata from before the last move.
    pub(crate) stale_metadata: u64,
    /// A batch is answered an error, without being appended.
    pub(crate) refuse_code: u64,
    /// A batch is appended and answered an error.
    pub(crate) apply_then: u64,
    pub(crate) leave_out: u64,
    pub(crate) twice: u64,
    /// A request is never answered.
    pub(crate) hang: u64,
    pub(crate) hang_up: u64,
    pub(crate) hang_up_after: u64,
    pub(crate) garbage: u64,
    /// Metadata and producer ids are answered errors.
    pub(crate) control_error: u64,
    pub(crate) throttle: u64,
    /// Leaders ask for pauses of so many milliseconds at most.
    pub(crate) long_pauses: u64,
    /// A topic is deleted and created again.
    pub(crate) recreate: u64,
    /// It is not there for a while, of so many milliseconds at most.
    pub(crate) vanish: u64,
    pub(crate) grow: u64,
    /// The host does nothing for a while.
    pub(crate) stall: u64,
    pub(crate) clock_step: u64,
    /// ApiVersions is answered 35 with nonsense behind it.
    pub(crate) odd_versions: bool,
    /// A compression job is dropped without a word.
    pub(crate) job_dropped: u64,
    /// A job is handed back undone.
    pub(crate) job_failed: u64,
    /// A job takes so long that its batch may be gone.
    pub(crate) job_late: u64,
    /// A server begins to answer in its own way.
    pub(crate) moods: u64,
}

/// A fault by its name: whether there is one, and how it is switched off.
type Switch = (&'static str, fn(&Faults) -> bool, fn(&mut Faults));

/// A rate of 0 or `false` is no fault.
macro_rules! switches {
    ($($name:ident)*) => {
        &[$((stringify!($name), |faults| faults.$name != Faults::default().$name, |faults| faults.$name = Faults::default().$name)),*]
    };
}

/// All faults, by the names of their fields.
pub(crate) const SWITCHES: &[Switch] = switches! {
    delay cut_reads short_writes reset half_open blackhole refuse_connect crash lose_tail swap pause move_leader untold stale_metadata refuse_code apply_then leave_out twice hang hang_up hang_up_after garbage control_error throttle long_pauses recreate vanish grow stall clock_step odd_versions job_dropped job_failed job_late moods
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_to_who_reads_the_documentation() {
        let page = include_str!("mod.rs");
        for (name, ..) in SWITCHES {
            assert!(page.contains(&alloc::format!("//! | `{name}` | ")), "{name}");
        }
        assert_eq!(page.matches("//! | `").count(), SWITCHES.len());
    }
}
