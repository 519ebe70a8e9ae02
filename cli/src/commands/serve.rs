//! `serve webdav`: snapshots over HTTP. It must never be open to other machines without a password unless that was said in words.
//! It obeys RFC 4918 as far as reading goes.

use crate::args::{FilterArgs, Global};
use crate::commands::mount::LayoutArgs;
use crate::exit::{Code, Fail, Run, help, plain};
use crate::open;
use crate::output::Output;
use crate::serve::ended;
use crate::serve::web::gate::{Gate, Login};
use crate::serve::web::serve;
use crate::{secret, signals, size};
use serde_json::json;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const EXAMPLES: &str = "  seabed serve webdav
  seabed serve webdav latest:/home/ann --listen 127.0.0.1:8081
  seabed serve webdav --listen 192.0.2.7:8080 --user ann --webdav-password-file ~/dav.pass
  curl -O http://127.0.0.1:8080/snapshots/latest/home/ann/letter.txt";

/// Where the password may be, if no file is named.
const PASSWORD: &str = "SEABED_WEBDAV_PASSWORD";

/// Show snapshots over a network protocol
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES), arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    protocol: Protocol,
}

/// The protocols.
#[derive(clap::Subcommand, Debug)]
enum Protocol {
    #[allow(missing_docs)]
    Webdav(Box<WebdavArgs>),
}

/// Show snapshots over WebDAV, and to browsers
///
/// The same tree as `seabed mount`, for machines without FUSE: read-only, with ranges. What is read
/// is fetched and verified then. It ends with Ctrl-C (exit status 0).
///
/// It listens on this machine alone, where every user can reach it: on a machine with other users
/// give --user. For another address --user and a password (--webdav-password-file or
/// SEABED_WEBDAV_PASSWORD) are needed, or --no-auth. Both content and password go over plain HTTP
/// and can be read on the way: put a proxy that speaks TLS before it.
///
/// Links are what they lead to; those to directories inside a snapshot can be opened but are not
/// listed for programs, or these would go in circles. Devices, fifos and sockets are not shown.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
struct WebdavArgs {
    /// Only this one: an id, `latest`, `latest~N`; each also with `:/sub/path`
    #[arg(value_name = "SNAPSHOT")]
    selector: Option<String>,
    /// Where to listen; with port 0 on one that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Ask for this name and a password
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The password is in FILE [env: SEABED_WEBDAV_PASSWORD]
    #[arg(long, value_name = "FILE", requires = "user")]
    webdav_password_file: Option<PathBuf>,
    /// Ask for no password though other machines may reach it
    #[arg(long, conflicts_with = "user")]
    no_auth: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    layout: LayoutArgs,
}

/// Serves until somebody ends it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let Protocol::Webdav(args) = &args.protocol;
    webdav(global, args, out)
}

fn listener(listen: &str) -> Result<(TcpListener, SocketAddr), Fail> {
    let bad = |why: String| Fail::config(format!("cannot listen at {listen}: {why}"));
    let write = "write an address and a port: 127.0.0.1:8080";
    let mut addresses = listen.to_socket_addrs().map_err(|error| bad(plain(&error)).hint(write))?;
    let address = addresses.next().ok_or_else(|| bad("it is no address".to_owned()).hint(write))?;
    let listener = TcpListener::bind(address).map_err(|error| bad(plain(&error)).hint("choose another port with --listen"))?;
    let address = listener.local_addr().map_err(|error| bad(plain(&error)).hint("run it again, or listen elsewhere with --listen"))?;
    Ok((listener, address))
}

fn login(args: &WebdavArgs) -> Result<Option<Login>, Fail> {
    let Some(user) = &args.user else { return Ok(None) };
    if user.contains(':') || user.is_empty() {
        return Err(Fail::config("the name in --user is empty or holds a `:`").hint("choose one such as --user ann: HTTP takes no other"));
    }
    let password = secret::other(args.webdav_password_file.as_deref(), "--webdav-password-file", PASSWORD)?;
    let password = password
        .ok_or_else(|| Fail::config("--user needs a password").hint(format!("give it with --webdav-password-file or {PASSWORD}")))?;
    Ok(Some(Login { user: user.clone(), password }))
}

fn webdav(global: &Global, args: &WebdavArgs, out: &Output) -> Run {
    let login = login(args)?;
    // Before a repository is opened and a passphrase asked for.
    let (listener, address) = listener(&args.listen)?;
    let ip = address.ip().to_canonical();
    if !ip.is_loopback() && login.is_none() && !args.no_auth {
        let fail = Fail::config(format!("other machines could read every snapshot at {address}"));
        return Err(fail.hint("ask for a password (--user), listen on 127.0.0.1, or say --no-auth"));
    }
    let is_open = login.is_none();
    let opened = open::open(global, out)?;
    let id = opened.repository.id();
    let view = Arc::new(args.layout.view(opened.repository, args.selector.as_ref(), &args.filter, out)?);
    signals::catch();
    let url = format!("http://{address}/");
    let what = match &args.selector {
        Some(selector) => format!("snapshot {selector}"),
        None => size::of(view.snapshots() as u64, "snapshot"),
    };
    if !ip.is_loopback() {
        out.warn(if is_open {
            "whoever can reach this address can read the snapshots, and what is sent can be read on the way"
        } else {
            "password and content go over plain HTTP and can be read on the way: put a proxy that speaks TLS before it"
        });
    }
    out.works();
    out.say(&format!("serving {what} of repository {} at {url}; Ctrl-C ends it", id.short()));
    if out.json {
        let snapshots = view.snapshots();
        out.message(&json!({"message_type": "serving", "url": url, "repository": opened.place.text(), "repository_id": id.to_string(), "snapshots": snapshots}));
    }
    let began = Instant::now();
    serve(view.clone(), Gate::new(address, login), listener, signals::interrupted).map_err(|error| {
        let fail = Fail::new(Code::Failed, format!("cannot serve at {url}: {}", plain(&error)));
        fail.hint("raise the limits on processes and open files (`ulimit -u`, `ulimit -n`), then run it again")
    })?;
    ended(&view, began, out);
    Ok(Code::Done)
}
