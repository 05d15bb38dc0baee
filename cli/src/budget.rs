//! Whether a context fits in memory, and how long it may be where the user did not say.
//!
//! What must fit is memory that cannot be dropped: the key-value cache and the scratch. Mapped weights are pages of a file, which the
//! system may drop and read again; too little memory for them is slow, not impossible, and earns a warning. Not here: the limits
//! (`resources.rs`) and the sizes (the engine's `MemoryPlan`).

use crate::report::{self, Failure};
use crate::resources::Memory;

/// The context that is assumed to be wanted where memory is too short for the model's own.
const USUAL_CTX: usize = 4096;

/// The sizes of one run, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Mapped weights; 0 where they were read into memory, since they are in use already.
    pub mapped_weights: u64,
    /// Key-value cache for one token.
    pub kv_per_token: u64,
    /// Activations.
    pub scratch: u64,
}

impl Needs {
    /// The context size to use: `requested` (0: the model's own), which must fit whole; else the model's own as far as memory allows
    /// beside the weights, yet at least the usual size or the prompt's if that fits beside the scratch.
    pub fn ctx_size(
        &self,
        requested: Option<usize>,
        model_ctx: usize,
        n_prompt: usize,
        memory: &Memory,
    ) -> Result<usize, Failure> {
        if let Some(requested) = requested {
            let ctx_size = if requested == 0 { model_ctx } else { requested };
            self.require(ctx_size, memory)?;
            return Ok(ctx_size);
        }
        let Some((hard, _)) = memory.available() else { return Ok(model_ctx) };
        let beside_weights = |left: Option<u64>| left.map(|left| left.saturating_sub(self.mapped_weights));
        let soft = Memory { physical: beside_weights(memory.physical), group: beside_weights(memory.group), ..*memory };
        let soft = soft.available().map_or(hard, |(left, _)| left);
        let usual = USUAL_CTX.max(n_prompt.saturating_add(1));
        let ctx_size = model_ctx.min(self.tokens_in(soft).max(usual.min(self.tokens_in(hard))));
        if ctx_size <= n_prompt && model_ctx > n_prompt {
            self.require(n_prompt.saturating_add(1), memory)?;
        }
        Ok(ctx_size)
    }

    /// Warns where the mapped weights are larger than the memory that could hold them.
    pub fn warn_of_paging(&self, memory: &Memory) {
        let physical = Memory { address_space: None, ..*memory };
        if let Some((left, name)) = physical.available().filter(|&(left, _)| left < self.mapped_weights) {
            report::warn(&format!(
                "the weights ({}) exceed {name} ({}): they will be read from disk again and again",
                report::bytes(self.mapped_weights),
                report::bytes(left)
            ));
        }
    }

    /// An error unless cache and scratch for `ctx_size` tokens fit.
    pub fn require(&self, ctx_size: usize, memory: &Memory) -> Result<(), Failure> {
        let kv = self.kv_per_token.saturating_mul(ctx_size as u64);
        let needed = kv.saturating_add(self.scratch);
        match memory.available() {
            Some((left, name)) if needed > left => Err(Failure::resources(format!(
                "memory: expected {} for a context of {ctx_size} tokens (KV cache {}, scratch {}), found {} left of {name}",
                report::bytes(needed),
                report::bytes(kv),
                report::bytes(self.scratch),
                report::bytes(left)
            ))),
            _ => Ok(()),
        }
    }

    fn tokens_in(&self, bytes: u64) -> usize {
        let tokens = bytes.saturating_sub(self.scratch) / self.kv_per_token.max(1);
        usize::try_from(tokens).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs { mapped_weights: 1_000_000, kv_per_token: 100, scratch: 50_000 };

    fn memory(physical: u64) -> Memory {
        Memory { physical: Some(physical), group: None, address_space: None }
    }

    #[test]
    fn the_models_own_context_is_used_where_it_fits() {
        let unknown = Memory { physical: None, group: None, address_space: None };
        assert_eq!(NEEDS.ctx_size(None, 131_072, 5, &unknown).unwrap(), 131_072);
        assert_eq!(NEEDS.ctx_size(None, 131_072, 5, &memory(20_000_000)).unwrap(), 131_072);
        assert_eq!(NEEDS.ctx_size(Some(0), 131_072, 5, &memory(20_000_000)).unwrap(), 131_072);
    }

    #[test]
    fn a_default_context_shrinks_to_what_fits_beside_the_weights() {
        assert_eq!(NEEDS.ctx_size(None, 131_072, 5, &memory(2_050_000)).unwrap(), 10_000);
        // Too little for the weights as well: the usual size, beside the scratch alone.
        assert_eq!(NEEDS.ctx_size(None, 131_072, 5, &memory(1_000_000)).unwrap(), 4096);
        assert_eq!(NEEDS.ctx_size(None, 131_072, 7000, &memory(1_000_000)).unwrap(), 7001);
        assert_eq!(NEEDS.ctx_size(None, 131_072, 5, &memory(150_000)).unwrap(), 1000);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_amounts() {
        let failure = NEEDS.ctx_size(Some(2_147_483_647), 131_072, 5, &memory(20_000_000)).unwrap_err();
        assert_eq!(failure.status(), 3);
        assert_eq!(
            failure.line(),
            "memory: expected 200.00 GiB for a context of 2147483647 tokens (KV cache 200.00 GiB, scratch 48.83 KiB), \
             found 19.07 MiB left of available memory"
        );
        assert_eq!(NEEDS.ctx_size(None, 131_072, 2000, &memory(150_000)).unwrap_err().status(), 3);
        // The model's own limit is the engine's to report.
        assert_eq!(NEEDS.ctx_size(None, 1000, 2000, &memory(150_000)).unwrap(), 1000);
    }
}
