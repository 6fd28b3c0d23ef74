//! Where logs begin and end: ListOffsets, and where an epoch ended.

use alloc::vec::Vec;

use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};

use super::answer::Unreadable;
use super::connection::Call;
use super::{Cluster, Request};

/// What clients write in place of a timestamp.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The record with the largest timestamp (KIP-734), from version 7 on.
const MAX_TIMESTAMP: i64 = -3;
/// The earliest that is not in tiered storage, of which there is none, from version 8 on.
const EARLIEST_LOCAL: i64 = -4;
/// The latest that is, from version 9 on.
const LATEST_TIERED: i64 = -5;

/// An offset that was found: timestamp, offset and leader epoch, each -1 where there is none.
type Found = (i64, i64, i32);
const NONE: Found = (-1, -1, -1);

impl Cluster {
    pub(super) fn list_offsets(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: ListOffsetsRequest = call.read()?;
        let demanded = self.demanded(Request::ListOffsets);
        let mut response = ListOffsetsResponse::default();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for asked in topic.partitions {
                let (number, epoch) = (asked.partition_index, asked.current_leader_epoch);
                let found = match demanded {
                    Some(code) => Err(code),
                    None => self.find(&call, topic.name.as_str(), number, epoch, asked.timestamp),
                };
                let (code, (timestamp, offset, leader_epoch)) = match found {
                    Ok(found) => (0, found),
                    Err(code) => (code, NONE),
                };
                self.count_error(code);
                let mut answer = ListOffsetsPartitionResponse::default().with_partition_index(number);
                (answer.error_code, answer.timestamp, answer.offset) = (code, timestamp, offset);
                if call.version >= 4 {
                    answer.leader_epoch = leader_epoch;
                }
                partitions.push(answer);
            }
            response.topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        let throttle = self.mischief.throttle(Request::ListOffsets);
        self.answer(&call, &response.with_throttle_time_ms(throttle));
        Ok(())
    }

    fn find(&self, call: &Call, name: &str, number: i32, epoch: i32, timestamp: i64) -> Result<Found, i16> {
        let (partition, log) = self.led(call.node, name, number, epoch)?;
        let until = partition.watermark_of(call.node);
        let mut records = log.records_with_epochs(until);
        let at = |(record, epoch): (&super::StoredRecord, i32)| (record.timestamp, record.offset, epoch);
        let found = match (timestamp, call.version) {
            (LATEST, _) => (-1, until, partition.epoch_of(call.node).unwrap_or(-1)),
            (EARLIEST, _) | (EARLIEST_LOCAL, 8..) => (-1, log.start(), records.next().map_or(-1, |(_, epoch)| epoch)),
            (LATEST_TIERED, 9..) => NONE,
            (MAX_TIMESTAMP, 7..) => {
                // The first of several.
                records.map(at).reduce(|best, next| if next.0 > best.0 { next } else { best }).unwrap_or(NONE)
            }
            (0.., _) => records.map(at).find(|found| found.0 >= timestamp).unwrap_or(NONE),
            _ => return Err(35),
        };
        Ok(found)
    }

    pub(super) fn offset_for_leader_epoch(&mut self, mut call: Call) -> Result<(), Unreadable> {
        let request: OffsetForLeaderEpochRequest = call.read()?;
        let demanded = self.demanded(Request::OffsetForLeaderEpoch);
        let mut response = OffsetForLeaderEpochResponse::default();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for asked in topic.partitions {
                let found = match demanded {
                    Some(code) => Err(code),
                    None => {
                        let name = topic.topic.as_str();
                        self.end_of(&call, name, asked.partition, asked.current_leader_epoch, asked.leader_epoch)
                    }
                };
                let (code, (epoch, end)) = found.map_or_else(|code| (code, (-1, -1)), |found| (0, found));
                self.count_error(code);
                let answer = EpochEndOffset::default().with_partition(asked.partition).with_error_code(code);
                partitions.push(answer.with_leader_epoch(epoch).with_end_offset(end));
            }
            let answer = OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions);
            response.topics.push(answer);
        }
        let throttle = self.mischief.throttle(Request::OffsetForLeaderEpoch);
        self.answer(&call, &response.with_throttle_time_ms(throttle));
        Ok(())
    }

    /// The epoch that a leader knows, at most the one asked for, and the offset after its last record.
    fn end_of(&self, call: &Call, name: &str, number: i32, current: i32, epoch: i32) -> Result<(i32, i64), i16> {
        let (partition, log) = self.led(call.node, name, number, current)?;
        let led_in = partition.epoch_of(call.node).unwrap_or(-1);
        if epoch == led_in {
            return Ok((epoch, log.end())); // whether it has written anything in it or not
        }
        if epoch < 0 || epoch > led_in {
            return Ok((-1, -1));
        }
        Ok(log.end_of_epoch(epoch).unwrap_or((epoch, log.start())))
    }
}
