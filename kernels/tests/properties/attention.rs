//! Attention over chunks: against the oracle, and independent of the queries beside a query.

use infer_kernels::testing::Seeded;
use infer_kernels::{Chunk, Isa, Kernels, Running};

use crate::{UNIT, assert_close};

/// Queries, keys and values, and what each query sees.
struct Case {
    d: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// Of all positions, for each query.
    visible: Vec<(usize, usize)>,
}

impl Case {
    fn random(d: usize, n: usize, rows: usize, seeded: &mut Seeded) -> Case {
        let mut numbers = |len: usize, scale: f32| (0..len).map(|_| seeded.uniform() * scale).collect::<Vec<f32>>();
        let (q, k, v) = (numbers(rows * d, 3.0), numbers(n * d, 3.0), numbers(n * d, 1.0));
        let visible = (0..rows).map(|_| (seeded.below(n), seeded.below(n + 1))).map(|(a, b)| (a.min(b), b.max(a + 1))).collect();
        Case { d, q, k, v, visible }
    }

    fn scale(&self) -> f32 {
        (self.d as f32).powf(-0.5)
    }

    /// The outputs of queries `rows`, in chunks of `chunk` positions. (rows, d)
    fn run(&self, kernels: &Kernels, rows: std::ops::Range<usize>, chunk: usize) -> Vec<f32> {
        let (d, n, m) = (self.d, self.k.len() / self.d, rows.len());
        let (mut max, mut sum, mut acc) = (vec![f32::NEG_INFINITY; m], vec![0.0; m], vec![0.0; m * d]);
        for start in (0..n).step_by(chunk) {
            let len = chunk.min(n - start);
            let clamp = |x: usize| x.saturating_sub(start).min(len);
            let visible: Vec<_> = self.visible[rows.clone()].iter().map(|&(a, b)| (clamp(a), clamp(b))).collect();
            let (k, v) = (&self.k[start * d..][..len * d], &self.v[start * d..][..len * d]);
            let q = &self.q[rows.start * d..rows.end * d];
            let mut scores = vec![f32::NAN; m * len];
            let chunk = Chunk { q, k, v, visible: &visible, scale: self.scale(), head_dim: d };
            kernels.attend(&chunk, &mut scores, &mut Running { max: &mut max, sum: &mut sum, acc: &mut acc });
        }
        acc.iter().enumerate().map(|(i, acc)| acc / sum[i / d]).collect()
    }

    /// What an output may be off by. A score is off by the roundings of d products, of the scaling and of the maximum's subtraction; a
    /// weight by that and the exponential's 3 roundings, relatively; numerator and denominator by that and n + 4 roundings each.
    fn bound(&self, row: usize) -> f64 {
        let (d, (start, end)) = (self.d, self.visible[row]);
        let dot =
            |j: usize| self.q[row * d..][..d].iter().zip(&self.k[j * d..][..d]).map(|(q, k)| f64::from(q * k).abs()).sum::<f64>();
        let magnitude = (start..end).map(dot).fold(0.0, f64::max) * f64::from(self.scale());
        let weight = 2.0 * (2.0 * (d as f64 + 2.0) + 4.0) * UNIT * magnitude + 8.0 * UNIT;
        let largest = self.v.iter().fold(0.0, |m, v| f64::from(v.abs()).max(m));
        2.0 * (weight + ((end - start) as f64 + 8.0) * UNIT) * largest
    }
}

#[test]
fn every_head_size_and_range() {
    let (oracle, mut seeded) = (Kernels::for_isa(Isa::Scalar).unwrap(), Seeded(1));
    for d in (2..=34).step_by(2).chain([64, 80, 128]) {
        for n in [1, 2, 15, 16, 17, 64, 75, 130] {
            let case = Case::random(d, n, 1 + (d + n) % 9, &mut seeded);
            let rows = 0..case.visible.len();
            let want = case.run(&oracle, rows.clone(), 64);
            for kernels in Kernels::available() {
                let got = case.run(&kernels, rows.clone(), 64);
                for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
                    let what = || format!("{} d {d} n {n}, query {} sees {:?}", kernels.isa(), i / d, case.visible[i / d]);
                    assert_close(got, want, case.bound(i / d), &what);
                }
            }
        }
    }
}

/// The oracle itself, against softmax written from its definition.
#[test]
fn the_oracle_is_softmax() {
    let case = Case::random(8, 100, 5, &mut Seeded(2));
    let got = case.run(&Kernels::for_isa(Isa::Scalar).unwrap(), 0..5, 64);
    for row in 0..5 {
        let (start, end) = case.visible[row];
        let dot = |j: usize| (0..8).map(|c| f64::from(case.q[row * 8 + c]) * f64::from(case.k[j * 8 + c])).sum::<f64>();
        let weights: Vec<f64> = (start..end).map(|j| (dot(j) * f64::from(case.scale())).exp()).collect();
        for c in 0..8 {
            let sum: f64 = weights.iter().enumerate().map(|(j, w)| w * f64::from(case.v[(start + j) * 8 + c])).sum();
            let want = sum / weights.iter().sum::<f64>();
            assert_close(got[row * 8 + c], want as f32, case.bound(row), &|| format!("query {row} column {c}"));
        }
    }
}

/// The contract: a query's output has the same bits alone and among others.
#[test]
fn one_query_has_the_bits_of_many() {
    let mut seeded = Seeded(3);
    for d in [6, 16, 64, 72] {
        let case = Case::random(d, 150, 11, &mut seeded);
        for kernels in Kernels::available() {
            let whole = case.run(&kernels, 0..11, 64);
            for row in 0..11 {
                let one: Vec<u32> = case.run(&kernels, row..row + 1, 64).iter().map(|x| x.to_bits()).collect();
                let among: Vec<u32> = whole[row * d..][..d].iter().map(|x| x.to_bits()).collect();
                assert_eq!(one, among, "{} d {d} query {row}", kernels.isa());
            }
        }
    }
}

/// A broken key must be seen in the output, and nowhere else.
#[test]
fn nan_comes_through_where_it_is_seen() {
    let mut case = Case::random(16, 70, 2, &mut Seeded(4));
    case.visible = vec![(0, 70), (0, 66)];
    case.k[66 * 16 + 3] = f32::NAN;
    for kernels in Kernels::available() {
        let out = case.run(&kernels, 0..2, 64);
        assert!(out[..16].iter().all(|x| x.is_nan()), "{}", kernels.isa());
        assert!(out[16..].iter().all(|x| x.is_finite()), "{}", kernels.isa());
    }
}
