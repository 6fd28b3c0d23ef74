//! UART0, a PL011, as a pipe to whatever opens TCP streams for this device: a modem, here `relay.py`. A frame is its kind, a zero, the
//! length of what follows (16 bits), the connection (32 bits), both little endian, and that many bytes.

const DATA: *mut u32 = 0x4000_C000 as *mut u32;
const FLAGS: *const u32 = 0x4000_C018 as *const u32;
const CONTROL: *mut u32 = 0x4000_C030 as *mut u32;
const RECEIVE_EMPTY: u32 = 1 << 4;
const TRANSMIT_FULL: u32 = 1 << 5;

/// Bytes of a frame at most; longer ones come in pieces.
const PIECE: usize = 128;

/// A frame that came in.
pub enum Frame<'a> {
    Opened(u32),
    Data(u32, &'a [u8]),
    Closed(u32),
}

pub struct Uart {
    head: [u8; 8],
    headed: usize,
    piece: [u8; PIECE],
    length: usize,
}

impl Uart {
    pub fn new() -> Self {
        unsafe { CONTROL.write_volatile(0x301) }; // on, both ways
        Self { head: [0; 8], headed: 0, piece: [0; PIECE], length: 0 }
    }

    pub fn send(&mut self, kind: u8, conn: u32, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let head = [kind, 0, length as u8, (length >> 8) as u8];
        for part in [&head[..], &conn.to_le_bytes()].iter().chain(parts) {
            for byte in *part {
                while unsafe { FLAGS.read_volatile() } & TRANSMIT_FULL != 0 {}
                unsafe { DATA.write_volatile(u32::from(*byte)) };
            }
        }
    }

    /// The next whole frame, if there is one.
    pub fn receive(&mut self) -> Option<Frame<'_>> {
        loop {
            let expected = usize::from(u16::from_le_bytes([self.head[2], self.head[3]])).min(PIECE);
            if self.headed == 8 && self.length == expected {
                (self.headed, self.length) = (0, 0);
                let conn = u32::from_le_bytes([self.head[4], self.head[5], self.head[6], self.head[7]]);
                match self.head[0] {
                    b'O' => return Some(Frame::Opened(conn)),
                    b'D' => return Some(Frame::Data(conn, &self.piece[..expected])),
                    b'X' => return Some(Frame::Closed(conn)),
                    _ => continue,
                }
            }
            if unsafe { FLAGS.read_volatile() } & RECEIVE_EMPTY != 0 {
                return None;
            }
            let byte = unsafe { DATA.read_volatile() } as u8;
            if self.headed < 8 {
                self.head[self.headed] = byte;
                self.headed += 1;
            } else {
                self.piece[self.length] = byte;
                self.length += 1;
            }
        }
    }
}
