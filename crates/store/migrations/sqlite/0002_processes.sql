-- A file belongs to one gateway at a time, whose lock beside it says so: this table stays empty, and is there so that both
-- databases are asked the same.
CREATE TABLE processes (owner TEXT PRIMARY KEY, beats INTEGER NOT NULL DEFAULT 0);

ALTER TABLE turns ADD COLUMN stop INTEGER NOT NULL DEFAULT 0;
