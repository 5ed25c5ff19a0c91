"""A real PKCS#11 token: SoftHSM, initialised in a folder of the test's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import quote

PIN = "1234"


def module() -> str:
    """Where Debian, or another system, puts SoftHSM's library."""
    for path in (
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ):
        if os.path.isfile(path):
            return path
    raise FileNotFoundError("SoftHSM is not installed; .ci/packages names it")


class SoftToken:
    """A token called `label`, with its PIN in a file of mode 0600. `environment` makes programs find it."""

    def __init__(self, folder: Path, label: str = "glassbook") -> None:
        self.folder, self.label = folder, label
        self.tokens = folder / "tokens"
        self.tokens.mkdir(parents=True)
        self.conf = folder / "softhsm2.conf"
        self.conf.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        self.environment = {**os.environ, "SOFTHSM2_CONF": str(self.conf)}
        self.pin = folder / "pin"
        self.write_pin(PIN)
        self.util("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "5678")

    def write_pin(self, pin: str) -> None:
        self.pin.write_text(f"{pin}\n")
        self.pin.chmod(0o600)

    def util(self, *words: str) -> None:
        subprocess.run(["softhsm2-util", *words], env=self.environment, check=True, capture_output=True)

    def uri(self, name: str) -> str:
        """The PKCS#11 URI of a key in it."""
        return (
            f"pkcs11:token={quote(self.label)};object={quote(name)}"
            f"?module-path={module()}&pin-source=file:{quote(str(self.pin))}"
        )

    def take_away(self) -> None:
        """As if it were pulled out."""
        self.tokens.rename(self.folder / "away")

    def bring_back(self) -> None:
        (self.folder / "away").rename(self.tokens)
