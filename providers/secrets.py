"""The one type that plaintext secrets travel in: it prints as nothing and goes nowhere by accident."""

import hmac
from typing import NoReturn, final


@final
class Secret:
    """A secret string.

    It cannot be printed, formatted, iterated, measured, copied, pickled or written as JSON. Equality
    takes the same time wherever two secrets differ. `reveal` is called where a credential is put into
    a request or sealed, and nowhere else (held by tests/providers/test_secrets.py).
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # a hash would be a fingerprint without a key
    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Return the plaintext."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("A secret does not change.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("A secret does not change.")

    def __copy__(self) -> NoReturn:
        raise TypeError("A secret is not copied.")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("A secret is not copied.")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A secret is not pickled.")
