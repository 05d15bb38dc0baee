//! `Attention`: a rung's attention over keys and values of one layout, and its checked entry points.
//!
//! Not here: the algorithm (`generic/attention/`), where keys and values lie (`kv.rs`), which rows and chunks a thread takes (the
//! engine's). Holding an `Attention` proves that the CPU can run it, as holding the [`Kernels`] does that it came from.

use crate::dispatch::Kernels;
use crate::generic::attention::{Chunk, Rows, Sums};
use crate::kv::{KV_PAGE_LEN, KvLayout};

pub(crate) type Merge = unsafe fn(&[f32], &mut Sums<'_>);

/// The kernels that differ by the type of keys and values.
#[derive(Clone, Copy)]
pub(crate) struct AttentionKernels {
    pub(crate) pack: unsafe fn(&mut [f32], f32),
    pub(crate) attend: unsafe fn(KvLayout, &Chunk<'_>, Rows, &[f32], &mut [f32], &mut Sums<'_>),
}

/// An array with the kernels for each type of keys and values, in the order of `KvDType::ALL`.
macro_rules! by_kv_dtype {
    ($pack:ident, $attend:ident) => {
        [
            AttentionKernels { pack: $pack::<f32>, attend: $attend::<f32> },
            AttentionKernels { pack: $pack::<half::f16>, attend: $attend::<half::f16> },
            AttentionKernels { pack: $pack::<half::bf16>, attend: $attend::<half::bf16> },
            AttentionKernels { pack: $pack::<i8>, attend: $attend::<i8> },
        ]
    };
}
pub(crate) use by_kv_dtype;

/// Attention over keys and values of one layout.
#[derive(Clone, Copy)]
pub struct Attention {
    kernels: AttentionKernels,
    merge: Merge,
    layout: KvLayout,
    is_bf16: bool,
}

impl Kernels {
    /// Attention over keys and values of this layout; with queries and weights rounded to bf16 where `rounds` allows it and the ISA multiplies
    /// them by such keys and values natively, in f32 otherwise. Sums are f32 always.
    pub fn attention(&self, layout: KvLayout, rounds: bool) -> Attention {
        let bf16 = self.attention_bf16[layout.dtype() as usize].filter(|_| rounds);
        let kernels = bf16.unwrap_or(self.attention[layout.dtype() as usize]);
        Attention { kernels, merge: self.merge, layout, is_bf16: bf16.is_some() }
    }
}

impl Attention {
    /// Where keys and values lie in a page.
    pub fn layout(&self) -> KvLayout {
        self.layout
    }

    /// Whether queries and weights are rounded to bf16.
    pub fn is_bf16(&self) -> bool {
        self.is_bf16
    }

    /// Scales queries and puts them in the form that [`Attention::attend`] takes, in place. q: (rows, head_dim)
    pub fn pack(&self, q: &mut [f32]) {
        let factor = (self.layout.head_dim() as f32).powf(-0.5) * core::f32::consts::LOG2_E;
        // SAFETY: no shapes need a check, and holding `self` proves the CPU's features.
        unsafe { (self.kernels.pack)(q, factor) }
    }

    /// Elements of `scores` for this many rows.
    pub const fn scores_len(rows: usize) -> usize {
        rows.saturating_mul(KV_PAGE_LEN)
    }

    /// The sums of one chunk, written to `out`. q: (rows, head_dim), by [`Attention::pack`]; scores: [`Attention::scores_len`], scratch
    pub fn attend(&self, chunk: &Chunk<'_>, rows: Rows, q: &[f32], scores: &mut [f32], out: &mut Sums<'_>) {
        let (layout, n_rows) = (self.layout, out.max.len());
        assert!(chunk.start.is_multiple_of(KV_PAGE_LEN), "a chunk at {}", chunk.start);
        assert!(rows.group > 0 && n_rows > 0 && q.len() == n_rows * layout.head_dim(), "queries of {n_rows} rows");
        assert!(scores.len() >= Attention::scores_len(n_rows), "scratch of {} for {n_rows} rows", scores.len());
        assert!(out.sum.len() == n_rows && out.acc.len() == n_rows * layout.width(), "sums of {n_rows} rows");
        let is_page = chunk.page.len() == layout.bytes() && chunk.page.as_ptr().cast::<f32>().is_aligned();
        assert!(is_page, "a page of {} aligned bytes", layout.bytes());
        // SAFETY: the shapes and the alignment were just checked, and holding `self` proves the CPU's features.
        unsafe { (self.kernels.attend)(layout, chunk, rows, q, scores, out) }
    }

    /// Adds the sums of a later chunk to those of the chunks before it, row by row. chunk: the buffer of [`Sums::new`]
    pub fn merge(&self, chunk: &[f32], running: &mut Sums<'_>) {
        let (n_rows, width) = (running.max.len(), self.layout.width());
        assert_eq!(chunk.len(), Sums::len(width, n_rows), "sums of ({n_rows}, {width})");
        assert!(running.sum.len() == n_rows && running.acc.len() == n_rows * width, "sums of ({n_rows}, {width})");
        // SAFETY: the shapes were just checked, and holding `self` proves the CPU's features.
        unsafe { (self.merge)(chunk, running) }
    }
}
