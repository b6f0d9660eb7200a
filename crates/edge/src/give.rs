//! Giving a command: sign it, publish it to its org's partition, wait until the ledger has come to it.

use axum::http::StatusCode;
use fluxori_core::command::{Command, CommandBody};
use fluxori_core::id::{CommandId, OrgId};
use fluxori_ledger::{CommandOutcome, LedgerError, QuarantinedRecord};
use fluxori_runtime::http::Problem;
use fluxori_stream::StreamError;
use fluxori_wire::WireError;

use crate::refusal::{Refusal, of_ledger};
use crate::state::Edge;

/// What became of a command that was published.
#[derive(Debug)]
pub(crate) enum Fate {
    /// The ledger has judged it, now or when it came before.
    Judged(CommandOutcome),
    /// The ledger has set its record aside.
    Quarantined(QuarantinedRecord),
    /// The log has it, and the ledger will come to it.
    Pending {
        /// The offset of its record.
        offset: i64,
    },
}

impl Edge {
    /// What became of a command that may have been given before.
    pub(crate) async fn outcome(
        &self,
        org: &OrgId,
        id: CommandId,
    ) -> Result<Option<CommandOutcome>, LedgerError> {
        self.ledger.command_outcome(org, id).await
    }

    /// Gives a command of an org.
    ///
    /// # Errors
    /// 503 if the broker did not acknowledge it: it may be in the log all the same. Once the log has it, a ledger
    /// that does not answer is no error but [`Fate::Pending`].
    pub(crate) async fn give(&self, org: &OrgId, command: &Command) -> Result<Fate, Refusal> {
        let place = self.place(org)?;
        debug_assert_eq!(command.body.org(), Some(org));
        let value = self.issuer.sign(command).map_err(|error| match error {
            WireError::TooLarge(_) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                Refusal::new(status, "too-large", "The command is too large for the log", error.to_string())
            }
            error => Problem::internal(error).into(),
        })?;
        let published = self.publisher.publish(place.partition, org.as_str().as_bytes(), &value).await;
        let offset = published.map_err(not_published)?.offset;
        tracing::info!(command_id = %command.command_id, %org, kind = %command.body.kind(), actor = command.actor,
            partition = place.partition, offset, "gave a command");
        match self.fate(org, command.command_id, place.partition, offset).await {
            Ok(fate) => Ok(fate),
            Err(error) if of_ledger(&error).is_some() => Ok(Fate::Pending { offset }),
            Err(error) => Err(error.into()),
        }
    }

    /// What the command of an outcome says in the log; none where that does not hold it any more.
    ///
    /// # Errors
    /// 503 if the log cannot be read.
    pub(crate) async fn recorded(&self, outcome: &CommandOutcome) -> Result<Option<CommandBody>, Refusal> {
        let batch = match self.reader.fetch_one(outcome.partition, outcome.offset).await {
            Ok(batch) => batch,
            Err(StreamError::OffsetMissing { .. }) => return Ok(None),
            Err(error) if error.is_transient() => return Err(Problem::unavailable("Kafka").into()),
            Err(error) => return Err(Problem::internal(error).into()),
        };
        let record = batch.iter().next();
        Ok(record.and_then(|record| fluxori_wire::decode_command_body(record.value, outcome.payload_digest)))
    }

    async fn fate(
        &self,
        org: &OrgId,
        id: CommandId,
        partition: i32,
        offset: i64,
    ) -> Result<Fate, LedgerError> {
        if self.progress.passed(partition, offset).await.is_err() {
            return Ok(Fate::Pending { offset });
        }
        // An id that was given before under another content is in the quarantine, and the first outcome stands.
        if let Some(outcome) = self.outcome(org, id).await? {
            return Ok(Fate::Judged(outcome));
        }
        let record = self.ledger.quarantined_at(Some(org), partition, offset).await?;
        Ok(record.map_or(Fate::Pending { offset }, Fate::Quarantined))
    }
}

fn not_published(error: StreamError) -> Refusal {
    match error {
        StreamError::Unreachable { .. } | StreamError::QueueFull => Problem::unavailable("Kafka").into(),
        StreamError::NotAcknowledged { .. } => {
            tracing::warn!(%error, "a command was not acknowledged");
            Problem::unavailable("Kafka")
                .detail(
                    "Kafka did not acknowledge the command, which may be in the log all the same; try again with the \
                     same Idempotency-Key, or look first whether it was carried out",
                )
                .into()
        }
        error => Problem::internal(error).into(),
    }
}
