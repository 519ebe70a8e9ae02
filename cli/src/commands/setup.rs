//! `setup`: from nothing to a first snapshot: a few questions, a configuration, a repository, a run. What it cannot ask it takes from the
//! environment, with --yes. It must never overwrite a configuration, nor write a secret that is somewhere else already.

use crate::args::Global;
use crate::ask;
use crate::commands::config::new_place;
use crate::exit::{Code, Fail, Run, help, plain};
use crate::jobs::config::Config;
use crate::open::{self, NewRepository};
use crate::output::Output;
use crate::secret::{self, Given};
use crate::{jobs, signals};
use seabed_engine::error::Error;
use serde_json::json;
use std::collections::HashMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "  seabed setup
  seabed setup ~/documents /srv/uploads --yes
  seabed setup --yes --from /srv/app/.env /srv/app/storage
  seabed setup --yes --repo s3://backups/shop --postgres 'host=db user=backup dbname=shop'
  seabed setup --yes --config /etc/seabed/seabed.toml --schedule '*-*-* 02:00' /etc /home";

/// Write a configuration, make its repository, and run its first job
///
/// Without --yes it asks; with it what is not said comes from the environment: SEABED_REPOSITORY
/// and the SEABED_PASSWORD… variables, DATABASE_URL, DB_CONNECTION, DB_HOST … as Laravel has them,
/// PGHOST and PGDATABASE; --from reads them from a file, which the configuration then names as
/// env_file. Secrets stay where they are.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment, after_long_help = help(EXAMPLES))]
pub struct Args {
    /// Files and directories to back up
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
    /// Take variables from this file (NAME=value) before the environment; `env` is the environment itself
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Back up this PostgreSQL server: `host=db user=backup dbname=shop`, or postgres://…
    #[arg(long, value_name = "DSN")]
    postgres: Option<String>,
    /// Back up the MySQL or MariaDB server on this host (with --from or the environment: user and password of DB_USERNAME, DB_PASSWORD)
    #[arg(long, value_name = "HOST")]
    mysql: Option<String>,
    /// When it runs: OnCalendar or cron syntax, in UTC
    #[arg(long, value_name = "WHEN")]
    schedule: Option<String>,
    /// A URL that is told how runs go (healthchecks.io)
    #[arg(long, value_name = "URL")]
    ping: Option<String>,
    /// Name of the job
    #[arg(long, value_name = "NAME", default_value = "nightly")]
    job: String,
    /// Do not run it
    #[arg(long)]
    no_run: bool,
}

/// Every night, where nobody says otherwise: not on the hour, when everybody's jobs begin.
const SCHEDULE: &str = "*-*-* 02:10";

/// What was answered.
#[derive(Default)]
struct Answers {
    repo: String,
    paths: Vec<PathBuf>,
    sources: Vec<(String, Vec<(&'static str, String)>)>,
    schedule: String,
    ping: Option<String>,
    env_file: Option<PathBuf>,
}

/// Sets up.
pub fn run(global: &Global, args: &Args, out: &Output) -> Run {
    signals::catch();
    if !args.yes {
        ask::needs_terminal("say --yes, and what it would ask for: seabed setup --yes PATH…")?;
    }
    let place = new_place(global)?;
    if place.exists() {
        return Err(Fail::new(Code::Refused, format!("there is a configuration already: {}", place.display()))
            .hint("`seabed config show` shows it; --config names another one to make"));
    }
    let mut answers = answers(global, args, out)?;
    // Where nothing says how the repository is opened, `init` makes a key file; the configuration names it.
    let own = Global { repo: Some(answers.repo.clone().into()), config: None, ..global.clone() };
    let new = NewRepository { label: "setup".to_owned(), create_bucket: answers.repo.starts_with("s3:") };
    let opened = match open::init(&own, out, &new, None) {
        // A run that failed after this, or a repository that several hosts share.
        Err(fail) if is_there(&fail) => open::open(&own, out)?,
        other => other?,
    };
    if !out.json {
        open::introduce(&opened, out);
    }
    let key = key(&own, opened.new_key.as_deref())?;
    answers.paths.retain(|path| Some(path) != opened.place.directory());
    let text = text(args, &answers, &key);
    write(&place, &text)?;
    let config = Config::load(Some(&place))?;
    out.say(&format!("wrote {}", place.display()));
    let mut code = Code::Done;
    if !args.no_run {
        let global = Global { repo: None, config: Some(place.clone()), ..global.clone() };
        code = super::run::run(&global, &super::run::Args::of(&args.job), out)?;
    }
    next(&config, args, &place, opened.new_key.is_some(), out)?;
    Ok(code)
}

fn is_there(fail: &Fail) -> bool {
    let there = Fail::from(Error::RepositoryExists { place: String::new() });
    fail.hint == there.hint
}

fn answers(global: &Global, args: &Args, out: &Output) -> Result<Answers, Fail> {
    let variables = variables(args)?;
    let get = |name: &str| variables.get(name).cloned().or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty());
    let mut answers = Answers { paths: args.paths.clone(), ping: args.ping.clone(), ..Answers::default() };
    answers.env_file = args.from.clone().filter(|from| from != Path::new("env")).map(|from| std::path::absolute(&from).unwrap_or(from));
    let default_repo = global
        .repo
        .as_ref()
        .map(|repo| repo.display().to_string())
        .or_else(|| get("SEABED_REPOSITORY"))
        .or_else(|| open::directory("XDG_DATA_HOME", ".local/share").map(|base| base.join("seabed/repo").display().to_string()))
        .unwrap_or_default();
    let databases = databases(args, &get)?;
    if args.yes {
        answers.repo = default_repo;
        answers.sources.extend(databases);
        answers.schedule = args.schedule.clone().unwrap_or_else(|| SCHEDULE.to_owned());
    } else {
        if answers.paths.is_empty() {
            let home = std::env::var("HOME").unwrap_or_default();
            let text = ask::line("Which directories (blanks between them; empty: none)?", &home)?;
            let words = shlex::split(&text).ok_or_else(|| Fail::config("a quote is open").hint("run it again"))?;
            answers.paths = words.into_iter().map(PathBuf::from).collect();
        }
        for database in databases {
            if ask::yes(&format!("Back up the {} database that the environment names?", database.1[0].1), true, out)? {
                answers.sources.push(database);
            }
        }
        answers.repo = ask::line("Where is the repository (a directory, s3://BUCKET/PREFIX)?", &default_repo)?;
        let default = args.schedule.as_deref().unwrap_or(SCHEDULE);
        answers.schedule = ask::line("When does it run (OnCalendar or cron, UTC)?", default)?;
        if answers.ping.is_none() {
            answers.ping =
                Some(ask::line("A URL that is told how runs go (healthchecks.io; empty: none)?", "")?).filter(|url| !url.is_empty());
        }
    }
    if answers.paths.is_empty() && answers.sources.is_empty() {
        return Err(Fail::config("nothing to back up is named").hint("name paths, or a database: --postgres, --mysql, DATABASE_URL"));
    }
    let here = crate::commands::sources::current_directory()?;
    answers.paths = answers.paths.iter().map(|path| Ok(crate::commands::sources::root(path, &here)?.0)).collect::<Result<_, Fail>>()?;
    Ok(answers)
}

fn variables(args: &Args) -> Result<HashMap<String, String>, Fail> {
    let Some(from) = args.from.as_deref().filter(|from| *from != Path::new("env")) else { return Ok(HashMap::new()) };
    let text = std::fs::read_to_string(from).map_err(|e| {
        Fail::config(format!("cannot read {}: {}", from.display(), plain(&e))).hint("--from names a file of NAME=value lines")
    })?;
    Ok(jobs::config::env_file(&text))
}

/// Databases that flags and variables name. A password is named, not copied.
fn databases(args: &Args, get: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, Vec<(&'static str, String)>)>, Fail> {
    let mut found: Vec<(String, Vec<(&'static str, String)>)> = Vec::new();
    let password = get("DB_PASSWORD").map(|_| ("password", "${DB_PASSWORD}".to_owned()));
    let url = get("DATABASE_URL").filter(|_| args.postgres.is_none() && args.mysql.is_none());
    match url.as_deref().map(|url| url.split("://").next().unwrap_or_default()) {
        Some("postgres" | "postgresql") => {
            found.push(("pg".to_owned(), vec![("kind", "postgres".to_owned()), ("dsn", "${DATABASE_URL}".to_owned())]));
        }
        Some("sqlite" | "sqlite3") => {
            let path = url.as_deref().unwrap_or_default().split("://").nth(1).unwrap_or_default().to_owned();
            found.push(("sqlite".to_owned(), vec![("kind", "sqlite".to_owned()), ("paths", path)]));
        }
        _ => {}
    }
    let connection = get("DB_CONNECTION").filter(|_| found.is_empty());
    if let Some(dsn) = &args.postgres {
        let given = get("PGPASSWORD").map(|_| ("password", "${PGPASSWORD}".to_owned())).or_else(|| password.clone());
        let own = [("kind", "postgres".to_owned()), ("dsn", dsn.clone())];
        found.push(("pg".to_owned(), own.into_iter().chain(given).collect()));
    } else if connection.as_deref() == Some("pgsql") || (found.is_empty() && get("PGHOST").is_some() && get("PGDATABASE").is_some()) {
        let laravel = connection.is_some();
        let of = |own: &str, pg: &str| if laravel { get(own) } else { get(pg) };
        let words = [
            ("host", of("DB_HOST", "PGHOST")),
            ("port", of("DB_PORT", "PGPORT")),
            ("user", of("DB_USERNAME", "PGUSER")),
            ("dbname", of("DB_DATABASE", "PGDATABASE")),
        ];
        // Quoted: a name may have blanks in it.
        let quoted = |value: &str| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
        let dsn: Vec<String> = words.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", quoted(&value?)))).collect();
        let given = if laravel { password.clone() } else { get("PGPASSWORD").map(|_| ("password", "${PGPASSWORD}".to_owned())) };
        let own = [("kind", "postgres".to_owned()), ("dsn", dsn.join(" "))];
        found.push(("pg".to_owned(), own.into_iter().chain(given).collect()));
    }
    if args.mysql.is_some() || matches!(connection.as_deref(), Some("mysql" | "mariadb")) {
        let kind = if connection.as_deref() == Some("mariadb") { "mariadb" } else { "mysql" };
        let mut own = vec![("kind", kind.to_owned())];
        own.extend(args.mysql.clone().or_else(|| get("DB_HOST")).map(|host| ("host", host)));
        own.extend(get("DB_PORT").map(|port| ("port", port)));
        own.extend(get("DB_USERNAME").map(|user| ("user", user)));
        own.extend(get("DB_DATABASE").filter(|_| args.mysql.is_none()).map(|name| ("databases", name)));
        own.extend(password);
        found.push(("my".to_owned(), own));
    }
    Ok(found)
}

/// What the configuration says of the key.
fn key(own: &Global, made: Option<&Path>) -> Result<String, Fail> {
    let text = |key: &str, value: &str| format!("{{ {key} = {} }}", toml::Value::String(value.to_owned()));
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    if let Some(path) = made {
        return Ok(text("key_file", &whole(path)));
    }
    if let Some(path) = &own.password_file {
        return Ok(text("password_file", &whole(path)));
    }
    if let Some(command) = &own.password_command {
        return Ok(text("password_command", command));
    }
    for (variable, key) in [("SEABED_PASSWORD_FILE", "password_file"), ("SEABED_PASSWORD_COMMAND", "password_command")] {
        if let Ok(value) = std::env::var(variable) {
            return Ok(text(key, &if key == "password_file" { whole(Path::new(&value)) } else { value }));
        }
    }
    if std::env::var_os("SEABED_PASSWORD").is_some() {
        return Ok(text("password", "${SEABED_PASSWORD}"));
    }
    match secret::given(own)? {
        Given::KeyFile(path) => Ok(text("key_file", &whole(&path))),
        // A passphrase that was typed is in nobody's file: a job that runs by night needs one.
        _ => Ok("{ }    # say what opens it: password_file, password_command or key_file".to_owned()),
    }
}

fn text(args: &Args, answers: &Answers, key: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let list = |texts: Vec<String>| format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "));
    let mut lines = vec![
        "# What seabed backs up, where to and when. `seabed config check` reads it, README.md explains every key.".to_owned(),
        "version = 1".to_owned(),
    ];
    lines.extend(answers.env_file.as_ref().map(|file| format!("env_file = {}", quoted(&file.display().to_string()))));
    lines.extend([
        String::new(),
        "[repo.main]".to_owned(),
        format!("url = {}", quoted(&answers.repo)),
        format!("key = {key}"),
        "retention = \"usual\"".to_owned(),
        String::new(),
        "[retention.usual]".to_owned(),
        "keep = { all = \"2d\", daily = 7, weekly = 5, monthly = 12, yearly = 3 }".to_owned(),
        String::new(),
    ]);
    let mut names = Vec::new();
    if !answers.paths.is_empty() {
        let paths = answers.paths.iter().map(|path| path.display().to_string()).collect();
        lines.extend(["[source.files]".to_owned(), "kind = \"files\"".to_owned(), format!("paths = {}", list(paths)), String::new()]);
        names.push("files".to_owned());
    }
    for (name, keys) in &answers.sources {
        lines.push(format!("[source.{name}]"));
        for (key, value) in keys {
            let is_number = *key == "port" && value.parse::<u16>().is_ok();
            lines.push(format!("{key} = {}", if is_number { value.clone() } else { quoted(value) }));
        }
        lines.push(String::new());
        names.push(name.clone());
    }
    lines.push(format!("[job.{}]", args.job));
    lines.push(format!("sources = {}", list(names)));
    lines.push("repos = [\"main\"]".to_owned());
    lines.push(format!("schedule = {}", quoted(&answers.schedule)));
    lines.push("run = { jitter = \"15m\", tries = 3, stall = \"30m\", lock_wait = \"10m\" }".to_owned());
    lines.push("monitor = { max_age = \"26h\", max_shrink = \"50%\" }".to_owned());
    lines.extend(answers.ping.as_ref().map(|url| format!("ping = {}", quoted(url))));
    lines.join("\n") + "\n"
}

/// Durable, and for its owner alone: it may come to hold secrets.
fn write(place: &Path, text: &str) -> Result<(), Fail> {
    let failed = |e: std::io::Error| {
        Fail::config(format!("cannot write {}: {}", place.display(), plain(&e))).hint("name another place with --config")
    };
    let parent = place.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)
}

fn next(config: &Config, args: &Args, place: &Path, made_key: bool, out: &Output) -> Result<(), Fail> {
    let usual = jobs::config::find(None).is_ok_and(|found| found == place);
    let named = if usual { String::new() } else { format!(" --config {}", place.display()) };
    let mut steps = vec![
        format!("seabed{named} schedule install --systemd    (or --cron, --compose): until then it runs when you say so"),
        format!("seabed{named} status                        what is stored, and how old it is"),
        format!("seabed{named} restore {}@latest --target /tmp/back", args.job),
        format!("seabed{named} recover-plan                  what to do when this machine is gone: print it"),
    ];
    if made_key {
        steps.insert(
            0,
            format!("seabed{named} key export --repo @main --html sheet.html    print it: without its key nobody reads the repository"),
        );
    }
    if out.json {
        let jobs: Vec<&String> = config.jobs.keys().collect();
        return out.json_result(&json!({"message_type": "set_up", "config": place.display().to_string(), "jobs": jobs, "next": steps}));
    }
    out.say("what comes next:");
    steps.iter().for_each(|step| out.say(&format!("  {step}")));
    Ok(())
}
