//! What has to hold holds in each state of each world; and what each rule is good for is seen without it.

use milena_model::world::{IN_ORDER, STORED, WELL_IN_THE_END, World};
use milena_model::worlds::{NAMES, NEEDED, Needed};

#[test]
fn with_all_rules_nothing_is_broken() {
    for name in NAMES {
        let found = World::named(name).look();
        println!("{name}: {} states, {} deep, {:?}", found.states, found.depth, found.took);
        assert!(found.broken.is_empty(), "{name}: {found:#?}");
        assert!(found.all_is_delivered, "{name}");
    }
}

#[test]
fn what_a_rule_is_good_for_breaks_without_it() {
    let mut otherwise = Vec::new();
    for (rule, needed) in NEEDED {
        let broken = |name: &str| {
            let found = World::named(name).without(*rule).look();
            found.broken.into_iter().map(|(what, _)| what).next()
        };
        match needed {
            Needed::For(name, what) if broken(name) == Some(*what) => {}
            Needed::Not if NAMES.iter().all(|name| broken(name).is_none()) => {}
            _ => {
                let found: Vec<_> = NAMES.iter().map(|name| (*name, broken(name))).collect();
                otherwise.push(format!("without {rule:?} it is not {needed:?}, but {found:?}"));
            }
        }
    }
    assert!(otherwise.is_empty(), "{}", otherwise.join("\n"));
}
