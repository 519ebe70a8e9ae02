//! Sealing anew what older epochs sealed: after a rotation, so that who kept an old keyring reads nothing of it any more.
//! A pack is of an older epoch as long as one of its keys is, or its footer: a frame that was copied brought the key that it came with.
//! What is chosen here goes the way of all that is repacked: copied, condemned, and deleted when its time has come.

use crate::error::{Error, Result};
use crate::gc::figures::is_cold;
use crate::gc::plan::{Planner, Share};
use crate::id::PackId;
use crate::index::compact::PackRow;
use crate::observe::Observer;
use crate::pack::OpenPack;
use crate::pack::bits::Bits;
use crate::repository::grounds::{Grounds, State};
use crate::store::each_busy;
use std::collections::HashSet;

/// Footers that are read at a time.
const FOOTERS_BATCH: usize = 64;

/// A pack of an older epoch.
struct Old {
    number: usize,
    /// Something of it is needed. Else it goes by itself, once it is old enough.
    needed: bool,
    epoch: u32,
    modified: i64,
    id: PackId,
    share: Share,
}

impl Planner<'_> {
    /// Chooses packs of older epochs of which so many bytes at most are read, and at least one. Returns their numbers.
    pub(super) fn renew(
        &mut self,
        budget: u64,
        (packs, states, kept): (&[PackRow], &[State], &[Option<Bits>]),
        grounds: &Grounds,
        observer: &dyn Observer,
    ) -> Result<HashSet<usize>> {
        let newest = self.repository.keys().epoch;
        let is_needed = |number: usize| kept[number].as_ref().is_some_and(|bits| bits.count() > 0);
        // Of what nobody needs what is too young to go is looked at, too: it can be read for as long.
        let stays = |number: &usize| {
            let there = grounds.packs.get(&packs[*number].id).filter(|_| matches!(states[*number], State::Good | State::Orphan));
            there.is_some_and(|object| is_needed(*number) || self.is_young(object))
        };
        let staying: Vec<usize> = (0..packs.len()).filter(stays).collect();
        let mut old = Vec::new();
        for batch in staying.chunks(FOOTERS_BATCH) {
            if observer.interrupted() {
                return Err(Error::Interrupted);
            }
            let look = |number: &usize| -> Result<Option<Old>> {
                let row = &packs[*number];
                let needed = is_needed(*number);
                let pack = match OpenPack::open(self.repository.store(), self.repository.keys(), row.class, &row.id) {
                    Err(error) if !needed && error.is_damage() => return Ok(None),
                    opened => opened?,
                };
                let keys = pack.table.footer.keys.iter().map(|key| key.epoch);
                let epoch = keys.chain([pack.epoch]).min().unwrap_or(newest);
                let modified = grounds.packs.get(&row.id).map_or(0, |object| object.modified);
                let share = || kept[*number].as_ref().map_or_else(Share::default, |bits| Self::share_of(&pack, bits));
                Ok((epoch < newest).then(|| Old { number: *number, needed, epoch, modified, id: row.id, share: share() }))
            };
            for found in each_busy(self.repository.store(), batch, look) {
                old.extend(found?);
            }
        }
        old.sort_by_key(|old| (old.epoch, old.modified, old.id));
        let mut chosen = HashSet::new();
        let mut left = budget;
        for Old { number, needed, share, id, .. } in old {
            let Some(object) = grounds.packs.get(&id) else { continue };
            let is_cold = object.class.as_deref().is_some_and(is_cold) && !self.options.repack_cold;
            // The first one whatever its size, or a small budget would never come to an end.
            let fits = share.read <= left || chosen.is_empty() && budget > 0;
            let is_young = self.is_young(object);
            if !needed || !fits || is_cold || is_young || self.is_full() {
                self.figures.renew_left_packs += 1;
                self.figures.renew_left_young_packs += u64::from(is_young);
                self.figures.renew_left_cold_packs += u64::from(is_cold && !is_young);
                self.figures.renew_left_bytes += object.bytes;
                continue;
            }
            left = left.saturating_sub(share.read);
            self.figures.renew_packs += 1;
            self.figures.renew_bytes += share.read;
            self.repack(number, kept, share, object);
            chosen.insert(number);
        }
        Ok(chosen)
    }
}
