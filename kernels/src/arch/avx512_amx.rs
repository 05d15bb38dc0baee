//! AVX-512 with AMX: Intel Sapphire Rapids (2023) and later server CPUs.
//!
//! It inherits the rung of BF16 and multiplies tiles: bf16 weights by bf16 activations (`amx_bf16.rs`), sixteen times as many multiply-adds a cycle as in
//! f32. Not here: the instructions (`amx.rs`).

use crate::arch::{amx, amx_bf16, avx512_bf16};
use crate::dispatch::{Isa, Kernels};
use crate::dtype::DType;
use crate::generic::probe::{MultiplyAdds, Probes};

pub(crate) const KERNELS: Kernels = Kernels {
    isa: Isa::Avx512Amx,
    probes: PROBES,
    bf16_is_faster: true,
    bf16_tiles: Some(amx_bf16::TILES),
    ..avx512_bf16::PREFETCHING
}
.with_matmul_bf16(DType::BF16, amx_bf16::matmul_bf16_bf16);

/// What the machine can do with the instructions that this rung adds.
const PROBES: Probes =
    Probes { bf16: Some(MultiplyAdds { run: amx::multiply_adds_bf16, per_round: amx::BF16_PER_ROUND }), ..avx512_bf16::PROBES };

/// Whether this CPU, and the system on it, can run the kernels of this file.
pub(crate) fn is_available() -> bool {
    avx512_bf16::is_available() && amx::is_available()
}
