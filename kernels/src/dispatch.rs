//! The ladder of instruction sets, the table of kernels of each, and the checked entry points.
//!
//! A [`Kernels`] is chosen once and passed as a value. Its fields are private and [`Kernels::for_isa`] is the only way to one, so holding
//! it proves that the CPU can run it. Not here: threads, allocation, errors: a wrong shape is a bug, and panics.

use core::fmt;
use core::str::FromStr;

use half::bf16;

use crate::arch;
use crate::attention::{AttentionKernels, Merge};
use crate::dtype::DType;
use crate::generic::attempt::{Candidates, Outcome};
use crate::generic::hadamard::is_hadamard_order;
use crate::generic::int8::{INT8_BLOCK, Int8Rounding, Int8Rows, Int8RowsMut};
use crate::generic::matmul::MATMUL_SCRATCH;
use crate::generic::probe::{Arithmetic, Probes, READ_WAYS};
use crate::kv::KvDType;
use crate::view::MatMut;

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain loops: the oracle.
    Scalar,
    /// Eight lanes by the `wide` crate, on any CPU.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// The same and AVX-VNNI.
    AvxVnni,
    /// AVX-512 F and VL.
    Avx512,
    /// AVX-512 F, VL, BW and VNNI.
    Avx512Vnni,
    /// AVX-512 F, VL, BW, BF16 and VNNI.
    Avx512Bf16,
    /// The same and AMX with bf16 and bytes.
    Avx512Amx,
}

impl Isa {
    /// Every rung, the best last.
    pub const ALL: &'static [Isa] =
        &[Isa::Scalar, Isa::Portable, Isa::Avx2, Isa::AvxVnni, Isa::Avx512, Isa::Avx512Vnni, Isa::Avx512Bf16, Isa::Avx512Amx];

    /// The name by which `--isa` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avx_vnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512_vnni",
            Isa::Avx512Bf16 => "avx512_bf16",
            Isa::Avx512Amx => "avx512_amx",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(s: &str) -> Result<Isa, UnknownIsa> {
        Isa::ALL.iter().copied().find(|isa| isa.name() == s).ok_or(UnknownIsa)
    }
}

/// The name of no rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownIsa;

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected one of")?;
        for (i, isa) in Isa::ALL.iter().enumerate() {
            write!(f, "{} {isa}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownIsa {}

/// A rung, how to see whether this CPU can run it, and its kernels.
struct Rung {
    is_available: fn() -> bool,
    /// Whether a CPU that can run it is one that it is made for.
    is_for_this: fn() -> bool,
    kernels: Kernels,
}

/// What this build has, the best last: of two variants of an ISA the later is for the CPUs that it names. To add an ISA, add a line here.
const LADDER: &[Rung] = &[
    Rung { is_available: || true, is_for_this: || true, kernels: arch::scalar::KERNELS },
    Rung { is_available: || true, is_for_this: || true, kernels: arch::portable::KERNELS },
    #[cfg(target_arch = "x86_64")]
    Rung { is_available: arch::avx2::is_available, is_for_this: || true, kernels: arch::avx2::KERNELS },
    #[cfg(target_arch = "x86_64")]
    Rung { is_available: arch::avx_vnni::is_available, is_for_this: || true, kernels: arch::avx_vnni::KERNELS },
    #[cfg(target_arch = "x86_64")]
    Rung { is_available: arch::avx512::is_available, is_for_this: || true, kernels: arch::avx512::KERNELS },
    #[cfg(target_arch = "x86_64")]
    Rung { is_available: arch::avx512_vnni::is_available, is_for_this: || true, kernels: arch::avx512_vnni::KERNELS },
    #[cfg(target_arch = "x86_64")]
    Rung {
        is_available: arch::avx512_vnni::is_available,
        is_for_this: arch::avx512_vnni::is_intel,
        kernels: arch::avx512_vnni::PREFETCHING,
    },
    #[cfg(target_arch = "x86_64")]
    Rung { is_available: arch::avx512_bf16::is_available, is_for_this: || true, kernels: arch::avx512_bf16::KERNELS },
    #[cfg(target_arch = "x86_64")]
    Rung {
        is_available: arch::avx512_bf16::is_available,
        is_for_this: arch::avx512_vnni::is_intel,
        kernels: arch::avx512_bf16::PREFETCHING,
    },
    #[cfg(target_arch = "x86_64")]
    Rung { is_available: arch::avx512_amx::is_available, is_for_this: || true, kernels: arch::avx512_amx::KERNELS },
];

/// The rungs that this CPU can run.
fn ladder() -> impl DoubleEndedIterator<Item = &'static Rung> {
    LADDER.iter().filter(|rung| (rung.is_available)())
}

/// Activations of a matrix product, in the compute type of the run.
#[derive(Clone, Copy)]
pub enum Activations<'a> {
    /// Exact f32 arithmetic.
    F32(&'a [f32]),
    /// The same, to the same bits: the rows, (m, k), and all tiles of them that [`Kernels::f32_tiles`] tells of, packed one after another.
    F32Tiles(&'a [f32], &'a [f32]),
    /// Rounded to bf16 once; products and sums are f32. Only where [`Kernels::has_bf16_dot`].
    Bf16(Bf16Rows<'a>),
    /// Rounded to bytes by blocks once; sums of a block are exact, scaled sums are f32. Only where [`Kernels::has_int8_dot`].
    Int8(Int8Rows<'a>),
}

impl Activations<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Activations::F32(x) | Activations::F32Tiles(x, _) => x.len(),
            Activations::Bf16(x) => x.rows.len(),
            Activations::Int8(x) => x.q.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows of activations that were rounded to bf16.
#[derive(Clone, Copy)]
pub struct Bf16Rows<'a> {
    /// (m, k)
    pub rows: &'a [bf16],
    /// All tiles of them that [`Kernels::bf16_tiles`] tells of, packed one after another.
    pub tiles: &'a [bf16],
}

pub(crate) type MatmulF32 = unsafe fn(&[u8], &[f32], usize, MatMut<'_>, &mut [f32]);
pub(crate) type MatmulBf16 = unsafe fn(&[u8], Bf16Rows<'_>, usize, MatMut<'_>, &mut [f32]);

/// As [`MatmulF32`], with the activations' tiles besides.
pub(crate) type MatmulF32Tiles = unsafe fn(&[u8], &[f32], &[f32], usize, MatMut<'_>, &mut [f32]);

/// Tiles of rows of activations of one type.
#[derive(Clone, Copy)]
pub(crate) struct Tiles<T> {
    /// The number of tiles of some rows; none where they are taken as they lie.
    pub count: fn(usize) -> usize,
    /// The elements of each tile of so many rows of some length.
    pub len: fn(usize, usize) -> usize,
    /// Packs a tile of rows of some length.
    pub pack: unsafe fn(&[T], usize, usize, &mut [T]),
}

impl<T> Tiles<T> {
    /// How many tiles there are of `m` rows of `k`, and of how many elements each.
    fn size(&self, m: usize, k: usize) -> (usize, usize) {
        ((self.count)(m), (self.len)(m, k))
    }

    /// Packs tile `i` of all rows.
    ///
    /// # Safety
    /// The CPU has the features of the rung that these tiles belong to.
    unsafe fn pack(&self, x: &[T], k: usize, i: usize, to: &mut [T]) {
        assert!(k > 0 && x.len().is_multiple_of(k), "rows of {k} in {}", x.len());
        let (count, len) = self.size(x.len() / k, k);
        assert!(i < count && to.len() == len, "tile {i} of {count}, {} of {len} elements", to.len());
        // SAFETY: the shapes were just checked, and the features are the caller's.
        unsafe { (self.pack)(x, k, i, to) }
    }
}

/// Products of many rows of f32 activations that were packed by tiles.
#[derive(Clone, Copy)]
pub(crate) struct F32Tiles {
    /// The tiles: none where rows are few.
    pub tiles: Tiles<f32>,
    /// f32 of scratch with which products are fastest.
    pub scratch: usize,
    /// For each format the product, with the bits of the one in dot order.
    pub matmul: [MatmulF32Tiles; DType::COUNT],
}

/// Tiles of rows of int8 activations, from which products of many rows are faster.
#[derive(Clone, Copy)]
pub(crate) struct Int8Tiles {
    /// The number of tiles of some rows: none where rows are few. Those left over are multiplied as they lie.
    pub count: fn(usize) -> usize,
    /// The numbers of a tile of rows of some length.
    pub len: fn(usize) -> usize,
    /// Packs a tile of rows of some length.
    pub pack: fn(Int8Rows<'_>, usize, usize, &mut [i32]),
}

pub(crate) type MatmulInt8 = unsafe fn(&[u8], Int8Rows<'_>, usize, MatMut<'_>, &mut [f32]);

pub(crate) type RoundToInt8 = unsafe fn(&[f32], Int8RowsMut<'_>);

pub(crate) type Attempt = unsafe fn(&[f32], &[f32], Candidates<'_>) -> Outcome;

/// The kernels of one ISA.
#[derive(Clone, Copy)]
pub struct Kernels {
    pub(crate) isa: Isa,
    pub(crate) matmul_f32: [MatmulF32; DType::COUNT],
    pub(crate) f32_tiles: Option<F32Tiles>,
    // Of one row, too.
    pub(crate) bf16_tiles: Option<Tiles<bf16>>,
    pub(crate) matmul_bf16: [Option<MatmulBf16>; DType::COUNT],
    pub(crate) matmul_int8: [Option<MatmulInt8>; DType::COUNT],
    pub(crate) int8_tiles: Option<Int8Tiles>,
    pub(crate) rmsnorm: unsafe fn(&mut [f32], &[f32], f32),
    pub(crate) rope: unsafe fn(&mut [f32], &[f32], &[f32]),
    pub(crate) swiglu: unsafe fn(&mut [f32], &[f32]),
    pub(crate) add: unsafe fn(&mut [f32], &[f32]),
    pub(crate) round_to_bf16: unsafe fn(&[f32], &mut [bf16]),
    // Plain and fitted.
    pub(crate) round_to_int8: [RoundToInt8; 2],
    pub(crate) hadamard: unsafe fn(&mut [f32], usize),
    pub(crate) attention: [AttentionKernels; KvDType::COUNT],
    pub(crate) attention_bf16: [Option<AttentionKernels>; KvDType::COUNT],
    pub(crate) merge: Merge,
    // Without and with errors.
    pub(crate) attempt: [Attempt; 2],
    pub(crate) probes: Probes,
    pub(crate) bf16_is_faster: bool,
}

impl Kernels {
    /// The kernels of `isa`, if this CPU can run them.
    pub fn for_isa(isa: Isa) -> Option<Kernels> {
        ladder().rfind(|rung| rung.kernels.isa == isa && (rung.is_for_this)()).map(|rung| rung.kernels)
    }

    /// The best kernels that this CPU can run.
    pub fn detect() -> Kernels {
        ladder().rfind(|rung| (rung.is_for_this)()).expect("the scalar rung is always available").kernels
    }

    /// All kernels that this CPU can run, in the order of their ISAs; variants that are made for other CPUs are among them.
    pub fn available() -> impl Iterator<Item = Kernels> {
        ladder().map(|rung| rung.kernels)
    }

    /// The rung.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether weights of this format are multiplied by bf16 activations natively. Where not, [`Activations::Bf16`] cannot be used; f32
    /// activations that were rounded to bf16 give the same numbers as a native product, up to the order of sums.
    pub fn has_bf16_dot(&self, dtype: DType) -> bool {
        self.matmul_bf16[dtype as usize].is_some()
    }

    /// Whether the native product of weights of this format with bf16 activations is faster than that with f32: the instruction has twice the
    /// rate of a fused multiply-add on AMD Zen 4 and half of it on the Intel server CPU of 2024 on which it was measured
    /// ([`Kernels::probe_multiply_adds`] tells).
    pub fn prefers_bf16(&self, dtype: DType) -> bool {
        self.bf16_is_faster && self.has_bf16_dot(dtype)
    }

    /// Whether weights of this format are multiplied by int8 activations natively.
    pub fn has_int8_dot(&self, dtype: DType) -> bool {
        self.matmul_int8[dtype as usize].is_some()
    }

    /// How many tiles products of `m` rows of `k` int8 activations want packed ([`Int8Rows::tiles`]), and of how many numbers each; no tiles where
    /// they are not faster.
    pub fn int8_tiles(&self, m: usize, k: usize) -> (usize, usize) {
        self.int8_tiles.map_or((0, 0), |tiles| ((tiles.count)(m), (tiles.len)(k)))
    }

    /// Packs tile `i` of all rows. x: (m, k); to: as many numbers as [`Kernels::int8_tiles`] tells
    ///
    /// # Panics
    /// If one of these has another size.
    pub fn pack_int8_tile(&self, x: Int8Rows<'_>, k: usize, i: usize, to: &mut [i32]) {
        assert!(k > 0 && x.is_consistent(k), "rows of {k} in {} int8 activations", x.q.len());
        let (count, len) = self.int8_tiles(x.q.len() / k, k);
        assert!(i < count && to.len() == len, "tile {i} of {count}, {} of {len} numbers", to.len());
        if let Some(tiles) = &self.int8_tiles {
            (tiles.pack)(x, k, i, to);
        }
    }

    /// How many tiles products of `m` rows of `k` f32 activations want packed ([`Activations::F32Tiles`]), and of how many elements each; no tiles
    /// where they are not faster.
    pub fn f32_tiles(&self, m: usize, k: usize) -> (usize, usize) {
        self.f32_tiles.map_or((0, 0), |tiles| tiles.tiles.size(m, k))
    }

    /// f32 of scratch with which products of this ISA are fastest, [`MATMUL_SCRATCH`] at least.
    pub fn matmul_scratch(&self) -> usize {
        self.f32_tiles.map_or(MATMUL_SCRATCH, |tiles| tiles.scratch.max(MATMUL_SCRATCH))
    }

    /// Packs tile `i` of all rows. x: (m, k); to: as many elements as [`Kernels::f32_tiles`] tells
    ///
    /// # Panics
    /// If one of these has another size, or there are no tiles.
    pub fn pack_f32_tile(&self, x: &[f32], k: usize, i: usize, to: &mut [f32]) {
        let tiles = self.f32_tiles.expect("tiles where the ISA has them");
        // SAFETY: holding `self` proves the CPU's features.
        unsafe { tiles.tiles.pack(x, k, i, to) }
    }

    /// How many tiles products of `m` rows of `k` bf16 activations want packed ([`Bf16Rows::tiles`]), and of how many elements each; no tiles where
    /// rows are taken as they lie.
    pub fn bf16_tiles(&self, m: usize, k: usize) -> (usize, usize) {
        self.bf16_tiles.map_or((0, 0), |tiles| tiles.size(m, k))
    }

    /// Packs tile `i` of all rows. x: (m, k); to: as many elements as [`Kernels::bf16_tiles`] tells
    ///
    /// # Panics
    /// If one of these has another size, or there are no tiles.
    pub fn pack_bf16_tile(&self, x: &[bf16], k: usize, i: usize, to: &mut [bf16]) {
        let tiles = self.bf16_tiles.expect("tiles where the ISA has them");
        // SAFETY: holding `self` proves the CPU's features.
        unsafe { tiles.pack(x, k, i, to) }
    }

    /// Adds the product of weights of one format with int8 activations.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 rungs override a format so far"))]
    pub(crate) const fn with_matmul_int8(mut self, dtype: DType, kernel: MatmulInt8) -> Kernels {
        self.matmul_int8[dtype as usize] = Some(kernel);
        self
    }

    /// Adds the product of weights of one format with bf16 activations.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 rungs override a format so far"))]
    pub(crate) const fn with_matmul_bf16(mut self, dtype: DType, kernel: MatmulBf16) -> Kernels {
        self.matmul_bf16[dtype as usize] = Some(kernel);
        self
    }

    /// Adds attention over keys and values of one type with queries and weights in bf16.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 rungs override a type so far"))]
    pub(crate) const fn with_attention_bf16(mut self, dtype: KvDType, kernels: AttentionKernels) -> Kernels {
        self.attention_bf16[dtype as usize] = Some(kernels);
        self
    }

    /// `out = x · wᵀ`. Each output's sum over k has an order that k and the ISA fix.
    ///
    /// w: (n, k) row-major blocks of `dtype`, aligned for it; x: (m, k) row-major; out: (m, n); scratch: [`Kernels::matmul_scratch`] elements make
    /// the product of many rows fastest, fewer do not change it; at least k where blocks are longer than one element, and 256 where
    /// activations are int8
    pub fn matmul(&self, dtype: DType, w: &[u8], x: Activations<'_>, k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
        assert!(k > 0, "a product over no elements");
        let expected = dtype.row_bytes(k).and_then(|row| row.checked_mul(out.cols()));
        assert_eq!(Some(w.len()), expected, "weights of ({}, {k}) {dtype}", out.cols());
        assert!((w.as_ptr() as usize).is_multiple_of(dtype.alignment()), "weights are not aligned for {dtype}");
        assert_eq!(x.len(), out.rows() * k, "activations of ({}, {k})", out.rows());
        assert!(dtype.block_len() == 1 || scratch.len() >= k, "scratch of {} for rows of {k} {dtype}", scratch.len());
        // SAFETY: the shapes and the alignment were just checked, and holding `self` proves the CPU's features.
        unsafe {
            match x {
                Activations::F32(x) => self.matmul_f32[dtype as usize](w, x, k, out, scratch),
                Activations::F32Tiles(x, packed) => {
                    let (count, len) = self.f32_tiles(out.rows(), k);
                    assert_eq!(packed.len(), count * len, "tiles of ({}, {k})", out.rows());
                    let tiles = self.f32_tiles.expect("tiles where the ISA has them");
                    tiles.matmul[dtype as usize](w, x, packed, k, out, scratch)
                }
                Activations::Bf16(x) => {
                    let (count, len) = self.bf16_tiles(out.rows(), k);
                    assert_eq!(x.tiles.len(), count * len, "tiles of ({}, {k})", out.rows());
                    let matmul = self.matmul_bf16[dtype as usize].expect("bf16 activations where the ISA multiplies them");
                    matmul(w, x, k, out, scratch)
                }
                Activations::Int8(x) => {
                    assert!(x.is_consistent(k), "scales of int8 activations");
                    let (count, len) = self.int8_tiles(out.rows(), k);
                    assert!([0, count * len].contains(&x.tiles.len()), "tiles of ({}, {k})", out.rows());
                    assert!(scratch.len() >= 256, "scratch of {} for int8 activations", scratch.len());
                    let matmul = self.matmul_int8[dtype as usize].expect("int8 activations where the ISA multiplies them");
                    matmul(w, x, k, out, scratch)
                }
            }
        }
    }

    /// Tries candidates for the scale and minimum of weights that are encoded, and tells the errors that they leave if `with_error`. x, importance: (n,)
    pub(crate) fn attempt(&self, x: &[f32], importance: &[f32], tried: Candidates<'_>, with_error: bool) -> Outcome {
        assert_eq!(x.len(), importance.len(), "attempt");
        // SAFETY: the shapes were just checked, and holding `self` proves the CPU's features.
        unsafe { (self.attempt[usize::from(with_error)])(x, importance, tried) }
    }

    /// `x = w · x / √(mean(x²) + eps)`, in place. x, w: (n,), n > 0
    pub fn rmsnorm(&self, x: &mut [f32], w: &[f32], eps: f32) {
        assert!(!x.is_empty() && x.len() == w.len(), "rmsnorm of {}, {}", x.len(), w.len());
        // SAFETY: the shapes were just checked, and holding `self` proves the CPU's features.
        unsafe { (self.rmsnorm)(x, w, eps) }
    }

    /// Rotates each pair `(x[i], x[i + h])` by the angle whose cosine and sine are given, in place. x: (2·h,); cos, sin: (h,)
    pub fn rope(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(x.len() == 2 * cos.len() && cos.len() == sin.len(), "rope of {}, {}, {}", x.len(), cos.len(), sin.len());
        // SAFETY: the shapes were just checked, and holding `self` proves the CPU's features.
        unsafe { (self.rope)(x, cos, sin) }
    }

    /// `gate = silu(gate) · up`. gate, up: (n,)
    pub fn swiglu(&self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len(), "swiglu");
        // SAFETY: the shapes were just checked, and holding `self` proves the CPU's features.
        unsafe { (self.swiglu)(gate, up) }
    }

    /// `x += y`. x, y: (n,)
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "add");
        // SAFETY: the shapes were just checked, and holding `self` proves the CPU's features.
        unsafe { (self.add)(x, y) }
    }

    /// [`round_to_bf16`](crate::round_to_bf16), as fast as the ISA allows: the same bits. x, out: (n,)
    pub fn round_to_bf16(&self, x: &[f32], out: &mut [bf16]) {
        assert_eq!(x.len(), out.len(), "round_to_bf16");
        // SAFETY: the shapes were just checked, and holding `self` proves the CPU's features.
        unsafe { (self.round_to_bf16)(x, out) }
    }

    /// Rounds each block to nearest, ties to even, with the scale that `rounding` says, to the same numbers on every ISA. A block with an
    /// infinity or a NaN gets one as its scale, so that it comes through a product as a NaN. x: (n,), n a multiple of [`INT8_BLOCK`]; to: of n
    /// activations
    pub fn round_to_int8(&self, x: &[f32], rounding: Int8Rounding, to: Int8RowsMut<'_>) {
        let n_blocks = to.scales.len();
        assert!(x.len() == to.q.len() && x.len() == n_blocks * INT8_BLOCK, "round_to_int8");
        assert!([to.starts.len(), to.offsets.len()] == [n_blocks; 2], "round_to_int8");
        assert!([to.half_starts.len(), to.half_offsets.len()] == [2 * n_blocks; 2], "round_to_int8");
        // SAFETY: the shapes were just checked, and holding `self` proves the CPU's features.
        unsafe { (self.round_to_int8[usize::from(rounding == Int8Rounding::Fitted)])(x, to) }
    }

    /// Multiplies each block of `order` elements by the Hadamard matrix of that order, in place and to the same bits on every ISA. The matrix is
    /// its own inverse. x: (n,), n a multiple of `order`
    ///
    /// # Panics
    /// If the order is none ([`is_hadamard_order`](crate::is_hadamard_order)), or n no multiple.
    pub fn hadamard(&self, x: &mut [f32], order: usize) {
        assert!(is_hadamard_order(order) && x.len().is_multiple_of(order), "hadamard of order {order} of {}", x.len());
        if order > 1 {
            // SAFETY: the shapes were just checked, and holding `self` proves the CPU's features.
            unsafe { (self.hadamard)(x, order) }
        }
    }

    /// Runs `rounds` rounds of multiply-adds that touch no memory, for measuring the peak rate of an arithmetic. Returns how many
    /// multiply-adds that was; `None`, at once, where the ISA has no instruction for it.
    pub fn probe_multiply_adds(&self, arithmetic: Arithmetic, rounds: usize) -> Option<u64> {
        let probe = match arithmetic {
            Arithmetic::F32 => Some(self.probes.f32),
            Arithmetic::Bf16 => self.probes.bf16,
            Arithmetic::Int8 => self.probes.int8,
        }?;
        // SAFETY: holding `self` proves the CPU's features.
        unsafe { (probe.run)(rounds) };
        Some(probe.per_round.saturating_mul(rounds as u64))
    }

    /// Reads `data` in the way `READ_WAYS[way]`, for measuring the bandwidth of memory.
    pub fn probe_read(&self, way: usize, data: &[f32]) {
        assert!(way < READ_WAYS.len(), "way {way} of {}", READ_WAYS.len());
        // SAFETY: holding `self` proves the CPU's features.
        unsafe { (self.probes.read[way])(data) }
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernels({})", self.isa)
    }
}
