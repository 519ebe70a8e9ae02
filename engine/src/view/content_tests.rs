//! Where items lie, by their lengths alone.

use super::*;

fn chunk(n: u8) -> Item {
    Item::Chunk(ChunkId::new([n; 32]))
}

fn lost() -> Option<Error> {
    Some(Error::ChunkMissing { id: ChunkId::new([9; 32]) })
}

/// (start, bytes) of every item that is known, and whether something is wrong.
fn located(items: &[Item], bytes: u64, lengths: &[Option<u32>]) -> (Vec<(u64, u64)>, bool) {
    let part = Part { items: Arc::new(ListNode::Items(items.to_vec())), start: 0, bytes, id: Some(ChunkId::new([7; 32])) };
    let failure = if lengths.contains(&None) { lost() } else { None };
    let (table, failure) = locate(&part, |ids| {
        assert_eq!(ids.len(), lengths.len());
        (lengths.to_vec(), failure)
    });
    (table.spans.iter().map(|span| (span.start, span.bytes)).collect(), failure.is_some())
}

#[test]
fn items_lie_behind_each_other() {
    let items = [chunk(1), Item::Hole(100), chunk(2)];
    assert_eq!(located(&items, 115, &[Some(10), Some(5)]), (vec![(0, 10), (10, 100), (110, 5)], false));
    assert_eq!(located(&[], 0, &[]), (vec![], false));
}

#[test]
fn what_lies_before_and_behind_a_lost_chunk_is_known() {
    let items = [chunk(1), chunk(2), Item::Hole(30), chunk(3), chunk(4)];
    assert_eq!(located(&items, 100, &[Some(10), None, Some(20), Some(5)]), (vec![(0, 10), (45, 30), (75, 20), (95, 5)], true));
    // Between two lost ones nobody knows.
    assert_eq!(located(&items, 100, &[None, Some(10), None, Some(5)]), (vec![(95, 5)], true));
    assert_eq!(located(&items, 100, &[Some(10), Some(10), Some(10), None]).0, vec![(0, 10), (10, 10), (20, 30), (50, 10)]);
}

#[test]
fn lengths_that_cannot_be_true_place_nothing_where_it_is_not() {
    let items = [chunk(1), chunk(2)];
    assert_eq!(located(&items, 100, &[Some(10), Some(10)]), (vec![], true), "too short");
    // Too long: the first may be right, and so may the second, counted from the end.
    let (spans, wrong) = located(&items, 100, &[Some(60), Some(60)]);
    assert!(wrong && spans == [(0, 60)], "{spans:?}");
    let (spans, wrong) = located(&[Item::Hole(u64::MAX), Item::Hole(u64::MAX)], 100, &[]);
    assert!(wrong && spans.is_empty());
}
