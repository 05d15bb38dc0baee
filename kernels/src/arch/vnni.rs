//! Products of weights in blocks with int8 activations by AVX-512 VNNI: `vpdpbusd`, 64 multiply-adds of bytes.
//!
//! Not here: how formats are unpacked (`x86_codes.rs`, `vnni_scales.rs`).
//!
//! ```text
//! an output, with g counting groups of weights that share a scale:
//!     acc[g % 4] = fma(f32(exact sum of the group), scale_w[g] * scale_x[g], acc[g % 4])       then, with minima,
//!     acc[g % 4] = fma(minimum[g], offset_x[g], acc[g % 4])
//!     out = (acc[0] + acc[2]) + (acc[1] + acc[3])
//!
//! one row of activations: for each weight row, 16 groups at a time:
//!     eight (or four) lanes along k a group, added by a tree so that lanes are groups; then the chains, four lanes at a time
//!
//! many rows: for each panel of 16 weight rows:
//!     unpack it to unsigned bytes, [group][k / 4][16 rows][4], chain after chain, and its scales, [group][16 rows]
//!     for each tile of NR activation rows, each chain, each group: lanes are weight rows, four activations go to all of them
//! ```
//!
//! The instruction wants weights unsigned: signed codes are stored 128 larger, and each sum begins at -128 times the activations' sum, which
//! is exact. Integer sums have no order, so the two ways differ in nothing but nesting: the same bits.

use core::arch::x86_64::*;

use super::vnni_scales::Scales;
use crate::generic::int8::{INT8_BLOCK, Int8Rows};
use crate::view::MatMut;

/// Weight rows of a panel: a vector of f32.
const PANEL_ROWS: usize = 16;

/// Independent chains of sums of an output: a single row is not held up by one chain's latency.
const CHAINS: usize = 4;

/// Groups that a single row takes at a time.
const STEP: usize = 16;

/// The most blocks of 32 codes in a step.
const MAX_PIECES: usize = STEP;

/// Activation rows from which on a panel is unpacked.
const MIN_ROWS_TO_UNPACK: usize = 3;

/// How far ahead of the stream of weights the second-level cache is asked for more, see `generic/matmul.rs`.
const PREFETCH_BYTES: usize = 4096;

/// A panel of unpacked weights.
struct Panel<'a> {
    /// (groups, GROUP / 4, PANEL_ROWS), four codes each; groups in the order of the chains
    codes: &'a mut [[u8; 64]],
    /// (groups,)
    scales: &'a mut [[f32; PANEL_ROWS]],
    /// (groups,); none where the format has none
    minima: &'a mut [[f32; PANEL_ROWS]],
}

/// `out = x · wᵀ`. w: (n, k); x: (m, k); out: (m, n)
///
/// # Safety
/// - The shapes are as said and k is a multiple of the block.
/// - The CPU has AVX2, FMA, F16C and AVX-512 F, BW, VL and VNNI.
#[inline(always)]
pub(super) unsafe fn matmul<B: Scales, const NR: usize>(
    w: &[B],
    x: Int8Rows<'_>,
    k: usize,
    out: &mut MatMut<'_>,
    scratch: &mut [f32],
) {
    let (m, n) = (out.rows(), out.cols());
    debug_assert!(w.len() * B::LEN == n * k && x.q.len() == m * k && k.is_multiple_of(B::LEN));
    let row_len = k / B::LEN;
    let panel = if m >= MIN_ROWS_TO_UNPACK { Panel::new::<B>(scratch, k) } else { None };
    // SAFETY: each row and tile exists; the features are the caller's.
    unsafe {
        let Some(mut panel) = panel else {
            for r in 0..n {
                for t in 0..m {
                    out.row_mut(t)[r] = dot(w.as_ptr().add(r * row_len), x, k, t);
                }
            }
            return;
        };
        for r in (0..n).step_by(PANEL_ROWS) {
            let n_rows = PANEL_ROWS.min(n - r);
            // The rows that the last panel has too few of are its last one, again.
            let mut rows = [w.as_ptr(); PANEL_ROWS];
            for i in 0..PANEL_ROWS {
                rows[i] = w.as_ptr().add((r + i.min(n_rows - 1)) * row_len);
            }
            panel.unpack(&rows, k);
            let mut t = 0;
            while m - t >= NR {
                tile::<B, NR>(&panel, x, k, t, r, out);
                t += NR;
            }
            while m - t >= 4 {
                tile::<B, 4>(&panel, x, k, t, r, out);
                t += 4;
            }
            while t < m {
                tile::<B, 1>(&panel, x, k, t, r, out);
                t += 1;
            }
        }
    }
}

/// One output of one row of activations.
///
/// # Safety
/// As [`matmul`]; `k / B::LEN` blocks at `w` are readable, and row `t` exists.
#[inline(always)]
unsafe fn dot<B: Scales>(w: *const B, x: Int8Rows<'_>, k: usize, t: usize) -> f32 {
    let n_groups = k / B::GROUP;
    // SAFETY: the groups exist; the features are the caller's.
    unsafe {
        let mut acc = _mm_setzero_ps();
        let mut g = 0;
        while n_groups - g >= STEP {
            acc = step(w.add(g * B::GROUP / B::LEN), x, k, t, g, STEP, acc);
            g += STEP;
        }
        if g < n_groups {
            acc = step(w.add(g * B::GROUP / B::LEN), x, k, t, g, n_groups - g, acc);
        }
        let halves = _mm_add_ps(acc, _mm_movehl_ps(acc, acc));
        _mm_cvtss_f32(_mm_add_ss(halves, _mm_movehdup_ps(halves)))
    }
}

/// Adds groups `g..g + n` of row `t`, whose weights are at `w`, to the chains.
///
/// # Safety
/// As [`dot`]; the groups exist, `1 <= n <= STEP`.
#[inline(always)]
unsafe fn step<B: Scales>(w: *const B, x: Int8Rows<'_>, k: usize, t: usize, g: usize, n: usize, mut acc: __m128) -> __m128 {
    let per_block = B::LEN / INT8_BLOCK;
    let n_pieces = n * B::GROUP / INT8_BLOCK;
    // SAFETY: all loads are of the n groups, or masked to them; the features are the caller's.
    unsafe {
        let first = (t * k + g * B::GROUP) / INT8_BLOCK;
        let q = x.q.as_ptr().add(t * k + g * B::GROUP);
        let mut line = 0;
        while line < STEP * B::GROUP / B::LEN * size_of::<B>() {
            _mm_prefetch::<_MM_HINT_T1>(w.cast::<i8>().wrapping_add(PREFETCH_BYTES + line));
            line += 64;
        }
        let mut sums = [_mm256_setzero_si256(); MAX_PIECES];
        for i in 0..n_pieces {
            let codes = unsigned::<B>((*w.add(i / per_block)).codes(i % per_block));
            sums[i] = _mm256_dpbusd_epi32(sums[i], codes, _mm256_loadu_si256(q.add(i * INT8_BLOCK).cast()));
        }
        let valid = (0xffff_u32 >> (STEP - n)) as u16;
        let (sums, scales) = match B::GROUP {
            16 => {
                let twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
                let scales = _mm512_maskz_loadu_ps(valid & 0xff >> ((STEP - n) / 2), x.scales.as_ptr().add(first));
                let starts = _mm512_maskz_loadu_epi32(valid, x.half_starts.as_ptr().add(2 * first));
                (_mm512_add_epi32(add_halves(&sums), starts), _mm512_permutexvar_ps(twice, scales))
            }
            _ => {
                let scales = _mm512_maskz_loadu_ps(valid, x.scales.as_ptr().add(first));
                let sums = add_wholes(&sums);
                let starts = _mm512_maskz_loadu_epi32(valid, x.starts.as_ptr().add(first));
                (if B::HAS_MINIMA { sums } else { _mm512_add_epi32(sums, starts) }, scales)
            }
        };
        let (scales_w, minima) = B::scales(w, n);
        let (sums, scales) = (_mm512_cvtepi32_ps(sums), _mm512_mul_ps(scales_w, scales));
        if B::HAS_MINIMA {
            let offsets = _mm512_maskz_loadu_ps(valid, x.offsets.as_ptr().add(first));
            acc = chains::<0>(sums, scales, minima, offsets, acc);
            acc = chains::<1>(sums, scales, minima, offsets, acc);
            acc = chains::<2>(sums, scales, minima, offsets, acc);
            return chains::<3>(sums, scales, minima, offsets, acc);
        }
        acc = _mm_fmadd_ps(_mm512_castps512_ps128(sums), _mm512_castps512_ps128(scales), acc);
        acc = _mm_fmadd_ps(_mm512_extractf32x4_ps::<1>(sums), _mm512_extractf32x4_ps::<1>(scales), acc);
        acc = _mm_fmadd_ps(_mm512_extractf32x4_ps::<2>(sums), _mm512_extractf32x4_ps::<2>(scales), acc);
        _mm_fmadd_ps(_mm512_extractf32x4_ps::<3>(sums), _mm512_extractf32x4_ps::<3>(scales), acc)
    }
}

/// One step of each chain, with the four groups of part `I`, where there are minima.
///
/// # Safety
/// As [`step`].
#[inline(always)]
unsafe fn chains<const I: i32>(sums: __m512, scales: __m512, minima: __m512, offsets: __m512, acc: __m128) -> __m128 {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let acc = _mm_fmadd_ps(_mm512_extractf32x4_ps::<I>(sums), _mm512_extractf32x4_ps::<I>(scales), acc);
        _mm_fmadd_ps(_mm512_extractf32x4_ps::<I>(minima), _mm512_extractf32x4_ps::<I>(offsets), acc)
    }
}

/// Codes as the instruction wants them.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn unsigned<B: Scales>(codes: __m256i) -> __m256i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { if B::HAS_MINIMA { codes } else { _mm256_xor_si256(codes, _mm256_set1_epi8(-128)) } }
}

/// The sum of each vector's eight lanes, in the vectors' order.
///
/// # Safety
/// As [`step`].
#[inline(always)]
unsafe fn add_wholes(v: &[__m256i; MAX_PIECES]) -> __m512i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        // Of each half of four vectors, the four sums.
        let a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
        let b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
        let c = _mm256_hadd_epi32(_mm256_hadd_epi32(v[8], v[9]), _mm256_hadd_epi32(v[10], v[11]));
        let d = _mm256_hadd_epi32(_mm256_hadd_epi32(v[12], v[13]), _mm256_hadd_epi32(v[14], v[15]));
        let low = _mm256_add_epi32(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b));
        let high = _mm256_add_epi32(_mm256_permute2x128_si256::<0x20>(c, d), _mm256_permute2x128_si256::<0x31>(c, d));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
}

/// The sums of each half of the first eight vectors, in their order.
///
/// # Safety
/// As [`step`].
#[inline(always)]
unsafe fn add_halves(v: &[__m256i; MAX_PIECES]) -> __m512i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
        let b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
        let order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
        _mm512_permutexvar_epi32(order, _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b))
    }
}

impl<'a> Panel<'a> {
    /// A panel of rows of `k` elements in `scratch`, if that is large enough.
    fn new<B: Scales>(scratch: &'a mut [f32], k: usize) -> Option<Panel<'a>> {
        let n_groups = k / B::GROUP;
        let (codes, rest) = scratch.split_at_mut_checked(PANEL_ROWS * k / 4)?;
        let (scales, rest) = rest.split_at_mut_checked(PANEL_ROWS * n_groups)?;
        let (minima, _) = rest.split_at_mut_checked(if B::HAS_MINIMA { PANEL_ROWS * n_groups } else { 0 })?;
        // SAFETY: f32 and bytes are plain data without invalid patterns, and bytes need no alignment.
        let (_, codes, _) = unsafe { codes.align_to_mut::<[u8; 64]>() };
        Some(Panel { codes, scales: scales.as_chunks_mut().0, minima: minima.as_chunks_mut().0 })
    }

    /// Unpacks the rows.
    ///
    /// # Safety
    /// As [`matmul`]; each row has `k / B::LEN` blocks, and the panel was made for `k`.
    #[inline(always)]
    unsafe fn unpack<B: Scales>(&mut self, rows: &[*const B; PANEL_ROWS], k: usize) {
        let (n_groups, per_block, lines) = (k / B::GROUP, B::LEN / INT8_BLOCK, B::GROUP / 4);
        // Where a group lies: the chains' groups one after the other.
        let mut starts = [0; CHAINS];
        for c in 1..CHAINS {
            starts[c] = starts[c - 1] + (n_groups + CHAINS - c) / CHAINS;
        }
        // SAFETY: the blocks exist; the lines written are those of the k elements; the features are the caller's.
        unsafe {
            for i in 0..k / INT8_BLOCK {
                for half in 0..2 {
                    let mut v = [_mm256_setzero_si256(); 8];
                    for j in 0..8 {
                        v[j] = unsigned::<B>((*rows[8 * half + j].add(i / per_block)).codes(i % per_block));
                    }
                    let v = transposed(&v);
                    for (d, v) in v.iter().enumerate() {
                        let g = (i * INT8_BLOCK + 4 * d) / B::GROUP;
                        let line = (starts[g % CHAINS] + g / CHAINS) * lines + d % lines;
                        _mm256_storeu_si256(self.codes[line].as_mut_ptr().add(32 * half).cast(), *v);
                    }
                }
            }
            for (r, row) in rows.iter().enumerate() {
                let mut g = 0;
                while g < n_groups {
                    let n = STEP.min(n_groups - g);
                    let (scales, minima) = B::scales(row.add(g * B::GROUP / B::LEN), n);
                    let (mut s, mut m) = ([0.0_f32; STEP], [0.0_f32; STEP]);
                    _mm512_storeu_ps(s.as_mut_ptr(), scales);
                    _mm512_storeu_ps(m.as_mut_ptr(), minima);
                    for j in 0..n {
                        let at = starts[(g + j) % CHAINS] + (g + j) / CHAINS;
                        self.scales[at][r] = s[j];
                        if B::HAS_MINIMA {
                            self.minima[at][r] = m[j];
                        }
                    }
                    g += n;
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

/// One tile of outputs: the panel's rows, which begin at column `r` of `out`, and activation rows `t..t + NR`.
///
/// # Safety
/// As [`matmul`]; the rows exist, and the panel was unpacked.
#[inline(always)]
unsafe fn tile<B: Scales, const NR: usize>(
    panel: &Panel<'_>,
    x: Int8Rows<'_>,
    k: usize,
    t: usize,
    r: usize,
    out: &mut MatMut<'_>,
) {
    let (n_groups, n_blocks, lines) = (k / B::GROUP, k / INT8_BLOCK, B::GROUP / 4);
    // SAFETY: the rows have k activations and n_blocks of all else; the panel has n_groups groups; the features are the caller's.
    unsafe {
        let q = x.q.as_ptr().add(t * k);
        let at = t * n_blocks;
        let (scales, offsets) = (x.scales.as_ptr().add(at), x.offsets.as_ptr().add(at));
        let (starts, half_starts) = (x.starts.as_ptr().add(at), x.half_starts.as_ptr().add(2 * at));
        let mut held = [[_mm512_setzero_ps(); NR]; 2];
        let mut p = 0;
        for c in 0..CHAINS {
            let mut acc = [_mm512_setzero_ps(); NR];
            let mut g = c;
            while g < n_groups {
                let codes = panel.codes.as_ptr().add(p * lines);
                let mut sums = [_mm512_setzero_si512(); NR];
                for b in 0..NR {
                    sums[b] = match (B::HAS_MINIMA, B::GROUP) {
                        (true, _) => _mm512_setzero_si512(),
                        (_, 16) => _mm512_set1_epi32(*half_starts.add(b * 2 * n_blocks + g)),
                        _ => _mm512_set1_epi32(*starts.add(b * n_blocks + g)),
                    };
                }
                for line in 0..lines {
                    let w = _mm512_loadu_si512(codes.add(line).cast());
                    for b in 0..NR {
                        let four = q.add(b * k + g * B::GROUP + 4 * line).cast::<i32>().read_unaligned();
                        sums[b] = _mm512_dpbusd_epi32(sums[b], w, _mm512_set1_epi32(four));
                    }
                }
                let scales_w = _mm512_loadu_ps(panel.scales.as_ptr().add(p).cast());
                for b in 0..NR {
                    let scale = _mm512_mul_ps(scales_w, _mm512_set1_ps(*scales.add(b * n_blocks + g * B::GROUP / INT8_BLOCK)));
                    acc[b] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[b]), scale, acc[b]);
                }
                if B::HAS_MINIMA {
                    let minima = _mm512_loadu_ps(panel.minima.as_ptr().add(p).cast());
                    for b in 0..NR {
                        acc[b] = _mm512_fmadd_ps(minima, _mm512_set1_ps(*offsets.add(b * n_blocks + g)), acc[b]);
                    }
                }
                g += CHAINS;
                p += 1;
            }
            for b in 0..NR {
                held[c % 2][b] = _mm512_add_ps(held[c % 2][b], acc[b]);
            }
        }
        let n_rows = PANEL_ROWS.min(out.cols() - r);
        let valid = (0xffff_u32 >> (PANEL_ROWS - n_rows)) as u16;
        for b in 0..NR {
            let sums = _mm512_add_ps(held[0][b], held[1][b]);
            _mm512_mask_storeu_ps(out.row_mut(t + b)[r..].as_mut_ptr(), valid, sums);
        }
    }
}
