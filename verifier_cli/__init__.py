"""`glassbook-verify`: what a citizen, a journalist or an auditor runs. Trusts a policy file and nothing else.

    cli          the commands, their options and exit codes
    outcome      what a command found out: verdict, message, JSON, text
    report       text on the terminal
    words        an access, an entry, a registration in plain sentences
    vocabulary   plain labels for terms of the W3C Data Privacy Vocabulary
    offline      receipt, evidence: files checked without a network
    lookup       a person's whole list with the proof that nothing is missing
    mine         lookup, told source by source; evidence of chosen accesses
    audit        every entry of the log replayed, every tile recomputed
    signatures   signatures checked in other processes
    consistency  the log still contains what was seen before
    show         one entry in words
    witness      a witness of one's own (needs the extra `witness`)

Imports `ledger.core`, `ledger.files` and `ledger.client` only.
"""
