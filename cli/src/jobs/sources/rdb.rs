//! What shows that a dump of Redis is whole: its first letters, and the checksum that it ends with.
//! It must never hold more than the last bytes.

/// Redis' CRC-64: the polynomial of Jones, bits reflected.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
/// Bytes of the checksum.
const CHECKSUM_BYTES: usize = 8;
/// What stands before the checksum.
const END: u8 = 0xff;
const MAGIC: &[u8] = b"REDIS";
/// Magic and version.
const HEAD_BYTES: usize = 9;

/// For eight bytes at a time.
const TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0u64; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut value, mut bit) = (byte as u64, 0);
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let value = tables[table - 1][byte];
            tables[table][byte] = (value >> 8) ^ tables[0][(value & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

fn crc(mut crc: u64, bytes: &[u8]) -> u64 {
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let word = crc ^ u64::from_le_bytes(*eight);
        crc = 0;
        for (at, byte) in word.to_le_bytes().iter().enumerate() {
            crc ^= TABLES[7 - at][usize::from(*byte)];
        }
    }
    rest.iter().fold(crc, |crc, byte| TABLES[0][usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8))
}

/// Looks at a dump as it goes by.
#[derive(Default)]
pub struct Rdb {
    crc: u64,
    bytes: u64,
    head: Vec<u8>,
    /// The last bytes, which may be the checksum.
    held: Vec<u8>,
    /// The byte before these.
    last: u8,
}

impl Rdb {
    /// More of it.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.head.len() < HEAD_BYTES {
            self.head.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES - self.head.len())]);
        }
        // All but the last eight bytes of what came so far are counted.
        let (counted, kept) = bytes.split_at(bytes.len().saturating_sub(CHECKSUM_BYTES));
        self.held.extend_from_slice(if counted.is_empty() { bytes } else { counted });
        let over = if counted.is_empty() { self.held.len().saturating_sub(CHECKSUM_BYTES) } else { self.held.len() };
        self.crc = crc(self.crc, &self.held[..over]);
        self.last = self.held[..over].last().copied().unwrap_or(self.last);
        self.held.drain(..over);
        if !counted.is_empty() {
            self.held.extend_from_slice(kept);
        }
    }

    /// What speaks against its being whole.
    pub fn end(&self) -> Result<(), String> {
        if !self.head.starts_with(MAGIC) || self.head.len() < HEAD_BYTES {
            return Err("it does not begin like a dump of Redis".to_owned());
        }
        let version = std::str::from_utf8(&self.head[MAGIC.len()..]).ok().and_then(|text| text.parse::<u32>().ok());
        match version {
            // Older ones have no checksum.
            Some(0..5) => return Err("it is of a version of Redis that is too old to say whether it is whole".to_owned()),
            None => return Err("its version makes no sense".to_owned()),
            Some(_) => {}
        }
        let Ok(sum) = <[u8; CHECKSUM_BYTES]>::try_from(&self.held[..]) else { return Err("it ends too early".to_owned()) };
        if self.last != END {
            return Err("its end is missing".to_owned());
        }
        match u64::from_le_bytes(sum) {
            // `rdbchecksum no`: the end is all that there is to see.
            0 => Ok(()),
            sum if sum == self.crc => Ok(()),
            _ => Err("its checksum is wrong".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump() -> Vec<u8> {
        let mut dump = b"REDIS0010".to_vec();
        dump.extend((0..1000u32).flat_map(|n| n.to_le_bytes()));
        dump.push(END);
        let sum = crc(0, &dump);
        dump.extend(sum.to_le_bytes());
        dump
    }

    fn judged(bytes: &[u8], step: usize) -> Result<(), String> {
        let mut rdb = Rdb::default();
        bytes.chunks(step).for_each(|part| rdb.update(part));
        rdb.end()
    }

    #[test]
    fn the_checksum_is_that_of_redis() {
        // The value that Redis' own test has.
        assert_eq!(crc(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc(crc(0, b"1234"), b"56789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn every_cut_and_change_shows() {
        let dump = dump();
        for step in [1, 3, 7, 8, 9, 100, 10_000] {
            assert_eq!(judged(&dump, step), Ok(()), "{step}");
        }
        for cut in [0, 5, 9, 17, 100, dump.len() - 1, dump.len() - 8, dump.len() - 9] {
            assert!(judged(&dump[..cut], 64).is_err(), "{cut}");
        }
        for at in [0, 7, 500, dump.len() - 9, dump.len() - 1] {
            let mut wrong = dump.clone();
            wrong[at] ^= 1;
            assert!(judged(&wrong, 64).is_err(), "{at}");
        }
        let mut unsummed = dump.clone();
        let end = unsummed.len();
        unsummed[end - 8..].fill(0);
        assert_eq!(judged(&unsummed, 64), Ok(()));
        assert!(judged(&[&dump[..], b"x"].concat(), 64).is_err());
    }
}
