//! What producers ask, and what is kept of what they send.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use milena::cluster::{Request, Settings, TopicSettings};

use crate::bench::{Bench, NOW, answer, batch, batch_with_headers, changed, frame};

#[test]
fn what_is_produced_can_be_read_back() {
    let mut bench = Bench::new();
    assert_eq!(bench.produce(batch(-1, -1, -1, &["a", "b"])), (0, 0));
    assert_eq!(bench.produce(batch(-1, -1, -1, &["c"])), (0, 2));
    assert_eq!(bench.log(), [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
}

#[test]
fn acks_0_has_no_answer() {
    let mut bench = Bench::new();
    assert_eq!(bench.produce_acks(Some(batch(-1, -1, -1, &["a"])), 0), None);
    assert_eq!(bench.log().len(), 1);
    assert!(!bench.cluster.is_closed(bench.peer));
}

#[test]
fn an_error_with_acks_0_closes_the_connection() {
    let mut bench = Bench::new();
    assert_eq!(bench.produce_acks(Some(Bytes::new()), 0), None);
    assert!(bench.cluster.is_closed(bench.peer));
}

#[test]
fn acks_7_is_error_21() {
    assert_eq!(Bench::new().produce_acks(Some(batch(-1, -1, -1, &["a"])), 7), Some((21, -1)));
}

#[test]
fn a_wrong_checksum_is_error_2() {
    let mut bytes = BytesMut::from(&batch(-1, -1, -1, &["a"])[..]);
    bytes[17] ^= 1;
    assert_eq!(Bench::new().produce(bytes.freeze()).0, 2);
}

#[test]
fn magic_1_is_error_87() {
    assert_eq!(Bench::new().produce(changed(&batch(-1, -1, -1, &["a"]), 16, &[1])).0, 87);
}

#[test]
fn a_record_count_that_does_not_fit_is_error_87() {
    assert_eq!(Bench::new().produce(changed(&batch(-1, -1, -1, &["a"]), 57, &2i32.to_be_bytes())).0, 87);
    assert_eq!(Bench::new().produce(changed(&batch(-1, -1, -1, &["a"]), 57, &i32::MAX.to_be_bytes())).0, 87);
}

#[test]
fn a_batch_length_that_is_too_large_is_error_2() {
    let whole = batch(-1, -1, -1, &["a"]);
    let length = whole.len() as i32 - 12 + 1;
    assert_eq!(Bench::new().produce(changed(&whole, 8, &length.to_be_bytes())).0, 2);
}

#[test]
fn garbage_in_place_of_records_is_error_87() {
    assert_eq!(Bench::new().produce(changed(&batch(-1, -1, -1, &["abcdef"]), 61, &[0xff; 8])).0, 87);
}

#[test]
fn two_batches_for_one_partition_are_error_87() {
    let two = [batch(-1, -1, -1, &["a"]), batch(-1, -1, -1, &["b"])].concat();
    assert_eq!(Bench::new().produce(Bytes::from(two)).0, 87);
}

#[test]
fn no_records_are_error_87() {
    assert_eq!(Bench::new().produce(Bytes::new()).0, 87);
    assert_eq!(Bench::new().produce_acks(None, -1).map(|answer| answer.0), Some(87));
}

#[test]
fn a_control_batch_is_error_87() {
    assert_eq!(Bench::new().produce(changed(&batch(-1, -1, -1, &["a"]), 21, &[0, 0x20])).0, 87);
}

#[test]
fn an_unknown_codec_is_error_76() {
    assert_eq!(Bench::new().produce(changed(&batch(-1, -1, -1, &["a"]), 21, &[0, 5])).0, 76);
}

#[test]
fn a_timestamp_in_ten_days_is_error_32() {
    let late = 1_700_000_000_000i64 + 10 * 86_400_000;
    assert_eq!(Bench::new().produce(changed(&batch(-1, -1, -1, &["a"]), 27, &late.to_be_bytes())).0, 32);
}

#[test]
fn offset_deltas_out_of_order_are_error_87() {
    // The second record's offset delta is the fourth byte of it; 2 is 1 in zigzag.
    let whole = batch(-1, -1, -1, &["a", "b"]);
    let second = whole.len() - 8 + 3;
    assert_eq!(whole[second], 2, "the place of the delta");
    assert_eq!(Bench::new().produce(changed(&whole, second, &[4])).0, 87);
}

#[test]
fn an_unknown_topic_or_partition_is_error_3() {
    let mut bench = Bench::new();
    let data = PartitionProduceData::default().with_index(9).with_records(Some(batch(-1, -1, -1, &["a"])));
    assert_eq!(bench.produce_data(vec![data], -1), Some((3, -1)));
    bench.cluster.delete_topic("t");
    assert_eq!(bench.produce(batch(-1, -1, -1, &["a"])).0, 3);
}

#[test]
fn an_unknown_topic_id_is_error_100() {
    let mut bench = Bench::new();
    bench.version = 13;
    assert_eq!(bench.produce(batch(-1, -1, -1, &["a"])).0, 100);
}

#[test]
fn a_batch_above_max_message_bytes_is_error_10() {
    let mut bench = Bench::new();
    let settings = TopicSettings::default().max_message_bytes(100);
    bench.cluster.create_topic_with("t", 1, settings);
    assert_eq!(bench.produce(batch(-1, -1, -1, &[&"x".repeat(200)])).0, 10);
    assert_eq!(bench.produce(batch(-1, -1, -1, &["x"])).0, 0);
}

#[test]
fn a_repeated_batch_is_answered_its_first_offset() {
    let mut bench = Bench::new();
    for sequence in 0..5 {
        assert_eq!(bench.produce(batch(5, 0, sequence, &["v"])), (0, i64::from(sequence)));
    }
    assert_eq!(bench.produce(batch(5, 0, 0, &["v"])), (0, 0));
    assert_eq!(bench.produce(batch(5, 0, 4, &["v"])), (0, 4));
    assert_eq!(bench.log().len(), 5);
}

#[test]
fn a_repeated_batch_from_before_the_window_is_error_45_or_46() {
    for old_duplicate in [45, 46] {
        let mut bench = Bench::with(Settings::default().old_duplicate(old_duplicate));
        for sequence in 0..6 {
            assert_eq!(bench.produce(batch(5, 0, sequence, &["v"])).0, 0);
        }
        assert_eq!(bench.produce(batch(5, 0, 0, &["v"])).0, old_duplicate);
    }
}

#[test]
fn a_gap_in_the_sequence_is_error_45() {
    let mut bench = Bench::new();
    assert_eq!(bench.produce(batch(5, 0, 0, &["v"])).0, 0);
    assert_eq!(bench.produce(batch(5, 0, 2, &["v"])).0, 45);
    assert_eq!(bench.produce(batch(5, 0, 1, &["v"])).0, 0);
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    assert_eq!(Bench::new().produce(batch(5, 3, 77, &["v"])).0, 0);
}

#[test]
fn a_newer_epoch_must_begin_at_0_and_fences_the_older() {
    let mut bench = Bench::new();
    assert_eq!(bench.produce(batch(5, 0, 0, &["v"])).0, 0);
    assert_eq!(bench.produce(batch(5, 2, 1, &["v"])).0, 45);
    assert_eq!(bench.produce(batch(5, 1, 0, &["v"])).0, 0);
    assert_eq!(bench.produce(batch(5, 0, 1, &["v"])).0, 47);
}

#[test]
fn sequences_wrap_after_the_largest() {
    let mut bench = Bench::new();
    assert_eq!(bench.produce(batch(5, 0, i32::MAX - 1, &["v", "w"])).0, 0);
    assert_eq!(bench.produce(batch(5, 0, 0, &["x"])).0, 0);
}

#[test]
fn a_restart_remembers_the_last_batch_only() {
    let mut bench = Bench::new();
    for sequence in 0..3 {
        assert_eq!(bench.produce(batch(5, 0, sequence, &["v"])).0, 0);
    }
    bench.cluster.crash(1);
    bench.cluster.restart(1, false);
    bench.peer = bench.cluster.connect(1).expect("it is up again");
    assert_eq!(bench.produce(batch(5, 0, 1, &["v"])).0, 45);
    assert_eq!(bench.produce(batch(5, 0, 2, &["v"])), (0, 2));
}

fn three() -> Settings {
    Settings::default().nodes(3).min_insync_replicas(2).replication_lag(Duration::from_millis(10))
}

#[test]
fn acks_all_waits_for_followers() {
    let mut bench = Bench::with(three());
    assert_eq!(bench.produce_acks(Some(batch(-1, -1, -1, &["a"])), -1), None);
    assert_eq!(bench.log(), []);
    let due = bench.cluster.next_deadline().expect("followers copy");
    bench.cluster.advance(due);
    let response: ProduceResponse = answer(&bench.cluster.take_output(bench.peer), ApiKey::Produce, 9).expect("now");
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(bench.log().len(), 1);
}

#[test]
fn too_few_replicas_are_error_19() {
    let mut bench = Bench::with(three());
    bench.cluster.crash(2);
    bench.cluster.crash(3);
    assert_eq!(bench.produce(batch(-1, -1, -1, &["a"])).0, 19);
}

#[test]
fn a_node_that_does_not_lead_answers_6_and_says_who_does() {
    let mut bench = Bench::with(three());
    assert!(bench.cluster.move_leader("t", 0, 2, true));
    bench.version = 10;
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("t")))
        .with_partition_data(vec![PartitionProduceData::default().with_records(Some(batch(-1, -1, -1, &["a"])))]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    let response: ProduceResponse = bench.call(ApiKey::Produce, 10, &request).expect("an answer");
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(
        (partition.error_code, partition.current_leader.leader_id.0, partition.current_leader.leader_epoch),
        (6, 2, 1)
    );
    assert_eq!(response.node_endpoints[0].node_id.0, 2);
}

#[test]
fn a_leader_that_crashes_loses_what_was_not_replicated() {
    let mut bench = Bench::with(three().min_insync_replicas(1));
    assert_eq!(bench.produce_acks(Some(batch(5, 0, 0, &["lost"])), 1).map(|answer| answer.0), Some(0));
    bench.cluster.crash(1);
    let leader = bench.cluster.leader("t", 0).expect("another leads");
    bench.cluster.restart(1, false);
    bench.peer = bench.cluster.connect(leader).expect("it is up");
    assert_eq!(bench.produce_acks(Some(batch(5, 0, 0, &["kept"])), 1), Some((0, 0)));
    let id = bench.cluster.topic_id("t").expect("the topic");
    assert_eq!(bench.cluster.whole_log(id, 0).len(), 1);
}

#[test]
fn a_leader_that_does_not_know_is_believed_by_nobody_else() {
    let mut bench = Bench::with(three());
    assert!(bench.cluster.move_leader("t", 0, 2, false));
    assert_eq!(
        bench.produce_acks(Some(batch(-1, -1, -1, &["a"])), -1),
        None,
        "it waits for followers that don't follow"
    );
    bench.cluster.tell_zombies(NOW);
    let response: ProduceResponse = answer(&bench.cluster.take_output(bench.peer), ApiKey::Produce, 9).expect("now");
    assert_eq!(response.responses[0].partition_responses[0].error_code, 6);
    assert_eq!(bench.log(), []);
}

#[test]
fn requests_of_a_connection_are_answered_in_order() {
    let mut bench = Bench::new();
    for sequence in 0..5 {
        let data = PartitionProduceData::default().with_records(Some(batch(5, 0, sequence, &["v"])));
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
        bench.cluster.receive(NOW, bench.peer, &frame(ApiKey::Produce, 9, &request));
    }
    let mut output = &bench.cluster.take_output(bench.peer)[..];
    for sequence in 0..5 {
        let (length, rest) = output.split_first_chunk::<4>().expect("five answers");
        let (_, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let one = &output[..output.len() - rest.len()];
        let response: ProduceResponse = answer(one, ApiKey::Produce, 9).expect("an answer");
        assert_eq!(response.responses[0].partition_responses[0].base_offset, sequence);
        output = rest;
    }
    assert!(output.is_empty());
}

#[test]
fn errors_come_on_demand_and_end() {
    let mut bench = Bench::new();
    bench.cluster.fail_next(Request::Produce, 87, 2);
    assert_eq!(bench.produce(batch(-1, -1, -1, &["a"])).0, 87);
    assert_eq!(bench.produce(batch(-1, -1, -1, &["a"])).0, 87);
    assert_eq!(bench.produce(batch(-1, -1, -1, &["a"])), (0, 0));
}

#[test]
fn log_append_time_replaces_timestamps() {
    let mut bench = Bench::new();
    let settings = TopicSettings::default().log_append_time(true);
    let id = bench.cluster.create_topic_with("t", 1, settings);
    assert_eq!(bench.produce(batch(-1, -1, -1, &["a"])).0, 0);
    assert_eq!(bench.cluster.log(id, 0)[0].timestamp, 1_700_000_001_000);
}

/// As Kafka answers: with the largest timestamp of the batch that is there, whoever's time that is.
#[test]
fn a_copy_is_answered_with_the_time_of_what_is_there() {
    for (brokers_time, first, again) in [(false, -1, 1_700_000_000_000), (true, 1_700_000_001_000, 1_700_000_001_000)] {
        let mut bench = Bench::new();
        bench.cluster.create_topic_with("t", 1, TopicSettings::default().log_append_time(brokers_time));
        let mut told = || {
            let data = PartitionProduceData::default().with_records(Some(batch(7, 0, 0, &["a"])));
            let name = TopicName(StrBytes::from_static_str("t"));
            let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
            let response: ProduceResponse = bench.call(ApiKey::Produce, 9, &request).expect("an answer");
            let partition = &response.responses[0].partition_responses[0];
            (partition.error_code, partition.base_offset, partition.log_append_time_ms)
        };
        assert_eq!([told(), told()], [(0, 0, first), (0, 0, again)]);
    }
}

#[test]
fn bytes_may_be_cut_anywhere() {
    let mut bench = Bench::new();
    let data = PartitionProduceData::default().with_records(Some(batch(-1, -1, -1, &["a"])));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("t")))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    for byte in frame(ApiKey::Produce, 9, &request) {
        assert!(bench.cluster.take_output(bench.peer).is_empty());
        bench.cluster.receive(NOW, bench.peer, &[byte]);
    }
    assert!(!bench.cluster.take_output(bench.peer).is_empty());
}

#[test]
fn a_deleted_topics_log_can_be_read_by_its_id() {
    let mut bench = Bench::new();
    assert_eq!(bench.produce(batch(-1, -1, -1, &["a"])).0, 0);
    let old = bench.cluster.topic_id("t").expect("the topic");
    let new = bench.cluster.create_topic("t", 1);
    assert_ne!(old, new);
    assert_eq!((bench.cluster.log(old, 0).len(), bench.cluster.log(new, 0).len()), (1, 0));
}

#[test]
fn headers_of_one_name_are_all_kept_in_order() {
    let mut bench = Bench::new();
    let sent = [("trace", "1"), ("other", ""), ("trace", "2"), ("trace", "1")];
    assert_eq!(bench.produce(batch_with_headers(&sent)), (0, 0));
    let stored = bench.cluster.record("t", 0, 0).expect("it is stored").headers;
    let sent: Vec<(String, Option<Bytes>)> =
        sent.iter().map(|(name, value)| (name.to_string(), Some(Bytes::from(*value)))).collect();
    assert_eq!(stored, sent);
}

#[test]
fn bytes_behind_the_last_record_are_error_87() {
    let whole = batch(-1, -1, -1, &["a"]);
    let mut longer = BytesMut::from(&whole[..]);
    longer.extend_from_slice(b"x");
    let length = (longer.len() as i32 - 12).to_be_bytes();
    assert_eq!(Bench::new().produce(changed(&longer.freeze(), 8, &length)).0, 87);
}
