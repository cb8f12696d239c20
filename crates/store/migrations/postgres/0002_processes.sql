-- Gateway processes that run turns, and their turns that somebody elsewhere wants stopped.

CREATE TABLE processes (
    owner TEXT PRIMARY KEY,
    -- Higher than every one given before: what a process did under a lower one comes too late.
    token BIGINT GENERATED ALWAYS AS IDENTITY,
    -- Others take a process for dead when they see this stand still: nobody's clock is trusted.
    beats BIGINT NOT NULL DEFAULT 0,
    -- For people that look.
    renewed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

ALTER TABLE turns ADD COLUMN stop BIGINT NOT NULL DEFAULT 0;
CREATE INDEX turns_to_stop ON turns (owner) WHERE open = 1 AND stop = 1;
