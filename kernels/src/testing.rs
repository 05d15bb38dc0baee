//! What the tests and benches of kernels share: seeded inputs and buffers guarded by NaN.
//!
//! Not here: tests. No random crate is used, so that a failure's seed means the same for ever.

/// SplitMix64 (Steele, Lea and Flood, 2014): a small generator with a fixed stream.
#[derive(Clone, Debug)]
pub struct Seeded(pub u64);

impl Seeded {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Uniform in [-1, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Uniform, but now and then a zero, a subnormal, a tiny or a large number.
    pub fn awkward(&mut self) -> f32 {
        match self.below(16) {
            0 => 0.0,
            1 => -0.0,
            2 => f32::from_bits(self.below(1 << 23) as u32),
            3 => self.uniform() * 1e-6,
            4 => self.uniform() * 1e3,
            _ => self.uniform(),
        }
    }
}

/// A buffer of `len` elements, `misalignment` elements after a multiple of 64 bytes, with NaN (all bits set) on both sides.
#[derive(Clone, Debug)]
pub struct Guarded<T> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

/// Guard elements on each side.
const GUARD: usize = 64;

impl<T: Copy + PartialEq> Guarded<T> {
    /// A buffer filled by `fill`; `nan` is what guards it.
    pub fn new(len: usize, misalignment: usize, nan: T, mut fill: impl FnMut() -> T) -> Guarded<T> {
        let mut data = vec![nan; len + 3 * GUARD + misalignment];
        let start = data.as_ptr().align_offset(64) % GUARD + GUARD + misalignment;
        for x in &mut data[start..start + len] {
            *x = fill();
        }
        Guarded { data, start, len }
    }

    /// The elements.
    pub fn get(&self) -> &[T] {
        &self.data[self.start..self.start + self.len]
    }

    /// The elements, to be written.
    pub fn get_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..self.start + self.len]
    }

    /// Whether nothing around the elements was written. `is_nan` tells a guard.
    pub fn is_intact(&self, is_nan: impl Fn(&T) -> bool) -> bool {
        self.data[..self.start].iter().chain(&self.data[self.start + self.len..]).all(is_nan)
    }
}
