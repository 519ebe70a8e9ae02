//! Canonical CBOR with integer keys (spec chapter 2): the encoding of every structured body.
//! Decoding never panics and never allocates more than the input could hold; `minicbor` reads and writes the items,
//! this file adds what the format asks for: ascending keys, definite lengths, unknown keys kept or refused by parity.

use crate::buffers::copied;
use crate::limits::{CBOR_DEPTH_MAX, EXTRA_KEYS_MAX};
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// Writer of CBOR items into memory.
pub type Enc = Encoder<Vec<u8>>;

/// A body that is not what the format says, with the field where that was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes of this field are no valid item of its type.
    Field(&'static str),
    /// A key that this version does not know and that its writer marked as critical (even).
    Critical(u64),
}

/// Result of decoding.
pub type Decoded<T> = Result<T, Malformed>;

/// A value with one canonical encoding.
pub trait Wire: Sized {
    /// Appends the encoding.
    fn put(&self, e: &mut Enc);
    /// How many bytes that takes, about: for values that can be long at least as many.
    fn bytes_about(&self) -> usize {
        64
    }
    /// Reads one item.
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self>;
}

/// Writing to memory cannot fail; minicbor's type says so with `Infallible`.
pub fn done<T>(result: Result<T, minicbor::encode::Error<std::convert::Infallible>>) {
    if result.is_err() {
        unreachable!("writing CBOR into a Vec cannot fail");
    }
}

/// Encodes one value as a body of its own.
pub fn to_bytes<T: Wire>(value: &T) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    value.put(&mut e);
    e.into_writer()
}

/// Decodes a body that must fill `bytes`.
pub fn from_bytes<T: Wire>(bytes: &[u8], field: &'static str) -> Decoded<T> {
    let mut d = Decoder::new(bytes);
    let value = T::get(&mut d, field)?;
    if d.position() == bytes.len() { Ok(value) } else { Err(Malformed::Field(field)) }
}

/// Decodes a body that is followed by nothing but zero bytes, the padding inside sealed objects.
pub fn from_padded<T: Wire>(bytes: &[u8], field: &'static str) -> Decoded<T> {
    let mut d = Decoder::new(bytes);
    let value = T::get(&mut d, field)?;
    let rest = bytes.get(d.position()..).unwrap_or_default();
    if rest.iter().all(|b| *b == 0) { Ok(value) } else { Err(Malformed::Field(field)) }
}

/// Reads the head of an array and refuses one with more items than bytes are left.
pub fn array(d: &mut Decoder<'_>, field: &'static str) -> Decoded<usize> {
    let n = d.array().ok().flatten().ok_or(Malformed::Field(field))?;
    let left = d.input().len() - d.position();
    usize::try_from(n).ok().filter(|n| *n <= left).ok_or(Malformed::Field(field))
}

/// Reads an array of at most `max` items. Small items grow a hundredfold in memory, so the input's length bounds too little.
pub fn at_most<T: Wire>(d: &mut Decoder<'_>, max: usize, field: &'static str) -> Decoded<Vec<T>> {
    let n = array(d, field)?;
    if n > max {
        return Err(Malformed::Field(field));
    }
    // Not `with_capacity(n)`: an item may be far larger in memory than its one byte here.
    let mut out = Vec::new();
    for _ in 0..n {
        out.push(T::get(d, field)?);
    }
    Ok(out)
}

/// Reads the head of a map and refuses one with more pairs than bytes are left.
pub fn map(d: &mut Decoder<'_>, field: &'static str) -> Decoded<usize> {
    let n = d.map().ok().flatten().ok_or(Malformed::Field(field))?;
    let left = d.input().len() - d.position();
    usize::try_from(n).ok().filter(|n| *n <= left / 2).ok_or(Malformed::Field(field))
}

/// Reads an array of exactly `n` items' head: the encoding of a tuple.
pub fn tuple(d: &mut Decoder<'_>, n: usize, field: &'static str) -> Decoded<()> {
    if array(d, field)? == n { Ok(()) } else { Err(Malformed::Field(field)) }
}

/// Steps over one item of any type, at most [`CBOR_DEPTH_MAX`] deep, and returns its bytes.
pub fn skip<'b>(d: &mut Decoder<'b>) -> Decoded<&'b [u8]> {
    let bad = |_| Malformed::Field("unknown key");
    let start = d.position();
    let mut open: Vec<u64> = vec![1];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        if open.len() > CBOR_DEPTH_MAX {
            return Err(Malformed::Field("nesting"));
        }
        match d.datatype().map_err(bad)? {
            Type::Array => open.push(array(d, "unknown key")? as u64),
            Type::Map => open.push(map(d, "unknown key")? as u64 * 2),
            Type::ArrayIndef | Type::MapIndef | Type::BytesIndef | Type::StringIndef | Type::Tag => {
                return Err(Malformed::Field("unknown key"));
            }
            _ => d.skip().map_err(bad)?,
        }
    }
    Ok(&d.input()[start..d.position()])
}

/// Keys that a later version added and this one carries along unread: (key, encoded value).
pub type Extra = Vec<(u64, Vec<u8>)>;

/// Keeps an unknown optional (odd) key, refuses an unknown critical (even) one.
pub fn unknown(key: u64, d: &mut Decoder<'_>, extra: &mut Extra) -> Decoded<()> {
    let value = skip(d)?;
    if key.is_multiple_of(2) {
        return Err(Malformed::Critical(key));
    }
    if extra.len() >= EXTRA_KEYS_MAX {
        return Err(Malformed::Field("unknown keys"));
    }
    extra.push((key, value.to_vec()));
    Ok(())
}

/// Declares a structure that is a CBOR map with integer keys, its encoder, decoder and the table that the spec is checked against.
/// `3 => name: Type` is always written, `3 ? name: Type` only where it differs from `Type::default()`.
macro_rules! map_struct {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $( $(#[$fdoc:meta])* $key:literal $kind:tt $field:ident : $ty:ty ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[$fdoc])* pub $field: $ty, )*
            /// Optional keys of a later version, carried along.
            pub extra: $crate::format::wire::Extra,
        }

        impl $name {
            /// Key, name, and whether the key is always there: what the table in the spec must say.
            pub const FIELDS: &'static [(u64, &'static str, bool)] = &[ $( ($key, stringify!($field), map_struct!(@always $kind)) ),* ];
        }

        impl $crate::format::wire::Wire for $name {
            fn put(&self, e: &mut $crate::format::wire::Enc) {
                use $crate::format::wire::done;
                let mut n = self.extra.len() as u64;
                $( if map_struct!(@present $kind self.$field, $ty) { n += 1; } )*
                done(e.map(n).map(|_| ()));
                let mut extra = self.extra.iter().peekable();
                $(
                    while let Some((key, value)) = extra.next_if(|(key, _)| key.cmp(&$key).is_lt()) {
                        done(e.u64(*key).map(|_| ()));
                        e.writer_mut().extend_from_slice(value);
                    }
                    if map_struct!(@present $kind self.$field, $ty) {
                        done(e.u64($key).map(|_| ()));
                        $crate::format::wire::Wire::put(&self.$field, e);
                    }
                )*
                for (key, value) in extra {
                    done(e.u64(*key).map(|_| ()));
                    e.writer_mut().extend_from_slice(value);
                }
            }

            fn bytes_about(&self) -> usize {
                let extra = self.extra.iter().map(|(_, value)| 9 + value.len()).sum::<usize>();
                9 + extra $( + 2 + $crate::format::wire::Wire::bytes_about(&self.$field) )*
            }

            fn get(d: &mut minicbor::Decoder<'_>, field: &'static str) -> $crate::format::wire::Decoded<Self> {
                use $crate::format::wire::Malformed;
                let n = $crate::format::wire::map(d, field)?;
                let mut extra = Vec::new();
                let mut last: Option<u64> = None;
                $( let mut $field: Option<$ty> = None; )*
                for _ in 0..n {
                    let key = d.u64().map_err(|_| Malformed::Field(field))?;
                    // Ascending keys: one encoding per value, and no key twice.
                    if last.is_some_and(|last| last >= key) {
                        return Err(Malformed::Field(field));
                    }
                    last = Some(key);
                    match key {
                        $( $key => $field = Some($crate::format::wire::Wire::get(d, stringify!($field))?), )*
                        _ => $crate::format::wire::unknown(key, d, &mut extra)?,
                    }
                }
                Ok(Self { $( $field: map_struct!(@take $kind $field), )* extra })
            }
        }
    };
    (@always =>) => { true };
    (@always ?) => { false };
    (@present => $value:expr, $ty:ty) => { true };
    (@present ? $value:expr, $ty:ty) => { $value != <$ty as Default>::default() };
    (@take => $field:ident) => { $field.ok_or(Malformed::Field(stringify!($field)))? };
    (@take ? $field:ident) => { $field.unwrap_or_default() };
}
pub(crate) use map_struct;

macro_rules! wire_uint {
    ($($ty:ty),*) => { $(
        impl Wire for $ty {
            fn put(&self, e: &mut Enc) { done(e.u64(u64::from(*self)).map(|_| ())); }
            fn bytes_about(&self) -> usize { 1 + size_of::<$ty>() }
            fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
                d.u64().ok().and_then(|v| <$ty>::try_from(v).ok()).ok_or(Malformed::Field(field))
            }
        }
    )* };
}
wire_uint!(u8, u16, u32, u64);

impl Wire for i64 {
    fn put(&self, e: &mut Enc) {
        done(e.i64(*self).map(|_| ()));
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        d.i64().map_err(|_| Malformed::Field(field))
    }
}

impl Wire for bool {
    fn put(&self, e: &mut Enc) {
        done(e.bool(*self).map(|_| ()));
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        d.bool().map_err(|_| Malformed::Field(field))
    }
}

impl Wire for String {
    fn put(&self, e: &mut Enc) {
        done(e.str(self).map(|_| ()));
    }
    fn bytes_about(&self) -> usize {
        9 + self.len()
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        d.str().map(str::to_owned).map_err(|_| Malformed::Field(field))
    }
}

/// A byte string: names, targets and values are bytes, never text.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Bytes(bytes.to_vec())
    }
}

impl Wire for Bytes {
    fn put(&self, e: &mut Enc) {
        done(e.bytes(&self.0).map(|_| ()));
    }
    fn bytes_about(&self) -> usize {
        9 + self.0.len()
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        d.bytes().map(|b| Bytes(copied(b))).map_err(|_| Malformed::Field(field))
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, e: &mut Enc) {
        done(e.bytes(self).map(|_| ()));
    }
    fn bytes_about(&self) -> usize {
        3 + N
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        d.bytes().ok().and_then(|b| b.try_into().ok()).ok_or(Malformed::Field(field))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, e: &mut Enc) {
        done(e.array(self.len() as u64).map(|_| ()));
        for item in self {
            item.put(e);
        }
    }
    fn bytes_about(&self) -> usize {
        9 + self.iter().map(Wire::bytes_about).sum::<usize>()
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        at_most(d, usize::MAX, field)
    }
}

/// An optional field: only ever used with `?` keys, so `None` is never encoded.
impl<T: Wire> Wire for Option<T> {
    fn put(&self, e: &mut Enc) {
        if let Some(value) = self {
            value.put(e);
        }
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        T::get(d, field).map(Some)
    }
}

macro_rules! wire_id {
    ($($ty:ident),*) => { $(
        impl Wire for crate::id::$ty {
            fn put(&self, e: &mut Enc) { done(e.bytes(self.as_bytes()).map(|_| ())); }
            fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> { Wire::get(d, field).map(Self::new) }
        }
    )* };
}
wire_id!(ChunkId, PackId, SnapshotId, RepositoryId, FamilyId, WriterId, ObjectId, Birth);

impl Wire for crate::id::Class {
    fn put(&self, e: &mut Enc) {
        self.code().put(e);
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        Self::from_code(u8::get(d, field)?).ok_or(Malformed::Field(field))
    }
}

/// Point in time, nanoseconds since 1970. Encoded as one integer where 64 bits hold it (1677–2262), else as `[seconds, nanoseconds]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970, rounded down.
    pub secs: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

impl Time {
    /// From nanoseconds since 1970.
    pub fn from_nanos(nanos: i64) -> Self {
        Time { secs: nanos.div_euclid(1_000_000_000), nanos: nanos.rem_euclid(1_000_000_000) as u32 }
    }

    /// Nanoseconds since 1970, where 64 bits hold them.
    pub fn as_nanos(&self) -> Option<i64> {
        let whole = i128::from(self.secs) * 1_000_000_000 + i128::from(self.nanos);
        i64::try_from(whole).ok()
    }
}

impl Wire for Time {
    fn put(&self, e: &mut Enc) {
        match self.as_nanos() {
            Some(nanos) => nanos.put(e),
            None => {
                done(e.array(2).map(|_| ()));
                self.secs.put(e);
                self.nanos.put(e);
            }
        }
    }
    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        if matches!(d.datatype(), Ok(Type::Array)) {
            tuple(d, 2, field)?;
            let time = Time { secs: i64::get(d, field)?, nanos: u32::get(d, field)? };
            if time.nanos > 999_999_999 || time.as_nanos().is_some() {
                return Err(Malformed::Field(field));
            }
            return Ok(time);
        }
        Ok(Time::from_nanos(i64::get(d, field)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    map_struct! {
        /// For the tests.
        struct Sample { 0 => a: u64, 2 ? b: String, 5 ? c: Vec<u32> }
    }

    #[test]
    fn defaults_are_left_out_and_come_back() {
        let s = Sample { a: 7, b: String::new(), c: vec![], extra: vec![] };
        assert_eq!(Sample::FIELDS, [(0, "a", true), (2, "b", false), (5, "c", false)]);
        assert_eq!(to_bytes(&s), [0xa1, 0x00, 0x07]);
        assert_eq!(from_bytes::<Sample>(&to_bytes(&s), "sample"), Ok(s));
    }

    #[test]
    fn unknown_odd_keys_are_kept_in_order_and_even_ones_refused() {
        let body = [0xa3, 0x00, 0x07, 0x03, 0x82, 0x01, 0x02, 0x09, 0xf5];
        let s: Sample = from_bytes(&body, "sample").unwrap();
        assert_eq!(s.extra.len(), 2);
        assert_eq!(to_bytes(&s), body);
        assert_eq!(from_bytes::<Sample>(&[0xa2, 0x00, 0x07, 0x04, 0x01], "sample"), Err(Malformed::Critical(4)));
    }

    #[test]
    fn keys_out_of_order_or_twice_are_refused() {
        assert!(from_bytes::<Sample>(&[0xa2, 0x05, 0x80, 0x00, 0x07], "sample").is_err());
        assert!(from_bytes::<Sample>(&[0xa2, 0x00, 0x07, 0x00, 0x07], "sample").is_err());
    }

    #[test]
    fn unknown_keys_beyond_the_bound_are_refused() {
        let sample = |n: u64| Sample { a: 1, b: String::new(), c: vec![], extra: (0..n).map(|i| (7 + 2 * i, vec![0])).collect() };
        assert!(from_bytes::<Sample>(&to_bytes(&sample(64)), "sample").is_ok());
        assert!(from_bytes::<Sample>(&to_bytes(&sample(65)), "sample").is_err());
    }

    #[test]
    fn claimed_lengths_allocate_nothing() {
        assert!(from_bytes::<Vec<u64>>(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "v").is_err());
        assert!(from_bytes::<Bytes>(&[0x5b, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff], "v").is_err());
    }

    #[test]
    fn deep_nesting_in_an_unknown_key_is_refused_not_followed() {
        let mut body = vec![0xa2, 0x00, 0x07, 0x03];
        body.extend([0x81; 100_000]);
        body.push(0);
        assert!(from_bytes::<Sample>(&body, "sample").is_err());
    }

    #[test]
    fn times_outside_64_bits_of_nanoseconds_survive() {
        for t in [Time::from_nanos(-1), Time { secs: -62_135_596_800, nanos: 5 }, Time { secs: 1 << 40, nanos: 999_999_999 }] {
            assert_eq!(from_bytes::<Time>(&to_bytes(&t), "t"), Ok(t));
        }
    }
}
