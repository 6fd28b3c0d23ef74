//! The server's end of TLS, by hand, so that it can be ended in ways that servers end it, and others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub struct TlsEnd {
    session: Mutex<rustls::ServerConnection>,
    /// Held while encrypted bytes are on their way to the socket, whose order matters.
    order: Mutex<()>,
}

impl TlsEnd {
    pub fn new(config: &Arc<rustls::ServerConfig>) -> Self {
        let session = rustls::ServerConnection::new(Arc::clone(config)).expect("a session");
        Self { session: Mutex::new(session), order: Mutex::new(()) }
    }

    /// For whom the authority vouches, with the authority's certificate in PEM.
    pub fn certificate() -> (Arc<rustls::ServerConfig>, String) {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new([]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "an authority for a test");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&authority_key).unwrap().pem();
        let authority = rcgen::Issuer::new(parameters, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(["127.0.0.1".to_string()]).unwrap();
        let certificate: CertificateDer<'static> = parameters.signed_by(&key, &authority).unwrap().der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        (Arc::new(config), pem)
    }

    /// What the producer said, and what TLS answers by itself; `None` if it is no TLS.
    pub fn receive(&self, mut bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut plain, mut answer) = (Vec::new(), Vec::new());
        while !bytes.is_empty() {
            if session.read_tls(&mut bytes).ok()? == 0 {
                break; // after the producer's close_notify
            }
            let length = session.process_new_packets().ok()?.plaintext_bytes_to_read();
            let at = plain.len();
            plain.resize(at + length, 0);
            session.reader().read_exact(&mut plain[at..]).ok()?;
        }
        while session.wants_write() {
            session.write_tls(&mut answer).ok()?;
        }
        Some((plain, answer))
    }

    /// Bytes for the producer, as they go over the network.
    pub fn encrypt(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut encrypted = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = session.writer().write(rest).ok()?;
            rest = &rest[taken..];
            while session.wants_write() {
                session.write_tls(&mut encrypted).ok()?;
            }
        }
        Some(encrypted)
    }

    /// Does something that writes to the producer, while nobody else does.
    pub fn in_order<T>(&self, write: impl FnOnce(&Self) -> T) -> T {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        write(self)
    }

    /// Says that nothing more comes (`close_notify`), and then something nevertheless, in one write. The socket stays open.
    pub fn close_notify(&self, mut socket: &TcpStream, then: &[u8]) {
        self.in_order(|tls| {
            let mut bytes = Vec::new();
            let mut session = tls.session.lock().unwrap_or_else(PoisonError::into_inner);
            session.send_close_notify();
            while session.wants_write() {
                session.write_tls(&mut bytes).expect("a Vec takes everything");
            }
            drop(session);
            bytes.extend_from_slice(then);
            let _ = socket.write_all(&bytes);
        });
    }

    /// Writes nonsense as fast as it is taken. True if the producer ended it, false if it still took it after this time.
    pub fn flood(&self, mut socket: &TcpStream, at_most: Duration) -> bool {
        let began = super::now();
        while super::now() - began < at_most {
            match socket.write(&[0xab; 65_536]) {
                Ok(_) => {}
                Err(error) if super::is_tick(&error) => {}
                Err(_) => return true,
            }
        }
        false
    }
}
