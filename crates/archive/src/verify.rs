//! Reading an archive back, and comparing it with the log where the log still has its records.

use fluxori_core::digest::Digest;
use fluxori_core::fold::LogIdentity;
use fluxori_core::time::Timestamp;
use fluxori_stream::{Batch, LogReader, Range, Scan};

use crate::archive::Archive;
use crate::error::ArchiveError;

const BATCH: usize = 5_000;

/// A partition of an archive that is as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPartition {
    /// The partition.
    pub partition: i32,
    /// The offset after its last record.
    pub end_offset: i64,
    /// The running digest over all its records.
    pub digest: Digest,
    /// How many records the log still holds, and holds alike.
    pub compared: i64,
    /// Where the genesis and its copies lie: the log may begin at any of them.
    pub beginnings: Vec<i64>,
}

/// Reads one partition of an archive: its offsets are contiguous from 0, its digests right, its first record is the
/// genesis of the archive's log, and the log, if named, holds the same records where it still holds them. Tells `seen`
/// how many records were read.
///
/// # Errors
/// What is wrong: [`ArchiveError::Damaged`], [`ArchiveError::Genesis`], [`ArchiveError::Differs`]; or
/// [`ArchiveError::File`] and [`ArchiveError::Stream`] if it cannot be told.
pub async fn verify(
    archive: &Archive,
    partition: i32,
    log: Option<&LogReader>,
    seen: impl Fn(usize),
) -> Result<VerifiedPartition, ArchiveError> {
    let end_offset = archive.end(partition);
    let mut beside = match log {
        Some(log) => Beside::begin(log, partition, end_offset).await?,
        None => Beside { scan: None, from: end_offset, batch: None },
    };
    let compared = end_offset - beside.from;
    let mut beginnings = Vec::new();
    let mut genesis: Option<Vec<u8>> = None;
    let mut scan = archive.scan(&[Range { partition, start: 0, end: end_offset }], BATCH);
    while let Some(batch) = scan.next().await? {
        for record in batch.iter() {
            let value = record.value.unwrap_or_default();
            if record.offset == 0 {
                let append_time = Timestamp::from_millis(record.append_time_ms);
                let first = fluxori_wire::decode(record.key, record.value, append_time);
                LogIdentity::of_first_record(partition, Some(archive.genesis()), &first)?;
                genesis = Some(value.to_vec());
            }
            let is_global = record.key == Some(fluxori_core::id::GLOBAL_KEY.as_bytes());
            if is_global && genesis.as_deref() == Some(value) {
                beginnings.push(record.offset);
            }
        }
        beside.compare(&batch).await?;
        seen(batch.len());
    }
    Ok(VerifiedPartition { partition, end_offset, digest: archive.digest(partition), compared, beginnings })
}

/// The log's own records, read beside the archive's.
struct Beside {
    scan: Option<Scan>,
    /// The first offset that is compared.
    from: i64,
    batch: Option<Batch>,
}

impl Beside {
    async fn begin(log: &LogReader, partition: i32, end: i64) -> Result<Self, ArchiveError> {
        let watermarks = log.watermarks(partition).await?;
        if watermarks.high < end {
            return Err(ArchiveError::Differs { partition, offset: watermarks.high });
        }
        let from = watermarks.low.min(end);
        let scan = log.scan(&[Range { partition, start: from, end }], BATCH)?;
        Ok(Self { scan: Some(scan), from, batch: None })
    }

    /// Reads on in the log up to the end of an archived batch, and compares.
    async fn compare(&mut self, archived: &Batch) -> Result<(), ArchiveError> {
        let Some(scan) = &mut self.scan else { return Ok(()) };
        let (_, mut archived) = archived.clone().split_at(self.from);
        while !archived.is_empty() {
            let batch = match self.batch.take() {
                Some(batch) => batch,
                None => {
                    scan.next().await?.unwrap_or_else(|| Batch::new(archived.partition(), archived.start()))
                }
            };
            let end = archived.end().min(batch.end());
            let ((left, more_archived), (right, more)) = (archived.split_at(end), batch.split_at(end));
            let mut pairs = left.iter().zip(right.iter());
            let differs = pairs.find(|(left, right)| left != right).map(|(left, _)| left.offset);
            if let Some(offset) = differs.or((left.len() != right.len() || left.is_empty()).then_some(end)) {
                return Err(ArchiveError::Differs { partition: left.partition(), offset });
            }
            archived = more_archived;
            self.batch = (!more.is_empty()).then_some(more);
        }
        Ok(())
    }
}
