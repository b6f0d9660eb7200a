-- Outside the ledger's schema, so that a rebuilt ledger fences the writers of the one that it replaces.
CREATE TABLE partition_epochs (
    ledger text NOT NULL,
    log_partition integer NOT NULL,
    epoch bigint NOT NULL,
    owner text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ledger, log_partition)
);
COMMENT ON TABLE partition_epochs IS 'Who may write a partition of a ledger: a commit with another epoch is refused';
COMMENT ON COLUMN partition_epochs.ledger IS 'The name of its schema: a rebuild beside the ledger fences nobody before it is promoted';
