//! `init`: makes a repository, and a key file where no secret is given.
//! It must never touch a repository that is there. It obeys issue 2, point 1.

use crate::args::Global;
use crate::exit::{Code, Run, help};
use crate::open;
use crate::output::Output;

const EXAMPLES: &str = "  seabed init
  seabed init --repo /mnt/disk/backups --password-file /root/passphrase
  seabed init --repo /mnt/disk/backups --key-file /root/seabed.key    (made if it is missing)";

/// Make a repository
///
/// Without a secret you are asked for a passphrase, twice. An empty answer, or a run without
/// a terminal, makes a key file of 256 random bits instead and prints its place:
/// $XDG_CONFIG_HOME/seabed/key for the default repository, seabed/keys/<id>.key for others.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// A name for this first passphrase or key
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    label: String,
}

/// Makes it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let opened = open::init(global, out, &args.label)?;
    if out.json {
        let mut value = serde_json::json!({
            "message_type": "initialized",
            "id": opened.repository.id().to_string(),
            "repository": opened.place.path.to_string_lossy(),
        });
        if let (Some(map), Some(key)) = (value.as_object_mut(), &opened.new_key) {
            map.insert("key_file".to_owned(), key.to_string_lossy().into());
        }
        out.json_result(&value)?;
    } else {
        open::introduce(&opened, out);
    }
    Ok(Code::Done)
}
