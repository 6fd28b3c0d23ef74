//! Which requests there are, and which of their versions this crate speaks.

use core::ops::RangeInclusive;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the names are Kafka's")]
pub(crate) enum Api {
    Produce,
    Metadata,
    ApiVersions,
    InitProducerId,
    SaslHandshake,
    SaslAuthenticate,
}

impl Api {
    /// Its number in a request header.
    pub(crate) const fn key(self) -> i16 {
        match self {
            Self::Produce => 0,
            Self::Metadata => 3,
            Self::SaslHandshake => 17,
            Self::ApiVersions => 18,
            Self::InitProducerId => 22,
            Self::SaslAuthenticate => 36,
        }
    }

    /// The kind with this number.
    pub(crate) fn from_key(key: i16) -> Option<Self> {
        match key {
            0 => Some(Self::Produce),
            3 => Some(Self::Metadata),
            17 => Some(Self::SaslHandshake),
            18 => Some(Self::ApiVersions),
            22 => Some(Self::InitProducerId),
            36 => Some(Self::SaslAuthenticate),
            _ => None,
        }
    }

    /// Kafka's name for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Produce => "Produce",
            Self::Metadata => "Metadata",
            Self::ApiVersions => "ApiVersions",
            Self::InitProducerId => "InitProducerId",
            Self::SaslHandshake => "SaslHandshake",
            Self::SaslAuthenticate => "SaslAuthenticate",
        }
    }

    /// The versions that this crate speaks: those of brokers from 2.1 to 4.4. InitProducerId 6 is not stable yet;
    /// SaslHandshake 0 would be followed by tokens without headers.
    pub(crate) const fn supported(self) -> RangeInclusive<i16> {
        match self {
            Self::Produce => 3..=13,
            Self::Metadata => 4..=13,
            Self::ApiVersions => 0..=4,
            Self::InitProducerId => 0..=5,
            Self::SaslHandshake => 1..=1,
            Self::SaslAuthenticate => 0..=2,
        }
    }

    /// The newest version that both sides speak.
    pub(crate) fn negotiate(self, min: i16, max: i16) -> Option<i16> {
        let ours = self.supported();
        let newest = max.min(*ours.end());
        (newest >= min && newest >= *ours.start()).then_some(newest)
    }

    /// Whether a version has compact lengths and tagged fields (KIP-482).
    #[inline]
    pub(crate) const fn is_flexible(self, version: i16) -> bool {
        match self {
            Self::Produce | Self::Metadata => version >= 9,
            Self::ApiVersions => version >= 3,
            Self::InitProducerId | Self::SaslAuthenticate => version >= 2,
            Self::SaslHandshake => false,
        }
    }

    /// Whether brokers make the pause that they tell of before they answer (KIP-219: those of versions from before it do).
    pub(crate) const fn pauses_itself(self, version: i16) -> bool {
        match self {
            Self::Produce | Self::Metadata => version < 6,
            Self::ApiVersions => version < 2,
            Self::InitProducerId => version < 1,
            Self::SaslHandshake | Self::SaslAuthenticate => true, // they tell of none
        }
    }

    /// Whether the response's header has tagged fields. Never for ApiVersions: its reader does not know the version yet.
    pub(crate) const fn has_tagged_response_header(self, version: i16) -> bool {
        self.is_flexible(version) && !matches!(self, Self::ApiVersions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_taken() {
        assert_eq!(Api::Produce.negotiate(0, 9), Some(9));
        assert_eq!(Api::Produce.negotiate(0, 99), Some(13));
        assert_eq!(Api::Produce.negotiate(0, 2), None);
        assert_eq!(Api::Produce.negotiate(14, 99), None);
        assert_eq!(Api::Metadata.negotiate(13, 13), Some(13));
    }
}
