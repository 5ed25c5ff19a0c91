"""FHIR's JSON, read with types: every element is taken as what the specification says it is, or is an error.

Extensions and unknown members are left alone: FHIR allows extensions everywhere, and a later release
may add elements.  Faults are `Malformed` with the element's place (`agent[0].who`) and never its content.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ledger.core.errors import Malformed

_WITH_IDENTIFIERS = frozenset(
    {"Patient", "Person", "RelatedPerson", "Practitioner", "Device", "Organization"}
)
_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "true or false", int: "a number"}


def kind_of(value: object) -> str:
    if value is None:
        return "null"
    return _KINDS.get(type(value), "a number")


class Element:
    """One JSON object of a resource, with its place in the event."""

    __slots__ = ("_members", "path")

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise Malformed(path or "$", f"is {kind_of(value)} where FHIR has an object")
        self._members = value
        self.path = path

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        return name in self._members

    def _take(self, name: str, kind: type, expected: str) -> Any:
        value = self._members.get(name)
        if name in self._members and type(value) is not kind:
            raise Malformed(self.at(name), f"is {kind_of(value)} where FHIR has {expected}")
        return value

    def text(self, name: str) -> str:
        """A string without the white space around it; empty when the element is not there."""
        value = self._take(name, str, "a string")
        return "" if value is None else str(value).strip()

    def flag(self, name: str) -> bool | None:
        value = self._take(name, bool, "true or false")
        return None if value is None else bool(value)

    def child(self, name: str) -> Element | None:
        value = self._take(name, dict, "an object")
        return None if value is None else Element(value, self.at(name))

    def children(self, name: str) -> Iterator[Element]:
        value = self._take(name, list, "an array")
        for i, item in enumerate(value or []):
            yield Element(item, f"{self.at(name)}[{i}]")

    def texts(self, name: str) -> list[str]:
        """An array of strings; nulls stand where a primitive has an extension alone (FHIR JSON, §2.6.2.3)."""
        value = self._take(name, list, "an array") or []
        for i, item in enumerate(value):
            if item is not None and type(item) is not str:
                raise Malformed(f"{self.at(name)}[{i}]", f"is {kind_of(item)} where FHIR has a string")
        return [item for item in value if item]


@dataclass(frozen=True, slots=True)
class Coding:
    """A code with its system (empty when not given) and words for people (empty when not given)."""

    system: str
    code: str
    display: str

    @property
    def spellings(self) -> tuple[str, ...]:
        """How a mapping file may name it: `system|code`, or the code alone."""
        return (f"{self.system}|{self.code}", self.code) if self.system else (self.code,)

    @property
    def words(self) -> str:
        return self.display or self.code


@dataclass(frozen=True, slots=True)
class Reference:
    """A Reference (FHIR references.html): where a resource is, who it is, or just what to call it.

    `literal` is the reference without its `/_history/…` part; `identifiers` are `system|value`.
    """

    path: str
    literal: str
    type: str
    identifiers: tuple[str, ...]
    display: str

    @property
    def resource_type(self) -> str:
        """`Patient` of `Patient/1`, `https://a.example/Patient/1` or `Patient?identifier=…`, or the `type` element."""
        path, query, _ = self.literal.partition("?")
        parts = (path + "/" if query else path).rsplit("/", 2)
        if len(parts) >= 2 and parts[-2].isalpha() and parts[-2][:1].isupper():
            return parts[-2]
        return self.type.rsplit("/", 1)[-1]

    @property
    def spellings(self) -> tuple[str, ...]:
        """What a mapping is asked for, in this order."""
        return tuple(text for text in (self.literal, *self.identifiers) if text)


def read_coding(element: Element) -> Coding:
    return Coding(element.text("system"), element.text("code"), element.text("display"))


def read_concept(element: Element) -> list[Coding]:
    """A CodeableConcept's codings, or one of its text alone."""
    codings = [read_coding(item) for item in element.children("coding")]
    text = element.text("text")
    codings = [coding for coding in codings if coding.code or coding.display]
    if not codings and text:
        codings = [Coding("", "", text)]
    return codings


def read_concepts(parent: Element, name: str) -> list[Coding]:
    return [coding for concept in parent.children(name) for coding in read_concept(concept)]


def read_identifier(element: Element) -> str:
    """`system|value` as FHIR's search writes tokens; empty without a value."""
    value = element.text("value")
    return f"{element.text('system')}|{value}" if value else ""


def read_reference(element: Element, contained: dict[str, Element]) -> Reference:
    """A Reference; one to a contained resource (`#p1`) takes that resource's type and identifiers."""
    literal = element.text("reference").split("/_history/", 1)[0]
    type_ = element.text("type")
    identifier = element.child("identifier")
    identifiers = [read_identifier(identifier)] if identifier else []
    inside = contained.get(literal[1:]) if literal.startswith("#") else None
    if inside is not None:
        literal = ""
        type_ = type_ or inside.text("resourceType")
        identifiers += (
            [read_identifier(item) for item in inside.children("identifier")] if _many(inside) else []
        )
    return Reference(element.path, literal, type_, tuple(filter(None, identifiers)), element.text("display"))


def _many(resource: Element) -> bool:
    """Whether the resource type's `identifier` is an array, as it is in those that stand for people and things."""
    return resource.text("resourceType") in _WITH_IDENTIFIERS
