//! CBOR as chapter 2 has it: definite lengths, maps with ascending integer keys, zeros behind the body.
//! It must never share code with the engine: what both read alike is what the spec says.

use crate::reader::Read;

/// Levels of nesting that are believed.
const DEPTH_MAX: usize = 16;

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An unsigned integer.
    Uint(u64),
    /// -1 - n.
    Negative(u64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// A map with integer keys.
    Map(Vec<(u64, Value)>),
    /// `false`, `true`.
    Bool(bool),
}

impl Value {
    /// Decodes the one item of `bytes`, behind which only zeros may stand.
    pub fn padded(bytes: &[u8]) -> Read<Value> {
        let (value, rest) = item(bytes, DEPTH_MAX)?;
        if rest.iter().any(|byte| *byte != 0) { Err("bytes behind a body".to_owned()) } else { Ok(value) }
    }

    /// Decodes the one item of `bytes`, behind which nothing may stand.
    pub fn whole(bytes: &[u8]) -> Read<Value> {
        let (value, rest) = item(bytes, DEPTH_MAX)?;
        if rest.is_empty() { Ok(value) } else { Err("bytes behind a body".to_owned()) }
    }

    /// What a map holds under `key`.
    pub fn get(&self, key: u64) -> Option<&Value> {
        let Value::Map(pairs) = self else { return None };
        pairs.iter().find(|(have, _)| *have == key).map(|(_, value)| value)
    }

    /// The same, where it must be there.
    pub fn field(&self, key: u64) -> Read<&Value> {
        self.get(key).ok_or_else(|| format!("no key {key}"))
    }

    /// An unsigned integer.
    pub fn uint(&self) -> Read<u64> {
        if let Value::Uint(n) = self { Ok(*n) } else { Err("not a number".to_owned()) }
    }

    /// A number under `key`, 0 where there is none.
    pub fn uint_or_0(&self, key: u64) -> Read<u64> {
        self.get(key).map_or(Ok(0), Value::uint)
    }

    /// A byte string.
    pub fn bytes(&self) -> Read<&[u8]> {
        if let Value::Bytes(bytes) = self { Ok(bytes) } else { Err("not a byte string".to_owned()) }
    }

    /// A byte string of `N` bytes.
    pub fn fixed<const N: usize>(&self) -> Read<[u8; N]> {
        self.bytes()?.try_into().map_err(|_| format!("not {N} bytes"))
    }

    /// An array.
    pub fn array(&self) -> Read<&[Value]> {
        if let Value::Array(items) = self { Ok(items) } else { Err("not an array".to_owned()) }
    }

    /// A byte string cut in ids of 32 bytes.
    pub fn ids(&self) -> Read<Vec<[u8; 32]>> {
        let (ids, rest) = self.bytes()?.as_chunks::<32>();
        if rest.is_empty() { Ok(ids.to_vec()) } else { Err("half an id".to_owned()) }
    }
}

fn take(bytes: &[u8], count: u64) -> Read<(&[u8], &[u8])> {
    let count = usize::try_from(count).map_err(|_| "a length that cannot be".to_owned())?;
    bytes.split_at_checked(count).ok_or_else(|| "cut short".to_owned())
}

fn item(bytes: &[u8], depth: usize) -> Read<(Value, &[u8])> {
    let depth = depth.checked_sub(1).ok_or("nested too deep")?;
    let (first, rest) = bytes.split_first().ok_or("cut short")?;
    let (major, short) = (first >> 5, first & 31);
    let (argument, mut rest) = match short {
        0..=23 => (u64::from(short), rest),
        24..=27 => {
            let (number, rest) = take(rest, 1 << (short - 24))?;
            (number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), rest)
        }
        _ => return Err("an indefinite length".to_owned()),
    };
    let value = match major {
        0 => Value::Uint(argument),
        1 => Value::Negative(argument),
        2 | 3 => {
            let (content, after) = take(rest, argument)?;
            rest = after;
            match major {
                2 => Value::Bytes(content.to_vec()),
                _ => Value::Text(String::from_utf8(content.to_vec()).map_err(|_| "not UTF-8")?),
            }
        }
        4 => {
            let mut items = Vec::new();
            for _ in 0..argument {
                let (value, after) = item(rest, depth)?;
                items.push(value);
                rest = after;
            }
            Value::Array(items)
        }
        5 => {
            let mut pairs: Vec<(u64, Value)> = Vec::new();
            for _ in 0..argument {
                let (key, after) = item(rest, depth)?;
                let (value, after) = item(after, depth)?;
                let key = key.uint()?;
                if pairs.last().is_some_and(|(last, _)| *last >= key) {
                    return Err("keys out of order".to_owned());
                }
                pairs.push((key, value));
                rest = after;
            }
            Value::Map(pairs)
        }
        7 if short == 20 || short == 21 => Value::Bool(short == 21),
        _ => return Err("a type that the format does not use".to_owned()),
    };
    Ok((value, rest))
}
