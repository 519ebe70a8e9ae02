//! The SDK's client for one place: endpoint, connector, trust, region, credentials. Made anew when credentials or the region turn out to be wrong.
//! It must never send a credential anywhere but to the endpoint, and never follow a redirect there.

use crate::error::{Error, Result};
use crate::store::s3::meter::{Meter, Tally};
use crate::store::s3::place::S3Place;
use crate::store::s3::{S3Options, lines};
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{self, ProfileFileLoadError, ProfileFileRegionProvider, ProfileSet};
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_runtime::env_config::EnvConfigValue;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// What most stores of their own take, and what AWS redirects from.
const REGION_DEFAULT: &str = "us-east-1";

impl S3Place {
    /// Where the configuration of AWS' tools names an endpoint, in the environment or in a profile, `s3://` means a bucket there. What
    /// is found is held to what holds for an endpoint that is written, and from then on stands in the place: clients are given it from
    /// there, and look for none.
    pub fn configured(self) -> Result<Self> {
        if self.endpoint.is_some() {
            return Ok(self);
        }
        let wrong = |what: String| Error::Option { what };
        let profiles = profiles().map_err(|why| wrong(format!("the configuration of AWS' tools cannot be read: {why}")))?;
        let value = |variable, key, service: Option<&'static str>| {
            let value = EnvConfigValue::new().env(variable).profile(key);
            let value = if let Some(service) = service { value.service_id(service) } else { value };
            value.load(&Default::default(), Some(&profiles)).map(|(value, _)| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let ignored = value("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls", None);
        if ignored.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(self);
        }
        let Some(endpoint) = value("AWS_ENDPOINT_URL", "endpoint_url", Some("S3")) else { return Ok(self) };
        // It is not repeated: a secret may have got in by mistake.
        let wrong = |why| wrong(format!("the endpoint that AWS_ENDPOINT_URL or the profile's endpoint_url names makes no sense: {why}"));
        self.with_endpoint(&endpoint).map_err(wrong)
    }
}

/// What the files of AWS' tools say.
fn profiles() -> std::result::Result<ProfileSet, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let loaded = runtime.block_on(load_profiles());
    loaded.map_err(|error| error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))
}

async fn load_profiles() -> std::result::Result<ProfileSet, ProfileFileLoadError> {
    profile::load(&Default::default(), &Default::default(), &Default::default(), None).await
}

/// The profile that is asked for, where there is none of this name.
pub async fn profile_that_is_not_there() -> Option<String> {
    let asked = std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty())?;
    let profiles = load_profiles().await.ok()?;
    profiles.get_profile(&asked).is_none().then_some(asked)
}

/// The certificates in a file, to be trusted. The SDK takes any bytes, and panics at the first connection over what is none.
fn certificates(path: &Path) -> Result<Vec<u8>> {
    let wrong = |why: String| Error::Option { what: format!("the certificates in {} cannot be used: {why}", path.display()) };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("there is none".to_owned())) } else { Ok(pem) }
}

/// Makes what is beneath all clients: connections, TLS, and proxies from the environment for what is not near.
pub fn connector(ca_file: Option<&Path>) -> Result<SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(path) = ca_file {
        trust.add_pem_certificate(certificates(path)?);
    }
    let context = TlsContext::builder().with_trust_store(trust).build();
    let context = context.map_err(|error| Error::Option { what: format!("TLS cannot be set up: {error}") })?;
    Ok(lines::client(move |settings, components, direct| {
        let proxy = if direct { ProxyConfig::disabled() } else { ProxyConfig::from_env() };
        let mut builder = Connector::builder().proxy_config(proxy).connector_settings(settings.clone());
        builder.set_sleep_impl(components.sleep_impl());
        // Small requests wait for nobody.
        builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context.clone()).enable_tcp_nodelay(true).build()
    }))
}

/// The region that the environment names. The SDK takes an empty one for a name.
fn region_of_environment() -> Option<Region> {
    let named = |name: &&str| std::env::var(name).ok().filter(|region| !region.is_empty());
    ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(named).map(Region::new)
}

/// Makes a client. Credentials come from the SDK's default chain, which reads environment, profiles and instance anew.
pub async fn client(place: &S3Place, options: &S3Options, http: &SharedHttpClient, region: Option<&str>, meter: &Arc<Meter>) -> Client {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .timeout_config(timeouts)
        // Tries, waits and stalls are counted over all requests of a run, which the SDK cannot.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    let named = region.or(options.region.as_deref()).or(place.region());
    loader = match named {
        Some(region) => loader.region(Region::new(region.to_owned())),
        // The SDK's own chain would ask the network for an instance's metadata at its end: seconds, where there is none. A region that
        // is not the right one is put right by the first answer.
        None => loader.region(
            RegionProviderChain::first_try(region_of_environment()).or_else(ProfileFileRegionProvider::new()).or_else(REGION_DEFAULT),
        ),
    };
    if let Some(keys) = &options.credentials {
        let session = keys.session_token.clone();
        loader = loader.credentials_provider(Credentials::new(&keys.access_key_id, &keys.secret_access_key, session, None, "given"));
    }
    let shared = loader.load().await;
    let mut config = aws_sdk_s3::config::Builder::from(&shared).interceptor(Tally(meter.clone()));
    // Also where it is none: what is configured was looked at before, and may have changed since.
    config.set_endpoint_url(place.url().map(str::to_owned));
    // A dot in a bucket's name fits no certificate.
    let path_style = options.path_style.unwrap_or(!place.is_aws() || place.bucket.contains('.'));
    Client::from_conf(config.force_path_style(path_style).build())
}
