//! The order in which products of many rows of AVX-512 VNNI read activations that were rounded to bytes: tiles of 12 rows.
//!
//! Not here: the product (`vnni_panels.rs`). Plain Rust, which any CPU runs.

use super::vnni::{chain_starts, place};
use crate::dispatch::Int8Tiles;
use crate::generic::int8::{INT8_BLOCK, Int8Rows};

/// These tiles, to the table of kernels.
pub(super) const TILES: Int8Tiles = Int8Tiles { count: tiles, len: tile_len, pack };

/// Rows of a tile: with two accumulators each they leave some of 32 vector registers to spare.
pub(super) const TILE_ROWS: usize = 12;

/// Rows from which on there are tiles. Measured, see `INT8.md`.
pub(super) const MIN_ROWS_OF_TILES: usize = 3 * TILE_ROWS;

/// Rows left over from which on a tile is faster, most of it done before, than as few rows.
const MIN_ROWS_OF_LAST_TILE: usize = 5;

/// What a tile has of each block, in numbers of 32 bits of one for each row: `half_starts`, `offsets`, `starts`, `scales`, and the bytes by fours.
pub(super) const TILE_HALF_STARTS: usize = 0;
pub(super) const TILE_OFFSETS: usize = 2 * TILE_ROWS;
pub(super) const TILE_STARTS: usize = 3 * TILE_ROWS;
pub(super) const TILE_SCALES: usize = 4 * TILE_ROWS;
pub(super) const TILE_BYTES: usize = 5 * TILE_ROWS;
pub(super) const TILE_BLOCK_LEN: usize = TILE_BYTES + INT8_BLOCK / 4 * TILE_ROWS;

/// The number of tiles of `m` rows; rows left over beyond them are few.
fn tiles(m: usize) -> usize {
    match m {
        0..MIN_ROWS_OF_TILES => 0,
        _ => (m + TILE_ROWS - MIN_ROWS_OF_LAST_TILE) / TILE_ROWS,
    }
}

/// The first row of tile `i` of `m` rows: the last tile has rows of the one before again, to the same sums.
pub(super) fn first_row_of_tile(m: usize, i: usize) -> usize {
    (i * TILE_ROWS).min(m - TILE_ROWS)
}

/// The numbers of a tile of rows of `k`.
pub(super) fn tile_len(k: usize) -> usize {
    k / INT8_BLOCK * TILE_BLOCK_LEN
}

/// Packs tile `i` of all rows: its blocks chain after chain, as a product sums them, one number of each row beside the others'. k: elements of a
/// row; `i` is below [`tiles`]; to: [`tile_len`] numbers
fn pack(x: Int8Rows<'_>, k: usize, i: usize, to: &mut [i32]) {
    let (m, n_blocks) = (x.q.len() / k, k / INT8_BLOCK);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seeded;

    /// Each number of each row where the product looks for it: one beside those of the other rows, blocks in the order of the chains.
    #[test]
    fn tiles_hold_the_numbers_of_their_rows() {
        let (m, n_blocks) = (41, 21);
        let (k, n) = (n_blocks * INT8_BLOCK, m * n_blocks);
        let mut seeded = Seeded(6);
        let q: Vec<i8> = (0..m * k).map(|_| seeded.bits() as i8).collect();
        let mut floats = |n: usize| (0..n).map(|_| seeded.uniform()).collect::<Vec<f32>>();
        let (scales, offsets, half_offsets) = (floats(n), floats(n), floats(2 * n));
        let mut integers = |n: usize| (0..n).map(|_| seeded.bits() as i32).collect::<Vec<i32>>();
        let (starts, half_starts) = (integers(n), integers(2 * n));
        let (q, scales, starts, half_starts) = (&q[..], &scales[..], &starts[..], &half_starts[..]);
        let (offsets, half_offsets) = (&offsets[..], &half_offsets[..]);
        let x = Int8Rows { q, scales, starts, half_starts, offsets, half_offsets, tiles: &[] };
        let order = (0..16).flat_map(|c| (c..n_blocks).step_by(16));
        for (i, first) in [0, 12, 24, m - 12].into_iter().enumerate() {
            let mut tile = vec![0; tile_len(k)];
            pack(x, k, i, &mut tile);
            let mut numbers = tile.into_iter();
            for block in order.clone() {
                let mut take = |want: &dyn Fn(usize) -> i32| {
                    (first..first + 12).for_each(|row| assert_eq!(numbers.next(), Some(want(row * n_blocks + block)), "{block}"));
                };
                take(&|i| half_starts[2 * i]);
                take(&|i| half_starts[2 * i + 1]);
                take(&|i| offsets[i].to_bits() as i32);
                take(&|i| starts[i]);
                take(&|i| scales[i].to_bits() as i32);
                for j in 0..INT8_BLOCK / 4 {
                    take(&|i| i32::from_ne_bytes(core::array::from_fn(|b| q[i * INT8_BLOCK + 4 * j + b] as u8)));
                }
            }
            assert_eq!(numbers.next(), None);
        }
        assert_eq!([0, 1, 35, 36, 40, 41, 48, 512].map(tiles), [0, 0, 0, 3, 3, 4, 4, 43]);
    }
}
