//! A terminal to run a program on, and what stands on its screen afterwards.
//! It must never know more than a plain terminal does: a control sequence that it does not know is a failure of the program.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long anything may take that is waited for. No test measures it: a machine that is busy is slow.
const PATIENCE: Duration = Duration::from_secs(60);

type Bytes = Arc<(Mutex<Vec<u8>>, Condvar)>;

/// A program on a terminal of its own.
pub struct Terminal {
    master: File,
    child: Child,
    seen: Bytes,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Runs `command` on a terminal of this size: all three streams are the terminal, which it owns.
    pub fn run(command: &Command, (columns, rows): (u16, u16)) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let end = || OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        // A session of its own, with this as its terminal: to make one takes code between fork and exec, which util-linux has.
        let mut whole = Command::new("setsid");
        whole.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        whole.env_clear();
        for (key, value) in command.get_envs().filter_map(|(key, value)| Some((key, value?))) {
            whole.env(key, value);
        }
        whole.current_dir(command.get_current_dir().unwrap());
        whole.stdin(Stdio::from(end())).stdout(Stdio::from(end())).stderr(Stdio::from(end()));
        let master = File::from(master);
        resize(&master, (columns, rows));
        let child = whole.spawn().expect("setsid of util-linux");
        let seen: Bytes = Arc::default();
        let (mut from, into) = (master.try_clone().unwrap(), seen.clone());
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The other end closed: an error, as Linux has it.
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                into.0.lock().unwrap().extend_from_slice(&bytes[..n]);
                into.1.notify_all();
            }
        });
        Terminal { master, child, seen, reader: Some(reader) }
    }

    /// What was written so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.seen.0.lock().unwrap().clone()
    }

    /// Waits until what was written satisfies `done`.
    pub fn until(&self, done: impl Fn(&str) -> bool) -> String {
        let bytes = self.seen.0.lock().unwrap();
        let found = |bytes: &mut Vec<u8>| !done(&String::from_utf8_lossy(bytes));
        let (bytes, time) = self.seen.1.wait_timeout_while(bytes, PATIENCE, found).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!time.timed_out(), "this never came: {text:?}");
        text
    }

    /// Makes the window another one.
    pub fn resize(&self, size: (u16, u16)) {
        resize(&self.master, size);
    }

    /// Types.
    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end. Returns all that was written.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status, String::from_utf8_lossy(&self.bytes()).into_owned())
    }

    /// The process that was started: `setsid`, which became the program.
    pub fn child(&self) -> &Child {
        &self.child
    }
}

fn resize(master: &File, (columns, rows): (u16, u16)) {
    tcsetwinsize(master, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// What stands on a screen of so many columns, line by line, after this was written to it.
pub fn screen(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{7}' => {}
            '\u{1b}' => match chars.next() {
                Some('[') => {
                    let mut sequence = String::new();
                    for c in chars.by_ref() {
                        sequence.push(c);
                        if c.is_ascii_alphabetic() {
                            break;
                        }
                    }
                    match sequence.as_str() {
                        "J" => {
                            lines[row].truncate(column);
                            lines.truncate(row + 1);
                        }
                        "K" => lines[row].truncate(column),
                        other => panic!("a control sequence that not every terminal knows: ESC [ {other:?}"),
                    }
                }
                other => panic!("a control sequence that not every terminal knows: ESC {other:?}"),
            },
            c if c.is_control() => panic!("a control character: {c:?}"),
            c => {
                if column == columns {
                    (row, column) = (row + 1, 0);
                }
                while lines.len() <= row {
                    lines.push(Vec::new());
                }
                let line = &mut lines[row];
                while line.len() <= column {
                    line.push(' ');
                }
                line[column] = c;
                column += 1;
            }
        }
        while lines.len() <= row {
            lines.push(Vec::new());
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_shows_what_a_terminal_would() {
        assert_eq!(screen("one\r\ntwo\rT", 80), ["one", "Two"]);
        assert_eq!(screen("bar 10 %\r\x1b[Jdone\r\n", 80), ["done", ""]);
        assert_eq!(screen("abcdef", 4), ["abcd", "ef"]);
    }

    #[test]
    #[should_panic(expected = "not every terminal knows")]
    fn colours_are_seen() {
        screen("\x1b[31mred", 80);
    }
}
