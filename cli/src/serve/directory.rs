//! An open directory as it is listed: from any position on, in pieces as large as the reader's buffer.
//! It must never hold more of a directory than a few pages, however large that is.

use seabed_engine::view::node::Node;
use seabed_engine::view::{Listed, View};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Names that are asked for at a time: what fits into a few of the kernel's buffers.
const PAGE: usize = 256;
/// Names that are held. The kernel comes back to somewhere in its last buffer when a program's own was smaller.
const HELD_MAX: usize = 4 * PAGE;

/// See the module's text.
pub struct Directory {
    /// What it is.
    pub node: Node,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    /// The position of the first name that is held.
    first: u64,
    names: VecDeque<Listed>,
    /// All names behind these were listed, or there are none.
    is_done: bool,
    is_torn: bool,
}

/// How a listing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whoever took the names had enough.
    Full,
    /// There are no more.
    Done,
    /// There are no more that can be read.
    Torn,
}

impl Directory {
    /// At the beginning.
    pub fn new(node: Node) -> Self {
        Directory { node, window: Mutex::default() }
    }

    /// Back to the beginning: what comes from here on is looked up anew, as whoever rewinds a directory expects.
    pub fn rewind(&self) {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner) = Window::default();
    }

    /// Gives the names from position `from` on to `take`, each with its position, until that says `false`.
    pub fn list(&self, view: &View, from: u64, mut take: impl FnMut(u64, &Listed) -> bool) -> End {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if from < window.first {
            *window = Window::default();
        }
        let mut at = from;
        loop {
            let held = window.first + window.names.len() as u64;
            while at < held {
                let Some(listed) = usize::try_from(at - window.first).ok().and_then(|index| window.names.get(index)) else { break };
                if !take(at, listed) {
                    return End::Full;
                }
                at += 1;
            }
            if window.is_done {
                return if window.is_torn { End::Torn } else { End::Done };
            }
            window.read_on(view, &self.node);
        }
    }
}

impl Window {
    fn read_on(&mut self, view: &View, node: &Node) {
        let page = view.list(node, self.names.back().map(|last| last.name.as_slice()), PAGE);
        self.is_done = page.is_last || page.names.is_empty();
        self.is_torn |= page.is_torn;
        self.names.extend(page.names);
        while self.names.len() > HELD_MAX {
            self.names.pop_front();
            self.first += 1;
        }
    }
}
