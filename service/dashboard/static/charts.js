// Charts by uPlot. `data-chart` holds {"x": [seconds], "series": [{"name", "color", "values"}], "stacked", "unit",
// "least"}; colours are the names of the style sheet's variables, so that a chart changes with the theme.

(() => {
  const charts = new Map();
  const HOURS_36 = 36 * 3600;
  const WHOLE = [1, 2, 5].flatMap((one) => [...Array(8).keys()].map((zeros) => one * 10 ** zeros)).sort((a, b) => a - b);

  // A variable's own text names both themes; the browser chooses where it is used, and a canvas is no such place.
  const probe = document.createElement("i");
  probe.hidden = true;

  const color = (name) => {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };

  const two = (number) => String(number).padStart(2, "0");
  const clock = (date) => `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
  const day = (date) => `${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`;

  const moments = (data) => (_chart, ticks) => {
    const isLong = data.x.at(-1) - data.x[0] > HOURS_36;
    return ticks.map((tick) => (isLong ? day : clock)(new Date(tick * 1000)));
  };

  const stacked = (series) => {
    const sums = series[0].values.map(() => 0);
    return series.map((one) => one.values.map((value, at) => (sums[at] += value ?? 0)));
  };

  const seriesOf = (data) => data.series.map((one) => ({
    label: one.name,
    stroke: color(one.color),
    fill: data.stacked ? color(one.color) : undefined,
    width: data.stacked ? 0 : 2,
    paths: data.stacked ? uPlot.paths.bars({ size: [0.76, 40], radius: 0.1 }) : undefined,
    points: { show: !data.stacked, size: 4, fill: color(one.color) },
    spanGaps: true,
    value: (_chart, _shown, _series, at) => (at == null ? "" : `${one.values[at] ?? "–"}${data.unit ?? ""}`),
  }));

  const optionsFor = (element, data, order) => {
    const axis = {
      stroke: color("muted"),
      grid: { stroke: color("line"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const all = seriesOf(data);
    return {
      width: element.clientWidth,
      height: element.clientHeight - 28,
      padding: [12, 14, 0, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { y: false, points: { show: !data.stacked }, drag: { x: false, y: false } },
      scales: { y: { range: (_chart, _low, high) => [0, Math.max(high * 1.1, data.least ?? 4)] } },
      axes: [
        { ...axis, values: moments(data), size: 28 },
        { ...axis, size: 48, incrs: data.stacked ? WHOLE : undefined, values: (_chart, ticks) => ticks.map((tick) => `${tick}${data.unit ?? ""}`) },
      ],
      series: [
        { label: "UTC", value: (_chart, seconds) => (seconds ? `${day(new Date(seconds * 1000))} ${clock(new Date(seconds * 1000))}` : "") },
        ...order.map((at) => all[at]),
      ],
    };
  };

  const draw = (element) => {
    charts.get(element)?.chart.destroy();
    const wanted = element.dataset.chart;
    const data = JSON.parse(wanted);
    const rows = data.stacked ? stacked(data.series) : data.series.map((one) => one.values);
    const order = data.stacked ? [...rows.keys()].reverse() : [...rows.keys()]; // the highest stack is drawn first
    const chart = new uPlot(optionsFor(element, data, order), [data.x, ...order.map((at) => rows[at])], element);
    charts.set(element, { chart, wanted });
  };

  const drawAll = (again) => {
    for (const element of charts.keys()) if (!element.isConnected) charts.delete(element);
    for (const element of document.querySelectorAll("[data-chart]")) {
      if (again || charts.get(element)?.wanted !== element.dataset.chart) draw(element);
    }
  };

  let resized = null;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => drawAll(true), 150);
  });
  document.addEventListener("relay:theme", () => drawAll(true));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(true));
  document.addEventListener("htmx:after:swap", () => drawAll(false));
  drawAll(false);
})();
