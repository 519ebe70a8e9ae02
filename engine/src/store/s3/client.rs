//! The SDK's client for one place: connector, trust, region, credentials. Made anew when credentials or the region turn out to be wrong.
//! It must never send a credential anywhere but to the endpoint, and never follow a redirect there.

use crate::store::s3::S3Options;
use crate::store::s3::meter::{Meter, Tally};
use crate::store::s3::place::S3Place;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// What most stores of their own take, and what AWS redirects from.
const REGION_DEFAULT: &str = "us-east-1";

/// Makes what is beneath all clients: connections, TLS, proxies from the environment.
pub fn connector(ca_file: Option<&Path>) -> io::Result<SharedHttpClient> {
    let mut trust = TrustStore::default();
    if let Some(path) = ca_file {
        trust.add_pem_certificate(std::fs::read(path)?);
    }
    let context = TlsContext::builder().with_trust_store(trust).build().map_err(io::Error::other)?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Connector::builder().proxy_config(ProxyConfig::from_env());
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        // Small requests wait for nobody.
        builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context.clone()).enable_tcp_nodelay(true).build()
    }))
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
    loader = match (named, &place.endpoint) {
        (Some(region), _) => loader.region(Region::new(region.to_owned())),
        // The chain's last link asks the network for an instance's metadata: seconds, where there is none.
        (None, Some(_)) => loader.region(
            RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(ProfileFileRegionProvider::new())
                .or_else(REGION_DEFAULT),
        ),
        (None, None) => loader.region(RegionProviderChain::default_provider().or_else(REGION_DEFAULT)),
    };
    if let Some(keys) = &options.credentials {
        let session = keys.session_token.clone();
        loader = loader.credentials_provider(Credentials::new(&keys.access_key_id, &keys.secret_access_key, session, None, "given"));
    }
    let shared = loader.load().await;
    let mut config = aws_sdk_s3::config::Builder::from(&shared).interceptor(Tally(meter.clone()));
    if let Some(endpoint) = &place.endpoint {
        config = config.endpoint_url(endpoint);
    }
    // A dot in a bucket's name fits no certificate.
    let path_style = options.path_style.unwrap_or(!place.is_aws() || place.bucket.contains('.'));
    Client::from_conf(config.force_path_style(path_style).build())
}
