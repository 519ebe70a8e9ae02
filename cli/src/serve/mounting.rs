//! Putting a file system in its place, and taking it away again whatever happens. It must never leave a mount behind that nobody answers, nor
//! take away what somebody else has mounted in its place since.

use crate::exit::{Code, Fail, plain};
use crate::serve::fuse::Mounted;
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What speaks for the kernel.
const DEVICE: &str = "/dev/fuse";
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
    /// Not to be dropped once the mount is gone: what fuser does then it does by the name of the place, and that may be somebody else's by now.
    session: ManuallyDrop<BackgroundSession>,
    at: PathBuf,
    /// The device that the kernel made for it.
    device: Option<String>,
}

/// The device of what is mounted at a place, that of the last mount where there are several, as the kernel lists it; nothing of the mount is
/// asked.
fn device_at(at: &Path) -> Option<String> {
    let list = std::fs::read("/proc/self/mountinfo").ok()?;
    let is_here = |field: &&[u8]| unescaped(field) == at.as_os_str().as_bytes();
    let found = list.split(|b| *b == b'\n').rev().find_map(|line| {
        let mut fields = line.split(|b| *b == b' ');
        let device = fields.nth(2)?;
        fields.nth(1).filter(is_here).map(|_| device)
    });
    found.map(|device| String::from_utf8_lossy(device).into_owned())
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
    let no_fuse = |what: String| Err(Fail::config(what));
    match std::fs::metadata(at) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(Fail::config(format!("{} is no directory", at.display())).hint("name an empty directory")),
        Err(error) if error.kind() == ErrorKind::NotConnected => {
            let fail = Fail::config(format!("{} is a mount that nobody answers any more", at.display()));
            return Err(fail.hint(format!("take it away with `fusermount3 -u {0}` or `umount -l {0}`", at.display())));
        }
        Err(error) => {
            let fail = Fail::config(format!("cannot mount at {}: {}", at.display(), plain(&error)));
            return Err(fail.hint("make the directory first, and see that this user may read it"));
        }
    }
    match std::fs::File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return no_fuse(format!("this machine has no {DEVICE}"))
                .map_err(|fail| fail.hint(format!("`modprobe fuse`, or start the container with `--device {DEVICE}`; {WITHOUT}")));
        }
        Err(error) => {
            return no_fuse(format!("cannot open {DEVICE}: {}", plain(&error))).map_err(|fail| fail.hint(format!("{WITHOUT} it")));
        }
    }
    if !rustix::process::geteuid().is_root() && helper().is_none() {
        return no_fuse(format!("{} is not installed, and only root can mount without it", HELPERS[0]))
            .map_err(|fail| fail.hint(format!("install it (Debian: `apt install fuse3`); {WITHOUT} it")));
    }
    std::fs::canonicalize(at).map_err(|error| Fail::config(format!("cannot mount at {}: {}", at.display(), plain(&error))))
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
        let session = Session::new(mounted, at, &config).and_then(Session::spawn).map_err(|error| refused(&error, flags.allow_other))?;
        Ok(Mount { session: ManuallyDrop::new(session), at: at.to_owned(), device: device_at(at) })
    }

    /// Waits until somebody unmounts it, or `stop` says so.
    pub fn wait(&self, stop: impl Fn() -> bool) {
        while !self.is_gone() && !stop() {
            std::thread::sleep(LOOK);
        }
    }

    /// Whether nobody can ask anything of it any more.
    fn is_gone(&self) -> bool {
        self.session.guard.is_finished()
    }

    /// Takes it away. One that is in use goes out of sight at once, and ends with this process for who still uses it.
    pub fn end(self) -> Result<(), Fail> {
        if self.is_gone() {
            return Ok(());
        }
        self.take_away()
    }

    fn take_away(&self) -> Result<(), Fail> {
        let there = device_at(&self.at);
        if there != self.device {
            // Either it is gone, or hidden below what somebody else has mounted since.
            let fail = Fail::new(Code::Failed, format!("something else is mounted at {} by now, and stays", self.at.display()));
            return if there.is_none() { Ok(()) } else { Err(fail.hint("unmount that first, then this")) };
        }
        let detach = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(&self.at, detach) {
            Ok(()) => return Ok(()),
            // It was taken away just now.
            Err(rustix::io::Errno::INVAL) => return Ok(()),
            Err(_) => {}
        }
        let failed = |why: String| {
            let fail = Fail::new(Code::Failed, format!("cannot unmount {}: {why}", self.at.display()));
            fail.hint(format!("`fusermount3 -uz {}` or `umount -l` takes it away", self.at.display()))
        };
        let Some(helper) = helper() else { return Err(failed(format!("{} is not installed", HELPERS[0]))) };
        let output = Command::new(helper).args(["-u", "-z", "--"]).arg(&self.at).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(_) if self.is_gone() => Ok(()),
            Ok(output) => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
            Err(error) => Err(failed(plain(&error))),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !self.is_gone() {
            self.take_away().unwrap_or(());
        }
    }
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
        assert!(device_at(Path::new("/proc")).is_some());
        assert_eq!(device_at(Path::new("/proc/self")), None);
    }
}
