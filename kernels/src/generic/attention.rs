//! Attention of the queries of one KV head over one chunk of its positions, with the online softmax (Milakov and Gimelshein, 2018; Dao et
//! al., 2022, algorithm 1).
//!
//! Not here: pages, heads and threads (the engine's), and where keys and values lie in a page (`kv.rs`). The queries of all heads that
//! share a KV head come together, so that its keys and values are read once.
//!
//! ```text
//! q = query · head_dim^-0.5 · log2(e)                                once for all chunks, rounded to the type that is multiplied
//! scores = q · kᵀ                                                    lanes are positions; along head_dim in ascending order
//! for each row:   m = max scores;  p = 2^(scores - m);  l = Σ p
//! o = p · v                                                          lanes are columns; positions in ascending order
//! ```
//!
//! A chunk's (m, l, o) depend on nothing outside the chunk and on no other row, and chunks are merged in the order of their positions. So
//! a row's result has the same bits with any rows beside it, and whichever thread works on which chunk. What a row does not see is not
//! touched on its behalf: a NaN there does not reach it.
//!
//! **Memory.** A step of generation waits for it. Its few rows read the keys as streams, as many as a tile has vectors and each a part of the page,
//! side by side, and the values as one stream for each vector of columns; the second-level cache is asked for each stream's lines a quarter
//! of a part ahead, and towards its end for the stream that is read next: keys, values, and the next page's keys are one pipeline.

use core::marker::PhantomData;

use crate::generic::exp::exp2;
use crate::kv::{GROUP, KV_PAGE_LEN, KvLayout};
use crate::vector::{MAX_LANES, Vector};

/// Positions whose values are asked for ahead of those that are read.
const AHEAD: usize = KV_PAGE_LEN / 4;

/// The most rows that read keys and values as streams: memory is what they wait for.
const FEW_ROWS: usize = 16;

/// The queries of one KV head's group for some positions of a sequence, one after another; those of a position are side by side.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The first query's position.
    pub position: usize,
    /// Query heads of the KV head.
    pub group: usize,
    /// Positions that a query sees, up to its own.
    pub window: usize,
}

impl Rows {
    /// The half-open range of a chunk's positions that a row sees; empty where it sees none. `start`: the chunk's first position
    pub fn visible(&self, row: usize, start: usize) -> (usize, usize) {
        let end = self.position + row / self.group + 1;
        let first = end.saturating_sub(self.window);
        let end = end.saturating_sub(start).min(KV_PAGE_LEN);
        (first.saturating_sub(start).min(end), end)
    }
}

/// One chunk of a KV head's positions: what a page holds of them.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    /// The position that it begins at, a multiple of [`KV_PAGE_LEN`].
    pub start: usize,
    /// The head's part of the page. (`KvLayout::bytes`,)
    pub page: &'a [u8],
    /// The part of a page that will be read after it, to be fetched meanwhile; empty where none is.
    pub next: &'a [u8],
}

/// The result of each row over some chunks.
pub struct Sums<'a> {
    /// The largest score, in powers of two. -inf where the row saw nothing. (rows,)
    pub max: &'a mut [f32],
    /// Σ 2^(score - max); 0 where the row saw nothing. (rows,)
    pub sum: &'a mut [f32],
    /// Σ 2^(score - max) · v; divided by `sum` it is the attention's output. (rows, width)
    pub acc: &'a mut [f32],
}

impl<'a> Sums<'a> {
    /// Elements of a buffer for `rows` rows of `width` columns, a multiple of 16.
    pub const fn len(width: usize, rows: usize) -> usize {
        rows.saturating_mul(width).saturating_add(rows.next_multiple_of(GROUP).saturating_mul(2))
    }

    /// A view of a buffer, with what it holds. buffer: (`len`,)
    pub fn new(buffer: &'a mut [f32], width: usize, rows: usize) -> Sums<'a> {
        assert_eq!(buffer.len(), Sums::len(width, rows), "sums of ({rows}, {width})");
        let (acc, rest) = buffer.split_at_mut(rows * width);
        let (max, sum) = rest.split_at_mut(rows.next_multiple_of(GROUP));
        Sums { max: &mut max[..rows], sum: &mut sum[..rows], acc }
    }

    /// A buffer's acc, max and sum.
    pub(crate) fn parts(buffer: &[f32], width: usize, rows: usize) -> (&[f32], &[f32], &[f32]) {
        let (acc, rest) = buffer.split_at(rows * width);
        let (max, sum) = rest.split_at(rows.next_multiple_of(GROUP));
        (acc, &max[..rows], &sum[..rows])
    }

    /// Makes them the sums of no chunk.
    pub fn clear(&mut self) {
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        self.acc.fill(0.0);
    }
}

/// How keys and values are stored, and how they are multiplied by queries and weights.
///
/// # Safety
/// - `load*` read `LANES · STEP` elements at any alignment, and those of `factor*` `STEP` operands; all need the features of the ISA.
/// - The type's layout in a page is `KvLayout`'s of `STEP` and the size of `Stored`.
#[allow(clippy::missing_safety_doc, reason = "the contract is the same for all methods and stands on the trait")]
pub(crate) unsafe trait Multiply {
    /// The accumulator.
    type V: Vector;
    /// An element of keys and values.
    type Stored: Copy;
    /// What they are multiplied by: an element of a query, or a weight.
    type Operand: Copy;
    /// A load's elements in a register.
    type Reg: Copy;
    /// Operands in a register, in all lanes.
    type Factor: Copy;
    /// Elements along a sum that lie side by side: 1 or 2.
    const STEP: usize;
    /// Multiplications that a step takes: `STEP`, or 1 where an instruction adds the products of a pair.
    const PARTS: usize;
    /// Whether elements are integers with a scale for each position.
    const SCALED: bool;

    unsafe fn load(p: *const Self::Stored, part: usize) -> Self::Reg;
    unsafe fn factor(p: *const Self::Operand, part: usize) -> Self::Factor;
    unsafe fn mul_add(acc: Self::V, x: Self::Reg, factor: Self::Factor) -> Self::V;
    /// Adds the product of element `which` of each pair alone; the operand of the other is zero.
    unsafe fn mul_add_one(acc: Self::V, x: *const Self::Stored, operands: *const Self::Operand, which: usize) -> Self::V;
    /// Rounds `LANES` numbers to operands and writes them; returns the numbers that they stand for.
    unsafe fn store(x: Self::V, p: *mut Self::Operand) -> Self::V;
}

/// A number that [`Widen`] can read.
///
/// # Safety
/// `load` reads `LANES · STEP` elements and needs the features of `V`.
#[allow(clippy::missing_safety_doc, reason = "the contract is the same for all methods and stands on the trait")]
pub(crate) unsafe trait Stored: Copy {
    /// Elements along a sum that lie side by side.
    const STEP: usize;
    /// Whether there are scales.
    const SCALED: bool;
    /// Element `which` of each of `LANES` groups of `STEP`, widened exactly.
    unsafe fn load<V: Vector>(p: *const Self, which: usize) -> V;
}

// SAFETY: reads LANES elements.
unsafe impl Stored for f32 {
    const STEP: usize = 1;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const f32, _: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { V::load(p) }
    }
}

// SAFETY: reads LANES elements.
unsafe impl Stored for half::f16 {
    const STEP: usize = 1;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const half::f16, _: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { V::load_f16(p) }
    }
}

// SAFETY: reads LANES pairs.
unsafe impl Stored for half::bf16 {
    const STEP: usize = 2;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const half::bf16, which: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { if which == 0 { V::load_bf16_even(p) } else { V::load_bf16_odd(p) } }
    }
}

// SAFETY: reads LANES elements.
unsafe impl Stored for i8 {
    const STEP: usize = 1;
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const i8, _: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { V::load_i8(p) }
    }
}

/// Elements widened to f32 lanes and multiplied there: every type, on every ISA.
pub(crate) struct Widen<V, S>(PhantomData<(V, S)>);

// SAFETY: `Stored::load` reads LANES · STEP elements; a factor is one operand of a step.
unsafe impl<V: Vector, S: Stored> Multiply for Widen<V, S> {
    type V = V;
    type Stored = S;
    type Operand = f32;
    type Reg = V;
    type Factor = V;
    const STEP: usize = S::STEP;
    const PARTS: usize = S::STEP;
    const SCALED: bool = S::SCALED;

    #[inline(always)]
    unsafe fn load(p: *const S, part: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { S::load(p, part) }
    }

    #[inline(always)]
    unsafe fn factor(p: *const f32, part: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { V::splat(*p.add(part)) }
    }

    #[inline(always)]
    unsafe fn mul_add(acc: V, x: V, factor: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { x.mul_add(factor, acc) }
    }

    #[inline(always)]
    unsafe fn mul_add_one(acc: V, x: *const S, operands: *const f32, which: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { Self::mul_add(acc, Self::load(x, which), Self::factor(operands, which)) }
    }

    #[inline(always)]
    unsafe fn store(x: V, p: *mut f32) -> V {
        // SAFETY: the trait's contract.
        unsafe { x.store(p) };
        x
    }
}

/// Scales queries and rounds them to operands, in place: the operands take the first part of the memory. q: (rows, head_dim)
///
/// # Safety
/// The CPU has the features that `M` needs.
#[inline(always)]
pub(crate) unsafe fn pack<M: Multiply>(q: &mut [f32], factor: f32) {
    let (n, lanes) = (q.len(), M::V::LANES);
    let (from, to) = (q.as_mut_ptr(), q.as_mut_ptr().cast::<M::Operand>());
    let whole = n - n % lanes;
    // SAFETY: whole vectors end at or before `whole <= n`; an operand is no larger than an f32, so that none is written before the query in
    // its place is read; the tail is padded on the stack, where both arrays hold LANES elements.
    unsafe {
        let factor = M::V::splat(factor);
        let mut i = 0;
        while i < whole {
            M::store(M::V::load(from.add(i)).mul(factor), to.add(i));
            i += lanes;
        }
        if i < n {
            let (mut tail, mut rounded) = ([0.0f32; MAX_LANES], [0.0f32; MAX_LANES]);
            core::ptr::copy_nonoverlapping(from.add(i).cast_const(), tail.as_mut_ptr(), n - i);
            let operands = rounded.as_mut_ptr().cast::<M::Operand>();
            M::store(M::V::load(tail.as_ptr()).mul(factor), operands);
            core::ptr::copy_nonoverlapping(operands.cast_const(), to.add(i), n - i);
        }
    }
}

/// A call's operands, as [`attend`]'s parts see them.
struct Work<'a, M: Multiply> {
    rows: Rows,
    n_rows: usize,
    layout: KvLayout,
    chunk: &'a Chunk<'a>,
    // (n_rows, head_dim)
    q: *const M::Operand,
    /// Scores, and then the weights' operands in the first part of each row. (n_rows, KV_PAGE_LEN)
    scores: *mut f32,
}

/// The sums of one chunk. `R` rows by `N` vectors of positions, or of columns, are accumulated in registers.
///
/// q: (rows, head_dim) of [`pack`]; scores: (rows, KV_PAGE_LEN), scratch; out: written, not added to
///
/// # Safety
/// - `chunk.page` has `layout.bytes()`, aligned for `M::Stored`; `layout` is of `M`'s type.
/// - The shapes are as stated, and the rows are those of `out`.
/// - The CPU has the features that `M` needs.
#[inline(always)]
pub(crate) unsafe fn attend<M: Multiply, const R: usize, const N: usize>(
    layout: KvLayout,
    chunk: &Chunk<'_>,
    rows: Rows,
    q: &[f32],
    scores: &mut [f32],
    out: &mut Sums<'_>,
) {
    const { assert!(KV_PAGE_LEN.is_multiple_of(N * MAX_LANES) && (M::STEP == 1 || M::STEP == 2) && R <= 6) };
    let n_rows = out.max.len();
    let work: Work<'_, M> = Work { rows, n_rows, layout, chunk, q: q.as_ptr().cast(), scores: scores.as_mut_ptr() };
    out.acc.fill(0.0);
    // SAFETY: the caller's contract.
    unsafe {
        work.scores::<R, N>();
        for row in 0..n_rows {
            (out.max[row], out.sum[row]) = work.softmax(row);
        }
        work.values::<R, N>(out.acc);
    }
}

impl<M: Multiply> Work<'_, M> {
    /// The half-open range of the chunk's positions that a row sees.
    #[inline(always)]
    fn visible(&self, row: usize) -> (usize, usize) {
        self.rows.visible(row, self.chunk.start)
    }

    /// Whether rows are so few that memory is what takes the time.
    #[inline(always)]
    fn is_few(&self) -> bool {
        self.n_rows <= FEW_ROWS
    }

    /// Scores of all rows.
    ///
    /// # Safety
    /// As [`attend`].
    #[inline(always)]
    unsafe fn scores<const R: usize, const N: usize>(&self) {
        // A later row sees no less of the end, an earlier one no less of the beginning.
        let (start, end) = (self.visible(0).0, self.visible(self.n_rows - 1).1);
        let (part, lanes) = (KV_PAGE_LEN / N, M::V::LANES);
        // Streams side by side, where some row sees something of each.
        let (apart, positions) =
            if self.is_few() && start < part && KV_PAGE_LEN - part < end { (part, part) } else { (lanes, KV_PAGE_LEN) };
        let tile = if apart == part { lanes } else { N * lanes };
        let mut position = 0;
        while position < positions {
            let mut row = 0;
            while row < self.n_rows {
                // SAFETY: the rows named exist; tiles divide a page, and its parts.
                unsafe {
                    row += match R.min(self.n_rows - row) {
                        1 => self.scores_of::<1, N>(position, apart, row),
                        2 => self.scores_of::<2, N>(position, apart, row),
                        3 => self.scores_of::<3, N>(position, apart, row),
                        4 => self.scores_of::<4, N>(position, apart, row),
                        5 => self.scores_of::<5, N>(position, apart, row),
                        _ => self.scores_of::<R, N>(position, apart, row),
                    };
                }
            }
            position += tile;
        }
    }

    /// Scores of `R` rows against `N` vectors of positions, `apart` from each other, if any row sees some of them. Returns `R`.
    ///
    /// # Safety
    /// As [`attend`]; `R` rows from `row` on, and the positions, exist.
    #[inline(always)]
    unsafe fn scores_of<const R: usize, const N: usize>(&self, position: usize, apart: usize, row: usize) -> usize {
        let (d, lanes) = (self.layout.head_dim(), M::V::LANES);
        let (start, end) = (self.visible(row).0, self.visible(row + R - 1).1);
        if start >= position + (N - 1) * apart + lanes || end <= position {
            return R;
        }
        let prefetches = self.is_few() && row == 0;
        // SAFETY: the keys of a page are (KV_PAGE_LEN / GROUP, d, GROUP) elements, of which vector n of the tile takes each step's part;
        // queries and scores of the rows exist.
        unsafe {
            let (mut k, mut ahead) = ([self.keys(self.chunk.page); N], [core::ptr::null(); N]);
            // What is asked for: the next groups of the streams, or the beginnings of the values' streams.
            let step = if apart > lanes { GROUP } else { (N * lanes).max(GROUP) };
            let is_last = apart > lanes && position / GROUP + 1 == apart / GROUP;
            for n in 0..N {
                let at = position + n * apart;
                k[n] = k[n].add(at / GROUP * GROUP * d + at % GROUP * M::STEP);
                ahead[n] = if is_last { self.values_of_columns(n * lanes) } else { k[n].wrapping_add(step * d) };
            }
            let q = self.q.add(row * d);
            let mut acc = [[M::V::splat(0.0); N]; R];
            let mut i = 0;
            while i < d {
                for part in 0..M::PARTS {
                    let mut x = [M::load(k[0].add(i * GROUP), part); N];
                    for n in 1..N {
                        x[n] = M::load(k[n].add(i * GROUP), part);
                    }
                    for r in 0..R {
                        let factor = M::factor(q.add(r * d + i), part);
                        for n in 0..N {
                            acc[r][n] = M::mul_add(acc[r][n], x[n], factor);
                        }
                    }
                }
                if prefetches {
                    for n in 0..N {
                        M::V::prefetch(ahead[n].wrapping_add(i * GROUP).cast());
                    }
                }
                i += M::STEP;
            }
            for r in 0..R {
                for n in 0..N {
                    let at = position + n * apart;
                    let mut score = acc[r][n];
                    if M::SCALED {
                        score = score.mul(M::V::load(self.scales(false).add(at)));
                    }
                    score.store(self.scores.add((row + r) * KV_PAGE_LEN + at));
                }
            }
        }
        R
    }

    /// A page's keys.
    #[inline(always)]
    fn keys(&self, page: &[u8]) -> *const M::Stored {
        page.as_ptr().cast()
    }

    /// The values of a column and those that follow in its vector; for columns that there are not, an address that may only be asked for.
    #[inline(always)]
    fn values_of_columns(&self, column: usize) -> *const M::Stored {
        let values = self.chunk.page.as_ptr().wrapping_add(self.layout.values_start()).cast::<M::Stored>();
        values.wrapping_add(column / GROUP * GROUP * KV_PAGE_LEN + column % GROUP * M::STEP)
    }

    /// The scales of the page's keys or values, where there are any.
    ///
    /// # Safety
    /// `M::SCALED`.
    #[inline(always)]
    unsafe fn scales(&self, of_values: bool) -> *const f32 {
        // SAFETY: the scales lie at the end of the page's head, which is aligned to a cache line as far as they are concerned.
        unsafe {
            let scales = self.chunk.page.as_ptr().add(self.layout.scales_start()).cast::<f32>();
            scales.add(if of_values { KV_PAGE_LEN } else { 0 })
        }
    }

    /// Turns a row's scores into weights, in place: zero where it sees nothing, in all vectors that hold something that it sees. Returns
    /// the maximum and the sum.
    ///
    /// # Safety
    /// As [`attend`]; the row's scores were written.
    #[inline(always)]
    unsafe fn softmax(&self, row: usize) -> (f32, f32) {
        let (start, end) = self.visible(row);
        if start >= end {
            return (f32::NEG_INFINITY, 0.0);
        }
        let lanes = M::V::LANES;
        let (first, last) = (start / lanes * lanes, (end - 1) / lanes * lanes);
        // SAFETY: vectors `first..=last` lie in the row; an operand is no larger than an f32, so that none is written before the scores
        // in its place are read.
        unsafe {
            let scores = self.scores.add(row * KV_PAGE_LEN);
            let lowest = M::V::splat(f32::NEG_INFINITY);
            let mut max = [lowest; 4];
            let mut i = first;
            // A NaN is passed over here, and comes back with the weights.
            while i + 4 * lanes <= last {
                for c in 0..4 {
                    let x = M::V::load(scores.add(i + c * lanes));
                    max[c] = (if i + c * lanes < start { x.keep(start - i, lanes, lowest) } else { x }).max(max[c]);
                }
                i += 4 * lanes;
            }
            while i <= last {
                let x = M::V::load(scores.add(i));
                max[0] = x.keep(start.saturating_sub(i), (end - i).min(lanes), lowest).max(max[0]);
                i += lanes;
            }
            let max = max[0].max(max[1]).max(max[2].max(max[3])).reduce_max();
            let (highest, none) = (M::V::splat(max), M::V::splat(0.0));
            let weights = scores.cast::<M::Operand>();
            let mut sum = none;
            i = first;
            while i <= last {
                let mut p = exp2(M::V::load(scores.add(i)).sub(highest));
                if i < start || end < i + lanes {
                    p = p.keep(start.saturating_sub(i), (end - i).min(lanes), none);
                }
                if M::SCALED {
                    let scale = M::V::load(self.scales(true).add(i));
                    sum = sum.add(p);
                    M::store(p.mul(scale), weights.add(i));
                } else {
                    sum = sum.add(M::store(p, weights.add(i)));
                }
                i += lanes;
            }
            (max, sum.reduce_add())
        }
    }

    /// Adds all rows' weighted values. acc: (n_rows, width)
    ///
    /// # Safety
    /// As [`attend`]; the rows' weights were written.
    #[inline(always)]
    unsafe fn values<const R: usize, const N: usize>(&self, acc: &mut [f32]) {
        let mut row = 0;
        while row < self.n_rows {
            // SAFETY: the rows named exist.
            unsafe {
                row += match R.min(self.n_rows - row) {
                    1 => self.values_of::<1, N>(row, acc),
                    2 => self.values_of::<2, N>(row, acc),
                    3 => self.values_of::<3, N>(row, acc),
                    4 => self.values_of::<4, N>(row, acc),
                    5 => self.values_of::<5, N>(row, acc),
                    _ => self.values_of::<R, N>(row, acc),
                };
            }
        }
    }

    /// Adds the weighted values of `R` rows: what all of them see together, and each row's beginning and end by itself. Returns `R`.
    ///
    /// # Safety
    /// As [`Work::values`]; `R` rows from `row` on exist.
    #[inline(always)]
    unsafe fn values_of<const R: usize, const N: usize>(&self, row: usize, acc: &mut [f32]) -> usize {
        // A later row begins and ends no earlier.
        let (start, end) = (self.visible(row + R - 1).0, self.visible(row).1);
        let (start, end) = (start.next_multiple_of(M::STEP), end - end % M::STEP);
        // SAFETY: what a row sees lies in the page; the rows exist.
        unsafe {
            if start >= end {
                for r in row..row + R {
                    self.columns_of_one::<N>(r, self.visible(r), acc);
                }
                return R;
            }
            for r in row..row + R {
                self.columns_of_one::<N>(r, (self.visible(r).0, start), acc);
            }
            self.columns::<R, N>(row, (start, end), acc);
            for r in row..row + R {
                self.columns_of_one::<N>(r, (end, self.visible(r).1), acc);
            }
        }
        R
    }

    /// Adds the weighted values of one row at positions that may begin or end within a step.
    ///
    /// # Safety
    /// As [`Work::values`]; the row and the positions exist.
    #[inline(always)]
    unsafe fn columns_of_one<const N: usize>(&self, row: usize, (mut start, end): (usize, usize), acc: &mut [f32]) {
        if start >= end {
            return;
        }
        // SAFETY: the caller's contract.
        unsafe {
            if !start.is_multiple_of(M::STEP) {
                self.one_of_pair(row, start, acc);
                start += 1;
            }
            let whole = end - end % M::STEP;
            if start < whole {
                self.columns::<1, N>(row, (start, whole), acc);
            }
            if start.max(whole) < end {
                self.one_of_pair(row, whole, acc);
            }
        }
    }

    /// Adds a row's weighted values at one position, whose neighbour in the step it does not see.
    ///
    /// # Safety
    /// As [`Work::values`]; the row and the position exist.
    #[inline(always)]
    unsafe fn one_of_pair(&self, row: usize, position: usize, acc: &mut [f32]) {
        let (width, lanes) = (self.layout.width(), M::V::LANES);
        let step = position - position % M::STEP;
        // SAFETY: there are values of `width` columns, a multiple of LANES, at each position; the row's weights and sums exist.
        unsafe {
            let p = self.weights(row).add(step);
            let acc = acc.as_mut_ptr().add(row * width);
            let mut c = 0;
            while c < width {
                let old = M::V::load(acc.add(c));
                let v = self.values_of_columns(c).add(step * GROUP);
                M::mul_add_one(old, v, p, position - step).store(acc.add(c));
                c += lanes;
            }
        }
    }

    /// Adds the weighted values of `R` rows at whole steps, which all of them see.
    ///
    /// # Safety
    /// As [`Work::values`]; the rows and the positions exist.
    #[inline(always)]
    unsafe fn columns<const R: usize, const N: usize>(&self, row: usize, range: (usize, usize), acc: &mut [f32]) {
        let (width, lanes) = (self.layout.width(), M::V::LANES);
        let mut c = 0;
        // SAFETY: every tile of columns ends at or before `width`, a multiple of LANES.
        unsafe {
            while c + N * lanes <= width {
                self.tile::<R, N>(row, range, c, acc);
                c += N * lanes;
            }
            while c < width {
                self.tile::<R, 1>(row, range, c, acc);
                c += lanes;
            }
        }
    }

    /// [`Work::columns`] for `N` vectors of columns from `column` on, held in registers over all positions.
    ///
    /// # Safety
    /// As [`Work::columns`]; the columns exist.
    #[inline(always)]
    unsafe fn tile<const R: usize, const N: usize>(
        &self,
        row: usize,
        (start, end): (usize, usize),
        column: usize,
        acc: &mut [f32],
    ) {
        let (width, lanes) = (self.layout.width(), M::V::LANES);
        let prefetches = self.is_few() && row == 0;
        // SAFETY: the values of a page are (width / GROUP, KV_PAGE_LEN / STEP, GROUP, STEP) elements; the rows' weights and sums exist, `STRIDE`
        // operands and `width` elements apart.
        unsafe {
            let (p, out) = (self.weights(row), acc.as_mut_ptr().add(row * width + column));
            let mut v = [self.values_of_columns(column); N];
            // What is asked for at each position: the same streams further on and, from `turn` on, the beginnings of the next.
            let turn = self.visible(self.n_rows - 1).1.saturating_sub(AHEAD);
            let (mut ahead, mut after) = (v, v);
            let mut sums = [[M::V::splat(0.0); N]; R];
            for n in 0..N {
                v[n] = self.values_of_columns(column + n * lanes);
                ahead[n] = v[n].wrapping_add(AHEAD * GROUP);
                let next = column + (N + n) * lanes;
                let next = if next < width { self.values_of_columns(next) } else { self.next_keys::<N>(n) };
                after[n] = next.wrapping_sub(turn * GROUP);
                for r in 0..R {
                    sums[r][n] = M::V::load(out.add(r * width + n * lanes));
                }
            }
            let mut i = start;
            if M::V::ASKS_APART && !prefetches {
                while i < end {
                    Self::add_step(&v, p, i, &mut sums);
                    i += M::STEP;
                }
            }
            while i < end {
                Self::add_step(&v, p, i, &mut sums);
                if prefetches {
                    let from = if i < turn { &ahead } else { &after };
                    for n in 0..N {
                        M::V::prefetch(from[n].wrapping_add(i * GROUP).cast());
                    }
                }
                i += M::STEP;
            }
            for r in 0..R {
                for n in 0..N {
                    sums[r][n].store(out.add(r * width + n * lanes));
                }
            }
        }
    }

    /// One step of [`Work::tile`].
    ///
    /// # Safety
    /// As there: values at `v` and weights at `p` have a step at position `i`.
    #[inline(always)]
    unsafe fn add_step<const R: usize, const N: usize>(
        v: &[*const M::Stored; N],
        p: *const M::Operand,
        i: usize,
        sums: &mut [[M::V; N]; R],
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            for part in 0..M::PARTS {
                let mut x = [M::load(v[0].add(i * GROUP), part); N];
                for n in 1..N {
                    x[n] = M::load(v[n].add(i * GROUP), part);
                }
                for r in 0..R {
                    let factor = M::factor(p.add(r * Self::STRIDE + i), part);
                    for n in 0..N {
                        sums[r][n] = M::mul_add(sums[r][n], x[n], factor);
                    }
                }
            }
        }
    }

    /// Stream `n` of `N` of the keys that are read next, an address that may only be asked for.
    #[inline(always)]
    fn next_keys<const N: usize>(&self, n: usize) -> *const M::Stored {
        self.keys(self.chunk.next).wrapping_add(n * (KV_PAGE_LEN / N) * self.layout.head_dim())
    }

    /// Operands from one row of weights to the next.
    const STRIDE: usize = KV_PAGE_LEN * size_of::<f32>() / size_of::<M::Operand>();

    /// A row's weights.
    ///
    /// # Safety
    /// The row exists.
    #[inline(always)]
    unsafe fn weights(&self, row: usize) -> *const M::Operand {
        // SAFETY: the caller's contract.
        unsafe { self.scores.cast_const().cast::<M::Operand>().add(row * Self::STRIDE) }
    }
}

/// Adds the sums of a later chunk, a buffer of [`Sums::new`], to those of the chunks before it.
///
/// # Safety
/// - The buffer is of as many rows and columns, a multiple of [`GROUP`].
/// - The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn merge<V: Vector>(chunk: &[f32], running: &mut Sums<'_>) {
    let n_rows = running.max.len();
    let width = running.acc.len() / n_rows.max(1);
    let (acc, max, sum) = Sums::parts(chunk, width, n_rows);
    for row in 0..n_rows {
        // The largest weight of a row that saw something is 1, and a NaN is not 0.
        if sum[row] == 0.0 {
            continue;
        }
        let (old, max) = (running.max[row], max[row]);
        let new = if old > max { old } else { max };
        // SAFETY: rows of `width` elements exist in both; the features are the caller's.
        unsafe {
            // The first chunk has nothing to keep, and the difference of two infinities is NaN.
            let keep = if old == f32::NEG_INFINITY { 0.0 } else { exp2(V::splat(old - new)).reduce_max() };
            let take = exp2(V::splat(max - new)).reduce_max();
            running.max[row] = new;
            running.sum[row] = running.sum[row] * keep + sum[row] * take;
            let (keep, take) = (V::splat(keep), V::splat(take));
            let from = acc.as_ptr().add(row * width);
            let to = running.acc.as_mut_ptr().add(row * width);
            let mut c = 0;
            while c < width {
                let kept = V::load(to.add(c)).mul(keep);
                V::load(from.add(c)).mul_add(take, kept).store(to.add(c));
                c += V::LANES;
            }
        }
    }
}
