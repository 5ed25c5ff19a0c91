"""What /openapi.json says about bodies that the routes read themselves, and the version of the API."""

from __future__ import annotations

from typing import Any, Final

_BASE64: Final = {"type": "string", "contentEncoding": "base64"}

SUBMISSION: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["entry"],
    "properties": {
        "entry": _BASE64 | {"description": "an entry (docs/formats.md §2)"},
        "envelope": _BASE64 | {"description": "records only, and required with them (docs/formats.md §4)"},
        "fetch": _BASE64 | {"description": "H(fetch_token), 32 bytes; records only, and required with them"},
    },
}

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "detail"],
    "properties": {
        "type": {"type": "string", "description": "urn:glassbook:problem:<code>, stable"},
        "title": {"type": "string"},
        "detail": {"type": "string"},
        "status": {"type": "integer"},
        "rule": {"type": "string"},
    },
}

RECEIPT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["entry", "proof", "index_root", "index_proof"],
    "properties": {
        "entry": _BASE64,
        "proof": {"type": "string", "description": "C2SP tlog-proof"},
        "index_root": {
            "type": "object",
            "required": ["entry", "proof"],
            "properties": {"entry": _BASE64, "proof": {"type": "array", "items": _BASE64}},
        },
        "index_proof": _BASE64,
    },
}

STANDING: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"enum": ["accepted", "sequenced"]},
        "index": {"type": "integer"},
        "published_size": {"type": "integer"},
    },
}

RESULT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"enum": ["accepted", "published", "duplicate", "refused"]},
        "index": {
            "type": "integer",
            "description": "where it stands in the log; with accepted: it is sequenced, and not yet published",
        },
        "promise": {
            "type": "string",
            "description": "with accepted, and with a duplicate that is not yet published: the ledger's signed promise"
            " to publish in time, a compact JWS (docs/formats.md §6); the same each time it is asked for",
        },
        "receipt": RECEIPT,
        "problem": PROBLEM,
    },
}

_RESULTS: Final = {
    "type": "object",
    "required": ["results"],
    "properties": {"results": {"type": "array", "items": RESULT}},
}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": PROBLEM}}}


def _later(description: str) -> dict[str, Any]:
    seconds = {"description": "seconds, from 1 to 60", "schema": {"type": "integer", "minimum": 1}}
    return _problem(description) | {"headers": {"Retry-After": seconds}}


ENTRIES: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "wait",
            "in": "query",
            "required": False,
            "schema": {"enum": ["published"]},
            "description": "answer when the entries are published, with their receipts",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["entries"],
                    "properties": {"entries": {"type": "array", "maxItems": 10_000, "items": SUBMISSION}},
                }
            },
            "application/x-ndjson": {"schema": SUBMISSION},
        },
    },
    "responses": {
        "200": {
            "description": "what became of each entry, in order",
            "content": {
                "application/json": {"schema": _RESULTS},
                "application/x-ndjson": {"schema": RESULT},
            },
        },
        "400": _problem("the body as a whole cannot be read; nothing of it was accepted"),
        "413": _problem("more than 10,000 entries or 16 MiB; nothing of it was accepted"),
        "415": _problem("neither JSON nor NDJSON, or compressed"),
        "429": _later(
            "others wait, and your address has its share of what is done at once (`busy`); nothing of it was accepted,"
            " send it again after Retry-After seconds, over fewer connections"
        ),
        "503": _later(
            "more than can be done now (`busy`); nothing of it was accepted, send it again after Retry-After seconds."
            " Mostly answered before the body is read: a client may stop sending it"
        ),
    },
}

ERASURES: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "a compact JWS by the source's key in force (docs/erasure.md)",
        "content": {"application/jose": {"schema": {"type": "string"}}},
    },
    "responses": {
        "200": {
            "description": "what became of each leaf, in order: of one erased or absent no envelope is here any more",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["results"],
                        "properties": {
                            "results": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "required": ["leaf", "status"],
                                    "properties": {
                                        "leaf": {"type": "string", "contentEncoding": "base64url"},
                                        "status": {"enum": ["erased", "absent", "unknown"]},
                                    },
                                },
                            }
                        },
                    }
                }
            },
        },
        "400": _problem("no erasure; nothing was deleted"),
        "413": _problem("more than 1 MiB"),
        "415": _problem("not application/jose, or compressed"),
        "422": _problem(
            "not by the source's key in force, for another log, or not of now; nothing was deleted"
        ),
        "429": _later("your address has its share of what is done at once; nothing was deleted"),
        "503": _later("not now; nothing was deleted, send it again after Retry-After seconds"),
    },
}

RECEIPT_CALL: Final[dict[str, Any]] = {
    "responses": {
        "200": {"description": "published", "content": {"application/json": {"schema": RECEIPT}}},
        "202": {
            "description": "accepted, or sequenced and not published: then with its index and the size published",
            "content": {"application/json": {"schema": STANDING}},
        },
        "404": _problem("no entry with this leaf hash was accepted"),
        "429": _later("your address asks for more than its share of receipts"),
        "503": _later("the publisher does not answer, or too many receipts are asked for"),
    }
}
