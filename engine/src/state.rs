//! `State`: every activation of a forward pass, in buffers that are allocated once and grow only for larger batches.
//!
//! Not here: what is computed into them (`forward.rs`), and keys and values, which outlive a pass (`kv_cache.rs`).

use infer_kernels::{Bf16Rows, INT8_BLOCK, Int8Rounding, Int8Rows, Int8RowsMut, Kernels, bf16};

use crate::attention;
use crate::buffer::Buffer;
use crate::config::Config;
use crate::error::ModelError;
use crate::team::Crew;

/// The buffers of a forward pass over at most `n_rows` rows, named as in `forward.rs`.
#[derive(Default)]
pub struct State {
    /// The residual stream. (rows, dim)
    pub(crate) x: Buffer<f32>,
    /// The residual stream, normalised. (rows, dim)
    pub(crate) normed: Buffer<f32>,
    /// What a block adds to the residual stream. (rows, dim)
    pub(crate) delta: Buffer<f32>,
    /// (rows, n_heads · head_dim)
    pub(crate) q: Buffer<f32>,
    /// (rows, n_kv_heads · head_dim)
    pub(crate) k: Buffer<f32>,
    /// (rows, n_kv_heads · head_dim)
    pub(crate) v: Buffer<f32>,
    /// The attention's output. (rows, n_heads · head_dim)
    pub(crate) attended: Buffer<f32>,
    /// (rows, hidden_dim)
    pub(crate) gate: Buffer<f32>,
    /// (rows, hidden_dim)
    pub(crate) up: Buffer<f32>,
    /// The input of a product, rounded. (rows, the widest input)
    pub(crate) rounded: Rounded,
    /// Angle per position of each pair of a head. (head_dim / 2,)
    pub(crate) frequencies: Buffer<f32>,
    /// Cosine of each row's angles. (rows, head_dim / 2)
    pub(crate) cos: Buffer<f32>,
    /// Sine of each row's angles. (rows, head_dim / 2)
    pub(crate) sin: Buffer<f32>,
    /// The attention's sums that wait to be merged, see `attention.rs`.
    pub(crate) waiting: Buffer<f32>,
    /// Logits of the rows that asked for them. (n_logits, vocab_size)
    pub(crate) logits: Buffer<f32>,
    vocab_size: usize,
}

/// Activations in the forms that kernels take: rounded to bf16, both as such and as f32, rounded to bytes, and by tiles.
#[derive(Default)]
pub(crate) struct Rounded {
    bf16: Buffer<bf16>,
    /// The same by tiles, for kernels that take such; see [`Bf16Rows`].
    bf16_tiles: Buffer<bf16>,
    /// How many of `bf16_tiles` belong to what was rounded last.
    bf16_tiles_len: usize,
    /// The same numbers, for instruction sets without a bf16 product.
    f32: Buffer<f32>,
    /// Numbers as f32 by tiles, for kernels that take such; see [`Kernels::f32_tiles`].
    f32_tiles: Buffer<f32>,
    /// Bytes, and what belongs to each block of them; see [`Int8Rows`].
    q: Buffer<i8>,
    scales: Buffer<f32>,
    starts: Buffer<i32>,
    half_starts: Buffer<i32>,
    offsets: Buffer<f32>,
    half_offsets: Buffer<f32>,
    tiles: Buffer<i32>,
    /// How many of `tiles` belong to what was rounded last.
    tiles_len: usize,
}

impl Rounded {
    /// Rounds `x` to bf16, at most as many elements as the buffers were sized for, in parts of `part_len` elements.
    pub fn set_bf16(&mut self, crew: &Crew<'_>, kernels: &Kernels, x: &[f32], part_len: usize) {
        let parts = x.chunks(part_len).zip(self.bf16.chunks_mut(part_len)).collect();
        crew.each(parts, |(x, out): (&[f32], &mut [bf16])| kernels.round_to_bf16(x, &mut out[..x.len()]));
    }

    /// Packs all tiles that the kernels want of the `n` numbers that were rounded to bf16, rows of `k`.
    pub fn set_bf16_tiles(&mut self, crew: &Crew<'_>, kernels: &Kernels, n: usize, k: usize) {
        let (count, len) = kernels.bf16_tiles(n / k, k);
        let (x, tiles) = (&self.bf16[..n], &mut self.bf16_tiles[..count * len]);
        crew.each(tiles.chunks_mut(len.max(1)).enumerate().collect(), |(i, to): (usize, &mut [bf16])| {
            kernels.pack_bf16_tile(x, k, i, to);
        });
        self.bf16_tiles_len = count * len;
    }

    /// [`Rounded::set_bf16`], and the same numbers widened.
    pub fn set_f32(&mut self, crew: &Crew<'_>, kernels: &Kernels, x: &[f32], part_len: usize) {
        self.set_bf16(crew, kernels, x, part_len);
        let parts = self.bf16[..x.len()].chunks(part_len).zip(self.f32.chunks_mut(part_len)).collect();
        crew.each(parts, |(x, out): (&[bf16], &mut [f32])| x.iter().zip(out).for_each(|(x, out)| *out = x.to_f32()));
    }

    /// All tiles that the kernels want of `x` or, if `of_rounded`, of what [`Rounded::set_f32`] made of it. x: rows of `k`
    pub fn set_f32_tiles(&mut self, crew: &Crew<'_>, kernels: &Kernels, x: &[f32], k: usize, of_rounded: bool) {
        let x = if of_rounded { &self.f32[..x.len()] } else { x };
        let (count, len) = kernels.f32_tiles(x.len() / k, k);
        let parts = self.f32_tiles[..count * len].chunks_mut(len.max(1)).enumerate().collect();
        crew.each(parts, |(i, to): (usize, &mut [f32])| kernels.pack_f32_tile(x, k, i, to));
    }

    /// What [`Rounded::set_f32_tiles`] made of `m` rows of `k`.
    pub fn f32_tiles(&self, kernels: &Kernels, m: usize, k: usize) -> &[f32] {
        let (count, len) = kernels.f32_tiles(m, k);
        &self.f32_tiles[..count * len]
    }

    /// Rounds `x` to bytes, in parts of `part_len` elements; both are multiples of a block.
    pub fn set_int8(&mut self, crew: &Crew<'_>, kernels: &Kernels, x: &[f32], rounding: Int8Rounding, part_len: usize) {
        let n = part_len / INT8_BLOCK;
        let starts = self.starts.chunks_mut(n).zip(self.half_starts.chunks_mut(2 * n));
        let offsets = self.offsets.chunks_mut(n).zip(self.half_offsets.chunks_mut(2 * n));
        let parts = x.chunks(part_len).zip(self.q.chunks_mut(part_len)).zip(self.scales.chunks_mut(n)).zip(starts.zip(offsets));
        type Sums<'a> = ((&'a mut [i32], &'a mut [i32]), (&'a mut [f32], &'a mut [f32]));
        type Part<'a> = (((&'a [f32], &'a mut [i8]), &'a mut [f32]), Sums<'a>);
        crew.each(parts.collect(), |(((x, q), scales), ((starts, half_starts), (offsets, half_offsets))): Part<'_>| {
            // The last part may be shorter than the buffers' parts.
            let n = x.len() / INT8_BLOCK;
            let (q, scales, starts) = (&mut q[..x.len()], &mut scales[..n], &mut starts[..n]);
            let (half_starts, offsets, half_offsets) = (&mut half_starts[..2 * n], &mut offsets[..n], &mut half_offsets[..2 * n]);
            kernels.round_to_int8(x, rounding, Int8RowsMut { q, scales, starts, half_starts, offsets, half_offsets });
        });
        self.tiles_len = 0;
    }

    /// Packs all tiles that the kernels want of the `n` numbers that were rounded to bytes, rows of `k`.
    pub fn set_int8_tiles(&mut self, crew: &Crew<'_>, kernels: &Kernels, n: usize, k: usize) {
        let (count, len) = kernels.int8_tiles(n / k, k);
        let mut tiles = std::mem::take(&mut self.tiles);
        let x = self.int8(n);
        let parts = tiles[..count * len].chunks_mut(len.max(1)).enumerate().collect();
        crew.each(parts, |(i, to): (usize, &mut [i32])| kernels.pack_int8_tile(x, k, i, to));
        (self.tiles, self.tiles_len) = (tiles, count * len);
    }

    /// The first `n` numbers as bf16.
    pub fn bf16(&self, n: usize) -> Bf16Rows<'_> {
        Bf16Rows { rows: &self.bf16[..n], tiles: &self.bf16_tiles[..self.bf16_tiles_len] }
    }

    /// The first `n` numbers as bf16, widened.
    pub fn f32(&self, n: usize) -> &[f32] {
        &self.f32[..n]
    }

    /// The first `n` numbers as bytes.
    pub fn int8(&self, n: usize) -> Int8Rows<'_> {
        let n_blocks = n / INT8_BLOCK;
        Int8Rows {
            q: &self.q[..n],
            scales: &self.scales[..n_blocks],
            starts: &self.starts[..n_blocks],
            half_starts: &self.half_starts[..2 * n_blocks],
            offsets: &self.offsets[..n_blocks],
            half_offsets: &self.half_offsets[..2 * n_blocks],
            tiles: &self.tiles[..self.tiles_len],
        }
    }
}

impl State {
    /// A state without buffers; the first pass allocates them.
    pub fn new() -> State {
        State::default()
    }

    /// Logits of the `i`-th row of the last batch that asked for them. (vocab_size,)
    pub fn logits(&self, i: usize) -> &[f32] {
        &self.logits[i * self.vocab_size..][..self.vocab_size]
    }

    /// Logits of the `i`-th row that asked for them, to be changed before sampling. (vocab_size,)
    pub fn logits_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.logits[i * self.vocab_size..][..self.vocab_size]
    }

    /// Bytes of the buffers of a pass over `n_rows` rows, `n_logits` of which want logits; saturates where it would overflow.
    pub fn bytes(config: &Config, kernels: &Kernels, n_rows: usize, n_logits: usize) -> usize {
        let mut total = 0usize;
        let mut state = State::new();
        state
            .visit(config, kernels, n_rows, n_logits, &mut |size, width, _| {
                total = total.saturating_add(size.saturating_mul(width));
                Ok(())
            })
            // The closure above returns no error.
            .unwrap_or(());
        total
    }

    /// Sizes the buffers for a pass over `n_rows` rows, `n_logits` of which want logits.
    pub(crate) fn prepare(
        &mut self,
        config: &Config,
        kernels: &Kernels,
        n_rows: usize,
        n_logits: usize,
    ) -> Result<(), ModelError> {
        self.vocab_size = config.vocab_size;
        self.visit(config, kernels, n_rows, n_logits, &mut |size, width, buffer| {
            if size == usize::MAX || !buffer.resize(size) {
                return Err(ModelError::memory("activations", size.checked_mul(width)));
            }
            Ok(())
        })
    }

    /// Calls `f` with each buffer, its number of elements (`usize::MAX` where that overflows) and their width in bytes: the one list of
    /// sizes.
    fn visit(
        &mut self,
        config: &Config,
        kernels: &Kernels,
        n_rows: usize,
        n_logits: usize,
        f: Visitor<'_>,
    ) -> Result<(), ModelError> {
        let (dim, q_dim, kv_dim, hidden_dim) = (config.dim, config.q_dim(), config.kv_dim(), config.hidden_dim);
        let half = config.head_dim / 2;
        let widest = dim.max(q_dim).max(hidden_dim);
        let n_rounded = n_rows.max(n_logits);
        let blocks = widest.div_ceil(INT8_BLOCK);
        let floats: [(&mut Buffer<f32>, usize, usize); 18] = [
            (&mut self.x, n_rows, dim),
            (&mut self.normed, n_rows.max(n_logits), dim),
            (&mut self.delta, n_rows.max(n_logits), dim),
            (&mut self.q, n_rows, q_dim),
            (&mut self.k, n_rows, kv_dim),
            (&mut self.v, n_rows, kv_dim),
            (&mut self.attended, n_rows, q_dim),
            (&mut self.gate, n_rows, hidden_dim),
            (&mut self.up, n_rows, hidden_dim),
            (&mut self.frequencies, 1, half),
            (&mut self.cos, n_rows, half),
            (&mut self.sin, n_rows, half),
            (&mut self.logits, n_logits, config.vocab_size),
            (&mut self.waiting, 1, attention::waiting_len(config, n_rows)),
            (&mut self.rounded.f32, n_rounded, widest),
            (&mut self.rounded.scales, n_rounded, blocks),
            (&mut self.rounded.offsets, n_rounded, blocks),
            (&mut self.rounded.half_offsets, n_rounded, 2 * blocks),
        ];
        let (tiles, tile_len) = kernels.f32_tiles(n_rounded, widest);
        f(tiles.saturating_mul(tile_len), size_of::<f32>(), &mut self.rounded.f32_tiles)?;
        for (buffer, rows, cols) in floats {
            f(rows.saturating_mul(cols), size_of::<f32>(), buffer)?;
        }
        f(n_rounded.saturating_mul(widest), size_of::<bf16>(), &mut self.rounded.bf16)?;
        f(n_rounded.saturating_mul(widest), size_of::<i8>(), &mut self.rounded.q)?;
        f(n_rounded.saturating_mul(blocks), size_of::<i32>(), &mut self.rounded.starts)?;
        f(n_rounded.saturating_mul(2 * blocks), size_of::<i32>(), &mut self.rounded.half_starts)?;
        let (tiles, tile_len) = kernels.bf16_tiles(n_rounded, widest);
        f(tiles.saturating_mul(tile_len), size_of::<bf16>(), &mut self.rounded.bf16_tiles)?;
        let (tiles, tile_len) = kernels.int8_tiles(n_rounded, blocks * INT8_BLOCK);
        f(tiles.saturating_mul(tile_len), size_of::<i32>(), &mut self.rounded.tiles)
    }
}

/// What is done with each buffer: its number of elements, their width in bytes, the buffer.
type Visitor<'a> = &'a mut dyn FnMut(usize, usize, &mut dyn Resize) -> Result<(), ModelError>;

/// A buffer of any element.
trait Resize {
    /// Sets the length; false where memory is short.
    fn resize(&mut self, len: usize) -> bool;
}

impl<T: Copy + Default> Resize for Buffer<T> {
    fn resize(&mut self, len: usize) -> bool {
        Buffer::resize(self, len)
    }
}
