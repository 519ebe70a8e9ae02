//! When requests go wrong: rules that count, and seeds.
//! It must never draw from a clock or from the order of threads: the same requests meet the same faults.

use super::fault::Fault;
use super::request::{Call, Operation};
use std::collections::HashMap;

/// [`Rule::times`] that never end.
pub const FOR_EVER: u32 = u32::MAX;

/// A fault and the requests that meet it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The operation; without one any for which the fault means something.
    pub operation: Option<Operation>,
    /// Part of the key, of the prefix for a listing; without one any.
    pub key: Option<String>,
    /// How the key ends; without one anyhow.
    pub end: Option<String>,
    /// Requests that match and pass first.
    pub skip: u32,
    /// Requests that meet the fault then; [`FOR_EVER`] for no end.
    pub times: u32,
    /// What happens to them.
    pub fault: Fault,
}

impl Rule {
    /// The next request for which `fault` means something.
    pub fn new(fault: Fault) -> Rule {
        Rule { operation: None, key: None, end: None, skip: 0, times: 1, fault }
    }

    /// Only this operation.
    pub fn on(self, operation: Operation) -> Rule {
        Rule { operation: Some(operation), ..self }
    }

    /// Only keys that contain this.
    pub fn key(self, part: &str) -> Rule {
        Rule { key: Some(part.to_owned()), ..self }
    }

    /// Only keys that end with this.
    pub fn key_end(self, end: &str) -> Rule {
        Rule { end: Some(end.to_owned()), ..self }
    }

    /// After so many that pass.
    pub fn skip(self, skip: u32) -> Rule {
        Rule { skip, ..self }
    }

    /// So many of them.
    pub fn times(self, times: u32) -> Rule {
        Rule { times, ..self }
    }

    /// All of them.
    pub fn for_ever(self) -> Rule {
        self.times(FOR_EVER)
    }

    fn matches(&self, call: &Call) -> bool {
        self.operation.is_none_or(|operation| operation == call.operation)
            && self.key.as_ref().is_none_or(|part| call.key.contains(part.as_str()))
            && self.end.as_ref().is_none_or(|end| call.key.ends_with(end.as_str()))
            && self.fault.applies_to(call.operation)
    }
}

struct Seeded {
    seed: u64,
    probability: f64,
    faults: Vec<Fault>,
    /// How often each operation came for each key.
    seen: HashMap<(Operation, String), u64>,
}

impl Seeded {
    /// The draw depends on the operation, the key and how often both came, not on what other threads do meanwhile.
    fn pick(&mut self, call: &Call) -> Option<Fault> {
        let nth = self.seen.entry((call.operation, call.key.clone())).or_default();
        let mut state = self.seed ^ nth.wrapping_mul(0xd605_bbb5_8c8a_bc03) ^ ((call.operation as u64) << 56);
        *nth += 1;
        for byte in call.key.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let faults: Vec<&Fault> = self.faults.iter().filter(|fault| fault.applies_to(call.operation)).collect();
        let drawn = (splitmix(&mut state) >> 11) as f64 / (1u64 << 53) as f64;
        if faults.is_empty() || drawn >= self.probability {
            return None;
        }
        Some(faults[splitmix(&mut state) as usize % faults.len()].clone())
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// All rules and seeds of a server.
#[derive(Default)]
pub(super) struct Injector {
    rules: Vec<Rule>,
    seeded: Vec<Seeded>,
    fired: u64,
}

impl Injector {
    pub(super) fn rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(super) fn seeded(&mut self, seed: u64, probability: f64, faults: Vec<Fault>) {
        self.seeded.push(Seeded { seed, probability, faults, seen: HashMap::new() });
    }

    pub(super) fn clear(&mut self) {
        *self = Injector { fired: self.fired, ..Injector::default() };
    }

    pub(super) fn fired(&self) -> u64 {
        self.fired
    }

    /// Rules that still wait for requests.
    pub(super) fn waiting(&self) -> Vec<Rule> {
        self.rules.iter().filter(|rule| rule.times > 0 && rule.times != FOR_EVER).cloned().collect()
    }

    /// What happens to this request. The first rule that matches decides; one that lets it pass leaves it to the next.
    pub(super) fn pick(&mut self, call: &Call) -> Option<Fault> {
        let fault = self.pick_rule(call).or_else(|| self.seeded.iter_mut().find_map(|seeded| seeded.pick(call)))?;
        self.fired += 1;
        Some(fault)
    }

    fn pick_rule(&mut self, call: &Call) -> Option<Fault> {
        for rule in self.rules.iter_mut().filter(|rule| rule.times > 0 && rule.matches(call)) {
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.times != FOR_EVER {
                rule.times -= 1;
            }
            return Some(rule.fault.clone());
        }
        None
    }
}
