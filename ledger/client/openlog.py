"""A published log by what names it: a URL, a folder, a tar; or several of them that mirror one another."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ledger.client.publiclog import ClosableLog


def open_log(
    where: str | Sequence[str],
    progress: Callable[[int, int], None] | None = None,
    told: Callable[[str], None] | None = None,
) -> ClosableLog:
    """A log by its URL (`http://`, `https://`), the folder it is published to, or a tar of that folder.

    Of several names the first is asked first, for the checkpoint too; the others stand in for it (`mirrors`), and
    `told` hears of each that is left aside. `progress(done, all)` is called with numbers of entries while the index
    of a folder or tar is built.

    Raises `Unreachable` when there is no such folder or file, `Malformed` for a URL with query, fragment or password
    and for a tar that is none or holds what a log's has not.
    """
    names = [where] if isinstance(where, str) else list(dict.fromkeys(where))
    if not names:
        raise ValueError("a log has to be named")
    if len(names) == 1:
        return _open_one(names[0], progress)
    from ledger.client.mirrors import Mirrors

    logs: list[ClosableLog] = []
    try:
        for name in names:
            logs.append(_open_one(name, progress))
    except BaseException:
        for log in logs:
            log.close()
        raise
    return Mirrors(logs, told)


def _open_one(where: str, progress: Callable[[int, int], None] | None) -> ClosableLog:
    # Imported here: a reader of folders needs no HTTP client.
    if where.startswith(("http://", "https://")):
        from ledger.client.urllog import UrlLog

        return UrlLog(where)
    path = Path(where)
    if path.is_file():
        from ledger.client.tarlog import TarLog

        return TarLog(path, progress)
    from ledger.client.folderlog import FolderLog

    return FolderLog(path, progress)
