//! Throughput of the engine: kernels one by one, then backup and restore through the engine's own interface.
//! Content comes from fixed seeds, nothing is asserted: machines differ and are noisy, only figures of one run compare.
//!
//!     cargo bench -p seabed-benches [-- [--quick] [--runs N] [NAME…]]
//!
//! A row is the median of its runs, in 10^6 bytes of plaintext per second, and the peak memory of the process that ran them;
//! for kernels without the input that they were given. Trees and repositories lie in memory (`/dev/shm`, else the temporary folder).

mod cases;
mod content;

use cases::{CASES, Case};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// What a child needs to know to run one case.
pub struct Setting {
    /// A folder of its own for this case.
    pub work: PathBuf,
    /// The content made for all cases.
    pub content: PathBuf,
    /// How often it is run.
    pub runs: usize,
    /// Bytes that the kernels work on.
    pub kernel_bytes: usize,
}

/// What a case answers.
pub struct Measured {
    /// Bytes of plaintext that one run went through.
    pub bytes: u64,
    /// What each run took.
    pub times: Vec<Duration>,
    /// Input that was held in memory only to be measured on.
    pub held: u64,
    /// What else there is to say.
    pub note: String,
}

const RUNS: usize = 5;
const RUNS_QUICK: usize = 3;
const KERNEL_BYTES: usize = 256 << 20;
const KERNEL_BYTES_QUICK: usize = 64 << 20;

/// The peak of this process's memory so far, bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Runs one case in this process and says what came of it on one line.
fn child(case: &Case, setting: &Setting) -> Result<String, Box<dyn std::error::Error>> {
    let mut measured = (case.run)(setting)?;
    measured.times.sort();
    let median = measured.times.get(measured.times.len() / 2).copied().unwrap_or_default();
    let spread = measured.times.last().copied().unwrap_or_default().saturating_sub(measured.times.first().copied().unwrap_or_default());
    let rate = measured.bytes as f64 / 1e6 / median.as_secs_f64();
    let peak = peak().saturating_sub(measured.held) as f64 / 1e6;
    let spread = 100.0 * spread.as_secs_f64() / median.as_secs_f64();
    Ok(format!("{:<34} {rate:>9.0} MB/s {:>9.3} s ±{spread:>3.0} % {peak:>7.0} MB  {}", case.name, median.as_secs_f64(), measured.note))
}

fn base() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (mut quick, mut runs, mut wanted, mut as_child) = (false, None, Vec::new(), None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // What `cargo bench` itself passes.
            "--bench" => {}
            "--quick" => quick = true,
            "--runs" => runs = Some(args.next().ok_or("--runs needs a number")?.parse()?),
            "--child" => as_child = Some((args.next().ok_or("--child needs a case")?, PathBuf::from(args.next().ok_or("and a folder")?))),
            "--help" | "-h" => {
                println!("cargo bench -p seabed-benches -- [--quick] [--runs N] [NAME...]\n");
                CASES.iter().for_each(|case| println!("  {}", case.name));
                return Ok(());
            }
            other if other.starts_with('-') => return Err(format!("what is {other}?").into()),
            name => wanted.push(name.to_owned()),
        }
    }
    let runs = runs.unwrap_or(if quick { RUNS_QUICK } else { RUNS }).max(1);
    let kernel_bytes = if quick { KERNEL_BYTES_QUICK } else { KERNEL_BYTES };
    if let Some((name, content)) = as_child {
        let case = CASES.iter().find(|case| case.name == name).ok_or("no such case")?;
        let work = tempfile::Builder::new().prefix("seabed-bench-").tempdir_in(base())?;
        let setting = Setting { work: work.path().to_owned(), content, runs, kernel_bytes };
        println!("{}", child(case, &setting)?);
        return Ok(());
    }
    let cases: Vec<&Case> = CASES.iter().filter(|c| wanted.is_empty() || wanted.iter().any(|w| c.name.contains(w.as_str()))).collect();
    let content = tempfile::Builder::new().prefix("seabed-bench-content-").tempdir_in(base())?;
    if cases.iter().any(|case| case.files) {
        content::make(content.path(), quick)?;
    }
    println!("{:<34} {:>14} {:>11} {:>6} {:>10}", "case", "throughput", "median", "spread", "peak");
    for case in cases {
        let mut again = Command::new(std::env::current_exe()?);
        again.args(["--child", case.name]).arg(content.path()).args(["--runs", &runs.to_string()]);
        if quick {
            again.arg("--quick");
        }
        if !again.status()?.success() {
            return Err(format!("{} failed", case.name).into());
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throughput: {error}");
            ExitCode::FAILURE
        }
    }
}
