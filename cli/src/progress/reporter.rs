//! The thread that tells how far it is: it draws the bar, writes status lines, and answers SIGUSR1 whatever the others wait for.
//! It must never let that signal end the program, nor wake up where nobody watches and nothing runs.

use super::board::Board;
use super::screen::{Screen, width};
use crate::signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCONT, SIGUSR1, SIGWINCH};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the program looks whether it stood still, while something runs.
const PULSE: Duration = Duration::from_secs(1);
/// What is over within this time was not worth a bar.
const BAR_FROM: Duration = Duration::from_millis(250);

/// How progress is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Not at all.
    Nothing,
    /// A bar on a terminal, drawn anew so often.
    Bar(Duration),
    /// Lines on standard error, so often.
    Lines(Duration),
    /// Status messages on standard output, so often.
    Json(Duration),
}

/// Signals that were asked for, and nudges of the program itself.
pub struct Bell {
    asked: UnixStream,
    moved: UnixStream,
    nudged: UnixStream,
    nudge: UnixStream,
}

impl Bell {
    /// From here on SIGUSR1 ends nothing any more.
    pub fn hang() -> io::Result<Self> {
        let (asked, ask) = UnixStream::pair()?;
        let (moved, move_) = UnixStream::pair()?;
        let (nudged, nudge) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGUSR1, ask)?;
        for signal in [SIGWINCH, SIGCONT] {
            signal_hook::low_level::pipe::register(signal, move_.try_clone()?)?;
        }
        for stream in [&asked, &moved, &nudged, &nudge] {
            stream.set_nonblocking(true)?;
        }
        Ok(Bell { asked, moved, nudged, nudge })
    }

    /// What wakes the thread: something begins.
    pub fn nudge(&self) -> io::Result<UnixStream> {
        self.nudge.try_clone()
    }

    /// Waits for any of it, `None` for ever. Returns whether somebody asked.
    fn wait(&mut self, time: Option<Duration>) -> (bool, bool) {
        let timeout = time.and_then(|time| Timespec::try_from(time).ok());
        let mut fds = [&self.asked, &self.moved, &self.nudged].map(|stream| PollFd::new(stream, PollFlags::IN));
        // Interrupted by the very signal: then the next look finds it.
        poll(&mut fds, timeout.as_ref()).map(|_| ()).unwrap_or(());
        (drain(&mut self.asked), drain(&mut self.moved) | drain(&mut self.nudged))
    }
}

fn drain(from: &mut UnixStream) -> bool {
    let mut any = false;
    let mut bytes = [0; 64];
    while matches!(from.read(&mut bytes), Ok(n) if n > 0) {
        any = true;
    }
    any
}

/// What the thread works with.
pub struct Reporter {
    /// Signals.
    pub bell: Bell,
    /// What runs.
    pub board: Arc<Board>,
    /// Where it is drawn.
    pub screen: Arc<Screen>,
    /// How.
    pub mode: Mode,
    /// Whether whoever asks is answered in JSON.
    pub json: bool,
}

impl Reporter {
    /// Reports until the program ends.
    pub fn run(mut self) {
        let mut next: Option<Instant> = None;
        let mut stopping = false;
        loop {
            let running = self.board.get();
            let time = match (&running, self.mode) {
                (None, _) => None,
                (Some(_), Mode::Nothing) => Some(PULSE),
                (Some(running), _) if !running.tells() => Some(PULSE),
                (Some(_), _) => {
                    let left = next.map_or(Duration::ZERO, |next| next.saturating_duration_since(Instant::now()));
                    Some(left.min(PULSE))
                }
            };
            let (asked, moved) = self.bell.wait(time);
            if asked {
                self.answer();
            }
            let Some(running) = self.board.get() else {
                next = None;
                continue;
            };
            running.beat();
            let now = Instant::now();
            let (every, first) = match self.mode {
                Mode::Nothing => continue,
                _ if !running.tells() => continue,
                Mode::Bar(every) => (every, every.min(BAR_FROM)),
                Mode::Lines(every) | Mode::Json(every) => (every, every),
            };
            let due = *next.get_or_insert(running.began() + first);
            if now < due && !(moved && now >= running.began() + first) {
                continue;
            }
            if now >= due {
                next = Some(now + every);
            }
            match self.mode {
                Mode::Nothing => {}
                Mode::Bar(_) if signals::interrupted() => {
                    // Gone before a second signal may end the program at once.
                    self.screen.erase();
                    if !std::mem::replace(&mut stopping, true) {
                        self.screen.while_open(|| err("seabed: stopping; once more ends it at once"));
                    }
                }
                Mode::Bar(_) => self.screen.draw(&running.line(width())),
                // A line is no bar: when a window moves it stays as it is.
                Mode::Lines(_) if now >= due => {
                    let line = running.line(width());
                    self.screen.while_open(|| err(&line));
                }
                Mode::Json(_) if now >= due => {
                    let status = running.status().to_string();
                    self.screen.while_open(|| {
                        let mut out = io::stdout().lock();
                        writeln!(out, "{status}").and_then(|()| out.flush()).unwrap_or(());
                    });
                }
                Mode::Lines(_) | Mode::Json(_) => {}
            }
        }
    }

    fn answer(&self) {
        let line = match self.json {
            true => self.board.status().to_string(),
            false => {
                let width = if io::stderr().is_terminal() { width().map(|w| w.saturating_sub(8)) } else { None };
                format!("seabed: {}", self.board.line(width))
            }
        };
        self.screen.aside(|| err(&line));
    }
}

fn err(line: &str) {
    writeln!(io::stderr().lock(), "{line}").unwrap_or(());
}
