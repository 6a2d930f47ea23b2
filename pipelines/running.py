"""Compilation of pipelines to files, and runs on this machine by KFP's local runner."""

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
    """Write the pipeline as YAML; equal code, params and KFP give equal bytes.

    Raises: InputError: unknown pipeline.
    """
    with atomic_file(output) as partial:
        yaml = partial.with_name(f"{partial.name}.yaml")  # KFP chooses the format by the ending
        try:
            compiler.Compiler().compile(_builder(name)(params), str(yaml))
            partial.write_text(_without_inputs_comment(yaml.read_text(encoding="utf-8")), encoding="utf-8")
        finally:
            yaml.unlink(missing_ok=True)
    return output


def read_spec(package: Path) -> dict[str, Any]:
    """Read the specification of a compiled pipeline, without its platform's."""
    from ruamel.yaml import YAML

    return next(YAML(typ="safe").load_all(package.read_text(encoding="utf-8")))


def parse_arguments(name: str, package: Path, arguments: Iterable[str]) -> dict[str, Any]:
    """Parse `key=value` arguments of a compiled pipeline; values are YAML, except for string parameters.

    Raises: InputError: unknown parameter, or not KEY=VALUE.
    """
    from ruamel.yaml import YAML

    inputs = components.load_component_from_file(str(package)).component_spec.inputs or {}
    values = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in inputs:
            raise InputError(
                f"--argument {argument}: expected KEY=VALUE; {name} has the parameters {', '.join(inputs)}"
            )
        values[key] = value if inputs[key].type == "String" else YAML(typ="safe").load(value)
    return values


def run_locally(name: str, params: Params, folder: Path, arguments: Iterable[str] = (), cached: bool = True) -> None:
    """Compile the pipeline and run it, each step as a process on this machine.

    Args:
        folder: Folder for the compiled pipeline, checkpoints, and a folder of artifacts per run.
        arguments: `key=value` for parameters of the pipeline.
        cached: Whether to reuse outputs of equal steps in earlier runs in `folder`.
    Raises: PipelineError: a step failed, including its retries.
    """
    package = compile_pipeline(name, params, folder / f"{name}.yaml")
    values = parse_arguments(name, package, arguments)
    pipeline = components.load_component_from_file(str(package))
    if "checkpoints" in pipeline.component_spec.inputs:
        values.setdefault("checkpoints", str((folder / "checkpoints").absolute()))
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder / "artifacts"),
        enable_caching=cached,
        cache_root=str(folder / "cache"),
    )
    original_print = builtins.print
    try:
        # Output, retries and cache hits go to stderr; warnings about ignored images and limits are suppressed.
        with contextlib.redirect_stdout(sys.stderr), local_logger_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline(**values)
    except RuntimeError as error:
        raise PipelineError(f"{name}: {COLOUR.sub('', str(error))} see the step's messages above") from error
    finally:
        builtins.print = original_print  # parallel steps replace it and restore it in any order


def _builder(name: str):
    if name not in PIPELINES:
        raise InputError(f"no pipeline {name!r}, expected one of: {', '.join(PIPELINES)}")
    return PIPELINES[name].build


def _without_inputs_comment(text: str) -> str:
    """Remove the YAML's comment on inputs, in which KFP writes the keys of sections in random order."""
    lines = text.splitlines(keepends=True)
    start, end = lines.index("# Inputs:\n"), next(n for n, line in enumerate(lines) if not line.startswith("#"))
    return "".join(lines[:start] + lines[end:])
