//! The tar format, both ways: header blocks and their numbers (v7, ustar, GNU, pax), extended records, maps of sparse files, ACLs as text.
//! Pure: it reads and writes nothing itself, and allocates nothing by what a header claims.
//! It obeys POSIX.1-2001 (pax), and GNU tar where that goes its own way.

pub mod acl;
pub mod pax;
pub mod sparse;

/// Everything in an archive is a multiple of this long.
pub const BLOCK: usize = 512;

/// Longest extended header or long name that is taken, bytes: all attributes that an entry may have fit, and what is longer is hostile.
pub const EXTENDED_BYTES_MAX: u64 = 8 << 20;

/// One header block.
pub type Block = [u8; BLOCK];

/// Which dialect a header is in, by its magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Before there was a magic.
    V7,
    /// POSIX, with a prefix of the name.
    Ustar,
    /// Ustar of Jörg Schilling's star: a shorter prefix.
    Star,
    /// GNU tar's own.
    Gnu,
}

/// A header block whose checksum is right. Its fields are read when they are asked for.
#[derive(Clone)]
pub struct Header {
    block: Block,
    dialect: Dialect,
}

/// What a block is.
pub enum Read {
    /// Nothing but zeros: part of the end of an archive.
    Zeros,
    /// A header.
    Header(Box<Header>),
    /// No header: its checksum says so.
    Other,
}

/// Looks at a block.
pub fn read(block: &Block) -> Read {
    if block.iter().all(|b| *b == 0) {
        return Read::Zeros;
    }
    let Some(said) = number(&block[148..156]) else { return Read::Other };
    // The field itself counts as blanks. Some old programs added up bytes with their signs.
    let blanks = 8 * i64::from(b' ');
    let unsigned = |bytes: &[u8]| i64::from(bytes.iter().map(|b| u32::from(*b)).sum::<u32>());
    let signed = |bytes: &[u8]| i64::from(bytes.iter().map(|b| i32::from(*b as i8)).sum::<i32>());
    if said != unsigned(block) - unsigned(&block[148..156]) + blanks && said != signed(block) - signed(&block[148..156]) + blanks {
        return Read::Other;
    }
    let dialect = match &block[257..265] {
        b"ustar  \0" => Dialect::Gnu,
        magic if magic.starts_with(b"ustar\0") && &block[508..] == b"tar\0" => Dialect::Star,
        magic if magic.starts_with(b"ustar") => Dialect::Ustar,
        _ => Dialect::V7,
    };
    Read::Header(Box::new(Header { block: *block, dialect }))
}

/// A number of a header: octal digits between blanks, or GNU's big-endian form. `None` where it is neither, or more than 63 bits.
/// An empty field is 0.
pub fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(0x80 | 0xff) => {
            let negative = field[0] == 0xff;
            let fill = if negative { 0xff } else { 0 };
            let (high, low) = field.split_at(field.len().saturating_sub(8));
            if high.iter().skip(1).any(|b| *b != fill) {
                return None;
            }
            let mut bytes = [fill; 8];
            let from = usize::from(high.is_empty());
            bytes[8 - low.len() + from..].copy_from_slice(&low[from..]);
            let value = i64::from_be_bytes(bytes);
            ((value < 0) == negative).then_some(value)
        }
        _ => {
            let blank = |b: &u8| *b == b' ' || *b == 0;
            let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
            let digits = &field[start..];
            let end = digits.iter().position(blank).unwrap_or(digits.len());
            digits[..end].iter().try_fold(0i64, |sum, digit| match digit {
                b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
                _ => None,
            })
        }
    }
}

/// The bytes of a field up to the first zero.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

impl Header {
    /// What the entry is, as the format writes it.
    pub fn kind(&self) -> u8 {
        self.block[156]
    }

    /// The dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The name, with its prefix.
    pub fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = match self.dialect {
            Dialect::Ustar => text(&self.block[345..500]),
            Dialect::Star => text(&self.block[345..476]),
            Dialect::V7 | Dialect::Gnu => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// The name that a link has.
    pub fn link(&self) -> &[u8] {
        text(&self.block[157..257])
    }

    /// Permission bits.
    pub fn mode(&self) -> Option<i64> {
        number(&self.block[100..108])
    }

    /// Owner.
    pub fn uid(&self) -> Option<i64> {
        number(&self.block[108..116])
    }

    /// Group.
    pub fn gid(&self) -> Option<i64> {
        number(&self.block[116..124])
    }

    /// Bytes that follow.
    pub fn size(&self) -> Option<i64> {
        number(&self.block[124..136])
    }

    /// Time of the last change, seconds.
    pub fn mtime(&self) -> Option<i64> {
        number(&self.block[136..148])
    }

    /// Owner's name.
    pub fn user(&self) -> &[u8] {
        if self.dialect == Dialect::V7 { b"" } else { text(&self.block[265..297]) }
    }

    /// Group's name.
    pub fn group(&self) -> &[u8] {
        if self.dialect == Dialect::V7 { b"" } else { text(&self.block[297..329]) }
    }

    /// Major and minor number of a device.
    pub fn device(&self) -> Option<(i64, i64)> {
        Some((number(&self.block[329..337])?, number(&self.block[337..345])?))
    }

    /// The map of a sparse file in GNU's old form: as far as the header holds it, and whether blocks with more of it follow.
    pub fn old_sparse(&self) -> Option<(Vec<(u64, u64)>, bool)> {
        Some((sparse::old_pairs(&self.block[386..482])?, self.block[482] != 0))
    }

    /// Length of a sparse file in GNU's old form.
    pub fn old_sparse_size(&self) -> Option<i64> {
        number(&self.block[483..495])
    }
}

/// A header to be written. What does not fit into a field stands as 0 or cut short there: records before it say it in full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    /// The name.
    pub name: &'a [u8],
    /// What stands before the name, without the `/` between them.
    pub prefix: &'a [u8],
    /// What it is, as the format writes it.
    pub kind: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes that follow.
    pub size: u64,
    /// Time of the last change, seconds.
    pub mtime: i64,
    /// The name that a link has.
    pub link: &'a [u8],
    /// Owner's name.
    pub user: &'a [u8],
    /// Group's name.
    pub group: &'a [u8],
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

/// Largest owner that a header can hold.
pub const OWNER_MAX: u64 = 0o777_7777;
/// Largest size or time that a header can hold.
pub const SIZE_MAX: u64 = 0o777_7777_7777;

/// Octal digits with a zero behind them; 0 where the field is too short.
fn put_number(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let value = if value >> (3 * digits) == 0 { value } else { 0 };
    for (at, byte) in field[..digits].iter_mut().rev().enumerate() {
        *byte = b'0' + ((value >> (3 * at)) & 7) as u8;
    }
    field[digits] = 0;
}

fn put_text(field: &mut [u8], value: &[u8]) {
    let bytes = value.len().min(field.len());
    field[..bytes].copy_from_slice(&value[..bytes]);
}

impl Fields<'_> {
    /// The block.
    pub fn block(&self) -> Block {
        let mut block = [0; BLOCK];
        put_text(&mut block[..100], self.name);
        put_number(&mut block[100..108], u64::from(self.mode & 0o7777));
        put_number(&mut block[108..116], self.uid);
        put_number(&mut block[116..124], self.gid);
        put_number(&mut block[124..136], self.size);
        put_number(&mut block[136..148], u64::try_from(self.mtime).unwrap_or(0));
        block[148..156].fill(b' ');
        block[156] = self.kind;
        put_text(&mut block[157..257], self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        // One byte less: some readers want a zero at the end.
        put_text(&mut block[265..296], self.user);
        put_text(&mut block[297..328], self.group);
        put_number(&mut block[329..337], self.device.0.into());
        put_number(&mut block[337..345], self.device.1.into());
        put_text(&mut block[345..500], self.prefix);
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        put_number(&mut block[148..155], sum.into());
        block
    }
}

/// Longest owner's name that a header can hold.
pub const OWNER_NAME_MAX: usize = 31;

/// Prefix and name that a path has in a header of its own, where it fits there.
pub fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // At the last `/` that leaves a prefix short enough; the one at the end of a directory's name is no place to split.
    let at = path[..path.len() - 1].iter().take(156).rposition(|b| *b == b'/')?;
    let (prefix, name) = (&path[..at], &path[at + 1..]);
    (!prefix.is_empty() && name.len() <= 100).then_some((prefix, name))
}

/// Zeros behind so many bytes up to the next block.
pub fn padding(bytes: u64) -> usize {
    (bytes.wrapping_neg() % BLOCK as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_octal_or_big_endian() {
        let cases: [(&[u8], Option<i64>); 14] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644     ", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"00000648", None),
            (b"-0000001", None),
            (&[0x80, 0, 0, 0, 0, 0, 1, 0], Some(256)),
            (&[0xff; 12], Some(-1)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], Some(-2)),
            (&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some(i64::MAX)),
            (&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (b"777777777777", Some(0o777777777777)),
        ];
        for (field, want) in cases {
            assert_eq!(number(field), want, "{field:?}");
        }
    }

    #[test]
    fn a_header_that_is_written_is_read() {
        let path = [&[b'd'; 120][..], b"/", &[b'n'; 90]].concat();
        let (prefix, name) = split_name(&path).unwrap();
        let fields = Fields {
            name,
            prefix,
            kind: b'3',
            mode: 0o4755,
            uid: OWNER_MAX,
            gid: 7,
            size: SIZE_MAX,
            mtime: 1_700_000_000,
            link: b"else/where",
            user: b"ann",
            group: b"staff",
            device: (8, 1 << 20),
        };
        let Read::Header(header) = read(&fields.block()) else { panic!() };
        assert_eq!(
            (header.dialect(), header.name(), header.link(), header.kind()),
            (Dialect::Ustar, path.clone(), &b"else/where"[..], b'3')
        );
        assert_eq!((header.mode(), header.uid(), header.gid()), (Some(0o4755), Some(OWNER_MAX as i64), Some(7)));
        assert_eq!((header.size(), header.mtime(), header.device()), (Some(SIZE_MAX as i64), Some(1_700_000_000), Some((8, 1 << 20))));
        assert_eq!((header.user(), header.group()), (&b"ann"[..], &b"staff"[..]));
        let mut block = fields.block();
        block[0] ^= 1;
        assert!(matches!(read(&block), Read::Other));
        assert!(matches!(read(&[0; BLOCK]), Read::Zeros));
    }

    #[test]
    fn names_are_split_only_where_they_may() {
        assert_eq!(split_name(&[b'a'; 100]), Some((&b""[..], &[b'a'; 100][..])));
        assert_eq!(split_name(&[b'a'; 101]), None);
        assert!(split_name(&[&[b'a'; 156][..], b"/b"].concat()).is_none());
        assert!(split_name(&[&[b'a'; 155][..], b"/b"].concat()).is_some());
        assert!(split_name(&[&[b'a'; 110][..], b"/"].concat()).is_none());
        assert!(split_name(&[b"/", &[b'b'; 101][..]].concat()).is_none());
    }

    proptest! {
        #[test]
        fn any_block_is_something(block in proptest::collection::vec(any::<u8>(), BLOCK), fix in any::<bool>()) {
            let mut block: Block = block.try_into().unwrap();
            if fix {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
                put_number(&mut block[148..155], sum.into());
            }
            if let Read::Header(h) = read(&block) {
                let _ = (h.name(), h.link(), h.mode(), h.uid(), h.gid(), h.size(), h.mtime(), h.user(), h.group(), h.device());
                let _ = (h.old_sparse(), h.old_sparse_size());
            } else {
                prop_assert!(!fix);
            }
        }
    }
}
