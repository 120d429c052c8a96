"""The runner refuses what no notebook declares, names what fails, leaves nothing half-done, repeats nothing in vain."""

import fcntl
import json
import re
import shutil
from dataclasses import replace
from html import escape
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from notebook_builder import write_notebook

from flare_core import report, report_index
from flare_core.evaluation.claim_list import read_claims
from flare_core.evaluation.claims import judge_claims, shown_with_interval
from flare_core.notebook_runner import BadParameter, Outcome, declared_parameters, run_notebook, strip_outputs
from flare_core.recipe import fingerprint
from flare_core.reproduce import Batch, parse_parameters, planned, reproduce
from flare_core.systems.nvauto import NVAUTO

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
SHOW_PNG = f"import base64\nfrom IPython.display import Image, display\ndisplay(Image(base64.b64decode('{PNG}')))"


@pytest.fixture
def batch(tmp_path):
    """A batch over an empty notebook folder; `parameters` of a notebook default to profile only."""
    (tmp_path / "notebooks").mkdir()
    return Batch(profile="smoke", notebooks=tmp_path / "notebooks", reports=tmp_path / "reports")


def with_(batch: Batch, **changes) -> Batch:
    return replace(batch, **changes)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"sede": 1}, "did you mean seed"),
        ({"x=1;import os;y": 1}, "no notebook has a parameter"),
        ({"seed": "1"}, "seed must be int"),
        ({"seed": True}, "seed must be int"),
        ({"share": float("nan")}, "finite"),
        ({"share": float("inf")}, "finite"),
        ({"system": "a" * 1001}, "at most 1000"),
        ({"system": "a\nb"}, "printable"),
        ({"system": 3}, "system must be str"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(batch, parameters, words):
    ran = batch.notebooks / "ran"
    write_notebook(
        batch.notebooks / "00_a.ipynb",
        f"open({str(ran)!r}, 'w').close()",
        parameters="profile = 'mini'\nsystem = 'nvauto'\nseed = 0\nshare = 0.5",
    )
    with pytest.raises(BadParameter, match=words):
        reproduce(with_(batch, parameters=parameters))
    assert not ran.exists()
    assert not batch.reports.exists()


@pytest.mark.parametrize(
    "changes", [{"profile": "minni"}, {"only": ("99",)}, {"only": ("../00_a",)}], ids=["profile", "number", "path"]
)
def test_unknown_profiles_and_notebooks_are_refused(batch, changes):
    write_notebook(batch.notebooks / "00_a.ipynb")
    with pytest.raises(BadParameter):
        reproduce(with_(batch, **changes))


def test_each_notebook_gets_only_what_it_declares_and_batches_are_static(batch):
    write_notebook(batch.notebooks / "00_a.ipynb", parameters="profile = 'mini'\nviewer = 'auto'\nseed = 0")
    write_notebook(batch.notebooks / "01_b.ipynb", parameters="profile = 'mini'")
    write_notebook(batch.notebooks / "02_c.ipynb", parameters="")
    given = list(planned(with_(batch, parameters={"seed": 3})).values())
    assert given == [{"profile": "smoke", "viewer": "static", "seed": 3}, {"profile": "smoke"}, {}]


def test_an_int_is_a_float_but_not_the_other_way(batch):
    write_notebook(batch.notebooks / "00_a.ipynb", parameters="share = 0.5\ncount = 2")
    assert planned(with_(batch, parameters={"share": 1}))
    with pytest.raises(BadParameter, match="count must be int"):
        planned(with_(batch, parameters={"count": 2.0}))


def test_a_default_that_is_no_literal_is_refused(tmp_path):
    with pytest.raises(BadParameter, match="plain literal"):
        declared_parameters(write_notebook(tmp_path / "00_a.ipynb", parameters="seed = max(1, 2)"))


def test_command_line_texts_become_the_declared_types(tmp_path):
    write_notebook(tmp_path / "00_a.ipynb", parameters="seed = 0\nshare = 0.5\nfast = True\nsystem = 'nvauto'")
    texts = ["seed=3", "share=1", "fast=False", "system=a=b"]
    assert parse_parameters(texts, tmp_path) == {"seed": 3, "share": 1.0, "fast": False, "system": "a=b"}
    for wrong in ("seed", "seed=three", "fast=no", "sede=1", "share=nan"):
        with pytest.raises(BadParameter):
            parse_parameters([wrong], tmp_path)


def test_parameters_reach_the_kernel_as_values_in_a_batch_without_widgets(batch):
    write_notebook(
        batch.notebooks / "00_a.ipynb",
        "import os, sys\nprint(system, os.environ['FLARE_BATCH'], 'itkwidgets' in sys.modules)",
        parameters="system = 'nvauto'\nprofile = 'mini'",
    )
    hostile = "'; print('no') #"
    (outcome,) = reproduce(with_(batch, parameters={"system": hostile}), say=lambda line: None)
    assert outcome.status == "done"
    executed = nbformat.read(batch.reports / "notebooks" / "00_a.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == f"{hostile} 1 False\n"


def test_a_failing_notebook_is_named_with_its_line_while_the_others_go_on(batch):
    write_notebook(batch.notebooks / "00_good.ipynb", SHOW_PNG)
    write_notebook(batch.notebooks / "01_bad.ipynb", "count = 0\nshare = 1 / count", SHOW_PNG)
    write_notebook(batch.notebooks / "02_good.ipynb", "1")
    said = []
    outcomes = reproduce(batch, say=said.append)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert re.fullmatch(r"cell \d, line `share = 1 / count`: ZeroDivisionError: division by zero", outcomes[1].error)
    assert "01_bad" in said[1] and "ZeroDivisionError" in said[1]
    assert "1 failed" in said[-1]
    made = {path.name for path in (batch.reports / "notebooks").glob("*.ipynb")}
    assert made == {"00_good.ipynb", "01_bad.partial.ipynb", "02_good.ipynb"}
    index = (batch.reports / "index.html").read_text()
    assert "ZeroDivisionError" in index and "1 failed: 01_bad" in index


def test_a_notebook_that_fails_later_loses_its_stale_result(batch):
    notebook = write_notebook(batch.notebooks / "00_a.ipynb", "1")
    reproduce(batch, say=lambda line: None)
    write_notebook(notebook, "raise SystemError('gone')")
    reproduce(batch, say=lambda line: None)
    assert not (batch.reports / "notebooks" / "00_a.ipynb").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import time\ntime.sleep(60)", "longer than 1 s"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "kernel died"),
    ],
    ids=["endless", "killed"],
)
def test_endless_cells_and_dead_kernels_end_as_failures(tmp_path, code, words):
    outcome = run_notebook(write_notebook(tmp_path / "00_a.ipynb", code), {}, tmp_path / "out", timeout_s=1)
    assert outcome.status == "failed"
    assert words in outcome.error


def refuse_to_start(self, name):
    raise NoSuchKernel(name)


@pytest.mark.parametrize(
    ("program", "words"),
    [("false", "Kernel died before replying"), ("/nowhere/python", "No such file"), (None, "No such kernel")],
    ids=["ends at once", "of a folder that is gone", "unknown"],
)
def test_kernels_that_do_not_start_end_as_failures_in_a_report(batch, monkeypatch, program, words):
    kernels = batch.notebooks / "kernels" / "python3"
    kernels.mkdir(parents=True)
    spec = {"argv": [program, "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (kernels / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(batch.notebooks))
    if program is None:
        monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", refuse_to_start)
    for name in ("00_a", "01_b"):
        write_notebook(batch.notebooks / f"{name}.ipynb", "1")
    outcomes = reproduce(batch, say=lambda line: None)
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert all(words in outcome.error and "\n" not in outcome.error for outcome in outcomes)
    assert escape(outcomes[1].error) in (batch.reports / "index.html").read_text()


@pytest.fixture
def shared_input(tmp_path, monkeypatch):
    """One file in place of the package's sources, which someone may be editing while the tests run."""
    file = tmp_path / "source.py"
    file.write_text("1")
    monkeypatch.setattr("flare_core.reproduce.paths.ROOT", tmp_path)
    monkeypatch.setattr("flare_core.reproduce._shared_inputs", lambda: [file])
    return file


def test_only_changed_inputs_and_what_follows_them_are_run_again(batch, shared_input):
    for name in ("00_a", "01_b", "02_c"):
        write_notebook(batch.notebooks / f"{name}.ipynb", "1")

    def statuses(**changes):
        return [outcome.status for outcome in reproduce(with_(batch, **changes), say=lambda line: None)]

    assert statuses() == ["done"] * 3
    assert statuses() == ["unchanged"] * 3
    write_notebook(batch.notebooks / "01_b.ipynb", "2")
    assert statuses() == ["unchanged", "done", "done"]
    (batch.reports / "notebooks" / "02_c.json").write_text("{}")
    assert statuses() == ["unchanged", "unchanged", "done"]
    shared_input.write_text("2")
    assert statuses(only=("00",)) == ["done"]
    assert statuses(only=("01",), force=True) == ["done"]
    assert statuses(profile="mini") == ["done"] * 3


def test_a_visit_in_jupyter_does_not_count_as_a_change(batch, shared_input):
    path = write_notebook(batch.notebooks / "00_a.ipynb", "1")
    reproduce(batch, say=lambda line: None)
    visited = nbformat.read(path, as_version=4)
    visited.cells[-1].execution_count = 7
    visited.cells[-1].outputs = [nbformat.v4.new_output("stream", text="hello")]
    nbformat.write(visited, path)
    assert [outcome.status for outcome in reproduce(batch, say=lambda line: None)] == ["unchanged"]


def test_a_second_run_on_the_same_reports_is_refused(batch):
    write_notebook(batch.notebooks / "00_a.ipynb", "1")
    batch.reports.mkdir()
    with (batch.reports / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BadParameter, match="another run"):
            reproduce(batch)


ACTIVE = [
    "<script>alert(1)</script>",
    "<img src=https://example.org/x.png>",
    "<img src='x' onerror='alert(1)'>",
    "<a href='javascript:alert(1)'>x</a>",
    "<iframe srcdoc='x'></iframe>",
    "<style>@import 'https://example.org/x.css'</style>",
    "<svg/onload=alert(1)>",
    "<img/src=https://example.org/x.png>",
    "<img srcset='data:, 1x, https://example.org/x.png 2x'>",
    "<img alt='>' onerror=alert(1)>",
]
PASSIVE = [
    f'<img src="data:image/png;base64,{PNG}">',
    f"<img src=data:image/png;base64,{PNG} alt='one = 1'>",
    "<p>Based on one source = <b>src</b></p>",
]


@pytest.mark.parametrize("html", ACTIVE)
def test_active_outputs_are_dropped_and_passive_ones_kept(tmp_path, html):
    path = write_notebook(tmp_path / "00_a.ipynb", "1")
    content = nbformat.read(path, as_version=4)
    content.metadata["widgets"] = {"state": "x" * 100}
    table = "<table><tr><td>one = 1</td></tr></table>"
    content.cells[-1].outputs = [
        nbformat.v4.new_output("display_data", {"text/html": html, "text/plain": "kept"}),
        nbformat.v4.new_output("display_data", {"text/html": table, "image/png": PNG}),
        nbformat.v4.new_output("display_data", {"application/javascript": "alert(1)"}),
        nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "0%"}),
        nbformat.v4.new_output("stream", text="y" * 100_000),
    ]
    nbformat.write(content, path)
    strip_outputs(path)
    stripped = nbformat.read(path, as_version=4)
    assert "widgets" not in stripped.metadata
    text, picture, log = stripped.cells[-1].outputs
    assert dict(text.data) == {"text/plain": "kept"}
    assert dict(picture.data) == {"text/html": table, "image/png": PNG}
    assert len(log.text) == 20_000


@pytest.mark.parametrize("html", PASSIVE)
def test_html_that_neither_runs_nor_loads_anything_is_kept(tmp_path, html):
    path = write_notebook(tmp_path / "00_a.ipynb", "1")
    content = nbformat.read(path, as_version=4)
    content.cells[-1].outputs = [nbformat.v4.new_output("display_data", {"text/html": html})]
    nbformat.write(content, path)
    strip_outputs(path)
    assert nbformat.read(path, as_version=4) == content


def test_report_pages_run_nothing_and_load_nothing(batch):
    write_notebook(batch.notebooks / "00_a.ipynb", SHOW_PNG, "print('<script>')", title="Where <to> start")
    write_notebook(batch.notebooks / "02_c.ipynb", SHOW_PNG, SHOW_PNG, title="Twice")
    write_notebook(batch.notebooks / "01_b.ipynb", "import pandas\npandas.DataFrame({'dsc': [0.5]})", title="Scores")
    path = batch.notebooks / "01_b.ipynb"
    content = nbformat.read(path, as_version=4)
    content.cells[-1].metadata["tags"] = ["key"]
    nbformat.write(content, path)
    reproduce(batch, say=lambda line: None)
    pages = sorted(batch.reports.glob("*.html"))
    assert [page.name for page in pages] == ["00_a.html", "01_b.html", "02_c.html", "index.html"]
    for page in pages:
        text = page.read_text()
        assert not re.search(r"<script|<link|<iframe|@import|url\(|\ssrc=.?https?:", text)
        assert "Content-Security-Policy content=\"default-src 'none'; " in text.partition("<style>")[0]
    index = pages[-1].read_text()
    assert "00 Where &lt;to&gt; start" in index
    assert "<th>dsc</th>" in index and "0.5" in index
    assert "<span>00 Where &lt;to&gt; start</span>" in index, "a picture's caption is the heading above it"
    assert all(f"<span>02 Twice ({number} of 2)</span>" in index for number in (1, 2))
    assert (batch.reports / "pictures" / "00_a.png").stat().st_size > 0
    for target in re.findall(r"(?:href|src)='([^']+)'", index):
        file, _, place = target.partition("#")
        page = batch.reports / (file or "index.html")
        assert page.exists(), target
        assert not place or f" id={place}" in page.read_text(), target


def test_links_lead_only_to_pages_of_this_run(tmp_path):
    names = ("00_a", "01_b", "02_c")
    outcomes = [Outcome(name, "done", 0.0, "2026-01-01T00:00:00", {}) for name in names]
    picture = nbformat.v4.new_output("display_data", {"image/png": PNG})
    (tmp_path / "notebooks").mkdir()
    for name in names:
        path = write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", "1", "2")
        content = nbformat.read(path, as_version=4)
        content.cells[-2].outputs = content.cells[-1].outputs = [picture]
        nbformat.write(content, path)
    report.build(outcomes, tmp_path, "mini")
    (tmp_path / "notebooks" / "01_b.ipynb").unlink()
    write_notebook(tmp_path / "notebooks" / "02_c.ipynb", "1")
    report.build([outcomes[0], replace(outcomes[1], status="failed"), outcomes[2]], tmp_path, "mini")
    assert {page.name for page in tmp_path.glob("*.html")} == {"00_a.html", "02_c.html", "index.html"}
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"00_a.png", "00_a-1.jpg", "00_a-2.jpg"}
    linked = [set(re.findall(r"href='(\w+\.html)'", (tmp_path / f"{name}.html").read_text())) for name in names[::2]]
    assert linked == [{"index.html", "02_c.html"}, {"index.html", "00_a.html"}]


def test_the_index_begins_with_every_claim_and_its_verdict(tmp_path):
    index = report.build([], tmp_path, "mini").read_text()
    findings = judge_claims()
    for claim in read_claims().claims:
        assert escape(claim.statement) in index and f"flare claims {claim.id}" in index
        assert escape(claim.margin) in index
        summary = index.split(f"<details id={claim.id}><summary>")[1].split("</summary>")[0]
        assert escape(claim.caveat) in summary
        assert all(shown_with_interval(found) in summary for found in findings if found.claim == claim.id)
    assert index.index("claims hold?") < index.index("What came along")
    assert all(word in index for word in ("reproduced", "not tested", "flare ablate"))


def test_exported_tables_come_along_and_old_ones_go(tmp_path):
    (tmp_path / "made").mkdir()
    for name in ("a.csv", "a.tex", "notes.txt"):
        (tmp_path / "made" / name).write_text(name)
    index = report.build([], tmp_path / "report", "mini", tmp_path / "made").read_text()
    assert "href='tables/a.csv'" in index and "href='tables/a.tex'" in index and "notes" not in index
    report.build([], tmp_path / "report", "mini")
    assert not (tmp_path / "report" / "tables").exists()


def test_index_keeps_earlier_notebooks_when_only_one_is_run(batch):
    for name in ("00_a", "01_b"):
        write_notebook(batch.notebooks / f"{name}.ipynb", "1")
    reproduce(batch, say=lambda line: None)
    reproduce(with_(batch, only=("01",)), say=lambda line: None)
    index = (batch.reports / "index.html").read_text()
    assert "00_a.html" in index and report_index.STATUS_WORDS["earlier"] in index


def test_an_empty_report_says_so(tmp_path):
    assert "No notebook has been run" in report.build([], tmp_path, "mini").read_text()


def test_shipped_networks_say_where_they_come_from_and_whether_they_are_stale(tmp_path):
    stage = NVAUTO.at("mini").stage("round2")
    model = {"system": "nvauto", "profile": "mini", "stage": "round2", "dataset": "cohort", "run_seed": 0}
    model |= {"sha256": "ab" * 32, "recipe": fingerprint(stage), "validation_dice": 0.75}
    for name, changes in (
        ("fold0", {}),
        ("fold1", {"recipe": "0" * 64}),
        ("fold2", {"stage": "round9", "validation_dice": -1.0}),
    ):
        (tmp_path / "nvauto" / name).mkdir(parents=True)
        (tmp_path / "nvauto" / name / "model.json").write_text(json.dumps(model | changes))
    shutil.copytree(tmp_path / "nvauto", tmp_path / ".nvauto.aside" / "nvauto")  # what a killed `ship` leaves
    rows = report_index.shipped_networks(tmp_path)
    assert [row["network"] for row in rows] == [str(Path("nvauto") / name) for name in ("fold0", "fold1", "fold2")]
    assert (rows[0]["sha256"], rows[0]["held-out Dice"]) == ("ab" * 6, "0.750")
    assert rows[2]["held-out Dice"] == "not validated"
    assert ["stale" in row["recipe"] for row in rows] == [False, True, True]


def test_a_report_of_a_notebook_that_never_started_still_names_it(tmp_path):
    outcome = Outcome("00_a", "failed", 0.0, "2026-01-01T00:00:00", {}, "the kernel died")
    assert "the kernel died" in report.build([outcome], tmp_path, "mini").read_text()
