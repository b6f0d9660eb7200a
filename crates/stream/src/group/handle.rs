use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::context::GroupContext;
use crate::StreamError;
use crate::client::{ANSWER, blocking};
use crate::reader::{Watermarks, watermarks};

/// An offset that was committed to the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset of the next record.
    pub offset: i64,
    /// The text that was committed with it.
    pub metadata: String,
}

/// The group as the owner of an assignment sees it. It is cut off when the assignment is given up, so
/// that a worker left behind cannot commit in the name of the generation after it.
#[derive(Clone)]
pub struct GroupHandle {
    consumer: Weak<BaseConsumer<GroupContext>>,
    topic: Arc<str>,
    given_up: Arc<AtomicBool>,
}

impl std::fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupHandle")
            .field("topic", &self.topic)
            .field("given_up", &self.given_up)
            .finish_non_exhaustive()
    }
}

impl GroupHandle {
    pub(super) fn new(
        consumer: &Arc<BaseConsumer<GroupContext>>,
        topic: Arc<str>,
        given_up: Arc<AtomicBool>,
    ) -> Self {
        Self { consumer: Arc::downgrade(consumer), topic, given_up }
    }

    /// What is committed for a partition, or none.
    ///
    /// # Errors
    /// [`StreamError::Fenced`] after the assignment was given up, [`StreamError::Unreachable`].
    pub async fn committed(&self, partition: i32) -> Result<Option<Committed>, StreamError> {
        self.call(partition, move |consumer, topic| {
            let failed = |error| {
                let action = format!("read the committed offset of partition {partition}");
                StreamError::from_call(consumer.context().log.brokers(), action, &error)
            };
            let mut asked = TopicPartitionList::new();
            asked.add_partition(topic, partition);
            let found = consumer.committed_offsets(asked, ANSWER).map_err(failed)?;
            let Some(element) = found.find_partition(topic, partition) else { return Ok(None) };
            element.error().map_err(failed)?;
            Ok(match element.offset() {
                Offset::Offset(offset) => Some(Committed { offset, metadata: element.metadata().to_owned() }),
                _ => None,
            })
        })
        .await
    }

    /// Commits an offset (of the next record) and a text (up to 4 KB) for a partition, and waits for the
    /// broker's answer. It counts only for a member of the present generation.
    ///
    /// # Errors
    /// [`StreamError::Fenced`] if the group has moved on; [`StreamError::CommitUnknown`] if it may or may
    /// not have been committed. After either, end with [`super::WorkerEnd::Rejoin`].
    pub async fn commit(&self, partition: i32, offset: i64, metadata: &str) -> Result<(), StreamError> {
        let metadata = metadata.to_owned();
        let committed = self.call(partition, move |consumer, topic| {
            let failed = |error| StreamError::from_commit(partition, &error);
            let mut wanted = TopicPartitionList::new();
            let mut element = wanted.add_partition(topic, partition);
            element.set_offset(Offset::Offset(offset)).map_err(failed)?;
            element.set_metadata(&metadata);
            consumer.commit(&wanted, CommitMode::Sync).map_err(failed)
        });
        // The client library waits for its coordinator as long as it takes.
        tokio::time::timeout(ANSWER * 3, committed).await.unwrap_or_else(|_| {
            Err(StreamError::CommitUnknown { partition, reason: "no answer within 30 s".into() })
        })
    }

    /// The offsets that the broker holds of a partition.
    ///
    /// # Errors
    /// [`StreamError::Fenced`] after the assignment was given up, [`StreamError::Unreachable`].
    pub async fn watermarks(&self, partition: i32) -> Result<Watermarks, StreamError> {
        self.call(partition, move |consumer, topic| {
            watermarks(consumer, consumer.context().log.brokers(), topic, partition, ANSWER)
        })
        .await
    }

    async fn call<T: Send + 'static>(
        &self,
        partition: i32,
        call: impl FnOnce(&BaseConsumer<GroupContext>, &str) -> Result<T, StreamError> + Send + 'static,
    ) -> Result<T, StreamError> {
        let handle = self.clone();
        blocking(move || {
            let gone = || StreamError::Fenced { partition, reason: "the assignment was given up".into() };
            let consumer = handle.consumer.upgrade().ok_or_else(gone)?;
            if handle.given_up.load(Ordering::Acquire) {
                return Err(gone());
            }
            call(&consumer, &handle.topic)
        })
        .await
    }
}
