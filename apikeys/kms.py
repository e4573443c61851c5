"""Masters that an outside key management service has wrapped: what stands in our configuration is ciphertext, and
the service turns it into the key when the process starts.

A wrapped master reads `id:SCHEME:...`; the scheme names who can unwrap it. There is one: `vault`, the transit
engine of HashiCorp Vault or whatever speaks its API.
"""

import base64
import binascii
import json
import re
from typing import Any, Protocol
from urllib.parse import quote

from digitalme.errors import DigitalMeError
from providers import outbound

TIMEOUT_SECONDS = 10.0
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")


class CannotUnwrap(Exception):
    """A service did not give a key. The message is for operators and has neither key, ciphertext nor token."""


class Unwrapper(Protocol):
    """What an outside service must be able to do."""

    def unwrap(self, key_id: str, wrapped: str) -> bytes:
        """Return the master, 32 bytes or more; `wrapped` is what stands behind `id:`. Raises CannotUnwrap."""
        ...


class VaultTransit:
    """Vault's transit engine: POST /v1/transit/decrypt/NAME with X-Vault-Token, the plaintext comes as base64.

    Source: https://developer.hashicorp.com/vault/api-docs/secret/transit#decrypt-data
    """

    def __init__(self, address: str, token: str, name: str) -> None:
        if not address or not token:
            raise CannotUnwrap("DIGITALME_VAULT_ADDR and DIGITALME_VAULT_TOKEN must both be set.")
        if not _NAME.fullmatch(name) or not _TOKEN.fullmatch(token):
            raise CannotUnwrap("DIGITALME_VAULT_KEY or DIGITALME_VAULT_TOKEN has characters that it cannot have.")
        self._address, self._token, self._name = address, token, name

    def __repr__(self) -> str:
        return "<VaultTransit>"

    def unwrap(self, key_id: str, wrapped: str) -> bytes:
        """Have one master decrypted. Raises CannotUnwrap."""
        data = self._post("decrypt", {"ciphertext": wrapped})
        try:
            return base64.b64decode(data["plaintext"], validate=True)
        except (binascii.Error, ValueError, TypeError, KeyError):
            raise CannotUnwrap("the Vault's answer has no key in it.") from None

    def new_wrapped(self) -> str:
        """Have a new random master made, and return it wrapped: nobody ever sees it in the clear.

        Source: https://developer.hashicorp.com/vault/api-docs/secret/transit#generate-data-key
        """
        wrapped = self._post("datakey/wrapped", {"bits": 256}).get("ciphertext")
        if not isinstance(wrapped, str) or not re.fullmatch(r"vault:v[0-9]+:[A-Za-z0-9+/=]+", wrapped):
            raise CannotUnwrap("the Vault's answer has no wrapped key in it.")
        return wrapped

    def _post(self, deed: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = outbound.fetch(
                "POST",
                f"{self._address}/v1/transit/{deed}/{quote(self._name)}",
                headers={"X-Vault-Token": self._token, "Content-Type": "application/json"},
                body=json.dumps(body).encode(),
                timeout=TIMEOUT_SECONDS,
                operator=True,
            )
        except DigitalMeError as problem:
            raise CannotUnwrap(f"DIGITALME_VAULT_ADDR: {problem.message}") from None
        if answer.status != 200:
            raise CannotUnwrap(_refusal(answer.status, self._name))
        try:
            data = json.loads(answer.body)["data"]
        except (ValueError, KeyError, TypeError):
            raise CannotUnwrap("the Vault's answer is not what its API documents.") from None
        if not isinstance(data, dict):
            raise CannotUnwrap("the Vault's answer is not what its API documents.")
        return data


def of(source: Any, wrapped: str) -> Unwrapper:
    """Return the service that has wrapped a master, as the settings describe it. Raises CannotUnwrap."""
    if wrapped.startswith("vault:"):
        return vault_of(source)
    raise CannotUnwrap("it is neither base64 nor of a kind that is known here (vault:...).")


def vault_of(source: Any) -> VaultTransit:
    """Return the Vault of these settings. Raises CannotUnwrap if they do not describe one."""
    return VaultTransit(source.DIGITALME_VAULT_ADDR, source.DIGITALME_VAULT_TOKEN, source.DIGITALME_VAULT_KEY)


def _refusal(status: int, name: str) -> str:
    if status == 403:
        return "the Vault refuses the token (403). It needs 'update' on this key of the transit engine."
    if status in (400, 404):
        return f"the Vault cannot decrypt it with the transit key '{name}' ({status})."
    if status == 503:
        return "the Vault is sealed or in maintenance (503)."
    return f"the Vault answered with status {status}."
