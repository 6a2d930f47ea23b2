"""The command line: each command parses its options, calls a stage and prints the summary.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done, 1 unusable input or params, 2 bad usage,
3 rejected by the gate, 143 a training stopped by SIGTERM, which resumes when started again. A training on several nodes
whose pipeline step has ended exits 0, so that Kubernetes does not restart it.
Heavy packages are imported inside the commands, which keeps `sap2 --help` fast. One module per group of commands.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sap2 import __version__
from sap2.cli import exchange, flow, kubeflow, plan, registry, score, serve, transcribe
from sap2.errors import Abandoned, InputError, SapError, Stopped, out_of_memory

app = typer.Typer(
    name="sap2",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Contextual speech recognition: prune the keyword list by the audio, then transcribe with the rest.",
    epilog='Example: sap2 transcribe talk.wav --keywords "Meyer, Kathryn, Zorvan"',
)
# In the order of `sap2 --help`.
for _group in (flow, registry, transcribe, serve, score, plan, exchange, kubeflow):
    app.add_typer(_group.app)
app.add_typer(serve.feedback, name="feedback", epilog="Example: sap2 feedback add ID 'ask jon meyer' --requests served")
app.add_typer(kubeflow.pipeline, name="pipeline")

STOPPED = 128 + signal.SIGTERM
EXTRAS = dict.fromkeys(["fastapi", "uvicorn", "multipart", "python_multipart", "prometheus_client"], "serve")
EXTRAS |= dict.fromkeys(["pypdfium2", "lxml", "wordfreq", "bibtexparser", "rapidocr", "onnxruntime", "av"], "talks")
EXTRAS |= dict.fromkeys(["kfp", "kfp_server_api", "kubernetes"], "kubeflow")


def main() -> None:
    """Run the command line; errors that a user can fix are printed as a single line, with exit code 1."""
    try:
        app(prog_name="sap2")
    except SapError as error:
        _fail(str(error), 0 if isinstance(error, Abandoned) else STOPPED if isinstance(error, Stopped) else 1)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        cause = str(error).strip().partition("\n")[0][:200]
        _fail(f"out of memory ({cause or 'of this machine'}); lower the stage's batch_size, or provide more memory")
    except ModuleNotFoundError as error:
        # `pip install sap2-asr` installs what scoring needs; training and recognition are an extra.
        if error.name is None or error.name.partition(".")[0] == "sap2":
            raise
        extra = EXTRAS.get(error.name.partition(".")[0], "pipeline")
        _fail(f"this command needs {error.name}, which is not installed; run \"pip install 'sap2-asr[{extra}]'\"")


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"sap2: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sap2 {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option("--directory", "-C", metavar="DIR", help="Run in this folder."),
    ] = None,
) -> None:
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise InputError(f"--directory {directory}: {error.strerror}") from error
