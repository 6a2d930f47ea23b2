"""A pipeline as a file, and run whole on this machine by KFP's local runner."""

import builtins
import contextlib
import re
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kfp import compiler, components, local
from kfp.local.logging_utils import local_logger_context

from pipelines import evaluate_only, train_and_evaluate, transcribe_batch
from pipelines.errors import PipelineError
from sap2.errors import InputError
from sap2.files import atomic_file
from sap2.params import Params

__all__ = ["PIPELINES", "compile_pipeline", "parse_arguments", "read_spec", "run_locally"]

COLOUR = re.compile(r"\x1b\[\d+m")
PIPELINES = {
    "train-and-evaluate": train_and_evaluate,
    "evaluate-only": evaluate_only,
    "transcribe-batch": transcribe_batch,
}


def compile_pipeline(name: str, params: Params, output: Path) -> Path:
    """Write the pipeline as YAML; the same code, params and KFP give the same bytes.

    Raises: InputError: no such pipeline.
    """
    with atomic_file(output) as partial:
        yaml = partial.with_name(f"{partial.name}.yaml")  # KFP writes by the ending
        try:
            compiler.Compiler().compile(_builder(name)(params), str(yaml))
            partial.write_text(_without_inputs_comment(yaml.read_text(encoding="utf-8")), encoding="utf-8")
        finally:
            yaml.unlink(missing_ok=True)
    return output


def read_spec(package: Path) -> dict[str, Any]:
    """The specification of a compiled pipeline, without that of its platform."""
    from ruamel.yaml import YAML

    return next(YAML(typ="safe").load_all(package.read_text(encoding="utf-8")))


def parse_arguments(name: str, package: Path, arguments: Iterable[str]) -> dict[str, Any]:
    """Values for the parameters of a compiled pipeline, from `key=value` texts; the value is YAML, texts stay texts.

    Raises: InputError: the pipeline has no such parameter, or the text is none of the kind.
    """
    from ruamel.yaml import YAML

    inputs = components.load_component_from_file(str(package)).component_spec.inputs or {}
    given = {}
    for one in arguments:
        key, equals, value = one.partition("=")
        if not equals or key not in inputs:
            raise InputError(f"--argument {one}: expected KEY=VALUE; {name} has the parameters {', '.join(inputs)}")
        given[key] = value if inputs[key].type == "String" else YAML(typ="safe").load(value)
    return given


def run_locally(name: str, params: Params, folder: Path, arguments: Iterable[str] = (), cached: bool = True) -> None:
    """Compile the pipeline and run what was compiled, each step as a process of this machine.

    Args:
        folder: Gets the compiled pipeline, checkpoints, and a folder of artifacts for each run.
        arguments: `key=value` for parameters of the pipeline.
        cached: Whether outputs of equal steps in earlier runs below `folder` are taken.
    Raises: PipelineError: a step failed, retries included.
    """
    package = compile_pipeline(name, params, folder / f"{name}.yaml")
    given = parse_arguments(name, package, arguments)
    pipeline = components.load_component_from_file(str(package))
    if "checkpoints" in pipeline.component_spec.inputs:
        given.setdefault("checkpoints", str((folder / "checkpoints").absolute()))
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder / "artifacts"),
        enable_caching=cached,
        cache_root=str(folder / "cache"),
    )
    ours = builtins.print
    try:
        # The steps' output, retries and cache hits are progress. That image and limits do nothing here is no news.
        with contextlib.redirect_stdout(sys.stderr), local_logger_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline(**given)
    except RuntimeError as error:
        raise PipelineError(f"{name}: {COLOUR.sub('', str(error))} See the messages of the step above") from error
    finally:
        builtins.print = ours  # steps side by side replace it, and put it back in any order


def _builder(name: str):
    if name not in PIPELINES:
        raise InputError(f"no pipeline {name!r}; there are {', '.join(PIPELINES)}")
    return PIPELINES[name].build


def _without_inputs_comment(text: str) -> str:
    """The YAML without the comment on its inputs, in which KFP puts the keys of a section in random order."""
    lines = text.splitlines(keepends=True)
    start, end = lines.index("# Inputs:\n"), next(n for n, line in enumerate(lines) if not line.startswith("#"))
    return "".join(lines[:start] + lines[end:])
