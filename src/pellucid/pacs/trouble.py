"""What can go wrong between the node and an archive, told apart by what to do about it."""

from __future__ import annotations

import errno

REMEDIES = {
    "refused": "nothing listens there: check host and port, and whether the archive runs",
    "unknown-host": "there is no such host: check its name",
    "timeout": "it says nothing: check host, port and firewall",
    "connection": "the connection breaks off: check host, port, and whether the archive expects TLS",
    "tls": "TLS fails: check that the archive speaks TLS there and accepts this node's certificate",
    "certificate": "its certificate is not trusted, has expired or is of another host: check `ca` of the TLS settings",
    "association-rejected": "it refuses the AE titles: check `ae_title`, and enter `calling` and this host there",
    "no-association": "it breaks the association off: check that a DICOM node is there, and the TLS settings",
    "no-echo": "it takes no C-ECHO: check that a DICOM node is there",
    "no-json": "what is there is no DICOMweb service: check the path of the address",
    "http-401": "it wants other credentials: check `user` and `password_variable`",
    "http-403": "it forbids the access: check the rights of `user`",
    "http-404": "there is no DICOMweb service under this path: check the address",
}
"""What to do about an archive that cannot be reached, by code."""


class Unreachable(Exception):
    """The archive cannot be reached: everything waits, and no attempt is used up. `code` is stable."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NotStored(Exception):
    """The archive did not take one object. `permanent` says that it never will. `code` is stable."""

    def __init__(self, code: str, *, permanent: bool = False) -> None:
        super().__init__(code)
        self.code, self.permanent = code, permanent


_LISTENING = {
    errno.EADDRINUSE: "something listens there already: end it, or choose another port",
    errno.EACCES: "ports below 1024 are for root: choose a higher port, or give the service CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine has no such address: 0.0.0.0 means all of its own",
}


def cannot_listen(address: str, port: int, error: OSError) -> str:
    """Why a server cannot listen, and what to do, as the end of a sentence."""
    remedy = _LISTENING.get(error.errno or 0, "check address and port")
    return f"cannot listen at {address}:{port} ({error.strerror or 'no such address'}): {remedy}."


DUPLICATE = 0x0111
"""The archive has an object with this UID: as a UID follows from an object's content, it is the same one."""


# Reference: DICOM PS3.4, table B.2-1 (C-STORE) and PS3.18, table I.2-2 (STOW): classes of failures that stay.
def is_permanent(status: int) -> bool:
    """Whether a status of C-STORE or a FailureReason of STOW will be the same next time."""
    data_set = 0xA900 <= status <= 0xA9FF or 0xC000 <= status <= 0xCFFF
    return data_set or status in (0x0117, 0x0122)
