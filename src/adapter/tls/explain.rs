//! Why a server is not trusted: what is wrong with its certificate, and what to do about it. rustls' words name the cause at
//! best; and some of it Java accepts, so that nobody knows of it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use pkcs8::der::asn1::ObjectIdentifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, OtherError};

use super::certificate::Certificate;
use super::trust::is_like;

/// Words that go through rustls.
#[derive(Debug)]
struct Words(String);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Words {}

/// An error of rustls' that says this.
pub(super) fn own(words: String) -> Error {
    CertificateError::Other(OtherError(Arc::new(Words(words)))).into()
}

/// Whence the names of servers come that a certificate is to have.
pub(super) const SERVERS: &str = "bootstrap.servers and the brokers' advertised.listeners";

/// An error's words: ours where it has such, else rustls' with what to do where that is not obvious.
#[allow(clippy::wildcard_enum_match_arm, reason = "some of a library's many errors")]
pub(super) fn words(error: &Error) -> String {
    let hint = match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
            return other.downcast_ref::<Words>().map_or_else(|| error.to_string(), |words| words.0.clone());
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; is the issuer in ssl.truststore.location, or in the system's store?"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName,
        ) => "; the brokers' advertised.listeners have to name what the certificate is for",
        Error::InvalidMessage(_) => "; does the port speak TLS?",
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "; the server wants a certificate of the client's: set ssl.keystore.location"
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate => {
                "; the server does not trust this client's certificate (or wants one: ssl.keystore.location): is its issuer in \
                 the brokers' ssl.truststore?"
            }
            AlertDescription::CertificateExpired => {
                "; the client's certificate has expired: renew that in ssl.keystore"
            }
            AlertDescription::ProtocolVersion => {
                "; the server speaks none of the versions in ssl.enabled.protocols (TLS 1.0 and 1.1 are not spoken at all)"
            }
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                "; the server has nothing in common with this client: its cipher suites may all be old ones (CBC, or without ECDHE), its \
                 key one that is not verified here (P-521, DSA), or it wants a certificate of the client's (ssl.keystore.location)"
            }
            AlertDescription::UnrecognisedName => "; the server has no certificate for the name that it was asked for",
            _ => "",
        },
        _ => "",
    };
    format!("{error}{hint}")
}

/// RSA keys of less are not verified.
const RSA_BITS: usize = 2048;

const JAVA: &str = "(Java's client accepts it, rustls does not)";

/// Algorithms of signatures that are not verified.
const OLD_SIGNATURES: [(&str, &str); 7] = [
    ("1.2.840.113549.1.1.2", "MD2"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
    ("1.3.14.3.2.29", "SHA-1"),
    ("1.2.840.10040.4.3", "DSA with SHA-1"),
    ("2.16.840.1.101.3.4.3.2", "DSA"),
];

const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// What a server showed, against what is trusted. `None` stands for what can't be read.
pub(super) struct Chain {
    server: Option<Certificate>,
    others: Vec<Option<Certificate>>,
    trusted: Vec<Certificate>,
    store: &'static str,
}

impl Chain {
    pub(super) fn new(
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        trusted: &[CertificateDer<'_>],
        store: &'static str,
    ) -> Self {
        Self {
            server: Certificate::read(server),
            others: others.iter().map(|der| Certificate::read(der)).collect(),
            trusted: trusted.iter().filter_map(|der| Certificate::read(der)).collect(),
            store,
        }
    }

    /// What is wrong.
    #[allow(clippy::wildcard_enum_match_arm, reason = "some of a library's many errors")]
    pub(super) fn words(&self, error: &CertificateError, name: &ServerName<'_>, now: UnixTime) -> String {
        match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => self.name(name),
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => self.time(now).unwrap_or_else(|| self.other(error)),
            CertificateError::UnknownIssuer => self.weakness(name).unwrap_or_else(|| self.issuer()),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => format!(
                "{} is not for servers: its extendedKeyUsage is without serverAuth; make it anew, with that or without extendedKeyUsage",
                self.which()
            ),
            // rustls finds that before it looks for the issuer.
            CertificateError::Other(_) if self.is_marked() && !self.knows_the_issuer() => self.issuer(),
            CertificateError::BadSignature if self.knows_the_issuer() => {
                self.weakness(name).unwrap_or_else(|| self.issuer())
            }
            _ => self.weakness(name).unwrap_or_else(|| self.other(error)),
        }
    }

    /// Whether the server's certificate says that it is an issuer's.
    fn is_marked(&self) -> bool {
        self.server.as_ref().is_some_and(Certificate::is_authority)
    }

    fn which(&self) -> String {
        let subject = self.server.as_ref().map(|server| format!(" ({})", server.subject()));
        format!("the server's certificate{}", subject.unwrap_or_default())
    }

    /// All that was shown, with how each is called.
    fn all(&self) -> impl Iterator<Item = (String, &Certificate)> {
        let called =
            |read: &Certificate| format!("the issuer's certificate that the server sent along ({})", read.subject());
        let server = self.server.iter().map(|read| (self.which(), read));
        server.chain(self.others.iter().flatten().map(move |read| (called(read), read)))
    }

    /// For another name.
    pub(super) fn name(&self, name: &ServerName<'_>) -> String {
        let wanted = name.to_str();
        let kind = if matches!(name, ServerName::IpAddress(_)) { "IP" } else { "DNS" };
        let (names, addresses) = self.server.as_ref().map(Certificate::alternative_names).unwrap_or_default();
        let common = self.server.as_ref().and_then(Certificate::common_name);
        let anew = format!(
            "make it anew with the extension subjectAltName={kind}:{wanted} (openssl: -addext or -extfile), or set \
             ssl.endpoint.identification.algorithm to nothing"
        );
        if kind == "DNS" && names.is_empty() && common.as_ref().is_some_and(|common| is_like(&wanted, common)) {
            return format!(
                "{} has the name {wanted} as its common name only, which no longer counts {JAVA}: put the certificate itself into \
                 ssl.truststore, which then trusts it as Java does, {anew}",
                self.which()
            );
        }
        if names.is_empty() && addresses.is_empty() {
            let common =
                common.map(|common| format!(" (its common name is {})", printable(&common))).unwrap_or_default();
            return format!("{} is for no name{common}, and so not for {wanted}: {anew}", self.which());
        }
        let names: Vec<String> = names.iter().chain(&addresses).map(|name| printable(name)).collect();
        format!(
            "{} is for the names {}, and not for {wanted}: {SERVERS} have to have names that the certificate is for",
            self.which(),
            names.join(", ")
        )
    }

    /// Over, or not begun.
    fn time(&self, now: UnixTime) -> Option<String> {
        let seconds = now.as_secs();
        let clock = "; or is the clock of this machine wrong?";
        self.all().find_map(|(which, read)| {
            let [(first, begins), (last, ends)] = read.validity();
            if last.as_secs() < seconds {
                Some(format!("{which} has expired: it ended at {ends}; let the server have a new one{clock}"))
            } else if first.as_secs() > seconds {
                Some(format!("{which} is not valid yet: it begins at {begins}{clock}"))
            } else {
                None
            }
        })
    }

    /// What Java accepts, and is refused here.
    fn weakness(&self, name: &ServerName<'_>) -> Option<String> {
        let wanted = name.to_str();
        let authorities =
            self.trusted.iter().map(|read| (format!("its issuer's certificate ({})", read.subject()), read));
        let issuers: Vec<_> =
            authorities.filter(|(_, read)| self.all().any(|(_, shown)| shown.is_issued_by(read))).collect();
        let shown = self.all().find_map(|(which, read)| {
            if read.is_version_1() {
                return Some(format!(
                    "{which} is of X.509 version 1, which has no extensions {JAVA}: sign it anew by openssl x509 -req ... -extfile \
                     FILE, with subjectAltName=DNS:{wanted} in the file (for an issuer basicConstraints=critical,CA:TRUE), or put \
                     the server's certificate itself into ssl.truststore"
                ));
            }
            let signature = read.signature_algorithm();
            let old = OLD_SIGNATURES.iter().find(|(oid, _)| ObjectIdentifier::new_unwrap(oid) == signature);
            old.map(|(_, old)| {
                format!(
                    "{which} is signed with {old} {JAVA}: let its issuer sign it anew, with SHA-256 (openssl x509 -req -sha256)"
                )
            })
        });
        let key = || {
            self.all()
                .chain(issuers.iter().map(|(which, read)| (which.clone(), *read)))
                .find_map(|(which, read)| weak(&which, read))
        };
        shown.or_else(key).or_else(|| (self.is_marked() && self.knows_the_issuer()).then(|| self.marked(&wanted)))
    }

    fn marked(&self, wanted: &str) -> String {
        let is_its_own = self.server.as_ref().is_some_and(|server| server.is_issued_by(server));
        let itself = "put this very certificate into ssl.truststore, which then trusts it as Java does, or ";
        format!(
            "{} is marked as an issuer's (basicConstraints CA:TRUE, as openssl req -x509 does) and can't be a server's {JAVA}: \
             {}make it anew with basicConstraints=CA:FALSE and subjectAltName=DNS:{wanted}",
            self.which(),
            if is_its_own { itself } else { "" }
        )
    }

    /// Whether the server's issuer is in the truststore, or is the server itself.
    fn knows_the_issuer(&self) -> bool {
        self.top().is_some_and(|top| self.trusted.iter().any(|read| top.is_issued_by(read)))
    }

    /// The last certificate on the way from the server's, from issuer to issuer.
    fn top(&self) -> Option<&Certificate> {
        let mut top = self.server.as_ref()?;
        for _ in 0..self.others.len() {
            let next = self.others.iter().flatten().find(|read| top.is_issued_by(read) && !top.is_issued_by(top));
            let Some(next) = next else { break };
            top = next;
        }
        Some(top)
    }

    /// Nobody that is trusted.
    fn issuer(&self) -> String {
        let Some(top) = self.top() else { return self.other(&CertificateError::UnknownIssuer) };
        let (which, store, issuer) = (self.which(), self.store, top.issuer());
        let is_server = self.others.is_empty() || self.server.as_ref().is_some_and(|server| core::ptr::eq(server, top));
        if self.trusted.iter().any(|read| top.is_issued_by(read)) {
            return format!(
                "{which} has an unknown issuer: in {store} is a certificate of that name ({issuer}), but it has another key; is it \
                 an old one?"
            );
        }
        if top.is_issued_by(top) && is_server {
            return format!(
                "{which} has an unknown issuer: it is self-signed and not in {store}; if it is the right one, put it there, and it \
                 is trusted"
            );
        }
        if top.is_issued_by(top) {
            return format!(
                "{which} has an unknown issuer: its chain ends at {issuer}, which is not in {store}; if that is the right one, \
                 put its certificate there"
            );
        }
        format!(
            "{which} has an unknown issuer: {issuer} is not in {store}, nor did the server send its certificate; put it into the \
             truststore, or let the server send its whole chain"
        )
    }

    fn other(&self, error: &CertificateError) -> String {
        format!("{} is refused by rustls: {error:?}; let its issuer make it anew", self.which())
    }
}

/// A key that is not verified here.
fn weak(which: &str, read: &Certificate) -> Option<String> {
    if let Some(bits) = read.rsa_bits().filter(|bits| *bits < RSA_BITS) {
        return Some(format!(
            "{which} has an RSA key of {bits} bits, less than {RSA_BITS} {JAVA}: make a key and a certificate anew"
        ));
    }
    if read.curve() == Some(P521) {
        return Some(format!(
            "{which} has a key on the curve P-521 {JAVA}: make a key and a certificate anew, on P-256 or P-384"
        ));
    }
    None
}

/// Why the signature of the handshake is not good.
pub(super) fn of_key(error: Error, certificate: &CertificateDer<'_>) -> Error {
    let read = Certificate::read(certificate);
    let which = read.as_ref().map(|read| format!("the server's certificate ({})", read.subject())).unwrap_or_default();
    let words = read.as_ref().and_then(|read| weak(&which, read));
    match (words, &error) {
        (Some(words), _) => own(words),
        (None, Error::InvalidCertificate(_)) => own(format!(
            "the server's signature does not fit {}: it has not its private key, or somebody is in between",
            if which.is_empty() { "its certificate" } else { &which }
        )),
        (None, _) => error,
    }
}

/// Names come from a stranger.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(200).collect()
}
