-- What the first release made of an empty database.
CREATE TABLE day_counts ( source BIGINT NOT NULL, day BIGINT NOT NULL, records BIGINT NOT NULL, PRIMARY KEY (source, day) )  WITHOUT ROWID;
CREATE TABLE deposits ( id INTEGER NOT NULL, next BIGINT NOT NULL, PRIMARY KEY (id) );
CREATE TABLE entries ( idx INTEGER NOT NULL, leaf_key BIGINT NOT NULL, deposit BIGINT NOT NULL, entry BLOB NOT NULL, PRIMARY KEY (idx) );
CREATE INDEX ix_entries_leaf_key ON entries (leaf_key);
CREATE TABLE envelopes ( number INTEGER NOT NULL, fetch_key BIGINT NOT NULL, fetch BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (number) );
CREATE INDEX ix_envelopes_fetch_key ON envelopes (fetch_key);
CREATE TABLE inbox ( number INTEGER NOT NULL, label BLOB NOT NULL, leaf_hash BLOB NOT NULL, entry BLOB NOT NULL, source BIGINT NOT NULL, day BIGINT NOT NULL, registrations BIGINT NOT NULL, PRIMARY KEY (number), UNIQUE (label) );
CREATE TABLE index_changes ( size INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (size) );
CREATE TABLE index_pages ( page INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (page) );
CREATE TABLE labels ( label BLOB NOT NULL, idx BIGINT NOT NULL, PRIMARY KEY (label) )  WITHOUT ROWID;
CREATE TABLE publication ( id INTEGER NOT NULL, signed_size BIGINT NOT NULL, signed_note BLOB NOT NULL, published_size BIGINT NOT NULL, published_note BLOB NOT NULL, published_time BIGINT NOT NULL, PRIMARY KEY (id) );
CREATE TABLE registrations ( number INTEGER NOT NULL, idx BIGINT, entry BLOB NOT NULL, PRIMARY KEY (number) );
CREATE TABLE state ( id INTEGER NOT NULL, schema_version INTEGER NOT NULL, size BIGINT NOT NULL, root BLOB NOT NULL, labels BIGINT NOT NULL, index_root BLOB NOT NULL, registrations BIGINT NOT NULL, pages_covers BIGINT NOT NULL, PRIMARY KEY (id) );
CREATE TABLE tree_tiles ( level INTEGER NOT NULL, n BIGINT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (level, n) )  WITHOUT ROWID;
