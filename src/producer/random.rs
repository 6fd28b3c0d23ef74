//! The machine's random numbers: all of them from the seed that the host gave.

/// xoshiro256++: fast, and good enough for jitter and for choosing partitions. Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes"));
        }
        if state == [0; 4] {
            state = [1, 2, 3, 4]; // the one state that it never leaves
        }
        let mut random = Self { state };
        // A seed with few bits set needs some rounds until all bits move.
        for _ in 0..16 {
            random.next();
        }
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next() as u32) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's first numbers from this state.
    #[test]
    fn it_is_xoshiro256_plus_plus() {
        let mut random = Random { state: [1, 2, 3, 4] };
        let first = [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386, 9_228_616_714_210_784_205];
        assert_eq!(first.map(|_| random.next()), first);
    }

    #[test]
    fn equal_seeds_draw_the_same_and_no_seed_stands_still() {
        for seed in [[0; 32], [1; 32], [255; 32]] {
            let (mut one, mut other) = (Random::new(seed), Random::new(seed));
            let drawn: [u64; 8] = core::array::from_fn(|_| one.next());
            assert_eq!(drawn, core::array::from_fn(|_| other.next()));
            assert!(drawn.windows(2).all(|pair| pair[0] != pair[1]) && !drawn.contains(&0));
        }
    }

    #[test]
    fn each_number_below_the_bound_is_drawn_about_as_often() {
        let mut random = Random::new([7; 32]);
        let mut counts = [0; 10];
        (0..10_000).for_each(|_| counts[random.below(10) as usize] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!(random.below(1), 0);
    }
}
