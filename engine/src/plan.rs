//! `MemoryPlan`: what a model will take, before it takes it.
//!
//! Not here: what the machine has (the command line asks it).

use infer_loaders::Checkpoint;

use crate::kv_cache::KvCache;
use crate::model::{Model, scratch_len};
use crate::speculation::MAX_ROWS;
use crate::state::State;

/// Bytes of each kind. Sums saturate, so that a config that asks for too much is seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The weights, mapped from their files.
    pub weights: u64,
    /// Keys and values of one position.
    pub kv_per_token: u64,
    /// Keys and values of a full context; pages are taken as they are used.
    pub kv_total: u64,
    /// Activations of the largest pass, and what each thread keeps for matrix products and attention.
    pub scratch: u64,
}

impl MemoryPlan {
    /// The plan for contexts of `ctx_size` positions, passes of `n_rows` rows, one of which wants logits, and those that verify a draft.
    pub fn new(model: &Model, checkpoint: &Checkpoint, ctx_size: usize, n_rows: usize) -> MemoryPlan {
        let config = model.config();
        let kv_per_token = KvCache::bytes_per_position(config, model.attention.layout()) as u64;
        let threads = scratch_len(config, &model.kernels).saturating_mul(model.n_threads() * size_of::<f32>()) as u64;
        MemoryPlan {
            weights: checkpoint.weight_bytes(),
            kv_per_token,
            kv_total: KvCache::bytes_for(config, model.attention.layout(), ctx_size) as u64,
            scratch: (State::bytes(config, &model.kernels, n_rows.max(MAX_ROWS), MAX_ROWS) as u64).saturating_add(threads),
        }
    }

    /// What this and another model take side by side, each with such a context.
    pub fn and(self, other: MemoryPlan) -> MemoryPlan {
        MemoryPlan {
            weights: self.weights.saturating_add(other.weights),
            kv_per_token: self.kv_per_token.saturating_add(other.kv_per_token),
            kv_total: self.kv_total.saturating_add(other.kv_total),
            scratch: self.scratch.saturating_add(other.scratch),
        }
    }

    /// What is allocated, as opposed to mapped.
    pub fn allocated(&self) -> u64 {
        self.kv_total.saturating_add(self.scratch)
    }
}
