//! What has to be read of a certificate, beside what rustls reads: of those too that rustls refuses.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use pkcs8::der::{Decode, Encode, Header, SliceReader};
use pkcs8::spki::AlgorithmIdentifierRef;
use x509_cert::certificate::{CertificateInner, Raw, Version};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::name::Name;

pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// One certificate.
pub(super) struct Certificate(CertificateInner<Raw>);

impl Certificate {
    /// `None` if it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        CertificateInner::from_der(der).ok().map(Self)
    }

    /// Whom it is for, in words.
    pub(super) fn subject(&self) -> String {
        shown(&self.0.tbs_certificate.subject)
    }

    /// Who vouches for it, in words.
    pub(super) fn issuer(&self) -> String {
        shown(&self.0.tbs_certificate.issuer)
    }

    /// Whom it is for, in DER.
    pub(super) fn subject_der(&self) -> Option<Vec<u8>> {
        self.0.tbs_certificate.subject.to_der().ok()
    }

    /// Who vouches for it, in DER.
    pub(super) fn issuer_der(&self) -> Option<Vec<u8>> {
        self.0.tbs_certificate.issuer.to_der().ok()
    }

    pub(super) fn is_issued_by(&self, other: &Self) -> bool {
        self.0.tbs_certificate.issuer == other.0.tbs_certificate.subject
    }

    pub(super) fn is_version_1(&self) -> bool {
        self.0.tbs_certificate.version == Version::V1
    }

    pub(super) fn is_authority(&self) -> bool {
        matches!(self.0.tbs_certificate.get::<BasicConstraints>(), Ok(Some((_, constraints))) if constraints.ca)
    }

    /// The names for hosts: DNS names, and addresses as text.
    pub(super) fn alternative_names(&self) -> (Vec<String>, Vec<String>) {
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        let Ok(Some((_, all))) = self.0.tbs_certificate.get::<SubjectAltName>() else { return (names, addresses) };
        for name in all.0 {
            match name {
                GeneralName::DnsName(name) => names.push(name.to_string()),
                GeneralName::IpAddress(bytes) => addresses.extend(address(bytes.as_bytes())),
                GeneralName::OtherName(_)
                | GeneralName::Rfc822Name(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EdiPartyName(_)
                | GeneralName::UniformResourceIdentifier(_)
                | GeneralName::RegisteredId(_) => {}
            }
        }
        (names, addresses)
    }

    /// The last common name, which is the one that Java looks at.
    pub(super) fn common_name(&self) -> Option<String> {
        let names = self.0.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter());
        let name = names.rev().find(|name| name.oid == COMMON_NAME)?;
        core::str::from_utf8(name.value.value()).ok().map(ToString::to_string)
    }

    /// Its first and last second, in Unix time, and how they are written.
    pub(super) fn validity(&self) -> [(Duration, String); 2] {
        let validity = &self.0.tbs_certificate.validity;
        [validity.not_before, validity.not_after].map(|time| (time.to_unix_duration(), time.to_date_time().to_string()))
    }

    /// The public key, in DER.
    pub(super) fn public_key_info(&self) -> Option<Vec<u8>> {
        self.0.tbs_certificate.subject_public_key_info.to_der().ok()
    }

    /// The public key alone, as it stands in the certificate.
    pub(super) fn public_key(&self) -> &[u8] {
        self.0.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes()
    }

    /// What kind of key it is.
    pub(super) fn key_algorithm(&self) -> ObjectIdentifier {
        self.0.tbs_certificate.subject_public_key_info.algorithm.oid
    }

    /// By which algorithm it is signed.
    pub(super) fn signature_algorithm(&self) -> ObjectIdentifier {
        self.0.signature_algorithm.oid
    }

    /// The bits of its key, if it is an RSA key.
    pub(super) fn rsa_bits(&self) -> Option<usize> {
        if self.key_algorithm() == RSA { rsa_bits(self.public_key(), 0) } else { None }
    }

    /// The curve of its key, if it is an EC key.
    pub(super) fn curve(&self) -> Option<ObjectIdentifier> {
        let algorithm = &self.0.tbs_certificate.subject_public_key_info.algorithm;
        let parameters = algorithm.parameters.as_ref().filter(|_| algorithm.oid == EC)?;
        parameters.decode_as().ok()
    }
}

/// The bits of the modulus, which is the number after `skipped` others in a sequence of numbers.
pub(super) fn rsa_bits(key: &[u8], skipped: usize) -> Option<usize> {
    let modulus = AnyRef::from_der(key).ok()?.sequence(|reader| {
        let mut modulus = UintRef::decode(reader)?;
        for _ in 0..skipped {
            modulus = UintRef::decode(reader)?;
        }
        let bytes = modulus.as_bytes();
        let bits = bytes.len() * 8 - bytes.first().map_or(0, |first| first.leading_zeros() as usize);
        reader_is_done(reader)?;
        Ok(bits)
    });
    modulus.ok()
}

/// Reads what is left.
fn reader_is_done<'a>(reader: &mut impl pkcs8::der::Reader<'a>) -> pkcs8::der::Result<()> {
    reader.read_slice(reader.remaining_len()).map(|_| ())
}

/// The first DER element of some bytes; all of them if that can't be told.
pub(super) fn trimmed(bytes: &[u8]) -> &[u8] {
    let length = SliceReader::new(bytes).and_then(|mut reader| {
        let header = Header::decode(&mut reader)?;
        header.encoded_len()? + header.length
    });
    length.ok().and_then(|length| bytes.get(..usize::try_from(length).ok()?)).unwrap_or(bytes)
}

/// The whole of an algorithm's identifier, without tag and length.
pub(super) fn algorithm_content(public_key_info: &[u8]) -> Option<Vec<u8>> {
    let algorithm = AnyRef::from_der(public_key_info).ok()?.sequence(|reader| {
        let algorithm = AlgorithmIdentifierRef::decode(reader)?;
        reader_is_done(reader)?;
        algorithm.to_der()
    });
    let der = algorithm.ok()?;
    AnyRef::from_der(&der).ok().map(|any| any.value().to_vec())
}

/// Names come from a stranger: no control characters, and not for ever.
fn shown(name: &Name) -> String {
    let text: String = name.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { "no name".to_string() } else { text }
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| core::net::Ipv4Addr::from(bytes).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| core::net::Ipv6Addr::from(bytes).to_string()),
        _ => None,
    }
}
