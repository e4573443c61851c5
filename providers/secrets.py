"""The one type that plaintext secrets travel in: it prints as nothing and goes nowhere by accident."""

import hmac
from typing import NoReturn, final

from digitalme import logs


@final
class Secret:
    """A secret string.

    It cannot be printed, formatted, iterated, measured, copied, pickled or written as JSON. Equality
    takes the same time wherever two secrets differ. `reveal` is called where a credential is put into
    a request or sealed, and nowhere else (held by tests/providers/test_secrets.py); from then on the
    logs of this request know what not to write.
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # a hash would be a fingerprint without a key
    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("A secret has no other kinds.")

    def reveal(self) -> str:
        """Return the plaintext."""
        logs.watch(self._value)
        return self._value

    reveal.alters_data = True  # type: ignore[attr-defined]  # so that no template calls it

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (one._value.encode(errors="surrogatepass") for one in (self, other))
        return hmac.compare_digest(mine, theirs)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("A secret does not change.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("A secret does not change.")

    def __copy__(self) -> NoReturn:
        raise TypeError("A secret is not copied.")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("A secret is not copied.")

    def __getstate__(self) -> NoReturn:
        raise TypeError("A secret is not pickled.")

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled.")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A secret is not pickled.")
