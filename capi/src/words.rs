//! From pointers to what they point to, and back.

use core::ffi::c_char;
use core::fmt::{self, Display, Write};

use milena::SendError;

use crate::types::{milena_bytes, milena_result};
use milena_result::*;

impl milena_bytes {
    /// Nothing.
    pub(crate) const NONE: Self = Self { data: core::ptr::null(), len: 0 };

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr().cast(), len: bytes.len() }
    }

    /// The bytes, `None` for null.
    ///
    /// # Safety
    /// They have to be there, and to stay unchanged for `'a`.
    pub(crate) unsafe fn get<'a>(self) -> Result<Option<&'a [u8]>, milena_result> {
        unsafe { slice(self.data.cast(), self.len) }
    }

    /// The bytes of what can't be null.
    ///
    /// # Safety
    /// As for `get`.
    pub(crate) unsafe fn text<'a>(self) -> Result<&'a str, milena_result> {
        unsafe { text(self.data.cast(), self.len) }
    }
}

/// A text that a pointer and a length name.
///
/// # Safety
/// It has to be there, and to stay unchanged for `'a`.
pub(crate) unsafe fn text<'a>(data: *const c_char, len: usize) -> Result<&'a str, milena_result> {
    let bytes = unsafe { slice(data.cast(), len) }?.unwrap_or_default();
    core::str::from_utf8(bytes).map_err(|_| MILENA_INVALID_ARGUMENT)
}

/// What a pointer and a count name, `None` for null with 0.
///
/// # Safety
/// It has to be there, and to stay unchanged for `'a`.
pub(crate) unsafe fn slice<'a, T>(data: *const T, len: usize) -> Result<Option<&'a [T]>, milena_result> {
    if data.is_null() {
        return if len == 0 { Ok(None) } else { Err(MILENA_NULL) };
    }
    let size = len.checked_mul(size_of::<T>()).ok_or(MILENA_INVALID_ARGUMENT)?;
    if size > isize::MAX as usize || !data.is_aligned() {
        return Err(MILENA_INVALID_ARGUMENT);
    }
    Ok(Some(unsafe { core::slice::from_raw_parts(data, len) }))
}

/// Where something is to be written to.
///
/// # Safety
/// There has to be room for a `T`.
pub(crate) unsafe fn place<'a, T>(to: *mut T) -> Result<&'a mut core::mem::MaybeUninit<T>, milena_result> {
    if to.is_null() {
        return Err(MILENA_NULL);
    }
    if !to.is_aligned() {
        return Err(MILENA_INVALID_ARGUMENT);
    }
    Ok(unsafe { &mut *to.cast() })
}

/// Writes words, with a NUL behind them, as far as there is room: cut within a character if need be.
///
/// # Safety
/// There has to be room for `room` bytes.
pub(crate) unsafe fn copy(words: &dyn Display, to: *mut c_char, room: usize) {
    struct Cut {
        to: *mut c_char,
        left: usize,
    }
    impl Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let len = text.len().min(self.left);
            // There is room for so many bytes, the caller says.
            unsafe { core::ptr::copy_nonoverlapping(text.as_ptr().cast(), self.to, len) };
            self.to = unsafe { self.to.add(len) };
            self.left -= len;
            Ok(())
        }
    }
    if to.is_null() || room == 0 {
        return;
    }
    let mut cut = Cut { to, left: room - 1 };
    let _ = write!(cut, "{words}");
    unsafe { cut.to.write(0) };
}

/// The number for a refused record.
pub(crate) fn refusal(error: &SendError) -> milena_result {
    match error {
        SendError::NotReady { .. } => MILENA_NOT_READY,
        SendError::BufferFull { .. } => MILENA_BUFFER_FULL,
        SendError::NoMemory { .. } => MILENA_NO_MEMORY,
        SendError::TooLarge { .. } => MILENA_TOO_LARGE,
        SendError::UnknownPartition { .. } => MILENA_UNKNOWN_PARTITION,
        SendError::InvalidTimestamp(_) => MILENA_INVALID_TIMESTAMP,
        SendError::TopicFailed(_) => MILENA_TOPIC_REFUSED,
        SendError::AccessDenied(_) => MILENA_ACCESS_DENIED,
        SendError::Closed => MILENA_IS_CLOSED,
        SendError::Fatal(_) => MILENA_FAILED,
        _ => MILENA_BUG,
    }
}
