//! What processes back up: streams of a few bytes, each a chunk of its own, and files of a directory that stays as it is.

use crate::repo::bytes_stream;
use crate::schedule::world::Contents;
use crate::trees::noise;
use seabed_engine::backup::BackupOptions;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Length of a piece: less than the smallest chunk, so that it is never cut.
const PIECE_BYTES: usize = 200;

/// A directory with files `a` to `z` in folders of their own, so that each set of them is a tree of other leaves' content.
pub struct Ground {
    dir: TempDir,
}

impl Ground {
    /// Makes it.
    pub fn new() -> Arc<Self> {
        let ground = Ground { dir: tempfile::tempdir().unwrap() };
        for piece in 'a'..='z' {
            fs::write(ground.path(piece), self::piece(piece)).unwrap();
        }
        crate::trees::settle(ground.dir.path());
        Arc::new(ground)
    }

    fn path(&self, piece: char) -> PathBuf {
        self.dir.path().join(piece.to_string())
    }
}

/// The bytes that a letter stands for.
fn piece(letter: char) -> Vec<u8> {
    noise(u64::from(u32::from(letter)), PIECE_BYTES)
}

/// Something to back up.
#[derive(Clone)]
pub struct Source {
    streams: String,
    often: bool,
    files: Option<(Arc<Ground>, String)>,
    contents: Arc<Contents>,
}

impl Source {
    /// Streams, one for each letter.
    pub fn streams(letters: &str) -> Self {
        let contents = letters.chars().map(|letter| (letter.to_string().into_bytes(), piece(letter)));
        Source { streams: letters.to_owned(), often: false, files: None, contents: Arc::new(contents.collect()) }
    }

    /// Files, one for each letter, which can be read once more.
    pub fn files(ground: &Arc<Ground>, letters: &str) -> Self {
        let stored = |letter| ground.path(letter).as_os_str().as_bytes()[1..].to_vec();
        let contents = letters.chars().map(|letter| (stored(letter), piece(letter)));
        let files = Some((ground.clone(), letters.to_owned()));
        Source { streams: String::new(), often: false, contents: Arc::new(contents.collect()), files }
    }

    /// The same, with a pending manifest wherever there is something new.
    pub fn often(self) -> Self {
        Source { often: true, ..self }
    }

    /// Its files and streams.
    pub fn contents(&self) -> Arc<Contents> {
        self.contents.clone()
    }

    /// Options for a backup of it.
    pub fn options(&self) -> BackupOptions {
        let paths = self.files.iter().flat_map(|(ground, letters)| letters.chars().map(|letter| ground.path(letter)));
        BackupOptions {
            paths: paths.collect(),
            streams: self.streams.chars().map(|letter| bytes_stream(&letter.to_string(), piece(letter))).collect(),
            series: Some("test".to_owned()),
            host: "here".to_owned(),
            threads: 1,
            pending_bytes: if self.often { 1 } else { u64::MAX },
            ..Default::default()
        }
    }
}
