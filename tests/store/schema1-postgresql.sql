-- What the first release made of an empty database.
CREATE TABLE day_counts ( source BIGINT NOT NULL, day BIGINT NOT NULL, records BIGINT NOT NULL, PRIMARY KEY (source, day) );
CREATE TABLE deposits ( id SERIAL NOT NULL, next BIGINT NOT NULL, PRIMARY KEY (id) );
CREATE TABLE entries ( idx BIGINT NOT NULL, leaf_key BIGINT NOT NULL, deposit BIGINT NOT NULL, entry BYTEA NOT NULL, PRIMARY KEY (idx) );
CREATE INDEX ix_entries_leaf_key ON entries (leaf_key);
CREATE TABLE envelopes ( number BIGINT NOT NULL, fetch_key BIGINT NOT NULL, "fetch" BYTEA NOT NULL, body BYTEA NOT NULL, PRIMARY KEY (number) );
CREATE INDEX ix_envelopes_fetch_key ON envelopes (fetch_key);
CREATE TABLE inbox ( number BIGINT NOT NULL, label BYTEA NOT NULL, leaf_hash BYTEA NOT NULL, entry BYTEA NOT NULL, source BIGINT NOT NULL, day BIGINT NOT NULL, registrations BIGINT NOT NULL, PRIMARY KEY (number), UNIQUE (label) );
CREATE TABLE index_changes ( size BIGINT NOT NULL, data BYTEA NOT NULL, PRIMARY KEY (size) );
CREATE TABLE index_pages ( page INTEGER NOT NULL, data BYTEA NOT NULL, PRIMARY KEY (page) );
CREATE TABLE labels ( label BYTEA NOT NULL, idx BIGINT NOT NULL, PRIMARY KEY (label) );
CREATE TABLE publication ( id SERIAL NOT NULL, signed_size BIGINT NOT NULL, signed_note BYTEA NOT NULL, published_size BIGINT NOT NULL, published_note BYTEA NOT NULL, published_time BIGINT NOT NULL, PRIMARY KEY (id) );
CREATE TABLE registrations ( number INTEGER NOT NULL, idx BIGINT, entry BYTEA NOT NULL, PRIMARY KEY (number) );
CREATE TABLE state ( id SERIAL NOT NULL, schema_version INTEGER NOT NULL, size BIGINT NOT NULL, root BYTEA NOT NULL, labels BIGINT NOT NULL, index_root BYTEA NOT NULL, registrations BIGINT NOT NULL, pages_covers BIGINT NOT NULL, PRIMARY KEY (id) );
CREATE TABLE tree_tiles ( level INTEGER NOT NULL, n BIGINT NOT NULL, data BYTEA NOT NULL, PRIMARY KEY (level, n) );
