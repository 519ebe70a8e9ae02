// Looks at every state, or walks at random: what must hold in each, and the shortest way to one in which it does not.
use super::*;

pub fn bits(m: PM) -> impl Iterator<Item = usize> { let mut m = m; std::iter::from_fn(move || { if m == 0 { None } else { let i = m.trailing_zeros() as usize; m &= m - 1; Some(i) } }) }
pub fn env(c: &C, s: &St, out: &mut Vec<(St, Lab)>) {
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
pub fn bad(c: &C, s: &St) -> Option<String> {
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
pub fn quiet(c: &C, s0: &St) -> Option<String> {
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
pub fn live_only(s: &St, live: u8) -> PM { bits(s.pe).filter(|&q| s.pk[q] & live != 0).fold(0, |a, q| a | 1 << q) }

// ---------- search
pub struct H(u64);
impl Hasher for H {
    fn finish(&self) -> u64 { let r = (self.0 ^ 0x9E3779B97F4A7C15) as u128 * 0xD6E8FEB86659FD93u128; (r as u64) ^ (r >> 64) as u64 }
    fn write(&mut self, b: &[u8]) { for ch in b.chunks(8) { let mut x = [0u8; 8]; x[..ch.len()].copy_from_slice(ch); self.write_u64(u64::from_le_bytes(x)); } }
    fn write_u64(&mut self, v: u64) { let r = (self.0 ^ v ^ 0xA0761D6478BD642F) as u128 * 0xE7037ED1A0B428DBu128; self.0 = ((r as u64) ^ (r >> 64) as u64).rotate_left(23).wrapping_add(v); }
    fn write_u8(&mut self, v: u8) { self.write_u64(v as u64) } fn write_u16(&mut self, v: u16) { self.write_u64(v as u64) } fn write_u32(&mut self, v: u32) { self.write_u64(v as u64) } fn write_usize(&mut self, v: usize) { self.write_u64(v as u64) }
}
pub fn fp(s: &St) -> u64 { let mut h = H(0x1234567); s.hash(&mut h); let f = h.finish(); if f == 0 { 1 } else { f } }
pub struct Tab { v: Vec<(u64, u64)>, n: usize }
impl Tab {
    fn new() -> Tab { Tab { v: vec![(0, 0); 1 << 16], n: 0 } }
    fn slot(&self, f: u64) -> usize { let m = self.v.len() - 1; let mut i = f as usize & m; while self.v[i].0 != 0 && self.v[i].0 != f { i = (i + 1) & m; } i }
    fn add(&mut self, f: u64, par: u64) -> bool { let i = self.slot(f); if self.v[i].0 == f { return false; } self.v[i] = (f, par); self.n += 1;
        if self.n * 10 > self.v.len() * 7 { let old = std::mem::replace(&mut self.v, vec![]); self.v = vec![(0, 0); old.len() * 2]; for e in old { if e.0 != 0 { let j = self.slot(e.0); self.v[j] = e; } } } true }
    fn par(&self, f: u64) -> u64 { self.v[self.slot(f)].1 }
}
pub fn succ(c: &C, s: &St, out: &mut Vec<(St, Lab)>) { out.clear(); for i in 0..NPR { if c.k[i] != K::None { step(c, s, i, out); } } env(c, s, out); }
pub enum R { Ok(usize, bool), Bad(usize, String, Vec<Lab>) }
pub fn bfs(c: &C, max: usize) -> R {
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
pub fn pname(c: &C, i: u8) -> String { if i == 255 { return "   *".into(); } match c.k[i as usize] { K::B { .. } => format!("B{i}"), K::Q { .. } => format!("Resume{i}"), K::G { .. } => format!("GC{i}"), K::F { .. } => format!("Forget{i}"), K::U { .. } => format!("Undel{i}"), K::M { .. } => format!("Merge{i}"), K::I { .. } => format!("Rebuild{i}"), K::D => format!("Drop{i}"), K::Z { .. } => format!("Fold{i}"), K::None => "-".into() } }
pub fn show(c: &C, tr: &[Lab]) { let mut last = String::new(); for (i, l, a) in tr { let n = pname(c, *i); println!("      {:<8} {} [{:#x}]", if n == last { String::new() } else { n.clone() }, l, a); last = n; } }

pub fn report(c: &C, max: usize, trace: bool) -> Option<String> {
    let t0 = std::time::Instant::now();
    match bfs(c, max) {
        R::Ok(n, full) => { println!("  {:<24} ok   {:>11} states {} {:.0}s", c.name, n, if full { "(all)" } else { "(CUT at the bound)" }, t0.elapsed().as_secs_f64()); None }
        R::Bad(n, e, tr) => { println!("  {:<24} {}   [{} states, {} steps, {:.0}s]", c.name, e, n, tr.len(), t0.elapsed().as_secs_f64()); if trace { show(c, &tr); } Some(e) }
    }
}
pub struct Rng(u64); impl Rng { fn next(&mut self) -> u64 { self.0 ^= self.0 << 13; self.0 ^= self.0 >> 7; self.0 ^= self.0 << 17; self.0.wrapping_mul(0x2545F4914F6CDD1D) } fn n(&mut self, m: usize) -> usize { (self.next() >> 33) as usize % m } }
#[cfg(not(big))] pub fn deep(_s: u64, _x: u64, _f: Option<String>) { println!("build with --cfg big"); }
#[cfg(big)] pub fn deep(secs: u64, seed: u64, f: Option<String>) {
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
#[cfg(big)] pub fn succ_env(c: &C, s: &St, out: &mut Vec<(St, Lab)>) { out.clear(); env(c, s, out); }
pub fn acked(s: &St) -> u8 { (0..NN).fold(0, |a, k| if s.na[k] != 0 { a | 1 << k } else { a }) }
