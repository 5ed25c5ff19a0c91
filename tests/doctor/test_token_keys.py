"""Keys in a real PKCS#11 token: what they sign, and what is said when the token is not as it should be."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from smalldepartment import SmallDepartment
from softtoken import PIN, SoftToken, module
from typer.testing import CliRunner

from ledger.core.errors import Malformed
from ledger.core.jose import parse_jwk
from ledger.core.keys import Ed25519PrivateKey, verify_ed25519
from ledger.department.cli import app
from ledger.files import FileRefused, write_atomic
from ledger.keyfiles import read_ed25519, read_signing_key, take_token_key, write_key
from ledger.tokenkeys import TokenUnavailable, format_token_uri, parse_token_uri

GOOD = "pkcs11:token=glassbook;object=source?module-path=/usr/lib/x.so&pin-source=file:/etc/pin"


def key_file(folder: Path, token: SoftToken, name: str = "source") -> Path:
    path = folder / f"{name}.key"
    write_atomic(path, token.uri(name).encode() + b"\n", 0o600)
    return path


def in_token(token: SoftToken) -> Any:
    """A session of the test's own that may write."""
    return pkcs11.lib(module()).get_token(token_label=token.label).open(user_pin=PIN, rw=True)


def test_a_uri_is_not_read_as_it_is_written() -> None:
    for text in (GOOD, GOOD.partition("&")[0], GOOD.replace("glassbook", "a%20token%3B%C3%A9")):
        uri = parse_token_uri(text + "\n", "here")
        assert format_token_uri(uri) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "one line"),
        ("pkcs11", "one line"),
        ("PKCS11:" + GOOD[7:], "one line"),
        (GOOD + "\n\n", "one line"),
        (GOOD.replace("source?", "my source?"), "one line"),
        (GOOD.replace("source?", "sourcé?"), "one line"),
        (GOOD.replace(";object=source", ""), "object: is missing"),
        (GOOD.replace("token=glassbook;", ""), "token: is missing"),
        (GOOD.replace("=source?", "=?"), "object: is missing"),
        (GOOD.replace("source?", "%0A?"), "object: is missing, or no text"),
        (GOOD.replace("source?", "%ff?"), "object: is not UTF-8"),
        (GOOD.replace("object=", "id=%01;object="), "not understood"),
        (GOOD.replace("object=", "object=a;object="), "stands twice"),
        (GOOD.replace("object=", "type=public;object="), "must be private"),
        (GOOD.replace("/usr/lib/x.so", "x.so"), "module-path: must be absolute"),
        (GOOD.replace("file:/etc/pin", "pin"), "pin-source: must be an absolute path"),
        (GOOD + "&pin-value=1234", "holds the PIN"),
        (GOOD + "&", "not understood"),
    ],
)
def test_a_uri_that_is_none_is_taken(text: str, says: str) -> None:
    with pytest.raises(Malformed, match=says) as refused:
        parse_token_uri(text, "source.key")
    assert "1234" not in str(refused.value)


def test_a_key_in_the_token_signs_otherwise_than_one_in_a_file(token: SoftToken, tmp_path: Path) -> None:
    key, content = take_token_key(token.uri("source"))
    path = tmp_path / "source.key"
    write_atomic(path, content, 0o600)
    again = read_signing_key(path)
    assert again.public == key.public
    for message in (b"", b"a", b"glassbook" * 500):
        assert verify_ed25519(key.public, again.sign(message), message)
        assert again.sign(message) == key.sign(message)  # Ed25519 is deterministic
    assert take_token_key(token.uri("source"))[0].public == key.public
    assert take_token_key(token.uri("other"))[0].public != key.public


def test_a_key_made_in_the_token_can_be_taken_out(token: SoftToken) -> None:
    take_token_key(token.uri("source"))
    with pkcs11.lib(module()).get_token(token_label=token.label).open() as session:
        private = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label="source")
        assert private[pkcs11.Attribute.SENSITIVE] and not private[pkcs11.Attribute.EXTRACTABLE]
        with pytest.raises(pkcs11.PKCS11Error):
            private[pkcs11.Attribute.VALUE]


def test_many_threads_get_a_signature_of_another_message(token: SoftToken) -> None:
    key, _ = take_token_key(token.uri("source"))
    bad: list[bytes] = []

    def sign(number: int) -> None:
        for at in range(40):
            message = b"%d.%d" % (number, at)
            if not verify_ed25519(key.public, key.sign(message), message):
                bad.append(message)

    threads = [threading.Thread(target=sign, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bad == []


def test_a_fork_signs_with_handles_of_its_parent(token: SoftToken) -> None:
    key, _ = take_token_key(token.uri("source"))
    child = os.fork()
    if not child:
        good = False
        try:
            good = verify_ed25519(key.public, key.sign(b"child"), b"child")
        finally:
            os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert verify_ed25519(key.public, key.sign(b"parent"), b"parent")


def test_a_token_that_was_away_needs_a_restart(token: SoftToken) -> None:
    key, _ = take_token_key(token.uri("source"))
    other, _ = take_token_key(token.uri("other"))
    token.take_away()
    for _ in range(3):
        with pytest.raises(TokenUnavailable, match=r"key 'source' in token 'glassbook'"):
            key.sign(b"a")
    token.bring_back()
    for one in (key, other, key):
        assert verify_ed25519(one.public, one.sign(b"a"), b"a")


def test_a_wrong_pin_is_tried_until_the_token_locks(token: SoftToken, tmp_path: Path) -> None:
    take_token_key(token.uri("source"))
    from ledger import tokenkeys

    tokenkeys._forget(module())
    path = key_file(tmp_path, token)
    token.write_pin("9999")
    with pytest.raises(TokenUnavailable, match="the PIN is wrong") as first:
        read_signing_key(path)
    for _ in range(5):
        with pytest.raises(TokenUnavailable, match="is not tried again"):
            read_signing_key(path)
    assert "9999" not in str(first.value)
    token.write_pin(PIN)
    assert len(read_signing_key(path).sign(b"a")) == 64


@pytest.mark.parametrize(
    "name", ["PinLocked", "PinExpired", "TokenNotPresent", "DeviceRemoved", "DeviceError"]
)
def test_what_the_token_says_of_itself_is_told_as_a_python_name(name: str) -> None:
    from ledger.tokenkeys import _unavailable

    told = str(_unavailable(parse_token_uri(GOOD, "x"), getattr(pkcs11, name)()))
    assert told.startswith("key 'source' in token 'glassbook': ") and (
        name == "DeviceError" or name not in told
    )


def test_a_pin_file_that_others_read_is_used(token: SoftToken, tmp_path: Path) -> None:
    path = key_file(tmp_path, token)
    token.pin.chmod(0o644)
    with pytest.raises(FileRefused, match="chmod 600"):
        read_signing_key(path)
    token.write_pin("")
    with pytest.raises(TokenUnavailable, match="is empty"):
        read_signing_key(path)
    token.pin.unlink()
    with pytest.raises(TokenUnavailable, match="is not there"):
        read_signing_key(path)


def test_without_a_pin_file_and_a_terminal_the_module_is_asked(token: SoftToken) -> None:
    with pytest.raises(TokenUnavailable, match="needs its PIN"):
        take_token_key(token.uri("source").partition("&")[0])


@pytest.mark.parametrize(
    ("replace", "says"),
    [
        (("libsofthsm2.so", "nosuch.so"), "there is no PKCS#11 module"),
        (("token=glassbook", "token=elsewhere"), "no token of this label"),
        (("object=source", "object=nothing"), "no such private key"),
    ],
)
def test_what_is_missing_is_not_named(
    token: SoftToken, tmp_path: Path, replace: tuple[str, str], says: str
) -> None:
    take_token_key(token.uri("source"))
    path = tmp_path / "k.key"
    write_atomic(path, token.uri("source").replace(*replace).encode(), 0o600)
    with pytest.raises(TokenUnavailable, match=says):
        read_signing_key(path)


def test_a_file_that_is_no_module_ends_the_program(token: SoftToken, tmp_path: Path) -> None:
    fake = tmp_path / "module.so"
    fake.write_bytes(b"not a library")
    with pytest.raises(TokenUnavailable, match="cannot be loaded"):
        take_token_key(token.uri("source").replace(module(), str(fake)))


def test_a_key_of_another_kind_signs(token: SoftToken, tmp_path: Path) -> None:
    with in_token(token) as session:
        session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True, label="rsa")
        curve = {pkcs11.Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters("secp256r1")}
        session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True).generate_keypair(
            store=True, label="p256"
        )
        session.generate_key(pkcs11.KeyType.AES, 256, store=True, label="aes")
    from ledger import tokenkeys

    tokenkeys._forget(module())
    for name in ("rsa", "p256"):
        with pytest.raises(Malformed, match="another kind"):
            read_signing_key(key_file(tmp_path, token, name))
    with pytest.raises(TokenUnavailable, match="no such private key"):
        take_token_key(token.uri("aes"))


def test_half_a_pair_or_two_pairs_of_one_label_sign(token: SoftToken, tmp_path: Path) -> None:
    first, _ = take_token_key(token.uri("one"))
    take_token_key(token.uri("two"))
    take_token_key(token.uri("half"))
    from ledger import tokenkeys

    tokenkeys._forget(module())
    public, private = pkcs11.ObjectClass.PUBLIC_KEY, pkcs11.ObjectClass.PRIVATE_KEY
    with in_token(token) as session:
        session.get_key(object_class=public, label="half").destroy()
        session.get_key(object_class=public, label="two")[pkcs11.Attribute.LABEL] = "mixed"
        session.get_key(object_class=private, label="one")[pkcs11.Attribute.LABEL] = "mixed"
    tokenkeys._forget(module())
    with pytest.raises(TokenUnavailable, match="no Ed25519 public key"):
        read_signing_key(key_file(tmp_path, token, "half"))
    with pytest.raises(Malformed, match="not for the public key"):
        read_signing_key(key_file(tmp_path, token, "mixed"))
    assert first.public


def test_a_vrf_key_is_looked_for_in_a_token(token: SoftToken, tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="has to be in a file"):
        read_ed25519(key_file(tmp_path, token))


def test_a_key_file_with_a_uri_may_be_read_by_others(token: SoftToken, tmp_path: Path) -> None:
    path = key_file(tmp_path, token)
    path.chmod(0o644)
    with pytest.raises(FileRefused, match="chmod 600"):
        read_signing_key(path)


def test_a_key_in_a_file_is_no_signing_key_any_more(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    write_key(tmp_path / "k", key, b"words")
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    assert read_signing_key(tmp_path / "k", b"words").public == key.public


def test_rotate_key_cannot_take_a_key_in_the_token(token: SoftToken, tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    settings = small.home_folder / "department.toml"
    before = settings.read_text()
    words = ["rotate-key", "--dir", str(small.home_folder)]
    gone = CliRunner().invoke(app, [*words, "--key", token.uri("next").replace("glassbook", "elsewhere")])
    assert gone.exit_code == 3 and "no token of this label" in gone.output
    assert CliRunner().invoke(app, [*words, "--key", "pkcs11:object=x"]).exit_code == 3
    assert settings.read_text() == before
    made = CliRunner().invoke(app, [*words, "--key", token.uri("next")])
    assert made.exit_code == 0, made.output
    key, content = take_token_key(token.uri("next"))
    assert (small.home_folder / "keys" / "source-2.key").read_bytes() == content
    statement = json.loads((small.home_folder / "statement.json").read_text())
    assert parse_jwk(statement["key"], "key") == key.public
    small.log.change_source(small.source, key=statement["key"])
    small.ledger.publish()
    with small.home() as home:
        assert home.key(home.registration(small.now, print)).public == key.public
    again = CliRunner().invoke(app, [*words, "--key", token.uri("next")])
    assert again.exit_code == 3 and "the register named before" in again.output
    assert CliRunner().invoke(app, [*words, "--key", token.uri("third")]).exit_code == 0
