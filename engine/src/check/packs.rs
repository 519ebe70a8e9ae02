//! Packs against the store's listing and the index: every footer is opened and every row of the index held against it.
//! What is left afterwards is where each chunk is, how long it is, and which copies are no good.

use crate::check::data::{self, BadChunks, Job};
use crate::check::findings::{FindingId, Findings};
use crate::check::memory::{Purse, max_age_nanos};
use crate::check::structure::Structure;
use crate::check::{CheckOptions, CheckReport, ReadData};
use crate::error::{Damage, Error, Result};
use crate::id::{ChunkId, Class, ObjectName, PackId};
use crate::index::{Index, IndexPack, Location, build_segment};
use crate::observe::Observer;
use crate::pack::OpenPack;
use crate::pack::writer::NewPack;
use crate::repository::Repository;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What is known of one pack, by its number in the index.
#[derive(Clone, Default)]
pub struct PackFacts {
    /// Lengths of its chunks; empty where the footer does not open.
    lengths: Vec<u32>,
    /// It lies in an archive: what it holds is believed to be what the index says.
    archived: bool,
    /// Why none of its chunks counts.
    trouble: Option<FindingId>,
}

/// Where every chunk is and what is wrong there.
pub struct Packs {
    /// What the segments say, and what the footers of packs say that no segment names.
    pub index: Arc<Index>,
    facts: Vec<PackFacts>,
    bad: HashMap<Location, FindingId>,
}

impl Packs {
    /// The length of a chunk that has a good copy; `Some(None)` where only its archived pack knows it.
    pub fn length(&self, class: Class, id: &ChunkId) -> Option<Option<u32>> {
        let mut archived = false;
        let known = self.index.find(class, id).find_map(|at| {
            let facts = self.facts.get(at.pack as usize)?;
            let good = facts.trouble.is_none() && (self.bad.is_empty() || !self.bad.contains_key(&at));
            archived |= good && facts.archived;
            facts.lengths.get(at.chunk as usize).copied().filter(|_| good)
        });
        known.map(Some).or(archived.then_some(None))
    }

    /// Whether a chunk has a good copy in another pack.
    fn has_elsewhere(&self, job: &Job, id: &ChunkId) -> bool {
        self.index.find(job.class, id).any(|at| {
            let sound = self.facts.get(at.pack as usize).is_some_and(|facts| facts.trouble.is_none());
            job.number != Some(at.pack) && sound && !self.bad.contains_key(&at)
        })
    }

    /// What is to blame that a chunk has no good copy, as far as that is known.
    pub fn blame(&self, class: Class, id: &ChunkId) -> Vec<FindingId> {
        let blame = |at: Location| self.facts.get(at.pack as usize)?.trouble.or(self.bad.get(&at).copied());
        self.index.find(class, id).filter_map(blame).collect()
    }
}

/// Opens every footer, reads what is to be read, and joins what came out.
pub fn read(
    repository: &Repository,
    structure: &mut Structure,
    options: &CheckOptions,
    findings: &Findings,
    observer: &dyn Observer,
    report: &mut CheckReport,
) -> Result<Packs> {
    let read_data = options.read_data;
    let mut index = std::mem::take(&mut structure.index);
    let mut facts = listed(&index, structure, findings);
    let chosen = data::choose(read_data, &structure.packs);
    // A cache that cannot be read makes no difference but to the order.
    let mut suspects = repository.catalog().suspects().unwrap_or_default();
    suspects.retain(|id| !structure.condemned.contains(id));
    let mut jobs: Vec<Job> = structure
        .packs
        .iter()
        .map(|((class, id), bytes)| {
            let number = number_of(&index, *class, id);
            // What is wrong with its length was said already, and its footer is not where it should be.
            let open = number.is_none_or(|n| facts[n as usize].trouble.is_none());
            Job {
                class: *class,
                id: *id,
                bytes: *bytes,
                number,
                open,
                read: open && chosen.contains(id),
                is_suspect: suspects.contains(id),
            }
        })
        .collect();
    if matches!(read_data, ReadData::Oldest { .. }) {
        // In the order in which they are to be read, as far as that goes; what is not read comes behind them.
        let order = structure.memory.oldest(&structure.packs, max_age_nanos(read_data), (&suspects, &structure.condemned));
        jobs.iter_mut().for_each(|job| job.read &= order.contains_key(&job.id));
        jobs.sort_by_key(|job| order.get(&job.id).copied().unwrap_or(usize::MAX));
    }
    report.packs = jobs.len() as u64;
    report.pack_bytes = jobs.iter().map(|job| job.bytes).sum();
    let rows = index.rows_per_pack();
    let against_index = |job: &Job, pack: &OpenPack| job.number.is_none_or(|number| agrees(&index, number, rows[number as usize], pack));
    let purse = Purse::new(read_data);
    let (outcomes, failure) = data::run(repository, &jobs, &against_index, &purse, observer);
    if !options.dry_run {
        structure.memory.keep(repository, &jobs, &outcomes, observer);
    }
    if let Some(error) = failure {
        return Err(error);
    }

    let mut orphans = Vec::new();
    let mut bad_chunks = Vec::new();
    let mut verdicts = Vec::new();
    let mut changed = Vec::new();
    for (job, outcome) in jobs.iter().zip(outcomes) {
        let name = ObjectName::pack(job.class, &job.id);
        report.packs_read += u64::from(outcome.whole);
        report.bytes_read += outcome.bytes_read;
        // A pack that is merely not read keeps what was said of it.
        // A pack that cannot be read for another reason (no permission, a newer format) is none to store anew.
        let footer = outcome.footer.as_ref().and_then(|footer| footer.as_ref().err());
        let errors = footer.into_iter().chain(&outcome.errors).chain(outcome.bad.iter().map(|bad| &bad.error));
        let damaged = errors.clone().any(Error::is_damage);
        let unclear = errors.count() > 0 && !damaged;
        if damaged || outcome.whole && !unclear {
            verdicts.push((job.id, damaged));
        }
        let mut known = PackFacts { archived: outcome.archived, ..PackFacts::default() };
        if outcome.archived {
            report.packs_archived += 1;
            report.bytes_archived += job.bytes;
            report.packs_unread += u64::from(outcome.begun);
        }
        match outcome.footer {
            None => {}
            // Nobody can tell what was in it. If it was of use, then somebody misses it.
            Some(Err(error)) => known.trouble = Some(findings.add_if_needed(error, job.bytes)),
            Some(Ok(footer)) => {
                report.chunks += footer.lengths.len() as u64;
                known.lengths = footer.lengths;
                known.trouble = (!footer.agrees).then(|| findings.add(Error::damaged(&name, Damage::Index)));
                if job.number.is_none() {
                    // A restore does not find it. If a segment cannot be read, then that is to blame.
                    let unindexed = || match structure.condemned.contains(&job.id) {
                        // It is on its way out; no run takes it in again.
                        true => findings.add_silently(Error::damaged(&name, Damage::Unindexed)),
                        false => findings.add_if_needed(Error::damaged(&name, Damage::Unindexed), job.bytes),
                    };
                    known.trouble = Some(structure.bad_segment.unwrap_or_else(unindexed));
                    orphans.push((NewPack::new(job.class, job.id, job.bytes, &footer.ids), known.clone()));
                }
            }
        }
        for error in outcome.errors {
            // Where a frame is known to be damaged, that the hash of the whole differs says nothing more.
            if outcome.bad.is_empty() || !matches!(error, Error::Damaged { damage: Damage::Name, .. }) {
                changed.push((job, findings.add(error)));
            }
        }
        for BadChunks { numbers, ids, error } in outcome.bad {
            bad_chunks.push((job, numbers, ids, findings.add(error)));
        }
        if let Some(number) = job.number
            && job.open
        {
            facts[number as usize] = known;
        }
    }
    // Packs that no segment names are walked too: what hangs below them would else go unseen.
    let (orphans, known): (Vec<NewPack>, Vec<PackFacts>) = orphans.into_iter().unzip();
    for batch in orphans.chunks(ORPHANS_PER_SEGMENT) {
        index.add(vec![build_segment(batch)]);
    }
    facts.resize(index.packs().len(), PackFacts::default());
    for (pack, known) in orphans.iter().zip(known) {
        if let Some(number) = number_of(&index, pack.class, &pack.id) {
            facts[number as usize] = known;
        }
    }
    let mut bad = HashMap::new();
    for (job, numbers, _, at) in &bad_chunks {
        if let Some(pack) = number_of(&index, job.class, &job.id) {
            bad.extend(numbers.clone().map(|chunk| (Location { pack, chunk }, *at)));
        }
    }
    let packs = Packs { index: Arc::new(index), facts, bad };
    // Once all of a frame's chunks are stored anew nobody misses anything. One without a copy is a finding though no snapshot needs
    // it: another host's backup may rely on it. Of a condemned pack nobody will.
    let lost: HashSet<FindingId> = bad_chunks
        .iter()
        .filter(|(job, ..)| !structure.condemned.contains(&job.id))
        .filter(|(job, _, ids, _)| ids.iter().any(|id| packs.length(job.class, id).is_none()))
        .map(|(_, _, _, at)| *at)
        .collect();
    for (job, _, _, at) in bad_chunks.iter().filter(|(_, _, _, at)| !lost.contains(at)) {
        findings.excuse(*at, job.bytes);
    }
    // A byte that belongs to no chunk: once others hold all that the pack holds, it may as well be gone.
    for (job, at) in changed {
        if structure.condemned.contains(&job.id) {
            findings.excuse(at, job.bytes);
            continue;
        }
        let Ok(pack) = OpenPack::open(repository.origin(), repository.keys(), job.class, &job.id) else { continue };
        if pack.table.ids().all(|id| packs.has_elsewhere(job, &id)) {
            findings.excuse(at, job.bytes);
        }
    }
    // What a listing cannot show is remembered, or the next backup would go on relying on it. A cache that cannot be written
    // makes no difference to what was found.
    if let Err(error) = repository.catalog().judge(&verdicts) {
        observer.warning(&error.to_string());
    }
    Ok(packs)
}

/// Packs without a segment that are taken into the index at once.
const ORPHANS_PER_SEGMENT: usize = 64;

/// The number of a pack of this class: a segment that names it as another class says nothing of it.
fn number_of(index: &Index, class: Class, id: &PackId) -> Option<u32> {
    index.pack_number(id).filter(|number| index.packs()[*number as usize].class == class)
}

/// The packs of the index against the store's listing.
fn listed(index: &Index, structure: &Structure, findings: &Findings) -> Vec<PackFacts> {
    let facts = |pack: &IndexPack| {
        let damage = match structure.packs.get(&(pack.class, pack.id)) {
            None => Damage::Missing,
            Some(have) if *have < pack.bytes => Damage::Short { have: *have, want: pack.bytes },
            Some(have) if *have > pack.bytes => Damage::TooLarge { have: *have, max: pack.bytes },
            Some(_) => return PackFacts::default(),
        };
        // A condemned pack may go at any time; if someone needs it all the same, that is said.
        let expected = damage == Damage::Missing && structure.condemned.contains(&pack.id);
        let error = Error::damaged(&ObjectName::pack(pack.class, &pack.id), damage);
        let trouble = if expected { findings.add_silently(error) } else { findings.add_if_needed(error, pack.bytes) };
        PackFacts { lengths: Vec::new(), archived: false, trouble: Some(trouble) }
    };
    index.packs().iter().map(facts).collect()
}

/// Whether the rows of the index and the footer of a pack say the same of it.
fn agrees(index: &Index, number: u32, rows: u64, pack: &OpenPack) -> bool {
    let mut matching = 0;
    for (chunk, id) in pack.table.ids().enumerate() {
        let same = index.find(pack.class, &id).filter(|at| at.pack == number && at.chunk as usize == chunk).count() as u64;
        if same == 0 {
            return false;
        }
        matching += same;
    }
    matching == rows
}
