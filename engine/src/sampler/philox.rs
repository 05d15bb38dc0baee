//! Philox4x32-10, the counter-based random numbers of sampling.
//!
//! Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11. A counter-based generator has no state to carry:
//! draw `i` of seed `s` is a pure function of `s` and `i`, so a sequence can be truncated, forked or resumed and still draws what
//! it would have drawn. Integer arithmetic only, hence the same on every machine.
//!
//! Not for secrets, and not a general random library: one 64-bit draw per generated token is all that sampling asks for.

/// Multipliers and key increments of the paper, section 3.
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const N_ROUNDS: usize = 10;

/// Draw `index` of the stream of `seed`: uniform over all 64-bit numbers.
///
/// The key is the seed (low word first), the counter is the index (low words first, the upper two words zero), and the draw is
/// the first two words of the block (low word first).
pub(super) fn draw(seed: u64, index: u64) -> u64 {
    let [low, high, ..] = block([index as u32, (index >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32]);
    u64::from(high) << 32 | u64::from(low)
}

/// A second number at the same `index`, independent of [`draw`]: the last two words of the block.
pub(super) fn second(seed: u64, index: u64) -> u64 {
    let [.., low, high] = block([index as u32, (index >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32]);
    u64::from(high) << 32 | u64::from(low)
}

/// One block of the generator: four words from a counter and a key.
fn block(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..N_ROUNDS {
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [(p1 >> 32) as u32 ^ counter[1] ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ counter[3] ^ key[1], p0 as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The three known-answer tests for philox4x32-10 that the authors publish with Random123 (`kat_vectors`).
    #[test]
    fn gives_the_published_answers() {
        assert_eq!(block([0; 4], [0; 2]), [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]);
        assert_eq!(block([u32::MAX; 4], [u32::MAX; 2]), [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]);
        assert_eq!(
            block([0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344], [0xA409_3822, 0x299F_31D0]),
            [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1]
        );
    }

    #[test]
    fn uses_every_bit_of_seed_and_index() {
        assert_eq!(draw(0, 0), 0xE169_C58D_6627_E8D5);
        let base = draw(0, 0);
        for bit in 0..64 {
            assert_ne!(draw(1 << bit, 0), base);
            assert_ne!(draw(0, 1 << bit), base);
            assert_ne!(draw(1 << bit, 0), draw(0, 1 << bit));
        }
    }
}
