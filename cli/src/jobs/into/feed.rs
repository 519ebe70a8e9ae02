//! A stream on its way out of the repository into a client. The last part of it, and its end, go out when all of it was verified.
//! It must never close a client's input before that: to most of them the end of their input means that all was there.

use super::{Dump, Restore};
use crate::exit::{Code, Fail, plain};
use crate::jobs::config::secret::redacted;
use crate::progress::Listener;
use crate::signals;
use rustix::process::{Pid, Signal, kill_process_group};
use seabed_engine::dump::dump;
use seabed_engine::error::Error;
use seabed_engine::repository::selector::Selected;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

/// How much is held back: more than any last statement of a dump's end.
const HELD_BYTES: usize = 64 << 10;
/// How much of a client's errors is kept.
const STDERR_BYTES: usize = 8 << 10;

/// Why a stream did not arrive.
pub enum Trouble {
    /// The client takes no more: it knows why.
    Client,
    /// Ours, or the repository's.
    Fail(Fail),
}

impl From<Fail> for Trouble {
    fn from(fail: Fail) -> Self {
        Trouble::Fail(fail)
    }
}

/// Holds the end back and hashes all.
struct Feed<'a> {
    to: &'a mut (dyn Write + Send),
    held: Vec<u8>,
    hasher: blake3::Hasher,
}

impl Write for Feed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        if bytes.len() >= HELD_BYTES {
            self.to.write_all(&self.held)?;
            self.held.clear();
            let (out, keep) = bytes.split_at(bytes.len() - HELD_BYTES);
            self.to.write_all(out)?;
            self.held.extend_from_slice(keep);
        } else {
            self.held.extend_from_slice(bytes);
            if self.held.len() > 2 * HELD_BYTES {
                let over = self.held.len() - HELD_BYTES;
                self.to.write_all(&self.held[..over])?;
                self.held.drain(..over);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Restore<'_> {
    /// Writes a stream to a client. What was held back went out only if this succeeds.
    pub fn pour(&self, from: &Dump, to: &mut (dyn Write + Send), what: &'static str) -> Result<u64, Trouble> {
        let listener = Listener::new(self.out, what);
        let mut feed = Feed { to, held: Vec::with_capacity(3 * HELD_BYTES), hasher: blake3::Hasher::new() };
        let selected = Selected { snapshot: self.snapshot.clone(), path: from.name.clone() };
        let written = dump(&self.opened.repository, &selected, &mut feed, &listener);
        listener.finish();
        let bytes = match written {
            Err(_) if signals::interrupted() => {
                return Err(Fail::new(Code::Interrupted, "interrupted: nothing of it was kept").into());
            }
            Err(Error::Output { .. }) => return Err(Trouble::Client),
            other => other.map_err(Fail::from)?,
        };
        if *feed.hasher.finalize().as_bytes() != from.hash || bytes != from.bytes {
            let fail =
                Fail::new(Code::Damage, format!("{} is not what was stored: its parts are whole, and all of it is not", from.shown()));
            return Err(fail.hint("`seabed check --read-data` lists all damage; try the snapshot before it").into());
        }
        feed.to.write_all(&feed.held).map_err(|_| Trouble::Client)?;
        feed.to.flush().map_err(|_| Trouble::Client)?;
        Ok(bytes)
    }

    /// Looks at all that is to be written before the first of it is, where there are several: what is damaged is then another repository's to
    /// bring, and not a second half that is missing. A single one is as its client leaves it, which is not at all.
    pub fn whole<'d>(&self, dumps: impl ExactSizeIterator<Item = &'d Dump>) -> Result<(), Fail> {
        if dumps.len() > 1 {
            for dump in dumps {
                self.pour(dump, &mut std::io::sink(), "verifying").map_err(|trouble| trouble.or(|| Fail::new(Code::Failed, "lost")))?;
            }
        }
        Ok(())
    }

    /// All of a stream, where it is small.
    pub fn small(&self, from: &Dump, most: u64) -> Result<Vec<u8>, Fail> {
        if from.bytes > most {
            return Err(Fail::config(format!("{} is too large to be what its name says", from.shown())));
        }
        let mut bytes = Vec::new();
        self.pour(from, &mut bytes, "reading").map_err(|trouble| trouble.or(|| Fail::new(Code::Failed, "there is no memory")))?;
        Ok(bytes)
    }

    /// Its first bytes.
    pub fn head(&self, from: &Dump, count: usize) -> Result<Vec<u8>, Fail> {
        let mut head = Head { bytes: Vec::new(), count };
        let selected = Selected { snapshot: self.snapshot.clone(), path: from.name.clone() };
        match dump(&self.opened.repository, &selected, &mut head, &seabed_engine::Silent) {
            Err(Error::Output { .. }) if head.bytes.len() == count => Ok(head.bytes),
            other => other.map(|_| head.bytes).map_err(Fail::from),
        }
    }
}

impl Trouble {
    /// The failure, with the client's words where it was the client.
    pub fn or(self, client: impl FnOnce() -> Fail) -> Fail {
        match self {
            Trouble::Client => client(),
            Trouble::Fail(fail) => fail,
        }
    }
}

/// Takes the beginning and no more.
struct Head {
    bytes: Vec<u8>,
    count: usize,
}

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.count - self.bytes.len();
        if left == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(left);
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.bytes.len() == self.count { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

/// A client that is fed.
pub struct Client {
    shown: String,
    child: Child,
    input: Option<ChildStdin>,
    errors: Option<JoinHandle<Vec<u8>>>,
    ended: bool,
}

impl Client {
    /// Starts one; what it prints goes nowhere, or where `output` says.
    pub fn start(mut command: Command, output: Stdio) -> Result<Self, Fail> {
        let shown = crate::jobs::clients::shown(&command);
        let failed = |error: io::Error| {
            Fail::config(format!("cannot start `{shown}`: {}", plain(&error))).hint("install it, or name its directory with --programs")
        };
        let mut child = command.stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped()).process_group(0).spawn().map_err(failed)?;
        let (input, errors) = (child.stdin.take(), child.stderr.take());
        let errors = errors.map(|errors| std::thread::spawn(move || tail(errors)));
        Ok(Client { shown, child, input, errors, ended: false })
    }

    /// Where it reads from.
    pub fn input(&mut self) -> Result<&mut ChildStdin, Fail> {
        let shown = &self.shown;
        self.input.as_mut().ok_or_else(|| Fail::new(Code::Failed, format!("`{shown}` has no input")))
    }

    /// What it prints, where that was asked for.
    pub fn output(&mut self) -> Result<ChildStdout, Fail> {
        let shown = &self.shown;
        self.child.stdout.take().ok_or_else(|| Fail::new(Code::Failed, format!("`{shown}` has no output")))
    }

    /// All was written: tells it so and waits for how it ends.
    pub fn end(mut self) -> Result<(), Fail> {
        drop(self.input.take());
        let status = self.child.wait();
        self.ended = true;
        let said = self.errors.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let shown = &self.shown;
        let status = status.map_err(|error| Fail::new(Code::Failed, format!("`{shown}` is lost: {}", plain(&error))))?;
        if status.success() {
            return Ok(());
        }
        let how = match status.code() {
            Some(code) => format!("ended with exit status {code}"),
            None => "was killed".to_owned(),
        };
        let text = redacted(String::from_utf8_lossy(&said).trim_end());
        let mut fail = Fail::new(Code::Failed, format!("`{shown}` {how}"));
        fail.detail = (!text.is_empty()).then_some(text);
        Err(fail)
    }

    /// It took no more: what it says of that. Its input stays open until it is gone.
    pub fn why(mut self) -> Fail {
        // It may be at work on its last words; one that only stands still is ended.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < until {
            #[allow(clippy::disallowed_methods, reason = "there is no wait with a timeout")]
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
        let shown = self.shown.clone();
        self.end().err().unwrap_or_else(|| Fail::new(Code::Failed, format!("`{shown}` ended before it had read all")))
    }

    fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process_group(group, Signal::KILL).unwrap_or(());
        }
        self.child.wait().map(|_| ()).unwrap_or(());
    }
}

impl Drop for Client {
    /// Before its input is closed, which would mean that all was there.
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
    }
}

fn tail(mut from: impl Read) -> Vec<u8> {
    let (mut tail, mut buffer) = (VecDeque::new(), [0; 4096]);
    while let Ok(got @ 1..) = from.read(&mut buffer) {
        tail.extend(&buffer[..got]);
        let over = tail.len().saturating_sub(STDERR_BYTES);
        tail.drain(..over);
    }
    tail.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_held_back() {
        for step in [1, 1000, HELD_BYTES, 300_000] {
            let (all, mut out) = (vec![7u8; 1_000_000], Vec::new());
            let mut feed = Feed { to: &mut out, held: Vec::new(), hasher: blake3::Hasher::new() };
            all.chunks(step).for_each(|part| feed.write_all(part).unwrap());
            let held = feed.held.len();
            assert_eq!(*feed.hasher.finalize().as_bytes(), *blake3::hash(&all).as_bytes());
            assert!((HELD_BYTES..=3 * HELD_BYTES).contains(&held), "{held}");
            assert_eq!(out.len() + held, all.len());
        }
    }

    #[test]
    fn a_client_that_is_given_up_never_sees_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("committed");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("cat > /dev/null; touch {}", mark.display())]);
        let mut client = Client::start(command, Stdio::null()).unwrap();
        client.input().unwrap().write_all(b"half").unwrap();
        drop(client);
        assert!(!mark.exists());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo oh no >&2; exit 3"]);
        let fail = Client::start(command, Stdio::null()).unwrap().end().unwrap_err();
        assert_eq!((fail.message.as_str(), fail.detail.as_deref()), ("`sh` ended with exit status 3", Some("oh no")));
    }
}
