"""The publisher: the only part that holds the log's keys.

    tiles.py          the tree's right edge, from which every further tile is made
    reading.py        entries for them, out of the database or out of the bundles that hold what has left it
    growing.py        the public files grow with the log; partial tiles that are long replaced go
    signing.py        the log's signatures, and what was signed before: never anything inconsistent with it
    recovery.py       where publishing stands, learned anew from the disk
    addcheckpoint.py  one exchange with one witness (C2SP tlog-witness)
    witnesses.py      all witnesses at once, and how each of them stands
    policy.py         policy.txt as `glassbook witness add` writes it and the publisher reads it
    published.py      what is published right now: checkpoint, index root, index proofs under exactly it
    run.py loop.py    one round: tiles, signature, cosignatures, checkpoint; and the loop around it
    serve.py          the public HTTP side; problems.py what its answers have in common
    health.py         /healthz, /readyz and /metrics; statuscommand.py the same for a person
    cli.py up.py      `glassbook publisher …`, `glassbook witness add`, `glassbook up`

The public files lie where `ledger.publicfiles` puts them: in a folder or in a bucket.

A round goes: read what is sequenced → write its tiles → sign under compare-and-swap, and note beside the
keys what was signed → collect cosignatures → replace `checkpoint`. It can be cut at any point; the next
round takes the same way.
"""
