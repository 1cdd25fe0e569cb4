"""Docker's rules for --cap-add and --cap-drop, as a table."""

from __future__ import annotations

import pytest

from wherry.linux import capability as c
from wherry.model.errors import InvalidArgument

D = c.DEFAULT_CAPABILITIES
NET_ADMIN, NET_RAW, SYS_ADMIN, CHOWN = (c.BITS[name] for name in ("NET_ADMIN", "NET_RAW", "SYS_ADMIN", "CHOWN"))


def test_the_default_set_is_the_documented_fourteen() -> None:
    assert D.bit_count() == 14
    assert D == 0xA80425FB  # as /proc/PID/status of a Docker container shows it


@pytest.mark.parametrize(("add", "drop", "privileged", "expected"), [
    ([], [], False, D),
    (["NET_ADMIN"], [], False, D | NET_ADMIN),
    (["cap_net_admin", "CAP_SYS_ADMIN"], [], False, D | NET_ADMIN | SYS_ADMIN),
    ([], ["net_raw"], False, D & ~NET_RAW),
    ([], ["ALL"], False, 0),
    ([], ["all"], False, 0),
    (["CHOWN"], ["ALL"], False, CHOWN),
    (["ALL"], [], False, c.ALL),
    (["ALL"], ["NET_RAW"], False, c.ALL & ~NET_RAW),
    (["ALL"], ["ALL"], False, c.ALL),
    (["ALL"], ["ALL", "NET_RAW"], False, c.ALL & ~NET_RAW),
    (["NET_RAW"], ["NET_RAW"], False, D),
    ([], ["ALL"], True, c.ALL),
])  # fmt: skip
def test_resolve(add: list[str], drop: list[str], privileged: bool, expected: int) -> None:
    assert c.resolve(add, drop, privileged) == expected


@pytest.mark.parametrize("name", ["NET", "CAP_", "", "CAP_CAP_CHOWN", "net admin"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        c.resolve([name])
    with pytest.raises(InvalidArgument):
        c.resolve((), [name])


def test_names_and_bits_agree_with_the_kernels_numbers() -> None:
    assert c.names(c.mask(["CHOWN", "SYS_ADMIN", "CHECKPOINT_RESTORE"])) == ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]
    assert (c.BITS["SYS_ADMIN"], c.BITS["CHECKPOINT_RESTORE"]) == (1 << 21, 1 << 40)
    effective, permitted, _ = c.get()
    assert effective & ~permitted == 0 and permitted & ~c.bounding() == 0
