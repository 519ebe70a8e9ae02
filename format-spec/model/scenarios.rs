// Where each exploration begins, and who takes part.
use super::*;

// ---------- scenarios. chunks: 1 = x, 2 = y, 4 = z, 0x20 = leaf of S0, 0x40 = leaf of new data
pub fn base(packs: &[u8], segs: &[PM], snaps: &[u8]) -> St {
    let mut s = St::default();
    for (i, &p) in packs.iter().enumerate() { s.pk[i] = p; s.pe |= 1 << i; }
    for (i, &p) in segs.iter().enumerate() { s.sg[i] = p; s.se |= 1 << i; }
    for (i, &p) in snaps.iter().enumerate() { s.nc[i] = p; s.na[i] = p; s.ne |= 1 << i; }
    s
}
pub fn mk(name: &str, v: V, init: St, ks: &[K]) -> C {
    let mut k = [K::None; NPR]; let mut ps = [255; ND];
    for (i, x) in ks.iter().enumerate() {
        k[i] = *x;
        match *x { K::B { snap, pend, mid, midp, .. } => { ps[pend as usize] = snap; if mid != 0 { ps[midp as usize] = snap; } } K::Q { snap, pend, .. } | K::U { new: snap, pend, .. } => ps[pend as usize] = snap, _ => {} }
    }
    C { cpage: 0, name: name.into(), v, f: 0, k, init, split: false, listing: false, level2: false, live: false, short: 0, orig: 0, adopt: 0, steps: false, gather: false, seen: false, torn: false, ps } }
pub const L0: u8 = 0x20; pub const L1: u8 = 0x40;
pub fn b(need: u8, reuse: u8, snap: u8, pend: u8, pk: u8) -> K { K::B { need, reuse, src: need, snap, pend, mid: 0, midp: 0, pk, sg: pk } }
pub fn stream(need: u8, snap: u8, pend: u8, pk: u8) -> K { K::B { need, reuse: 0, src: 0, snap, pend, mid: 0, midp: 0, pk, sg: pk } }
pub fn g(pk: u8, rec: u8) -> K { K::G { pk, sg: pk, rec } }
pub fn scenarios(v: V) -> Vec<C> {
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
pub fn set(v: &mut V, f: &str) { flip(v, f, true) }
pub fn unset(v: &mut V, f: &str) { flip(v, f, false) }
pub fn flip(v: &mut V, f: &str, b: bool) { match f { "post_check" => v.post_check = b, "pend_first" => v.pend_first = b, "gone_restart" => v.gone_restart = b, "permanent" => v.permanent = b, "indexed" => v.indexed = b, "exist" => v.exist = b, "undel_new" => v.undel_new = b, "own_id" => v.own_id = b, "pend_skip" => v.pend_skip = b, "tomb_giveup" => v.tomb_giveup = b, "man_del" => v.man_del = b, "pub_idx" => v.pub_idx = b, "recgap" => v.recgap = b, "rootdiff" => v.rootdiff = b, "fast" => v.fast = b, "idx_first" => v.idx_first = b, "nokept" => v.nokept = b, _ => panic!("{}", f) } }
