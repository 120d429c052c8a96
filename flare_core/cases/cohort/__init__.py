"""Make synthetic abdominal CT with known truth, annotated as FLARE23 is: the cohort that comes along with the project.

Reading order: `patient` (who), `fields` and `space` (where), `shapes` and `structure` (how anatomy is written down),
`trunk`, `skeleton`, `vessels`, `organs`, `kidneys`, `foregut`, `bowel`, `anatomy` (what lies where), `tumors`,
`scanner` (how it is imaged), `annotation` (what is marked), `enlarge`, `generate` (a case), `write` (a dataset folder).
"""

from flare_core.cases.cohort.generate import SyntheticCase, generate_case
from flare_core.cases.cohort.write import write_cohort

__all__ = ["SyntheticCase", "generate_case", "write_cohort"]
