//! What is left when everybody has stopped: requests under way never arrive, nobody has touched a pending for weeks, and two
//! collections, one after the other, find all that is to be found. Garbage that stays then stays for ever.

use crate::schedule::verbs::{Gc, Verb, perform};
use crate::schedule::world::{BEGINNING, Clock, Judged, World};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Later than any clock of any schedule, by more than pendings are believed: where hours pass between two requests, five hundred of them
/// take more than a season, and the pending of somebody who was overtaken in the end was young when this was ninety days.
const END: i64 = BEGINNING + 3650 * 86_400 * 1_000_000_000;

/// See the module's text.
pub fn quiet(world: &mut World) -> Judged {
    world.late.clear();
    world.store.set_now(END);
    forget_broken(world)?;
    for round in ["first", "second"] {
        let before = world.store.objects();
        let collected =
            catch_unwind(AssertUnwindSafe(|| perform(&Verb::Collect(Gc::default()), Arc::new(world.store.clone()), Clock::default())));
        let collected = collected.map_err(|_| format!("PANIC: in the {round} collection when all have stopped"))?;
        collected.map_err(|refusal| format!("STUCK: the {round} collection when all have stopped: {}", refusal.why))?;
        world.look(&before)?;
    }
    match world.view.garbage()?.first() {
        None => Ok(()),
        Some(garbage) => Err(format!("GARBAGE: two collections leave it: {garbage}")),
    }
}

/// Where pendings of runs that are alive may count as dead, a run may be overtaken behind its commit and die, or lose its connection, before
/// it takes that back. It has failed, and nobody was told of its snapshot; but that is listed and lacks something, and no collection
/// goes on beside it: it cannot know that nobody misses what is lost. Whoever is told so by `check` forgets it.
fn forget_broken(world: &mut World) -> Judged {
    if world.strict {
        return Ok(());
    }
    let broken = world.view.visible().filter(|manifest| world.view.why_not(manifest).is_some()).map(|manifest| manifest.snapshot);
    for id in broken.collect::<Vec<_>>() {
        let before = world.store.objects();
        let forgotten = perform(&Verb::Forget(id), Arc::new(world.store.clone()), Clock::default());
        forgotten.map_err(|refusal| format!("STUCK: what is listed and broken cannot be forgotten: {}", refusal.why))?;
        world.look(&before)?;
    }
    Ok(())
}
