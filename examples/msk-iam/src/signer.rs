//! Tokens for AWS MSK: `kafka-cluster:Connect`, presigned (SigV4), in base64url. The form is that of AWS's signers for other languages
//! (aws-msk-iam-sasl-signer-python and others).

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64ct::{Base64UrlUnpadded, Encoding};
use milena::{Token, TokenProvider};

/// How long brokers take a token: the longest that they do.
const LIFETIME: Duration = Duration::from_secs(900);

/// Makes tokens of whatever credentials there are at the time: `C` is asked for each token, on a thread of its own, so it may wait for
/// AWS (a role, an instance's profile). The producer asks again in the last fifth of a token's life.
#[derive(Clone)]
pub struct MskIam<C> {
    region: String,
    credentials: C,
}

impl<C> std::fmt::Debug for MskIam<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MskIam").field("region", &self.region).finish_non_exhaustive()
    }
}

impl<C: FnMut() -> Result<Credentials, String> + Send> MskIam<C> {
    /// For clusters of this region, such as `eu-central-1`.
    pub fn new(region: &str, credentials: C) -> Self {
        Self { region: region.to_string(), credentials }
    }
}

impl<C: FnMut() -> Result<Credentials, String> + Send> TokenProvider for MskIam<C> {
    fn token(&mut self) -> Result<Token, String> {
        let (credentials, now) = ((self.credentials)()?, SystemTime::now());
        let lifetime = lifetime(&credentials, now)?;
        Ok(Token::new(signed(&self.region, credentials, now)?, Some(lifetime)))
    }
}

/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN` if the credentials are temporary.
///
/// # Errors
/// If one of the first two is not there.
pub fn from_environment() -> Result<Credentials, String> {
    let read = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let (key, secret) = (read("AWS_ACCESS_KEY_ID")?, read("AWS_SECRET_ACCESS_KEY")?);
    Ok(Credentials::new(key, secret, std::env::var("AWS_SESSION_TOKEN").ok(), None, "environment"))
}

/// How long the token is good: brokers take it no longer than the credentials, which may end before.
fn lifetime(credentials: &Credentials, now: SystemTime) -> Result<Duration, String> {
    let Some(end) = credentials.expiry() else { return Ok(LIFETIME) };
    let left = end.duration_since(now).map_err(|_| "the AWS credentials have expired".to_string())?;
    Ok(left.min(LIFETIME))
}

/// The token's text. Errors say nothing of the credentials.
fn signed(region: &str, credentials: Credentials, now: SystemTime) -> Result<String, String> {
    let url = format!("https://kafka.{region}.amazonaws.com/?Action=kafka-cluster%3AConnect");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFETIME);
    let identity = credentials.into();
    let params = v4::SigningParams::builder().identity(&identity).region(region).name("kafka-cluster").time(now);
    let params = params.settings(settings).build().map_err(|error| error.to_string())?.into();
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]));
    let request = request.map_err(|error| format!("the region {region:?} makes no address: {error}"))?;
    let (instructions, _) = sign(request, &params).map_err(|error| error.to_string())?.into_parts();
    let mut request = http::Request::get(&url).body(()).map_err(|error| error.to_string())?;
    instructions.apply_to_request_http1x(&mut request);
    let agent = concat!("milena-msk-iam%2F", env!("CARGO_PKG_VERSION"));
    Ok(Base64UrlUnpadded::encode_string(format!("{}&User-Agent={agent}", request.uri()).as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::UNIX_EPOCH;

    use milena::cluster::TestCluster;
    use milena::threads::Producer;
    use milena::{Config, Record, Setup};

    use super::*;

    const REGION: &str = "eu-central-1";

    /// Credentials of AWS's documentation.
    fn documented(session: Option<&str>, ends: Option<SystemTime>) -> Credentials {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, session.map(str::to_string), ends, "test")
    }

    fn url(token: &str) -> String {
        String::from_utf8(Base64UrlUnpadded::decode_vec(token).expect("base64url")).expect("a text")
    }

    /// The query of the URL in a token, as it stands there.
    fn fields(token: &str) -> BTreeMap<String, String> {
        let url = url(token);
        let query = url.strip_prefix("https://kafka.eu-central-1.amazonaws.com/?").expect("the region's address");
        query
            .split('&')
            .map(|field| field.split_once('=').expect("a value"))
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn a_token_is_what_awss_own_signer_makes() {
        // 2026-01-02T03:04:05Z; the signatures are those of aws-msk-iam-sasl-signer-python 1.0.2.
        let now = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let cases = [
            (None, "ae874169398707b1b58a2dda229819a527bacefe4114ff30c4d7c071601bbf96"),
            (Some("session/+=token"), "e39b853cfb3f125176aa3daee944db71068399b5b8928403a29da863343a27b7"),
        ];
        for (session, signature) in cases {
            let token = signed(REGION, documented(session, None), now).expect("a token");
            let fields = fields(&token);
            let expected = [
                ("Action", "kafka-cluster%3AConnect"),
                ("User-Agent", "milena-msk-iam%2F0.1.0"),
                ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
                ("X-Amz-Credential", "AKIAIOSFODNN7EXAMPLE%2F20260102%2Feu-central-1%2Fkafka-cluster%2Faws4_request"),
                ("X-Amz-Date", "20260102T030405Z"),
                ("X-Amz-Expires", "900"),
                ("X-Amz-Signature", signature),
                ("X-Amz-SignedHeaders", "host"),
            ];
            let session = session.map(|_| ("X-Amz-Security-Token", "session%2F%2B%3Dtoken"));
            let expected: BTreeMap<String, String> =
                expected.into_iter().chain(session).map(|(name, value)| (name.into(), value.into())).collect();
            assert_eq!(fields, expected);
        }
    }

    #[test]
    fn a_token_ends_with_its_credentials() {
        let now = SystemTime::now();
        let ends = |seconds| documented(Some("session"), Some(now + Duration::from_secs(seconds)));
        assert_eq!(lifetime(&documented(None, None), now), Ok(LIFETIME));
        assert_eq!(lifetime(&ends(3600), now), Ok(LIFETIME));
        assert_eq!(lifetime(&ends(60), now), Ok(Duration::from_secs(60)));
        assert!(lifetime(&ends(0), now + Duration::from_secs(1)).is_err_and(|words| words.contains("expired")));
    }

    #[test]
    fn nothing_secret_is_in_any_text() {
        let provider = MskIam::new("no region", || Ok(documented(Some("session"), None)));
        let mut broken = provider.clone();
        let words = [format!("{provider:?}"), broken.token().expect_err("no such address")];
        assert!(words.iter().all(|words| !words.contains("EXAMPLE") && !words.contains("session")), "{words:?}");
    }

    /// A broker asks AWS; this one signs the same at the time that the token names, and compares.
    fn is_good(token: &str) -> bool {
        let date = &fields(token)["X-Amz-Date"];
        let now = SystemTime::now();
        let seconds = (0..60).map(|ago| now - Duration::from_secs(ago));
        seconds
            .map(|at| signed(REGION, documented(Some("session"), None), at).expect("a token"))
            .any(|expected| fields(&expected)["X-Amz-Date"] == *date && expected == token)
    }

    #[test]
    fn tokens_are_shown_to_the_cluster_and_renewed_before_they_end() {
        let cluster = TestCluster::builder().tokens(is_good).start().expect("a cluster");
        let config = || Config::from_properties(cluster.properties()).expect("options");
        let asked: &'static AtomicUsize = Box::leak(Box::default());
        // Temporary credentials that end soon, so that the token does, too.
        let provider = MskIam::new(REGION, move || {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(documented(Some("session"), Some(SystemTime::now() + Duration::from_secs(4))))
        });
        let producer = Producer::new(Setup::new(config()).token_provider(provider)).expect("a producer");
        producer.send(&Record::new("t").value("v")).expect("it is let in");
        while asked.load(Ordering::Relaxed) < 3 {
            producer.send(&Record::new("t").value("v")).expect("it is still let in");
            std::thread::sleep(Duration::from_millis(100));
        }
        producer.close(Duration::from_secs(10)).expect("all is delivered");

        // Credentials that nobody knows are refused.
        let options = [("max.block.ms", "5000")].map(|(name, value)| (name.to_string(), value.to_string()));
        let config = Config::from_properties(cluster.properties().into_iter().chain(options)).expect("options");
        let provider = MskIam::new(REGION, || Ok(Credentials::new("AKIAOTHER", "other", None, None, "test")));
        let producer = Producer::new(Setup::new(config).token_provider(provider)).expect("a producer");
        let error = producer.send(&Record::new("t").value("v")).expect_err("nobody knows this key");
        assert!(error.to_string().contains("invalid_token"), "{error}");
    }
}
