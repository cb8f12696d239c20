-- Times are milliseconds since 1970. Ids are the 16 bytes of their UUID. Flags are 0 or 1.

CREATE TABLE conversations (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id BYTEA NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    assistant TEXT NOT NULL,
    provider TEXT NOT NULL,
    user_id TEXT,
    title TEXT,
    title_words TSVECTOR,
    metadata TEXT NOT NULL,
    message_count BIGINT NOT NULL,
    preview TEXT,
    preview_position BIGINT NOT NULL,
    next_position BIGINT NOT NULL,
    upstream_id TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX conversations_title_words ON conversations USING gin (title_words);
CREATE INDEX conversations_changed ON conversations (tenant, updated_at, id);
CREATE INDEX conversations_of_assistant ON conversations (tenant, assistant, updated_at, id);
CREATE INDEX conversations_of_user ON conversations (tenant, user_id, updated_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX conversations_old ON conversations (updated_at);

CREATE TABLE messages (
    -- conversations.seq * 2^24 + position: a conversation's messages lie together in their order, with no further index.
    place BIGINT PRIMARY KEY,
    id BYTEA NOT NULL,
    turn_id BYTEA,
    role TEXT NOT NULL,
    author TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    upstream_message_id TEXT,
    text TEXT NOT NULL,
    parts TEXT,
    sources TEXT,
    -- The text's words, cut by the gateway: what the server takes for a word hangs on its locale.
    words TSVECTOR NOT NULL
);

CREATE INDEX messages_words ON messages USING gin (words);

CREATE TABLE turns (
    id BYTEA PRIMARY KEY,
    tenant TEXT NOT NULL,
    conversation BIGINT NOT NULL,
    place BIGINT NOT NULL,
    status TEXT NOT NULL,
    open BIGINT NOT NULL,
    queued BIGINT NOT NULL,
    owner TEXT NOT NULL,
    asked_assistant TEXT NOT NULL,
    asked_provider TEXT NOT NULL,
    assistant TEXT NOT NULL,
    provider TEXT NOT NULL,
    thread_upstream_id TEXT,
    reply_id BYTEA NOT NULL,
    key_id BYTEA NOT NULL,
    idempotency_key TEXT,
    created_at BIGINT NOT NULL,
    completed_at BIGINT,
    reserved_seq BIGINT NOT NULL,
    slices BIGINT NOT NULL,
    metadata TEXT NOT NULL,
    request TEXT NOT NULL,
    in_flight TEXT NOT NULL,
    attempts TEXT NOT NULL,
    upstream TEXT NOT NULL,
    detail TEXT,
    log_marks TEXT,
    log_text TEXT
);
CREATE INDEX turns_open ON turns (conversation, place) WHERE open = 1;

CREATE TABLE turn_slices (
    turn_id BYTEA NOT NULL,
    number BIGINT NOT NULL,
    text TEXT NOT NULL,
    marks TEXT NOT NULL,
    PRIMARY KEY (turn_id, number)
);

CREATE TABLE threads (
    conversation BIGINT NOT NULL,
    assistant TEXT NOT NULL,
    upstream_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    thread_id TEXT,
    reached BIGINT NOT NULL,
    told_position BIGINT,
    told_hash BIGINT,
    in_doubt BIGINT NOT NULL,
    PRIMARY KEY (conversation, assistant, upstream_id)
);
CREATE INDEX threads_by_id ON threads (thread_id, provider, upstream_id) WHERE thread_id IS NOT NULL;

-- Whose turn made a thread: outlives the conversation, so that what was erased here is not shown to others from there.
CREATE TABLE thread_owners (
    thread_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    upstream_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    PRIMARY KEY (thread_id, provider, upstream_id)
);

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    subject BYTEA NOT NULL,
    conversation_id BYTEA,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_of_conversation ON idempotency (conversation_id) WHERE conversation_id IS NOT NULL;
CREATE INDEX idempotency_expired ON idempotency (expires_at);

CREATE TABLE ledger (
    turn_id BYTEA NOT NULL,
    number BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    key_id BYTEA NOT NULL,
    assistant TEXT NOT NULL,
    provider TEXT NOT NULL,
    at BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    answered BIGINT NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    total_tokens BIGINT,
    amount NUMERIC,
    currency TEXT,
    PRIMARY KEY (turn_id, number)
);

CREATE TABLE usage_day (
    key_id BYTEA NOT NULL,
    day TEXT NOT NULL,
    tenant TEXT NOT NULL,
    assistant TEXT NOT NULL,
    provider TEXT NOT NULL,
    turns BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    total_tokens BIGINT NOT NULL,
    PRIMARY KEY (key_id, day, tenant, assistant, provider)
);
CREATE INDEX usage_day_of_tenant ON usage_day (tenant, day);

CREATE TABLE usage_cost (
    key_id BYTEA NOT NULL,
    day TEXT NOT NULL,
    tenant TEXT NOT NULL,
    assistant TEXT NOT NULL,
    provider TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount NUMERIC NOT NULL,
    PRIMARY KEY (key_id, day, tenant, assistant, provider, currency)
);
CREATE INDEX usage_cost_of_tenant ON usage_cost (tenant, day);

CREATE TABLE keys (
    id BYTEA PRIMARY KEY,
    name TEXT NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    assistants TEXT,
    may TEXT NOT NULL,
    admin BIGINT NOT NULL,
    expires_at BIGINT,
    limits TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE TABLE secrets (name TEXT PRIMARY KEY, secret BYTEA NOT NULL);

-- Conversations whose messages are still to be erased: their rows are gone, so nobody can reach them.
CREATE TABLE erasures (conversation BIGINT PRIMARY KEY);

-- Written to see whether writing works.
CREATE TABLE pulse (one BIGINT PRIMARY KEY, at BIGINT NOT NULL);
INSERT INTO pulse (one, at) VALUES (1, 0);
