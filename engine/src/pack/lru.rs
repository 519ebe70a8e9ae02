//! A cache of things that cost something to make: bounded by weight, shared by threads, each thing made once.
//! It must never hold more than its bound for longer than it takes to make the next thing.

use crate::error::Result;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// A map of at most `max` weight that forgets what was used longest ago; a value that is being made is made once.
pub struct Lru<K, V> {
    max: usize,
    state: Mutex<LruState<K, V>>,
}

/// A value under a lock of its own, which is held while the value is made.
type Cell<V> = Arc<Mutex<Option<Arc<V>>>>;

struct LruState<K, V> {
    /// Value, time of the last use, weight (0 until it is made).
    slots: HashMap<K, (Cell<V>, u64, usize)>,
    clock: u64,
    weight: usize,
}

/// A thread that panicked while it held a lock left the value as it was before or after: both are fine for a cache.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Hash + Eq + Copy, V> Lru<K, V> {
    /// Empty.
    pub fn new(max: usize) -> Self {
        Lru { max, state: Mutex::new(LruState { slots: HashMap::new(), clock: 0, weight: 0 }) }
    }

    /// Holds another weight at most from now on; of what is there already nothing is dropped before something is added.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Whether the value is there.
    pub fn has(&self, key: &K) -> bool {
        lock(&self.state).slots.get(key).is_some_and(|slot| slot.2 > 0)
    }

    /// The value, made where it is not there.
    pub fn get(&self, key: K, weigh: impl FnOnce(&V) -> usize, make: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        let cell = self.cell(key);
        self.made(key, lock(&cell), weigh, make)
    }

    /// The same, but `None` where another thread makes it right now.
    pub fn try_get(&self, key: K, weigh: impl FnOnce(&V) -> usize, make: impl FnOnce() -> Result<V>) -> Result<Option<Arc<V>>> {
        let cell = self.cell(key);
        let value = match cell.try_lock() {
            Ok(value) => value,
            Err(TryLockError::Poisoned(value)) => value.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        self.made(key, value, weigh, make).map(Some)
    }

    fn cell(&self, key: K) -> Cell<V> {
        let mut state = lock(&self.state);
        state.clock += 1;
        let now = state.clock;
        let slot = state.slots.entry(key).or_insert_with(|| (Arc::default(), now, 0));
        slot.1 = now;
        slot.0.clone()
    }

    fn made(
        &self,
        key: K,
        mut value: MutexGuard<'_, Option<Arc<V>>>,
        weigh: impl FnOnce(&V) -> usize,
        make: impl FnOnce() -> Result<V>,
    ) -> Result<Arc<V>> {
        if let Some(value) = &*value {
            return Ok(value.clone());
        }
        // The slot's own lock is held while the value is made: a second reader waits for it instead of decoding it again.
        let made = match make() {
            Ok(made) => Arc::new(made),
            Err(error) => {
                lock(&self.state).slots.remove(&key);
                return Err(error);
            }
        };
        *value = Some(made.clone());
        drop(value);
        let weight = weigh(&made);
        let mut state = lock(&self.state);
        if let Some(slot) = state.slots.get_mut(&key) {
            slot.2 = weight;
            state.weight += weight;
        }
        while state.weight > self.max {
            let oldest = state.slots.iter().filter(|(k, s)| **k != key && s.2 > 0).min_by_key(|(_, s)| s.1).map(|(k, s)| (*k, s.2));
            let Some((oldest, weight)) = oldest else { break };
            state.slots.remove(&oldest);
            state.weight -= weight;
        }
        Ok(made)
    }
}
