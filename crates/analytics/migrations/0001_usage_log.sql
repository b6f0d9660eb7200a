-- The usage log: one row per admitted usage event, and two more for each correction of its charge: one that takes the row
-- back which is no longer right (row_sign -1), one that is right (row_sign 1). Rows are written once and never changed, so
--
--     sum(row_sign), sum(quantity * row_sign)
--
-- are right at any time. A voided charge is a row that counts nothing (row_sign 0): it holds what later corrections need.
-- What is right now of each event:
--
--     SELECT * FROM credit_usage_log WHERE row_sign >= 0 ORDER BY charge_revision DESC LIMIT 1 BY org_id, event_id
--
-- non_replicated_deduplication_window: so many inserted blocks are remembered. An insert that is repeated with its
-- token within that many others changes nothing.

CREATE TABLE IF NOT EXISTS credit_usage_log
(
    event_id UUID COMMENT 'Identity of the event inside its org: UUIDv7 of our call sites, UUIDv8 for foreign ids' CODEC(ZSTD(1)),
    revision UInt8 COMMENT 'Revision of the event: 1, or 2 where it supersedes an uncertain revision 1' CODEC(ZSTD(1)),
    producer_id LowCardinality(String) COMMENT 'The emitting process' CODEC(ZSTD(1)),
    producer_seq Int64 COMMENT 'Number of the event at its producer, gapless from 1; 0 = unnumbered' CODEC(Delta, ZSTD(1)),
    source LowCardinality(String) COMMENT 'Where the event was made: the space of its foreign id' CODEC(ZSTD(1)),
    occurred_at DateTime64(6, 'UTC') COMMENT 'When the operation happened' CODEC(Delta, ZSTD(1)),
    org_id String COMMENT 'The organization that pays' CODEC(ZSTD(1)),
    user_id String COMMENT 'The user inside the org; empty = none' CODEC(ZSTD(1)),
    team_id LowCardinality(String) COMMENT 'The team inside the org; empty = none' CODEC(ZSTD(1)),
    module LowCardinality(String) COMMENT 'The calling module' CODEC(ZSTD(1)),
    feature LowCardinality(String) COMMENT 'The feature of the module; empty = none' CODEC(ZSTD(1)),
    run_id String COMMENT 'The run of an agent or workflow; empty = none' CODEC(ZSTD(1)),
    operation LowCardinality(String) COMMENT 'gen_ai.operation.name: chat, embeddings, ..' CODEC(ZSTD(1)),
    provider LowCardinality(String) COMMENT 'gen_ai.provider.name' CODEC(ZSTD(1)),
    provider_account LowCardinality(String) COMMENT 'The account at the provider; empty = none' CODEC(ZSTD(1)),
    model LowCardinality(String) COMMENT 'The model as reported: the response model, or else the requested one' CODEC(ZSTD(1)),
    request_model LowCardinality(String) COMMENT 'gen_ai.request.model' CODEC(ZSTD(1)),
    response_model LowCardinality(String) COMMENT 'gen_ai.response.model; empty = not reported' CODEC(ZSTD(1)),
    region LowCardinality(String) COMMENT 'The region of the provider; empty = none' CODEC(ZSTD(1)),
    service_tier LowCardinality(String) COMMENT 'The service tier of the provider; empty = none' CODEC(ZSTD(1)),
    batch Bool COMMENT 'Whether it went through the batch interface of the provider' CODEC(ZSTD(1)),
    input_tokens Int64 COMMENT 'All input tokens' CODEC(T64, ZSTD(1)),
    cache_read_input_tokens Int64 COMMENT 'Input tokens read from the cache of the provider; part of input_tokens' CODEC(T64, ZSTD(1)),
    cache_write_5m_input_tokens Int64 COMMENT 'Input tokens written to the cache for 5 minutes; part of input_tokens' CODEC(T64, ZSTD(1)),
    cache_write_1h_input_tokens Int64 COMMENT 'Input tokens written to the cache for 1 hour; part of input_tokens' CODEC(T64, ZSTD(1)),
    audio_input_tokens Int64 COMMENT 'Input tokens that are audio; part of input_tokens' CODEC(T64, ZSTD(1)),
    image_input_tokens Int64 COMMENT 'Input tokens that are images; part of input_tokens' CODEC(T64, ZSTD(1)),
    cache_read_audio_input_tokens Int64 COMMENT 'Input tokens that are audio and were read from the cache of the provider; part of both counts' CODEC(T64, ZSTD(1)),
    cache_read_image_input_tokens Int64 COMMENT 'Input tokens that are images and were read from the cache of the provider; part of both counts' CODEC(T64, ZSTD(1)),
    output_tokens Int64 COMMENT 'All output tokens' CODEC(T64, ZSTD(1)),
    reasoning_output_tokens Int64 COMMENT 'Output tokens spent on reasoning; part of output_tokens' CODEC(T64, ZSTD(1)),
    audio_output_tokens Int64 COMMENT 'Output tokens that are audio; part of output_tokens' CODEC(T64, ZSTD(1)),
    image_output_tokens Int64 COMMENT 'Output tokens that are images; part of output_tokens' CODEC(T64, ZSTD(1)),
    units Map(LowCardinality(String), Decimal(18, 6)) COMMENT 'Other units by name: images, audio_seconds, pages, searches, ..' CODEC(ZSTD(1)),
    measurement LowCardinality(String) COMMENT 'measured (reported by the provider) or estimated' CODEC(ZSTD(1)),
    certainty LowCardinality(String) COMMENT 'How certain the quantities are: exact, at_least or unknown' CODEC(ZSTD(1)),
    own_key Bool COMMENT 'Paid with the own key of the org at the provider: costs no credits' CODEC(ZSTD(1)),
    served_from_cache Bool COMMENT 'Answered from a local cache: costs no credits' CODEC(ZSTD(1)),
    latency_ms Nullable(Int64) COMMENT 'How long the operation took, in milliseconds' CODEC(T64, ZSTD(1)),
    time_to_first_token_ms Nullable(Int64) COMMENT 'Time to the first token, in milliseconds' CODEC(T64, ZSTD(1)),
    attempt Int32 COMMENT 'Which attempt it was, from 1' CODEC(T64, ZSTD(1)),
    outcome LowCardinality(String) COMMENT 'How it ended: success, error or cancelled' CODEC(ZSTD(1)),
    reservation_id Nullable(UUID) COMMENT 'The hold that it settles' CODEC(ZSTD(1)),
    reservation_final Bool COMMENT 'Whether it is the last event of its hold' CODEC(ZSTD(1)),
    request_id String COMMENT 'The request id of the caller; empty = none' CODEC(ZSTD(1)),
    response_id String COMMENT 'gen_ai.response.id; empty = none' CODEC(ZSTD(1)),
    trace_id String COMMENT 'The trace, in W3C form; empty = none' CODEC(ZSTD(1)),
    tags Map(LowCardinality(String), String) COMMENT 'Free tags' CODEC(ZSTD(1)),
    raw_usage String COMMENT 'The usage block of the provider as received; empty = none' CODEC(ZSTD(3)),
    charge_status LowCardinality(String) COMMENT 'complete, partial (a line or the service tier has no rate), provisional (the model has no price, and is charged what the terms say meanwhile), unpriced (the model has no price), waived or voided' CODEC(ZSTD(1)),
    pricing_tier LowCardinality(String) COMMENT 'The tier that priced it; empty = none' CODEC(ZSTD(1)),
    rates_revision LowCardinality(String) COMMENT 'The revision of the rates that the tier belongs to; empty = none' CODEC(ZSTD(1)),
    terms LowCardinality(String) COMMENT 'What turned the cost into credits, as JSON; empty = 1,000 credits for a US dollar' CODEC(ZSTD(1)),
    cost_usd Decimal(38, 12) COMMENT 'Cost at the provider in US dollars, rounded half to even to twelve places' CODEC(ZSTD(1)),
    credits Decimal(38, 12) COMMENT 'Credits charged, exact; the same amount as in the ledger' CODEC(ZSTD(1)),
    charge_revision Int32 COMMENT 'Revision of the charge that this row counts or takes back: that of the event at first, one more after each correction' CODEC(T64, ZSTD(1)),
    made_by LowCardinality(String) COMMENT 'What made this row: usage (the event came), superseding (its revision 2 came) or correction (a command)' CODEC(ZSTD(1)),
    row_sign Int8 COMMENT '1 = counts, -1 = takes back a row that a correction replaces, 0 = counts nothing: the charge was voided. Sums are over quantity * row_sign, events are sum(row_sign)' CODEC(ZSTD(1)),
    billing_digest FixedString(32) COMMENT 'SHA-256 over all of the event, as it came, that decides price, account or budget' CODEC(NONE),
    appended_at DateTime64(6, 'UTC') COMMENT 'When the broker appended the record that made this row' CODEC(Delta, ZSTD(1)),
    log_partition Int32 COMMENT 'Partition of the log' CODEC(ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the record that made this row: the event, the command that released it from the quarantine, or what corrects its charge' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(occurred_at)
PRIMARY KEY (org_id, occurred_at)
ORDER BY (org_id, occurred_at, event_id)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Usage events with all their quantities and charges. A correction takes a row back (row_sign -1) and puts the right one in its place: multiply by row_sign';

-- The ids, once more, where a batch of new events can ask for them cheaply: ids of our call sites are ordered by time as
-- numbers, so a batch asks a few neighbouring granules.
CREATE TABLE IF NOT EXISTS admitted_events
(
    log_partition Int32 COMMENT 'Partition of the log' CODEC(ZSTD(1)),
    event_key UInt128 COMMENT 'The event id as a number, which is ordered by time for UUIDv7' CODEC(ZSTD(1)),
    org_id LowCardinality(String) COMMENT 'The organization whose event it is' CODEC(ZSTD(1)),
    revision UInt8 COMMENT 'Revision of the event; one that was superseded has a row for each' CODEC(ZSTD(1)),
    billing_digest FixedString(32) COMMENT 'What makes it the same event when it comes again' CODEC(NONE),
    occurred_at DateTime64(6, 'UTC') COMMENT 'Where its rows are in credit_usage_log' CODEC(Delta, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the record that admitted it' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (log_partition, event_key)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Ids of all admitted usage events: what makes a second one a duplicate';

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_admitted_events TO admitted_events
AS SELECT
    log_partition,
    toUInt128(event_id) AS event_key,
    org_id,
    revision,
    billing_digest,
    occurred_at,
    log_offset
FROM credit_usage_log
WHERE row_sign = 1 AND made_by IN ('usage', 'superseding')
COMMENT 'Fills admitted_events from credit_usage_log';
