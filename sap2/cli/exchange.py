"""Adapters of ms-swift and plain PEFT, in and out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer()
BASE = Path("models/base")


@app.command(epilog="Example: sap2 import-adapter output/checkpoint-4000 models/pruner --base models/base")
def import_adapter(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="An adapter of ms-swift or of plain PEFT.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write, as models/pruner.")],
    base: Annotated[Path, typer.Option(metavar="DIR", help="The base it was trained on.")] = BASE,
    window: Annotated[int, typer.Option(min=1, help="Tokens of a window, as it was trained.")] = 2,
    weighting: Annotated[
        Literal["mean", "speech"], typer.Option(help="How a window's tokens are weighted; the public code's is mean.")
    ] = "mean",
    windows: Annotated[
        Literal["fixed", "keyword"], typer.Option(help="Where windows end; the public code's are fixed.")
    ] = "fixed",
    method: Annotated[Literal["tpi", "pc", "jpi"], typer.Option(help="What it was trained to do with a list.")] = "tpi",
) -> None:
    """Convert an adapter of ms-swift or plain PEFT to ours.

    It is refused unless its tensors are exactly those of an adapter of this base."""
    from sap2.hub import present
    from sap2.model.exchange import import_adapter as convert

    pooling = {"window": window, "weighting": weighting, "windows": windows, "method": method}
    modules = convert(source, present(base), output, **pooling)
    print(f"import-adapter: wrote {output}, with LoRA on {len(modules)} modules")


@app.command(epilog="Example: sap2 export-adapter models/recogniser exported --layout ms-swift")
def export_adapter(
    adapter: Annotated[Path, typer.Argument(metavar="DIR", help="An adapter that a training wrote.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    base: Annotated[Path, typer.Option(metavar="DIR", help="The base it was trained on.")] = BASE,
    layout: Annotated[
        Literal["ms-swift", "peft"],
        typer.Option(help="Names of transformers 4, for ms-swift; or of 5, for PEFT on transformers' own class."),
    ] = "ms-swift",
) -> None:
    """Write an adapter as ms-swift or plain PEFT read it."""
    from sap2.hub import present
    from sap2.model.exchange import export_adapter as convert

    modules = convert(adapter, present(base), output, layout)
    print(f"export-adapter: wrote {output}, with LoRA on {len(modules)} modules; how the list is pooled stays behind")
