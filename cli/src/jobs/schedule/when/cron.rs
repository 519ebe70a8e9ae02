//! Cron's syntax: five fields, or a word with an @. It must never accept what cron means otherwise: an extension of some other program
//! is refused. It obeys crontab(5) of Vixie's cron, which is Debian's.

use super::calendar::{ALL_WEEKDAYS, Spec, bits};

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Names of the values, from `least` on.
    names: &'static [&'static str],
}

const MINUTES: Field = Field { name: "minute", least: 0, most: 59, names: &[] };
const HOURS: Field = Field { name: "hour", least: 0, most: 23, names: &[] };
const DAYS: Field = Field { name: "day of the month", least: 1, most: 31, names: &[] };
const MONTHS: Field = Field {
    name: "month",
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// 7 is Sunday, as 0 is.
const WEEKDAYS: Field = Field { name: "day of the week", least: 0, most: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

const WORDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// Whether it is meant to be cron's: a word with an @, or five words or more. OnCalendar has four at most.
pub fn looks_like(text: &str) -> bool {
    text.trim_start().starts_with('@') || text.split_whitespace().count() >= 5
}

/// Reads it. Where days of the month and of the week are both restricted either one will do, as cron has it, which takes two specs.
pub fn parse(text: &str) -> Result<Vec<Spec>, String> {
    let text = text.trim();
    if text.starts_with('@') {
        return match WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            Some((_, long)) => parse(long),
            None if text.eq_ignore_ascii_case("@reboot") => Err("@reboot is no time".to_owned()),
            None => Err("cron knows @hourly, @daily, @weekly, @monthly and @yearly".to_owned()),
        };
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err("cron's fields are five: minute, hour, day of the month, month, day of the week".to_owned());
    };
    let days = set(day, &DAYS)?;
    let week = set(weekday, &WEEKDAYS)?;
    // From 0 = 7 = Sunday to bit 0 = Monday.
    let week = (1..=7).filter(|day| week >> day & 1 == 1 || (*day == 7 && week & 1 == 1)).fold(0u8, |set, day| set | 1 << (day - 1));
    let spec = Spec { minutes: set(minute, &MINUTES)?, hours: set(hour, &HOURS)?, months: set(month, &MONTHS)?, seconds: 1, ..Spec::EVERY };
    // It is the first character that says whether a field is restricted: with `*/2` both must hold.
    if day.starts_with('*') || weekday.starts_with('*') {
        return Ok(vec![Spec { days, weekdays: week, ..spec }]);
    }
    Ok(vec![Spec { days, weekdays: ALL_WEEKDAYS, ..spec.clone() }, Spec { days: bits(1, 31), weekdays: week, ..spec }])
}

fn set(text: &str, field: &Field) -> Result<u64, String> {
    text.split(',').try_fold(0, |set, part| Ok(set | self::part(part, field)?))
}

fn part(text: &str, field: &Field) -> Result<u64, String> {
    let (span, step) = text.split_once('/').map_or((text, None), |(span, step)| (span, Some(step)));
    let (start, stop) = match (span, span.split_once('-')) {
        ("*", _) => (field.least, field.most),
        (_, Some((start, stop))) => (value(start, field)?, value(stop, field)?),
        (_, None) => {
            let start = value(span, field)?;
            if step.is_some() {
                return Err(format!("`{text}`: a step needs a range, write {span}-{}/…", field.most));
            }
            (start, start)
        }
    };
    if start > stop {
        let sunday = field.names.len() == 7 && stop == 0;
        return Err(if sunday {
            format!("`{text}` goes backwards: as the end of a week Sunday is 7")
        } else {
            format!("`{text}` goes backwards")
        });
    }
    let step = match step {
        None => 1,
        Some(step) => {
            step.parse().ok().filter(|n| *n > 0 && !step.starts_with('+')).ok_or_else(|| format!("`{text}`: `{step}` is no step"))?
        }
    };
    Ok((start..=stop).step_by(step).fold(0, |set, bit| set | 1 << bit))
}

fn value(text: &str, field: &Field) -> Result<u32, String> {
    if let Some(at) = field.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(field.least + u32::try_from(at).unwrap_or(0));
    }
    let (least, most) = (field.least, field.most);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("`{text}` is no {}", field.name));
    }
    let value = text.parse().ok().filter(|value| (least..=most).contains(value));
    value.ok_or_else(|| format!("{text} is no {}: it goes from {least} to {most}", field.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Vec<String> {
        parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).iter().map(Spec::to_string).collect()
    }

    #[test]
    fn it_is_translated() {
        let cases = [
            ("0 2 * * *", "*-*-* 02:00:00"),
            ("0 */6 * * *", "*-*-* 00..18/6:00:00"),
            ("0 0 * * 0", "Sun *-*-* 00:00:00"),
            ("0 2,14 * * *", "*-*-* 02,14:00:00"),
            ("*/7 * * * 1-5", "Mon..Fri *-*-* *:00..56/7:00"),
            ("5 4 * * sun", "Sun *-*-* 04:05:00"),
            ("0 3 * * 5-7", "Fri..Sun *-*-* 03:00:00"),
            ("0 3 */2 * 1", "Mon *-*-01..31/2 03:00:00"),
            ("0 3 1 * */2", "Tue,Thu,Sat,Sun *-*-01 03:00:00"),
            ("0 22-23 1 jan,Jul *", "*-01,07-01 22,23:00:00"),
            ("10-40/10 1 * * *", "*-*-* 01:10..40/10:00"),
            ("@weekly", "Sun *-*-* 00:00:00"),
            ("@Daily", "*-*-* 00:00:00"),
        ];
        for (text, one) in cases {
            assert!(looks_like(text));
            assert_eq!(written(text), [one], "{text}");
        }
    }

    #[test]
    fn two_restricted_days_are_either() {
        assert_eq!(written("0 2 1,15 * 1"), ["*-*-01,15 02:00:00", "Mon *-*-* 02:00:00"]);
        assert_eq!(written("0 2 1-31 * 1"), ["*-*-* 02:00:00", "Mon *-*-* 02:00:00"]);
    }

    #[test]
    fn what_is_none_is_refused_with_a_reason() {
        let cases = [
            ("0 0 2 * * *", "five"),
            ("@reboot", "no time"),
            ("@often", "@hourly"),
            ("60 * * * *", "60 is no minute: it goes from 0 to 59"),
            ("5/10 * * * *", "5-59/…"),
            ("0 22-2 * * *", "backwards"),
            ("0 2 * * fri-sun", "Sunday is 7"),
            ("0 2 L * *", "`L` is no day of the month"),
            ("0 2 * * 5#2", "`5#2` is no day of the week"),
            ("0 2 ? * *", "`?`"),
            ("*/0 * * * *", "no step"),
            ("*/+5 * * * *", "no step"),
            ("0 2 0 * *", "0 is no day of the month"),
            ("0 2 * * 8", "8 is no day of the week"),
            ("0, 2 * * *", "`` is no minute"),
            ("-5 2 * * *", "`` is no minute"),
        ];
        for (text, why) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
