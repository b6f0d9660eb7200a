//! Deleting the beginning of the log, once it is archived and nobody needs it there any more.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::StreamError;
use crate::client::{ANSWER, BrokerLog, base, base_consumer, blocking};

/// What a group has committed for the partitions of a topic: the offset of the next record that it will read, by
/// partition. A partition for which it has committed nothing is left out. The group is asked, not joined.
///
/// # Errors
/// [`StreamError::Unreachable`], [`StreamError::Refused`].
pub async fn committed_offsets(
    brokers: &str,
    topic: &str,
    group: &str,
    partitions: i32,
) -> Result<BTreeMap<i32, i64>, StreamError> {
    let action = format!("read the committed offsets of group {group}");
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    let consumer: BaseConsumer<BrokerLog> = base_consumer(&brokers, group)
        .create_with_context(BrokerLog::new(&brokers))
        .map_err(|error| StreamError::Setup(error.to_string()))?;
    blocking(move || {
        let mut asked = TopicPartitionList::new();
        for partition in 0..partitions {
            asked.add_partition(&topic, partition);
        }
        let failed = |error: KafkaError| StreamError::from_call(&brokers, action.clone(), &error);
        let found = consumer.committed_offsets(asked, ANSWER).map_err(failed)?;
        let mut committed = BTreeMap::new();
        for element in found.elements() {
            element.error().map_err(failed)?;
            if let Offset::Offset(offset) = element.offset() {
                committed.insert(element.partition(), offset);
            }
        }
        Ok(committed)
    })
    .await
}

/// Deletes the records of each partition that lie before its offset, for good.
///
/// # Errors
/// [`StreamError::Unreachable`], [`StreamError::Refused`] as the brokers say; some partitions may have lost their
/// records all the same.
pub async fn delete_before(
    brokers: &str,
    topic: &str,
    offsets: &BTreeMap<i32, i64>,
) -> Result<(), StreamError> {
    let failed = |error: &KafkaError| {
        StreamError::from_call(brokers, format!("delete the beginning of topic {topic}"), error)
    };
    let admin = AdminClient::from_config_and_context(&base(brokers), BrokerLog::new(brokers))
        .map_err(|error| StreamError::Setup(error.to_string()))?;
    let mut wanted = TopicPartitionList::new();
    for (partition, offset) in offsets {
        wanted
            .add_partition_offset(topic, *partition, Offset::Offset(*offset))
            .map_err(|error| failed(&error))?;
    }
    let options = AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
    let done = admin.delete_records(&wanted, &options).await.map_err(|error| failed(&error))?;
    done.elements().iter().try_for_each(|element| element.error().map_err(|error| failed(&error)))
}
