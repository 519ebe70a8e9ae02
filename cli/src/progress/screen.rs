//! The bar: one line at the bottom of a terminal, drawn on standard error, above which everything else is printed.
//! Ours and not indicatif's: that fills its line with blanks to the right edge, and a window that gets narrower then wraps it.
//! It must never wrap, nor leave anything of itself behind: the cursor rests at its beginning, so that whatever a narrower window made of
//! the line lies below it. It obeys TERM=dumb (no bar) and has no colours that NO_COLOR would have to take away.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the bar is drawn.
#[derive(Default)]
pub struct Screen {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// An operation runs: without one nothing is drawn, however late somebody comes with a line of it.
    open: bool,
    /// What stands there: empty where nothing does.
    drawn: String,
}

/// Back to the beginning, and away with all that was there.
const ERASE: &str = "\r\x1b[J";

impl Screen {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on something is drawn, or nothing is.
    pub fn open(&self, open: bool) {
        let mut state = self.lock();
        state.open = open;
        erase(&mut state);
    }

    /// Prints something above the bar.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        aside(&mut state, print)
    }

    /// Prints something above the bar, unless the operation is over.
    pub fn while_open(&self, print: impl FnOnce()) {
        let mut state = self.lock();
        if state.open {
            aside(&mut state, print);
        }
    }

    /// Draws the bar with this text.
    pub fn draw(&self, text: &str) {
        let mut state = self.lock();
        if !state.open {
            return;
        }
        if !in_foreground() {
            state.drawn.clear();
            return;
        }
        state.drawn = text.to_owned();
        put(&format!("{ERASE}{}", line(text)));
    }

    /// Takes the bar away.
    pub fn erase(&self) {
        erase(&mut self.lock());
    }
}

fn erase(state: &mut State) {
    if !state.drawn.is_empty() && in_foreground() {
        put(ERASE);
    }
    state.drawn.clear();
}

fn aside<T>(state: &mut State, print: impl FnOnce() -> T) -> T {
    let drawn = std::mem::take(&mut state.drawn);
    // Whoever was sent to the background left its bar to the shell.
    if drawn.is_empty() || !in_foreground() {
        return print();
    }
    put(ERASE);
    let printed = print();
    put(&line(&drawn));
    state.drawn = drawn;
    printed
}

fn line(text: &str) -> String {
    format!("{text}\r")
}

/// In one piece, so that no two writers mix. A terminal that is gone is nobody's trouble.
fn put(text: &str) {
    let mut to = io::stderr().lock();
    to.write_all(text.as_bytes()).and_then(|()| to.flush()).unwrap_or(());
}

/// Whether standard error is a terminal on which a line can be drawn anew.
pub fn can_draw() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Whether it is ours to draw on: a job in the background leaves the terminal to the shell.
fn in_foreground() -> bool {
    // Of a terminal that controls nobody, all are in the foreground.
    rustix::termios::tcgetpgrp(io::stderr()).map_or(true, |group| group == rustix::process::getpgrp())
}

/// Columns that a line may take on standard error without touching its edge.
pub fn width() -> Option<usize> {
    let to = io::stderr();
    if !to.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(to).map_or(0, |size| usize::from(size.ws_col));
    // Zero is a terminal that does not know: what all terminals have is 80.
    Some(if columns == 0 { 79 } else { columns - 1 })
}
