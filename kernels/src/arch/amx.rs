//! The tiles of AMX, in assembly: whether the CPU and the system have them, how they are configured, and products of tiles.
//!
//! Not here: what is multiplied, and in which order (`amx_bf16.rs`). A tile is a register of up to 16 rows of up to 64 bytes; there are eight
//! (Intel, "Architecture Instruction Set Extensions Programming Reference", chapter 3). This compiler has no name for them, so what a block of assembly leaves
//! in a tile is lost to the next: each loads what it needs and stores what it made.

use core::arch::asm;
use core::arch::x86_64::*;

use half::bf16;

/// The most rows of a tile.
pub(super) const TILE_ROWS: usize = 16;

/// The most bytes of a tile's row, and of a cache line.
pub(super) const LINE: usize = 64;

/// Tile registers.
const TILES: usize = 8;

/// Whether this CPU has tiles, with products of bf16 and of bytes, and the system lets this process use them.
pub(super) fn is_available() -> bool {
    const BF16_TILE_INT8: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    const TILE_STATE: u64 = 1 << 17 | 1 << 18;
    if !is_x86_feature_detected!("avx512f") || __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & BF16_TILE_INT8 != BF16_TILE_INT8 {
        return false;
    }
    // SAFETY: a CPU with AVX-512 that the system supports has the instruction.
    let state = unsafe { saved_state() };
    state & TILE_STATE == TILE_STATE && is_permitted()
}

/// The parts of the CPU's state that the system saves for a thread.
///
/// # Safety
/// The CPU has XSAVE, and the system has enabled it.
#[target_feature(enable = "xsave")]
unsafe fn saved_state() -> u64 {
    // SAFETY: the caller's contract; nothing but a register is read.
    unsafe { _xgetbv(0) }
}

/// Asks the system for tiles, for all threads of this process: Linux gives their 8 KiB of state to none that has not asked.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: a system call that touches no memory of this process; it overwrites the three registers named.
    unsafe {
        asm!("syscall", inlateout("rax") result, in("rdi") REQUEST_PERMISSION, in("rsi") TILE_DATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

/// Elsewhere nobody has tried.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Rows, and bytes of a row, of each tile.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub rows: usize,
    pub bytes: usize,
}

/// Tiles of certain shapes, until it is dropped.
pub(super) struct Configured(());

impl Configured {
    /// Gives the tiles these shapes.
    ///
    /// # Safety
    /// The CPU has AMX, and the system lets this process use it.
    #[inline]
    pub(super) unsafe fn new(shapes: [Shape; TILES]) -> Configured {
        /// As the instruction reads it.
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        for (i, shape) in shapes.into_iter().enumerate() {
            debug_assert!(shape.rows <= TILE_ROWS && shape.bytes <= LINE);
            (config.rows[i], config.bytes[i]) = (shape.rows as u8, shape.bytes as u16);
        }
        // SAFETY: reads the 64 bytes of `config`; the CPU is the caller's.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly)) };
        Configured(())
    }
}

impl Drop for Configured {
    /// Gives the tiles back, so that the system has less to save.
    #[inline]
    fn drop(&mut self) {
        // SAFETY: whoever made this has a CPU with AMX.
        unsafe { asm!("tilerelease", options(nomem, nostack)) }
    }
}

/// Where the operands of products of tiles lie.
#[repr(C)]
pub(super) struct Walk {
    /// Steps, each of 32 numbers along the sums.
    pub steps: usize,
    /// The weights of two tiles, a step in 64 bytes of each row.
    pub w: [*const bf16; 2],
    /// Bytes from a row to the next.
    pub w_stride: usize,
    /// Bytes from a step to the next.
    pub w_step: usize,
    /// The activations of two tiles, step after step.
    pub x: [*const bf16; 2],
    /// Bytes of a row of them: a pair for each activation row.
    pub x_stride: usize,
    /// Bytes of a step.
    pub x_step: usize,
    /// Where to ask the second-level cache for lines side by side, 32 a step; null for nowhere.
    pub ahead: *const u8,
}

/// What a tile holds, in memory: of sums a line for each weight row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile(pub [[f32; LINE / 4]; TILE_ROWS]);

impl Tile {
    /// No sums yet.
    pub const ZERO: Tile = Tile([[0.0; LINE / 4]; TILE_ROWS]);
}

/// `sums += weights · activations`: the sums of the first weights with the first activations and with the second, then of the second weights.
macro_rules! products {
    ($(#[$doc:meta])* $name:ident, $load:tt, $multiply:tt, $store:tt) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// - Tiles 0 to 3 have the shape of sums, 4 and 5 of weights, 6 and 7 of activations, and `walk` leads over as many steps of them.
        /// - The CPU has AMX and the tiles are configured.
        #[inline]
        pub(super) unsafe fn $name(walk: &Walk, sums: &mut [Tile; 4]) {
            // SAFETY: reads what `walk` says, writes the sums; lines that are asked for may be anywhere.
            unsafe {
                asm!(
                    "mov {n}, 64",
                    products!(@lines $load),
                    "mov {n}, [{walk} + {steps}]",
                    "2:",
                    products!(@lines $multiply),
                    "add {w0}, [{walk} + {w_step}]",
                    "add {w1}, [{walk} + {w_step}]",
                    "add {x0}, [{walk} + {x_step}]",
                    "add {x1}, [{walk} + {x_step}]",
                    "test {ahead}, {ahead}",
                    "jz 3f",
                    ".rept 32",
                    "prefetcht1 [{ahead}]",
                    "add {ahead}, 64",
                    ".endr",
                    "3:",
                    "dec {n}",
                    "jnz 2b",
                    "mov {n}, 64",
                    products!(@lines $store),
                    walk = in(reg) walk,
                    n = out(reg) _,
                    w0 = inout(reg) walk.w[0] => _,
                    w1 = inout(reg) walk.w[1] => _,
                    ws = in(reg) walk.w_stride,
                    x0 = inout(reg) walk.x[0] => _,
                    x1 = inout(reg) walk.x[1] => _,
                    xs = in(reg) walk.x_stride,
                    sums = in(reg) sums,
                    ahead = inout(reg) walk.ahead => _,
                    steps = const core::mem::offset_of!(Walk, steps),
                    w_step = const core::mem::offset_of!(Walk, w_step),
                    x_step = const core::mem::offset_of!(Walk, x_step),
                    options(nostack),
                );
            }
        }
    };
    (@lines [$($line:literal)*]) => { concat!($($line, "\n"),*) };
}

products! {
    /// Two tiles of weights with two of activations.
    two_by_two,
    [
        "tileloadd tmm0, [{sums} + {n}]"
        "tileloadd tmm1, [{sums} + {n} + 1024]"
        "tileloadd tmm2, [{sums} + {n} + 2048]"
        "tileloadd tmm3, [{sums} + {n} + 3072]"
    ],
    [
        "tileloadd tmm6, [{x0} + {xs}]"
        "tileloadd tmm4, [{w0} + {ws}]"
        "tileloadd tmm7, [{x1} + {xs}]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tileloadd tmm5, [{w1} + {ws}]"
        "tdpbf16ps tmm1, tmm4, tmm7"
        "tdpbf16ps tmm2, tmm5, tmm6"
        "tdpbf16ps tmm3, tmm5, tmm7"
    ],
    [
        "tilestored [{sums} + {n}], tmm0"
        "tilestored [{sums} + {n} + 1024], tmm1"
        "tilestored [{sums} + {n} + 2048], tmm2"
        "tilestored [{sums} + {n} + 3072], tmm3"
    ]
}

products! {
    /// Two tiles of weights with one of activations, the first.
    two_by_one,
    ["tileloadd tmm0, [{sums} + {n}]" "tileloadd tmm2, [{sums} + {n} + 2048]"],
    [
        "tileloadd tmm6, [{x0} + {xs}]"
        "tileloadd tmm4, [{w0} + {ws}]"
        "tileloadd tmm5, [{w1} + {ws}]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tdpbf16ps tmm2, tmm5, tmm6"
    ],
    ["tilestored [{sums} + {n}], tmm0" "tilestored [{sums} + {n} + 2048], tmm2"]
}

/// Multiply-adds of a round of [`multiply_adds_bf16`]: four instructions.
pub(super) const BF16_PER_ROUND: u64 = 4 * (TILE_ROWS * TILE_ROWS * LINE / 2) as u64;

/// The probe of bf16: products of tiles that stay where they are.
///
/// # Safety
/// The CPU has AMX, and the system lets this process use it.
pub(super) unsafe fn multiply_adds_bf16(rounds: usize) {
    // SAFETY: the CPU is the caller's; the products are of zeros.
    unsafe {
        let _configured = Configured::new([Shape { rows: TILE_ROWS, bytes: LINE }; TILES]);
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
            "test {n}, {n}",
            "jz 3f",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {n}",
            "jnz 2b",
            "3:",
            n = inout(reg) rounds => _,
            options(nomem, nostack),
        );
    }
}
