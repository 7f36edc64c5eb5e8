"""A local OpenAI-compatible server as a generator, with the standard library only.

Behind the supervisor's walls a runtime reaches one loopback port and nothing else, so the server is
one on this machine. Proxies and redirects are not followed. An API key is not supported here: a
runtime holds no secret; use the supervisor's own ``openai`` runtime for an endpoint that needs one.
"""

import http.client
import json
from urllib.parse import urlsplit

MAX_REPLY_BYTES = 4 * 1024 * 1024
MAX_DETAIL_BYTES = 500
# Servers keep 32 bits of a seed and take all ones for "random".
SEED_MODULUS = 2**31


class BackendError(Exception):
    """The server did not give a text."""


class OpenAi:
    """A generator that asks ``BASE_URL/chat/completions``; one connection per request."""

    def __init__(
        self, base_url, model, *, system=None, temperature=None, max_tokens=None, timeout=60.0
    ):
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("--base-url must begin with http:// or https://")
        secure = parts.scheme == "https"
        self._connection = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._address = (parts.hostname, parts.port or (443 if secure else 80))
        self._path = parts.path.rstrip("/") + "/chat/completions"
        self._timeout = timeout
        self._fixed = {"model": model, "stream": False}
        if temperature is not None:
            self._fixed["temperature"] = temperature
        if max_tokens is not None:
            self._fixed["max_tokens"] = max_tokens
        self._system = [{"role": "system", "content": system}] if system else []

    def __call__(self, prompt, *, seed, branch):
        messages = self._system + [{"role": "user", "content": prompt}]
        request = dict(self._fixed, messages=messages, seed=seed % SEED_MODULUS)
        status, body = self._post(json.dumps(request).encode("utf-8"))
        if status != 200:
            detail = body[:MAX_DETAIL_BYTES].decode("utf-8", "replace")
            raise BackendError(f"the server answered {status}: {detail}")
        try:
            text = json.loads(body)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise BackendError("the server's reply is not a chat completion") from error
        if not isinstance(text, str):
            raise BackendError("the server's reply holds no text")
        return text

    def _post(self, body):
        connection = self._connection(*self._address, timeout=self._timeout)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", self._path, body=body, headers=headers)
            response = connection.getresponse()
            data = response.read(MAX_REPLY_BYTES + 1)
        finally:
            connection.close()
        if len(data) > MAX_REPLY_BYTES:
            raise BackendError(f"the server's reply is longer than {MAX_REPLY_BYTES} bytes")
        return response.status, data
