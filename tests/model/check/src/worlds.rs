//! The worlds that are looked through, and what breaks in which without which rule.

use stateright::{Checker, HasDiscoveries, Model};

use crate::rules::{Rule, Rules};
use crate::world::{
    ALL_DELIVERED, Brokers, Fault, IN_ORDER, NOT_WRITTEN, ONCE, STORED, TOLD_IN_ORDER, WELL_IN_THE_END, World,
};

/// All rules.
pub const ALL: Rules = Rules { without: None, window: 5 };

/// The names of the worlds in which all rules have to hold what they promise.
pub const NAMES: &[&str] = &[
    "answers",
    "leaders",
    "doubt",
    "names",
    "parts",
    "idle",
    "topics",
    "old brokers",
    "old duplicates",
    "two partitions",
];

impl World {
    /// The world of a name.
    pub fn named(name: &str) -> Self {
        use Fault::*;
        let world = |batches: &[&[u32]], faults, kinds: &[Fault]| Self {
            rules: ALL,
            batches: batches.iter().map(|counts| counts.to_vec()).collect(),
            faults,
            kinds: kinds.to_vec(),
            remembered: 5,
            brokers: Brokers::Today,
            by_name: false,
        };
        match name {
            // What brokers say, and what others do meanwhile.
            "answers" => world(&[&[1, 1, 1, 1]], 4, &[Refuse, NotTaken, Unreplicated, GiveUp, OtherBump]),
            // Who leads, and what the old leader has and does.
            "leaders" => world(&[&[1, 1, 1]], 3, &[Move, Break, Swallow, Unreplicated, Refuse, GiveUp]),
            // What is written, and who remembers it. Brokers remember three, so that four are too many.
            "doubt" => {
                let five = world(&[&[1, 1, 1, 1, 1]], 2, &[Break, Swallow, Restart, GiveUp, Refuse]);
                Self { remembered: 3, rules: Rules { window: 3, ..ALL }, ..five }
            }
            "names" => {
                let ids = world(&[&[1, 1, 1]], 3, &[Refuse, Break, Unreplicated, Swallow, GiveUp]);
                Self { by_name: true, ..ids }
            }
            "parts" => world(&[&[1, 2, 1]], 3, &[Shrink, Break, Swallow, Unreplicated, GiveUp]),
            "idle" => world(&[&[1, 1, 1, 1]], 3, &[Idle, FreshLeader, Refuse, Break, NotTaken]),
            "topics" => world(&[&[1, 1, 1, 1]], 3, &[Recreate, Refuse, Break, Unreplicated, GiveUp]),
            "old brokers" => {
                let today = world(&[&[1, 1, 1]], 3, &[Idle, Refuse, Break, Unreplicated, GiveUp]);
                Self { brokers: Brokers::Before25, ..today }
            }
            "two partitions" => world(&[&[1, 1], &[1, 1]], 2, &[Refuse, Break, Unreplicated, GiveUp]),
            "old duplicates" => {
                let today = world(&[&[1, 1, 1]], 3, &[Unreplicated, Restart, Move, Swallow]);
                Self { brokers: Brokers::Says46, ..today }
            }
            // What is known not to hold: it is there to be seen.
            "early 46" => {
                let today = world(&[&[1, 1, 1]], 4, &[Unreplicated, Restart, Move, Swallow]);
                Self { brokers: Brokers::Early46, ..today }
            }
            "amnesic leaders" => {
                let today = world(&[&[1, 1, 1]], 3, &[Refuse]);
                Self { brokers: Brokers::Amnesic, ..today }
            }
            "amnesic leaders and doubt" => {
                let mut certain = Self::named("amnesic leaders");
                certain.kinds.extend([NotTaken, Unreplicated]);
                certain
            }
            _ => panic!("there is no world {name}"),
        }
    }

    /// Without a rule.
    #[must_use]
    pub fn without(mut self, rule: Rule) -> Self {
        self.rules.without = Some(rule);
        self
    }

    /// Looks at all states, or until something is broken that is not only late.
    pub fn look(self) -> Found {
        self.look_until(HasDiscoveries::AnyOf([ONCE, IN_ORDER, STORED, NOT_WRITTEN, TOLD_IN_ORDER].into()))
    }

    /// Looks at all states, and goes on if something is broken.
    pub fn look_at_all(self) -> Found {
        self.look_until(HasDiscoveries::All)
    }

    fn look_until(self, enough: HasDiscoveries) -> Found {
        let checker = self.checker().finish_when(enough).spawn_bfs().join();
        let broken = [ONCE, IN_ORDER, STORED, NOT_WRITTEN, TOLD_IN_ORDER, WELL_IN_THE_END];
        let mut discoveries = checker.discoveries();
        let broken = broken.into_iter().filter_map(|name| {
            let path = discoveries.remove(name)?;
            let steps = path.into_actions().into_iter().map(|action| format!("{action:?}")).collect();
            Some((name, steps))
        });
        let broken = broken.collect();
        Found {
            states: checker.unique_state_count(),
            depth: checker.max_depth(),
            all_is_delivered: discoveries.contains_key(ALL_DELIVERED),
            broken,
        }
    }
}

/// What was found in a world.
#[derive(Clone, Debug)]
pub struct Found {
    pub states: usize,
    pub depth: usize,
    /// All was delivered in some state, after all faults.
    pub all_is_delivered: bool,
    /// What is broken, and the steps to it.
    pub broken: Vec<(&'static str, Vec<String>)>,
}

/// What breaks without a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// This, in this world.
    For(&'static str, &'static str),
    /// Nothing in this world, nor in others that were looked at.
    Not(&'static str),
}

/// What each rule is good for.
pub const NEEDED: &[(Rule, Needed)] = &[
    (Rule::RetriesInOrder, Needed::For("answers", IN_ORDER)),
    (Rule::AsManyAsBrokersRemember, Needed::For("doubt", WELL_IN_THE_END)),
    (Rule::OldLeaderCountsAsSilent, Needed::For("idle", STORED)),
    (Rule::SupersededIsInDoubt, Needed::For("leaders", NOT_WRITTEN)),
    (Rule::OutcomesInOrder, Needed::For("answers", TOLD_IN_ORDER)),
    (Rule::FirstAlone, Needed::For("answers", STORED)),
    (Rule::AloneAfterIdleness, Needed::For("idle", STORED)),
    (Rule::AloneAfterLeaderChange, Needed::For("idle", STORED)),
    (Rule::AloneUnderNewTopic, Needed::For("topics", IN_ORDER)),
    (Rule::NothingBeforeTheBump, Needed::For("topics", ONCE)),
    (Rule::BumpWaitsForTheWire, Needed::For("answers", IN_ORDER)),
    (Rule::OnlyTheLowestCertainAsksForABump, Needed::For("doubt", WELL_IN_THE_END)),
    (Rule::FailedInDoubtIsPossiblyWritten, Needed::For("answers", NOT_WRITTEN)),
    (Rule::InDoubtKeepsItsNumber, Needed::For("answers", NOT_WRITTEN)),
    (Rule::EveryAttemptCounts, Needed::For("answers", NOT_WRITTEN)),
    (Rule::NotLeaderLeavesDoubt, Needed::For("answers", NOT_WRITTEN)),
    (Rule::RefusedProvesOnlyBehind, Needed::For("answers", NOT_WRITTEN)),
    (Rule::ProofEndsAtRefused, Needed::For("amnesic leaders", STORED)),
    (Rule::ProofEndsAtWhatLeftAgain, Needed::For("amnesic leaders", STORED)),
    (Rule::NewEpochWhenNothingIsOpen, Needed::For("answers", IN_ORDER)),
    (Rule::NewTopicNewNumbers, Needed::For("topics", WELL_IN_THE_END)),
    (Rule::DuplicateIsSuccess, Needed::For("old duplicates", WELL_IN_THE_END)),
    (Rule::OldEpochProvesNothing, Needed::Not("names")),
    (Rule::OutOfOrderProvesNothing, Needed::For("doubt", STORED)),
    (Rule::AskedOnOneConnection, Needed::Not("doubt")),
    (Rule::SplitWhenNothingIsOnItsWay, Needed::Not("parts")),
    (Rule::PartsInheritDoubt, Needed::For("parts", NOT_WRITTEN)),
    (Rule::PartsKeepTheNumbers, Needed::For("parts", ONCE)),
];
