//! What commands work with: the configuration, and connections made when they are first needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fluxori_applier::context_of;
use fluxori_archive::{Archive, Source};
use fluxori_core::digest::Digest;
use fluxori_core::fold::{Context, Halt, LogIdentity};
use fluxori_core::rates::{Rates, SharedRates};
use fluxori_core::time::Timestamp;
use fluxori_ledger::{GlobalRecord, Ledger, Schema};
use fluxori_runtime::config::{self, Config, KafkaConfig, Sources};
use fluxori_stream::{LogReader, Publisher, PublisherOptions, StreamError, Watermarks};
use fluxori_wire::Issuer;
use tokio::sync::OnceCell;

use crate::error::CliError;
use crate::output::Output;

/// How long brokers that are there may take to answer for a partition.
const SETTLING: Duration = Duration::from_secs(5);

/// One run of the tool.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) output: Output,
    ledger: OnceCell<Ledger>,
    /// The rates that the partitions have in common.
    rates: Arc<SharedRates>,
}

impl Session {
    /// Reads the configuration that the services read, too.
    pub(crate) fn start(
        config_file: Option<PathBuf>,
        output: Output,
        verbose: bool,
    ) -> Result<Self, CliError> {
        let config = config::load(&Sources::of_process(config_file))?;
        if verbose {
            fluxori_runtime::telemetry::init_logs(&config.telemetry)?;
        }
        Ok(Self { config, output, ledger: OnceCell::new(), rates: Arc::default() })
    }

    pub(crate) fn kafka(&self) -> Result<&KafkaConfig, CliError> {
        Ok(self.config.require_kafka()?)
    }

    pub(crate) fn reader(&self) -> Result<LogReader, CliError> {
        let kafka = self.kafka()?;
        Ok(LogReader::new(&kafka.brokers, &kafka.topic)?)
    }

    pub(crate) fn publisher(&self) -> Result<Publisher, CliError> {
        let kafka = self.kafka()?;
        Ok(Publisher::new(&PublisherOptions::new(&*kafka.brokers, &*kafka.topic))?)
    }

    /// The ledger's database.
    pub(crate) async fn ledger(&self) -> Result<Ledger, CliError> {
        let connect = async || {
            let postgres = self.config.require_postgres()?;
            Ledger::connect(postgres.url.expose(), postgres.max_connections).await.map_err(CliError::Connect)
        };
        self.ledger.get_or_try_init(connect).await.cloned()
    }

    /// The ledger in a schema of choice.
    pub(crate) async fn ledger_in(&self, schema: &Schema) -> Result<Ledger, CliError> {
        let postgres = self.config.require_postgres()?;
        Ledger::connect_to(postgres.url.expose(), schema, postgres.max_connections)
            .await
            .map_err(CliError::Connect)
    }

    /// The address of the ledger's database for its owner.
    pub(crate) fn owner_url(&self) -> Result<&str, CliError> {
        Ok(match &self.config.postgres.migrate_url {
            Some(url) if !url.is_empty() => url.expose(),
            _ => self.config.require_postgres()?.url.expose(),
        })
    }

    /// Where the log's records come from: an archive, if one is named, and then the topic.
    pub(crate) async fn source(&self, archive: Option<&Path>) -> Result<(Source, LogIdentity), CliError> {
        let reader = self.reader()?;
        let log = self.log(&reader).await?;
        let archive = archive.map(|folder| Archive::open_of_log(folder, log.digest)).transpose()?;
        Ok((Source::new(archive, reader), log))
    }

    /// The digest of the genesis that the configuration names, if it names one.
    pub(crate) fn pinned(&self) -> Option<Digest> {
        self.config.log.genesis.map(|genesis| Digest(*genesis.bytes()))
    }

    /// The log, as its genesis in partition 0 describes it; any other than the pinned one is refused.
    pub(crate) async fn log(&self, reader: &LogReader) -> Result<LogIdentity, CliError> {
        identify(reader, 0, self.pinned()).await?.ok_or(Halt::NoGenesis { partition: 0 }.into())
    }

    /// What holds in a partition after these global records.
    pub(crate) fn context(&self, partition: i32, globals: &[GlobalRecord]) -> Result<Context, CliError> {
        Ok(context_of(partition, self.pinned(), globals, &self.rates)?)
    }

    /// The rates that the ledger has in force: those of one partition, for a revision goes into all of them.
    pub(crate) async fn rates(&self) -> Result<Arc<Rates>, CliError> {
        let globals = self.ledger().await?.global_records(0).await?;
        Ok(Arc::clone(self.context(0, &globals)?.rates()))
    }

    /// The issuer whose key signs the tool's commands.
    pub(crate) fn issuer(&self, log: &LogIdentity) -> Result<Issuer, CliError> {
        let path = &self.config.cli.issuer_key_file;
        self.issuer_in(path, log, "FLUXORI__CLI__ISSUER_KEY_FILE (cli.issuer_key_file)")
    }

    /// The issuer whose key is in a file; `mend` says where the right file is named.
    pub(crate) fn issuer_in(&self, path: &Path, log: &LogIdentity, mend: &str) -> Result<Issuer, CliError> {
        let issuer = Issuer::read(path)?;
        if issuer.log_id() != log.genesis.log_id {
            return Err(CliError::Refused(format!(
                "the key in {} is for log {}, and topic {} is log {}; name the right key file with \
                 {mend}",
                path.display(),
                issuer.log_id(),
                self.config.kafka.topic,
                log.genesis.log_id,
            )));
        }
        Ok(issuer)
    }
}

/// The offsets that a partition holds. Right after a topic was created, brokers do not know yet who leads which
/// partition: they are asked again for a few seconds.
pub(crate) async fn watermarks(reader: &LogReader, partition: i32) -> Result<Watermarks, CliError> {
    let deadline = Instant::now() + SETTLING;
    loop {
        match reader.watermarks(partition).await {
            // A partition that the client has not heard of yet is refused by itself.
            Err(error)
                if (error.is_transient() || matches!(error, StreamError::Refused { .. }))
                    && Instant::now() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return Ok(answer?),
        }
    }
}

/// The log that a partition belongs to by its first record, the genesis or a copy of it; none if the partition is empty.
pub(crate) async fn identify(
    reader: &LogReader,
    partition: i32,
    pinned: Option<Digest>,
) -> Result<Option<LogIdentity>, CliError> {
    // A topic that was just created is waited for.
    if watermarks(reader, partition).await?.high == 0 {
        return Ok(None);
    }
    let batch = reader.first(partition).await?;
    let Some(first) = batch.as_ref().and_then(|batch| batch.iter().next()) else { return Ok(None) };
    let append_time = Timestamp::from_millis(first.append_time_ms);
    let record = fluxori_wire::decode(first.key, first.value, append_time);
    Ok(Some(LogIdentity::of_first_record(partition, pinned, &record)?))
}

/// The second that has begun. Brokers stamp records by their own clocks, in milliseconds: what takes effect a moment after
/// its own record would wait for the partition's next one.
pub(crate) fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.micros() - now.micros().rem_euclid(1_000_000))
}
