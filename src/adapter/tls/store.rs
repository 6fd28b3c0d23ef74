//! Java's keystores and truststores, which are PKCS12, JKS or PEM files. Which one a file is, its first bytes tell: as with Java's
//! own store types, PKCS12 and JKS may stand for each other.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use rustls::pki_types::CertificateDer;

use super::{jks, pem, pkcs12, sealed};
use crate::config::{Secret, StoreType};

/// What stands in a store, in its order.
#[derive(Default)]
pub(super) struct Store {
    /// Certificates to trust.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) keys: Vec<StoredKey>,
}

/// A private key in a store, with its certificates.
pub(super) struct StoredKey {
    pub(super) alias: String,
    pub(super) key: Protected,
    /// Its own certificate, and then each one's issuer.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// How a private key lies in a store.
pub(super) enum Protected {
    /// PKCS#8.
    Open(Vec<u8>),
    /// PKCS#8, encrypted.
    Pkcs8(Vec<u8>),
    /// By JKS's own algorithm.
    Jks(Vec<u8>),
}

/// Where a store comes from, for errors.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub(super) kind: &'static str,
    pub(super) password: &'static str,
}

pub(super) const TRUSTSTORE: Names = Names { kind: "ssl.truststore.type", password: "ssl.truststore.password" };
pub(super) const KEYSTORE: Names = Names { kind: "ssl.keystore.type", password: "ssl.keystore.password" };

/// The store in a file; `None` if it is PEM, or something that is none of Java's stores.
pub(super) fn read(
    bytes: &[u8],
    kind: Option<StoreType>,
    password: Option<&Secret>,
    names: Names,
) -> Result<Option<Store>, String> {
    let is = match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] => StoreType::Jks,
        [0x30, ..] if matches!(pem::der_content(bytes), Some([0x02, 0x01, 0x03, ..])) => StoreType::Pkcs12,
        _ => StoreType::Pem,
    };
    match (is, kind) {
        (StoreType::Pem, Some(StoreType::Jks | StoreType::Pkcs12)) => {
            let is = pem::recognise(bytes).unwrap_or(match bytes.windows(6).any(|six| six == b"-BEGIN") {
                true => "PEM",
                false => "something else",
            });
            Err(format!("it is neither a JKS nor a PKCS12 store, as {} says, but {is}", names.kind))
        }
        (StoreType::Pem, _) if password.is_some() => {
            Err(format!("it is no JKS or PKCS12 store, and PEM has no {}: leave that out", names.password))
        }
        (StoreType::Pem, _) => Ok(None),
        (is, Some(StoreType::Pem)) => {
            let is = is.name();
            Err(format!("it is a {is} store and no PEM: set {}={is}, or leave that out", names.kind))
        }
        (StoreType::Jks, _) => jks::read(bytes, password, names).map(Some),
        (StoreType::Pkcs12, _) => pkcs12::read(bytes, password, names).map(Some),
    }
}

impl StoredKey {
    /// The key as PKCS#8. Without a password of its own it has that of the store.
    pub(super) fn open(&self, own: Option<&Secret>, store: Option<&Secret>) -> Result<Vec<u8>, String> {
        let password = match (&self.key, own.or(store)) {
            (Protected::Open(key), _) => return Ok(key.clone()),
            (_, None) => return Err("the private key is encrypted: set ssl.keystore.password".to_string()),
            (_, Some(password)) => password,
        };
        let opened = match &self.key {
            Protected::Open(key) => Some(key.clone()),
            Protected::Pkcs8(sealed) => sealed::open(sealed, password)?,
            Protected::Jks(sealed) => jks::open(sealed, password)?,
        };
        opened.ok_or_else(|| match own {
            Some(_) => "ssl.key.password does not open the key: it is the password of another one".to_string(),
            None => "the key has not the store's password: set ssl.key.password".to_string(),
        })
    }
}

/// A password as it is, and without the white space around it, which Java cuts off.
pub(super) fn tries(password: &Secret) -> impl Iterator<Item = &str> {
    let password = password.expose();
    let cut = password.trim_matches(|c| c <= ' ');
    core::iter::once(password).chain(Some(cut).filter(|cut| *cut != password))
}

/// A password in two bytes a letter, as JKS has it; PKCS12 adds two zeros.
pub(super) fn utf16(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

pub(super) fn wrong_password(names: Names) -> String {
    format!("{} is not the store's password, or the store is damaged", names.password)
}
