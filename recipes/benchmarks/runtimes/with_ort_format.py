"""Convert a graph to the format of onnxruntime's builds for phones, and run it. Arguments: as `with_onnxruntime.py`."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

graph = Path(sys.argv[1])
with TemporaryDirectory() as temporary:
    copy = shutil.copy(graph, temporary)
    command = [sys.executable, "-I", "-m", "onnxruntime.tools.convert_onnx_models_to_ort", copy]
    subprocess.run([*command, "--optimization_style", "Fixed"], check=True, capture_output=True)
    sys.argv[1] = str(Path(copy).with_suffix(".ort"))
    runpy.run_path(str(Path(__file__).with_name("with_onnxruntime.py")))
