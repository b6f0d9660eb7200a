//! What came from each producer, and which of its numbers did not.

use std::collections::BTreeMap;

use clickhouse::Row;
use fluxori_core::id::{OrgId, ProducerId};
use fluxori_core::time::Timestamp;
use serde::Deserialize;

use crate::admission::MAX_QUERY_SIZE;
use crate::arrivals::WORD;
use crate::{Analytics, AnalyticsError};

/// So many words of a producer with missing numbers are looked into.
const MAX_WORDS: usize = 1_000;

/// Which producers are asked for.
#[derive(Debug, Clone)]
pub struct ProducerFilter {
    /// What "the last hour" and "a week ago" are counted from.
    pub now: Timestamp,
    /// Those from which something came at or after this.
    pub since: Timestamp,
    /// Says of each whether it emitted usage of this org that was admitted.
    pub org: Option<OrgId>,
}

/// What came from a producer. Times are those of the broker; records count each time that they came, and whatever became of
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Its name.
    pub producer: ProducerId,
    /// Whether it emitted for the org that was asked for; true if none was.
    pub of_org: bool,
    /// When the first record came.
    pub first_seen: Timestamp,
    /// When the last one came.
    pub last_seen: Timestamp,
    /// Records.
    pub events: i64,
    /// Those of them without a number.
    pub unnumbered: i64,
    /// Different numbers that came.
    pub numbers: i64,
    /// The highest of them, 0 if there is none.
    pub highest: i64,
    /// Records in the last hour, to five minutes.
    pub last_hour: i64,
    /// Records in the same hour a week ago.
    pub week_ago: i64,
    /// Records in the seven days before the last hour.
    pub last_week: i64,
    /// The longest time between two records in the last seven days, in microseconds; what is shorter than five minutes may be
    /// left out.
    pub longest_pause_us: i64,
}

impl Producer {
    /// How many numbers below the highest have not come.
    #[must_use]
    pub const fn missing(&self) -> i64 {
        self.highest.saturating_sub(self.numbers)
    }
}

/// What is missing of a producer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    /// The gaps, in order.
    pub gaps: Vec<Missing>,
    /// Whether there are later ones: of very many only the first are listed.
    pub more: bool,
}

/// Numbers that have not come, though a higher one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The first of them.
    pub first: i64,
    /// The last of them.
    pub last: i64,
    /// Not before this came the last of the 64 numbers among which the one after the gap is.
    pub passed_at: Timestamp,
}

impl Missing {
    /// How many they are.
    #[must_use]
    pub const fn count(&self) -> i64 {
        self.last - self.first + 1
    }
}

#[derive(Row, Deserialize)]
struct ProducerRow {
    producer_id: String,
    of_org: bool,
    first_seen: i64,
    last_seen: i64,
    events: i64,
    unnumbered: i64,
    numbers: i64,
    highest: i64,
    last_hour: i64,
    week_ago: i64,
    last_week: i64,
    longest_pause_us: i64,
}

#[derive(Debug, Clone, Row, Deserialize)]
struct WordRow {
    producer_id: String,
    word: u64,
    bits: u64,
    last_appended_at: i64,
    /// The word before it of which any number came; none: -1.
    before: i64,
    /// When the last number of the next word came; none: 0.
    after_appended_at: i64,
}

/// Parameters: now and since, in microseconds. A slot's records may be of up to five minutes after its start.
const PRODUCERS: &str = "
WITH fromUnixTimestamp64Micro(?, 'UTC') AS now, fromUnixTimestamp64Micro(?, 'UTC') AS since,
    recent AS
    (
        SELECT DISTINCT producer_id FROM producer_activity
        WHERE slot >= since - INTERVAL 5 MINUTE AND last_appended_at >= since
    ),
    slots AS
    (
        SELECT producer_id, slot, sum(p.events) AS events, sum(p.unnumbered_events) AS unnumbered,
            min(p.first_appended_at) AS first, max(p.last_appended_at) AS last
        FROM producer_activity AS p WHERE producer_id IN (SELECT producer_id FROM recent) GROUP BY producer_id, slot
    ),
    activity AS
    (
        SELECT producer_id, min(first) AS first_seen, max(last) AS last_seen, sum(s.events) AS all_events,
            sum(s.unnumbered) AS all_unnumbered,
            sumIf(s.events, slot >= now - INTERVAL 1 HOUR) AS last_hour,
            sumIf(s.events, slot >= now - INTERVAL 169 HOUR AND slot < now - INTERVAL 168 HOUR) AS week_ago,
            sumIf(s.events, slot >= now - INTERVAL 168 HOUR AND slot < now - INTERVAL 1 HOUR) AS last_week,
            arraySort(groupArrayIf((toUnixTimestamp64Micro(first), toUnixTimestamp64Micro(last)),
                slot >= now - INTERVAL 168 HOUR)) AS spans,
            arrayMax(arrayMap((later, earlier) -> later.1 - earlier.2,
                arrayPopFront(spans), arrayPopBack(spans))) AS longest_pause_us
        FROM slots AS s GROUP BY producer_id
    )
SELECT a.producer_id AS producer_id, OF_ORG AS of_org, toUnixTimestamp64Micro(a.first_seen) AS first_seen,
    toUnixTimestamp64Micro(a.last_seen) AS last_seen, a.all_events AS events, a.all_unnumbered AS unnumbered,
    n.numbers AS numbers, n.highest AS highest, a.last_hour AS last_hour, a.week_ago AS week_ago,
    a.last_week AS last_week, a.longest_pause_us AS longest_pause_us
FROM activity AS a
LEFT JOIN
(
    SELECT producer_id, toInt64(sum(bitCount(bits))) AS numbers, max(highest_of_word) AS highest
    FROM
    (
        SELECT producer_id, word, groupBitOr(p.numbers) AS bits, max(p.highest) AS highest_of_word
        FROM producer_numbers AS p WHERE producer_id IN (SELECT producer_id FROM recent)
        GROUP BY producer_id, word
    )
    GROUP BY producer_id
) AS n ON n.producer_id = a.producer_id
ORDER BY producer_id";

/// Parameters: the org, since when.
const OF_ORG: &str = "a.producer_id IN (SELECT producer_id FROM credit_usage_log WHERE org_id = ? \
                      AND appended_at >= fromUnixTimestamp64Micro(?, 'UTC'))";

/// Words in which a number is missing, or before which a word is. Parameters: the producers, and how many words of each.
const WORDS: &str = "
SELECT producer_id, word, bits, last_appended_at, before, after_appended_at
FROM
(
    SELECT producer_id, word, bits, toUnixTimestamp64Micro(last) AS last_appended_at,
        lagInFrame(toInt64(word), 1, -1) OVER near AS before,
        leadInFrame(toUnixTimestamp64Micro(last), 1, 0) OVER near AS after_appended_at
    FROM
    (
        SELECT producer_id, word, groupBitOr(p.numbers) AS bits, max(p.last_appended_at) AS last
        FROM producer_numbers AS p WHERE producer_id IN ? GROUP BY producer_id, word
    )
    WINDOW near AS (PARTITION BY producer_id ORDER BY word ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)
)
WHERE bits != 18446744073709551615 OR before != toInt64(word) - 1
ORDER BY producer_id, word LIMIT ? BY producer_id";

impl Analytics {
    /// Producers from which something came, in the order of their names.
    ///
    /// # Errors
    /// [`AnalyticsError::BadRow`], [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`].
    pub async fn producers(&self, filter: &ProducerFilter) -> Result<Vec<Producer>, AnalyticsError> {
        let of_org = if filter.org.is_some() { OF_ORG } else { "true" };
        let sql = PRODUCERS.replace("OF_ORG", of_org);
        let mut query = self.client.query(&sql).bind(filter.now.micros()).bind(filter.since.micros());
        if let Some(org) = &filter.org {
            query = query.bind(org.as_str()).bind(filter.since.micros());
        }
        let rows: Vec<ProducerRow> = self.answer("read the producers", query.fetch_all()).await?;
        rows.into_iter().map(Producer::try_from).collect()
    }

    /// The numbers that are missing of some producers.
    ///
    /// # Errors
    /// [`AnalyticsError::BadRow`], [`AnalyticsError::Unreachable`] and [`AnalyticsError::Refused`].
    pub async fn missing_numbers(
        &self,
        producers: &[ProducerId],
    ) -> Result<BTreeMap<ProducerId, Gaps>, AnalyticsError> {
        if producers.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: Vec<&str> = producers.iter().map(ProducerId::as_str).collect();
        let (name, value) = MAX_QUERY_SIZE;
        let query = self.client.query(WORDS).bind(names).bind(MAX_WORDS).with_setting(name, value);
        let rows: Vec<WordRow> = self.answer("read the missing numbers", query.fetch_all()).await?;
        rows.chunk_by(|a, b| a.producer_id == b.producer_id)
            .map(|words| {
                let name = name_of(words.first().map_or("", |word| &word.producer_id))?;
                Ok((name, Gaps { gaps: missing(words), more: words.len() >= MAX_WORDS }))
            })
            .collect()
    }
}

/// What is missing, from the words that show it. What comes after the last number that came is not known to be missing.
fn missing(words: &[WordRow]) -> Vec<Missing> {
    let mut found: Vec<Missing> = Vec::new();
    let mut add = |first: i64, last: i64, passed_at: i64| {
        let passed_at = Timestamp::from_micros(passed_at);
        match found.last_mut() {
            Some(before) if before.last == first - 1 => (before.last, before.passed_at) = (last, passed_at),
            _ => found.push(Missing { first, last, passed_at }),
        }
    };
    for row in words {
        let word = i64::try_from(row.word).unwrap_or_default();
        if row.before < word - 1 {
            add((row.before + 1) * WORD + 1, word * WORD, row.last_appended_at);
        }
        let highest_bit = i64::from(row.bits.checked_ilog2().unwrap_or_default());
        let is_last = row.after_appended_at == 0;
        let (end, mut bit) = (if is_last { highest_bit } else { WORD }, 0);
        while bit < end {
            // A run of bits that are not set, and where it ends.
            let length = i64::from((row.bits >> bit).trailing_zeros()).min(end - bit);
            if length > 0 {
                let passed_at =
                    if bit + length < WORD { row.last_appended_at } else { row.after_appended_at };
                add(word * WORD + 1 + bit, word * WORD + bit + length, passed_at);
            }
            bit += length + 1;
        }
    }
    found
}

fn name_of(text: &str) -> Result<ProducerId, AnalyticsError> {
    ProducerId::new(text)
        .map_err(|error| AnalyticsError::BadRow { table: "producer_activity", reason: error.to_string() })
}

impl TryFrom<ProducerRow> for Producer {
    type Error = AnalyticsError;

    fn try_from(row: ProducerRow) -> Result<Self, AnalyticsError> {
        Ok(Self {
            producer: name_of(&row.producer_id)?,
            of_org: row.of_org,
            first_seen: Timestamp::from_micros(row.first_seen),
            last_seen: Timestamp::from_micros(row.last_seen),
            events: row.events,
            unnumbered: row.unnumbered,
            numbers: row.numbers,
            highest: row.highest,
            last_hour: row.last_hour,
            week_ago: row.week_ago,
            last_week: row.last_week,
            longest_pause_us: row.longest_pause_us,
        })
    }
}
