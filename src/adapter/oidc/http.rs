//! One POST by HTTP/1.1 (RFC 9112), with TLS or without, on a connection of its own. It waits, so it is for a thread of its own; but
//! never beyond its deadline, and it takes no more bytes than an answer with a token could have.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::adapter::clock::Clock;
use crate::adapter::tls;
use crate::config::oidc::Endpoint;
use crate::time::Instant;

/// Bytes of an answer's head, of its body, and of all that comes.
const HEAD: usize = 16 << 10;
const BODY: usize = 256 << 10;
const ALL: usize = 512 << 10;

/// Bytes of the line before a chunk.
const CHUNK_LINE: usize = 256;

const HEADERS: usize = 64;

/// Times to keep, by one clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) clock: Clock,
    /// How long connecting may take.
    pub(super) connect: Option<Duration>,
    /// How long the rest may take.
    pub(super) read: Option<Duration>,
    /// When all has to be over.
    pub(super) deadline: Instant,
}

impl Times {
    /// What is left until the limit from now, and the deadline.
    fn until(&self, limit: Option<Duration>) -> Instant {
        limit.map_or(self.deadline, |limit| self.deadline.min(self.clock.now() + limit))
    }

    fn left(&self, until: Instant) -> io::Result<Duration> {
        let left = until.saturating_since(self.clock.now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) words: String,
    /// Another attempt may do better.
    pub(super) is_passing: bool,
}

impl Failure {
    pub(super) fn lasting(words: impl Into<String>) -> Self {
        Self { words: words.into(), is_passing: false }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if let Some(words) = tls::words_in(&error) {
            return Self::lasting(format!("TLS: {words}"));
        }
        let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
        let words = if is(&[ErrorKind::TimedOut, ErrorKind::WouldBlock]) {
            "no answer in time".to_string()
        } else if is(&[ErrorKind::UnexpectedEof]) {
            "it closed the connection before its answer was whole".to_string()
        } else {
            error.to_string()
        };
        Self { words, is_passing: true }
    }
}

/// Posts a form. `authorization` is the header's value; it and the form are secrets, and in no error.
pub(super) fn post(
    endpoint: &Endpoint,
    config: Option<&Arc<ClientConfig>>,
    times: Times,
    authorization: Option<&str>,
    form: &str,
) -> Result<Answer, Failure> {
    let socket = connect(endpoint, times)?;
    let mut stream = Timed { socket, times, until: times.until(times.read) };
    let mut request = format!("POST {} HTTP/1.1\r\nHost: {}\r\n", endpoint.target, endpoint.authority);
    if let Some(authorization) = authorization {
        request += &format!("Authorization: {authorization}\r\n");
    }
    request += &format!(
        "Accept: application/json\r\nAccept-Encoding: identity\r\nCache-Control: no-cache\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    match config {
        None => exchange(&mut stream, &request),
        Some(config) => {
            let name = ServerName::try_from(endpoint.host.clone());
            let name = name.map_err(|_| Failure::lasting("its host is no name that a certificate could have"))?;
            let connection = ClientConnection::new(Arc::clone(config), name);
            let connection = connection.map_err(|error| Failure::lasting(format!("TLS: {error}")))?;
            exchange(&mut StreamOwned::new(connection, stream), &request)
        }
    }
}

fn connect(endpoint: &Endpoint, times: Times) -> Result<TcpStream, Failure> {
    let addresses = (&*endpoint.host, endpoint.port).to_socket_addrs();
    let addresses: Vec<_> = addresses.map_err(|error| Failure::from(error).before("can't resolve its name"))?.collect();
    let until = times.until(times.connect);
    let mut last = Failure { words: "its name has no address".to_string(), is_passing: true };
    for (place, address) in addresses.iter().enumerate() {
        // What is left is shared by the addresses that are left.
        let share = u32::try_from(addresses.len() - place).unwrap_or(u32::MAX);
        let connected = times
            .left(until)
            .and_then(|left| TcpStream::connect_timeout(address, (left / share).max(Duration::from_millis(1))));
        match connected {
            Ok(socket) => return Ok(socket),
            Err(error) => last = Failure::from(error).before(&format!("can't connect to {address}")),
        }
    }
    Err(last)
}

impl Failure {
    fn before(self, what: &str) -> Self {
        Self { words: format!("{what}: {}", self.words), ..self }
    }
}

/// A socket whose every wait ends in time.
struct Timed {
    socket: TcpStream,
    times: Times,
    until: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.times.left(self.until)?))?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.times.left(self.until)?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn exchange(stream: &mut (impl Read + Write), request: &str) -> Result<Answer, Failure> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut incoming = Incoming { stream, bytes: Vec::new(), all: 0 };
    loop {
        let head = incoming.head()?;
        // What is only on the way, such as 100 Continue.
        if !(100..200).contains(&head.status) {
            let body = incoming.body(&head)?;
            return Ok(Answer { status: head.status, body });
        }
    }
}

/// What an answer's head says of its body.
struct Head {
    status: u16,
    length: Option<usize>,
    chunked: bool,
}

struct Incoming<'a, S> {
    stream: &'a mut S,
    /// What has come and is not read yet.
    bytes: Vec<u8>,
    /// Bytes that have come in all.
    all: usize,
}

impl<S: Read> Incoming<'_, S> {
    /// Reads on; false at the end.
    fn more(&mut self) -> Result<bool, Failure> {
        let mut buffer = [0; 4096];
        let n = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.all += n;
        if self.all > ALL {
            return Err(too_long());
        }
        self.bytes.extend_from_slice(&buffer[..n]);
        Ok(n > 0)
    }

    fn some_more(&mut self) -> Result<(), Failure> {
        if self.more()? { Ok(()) } else { Err(io::Error::from(ErrorKind::UnexpectedEof).into()) }
    }

    fn head(&mut self) -> Result<Head, Failure> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&self.bytes);
            let parsed = parsed.map_err(|error| Failure::lasting(format!("its answer is no HTTP: {error}")))?;
            if let httparse::Status::Complete(length) = parsed {
                let head = Head::read(&response)?;
                self.bytes.drain(..length);
                return Ok(head);
            }
            if self.bytes.len() > HEAD {
                return Err(too_long());
            }
            self.some_more()?;
        }
    }

    fn body(&mut self, head: &Head) -> Result<Vec<u8>, Failure> {
        if matches!(head.status, 204 | 304) {
            return Ok(Vec::new());
        }
        if head.chunked {
            return self.chunks();
        }
        if let Some(length) = head.length {
            return self.take(length);
        }
        // To the end of the connection; with TLS, one that is not said is an error.
        while self.more()? {
            if self.bytes.len() > BODY {
                return Err(too_long());
            }
        }
        Ok(core::mem::take(&mut self.bytes))
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        if length > BODY {
            return Err(too_long());
        }
        while self.bytes.len() < length {
            self.some_more()?;
        }
        Ok(self.bytes.drain(..length).collect())
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Failure> {
        let wrong = || Failure::lasting("its answer is no HTTP: a chunk is damaged");
        let mut body = Vec::new();
        loop {
            let size = match httparse::parse_chunk_size(&self.bytes).map_err(|_| wrong())? {
                httparse::Status::Complete((line, size)) => {
                    self.bytes.drain(..line);
                    usize::try_from(size).unwrap_or(usize::MAX)
                }
                httparse::Status::Partial if self.bytes.len() > CHUNK_LINE => return Err(wrong()),
                httparse::Status::Partial => {
                    self.some_more()?;
                    continue;
                }
            };
            // What may follow the last one, nobody needs.
            if size == 0 {
                return Ok(body);
            }
            if size > BODY - body.len() {
                return Err(too_long());
            }
            body.extend(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(wrong());
            }
        }
    }
}

impl Head {
    fn read(response: &httparse::Response<'_, '_>) -> Result<Self, Failure> {
        let wrong = |words: &str| Failure::lasting(format!("its answer is no HTTP that is read here: {words}"));
        let mut head = Self { status: response.code.unwrap_or(0), length: None, chunked: false };
        for header in &*response.headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let value = core::str::from_utf8(header.value).unwrap_or_default().trim();
            if is("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") {
                    return Err(wrong("a transfer encoding other than chunked"));
                }
                head.chunked = true;
            } else if is("content-length") {
                let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let length = if is_number { value.parse().unwrap_or(usize::MAX) } else { 0 };
                if !is_number || head.length.is_some_and(|known| known != length) {
                    return Err(wrong("a wrong content length"));
                }
                head.length = Some(length);
            } else if is("content-encoding") && !value.eq_ignore_ascii_case("identity") {
                return Err(wrong("it is compressed, unasked"));
            }
        }
        Ok(head)
    }
}

fn too_long() -> Failure {
    Failure::lasting(format!("its answer is longer than any with a token ({} KiB)", BODY >> 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came, in pieces of one size, and where what was sent goes.
    struct Wire<'a>(&'a [u8], usize, Vec<u8>);

    impl Read for Wire<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(self.1).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    impl Write for Wire<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.2.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answer(text: &[u8], piece: usize) -> Result<(u16, Vec<u8>), String> {
        let answer = exchange(&mut Wire(text, piece, Vec::new()), "POST / HTTP/1.1\r\n\r\n");
        answer.map(|answer| (answer.status, answer.body)).map_err(|failure| failure.words)
    }

    #[test]
    fn answers_are_read_however_they_are_cut_and_framed() {
        for (text, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}rest", 200, "{}"),
            ("HTTP/1.0 200 OK\r\nServer: x\r\n\r\nto the end", 200, "to the end"),
            (
                "HTTP/1.1 200\r\ntransfer-encoding: Chunked\r\n\r\n2;x=y\r\n{\"\r\nA\r\n0123456789\r\n0\r\nT: u\r\n\r\n",
                200,
                "{\"0123456789",
            ),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", 401, ""),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200, "x"),
        ] {
            for piece in [1, 2, 3, 7, 4096] {
                assert_eq!(
                    answer(text.as_bytes(), piece),
                    Ok((status, body.as_bytes().to_vec())),
                    "{text:?} by {piece}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_told_and_never_too_much_of_it_is_read() {
        let long = "x".repeat(1 << 20);
        let chunks = "ffff\r\n".to_string() + &long[..0xffff] + "\r\n";
        for (text, words) in [
            ("SSH-2.0-OpenSSH\r\n\r\n".to_string(), "no HTTP"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc".to_string(), "before its answer was whole"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_string(), "longer"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_string(), "longer"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_string(), "wrong content length"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc".to_string(),
                "wrong content length",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_string(), "transfer encoding"),
            ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n".to_string(), "compressed"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_string(), "chunk is damaged"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz".to_string(), "chunk is damaged"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;".to_string() + &long, "chunk is damaged"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_string() + &chunks.repeat(9), "longer"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_string(), "longer"),
            ("HTTP/1.1 200 OK\r\n\r\n".to_string() + &long, "longer"),
            ("HTTP/1.1 200 OK\r\nX: ".to_string() + &long, "longer"),
            ("HTTP/1.1 100 Continue\r\n\r\n".repeat(100_000), "longer"),
            ("HTTP/1.1 200 OK\r\n".to_string() + &"X: y\r\n".repeat(100) + "\r\n", "no HTTP"),
        ] {
            for piece in [3, 4096] {
                let error = answer(text.as_bytes(), piece).unwrap_err();
                assert!(error.contains(words), "{:?}: {error}", &text[..text.len().min(80)]);
            }
        }
    }
}
