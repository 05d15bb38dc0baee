//! Products of weights in blocks with many rows of int8 activations by AVX-512 VNNI, by panels of unpacked weights.
//!
//! Not here: few rows (`vnni_rows.rs`), how an output is summed (`vnni.rs`), how formats are unpacked (`x86_codes.rs`, `vnni_scales.rs`).
//!
//! ```text
//! for as many panels of 16 weight rows as a cache has room for beside activations:
//!     unpack each: chain after chain, group after group: unsigned bytes, [k / 4][16 rows][4], scales, [16 rows], and minima
//!     for each tile of 12 activation rows (`vnni_tiles.rs`):
//!         for each panel: lanes are weight rows; four activations go to all of them
//! ```

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::vnni::{CHAINS, Line, chain_starts, place, sixteen_groups, unsigned};
use super::vnni_quads::Quads;
use super::vnni_scales::Scales;
use super::vnni_tiles::{
    TILE_BLOCK_LEN, TILE_BYTES, TILE_HALF_STARTS, TILE_OFFSETS, TILE_ROWS as NR, TILE_SCALES, TILE_STARTS, first_row_of_tile,
    tile_len,
};
use super::x86_transposed::transposed;
use crate::generic::int8::{INT8_BLOCK, Int8Rows};
use crate::view::MatMut;

/// Weight rows of a panel: a vector of f32.
const PANEL_ROWS: usize = 16;

/// Bytes of unpacked panels that are multiplied with tile after tile: about half of the second-level cache, which tiles go through, too.
const PANELS_BYTES: usize = 512 << 10;

/// Lines of a group of a panel: codes, scales, minima.
#[inline(always)]
const fn group_lines<B: Scales>() -> usize {
    B::GROUP / 4 + 1 + B::HAS_MINIMA as usize
}

/// `out = x · wᵀ` of as many rows of activations as are whole tiles; returns their number, or none for want of scratch.
///
/// # Safety
/// As [`super::vnni::matmul`].
#[inline(always)]
pub(super) unsafe fn matmul<B: Quads>(w: &[B], x: Int8Rows<'_>, k: usize, out: &mut MatMut<'_>, scratch: &mut [Line]) -> usize {
    let (m, n, n_groups, tile_len) = (out.rows(), out.cols(), k / B::GROUP, tile_len(k));
    let panel_lines = n_groups * group_lines::<B>();
    if x.tiles.is_empty() || scratch.len() < panel_lines {
        return 0;
    }
    let n_panels = (PANELS_BYTES / size_of_val(&scratch[..panel_lines])).clamp(1, scratch.len() / panel_lines);
    let rows_at_once = n_panels * PANEL_ROWS;
    for first in (0..n).step_by(rows_at_once) {
        let rows = (first..n.min(first + rows_at_once)).step_by(PANEL_ROWS);
        // SAFETY: the rows exist, and panels and tiles have the lines of k elements; the features are the caller's.
        unsafe {
            for (r, panel) in rows.clone().zip(scratch.chunks_exact_mut(panel_lines)) {
                unpack(w, k, r, n, panel);
            }
            for (i, packed) in x.tiles.chunks_exact(tile_len).enumerate() {
                for (r, panel) in rows.clone().zip(scratch.chunks_exact(panel_lines)) {
                    tile::<B>(panel, packed, k, first_row_of_tile(m, i), r, out);
                }
            }
        }
    }
    m.min(x.tiles.len() / tile_len * NR)
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
    let mut room = [const { MaybeUninit::uninit() }; CHAINS];
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
                    // The eight rows after these.
                    _mm_prefetch::<_MM_HINT_T1>(rows[j].wrapping_add(8 * row_len + i / per_block).cast());
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

/// One tile of outputs: the panel's rows, which begin at column `r` of `out`, and activation rows `t..t + NR`.
///
/// # Safety
/// As [`super::vnni::matmul`]; the rows exist, the panel was unpacked and the tile packed.
#[inline(always)]
unsafe fn tile<B: Scales>(panel: &[Line], packed: &[i32], k: usize, t: usize, r: usize, out: &mut MatMut<'_>) {
    let (n_groups, mut w) = (k / B::GROUP, panel.as_ptr());
    debug_assert!(packed.len() == tile_len(k) && panel.len() >= n_groups * group_lines::<B>());
    let starts = chain_starts(k / INT8_BLOCK);
    // SAFETY: the panel has n_groups groups, and the tile their blocks; parts are written by the first four chains; the features are the
    // caller's.
    unsafe {
        let mut parts = [[MaybeUninit::<__m512>::uninit(); NR]; 4];
        for c in 0..CHAINS {
            let mut chain = [_mm512_setzero_ps(); NR];
            let mut g = c;
            while g < n_groups {
                let (block, half) = (g * B::GROUP / INT8_BLOCK, g % (INT8_BLOCK / B::GROUP));
                let x = packed.as_ptr().add(place(&starts, block) * TILE_BLOCK_LEN);
                let mut sums = [_mm512_setzero_si512(); NR];
                if !B::HAS_MINIMA {
                    let begins = x.add(if B::GROUP == INT8_BLOCK { TILE_STARTS } else { TILE_HALF_STARTS + half * NR });
                    for b in 0..NR {
                        sums[b] = _mm512_set1_epi32(*begins.add(b));
                    }
                }
                let bytes = x.add(TILE_BYTES + half * (B::GROUP / 4 * NR));
                for line in 0..B::GROUP / 4 {
                    let codes = _mm512_load_si512(w.add(line).cast());
                    for b in 0..NR {
                        sums[b] = _mm512_dpbusd_epi32(sums[b], codes, _mm512_set1_epi32(*bytes.add(line * NR + b)));
                    }
                }
                let scales = _mm512_load_ps(w.add(B::GROUP / 4).cast());
                for b in 0..NR {
                    let scale = _mm512_mul_ps(scales, _mm512_set1_ps(*x.add(TILE_SCALES + b).cast::<f32>()));
                    chain[b] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[b]), scale, chain[b]);
                }
                if B::HAS_MINIMA {
                    let minima = _mm512_load_ps(w.add(B::GROUP / 4 + 1).cast());
                    for b in 0..NR {
                        chain[b] = _mm512_fmadd_ps(minima, _mm512_set1_ps(*x.add(TILE_OFFSETS + b).cast::<f32>()), chain[b]);
                    }
                }
                w = w.add(group_lines::<B>());
                g += CHAINS;
            }
            let part = &mut parts[c % 4];
            for b in 0..NR {
                part[b].write(if c < 4 { chain[b] } else { _mm512_add_ps(part[b].assume_init(), chain[b]) });
            }
        }
        let valid = (0xffff_u32 >> PANEL_ROWS.saturating_sub(out.cols() - r)) as u16;
        for b in 0..NR {
            let even = _mm512_add_ps(parts[0][b].assume_init(), parts[2][b].assume_init());
            let odd = _mm512_add_ps(parts[1][b].assume_init(), parts[3][b].assume_init());
            let sum = _mm512_add_ps(even, odd);
            _mm512_mask_storeu_ps(out.row_mut(t + b)[r..].as_mut_ptr(), valid, sum);
        }
    }
}
