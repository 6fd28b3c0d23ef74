//! TLS by rustls, without IO: bytes from the socket in, bytes for the socket out. One wrapper for all adapters. What it is set
//! up with is in [`trust`], [`identity`], [`pem`] and [`store`].

mod certificate;
mod explain;
mod identity;
mod jks;
mod pem;
mod pkcs12;
mod sealed;
mod store;
#[cfg(test)]
mod tests;
mod trust;

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io::{self, Read, Write};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use self::explain::words;
use crate::config::{ConfigError, TlsOptions};
use crate::planted::planted;

/// Encrypted bytes that are made before they have left, at most (but for one record of TLS).
const AHEAD: usize = 64 << 10;

/// The application's bytes in one record of TLS, at most.
const RECORD: usize = 16 << 10;

/// One connection's TLS.
#[derive(Debug)]
pub(super) struct Session {
    connection: ClientConnection,
    outgoing: Outgoing,
}

/// What is encrypted and has not left. Kept here and not in rustls, because only so it is known which of the application's
/// bytes have left when the socket takes a part.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    /// How many of these have left.
    left: usize,
    /// Where in `bytes` a piece of the application's ends, and how long that piece was.
    pieces: VecDeque<(usize, usize)>,
}

impl core::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} of {} bytes have left", self.left, self.bytes.len())
    }
}

/// Whether the other side may still say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Speaks,
    /// It has said that it is done (`close_notify`). What comes after that is nobody's.
    Done,
}

impl Session {
    pub(super) fn new(config: Arc<ClientConfig>, host: &str) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_string());
        let name = name.map_err(|_| std::format!("{host} is no name that a certificate could have"))?;
        let connection = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        Ok(Self { connection, outgoing: Outgoing::default() })
    }

    /// Whether the handshake is still going on: nothing of the application may pass yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether there is something to be written.
    pub(super) fn wants_write(&self) -> bool {
        self.connection.wants_write() || !self.outgoing.is_empty()
    }

    /// Takes in bytes from the socket, and calls `plain` with what they say.
    pub(super) fn received(&mut self, mut bytes: &[u8], mut plain: impl FnMut(&[u8])) -> Result<Peer, String> {
        let mut buffer = [0; 16 << 10];
        while !bytes.is_empty() {
            let taken = self.connection.read_tls(&mut bytes).map_err(|error| error.to_string())?;
            // If a record is broken, those before it hold good: they are heard first.
            let state = self.connection.process_new_packets().map_err(|error| words(&error));
            loop {
                match self.connection.reader().read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => plain(&buffer[..n]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.to_string()),
                }
            }
            if (state?.peer_has_closed() || taken == 0) && !planted("end-of-tls-ignored") {
                return Ok(Peer::Done);
            }
        }
        Ok(Peer::Speaks)
    }

    /// Takes bytes of the application, as many as there is room for.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        for piece in bytes.chunks(RECORD) {
            if self.outgoing.bytes.len() >= AHEAD {
                break;
            }
            let n = self.connection.writer().write(piece)?;
            self.encrypt()?;
            self.outgoing.pieces.push_back((self.outgoing.bytes.len(), n));
            taken += n;
            if n < piece.len() {
                break;
            }
        }
        Ok(taken)
    }

    /// Says to the other side that nothing more will come.
    pub(super) fn say_goodbye(&mut self) {
        self.connection.send_close_notify();
    }

    /// Moves what rustls has to say, by itself or for the application, to the outgoing bytes.
    fn encrypt(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.outgoing.bytes)?;
        }
        Ok(())
    }

    /// Writes what is encrypted; true if all of it was taken. Adds to `left` how many of the application's bytes have left.
    pub(super) fn flush(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
        left: &mut usize,
    ) -> io::Result<bool> {
        self.encrypt()?;
        while !self.outgoing.is_empty() {
            match write(&self.outgoing.bytes[self.outgoing.left..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => *left += self.outgoing.has_left(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.left == self.bytes.len()
    }

    /// So many more bytes have left; returns how many of the application's that were.
    fn has_left(&mut self, n: usize) -> usize {
        self.left += n;
        let mut whole = 0;
        while self.pieces.front().is_some_and(|(end, _)| *end <= self.left) {
            whole += self.pieces.pop_front().map_or(0, |(_, length)| length);
        }
        if self.is_empty() {
            self.bytes.clear();
            self.left = 0;
        }
        whole
    }
}

/// What `ssl.*` asks for.
pub(super) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, ConfigError> {
    let provider = Arc::new(provider(options)?);
    let versions: Vec<&rustls::SupportedProtocolVersion> =
        [(options.tls13, &rustls::version::TLS13), (options.tls12, &rustls::version::TLS12)]
            .into_iter()
            .filter_map(|(enabled, version)| enabled.then_some(version))
            .collect();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions);
    let builder = builder.map_err(|_| {
        let why = "none of them is of a version of TLS that ssl.enabled.protocols and ssl.protocol leave";
        unusable("ssl.cipher.suites", why.to_string())
    })?;
    let verifier = trust::Verifier::new(options, provider)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Arc::new(match identity::identities(options)? {
        None => builder.with_no_client_auth(),
        Some(identities) => builder.with_client_cert_resolver(Arc::new(identities)),
    }))
}

/// ring, named here, so that a program with several providers need not choose one.
fn provider(options: &TlsOptions) -> Result<CryptoProvider, ConfigError> {
    let mut provider = ring::default_provider();
    if options.cipher_suites.is_empty() {
        return Ok(provider);
    }
    // rustls writes TLS13_AES_..., the standard (and Java) TLS_AES_....
    let name = |suite: &rustls::SupportedCipherSuite| std::format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
    let unknown = unknown_suites(options, &known);
    provider.cipher_suites.retain(|suite| options.cipher_suites.contains(&name(suite)));
    if provider.cipher_suites.is_empty() {
        let why = std::format!("none of them is known: {}. Known are {}", unknown.join(", "), known.join(", "));
        return Err(unusable("ssl.cipher.suites", why));
    }
    if !unknown.is_empty() {
        log::warn!("ssl.cipher.suites: left out, for they are not known: {}", unknown.join(", "));
    }
    Ok(provider)
}

fn unknown_suites<'a>(options: &'a TlsOptions, known: &[String]) -> Vec<&'a str> {
    // Not a suite, but a way to say something in a list of them.
    let unknown = |suite: &&String| !known.contains(suite) && *suite != "TLS_EMPTY_RENEGOTIATION_INFO_SCSV";
    options.cipher_suites.iter().filter(unknown).map(|suite| &**suite).collect()
}

/// Bytes of a file of certificates and keys, at most.
const LARGEST: u64 = 16 << 20;

fn read(path: &str, option: &'static str) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    read.map_err(|error| unusable(option, std::format!("can't read {path}: {error}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(unusable(option, std::format!("{path} has more than {} MiB, and is not read", LARGEST >> 20)));
    }
    Ok(bytes)
}

fn unusable(option: &'static str, why: String) -> ConfigError {
    ConfigError::Unusable { option, why }
}
