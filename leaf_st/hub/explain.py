"""What an error of the hub means for the user, and what to do."""

from contextlib import suppress

from huggingface_hub import constants
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from leaf_st.errors import InputError
from leaf_st.hub.answers import AnswerError
from leaf_st.hub.retry import CONFLICTS, causes_with_status, is_temporary
from leaf_st.hub.settings import connection_settings, find_token, offline_variable
from leaf_st.hub.target import Target

_REFUSED_FILES = "LFS batch API returned errors"  # how huggingface_hub begins the list of files that the hub refuses
_OF_PROXY = 407  # the proxy asks for a password: the request did not reach the hub
_AGAIN = "then run the same command again to resume"
_UNREADABLE = "the hub's answer cannot be read, perhaps because a proxy or a login page answered in its place"
_OF_TOKENS = (401, 403, 404)  # statuses that another token may change
_REJECTED = (
    "the hub rejects the publication, and no partial publication is left: correct what the hub names, then run the "
    "same command again"
)


def explain(error: Exception, target: Target) -> str:
    """Return the cause of the upload's ``error`` and the remedy. The text may contain what the hub answered."""
    for cause, status in causes_with_status(error):
        if isinstance(cause, OfflineModeIsEnabled):
            name = offline_variable()
            return f"{name} is set, so nothing can be published: unset {name}"
        message = getattr(cause, "server_message", None) or " ".join(str(error).split())
        if status is not None:
            return _explain_status(cause, status, message, target)
        if isinstance(cause, PermissionError):
            return _explain_refusal(message, target)
        if isinstance(cause, HTTPError | ConnectionError | TimeoutError):
            return (
                f"the hub cannot be reached: {connection_remedy(cause)}, {_AGAIN}; the request failed with: {message}"
            )
    if isinstance(error, AnswerError) and _REFUSED_FILES not in str(error):
        return f"{_UNREADABLE}: {connection_remedy(error)}, {_AGAIN}; the error was {error}"
    return f"{_REJECTED}; the hub answered: {error}"


def _explain_status(cause: BaseException, status: int, message: str, target: Target) -> str:
    answer = f"the hub answered {status}: {message}"
    if status in CONFLICTS:
        return (
            f"another client changes {target.repo_id} at the same time: run the same command later to resume; {answer}"
        )
    if is_temporary(cause, status):
        return f"the hub cannot answer now: run the same command later to resume; {answer}"
    if status == 401:
        return (
            "the hub does not know the token, or the token has expired: log in with `hf auth login`, or set HF_TOKEN, "
            f"{_AGAIN}"
        )
    if status == 403:
        return _explain_refusal(message, target)
    if status == 404 and not _is_of_hub(cause):
        return f"{_not_a_hub(cause)}, {_AGAIN}; {answer}"
    if status == 404:
        return (
            f"{target.repo_id}: the hub has no such repository or branch, or hides it from this token: check "
            f"--repo-id, --revision and the token, {_AGAIN}"
        )
    return f"{_REJECTED}; {answer}"


def _explain_refusal(message: str, target: Target) -> str:
    return (
        f"the hub refuses to write to {target.repo_id}: correct what the hub names, or use a token with write "
        f"permission, or name a --repo-id of your own; the hub answered 403: {message}"
    )


def explain_download(error: Exception, what: str, others: str, missing: str = "not in the hub's cache") -> str:
    """Return the cause of the download's ``error`` and the remedy.

    Args:
        error: An error of the hub's client.
        what: What is downloaded: "model" or "data set".
        others: The remedy if the hub does not have it.
        missing: Why the hub's cache does not serve.
    """
    reason = _without_token(first_line(error))
    log_in, hidden = "log in with `hf auth login` or set HF_TOKEN", f"hides it from this token: {others}"
    refused = (
        f"the hub refuses this {what}, because the token is missing, wrong, expired or without access: {log_in} to "
        "another token"
    )
    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        log_in = "unset HF_HUB_DISABLE_IMPLICIT_TOKEN, so that the token is sent"
        hidden = f"hides it because no token was sent: {log_in}, or {others}"
        refused = f"the hub refuses to send this {what} without a token: {log_in}"
    if isinstance(error, GatedRepoError):
        return (
            f"the hub restricts access to this {what}: request access on its page on the hub, then {log_in}; the hub "
            f"answered: {reason}"
        )
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        return f"the hub has no such {what} or revision, or {hidden}; the hub answered: {reason}"
    statuses = {status: cause for cause, status in causes_with_status(error)}
    if 404 in statuses and not _is_of_hub(statuses[404]):
        return f"{_not_a_hub(error)}; the server answered: {reason}"
    if is_refused(error) and statuses.keys().isdisjoint(_OF_TOKENS):
        return f"the hub refuses to send this {what}: {others}; the hub answered: {reason}"
    if is_refused(error):
        return f"{refused}; the hub answered: {reason}"
    if constants.HF_HUB_OFFLINE:
        name = offline_variable()
        return f"{missing}, and {name} switches the hub off: unset {name}, or {others}"
    if isinstance(error, AnswerError):
        return f"{missing}, and {_UNREADABLE}: {connection_remedy(error)}; the error was {reason}"
    return (
        f"{missing}, and the hub cannot be reached: {connection_remedy(error)}, or {others}; the request failed with: "
        f"{reason}"
    )


def connection_remedy(error: BaseException) -> str:
    """Return what to check after the hub was not reached."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "set SSL_CERT_FILE to a file with the certificates of your network (REQUESTS_CA_BUNDLE is not read)"
    return f"check {' and '.join(['the network', *connection_settings()])}"


def first_line(error: BaseException) -> str:
    """Return the first line of the message of ``error``, or its type if it has no message."""
    return str(error).partition("\n")[0] or type(error).__name__


def _without_token(text: str) -> str:
    with suppress(InputError):  # a token that cannot be read was not sent
        if token := find_token():
            return text.replace(token, "***")
    return text


def is_refused(error: BaseException) -> bool:
    """Return whether the hub answered with a client error (4xx), which a later request would get again."""
    return any(
        status is not None and 400 <= status < 500 and status != _OF_PROXY and not is_temporary(cause, status)
        for cause, status in causes_with_status(error)
    )


def _is_of_hub(cause: BaseException) -> bool:
    """Return whether the answer in ``cause`` is from the hub, which names its errors in a header.

    The result is True if there is no answer.
    """
    response = getattr(cause, "response", None)
    return response is None or any(name in response.headers for name in ("X-Error-Code", "X-Error-Message"))


def _not_a_hub(error: BaseException) -> str:
    """Return that another server than the hub answered, and the remedy."""
    if constants.ENDPOINT != constants._HF_DEFAULT_ENDPOINT:
        return "HF_ENDPOINT names a server that does not answer as a hub does: correct or unset HF_ENDPOINT"
    return f"the server that answered does not answer as a hub does: {connection_remedy(error)}"
