//! Products of many rows of int8 activations on the portable rung: codes are transposed, so that lanes are weight rows before they are multiplied.
//!
//! Not here: few rows, and what both have in common (`portable_int8.rs`).
//!
//! Of two elements along k, a vector has those of four weight rows. Each two elements of a row of activations are copied to all lanes and multiplied by
//! two such vectors; nothing is added across lanes, which for few rows takes as many instructions as half of the products.

use wide::{bytemuck, f32x4, i16x8, i32x4};

use crate::arch::portable_int8::{Kind, LANES, MIN_GROUP, STEP, Scales, Tile, Widened, by_kind, load, store, widened};
use crate::block::{MAX_BLOCK_LEN, Quantized};
use crate::view::MatMut;

/// The most activation rows of a tile: with two vectors of weight rows each, eight sums of the 16 registers of SSE2.
pub(super) const IN_TILE: usize = 4;

/// Vectors of weight rows that share what was copied of the activations.
const VECTORS: usize = 2;

/// Elements along k in one lane.
const PAIR: usize = 2;

/// Weight rows that share vectors of the activations.
const PART_ROWS: usize = VECTORS * LANES;

/// Weight rows that are unpacked at a time.
const PANEL_ROWS: usize = 2 * PART_ROWS;

/// Weights of each that are unpacked at a time: 16 KiB of a panel, which leaves the first-level cache room for activations.
const SEGMENT: usize = 512;

const _: () = assert!(SEGMENT.is_multiple_of(MAX_BLOCK_LEN));

/// A segment of eight weight rows.
struct Part {
    codes: [[[i16; PAIR * LANES]; VECTORS]; SEGMENT / PAIR],
    scales: [Scales<{ SEGMENT / MIN_GROUP }>; VECTORS],
}

/// All weights against many rows.
pub(super) fn many_rows<B: Quantized>(w: &[B], x: Widened<'_>, out: &mut MatMut<'_>) {
    let (n, k) = (out.cols(), x.k());
    let mut panel = [const { Part { codes: [[[0; PAIR * LANES]; VECTORS]; SEGMENT / PAIR], scales: [Scales::ZERO; VECTORS] } };
        PANEL_ROWS / PART_ROWS];
    for first in (0..n).step_by(PANEL_ROWS) {
        let count = (n - first).min(PANEL_ROWS);
        for from in (0..k).step_by(SEGMENT) {
            let len = SEGMENT.min(k - from);
            for v in 0..count.div_ceil(LANES) {
                // A row that there is not is the last again, and its outputs are not written.
                let mut rows = [w; LANES];
                for (a, row) in rows.iter_mut().enumerate() {
                    let r = (first + v * LANES + a).min(n - 1);
                    *row = &w[(r * k + from) / B::LEN..][..len / B::LEN];
                }
                unpack(rows, &mut panel[v / VECTORS], v % VECTORS);
            }
            for (t, rows) in x.rows.tiles() {
                let tile = x.tile(t, rows, from, len);
                for (i, part) in panel[..count.div_ceil(PART_ROWS)].iter().enumerate() {
                    let columns = (first + i * PART_ROWS, first + count.min((i + 1) * PART_ROWS));
                    by_kind!(
                        B,
                        K,
                        match rows {
                            1 => multiply::<K, 1>(part, tile, columns, out),
                            2 => multiply::<K, 2>(part, tile, columns, out),
                            _ => multiply::<K, IN_TILE>(part, tile, columns, out),
                        }
                    );
                }
            }
        }
    }
}

/// Unpacks a segment of four rows to vector `v`.
fn unpack<B: Quantized>(rows: [&[B]; LANES], to: &mut Part, v: usize) {
    let mut codes = [[0; MAX_BLOCK_LEN]; LANES];
    for (i, to_codes) in to.codes.chunks_exact_mut(B::LEN / PAIR).enumerate().take(rows[0].len()) {
        for a in 0..LANES {
            rows[a][i].write_codes(&mut codes[a][..B::LEN]);
            to.scales[v].unpack(&rows[a][i], i, a);
        }
        let [a, b, c, d] = codes.each_ref().map(|codes| codes.as_chunks::<STEP>().0);
        for (step, to) in to_codes.chunks_exact_mut(STEP / PAIR).enumerate() {
            let rows = [widened(a[step]), widened(b[step]), widened(c[step]), widened(d[step])];
            let pairs: [[i16; PAIR * LANES]; STEP / PAIR] = bytemuck::cast(f32x4::transpose(bytemuck::cast(rows)));
            for p in 0..STEP / PAIR {
                to[p][v] = pairs[p];
            }
        }
    }
}

/// Adds to the outputs of eight weight rows, or what is left of them, and `NR` activation rows what a segment brings.
fn multiply<K: Kind, const NR: usize>(part: &Part, x: Tile<'_>, columns: (usize, usize), out: &mut MatMut<'_>) {
    // The outputs of each vector.
    let (middle, end) = (columns.1.min(columns.0 + LANES), columns.1);
    let mut acc = [[f32x4::ZERO; VECTORS]; NR];
    if x.from > 0 {
        for b in 0..NR {
            let row = out.row_mut(x.t + b);
            acc[b] = [load(&row[columns.0..middle]), load(&row[middle..end])];
        }
    }
    let (codes, _) = part.codes.as_chunks::<{ STEP / PAIR }>();
    let steps = codes.chunks_exact(K::GROUP / STEP).zip(x.steps::<NR>().chunks_exact(K::GROUP / STEP));
    for (group, (codes, bytes)) in steps.enumerate() {
        let mut sums = [[i32x4::ZERO; VECTORS]; NR];
        for (codes, bytes) in codes.iter().zip(bytes) {
            for p in 0..STEP / PAIR {
                let codes = [i16x8::new(codes[p][0]), i16x8::new(codes[p][1])];
                for b in 0..NR {
                    let pairs: [i32; STEP / PAIR] = bytemuck::cast(bytes[b]);
                    let pair: i16x8 = bytemuck::cast(i32x4::splat(pairs[p]));
                    for v in 0..VECTORS {
                        sums[b][v] += pair.dot(codes[v]);
                    }
                }
            }
        }
        for b in 0..NR {
            for v in 0..VECTORS {
                acc[b][v] = x.add::<K, _>(acc[b][v], sums[b][v], &part.scales[v], b, group);
            }
        }
    }
    for b in 0..NR {
        let row = out.row_mut(x.t + b);
        store(acc[b][0], &mut row[columns.0..middle]);
        store(acc[b][1], &mut row[middle..end]);
    }
}
