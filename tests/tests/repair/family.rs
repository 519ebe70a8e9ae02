//! Repair from a repository of another key family, none of whose chunks has the ids that are missed: in either direction between a
//! repository and its re-encrypted copy.

use super::{BREAKS, Fixture, checked, opened, repaired};
use crate::faults::copy as fork;
use seabed_engine::copy::{CopyOptions, copy, plan};
use seabed_engine::id::Class;
use seabed_engine::observe::Silent;
use seabed_engine::store::Store;
use seabed_engine::store::memory::MemoryStore;
use seabed_tests::repo::init;
use std::sync::Arc;

#[test]
fn a_re_encrypted_copy_and_its_original_heal_each_other() {
    let fixture = Fixture::new();
    let there = Arc::new(MemoryStore::new());
    {
        let (from, to) = (opened(&fixture.store), init(there.clone(), None).unwrap());
        from.refresh().unwrap();
        let snapshots = from.catalog().snapshots().unwrap();
        let options = CopyOptions::default();
        let planned = plan(&from, &to, &snapshots, &options, &Silent).unwrap();
        assert!(planned.re_encrypted);
        assert_eq!(copy(&from, &to, planned, &options, &Silent).unwrap().copied.len(), snapshots.len());
    }
    for (hurt, other) in [(&fixture.store, &there), (&there, &fixture.store)] {
        let want = super::contents(&opened(hurt));
        for class in Class::ALL {
            for (way, damage) in BREAKS.iter().enumerate() {
                let store = fork(hurt);
                let what = format!("{class:?}, way {way}");
                for pack in store.list(class.folder()).unwrap() {
                    damage(&store, &pack.name);
                }
                let repository = opened(&store);
                assert!(!checked(&repository).is_clean(), "{what}");
                let report = repaired(&repository, &[&opened(other)], None);
                assert!(report.is_whole() && report.other.chunks > 0, "{what}: {report:?}");
                let again = opened(&store);
                let findings = checked(&again).findings;
                assert!(findings.is_empty(), "{what}: {findings:?}");
                assert!(super::contents(&again) == want, "{what}: something else than before");
            }
        }
    }
}
