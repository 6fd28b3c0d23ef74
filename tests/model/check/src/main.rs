//! Prints the worlds, with their states: `cargo run --release [WORLD [RULE]]`.

use milena_model::rules::Rule;
use milena_model::world::World;
use milena_model::worlds::{NAMES, NEEDED};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> = match arguments.first() {
        Some(name) => vec![name],
        None => NAMES.to_vec(),
    };
    let named = |rule: &&(Rule, _)| Some(format!("{:?}", rule.0)) == arguments.get(1).cloned();
    let without = NEEDED.iter().find(named).map(|(rule, _)| *rule);
    for name in names {
        let mut world = World::named(name);
        world.rules.without = without;
        let found = if without.is_some() { world.look_at_all() } else { world.look() };
        let (states, depth, seconds) = (found.states, found.depth, found.took.as_secs_f32());
        println!("{name}: {states} states, {depth} deep, {seconds:.1} s");
        for (what, steps) in found.broken {
            println!("  broken: {what}");
            steps.iter().for_each(|step| println!("    {step}"));
        }
    }
}
