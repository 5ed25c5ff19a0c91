"""Glassbook: a verifiable ledger of every access to a person's data. Import what you need from its folders."""
