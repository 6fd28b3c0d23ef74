//! Machines with a few kilobytes of memory: what the allocator has left is looked at before something is begun that can be refused,
//! so that nothing fails later which can't be; and tables begin small.

use alloc::vec::Vec;

use crate::planted::planted;

/// What requests, answers and events need, in bytes, once all connections stand.
const SPARE: usize = 1024 + 320 * size_of::<usize>();

/// What a connection needs until it stands, in bytes: its table, its first requests, and their answers.
pub(crate) const CONNECTION: usize = 1024 + 192 * size_of::<usize>();

/// A producer has one for control and one for each broker. With more brokers more memory is needed; it is not set aside.
const CONNECTIONS: usize = 2;

/// Where the allocator has so many bytes in one piece, memory is plentiful, and requests may be as large as they like.
const PLENTY: usize = 64 << 10;

/// The pieces in which what has to stay free is looked for, in bytes: what takes more at once asks for it by itself.
const PIECE: usize = 256 + 64 * size_of::<usize>();

/// What a configuration and a producer that has done nothing yet take, in bytes, besides what options are long.
pub(crate) const PRODUCER: usize = 512 + 128 * size_of::<usize>();

/// Bytes that a request takes that carries few batches, besides their records.
pub(crate) const REQUEST: usize = 2 << 10;

/// Whether the machine has to get along with little, and looks each time: `buffer.memory` is below 1 MiB, or the allocator has not so
/// much. Where an operating system is, [`PLENTY`] stands for that: it promises more than it has, and glibc's allocator keeps for itself
/// whatever comes back, once as much as `buffer.memory` did in one piece. (WebAssembly's memory grows by being looked for, and never
/// shrinks.)
pub(crate) fn is_small(buffer_memory: usize) -> bool {
    let looked_for = if cfg!(feature = "std") { PLENTY } else { buffer_memory };
    buffer_memory < 1 << 20 || (!cfg!(target_family = "wasm") && !has(looked_for))
}

/// Whether there is plenty of it.
pub(crate) fn is_plentiful() -> bool {
    has(PLENTY)
}

/// What an answer has to leave when it is read, in bytes: something has to be done about it.
pub(crate) const LEFT: usize = 512;

/// What has to stay free, in bytes, whenever memory is taken for records, while there are so many connections.
pub(crate) fn spare(connections: usize) -> usize {
    SPARE + CONNECTIONS.saturating_sub(connections) * CONNECTION
}

/// Whether the allocator has so many bytes, in one piece.
pub(crate) fn has(bytes: usize) -> bool {
    let mut piece: Vec<u8> = Vec::new();
    let got = piece.try_reserve_exact(bytes).is_ok();
    core::hint::black_box(&piece); // else the compiler may do without the attempt
    got || planted("memory-is-endless")
}

/// Whether the allocator has so many bytes in one piece, and `spare` besides, which may lie about: what heaps are cut up into is no
/// use for records, but for what is asked for in small pieces.
pub(crate) fn has_beside(bytes: usize, spare: usize) -> bool {
    /// An answer takes more than others.
    const FIRST: usize = 2 * PIECE;
    fn has_pieces(left: usize, most: usize) -> bool {
        let mut piece: Vec<u8> = Vec::new();
        let got = piece.try_reserve_exact(left.min(most)).is_ok();
        core::hint::black_box(&piece);
        got && (left <= most || has_pieces(left - most, PIECE))
    }
    let mut block: Vec<u8> = Vec::new();
    let got = block.try_reserve_exact(bytes).is_ok();
    core::hint::black_box(&block);
    (got && has_pieces(spare, FIRST)) || planted("memory-is-endless")
}

/// Appends to a table that doubles from one entry on: `Vec` begins with four.
pub(crate) fn push<T>(table: &mut Vec<T>, entry: T) {
    if table.len() == table.capacity() {
        table.reserve_exact(table.len().max(1));
    }
    table.push(entry);
}

/// By how many entries a table grows that is to take `more`: by that, but by half of it at least.
fn growth<T>(table: &Vec<T>, more: usize) -> usize {
    if more <= table.capacity() - table.len() { 0 } else { more.max(table.len() / 2) }
}

/// Makes room for `more` entries, in one step.
pub(crate) fn make_room<T>(table: &mut Vec<T>, more: usize) {
    table.reserve_exact(growth(table, more));
}

/// How many bytes that takes, beside those that the table has.
pub(crate) fn to_grow<T>(table: &Vec<T>, more: usize) -> usize {
    match growth(table, more) {
        0 => 0,
        growth => table.len().saturating_add(growth).saturating_mul(size_of::<T>()),
    }
}
