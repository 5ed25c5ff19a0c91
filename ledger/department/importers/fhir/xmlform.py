"""FHIR's XML as the values its JSON would have: the two say the same, and what comes after reads one of them.

    <AuditEvent xmlns="http://hl7.org/fhir">            {"resourceType": "AuditEvent",
      <recorded value="2026-02-28T10:03:00Z"/>           "recorded": "2026-02-28T10:03:00Z",
      <agent><requestor value="true"/></agent>           "agent": [{"requestor": true}]}
    </AuditEvent>

A Bundle is taken entry by entry: memory holds one.  XML that is broken somewhere ends there; the entries before it
have been read.  FHIR allows no DTD, so none is read, and with it no entity and nothing outside the file.

Source: FHIR R4 and R5, "XML Representation of Resources" and "JSON Representation of Resources".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from ledger.core.errors import Malformed
from ledger.department.importers.documents import LONGEST
from ledger.department.importers.source import Source

NAMESPACE: Final = "{http://hl7.org/fhir}"

DEEPEST: Final = 64
"""Levels of elements; an AuditEvent has about ten."""

_STEP: Final = 1 << 16

# What is an array in JSON even when it stands once: wherever it stands, or inside one element only.
_ARRAYS: Final = frozenset({
    "coding", "extension", "modifierExtension", "contained", "subtype", "purposeOfEvent", "purposeOfUse", "category",
    "authorization", "basedOn", "policy", "securityLabel", "participant", "object",
})  # fmt: skip
_ARRAYS_IN: Final = frozenset({
    ("AuditEvent", "agent"), ("AuditEvent", "entity"), ("entity", "agent"), ("agent", "role"), ("source", "type"),
    ("entity", "detail"), ("outcome", "detail"),
})  # fmt: skip
_FLAGS: Final = frozenset({"requestor", "userSelected", "valueBoolean"})


class _Frame:
    """An element that has begun."""

    __slots__ = ("members", "name", "resource", "value")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.value = attributes.get("value")
        self.members: dict[str, list[Any]] = {}
        self.resource: Any = None  # what stands in <resource> and <contained>
        if "url" in attributes:  # of an extension
            self.members["url"] = [attributes["url"]]

    @property
    def is_resource(self) -> bool:
        return self.name[:1].isupper()

    def as_json(self) -> Any:
        """The value as JSON has it; None for an element that holds nothing."""
        if self.resource is not None:
            return self.resource
        if not self.is_resource and (self.value is not None or not self.members):
            flag = self.name in _FLAGS and self.value in ("true", "false")
            return self.value == "true" if flag else self.value
        made: dict[str, Any] = {"resourceType": self.name} if self.is_resource else {}
        for name, values in self.members.items():
            array = name in _ARRAYS or (self.name, name) in _ARRAYS_IN or len(values) > 1
            made[name] = values if array or (name == "identifier" and self.is_resource) else values[0]
        return made


class _Builder:
    """What the parser tells, put together; a Bundle's finished entries wait in `ready`."""

    def __init__(self) -> None:
        self.ready: list[Any] = []
        self.document: Any = None
        self.root = ""
        self.told = 0  # how often the parser told anything
        self._size = 0  # characters since the last entry
        self._frames: list[_Frame] = []
        self._skipped = 0  # levels below an element of another namespace, which are words for people

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.told += 1
        if self._skipped or not tag.startswith(NAMESPACE):
            if not self._frames:
                raise Malformed("$", "XML, but not FHIR's: its namespace is not http://hl7.org/fhir")
            self._skipped += 1
            return
        if len(self._frames) >= DEEPEST:
            raise Malformed("$", f"elements nested more than {DEEPEST} deep")
        frame = _Frame(tag.removeprefix(NAMESPACE), attributes)
        self._size += len(tag) + sum(map(len, attributes.values()))
        if self._size > LONGEST:
            raise Malformed("$", f"longer than {LONGEST} characters; one event never is")
        self._frames.append(frame)
        self.root = self.root or frame.name

    def end(self, _tag: str) -> None:
        self.told += 1
        if self._skipped:
            self._skipped -= 1
            return
        frame = self._frames.pop()
        value = frame.as_json()
        if not self._frames:
            self.document = value
        elif frame.name == "entry" and self.root == "Bundle" and len(self._frames) == 1:
            self.ready.append({} if value is None else value)
            self._size = 0
        elif frame.is_resource:
            self._frames[-1].resource = value
        elif value is not None:
            self._frames[-1].members.setdefault(frame.name, []).append(value)

    def close(self) -> None:
        """The parser asks for it; the document is in `document`."""


def read_xml(source: Source) -> Iterator[tuple[str, Any]]:
    """A Bundle's entries, or the one resource of a file, each with its place and as JSON has it.

    A Malformed stands where the file cannot be read on.  Raises OSError alone.
    """
    builder, entries = _Builder(), 0
    fault: Malformed | None = None
    for step in _feeding(source, builder):
        fault = step
        for entry in builder.ready:
            yield f"entry[{entries}]", entry
            entries += 1
        builder.ready.clear()
    if fault is not None:
        yield f"entry[{entries}]" if builder.root == "Bundle" else "$", fault
    elif builder.root != "Bundle" or not entries:
        yield "$", _whole(builder.document)


def _whole(document: Any) -> Any:
    total = document.get("total") if isinstance(document, dict) else None
    return {**document, "total": int(total)} if isinstance(total, str) and total.isdecimal() else document


def _feeding(source: Source, builder: _Builder) -> Iterator[Malformed | None]:
    """Feed the file to the parser: None after each step, last of all the fault that ends it, if there is one."""
    parser = DefusedXMLParser(target=builder, forbid_dtd=True)
    silent, told = 0, 0
    try:
        for chunk in source.chunks():
            for at in range(0, len(chunk), _STEP):
                parser.feed(chunk[at : at + _STEP])
                yield None
                silent, told = (0 if builder.told != told else silent + _STEP), builder.told
                if silent > LONGEST:
                    raise Malformed("$", f"longer than {LONGEST} bytes; one event never is")
        parser.close()
        yield None
    except DefusedXmlException:
        yield Malformed("", "XML with a DTD or entities, which FHIR does not allow; export it again without")
    except ParseError as error:
        yield Malformed(
            "", f"not well-formed XML at line {error.position[0]}; nothing after it could be read"
        )
    except Malformed as error:
        yield Malformed("", error.what if error.where == "$" else str(error))
    except (LookupError, ValueError):
        yield Malformed("", "XML in an encoding that is not read; FHIR's is UTF-8")
