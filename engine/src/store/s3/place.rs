//! Where an S3 repository is: endpoint, bucket, prefix, as users write it. Nothing here talks to anybody.
//! It must never take in a secret: a place is printed, logged and kept in shells' histories.

/// The scheme with which a place in an S3 store begins.
const SCHEME: &str = "s3:";

/// AWS itself: the region decides over the host, and its rules for names apply.
const AWS: &str = "https://s3.amazonaws.com";
const ODD_SCHEME: &str = "only http:// and https:// are understood";

/// A prefix in a bucket of an S3 store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Place {
    /// `https://host[:port]`; `None` for AWS itself, where the region decides, unless the configuration of AWS' tools names another one.
    pub endpoint: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// What the keys of all objects begin with, without slashes around it; may be empty.
    pub prefix: String,
}

impl S3Place {
    /// Whether `text` is meant as a place in an S3 store, well written or not.
    pub fn is_meant(text: &str) -> bool {
        without_scheme(text).is_some()
    }

    /// Reads `s3://bucket/prefix` (AWS, or what is configured), `s3:https://host[:port]/bucket/prefix` and restic's `s3:host[:port]/bucket/prefix`. An error
    /// says what is wrong and repeats nothing: a secret may have got in by mistake.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = without_scheme(text).ok_or("it does not begin with `s3:`")?;
        if rest.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '\\')) {
            return Err("it holds a blank, `?`, `#` or `\\`");
        }
        let (endpoint, path) = if let Some(path) = rest.strip_prefix("//") {
            (None, path)
        } else {
            let (endpoint, path) = endpoint(rest).map_err(|why| match why {
                ODD_SCHEME => "behind `s3:` only http:// and https:// are understood",
                other => other,
            })?;
            (Some(endpoint), path.unwrap_or(""))
        };
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if bucket.is_empty() {
            return Err("it names no bucket");
        }
        if bucket.len() > 255 || !bucket.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
            return Err("the name of the bucket makes no sense");
        }
        let prefix = prefix.trim_matches('/');
        // Stores and proxies tidy such paths, each in its own way.
        if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
            return Err("its prefix holds an empty part, `.` or `..`");
        }
        if prefix.len() > 512 {
            return Err("its prefix is longer than 512 bytes");
        }
        Ok(S3Place { endpoint, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// The same bucket at an endpoint that something else than the place names: `https://host[:port]`, and nothing behind it.
    pub fn with_endpoint(self, text: &str) -> Result<Self, &'static str> {
        let (endpoint, path) = endpoint(text.strip_suffix('/').unwrap_or(text))?;
        if path.is_some() {
            return Err("a path, `?` or `#` is behind the host");
        }
        Ok(S3Place { endpoint: Some(endpoint), ..self })
    }

    /// The endpoint as clients take it; `None` where the region decides over the host.
    pub fn url(&self) -> Option<&str> {
        self.endpoint.as_deref().filter(|endpoint| *endpoint != AWS)
    }

    /// The form in which it is written; holds no secret.
    pub fn text(&self) -> String {
        let prefix = if self.prefix.is_empty() { String::new() } else { format!("/{}", self.prefix) };
        match &self.endpoint {
            None => format!("s3://{}{prefix}", self.bucket),
            Some(endpoint) => format!("s3:{endpoint}/{}{prefix}", self.bucket),
        }
    }

    /// The host of the endpoint without its port.
    fn host(&self) -> Option<&str> {
        let host = self.endpoint.as_deref()?.split_once("://")?.1;
        Some(match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.split(':').next().unwrap_or(host),
        })
    }

    /// Whether requests would cross a network in the clear: with them whoever listens learns sizes, times and key ids.
    pub fn is_in_the_clear(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")) && !self.host().is_some_and(is_loopback)
    }

    /// Whether it is AWS, where a bucket is part of the host's name; elsewhere such names seldom resolve.
    pub fn is_aws(&self) -> bool {
        self.host().is_none_or(|host| host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
    }

    /// The partition of AWS in which the place is, as names of resources begin with it. `region`: what is known of it otherwise.
    pub fn partition(&self, region: Option<&str>) -> &'static str {
        let china = self.host().is_some_and(|host| host.ends_with(".amazonaws.com.cn"));
        match self.region().or(region) {
            _ if china => "aws-cn",
            Some(region) if region.starts_with("cn-") => "aws-cn",
            Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    /// The region that the name of an AWS endpoint tells.
    pub fn region(&self) -> Option<&str> {
        let rest = self.host()?.strip_prefix("s3.")?;
        let region = rest.strip_prefix("dualstack.").unwrap_or(rest).split_once(".amazonaws.com")?.0;
        Some(region).filter(|region| !region.is_empty())
    }

    /// The key of an object, or what the keys below a folder begin with.
    pub fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    /// The name behind the prefix in a key; `None` for a key that lies elsewhere.
    pub fn name_in<'a>(&self, key: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() { Some(key) } else { key.strip_prefix(&self.prefix)?.strip_prefix('/') }
    }
}

/// What is behind the scheme. Schemes are written in either case (RFC 3986).
fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

/// Whether a host, without its port, is this machine.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Reads `host[:port]` with or without a scheme, and what is behind it.
fn endpoint(text: &str) -> Result<(String, Option<&str>), &'static str> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", rest),
        Some(_) => return Err(ODD_SCHEME),
        None => ("https", text),
    };
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    if host.contains('@') {
        return Err("keys do not belong into it: give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile");
    }
    if host.is_empty() || !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']')) {
        return Err("the name of the host makes no sense");
    }
    Ok((format!("{scheme}://{}", host.to_ascii_lowercase()), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(endpoint: Option<&str>, bucket: &str, prefix: &str) -> S3Place {
        S3Place { endpoint: endpoint.map(str::to_owned), bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    }

    #[test]
    fn what_users_write_is_read() {
        for (text, meant) in [
            ("s3://b", place(None, "b", "")),
            ("s3://b/", place(None, "b", "")),
            ("s3://b/a/b/", place(None, "b", "a/b")),
            ("s3:https://h/b", place(Some("https://h"), "b", "")),
            ("s3:http://127.0.0.1:3900/b/x", place(Some("http://127.0.0.1:3900"), "b", "x")),
            ("s3:HOST.example:9000/b/x", place(Some("https://host.example:9000"), "b", "x")),
            ("S3://b/x", place(None, "b", "x")),
            ("S3:HTTPS://h/b", place(Some("https://h"), "b", "")),
            ("s3:s3.amazonaws.com/b/x", place(Some(AWS), "b", "x")),
            ("s3:https://[::1]:80/b", place(Some("https://[::1]:80"), "b", "")),
        ] {
            assert_eq!(S3Place::parse(text).as_ref(), Ok(&meant), "{text}");
            assert_eq!(S3Place::parse(&meant.text()).as_ref(), Ok(&meant), "{text} is written so that it is read again");
        }
    }

    #[test]
    fn nonsense_is_refused_without_being_repeated() {
        for text in [
            "s3:",
            "s3://",
            "s3:https://h",
            "s3:ftp://h/b",
            "s3:https://key:secret@h/b",
            "S3:https://key:secret@h/b",
            "s3://b/a/../c",
            "s3://b/a//c",
            "s3://b/x?y",
            "s3://b b/x",
        ] {
            let error = S3Place::parse(text).unwrap_err();
            assert!(!error.contains("secret@"), "{text}: {error}");
        }
    }

    #[test]
    fn only_loopback_needs_no_tls() {
        for (text, clear) in [
            ("s3:http://127.0.0.1:1/b", false),
            ("s3:http://localhost/b", false),
            ("s3:http://[::1]:9/b", false),
            ("s3:http://10.0.0.1/b", true),
            ("s3:http://127.0.0.1.example.org/b", true),
            ("s3:https://h/b", false),
            ("s3://b", false),
        ] {
            assert_eq!(S3Place::parse(text).unwrap().is_in_the_clear(), clear, "{text}");
        }
    }

    #[test]
    fn aws_is_told_by_its_names() {
        let at = |text| S3Place::parse(text).unwrap();
        assert!(at("s3://b").is_aws() && at("s3:s3.amazonaws.com/b").is_aws() && at("s3:s3.eu-west-1.amazonaws.com/b").is_aws());
        assert!(!at("s3:https://amazonaws.com.example.org/b").is_aws() && !at("s3:http://127.0.0.1/b").is_aws());
        assert_eq!(at("s3:s3.eu-west-1.amazonaws.com/b").region(), Some("eu-west-1"));
        assert_eq!((at("s3:https://h/b").region(), at("s3:s3.amazonaws.com/b").region()), (None, None));
        // Where it is written, nothing that is configured takes its place; and its region still decides over the host.
        assert_eq!((at("s3:s3.amazonaws.com/b").url(), at("s3:https://h/b").url()), (None, Some("https://h")));
        assert_eq!(at("s3:s3.amazonaws.com/b").endpoint.as_deref(), Some(AWS));
        let china = at("s3:s3.cn-north-1.amazonaws.com.cn/b");
        assert!(china.is_aws() && china.region() == Some("cn-north-1"));
        for (place, region, partition) in [
            ("s3://b", None, "aws"),
            ("s3://b", Some("eu-west-1"), "aws"),
            ("s3://b", Some("cn-north-1"), "aws-cn"),
            ("s3:s3.cn-north-1.amazonaws.com.cn/b", None, "aws-cn"),
            ("s3:s3.us-gov-west-1.amazonaws.com/b", Some("eu-west-1"), "aws-us-gov"),
        ] {
            assert_eq!(at(place).partition(region), partition, "{place} {region:?}");
        }
    }

    /// AWS_ENDPOINT_URL with a path was read as an endpoint with another bucket.
    #[test]
    fn an_endpoint_has_no_path() {
        let named = |text| place(None, "b", "x").with_endpoint(text);
        assert_eq!(named("http://127.0.0.1:9000/"), Ok(place(Some("http://127.0.0.1:9000"), "b", "x")));
        assert_eq!(named("h.example:9000"), Ok(place(Some("https://h.example:9000"), "b", "x")));
        for text in ["https://h/minio", "https://h//", "https://h/b/x", "https://h?x", "ftp://h", "https://key:secret@h", "https://", ""] {
            assert!(named(text).is_err_and(|why| !why.contains("secret@")), "{text}");
        }
    }

    #[test]
    fn keys_and_names() {
        let (deep, top) = (place(None, "b", "x/y"), place(None, "b", ""));
        assert_eq!(deep.key("data/00"), "x/y/data/00");
        assert_eq!(deep.name_in("x/y/data/00"), Some("data/00"));
        assert_eq!(deep.name_in("x/yz"), None);
        assert_eq!(top.name_in(&top.key("data")), Some("data"));
    }
}
