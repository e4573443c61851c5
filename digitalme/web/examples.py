"""First calls to copy, with this server's own address in them."""

from dataclasses import dataclass

from django.http import HttpRequest

TOKEN_VARIABLE = "$DIGITALME_TOKEN"  # noqa: S105 (the name of a variable)


@dataclass(frozen=True)
class Example:
    """The same call for a shell and for Python."""

    base_url: str
    curl: str
    python: str


def sandbox(request: HttpRequest, token: str = "") -> Example:
    """Return a call of the practice provider; without a token it names a variable in its place."""
    base_url = request.build_absolute_uri("/gateway/sandbox/v1")
    api_key = f'"{token}"' if token else 'os.environ["DIGITALME_TOKEN"]'
    return Example(
        base_url=base_url,
        curl=(
            f"curl {base_url}/chat/completions \\\n"
            f'  -H "Authorization: Bearer {token or TOKEN_VARIABLE}" \\\n'
            '  -H "Content-Type: application/json" \\\n'
            """  -d '{"model": "sandbox-1", "messages": [{"role": "user", "content": "Hello"}]}'"""
        ),
        python=(
            ("" if token else "import os\n\n") + "from openai import OpenAI\n\n"
            "client = OpenAI(\n"
            f'    base_url="{base_url}",\n'
            f"    api_key={api_key},\n"
            ")\n"
            "answer = client.chat.completions.create(\n"
            '    model="sandbox-1",\n'
            '    messages=[{"role": "user", "content": "Hello"}],\n'
            ")\n"
            "print(answer.choices[0].message.content)"
        ),
    )
