"""What an error of the hub means for the user, and what to do."""

from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

from leaf_st.hub.retry import TEMPORARY_STATUSES, causes_with_status
from leaf_st.hub.target import Target


def explain(error: Exception, target: Target) -> str:
    """Return the cause of the upload's ``error`` and the remedy. The text may contain what the hub answered."""
    message = getattr(error, "server_message", None) or " ".join(str(error).split())
    for cause, status in causes_with_status(error):
        if isinstance(cause, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set, so nothing can be published: unset HF_HUB_OFFLINE"
        if status == 401:
            return "the hub does not know the token: log in with `hf auth login`, or set HF_TOKEN"
        if status == 403 or isinstance(cause, PermissionError):
            return (
                f"the token may not write to {target.repo_id}: use a token with write permission, or name a --repo-id "
                f"of your own; the hub answered 403: {message}"
            )
        if status == 404:
            return (
                f"{target.repo_id}: the hub has no such repository or branch, or hides it from this token: check "
                "--repo-id, --revision and the token"
            )
        if status is not None and status not in TEMPORARY_STATUSES:
            return (
                "the hub rejects the publication, and no partial publication is left: correct what the hub names, then "
                f"run the same command again; the hub answered {status}: {message}"
            )
        if status is not None:
            return (
                f"the hub cannot answer now: run the same command later to resume; the hub answered {status}: {message}"
            )
        if isinstance(cause, HTTPError | ConnectionError | TimeoutError):
            return (
                "the hub cannot be reached: check the network, then run the same command again to resume; the request "
                f"failed with: {message}"
            )
    return f"the upload failed: run the same command again to resume; the error was: {message}"


def first_line(error: BaseException) -> str:
    """Return the first line of the message of ``error``, or its type if it has no message."""
    return str(error).partition("\n")[0] or type(error).__name__


def refuses_token(error: BaseException) -> bool:
    """Return whether the hub refused the token, or refused the token for a repository."""
    return any(status in (401, 403) for _, status in causes_with_status(error))
