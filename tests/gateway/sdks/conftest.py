"""What the SDKs' tests share: a provider that answers by method and path, and a gateway that speaks https."""

import contextlib
import datetime
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes import FakeProvider, Manner, Reply, Seen
from tests.gateway.conftest import Person, WebProcess, until, web_process

Routes = Mapping[str, Reply | Callable[[Seen], Reply]]


def answering(provider: FakeProvider, routes: Routes) -> None:
    """Let the provider answer by "METHOD /path"; what is not foreseen it does not know."""

    def reply(seen: Seen) -> Reply:
        found = routes.get(f"{seen.method} {urlsplit(seen.path).path}")
        if found is None:
            return Reply(404, {"message": "Not Found", "path": seen.path})
        # A copy: what answers takes headers out of it.
        one = found(seen) if callable(found) else found
        return Reply(one.status, one.value, dict(one.headers))

    provider.manner = Manner(reply=reply)


def settled(person: Person, count: int) -> list[tuple[str, str, str, str]]:
    """Wait for so many records and return operation, status, price and payer of each, oldest first."""
    until(lambda: len(person.records()) >= count)
    found = person.records()
    assert len(found) == count
    return [(one.operation, one.status, f"{one.cost:f}".rstrip("0").rstrip("."), one.key_source) for one in found]


def only_the_key(provider: FakeProvider, person: Person, name: str, value: str) -> None:
    """Check that every request carried the person's key in this header, and none the access token."""
    assert provider.seen
    assert person.token not in repr(provider.seen)
    assert {seen.headers.get(name) for seen in provider.seen} == {value}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of its own for 127.0.0.1, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "gateway.pem"
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="session")
def secure_web(
    django_db_setup: None, django_db_blocker: Any, provider: FakeProvider, certificate: Path
) -> Iterator[WebProcess]:
    with contextlib.ExitStack() as stack:
        with django_db_blocker.unblock():
            process = stack.enter_context(web_process(provider.url, tls=certificate))
        yield process
