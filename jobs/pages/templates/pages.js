// Filters without a click on Show, and figures of a new publication without a reload. Pages are complete without it.
"use strict";
(() => {
  const refreshEvery = 60000;
  let asked = null;

  const form = () => document.querySelector("form.filters");

  // Details are open again after a swap: each is known by its section and its place there.
  const nameOf = (details) => {
    const section = details.closest("[aria-labelledby]");
    const owner = section ? section.getAttribute("aria-labelledby") : "";
    const all = section ? [...section.querySelectorAll("details")] : [...document.querySelectorAll("details.fold")];
    return `${owner}/${all.indexOf(details)}`;
  };
  const opened = () => new Set([...document.querySelectorAll("details[open]")].map(nameOf));
  const values = () => new Map([...document.querySelectorAll(".card")].map((card) => [
    card.getAttribute("aria-labelledby"), card.querySelector(".value")?.textContent,
  ]));

  // What had the focus: a field by its name, a link or a summary by its text.
  const focused = () => {
    const own = document.activeElement;
    if (!own || own === document.body) return () => null;
    if (own.name) return () => document.querySelector(`[name="${CSS.escape(own.name)}"]`);
    const kind = own.tagName, text = own.textContent;
    return () => [...document.querySelectorAll(kind)].find((other) => other.textContent === text) || document.querySelector("main");
  };

  // Links that only a script can follow.
  const reveal = () => document.querySelectorAll("[data-scripted]").forEach((link) => { link.hidden = false; });
  // The library draws the charts again, with values under the pointer and zoom; until then, and on paper, there are the
  // drawings of the server. It never evaluates text as code (ast).
  let vega = null;
  const library = () => vega ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.body.dataset.vega;
    script.onload = () => resolve(window.vegaEmbed);
    script.onerror = reject;
    document.head.append(script);
  });
  // Charts of the last choice. One of the same shape takes the new numbers: this is faster than to set it up again.
  let charts = [];
  const shapeOf = (spec) => JSON.stringify({ ...spec,
    data: spec.data.map(({ values, ...own }) => own), signals: spec.signals.map(({ value, ...own }) => own) });
  async function fill(view, spec) {
    for (const { name, values } of spec.data) if (values) view.data(name, values);
    for (const { name, value } of spec.signals) if (typeof value === "number") view.signal(name, value);
    await view.width(spec.width).runAsync();
  }
  const newPlace = () => {
    const place = document.createElement("div");
    place.className = "vega";
    place.setAttribute("role", "img");
    return place;
  };
  async function setUp(place, spec, embed) {
    const { view } = await embed(place, spec, { mode: "vega", renderer: "svg", ast: true, actions: false,
      defaultStyle: false, tooltip: { disableDefaultStyle: true }, loader: { http: false } });
    return view;
  }
  let drawing = Promise.resolve();
  const draw = () => drawing = drawing.then(drawAll);
  async function drawAll() {
    const boxes = [...document.querySelectorAll(".drawn")];
    if (!boxes.length) return;
    for (const box of boxes) box.style.minHeight = box.querySelector("figure") ? "" : `${box.dataset.height}px`;
    let embed;
    try { embed = await library(); } catch { return; }
    const before = charts;
    charts = [];
    for (const box of boxes.filter((own) => own.isConnected)) {
      const spec = JSON.parse(box.querySelector("script").textContent), shape = shapeOf(spec);
      spec.width += box.clientWidth - box.dataset.width;
      const at = before.findIndex((chart) => chart.shape === shape);
      const [known] = at < 0 ? [] : before.splice(at, 1);
      const place = known?.place ?? newPlace();
      place.setAttribute("aria-label", box.dataset.message);
      box.append(place);
      box.classList.add("live");
      try {
        const view = known?.view ?? await setUp(place, spec, embed);
        charts.push({ shape, place, view });
        if (known) await fill(view, spec);
      } catch (error) {
        console.error(error);
        box.classList.remove("live");
        if (!box.querySelector("figure")) box.textContent = "This chart could not be drawn: the table has its numbers.";
      }
    }
    for (const { view, place } of before) { view.finalize(); place.remove(); }
  }
  let resized = 0, lastWidth = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === lastWidth) return;
    lastWidth = innerWidth;
    clearTimeout(resized);
    resized = setTimeout(draw, 200);
  });

  const say = (text) => { const status = document.getElementById("status"); if (status) status.textContent = text; };

  // The page without the server's drawings, for a browser that draws.
  const partOf = (address) => { const [path, query] = address.split("?"); return `${path}/part${query ? `?${query}` : ""}`; };

  async function show(address, { push = true, blink = false } = {}) {
    if (asked) asked.abort();
    const mine = asked = new AbortController();
    document.body.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(charts.length ? partOf(address) : address, { signal: mine.signal, headers: { Accept: "text/html" } });
      const text = await answer.text();
      if (mine !== asked) return;
      const page = new DOMParser().parseFromString(text, "text/html");
      const main = page.querySelector("main");
      if (!main) { location.assign(address); return; }
      const open = opened(), before = values(), focus = focused();
      document.querySelector("main").replaceChildren(...main.childNodes);
      document.title = page.title;
      reveal();
      draw();
      document.querySelectorAll("details").forEach((details) => { details.open = open.has(nameOf(details)); });
      if (push) history.pushState(null, "", form()?.dataset.address ?? address);
      const target = focus();
      if (target) target.focus({ preventScroll: true });
      if (blink) for (const [name, value] of values()) if (before.get(name) !== value)
        document.querySelector(`[aria-labelledby="${CSS.escape(name)}"]`)?.classList.add("blink");
      const first = document.querySelector(".card .value");
      say(first ? `Figures changed: ${document.querySelector(".card h2").textContent} ${first.textContent}` : "Figures changed");
    } catch (error) {
      if (error.name !== "AbortError") say("The server does not answer: these are the last figures.");
    } finally {
      if (mine === asked) document.body.removeAttribute("aria-busy");
    }
  }

  const chosen = () => {
    const own = form(), given = new URLSearchParams(new FormData(own)), kept = new URLSearchParams();
    for (const [name, value] of given) if (value) kept.append(name, value);
    return `${own.getAttribute("action")}?${kept}`;
  };

  document.addEventListener("change", (event) => {
    const own = form();
    if (own && own.contains(event.target) && own.reportValidity()) show(chosen());
  });
  document.addEventListener("submit", (event) => {
    if (event.target === form()) { event.preventDefault(); show(chosen()); }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("main a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    if (link.dataset.copy !== undefined) {
      event.preventDefault();
      navigator.clipboard.writeText(location.href).then(() => say("The address is copied."), () => say("The address could not be copied."));
      return;
    }
    if (link.dataset.print !== undefined) { event.preventDefault(); print(); return; }
    const there = new URL(link.href, location.href);
    if (there.origin === location.origin && there.pathname === location.pathname && !there.hash) {
      event.preventDefault();
      show(there.pathname + there.search);
    }
  });
  addEventListener("popstate", () => show(location.pathname + location.search, { push: false }));

  // The publication of the page; another one is shown in place.
  let publication = document.body.dataset.publication;
  async function look() {
    if (document.hidden || !form()) return;
    try {
      const live = await (await fetch("/live")).json();
      if (publication && live.publication !== publication) {
        publication = live.publication;
        await show(location.pathname + location.search, { push: false, blink: true });
        say(`New figures: as of ${live.as_of}.`);
      }
    } catch { /* the page says since when the server has not answered */ }
  }
  // Narrow screens begin with the figures. Without a script, the filters stay open.
  if (matchMedia("(max-width: 46rem)").matches) document.querySelectorAll("details.fold").forEach((own) => { own.open = false; });
  setInterval(look, refreshEvery);
  document.addEventListener("visibilitychange", look);
  reveal();
  draw();
})();
