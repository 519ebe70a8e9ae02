//! Collections among backups, forgetting, undeletes and each other.

use seabed_tests::schedule::campaign::exhaust;
use seabed_tests::schedule::scenes::{SCENES, Scenes};

#[test]
fn all_scenes() {
    let scenes = Scenes::new();
    let mut failed = Vec::new();
    for (name, share) in SCENES {
        if let Ok(only) = std::env::var("ONLY")
            && only != *name
        {
            continue;
        }
        let t = std::time::Instant::now();
        let s = scenes.get(name);
        eprintln!("made {name} in {:?}", t.elapsed());
        if let Err(e) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| exhaust(&s, *share))) {
            failed.push((name, e.downcast_ref::<String>().cloned().unwrap_or_default()));
        }
    }
    for (name, why) in &failed {
        println!("FAIL {name}: {why}");
    }
    assert!(failed.is_empty());
}
