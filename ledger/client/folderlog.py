"""A published log in a folder (see fileslog.py)."""

from collections.abc import Callable
from pathlib import Path

from ledger.client.fileslog import FilesLog
from ledger.client.publiclog import Unreachable
from ledger.core.errors import Malformed
from ledger.files import FileRefused, read_limited


class FolderLog(FilesLog):
    """The log published to `folder`."""

    def __init__(self, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
        if not folder.is_dir():
            raise Unreachable(
                str(folder), "there is no such folder or file; give the folder that holds `checkpoint`"
            )
        super().__init__(str(folder), progress)
        self._folder = folder

    def close(self) -> None:
        """Nothing to let go of."""

    def _read(self, path: str, limit: int) -> bytes | None:
        try:
            return read_limited(self._folder / path, limit)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except FileRefused as refused:
            raise Malformed("folder", str(refused)) from None
        except OSError as error:
            raise Unreachable(self._name(path), f"cannot be read: {error.strerror}") from None

    def _name(self, path: str) -> str:
        return str(self._folder / path)
