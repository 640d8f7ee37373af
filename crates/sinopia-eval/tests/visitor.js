// Works the filters of a report's page and leaves what it saw in an element that a test reads (browser.rs).
(async () => {
  const form = document.getElementById("filters");
  const seen = {};
  const loaded = (picture) => picture.complete || new Promise((done) => picture.addEventListener("load", done));
  const look = async (step) => {
    const rows = [...document.querySelectorAll("#images .row")];
    const pictures = [...document.querySelectorAll("#images img")];
    for (const picture of pictures) { picture.loading = "eager"; await loaded(picture); }
    seen[step] = {
      count: document.getElementById("count").textContent,
      captions: rows.map((row) => row.querySelector(".caption").firstChild.textContent),
      verdicts: rows.map((row) => [...row.querySelectorAll("figcaption")].map((caption) => caption.className)),
      widths: pictures.map((picture) => picture.naturalWidth),
      boxes: document.querySelectorAll("#images svg rect").length,
      reasons: [...document.querySelectorAll("#images figcaption")].map((caption) => caption.firstChild.textContent),
      beside: rows.map((row) => { const f = row.querySelectorAll("figure"); return f[0].getBoundingClientRect().right <= f[1].getBoundingClientRect().left; }),
      bold: document.querySelectorAll("#images b").length,
    };
  };
  const choose = async (step, values) => {
    for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
    form.dispatchEvent(new Event("input"));
    await look(step);
  };
  await look("all");
  await choose("failures", { show: "failures" });
  await choose("left", { show: "left" });
  await choose("differ", { show: "differ" });
  await choose("swapped", { show: "left", left: "1", right: "0" });
  await choose("alone", { show: "all", left: "0", right: "-1" });
  await choose("words", { show: "all", left: "0", right: "1", words: "BLUE dog and" });
  await choose("task", { words: "", task: "spatial" });
  seen.plots = [...document.querySelectorAll("#tables .plot")].map((plot) => ({
    ours: plot.querySelectorAll("circle.ours").length, published: plot.querySelectorAll("circle.published").length,
    whiskers: plot.querySelectorAll(".whisker").length, names: plot.querySelectorAll("text[text-anchor=end]").length,
    inside: [...plot.querySelectorAll("circle")].every((dot) => dot.cx.baseVal.value <= plot.viewBox.baseVal.width && dot.cy.baseVal.value <= plot.viewBox.baseVal.height),
    wide: plot.getBoundingClientRect().width,
  }));
  seen.tables = [...document.querySelectorAll("#tables table")].map((table) => table.innerText);
  const out = document.createElement("pre");
  out.id = "observed";
  out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(seen))));
  document.body.append(out);
})();
