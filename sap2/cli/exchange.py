"""Conversion of adapters from and to ms-swift and plain PEFT."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer()
BASE = Path("models/base")


@app.command(epilog="Example: sap2 import-adapter output/checkpoint-4000 models/pruner --base models/base")
def import_adapter(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="An adapter of ms-swift or of plain PEFT.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write, such as models/pruner.")],
    base: Annotated[Path, typer.Option(metavar="DIR", help="The base it was trained on.")] = BASE,
    window: Annotated[int, typer.Option(min=1, help="Tokens per window in its training.")] = 2,
    weighting: Annotated[
        Literal["mean", "speech"], typer.Option(help="Weighting of a window's tokens; mean in the public code.")
    ] = "mean",
    windows: Annotated[
        Literal["fixed", "keyword"], typer.Option(help="Where windows end; fixed in the public code.")
    ] = "fixed",
    method: Annotated[Literal["tpi", "pc", "jpi"], typer.Option(help="The method it was trained for.")] = "tpi",
) -> None:
    """Import an adapter of ms-swift or plain PEFT.

    Fails unless its tensors match an adapter of this base exactly."""
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
        typer.Option(help="Tensor names of transformers 4, for ms-swift, or of transformers 5, for plain PEFT."),
    ] = "ms-swift",
) -> None:
    """Write an adapter for ms-swift or plain PEFT."""
    from sap2.hub import present
    from sap2.model.exchange import export_adapter as convert

    modules = convert(adapter, present(base), output, layout)
    print(
        f"export-adapter: wrote {output}, with LoRA on {len(modules)} modules; the pooling of the list is not exported"
    )
