"""A real Orthanc for the tests: on free loopback ports, refusing every other host, stopped and started at will."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

# This machine's own services are asked directly, whatever proxy the environment or an earlier test names.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def missing() -> str:
    """Why Orthanc cannot run here; empty when it can."""
    if shutil.which("Orthanc") is None:
        return "Orthanc is not installed"
    return "" if PLUGIN.exists() else "Orthanc's DICOMweb plugin is not installed"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Orthanc:
    """An archive in a folder. It listens on every address whatever its settings say, so it refuses other hosts."""

    def __init__(self, folder: Path, authorization: str = "", **settings: Any) -> None:
        self._headers = {"Authorization": authorization} if authorization else {}
        self.folder, self.http, self.dicom = folder, free_port(), free_port()
        self.caller_port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        peers = {"xray": ["XRAY1", "127.0.0.1", 1], "node": ["PELLUCID", "127.0.0.1", self.caller_port]}
        self.settings = {
            "Name": "PACS",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": self.http,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": "PACS",
            "DicomPort": self.dicom,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "DicomCheckModalityHost": True,
            "DicomModalities": peers,
            "OverwriteInstances": False,
            "StableAge": 1,
            "HttpThreadsCount": 4,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def start(self) -> Orthanc:
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(self.settings), encoding="utf-8")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(["Orthanc", path], stdout=log, stderr=log)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                self.get("/system")
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
            else:
                return self
        self.stop()
        raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGTERM)
            self.process.wait(30)
            self.process = None

    def ask(self, path: str, body: bytes | None = None, method: str | None = None) -> bytes:
        request = urllib.request.Request(self.root + path, body, self._headers, method=method)
        with DIRECT.open(request, timeout=30) as reply:
            return bytes(reply.read())

    def get(self, path: str) -> Any:
        return json.loads(self.ask(path))

    def add(self, path: Path) -> None:
        """Put an object in, as a modality would."""
        self.ask("/instances", path.read_bytes())

    def tags(self) -> list[dict[str, Any]]:
        """The main tags of every object."""
        return [
            {**i["MainDicomTags"], "id": i["ID"], "series": i["ParentSeries"]} for i in self.get("/instances?expand")
        ]

    def objects(self) -> dict[str, bytes]:
        """Every object as a file, by SOP Instance UID."""
        return {t["SOPInstanceUID"]: self.ask(f"/instances/{t['id']}/file") for t in self.tags()}

    def clear(self) -> None:
        for study in self.get("/studies"):
            self.ask(f"/studies/{study}", method="DELETE")
