"""`pellucid serve`: a web page and an HTTP API for runs or bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from .options import Engine, EnginePrecision

MEGABYTE = 2**20


def serve(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run or bundle folders, or NAME=FOLDER.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all interfaces.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free port.")] = 8000,
    api_key: Annotated[
        Optional[str], typer.Option(envvar="PELLUCID_API_KEY", show_envvar=True, help="API key that clients must send.")
    ] = None,
    max_upload: Annotated[float, typer.Option(min=0.1, help="Maximum size of an image file, in MB.")] = 32,
    max_pixels: Annotated[float, typer.Option(min=0.01, help="Maximum size of an image, in megapixels.")] = 64,
    max_batch: Annotated[float, typer.Option(min=0.1, help="Maximum size of a batch upload, in MB.")] = 256,
    rate_limit: Annotated[int, typer.Option(min=0, help="Requests per minute per client; 0 for no limit.")] = 0,
    allow_url: Annotated[
        bool, typer.Option("--allow-url", help="Allow clients to submit image URLs for the server to fetch.")
    ] = False,
    allow_tiff: Annotated[bool, typer.Option("--allow-tiff", help="Also read TIFF images.")] = False,
    trusted_host: Annotated[
        Optional[list[str]], typer.Option(help="Accepted Host header; this machine's names by default. Repeatable.")
    ] = None,
    proxy: Annotated[
        Optional[list[str]],
        typer.Option(help="Address of a proxy whose X-Forwarded-For header is trusted. Repeatable."),
    ] = None,
    store: Annotated[
        Optional[str], typer.Option(help="File or database URL for results and feedback, or none.")
    ] = None,
    spool: Annotated[
        Optional[Path],
        typer.Option(help="File for results that the store does not accept; next to a store file by default."),
    ] = None,
    store_days: Annotated[int, typer.Option(min=1, help="Days to keep results.")] = 365,
    keep_images: Annotated[
        Optional[Path], typer.Option(help="Folder for submitted images; by default they are not kept.")
    ] = None,
    examples: Annotated[
        Optional[bool],
        typer.Option(
            "--examples/--no-examples",
            help="Offer test images of the run as examples; by default not for medical models.",
        ),
    ] = None,
    workers: Annotated[
        Optional[int],
        typer.Option(min=1, max=64, help="Requests processed in parallel; by default the number of cores + 1."),
    ] = None,
    threads: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            help="Threads per forward pass; by default all cores for a single request, otherwise a share.",
        ),
    ] = None,
    engine: Engine = "onnxruntime",
    engine_precision: EnginePrecision = "float32",
    queue: Annotated[
        int, typer.Option(min=0, help="Maximum number of waiting requests; further requests get 503.")
    ] = 32,
    deadline: Annotated[float, typer.Option(min=0.1, help="Time limit per request, in seconds.")] = 60,
    drain: Annotated[float, typer.Option(min=0, help="Time to finish open requests at shutdown, in seconds.")] = 30,
) -> None:
    """Serve a web page and an HTTP API for trained models. PyTorch is not needed."""
    from .._optional import require

    require("fastapi", "serve")
    require("uvicorn", "serve")
    from ..serving.registry import parse_names
    from ..serving.server import serve as run
    from ..serving.settings import ServerSettings

    given: dict[str, Any] = {} if workers is None else {"workers": workers}
    settings = ServerSettings(
        host=host,
        port=port,
        api_key=api_key,
        max_upload=int(max_upload * MEGABYTE),
        max_batch_upload=int(max(max_batch, max_upload) * MEGABYTE),
        max_pixels=int(max_pixels * 1e6),
        rate_limit=rate_limit,
        allow_url=allow_url,
        allow_tiff=allow_tiff,
        trusted_hosts=tuple(trusted_host or ()),
        proxies=tuple(proxy or ()),
        keep_images=keep_images,
        store=store,
        spool=spool,
        store_days=store_days,
        examples=examples,
        threads=threads,
        engine=engine,
        precision=engine_precision,
        queue=queue,
        deadline=deadline,
        drain=drain,
        **given,
    )
    run(parse_names(runs), settings)
