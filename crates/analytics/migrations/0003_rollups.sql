-- Rollups of the usage log, kept by materialized views within the insert into it. Sums are exact, and follow corrections
-- in the hour and day in which the usage occurred; latencies are those first reported.

CREATE TABLE IF NOT EXISTS credit_usage_hourly
(
    hour DateTime('UTC') COMMENT 'Hour in which the usage occurred (its start, UTC)' CODEC(Delta, ZSTD(1)),
    org_id String COMMENT 'The organization that pays' CODEC(ZSTD(1)),
    user_id String COMMENT 'The user inside the org; empty = none' CODEC(ZSTD(1)),
    team_id LowCardinality(String) COMMENT 'The team inside the org; empty = none' CODEC(ZSTD(1)),
    module LowCardinality(String) COMMENT 'The calling module' CODEC(ZSTD(1)),
    feature LowCardinality(String) COMMENT 'The feature of the module; empty = none' CODEC(ZSTD(1)),
    provider LowCardinality(String) COMMENT 'gen_ai.provider.name' CODEC(ZSTD(1)),
    model LowCardinality(String) COMMENT 'The model as reported: the response model, or else the requested one' CODEC(ZSTD(1)),
    events SimpleAggregateFunction(sum, Int64) COMMENT 'Usage events, without those that were voided' CODEC(T64, ZSTD(1)),
    failed_events SimpleAggregateFunction(sum, Int64) COMMENT 'Events that ended with an error or were cancelled' CODEC(T64, ZSTD(1)),
    unpriced_events SimpleAggregateFunction(sum, Int64) COMMENT 'Events of which not all has a price (partial or unpriced)' CODEC(T64, ZSTD(1)),
    input_tokens SimpleAggregateFunction(sum, Int64) COMMENT 'All input tokens' CODEC(T64, ZSTD(1)),
    cache_read_input_tokens SimpleAggregateFunction(sum, Int64) COMMENT 'Input tokens read from the cache of the provider' CODEC(T64, ZSTD(1)),
    cache_write_input_tokens SimpleAggregateFunction(sum, Int64) COMMENT 'Input tokens written to the cache of the provider, for whatever time' CODEC(T64, ZSTD(1)),
    output_tokens SimpleAggregateFunction(sum, Int64) COMMENT 'All output tokens' CODEC(T64, ZSTD(1)),
    reasoning_output_tokens SimpleAggregateFunction(sum, Int64) COMMENT 'Output tokens spent on reasoning' CODEC(T64, ZSTD(1)),
    cost_usd SimpleAggregateFunction(sum, Decimal(38, 12)) COMMENT 'Cost at the provider in US dollars, exact' CODEC(ZSTD(1)),
    credits SimpleAggregateFunction(sum, Decimal(38, 12)) COMMENT 'Credits charged, exact' CODEC(ZSTD(1)),
    latency_ms AggregateFunction(quantilesTDigest(0.5, 0.9, 0.99), Nullable(Int64)) COMMENT 'Merge state of the quantiles of the latencies first reported, in milliseconds' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (org_id, hour, module, feature, provider, model, user_id, team_id)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Usage by hour, user, team, module, feature, provider and model; read it through v_usage_hourly';

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_credit_usage_hourly TO credit_usage_hourly
AS SELECT
    toStartOfHour(occurred_at, 'UTC') AS hour,
    org_id,
    user_id,
    team_id,
    module,
    feature,
    provider,
    model,
    sum(toInt64(row_sign)) AS events,
    sum(toInt64(row_sign) * (outcome != 'success')) AS failed_events,
    sum(toInt64(row_sign) * (charge_status IN ('partial', 'unpriced'))) AS unpriced_events,
    sum(input_tokens * row_sign) AS input_tokens,
    sum(cache_read_input_tokens * row_sign) AS cache_read_input_tokens,
    sum((cache_write_5m_input_tokens + cache_write_1h_input_tokens) * row_sign) AS cache_write_input_tokens,
    sum(output_tokens * row_sign) AS output_tokens,
    sum(reasoning_output_tokens * row_sign) AS reasoning_output_tokens,
    sum(cost_usd * row_sign) AS cost_usd,
    sum(credits * row_sign) AS credits,
    quantilesTDigestState(0.5, 0.9, 0.99)(if(made_by = 'usage', latency_ms, NULL)) AS latency_ms
FROM credit_usage_log
GROUP BY org_id, hour, module, feature, provider, model, user_id, team_id
COMMENT 'Fills credit_usage_hourly from credit_usage_log';

CREATE TABLE IF NOT EXISTS credit_usage_daily
(
    day Date COMMENT 'Day on which the usage occurred (UTC)' CODEC(Delta, ZSTD(1)),
    org_id String COMMENT 'The organization that pays' CODEC(ZSTD(1)),
    user_id String COMMENT 'The user inside the org; empty = none' CODEC(ZSTD(1)),
    team_id LowCardinality(String) COMMENT 'The team inside the org; empty = none' CODEC(ZSTD(1)),
    module LowCardinality(String) COMMENT 'The calling module' CODEC(ZSTD(1)),
    feature LowCardinality(String) COMMENT 'The feature of the module; empty = none' CODEC(ZSTD(1)),
    provider LowCardinality(String) COMMENT 'gen_ai.provider.name' CODEC(ZSTD(1)),
    model LowCardinality(String) COMMENT 'The model as reported: the response model, or else the requested one' CODEC(ZSTD(1)),
    events SimpleAggregateFunction(sum, Int64) COMMENT 'Usage events, without those that were voided' CODEC(T64, ZSTD(1)),
    failed_events SimpleAggregateFunction(sum, Int64) COMMENT 'Events that ended with an error or were cancelled' CODEC(T64, ZSTD(1)),
    unpriced_events SimpleAggregateFunction(sum, Int64) COMMENT 'Events of which not all has a price (partial or unpriced)' CODEC(T64, ZSTD(1)),
    input_tokens SimpleAggregateFunction(sum, Int64) COMMENT 'All input tokens' CODEC(T64, ZSTD(1)),
    cache_read_input_tokens SimpleAggregateFunction(sum, Int64) COMMENT 'Input tokens read from the cache of the provider' CODEC(T64, ZSTD(1)),
    cache_write_input_tokens SimpleAggregateFunction(sum, Int64) COMMENT 'Input tokens written to the cache of the provider, for whatever time' CODEC(T64, ZSTD(1)),
    output_tokens SimpleAggregateFunction(sum, Int64) COMMENT 'All output tokens' CODEC(T64, ZSTD(1)),
    reasoning_output_tokens SimpleAggregateFunction(sum, Int64) COMMENT 'Output tokens spent on reasoning' CODEC(T64, ZSTD(1)),
    cost_usd SimpleAggregateFunction(sum, Decimal(38, 12)) COMMENT 'Cost at the provider in US dollars, exact' CODEC(ZSTD(1)),
    credits SimpleAggregateFunction(sum, Decimal(38, 12)) COMMENT 'Credits charged, exact' CODEC(ZSTD(1)),
    latency_ms AggregateFunction(quantilesTDigest(0.5, 0.9, 0.99), Nullable(Int64)) COMMENT 'Merge state of the quantiles of the latencies first reported, in milliseconds' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (org_id, day, module, feature, provider, model, user_id, team_id)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Usage by day, user, team, module, feature, provider and model; read it through v_usage_daily';

CREATE MATERIALIZED VIEW IF NOT EXISTS mv_credit_usage_daily TO credit_usage_daily
AS SELECT
    toDate(occurred_at, 'UTC') AS day,
    org_id,
    user_id,
    team_id,
    module,
    feature,
    provider,
    model,
    sum(toInt64(row_sign)) AS events,
    sum(toInt64(row_sign) * (outcome != 'success')) AS failed_events,
    sum(toInt64(row_sign) * (charge_status IN ('partial', 'unpriced'))) AS unpriced_events,
    sum(input_tokens * row_sign) AS input_tokens,
    sum(cache_read_input_tokens * row_sign) AS cache_read_input_tokens,
    sum((cache_write_5m_input_tokens + cache_write_1h_input_tokens) * row_sign) AS cache_write_input_tokens,
    sum(output_tokens * row_sign) AS output_tokens,
    sum(reasoning_output_tokens * row_sign) AS reasoning_output_tokens,
    sum(cost_usd * row_sign) AS cost_usd,
    sum(credits * row_sign) AS credits,
    quantilesTDigestState(0.5, 0.9, 0.99)(if(made_by = 'usage', latency_ms, NULL)) AS latency_ms
FROM credit_usage_log
GROUP BY org_id, day, module, feature, provider, model, user_id, team_id
COMMENT 'Fills credit_usage_daily from credit_usage_log';
