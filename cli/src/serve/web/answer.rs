//! One request and its answer: files with ranges, directories as pages or as what PROPFIND asks for, and a refusal for everything that would
//! write. It must never wait for a store on a thread that others need.

use crate::serve::directory::{Directory, End};
use crate::serve::web::asked::{Asked, parse};
use crate::serve::web::body::{Body, Pieces, Text};
use crate::serve::web::gate::{Gate, Verdict};
use crate::serve::web::multistatus::{self, Item, content_type, tag};
use crate::serve::web::page;
use crate::serve::web::paths::{self, address};
use crate::serve::web::ranges::{Part, has_it, part};
use crate::time;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use seabed_engine::error::Result;
use seabed_engine::format::entry::EntryKind;
use seabed_engine::view::node::{Attributes, Node};
use seabed_engine::view::{Listed, View};
use std::future::poll_fn;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Longest document with a request.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// How long a client may take for it.
const DOCUMENT_PATIENCE: Duration = Duration::from_secs(20);
/// How long whoever gives a wrong password waits for the next try.
const WRONG_PASSWORD: Duration = Duration::from_millis(500);
/// What is read of a file at a time.
const PIECE_BYTES: usize = 256 << 10;
const ALLOWED: &str = "OPTIONS, GET, HEAD, PROPFIND";

/// Answers a request.
pub async fn answer(request: Request<Incoming>, view: Arc<View>, gate: Arc<Gate>) -> Response<Body> {
    let mut response = respond(request, view, gate).await;
    // No page of another site's may show any of this, nor learn by trying what is there.
    set(&mut response, HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    response
}

async fn respond(request: Request<Incoming>, view: Arc<View>, gate: Arc<Gate>) -> Response<Body> {
    match gate.judge(request.headers(), request.uri()) {
        Verdict::Welcome => {}
        Verdict::WhoAreYou => {
            if request.headers().contains_key(header::AUTHORIZATION) {
                tokio::time::sleep(WRONG_PASSWORD).await;
            }
            let mut response = plain(StatusCode::UNAUTHORIZED, "a name and a password are needed\n");
            set(&mut response, header::WWW_AUTHENTICATE, "Basic realm=\"seabed\", charset=\"UTF-8\"");
            return response;
        }
        Verdict::NotMe => {
            return plain(
                StatusCode::FORBIDDEN,
                "this server is asked by another name than its own; without a password it answers only to that\n",
            );
        }
        Verdict::Elsewhere => return plain(StatusCode::FORBIDDEN, "a page of another site asks for this; open it by itself\n"),
    }
    let (head, body) = request.into_parts();
    let is_propfind = head.method.as_str() == "PROPFIND";
    if head.method == Method::OPTIONS {
        let mut response = Response::new(Body::empty());
        set(&mut response, header::ALLOW, ALLOWED);
        set(&mut response, HeaderName::from_static("dav"), "1");
        set(&mut response, HeaderName::from_static("ms-author-via"), "DAV");
        return response;
    }
    if !(is_propfind || head.method == Method::GET || head.method == Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "snapshots do not change: this server only reads\n");
        set(&mut response, header::ALLOW, ALLOWED);
        // What was sent with it is not read.
        set(&mut response, header::CONNECTION, "close");
        return response;
    }
    let Some(names) = paths::names(head.uri.path()) else { return plain(StatusCode::BAD_REQUEST, "this is no path\n") };
    let work: Box<dyn FnOnce() -> Response<Body> + Send> = if is_propfind {
        let document = match tokio::time::timeout(DOCUMENT_PATIENCE, document(body)).await {
            Ok(Ok(document)) => document,
            Ok(Err(status)) => return plain(status, "the document is too long or broken\n"),
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the document did not come\n"),
        };
        let depth = match head.headers.get("depth").map(HeaderValue::as_bytes) {
            Some(b"0") => 0,
            Some(b"1") => 1,
            _ => return finite_depth(),
        };
        let Some(asked) = parse(&document) else { return plain(StatusCode::BAD_REQUEST, "the document makes no sense\n") };
        Box::new(move || properties(&view, names, depth, asked))
    } else {
        Box::new(move || content(&view, names, &head))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(response) => response,
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong\n"),
    }
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::text(text));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

/// Trees of millions are not told in one answer (RFC 4918, 9.1).
fn finite_depth() -> Response<Body> {
    let text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:error xmlns:D=\"DAV:\"><D:propfind-finite-depth/></D:error>\n";
    let mut response = plain(StatusCode::FORBIDDEN, text);
    set(&mut response, header::CONTENT_TYPE, "application/xml; charset=utf-8");
    response
}

/// The document that comes with a request.
async fn document(mut body: Incoming) -> std::result::Result<String, StatusCode> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > DOCUMENT_BYTES_MAX {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            bytes.extend_from_slice(&data);
        }
    }
    String::from_utf8(bytes).map_err(|_| StatusCode::BAD_REQUEST)
}

/// What the names lead to, or what to say instead.
fn found(view: &View, names: &[Vec<u8>]) -> std::result::Result<(Node, Attributes), Box<Response<Body>>> {
    match paths::find(view, names) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(Box::new(plain(StatusCode::NOT_FOUND, "there is nothing here\n"))),
        Err(_) => Err(Box::new(damaged())),
    }
}

/// What exactly is wrong was said where the server runs: clients are not told what a repository looks like inside.
fn damaged() -> Response<Body> {
    plain(StatusCode::INTERNAL_SERVER_ERROR, "this part of the snapshot cannot be read\n")
}

fn content(view: &Arc<View>, names: Vec<Vec<u8>>, head: &Parts) -> Response<Body> {
    let (node, attributes) = match found(view, &names) {
        Ok(found) => found,
        Err(response) => return *response,
    };
    match attributes.kind {
        EntryKind::Directory if head.uri.path().ends_with('/') => listing(view, node, names, head),
        EntryKind::Directory => {
            let mut response = plain(StatusCode::MOVED_PERMANENTLY, "directories end in /\n");
            set(&mut response, header::LOCATION, &address(&names, true));
            response
        }
        EntryKind::File => file(view, &node, &attributes, names.last().map_or(&b""[..], |name| name), head),
        _ => plain(StatusCode::FORBIDDEN, "this is no file\n"),
    }
}

fn file(view: &Arc<View>, node: &Node, attributes: &Attributes, name: &[u8], head: &Parts) -> Response<Body> {
    let headers = &head.headers;
    let (tag, modified) = (tag(node, attributes), time::http(&attributes.mtime));
    let mut response = Response::new(Body::empty());
    set(&mut response, header::ETAG, &tag);
    set(&mut response, header::LAST_MODIFIED, &modified);
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    if has_it(headers, &tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let opened = match view.open(node) {
        Ok(Some(opened)) => opened,
        Ok(None) => return plain(StatusCode::NOT_FOUND, "there is nothing here\n"),
        Err(_) => return damaged(),
    };
    let bytes = opened.bytes();
    let (from, to) = match part(headers, &tag, &modified, bytes) {
        Part::Whole => (0, bytes),
        Part::Some(from, to) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut response, header::CONTENT_RANGE, &format!("bytes {from}-{}/{bytes}", to - 1));
            (from, to)
        }
        Part::Nowhere => {
            let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, "the file ends before that\n");
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{bytes}"));
            return response;
        }
    };
    set(&mut response, header::CONTENT_TYPE, content_type(name));
    set(&mut response, header::CONTENT_LENGTH, &(to - from).to_string());
    // Whatever a snapshot holds, it runs nothing here.
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'");
    if head.method == Method::HEAD {
        return response;
    }
    let view = view.clone();
    *response.body_mut() = Body::made(move |pieces| {
        let mut at = from;
        while at < to {
            let wanted = usize::try_from(to - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let piece = view.read(&opened, at, wanted).map_err(|_| Error::other("it cannot be read"))?;
            if piece.is_empty() {
                return Err(Error::from(ErrorKind::UnexpectedEof));
            }
            at += piece.len() as u64;
            pieces.send(piece)?;
        }
        Ok(())
    });
    response
}

/// Gives all names of a directory to `each`; whether some are missing.
fn all(view: &View, node: &Node, mut each: impl FnMut(&Listed) -> std::io::Result<()>) -> std::io::Result<bool> {
    let mut given = Ok(());
    let end = Directory::new(node.clone()).list(view, 0, |_, listed| {
        given = each(listed);
        given.is_ok()
    });
    given.map(|()| end == End::Torn)
}

fn listing(view: &Arc<View>, node: Node, names: Vec<Vec<u8>>, head: &Parts) -> Response<Body> {
    let view = view.clone();
    let made = move |pieces: &Pieces| {
        let mut text = Text::new(pieces);
        page::begin(&mut text, &names)?;
        let is_torn = all(&view, &node, |listed| page::push(&mut text, listed))?;
        page::end(&mut text, is_torn)?;
        text.finish()
    };
    let mut response = Response::new(if head.method == Method::HEAD { Body::empty() } else { Body::made(made) });
    set(&mut response, header::CONTENT_TYPE, "text/html; charset=utf-8");
    set(&mut response, header::CONTENT_SECURITY_POLICY, page::POLICY);
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn properties(view: &Arc<View>, names: Vec<Vec<u8>>, depth: u8, asked: Asked) -> Response<Body> {
    let (node, attributes) = match found(view, &names) {
        Ok((_, attributes)) if !matches!(attributes.kind, EntryKind::File | EntryKind::Directory) => {
            return plain(StatusCode::FORBIDDEN, "this is no file\n");
        }
        Ok(found) => found,
        Err(response) => return *response,
    };
    let view = view.clone();
    let mut response = Response::new(Body::made(move |pieces| {
        let mut text = Text::new(pieces);
        multistatus::begin(&mut text)?;
        let name = names.last().map_or(&b""[..], |name| name);
        let is_dir = attributes.kind == EntryKind::Directory;
        let own = Item { address: address(&names, is_dir), name, node: &node, attributes: &attributes };
        multistatus::push(&mut text, &own, &asked)?;
        if depth > 0 && is_dir {
            let is_torn = all(&view, &node, |listed| below(&view, &names, listed, &mut text, &asked))?;
            if is_torn {
                // A program would take a shorter list for the whole one.
                return Err(Error::other("some names cannot be read"));
            }
        }
        multistatus::end(&mut text)?;
        text.finish()
    }));
    *response.status_mut() = StatusCode::MULTI_STATUS;
    set(&mut response, header::CONTENT_TYPE, "application/xml; charset=utf-8");
    response
}

/// One name of a directory as programs see it. The protocol knows only files and directories: a link is what it leads to. One to a directory
/// within a snapshot is left out, or whoever goes through all of it would go in circles; its address works all the same.
fn below(view: &View, names: &[Vec<u8>], listed: &Listed, text: &mut Text<'_>, asked: &Asked) -> std::io::Result<()> {
    let way = || [names, std::slice::from_ref(&listed.name)].concat();
    let (node, attributes) = match listed.attributes.kind {
        EntryKind::File | EntryKind::Directory => (listed.node.clone(), listed.attributes.clone()),
        EntryKind::Symlink => match shown(view, &way(), listed.node.is_lasting()) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(_) => return Err(Error::other("a link cannot be read")),
        },
        _ => return Ok(()),
    };
    let is_dir = attributes.kind == EntryKind::Directory;
    let item = Item { address: address(&way(), is_dir), name: &listed.name, node: &node, attributes: &attributes };
    multistatus::push(text, &item, asked)
}

fn shown(view: &View, way: &[Vec<u8>], is_in_snapshot: bool) -> Result<Option<(Node, Attributes)>> {
    let found = paths::find(view, way)?;
    Ok(found.filter(|(_, attributes)| match attributes.kind {
        EntryKind::File => true,
        EntryKind::Directory => !is_in_snapshot,
        _ => false,
    }))
}
