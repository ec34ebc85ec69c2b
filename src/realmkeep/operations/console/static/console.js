"use strict";
// The charts of the overview, and the navigation of a phone. Everything else is HTML and htmx.
document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
(() => {
  const charts = document.querySelector(".charts[data-series]");
  if (!charts) return;
  const EVERY_MS = 2000;
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const drawn = [...charts.querySelectorAll(".chart")].map((place) => ({ place, plot: null }));
  const size = (place) => ({ width: Math.max(200, place.clientWidth), height: place.clientHeight });

  const plotted = (place) => {
    const axis = { stroke: color("--faint"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return new uPlot(
      {
        ...size(place),
        cursor: { y: false },
        scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.15)] } },
        axes: [
          { ...axis, space: 90, size: 30, values: (_, ticks) => ticks.map((at) => clock.format(at * 1000).slice(0, 8)) },
          { ...axis, size: 66, values: (_, ticks) => ticks.map((tick) => `${tick}${place.dataset.unit}`) },
        ],
        series: [{}, { stroke: color("--chart"), width: 2, fill: color("--chart") + "22", points: { show: false } }],
      },
      [[], []],
      place,
    );
  };

  const draw = async () => {
    try {
      const answer = await fetch(charts.dataset.series, { headers: { "HX-Request": "true" }, redirect: "error" });
      if (answer.status === 401) { location.reload(); return; }
      const series = await answer.json();
      for (const each of drawn) {
        each.plot ??= plotted(each.place);
        each.plot.setData([series.at, series[each.place.dataset.name]]);
      }
      charts.dataset.drawn = String(series.at.length);
    } catch { /* the server is away: the next look will tell */ }
    setTimeout(draw, EVERY_MS);
  };

  new ResizeObserver(() => {
    for (const each of drawn) each.plot?.setSize(size(each.place));
  }).observe(charts);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const each of drawn) { each.plot?.destroy(); each.plot = null; }
  });
  draw();
})();
