"""`pellucid serve`: a page and an API from runs or bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

MEGABYTE = 2**20


def serve(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run or bundle folders, or NAME=FOLDER.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8000,
    api_key: Annotated[
        Optional[str], typer.Option(envvar="PELLUCID_API_KEY", show_envvar=True, help="Key that clients must send.")
    ] = None,
    max_upload: Annotated[float, typer.Option(min=0.1, help="Largest image, in megabytes.")] = 32,
    max_pixels: Annotated[float, typer.Option(min=0.01, help="Largest picture, in megapixels.")] = 64,
    max_batch: Annotated[float, typer.Option(min=0.1, help="Largest batch, in megabytes.")] = 256,
    rate_limit: Annotated[int, typer.Option(min=0, help="Requests a minute and client; 0 for no limit.")] = 0,
    allow_url: Annotated[bool, typer.Option("--allow-url", help="Let clients have images fetched by URL.")] = False,
    allow_tiff: Annotated[bool, typer.Option("--allow-tiff", help="Read TIFF images too.")] = False,
    trusted_host: Annotated[
        Optional[list[str]], typer.Option(help="Host name to answer to; repeat for more. Default: this machine's.")
    ] = None,
    proxy: Annotated[
        Optional[list[str]], typer.Option(help="Address of a proxy whose X-Forwarded-For is believed; repeat for more.")
    ] = None,
    store: Annotated[
        Optional[str], typer.Option(help="File or database URL for results and feedback, or none.")
    ] = None,
    store_days: Annotated[int, typer.Option(min=1, help="Days for which results are kept.")] = 365,
    keep_images: Annotated[Optional[Path], typer.Option(help="Folder to keep the images in; not kept without.")] = None,
    examples: Annotated[
        Optional[bool],
        typer.Option("--examples/--no-examples", help="Offer test images of the run. Default: not for medical models."),
    ] = None,
    workers: Annotated[
        Optional[int], typer.Option(min=1, max=64, help="Requests worked on side by side. Default: cores + 1.")
    ] = None,
    threads: Annotated[
        Optional[int], typer.Option(min=1, help="Cores of one pass. Default: all for a request alone, else a share.")
    ] = None,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait; more get 503.")] = 32,
    deadline: Annotated[float, typer.Option(min=0.1, help="Most seconds for one request.")] = 60,
    drain: Annotated[float, typer.Option(min=0, help="Most seconds to finish requests when told to stop.")] = 30,
) -> None:
    """Serve a page and an HTTP API from trained models, for people and programs. Needs no torch."""
    from .._optional import require

    require("fastapi", "serve")
    require("uvicorn", "serve")
    from ..serving.registry import parse_names
    from ..serving.server import serve as run
    from ..serving.settings import ServerSettings

    given = {} if workers is None else {"workers": workers}
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
        store_days=store_days,
        examples=examples,
        threads=threads,
        queue=queue,
        deadline=deadline,
        drain=drain,
        **given,
    )
    run(parse_names(runs), settings)
