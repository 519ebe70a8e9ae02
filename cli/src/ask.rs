//! Questions at a terminal. It must never ask where nobody can answer: a cron job that waits for ever is worse than one that fails.

use crate::exit::{Code, Fail, plain};
use crate::output::Output;
use std::io::{BufRead, IsTerminal, Write};

/// How often somebody may answer nonsense.
const TRIES: u32 = 5;

/// Whether somebody can answer.
pub fn can() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Fails where nobody can answer; `hint` says how it is done without questions.
pub fn needs_terminal(hint: &str) -> Result<(), Fail> {
    if can() { Ok(()) } else { Err(Fail::config("this asks questions, and here is no terminal").hint(hint)) }
}

/// A line; the default for an empty one.
pub fn line(question: &str, default: &str) -> Result<String, Fail> {
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    // On standard error: what a command prints stays clean.
    write!(std::io::stderr(), "{question}{shown}: ").and_then(|()| std::io::stderr().flush()).unwrap_or(());
    let mut text = String::new();
    let got = std::io::stdin().lock().read_line(&mut text);
    match got {
        Ok(0) => Err(Fail::new(Code::Interrupted, "no answer, nothing was done")),
        Ok(_) if text.trim().is_empty() => Ok(default.to_owned()),
        Ok(_) => Ok(text.trim().to_owned()),
        Err(error) => Err(Fail::new(Code::Failed, format!("cannot read the answer: {}", plain(&error)))),
    }
}

/// A line that `read` takes.
pub fn until<T>(question: &str, default: &str, out: &Output, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Fail> {
    for _ in 0..TRIES {
        match read(&line(question, default)?) {
            Ok(value) => return Ok(value),
            Err(why) => out.warn(&why),
        }
    }
    Err(Fail::config("no answer that makes sense").hint("nothing was done"))
}

/// One of several, by its number. The first is the default.
pub fn choose(question: &str, among: &[String], out: &Output) -> Result<usize, Fail> {
    if among.len() == 1 {
        return Ok(0);
    }
    for (n, what) in among.iter().enumerate() {
        writeln!(std::io::stderr(), "{:>3}  {}", n + 1, crate::output::clean(what)).unwrap_or(());
    }
    until(question, "1", out, |text| {
        let number = text.parse::<usize>().ok().filter(|n| (1..=among.len()).contains(n)).map(|n| n - 1);
        number.or_else(|| among.iter().position(|what| what == text)).ok_or_else(|| format!("a number from 1 to {}", among.len()))
    })
}

/// Yes or no.
pub fn yes(question: &str, default: bool, out: &Output) -> Result<bool, Fail> {
    until(question, if default { "yes" } else { "no" }, out, |text| match text.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "n" | "no" => Ok(false),
        _ => Err("yes or no".to_owned()),
    })
}
