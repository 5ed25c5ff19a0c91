"""Errors: the tree that exit codes and reports rely on, and evidence that survives a process boundary."""

import pickle

import pytest

from ledger.core import errors
from ledger.core.errors import GlassbookError, Malformed, Refuted

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GlassbookError)]


def test_every_error_is_either_malformed_or_refuted_and_drawn_in_the_tree() -> None:
    for kind in ALL:
        assert kind is GlassbookError or issubclass(kind, Malformed) is not issubclass(kind, Refuted)
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", ALL)
def test_error_crosses_to_another_process_with_its_evidence(kind: type[GlassbookError]) -> None:
    error = pickle.loads(pickle.dumps(kind("checkpoint", "is odd", note=b"signed")))
    assert type(error) is kind
    assert (error.where, error.what, error.evidence) == ("checkpoint", "is odd", {"note": b"signed"})
    assert str(error) == "checkpoint: is odd"
