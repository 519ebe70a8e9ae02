//! The scheduler, held to what it is for: a collector that does not keep to the protocol is found out, and what it did can be played again.

use crate::backups::backup;
use seabed_engine::id::ObjectName;
use seabed_engine::seal::key::Secret;
use seabed_engine::store::Store;
use seabed_tests::reader::View;
use seabed_tests::repo::secret;
use seabed_tests::schedule::choice::Budgets;
use seabed_tests::schedule::crew::Crew;
use seabed_tests::schedule::explore::{PROCESSES_MAX, explore, roam};
use seabed_tests::schedule::play::Actor;
use seabed_tests::schedule::random::{Priorities, Random, Walk};
use seabed_tests::schedule::scenario::{Failing, Scenario};
use seabed_tests::schedule::script::Script;
use seabed_tests::schedule::source::Source;
use seabed_tests::schedule::start::Maker;
use seabed_tests::schedule::verbs::Verb;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A collector as one would write it in an afternoon: it lists, reads, and deletes what nobody needs.
fn naive(store: Arc<dyn Store>) -> Result<(), String> {
    let failed = |error: seabed_engine::error::Error| error.to_string();
    let mut objects = BTreeMap::new();
    for folder in ["slots", "keyring", "snapshots", "forgotten", "index", "data", "names", "lists"] {
        for object in store.list(folder).map_err(failed)? {
            let bytes = store.get(&object.name, object.bytes).map_err(failed)?;
            objects.insert(object.name.as_str().to_owned(), Arc::new(bytes));
        }
    }
    objects.insert("seabed".to_owned(), Arc::new(store.get(&ObjectName::descriptor(), 1 << 20).map_err(failed)?));
    let Secret::KeyFile(key) = secret() else { return Err("tests open with a key file".to_owned()) };
    let view = View::new(&objects, key.as_bytes())?;
    for name in view.dead_packs()? {
        store.delete(&ObjectName::parse(&name).ok_or("a name")?).map_err(failed)?;
    }
    Ok(())
}

fn scenario() -> Scenario {
    let start = Maker::new().killed(&Source::streams("x")).backup(&Source::streams("a")).done();
    let actors = vec![backup(&Source::streams("x")), Actor::new(Verb::Other(naive))];
    Scenario { failing: Failing::Anybody, tidy: false, strict: false, ..Scenario::new("naive", &start, actors) }
}

#[test]
fn a_collector_without_records_is_found_out() {
    let failure = explore(&scenario(), 500).failure.expect("it deletes what a backup relies on");
    assert!(failure.why.contains("LOST"), "{failure}");
    assert_eq!(failure.script.len(), 1, "the backup waits once is all that it takes: {failure}");
    // What was printed can be played again, and does the same.
    let script = Script::parse(&failure.script.to_string()).unwrap();
    assert_eq!(script, failure.script);
    let again = scenario().play(&Crew::new(PROCESSES_MAX), script.chooser());
    assert_eq!(again.violation.as_deref().map(|why| &why[..4]), Some("LOST"));
}

#[test]
fn it_is_found_out_by_chance_too() {
    let unbounded = || Scenario { budgets: Budgets::switches(u32::MAX), ..scenario() };
    let walk = roam(0..500, |seed| (unbounded(), Box::new(Walk::new(Random::new(seed), u64::MAX))));
    assert!(walk.failure.is_some());
    let priorities = roam(0..500, |seed| (unbounded(), Box::new(Priorities::new(Random::new(seed), 2, 60, u64::MAX))));
    let failure = priorities.failure.expect("one change of priorities is enough");
    assert!(failure.script.len() <= 2, "who begins, and who has to wait: {failure}");
}

#[test]
fn one_after_the_other_they_harm_nobody() {
    let found = explore(&Scenario { budgets: Budgets::NONE, ..scenario() }, 100);
    assert_eq!((found.schedules, found.complete), (2, true), "who is first is all that there is to choose");
    assert!(found.failure.is_none(), "{}", found.failure.unwrap());
}

#[test]
fn a_process_that_panics_or_waits_for_ever_is_no_success() {
    let start = Maker::new().done();
    let panics: fn(Arc<dyn Store>) -> Result<(), String> = |store| {
        store.list("index").map_err(|error| error.to_string())?;
        panic!("on purpose")
    };
    let found = explore(&Scenario::new("panic", &start, vec![Actor::new(Verb::Other(panics))]), 10);
    assert!(found.failure.expect("a panic").why.contains("PANIC: on purpose"));
    let endless: fn(Arc<dyn Store>) -> Result<(), String> = |store| {
        loop {
            store.list("index").map_err(|error| error.to_string())?;
        }
    };
    let found = explore(&Scenario::new("endless", &start, vec![Actor::new(Verb::Other(endless))]), 10);
    assert!(found.failure.expect("no end").why.contains("ENDLESS"));
}
