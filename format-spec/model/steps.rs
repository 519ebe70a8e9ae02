// What the processes do: one request to the store, with the local work that follows it, for each place where a process can stand.
use super::*;

// PUT helpers: normal; duplicate outstanding; timed out (client stops) and outstanding
macro_rules! put { ($o:expr,$l:literal,$a:expr,$apply:expr,$late:expr,$next:expr) => {{
    $o.go(concat!("PUT ",$l), $a as u32, |n,p| { $apply(n,p); $next(n,p); });
    if $o.s.bz > 0 {
        $o.go(concat!("PUT ",$l," (a duplicate stays under way)"), $a as u32, |n,p| { $apply(n,p); $late(n,p); n.bz -= 1; $next(n,p); });
        $o.go(concat!("PUT ",$l," TIMES OUT, still under way; the client stops"), $a as u32, |n,p| { let (e1,e2,e3,e4,e5,e6)=(n.pe,n.se,n.re,n.ne,n.nt,n.de); $apply(n,p); n.pe=e1;n.se=e2;n.re=e3;n.ne=e4;n.nt=e5;n.de=e6; $late(n,p); n.bz -= 1; halt(p); });
    }
}}}

pub fn step(c: &C, s: &St, i: usize, res: &mut Vec<(St, Lab)>) {
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
pub const KNOWN: PM = 1 << (NP - 1);
pub fn known(m: u8) -> PM { KNOWN | m as PM }
// keeps what a run knows for good: packs that are lost, records that it knows
pub fn wipe(p: &mut Pr) { let (l, k) = (p.w[2], p.w[4]); p.w = Default::default(); p.w[2] = l; p.w[4] = k; }
// the number of the next record, for who saw these
pub fn next(s: &St, seen: u8) -> u8 { bits(seen as PM).map(|r| s.rq[r]).max().unwrap_or(0) + 1 }
// a record that a listed one has seen, that none of the listed folds and that is not listed
pub fn hole(s: &St, m: u8) -> bool { let there = bits(m as PM).fold(m, |a, r| a | s.rf[r]); bits(m as PM).any(|r| s.rs[r] & !there != 0) }
// LIST records: atomic; as two pages in the order of names (cpage), or in either order (torn); short, where `bit` is among what may be
pub fn list_records(c: &C, o: &mut Out, name: &'static str, bit: u8, f: impl Fn(&C, &St, &mut Pr, u8) + Copy) {
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
pub fn plan_b(n: &St, p: &mut Pr, need: u8, u: PM, mid: u8) {
    p.b[3] = need & !cof(n, u); wipe(p);
    p.pc = if p.b[3] != 0 { 4 } else if mid != 0 { 8 } else { 9 };
}
// LIST index: atomic, or (split) as two pages in either order; orig = the mask of segments on the one page
pub fn list_index(c: &C, o: &mut Out, pc: u8, f: impl Fn(&C, &St, &mut Pr, PM) + Copy) {
    let p = o.s.p[o.i]; let st = p.b[5];
    if !c.split { o.go("LIST index", 0, |n, p| { let ix = idx(n); f(c, n, p, ix); }); return; }
    match st {
        0 => { o.go("LIST index, page A", 0, |n, p| { p.w[5] = idxm(n, n.se & c.orig); p.b[5] = 1; p.pc = pc; }); o.go("LIST index, page B", 0, |n, p| { p.w[5] = idxm(n, n.se & !c.orig); p.b[5] = 2; p.pc = pc; }); }
        1 => o.go("LIST index, page B", 0, |n, p| { let ix = p.w[5] | idxm(n, n.se & !c.orig); p.w[5] = 0; p.b[5] = 0; f(c, n, p, ix); }),
        _ => o.go("LIST index, page A", 0, |n, p| { let ix = p.w[5] | idxm(n, n.se & c.orig); p.w[5] = 0; p.b[5] = 0; f(c, n, p, ix); }),
    }
}
// a CHECK has passed: that of a part (b1 = 2), that before the commit (0), the final one (1)
pub fn passed(_c: &C, p: &mut Pr) { match p.b[1] { 2 => { p.b[1] = 0; p.pc = 9; } 0 => p.pc = 20, _ => p.pc = 22 } }
#[derive(Clone, Copy)] pub struct Cm { need: u8, need_c: u8, src: u8, snap: u8, pend: u8, pk: u8, sg: u8, delp: u8, undel: u8, max_rescue: u8 }
// b0 horizon at start, b1 phase (0 before, 1 after the commit PUT), b2 rescues, b3 chunks in hand, b6 horizon at CHECK; w0 named, w1 index, w2 = packs known lost
pub fn commit(c: &C, o: &mut Out, m: Cm) {
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
pub fn live_snaps(c: &C, s: &St, ix: PM, omit: u8, hollow: u8) -> Result<u8, ()> {
    let mut l = 0; let have = cof(s, ix & s.pe);
    for k in 0..NN { if s.ne & !s.nt & !omit & (1 << k) != 0 { let r = s.nc[k]; if r & LEAF & !have != 0 { if hasf(c, "skip-unreadable") { continue; } return Err(()); } l |= below(r, hollow); } }
    Ok(l)
}
// a pending whose snapshot is committed, or forgotten by a user, is no root of its own; that of a run that gave up stays one
pub fn spent(c: &C, s: &St) -> u8 { (0..ND).filter(|&d| { let k = c.ps[d]; if k as usize >= NN { return false; } if s.nt >> k & 1 == 1 { s.ng >> k & 1 == 0 } else { s.ne >> k & 1 == 1 } }).fold(0, |a, d| a | 1 << d) }
pub fn live_pends(c: &C, s: &St, ix: PM, mask: u8, hollow: u8) -> Result<u8, ()> {
    let mut l = 0; let have = cof(s, ix & s.pe);
    for k in 0..ND { if s.de & mask & (1 << k) != 0 { let r = s.dc[k]; if r & LEAF & !have != 0 { if c.v.pend_skip && !hasf(c, "pending-aborts") { continue; } return Err(()); } l |= below(r, hollow); } }
    Ok(l)
}
// what roots need, by what was listed (index, packs) and by the packs that are there when nodes are read
pub fn marked(s: &St, ix: PM, packs: PM, snaps: u8, pends: u8, marks: &mut (u8, u8)) -> Result<u8, ()> {
    let (have, there) = (cof(s, ix & s.pe), cof(s, packs)); let mut l = 0; let mut hollow = 0;
    for k in 0..NN { if snaps >> k & 1 == 1 { if s.nc[k] & LEAF & !have != 0 { return Err(()); } l |= s.nc[k]; } }
    for k in 0..ND { if pends >> k & 1 == 1 { let r = s.dc[k]; if r & LEAF & !have != 0 { hollow |= r & LEAF & there; continue; } if r & !there == 0 { marks.0 |= 1 << k; } l |= r; } }
    marks.1 = hollow & !l; Ok(l)
}
// what is marked of a root, where nothing is looked for below these leaves
pub fn below(r: u8, hollow: u8) -> u8 { if r & hollow != 0 && r & LEAF & !hollow == 0 { r & LEAF } else { r } }
// b0 own record put?, b1 live, b2 pendings listed, b3 chunks to copy; at G4 stale and spent pendings, b4 snapshots tombstoned at G4 (before G3: records
// seen), b5 pages, b6 snapshots seen at G1, b7 leaves that count as walked though nothing below them was found (a fault), b8 pendings all of which was marked
// at G1; behind G4 stale and spent ones; w0 older named, w1 index, w2 named at G4, w3 packs to condemn / delete, w4 adopted record + 1
pub fn collector(c: &C, o: &mut Out, pk: u8, sg: u8, rec: u8) {
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
pub fn merger(c: &C, o: &mut Out, sg: u8) {
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
