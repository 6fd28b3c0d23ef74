//! Any calls in any order with any arguments: no crash, no MILENA_BUG, and every record that was taken is told of once. The fuzz target
//! `capi` runs the same on what the fuzzer likes.

mod any_calls;

/// Numbers that look random (xorshift64), the same in each run.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let length = 200 + seed as usize * 10;
    core::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

#[test]
fn any_calls_in_any_order() {
    let mut reached = any_calls::Reached::default();
    if cfg!(miri) {
        return drop((0..4).map(|seed| any_calls::run(&noise(seed))).collect::<Vec<_>>()); // it takes a thousand times as long
    }
    for seed in 0..600 {
        reached.add(&any_calls::run(&noise(seed)));
    }
    // Otherwise the noise asks too little.
    assert!(reached.taken > 1_000, "{reached:?}");
    assert!(reached.delivered > 100, "{reached:?}");
    assert!(reached.failed > 100, "{reached:?}");
    assert!(reached.refused > 1_000, "{reached:?}");
    assert!(reached.closed > 10, "{reached:?}");
    assert!(reached.healthy > 100 && reached.unhealthy > 100, "{reached:?}");
}

/// What the fuzz target `capi` found: see `fuzz/run`.
#[test]
fn calls_that_were_found() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/capi");
    let mut found = 0;
    let most = if cfg!(miri) { 10 } else { usize::MAX };
    for file in std::fs::read_dir(folder).expect("a folder").take(most) {
        any_calls::run(&std::fs::read(file.expect("an entry").path()).expect("a file"));
        found += 1;
    }
    assert!(found >= 10, "{found} inputs");
}
