"""The papers: one file a system, values only.

Adding a paper is one file and one line here; tests, notebooks and the command line pick it up.
"""

from flare_core.systems.dkfz import DKFZ_BS4_8, DKFZ_BS8
from flare_core.systems.efficient_nnunet import EFFICIENT_NNUNET
from flare_core.systems.nvauto import NVAUTO
from flare_core.systems.stmt import STMT
from flare_core.systems.swinx import SWINX

SYSTEMS = {system.key: system for system in (NVAUTO, DKFZ_BS8, DKFZ_BS4_8, STMT, EFFICIENT_NNUNET, SWINX)}
