//! Collections among backups, forgetting, undeletes and each other: every scenario by name.

use seabed_tests::schedule::campaign::{is_asked_for, search};
use seabed_tests::schedule::scenes::{SCENES, Scenes};

#[test]
fn all_scenes() {
    let scenes = Scenes::new();
    let asked = SCENES.iter().filter(|(name, _)| is_asked_for(name));
    // All of them, whatever comes of one: what two scenarios find is more than twice as much to go by.
    let failures: Vec<String> = asked.filter_map(|(name, share)| search(&scenes.get(name), *share)).map(|f| f.to_string()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
