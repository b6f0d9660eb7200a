//! What a broker's refusal of a commit leads to, against the client library's mock cluster, which can
//! be told to refuse.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Member, options, until};
use fluxori_stream::{Batches, GroupHandle, Processor, TakeOver, WorkerEnd};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio_util::sync::CancellationToken;

/// Commits once as soon as it runs.
#[derive(Clone, Default)]
struct Eager {
    outcomes: Arc<Mutex<Vec<Result<(), bool>>>>,
}

impl Processor for Eager {
    type Worker = GroupHandle;

    async fn take_over(
        &self,
        _: i32,
        group: GroupHandle,
        _: CancellationToken,
    ) -> Result<TakeOver<GroupHandle>, WorkerEnd> {
        Ok(TakeOver { start: 0, worker: group })
    }

    async fn run(&self, group: GroupHandle, _: Batches, stop: CancellationToken) -> WorkerEnd {
        let outcome = group.commit(0, 0, "sealed").await;
        self.outcomes.lock().unwrap().push(outcome.clone().map_err(|error| error.is_fenced()));
        if let Err(error) = outcome {
            return WorkerEnd::Rejoin(error.to_string());
        }
        stop.cancelled().await;
        WorkerEnd::Stopped
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_commit_is_told_apart_and_the_partition_is_taken_over_anew() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("fenced", 1, 1).unwrap();
    cluster
        .request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION]);
    let eager = Eager::default();
    let member = Member::start(options("fenced", &cluster.bootstrap_servers()), eager.clone());
    until("the second commit", || eager.outcomes.lock().unwrap().len() == 2).await;
    assert_eq!(*eager.outcomes.lock().unwrap(), [Err(true), Ok(())]);
    tokio::time::timeout(Duration::from_secs(20), member.stop()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_shown_and_ends_by_itself() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("outage", 1, 1).unwrap();
    cluster.broker_down(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let mut member = Member::start(options("outage", &brokers), Eager::default());
    let status = member.until("the outage shows", |status| status.trouble.is_some()).await;
    assert_eq!(status.not_ready(), Some(format!("no broker answers at {brokers}")));
    cluster.broker_up(1).unwrap();
    member.until("it works", |status| status.joined && status.not_ready().is_none()).await;
    member.stop().await.unwrap();
}
