"""Files of any length, sent while they come into being."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header


def answer(
    request: Any, pieces: Iterator[str] | Iterator[bytes], *, media_type: str, name: str
) -> StreamingHttpResponse:
    """Return an answer that browsers keep as a file of this name; `request` is Django's own. Each piece is asked for
    when the one before it is sent."""
    content: Any = _one_by_one(pieces) if isinstance(request, ASGIRequest) else pieces
    disposition = content_disposition_header(as_attachment=True, filename=name)
    return StreamingHttpResponse(
        content, content_type=media_type, headers={"Content-Disposition": disposition or "attachment"}
    )


async def _one_by_one(pieces: Iterator[Any]) -> AsyncIterator[Any]:
    """Take the pieces in the request's own thread. An asynchronous server would gather those of a plain iterator
    before it sent the first."""
    following = sync_to_async(lambda: next(pieces, None))
    while (piece := await following()) is not None:
        yield piece
