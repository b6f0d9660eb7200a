-- What deciding about later records needs from earlier ones, beside the ids of events: so the consumer can go on from
-- any offset without reading the log from its beginning.

CREATE TABLE IF NOT EXISTS admission_records
(
    log_partition Int32 COMMENT 'Partition of the log' CODEC(ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the record' CODEC(Delta, ZSTD(1)),
    appended_at DateTime64(6, 'UTC') COMMENT 'When the broker appended the record' CODEC(Delta, ZSTD(1)),
    kind Enum8('global' = 1, 'opening' = 2, 'waiting' = 3, 'command' = 4, 'quarantined' = 5, 'waiting_correction' = 6) COMMENT 'global = keys, rates and the like; opening = opened its org; waiting = usage before its org was opened; command = another command of an org: its id is taken; quarantined = usage that a command may release; waiting_correction = a correction whose event had not come',
    record_key String COMMENT 'Key of the record: the org, or $global' CODEC(ZSTD(1)),
    record_value String COMMENT 'Value of the record, byte by byte; left out for opening and command' CODEC(ZSTD(3)),
    event_id UUID COMMENT 'The event that is in the quarantine or is to be corrected; all zeros = none' CODEC(ZSTD(1)),
    command_id UUID COMMENT 'Id of the command of an org; all zeros = none' CODEC(ZSTD(1)),
    payload_digest FixedString(32) COMMENT 'What makes it the same command when it comes again' CODEC(ZSTD(1)),
    INDEX by_event event_id TYPE bloom_filter GRANULARITY 1,
    INDEX by_command command_id TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (log_partition, log_offset)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Records of the log on which the admission of later records depends';
