//! Putting a file system in its place, and taking it away again whatever happens. It must never leave a mount behind that nobody answers, nor
//! take away what somebody else has mounted in its place since.

use crate::exit::{Code, Fail, plain};
use crate::serve::fuse::Mounted;
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Seek};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// What speaks for the kernel.
const DEVICE: &str = "/dev/fuse";
/// Where the kernel lists what is mounted.
const MOUNTS: &str = "/proc/self/mountinfo";
/// What mounts for users who may not.
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];
/// Between two looks whether somebody wants an end.
const LOOK: Duration = Duration::from_millis(100);
/// What goes without this machine's FUSE.
const WITHOUT: &str = "`seabed serve webdav` does without";

/// How it is mounted.
#[derive(Clone, Copy, Debug)]
pub struct MountFlags {
    /// Other users may look at it too.
    pub allow_other: bool,
    /// The kernel checks permissions.
    pub checked: bool,
    /// Setuid bits and device nodes have their effect.
    pub privileged: bool,
    /// Calls that are answered at a time.
    pub threads: usize,
}

/// A mount. Dropped, it is gone.
pub struct Mount {
    /// The thread of the session, which ends with it; `None` once the mount was ended.
    guard: Option<JoinHandle<std::io::Result<()>>>,
    /// Never dropped: what fuser does then it does by the name of the place, and that may be somebody else's by now.
    _session: ManuallyDrop<BackgroundSession>,
    at: PathBuf,
    /// The device that the kernel made for it.
    device: String,
    /// The kernel's list, held open: when this ends there may be no descriptor left.
    mounts: File,
}

/// The devices of what is mounted at a place, in the order of the mounts, as the kernel lists them; nothing of the mounts is asked.
fn devices_at(mut mounts: &File, at: &Path) -> std::io::Result<Vec<String>> {
    let mut list = Vec::new();
    mounts.rewind()?;
    mounts.read_to_end(&mut list)?;
    let is_here = |field: &&[u8]| unescaped(field) == at.as_os_str().as_bytes();
    let found = list.split(|b| *b == b'\n').filter_map(|line| {
        let mut fields = line.split(|b| *b == b' ');
        let device = fields.nth(2)?;
        fields.nth(1).filter(is_here).map(|_| String::from_utf8_lossy(device).into_owned())
    });
    Ok(found.collect())
}

/// A path as the kernel lists it: blanks and the like are written as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, more @ ..] = rest {
        let digit = |b: &u8| (b'0'..=b'7').contains(b).then(|| b - b'0');
        let code = match (first, more) {
            (b'\\', [a, b, c, ..]) => digit(a).zip(digit(b)).zip(digit(c)).map(|((a, b), c)| a << 6 | b << 3 | c),
            _ => None,
        };
        out.push(code.unwrap_or(*first));
        rest = if code.is_some() { &more[3..] } else { more };
    }
    out
}

/// Looks whether something can be mounted at all, before a repository is opened and a passphrase asked for.
pub fn check(at: &Path) -> Result<PathBuf, Fail> {
    let failed = |error: &Error| {
        let fail = Fail::config(format!("cannot mount at {}: {}", at.display(), plain(error)));
        fail.hint("make the directory first, and see that this user may read it")
    };
    match std::fs::metadata(at) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(Fail::config(format!("{} is no directory", at.display())).hint("name an empty directory")),
        Err(error) if error.kind() == ErrorKind::NotConnected => {
            let fail = Fail::config(format!("{} is a mount that nobody answers any more", at.display()));
            return Err(fail.hint(format!("take it away with `fusermount3 -u {0}` or `umount -l {0}`", at.display())));
        }
        Err(error) => return Err(failed(&error)),
    }
    possible()?;
    File::open(MOUNTS).map_err(|error| unlisted(&error))?;
    std::fs::canonicalize(at).map_err(|error| failed(&error))
}

/// Looks whether this user can mount anything on this machine.
pub fn possible() -> Result<(), Fail> {
    match File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let fail = Fail::config(format!("this machine has no {DEVICE}"));
            return Err(fail.hint(format!("`modprobe fuse`, or start the container with `--device {DEVICE}`; {WITHOUT}")));
        }
        Err(error) => return Err(Fail::config(format!("cannot open {DEVICE}: {}", plain(&error))).hint(format!("{WITHOUT} it"))),
    }
    if !rustix::process::geteuid().is_root() && helper().is_none() {
        let fail = Fail::config(format!("{} is not installed, and only root can mount without it", HELPERS[0]));
        return Err(fail.hint(format!("install it (Debian: `apt install fuse3`); {WITHOUT} it")));
    }
    Ok(())
}

/// The helper that is installed.
fn helper() -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/bin", "/sbin", "/usr/bin"].map(PathBuf::from);
    let places: Vec<PathBuf> = std::env::split_paths(&path).chain(usual).collect();
    HELPERS.into_iter().find(|name| places.iter().any(|place| place.join(name).is_file()))
}

impl Mount {
    /// Mounts; when this returns it can be used.
    pub fn new(mounted: Mounted, at: &Path, flags: MountFlags) -> Result<Mount, Fail> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("seabed".to_owned()), MountOption::Subtype("seabed".to_owned())];
        if flags.checked {
            config.mount_options.push(MountOption::DefaultPermissions);
        }
        if flags.privileged {
            config.mount_options.extend([MountOption::Suid, MountOption::Dev]);
        } else {
            config.mount_options.extend([MountOption::NoSuid, MountOption::NoDev]);
        }
        config.acl = if flags.allow_other { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(flags.threads);
        config.clone_fd = true;
        let refused = |error: Error| refused(&error, flags.allow_other);
        let mounts = File::open(MOUNTS).map_err(|error| unlisted(&error))?;
        // What fuser gets for its thread: it tells how that ended only to who lets it unmount too.
        let other = std::thread::Builder::new().spawn(|| Ok(())).map_err(refused)?;
        let session = Session::new(mounted, at, &config).map_err(refused)?;
        // As long as there is nothing but the mount. Where this fails fuser takes it away.
        let device = devices_at(&mounts, at).map_err(|error| unlisted(&error))?.pop();
        let device = device.ok_or_else(|| {
            let fail = Fail::new(Code::Failed, format!("what was mounted at {} is not there", at.display()));
            fail.hint("somebody may have unmounted it just now: mount it again")
        })?;
        let mut session = ManuallyDrop::new(session.spawn().map_err(refused)?);
        let guard = std::mem::replace(&mut session.guard, other);
        Ok(Mount { guard: Some(guard), _session: session, at: at.to_owned(), device, mounts })
    }

    /// Waits until its session is over, most often because somebody unmounts it, or `stop` says so.
    pub fn wait(&self, stop: impl Fn() -> bool) {
        while self.guard.as_ref().is_some_and(|guard| !guard.is_finished()) && !stop() {
            std::thread::sleep(LOOK);
        }
    }

    /// Takes it away. One that is in use goes out of sight at once, and ends with this process for who still uses it.
    pub fn end(mut self) -> Result<(), Fail> {
        self.finish()
    }

    /// A session that is over does not mean that its mount is gone: it ends too where a thread or a descriptor was not to be had, and where
    /// somebody has cut it off. Then the mount is taken away, and that is no success.
    fn finish(&mut self) -> Result<(), Fail> {
        let Some(guard) = self.guard.take() else { return Ok(()) };
        let ended = if guard.is_finished() { Some(joined(guard)) } else { None };
        let taken = self.take_away(matches!(ended, Some(Ok(()))));
        let is_cut = matches!(taken, Ok(true));
        let error = match ended {
            Some(Err(error)) => error,
            Some(Ok(())) if is_cut => Error::from(ErrorKind::ConnectionAborted),
            _ => return taken.map(|_| ()),
        };
        let what = format!("{} could not be shown any longer: {}", self.at.display(), plain(&error));
        Err(match taken {
            Ok(_) => Fail::new(Code::Failed, what).hint(scarce(&error).unwrap_or("it was unmounted; mount it again")),
            Err(fail) => Fail { message: format!("{what}; {}", fail.message), ..fail },
        })
    }

    /// Takes away what is there of it; whether something was. With `is_over` it was the kernel that ended the session.
    fn take_away(&self, is_over: bool) -> Result<bool, Fail> {
        let there = devices_at(&self.mounts, &self.at).map_err(|error| self.stays(&format!("cannot read {MOUNTS}: {}", plain(&error))))?;
        if !there.contains(&self.device) {
            return Ok(false);
        }
        if there.last() != Some(&self.device) {
            let fail = Fail::new(Code::Failed, format!("something else is mounted at {} by now, and stays", self.at.display()));
            return Err(fail.hint("unmount that first, then this"));
        }
        // The number of a device that is gone goes to the next one: what answers here is somebody else's. Of ours the kernel says at once
        // that nobody answers.
        if is_over && !matches!(rustix::fs::statvfs(&self.at), Err(Errno::NOTCONN)) {
            return Ok(false);
        }
        let detach = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(&self.at, detach) {
            Ok(()) => return Ok(true),
            // It was taken away just now.
            Err(Errno::INVAL) => return Ok(false),
            Err(_) => {}
        }
        let Some(helper) = helper() else { return Err(self.stays(&format!("{} is not installed", HELPERS[0]))) };
        let output = Command::new(helper).args(["-u", "-z", "--"]).arg(&self.at).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(true),
            Ok(_) if devices_at(&self.mounts, &self.at).is_ok_and(|there| !there.contains(&self.device)) => Ok(false),
            Ok(output) => Err(self.stays(String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(self.stays(&plain(&error))),
        }
    }

    /// It could not be taken away.
    fn stays(&self, why: &str) -> Fail {
        let fail = Fail::new(Code::Failed, format!("cannot unmount {}: {why}", self.at.display()));
        fail.hint(format!("`fusermount3 -uz {}` or `umount -l` takes it away", self.at.display()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.finish().unwrap_or(());
    }
}

/// How a thread ended that is over.
fn joined(guard: JoinHandle<std::io::Result<()>>) -> std::io::Result<()> {
    guard.join().unwrap_or_else(|_| Err(Error::other("a thread that answers has failed")))
}

/// What helps where this machine gives no more of something.
fn scarce(error: &Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some("raise the limit on open files (`ulimit -n`), then mount it again"),
        Errno::NFILE => Some("this machine has too many files open (`sysctl fs.file-max`); mount it again"),
        Errno::AGAIN | Errno::NOMEM => Some("raise the limits on processes and memory (`ulimit -u`, `ulimit -v`), then mount it again"),
        _ => None,
    }
}

/// Without the kernel's list nobody knows at the end whose mount it is that stands there.
fn unlisted(error: &Error) -> Fail {
    let fail = Fail::config(format!("cannot read {MOUNTS}: {}", plain(error)));
    fail.hint(scarce(error).map_or_else(|| format!("mount /proc first (`mount -t proc proc /proc`); {WITHOUT} it"), str::to_owned))
}

/// Why it was not mounted, and what helps.
fn refused(error: &std::io::Error, allow_other: bool) -> Fail {
    let text = plain(error).trim().to_owned();
    if text.contains("user_allow_other") || allow_other && error.kind() == ErrorKind::PermissionDenied {
        let fail = Fail::config("this user may not let others look at a mount");
        return fail.hint("root allows it with a line `user_allow_other` in /etc/fuse.conf; or leave --allow-other out");
    }
    if error.kind() == ErrorKind::NotFound {
        // Who may not mount by itself asks for the helper; in a container root may not either.
        let fail = Fail::config(format!("this process may not mount, and {} is not installed", HELPERS[0]));
        return fail.hint(format!("install it (Debian: `apt install fuse3`), in a container allow SYS_ADMIN too; {WITHOUT} it"));
    }
    if let Some(hint) = scarce(error) {
        return Fail::config(format!("cannot mount: {text}")).hint(hint);
    }
    Fail::config(format!("cannot mount: {text}")).hint(format!("in a container this needs SYS_ADMIN and {DEVICE}; {WITHOUT} both"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_the_kernel_lists_them() {
        assert_eq!(unescaped(b"/a\\040b\\134c\\011"), b"/a b\\c\t");
        assert_eq!(unescaped(b"/a\\04"), b"/a\\04");
        assert_eq!(unescaped(b"/a\\999\\"), b"/a\\999\\");
    }

    #[test]
    fn what_is_mounted_at_a_place_is_known_by_its_device() {
        let mounts = File::open(MOUNTS).unwrap();
        // From its beginning each time.
        for _ in 0..2 {
            assert!(!devices_at(&mounts, Path::new("/proc")).unwrap().is_empty());
            assert!(devices_at(&mounts, Path::new("/proc/self")).unwrap().is_empty());
        }
    }
}
