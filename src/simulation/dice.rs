//! Random numbers of the world, apart from the producer's own.

use alloc::sync::Arc;

/// Choices that somebody made, and random ones after them.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    state: u64,
    /// Two bytes a choice, so that a fuzzer's change of one changes one.
    choices: Arc<[u8]>,
    made: usize,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_choices(seed, Arc::from([]))
    }

    pub(crate) fn with_choices(seed: u64, choices: Arc<[u8]>) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d, choices, made: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        if let Some(choice) = self.choices.get(self.made..).and_then(|rest| rest.first_chunk()) {
            self.made += 2;
            return u16::from_be_bytes(*choice).into();
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `least` to `most`.
    pub(crate) fn range(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// Once in `n` times; never for 0.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        n > 0 && self.next() % n == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.range(0, from.len() as u64 - 1) as usize]
    }
}
