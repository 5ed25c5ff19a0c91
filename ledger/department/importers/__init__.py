"""One importer a log format: each turns files into outcomes (`ledger.department.access`), event by event.

Importers know formats and the mapping file; they know nothing of keys, streams or the ledger.
"""
