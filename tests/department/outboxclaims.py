"""What a department's outbox holds, opened: every record as the person will read it."""

from __future__ import annotations

from typing import Any

from logfactory import NOW
from smalldepartment import SmallDepartment

from ledger.core.sdjwt import parse_sd_jwt
from ledger.core.streams import open_envelope


def claims_in_outbox(small: SmallDepartment) -> list[dict[str, Any]]:
    """The claims of every record in the outbox, by subject and number; numbers of a stream have no gap."""
    found: list[tuple[str, int, dict[str, Any]]] = []
    with small.home() as home:
        maker = home.maker(home.registration(NOW, print))
        for record in home.outbox.awaiting_receipt(1_000_000, 0):
            stream = record.stream
            key = maker.key_of(stream.epoch, stream.seal, stream.subject)
            sd_jwt = parse_sd_jwt(
                open_envelope(key, record.n, record.envelope), maker.registration.newest.key
            )
            found.append((stream.subject, record.n, sd_jwt.claims))
    found.sort(key=lambda item: item[:2])
    for subject in {subject for subject, _, _ in found}:
        numbers = [n for other, n, _ in found if other == subject]
        assert numbers == list(range(1, len(numbers) + 1))
    return [claims for _, _, claims in found]
