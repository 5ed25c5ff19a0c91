"""The ledger over HTTP: take entries in, give receipts out.

problems.py    what is answered when something is refused (RFC 9457)
intake.py      reading bodies within limits of size, time and memory
body.py        a request body into submissions, each of which can fail alone
checks.py      one submission against the register: shape, source, signature, rules
signatures.py  many signatures at once, in processes of their own
acceptance.py  batches of submissions into the inbox, many requests in one transaction
placing.py     what becomes of each in that transaction
receipts.py    a published entry's receipt, from the store's tiles and the publisher's index proofs
published.py   waiting for the publisher
erasing.py     deleting envelopes when their source says so
metrics.py     what /metrics shows
openapi.py     what /openapi.json says
app.py         the routes
"""
