//! `key export`: a recovery sheet, as text, as QR codes, as a page to print. It must never overwrite a file, nor let others read one.

use super::page;
use super::secrets::slot_label;
use super::slots::short;
use crate::args::Global;
use crate::exit::{Code, Fail, Run, help};
use crate::newfile::SecretFile;
use crate::open;
use crate::output::Output;
use crate::time;
use seabed_engine::clock;
use seabed_engine::keys::export;
use seabed_engine::seal::sheet;
use serde_json::json;
use std::path::PathBuf;
use zeroize::Zeroizing;

const EXAMPLES: &str = "  seabed key export | lp
  seabed key export --html sheet.html    (print it, then delete it)
  seabed key export --qr";

/// Make a recovery sheet: on paper, what opens the repository where all else is lost
///
/// It opens the repository from another machine, even where the store has lost slots, keyrings or the
/// descriptor: `seabed key import SHEET`, or any command with --key-file SHEET. Whoever has it has the
/// repository: keep it where nobody else comes.
///
/// A slot is added for it, so that it opens what is written after later rotations too; `seabed key
/// remove` revokes it. With --no-slot nothing is added, and it opens what was written until the next
/// new epoch.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Write the text to FILE, which must not be there yet
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a page to print, with QR codes, to FILE, which must not be there yet
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print QR codes too
    #[arg(long)]
    qr: bool,
    /// Add no slot
    #[arg(long, conflicts_with = "label")]
    no_slot: bool,
    /// What the slot is called [default: recovery sheet and the date]
    #[arg(long, value_name = "TEXT", value_parser = slot_label)]
    label: Option<String>,
}

/// Makes it.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    // Before a slot is added for nothing, and before anybody is asked for a passphrase.
    let create = |path: &Option<PathBuf>| path.as_deref().map(SecretFile::create).transpose();
    let (output, html) = (create(&args.output)?, create(&args.html)?);
    let opened = open::open(global, out)?;
    let today = time::day(&clock::now());
    let label = args.label.clone().unwrap_or_else(|| format!("recovery sheet {today}"));
    let made = export(&opened.repository, (!args.no_slot).then_some(label.as_str()))?;
    let lines = sheet::lines(&made)?;
    let head = page::head(&opened.repository.id().short(), &today);
    let text = page::text(&head, &lines);
    let in_vain = |fail: Fail| match &made.slot {
        Some(slot) => {
            fail.hint(format!("make room and try again; `seabed key remove {}` takes away the slot of this sheet", short(&slot.slot)))
        }
        None => fail,
    };
    if let Some(file) = output {
        file.write(text.as_bytes()).map_err(in_vain)?;
    }
    if let Some(file) = html {
        file.write(page::html(&head, &lines)?.as_bytes()).map_err(in_vain)?;
    }
    let shown = args.output.is_none() && args.html.is_none();
    if out.json {
        out.json_result(&json!({
            "message_type": "recovery_sheet",
            "slot": made.slot.as_ref().map(|slot| slot.slot.to_string()),
            "label": made.slot.as_ref().map(|_| label),
            "epoch": made.epoch,
            "lines": lines.len(),
            "text": shown.then(|| text.as_str()),
        }))?;
        return Ok(Code::Done);
    }
    if shown || args.qr {
        let mut all = Zeroizing::new(if shown { text.to_string() } else { String::new() });
        for code in if args.qr { page::codes(&lines)? } else { Vec::new() } {
            all.push_str(&format!("\n{}\n{}\n", code.title, code.terminal()));
        }
        out.result(all.trim_end_matches('\n').as_bytes())?;
    }
    for path in args.output.iter().chain(&args.html) {
        out.say(&format!("the recovery sheet is in {}: whoever reads it has the repository", path.display()));
    }
    if let Some(slot) = &made.slot {
        out.remark(&format!("it has slot {}, called `{label}`: `seabed key remove {}` revokes it", short(&slot.slot), short(&slot.slot)));
    }
    Ok(Code::Done)
}
