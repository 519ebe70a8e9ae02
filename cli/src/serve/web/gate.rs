//! Who may ask. Without a password only clients that mean this very server: a page of somebody else's that a browser on this machine shows can
//! make a name of its own lead here, but it cannot make the browser call this server by another name. What such a page has the browser
//! fetch from here under this server's own name is refused where the browser says that it is for another site's page.
//! It must never tell from the time it takes how much of a password was right.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{HeaderMap, Uri};
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Longest header that is looked at.
const AUTHORIZATION_BYTES_MAX: usize = 4 << 10;

/// Name and password.
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<Vec<u8>>,
}

/// See the module's text.
pub struct Gate {
    address: SocketAddr,
    login: Option<Login>,
    /// What this machine calls itself.
    names: Vec<String>,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it.
    Welcome,
    /// It needs a password, or another one.
    WhoAreYou,
    /// It means another server.
    NotMe,
    /// A page of another site's wants it.
    Elsewhere,
}

impl Gate {
    /// Of a server that listens at `address`.
    pub fn new(address: SocketAddr, login: Option<Login>) -> Self {
        let uname = rustix::system::uname();
        let own = uname.nodename().to_string_lossy().to_ascii_lowercase();
        let short = own.split('.').next().unwrap_or_default().to_owned();
        let mut names = vec!["localhost".to_owned(), format!("{short}.local"), short, own];
        names.retain(|name| !name.is_empty());
        Gate { address, login, names }
    }

    /// Looks at a request.
    pub fn judge(&self, headers: &HeaderMap, uri: &Uri) -> Verdict {
        // Before a password is asked for: the browser may know it, and must not ask a person for it because of somebody's picture.
        if is_foreign(headers) {
            return Verdict::Elsewhere;
        }
        if let Some(login) = &self.login {
            return if is_right(login, headers) { Verdict::Welcome } else { Verdict::WhoAreYou };
        }
        let host = uri.authority().map(|authority| authority.as_str()).or_else(|| {
            let mut hosts = headers.get_all(HOST).iter();
            hosts.next().filter(|_| hosts.next().is_none()).and_then(|host| host.to_str().ok())
        });
        if host.is_some_and(|host| self.is_meant(host)) { Verdict::Welcome } else { Verdict::NotMe }
    }

    /// Whether a client that calls its server `host` means this one.
    fn is_meant(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            // In `[::1]` the last part is no port.
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (host, None),
        };
        let is_port = match port {
            Some(port) => port.parse() == Ok(self.address.port()),
            None => self.address.port() == 80,
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        is_port
            && match literal.parse::<IpAddr>() {
                // A number is no name that anybody could make lead somewhere else.
                Ok(ip) => ip.is_loopback() || ip == self.address.ip() || self.address.ip().is_unspecified(),
                Err(_) => self.names.contains(&name),
            }
    }
}

/// Whether a browser fetches this for a page of another site's: a picture, a frame, a script. A link that somebody follows is none of
/// these: then what is here is shown by itself. Programs that are no browsers do not send such headers, and browsers send them to this
/// machine and over TLS; elsewhere they see by what comes with each answer that it is not for such a page.
fn is_foreign(headers: &HeaderMap) -> bool {
    let says = |name: &str, words: &[&str]| headers.get_all(name).iter().any(|value| words.iter().any(|word| value == *word));
    let is_followed = says("sec-fetch-mode", &["navigate"]) && says("sec-fetch-dest", &["document"]);
    says("sec-fetch-site", &["cross-site", "same-site"]) && !is_followed
}

fn is_right(login: &Login, headers: &HeaderMap) -> bool {
    let decode = || -> Option<Vec<u8>> {
        let value = headers.get(AUTHORIZATION)?.as_bytes();
        let (scheme, rest) = value.split_at_checked(6).filter(|_| value.len() <= AUTHORIZATION_BYTES_MAX)?;
        scheme.eq_ignore_ascii_case(b"basic ").then_some(())?;
        BASE64_STANDARD.decode(rest.trim_ascii()).ok()
    };
    let Some(given) = decode().map(Zeroizing::new) else { return false };
    let Some(at) = given.iter().position(|b| *b == b':') else { return false };
    let (user, password) = (&given[..at], &given[at + 1..]);
    (user.ct_eq(login.user.as_bytes()) & password.ct_eq(&login.password)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn gate(address: &str, login: Option<(&str, &str)>) -> Gate {
        let login = login.map(|(user, password)| Login { user: user.into(), password: Zeroizing::new(password.into()) });
        Gate::new(address.parse().unwrap(), login)
    }

    fn judged(gate: &Gate, host: &str) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        gate.judge(&headers, &Uri::from_static("/"))
    }

    #[test]
    fn without_a_password_a_client_must_mean_this_server() {
        let here = gate("127.0.0.1:8080", None);
        for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST.:8080", "[::1]:8080"] {
            assert_eq!(judged(&here, host), Verdict::Welcome, "{host}");
        }
        for host in ["evil.example:8080", "127.0.0.1", "127.0.0.1:80", "localhost.evil.example:8080", "192.0.2.1:8080", "", ":8080", "[::1"]
        {
            assert_eq!(judged(&here, host), Verdict::NotMe, "{host}");
        }
        let mut twice = HeaderMap::new();
        twice.append(HOST, HeaderValue::from_static("localhost:8080"));
        twice.append(HOST, HeaderValue::from_static("evil.example"));
        assert_eq!(here.judge(&twice, &Uri::from_static("/")), Verdict::NotMe);
        assert_eq!(here.judge(&HeaderMap::new(), &Uri::from_static("/")), Verdict::NotMe);
        assert_eq!(here.judge(&twice, &Uri::from_static("http://evil.example/")), Verdict::NotMe);
        let everywhere = gate("0.0.0.0:80", None);
        assert_eq!(judged(&everywhere, "192.0.2.1"), Verdict::Welcome);
        assert_eq!(judged(&everywhere, "evil.example"), Verdict::NotMe);
    }

    /// Whatever a page of any site's named was fetched from here: a picture's size, or that it is there at all, told the page what a
    /// snapshot holds.
    #[test]
    fn what_a_page_of_another_site_has_fetched_is_refused() {
        let judged = |gate: &Gate, [site, mode, dest]: [&str; 3]| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("127.0.0.1:8080"));
            headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic YW5uOng="));
            for (name, value) in [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)] {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            gate.judge(&headers, &Uri::from_static("/"))
        };
        for gate in [gate("127.0.0.1:8080", None), gate("127.0.0.1:8080", Some(("ann", "x")))] {
            for site in ["cross-site", "same-site"] {
                for fetched in [["no-cors", "image"], ["navigate", "iframe"], ["cors", "empty"], ["no-cors", "document"]] {
                    assert_eq!(judged(&gate, [site, fetched[0], fetched[1]]), Verdict::Elsewhere, "{site} {fetched:?}");
                }
                assert_eq!(judged(&gate, [site, "navigate", "document"]), Verdict::Welcome, "a link that somebody follows");
            }
            assert_eq!(judged(&gate, ["same-origin", "no-cors", "image"]), Verdict::Welcome);
            assert_eq!(judged(&gate, ["none", "navigate", "document"]), Verdict::Welcome);
        }
    }

    #[test]
    fn with_a_password_nothing_else_counts() {
        let gate = gate("0.0.0.0:8080", Some(("ann", "a:b")));
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            headers.insert(HOST, HeaderValue::from_static("any.example"));
            gate.judge(&headers, &Uri::from_static("/"))
        };
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        assert_eq!(with(&basic("ann:a:b")), Verdict::Welcome);
        assert_eq!(with(&basic("ann:a:b").replace("Basic", "bAsIc")), Verdict::Welcome);
        for bad in
            [basic("ann:a"), basic("ann:a:b "), basic("bob:a:b"), basic("ann"), basic(""), "Basic".into(), "Basic !!".into(), "".into()]
        {
            assert_eq!(with(&bad), Verdict::WhoAreYou, "{bad}");
        }
        assert_eq!(with(&format!("Basic {}", "A".repeat(8000))), Verdict::WhoAreYou);
    }
}
