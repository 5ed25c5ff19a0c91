"""`public = "s3://…"` and `[bucket]`: what is taken, and what is refused with the member's name."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from ledger.publicfiles.bucket import open_bucket
from ledger.settings import PublicBucket, SettingsRefused, parse_settings

ORIGIN = 'origin = "log.example.gov/a"\n'


def bucket_of(text: str, home: Path = Path("/home/of/log")) -> PublicBucket:
    found = parse_settings((ORIGIN + text).encode(), home).public
    assert isinstance(found, PublicBucket)
    return found


def test_a_bucket_needs_no_more_than_its_name() -> None:
    found = bucket_of('public = "s3://our-logs"')
    assert (found.bucket, found.prefix, found.url) == ("our-logs", "", "s3://our-logs")
    assert (found.endpoint, found.region) == ("https://s3.us-east-1.amazonaws.com", "us-east-1")
    assert found.credentials == Path("/home/of/log/keys/bucket.toml")
    assert not found.virtual_hosted and not found.allow_http


def test_every_member_of_bucket_is_heeded() -> None:
    found = bucket_of(
        'public = "s3://our-logs/access/2026/"\n[bucket]\nendpoint = "https://s3.example.gov:9000/"\n'
        'region = "eu-central-1"\ncredentials = "/etc/key.toml"\nvirtual_hosted = true\nallow_http = true\n'
    )
    assert (found.prefix, found.url) == ("access/2026", "s3://our-logs/access/2026")
    assert (found.endpoint, found.region) == ("https://s3.example.gov:9000", "eu-central-1")
    assert found.credentials == Path("/etc/key.toml") and found.virtual_hosted
    assert not found.allow_http, "an https address is never gone to without TLS"


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost:9000", "[::1]:9000"])
def test_this_machine_may_be_asked_without_tls(host: str) -> None:
    assert bucket_of(f'public = "s3://our-logs"\n[bucket]\nendpoint = "http://{host}"\n').allow_http


def test_another_machine_is_asked_without_tls_when_that_is_said() -> None:
    lines = 'public = "s3://our-logs"\n[bucket]\nendpoint = "http://s3.example.gov"\n'
    with pytest.raises(SettingsRefused, match=r"\[bucket\] endpoint: must be https"):
        bucket_of(lines)
    assert bucket_of(lines + "allow_http = true\n").allow_http


REFUSED = [
    ('public = "https://s3.example.gov/our-logs"', "public: must be a folder, or a bucket"),
    ('public = "gs://our-logs"', "public: must be a folder, or a bucket"),
    ('public = "s3://"', "public: "),
    ('public = "s3://Our-Logs"', "public: "),
    ('public = "s3://our-logs//a"', "public: "),
    ('public = "s3://our-logs/../a"', "public: "),
    ('public = "s3://our-logs/a?b"', "public: "),
    ('public = "s3://key:secret@our-logs"', "public: "),
    ('[bucket]\nregion = "eu-central-1"', "bucket: goes with public"),
    ('public = "s3://our-logs"\nbucket = 1', "bucket: must be a table"),
    ('public = "s3://our-logs"\n[bucket]\nkey = "a"', "[bucket] key: is not a setting"),
    ('public = "s3://our-logs"\n[bucket]\nregion = "EU"', "[bucket] region: "),
    ('public = "s3://our-logs"\n[bucket]\nendpoint = "s3.example.gov"', "[bucket] endpoint: "),
    ('public = "s3://our-logs"\n[bucket]\nendpoint = "https://s3.example.gov/x"', "[bucket] endpoint: "),
    (
        'public = "s3://our-logs"\n[bucket]\nendpoint = "https://key:secret@s3.example.gov"',
        "[bucket] endpoint: ",
    ),
    ('public = "s3://our-logs"\n[bucket]\nvirtual_hosted = "no"', "[bucket] virtual_hosted: must be true or"),
    ('public = "s3://our-logs"\n[bucket]\nallow_http = 1', "[bucket] allow_http: must be true or false"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_a_wrong_member_is_refused_by_its_name(text: str, said: str) -> None:
    with pytest.raises(SettingsRefused) as caught:
        parse_settings((ORIGIN + text).encode(), Path("/home/of/log"))
    assert f"glassbook.toml: {said}" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("virtual_hosted", "address"),
    [("false", "https://s3.example.gov:9000"), ("true", "https://our-logs.s3.example.gov:9000")],
)
def test_where_requests_go_is_not_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, virtual_hosted: str, address: str
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "https://elsewhere.example",
        "AWS_ENDPOINT_URL": "https://elsewhere.example",
        "AWS_ENDPOINT": "https://elsewhere.example",
        "AWS_REGION": "elsewhere-1",
        "AWS_ACCESS_KEY_ID": "another",
        "AWS_SECRET_ACCESS_KEY": "another",
        "AWS_SESSION_TOKEN": "another",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    }.items():
        monkeypatch.setenv(name, value)
    key = tmp_path / "keys" / "bucket.toml"
    key.parent.mkdir()
    key.touch(0o600)
    key.write_text('key_id = "a"\nsecret = "b"\n')
    lines = f'endpoint = "https://s3.example.gov:9000"\nregion = "r-1"\nvirtual_hosted = {virtual_hosted}\n'
    found = open_bucket(bucket_of(f'public = "s3://our-logs"\n[bucket]\n{lines}', tmp_path))
    config = {str(name): str(value) for name, value in found._objects.config.items()}  # type: ignore[union-attr]
    assert config["endpoint_url_s3"] == address and config["region"] == "r-1"
    assert config["virtual_hosted_style_request"] == virtual_hosted and config["skip_signature"] == "false"
    assert "elsewhere" not in repr(
        {name: value for name, value in config.items() if name == "endpoint_url_s3"}
    )


def test_the_settings_in_the_manual_are_settings() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    lines = manual.partition('    public = "s3://')[2].partition("\n\nThe file of")[0]
    found = bucket_of(textwrap.dedent(f'    public = "s3://{lines}'))
    assert found.url == "s3://our-logs/access/2026" and found.endpoint == "https://s3.example.gov"
