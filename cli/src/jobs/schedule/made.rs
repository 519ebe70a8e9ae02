//! How a file that was made says so: who made it from what, and a hash by which it is seen whether it is still as it would be made today.
//! It must never call a file its own that does not say so: `remove` deletes what this finds.

use serde_json::{Value, json};
use std::path::PathBuf;

/// Begins the second line of a file that was made.
const MARK: &str = "# seabed-schedule: ";

/// What a file was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The configuration file.
    pub config: PathBuf,
    /// The job; none where the file is for all of them.
    pub job: Option<String>,
    /// What `install` was told beside the configuration.
    pub options: Options,
}

/// What `install` is told beside the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Further directories that jobs may write.
    pub read_write: Vec<PathBuf>,
    /// A file with variables.
    pub env_file: Option<PathBuf>,
    /// Secrets that systemd reads for the jobs: name and file.
    pub credentials: Vec<(String, PathBuf)>,
    /// The image of a container.
    pub image: Option<String>,
}

/// A file that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// From what.
    pub origin: Origin,
    /// What its content was hashed to then.
    pub hash: String,
    /// What it is hashed to now.
    pub found: String,
}

fn hash(body: &str) -> String {
    let mut text = blake3::hash(body.as_bytes()).to_hex().to_string();
    text.truncate(32);
    text
}

/// A file that says what it was made from.
pub fn file(origin: &Origin, body: &str) -> String {
    let about = json!({
        "config": origin.config.to_string_lossy(),
        "job": origin.job,
        "read_write": origin.options.read_write.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "env_file": origin.options.env_file.as_ref().map(|path| path.to_string_lossy()),
        "credentials": origin.options.credentials.iter().map(|(name, file)| json!([name, file.to_string_lossy()])).collect::<Vec<_>>(),
        "image": origin.options.image,
    });
    let hash = hash(body);
    format!(
        "# Made by `seabed schedule install`, which writes it anew; `seabed schedule remove` deletes it. Changes belong into the configuration.\n{MARK}{hash} {about}\n{body}"
    )
}

/// What the file says of itself; `None` for one that was made by somebody else.
pub fn read(text: &str) -> Option<Made> {
    let (_, rest) = text.split_once('\n').filter(|(first, _)| first.starts_with("# Made by `seabed schedule install`"))?;
    let (mark, body) = rest.split_once('\n')?;
    let (hash_then, about) = mark.strip_prefix(MARK)?.split_once(' ')?;
    let about: Value = serde_json::from_str(about).ok()?;
    let path = |value: &Value| value.as_str().map(PathBuf::from);
    Some(Made {
        origin: Origin {
            config: path(&about["config"])?,
            job: about["job"].as_str().map(str::to_owned),
            options: Options {
                read_write: about["read_write"].as_array().into_iter().flatten().filter_map(path).collect(),
                env_file: path(&about["env_file"]),
                credentials: about["credentials"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|pair| Some((pair[0].as_str()?.to_owned(), path(&pair[1])?)))
                    .collect(),
                image: about["image"].as_str().map(str::to_owned),
            },
        },
        hash: hash_then.to_owned(),
        found: hash(body),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_was_made_from() {
        let options = Options {
            read_write: vec!["/srv/a b".into()],
            env_file: None,
            credentials: vec![("a".into(), "/b".into())],
            image: Some("seabed".into()),
        };
        let origin = Origin { config: "/etc/seabed/\"x\".toml".into(), job: Some("nightly".into()), options };
        let text = file(&origin, "[Unit]\n");
        let made = read(&text).unwrap();
        assert_eq!((&made.origin, &made.hash), (&origin, &made.found));
        let edited = read(&text.replace("[Unit]", "[unit]")).unwrap();
        assert!(edited.hash == made.hash && edited.found != made.found);
        for other in ["", "[Unit]\n", "# seabed-schedule: 00 {}\n[Unit]\n", "# Made by `seabed schedule install`\n[Unit]\n"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
