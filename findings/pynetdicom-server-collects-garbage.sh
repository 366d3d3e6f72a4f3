#!/usr/bin/env bash
# pynetdicom: a server that waits for associations runs a full `gc.collect()` twice a minute in its thread, also when
# Python's collector is switched off. Every thread of the program halts for as long as the whole heap takes.
#
# Versions: pynetdicom 3.0.4, pydicom 3.0.2, CPython 3.11. Date: 2026-11-30.
# Expected: a server without a connection does nothing, and `gc.disable()` means that nothing is collected.
# Behaviour: AssociationServer.service_actions calls gc.collect() at every 60th look, and it looks every 0.5 s. With a
#   model or a data set loaded that is a halt of tenths of a second. `gc.freeze()` before the server starts takes what is
#   loaded out of the collector's sight.
# Output seen (CPU seconds): idle for 32 s: 1 full collection in AcceptorServer, 0.23 s / after gc.freeze(): 0.00 s
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pynetdicom==3.0.4 pydicom==3.0.2
"$work/venv/bin/python" - <<'PYTHON'
import gc
import sys
import threading
import time

from pynetdicom import AE
from pynetdicom.sop_class import Verification

loaded = [{n: [n]} for n in range(1_000_000)]  # two million objects, as a large program has
seen, began = [], {}


def watch(phase, info):
    if info["generation"] != 2:
        return
    if phase == "start":
        began["at"] = time.thread_time()
    else:
        seen.append((threading.current_thread().name.split("@")[0], time.thread_time() - began["at"]))


def idle():
    seen.clear()
    ae = AE()
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    time.sleep(32)
    server.shutdown()
    return list(seen)


gc.collect()
gc.disable()
gc.callbacks.append(watch)
plain = idle()
gc.freeze()
frozen = idle()
longest = [max((seconds for _, seconds in found), default=0.0) for found in (plain, frozen)]
print(f"idle for 32 s: {len(plain)} full collection in {', '.join(name for name, _ in plain)}, {longest[0]:.2f} s")
print(f"after gc.freeze(): {longest[1]:.2f} s")
as_stated = bool(plain) and all(name == "AcceptorServer" for name, _ in plain) and longest[1] < longest[0] / 4
print("as stated" if as_stated else "CHANGED")
sys.exit(0 if as_stated else 1)
PYTHON
