//! `Cost`: what a pass cannot do without, in bytes read and multiply-adds: what its time is held against.
//!
//! Not here: how long anything takes (`roofline.rs` measures the machine), nor small change: additions, norms, exponentials, activations and
//! the embedding's rows are not counted.

use std::ops::Range;

use infer_kernels::Arithmetic;

use crate::kv_cache::KvCache;
use crate::matrix::Matrix;
use crate::model::{Compute, Model};
use crate::weights::{LayerWeights, Linear};

/// The least that some passes read and multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Weights, once for each pass, and the keys and values of the positions that a pass looks at, once as well. In bytes.
    pub bytes: u64,
    /// Multiply-adds in f32.
    pub macs_f32: u64,
    /// Multiply-adds in bf16.
    pub macs_bf16: u64,
    /// Multiply-adds of bytes.
    pub macs_int8: u64,
}

impl Cost {
    /// Multiply-adds of all kinds.
    pub fn macs(&self) -> u64 {
        self.macs_f32 + self.macs_bf16 + self.macs_int8
    }

    /// The arithmetic of most multiply-adds.
    pub fn arithmetic(&self) -> Arithmetic {
        let of = [(self.macs_f32, Arithmetic::F32), (self.macs_bf16, Arithmetic::Bf16), (self.macs_int8, Arithmetic::Int8)];
        of.into_iter().max_by_key(|(macs, _)| *macs).map_or(Arithmetic::F32, |(_, arithmetic)| arithmetic)
    }

    fn matrix(&mut self, model: &Model, matrix: &Matrix, n_rows: u64) {
        self.bytes += (matrix.n() * matrix.row_bytes()) as u64;
        let macs = (matrix.n() * matrix.k()) as u64 * n_rows;
        match model.compute_of(matrix.dtype()) {
            Compute::Int8 => self.macs_int8 += macs,
            Compute::Bf16 if model.kernels.has_bf16_dot(matrix.dtype()) => self.macs_bf16 += macs,
            Compute::Bf16 | Compute::F32 | Compute::Auto => self.macs_f32 += macs,
        }
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.bytes += other.bytes;
        self.macs_f32 += other.macs_f32;
        self.macs_bf16 += other.macs_bf16;
        self.macs_int8 += other.macs_int8;
    }
}

impl Model {
    /// The cost of one pass over the rows of one sequence at `positions`, `n_logits` of which want logits.
    pub fn cost(&self, positions: Range<usize>, n_logits: usize) -> Cost {
        let (config, n_rows) = (&self.config, positions.len() as u64);
        let mut cost = Cost::default();
        for layer in &self.weights.layers {
            for Linear { weight, bias } in linears(layer) {
                cost.matrix(self, weight, n_rows);
                cost.bytes += vector_bytes(bias.as_deref().unwrap_or_default());
            }
            let norms = [
                Some(&layer.input_layernorm),
                Some(&layer.post_attention_layernorm),
                layer.q_norm.as_ref(),
                layer.k_norm.as_ref(),
            ];
            cost.bytes += norms.into_iter().flatten().map(|norm| vector_bytes(norm)).sum::<u64>();
        }
        if n_logits > 0 {
            cost.matrix(self, &self.weights.lm_head, n_logits as u64);
            cost.bytes += vector_bytes(&self.weights.norm);
        }
        let kv_bytes = (KvCache::bytes_per_position(config, self.attention.layout()) / config.n_layers.max(1)) as u64;
        for window in &config.windows {
            let window = window.unwrap_or(usize::MAX);
            let first_seen = (positions.start + 1).saturating_sub(window);
            cost.bytes += (positions.end - first_seen) as u64 * kv_bytes;
            // Scores and weighted values.
            let macs = seen(positions.clone(), window) * 2 * config.q_dim() as u64;
            match self.attention.is_bf16() {
                true => cost.macs_bf16 += macs,
                false => cost.macs_f32 += macs,
            }
        }
        cost
    }
}

/// The matrices of a layer.
fn linears(layer: &LayerWeights) -> [&Linear; 7] {
    let LayerWeights { q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, .. } = layer;
    [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]
}

fn vector_bytes(vector: &[f32]) -> u64 {
    size_of_val(vector) as u64
}

/// How many positions the rows at `positions` look at, each counted for itself: a row at p sees min(p + 1, window).
fn seen(positions: Range<usize>, window: usize) -> u64 {
    let up_to = |n: usize| {
        let (full, beyond) = (n.min(window) as u64, n.saturating_sub(window) as u64);
        full * (full + 1) / 2 + beyond * full
    };
    up_to(positions.end) - up_to(positions.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_see_what_is_before_them_within_the_window() {
        for window in [1, 2, 5, 9, 10, 11, usize::MAX] {
            for (start, end) in [(0, 0), (0, 1), (0, 10), (3, 10), (8, 20), (15, 16)] {
                let expected: usize = (start..end).map(|p: usize| (p + 1).min(window)).sum();
                assert_eq!(seen(start..end, window), expected as u64, "{start}..{end}, window {window}");
            }
        }
    }
}
