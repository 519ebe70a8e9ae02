//! Who asks: header-signed requests (Signature Version 4), judged as AWS judges them, by the server's own clock.
//! It must never let a request pass that AWS would refuse; presigned addresses are refused altogether.

use super::behaviour::{Behaviour, Credential};
use super::clock;
use super::reply::Reply;
use super::request::Call;
use super::sigv4::Signing;
use super::xml::escape;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How far a request's time may be off, in seconds.
const SKEW_SECS_MAX: i64 = 15 * 60;

/// A request whose signature is right, and what its aws-chunked body is judged by.
pub(super) struct Signed {
    headers: Vec<(String, String)>,
    region: String,
    time: String,
    secret: String,
    /// The request's signature; the chunks' follow it.
    pub signature: String,
    /// What stands in `x-amz-content-sha256`.
    pub payload: String,
}

impl Signed {
    /// What is signed.
    pub fn signing<'a>(&'a self, call: &'a Call) -> Signing<'a> {
        Signing {
            method: &call.method,
            path: &call.path,
            query: &call.query,
            headers: &self.headers,
            payload: &self.payload,
            time: &self.time,
            region: &self.region,
        }
    }

    /// What a chunk that follows `previous` must be signed with.
    pub fn chunk_signature(&self, call: &Call, previous: &str, chunk: &[u8]) -> String {
        self.signing(call).chunk_signature(&self.secret, previous, chunk)
    }
}

/// Checks everything but the body.
pub(super) fn verify(call: &Call, behaviour: &Behaviour, now: Timestamp) -> Result<Signed, Reply> {
    let header = call.header("authorization").ok_or_else(|| Reply::error(403, "AccessDenied", "Access Denied"))?;
    let parsed = Authorization::parse(header).ok_or_else(|| malformed("The authorization header is malformed.", ""))?;
    let credential = credential(call, behaviour, &parsed)?;
    let time = call.header("x-amz-date").unwrap_or("");
    let asked = DateTime::strptime("%Y%m%dT%H%M%SZ", time).and_then(|time| time.to_zoned(TimeZone::UTC)).map(|time| time.timestamp());
    let Ok(asked) = asked else {
        return Err(Reply::error(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"));
    };
    if !time.starts_with(&parsed.date) {
        return Err(malformed("The date in the credential is not the one of the request.", ""));
    }
    if (now.as_second() - asked.as_second()).abs() > SKEW_SECS_MAX {
        let more = format!("<RequestTime>{time}</RequestTime><ServerTime>{}</ServerTime>", clock::iso(now));
        let message = "The difference between the request time and the current time is too large.";
        return Err(Reply::error_with(403, "RequestTimeTooSkewed", message, &more));
    }
    if let Some(region) = behaviour.region.as_ref().filter(|region| **region != parsed.region) {
        return Err(malformed("The region is wrong.", &format!("<Region>{}</Region>", escape(region))));
    }
    let signed: Vec<&str> = parsed.signed.split(';').collect();
    let must = |name: &str| name == "host" || name.starts_with("x-amz-");
    if !signed.contains(&"host") || call.headers.iter().any(|(name, _)| must(name) && !signed.contains(&name.as_str())) {
        return Err(Reply::error(403, "AccessDenied", "There were headers present in the request which were not signed"));
    }
    let Some(payload) = call.header("x-amz-content-sha256") else {
        return Err(Reply::error(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"));
    };
    let right = Signed {
        headers: call.headers.iter().filter(|(name, _)| signed.contains(&name.as_str())).cloned().collect(),
        region: parsed.region,
        time: time.to_owned(),
        secret: credential.secret.clone(),
        signature: parsed.signature,
        payload: payload.to_owned(),
    };
    let signing = right.signing(call);
    if signing.signed_headers() != parsed.signed || signing.signature(&right.secret) != right.signature {
        // What the server signed stands in the answer, as AWS has it: a client that is wrong finds its mistake there.
        let (canonical, text) = (escape(&signing.canonical()), escape(&signing.to_sign()));
        let more = format!("<StringToSign>{text}</StringToSign><CanonicalRequest>{canonical}</CanonicalRequest>");
        let message = "The request signature we calculated does not match the signature you provided.";
        return Err(Reply::error_with(403, "SignatureDoesNotMatch", message, &more));
    }
    Ok(right)
}

fn credential<'a>(call: &Call, behaviour: &'a Behaviour, parsed: &Authorization) -> Result<&'a Credential, Reply> {
    let Some(credential) = behaviour.credentials.iter().find(|credential| credential.access == parsed.access) else {
        let message = "The AWS Access Key Id you provided does not exist in our records.";
        return Err(Reply::error(403, "InvalidAccessKeyId", message));
    };
    if credential.expired {
        return Err(Reply::error(400, "ExpiredToken", "The provided token has expired."));
    }
    if call.header("x-amz-security-token") != credential.token.as_deref() {
        return Err(Reply::error(400, "InvalidToken", "The provided token is malformed or otherwise invalid."));
    }
    Ok(credential)
}

fn malformed(message: &str, more: &str) -> Reply {
    Reply::error_with(400, "AuthorizationHeaderMalformed", message, more)
}

struct Authorization {
    access: String,
    date: String,
    region: String,
    signed: String,
    signature: String,
}

impl Authorization {
    fn parse(header: &str) -> Option<Authorization> {
        let (mut scope, mut signed, mut signature) = (None, None, None);
        for part in header.strip_prefix("AWS4-HMAC-SHA256 ")?.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            match name {
                "Credential" => scope = Some(value),
                "SignedHeaders" => signed = Some(value.to_owned()),
                "Signature" => signature = Some(value.to_owned()),
                _ => return None,
            }
        }
        let scope: Vec<&str> = scope?.split('/').collect();
        let [access, date, region, "s3", "aws4_request"] = scope[..] else { return None };
        let (access, date, region) = (access.to_owned(), date.to_owned(), region.to_owned());
        Some(Authorization { access, date, region, signed: signed?, signature: signature? })
    }
}
