"""Score predicted label files against reference files, one pair or two folders, and write the score tables.

Serves the evaluation step: files in, `scores.csv`, `scores_summary.csv` and `scores_lesions.csv` out. A prediction that
is missing or cannot be scored scores 0 and is named; `evaluate_case.py` says how one case is scored.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from flare_core.batch import SERIAL, Engine, Failed, Reused, map_cases
from flare_core.cases.bad_input import BadInput
from flare_core.cases.nifti import case_id, case_name
from flare_core.evaluation.evaluate_case import FLARE_VALUES, CaseResult, LabelMaps, evaluate_case
from flare_core.evaluation.flare_rules import Rules, SummaryRow, TargetScore, summarize
from flare_core.evaluation.lesions import LesionCounts
from flare_core.evaluation.tables import write_csv
from flare_core.output_lock import only_run
from flare_core.recipe import encode
from flare_core.records import kept_result
from flare_core.storage import STATE, file_hash

if TYPE_CHECKING:
    from flare_core.cases.dataset import Entry

log = logging.getLogger(__name__)

VERSION = 2
"""Raised by hand when scoring changes, so that what earlier versions scored is scored again."""
SCORE_COLUMNS = ("case", "target", "dsc", "nsd")
LESION_COLUMNS = ["case", "lesions", "found", "predicted", "false_positives"]


@dataclass(frozen=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        rules: the rules used.
        cases: case id to its result, in the order of ids.
        failures: case id to one line that says why its prediction scored 0 or its reference could not be used.
        warnings: lines about the evaluation as a whole.
        summary: the rows of `scores_summary.csv`.
    """

    rules: Rules
    cases: Mapping[str, CaseResult]
    failures: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    summary: tuple[SummaryRow, ...] = field(init=False)

    def __post_init__(self) -> None:
        scores = {case: result.scores for case, result in self.cases.items()}
        object.__setattr__(self, "summary", summarize(self.rules, scores))

    @property
    def is_complete(self) -> bool:
        """Whether every reference met a prediction that could be scored."""
        return not self.failures

    def scores_table(self) -> pd.DataFrame:
        """Return the long table: one row a case and target with columns `case`, `target`, `dsc`, `nsd`."""
        rows = [(case, s.target, s.dsc, s.nsd) for case, result in self.cases.items() for s in result.scores]
        return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))

    def summary_table(self) -> pd.DataFrame:
        """Return the means with columns `row`, `cases`, `dsc`, `nsd`, `false_positive_ml`."""
        return pd.DataFrame([asdict(row) for row in self.summary])

    def lesions_table(self) -> pd.DataFrame:
        """Return one row a case whose tumors are annotated, with columns `LESION_COLUMNS` (`lesions.LesionCounts`)."""
        rows = [{"case": c, **asdict(s.lesions)} for c, r in self.cases.items() for s in r.scores if s.lesions]
        return pd.DataFrame(rows, columns=LESION_COLUMNS)

    def write(self, scores_csv: Path) -> tuple[Path, ...]:
        """Write the long table to `scores_csv`, beside it `<name>_summary.csv` and `<name>_lesions.csv`; return all."""
        tables = {"": self.scores_table(), "_summary": self.summary_table(), "_lesions": self.lesions_table()}
        return tuple(write_csv(t, scores_csv.with_stem(scores_csv.stem + name)) for name, t in tables.items())


def evaluate_folders(
    predictions: Path,
    references: Path,
    rules: Rules,
    scores_csv: Path | None = None,
    annotated: Mapping[str, Collection[str]] | None = None,
    maps: LabelMaps = FLARE_VALUES,
    *,
    engine: Engine = SERIAL,
) -> Evaluation:
    """Score a folder of predictions against a folder of references, paired by case id.

    Args:
        predictions: folder with one label file a case (`ID.nii.gz`) at its top level; others than the references' are
            reported and not scored.
        references: folder with one label file a case.
        rules: which rules.
        scores_csv: where the long table goes (the means beside it); None writes nothing.
        annotated: case id to the targets that its annotator marked, where known.
        maps: what the values of the files mean.
        engine: who scores; each case in work needs the memory of its two label maps.
    Returns:
        All scores; `is_complete` is False if any prediction is missing or unusable, or a reference unreadable.
    Raises:
        BadInput: if a folder is missing, holds two files of one case, the references hold no label file, or no
            prediction belongs to any reference.
    """
    found, wanted = _label_files(predictions), _label_files(references)
    if not wanted:
        raise BadInput(
            references, "expected reference label files (*.nii.gz), found none; name the folder that holds them"
        )
    if found and not set(found) & set(wanted):
        raise BadInput(
            predictions,
            f"no prediction belongs to a reference: {_some(found)} here, {_some(wanted)} in {references}; "
            "give both the same names, or compare two files",
        )
    annotated = {} if annotated is None else annotated

    pairs = [
        Pair(case, found.get(case, Path(predictions) / f"{case}.nii.gz"), reference, annotated.get(case), maps)
        for case, reference in wanted.items()
    ]
    extra = sorted(set(found) - set(wanted))
    warnings = (f"predictions without a reference, not scored: {', '.join(extra)}",) if extra else ()
    return evaluate_pairs(pairs, rules, scores_csv, warnings, engine=engine)


@dataclass(frozen=True)
class Pair:
    """What is compared in one case, as in `evaluate_case`."""

    case: str
    prediction: Path
    reference: Path
    annotated: Collection[str] | None = None
    maps: LabelMaps = FLARE_VALUES

    @classmethod
    def of(cls, entry: Entry, predictions: Path) -> Pair:
        """Return a labeled case of a dataset, in the dataset's own values, beside its prediction in a folder."""
        maps = LabelMaps(reference=entry.label_ids)
        return cls(entry.id, predictions / f"{entry.id}.nii.gz", entry.labels, entry.annotated, maps)

    def score(self, rules: Rules) -> CaseResult:
        """Return the scores; all 0, with the problem, if the prediction is missing or unusable."""
        return evaluate_case(self.prediction, self.reference, rules, self.annotated, self.case, self.maps)


def evaluate_pairs(
    pairs: Sequence[Pair],
    rules: Rules,
    scores_csv: Path | None = None,
    warnings: tuple[str, ...] = (),
    *,
    engine: Engine = SERIAL,
) -> Evaluation:
    """Score cases whose files are known.

    Args:
        pairs: the cases; one without a prediction file has 0 everywhere and is a failure.
        rules, scores_csv, engine: as for `evaluate_folders`.
        warnings: to be said with the scores.
    """
    out = Path(scores_csv).parent if scores_csv is not None else None
    score = partial(_score_pair, rules=rules, records=out and out / STATE / Path(scores_csv).name)
    with only_run(out) if out is not None else nullcontext():
        cases = [(pair.case, pair) for pair in pairs]
        report = map_cases(score, cases, title="evaluate", engine=engine, folder=out).whole()
        if report.skipped:
            log.info("evaluate: %s", report)
        return _finish(Evaluation(rules, report.results, report.failures, warnings), scores_csv)


def _score_pair(pair: Pair, rules: Rules, records: Path | None) -> CaseResult | Reused | Failed:
    """Score one case, or take its scores from the record of an earlier run on the same files."""
    score = partial(pair.score, rules)
    case_id(pair.reference)  # a name that cannot become a record's is this case's failure
    if records is None or not pair.prediction.is_file():
        result = score()
    else:
        made_from = {
            "version": VERSION,
            "prediction": file_hash(pair.prediction),
            "reference": file_hash(pair.reference),
            "rules": encode(rules),
            "maps": encode(pair.maps),
            "annotated": sorted(pair.annotated) if pair.annotated is not None else None,
        }
        result = kept_result(records / f"{pair.case}.json", made_from, (CaseResult, TargetScore, LesionCounts), score)
    scored = result.result if isinstance(result, Reused) else result
    return Failed(scored, scored.problem) if scored.problem else result


def evaluate_files(
    prediction: Path,
    reference: Path,
    rules: Rules,
    scores_csv: Path | None = None,
    annotated: Collection[str] | None = None,
    maps: LabelMaps = FLARE_VALUES,
) -> Evaluation:
    """Score one prediction file against one reference file, whatever their names.

    Args:
        prediction, reference: label files; the case is called by the reference's name.
        rules: which rules.
        scores_csv: where the long table goes (the means beside it); None writes nothing.
        annotated: targets that the reference's annotator marked, where known.
        maps: what the values of the files mean.
    Returns:
        The scores of the one case.
    Raises:
        BadInput: if the reference cannot be read.
    """
    result = evaluate_case(prediction, reference, rules, annotated, None, maps)
    failures = {result.case: result.problem} if result.problem else {}
    for problem in failures.values():
        log.error("evaluate: %s: %s", result.case, problem)
    return _finish(Evaluation(rules, {result.case: result}, failures), scores_csv)


def _finish(evaluation: Evaluation, scores_csv: Path | None) -> Evaluation:
    """Log what is odd and write the tables."""
    for line in evaluation.warnings:
        log.warning("evaluate: %s", line)
    if scores_csv is not None:
        evaluation.write(Path(scores_csv))
    return evaluation


def _some(cases: Collection[str]) -> str:
    """Name the first cases of a collection."""
    return ", ".join(sorted(cases)[:3]) + (", ..." if len(cases) > 3 else "")


def _label_files(folder: Path) -> dict[str, Path]:
    """Map case id to the label file at the top level of a folder, in the order of ids."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(folder, "expected a folder with label files; it is not there or not a folder")
    files: dict[str, Path] = {}
    for path in sorted(
        p for p in folder.iterdir() if p.name.endswith((".nii.gz", ".nii")) and not p.name.startswith(".")
    ):
        case = case_name(path)
        if case in files:
            raise BadInput(folder, f"{files[case].name} and {path.name} are both case {case}; keep one of them")
        files[case] = path
    return dict(sorted(files.items()))
