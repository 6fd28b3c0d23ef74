//! Named traces.
