use crate::StreamError;

/// One record as the broker keeps it, without its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// When the broker appended it, in milliseconds since 1970 UTC.
    pub append_time_ms: i64,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value, if it has one.
    pub value: Option<&'a [u8]>,
}

/// Records of one partition with contiguous offsets, their bytes in one arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    partition: i32,
    start: i64,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// Where a record lies in the arena: the key begins where the entry before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    append_time_ms: i64,
    key_end: usize,
    value_end: usize,
    has_key: bool,
    has_value: bool,
}

impl Batch {
    /// A batch without records that begins at offset `start`.
    #[must_use]
    pub fn new(partition: i32, start: i64) -> Self {
        Self { partition, start, bytes: Vec::new(), entries: Vec::new() }
    }

    /// Adds the record at [`Self::end`].
    pub fn push(&mut self, append_time_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.bytes.extend_from_slice(key.unwrap_or_default());
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.entries.push(Entry {
            append_time_ms,
            key_end,
            value_end: self.bytes.len(),
            has_key: key.is_some(),
            has_value: value.is_some(),
        });
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset of the first record.
    #[must_use]
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The offset after the last record: where the next batch starts.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.start.saturating_add(offset(self.entries.len()))
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        let mut begin = 0;
        self.entries.iter().enumerate().map(move |(index, entry)| {
            let slice = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
            let record = Record {
                offset: self.start.saturating_add(offset(index)),
                append_time_ms: entry.append_time_ms,
                key: entry.has_key.then(|| slice(begin, entry.key_end)),
                value: entry.has_value.then(|| slice(entry.key_end, entry.value_end)),
            };
            begin = entry.value_end;
            record
        })
    }

    /// Cuts the batch in two: the records before `at`, and those from `at` on. Where `at` lies
    /// outside, one of them is empty.
    #[must_use]
    pub fn split_at(mut self, at: i64) -> (Self, Self) {
        let at = at.clamp(self.start, self.end());
        let keep = usize::try_from(at - self.start).unwrap_or(usize::MAX).min(self.entries.len());
        let mut entries = self.entries.split_off(keep);
        let cut = self.entries.last().map_or(0, |entry| entry.value_end);
        let bytes = self.bytes.split_off(cut);
        for entry in &mut entries {
            entry.key_end -= cut;
            entry.value_end -= cut;
        }
        let rest = Self { partition: self.partition, start: at, bytes, entries };
        (self, rest)
    }

    /// Adds the records of the batch that follows this one.
    ///
    /// # Errors
    /// [`StreamError::NotAdjacent`] if `next` is of another partition or starts elsewhere than at
    /// [`Self::end`]; this batch is then unchanged.
    pub fn append(&mut self, next: &Self) -> Result<(), StreamError> {
        if next.partition != self.partition || next.start != self.end() {
            return Err(StreamError::NotAdjacent {
                partition: self.partition,
                expected: self.end(),
                found: next.start,
            });
        }
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(&next.bytes);
        self.entries.extend(next.entries.iter().map(|entry| Entry {
            key_end: entry.key_end + shift,
            value_end: entry.value_end + shift,
            ..*entry
        }));
        Ok(())
    }

    /// Room for as many records and bytes as the last batch had, which the next one is likely to need.
    pub(crate) fn following(&self) -> Self {
        let mut next = Self::new(self.partition, self.end());
        next.bytes.reserve(self.bytes.len());
        next.entries.reserve(self.entries.len());
        next
    }
}

fn offset(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(start: i64, values: &[&str]) -> Batch {
        let mut batch = Batch::new(7, start);
        for (index, value) in values.iter().enumerate() {
            let key = (index % 2 == 0).then_some(b"key".as_slice());
            batch.push(1_000, key, (!value.is_empty()).then_some(value.as_bytes()));
        }
        batch
    }

    #[test]
    fn records_come_back_as_they_were_pushed() {
        let batch = batch(40, &["a", "", "ccc"]);
        let records: Vec<_> = batch.iter().collect();
        assert_eq!((batch.start(), batch.end(), batch.len(), batch.bytes()), (40, 43, 3, 10));
        assert_eq!(
            records[0],
            Record { offset: 40, append_time_ms: 1_000, key: Some(b"key"), value: Some(b"a") }
        );
        assert_eq!(records[1], Record { offset: 41, append_time_ms: 1_000, key: None, value: None });
        assert_eq!(records[2].value, Some(b"ccc".as_slice()));
    }

    #[test]
    fn splitting_anywhere_and_appending_again_changes_nothing() {
        let whole = batch(40, &["a", "", "ccc", "dd", "e"]);
        for at in 38..48 {
            let (mut head, tail) = whole.clone().split_at(at);
            assert_eq!(head.end(), tail.start());
            assert_eq!(head.len() + tail.len(), whole.len());
            assert!(tail.iter().all(|record| record.offset >= at));
            head.append(&tail).unwrap();
            assert_eq!(head, whole);
        }
    }

    #[test]
    fn a_batch_that_does_not_follow_is_refused() {
        let mut first = batch(0, &["a", "b"]);
        let error = first.append(&batch(3, &["d"])).unwrap_err();
        assert_eq!(error, StreamError::NotAdjacent { partition: 7, expected: 2, found: 3 });
        assert_eq!(first.len(), 2);
    }
}
