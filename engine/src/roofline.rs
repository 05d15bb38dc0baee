//! `Roofline`: the limits of this machine for the threads of a model's team, measured: how fast memory is read, how fast numbers are
//! multiplied and added (Williams, Waterman and Patterson, 2009).
//!
//! Each limit is the best of many short measurements, since a neighbour on the machine can only slow them down. Not here: the loops
//! (`infer_kernels`), and what a model needs (`cost.rs`).

use std::time::{Duration, Instant};

use infer_kernels::{Arithmetic, READ_WAYS, ReadWay, cast};
use infer_loaders::Anonymous;

use crate::error::ModelError;
use crate::model::Model;

/// What a part of a read takes: large beside what handing it out costs, and small enough that no thread waits long for another.
const READ_PART_BYTES: usize = 8 << 20;

/// The share of the time that each arithmetic gets; reading gets the rest.
const ARITHMETIC_SHARE: u32 = 10;

/// How long one measurement of an arithmetic takes: long beside starting the threads.
const SAMPLE: Duration = Duration::from_millis(4);

/// What every byte of the memory that is read is set to: no f32 made of it is zero, subnormal or NaN.
const FILLING: u8 = 0x3f;

/// The limits of a machine for a number of threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// Bytes of memory that were read, over and over.
    pub read_bytes: usize,
    /// Bytes read per second.
    pub read_rate: f64,
    /// The fastest way to read them.
    pub read_way: ReadWay,
    /// Multiply-adds per second in f32; see [`Roofline::mac_rate`].
    pub f32_rate: f64,
    /// The same in bf16.
    pub bf16_rate: Option<f64>,
    /// The same in bytes.
    pub int8_rate: Option<f64>,
}

impl Roofline {
    /// The better of two measurements of a machine, limit by limit: what slows one of them down is no limit of the machine's.
    pub fn max(self, other: Roofline) -> Roofline {
        let better = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a.max(b));
        let reads = if other.read_rate > self.read_rate { other } else { self };
        Roofline {
            f32_rate: self.f32_rate.max(other.f32_rate),
            bf16_rate: better(self.bf16_rate, other.bf16_rate),
            int8_rate: better(self.int8_rate, other.int8_rate),
            ..reads
        }
    }

    /// Multiply-adds per second; `None` where the instruction set in use has no instruction for them.
    pub fn mac_rate(&self, arithmetic: Arithmetic) -> Option<f64> {
        match arithmetic {
            Arithmetic::F32 => Some(self.f32_rate),
            Arithmetic::Bf16 => self.bf16_rate,
            Arithmetic::Int8 => self.int8_rate,
        }
    }
}

impl Model {
    /// Measures the machine with this model's instruction set and threads, for about `time`. `read_bytes`: how much memory to take for
    /// measuring reads; it should be several times the size of the last cache.
    ///
    /// An error where that much memory is not to be had.
    pub fn measure_roofline(&self, read_bytes: usize, time: Duration) -> Result<Roofline, ModelError> {
        let started = Instant::now();
        // Before the reads and after them: a processor that was away for some tenths of a second is back then.
        let share = time / ARITHMETIC_SHARE / 2;
        let rates = || [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8].map(|arithmetic| self.mac_rate(arithmetic, share));
        let before = rates();
        let read_bytes = read_bytes.max(READ_PART_BYTES).next_multiple_of(READ_PART_BYTES);
        let (read_rate, read_way) = self.read_rate(read_bytes, started + (time - share * before.len() as u32))?;
        let limits = |[f32_rate, bf16_rate, int8_rate]: [Option<f64>; 3]| {
            // Every ISA has f32; were there one without, its rate is 0 and nothing is divided by it.
            Roofline { read_bytes, read_rate, read_way, f32_rate: f32_rate.unwrap_or(0.0), bf16_rate, int8_rate }
        };
        Ok(limits(before).max(limits(rates())))
    }

    /// The best rate of an arithmetic that is seen in `time`.
    fn mac_rate(&self, arithmetic: Arithmetic, time: Duration) -> Option<f64> {
        self.kernels.probe_multiply_adds(arithmetic, 0)?;
        let end = Instant::now() + time;
        let n_threads = self.n_threads();
        let mut rounds = 1 << 10;
        let mut best = 0.0f64;
        self.team.run(|crew| {
            loop {
                let started = Instant::now();
                crew.each(vec![(); n_threads], |()| _ = self.kernels.probe_multiply_adds(arithmetic, rounds));
                let elapsed = started.elapsed();
                if elapsed < SAMPLE / 2 {
                    rounds *= 2;
                    continue;
                }
                let macs = self.kernels.probe_multiply_adds(arithmetic, 1).unwrap_or(0) * rounds as u64 * n_threads as u64;
                best = best.max(macs as f64 / elapsed.as_secs_f64());
                if Instant::now() >= end {
                    break;
                }
            }
        });
        Some(best)
    }

    /// The best rate of reading memory, and the way. Every way is tried once, then the best again until `end`.
    fn read_rate(&self, n_bytes: usize, end: Instant) -> Result<(f64, ReadWay), ModelError> {
        let short = |_| ModelError::memory("memory to measure reads with", Some(n_bytes));
        let mut memory = Anonymous::new(n_bytes).map_err(short)?;
        self.team.run(|crew| {
            crew.each(memory.bytes_mut().chunks_mut(READ_PART_BYTES).collect(), |part: &mut [u8]| part.fill(FILLING));
            let floats = cast::<f32>(memory.bytes()).expect("whole pages hold whole f32");
            let mut rates = [0.0f64; READ_WAYS.len()];
            let mut n_passes = 0;
            loop {
                let best = (0..rates.len()).max_by(|&a, &b| rates[a].total_cmp(&rates[b])).unwrap_or(0);
                let way = if n_passes < rates.len() { n_passes } else { best };
                if n_passes >= rates.len() && Instant::now() >= end {
                    return Ok((rates[best], READ_WAYS[best]));
                }
                let started = Instant::now();
                crew.each(floats.chunks(READ_PART_BYTES / size_of::<f32>()).collect(), |part| self.kernels.probe_read(way, part));
                rates[way] = rates[way].max(n_bytes as f64 / started.elapsed().as_secs_f64());
                n_passes += 1;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_of_two_is_better_in_every_limit() {
        let [slow_way, way] = [READ_WAYS[0], READ_WAYS[1]];
        let a = Roofline {
            read_bytes: 1 << 20,
            read_rate: 20.0,
            read_way: slow_way,
            f32_rate: 3.0,
            bf16_rate: None,
            int8_rate: Some(5.0),
        };
        let b = Roofline {
            read_bytes: 2 << 20,
            read_rate: 21.0,
            read_way: way,
            f32_rate: 2.0,
            bf16_rate: None,
            int8_rate: Some(6.0),
        };
        let best = Roofline { f32_rate: 3.0, ..b };
        assert_eq!((a.max(b), b.max(a)), (best, best));
    }
}
