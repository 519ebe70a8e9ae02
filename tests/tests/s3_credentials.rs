//! Keys that a machine is given: a container by its agent, an instance by its metadata. They last for hours and runs for longer: they are
//! asked for again before they end, and at once where the store takes them no more. By the real binary, for they come by its environment.

use crate::cli::{Home, ended};
use seabed_tests::s3_server::behaviour::Credential;
use seabed_tests::s3_server::{Fault, Logged, Operation, Outcome, Rule, S3Server};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// What the agent and the instance want to see before they give anything away.
const TOKEN: &str = "token-of-the-agent";
/// Keys that the store may know.
const KEYS: u64 = 500;

#[derive(Default)]
struct State {
    /// Keys given so far; the next one has this number and one more.
    given: AtomicU64,
    /// Seconds for which each key says that it lasts.
    lasts_secs: AtomicU64,
    over: AtomicBool,
    asked: Mutex<Vec<String>>,
}

/// An agent of containers and the metadata of an instance in one, on a port of 127.0.0.1. Dropped, it is gone.
struct Giver {
    state: Arc<State>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Giver {
    fn start(lasts_secs: u64) -> Giver {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { lasts_secs: lasts_secs.into(), ..State::default() });
        let of_thread = state.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.over.load(SeqCst) {
                    return;
                }
                // A client that went away asks for nothing.
                of_thread.answer(stream.unwrap()).unwrap_or(());
            }
        });
        Giver { state, address, thread: Some(thread) }
    }

    fn given(&self) -> u64 {
        self.state.given.load(SeqCst)
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.state.over.store(true, SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().map(JoinHandle::join);
    }
}

impl State {
    /// One request of a connection, which is closed then.
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let lines = BufReader::new(stream.try_clone()?).lines();
        let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let Some(asked) = head.first().and_then(|line| line.strip_suffix(" HTTP/1.1")) else { return Ok(()) };
        let header = |name: &str| {
            head.iter().filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        self.asked.lock().unwrap().push(asked.to_owned());
        let role = "/latest/meta-data/iam/security-credentials/";
        let body = match asked.split_once(' ').unwrap() {
            ("GET", "/keys") => (header("authorization") == Some(TOKEN)).then(|| self.key()),
            ("PUT", "/latest/api/token") => Some(TOKEN.to_owned()),
            ("GET", path) if header("x-aws-ec2-metadata-token") != Some(TOKEN) || !path.starts_with(role) => None,
            ("GET", path) => Some(if path == role { "backup".to_owned() } else { self.key() }),
            _ => None,
        };
        let (status, body) = body.map_or(("401 Unauthorized", String::new()), |body| ("200 OK", body));
        let more = "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\nconnection: close";
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{more}\r\n\r\n{body}", body.len())
    }

    fn key(&self) -> String {
        let n = self.given.fetch_add(1, SeqCst) + 1;
        let ends = SystemTime::now() + Duration::from_secs(self.lasts_secs.load(SeqCst));
        let ends = jiff::Timestamp::try_from(ends).unwrap().strftime("%Y-%m-%dT%H:%M:%SZ");
        let Credential { access, secret, token, .. } = key(n, false);
        let token = token.unwrap();
        format!(
            r#"{{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "{access}", "SecretAccessKey": "{secret}", "Token": "{token}", "Expiration": "{ends}"}}"#
        )
    }
}

fn key(n: u64, expired: bool) -> Credential {
    Credential { access: format!("key-{n}"), secret: format!("secret-{n}"), token: Some(format!("token-{n}")), expired }
}

/// The number of the key that signed a request.
fn signer(request: &Logged) -> u64 {
    let header = request.header("authorization").unwrap();
    header.split_once("Credential=key-").and_then(|(_, rest)| rest.split_once('/')).unwrap().0.parse().unwrap()
}

/// A home without keys, a bucket, and who gives keys for it.
struct Site {
    home: Home,
    server: S3Server,
    giver: Giver,
    instance: bool,
}

impl Site {
    fn new(instance: bool, lasts_secs: u64) -> Site {
        let site = Site { home: Home::new(), server: S3Server::start(), giver: Giver::start(lasts_secs), instance };
        site.takes_from(1);
        // What a store understands is found out by requests that it may refuse: that is over.
        site.ends(&["init"]);
        site.server.clear_log();
        site
    }

    /// Of the keys that were given and will be, the store takes those from this number on.
    fn takes_from(&self, first: u64) {
        self.server.behave(|b| b.credentials = (1..KEYS).map(|n| key(n, n < first)).collect());
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        command.env("SEABED_REPOSITORY", self.server.url("x")).env("AWS_REGION", "us-east-1");
        if self.instance {
            command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", self.giver.address));
        } else {
            command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{}/keys", self.giver.address));
            command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", TOKEN).env("AWS_EC2_METADATA_DISABLED", "true");
        }
        command
    }

    fn ends(&self, args: &[&str]) {
        ended(0, &self.command(args).output().unwrap(), args);
    }

    fn refused(&self) -> usize {
        self.server.log().iter().filter(|request| request.status() == Some(400)).count()
    }
}

// Row: ExpiredToken: keys that are about to end are replaced before the store has to say so.
#[test]
fn keys_of_a_machine_are_asked_for_again_before_they_end() {
    for instance in [false, true] {
        // The SDK renews what ends within seconds.
        let site = Site::new(instance, 3);
        site.ends(&["backup", "src"]);
        let signers: BTreeSet<u64> = site.server.log().iter().map(signer).collect();
        assert!(signers.len() > 1, "{signers:?}, instance: {instance}");
        assert_eq!(site.refused(), 0);
        // Keys that last are asked for once in a run.
        site.giver.state.lasts_secs.store(6 * 3600, SeqCst);
        let before = site.giver.given();
        site.ends(&["check", "--read-data"]);
        assert_eq!(site.giver.given() - before, 1, "{:?}", site.giver.state.asked.lock().unwrap());
    }
}

// Row: ExpiredToken: keys that end while a run goes on, long before they said that they would.
#[test]
fn keys_of_a_machine_that_end_midway_are_asked_for_again() {
    for instance in [false, true] {
        let site = Site::new(instance, 6 * 3600);
        site.server.inject(Rule::new(Fault::StallBefore).on(Operation::PutObject).key("data/").times(1));
        let mut run = site.command(&["backup", "src"]).stdout(Stdio::null()).spawn().unwrap();
        site.server.wait_until(|log| log.iter().any(|request| request.outcome == Outcome::Stalled));
        let first = site.giver.given();
        site.takes_from(first + 1);
        site.server.release_stalls();
        assert!(run.wait().unwrap().success(), "instance: {instance}");
        assert!((1..=16).contains(&site.refused()), "those that were under way, and no more: {}", site.refused());
        let log = site.server.log();
        let committed = log.iter().filter(|request| request.operation == Operation::PutObject && request.key.starts_with("x/snapshots/"));
        assert_eq!(committed.map(signer).collect::<Vec<_>>(), [first + 1]);
        assert_eq!(site.giver.given(), first + 1, "once for all that were refused");
        site.ends(&["check", "--read-data"]);
    }
}
