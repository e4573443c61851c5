"""From where the present request comes, so that nobody has to hand it down to whatever changes something."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any


@dataclass(frozen=True, slots=True)
class Origin:
    """A request: the address of its connection, its id and whether that was made here, and who is signed
    in, asked when it matters."""

    address: str
    request_id: str
    own_id: bool
    person: Callable[[], Any]


_origin: ContextVar[Origin | None] = ContextVar("digitalme_audit_origin", default=None)


def enter(*, address: str, request_id: str, own_id: bool, person: Callable[[], Any]) -> None:
    """Take this request as the origin of what follows in this context, until `leave`.

    `own_id` is false for an id that the caller sent. `person` returns the request's user, signed in or not.
    """
    _origin.set(Origin(_clean(address), request_id, own_id, person))


def leave() -> None:
    """Forget the request."""
    _origin.set(None)


def current() -> Origin | None:
    """Return where the present request comes from; None outside of one."""
    return _origin.get()


def _clean(address: str) -> str:
    """Return the address in its one form; what is none, such as the name of a socket, becomes empty."""
    try:
        return str(ip_address(address.partition("%")[0]))
    except ValueError:
        return ""
