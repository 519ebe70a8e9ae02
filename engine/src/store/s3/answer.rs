//! What an answer of a store means for the request: try again, wait, renew something, or give up. The only place that knows the
//! codes of S3; `tests/tests/fault_list.rs` has the tests for each row of the list of faults.

use crate::store::s3::meter::TooMuch;
use aws_config::meta::ProviderChainError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use std::error::Error as StdError;
use std::io::ErrorKind;
use std::time::Duration;

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go away by itself: try again.
    Passing,
    /// Too much at a time: wait, at least for so long, with fewer connections.
    Throttled(Option<Duration>),
    /// The credentials are no longer taken: load them anew.
    Credentials,
    /// There are no credentials: those that are configured cannot be loaded, or none are.
    Keyless,
    /// The store knows no such key, or another secret of it: they may have been changed meanwhile.
    Keys,
    /// Who answers cannot show that it is the one that was meant.
    Untrusted,
    /// The clocks differ too much: the request is signed anew by the server's.
    Skewed,
    /// Another region owns the bucket.
    Region,
    /// There is no such object.
    Missing,
    /// An object of this name is there already.
    Exists,
    /// Fewer bytes than were asked for are there: the object ends earlier.
    Range,
    /// What arrived is not what was sent.
    Garbled,
    /// The store does not know a header or an operation.
    Unsupported,
    /// The object is archived.
    Archived,
    /// The store does not know the storage class that was asked for.
    Class,
    /// The store serves others, and not this object.
    Unreadable,
    /// Trying again is of no use.
    Final(ErrorKind),
    /// Whoever runs this asked to stop.
    Interrupted,
}

/// A failed try.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What to do about it.
    pub verdict: Verdict,
    /// In words, without the name of the object.
    pub text: String,
    /// A region that the answer names.
    pub region: Option<String>,
}

impl Refusal {
    /// A failure that no answer of the store says.
    pub fn new(verdict: Verdict, text: impl Into<String>) -> Self {
        Refusal { verdict, text: text.into(), region: None }
    }
}

/// What the error of a certificate that is not trusted says.
pub const UNTRUSTED: &str = "its certificate is not trusted";

/// As [`judge`], for a question whose answer has no body, or need not have one: a 404 is believed as far as it goes.
pub fn judge_silent<E>(error: SdkError<E, HttpResponse>) -> Refusal
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let nothing =
        matches!(&error, SdkError::ServiceError(service) if service.raw().status().as_u16() == 404 && says_nothing(service.raw()));
    let refusal = judge(error);
    if nothing { Refusal { verdict: Verdict::Missing, ..refusal } } else { refusal }
}

fn says_nothing(answer: &HttpResponse) -> bool {
    answer.body().bytes().is_none_or(<[u8]>::is_empty)
}

/// Judges what the SDK gave for an answer.
pub fn judge<E>(error: SdkError<E, HttpResponse>) -> Refusal
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(service) => {
            let (status, headers) = (service.raw().status().as_u16(), service.raw().headers());
            let code = service.err().code().unwrap_or_default();
            let message = service.err().message().unwrap_or_default();
            let after = headers.get("retry-after").and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
            let region = headers.get("x-amz-bucket-region").map(str::to_owned).or_else(|| region_in(service.raw()));
            let text = match (code, message) {
                ("", _) if (200..300).contains(&status) => format!("something answers {status} that is no S3 store"),
                ("", "") => format!("the store answers {status}"),
                ("", message) => format!("the store answers {status}: {message}"),
                (code, "") => format!("the store answers {status} {code}"),
                (code, message) => format!("the store answers {status} {code}: {message}"),
            };
            let silent = says_nothing(service.raw());
            let verdict = match (status, code) {
                // A HEAD has no body that could say it: what AWS answers to a token that has expired, or to another region's signature.
                (400, "") if silent => Verdict::Credentials,
                // The SDK makes up a code where nothing was said.
                (404, _) if silent => Verdict::Passing,
                _ => by_code(status, code, message, after, region.is_some()),
            };
            Refusal { verdict, text, region }
        }
        SdkError::DispatchFailure(failure) => {
            let text = chain(&error);
            if let Some(source) = find::<CredentialsError>(&error) {
                return no_credentials(source);
            }
            // rustls' words for each way in which one is wrong.
            if text.contains("invalid peer certificate") {
                return Refusal::new(Verdict::Untrusted, text);
            }
            if failure.is_user() {
                return Refusal::new(Verdict::Final(ErrorKind::InvalidInput), text);
            }
            Refusal::new(Verdict::Passing, text)
        }
        SdkError::TimeoutError(_) => Refusal::new(Verdict::Passing, "the store did not answer in time"),
        SdkError::ResponseError(_) if find::<TooMuch>(&error).is_some() => Refusal::new(Verdict::Garbled, TooMuch.to_string()),
        // Not what S3 says: a proxy, a captive portal, a cut answer.
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            Refusal::new(Verdict::Passing, format!("the answer ({status}) makes no sense: {}", chain(&error)))
        }
        other => Refusal::new(Verdict::Final(ErrorKind::InvalidInput), chain(other)),
    }
}

/// What stores say of a header that they do not know, where they have no code for it (R2, Ceph, OVH).
const NOT_KNOWN: [&str; 5] = ["checksum", "if-none-match", "not implemented", "unsupported header", "not supported"];

/// What the SDK says where none of the places in which it looks has credentials.
type Attempts = ProviderChainError<CredentialsError>;

/// Credentials that cannot be had. What is configured wrongly stays so; only where the network is behind it, it may go away by itself.
fn no_credentials(error: &(dyn StdError + 'static)) -> Refusal {
    // All the places where the SDK looked are six lines that name no mistake. Only of the profile it may name one: another profile that
    // is not there.
    if let Some(looked) = error.source().and_then(|source| source.downcast_ref::<Attempts>()) {
        let profile = looked.attempts().iter().find(|attempt| attempt.name() == "Profile");
        let why = profile.and_then(|attempt| attempt.error().source()).map(|why| format!(" ({})", chain(why))).unwrap_or_default();
        return Refusal::new(Verdict::Keyless, format!("neither the environment nor a profile nor this machine has any{why}"));
    }
    let passing = match error.downcast_ref() {
        // That nobody has any is said of the network too, where an instance's metadata would be.
        Some(CredentialsError::CredentialsNotLoaded(_)) => false,
        Some(CredentialsError::ProviderTimedOut(_)) => true,
        _ => find::<ConnectorError>(error)
            .and_then(|error| error.downcast_ref::<ConnectorError>())
            .is_some_and(|error| error.is_io() || error.is_timeout()),
    };
    let verdict = if passing { Verdict::Passing } else { Verdict::Keyless };
    Refusal::new(verdict, format!("the configured keys cannot be loaded ({})", chain(error)))
}

fn by_code(status: u16, code: &str, message: &str, after: Option<Duration>, names_region: bool) -> Verdict {
    match (status, code) {
        // 503 like throttling, and for hours: there is no room for what was ordered.
        (_, "GlacierExpeditedRetrievalNotAvailable") => Verdict::Final(ErrorKind::ResourceBusy),
        (
            _,
            "SlowDown"
            | "SlowDownRead"
            | "SlowDownWrite"
            | "TooManyRequests"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded",
        )
        | (429 | 503, _) => Verdict::Throttled(after),
        (_, "RequestTimeTooSkewed") => Verdict::Skewed,
        (_, "ExpiredToken" | "ExpiredTokenException" | "InvalidToken" | "TokenRefreshRequired" | "RequestExpired") => Verdict::Credentials,
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch") => Verdict::Keys,
        (_, "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")
        | (301 | 307, _)
            if names_region =>
        {
            Verdict::Region
        }
        (_, "NoSuchBucket") => Verdict::Final(ErrorKind::NotFound),
        (_, "InvalidObjectState") => Verdict::Archived,
        (_, "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage" | "StorageFull" | "InsufficientCapacity") | (507, _) => {
            Verdict::Final(ErrorKind::StorageFull)
        }
        (_, "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "ContentSHA256Mismatch" | "XAmzContentChecksumMismatch") => {
            Verdict::Garbled
        }
        (_, "InvalidStorageClass") => Verdict::Class,
        (404, "NoSuchKey" | "NoSuchVersion" | "NotFound") => Verdict::Missing,
        // No store says it without a code: a proxy does while what is behind it starts.
        (404, "") => Verdict::Passing,
        // 304: what a MinIO of 2024 said to a conditional PUT (minio#19442).
        (412 | 304, _) => Verdict::Exists,
        (416, _) => Verdict::Range,
        (501, _) | (400, "NotImplemented" | "UnsupportedHeader") => Verdict::Unsupported,
        (400, _) if NOT_KNOWN.iter().any(|words| message.to_ascii_lowercase().contains(words)) => Verdict::Unsupported,
        (409, "ConditionalRequestConflict" | "OperationAborted") => Verdict::Passing,
        // All others above 500 too: 520 to 530 are Cloudflare's, 509, 529 and 598 of proxies.
        (408 | 425 | 500..=599, _) | (400, "RequestTimeout" | "IncompleteBody") => Verdict::Passing,
        // A page of something that says yes to everything, or an error behind a head that said yes: it may go away, and it is no
        // answer of a store to anything.
        (200..=299, _) => Verdict::Passing,
        (401 | 403, _) => Verdict::Final(ErrorKind::PermissionDenied),
        _ => Verdict::Final(ErrorKind::Other),
    }
}

/// The region in an error's document, where no header says it: `<Region>`.
fn region_in(response: &HttpResponse) -> Option<String> {
    let text = std::str::from_utf8(response.body().bytes()?).ok()?;
    let region = text.split_once("<Region>")?.1.split_once("</Region>")?.0;
    let sane = !region.is_empty() && region.len() <= 64 && region.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    sane.then(|| region.to_owned())
}

/// The first error of a type among one and those behind it.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<T>() {
            return Some(error);
        }
        next = error.source();
    }
    None
}

/// An error and what is behind it: the SDK's outermost words say only that something failed.
fn chain(error: &dyn StdError) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next: Option<&dyn StdError> = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !words.iter().any(|said| said.contains(&text)) {
            words.push(text);
        }
        next = error.source();
    }
    // The first two only repeat that it was a request.
    let from = words.len().saturating_sub(2);
    words[from..].join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::operation::head_object::HeadObjectError;
    use std::io;

    fn judged(error: ConnectorError) -> Refusal {
        judge(SdkError::<HeadObjectError, HttpResponse>::dispatch_failure(error))
    }

    /// A certificate that nobody trusts ended a run as if a user had no right to read.
    #[test]
    fn certificates_that_are_not_trusted_are_told_from_what_passes() {
        let of = |error: rustls::Error| judged(ConnectorError::io(io::Error::new(ErrorKind::InvalidData, error).into())).verdict;
        for wrong in [rustls::CertificateError::UnknownIssuer, rustls::CertificateError::Expired, rustls::CertificateError::NotValidForName]
        {
            assert_eq!(of(wrong.into()), Verdict::Untrusted);
        }
        assert_eq!(of(rustls::Error::HandshakeNotComplete), Verdict::Passing);
        assert_eq!(judged(ConnectorError::io(io::Error::from(ErrorKind::ConnectionRefused).into())).verdict, Verdict::Passing);
    }

    /// What is configured wrongly was tried for a quarter of an hour, as if the store were away.
    #[test]
    fn credentials_that_cannot_be_had_are_told_from_a_network_that_is_away() {
        let of = |error: CredentialsError| judged(ConnectorError::other(error.into(), None)).verdict;
        let away = || ConnectorError::io(io::Error::from(ErrorKind::ConnectionRefused).into());
        assert_eq!(of(CredentialsError::not_loaded("nobody")), Verdict::Keyless);
        // Nobody looks for the metadata of an instance on any other machine.
        assert_eq!(of(CredentialsError::not_loaded(away())), Verdict::Keyless);
        assert_eq!(of(CredentialsError::invalid_configuration("a loop")), Verdict::Keyless);
        assert_eq!(of(CredentialsError::provider_error("exit status 1")), Verdict::Keyless);
        assert_eq!(of(CredentialsError::unhandled("no JSON")), Verdict::Keyless);
        assert_eq!(of(CredentialsError::provider_error(away())), Verdict::Passing);
        assert_eq!(of(CredentialsError::provider_timed_out(Duration::from_secs(1))), Verdict::Passing);
    }
}
