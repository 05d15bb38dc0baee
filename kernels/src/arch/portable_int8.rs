//! Products of weights of integers with int8 activations on the portable rung: products of 16 bits, which every vector CPU adds by twos to 32 bits
//! (`pmaddwd` of SSE2), of any format that says its codes and scales.
//!
//! Not here: codes and scales of the formats (`block/`), f32 lanes (`portable.rs`), the loops over many rows (`portable_int8_panels.rs`). See `INT8.md`
//! for what was measured.
//!
//! ```text
//! widen the activations to 16 bits, as many rows as the scratch holds
//! for each panel of weight rows and each segment along k:
//!     unpack the codes, and the scales by groups
//!     for each tile of activation rows:
//!         for each group:
//!             sums = exact integers
//!             acc += sums · scales - minima           lanes are weight rows
//! ```
//!
//! An output is one chain over the groups of its row, in order, whatever the number of rows: where a segment ends, it waits in the output. For few rows
//! (here) codes stay bytes and lie along k, and the sums of four weight rows are transposed; for more, the codes are.

use wide::{bytemuck, f32x4, i8x16, i16x8, i16x16, i32x4};

use crate::arch::portable_int8_panels;
use crate::block::{MAX_BLOCK_LEN, MAX_GROUPS, Quantized};
use crate::generic::int8::{INT8_BLOCK, Int8Rows};
use crate::view::MatMut;

/// Weight rows whose outputs are the lanes of a vector.
pub(super) const LANES: usize = 4;

/// Weights of each row that are unpacked at a time for few rows: codes, scales and activations together leave half of the first-level cache free, and
/// long parts of rows are read faster than short ones.
const SEGMENT: usize = 2048;

const _: () = assert!(SEGMENT.is_multiple_of(MAX_BLOCK_LEN));

/// Elements along k that one product takes.
pub(super) const STEP: usize = 8;

/// The fewest weights that share a scale.
pub(super) const MIN_GROUP: usize = 16;

/// The most activation rows that are few. Measured, see `INT8.md`.
const FEW_ROWS: usize = 4;

/// The most rows of a tile of few rows: 4 x 2 sums fit the 16 registers of SSE2.
const FEW_IN_TILE: usize = 2;

/// `out = x · wᵀ`. w: (n, k); x: (m, k); out: (m, n); scratch: at least k
///
/// # Panics
/// If one of these has another size.
pub(super) fn matmul<B: Quantized>(w: &[B], x: Int8Rows<'_>, k: usize, out: &mut MatMut<'_>, scratch: &mut [f32]) {
    let (m, n) = (out.rows(), out.cols());
    assert!(w.len() * B::LEN == n * k && x.q.len() == m * k && k.is_multiple_of(B::LEN), "shapes of a product");
    assert!(scratch.len() >= k, "scratch of {} for rows of {k}", scratch.len());
    let scratch = bytemuck::cast_slice_mut::<f32, i16>(scratch);
    let (most, few) = (scratch.len() / k, m <= FEW_ROWS);
    for first in (0..m).step_by(most) {
        let in_tile = if few { FEW_IN_TILE } else { portable_int8_panels::IN_TILE };
        let rows = Rows { first, end: m.min(first + most), k, in_tile };
        rows.widen(x, scratch);
        let x = Widened { x, rows, lanes: scratch };
        if few { few_rows(w, x, out) } else { portable_int8_panels::many_rows(w, x, out) }
    }
}

/// Some activation rows of `k`, by tiles of a power of two of them.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    first: usize,
    end: usize,
    k: usize,
    /// The most in a tile.
    in_tile: usize,
}

impl Rows {
    /// The first row and the number of rows of each tile.
    pub(super) fn tiles(self) -> impl Iterator<Item = (usize, usize)> {
        let mut t = self.first;
        core::iter::from_fn(move || {
            let left = self.end - t;
            let rows = if left >= self.in_tile { self.in_tile } else { left.checked_ilog2().map_or(0, |log| 1 << log) };
            t += rows;
            (rows > 0).then_some((t - rows, rows))
        })
    }

    /// Widens the rows, those of a tile side by side.
    fn widen(self, x: Int8Rows<'_>, to: &mut [i16]) {
        for (t, rows) in self.tiles() {
            let (to, _) = to[(t - self.first) * self.k..][..rows * self.k].as_chunks_mut::<STEP>();
            for b in 0..rows {
                let (bytes, _) = x.q[(t + b) * self.k..][..self.k].as_chunks::<STEP>();
                for (to, &bytes) in to.iter_mut().skip(b).step_by(rows).zip(bytes) {
                    *to = widened(bytes).to_array();
                }
            }
        }
    }
}

/// Activation rows that were widened.
#[derive(Clone, Copy)]
pub(super) struct Widened<'a> {
    x: Int8Rows<'a>,
    pub(super) rows: Rows,
    /// Tile after tile: eight elements of each of its rows, then the next eight.
    lanes: &'a [i16],
}

/// A segment along k of a tile of them.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    x: Int8Rows<'a>,
    k: usize,
    /// Where in the rows it begins.
    pub(super) from: usize,
    /// The first row.
    pub(super) t: usize,
    lanes: &'a [i16],
}

impl<'a> Widened<'a> {
    /// The row length.
    pub(super) fn k(&self) -> usize {
        self.rows.k
    }

    /// Elements `from..from + len` of the tile of `rows` rows from row `t` on.
    pub(super) fn tile(&self, t: usize, rows: usize, from: usize, len: usize) -> Tile<'a> {
        let k = self.rows.k;
        let lanes = &self.lanes[(t - self.rows.first) * k + rows * from..][..rows * len];
        Tile { x: self.x, k, from, t, lanes }
    }
}

impl<'a> Tile<'a> {
    /// Its elements, if it has `NR` rows.
    #[inline(always)]
    pub(super) fn steps<const NR: usize>(&self) -> &'a [[[i16; STEP]; NR]] {
        self.lanes.as_chunks::<STEP>().0.as_chunks::<NR>().0
    }

    /// Adds a group to outputs of row `b`: its integer sums by scales, and its minima.
    #[inline(always)]
    pub(super) fn add<K: Kind, const GROUPS: usize>(
        &self,
        acc: f32x4,
        sums: i32x4,
        scales: &Scales<GROUPS>,
        b: usize,
        group: usize,
    ) -> f32x4 {
        let at = (self.t + b) * self.k + self.from + group * K::GROUP;
        let scale = self.x.scales[at / INT8_BLOCK];
        let acc = acc + sums.round_float() * (f32x4::new(scales.scales[group]) * f32x4::splat(scale));
        if !K::HAS_MINIMA {
            return acc;
        }
        // The negated sum of the group's activations.
        let offset = match K::GROUP {
            INT8_BLOCK => self.x.offsets[at / INT8_BLOCK],
            _ => self.x.half_offsets[at / K::GROUP],
        };
        acc + f32x4::new(scales.minima[group]) * f32x4::splat(offset)
    }
}

/// Scales and minima of a segment of four weight rows, by groups.
#[derive(Clone, Copy)]
pub(super) struct Scales<const GROUPS: usize> {
    scales: [[f32; LANES]; GROUPS],
    minima: [[f32; LANES]; GROUPS],
}

impl<const GROUPS: usize> Scales<GROUPS> {
    pub(super) const ZERO: Self = Scales { scales: [[0.0; LANES]; GROUPS], minima: [[0.0; LANES]; GROUPS] };

    /// Writes those of the block that is the `i`-th of row `row`.
    #[inline(always)]
    pub(super) fn unpack<B: Quantized>(&mut self, block: &B, i: usize, row: usize) {
        let groups = B::LEN / B::GROUP;
        let (mut scales, mut minima) = ([0.0; MAX_GROUPS], [0.0; MAX_GROUPS]);
        block.write_scales(&mut scales[..groups], &mut minima[..groups]);
        for g in 0..groups {
            self.scales[i * groups + g][row] = scales[g];
            if B::HAS_MINIMA {
                self.minima[i * groups + g][row] = minima[g];
            }
        }
    }
}

/// What a product has to know of a format: the loops are compiled once for each kind, and not for each format.
pub(super) trait Kind {
    const GROUP: usize;
    const HAS_MINIMA: bool;
}

/// Formats of groups of so many weights, with minima or without.
pub(super) struct Groups<const GROUP: usize, const HAS_MINIMA: bool>;

impl<const GROUP: usize, const HAS_MINIMA: bool> Kind for Groups<GROUP, HAS_MINIMA> {
    const GROUP: usize = GROUP;
    const HAS_MINIMA: bool = HAS_MINIMA;
}

/// Evaluates an expression in which a type stands for the kind of a format.
macro_rules! by_kind {
    ($block:ty, $kind:ident, $value:expr) => {{
        use crate::arch::portable_int8::Groups;
        match (<$block>::GROUP, <$block>::HAS_MINIMA) {
            (32, false) => {
                type $kind = Groups<32, false>;
                $value
            }
            (32, true) => {
                type $kind = Groups<32, true>;
                $value
            }
            (_, false) => {
                type $kind = Groups<16, false>;
                $value
            }
            (_, true) => {
                type $kind = Groups<16, true>;
                $value
            }
        }
    }};
}
pub(super) use by_kind;

/// Eight bytes as lanes of 16 bits.
#[inline(always)]
pub(super) fn widened(bytes: [i8; STEP]) -> i16x8 {
    // From a register of its own: of both halves of one, the compiler makes an SSE2 instruction that waits for another's result.
    let mut padded = [0; 2 * STEP];
    padded[..STEP].copy_from_slice(&bytes);
    let [low, _]: [i16x8; 2] = bytemuck::cast(i16x16::from_i8x16(i8x16::new(padded)));
    low
}

/// A segment of four weight rows.
struct Quad {
    /// Of eight elements along k, those of each row.
    codes: [[[i8; STEP]; LANES]; SEGMENT / STEP],
    scales: Scales<{ SEGMENT / MIN_GROUP }>,
}

/// All weights against few rows.
fn few_rows<B: Quantized>(w: &[B], x: Widened<'_>, out: &mut MatMut<'_>) {
    let (n, k) = (out.cols(), x.k());
    let mut quad = Quad { codes: [[[0; STEP]; LANES]; SEGMENT / STEP], scales: Scales::ZERO };
    for first in (0..n).step_by(LANES) {
        let columns = (first, n.min(first + LANES));
        for from in (0..k).step_by(SEGMENT) {
            let len = SEGMENT.min(k - from);
            for r in columns.0..columns.1 {
                unpack(&w[(r * k + from) / B::LEN..][..len / B::LEN], &mut quad, r - first);
            }
            for (t, rows) in x.rows.tiles() {
                let tile = x.tile(t, rows, from, len);
                by_kind!(
                    B,
                    K,
                    match rows {
                        1 => multiply::<K, 1>(&quad, tile, columns, out),
                        _ => multiply::<K, FEW_IN_TILE>(&quad, tile, columns, out),
                    }
                );
            }
        }
    }
}

/// Unpacks a segment of row `row` of four.
fn unpack<B: Quantized>(blocks: &[B], to: &mut Quad, row: usize) {
    let mut codes = [0; MAX_BLOCK_LEN];
    for (i, (block, to_codes)) in blocks.iter().zip(to.codes.chunks_exact_mut(B::LEN / STEP)).enumerate() {
        block.write_codes(&mut codes[..B::LEN]);
        for (to, codes) in to_codes.iter_mut().zip(codes.as_chunks::<STEP>().0) {
            to[row] = *codes;
        }
        to.scales.unpack(block, i, row);
    }
}

/// Adds to the outputs of four weight rows, or what is left of them, and `NR` activation rows what a segment brings.
fn multiply<K: Kind, const NR: usize>(quad: &Quad, x: Tile<'_>, columns: (usize, usize), out: &mut MatMut<'_>) {
    let mut acc = [f32x4::ZERO; NR];
    if x.from > 0 {
        for b in 0..NR {
            acc[b] = load(&out.row_mut(x.t + b)[columns.0..columns.1]);
        }
    }
    let steps = quad.codes.chunks_exact(K::GROUP / STEP).zip(x.steps::<NR>().chunks_exact(K::GROUP / STEP));
    for (group, (codes, bytes)) in steps.enumerate() {
        let mut sums = [[i32x4::ZERO; LANES]; NR];
        for (codes, bytes) in codes.iter().zip(bytes) {
            for a in 0..LANES {
                let codes = widened(codes[a]);
                for b in 0..NR {
                    sums[b][a] += codes.dot(i16x8::new(bytes[b]));
                }
            }
        }
        for b in 0..NR {
            acc[b] = x.add::<K, _>(acc[b], totals(sums[b]), &quad.scales, b, group);
        }
    }
    for b in 0..NR {
        store(acc[b], &mut out.row_mut(x.t + b)[columns.0..columns.1]);
    }
}

/// The sum of the lanes of each vector.
#[inline(always)]
fn totals(sums: [i32x4; LANES]) -> i32x4 {
    let [a, b, c, d]: [i32x4; LANES] = bytemuck::cast(f32x4::transpose(bytemuck::cast(sums)));
    (a + b) + (c + d)
}

/// Outputs of up to four weight rows.
#[inline(always)]
pub(super) fn load(out: &[f32]) -> f32x4 {
    let mut lanes = [0.0; LANES];
    match out.first_chunk() {
        Some(four) => lanes = *four,
        None => lanes[..out.len()].copy_from_slice(out),
    }
    f32x4::new(lanes)
}

/// Writes them.
#[inline(always)]
pub(super) fn store(sums: f32x4, out: &mut [f32]) {
    match out.first_chunk_mut() {
        Some(four) => *four = sums.to_array(),
        None => out.copy_from_slice(&sums.to_array()[..out.len()]),
    }
}
