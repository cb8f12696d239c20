-- Times are milliseconds since 1970. Ids are the 16 bytes of their UUID. Flags are 0 or 1.

CREATE TABLE conversations (
    -- AUTOINCREMENT: a number is never given again, since messages may outlive their conversation's row for a moment.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    assistant TEXT NOT NULL,
    provider TEXT NOT NULL,
    user_id TEXT,
    title TEXT,
    metadata TEXT NOT NULL,
    message_count INTEGER NOT NULL,
    preview TEXT,
    preview_position INTEGER NOT NULL,
    next_position INTEGER NOT NULL,
    upstream_id TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX conversations_changed ON conversations (tenant, updated_at, id);
CREATE INDEX conversations_of_assistant ON conversations (tenant, assistant, updated_at, id);
CREATE INDEX conversations_of_user ON conversations (tenant, user_id, updated_at, id) WHERE user_id IS NOT NULL;
CREATE INDEX conversations_old ON conversations (updated_at);

CREATE TABLE messages (
    -- conversations.seq * 2^24 + position: a conversation's messages lie together in their order, with no further index.
    place INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    turn_id BLOB,
    role TEXT NOT NULL,
    author TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    upstream_message_id TEXT,
    text TEXT NOT NULL,
    parts TEXT,
    sources TEXT
);

CREATE VIRTUAL TABLE search_messages USING fts5 (
    text, content = 'messages', content_rowid = 'place', tokenize = "unicode61 remove_diacritics 0"
);
CREATE VIRTUAL TABLE search_titles USING fts5 (
    title, content = 'conversations', content_rowid = 'seq', tokenize = "unicode61 remove_diacritics 0"
);
-- What is erased leaves the index at once, not when its segments are merged.
INSERT INTO search_messages (search_messages, rank) VALUES ('secure-delete', 1);
INSERT INTO search_titles (search_titles, rank) VALUES ('secure-delete', 1);

CREATE TRIGGER messages_inserted AFTER INSERT ON messages BEGIN
    INSERT INTO search_messages (rowid, text) VALUES (new.place, new.text);
END;
CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN
    INSERT INTO search_messages (search_messages, rowid, text) VALUES ('delete', old.place, old.text);
END;
CREATE TRIGGER titles_inserted AFTER INSERT ON conversations WHEN new.title IS NOT NULL BEGIN
    INSERT INTO search_titles (rowid, title) VALUES (new.seq, new.title);
END;
CREATE TRIGGER titles_changed AFTER UPDATE OF title ON conversations WHEN old.title IS NOT new.title BEGIN
    INSERT INTO search_titles (search_titles, rowid, title)
        SELECT 'delete', old.seq, old.title WHERE old.title IS NOT NULL;
    INSERT INTO search_titles (rowid, title) SELECT new.seq, new.title WHERE new.title IS NOT NULL;
END;
CREATE TRIGGER titles_deleted AFTER DELETE ON conversations WHEN old.title IS NOT NULL BEGIN
    INSERT INTO search_titles (search_titles, rowid, title) VALUES ('delete', old.seq, old.title);
END;

CREATE TABLE turns (
    id BLOB PRIMARY KEY,
    tenant TEXT NOT NULL,
    conversation INTEGER NOT NULL,
    place INTEGER NOT NULL,
    status TEXT NOT NULL,
    open INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    owner TEXT NOT NULL,
    asked_assistant TEXT NOT NULL,
    asked_provider TEXT NOT NULL,
    assistant TEXT NOT NULL,
    provider TEXT NOT NULL,
    thread_upstream_id TEXT,
    reply_id BLOB NOT NULL,
    key_id BLOB NOT NULL,
    idempotency_key TEXT,
    created_at INTEGER NOT NULL,
    completed_at INTEGER,
    reserved_seq INTEGER NOT NULL,
    slices INTEGER NOT NULL,
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
    turn_id BLOB NOT NULL,
    number INTEGER NOT NULL,
    text TEXT NOT NULL,
    marks TEXT NOT NULL,
    PRIMARY KEY (turn_id, number)
);

CREATE TABLE threads (
    conversation INTEGER NOT NULL,
    assistant TEXT NOT NULL,
    upstream_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    thread_id TEXT,
    reached INTEGER NOT NULL,
    told_position INTEGER,
    told_hash INTEGER,
    in_doubt INTEGER NOT NULL,
    PRIMARY KEY (conversation, assistant, upstream_id)
) WITHOUT ROWID;
CREATE INDEX threads_by_id ON threads (thread_id, provider, upstream_id) WHERE thread_id IS NOT NULL;

-- Whose turn made a thread: outlives the conversation, so that what was erased here is not shown to others from there.
CREATE TABLE thread_owners (
    thread_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    upstream_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    PRIMARY KEY (thread_id, provider, upstream_id)
) WITHOUT ROWID;

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    subject BLOB NOT NULL,
    conversation_id BLOB,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_of_conversation ON idempotency (conversation_id) WHERE conversation_id IS NOT NULL;
CREATE INDEX idempotency_expired ON idempotency (expires_at);

CREATE TABLE ledger (
    turn_id BLOB NOT NULL,
    number INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    key_id BLOB NOT NULL,
    assistant TEXT NOT NULL,
    provider TEXT NOT NULL,
    at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    answered INTEGER NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    total_tokens INTEGER,
    amount TEXT,
    currency TEXT,
    PRIMARY KEY (turn_id, number)
) WITHOUT ROWID;

CREATE TABLE usage_day (
    key_id BLOB NOT NULL,
    day TEXT NOT NULL,
    tenant TEXT NOT NULL,
    assistant TEXT NOT NULL,
    provider TEXT NOT NULL,
    turns INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    PRIMARY KEY (key_id, day, tenant, assistant, provider)
) WITHOUT ROWID;
CREATE INDEX usage_day_of_tenant ON usage_day (tenant, day);

CREATE TABLE usage_cost (
    key_id BLOB NOT NULL,
    day TEXT NOT NULL,
    tenant TEXT NOT NULL,
    assistant TEXT NOT NULL,
    provider TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount TEXT NOT NULL,
    PRIMARY KEY (key_id, day, tenant, assistant, provider, currency)
) WITHOUT ROWID;
CREATE INDEX usage_cost_of_tenant ON usage_cost (tenant, day);

CREATE TABLE keys (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    assistants TEXT,
    may TEXT NOT NULL,
    admin INTEGER NOT NULL,
    expires_at INTEGER,
    limits TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
);

CREATE TABLE secrets (name TEXT PRIMARY KEY, secret BLOB NOT NULL) WITHOUT ROWID;

-- Conversations whose messages are still to be erased: their rows are gone, so nobody can reach them.
CREATE TABLE erasures (conversation INTEGER PRIMARY KEY);

-- Written to see whether writing works.
CREATE TABLE pulse (one INTEGER PRIMARY KEY, at INTEGER NOT NULL);
INSERT INTO pulse (one, at) VALUES (1, 0);
