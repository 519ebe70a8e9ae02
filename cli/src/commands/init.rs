//! `init`: makes a repository, and a key file where no secret is given.
//! It must never touch a repository that is there. It obeys what README.md says of it.

use crate::args::Global;
use crate::commands::key::slot_label;
use crate::exit::{Code, Run, help};
use crate::open::{self, NewRepository};
use crate::other::FromArgs;
use crate::output::Output;
use std::path::PathBuf;

const EXAMPLES: &str = "  seabed init
  seabed init --repo /mnt/disk/backups --password-file /root/passphrase
  seabed init --repo /mnt/disk/backups --key-file /root/seabed.key    (made if it is missing)
  seabed init --repo s3://second/backups --sibling-of /mnt/disk/backups --from-key-file /root/seabed.key";

/// Make a repository
///
/// Without a secret you are asked for a passphrase, twice. An empty answer, or a run without
/// a terminal, makes a key file of 256 random bits instead and prints its place:
/// $XDG_CONFIG_HOME/seabed/key for the default repository, seabed/keys/<id>.key for others.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES), mut_arg("from_repo", |arg| arg.hide(true)))]
pub struct Args {
    /// A name for this first passphrase or key
    #[arg(long, value_name = "TEXT", value_parser = slot_label, default_value = "", hide_default_value = true)]
    label: String,
    /// Make the bucket too, where it is not there yet (S3)
    #[arg(long)]
    create_bucket: bool,
    /// Share the key family of the repository at PLACE, so that `seabed copy` and `backup --to` send packs between the two as they are
    ///
    /// The new one gets a secret of its own. Whoever opens one of the two can read what is copied from
    /// the other. How PLACE is opened the --from-… options and SEABED_FROM_… variables say.
    #[arg(long, value_name = "PLACE")]
    sibling_of: Option<PathBuf>,
    #[command(flatten)]
    from: FromArgs,
}

/// Makes it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let new = NewRepository { label: args.label.clone(), create_bucket: args.create_bucket };
    let sibling = match &args.sibling_of {
        Some(of) => Some(FromArgs { from_repo: Some(of.clone()), ..args.from.clone() }.open(global, out)?),
        None => None,
    };
    let opened = open::init(global, out, &new, sibling.as_ref().map(|sibling| &sibling.repository))?;
    if out.json {
        let mut value = serde_json::json!({
            "message_type": "initialized",
            "id": opened.repository.id().to_string(),
            "repository": opened.place.text(),
        });
        if let (Some(map), Some(key)) = (value.as_object_mut(), &opened.new_key) {
            map.insert("key_file".to_owned(), key.to_string_lossy().into());
        }
        if let (Some(map), Some(found)) = (value.as_object_mut(), &opened.capabilities) {
            let (checksums, conditional) = (found.checksum.word(), found.conditional_put.word());
            let store = serde_json::json!({"checksums": checksums, "conditional_writes": conditional, "may_delete": found.deletes});
            map.insert("store".to_owned(), store);
        }
        out.json_result(&value)?;
    } else {
        open::introduce(&opened, out);
    }
    Ok(Code::Done)
}
