//! Attention: every head size, group, window, type of keys and values and rung against the oracle, over chunks; one row against many.
//!
//! Not here: pages and threads, which are the engine's (`tests/determinism.rs`).

use std::ops::Range;

use infer_kernels::testing::{Guarded, Seeded};
use infer_kernels::{Attention, Chunk, Isa, KV_PAGE_LEN, Kernels, KvDType, KvLayout, Rows, Sums, bf16};

use crate::{UNIT, assert_close};

/// Queries of one KV head at the last positions of a sequence, and its keys and values.
struct Case {
    layout: KvLayout,
    rows: Rows,
    // (n_positions · group, head_dim)
    q: Vec<f32>,
    pages: Vec<Guarded<u8>>,
    /// Positions of the sequence.
    n: usize,
}

impl Case {
    /// A sequence of `n` positions, the last `n_positions` of which have queries.
    fn random(layout: KvLayout, n: usize, n_positions: usize, group: usize, window: usize, seeded: &mut Seeded) -> Case {
        let d = layout.head_dim();
        let mut numbers = |len: usize, scale: f32| (0..len).map(|_| seeded.uniform() * scale).collect::<Vec<f32>>();
        let q = numbers(n_positions * group * d, 3.0);
        // Around a page lies NaN, or -1 as an integer.
        let page = |_| Guarded::new(layout.bytes(), 0, 0xff, || 0u8);
        let pages = (0..n.div_ceil(KV_PAGE_LEN)).map(page).collect();
        let mut case = Case { layout, rows: Rows { position: n - n_positions, group, window }, q, pages, n };
        for position in 0..n {
            let (k, v) = (numbers(d, 3.0), numbers(d, 1.0));
            case.write(position, &k, &v);
        }
        case
    }

    fn write(&mut self, position: usize, k: &[f32], v: &[f32]) {
        self.layout.write(self.pages[position / KV_PAGE_LEN].get_mut(), position % KV_PAGE_LEN, k, v);
    }

    /// The key and the value of a position as they are stored.
    fn read(&self, position: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut k, mut v) = (vec![0.0; self.layout.head_dim()], vec![0.0; self.layout.head_dim()]);
        self.layout.read(self.pages[position / KV_PAGE_LEN].get(), position % KV_PAGE_LEN, &mut k, &mut v);
        (k, v)
    }

    fn n_positions(&self) -> usize {
        self.n - self.rows.position
    }

    fn n_rows(&self) -> usize {
        self.n_positions() * self.rows.group
    }

    /// What a row sees of all positions.
    fn visible(&self, row: usize) -> Range<usize> {
        let end = self.rows.position + row / self.rows.group + 1;
        end.saturating_sub(self.rows.window)..end
    }

    /// The outputs of the rows of some of the positions with queries, all chunks merged. (rows, head_dim)
    fn run(&self, attention: &Attention, positions: Range<usize>) -> Vec<f32> {
        let (d, width, group) = (self.layout.head_dim(), self.layout.width(), self.rows.group);
        let rows = Rows { position: self.rows.position + positions.start, ..self.rows };
        let (n_rows, end) = (positions.len() * group, self.rows.position + positions.end);
        let q = &self.q[positions.start * group * d..][..n_rows * d];
        let mut queries = q.iter();
        let mut packed = Guarded::new(q.len(), 1, f32::NAN, || *queries.next().unwrap());
        attention.pack(packed.get_mut());
        let len = Sums::len(width, n_rows);
        let mut running = vec![7.0; len];
        let mut running = Sums::new(&mut running, width, n_rows);
        running.clear();
        for start in (0..end).step_by(KV_PAGE_LEN) {
            let mut scores = Guarded::new(Attention::scores_len(n_rows), 1, f32::NAN, || 7.0);
            let mut sums = Guarded::new(len, 1, f32::NAN, || 7.0);
            let mut out = Sums::new(sums.get_mut(), width, n_rows);
            let chunk = Chunk { start, page: self.pages[start / KV_PAGE_LEN].get(), next: &[] };
            attention.attend(&chunk, rows, packed.get(), scores.get_mut(), &mut out);
            attention.merge(sums.get(), &mut running);
            for buffer in [&packed, &scores, &sums] {
                assert!(buffer.is_intact(|x| x.is_nan()), "head_dim {d}: wrote outside of a buffer");
            }
        }
        (0..n_rows * d).map(|i| running.acc[i / d * width + i % d] / running.sum[i / d]).collect()
    }

    fn run_all(&self, attention: &Attention) -> Vec<f32> {
        self.run(attention, 0..self.n_positions())
    }

    /// What scales queries.
    fn factor(&self) -> f32 {
        (self.layout.head_dim() as f32).powf(-0.5) * std::f32::consts::LOG2_E
    }

    /// The same case with the queries that a rung with bf16 arithmetic makes of these.
    fn with_rounded_queries(&self) -> Case {
        let factor = self.factor();
        let q = self.q.iter().map(|q| bf16::from_f32(q * factor).to_f32() / factor).collect();
        Case { q, pages: self.pages.clone(), ..*self }
    }

    /// What an output may be off by. A score (a power of two) is off by the roundings of d products and sums, of the scale and of the
    /// subtraction of the maximum; a weight by that times ln 2 and the exponential's 3 roundings, relatively, besides its own rounding
    /// to bf16; numerator and denominator by that and n + 8 roundings each, and a chunk's exponentials by 8 more.
    fn bound(&self, row: usize, is_bf16: bool) -> f64 {
        let (d, visible) = (self.layout.head_dim(), self.visible(row));
        let (mut magnitude, mut largest) = (0.0f64, 0.0f64);
        for position in visible.clone() {
            let (k, v) = self.read(position);
            let dot: f64 = self.q[row * d..][..d].iter().zip(&k).map(|(q, k)| f64::from(q * k).abs()).sum();
            magnitude = magnitude.max(dot * f64::from(self.factor()));
            largest = v.iter().fold(largest, |m, v| m.max(f64::from(v.abs())));
        }
        let rounding = if is_bf16 { 1.0 / 512.0 } else { 0.0 };
        let weight = 2.0 * (2.0 * (d as f64 + 2.0) + 8.0) * UNIT * magnitude + 8.0 * UNIT + rounding;
        let n_chunks = self.n.div_ceil(KV_PAGE_LEN) as f64;
        2.0 * (weight + (visible.len() as f64 + 8.0 + 8.0 * n_chunks) * UNIT) * largest * (1.0 + 2.0 * rounding)
    }
}

/// Every way that the rungs of this CPU multiply keys and values of a layout: in f32, and in bf16 where there is an instruction.
fn ways(layout: KvLayout) -> Vec<(Kernels, Attention)> {
    let ways =
        Kernels::available().flat_map(|kernels| [false, true].map(|rounds| (rounds, kernels, kernels.attention(layout, rounds))));
    ways.filter(|(rounds, _, attention)| attention.is_bf16() == *rounds).map(|(_, kernels, way)| (kernels, way)).collect()
}

fn oracle(layout: KvLayout) -> Attention {
    Kernels::for_isa(Isa::Scalar).unwrap().attention(layout, false)
}

#[test]
fn every_head_size_length_and_type() {
    let mut seeded = Seeded(1);
    for d in (2..=34).step_by(2).chain([64, 80, 128]) {
        for (i, n) in [1, 2, 15, 16, 17, 63, 64, 75, 130, 255, 256, 257, 600].into_iter().enumerate() {
            // Long sequences for some sizes only: the oracle is slow.
            if n > 130 && !matches!(d, 6 | 16 | 64) {
                continue;
            }
            for &dtype in KvDType::ALL {
                let (group, n_positions) = (1 + (i + d / 2) % 7, n.min(1 + i % 4 * 3));
                let window = if i % 3 == 2 { 1 + seeded.below(n) } else { usize::MAX };
                let case = Case::random(KvLayout::new(dtype, d), n, n_positions, group, window, &mut seeded);
                let (want, want_rounded) =
                    (case.run_all(&oracle(case.layout)), case.with_rounded_queries().run_all(&oracle(case.layout)));
                for (kernels, attention) in ways(case.layout) {
                    let (got, is_bf16) = (case.run_all(&attention), attention.is_bf16());
                    let want = if is_bf16 { &want_rounded } else { &want };
                    for row in 0..case.n_rows() {
                        let bound = case.bound(row, is_bf16);
                        for c in row * d..(row + 1) * d {
                            let what =
                                || format!("{} {dtype} (bf16: {is_bf16}) d {d} n {n} group {group} row {row}", kernels.isa());
                            assert_close(got[c], want[c], bound, &what);
                        }
                    }
                }
            }
        }
    }
}

/// The oracle itself, against softmax written from its definition.
#[test]
fn the_oracle_is_softmax() {
    let case = Case::random(KvLayout::new(KvDType::F32, 8), 300, 3, 2, 280, &mut Seeded(2));
    let got = case.run_all(&oracle(case.layout));
    for row in 0..case.n_rows() {
        let seen: Vec<(Vec<f32>, Vec<f32>)> = case.visible(row).map(|position| case.read(position)).collect();
        let query = &case.q[row * 8..][..8];
        let score = |k: &[f32]| (0..8).map(|c| f64::from(query[c]) * f64::from(k[c])).sum::<f64>() / 8.0f64.sqrt();
        let weights: Vec<f64> = seen.iter().map(|(k, _)| score(k).exp()).collect();
        for c in 0..8 {
            let sum: f64 = weights.iter().zip(&seen).map(|(weight, (_, v))| weight * f64::from(v[c])).sum();
            let want = sum / weights.iter().sum::<f64>();
            assert_close(got[row * 8 + c], want as f32, case.bound(row, false), &|| format!("row {row} column {c}"));
        }
    }
}

/// The contract: the outputs of a position have the same bits alone and among others.
#[test]
fn one_position_has_the_bits_of_many() {
    let mut seeded = Seeded(3);
    for d in [6, 16, 64, 72] {
        for &dtype in KvDType::ALL {
            for (n, group, window) in [(150, 1, usize::MAX), (290, 3, usize::MAX), (300, 4, 31), (300, 2, 260), (70, 7, 5)] {
                let case = Case::random(KvLayout::new(dtype, d), n, 23, group, window, &mut seeded);
                for (kernels, attention) in ways(case.layout) {
                    let whole = case.run_all(&attention);
                    for positions in (0..23).map(|p| p..p + 1).chain([0..2, 3..8, 7..23]) {
                        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
                        let among = &whole[positions.start * group * d..positions.end * group * d];
                        let what = || format!("{} {dtype} d {d} n {n} group {group} {positions:?}", kernels.isa());
                        assert_eq!(bits(&case.run(&attention, positions.clone())), bits(among), "{}", what());
                    }
                }
            }
        }
    }
}

/// A broken key or value must be seen in the output of the rows that see it, and nowhere else.
#[test]
fn nan_comes_through_where_it_is_seen() {
    for d in [16, 22] {
        for &dtype in KvDType::ALL {
            for broken in [66, 67, 71] {
                for of_value in [false, true] {
                    let mut case = Case::random(KvLayout::new(dtype, d), 76, 10, 3, 8, &mut Seeded(4));
                    let (mut k, mut v) = case.read(broken);
                    (if of_value { &mut v } else { &mut k })[3] = f32::NAN;
                    case.write(broken, &k, &v);
                    for (kernels, attention) in ways(case.layout) {
                        let out = case.run_all(&attention);
                        for row in 0..case.n_rows() {
                            let sees = case.visible(row).contains(&broken);
                            // Of a value only the column is broken, unless all share a scale.
                            let hit = |c: usize| sees && (!of_value || c == 3 || dtype == KvDType::Q8);
                            for c in 0..d {
                                let what = format!("{} {dtype} d {d} position {broken} row {row} column {c}", kernels.isa());
                                assert_eq!(out[row * d + c].is_nan(), hit(c), "{what}");
                            }
                        }
                    }
                }
            }
        }
    }
}
