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
use std::collections::HashMap;

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

// PUT helpers: normal; duplicate outstanding; timed out (client stops) and outstanding
macro_rules! put { ($o:expr,$l:literal,$a:expr,$apply:expr,$late:expr,$next:expr) => {{
    $o.go(concat!("PUT ",$l), $a as u32, |n,p| { $apply(n,p); $next(n,p); });
    if $o.s.bz > 0 {
        $o.go(concat!("PUT ",$l," (a duplicate stays under way)"), $a as u32, |n,p| { $apply(n,p); $late(n,p); n.bz -= 1; $next(n,p); });
        $o.go(concat!("PUT ",$l," TIMES OUT, still under way; the client stops"), $a as u32, |n,p| { let (e1,e2,e3,e4,e5,e6)=(n.pe,n.se,n.re,n.ne,n.nt,n.de); $apply(n,p); n.pe=e1;n.se=e2;n.re=e3;n.ne=e4;n.nt=e5;n.de=e6; $late(n,p); n.bz -= 1; halt(p); });
    }
}}}

fn step(c: &C, s: &St, i: usize, res: &mut Vec<(St, Lab)>) {
    let p = s.p[i];
    if p.pc == END { return; }
    let mut o = Out { s, i, v: std::mem::take(res) };
    match c.k[i] {
        K::B { need, reuse, src, snap, pend, mid, midp, pk, sg } => {
            let mr = 3;
            let ad = c.adopt as usize + i; // its segment for packs that none names
            let need_c = if hasf(c, "leaf-unchecked") { need & !reuse } else { need };
            match p.pc {
                // B1: records and index in any order
                0 | 1 | 2 => {
                    let done = move |c: &C, n: &St, p: &mut Pr| { if c.listing || c.adopt != 0 { p.pc = 3; } else { let u = p.w[1] & !p.w[0]; plan_b(n, p, need_c, u, mid); } };
                    if p.pc != 1 && (p.b[5] == 0 || p.b[5] >= 8) { list_records(c, &mut o, "B1 LIST condemned", 0, move |c, n, p, m| { p.w[0] = named_of(c, n, m); p.w[4] = known(m); p.b[0] = n.hz; if p.pc == 0 { p.pc = 1; } else { done(c, n, p); } }); }
                    if p.pc != 2 && p.b[5] < 8 { list_index(c, &mut o, p.pc, move |c, n, p, ix| { p.w[1] = ix; if p.pc == 0 { p.pc = 2; } else { done(c, n, p); } }); }
                }
                3 => o.go("LIST packs", 0, |n, p| { let u = p.w[1] & !p.w[0] & n.pe; let dead = n.pe & !p.w[1] & !p.w[0]; p.w[2] = p.w[1] & !n.pe;
                    if c.adopt != 0 && dead != 0 { p.w[1] = u; p.w[3] = dead; p.pc = 41; } else { plan_b(n, p, need_c, u, mid); } }),
                // packs of dead runs (or of runs that have not come so far) get a segment
                41 if hasf(c, "orphan-believed") => o.go("(no segment for packs that none names; they are believed)", p.w[3] as u32, |n, p| { let u = p.w[1] | p.w[3]; plan_b(n, p, need_c, u, mid); }),
                41 => put!(o, "segment (for packs that none names)", p.w[3], |n: &mut St, p: &mut Pr| { n.sg[ad] = p.w[3]; n.se |= 1 << ad; }, |n: &mut St, _p: &mut Pr| n.lsg |= 1 << ad, |n: &mut St, p: &mut Pr| { let u = p.w[1] | p.w[3]; plan_b(n, p, need_c, u, mid); }),
                4 if hasf(c, "seg-before-pack") => o.go("PUT segment (before its pack)", sg as u32, |n, p| { n.pk[pk as usize] = p.b[3]; n.sg[sg as usize] = 1 << pk; n.se |= 1 << sg; p.pc = 6; }),
                6 => o.go("PUT pack", pk as u32, |n, p| { n.pe |= 1 << pk; p.b[3] = 0; p.pc = if mid != 0 { 8 } else { 9 }; }),
                4 => put!(o, "pack", pk, |n: &mut St, p: &mut Pr| { n.pk[pk as usize] = p.b[3]; n.pe |= 1 << pk; }, |n: &mut St, _p: &mut Pr| n.lpk |= 1 << pk, |_n: &mut St, p: &mut Pr| { p.b[3] = 0; p.pc = 5; }),
                5 => put!(o, "segment", sg, |n: &mut St, _p: &mut Pr| { n.sg[sg as usize] = 1 << pk; n.se |= 1 << sg; }, |n: &mut St, _p: &mut Pr| n.lsg |= 1 << sg, |_n: &mut St, p: &mut Pr| p.pc = if mid != 0 { 8 } else { 9 }),
                8 => o.go("B3 PUT pending (part)", midp as u32, |n, p| { n.dc[midp as usize] = mid; n.de |= 1 << midp; p.b[1] = 2; p.pc = 10; }),
                _ => commit(c, &mut o, Cm { need, need_c: if p.b[1] == 2 { mid & need_c } else { need_c }, src, snap, pend, pk: pk + 1, sg: sg + 1, delp: 1 << pend | if mid != 0 { 1 << midp } else { 0 }, undel: 255, max_rescue: mr }),
            }
        }
        K::Q { need, src, snap, of, ofp, pend, pk, sg } => {
            let mr = 2;
            let same = !c.v.own_id || hasf(c, "same-id");
            match p.pc {
                0 => { for d in 0..ND as u8 { if ofp & s.de >> d & 1 == 1 && ofp >> d & 1 == 1 { o.go("resume: GET pending", d as u32, |n, p| { p.b[4] = n.dc[d as usize]; p.pc = 1; }); } } }
                // what the pending speaks of is read again all the same where no usable pack holds it
                1 => list_records(c, &mut o, "B1 LIST condemned", 0, |c, n, p, m| { p.w[0] = named_of(c, n, m); p.w[4] = known(m); p.b[0] = n.hz; p.pc = 2; }),
                2 => list_index(c, &mut o, 2, |c, n, p, ix| { let kn = if c.v.fast { 0 } else { p.b[4] }; let u = ix & !p.w[0]; p.b[4] = 0; p.b[3] = need & !cof(n, u) & !kn; wipe(p); p.pc = if p.b[3] != 0 { 4 } else { 9 }; }),
                4 => put!(o, "pack", pk, |n: &mut St, p: &mut Pr| { n.pk[pk as usize] = p.b[3]; n.pe |= 1 << pk; }, |n: &mut St, _p: &mut Pr| n.lpk |= 1 << pk, |_n: &mut St, p: &mut Pr| { p.b[3] = 0; p.pc = 5; }),
                5 => put!(o, "segment", sg, |n: &mut St, _p: &mut Pr| { n.sg[sg as usize] = 1 << pk; n.se |= 1 << sg; }, |n: &mut St, _p: &mut Pr| n.lsg |= 1 << sg, |_n: &mut St, p: &mut Pr| p.pc = 9),
                _ => commit(c, &mut o, Cm { need, need_c: need, src, snap: if same { of } else { snap }, pend, pk: pk + 1, sg: sg + 1,
                    delp: 1 << pend | if same || hasf(c, "resumer-deletes") { ofp } else { 0 }, undel: 255, max_rescue: mr }),
            }
        }
        K::U { snap, new, pend, pk, sg } => {
            let byrem = !c.v.undel_new || hasf(c, "undelete-by-removal");
            let all = s.nc[snap as usize];
            if byrem {
                match p.pc {
                    0 => if s.nt >> snap & 1 == 1 && s.ne >> snap & 1 == 1 {
                        o.go("undelete: DELETE tombstone", snap as u32, |n, p| { n.nt &= !(1 << snap); p.b[0] = n.hz; p.pc = 10; });
                        if s.bz > 0 {
                            o.go("undelete: DELETE tombstone (a duplicate stays under way)", snap as u32, |n, p| { n.nt &= !(1 << snap); n.ltd |= 1 << snap; n.bz -= 1; p.b[0] = n.hz; p.pc = 10; });
                            o.go("undelete: DELETE tombstone TIMES OUT, still under way", snap as u32, |n, p| { n.ltd |= 1 << snap; n.bz -= 1; halt(p); });
                        }
                    },
                    22 | 20 => o.go("undelete acknowledged", snap as u32, |n, p| { n.nf &= !(1 << snap); halt(p); }),
                    _ => commit(c, &mut o, Cm { need: all, need_c: all, src: 0, snap, pend, pk, sg, delp: 0, undel: snap, max_rescue: 2 }),
                }
            } else {
                match p.pc {
                    0 => if s.nt >> snap & 1 == 1 && s.ne >> snap & 1 == 1 { o.go("undelete: GET manifest", snap as u32, |_n, p| p.pc = 9) },
                    _ => { let nc = hasf(c, "undelete-no-check");
                        if nc && p.pc == 10 { o.go("(no CHECK)", 0, |_n, p| { p.pc = if p.b[1] == 0 { 20 } else { 22 }; }); }
                        else { commit(c, &mut o, Cm { need: all, need_c: all, src: 0, snap: new, pend, pk, sg, delp: 1 << pend, undel: 255, max_rescue: 2 }) } }
                }
            }
        }
        K::F { snap } => if p.pc == 0 && s.ne >> snap & 1 == 1 { put!(o, "tombstone (forget)", snap, |n: &mut St, _p: &mut Pr| { n.nt |= 1 << snap; n.nf |= 1 << snap; }, |n: &mut St, _p: &mut Pr| { n.ltp |= 1 << snap; n.nf |= 1 << snap; }, |_n: &mut St, p: &mut Pr| halt(p)); },
        K::G { pk, sg, rec } => collector(c, &mut o, pk, sg, rec),
        K::M { sg } => merger(c, &mut o, sg),
        K::I { sg } => { // segments, then packs: every pack of a segment in the first listing is in the second one, if it still exists
            let packs_first = hasf(c, "rebuild-packs-first");
            match p.pc {
                0 if packs_first && p.b[0] == 0 => o.go("rebuild: LIST packs", 0, |n, p| { p.w[2] = n.pe; p.b[0] = 1; }),
                0 => o.go("rebuild: LIST index", 0, |n, p| { p.w[0] = n.se; p.b[0] = 0; p.pc = if packs_first { 2 } else { 1 }; }),
                1 => o.go("rebuild: LIST packs", 0, |n, p| { p.w[2] = n.pe; p.pc = 2; }),
                2 => o.go("rebuild: GET footers", 0, |n, p| { p.w[2] &= n.pe; p.pc = 3; }),
                3 => put!(o, "rebuilt segment", sg, |n: &mut St, p: &mut Pr| { n.sg[sg as usize] = p.w[2]; n.se |= 1 << sg; }, |n: &mut St, _p: &mut Pr| n.lsg |= 1 << sg, |_n: &mut St, p: &mut Pr| { p.w[2] = 0; p.pc = 4; }),
                4 => { let d = p.w[0] & s.se; if d == 0 { o.go("rebuild: end", 0, |_n, p| halt(p)); } else { let g = d.trailing_zeros(); o.go("rebuild: DELETE segment", g, |n, _p| n.se &= !(1 << g)); } }
                _ => {}
            }
        }
        K::D => match p.pc { // drops done records (an earlier text)
            0 => for r in 0..NR { if s.re & s.rd & (1 << r) != 0 { o.go("LIST condemned: record is done", r as u32, |_n, p| { p.b[0] = r as u8; p.pc = 1; }); } },
            1 => { let r = p.b[0] as usize; if idx(s) & s.rp[r] & !(if c.v.nokept { 0 } else { s.rk[r] }) == 0 && (!c.v.nokept || s.rp[r] & s.pe == 0) || hasf(c, "drop-records") { o.go("LIST index: no segment names its deleted packs", 0, |_n, p| p.pc = if hasf(c, "drop-records") { 3 } else { 2 }); } }
            2 => o.go("PUT horizon", 0, |n, p| { n.hz += 1; p.pc = 3; }),
            3 => o.go("DELETE record", p.b[0] as u32, |n, p| { n.re &= !(1 << p.b[0]); halt(p); }),
            _ => {}
        },
        K::Z { rec } => match p.pc {
            0 => if s.re.count_ones() >= if c.torn { 2 } else { 1 } { o.go("fold: LIST condemned", 0, |n, p| {
                let mut parts = n.re;
                if c.torn { // the newest by number and name stays, as it is (sixteen of them in the engine)
                    let stay = bits(n.re as PM).max_by_key(|&r| (n.rq[r], r)).unwrap_or(0);
                    parts &= !(1 << stay);
                    // A directory is not read in order: a listing may lack both a part and what it went into. Somebody who stays must miss it.
                    if !hasf(c, "fold-unseen") { parts &= n.rs[stay]; }
                }
                if parts == 0 { halt(p); } else { p.b[0] = parts; p.b[1] = n.re; p.pc = 1; }
            }); },
            1 => put!(o, "folded record", rec, |n: &mut St, p: &mut Pr| {
                let (mut u, mut f) = (0, p.b[0]); for r in 0..NR { if p.b[0] >> r & 1 == 1 { u |= n.rp[r]; f |= n.rf[r]; } }
                let i = rec as usize; n.rp[i] = u; if c.seen { n.rs[i] = p.b[1]; n.rf[i] = f; n.rq[i] = next(n, p.b[1]); } n.re |= 1 << rec;
            }, |n: &mut St, _p: &mut Pr| n.lrc |= 1 << rec, |_n: &mut St, p: &mut Pr| { p.b[1] = 0; p.pc = 2; }),
            2 => { let d = p.b[0] & s.re; if d == 0 { o.go("fold: end", 0, |_n, p| halt(p)); } else { let r = d.trailing_zeros(); o.go("fold: DELETE record", r, |n, _p| n.re &= !(1 << r)); } }
            _ => {}
        },
        K::None => {}
    }
    *res = o.v;
}
// the records that a run relies on, as one listing showed them: of a listing that shows just these a CHECK needs no more
const KNOWN: PM = 1 << (NP - 1);
fn known(m: u8) -> PM { KNOWN | m as PM }
// keeps what a run knows for good: packs that are lost, records that it knows
fn wipe(p: &mut Pr) { let (l, k) = (p.w[2], p.w[4]); p.w = Default::default(); p.w[2] = l; p.w[4] = k; }
// the number of the next record, for who saw these
fn next(s: &St, seen: u8) -> u8 { bits(seen as PM).map(|r| s.rq[r]).max().unwrap_or(0) + 1 }
// a record that a listed one has seen, that none of the listed folds and that is not listed
fn hole(s: &St, m: u8) -> bool { let there = bits(m as PM).fold(m, |a, r| a | s.rf[r]); bits(m as PM).any(|r| s.rs[r] & !there != 0) }
// LIST records: atomic; as two pages in the order of names (cpage), or in either order (torn); short, where `bit` is among what may be
fn list_records(c: &C, o: &mut Out, name: &'static str, bit: u8, f: impl Fn(&C, &St, &mut Pr, u8) + Copy) {
    let s = o.s; let p = s.p[o.i]; let trust = !c.v.recgap || hasf(c, "short-records-trusted");
    let ends = |o: &mut Out, name: &'static str, m: u8, short: u8| o.go(name, m as u32, |n, p| {
        n.bh -= short; if p.b[5] >= 8 { p.w[5] = 0; p.b[5] = 0; }
        if (short != 0 || c.seen) && hole(n, m) && !trust { if c.torn { return; } halt(p); return; } // a listing with a hole: list again
        f(c, n, p, m);
    });
    if c.cpage == 0 {
        ends(o, name, s.re, 0);
        // the newest record missing cannot be seen: outside the store's contract
        if s.bh > 0 && c.short & bit != 0 { for r in 0..NR { if s.re >> r & 1 == 1 && (0..NR).any(|j| j != r && s.re >> j & 1 == 1 && s.rs[j] >> r & 1 == 1) { ends(o, "LIST condemned comes back SHORT", s.re & !(1 << r), 1); } } }
    } else if p.b[5] < 8 {
        let late = hasf(c, "fold-page-order");
        if !late { o.go("LIST condemned, first page", 0, |n, p| { p.w[5] = (n.re & !c.cpage) as PM; p.b[5] = 8; }); }
        if late || c.torn { o.go("LIST condemned, last page first", 0, |n, p| { p.w[5] = (n.re & c.cpage) as PM; p.b[5] = 9; }); }
    } else { let page = if p.b[5] == 8 { c.cpage } else { !c.cpage }; ends(o, name, p.w[5] as u8 | s.re & page, 0); }
}
fn plan_b(n: &St, p: &mut Pr, need: u8, u: PM, mid: u8) {
    p.b[3] = need & !cof(n, u); wipe(p);
    p.pc = if p.b[3] != 0 { 4 } else if mid != 0 { 8 } else { 9 };
}
// LIST index: atomic, or (split) as two pages in either order; orig = the mask of segments on the one page
fn list_index(c: &C, o: &mut Out, pc: u8, f: impl Fn(&C, &St, &mut Pr, PM) + Copy) {
    let p = o.s.p[o.i]; let st = p.b[5];
    if !c.split { o.go("LIST index", 0, |n, p| { let ix = idx(n); f(c, n, p, ix); }); return; }
    match st {
        0 => { o.go("LIST index, page A", 0, |n, p| { p.w[5] = idxm(n, n.se & c.orig); p.b[5] = 1; p.pc = pc; }); o.go("LIST index, page B", 0, |n, p| { p.w[5] = idxm(n, n.se & !c.orig); p.b[5] = 2; p.pc = pc; }); }
        1 => o.go("LIST index, page B", 0, |n, p| { let ix = p.w[5] | idxm(n, n.se & !c.orig); p.w[5] = 0; p.b[5] = 0; f(c, n, p, ix); }),
        _ => o.go("LIST index, page A", 0, |n, p| { let ix = p.w[5] | idxm(n, n.se & c.orig); p.w[5] = 0; p.b[5] = 0; f(c, n, p, ix); }),
    }
}
// a CHECK has passed: that of a part (b1 = 2), that before the commit (0), the final one (1)
fn passed(_c: &C, p: &mut Pr) { match p.b[1] { 2 => { p.b[1] = 0; p.pc = 9; } 0 => p.pc = 20, _ => p.pc = 22 } }
#[derive(Clone, Copy)] struct Cm { need: u8, need_c: u8, src: u8, snap: u8, pend: u8, pk: u8, sg: u8, delp: u8, undel: u8, max_rescue: u8 }
// b0 horizon at start, b1 phase (0 before, 1 after the commit PUT), b2 rescues, b3 chunks in hand, b6 horizon at CHECK; w0 named, w1 index, w2 = packs known lost
fn commit(c: &C, o: &mut Out, m: Cm) {
    let s = o.s; let p = s.p[o.i];
    match p.pc {
        9 => if hasf(c, "no-pending") { o.go("(no pending)", 0, |_n, p| p.pc = 10) }
             else if hasf(c, "check-before-put") && p.b[1] == 0 { o.go("(CHECK first)", 0, |_n, p| p.pc = 10) }
             else { put!(o, "pending (complete)", m.pend, |n: &mut St, _p: &mut Pr| { n.dc[m.pend as usize] = m.need; n.de |= 1 << m.pend; }, |n: &mut St, _p: &mut Pr| n.lpe |= 1 << m.pend, |_n: &mut St, p: &mut Pr| p.pc = 10) },
        10 | 11 if hasf(c, "no-check") => o.go("(no CHECK)", 0, |_n, p| passed(c, p)),
        // Where the records are just those that were known when all this was last made sure of, nothing more has to be looked at.
        10 if c.v.fast && p.w[4] & KNOWN != 0 => list_records(c, o, if p.b[1] == 1 { "final CHECK: LIST condemned (is any new?)" } else { "CHECK: LIST condemned (is any new?)" }, 1,
            |c, _n, p, m| { if known(m) == p.w[4] { p.b[6] = 0; passed(c, p) } else { p.pc = 16 } }),
        10 | 16 | 11 => {
            let idxf = c.v.idx_first && !hasf(c, "records-before-index");
            let recs = (p.pc == 11) == idxf; let last = p.pc == 11; let pc = p.pc;
            // w0 = named, w1 = index; evaluated after the second listing
            let ev = move |c: &C, n: &St, p: &mut Pr| {
                let mut u = p.w[1] & !p.w[0] & !p.w[2];
                if p.b[6] != p.b[0] { u &= n.pe; }
                let un = m.need_c & !cof(n, u);
                let (new, ix) = (p.w[3], p.w[1]);
                p.b[3] = un; wipe(p); p.w[1] = if un != 0 { ix } else { 0 }; p.b[6] = 0;
                // the CHECK of a part has looked at that part only: the rest goes on relying on the records of B1
                if un == 0 && c.v.fast && (p.b[1] != 2 || hasf(c, "mid-base-forward")) { p.w[4] = new; }
                if un != 0 { p.pc = 13 } else { passed(c, p) }
            };
            if recs {
                list_records(c, o, if p.b[1] == 1 { "final CHECK: LIST condemned" } else { "CHECK: LIST condemned" }, 1,
                    move |c, n, p, m| { p.w[0] = named_of(c, n, m); p.w[3] = known(m); p.b[6] = n.hz; if last { ev(c, n, p) } else { p.pc = 11 } });
            } else {
                list_index(c, o, pc, move |c, n, p, ix| { p.w[1] = ix; if last { ev(c, n, p) } else { p.pc = 11 } });
                if s.bh > 0 && c.short & 8 != 0 && !c.split { for g in 0..NS { if s.se >> g & 1 == 1 { o.go("CHECK: LIST index comes back SHORT", g as u32, |n, p| { n.bh -= 1; p.w[1] = idxm(n, n.se & !(1 << g)); if last { ev(c, n, p) } else { p.pc = 11 } }); } } }
            }
        }
        13 => { // rescue: from a pack that still exists, or from the source
            let un = p.b[3]; let got = cof(s, p.w[1] & s.pe & !p.w[2]) | m.src;
            if un & !got != 0 {
                if p.b[1] == 1 { o.go("final CHECK: cannot be rescued", 0, |_n, p| { p.w = Default::default(); p.b = [0; 9]; p.pc = 24; }); }
                else { o.go("CHECK: cannot be rescued, run fails", 0, |_n, p| halt(p)); }
            } else if p.b[2] >= m.max_rescue { o.go("(bound on rescues reached)", 0, |n, p| { if p.b[1] == 1 { p.w = Default::default(); p.b = [0; 9]; p.pc = 24; } else { halt(p) } let _ = n; }); }
            else { o.go("rescue: read", un as u32, |_n, p| { wipe(p); p.pc = 14; }); }
        }
        14 => { let k = m.pk + p.b[2]; put!(o, "rescue pack", k, |n: &mut St, p: &mut Pr| { n.pk[k as usize] = p.b[3]; n.pe |= 1 << k; }, |n: &mut St, _p: &mut Pr| n.lpk |= 1 << k, |_n: &mut St, p: &mut Pr| { p.b[3] = 0; p.pc = 15; }) }
        15 => { let k = m.pk + p.b[2]; let g = m.sg + p.b[2];
            if hasf(c, "rescue-unindexed") { o.go("(no segment for the rescue pack; it is believed)", 0, |_n, p| { p.b[2] += 1; passed(c, p); }); }
            else { put!(o, "rescue segment", g, |n: &mut St, _p: &mut Pr| { n.sg[g as usize] = 1 << k; n.se |= 1 << g; }, |n: &mut St, _p: &mut Pr| n.lsg |= 1 << g, |_n: &mut St, p: &mut Pr| { p.b[2] += 1; p.pc = 16; }) } }
        20 if m.undel != 255 => o.go("undelete acknowledged", m.undel as u32, |n, p| { n.nf &= !(1 << m.undel); halt(p); }),
        20 => {
            let post = c.v.post_check && !hasf(c, "no-final-check") && !hasf(c, "check-before-put");
            o.go("B5 PUT snapshot", m.snap as u32, |n, p| { n.nc[m.snap as usize] = m.need; n.ne |= 1 << m.snap; p.b[1] = 1; p.pc = if post { 10 } else { 22 }; });
            if s.bz > 0 {
                o.go("B5 PUT snapshot (a duplicate stays under way)", m.snap as u32, |n, p| { n.nc[m.snap as usize] = m.need; n.ne |= 1 << m.snap; n.lsn |= 1 << m.snap; n.bz -= 1; p.b[1] = 1; p.pc = if post { 10 } else { 22 }; });
                o.go("B5 PUT snapshot TIMES OUT, still under way; the run gives up", m.snap as u32, |n, p| { n.nc[m.snap as usize] = m.need; n.lsn |= 1 << m.snap; n.bz -= 1; p.w = Default::default(); p.b = [0; 9]; p.pc = if hasf(c, "giveup-deletes-pending") || !c.v.tomb_giveup { 25 } else { 24 }; });
            }
        }
        22 => o.go("success reported; DELETE pending", m.snap as u32, |n, p| { n.na[m.snap as usize] = m.need; n.de &= !m.delp; halt(p); }),
        24 => o.go("PUT own tombstone, run fails", m.snap as u32, |n, p| { n.nt |= 1 << m.snap; n.ng |= 1 << m.snap; halt(p); }),
        25 => o.go("run fails; DELETE pending", m.snap as u32, |n, p| { n.de &= !m.delp; halt(p); }),
        _ => {}
    }
}
// live chunks of snapshots; Err = unreadable
fn live_snaps(c: &C, s: &St, ix: PM, omit: u8, hollow: u8) -> Result<u8, ()> {
    let mut l = 0; let have = cof(s, ix & s.pe);
    for k in 0..NN { if s.ne & !s.nt & !omit & (1 << k) != 0 { let r = s.nc[k]; if r & LEAF & !have != 0 { if hasf(c, "skip-unreadable") { continue; } return Err(()); } l |= below(r, hollow); } }
    Ok(l)
}
// a pending whose snapshot is committed, or forgotten by a user, is no root of its own; that of a run that gave up stays one
fn spent(c: &C, s: &St) -> u8 { (0..ND).filter(|&d| { let k = c.ps[d]; if k as usize >= NN { return false; } if s.nt >> k & 1 == 1 { s.ng >> k & 1 == 0 } else { s.ne >> k & 1 == 1 } }).fold(0, |a, d| a | 1 << d) }
fn live_pends(c: &C, s: &St, ix: PM, mask: u8, hollow: u8) -> Result<u8, ()> {
    let mut l = 0; let have = cof(s, ix & s.pe);
    for k in 0..ND { if s.de & mask & (1 << k) != 0 { let r = s.dc[k]; if r & LEAF & !have != 0 { if c.v.pend_skip && !hasf(c, "pending-aborts") { continue; } return Err(()); } l |= below(r, hollow); } }
    Ok(l)
}
// what roots need, by what was listed (index, packs) and by the packs that are there when nodes are read
fn marked(s: &St, ix: PM, packs: PM, snaps: u8, pends: u8, marks: &mut (u8, u8)) -> Result<u8, ()> {
    let (have, there) = (cof(s, ix & s.pe), cof(s, packs)); let mut l = 0; let mut hollow = 0;
    for k in 0..NN { if snaps >> k & 1 == 1 { if s.nc[k] & LEAF & !have != 0 { return Err(()); } l |= s.nc[k]; } }
    for k in 0..ND { if pends >> k & 1 == 1 { let r = s.dc[k]; if r & LEAF & !have != 0 { hollow |= r & LEAF & there; continue; } if r & !there == 0 { marks.0 |= 1 << k; } l |= r; } }
    marks.1 = hollow & !l; Ok(l)
}
// what is marked of a root, where nothing is looked for below these leaves
fn below(r: u8, hollow: u8) -> u8 { if r & hollow != 0 && r & LEAF & !hollow == 0 { r & LEAF } else { r } }
// b0 own record put?, b1 live, b2 pendings listed, b3 chunks to copy; at G4 stale and spent pendings, b4 snapshots tombstoned at G4 (before G3: records
// seen), b5 pages, b6 snapshots seen at G1, b7 leaves that count as walked though nothing below them was found (a fault), b8 pendings all of which was marked
// at G1; behind G4 stale and spent ones; w0 older named, w1 index, w2 named at G4, w3 packs to condemn / delete, w4 adopted record + 1
fn collector(c: &C, o: &mut Out, pk: u8, sg: u8, rec: u8) {
    let s = o.s; let p = s.p[o.i]; let perm = c.v.permanent;
    let norm = |n: &St, p: &mut Pr, live: u8, ixp: PM| { let _ = (n, live, ixp); p.pc = 0; };
    let _ = norm;
    match p.pc {
        // G1 in steps: roots; index, packs, records; then the marks, which read leaves out of packs that may be gone by then
        0 if c.steps => o.go("G1 LIST pending, snapshots, tombstones", 0, |n, p| { p.b[2] = n.de & !n.ds & !spent(c, n); p.b[6] = n.ne & !n.nt; p.pc = 61; }),
        61 => o.go("G1 LIST index, packs, records", 0, |n, p| { p.w[1] = idx(n); p.w[2] = n.pe; p.w[0] = named(c, n); p.pc = 62; }),
        0 | 62 => {
            if !perm { for r in 0..NR as u8 { if r != rec && s.re & !s.rd & (1 << r) != 0 { let ix = idx(s); o.go("gc takes up open record", r as u32, |n, p| { p.w[4] = r as PM + 1; p.w[1] = ix; p.b[5] = n.hz; p.pc = 4; }); } } }
            let mut ixs: Vec<(PM, bool)> = vec![(idx(s), false)];
            if s.bh > 0 && c.short & 16 != 0 { for g in 0..NS { if s.se >> g & 1 == 1 { ixs.push((idxm(s, s.se & !(1 << g)), true)); } } }
            if c.split { for m in [c.orig, !c.orig] { ixs.push((idxm(s, s.se & m), true)); } } // adversarial: a page read before the merge, the other after it
            if c.steps { ixs = vec![(p.w[1], false)]; }
            for (ix, short) in ixs {
                let mut marks = (0u8, 0u8); // pendings all of which was found; nodes that are needed and below which nothing was found
                let live = if c.steps { marked(s, ix, p.w[2], p.b[6], p.b[2], &mut marks) } else { live_snaps(c, s, ix, 0, 0).and_then(|a| live_pends(c, s, ix, !s.ds & !spent(c, s), 0).map(|b| a | b)) };
                let Ok(live) = live else { o.go("G1 root unreadable: abort", 0, |_n, p| halt(p)); continue };
                let (nm, there) = if c.steps { (p.w[0], p.w[2]) } else { (named(c, s), s.pe) };
                let listed = if c.v.exist { there } else { !0 };
                let mut plans: Vec<(PM, u8)> = vec![];
                let orph = if c.v.pub_idx { there & !ix & !nm } else { 0 };
                let good = ix & listed & !nm;
                let unread = hasf(c, "orphan-unread");
                let mut base: u8 = 0; // chunks to copy out of named packs
                if perm && !hasf(c, "kept-no-copy") { base = live & !cof(s, good) & cof(s, ix & there | orph); }
                let dead: PM = bits(good | orph).filter(|&q| s.pk[q] & live == 0 || (unread && orph >> q & 1 == 1)).fold(0, |a, q| a | 1 << q);
                plans.push((dead, base));
                // everything that is not wholly live, and all orphans, repacked
                let mixed: PM = bits(good | orph).filter(|&q| s.pk[q] & !live != 0 || orph >> q & 1 == 1).fold(0, |a, q| a | 1 << q);
                plans.push((mixed, (live & cof(s, mixed) & !cof(s, good & !mixed)) | base));
                // small packs that are wholly live are gathered into a new one
                if c.steps { plans.push((0, base)); } // all are young, or not worth it
                if c.gather { plans.push((good | orph, live & cof(s, good | orph) | base)); }
                for dir in 0..2 { // duplicates dropped, either order of preference
                    let mut keep = good & !dead; let list: Vec<usize> = if dir == 0 { bits(keep).collect() } else { let mut v: Vec<usize> = bits(keep).collect(); v.reverse(); v };
                    for q in list { if s.pk[q] & live & !cof(s, keep & !(1 << q)) == 0 { keep &= !(1 << q); } }
                    plans.push((good & !keep | dead, base));
                }
                plans.sort(); plans.dedup();
                for (cond, copy) in plans {
                    if cond == 0 && copy == 0 && (!perm || hasf(c, "own-records-only-deleted") || nm & there == 0) { continue; }
                    if copy & !cof(s, there) != 0 { continue; }
                    o.go(if c.steps { "G1 mark; plan: condemn" } else { "G1 LIST roots, index, packs; plan: condemn" }, cond as u32, |n, p| {
                        if c.steps { p.b[1] = live; p.b[2] = 0; p.w[2] = 0; p.b[7] = if hasf(c, "needed-is-walked") { marks.1 } else { 0 }; p.b[8] = marks.0; }
                        p.w[0] = if perm { nm } else { 0 }; p.w[1] = ix; p.b[5] = n.hz; p.w[3] = cond; if unread { p.w[5] = orph & cond; } p.b[3] = copy; if !c.steps { p.b[6] = if c.short & 2 != 0 { n.ne & !n.nt } else { 0 }; } if c.short & 65 != 0 { p.b[4] = n.re; } p.pc = if copy != 0 { 1 } else { 3 };
                        if short { n.bh = n.bh.saturating_sub(1); }
                        if hasf(c, "no-remark") || hasf(c, "remark-before-record") { p.b[1] = live; }
                    });
                }
            }
        }
        1 => if p.b[3] & !cof(s, s.pe) != 0 { o.go("G2 copy fails: abort", 0, |_n, p| halt(p)); }
             else { put!(o, "pack (G2 copy of live chunks)", pk, |n: &mut St, p: &mut Pr| { n.pk[pk as usize] = p.b[3]; n.pe |= 1 << pk; }, |n: &mut St, _p: &mut Pr| n.lpk |= 1 << pk, |_n: &mut St, p: &mut Pr| { p.b[3] = 0; p.pc = 2; }) },
        2 => put!(o, "segment (G2)", sg, |n: &mut St, _p: &mut Pr| { n.sg[sg as usize] = 1 << pk; n.se |= 1 << sg; }, |n: &mut St, _p: &mut Pr| n.lsg |= 1 << sg, |_n: &mut St, p: &mut Pr| { p.w[1] |= 1 << pk; p.pc = 3; }),
        3 => {
            if p.w[3] == 0 { o.go("(no new record)", 0, |_n, p| { p.b[4] = 0; p.pc = 4; }); }
            else if c.seen && p.b[4] == 0 { list_records(c, o, "G3 LIST condemned", 0, |_c, _n, p, m| p.b[4] = m | 0x80); }
            else {
                put!(o, "G3 record", rec, |n: &mut St, p: &mut Pr| { n.rp[rec as usize] = p.w[3]; if c.seen || c.short & 65 != 0 { let m = p.b[4] & 0x7f; n.rs[rec as usize] = m; n.rq[rec as usize] = next(n, m); } n.re |= 1 << rec; }, |n: &mut St, _p: &mut Pr| n.lrc |= 1 << rec, |_n: &mut St, p: &mut Pr| { p.w[3] = 0; p.b[4] = 0; p.b[0] = 1; p.w[4] = rec as PM + 1; p.pc = 4; });
                if hasf(c, "record-unconfirmed") && s.bz > 0 { o.go("PUT G3 record TIMES OUT, collector goes on", rec as u32, |n, p| { n.rp[rec as usize] = p.w[3]; n.lrc |= 1 << rec; n.bz -= 1; p.w[3] = 0; p.b[0] = 1; p.w[4] = rec as PM + 1; p.pc = 4; }); }
            }
        }
        // G4: roots. pc 4 = first listing, 5 = second
        4 if hasf(c, "no-remark") || hasf(c, "remark-before-record") => o.go("(roots not listed again)", 0, |_n, p| p.pc = 6),
        4 | 5 => {
            let pend = (p.pc == 4) == (c.v.pend_first);
            if pend {
                o.go("G4 LIST pending", 0, |n, p| { p.b[2] = n.de; p.b[3] = n.de & n.ds; p.pc += 1; if p.pc == 6 { p.pc = 55 } });
                if s.bh > 0 && c.short & 4 != 0 { for d in 0..ND { if s.de >> d & 1 == 1 { o.go("G4 LIST pending comes back SHORT", d as u32, |n, p| { n.bh -= 1; p.b[2] = n.de & !(1 << d); p.b[3] = n.de & n.ds & !(1 << d); p.pc += 1; if p.pc == 6 { p.pc = 55 } }); } } }
            } else {
                let pend_first = p.pc == 5;
                let mut omits = vec![0u8]; if s.bh > 0 && c.short & 2 != 0 { for k in 0..NN { if s.ne & !s.nt & (1 << k) != 0 { omits.push(1 << k); } } }
                let mut ixs = vec![(if c.v.indexed { idx(s) } else { p.w[1] | idx(s) }, 0u8)];
                if s.bh > 0 && c.short & 16 != 0 { for g in 0..NS { if s.se >> g & 1 == 1 { ixs.push((idxm(s, s.se & !(1 << g)), 1)); } } }
                for om in omits { for &(ix, sh) in &ixs {
                    if om != 0 && sh != 0 { continue; }
                    let name = if om == 0 { "G4 LIST snapshots, tombstones" } else { "G4 LIST snapshots comes back SHORT" };
                    let gone = c.v.rootdiff && !hasf(c, "short-roots-trusted") && p.b[6] & om != 0;
                    match live_snaps(c, s, ix, om, p.b[7]) {
                        Err(()) => o.go("G4 root unreadable: abort", 0, |_n, p| halt(p)),
                        Ok(_) if gone => o.go("G4 a snapshot of G1 is missing: abort", 0, |n, p| { n.bh -= 1; halt(p) }),
                        Ok(l) => o.go(name, 0, |n, p| { if om != 0 || sh != 0 { n.bh -= 1; } p.b[1] |= l; p.b[4] = n.ne & n.nt; p.b[6] = 0; if pend_first { p.b[3] |= p.b[2] & spent(c, n); } p.pc += 1; if p.pc == 6 { p.pc = 55 } }),
                    }
                } }
            }
        }
        55 => { // read the pendings that were listed
            // Stale ones and spent ones (b3) are no roots. What G1 has marked in whole (b8) is not read again.
            let read = p.b[2] & !p.b[3] & !p.b[8];
            if read & !s.de != 0 && c.v.gone_restart { o.go("G4 a listed pending is gone: list again", 0, |_n, p| { if !c.steps { p.b[1] = 0; } p.b[2] = 0; p.b[3] = 0; p.b[4] = 0; p.pc = 4; }); }
            else { let ix = if c.v.indexed { idx(s) } else { p.w[1] | idx(s) };
                match live_pends(c, s, ix, read, p.b[7]) { Err(()) => o.go("G4 pending unreadable: abort", 0, |_n, p| halt(p)), Ok(l) => o.go("G4 GET pendings", 0, |_n, p| { p.b[1] |= l; p.b[2] = 0; p.b[7] = 0; p.b[8] = p.b[3]; p.b[3] = 0; p.pc = 6; }) } }
        }
        // 6 and 7: index + packs, then records (idx_first); or records, then index + packs
        6 | 7 => {
            let idxf = c.v.idx_first && !hasf(c, "records-before-index");
            let recs = (p.pc == 7) == idxf; let last = p.pc == 7;
            let decide = |n: &St, p: &Pr| -> PM {
                let adopted = if p.w[4] != 0 { n.rp[p.w[4] as usize - 1] } else { 0 };
                let mut cands = adopted;
                if perm && !hasf(c, "own-records-only-deleted") { cands |= p.w[0]; }
                if hasf(c, "late-record-deleted") { cands |= p.w[2]; }
                let own: PM = if hasf(c, "own-copies-trusted") && n.pk[pk as usize] != 0 { 1 << pk } else { 0 };
                let wit = own | p.w[1] & !p.w[2] & !(if hasf(c, "reuse-kept") { 0 } else { adopted });
                let mut keep: PM = 0; let have = cof(n, wit); // contents by segments or footers; an orphan not read counts as empty
                for x in 0..8 { if p.b[1] & !have & (1 << x) != 0 { for q in bits(cands) { if n.pk[q] >> x & 1 == 1 && p.w[5] >> q & 1 == 0 { keep |= 1 << q; } } } }
                cands & !keep
            };
            let fin = |p: &mut Pr, del: PM| { let (b4, b8, w4) = (p.b[4], p.b[8], p.w[4]); p.b = [0; 9]; p.w = Default::default(); p.b[4] = b4; p.b[8] = b8; p.w[4] = w4; p.w[3] = del; p.pc = 8; };
            if recs {
                let own = hasf(c, "own-only");
                list_records(c, o, if last { "G4 LIST condemned; delete" } else { "G4 LIST condemned" }, 64, move |c, n, p, m| {
                    p.w[2] = if own { n.rp[rec as usize] } else { named_of(c, n, m) };
                    if !perm && n.hz > p.b[5] { if last { p.w[1] &= n.pe; } else { p.b[0] = 2; } }
                    if last { let del = decide(n, p); fin(p, del); } else { p.pc = 7; }
                });
            } else {
                let mut ixs: Vec<(PM, PM, bool)> = vec![(idx(s), s.pe, false)];
                if s.bh > 0 && c.short & 16 != 0 { for g in 0..NS { if s.se >> g & 1 == 1 { ixs.push((idxm(s, s.se & !(1 << g)), s.pe, true)); } } }
                if s.bh > 0 && c.short & 32 != 0 { for q in 0..NP { if s.pe >> q & 1 == 1 { ixs.push((idx(s), s.pe & !(1 << q), true)); } } }
                if c.split { for m in [c.orig, !c.orig] { ixs.push((idxm(s, s.se & m), s.pe, true)); } }
                for (ix, listed, short) in ixs {
                    let mut n2 = p;
                    n2.w[1] = (if hasf(c, "unindexed-witness") { s.pe } else if c.v.indexed { ix } else { p.w[1] }) & if c.v.exist && !hasf(c, "ghost-witness") { listed } else { !0 } & if p.b[0] == 2 { s.pe } else { !0 };
                    if last { let del = decide(s, &n2); o.go(if short { "G4 LIST index, packs (SHORT or torn); delete" } else { "G4 LIST index, packs; delete" }, del as u32, |n, p| { if short { n.bh = n.bh.saturating_sub(1); } *p = n2; fin(p, del); }); }
                    else { o.go(if short { "G4 LIST index, packs (SHORT or torn)" } else { "G4 LIST index, packs" }, 0, |n, p| { if short { n.bh = n.bh.saturating_sub(1); } *p = n2; p.pc = 7; }); }
                }
            }
        }
        8 => {
            let d = if perm { p.w[3] & s.pe } else { p.w[3] & s.pe };
            if d == 0 { o.go("G5 done", 0, |n, p| {
                if p.w[4] != 0 && (!perm || c.f & F_REUSE != 0) { let r = p.w[4] as usize - 1; n.rd |= 1 << r; n.rk[r] = n.rp[r] & !p.w[3]; }
                if hasf(c, "drop-records") && p.w[4] != 0 { let r = p.w[4] as usize - 1; if n.rp[r] & n.pe == 0 { n.re &= !(1 << r); } }
                if c.v.man_del { p.pc = 9; p.w = Default::default(); } else { halt(p) } }); }
            else { let q = d.trailing_zeros();
                o.go("G5 DELETE pack", q, |n, _p| { n.pe &= !(1 << q); });
                if s.bz > 0 { o.go("G5 DELETE pack (a duplicate stays under way)", q, |n, _p| { n.pe &= !(1 << q); n.lpd |= 1 << q; n.bz -= 1; }); } }
        }
        9 => { let d = p.b[4] & s.ne; if d != 0 || s.de & p.b[8] != 0 { o.go("G5 DELETE manifests of forgotten snapshots, stale and spent pendings", d as u32, |n, p| { n.ne &= !d; n.de &= !p.b[8]; halt(p) }); } else { o.go("G5 end", 0, |_n, p| halt(p)); } }
        _ => {}
    }
}
fn merger(c: &C, o: &mut Out, sg: u8) {
    let s = o.s; let p = s.p[o.i];
    match p.pc {
        0 if hasf(c, "merge-drops-absent") && p.b[0] == 0 => o.go("merge: LIST packs", 0, |n, p| { p.w[3] = !n.pe; p.b[0] = 1; }),
        0 => if s.se.count_ones() >= 1 { o.go("merge: LIST index, read all", 0, |n, p| { p.w[0] = n.se; p.w[1] = idx(n); p.pc = 1; if hasf(c, "merge-drops-absent") { p.w[1] &= !p.w[3]; p.w[3] = 0; p.b[0] = 0; p.pc = 3; } }); },
        1 => { o.go("merge: LIST condemned", 0, |n, p| { p.w[2] = if c.v.permanent { named(c, n) } else { let mut d = 0; for r in 0..NR { if n.re & n.rd & (1 << r) != 0 { d |= n.rp[r] & !n.rk[r]; } } d }; p.pc = if c.v.permanent { 2 } else { 3 }; }); }
        2 => o.go("merge: GET says which named packs are gone", 0, |n, p| { p.w[2] &= !n.pe; p.pc = 3; }),
        3 if hasf(c, "merge-deletes-first") => { let d = p.w[0] & s.se; if d == 0 { o.go("merge: PUT merged segment", sg as u32, |n, p| { n.sg[sg as usize] = p.w[1] & !p.w[2]; n.se |= 1 << sg; halt(p) }); } else { let g = d.trailing_zeros(); o.go("merge: DELETE segment", g, |n, _p| n.se &= !(1 << g)); } }
        3 => put!(o, "merged segment", sg, |n: &mut St, p: &mut Pr| { n.sg[sg as usize] = p.w[1] & !p.w[2]; n.se |= 1 << sg; }, |n: &mut St, _p: &mut Pr| n.lsg |= 1 << sg, |_n: &mut St, p: &mut Pr| { p.w[1] = 0; p.w[2] = 0; p.pc = 4; }),
        4 => { let d = if hasf(c, "merge-deletes-all") { s.se & !(1 << sg) } else { p.w[0] & s.se }; if d == 0 { o.go("merge: end", 0, |_n, p| halt(p)); } else { let g = d.trailing_zeros(); o.go("merge: DELETE segment", g, |n, _p| n.se &= !(1 << g)); } }
        _ => {}
    }
}
fn bits(m: PM) -> impl Iterator<Item = usize> { let mut m = m; std::iter::from_fn(move || { if m == 0 { None } else { let i = m.trailing_zeros() as usize; m &= m - 1; Some(i) } }) }
fn env(c: &C, s: &St, out: &mut Vec<(St, Lab)>) {
    let mut go = |l: &'static str, a: u32, f: &dyn Fn(&mut St)| { let mut n = s.clone(); f(&mut n); out.push((n, (255, l, a))); };
    for q in bits(s.lpk) { go("LATE: PUT pack is applied", q as u32, &|n| { n.lpk &= !(1 << q); n.pe |= 1 << q; }); }
    for q in bits(s.lpd) { go("LATE: DELETE pack is applied", q as u32, &|n| { n.lpd &= !(1 << q); n.pe &= !(1 << q); }); }
    for q in bits(s.lsg) { go("LATE: PUT segment is applied", q as u32, &|n| { n.lsg &= !(1 << q); n.se |= 1 << q; }); }
    for q in bits(s.lrc as PM) { go("LATE: PUT record is applied", q as u32, &|n| { n.lrc &= !(1 << q); n.re |= 1 << q; }); }
    for q in bits(s.lsn as PM) { go("LATE: PUT snapshot is applied", q as u32, &|n| { n.lsn &= !(1 << q); n.ne |= 1 << q; }); }
    for q in bits(s.ltp as PM) { go("LATE: PUT tombstone is applied", q as u32, &|n| { n.ltp &= !(1 << q); n.nt |= 1 << q; }); }
    for q in bits(s.ltd as PM) { go("LATE: DELETE tombstone is applied", q as u32, &|n| { n.ltd &= !(1 << q); n.nt &= !(1 << q); }); }
    for q in bits(s.lpe as PM) { go("LATE: PUT pending is applied", q as u32, &|n| { n.lpe &= !(1 << q); n.de |= 1 << q; }); }
    if s.bs > 0 { for q in bits((s.de & !s.ds) as PM) { go("AGE: pending counts as stale", q as u32, &|n| { n.ds |= 1 << q; n.bs -= 1; }); } }
    if s.bl > 0 { let early = (0..NPR).all(|i| match c.k[i] { K::B { .. } | K::Q { .. } => s.p[i].pc <= 3, K::G { .. } => s.p[i].pc <= 6 || s.p[i].pc == 55 || s.p[i].pc == END, _ => true });
        if early { for q in bits(s.pe) { go("STORE LOSES pack", q as u32, &|n| { n.pe &= !(1 << q); n.bl -= 1; for k in 0..NN { let a = n.na[k]; if a != 0 && a & !cof(n, n.pe & idx(n)) != 0 { n.ex |= 1 << k; } } }); } } }
}
fn bad(c: &C, s: &St) -> Option<String> {
    let all = cof(s, s.pe); let find = cof(s, s.pe & idx(s));
    for k in 0..NN {
        let a = s.na[k]; let m = 1u8 << k;
        if a != 0 && s.nf & m == 0 && s.ex & m == 0 {
            if s.ne & m == 0 { return Some(format!("LOST: manifest of acknowledged snapshot {k} is gone")); }
            if s.nc[k] != a { return Some(format!("LOST: acknowledged snapshot {k} was overwritten by another")); }
            if a & !all != 0 { return Some(format!("LOST: acknowledged snapshot {k} lacks chunks {:#x}", a & !all)); }
            if a & !find != 0 { return Some(format!("UNFINDABLE: chunks {:#x} of acknowledged snapshot {k} are in no indexed pack", a & !find)); }
        }
        if c.level2 && s.ne & !s.nt & m != 0 && s.nc[k] & !find != 0 && s.ex & m == 0 && s.bl == c.init.bl { return Some(format!("VISIBLE BUT BROKEN: snapshot {k} lacks chunks {:#x}", s.nc[k] & !find)); }
    }
    if c.live { if let Some(e) = quiet(c, s) { return Some(e); } }
    None
}
// everything stops; late requests never come; pendings have aged: two collections one after the other, nothing else running
fn quiet(c: &C, s0: &St) -> Option<String> {
    let mut s = s0.clone(); s.ds = s.de; s.bz = 0; s.bs = 0; s.bl = 0; s.bh = 0;
    if hasf(c, "pending-aborts") { s.ds = 0; }
    let mut nm = named(c, &s); let mut extra: Vec<(u8, bool)> = vec![]; // packs made by the collections: content, exists
    if !c.v.permanent { // as written: only whether collection still works at all
        let r = live_snaps(c, &s, idx(&s), 0, 0); return if r.is_err() { Some("STUCK: every collection aborts, a root is unreadable".into()) } else { None };
    }
    for round in 0..2 {
        let ix = idx(&s);
        let ex = |extra: &Vec<(u8, bool)>| extra.iter().filter(|e| e.1).fold(0, |a, e| a | e.0);
        let have = cof(&s, s.pe) | ex(&extra); // footers of unindexed packs are read
        let mut live = 0;
        for k in 0..NN { if s.ne & !s.nt & (1 << k) != 0 { if s.nc[k] & !have | s.nc[k] & LEAF & !(cof(&s, s.pe & ix) | ex(&extra)) != 0 { if s0.na[k] == 0 && (c.init.bs > s0.bs || (c.init.bs > 0 && c.init.bz > s0.bz)) { return None; } /* the bounded exception: see README.md */ return Some(format!("STUCK: every collection aborts, snapshot {k} is unreadable")); } live |= s.nc[k]; } }
        if hasf(c, "pending-aborts") { for k in 0..ND { if s.de >> k & 1 == 1 && s.dc[k] & LEAF & !have != 0 { return Some("STUCK: every collection aborts, a pending is unreadable".into()); } } }
        if hasf(c, "own-records-only-deleted") && nm & s.pe & !live_only(&s, live) != 0 && round == 1 { return Some("GARBAGE: packs of a crashed collector's record stay".into()); }
        // plan: keep a minimal set of wholly live packs, copy the rest
        let good = ix & s.pe & !nm; let mut keep: PM = bits(good).filter(|&q| s.pk[q] & !live == 0 && s.pk[q] != 0).fold(0, |a, q| a | 1 << q);
        for q in bits(keep) { if s.pk[q] & !(cof(&s, keep & !(1 << q)) | ex(&extra)) == 0 { keep &= !(1 << q); } }
        let mut copy = live & !(cof(&s, keep) | ex(&extra)) & have;
        if hasf(c, "kept-no-copy") { copy &= cof(&s, s.pe & !nm & !keep); }
        if copy != 0 { extra.push((copy, true)); }
        nm |= s.pe & !keep;
        // final decision
        let wit = cof(&s, s.pe & ix & !nm) | ex(&extra);
        let mut del = nm & s.pe; for x in 0..8 { if live >> x & 1 == 1 && wit >> x & 1 == 0 { for q in bits(del) { if s.pk[q] >> x & 1 == 1 { del &= !(1 << q); } } } }
        if hasf(c, "own-records-only-deleted") { del &= !named(c, s0); }
        s.pe &= !del; s.ne &= !s.nt; s.de &= !s.ds;
        if round == 1 {
            if s.pe & nm != 0 { return Some(format!("GARBAGE: named packs {:#x} stay", s.pe & nm)); }
            for q in bits(s.pe) { if s.pk[q] & !live != 0 { return Some(format!("GARBAGE: pack {q} holds dead chunks")); } }
            let mut seen = 0; for q in bits(s.pe) { if s.pk[q] & !seen == 0 && cof(&s, s.pe & !(1 << q)) | ex(&extra) | s.pk[q] == cof(&s, s.pe & !(1 << q)) | ex(&extra) { return Some(format!("GARBAGE: pack {q} is a duplicate")); } seen |= s.pk[q]; }
            if live & !(cof(&s, s.pe & ix) | ex(&extra)) & have != 0 { return Some("LOST in quiet collection".into()); }
        }
    }
    None
}
fn live_only(s: &St, live: u8) -> PM { bits(s.pe).filter(|&q| s.pk[q] & live != 0).fold(0, |a, q| a | 1 << q) }

// ---------- search
struct H(u64);
impl Hasher for H {
    fn finish(&self) -> u64 { let r = (self.0 ^ 0x9E3779B97F4A7C15) as u128 * 0xD6E8FEB86659FD93u128; (r as u64) ^ (r >> 64) as u64 }
    fn write(&mut self, b: &[u8]) { for ch in b.chunks(8) { let mut x = [0u8; 8]; x[..ch.len()].copy_from_slice(ch); self.write_u64(u64::from_le_bytes(x)); } }
    fn write_u64(&mut self, v: u64) { let r = (self.0 ^ v ^ 0xA0761D6478BD642F) as u128 * 0xE7037ED1A0B428DBu128; self.0 = ((r as u64) ^ (r >> 64) as u64).rotate_left(23).wrapping_add(v); }
    fn write_u8(&mut self, v: u8) { self.write_u64(v as u64) } fn write_u16(&mut self, v: u16) { self.write_u64(v as u64) } fn write_u32(&mut self, v: u32) { self.write_u64(v as u64) } fn write_usize(&mut self, v: usize) { self.write_u64(v as u64) }
}
fn fp(s: &St) -> u64 { let mut h = H(0x1234567); s.hash(&mut h); let f = h.finish(); if f == 0 { 1 } else { f } }
struct Tab { v: Vec<(u64, u64)>, n: usize }
impl Tab {
    fn new() -> Tab { Tab { v: vec![(0, 0); 1 << 16], n: 0 } }
    fn slot(&self, f: u64) -> usize { let m = self.v.len() - 1; let mut i = f as usize & m; while self.v[i].0 != 0 && self.v[i].0 != f { i = (i + 1) & m; } i }
    fn add(&mut self, f: u64, par: u64) -> bool { let i = self.slot(f); if self.v[i].0 == f { return false; } self.v[i] = (f, par); self.n += 1;
        if self.n * 10 > self.v.len() * 7 { let old = std::mem::replace(&mut self.v, vec![]); self.v = vec![(0, 0); old.len() * 2]; for e in old { if e.0 != 0 { let j = self.slot(e.0); self.v[j] = e; } } } true }
    fn par(&self, f: u64) -> u64 { self.v[self.slot(f)].1 }
}
fn succ(c: &C, s: &St, out: &mut Vec<(St, Lab)>) { out.clear(); for i in 0..NPR { if c.k[i] != K::None { step(c, s, i, out); } } env(c, s, out); }
enum R { Ok(usize, bool), Bad(usize, String, Vec<Lab>) }
fn bfs(c: &C, max: usize) -> R {
    let mut t = Tab::new(); let f0 = fp(&c.init); t.add(f0, 0);
    let mut fr = vec![c.init.clone()]; let mut nx: Vec<St> = vec![]; let mut out = vec![];
    if let Some(e) = bad(c, &c.init) { return R::Bad(1, e, vec![]); }
    while !fr.is_empty() {
        for s in &fr {
            let f = fp(s); succ(c, s, &mut out);
            for (n, _) in out.drain(..) {
                let g = fp(&n);
                if t.add(g, f) {
                    if let Some(e) = bad(c, &n) {
                        let mut chain = vec![g]; let mut x = g; while t.par(x) != 0 { x = t.par(x); chain.push(x); } chain.reverse();
                        let mut cur = c.init.clone(); let mut tr = vec![]; let mut o2 = vec![];
                        for w in &chain[1..] { succ(c, &cur, &mut o2); let (a, l) = o2.iter().find(|(a, _)| fp(a) == *w).unwrap().clone(); tr.push(l); cur = a; }
                        return R::Bad(t.n, e, tr);
                    }
                    nx.push(n);
                }
            }
            if t.n > max { return R::Ok(t.n, false); }
        }
        fr = std::mem::take(&mut nx);
    }
    R::Ok(t.n, true)
}
fn pname(c: &C, i: u8) -> String { if i == 255 { return "   *".into(); } match c.k[i as usize] { K::B { .. } => format!("B{i}"), K::Q { .. } => format!("Resume{i}"), K::G { .. } => format!("GC{i}"), K::F { .. } => format!("Forget{i}"), K::U { .. } => format!("Undel{i}"), K::M { .. } => format!("Merge{i}"), K::I { .. } => format!("Rebuild{i}"), K::D => format!("Drop{i}"), K::Z { .. } => format!("Fold{i}"), K::None => "-".into() } }
fn show(c: &C, tr: &[Lab]) { let mut last = String::new(); for (i, l, a) in tr { let n = pname(c, *i); println!("      {:<8} {} [{:#x}]", if n == last { String::new() } else { n.clone() }, l, a); last = n; } }

// ---------- scenarios. chunks: 1 = x, 2 = y, 4 = z, 0x20 = leaf of S0, 0x40 = leaf of new data
fn base(packs: &[u8], segs: &[PM], snaps: &[u8]) -> St {
    let mut s = St::default();
    for (i, &p) in packs.iter().enumerate() { s.pk[i] = p; s.pe |= 1 << i; }
    for (i, &p) in segs.iter().enumerate() { s.sg[i] = p; s.se |= 1 << i; }
    for (i, &p) in snaps.iter().enumerate() { s.nc[i] = p; s.na[i] = p; s.ne |= 1 << i; }
    s
}
fn mk(name: &str, v: V, init: St, ks: &[K]) -> C {
    let mut k = [K::None; NPR]; let mut ps = [255; ND];
    for (i, x) in ks.iter().enumerate() {
        k[i] = *x;
        match *x { K::B { snap, pend, mid, midp, .. } => { ps[pend as usize] = snap; if mid != 0 { ps[midp as usize] = snap; } } K::Q { snap, pend, .. } | K::U { new: snap, pend, .. } => ps[pend as usize] = snap, _ => {} }
    }
    C { cpage: 0, name: name.into(), v, f: 0, k, init, split: false, listing: false, level2: false, live: false, short: 0, orig: 0, adopt: 0, steps: false, gather: false, seen: false, torn: false, ps } }
const L0: u8 = 0x20; const L1: u8 = 0x40;
fn b(need: u8, reuse: u8, snap: u8, pend: u8, pk: u8) -> K { K::B { need, reuse, src: need, snap, pend, mid: 0, midp: 0, pk, sg: pk } }
fn stream(need: u8, snap: u8, pend: u8, pk: u8) -> K { K::B { need, reuse: 0, src: 0, snap, pend, mid: 0, midp: 0, pk, sg: pk } }
fn g(pk: u8, rec: u8) -> K { K::G { pk, sg: pk, rec } }
fn scenarios(v: V) -> Vec<C> {
    let mut r = vec![];
    // S0 = leaf l + x; P0 holds x and garbage y, P1 the leaf
    let i0 = || base(&[1 | 2, L0], &[3], &[1 | L0]);
    let inc = || b(1 | L0 | 4, 1, 1, 0, 4); // reuses leaf l with x, adds z
    let d = K::D; let m = |sg: u8| K::M { sg };
    let mut add = |c: C| r.push(c);
    add(C { live: true, level2: true, ..mk("b-f-g", v, i0(), &[inc(), K::F { snap: 0 }, g(13, 0)]) });
    add(C { live: true, ..mk("bs-f-g-g", v, i0(), &[K::B { need: 1 | L0, reuse: 1, src: 0, snap: 1, pend: 0, mid: 0, midp: 0, pk: 4, sg: 4 }, K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    add(C { live: true, level2: true, ..mk("b-f-g-g", v, i0(), &[inc(), K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    add(C { live: true, ..mk("b-b-f-g", v, i0(), &[inc(), K::B { need: 1 | 2 | L1, reuse: 0, src: 1 | 2 | L1, snap: 2, pend: 1, mid: 0, midp: 0, pk: 8, sg: 8 }, K::F { snap: 0 }, g(13, 0)]) });
    // duplicates in several packs, three collectors
    let id = || base(&[1, 1 | 2, L0, 1 | L0], &[7, 8], &[1 | L0]);
    add(C { live: true, ..mk("dup-g-g-g", v, id(), &[g(13, 0), g(14, 1), g(15, 2)]) });
    add(C { live: true, ..mk("dup-b-g-g", v, id(), &[b(1 | L0, 1, 1, 0, 4), g(13, 0), g(14, 1)]) });
    add(C { live: true, ..mk("dup-b-f-g-g", v, base(&[1, 1 | 2, L0], &[7], &[1 | L0]), &[b(1 | L0, 1, 1, 0, 4), K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    // age guess, resume points
    let mut s = i0(); s.bs = 1;
    add(C { live: true, ..mk("stale-b-f-g", v, s.clone(), &[inc(), K::F { snap: 0 }, g(13, 0)]) });
    add(C { ..mk("stale-b-f-g-g", v, s.clone(), &[stream(1 | L0, 1, 0, 4), K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    let bm = K::B { need: 1 | L0 | 4, reuse: 1, src: 0x1f | L0, snap: 1, pend: 0, mid: 1 | L0, midp: 1, pk: 4, sg: 4 };
    let q = K::Q { need: 1 | L0 | 2 | 8, src: 2 | 8, snap: 2, of: 1, ofp: 3, pend: 2, pk: 8, sg: 8 };
    add(C { level2: true, ..mk("resume-b-q-f-g", v, i0(), &[bm, q, K::F { snap: 0 }, g(13, 0)]) });
    add(C { ..mk("resume-stale-b-q-f-g", v, s.clone(), &[bm, q, K::F { snap: 0 }, g(13, 0)]) });
    // undelete
    let u = K::U { snap: 0, new: 3, pend: 3, pk: 11, sg: 11 };
    add(C { live: true, ..mk("f-u-g-g", v, i0(), &[K::F { snap: 0 }, u, g(13, 0), g(14, 1)]) });
    add(C { live: true, v: V { man_del: true, ..v }, ..mk("f-u-g-g-mandel", v, i0(), &[K::F { snap: 0 }, u, g(13, 0), g(14, 1)]) });
    add(C { ..mk("b-f-u-g", v, i0(), &[inc(), K::F { snap: 0 }, u, g(13, 0)]) });
    // segments merged, records dropped
    let i2 = || base(&[1, 1 | 2, L0], &[1, 6], &[1 | L0]);
    add(C { live: true, ..mk("merge-b-f-g", v, i2(), &[inc(), K::F { snap: 0 }, g(13, 0), m(2)]) });
    add(C { ..mk("merge-b-f-g-drop", v, base(&[1, L0], &[1, 2], &[1 | L0]), &[stream(1 | L1, 1, 0, 4), K::F { snap: 0 }, g(13, 0), m(2), d]) });
    add(C { ..mk("merge-m-g-g-drop", v, base(&[1, 1, L0], &[1, 6], &[1 | L0]), &[g(13, 0), g(14, 1), m(2), m(3), d]) });
    add(C { live: true, ..mk("merge-m-f-g-g", v, i2(), &[K::F { snap: 0 }, g(13, 0), g(14, 1), m(2), m(3)]) });
    add(C { split: true, orig: !0xc, ..mk("torn-b-f-g-m", v, i2(), &[inc(), K::F { snap: 0 }, g(13, 0), m(2)]) });
    add(C { split: true, orig: !0xc, ..mk("torn-g-g-m", v, base(&[1, 1 | 2, L0, 4], &[9, 6], &[1 | L0]), &[g(13, 0), g(14, 1), m(2)]) });
    // late requests
    let mut s = i0(); s.bz = 1;
    add(C { ..mk("late-b-f-g", v, s.clone(), &[inc(), K::F { snap: 0 }, g(13, 0)]) });
    add(C { ..mk("late-bs-f-g-g", v, s.clone(), &[stream(1 | L0, 1, 0, 4), K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    add(C { ..mk("late-f-u-g", v, s.clone(), &[K::F { snap: 0 }, u, g(13, 0)]) });
    add(C { live: true, level2: true, ..mk("late-giveup-b-f-g", v, s.clone(), &[inc(), K::F { snap: 0 }, g(13, 0)]) });
    let mut s2 = base(&[L0], &[1], &[L0]); s2.bz = 2; // one pack of new data, its PUT and a DELETE both late
    add(C { ..mk("late2-b-g-g-drop", v, s2.clone(), &[stream(1 | L0, 1, 0, 4), g(13, 0), g(14, 1), d]) });
    let mut s3 = i0(); s3.bz = 1;
    add(C { ..mk("late-b-f-g-m", v, s3, &[inc(), K::F { snap: 0 }, g(13, 0), m(2)]) });
    let mut s4 = i0(); s4.bz = 2;
    add(C { ..mk("late2-b-f-g", v, s4.clone(), &[inc(), K::F { snap: 0 }, g(13, 0)]) });
    add(C { ..mk("late2-f-u-g", v, s4, &[K::F { snap: 0 }, u, g(13, 0)]) });
    // lost packs and the store's listing
    let mut s5 = base(&[1, 1, L0], &[7], &[1 | L0]); s5.bl = 1;
    add(C { listing: true, ..mk("lost-b-f-g", v, s5.clone(), &[inc(), K::F { snap: 0 }, g(13, 0)]) });
    add(C { listing: true, ..mk("lost-g-g", v, s5, &[g(13, 0), g(14, 1)]) });
    // short listings
    for (nm, bitm) in [("short-check-records", 1u8), ("short-snapshots", 2), ("short-pending", 4), ("short-check-index", 8), ("short-gc-index", 16), ("short-gc-packs", 32)] {
        let mut s6: St = if bitm >= 16 { base(&[1, 1 | 2, L0], &[1, 6], &[1 | L0]) } else { i0() }; s6.bh = if bitm == 1 { 2 } else { 1 };
        if bitm == 2 { let mut t = base(&[1, 1 | 2, L0], &[7], &[1 | L0]); t.bh = 1; add(C { short: 2, ..mk(nm, v, t, &[g(13, 0), g(14, 1)]) }); continue; }
        add(C { short: bitm, ..mk(nm, v, s6, &[inc(), K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    }
    // a stale merge brings a dead pack's entries back after its record was dropped (an earlier text)
    add(C { ..mk("merge2-b-g-drop", v, base(&[2, L0], &[1, 2], &[L0]), &[stream(2, 1, 0, 4), g(13, 0), m(2), m(3), d]) });
    add(C { ..mk("mandel-f-u-g", v, i0(), &[K::F { snap: 0 }, u, g(13, 0)]) });
    add(C { level2: true, ..mk("order-b-b-f-g-g", v, base(&[L0], &[1], &[L0]), &[stream(L0, 1, 0, 4), K::B { need: L0, reuse: 0, src: L0, snap: 2, pend: 1, mid: 0, midp: 0, pk: 8, sg: 8 }, K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    let z = K::Z { rec: 3 };
    add(C { cpage: 8, ..mk("fold-b-f-g-g-z", v, i0(), &[stream(1 | L0, 1, 0, 4), K::F { snap: 0 }, g(13, 0), g(14, 1), z]) });
    add(C { cpage: 8, ..mk("fold-dup-g-g-z", v, id(), &[g(13, 0), g(14, 1), g(15, 2), z]) });
    { let mut t = base(&[1, 1 | 2, L0], &[1, 6], &[1 | L0]); t.bh = 2; add(C { short: 16, ..mk("short2-gc-index", v, t.clone(), &[g(13, 0)]) }); add(C { short: 16, ..mk("short2-gc-index-b", v, t, &[g(13, 0), stream(1 | L0, 1, 0, 4)]) }); }
    // what the engine does beyond all this
    let part = |src: u8| K::B { need: 1 | L0 | 4, reuse: 1, src, snap: 1, pend: 0, mid: 4, midp: 1, pk: 4, sg: 4 };
    add(C { live: true, level2: true, ..mk("mid-b-f-g", v, i0(), &[part(0), K::F { snap: 0 }, g(13, 0)]) });
    add(C { live: true, ..mk("mid-b-f-g-g", v, i0(), &[part(0), K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    let io = || base(&[1 | 2, L0, 4, 1], &[3], &[1 | L0]); // z and another x in packs of dead runs
    add(C { live: true, level2: true, adopt: 2, ..mk("adopt-b-f-g", v, io(), &[inc(), K::F { snap: 0 }, g(13, 0)]) });
    add(C { live: true, adopt: 2, ..mk("adopt-b-g-g", v, io(), &[inc(), g(13, 0), g(14, 1)]) });
    add(C { adopt: 2, ..mk("adopt-b-f-g-m", v, base(&[1 | 2, L0, 4], &[1, 2], &[1 | L0]), &[inc(), K::F { snap: 0 }, g(13, 0), m(3)]) });
    add(C { live: true, adopt: 2, ..mk("adopt-b-b-g", v, base(&[1 | 2, L0, 4], &[3], &[1 | L0]), &[stream(1 | L0 | 4, 1, 0, 4), K::B { need: 4 | L1, reuse: 0, src: 4 | L1, snap: 2, pend: 1, mid: 0, midp: 0, pk: 8, sg: 8 }, g(13, 0)]) });
    let ig = || base(&[1, 2, L0], &[7], &[1 | 2 | L0]);
    add(C { live: true, gather: true, ..mk("gather-b-g-g", v, ig(), &[inc(), g(13, 0), g(14, 1)]) });
    add(C { live: true, gather: true, ..mk("gather-g-g-g", v, ig(), &[g(13, 0), g(14, 1), g(15, 2)]) });
    add(C { gather: true, ..mk("gather-bs-f-g-g", v, base(&[1, L0], &[3], &[1 | L0]), &[stream(1 | L0, 1, 0, 4), K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    // G1 in steps; what a dead run left of which a node goes while it is marked
    add(C { live: true, level2: true, steps: true, ..mk("steps-b-f-g", v, i0(), &[inc(), K::F { snap: 0 }, g(13, 0)]) });
    add(C { steps: true, ..mk("steps-bs-f-g-g", v, i0(), &[stream(1 | L0, 1, 0, 4), K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    let mut t = base(&[1, L1, L0], &[7], &[L0]); t.de = 4; t.dc[2] = 1 | L1; t.re = 8; t.rp[3] = 2; t.bs = 1;
    add(C { steps: true, ..mk("hollow-b-g-g", v, t, &[b(1 | L1, 0, 1, 0, 4), g(13, 0), g(14, 1)]) });
    // a snapshot that is forgotten while it is committed, undeletes of all kinds
    add(C { live: true, ..mk("b-f1-g-g", v, i0(), &[inc(), K::F { snap: 1 }, g(13, 0), g(14, 1)]) });
    add(C { ..mk("b-f1-u1-g", v, i0(), &[inc(), K::F { snap: 1 }, K::U { snap: 1, new: 3, pend: 3, pk: 11, sg: 11 }, g(13, 0)]) });
    add(C { live: true, ..mk("f-u-f-g", v, i0(), &[K::F { snap: 0 }, u, K::F { snap: 3 }, g(13, 0)]) });
    add(C { ..mk("f-u-u-g", v, i0(), &[K::F { snap: 0 }, u, K::U { snap: 0, new: 2, pend: 2, pk: 8, sg: 8 }, g(13, 0)]) });
    let mut t = i0(); t.bz = 1;
    add(C { ..mk("late-giveup-b-q-g", v, t, &[K::B { need: 1 | L0 | 4, reuse: 1, src: 0, snap: 1, pend: 0, mid: 0, midp: 0, pk: 4, sg: 4 }, K::Q { need: 1 | L0 | 4, src: 0, snap: 2, of: 1, ofp: 1, pend: 2, pk: 8, sg: 8 }, g(13, 0)]) });
    let mut t = i0(); t.bh = 2;
    add(C { short: 64, ..mk("short-gc-records", v, t, &[inc(), K::F { snap: 0 }, g(13, 0), g(14, 1)]) });
    // the index made anew beside everything else
    let i = |sg: u8| K::I { sg };
    add(C { live: true, ..mk("rebuild-b-f-g", v, i2(), &[inc(), K::F { snap: 0 }, g(13, 0), i(2)]) });
    add(C { ..mk("rebuild-b-g-m", v, i2(), &[inc(), g(13, 0), m(2), i(3)]) });
    add(C { ..mk("rebuild-b-i-i", v, i2(), &[inc(), i(2), i(3)]) });
    // records folded, in directories that are not read in order
    add(C { cpage: 8, seen: true, torn: true, ..mk("fold-torn-b-g-g", v, base(&[1, L0], &[3], &[L0]), &[stream(1 | L0, 1, 0, 4), g(13, 0), g(14, 1), z]) });
    // the same with a collector that slept between its look at the records and its own, while others put theirs
    let slept = |packs: &[u8], segs: &[PM], snap: u8| { let mut t = base(packs, segs, &[snap]); t.re = 1; t.rp[0] = 1 << 12; t.rq[0] = 2; t.p[0] = Pr { pc: 3, b: [0, 0, 0, 0, 0x80, 0, 0, 0, 0], w: [0, segs[0], 0, 1, 0, 0] }; t };
    add(C { cpage: 8, seen: true, torn: true, ..mk("fold-late-g-b-z", v, slept(&[1, L0], &[3], L0), &[g(13, 1), stream(1 | L0, 1, 0, 4), z]) });
    add(C { cpage: 8, seen: true, torn: true, ..mk("fold-late-dup-g-g-z", v, slept(&[1, 1, L0], &[7], 1 | L0), &[g(13, 1), g(14, 2), z]) });
    if std::env::var("BIG").is_err() { return r; }
    let mut r2 = vec![]; let mut add = |c: C| r2.push(c);
    let i0 = || base(&[1 | 2, L0], &[3], &[1 | L0]); let id = || base(&[1, 1 | 2, L0, 1 | L0], &[7, 8], &[1 | L0]); let i2 = || base(&[1, 1 | 2, L0], &[1, 6], &[1 | L0]);
    let b2 = K::B { need: 1 | 2 | L1, reuse: 0, src: 1 | 2 | L1, snap: 2, pend: 1, mid: 0, midp: 0, pk: 8, sg: 8 };
    let f0 = K::F { snap: 0 };
    add(mk("big-b-b-f-g-g", v, i0(), &[stream(1 | L0, 1, 0, 4), K::B { need: 1 | L0 | 4, reuse: 1, src: 5 | L0, snap: 2, pend: 1, mid: 0, midp: 0, pk: 8, sg: 8 }, f0, g(13, 0), g(14, 1)]));
    add(mk("big-b-b-f-g", v, i0(), &[b(1 | L0 | 4, 1, 1, 0, 4), b2, f0, g(13, 0)]));
    add(mk("big-b-f-g-g-g", v, i0(), &[stream(1 | L0, 1, 0, 4), f0, g(13, 0), g(14, 1), g(15, 2)]));
    add(mk("big-dup-b-f-g-g-g", v, id(), &[stream(1 | L0, 1, 0, 4), f0, g(13, 0), g(14, 1), g(15, 2)]));
    let mut t = i0(); t.bs = 2;
    add(mk("big-stale2-b-q-f-g-g", v, t, &[K::B { need: 1 | L0, reuse: 1, src: 0, snap: 1, pend: 0, mid: 1 | L0, midp: 1, pk: 4, sg: 4 }, K::Q { need: 1 | L0 | 2, src: 2, snap: 2, of: 1, ofp: 3, pend: 2, pk: 8, sg: 8 }, f0, g(13, 0), g(14, 1)]));
    add(mk("big-b-f-u-g-g", v, i0(), &[stream(1 | L0, 1, 0, 4), f0, K::U { snap: 0, new: 3, pend: 3, pk: 11, sg: 11 }, g(13, 0), g(14, 1)]));
    add(mk("big-merge-b-f-g-g-m", v, i2(), &[stream(1 | L0, 1, 0, 4), f0, g(13, 0), g(14, 1), K::M { sg: 2 }]));
    add(mk("big-merge-b-f-g-m-m", v, i2(), &[b(1 | L0 | 4, 1, 1, 0, 4), f0, g(13, 0), K::M { sg: 2 }, K::M { sg: 3 }]));
    add(C { split: true, orig: !0xc, ..mk("big-torn-b-f-g-g-m", v, i2(), &[stream(1 | L0, 1, 0, 4), f0, g(13, 0), g(14, 1), K::M { sg: 2 }]) });
    let mut t = i0(); t.bz = 2;
    add(mk("big-late2-b-f-g-g", v, t.clone(), &[stream(1 | L0, 1, 0, 4), f0, g(13, 0), g(14, 1)]));
    t.bz = 3; t.bs = 1;
    add(mk("big-late3-stale-b-f-g", v, t.clone(), &[b(1 | L0 | 4, 1, 1, 0, 4), f0, g(13, 0)]));
    t.bz = 2; t.bs = 1;
    add(mk("big-late2-stale-b-f-u-g", v, t, &[stream(1 | L0, 1, 0, 4), f0, K::U { snap: 0, new: 3, pend: 3, pk: 11, sg: 11 }, g(13, 0)]));
    r2
}
fn report(c: &C, max: usize, trace: bool) -> Option<String> {
    let t0 = std::time::Instant::now();
    match bfs(c, max) {
        R::Ok(n, full) => { println!("  {:<24} ok   {:>11} states {} {:.0}s", c.name, n, if full { "(all)" } else { "(CUT at the bound)" }, t0.elapsed().as_secs_f64()); None }
        R::Bad(n, e, tr) => { println!("  {:<24} {}   [{} states, {} steps, {:.0}s]", c.name, e, n, tr.len(), t0.elapsed().as_secs_f64()); if trace { show(c, &tr); } Some(e) }
    }
}
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
fn set(v: &mut V, f: &str) { flip(v, f, true) }
fn unset(v: &mut V, f: &str) { flip(v, f, false) }
fn flip(v: &mut V, f: &str, b: bool) { match f { "post_check" => v.post_check = b, "pend_first" => v.pend_first = b, "gone_restart" => v.gone_restart = b, "permanent" => v.permanent = b, "indexed" => v.indexed = b, "exist" => v.exist = b, "undel_new" => v.undel_new = b, "own_id" => v.own_id = b, "pend_skip" => v.pend_skip = b, "tomb_giveup" => v.tomb_giveup = b, "man_del" => v.man_del = b, "pub_idx" => v.pub_idx = b, "recgap" => v.recgap = b, "rootdiff" => v.rootdiff = b, "fast" => v.fast = b, "idx_first" => v.idx_first = b, "nokept" => v.nokept = b, _ => panic!("{}", f) } }
struct Rng(u64); impl Rng { fn next(&mut self) -> u64 { self.0 ^= self.0 << 13; self.0 ^= self.0 >> 7; self.0 ^= self.0 << 17; self.0.wrapping_mul(0x2545F4914F6CDD1D) } fn n(&mut self, m: usize) -> usize { (self.next() >> 33) as usize % m } }
#[cfg(not(big))] fn deep(_s: u64, _x: u64, _f: Option<String>) { println!("build with --cfg big"); }
#[cfg(big)] fn deep(secs: u64, seed: u64, f: Option<String>) {
    let mut r = Rng(seed.wrapping_mul(0x9E3779B97F4A7C15) | 1); let t0 = std::time::Instant::now(); let (mut walks, mut steps, mut acks, mut dels, mut rescues) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let fm = f.as_ref().map_or(0, |x| x.split(',').map(fault).fold(0, |a, b| a | b));
    while t0.elapsed().as_secs() < secs {
        // a random repository: 4 packs, 2 snapshots
        let mut packs = [0u8; 4]; for p in packs.iter_mut() { *p = (r.next() >> 40) as u8 & 0x7f; if *p == 0 { *p = 1; } }
        let all = packs.iter().fold(0, |a, b| a | b);
        let s0 = (r.next() >> 40) as u8 & all; let s1 = (r.next() >> 40) as u8 & all;
        let mut st = base(&packs, &[3, 12], &[if s0 == 0 { all } else { s0 }, if s1 == 0 { all } else { s1 }]);
        st.bz = r.n(4) as u8; st.bs = r.n(3) as u8; 
        let nd = |r: &mut Rng| { let x = (r.next() >> 40) as u8 & 0x7f; if x == 0 { 1 } else { x } };
        let (n1, n2, n3) = (st.nc[0] & nd(&mut r) | nd(&mut r) & nd(&mut r) | 1, nd(&mut r), nd(&mut r));
        let src = |n: u8, r: &mut Rng| if r.n(2) == 0 { n } else { n & (r.next() >> 40) as u8 };
        let ks = [
            K::B { need: n1, reuse: n1 & st.nc[0] & !LEAF, src: src(n1, &mut r), snap: 2, pend: 0, mid: n1 & 0x63, midp: 1, pk: 4, sg: 4 },
            K::B { need: n2, reuse: 0, src: src(n2, &mut r), snap: 3, pend: 2, mid: 0, midp: 0, pk: 8, sg: 8 },
            K::B { need: n3, reuse: 0, src: src(n3, &mut r), snap: 4, pend: 3, mid: 0, midp: 0, pk: 12, sg: 12 },
            K::Q { need: n1 | 4, src: n1 | 4, snap: 5, of: 2, ofp: 3, pend: 4, pk: 16, sg: 16 },
            K::G { pk: 19, sg: 19, rec: 0 }, K::G { pk: 20, sg: 20, rec: 1 }, K::G { pk: 21, sg: 21, rec: 2 }, K::G { pk: 22, sg: 22, rec: 3 },
            K::F { snap: 0 }, K::F { snap: 1 }, K::U { snap: 0, new: 6, pend: 5, pk: 23, sg: 23 }, K::M { sg: 2 }, K::M { sg: 3 }, K::F { snap: if r.n(2) == 0 { 2 } else { 3 } },
        ];
        let mut c = mk("deep", fixed(), st, &ks); c.f = fm; c.listing = false; c.split = r.n(3) == 0; c.orig = !0xc; c.live = true; c.level2 = c.init.bs == 0;
        let c = c; let mut s = c.init.clone(); let mut tr: Vec<Lab> = vec![]; let mut out = vec![];
        let mut w = [0u64; NPR]; let mut o1 = vec![]; let mut drawn = usize::MAX;
        loop {
            if tr.len() % 12 == 0 && drawn != tr.len() { drawn = tr.len(); for x in w.iter_mut() { *x = 1 << (r.n(8)); } }
            // weighted choice of a process, then of one of its steps
            let mut tot = 0; let mut can = [false; NPR];
            for i in 0..NPR { if s.p[i].pc != END { can[i] = true; tot += w[i]; } }
            succ_env(&c, &s, &mut o1);
            let envw = if o1.is_empty() { 0 } else { 4 }; tot += envw;
            if tot == 0 { break; }
            let mut z = r.next() >> 20; z %= tot; out.clear();
            if z < envw { std::mem::swap(&mut out, &mut o1); } else { z -= envw; for i in 0..NPR { if can[i] { if z < w[i] { step(&c, &s, i, &mut out); if out.is_empty() { let stuck = s.p[i].pc == 0; if stuck || true { w[i] = 0; } } break; } z -= w[i]; } } }
            if out.is_empty() { if (0..NPR).all(|i| !can[i] || w[i] == 0) { break; } continue; }
            // budget steps are rare
            let k = r.n(out.len()); let (n, l) = out.swap_remove(k);
            if l.1.starts_with("success") || l.1.starts_with("undelete ack") { acks += 1; } if l.1.starts_with("G5 DELETE pack") { dels += 1; } if l.1.starts_with("rescue: read") { rescues += 1; }
            s = n; tr.push(l); steps += 1;
            if let Some(e) = bad(&c, &s) {
                let late = c.init.bz > 0 || c.init.bs > 0;
                if e.starts_with("STUCK") && late && s.ne & !s.nt & !acked(&s) != 0 { break; } // the bounded exception: a visible, never acknowledged snapshot
                println!("deep: {e} after {} walks, {} steps", walks, steps); show(&c, &tr); println!("packs {:x?} need {:x?}", &c.init.pk[..4], [n1, n2, n3]); return;
            }
            if tr.len() > 600 { break; }
        }
        walks += 1;
    }
    println!("deep seed {seed}: ok, {walks} walks, {steps} steps, {acks} acknowledgements, {dels} deletions, {rescues} rescues in {secs}s");
}
#[cfg(big)] fn succ_env(c: &C, s: &St, out: &mut Vec<(St, Lab)>) { out.clear(); env(c, s, out); }
fn acked(s: &St) -> u8 { (0..NN).fold(0, |a, k| if s.na[k] != 0 { a | 1 << k } else { a }) }
#[allow(unused)] fn unused() -> HashMap<u8, u8> { HashMap::new() }
