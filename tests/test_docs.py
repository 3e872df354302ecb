"""README and docs are checked against the code: generated blocks are current, Python blocks run, commands parse."""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
from letters import save_texts

from leaf_st.cli.main import build_parser

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
# Pages whose commands must parse; the changelog and the generated pages are left out.
PAGES = [README, *sorted(page for page in (ROOT / "docs").glob("*.md") if page.stem not in ("cli", "recipe"))]
# A budget in minutes would make the test that long.
SHORT = ("minutes=30", "max_steps=2, use_cpu=True")


def _generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(language: str) -> list[tuple[Path, str]]:
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [(page, block) for page in PAGES for block in pattern.findall(page.read_text(encoding="utf-8"))]


def commands() -> list[str]:
    lines = [
        line.strip() for _, block in blocks("bash") for line in block.replace("\\\n", " ").splitlines() if line.strip()
    ]
    return [line for line in lines if line.startswith("leaf-st ")]


@pytest.mark.parametrize("page", _generate().PAGES, ids=lambda page: page.name)
def test_generated_blocks_are_current(page, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert page.read_text(encoding="utf-8") == _generate().filled(page), "run python docs/generate.py"


def test_readme_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert any(line.startswith("pip install leaf-st") for line in lines[:30])


def test_links_lead_somewhere():
    pages = [*PAGES, *(ROOT / "docs").glob("*.md"), *(ROOT / "recipes").rglob("README.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_onnx_snippet_reads_what_a_command_of_its_page_writes():
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    (run,) = re.findall(r'InferenceSession\("(.+)/model/onnx/', page)
    assert f"leaf-st export {run}\n" in page


@pytest.mark.parametrize(("page", "block"), blocks("python"), ids=lambda value: getattr(value, "name", ""))
def test_python_blocks_run(page, block, tiny_teacher_folder, tmp_path, monkeypatch):
    # Tiny models under the names that the block uses: a folder of that name is found before the hub.
    for name in set(re.findall(r'"((?:[\w.-]+/)?[\w.-]*(?:MiniLM|leaf-|mdbr-)[\w.-]*)"', block)):
        shutil.copytree(tiny_teacher_folder, tmp_path / name)
    save_texts(tmp_path / "texts.jsonl", 60)
    (tmp_path / "texts.txt").write_text("\n".join(f"text number {number}" for number in range(60)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(block.replace(*SHORT), page.name, "exec"), {})


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line):
    options = build_parser().parse_args(shlex.split(line, comments=True)[1:])
    assert callable(options.func)
    recipe = getattr(options, "recipe", None)
    assert recipe is None or recipe.name.isupper() or (ROOT / recipe).is_file()
