//! The oracle: every kernel as plain loops, for reading and for testing the others against. Never optimised.
//!
//! Sums are taken in f64, so that what a test measures is the error of the kernel under test. Not here: vectors, tiles, blocking.

use crate::arch::portable;
use crate::attention::AttentionKernels;
use crate::block::{Block, Element, MAX_BLOCK_LEN, cast};
use crate::convert;
use crate::dispatch::{Isa, Kernels};
use crate::dtype::{DType, by_dtype};
use crate::generic::attempt::{Candidates, Outcome, TRIED};
use crate::generic::attention::{Chunk, Rows, Sums};
use crate::generic::hadamard;
use crate::generic::probe::Probes;
use crate::kv::{KV_PAGE_LEN, KvDType, KvLayout};
use crate::view::MatMut;

pub(crate) const KERNELS: Kernels = Kernels {
    isa: Isa::Scalar,
    matmul_f32: by_dtype!(matmul_f32, matmul_f32_blocks),
    f32_tiles: None,
    bf16_tiles: None,
    matmul_bf16: [None; DType::COUNT],
    matmul_int8: [None; DType::COUNT],
    int8_tiles: None,
    rmsnorm,
    rope,
    swiglu,
    add,
    round_to_bf16: convert::round_to_bf16,
    // The same on every rung, to the bit.
    round_to_int8: portable::KERNELS.round_to_int8,
    hadamard: hadamard::hadamard,
    attention: [AttentionKernels { pack, attend }; KvDType::COUNT],
    attention_bf16: [None; KvDType::COUNT],
    merge,
    attempt: [attempt; 2],
    // The oracle is no measure of a machine; what the build's own instructions can do is.
    probes: Probes { int8: None, ..portable::PROBES },
    bf16_is_faster: false,
};

fn matmul_f32<W: Element>(w: &[u8], x: &[f32], k: usize, out: MatMut<'_>, _scratch: &mut [f32]) {
    matmul(cast::<W>(w).expect("checked by dispatch"), x, k, out);
}

fn matmul_f32_blocks<B: Block>(w: &[u8], x: &[f32], k: usize, mut out: MatMut<'_>, _scratch: &mut [f32]) {
    let w = cast::<B>(w).expect("checked by dispatch");
    let mut decoded = [0.0; MAX_BLOCK_LEN];
    for t in 0..out.rows() {
        for (r, row) in w.chunks_exact(k / B::LEN).enumerate() {
            let mut sum = 0.0;
            for (block, x) in row.iter().zip(x[t * k..][..k].chunks_exact(B::LEN)) {
                block.decode(&mut decoded[..B::LEN]);
                sum = decoded.iter().zip(x).fold(sum, |sum, (&w, &x)| sum + f64::from(w) * f64::from(x));
            }
            out.row_mut(t)[r] = sum as f32;
        }
    }
}

/// w: (n, k); x: (m, k); out: (m, n)
fn matmul<W: Element>(w: &[W], x: &[f32], k: usize, mut out: MatMut<'_>) {
    for t in 0..out.rows() {
        for r in 0..out.cols() {
            let pairs = w[r * k..][..k].iter().zip(&x[t * k..][..k]);
            let sum: f64 = pairs.map(|(w, x)| f64::from(w.to_f32()) * f64::from(*x)).sum();
            out.row_mut(t)[r] = sum as f32;
        }
    }
}

/// Sums in f32, as on every rung: all must choose the same scales.
fn attempt(x: &[f32], importance: &[f32], tried: Candidates<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for c in 0..TRIED {
        for (&x, importance) in x.iter().zip(importance) {
            let shifted = x + tried.m[c];
            let q = libm::rintf((shifted * tried.inverse[c]).max(tried.codes.0).min(tried.codes.1));
            let rest = shifted - tried.d[c] * q;
            let counted = importance * q;
            outcome.q1[c] += counted;
            outcome.q2[c] += counted * q;
            outcome.xq[c] += x * counted;
            outcome.error[c] += importance * rest * rest;
        }
    }
    outcome
}

fn rmsnorm(x: &mut [f32], w: &[f32], eps: f32) {
    let mean = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + f64::from(eps)).sqrt();
    for i in 0..x.len() {
        x[i] = (f64::from(x[i]) * scale * f64::from(w[i])) as f32;
    }
}

fn rope(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let h = cos.len();
    for i in 0..h {
        let (a, b) = (f64::from(x[i]), f64::from(x[i + h]));
        let (c, s) = (f64::from(cos[i]), f64::from(sin[i]));
        x[i] = (a * c - b * s) as f32;
        x[i + h] = (b * c + a * s) as f32;
    }
}

fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (gate, &up) in gate.iter_mut().zip(up) {
        let g = f64::from(*gate);
        *gate = (g / (1.0 + libm::exp(-g)) * f64::from(up)) as f32;
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

fn pack(q: &mut [f32], factor: f32) {
    q.iter_mut().for_each(|q| *q *= factor);
}

/// scores: (rows, KV_PAGE_LEN)
fn attend(layout: KvLayout, chunk: &Chunk<'_>, rows: Rows, q: &[f32], scores: &mut [f32], out: &mut Sums<'_>) {
    let (d, width) = (layout.head_dim(), layout.width());
    for row in 0..out.max.len() {
        let (start, end) = rows.visible(row, chunk.start);
        let p = &mut scores[row * KV_PAGE_LEN..][..KV_PAGE_LEN];
        let (mut max, mut sum) = (f64::NEG_INFINITY, 0.0);
        for j in start..end {
            let products = (0..d).map(|i| f64::from(q[row * d + i]) * f64::from(layout.key(chunk.page, j, i)));
            p[j] = products.sum::<f64>() as f32;
            max = max.max(f64::from(p[j]));
        }
        for j in start..end {
            let weight = libm::exp2(f64::from(p[j]) - max);
            sum += weight;
            p[j] = weight as f32;
        }
        (out.max[row], out.sum[row]) = (max as f32, sum as f32);
        for c in 0..width {
            let value = |j: usize| f64::from(layout.value(chunk.page, j, c));
            out.acc[row * width + c] = (start..end).map(|j| f64::from(p[j]) * value(j)).sum::<f64>() as f32;
        }
    }
}

fn merge(chunk: &[f32], running: &mut Sums<'_>) {
    let width = running.acc.len() / running.max.len().max(1);
    let (acc, max, sum) = Sums::parts(chunk, width, running.max.len());
    for row in 0..running.max.len() {
        if sum[row] == 0.0 {
            continue;
        }
        let (old, max) = (f64::from(running.max[row]), f64::from(max[row]));
        let new = old.max(max);
        let (keep, take) = (libm::exp2(old - new), libm::exp2(max - new));
        let add = |old: f32, x: f32| (f64::from(old) * keep + f64::from(x) * take) as f32;
        running.max[row] = new as f32;
        running.sum[row] = add(running.sum[row], sum[row]);
        for c in row * width..(row + 1) * width {
            running.acc[c] = add(running.acc[c], acc[c]);
        }
    }
}
