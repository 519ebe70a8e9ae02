//! Pings: a URL that is told when a run begins and how it ended, as healthchecks.io has them (`/start`, `/fail`, `?rid=`).
//! It must never fail a run, nor hold it up for long.

use super::journal::Journal;
use crate::jobs::config::secret::{Address, redacted};
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is tried: the end of a run is worth more than its beginning, but no run waits for minutes.
const TRIES: u32 = 3;
/// What healthchecks.io takes.
const BODY_BYTES_MAX: usize = 100_000;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A run begins.
    Start,
    /// It stored everything.
    Success,
    /// It did not.
    Failure,
}

/// Where it is told.
pub struct Ping {
    url: Option<String>,
    rid: String,
}

impl Ping {
    /// For the run of this id.
    pub fn new(url: Option<&Address>, run: &str) -> Self {
        // The form of a UUID, which is what `rid` must have.
        let rid = match (run.get(..8), run.get(8..12), run.get(12..16), run.get(16..20), run.get(20..32)) {
            (Some(a), Some(b), Some(c), Some(d), Some(e)) => format!("{a}-{b}-{c}-{d}-{e}"),
            _ => run.to_owned(),
        };
        Ping { url: url.map(|url| url.reveal().trim_end_matches('/').to_owned()), rid }
    }

    /// Tells it. One that cannot be reached costs a warning.
    pub fn tell(&self, signal: Signal, body: &str, journal: &Journal<'_>) {
        let Some(url) = &self.url else { return };
        let url = whole(url, signal, &self.rid);
        let body = redacted(body);
        let start = (0..=body.len().saturating_sub(BODY_BYTES_MAX)).rev().find(|at| body.is_char_boundary(*at)).unwrap_or(0);
        let agent = match agent() {
            Ok(agent) => agent,
            Err(why) => return journal.warning("ping", &why),
        };
        let mut why = String::new();
        for attempt in 0..TRIES {
            match agent.post(&url).content_type("text/plain; charset=utf-8").send(&body[start..]) {
                Ok(_) => return,
                // The URL is a secret of its own kind: whoever has it can silence the alarm.
                Err(error) => why = error.to_string().replace(&url, "it"),
            }
            std::thread::sleep(Duration::from_millis(500 << attempt));
        }
        journal.warning("ping", &format!("cannot be sent: {why}"));
    }
}

fn whole(url: &str, signal: Signal, rid: &str) -> String {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let end = match signal {
        Signal::Start => "/start",
        Signal::Success => "",
        Signal::Failure => "/fail",
    };
    let query = query.map(|query| format!("{query}&")).unwrap_or_default();
    format!("{}{end}?{query}rid={rid}", path.trim_end_matches('/'))
}

/// Trusts what the machine trusts, and the file that stores are trusted by, too.
fn agent() -> Result<Agent, String> {
    let file = ["SEABED_CA_FILE", "AWS_CA_BUNDLE"].iter().find_map(|name| std::env::var_os(name).filter(|path| !path.is_empty()));
    let roots = match file {
        None => RootCerts::PlatformVerifier,
        Some(file) => {
            let text = std::fs::read(&file).map_err(|e| format!("cannot read {}: {}", file.display(), crate::exit::plain(&e)))?;
            let certificates: Vec<Certificate<'static>> =
                parse_pem(&text).filter_map(|item| if let Ok(PemItem::Certificate(one)) = item { Some(one) } else { None }).collect();
            RootCerts::new_with_certs(&certificates)
        }
    };
    let tls = TlsConfig::builder().root_certs(roots).build();
    Ok(Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .tls_config(tls)
        .user_agent(concat!("seabed/", env!("CARGO_PKG_VERSION")))
        .build()
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_healthchecks() {
        assert_eq!(whole("https://hc/u", Signal::Start, "r"), "https://hc/u/start?rid=r");
        assert_eq!(whole("https://hc/u/?a=b", Signal::Failure, "r"), "https://hc/u/fail?a=b&rid=r");
        assert_eq!(whole("https://hc/u", Signal::Success, "r"), "https://hc/u?rid=r");
        let ping = Ping::new(None, "00112233445566778899aabbccddeeff");
        assert_eq!(ping.rid, "00112233-4455-6677-8899-aabbccddeeff");
    }
}
