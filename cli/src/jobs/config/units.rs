//! Amounts as people write them in a configuration: spans of time, sizes, shares.
//! It must read all of them from text, so that a variable can stand for one, and print them as they are read.

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A span of time: `90s`, `15m`, `2h`, `1h30m`, `7d`, `2w`. Whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Units of a span, and their seconds.
const UNITS: [(&str, u64); 5] = [("w", 7 * 86_400), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Span(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no span of time: write it like 90s, 15m, 2h, 1h30m or 7d");
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        let (mut total, mut last) = (0_u64, usize::MAX);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
            let tail = &rest[digits..];
            let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let unit = match tail[..end].trim() {
                "" if digits == text.trim().len() && number == 0 => "s",
                "min" => "m",
                unit => unit,
            };
            let place = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(bad)?;
            // From large to small, each once: `30m1h` is more often a slip than meant.
            if last != usize::MAX && place <= last {
                return Err(bad());
            }
            last = place;
            total = number.checked_mul(UNITS[place].1).and_then(|seconds| total.checked_add(seconds)).ok_or_else(bad)?;
            rest = &tail[end..];
        }
        // A hundred years: what is longer is a slip, and adding it to a date must not fail.
        if total > 100 * 366 * 86_400 {
            return Err(bad());
        }
        Ok(Span::seconds(total))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_secs();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, seconds) in UNITS {
            // Weeks are read, but people count days.
            if unit != "w" && left >= seconds {
                write!(f, "{}{unit}", left / seconds)?;
                left %= seconds;
            }
        }
        Ok(())
    }
}

/// A size: `500K`, `10MiB`, `5000MB`, or a number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        crate::size::parse(text).map(Size)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, bytes) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= bytes && self.0.is_multiple_of(bytes) {
                return write!(f, "{}{unit}", self.0 / bytes);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A share, 0 to 100 per cent: `30%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(pub f64);

impl Share {
    /// That much of something.
    pub fn of(self, whole: u64) -> u64 {
        // Truncated on purpose: a bound of bytes.
        (whole as f64 * self.0 / 100.0) as u64
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
        number.filter(|n| (0.0..=100.0).contains(n)).map(Share).ok_or_else(|| format!("`{text}` is no share: write it like 30%"))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Reads one of these from text, or from a whole number where that is as clear.
struct Text<T> {
    what: &'static str,
    number: Option<fn(u64) -> T>,
}

impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        let wrong = || E::invalid_type(Unexpected::Signed(number), &self);
        u64::try_from(number).ok().and_then(|n| self.number.map(|make| make(n))).ok_or_else(wrong)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.number.map(|make| make(number)).ok_or_else(|| E::invalid_type(Unexpected::Unsigned(number), &self))
    }
}

macro_rules! text {
    ($kind:ty, $what:literal, $number:expr) => {
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(Text { what: $what, number: $number })
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    };
}

text!(Span, "a span of time in quotes, such as \"15m\"", None);
text!(Size, "a size, such as \"5000MiB\"", Some(Size));
text!(Share, "a share in quotes, such as \"30%\"", None);

/// One value, or a list of them.
pub fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    match OneOrMany::deserialize(from) {
        Ok(OneOrMany::One(one)) => Ok(vec![one]),
        Ok(OneOrMany::Many(many)) => Ok(many),
        Err(_) => Err(D::Error::custom("write a text in quotes, or a list of such texts in brackets")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_they_are_printed() {
        for (text, seconds, printed) in [
            ("90s", 90, "1m30s"),
            ("15m", 900, "15m"),
            ("10min", 600, "10m"),
            ("1h30m", 5400, "1h30m"),
            ("26h", 93_600, "1d2h"),
            ("2w", 1_209_600, "14d"),
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0.as_secs(), span.to_string().as_str()), (seconds, printed), "{text}");
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        for wrong in ["", "5", "h", "30m1h", "1h1h", "-5m", "1.5h", "999999999999w", "5 years"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_and_shares_too() {
        assert_eq!("5000MiB".parse::<Size>().unwrap(), Size(5000 << 20));
        assert_eq!(Size(5000 << 20).to_string(), "5000MiB");
        assert_eq!(Size(1).to_string().parse::<Size>().unwrap(), Size(1));
        assert_eq!("30%".parse::<Share>().unwrap().of(1000), 300);
        assert!("30".parse::<Share>().is_err() && "130%".parse::<Share>().is_err() && "x%".parse::<Share>().is_err());
    }
}
