//! A process that a run starts and watches: a worker, a hook. It is ended when it takes too long, when nothing moves, or when the user asks.
//! It must never leave one behind: each has a process group of its own, and all of that is ended.

use crate::signals;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a process that is told to stop has time for it: a worker ends its clients and puts a pending manifest down.
const TERM_PATIENCE: Duration = Duration::from_secs(20);
/// How often is looked whether it is to be ended.
const LOOKS_EVERY: Duration = Duration::from_millis(100);
/// What hangs on to the output of a process that has ended is not waited for.
const REST_PATIENCE: Duration = Duration::from_millis(500);
/// Longer lines are cut: what has no lines must not fill the memory.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Which of its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// When it is ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// After so long.
    pub timeout: Option<Duration>,
    /// When nothing moved for so long.
    pub stall: Option<Duration>,
    /// Also when the user asks: not for what has to be put in order before the end.
    pub interruptible: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Code(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// It took too long.
    TimedOut,
    /// Nothing moved.
    Stalled,
    /// The user asked.
    Interrupted,
}

/// Runs it. `line` is given each line that it writes, and says whether that is a movement. `input` is written to its standard input, which
/// stays open as long as this process lives: whoever reads on there learns when it is gone.
pub fn supervise(
    mut command: Command,
    input: Option<&[u8]>,
    limits: Limits,
    mut line: impl FnMut(From, String) -> bool,
) -> io::Result<Ended> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (lines, heard) = channel();
    let outputs: [(From, Option<Box<dyn Read + Send>>); 2] = [
        (From::Out, child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>)),
        (From::Err, child.stderr.take().map(|err| Box::new(err) as Box<dyn Read + Send>)),
    ];
    for (from, output) in outputs {
        let (lines, Some(output)) = (lines.clone(), output) else { continue };
        // Not joined: a grandchild that keeps the pipe open would keep this process, too.
        std::thread::spawn(move || read_lines(output, from, &lines));
    }
    drop(lines);
    // Kept until the end of this function, open.
    let _stdin = match (child.stdin.take(), input) {
        (Some(mut stdin), Some(input)) => {
            // One that ends at once reads nothing.
            stdin.write_all(input).and_then(|()| stdin.flush()).unwrap_or(());
            Some(stdin)
        }
        _ => None,
    };
    let signal = |signal| group.map_or(Ok(()), |group| kill_process_group(group, signal)).unwrap_or(());
    let (began, mut moved) = (Instant::now(), Instant::now());
    let mut told: Option<(Ended, Instant)> = None;
    let status = loop {
        match heard.recv_timeout(LOOKS_EVERY) {
            Ok((from, text)) => {
                if line(from, text) {
                    moved = Instant::now();
                }
            }
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOKS_EVERY),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        match told {
            None => {
                let why = [
                    (limits.interruptible && signals::interrupted(), Ended::Interrupted),
                    (limits.timeout.is_some_and(|limit| began.elapsed() > limit), Ended::TimedOut),
                    (limits.stall.is_some_and(|limit| moved.elapsed() > limit), Ended::Stalled),
                ];
                if let Some((_, why)) = why.into_iter().find(|(is, _)| *is) {
                    signal(Signal::TERM);
                    told = Some((why, Instant::now()));
                }
            }
            Some((_, since)) if since.elapsed() > TERM_PATIENCE => signal(Signal::KILL),
            Some(_) => {}
        }
    };
    rest(&heard, &mut line);
    if told.is_some() {
        // What it started and left behind.
        signal(Signal::KILL);
    }
    Ok(told.map_or_else(|| ended(status), |(why, _)| why))
}

/// What was written before the end and not heard yet.
fn rest(heard: &Receiver<(From, String)>, line: &mut impl FnMut(From, String) -> bool) {
    let until = Instant::now() + REST_PATIENCE;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let Ok((from, text)) = heard.recv_timeout(left) else { return };
        line(from, text);
    }
}

fn ended(status: ExitStatus) -> Ended {
    status.code().map_or_else(|| Ended::Signal(status.signal().unwrap_or(0)), Ended::Code)
}

fn read_lines(mut output: Box<dyn Read + Send>, from: From, lines: &Sender<(From, String)>) {
    let (mut held, mut buffer): (Vec<u8>, _) = (Vec::new(), [0; 8192]);
    let send = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(bytes)).into_owned();
        lines.send((from, text)).is_ok()
    };
    loop {
        let got = match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for part in buffer[..got].split_inclusive(|b| *b == b'\n') {
            held.extend_from_slice(part);
            if let Some(whole) = held.strip_suffix(b"\n") {
                if !send(whole) {
                    return;
                }
                held.clear();
            } else if held.len() > LINE_BYTES_MAX {
                if !send(&held) {
                    return;
                }
                held.clear();
            }
        }
    }
    if !held.is_empty() {
        send(&held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        command
    }

    #[test]
    fn what_it_says_is_heard_and_how_it_ends_told() {
        let mut heard = Vec::new();
        let ended = supervise(
            shell("read x; echo got $x; echo oops >&2; printf half; exit 3"),
            Some(b"word\n"),
            Limits::default(),
            |from, line| {
                heard.push((from, line));
                true
            },
        );
        assert_eq!(ended.unwrap(), Ended::Code(3));
        heard.sort_by_key(|(_, line)| line.clone());
        assert_eq!(heard, [(From::Out, "got word".to_owned()), (From::Out, "half".to_owned()), (From::Err, "oops".to_owned())]);
        assert_eq!(supervise(shell("kill -9 $$"), None, Limits::default(), |_, _| true).unwrap(), Ended::Signal(9));
    }

    #[test]
    fn what_hangs_is_ended_with_all_that_it_started() {
        let limits = Limits { timeout: Some(Duration::from_millis(300)), ..Limits::default() };
        // The child of the shell holds the pipe and would sleep for an hour.
        let ended = supervise(shell("sleep 3600 & echo $!; wait"), None, limits, |_, _| true);
        assert_eq!(ended.unwrap(), Ended::TimedOut);
        let limits = Limits { stall: Some(Duration::from_millis(400)), ..Limits::default() };
        let ended = supervise(shell("while :; do echo .; sleep 0.05; done"), None, limits, |_, _| false);
        assert_eq!(ended.unwrap(), Ended::Stalled);
    }
}
