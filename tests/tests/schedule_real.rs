//! Schedules in the hands of the real ones: systemd looks at our units and boots with them, Debian's cron runs our line. operations.md section 7,
//! test 17. All of it happens in mount namespaces of its own: nothing of the machine is touched.

use crate::cli::{Home, binary};
use crate::schedule::{home, messages, snapshots};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn analyze(args: &[&str]) -> Output {
    Command::new("systemd-analyze").env("LC_ALL", "C").args(args).output().expect("systemd-analyze (package systemd) is needed")
}

/// A job of each kind: directories alone, a database and a bucket, hooks and commands, and a whole machine.
const JOBS: &str = "repos = [\"local\"]
schedule = [\"02:00\", \"0 2 1 * 1\"]
run = { jitter = \"15m\" }
[repo.s3]
url = \"s3://bucket/prefix\"
[source.pg]
kind = \"postgres\"
dsn = \"host=/run/postgresql user=x dbname=y\"
[source.lite]
kind = \"sqlite\"
paths = [\"/srv/app/*.db\"]
[source.exec]
kind = \"command\"
command = \"echo x\"
[source.all]
kind = \"files\"
paths = [\"/\"]
[job.local]
sources = [\"lite\"]
repos = [\"local\"]
schedule = \"daily\"
[job.network]
sources = [\"pg\", \"lite\"]
repos = [\"s3\"]
schedule = \"hourly\"
[job.everything]
sources = [\"pg\", \"exec\", \"all\"]
repos = [\"s3\", \"local\"]
schedule = \"weekly\"
hooks = { pre = [\"true\"] }";

#[test]
fn t17_schedulers_units_are_right_and_safe() {
    let home = home(JOBS);
    home.ends(0, &["schedule", "install", "--systemd", "--dir", "units", "--credential", "a=/etc/hostname", "--read-write", "src"]);
    let units: Vec<String> = fs::read_dir(home.path("units")).unwrap().map(|entry| entry.unwrap().path().display().to_string()).collect();
    assert_eq!(units.len(), 8);
    let all: Vec<&str> = units.iter().map(String::as_str).collect();
    let verified = analyze(&[&["verify"], &all[..]].concat());
    assert!(verified.status.success() && said(&verified).is_empty(), "{}", said(&verified));
    for unit in all.iter().filter(|unit| unit.ends_with(".service")) {
        // In tenths.
        let safe = analyze(&["security", "--offline=true", "--threshold=30", unit]);
        assert!(safe.status.success(), "{unit}: {}", said(&safe));
    }
}

/// Runs a script in a mount namespace of its own.
fn apart(script: &str, home: &Home, seconds: u32) -> Output {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &seconds.to_string(), "unshare", "--mount", "--propagation", "private", "bash", "-euc", script]);
    command.env("HERE", home.path("")).env("SEABED", binary()).current_dir(home.path("")).env("LC_ALL", "C");
    command.output().unwrap()
}

#[test]
fn t17_schedulers_cron_runs_its_line() {
    let home = home("schedule = \"@yearly\"");
    home.ends(0, &["tick"]);
    let then = serde_json::json!({"version": 1, "jobs": {"nightly": {"last": "2020-06-01T00:00:00Z"}}});
    fs::write(home.path("state/schedule.json"), then.to_string()).unwrap();
    home.ends(0, &["schedule", "install", "--cron", "--dir", "cron.d"]);
    // Ten seconds before it runs. The clock is cron's alone: what it starts has the machine's.
    let script = "
        mount --bind cron.d /etc/cron.d
        mount -t tmpfs tmpfs /run
        mount -t tmpfs tmpfs /var/spool/cron
        mkdir -p /var/spool/cron/crontabs
        wrong=$(($(date -d '2026-06-01 12:04:52Z' +%s) - $(date +%s)))
        set -- /usr/lib/*/faketime/libfaketime.so.1
        env LD_PRELOAD=$1 FAKETIME=$(printf %+d $wrong) cron -f -L 15 > log 2>&1 &
        cron=$!
        for i in $(seq 300); do
            ls backups/snapshots/* > /dev/null 2>&1 && ! grep -q '\"last\":\"2020' state/schedule.json && break
            sleep 0.1
        done
        # What it started ends by itself.
        for i in $(seq 100); do pgrep -P $cron > /dev/null || break; sleep 0.1; done
        kill $cron
        cat log";
    let out = apart(script, &home, 90);
    assert!(out.status.success(), "{}\n{}", said(&out), fs::read_to_string(home.path("cron.d/seabed")).unwrap());
    assert_eq!(snapshots(&home), 1, "{}", said(&out));
    let runs = home.ends(0, &["tick", "--json"]);
    assert_eq!(messages(&runs, "summary")[0]["started"], 0, "cron's run is known");
}

/// A machine of its own boots from a copy of this one, and its systemd runs the job by the timer, in all the confinement of the unit.
#[test]
fn t17_schedulers_a_booted_system_runs_the_timer() {
    let home = home("schedule = \"daily\"");
    home.write(
        "machine.toml",
        "[repo.local]\nurl = \"dir:/backup/repo\"\nkey = { password_file = \"/etc/seabed/key\" }\n[source.data]\nkind = \"files\"\npaths = [\"/srv/data\"]\n\
         [job.often]\nsources = [\"data\"]\nschedule = \"*:*:0/4\"\n",
    );
    let script = r#"
        mkdir machine
        mount -t tmpfs tmpfs machine
        cd machine
        mkdir up work root
        mount -t overlay overlay -o lowerdir=/,upperdir=$PWD/up,workdir=$PWD/work root
        root=$PWD/root
        # As a machine of today has it, whatever this one has.
        umount -R /sys/fs/cgroup 2> /dev/null || true
        mount -t cgroup2 cgroup2 /sys/fs/cgroup

        rm -rf $root/srv/data $root/backup $root/etc/seabed $root/var/lib/seabed $root/root/.cache $root/root/.config $root/etc/machine-id
        mkdir -p $root/srv/data/deep $root/backup $root/etc/seabed $root/usr/local/bin
        echo 0123456789abcdef0123456789abcdef > $root/etc/machine-id
        cp "$SEABED" $root/usr/local/bin/seabed
        cp "$HERE/machine.toml" $root/etc/seabed/seabed.toml
        echo secret > $root/srv/data/deep/private
        chown 1234:4321 $root/srv/data/deep/private $root/srv/data/deep
        chmod 0600 $root/srv/data/deep/private
        chmod 0700 $root/srv/data/deep
        inside() { chroot $root env -i HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin "$@"; }
        echo 'a passphrase' > $root/etc/seabed/key
        inside seabed init --repo /backup/repo --password-file /etc/seabed/key --quiet
        mount -t proc proc $root/proc
        inside seabed schedule install --systemd --config /etc/seabed/seabed.toml
        umount $root/proc
        printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nWants=seabed-often.timer\nAllowIsolate=yes\n' > $root/etc/systemd/system/test.target

        systemd-nspawn -D $root --boot --register=no --keep-unit --private-network --console=pipe -M seabed-$$ systemd.unit=test.target > console 2>&1 < /dev/null &
        for i in $(seq 300); do
            ls $root/backup/repo/snapshots/* > /dev/null 2>&1 && break
            kill -0 $! 2> /dev/null || break
            sleep 0.1
        done
        # The run goes on behind its commit.
        sleep 1
        kill $! && wait $! || true
        cat console
        inside seabed --repo /backup/repo --password-file /etc/seabed/key ls latest --long --json > ../listing
        mount -t proc proc $root/proc
        inside seabed --config /etc/seabed/seabed.toml schedule check --json > ../checked || true
    "#;
    let out = apart(script, &home, 120);
    let listing = fs::read_to_string(home.path("listing")).unwrap_or_default();
    assert!(out.status.success() && !listing.is_empty(), "{}", said(&out));
    let private = listing.lines().find(|line| line.contains("/srv/data/deep/private")).unwrap_or_else(|| panic!("{listing}"));
    let node: serde_json::Value = serde_json::from_str(private).unwrap();
    assert_eq!((&node["uid"], &node["gid"], &node["size"]), (&1234.into(), &4321.into(), &7.into()), "{private}");
    let checked = fs::read_to_string(home.path("checked")).unwrap();
    assert_eq!(messages(&checked, "summary")[0]["installed_files"], 2, "{checked}");
    let drifts = messages(&checked, "finding").into_iter().filter(|finding| finding["kind"] == "drift").count();
    assert_eq!(drifts, 0, "{checked}");
    assert!(!Path::new("/etc/systemd/system/seabed-often.timer").exists());
}
