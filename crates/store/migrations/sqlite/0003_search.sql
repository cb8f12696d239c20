-- Eight segments of the search index become one, in place of four: merging is a third of what a long message costs. A word is looked for
-- in a few segments more.
INSERT INTO search_messages (search_messages, rank) VALUES ('automerge', 8);
