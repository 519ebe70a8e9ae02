//! What commands that look for trouble have found: a line and a remedy each, as text and as JSON.
//! It must never make an alarm of what is only worth knowing: a failure ends the command with 1.

use crate::output::Output;
use serde_json::{Value, json};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Worth knowing.
    Note,
    /// Not to be lived with.
    Failure,
}

impl Level {
    /// As it stands before the line.
    pub fn word(self) -> &'static str {
        match self {
            Level::Fine => "ok",
            Level::Note => "note",
            Level::Failure => "FAIL",
        }
    }
}

/// A finding.
#[derive(Debug)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// A finding in words.
pub fn finding(level: Level, text: impl Into<String>, remedy: Option<&str>) -> Finding {
    Finding { level, text: text.into(), remedy: remedy.map(str::to_owned) }
}

/// How many of them are failures.
pub fn failures(findings: &[Finding]) -> u64 {
    findings.iter().filter(|finding| finding.level == Level::Failure).count() as u64
}

/// Says them to people; with `--quiet` only failures, and then on standard error.
pub fn tell(findings: &[Finding], out: &Output) {
    for Finding { level, text, remedy } in findings {
        if out.level >= 0 {
            out.say(&format!("{:<5} {text}", level.word()));
            remedy.iter().for_each(|remedy| out.say(&format!("      {remedy}")));
        } else if *level == Level::Failure {
            // A job that is told "1 finding" has to ask again to learn which.
            out.warn(text);
            remedy.iter().for_each(|remedy| out.detail(remedy));
        }
    }
}

/// As JSON.
pub fn rows(findings: &[Finding]) -> Vec<Value> {
    findings.iter().map(|f| json!({"level": f.level.word().to_lowercase(), "message": f.text, "remedy": f.remedy})).collect()
}
