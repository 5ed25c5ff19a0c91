"""Plain labels for the IRIs that records and registrations name things by.

The table is a selection of the W3C Data Privacy Vocabulary (`dpv-terms.csv`; see README.md beside it). An IRI
that is not in it is shown by its last part, so that a newer term still says something.
"""

import csv
import re
from functools import lru_cache
from importlib.resources import files

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@lru_cache(maxsize=1)
def _labels() -> dict[str, str]:
    text = (files(__package__) / "dpv-terms.csv").read_text(encoding="utf-8")
    return {row["iri"]: row["plain_label"] for row in csv.DictReader(text.splitlines())}


def plain_label(iri: str) -> str:
    """What an IRI means, in a few words; its last part, taken apart, when the table lacks it.

    What is no IRI of a vocabulary (a field name, a document) is returned as it is.
    """
    known = _labels().get(iri)
    if known is not None:
        return known
    if "://" not in iri:
        return iri
    last = re.split(r"[#/]", iri.rstrip("#/"))[-1]
    words = _WORDS.findall(last)
    if not words or "".join(words) != re.sub(r"[^A-Za-z0-9]", "", last):
        return last or iri
    # Upper-case runs are abbreviations and stay as they are.
    return " ".join([words[0], *(word if word.isupper() else word.lower() for word in words[1:])])
