//! `mount`: snapshots as a file system. It must never write to the repository, nor leave a mount behind that nobody answers.
//! It obeys restic's layout and option names.

use crate::args::{FilterArgs, Global};
use crate::commands::refresh;
use crate::exit::{Code, Fail, Run, help};
use crate::open;
use crate::output::Output;
use crate::serve::fuse::{Mounted, Ownership};
use crate::serve::mounting::{Mount, MountFlags, check};
use crate::serve::{Teller, ended};
use crate::{signals, size, time};
use jiff::tz::TimeZone;
use seabed_engine::error::Error;
use seabed_engine::observe::Observer;
use seabed_engine::repository::Repository;
use seabed_engine::repository::selector::Filter;
use seabed_engine::view::layout::{Layout, TIME_TEMPLATE};
use seabed_engine::view::{View, ViewOptions};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "  seabed mount /mnt/backups
  diff -r /home/ann /mnt/backups/series/+home+ann/latest/home/ann
  seabed mount /mnt/today latest:/home/ann --series /home/ann
  seabed mount /mnt/backups --host web1 --path-template '%h/%s/%T' --time-template '%Y-%m-%d'
  umount /mnt/backups";

/// Show snapshots as a file system
///
/// Below DIR stand ids/, snapshots/ (by time), hosts/HOST/, tags/TAG/ and series/SERIES/; in each
/// but ids/ `latest` leads to the newest. With SNAPSHOT, that snapshot alone. New snapshots appear
/// while it is mounted. What is read is fetched and verified then; what is damaged gives an I/O
/// error.
///
/// It ends with Ctrl-C or `umount DIR`; both are its normal end (exit status 0).
/// In names of series, hosts and tags `/` is shown as `+`, and `+` as `%2B`.
///
/// --path-template knows %i (short id), %I (id), %u (user), %h (host), %t (tag), %s (series) and
/// %T (time); --time-template is in the form of strftime, or in Go's, as restic takes it.
///
/// Without root this needs fusermount3 (Debian: fuse3). Without FUSE: `seabed serve webdav`.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// An existing directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only this one: an id, `latest`, `latest~N`; each also with `:/sub/path`
    #[arg(value_name = "SNAPSHOT")]
    selector: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Let other users look at it too
    #[arg(long)]
    allow_other: bool,
    /// Show everything as root's
    #[arg(long)]
    owner_root: bool,
    /// Let whoever may look at it read everything, whatever modes and owners say
    #[arg(long)]
    no_default_permissions: bool,
    /// Give setuid bits and device nodes of snapshots their effect (root only)
    #[arg(long)]
    privileged: bool,
}

/// Where snapshots stand.
#[derive(clap::Args, Debug, Clone)]
pub struct LayoutArgs {
    /// Where snapshots stand (repeatable) [default: ids/%i snapshots/%T hosts/%h/%T tags/%t/%T series/%s/%T]
    #[arg(long, value_name = "TEMPLATE")]
    path_template: Vec<String>,
    /// How times are written [default: %Y-%m-%dT%H:%M:%S]
    #[arg(long, value_name = "TEMPLATE", default_value = TIME_TEMPLATE, hide_default_value = true)]
    time_template: String,
    /// Look for new snapshots when the last look is so long ago
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = time::duration)]
    refresh: Duration,
}

impl LayoutArgs {
    fn options(&self, filter: Filter) -> Result<ViewOptions, Fail> {
        let layout = Layout::new(&self.path_template, &self.time_template, TimeZone::system())
            .map_err(|error| Fail::config(error.to_string()).hint("see the templates in `seabed mount --help`"))?;
        Ok(ViewOptions { filter, layout, refresh: self.refresh })
    }

    /// The view that is asked for: of one snapshot where it is named, else of all that pass the filter.
    pub fn view(&self, repository: Repository, selector: Option<&String>, filter: &FilterArgs, out: &Output) -> Result<View, Fail> {
        let options = self.options(filter.filter())?;
        refresh(&repository, out)?;
        let observer: Arc<dyn Observer + Send + Sync> = Arc::new(Teller(out.teller()));
        let repository = Arc::new(repository);
        let Some(selector) = selector else { return Ok(View::all(repository, options, observer)?) };
        let selected = repository.select(selector, &options.filter)?;
        View::one(repository, &selected, observer).map_err(|error| match error {
            Error::Option { what } => Fail::config(what).hint("`seabed dump` writes a file to standard output"),
            other => other.into(),
        })
    }
}

/// Mounts, and serves until somebody ends it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    let root = rustix::process::geteuid().is_root();
    if args.privileged && !root {
        return Err(Fail::config("--privileged is root's").hint("without it, setuid bits and device nodes are shown and have no effect"));
    }
    let at = check(&args.directory)?;
    let opened = open::open(global, out)?;
    let id = opened.repository.id();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    // Calls that wait for a store take no processor.
    let threads = opened.repository.reading_threads(cores * 2).clamp(4, 16);
    let view = Arc::new(args.layout.view(opened.repository, args.selector.as_ref(), &args.filter, out)?);
    let checked = !args.no_default_permissions;
    let mounter = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let mounted = Mounted::new(view.clone(), Ownership { mounter, all_root: args.owner_root, checked });
    // From here on no signal may end the process before the mount is gone.
    signals::catch_all();
    let flags = MountFlags { allow_other: args.allow_other, checked, privileged: args.privileged, threads };
    let mount = Mount::new(mounted, &at, flags)?;
    out.works();
    let began = Instant::now();
    let what = match &args.selector {
        Some(selector) => format!("snapshot {selector}"),
        None => size::of(view.snapshots() as u64, "snapshot"),
    };
    out.say(&format!("mounted {what} of repository {} at {}; Ctrl-C or `umount` ends it", id.short(), at.display()));
    if out.json {
        let snapshots = view.snapshots();
        out.message(&json!({
            "message_type": "mounted",
            "mountpoint": at.to_string_lossy(),
            "repository": opened.place.text(),
            "repository_id": id.to_string(),
            "snapshots": snapshots,
        }));
    }
    mount.wait(signals::interrupted);
    mount.end()?;
    ended(&view, began, out);
    Ok(Code::Done)
}
