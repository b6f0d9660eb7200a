-- What analysts read: the rollups without their merge states.

CREATE VIEW IF NOT EXISTS v_usage_hourly
(
    hour DateTime('UTC') COMMENT 'Hour in which the usage occurred (its start, UTC)',
    org_id String COMMENT 'The organization that pays',
    user_id String COMMENT 'The user inside the org; empty = none',
    team_id LowCardinality(String) COMMENT 'The team inside the org; empty = none',
    module LowCardinality(String) COMMENT 'The calling module',
    feature LowCardinality(String) COMMENT 'The feature of the module; empty = none',
    provider LowCardinality(String) COMMENT 'gen_ai.provider.name',
    model LowCardinality(String) COMMENT 'The model as reported: the response model, or else the requested one',
    events Int64 COMMENT 'Usage events, without those that were voided',
    failed_events Int64 COMMENT 'Events that ended with an error or were cancelled',
    unpriced_events Int64 COMMENT 'Events of which not all has a price',
    input_tokens Int64 COMMENT 'All input tokens',
    cache_read_input_tokens Int64 COMMENT 'Input tokens read from the cache of the provider',
    cache_write_input_tokens Int64 COMMENT 'Input tokens written to the cache of the provider',
    output_tokens Int64 COMMENT 'All output tokens',
    reasoning_output_tokens Int64 COMMENT 'Output tokens spent on reasoning',
    cost_usd Decimal(38, 12) COMMENT 'Cost at the provider in US dollars, exact',
    credits Decimal(38, 12) COMMENT 'Credits charged, exact',
    latency_p50_ms Float32 COMMENT 'Median latency in milliseconds; nan = none was reported',
    latency_p90_ms Float32 COMMENT '90th percentile of the latency in milliseconds',
    latency_p99_ms Float32 COMMENT '99th percentile of the latency in milliseconds'
)
AS SELECT
    hour, org_id, user_id, team_id, module, feature, provider, model,
    sum(u.events) AS events,
    sum(u.failed_events) AS failed_events,
    sum(u.unpriced_events) AS unpriced_events,
    sum(u.input_tokens) AS input_tokens,
    sum(u.cache_read_input_tokens) AS cache_read_input_tokens,
    sum(u.cache_write_input_tokens) AS cache_write_input_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.reasoning_output_tokens) AS reasoning_output_tokens,
    sum(u.cost_usd) AS cost_usd,
    sum(u.credits) AS credits,
    quantilesTDigestMerge(0.5, 0.9, 0.99)(u.latency_ms)[1] AS latency_p50_ms,
    quantilesTDigestMerge(0.5, 0.9, 0.99)(u.latency_ms)[2] AS latency_p90_ms,
    quantilesTDigestMerge(0.5, 0.9, 0.99)(u.latency_ms)[3] AS latency_p99_ms
FROM credit_usage_hourly AS u
GROUP BY hour, org_id, user_id, team_id, module, feature, provider, model
COMMENT 'Usage by hour, user, team, module, feature, provider and model';

CREATE VIEW IF NOT EXISTS v_usage_daily
(
    day Date COMMENT 'Day on which the usage occurred (UTC)',
    org_id String COMMENT 'The organization that pays',
    user_id String COMMENT 'The user inside the org; empty = none',
    team_id LowCardinality(String) COMMENT 'The team inside the org; empty = none',
    module LowCardinality(String) COMMENT 'The calling module',
    feature LowCardinality(String) COMMENT 'The feature of the module; empty = none',
    provider LowCardinality(String) COMMENT 'gen_ai.provider.name',
    model LowCardinality(String) COMMENT 'The model as reported: the response model, or else the requested one',
    events Int64 COMMENT 'Usage events, without those that were voided',
    failed_events Int64 COMMENT 'Events that ended with an error or were cancelled',
    unpriced_events Int64 COMMENT 'Events of which not all has a price',
    input_tokens Int64 COMMENT 'All input tokens',
    cache_read_input_tokens Int64 COMMENT 'Input tokens read from the cache of the provider',
    cache_write_input_tokens Int64 COMMENT 'Input tokens written to the cache of the provider',
    output_tokens Int64 COMMENT 'All output tokens',
    reasoning_output_tokens Int64 COMMENT 'Output tokens spent on reasoning',
    cost_usd Decimal(38, 12) COMMENT 'Cost at the provider in US dollars, exact',
    credits Decimal(38, 12) COMMENT 'Credits charged, exact',
    latency_p50_ms Float32 COMMENT 'Median latency in milliseconds; nan = none was reported',
    latency_p90_ms Float32 COMMENT '90th percentile of the latency in milliseconds',
    latency_p99_ms Float32 COMMENT '99th percentile of the latency in milliseconds'
)
AS SELECT
    day, org_id, user_id, team_id, module, feature, provider, model,
    sum(u.events) AS events,
    sum(u.failed_events) AS failed_events,
    sum(u.unpriced_events) AS unpriced_events,
    sum(u.input_tokens) AS input_tokens,
    sum(u.cache_read_input_tokens) AS cache_read_input_tokens,
    sum(u.cache_write_input_tokens) AS cache_write_input_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.reasoning_output_tokens) AS reasoning_output_tokens,
    sum(u.cost_usd) AS cost_usd,
    sum(u.credits) AS credits,
    quantilesTDigestMerge(0.5, 0.9, 0.99)(u.latency_ms)[1] AS latency_p50_ms,
    quantilesTDigestMerge(0.5, 0.9, 0.99)(u.latency_ms)[2] AS latency_p90_ms,
    quantilesTDigestMerge(0.5, 0.9, 0.99)(u.latency_ms)[3] AS latency_p99_ms
FROM credit_usage_daily AS u
GROUP BY day, org_id, user_id, team_id, module, feature, provider, model
COMMENT 'Usage by day, user, team, module, feature, provider and model';

CREATE VIEW IF NOT EXISTS v_usage_by_model
(
    day Date COMMENT 'Day on which the usage occurred (UTC)',
    org_id String COMMENT 'The organization that pays',
    provider LowCardinality(String) COMMENT 'gen_ai.provider.name',
    model LowCardinality(String) COMMENT 'The model as reported: the response model, or else the requested one',
    events Int64 COMMENT 'Usage events, without those that were voided',
    failed_events Int64 COMMENT 'Events that ended with an error or were cancelled',
    unpriced_events Int64 COMMENT 'Events of which not all has a price',
    input_tokens Int64 COMMENT 'All input tokens',
    output_tokens Int64 COMMENT 'All output tokens',
    cost_usd Decimal(38, 12) COMMENT 'Cost at the provider in US dollars, exact',
    credits Decimal(38, 12) COMMENT 'Credits charged, exact',
    latency_p50_ms Float32 COMMENT 'Median latency in milliseconds; nan = none was reported',
    latency_p99_ms Float32 COMMENT '99th percentile of the latency in milliseconds'
)
AS SELECT
    day, org_id, provider, model,
    sum(u.events) AS events,
    sum(u.failed_events) AS failed_events,
    sum(u.unpriced_events) AS unpriced_events,
    sum(u.input_tokens) AS input_tokens,
    sum(u.output_tokens) AS output_tokens,
    sum(u.cost_usd) AS cost_usd,
    sum(u.credits) AS credits,
    quantilesTDigestMerge(0.5, 0.9, 0.99)(u.latency_ms)[1] AS latency_p50_ms,
    quantilesTDigestMerge(0.5, 0.9, 0.99)(u.latency_ms)[3] AS latency_p99_ms
FROM credit_usage_daily AS u
GROUP BY day, org_id, provider, model
COMMENT 'Usage by day, org, provider and model';

CREATE VIEW IF NOT EXISTS v_org_spend
(
    month Date COMMENT 'Month in which the usage occurred (its first day, UTC)',
    org_id String COMMENT 'The organization that pays',
    active_users UInt64 COMMENT 'Users with usage in the month, voided later or not',
    events Int64 COMMENT 'Usage events, without those that were voided',
    unpriced_events Int64 COMMENT 'Events of which not all has a price',
    cost_usd Decimal(38, 12) COMMENT 'Cost at the provider in US dollars, exact',
    credits Decimal(38, 12) COMMENT 'Credits charged, exact'
)
AS SELECT
    toStartOfMonth(day) AS month,
    org_id,
    uniqExactIf(user_id, user_id != '') AS active_users,
    sum(u.events) AS events,
    sum(u.unpriced_events) AS unpriced_events,
    sum(u.cost_usd) AS cost_usd,
    sum(u.credits) AS credits
FROM credit_usage_daily AS u
GROUP BY month, org_id
COMMENT 'What each org spent, month by month';
