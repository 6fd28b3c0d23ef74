//! Many records by one call, for hosts where a call costs more than a record: languages with a wasm engine or a slow foreign interface.

use alloc::vec::Vec;
use core::ffi::{c_char, c_void};
use core::mem::MaybeUninit;

use milena::{Header, Instant, Record};

use crate::calls::{FEW, batch, refused};
use crate::table;
use crate::types::*;
use crate::words::{place, slice, text};
use milena_result::*;

/// Bytes of a packed record before its key.
const HEAD: usize = 28;

/// Takes records of one topic that stand one behind the other in `records`, in order, until all are taken, one is refused, or another run
/// would not fit. Never waits. How each is packed (numbers are little-endian and need not be aligned; -1 as a length is null):
///
/// ```text
/// 0   u32  bytes of the whole record, this number included; more than what follows takes is allowed, and ignored
/// 4   i32  partition; -1 lets the key, or the producer, decide
/// 8   i64  timestamp in milliseconds since the Unix epoch; -1 for the time of the send
/// 16  i32  length of the key
/// 20  i32  length of the value
/// 24  u32  how many headers
/// 28  the key, the value, and for each header: i32 length of its name, i32 length of its value, the name (a text), the value
/// ```
///
/// `taken` says how many were taken, and where they will be by `runs` (`room` of them): a run is records that follow each other in the call
/// and in a batch. Their outcomes come as those of `milena_send`. MILENA_OK with fewer `bytes` taken than `len` means that the runs were
/// full: again with what is left. An error is that of the first record that was not taken; those before it were. What may follow: if
/// `milena_take_wake` says 1, `milena_poll`.
/// Errors: those of `milena_send`, and MILENA_INVALID_ARGUMENT for a record that is not packed so.
///
/// # Safety
/// As the rules at the head say; `runs` has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_send_many(
    handle: milena_handle,
    now: u64,
    topic: *const c_char,
    topic_len: usize,
    records: *const c_void,
    len: usize,
    runs: *mut milena_run,
    room: usize,
    taken: *mut milena_taken,
) -> milena_result {
    table::call(handle, |entry| {
        let taken = unsafe { place(taken) }?.write(milena_taken { timestamp: -1, bytes: 0, records: 0, runs: 0 });
        let topic = unsafe { text(topic, topic_len) }?;
        let mut rest = unsafe { slice(records.cast::<u8>(), len) }?.unwrap_or_default();
        let runs = unsafe { places(runs, room) }?;
        let mut last = milena_run::default();
        while !rest.is_empty() {
            // The next may belong to the last run, but that is known only when it is taken.
            if taken.runs == runs.len() {
                return Ok(());
            }
            let (packed, behind) = first(rest).ok_or(MILENA_INVALID_ARGUMENT)?;
            let mut few = [Header::null(""); FEW];
            let mut many = Vec::new();
            let record = unpack(topic, packed, &mut few, &mut many)?;
            let sent =
                entry.producer.send(Instant::from_nanos(now), &record).map_err(|error| refused(entry, &error))?;
            if record.timestamp.is_none() {
                taken.timestamp = sent.timestamp;
            }
            let id = batch(sent.id.batch);
            if last.count > 0 && last.batch == id && last.index + last.count == sent.id.index {
                last.count += 1;
            } else {
                last = milena_run {
                    batch: id,
                    index: sent.id.index,
                    count: 1,
                    topic: sent.topic.get() as u32,
                    partition: sent.partition,
                };
                taken.runs += 1;
            }
            runs[taken.runs - 1].write(last);
            taken.records += 1;
            taken.bytes += rest.len() - behind.len();
            rest = behind;
        }
        Ok(())
    })
}

/// The first packed record, and what stands behind it.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let size = usize::try_from(u32::from_le_bytes(bytes.first_chunk().copied()?)).ok()?;
    if size < HEAD { None } else { bytes.split_at_checked(size) }
}

/// What a packed record says.
fn unpack<'a, 'b>(
    topic: &'a str,
    packed: &'a [u8],
    few: &'b mut [Header<'a>; FEW],
    many: &'b mut Vec<Header<'a>>,
) -> Result<Record<'b>, milena_result> {
    let (head, body) = packed.split_first_chunk::<HEAD>().ok_or(MILENA_INVALID_ARGUMENT)?;
    let mut fields = Fields { rest: &head[4..] };
    let partition = fields.i32()?;
    let timestamp = i64::from_le_bytes(fields.chunk()?);
    let (key, value, count) = (fields.i32()?, fields.i32()?, fields.i32()?);
    let mut body = Fields { rest: body };
    let mut record = Record::new(topic);
    record.partition = (partition != -1).then_some(partition);
    record.timestamp = (timestamp != -1).then_some(timestamp);
    record.key = body.bytes(key)?;
    record.value = body.bytes(value)?;
    let count = usize::try_from(count).map_err(|_| MILENA_INVALID_ARGUMENT)?;
    // Each takes 8 bytes at least: no number in a record makes room for more than it can hold.
    if count > body.rest.len() / 8 {
        return Err(MILENA_INVALID_ARGUMENT);
    }
    let room = match few.get_mut(..count) {
        Some(room) => room,
        None => {
            many.try_reserve_exact(count).map_err(|_| MILENA_NO_MEMORY)?;
            many.resize(count, Header::null(""));
            &mut many[..]
        }
    };
    for to in room.iter_mut() {
        let (name, value) = (body.i32()?, body.i32()?);
        let name = body.bytes(name)?.ok_or(MILENA_INVALID_ARGUMENT)?;
        *to = Header::null(core::str::from_utf8(name).map_err(|_| MILENA_INVALID_ARGUMENT)?);
        to.value = body.bytes(value)?;
    }
    record.headers = room;
    Ok(record)
}

/// Reads fields one behind the other.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], milena_result> {
        let (chunk, rest) = self.rest.split_first_chunk::<N>().ok_or(MILENA_INVALID_ARGUMENT)?;
        self.rest = rest;
        Ok(*chunk)
    }

    fn i32(&mut self) -> Result<i32, milena_result> {
        self.chunk().map(i32::from_le_bytes)
    }

    /// `None` for the length -1.
    fn bytes(&mut self, len: i32) -> Result<Option<&'a [u8]>, milena_result> {
        if len == -1 {
            return Ok(None);
        }
        let len = usize::try_from(len).map_err(|_| MILENA_INVALID_ARGUMENT)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(MILENA_INVALID_ARGUMENT)?;
        self.rest = rest;
        Ok(Some(bytes))
    }
}

/// Where some of something are to be written to.
///
/// # Safety
/// There has to be room for `room` of them.
unsafe fn places<'a, T>(to: *mut T, room: usize) -> Result<&'a mut [MaybeUninit<T>], milena_result> {
    unsafe { slice(to.cast_const(), room) }?;
    if room == 0 { Ok(&mut []) } else { Ok(unsafe { core::slice::from_raw_parts_mut(to.cast(), room) }) }
}
