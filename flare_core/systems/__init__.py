"""The papers: one file a system, values only.

Adding a paper is one file and one line here; tests, notebooks and the command line pick it up.
"""

from flare_core.systems.nvauto import NVAUTO

SYSTEMS = {system.key: system for system in (NVAUTO,)}
