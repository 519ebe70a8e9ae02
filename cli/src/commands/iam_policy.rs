//! `iam-policy`: the least that a key needs for a repository in a bucket, as AWS takes it.
//! It must never grant more than a command needs. It obeys what README.md says of S3.

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::open::{self, Kind};
use crate::output::Output;
use crate::remote;
use seabed_engine::store::s3::{S3Place, Sse};
use serde_json::{Value, json};

/// Print the least privilege that a key needs
///
/// For the bucket and prefix of --repo. With --append-only the key can neither delete nor, where the
/// bucket keeps versions, destroy anything: what `backup`, `restore` and `check` need.
/// With --sse aws:kms:KEY the rights on that key are in it. `restore --thaw` needs --thaw here too.
/// Making the bucket (`init --create-bucket`) takes s3:CreateBucket, which is not in it: a key for
/// backups has no need of it.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed iam-policy --repo s3://bucket/backups --append-only > policy.json"))]
pub struct Args {
    /// Without the right to delete
    #[arg(long)]
    append_only: bool,
    /// With the right to bring archived objects back
    #[arg(long)]
    thaw: bool,
}

/// What stands for the parts of a key's name that nobody told us.
const REGION: &str = "REGION";
const ACCOUNT: &str = "ACCOUNT";
const KEY: &str = "KEY-ID";

/// The statement about a key of KMS, as `--sse` names it: by its ARN, its alias, its id, or not at all.
fn kms(partition: &str, region: Option<&str>, key: Option<&str>) -> Value {
    let (region, key) = (region.unwrap_or(REGION), key.unwrap_or(KEY));
    let actions = json!(["kms:GenerateDataKey", "kms:Decrypt"]);
    let is_arn = key.starts_with("arn:");
    let alias = if is_arn { key.rsplit_once(':').map_or("", |(_, name)| name) } else { key };
    let arn = if is_arn { key.to_owned() } else { format!("arn:{partition}:kms:{region}:{ACCOUNT}:key/{key}") };
    if !alias.starts_with("alias/") {
        return json!({"Sid": "Encryption", "Effect": "Allow", "Action": actions, "Resource": arn});
    }
    // Rights are on keys, never on their aliases: those stand in a condition.
    let keys = if is_arn { arn.replace(alias, "key/*") } else { format!("arn:{partition}:kms:{region}:{ACCOUNT}:key/*") };
    json!({
        "Sid": "Encryption", "Effect": "Allow", "Action": actions, "Resource": keys,
        "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}},
    })
}

/// The policy.
fn policy(place: &S3Place, region: Option<&str>, sse: Option<&Sse>, args: &Args) -> Value {
    let partition = place.partition(region);
    let bucket = format!("arn:{partition}:s3:::{}", place.bucket);
    let below = if place.prefix.is_empty() { "*".to_owned() } else { format!("{}/*", place.prefix) };
    let mut objects = vec!["s3:GetObject", "s3:PutObject"];
    if !args.append_only {
        objects.push("s3:DeleteObject");
    }
    if args.thaw {
        objects.push("s3:RestoreObject");
    }
    let mut statements = vec![
        json!({"Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket, "Condition": {"StringLike": {"s3:prefix": below}}}),
        json!({"Sid": "Objects", "Effect": "Allow", "Action": objects, "Resource": format!("{bucket}/{below}")}),
        json!({
            "Sid": "Doctor", "Effect": "Allow",
            "Action": ["s3:GetLifecycleConfiguration", "s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration"],
            "Resource": bucket,
        }),
    ];
    if let Some(Sse::Kms(key)) = sse {
        statements.push(kms(partition, place.region().or(region), key.as_deref()));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Prints it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let place = open::place(global)?;
    let Kind::S3(place) = &place.kind else {
        return Err(Fail::config("a directory has no policy").hint("name a bucket: --repo s3://BUCKET/PREFIX"));
    };
    let (region, sse) = (remote::region(global), remote::sse(global)?);
    let policy = policy(place, region.as_deref(), sse.as_ref(), args);
    let text = policy.to_string();
    if text.contains(&format!(":{REGION}:")) || text.contains(&format!(":{ACCOUNT}:")) || text.contains(KEY) {
        out.warn(&format!("put in yourself what is not known here: {REGION}, {ACCOUNT}, {KEY}"));
    }
    let text = if out.json { text } else { serde_json::to_string_pretty(&policy).unwrap_or_default() };
    out.result(text.as_bytes())?;
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(place: &str, region: Option<&str>, sse: Option<Sse>, thaw: bool) -> Value {
        policy(&S3Place::parse(place).unwrap(), region, sse.as_ref(), &Args { append_only: true, thaw })
    }

    /// Backups with `--sse aws:kms:KEY` were refused with the very policy that was made for them.
    #[test]
    fn what_encrypts_and_thaws_may_do_so() {
        let made_for = |key: &str| made("s3://b/x", Some("eu-west-1"), Some(Sse::Kms(Some(key.to_owned()))), false);
        let by_arn = made_for("arn:aws:kms:eu-west-1:1234:key/k");
        assert_eq!(by_arn["Statement"][3]["Action"], json!(["kms:GenerateDataKey", "kms:Decrypt"]));
        assert_eq!(by_arn["Statement"][3]["Resource"], "arn:aws:kms:eu-west-1:1234:key/k");
        assert_eq!(made_for("1234-ab")["Statement"][3]["Resource"], "arn:aws:kms:eu-west-1:ACCOUNT:key/1234-ab");
        for alias in ["alias/mine", "arn:aws:kms:eu-west-1:ACCOUNT:alias/mine"] {
            let statement = &made_for(alias)["Statement"][3];
            assert_eq!(statement["Resource"], "arn:aws:kms:eu-west-1:ACCOUNT:key/*", "{alias}");
            assert_eq!(statement["Condition"], json!({"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/mine"}}));
        }
        assert!(made("s3://b/x", None, Some(Sse::Kms(None)), false).to_string().contains("arn:aws:kms:REGION:ACCOUNT:key/KEY-ID"));
        assert!(made("s3://b/x", None, Some(Sse::Aes256), false)["Statement"].as_array().unwrap().len() == 3);
        assert_eq!(
            made("s3://b/x", None, None, true)["Statement"][1]["Action"],
            json!(["s3:GetObject", "s3:PutObject", "s3:RestoreObject"])
        );
    }

    /// `doctor` and `init` put and list below `probe/`, which is no folder of the format: a policy folder by folder would forget it.
    #[test]
    fn all_below_the_prefix_may_be_put_and_listed() {
        let policy = made("s3://b/x", None, None, false);
        assert_eq!(policy["Statement"][0]["Condition"], json!({"StringLike": {"s3:prefix": "x/*"}}));
        assert_eq!(policy["Statement"][1]["Resource"], "arn:aws:s3:::b/x/*");
    }

    /// Resources of AWS in China and for the government have other names: the policy matched nothing there.
    #[test]
    fn partitions_have_names_of_their_own() {
        let list = |place, region| made(place, region, None, false)["Statement"][0]["Resource"].clone();
        assert_eq!(list("s3:s3.cn-north-1.amazonaws.com.cn/b/x", None), "arn:aws-cn:s3:::b");
        assert_eq!(list("s3://b/x", Some("us-gov-west-1")), "arn:aws-us-gov:s3:::b");
        assert_eq!(list("s3://b/x", None), "arn:aws:s3:::b");
    }
}
