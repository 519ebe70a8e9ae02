//! `cache`: what is kept on this machine of remote repositories, and less of it on demand.
//! It must never touch anything but copies: all of it can be fetched again. It obeys what README.md says of the cache.

use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::{Output, Table};
use crate::size;
use seabed_engine::repository::COPIES;
use seabed_engine::store::shelf::Shelf;
use serde_json::json;

/// Show what is cached, and trim it
///
/// Copies of small objects of remote repositories: keys (encrypted), index segments, packs of metadata.
/// Deleting any of it costs time at the next run, nothing else.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help("  seabed cache\n  seabed cache --trim 100M"))]
pub struct Args {
    /// Leave at most SIZE of packs of metadata, the ones that were used last
    #[arg(long, value_name = "SIZE")]
    trim: Option<String>,
}

/// Shows it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    if global.no_cache {
        return Err(Fail::config("`cache` shows the cache, and --no-cache says that there is none").hint("leave --no-cache out"));
    }
    let Some(base) = open::cache(global) else {
        return Err(Fail::config("there is no cache: neither --cache-dir nor HOME says where").hint("name it: --cache-dir DIR"));
    };
    let most = args.trim.as_ref().map(|text| size::parse(text).map_err(Fail::config)).transpose()?;
    let mut rows = Vec::new();
    let mut table = Table::new(&[("Repository", false, false), ("Folder", false, false), ("Objects", true, false), ("Size", true, false)]);
    let mut repositories: Vec<_> = std::fs::read_dir(&base).map(|entries| entries.flatten().collect()).unwrap_or_default();
    repositories.sort_by_key(std::fs::DirEntry::file_name);
    for repository in repositories {
        let copies = repository.path().join(COPIES);
        if !copies.is_dir() {
            continue;
        }
        let shelf = Shelf::new(copies, u64::MAX);
        if let Some(most) = most {
            shelf.trim_to(most);
        }
        let id = repository.file_name().to_string_lossy().into_owned();
        for (folder, usage) in shelf.usage()? {
            rows.push(json!({"repository": id, "folder": folder, "objects": usage.objects, "bytes": usage.bytes}));
            let short = id.chars().take(8).collect();
            table.row(vec![short, folder, size::count(usage.objects), size::human(usage.bytes)]);
        }
    }
    if out.json {
        out.json_result(&json!({"message_type": "cache", "directory": base.to_string_lossy(), "copies": rows}))?;
        return Ok(Code::Done);
    }
    out.say(&format!("cache in {}", base.display()));
    if rows.is_empty() {
        out.say("it holds no copies of remote repositories");
    } else {
        table.lines(crate::output::terminal_width()).iter().for_each(|line| out.say(line));
    }
    Ok(Code::Done)
}
