//! `stats` in restic's modes, against counts made by hand; and growth, from the catalog alone.

use crate::cli::{Home, lines};
use seabed_tests::tools::{END, file};
use serde_json::Value;
use std::fs;

fn stats(home: &Home, args: &[&str]) -> Value {
    lines(&home.ends(0, &[&["stats", "--json"], args].concat())).remove(0)
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// A text that compresses, and no part of which is twice in it.
fn text(seed: usize, lines: usize) -> String {
    (0..lines).map(|n| format!("{seed} customer {n} paid {}\n", n * 7919 % 1000)).collect()
}

#[test]
fn modes_count_as_restic_does() {
    let home = Home::new();
    fs::remove_dir_all(home.path("src")).unwrap();
    home.write("src/one", &text(1, 2000));
    home.write("src/twin", &text(1, 2000));
    home.write("src/d/two", &text(2, 100));
    home.write("src/empty", "");
    fs::hard_link(home.path("src/d/two"), home.path("src/d/same")).unwrap();
    home.ends(0, &["backup", "--init", "src"]);
    let (one, two) = (text(1, 2000).len() as u64, text(2, 100).len() as u64);
    // Directories, of which some only lead to what was asked for, are entries too.
    let above = home.path("src").components().count() as u64 - 1;
    let restore = stats(&home, &["--mode", "restore-size"]);
    assert_eq!((number(&restore, "total_size"), number(&restore, "total_file_count")), (2 * one + two, above + 6));
    assert_eq!((number(&restore, "snapshots_count"), &restore["mode"]), (1, &"restore-size".into()));
    let contents = stats(&home, &["--mode", "files-by-contents"]);
    assert_eq!((number(&contents, "total_size"), number(&contents, "total_file_count")), (one + two, 3));
    let blobs = stats(&home, &["--mode", "blobs-per-file"]);
    assert_eq!((number(&blobs, "total_size"), number(&blobs, "total_file_count")), (one + two, 2));
    // Where they are cut hangs on the key.
    assert!(number(&blobs, "total_blob_count") > 2, "{blobs}");
    let raw = stats(&home, &["--mode", "raw-data"]);
    let (stored, plain) = (number(&raw, "total_size"), number(&raw, "total_uncompressed_size"));
    assert!(plain > one + two && stored < plain / 2, "{raw}");
    assert!(raw["compression_ratio"].as_f64().unwrap() > 2.0 && raw["compression_progress"].as_f64().unwrap() > 90.0, "{raw}");
    let saving = raw["compression_space_saving"].as_f64().unwrap();
    assert!((saving - (1.0 - stored as f64 / plain as f64) * 100.0).abs() < 0.001, "{raw}");
    assert!(raw.get("total_file_count").is_none(), "{raw}");

    // A second snapshot: all of it is restored once more, and only what changed is new.
    home.write("src/d/two", &text(3, 100));
    home.ends(0, &["backup", "src"]);
    let three = text(3, 100).len() as u64;
    assert_eq!(number(&stats(&home, &["--mode", "restore-size"]), "total_size"), 4 * one + two + three);
    assert_eq!(number(&stats(&home, &["--mode", "restore-size", "latest"]), "total_size"), 2 * one + three);
    assert_eq!(number(&stats(&home, &["--mode", "restore-size", "latest", "latest~1", "latest"]), "snapshots_count"), 2);
    assert_eq!(number(&stats(&home, &["--mode", "files-by-contents"]), "total_size"), one + two + three);
    let both = stats(&home, &["--mode", "blobs-per-file"]);
    assert_eq!(
        (number(&both, "total_size"), number(&both, "total_file_count")),
        (one + two + three, 2),
        "two contents under one path: {both}"
    );
    // A stream is a file.
    home.ends(0, &["backup", "--series", "d", "--exec", "dump=printf 12345"]);
    assert_eq!(number(&stats(&home, &["--mode", "restore-size", "--series", "d"]), "total_size"), 5);
    assert_eq!(number(&stats(&home, &["--mode", "files-by-contents", "--series", "d"]), "total_file_count"), 1);
    for mode in ["restore-size", "files-by-contents", "raw-data", "blobs-per-file"] {
        let text = home.ends(0, &["stats", "--mode", mode]);
        assert!(text.starts_with("Snapshots      3\n"), "{text}");
    }
    home.ends(20, &["stats", "--mode", "debug"]);
    home.ends(20, &["stats", "latest:/etc"]);
    home.ends(1, &["stats", "ffffffff"]);
    home.ends(20, &["stats", "--by", "day"]);
    home.ends(20, &["stats", "--growth", "--mode", "raw-data"]);
}

/// Two archives whose files have the same name, length and time have one list of names: the second was passed over as known, and what is in
/// it was not counted.
#[test]
fn archives_that_differ_in_content_alone_are_both_counted() {
    let home = Home::new();
    for (n, content) in [b"one", b"two"].into_iter().enumerate() {
        fs::write(home.path("vol.tar"), [file(b"f", content), END.to_vec()].concat()).unwrap();
        home.ends(0, if n == 0 { &["backup", "--init", "--tar", "vol.tar"][..] } else { &["backup", "--tar", "vol.tar"] });
    }
    let blobs = stats(&home, &["--mode", "blobs-per-file"]);
    let counted = ["total_blob_count", "total_size", "total_file_count"].map(|key| number(&blobs, key));
    assert_eq!(counted, [2, 6, 1], "{blobs}");
    assert_eq!(number(&stats(&home, &["--mode", "files-by-contents"]), "total_file_count"), 2);
    assert_eq!(number(&stats(&home, &["--mode", "restore-size"]), "total_size"), 6);
}

#[test]
fn the_summary_says_what_deduplication_and_compression_save() {
    let home = Home::new();
    home.write("src/text", &text(1, 5000));
    home.ends(0, &["backup", "--init", "src"]);
    home.ends(0, &["backup", "src", "--force"]);
    let value = stats(&home, &[]);
    let (restored, plain, stored) =
        (number(&value, "total_restore_size"), number(&value, "total_uncompressed_size"), number(&value, "total_size"));
    assert_eq!(number(&value, "total_file_count"), 6);
    let close = |key: &str, want: f64| assert!((value[key].as_f64().unwrap() - want).abs() < 1e-6, "{key}: {value}");
    close("deduplication_ratio", restored as f64 / plain as f64);
    close("deduplication_space_saving", (1.0 - plain as f64 / restored as f64) * 100.0);
    close("compression_ratio", plain as f64 / stored as f64);
    close("compression_space_saving", (1.0 - stored as f64 / plain as f64) * 100.0);
    let text = home.ends(0, &["stats"]);
    for row in ["Snapshots      2", "Restored ", "Distinct ", "Needed ", "Chunks ", "In packs ", "Deduplication  ", "Compression    "] {
        assert!(text.lines().any(|line| line.starts_with(row)), "no {row} in {text}");
    }
    let none = Home::new();
    none.ends(0, &["init"]);
    for args in [&["stats"][..], &["stats", "--growth"], &["stats", "--growth", "--json"], &["stats", "--mode", "restore-size"]] {
        none.ends(0, args);
    }
}

/// What a repository grew by is known without its packs.
#[test]
fn growth_is_read_from_the_catalog_alone() {
    let home = Home::new();
    home.ends(0, &["init"]);
    for (day, lines) in [("2026-01-05", 3000), ("2026-01-06", 10), ("2026-01-12", 2000), ("2026-02-01", 1)] {
        home.write("src/log", &text(lines, lines));
        for hour in ["10:00:00", "20:00:00"] {
            home.ends(0, &["backup", "src", "--time", &format!("{day} {hour}")]);
        }
    }
    for folder in ["data", "names", "lists", "index"] {
        fs::remove_dir_all(home.repository().join(folder)).unwrap();
    }
    let growth = |by: &str| lines(&home.ends(0, &["stats", "--growth", "--by", by, "--json"])).remove(0);
    let rows = |by: &str| growth(by)["rows"].as_array().unwrap().clone();
    let each = rows("snapshot");
    assert_eq!(each.len(), 8);
    assert!(each.iter().all(|row| row["snapshot_id"].as_str().is_some_and(|id| id.len() == 64) && number(row, "files") == 3));
    let all = lines(&home.ends(0, &["snapshots", "--json"])).remove(0);
    let mut sum = 0;
    for (row, snapshot) in each.iter().zip(all.as_array().unwrap()) {
        let added = number(&snapshot["summary"], "data_added_packed");
        sum += added;
        assert_eq!((number(row, "data_added_packed"), number(row, "data_added_packed_sum")), (added, sum));
        assert_eq!(row["snapshot_id"], snapshot["id"]);
    }
    assert!(number(&each[0], "data_added_packed") > 10 * number(&each[1], "data_added_packed"));
    let periods =
        |by: &str| rows(by).iter().map(|row| (row["period"].as_str().unwrap().to_owned(), number(row, "snapshots"))).collect::<Vec<_>>();
    let want = |list: &[(&str, u64)]| list.iter().map(|(period, n)| ((*period).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(periods("day"), want(&[("2026-01-05", 2), ("2026-01-06", 2), ("2026-01-12", 2), ("2026-02-01", 2)]));
    assert_eq!(periods("week"), want(&[("2026-W02", 4), ("2026-W03", 2), ("2026-W05", 2)]));
    assert_eq!(periods("month"), want(&[("2026-01", 6), ("2026-02", 2)]));
    for by in ["day", "week", "month"] {
        assert_eq!(number(rows(by).last().unwrap(), "data_added_packed_sum"), sum);
    }
    let text = home.ends(0, &["stats", "--growth", "--by", "month"]);
    assert!(text.contains("2026-01") && text.contains("##"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    // Chosen ones, and a zone of its own.
    assert_eq!(lines(&home.ends(0, &["stats", "--growth", "latest", "--json"])).remove(0)["rows"].as_array().unwrap().len(), 1);
    let far = home.command(&["stats", "--growth", "--by", "month", "--json"]).env("TZ", "Pacific/Kiritimati").output().unwrap();
    assert!(far.status.success());
    let far: Value = serde_json::from_slice(&far.stdout).unwrap();
    assert_eq!(far["rows"][0]["snapshots"], 6, "{far}");
}
