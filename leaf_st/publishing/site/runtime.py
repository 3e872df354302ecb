"""The JavaScript libraries of a search page: pinned versions, from a CDN or from an installed npm package."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from leaf_st.atomic import read_json
from leaf_st.errors import InputError

CDN = "https://cdn.jsdelivr.net"
FOLDER = "vendor"


@dataclass(frozen=True)
class RuntimeFile:
    """A file of an npm package.

    Attributes:
        package: Name of the package.
        version: Its version.
        path: The file in the package.
        bytes: Its size.
        sha256: Its hash.
    """

    package: str
    version: str
    path: str
    bytes: int
    sha256: str

    @property
    def url(self) -> str:
        """The address of the file on the CDN, which serves the files of npm packages."""
        return f"{CDN}/npm/{self.package}@{self.version}/{self.path}"

    @property
    def vendored(self) -> str:
        """The path of the file in a page that contains it."""
        return f"{FOLDER}/{Path(self.path).name}"


_ORT = ("onnxruntime-web", "1.30.0")

# The build for WebAssembly only, a tenth of the scripts of transformers.js, which bundles the other two.
RUNTIME: Mapping[str, RuntimeFile] = {
    "onnxruntime": RuntimeFile(
        *_ORT,
        "dist/ort.wasm.bundle.min.mjs",
        73_054,
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ),
    "wasm": RuntimeFile(
        *_ORT,
        "dist/ort-wasm-simd-threaded.wasm",
        14_239_897,
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
    "tokenizers": RuntimeFile(
        "@huggingface/tokenizers",
        "0.2.0",
        "dist/tokenizers.min.mjs",
        36_601,
        "258e46332101335ce8d95aed7745b19ac3b46d37f3e159a89cf894c2ea9b1d3a",
    ),
}


def check_vendor(modules: Path) -> None:
    """Check that the folder ``modules`` of npm contains the pinned files.

    Raises:
        InputError: If a package is missing, or has another version or content.
    """
    install = "npm install --ignore-scripts " + " ".join(
        sorted({f"{file.package}@{file.version}" for file in RUNTIME.values()})
    )
    for file in RUNTIME.values():
        found = _version(modules / file.package)
        if found != file.version:
            raise InputError(
                f"--vendor {modules}: expected {file.package} {file.version}, found {found or 'no such package'}: "
                f"run `{install}`, and name its node_modules"
            )
        path = modules / file.package / file.path
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
            raise InputError(
                f"--vendor {modules}: {file.package}/{file.path} differs from the published package: run `{install}` "
                "in a new folder"
            )


def copy_vendor(modules: Path, folder: Path) -> None:
    """Copy the pinned files of ``modules`` and the licences of their packages to ``folder``."""
    (folder / FOLDER).mkdir()
    for file in RUNTIME.values():
        shutil.copyfile(modules / file.package / file.path, folder / file.vendored)
        for licence in (modules / file.package).glob("LICEN[CS]E*"):
            shutil.copyfile(licence, folder / FOLDER / f"{file.package.replace('/', '-').lstrip('@')}-{licence.name}")


def _version(package: Path) -> str | None:
    try:
        return str(read_json(package / "package.json")["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
