"""The server of the pages: on loopback alone, for reading alone, and for whoever calls it by its own name."""

import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from pipeline.viewing.pages import Site
from pipeline.viewing.pictures import SIDES_PX
from pipeline.viewing.query import Query
from pipeline.viewing.world import Recent, World
from schemas.errors import IntegrityError, PipelineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
_BACKLOG = 1024  # requests that wait to be let in
_REFRESH_S = 5  # of the page of a run that goes on
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def serve(world: World, port: int, began: Callable[[str], None]) -> None:
    """Answer until somebody stops it.

    Args:
        port: to listen on; 0 for any that is free.
        began: told the address of the pages, once they can be had.

    Raises:
        UsageError: the port is taken, or not for us.
        PipelineError: the libraries of the extra are not installed.
    """
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise PipelineError(
            f"view needs {error.name}, which is not installed", hint="Install it: pip install 'biam-pipe[view]'"
        ) from error
    with _listening(port) as listener:
        number = listener.getsockname()[1]
        settings = uvicorn.Config(
            application(world, number),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=2,
        )
        began(f"http://{HOST}:{number}/")
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # the usual end, as Ctrl-C is
        try:
            with suppress(KeyboardInterrupt):
                uvicorn.Server(settings).run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _listening(port: int) -> "Iterator[socket.socket]":
    try:
        listener = socket.create_server((HOST, port), backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"view: nobody can listen on port {port} ({error.strerror})", hint="Name another one with --port, or 0"
        ) from error
    with listener:
        yield listener


def application(world: World, port: int) -> "ASGIApp":
    """The pages as an ASGI application, behind what refuses all that is no look from this machine."""
    try:
        from starlette.applications import Starlette
        from starlette.routing import Route
    except ModuleNotFoundError as error:
        raise PipelineError(
            f"view needs {error.name}, which is not installed", hint="Install it: pip install 'biam-pipe[view]'"
        ) from error
    site = Site(Recent(world))
    routes = [
        Route("/", _page(site, site.state)),
        Route("/images", _page(site, site.images)),
        Route("/images/{shard:int}/{row:int}", _page(site, site.image)),
        Route("/failures", _page(site, site.failures)),
        Route("/labels", _page(site, site.labels)),
        Route("/runs", _page(site, site.runs)),
        Route("/photo/{side:int}/{shard:int}/{row:int}", _picture(_photo(site))),
        Route("/response/{shard:int}/{row:int}", _picture(site.response)),
        Route("/style.css", _style),
        Route("/{rest:path}", _nowhere(site)),
    ]
    return guarded(Starlette(routes=routes), {f"{name}:{port}" for name in (HOST, "localhost")})


def guarded(pages: "Starlette", hosts: Iterable[str]) -> "ASGIApp":
    """Let through what reads, and what calls the server by one of its names: a page elsewhere cannot pass for it.

    Args:
        hosts: with ports.
    """
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.responses import PlainTextResponse

    known = frozenset(hosts)

    async def guard(scope: "Scope", receive: "Receive", send: "Send") -> None:
        async def sealed(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["type"] != "http":
            return
        if Headers(scope=scope).getlist("host") not in [[host] for host in known]:
            refusal = PlainTextResponse("this server answers under its own address alone\n", 403)
            await refusal(scope, receive, sealed)
        elif scope["method"] not in ("GET", "HEAD"):
            refusal = PlainTextResponse("this server is read only\n", 405, {"Allow": "GET, HEAD"})
            await refusal(scope, receive, sealed)
        else:
            await pages(scope, receive, sealed)

    return guard


def _page(site: Site, shown: Callable[..., str]) -> "Callable[[Request], Response]":
    from starlette.responses import HTMLResponse

    def answer(request: "Request") -> "Response":
        try:
            html = shown(Query.of(request.query_params), **request.path_params)
            return HTMLResponse(html)
        except PipelineError as problem:
            code = 404 if isinstance(problem, UsageError) else 200 if isinstance(problem, IntegrityError) else 503
            return HTMLResponse(_told(site, str(problem)), code)

    return answer


def _told(site: Site, told: str) -> str:
    """A page with a problem; a bare one where the folder tells nothing more."""
    try:
        return site.problem(told)
    except PipelineError as worse:
        return f"<!doctype html><meta charset=utf-8><title>biam-pipe view</title><p>{escape(told)}<p>{escape(worse)}"


def _nowhere(site: Site) -> "Callable[[Request], Response]":
    from starlette.responses import HTMLResponse

    def answer(request: "Request") -> "Response":
        return HTMLResponse(_told(site, f"there is no page {request.scope['path']}"), 404)

    return answer


def _photo(site: Site) -> Callable[..., bytes | str]:
    def shown(query: Query, side: int, shard: int, row: int) -> bytes | str:
        if side not in SIDES_PX:
            raise UsageError(f"pictures are {' or '.join(map(str, SIDES_PX))} px, not {side}")
        return site.photo(query, shard, row, side)

    return shown


def _picture(shown: Callable[..., bytes | str]) -> "Callable[[Request], Response]":
    from starlette.responses import Response

    def answer(request: "Request") -> "Response":
        try:
            found = shown(Query.of(request.query_params), **request.path_params)
        except UsageError as problem:
            return Response(str(problem), 404, media_type="text/plain")
        except PipelineError as problem:
            found = str(problem)
        if isinstance(found, bytes):
            return Response(found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})
        return Response(_words(found), media_type="image/svg+xml")

    return answer


def _words(told: str) -> str:
    """A picture of words, for where a photo would be."""
    words, lines = told.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 30 and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    shown = lines[:7] + (["..."] if len(lines) > 7 else [])
    text = "".join(
        f'<text x="12" y="{30 + 18 * number}">{escape(line[:34])}</text>' for number, line in enumerate(shown)
    )
    style = 'font-family="sans-serif" font-size="13" fill="#7a8699"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="240" height="180" {style}>{text}</svg>'


def _style(request: "Request") -> "Response":
    from starlette.responses import Response

    del request
    here = Path(__file__).parent
    sheets = (here.parent / "reporting" / "style.css", here / "view.css")
    return Response("".join(sheet.read_text(encoding="utf-8") for sheet in sheets), media_type="text/css")
