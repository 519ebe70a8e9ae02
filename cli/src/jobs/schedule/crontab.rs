//! A file for cron: one line, which asks every five minutes what is due. It must never hold the times of jobs: crons differ in what they
//! make of daylight saving, and ours is decided by `tick`. It obeys operations.md, row 3.11.

use std::path::Path;

/// Where Debian's cron reads files with one more field, the user.
pub const DIRECTORY: &str = "/etc/cron.d";
/// Its file there. cron passes over names with a dot.
pub const NAME: &str = "seabed";

/// A word of a shell's command line in a crontab, where `%` would end the line.
fn word(path: &Path) -> Option<String> {
    shlex::try_quote(&path.to_string_lossy()).ok().map(|word| word.replace('%', "\\%"))
}

/// The file. `None`: a path that no line of a crontab can hold.
pub fn file(seabed: &Path, config: &Path, env_file: Option<&Path>) -> Option<String> {
    let (seabed, config) = (word(seabed)?, word(config)?);
    let env = match env_file {
        Some(file) => format!("set -a; . {}; set +a; ", word(file)?),
        None => String::new(),
    };
    if [&seabed, &config, &env].iter().any(|part| part.contains('\n')) {
        return None;
    }
    // cron gives its children next to no PATH, and clients of databases are looked for in it.
    Some(format!(
        "SHELL=/bin/sh\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         */5 * * * * root {env}{seabed} tick --quiet --config {config}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crontab_is_one_line() {
        let text = file(Path::new("/usr/bin/seabed"), Path::new("/etc/sea bed/50%.toml"), None).unwrap();
        assert_eq!(text.lines().last(), Some("*/5 * * * * root /usr/bin/seabed tick --quiet --config '/etc/sea bed/50\\%.toml'"));
        let with = file(Path::new("/usr/bin/seabed"), Path::new("/c"), Some(Path::new("/etc/seabed/env"))).unwrap();
        assert!(with.ends_with(" root set -a; . /etc/seabed/env; set +a; /usr/bin/seabed tick --quiet --config /c\n"), "{with}");
        assert_eq!(file(Path::new("/a\nb"), Path::new("/c"), None), None);
    }
}
