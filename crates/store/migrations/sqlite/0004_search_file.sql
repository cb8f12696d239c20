-- The index of messages is a file of its own from here on, brought up to date behind the writer: within a transaction it would merge its
-- segments now and then, which takes the longer the more there is.
DROP TRIGGER messages_inserted;
DROP TRIGGER messages_deleted;
DROP TABLE search_messages;

-- What the index is still to be told, in order. A number is never given again: the index says up to which one it was told.
CREATE TABLE search_queue (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    place INTEGER NOT NULL,
    -- NULL: the message at this place is to be found by its words. Else: the text of one that was erased, to be taken out.
    erased TEXT
);

-- Which index is this store's. One that says something else was another's, or is older than a copy that was put back: it is made anew.
CREATE TABLE search_index (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL);
INSERT INTO search_index (one, id) VALUES (1, randomblob(16));

CREATE TRIGGER messages_inserted AFTER INSERT ON messages BEGIN
    INSERT INTO search_queue (place) VALUES (new.place);
END;
CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN
    INSERT INTO search_queue (place, erased) VALUES (old.place, old.text);
END;
