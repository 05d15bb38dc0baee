//! The innermost steps of the tile of two panels by four rows, in assembly: registers are few, and of the orders that the compiler chose each
//! kept some sum in memory.
//!
//! Not here: the loops around them (`avx2_int8.rs`), tiles of other sizes (`avx2_int8_dot.rs`). `INT8.md` has the cycles of both.
//!
//! ```text
//! ymm0 to ymm7    sums: row 0 of both panels, row 1, ...
//! ymm8 to ymm11   products; where codes have signs, activations with bits turned before
//! ymm12, ymm13    codes, or magnitudes, of the two panels, of which each serves four rows
//! ymm14, ymm15    four activations of a row in all lanes; of ymm15 besides, ones in 16 bits
//! ```
//!
//! Instructions that depend on each other stand four apart, so that a pipe that was assigned to one is not waited for by the next.

use core::arch::asm;
use core::arch::x86_64::*;

use super::avx2_int8_panels::Kind;

/// Sums of two panels, for each of four rows.
type TileSums = [[__m256i; 2]; 4];

/// Sums of [`Kind::RUN`] times four codes without signs, of which so many sums of two products fit in 16 bits together.
///
/// `codes`: vector by vector, of either panel; `x`: four activations of each of four rows after another, as a tile has them.
///
/// # Safety
/// - `codes` are aligned and have [`Kind::RUN`] vectors, `x` has four times as many numbers.
/// - The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn unsigned_run<K: Kind>(codes: [*const __m256i; 2], x: *const i32) -> TileSums {
    // SAFETY: reads are of the `RUN` vectors of codes and the 4 · RUN numbers, which the caller warrants; nothing is written.
    unsafe {
        let [mut s0, mut s1, mut s2, mut s3, mut s4, mut s5, mut s6, mut s7] = [_mm256_setzero_si256(); 8];
        asm!(
            // The first products are the sums.
            "vmovdqa ymm12, [{a}]",
            "vmovdqa ymm13, [{b}]",
            "vpbroadcastd ymm8, [{x}]",
            "vpbroadcastd ymm9, [{x} + 4]",
            "vpbroadcastd ymm10, [{x} + 8]",
            "vpbroadcastd ymm11, [{x} + 12]",
            "vpmaddubsw ymm0, ymm12, ymm8",
            "vpmaddubsw ymm1, ymm13, ymm8",
            "vpmaddubsw ymm2, ymm12, ymm9",
            "vpmaddubsw ymm3, ymm13, ymm9",
            "vpmaddubsw ymm4, ymm12, ymm10",
            "vpmaddubsw ymm5, ymm13, ymm10",
            "vpmaddubsw ymm6, ymm12, ymm11",
            "vpmaddubsw ymm7, ymm13, ymm11",
            ".rept {others}",
            "add {a}, 32",
            "add {b}, 32",
            "add {x}, 16",
            "vmovdqa ymm12, [{a}]",
            "vmovdqa ymm13, [{b}]",
            "vpbroadcastd ymm14, [{x}]",
            "vpbroadcastd ymm15, [{x} + 4]",
            "vpmaddubsw ymm8, ymm12, ymm14",
            "vpmaddubsw ymm9, ymm13, ymm14",
            "vpmaddubsw ymm10, ymm12, ymm15",
            "vpmaddubsw ymm11, ymm13, ymm15",
            "vpbroadcastd ymm14, [{x} + 8]",
            "vpbroadcastd ymm15, [{x} + 12]",
            "vpaddw ymm0, ymm0, ymm8",
            "vpaddw ymm1, ymm1, ymm9",
            "vpaddw ymm2, ymm2, ymm10",
            "vpaddw ymm3, ymm3, ymm11",
            "vpmaddubsw ymm8, ymm12, ymm14",
            "vpmaddubsw ymm9, ymm13, ymm14",
            "vpmaddubsw ymm10, ymm12, ymm15",
            "vpmaddubsw ymm11, ymm13, ymm15",
            "vpaddw ymm4, ymm4, ymm8",
            "vpaddw ymm5, ymm5, ymm9",
            "vpaddw ymm6, ymm6, ymm10",
            "vpaddw ymm7, ymm7, ymm11",
            ".endr",
            "vpcmpeqw ymm15, ymm15, ymm15",
            "vpsrlw ymm15, ymm15, 15",
            "vpmaddwd ymm0, ymm0, ymm15",
            "vpmaddwd ymm1, ymm1, ymm15",
            "vpmaddwd ymm2, ymm2, ymm15",
            "vpmaddwd ymm3, ymm3, ymm15",
            "vpmaddwd ymm4, ymm4, ymm15",
            "vpmaddwd ymm5, ymm5, ymm15",
            "vpmaddwd ymm6, ymm6, ymm15",
            "vpmaddwd ymm7, ymm7, ymm15",
            a = inout(reg) codes[0] => _,
            b = inout(reg) codes[1] => _,
            x = inout(reg) x => _,
            others = const K::RUN - 1,
            out("ymm0") s0, out("ymm1") s1, out("ymm2") s2, out("ymm3") s3,
            out("ymm4") s4, out("ymm5") s5, out("ymm6") s6, out("ymm7") s7,
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack, readonly),
        );
        [[s0, s1], [s2, s3], [s4, s5], [s6, s7]]
    }
}

/// The products of two rows, whose activations are in ymm9 and ymm11, with both panels, in a step of [`signed_run`].
macro_rules! signed_products {
    () => {
        concat!(
            "vpxor ymm8, ymm9, [{a}]\n",
            "vpxor ymm9, ymm9, [{b}]\n",
            "vpxor ymm10, ymm11, [{a}]\n",
            "vpxor ymm11, ymm11, [{b}]\n",
            "vpmaddubsw ymm8, ymm12, ymm8\n",
            "vpmaddubsw ymm9, ymm13, ymm9\n",
            "vpmaddubsw ymm10, ymm12, ymm10\n",
            "vpmaddubsw ymm11, ymm13, ymm11\n",
            "vpmaddwd ymm8, ymm8, ymm15\n",
            "vpmaddwd ymm9, ymm9, ymm15\n",
            "vpmaddwd ymm10, ymm10, ymm15\n",
            "vpmaddwd ymm11, ymm11, ymm15\n",
        )
    };
}

/// Sums of [`Kind::RUN`] times four codes with signs, as `avx2_int8_dot.rs` splits them, added to `begin`, a vector of either panel.
///
/// `codes`: of either panel the signs of four codes in all lanes, then their magnitudes, step by step; `x` as in [`unsigned_run`].
///
/// # Safety
/// - `codes` are aligned and have twice [`Kind::RUN`] vectors, `x` has four times [`Kind::RUN`] numbers; `begin` are aligned.
/// - The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn signed_run<K: Kind>(codes: [*const __m256i; 2], begin: [*const __m256i; 2], x: *const i32) -> TileSums {
    // SAFETY: reads are of the 2 · RUN vectors of codes, the 4 · RUN numbers and what sums begin with, which the caller warrants; nothing is
    // written.
    unsafe {
        let [mut s0, mut s1, mut s2, mut s3, mut s4, mut s5, mut s6, mut s7] = [_mm256_setzero_si256(); 8];
        asm!(
            "vpcmpeqw ymm15, ymm15, ymm15",
            "vpsrlw ymm15, ymm15, 15",
            "vmovdqa ymm0, [{begin_a}]",
            "vmovdqa ymm1, [{begin_b}]",
            "vmovdqa ymm2, ymm0",
            "vmovdqa ymm3, ymm1",
            "vmovdqa ymm4, ymm0",
            "vmovdqa ymm5, ymm1",
            "vmovdqa ymm6, ymm0",
            "vmovdqa ymm7, ymm1",
            ".rept {steps}",
            "vmovdqa ymm12, [{a} + 32]",
            "vmovdqa ymm13, [{b} + 32]",
            "vpbroadcastd ymm9, [{x}]",
            "vpbroadcastd ymm11, [{x} + 4]",
            signed_products!(),
            "vpaddd ymm0, ymm0, ymm8",
            "vpaddd ymm1, ymm1, ymm9",
            "vpaddd ymm2, ymm2, ymm10",
            "vpaddd ymm3, ymm3, ymm11",
            "vpbroadcastd ymm9, [{x} + 8]",
            "vpbroadcastd ymm11, [{x} + 12]",
            signed_products!(),
            "vpaddd ymm4, ymm4, ymm8",
            "vpaddd ymm5, ymm5, ymm9",
            "vpaddd ymm6, ymm6, ymm10",
            "vpaddd ymm7, ymm7, ymm11",
            "add {a}, 64",
            "add {b}, 64",
            "add {x}, 16",
            ".endr",
            a = inout(reg) codes[0] => _,
            b = inout(reg) codes[1] => _,
            x = inout(reg) x => _,
            begin_a = in(reg) begin[0],
            begin_b = in(reg) begin[1],
            steps = const K::RUN,
            out("ymm0") s0, out("ymm1") s1, out("ymm2") s2, out("ymm3") s3,
            out("ymm4") s4, out("ymm5") s5, out("ymm6") s6, out("ymm7") s7,
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack, readonly),
        );
        [[s0, s1], [s2, s3], [s4, s5], [s6, s7]]
    }
}
