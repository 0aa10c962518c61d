"use strict";
// What the page does beyond links and forms: live updates, charts, copying, a few keys.
(() => {
  // -- live: one event stream for the tab, none while nobody looks ------------------------------
  // A browser opens six connections to one server at most, and a stream keeps one of them.
  const toggle = document.getElementById("live-toggle");
  let stream = null;

  const wanted = () => sessionStorage.getItem("live") !== "off";

  function say() {
    toggle.setAttribute("aria-pressed", String(wanted()));
    toggle.querySelector(".word").textContent = wanted() ? "Live" : "Paused";
  }

  function announce(kind) {
    document.body.dispatchEvent(new CustomEvent(`live:${kind}`));
  }

  function connect() {
    const open = wanted() && document.visibilityState === "visible";
    if (open && !stream) {
      stream = new EventSource("/live");
      for (const kind of ["spans", "logs", "points"]) stream.addEventListener(kind, () => announce(kind));
      stream.addEventListener("open", () => toggle.classList.remove("lost"));
      stream.addEventListener("error", () => toggle.classList.add("lost"));
    } else if (!open && stream) {
      stream.close();
      stream = null;
    }
    say();
  }

  toggle.addEventListener("click", () => {
    sessionStorage.setItem("live", wanted() ? "off" : "on");
    connect();
    if (wanted()) for (const kind of ["spans", "logs", "points"]) announce(kind);
  });
  document.addEventListener("visibilitychange", connect);
  window.addEventListener("pagehide", () => { if (stream) { stream.close(); stream = null; } });
  window.addEventListener("pageshow", connect);

  // -- charts -----------------------------------------------------------------------------------
  const charts = new Map();
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function digits(value) {
    return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(2).replace(/\.?0+$/, "");
  }

  function said(value, unit) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (unit === "s") {
      if (size === 0) return "0 s";
      if (size >= 1) return `${digits(value)} s`;
      return size >= 1e-3 ? `${digits(value * 1e3)} ms` : `${digits(value * 1e6)} µs`;
    }
    if (unit.startsWith("By")) {
      const power = size >= 1 ? Math.min(Math.floor(Math.log(size) / Math.log(1024)), 4) : 0;
      return `${digits(value / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}${unit.slice(2)}`;
    }
    if (unit === "1" && size <= 1) return `${digits(value * 100)} %`;
    if (size >= 1e9) return `${digits(value / 1e9)} G`;
    if (size >= 1e6) return `${digits(value / 1e6)} M`;
    if (size >= 1e4) return `${digits(value / 1e3)} k`;
    return digits(value);
  }

  function axis(extra) {
    const line = style("--line");
    return { stroke: style("--faint"), font: "11px Inter, system-ui, sans-serif", grid: { stroke: line, width: 1 }, ticks: { show: false }, ...extra };
  }

  function two(number) {
    return String(number).padStart(2, "0");
  }

  function clock(seconds, long) {
    const time = new Date(seconds * 1000);
    return `${two(time.getHours())}:${two(time.getMinutes())}${long ? `:${two(time.getSeconds())}` : ""}`;
  }

  function exemplars(state) {
    // Circles at the measurements that know their trace; a click opens the nearest one.
    const place = (plot, point) => [plot.valToPos(point.time, "x"), plot.valToPos(point.value, "y")];
    const near = (plot) => {
      const { left, top } = plot.cursor;
      let best = null;
      let distance = 14;
      for (const point of state.points) {
        const [x, y] = place(plot, point);
        const away = Math.hypot(x - left, y - top);
        if (away < distance) { best = point; distance = away; }
      }
      return best;
    };
    return {
      hooks: {
        draw: (plot) => {
          const { ctx, bbox } = plot;
          const ratio = devicePixelRatio;
          ctx.save();
          ctx.strokeStyle = style("--orange");
          ctx.fillStyle = style("--card");
          ctx.lineWidth = 1.8 * ratio;
          for (const point of state.points) {
            const [x, y] = place(plot, point);
            const inside = x >= 0 && y >= 0 && x * ratio <= bbox.width && y * ratio <= bbox.height;
            if (!inside) continue;
            ctx.beginPath();
            ctx.arc(bbox.left + x * ratio, bbox.top + y * ratio, 4 * ratio, 0, 2 * Math.PI);
            ctx.fill();
            ctx.stroke();
          }
          ctx.restore();
        },
        setCursor: (plot) => plot.root.parentElement?.classList.toggle("clickable", near(plot) !== null),
        ready: (plot) => plot.over.addEventListener("click", () => {
          const point = near(plot);
          if (point) window.location.href = point.url;
        }),
      },
    };
  }

  function options(data, width, height, state) {
    return {
      width, height,
      cursor: { sync: { key: "page" }, points: { size: 7 }, drag: { x: false, y: false } },
      legend: { live: true },
      scales: {
        x: { time: true },
        y: {
          range: (_plot, low, high) => {
            const highest = Math.max(high ?? 0, ...state.points.map((point) => point.value));
            return [Math.min(low ?? 0, 0), highest > 0 ? highest * 1.12 : 1];
          },
        },
      },
      axes: [
        axis({ grid: { show: false }, size: 28, gap: 4, space: 70, values: (_plot, ticks) => ticks.map((tick) => clock(tick, ticks.length > 1 && ticks[1] - ticks[0] < 60)) }),
        axis({ size: 58, gap: 6, values: (_plot, ticks) => ticks.map((tick) => said(tick, data.unit)) }),
      ],
      series: [
        { value: (_plot, time) => (time === null ? "–" : clock(time, true)) },
        ...data.lines.map((line) => ({
          label: line.label,
          stroke: style(`--${line.color}`),
          width: 1.8,
          fill: data.fill ? `color-mix(in srgb, ${style(`--${line.color}`)} 12%, transparent)` : undefined,
          spanGaps: true,
          points: { show: data.times.length < 4 || line.values.filter((value) => value !== null).length < 8, size: 5 },
          value: (_plot, value, _series, index) => (index === null ? "" : said(value, data.unit)),
        })),
      ],
      plugins: [exemplars(state)],
    };
  }

  function draw(element) {
    const data = JSON.parse(element.dataset.chart);
    const columns = [data.times, ...data.lines.map((line) => line.values)];
    const shape = JSON.stringify([data.unit, data.lines.map((line) => [line.label, line.color])]);
    const known = charts.get(data.id);
    if (known && known.shape === shape) {
      // The same chart with newer numbers: it moves over, so that nothing flickers.
      known.state.points = data.points;
      if (known.plot.root.parentElement !== element) element.replaceChildren(known.plot.root);
      known.element = element;
      sizes.observe(element);
      known.plot.setData(columns);
      return;
    }
    if (known) known.plot.destroy();
    const state = { points: data.points };
    const height = Number(element.dataset.height);
    const plot = new uPlot(options(data, Math.max(element.clientWidth, 200), height, state), columns, element);
    charts.set(data.id, { plot, shape, element, height, state });
    sizes.observe(element);
  }

  const sizes = new ResizeObserver((entries) => {
    for (const entry of entries) {
      for (const chart of charts.values()) {
        if (chart.element === entry.target && entry.contentRect.width > 0) {
          chart.plot.setSize({ width: Math.floor(entry.contentRect.width), height: chart.height });
        }
      }
    }
  });

  function drawAll() {
    const elements = [...document.querySelectorAll("[data-chart]")];
    for (const [id, chart] of charts) {
      if (!elements.some((element) => element.id === `chart-${id}`)) { chart.plot.destroy(); charts.delete(id); }
    }
    for (const element of elements) draw(element);
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const chart of charts.values()) chart.plot.destroy();
    charts.clear();
    drawAll();
  });

  // -- copying ----------------------------------------------------------------------------------
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const word = button.dataset.word ?? (button.dataset.word = button.textContent);
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser does not allow it";
    }
    setTimeout(() => { button.textContent = word; }, 1500);
  });

  // -- spans: the address names the one that is open --------------------------------------------
  function openNamed() {
    const named = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (named && named.tagName === "DETAILS") {
      named.open = true;
      named.scrollIntoView({ block: "nearest" });
    }
  }
  window.addEventListener("hashchange", openNamed);
  document.addEventListener("toggle", (event) => {
    const details = event.target;
    if (details.matches?.("details.span") && details.open) history.replaceState(null, "", `#${details.id}`);
  }, true);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-toggle-all]");
    if (!button) return;
    const all = document.getElementById(button.dataset.toggleAll).querySelectorAll(":scope > details");
    const open = [...all].some((details) => !details.open);
    for (const details of all) details.open = open;
    button.textContent = open ? "Close all" : "Open all";
  });

  // -- forms and keys ---------------------------------------------------------------------------
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });
  document.addEventListener("submit", (event) => {
    // Empty fields make no parameters: an address that is shared says what was asked, and no more.
    for (const field of event.target.elements) if (field.name && field.value === "") field.disabled = true;
  });
  window.addEventListener("pageshow", () => {
    for (const field of document.querySelectorAll("form [disabled]")) field.disabled = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (event.key === "/") {
      const field = document.querySelector("[data-search]");
      if (field) { event.preventDefault(); field.focus(); field.select(); }
    } else if (event.key === "j" || event.key === "k") {
      const rows = [...document.querySelectorAll("main a.row, main .span > summary, main .line > summary")];
      const at = rows.indexOf(document.activeElement);
      const next = rows[event.key === "j" ? at + 1 : Math.max(at - 1, 0)];
      if (next) { event.preventDefault(); next.focus(); }
    }
  });

  // -- beginning, and after each swap -----------------------------------------------------------
  document.body.addEventListener("htmx:afterSwap", () => {
    drawAll();
    const lines = document.getElementById("lines");
    if (lines?.dataset.most) {
      while (lines.childElementCount > Number(lines.dataset.most)) lines.lastElementChild.remove();
      if (lines.childElementCount) document.getElementById("no-lines")?.remove();
    }
  });
  connect();
  drawAll();
  openNamed();
})();
