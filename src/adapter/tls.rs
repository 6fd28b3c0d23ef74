//! TLS by rustls, without IO: bytes from the socket in, bytes for the socket out. One wrapper for all adapters.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io::{self, Read, Write};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::config::TlsOptions;
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
            let state = self.connection.process_new_packets().map_err(|error| words(&error))?;
            loop {
                match self.connection.reader().read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => plain(&buffer[..n]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.to_string()),
                }
            }
            if (state.peer_has_closed() || taken == 0) && !planted("end-of-tls-ignored") {
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

/// rustls' words, with what to do where that is not obvious.
#[allow(clippy::wildcard_enum_match_arm, reason = "some of a library's many errors")]
fn words(error: &Error) -> String {
    let hint = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; is the issuer in ssl.truststore.location, or in the system's store?"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName,
        ) => "; the brokers' advertised.listeners have to name what the certificate is for",
        Error::InvalidMessage(_) => "; does the port speak TLS?",
        _ => "",
    };
    std::format!("{error}{hint}")
}

/// What `ssl.*` asks for.
pub(super) fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(provider(options)?);
    let versions: Vec<&rustls::SupportedProtocolVersion> =
        [(options.tls13, &rustls::version::TLS13), (options.tls12, &rustls::version::TLS12)]
            .into_iter()
            .filter_map(|(enabled, version)| enabled.then_some(version))
            .collect();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&versions);
    let builder = builder.map_err(|error| std::format!("ssl.enabled.protocols, ssl.cipher.suites: {error}"))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(options)?), provider).build();
    let verifier = verifier.map_err(|error| std::format!("ssl.truststore: {error}"))?;
    let builder = if options.any_name {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
    } else {
        builder.with_webpki_verifier(verifier)
    };
    let config = match identity(options)? {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| std::format!("ssl.keystore: {error}"))?
        }
    };
    Ok(Arc::new(config))
}

/// ring, named here, so that a program with several providers need not choose one.
fn provider(options: &TlsOptions) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if !options.cipher_suites.is_empty() {
        // rustls writes TLS13_AES_…, the standard (and Java) TLS_AES_….
        let name = |suite: &rustls::SupportedCipherSuite| std::format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
        provider.cipher_suites.retain(|suite| options.cipher_suites.contains(&name(suite)));
        if provider.cipher_suites.is_empty() {
            let known: Vec<String> = ring::default_provider().cipher_suites.iter().map(name).collect();
            return Err(std::format!("ssl.cipher.suites has none that is known: {}", known.join(", ")));
        }
    }
    Ok(provider)
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (text, option) = match (&options.trusted, &options.truststore) {
        (Some(text), _) => (text.expose().as_bytes().to_vec(), "ssl.truststore.certificates"),
        (None, Some(path)) => (read(path, "ssl.truststore.location")?, "ssl.truststore.location"),
        (None, None) => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err("the system has no certificates to trust: set ssl.truststore.location".to_string());
            }
            return Ok(roots);
        }
    };
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| std::format!("{option}: {error}"))?;
        roots.add(certificate).map_err(|error| std::format!("{option}: {error}"))?;
    }
    if roots.is_empty() {
        return Err(std::format!("{option} has no certificate in PEM"));
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(options: &TlsOptions) -> Result<Option<Identity>, String> {
    let (key, chain, option) = match (&options.keystore, &options.key, &options.chain) {
        (Some(path), ..) => {
            let text = read(path, "ssl.keystore.location")?;
            (text.clone(), text, "ssl.keystore.location")
        }
        (None, Some(key), Some(chain)) => {
            (key.expose().as_bytes().to_vec(), chain.expose().as_bytes().to_vec(), "ssl.keystore")
        }
        (None, ..) => return Ok(None),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let chain = chain.map_err(|error| std::format!("{option}: {error}"))?;
    if chain.is_empty() {
        return Err(std::format!("{option} has no certificate in PEM"));
    }
    let text = String::from_utf8_lossy(&key);
    if let Some(sealed) = section(&text, "ENCRYPTED PRIVATE KEY") {
        let Some(password) = &options.key_password else {
            return Err(std::format!("the key in {option} is encrypted: set ssl.key.password"));
        };
        let (_, document) =
            pkcs8::SecretDocument::from_pem(sealed).map_err(|error| std::format!("{option}: {error}"))?;
        let sealed = pkcs8::EncryptedPrivateKeyInfo::try_from(document.as_bytes());
        let sealed = sealed.map_err(|error| std::format!("{option}: {error}"))?;
        let opened = sealed.decrypt(password.expose());
        let opened =
            opened.map_err(|error| std::format!("ssl.key.password does not open the key in {option}: {error}"))?;
        return Ok(Some((chain, PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())));
    }
    let key = PrivateKeyDer::from_pem_slice(&key);
    let key = key.map_err(|error| std::format!("{option} has no private key in PEM (PKCS#8): {error}"))?;
    Ok(Some((chain, key)))
}

/// The PEM section with this label.
fn section<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let end = std::format!("-----END {label}-----");
    let from = text.find(&std::format!("-----BEGIN {label}-----"))?;
    let to = text[from..].find(&end)? + from + end.len();
    Some(&text[from..to])
}

fn read(path: &str, option: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| std::format!("{option}: can't read {path}: {error}"))
}

/// Checks everything but the name (`ssl.endpoint.identification.algorithm=`).
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
