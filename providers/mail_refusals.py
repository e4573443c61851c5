"""What it means that a mail server refused: for a check, for a caller, in words that say what to do."""

from providers.mail_servers import Kind, Refused
from providers.outcomes import Category

_TLS = "The password was not sent."
# What a check comes to, the status that a caller gets, and the sentence.
_MEANINGS: dict[Kind, tuple[Category, int, str]] = {
    "login": (
        Category.INVALID,
        401,
        "{host} does not accept this user name with this password. Many providers want an app password here, made "
        "in the account's security settings, and IMAP or SMTP switched on.",
    ),
    "app_password": (
        Category.INVALID,
        401,
        "{host} wants an app password here, not the account's own. Make one in the account's security settings.",
    ),
    "expired": (Category.EXPIRED, 401, "{host} says that this password has expired. Set a new one there."),
    "busy": (Category.RATE_LIMITED, 429, "{host} takes no more from this account right now. Try again later."),
    "quota": (
        Category.QUOTA,
        429,
        "{host} says that a limit of the account is reached: messages a day, or a full mailbox.",
    ),
    "unavailable": (Category.UNAVAILABLE, 503, "{host} has a problem of its own right now. Try again later."),
    "no_tls": (
        Category.MALFORMED,
        502,
        f"{{host}} offers no encryption on port {{port}}. {_TLS} Choose another port, or 'tls' for it.",
    ),
    "certificate": (
        Category.NETWORK,
        502,
        f"The certificate of {{host}} cannot be trusted: it is self-signed, expired or made for another name. {_TLS}",
    ),
    "wrong_security": (
        Category.MALFORMED,
        502,
        f"{{host}} does not begin with TLS on port {{port}}. {_TLS} Choose 'starttls' for it, or another port.",
    ),
    "no_login": (
        Category.MALFORMED,
        502,
        "{host} offers no login with user name and password on port {port}, or not with these characters.",
    ),
    "no_utf8": (
        Category.LIMITED,
        422,
        "{host} takes no addresses with letters beyond ASCII before the @ (SMTPUTF8). Use another address of theirs.",
    ),
    "sender": (Category.LIMITED, 422, "{host} does not let this account send from its address."),
    "recipients": (Category.LIMITED, 422, "{host} takes none of the recipients."),
    "content": (Category.LIMITED, 422, "{host} does not take the message."),
    "too_large": (Category.LIMITED, 413, "The message is larger than {host}, or this server, takes."),
    "folder": (Category.LIMITED, 404, "The mailbox has no such folder."),
    "search": (Category.LIMITED, 422, "{host} cannot search for this."),
}


def category(refused: Refused) -> Category:
    """Return what it means for a check."""
    return _MEANINGS[refused.kind][0]


def status(refused: Refused) -> int:
    """Return the HTTP status that a caller gets."""
    return _MEANINGS[refused.kind][1]


def sentence(refused: Refused) -> str:
    """Return what a person is told."""
    said = f" (It said {refused.code}.)" if refused.code else ""
    words = _MEANINGS[refused.kind][2]
    return words.replace("{host}", refused.server.host).replace("{port}", str(refused.server.port)) + said
