//! Keys of epochs that began since a run opened its repository: it reads what others write under them, and writes on under its own.
//! It must never tell one thread that a key is unknown while another one is asking for it.

use crate::error::{Error, Result};
use crate::format::object::Purpose;
use crate::seal::Key;
use crate::seal::key::Keys;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Keys by what they are for, and their epoch.
type Places = BTreeMap<(Purpose, u32), Key>;

/// Reads the newest keyring.
pub type Newer = Arc<dyn Fn() -> Result<Keys> + Send + Sync>;

/// See the module's text.
#[derive(Default)]
pub struct Later {
    learnt: Learnt,
    newer: Option<Newer>,
    /// Epochs that were asked for: nobody asks twice.
    asked: Mutex<BTreeSet<u32>>,
}

impl Clone for Later {
    fn clone(&self) -> Self {
        // First what was asked for, and behind it what was learnt: the other way round a copy would never ask for what came in between.
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Later { learnt: self.learnt.clone(), newer: self.newer.clone(), asked: Mutex::new(asked) }
    }
}

/// Keys in the order in which they were learnt. What is there stays where it is, for references to it are out.
#[derive(Clone, Default)]
struct Learnt(OnceLock<Box<(Places, Learnt)>>);

impl Learnt {
    fn parts(&self) -> impl Iterator<Item = &Places> {
        let mut next = Some(self);
        std::iter::from_fn(move || {
            let (keys, rest) = &**next?.0.get()?;
            next = Some(rest);
            Some(keys)
        })
    }

    fn add(&self, part: Box<(Places, Learnt)>) {
        if let (Err(part), Some(known)) = (self.0.set(part), self.0.get()) {
            known.1.add(part);
        }
    }
}

impl Later {
    /// None yet, and where they come from.
    pub fn from(newer: Newer) -> Self {
        Later { newer: Some(newer), ..Later::default() }
    }

    /// None yet, from where these come.
    pub fn anew(&self) -> Self {
        Later { newer: self.newer.clone(), ..Later::default() }
    }

    /// One that was learnt.
    pub fn get(&self, place: &(Purpose, u32)) -> Option<&Key> {
        self.learnt.parts().find_map(|part| part.get(place))
    }

    /// The newest epoch of which some were learnt.
    pub fn newest_epoch(&self) -> Option<u32> {
        self.learnt.parts().flat_map(BTreeMap::keys).map(|(_, epoch)| *epoch).max()
    }

    /// Asks for the keys of an epoch, unless somebody has, and takes in what `new_of` finds new in the answer.
    pub fn ask(&self, epoch: u32, new_of: impl FnOnce(Keys) -> Places) -> Result<()> {
        let Some(newer) = &self.newer else { return Ok(()) };
        // Held until the answer is there: of many threads that read what others wrote one asks, and the others wait for it.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.insert(epoch) {
            return Ok(());
        }
        match newer() {
            Ok(newer) => self.learnt.add(Box::new((new_of(newer), Learnt::default()))),
            // The slot was removed, or the newest keyring is damaged: who opens the repository next is told.
            Err(Error::WrongKey) => {}
            Err(error) if error.is_damage() => {}
            Err(error) => {
                asked.remove(&epoch);
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ObjectId, ObjectName};

    /// Many threads read what others wrote under a new epoch: one of them asked for its keys, and the others took them for unknown as long as
    /// the answer was not there.
    #[test]
    fn who_reads_beside_whoever_asks_for_newer_keys_has_them_too() {
        let keys = Keys::generate().unwrap();
        let newer = keys.rotated().unwrap();
        let (epoch, name) = (newer.epoch, ObjectName::keyring(newer.epoch, &ObjectId::new([0; 16])));
        let (begun, asking) = std::sync::mpsc::channel();
        let (answer, answers) = std::sync::mpsc::channel();
        let answers = Mutex::new(answers);
        let keys = keys.renewed_by(Arc::new(move || {
            begun.send(()).unwrap();
            // The other one has no answer as long as there is none.
            let early = answers.lock().unwrap().recv_timeout(std::time::Duration::from_millis(200));
            assert!(early.is_err(), "it did not wait: {early:?}");
            Ok(newer.clone())
        }));
        let found = || keys.require(&name, Purpose::Data, epoch).is_ok();
        std::thread::scope(|scope| {
            let first = scope.spawn(found);
            asking.recv().unwrap();
            let other = scope.spawn(|| {
                let found = found();
                // Who asked may have gone by now.
                answer.send(found).unwrap_or(());
                found
            });
            assert!(first.join().unwrap() && other.join().unwrap());
        });
        assert!(keys.are_old());
    }
}
