"""The browser of test maps: a real browser shows their pixels when it is clicked."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest

from hpc_massmap.arrays import PIXELS
from hpc_massmap.jobs.report import main as report_job
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.report import browser
from hpc_massmap.report.inputs import Inputs, read_inputs
from hpc_massmap.run import Run
from tests.metrics.made_up import Folder
from tests.metrics.with_errors import Kind
from tests.patience import within

from .test_error_bars import VIEWS, evaluated
from .unpacked import unpacked

pytestmark = pytest.mark.xdist_group("report")  # one worker writes the report for all of these
CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Any]:
    """The report in a browser, which must ask for nothing but the file and complain about nothing."""
    context = chromium.new_context(viewport={"width": 1366, "height": 768}, offline=True)
    context.set_default_timeout(1000 * within(15))
    opened, complaints = context.new_page(), []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    opened.goto((report / "index.html").as_uri())
    opened.wait_for_selector(".browser[data-shown]")
    yield opened
    assert not complaints
    context.close()


def errors_shown(page: Any) -> list[float]:
    texts = page.locator(".tabulator-row .tabulator-cell[tabulator-field='bias.0']").all_inner_texts()
    return [float(text.replace("−", "-")) for text in texts]


def pixels_of(page: Any, panel: int) -> Any:
    """The canvas of a panel: (80, 80, 3), rows from the top."""
    script = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    values = page.locator(".panel .map canvas").nth(panel).evaluate(script)
    return np.reshape(np.array(values, np.uint8), (PIXELS, PIXELS, 4))[..., :3]


def wait_for(page: Any, map_id: int) -> None:
    page.wait_for_selector(f".browser[data-shown='{map_id}']")


def test_table_starts_with_the_largest_errors_and_sorts(page: Any, inputs: Inputs) -> None:
    size = np.abs(inputs.metrics.targets["mass"][Profiles].bias[:, -1])
    first = np.abs(errors_shown(page))
    assert np.all(np.diff(first) <= 0)
    assert first[0] == pytest.approx(size.max(), abs=1e-3)
    assert int(page.locator(".browser").get_attribute("data-shown")) == np.argmax(size)
    page.locator(".tabulator-col[tabulator-field='bias.0']").click()
    page.wait_for_function(
        "document.querySelector('.tabulator-col[tabulator-field=\"bias.0\"]').ariaSort === 'ascending'"
    )
    assert abs(errors_shown(page)[0]) == pytest.approx(size.min(), abs=1e-3)


def test_a_click_on_a_row_shows_its_maps(page: Any, inputs: Inputs) -> None:
    data = browser.browser_data([inputs], "mass", 1000)
    row = page.locator(".tabulator-row").nth(4)
    halo, projection = (int(row.locator(f"[tabulator-field='{f}']").inner_text()) for f in ("halo", "projection"))
    row.click()
    wanted = next(m for m in data["maps"] if (m["halo"], m["projection"]) == (halo, projection))
    wait_for(page, wanted["id"])
    for n, panel in enumerate(data["panels"]):
        colours = np.frombuffer(bytes.fromhex(data["colours"][panel["colours"]]), np.uint8).reshape(256, 3)
        upright = unpacked(panel["images"][wanted["id"]]).T[::-1]
        assert np.array_equal(pixels_of(page, n), colours[upright])
    assert f"line of sight {projection}: log10 M200 = {wanted['mass']:.2f}" in page.locator(".about").inner_text()
    assert page.locator("[name=halo]").input_value() == str(halo)


def test_rows_stay_when_the_table_comes_into_view(page: Any) -> None:
    """A click whose row is taken out between press and release is lost, though the row is put back."""
    taken_out = """() => new Promise((told) => {
        const table = document.querySelector(".tabulator");
        let rows = 0;
        new MutationObserver((all) => { for (const one of all) rows += one.removedNodes.length; })
            .observe(table.querySelector(".tabulator-table"), { childList: true });
        new IntersectionObserver((all) => {  // told after those that are older
            if (all.at(-1).isIntersecting) requestAnimationFrame(() => told(rows));
            else table.scrollIntoView({ behavior: "instant" });
        }).observe(table);
    })"""
    assert page.evaluate(taken_out) == 0


def test_table_fits_its_place_when_that_changes(page: Any) -> None:
    chosen = page.locator(".tabulator-row.tabulator-selected").inner_text()
    width = "document.querySelector('.tabulator-row').getBoundingClientRect().width"
    page.locator(".tabulator").scroll_into_view_if_needed()
    before = page.evaluate(width)
    page.set_viewport_size({"width": 900, "height": 700})
    page.wait_for_function(f"{width} > {before} * 1.5")
    held = page.locator(".tabulator-tableholder").bounding_box()
    assert page.evaluate(width) == pytest.approx(held["width"], abs=2)
    assert held["x"] + held["width"] <= 900
    assert page.locator(".tabulator-row.tabulator-selected").inner_text() == chosen


def id_shown(page: Any) -> int:
    return int(page.locator(".browser").get_attribute("data-shown"))


def test_the_address_names_the_map(page: Any, report: Path, inputs: Inputs) -> None:
    maps, first = inputs.metrics.maps, id_shown(page)
    assert "#" not in page.url
    place = next(n for n in range(len(maps["halo"])) if n != first)
    address = f"{(report / 'index.html').as_uri()}#map={maps['halo'][place]}-{maps['projection'][place]}"
    page.locator("[name=halo]").select_option(str(maps["halo"][place]))
    page.locator("[name=projection]").select_option(str(place))
    wait_for(page, place)
    assert page.url == address
    assert page.locator(".about a").get_attribute("href") == address[address.index("#") :]
    page.goto("about:blank")
    page.goto(address)
    wait_for(page, place)
    assert page.locator(".tabulator-row.tabulator-selected").is_visible()
    page.evaluate("location.hash = 'sample'")
    page.evaluate(f"location.hash = 'map={maps['halo'][first]}-{maps['projection'][first]}'")
    wait_for(page, first)


def test_an_address_of_a_map_that_is_not_here(page: Any, report: Path) -> None:
    first = id_shown(page)
    page.goto("about:blank")
    page.goto(f"{(report / 'index.html').as_uri()}#map=99999-0")
    wait_for(page, first)
    assert page.locator(".about").inner_text().startswith("The map of the address is not here; synthetic, ")
    page.locator(".tabulator-row").nth(3).click()
    page.wait_for_function("document.querySelector('.about').textContent.startsWith('synthetic, ')")


def test_keys_go_along_the_rows(page: Any, inputs: Inputs) -> None:
    in_order = np.argsort(-np.abs(inputs.metrics.targets["mass"][Profiles].bias[:, -1]), kind="stable")
    page.keyboard.press("ArrowRight")  # of a page that is read at its top, no browser
    page.locator(".panels").scroll_into_view_if_needed()
    page.locator(".maps").evaluate("e => e.scrollIntoView({ behavior: 'instant', block: 'center' })")
    for n in (1, 2, 3):
        page.keyboard.press("ArrowRight")
        wait_for(page, in_order[n])
    page.keyboard.press("ArrowLeft")
    wait_for(page, in_order[2])
    page.locator("[name=least]").fill("1")
    page.keyboard.press("ArrowLeft")  # moves in the number
    page.locator(".tabulator-row").nth(20).click()
    wait_for(page, in_order[20])
    page.keyboard.press("ArrowRight")
    wait_for(page, in_order[21])
    assert page.locator(".tabulator-row.tabulator-selected").count() == 1


def test_a_finger_leaves_the_values_told(page: Any) -> None:
    canvas, value = page.locator(".panel .map canvas").nth(3), page.locator(".panel .value").nth(3)
    box = canvas.bounding_box()
    place = {"clientX": box["x"] + 9, "clientY": box["y"] + 9}
    canvas.dispatch_event("pointerdown", {"pointerType": "touch", **place})
    canvas.dispatch_event("pointerleave", {"pointerType": "touch"})
    assert "×10" in value.inner_text()
    canvas.dispatch_event("pointerleave", {"pointerType": "mouse"})
    assert value.inner_text() == ""


def test_halo_and_line_of_sight_can_be_picked(page: Any, inputs: Inputs) -> None:
    maps = inputs.metrics.maps
    place = int(np.flatnonzero(np.bincount(maps["halo"])[maps["halo"]] > 1)[-1])
    page.locator("[name=halo]").select_option(str(maps["halo"][place]))
    page.locator("[name=projection]").select_option(str(place))
    wait_for(page, place)
    assert page.locator("[name=projection]").input_value() == str(place)
    assert page.locator(".tabulator-row.tabulator-selected").count() <= 1


def test_filters(page: Any, inputs: Inputs) -> None:
    error = np.abs(inputs.metrics.targets["mass"][Profiles].bias[:, -1])
    mass = inputs.metrics.log_m200
    limit, least = float(np.median(error)), float(np.median(mass))
    page.locator("[name=large]").fill(f"{limit}")
    page.locator("[name=least]").fill(f"{least}")
    expected = np.count_nonzero((error.round(4) <= limit) & (mass.round(3) >= least))
    page.wait_for_function(f"document.querySelector('.found').textContent === '{expected} maps'")
    page.locator("[name=simulation]").select_option("synthetic")
    assert page.locator(".found").inner_text() == f"{expected} maps"
    shown = int(page.locator(".browser").get_attribute("data-shown"))  # the largest error of all is left out
    assert error[shown].round(4) <= limit
    assert mass[shown].round(3) >= least
    page.locator("[name=least]").fill("99")
    page.wait_for_function("document.querySelector('.found').textContent === '0 maps'")
    assert page.locator(".tabulator-row.tabulator-selected").count() == 0


def test_values_under_the_pointer(page: Any, inputs: Inputs) -> None:
    canvas = page.locator(".panel .map canvas").nth(3)
    place = int(page.locator(".browser").get_attribute("data-shown"))
    upright = inputs.predictions.block("mass", slice(place, place + 1))[1][0].T[::-1]
    row, column = np.unravel_index(np.argmax(upright / upright.T), upright.shape)  # where rows and columns differ
    size = canvas.bounding_box()["width"] / PIXELS
    canvas.hover(position={"x": (column + 0.5) * size, "y": (row + 0.5) * size})
    mantissa, power = page.locator(".panel .value").nth(3).inner_text().split("×10")
    shown = float(mantissa) * 10.0 ** int(power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")))
    assert shown == pytest.approx(upright[row, column], rel=0.08)
    page.mouse.move(1, 1)
    assert page.locator(".panel .value").nth(3).inner_text() == ""


def test_a_residual_beyond_its_colours_is_said_to_be(page: Any, inputs: Inputs) -> None:
    """Never as the value of the last colour."""
    place = int(page.locator(".browser").get_attribute("data-shown"))
    predicted, true = (stack[0].T[::-1] for stack in inputs.predictions.block("mass", slice(place, place + 1)))
    row, column = np.unravel_index(np.argmax(np.abs(predicted - true)), true.shape)
    panel = page.locator(".panel", has_text="residual").first
    canvas = panel.locator(".map canvas")
    size = canvas.bounding_box()["width"] / PIXELS
    canvas.hover(position={"x": (column + 0.5) * size, "y": (row + 0.5) * size})
    sign = "≥ " if predicted[row, column] > true[row, column] else "≤ −"
    assert panel.locator(".value").inner_text().startswith(sign)


def test_light_and_dark(chromium: Any, page: Any) -> None:
    def luminance() -> int:
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", background)[:3]))

    page.emulate_media(color_scheme="dark")
    assert luminance() < 150
    button = page.locator("#theme")
    button.click()
    assert (button.inner_text(), luminance()) == ("Light", 3 * 255)
    button.click()
    assert button.inner_text() == "Dark"
    page.emulate_media(color_scheme="light")
    assert luminance() < 150
    page.reload()
    assert button.inner_text() == "Dark"


def test_print_has_figures_and_tables_but_nothing_to_click(page: Any) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".browser").is_visible()
    assert not page.locator("#theme").is_visible()
    assert page.locator("figure img").first.is_visible()
    assert page.pdf().startswith(b"%PDF")


def test_nothing_overflows_a_narrow_window(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    first, second = (page.locator(".panel .map").nth(n).bounding_box() for n in (0, 1))
    assert first["y"] == second["y"]  # two beside each other


def test_the_json_in_the_page_cannot_end_its_script(report: Path) -> None:
    source = (report / "index.html").read_text()
    text = re.search(r'<script type="application/json">(.*?)</script>', source, re.DOTALL)
    assert text
    assert json.loads(text[1])["target"] == "mass"
    assert "<" not in text[1]


@pytest.fixture(scope="module")
def with_samples(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = evaluated(tmp_path_factory.mktemp("samples"), Kind(samples=3))
    report_job([str(folder.config_file), VIEWS])
    return folder


def test_a_button_runs_through_the_samples_of_a_map(chromium: Any, with_samples: Folder) -> None:
    inputs = read_inputs(Run(with_samples.config.with_values("model", views=["star"]), with_samples.run.folder))
    data = browser.browser_data([inputs], "mass", 1000)
    place = next(n for n, panel in enumerate(data["panels"]) if "frames" in panel)
    panel = data["panels"][place]
    assert (panel["title"], panel["frames"], len(panel["images"])) == ("sample", 3, 3 * len(inputs.predictions))
    colours = np.frombuffer(bytes.fromhex(data["colours"][panel["colours"]]), np.uint8).reshape(256, 3)
    page = chromium.new_page()
    page.set_default_timeout(1000 * within(15))
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((with_samples.run.report / "index.html").as_uri())
    page.wait_for_selector(".browser[data-shown]")
    of_map = int(page.locator(".browser").get_attribute("data-shown"))
    button, shown = page.locator(".panel button"), page.locator(".panel").nth(place)

    def sample_shown() -> int:
        """Its number by the title, whose pixels are those of this sample."""
        script = """p => [p.querySelector("b").textContent, Array.from(
            p.querySelector(".map canvas").getContext("2d").getImageData(0, 0, 80, 80).data)]"""
        title, values = shown.evaluate(script)  # both at one moment
        number = next(n for n in range(3) if title == f"sample {n + 1} of 3")
        upright = unpacked(panel["images"][3 * of_map + number]).T[::-1]
        assert np.array_equal(np.reshape(np.array(values, np.uint8), (PIXELS, PIXELS, 4))[..., :3], colours[upright])
        return number

    seen = [sample_shown()]
    assert seen == [0]
    button.click()
    assert button.inner_text() == "Stop"
    while len(seen) < 4:  # and around to the first
        title = f"sample {seen[-1] + 1} of 3"
        page.wait_for_function(
            f"document.querySelectorAll('.panel')[{place}].querySelector('b').textContent !== '{title}'"
        )
        seen.append(sample_shown())
    assert set(seen) == {0, 1, 2}
    button.click()
    assert button.inner_text() == "Run through samples"
    sample_shown()
    assert not complaints
    page.close()
