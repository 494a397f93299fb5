//! A small seeded generator, so that every random test can be repeated from one number.
//!
//! Invariant: the same seed gives the same draws on every machine. Absent on purpose: quality
//! beyond what a test needs.

/// SplitMix64: one addition and three mixing steps a draw.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator whose draws follow from `seed` alone.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The seed from `HOLDFAST_SEED` when it is set, else `default`; printed, to repeat the run.
    #[must_use]
    pub fn from_environment(default: u64) -> Self {
        let seed = match std::env::var("HOLDFAST_SEED") {
            Ok(text) => text.parse().expect("HOLDFAST_SEED is a number"),
            Err(_) => default,
        };
        println!("repeat with: HOLDFAST_SEED={seed}");
        Self::new(seed)
    }

    /// The next draw, any of the 2^64.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A draw below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "there is no number below 0");
        usize::try_from(self.draw() % bound as u64).expect("a remainder is below its divisor")
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.draw().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
