"""Requests to an embedding API with OpenAI's interface.

The `openai` client sends the requests. It neither divides texts among requests nor keeps to limits.
"""

import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.hub.attempts import retry
from leaf_st.hub.settings import check_connection
from leaf_st.recipe import ApiSpec, Kind
from leaf_st.teacher.api.batches import plan_requests
from leaf_st.teacher.api.pace import PARALLEL, Pace, requested_pause
from leaf_st.teacher.api.response import placed, require_usable
from leaf_st.teacher.api.usage import Usage
from leaf_st.teacher.compared import are_compared

if TYPE_CHECKING:
    import openai

# Every model reads as many bytes of UTF-8: 400 letters of English have about 100 tokens, and 133 characters of
# Chinese, Thai or Hindi hardly more.
READ_BYTES = 400
_TIMEOUT = 300.0  # seconds: a server without a GPU needs half a minute for 64 long texts
_TEMPORARY_STATUSES = {408, 409, 500, 502, 503, 504, 520, 522, 524, 529}
# The API refuses the texts or their number. Some servers state a limit on the number of texts with 413 or 422.
_REFUSALS = {400, 413, 422}
# A part of the messages with which the llama.cpp server answers 500 to a long text, and OpenAI answers 429 to a request
# with more tokens than the account has in a minute.
_TOO_LARGE = "too large"
_KEY_CHARACTERS = 16  # shorter values are placeholders for servers without keys, such as "ollama"
_SHOWN = 200  # characters of an API's own message
# A refused text with so many times fewer tokens than an accepted one is not too long: estimates of tokens are closer.
_CLEARLY_SHORTER = 4

_logger = logging.getLogger(__name__)


class _RefusedError(Exception):
    """The API refuses the texts of a request, or does not answer in time."""


class ApiClient:
    """Embeds texts through an API, several requests at a time.

    Args:
        api: The API.

    Attributes:
        reads_starts: Whether the API was found to read only the start of a long text, while vectors were compared.

    Raises:
        InputError: If the `openai` client is not installed, a value of ``api`` contains the key, or the key contains
            characters that cannot be sent.
    """

    def __init__(self, api: ApiSpec) -> None:
        self._api = api
        self._key = os.environ.get(api.api_key_env, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):  # the header of a request takes no other characters
            raise InputError(
                f"the environment variable {api.api_key_env}: expected a key of ASCII characters, found other "
                "characters: copy the key again"
            )
        self._client = _client(api, self._key)
        weakref.finalize(self, self._client.close)
        self.divide_limits(int(os.environ.get("WORLD_SIZE", "1")))
        self.usage = Usage()
        self.reads_starts = False
        self._lock = threading.Lock()  # of `usage`, `reads_starts` and the numbers of texts
        self._most_items = api.max_items
        self._accepted_items = 1  # the largest number of texts in a request that the API has answered
        self._accepted_tokens = 0  # the largest number of tokens of a text that the API has accepted
        self._width: int | None = api.dimensions

    def divide_limits(self, processes: int) -> None:
        """Keep to an equal part of the limits, because as many ``processes`` share the account."""
        limits = (self._api.requests_per_minute, self._api.tokens_per_minute)
        self.pace = Pace(*(None if limit is None else limit / processes for limit in limits))

    def embed(self, texts: Sequence[str], tokens: NDArray[np.int64], kind: Kind) -> NDArray[np.float32]:
        """Embed n texts with the input type of ``kind``; returns shape (n, d), row i for text i.

        Where vectors are compared (`leaf_st.teacher.compared`), the start of a text is sent if the API refuses the
        text.

        Args:
            texts: The texts, complete with prompts.
            tokens: Number of tokens of each text, shape (n,).
            kind: Kind of the texts.

        Raises:
            InputError: If the API cannot be used, refuses a text, or gives vectors that cannot be used.
        """
        batches, shorten = self.batches(tokens), are_compared()
        found: list[NDArray[np.float32]] = []
        pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="leaf-st-api")
        self.pace.resume()
        try:
            futures = [
                pool.submit(self._embed_batch, [texts[row] for row in rows], tokens[rows], kind, shorten)
                for rows in batches
            ]
            found = [future.result() for future in futures]
        except BaseException:
            self.pace.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        vectors = np.empty((len(texts), self._width or 0), dtype=np.float32)
        for rows, part in zip(batches, found, strict=True):
            vectors[rows] = part
        return vectors

    def batches(self, tokens: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return the row numbers of the texts of each request.

        Args:
            tokens: Number of tokens of each text, shape (n,).
        """
        most_tokens = self.pace.tokens_at_once(self._api.max_tokens_per_request)
        return plan_requests(tokens, self.pace.requests_at_once(), self._most_items, most_tokens)

    def note_start(self, text: str) -> None:
        """Take note of a text of which the API reads only the start. The first one is logged."""
        with self._lock:
            is_first, self.reads_starts = not self.reads_starts, True
        if is_first:
            _logger.warning(
                "the API at %s reads only the start of a text of %s characters, %r: long texts are measured with the "
                "vectors of their starts",
                *(self._api.url, f"{len(text):,}", text[:60]),
            )

    def _embed_batch(
        self, texts: list[str], tokens: NDArray[np.int64], kind: Kind, shorten: bool
    ) -> NDArray[np.float32]:
        """Embed the texts of a request, or of two requests of half the size if the API refuses the request."""
        if len(texts) > self._most_items:  # another request was refused in the meantime
            return self._embed_halves(texts, tokens, kind, shorten)
        try:
            vectors = self._retried(texts, int(tokens.sum()), kind)
            with self._lock:
                self._accepted_tokens = max(self._accepted_tokens, int(tokens.max()))
            return vectors
        except _RefusedError as error:
            if len(texts) > 1:
                with self._lock:
                    self._most_items = min(self._most_items, -(-len(texts) // 2))
                _logger.info("the API %s for %d texts: at most %d in a request", error, len(texts), self._most_items)
            elif not self.usage.requests:  # no text was accepted: the cause is another one
                raise InputError(
                    f"the API at {self._api.url} {error} for model {self._api.model}: check teacher.api (model, "
                    "dimensions, input_type, extra_body) and the key; the same command resumes"
                ) from None
            elif shorten and len(texts[0].encode()) > READ_BYTES and not self._is_clearly_shorter(int(tokens[0])):
                return self._embed_start(texts[0], tokens, kind)
            else:
                raise InputError(
                    f"the API {error} for the text {texts[0][:60]!r} of {len(texts[0]):,} characters and about "
                    f"{int(tokens[0]):,} tokens: shorten the text or leave it out, or set teacher.api.long_texts=cut "
                    "with teacher.api.tokenizer and teacher.max_length in a new --output"
                ) from None
        return self._embed_halves(texts, tokens, kind, shorten)

    def _embed_halves(
        self, texts: list[str], tokens: NDArray[np.int64], kind: Kind, shorten: bool
    ) -> NDArray[np.float32]:
        middle = -(-len(texts) // 2)
        halves = (slice(0, middle), slice(middle, None))
        return np.concatenate([self._embed_batch(texts[half], tokens[half], kind, shorten) for half in halves])

    def _embed_start(self, text: str, tokens: NDArray[np.int64], kind: Kind) -> NDArray[np.float32]:
        """Embed the first three quarters of a text that the API refuses, or less if the API refuses these too.

        Args:
            text: The text.
            tokens: Its number of tokens, shape (1,).
            kind: Its kind.
        """
        with self._lock:  # the length of this text was the cause of the refusals
            self._most_items = max(self._most_items, self._accepted_items)
        vectors = self._embed_batch([text[: len(text) * 3 // 4]], tokens * 3 // 4, kind, shorten=True)
        self.note_start(text)  # only now: the API refuses some texts for their content, whatever their length
        return vectors

    def _is_clearly_shorter(self, tokens: int) -> bool:
        """Return whether a text of ``tokens`` is far shorter than a text that the API has accepted."""
        return tokens * _CLEARLY_SHORTER < self._accepted_tokens

    def _retried(self, texts: list[str], tokens: int, kind: Kind) -> NDArray[np.float32]:
        import openai

        try:
            return retry(lambda: self._request(texts, tokens, kind), self._temporary_reason)
        except openai.APIStatusError as error:
            raise self._permanent(error) from None
        except openai.OpenAIError as error:
            raise InputError(
                f"the API at {self._api.url} cannot be reached ({type(error).__name__}): check teacher.api.url and the "
                "server; the same command resumes"
            ) from None

    def _request(self, texts: list[str], tokens: int, kind: Kind) -> NDArray[np.float32]:
        """Send one request, again and again while the API answers with 429."""
        import openai

        while True:
            with self.pace.turn(tokens) as started:
                try:
                    response = self._client.embeddings.with_raw_response.create(
                        input=texts,
                        model=self._api.model,
                        dimensions=openai.omit if self._api.dimensions is None else self._api.dimensions,
                        extra_body=self._extra_body(kind),
                    )
                except openai.RateLimitError as error:
                    self._refuse(error, started, len(texts))
                    continue
                except openai.APITimeoutError as error:
                    self.pace.slow_down()
                    if len(texts) > 1:
                        raise _RefusedError(f"gives no answer within {_TIMEOUT:g} seconds") from error
                    raise
            return self._vectors(response, texts, tokens, time.monotonic() - started)

    def _extra_body(self, kind: Kind) -> dict[str, Any]:
        input_type = self._api.input_type.get(kind)
        return {**self._api.extra_body, **({} if input_type is None else {"input_type": input_type})}

    def _refuse(self, error: "openai.RateLimitError", started: float, texts: int) -> None:
        """Slow down after a 429 for a request with a number of ``texts``.

        Raises:
            InputError: If the account is empty, which also has status 429, or the API refuses all requests.
            _RefusedError: If the API would refuse this request at any pace.
        """
        message = self._message(error)
        if error.code == "insufficient_quota":
            raise InputError(f"the API's account is empty ({message}): the same command resumes") from None
        if texts > 1 and _TOO_LARGE in message:
            raise _RefusedError(f"answers 429 ({message})") from None
        with self._lock:
            self.usage.refused += 1
        self.pace.refused(started, requested_pause(error.response.headers), message)

    def _temporary_reason(self, error: Exception) -> tuple[str, float] | None:
        """Return why ``error`` is temporary, and the pause in seconds that the API requests; None if permanent.

        Raises:
            _RefusedError: If the API refuses the texts.
        """
        import openai

        if isinstance(error, openai.APIStatusError):
            if error.status_code not in _TEMPORARY_STATUSES | _REFUSALS:
                return None
            message = self._message(error)
            if error.status_code in _REFUSALS or _TOO_LARGE in message:
                raise _RefusedError(f"answers {error.status_code} ({message})") from None
            phrase = HTTPStatus(error.status_code).phrase if error.status_code in set(HTTPStatus) else "overloaded"
            return f"the API answers {error.status_code} ({phrase})", requested_pause(error.response.headers) or 0.0
        # Before the first response, the address is probably wrong.
        if isinstance(error, openai.APIConnectionError) and self.usage.requests:
            return "the connection to the API broke off", 0.0
        return None

    def _permanent(self, error: "openai.APIStatusError") -> InputError:
        if error.status_code == 401 or (error.status_code == 403 and not self._key):
            state = "refuses the key in" if self._key else "expects a key in"
            return InputError(
                f"the API at {self._api.url} {state} the environment variable {self._api.api_key_env} "
                f"({error.status_code}: {self._message(error)}): set it to a valid key{_account()}"
            )
        if error.status_code == 403:
            return InputError(
                f"the API at {self._api.url} refuses the request (403: {self._message(error)}): check what the key in "
                f"{self._api.api_key_env} may use, and correct teacher.api.model{_account()}"
            )
        return InputError(
            f"the API at {self._api.url} answers {error.status_code} ({self._message(error)}) for model "
            f"{self._api.model}: check teacher.api; the same command resumes"
        )

    def _message(self, error: "openai.APIStatusError") -> str:
        """Return the API's own message in one line, without the key, which the API may have repeated."""
        body = error.body
        message = str(body.get("message") or body) if isinstance(body, Mapping) else str(body or error.message)
        line = " ".join(message.split())
        return (line.replace(self._key, "***") if self._key else line)[:_SHOWN]

    def _vectors(self, response: Any, texts: list[str], tokens: int, seconds: float) -> NDArray[np.float32]:  # noqa: ANN401
        """Return the vectors of a response in the order of ``texts``, and count the request."""
        try:
            answer = response.parse()
            vectors = placed(answer.data, texts)
            counted = getattr(answer.usage, "total_tokens", None) or getattr(answer.usage, "prompt_tokens", None)
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"the API at {self._api.url} gives no vectors for {len(texts)} texts ({str(error)[:_SHOWN]}): check "
                "that it has OpenAI's interface; the same command resumes"
            ) from None
        require_usable(vectors, texts, self._width)
        with self._lock:
            self._width = vectors.shape[1]
            self._accepted_items = max(self._accepted_items, len(texts))
            self.usage.requests += 1
            self.usage.tokens += counted or tokens
            self.usage.estimated += tokens
            self.usage.seconds.append(seconds)
        self.pace.succeeded(response.headers, tokens)
        _logger.debug("%d texts, %d tokens, %.3f s", len(texts), counted or tokens, seconds)
        return vectors


def _account() -> str:
    """Return the end of an error message that names the variables by which the client chooses an account."""
    names = [name for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID") if os.environ.get(name)]
    return f"; correct or unset the account in {' and '.join(names)}" if names else ""


def _client(api: ApiSpec, key: str) -> "openai.OpenAI":
    try:
        import openai
    except ModuleNotFoundError as error:
        raise InputError("teacher.api needs the openai client: pip install 'leaf-st[api]'") from error
    if len(key) >= _KEY_CHARACTERS and key in f"{api.url} {api.model} {api.input_type} {api.extra_body}":
        raise InputError(
            f"teacher.api contains the key, which recipe.json would record: remove it; the key in {api.api_key_env} is "
            "sent with each request"
        )
    check_connection()
    # The client requires a key, which a server without keys ignores.
    return openai.OpenAI(api_key=key or "none", base_url=api.url, max_retries=0, timeout=_TIMEOUT)
