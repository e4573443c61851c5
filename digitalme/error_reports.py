"""Django's reports of unexpected errors (the page at DEBUG, mails to ADMINS), without secrets.

Held back at DEBUG too: a report is sent around, pasted and photographed.
"""

import re
from types import FrameType
from typing import Any

from django.http import HttpRequest, QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.safestring import SafeString
from django.views import debug

from digitalme import logs

# Besides the names that Django knows: what our own frames and the libraries' call what they carry.
_TELLING = re.compile(
    r"api|auth|token|key|secret|pass|signature|cookie|value|plain|given|fields|form|body|data|content|payload"
    r"|header|attrs|raw|text|args|params|environ|meta|stream|chunk|message",
    re.IGNORECASE,
)


class Filter(debug.SafeExceptionReporterFilter):
    """Shows no value that somebody sent, and no variable whose name suggests one."""

    def is_active(self, request: HttpRequest | None) -> bool:
        """Always, and not only where DEBUG is off."""
        return True

    def get_post_parameters(self, request: HttpRequest | None) -> Any:
        """Which fields were sent, not what stood in them."""
        return self._starred(request.POST) if request else {}

    def cleanse_special_types(self, request: HttpRequest | None, value: Any) -> Any:
        """The same for a form that a variable holds."""
        return self._starred(value) if isinstance(value, MultiValueDict) else value

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: FrameType) -> Any:
        """What stands in the frame, by name."""
        found = super().get_traceback_frame_variables(request, tb_frame)
        return [(name, self.cleansed_substitute if _TELLING.search(name) else value) for name, value in found]

    def _starred(self, sent: Any) -> QueryDict:
        starred = QueryDict(mutable=True)
        starred.update(dict.fromkeys(sent, self.cleansed_substitute))
        return starred


class Reporter(debug.ExceptionReporter):
    """Redacts the finished report, as the logs do their lines: messages of exceptions, addresses, the rest."""

    def get_traceback_html(self) -> SafeString:
        """The report as a page."""
        return SafeString(logs.redact(super().get_traceback_html()))

    def get_traceback_text(self) -> SafeString:
        """The report as text."""
        return SafeString(logs.redact(super().get_traceback_text()))
