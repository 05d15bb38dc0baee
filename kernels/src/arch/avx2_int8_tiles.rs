//! How products of AVX2 read activations that were rounded to bytes: row by row, or packed by tiles of four rows.
//!
//! Not here: the products (`avx2_int8.rs`), how activations are rounded (`generic/int8.rs`).
//!
//! ```text
//! a tile:     bytes           [k / 4][4 rows][4 bytes]
//!             scales          [k / 32][4 rows]
//!             offsets         [k / 32][4 rows]
//!             starts          [k / 32][4 rows]
//!             half_starts     [k / 16][4 rows]
//!             half_offsets    [k / 16][4 rows]
//! ```
//!
//! A product reads the bytes from one end to the other, and of the others what its format needs. Rows as they lie are often multiples of 4 KiB
//! apart and then compete for the same lines of the caches.

use core::arch::x86_64::*;

use super::avx2_int8_panels::Kind;
use crate::dispatch::Int8Tiles;
use crate::generic::int8::{CODE_OFFSET, INT8_BLOCK, Int8Rows};

/// These tiles, to the table of kernels.
pub(super) const TILES: Int8Tiles = Int8Tiles { count: tiles, len: tile_len, pack };

/// Rows of a tile: with two panels they are eight sums.
pub(super) const TILE_ROWS: usize = 4;

/// Numbers that a row has in a tile.
#[derive(Clone, Copy)]
struct Lens {
    bytes: usize,
    blocks: usize,
    halves: usize,
}

impl Lens {
    fn of(k: usize) -> Lens {
        Lens { bytes: k / 4, blocks: k / INT8_BLOCK, halves: 2 * k / INT8_BLOCK }
    }
}

/// The number of tiles of `m` rows.
fn tiles(m: usize) -> usize {
    m / TILE_ROWS
}

/// The numbers of a tile of rows of `k`.
pub(super) fn tile_len(k: usize) -> usize {
    let Lens { bytes, blocks, halves } = Lens::of(k);
    (bytes + 3 * blocks + 2 * halves) * TILE_ROWS
}

/// Packs tile `i` of all rows. k: elements of a row; `i` is below [`tiles`]; to: [`tile_len`] numbers
fn pack(x: Int8Rows<'_>, k: usize, i: usize, to: &mut [i32]) {
    let lens = Lens::of(k);
    let (q, _) = x.q.as_chunks();
    let (bytes, to) = to.split_at_mut(lens.bytes * TILE_ROWS);
    let (scales, to) = to.split_at_mut(lens.blocks * TILE_ROWS);
    let (offsets, to) = to.split_at_mut(lens.blocks * TILE_ROWS);
    let (starts, to) = to.split_at_mut(lens.blocks * TILE_ROWS);
    let (half_starts, half_offsets) = to.split_at_mut(lens.halves * TILE_ROWS);
    side_by_side(i, q, bytes, |[q0, q1, q2, q3]: [i8; 4]| i32::from_ne_bytes([q0 as u8, q1 as u8, q2 as u8, q3 as u8]));
    side_by_side(i, x.scales, scales, |scale: f32| scale.to_bits() as i32);
    side_by_side(i, x.offsets, offsets, |offset: f32| offset.to_bits() as i32);
    side_by_side(i, x.starts, starts, |start| start);
    side_by_side(i, x.half_starts, half_starts, |start| start);
    side_by_side(i, x.half_offsets, half_offsets, |offset: f32| offset.to_bits() as i32);
}

/// Writes the numbers of the four rows of tile `i`, as many of each as there is room for, one of each row beside the others'.
#[inline(always)]
fn side_by_side<T: Copy>(i: usize, rows: &[T], to: &mut [i32], as_i32: impl Fn(T) -> i32) {
    let (n, (to, _)) = (to.len() / TILE_ROWS, to.as_chunks_mut::<TILE_ROWS>());
    let [a, b, c, d] = core::array::from_fn(|row| &rows[(i * TILE_ROWS + row) * n..][..n]);
    for (j, to) in to.iter_mut().enumerate() {
        *to = [as_i32(a[j]), as_i32(b[j]), as_i32(c[j]), as_i32(d[j])];
    }
}

/// Rows of activations, of a tile if `PACKED` and as they lie otherwise, from where a segment of k begins.
#[derive(Clone, Copy)]
pub(super) struct Source<const PACKED: bool> {
    bytes: *const i32,
    scales: *const f32,
    offsets: *const f32,
    starts: *const i32,
    half_starts: *const i32,
    half_offsets: *const f32,
    lens: Lens,
}

impl Source<false> {
    /// Rows from `t` on and their elements from `from` on, which begins a block.
    ///
    /// # Safety
    /// There are such rows, of `k`.
    #[inline(always)]
    pub unsafe fn of_rows(x: Int8Rows<'_>, k: usize, t: usize, from: usize) -> Self {
        let (lens, at) = (Lens::of(k), t * k + from);
        // SAFETY: the caller's contract.
        unsafe {
            Source {
                bytes: x.q.as_ptr().add(at).cast(),
                scales: x.scales.as_ptr().add(at / INT8_BLOCK),
                offsets: x.offsets.as_ptr().add(at / INT8_BLOCK),
                starts: x.starts.as_ptr().add(at / INT8_BLOCK),
                half_starts: x.half_starts.as_ptr().add(2 * at / INT8_BLOCK),
                half_offsets: x.half_offsets.as_ptr().add(2 * at / INT8_BLOCK),
                lens,
            }
        }
    }
}

impl Source<true> {
    /// The rows of tile `i` and their elements from `from` on, which begins a block.
    ///
    /// # Safety
    /// There is such a tile, of rows of `k`.
    #[inline(always)]
    pub unsafe fn of_tile(x: Int8Rows<'_>, k: usize, i: usize, from: usize) -> Self {
        let lens = Lens::of(k);
        // SAFETY: the caller's contract.
        unsafe {
            let bytes = x.tiles.as_ptr().add(i * tile_len(k));
            let scales = bytes.add(lens.bytes * TILE_ROWS);
            let offsets = scales.add(lens.blocks * TILE_ROWS);
            let starts = offsets.add(lens.blocks * TILE_ROWS);
            let half_starts = starts.add(lens.blocks * TILE_ROWS);
            let half_offsets = half_starts.add(lens.halves * TILE_ROWS);
            let block = from / INT8_BLOCK * TILE_ROWS;
            Source {
                bytes: bytes.add(from / 4 * TILE_ROWS),
                scales: scales.add(block).cast(),
                offsets: offsets.add(block).cast(),
                starts: starts.add(block),
                half_starts: half_starts.add(2 * block),
                half_offsets: half_offsets.add(2 * block).cast(),
                lens,
            }
        }
    }
}

/// All of these need AVX2 and that the source has row `b` and what is asked for of it.
impl<const PACKED: bool> Source<PACKED> {
    /// Where number `j` of row `b` lies, of which a row has `n`.
    #[inline(always)]
    fn at(b: usize, j: usize, n: usize) -> usize {
        if PACKED { j * TILE_ROWS + b } else { b * n + j }
    }

    /// The `j`-th 32 activations of a row as they lie.
    ///
    /// # Safety
    /// See above; rows are not packed.
    #[inline(always)]
    pub unsafe fn block(self, b: usize, j: usize) -> __m256i {
        const { assert!(!PACKED) };
        // SAFETY: the contract stated above.
        unsafe { _mm256_loadu_si256(self.bytes.add(Self::at(b, j * INT8_BLOCK / 4, self.lens.bytes)).cast()) }
    }

    /// The `j`-th four activations, in all lanes.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    pub unsafe fn four(self, b: usize, j: usize) -> __m256i {
        // SAFETY: the contract stated above.
        unsafe { _mm256_set1_epi32(self.bytes.add(Self::at(b, j, self.lens.bytes)).read_unaligned()) }
    }

    /// Where the `j`-th four activations of all rows lie, one row's beside the others'.
    ///
    /// # Safety
    /// See above; rows are packed.
    #[inline(always)]
    pub unsafe fn fours(self, j: usize) -> *const i32 {
        debug_assert!(PACKED);
        // SAFETY: the contract stated above.
        unsafe { self.bytes.add(Self::at(0, j, self.lens.bytes)) }
    }

    /// The scale of group `g`, in all lanes.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    pub unsafe fn scale<K: Kind>(self, b: usize, g: usize) -> __m256 {
        // SAFETY: the contract stated above.
        unsafe { _mm256_set1_ps(*self.scales.add(Self::at(b, g * K::GROUP / INT8_BLOCK, self.lens.blocks))) }
    }

    /// What is added to the sum of group `g`, in all lanes, whose codes are `offset` too large: [`Int8Rows`] has it for codes that are 128
    /// too large.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    pub unsafe fn start<K: Kind>(self, b: usize, g: usize, offset: usize) -> __m256i {
        // SAFETY: the contract stated above.
        unsafe {
            let start = match K::GROUP {
                INT8_BLOCK => *self.starts.add(Self::at(b, g, self.lens.blocks)),
                _ => *self.half_starts.add(Self::at(b, g, self.lens.halves)),
            };
            _mm256_sra_epi32(_mm256_set1_epi32(start), _mm_cvtsi32_si128((CODE_OFFSET.ilog2() - offset.ilog2()) as i32))
        }
    }

    /// What the minimum of group `g` is multiplied by, in all lanes: the negated sum of its activations.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    pub unsafe fn offset<K: Kind>(self, b: usize, g: usize) -> __m256 {
        // SAFETY: the contract stated above.
        unsafe {
            _mm256_set1_ps(match K::GROUP {
                INT8_BLOCK => *self.offsets.add(Self::at(b, g, self.lens.blocks)),
                _ => *self.half_offsets.add(Self::at(b, g, self.lens.halves)),
            })
        }
    }
}
