//! The log's topic: created once, with append times, and kept until its records are archived.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::StreamError;
use crate::client::{ANSWER, BrokerLog, MAX_RECORD_BYTES, base, blocking};

/// The topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions; chosen once.
    pub partitions: i32,
    /// On how many brokers each partition lies.
    pub replication: i32,
    /// How many of them must have a record before it is acknowledged.
    pub min_insync_replicas: i32,
}

/// Whether the topic is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was created now.
    New,
    /// It was there already, as wanted.
    AlreadyThere,
}

const APPEND_TIME: (&str, &str) = ("message.timestamp.type", "LogAppendTime");

impl TopicSpec {
    /// Creates the topic, or finds that it exists as wanted, and waits until it can be used.
    ///
    /// # Errors
    /// [`StreamError::TopicDiffers`] if it exists with other partitions or without append times,
    /// [`StreamError::Unreachable`] without brokers, [`StreamError::Refused`] as they say.
    pub async fn create(&self, brokers: &str) -> Result<Created, StreamError> {
        let admin = AdminClient::from_config_and_context(&base(brokers), BrokerLog::new(brokers));
        let admin = Arc::new(admin.map_err(|error| StreamError::Setup(error.to_string()))?);
        let min_insync = self.min_insync_replicas.to_string();
        let mut topic = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(self.replication));
        for (key, value) in [
            APPEND_TIME,
            ("cleanup.policy", "delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("min.insync.replicas", &min_insync),
            ("unclean.leader.election.enable", "false"),
            ("max.message.bytes", MAX_RECORD_BYTES),
        ] {
            topic = topic.set(key, value);
        }
        let action = format!("create topic {}", self.name);
        let failed = |error: &KafkaError| StreamError::from_call(brokers, action.clone(), error);
        let results = admin.create_topics([&topic], &options()).await.map_err(|error| failed(&error))?;
        let created = match results.into_iter().next() {
            Some(Err((_, Code::TopicAlreadyExists))) => Created::AlreadyThere,
            Some(Err((_, code))) => return Err(failed(&KafkaError::AdminOp(code))),
            Some(Ok(_)) | None => Created::New,
        };
        self.wait_until_usable(&admin, created).await?;
        if created == Created::AlreadyThere {
            self.compare(&admin).await?;
        }
        Ok(created)
    }

    /// Waits for a leader of every partition, which takes a moment after the creation.
    async fn wait_until_usable(
        &self,
        admin: &Arc<AdminClient<BrokerLog>>,
        created: Created,
    ) -> Result<(), StreamError> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let (asked, name) = (Arc::clone(admin), self.name.clone());
            let (found, led) = blocking(move || {
                let client = asked.inner();
                let metadata = client.fetch_metadata(Some(&name), ANSWER).map_err(|error| {
                    StreamError::from_call(
                        client.context().brokers(),
                        format!("describe topic {name}"),
                        &error,
                    )
                })?;
                let partitions =
                    metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
                let led = partitions.iter().filter(|partition| partition.leader() >= 0).count();
                Ok((
                    i32::try_from(partitions.len()).unwrap_or(i32::MAX),
                    i32::try_from(led).unwrap_or(i32::MAX),
                ))
            })
            .await?;
            if created == Created::AlreadyThere && found > 0 && found != self.partitions {
                return Err(self.differs(format!("it has {found} partitions, wanted {}", self.partitions)));
            }
            if led == self.partitions {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(StreamError::Unreachable {
                    brokers: admin.inner().context().brokers().into(),
                    action: format!("wait for the leaders of topic {}", self.name),
                    reason: format!("{led} of {} partitions have one", self.partitions),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn compare(&self, admin: &AdminClient<BrokerLog>) -> Result<(), StreamError> {
        let topic = ResourceSpecifier::Topic(&self.name);
        let brokers = admin.inner().context().brokers().to_owned();
        let failed = |error: &KafkaError| {
            StreamError::from_call(&brokers, format!("read the settings of topic {}", self.name), error)
        };
        let described = admin.describe_configs([&topic], &options()).await.map_err(|error| failed(&error))?;
        let settings = match described.into_iter().next() {
            Some(Ok(settings)) => settings,
            Some(Err(code)) => return Err(failed(&KafkaError::AdminOp(code))),
            None => return Ok(()),
        };
        let differences: Vec<_> = [APPEND_TIME, ("cleanup.policy", "delete")]
            .into_iter()
            .filter_map(|(key, wanted)| {
                let found = settings.get(key)?.value.as_deref().unwrap_or("(nothing)");
                (found != wanted).then(|| format!("{key} is {found}, wanted {wanted}"))
            })
            .collect();
        if differences.is_empty() { Ok(()) } else { Err(self.differs(differences.join("; "))) }
    }

    fn differs(&self, differences: String) -> StreamError {
        StreamError::TopicDiffers { topic: self.name.clone(), differences }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}
