//! `schema`: what every command prints with --json, as JSON Schema (2020-12), put together of one file per command in `cli/schema`.
//! It must never say less than is printed: a test runs every command and looks at each line.

use crate::exit::{Code, Fail, Run, help};
use crate::output::Output;
use serde_json::{Map, Value, json};

const EXAMPLES: &str = "  seabed schema > seabed.schema.json
  seabed schema backup";

/// Print what commands print with --json, as JSON Schema
///
/// All of it, or what one command prints: `$defs/stdout` and `$defs/stderr` are its lines there. New
/// fields may come in later versions, none that is required goes: take what you know, pass over the rest.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Only this command's
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("../../schema/", $name, ".json")))),*] };
}

/// What several commands print.
const COMMON: &str = include_str!("../../schema/common.json");

/// A file per command.
const FILES: &[(&str, &str)] = files![
    "backup",
    "cache",
    "cat",
    "check",
    "completions",
    "config",
    "copy",
    "daemon",
    "describe",
    "diff",
    "doctor",
    "dump",
    "find",
    "forget",
    "gc",
    "history",
    "hold",
    "iam-policy",
    "init",
    "key",
    "lifecycle",
    "logs",
    "ls",
    "man",
    "mount",
    "rebuild",
    "recover-plan",
    "repair",
    "restore",
    "retain",
    "rewrite",
    "run",
    "runs",
    "schedule",
    "schema",
    "self-test",
    "serve",
    "setup",
    "snapshots",
    "stats",
    "status",
    "tag",
    "tick",
    "undelete",
    "unhold",
    "unlock",
    "version",
];

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What every command may print on standard error, whatever it does.
const ALWAYS: [&str; 4] = ["warning", "status", "traffic", "exit_error"];

fn parsed(name: &str, text: &str) -> Result<Value, Fail> {
    serde_json::from_str(text).map_err(|e| Fail::new(Code::Failed, format!("the schema of `{name}` is broken: {e}")))
}

/// Its definitions.
fn defs(file: &Value) -> Map<String, Value> {
    file["$defs"].as_object().cloned().unwrap_or_default()
}

/// One of these messages.
fn one_of(names: impl IntoIterator<Item = String>) -> Value {
    json!({"anyOf": names.into_iter().map(|name| json!({"$ref": format!("#/$defs/{name}")})).collect::<Vec<_>>()})
}

/// The messages of a stream: those that a file names, and on standard error those of every command.
fn stream(file: &Value, which: &str) -> Vec<String> {
    let named = file[which].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    named.chain(ALWAYS.into_iter().filter(|_| which == "stderr").map(str::to_owned)).collect()
}

/// A line of a stream, and what is to be said of all of them.
fn line(file: &Value, which: &str) -> Value {
    let mut line = one_of(stream(file, which));
    if let (Some(map), Some(note)) = (line.as_object_mut(), file.get(format!("{which}_note"))) {
        map.insert("description".to_owned(), note.clone());
    }
    line
}

/// What one command prints.
fn of_command(name: &str, text: &str) -> Result<Value, Fail> {
    let (file, common) = (parsed(name, text)?, parsed("common", COMMON)?);
    let mut all = defs(&common);
    all.extend(defs(&file));
    // Only what is spoken of, directly or not.
    let mut used = Map::new();
    let mut todo: Vec<String> = stream(&file, "stdout").into_iter().chain(stream(&file, "stderr")).collect();
    while let Some(name) = todo.pop() {
        if let (false, Some(def)) = (used.contains_key(&name), all.get(&name)) {
            references(def, &mut todo);
            used.insert(name, def.clone());
        }
    }
    for which in ["stdout", "stderr"] {
        used.insert(which.to_owned(), line(&file, which));
    }
    Ok(json!({
        "$schema": DIALECT,
        "title": format!("seabed {name} --json"),
        "description": "A line of standard output or of standard error.",
        "anyOf": [{"$ref": "#/$defs/stdout"}, {"$ref": "#/$defs/stderr"}],
        "$defs": used,
    }))
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/")).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// What all commands print.
fn of_all() -> Result<Value, Fail> {
    let mut all = defs(&parsed("common", COMMON)?);
    let mut lines = Vec::new();
    for (name, text) in FILES {
        let file = parsed(name, text)?;
        all.extend(defs(&file));
        for which in ["stdout", "stderr"] {
            all.insert(format!("{name}.{which}"), line(&file, which));
            lines.push(format!("{name}.{which}"));
        }
    }
    let mut value = one_of(lines);
    if let Some(map) = value.as_object_mut() {
        map.insert("$defs".to_owned(), all.into());
        let front = json!({
            "$schema": DIALECT,
            "title": "seabed --json",
            "description": "What the commands of seabed print with --json: `$defs/COMMAND.stdout` is a line of standard output, `$defs/COMMAND.stderr` one of standard error.",
        });
        let mut whole = front.as_object().cloned().unwrap_or_default();
        whole.append(map);
        *map = whole;
    }
    Ok(value)
}

/// Prints it.
pub fn run(args: &Args, out: &Output) -> Run {
    let value = match &args.command {
        None => of_all()?,
        Some(name) => {
            let found = FILES.iter().find(|(known, _)| known == name);
            let (name, text) = found.ok_or_else(|| {
                Fail::config(format!("`{name}` is no command that prints JSON"))
                    .hint("`seabed --help` lists the commands; an alias has no schema")
            })?;
            of_command(name, text)?
        }
    };
    let text = if out.json { value.to_string() } else { format!("{value:#}") };
    out.result(text.as_bytes())?;
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;

    #[test]
    fn every_command_has_a_schema() {
        let program = Cli::command();
        let mut commands: Vec<&str> =
            program.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name).collect();
        commands.retain(|name| *name != "help");
        commands.sort_unstable();
        let files: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(commands, files, "a command and its file in cli/schema go together");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let all = of_all().unwrap();
        let defs = all["$defs"].as_object().unwrap();
        let mut found = Vec::new();
        references(&all, &mut found);
        for name in found {
            assert!(defs.contains_key(&name), "{name}");
        }
        for (name, text) in FILES {
            let one = of_command(name, text).unwrap();
            let mut found = Vec::new();
            references(&one, &mut found);
            assert!(found.iter().all(|name| one["$defs"].get(name).is_some()), "{name}: {found:?}");
            // A name that two files give to two things would be the second one's.
            for def in defs_of(text) {
                let others = FILES.iter().filter(|(other, text)| other != name && defs_of(text).contains(&def));
                assert_eq!(others.count(), 0, "{name}: {def}");
            }
        }
    }

    fn defs_of(text: &str) -> Vec<String> {
        defs(&serde_json::from_str(text).unwrap()).keys().cloned().collect()
    }
}
