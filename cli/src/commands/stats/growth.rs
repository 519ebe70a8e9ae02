//! `stats --growth`: what was added to the repository when, from what manifests say of themselves. It must never read a pack.
//! It obeys what README.md says of it.

use crate::exit::{Code, Run};
use crate::output::{Output, Table, terminal_width};
use crate::{size, time};
use clap::ValueEnum;
use seabed_engine::catalog::Snapshot;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a row is of. Days begin at midnight here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Each snapshot
    Snapshot,
    /// Days
    Day,
    /// Weeks, from Monday on
    Week,
    /// Months
    Month,
}

impl By {
    const fn name(self) -> &'static str {
        match self {
            By::Snapshot => "snapshot",
            By::Day => "day",
            By::Week => "week",
            By::Month => "month",
        }
    }

    /// Which row a snapshot belongs to.
    fn period(self, snapshot: &Snapshot) -> String {
        let time = &snapshot.index.time;
        match self {
            // To the minute: seconds are what makes a line too long for most terminals.
            By::Snapshot => time::minute(time),
            By::Day => time::day(time),
            By::Week => time::week(time),
            By::Month => time::month(time),
        }
    }
}

/// Longest bar, in characters; and the shortest that says anything.
const BAR_MAX: usize = 40;
const BAR_MIN: usize = 5;
/// Columns of a page that is no terminal.
const PAGE_COLUMNS: usize = 80;

/// One row.
struct Row<'s> {
    period: String,
    snapshots: Vec<&'s Snapshot>,
    /// Of the newest snapshot of each series in this period.
    files: u64,
    bytes: u64,
    /// New plaintext, and what became of it in the repository.
    added: u64,
    stored: u64,
    added_sum: u64,
    stored_sum: u64,
}

fn sum(snapshots: &[&Snapshot], of: impl Fn(&Snapshot) -> u64) -> u64 {
    snapshots.iter().map(|snapshot| of(snapshot)).fold(0, u64::saturating_add)
}

/// Rows of snapshots in the order of their times.
fn rows(snapshots: &[Snapshot], by: By) -> Vec<Row<'_>> {
    let mut ordered: Vec<&Snapshot> = snapshots.iter().collect();
    ordered.sort_by_key(|snapshot| (snapshot.index.time, snapshot.id));
    let mut rows: Vec<Row<'_>> = Vec::new();
    for snapshot in ordered {
        let period = by.period(snapshot);
        match rows.last_mut().filter(|row| by != By::Snapshot && row.period == period) {
            Some(row) => row.snapshots.push(snapshot),
            None => {
                let (files, bytes, added, stored, added_sum, stored_sum) = (0, 0, 0, 0, 0, 0);
                rows.push(Row { period, snapshots: vec![snapshot], files, bytes, added, stored, added_sum, stored_sum });
            }
        }
    }
    let (mut added_sum, mut stored_sum) = (0u64, 0u64);
    for row in &mut rows {
        let newest: BTreeMap<(&str, &str), &Snapshot> =
            row.snapshots.iter().map(|s| ((s.names.host.as_str(), s.names.series.as_str()), *s)).collect();
        let newest: Vec<&Snapshot> = newest.into_values().collect();
        row.files = sum(&newest, |s| s.names.summary.files_total);
        row.bytes = sum(&newest, |s| s.names.summary.bytes_total);
        row.added = sum(&row.snapshots, |s| s.names.summary.bytes_added);
        row.stored = sum(&row.snapshots, |s| s.names.summary.bytes_stored);
        (added_sum, stored_sum) = (added_sum.saturating_add(row.added), stored_sum.saturating_add(row.stored));
        (row.added_sum, row.stored_sum) = (added_sum, stored_sum);
    }
    rows
}

/// Shows them.
pub fn run(snapshots: &[Snapshot], by: By, out: &Output) -> Run {
    let rows = rows(snapshots, by);
    if out.json {
        out.json_result(&json!({
            "message_type": "growth",
            "by": by.name(),
            "snapshots_count": snapshots.len(),
            "rows": rows.iter().map(|row| row_json(row, by)).collect::<Vec<Value>>(),
        }))?;
        return Ok(Code::Done);
    }
    for line in table(&rows, by, terminal_width()) {
        out.result(line.as_bytes())?;
    }
    out.remark(&size::of(snapshots.len() as u64, "snapshot"));
    Ok(Code::Done)
}

fn row_json(row: &Row<'_>, by: By) -> Value {
    let first = row.snapshots.first().filter(|_| by == By::Snapshot);
    let mut value = match first {
        Some(snapshot) => {
            json!({"snapshot_id": snapshot.id.to_string(), "hostname": snapshot.names.host, "series": snapshot.names.series})
        }
        None => json!({"period": row.period}),
    };
    let figures = json!({
        "time": row.snapshots.last().map(|snapshot| time::rfc3339(&snapshot.index.time)),
        "snapshots": row.snapshots.len(),
        "files": row.files,
        "restore_size": row.bytes,
        "data_added": row.added,
        "data_added_packed": row.stored,
        "data_added_sum": row.added_sum,
        "data_added_packed_sum": row.stored_sum,
    });
    if let (Some(map), Value::Object(figures)) = (value.as_object_mut(), figures) {
        map.extend(figures);
    }
    value
}

/// The lines, with bars as long as there is room for. Where there is not even room for all columns, some are left out.
fn table(rows: &[Row<'_>], by: By, terminal: Option<usize>) -> Vec<String> {
    let lines = |bar: usize| {
        let first = match by {
            By::Snapshot => "Time",
            By::Day => "Day",
            By::Week => "Week",
            By::Month => "Month",
        };
        let mut table = Table::new(&[
            ("ID", false, false),
            (first, false, false),
            ("Snapshots", true, false),
            ("Files", true, false),
            ("Size", true, false),
            ("New", true, false),
            ("Stored", true, false),
            ("Sum", true, false),
            ("", false, false),
        ])
        .spare(&["Files", "Size", "New"]);
        let most = rows.iter().map(|row| row.stored).max().unwrap_or(0).max(1);
        for row in rows {
            let each = by == By::Snapshot;
            // Rounded up: what added anything is seen.
            let length = (u128::from(row.stored) * bar as u128).div_ceil(u128::from(most)) as usize;
            table.row(vec![
                row.snapshots.first().filter(|_| each).map(|snapshot| snapshot.id.short()).unwrap_or_default(),
                row.period.clone(),
                if each { String::new() } else { size::count(row.snapshots.len() as u64) },
                size::count(row.files),
                size::human(row.bytes),
                size::human(row.added),
                size::human(row.stored),
                size::human(row.stored_sum),
                "#".repeat(length.min(bar)),
            ]);
        }
        table.lines(terminal)
    };
    let plain = lines(0);
    let wide = plain.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let bar = terminal.unwrap_or(PAGE_COLUMNS).saturating_sub(wide + 2).min(BAR_MAX);
    if bar < BAR_MIN { plain } else { lines(bar) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seabed_engine::format::manifest::{IndexPart, NamesPart, Summary};
    use seabed_engine::format::wire::Time;
    use seabed_engine::id::{SnapshotId, WriterId};

    fn snapshot(n: u8, day: i64, series: &str, files: u64, stored: u64) -> Snapshot {
        let time = Time { secs: 1_767_225_600 + 43_200 + day * 86_400, nanos: 0 };
        let id = SnapshotId::new([n; 32]);
        let index = IndexPart::new(id, (WriterId::new([0; 16]), u64::from(n)), time);
        let summary =
            Summary { files_total: files, bytes_total: files * 1000, bytes_added: stored * 2, bytes_stored: stored, ..Summary::default() };
        let names = NamesPart { summary, ..NamesPart::new(series, "h") };
        Snapshot { id, index, names }
    }

    #[test]
    fn rows_add_up() {
        // Out of order, as ids are: days 0, 0, 1, 40.
        let all = [snapshot(4, 40, "a", 9, 8000), snapshot(1, 0, "a", 5, 1000), snapshot(2, 0, "b", 7, 0), snapshot(3, 1, "a", 6, 500)];
        let by = |by| rows(&all, by).iter().map(|r| (r.snapshots.len(), r.files, r.stored, r.stored_sum)).collect::<Vec<_>>();
        assert_eq!(by(By::Snapshot), [(1, 5, 1000, 1000), (1, 7, 0, 1000), (1, 6, 500, 1500), (1, 9, 8000, 9500)]);
        assert_eq!(by(By::Day), [(2, 12, 1000, 1000), (1, 6, 500, 1500), (1, 9, 8000, 9500)]);
        assert_eq!(by(By::Month), [(3, 13, 1500, 1500), (1, 9, 8000, 9500)]);
        // Hostile figures end at the end of numbers.
        let huge = [snapshot(1, 0, "a", 1, u64::MAX / 2), snapshot(2, 0, "a", 1, u64::MAX / 2), snapshot(3, 0, "a", 1, 5)];
        assert_eq!(rows(&huge, By::Snapshot).last().unwrap().stored_sum, u64::MAX);
        assert!(!table(&rows(&huge, By::Day), By::Day, Some(80)).is_empty());
    }

    /// A row of a large snapshot took 81 columns of 80, and every line of the table was broken.
    #[test]
    fn rows_fit_into_a_terminal() {
        let all = [snapshot(1, 0, "a", 123_456_789, 999_900_000_000), snapshot(2, 1, "a", 123_456_789, 999_900_000_000)];
        for width in [60, 70, 80] {
            let lines = table(&rows(&all, By::Snapshot), By::Snapshot, Some(width));
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
            assert!(lines[0].contains("Stored") && lines[0].contains("Sum"), "{lines:?}");
        }
        assert!(table(&rows(&all, By::Snapshot), By::Snapshot, None)[0].contains("New"), "a page that is no terminal has all of it");
    }

    #[test]
    fn bars_fit() {
        let all = [snapshot(1, 0, "a", 5, 1_000_000), snapshot(2, 1, "a", 7, 0), snapshot(3, 2, "a", 6, 1)];
        for width in [20, 79, 80, 200] {
            let lines = table(&rows(&all, By::Day), By::Day, Some(width));
            let longest = lines.iter().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= width || width == 20, "{lines:?}");
            let bars: Vec<usize> = lines[2..].iter().map(|line| line.matches('#').count()).collect();
            if width == 20 {
                assert_eq!(bars, [0, 0, 0]);
            } else {
                assert!(bars[0] >= BAR_MIN && bars[1..] == [0, 1], "{bars:?}");
            }
        }
    }
}
