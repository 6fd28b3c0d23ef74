//! The pages of the repository's folder `docs`, for reading here.

/// `docs/configuration.md`: every option; credentials, certificates and keys; what became of librdkafka's options.
#[doc = include_str!("../docs/configuration.md")]
pub mod configuration {}

/// `docs/differences.md`: where this producer differs from Java's.
#[doc = include_str!("../docs/differences.md")]
pub mod differences {}

/// `docs/writing-an-adapter.md`: driving the machine from another runtime.
///
/// [`Producer`]: crate::Producer
/// [`write_to`]: crate::Transmit
/// [`Completions`]: crate::Completions
/// [`src/adapter/smol.rs`]: ../../../src/milena/adapter/smol.rs.html
/// [`src/adapter/reports.rs`]: ../../../src/milena/adapter/reports.rs.html
/// [`src/adapter/line.rs`]: ../../../src/milena/adapter/line.rs.html
/// [`is_authentication`]: crate::Job::is_authentication
/// [`examples/adapter.rs`]: crate::docs::adapter_example
/// [docs/embedded.md]: crate::docs::embedded
#[cfg_attr(any(feature = "tokio", feature = "smol"), doc = "[`milena::task::Runtime`]: crate::task::Runtime")]
#[cfg_attr(
    not(any(feature = "tokio", feature = "smol")),
    doc = "[`milena::task::Runtime`]: crate::docs::writing_an_adapter"
)]
#[doc = include_str!("../docs/writing-an-adapter.md")]
pub mod writing_an_adapter {}

/// `examples/adapter.rs`.
///
/// ```text
#[doc = include_str!("../examples/adapter.rs")]
/// ```
pub mod adapter_example {}

/// `docs/errors.md`: each error, whose fault it is, whether to try again.
#[doc = include_str!("../docs/errors.md")]
pub mod errors {}

/// `docs/observing.md`: health, the log, events.
#[doc = include_str!("../docs/observing.md")]
pub mod observing {}

/// `docs/security.md`: what is trusted, what is bounded, how to report a hole.
///
/// [docs/configuration.md]: crate::docs::configuration
/// [docs/differences.md]: crate::docs::differences
#[doc = include_str!("../docs/security.md")]
pub mod security {}

/// `docs/services.md`: deadlines, health, metrics, shutdown, cancellation.
#[doc = include_str!("../docs/services.md")]
pub mod services {}

/// `docs/from-rdkafka.md`: options, calls, and the trap of partitioners.
///
/// [docs/configuration.md]: crate::docs::configuration
/// [docs/errors.md]: crate::docs::errors
/// [docs/observing.md]: crate::docs::observing
#[doc = include_str!("../docs/from-rdkafka.md")]
pub mod from_rdkafka {}

/// `docs/from-java.md`: files, calls, exceptions.
///
/// [docs/configuration.md]: crate::docs::configuration
/// [docs/differences.md]: crate::docs::differences
/// [docs/errors.md]: crate::docs::errors
/// [docs/services.md]: crate::docs::services
/// [docs/observing.md]: crate::docs::observing
#[doc = include_str!("../docs/from-java.md")]
pub mod from_java {}

/// `docs/hosts.md`: bringing the producer to another language.
///
/// [docs/embedded.md]: crate::docs::embedded
/// [docs/writing-an-adapter.md]: crate::docs::writing_an_adapter
#[doc = include_str!("../docs/hosts.md")]
pub mod hosts {}

/// `docs/embedded.md`: the machine without an operating system.
///
/// [docs/writing-an-adapter.md]: crate::docs::writing_an_adapter
#[doc = include_str!("../docs/embedded.md")]
pub mod embedded {}

/// `docs/performance.md`: what it costs, beside other producers. The charts are in the repository.
#[doc = include_str!("../docs/performance.md")]
pub mod performance {}

/// `docs/tool.md`: the command line tool.
#[doc = include_str!("../docs/tool.md")]
pub mod tool {}

/// `docs/design.md`: what the parts are and why so, for whoever changes the code.
#[doc = include_str!("../docs/design.md")]
pub mod design {}

/// `CONTRIBUTING.md`: how it is tested and measured.
///
/// [docs/design.md]: crate::docs::design
#[doc = include_str!("../CONTRIBUTING.md")]
pub mod contributing {}
