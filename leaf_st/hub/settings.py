"""The settings of the environment on which every request depends, checked before the first request.

The hub's client reads them deep inside a request, where a wrong value becomes an exception of its HTTP library, or a
minute of attempts. No message contains a token, or the user and password of a proxy.
"""

import os
import ssl
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants, get_session, get_token

from leaf_st.errors import InputError

_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")  # also in lower case
_SOCKS = ("socks5", "socks5h")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_CACHE = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME")


class SettingError(InputError):
    """A setting of the environment with which no request can work; the message names the variable and the remedy."""


def require_hub_settings() -> None:
    """Check the address, token and cache of the hub, the proxies and the certificates.

    Raises:
        SettingError: If one of them cannot work.
    """
    require_connection_settings()
    if (problem := _address_problem(constants.ENDPOINT, ("http", "https"))) is not None:
        raise SettingError(
            f"HF_ENDPOINT: expected the address of a hub, such as https://huggingface.co, {problem}: correct or unset "
            "HF_ENDPOINT"
        )
    require_token_characters(get_token() or "")
    _require_cache(Path(constants.HF_HUB_CACHE))
    try:
        get_session()
    except Exception as error:  # the HTTP library reads further variables, such as NO_PROXY, and raises its own errors
        raise SettingError(
            f"the hub's client cannot start ({type(error).__name__}: {error}): correct the variables of the "
            f"environment that name proxies and certificates ({', '.join(_set_variables()) or 'none is set'})"
        ) from error


def require_connection_settings() -> None:
    """Check the proxies and the certificates, which every HTTP client reads.

    Raises:
        SettingError: If one of them cannot work.
    """
    for name, value in _proxies():
        problem = _address_problem(value, ("http", "https", *_SOCKS))
        if problem is None and urlsplit(value).scheme in _SOCKS and find_spec("socksio") is None:
            problem = "found a SOCKS proxy, which needs the package socksio (pip install socksio)"
        if problem is not None:
            raise SettingError(
                f"{name}: expected the address of a proxy, such as http://127.0.0.1:3128, {problem}: correct or unset "
                f"{name}"
            )
    for name in _CERTIFICATES:
        if (place := os.environ.get(name)) and (found := _certificate_problem(name, place)) is not None:
            raise SettingError(f"{name}: expected certificates, found {found}: correct or unset {name}")


def require_token_characters(token: str) -> None:
    """Check that a header can contain ``token``; an empty token passes.

    Raises:
        SettingError: If the token contains white space, or characters outside ASCII.
    """
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise SettingError(
            "the token for the hub (HF_TOKEN, or the token of `hf auth login`) contains whitespace or invalid "
            "characters: copy it again"
        )


def _proxies() -> Iterator[tuple[str, str]]:
    """Yield name and value of each variable that names a proxy, with the scheme that clients assume."""
    for name in (spelling for known in _PROXIES for spelling in (known, known.lower())):
        if value := os.environ.get(name):
            yield name, value if "://" in value else f"http://{value}"


def _set_variables() -> list[str]:
    names = [spelling for known in (*_PROXIES, "NO_PROXY") for spelling in (known, known.lower())]
    return [name for name in (*names, *_CERTIFICATES) if os.environ.get(name)]


def _address_problem(address: str, schemes: tuple[str, ...]) -> str | None:
    """Return what is wrong with ``address``, without its user and password; None if nothing is."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return f"found an address that cannot be read ({address.rpartition('@')[2]})"
    if parts.scheme not in schemes:
        return f"found {address.rpartition('@')[2]!r}, which does not begin with {'://, '.join(schemes)}://"
    if not parts.hostname or any(letter.isspace() for letter in address) or port == 0:
        return f"found {address.rpartition('@')[2]!r}, which names no host"
    return None


def _certificate_problem(name: str, value: str) -> str | None:
    is_file = name == "SSL_CERT_FILE"
    if not (Path(value).is_file() if is_file else Path(value).is_dir()):
        return f"no such {'file' if is_file else 'folder'} {value}"
    try:
        ssl.create_default_context(cafile=value if is_file else None, capath=None if is_file else value)
    except OSError as error:  # ssl.SSLError is one too
        return f"{value}, which cannot be read ({error})"
    return None


def _require_cache(folder: Path) -> None:
    """Check that files can be written to ``folder``, the hub's cache, which is created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        can_write, reason = os.access(folder, os.W_OK), "no permission to write there"
    except OSError as error:
        can_write, reason = False, str(error.strerror)
    if not can_write:
        name = next((variable for variable in _CACHE if os.environ.get(variable)), "HOME")
        raise SettingError(
            f"{name}: expected a folder for downloads, found {folder} ({reason}): set HF_HOME to a folder that can be "
            "written"
        )
