"""Events that are named values and nothing more: rows, JSON objects, spans, lines of a database's log.

    a reader (csvfile, jsonlines, ldv, pgaudit) → record: names and values
        → accesses.outcome_of, by a FieldMapping (fieldmap.py) → Outcome

What a value means is said by the mapping alone (docs/mapping.md): paths.py finds it, values.py turns it into
what the record says, conditions.py tells events apart, times.py reads the moment.
"""
