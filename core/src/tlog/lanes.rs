//! SHA-256 of two messages side by side.
//!
//! The CPU's SHA instructions wait for each other within one message (FIPS 180-4 section 6.2.2: every
//! round needs the one before); a second, independent message fills the waits. A verifier has millions
//! of independent leaves and nodes, so this is where its time goes. Elsewhere, and on CPUs without the
//! instructions, the two are hashed one after the other by the `sha2` crate.
//!
//! This is the workspace's one place with `unsafe`: the call of a function that is compiled for
//! instructions which were found at run time.

use sha2::block_api::compress256;

/// Of SHA-256.
pub(super) const BLOCK_BYTES: usize = 64;
/// Eight words, as FIPS 180-4 names them: a, b, c, d, e, f, g, h.
pub(super) type State = [u32; 8];
type Block = [u8; BLOCK_BYTES];

/// A message's blocks, in as many places as they lie in.
pub(super) type Parts<'m> = [&'m [Block]; 3];

/// Takes the blocks of the one message into its state, and those of the other into the other.
pub(super) fn compress_pair(states: &mut [State; 2], messages: &[Parts<'_>; 2]) {
    let [a, b] = messages.map(|parts| parts.iter().map(|part| part.len()).sum::<usize>());
    let done = with_sha_instructions(states, messages, a.min(b));
    for (state, parts) in states.iter_mut().zip(messages) {
        let mut taken = done;
        for part in parts {
            let rest = &part[taken.min(part.len())..];
            taken -= part.len() - rest.len();
            // Most messages of a log are as long as their neighbours, and even no block costs the crate a look
            // at the CPU.
            if !rest.is_empty() {
                compress256(state, rest);
            }
        }
    }
}

/// Takes `blocks` of each in one go, where the CPU can; gives how many were taken.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn with_sha_instructions(
    states: &mut [State; 2],
    messages: &[Parts<'_>; 2],
    blocks: usize,
) -> usize {
    let is_there = is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1");
    if is_there && blocks > 0 {
        // SAFETY: the function is safe on a CPU with these three, which this one has.
        unsafe { x86::compress_pair(states, messages, blocks) };
        blocks
    } else {
        0
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn with_sha_instructions(_: &mut [State; 2], _: &[Parts<'_>; 2], _: usize) -> usize {
    0
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
        _mm_shuffle_epi32,
    };

    use super::{Block, Parts, State};

    /// FIPS 180-4 section 4.2.2.
    const ROUND_CONSTANTS: [[u32; 4]; 16] = [
        [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
        [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
        [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
        [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
        [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
        [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
        [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
        [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
        [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
        [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
        [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
        [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
        [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
        [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
        [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
        [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
    ];

    /// One message's state and the last 16 words of its schedule, four to a register.
    #[derive(Clone, Copy)]
    struct Lane {
        abef: __m128i,
        cdgh: __m128i,
        words: [__m128i; 4],
    }

    /// So many blocks of each; at most as many as the shorter has.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(super) fn compress_pair(states: &mut [State; 2], messages: &[Parts<'_>; 2], blocks: usize) {
        let [mut one, mut two] = states.map(|state| load(&state));
        let [a, b] = messages
            .each_ref()
            .map(|parts| parts.iter().copied().flatten());
        for (a, b) in a.zip(b).take(blocks) {
            let before = [one, two];
            one.words = read(a);
            two.words = read(b);
            for (group, constants) in ROUND_CONSTANTS.iter().enumerate() {
                let constants = four(*constants);
                // The last three groups' words are the last that any round needs.
                let is_extended = group < 12;
                four_rounds(&mut one, group % 4, constants, is_extended);
                four_rounds(&mut two, group % 4, constants, is_extended);
            }
            for (lane, before) in [(&mut one, before[0]), (&mut two, before[1])] {
                lane.abef = _mm_add_epi32(lane.abef, before.abef);
                lane.cdgh = _mm_add_epi32(lane.cdgh, before.cdgh);
            }
        }
        *states = [store(&one), store(&two)];
    }

    /// Four rounds with the words at `at`, which are then replaced by those of four groups later.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    #[inline]
    fn four_rounds(lane: &mut Lane, at: usize, constants: __m128i, is_extended: bool) {
        let Lane { abef, cdgh, words } = lane;
        let message = _mm_add_epi32(words[at], constants);
        *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, message);
        let message = _mm_shuffle_epi32(message, 0x0e);
        *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, message);
        if is_extended {
            let [next, third, last] = [1, 2, 3].map(|step| words[(at + step) % 4]);
            let sum = _mm_sha256msg1_epu32(words[at], next);
            let sum = _mm_add_epi32(sum, _mm_alignr_epi8(last, third, 4));
            words[at] = _mm_sha256msg2_epu32(sum, last);
        }
    }

    /// The first of the words in the lowest part of the register.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn four(words: [u32; 4]) -> __m128i {
        let [a, b, c, d] = words.map(u32::cast_signed);
        _mm_set_epi32(d, c, b, a)
    }

    /// The words of a block, which are big-endian.
    #[target_feature(enable = "sse2,ssse3")]
    #[inline]
    fn read(block: &Block) -> [__m128i; 4] {
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let mut words = [swap; 4];
        for (words, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
            let [low, high] = [0, 8].map(|at| {
                let half = bytes[at..].first_chunk().copied().unwrap_or_default();
                i64::from_le_bytes(half)
            });
            *words = _mm_shuffle_epi8(_mm_set_epi64x(high, low), swap);
        }
        words
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn load(state: &State) -> Lane {
        let [first, second] = [[5, 4, 1, 0], [7, 6, 3, 2]].map(|order| order.map(|at| state[at]));
        let abef = four(first);
        Lane {
            abef,
            cdgh: four(second),
            words: [abef; 4],
        }
    }

    #[target_feature(enable = "sse4.1")]
    #[inline]
    fn store(lane: &Lane) -> State {
        let Lane { abef, cdgh, .. } = *lane;
        [
            _mm_extract_epi32(abef, 3),
            _mm_extract_epi32(abef, 2),
            _mm_extract_epi32(cdgh, 3),
            _mm_extract_epi32(cdgh, 2),
            _mm_extract_epi32(abef, 1),
            _mm_extract_epi32(abef, 0),
            _mm_extract_epi32(cdgh, 1),
            _mm_extract_epi32(cdgh, 0),
        ]
        .map(i32::cast_unsigned)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocks() -> impl Strategy<Value = Vec<Block>> {
        proptest::collection::vec(proptest::array::uniform32(any::<u16>()), 0..6).prop_map(|all| {
            all.iter()
                .map(|words| {
                    let mut block = [0; BLOCK_BYTES];
                    for (bytes, word) in block.as_chunks_mut().0.iter_mut().zip(words) {
                        *bytes = word.to_le_bytes();
                    }
                    block
                })
                .collect()
        })
    }

    proptest! {
        /// The crate, one message after the other, is the oracle.
        #[test]
        fn two_at_once_are_what_they_are_alone(
            states in any::<[State; 2]>(),
            a in blocks(),
            b in blocks(),
        ) {
            for messages in [[[&*a, &[], &[]], [&[], &b, &[]]], [[&a, &b, &a], [&b, &[], &a]]] {
                let mut expected = states;
                for (state, parts) in expected.iter_mut().zip(&messages) {
                    compress256(state, &parts.concat());
                }
                let mut found = states;
                compress_pair(&mut found, &messages);
                prop_assert_eq!(found, expected);
            }
        }
    }
}
