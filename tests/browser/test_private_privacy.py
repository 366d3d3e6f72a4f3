"""What the exported page promises: nothing leaves it, a browser that differs is found out, new models arrive."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.browser.alone import Open, asked, static_server
from tests.browser.alone import open_alone as open_alone
from tests.browser.pages import Films
from tests.browser.test_access import violations
from tests.private_page.conftest import runtime as runtime

from pellucid.private_page import export, facts
from pellucid.private_page.export import export_page

WAYS_OUT = """async (sink) => {
  const tried = [];
  const attempt = async (name, act) => { try { await act(); } catch { tried.push(name); } };
  await attempt("fetch", () => fetch(sink + "fetch", { mode: "no-cors" }));
  await attempt("request", () => new Promise((done, fail) => {
    const asked = new XMLHttpRequest();
    Object.assign(asked, { onload: done, onerror: fail });
    asked.open("GET", sink + "request");
    asked.send();
  }));
  navigator.sendBeacon(sink + "beacon", "x");
  new Image().src = sink + "image";
  try { new WebSocket(sink.replace("http", "ws") + "socket"); } catch {}
  try { new EventSource(sink + "events"); } catch {}
  const add = (name, given) => document.body.append(Object.assign(document.createElement(name), given));
  add("iframe", { src: sink + "frame" });
  add("script", { src: sink + "script" });
  add("video", { src: sink + "video" });
  add("object", { data: sink + "object" });
  add("link", { rel: "stylesheet", href: sink + "style" });
  add("link", { rel: "prefetch", href: sink + "prefetch" });
  const style = document.createElement("div");
  style.style.backgroundImage = `url(${sink}background)`;
  document.body.append(style);
  const form = document.createElement("form");
  Object.assign(form, { action: sink + "form", method: "post", target: "hidden-frame" });
  document.body.append(form);
  form.submit();
  await attempt("worker", () => new Promise((done, fail) => {
    const text = `fetch("${sink}worker", { mode: "no-cors" }).then(() => postMessage(1), () => postMessage(0));`;
    const worker = new Worker(URL.createObjectURL(new Blob([text])));
    worker.onmessage = ({ data }) => (data ? done() : fail());
    worker.onerror = fail;
  }));
  await attempt("eval", () => new Function("return 1")());
  await new Promise((done) => setTimeout(done, 700));
  return tried;
}"""


KEPT = """async () => {
  const stored = [];
  for (const name of await caches.keys()) {
    for (const { url } of await (await caches.open(name)).keys()) stored.push(url);
  }
  const bases = await indexedDB.databases();
  return { stored, local: { ...localStorage }, session: { ...sessionStorage }, bases };
}"""


class Recorder(http.server.BaseHTTPRequestHandler):
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(204)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def sink() -> Iterator[tuple[str, list[str]]]:
    """A host on this machine that nothing may reach, and what reached it."""
    handler = type("Own", (Recorder,), {"seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", handler.seen
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("form", ["file", "folder"])
def test_nothing_leaves_the_page(
    form: str, served_bundle: Path, runtime: Path | None, browser: Any, films: Films
) -> None:
    out = films.folder / ("page.html" if form == "file" else "page")
    export_page(served_bundle, out, runtime=runtime, proof=False)
    with sink() as (address, reached), static_server(films.folder) as (home, seen):
        context = browser.new_context()
        page = context.new_page()
        page.goto(out.as_uri() if form == "file" else f"{home}page/")
        page.wait_for_selector("body[data-checked=good]")
        asked(page, films.film().read_bytes())
        visited = len(seen)
        assert set(page.evaluate(WAYS_OUT, address)) == {"fetch", "request", "worker", "eval"}
        assert reached == []
        if form == "file":
            assert seen == []
        else:
            # The service worker fetches the page's files once more, and nothing else.
            assert all((films.folder / path.strip("/").split("?")[0]).exists() for path in seen[visited:])
        context.close()


def test_no_image_is_kept(served_bundle: Path, runtime: Path | None, open_alone: Open, films: Films) -> None:
    out = export_page(served_bundle, films.folder / "page", runtime=runtime, proof=False).path
    with static_server(out) as (url, _):
        page = open_alone(url)
        page.set_input_files("#file", str(films.film()))
        page.wait_for_selector("#answer .label")
        page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
        kept = page.evaluate(KEPT)
        assert all(address.startswith(url) and "film" not in address for address in kept["stored"])
        assert {key: kept[key] for key in ("local", "session", "bases")} == {"local": {}, "session": {}, "bases": []}


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing_serious(
    theme: str, served_bundle: Path, runtime: Path | None, open_alone: Open, films: Films
) -> None:
    out = export_page(served_bundle, films.folder / "page.html", runtime=runtime, proof=False).path
    page = open_alone(out.as_uri(), color_scheme=theme)
    assert violations(page) == []
    page.set_input_files("#file", str(films.film()))
    page.wait_for_selector("#answer .label")
    assert violations(page) == []
    page.locator("#alone-more").click()
    page.locator("#alone summary").first.click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert violations(page) == []
    page.get_by_role("button", name="Report").click()
    page.wait_for_selector("#report h1")
    assert violations(page) == []


def test_a_browser_that_differs_is_found_out(
    served_bundle: Path, runtime: Path | None, open_alone: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = export.check_document

    def wrong(bundle: Any) -> dict[str, Any]:
        found = right(bundle)
        found["pictures"][0]["logits"][0] += 0.25
        return found

    monkeypatch.setattr(export, "check_document", wrong)
    out = export_page(served_bundle, tmp_path / "page.html", runtime=runtime, proof=False).path
    page = open_alone(out.as_uri())
    assert page.get_attribute("body", "data-checked") == "bad"
    warning = page.locator("#alone-check")
    assert warning.is_visible()
    assert "logits by up to 0.25" in warning.inner_text()


def test_a_canvas_that_is_disturbed_is_found_out(
    served_bundle: Path, runtime: Path | None, browser: Any, tmp_path: Path
) -> None:
    """As privacy modes do it: what is read back from a canvas is a little different."""
    out = export_page(served_bundle, tmp_path / "page.html", runtime=runtime, proof=False).path
    page = browser.new_page()
    page.add_init_script("""
      const Plain = Blob;
      globalThis.Blob = class extends Plain {
        constructor(parts, options) {
          const noise = `const read = OffscreenCanvasRenderingContext2D.prototype.getImageData;
            OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...given) {
              const found = read.apply(this, given);
              for (let i = 0; i < found.data.length; i += 97) found.data[i] ^= 1;
              return found;
            };`;
          super(options?.type === "text/javascript" ? [noise, ...parts] : parts, options);
        }
      };""")
    page.goto(out.as_uri())
    page.wait_for_selector("body[data-checked=bad]")
    assert "pixels differ by up to 1 of 255" in page.locator("#alone-check").inner_text()
    page.close()


def test_a_new_model_arrives(
    served_bundle: Path, runtime: Path | None, browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export_page(served_bundle, tmp_path / "site", runtime=runtime, proof=False).path
    monkeypatch.setattr(facts, "MOST_PIXELS", 12_345)
    second = export_page(served_bundle, tmp_path / "next", runtime=runtime, proof=False).path
    with static_server(first) as (url, _):
        page = browser.new_context().new_page()
        page.goto(url)
        page.wait_for_selector("body[data-checked=good]")
        page.wait_for_function("navigator.serviceWorker.controller !== null")
        before = page.evaluate("caches.keys()")
        shutil.copytree(second, first, dirs_exist_ok=True)
        # The server tells files apart by whole seconds, and both pages may be of the same one.
        os.utime(first / "sw.js", (time.time() + 5,) * 2)
        page.reload()
        page.wait_for_selector("#alone-check:not([hidden])")
        assert "newer version" in page.locator("#alone-check").inner_text()
        page.locator("#alone-check button").click()
        page.wait_for_selector("body[data-checked=good]")
        after = page.evaluate("caches.keys()")
        assert len(before) == len(after) == 1
        assert before != after
        assert page.evaluate("pellucid.facts().then(({ limits }) => limits.pixels)") == 12_345
        page.context.close()


def test_a_folder_from_disk_says_what_to_do(
    served_bundle: Path, runtime: Path | None, browser: Any, tmp_path: Path
) -> None:
    out = export_page(served_bundle, tmp_path / "page", runtime=runtime, proof=False).path
    page = browser.new_page()
    page.goto((out / "index.html").as_uri())
    page.wait_for_selector("body[data-checked=failed]")
    assert "cannot be opened from disk" in page.locator("#alone-check").inner_text()
    page.close()


def test_an_old_browser_is_told(served_bundle: Path, runtime: Path | None, browser: Any, tmp_path: Path) -> None:
    out = export_page(served_bundle, tmp_path / "page.html", runtime=runtime, proof=False).path
    page = browser.new_page()
    page.add_init_script("WebAssembly.validate = () => false;")
    page.goto(out.as_uri())
    page.wait_for_selector("body[data-checked=failed]")
    assert "WebAssembly SIMD" in page.locator("#alone-check").inner_text()
    page.close()
