"""The report in a real headless Chromium: no error, no request, the API's numbers, nothing clipped."""

import shutil

import numpy as np
import pandas as pd
import pytest

from scaling.units import format_count, format_flops
from tests.analysis.conftest import TRUTH, chinchilla, isoflop_table

pytestmark = pytest.mark.browser
SWITCHES = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--no-first-run")  # fmt: skip
ODD = ("<script>alert(1)</script>", "</script><b>$x_$ & \\frac{1}")
WIDTHS = (390, 1440)


@pytest.fixture(scope="session")
def chromium():
    """Return a running Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium: `make test-browser` installs it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(SWITCHES))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def studies(tmp_path_factory):
    """Return name -> (studies, page): an isoFLOP study, a factorial one, a curve over N alone, two odd groups."""
    from analysis import fit, load
    from analysis.data.points import Points
    from analysis.figures.study import Study
    from analysis.laws import LAWS
    from analysis.report.page import write_report

    folder = tmp_path_factory.mktemp("reports")
    n, d = map(np.ravel, np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e8, 1e11, 6)))
    rng = np.random.default_rng(0)
    frame = isoflop_table(noise=2e-3)
    loss = chinchilla(n, d, TRUTH) * np.exp(2e-3 * rng.normal(size=36))
    factorial = pd.DataFrame({"params": n, "tokens": d, "flops": 6 * n * d, "loss": loss})
    other = isoflop_table(noise=2e-3, seed=1)
    odd = [part.assign(group=name) for part, name in zip((frame, other), ODD, strict=True)]
    law, U = LAWS["data-constrained"], np.minimum(d, 1e9)
    theta = law.theta({**TRUTH, "RD": 15.4, "RN": 5.3})
    repeated = np.exp(law.log_loss(theta, Points.of(N=n, D=d, U=U)) + 2e-3 * rng.normal(size=36))
    inputs = {
        "repeats": (factorial.assign(loss=repeated, unique_tokens=1e9), {}, {"law": "data-constrained"}),
        "isoflop": (frame, {}, {"budgets": [1e18, 3e18, 1e20]}),
        "factorial": (factorial, {}, {}),
        "curve": (frame[frame["budget"] == 1e18][["params", "loss"]], {}, {}),
        "odd": (pd.concat(odd), {"group": "group"}, {}),
    }
    made = {}
    for name, (table, options, asked) in inputs.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        loaded = load(folder / f"{name}.csv", **options)
        found = [Study(fit=fit(part, draws=200, **asked), table=part) for part in loaded]
        pictures = write_report(found, folder / f"{name}.html", command=["scaling-fit", f"{name}.csv"])
        assert not any(picture.faulty for picture in pictures)
        made[name] = (found, folder / f"{name}.html")
    return made


@pytest.fixture
def open_page(chromium):
    """Return a function that opens a page and says what it asked for and complained of."""
    contexts = []

    def opened(path, *, width=1440, scheme="light", scripts=True):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (page.complaints.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def shown(page, name, study=0):
    return page.locator(f'[data-of="{name}"]').nth(study).text_content()


@pytest.mark.parametrize("name", ["isoflop", "factorial", "curve", "odd"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_loads_without_an_error_or_a_request_and_nothing_is_clipped(studies, open_page, name, width, scheme):
    page = open_page(studies[name][1], width=width, scheme=scheme)
    assert page.complaints == []
    assert page.requests == [studies[name][1].as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    clipped = page.evaluate("""() => [...document.querySelectorAll("body *")].filter((e) => {
        if (e.closest("svg, .only, .scroll, pre, noscript, script, style, details:not([open])")) return false;
        const box = e.getBoundingClientRect();
        return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5 || e.scrollWidth > e.clientWidth + 1
            && getComputedStyle(e).overflowX === "hidden");
    }).map((e) => e.tagName + "." + e.className)""")
    assert clipped == []


def test_its_figures_are_as_wide_as_their_place_and_have_their_letters(studies, open_page):
    page = open_page(studies["isoflop"][1])
    assert page.evaluate("""[...document.querySelectorAll("use")].every((u) => document.getElementById(
        (u.getAttribute("xlink:href") || u.getAttribute("href")).slice(1)))""")
    sizes = page.evaluate("""[...document.querySelectorAll(".picture")].map((p) =>
        [p.clientWidth, p.querySelector("svg").getBoundingClientRect().width])""")
    assert len(sizes) > 8
    assert all(abs(own - place) < 1 for place, own in sizes)
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["isoflop", "factorial", "repeats"])
@pytest.mark.parametrize("scale", [0.3, 0.7, 1.0, 2.0, 9.0, 300.0])
def test_the_calculator_gives_the_numbers_of_the_api(studies, open_page, name, scale):
    (study,), path = studies[name]
    budget = float(format_flops(scale * study.fit.largest))
    page = open_page(path)
    page.locator("input[name=budget]").fill(format_flops(budget))
    answer = study.fit.optimum(budget)
    if name == "repeats" and "jumps" in page.locator(".problem").text_content():
        assert shown(page, "N") == "-"
        return
    for quantity, estimate in (("N", answer.N), ("D", answer.D), ("loss", answer.loss)):
        if estimate is None:
            assert shown(page, quantity) == "-"
            continue
        numbers = numbers_in(shown(page, quantity))
        wanted = [estimate.value, estimate.low, estimate.high]
        digits = 1e-4 if quantity == "loss" else 5.1e-3  # what is printed: five and three digits
        assert numbers == pytest.approx(wanted, rel=digits), quantity
    assert numbers_in(shown(page, "near")) == pytest.approx(list(answer.near), rel=1e-2)


def test_at_a_bracketed_budget_the_calculator_prints_what_the_summary_prints(studies, open_page):
    (study,), path = studies["isoflop"]
    page = open_page(path)
    for i in study.fit.isoflop.bracketed:
        budget = study.fit.isoflop.parabolas[i].budget
        page.locator("input[name=budget]").fill(format_flops(budget))
        N = study.fit.optimum(budget).N
        assert shown(page, "N") == f"{format_count(N.value)} [{format_count(N.low)}, {format_count(N.high)}]"


def test_the_calculator_counts_device_hours_and_warns_of_extrapolation(studies, open_page):
    page = open_page(studies["isoflop"][1])
    page.locator("input[name=budget]").fill("3.6e19")
    page.locator("input[name=speed]").fill("100")
    assert shown(page, "hours") == "100"
    assert "3.6 times the largest run" in page.locator(".far").text_content()
    page.locator("input[name=budget]").fill("1e18")
    assert page.locator(".far").is_hidden()


@pytest.mark.parametrize(("text", "says"), [("", "write a budget"), ("-1", "write a budget"), ("1e99", "scaling-fit"),
                                            ("<b>", "write a budget")])  # fmt: skip
def test_the_calculator_says_what_is_wrong_with_a_budget(studies, open_page, text, says):
    page = open_page(studies["isoflop"][1])
    page.locator("input[name=budget]").fill(text)
    assert says in page.locator(".problem").text_content()
    assert shown(page, "N") == "-"
    assert page.complaints == []


def test_a_click_sorts_the_runs_by_value_and_another_turns_them_round(studies, open_page):
    (study,), path = studies["isoflop"]
    page = open_page(path)
    losses = [float(f"{loss:.5g}") for loss in study.runs["loss"]]
    table = page.locator("table.sortable").first
    column = [cell.strip() for cell in table.locator("thead th").all_text_contents()].index("loss")
    button = table.locator("thead th button").nth(column)
    for order, name in ((False, "ascending"), (True, "descending")):
        button.click()
        cells = table.locator("tbody tr").all()
        found = [float(row.locator("td").nth(column).text_content()) for row in cells]
        assert found == sorted(losses, reverse=order)
        assert table.locator("thead th").nth(column).get_attribute("aria-sort") == name
    sizes = table.locator("thead th button").nth(1)
    sizes.click()
    shown_sizes = [row.locator("td").nth(1).text_content() for row in table.locator("tbody tr").all()]
    assert shown_sizes == [format_count(n) for n in sorted(study.runs["N"])]


def test_without_javascript_everything_but_the_calculator_and_sorting_is_there(studies, open_page):
    page = open_page(studies["isoflop"][1], scripts=False)
    assert page.locator(".calculator").is_hidden()
    assert "need JavaScript" in page.locator("noscript").first.text_content()
    assert page.locator(".picture svg").first.is_visible()
    assert page.locator("table.sortable tbody tr").count() == 15


def test_names_from_the_input_are_shown_and_never_run(studies, open_page):
    page = open_page(studies["odd"][1])
    names = page.locator("article h2").all_text_contents()
    assert names == list(ODD)
    assert page.evaluate("document.querySelectorAll('script').length") == 3  # two calculators' data, and the page's own
    assert page.complaints == []


def test_it_prints_with_its_figures_and_without_the_calculator(studies, open_page):
    page = open_page(studies["isoflop"][1])
    page.emulate_media(media="print")
    assert page.locator(".calculator").is_hidden()
    assert page.locator(".picture svg").first.is_visible()
    assert page.pdf()[:5] == b"%PDF-"


def numbers_in(text):
    """Return value, low and high of `80M [72M, 90M]`, or both ends of `a - b`."""
    from scaling.units import parse_count

    words = (
        text.replace(" tokens", "").replace("[", " ").replace("]", " ").replace(",", " ").replace(" - ", " ").split()
    )
    return [None if word == "inf" else parse_count(word) for word in words]
