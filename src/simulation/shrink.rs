//! A smaller world in which the same law is broken.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::faults::SWITCHES;
use super::plan::Plan;
use super::runs::run;
use super::violation::Violation;

/// Looks for a smaller world of the same seed that breaks the same law: fewer faults, fewer records, a shorter time, one topic, options at
/// their defaults. At most `runs` worlds are tried. Returns the smallest, or `violation` if none is smaller.
pub fn shrink(violation: Violation, runs: usize) -> Violation {
    shrink_with(violation, runs, |plan| run(&plan))
}

/// The same for a world that somebody's own code runs in: `test` runs it once more, in the world of another plan.
pub fn shrink_with<T>(
    violation: Violation,
    runs: usize,
    mut test: impl FnMut(Plan) -> Result<T, Violation>,
) -> Violation {
    let law = violation.law();
    smallest(
        violation,
        runs,
        |violation| violation.plan().clone(),
        |plan| test(plan.clone()).err().filter(|violation| violation.law() == law),
    )
}

/// From `found` to ever smaller ones, as long as one is, by at most `runs` calls of `fails`.
fn smallest<T>(
    mut found: T,
    mut runs: usize,
    plan_of: impl Fn(&T) -> Plan,
    mut fails: impl FnMut(&Plan) -> Option<T>,
) -> T {
    loop {
        let mut smaller = None;
        for plan in smaller_plans(&plan_of(&found)) {
            if runs == 0 {
                return found;
            }
            runs -= 1;
            smaller = fails(&plan);
            if smaller.is_some() {
                break;
            }
        }
        match smaller {
            Some(smaller) => found = smaller,
            None => return found,
        }
    }
}

/// Worlds that are a step smaller each; the largest steps first.
fn smaller_plans(plan: &Plan) -> Vec<Plan> {
    let mut plans = Vec::new();
    let as_it_is = format!("{plan:?}");
    let mut propose = |change: &mut dyn FnMut(&mut Plan)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        if format!("{smaller:?}") != as_it_is && smaller.is_possible() {
            plans.push(smaller);
        }
    };
    propose(&mut |plan| plan.records = (plan.records / 2).max(1));
    propose(&mut |plan| plan.fault_phase = (plan.fault_phase / 2).max(1));
    propose(&mut |plan| plan.acts.clear());
    propose(&mut |plan| plan.lasting = None);
    propose(&mut |plan| plan.young = None);
    propose(&mut |plan| plan.odd_topics = 0);
    propose(&mut |plan| (plan.abort, plan.close_early) = (false, false));
    propose(&mut |plan| plan.large = false);
    propose(&mut |plan| plan.max_message_bytes = None);
    for (_, _, switch_off) in SWITCHES {
        propose(&mut |plan| switch_off(&mut plan.faults));
    }
    propose(&mut |plan| plan.topics = 1);
    propose(&mut |plan| plan.burst = 1);
    propose(&mut |plan| plan.value = 8);
    let names: Vec<&'static str> = plan.options.iter().map(|(name, _)| *name).collect();
    // Users stay as they are: half of their options would be an error.
    for name in names.into_iter().filter(|name| !name.starts_with("sas") && *name != "security.protocol") {
        propose(&mut |plan| plan.options.retain(|(known, _): &(&str, String)| *known != name));
    }
    propose(&mut |plan| plan.records = plan.records.saturating_sub(1).max(1));
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_goes() {
        let plan = Plan { records: 300, fault_phase: 5000, ..Plan::draw(3) };
        let mut plan = plan.set("retries", "3");
        (plan.faults.reset, plan.faults.crash) = (200, 500);
        let mut tried = 0;
        let fails = |plan: &Plan| {
            tried += 1;
            let does = plan.faults.reset > 0 && plan.records >= 10 && plan.get("retries").is_some();
            does.then(|| plan.clone())
        };
        let smallest = smallest(plan, 2000, Plan::clone, fails);
        assert_eq!((smallest.records, smallest.faults.reset, smallest.fault_phase, smallest.topics), (10, 200, 1, 1));
        assert_eq!(smallest.fault_names().collect::<Vec<_>>(), ["reset"]);
        assert!(smallest.acts.is_empty());
        let left: Vec<&str> = smallest.options.iter().map(|(name, _)| *name).collect();
        assert!(left.iter().all(|name| *name == "retries" || name.starts_with("sas") || *name == "security.protocol"));
        assert!(tried < 300, "{tried}");
    }

    /// Some options go together: without the one, the other would be an error.
    #[test]
    fn no_world_is_tried_that_cannot_be() {
        let plan = Plan::draw(3).set("request.timeout.ms", "3000").set("delivery.timeout.ms", "20000");
        assert!(plan.is_possible());
        let plans = smaller_plans(&plan);
        assert!(plans.len() > 5 && plans.iter().all(Plan::is_possible));
        assert!(plans.iter().all(|plan| plan.get("request.timeout.ms").is_some()));
    }

    #[test]
    fn no_more_worlds_are_tried_than_allowed() {
        let mut tried = 0;
        smallest(Plan::draw(3), 7, Plan::clone, |plan| {
            tried += 1;
            Some(plan.clone())
        });
        assert_eq!(tried, 7);
    }
}
