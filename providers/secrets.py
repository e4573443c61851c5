"""A value that must not be seen: it shows, prints and serialises as a mark only."""

import hmac
from typing import Any, NoReturn

MARK = "<secret>"


class Secret:
    """Holds a secret text. `reveal` is for the modules that put it where the provider wants it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def __repr__(self) -> str:
        return MARK

    __str__ = __repr__

    def __format__(self, form: str) -> str:
        return MARK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("A secret is not pickled or copied.")
