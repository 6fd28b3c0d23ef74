//! A world, and what happens in it.

use crate::simulation::{Plan, run_with_choices};

/// The virtual world of a seed (two bytes), in which the rest of the input decides what goes wrong, and when. The laws hold.
pub fn world(input: &[u8]) {
    let Some((seed, choices)) = input.split_first_chunk::<2>() else { return };
    let plan = Plan::draw(u16::from_be_bytes(*seed).into());
    if let Err(violation) = run_with_choices(&plan, choices) {
        panic!("{violation:?}");
    }
}
