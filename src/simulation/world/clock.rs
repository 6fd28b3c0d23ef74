//! Time: how far it goes on at once.

use core::time::Duration;

use super::World;
use crate::time::Instant;

impl World {
    /// Time goes on to the next moment at which something may happen, if there is one.
    pub(super) fn step_time(&mut self) -> bool {
        self.step_time_until(Instant::from_nanos(u64::MAX))
    }

    /// The same, but no further than this.
    pub(super) fn step_time_until(&mut self, most: Instant) -> bool {
        let tick = self.now + Duration::from_millis(1);
        if self.calm.is_none() {
            self.now = tick.min(most);
            return true;
        }
        let awake = |at: Instant| at.max(self.stalled_until);
        let wires = self.wires.values().flat_map(|wire| {
            let to_host = wire.to_client.front().map(|(at, _)| *at).into_iter();
            let to_host = to_host.chain((!wire.announced).then_some(wire.up_at)).chain(wire.blocked_until);
            to_host.map(awake).chain(wire.to_broker.front().map(|(at, _)| *at))
        });
        let waits = [self.wait.map(awake), self.cluster.next_deadline()].into_iter().flatten();
        let sends = (!self.ending && !self.is_over()).then_some(self.next_send);
        let acts = (!self.ending && !self.by_hand).then(|| self.act_deadline()).flatten();
        let jobs = self.jobs.iter().map(|(at, _)| awake(*at));
        let next = wires.chain(waits).chain(sends).chain(acts).chain(jobs).min();
        match next {
            Some(at) => {
                self.now = at.max(tick).min(most);
                true
            }
            None => false,
        }
    }
}
