//! Products of weights in blocks with int8 activations by AVX-512 VNNI: `vpdpbusd`, 64 multiply-adds of bytes.
//!
//! Not here: one row of activations (`vnni_one.rs`), few (`vnni_few.rs`) and many (`vnni_panels.rs`), how formats are unpacked
//! (`x86_codes.rs`, `vnni_quads.rs`, `vnni_scales.rs`).
//!
//! ```text
//! an output, with g counting groups of weights that share a scale:
//!     chain[g % 16] = fma(f32(exact sum of the group), scale_w[g] * scale_x[g], chain[g % 16])      then, with minima,
//!     chain[g % 16] = fma(minimum[g], offset_x[g], chain[g % 16])
//!     part[j] = ((chain[j] + chain[j + 4]) + chain[j + 8]) + chain[j + 12]
//!     out = (part[0] + part[2]) + (part[1] + part[3])
//! ```
//!
//! The instruction wants weights unsigned: signed codes are stored larger by a constant, and each sum is less by as many times the activations'
//! sum, which is exact. Integer sums have no order, so few rows and many differ in nothing but nesting: the same bits.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::vnni_quads::Quads;
use super::vnni_scales::Scales;
use super::{vnni_panels, vnni_rows};
use crate::generic::int8::Int8Rows;
use crate::view::MatMut;

/// Chains of sums that an output has, of blocks as far apart as that.
pub(super) const CHAINS: usize = 16;

/// A line of the caches.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub [i32; 16]);

/// `out = x · wᵀ`. w: (n, k); x: (m, k); out: (m, n)
///
/// # Safety
/// - The shapes are as said, k is a multiple of the block, and scratch has k and 256 elements at least.
/// - The CPU has AVX2, FMA, F16C and AVX-512 F, BW, VL and VNNI.
#[inline(always)]
pub(super) unsafe fn matmul<B: Quads, const INTEL: bool>(
    w: &[B],
    x: Int8Rows<'_>,
    k: usize,
    out: &mut MatMut<'_>,
    scratch: &mut [f32],
) {
    debug_assert!(w.len() * B::LEN == out.cols() * k && x.q.len() == out.rows() * k && k.is_multiple_of(B::LEN));
    // SAFETY: the caller's contract; f32 and lines are plain data without invalid patterns.
    unsafe {
        let (_, scratch, _) = scratch.align_to_mut::<Line>();
        let n_done = vnni_panels::matmul(w, x, k, out, scratch);
        vnni_rows::matmul::<B, INTEL>(w, x, k, n_done, out, scratch);
    }
}

/// Room for the blocks of 16 groups, at most 16.
pub(super) type Room<B> = [MaybeUninit<B>; CHAINS];

/// A place from which the blocks of 16 groups can be read: those from block `at` on and, where `w` has no more, zeros.
///
/// # Safety
/// `at < w.len()`
#[inline(always)]
pub(super) unsafe fn sixteen_groups<B: Scales>(w: &[B], at: usize, room: &mut Room<B>) -> *const B {
    // SAFETY: the caller's contract; blocks are plain bytes.
    unsafe {
        if at + CHAINS * B::GROUP / B::LEN > w.len() {
            *room = [MaybeUninit::zeroed(); CHAINS];
            room.as_mut_ptr().cast::<B>().copy_from_nonoverlapping(w.as_ptr().add(at), w.len() - at);
            return room.as_ptr().cast();
        }
        w.as_ptr().add(at)
    }
}

/// Codes as the instruction wants them.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn unsigned<B: Scales>(codes: __m256i) -> __m256i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { if B::HAS_MINIMA { codes } else { _mm256_xor_si256(codes, _mm256_set1_epi8(-128)) } }
}

/// Where each chain begins, if `n` things lie chain after chain.
#[inline(always)]
pub(super) fn chain_starts(n: usize) -> [usize; CHAINS] {
    let mut starts = [0; CHAINS];
    for c in 1..CHAINS {
        starts[c] = starts[c - 1] + (n + CHAINS - c) / CHAINS;
    }
    starts
}

/// Where thing `i` lies among them.
#[inline(always)]
pub(super) fn place(starts: &[usize; CHAINS], i: usize) -> usize {
    starts[i % CHAINS] + i / CHAINS
}
