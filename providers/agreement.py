"""What in a provider definition only the whole can show: keys that need, or rule out, one another."""

from collections.abc import Mapping
from typing import Any

from providers import patterns, rules, shape
from providers.operations import ANY

# What stands in the address where a person is asked in any case.
RESERVED = frozenset(
    {
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
    }
)
_UNBOUNDED = (
    "json",
    "openai_images",
    "openai_speech",
    "openai_transcription",
    "openai_later",
    "anthropic_later",
    "gemini",
    "captcha",
)


class Agreement:
    """Checks a definition whose single keys the schema has let through."""

    def __init__(self, reader: shape.Reader, given: Mapping[str, Any]) -> None:
        self.refuse = reader.refuse
        self.given = given
        self.fields = {one["name"] for one in given["fields"]}

    def check(self) -> None:
        """Note every flaw with the reader."""
        self._whole()
        for place, one in enumerate(self.given["fields"]):
            self._pattern(("fields", place, "pattern"), one["pattern"])
            self._kind(("fields", place), one)
        for place, one in enumerate(self.given["hosts"]):
            self._host(("hosts", place), one)
        for place, one in enumerate(self.given["auth"]):
            self._auth(("auth", place), one)
        for place, one in enumerate(self.given["operations"]):
            self._operation(("operations", place), one)
        for place, one in enumerate(self.given["check"]):
            self._check(("check", place), one)
        if self.given["oauth"]:
            self._oauth(self.given["oauth"])
        for place, one in enumerate(self.given["failures"]):
            self._condition(("failures", place, "json"), one)

    def _whole(self) -> None:
        given, names = self.given, [one["name"] for one in self.given["operations"]]
        if not names:
            self.refuse(("operations",), "is empty; name at least one.")
        if len(set(names)) != len(names):
            self.refuse(("operations",), "names one operation twice; give each its own name.")
        if any(name.startswith("oauth_") for name in self.fields):
            self.refuse(("fields",), "names one that begins with oauth_, as what is kept beside them does; rename it.")
        if len(self.fields) != len(given["fields"]):
            self.refuse(("fields",), "names one field twice; give each its own name.")
        if given["needs_key"] != bool(self.fields):
            self.refuse(("fields",), "must be there if and only if needs_key is true.")
        adapted = bool(given["adapter"])
        if given["needs_key"] and not given["base_url"] and not adapted:
            self.refuse(("base_url",), "is missing; a provider with a key has an address.")
        if given["several"] and not given["needs_key"]:
            self.refuse(("several",), "makes no sense without a key; remove it.")
        if given["needs_key"] and not adapted and not any(not one["extra"] for one in given["auth"]):
            self.refuse(("auth",), "is missing; say where the key goes.")
        tickets = (given["rewrite"] or {}).get("tickets", ())
        if set(tickets) - set((given["rewrite"] or {}).get("fields", ())):
            self.refuse(("rewrite", "tickets"), "must be among 'fields'.")
        if "path" in given["accepts_token_in"] and not any(one["place"] == "path" for one in given["auth"]):
            self.refuse(("accepts_token_in",), "names 'path', so 'auth' must have that place too.")

    def _kind(self, path: shape.Path, one: Mapping[str, Any]) -> None:
        signs = one["kind"] != "key"
        if signs != bool(one["gives"]) or one["gives"] == one["name"]:
            self.refuse((*path, "gives"), "must name another field if and only if the kind is not 'key'.")
        if one["gives"] and one["gives"] not in self.fields:
            self.refuse((*path, "gives"), "must name one of the fields.")
        if signs and not one["secret"]:
            self.refuse((*path, "secret"), "must be true for this kind.")
        if one["kind"] == "google_refresh_token" and not {"client_id", "client_secret"} <= self.fields:
            self.refuse((*path, "kind"), "needs fields named client_id and client_secret beside it.")

    def _host(self, path: shape.Path, one: Mapping[str, Any]) -> None:
        wild = "*" in one["prefix"] or "*" in one["base_url"]
        if wild and one["base_url"] != f"https://{one['prefix'][1:]}":
            self.refuse((*path, "base_url"), "must be https:// and what the prefix says, where one has a star.")
        if wild and not one["strip"]:
            self.refuse((*path, "strip"), "must be true where the path begins with the host.")

    def _oauth(self, one: Mapping[str, Any]) -> None:
        if one["field"] not in self.fields:
            self.refuse(("oauth", "field"), "must name one of the fields.")
        names = [scope["name"] for scope in one["scopes"]]
        if len(set(names)) != len(names):
            self.refuse(("oauth", "scopes"), "names one scope twice; name each once.")
        if any(name in RESERVED for name in one["parameters"] or {}):
            self.refuse(("oauth", "parameters"), "names one that is set by the flow itself; remove it.")

    def _pattern(self, path: shape.Path, pattern: str) -> None:
        if found := patterns.flaw(pattern):
            self.refuse(path, f"{found}.")

    def _auth(self, path: shape.Path, one: Mapping[str, Any]) -> None:
        if one["place"] == "none":
            return
        if one["field"] not in self.fields:
            self.refuse((*path, "field"), "must name one of the fields in 'auth'.")
        named = one["place"] in ("header", "query", "form", "json")
        if named != bool(one["name"]):
            self.refuse(
                (*path, "name"), "is missing; name it." if named else "has no meaning for this place; remove it."
            )
        if (one["place"] == "path") != bool(one["prefixes"]):
            self.refuse((*path, "prefixes"), "must be there if and only if the place is 'path'.")
        if one["scheme"] and one["place"] != "header":
            self.refuse((*path, "scheme"), "is for the place 'header' alone; remove it.")
        self._pattern((*path, "when"), one["when"])

    def _operation(self, path: shape.Path, one: Mapping[str, Any]) -> None:
        if (one["dialect"] == "json") != bool(one["usage"]):
            self.refuse((*path, "usage"), "must be there if and only if the dialect is 'json'.")
        if one["system"] and one["path"] == ANY:
            self.refuse(
                (*path, "system"), "cannot be true for any path; name the paths that the house's key may serve."
            )
        if one["system"] and one["dialect"] in _UNBOUNDED:
            self.refuse(
                (*path, "system"),
                f"cannot be true for the dialect '{one['dialect']}': its cost cannot be bounded beforehand.",
            )
        if one["unit_price"] and one["dialect"] not in ("none", "json", "captcha"):
            self.refuse((*path, "unit_price"), "has no meaning where tokens are priced; remove it.")
        if one["path"] == ANY and any(auth["place"] == "path" for auth in self.given["auth"]):
            self.refuse(
                (*path, "path"), "cannot be any path where the key stands in the path; name what may follow it."
            )
        if "{" in one["name"] and one["name"].partition("{")[2].partition("}")[0] not in one["path"]:
            self.refuse((*path, "name"), "names a segment that the path does not have.")

    def _check(self, path: shape.Path, one: Mapping[str, Any]) -> None:
        if one["field"] and one["field"] not in self.fields:
            self.refuse((*path, "field"), "must name one of the fields.")
        if one["auth"]:
            self._auth((*path, "auth"), one["auth"])
        if one["success"]:
            self._condition((*path, "success", "json"), one["success"])
        for place, rule in enumerate(one["errors"]):
            self._condition((*path, "errors", place, "json"), rule)
        for place, fact in enumerate(one["facts"]):
            if bool(fact["json"]) == bool(fact["header"]):
                self.refuse(
                    (*path, "facts", place, "json"), "or 'header' must say where the fact is; give one of the two."
                )

    def _condition(self, path: shape.Path, one: Mapping[str, Any]) -> None:
        if flaw := rules.flaw(one):
            self.refuse(path[:-1], f"{flaw}.")
