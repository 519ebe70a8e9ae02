// Exhaustive and random exploration of the commit and collection protocol (chapter 7). README.md says what scenarios and faults there are.
//
//   rustc -O -o model gc_model.rs            16 packs, 16 segments: exhaustive scenarios
//   rustc -O --cfg big -o model-big gc_model.rs   32 packs, 32 segments: random deep search
//   ./model list                          names of scenarios and faults
//   ./model written [SCENARIO]            an earlier text of the protocol: prints the shortest trace of each violation
//   ./model fixed   [SCENARIO]            the protocol as it is: must print "ok" everywhere
//   ./model faults  [FAULT [SCENARIO]]    the protocol with one rule taken away: every one must be missed somewhere
//   ./model-big deep SECONDS SEED [FAULT] random deep search (14 processes)
//
// One step = one request to the store (LIST of one prefix, GET, PUT, DELETE) with the local work that follows it. A process
// may stop for ever at any step: every reachable state is checked, so that needs no step of its own. Late requests: a PUT or
// DELETE may leave a duplicate that is applied at any later time, or time out now (the client stops) and be applied later.
// `stale` = the collector's age guess about a pending becomes true, at any time (no clock is trusted). Young-pack and grace
// guards are left out altogether: they are courtesies, so the protocol must hold without them.
// Chunk ids are bits; bits 5..7 are leaves: to mark a root a collector must find its leaves through the index.
#![allow(dead_code)]
use std::hash::{Hash, Hasher};

#[cfg(not(big))] mod dim { pub type PM = u16; pub const NP: usize = 16; pub const NS: usize = 16; pub const NR: usize = 4; pub const NN: usize = 5; pub const ND: usize = 6; pub const NPR: usize = 5; }
#[cfg(big)] mod dim { pub type PM = u32; pub const NP: usize = 32; pub const NS: usize = 32; pub const NR: usize = 6; pub const NN: usize = 8; pub const ND: usize = 8; pub const NPR: usize = 14; }
use dim::*;
const LEAF: u8 = 0xE0;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
struct Pr { pc: u8, b: [u8; 9], w: [PM; 6] }
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
struct St {
    pe: PM, pk: [u8; NP],                   // packs: exist, content
    se: PM, sg: [PM; NS],                   // segments: exist, packs named
    re: u8, rp: [PM; NR], rd: u8, rk: [PM; NR], rs: [u8; NR], rf: [u8; NR], rq: [u8; NR], // records: exist, packs, done, kept, records its writer saw, records it folds, number
    hz: u8,                                 // horizon markers put
    ne: u8, nt: u8, ng: u8, nc: [u8; NN],   // snapshots: exist, tombstoned, tombstoned by a run that gave up, content
    na: [u8; NN], nf: u8, ex: u8,           // acknowledged content; forgotten by the user; exempt (a pack was lost under it)
    de: u8, ds: u8, dc: [u8; ND],           // pendings: exist, stale, content
    lpk: PM, lpd: PM, lsg: PM, lrc: u8, lsn: u8, ltp: u8, ltd: u8, lpe: u8, // late requests outstanding
    bz: u8, bs: u8, bl: u8, bh: u8,         // budgets: late requests, stale events, lost packs, short listings
    p: [Pr; NPR],
}
#[derive(Clone, Copy, PartialEq, Debug)]
enum K {
    // need: chunks of the source; reuse: chunks that stand under reused leaves; src: chunks that can be read again
    B { need: u8, reuse: u8, src: u8, snap: u8, pend: u8, mid: u8, midp: u8, pk: u8, sg: u8 },
    Q { need: u8, src: u8, snap: u8, of: u8, ofp: u8, pend: u8, pk: u8, sg: u8 }, // resumes the pendings `ofp` (mask) of snapshot `of`
    G { pk: u8, sg: u8, rec: u8 },
    F { snap: u8 }, U { snap: u8, new: u8, pend: u8, pk: u8, sg: u8 },
    M { sg: u8 }, I { sg: u8 }, D, Z { rec: u8 }, None, // I rebuilds the index from footers; Z folds records into one under a higher number
}
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct V { // the protocol's variant. `fixed()` = all as corrected
    post_check: bool,   // CHECK again after PUT snapshots/<id>
    pend_first: bool,   // list pending before snapshots
    gone_restart: bool, // a listed root that is gone when read: list again
    permanent: bool,    // a pack once named is never trusted again; records are not dropped; any collector may finish older records
    indexed: bool,      // survivors must be in a segment listed at G4
    exist: bool,        // survivors must be in a pack listing of this run
    undel_new: bool,    // undelete = a new commit
    own_id: bool,       // whoever resumes takes a new snapshot id and leaves the other's pendings alone
    pend_skip: bool,    // a pending whose leaves are gone is no root
    tomb_giveup: bool,  // a run that gives up after PUT snapshots puts its tombstone
    man_del: bool,      // gc deletes manifests of forgotten snapshots
    pub_idx: bool,      // unindexed packs that exist count as garbage candidates (by footer)
    recgap: bool,       // records name the records their writer saw; a hole is an error
    nokept: bool,       // (an earlier text) packs kept by a done record stay unusable
    idx_first: bool,    // CHECK and G4 list the records last
    fast: bool,         // CHECK: nothing to do when the listing shows exactly the records of B1, or of the last CHECK of the whole
    rootdiff: bool,     // a snapshot seen at G1 and neither listed nor tombstoned at G4: abort
}
fn fixed() -> V { V { post_check: true, pend_first: true, gone_restart: true, permanent: true, indexed: true, exist: true, undel_new: true, own_id: true, pend_skip: true, tomb_giveup: true, man_del: true, pub_idx: true, recgap: true, rootdiff: true, nokept: true, idx_first: true, fast: true } }
fn written() -> V { V { man_del: false, pub_idx: true, ..V::default() } }
// seeded faults
const FAULTS: &[(&str, &str)] = &[
    ("no-final-check", "success is reported right after PUT snapshots, without the second CHECK"),
    ("no-check", "no CHECK at all"),
    ("check-before-put", "records are listed before the root is written"),
    ("no-remark", "collector deletes what G1 found dead, without looking at roots again"),
    ("remark-before-record", "roots are listed again before the record is written"),
    ("own-only", "G4 ignores other collectors' records"),
    ("late-record-deleted", "G4 deletes packs of records first seen after its root listing"),
    ("reuse-kept", "packs kept by a finished record become usable again"),
    ("drop-records", "a record goes when its packs are gone, segments may still name them, no horizon"),
    ("kept-no-copy", "a live chunk whose only copies are in named packs is not copied out (liveness)"),
    ("unindexed-witness", "G4 counts a copy in a pack that no listed segment names"),
    ("ghost-witness", "G4 counts a copy that the index names but the store no longer lists"),
    ("orphan-unread", "an unindexed pack is condemned without reading its footer"),
    ("merge-drops-absent", "merge drops entries of packs absent from an older listing, named or not"),
    ("merge-deletes-first", "merge deletes its inputs before the merged segment is there"),
    ("merge-deletes-all", "merge deletes segments it did not merge"),
    ("leaf-unchecked", "chunks under reused leaves are neither looked up nor checked"),
    ("undelete-by-removal", "undelete removes the tombstone"),
    ("undelete-no-check", "undelete commits without CHECK"),
    ("same-id", "a resuming process commits under the old snapshot id"),
    ("skip-unreadable", "collector skips snapshots whose leaves it cannot find"),
    ("seg-before-pack", "segments are published before their packs"),
    ("rescue-unindexed", "a rescue pack gets no segment"),
    ("record-unconfirmed", "collector goes on after PUT condemned timed out"),
    ("no-pending", "visible-complete: no pending before the commit"),
    ("resumer-deletes", "visible-complete: the resuming process deletes the other's pendings"),
    ("giveup-deletes-pending", "visible-complete: a run whose commit timed out deletes its pending and leaves no tombstone"),
    ("pending-aborts", "liveness: an unreadable pending aborts the collection"),
    ("own-records-only-deleted", "liveness: nobody finishes the records of crashed collectors"),
    ("records-before-index", "visible-complete: CHECK and G4 list records first, index after"),
    ("fold-page-order", "a folded record is listed before its parts"),
    ("short-records-trusted", "a listing of records with a hole is believed"),
    ("short-roots-trusted", "a snapshot seen at G1, missing at G4, is believed gone"),
    ("mid-base-forward", "the CHECK of a part vouches for all records that it saw"),
    ("orphan-believed", "a backup relies on packs of dead runs before a segment names them"),
    ("needed-is-walked", "what hangs below a node that could not be read at G1 is not marked at G4"),
    ("own-copies-trusted", "G4 counts the copies of G2 without looking whether they are named by now"),
    ("fold-unseen", "a record is folded that none of those that stay has seen"),
    ("rebuild-packs-first", "a rebuild of the index lists packs before segments"),
];
fn fault(n: &str) -> u64 { 1u64 << FAULTS.iter().position(|f| f.0 == n).unwrap_or_else(|| panic!("fault {}", n)) }
#[derive(Clone)]
struct C { cpage: u8, name: String, v: V, f: u64, k: [K; NPR], init: St, split: bool, listing: bool, level2: bool, live: bool, short: u8, orig: PM, adopt: u8, steps: bool, gather: bool, seen: bool, torn: bool, ps: [u8; ND] }
// short: which listing may come back short once: 1 records in CHECK, 2 snapshots at G4, 4 pendings at G4, 8 index in CHECK, 16 index at gc, 32 packs at gc, 64 records at G4
// cpage: records that sort last and so are on a second page; torn: pages in either order (a directory is not read in order). adopt: first segment slot
// with which backups name packs that no segment names. steps: G1 in three steps, what it marked stays marked. gather: whole packs are written anew too.
// seen: records say which records their writers saw, and a hole in a listing is noticed. ps: whose a pending is.
type Lab = (u8, &'static str, u32);

fn cof(s: &St, m: PM) -> u8 { let mut r = 0; let mut m = m; while m != 0 { let i = m.trailing_zeros() as usize; r |= s.pk[i]; m &= m - 1; } r }
fn idxm(s: &St, mask: PM) -> PM { let mut r = 0; let mut m = mask; while m != 0 { let i = m.trailing_zeros() as usize; r |= s.sg[i]; m &= m - 1; } r }
fn idx(s: &St) -> PM { idxm(s, s.se) }
fn hasf(c: &C, f: &str) -> bool { c.f != 0 && c.f & fault(f) != 0 }
fn named_of(c: &C, s: &St, recs: u8) -> PM {
    let mut r = 0;
    for i in 0..NR { if recs >> i & 1 == 1 { r |= if s.rd >> i & 1 == 1 && (!c.v.permanent && !c.v.nokept || c.f & F_REUSE != 0) { s.rp[i] & !s.rk[i] } else { s.rp[i] } } }
    r
}
fn named(c: &C, s: &St) -> PM { named_of(c, s, s.re) }
const F_REUSE: u64 = 1 << 7;

struct Out<'a> { s: &'a St, i: usize, v: Vec<(St, Lab)> }
impl<'a> Out<'a> {
    fn go(&mut self, l: &'static str, a: u32, f: impl FnOnce(&mut St, &mut Pr)) {
        let mut n = self.s.clone(); let mut p = n.p[self.i]; f(&mut n, &mut p); n.p[self.i] = p; self.v.push((n, (self.i as u8, l, a)));
    }
}
const END: u8 = 90; // stopped, failed or finished
fn halt(p: &mut Pr) { *p = Pr { pc: END, ..Pr::default() }; }

mod scenarios;
mod search;
mod steps;
use scenarios::*;
use search::*;
use steps::*;

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let cmd = a.get(1).map(|s| s.as_str()).unwrap_or("list"); let arg = a.get(2).cloned();
    let max = std::env::var("MAX").ok().and_then(|s| s.parse().ok()).unwrap_or(150_000_000usize);
    match cmd {
        "list" => { for c in scenarios(fixed()) { println!("scenario {}", c.name); } for f in FAULTS { println!("fault {}: {}", f.0, f.1); } }
        "written" => { let mut v = written(); for f in a.iter().skip(3) { set(&mut v, f); } for c in scenarios(v) { if arg.as_ref().map_or(true, |x| x == "all" || c.name == *x) { report(&c, max, true); } } }
        "fixed" => { let mut v = fixed(); for f in a.iter().skip(3) { unset(&mut v, f); } for c in scenarios(v) { if arg.as_ref().map_or(true, |x| x.split(',').any(|y| y == "all" || c.name == y || (y.ends_with('*') && c.name.starts_with(&y[..y.len() - 1])))) { report(&c, max, true); } } }
        "faults" => for f in FAULTS {
            if arg.as_ref().map_or(true, |x| x.split(',').any(|y| y == f.0)) {
                let mut found = false; let mut total = 0;
                let mut cs = scenarios(fixed()); let only = a.get(3).cloned();
                if let Some(o) = &only { cs.retain(|c| c.name == *o); }
                // small ones first
                for c in cs.iter_mut() { c.f = fault(f.0);
                    match bfs(c, max.min(20_000_000)) { R::Bad(n, e, tr) => { println!("fault {:<24} caught by {:<20} {} [{} states, {} steps]", f.0, c.name, e, n, tr.len()); if only.is_some() { show(c, &tr); } found = true; break; } R::Ok(n, _) => total += n } }
                if !found { println!("fault {:<24} NOT CAUGHT in {} states", f.0, total); }
            }
        },
        "deep" => deep(a.get(2).and_then(|s| s.parse().ok()).unwrap_or(60), a.get(3).and_then(|s| s.parse().ok()).unwrap_or(1), a.get(4).cloned()),
        _ => println!("see the comment at the top"),
    }
}
