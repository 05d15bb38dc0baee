//! `Extent`: a range of bytes in a file that was checked when it was made. Every parser makes its ranges here.
//!
//! Not here: reading the bytes, and alignment (a misaligned tensor is legal; `safetensors.rs` copies it).

use std::fmt;
use std::ops::Range;

/// A range of bytes `begin..end` that lies within a buffer whose length was known when the extent was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extent {
    begin: usize,
    end: usize,
}

/// Why a range is not a valid extent. Its `Display` has the form `expected A, found B` of the parts below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadExtent {
    /// What a valid file would say.
    pub expected: String,
    /// What the file says.
    pub found: String,
}

impl Extent {
    /// The bytes `begin..end` of a buffer of `limit` bytes.
    ///
    /// # Errors
    /// If `begin > end`, or `end > limit`.
    pub(crate) fn new(begin: u64, end: u64, limit: usize) -> Result<Extent, BadExtent> {
        if begin > end {
            return Err(BadExtent::new("offsets in order", format_args!("begin {begin} after end {end}")));
        }
        match (usize::try_from(begin), usize::try_from(end)) {
            (Ok(begin), Ok(end)) if end <= limit => Ok(Extent { begin, end }),
            _ => Err(BadExtent::new(format_args!("an end within the {limit} bytes of data"), format_args!("end {end}"))),
        }
    }

    /// The bytes `begin..end` of a buffer of `limit` bytes, which hold a tensor of `shape` with `bits` bits per element.
    ///
    /// # Errors
    /// Those of [`Extent::new`], and if the tensor's size overflows, is no whole number of bytes or differs from the range's.
    pub(crate) fn of_tensor(begin: u64, end: u64, limit: usize, shape: &[u64], bits: usize) -> Result<Extent, BadExtent> {
        let extent = Extent::new(begin, end, limit)?;
        let size = tensor_bytes(shape, bits)?;
        if size != extent.len() {
            return Err(BadExtent::new(
                format_args!("{size} bytes for shape {}", Shape(shape)),
                format_args!("{} bytes (offsets {begin} to {end})", extent.len()),
            ));
        }
        Ok(extent)
    }

    /// The bytes from `begin` on, in a buffer of `limit` bytes, of a tensor of `shape` whose rows are blocks of `block_len` elements in
    /// `block_bytes` bytes.
    ///
    /// # Errors
    /// If rows are no whole blocks, the tensor's size overflows, or it ends behind the buffer.
    pub(crate) fn of_blocks(
        begin: u64,
        limit: usize,
        shape: &[u64],
        block_len: usize,
        block_bytes: usize,
    ) -> Result<Extent, BadExtent> {
        let overflow = || BadExtent::new("a size below 2^63 bytes", format_args!("shape {}", Shape(shape)));
        let (block_len, block_bytes) = (block_len as u64, block_bytes as u64);
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(block_len) {
            return Err(BadExtent::new(format_args!("rows of a multiple of {block_len} elements"), row));
        }
        let elements = shape.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim)).ok_or_else(overflow)?;
        let bytes = (elements / block_len).checked_mul(block_bytes).filter(|&bytes| bytes < 1 << 63).ok_or_else(overflow)?;
        Extent::new(begin, begin.checked_add(bytes).ok_or_else(overflow)?, limit)
    }

    /// Number of bytes.
    pub(crate) fn len(self) -> usize {
        self.end - self.begin
    }

    /// First byte.
    pub(crate) fn begin(self) -> usize {
        self.begin
    }

    /// One past the last byte.
    pub(crate) fn end(self) -> usize {
        self.end
    }

    /// The range, for slicing a buffer that has at least the length the extent was checked against.
    pub(crate) fn range(self) -> Range<usize> {
        self.begin..self.end
    }

    /// The same extent in a buffer in which `start` bytes precede the one it was checked against; `None` on overflow.
    pub(crate) fn shifted(self, start: usize) -> Option<Extent> {
        Some(Extent { begin: self.begin.checked_add(start)?, end: self.end.checked_add(start)? })
    }
}

impl BadExtent {
    fn new(expected: impl fmt::Display, found: impl fmt::Display) -> BadExtent {
        BadExtent { expected: expected.to_string(), found: found.to_string() }
    }
}

/// Bytes of a tensor of `shape` with `bits` bits per element.
fn tensor_bytes(shape: &[u64], bits: usize) -> Result<usize, BadExtent> {
    let overflow = || BadExtent::new("a size below 2^63 bytes", format_args!("shape {}", Shape(shape)));
    let mut elements = 1_u64;
    for &dim in shape {
        elements = elements.checked_mul(dim).ok_or_else(overflow)?;
    }
    let total = u64::try_from(bits).ok().and_then(|bits| elements.checked_mul(bits)).ok_or_else(overflow)?;
    if !total.is_multiple_of(8) {
        let shape = Shape(shape);
        return Err(BadExtent::new("a whole number of bytes", format_args!("{total} bits for shape {shape}")));
    }
    usize::try_from(total / 8).map_err(|_| overflow())
}

/// Prints a shape as `[2, 3]`, cut after a few dimensions: a file may claim a million.
pub(crate) struct Shape<'a, T>(pub(crate) &'a [T]);

impl<T: fmt::Display> fmt::Display for Shape<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (n, dim) in self.0.iter().enumerate() {
            if n == 8 {
                write!(f, ", … {} dimensions", self.0.len())?;
                break;
            }
            write!(f, "{}{dim}", if n == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn extents_lie_within_the_limit_and_fit_the_shape() {
        assert_eq!(Extent::new(2, 5, 5).unwrap().range(), 2..5);
        assert!(Extent::new(5, 5, 5).unwrap().len() == 0);
        assert!(Extent::new(3, 2, 5).unwrap_err().found.contains("begin 3 after end 2"));
        assert!(Extent::new(2, 6, 5).unwrap_err().expected.contains("within the 5 bytes"));
        assert!(Extent::new(0, u64::MAX, usize::MAX - 1).is_err());
        assert_eq!(Extent::of_tensor(0, 24, 24, &[2, 3], 32).unwrap().len(), 24);
        assert_eq!(Extent::of_tensor(0, 3, 3, &[2, 3], 4).unwrap().len(), 3);
        assert_eq!(Extent::of_tensor(0, 4, 4, &[], 32).unwrap().len(), 4);
        assert_eq!(Extent::of_tensor(7, 7, 8, &[0, 1 << 62], 64).unwrap().len(), 0);
    }

    #[test]
    fn sizes_that_overflow_or_are_broken_or_differ_are_refused() {
        let found = |shape: &[u64], bits| Extent::of_tensor(0, 8, 8, shape, bits).unwrap_err();
        assert!(found(&[2, u64::MAX - 1], 8).expected.contains("2^63"));
        assert!(found(&[2, (1 << 63) - 1], 8).expected.contains("2^63"));
        assert!(found(&[1 << 62], 32).expected.contains("2^63"));
        assert!(found(&[u64::MAX, u64::MAX, 0], 8).expected.contains("2^63"));
        assert!(found(&[3], 4).expected.contains("whole number"));
        assert!(found(&[3], 8).expected.contains("3 bytes for shape [3]"));
    }

    #[test]
    fn a_shape_is_cut_in_messages() {
        assert_eq!(Shape(&[1, 2]).to_string(), "[1, 2]");
        assert!(Shape(&[1; 1_000_000]).to_string().len() < 60);
    }

    proptest! {
        /// Whatever the numbers, an extent that is made can be used for slicing and has the shape's size.
        #[test]
        fn an_extent_is_sound(
            begin in prop_oneof![0_u64..40, any::<u64>()],
            end in prop_oneof![0_u64..40, any::<u64>()],
            limit in 0_usize..40,
            shape in prop::collection::vec(prop_oneof![0_u64..6, any::<u64>()], 0..4),
            bits in prop::sample::select(vec![4_usize, 6, 8, 16, 32, 64]),
        ) {
            let bytes = vec![0_u8; limit];
            if let Ok(extent) = Extent::of_tensor(begin, end, limit, &shape, bits) {
                let size = shape.iter().map(|&dim| u128::from(dim)).product::<u128>() * bits as u128;
                prop_assert_eq!(bytes.get(extent.range()).map(|slice| slice.len() as u128 * 8), Some(size));
            } else {
                // Refused for a reason, which is recomputed another way.
                let elements = shape.iter().try_fold(1_u64, |size, &dim| size.checked_mul(dim));
                let bits = elements.and_then(|elements| elements.checked_mul(bits as u64));
                let fits = bits.is_some_and(|bits| u128::from(bits) == u128::from(end.wrapping_sub(begin)) * 8);
                prop_assert!(begin > end || end > limit as u64 || !fits);
            }
        }
    }
}
