"""A house whose master changes: the configurations before, meanwhile and after, and what is sealed with which."""

import base64
import os

from apikeys import resolution, sealed_rows
from apikeys.models import Credential
from tests.commands import run


def new() -> str:
    return base64.b64encode(os.urandom(32)).decode()


ONE, TWO, THREE, SECOND_PRINT = (new() for _ in range(4))
OLD = f"k1:{ONE}"
BOTH = f"k2:{TWO},k1:{ONE}"


def opened() -> set[str]:
    return {resolution.unseal(resolution.resolved(one))["api_key"].reveal() for one in Credential.objects.all()}


def sealed_with() -> set[str]:
    """The masters that the columns name, which must be those that the ciphertexts name."""
    ids = set(Credential.objects.values_list("key_id", flat=True))
    assert ids == set().union(*(sealed_rows.key_ids(one.sealed) for one in Credential.objects.all()))
    return ids


def rotate(*arguments: str) -> str:
    return run("rotate_master_key", *arguments)
