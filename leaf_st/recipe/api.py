"""The part of a recipe that names an embedding API."""

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from leaf_st.recipe.part import CONFIG, Conflict, part
from leaf_st.recipe.texts import TextByKind
from leaf_st.recipe.types import AtLeast1, ModelName, NonEmpty

# The fields of `ApiSpec` that do not shape a vector, so that a resumed run may change them.
API_LIMITS = (
    *("api_key_env", "price_per_million_tokens", "requests_per_minute", "tokens_per_minute"),
    *("max_items", "max_tokens_per_request"),
)

# Names of secrets. A name that only contains "key" or "token" is none: max_tokens.
_SECRET = re.compile(r"secret|password|passwd|authorization|credential|bearer|(key|token)$", re.IGNORECASE)


def _api_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"expected an address such as http://127.0.0.1:11434/v1, found {url!r} ({error})") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(f"expected an address such as https://api.openai.com/v1, found {url!r}")
    if parts.username or parts.password or parts.query:
        if "api-version=" in parts.query:  # the form that Azure shows; without the query, Azure answers 404
            raise ValueError(
                f"expected an address without a query, found an API version: use https://{parts.hostname}/openai/v1, "
                "and the name of the deployment as teacher.api.model"
            )
        raise ValueError(
            "expected an address without a user, password or query, because recipes and model cards show the address: "
            "put the key into the environment variable of teacher.api.api_key_env"
        )
    return url.rstrip("/")


def _body_without_secrets(body: Mapping[str, Any]) -> dict[str, Any]:
    if (name := _secret_name(body)) is not None:
        raise ValueError(
            f"expected values without a key or password, because recipes and model cards show the values, found "
            f"{name!r}: put the key into the environment variable of teacher.api.api_key_env"
        )
    return dict(body)


def _secret_name(value: object) -> str | None:
    """Return the first name in ``value``, at any depth, that names a secret; None if there is none."""
    if isinstance(value, Mapping):
        secret = next((str(name) for name in value if _SECRET.search(str(name))), None)
        return secret or _secret_name(list(value.values()))
    if isinstance(value, list | tuple):
        return next(filter(None, map(_secret_name, value)), None)
    return None


@part("teacher.api")
@dataclass(frozen=True, config=CONFIG)
class ApiSpec:
    """An embedding API with OpenAI's interface. The key comes from the environment only."""

    url: Annotated[str, AfterValidator(_api_url)]
    """Address of the API without "/embeddings", such as https://api.openai.com/v1 or http://127.0.0.1:11434/v1."""
    model: NonEmpty
    """Name of the model in the API."""
    dimensions: AtLeast1 | None = None
    """Width of the vectors to request; the model's own width if None."""
    input_type: TextByKind = field(default_factory=dict)
    """Value of "input_type" in a request by kind, such as search_query and search_document; not sent if empty."""
    extra_body: Annotated[Mapping[str, Any], AfterValidator(_body_without_secrets)] = field(default_factory=dict)
    """Further values of each request."""
    api_key_env: NonEmpty = "OPENAI_API_KEY"
    """Environment variable that contains the key; servers without keys ignore a missing variable."""
    price_per_million_tokens: Annotated[float, Field(ge=0)] | None = None
    """Price in US dollars, for --dry-run and --budget-usd."""
    requests_per_minute: AtLeast1 | None = None
    """Limit of the account; without a value, the limit in the API's responses applies."""
    tokens_per_minute: AtLeast1 | None = None
    """Limit of the account; without a value, the limit in the API's responses applies."""
    max_items: AtLeast1 = 2048
    """Maximum number of texts in a request."""
    max_tokens_per_request: AtLeast1 = 300_000
    """Maximum number of tokens in a request."""
    tokenizer: ModelName | None = None
    """Hub id or folder of a model with the tokenizer of the API's model. It counts tokens; without it, a token is
    assumed to have four ASCII characters, or three bytes of other characters in UTF-8."""
    long_texts: Literal["refuse", "cut"] = "refuse"
    """What happens to a text with more than teacher.max_length tokens of the tokenizer: "refuse" stops before the text
    is sent, "cut" sends the first tokens."""

    @model_validator(mode="after")
    def _check_cut(self) -> "ApiSpec":
        if self.long_texts == "cut" and self.tokenizer is None:
            raise Conflict("tokenizer", "expected a model with long_texts=cut, found None: name a model")
        return self
