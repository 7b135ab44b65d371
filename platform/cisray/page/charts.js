"use strict";
// Figures: what the page holds of them is completed here, and drawn by Plotly once it is in view.
{
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touched = matchMedia("(pointer: coarse)").matches;
  const isPrinted = () => "printed" in document.documentElement.dataset;
  const spell = (number) => number.toLocaleString("en");

  // Bodies of genes are lines, thin ones where exons are known, which are boxes on them. The start
  // of each is an arrowhead with the name, on whichever side it stays in the figure, and beside the
  // exons where there is room. One that starts beyond the figure has its name at the edge, above it.
  const genesOf = ({ axis, letter_bp, every }, low, high) => {
    const grey = "#767676";
    const shared = { type: "scatter", yaxis: axis, hoverinfo: "skip" };
    const bodiesOf = (genes, width) => ({
      ...shared,
      mode: "lines",
      line: { width, color: grey },
      x: genes.flatMap(({ start, end }) => [start + 1, end, null]),
      y: genes.flatMap(({ row }) => [-row, -row, null]),
    });
    const known = every.filter(({ exons }) => exons);
    const bodies = bodiesOf(every.filter(({ exons }) => !exons), 5);
    // A line around each keeps an exon in sight that is narrower than a pixel.
    const boxes = { ...shared, mode: "lines", line: { width: 1, color: grey } };
    const placed = known.flatMap(({ row, exons }) => exons.map((ends) => [row, ...ends]));
    boxes.fill = "toself";
    boxes.fillcolor = grey;
    boxes.x = placed.flatMap(([, start, end]) => [start + 1, end, end, start + 1, start + 1, null]);
    boxes.y = placed.flatMap(([row]) => {
      const [low, high] = [-row - 0.3, -row + 0.3];
      return [low, low, high, high, low, null];
    });
    const startOf = ({ start, end, strand }) => (strand === "-" ? end : start + 1);
    const isBeyond = (gene) => startOf(gene) < low || startOf(gene) > high;
    const side = (gene) => {
      const { start, end, strand, letters, exons } = gene;
      if (isBeyond(gene)) return strand === "-" ? "middle left" : "middle right";
      const wide = letters * letter_bp;
      // With the arrowhead, so that a phone does not cut a name.
      const room = wide + 2 * letter_bp;
      const beside = strand === "-" ? end + room > high : start - room > low;
      const over = strand === "-" ? end - wide > low : start + wide > high;
      return (exons ? beside : over) ? "middle left" : "middle right";
    };
    const starts = { ...shared, mode: "markers+text" };
    starts.x = every.map((gene) => Math.min(Math.max(startOf(gene), low), high));
    starts.y = every.map((gene) => (isBeyond(gene) ? 1 : 0) - gene.row);
    starts.text = every.map(({ name, strand }) => ` ${name} ${strand} `);
    starts.textposition = every.map(side);
    const shapes = { "+": "triangle-right", "-": "triangle-left" };
    const symbol = every.map(({ strand }) => shapes[strand] ?? "circle");
    const size = every.map((gene) => (isBeyond(gene) ? 0 : 11));
    starts.marker = { symbol, size, color: grey };
    return known.length ? [bodies, bodiesOf(known, 2), boxes, starts] : [bodies, starts];
  };

  // Bins are drawn from their first base to their last; places are 1-based.
  const withBins = ({ data, bins, genes }) => {
    const x = [];
    const text = [];
    for (let bin = 0; bin < bins.count; bin += 1) {
      const first = bins.start + bin * bins.bp + 1;
      const last = first + bins.bp - 1;
      x.push(first, last);
      const told = `${bins.chrom}:${spell(first)}-${spell(last)}`;
      text.push(told, told);
    }
    const drawn = data.map(({ values, ...rest }) => {
      return { ...rest, x, text, y: values.flatMap((value) => [value, value]) };
    });
    // A line that is not seen says which bin the others are of.
    const places = { type: "scatter", mode: "lines", x, text, y: x.map(() => 0), opacity: 0 };
    places.hovertemplate = "bin %{text}<extra></extra>";
    drawn.unshift(places);
    return genes ? [...drawn, ...genesOf(genes, x[0], x.at(-1))] : drawn;
  };

  // A letter fills the box between zero and its height, upside down below zero.
  const lettersOf = (base, { first, reference, heights, outlines, colours }) => {
    const x = [];
    const y = [];
    for (let place = 0; place < reference.length; place += 1) {
      if (reference[place] !== base || heights[place] === null) continue;
      for (const polygon of outlines[base]) {
        for (const [across, up] of polygon) {
          x.push(first + place - 0.46 + 0.92 * across);
          y.push(up * heights[place]);
        }
        x.push(null);
        y.push(null);
      }
    }
    const line = { width: 0 };
    const fill = { fill: "toself", fillcolor: colours[base], line };
    return { type: "scatter", mode: "lines", name: base, x, y, ...fill, hoverinfo: "skip" };
  };

  // What other figures of the same region and track say of a substitution, a line for each.
  const besides = (row, place, others) =>
    others
      .filter(({ data }) => data[0].z[row][place] !== null)
      .map(({ data, bases }) => `<br>${bases.stat} ${data[0].z[row][place]}`)
      .join("");

  const withBases = ({ data, bases }, others) => {
    const { chrom, first, reference, heights } = bases;
    const places = Array.from(reference, (_, place) => first + place);
    const names = places.map((at, place) => `${chrom}:${spell(at)} ${reference[place]}`);
    const [heat] = data;
    const known = places.filter((_, place) => "ACGT".includes(reference[place]));
    const dots = { type: "scatter", mode: "markers", yaxis: "y2", x: known };
    dots.y = Array.from(reference).filter((base) => "ACGT".includes(base));
    dots.marker = { size: 3, color: "#767676" };
    dots.hoverinfo = "skip";
    const tops = { type: "scatter", mode: "markers", x: places, y: heights, text: names };
    tops.marker = { size: 12, opacity: 0 };
    tops.hovertemplate = "%{text}: importance %{y}<extra></extra>";
    const customdata = heat.z.map(() => names.map((name) => `${name}>`));
    const letters = Object.keys(bases.outlines).map((base) => lettersOf(base, bases));
    const text = heat.z.map((line, row) => line.map((_, place) => besides(row, place, others)));
    const colorscale = bases.scales[dark.matches && !isPrinted() ? "dark" : "light"];
    return [...letters, tops, { ...heat, customdata, text, colorscale }, dots];
  };

  const completed = (figure, others) => {
    if (figure.bins) return withBins(figure);
    return figure.bases ? withBases(figure, others) : figure.data;
  };

  // An axis along bases ends with them.
  const bounded = ({ layout, bins, bases }) => {
    const ends = bins
      ? [bins.start + 1, bins.start + bins.count * bins.bp]
      : bases && [bases.first - 0.5, bases.first + bases.reference.length - 0.5];
    if (!ends) return layout;
    const [minallowed, maxallowed] = ends;
    return { ...layout, xaxis: { ...layout.xaxis, range: ends, minallowed, maxallowed } };
  };

  const inked = (layout) => {
    const style = getComputedStyle(document.documentElement);
    const [ink, paper, line, faint] = ["--ink", "--paper", "--line", "--faint"].map((name) =>
      style.getPropertyValue(name).trim(),
    );
    const themed = {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: ink },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: faint, activecolor: ink },
      hoverlabel: { bgcolor: paper, bordercolor: ink, font: { color: ink }, namelength: 40 },
      dragmode: touched ? false : (layout.dragmode ?? "zoom"),
    };
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
      const colours = { gridcolor: line, zerolinecolor: line, linecolor: line };
      themed[name] = { ...colours, automargin: false, ...layout[name] };
    }
    return themed;
  };

  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touched ? false : "hover",
    modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  };

  const moves = [
    ["Left", -0.5, 1],
    ["Right", 0.5, 1],
    ["Zoom in", 0, 0.5],
    ["Zoom out", 0, 2],
    ["Whole", 0, Infinity],
  ];

  // The part of the axis that is seen, moved by a share of its width and stretched about its middle.
  const moved = ({ range, minallowed, maxallowed }, shift, stretch) => {
    const width = Math.min((range[1] - range[0]) * stretch, maxallowed - minallowed);
    const middle = (range[0] + range[1]) / 2 + shift * (range[1] - range[0]);
    const low = Math.min(Math.max(middle - width / 2, minallowed), maxallowed - width);
    return [low, low + width];
  };

  const chartOf = (box) => {
    const figures = JSON.parse(box.querySelector("script[type='application/json']").textContent);
    const place = box.querySelector(".drawn");
    const choices = Array.from(box.querySelectorAll("select"));
    const caption = place.getAttribute("aria-label");
    let isDrawn = false;
    const draw = () => {
      const wanted = choices.map((choice) => choice.value);
      const [, figure] = figures.find(([key]) => key.every((part, at) => part === wanted[at]));
      // Those that differ in the last choice alone, such as the statistic.
      const others = figures
        .filter(([, other]) => other !== figure)
        .filter(([key]) => key.slice(0, -1).every((part, at) => part === wanted[at]))
        .map(([, other]) => other);
      isDrawn = true;
      place.setAttribute("aria-label", [caption, ...wanted].join(" "));
      place.style.minHeight = `${figure.layout.height}px`;
      // Plotly writes into what it is given.
      const layout = structuredClone(inked(bounded(figure)));
      return Plotly.react(place, structuredClone(completed(figure, others)), layout, config);
    };
    for (const choice of choices) choice.addEventListener("change", draw);
    if ("pans" in box.dataset) {
      const line = document.createElement("div");
      line.className = "choices";
      for (const [name, shift, stretch] of moves) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = name;
        button.addEventListener("click", () => {
          if (!isDrawn) return;
          Plotly.relayout(place, { "xaxis.range": moved(place.layout.xaxis, shift, stretch) });
        });
        line.append(button);
      }
      place.after(line);
    }
    return { box, draw, isDrawn: () => isDrawn };
  };

  const charts = Array.from(document.querySelectorAll("figure.chart"), chartOf);
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const chart = charts.find(({ box }) => box === target);
        if (isIntersecting && !chart.isDrawn()) chart.draw();
      }
    },
    { rootMargin: "300px" },
  );
  for (const { box } of charts) seen.observe(box);
  const again = () => charts.filter((chart) => chart.isDrawn()).forEach((chart) => chart.draw());
  dark.addEventListener("change", again);
  // On paper everything is drawn, in ink.
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.printed = "";
    charts.forEach((chart) => chart.draw());
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.printed;
    again();
  });
}
