//! Lines of the input. A thread of its own reads them, so that a signal is seen while none comes, and hands them on in
//! blocks: what is read and not sent yet is a few blocks, whatever the input.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::mpsc::{Receiver, sync_channel};

use crate::Failure;
use crate::stop::Stop;

/// Bytes that are read at once.
const AT_ONCE: usize = 64 << 10;

/// What was read.
#[derive(Debug)]
pub(crate) enum Block {
    /// Whole lines with their ends, which the last line of an input may lack.
    Lines(Vec<u8>),
    /// A line that is too long, thrown away: its length in bytes.
    TooLong(u64),
    /// The input can't be read on.
    Broken(io::Error),
    /// The input has ended.
    End,
}

/// Reads until the input ends or somebody asks to stop; then the channel is closed without [`Block::End`]. Lines of more than
/// `most` bytes are not kept.
pub(crate) fn read(input: impl Read + Send + 'static, most: usize, stop: Stop) -> Result<Receiver<Block>, Failure> {
    let (sender, blocks) = sync_channel(1);
    let mut reader = Reader { input: BufReader::with_capacity(AT_ONCE, input), most, begun: Vec::new(), skipped: None };
    let thread = move || {
        while !stop.is_asked() {
            let block = reader.next().unwrap_or_else(Block::Broken);
            let last = matches!(block, Block::Broken(_) | Block::End);
            if sender.send(block).is_err() || last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("input".into()).spawn(thread).map_err(Failure::run)?;
    Ok(blocks)
}

/// The lines of a block, without their ends. As Java's console producer, takes `\r\n` for an end too.
pub(crate) fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

struct Reader<R> {
    input: R,
    most: usize,
    /// A line whose end was not read yet.
    begun: Vec<u8>,
    /// A line that is too long already, whose end was not read yet.
    skipped: Option<Skipped>,
}

#[derive(Clone, Copy)]
struct Skipped {
    bytes: u64,
    /// Whether the last of them may belong to the line's end.
    ends_in_return: bool,
}

impl Skipped {
    fn and(self, bytes: &[u8]) -> Self {
        let ends_in_return = bytes.last().map_or(self.ends_in_return, |last| *last == b'\r');
        Self { bytes: self.bytes + bytes.len() as u64, ends_in_return }
    }

    fn block(self) -> Block {
        Block::TooLong(self.bytes - u64::from(self.ends_in_return))
    }
}

impl<R: BufRead> Reader<R> {
    fn next(&mut self) -> io::Result<Block> {
        loop {
            let bytes = match self.input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let length = bytes.len();
            if length == 0 {
                return Ok(match (self.skipped.take(), self.begun.is_empty()) {
                    (Some(skipped), _) => skipped.block(),
                    (None, true) => Block::End,
                    (None, false) => Block::Lines(std::mem::take(&mut self.begun)),
                });
            }
            if let Some(skipped) = self.skipped {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let skipped = skipped.and(&bytes[..end.unwrap_or(length)]);
                self.skipped = end.is_none().then_some(skipped);
                self.input.consume(end.map_or(length, |end| end + 1));
                if end.is_some() {
                    return Ok(skipped.block());
                }
                continue;
            }
            let end = bytes.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1);
            let first_end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(length);
            // One more than allowed: it may be a `\r`, of the line's end.
            if self.begun.len() + first_end > self.most + 1 {
                let none = Skipped { bytes: 0, ends_in_return: false };
                self.skipped = Some(none.and(&std::mem::take(&mut self.begun)));
                continue;
            }
            self.begun.extend_from_slice(&bytes[..end.unwrap_or(length)]);
            let rest = Vec::from(&bytes[end.unwrap_or(length)..]);
            self.input.consume(length);
            if end.is_some() {
                return Ok(Block::Lines(std::mem::replace(&mut self.begun, rest)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one piece a read.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    /// All lines, those that are too long by their lengths.
    fn read_all(input: &[u8], piece: usize, most: usize) -> Vec<Result<Vec<u8>, u64>> {
        let pieces = Pieces(input.chunks(piece).map(<[u8]>::to_vec).collect());
        let input = BufReader::with_capacity(AT_ONCE, pieces);
        let mut reader = Reader { input, most, begun: Vec::new(), skipped: None };
        let mut all = Vec::new();
        loop {
            match reader.next().unwrap() {
                Block::Lines(bytes) => {
                    assert!(bytes.len() <= most + 1 + piece, "{} bytes of a block", bytes.len());
                    all.extend(
                        lines(&bytes).map(
                            |line| {
                                if line.len() > most { Err(line.len() as u64) } else { Ok(line.to_vec()) }
                            },
                        ),
                    );
                }
                Block::TooLong(length) => all.push(Err(length)),
                Block::End => return all,
                Block::Broken(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let long = "x".repeat(12);
        let input = format!("one\r\n\r\n\n{long}\r\n{long}{long}\ntwelve bytes\r\ntwelve byte\r\r\nlast\r");
        let wanted: Vec<Result<Vec<u8>, u64>> = vec![
            Ok(b"one".to_vec()),
            Ok(Vec::new()),
            Ok(Vec::new()),
            Ok(long.clone().into_bytes()),
            Err(24),
            Ok(b"twelve bytes".to_vec()),
            Ok(b"twelve byte\r".to_vec()),
            Ok(b"last".to_vec()),
        ];
        for piece in 1..=input.len() {
            assert_eq!(read_all(input.as_bytes(), piece, 12), wanted, "in pieces of {piece}");
        }
        let shorter = [Err(12), Err(24), Err(12), Err(12)];
        for piece in 1..=input.len() {
            let all = read_all(input.as_bytes(), piece, 11);
            assert_eq!(all.into_iter().filter(Result::is_err).collect::<Vec<_>>(), shorter, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_last_line_that_is_too_long_and_has_no_end_is_told_too() {
        for (end, length) in [("", 100), ("\r", 100), ("\n", 100), ("\r\n", 100), ("\rx", 102)] {
            let input = format!("a\n{}{end}", "x".repeat(100));
            for piece in [1, 7, 200] {
                assert_eq!(read_all(input.as_bytes(), piece, 10), [Ok(b"a".to_vec()), Err(length)], "{end:?}");
            }
        }
    }
}
