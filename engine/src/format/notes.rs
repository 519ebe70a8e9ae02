//! What notes say, kind by kind (spec chapter 7): tags and descriptions that were edited later, and which packs were verified when.
//! Bodies are bounded before they are decoded, and held against their kind; a kind that is not known says nothing here, and is no damage.

use crate::format::protocol::Note;
use crate::format::wire::{Bytes, Decoded, Enc, Malformed, Time, Wire, at_most, done, from_bytes, map_struct, to_bytes};
use crate::id::PackId;
use crate::limits::{DESCRIPTION_BYTES_MAX, TAGS_BYTES_MAX, TAGS_MAX, VERIFIED_PACKS_MAX, VERIFIED_RUNS_MAX};
use minicbor::Decoder;

/// The kind of a note that holds all tags of a snapshot.
pub const TAGS: &str = "tags";
/// The kind of a note that holds the description of a snapshot.
pub const DESCRIPTION: &str = "description";
/// The kind of a note that says which packs were verified.
pub const VERIFIED: &str = "verified";
/// What a note about the repository as a whole has in its name in place of a snapshot or pack.
pub const WHOLE: [u8; 32] = [0; 32];
/// Length of the beginning of a pack's id by which a note names it.
pub const PACK_PREFIX_BYTES: usize = 16;

/// The beginning of a pack's id by which a note names it.
pub type PackPrefix = [u8; PACK_PREFIX_BYTES];

map_struct! {
    /// The body of a note of kind `tags`.
    pub struct Tags {
        /// All tags that the snapshot has from now on.
        0 => tags: Vec<String>,
    }
}

map_struct! {
    /// The body of a note of kind `verified`: what checks have read whole and found sound.
    pub struct Verified {
        /// When, and which packs; a pack that stands in several was verified at the latest of their times.
        0 => runs: Runs,
    }
}

map_struct! {
    /// Packs that were verified at one time.
    pub struct VerifiedRun {
        /// When, by the store's clock.
        0 => time: Time,
        /// The first 16 bytes of the id of each, ascending.
        2 => packs: Bytes,
    }
}

/// The runs of a [`Verified`]; never more than a reader takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(pub Vec<VerifiedRun>);

impl Wire for Runs {
    fn put(&self, e: &mut Enc) {
        done(e.array(self.0.len() as u64).map(|_| ()));
        self.0.iter().for_each(|run| run.put(e));
    }

    fn bytes_about(&self) -> usize {
        self.0.bytes_about()
    }

    fn get(d: &mut Decoder<'_>, field: &'static str) -> Decoded<Self> {
        at_most(d, VERIFIED_RUNS_MAX, field).map(Runs)
    }
}

/// The beginning of the id of a pack, as notes name it.
pub fn prefix(pack: &PackId) -> PackPrefix {
    pack.as_bytes().first_chunk().copied().unwrap_or_default()
}

impl VerifiedRun {
    /// The packs, as their ids begin.
    pub fn prefixes(&self) -> impl Iterator<Item = PackPrefix> + '_ {
        self.packs.0.as_chunks::<PACK_PREFIX_BYTES>().0.iter().copied()
    }
}

/// What a note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// All tags of a snapshot.
    Tags(Vec<String>),
    /// The description of a snapshot.
    Description(String),
    /// Packs that were verified.
    Verified(Verified),
    /// Something of a kind that this program does not know.
    Other,
}

/// The body of a note with these tags; `None` where they are more than a reader takes.
pub fn tags_body(tags: &[String]) -> Option<Bytes> {
    let body = to_bytes(&Tags { tags: tags.to_vec(), extra: Vec::new() });
    (tags.len() <= TAGS_MAX && body.len() <= TAGS_BYTES_MAX).then_some(Bytes(body))
}

/// The body of a note with this description; `None` where it is longer than a reader takes.
pub fn description_body(text: &str) -> Option<Bytes> {
    (text.len() <= DESCRIPTION_BYTES_MAX).then(|| Bytes(text.as_bytes().to_vec()))
}

impl Note {
    /// What it says. An error where the body is not what the kind asks for.
    pub fn fact(&self) -> Decoded<Fact> {
        let (bad, body) = (Malformed::Field("note"), &self.body.0);
        Ok(match self.kind.as_str() {
            TAGS => {
                if body.len() > TAGS_BYTES_MAX {
                    return Err(bad);
                }
                let tags: Tags = from_bytes(body, "tags")?;
                if tags.tags.len() > TAGS_MAX {
                    return Err(bad);
                }
                Fact::Tags(tags.tags)
            }
            DESCRIPTION => {
                let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= DESCRIPTION_BYTES_MAX);
                Fact::Description(text.ok_or(bad)?.to_owned())
            }
            VERIFIED => {
                let verified: Verified = from_bytes(body, "verified")?;
                let mut count = 0;
                for VerifiedRun { time, packs, .. } in &verified.runs.0 {
                    let (prefixes, rest) = packs.0.as_chunks::<PACK_PREFIX_BYTES>();
                    count += prefixes.len();
                    if !rest.is_empty() || !prefixes.is_sorted_by(|a, b| a < b) || time.as_nanos().is_none() {
                        return Err(bad);
                    }
                }
                if count > VERIFIED_PACKS_MAX {
                    return Err(bad);
                }
                Fact::Verified(verified)
            }
            _ => Fact::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: &str, body: Vec<u8>) -> Note {
        Note { kind: kind.into(), about: Bytes::default(), time: Time::default(), body: Bytes(body), extra: vec![] }
    }

    fn verified(packs: Vec<u8>) -> Vec<u8> {
        let run = VerifiedRun { time: Time { secs: 7, nanos: 1 }, packs: Bytes(packs), extra: vec![] };
        to_bytes(&Verified { runs: Runs(vec![run]), extra: vec![] })
    }

    #[test]
    fn what_is_written_is_read() {
        let tags = vec!["a".to_owned(), "ü".to_owned()];
        assert_eq!(note(TAGS, tags_body(&tags).unwrap().0).fact(), Ok(Fact::Tags(tags)));
        assert_eq!(note(TAGS, tags_body(&[]).unwrap().0).fact(), Ok(Fact::Tags(vec![])));
        assert_eq!(note(DESCRIPTION, description_body("x y").unwrap().0).fact(), Ok(Fact::Description("x y".into())));
        let Ok(Fact::Verified(read)) = note(VERIFIED, verified([[1; 16], [2; 16]].concat())).fact() else { panic!() };
        assert_eq!(read.runs.0[0].prefixes().collect::<Vec<_>>(), [[1; 16], [2; 16]]);
        assert_eq!(note("drill", vec![0xff]).fact(), Ok(Fact::Other));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        assert!(tags_body(&vec![String::new(); TAGS_MAX + 1]).is_none());
        assert!(tags_body(&["x".repeat(TAGS_BYTES_MAX)]).is_none());
        assert!(description_body(&"x".repeat(DESCRIPTION_BYTES_MAX + 1)).is_none());
        // A list of four thousand million items in nine bytes.
        let bomb = [0xa1, 0x00, 0x9a, 0xff, 0xff, 0xff, 0xff, 0x60, 0x60];
        let many = to_bytes(&Tags { tags: vec![String::new(); TAGS_MAX + 1], extra: vec![] });
        let runs = Runs(vec![VerifiedRun { time: Time::default(), packs: Bytes::default(), extra: vec![] }; VERIFIED_RUNS_MAX + 1]);
        let runs = to_bytes(&Verified { runs, extra: vec![] });
        for (kind, body) in [
            (TAGS, bomb.to_vec()),
            (TAGS, vec![]),
            (TAGS, b"edited".to_vec()),
            (TAGS, many),
            (TAGS, vec![0; TAGS_BYTES_MAX + 1]),
            (DESCRIPTION, vec![0xff]),
            (DESCRIPTION, vec![b'x'; DESCRIPTION_BYTES_MAX + 1]),
            (VERIFIED, bomb.to_vec()),
            (VERIFIED, runs),
            (VERIFIED, verified(vec![1; 17])),
            (VERIFIED, verified([[2; 16], [1; 16]].concat())),
            (VERIFIED, verified([[1; 16], [1; 16]].concat())),
        ] {
            assert!(note(kind, body).fact().is_err(), "{kind}");
        }
    }
}
