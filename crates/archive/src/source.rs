//! An archive and the log behind it, as one.

use fluxori_stream::{Batch, LogReader, Range, Scan};

use crate::archive::{Archive, ArchiveScan};
use crate::error::ArchiveError;

/// Where records come from: an archive as far as it goes, then the log.
#[derive(Debug, Clone)]
pub struct Source {
    archive: Option<Archive>,
    log: LogReader,
}

impl Source {
    /// The log alone, or what an archive holds of it and then the log.
    #[must_use]
    pub const fn new(archive: Option<Archive>, log: LogReader) -> Self {
        Self { archive, log }
    }

    /// The log behind the archive.
    #[must_use]
    pub const fn log(&self) -> &LogReader {
        &self.log
    }

    /// Reads ranges, at most one of each partition: first what the archive holds of them, one after the other, then the
    /// rest from the log. Batches of one partition come in order and without gaps.
    ///
    /// # Errors
    /// [`ArchiveError::Missing`] if neither has some of the records, [`ArchiveError::Stream`].
    pub async fn scan(&self, ranges: &[Range], max_records: usize) -> Result<SourceScan, ArchiveError> {
        let mut rest = Vec::new();
        for range in ranges {
            let archive_end = self.archive.as_ref().map(|archive| archive.end(range.partition));
            let start =
                archive_end.map_or(range.start, |end| end.clamp(range.start, range.end.max(range.start)));
            if start >= range.end {
                continue;
            }
            let low = self.log.watermarks(range.partition).await?.low;
            if low > start {
                return Err(ArchiveError::Missing {
                    partition: range.partition,
                    first: start,
                    last: low.min(range.end).saturating_sub(1),
                    archive_end,
                    low,
                });
            }
            rest.push(Range { start, ..*range });
        }
        let archived = self.archive.as_ref().map(|archive| archive.scan(ranges, max_records));
        Ok(SourceScan { archived, rest, max_records, log: self.log.clone(), scan: None })
    }
}

/// The batches of a scan; dropping it ends the scan.
#[derive(Debug)]
pub struct SourceScan {
    archived: Option<ArchiveScan>,
    rest: Vec<Range>,
    max_records: usize,
    log: LogReader,
    scan: Option<Scan>,
}

impl SourceScan {
    /// The next batch, or none when all ranges are read.
    ///
    /// # Errors
    /// As [`ArchiveScan::next`] and [`Scan::next`].
    pub async fn next(&mut self) -> Result<Option<Batch>, ArchiveError> {
        if let Some(archived) = &mut self.archived {
            if let Some(batch) = archived.next().await? {
                return Ok(Some(batch));
            }
            self.archived = None;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let scan = match &mut self.scan {
            Some(scan) => scan,
            none => none.insert(self.log.scan(&self.rest, self.max_records)?),
        };
        Ok(scan.next().await?)
    }
}
