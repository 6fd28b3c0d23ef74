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
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use self::explain::words;
use crate::config::{ConfigError, TlsOptions};
use crate::planted::planted;

/// Bytes that are encrypted before they have left, at most: as many as stay in the processor's cache until the system has copied
/// them. (Four times as many cost more.)
const AHEAD: usize = 64 << 10;

/// Records of TLS that rustls hands out for one call of the socket, at most.
const HANDED_OUT: usize = 64;

/// The application's bytes in one record of TLS, at most.
const RECORD: usize = 16 << 10;

/// Segments that one record is made of, at most: there are short ones between long ones.
const SLICES: usize = 64;

/// One connection's TLS.
#[derive(Debug)]
pub(super) struct Session {
    connection: ClientConnection,
    outgoing: Outgoing,
}

/// What of the application's is encrypted and has not left. rustls has the bytes, and writes them from where it encrypted them.
#[derive(Debug, Default)]
struct Outgoing {
    /// Encrypted bytes that have left since there were none.
    left: usize,
    /// Where among these a piece of the application's ends, and how long that piece was. The application's bytes have left when
    /// all of their piece has.
    pieces: VecDeque<(usize, usize)>,
    /// The application's bytes in them.
    len: usize,
}

/// A socket for rustls.
struct Socket<W>(W);

impl<W: FnMut(&[IoSlice<'_>]) -> io::Result<usize>> Write for Socket<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (self.0)(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        let mut connection = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        connection.set_buffer_limit(None); // `AHEAD` is one
        Ok(Self { connection, outgoing: Outgoing::default() })
    }

    /// Whether the handshake is still going on: nothing of the application may pass yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether there is something to be written.
    pub(super) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Takes in bytes from the socket, and calls `plain` with what they say.
    pub(super) fn received(&mut self, mut bytes: &[u8], mut plain: impl FnMut(&[u8])) -> Result<Peer, String> {
        while !bytes.is_empty() {
            let taken = self.connection.read_tls(&mut bytes).map_err(|error| error.to_string())?;
            // If a record is broken, those before it hold good: they are heard first.
            let state = self.connection.process_new_packets().map_err(|error| words(&error));
            loop {
                let mut reader = self.connection.reader();
                let read = match reader.fill_buf() {
                    Ok([]) => break,
                    Ok(bytes) => {
                        plain(bytes);
                        bytes.len()
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.to_string()),
                };
                reader.consume(read);
            }
            if (state?.peer_has_closed() || taken == 0) && !planted("end-of-tls-ignored") {
                return Ok(Peer::Done);
            }
        }
        Ok(Peer::Speaks)
    }

    /// Takes bytes of the application, as many as there is room for. They are encrypted from where they lie, as few large records.
    pub(super) fn send<'a>(&mut self, segments: impl IntoIterator<Item = &'a [u8]>) -> io::Result<usize> {
        let mut segments = segments.into_iter().filter(|segment| !segment.is_empty());
        let (mut taken, mut rest) = (0, segments.next());
        while rest.is_some() && self.outgoing.len < AHEAD {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let (mut count, mut length) = (0, 0);
            while let (Some(segment), true) = (rest, count < SLICES && length < RECORD) {
                let (now, later) = segment.split_at(segment.len().min(RECORD - length));
                slices[count] = IoSlice::new(now);
                (count, length) = (count + 1, length + now.len());
                rest = if later.is_empty() { segments.next() } else { Some(later) };
            }
            let (before, _) = self.queued();
            let n = self.connection.writer().write_vectored(&slices[..count])?;
            let (after, is_all) = self.queued();
            if (n == 0 || (is_all && after < before + n)) && !planted("tls-keys-end-unseen") {
                // TLS 1.2 has no new keys for those that have encrypted all they may: rustls throws away what comes then.
                return Err(io::Error::other("the keys of this connection are used up"));
            }
            // If it can't be seen where the piece ends, it ends where all does.
            let ends = if planted("tls-leaves-early") { before } else { after };
            let end = if is_all { self.outgoing.left + ends } else { usize::MAX };
            self.outgoing.pieces.push_back((end, n));
            self.outgoing.len += n;
            taken += n;
            if n < length {
                break;
            }
        }
        Ok(taken)
    }

    /// How many encrypted bytes rustls has, and whether these are all. It says so only to who writes them: a socket that blocks.
    fn queued(&mut self) -> (usize, bool) {
        let mut queued = (0, true);
        let blocks = |slices: &[IoSlice<'_>]| {
            queued = (slices.iter().map(|slice| slice.len()).sum(), slices.len() < HANDED_OUT);
            Err(ErrorKind::WouldBlock.into())
        };
        let _ = self.connection.write_tls(&mut Socket(blocks));
        queued
    }

    /// Says to the other side that nothing more will come.
    pub(super) fn say_goodbye(&mut self) {
        self.connection.send_close_notify();
    }

    /// Writes what is encrypted; true if all of it was taken. Adds to `left` how many of the application's bytes have left.
    pub(super) fn flush(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        left: &mut usize,
    ) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Socket(&mut write)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => *left += self.outgoing.has_left(n, !self.connection.wants_write()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Outgoing {
    /// So many more bytes have left, maybe `all`; returns how many of the application's that were.
    fn has_left(&mut self, n: usize, all: bool) -> usize {
        self.left += n;
        let mut whole = 0;
        while let Some((_, length)) = self.pieces.front().filter(|(end, _)| all || *end <= self.left) {
            whole += length;
            self.pieces.pop_front();
        }
        self.len -= whole;
        if all {
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

pub(super) fn read(path: &str, option: &'static str) -> Result<Vec<u8>, ConfigError> {
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

/// What an error of a stream says of TLS, if that is what it is about.
#[cfg(feature = "oidc")]
pub(super) fn words_in(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    // It is no broker.
    let words = words(inner).replace(explain::SERVERS, "the URLs that are used");
    Some(words.replace("the brokers' ssl.truststore", "its truststore"))
}

/// The one private key in a text in PEM, which belongs to no certificate.
#[cfg(feature = "oidc")]
pub(super) fn signing_key(
    pem: &[u8],
    password: Option<&crate::config::Secret>,
) -> Result<Arc<dyn rustls::sign::SigningKey>, String> {
    identity::key_alone(pem, password)
}

/// Whether a certificate's key has signed something.
#[cfg(all(test, feature = "oidc"))]
pub(super) fn verify(pem: &[u8], scheme: rustls::SignatureScheme, message: &[u8], signature: &[u8]) -> bool {
    let certificate = pem::certificates(pem).expect("a certificate").remove(0);
    let key = certificate::Certificate::read(&certificate).and_then(|read| read.public_key_info()).expect("a key");
    let key = pkcs8::spki::SubjectPublicKeyInfoRef::try_from(&*key).expect("a key");
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let mut known = algorithms.mapping.iter().filter(|(known, _)| *known == scheme).flat_map(|(_, all)| all.iter());
    known.any(|algorithm| algorithm.verify_signature(key.subject_public_key.raw_bytes(), message, signature).is_ok())
}
