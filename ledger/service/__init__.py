"""The ledger over HTTP: take entries in, give receipts out.

problems.py   what is answered when something is refused (RFC 9457)
body.py       a request body into submissions, each of which can fail alone
checks.py     one submission against the register: shape, source, signature, rules
acceptance.py batches of submissions into the inbox, many requests in one transaction
receipts.py   a published entry's receipt, from the store's tiles and the publisher's index proofs
app.py        the routes
"""
