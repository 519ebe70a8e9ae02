//! What is run, command by command: what leads up to it, and the lines that are kept. A new command gets a case here, and every way in
//! which an old one says something new.
//!
//! A case begins in a home of its own with two snapshots of a small tree; its commands run one after the other, and all of them are
//! kept. What varies from run to run (ids, times, sizes in packs) is taken out before it is compared: see `volatile.rs`.

/// Where the repository of a case is.
#[derive(Clone, Copy, PartialEq)]
pub enum Place {
    /// A directory, with two snapshots in it.
    Directory,
    /// A directory that is still empty.
    Nothing,
    /// A bucket, with two snapshots in it.
    Bucket,
}

/// A command line, and how it ends.
pub struct Step {
    pub code: i32,
    pub args: &'static [&'static str],
    /// It runs until somebody ends it, as soon as it has said its first word.
    pub endless: bool,
}

/// A story: its name is that of its golden file.
pub struct Case {
    pub name: &'static str,
    pub place: Place,
    pub steps: &'static [Step],
}

const fn ends(code: i32, args: &'static [&'static str]) -> Step {
    Step { code, args, endless: false }
}

const fn runs(args: &'static [&'static str]) -> Step {
    Step { code: 0, args, endless: true }
}

const fn case(name: &'static str, place: Place, steps: &'static [Step]) -> Case {
    Case { name, place, steps }
}

use Place::{Bucket, Directory, Nothing};

/// All of them. `{id}` is the id of the newest snapshot, `{first}` that of the first.
pub const CASES: &[Case] = &[
    case("init", Nothing, &[ends(20, &["init", "--password-file", "none"]), ends(0, &["init", "--label", "first"]), ends(1, &["init"])]),
    case("init-sibling", Directory, &[ends(0, &["init", "--repo", "second", "--sibling-of", ".local/share/seabed/repo"])]),
    case("init-bucket", Bucket, &[ends(0, &["init", "--repo", "{bucket}/other"])]),
    case(
        "backup",
        Directory,
        &[
            ends(0, &["backup", "src", "--as-path", "/data", "--series", "docs", "--host", "web1", "-vv", "--description", "third"]),
            ends(0, &["backup", "src", "--as-path", "/data", "--series", "docs", "--host", "web1", "--skip-if-unchanged"]),
            ends(0, &["backup", "src", "--as-path", "/data", "--series", "docs", "--host", "web1", "--dry-run"]),
            ends(3, &["backup", "src", "missing"]),
            ends(1, &["backup", "missing"]),
            ends(21, &["backup", "--exec", "x=echo half; echo 'the reason' >&2; exit 3"]),
            ends(0, &["backup", "--exec", "x=sleep 1.3; echo all; echo 'a warning' >&2", "--series", "dump"]),
            ends(20, &["backup", "src", "--frob"]),
            ends(20, &["backup", "src", "--no-lock"]),
        ],
    ),
    case("backup-init", Nothing, &[ends(10, &["backup", "src"]), ends(0, &["backup", "--init", "src"])]),
    case(
        "restore",
        Directory,
        &[
            ends(0, &["restore", "latest", "--target", "back", "--dry-run", "-vv"]),
            ends(0, &["restore", "latest", "--target", "back"]),
            ends(0, &["restore", "latest", "--target", "back", "--verify", "--delete", "-vv"]),
            ends(0, &["restore", "latest:/data/sub", "--target", "part", "--plan"]),
            ends(1, &["restore", "ffffffff", "--target", "back"]),
            ends(25, &["restore", "latest", "--target", "/", "--delete"]),
        ],
    ),
    case(
        "snapshots",
        Directory,
        &[
            ends(0, &["snapshots"]),
            ends(0, &["snapshots", "--group-by", "host,paths", "--sizes", "--latest", "1"]),
            ends(0, &["snapshots", "--tag", "none"]),
            ends(0, &["snapshots", "--ids"]),
        ],
    ),
    case(
        "ls",
        Directory,
        &[
            ends(0, &["ls", "latest"]),
            ends(0, &["ls", "latest", "/data/sub", "--long"]),
            ends(0, &["ls", "latest:/data", "--no-recursive", "--sort", "size", "--reverse"]),
            ends(0, &["ls", "latest", "--sort", "extension"]),
            ends(1, &["ls", "latest", "/nowhere"]),
            ends(0, &["ls", "latest:/data", "/sub"]),
            ends(1, &["ls", "latest:/data", "/data"]),
            ends(20, &["ls", "latest", "--ncdu"]),
        ],
    ),
    case(
        "find",
        Directory,
        &[
            ends(0, &["find", "*.txt"]),
            ends(0, &["find", "--type", "dir", "--snapshot", "latest"]),
            ends(0, &["find", "*.txt", "--long"]),
            ends(0, &["find", "--regex", "sub/.*", "--long", "--offline"]),
            ends(0, &["find", "*.none"]),
            ends(0, &["find", "*.none", "--long"]),
            ends(20, &["find", "--regex", "("]),
            ends(20, &["find", "--larger", "much"]),
            ends(20, &["find", "--newer", "soon"]),
            ends(1, &["find", "x", "--snapshot", "ffffffff"]),
            ends(20, &["find", "--iname", "x"]),
        ],
    ),
    case("find-offline", Nothing, &[ends(1, &["find", "x", "--offline"]), ends(10, &["find", "x"])]),
    case(
        "history",
        Directory,
        &[
            ends(0, &["history", "/data/a.txt"]),
            ends(0, &["history", "/data/new.txt"]),
            ends(0, &["history", "/data/sub", "--offline"]),
            ends(0, &["forget", "{id}"]),
            ends(1, &["history", "/data/new.txt"]),
        ],
    ),
    case(
        "diff",
        Directory,
        &[
            ends(0, &["diff", "latest~1", "latest"]),
            ends(0, &["diff", "latest~1:/data", "latest:/data", "--metadata"]),
            ends(0, &["diff", "latest", "latest~1", "--patch"]),
            ends(0, &["diff", "latest~1", "latest", "--stat"]),
            ends(0, &["diff", "latest~1", "latest", "--stat=dir"]),
            ends(0, &["diff", "latest~1", "latest", "--name-only"]),
            ends(0, &["diff", "latest", "latest"]),
            ends(0, &["diff", "{first}:/data", "src", "--content"]),
            ends(0, &["backup", "src", "--series", "live"]),
            ends(0, &["diff", "latest", "--live", "--series", "live"]),
            ends(1, &["diff", "{first}:/data", "src/a.txt/x"]),
            ends(1, &["diff", "ffffffff", "latest"]),
            ends(1, &["diff", "latest", "nowhere"]),
            ends(20, &["diff", "src", "latest"]),
            ends(20, &["diff", "latest"]),
        ],
    ),
    case(
        "dump",
        Directory,
        &[
            ends(0, &["dump", "latest", "/data/a.txt"]),
            ends(0, &["dump", "latest", "/data/a.txt", "--target", "a"]),
            ends(0, &["dump", "latest", "/data", "--archive", "zip", "--target", "data.zip"]),
            ends(0, &["dump", "latest", "/data/sub", "--archive", "tar", "--target", "data.tar", "-vv"]),
            ends(1, &["dump", "latest", "/data/none", "--target", "none"]),
            ends(20, &["dump", "latest"]),
        ],
    ),
    case(
        "archives",
        Directory,
        &[
            ends(0, &["restore", "latest:/data", "--archive", "tar", "--target", "data.tar", "--exclude", "sub"]),
            ends(0, &["backup", "--tar", "data.tar", "--tar-name", "in", "--series", "tar", "--host", "web1", "-vv"]),
            ends(0, &["ls", "latest", "--series", "tar"]),
            ends(21, &["backup", "--exec-tar", "x=head -c 700 data.tar"]),
            ends(21, &["backup", "--tar", "src/a.txt"]),
            ends(20, &["backup", "--tar", "none.tar"]),
            ends(20, &["backup", "--tar", "src"]),
            ends(1, &["dump", "latest:/data", "--archive", "tar", "--target", "src", "--series", "docs"]),
        ],
    ),
    case("mount", Directory, &[runs(&["mount", "src"]), runs(&["mount", "src", "latest:/data"]), ends(20, &["mount", "nowhere"])]),
    case(
        "serve",
        Directory,
        &[
            runs(&["serve", "webdav", "--listen", "127.0.0.1:0"]),
            ends(20, &["serve", "webdav", "--listen", "nowhere"]),
            ends(20, &["serve", "webdav", "--user", "ann"]),
            ends(20, &["serve", "ftp"]),
        ],
    ),
    case(
        "forget",
        Directory,
        &[
            ends(0, &["forget", "--keep-last", "1", "--dry-run"]),
            ends(0, &["forget", "--keep-last", "1", "--simulate", "14d"]),
            ends(25, &["forget", "{first}", "{id}"]),
            ends(0, &["forget", "{first}", "--gc", "--grace", "0"]),
            ends(0, &["forget", "--lost", "--dry-run"]),
        ],
    ),
    case(
        "undelete",
        Directory,
        &[
            ends(0, &["forget", "{first}"]),
            ends(0, &["undelete", "{first}"]),
            ends(1, &["undelete", "{first}"]),
            ends(1, &["undelete", "ffff"]),
        ],
    ),
    case(
        "copy",
        Directory,
        &[
            ends(0, &["init", "--repo", "second", "--sibling-of", ".local/share/seabed/repo"]),
            ends(0, &["copy", "--to", "second", "--dry-run"]),
            ends(0, &["copy", "{first}", "--to", "second"]),
            ends(0, &["copy", "--to", "second"]),
            ends(0, &["copy", "--from-repo", "second"]),
            ends(3, &["copy", "--to", "second", "--to", "none"]),
            ends(10, &["copy", "--to", "none"]),
            ends(0, &["init", "--repo", "stranger"]),
            ends(0, &["copy", "--to", "stranger", "--dry-run"]),
            ends(20, &["copy", "latest:/data", "--to", "second"]),
            ends(20, &["copy"]),
        ],
    ),
    case(
        "backup-to",
        Directory,
        &[
            ends(0, &["init", "--repo", "second", "--sibling-of", ".local/share/seabed/repo"]),
            ends(0, &["backup", "src", "--as-path", "/data", "--series", "docs", "--host", "web1", "--to", "second"]),
            ends(3, &["backup", "src", "--as-path", "/data", "--series", "docs", "--host", "web1", "--to", "second", "--to", "none"]),
        ],
    ),
    case(
        "rewrite",
        Directory,
        &[
            ends(0, &["rewrite", "--exclude", "new.txt", "--dry-run"]),
            ends(0, &["hold", "{first}"]),
            ends(0, &["rewrite", "--exclude", "b.txt", "--exclude", "new.txt", "--forget"]),
            ends(0, &["rewrite", "latest", "--new-host", "web2", "--new-series", "papers", "--new-time", "2026-01-03T00:00:00Z"]),
            ends(0, &["rewrite", "--exclude", "nothing.like.it"]),
            ends(25, &["rewrite", "latest", "--exclude", "/data"]),
            ends(20, &["rewrite", "latest"]),
            ends(20, &["rewrite", "--exclude", "["]),
            ends(1, &["rewrite", "ffffffff", "--exclude", "x"]),
        ],
    ),
    case(
        "hold",
        Directory,
        &[
            ends(0, &["hold", "latest", "--reason", "before the move"]),
            ends(0, &["hold", "{first}", "--for", "90d"]),
            ends(0, &["hold", "--list"]),
        ],
    ),
    case("unhold", Directory, &[ends(0, &["hold", "latest"]), ends(0, &["unhold", "latest"]), ends(1, &["unhold", "latest"])]),
    case(
        "tag",
        Directory,
        &[
            ends(0, &["tag", "--add", "golden,kept", "--remove", "nightly", "{first}"]),
            ends(0, &["tag", "--add", "kept"]),
            ends(0, &["tag", "--set", "", "--tag", "golden"]),
            ends(0, &["snapshots"]),
            ends(20, &["tag", "latest"]),
            ends(1, &["tag", "--add", "x", "ffffffff"]),
        ],
    ),
    case(
        "describe",
        Directory,
        &[
            ends(0, &["describe", "latest", "before the move"]),
            ends(0, &["describe", "latest", "before the move"]),
            ends(0, &["snapshots"]),
            ends(20, &["describe", "latest"]),
        ],
    ),
    case(
        "key",
        Directory,
        &[
            ends(0, &["key", "list"]),
            ends(0, &["key", "add", "--label", "laptop", "--new-key-file", "laptop.key"]),
            ends(0, &["key", "add", "--label", "safe", "--new-password-command", "echo a long passphrase", "--kdf-memory", "19"]),
            ends(20, &["key", "add", "--kdf-memory", "1"]),
            ends(20, &["key", "add"]),
            ends(0, &["key", "list", "--key-file", "laptop.key"]),
            ends(0, &["key", "export", "--label", "paper", "--output", "sheet.txt"]),
            ends(20, &["key", "export", "--output", "sheet.txt"]),
            ends(0, &["key", "export", "--no-slot"]),
            ends(25, &["key", "remove", "laptop", "--key-file", "laptop.key"]),
            ends(1, &["key", "remove", "nobody"]),
            ends(0, &["key", "remove", "laptop"]),
            ends(12, &["key", "list", "--key-file", "laptop.key"]),
            ends(0, &["key", "rotate"]),
            ends(0, &["key", "rewrite", "--dry-run"]),
            ends(0, &["key", "rewrite", "--grace", "0"]),
            ends(20, &["key", "rotate", "--budget", "1G"]),
            ends(0, &["key", "rotate", "--rewrite", "--grace", "0"]),
            ends(0, &["key", "import", "sheet.txt", "--new-key-file", "again.key", "--label", "again"]),
            ends(20, &["key", "import", "src/a.txt", "--new-key-file", "again.key"]),
            ends(0, &["key", "passwd", "--key-file", "again.key", "--new-key-file", "other.key"]),
            ends(0, &["key", "list", "--key-file", "sheet.txt"]),
        ],
    ),
    case(
        "gc",
        Directory,
        &[
            ends(0, &["gc", "--dry-run"]),
            ends(0, &["forget", "{first}"]),
            ends(0, &["gc", "--grace", "0", "--max-unused", "0"]),
            ends(0, &["gc"]),
        ],
    ),
    case(
        "stats",
        Directory,
        &[
            ends(0, &["stats"]),
            ends(0, &["stats", "--mode", "restore-size"]),
            ends(0, &["stats", "--mode", "files-by-contents"]),
            ends(0, &["stats", "--mode", "blobs-per-file"]),
            ends(0, &["stats", "latest", "--mode", "raw-data"]),
            ends(0, &["stats", "--growth"]),
            ends(0, &["stats", "--growth", "--by", "week"]),
            ends(20, &["stats", "latest:/data"]),
            ends(20, &["stats", "--mode", "sizes"]),
        ],
    ),
    case(
        "check",
        Directory,
        &[
            ends(0, &["check"]),
            ends(0, &["check", "--read-data"]),
            ends(20, &["check", "--read-data-subset", "9/7"]),
            ends(0, &["check", "--budget", "1h", "--max-age", "30d"]),
            ends(20, &["check", "--budget", "soon"]),
        ],
    ),
    case("check-damage", Directory, &[ends(23, &["check", "--read-data"]), ends(23, &["restore", "latest", "--target", "back"])]),
    case("rebuild", Directory, &[ends(0, &["rebuild"])]),
    case("repair", Directory, &[ends(0, &["repair"]), ends(0, &["repair", "--dry-run", "--no-read-data"]), ends(20, &["repair", "index"])]),
    case("repair-damage", Directory, &[ends(23, &["repair", "--dry-run"]), ends(23, &["repair"])]),
    case(
        "cat",
        Directory,
        &[
            ends(0, &["cat", "descriptor"]),
            ends(0, &["cat", "manifest"]),
            ends(0, &["cat", "manifest", "latest"]),
            ends(0, &["cat", "pending"]),
            ends(0, &["cat", "pack"]),
            ends(0, &["cat", "pack", "{pack}"]),
            ends(0, &["cat", "segment"]),
            ends(0, &["cat", "segment", "{segment}"]),
            ends(0, &["cat", "slot"]),
            ends(0, &["cat", "keyring"]),
            ends(1, &["cat", "pack", "zz"]),
        ],
    ),
    case("cache", Bucket, &[ends(0, &["ls", "latest", "/data/sub"]), ends(0, &["cache"]), ends(0, &["cache", "--trim", "1k"])]),
    case("doctor", Directory, &[ends(0, &["doctor"])]),
    case("doctor-bucket", Bucket, &[ends(0, &["doctor"])]),
    case(
        "lifecycle",
        Bucket,
        &[
            ends(3, &["lifecycle", "check"]),
            ends(3, &["lifecycle", "check", "photos", "--gap", "36h"]),
            ends(20, &["lifecycle", "check", "files"]),
            ends(20, &["lifecycle", "check", "nothing"]),
        ],
    ),
    case("iam-policy", Bucket, &[ends(0, &["iam-policy", "--repo", "s3://bucket/x", "--sse", "aws:kms"])]),
    case("self-test", Nothing, &[ends(0, &["self-test", "--dir", "."]), ends(1, &["self-test", "--dir", "none"])]),
    case("completions", Nothing, &[ends(0, &["completions", "fish"]), ends(20, &["completions", "fsh"])]),
    case("man", Nothing, &[ends(0, &["man", "pages"]), ends(1, &["man", "src/a.txt/x"])]),
    case("schema", Nothing, &[ends(0, &["schema", "version"]), ends(0, &["schema"]), ends(20, &["schema", "frob"])]),
    case(
        "schedule",
        Nothing,
        &[
            ends(0, &["schedule", "list", "--config", "jobs.toml", "--next", "2", "--from", "2026-01-01T00:00:00Z"]),
            ends(3, &["schedule", "check", "--config", "jobs.toml", "--from", "2026-01-01T00:00:00Z"]),
            ends(0, &["schedule", "install", "--cron", "--dry-run", "--config", "jobs.toml"]),
            ends(0, &["schedule", "install", "--systemd", "--dir", "units", "--config", "jobs.toml"]),
            ends(0, &["schedule", "remove", "--dir", "units", "--dry-run", "--config", "jobs.toml"]),
            ends(0, &["schedule", "remove", "--dir", "units", "--config", "jobs.toml"]),
            ends(20, &["schedule", "list", "--config", "none.toml"]),
            ends(20, &["schedule", "install", "--config", "jobs.toml"]),
        ],
    ),
    case("daemon", Nothing, &[runs(&["daemon", "--config", "jobs.toml"]), ends(20, &["daemon", "--config", "none.toml"])]),
    case("tick", Nothing, &[ends(0, &["tick", "--config", "jobs.toml"]), ends(20, &["tick", "--config", "none.toml"])]),
    case(
        "run",
        Directory,
        &[
            ends(0, &["run", "docs"]),
            ends(0, &["run", "docs"]),
            ends(0, &["run", "docs", "--verify"]),
            ends(21, &["run", "dump"]),
            ends(3, &["run"]),
            ends(20, &["run", "nope"]),
            ends(0, &["runs", "--last", "2"]),
            ends(0, &["logs", "dump"]),
            ends(1, &["logs", "--run", "zz"]),
            ends(3, &["status"]),
            ends(0, &["status", "docs"]),
            ends(0, &["retain", "--dry-run", "--explain"]),
            ends(0, &["restore", "docs@latest", "--target", "back", "--source", "docs"]),
            ends(20, &["restore", "docs@latest", "--target", "back", "--source", "dump"]),
        ],
    ),
    case(
        "config",
        Nothing,
        &[ends(20, &["config", "check"]), ends(0, &["config", "show"]), ends(0, &["config", "check", "--config", "jobs.toml"])],
    ),
    case("recover-plan", Nothing, &[ends(0, &["recover-plan"])]),
    case(
        "setup",
        Nothing,
        &[ends(25, &["setup", "--yes", "src", "--config", "seabed.toml"]), ends(0, &["setup", "--yes", "src", "--config", "new.toml"])],
    ),
    case("unlock", Nothing, &[ends(0, &["unlock"])]),
    case(
        "version",
        Nothing,
        &[ends(0, &["version"]), ends(20, &["vresion"]), ends(20, &["fnd"]), ends(20, &["log"]), ends(20, &["mounted"])],
    ),
];

/// Messages that no case brings about: what they need takes hours, a clock, or a store that misbehaves. Tests of their own bring them about.
pub const SELDOM: &[&str] = &["thaw_status", "job_started", "job_ended"];
