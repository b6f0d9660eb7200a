-- Which numbered events arrived, whatever became of them: usage, duplicates and what is in the quarantine alike. Producers number
-- their events from 1 without gaps, so a number that is not here has not come.
--
-- A number may come any number of times and in any order: its bit is set once. What is inserted of a range of the log is decided by
-- the range alone and carries its token, so the sums count each record once, too.

CREATE TABLE IF NOT EXISTS producer_numbers
(
    producer_id String COMMENT 'The emitting process' CODEC(ZSTD(1)),
    word UInt64 COMMENT 'Which 64 numbers: word w holds the numbers from 64 w + 1 to 64 w + 64' CODEC(Delta, ZSTD(1)),
    numbers SimpleAggregateFunction(groupBitOr, UInt64) COMMENT 'Bit b (0 = the lowest) is set if the number 64 w + 1 + b has come' CODEC(ZSTD(1)),
    highest SimpleAggregateFunction(max, Int64) COMMENT 'The highest number among them that has come' CODEC(Delta, ZSTD(1)),
    last_appended_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'When the broker appended the last record that bore one of them' CODEC(Delta, ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (producer_id, word)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Numbers of usage events that arrived, by producer; rows of one word are to be merged: groupBitOr(numbers)';

CREATE TABLE IF NOT EXISTS producer_activity
(
    producer_id String COMMENT 'The emitting process' CODEC(ZSTD(1)),
    slot DateTime('UTC') COMMENT 'Five minutes in which the broker appended the records (their start, UTC)' CODEC(Delta, ZSTD(1)),
    events SimpleAggregateFunction(sum, Int64) COMMENT 'Records of usage, each time that one came' CODEC(T64, ZSTD(1)),
    unnumbered_events SimpleAggregateFunction(sum, Int64) COMMENT 'Those among them that bear no number (0)' CODEC(T64, ZSTD(1)),
    first_appended_at SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'When the broker appended the first of them' CODEC(Delta, ZSTD(1)),
    last_appended_at SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'When the broker appended the last of them' CODEC(Delta, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(slot)
ORDER BY (producer_id, slot)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Usage records that arrived, by producer and five minutes of append time; read it through v_producers';

CREATE VIEW IF NOT EXISTS v_producers
(
    producer_id String COMMENT 'The emitting process',
    first_seen DateTime64(6, 'UTC') COMMENT 'When the broker appended its first record',
    last_seen DateTime64(6, 'UTC') COMMENT 'When the broker appended its last record so far',
    events Int64 COMMENT 'Records of usage that came from it, duplicates and quarantined ones among them',
    unnumbered_events Int64 COMMENT 'Those among them that bear no number',
    numbers Int64 COMMENT 'Different numbers that came',
    highest_number Int64 COMMENT 'The highest of them; 0 = none',
    missing_numbers Int64 COMMENT 'Numbers below the highest that have not come; some may be on their way'
)
AS SELECT
    a.producer_id AS producer_id,
    a.first_seen AS first_seen,
    a.last_seen AS last_seen,
    a.events AS events,
    a.unnumbered_events AS unnumbered_events,
    n.numbers AS numbers,
    n.highest_number AS highest_number,
    n.highest_number - n.numbers AS missing_numbers
FROM
(
    SELECT
        producer_id,
        min(p.first_appended_at) AS first_seen,
        max(p.last_appended_at) AS last_seen,
        sum(p.events) AS events,
        sum(p.unnumbered_events) AS unnumbered_events
    FROM producer_activity AS p
    GROUP BY producer_id
) AS a
LEFT JOIN
(
    SELECT producer_id, toInt64(sum(bitCount(w.bits))) AS numbers, max(w.highest_of_word) AS highest_number
    FROM
    (
        SELECT producer_id, word, groupBitOr(p.numbers) AS bits, max(p.highest) AS highest_of_word
        FROM producer_numbers AS p
        GROUP BY producer_id, word
    ) AS w
    GROUP BY producer_id
) AS n USING (producer_id)
COMMENT 'What came from each producer, and how many of its numbers are missing; credits producers names them';
