//! A service of Compose that runs the daemon. It must never mount what is backed up in any other way than read-only.
//! It obeys operations.md, rows 2.1 and 3.9.

use super::planned::Planned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The name of the file, where one is written.
pub const NAME: &str = "compose.seabed.yaml";

/// A text in YAML. JSON's strings are YAML's, and Compose would expand a `$`.
fn text(text: &str) -> String {
    Value::from(text.replace('$', "$$")).to_string()
}

fn mount(path: &Path, to: &str, read_only: bool) -> String {
    let (source, target) = (text(&path.to_string_lossy()), text(to));
    let read_only = if read_only { "\n        read_only: true" } else { "" };
    // Without the last lines a directory that is not there would be made, as root's, and backed up empty.
    format!(
        "      - type: bind\n        source: {source}\n        target: {target}{read_only}\n        bind:\n          create_host_path: false\n"
    )
}

/// The file: one service for all jobs of a configuration.
pub fn file(image: &str, config: &Path, jobs: &[Planned]) -> String {
    const CONFIG: &str = "/etc/seabed/seabed.toml";
    let command = json!(["daemon", "--config", CONFIG]);
    let mut mounts = mount(config, CONFIG, true);
    let writable: BTreeSet<&PathBuf> = jobs.iter().flat_map(|job| &job.writable).collect();
    let secrets = jobs.iter().flat_map(|job| job.credentials.iter().map(|(_, file)| file));
    let readable: BTreeSet<&PathBuf> =
        jobs.iter().flat_map(|job| &job.readable).chain(secrets).filter(|path| !writable.contains(path)).collect();
    for path in readable {
        mounts.push_str(&mount(path, &path.to_string_lossy(), true));
    }
    for path in writable {
        mounts.push_str(&mount(path, &path.to_string_lossy(), false));
    }
    let env_files: BTreeSet<&PathBuf> = jobs.iter().filter_map(|job| job.env_file.as_ref()).collect();
    let env: String = env_files.iter().map(|file| format!("      - {}\n", text(&file.to_string_lossy()))).collect();
    let env = if env.is_empty() { env } else { format!("    env_file:\n{env}") };
    let image = text(image);
    format!(
        "services:
  seabed:
    image: {image}
    command: {command}
    # To read what belongs to others; a user of its own suffices where everything is readable to it.
    user: \"0:0\"
    cap_drop: [ALL]
    cap_add: [DAC_READ_SEARCH, DAC_OVERRIDE]
    security_opt: [\"no-new-privileges:true\"]
    read_only: true
    # Jobs leave children of children behind when they are ended: somebody has to wait for these.
    init: true
    restart: unless-stopped
    # Time for runs to end well; what they have stored is kept in any case.
    stop_grace_period: 5m
{env}    environment:
      SEABED_CACHE_DIR: /var/cache/seabed
      SEABED_STATE_DIR: /var/lib/seabed
    tmpfs: [/tmp, /var/tmp]
    healthcheck:
      test: [\"CMD\", \"seabed\", \"status\", \"--quiet\", \"--config\", \"{CONFIG}\"]
      interval: 15m
      timeout: 2m
      start_period: 1m
      retries: 2
    volumes:
      - seabed-state:/var/lib/seabed
      - seabed-cache:/var/cache/seabed
{mounts}volumes:
  seabed-state:
  seabed-cache:
"
    )
}

#[cfg(test)]
mod tests {
    use super::super::planned::examples::{everything, local};
    use super::*;

    #[test]
    fn what_is_backed_up_is_read_only() {
        let text = file("seabed:1", Path::new("/etc/sea $bed.toml"), &[local(), everything()]);
        assert!(
            text.contains(
                "        source: \"/etc/sea $$bed.toml\"\n        target: \"/etc/seabed/seabed.toml\"\n        read_only: true\n"
            ),
            "{text}"
        );
        assert!(text.contains("source: \"/srv/app\"\n        target: \"/srv/app\"\n        read_only: true\n"), "{text}");
        assert!(text.contains("source: \"/backup/seabed\"\n        target: \"/backup/seabed\"\n        bind:"), "{text}");
        assert!(!text.contains("source: \"/var/lib/seabed\"") && text.contains("env_file:\n      - \"/etc/seabed/env\"\n"), "{text}");
    }
}
