"""The HTTP session of the hub's client: no request waits without end.

huggingface_hub sets no limit for most requests: a server that never answers would stop a command for ever, and so would
a server with a wrong clock that requests a pause of years.
"""

from typing import Any

SILENCE = 120.0  # seconds without a byte; the hub needs less to make a large commit


def limit_waits() -> None:
    """Limit the waits of all requests to the hub in this process, which therefore must be a command of leaf_st."""
    from huggingface_hub import set_client_factory  # reads the environment, which is checked before

    set_client_factory(_limited_client)


def _limited_client() -> Any:  # noqa: ANN401  (of whichever HTTP library the client is built on)
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()
    client.timeout = SILENCE
    client.event_hooks = {**client.event_hooks, "response": [_drop_endless_pause]}
    return client


def _drop_endless_pause(response: Any) -> None:  # noqa: ANN401
    """Let huggingface_hub, which obeys every pause that a server requests, choose the pause if that is too long."""
    from leaf_st.hub.retry import requested_pause

    if not requested_pause(response.headers):
        for header in ("Retry-After", "RateLimit"):
            response.headers.pop(header, None)
