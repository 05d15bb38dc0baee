//! Products of weights in blocks with many rows of int8 activations by AVX-512 VNNI, by panels of unpacked weights.
//!
//! Not here: few rows (`vnni_rows.rs`), how an output is summed (`vnni.rs`), how formats are unpacked (`x86_codes.rs`, `vnni_scales.rs`).
//!
//! ```text
//! for as many panels of 16 weight rows as scratch has room for:
//!     unpack each: chain after chain, group after group: unsigned bytes, [k / 4][16 rows][4], scales, [16 rows], and minima
//!     for each tile of 12 activation rows:
//!         pack it: chain after chain, group after group: where sums begin, [12], scales, [12], and bytes, [k / 4][12][4]
//!         for each panel: lanes are weight rows; four activations go to all of them
//! ```

use core::arch::x86_64::*;

use super::vnni::{CHAINS, Line, sixteen_groups, unsigned};
use super::vnni_quads::Quads;
use super::vnni_scales::Scales;
use crate::generic::int8::{INT8_BLOCK, Int8Rows};
use crate::view::MatMut;

/// Weight rows of a panel: a vector of f32.
const PANEL_ROWS: usize = 16;

/// Activation rows of a tile: with two accumulators each they leave registers to spare.
pub(super) const NR: usize = 12;

/// Activation rows left over from which on a tile is faster, most of it done before, than as few rows.
const MIN_ROWS_OF_LAST_TILE: usize = 5;

/// Lines of a group of a panel: codes, scales, minima.
#[inline(always)]
const fn group_lines<B: Scales>() -> usize {
    B::GROUP / 4 + 1 + B::HAS_MINIMA as usize
}

/// Numbers of 32 bits of a group of a packed tile.
#[inline(always)]
const fn packed_len<B: Scales>() -> usize {
    NR * (2 + B::GROUP / 4)
}

/// Where each chain's groups begin, if groups lie chain after chain.
#[inline(always)]
fn chain_starts(n_groups: usize) -> [usize; CHAINS] {
    let mut starts = [0; CHAINS];
    for c in 1..CHAINS {
        starts[c] = starts[c - 1] + (n_groups + CHAINS - c) / CHAINS;
    }
    starts
}

/// Where group `g` lies among the groups.
#[inline(always)]
fn place(starts: &[usize; CHAINS], g: usize) -> usize {
    starts[g % CHAINS] + g / CHAINS
}

/// `out = x · wᵀ` of as many rows of activations as are whole tiles; returns their number, or none for want of scratch.
///
/// # Safety
/// As [`super::vnni::matmul`].
#[inline(always)]
pub(super) unsafe fn matmul<B: Quads>(w: &[B], x: Int8Rows<'_>, k: usize, out: &mut MatMut<'_>, scratch: &mut [Line]) -> usize {
    let (m, n, n_groups) = (out.rows(), out.cols(), k / B::GROUP);
    let panel_lines = n_groups * group_lines::<B>();
    let packed_lines = (n_groups * packed_len::<B>()).div_ceil(16);
    if m < NR || scratch.len() < packed_lines + panel_lines {
        return 0;
    }
    let (packed, panels) = scratch.split_at_mut(packed_lines);
    let rows_at_once = panels.len() / panel_lines * PANEL_ROWS;
    let n_done = if m % NR < MIN_ROWS_OF_LAST_TILE { m / NR * NR } else { m };
    for first in (0..n).step_by(rows_at_once) {
        let rows = (first..n.min(first + rows_at_once)).step_by(PANEL_ROWS);
        // SAFETY: the rows exist, and panels and tiles have the lines of k elements; the features are the caller's.
        unsafe {
            for (r, panel) in rows.clone().zip(panels.chunks_exact_mut(panel_lines)) {
                unpack(w, k, r, n, panel);
            }
            for t in (0..n_done).step_by(NR) {
                // The last tile has rows of the one before again, to the same bits.
                let t = t.min(m - NR);
                pack::<B>(x, k, t, packed);
                for (r, panel) in rows.clone().zip(panels.chunks_exact(panel_lines)) {
                    tile::<B>(panel, packed, n_groups, t, r, out);
                }
            }
        }
    }
    n_done
}

/// Unpacks the rows from `r` on, at most 16, of `n`. Those that the last panel has too few of are its last one, again.
///
/// # Safety
/// As [`super::vnni::matmul`]; `r < n`, and the panel has the lines of k elements.
#[inline(always)]
unsafe fn unpack<B: Quads>(w: &[B], k: usize, r: usize, n: usize, panel: &mut [Line]) {
    let (n_groups, row_len, per_block) = (k / B::GROUP, k / B::LEN, B::LEN / INT8_BLOCK);
    debug_assert!(panel.len() >= n_groups * group_lines::<B>());
    let (starts, panel) = (chain_starts(n_groups), panel.as_mut_ptr());
    let mut room = [const { core::mem::MaybeUninit::uninit() }; CHAINS];
    // SAFETY: the blocks exist; the lines written are those of the k elements; the features are the caller's.
    unsafe {
        for half in 0..2 {
            let mut rows = [w.as_ptr(); 8];
            for (j, row) in rows.iter_mut().enumerate() {
                *row = w.as_ptr().add((r + 8 * half + j).min(n - 1) * row_len);
            }
            for i in 0..k / INT8_BLOCK {
                let mut v = [_mm256_setzero_si256(); 8];
                for j in 0..8 {
                    v[j] = unsigned::<B>((*rows[j].add(i / per_block)).codes(i % per_block));
                }
                let v = transposed(&v);
                for part in 0..INT8_BLOCK / B::GROUP {
                    let to = panel.add(place(&starts, i * INT8_BLOCK / B::GROUP + part) * group_lines::<B>());
                    for d in 0..B::GROUP / 4 {
                        let to = to.add(d).cast::<__m256i>().add(half);
                        _mm256_store_si256(to, v[part * B::GROUP / 4 + d]);
                    }
                }
            }
        }
        for i in 0..PANEL_ROWS {
            let row = (r + i).min(n - 1) * row_len;
            for first in (0..n_groups).step_by(CHAINS) {
                let (scales, minima) = B::scales(sixteen_groups(w, row + first * B::GROUP / B::LEN, &mut room));
                let (mut s, mut m) = (Line([0; 16]), Line([0; 16]));
                _mm512_store_ps(s.0.as_mut_ptr().cast(), scales);
                _mm512_store_ps(m.0.as_mut_ptr().cast(), minima);
                for j in 0..CHAINS.min(n_groups - first) {
                    let to = panel.add(place(&starts, first + j) * group_lines::<B>() + B::GROUP / 4).cast::<i32>().add(i);
                    *to = s.0[j];
                    if B::HAS_MINIMA {
                        *to.add(PANEL_ROWS) = m.0[j];
                    }
                }
            }
        }
    }
}

/// An 8 x 8 matrix of four bytes each, transposed.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn transposed(v: &[__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let zero = _mm256_setzero_si256();
        // Columns 0, 1, 4, 5 and columns 2, 3, 6, 7 of two rows; then columns i and i + 4 of four.
        let (mut low, mut high) = ([zero; 4], [zero; 4]);
        for i in 0..4 {
            low[i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
            high[i] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
        }
        let mut columns = [[zero; 2]; 4];
        for j in 0..2 {
            columns[0][j] = _mm256_unpacklo_epi64(low[2 * j], low[2 * j + 1]);
            columns[1][j] = _mm256_unpackhi_epi64(low[2 * j], low[2 * j + 1]);
            columns[2][j] = _mm256_unpacklo_epi64(high[2 * j], high[2 * j + 1]);
            columns[3][j] = _mm256_unpackhi_epi64(high[2 * j], high[2 * j + 1]);
        }
        let mut out = [zero; 8];
        for i in 0..4 {
            out[i] = _mm256_permute2x128_si256::<0x20>(columns[i][0], columns[i][1]);
            out[i + 4] = _mm256_permute2x128_si256::<0x31>(columns[i][0], columns[i][1]);
        }
        out
    }
}

/// Packs activation rows `t..t + NR`.
///
/// # Safety
/// The rows exist, and `to` has the lines of a tile of k elements; the CPU has AVX-512 F and VL.
#[inline(always)]
unsafe fn pack<B: Scales>(x: Int8Rows<'_>, k: usize, t: usize, to: &mut [Line]) {
    let (n_groups, n_blocks) = (k / B::GROUP, k / INT8_BLOCK);
    debug_assert!(16 * to.len() >= n_groups * packed_len::<B>());
    let (starts, to) = (chain_starts(n_groups), to.as_mut_ptr().cast::<i32>());
    for b in (0..NR).step_by(4) {
        let first_row = t + b;
        // SAFETY: what is read is of the rows, or masked out; what is written is of the tile.
        unsafe {
            let (q, scales) = (x.q.as_ptr().add(first_row * k), x.scales.as_ptr().add(first_row * n_blocks).cast::<i32>());
            let begin = match (B::HAS_MINIMA, B::GROUP) {
                (true, _) => x.offsets.as_ptr().add(first_row * n_blocks).cast(),
                (_, 16) => x.half_starts.as_ptr().add(first_row * n_groups),
                _ => x.starts.as_ptr().add(first_row * n_blocks),
            };
            for first in (0..n_groups).step_by(4) {
                let n = 4.min(n_groups - first);
                let mask = 0xf_u8 >> (4 - n);
                let (mut begins, mut scale) = ([_mm_setzero_si128(); 4], [_mm_setzero_si128(); 4]);
                for j in 0..4 {
                    begins[j] = _mm_maskz_loadu_epi32(mask, begin.add(j * n_groups + first));
                    if B::GROUP == 16 {
                        // Two groups share a scale.
                        let two = _mm_loadl_epi64(scales.add(j * n_blocks + first / 2).cast());
                        scale[j] = _mm_unpacklo_epi32(two, two);
                    } else {
                        scale[j] = _mm_maskz_loadu_epi32(mask, scales.add(j * n_blocks + first));
                    }
                }
                let (begins, scale) = (transposed_4(begins), transposed_4(scale));
                for i in 0..n {
                    let g = first + i;
                    let to = to.add(place(&starts, g) * packed_len::<B>() + b);
                    _mm_storeu_si128(to.cast(), begins[i]);
                    _mm_storeu_si128(to.add(NR).cast(), scale[i]);
                    for part in 0..B::GROUP / 16 {
                        let mut v = [_mm_setzero_si128(); 4];
                        for j in 0..4 {
                            v[j] = _mm_loadu_si128(q.add(j * k + g * B::GROUP + 16 * part).cast());
                        }
                        let v = transposed_4(v);
                        for d in 0..4 {
                            _mm_storeu_si128(to.add((2 + 4 * part + d) * NR).cast(), v[d]);
                        }
                    }
                }
            }
        }
    }
}

/// A 4 x 4 matrix of four bytes each, transposed.
///
/// # Safety
/// Nothing but what every x86-64 CPU has.
#[inline(always)]
unsafe fn transposed_4(v: [__m128i; 4]) -> [__m128i; 4] {
    // SAFETY: no memory is touched; every x86-64 CPU has SSE2.
    unsafe {
        let (a, b) = (_mm_unpacklo_epi32(v[0], v[1]), _mm_unpacklo_epi32(v[2], v[3]));
        let (c, d) = (_mm_unpackhi_epi32(v[0], v[1]), _mm_unpackhi_epi32(v[2], v[3]));
        [_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b), _mm_unpacklo_epi64(c, d), _mm_unpackhi_epi64(c, d)]
    }
}

/// One tile of outputs: the panel's rows, which begin at column `r` of `out`, and activation rows `t..t + NR`.
///
/// # Safety
/// As [`super::vnni::matmul`]; the rows exist, the panel was unpacked and the tile packed.
#[inline(always)]
unsafe fn tile<B: Scales>(panel: &[Line], packed: &[Line], n_groups: usize, t: usize, r: usize, out: &mut MatMut<'_>) {
    let (mut w, mut x) = (panel.as_ptr(), packed.as_ptr().cast::<i32>());
    // SAFETY: the panel and the tile have n_groups groups each; the features are the caller's.
    unsafe {
        let mut parts = [[_mm512_setzero_ps(); NR]; 4];
        for c in 0..CHAINS {
            let mut chain = [_mm512_setzero_ps(); NR];
            let mut g = c;
            while g < n_groups {
                let mut sums = [_mm512_setzero_si512(); NR];
                if !B::HAS_MINIMA {
                    for b in 0..NR {
                        sums[b] = _mm512_set1_epi32(*x.add(b));
                    }
                }
                for line in 0..B::GROUP / 4 {
                    let codes = _mm512_load_si512(w.add(line).cast());
                    for b in 0..NR {
                        sums[b] = _mm512_dpbusd_epi32(sums[b], codes, _mm512_set1_epi32(*x.add((2 + line) * NR + b)));
                    }
                }
                let scales = _mm512_load_ps(w.add(B::GROUP / 4).cast());
                for b in 0..NR {
                    let scale = _mm512_mul_ps(scales, _mm512_set1_ps(*x.add(NR + b).cast::<f32>()));
                    chain[b] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[b]), scale, chain[b]);
                }
                if B::HAS_MINIMA {
                    let minima = _mm512_load_ps(w.add(B::GROUP / 4 + 1).cast());
                    for b in 0..NR {
                        chain[b] = _mm512_fmadd_ps(minima, _mm512_set1_ps(*x.add(b).cast::<f32>()), chain[b]);
                    }
                }
                w = w.add(group_lines::<B>());
                x = x.add(packed_len::<B>());
                g += CHAINS;
            }
            let part = &mut parts[c % 4];
            for b in 0..NR {
                part[b] = if c < 4 { chain[b] } else { _mm512_add_ps(part[b], chain[b]) };
            }
        }
        let valid = (0xffff_u32 >> PANEL_ROWS.saturating_sub(out.cols() - r)) as u16;
        for b in 0..NR {
            let sum = _mm512_add_ps(_mm512_add_ps(parts[0][b], parts[2][b]), _mm512_add_ps(parts[1][b], parts[3][b]));
            _mm512_mask_storeu_ps(out.row_mut(t + b)[r..].as_mut_ptr(), valid, sum);
        }
    }
}
