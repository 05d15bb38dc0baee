//! `KvLayout`: how the keys and values of one KV head lie in a page of the cache, by storage type; written and read a position at a time.
//!
//! Not here: attention over them (`generic/attention/`), and which pages a sequence has (the engine's). A head's part of a page is
//!
//! ```text
//! keys      [position / 16][dim / STEP][16][STEP]        16 positions side by side are 16 lanes of scores, so no lanes are ever summed
//! values    [column / 16][position / STEP][16][STEP]     as many columns as head_dim rounded up to 16; those beyond it are zero
//! scales    q8 only, f32: of each position's keys [256], then of its values [256]
//! ```
//!
//! where STEP is 2 for bf16, which `vdpbf16ps` takes in pairs along a sum, and 1 otherwise. Positions that were never written are zero. The
//! four quarters of the keys, and four vectors of columns, are streams some KiB apart, which one row reads side by side.

use core::fmt;
use core::str::FromStr;

use half::{bf16, f16};

use crate::convert::bf16_from_f32;

/// Positions in a page. Their softmax is taken at once, so it is part of the determinism contract.
pub const KV_PAGE_LEN: usize = 256;

/// Positions whose keys, and columns whose values, lie side by side: the lanes of the widest vector.
pub(crate) const GROUP: usize = 16;

/// The type that keys and values are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KvDType {
    /// Exact.
    F32,
    /// IEEE half precision: 11 bits; numbers beyond 65,504 become infinite.
    F16,
    /// The upper half of an f32: 8 bits.
    BF16,
    /// 8-bit integers with a scale for each head and position, an f32: the largest magnitude is 127.
    Q8,
}

impl KvDType {
    /// Every type, in the order of their tables.
    pub const ALL: &'static [KvDType] = &[KvDType::F32, KvDType::F16, KvDType::BF16, KvDType::Q8];

    /// The length of every table with an entry for each type.
    pub(crate) const COUNT: usize = KvDType::ALL.len();

    /// The name by which `--kv-dtype` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            KvDType::F32 => "f32",
            KvDType::F16 => "f16",
            KvDType::BF16 => "bf16",
            KvDType::Q8 => "q8",
        }
    }

    /// Bytes of an element.
    const fn bytes(self) -> usize {
        match self {
            KvDType::F32 => 4,
            KvDType::F16 | KvDType::BF16 => 2,
            KvDType::Q8 => 1,
        }
    }

    /// Elements along a sum that lie side by side.
    const fn step(self) -> usize {
        if matches!(self, KvDType::BF16) { 2 } else { 1 }
    }
}

impl fmt::Display for KvDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KvDType {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<KvDType, &'static str> {
        KvDType::ALL.iter().copied().find(|dtype| dtype.name() == s).ok_or("expected one of f32, f16, bf16, q8")
    }
}

/// Where the keys and values of one KV head lie in a page; see the top of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    dtype: KvDType,
    head_dim: usize,
}

impl KvLayout {
    /// What the arrangement of bytes is called where they are kept in a file; it changes with every change of this module.
    pub const VERSION: &'static str = if cfg!(target_endian = "big") { "kv-256-1-be" } else { "kv-256-1" };

    /// The layout of heads of `head_dim` elements, an even number.
    pub const fn new(dtype: KvDType, head_dim: usize) -> KvLayout {
        assert!(head_dim > 0 && head_dim.is_multiple_of(2), "heads have an even size");
        KvLayout { dtype, head_dim }
    }

    /// The type of the elements.
    pub const fn dtype(&self) -> KvDType {
        self.dtype
    }

    /// Elements of a key and of a value.
    pub const fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Columns of the values, with those that fill the last vector.
    pub const fn width(&self) -> usize {
        KvLayout::width_of(self.head_dim)
    }

    /// [`KvLayout::width`] for heads of this size, whatever the type.
    pub const fn width_of(head_dim: usize) -> usize {
        head_dim.next_multiple_of(GROUP)
    }

    /// Bytes of one head in a page, a multiple of a cache line.
    pub const fn bytes(&self) -> usize {
        let scales = if matches!(self.dtype, KvDType::Q8) { 2 * KV_PAGE_LEN * size_of::<f32>() } else { 0 };
        self.scales_start() + scales
    }

    /// The byte at which the values begin; before them are the keys.
    pub(crate) const fn values_start(&self) -> usize {
        KV_PAGE_LEN * self.head_dim * self.dtype.bytes()
    }

    /// The byte at which the scales begin, or the head ends.
    pub(crate) const fn scales_start(&self) -> usize {
        self.values_start() + KV_PAGE_LEN * self.width() * self.dtype.bytes()
    }

    /// The byte of an element of a key.
    fn key_at(&self, position: usize, dim: usize) -> usize {
        let step = self.dtype.step();
        let line = position / GROUP * (self.head_dim / step) + dim / step;
        ((line * GROUP + position % GROUP) * step + dim % step) * self.dtype.bytes()
    }

    /// The byte of an element of a value.
    fn value_at(&self, position: usize, column: usize) -> usize {
        let step = self.dtype.step();
        let line = column / GROUP * (KV_PAGE_LEN / step) + position / step;
        self.values_start() + ((line * GROUP + column % GROUP) * step + position % step) * self.dtype.bytes()
    }

    /// The byte of a position's scale: of its keys, then of its values.
    fn scale_at(&self, position: usize, of_values: bool) -> usize {
        self.scales_start() + (usize::from(of_values) * KV_PAGE_LEN + position) * size_of::<f32>()
    }

    /// Writes the key and the value of a position, rounded to nearest. head: (`bytes`,); k, v: (head_dim,); position < [`KV_PAGE_LEN`]
    pub fn write(&self, head: &mut [u8], position: usize, k: &[f32], v: &[f32]) {
        assert!(head.len() == self.bytes() && position < KV_PAGE_LEN, "position {position} of a page's {} bytes", head.len());
        assert!(k.len() == self.head_dim && v.len() == self.head_dim, "a key of {}, a value of {}", k.len(), v.len());
        for (x, of_values) in [(k, false), (v, true)] {
            match self.dtype {
                KvDType::F32 => self.put::<1, _>(head, position, of_values, x, |x| x.to_ne_bytes()),
                KvDType::F16 => self.put::<1, _>(head, position, of_values, x, |x| f16::from_f32(x).to_ne_bytes()),
                KvDType::BF16 => self.put::<2, _>(head, position, of_values, x, |x| bf16_from_f32(x).to_ne_bytes()),
                KvDType::Q8 => {
                    // A NaN among the elements becomes the scale, so that it is seen.
                    let largest = x.iter().fold(0.0, |m: f32, x| if x.abs() > m || x.is_nan() { x.abs() } else { m });
                    let scale = largest / 127.0;
                    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                    self.put::<1, _>(head, position, of_values, x, |x| ((x * inverse).round_ties_even() as i8).to_ne_bytes());
                    let at = self.scale_at(position, of_values);
                    head[at..at + size_of::<f32>()].copy_from_slice(&scale.to_ne_bytes());
                }
            }
        }
    }

    /// Writes the elements of a position's key or value. `STEP`: the layout's; `N`: bytes of an element
    #[inline(always)]
    fn put<const STEP: usize, const N: usize>(
        &self,
        head: &mut [u8],
        position: usize,
        of_values: bool,
        x: &[f32],
        bytes: impl Fn(f32) -> [u8; N],
    ) {
        if of_values {
            for (i, x) in x.chunks(GROUP).enumerate() {
                let places = head[self.value_at(position, i * GROUP)..].chunks_mut(STEP * N);
                x.iter().zip(places).for_each(|(&x, place)| place[..N].copy_from_slice(&bytes(x)));
            }
        } else {
            let lines = head[self.key_at(position, 0)..].chunks_mut(GROUP * STEP * N);
            for (x, line) in x.chunks_exact(STEP).zip(lines) {
                (0..STEP).for_each(|i| line[i * N..(i + 1) * N].copy_from_slice(&bytes(x[i])));
            }
        }
    }

    /// The key and the value of a position, as numbers. head: (`bytes`,); k, v: (head_dim,)
    pub fn read(&self, head: &[u8], position: usize, k: &mut [f32], v: &mut [f32]) {
        assert!(head.len() == self.bytes() && position < KV_PAGE_LEN, "position {position} of a page's {} bytes", head.len());
        assert!(k.len() == self.head_dim && v.len() == self.head_dim, "a key of {}, a value of {}", k.len(), v.len());
        for i in 0..self.head_dim {
            k[i] = self.key(head, position, i);
            v[i] = self.value(head, position, i);
        }
    }

    /// An element of a position's key, as a number.
    pub(crate) fn key(&self, head: &[u8], position: usize, dim: usize) -> f32 {
        self.element(head, self.key_at(position, dim), self.scale_at(position, false))
    }

    /// An element of a position's value, as a number.
    pub(crate) fn value(&self, head: &[u8], position: usize, column: usize) -> f32 {
        self.element(head, self.value_at(position, column), self.scale_at(position, true))
    }

    fn element(&self, head: &[u8], at: usize, scale_at: usize) -> f32 {
        match self.dtype {
            KvDType::F32 => f32::from_ne_bytes(get(head, at)),
            KvDType::F16 => f16::from_ne_bytes(get(head, at)).to_f32(),
            KvDType::BF16 => bf16::from_ne_bytes(get(head, at)).to_f32(),
            KvDType::Q8 => f32::from(head[at].cast_signed()) * f32::from_ne_bytes(get(head, scale_at)),
        }
    }
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    core::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seeded;

    /// Every position comes back as it was rounded, beside all others; nothing else of the page is written.
    #[test]
    fn positions_have_places_of_their_own() {
        for &dtype in KvDType::ALL {
            for head_dim in [2, 6, 16, 22, 64] {
                let layout = KvLayout::new(dtype, head_dim);
                let mut seeded = Seeded(head_dim as u64);
                let mut page = vec![0u8; layout.bytes()];
                let rows: Vec<Vec<f32>> =
                    (0..2 * KV_PAGE_LEN).map(|_| (0..head_dim).map(|_| seeded.uniform()).collect()).collect();
                let (keys, values) = rows.split_at(KV_PAGE_LEN);
                let mut order: Vec<usize> = (0..KV_PAGE_LEN).collect();
                order.sort_by_cached_key(|_| seeded.bits());
                order.iter().for_each(|&p| layout.write(&mut page, p, &keys[p], &values[p]));
                for p in 0..KV_PAGE_LEN {
                    let (mut k, mut v) = (vec![0.0; head_dim], vec![0.0; head_dim]);
                    layout.read(&page, p, &mut k, &mut v);
                    for (got, want) in k.iter().zip(&keys[p]).chain(v.iter().zip(&values[p])) {
                        // Half a unit in the last place; of the largest for q8.
                        let bound = match dtype {
                            KvDType::F32 => 0.0,
                            KvDType::F16 => want.abs() / 2048.0 + 6e-8,
                            KvDType::BF16 => want.abs() / 256.0,
                            KvDType::Q8 => 0.501 / 127.0,
                        };
                        assert!((got - want).abs() <= bound, "{dtype} {head_dim} position {p}: {got} and not {want}");
                    }
                }
                let filled = vec![layout.width() - head_dim; KV_PAGE_LEN].iter().sum::<usize>();
                let zeros = page[layout.values_start()..layout.scales_start()].iter().filter(|&&byte| byte == 0).count();
                assert!(zeros >= filled * dtype.bytes(), "{dtype} {head_dim}: the columns beyond the head stay zero");
            }
        }
    }

    #[test]
    fn q8_keeps_the_largest_and_shows_nan() {
        let layout = KvLayout::new(KvDType::Q8, 4);
        let mut page = vec![0u8; layout.bytes()];
        let (mut k, mut v) = ([0.0; 4], [0.0; 4]);
        layout.write(&mut page, 7, &[-3.0, 1.0, 0.0, 2.9], &[0.0; 4]);
        layout.read(&page, 7, &mut k, &mut v);
        assert!((k[0] + 3.0).abs() < 1e-6 && v == [0.0; 4], "{k:?} {v:?}");
        layout.write(&mut page, 7, &[1.0, f32::NAN, 0.5, 2.0], &[f32::INFINITY, 1.0, 1.0, 1.0]);
        layout.read(&page, 7, &mut k, &mut v);
        assert!(k.iter().chain(&v).all(|x| x.is_nan()), "{k:?} {v:?}");
    }

    #[test]
    fn names_are_parsed() {
        for &dtype in KvDType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        assert!("q4".parse::<KvDType>().is_err());
    }
}
