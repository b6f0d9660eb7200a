//! Topic, publisher and reader against a real broker.

use std::time::{Duration, Instant};

use crate::common::{brokers, check, fill, publisher, spec, topic, unique};
use fluxori_stream::{Created, LogReader, Publisher, PublisherOptions, Range, StreamError};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

#[tokio::test]
async fn published_records_are_read_back_in_order_and_whole() {
    let topic = topic("read-back", 3).await;
    fill(&publisher(&topic), 3, 0, 2_000).await;
    let reader = LogReader::new(&brokers(), &topic).unwrap();
    assert_eq!(reader.partitions().await.unwrap(), 3);
    let ranges = reader.everything().await.unwrap();
    assert_eq!(ranges[2], Range { partition: 2, start: 0, end: 2_000 });
    let mut scan = reader.scan(&ranges, 300).unwrap();
    let mut next = [0; 3];
    while let Some(batch) = scan.next().await.unwrap() {
        assert!(batch.len() <= 300);
        let expected = &mut next[usize::try_from(batch.partition()).unwrap()];
        assert_eq!(batch.start(), *expected);
        *expected = batch.end();
        check(&batch);
    }
    assert_eq!(next, [2_000; 3]);
}

#[tokio::test]
async fn a_follower_gets_what_was_there_and_then_what_comes_and_times_lead_to_offsets() {
    let topic = topic("follow", 3).await;
    let publisher = publisher(&topic);
    fill(&publisher, 3, 0, 500).await;
    let reader = LogReader::new(&brokers(), &topic).unwrap();
    let mut follower = reader.follow(&[(0, 100), (2, 500)].into(), 64).unwrap();
    let mut next = [100, 0, 500];
    let mut take = async |until: [i64; 3]| {
        while next != until {
            let batch = follower.next().await.unwrap().unwrap();
            let expected = &mut next[usize::try_from(batch.partition()).unwrap()];
            assert_eq!(batch.start(), *expected);
            assert!(batch.len() <= 64);
            *expected = batch.end();
            check(&batch);
        }
    };
    take([500, 0, 500]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    fill(&publisher, 3, 500, 10).await;
    take([510, 0, 510]).await;

    let appended = async |offset| {
        reader.fetch_one(1, offset).await.unwrap().iter().map(|record| record.append_time_ms).next().unwrap()
    };
    assert_eq!(reader.offset_at(1, appended(500).await).await.unwrap(), 500);
    assert_eq!(reader.offset_at(1, appended(499).await + 1).await.unwrap(), 500);
    assert_eq!(reader.offset_at(1, 0).await.unwrap(), 0);
    assert_eq!(reader.offset_at(1, appended(509).await + 1).await.unwrap(), 510);
    let error = reader.follow(&[(1, 511)].into(), 64).unwrap().next().await.unwrap_err();
    assert_eq!(error, StreamError::OffsetMissing { partition: 1, offset: 511, low: 0, high: 510 });
}

#[tokio::test]
async fn one_record_is_fetched_by_its_offset_and_a_missing_one_is_named() {
    let topic = topic("fetch-one", 1).await;
    fill(&publisher(&topic), 1, 0, 20).await;
    let reader = LogReader::new(&brokers(), &topic).unwrap();
    let batch = reader.fetch_one(0, 7).await.unwrap();
    assert_eq!((batch.start(), batch.len()), (7, 1));
    check(&batch);
    let missing = reader.fetch_one(0, 20).await.unwrap_err();
    assert_eq!(missing, StreamError::OffsetMissing { partition: 0, offset: 20, low: 0, high: 20 });
}

#[tokio::test]
async fn a_range_beyond_the_log_is_refused() {
    let topic = topic("beyond", 1).await;
    fill(&publisher(&topic), 1, 0, 5).await;
    let reader = LogReader::new(&brokers(), &topic).unwrap();
    let mut scan = reader.scan(&[Range { partition: 0, start: 0, end: 6 }], 100).unwrap();
    let error = scan.next().await.unwrap_err();
    assert_eq!(error, StreamError::OffsetMissing { partition: 0, offset: 5, low: 0, high: 5 });
}

#[tokio::test]
async fn the_same_topic_is_created_once_and_another_shape_is_refused() {
    let name = unique("twice");
    assert_eq!(spec(&name, 2).create(&brokers()).await, Ok(Created::New));
    assert_eq!(spec(&name, 2).create(&brokers()).await, Ok(Created::AlreadyThere));
    let text = spec(&name, 4).create(&brokers()).await.unwrap_err().to_string();
    assert!(text.contains("it has 2 partitions, wanted 4"), "{text}");
}

#[tokio::test]
async fn a_topic_without_append_times_is_refused_by_all() {
    let name = unique("create-time");
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let plain = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    admin.create_topics([&plain], &AdminOptions::new()).await.unwrap();
    let text = spec(&name, 1).create(&brokers()).await.unwrap_err().to_string();
    assert!(text.contains("message.timestamp.type is CreateTime, wanted LogAppendTime"), "{text}");

    publisher(&name).publish(0, b"org", b"0").await.unwrap();
    let error = LogReader::new(&brokers(), &name).unwrap().fetch_one(0, 0).await.unwrap_err();
    assert_eq!(error, StreamError::NotAppendTime { topic: name });
}

#[tokio::test]
async fn a_record_over_the_limit_is_refused_and_one_of_a_mebibyte_is_not() {
    let topic = topic("sizes", 1).await;
    let publisher = publisher(&topic);
    publisher.publish(0, b"org", &vec![7; 1 << 20]).await.unwrap();
    let error = publisher.publish(0, b"org", &vec![7; 3 << 20]).await.unwrap_err();
    assert_eq!(error, StreamError::TooLarge { bytes: (3 << 20) + 3 });
}

#[tokio::test]
async fn unknown_topics_and_brokers_that_are_away_are_named_within_seconds() {
    let reader = LogReader::new(&brokers(), &unique("nowhere")).unwrap();
    let text = reader.partitions().await.unwrap_err().to_string();
    assert!(text.contains("does not exist") || text.contains("Unknown topic"), "{text}");

    let began = Instant::now();
    let away = "127.0.0.1:1";
    let text = LogReader::new(away, "t").unwrap().partitions().await.unwrap_err().to_string();
    assert!(text.contains("no broker answers at 127.0.0.1:1"), "{text}");
    let options =
        PublisherOptions { message_timeout: Duration::from_secs(2), ..PublisherOptions::new(away, "t") };
    let error = Publisher::new(&options).unwrap().publish(0, b"k", b"v").await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(away), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
}
