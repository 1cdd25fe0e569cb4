"""Names for containers that were given none: two random words."""

from __future__ import annotations

import secrets
from collections.abc import Callable

_FIRST = """able amber apt bold brave bright brisk calm clear clever cosy crisp deft eager early easy fair fast fine firm fond fresh glad gentle
golden grand green happy hardy keen kind lively lucky mellow merry mild neat nimble noble patient placid plain proud quick quiet rapid ready
robust rosy royal sage sharp shiny silent silver smooth snug solid spry steady stout sunny swift tidy tranquil trim trusty upbeat vivid warm
wise witty young zesty""".split()  # noqa: SIM905
_SECOND = """anchor barge beacon boat bosun bow breeze brig bridge buoy canoe capstan cargo channel chart clipper coast compass coracle cove
crane crew cutter deck dinghy dock ferry fjord galley gull harbour helm hull inlet island jetty jib kayak keel ketch knot lagoon landing
launch lighter lock lugger mainsail mast mooring oar otter paddle pier pilot plank porter punt quay raft reef rigging river rope rower rudder
sail schooner shoal shore sloop spar stern strait tide tiller tug voyage wave wharf wherry winch yawl""".split()  # noqa: SIM905


def pick(free: Callable[[str], bool]) -> str:
    """A name that is free; after a few tries with a number behind it."""
    for attempt in range(100):
        name = f"{secrets.choice(_FIRST)}_{secrets.choice(_SECOND)}"
        if attempt > 5:
            name += str(secrets.randbelow(10_000))
        if free(name):
            return name
    return f"{secrets.choice(_FIRST)}_{secrets.token_hex(8)}"
