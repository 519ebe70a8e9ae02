//! Which packs of a run are durable and which are named: decides when a segment is due, and when a mark is reached.
//! A segment names only packs that are durable; a mark is reached once all packs before it are named (spec chapter 7, B2 and B3).

use crate::limits::SEGMENT_CHUNKS_TARGET;
use crate::pack::writer::NewPack;
use std::collections::{BTreeMap, VecDeque};

/// A segment is written at the latest after packs of this size, so that a killed run loses little of what it stored.
const SEGMENT_PACK_BYTES: u64 = 1 << 30;

/// What is known of a pack that was ended.
enum State {
    /// It is on its way to the store.
    UnderWay,
    /// It is durable, and no segment names it.
    Durable(NewPack),
    /// A segment that names it is on its way.
    InSegment,
}

/// A point of the run: everything before it is to be durable and named.
struct Mark {
    number: u64,
    /// Packs that were ended before it.
    packs: u64,
}

/// The packs of a run that are not named yet, and its marks.
#[derive(Default)]
pub struct Naming {
    ended: u64,
    packs: BTreeMap<u64, State>,
    marks: VecDeque<Mark>,
}

/// Packs that go into one segment.
pub struct Batch {
    /// Their numbers.
    pub numbers: Vec<u64>,
    /// The packs.
    pub packs: Vec<NewPack>,
}

impl Naming {
    /// A pack was ended: its number.
    pub fn end(&mut self) -> u64 {
        let number = self.ended;
        self.ended += 1;
        self.packs.insert(number, State::UnderWay);
        number
    }

    /// All packs that were ended so far come before this mark.
    pub fn mark(&mut self, number: u64) {
        self.marks.push_back(Mark { number, packs: self.ended });
    }

    /// A pack is durable.
    pub fn durable(&mut self, number: u64, pack: NewPack) {
        self.packs.insert(number, State::Durable(pack));
    }

    /// The packs that are to be named now, where it is time for a segment: enough for one, a mark that waits for nothing else, or the end.
    pub fn due(&mut self, last: bool) -> Option<Batch> {
        let durable = || self.packs.iter().filter_map(|(n, state)| if let State::Durable(pack) = state { Some((*n, pack)) } else { None });
        let chunks: usize = durable().map(|(_, pack)| pack.chunks()).sum();
        let bytes: u64 = durable().map(|(_, pack)| pack.bytes).sum();
        let for_a_mark = self.marks.front().is_some_and(|mark| {
            !self.packs.range(..mark.packs).any(|(_, state)| matches!(state, State::UnderWay))
                && durable().next().is_some_and(|(number, _)| number < mark.packs)
        });
        if !last && !for_a_mark && chunks < SEGMENT_CHUNKS_TARGET && bytes < SEGMENT_PACK_BYTES {
            return None;
        }
        let numbers: Vec<u64> = durable().map(|(number, _)| number).collect();
        let take = |number: &u64| match self.packs.insert(*number, State::InSegment) {
            Some(State::Durable(pack)) => Some(pack),
            _ => None,
        };
        let packs: Vec<NewPack> = numbers.iter().filter_map(take).collect();
        (!packs.is_empty()).then_some(Batch { numbers, packs })
    }

    /// The segment of these packs is durable.
    pub fn named(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.packs.remove(number);
        }
    }

    /// The next mark before which all is named, once.
    pub fn reached(&mut self) -> Option<u64> {
        let front = self.marks.front()?;
        if self.packs.range(..front.packs).next().is_some() {
            return None;
        }
        self.marks.pop_front().map(|mark| mark.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Class, PackId};

    fn pack() -> NewPack {
        NewPack::new(Class::Data, PackId::new([0; 32]), 1, &[])
    }

    #[test]
    fn a_mark_waits_for_every_pack_before_it_and_for_none_behind() {
        let mut naming = Naming::default();
        let (first, second) = (naming.end(), naming.end());
        naming.mark(7);
        let third = naming.end();
        // The second one is faster; the third one is not asked for.
        naming.durable(second, pack());
        assert!(naming.due(false).is_none() && naming.reached().is_none());
        naming.durable(first, pack());
        let batch = naming.due(false).unwrap();
        assert_eq!(batch.packs.len(), 2);
        assert!(naming.reached().is_none(), "the segment is not durable yet");
        naming.named(&batch.numbers);
        assert_eq!((naming.reached(), naming.reached()), (Some(7), None));
        naming.durable(third, pack());
        assert!(naming.due(false).is_none());
        assert_eq!(naming.due(true).unwrap().packs.len(), 1);
    }

    #[test]
    fn a_mark_with_nothing_before_it_is_reached_at_once() {
        let mut naming = Naming::default();
        naming.mark(1);
        assert!(naming.due(false).is_none());
        assert_eq!(naming.reached(), Some(1));
    }
}
