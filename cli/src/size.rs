//! Sizes and counts as people write and read them: binary units, in and out.
//! It must never round a limit that the user gave. It obeys the CLI conventions (`k`, `M`, `G`, `T` are powers of 1024).

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// `77.9 MiB`; bytes below one KiB are exact.
pub fn human(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // Not 1024: 1023.96 KiB would be printed as 1024.0 KiB.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS.get(unit).unwrap_or(&"EiB"))
}

/// Reads `1048576`, `512k`, `1.5G`, `10MiB`.
pub fn parse(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no size: write a number with k, M, G or T");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(bad()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(bad);
    }
    let value: f64 = number.parse().map_err(|_| bad())?;
    let bytes = value * (1u64 << shift) as f64;
    if bytes.is_finite() && (0.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(bad()) }
}

/// Digits in groups of three, for counts that a bar shows.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and what is counted: `1 pack`, `1,234 entries`.
pub fn of(n: u64, noun: &str) -> String {
    let (stem, end) = match noun.strip_suffix('y') {
        _ if n == 1 => (noun, ""),
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => (stem, "ies"),
        _ => (noun, "s"),
    };
    format!("{} {stem}{end}", count(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_for_people() {
        let cases =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_048_575, "1.0 MiB"), (81_683_350, "77.9 MiB"), (u64::MAX, "16.0 EiB")];
        for (bytes, text) in cases {
            assert_eq!(human(bytes), text);
        }
        assert_eq!((count(0), count(999), count(1000), count(1_234_567)), ("0".into(), "999".into(), "1,000".into(), "1,234,567".into()));
    }

    #[test]
    fn what_is_counted_agrees_with_its_count() {
        let cases = [
            (0, "pack", "0 packs"),
            (1, "entry", "1 entry"),
            (2, "entry", "2 entries"),
            (1234, "day", "1,234 days"),
            (1, "pack", "1 pack"),
        ];
        for (n, noun, text) in cases {
            assert_eq!(of(n, noun), text);
        }
    }

    #[test]
    fn sizes_are_read_as_binary() {
        assert_eq!(parse("10"), Ok(10));
        assert_eq!(parse("512k"), Ok(512 << 10));
        assert_eq!(parse("1.5G"), Ok(3 << 29));
        assert_eq!(parse("10 MiB"), Ok(10 << 20));
        for bad in ["", "k", "-1", "1x", "1.2.3", "99999999999T"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
