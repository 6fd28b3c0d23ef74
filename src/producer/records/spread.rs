//! Which partitions of a topic may take records without key, so that one is found in O(1), however many there are.

use alloc::vec::Vec;

use crate::planted::planted;
use crate::producer::records::partitions::Partitions;

/// One topic's. Partitions are named by their index in the table of all.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// The numbers of those that have a leader, in order.
    led: Vec<i32>,
    /// `led` is not what it was: it is made anew when it is next needed.
    changed: bool,
    /// Those from which nothing waited to leave when they were put here. Who is drawn is looked at again.
    light: Vec<u32>,
    /// Those of brokers from which nothing leaves (`partitioner.availability.timeout.ms`).
    aside: Vec<u32>,
    /// How many such brokers had recovered when `aside` was last put back.
    recovered: u64,
    /// A partition has another leader since then.
    moved: bool,
}

/// What is found of a partition that was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It has a leader, and nothing waits.
    Light,
    /// Something waits, or it has no leader: until it is offered again.
    Burdened,
    /// Its broker takes nothing: until one recovers.
    Stuck,
}

impl Spread {
    /// A partition got a leader or lost it, or there are more or fewer of them.
    pub(crate) fn leaders_changed(&mut self) {
        self.changed = true;
    }

    /// A partition has another leader: perhaps it was put aside because of the one before.
    pub(crate) fn leader_moved(&mut self) {
        self.moved = !planted("aside-whoever-leads");
    }

    /// Makes `led` anew, if something has changed.
    pub(crate) fn look(&mut self, count: usize, has_leader: impl Fn(usize) -> bool) {
        if core::mem::take(&mut self.changed) {
            self.led.clear();
            self.led.extend((0..count).filter(|number| has_leader(*number)).map(|number| number as i32));
        }
    }

    /// The partitions that have a leader, in order.
    pub(crate) fn led(&self) -> &[i32] {
        &self.led
    }

    /// Nothing of the partition waits to leave (any more).
    #[inline]
    pub(crate) fn offer(&mut self, partitions: &mut Partitions, index: u32) {
        if !core::mem::replace(&mut partitions[index].offered, true) {
            self.light.push(index);
        }
    }

    /// Draws a partition from which nothing waits to leave. `below` draws a number, `recovered` is how many brokers have
    /// recovered by now. Each that is put out of the list was put in before, so this is O(1) in the long run.
    pub(crate) fn draw(
        &mut self,
        partitions: &mut Partitions,
        recovered: u64,
        mut below: impl FnMut(u32) -> u32,
        find: impl Fn(&Partitions, u32) -> Found,
    ) -> Option<u32> {
        if core::mem::take(&mut self.moved) || self.recovered != recovered {
            self.recovered = recovered;
            self.light.append(&mut self.aside);
        }
        while !self.light.is_empty() {
            let place = below(self.light.len() as u32) as usize;
            let index = self.light[place];
            match find(partitions, index) {
                Found::Light => return Some(index),
                Found::Burdened => {
                    self.light.swap_remove(place);
                    partitions[index].offered = false;
                }
                Found::Stuck => {
                    self.light.swap_remove(place);
                    self.aside.push(index);
                }
            }
        }
        None
    }
}
