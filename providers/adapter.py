"""What a provider is that no definition can describe: an adapter in code answers in its place."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from providers.manifest import Manifest, Operation
from providers.outcomes import Outcome
from providers.registry import Provider
from providers.secrets import Secret

Headers = list[tuple[bytes, bytes]]


class Answer(Protocol):
    """What a provider answers: head first, then its body in pieces as they arrive."""

    status: int
    headers: Headers

    def chunks(self) -> AsyncIterator[bytes]: ...

    async def read(self, limit: int) -> bytes: ...

    async def close(self) -> None: ...


class Upload(Protocol):
    """A body that is still coming in; `length` is that of all of it in bytes, None if only its end tells."""

    length: int | None

    def pieces(self) -> AsyncIterator[bytes]: ...


class Wire(Protocol):
    """The gateway's way to HTTP servers: `providers.outbound.Relay`."""

    async def send(
        self,
        provider: Provider,
        method: str,
        path_and_query: str,
        headers: dict[str, str],
        body: bytes,
        upload: Upload | None = None,
    ) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A call to answer: `path` with its query as it came, headers that may leave this server, `parsed` where the
    operation's dialect is read. `fields` is the opened credential, empty where none is needed; `base` the address
    at which the caller reaches the provider here; `upload` a body that is still coming in, in the place of `body`,
    for an adapter that takes uploads."""

    provider: Provider
    operation: Operation
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    parsed: Mapping[str, object] | None
    wire: Wire
    fields: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    base: str = ""
    upload: Upload | None = None


class Adapter(ABC):
    """Base of all adapters; a definition names its own by `adapter`."""

    # Whether each credential names for itself where it may be sent.
    own_destination = False
    # Whether it hands bodies on as they come; if not, it gets them whole.
    takes_uploads = False
    # Whether a call ends when its caller leaves before the answer.
    ends_with_caller = False

    def destination(self, provider: Provider, fields: Mapping[str, Secret]) -> tuple[str, ...]:
        """Return where a credential with these fields may be sent; it is sealed together with them, so that
        whoever changes it enters the secret again."""
        return provider.destination

    def check_fields(self, manifest: Manifest, fields: Mapping[str, Secret]) -> None:
        """Raise InvalidKeyFormat, without a value, unless the fields, each of which fits by itself, fit together."""
        return None

    def check(self, provider: Provider, fields: Mapping[str, Secret], *, timeout: float) -> Outcome | None:
        """Return whether the credential works; None where the definition says how to find out.

        Blocking, for `timeout` seconds at most. An empty message stands for the usual one of the category.
        Raises InvalidKeyFormat, ProviderUnavailable, ValidationTimeout and SecurityViolation, of which the
        caller makes an outcome.
        """
        return None

    @abstractmethod
    async def answer(self, asked: Asked) -> Answer:
        """Return what a call is answered.

        Raises DigitalMeError: InvalidRequest for one that cannot be carried out, and ProviderUnavailable,
        whose reason "connect" says that nothing has reached the provider.
        """


class Said:
    """An answer that is there already, its body in pieces."""

    __slots__ = ("_chunks", "headers", "status")

    def __init__(self, status: int, headers: Headers, chunks: Sequence[bytes]) -> None:
        self.status, self.headers, self._chunks = status, headers, chunks

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the pieces, each by itself."""
        for chunk in self._chunks:
            yield chunk
            await asyncio.sleep(0)  # so that each piece leaves by itself, as a real stream's do

    async def read(self, limit: int) -> bytes:
        """Return the whole body; who made it has seen to its length."""
        return b"".join(self._chunks)

    async def close(self) -> None:
        """There is nothing to close."""
