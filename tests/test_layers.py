"""The layers of labkit: a module imports only from below, and nothing heavy before it is needed."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import labkit

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("augment", "synthesize", "pretrain", "adapt", "distill", "retrieve")

# From the bottom up. Rooms on one line don't import each other; where one may import another of its layer,
# it stands on a later line.
LAYERS = (
    # 0: data and chance
    ("seeding", "profiles", "data"),
    ("weights",),
    # 1: what methods are built from
    ("images", "operations", "models", "training"),
    ("together", "language"),
    ("retrieval",),
    ("llm",),
    # 2: the methods; a method imports no other one (`BUILDS_ON` has the exceptions)
    PARTS,
    # 3: judging and showing
    ("statistics",),
    ("show",),
    ("papers",),
    ("claims",),
    ("comparison",),
    ("ledger",),
    ("notebook",),
    # 4: running
    ("runner",),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# Methods that build on another one as their papers do, or that fill several files: (importing, imported).
BUILDS_ON = {
    ("pretrain.restructured_pages", "pretrain.restructured_pretraining"),
    ("pretrain.restructured_tasks", "pretrain.restructured_pretraining"),
    ("distill.continuous_speculative_decoding", "distill.gaussian_chains"),
    ("distill.few_shot_model_extraction", "distill.black_box_recommender"),
    ("distill.few_shot_model_extraction", "distill.click_histories"),
    ("distill.few_shot_model_extraction", "distill.sequential_recommenders"),
    ("distill.black_box_recommender", "distill.click_histories"),
    ("distill.sequential_recommenders", "distill.click_histories"),
    ("distill.hard", "distill.learned_augmentors"),
    ("distill.kd_llm_survey", "distill.kd_elicit"),
    ("distill.kd_llm_survey", "distill.kd_losses"),
    ("distill.datm", "distill.trajectories"),
    ("distill.datm", "distill.trajectory_matching"),
    ("distill.datm", "distill.synthetic_sets"),
    ("distill.synthetic_sets", "distill.trajectories"),
    ("distill.synthetic_sets", "distill.trajectory_matching"),
    ("distill.trajectory_matching", "distill.trajectories"),
    ("distill.dataset_reinforcement", "distill.replayable_views"),
    ("distill.dataset_reinforcement", "distill.stored_views"),
    ("distill.stored_views", "distill.replayable_views"),
    ("distill.trans_lora", "distill.adapters"),
    ("distill.trans_lora", "distill.trans_lora_inputs"),
    ("distill.trans_lora_inputs", "distill.adapters"),
    ("retrieve.domain_rag_evaluation", "retrieve.span_chunks"),
    ("retrieve.span_questions", "retrieve.span_chunks"),
    ("retrieve.tag", "retrieve.semantic_operators"),
    ("retrieve.tag", "retrieve.sql"),
    ("retrieve.tag_baselines", "retrieve.semantic_operators"),
    ("retrieve.tag_baselines", "retrieve.sql"),
    ("retrieve.tag_baselines", "retrieve.tag"),
    ("retrieve.tag_benchmark", "retrieve.sql"),
    ("retrieve.tag_benchmark", "retrieve.tag"),
    ("retrieve.tag_roles", "retrieve.tag_benchmark"),
}

HEAVY = ["IPython", "datasets", "distributed", "ipywidgets", "matplotlib", "openai", "pandas"]
HEAVY += ["papermill", "scipy", "skimage", "sklearn", "tokenizers", "transformers"]
OUTSIDE = {"notebooks", "tests", "conftest", "book", "scripts", "bootstrap", "publish", "colab_check"}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "labkit").rglob("*.py"))
}


def imports(source: str) -> set[str]:
    """The dotted names that a source text imports, inside functions too; ``from a import b`` gives ``a.b``.

    What is used as ``labkit.x`` after ``import labkit`` counts as an import of ``labkit.x``.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the full name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {f"labkit.{node.attr}"} if node.value.id == "labkit" else set()
    return found


def unit(name: str) -> str:
    """What the rule is about: a room such as ``data``, or one method such as ``augment.resizemix``."""
    parts = name.split(".")[1:]
    return ".".join(parts[:2] if parts[0] in PARTS else parts[:1])


def forbidden(module: str, source: str) -> list[str]:
    """The imports of `module` that break the rule."""
    own, wrong = unit(module), []
    for name in imports(source):
        if not name.startswith("labkit.") or name.startswith("labkit.__"):
            continue
        # labkit.claim is a function of labkit.claims, and so on
        name = labkit._LAZY.get(name.removeprefix("labkit."), name).split(":")[0]
        other = unit(name)
        lower = LEVEL.get(other.split(".")[0], len(LAYERS)) < LEVEL[own.split(".")[0]]
        if other != own and not lower and (own, other) not in BUILDS_ON:
            wrong.append(name)
    return sorted(wrong)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "labkit"])
def test_a_module_imports_only_from_below(module):
    assert unit(module).split(".")[0] in LEVEL, f"{module} has no layer yet: give it one in LAYERS"
    assert forbidden(module, MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("labkit.data.loading", "from labkit.data import card", []),
        ("labkit.data.loading", "def f():\n    from labkit import training", ["labkit.training"]),
        ("labkit.augment.a", "import labkit.augment.b", ["labkit.augment.b"]),
        ("labkit.augment.a", "import labkit\nlabkit.data.load('digits')", []),
        ("labkit.training", "import labkit\nlabkit.claim('x')", ["labkit.claims"]),
        ("labkit.papers.facts", "from labkit.claims import claim", ["labkit.claims.claim"]),
        ("labkit.claims.result", "from labkit import show", []),
        ("labkit.runner.keys", "import labkit\nlabkit.__version__", []),
    ],
)
def test_the_rule_itself(module, source, wrong):
    assert forbidden(module, source) == wrong


@pytest.mark.parametrize("module", MODULES)
def test_nothing_of_labkit_imports_from_outside_the_wheel(module):
    found = imports(MODULES[module].read_text(encoding="utf-8"))
    assert {name.split(".")[0] for name in found}.isdisjoint(OUTSIDE)


def test_what_labkit_imports_is_declared():
    """Outside the runner, every package that labkit imports is a core dependency of the project.

    Some modules need an extra: the client of the endpoints, adapters, encoders. (The indexes import bm25s and
    faiss by name, when they are made.)
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [line.split(">=")[0] for line in project["optional-dependencies"]["endpoint"]] == ["openai"]
    assert [line.split(">=")[0] for line in project["optional-dependencies"]["adapters"]] == ["peft"]
    retrieve = [line.split(">=")[0] for line in project["optional-dependencies"]["retrieve"]]
    assert retrieve == ["bm25s", "duckdb", "faiss-cpu", "sentence-transformers"]
    needed = [re.match(r"[\w-]+", line).group().lower() for line in project["dependencies"]]
    modules = {"pillow": "PIL", "scikit-image": "skimage", "scikit-learn": "sklearn", "ipython": "IPython"}
    known = {modules.get(name, name) for name in needed} | sys.stdlib_module_names | {"labkit"}
    undeclared = {
        (module, name)
        for module, path in MODULES.items()
        if unit(module + ".").split(".")[0] not in ("runner", "cli")
        for name in {full.split(".")[0] for full in imports(path.read_text(encoding="utf-8"))}
        if name not in known
    }
    assert undeclared == {
        ("labkit.llm.service", "openai"),
        ("labkit.distill.adapters", "peft"),
        ("labkit.retrieval.encoders", "sentence_transformers"),
    }


def loaded_by(statement: str) -> list[str]:
    """Which of `HEAVY` a statement imports in a fresh Python, beyond what torch itself has loaded."""
    code = f"import sys, torch\nbefore = set(sys.modules)\n{statement}\n"
    code += f"print(*[name for name in {HEAVY} if name in set(sys.modules) - before])"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_import_labkit_imports_nothing_heavy():
    assert loaded_by("import labkit") == []


def test_the_parts_of_labkit_import_nothing_heavy():
    """Their modules cost little; what is heavy is imported by the function that needs it."""
    assert loaded_by("import labkit\nfor name in labkit.__all__: getattr(labkit, name)") == []
