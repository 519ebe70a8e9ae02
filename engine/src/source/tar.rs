//! Tar archives as a source: entries one after the other out of a stream that cannot be turned back. Reads v7, ustar, GNU and pax, with
//! the sparse files of all of them. Never takes an archive without its end for whole, never gives out a path that climbs, and
//! allocates nothing by what a header claims beyond the bounds in `limits.rs` and `tar`.
//! It obeys spec chapter 6 (what an entry may be) and, where formats leave it open, what GNU tar does.

mod member;

pub use member::{Member, display_name};

use crate::tar::sparse::Map;
use crate::tar::{self, BLOCK, Block, EXTENDED_BYTES_MAX, padding, pax};
use std::collections::BTreeMap;
use std::io::{self, Read};

/// How much is asked of the input at a time.
const READ_BYTES: usize = 256 << 10;

/// Records that hold for all that follows: nobody writes more than a handful.
const GLOBALS_MAX: usize = 256;
/// How long all of them may be, and a header that holds some, bytes: attributes among them are stored anew with each entry of 512 bytes.
const GLOBAL_BYTES_MAX: usize = 64 << 10;

/// Why an archive cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The input failed.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It ends where more must come: within an entry, or without the blocks that end an archive.
    #[error("it ends after {at} bytes, before the end of the archive")]
    Torn {
        /// Where.
        at: u64,
    },
    /// There is something that no archive has there.
    #[error("{what} at byte {at}")]
    Bad {
        /// Where.
        at: u64,
        /// What.
        what: &'static str,
    },
}

/// What comes next.
pub enum Next {
    /// An entry. Its content is read with [`TarReader::append`].
    Member(Box<Member>),
    /// An entry that cannot be stored, by its name as it stands there.
    Refused {
        /// The name.
        name: Vec<u8>,
        /// Why.
        why: &'static str,
    },
    /// The end of the archive.
    End,
}

/// Records that stand before an entry, or before all that follow.
type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads an archive.
pub struct TarReader<R> {
    input: R,
    buffer: Box<[u8]>,
    from: usize,
    filled: usize,
    /// Bytes taken so far.
    at: u64,
    /// Bytes of the current entry that were not read yet, and the zeros behind them.
    body: u64,
    padding: usize,
    globals: Records,
    ended: bool,
    /// There was more than zeros behind the end.
    behind: bool,
}

impl<R: Read> TarReader<R> {
    /// At the beginning.
    pub fn new(input: R) -> Self {
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        TarReader { input, buffer, from: 0, filled: 0, at: 0, body: 0, padding: 0, globals: Records::new(), ended: false, behind: false }
    }

    /// What is there of the buffer, filled anew where it is empty. Empty at the end of the input.
    fn ready(&mut self) -> Result<&[u8], TarError> {
        if self.from == self.filled {
            (self.from, self.filled) = (0, 0);
            self.filled = loop {
                match self.input.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // What unpacks the input says it this way.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(TarError::Torn { at: self.at }),
                    read => break read?,
                }
            };
        }
        Ok(&self.buffer[self.from..self.filled])
    }

    fn take(&mut self, bytes: usize) {
        self.from += bytes;
        self.at += bytes as u64;
    }

    fn bad(&self, what: &'static str) -> TarError {
        TarError::Bad { at: self.at, what }
    }

    /// The next block; `None` at the end of the input.
    fn block(&mut self) -> Result<Option<Block>, TarError> {
        let (mut block, mut have) = ([0; BLOCK], 0);
        while have < BLOCK {
            let ready = self.ready()?;
            if ready.is_empty() {
                return if have == 0 { Ok(None) } else { Err(TarError::Torn { at: self.at }) };
            }
            let bytes = ready.len().min(BLOCK - have);
            block[have..have + bytes].copy_from_slice(&ready[..bytes]);
            self.take(bytes);
            have += bytes;
        }
        Ok(Some(block))
    }

    fn needed_block(&mut self) -> Result<Block, TarError> {
        self.block()?.ok_or(TarError::Torn { at: self.at })
    }

    /// A block of the body of the current entry.
    fn body_block(&mut self) -> Result<Option<Block>, TarError> {
        if self.body < BLOCK as u64 {
            return Ok(None);
        }
        self.body -= BLOCK as u64;
        self.needed_block().map(Some)
    }

    /// Begins the body of an entry.
    fn begin(&mut self, bytes: u64) {
        (self.body, self.padding) = (bytes, padding(bytes));
    }

    /// Passes over the rest of the current entry.
    fn skip(&mut self) -> Result<(), TarError> {
        let mut left = std::mem::take(&mut self.body) + std::mem::take(&mut self.padding) as u64;
        while left > 0 {
            let bytes = (self.ready()?.len() as u64).min(left) as usize;
            if bytes == 0 {
                return Err(TarError::Torn { at: self.at });
            }
            self.take(bytes);
            left -= bytes as u64;
        }
        Ok(())
    }

    /// Appends content of the current entry as it is stored, at most `most` bytes of it. 0 at its end.
    pub fn append(&mut self, out: &mut Vec<u8>, most: usize) -> Result<usize, TarError> {
        let most = (most as u64).min(self.body) as usize;
        if most == 0 {
            return Ok(0);
        }
        let ready = self.ready()?;
        let bytes = ready.len().min(most);
        if bytes == 0 {
            return Err(TarError::Torn { at: self.at });
        }
        out.extend_from_slice(&ready[..bytes]);
        self.take(bytes);
        self.body -= bytes as u64;
        Ok(bytes)
    }

    /// All of the body: of an extended header.
    fn extended(&mut self, bytes: u64) -> Result<Vec<u8>, TarError> {
        if bytes > EXTENDED_BYTES_MAX {
            return Err(self.bad("an extended header that is too long"));
        }
        self.begin(bytes);
        // It grows with what comes, not by what is claimed.
        let mut out = Vec::new();
        while self.append(&mut out, READ_BYTES)? > 0 {}
        Ok(out)
    }

    /// The next entry. What was not read of the one before is passed over.
    pub fn next_entry(&mut self) -> Result<Next, TarError> {
        let (mut own, mut long_name, mut long_link) = (Vec::new(), None, None);
        loop {
            self.skip()?;
            if self.ended {
                return Ok(Next::End);
            }
            let first = self.at == 0;
            let header = match tar::read(&self.needed_block()?) {
                tar::Read::Header(header) => header,
                tar::Read::Zeros => {
                    self.ended = true;
                    // Two blocks end an archive. One at the end of everything does too, and what else comes behind one is behind the end.
                    self.behind = self.block()?.is_some_and(|block| block.iter().any(|b| *b != 0));
                    continue;
                }
                tar::Read::Other if first => return Err(TarError::Bad { at: 0, what: "there is no header of a tar archive" }),
                tar::Read::Other => return Err(TarError::Bad { at: self.at - BLOCK as u64, what: "there is no header of an entry" }),
            };
            let size = header.size().and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| self.bad("a size that is no number"))?;
            match header.kind() {
                b'x' | b'X' => {
                    own = self.extended(size)?;
                    if pax::records(&own).any(|record| record.is_err()) {
                        return Err(self.bad("an extended header that is none"));
                    }
                }
                b'g' => self.global(size)?,
                b'L' => long_name = Some(zero_ended(self.extended(size)?)),
                b'K' => long_link = Some(zero_ended(self.extended(size)?)),
                // The name of the whole archive.
                b'V' => self.begin(size),
                _ => {
                    let globals = self.globals.iter().map(|(key, value)| (&key[..], &value[..]));
                    let records = globals.chain(pax::records(&own).flatten());
                    let claims = member::Claims::new(&header, records, (long_name.take(), long_link.take()));
                    return self.member(claims, size);
                }
            }
        }
    }

    /// Records that hold for all entries that follow.
    fn global(&mut self, bytes: u64) -> Result<(), TarError> {
        if bytes > GLOBAL_BYTES_MAX as u64 {
            return Err(self.bad("a global extended header that is too long"));
        }
        let body = self.extended(bytes)?;
        for record in pax::records(&body) {
            let (key, value) = record.map_err(|pax::BadRecord| self.bad("an extended header that is none"))?;
            self.globals.insert(key.to_vec(), value.to_vec());
            let kept: usize = self.globals.iter().map(|(key, value)| key.len() + value.len()).sum();
            if self.globals.len() > GLOBALS_MAX || kept > GLOBAL_BYTES_MAX {
                return Err(self.bad("global extended headers that are too long"));
            }
        }
        Ok(())
    }

    fn member(&mut self, claims: member::Claims, header_size: u64) -> Result<Next, TarError> {
        // First where the next header is: whatever is wrong with this entry, the others are read.
        let stored = if claims.has_body { claims.stored.unwrap_or(header_size) } else { 0 };
        if stored > i64::MAX as u64 {
            return Err(self.bad("a size that is no size"));
        }
        let mut map = claims.map.clone();
        if let Some((first, more)) = &claims.old_map {
            map = Some(self.old_map(first.clone(), *more)?);
        }
        self.begin(stored);
        if claims.map_in_body {
            map = self.map_of_lines()?;
        }
        let sparse = claims.is_sparse();
        let name = claims.name.clone();
        let body = self.body;
        let made = claims.member(body).and_then(|mut member| {
            if sparse {
                let map = map.ok_or("its map of data and holes is none, or too long")?;
                if !tar::sparse::fits(&map, member.entry.size, body) {
                    return Err("its map of data and holes does not fit it");
                }
                member.map = Some(tar::sparse::joined(map));
            }
            Ok(member)
        });
        Ok(match made {
            Ok(member) => Next::Member(Box::new(member)),
            Err(why) => Next::Refused { name, why },
        })
    }

    /// The rest of a map of the old form, which lies between header and content.
    fn old_map(&mut self, mut map: Map, mut more: bool) -> Result<Map, TarError> {
        while more {
            let pairs;
            (pairs, more) = tar::sparse::old_block(&self.needed_block()?).ok_or_else(|| self.bad("a map of a sparse file that is none"))?;
            map.extend(pairs);
            if map.len() > tar::sparse::STRETCHES_MAX {
                return Err(self.bad("a map of a sparse file that is too long"));
            }
        }
        Ok(map)
    }

    fn map_of_lines(&mut self) -> Result<Option<Map>, TarError> {
        let mut lines = tar::sparse::Lines::default();
        while let Some(block) = self.body_block()? {
            match lines.take(&block) {
                Ok(Some(map)) => return Ok(Some(map)),
                Ok(None) => {}
                Err(tar::sparse::BadMap) => break,
            }
        }
        Ok(None)
    }

    /// Reads what lies behind the end of the archive, up to the end of the input. Whether there was anything but zeros.
    pub fn drain(&mut self) -> Result<bool, TarError> {
        let mut found = self.behind;
        loop {
            let ready = self.ready()?;
            if ready.is_empty() {
                return Ok(found);
            }
            let bytes = ready.len();
            found |= ready.iter().any(|b| *b != 0);
            self.take(bytes);
        }
    }
}

fn zero_ended(mut name: Vec<u8>) -> Vec<u8> {
    name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
    name
}
