-- Outside the ledger's schema, so that a rebuilt ledger fences the writers of the one that it replaces.
CREATE TABLE partition_epochs (
    log_partition integer PRIMARY KEY,
    epoch bigint NOT NULL,
    owner text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE partition_epochs IS 'Who may write a partition: a commit with another epoch is refused';
