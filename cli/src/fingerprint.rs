//! Fingerprints: 64-bit hashes of weights, programs and other bytes, to notice that they are not the same as before.
//!
//! Meant against mistakes, not against people who look for collisions. The same whatever the number of threads. Not here: what is compared.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use infer_loaders::Checkpoint;

/// Bytes hashed at a time, and by one thread.
const PART: usize = 1 << 20;

/// Words that are mixed side by side: a product takes longer than a read.
const LANES: usize = 8;

/// Odd numbers with mixed bits, as in SplitMix64.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const FINISHER: u64 = 0xbf58_476d_1ce4_e5b9;

/// The fingerprint of some bytes. Each step can be undone, so that a change of one word always shows.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    let mut lanes = [0_u64; LANES];
    for (lane, seed) in lanes.iter_mut().zip(1_u64..) {
        *lane = seed.wrapping_mul(FINISHER);
    }
    let (blocks, rest) = bytes.as_chunks::<{ 8 * LANES }>();
    let mut take = |block: &[u8; 8 * LANES]| {
        let (words, _) = block.as_chunks::<8>();
        for (lane, &word) in lanes.iter_mut().zip(words) {
            *lane = (*lane ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER).rotate_left(29);
        }
    };
    blocks.iter().for_each(&mut take);
    let mut last = [0; 8 * LANES];
    last.iter_mut().zip(rest).for_each(|(to, &from)| *to = from);
    take(&last);
    lanes.iter().fold(bytes.len() as u64, |hash, lane| {
        let mixed = (hash ^ lane).wrapping_mul(FINISHER);
        mixed ^ mixed >> 31
    })
}

/// The fingerprint of numbers in their order.
pub fn of_words(words: impl IntoIterator<Item = u64>) -> u64 {
    of_bytes(&words.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
}

/// The fingerprint of all that a reader gives.
///
/// # Errors
/// Those of the reader.
pub fn of_reader(mut reader: impl Read) -> io::Result<u64> {
    let (mut parts, mut part) = (Vec::new(), Vec::with_capacity(PART));
    loop {
        part.clear();
        if reader.by_ref().take(PART as u64).read_to_end(&mut part)? == 0 {
            return Ok(of_words(parts));
        }
        parts.push(of_bytes(&part));
    }
}

/// The fingerprint of a model: of `shape`, which says all of its settings that matter, and of every tensor's name, type, shape and bytes.
/// Reads all weights once.
pub fn of_model(shape: &str, checkpoint: &Checkpoint, n_threads: usize) -> u64 {
    let parts: Vec<&[u8]> = checkpoint.tensors().flat_map(|tensor| tensor.bytes().chunks(PART)).collect();
    let mut hashes = vec![0; parts.len()];
    let work = Mutex::new(parts.iter().zip(&mut hashes));
    let run = || {
        while let Some((part, hash)) = { work.lock().unwrap_or_else(PoisonError::into_inner).next() } {
            *hash = of_bytes(part);
        }
    };
    std::thread::scope(|scope| {
        // A thread that cannot be had is missed by nobody: the others take its parts.
        let _started: Vec<_> = (1..n_threads).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, run).ok()).collect();
        run();
    });
    let described = |tensor: &infer_loaders::Tensor| {
        of_bytes(format!("{} {} {:?}", tensor.name(), tensor.dtype(), tensor.shape()).as_bytes())
    };
    let descriptions = checkpoint.tensors().map(described);
    of_words([of_bytes(shape.as_bytes())].into_iter().chain(descriptions).chain(hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_length_count() {
        let mut bytes: Vec<u8> = (0..1000).map(|i| (i * 7 % 251) as u8).collect();
        let hash = of_bytes(&bytes);
        assert_eq!(hash, of_bytes(&bytes.clone()));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert_ne!(of_bytes(&bytes), hash, "byte {at}, bit {bit}");
                bytes[at] ^= 1 << bit;
            }
        }
        let zeros = [0; 200];
        let mut lengths: Vec<u64> = (0..=200).map(|len| of_bytes(&zeros[..len])).collect();
        lengths.sort_unstable();
        lengths.dedup();
        assert_eq!(lengths.len(), 201);
    }

    #[test]
    fn a_reader_is_read_to_its_end() {
        let bytes: Vec<u8> = (0..3 * PART as u64 / 2).map(|i| (i % 249) as u8).collect();
        let all = of_reader(&bytes[..]).unwrap();
        assert_ne!(all, of_reader(&bytes[..bytes.len() - 1]).unwrap());
        assert_eq!(all, of_words([of_bytes(&bytes[..PART]), of_bytes(&bytes[PART..])]));
    }
}
