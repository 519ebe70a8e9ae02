//! Rules of the protocol that tests take away, one at a time, to see that they are missed (feature `faults`, which no release has).
//! Each name is that of a fault in the protocol's model; without the feature every rule stands, at no cost.

#[cfg(feature = "faults")]
mod switch {
    use std::sync::{PoisonError, RwLock};

    static SEEDED: RwLock<Option<&'static str>> = RwLock::new(None);

    /// Takes a rule away in the whole process, or gives all of them back.
    pub fn seed(fault: Option<&'static str>) {
        *SEEDED.write().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Whether this rule is taken away.
    pub fn seeded(fault: &str) -> bool {
        *SEEDED.read().unwrap_or_else(PoisonError::into_inner) == Some(fault)
    }
}

#[cfg(feature = "faults")]
pub use switch::{seed, seeded};

/// Whether this rule is taken away: never.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn seeded(_: &str) -> bool {
    false
}
