"""Log formats: each turns files into outcomes (`ledger.department.access`), event by event.

    formats.py      every format behind one interface
    fhir/           AuditEvents, whose elements have a meaning of their own
    csvfile.py, jsonlines.py, pgaudit.py, otlpjson.py with ldv.py       names and values, which
    fields/         a mapping leads to accesses

Importers know formats and the mapping file; they know nothing of keys, streams or the ledger.
"""
