//! Content to measure on: the same bytes on every machine.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Random bytes without end.
pub struct Noise(blake3::OutputReader);

impl Noise {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Noise(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    /// Fills `buffer`.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.0.fill(buffer);
    }

    /// A number.
    pub fn next(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// Bytes that do not compress.
pub fn random(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    Noise::new(seed).fill(&mut out);
    out
}

/// Text that zstd brings to about a quarter: lines of words, common ones more often.
pub fn text(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = Noise::new(seed);
    let words: Vec<String> = (0..4096).map(|_| format!("{:x}", noise.next() >> (20 + noise.next() % 40))).collect();
    let mut out = Vec::with_capacity(bytes + 64);
    let mut dice = vec![0; 1 << 16];
    while out.len() < bytes {
        noise.fill(&mut dice);
        for pair in dice.as_chunks::<2>().0 {
            let roll = usize::from(u16::from_le_bytes(*pair));
            // The square makes small numbers likely, as words are in texts.
            out.extend_from_slice(words[((roll & 0xfff) * (roll >> 4)) >> 12].as_bytes());
            out.push(if roll % 11 == 0 { b'\n' } else { b' ' });
        }
    }
    out.truncate(bytes);
    out
}

/// Makes `tree` (many small files, some large), `random` (one large file) and `dump` (one stream) below `at`.
pub fn make(at: &Path, quick: bool) -> io::Result<()> {
    let (files, large) = if quick { (2_000, 16 << 20) } else { (20_000, 256 << 20) };
    let mut noise = Noise::new(1);
    let pool = text(2, 32 << 20);
    let tree = at.join("tree");
    for n in 0..files {
        let dir = tree.join(format!("{:02}/{:03}", n / 1000, n / 50 % 20));
        if n % 50 == 0 {
            fs::create_dir_all(&dir)?;
        }
        // Sizes as in source trees: most of some KiB, a few of hundreds.
        let bytes = (noise.next() % 24_000 + if n % 100 == 0 { noise.next() % 800_000 } else { 0 }) as usize;
        let from = (noise.next() as usize) % (pool.len() - bytes);
        let mut file = fs::File::create(dir.join(format!("{n}.txt")))?;
        // A line of its own: pieces of one pool would deduplicate.
        file.write_all(&random(n as u64, 64))?;
        file.write_all(&scrambled(&pool[from..from + bytes], n as u8))?;
    }
    fs::create_dir(at.join("random"))?;
    let mut file = BufWriter::new(fs::File::create(at.join("random/random"))?);
    let mut block = vec![0; 1 << 20];
    let mut noise = Noise::new(3);
    for _ in 0..large >> 20 {
        noise.fill(&mut block);
        file.write_all(&block)?;
    }
    file.flush()?;
    fs::write(at.join("dump"), text(4, large))
}

/// The same text in other letters: as compressible, and unlike every other scrambling.
fn scrambled(text: &[u8], key: u8) -> Vec<u8> {
    text.iter().map(|b| b ^ (key & 0x1f)).collect()
}
