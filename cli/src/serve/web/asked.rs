//! What a PROPFIND asks for (RFC 4918, 14.20). The document comes from anybody: nothing in it is expanded, and what it may nest and name is bounded.

use xmlparser::{ElementEnd, Token, Tokenizer};

/// The name space of WebDAV.
pub const DAV: &str = "DAV:";
/// Elements within each other; ours are three.
const DEPTH_MAX: usize = 32;
/// Properties that one request may name.
const NAMES_MAX: usize = 128;
/// Declarations of name spaces that are in force at a time.
const SPACES_MAX: usize = 128;

/// A property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name space; empty for none.
    pub space: String,
    /// Its name.
    pub name: String,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All properties.
    All,
    /// Which properties there are.
    Names,
    /// These.
    These(Vec<Property>),
}

/// An element whose attributes are being read.
struct Open<'t> {
    prefix: &'t str,
    name: &'t str,
    /// How many declarations were in force outside of it.
    outside: usize,
}

/// Reads the document; an empty one asks for all. `None` for one that is not what it should be.
pub fn parse(document: &str) -> Option<Asked> {
    if document.trim().is_empty() {
        return Some(Asked::All);
    }
    let mut spaces: Vec<(&str, &str)> = Vec::new();
    let mut elements: Vec<Open<'_>> = Vec::new();
    let mut open: Option<Open<'_>> = None;
    let mut asked = None;
    let mut is_over = false;
    for token in Tokenizer::from(document) {
        match token.ok()? {
            Token::ElementStart { prefix, local, .. } => {
                if is_over || elements.len() >= DEPTH_MAX {
                    return None;
                }
                open = Some(Open { prefix: prefix.as_str(), name: local.as_str(), outside: spaces.len() });
            }
            Token::Attribute { prefix, local, value, .. } => {
                let declared = match (prefix.as_str(), local.as_str()) {
                    ("", "xmlns") => "",
                    ("xmlns", name) => name,
                    _ => continue,
                };
                if spaces.len() >= SPACES_MAX || value.as_str().contains('&') {
                    return None;
                }
                spaces.push((declared, value.as_str()));
            }
            Token::ElementEnd { end: ElementEnd::Close(prefix, name), .. } => {
                let closed = elements.pop().filter(|open| open.prefix == prefix.as_str() && open.name == name.as_str())?;
                spaces.truncate(closed.outside);
                is_over = elements.is_empty();
            }
            Token::ElementEnd { end, .. } => {
                let element = open.take()?;
                let space = match spaces.iter().rev().find(|(prefix, _)| *prefix == element.prefix) {
                    Some((_, space)) => *space,
                    None if element.prefix.is_empty() => "",
                    None => return None,
                };
                take(&mut asked, elements.len(), space, element.name)?;
                if matches!(end, ElementEnd::Empty) {
                    spaces.truncate(element.outside);
                    is_over = elements.is_empty();
                } else {
                    elements.push(element);
                }
            }
            Token::DtdStart { .. } | Token::EmptyDtd { .. } | Token::EntityDeclaration { .. } | Token::DtdEnd { .. } => return None,
            _ => {}
        }
    }
    asked.filter(|_| is_over)
}

/// Takes in an element that lies in so many others; `None` where it cannot be there.
fn take(asked: &mut Option<Asked>, depth: usize, space: &str, name: &str) -> Option<()> {
    match (depth, space, name) {
        (0, DAV, "propfind") => {}
        (0, ..) => return None,
        (1, DAV, "allprop") => *asked = Some(Asked::All),
        (1, DAV, "propname") => *asked = Some(Asked::Names),
        (1, DAV, "prop") => *asked = Some(Asked::These(Vec::new())),
        (2, space, name) => {
            if let Some(Asked::These(these)) = asked {
                (these.len() < NAMES_MAX).then_some(())?;
                these.push(Property { space: space.to_owned(), name: name.to_owned() });
            }
        }
        // What a later version of the protocol may add.
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(names: &[(&str, &str)]) -> Option<Asked> {
        let property = |(space, name): &(&str, &str)| Property { space: (*space).into(), name: (*name).into() };
        Some(Asked::These(names.iter().map(property).collect()))
    }

    #[test]
    fn clients_ask_in_their_own_words() {
        assert_eq!(parse(""), Some(Asked::All));
        assert_eq!(parse("<propfind xmlns='DAV:'><allprop/></propfind>"), Some(Asked::All));
        assert_eq!(parse("<?xml version=\"1.0\"?>\n<D:propfind xmlns:D=\"DAV:\"><D:propname/></D:propfind>\n"), Some(Asked::Names));
        let rclone = r#"<?xml version="1.0" ?><d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop><d:displayname/>
            <d:getlastmodified></d:getlastmodified><oc:checksums/><x xmlns="u:x"/><y/></d:prop></d:propfind>"#;
        let want = [(DAV, "displayname"), (DAV, "getlastmodified"), ("http://owncloud.org/ns", "checksums"), ("u:x", "x"), ("", "y")];
        assert_eq!(parse(rclone), these(&want));
        assert_eq!(parse("<a:propfind xmlns:a='DAV:'><a:prop><b:c xmlns:b='b:'/></a:prop></a:propfind>"), these(&[("b:", "c")]));
    }

    #[test]
    fn documents_that_are_something_else_are_refused() {
        let deep = format!("<a xmlns='DAV:'>{}", "<b>".repeat(100_000));
        let many = format!("<propfind xmlns='DAV:'><prop>{}</prop></propfind>", "<p/>".repeat(200));
        let bomb = "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><propfind xmlns='DAV:'><prop>&a;</prop></propfind>";
        let spaces: String = (0..200).map(|n| format!(" xmlns:n{n}='x:'")).collect();
        let spaces = format!("<propfind xmlns='DAV:'{spaces}><allprop/></propfind>");
        for bad in [
            "x",
            "<propfind/>",
            "<propfind xmlns='other:'><allprop/></propfind>",
            "<propfind xmlns='DAV:'>",
            "<propfind xmlns='DAV:'><allprop></propfind></allprop>",
            "<propfind xmlns='DAV:'><x:allprop/></propfind>",
            "<propfind xmlns='DAV:'/>",
            "<propfind xmlns='DAV:'><allprop/></propfind><propfind xmlns='DAV:'/>",
            bomb,
            &deep,
            &many,
            &spaces,
        ] {
            assert_eq!(parse(bad), None, "{bad:.80}");
        }
    }
}
