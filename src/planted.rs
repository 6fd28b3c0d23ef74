//! Bugs on purpose, which the tests have to find: `tests/planted/run`. A build has them only with `--cfg milena_planted`;
//! without, [`planted`] is the constant `false`, and nothing of them is compiled.

/// Whether this bug of `tests/planted/bugs` is the one that the environment variable `MILENA_PLANTED` names.
#[cfg(all(milena_planted, feature = "std"))]
pub(crate) fn planted(bug: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<std::string::String> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("MILENA_PLANTED").unwrap_or_default()) == bug
}

/// There are none.
#[cfg(not(all(milena_planted, feature = "std")))]
#[inline(always)]
pub(crate) const fn planted(_bug: &str) -> bool {
    false
}
