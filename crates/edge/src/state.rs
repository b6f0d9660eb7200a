//! What all requests share.

use std::sync::{Arc, OnceLock};

use fluxori_core::command::Genesis;
use fluxori_core::id::OrgId;
use fluxori_core::record::partition_of;
use fluxori_ledger::Ledger;
use fluxori_runtime::auth::Caller;
use fluxori_runtime::http::Problem;
use fluxori_stream::{LogReader, Publisher};
use fluxori_wire::{Issuer, Position};

use crate::at_least::{Progress, wanted_offset};
use crate::explain::Explaining;
use crate::lag::Watermarks;
use crate::rates::RatesInForce;
use crate::refusal::Refusal;
use crate::turns::Turns;

/// The edge's connections and what it knows of the log.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) ledger: Ledger,
    pub(crate) rates: RatesInForce,
    pub(crate) explaining: Explaining,
    /// Of estimates, whose tokens are counted.
    pub(crate) estimates: Turns,
    pub(crate) publisher: Publisher,
    pub(crate) reader: LogReader,
    pub(crate) issuer: Issuer,
    pub(crate) progress: Progress,
    pub(crate) watermarks: Arc<Watermarks>,
    /// Known once the genesis record has been read and found to be the pinned one.
    pub(crate) log: OnceLock<Genesis>,
}

/// An org whose caller may see it, and where its records lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'e> {
    log: &'e Genesis,
    /// The org's partition.
    pub(crate) partition: i32,
}

impl Place<'_> {
    /// The position of a record of the org, as callers get it.
    pub(crate) fn position(&self, offset: i64) -> String {
        Position::of(self.log.log_id, self.partition, offset).to_string()
    }

    /// The position of all that a cursor has passed; none before the first record.
    pub(crate) fn position_before(&self, next_offset: i64) -> Option<String> {
        (next_offset > 0).then(|| self.position(next_offset - 1))
    }
}

impl Edge {
    /// Where an org's records lie.
    ///
    /// # Errors
    /// 503 while the log was not read yet, because Kafka is away.
    pub(crate) fn place(&self, org: &OrgId) -> Result<Place<'_>, Refusal> {
        let log = self.log.get().ok_or_else(|| Problem::unavailable("Kafka"))?;
        Ok(Place { log, partition: partition_of(org.as_str().as_bytes(), log.partitions) })
    }

    /// The beginning of every read: who asks may see the org, and the ledger has passed `at_least` in its partition.
    ///
    /// # Errors
    /// 400, 403, 409, 503 or 504.
    pub(crate) async fn read(
        &self,
        caller: &Caller,
        org_id: &str,
        at_least: Option<&str>,
    ) -> Result<(OrgId, Place<'_>), Refusal> {
        let org = OrgId::new(org_id).map_err(|error| Refusal::parameter("org_id", error))?;
        caller.require(org.as_str())?;
        let place = self.place(&org)?;
        if let Some(text) = at_least
            && let Some(offset) = wanted_offset(text, place.log.log_id, place.partition)?
        {
            self.progress.passed(place.partition, offset).await?;
        }
        Ok((org, place))
    }
}
