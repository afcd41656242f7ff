/* The interactive parts of the report: the choice of light or dark, and the browser of test maps.
   Without this script the page still shows every figure and table. */
"use strict";

(() => {
  const LEVELS = 255;
  const PACE = 500;  // ms from sample to sample
  const STEPS = { ArrowLeft: -1, ArrowRight: 1 };
  const RUN = { true: "Stop", false: "Run through samples" };
  const THEMES = { auto: "Light or dark: as the system", light: "Light", dark: "Dark" };

  function chooseTheme() {
    const button = document.getElementById("theme");
    const names = Object.keys(THEMES);
    let now = "auto";
    try { now = localStorage.getItem("theme") || "auto"; } catch { /* a file may have no storage */ }
    const apply = (name) => {
      now = names.includes(name) ? name : "auto";
      document.documentElement.dataset.theme = now;
      button.textContent = THEMES[now];
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      apply(names[(names.indexOf(now) + 1) % names.length]);
      try { localStorage.setItem("theme", now); } catch { /* then it holds until the page is closed */ }
    });
    apply(now);
  }

  function element(tag, attributes = {}, ...children) {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
  }

  const signed = (value, digits = 3) =>
    value === null ? "–" : ((value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits));

  /* 1.2×10¹³ */
  function scientific(value) {
    if (value === 0) return "0";
    const [digits, power] = Math.abs(value).toExponential(1).split("e");
    const raised = power.replace("+", "").replace(/[-\d]/g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
    return (value < 0 ? "−" : "") + (raised === "⁰" ? digits : `${digits}×10${raised}`);
  }

  /* Undo packed() of browser.py. */
  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const image = new Uint8Array(await new Response(inflated).arrayBuffer());
    for (let n = 1; n < image.length; n++) image[n] += image[n - 1];
    return image;
  }

  function palette(hexadecimal) {
    return Array.from({ length: LEVELS + 1 }, (_, n) => [0, 2, 4].map((at) =>
      parseInt(hexadecimal.slice(6 * n + at, 6 * n + at + 2), 16)));
  }

  function paint(canvas, image, colours) {
    const context = canvas.getContext("2d");
    const painted = context.createImageData(canvas.width, canvas.height);
    image.forEach((level, n) => painted.data.set([...colours[level], 255], 4 * n));
    context.putImageData(painted, 0, 0);
  }

  function valueAt(panel, level) {
    const part = level / LEVELS;
    return panel.scale === "log" ? panel.low * (panel.high / panel.low) ** part
      : panel.low + part * (panel.high - panel.low);
  }

  /* The value of a pixel; of a residual beyond the ends of its colours, that it is beyond. */
  function told(panel, level) {
    const beyond = panel.scale === "log" ? "" : level === 0 ? "≤ " : level === LEVELS ? "≥ " : "";
    return beyond + scientific(valueAt(panel, level));
  }

  /* One image of the browser: canvas, circle of R500, colour bar with its ends, and the value under the pointer. */
  function makePanel(panel, pixels, colours) {
    const canvas = element("canvas", { width: pixels, height: pixels });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", panel.title);
    const circle = element("span", { className: panel.scale === "log" ? "r500" : "r500 dark" });
    const bar = element("canvas", { width: LEVELS + 1, height: 1, className: "bar" });
    paint(bar, Uint8Array.from({ length: LEVELS + 1 }, (_, n) => n), colours);
    const value = element("span", { className: "value" });
    const ends = element("div", { className: "ends" },
      element("span", { textContent: scientific(panel.low) }), value,
      element("span", { textContent: scientific(panel.high) }));
    const name = element("b", { textContent: panel.title });
    const title = element("figcaption", {}, name, panel.unit ? ` ${panel.unit}` : "");
    const figure = element("figure", { className: "panel" }, title,
      element("div", { className: "map" }, canvas, circle), bar, ends);
    const button = panel.frames > 1 ? element("button", { type: "button", textContent: RUN[false] }) : null;
    if (button) figure.append(button);
    return { figure, canvas, circle, value, panel, colours, name, button, image: null, frame: 0, timer: null };
  }

  /* The part of the address that names a map: halo and line of sight, which stay when other maps are chosen. */
  const addressOf = (map) => `#map=${map.halo}-${map.projection}`;

  class Browser {
    constructor(section) {
      this.section = section;
      this.data = JSON.parse(section.querySelector("script").textContent);
      this.maps = this.data.maps;
      const colours = Object.fromEntries(Object.entries(this.data.colours).map(([name, hex]) => [name, palette(hex)]));
      this.panels = this.data.panels.map((panel) => makePanel(panel, this.data.pixels, colours[panel.colours]));
      this.find(".panels").append(...this.panels.map((one) => one.figure));
      for (const one of this.panels) {
        for (const kind of ["pointerdown", "pointermove"])
          one.canvas.addEventListener(kind, (event) => this.point(one.canvas, event));
        one.canvas.addEventListener("pointerleave", (event) => {
          if (event.pointerType === "mouse") this.point(null);  // what a finger touched stays told
        });
      }
      for (const one of this.panels) one.button?.addEventListener("click", () => this.run(one));
      this.fillChoices();
      section.hidden = false;  // the table measures its place
      this.makeTable();
      document.addEventListener("keydown", (event) => this.press(event));
      window.addEventListener("hashchange", () => this.show(this.addressed()));
    }

    find(selector) { return this.section.querySelector(selector); }

    fillChoices() {
      const halos = new Map(this.maps.map((map) => [map.halo, map]));
      const byMass = [...halos.values()].sort((a, b) => a.mass - b.mass);
      this.halo = this.find("[name=halo]");
      this.projection = this.find("[name=projection]");
      this.halo.append(...byMass.map((map) => new Option(
        `${map.mass.toFixed(2)}: ${map.simulation}, ${map.region}, z = ${map.redshift}, halo ${map.halo}`, map.halo)));
      this.halo.addEventListener("change", () => this.choose(this.ofHalo(Number(this.halo.value))[0]));
      this.projection.addEventListener("change", () => this.choose(this.maps[Number(this.projection.value)]));
      this.find("[name=simulation]").append(
        ...[...new Set(this.maps.map((map) => map.simulation))].map((name) => new Option(name)));
    }

    ofHalo(halo) { return this.maps.filter((map) => map.halo === halo).sort((a, b) => a.projection - b.projection); }

    makeTable() {
      const bySize = (a, b) => Math.abs(a ?? 0) - Math.abs(b ?? 0);
      const many = this.data.models.length > 1;
      const errors = this.data.models.map((name, n) => ({
        title: many ? `b200 ${name}` : "b200", field: `bias.${n}`, sorter: bySize, hozAlign: "right",
        headerSortStartingDir: "desc", minWidth: 56, formatter: (cell) => signed(cell.getValue()),
      }));
      this.table = new Tabulator(this.find(".maps > div"), {
        data: this.maps, layout: "fitColumns", height: "100%", selectableRows: 1, autoResize: false,
        columnDefaults: { headerWordWrap: true, minWidth: 44 },
        columns: [
          { title: "halo", field: "halo", hozAlign: "right" },
          { title: "line of sight", field: "projection", hozAlign: "right" },
          { title: "simulation", field: "simulation", minWidth: 82, widthGrow: 1.6 },
          { title: "log M200", field: "mass", hozAlign: "right", formatter: (cell) => cell.getValue().toFixed(2) },
          { title: "z", field: "redshift", hozAlign: "right", formatter: (cell) => cell.getValue().toFixed(3) },
          ...errors,
        ],
        initialSort: [{ column: "bias.0", dir: "desc" }],
      });
      this.table.on("rowClick", (_, row) => this.choose(this.maps[row.getData().id]));
      this.table.on("dataFiltered", (_, rows) => { this.find(".found").textContent = `${rows.length} maps`; });
      this.table.on("tableBuilt", () => {
        this.fitTable();
        const addressed = this.addressed();
        this.show(addressed ?? this.listed()[0]);
        const first = document.querySelector(".browser") === this.section;
        if (addressed && first) this.section.scrollIntoView({ behavior: "instant" });
      });
      this.find(".filters").addEventListener("input", () => this.filter());
    }

    /* Fit the table to its place when that changes. Tabulator itself also makes all rows anew whenever the table is
       scrolled into view: a click whose row goes between press and release is lost. */
    fitTable() {
      const place = this.find(".maps");
      const size = () => `${place.clientWidth} ${place.clientHeight}`;
      let known = size();
      new ResizeObserver(() => {
        if (size() === known || !place.clientWidth) return;  // not shown in print
        known = size();
        this.table.redraw();
      }).observe(place);
    }

    filter() {
      const [least, most, small, large] = ["least", "most", "small", "large"].map((name) => {
        const text = this.find(`[name=${name}]`).value;
        return text === "" ? NaN : Number(text);
      });
      const simulation = this.find("[name=simulation]").value;
      const outside = (value, low, high) => value < low || value > high;  // of NaN neither is true
      this.table.setFilter((map) => (!simulation || map.simulation === simulation)
        && !outside(map.mass, least, most) && !outside(Math.abs(map.bias[0] ?? 0), small, large));
      const left = this.listed();
      if (left.includes(this.shown)) return;
      if (left.length) this.choose(left[0]);
      else this.table.deselectRow();
    }

    /* The maps in the rows of the table, as it is sorted and filtered. */
    listed() { return this.table.getData("active").map((map) => this.maps[map.id]); }

    /* The map that the address names, if it is here. */
    addressed() { return this.maps.find((map) => addressOf(map) === location.hash); }

    /* Show what a person asked for, and name it in the address. */
    choose(map) {
      if (!map) return;
      try { history.replaceState(null, "", addressOf(map)); } catch { /* a frame may have no address */ }
      this.show(map);
    }

    /* The row before or after, by a key, if this browser has the focus or, where nothing has, the middle of the window. */
    press(event) {
      const step = STEPS[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (event.target.closest("input, select")) return;  // which have a use for it
      const { top, bottom } = this.section.getBoundingClientRect();
      const middle = window.innerHeight / 2;
      const meant = event.target === document.body ? top < middle && middle < bottom
        : this.section.contains(event.target);
      if (!meant) return;
      event.preventDefault();
      const maps = this.listed();
      this.choose(maps[maps.indexOf(this.shown) + step]);
    }

    async show(map) {
      if (!map) return;
      this.shown = map;
      this.halo.value = map.halo;
      this.projection.replaceChildren(...this.ofHalo(map.halo).map((one) => new Option(
        `${one.projection}: b200 = ${signed(one.bias[0])}`, one.id, false, one === map)));
      this.table.deselectRow();
      if (this.listed().includes(map)) {
        this.table.selectRow([map.id]);
        this.table.scrollToRow(map.id, "nearest", false);
      }
      const frames = this.panels.map((one) => one.frame);
      const images = await Promise.all(this.panels.map((one, n) => this.image(one, map, frames[n])));
      if (this.shown !== map) return;  // another was chosen meanwhile
      this.panels.forEach((one, n) => {
        this.draw(one, images[n], frames[n]);
        one.circle.style.width = `${100 * map.r500}%`;
      });
      const many = this.data.models.length > 1;
      const errors = this.data.models.map((name, n) => (many ? `${name} ` : "") + signed(map.bias[n])).join(", ");
      const missed = location.hash.startsWith("#map=") && !this.addressed() ? "The map of the address is not here; " : "";
      this.find(".about").textContent = `${missed}${map.simulation}, ${map.region}, line of sight ${map.projection}: `
        + `log10 M200 = ${map.mass.toFixed(2)}, z = ${map.redshift}; b200: ${errors} `;
      this.find(".about").append(element("a", { href: addressOf(map), textContent: "link", className: "link" }));
      this.section.dataset.shown = map.id;
    }

    /* An image of a map; of a panel that has several of each, one of them. */
    image(one, map, frame) { return unpack(one.panel.images[map.id * (one.panel.frames ?? 1) + frame]); }

    draw(one, image, frame) {
      one.image = image;
      one.frame = frame;
      paint(one.canvas, image, one.colours);
      if (one.panel.frames) one.name.textContent = `${one.panel.title} ${frame + 1} of ${one.panel.frames}`;
    }

    /* One sample after the other, until the button is clicked again. */
    run(one) {
      clearInterval(one.timer);
      one.timer = one.timer === null ? setInterval(() => this.advance(one), PACE) : null;
      one.button.textContent = RUN[one.timer !== null];
      if (one.timer !== null) this.advance(one);
    }

    async advance(one) {
      const map = this.shown;
      const frame = (one.frame + 1) % one.panel.frames;
      const image = await this.image(one, map, frame);
      if (this.shown === map) this.draw(one, image, frame);  // else another was chosen meanwhile
    }

    /* The values of all panels at the pixel under the pointer. */
    point(canvas, event) {
      const pixels = this.data.pixels;
      const place = canvas && [event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight].map((part) =>
        Math.min(pixels - 1, Math.max(0, Math.floor(part * pixels))));
      for (const one of this.panels) {
        const known = place && one.image;
        one.value.textContent = known ? told(one.panel, one.image[place[1] * pixels + place[0]]) : "";
      }
    }
  }

  chooseTheme();
  for (const section of document.querySelectorAll(".browser")) new Browser(section);
})();
