//! Which part of a file a request asks for, and whether it has it already (RFC 9110). What cannot be understood is passed over, as it may be.

use hyper::HeaderMap;
use hyper::header::{IF_NONE_MATCH, IF_RANGE, RANGE};

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// From the first to before the second offset.
    Some(u64, u64),
    /// There is nothing there.
    Nowhere,
}

fn text(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// Whether the client has it: the tags of a file never come back with other content.
pub fn has_it(headers: &HeaderMap, tag: &str) -> bool {
    text(headers, IF_NONE_MATCH).is_some_and(|list| list == "*" || list.split(',').any(|one| one.trim().trim_start_matches("W/") == tag))
}

/// The part of a file of `bytes` bytes that is asked for. Several parts at once are answered with all of it.
pub fn part(headers: &HeaderMap, tag: &str, modified: &str, bytes: u64) -> Part {
    let Some(range) = text(headers, RANGE) else { return Part::Whole };
    if text(headers, IF_RANGE).is_some_and(|known| known != tag && known != modified) {
        return Part::Whole;
    }
    let Some((from, to)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else { return Part::Whole };
    let number = |text: &str| text.trim().parse::<u64>().ok().filter(|_| text.trim().bytes().all(|b| b.is_ascii_digit()));
    match (from.trim(), to.trim()) {
        ("", last) => match number(last) {
            Some(0) => Part::Nowhere,
            Some(last) if bytes > 0 => Part::Some(bytes.saturating_sub(last), bytes),
            Some(_) => Part::Nowhere,
            None => Part::Whole,
        },
        (from, to) => match (number(from), if to.is_empty() { Some(u64::MAX) } else { number(to) }) {
            (Some(from), Some(to)) if from <= to => {
                if from < bytes {
                    Part::Some(from, to.saturating_add(1).min(bytes))
                } else {
                    Part::Nowhere
                }
            }
            _ => Part::Whole,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn asked(range: &str, bytes: u64) -> Part {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_str(range).unwrap());
        part(&headers, "\"t\"", "then", bytes)
    }

    #[test]
    fn parts_are_as_the_standard_says() {
        assert_eq!(asked("bytes=0-0", 10), Part::Some(0, 1));
        assert_eq!(asked("bytes=2-", 10), Part::Some(2, 10));
        assert_eq!(asked("bytes=2-100", 10), Part::Some(2, 10));
        assert_eq!(asked("bytes=-3", 10), Part::Some(7, 10));
        assert_eq!(asked("bytes=-30", 10), Part::Some(0, 10));
        assert_eq!(asked(&format!("bytes=0-{}", u64::MAX), 10), Part::Some(0, 10));
        for nowhere in ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=99999999999999-"] {
            assert_eq!(asked(nowhere, 10), Part::Nowhere, "{nowhere}");
        }
        assert_eq!((asked("bytes=-1", 0), asked("bytes=0-", 0)), (Part::Nowhere, Part::Nowhere));
        for other in
            ["bytes=0-1,3-4", "bytes=a-b", "bytes=5-2", "lines=1-2", "bytes", "bytes=+1-2", "bytes=-", "bytes=99999999999999999999-"]
        {
            assert_eq!(asked(other, 10), Part::Whole, "{other}");
        }
    }

    #[test]
    fn a_part_of_something_else_is_not_sent() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=1-2"));
        for (known, want) in [("\"t\"", Part::Some(1, 3)), ("then", Part::Some(1, 3)), ("\"u\"", Part::Whole), ("W/\"t\"", Part::Whole)] {
            headers.insert(IF_RANGE, HeaderValue::from_static(known));
            assert_eq!(part(&headers, "\"t\"", "then", 10), want, "{known}");
        }
        for (known, want) in [("\"t\"", true), ("\"a\", W/\"t\"", true), ("*", true), ("\"a\"", false), ("t", false)] {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(known));
            assert_eq!(has_it(&headers, "\"t\""), want, "{known}");
        }
    }
}
