"""The department's side: from a line in an access log to a receipt in hand.

    importers → mapping → accesses → records (signed, labelled, sealed in envelopes) → outbox → ledger → receipts

Only this room ever sees whose data was accessed.  It keeps every record in an outbox (SQLite) until it
holds a receipt that it has checked itself, and gives every stream its numbers 1, 2, 3 … without a gap.
"""
