//! A service and a timer of systemd for a job. It must never let the service do more than a backup needs: what it reads it can only read,
//! and what it writes is named. `systemd-analyze security` says 3.0 or less of every one for the system. It obeys operations.md, row 3.10.

use super::planned::Planned;
use std::fmt::Write as _;
use std::path::Path;

/// The name of a job's units, without `.service` and `.timer`.
pub fn name(job: &str) -> String {
    format!("seabed-{job}")
}

/// A value in a unit: quoted where blanks would part it, with nothing that systemd would expand.
fn value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' => out.push_str("%%"),
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => write!(out, "\\x{:02x}", u32::from(c)).unwrap_or(()),
            c => out.push(c),
        }
    }
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=~".contains(c);
    if !text.is_empty() && text.chars().all(plain) { out } else { format!("\"{out}\"") }
}

fn path(path: &Path) -> String {
    value(&path.to_string_lossy())
}

/// A word of a command line, in which systemd expands variables too.
fn word(text: &str) -> String {
    value(text).replace('$', "$$")
}

/// `seabed-JOB.timer`.
pub fn timer(planned: &Planned) -> String {
    let mut out = format!("[Unit]\nDescription=Times of Seabed's job {}\n\n[Timer]\n", planned.job);
    let mut seen: Vec<String> = Vec::new();
    for line in planned.schedules.iter().flat_map(|schedule| schedule.on_calendar(&planned.tz)) {
        if !seen.contains(&line) {
            out.push_str(&format!("OnCalendar={line}\n"));
            seen.push(line);
        }
    }
    // Missed while the machine was off: made up for once. Without the last line systemd may put a start off by a minute.
    out.push_str("Persistent=true\n");
    if !planned.jitter.is_zero() {
        out.push_str(&format!("RandomizedDelaySec={}s\nFixedRandomDelay=true\n", planned.jitter.as_secs()));
    }
    out.push_str("AccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n");
    out
}

/// `seabed-JOB.service`.
pub fn service(planned: &Planned) -> String {
    let mut lines: Vec<String> = vec!["[Unit]".to_owned(), format!("Description=Seabed's job {}", planned.job)];
    if planned.network && !planned.user {
        lines.push("Wants=network-online.target".to_owned());
    }
    if !planned.user {
        lines.push(format!("After={}remote-fs.target", if planned.network { "network-online.target " } else { "" }));
    }
    let [program, config] = [&planned.seabed, &planned.config].map(|path| word(&path.to_string_lossy()));
    lines.extend([
        String::new(),
        "[Service]".to_owned(),
        "Type=oneshot".to_owned(),
        format!("ExecStart={program} run {} --cause schedule --config {config}", word(&planned.job)),
        // It passes the signal on, and waits for what it has started.
        "KillMode=mixed".to_owned(),
        // Whatever the variables of whoever installs it, and those of the service.
        format!("Environment={}", value(&format!("SEABED_CACHE_DIR={}", planned.cache.to_string_lossy()))),
        format!("Environment={}", value(&format!("SEABED_STATE_DIR={}", planned.state.to_string_lossy()))),
    ]);
    if !planned.user {
        // systemd gives a service of root none.
        lines.push("Environment=HOME=%h".to_owned());
    }
    lines.extend(planned.env_file.iter().map(|file| format!("EnvironmentFile={}", path(file))));
    lines.extend(
        planned.credentials.iter().map(|(name, file)| format!("LoadCredential={name}:{}", file.to_string_lossy().replace('%', "%%"))),
    );
    lines.extend(planned.timeout.iter().map(|timeout| format!("TimeoutStartSec={}s", timeout.as_secs())));
    lines.push(String::new());
    lines.extend(if planned.user { of_a_user(planned) } else { of_the_system(planned) });
    lines.push(String::new());
    lines.join("\n")
}

fn fixed(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// What both kinds are denied.
fn denied(planned: &Planned) -> Vec<String> {
    let mut lines = fixed(&[
        "UMask=0077",
        "NoNewPrivileges=true",
        "LockPersonality=true",
        "RestrictRealtime=true",
        "RestrictSUIDSGID=true",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallErrorNumber=EPERM",
    ]);
    // Interpreters that compile while they run need both.
    if !planned.commands {
        lines.push("MemoryDenyWriteExecute=true".to_owned());
    }
    lines
}

/// Of a user's own services systemd can deny little more without showing them other owners of files than there are.
fn of_a_user(planned: &Planned) -> Vec<String> {
    denied(planned)
}

fn of_the_system(planned: &Planned) -> Vec<String> {
    let mut lines = denied(planned);
    lines.extend(fixed(&[
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "ProtectClock=true",
        "ProtectControlGroups=true",
        "ProtectHostname=true",
        "ProtectKernelLogs=true",
        "ProtectKernelModules=true",
        "ProtectKernelTunables=true",
        "PrivateMounts=true",
        "RestrictNamespaces=true",
        "KeyringMode=private",
        "RemoveIPC=true",
    ]));
    // Root reads all files by the first, and writes a repository that is another user's by the second. By the others commands become
    // another user, and are ended as one.
    let capabilities = if planned.commands { " CAP_SETUID CAP_SETGID CAP_KILL" } else { "" };
    lines.push(format!("CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE{capabilities}"));
    lines.extend(match planned.network {
        // The last one is how names are looked up.
        true => fixed(&["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"]),
        false => fixed(&["PrivateNetwork=true", "RestrictAddressFamilies=AF_UNIX"]),
    });
    if !planned.commands {
        lines.extend(fixed(&["ProtectProc=invisible", "ProcSubset=pid"]));
    }
    // Devices that are backed up, or a whole system, are those of the machine: disks can be read, no more.
    lines.extend(match planned.touches("/dev") {
        true => fixed(&["DevicePolicy=closed", "DeviceAllow=block-* r"]),
        false => fixed(&["PrivateDevices=true"]),
    });
    let mut writable: Vec<String> =
        planned.writable.iter().chain([&planned.cache, &planned.state]).map(|place| format!("-{}", place.to_string_lossy())).collect();
    // The same goes for temporary files; those of its own it needs to write in any case.
    if planned.touches("/tmp") || planned.touches("/var/tmp") {
        writable.extend(["/tmp".to_owned(), "/var/tmp".to_owned()]);
    } else {
        lines.push("PrivateTmp=true".to_owned());
    }
    // A place that is not there (a disk that is away) is for the job to complain of, which tells people about it.
    let mut seen: Vec<&String> = Vec::new();
    for place in &writable {
        if !seen.contains(&place) {
            lines.push(format!("ReadWritePaths={}", value(place)));
            seen.push(place);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::planned::examples::{everything, local};
    use super::*;

    #[test]
    fn a_timer_has_a_line_for_each_calendar() {
        let text = timer(&everything());
        let calendars: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("OnCalendar=")).collect();
        let zone = "Europe/London";
        let expected = ["*-*-01 02:00:00", "Mon *-*-* 02:00:00", "*-*-* 14:00:00"].map(|line| format!("{line} {zone}"));
        assert_eq!(calendars, expected);
        assert!(text.contains("\nRandomizedDelaySec=900s\nFixedRandomDelay=true\n") && text.contains("\nPersistent=true\n"));
        let plain = timer(&local());
        assert!(plain.contains("OnCalendar=*-*-* 02:00:00 UTC\n") && !plain.contains("Delay"), "{plain}");
    }

    #[test]
    fn a_service_gets_what_it_needs() {
        let (local, all) = (service(&local()), service(&everything()));
        for line in [
            "ExecStart=/usr/local/bin/seabed run files --cause schedule --config /etc/seabed/seabed.toml",
            "PrivateNetwork=true",
            "PrivateTmp=true",
        ] {
            assert!(local.lines().any(|have| have == line), "{line}\n{local}");
        }
        for line in [
            "ExecStart=/usr/local/bin/seabed run nightly --cause schedule --config \"/etc/sea bed/$$HOME.toml\"",
            "LoadCredential=repo:/etc/seabed/100%%.key",
            "EnvironmentFile=/etc/seabed/env",
            "ReadWritePaths=/var/tmp",
            "ReadWritePaths=-/backup/seabed",
            "TimeoutStartSec=7200s",
        ] {
            assert!(all.lines().any(|have| have == line), "{line}\n{all}");
        }
        for word in ["PrivateTmp", "PrivateDevices", "PrivateNetwork", "MemoryDeny"] {
            assert!(!all.contains(word), "{word}\n{all}");
        }
        let user = service(&Planned { user: true, ..super::super::planned::examples::local() });
        assert!(!user.contains("Protect") && user.contains("NoNewPrivileges"), "{user}");
    }

    #[test]
    fn values_are_taken_as_they_are() {
        assert_eq!(
            (value("/a/b-c.d"), value("/a b"), value("50%"), value("a\"\\")),
            ("/a/b-c.d".into(), "\"/a b\"".into(), "50%%".into(), "\"a\\\"\\\\\"".into())
        );
        assert_eq!((word("a$b"), value("")), ("\"a$$b\"".into(), "\"\"".into()));
    }
}
