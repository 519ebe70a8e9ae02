//! An answer before it is sent.
//! It must never know about connections: how an answer is sent, cut or dripped is the wire's.

use super::xml;
use hyper::body::Bytes;

/// Status, headers and body.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    pub(super) fn empty(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn body(status: u16, kind: &str, text: &str) -> Reply {
        Reply { body: Bytes::copy_from_slice(text.as_bytes()), ..Reply::empty(status).header("content-type", kind) }
    }

    pub(super) fn xml(text: &str) -> Reply {
        Reply::body(200, "application/xml", &format!("{}{text}", xml::DECLARATION))
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Reply {
        Reply::error_with(status, code, message, "")
    }

    /// With further elements, which are XML already.
    pub(super) fn error_with(status: u16, code: &str, message: &str, more: &str) -> Reply {
        let (code, message) = (xml::escape(code), xml::escape(message));
        let text = format!("<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>");
        Reply { status, ..Reply::xml(&text) }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}
