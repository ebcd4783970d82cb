"""What may differ between two deployments; no other module reads the environment."""

from fileproc.settings.fields import GIB, MIB
from fileproc.settings.listing import effective, shown, unknown_variables
from fileproc.settings.loading import CHAPTERS, Settings, load_settings, variables
from fileproc.settings.logs import LogFormat
from fileproc.settings.reaching import outbound_ports, port_ranges
from fileproc.settings.serving import Auth, Downloads, names
from fileproc.settings.working import SandboxMode, clamd_address, services, slots

__all__ = [
    "CHAPTERS",
    "GIB",
    "MIB",
    "Auth",
    "Downloads",
    "LogFormat",
    "SandboxMode",
    "Settings",
    "clamd_address",
    "effective",
    "load_settings",
    "names",
    "outbound_ports",
    "port_ranges",
    "services",
    "shown",
    "slots",
    "unknown_variables",
    "variables",
]
