//! Prints what is in the worlds: `cargo run --release [WORLD] [FAULTS] [RULE]`, all worlds if none is named. With more faults than a world has
//! by itself, or without a rule.

#![allow(clippy::disallowed_methods, reason = "a program that tells how long it took")]

use std::time::Instant;

use milena_model::world::World;
use milena_model::worlds::{NAMES, NEEDED};

fn main() {
    let mut names = NAMES.to_vec();
    let (mut faults, mut without) = (None, None);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for argument in &arguments {
        if let Ok(number) = argument.parse() {
            faults = Some(number);
        } else if let Some((rule, _)) = NEEDED.iter().find(|(rule, _)| format!("{rule:?}") == *argument) {
            without = Some(*rule);
        } else {
            names = vec![argument];
        }
    }
    for name in names {
        let mut world = World::named(name);
        world.rules.without = without;
        world.faults = faults.unwrap_or(world.faults);
        let (faults, batches, begun) = (world.faults, world.batches.clone(), Instant::now());
        let found = world.look();
        let seconds = begun.elapsed().as_secs_f32();
        println!(
            "{name}: batches of {batches:?} records, {faults} faults: {} states, {} deep, {seconds:.1} s",
            found.states, found.depth
        );
        for (what, steps) in found.broken {
            println!("  broken: {what}");
            steps.iter().for_each(|step| println!("    {step}"));
        }
    }
}
