//! Buckets by the command line: a job that backs one up, and what is said of its rules. Tests are called `s3_source_cli_*`.
//! It obeys what README.md says of buckets.

use crate::cli::{Home, ended};
use seabed_tests::s3_server::behaviour::Canned;
use seabed_tests::s3_server::{ACCESS_KEY, Operation, S3Server, SECRET_KEY};
use serde_json::Value;
use std::process::Command;

/// A home with a configuration: one bucket, one repository in a directory, one job.
fn home(server: &S3Server, more: &str) -> Home {
    let home = Home::new();
    let (repository, photos) = (home.repository(), server.url("photos"));
    let config = format!(
        "[repo.main]\nurl = \"{}\"\n[source.photos]\nkind = \"s3\"\nurl = \"{photos}\"\n\
         s3 = {{ access_key_id = \"{ACCESS_KEY}\", secret_access_key = \"{SECRET_KEY}\", region = \"us-east-1\" }}\n{more}\n\
         [job.nightly]\nsources = [\"photos\"]\n",
        repository.display()
    );
    home.write("seabed.toml", &config);
    home
}

fn command(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command(args);
    command.env("XDG_STATE_HOME", home.path("state"));
    command
}

fn ends(home: &Home, code: i32, args: &[&str]) -> String {
    ended(code, &command(home, args).output().unwrap(), args)
}

fn rules(server: &S3Server, text: &str) {
    server.behave(|b| b.lifecycle = Canned::Xml(format!("<LifecycleConfiguration>{text}</LifecycleConfiguration>")));
}

#[test]
fn s3_source_cli_a_job_backs_a_bucket_up() {
    let server = S3Server::start();
    for key in ["photos/a.jpg", "photos/b/c.jpg", "photos/tmp/x"] {
        server.put_object(key, key);
    }
    let home = home(&server, "exclude = [\"tmp\"]");
    ends(&home, 0, &["init"]);
    ends(&home, 0, &["run", "nightly"]);
    let listed = ends(&home, 0, &["ls", "latest"]);
    assert!(listed.contains("photos/a.jpg") && listed.contains("photos/b/c.jpg") && !listed.contains("tmp"), "{listed}");
    server.clear_log();
    ends(&home, 0, &["run", "nightly"]);
    assert!(server.log_of(Operation::GetObject).is_empty());
    assert_eq!(ends(&home, 0, &["dump", "latest", "/photos/b/c.jpg"]), "photos/b/c.jpg");
    server.remove_object("photos/a.jpg");
    server.remove_object("photos/b/c.jpg");
    server.remove_object("photos/tmp/x");
    // A bucket that is empty all of a sudden makes no snapshot.
    let out = command(&home, &["run", "nightly"]).output().unwrap();
    assert_ne!(out.status.code(), Some(0));
    assert_eq!(ends(&home, 0, &["snapshots", "--json"]).matches("\"short_id\"").count(), 2);
}

#[test]
fn s3_source_cli_lifecycle_check_tells_what_goes_before_it_was_backed_up() {
    let server = S3Server::start();
    server.put_object("photos/raw/a", "a");
    let home = home(&server, "");
    ends(&home, 0, &["init"]);
    // No rules: nothing to say.
    let said = ends(&home, 0, &["lifecycle", "check"]);
    assert!(said.contains("no rule deletes"), "{said}");
    let rule = |days: u32| {
        format!(
            "<Rule><ID>raw</ID><Status>Enabled</Status><Filter><Prefix>photos/raw/</Prefix></Filter><Expiration><Days>{days}</Days></Expiration></Rule>"
        )
    };
    rules(&server, &rule(2));
    let said = ends(&home, 3, &["lifecycle", "check"]);
    assert!(said.contains("in no snapshot") && said.contains("raw/a"), "{said}");
    ends(&home, 0, &["run", "nightly"]);
    let said = ends(&home, 0, &["lifecycle", "check", "photos", "--gap", "24h"]);
    assert!(said.contains("deleted 2 days after it was put"), "{said}");
    server.put_object("photos/raw/b", "b");
    let value: Value =
        serde_json::from_str(ends(&home, 3, &["lifecycle", "check", "--gap", "48h", "--json"]).lines().next().unwrap()).unwrap();
    let risks = value["rules"][0]["risks"].as_array().unwrap();
    let words: Vec<&str> = risks.iter().map(|risk| risk["risk"].as_str().unwrap()).collect();
    assert_eq!(words, ["deletes_between_runs", "deletes_unsaved"], "{value}");
    assert_eq!((&risks[1]["first"], &risks[1]["objects"]), (&"raw/b".into(), &1.into()));
    // Rules that may not be read are not none.
    server.behave(|b| b.lifecycle = Canned::Error(403, "AccessDenied".into()));
    let said = ends(&home, 3, &["lifecycle", "check"]);
    assert!(said.contains("cannot be read"), "{said}");
}
