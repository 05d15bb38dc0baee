//! One file for each rung of the ladder: which vectors it has, and its table of kernels.
//!
//! Not here: algorithms (`generic/`) and the choice among the rungs (`dispatch.rs`).

pub(crate) mod portable;
mod portable_int8;
mod portable_int8_panels;
pub(crate) mod scalar;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod amx_bf16;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_int8;
#[cfg(target_arch = "x86_64")]
mod avx2_int8_dot;
#[cfg(target_arch = "x86_64")]
mod avx2_int8_formats;
#[cfg(target_arch = "x86_64")]
mod avx2_int8_one;
#[cfg(target_arch = "x86_64")]
mod avx2_int8_panels;
#[cfg(target_arch = "x86_64")]
mod avx2_int8_steps;
#[cfg(target_arch = "x86_64")]
mod avx2_int8_tiles;
#[cfg(target_arch = "x86_64")]
mod avx2_panels;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_bf16;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx_vnni;
#[cfg(target_arch = "x86_64")]
mod vnni;
#[cfg(target_arch = "x86_64")]
mod vnni_few;
#[cfg(target_arch = "x86_64")]
mod vnni_one;
#[cfg(target_arch = "x86_64")]
mod vnni_panels;
#[cfg(target_arch = "x86_64")]
mod vnni_quads;
#[cfg(target_arch = "x86_64")]
mod vnni_rows;
#[cfg(target_arch = "x86_64")]
mod vnni_scales;
#[cfg(target_arch = "x86_64")]
mod vnni_tiles;
#[cfg(target_arch = "x86_64")]
mod x86_codes;
#[cfg(target_arch = "x86_64")]
mod x86_transposed;
