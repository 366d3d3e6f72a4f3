"""`pellucid export`: a run as a page for the browser alone, or a torch classifier as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, cast

import typer

from .console import TerminalProgress, out, print_json

if TYPE_CHECKING:
    from ..private_page.proof import Proof


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL",
            help="Run or bundle for --web; for --out a model: timm/NAME, a torchvision name, package.module:function, "
            "or a TorchScript or .pt2 file.",
        ),
    ],
    web: Annotated[
        Optional[Path],
        typer.Option(metavar="OUT", help="Write a page that needs no server: a new folder, or one file OUT.html."),
    ] = None,
    runtime: Annotated[
        Optional[Path],
        typer.Option(
            metavar="PATH", help="The package file of onnxruntime-web, or the folder that it was unpacked to."
        ),
    ] = None,
    images: Annotated[
        Optional[Path],
        typer.Option(metavar="DIR", help="Images to verify the page with in Chromium.", show_default="the run's own"),
    ] = None,
    every_method: Annotated[
        Optional[bool],
        typer.Option(
            "--every-method/--quick-methods",
            help="Add the graphs of further layers, refine-cam, winsor-cam, saliency, integrated gradients and "
            "ablation-cam.",
            show_default="where weights are shared",
        ),
    ] = None,
    webgpu: Annotated[
        bool, typer.Option("--webgpu", help="With --web and a folder: compute on graphics cards where that is quicker.")
    ] = False,
    proof: Annotated[
        bool, typer.Option("--proof/--no-proof", help="Verify the page in Chromium against Python.")
    ] = True,
    bundle: Annotated[
        Optional[Path],
        typer.Option("--out", metavar="OUT", help="Write a bundle with evidence and a certificate: a new folder."),
    ] = None,
    weights: Annotated[
        Optional[Path],
        typer.Option(help="With --out: .safetensors or .pth of the whole classifier. With --web: float16 or int8."),
    ] = None,
    classes: Annotated[
        Optional[str],
        typer.Option(help="With --out: class names in the order of the outputs, or a file; numbers by default."),
    ] = None,
    input_size: Annotated[
        Optional[str], typer.Option(help="With --out: input size, 224 or 224x320 (height x width).")
    ] = None,
    rescale: Annotated[
        Optional[str], typer.Option(help="With --out: input scaling, 1/255, -1..1, imagenet, caffe or none (0..255).")
    ] = None,
    gives: Annotated[
        Optional[str], typer.Option(help="With --out: logits (default), probabilities or independent.")
    ] = None,
    layer: Annotated[Optional[str], typer.Option(help="With --out: layer to explain.")] = None,
    name: Annotated[Optional[str], typer.Option(help="With --out: title of the bundle.")] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="With --out: run the function, or open a file that may run code.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --out: print the certificate.")] = False,
) -> None:
    """Write a run as a page for the browser alone, or a torch classifier as a bundle that explains itself."""
    from ..errors import InputError

    if (web is None) == (bundle is None):
        raise InputError(
            "Say what to write: `web='page.html'` or `web='page/'` for a page of a run, `out='folder'` for a bundle of "
            "a torch model."
        )
    if bundle is not None:
        _bundle(run, bundle, weights, classes, input_size, rescale, gives, layer, name, images, every_method,
                allow_code=allow_code, json=json)  # fmt: skip
        return
    from ..private_page.export import export_page

    assert web is not None
    written = export_page(
        Path(run),
        web,
        runtime=runtime,
        images=images,
        proof=proof,
        every_method=every_method,
        weights=str(weights or "float32"),
        webgpu=webgpu,
        progress=TerminalProgress(),
    )
    if written.proof is not None:
        out.print(_in_words(written.proof))
    out.print(f"Written: {written.path} ({written.size / 2**20:.1f} MB)")


def _bundle(
    model: str,
    folder: Path,
    weights: Path | None,
    classes: str | None,
    input_size: str | None,
    rescale: str | None,
    gives: str | None,
    layer: str | None,
    name: str | None,
    images: Path | None,
    every_method: bool | None,
    *,
    allow_code: bool,
    json: bool,
) -> None:
    """Write the bundle of a torch model, and say what its certificate says."""
    from ..workflow.export_model import export_model
    from ..workflow.prediction import find_images
    from .import_ import class_names_given, parse_size

    written = export_model(
        model,
        folder,
        weights=weights,
        classes=class_names_given(classes),
        size=parse_size(input_size),
        rescale=rescale,
        gives=cast("Any", gives),
        layer=layer,
        name=name,
        images=find_images([images])[:MOST_IMAGES] if images is not None else (),
        allow_code=allow_code,
        every_method=every_method is not False,
        progress=TerminalProgress(quiet=json),
    )
    certificate = written.certificate
    if json:
        print_json(certificate.model_dump(mode="json"))
        return
    explained = certificate.layers[0] if certificate.layers else None
    out.print(
        "No layer gives a map: a black box, for methods like lime and rise."
        if explained is None
        else f"Explained at {explained.name}: {explained.height} x {explained.width} cells.",
        markup=False,
    )
    for what, reason in certificate.refused.items():
        out.print(f"Left out: {what}. {reason}.", markup=False)
    out.print(f"Written: {folder} (certificate.html). Next: pellucid verify {folder}", markup=False)


MOST_IMAGES = 32
"""Images that an export is proven on."""


def _in_words(proof: Proof) -> str:
    """What was measured, on one line."""
    what = "the output" if proof.probability is None else "any probability"
    most = proof.output if proof.probability is None else proof.probability
    maps = "" if proof.correlation is None else f", heat maps correlated by at least {proof.correlation:.6f}"
    return (
        f"In {proof.browser}, {proof.images} images: {what} within {most:.2g} of Python{maps}, "
        f"{proof.changed} decisions changed."
    )
