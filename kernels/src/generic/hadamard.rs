//! The fast Hadamard transform of blocks of a row.
//!
//! The Hadamard matrix of order n, Hᵢⱼ = (-1)^|i & j| / √n with |·| the number of ones, is orthogonal and its own inverse: products of rows that
//! are both multiplied by it are what they were, and what is large in one place is spread over the block, so that less is lost where the
//! block is rounded with one scale (Ashkboos et al., 2024, "QuaRot"). Not here: which matrices are kept so (whoever makes them).
//!
//! Additions alone, in log2 n steps (Fino and Algazi, 1976), and a factor at the end. Every step has the same form, halves to pairs (Pease,
//! 1968), of which the compiler makes what vectors the caller has; no sum depends on them, so that the bits are the same everywhere.

/// The largest order.
pub const MAX_HADAMARD: usize = 256;

/// Whether there is a transform of this order: powers of two, of which 1 changes nothing.
pub fn is_hadamard_order(order: usize) -> bool {
    order.is_power_of_two() && order <= MAX_HADAMARD
}

/// Transforms each block of `order` elements; see [`Kernels::hadamard`](crate::Kernels::hadamard), which checks the shapes.
#[inline(always)]
pub(crate) fn hadamard(x: &mut [f32], order: usize) {
    let factor = 1.0 / (order as f32).sqrt();
    let (mut buffer, mut other) = ([0.0; MAX_HADAMARD], [0.0; MAX_HADAMARD]);
    for block in x.chunks_exact_mut(order) {
        let (mut from, mut to) = (&mut buffer[..order], &mut other[..order]);
        from.copy_from_slice(block);
        for _ in 0..order.ilog2() {
            let (low, high) = from.split_at(order / 2);
            let (pairs, _) = to.as_chunks_mut::<2>();
            for i in 0..order / 2 {
                pairs[i] = [low[i] + high[i], low[i] - high[i]];
            }
            (from, to) = (to, from);
        }
        for i in 0..order {
            block[i] = from[i] * factor;
        }
    }
}
