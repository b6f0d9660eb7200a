-- The ledger is a projection of the log: everything in this schema can be rebuilt from it.
-- No name is qualified: the search path says which schema it is, `ledger` or one that is being rebuilt beside it.
CREATE TABLE partition_cursors (
    log_partition integer PRIMARY KEY,
    next_offset bigint NOT NULL,
    log_time timestamptz NOT NULL,
    last_append_time timestamptz NOT NULL,
    last_record_digest bytea NOT NULL,
    outcomes_digest bytea NOT NULL,
    records bigint NOT NULL,
    debited bigint NOT NULL,
    commands bigint NOT NULL,
    rejected bigint NOT NULL,
    duplicates bigint NOT NULL,
    quarantined bigint NOT NULL,
    released bigint NOT NULL,
    superseded bigint NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE partition_cursors IS 'How far the ledger has applied each partition, moved in the transaction of the postings';
COMMENT ON COLUMN partition_cursors.log_time IS 'Running maximum of append times';
COMMENT ON COLUMN partition_cursors.outcomes_digest IS 'Running digest over the outcome of every record';

CREATE TABLE global_records (
    log_partition integer NOT NULL,
    log_offset bigint NOT NULL,
    append_time timestamptz NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (log_partition, log_offset)
);
COMMENT ON TABLE global_records IS 'Genesis, keys and rates as they lie in the log: the context of a partition is made of them';

CREATE TABLE organizations (
    org_id text PRIMARY KEY,
    log_partition integer NOT NULL,
    posting_number bigint NOT NULL,
    head bytea NOT NULL,
    overdraft_policy text,
    grace_us bigint NOT NULL,
    suspended boolean NOT NULL,
    suspended_users jsonb NOT NULL,
    balance numeric NOT NULL,
    overdraft numeric NOT NULL,
    granted numeric NOT NULL,
    adjusted numeric NOT NULL,
    charged numeric NOT NULL,
    consumed numeric NOT NULL,
    overdraft_incurred numeric NOT NULL,
    absorbed numeric NOT NULL,
    repaid numeric NOT NULL,
    expired numeric NOT NULL,
    due numeric NOT NULL,
    next_boundary_at timestamptz,
    plan_changed_at timestamptz,
    newest_event_id uuid
) WITH (fillfactor = 60);
CREATE INDEX organizations_due ON organizations (log_partition, next_boundary_at, org_id)
    WHERE next_boundary_at IS NOT NULL;
COMMENT ON TABLE organizations IS 'One row per open org: its head, policy and totals';
COMMENT ON COLUMN organizations.overdraft_policy IS 'carry or absorb; null: carry, or absorb while the plan is a trial';
COMMENT ON COLUMN organizations.suspended IS 'Whether checks refuse all calls of the org';
COMMENT ON COLUMN organizations.suspended_users IS 'Users whose calls checks refuse';
COMMENT ON COLUMN organizations.balance IS 'Credits left in open allocations, or waiting to roll over, less overdraft';
COMMENT ON COLUMN organizations.charged IS 'Credits charged for usage, as corrected';
COMMENT ON COLUMN organizations.due IS 'Credits that credit limits lent until their end, to be paid';
COMMENT ON COLUMN organizations.next_boundary_at IS 'When the next opening or closing of an allocation is due';
COMMENT ON COLUMN organizations.plan_changed_at IS 'As of when the plan was last set or taken off';
COMMENT ON COLUMN organizations.newest_event_id IS 'The highest native id (UUIDv7) of an event applied: a higher one was never applied';

CREATE TABLE plans (
    org_id text PRIMARY KEY,
    revision uuid NOT NULL,
    plan jsonb NOT NULL,
    granted_until jsonb NOT NULL
);
COMMENT ON TABLE plans IS 'The plan of each org that is on one';
COMMENT ON COLUMN plans.revision IS 'The set_plan command that put it in force';
COMMENT ON COLUMN plans.granted_until IS 'By item and user (none: the organization): where the last period ends that was granted';

CREATE TABLE credit_allocations (
    org_id text NOT NULL,
    allocation_id uuid NOT NULL,
    user_id text,
    kind text NOT NULL,
    purchased boolean NOT NULL,
    priority integer NOT NULL,
    scope jsonb NOT NULL,
    effective_at timestamptz NOT NULL,
    expires_at timestamptz,
    plan_revision uuid,
    plan_item text,
    period_start timestamptz,
    period_end timestamptz,
    status text NOT NULL,
    granted numeric NOT NULL,
    adjusted numeric NOT NULL,
    moved numeric NOT NULL,
    consumed numeric NOT NULL,
    repaid numeric NOT NULL,
    repaid_in bigint NOT NULL,
    expired numeric NOT NULL,
    remaining numeric NOT NULL CHECK (remaining >= 0),
    PRIMARY KEY (org_id, allocation_id)
) WITH (fillfactor = 60);
CREATE INDEX credit_allocations_live ON credit_allocations (org_id) WHERE status <> 'closed';
COMMENT ON TABLE credit_allocations IS 'Credits granted to an org or to one of its users; granted + adjusted + moved = remaining + consumed + repaid + expired';
COMMENT ON COLUMN credit_allocations.user_id IS 'Whose it is; null for the organization''s';
COMMENT ON COLUMN credit_allocations.plan_item IS 'Which item of the plan it is a period of; null if of none';
COMMENT ON COLUMN credit_allocations.status IS 'scheduled, open, rolling_over (ended; what is left waits for the next period) or closed';
COMMENT ON COLUMN credit_allocations.moved IS 'What transfers and rollovers brought in less what they took out';
COMMENT ON COLUMN credit_allocations.repaid_in IS 'Number of the posting that paid off overdraft; 0 if there is none';

CREATE VIEW accounts AS
SELECT org_id, NULL::text AS user_id, balance, overdraft, suspended FROM organizations
UNION ALL
SELECT a.org_id, a.user_id, coalesce(sum(a.remaining) FILTER (WHERE a.status = 'open'), 0), 0, o.suspended_users ? a.user_id
FROM credit_allocations a JOIN organizations o USING (org_id)
WHERE a.user_id IS NOT NULL GROUP BY a.org_id, a.user_id, o.suspended_users;
COMMENT ON VIEW accounts IS 'Who pays: each organization (its balance is that of all its accounts) and each user with allocations of their own';

CREATE TABLE credit_transactions (
    org_id text NOT NULL,
    number bigint NOT NULL,
    kind text NOT NULL,
    effective_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    amount numeric NOT NULL,
    entries text NOT NULL,
    event_id uuid,
    billing_digest bytea,
    command_id uuid,
    user_id text,
    module text,
    feature text,
    provider text,
    request_model text,
    model text,
    certainty text,
    revision integer,
    reservation_id uuid,
    charge text,
    split text,
    subject_digest bytea,
    digest bytea NOT NULL,
    log_partition integer NOT NULL,
    log_offset bigint NOT NULL,
    PRIMARY KEY (org_id, number)
);
-- The event leads: native ids grow with time, so that new ones lie together at the index's end.
CREATE UNIQUE INDEX credit_transactions_event ON credit_transactions (event_id, org_id, revision)
    WHERE event_id IS NOT NULL;
-- What is to be repriced: few, and found without reading all that has its price.
CREATE INDEX credit_transactions_incomplete ON credit_transactions (org_id, number)
    WHERE split_part(charge, '"', 2) IN ('unpriced', 'provisional', 'partial');
COMMENT ON TABLE credit_transactions IS 'Immutable postings, numbered without gaps per org';
COMMENT ON COLUMN credit_transactions.entries IS 'The legs, as JSON: account, allocation or overdraft, amount';
COMMENT ON COLUMN credit_transactions.model IS 'The model that answered, where it is known; else the one that was asked for';
COMMENT ON COLUMN credit_transactions.certainty IS 'exact, at_least or unknown: how certain the quantities of the usage are';
COMMENT ON COLUMN credit_transactions.revision IS 'Of the charge: that of the event at first, one more after each correction';
COMMENT ON COLUMN credit_transactions.reservation_id IS 'The hold that the usage settles';
COMMENT ON COLUMN credit_transactions.charge IS 'As a JSON array: status, tier, revision and cost in USD of the charge, its lines of meter, quantity, rate and whose rate it is where that is another meter, the service tier and the region of the call, and its terms where they are not the standard ones';
COMMENT ON COLUMN credit_transactions.split IS 'As JSON: what a corrected charge took, in order, as it is now; null where that is the entries';
COMMENT ON COLUMN credit_transactions.subject_digest IS 'What an event that supersedes this uncertain one must have in common with it';
COMMENT ON COLUMN credit_transactions.digest IS 'Running digest over all postings of the org up to this one';

CREATE TABLE commands (
    org_id text NOT NULL,
    command_id uuid NOT NULL,
    log_partition integer NOT NULL,
    log_offset bigint NOT NULL,
    kind text NOT NULL,
    payload_digest bytea NOT NULL,
    rejection text,
    actor text NOT NULL,
    reason text NOT NULL,
    reference text,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, command_id, log_partition)
);
COMMENT ON TABLE commands IS 'The outcome of every command; global ones have org_id $global and a row per partition';
COMMENT ON COLUMN commands.rejection IS 'Why it was not carried out; null if it was';
COMMENT ON COLUMN commands.actor IS 'Who asked for it';
COMMENT ON COLUMN commands.reference IS 'What it refers to elsewhere: an invoice, a ticket';

CREATE TABLE waiting_corrections (
    org_id text NOT NULL,
    event_id uuid NOT NULL,
    log_partition integer NOT NULL,
    log_offset bigint NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (org_id, event_id)
);
COMMENT ON TABLE waiting_corrections IS 'Corrections whose event has not come, as they lie in the log';

CREATE TABLE quarantine (
    org_id text NOT NULL,
    log_partition integer NOT NULL,
    log_offset bigint NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    event_id uuid,
    billing_digest bytea,
    append_time timestamptz NOT NULL,
    key bytea,
    value bytea,
    status text NOT NULL DEFAULT 'waiting',
    PRIMARY KEY (org_id, log_partition, log_offset)
);
COMMENT ON TABLE quarantine IS 'Records that were not applied, as they lie in the log, and why; org_id is empty where none could be read';
CREATE INDEX quarantine_event ON quarantine (org_id, event_id, billing_digest) WHERE event_id IS NOT NULL;
COMMENT ON COLUMN quarantine.billing_digest IS 'Of usage that could be read: with the event id it names what is released';
COMMENT ON COLUMN quarantine.status IS 'waiting, released or dismissed';

CREATE TABLE credit_pricing_tiers (
    name text NOT NULL,
    revision text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    aliases text[] NOT NULL,
    org_id text,
    service_tier text,
    region text,
    hours text,
    effective_from timestamptz NOT NULL,
    currency text NOT NULL,
    source text,
    rates jsonb NOT NULL,
    above jsonb NOT NULL,
    PRIMARY KEY (name, revision)
);
COMMENT ON TABLE credit_pricing_tiers IS 'Dated prices of models, as each revision of the rates brought them; of two revisions the later holds';
COMMENT ON COLUMN credit_pricing_tiers.name IS 'Provider, model, date and variant: the tier that a charge names';
COMMENT ON COLUMN credit_pricing_tiers.org_id IS 'For calls of this org alone; null for everyone';
COMMENT ON COLUMN credit_pricing_tiers.service_tier IS 'For calls of this service tier alone, batch among them; null for plain calls';
COMMENT ON COLUMN credit_pricing_tiers.region IS 'For calls in this region alone';
COMMENT ON COLUMN credit_pricing_tiers.hours IS 'For these hours of the day alone, in UTC';
COMMENT ON COLUMN credit_pricing_tiers.rates IS 'By unit: for a million tokens, or for one of any other unit, in the currency';
COMMENT ON COLUMN credit_pricing_tiers.above IS 'Other rates for requests with more input tokens than input_tokens, rising';
