"""What can go wrong between the node and an archive, told apart by what to do about it."""

from __future__ import annotations


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


# Reference: DICOM PS3.4, table B.2-1 (C-STORE) and PS3.18, table I.2-2 (STOW): classes of failures that stay.
def is_permanent(status: int) -> bool:
    """Whether a status of C-STORE or a FailureReason of STOW will be the same next time."""
    data_set = 0xA900 <= status <= 0xA9FF or 0xC000 <= status <= 0xCFFF
    return data_set or status in (0x0111, 0x0117, 0x0122)
