//! Which servers are trusted: those with a certificate of an issuer in the truststore, and those whose own certificate is in it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use pkcs8::der::Decode;
use pkcs8::spki::SubjectPublicKeyInfoRef;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::{Certificate, algorithm_content};
use super::explain::{self, Chain};
use super::{pem, read, store, unusable};
use crate::config::{ConfigError, TlsOptions};

/// Verifies servers as Java does, as far as rustls has what that takes.
#[derive(Debug)]
pub(super) struct Verifier {
    /// Of chains that end at an issuer in the store; `None` if nothing in it can be one.
    issuers: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates in the truststore. A server that shows one of them, byte for byte, is trusted by that alone, as by Java's
    /// PKIX trust manager: whoever issued it, whenever it ends, whatever it may be used for. It still has to prove that it has the
    /// key, and to be the one that is meant.
    trusted: Vec<CertificateDer<'static>>,
    /// Where they come from, for errors.
    store: &'static str,
    any_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(options: &TlsOptions, provider: Arc<CryptoProvider>) -> Result<Self, ConfigError> {
        let (text, store) = match (&options.trusted, &options.truststore) {
            (Some(text), _) => (Some(text.expose().as_bytes().to_vec()), "ssl.truststore.certificates"),
            (None, Some(path)) => (Some(read(path, "ssl.truststore.location")?), "ssl.truststore.location"),
            (None, None) => (None, "the system's store (ssl.truststore.location is not set)"),
        };
        let mut roots = RootCertStore::empty();
        let mut trusted = Vec::new();
        match text {
            Some(text) => {
                trusted = certificates(options, &text).map_err(|why| unusable(store, why))?;
                fill(&mut roots, &trusted, store)?;
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    let why = "it is not set, and the system has no certificates to trust".to_string();
                    return Err(unusable("ssl.truststore.location", why));
                }
            }
        }
        let algorithms = provider.signature_verification_algorithms;
        let issuers = match roots.is_empty() {
            true => None,
            false => {
                let made = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
                Some(made.map_err(|error| unusable("ssl.truststore.location", error.to_string()))?)
            }
        };
        Ok(Self { issuers, trusted, store, any_name: options.any_name, algorithms })
    }

    #[cfg(test)]
    pub(super) fn trusted(&self) -> &[CertificateDer<'static>] {
        &self.trusted
    }

    fn is_trusted_itself(&self, certificate: &CertificateDer<'_>) -> bool {
        self.trusted.iter().any(|trusted| **trusted == **certificate)
    }
}

/// The certificates to trust, in a truststore's bytes.
fn certificates(options: &TlsOptions, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let store = match options.trusted {
        Some(_) => None,
        None => store::read(bytes, options.truststore_type, options.truststore_password.as_ref(), store::TRUSTSTORE)?,
    };
    let Some(store) = store else { return pem::certificates(bytes) };
    match (&store.trusted[..], &store.keys[..]) {
        ([], []) => Err("the store is empty: it has no certificate to trust".to_string()),
        ([], [key, ..]) => Err(format!(
            "it is a keystore: it has the private key {} and no certificate to trust; a truststore is made by keytool -importcert \
             -file CERTIFICATE -keystore NEW",
            key.alias
        )),
        _ => Ok(store.trusted),
    }
}

/// Makes issuers of the certificates. One that is none that rustls understands can still be a server's own.
fn fill(
    roots: &mut RootCertStore,
    trusted: &[CertificateDer<'static>],
    store: &'static str,
) -> Result<(), ConfigError> {
    for (place, certificate) in trusted.iter().enumerate() {
        let which = format!("certificate {} of {}", place + 1, trusted.len());
        let Some(read) = Certificate::read(certificate) else {
            return Err(unusable(
                store,
                format!("{which} is damaged: it is no X.509 certificate; leave it out, or replace it"),
            ));
        };
        if let Err(error) = roots.add(certificate.clone()) {
            let subject = read.subject();
            log::warn!("{store}: {which} ({subject}) is trusted as a server's own, not as an issuer: {error}");
        }
    }
    Ok(())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = || Chain::new(certificate, intermediates, &self.trusted, self.store);
        if self.is_trusted_itself(certificate) {
            return match self.any_name || is_named(certificate, name) {
                true => Ok(ServerCertVerified::assertion()),
                false => Err(explain::own(chain().name(name))),
            };
        }
        let verified = match &self.issuers {
            Some(issuers) => issuers.verify_server_cert(certificate, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            Err(Error::InvalidCertificate(error)) => Err(explain::own(chain().words(&error, name, now))),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = match ParsedCertificate::try_from(certificate) {
            Ok(_) => rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms),
            Err(_) => self.by_key_alone(message, certificate, signature),
        };
        verified.map_err(|error| explain::of_key(error, certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = match ParsedCertificate::try_from(certificate) {
            Ok(_) => rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms),
            Err(error) => match Certificate::read(certificate).and_then(|read| read.public_key_info()) {
                Some(key) => verify_tls13_signature_with_raw_key(
                    message,
                    &SubjectPublicKeyInfoDer::from(key),
                    signature,
                    &self.algorithms,
                ),
                None => Err(error),
            },
        };
        verified.map_err(|error| explain::of_key(error, certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Verifier {
    /// TLS 1.2's signature, for a certificate that rustls can't read (of X.509 version 1), of which the key can be read.
    fn by_key_alone(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let unreadable = || Error::from(CertificateError::BadEncoding);
        let key = Certificate::read(certificate).and_then(|read| read.public_key_info()).ok_or_else(unreadable)?;
        let algorithm = algorithm_content(&key).ok_or_else(unreadable)?;
        let public = SubjectPublicKeyInfoRef::from_der(&key).map_err(|_| unreadable())?.subject_public_key.raw_bytes();
        let schemes = self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signature.scheme);
        let is_good = schemes.flat_map(|(_, algorithms)| algorithms.iter()).any(|verifying| {
            verifying.public_key_alg_id().as_ref() == algorithm
                && verifying.verify_signature(public, message, signature.signature()).is_ok()
        });
        if is_good { Ok(HandshakeSignatureValid::assertion()) } else { Err(CertificateError::BadSignature.into()) }
    }
}

/// Whether a certificate is for a name. Where it has no DNS names its common name is looked at, as in Java; this is asked only
/// of certificates that are in the truststore themselves.
fn is_named(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    if ParsedCertificate::try_from(certificate).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok()) {
        return true;
    }
    let (ServerName::DnsName(name), Some(read)) = (name, Certificate::read(certificate)) else { return false };
    read.alternative_names().0.is_empty() && read.common_name().is_some_and(|common| is_like(name.as_ref(), &common))
}

/// A name, or one with a `*` as its first part.
pub(super) fn is_like(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.trim_end_matches('.'), pattern.trim_end_matches('.'));
    name.eq_ignore_ascii_case(pattern)
        || match (name.split_once('.'), pattern.strip_prefix("*.")) {
            (Some((first, rest)), Some(pattern)) => !first.is_empty() && rest.eq_ignore_ascii_case(pattern),
            _ => false,
        }
}
