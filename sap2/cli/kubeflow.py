"""Kubeflow pipelines and TrainJobs: compile, run, submit.

They are built by the folders `components` and `pipelines`, next to `sap2` in the repository and in the image. These are
not part of the installed package: as top-level packages their names would shadow others.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import sap2
from sap2.cli.options import PARAMS, ParamsOption, ProfileOption, SetOption, load
from sap2.errors import InputError

app = typer.Typer()
pipeline = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Kubeflow pipelines: compile, run locally, submit.\n\nThe stages as containers in a cluster, or locally.",
    epilog="Example: sap2 pipeline run --local --profile test",
)
PipelineArgument = Annotated[
    Literal["train-and-evaluate", "evaluate-only", "transcribe-batch"],
    typer.Argument(metavar="PIPELINE", help="train-and-evaluate, evaluate-only or transcribe-batch."),
]
ArgumentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--argument", "-a", metavar="KEY=VALUE", help="A parameter of the pipeline, such as talks=/data/talks."
    ),
]
FULL_FLOW: Literal["train-and-evaluate"] = "train-and-evaluate"
HostOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="KF_PIPELINES_ENDPOINT",
        help="URL of Kubeflow Pipelines. Login by SAP2_KFP_TOKEN, SAP2_KFP_TOKEN_FILE or SAP2_KFP_TOKEN_COMMAND.",
    ),
]
NamespaceOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Namespace of the runs, if several users share the cluster.")
]


@app.command(epilog="Example: sap2 trainjob --profile qwen2-audio-7b --nodes 2 > job.yaml")
def trainjob(
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Nodes of resources.training_accelerators each; default: resources.training_nodes."
        ),
    ] = None,
    stage: Annotated[Literal["pruner", "recogniser"], typer.Option(help="The training.")] = "pruner",
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the job; default: sap2-STAGE-PROFILE.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Run it in kubectl's cluster, follow its logs, and delete it at the end.")
    ] = False,
    namespace: Annotated[str, typer.Option(metavar="NAME", help="Namespace for --run.")] = "kubeflow",
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Print a Kubeflow TrainJob for several nodes, or run it.

    Its nodes share the volume resources.checkpoints, whose folder `flow` holds the outputs of earlier stages, laid out
    as in a repository, and receives the adapter. The runtime is in deploy/trainjobs."""
    _import_from_repository()
    from pipelines.trainjob import trainjob as manifest
    from pipelines.trainjob import trainjob_yaml

    loaded = load(params, profile, set_)
    count, changed = nodes or loaded.resources.training_nodes, set_ or ()
    if not run:
        print(trainjob_yaml(loaded, stage, count, name, changed), end="")
        return
    from components.nodes import run_trainjob

    run_trainjob(manifest(loaded, stage, count, name, changed), namespace, lambda line: print(line, file=sys.stderr))


@pipeline.command("compile", epilog="Example: sap2 pipeline compile --profile qwen2-audio-7b -o flow.yaml")
def compile_(
    name: PipelineArgument = FULL_FLOW,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: PIPELINE-PROFILE.yaml.")
    ] = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Write a pipeline as YAML for Kubeflow.

    The profile's sections become the defaults of the pipeline's parameters; the section `resources` is fixed."""
    _import_from_repository()
    from pipelines.running import compile_pipeline

    loaded = load(params, profile, set_)
    print(f"wrote {compile_pipeline(name, loaded, output or Path(f'{name}-{loaded.profile}.yaml'))}")


@pipeline.command("run", epilog="Example: sap2 pipeline run --local --profile test --folder kubeflow")
def run_pipeline(
    name: PipelineArgument = FULL_FLOW,
    local: Annotated[bool, typer.Option("--local", help="Run on this machine, with KFP's local runner.")] = False,
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="For the compiled pipeline, artifacts, cache and checkpoints.")
    ] = Path("kubeflow"),
    cache: Annotated[bool, typer.Option(help="Reuse outputs of identical steps in earlier runs.")] = True,
    argument: ArgumentOption = None,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Run a compiled pipeline on this machine.

    Failed steps are retried as in a cluster; an interrupted training resumes from its checkpoint."""
    if not local:
        raise typer.BadParameter(
            "expected --local; to run a pipeline in a cluster, use `sap2 pipeline submit --host URL`"
        )
    _import_from_repository()
    from pipelines.running import run_locally

    loaded = load(params, profile, set_)
    run_locally(name, loaded, folder, argument or (), cache)
    print(f"{name}: done; artifacts are in {folder / 'artifacts'}")


@pipeline.command(epilog="Example: sap2 pipeline submit --host http://localhost:8080 --profile qwen2-audio-7b --wait")
def submit(
    name: PipelineArgument = FULL_FLOW,
    host: HostOption = None,
    namespace: NamespaceOption = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="An existing experiment; default: that of the section tracking, created if missing."
        ),
    ] = None,
    service_account: Annotated[
        str | None, typer.Option(metavar="NAME", help="Service account of the pods; default: the namespace's.")
    ] = None,
    utterances: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Size of the corpus, to estimate the pods' downloads.")
    ] = None,
    argument: ArgumentOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; exit 1 when it fails.")] = False,
    params: ParamsOption = PARAMS,
    profile: ProfileOption = None,
    set_: SetOption = None,
) -> None:
    """Upload a version to a cluster and start a run.

    An existing version is reused. Prints an estimate of the pods' downloads, and the run's URL."""
    loaded = load(params, profile, set_)
    cluster = _cluster(host, namespace)
    run = cluster.submit(
        name, loaded, experiment, argument or (), service_account, utterances, lambda line: print(line, file=sys.stderr)
    )
    print(run)
    print(f"sap2 pipeline status {run.id} --host {cluster.host}", file=sys.stderr)
    if wait:
        _follow(cluster, run.id)


@pipeline.command(epilog="Example: sap2 pipeline status 5f2c9a --host http://localhost:8080 --wait")
def status(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as printed by submit.")],
    host: HostOption = None,
    namespace: NamespaceOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; exit 1 when it fails.")] = False,
) -> None:
    """Print the state of a run, step by step."""
    cluster = _cluster(host, namespace)
    if wait:
        _follow(cluster, run)
    else:
        print(cluster.run(run))


def _cluster(host: str | None, namespace: str | None) -> Any:
    if not host:
        raise typer.BadParameter(
            "the URL of Kubeflow Pipelines is missing; give --host http://localhost:8080 after "
            "`kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80`, or set KF_PIPELINES_ENDPOINT"
        )
    _import_from_repository()
    from pipelines.remote import Cluster

    return Cluster(host, namespace)


def _follow(cluster: Any, run_id: str) -> None:
    run = cluster.follow(run_id, lambda line: print(line, file=sys.stderr))
    print(run)
    if run.state not in ("SUCCEEDED", "SKIPPED"):
        raise typer.Exit(1)


def _import_from_repository() -> None:
    """Make `components` and `pipelines` importable, also in the processes that the local runner starts.

    Raises: InputError: they are not next to the package `sap2`.
    """
    root = Path(sap2.__file__).resolve().parents[1]
    if not all((root / name).is_file() for name in ("components/nodes.py", "pipelines/trainjob.py")):
        raise InputError(
            f"{root}: has no folders components and pipelines, which make the pipelines and TrainJobs; they are in the "
            'repository and the image, not in the installed package: clone the repository and run "pip install '
            "--editable '.[kubeflow]'\" in it"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(root) not in inherited:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), *inherited]))
