"""Signing keys in a PKCS#11 token (a hardware security module, a smart card, SoftHSM): Ed25519 by CKM_EDDSA.

A key file then holds, in place of a key, where the key is: one line, a PKCS#11 URI (RFC 7512).

    pkcs11:token=glassbook;object=source?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/gb/pin

`pin-source` is a file of mode 0600; without it the PIN is asked for at the terminal. The PIN itself is never part of
the line. The private key never leaves the token.

Whatever befalls the token while a program runs (pulled out, restarted, its network gone) makes one signature fail
with TokenUnavailable; the next one opens it anew. A PIN that the token refused is not tried again as long as its
file stays the same: tokens lock themselves after a few wrong ones.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import quote, unquote

from ledger.core.errors import GlassbookError, Malformed
from ledger.core.keys import ED25519_KEY_BYTES, ED25519_SIGNATURE_BYTES, check_ed25519_key, verify_ed25519
from ledger.files import read_private

SCHEME: Final = "pkcs11:"

_CURVES: Final = (
    bytes.fromhex("130c656477617264733235353139"),  # PrintableString "edwards25519" (PKCS#11 3.0 §2.3.5)
    bytes.fromhex("06032b6570"),  # the object identifier id-Ed25519 (RFC 8410 §3)
    bytes.fromhex("06092b06010401da470f01"),  # the older one that some modules give
)
# Begins with a byte that begins nothing that is ever signed: no statement, no note, no entry.
_PROBE: Final = b"\x00glassbook: is this pair of keys one pair?"

_LOCK: Final = threading.RLock()
"""One call into modules at a time: not every module can take more."""


class TokenUnavailable(GlassbookError):
    """The token did not sign: it is not there, locked, or does not hold the key.  Nothing was signed."""


@dataclass(frozen=True, slots=True)
class TokenUri:
    """Where a key lies: the module's path, labels of token and key, and the file of the PIN."""

    module: str
    token: str
    object: str
    pin: Path | None

    def __str__(self) -> str:
        return f"key {self.object!a} in token {self.token!a}"


def parse_token_uri(text: str, where: str) -> TokenUri:
    """The URI in a key file (RFC 7512 §2.3).  Raises Malformed."""
    line = text.removesuffix("\n").removesuffix("\r")
    path, _, query = line.removeprefix(SCHEME).partition("?")
    if not line.startswith(SCHEME) or not line.isascii() or any(c.isspace() for c in line):
        raise Malformed(where, "must be one line: pkcs11:token=…;object=…?module-path=…&pin-source=…")
    found: dict[str, str] = {}
    for part in [*path.split(";"), *(query.split("&") if query else ())]:
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise Malformed(
                where, "holds the PIN; write it into a file of mode 0600, and name that: pin-source="
            )
        if (
            not equals
            or name in found
            or name not in ("token", "object", "type", "module-path", "pin-source")
        ):
            raise Malformed(where, f"{name!a}: is not understood, or stands twice")
        try:
            found[name] = unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise Malformed(where, f"{name}: is not UTF-8") from None
    for name in ("token", "object", "module-path"):
        if not found.get(name) or not found[name].isprintable():
            raise Malformed(where, f"{name}: is missing, or no text that can be shown")
    if found.get("type", "private") != "private":
        raise Malformed(where, "type: must be private; it names a key that signs")
    if not os.path.isabs(found["module-path"]):
        raise Malformed(where, "module-path: must be absolute; where the module lies nobody else may write")
    source = found.get("pin-source", "").removeprefix("file://").removeprefix("file:")
    if source and not os.path.isabs(source):
        raise Malformed(where, "pin-source: must be an absolute path, as file:/etc/glassbook/pin")
    return TokenUri(found["module-path"], found["token"], found["object"], Path(source) if source else None)


def format_token_uri(uri: TokenUri) -> str:
    """One line without its end, as `parse_token_uri` reads it."""
    line = f"{SCHEME}token={quote(uri.token)};object={quote(uri.object)}?module-path={quote(uri.module)}"
    return line if uri.pin is None else f"{line}&pin-source=file:{quote(str(uri.pin))}"


AskPin = Callable[[str], bytes | None]


class TokenKey:
    """An Ed25519 key in a token, opened: `public` is 32 bytes.  Usable from many threads.

    Raises TokenUnavailable, Malformed for a key that is not Ed25519, and, for the PIN file, FileRefused and OSError.
    """

    def __init__(self, uri: TokenUri, ask_pin: AskPin) -> None:
        self._uri = uri
        self._ask_pin = ask_pin
        self._session: Any = None
        self._private: Any = None
        with _LOCK:
            self._open()
            self.public: bytes = self._read_public()
            if not verify_ed25519(self.public, self.sign(_PROBE), _PROBE):
                raise Malformed(
                    str(uri),
                    "signs, but not for the public key of the same label; give each pair its own label",
                )

    def sign(self, message: bytes) -> bytes:
        """64 bytes.  Raises TokenUnavailable."""
        with _LOCK:
            if self._session is None or self._session is not _sessions.get(_place(self._uri)):
                self._open()
            try:
                signature: bytes = self._private.sign(message, mechanism=_library().Mechanism.EDDSA)
            except _library().PKCS11Error as error:
                # Everything of this module is opened anew: after a token was away its old handles stay dead.
                _forget(self._uri.module)
                raise _unavailable(self._uri, error) from None
        if len(signature) != ED25519_SIGNATURE_BYTES:
            raise TokenUnavailable(str(self._uri), f"gave a signature of {len(signature)} bytes, not 64")
        return signature

    def _open(self) -> None:
        self._session = _session(self._uri, self._ask_pin)
        self._private = self._object("PRIVATE_KEY")
        if self._private is None:
            raise TokenUnavailable(
                str(self._uri), "no such private key there; look with: pkcs11-tool --list-objects --login"
            )
        if not self._is_ed25519(self._private):
            raise Malformed(str(self._uri), "is a key of another kind; it has to be Ed25519 (EC_EDWARDS)")

    def _object(self, kind: str) -> Any:
        pkcs11 = _library()
        try:
            return self._session.get_key(
                object_class=getattr(pkcs11.ObjectClass, kind), label=self._uri.object
            )
        except pkcs11.NoSuchKey:
            return None
        except pkcs11.MultipleObjectsReturned:
            raise TokenUnavailable(
                str(self._uri), "there are several of this label; give each key its own label"
            ) from None
        except pkcs11.PKCS11Error as error:
            _forget(self._uri.module)
            raise _unavailable(self._uri, error) from None

    def _is_ed25519(self, key: Any) -> bool:
        pkcs11 = _library()
        try:
            return key.key_type == pkcs11.KeyType.EC_EDWARDS and key[pkcs11.Attribute.EC_PARAMS] in _CURVES
        except pkcs11.PKCS11Error:
            return False

    def _read_public(self) -> bytes:
        public = self._object("PUBLIC_KEY")
        if public is None or not self._is_ed25519(public):
            raise TokenUnavailable(
                str(self._uri),
                "the token holds no Ed25519 public key of this label beside the private one; put it there as well",
            )
        try:
            point: bytes = public[_library().Attribute.EC_POINT]
        except _library().PKCS11Error as error:
            raise _unavailable(self._uri, error) from None
        # An OCTET STRING around the point (PKCS#11 2.40), or the point itself (3.0, §2.3.5).
        if len(point) == ED25519_KEY_BYTES + 2 and point[:2] == b"\x04\x20":
            point = point[2:]
        check_ed25519_key(point, str(self._uri))
        return point


def make_token_key(uri: TokenUri, ask_pin: AskPin) -> TokenKey:
    """The key of this label, made in the token when it has none: it can be neither read nor copied out.

    Raises as TokenKey does.
    """
    pkcs11 = _library()
    with _LOCK:
        session = _session(uri, ask_pin)
        try:
            there = list(session.get_objects({pkcs11.Attribute.LABEL: uri.object}))
            if not there:
                # A session that may write, beside the one that is logged in; login holds for all of them.
                with session.token.open(rw=True) as writing:
                    parameters = writing.create_domain_parameters(
                        pkcs11.KeyType.EC_EDWARDS, {pkcs11.Attribute.EC_PARAMS: _CURVES[0]}, local=True
                    )
                    parameters.generate_keypair(
                        mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                        store=True,
                        label=uri.object,
                        id=os.urandom(8),
                        private_template={
                            pkcs11.Attribute.SENSITIVE: True,
                            pkcs11.Attribute.EXTRACTABLE: False,
                        },
                    )
        except pkcs11.PKCS11Error as error:
            _forget(uri.module)
            raise _unavailable(uri, error) from None
    return TokenKey(uri, ask_pin)


# Sessions by module and token: a token lets a process log in once, and several keys may lie in it.
_sessions: dict[tuple[str, str], Any] = {}
_refused: dict[tuple[str, str], bytes] = {}
_asked: dict[tuple[str, str], bytes] = {}
_owner = os.getpid()


def _place(uri: TokenUri) -> tuple[str, str]:
    return uri.module, uri.token


def _library() -> ModuleType:
    try:
        import pkcs11
    except ModuleNotFoundError:
        raise TokenUnavailable(
            "a key in a PKCS#11 token", "needs python-pkcs11; run: pip install 'glassbook[pkcs11]'"
        ) from None
    return pkcs11


def _session(uri: TokenUri, ask_pin: AskPin) -> Any:
    """The open session, logged in; made when there is none."""
    global _owner
    pkcs11 = _library()
    if _owner != os.getpid():
        # A fork has its parent's handles, which mean nothing to the module (PKCS#11 §6.6).
        for module in {module for module, _ in _sessions}:
            _forget(module)
        _owner = os.getpid()
    found = _sessions.get(_place(uri))
    if found is not None:
        return found
    if not os.path.isfile(uri.module):
        raise TokenUnavailable(
            str(uri), f"there is no PKCS#11 module at {uri.module}; install it, or correct the path"
        )
    pin = _pin(uri, ask_pin)
    if _refused.get(_place(uri)) == pin:
        raise TokenUnavailable(
            str(uri),
            "this PIN was refused before and is not tried again, so that the token stays unlocked; mend it",
        )
    try:
        library = pkcs11.lib(uri.module)
        token = library.get_token(token_label=uri.token)
        session = token.open(user_pin=pin.decode("utf-8"))
    except UnicodeDecodeError:
        raise TokenUnavailable(str(uri), "its PIN is not UTF-8") from None
    except pkcs11.PKCS11Error as error:
        if isinstance(error, (pkcs11.PinIncorrect, pkcs11.PinLocked, pkcs11.PinInvalid, pkcs11.PinLenRange)):
            _refused[_place(uri)] = pin
            _asked.pop(_place(uri), None)
        _forget(uri.module)
        raise _unavailable(uri, error) from None
    _sessions[_place(uri)] = session
    _refused.pop(_place(uri), None)
    return session


def _pin(uri: TokenUri, ask_pin: AskPin) -> bytes:
    if uri.pin is not None:
        try:
            pin = read_private(uri.pin, 4096).removesuffix(b"\n").removesuffix(b"\r")
        except FileNotFoundError:
            raise TokenUnavailable(str(uri), f"the PIN file {uri.pin} is not there") from None
        if not pin:
            raise TokenUnavailable(str(uri), f"the PIN file {uri.pin} is empty")
        return pin
    if _place(uri) not in _asked:
        pin_typed = ask_pin(f"PIN of token {uri.token!a}: ")
        if not pin_typed:
            raise TokenUnavailable(
                str(uri), "needs its PIN; name its file with pin-source=, or run it at a terminal"
            )
        _asked[_place(uri)] = pin_typed
    return _asked[_place(uri)]


def _forget(module: str) -> None:
    """Close all of a module; the next use loads it anew."""
    for place in [place for place in _sessions if place[0] == module]:
        del _sessions[place]
    pkcs11 = _library()
    loaded = pkcs11._loaded.get(module)
    if loaded is not None:
        try:
            loaded.finalize()
        except pkcs11.PKCS11Error:
            pass  # it was gone already


def _unavailable(uri: TokenUri, error: Exception) -> TokenUnavailable:
    name = type(error).__name__
    return TokenUnavailable(str(uri), _WORDS.get(name, f"the token does not answer as it should ({name})"))


_WORDS: Final = {
    "PinIncorrect": "the PIN is wrong; mend its file before you try again: tokens lock after a few wrong ones",
    "PinInvalid": "the PIN is wrong; mend its file before you try again: tokens lock after a few wrong ones",
    "PinLenRange": "the PIN is too short or too long; mend its file",
    "PinLocked": "the token is locked after too many wrong PINs; unlock it with its security officer's PIN",
    "PinExpired": "the PIN has expired; set a new one",
    "UserPinNotInitialized": "the token has no user PIN yet; set one",
    "NoSuchToken": "no token of this label is there; plug it in or start it, and go on",
    "MultipleTokensReturned": "several tokens have this label; give each its own",
    "TokenNotPresent": "the token is gone; plug it in or start it, and go on",
    "DeviceRemoved": "the token is gone; plug it in or start it, and go on",
    "ObjectHandleInvalid": "the token or the key in it is gone; bring it back, and go on",
    "KeyHandleInvalid": "the token or the key in it is gone; bring it back, and go on",
    "SessionHandleInvalid": "the token ended the session; it is opened anew at the next signature",
    "GeneralError": "the module fails (CKR_GENERAL_ERROR): is its token there, and its own configuration right?",
    "MechanismInvalid": "the token cannot make Ed25519 signatures (CKM_EDDSA)",
    "TokenWriteProtected": "the token takes no new keys; make the key with its own tool",
    "PKCS11Error": "the module cannot be loaded; is it a PKCS#11 module for this machine?",
}
