//! What has to hold holds in each state of each world; and what each rule is good for is seen without it.

use milena_model::world::{IN_ORDER, ONCE, STORED, WELL_IN_THE_END, World};
use milena_model::worlds::{NAMES, NEEDED, Needed};

#[test]
fn with_all_rules_nothing_is_broken() {
    for name in NAMES {
        let found = World::named(name).look();
        println!("{name}: {} states, {} deep", found.states, found.depth);
        assert!(found.broken.is_empty(), "{name}: {found:#?}");
        assert!(found.all_is_delivered, "{name}");
    }
}

#[test]
fn what_a_rule_is_good_for_breaks_without_it() {
    let mut otherwise = Vec::new();
    for (rule, needed) in NEEDED {
        let (name, expected) = match needed {
            Needed::For(name, what) => (name, Some(*what)),
            Needed::Not(name) => (name, None),
        };
        let found = World::named(name).without(*rule).look();
        let broken: Vec<_> = found.broken.iter().map(|(what, _)| *what).collect();
        if !expected.map_or(broken.is_empty(), |what| broken.contains(&what)) {
            otherwise.push(format!("without {rule:?} it is not {needed:?}, but {broken:?}, {} states", found.states));
        }
    }
    assert!(otherwise.is_empty(), "{}", otherwise.join("\n"));
}

/// What is known not to hold (docs/design.md, "Known limits"), and that no more than this is broken there.
#[test]
fn what_is_known_not_to_hold_is_known_exactly() {
    let broken = |name: &str| {
        let found = World::named(name).look_at_all();
        found.broken.into_iter().map(|(what, _)| what).collect::<Vec<_>>()
    };
    assert_eq!(broken("early 46"), [STORED, WELL_IN_THE_END]);
    assert_eq!(broken("amnesic leaders"), [IN_ORDER]);
    assert_eq!(broken("amnesic leaders and doubt"), [ONCE, IN_ORDER, STORED, WELL_IN_THE_END]);
}
