//! `iam-policy`: the least that a key needs for a repository in a bucket, as AWS takes it.
//! It must never grant more than a command needs. It obeys what README.md says of S3.

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::open::{self, Kind};
use crate::output::Output;
use serde_json::json;

/// Print the least privilege that a key needs
///
/// For the bucket and prefix of --repo. With --append-only the key can neither delete nor, where the
/// bucket keeps versions, destroy anything: what `backup`, `restore` and `check` need.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed iam-policy --repo s3://bucket/backups --append-only > policy.json"))]
pub struct Args {
    /// Without the right to delete
    #[arg(long)]
    append_only: bool,
}

/// Prints it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let place = open::place(global)?;
    let Kind::S3(place) = &place.kind else {
        return Err(Fail::config("a directory has no policy").hint("name a bucket: --repo s3://BUCKET/PREFIX"));
    };
    let bucket = format!("arn:aws:s3:::{}", place.bucket);
    let below = if place.prefix.is_empty() { "*".to_owned() } else { format!("{}/*", place.prefix) };
    let mut objects = vec!["s3:GetObject", "s3:PutObject"];
    if !args.append_only {
        objects.push("s3:DeleteObject");
    }
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket, "Condition": {"StringLike": {"s3:prefix": below}}},
            {"Sid": "Objects", "Effect": "Allow", "Action": objects, "Resource": format!("{bucket}/{below}")},
            {
                "Sid": "Doctor", "Effect": "Allow",
                "Action": ["s3:GetLifecycleConfiguration", "s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration"],
                "Resource": bucket,
            },
        ],
    });
    out.result(serde_json::to_string_pretty(&policy).unwrap_or_default().as_bytes())?;
    Ok(Code::Done)
}
