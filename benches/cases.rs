//! What is measured. Each case runs in a process of its own and leaves nothing behind.

use crate::content::{random, text};
use crate::{Measured, Setting};
use seabed_engine::backup::{BackupOptions, ParentChoice, StreamSource, backup};
use seabed_engine::chunk::{ChunkIds, Chunker, Profile};
use seabed_engine::id::{Birth, Class, FamilyId};
use seabed_engine::observe::Silent;
use seabed_engine::pack::{Compression, FrameDecoder, FrameEncoder, Origin};
use seabed_engine::repository::{InitOptions, OpenOptions, Repository};
use seabed_engine::restore::{RestoreOptions, restore};
use seabed_engine::seal::key::Secret;
use seabed_engine::seal::{FrameSealer, Key};
use seabed_engine::source::stream::{ReaderStream, Stream};
use seabed_engine::store::local::LocalStore;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Outcome = Result<Measured, Box<dyn Error>>;

/// One row of the table.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Whether it needs files to read.
    pub files: bool,
    /// Measures it.
    pub run: fn(&Setting) -> Outcome,
}

const fn kernel(name: &'static str, run: fn(&Setting) -> Outcome) -> Case {
    Case { name, files: false, run }
}

const fn whole(name: &'static str, run: fn(&Setting) -> Outcome) -> Case {
    Case { name, files: true, run }
}

/// Every case, in the order of the table.
pub const CASES: [Case; 19] = [
    kernel("chunk fine", |s| chunk(s, Profile::Fine)),
    kernel("chunk normal", |s| chunk(s, Profile::Normal)),
    kernel("chunk coarse", |s| chunk(s, Profile::Coarse)),
    kernel("hash 2 KiB", |s| hash(s, 2 << 10)),
    kernel("hash 8 KiB", |s| hash(s, 8 << 10)),
    kernel("hash 64 KiB", |s| hash(s, 64 << 10)),
    kernel("hash 1 MiB", |s| hash(s, 1 << 20)),
    kernel("frame zstd-3, encode and verify", |s| frame(s, text(10, s.kernel_bytes / 4), Compression::Level(3))),
    kernel("frame raw by probe", |s| frame(s, random(11, s.kernel_bytes), Compression::Level(3))),
    kernel("frame raw", |s| frame(s, random(11, s.kernel_bytes), Compression::Off)),
    kernel("frame zstd-3, decode", decode),
    kernel("seal", seal),
    whole("backup tree, new", |s| backup_new(s, Source::Paths("tree"))),
    whole("backup tree, unchanged", |s| backup_again(s, ParentChoice::Newest)),
    whole("backup tree, duplicate", |s| backup_again(s, ParentChoice::None)),
    whole("backup incompressible, new", |s| backup_new(s, Source::Paths("random"))),
    whole("backup stream, new", |s| backup_new(s, Source::Stream("dump"))),
    whole("restore tree", |s| restored(s, "tree")),
    whole("restore incompressible", |s| restored(s, "random")),
];

/// Runs `each` as often as asked, after one run that warms caches and is not counted.
fn timed(setting: &Setting, bytes: usize, mut each: impl FnMut() -> Result<(), Box<dyn Error>>) -> Outcome {
    each()?;
    let mut times = Vec::new();
    for _ in 0..setting.runs {
        let start = Instant::now();
        each()?;
        times.push(start.elapsed());
    }
    Ok(Measured { bytes: bytes as u64, times, held: bytes as u64, note: String::new() })
}

fn chunk(setting: &Setting, profile: Profile) -> Outcome {
    let data = random(9, setting.kernel_bytes);
    let chunker = Chunker::new(&[7; 32], &Profile::default_sizes()).ok_or("the default profiles")?;
    let mut chunks = 0;
    let mut measured = timed(setting, data.len(), || {
        let (mut at, mut count) = (0, 0);
        while at < data.len() {
            at += chunker.cut(profile, &data[at..data.len().min(at + chunker.max(profile))]);
            count += 1;
        }
        chunks = black_box(count);
        Ok(())
    })?;
    measured.note = format!("chunks of {} bytes on average", data.len() / chunks.max(1));
    Ok(measured)
}

fn hash(setting: &Setting, chunk_bytes: usize) -> Outcome {
    let data = random(9, setting.kernel_bytes);
    let ids = ChunkIds::new([[1; 32], [2; 32], [3; 32]]);
    timed(setting, data.len(), || {
        for chunk in data.chunks(chunk_bytes) {
            black_box(ids.id(Class::Data, chunk));
        }
        Ok(())
    })
}

const FRAME_BYTES: usize = 1 << 20;

fn frame(setting: &Setting, data: Vec<u8>, compression: Compression) -> Outcome {
    let mut encoder = FrameEncoder::new(compression)?;
    let (mut out, mut stored) = (Vec::new(), 0);
    let mut measured = timed(setting, data.len(), || {
        stored = 0;
        for plain in data.chunks(FRAME_BYTES) {
            encoder.encode(Origin::Files, plain, &mut out)?;
            stored += black_box(&out).len();
        }
        Ok(())
    })?;
    measured.note = format!("{:.1} % of the input", 100.0 * stored as f64 / data.len() as f64);
    Ok(measured)
}

fn decode(setting: &Setting) -> Outcome {
    let data = text(10, setting.kernel_bytes / 4);
    let mut encoder = FrameEncoder::new(Compression::Level(3))?;
    let mut frames = Vec::new();
    for plain in data.chunks(FRAME_BYTES) {
        let mut out = Vec::new();
        let codec = encoder.encode(Origin::Files, plain, &mut out)?;
        frames.push((codec, plain.len(), out));
    }
    let mut decoder = FrameDecoder::default();
    let mut plain = Vec::new();
    timed(setting, data.len(), || {
        for (codec, bytes, frame) in &frames {
            if !decoder.decode(*codec, frame, *bytes, black_box(&mut plain)) {
                return Err("a frame that does not decode".into());
            }
        }
        Ok(())
    })
}

fn seal(setting: &Setting) -> Outcome {
    let mut frames: Vec<Vec<u8>> = random(9, setting.kernel_bytes).chunks(FRAME_BYTES).map(<[u8]>::to_vec).collect();
    let key = Key::random()?;
    timed(setting, setting.kernel_bytes, || {
        // A sealer of its own for each run, as for each pack; the key may repeat here, nothing is stored.
        let mut sealer = FrameSealer::new(&FamilyId::new([1; 16]), Class::Data, &Birth::new([2; 16]), &key);
        for frame in &mut frames {
            sealer.seal(0, frame)?;
            frame.truncate(FRAME_BYTES);
        }
        Ok(())
    })
}

enum Source {
    Paths(&'static str),
    Stream(&'static str),
}

impl Source {
    fn options(&self, content: &Path) -> BackupOptions {
        let mut options = BackupOptions { host: "bench".to_owned(), user: "bench".to_owned(), ..BackupOptions::default() };
        match self {
            Source::Paths(name) => options.paths.push(content.join(name)),
            Source::Stream(name) => {
                let path = content.join(name);
                let open = move || Ok(Box::new(ReaderStream(Opened::new(path))) as Box<dyn Stream>);
                options.streams.push(StreamSource {
                    name: name.as_bytes().to_vec(),
                    argv: Vec::new(),
                    open: Mutex::new(Some(Box::new(open))),
                    allow_empty: false,
                });
            }
        }
        options
    }
}

/// A file that is opened when it is read.
struct Opened(Result<fs::File, Option<std::io::Error>>);

impl Opened {
    fn new(path: std::path::PathBuf) -> Self {
        Opened(fs::File::open(path).map_err(Some))
    }
}

impl std::io::Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.0 {
            Ok(file) => file.read(buffer),
            Err(error) => Err(error.take().unwrap_or_else(|| std::io::ErrorKind::NotFound.into())),
        }
    }
}

/// A repository with a key file, so that no case pays for a passphrase.
fn repository(work: &Path) -> Result<Repository, Box<dyn Error>> {
    let open = OpenOptions { cache: Some(work.join("cache")), ..Default::default() };
    let secret = Secret::KeyFile(Key::new([5; 32]));
    Ok(Repository::init(Arc::new(LocalStore::create(work.join("repository"))?), &secret, &InitOptions::default(), &open)?)
}

fn clear(work: &Path) -> Result<(), Box<dyn Error>> {
    for part in ["repository", "cache", "target"] {
        match fs::remove_dir_all(work.join(part)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Bytes of the files below a folder.
fn size(at: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { size(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

fn source_bytes(content: &Path, name: &str) -> std::io::Result<u64> {
    let path = content.join(name);
    if path.is_dir() { size(&path) } else { Ok(fs::metadata(path)?.len()) }
}

fn backup_new(setting: &Setting, source: Source) -> Outcome {
    let (Source::Paths(name) | Source::Stream(name)) = source;
    let bytes = source_bytes(&setting.content, name)?;
    let (mut times, mut note) = (Vec::new(), String::new());
    for _ in 0..setting.runs {
        clear(&setting.work)?;
        let repository = repository(&setting.work)?;
        let start = Instant::now();
        let report = backup(&repository, source.options(&setting.content), &Silent)?;
        times.push(start.elapsed());
        if report.error_count > 0 {
            return Err("the source could not be read".into());
        }
        note = format!("{:.1} % stored", 100.0 * size(&setting.work.join("repository"))? as f64 / bytes as f64);
    }
    Ok(Measured { bytes, times, held: 0, note })
}

fn backup_again(setting: &Setting, parent: ParentChoice) -> Outcome {
    let bytes = source_bytes(&setting.content, "tree")?;
    let repository = repository(&setting.work)?;
    let source = Source::Paths("tree");
    backup(&repository, source.options(&setting.content), &Silent)?;
    let before = size(&setting.work.join("repository"))?;
    // Entries changed within a tick of the last scan are read again: later runs must not be among them.
    std::thread::sleep(Duration::from_millis(100));
    let mut times = Vec::new();
    for _ in 0..setting.runs {
        let options = BackupOptions { parent: parent.clone(), ..source.options(&setting.content) };
        let start = Instant::now();
        backup(&repository, options, &Silent)?;
        times.push(start.elapsed());
    }
    let added = size(&setting.work.join("repository"))?.saturating_sub(before) / setting.runs as u64;
    Ok(Measured { bytes, times, held: 0, note: format!("{added} bytes added") })
}

fn restored(setting: &Setting, name: &'static str) -> Outcome {
    let bytes = source_bytes(&setting.content, name)?;
    let repository = repository(&setting.work)?;
    backup(&repository, Source::Paths(name).options(&setting.content), &Silent)?;
    repository.refresh()?;
    let selected = repository.select("latest", &Default::default())?;
    let mut times = Vec::new();
    for _ in 0..setting.runs {
        let target = setting.work.join("target");
        match fs::remove_dir_all(&target) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        // What the backup left in caches is forgotten: each run reads the index anew, as a command would.
        repository.drop_index();
        let options = RestoreOptions { target, ..RestoreOptions::default() };
        let start = Instant::now();
        let report = restore(&repository, &selected, &options, &Silent)?;
        times.push(start.elapsed());
        if report.error_count > 0 || report.bytes_restored != bytes {
            return Err("the restore is not whole".into());
        }
    }
    Ok(Measured { bytes, times, held: 0, note: "the peak includes the backup before it".to_owned() })
}
