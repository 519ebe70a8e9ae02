//! The only printer: what a command says, for people and as JSON, and where it says it.
//! It must never let a closed or full output stop a backup, nor pass control characters of a file name to a terminal.
//! It obeys the CLI conventions: results on standard output, errors and warnings on standard error, restic's JSON shapes.

use crate::exit::Fail;
use crate::habits;
use crate::progress::board::{Board, Running};
use crate::progress::line::columns;
use crate::progress::reporter::{Bell, Mode, Reporter};
use crate::progress::screen::Screen;
use crate::size;
use seabed_engine::store::{Store, Traffic};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a command's words go.
pub struct Output {
    /// JSON lines instead of text.
    pub json: bool,
    /// -1 quiet, 0, 1, 2 verbose.
    pub level: i8,
    /// How progress is told.
    pub mode: Mode,
    board: Arc<Board>,
    screen: Arc<Screen>,
    nudge: Option<UnixStream>,
    /// Something of the story was said on standard output.
    told: AtomicBool,
    /// The traffic was said in a summary.
    counted: AtomicBool,
    stores: Mutex<Vec<Arc<dyn Store>>>,
}

fn warning(text: &str, json: bool) -> String {
    match json {
        true => serde_json::json!({"message_type": "warning", "message": text}).to_string(),
        false => folded(&format!("seabed: warning: {}", clean(text)), width_of(io::stderr()), HANG),
    }
}

impl Output {
    /// As the flags say.
    pub fn new(json: bool, quiet: bool, verbose: u8) -> Self {
        let level = if quiet { -1 } else { verbose.min(2) as i8 };
        Output {
            json,
            level,
            mode: Mode::Nothing,
            board: Arc::new(Board::new("")),
            screen: Arc::default(),
            nudge: None,
            told: AtomicBool::new(false),
            counted: AtomicBool::new(false),
            stores: Mutex::default(),
        }
    }

    /// Tells from now on how far `command` is: whom `mode` says, and whoever asks.
    pub fn report(&mut self, command: &str, mode: Mode, bell: Bell) {
        self.mode = mode;
        self.board = Arc::new(Board::new(command));
        self.nudge = bell.nudge().ok();
        let reporter = Reporter { bell, board: self.board.clone(), screen: self.screen.clone(), mode, json: self.json };
        // Without it nothing is told; the signal is caught all the same.
        std::thread::Builder::new().name("reporter".to_owned()).spawn(move || reporter.run()).map(drop).unwrap_or(());
    }

    /// Whether standard output is a terminal.
    pub fn on_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Tells of `running` from now on, or of nothing; lines are printed above the bar.
    pub fn show(&self, running: Option<Arc<Running>>) {
        let begins = running.is_some();
        self.board.set(running);
        self.screen.open(begins);
        if let Some(mut nudge) = self.nudge.as_ref().filter(|_| begins) {
            // A pipe that is full has woken the thread already.
            nudge.write_all(&[1]).unwrap_or(());
        }
    }

    /// The command does what it was asked for from now on, and counts nothing: who asks is told so.
    pub fn works(&self) {
        self.board.work();
    }

    fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.screen.aside(print)
    }

    /// Says from now on what goes over the wire to `store` too, at the end.
    pub fn meter(&self, store: &Arc<dyn Store>) {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if !stores.iter().any(|known| std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(store))) {
            stores.push(store.clone());
        }
    }

    /// What went over the wire to all stores together.
    fn traffic(&self) -> Option<Traffic> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.iter().filter_map(|store| store.traffic()).reduce(|all, one| Traffic {
            requests: all.requests + one.requests,
            up: all.up + one.up,
            down: all.down + one.down,
        })
    }

    /// For whoever has something to warn of and cannot wait until the command is done.
    pub fn teller(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        let (screen, json) = (self.screen.clone(), self.json);
        Arc::new(move |text| screen.aside(|| writeln!(io::stderr().lock(), "{}", warning(text, json))).unwrap_or(()))
    }

    /// A summary as JSON gets what went over the wire.
    fn counted(&self, value: &Value) -> Value {
        let mut value = value.clone();
        let traffic = self.traffic().filter(|_| value["message_type"] == "summary" || value["message_type"] == "initialized");
        if let (Some(traffic), Some(map)) = (traffic, value.as_object_mut()) {
            self.counted.store(true, Relaxed);
            map.insert("requests".to_owned(), traffic.requests.into());
            map.insert("bytes_up".to_owned(), traffic.up.into());
            map.insert("bytes_down".to_owned(), traffic.down.into());
        }
        value
    }

    /// The end of a command: what went over the wire, where something did and it was not said in a summary.
    pub fn finish(&self) {
        self.show(None);
        let Some(traffic) = self.traffic().filter(|_| !self.counted.load(Relaxed) && self.level >= 0) else { return };
        if self.json {
            // Standard output is the result's.
            let value = serde_json::json!({
                "message_type": "traffic", "requests": traffic.requests, "bytes_up": traffic.up, "bytes_down": traffic.down,
            });
            return self.err(&value.to_string());
        }
        let requests = size::of(traffic.requests, "request");
        let text = format!("{requests}, {} up, {} down", size::human(traffic.up), size::human(traffic.down));
        match (traffic.requests, self.told.load(Relaxed)) {
            (0, _) => {}
            (_, true) => self.say(&text),
            // Beside data, whoever looks at it: what a command costs is asked of logs too.
            (_, false) => self.err(&text),
        }
    }

    fn out(&self, text: &[u8]) -> io::Result<()> {
        self.aside(|| {
            let mut out = io::stdout().lock();
            out.write_all(text)?;
            out.write_all(b"\n")?;
            out.flush()
        })
    }

    fn err(&self, text: &str) {
        // A standard error that is closed must not stop a backup.
        self.aside(|| writeln!(io::stderr().lock(), "{text}")).unwrap_or(());
    }

    /// Progress of the story: on standard output, not with `--quiet`, not with `--json`.
    pub fn say(&self, text: &str) {
        if !self.json && self.level >= 0 {
            self.told.store(true, Relaxed);
            self.out(folded(text, terminal_width(), 2).as_bytes()).unwrap_or(());
        }
    }

    /// A remark beside data on standard output: on standard error, only where a person looks.
    pub fn remark(&self, text: &str) {
        if !self.json && self.level >= 0 && io::stderr().is_terminal() {
            self.err(text);
        }
    }

    /// What happened to one file.
    pub fn item(&self, text: &str) {
        self.out(clean(text).as_bytes()).unwrap_or(());
    }

    /// What happened to one file, where standard output is the data's.
    pub fn item_aside(&self, text: &str) {
        self.err(&clean(text));
    }

    /// The same as JSON.
    pub fn message_aside(&self, value: &Value) {
        self.err(&value.to_string());
    }

    /// A message of the story as JSON; nothing else hears it.
    pub fn message(&self, value: &Value) {
        self.out(self.counted(value).to_string().as_bytes()).unwrap_or(());
    }

    /// The result itself: a line that is printed whatever the flags say. A reader that left ends the command.
    pub fn result(&self, text: &[u8]) -> Result<(), Fail> {
        self.out(text).map_err(Fail::output)
    }

    /// The result as JSON, on one line.
    pub fn json_result(&self, value: &Value) -> Result<(), Fail> {
        self.result(self.counted(value).to_string().as_bytes())
    }

    /// Many lines of result, buffered: a listing of a million files must not flush each.
    pub fn bulk(&self) -> Bulk {
        Bulk { to: io::BufWriter::with_capacity(64 << 10, io::stdout()) }
    }

    /// Lets `write` fill standard output with raw bytes.
    pub fn data<T>(&self, write: impl FnOnce(&mut (dyn Write + Send)) -> T) -> T {
        // Past the line buffer of `Stdout`, which would look for line ends in gigabytes.
        match io::stdout().as_fd().try_clone_to_owned() {
            Ok(fd) => write(&mut std::fs::File::from(fd)),
            Err(_) => write(&mut io::stdout()),
        }
    }

    /// Something that is no failure.
    pub fn warn(&self, text: &str) {
        self.err(&warning(text, self.json));
    }

    /// One source or target that failed; the command goes on.
    pub fn failed_item(&self, message: &str, during: &str, item: &str) {
        if self.json {
            let value = serde_json::json!({"message_type": "error", "error": {"message": message}, "during": during, "item": item});
            self.err(&value.to_string());
        } else {
            self.err(&format!("seabed: {}", clean(message)));
        }
    }

    /// More about what was said last on standard error; text only.
    pub fn detail(&self, text: &str) {
        self.err(&format!("        {}", clean(text)));
    }

    /// The last words of a command that failed.
    pub fn failed(&self, fail: &Fail) {
        self.show(None);
        if fail.message.is_empty() {
            return;
        }
        if self.json {
            let mut value = serde_json::json!({"message_type": "exit_error", "code": fail.code.number(), "message": fail.message});
            if let (Some(map), Some(hint)) = (value.as_object_mut(), &fail.hint) {
                map.insert("hint".to_owned(), hint.as_str().into());
            }
            if let (Some(map), Some(detail)) = (value.as_object_mut(), &fail.detail) {
                map.insert("stderr".to_owned(), detail.as_str().into());
            }
            self.err(&value.to_string());
            return;
        }
        let width = width_of(io::stderr());
        self.err(&folded(&format!("seabed: {}", clean(&fail.message)), width, HANG));
        for line in fail.detail.iter().flat_map(|d| d.lines()) {
            self.err(&format!("  | {}", clean(line)));
        }
        if let Some(hint) = &fail.hint {
            self.err(&folded(&format!("{}{hint}", " ".repeat(HANG)), width, HANG));
        }
    }

    /// Text that the parser made: help, version, usage errors.
    pub fn parser(&self, error: &clap::Error) {
        if let Some(fail) = habits::advice(error) {
            self.failed(&fail);
        } else if self.json && error.use_stderr() {
            let text = error.render().to_string();
            let mut first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            // What follows a colon stands below it.
            if first.ends_with(':') {
                let rest: Vec<&str> = text.lines().skip(1).take_while(|line| line.starts_with("  ")).map(str::trim).collect();
                first = format!("{first} {}", rest.join(", "));
            }
            self.failed(&Fail { hint: habits::tip(error), ..Fail::config(first) });
        } else {
            error.print().unwrap_or(());
        }
    }
}

/// Lines of a long result.
pub struct Bulk {
    to: io::BufWriter<io::Stdout>,
}

impl Bulk {
    /// One line.
    pub fn line(&mut self, text: &[u8]) -> Result<(), Fail> {
        self.to.write_all(text).and_then(|()| self.to.write_all(b"\n")).map_err(Fail::output)
    }

    /// Something that is no line yet.
    pub fn part(&mut self, text: &[u8]) -> Result<(), Fail> {
        self.to.write_all(text).map_err(Fail::output)
    }

    /// What was written so far goes out.
    pub fn flush(&mut self) -> Result<(), Fail> {
        self.to.flush().map_err(Fail::output)
    }

    /// The end: only now all is out.
    pub fn finish(mut self) -> Result<(), Fail> {
        self.to.flush().map_err(Fail::output)
    }
}

/// Control characters made visible: a file name must not drive the terminal.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            write!(out, "{}", c.escape_default()).unwrap_or(());
        } else {
            out.push(c);
        }
    }
    out
}

/// Raw bytes of a path for standard output: as they are into a pipe, made visible on a terminal.
pub fn path_bytes(path: &[u8], terminal: bool) -> Vec<u8> {
    if terminal { clean(&String::from_utf8_lossy(path)).replace('\n', "\\n").into_bytes() } else { path.to_vec() }
}

/// JSON is text: a path that is none is given in full beside it.
pub fn path_hex(map: &mut Map<String, Value>, path: &[u8]) {
    if std::str::from_utf8(path).is_err() {
        map.insert("path_hex".to_owned(), seabed_engine::id::hex(path).into());
    }
}

/// A table with a head line and a rule, in which flexible columns give way where the terminal is narrow.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    head: &'static str,
    right: bool,
    shrinks: bool,
    spare: bool,
}

/// Narrowest that a flexible column becomes.
const COLUMN_MIN: usize = 6;

impl Table {
    /// No rows yet. Columns: head, right-aligned, may be cut.
    pub fn new(columns: &[(&'static str, bool, bool)]) -> Self {
        let columns = columns.iter().map(|&(head, right, shrinks)| Column { head, right, shrinks, spare: false }).collect();
        Table { columns, rows: Vec::new() }
    }

    /// Columns that are left out, the last of them first, where cutting others short is not enough.
    pub fn spare(mut self, heads: &[&str]) -> Self {
        self.columns.iter_mut().for_each(|column| column.spare = heads.contains(&column.head));
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(|c| clean(&c).replace('\n', " ")).collect());
    }

    /// The lines, at most `width` wide where that can be. Columns that are empty in every row are left out.
    pub fn lines(&self, width: Option<usize>) -> Vec<String> {
        let mut used: Vec<usize> =
            (0..self.columns.len()).filter(|i| self.rows.iter().any(|r| r.get(*i).is_some_and(|c| !c.is_empty()))).collect();
        let cell = |row: &[String], i: usize| row.get(i).cloned().unwrap_or_default();
        let full = |i: usize| self.rows.iter().map(|r| columns(&cell(r, i))).chain([self.columns[i].head.len()]).max().unwrap_or(0);
        let least = |i: usize| if self.columns[i].shrinks { full(i).min(COLUMN_MIN) } else { full(i) };
        let too_wide = |used: &[usize]| width.is_some_and(|max| used.iter().map(|&i| least(i) + 2).sum::<usize>() > max + 2);
        while too_wide(&used)
            && let Some(at) = used.iter().rposition(|&i| self.columns[i].spare)
        {
            used.remove(at);
        }
        let mut widths: Vec<usize> = used.iter().map(|&i| full(i)).collect();
        let gaps = 2 * used.len().saturating_sub(1);
        while width.is_some_and(|max| widths.iter().sum::<usize>() + gaps > max) {
            let widest = (0..used.len()).filter(|&n| self.columns[used[n]].shrinks && widths[n] > COLUMN_MIN).max_by_key(|&n| widths[n]);
            match widest {
                Some(n) => widths[n] -= 1,
                None => break,
            }
        }
        let line = |cells: Vec<String>| {
            let mut out = String::new();
            for (n, text) in cells.iter().enumerate() {
                let text = cut(text, widths[n]);
                let pad = " ".repeat(widths[n].saturating_sub(columns(&text)));
                let gap = if n == 0 { "" } else { "  " };
                if self.columns[used[n]].right { write!(out, "{gap}{pad}{text}") } else { write!(out, "{gap}{text}{pad}") }.unwrap_or(());
            }
            out.trim_end().to_owned()
        };
        let head = line(used.iter().map(|&i| self.columns[i].head.to_owned()).collect());
        let rule = "-".repeat(widths.iter().sum::<usize>() + gaps);
        let rows = self.rows.iter().map(|row| line(used.iter().map(|&i| cell(row, i)).collect()));
        [head, rule].into_iter().chain(rows).collect()
    }
}

/// The text in at most `max` columns. Of paths the end tells more than the beginning.
fn cut(text: &str, max: usize) -> String {
    if columns(text) <= max {
        return text.to_owned();
    }
    let mut left = max.saturating_sub(1);
    let mut fits = |c: &char| {
        let width = columns(c.encode_utf8(&mut [0; 4]));
        left.checked_sub(width).map(|rest| left = rest).is_some()
    };
    if text.starts_with('/') {
        let end: Vec<char> = text.chars().rev().take_while(&mut fits).collect();
        return ['…'].into_iter().chain(end.into_iter().rev()).collect();
    }
    text.chars().take_while(&mut fits).chain(['…']).collect()
}

/// What stands below the words of a failure is moved in so far: as long as `seabed: ` is.
const HANG: usize = 8;

/// Sentences in lines that end between words, where a terminal would break them anywhere. What is longer than a line stays whole: somebody may
/// want to copy it.
fn folded(text: &str, width: Option<usize>, hang: usize) -> String {
    let Some(width) = width.filter(|width| *width > 2 * hang) else { return text.to_owned() };
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\n') {
        if columns(line) <= width {
            lines.push(line.to_owned());
            continue;
        }
        let mut now = String::new();
        for word in line.split_inclusive(' ') {
            let end = columns(&now) + columns(word.trim_end());
            if end > width && !now.trim().is_empty() {
                lines.push(now.trim_end().to_owned());
                now = " ".repeat(hang);
            }
            now.push_str(word);
        }
        lines.push(now.trim_end().to_owned());
    }
    lines.join("\n")
}

/// Columns of the terminal, where standard output is one.
pub fn terminal_width() -> Option<usize> {
    width_of(io::stdout())
}

fn width_of(out: impl IsTerminal + AsFd) -> Option<usize> {
    if !out.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(out).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_where_it_can() {
        let mut table = Table::new(&[("ID", false, false), ("Series", false, true), ("Tags", false, true), ("Size", true, false)]);
        table.row(vec!["40dc1520".into(), "/home/user/some/very/long/path/to/data".into(), String::new(), "1.0 MiB".into()]);
        assert_eq!(table.lines(None)[2], "40dc1520  /home/user/some/very/long/path/to/data  1.0 MiB");
        let narrow = table.lines(Some(40));
        assert!(narrow.iter().all(|l| l.chars().count() <= 40), "{narrow:?}");
        assert_eq!(narrow[2], "40dc1520  …ry/long/path/to/data  1.0 MiB");
        assert_eq!(table.lines(Some(20))[2], "40dc1520  …/data  1.0 MiB", "without columns to spare it is too wide");
        assert_eq!(table.spare(&["Series"]).lines(Some(20))[2], "40dc1520  1.0 MiB");
    }

    #[test]
    fn sentences_end_between_words() {
        assert_eq!(
            folded("seabed: there is none at /a/long/path (the default)", Some(30), 8),
            "seabed: there is none at\n        /a/long/path (the\n        default)"
        );
        assert_eq!(folded("  a b\nc", Some(20), 2), "  a b\nc");
        assert_eq!(folded(&format!("  {}", "x".repeat(30)), Some(20), 2), format!("  {}", "x".repeat(30)));
        assert_eq!(folded("one two", None, 2), "one two");
    }

    #[test]
    fn names_do_not_drive_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(path_bytes(b"a\nb\xff", true), "a\\nb\u{fffd}".as_bytes());
        assert_eq!(path_bytes(b"a\nb\xff", false), b"a\nb\xff");
    }
}
