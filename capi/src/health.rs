//! How a producer is, for health checks and displays. Nothing here asks anybody, and nothing changes.

use core::time::Duration;

use milena::{Instant, ServerState};

use crate::calls::{MILENA_FOREVER, say};
use crate::table;
use crate::types::*;
use crate::words::place;
use milena_result::*;
use milena_server_state::*;

/// Whether records get through, as far as is known: MILENA_OK or MILENA_UNHEALTHY. It is unhealthy while the oldest record has waited for
/// more than `max_age` nanoseconds, while no server lets this client in, while all brokers are down (before one is known: all addresses
/// of `bootstrap.servers`), after MILENA_FATAL, and once it closes. `max_age` has to be longer than `linger.ms` and a usual round trip. A
/// producer that sends nothing learns nothing of a cluster that went away. Errors: MILENA_UNHEALTHY, and those of every function.
#[unsafe(no_mangle)]
pub extern "C" fn milena_is_healthy(handle: milena_handle, now: u64, max_age: u64) -> milena_result {
    table::call(handle, |entry| {
        let is_healthy = entry.producer.is_healthy(Instant::from_nanos(now), Duration::from_nanos(max_age));
        if is_healthy { Ok(()) } else { Err(MILENA_UNHEALTHY) }
    })
}

/// How the producer is. `milena_why` has the words for what keeps its oldest record. Errors: those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_get_health(
    handle: milena_handle,
    now: u64,
    health: *mut milena_health,
) -> milena_result {
    table::call(handle, |entry| {
        let to = unsafe { place(health) }?;
        let status = entry.producer.status_in_brief(Instant::from_nanos(now));
        let (producer_id, epoch) = status.producer_id.unwrap_or((-1, -1));
        to.write(milena_health {
            oldest_record: nanos(status.oldest_record),
            last_delivery: nanos(status.last_delivery),
            open_records: status.open_records,
            buffered: status.buffered as u64,
            buffer_memory: status.buffer_memory as u64,
            producer_id,
            producer_epoch: i32::from(epoch),
            in_flight: status.in_flight as u32,
            denied: u32::from(status.denied.is_some()),
            failed: u32::from(status.fatal.is_some()),
            closing: u32::from(status.closing),
        });
        Ok(())
    })
}

/// How it stands with one server, `index` from 0: the brokers of the newest metadata by node id; before there are any, and where one can't be
/// reached, also the addresses of `bootstrap.servers`. Ask for one after the other until there is none, without other calls
/// in between. Its pointers live until the next call on this producer. Errors: MILENA_INVALID_ARGUMENT (there are not so many), and those
/// of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_get_server(
    handle: milena_handle,
    now: u64,
    index: u32,
    server: *mut milena_server,
) -> milena_result {
    table::call(handle, |entry| {
        let to = unsafe { place(server) }?;
        let it = entry.producer.server(Instant::from_nanos(now), index as usize).ok_or(MILENA_INVALID_ARGUMENT)?;
        entry.text.clear();
        let (state, lasts) = match &it.state {
            ServerState::Connecting { lasts } => (MILENA_SERVER_CONNECTING, *lasts),
            ServerState::Up { lasts } => (MILENA_SERVER_UP, *lasts),
            ServerState::Down { lasts, error } => {
                say(&mut entry.text, error);
                (MILENA_SERVER_DOWN, *lasts)
            }
            _ => (MILENA_SERVER_IDLE, Duration::ZERO),
        };
        entry.host = it.server.host;
        to.write(milena_server {
            lasts: nanos(Some(lasts)),
            last_round_trip: nanos(it.last_round_trip),
            silent_for: nanos(it.silent_for),
            throttled_for: it.throttled_for.map_or(0, |left| nanos(Some(left))),
            host: milena_bytes::of(entry.host.as_bytes()),
            text: milena_bytes::of(entry.text.as_bytes()),
            node: it.server.node.unwrap_or(-1),
            port: u32::from(it.server.port),
            state: state as u32,
            in_flight: it.in_flight as u32,
        });
        Ok(())
    })
}

fn nanos(span: Option<Duration>) -> u64 {
    span.and_then(|span| u64::try_from(span.as_nanos()).ok()).unwrap_or(MILENA_FOREVER)
}
