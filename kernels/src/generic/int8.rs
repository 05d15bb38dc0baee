//! Activations in blocks of 32 signed bytes, how they are rounded to them, and the order in which products of many rows read them.
//!
//! Not here: products (`arch/avx2_int8.rs`, `arch/vnni.rs`). Scales are f32, since activations of one row may differ by more than f16 holds.

/// Activations in a block, as many as weights in a block of `Q8_0` and `Q4_0`.
pub const INT8_BLOCK: usize = 32;

/// What is added to a signed code of a weight where an instruction wants it unsigned.
pub(crate) const CODE_OFFSET: i32 = 128;

/// Rows of activations as bytes: element i of a row is `q[i] · scales[i / INT8_BLOCK]`. k is a multiple of [`INT8_BLOCK`].
#[derive(Clone, Copy)]
pub struct Int8Rows<'a> {
    /// (m, k), each in -127..=127
    pub q: &'a [i8],
    /// (m, k / INT8_BLOCK)
    pub scales: &'a [f32],
    /// -128 times each block's sum of bytes: where the sum of a product begins whose weights are stored 128 too large. (m, k / INT8_BLOCK)
    pub starts: &'a [i32],
    /// The same for each half of a block. (m, 2 · k / INT8_BLOCK)
    pub half_starts: &'a [i32],
    /// The negated sum of each block's activations, which a minimum of its weights is multiplied by. (m, k / INT8_BLOCK)
    pub offsets: &'a [f32],
    /// The same numbers by tiles of rows, made by [`pack_int8_tile`]: all [`int8_tiles`] of them or, where one does without, none.
    pub tiles: &'a [i32],
}

/// Rows of activations as bytes, to be written; the fields are those of [`Int8Rows`].
pub struct Int8RowsMut<'a> {
    /// (m, k)
    pub q: &'a mut [i8],
    /// (m, k / INT8_BLOCK)
    pub scales: &'a mut [f32],
    /// (m, k / INT8_BLOCK)
    pub starts: &'a mut [i32],
    /// (m, 2 · k / INT8_BLOCK)
    pub half_starts: &'a mut [i32],
    /// (m, k / INT8_BLOCK)
    pub offsets: &'a mut [f32],
}

impl Int8Rows<'_> {
    /// Whether the lengths of all fields belong together, for rows of `k`.
    pub(crate) fn is_consistent(&self, k: usize) -> bool {
        let n = self.q.len() / INT8_BLOCK;
        n * INT8_BLOCK == self.q.len()
            && [self.scales.len(), self.starts.len(), self.offsets.len(), self.half_starts.len() / 2] == [n; 4]
            && [0, int8_tiles(self.q.len() / k) * int8_tile_len(k)].contains(&self.tiles.len())
    }
}

/// Rounds each block; see [`Kernels::round_to_int8`](crate::Kernels::round_to_int8), which checks the lengths. Plain loops over arrays, of which
/// the compiler makes what vectors the caller has.
#[inline(always)]
pub(crate) fn round_to_int8(x: &[f32], to: Int8RowsMut<'_>) {
    let Int8RowsMut { q, scales, starts, half_starts, offsets } = to;
    let ((x, _), (q, _)) = (x.as_chunks::<INT8_BLOCK>(), q.as_chunks_mut::<INT8_BLOCK>());
    for (i, (x, q)) in x.iter().zip(q).enumerate() {
        let (scale, sums) = round_block(x, q);
        scales[i] = scale;
        half_starts[2 * i] = -CODE_OFFSET * sums[0];
        half_starts[2 * i + 1] = -CODE_OFFSET * sums[1];
        starts[i] = -CODE_OFFSET * (sums[0] + sums[1]);
        offsets[i] = scale * -(sums[0] + sums[1]) as f32;
    }
}

/// Rows of a tile: with two accumulators each they leave some of 32 vector registers to spare.
pub(crate) const TILE_ROWS: usize = 12;

/// Rows from which on there are tiles. Measured, see `INT8.md`.
pub(crate) const MIN_ROWS_OF_TILES: usize = 3 * TILE_ROWS;

/// Rows left over from which on a tile is faster, most of it done before, than as few rows.
const MIN_ROWS_OF_LAST_TILE: usize = 5;

/// Chains of sums that an output has, of blocks as far apart as that.
pub(crate) const CHAINS: usize = 16;

/// What a tile has of each block, in numbers of 32 bits of one for each row: `half_starts`, `offsets`, `starts`, `scales`, and the bytes by fours.
pub(crate) const TILE_HALF_STARTS: usize = 0;
pub(crate) const TILE_OFFSETS: usize = 2 * TILE_ROWS;
pub(crate) const TILE_STARTS: usize = 3 * TILE_ROWS;
pub(crate) const TILE_SCALES: usize = 4 * TILE_ROWS;
pub(crate) const TILE_BYTES: usize = 5 * TILE_ROWS;
pub(crate) const TILE_BLOCK_LEN: usize = TILE_BYTES + INT8_BLOCK / 4 * TILE_ROWS;

/// The number of tiles of `m` rows; rows left over beyond them are few.
pub fn int8_tiles(m: usize) -> usize {
    match m {
        0..MIN_ROWS_OF_TILES => 0,
        _ => (m + TILE_ROWS - MIN_ROWS_OF_LAST_TILE) / TILE_ROWS,
    }
}

/// The first row of tile `i` of `m` rows: the last tile has rows of the one before again, to the same sums.
pub(crate) fn first_row_of_tile(m: usize, i: usize) -> usize {
    (i * TILE_ROWS).min(m - TILE_ROWS)
}

/// The numbers of a tile of rows of `k`.
pub fn int8_tile_len(k: usize) -> usize {
    k / INT8_BLOCK * TILE_BLOCK_LEN
}

/// Where each chain begins, if `n` things lie chain after chain.
#[inline(always)]
pub(crate) fn chain_starts(n: usize) -> [usize; CHAINS] {
    let mut starts = [0; CHAINS];
    for c in 1..CHAINS {
        starts[c] = starts[c - 1] + (n + CHAINS - c) / CHAINS;
    }
    starts
}

/// Where thing `i` lies among them.
#[inline(always)]
pub(crate) fn place(starts: &[usize; CHAINS], i: usize) -> usize {
    starts[i % CHAINS] + i / CHAINS
}

/// Packs tile `i` of all rows: its blocks chain after chain, as a product sums them, one number of each row beside the others'. k: elements of a
/// row; `i` is below [`int8_tiles`]; to: [`int8_tile_len`] numbers
///
/// # Panics
/// If one of these has another size.
pub fn pack_int8_tile(x: Int8Rows<'_>, k: usize, i: usize, to: &mut [i32]) {
    let (m, n_blocks) = (x.q.len() / k, k / INT8_BLOCK);
    assert!(i < int8_tiles(m) && to.len() == int8_tile_len(k) && x.is_consistent(k), "pack_int8_tile");
    let (starts, (to, _)) = (chain_starts(n_blocks), to.as_chunks_mut::<TILE_BLOCK_LEN>());
    let first = first_row_of_tile(m, i) * n_blocks;
    let (q, _) = x.q.as_chunks::<INT8_BLOCK>();
    for b in 0..n_blocks {
        let to = &mut to[place(&starts, b)];
        for row in 0..TILE_ROWS {
            let block = first + row * n_blocks + b;
            to[TILE_HALF_STARTS + row] = x.half_starts[2 * block];
            to[TILE_HALF_STARTS + TILE_ROWS + row] = x.half_starts[2 * block + 1];
            to[TILE_OFFSETS + row] = x.offsets[block].to_bits() as i32;
            to[TILE_STARTS + row] = x.starts[block];
            to[TILE_SCALES + row] = x.scales[block].to_bits() as i32;
            for (j, &[q0, q1, q2, q3]) in q[block].as_chunks::<4>().0.iter().enumerate() {
                to[TILE_BYTES + j * TILE_ROWS + row] = i32::from_ne_bytes([q0 as u8, q1 as u8, q2 as u8, q3 as u8]);
            }
        }
    }
}

/// Rounds one block and returns its scale and the sums of its halves.
#[inline(always)]
fn round_block(x: &[f32; INT8_BLOCK], q: &mut [i8; INT8_BLOCK]) -> (f32, [i32; 2]) {
    /// Added to a small f32, it leaves the nearest integer in the low bits, ties to even.
    const ROUND: f32 = (3 << 22) as f32;
    // Magnitudes have the order of their bits, infinity and NaN above all numbers.
    let mut bits = 0;
    for i in 0..INT8_BLOCK {
        bits = i32::max(bits, (x[i].to_bits() & 0x7fff_ffff) as i32);
    }
    let max = f32::from_bits(bits as u32);
    // Of a block of zeros, and of numbers so small that the quotient is infinite, nothing is left.
    let inverse = 127.0 / max;
    let (mut integers, mut sums) = ([0; INT8_BLOCK], [0; 2]);
    if inverse.is_finite() && max.is_finite() {
        for i in 0..INT8_BLOCK {
            integers[i] = (x[i] * inverse + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
        }
    }
    for i in 0..INT8_BLOCK {
        q[i] = integers[i] as i8;
    }
    for i in 0..INT8_BLOCK / 2 {
        sums[0] += integers[i];
        sums[1] += integers[INT8_BLOCK / 2 + i];
    }
    (max / 127.0, sums)
}
