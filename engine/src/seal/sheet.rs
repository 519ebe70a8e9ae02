//! Recovery sheets as text (spec chapter 3): numbered lines of letters that people can copy from paper, each with a check of its own, so that
//! a typing error is named by its line. It must never panic on what was typed, and believes nothing before the sum over all fits.

use crate::error::{Error, Result, SheetFlaw};
use crate::format::repo::{Descriptor, SHEET_VERSION, Sheet};
use crate::format::wire::{Malformed, from_bytes, to_bytes};
use crate::id::ObjectName;
use crate::limits::{SHEET_BYTES_MAX, SHEET_LINES_MAX, SHEET_TEXT_BYTES_MAX};
use crate::seal::Key;
use crate::seal::key::{Keys, Secret};
use crate::seal::object::decode_descriptor;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Crockford's: without I, L, O and U, which are taken for others or make words.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Bytes in one line, all but the last.
const LINE_BYTES: usize = 25;
/// Letters of these.
const LINE_LETTERS: usize = 40;
/// Letters of a line's check: 20 bits.
const CHECK_LETTERS: usize = 4;
/// Letters that stand together in what people read.
const GROUP: usize = 5;
/// Bytes of the sum over all.
const SUM_BYTES: usize = 8;

fn value(letter: char) -> Option<u8> {
    let letter = match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let at = ALPHABET.iter().position(|known| char::from(*known) == letter)?;
    u8::try_from(at).ok()
}

fn letter(value: u8) -> char {
    ALPHABET.get(usize::from(value & 31)).map_or('0', |letter| char::from(*letter))
}

/// Five bits at a time, the first bit first; the last letter is filled up with zeros.
fn letters(bytes: &[u8]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(5) * 8));
    let (mut have, mut bits) = (0u32, 0u32);
    for byte in bytes {
        (have, bits) = (have << 8 | u32::from(*byte), bits + 8);
        while bits >= 5 {
            bits -= 5;
            out.push(letter((have >> bits & 31) as u8));
        }
        have &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(letter((have << (5 - bits) & 31) as u8));
    }
    out
}

/// The bytes of these values; `None` where what fills up the last letter is not zero.
fn bytes(values: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(values.len() * 5 / 8));
    let (mut have, mut bits) = (0u32, 0u32);
    for value in values {
        (have, bits) = (have << 5 | u32::from(*value), bits + 5);
        if bits >= 8 {
            bits -= 8;
            out.push((have >> bits & 255) as u8);
        }
        have &= (1 << bits) - 1;
    }
    (have == 0 && bits < 5).then_some(out)
}

/// The check of a line: of its number too, so that two lines that change places are seen.
fn check(number: u16, data: &[u8]) -> [u8; CHECK_LETTERS] {
    let mut input = Zeroizing::new(number.to_le_bytes().to_vec());
    input.extend_from_slice(data);
    let [a, b, c, ..] = blake3::derive_key("seabed v1 sheet line", &input);
    let bits = u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c);
    [19, 14, 9, 4].map(|top| (bits >> top & 31) as u8)
}

fn sum(length: [u8; 2], body: &[u8]) -> [u8; SUM_BYTES] {
    let input = Zeroizing::new([&length[..], body].concat());
    let [a, b, c, d, e, f, g, h, ..] = blake3::derive_key("seabed v1 sheet sum", &input);
    [a, b, c, d, e, f, g, h]
}

/// A sheet's lines as scanners give them back, `07:` and letters without blanks: what QR codes hold.
pub fn lines(sheet: &Sheet) -> Result<Vec<Zeroizing<String>>> {
    let body = Zeroizing::new(to_bytes(sheet));
    let length = u16::try_from(body.len()).ok().filter(|_| body.len() <= SHEET_BYTES_MAX).ok_or_else(|| Error::Refused {
        what: format!("there are too many slots and epochs for a recovery sheet: {} bytes, {SHEET_BYTES_MAX} are the most", body.len()),
    })?;
    let length = length.to_le_bytes();
    let payload = Zeroizing::new([&length[..], &body, &sum(length, &body)].concat());
    let line = |(number, part): (u16, &[u8])| {
        let data = letters(part);
        let values: Zeroizing<Vec<u8>> = Zeroizing::new(data.chars().filter_map(value).collect());
        let check: String = check(number, &values).into_iter().map(letter).collect();
        Zeroizing::new(format!("{number:02}:{}{check}", data.as_str()))
    };
    Ok((1..).zip(payload.chunks(LINE_BYTES)).map(line).collect())
}

/// A line as people read it: in groups, the check by itself.
pub fn spaced(line: &str) -> Zeroizing<String> {
    let (number, rest) = line.split_once(':').unwrap_or(("", line));
    let (data, check) = rest.split_at_checked(rest.len().saturating_sub(CHECK_LETTERS)).unwrap_or((rest, ""));
    let mut out = Zeroizing::new(format!("{number}: "));
    for (at, letter) in data.chars().enumerate() {
        if at > 0 && at % GROUP == 0 {
            out.push(' ');
        }
        out.push(letter);
    }
    out.push_str("  ");
    out.push_str(check);
    out
}

/// The number before a line's colon. Letters that look like digits are these.
fn number(text: &str) -> Option<u16> {
    let text = text.trim();
    let digits: Option<String> = text.chars().map(|c| value(c).filter(|v| *v < 10).map(letter)).collect();
    digits
        .filter(|digits| (1..=3).contains(&digits.len()))?
        .parse()
        .ok()
        .filter(|number| (1..=SHEET_LINES_MAX).contains(&usize::from(*number)))
}

/// The numbered lines of a text. All else is for people, and passed over. A slash ends a line too: QR codes have no other end.
fn numbered(text: &str) -> impl Iterator<Item = (u16, &str)> {
    let lines = text.split(['\n', '\r', '/']);
    lines.filter_map(|line| line.split_once(':')).filter_map(|(before, rest)| Some((number(before)?, rest)))
}

/// Whether a text is meant to be a sheet, or some of its QR codes.
pub fn is_meant(text: &str) -> bool {
    text.len() <= SHEET_TEXT_BYTES_MAX && numbered(text).next().is_some()
}

/// Reads a sheet that was typed or scanned: lines in any order, once or several times, blanks and case as they come.
pub fn parse(text: &str) -> Result<Sheet> {
    read(text).map_err(|flaw| Error::Sheet { flaw })
}

fn read(text: &str) -> Result<Sheet, SheetFlaw> {
    if text.len() > SHEET_TEXT_BYTES_MAX {
        return Err(SheetFlaw::NotOne);
    }
    let mut lines: BTreeMap<u16, Zeroizing<Vec<u8>>> = BTreeMap::new();
    let mut wrong: Option<u16> = None;
    for (number, rest) in numbered(text) {
        let values: Option<Vec<u8>> = rest.chars().filter(|c| !c.is_whitespace() && *c != '-').map(value).collect();
        let values = Zeroizing::new(values.unwrap_or_default());
        let right = values
            .split_last_chunk::<CHECK_LETTERS>()
            .filter(|(data, last)| !data.is_empty() && data.len() <= LINE_LETTERS && **last == check(number, data));
        match right {
            // Once mistyped and once right is right.
            Some((data, _)) => drop(lines.insert(number, Zeroizing::new(data.to_vec()))),
            None => wrong = Some(wrong.map_or(number, |other| other.min(number))),
        }
    }
    let wrong = wrong.filter(|number| !lines.contains_key(number));
    if lines.is_empty() && wrong.is_none() {
        return Err(SheetFlaw::NotOne);
    }
    // The first that is wrong or not there, in the order in which a person looks.
    let first_gap = (1..).zip(lines.keys()).find(|(should, number)| should != *number).map(|(should, _)| should);
    let next = first_gap.unwrap_or(u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(1));
    if let Some(wrong) = wrong.filter(|wrong| *wrong <= next || first_gap.is_none()) {
        return Err(SheetFlaw::Line(wrong));
    }
    if let Some(gap) = first_gap {
        return Err(SheetFlaw::Missing(gap));
    }
    let (mut payload, count) = (Zeroizing::new(Vec::new()), lines.len());
    for (number, data) in &lines {
        let part = bytes(data).ok_or(SheetFlaw::Line(*number))?;
        // Only the last one may be short: else what follows would not stand where it did.
        if usize::from(*number) < count && part.len() != LINE_BYTES {
            return Err(SheetFlaw::Line(*number));
        }
        payload.extend_from_slice(&part);
    }
    let (length, rest) = payload.split_first_chunk::<2>().ok_or(SheetFlaw::Sum)?;
    let should = usize::from(u16::from_le_bytes(*length)) + SUM_BYTES;
    if rest.len() < should {
        return Err(SheetFlaw::Missing(next));
    }
    let (body, have) = rest.split_last_chunk::<SUM_BYTES>().filter(|_| rest.len() == should).ok_or(SheetFlaw::Sum)?;
    if *have != sum(*length, body) {
        return Err(SheetFlaw::Sum);
    }
    let sheet: Sheet = from_bytes(body, "sheet").map_err(|malformed| match malformed {
        Malformed::Field(field) => SheetFlaw::Malformed(field),
        Malformed::Critical(_) => SheetFlaw::Newer(SHEET_VERSION + 1),
    })?;
    if sheet.version != SHEET_VERSION { Err(SheetFlaw::Newer(sheet.version)) } else { Ok(sheet) }
}

impl Sheet {
    /// The secret of the slot that was made for it.
    pub fn secret(&self) -> Option<Secret> {
        self.slot.as_ref().map(|slot| Secret::KeyFile(Key::new(slot.key)))
    }

    /// Its descriptor and its keys, which must be of one repository.
    pub fn open(&self) -> Result<(Descriptor, Keys)> {
        let flaw = |field| Error::Sheet { flaw: SheetFlaw::Malformed(field) };
        let name = ObjectName::descriptor();
        let (descriptor, mac) = decode_descriptor(&name, &self.descriptor.0).map_err(|_| flaw("descriptor"))?;
        let keys = Keys::from_set(&name, &self.keys, self.epoch).map_err(|_| flaw("keys"))?;
        mac.verify(keys.require(&name, crate::format::object::Purpose::Gear, 0)?).map_err(|_| flaw("descriptor"))?;
        if keys.family != descriptor.family || !keys.is_full() {
            return Err(flaw("keys"));
        }
        Ok((descriptor, keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Profile;
    use crate::format::object::Purpose;
    use crate::format::repo::{CHUNKER_GEAR, SheetSlot};
    use crate::format::wire::{Bytes, Time};
    use crate::id::{ObjectId, RepositoryId};
    use crate::seal::object::encode_descriptor;

    fn sheet() -> Sheet {
        let keys = Keys::generate().unwrap();
        let descriptor = Descriptor {
            repository: RepositoryId::new([1; 16]),
            family: keys.family,
            chunker: CHUNKER_GEAR,
            profiles: Profile::default_sizes(),
            created: Time::default(),
            extra: vec![],
        };
        let descriptor = Bytes(encode_descriptor(&descriptor, keys.get(Purpose::Gear, 0).unwrap()));
        let slot = Some(SheetSlot { slot: ObjectId::new([5; 16]), key: [6; 32], extra: vec![] });
        Sheet { version: SHEET_VERSION, descriptor, epoch: 1, keys: keys.to_set(), slot, created: Time::default(), extra: vec![] }
    }

    fn text(sheet: &Sheet) -> String {
        let lines: Vec<String> = lines(sheet).unwrap().iter().map(|line| spaced(line).to_string()).collect();
        format!("A sheet: for people/and others\n\n{}\n", lines.join("\n"))
    }

    fn flaw(text: &str) -> SheetFlaw {
        match parse(text) {
            Err(Error::Sheet { flaw }) => flaw,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn letters_and_bytes_come_back() {
        for length in 0..60u8 {
            let some: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37).wrapping_add(length)).collect();
            let letters = letters(&some);
            let values: Vec<u8> = letters.chars().map(|c| value(c).unwrap()).collect();
            assert_eq!(bytes(&values).unwrap().as_slice(), some);
        }
    }

    #[test]
    fn a_sheet_comes_back_however_it_is_typed() {
        let sheet = sheet();
        let text = text(&sheet);
        assert_eq!(parse(&text).unwrap(), sheet);
        sheet.open().unwrap();
        let mut shuffled: Vec<&str> = text.lines().collect();
        shuffled.reverse();
        assert_eq!(parse(&shuffled.join("\r\n").to_lowercase()).unwrap(), sheet);
        assert_eq!(parse(&text.replace('0', "o").replace('1', "l")).unwrap(), sheet);
        assert_eq!(parse(&text.replace(' ', "-").replace('\n', "\n\n \t")).unwrap(), sheet);
        let scanned: Vec<String> = lines(&sheet).unwrap().iter().map(|line| line.to_string()).collect();
        assert_eq!(parse(&scanned.join("/")).unwrap(), sheet);
        // A line that was mistyped and typed again below.
        assert_eq!(parse(&format!("01: 2345\n{text}")).unwrap(), sheet);
        assert!(is_meant(&text) && is_meant(&scanned.join("/")));
        assert!(!is_meant(&"a1".repeat(32)) && !is_meant("correct horse: battery staple"));
    }

    #[test]
    fn a_typing_error_is_named_by_its_line() {
        let text = text(&sheet());
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.iter().position(|line| line.starts_with("01:")).unwrap();
        for at in first..lines.len() {
            let number = u16::try_from(at - first + 1).unwrap();
            for (place, c) in lines[at].char_indices().skip(4).filter(|(_, c)| *c != ' ') {
                let mut wrong: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                let other = if c == 'Z' { "Y" } else { "Z" };
                wrong[at].replace_range(place..place + 1, other);
                assert_eq!(flaw(&wrong.join("\n")), SheetFlaw::Line(number), "{}", wrong[at]);
                if place % 7 == 0 {
                    wrong[at].remove(place);
                    assert_eq!(flaw(&wrong.join("\n")), SheetFlaw::Line(number), "{}", wrong[at]);
                    wrong.remove(at);
                    assert_eq!(flaw(&wrong.join("\n")), SheetFlaw::Missing(number));
                }
            }
        }
        // Two lines that changed places, and two sheets that were mixed.
        let swapped = text.replacen("03:", "xx:", 1).replacen("04:", "03:", 1).replacen("xx:", "04:", 1);
        assert_eq!(flaw(&swapped), SheetFlaw::Line(3));
        let other = super::tests::text(&sheet());
        let mixed: Vec<&str> = text.lines().zip(other.lines()).map(|(a, b)| if a.starts_with("07:") { b } else { a }).collect();
        assert_eq!(flaw(&mixed.join("\n")), SheetFlaw::Sum);
        assert_eq!(flaw("nothing"), SheetFlaw::NotOne);
        assert_eq!(flaw(&"01:".repeat(SHEET_TEXT_BYTES_MAX)), SheetFlaw::NotOne);
    }

    #[test]
    fn a_sheet_of_another_repository_or_version_is_refused() {
        let (one, other) = (sheet(), sheet());
        let mixed = Sheet { keys: other.keys, ..one.clone() };
        assert!(mixed.open().is_err());
        assert!(Sheet { epoch: 2, ..one.clone() }.open().is_err(), "keys of its newest epoch are not there");
        let newer = Sheet { version: 2, ..one.clone() };
        assert_eq!(flaw(&text(&newer)), SheetFlaw::Newer(2));
        let far = Sheet { descriptor: Bytes(vec![0; SHEET_BYTES_MAX]), ..one };
        assert!(lines(&far).is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_is_typed_never_panics(noise in "[0-9:/ A-Za-z\\-\n]{0,400}", any in ".{0,200}", at in 0usize..2000, with in ".") {
            drop(parse(&noise));
            drop(parse(&any));
            let text = text(&sheet());
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            drop(parse(&format!("{}{with}{}", &text[..at], &text[at..])));
            drop(parse(&text[..at]));
        }
    }
}
