//! Extended records (`LENGTH KEY=VALUE\n`): reading them from a header's body, writing them, and the numbers and times in them.
//! Values are bytes: what a name means is not decided here.

use crate::format::wire::Time;

/// A record that is none.
#[derive(Debug, PartialEq, Eq)]
pub struct BadRecord;

/// Key and value of each record of a body, in order. Ends with the first that is none.
pub fn records(mut rest: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), BadRecord>> {
    std::iter::from_fn(move || {
        // Some writers fill up the block with zeros inside the stated length.
        if rest.iter().all(|b| *b == 0) {
            return None;
        }
        let record = one(rest);
        rest = record.map_or(&[], |(_, _, rest)| rest);
        Some(record.map(|(key, value, _)| (key, value)).ok_or(BadRecord))
    })
}

fn one(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = rest.iter().take(20).position(|b| *b == b' ')?;
    let bytes = usize::try_from(decimal(&rest[..blank])?).ok()?;
    let (record, rest) = rest.split_at_checked(bytes)?;
    let body = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    (equals > 0).then_some((&body[..equals], &body[equals + 1..], rest))
}

/// A number of decimal digits and nothing else.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// A time: seconds, with a sign and a fraction where there is one. What is finer than nanoseconds is cut.
pub fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.iter().position(|b| *b == b'.').map_or((text, &b""[..]), |at| (&text[..at], &text[at + 1..]));
    let secs = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9).fold(0, |sum, at| sum * 10 + u32::from(fraction.get(at).map_or(0, |digit| digit - b'0')));
    Some(match (negative, nanos) {
        (false, _) => Time { secs, nanos },
        (true, 0) => Time { secs: -secs, nanos: 0 },
        (true, _) => Time { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// A time as it stands in a record.
pub fn time_text(time: &Time) -> String {
    let Time { secs, nanos } = *time;
    if nanos == 0 {
        return secs.to_string();
    }
    let (sign, secs, nanos) = if secs < 0 { ("-", -(secs + 1), 1_000_000_000 - nanos) } else { ("", secs, nanos) };
    format!("{sign}{secs}.{nanos:09}").trim_end_matches('0').to_owned()
}

/// Appends a record.
pub fn put(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    // The length counts its own digits: with one more of them it may need yet one more.
    let mut bytes = rest;
    loop {
        let with = rest + bytes.to_string().len();
        if with == bytes {
            break;
        }
        bytes = with;
    }
    out.extend_from_slice(bytes.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Name of an extended attribute as it stands behind `SCHILY.xattr.`, where `=` would end the key: in GNU tar's way.
pub fn quoted(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b'=' => out.extend_from_slice(b"%3D"),
            byte => out.push(*byte),
        }
    }
    out
}

/// What [`quoted`] made of a name; any other `%` stands for itself.
pub fn unquoted(name: &[u8]) -> Vec<u8> {
    decoded(name, |digits| match digits {
        b"25" => Some(b'%'),
        b"3D" | b"3d" => Some(b'='),
        _ => None,
    })
}

/// What a URL's `%XX` stand for: names of attributes in libarchive's records.
pub fn url_decoded(name: &[u8]) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    decoded(name, |[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
}

fn decoded(mut rest: &[u8], byte_of: impl Fn(&[u8; 2]) -> Option<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.first_chunk().filter(|_| *first == b'%').and_then(&byte_of);
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_count_themselves() {
        for bytes in [0, 1, 2, 90, 91, 92, 93, 94, 95, 985, 990, 991, 992, 993, 9990] {
            let mut out = Vec::new();
            put(&mut out, b"path", &vec![b'x'; bytes]);
            put(&mut out, b"k", b"");
            let found: Vec<_> = records(&out).map(Result::unwrap).collect();
            assert_eq!(found, [(&b"path"[..], &vec![b'x'; bytes][..]), (b"k", b"")]);
        }
    }

    #[test]
    fn records_that_lie_are_refused() {
        for bad in [
            &b"12 path=x\n"[..],
            b"8 path=x\n",
            b"10 path=xx",
            b"x path=x\n",
            b"10 =path=\n",
            b"6 abc\n",
            b"99999999999999999999999 a=b\n",
            b"0 \n",
            b"5 \n\n\n\n",
        ] {
            assert!(records(bad).any(|r| r.is_err()), "{:?}", bad.escape_ascii().to_string());
        }
        // A value may hold anything, line ends and zeros too.
        assert_eq!(records(b"11 a=\n\0=c\n\n").collect::<Vec<_>>(), [Ok((&b"a"[..], &b"\n\0=c\n"[..]))]);
    }

    #[test]
    fn times_have_signs_and_fractions() {
        let cases: [(&[u8], Option<(i64, u32)>); 10] = [
            (b"0", Some((0, 0))),
            (b"1700000000.5", Some((1_700_000_000, 500_000_000))),
            (b"1.0000000019", Some((1, 1))),
            (b"-1", Some((-1, 0))),
            (b"-1.25", Some((-2, 750_000_000))),
            (b"5.", Some((5, 0))),
            (b".5", None),
            (b"1e3", None),
            (b"99999999999999999999", None),
            (b"1.x", None),
        ];
        for (text, want) in cases {
            assert_eq!(time(text).map(|t| (t.secs, t.nanos)), want);
        }
    }

    proptest! {
        #[test]
        fn times_come_back(secs in any::<i32>(), nanos in 0u32..1_000_000_000) {
            let want = Time { secs: secs.into(), nanos };
            prop_assert_eq!(time(time_text(&want).as_bytes()), Some(want));
        }

        #[test]
        fn names_come_back(name in proptest::collection::vec(any::<u8>(), 0..20)) {
            prop_assert!(!quoted(&name).contains(&b'='));
            prop_assert_eq!(unquoted(&quoted(&name)), name);
        }

        #[test]
        fn any_bytes_are_records_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let n = records(&bytes).count();
            prop_assert!(n <= bytes.len());
            let _ = (unquoted(&bytes), url_decoded(&bytes), time(&bytes));
        }
    }
}
