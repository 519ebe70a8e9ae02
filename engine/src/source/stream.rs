//! Streams: standard input, the output of commands. Read front to back once; how a command ended decides whether there is a snapshot.
//! Never believes a stream before its end: a dump that was cut short looks whole to whoever only reads it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How much of standard error is kept: its end, where the reason stands.
pub const STDERR_TAIL_BYTES: usize = 4096;

/// How long a command that is told to stop has time for it.
const TERM_PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// Size that is asked for of a command's pipe (the kernel's limit for users).
const PIPE_BYTES: usize = 1 << 20;

/// How a stream ended well.
#[derive(Clone, Debug, Default)]
pub struct StreamEnd {
    /// Exit status, for a command.
    pub exit: Option<u32>,
    /// The end of standard error, for a command.
    pub stderr: Vec<u8>,
}

/// How a stream failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFailure {
    /// The command could not be started.
    #[error("cannot start `{command}`: {source}")]
    Start {
        /// The command.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// The command ended with a status that is not 0.
    #[error("`{command}` ended with exit status {status}")]
    Exit {
        /// The command.
        command: String,
        /// Its status.
        status: i32,
        /// The end of its standard error.
        stderr: Vec<u8>,
    },
    /// The command was killed.
    #[error("`{command}` was killed by signal {signal}")]
    Killed {
        /// The command.
        command: String,
        /// The signal.
        signal: i32,
        /// The end of its standard error.
        stderr: Vec<u8>,
    },
    /// Reading failed.
    #[error("cannot read `{name}`: {source}")]
    Read {
        /// The stream.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing came.
    #[error("`{name}` is empty")]
    Empty {
        /// The stream.
        name: String,
    },
    /// A bucket cannot be listed or read.
    #[error("cannot read the bucket of `{name}`: {source}")]
    Bucket {
        /// The source.
        name: String,
        /// What the store said.
        source: crate::error::Error,
    },
    /// A tar archive ends in the middle.
    #[error("the tar archive `{name}` is cut short: it ends after {at} bytes, before the end of the archive")]
    Torn {
        /// The archive.
        name: String,
        /// Where it ends, unpacked.
        at: u64,
    },
    /// What should be a tar archive is none, or not from some point on.
    #[error("`{name}` is no tar archive: {what} at byte {at}")]
    NotTar {
        /// The archive.
        name: String,
        /// What is there.
        what: &'static str,
        /// Where, unpacked.
        at: u64,
    },
    /// It ended without what shows that it is all: whoever opened it knows what that is.
    #[error("`{name}` is not whole: {what}")]
    NotWhole {
        /// The stream.
        name: String,
        /// What is missing, or too small.
        what: String,
    },
    /// What should be a tar archive is compressed in a way that is not known.
    #[error("the tar archive `{name}` is compressed, and must be unpacked on its way here")]
    Packed {
        /// The archive.
        name: String,
        /// What unpacks it.
        program: &'static str,
    },
}

/// A source of bytes with an end that must be asked for.
pub trait Stream: Read + Send {
    /// Waits a moment for bytes; `false` where none came yet. A reader that could block for ever must say so here, so that the
    /// user can stop the run.
    fn ready(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// What is in it, for the manifest, where that is known: `postgres`, `mysql`.
    fn format(&self) -> &str {
        ""
    }

    /// Called at the end of the bytes: whether they are all.
    fn finish(self: Box<Self>) -> Result<StreamEnd, StreamFailure>;
}

/// How long a stream is waited for between two looks at whether the run is to stop.
const READY_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Waits for a descriptor.
fn wait_for(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&READY_WAIT)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A descriptor that is read as it is: standard input.
pub struct FdStream<F>(pub F);

impl<F: AsFd + Send> Read for FdStream<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, buffer)?)
    }
}

impl<F: AsFd + Send> Stream for FdStream<F> {
    fn ready(&self) -> io::Result<bool> {
        wait_for(self.0.as_fd())
    }

    fn finish(self: Box<Self>) -> Result<StreamEnd, StreamFailure> {
        Ok(StreamEnd::default())
    }
}

/// A reader that never blocks for long and whose end needs no questions: a file, memory.
pub struct ReaderStream<R>(pub R);

impl<R: Read + Send> Read for ReaderStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Send> Stream for ReaderStream<R> {
    fn finish(self: Box<Self>) -> Result<StreamEnd, StreamFailure> {
        Ok(StreamEnd::default())
    }
}

/// The output of a shell command.
pub struct CommandStream {
    command: String,
    child: Child,
    output: ChildStdout,
    stderr: Option<JoinHandle<()>>,
    tail: Arc<Mutex<VecDeque<u8>>>,
    done: bool,
}

/// A failure anywhere in a pipeline must count, where the shell can be told so: `pg_dump | sed` hides a dead pg_dump otherwise.
const PIPEFAIL: &str = "(set -o pipefail) 2>/dev/null && set -o pipefail\n";

impl CommandStream {
    /// Starts `sh -c command` in a process group of its own, so that all of a pipeline can be stopped.
    pub fn start(command: &str) -> Result<Self, StreamFailure> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{PIPEFAIL}{command}")]);
        Self::spawn(shell, command)
    }

    /// Starts a program without a shell, in a process group of its own. `command` is how it is spoken of: it must hold no secret.
    pub fn spawn(mut program: Command, command: &str) -> Result<Self, StreamFailure> {
        let failed = |source| StreamFailure::Start { command: command.to_owned(), source };
        let mut child =
            program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().map_err(failed)?;
        let (Some(output), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        // A larger pipe lets a dump run on while this side is busy; the default of 64 KiB will do where it is refused.
        rustix::pipe::fcntl_setpipe_size(&output, PIPE_BYTES).map(|_| ()).unwrap_or(());
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let keep = tail.clone();
        // Drained all the time: a command that fills this pipe would stand still for ever.
        let stderr = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = errors.read(&mut buffer) {
                let mut tail = keep.lock().unwrap_or_else(PoisonError::into_inner);
                tail.extend(&buffer[..n]);
                let over = tail.len().saturating_sub(STDERR_TAIL_BYTES);
                tail.drain(..over);
            }
        });
        Ok(CommandStream { command: command.to_owned(), child, output, stderr: Some(stderr), tail, done: false })
    }
}

impl Read for CommandStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.output.read(buffer)
    }
}

impl AsFd for CommandStream {
    /// The output, for a caller that waits for more with an eye on something else.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

impl Stream for CommandStream {
    fn ready(&self) -> io::Result<bool> {
        wait_for(self.output.as_fd())
    }

    fn finish(mut self: Box<Self>) -> Result<StreamEnd, StreamFailure> {
        let status = self.child.wait();
        self.done = true;
        if let Some(thread) = self.stderr.take() {
            // A grandchild may hold standard error open for ever; the tail so far is what there is.
            for _ in 0..20 {
                if thread.is_finished() {
                    break;
                }
                #[allow(clippy::disallowed_methods, reason = "there is no join with a timeout")]
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        let stderr: Vec<u8> = self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let command = self.command.clone();
        let status = status.map_err(|source| StreamFailure::Start { command: command.clone(), source })?;
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(StreamEnd { exit: Some(0), stderr }),
            (Some(status), _) => Err(StreamFailure::Exit { command, status, stderr }),
            (None, signal) => Err(StreamFailure::Killed { command, signal: signal.unwrap_or(0), stderr }),
        }
    }
}

impl Drop for CommandStream {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The run gave up: nobody reads on, and a dump that waits on a full pipe would hold its transaction open.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process_group(group, Signal::TERM).unwrap_or(());
            // One that does not listen must not keep this run from ending.
            let until = std::time::Instant::now() + TERM_PATIENCE;
            while matches!(self.child.try_wait(), Ok(None)) {
                if std::time::Instant::now() > until {
                    kill_process_group(group, Signal::KILL).unwrap_or(());
                    break;
                }
                #[allow(clippy::disallowed_methods, reason = "there is no wait with a timeout")]
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        self.child.wait().map(|_| ()).unwrap_or(());
    }
}
