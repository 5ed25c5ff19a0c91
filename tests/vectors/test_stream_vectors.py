"""stream.json: from a person at a source to labels, keys and tokens; subjects and patterns to refuse."""

from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core import vrf
from ledger.core.entries import record_index_label
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.iregexp import IRegexp
from ledger.core.schemes import check_canonical, parse_schemes
from ledger.core.streams import alpha, parse_subject, stream_key

VECTORS = load("stream.json")
SCHEMES = parse_schemes(VECTORS["schemes"])


@pytest.mark.parametrize("case", cases(VECTORS, "streams"))
def test_stream_has_these_labels_and_keys(case: dict[str, Any]) -> None:
    seed = bytes.fromhex(case["vrf_seed"])
    public = vrf.public_key(seed)
    assert public.hex() == case["vrf_public_key"]
    made = alpha(case["origin"], case["source"], case["epoch"], case["seal"], case["subject"])
    assert made.hex() == case["alpha"]
    beta = vrf.verify(public, made, bytes.fromhex(case["pi"]))
    assert beta.hex() == case["beta"]
    assert vrf.evaluate(seed, made) == beta
    key = stream_key(beta)
    assert key.key.hex() == case["stream_key"]
    for numbered in case["labels"]:
        n = int(numbered["n"])
        assert key.label(n).hex() == numbered["label"]
        assert key.envelope_key(n).hex() == numbered["envelope_key"]
        assert key.fetch_token(n).hex() == numbered["fetch_token"]
        assert key.deposited(n).hex() == numbered["deposited"]
        label = record_index_label(case["source"], case["epoch"], case["seal"], key.label(n))
        assert label.hex() == numbered["index_label"]


@pytest.mark.parametrize("case", cases(VECTORS, "subjects_refused"))
def test_subject_is_refused_by_its_form(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_subject(case["subject"])


@pytest.mark.parametrize("case", cases(VECTORS, "patterns"))
def test_pattern_is_matched_against_the_whole_value(case: dict[str, Any]) -> None:
    assert IRegexp(case["pattern"]).matches(case["value"]) is case["match"]


@pytest.mark.parametrize("case", cases(VECTORS, "patterns_refused"))
def test_pattern_is_no_i_regexp(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        IRegexp(case["pattern"])


@pytest.mark.parametrize("case", cases(VECTORS, "canonical"))
def test_subject_is_canonical(case: str | dict[str, Any]) -> None:
    check_canonical(SCHEMES, *parse_subject(case if isinstance(case, str) else case["subject"]))


@pytest.mark.parametrize("case", cases(VECTORS, "not_canonical"))
def test_subject_is_not_canonical(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        check_canonical(SCHEMES, *parse_subject(case["subject"]))
