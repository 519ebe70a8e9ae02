//! The plan of a collection (spec chapter 7, G1): which packs hold nothing that is needed, and out of which the rest is to be taken.
//! It changes nothing. Nothing is deleted by its word either: what it condemns is judged anew before it goes.

use crate::error::{Error, Result};
use crate::faults;
use crate::gc::figures::{Charge, Figures, is_cold, least_days};
use crate::gc::roots::{DAY_NANOS, Roots};
use crate::gc::weigh::{CHUNK_ROW_BYTES, FRAME_ROW_BYTES, written};
use crate::gc::{GcOptions, MaxUnused, is_overtaken};
use crate::id::{Class, ObjectName, PackId};
use crate::index::compact::{Copy, PackRow};
use crate::limits::RECORD_PACKS_MAX;
use crate::observe::Observer;
use crate::pack::OpenPack;
use crate::pack::bits::Bits;
use crate::pack::repack::stays;
use crate::repository::grounds::{Grounds, State};
use crate::repository::ledger::Watermark;
use crate::repository::{Access, Repository};
use crate::store::{Listed, each_busy};
use std::collections::HashSet;

/// A pack smaller than its target by this factor is gathered with others like it.
const SMALL_PART: u64 = 4;
/// Small packs of a class that are worth gathering though all together would not make a pack of a quarter of the target.
const SMALL_COUNT: usize = 8;
/// Footers that are read at a time.
const FOOTERS_BATCH: usize = 64;

/// What a collection is going to do.
pub struct Plan {
    /// The figures.
    pub figures: Figures,
    pub(super) options: GcOptions,
    pub(super) watermark: Watermark,
    pub(super) roots: Roots,
    pub(super) grounds: Grounds,
    /// Numbers of packs to be condemned.
    pub(super) condemn: Vec<u32>,
    /// Chunks to be taken out, by pack number, in the order in which packs are read.
    pub(super) takes: Vec<(u32, Bits)>,
    /// The part of a frame that may stay unused in a copy of it.
    pub(super) spare: f64,
    /// Packs that records name, that are there, and whose time has come.
    pub(super) due: HashSet<PackId>,
    pub(super) now: i64,
}

/// What would become of the needed part of a pack.
#[derive(Clone, Copy, Default)]
pub(super) struct Share {
    /// Stored bytes that are read.
    pub(super) read: u64,
    /// Unused bytes in frames that cannot be opened.
    stuck: u64,
    /// Bytes of a new pack that they would take.
    write: u64,
    /// Bytes more that they would take if frames were copied that cost more than they give,
    more: u64,
    /// and unused bytes in these.
    spared: u64,
}

/// A frame of which no more than this part is unused costs more to make anew than that gives back. Such frames are copied as they are, if
/// what is unused in all of them is at most one of so many parts of what may stay unused.
const SPARE_PART: f64 = 0.5;
const SPARE_SHARE: u64 = 4;

/// How often a plan is begun anew where another collection takes away what it has seen. What is still gone then was lost.
const PLANS: u32 = 3;

/// Makes a plan.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/example.rs")); }
/// use seabed_engine::gc::{collect, plan};
/// use seabed_engine::{GcOptions, Silent, forget};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let repository = example::repository()?;
/// # let id = example::snapshot(&repository)?;
/// forget(&repository, &[id])?;
/// // Without a grace period what goes is deleted at once; that is as safe, but runs that are under way may have to do some work again.
/// let options = GcOptions { grace: Duration::ZERO, ..GcOptions::default() };
/// let plan = plan(&repository, &options, &Silent)?;
/// // Nothing has changed yet: the figures can be shown, and the plan dropped.
/// assert!(plan.figures.freed_bytes() > 0);
/// let report = collect(&repository, plan, &Silent)?;
/// assert_eq!((report.deleted_manifests, report.pack_bytes), (1, 0));
/// # Ok(())
/// # }
/// ```
pub fn plan(repository: &Repository, options: &GcOptions, observer: &dyn Observer) -> Result<Plan> {
    repository.require_features(Access::Gc)?;
    let mut doubts = 1;
    for _ in 1..PLANS {
        match plan_once(repository, options, observer) {
            Err(error) if is_overtaken(repository, &error) => {}
            // What is lost is still lost the second time. What was only moved is found: a pack without a segment that another collection
            // gave one and wrote anew, say, while this one read the index before and its footer behind that.
            Err(error) if error.is_damage() && doubts > 0 => doubts -= 1,
            planned => return planned,
        }
    }
    plan_once(repository, options, observer)
}

fn plan_once(repository: &Repository, options: &GcOptions, observer: &dyn Observer) -> Result<Plan> {
    let now = repository.origin().now()?;
    // Before any listing: a snapshot that is committed meanwhile must not look like one that was lost.
    let watermark = Watermark::read(repository)?;
    // Roots first: whatever one of them needs is in the index by the time that is read.
    let mut roots = Roots::read(repository, &watermark, None)?;
    let mut grounds = Grounds::read(repository, observer)?;
    mark(repository, &mut grounds, &mut roots, None, observer)?;
    let mut planner = Planner { repository, options, now, figures: Figures::default(), condemn: Vec::new(), takes: Vec::new(), spare: 0.0 };
    planner.figures.snapshots = roots.snapshots.len() as u64;
    planner.figures.pendings = roots.pendings.len() as u64;
    planner.choose(&mut grounds, observer)?;
    let due = planner.earlier(&grounds);
    if repository.keys().are_old() {
        let what = "a new epoch has begun since this collection did, and it would write under the keys of before: run it again".to_owned();
        return Err(Error::Refused { what });
    }
    if options.weigh {
        planner.figures.write_bytes = written(repository, grounds.rows.packs(), (&planner.takes, planner.spare), options, observer)?;
    }
    planner.requests(&roots);
    let Planner { mut figures, condemn, takes, spare, .. } = planner;
    figures.manifests = roots.forgotten.iter().filter(|(_, at)| is_over(now, *at, options)).count() as u64;
    figures.pendings_spent = roots.spent.len() as u64;
    figures.unreadable_packs = grounds.unreadable.len() as u64;
    Ok(Plan { figures, options: options.clone(), watermark, roots, grounds, condemn, takes, spare, due, now })
}

/// Whether the grace period of something that happened at `at` is over. Where nobody knows when that was, it is; without one it always is,
/// whatever a clock says that went back.
pub(super) fn is_over(now: i64, at: i64, options: &GcOptions) -> bool {
    options.grace.is_zero() || at == 0 || now.saturating_sub(at) >= options.grace_nanos()
}

/// Marks what the roots need. With `before`, only what is new since then: what was marked stays marked, which is on the safe side.
/// A pending that was not whole may be by now, and then its run's CHECK passes.
pub(super) fn mark(
    repository: &Repository,
    grounds: &mut Grounds,
    roots: &mut Roots,
    before: Option<&Roots>,
    observer: &dyn Observer,
) -> Result<()> {
    let reader = grounds.reader(repository);
    for (id, roots) in &roots.snapshots {
        if before.is_some_and(|before| before.snapshots.contains_key(id)) {
            continue;
        }
        match grounds.mark(&reader, roots, observer) {
            Err(error) if error.is_damage() && faults::seeded("skip-unreadable") => {}
            // Forgotten and collected since the roots were listed, and its rows left out of the index: no damage.
            Err(error) if error.is_damage() && repository.is_forgotten(id)? => return Err(Error::Overtaken),
            marked => marked?,
        }
    }
    let known = before.into_iter().flat_map(|before| &before.pendings).filter(|pending| pending.whole);
    let known: HashSet<&ObjectName> = known.map(|pending| &pending.name).collect();
    for pending in &mut roots.pendings {
        if known.contains(&pending.name) {
            pending.whole = true;
            continue;
        }
        if faults::seeded("pending-aborts") {
            grounds.mark(&reader, &pending.roots, observer)?;
        }
        pending.whole = grounds.mark_what_is_there(&reader, &pending.roots, observer)?;
    }
    Ok(())
}

pub(super) struct Planner<'a> {
    pub(super) repository: &'a Repository,
    pub(super) options: &'a GcOptions,
    now: i64,
    pub(super) figures: Figures,
    condemn: Vec<u32>,
    takes: Vec<(u32, Bits)>,
    /// The part of a frame that may stay unused in a copy of it.
    spare: f64,
}

/// A pack from which something could be taken out.
struct Candidate {
    number: u32,
    share: Share,
    small: bool,
}

impl Planner<'_> {
    fn choose(&mut self, grounds: &mut Grounds, observer: &dyn Observer) -> Result<()> {
        let states = grounds.states();
        let kept = keep(grounds, &states)?;
        let packs: Vec<PackRow> = grounds.rows.packs().to_vec();
        let listed = |number: usize| grounds.packs.get(&packs[number].id);
        self.figures.packs = grounds.packs.len() as u64;
        self.figures.pack_bytes = grounds.packs.values().map(|object| object.bytes).sum();
        self.figures.chunks = grounds.rows.count();
        self.figures.chunks_needed = kept.iter().map(|bits| bits.as_ref().map_or(0, Bits::count)).sum();
        let renewed = match self.options.renew {
            Some(budget) => self.renew(budget, (&packs, &states, &kept), grounds, observer)?,
            None => HashSet::new(),
        };
        let mut candidates = Vec::new();
        let mut used = 0;
        for (number, pack) in packs.iter().enumerate() {
            let Some(object) = listed(number).filter(|_| !renewed.contains(&number)) else { continue };
            let count = kept[number].as_ref().map_or(0, Bits::count);
            match states[number] {
                State::Gone => continue,
                // Nobody uses it any more; what only it holds has to come out.
                State::Named if count == 0 || faults::seeded("kept-no-copy") => continue,
                State::Named => {
                    let share = self.share(number, &packs, &kept)?;
                    self.take(number, &kept, share);
                    continue;
                }
                State::Good | State::Orphan => {}
            }
            let unused = count < u64::from(pack.chunks) || states[number] == State::Orphan;
            let young = self.is_young(object);
            let small = object.bytes < self.target(pack.class) / SMALL_PART;
            if count > 0 {
                used += object.bytes;
            }
            if young && unused {
                self.figures.young_packs += 1;
                self.figures.young_bytes += object.bytes;
            }
            if young || !unused && !small || self.is_full() {
                continue;
            }
            if count == 0 {
                self.figures.drop_packs += 1;
                self.figures.drop_bytes += object.bytes;
                self.condemn(number, object);
                continue;
            }
            if states[number] == State::Orphan {
                // No segment will ever name it: what is needed of it goes to a pack that one does.
                let share = self.share(number, &packs, &kept)?;
                self.repack(number, &kept, share, object);
                continue;
            }
            if self.options.renew.is_some() {
                self.figures.unused_bytes += if unused { object.bytes } else { 0 };
                continue;
            }
            if object.class.as_deref().is_some_and(is_cold) && !self.options.repack_cold {
                if unused {
                    self.figures.cold_packs += 1;
                    self.figures.cold_bytes += object.bytes;
                }
                continue;
            }
            candidates.push(Candidate { number: number as u32, share: Share::default(), small });
        }
        self.weigh(&mut candidates, &packs, &kept, observer)?;
        self.select(candidates, &packs, &kept, grounds, used);
        // Old packs first: what was stored together comes to lie together.
        let modified = |number: u32| listed(number as usize).map_or(0, |object| object.modified);
        self.takes.sort_by_cached_key(|(number, _)| (packs[*number as usize].class, modified(*number), packs[*number as usize].id));
        Ok(())
    }

    /// Reads the footers of the candidates.
    fn weigh(&self, candidates: &mut [Candidate], packs: &[PackRow], kept: &[Option<Bits>], observer: &dyn Observer) -> Result<()> {
        for batch in candidates.chunks_mut(FOOTERS_BATCH) {
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let numbers: Vec<usize> = batch.iter().map(|candidate| candidate.number as usize).collect();
            let shares = each_busy(self.repository.store(), &numbers, |number| self.share(*number, packs, kept));
            for (candidate, share) in batch.iter_mut().zip(shares) {
                candidate.share = share?;
            }
        }
        Ok(())
    }

    fn share(&self, number: usize, packs: &[PackRow], kept: &[Option<Bits>]) -> Result<Share> {
        let row = &packs[number];
        let pack = OpenPack::open(self.repository.store(), self.repository.keys(), row.class, &row.id)?;
        let none = Bits::default();
        Ok(Self::share_of(&pack, kept[number].as_ref().unwrap_or(&none)))
    }

    /// What would become of the chunks `kept` of a pack.
    pub(super) fn share_of(pack: &OpenPack, kept: &Bits) -> Share {
        let mut share = Share::default();
        for (frame, span) in pack.table.frames.iter().enumerate() {
            let (info, chunks) = (&span.info, span.chunks());
            let plain = |numbers: &mut dyn Iterator<Item = usize>| -> u64 {
                numbers.filter_map(|n| pack.table.chunks.get(n)).map(|chunk| u64::from(chunk.bytes)).sum()
            };
            let wanted = plain(&mut chunks.clone().filter(|n| kept.has(*n)));
            if wanted == 0 {
                continue;
            }
            let stored = u64::from(info.stored);
            share.read += stored;
            let count = chunks.clone().filter(|n| kept.has(*n)).count() as u64;
            let part = stored * wanted / u64::from(info.plain).max(1);
            let copied = stored + FRAME_ROW_BYTES + CHUNK_ROW_BYTES * chunks.len() as u64;
            let unused = stored.saturating_sub(part);
            if stays(pack, frame as u32, kept, 0.0) {
                share.write += copied;
                share.stuck += unused;
            } else {
                let anew = part + CHUNK_ROW_BYTES * count;
                share.write += anew;
                if stays(pack, frame as u32, kept, SPARE_PART) {
                    share.more += copied.saturating_sub(anew);
                    share.spared += unused;
                }
            }
        }
        share
    }

    /// Which of the candidates are worth it.
    fn select(&mut self, mut candidates: Vec<Candidate>, packs: &[PackRow], kept: &[Option<Bits>], grounds: &Grounds, used: u64) {
        let bytes = |candidate: &Candidate| grounds.packs.get(&packs[candidate.number as usize].id).map_or(0, |object| object.bytes);
        let saves = |candidate: &Candidate| bytes(candidate).saturating_sub(candidate.share.write);
        // Of what is needed, not of all that the packs hold which hold some of it: that may be twice as much.
        let needed = used.saturating_sub(candidates.iter().map(saves).sum());
        let allowed = match self.options.max_unused {
            MaxUnused::Part(part) => (needed as f64 * part.max(0.0)) as u64,
            MaxUnused::Bytes(bytes) => bytes,
            MaxUnused::Unlimited => u64::MAX,
        };
        // What has to be taken out in any case was counted when it was.
        let spared = self.figures.unused_bytes + candidates.iter().map(|candidate| candidate.share.spared).sum::<u64>();
        let spares = spared <= allowed / SPARE_SHARE;
        if spares {
            self.spare = SPARE_PART;
            candidates.iter_mut().for_each(|Candidate { share, .. }| share.write += share.more);
        } else {
            self.figures.unused_bytes = 0;
            candidates.iter_mut().for_each(|Candidate { share, .. }| share.spared = 0);
        }
        let (mut gather, mut rest): (Vec<Candidate>, Vec<Candidate>) = candidates.into_iter().partition(|candidate| candidate.small);
        for class in Class::ALL {
            let of = |candidate: &Candidate| packs[candidate.number as usize].class == class;
            let (count, sum) = gather.iter().filter(|c| of(c)).fold((0, 0), |(n, sum), c| (n + 1, sum + c.share.write));
            // Each gathering makes a pack that is no longer small, or out of many one: no byte is moved for ever.
            if count < 2 || sum < self.target(class) / SMALL_PART && count < SMALL_COUNT {
                let (back, stay) = gather.into_iter().partition(|candidate| of(candidate));
                gather = stay;
                let back: Vec<Candidate> = back;
                rest.extend(
                    back.into_iter()
                        .filter(|c| kept[c.number as usize].as_ref().map_or(0, Bits::count) < u64::from(packs[c.number as usize].chunks)),
                );
            }
        }
        let mut left = self.options.max_repack.unwrap_or(u64::MAX);
        for candidate in gather {
            if candidate.share.read <= left {
                left -= candidate.share.read;
                self.figures.gather_packs += 1;
                self.take_out(&candidate, packs, kept, grounds);
            }
        }
        // The emptiest first: they give most for what has to be read.
        rest.sort_by_key(|candidate| (candidate.share.write * 1000 / bytes(candidate).max(1), packs[candidate.number as usize].id));
        let mut unused: u64 = rest.iter().map(saves).sum::<u64>() + if spares { spared } else { 0 };
        for candidate in rest {
            self.figures.stuck_bytes += candidate.share.stuck;
            if unused <= allowed || candidate.share.read > left || saves(&candidate) == 0 {
                self.figures.unused_bytes += saves(&candidate) + candidate.share.spared;
                continue;
            }
            left -= candidate.share.read;
            unused -= saves(&candidate);
            self.take_out(&candidate, packs, kept, grounds);
        }
    }

    /// One record names no more; the next collection goes on.
    pub(super) fn is_full(&self) -> bool {
        self.condemn.len() >= RECORD_PACKS_MAX
    }

    fn take_out(&mut self, candidate: &Candidate, packs: &[PackRow], kept: &[Option<Bits>], grounds: &Grounds) {
        if self.is_full() {
            return;
        }
        if let Some(object) = grounds.packs.get(&packs[candidate.number as usize].id) {
            self.repack(candidate.number as usize, kept, candidate.share, object);
        }
    }

    pub(super) fn repack(&mut self, number: usize, kept: &[Option<Bits>], share: Share, object: &Listed) {
        self.figures.repack_packs += 1;
        self.figures.repack_bytes += object.bytes;
        self.take(number, kept, share);
        self.condemn(number, object);
    }

    fn take(&mut self, number: usize, kept: &[Option<Bits>], share: Share) {
        self.figures.read_bytes += share.read;
        self.figures.write_bytes += share.write;
        self.figures.unused_bytes += share.spared;
        if let Some(bits) = &kept[number] {
            self.takes.push((number as u32, bits.clone()));
        }
    }

    fn condemn(&mut self, number: usize, object: &Listed) {
        self.condemn.push(number as u32);
        self.charge(object);
    }

    fn charge(&mut self, object: &Listed) {
        let Some(class) = object.class.as_deref().filter(|class| is_cold(class)) else { return };
        let days = least_days(class);
        let age = self.now.saturating_sub(object.modified) / DAY_NANOS;
        let early = i64::from(days).saturating_sub(age);
        if early <= 0 || object.modified == 0 {
            return;
        }
        let charges = &mut self.figures.charges;
        let at = charges.iter().position(|charge| charge.class == class).unwrap_or_else(|| {
            charges.push(Charge { class: class.to_owned(), days, packs: 0, bytes: 0, byte_days: 0 });
            charges.len() - 1
        });
        charges[at].packs += 1;
        charges[at].bytes += object.bytes;
        charges[at].byte_days += u128::from(object.bytes) * u128::from(early.unsigned_abs());
    }

    pub(super) fn is_young(&self, object: &Listed) -> bool {
        self.options.grace_nanos() > 0 && object.modified > 0 && !is_over(self.now, object.modified, self.options)
    }

    fn target(&self, class: Class) -> u64 {
        if class == Class::Data { self.options.data_pack_bytes } else { self.options.meta_pack_bytes() }
    }

    /// Packs that earlier records name and that are still there: those whose time has come.
    fn earlier(&mut self, grounds: &Grounds) -> HashSet<PackId> {
        let mut due = HashSet::new();
        let mut waiting = HashSet::new();
        for (_, record) in grounds.records.iter() {
            let over = is_over(self.now, record.time.as_nanos().unwrap_or(0), self.options);
            for pack in record.packs.iter().filter(|pack| grounds.packs.contains_key(&pack.id)) {
                if over {
                    due.insert(pack.id);
                } else {
                    waiting.insert(pack.id);
                }
            }
        }
        waiting.retain(|id| !due.contains(id));
        let bytes = |ids: &HashSet<PackId>| ids.iter().filter_map(|id| grounds.packs.get(id)).map(|object| object.bytes).sum();
        (self.figures.due_packs, self.figures.due_bytes) = (due.len() as u64, bytes(&due));
        (self.figures.waiting_packs, self.figures.waiting_bytes) = (waiting.len() as u64, bytes(&waiting));
        due
    }

    /// About how many requests the rest takes: reads of 8 MiB, a put and a look per pack, listings, deletions.
    fn requests(&mut self, roots: &Roots) {
        let figures = &self.figures;
        let puts = figures.write_bytes.div_ceil(self.options.data_pack_bytes.max(1));
        let nothing = self.condemn.is_empty() && figures.due_packs == 0;
        let deletions = if self.options.grace.is_zero() { self.condemn.len() as u64 } else { 0 } + figures.due_packs;
        let reads = figures.read_bytes.div_ceil(8 << 20).max(self.takes.len() as u64) + self.takes.len() as u64;
        let listings = if nothing { 0 } else { 16 };
        self.figures.requests = reads + 2 * puts + deletions + listings + roots.spent.len() as u64 + roots.forgotten.len() as u64;
    }
}

/// Chooses for each chunk that is needed the copy that stays: in a good pack where there is one, of several the one in which most is needed.
/// Returns the chosen chunks by pack. An error where a chunk is nowhere.
fn keep(grounds: &mut Grounds, states: &[State]) -> Result<Vec<Option<Bits>>> {
    let mut needed: Vec<u64> = vec![0; states.len()];
    let good = |copy: &Copy| states[copy.pack as usize] == State::Good;
    let mut lost: Option<(Class, Copy)> = None;
    grounds.rows.choose(|packs, copies| {
        copies.iter().filter(|copy| good(copy)).for_each(|copy| needed[copy.pack as usize] += 1);
        if copies.iter().all(|copy| states[copy.pack as usize] == State::Gone) {
            lost = lost.or(copies.first().map(|copy| (packs[copy.pack as usize].class, *copy)));
        }
        None
    });
    if let Some((class, copy)) = lost {
        let pack = &grounds.rows.packs()[copy.pack as usize];
        return Err(Error::damaged(&ObjectName::pack(class, &pack.id), crate::error::Damage::Missing));
    }
    let rank = |packs: &[PackRow], copy: &Copy| {
        let pack = copy.pack as usize;
        let state = match states[pack] {
            State::Good => 3,
            State::Orphan => 2,
            State::Named => 1,
            State::Gone => 0,
        };
        (state, needed[pack] * 1000 / u64::from(packs[pack].chunks).max(1), needed[pack], copy.pack)
    };
    grounds.rows.choose(|packs, copies| (0..copies.len()).max_by_key(|at| rank(packs, &copies[*at])));
    let mut kept: Vec<Option<Bits>> = vec![None; states.len()];
    for copy in grounds.rows.kept() {
        let pack = copy.pack as usize;
        kept[pack].get_or_insert_with(|| Bits::none(grounds.rows.packs()[pack].chunks as usize)).set(copy.chunk as usize);
    }
    Ok(kept)
}
