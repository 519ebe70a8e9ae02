//! What a person gets to read who mistypes something, and that the example of the manual is read whole.

use super::*;
use crate::jobs::config::source::Kind;

const WHOLE: &str = r#"
version = 1
tz = "UTC"
[repo.s3]
url = "s3://coderstew-backups/prod"
s3 = { region = "us-east-1", endpoint = "${NOT_SET_S3_ENDPOINT:-}", path_style = false, storage_class = "STANDARD_IA" }
key = { password_file = "/run/secrets/seabed_key" }
retention = "spatie"
[repo.local]
url = "dir:/backup/seabed"
key = { password = "hunter2-of-the-repository" }
retention = "week"
min_free = "10%"
[retention.spatie]
compat = "spatie"
keep = { all = "7d", daily = "30d", weekly = "8w", monthly = "4m", yearly = "2y" }
max_bytes = "5000MiB"
require_fresh = "36h"
[retention.week]
keep = { daily = 7, weekly = 4, monthly = 12 }
[source.pg]
kind = "postgres"
dsn = "host=db user=backup dbname=demeterai"
password_file = "/run/secrets/pg"
globals = true
[source.my]
kind = "mysql"
defaults_file = "/run/secrets/my.cnf"
databases = "all"
[source.app]
kind = "files"
paths = ["/srv/app"]
exclude = { preset = "laravel", globs = ["node_modules", ".git"] }
[source.pdfs]
kind = "s3"
url = "s3://schedgen-pdfs"
endpoint = "http://minio:9000"
[job.nightly]
sources = ["pg", "my", "app", "pdfs"]
repos = ["s3", "local"]
schedule = ["*-*-* 02:00", "0 14 * * *"]
run = { jitter = "15m", parallel = 2, timeout = "2h", stall = "10m", tries = 3, delay = "60s", lock_wait = "10m", nice = 10 }
hooks = { pre = ["php artisan down"], finally = ["php artisan up"], validate = ["/etc/seabed/validate.sh"] }
monitor = { max_age = "26h", min_bytes = "1MiB", max_shrink = "30%", max_duration = "1h" }
ping = "https://hc-ping.com/UUID"
"#;

fn read(text: &str) -> Result<Config, Fail> {
    let path = Path::new("/etc/seabed/seabed.toml");
    let text = expand::expand(&File::new(path, text))?;
    Config::parse(path, text, &[])
}

#[test]
fn the_whole_example_is_read() {
    let config = read(WHOLE).unwrap();
    assert_eq!(config.repos["s3"].s3.endpoint(), None);
    let job = config.job("nightly").unwrap();
    assert_eq!((job.run.parallel.get(), job.run.tries.get(), job.schedule.len()), (2, 3, 2));
    assert!(matches!(config.sources["my"].kind, Kind::Mysql(_)));
    let spatie = config.policy("spatie").unwrap().policy("spatie", "UTC").unwrap();
    assert_eq!(spatie.max_bytes, Some(5000 << 20));
}

#[test]
fn what_is_shown_is_read_again_and_holds_no_secret() {
    let shown = show(&read(WHOLE).unwrap()).unwrap();
    assert!(!shown.contains("hunter2"), "{shown}");
    let again = read(&shown).unwrap_or_else(|fail| panic!("{}\n{shown}", fail.message));
    assert_eq!(show(&again).unwrap(), shown);
}

#[test]
fn a_mistyped_key_is_told_with_its_line_and_what_was_meant() {
    for (from, to, near) in [
        ("retention = \"week\"", "retnetion = \"week\"", "retention"),
        ("globals = true", "globalz = true", "globals"),
        ("storage_class = ", "storage_clas = ", "storage_class"),
        ("max_shrink = ", "max_shrnk = ", "max_shrink"),
        ("[job.nightly]", "[jobs.nightly]", "job"),
        ("preset = ", "presets = ", "preset"),
        ("lock_wait = ", "lockwait = ", "lock_wait"),
    ] {
        let text = WHOLE.replace(from, to);
        let line = text[..text.find(to).unwrap()].matches('\n').count() + 1;
        let fail = read(&text).unwrap_err();
        let wanted = format!("/etc/seabed/seabed.toml:{line}: the key ");
        assert!(fail.message.starts_with(&wanted), "{to}: {} is not at line {line}", fail.message);
        assert_eq!(fail.hint.as_deref(), Some(format!("did you mean `{near}`?").as_str()), "{to}");
    }
}

#[test]
fn a_wrong_value_is_told_with_its_line() {
    for (from, to, words) in [
        ("timeout = \"2h\"", "timeout = \"2 hours\"", ":{line}: `2 hours` is no span of time"),
        ("parallel = 2", "parallel = 0", ":{line}: "),
        ("kind = \"mysql\"", "kind = \"mysq\"", "did you mean `mysql`?"),
        ("sources = [\"pg\"", "sources = [\"gp\"", "there is no [source.gp]"),
        ("max_bytes = \"5000MiB\"", "max_bytes = \"lots\"", ":{line}: `lots` is no size"),
        ("key = { password_file", "key = { password_command = \"x\", password_file", "the secret is given in 2 ways"),
        ("preset = \"laravel\"", "preset = \"larvel\"", "did you mean `laravel`?"),
        ("ping = \"https", "ping = \"http", "no https:// URL"),
        ("tz = \"UTC\"", "tz = \"Mars\"", "no time zone `Mars`"),
        ("version = 1", "version = 2", "is of version 2"),
        ("[job.nightly]", "[job.\"a/b\"]", "such a name cannot be used"),
        ("url = \"s3://coderstew-backups/prod\"", "url = \"${NOT_SET_ANYWHERE}\"", ":{line}: the variable NOT_SET_ANYWHERE is not set"),
    ] {
        let text = WHOLE.replace(from, to);
        let line = text[..text.find(to).unwrap()].matches('\n').count() + 1;
        let words = words.replace("{line}", &line.to_string());
        let fail = read(&text).unwrap_err();
        assert!(fail.message.contains(&words), "{to}: {}", fail.message);
    }
}

#[test]
fn no_text_panics() {
    // Cut anywhere, and with any character put in the place of another: an error, or a configuration.
    for at in 0..WHOLE.len() {
        drop(read(&WHOLE[..at]));
        if at % 7 == 0 {
            for c in ["\"", "{", "]", "$", "\u{0}", "=", "ä"] {
                let mut text = WHOLE.to_owned();
                text.replace_range(at..=at, c);
                drop(read(&text));
            }
        }
    }
}
