//! Which handle is which producer. A producer is taken out of the table for the time of a call, so that no call meets another.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use milena::Producer;

use crate::types::{milena_handle, milena_result};
use milena_result::{MILENA_BUSY, MILENA_INVALID_HANDLE, MILENA_NO_MEMORY, MILENA_TOO_MANY};

/// A producer, and what it has handed out by pointers.
pub(crate) struct Entry {
    pub(crate) producer: Producer,
    /// What the last output's pointers point to.
    pub(crate) host: String,
    pub(crate) text: String,
    /// The last error in words.
    pub(crate) error: String,
}

impl Entry {
    pub(crate) fn new(producer: Producer, error: String) -> Self {
        Self { producer, host: String::new(), text: String::new(), error }
    }
}

/// Of a handle's 32 bits so many are the slot (from 1), the others the generation.
const SLOT_BITS: u32 = 10;
const MOST: usize = (1 << SLOT_BITS) - 1;
const GENERATIONS: u32 = 1 << (32 - SLOT_BITS);

enum Content {
    Free,
    There(Box<Entry>),
    /// A call is at work on it.
    Out,
    /// Its generations are used up.
    Spent,
}

struct Slot {
    generation: u32,
    content: Content,
}

/// All producers.
struct Table {
    slots: Vec<Slot>,
}

impl Table {
    fn at(&mut self, handle: milena_handle) -> Option<&mut Slot> {
        let place = (handle as usize & MOST).checked_sub(1)?;
        self.slots.get_mut(place).filter(|slot| slot.generation == handle >> SLOT_BITS)
    }

    fn insert(&mut self, entry: Box<Entry>) -> Result<milena_handle, milena_result> {
        let free = self.slots.iter().position(|slot| matches!(slot.content, Content::Free));
        let place = match free {
            Some(place) => place,
            None if self.slots.len() == MOST => return Err(MILENA_TOO_MANY),
            None => {
                self.slots.try_reserve_exact(1).map_err(|_| MILENA_NO_MEMORY)?;
                self.slots.push(Slot { generation: 0, content: Content::Free });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[place];
        slot.content = Content::There(entry);
        Ok(slot.generation << SLOT_BITS | (place as u32 + 1))
    }

    fn take(&mut self, handle: milena_handle) -> Result<Box<Entry>, milena_result> {
        let slot = self.at(handle).ok_or(MILENA_INVALID_HANDLE)?;
        match core::mem::replace(&mut slot.content, Content::Out) {
            Content::There(entry) => Ok(entry),
            Content::Out => Err(MILENA_BUSY),
            before @ (Content::Free | Content::Spent) => {
                slot.content = before;
                Err(MILENA_INVALID_HANDLE)
            }
        }
    }

    fn put_back(&mut self, handle: milena_handle, entry: Box<Entry>) {
        if let Some(slot) = self.at(handle) {
            slot.content = Content::There(entry);
        }
    }

    fn remove(&mut self, handle: milena_handle) {
        if let Some(slot) = self.at(handle) {
            slot.generation += 1;
            slot.content = if slot.generation == GENERATIONS { Content::Spent } else { Content::Free };
            if slot.generation == GENERATIONS {
                slot.generation = 0;
            }
        }
    }
}

#[cfg(feature = "std")]
fn with<T>(what: impl FnOnce(&mut Table) -> T) -> T {
    static TABLE: std::sync::Mutex<Table> = std::sync::Mutex::new(Table { slots: Vec::new() });
    what(&mut TABLE.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

#[cfg(not(feature = "std"))]
fn with<T>(what: impl FnOnce(&mut Table) -> T) -> T {
    static TABLE: critical_section::Mutex<core::cell::RefCell<Table>> =
        critical_section::Mutex::new(core::cell::RefCell::new(Table { slots: Vec::new() }));
    critical_section::with(|section| what(&mut TABLE.borrow_ref_mut(section)))
}

/// Words for an error take so many bytes, where they say that memory lacks.
const WORDS: usize = 128;

/// Room for a producer, and for such words, if there is memory for it.
pub(crate) fn room() -> Option<(Vec<Entry>, String)> {
    let (mut room, mut words) = (Vec::new(), String::new());
    room.try_reserve_exact(1).ok()?;
    words.try_reserve_exact(WORDS).ok()?;
    Some((room, words))
}

/// A new producer gets its handle; `room` has room for one.
pub(crate) fn insert(mut room: Vec<Entry>, entry: Entry) -> Result<milena_handle, milena_result> {
    room.push(entry);
    // What one entry of a slice lies in is as if it were alone there.
    let entry = unsafe { Box::from_raw(Box::into_raw(room.into_boxed_slice()).cast::<Entry>()) };
    with(|table| table.insert(entry))
}

/// Does something with a producer that nobody else uses in the meantime.
pub(crate) fn call(handle: milena_handle, what: impl FnOnce(&mut Entry) -> Result<(), milena_result>) -> milena_result {
    let mut entry = match with(|table| table.take(handle)) {
        Ok(entry) => entry,
        Err(error) => return error,
    };
    let result = guard(|| what(&mut entry));
    match result {
        Some(result) => {
            with(|table| table.put_back(handle, entry));
            result.err().unwrap_or(milena_result::MILENA_OK)
        }
        None => {
            with(|table| table.remove(handle));
            guard(|| drop(entry));
            milena_result::MILENA_BUG
        }
    }
}

/// The producer is no more.
pub(crate) fn remove(handle: milena_handle) -> milena_result {
    match with(|table| table.take(handle)) {
        Ok(entry) => {
            with(|table| table.remove(handle));
            guard(|| drop(entry));
            milena_result::MILENA_OK
        }
        Err(error) => error,
    }
}

/// `None` if it panicked: nothing must unwind into C.
#[cfg(feature = "std")]
pub(crate) fn guard<T>(what: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)).ok()
}

#[cfg(not(feature = "std"))]
pub(crate) fn guard<T>(what: impl FnOnce() -> T) -> Option<T> {
    Some(what())
}
