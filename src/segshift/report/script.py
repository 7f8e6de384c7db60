"""What the page does: draws plots when they are seen, follows the theme, opens what a link leads to."""

SCRIPT = """\
const plots = JSON.parse(document.getElementById("plots").textContent);
const drawn = new Set();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function themed() {
  const text = colour("--text"), line = colour("--line");
  const found = { "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font.color": text };
  for (const axis of ["xaxis", "yaxis"]) {
    found[axis + ".gridcolor"] = line;
    found[axis + ".linecolor"] = line;
  }
  found["hoverlabel.bgcolor"] = colour("--raised");
  found["hoverlabel.bordercolor"] = line;
  found["hoverlabel.font.color"] = text;
  return found;
}

function draw(place) {
  if (drawn.has(place.id)) return;
  drawn.add(place.id);
  const { data, layout } = plots[place.id];
  layout.font = { family: "system-ui, sans-serif", size: 13 };
  const options = { displayModeBar: false, responsive: true };
  Plotly.newPlot(place, data, layout, options).then(() => {
    Plotly.relayout(place, themed());
    place.on("plotly_click", (event) => {
      const where = event.points[0].customdata;
      if (typeof where === "string" && where) location.hash = where;
    });
  });
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
}, { rootMargin: "300px" });
for (const place of document.querySelectorAll(".plot")) seen.observe(place);

function recolour() {
  for (const id of drawn) Plotly.relayout(id, themed());
}
const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
const button = document.getElementById("theme");
function label() { button.textContent = isDark() ? "Light" : "Dark"; }
button.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  label();
  recolour();
});
dark.addEventListener("change", () => { label(); recolour(); });
label();

function arrive() {
  const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!place) return;
  for (let one = place; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  place.scrollIntoView();
}
addEventListener("hashchange", arrive);
if (location.hash) arrive();
"""
