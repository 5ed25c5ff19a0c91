"""What a round publishes, and what it does not."""

from __future__ import annotations

import contextlib
import errno
import time

import pytest
from engines import ENGINES
from smalllog import NOW, Clock, SmallLog, walk

from ledger.core.statements import parse_charter
from ledger.publicfiles import Folder
from publisher import growing
from publisher.policy import PolicyRefused
from publisher.recovery import Superseded
from publisher.signing import SigningRefused


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_log_just_begun_is_published_with_size_2(small: SmallLog) -> None:
    publisher = small.publisher()
    assert publisher.round()
    entries = walk(small.public, small.policy(), NOW)
    assert entries[0] == small.charter and len(entries) == 2
    assert publisher.status.state == "publishing"


def test_every_batch_is_published_across_tile_edges(small: SmallLog) -> None:
    publisher = small.publisher()
    for count in (1, 250, 1, 1, 1, 255, 256, 600):
        size = small.append(count)
        assert publisher.round()
        assert len(walk(small.public, small.policy(), NOW)) == size
        assert not publisher.round()


def test_an_idle_log_is_left_alone_until_its_checkpoint_grows_old(small: SmallLog, clock: Clock) -> None:
    publisher = small.publisher()
    assert publisher.round()
    first = (small.public / "checkpoint").read_bytes()
    for _ in range(3):
        clock.now += 99
        assert not publisher.round()
    assert (small.public / "checkpoint").read_bytes() == first
    clock.now += 3
    assert publisher.round()
    opened = small.policy().open((small.public / "checkpoint").read_bytes(), int(clock()))
    assert opened.oldest == int(clock()) and opened.checkpoint.size == 2


def test_a_renewal_that_could_not_be_put_in_place_waits_for_the_next_one(
    small: SmallLog, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = small.publisher()
    assert publisher.round()
    clock.now += 301

    def fail(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "replace_checkpoint", fail)
        with contextlib.suppress(OSError):
            publisher.round()
    clock.now += 1
    assert publisher.round()
    opened = small.policy().open((small.public / "checkpoint").read_bytes(), int(clock()))
    assert opened.oldest is not None and opened.oldest >= int(clock()) - 1


def test_a_checkpoint_is_renewed_in_time_whatever_the_settings_say(small: SmallLog, clock: Clock) -> None:
    """In half of the charter's merge delay: a watcher calls a checkpoint stale that is older than all of it."""
    publisher = small.publisher(refresh_s=100_000)
    assert publisher.round()
    clock.now += parse_charter(small.charter).merge_delay_s // 2
    assert publisher.round()


def test_without_a_witness_nothing_is_published_and_it_is_named(small: SmallLog, clock: Clock) -> None:
    publisher = small.publisher()
    assert publisher.round()
    before = (small.public / "checkpoint").read_bytes()
    small.witnesses[0].stop()
    small.append(3)
    clock.now += 60
    assert not publisher.round()
    assert (small.public / "checkpoint").read_bytes() == before
    (why,) = publisher.status.reasons
    assert publisher.status.state == "waiting for witnesses"
    assert "witness W1 is missing since 2026-09-21 14:14:20 UTC: cannot be reached" in why
    clock.now += 60
    time.sleep(0.3)
    publisher.round()
    assert "since 2026-09-21 14:14:20 UTC" in publisher.status.reasons[0], "the beginning is kept"
    small.witnesses[0].start()
    small.append(300)
    deadline = time.monotonic() + 20
    while not publisher.round():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert publisher.status.state == "publishing"
    assert len(walk(small.public, small.policy(), int(clock()))) == 2 + 4 + 301


def test_one_of_two_witnesses_is_enough_where_the_policy_says_so(small: SmallLog) -> None:
    small.add_witness("W2")
    small.write_policy()
    text = (small.home / "policy.txt").read_text()
    text = text.replace("group q all LOG_MLDSA W1 W2", "group one any W1 W2\ngroup q all LOG_MLDSA one")
    small.write_policy(text)
    small.witnesses[0].stop()
    publisher = small.publisher()
    assert publisher.round()
    small.append(5)
    assert publisher.round(), "a witness that is not needed holds nothing up"


def test_a_witness_with_a_wrong_clock_does_not_count(small: SmallLog, clock: Clock) -> None:
    small.witnesses[0]._clock = Clock(NOW - 900)  # the server keeps the clock it was started with
    small.witnesses[0].stop()
    small.witnesses[0].start()
    publisher = small.publisher()
    assert not publisher.round()
    assert "900 s apart" in publisher.status.reasons[0]


def test_a_witness_without_a_url_is_named(small: SmallLog) -> None:
    text = (small.home / "policy.txt").read_text().replace(f" {small.witnesses[0].url}", "")
    small.write_policy(text)
    publisher = small.publisher()
    assert not publisher.round()
    assert publisher.status.reasons == ("witness W1 has no URL in policy.txt, so it cannot be asked",)


def test_a_witness_that_saw_more_than_we_signed_is_not_satisfied(small: SmallLog) -> None:
    publisher = small.publisher()
    assert publisher.round()
    with small.witnesses[0].file.replacing(small.policy().origin) as (seen, put):
        put(type(seen)(1_000, bytes(32), NOW))
    small.append(3)
    assert not publisher.round()
    assert "has cosigned this log at size 1000" in publisher.status.reasons[0]


def test_no_policy_means_nothing_is_signed_and_a_new_one_is_noticed(small: SmallLog) -> None:
    (small.home / "policy.txt").unlink()
    publisher = small.publisher()
    with pytest.raises(PolicyRefused, match="glassbook witness add"):
        publisher.round()
    assert not (small.home / "keys" / "signed").exists()
    small.write_policy()
    assert publisher.round()


def test_a_new_witness_in_the_policy_is_asked_for_the_published_tree(small: SmallLog) -> None:
    publisher = small.publisher()
    assert publisher.round()
    small.add_witness("W2")
    small.write_policy()
    assert publisher.round()
    assert small.policy().open((small.public / "checkpoint").read_bytes(), NOW).checkpoint.size == 2


def test_a_clock_before_the_last_checkpoint_signs_nothing(small: SmallLog, clock: Clock) -> None:
    publisher = small.publisher()
    assert publisher.round()
    small.append(3)
    said = set()
    for each, clock.now in ((publisher, NOW - 100), (publisher, NOW - 1), (small.publisher(), NOW - 1)):
        with pytest.raises(SigningRefused, match="clock is before the last checkpoint") as refused:
            each.round()
        said.add(str(refused.value))
    assert len(said) == 1, "the log would have a line for every second"
    clock.now = NOW
    again = small.publisher()
    assert again.round()


def test_a_clock_that_ran_ahead_for_a_while_does_not_stop_the_log_for_as_long(
    small: SmallLog, clock: Clock
) -> None:
    publisher = small.publisher()
    assert publisher.round()
    clock.now = NOW + 10 * 365 * 86_400
    small.witnesses[0].stop()
    small.append(3)
    assert not publisher.round(), "signed with a time far ahead, and not published"
    clock.now = NOW
    small.witnesses[0].start()
    again = small.publisher()
    assert again.round()
    assert len(walk(small.public, small.policy(), NOW)) == 6


def test_a_published_cosignature_that_was_altered_is_replaced(small: SmallLog) -> None:
    assert small.publisher().round()
    path = small.public / "checkpoint"
    head, name, tail = path.read_text().rpartition("witness.example/W1 ")
    flipped = tail[:60] + ("A" if tail[60] != "A" else "B") + tail[61:]
    path.write_text(head + name + flipped)
    assert small.publisher().round()
    walk(small.public, small.policy(), NOW)


def test_one_that_stands_by_serves_what_the_other_publishes(small: SmallLog) -> None:
    assert small.publisher().round()
    standby = small.publisher()
    standby.observe()
    view = small.published.view
    assert view is not None and view.note == (small.public / "checkpoint").read_bytes()


def test_partial_tiles_go_only_long_after_the_full_one_came(
    small: SmallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = small.publisher()
    small.append(100)
    assert publisher.round()
    small.append(300)
    assert publisher.round()
    partial = small.public / "tile" / "0" / "000.p"
    assert partial.is_dir()
    monkeypatch.setattr(growing, "PARTIALS_KEPT_S", 0)
    small.append(1)
    assert publisher.round()
    assert not partial.exists() and not (small.public / "tile" / "entries" / "000.p").exists()
    assert (small.public / "tile" / "0" / "001.p").is_dir()
    walk(small.public, small.policy(), NOW)


def test_another_publisher_that_signed_meanwhile_is_noticed(small: SmallLog) -> None:
    first, second = small.publisher(), small.publisher()
    assert first.round()
    small.append(3)
    assert second.round()
    small.append(3)
    with pytest.raises(Superseded):
        first.round()
    assert first.round()
    assert len(walk(small.public, small.policy(), NOW)) == 10


def test_a_long_log_is_pruned_in_steps_that_hold_no_checkpoint_up(
    small: SmallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "PARTIALS_KEPT_S", 0)
    monkeypatch.setattr(growing, "PRUNED_AT_ONCE", 512)
    small.append(300)
    assert small.publisher().round()
    small.append(1300)
    publisher, partial = small.publisher(), small.public / "tile" / "0" / "001.p"
    assert partial.is_dir() and publisher.round()
    assert not partial.is_dir()
    files, steps = Folder(small.public), list[tuple[int, int]]()
    files.prune = lambda start, stop: steps.append((start, stop))  # type: ignore[method-assign]
    publisher = small.publisher(files)
    for _ in range(5):
        small.append(1)
        assert publisher.round()
    assert steps == [(0, 512), (512, 1024), (1024, 1536), (1536, 1612), (1612, 1614)]
