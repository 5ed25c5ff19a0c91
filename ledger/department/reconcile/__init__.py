"""Another log against the outbox and its receipts: accesses without a record, records without an access.

    classes.py     what an event of the log is, and how it stands
    matching.py    from an event to its records, by identity or by a claim, and which records no event led to
    xroad.py       X-Road's operational monitoring, record by record
    exchanges.py   its two sides of one exchange put together
    result.py      the counts by day, in words or as JSON
    command.py     `glassbook department reconcile`

Nothing here signs, sends or needs a key.  Events are named by their place in the file, records by their index in the
log; persons by nothing.
"""
