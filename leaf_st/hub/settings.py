"""Environment variables that make every request to the hub, or the import of a library, fail.

The variables are checked before the first request. Values are not shown: the address of a proxy or of the hub can
contain a password.
"""

import os
import ssl
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from leaf_st.errors import InputError

# huggingface_hub reads the environment when it is imported, so that the functions import it after `check_numbers`.
_NUMBERS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
_IN_MEMORY = "HF_DATASETS_IN_MEMORY_MAX_SIZE"
_KEYS = "SSLKEYLOGFILE"
_LONGEST = 10**6  # seconds; the system refuses the wait of a larger number
_CACHES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME")  # in the client's order
_ORIGIN = "HF_HUB_USER_AGENT_ORIGIN"
_PROXIED = ("all", "https", "http")
_SOCKS = ("socks5", "socks5h")


def check_numbers() -> None:
    """Check the variables without which huggingface_hub or datasets cannot be imported.

    Raises:
        InputError: If a number cannot be read, a timeout is too small or too large, or a value cannot be sent.
    """
    try:
        float(os.environ.get(_IN_MEMORY, "0"))
    except ValueError:
        raise InputError(
            f"{_IN_MEMORY}: expected a number of bytes, such as 1000000000, found {os.environ[_IN_MEMORY]!r}: correct "
            f"or unset {_IN_MEMORY}"
        ) from None
    for name in _NUMBERS:
        try:
            seconds = int(os.environ.get(name, "10"))
        except ValueError as error:
            raise InputError(f"{name}: expected seconds, such as 10, {error}: correct or unset {name}") from None
        if not 1 <= seconds <= _LONGEST:
            raise InputError(f"{name}: expected seconds, such as 10, found {seconds}: correct or unset {name}")
    if not os.environ.get(_ORIGIN, "").isascii():
        raise InputError(f"{_ORIGIN}: expected ASCII characters, found others: correct or unset {_ORIGIN}")


def check_download() -> None:
    """Check what a download from the hub takes from the environment; without a check if the hub is switched off.

    Raises:
        InputError: If the address of the hub, a proxy, the certificates, the token or the cache cannot be used.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return
    check_address()
    if not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        find_token()
    _check_cache(Path(constants.HF_HUB_CACHE))


def offline_variable() -> str:
    """Return the name of the variable that switches the hub off."""
    # The client reads the second variable only if the first one is unset or empty.
    is_second = os.environ.get("TRANSFORMERS_OFFLINE") and not os.environ.get("HF_HUB_OFFLINE")
    return "TRANSFORMERS_OFFLINE" if is_second else "HF_HUB_OFFLINE"


def check_address() -> None:
    """Check the address of the hub, and the connection.

    Raises:
        InputError: If the address, a proxy or the certificates cannot be used.
    """
    from huggingface_hub import constants

    if not _is_address(constants.ENDPOINT, ("http", "https")):
        raise InputError(
            "HF_ENDPOINT: expected the address of the hub, with https:// or http://, such as https://huggingface.co, "
            "found another value: correct or unset HF_ENDPOINT"
        )
    check_connection()


def check_connection() -> None:
    """Check the proxies and the certificates that HTTP clients take from the environment.

    Raises:
        InputError: If one of them cannot be used.
    """
    proxies = getproxies()
    if "*" in map(str.strip, proxies.get("no", "").split(",")):
        proxies = {}
    for scheme in _PROXIED:
        if proxies.get(scheme):
            _check_proxy(scheme, proxies[scheme])
    file = os.environ.get("SSL_CERT_FILE")
    if file or os.environ.get(_KEYS):
        _check_certificates(file or None)
    folder = None if file else os.environ.get("SSL_CERT_DIR")
    if folder and not any(map(os.path.isdir, folder.split(os.pathsep))):
        raise InputError("SSL_CERT_DIR: expected a folder of certificates, found none: correct or unset SSL_CERT_DIR")


def find_token(given: str | None = None) -> str:
    """Return the token ``given``, or else of the environment, or of `hf auth login`; empty if there is none.

    Raises:
        InputError: If the token cannot be read or sent.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import OIDCError

    try:
        token = (given or get_token() or "").strip()  # a token file can end with a line break
    except (OSError, UnicodeError) as error:
        path = constants.HF_TOKEN_PATH
        remedy = "name a file in HF_TOKEN_PATH" if "HF_TOKEN_PATH" in os.environ else "log in with `hf auth login`"
        raise InputError(
            f"the token for the hub in {path} cannot be read ({type(error).__name__}): {remedy}, or set HF_TOKEN"
        ) from None  # a UnicodeError as cause would mean that the hub's answer cannot be read
    except OIDCError as error:
        raise InputError(f"HF_OIDC_RESOURCE: {error}") from error
    if not (token.isascii() and token.isprintable() and " " not in token):
        names = (name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name))
        place = "the parameter token" if given else next(names, constants.HF_TOKEN_PATH)
        raise InputError(
            f"the token for the hub, from {place}, contains whitespace or invalid characters: copy the token again"
        )
    return token


def connection_settings() -> list[str]:
    """Return the names of the variables that shape a connection and are set, for the remedy of a failed request."""
    proxies = (name for scheme in _PROXIED for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()))
    return [name for name in ("HF_ENDPOINT", *proxies, "SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]


def _is_address(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        number = parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and number != 0 and not any(map(str.isspace, value))


def _check_proxy(scheme: str, value: str) -> None:
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    name = next((name for name in names if os.environ.get(name)), f"the system's {scheme} proxy")
    address = value if "://" in value else f"http://{value}"
    if not _is_address(address, ("http", "https", *_SOCKS)):
        raise InputError(
            f"{name}: expected the address of a proxy, such as http://HOST:PORT, found another value: correct or unset "
            f"{name}"
        )
    if urlsplit(address).scheme in _SOCKS and find_spec("socksio") is None:
        raise InputError(f"{name}: a SOCKS proxy needs a package: pip install socksio, or unset {name}")


def _check_certificates(file: str | None) -> None:
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # also if the file contains no certificate
        keys = os.environ.get(_KEYS)  # opened for every context
        if keys and error.filename == keys:
            raise InputError(
                f"{_KEYS}: expected a file that can be written, found {keys} ({error.strerror}): correct or unset "
                f"{_KEYS}"
            ) from error
        raise InputError(
            f"SSL_CERT_FILE: expected a file of certificates (PEM), found {file} ({error.strerror or error}): correct "
            "or unset SSL_CERT_FILE"
        ) from error


def _check_cache(folder: Path) -> None:
    for name in _CACHES[:3]:
        if os.environ.get(name) == "":  # the client would use the current folder
            raise InputError(f"{name}: expected a folder, found empty text: correct or unset {name}")
        if os.environ.get(name, "").startswith(("'", '"')):  # as `docker --env-file` passes them
            raise InputError(f"{name}: expected a folder, found {os.environ[name]}: remove the quotes")
    name = next((name for name in _CACHES if os.environ.get(name)), "HOME")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        reason = "no permission to write"
    except OSError as error:
        writable, reason = False, str(error.strerror)
    if not writable:
        raise InputError(
            f"{name}: expected a place for the hub's cache, found {folder} ({reason}): set "
            f"{name if name in _CACHES[:2] else 'HF_HOME'} to a folder that you can write to, "
            "or, if the cache holds what is needed, HF_HUB_OFFLINE=1"
        )
