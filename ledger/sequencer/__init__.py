"""Moves the inbox into the log: one at a time, each batch in one transaction.

    plan.py     pure: state and inbox → what the next batch appends
    run.py      lock, transaction, recovery
    leaving.py  entries that the public files have leave the database

After every batch the last leaf is an index root, so every state of the log may be published.
"""
